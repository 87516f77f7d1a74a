/* plugins/cpu/ref/ref_norm.c - normalisation: batch, layer, instance, group, local response, mean and variance, Lp.
 *
 * Means and variances in double, in two passes. May use: ref.h.
 */
#include "ref_rows.h"

#include <math.h>
#include <string.h>

static bool wanted(const pare_kernel_spec *s, uint32_t out) {
    return out < s->n_out && s->out[out] && !(s->out[out]->flags & PARE_OPERAND_ABSENT);
}

static double get(const ref_call *c, uint32_t in, uint64_t i) { return ref_get(c->in[in], c->spec->in[in]->dtype, i); }

static void set(const ref_call *c, uint32_t out, uint64_t i, double x) {
    ref_set(c->out[out], c->spec->out[out]->dtype, i, x);
}

/* Input `in` is there and has n elements. */
static bool has_count(const pare_kernel_spec *s, uint32_t in, uint64_t n) {
    return ref_has(s, in) && ref_count(s->in[in]) == n;
}

/* `runs` runs of n neighbours, `step` apart, from `at` on: their mean and (population) variance. */
static void moments(const ref_call *c, uint64_t at, uint64_t runs, uint64_t step, uint64_t n, double *mean,
                    double *variance) {
    double sum = 0, squares = 0, count = (double)runs * (double)n;
    const float *f = c->spec->in[0]->dtype == PARE_FLOAT ? c->in[0] : NULL;
    for (uint64_t r = 0; r < runs; r++)
        for (uint64_t i = at + r * step; i < at + r * step + n; i++) sum += f ? (double)f[i] : get(c, 0, i);
    *mean = sum / count;
    for (uint64_t r = 0; r < runs; r++) {
        for (uint64_t i = at + r * step; i < at + r * step + n; i++) {
            double d = (f ? (double)f[i] : get(c, 0, i)) - *mean;
            squares += d * d;
        }
    }
    *variance = squares / count;
}

/* y = (x - shift) * factor + bias for n neighbours. */
static void scale_run(const ref_call *c, uint64_t at, uint64_t n, double shift, double factor, double bias) {
    if (c->spec->in[0]->dtype == PARE_FLOAT && c->spec->out[0]->dtype == PARE_FLOAT) {
        const float *x = (const float *)c->in[0] + at;
        float *y = (float *)c->out[0] + at;
        for (uint64_t i = 0; i < n; i++) y[i] = (float)(((double)x[i] - shift) * factor + bias);
        return;
    }
    for (uint64_t i = at; i < at + n; i++) set(c, 0, i, (get(c, 0, i) - shift) * factor + bias);
}

/* A row of a layer norm whose scale and bias have a value an element; all float32. */
static void affine_row(const float *x, float *y, const float *scale, const float *bias, uint64_t n, double mean,
                       double inverse) {
    for (uint64_t i = 0; i < n; i++) {
        double v = ((double)x[i] - mean) * inverse * (double)scale[i];
        y[i] = (float)(bias ? v + (double)bias[i] : v);
    }
}

/* N, C and the rest of an (N, C, …) input. */
static bool split_channels(const ref_call *c, ref_axes *a) {
    const pare_operand *x = c->spec->in[0];
    if (ref_count(c->spec->out[0]) != ref_count(x)) return false;
    if (x->ndim >= 2) return ref_axis_split(x, 1, a);
    *a = (ref_axes){x->ndim ? (uint64_t)x->dims[0] : 1, 1, 1}; /* (N): one channel */
    return true;
}

pare_status ref_run_batchnorm(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    double epsilon = ref_attr_float(s, "epsilon", 1e-5f), keep = ref_attr_float(s, "momentum", 0.9f);
    bool training = ref_attr_int(s, "training_mode", 0) != 0;
    ref_axes a;
    if (!split_channels(c, &a)) return PARE_EINVAL;
    for (uint32_t i = 1; i < 5; i++)
        if (!has_count(s, i, a.n)) return PARE_EINVAL;
    for (uint64_t ch = 0; ch < a.n; ch++) {
        double mean = get(c, 3, ch), variance = get(c, 4, ch);
        if (training) {
            double old_mean = mean, old_variance = variance;
            moments(c, ch * a.inner, a.outer, a.n * a.inner, a.inner, &mean, &variance);
            if (wanted(s, 1)) set(c, 1, ch, old_mean * keep + mean * (1 - keep));
            if (wanted(s, 2)) set(c, 2, ch, old_variance * keep + variance * (1 - keep));
        }
        double factor = get(c, 1, ch) / sqrt(variance + epsilon), bias = get(c, 2, ch);
        for (uint64_t n = 0; n < a.outer; n++) scale_run(c, (n * a.n + ch) * a.inner, a.inner, mean, factor, bias);
    }
    return PARE_OK;
}

