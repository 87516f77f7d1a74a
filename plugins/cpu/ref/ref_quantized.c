/* plugins/cpu/ref/ref_quantized.c - see ref_quantized.h. The numbers are decoded, the plain kernel of the op runs on
 * them, and what it gives is scaled and rounded.
 *
 * May use: ref_quantized.h, the C library.
 */
#include "ref_quantized.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is(const pare_kernel_spec *s, const char *op) { return !*s->domain && !strcmp(s->op_type, op); }

static bool is_product(const pare_kernel_spec *s) {
    return is(s, "Conv") || is(s, "ConvTranspose") || is(s, "Gemm") || is(s, "MatMul");
}

static bool is_coded(const pare_operand *o) { return o->n_scales && (o->dtype == PARE_UINT8 || o->dtype == PARE_INT8); }

/* The node's own inputs; behind them are operands of post-ops. */
static uint32_t own_inputs(const pare_kernel_spec *s) {
    uint32_t n = s->n_in;
    for (uint32_t i = 0; i < s->n_post; i++)
        if ((s->post[i]->kind == PARE_POST_ADD || s->post[i]->kind == PARE_POST_MUL) && s->post[i]->operand < n)
            n = s->post[i]->operand;
    return n;
}

/* ---- decoding ---- */

static uint64_t channel(const pare_operand *o, uint64_t i) {
    if (o->n_scales == 1) return 0;
    return i / refb_product(o->dims + o->axis + 1, o->ndim - (uint32_t)o->axis - 1) % (uint64_t)o->dims[o->axis];
}

static double code(const pare_operand *o, const void *data, uint64_t i) {
    double q = o->dtype == PARE_UINT8 ? ((const uint8_t *)data)[i] : ((const int8_t *)data)[i];
    return q - (o->zero_point ? o->zero_point[channel(o, i)] : 0);
}

/* An operand's real number. */
static float real(const pare_operand *o, const void *data, uint64_t i) {
    if (!o->n_scales) return (float)ref_get(data, o->dtype, i);
    return (float)code(o, data, i) * o->scale[channel(o, i)];
}

/* ---- scales of products ---- */

/* Where output channels lie in the second operand. */
static int32_t channel_axis(const pare_kernel_spec *s) {
    if (is(s, "Conv")) return 0;
    if (is(s, "ConvTranspose")) return 1;
    if (is(s, "Gemm")) return ref_attr_int(s, "transB", 0) ? 0 : 1;
    return (int32_t)s->in[1]->ndim - 1;
}

/* The output channel of element i. */
static uint64_t out_channel(const pare_kernel_spec *s, uint64_t i) {
    const pare_operand *y = s->out[0];
    if (is(s, "MatMul") && s->in[1]->ndim < 2) return 0;
    if (is(s, "Gemm") || is(s, "MatMul")) return i % (uint64_t)y->dims[y->ndim - 1];
    return i / refb_product(y->dims + 2, y->ndim - 2) % (uint64_t)y->dims[1];
}

static bool product_supports(const pare_kernel_spec *s, uint32_t own) {
    if (own < 2 || !ref_has(s, 0) || !ref_has(s, 1) || !is_coded(s->in[0]) || !is_coded(s->in[1])) return false;
    if (s->in[0]->n_scales != 1 || !s->in[1]->ndim || !s->out[0]->ndim) return false;
    if (s->in[1]->n_scales > 1 && s->in[1]->axis != channel_axis(s)) return false;
    if (is(s, "Gemm") && (ref_attr_float(s, "alpha", 1) != 1 || ref_attr_float(s, "beta", 1) != 1)) return false;
    if (own < 3 || !ref_has(s, 2)) return true;
    int64_t channels = is(s, "Gemm") ? s->out[0]->dims[1] : s->out[0]->dims[1 < s->out[0]->ndim];
    return s->in[2]->dtype == PARE_INT32 && ref_count(s->in[2]) == (uint64_t)channels;
}

static bool supports(const pare_kernel_spec *s) {
    uint32_t own = own_inputs(s), coded = 0;
    const ref_op *op = ref_find(s->domain, s->op_type);
    if (!op || !s->n_out || !refb_out(s, 0)) return false;
    for (uint32_t i = 0; i < own; i++) coded += ref_has(s, i) && is_coded(s->in[i]);
    if (!coded) return false;
    const pare_operand *y = s->out[0];
    bool rounds = s->n_post && s->post[s->n_post - 1]->kind == PARE_POST_QUANTIZE;
    if (rounds ? y->dtype != s->post[s->n_post - 1]->dtype : y->dtype != PARE_FLOAT) return false;
    for (uint32_t i = 1; i < s->n_out; i++)
        if (refb_out(s, i)) return false;
    return !is_product(s) || product_supports(s, own);
}

/* ---- post-ops ---- */

static float sigmoid(float v) { return (float)(1 / (1 + exp(-(double)v))); }

