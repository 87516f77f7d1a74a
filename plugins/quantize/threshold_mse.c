/* quantize/threshold_mse.c - see threshold.h: the least expected squared error.
 *
 * Zero is a point of every grid, so rounding depends on the scale alone and not on where the grid ends. For one scale
 * s the error of a side that ends at level q is
 *   cost(q) = sum over bins of (x - nearest level)^2 up to q s, and of (x - q s)^2 beyond,
 * values evenly spread in their bin: with v = x / s the first is s^3 (G(b) - G(a)) times the bin's density, where
 * G(v) = round(v) / 12 + (v - round(v))^3 / 3 is the integral of (v - round(v))^2 from 0. The best zero point for s is
 * the least of cost_below(z) + cost_above(levels - z). Lengths here are in bins.
 */
#include "threshold.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

typedef struct side {
    const double *count;
    uint32_t n;
    double *rounding;          /* [n + 1] of the bins before k, for the scale at hand */
    double *sum, *sum1, *sum2; /* [n + 1] of the bins from k on: counts; times x; times x^2 */
} side;

typedef struct search {
    side below, above;
    uint32_t levels;
    int32_t fixed; /* levels below zero where the grid says; -1: any */
    double best, best_scale;
    uint32_t best_below;
} search;

static bool side_open(side *s, const threshold_side *from) {
    const size_t n = (size_t)from->n + 1;
    double *m = malloc(4 * n * sizeof *m);
    if (!m) return false;
    *s = (side){.count = from->count, .n = from->n, .rounding = m};
    s->sum = m + n;
    s->sum1 = s->sum + n;
    s->sum2 = s->sum1 + n;
    s->sum[from->n] = s->sum1[from->n] = s->sum2[from->n] = 0;
    for (uint32_t k = from->n; k-- > 0;) {
        const double c = from->count[k], x = (double)k + 0.5;
        s->sum[k] = s->sum[k + 1] + c;
        s->sum1[k] = s->sum1[k + 1] + c * x;
        s->sum2[k] = s->sum2[k + 1] + c * (x * x + 1.0 / 12);
    }
    return true;
}

/* round() for 0 <= v < 2^51, halves to even, in two additions. */
static double round_up(double v) {
    const double big = 6755399441055744.0; /* 1.5 * 2^52 */
    return (v + big) - big;
}

static double error_to(double v) { /* G */
    const double r = round_up(v), d = v - r;
    return r * (1.0 / 12) + d * d * d * (1.0 / 3);
}

static void side_rounding(side *s, double scale) {
    const double inv = 1 / scale, cube = scale * scale * scale;
    double *restrict out = s->rounding;
    const double *restrict count = s->count;
    out[0] = 0;
    for (uint32_t k = 0; k < s->n; k++) {
        const double a = k * inv;
        out[k + 1] = count[k] * ((error_to(a + inv) - error_to(a)) * cube);
    }
    for (uint32_t k = 0; k < s->n; k++) out[k + 1] += out[k];
}

static double side_cost(const side *s, double scale, uint32_t level) {
    const double t = level * scale;
    if (t >= s->n) return s->rounding[s->n];
    const uint32_t k = (uint32_t)t;
    const double inv = 1 / scale, f = (double)k + 1 - t;
    const double part = (error_to(level) - error_to(k * inv)) * (scale * scale * scale) + f * f * f * (1.0 / 3);
    const double tail = s->sum2[k + 1] - 2 * t * s->sum1[k + 1] + t * t * s->sum[k + 1];
    return s->rounding[k] + s->count[k] * part + (tail > 0 ? tail : 0);
}

static void try_scale(search *s, double scale) {
    side_rounding(&s->below, scale);
    side_rounding(&s->above, scale);
    const uint32_t first = s->fixed >= 0 ? (uint32_t)s->fixed : 0, last = s->fixed >= 0 ? first : s->levels;
    for (uint32_t q = first; q <= last; q++) {
        const double cost = side_cost(&s->below, scale, q) + side_cost(&s->above, scale, s->levels - q);
        if (cost < s->best) {
            s->best = cost;
            s->best_scale = scale;
            s->best_below = q;
        }
    }
}

