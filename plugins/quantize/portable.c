/* quantize/portable.c - weights in 7 bits, where they cost little. See work.h.
 *
 * x86 without VNNI multiplies uint8 by int8 in pairs whose sum saturates at 16 bits. With weights in [-63, 63] it
 * can't. What that costs is measured at the model's output: all weights in 7 bits against all in 8. Up to 3 dB (no more
 * than the noise that 8 bits make anyway), all stay in 7; else as many layers as fit into 3 dB, those first whose
 * weights lose least.
 */
#include "work.h"

#include <math.h>

static double noise(double db) { return pow(10, -db / 10); }

static bool may_choose(const quantize_work *w, uint64_t i) {
    return w->weights[i].done && !w->choices.at[i].bits && w->weights[i].may_saturate;
}

static pare_status again(quantize_work *w, uint32_t *mark) {
    pare_status st = work_undo(w, mark);
    memset(w->weights, 0, w->choices.n * sizeof *w->weights);
    if (!st && w->correct) st = quantize_correct(w);
    return st ? st : work_try(w);
}

/* Layers in the order of what 7 bits cost them, as long as together they cost `budget` of all. */
static pare_status take_cheap(quantize_work *w, const double *cost, double budget) {
    double total = 0, spent = 0;
    uint8_t *taken = quantize_scratch(&w->q, w->choices.n, 1);
    if (!taken) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->choices.n; i++) total += cost[i];
    for (;;) {
        uint64_t best = w->choices.n;
        for (uint64_t i = 0; i < w->choices.n; i++)
            if (cost[i] > 0 && !taken[i] && (best == w->choices.n || cost[i] < cost[best])) best = i;
        if (best == w->choices.n || spent + cost[best] > budget * total) break;
        spent += cost[best];
        taken[best] = 1;
    }
    for (uint64_t i = 0; i < w->choices.n; i++)
        if (cost[i] > 0 && !taken[i]) w->bits[i] = 8;
    return PARE_OK;
}

pare_status quantize_portable(quantize_work *w, uint32_t *mark) {
    const double eight = w->sqnr;
    uint64_t n = 0;
    double *cost = quantize_scratch(&w->q, w->choices.n, sizeof *cost);
    if (!cost) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->choices.n; i++) {
        if (!may_choose(w, i)) continue;
        cost[i] = isfinite(w->weights[i].sqnr) ? 3 * noise(w->weights[i].sqnr) : 1e-30;
        w->bits[i] = 7;
        n++;
    }
    if (!n || !isfinite(eight)) return PARE_OK;
    pare_status st = again(w, mark);
    if (st) return st;
    const double extra = noise(w->sqnr) - noise(eight);
    if (extra > noise(eight)) {
        st = take_cheap(w, cost, noise(eight) / extra);
        if (!st) st = again(w, mark);
    }
    w->portable_cost = eight - w->sqnr;
    return st;
}
