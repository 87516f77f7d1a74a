/* plugins/cpu/ref/ref_axis.c - along one axis: CumSum, Softmax and its relatives, TopK.
 *
 * May use: ref.h, the C library (TopK's list of candidates).
 */
#include "ref_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pare_status ref_run_cumsum(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    bool exclusive = ref_attr_int(s, "exclusive", 0) != 0, reverse = ref_attr_int(s, "reverse", 0) != 0;
    ref_axes a;
    if (!ref_has(s, 1) || ref_count(s->in[1]) != 1) return PARE_EINVAL;
    if (!ref_axis_split(x, ref_get_int(c->in[1], s->in[1]->dtype, 0), &a)) return PARE_EINVAL;
    if (ref_count(s->out[0]) != ref_count(x) || s->out[0]->dtype != x->dtype) return PARE_EINVAL;
    bool ints = ref_is_int(x->dtype);
    for (uint64_t o = 0; o < a.outer; o++) {
        for (uint64_t k = 0; k < a.inner; k++) {
            double sum = 0;
            uint64_t total = 0;
            for (uint64_t i = 0; i < a.n; i++) {
                uint64_t at = (o * a.n + (reverse ? a.n - 1 - i : i)) * a.inner + k;
                if (ints) {
                    uint64_t next = total + (uint64_t)ref_get_int(c->in[0], x->dtype, at);
                    ref_set_int(c->out[0], x->dtype, at, (int64_t)(exclusive ? total : next));
                    total = next;
                } else {
                    double next = sum + ref_get(c->in[0], x->dtype, at);
                    ref_set(c->out[0], x->dtype, at, exclusive ? sum : next);
                    sum = next;
                }
            }
        }
    }
    return PARE_OK;
}

/* ---- Softmax, LogSoftmax, Hardmax ---- */

enum { SOFTMAX, LOG_SOFTMAX, HARDMAX };

/* n elements, `step` apart. In place is fine: each element is read before it is written. */
static void softmax_f32(int op, const float *x, float *y, uint64_t n, uint64_t step, uint64_t best) {
    float top = x[best * step];
    double sum = 0;
    if (op == SOFTMAX) {
        for (uint64_t i = 0; i < n; i++) {
            y[i * step] = expf(x[i * step] - top);
            sum += (double)y[i * step];
        }
        for (uint64_t i = 0; i < n; i++) y[i * step] = (float)((double)y[i * step] / sum);
        return;
    }
    for (uint64_t i = 0; i < n; i++) sum += exp((double)x[i * step] - (double)top);
    double log_sum = log(sum) + (double)top;
    for (uint64_t i = 0; i < n; i++) y[i * step] = (float)((double)x[i * step] - log_sum);
}

static void softmax(int op, const ref_call *c, uint64_t at, uint64_t n, uint64_t step) {
    uint32_t t = c->spec->in[0]->dtype, to = c->spec->out[0]->dtype;
    uint64_t best = 0;
    double top = ref_get(c->in[0], t, at), sum = 0;
    for (uint64_t i = 1; i < n; i++) {
        double v = ref_get(c->in[0], t, at + i * step);
        if (v > top || (isnan(v) && !isnan(top))) top = v, best = i;
    }
    if (op == HARDMAX) {
        for (uint64_t i = 0; i < n; i++) ref_set(c->out[0], to, at + i * step, i == best);
        return;
    }
    if (t == PARE_FLOAT && to == PARE_FLOAT) {
        softmax_f32(op, (const float *)c->in[0] + at, (float *)c->out[0] + at, n, step, best);
        return;
    }
    for (uint64_t i = 0; i < n; i++) sum += exp(ref_get(c->in[0], t, at + i * step) - top);
    double log_sum = log(sum);
    for (uint64_t i = 0; i < n; i++) {
        double v = ref_get(c->in[0], t, at + i * step) - top;
        ref_set(c->out[0], to, at + i * step, op == SOFTMAX ? exp(v) / sum : v - log_sum);
    }
}

pare_status ref_run_softmax(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    int op = !strcmp(s->op_type, "Softmax") ? SOFTMAX : !strcmp(s->op_type, "Hardmax") ? HARDMAX : LOG_SOFTMAX;
    bool flat = s->version < 13; /* before, all dims from the axis on were one */
    ref_axes a;
    if (ref_count(s->out[0]) != ref_count(x)) return PARE_EINVAL;
    if (!ref_axis_split(x, ref_attr_int(s, "axis", flat ? 1 : -1), &a)) {
        if (x->ndim) return PARE_EINVAL;
        a = (ref_axes){1, 1, 1};
    }
    if (flat) a.n *= a.inner, a.inner = 1;
    for (uint64_t o = 0; a.n && o < a.outer; o++)
        for (uint64_t k = 0; k < a.inner; k++) softmax(op, c, o * a.n * a.inner + k, a.n, a.inner);
    return PARE_OK;
}

