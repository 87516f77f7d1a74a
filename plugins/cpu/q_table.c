/* cpu/q_table.c - functions of one 8-bit number as tables of 256: the op, then all post-ops up to the last QUANTIZE;
 * and Softmax, whose exponentials are such a table.
 */
#include "q_loops.h"
#include "q_gemm.h"
#include "team.h"

#include <math.h>
#include <string.h>

typedef struct table {
    uint8_t y[256]; /* by the byte of x */
    /* Softmax: */
    float e[256]; /* e^(-scale * i) */
    int64_t rows, n;
    q_scale to;
    bool is_signed;
} table;

typedef struct job {
    const table *p;
    const uint8_t *x;
    uint8_t *y;
} job;

static void look_up(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const uint8_t *t = j->p->y, *x = j->x;
    uint8_t *y = j->y;
    for (uint64_t i = begin; i < end; i++) y[i] = t[x[i]];
}

static pare_status table_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const table *p = k->impl;
    job j = {p, in[0], out[0]};
    cpu_team_run(k->dev->threads, (uint64_t)p->n, 32768, look_up, &j);
    return PARE_OK;
}

/* ---- functions ---- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static bool post_of(const pare_post_op *p, double *x) {
    double v = *x, a = (double)p->alpha, b = (double)p->beta;
    switch (p->kind) {
    case PARE_POST_RELU: v = v > 0 ? v : 0; break;
    case PARE_POST_CLIP: v = clamp(v, a, b); break;
    case PARE_POST_LEAKY_RELU: v = v > 0 ? v : a * v; break;
    case PARE_POST_SIGMOID: v = sigmoid(v); break;
    case PARE_POST_TANH: v = tanh(v); break;
    case PARE_POST_HARD_SWISH: v *= clamp(v / 6 + 0.5, 0, 1); break;
    case PARE_POST_HARD_SIGMOID: v = clamp(a * v + b, 0, 1); break;
    case PARE_POST_SWISH: v *= sigmoid(v); break;
    case PARE_POST_GELU: v *= 0.5 * (1 + erf(v / sqrt(2))); break;
    case PARE_POST_ELU: v = v > 0 ? v : a * (exp(v) - 1); break;
    case PARE_POST_QUANTIZE: {
        bool u = p->dtype == PARE_UINT8;
        if (!(p->alpha > 0)) return false;
        v = clamp(rint((double)((float)v / p->alpha)) + b, u ? 0 : -128, u ? 255 : 127);
        break;
    }
    case PARE_POST_DEQUANTIZE: v = (v - b) * a; break;
    default: return false;
    }
    *x = (double)(float)v;
    return true;
}

/* The op itself as a post-op; QuantizeLinear: nothing before its rounding. */
static bool op_of(const pare_kernel_spec *s, pare_post_op *p) {
    static const struct {
        const char *op;
        uint32_t kind;
        double alpha, beta;
    } rows[] = {{"Relu", PARE_POST_RELU, 0, 0},
                {"LeakyRelu", PARE_POST_LEAKY_RELU, 0.01, 0},
                {"Sigmoid", PARE_POST_SIGMOID, 0, 0},
                {"Tanh", PARE_POST_TANH, 0, 0},
                {"HardSwish", PARE_POST_HARD_SWISH, 0, 0},
                {"HardSigmoid", PARE_POST_HARD_SIGMOID, 0.2, 0.5},
                {"Elu", PARE_POST_ELU, 1, 0},
                {"Gelu", PARE_POST_GELU, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!fast_is(s, rows[i].op)) continue;
        *p = (pare_post_op){.kind = rows[i].kind,
                            .alpha = (float)ref_attr_float(s, "alpha", rows[i].alpha),
                            .beta = (float)ref_attr_float(s, "beta", rows[i].beta)};
        return p->kind != PARE_POST_GELU || ref_attr_is(s, "approximate", "none", "none");
    }
    *p = (pare_post_op){.kind = PARE_POST_CLIP, .alpha = -INFINITY, .beta = INFINITY};
    if (!fast_is(s, "Clip")) return false;
    return (!fast_in(s, 1) || fast_scalar(s->in[1], &p->alpha)) &&
           (!fast_in(s, 2) || fast_scalar(s->in[2], &p->beta)) && p->alpha <= p->beta;
}

/* QuantizeLinear of an 8-bit number is one more QUANTIZE. */
static bool quantize_of(const pare_kernel_spec *s, pare_post_op *p) {
    *p = (pare_post_op){.kind = PARE_POST_QUANTIZE, .dtype = s->out[0]->dtype};
    if (!fast_is(s, "QuantizeLinear") || !fast_in(s, 1) || !fast_scalar(s->in[1], &p->alpha)) return false;
    if (ref_attr_int(s, "block_size", 0) > 0 || s->in[1]->ndim > 1) return false;
    if (!fast_in(s, 2)) return true;
    const pare_operand *zero = s->in[2];
    if (zero->dtype != p->dtype || ref_count(zero) != 1 || !zero->data) return false;
    p->beta = (float)ref_get_int(zero->data, p->dtype, 0);
    return true;
}

