/* plugins/cpu/ref/ref_reduce.c - Reduce*, ArgMax and ArgMin.
 *
 * Sums are taken in double, integer sums exactly (wrapping). NaN spreads through Max, Min and Arg* as in numpy. What
 * runs along one axis without reducing it is in ref_axis.c. May use: ref.h.
 */
#include "ref_rows.h"

#include <math.h>
#include <string.h>

enum { SUM, MEAN, MAX, MIN, PROD, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE };

/* Kept dims and reduced dims of the input, neighbours of a kind merged: one walk inside another. */
typedef struct split {
    uint32_t n_kept, n_reduced;
    int64_t kept[REF_DIMS], kept_stride[REF_DIMS], reduced[REF_DIMS], reduced_stride[REF_DIMS];
    uint64_t count; /* of the reduced elements */
} split;

static void add_dim(int64_t *dims, int64_t *strides, uint32_t *n, int64_t dim, int64_t stride) {
    if (dim == 1) return;
    if (*n && strides[*n - 1] == stride * dim) {
        dims[*n - 1] *= dim;
        strides[*n - 1] = stride;
        return;
    }
    dims[*n] = dim;
    strides[(*n)++] = stride;
}

/* The axes are input 1, or before opset 18 an attribute; none means all, or none at all with noop_with_empty_axes. */
static pare_status split_axes(const ref_call *c, split *p) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    bool reduce[REF_DIMS] = {false};
    uint64_t n = 0;
    const int64_t *axes = ref_attr_ints(s, "axes", &n);
    bool input = ref_has(s, 1);
    if (input) n = ref_count(s->in[1]);
    if (!n)
        for (uint32_t i = 0; i < x->ndim; i++) reduce[i] = !ref_attr_int(s, "noop_with_empty_axes", 0);
    for (uint64_t i = 0; i < n; i++) {
        int64_t a = ref_axis(input ? ref_get_int(c->in[1], s->in[1]->dtype, i) : axes[i], x->ndim);
        if (a < 0 || a >= (int64_t)x->ndim) return PARE_EINVAL;
        reduce[a] = true;
    }
    int64_t stride[REF_DIMS], step = 1;
    for (uint32_t i = x->ndim; i-- > 0; step *= x->dims[i]) stride[i] = step;
    memset(p, 0, sizeof *p);
    p->count = 1;
    uint64_t kept = 1;
    for (uint32_t i = 0; i < x->ndim; i++) {
        if (reduce[i]) {
            p->count *= (uint64_t)x->dims[i];
            add_dim(p->reduced, p->reduced_stride, &p->n_reduced, x->dims[i], stride[i]);
        } else {
            kept *= (uint64_t)x->dims[i];
            add_dim(p->kept, p->kept_stride, &p->n_kept, x->dims[i], stride[i]);
        }
    }
    if (!p->n_reduced) p->reduced[p->n_reduced++] = 1;
    return kept == ref_count(s->out[0]) ? PARE_OK : PARE_EINVAL;
}

static uint64_t offset(const int64_t *pos, const int64_t *stride, uint32_t n) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) at += (uint64_t)(pos[i] * stride[i]);
    return at;
}

/* ---- floats ---- */

static double start(int op) {
    return op == MAX || op == LOG_SUM_EXP ? -INFINITY : op == MIN ? INFINITY : op == PROD ? 1 : 0;
}

/* Sums of neighbours in eight lanes, so that one addition need not wait for the other. */
static double sum_f32(const float *x, uint64_t n) {
    double lane[8] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) lane[k] += (double)x[i + (uint64_t)k];
    for (int k = 0; k < 8; k++) sum += lane[k];
    for (; i < n; i++) sum += (double)x[i];
    return sum;
}

static double fold(int op, double acc, double x) {
    switch (op) {
    case SUM:
    case MEAN:
    case LOG_SUM: return acc + x;
    case LOG_SUM_EXP: /* first its maximum */
    case MAX: return x > acc || isnan(x) ? x : acc;
    case MIN: return x < acc || isnan(x) ? x : acc;
    case PROD: return acc * x;
    case L1: return acc + fabs(x);
    default: return acc + x * x;
    }
}

static double finish(int op, double acc, uint64_t n) {
    switch (op) {
    case MEAN: return acc / (double)n;
    case L2: return sqrt(acc);
    case LOG_SUM: return log(acc);
    default: return acc;
    }
}

/* One output element: x[at], x[at + …] over the reduced dims. */
static double reduce_floats(int op, const void *x, uint32_t dtype, uint64_t at, const split *p) {
    uint32_t last = p->n_reduced - 1;
    int64_t pos[REF_DIMS] = {0}, step = p->reduced_stride[last];
    uint64_t n = (uint64_t)p->reduced[last];
    double acc = start(op), shift = 0, sum = 0;
    if (!p->count) return finish(op, acc, 0);
    do {
        uint64_t i = at + offset(pos, p->reduced_stride, last);
        if ((op == SUM || op == MEAN || op == LOG_SUM) && dtype == PARE_FLOAT && step == 1)
            acc += sum_f32((const float *)x + i, n);
        else if (dtype == PARE_FLOAT)
            for (uint64_t k = 0; k < n; k++) acc = fold(op, acc, (double)((const float *)x)[i + k * (uint64_t)step]);
        else
            for (uint64_t k = 0; k < n; k++) acc = fold(op, acc, ref_get(x, dtype, i + k * (uint64_t)step));
    } while (ref_next(pos, p->reduced, last));
    if (op != LOG_SUM_EXP) return finish(op, acc, p->count);
    shift = acc;
    if (isnan(shift) || isinf(shift)) return shift;
    do {
        uint64_t i = at + offset(pos, p->reduced_stride, last);
        for (uint64_t k = 0; k < n; k++) sum += exp(ref_get(x, dtype, i + k * (uint64_t)step) - shift);
    } while (ref_next(pos, p->reduced, last));
    return log(sum) + shift;
}

