/* quantize/calibrate.c - see calibrate.h: the grid, and the statistics of N tensors. */
#include "calibrate.h"

#include "histogram.h"
#include "threshold.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor {
    calibrate_tensor ask;
    histogram h;
    uint64_t samples;
    double average[2]; /* of least and greatest */
} tensor;

struct calibrator {
    const pare_host *host;
    uint64_t n;
    tensor *tensor;
    uint64_t *counts, n_counts; /* of all histograms, in one piece */
    histogram_work work;
    const char *(*name)(void *ctx, uint64_t sample); /* or NULL */
    void *name_ctx;
    calibrate_range *out; /* while finishing */
    bool *failed;
};

const char *calibrate_method_name(uint32_t method) {
    static const char *const names[] = {
#define NAME(name, text) text,
        CALIBRATE_METHODS(NAME)
#undef NAME
    };
    return method < CALIBRATE_N_METHODS ? names[method] : NULL;
}

calibrate_grid calibrate_grid_of(uint32_t dtype, bool symmetric) {
    if (dtype == PARE_INT8) return (calibrate_grid){symmetric ? -127 : -128, 127, symmetric};
    return (calibrate_grid){0, 255, symmetric};
}

void calibrate_params(calibrate_grid grid, float lo, float hi, float *scale, int32_t *zero_point) {
    const double a = lo < 0 ? (double)lo : 0, b = hi > 0 ? (double)hi : 0;
    const int32_t levels = grid.qmax - grid.qmin, middle = (int32_t)(((int64_t)grid.qmin + grid.qmax + 1) / 2);
    const bool whole = !grid.symmetric || (a == 0 && grid.qmin >= 0); /* all levels serve the range */
    double s = whole ? (b - a) / levels : fmax(-a, b) / (levels / 2);
    double zero = grid.symmetric && !whole ? middle : grid.qmin;
    if (a == 0 && b == 0)
        s = 1;
    else if (s < (double)FLT_MIN)
        s = (double)FLT_MIN;
    if (!grid.symmetric && a < 0) zero = rint(grid.qmin - a / s);
    *scale = (float)s;
    *zero_point = (int32_t)fmin(fmax(zero, grid.qmin), grid.qmax);
}

static uint32_t bins_of(const calibrate_tensor *ask) { return ask->bins ? ask->bins : CALIBRATE_BINS; }

static uint32_t cap_of(const calibrate_tensor *ask) {
    uint32_t cap = 2;
    while (cap < 2 * bins_of(ask)) cap *= 2;
    return cap;
}

static bool valid(const calibrate_tensor *ask) {
    return ask->name && ask->method < CALIBRATE_N_METHODS && bins_of(ask) >= CALIBRATE_MIN_BINS &&
           bins_of(ask) <= CALIBRATE_MAX_BINS && (!ask->dtype || ask->dtype == PARE_UINT8 || ask->dtype == PARE_INT8) &&
           ask->percentile >= 0 && ask->percentile <= 100 && ask->averaging >= 0 && ask->averaging <= 1;
}

static pare_status no_memory(const pare_host *host, uint64_t n) {
    char text[160];
    (void)snprintf(text, sizeof text, "no memory for the statistics of %llu tensors", (unsigned long long)n);
    PARE_REPORT(host, PARE_ERROR, .code = "calibrate.memory", .message = text,
                .hint = "fewer bins, or method: minmax, take less");
    return PARE_ENOMEM;
}

pare_status calibrate_new(const pare_host *host, const calibrate_tensor *tensors, uint64_t n, calibrator **out) {
    uint32_t cap = 2;
    calibrator *c = calloc(1, sizeof *c);
    if (!c) return no_memory(host, n);
    c->host = host;
    c->n = n;
    c->tensor = calloc(n ? n : 1, sizeof *c->tensor);
    if (!c->tensor) goto fail;
    for (uint64_t i = 0; i < n; i++) {
        if (!valid(&tensors[i])) {
            char text[320];
            (void)snprintf(text, sizeof text, "calibration of \"%.200s\" was asked for in a way that does not exist",
                           tensors[i].name ? tensors[i].name : "");
            PARE_REPORT(host, PARE_ERROR, .code = "calibrate.options", .message = text);
            calibrate_free(c);
            return PARE_EINTERNAL;
        }
        const uint32_t wants = tensors[i].method == CALIBRATE_MINMAX ? 0 : cap_of(&tensors[i]);
        c->tensor[i].ask = tensors[i];
        c->tensor[i].h = histogram_new(NULL, wants);
        c->n_counts += wants;
        if (wants > cap) cap = wants;
    }
    c->counts = calloc(c->n_counts ? c->n_counts : 1, sizeof *c->counts);
    if (!c->counts || !histogram_work_open(&c->work, host, cap)) goto fail;
    for (uint64_t i = 0, at = 0; i < n; i++) {
        if (c->tensor[i].h.cap) c->tensor[i].h.count = c->counts + at;
        at += c->tensor[i].h.cap;
    }
    *out = c;
    return PARE_OK;
fail:
    calibrate_free(c);
    return no_memory(host, n);
}