static bool fill(const pare_kernel_spec *s, const q_scale *x, const pare_post_op *first, uint32_t n_post, table *t) {
    uint32_t kind = n_post ? s->post[n_post - 1]->kind : first->kind;
    if (kind != PARE_POST_QUANTIZE) return false;
    for (uint32_t i = 0; i < 256; i++) {
        int32_t q = x->is_signed ? (int8_t)i : (int32_t)i;
        double v = (double)((float)(q - x->zero) * x->scale);
        if (!post_of(first, &v)) return false;
        for (uint32_t p = 0; p < n_post; p++)
            if (!post_of(s->post[p], &v)) return false;
        t->y[i] = (uint8_t)(int32_t)v;
    }
    return true;
}

pare_status cpu_make_q_table(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    pare_post_op first;
    q_scale x;
    table t = {0};
    if (!fast_in(s, 0) || !fast_out(s, 0) || !q_scale_of(s->in[0], &x) || !fast_same_dims(s->in[0], s->out[0]))
        return PARE_EUNSUPPORTED;
    if (!op_of(s, &first) && !quantize_of(s, &first)) return PARE_EUNSUPPORTED;
    uint32_t n = s->n_post;
    while (!fill(s, &x, &first, n, &t))
        if (!n--) return PARE_EUNSUPPORTED;
    if (n == s->n_post && !q_eight(s->out[0])) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    bool own = s->in[0]->layout.kind == PARE_LAYOUT_OWN, ok = true;
    t.n = (int64_t)ref_count(s->in[0]);
    cpu_kernel *k = q_kernel(dev, s, "q:table", sizeof t);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &t, sizeof t);
    k->run = table_run;
    k->n_post = n;
    k->in_place = 0;
    if (own) ok = q_nhwc(dev, s->in[0], &k->in[0]) && q_nhwc(dev, s->out[0], &k->out[0]);
    if (ok && q_fits(s->out[0], &k->out[0])) {
        *out = k;
        return PARE_OK;
    }
    cpu_kernel_free(k);
    return ok ? PARE_EUNSUPPORTED : PARE_ENOMEM;
}

/* ---- Softmax over the last dim ---- */

static void soft_rows(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const table *p = j->p;
    const uint8_t turn = p->is_signed ? 0x80 : 0;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const uint8_t *x = j->x + r * p->n;
        uint8_t *y = j->y + r * p->n, most = 0, of[256];
        float sum = 0;
        for (int64_t i = 0; i < p->n; i++) most = (x[i] ^ turn) > most ? (uint8_t)(x[i] ^ turn) : most;
        for (int64_t i = 0; i < p->n; i++) sum += p->e[most - (uint8_t)(x[i] ^ turn)];
        for (int i = 0; i <= most; i++) {
            float q = rintf(p->e[most - i] / sum * p->to.scale);
            q = q < p->to.low ? p->to.low : q > p->to.high ? p->to.high : q;
            of[i] = (uint8_t)((int32_t)q + p->to.zero);
        }
        for (int64_t i = 0; i < p->n; i++) y[i] = of[x[i] ^ turn];
    }
}

static pare_status soft_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const table *p = k->impl;
    job j = {p, in[0], out[0]};
    cpu_team_run(k->dev->threads, (uint64_t)p->rows, (uint64_t)(8192 / (p->n + 256) + 1), soft_rows, &j);
    return PARE_OK;
}

pare_status cpu_make_q_softmax(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    q_scale x;
    table t = {0};
    if (!fast_is(s, "Softmax") || !fast_in(s, 0) || !fast_out(s, 0) || !q_scale_of(s->in[0], &x) || !s->in[0]->ndim)
        return PARE_EUNSUPPORTED;
    const pare_operand *in = s->in[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), in->ndim);
    if (axis < 0 || axis >= in->ndim || fast_product(in->dims, (uint32_t)axis + 1, in->ndim) != 1 ||
        s->out[0]->layout.kind == PARE_LAYOUT_OWN)
        return PARE_EUNSUPPORTED;
    uint32_t n = s->n_post;
    while (n && !q_scale_of_post(s, n, &t.to)) n--;
    if (!n || (n == s->n_post && !q_eight(s->out[0]))) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    t.n = in->dims[axis];
    t.rows = fast_product(in->dims, 0, (uint32_t)axis);
    t.is_signed = x.is_signed;
    for (int i = 0; i < 256; i++) t.e[i] = expf(-x.scale * (float)i);
    cpu_kernel *k = q_kernel(dev, s, "q:softmax", sizeof t);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &t, sizeof t);
    k->run = soft_run;
    k->n_post = n;
    k->in_place = 0;
    *out = k;
    return PARE_OK;
}