/* ---- integers ---- */

/* The least and the most that fit: what Max and Min of nothing are. */
static int64_t int_end(uint32_t dtype, bool most) {
    uint32_t bits = pare_dtype_bits(dtype);
    if (dtype == PARE_BOOL) return most;
    if (pare_dtype_kind(dtype) == 'u') return most ? (int64_t)(UINT64_MAX >> (64 - bits)) : 0;
    return most ? (int64_t)(UINT64_MAX >> (65 - bits)) : (int64_t)(UINT64_MAX << (bits - 1));
}

static int64_t reduce_ints(int op, const void *x, uint32_t dtype, uint64_t at, const split *p) {
    uint32_t last = p->n_reduced - 1;
    int64_t pos[REF_DIMS] = {0};
    bool is_signed = pare_dtype_kind(dtype) == 'i';
    uint64_t acc = op == PROD ? 1 : op == MAX || op == MIN ? (uint64_t)int_end(dtype, op == MIN) : 0;
    if (!p->count) return (int64_t)acc;
    do {
        uint64_t i = at + offset(pos, p->reduced_stride, last);
        for (int64_t k = 0; k < p->reduced[last]; k++) {
            uint64_t v = (uint64_t)ref_get_int(x, dtype, i + (uint64_t)(k * p->reduced_stride[last]));
            bool less = is_signed ? (int64_t)v < (int64_t)acc : v < acc;
            switch (op) {
            case MAX: acc = less ? acc : v; break;
            case MIN: acc = less ? v : acc; break;
            case PROD: acc *= v; break;
            case L1: acc += is_signed && (int64_t)v < 0 ? 0 - v : v; break;
            case SUM_SQUARE: acc += v * v; break;
            default: acc += v; break;
            }
        }
    } while (ref_next(pos, p->reduced, last));
    if (op == MEAN)
        return is_signed ? (int64_t)acc / (int64_t)p->count : (int64_t)(acc / p->count); /* count < 2^63: no overflow */
    return (int64_t)acc;
}

pare_status ref_run_reduce(const ref_call *c) {
    static const char *const names[] = {"Sum", "Mean", "Max",    "Min",       "Prod",
                                        "L1",  "L2",   "LogSum", "LogSumExp", "SumSquare"};
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0], *y = s->out[0];
    int op = 0, n_ops = sizeof names / sizeof *names;
    while (op < n_ops && strcmp(s->op_type + strlen("Reduce"), names[op])) op++;
    if (op == n_ops) return PARE_EUNSUPPORTED;
    split p;
    pare_status st = split_axes(c, &p);
    if (st != PARE_OK) return st;
    bool exact = ref_is_int(x->dtype) && op != L2 && op != LOG_SUM && op != LOG_SUM_EXP;
    uint64_t n = ref_count(y);
    int64_t pos[REF_DIMS] = {0};
    for (uint64_t i = 0; i < n; i++, ref_next(pos, p.kept, p.n_kept)) {
        uint64_t at = offset(pos, p.kept_stride, p.n_kept);
        if (exact)
            ref_set_int(c->out[0], y->dtype, i, reduce_ints(op, c->in[0], x->dtype, at, &p));
        else
            ref_set(c->out[0], y->dtype, i, reduce_floats(op, c->in[0], x->dtype, at, &p));
    }
    return PARE_OK;
}

/* ---- ArgMax, ArgMin ---- */

pare_status ref_run_arg(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    bool most = !strcmp(s->op_type, "ArgMax"), last = ref_attr_int(s, "select_last_index", 0) != 0;
    bool ints = ref_is_int(x->dtype), is_signed = pare_dtype_kind(x->dtype) == 'i';
    ref_axes a;
    if (!ref_axis_split(x, ref_attr_int(s, "axis", 0), &a)) return PARE_EINVAL;
    uint64_t n_out = a.outer * a.inner;
    if (ref_count(s->out[0]) != n_out || (n_out && !a.n)) return PARE_EINVAL;
    for (uint64_t o = 0; o < a.outer; o++) {
        for (uint64_t k = 0; k < a.inner; k++) {
            uint64_t best = 0, at = o * a.n * a.inner + k;
            double top = 0;
            int64_t top_int = 0;
            for (uint64_t i = 0; i < a.n; i++) {
                bool better, same;
                if (ints) {
                    int64_t v = ref_get_int(c->in[0], x->dtype, at + i * a.inner);
                    bool less = is_signed ? v < top_int : (uint64_t)v < (uint64_t)top_int;
                    same = v == top_int, better = !same && less != most;
                    if (!i || better) top_int = v;
                } else {
                    double v = ref_get(c->in[0], x->dtype, at + i * a.inner);
                    same = v == top || (isnan(v) && isnan(top));
                    better = !isnan(top) && (isnan(v) || (most ? v > top : v < top));
                    if (!i || better) top = v;
                }
                if (!i || better || (last && same)) best = i;
            }
            ref_set_int(c->out[0], s->out[0]->dtype, o * a.inner + k, (int64_t)best);
        }
    }
    return PARE_OK;
}