void calibrate_free(calibrator *c) {
    if (!c) return;
    histogram_work_close(&c->work);
    free(c->counts);
    free(c->tensor);
    free(c);
}

void calibrate_names(calibrator *c, const char *(*name)(void *ctx, uint64_t sample), void *ctx) {
    c->name = name;
    c->name_ctx = ctx;
}

/* ---- adding ---- */

static const void *view_data(const pare_view *v) { return (const char *)v->data + v->byte_offset; }

/* Elements of each sample where the view is made of n equal ones, else 0. */
static uint64_t per_sample(const pare_view *v, uint64_t n) {
    return n && v->ndim && v->dims[0] > 0 && (uint64_t)v->dims[0] % n == 0 ? v->count / n : 0;
}

/* Names the sample whose values are not finite. */
static pare_status not_finite(const calibrator *c, const tensor *t, const pare_view *v, uint64_t n,
                              const uint64_t *samples) {
    const uint64_t each = per_sample(v, n) ? per_sample(v, n) : v->count;
    uint64_t nans = 0, infinities = 0, at = 0;
    float buffer[HISTOGRAM_BLOCK];
    char text[768], where[64] = "", sample[224];
    for (uint64_t s = 0; s * each < v->count && !nans && !infinities; s++) {
        at = s;
        for (uint64_t first = 0; first < each;) {
            const uint32_t m = each - first < HISTOGRAM_BLOCK ? (uint32_t)(each - first) : HISTOGRAM_BLOCK;
            const float *x = histogram_floats(view_data(v), v->dtype, s * each + first, m, buffer);
            for (uint32_t i = 0; i < m; i++) {
                nans += isnan(x[i]) != 0;
                infinities += isinf(x[i]) != 0;
            }
            first += m;
        }
    }
    const uint64_t first = samples ? samples[at] : t->samples + at;
    if (c->name)
        (void)snprintf(sample, sizeof sample, "%.200s", c->name(c->name_ctx, first));
    else
        (void)snprintf(sample, sizeof sample, "sample %llu", (unsigned long long)first);
    if (!per_sample(v, n) && n != 1)
        (void)snprintf(where, sizeof where, "the batch of %llu that begins with ", (unsigned long long)n);
    if (nans == each)
        (void)snprintf(text, sizeof text, "%s%s makes all %llu values of \"%.200s\" NaN", where, sample,
                       (unsigned long long)each, t->ask.name);
    else if (nans)
        (void)snprintf(text, sizeof text, "%s%s makes %llu of %llu values of \"%.200s\" NaN", where, sample,
                       (unsigned long long)nans, (unsigned long long)each, t->ask.name);
    else
        (void)snprintf(text, sizeof text, "%s%s makes %llu of %llu values of \"%.200s\" infinite: its range has no end",
                       where, sample, (unsigned long long)infinities, (unsigned long long)each, t->ask.name);
    PARE_REPORT(c->host, PARE_ERROR, .code = nans ? "calibrate.nan" : "calibrate.infinite", .message = text,
                .tensor = t->ask.name,
                .hint = "look at that sample and at the weights before this tensor; a damaged sample can be taken out "
                        "of the set");
    return PARE_EINVAL;
}

