/* quantize/threshold.c - see threshold.h: sides, percentile, clipped share. */
#include "threshold.h"

#include <math.h>
#include <stdlib.h>

static bool side_new(threshold_side *s, uint32_t n) {
    s->n = n;
    s->count = calloc(n ? n : 1, sizeof *s->count);
    return s->count != NULL;
}

bool threshold_sides(const histogram *h, threshold_side *below, threshold_side *above) {
    *below = *above = (threshold_side){0};
    if (!side_new(below, histogram_below(h)) || !side_new(above, histogram_above(h))) {
        free(below->count);
        below->count = NULL;
        return false;
    }
    for (uint32_t k = 0; k < below->n; k++) below->count[k] = (double)histogram_at(h, -(int64_t)k - 1);
    for (uint32_t k = 0; k < above->n; k++) above->count[k] = (double)histogram_at(h, k);
    if (above->n) above->count[0] -= (double)h->zeros;
    return true;
}

bool threshold_magnitudes(const histogram *h, threshold_side *out) {
    const uint32_t n_below = histogram_below(h), n_above = histogram_above(h);
    if (!side_new(out, n_below > n_above ? n_below : n_above)) return false;
    for (uint32_t k = 0; k < n_below; k++) out->count[k] += (double)histogram_at(h, -(int64_t)k - 1);
    for (uint32_t k = 0; k < n_above; k++) out->count[k] += (double)histogram_at(h, k);
    if (out->n) out->count[0] -= (double)h->zeros;
    return true;
}

bool threshold_one_sided(const histogram *h, calibrate_grid grid) {
    const bool from_zero = histogram_unkey(h->min) >= 0, to_zero = histogram_unkey(h->max) <= 0;
    return grid.symmetric ? from_zero && grid.qmin >= 0 : from_zero || to_zero;
}

/* The magnitude beyond which `cut` values of a side lie, in bins; at most the side's end. */
static double quantile(const threshold_side *s, double cut) {
    for (uint32_t k = s->n; k-- > 0;) {
        if (s->count[k] > 0 && s->count[k] >= cut) return (double)k + 1 - cut / s->count[k];
        cut -= s->count[k];
    }
    return 0;
}

/* Magnitudes of a range within what was seen. */
static void within(const histogram *h, double below, double above, float *lo, float *hi) {
    const float min = histogram_unkey(h->min), max = histogram_unkey(h->max);
    const double w = histogram_width(h);
    *lo = (float)fmax(-below * w, min < 0 ? (double)min : 0);
    *hi = (float)fmin(above * w, max > 0 ? (double)max : 0);
    *lo += 0.0f; /* no -0 */
}

bool threshold_percentile(const histogram *h, calibrate_grid grid, double percent, float *lo, float *hi) {
    const double cut = (double)h->n * ((100 - percent) / 100);
    threshold_side below, above;
    if (grid.symmetric) {
        if (!threshold_magnitudes(h, &above)) return false;
        const double t = quantile(&above, cut);
        within(h, t, t, lo, hi);
        free(above.count);
        return true;
    }
    if (!threshold_sides(h, &below, &above)) return false;
    const bool one = threshold_one_sided(h, grid);
    within(h, quantile(&below, one ? cut : cut / 2), quantile(&above, one ? cut : cut / 2), lo, hi);
    free(below.count);
    free(above.count);
    return true;
}

/* Values of one side beyond magnitude t. */
static double beyond(const histogram *h, bool above, double t) {
    const uint32_t n = above ? histogram_above(h) : histogram_below(h);
    const double u = t / histogram_width(h);
    double sum = 0;
    for (uint32_t k = n; k-- > 0;) {
        double c = (double)(above ? histogram_at(h, k) : histogram_at(h, -(int64_t)k - 1));
        if (above && k == 0) c -= (double)h->zeros;
        if (u <= k)
            sum += c;
        else
            return sum + (u < (double)k + 1 ? c * ((double)k + 1 - u) : 0);
    }
    return sum;
}

double threshold_clipped(const histogram *h, float lo, float hi) {
    double out = 0;
    if (h->min > h->max || !h->count) return 0;
    if (lo > histogram_unkey(h->min)) out += beyond(h, false, lo < 0 ? -(double)lo : 0);
    if (hi < histogram_unkey(h->max)) out += beyond(h, true, hi > 0 ? (double)hi : 0);
    return out / (double)h->n;
}