/* ---- TopK ---- */

/* An unsigned number that orders as the elements do: NaN above all, both zeros the same. */
static uint64_t sort_key(const void *x, uint32_t dtype, uint64_t i) {
    const uint64_t sign = (uint64_t)1 << 63;
    if (ref_is_int(dtype)) {
        uint64_t v = (uint64_t)ref_get_int(x, dtype, i);
        return pare_dtype_kind(dtype) == 'i' ? v ^ sign : v;
    }
    double d = ref_get(x, dtype, i) + 0.0;
    uint64_t bits;
    if (isnan(d)) return UINT64_MAX;
    memcpy(&bits, &d, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

typedef struct candidate {
    uint64_t key, at; /* wanted first: the larger key, then the smaller index */
} candidate;

static bool worse(candidate a, candidate b) { return a.key != b.key ? a.key < b.key : a.at > b.at; }

/* A heap with the worst at the top. */
static void sink(candidate *h, uint64_t n, uint64_t i) {
    for (uint64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(h[child + 1], h[child])) child++;
        if (!worse(h[child], h[i])) return;
        candidate t = h[i];
        h[i] = h[child], h[child] = t;
    }
}

/* The k first in order, of n elements `step` apart. */
static void top(const void *x, uint32_t dtype, uint64_t at, uint64_t n, uint64_t step, uint64_t flip, candidate *h,
                uint64_t k) {
    for (uint64_t i = 0; i < n; i++) {
        candidate next = {sort_key(x, dtype, at + i * step) ^ flip, i};
        if (i < k) {
            h[i] = next;
            for (uint64_t j = k / 2; i + 1 == k && j-- > 0;) sink(h, k, j);
        } else if (worse(h[0], next)) {
            h[0] = next;
            sink(h, k, 0);
        }
    }
    for (uint64_t m = k; m > 1; m--) {
        candidate t = h[0];
        h[0] = h[m - 1], h[m - 1] = t;
        sink(h, m - 1, 0);
    }
}

pare_status ref_run_topk(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    bool ints = ref_is_int(x->dtype);
    uint64_t flip = ref_attr_int(s, "largest", 1) ? 0 : UINT64_MAX;
    ref_axes a;
    if (!ref_has(s, 1) || ref_count(s->in[1]) != 1) return PARE_EINVAL;
    if (!ref_axis_split(x, ref_attr_int(s, "axis", -1), &a)) return PARE_EINVAL;
    int64_t wanted = ref_get_int(c->in[1], s->in[1]->dtype, 0);
    if (wanted < 0 || (uint64_t)wanted > a.n) return PARE_EINVAL;
    if (s->out[0]->dtype != x->dtype) return PARE_EINVAL;
    uint64_t k = (uint64_t)wanted, n_out = a.outer * k * a.inner;
    bool indices = s->n_out > 1 && !(s->out[1]->flags & PARE_OPERAND_ABSENT);
    if (ref_count(s->out[0]) != n_out || (indices && ref_count(s->out[1]) != n_out)) return PARE_EINVAL;
    if (!n_out) return PARE_OK;
    if (k > SIZE_MAX / sizeof(candidate)) return PARE_ENOMEM;
    candidate *h = malloc(k * sizeof *h);
    if (!h) return PARE_ENOMEM;
    for (uint64_t o = 0; o < a.outer; o++) {
        for (uint64_t in = 0; in < a.inner; in++) {
            uint64_t at = o * a.n * a.inner + in;
            top(c->in[0], x->dtype, at, a.n, a.inner, flip, h, k);
            for (uint64_t i = 0; i < k; i++) {
                uint64_t to = (o * k + i) * a.inner + in, from = at + h[i].at * a.inner;
                if (ints)
                    ref_set_int(c->out[0], x->dtype, to, ref_get_int(c->in[0], x->dtype, from));
                else
                    ref_set(c->out[0], x->dtype, to, ref_get(c->in[0], x->dtype, from));
                if (indices) ref_set_int(c->out[1], s->out[1]->dtype, to, (int64_t)h[i].at);
            }
        }
    }
    free(h);
    return PARE_OK;
}
