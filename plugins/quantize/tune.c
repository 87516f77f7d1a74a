/* quantize/tune.c - leaves the layers that quantization hurts most in float until a metric holds. See work.h.
 *
 * How much a layer hurts is the SQNR of the model's output when that layer alone is in int8. The worst 1, 2, 4, … are
 * left in float until the goal holds; between the last two numbers the least that does is looked for by halving.
 */
#include "work.h"

#include <math.h>
#include <stdio.h>

static bool lower_is_better(const quantize_work *w) { return strcmp(w->o->tune_metric, "loss") == 0; }

static const char *data_of(const quantize_work *w) { return w->o->tune_data ? w->o->tune_data : w->o->data; }

static pare_status metric(const quantize_work *w, double *out) {
    return w->q.run->evaluate(w->q.host, w->q.model, data_of(w), w->o->tune_metric, w->o->tune_samples, out);
}

/* How much worse than in float. */
static double drop(const quantize_work *w, double before, double now) {
    const double d = lower_is_better(w) ? now - before : before - now;
    return isnan(d) ? INFINITY : d;
}

/* A model with the layers of `skip` in float, and how good it is. */
static pare_status attempt(quantize_work *w, uint32_t *mark, double *value) {
    pare_status st = work_undo(w, mark);
    if (!st) st = work_plan(w);
    if (!st) st = work_ranges(w);
    if (!st && w->correct) st = quantize_correct(w);
    if (!st) st = work_emit(w);
    return st || !value ? st : metric(w, value);
}

static pare_status one_alone(quantize_work *w, uint32_t *mark, uint64_t layer, verify_side *before, double *db) {
    calibrate_compare *c = quantize_scratch(&w->q, before->n, sizeof *c);
    verify_side after = {0};
    if (!c) return PARE_ENOMEM;
    memset(w->skip, 1, w->choices.n);
    w->skip[layer] = 0;
    pare_status st = attempt(w, mark, NULL);
    if (!st) st = w->q.run->rewind(w->q.host, before->runner);
    if (!st) st = verify_open(&w->q, NULL, 0, data_of(w), w->o->check_samples, 0, &after);
    if (!st) st = verify_compare(&w->q, before, &after, c, NULL);
    verify_close(&w->q, &after);
    *db = st ? NAN : calibrate_compare_sqnr(&c[before->n - 1]);
    return st;
}

/* order[]: layers, the worst first; n of them. */
static pare_status rank(quantize_work *w, uint32_t *mark, uint64_t *order, uint64_t *n) {
    uint8_t *on = quantize_scratch(&w->q, w->choices.n, 1);
    verify_side before = {0};
    if (!on) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->choices.n; i++) on[i] = w->weights[i].done;
    pare_status st = work_undo(w, mark);
    if (!st) st = verify_open(&w->q, NULL, 0, data_of(w), w->o->check_samples, 0, &before);
    *n = 0;
    for (uint64_t i = 0; i < w->choices.n && !st; i++) {
        w->alone[i] = NAN;
        if (!on[i]) continue;
        st = w->q.host->tick(w->q.host, 0.75 + 0.15 * (double)i / (double)w->choices.n, "sensitivity");
        if (!st) st = one_alone(w, mark, i, &before, &w->alone[i]);
        uint64_t at = (*n)++;
        for (; at && (isnan(w->alone[i]) || w->alone[order[at - 1]] > w->alone[i]); at--) order[at] = order[at - 1];
        order[at] = i;
    }
    verify_close(&w->q, &before);
    return st;
}

static pare_status leave(quantize_work *w, uint32_t *mark, const uint64_t *order, uint64_t k, double before,
                         double *worse) {
    double now;
    memset(w->skip, 0, w->choices.n);
    for (uint64_t i = 0; i < k; i++) w->skip[order[i]] = 1;
    pare_status st = w->q.host->tick(w->q.host, 0.9, "tuning");
    if (!st) st = attempt(w, mark, &now);
    if (st) return st;
    *worse = drop(w, before, now);
    if (w->q.note) w->q.note->curve(w->q.host, "tune", (double)k, now);
    return PARE_OK;
}

static void say(const quantize_work *w, const uint64_t *order, uint64_t k) {
    for (uint64_t i = 0; i < k; i++) {
        const pare_layer *l = &w->choices.at[order[i]].layer;
        quantize_say(&w->q, PARE_INFO, "quantize.tuned", NULL, l->label, NULL,
                     "%s is left in float: alone in int8 it takes the output to %.1f dB", l->name, w->alone[order[i]]);
    }
}

pare_status quantize_tune(quantize_work *w, uint32_t *mark, double before) {
    double now, worse;
    pare_status st = metric(w, &now);
    if (st) return st;
    if (w->q.note) {
        w->q.note->number(w->q.host, "tune_float", before);
        w->q.note->curve(w->q.host, "tune", 0, now);
    }
    if (drop(w, before, now) <= w->o->max_drop) return PARE_OK;
    uint64_t n, low = 0, high = 1;
    uint64_t *order = quantize_scratch(&w->q, w->choices.n, sizeof *order);
    w->skip = quantize_scratch(&w->q, w->choices.n, 1);
    w->alone = quantize_scratch(&w->q, w->choices.n, sizeof *w->alone);
    if (!order || !w->skip || !w->alone) return PARE_ENOMEM;
    if ((st = rank(w, mark, order, &n))) return st;
    for (;; low = high, high = 2 * high < n ? 2 * high : n) {
        if (high >= n)
            return quantize_refuse(&w->q, "quantize.tune", "tune", NULL,
                                   "allow a larger max_drop, or try another "
                                   "calibration, more samples or equalize: on",
                                   "the goal is not reached: %s falls from %.4f to %.4f, and with all layers but one "
                                   "in float it is still worse by more than %g",
                                   w->o->tune_metric, before, now, w->o->max_drop);
        if ((st = leave(w, mark, order, high, before, &worse))) return st;
        if (worse <= w->o->max_drop) break;
    }
    while (high - low > 1) {
        const uint64_t mid = low + (high - low) / 2;
        if ((st = leave(w, mark, order, mid, before, &worse))) return st;
        if (worse <= w->o->max_drop)
            high = mid;
        else
            low = mid;
    }
    /* Once more, with the comparison of layers that the report wants. */
    memset(w->skip, 0, w->choices.n);
    for (uint64_t i = 0; i < high; i++) w->skip[order[i]] = 1;
    if ((st = work_undo(w, mark)) || (st = work_plan(w)) || (st = work_ranges(w))) return st;
    if (w->correct && (st = quantize_correct(w))) return st;
    if ((st = work_try(w))) return st;
    say(w, order, high);
    return PARE_OK;
}