static bool search_open(search *s, const histogram *h, calibrate_grid grid, threshold_side sides[2]) {
    const bool one = threshold_one_sided(h, grid);
    *s = (search){.levels = (uint32_t)(grid.qmax - grid.qmin), .fixed = -1, .best = INFINITY};
    sides[0] = sides[1] = (threshold_side){0};
    if (grid.symmetric && !one) { /* by magnitude, on the levels of one side */
        s->levels /= 2;
        s->fixed = 0;
        if (!threshold_magnitudes(h, &sides[1])) return false;
    } else {
        if (!threshold_sides(h, &sides[0], &sides[1])) return false;
        if (histogram_unkey(h->min) >= 0) s->fixed = 0;
        if (histogram_unkey(h->max) <= 0) s->fixed = (int32_t)s->levels;
    }
    return side_open(&s->below, &sides[0]) && side_open(&s->above, &sides[1]);
}

static void search_close(search *s, threshold_side sides[2]) {
    free(s->below.rounding);
    free(s->above.rounding);
    free(sides[0].count);
    free(sides[1].count);
}

bool threshold_mse(const histogram *h, calibrate_grid grid, float *lo, float *hi) {
    const float min = histogram_unkey(h->min), max = histogram_unkey(h->max);
    const double w = histogram_width(h), far_below = min < 0 ? -(double)min / w : 0, far_above = max > 0 ? max / w : 0;
    threshold_side sides[2];
    search s;
    *lo = min < 0 ? min : 0;
    *hi = max > 0 ? max : 0;
    if (h->n == h->zeros) return true;
    if (!search_open(&s, h, grid, sides)) {
        search_close(&s, sides);
        return false;
    }
    const bool magnitudes = sides[0].count == NULL;
    const double whole = magnitudes ? fmax(far_below, far_above) : far_below + far_above;
    /* With both sides the zero point has to be rounded: a step more holds all of both. */
    const double widest = whole / (s.fixed >= 0 ? s.levels : s.levels - 1);
    for (int i = 0; i <= 128; i++) try_scale(&s, widest * exp2(-i / 16.0));
    for (double step = 1 / 64.0; step > 1 / 5000.0; step /= 8) {
        const double about = s.best_scale;
        for (int i = -8; i <= 8; i++)
            if (i && about * exp2(i * step / 2) <= widest) try_scale(&s, about * exp2(i * step / 2));
    }
    const double scale = s.best_scale * w, most = (double)FLT_MAX;
    if (magnitudes) {
        *hi = (float)fmin(scale * s.levels, most);
        *lo = -*hi;
        if (min >= 0) *lo = 0;
        if (max <= 0) *hi = 0;
    } else {
        *lo = (float)fmax(-scale * s.best_below, -most) + 0.0f;
        *hi = (float)fmin(scale * (s.levels - s.best_below), most);
    }
    search_close(&s, sides);
    return true;
}

double threshold_mse_of(const histogram *h, calibrate_grid grid, float lo, float hi) {
    const double w = histogram_width(h);
    threshold_side sides[2];
    search s;
    float scale;
    int32_t zero_point;
    if (!search_open(&s, h, grid, sides)) {
        search_close(&s, sides);
        return NAN;
    }
    calibrate_params(grid, lo, hi, &scale, &zero_point);
    const double in_bins = scale / w;
    const uint32_t below = sides[0].count ? (uint32_t)(zero_point - grid.qmin) : 0;
    side_rounding(&s.below, in_bins);
    side_rounding(&s.above, in_bins);
    const double cost = side_cost(&s.below, in_bins, below) + side_cost(&s.above, in_bins, s.levels - below);
    search_close(&s, sides);
    return cost * w * w / (double)h->n;
}