pare_status calibrate_add(calibrator *c, uint64_t i, const pare_view *v, uint64_t n, const uint64_t *samples) {
    tensor *t = &c->tensor[i];
    int32_t min, max;
    if (!histogram_reads(v->dtype)) {
        char text[320];
        (void)snprintf(text, sizeof text, "\"%.200s\" is %s: ranges are measured of floats alone", t->ask.name,
                       pare_dtype_name(v->dtype));
        PARE_REPORT(c->host, PARE_ERROR, .code = "calibrate.dtype", .message = text, .tensor = t->ask.name,
                    .hint = "exclude the node that takes it");
        return PARE_EUNSUPPORTED;
    }
    if (!v->count || !n) return PARE_OK;
    const uint64_t bytes = pare_dtype_bits(v->dtype) / 8;
    uint64_t each = v->count, pieces = 1;
    if (t->ask.method == CALIBRATE_MOVING_AVERAGE && per_sample(v, n)) {
        each = per_sample(v, n);
        pieces = n;
    }
    const double rate = t->ask.averaging > 0 ? t->ask.averaging : CALIBRATE_AVERAGING_DEFAULT;
    for (uint64_t p = 0; p < pieces; p++) {
        if (!histogram_add(&c->work, &t->h, (const char *)view_data(v) + p * each * bytes, v->dtype, each, &min, &max))
            return not_finite(c, t, v, n, samples);
        const double seen[2] = {(double)histogram_unkey(min), (double)histogram_unkey(max)};
        const bool begins = t->samples == 0 && p == 0;
        for (int e = 0; e < 2; e++) t->average[e] = begins ? seen[e] : t->average[e] + rate * (seen[e] - t->average[e]);
    }
    t->samples += n;
    return PARE_OK;
}

/* ---- finishing ---- */

/* Over all processes: first the ranges, so that all have the same bins, then the counts. */
static pare_status merge(calibrator *c) {
    const pare_host *host = c->host;
    const uint64_t n = c->n;
    int64_t *ends = malloc((n ? n : 1) * 2 * sizeof *ends);
    uint64_t *sums = malloc((n ? n : 1) * 3 * sizeof *sums);
    double *averages = malloc((n ? n : 1) * 3 * sizeof *averages);
    pare_status st = PARE_ENOMEM;
    if (!ends || !sums || !averages) {
        (void)no_memory(host, n);
        goto done;
    }
    for (uint64_t i = 0; i < n; i++) {
        const tensor *t = &c->tensor[i];
        const bool some = t->samples > 0;
        ends[i] = t->h.min;
        ends[n + i] = t->h.max;
        sums[i] = t->samples;
        sums[n + i] = t->h.n;
        sums[2 * n + i] = t->h.zeros;
        averages[i] = some ? t->average[0] : 0;
        averages[n + i] = some ? t->average[1] : 0;
        averages[2 * n + i] = some;
    }
    if ((st = host->reduce(host, PARE_REDUCE_MIN, PARE_INT64, ends, n))) goto done;
    if ((st = host->reduce(host, PARE_REDUCE_MAX, PARE_INT64, ends + n, n))) goto done;
    if ((st = host->reduce(host, PARE_REDUCE_SUM, PARE_UINT64, sums, 3 * n))) goto done;
    if ((st = host->reduce(host, PARE_REDUCE_SUM, PARE_DOUBLE, averages, 3 * n))) goto done;
    for (uint64_t i = 0; i < n; i++) {
        tensor *t = &c->tensor[i];
        histogram_cover(&t->h, (int32_t)ends[i], (int32_t)ends[n + i]);
        t->samples = sums[i];
        t->h.n = sums[n + i];
        t->h.zeros = sums[2 * n + i];
        for (int e = 0; e < 2; e++) /* of several processes' averages, the mean */
            t->average[e] = averages[2 * n + i] > 0 ? averages[(uint64_t)e * n + i] / averages[2 * n + i] : 0;
    }
    st = host->reduce(host, PARE_REDUCE_SUM, PARE_UINT64, c->counts, c->n_counts);
done:
    free(ends);
    free(sums);
    free(averages);
    return st;
}