static float clamp01(float v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

static float post_op(const ref_call *c, const pare_post_op *p, float v, uint64_t i) {
    switch (p->kind) {
    case PARE_POST_RELU: return v < 0 ? 0 : v;
    case PARE_POST_CLIP: return v < p->alpha ? p->alpha : v > p->beta ? p->beta : v;
    case PARE_POST_LEAKY_RELU: return v < 0 ? p->alpha * v : v;
    case PARE_POST_SIGMOID: return sigmoid(v);
    case PARE_POST_TANH: return tanhf(v);
    case PARE_POST_HARD_SWISH: return v * clamp01(v / 6 + 0.5f);
    case PARE_POST_HARD_SIGMOID: return clamp01(p->alpha * v + p->beta);
    case PARE_POST_SWISH: return v * sigmoid(v);
    case PARE_POST_GELU: return (float)(0.5 * (double)v * (1 + erf((double)v * 0.70710678118654752440)));
    case PARE_POST_ELU: return v < 0 ? p->alpha * (float)expm1((double)v) : v;
    case PARE_POST_ADD: return v + real(c->spec->in[p->operand], c->in[p->operand], i);
    case PARE_POST_MUL: return v * real(c->spec->in[p->operand], c->in[p->operand], i);
    case PARE_POST_QUANTIZE: return (float)refb_saturate((double)rintf(v / p->alpha) + (double)p->beta, p->dtype);
    case PARE_POST_DEQUANTIZE: return (v - p->beta) * p->alpha;
    default: return NAN;
    }
}

static void finish(const ref_call *c, const float *y) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *o = s->out[0];
    for (uint64_t i = 0; i < ref_count(o); i++) {
        float v = y[i];
        for (uint32_t k = 0; k < s->n_post; k++) v = post_op(c, s->post[k], v, i);
        if (o->dtype == PARE_FLOAT)
            ((float *)c->out[0])[i] = v;
        else
            ref_set_int(c->out[0], o->dtype, i, (int64_t)v);
    }
}

/* ---- running ---- */

/* The op's plain kernel on decoded operands. `exact`: whole numbers in double, zero points subtracted. */
static pare_status run_plain(const ref_call *c, uint32_t own, bool exact, void *out) {
    const pare_kernel_spec *s = c->spec;
    pare_kernel_spec sub = *s;
    pare_operand *o = calloc(own + 1, sizeof *o);
    const pare_operand **in = calloc(own + 1, sizeof *in), *outs[1];
    const void **data = calloc(own + 1, sizeof *data);
    void **made = calloc(own + 1, sizeof *made), *to[1] = {out};
    pare_status st = o && in && data && made ? PARE_OK : PARE_ENOMEM;
    for (uint32_t i = 0; !st && i < own; i++) {
        o[i] = *s->in[i];
        in[i] = &o[i];
        data[i] = c->in[i];
        if (!ref_has(s, i) || !is_coded(s->in[i])) continue;
        uint64_t n = ref_count(s->in[i]);
        o[i].dtype = exact ? PARE_DOUBLE : PARE_FLOAT;
        o[i].n_scales = 0;
        data[i] = made[i] = refb_alloc(n, exact ? sizeof(double) : sizeof(float));
        if (!made[i]) st = PARE_ENOMEM;
        for (uint64_t k = 0; !st && k < n; k++)
            if (exact)
                ((double *)made[i])[k] = code(s->in[i], c->in[i], k);
            else
                ((float *)made[i])[k] = real(s->in[i], c->in[i], k);
    }
    if (!st) {
        o[own] = *s->out[0];
        o[own].dtype = exact ? PARE_DOUBLE : PARE_FLOAT;
        o[own].n_scales = 0;
        outs[0] = &o[own];
        sub.in = in;
        sub.out = outs;
        sub.n_in = exact && own > 2 ? 2 : own; /* a bias is added to the sums */
        sub.n_out = 1;
        sub.post = NULL;
        sub.n_post = 0;
        const ref_op *op = ref_find(s->domain, s->op_type);
        const ref_call call = {&sub, data, to};
        if (ref_count(s->out[0])) st = op->supports && !op->supports(&sub) ? PARE_EINVAL : op->run(&call);
    }
    for (uint32_t i = 0; made && i < own; i++) free(made[i]);
    free(made);
    free(data);
    free(in);
    free(o);
    return st;
}

static pare_status run_product(const ref_call *c, uint32_t own, ref_sums sums, float *y) {
    const pare_kernel_spec *s = c->spec;
    uint64_t n = ref_count(s->out[0]);
    double *sum = refb_alloc(n, sizeof *sum);
    const int32_t *bias = own > 2 && ref_has(s, 2) ? c->in[2] : NULL;
    if (!sum) return PARE_ENOMEM;
    pare_status st = sums == REF_SATURATING ? ref_integer_sums(c, true, sum) : PARE_EUNSUPPORTED;
    if (st == PARE_EUNSUPPORTED) st = run_plain(c, own, true, sum);
    for (uint64_t i = 0; !st && i < n; i++) {
        uint64_t at = out_channel(s, i);
        const pare_operand *w = s->in[1];
        float scale = s->in[0]->scale[0] * w->scale[w->n_scales == 1 ? 0 : at % w->n_scales];
        y[i] = (float)refb_wrap(sum[i] + (bias ? (double)bias[at] : 0)) * scale;
    }
    free(sum);
    return st;
}

static pare_status run(const ref_call *c, ref_sums sums) {
    const pare_kernel_spec *s = c->spec;
    uint32_t own = own_inputs(s);
    float *y = refb_alloc(ref_count(s->out[0]), sizeof *y);
    if (!y) return PARE_ENOMEM;
    pare_status st = is_product(s) ? run_product(c, own, sums, y) : run_plain(c, own, false, y);
    if (!st) finish(c, y);
    free(y);
    return st;
}

static pare_status run_exact(const ref_call *c) { return run(c, REF_EXACT); }
static pare_status run_saturating(const ref_call *c) { return run(c, REF_SATURATING); }

const ref_op *ref_quantized_find(const pare_kernel_spec *s, ref_sums sums) {
    static const ref_op exact = {"", "quantized", supports, run_exact, 0};
    static const ref_op saturating = {"", "quantized, saturating", supports, run_saturating, 0};
    return supports(s) ? (sums == REF_EXACT ? &exact : &saturating) : NULL;
}
