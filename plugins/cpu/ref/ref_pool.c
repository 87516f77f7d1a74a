/* plugins/cpu/ref/ref_pool.c - MaxPool, AveragePool, LpPool over 1 to 3 spatial dims, and the Global ones.
 *
 * ceil_mode only decides the output's size, which the spec already holds; what a window has beyond the padded input
 * counts for nothing. May use: ref_b.h, the C library.
 */
#include "ref_b.h"

#include <math.h>
#include <stdlib.h>

bool ref_pool_supports(const pare_kernel_spec *s) {
    return s->n_in > 0 && ref_has(s, 0) && s->in[0]->ndim >= 3 && s->in[0]->ndim <= 5;
}

static pare_status read_window(const ref_call *c, refb_window *w) {
    const pare_kernel_spec *s = c->spec;
    uint64_t n;
    if (!refb_ok(c, 1, 1) || !ref_pool_supports(s)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *y = s->out[0];
    const int64_t *kernel = ref_attr_ints(s, "kernel_shape", &n);
    if (y->ndim != x->ndim || y->dims[0] != x->dims[0] || y->dims[1] != x->dims[1]) return PARE_EINVAL;
    if (!kernel || n != x->ndim - 2) return PARE_EINVAL;
    return refb_window_read(s, x->ndim - 2, x->dims + 2, y->dims + 2, kernel, w);
}

/* What becomes of the elements that one window covers. */
typedef struct sums {
    double best, sum;
    int64_t at;    /* offset of the best in its plane, -1: none */
    double inside; /* taps that meet the input */
    double padded; /* taps that meet the input or its padding */
} sums;

enum { POOL_MAX, POOL_AVERAGE, POOL_LP };

/* The window at output `at` of one plane. Only taps that meet the input are visited: a kernel may claim any size. */
static sums slide(const refb_window *w, const void *data, uint32_t dtype, uint64_t base, const int64_t at[3], int kind,
                  double p) {
    sums r = {.at = -1, .padded = 1};
    int64_t first[3], count[3], k[3] = {0};
    bool none = false;
    for (int d = 0; d < 3; d++) {
        int64_t lo, hi, start = at[d] * w->stride[d] - w->pad[d];
        refb_overlap(w->kernel[d], w->dilation[d], start + w->pad[d], w->in[d] + w->pad[d] + w->pad_end[d], &lo, &hi);
        r.padded *= hi > lo ? (double)(hi - lo) : 0;
        refb_overlap(w->kernel[d], w->dilation[d], start, w->in[d], &lo, &hi);
        first[d] = start + lo * w->dilation[d];
        count[d] = hi - lo;
        none = none || hi <= lo;
    }
    if (none) return r;
    do {
        int64_t flat = 0;
        for (int d = 0; d < 3; d++) flat = flat * w->in[d] + first[d] + k[d] * w->dilation[d];
        double v = ref_get(data, dtype, base + (uint64_t)flat);
        r.inside++;
        if (kind == POOL_LP) {
            r.sum += p == 2 ? v * v : pow(fabs(v), p);
        } else if (kind == POOL_AVERAGE) {
            r.sum += v;
        } else if (r.at < 0 || v > r.best || (v != v && r.best == r.best)) {
            r.best = v;
            r.at = flat;
        }
    } while (ref_next(k, count, 3));
    return r;
}

static uint64_t planes(const pare_operand *o) { return refb_product(o->dims, o->ndim < 2 ? o->ndim : 2); }

/* A window with nothing in it: the lowest number there is. */
static void set_lowest(void *out, uint32_t dtype, uint64_t i) {
    if (!ref_is_int(dtype))
        ref_set(out, dtype, i, -INFINITY);
    else
        ref_set_int(out, dtype, i, pare_dtype_kind(dtype) == 'i' ? -((int64_t)1 << (pare_dtype_bits(dtype) - 1)) : 0);
}

pare_status ref_max_pool(const ref_call *c) {
    refb_window w;
    pare_status st = read_window(c, &w);
    if (st) return st;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    bool by_column = ref_attr_int(c->spec, "storage_order", 0) != 0, want = refb_out(c->spec, 1);
    uint64_t plane = (uint64_t)(w.in[0] * w.in[1] * w.in[2]), o = 0;
    if (want && (c->spec->out[1]->dtype != PARE_INT64 || ref_count(c->spec->out[1]) != ref_count(y)))
        return PARE_EINVAL;
    if (!ref_count(y)) return PARE_OK;
    for (uint64_t n = 0; n < planes(x); n++) {
        int64_t at[3] = {0};
        do {
            sums r = slide(&w, c->in[0], x->dtype, n * plane, at, POOL_MAX, 0);
            if (r.at < 0)
                set_lowest(c->out[0], y->dtype, o);
            else
                ref_set(c->out[0], y->dtype, o, r.best);
            if (want) {
                int64_t d = r.at / (w.in[1] * w.in[2]), h = r.at / w.in[2] % w.in[1], v = r.at % w.in[2];
                int64_t flat = by_column ? (v * w.in[1] + h) * w.in[0] + d : r.at;
                ref_set_int(c->out[1], PARE_INT64, o, r.at < 0 ? -1 : (int64_t)(n * plane) + flat);
            }
            o++;
        } while (ref_next(at, w.out, 3));
    }
    return PARE_OK;
}

pare_status ref_average_pool(const ref_call *c) {
    refb_window w;
    pare_status st = read_window(c, &w);
    if (st) return st;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    bool with_pads = ref_attr_int(c->spec, "count_include_pad", 0) != 0;
    uint64_t plane = (uint64_t)(w.in[0] * w.in[1] * w.in[2]), o = 0;
    if (!ref_count(y)) return PARE_OK;
    for (uint64_t n = 0; n < planes(x); n++) {
        int64_t at[3] = {0};
        do {
            sums r = slide(&w, c->in[0], x->dtype, n * plane, at, POOL_AVERAGE, 0);
            double count = with_pads ? r.padded : r.inside;
            ref_set(c->out[0], y->dtype, o++, count > 0 ? r.sum / count : 0);
        } while (ref_next(at, w.out, 3));
    }
    return PARE_OK;
}

static double root(double sum, double p) { return p == 2 ? sqrt(sum) : pow(sum, 1 / p); }

pare_status ref_lp_pool(const ref_call *c) {
    refb_window w;
    pare_status st = read_window(c, &w);
    if (st) return st;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    double p = (double)ref_attr_int(c->spec, "p", 2);
    uint64_t plane = (uint64_t)(w.in[0] * w.in[1] * w.in[2]), o = 0;
    if (!ref_count(y)) return PARE_OK;
    for (uint64_t n = 0; n < planes(x); n++) {
        int64_t at[3] = {0};
        do {
            sums r = slide(&w, c->in[0], x->dtype, n * plane, at, POOL_LP, p);
            ref_set(c->out[0], y->dtype, o++, root(r.sum, p));
        } while (ref_next(at, w.out, 3));
    }
    return PARE_OK;
}

static pare_status global_pool(const ref_call *c, int kind) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    if (x->ndim < 2 || ref_count(y) != planes(x)) return PARE_EINVAL;
    uint64_t plane = refb_product(x->dims + 2, x->ndim - 2);
    double p = (double)ref_attr_int(c->spec, "p", 2);
    for (uint64_t n = 0; n < planes(x); n++) {
        double sum = 0, best = -INFINITY;
        for (uint64_t i = 0; i < plane; i++) {
            double v = ref_get(c->in[0], x->dtype, n * plane + i);
            if (v > best || v != v) best = v;
            sum += kind == POOL_LP ? pow(fabs(v), p) : v;
        }
        double r = kind == POOL_MAX ? best : kind == POOL_LP ? root(sum, p) : sum / (double)plane;
        ref_set(c->out[0], y->dtype, n, r);
    }
    return PARE_OK;
}

pare_status ref_global_max_pool(const ref_call *c) { return global_pool(c, POOL_MAX); }
pare_status ref_global_average_pool(const ref_call *c) { return global_pool(c, POOL_AVERAGE); }
pare_status ref_global_lp_pool(const ref_call *c) { return global_pool(c, POOL_LP); }