pare_status ref_run_layernorm(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0];
    double epsilon = ref_attr_float(s, "epsilon", 1e-5f);
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), x->ndim);
    if (axis < 0 || axis >= (int64_t)x->ndim || !ref_has(s, 1)) return PARE_EINVAL;
    uint64_t rows = 1, n = 1;
    for (int64_t i = 0; i < (int64_t)x->ndim; i++) *(i < axis ? &rows : &n) *= (uint64_t)x->dims[i];
    bool bias = ref_has(s, 2);
    /* Scale and bias broadcast to x; as a rule they have just the normalised dims. */
    ref_walk w;
    for (uint32_t i = 1; i <= (bias ? 2u : 1u); i++)
        if (ref_walk_init(&w, x, &s->in[i], 1) != PARE_OK) return PARE_EINVAL;
    if (ref_count(s->out[0]) != rows * n) return PARE_EINVAL;
    for (uint32_t i = 1; i < 3; i++)
        if (wanted(s, i) && ref_count(s->out[i]) != rows) return PARE_EINVAL;
    bool same = ref_count(s->in[1]) == n && (!bias || ref_count(s->in[2]) == n);
    bool floats = same && x->dtype == PARE_FLOAT && s->out[0]->dtype == PARE_FLOAT && s->in[1]->dtype == PARE_FLOAT &&
                  (!bias || s->in[2]->dtype == PARE_FLOAT);
    int64_t pos[REF_DIMS] = {0};
    for (uint64_t r = 0; r < rows && n; r++) {
        double mean, variance;
        moments(c, r * n, 1, 0, n, &mean, &variance);
        double inverse = 1 / sqrt(variance + epsilon);
        if (wanted(s, 1)) set(c, 1, r, mean);
        if (wanted(s, 2)) set(c, 2, r, inverse);
        if (floats) {
            affine_row((const float *)c->in[0] + r * n, (float *)c->out[0] + r * n, c->in[1], bias ? c->in[2] : NULL, n,
                       mean, inverse);
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t g = i, b = i;
            if (!same) {
                g = ref_broadcast_index(s->in[1]->dims, s->in[1]->ndim, pos, x->ndim);
                b = bias ? ref_broadcast_index(s->in[2]->dims, s->in[2]->ndim, pos, x->ndim) : 0;
                ref_next(pos, x->dims, x->ndim);
            }
            double y = (get(c, 0, r * n + i) - mean) * inverse * get(c, 1, g);
            set(c, 0, r * n + i, bias ? y + get(c, 2, b) : y);
        }
    }
    return PARE_OK;
}

/* An instance norm is a group norm with a group a channel. */
pare_status ref_run_groupnorm(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    double epsilon = ref_attr_float(s, "epsilon", 1e-5f);
    ref_axes a;
    if (!split_channels(c, &a)) return PARE_EINVAL;
    bool instance = !strcmp(s->op_type, "InstanceNormalization");
    int64_t groups = instance ? (int64_t)a.n : ref_attr_int(s, "num_groups", 0);
    if (!a.n) return PARE_OK;
    if (groups <= 0 || a.n % (uint64_t)groups) return PARE_EINVAL;
    uint64_t each = a.n / (uint64_t)groups; /* channels of a group */
    /* Opset 18 had one scale and bias a group, 21 one a channel. */
    uint64_t of_scale = !instance && s->version < 21 && has_count(s, 1, (uint64_t)groups) ? each : 1;
    if (!has_count(s, 1, a.n / of_scale) || !has_count(s, 2, a.n / of_scale)) return PARE_EINVAL;
    for (uint64_t n = 0; n < a.outer; n++) {
        for (uint64_t first = 0; first < a.n; first += each) {
            double mean, variance;
            moments(c, (n * a.n + first) * a.inner, 1, 0, each * a.inner, &mean, &variance);
            double inverse = 1 / sqrt(variance + epsilon);
            for (uint64_t ch = first; ch < first + each; ch++)
                scale_run(c, (n * a.n + ch) * a.inner, a.inner, mean, inverse * get(c, 1, ch / of_scale),
                          get(c, 2, ch / of_scale));
        }
    }
    return PARE_OK;
}

