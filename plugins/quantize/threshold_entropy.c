/* quantize/threshold_entropy.c - see threshold.h: the least Kullback-Leibler divergence.
 *
 * With P the reference, cut at bin i with the tail O in its last bin, T all values, and level j holding S_j of the M =
 * T - O values in n_j bins that P has values in, each such bin of Q is S_j / n_j and
 *   KL = (sum P log P - sum_j P_j log(S_j / n_j)) / T + log(M / T),   P_j = S_j (+ O in the last level).
 * Sums over bins come from running totals, so a cut costs L logarithms instead of i.
 */
#include "threshold.h"

#include <math.h>
#include <stdlib.h>

typedef struct curve {
    const double *count;
    double *sum, *plogp; /* running totals: of the bins before k */
    uint32_t *some;      /* bins before k that have values */
    uint32_t n, levels;
} curve;

static double x_log_x(double x) { return x > 0 ? x * log(x) : 0; }

static double divergence(const curve *c, uint32_t i) {
    const double total = c->sum[c->n], inside = c->sum[i], tail = total - inside;
    const double last = c->count[i - 1] + tail;
    double cross = 0;
    uint32_t from = 0;
    for (uint32_t j = 0; j < c->levels; j++) {
        const uint32_t to = (uint32_t)((uint64_t)(j + 1) * i / c->levels);
        double p = c->sum[to] - c->sum[from];
        uint32_t bins = c->some[to] - c->some[from];
        const double q = p;
        if (j + 1 == c->levels) {
            p += tail;
            bins += c->count[i - 1] <= 0 && tail > 0;
        }
        if (p > 0 && q <= 0) return INFINITY; /* values where the levels have none */
        if (q > 0) cross += p * log(q / bins);
        from = to;
    }
    return (c->plogp[i - 1] + x_log_x(last) - cross) / total + log(inside / total);
}

/* At most `bins` bins, by merging neighbours; by how many. */
static uint32_t narrow(threshold_side *s, uint32_t bins) {
    uint32_t by = 1;
    while (s->n > bins) {
        const uint32_t n = s->n / 2 + s->n % 2;
        for (uint32_t k = 0; k < n; k++)
            s->count[k] = s->count[(size_t)2 * k] + (2 * k + 1 < s->n ? s->count[(size_t)2 * k + 1] : 0);
        s->n = n;
        by *= 2;
    }
    return by;
}

bool threshold_entropy(const histogram *h, calibrate_grid grid, uint32_t bins, float *lo, float *hi) {
    const float min = histogram_unkey(h->min), max = histogram_unkey(h->max);
    const uint32_t all = (uint32_t)(grid.qmax - grid.qmin) + 1;
    threshold_side s;
    *lo = min < 0 ? min : 0;
    *hi = max > 0 ? max : 0;
    if (!threshold_magnitudes(h, &s)) return false;
    const double width = histogram_width(h) * narrow(&s, bins);
    curve c = {.count = s.count, .n = s.n, .levels = threshold_one_sided(h, grid) ? all : (all + 1) / 2};
    double *totals = malloc(2 * ((size_t)s.n + 1) * sizeof *totals);
    c.some = malloc(((size_t)s.n + 1) * sizeof *c.some);
    if (!totals || !c.some) {
        free(totals);
        free(c.some);
        free(s.count);
        return false;
    }
    c.sum = totals;
    c.plogp = totals + s.n + 1;
    if (s.n > 1) s.count[0] = s.count[1];
    c.sum[0] = c.plogp[0] = 0;
    c.some[0] = 0;
    for (uint32_t k = 0; k < s.n; k++) {
        c.sum[k + 1] = c.sum[k] + s.count[k];
        c.plogp[k + 1] = c.plogp[k] + x_log_x(s.count[k]);
        c.some[k + 1] = c.some[k] + (s.count[k] > 0);
    }
    uint32_t best = s.n;
    double least = INFINITY;
    for (uint32_t i = c.levels; i <= s.n && c.sum[s.n] > 0; i++) {
        if (c.sum[i] <= 0) continue;
        const double d = divergence(&c, i);
        if (d < least) {
            least = d;
            best = i;
        }
    }
    const double t = best * width;
    if (best < s.n) {
        *lo = (float)fmax(-t, (double)*lo);
        *hi = (float)fmin(t, (double)*hi);
    }
    free(totals);
    free(c.some);
    free(s.count);
    return true;
}