static void choose(void *ctx, uint64_t i) {
    calibrator *c = ctx;
    const tensor *t = &c->tensor[i];
    const calibrate_tensor *ask = &t->ask;
    const calibrate_grid grid = calibrate_grid_of(ask->dtype, ask->symmetric);
    calibrate_range *r = &c->out[i];
    bool ok = true;
    *r = (calibrate_range){.samples = t->samples, .elements = t->h.n, .zeros = t->h.zeros};
    c->failed[i] = false;
    if (!t->h.n) return;
    r->min = histogram_unkey(t->h.min);
    r->max = histogram_unkey(t->h.max);
    r->lo = r->min < 0 ? r->min : 0;
    r->hi = r->max > 0 ? r->max : 0;
    switch (r->lo < r->hi ? ask->method : CALIBRATE_MINMAX) {
    case CALIBRATE_MOVING_AVERAGE:
        r->lo = t->average[0] < 0 ? (float)t->average[0] : 0;
        r->hi = t->average[1] > 0 ? (float)t->average[1] : 0;
        break;
    case CALIBRATE_PERCENTILE:
        ok = threshold_percentile(&t->h, grid, ask->percentile > 0 ? ask->percentile : CALIBRATE_PERCENTILE_DEFAULT,
                                  &r->lo, &r->hi);
        break;
    case CALIBRATE_ENTROPY: ok = threshold_entropy(&t->h, grid, bins_of(ask), &r->lo, &r->hi); break;
    case CALIBRATE_MSE: ok = threshold_mse(&t->h, grid, &r->lo, &r->hi); break;
    default: break;
    }
    /* Hardly anything of a range at zero is left where nearly all values are zero: a grid is wanted all the same. */
    if (!(r->lo < r->hi)) {
        r->lo = r->min < 0 ? r->min : 0;
        r->hi = r->max > 0 ? r->max : 0;
    }
    calibrate_params(grid, r->lo, r->hi, &r->scale, &r->zero_point);
    r->clipped = threshold_clipped(&t->h, r->lo, r->hi);
    c->failed[i] = !ok;
}

static pare_status unreached(const calibrator *c, const calibrate_range *out) {
    char text[1024];
    uint64_t missing = 0, named = 0;
    size_t at = 0;
    const char *first = NULL;
    for (uint64_t i = 0; i < c->n; i++) missing += out[i].samples == 0;
    if (!missing) return PARE_OK;
    at = (size_t)snprintf(text, sizeof text, "no sample reached ");
    for (uint64_t i = 0; i < c->n && named < 4; i++) {
        if (out[i].samples) continue;
        if (!first) first = c->tensor[i].ask.name;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%.200s\"", named ? ", " : "", c->tensor[i].ask.name);
        named++;
    }
    if (missing > named)
        (void)snprintf(text + at, sizeof text - at, " and %llu tensors more", (unsigned long long)(missing - named));
    PARE_REPORT(c->host, PARE_ERROR, .code = "calibrate.unreached", .message = text, .tensor = first,
                .hint = "calibrate on samples that take this way through the model, or exclude the nodes that use it");
    return PARE_EINVAL;
}

static void odd(const calibrator *c, const calibrate_range *r, uint64_t i) {
    char text[400];
    const char *name = c->tensor[i].ask.name;
    if (r->min == 0 && r->max == 0) {
        (void)snprintf(text, sizeof text,
                       "\"%.200s\" was zero all over in %llu samples: it has no range, and gets the "
                       "scale 1",
                       name, (unsigned long long)r->samples);
        PARE_REPORT(c->host, PARE_WARNING, .code = "calibrate.zero", .message = text, .tensor = name,
                    .hint = "a part of the network that is dead, or samples that don't suit it");
    } else if (r->min == r->max && r->elements > 1) {
        (void)snprintf(text, sizeof text,
                       "\"%.200s\" was %g all over in %llu samples: its range is a guess from one "
                       "value",
                       name, (double)r->min, (unsigned long long)r->samples);
        PARE_REPORT(c->host, PARE_WARNING, .code = "calibrate.constant", .message = text, .tensor = name,
                    .hint = "calibrate on samples that differ");
    }
}

pare_status calibrate_finish(calibrator *c, calibrate_range *out) {
    pare_status st = merge(c);
    if (st) return st;
    c->failed = calloc(c->n ? c->n : 1, sizeof *c->failed);
    if (!c->failed) return no_memory(c->host, c->n);
    c->out = out;
    c->host->parallel(c->host, c->n, choose, c);
    st = unreached(c, out);
    for (uint64_t i = 0; i < c->n && !st; i++)
        if (c->failed[i]) st = no_memory(c->host, c->n);
    free(c->failed);
    for (uint64_t i = 0; i < c->n && !st; i++) odd(c, &out[i], i);
    return st;
}