pare_status ref_run_lrn(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    double alpha = ref_attr_float(s, "alpha", 1e-4f), beta = ref_attr_float(s, "beta", 0.75);
    double bias = ref_attr_float(s, "bias", 1);
    int64_t size = ref_attr_int(s, "size", 0);
    ref_axes a;
    if (size <= 0 || !split_channels(c, &a)) return PARE_EINVAL;
    uint64_t before = (uint64_t)(size - 1) / 2, after = (uint64_t)size - 1 - before;
    for (uint64_t n = 0; n < a.outer; n++) {
        for (uint64_t ch = 0; ch < a.n; ch++) {
            uint64_t from = ch > before ? ch - before : 0, to = after < a.n - 1 - ch ? ch + after : a.n - 1;
            for (uint64_t k = 0; k < a.inner; k++) {
                double squares = 0;
                for (uint64_t j = from; j <= to; j++) {
                    double v = get(c, 0, (n * a.n + j) * a.inner + k);
                    squares += v * v;
                }
                uint64_t at = (n * a.n + ch) * a.inner + k;
                set(c, 0, at, get(c, 0, at) / pow(bias + alpha / (double)size * squares, beta));
            }
        }
    }
    return PARE_OK;
}

/* Position r of the dims chosen (or of the others) as an offset. */
static uint64_t part_offset(const pare_operand *x, const int64_t *stride, const bool *chosen, bool which, uint64_t r) {
    uint64_t at = 0;
    for (uint32_t i = x->ndim; i-- > 0;) {
        if (chosen[i] != which) continue;
        at += r % (uint64_t)x->dims[i] * (uint64_t)stride[i];
        r /= (uint64_t)x->dims[i];
    }
    return at;
}

pare_status ref_run_mvn(const ref_call *c) {
    static const int64_t usual[] = {0, 2, 3};
    const pare_operand *x = c->spec->in[0];
    bool chosen[REF_DIMS] = {false};
    uint64_t n_axes, groups = 1, n = 1;
    const int64_t *axes = ref_attr_ints(c->spec, "axes", &n_axes);
    if (!axes) axes = usual, n_axes = 3;
    for (uint64_t i = 0; i < n_axes; i++) {
        int64_t a = ref_axis(axes[i], x->ndim);
        if (a < 0 || a >= (int64_t)x->ndim) return PARE_EINVAL;
        chosen[a] = true;
    }
    int64_t stride[REF_DIMS], step = 1;
    for (uint32_t i = x->ndim; i-- > 0; step *= x->dims[i]) stride[i] = step;
    for (uint32_t i = 0; i < x->ndim; i++) *(chosen[i] ? &n : &groups) *= (uint64_t)x->dims[i];
    if (ref_count(c->spec->out[0]) != n * groups) return PARE_EINVAL;
    for (uint64_t g = 0; g < groups; g++) {
        uint64_t at = part_offset(x, stride, chosen, false, g);
        double sum = 0, squares = 0;
        for (uint64_t i = 0; i < n; i++) sum += get(c, 0, at + part_offset(x, stride, chosen, true, i));
        double mean = sum / (double)n;
        for (uint64_t i = 0; i < n; i++) {
            double d = get(c, 0, at + part_offset(x, stride, chosen, true, i)) - mean;
            squares += d * d;
        }
        double deviation = sqrt(squares / (double)n) + 1e-9; /* the specification's epsilon */
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = at + part_offset(x, stride, chosen, true, i);
            set(c, 0, j, (get(c, 0, j) - mean) / deviation);
        }
    }
    return PARE_OK;
}

pare_status ref_run_lpnorm(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    int64_t p = ref_attr_int(s, "p", 2);
    ref_axes a;
    if ((p != 1 && p != 2) || !ref_axis_split(s->in[0], ref_attr_int(s, "axis", -1), &a)) return PARE_EINVAL;
    if (ref_count(s->out[0]) != ref_count(s->in[0])) return PARE_EINVAL;
    for (uint64_t o = 0; o < a.outer; o++) {
        for (uint64_t k = 0; k < a.inner; k++) {
            double norm = 0;
            for (uint64_t i = 0; i < a.n; i++) {
                double v = get(c, 0, (o * a.n + i) * a.inner + k);
                norm += p == 1 ? fabs(v) : v * v;
            }
            if (p == 2) norm = sqrt(norm);
            for (uint64_t i = 0; i < a.n; i++) {
                uint64_t at = (o * a.n + i) * a.inner + k;
                set(c, 0, at, norm == 0 ? 0 : get(c, 0, at) / norm);
            }
        }
    }
    return PARE_OK;
}
