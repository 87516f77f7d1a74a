/* cpu/loops_unary.c - functions of one float32 by the C library, where oneDNN has none or a poor one.
 *
 * Those that leave 0 at 0 run in any layout, over the padding too; the others on plain tensors.
 */
#include "fast.h"
#include "team.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float f_tanh(float x) { return tanhf(x); }
static float f_erf(float x) { return erff(x); }
static float f_neg(float x) { return -x; }
static float f_floor(float x) { return floorf(x); }
static float f_ceil(float x) { return ceilf(x); }
static float f_round(float x) { return rintf(x); } /* halves to even: the rounding mode nobody changes */
static float f_sin(float x) { return sinf(x); }
static float f_cos(float x) { return cosf(x); }
static float f_reciprocal(float x) { return 1 / x; }
static float f_log(float x) { return logf(x); }
static float f_softplus(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }
static float f_hard_sigmoid(float x, float alpha, float beta) {
    float y = alpha * x + beta;
    return y < 0 ? 0 : y > 1 ? 1 : y; /* a NaN stays one */
}
static float f_sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }

/* One loop a function: the plain ones vectorise. */
#define LOOP(fn)                                                                                                       \
    static void loop_##fn(const float *x, float *y, uint64_t n, const float *p) {                                      \
        (void)p;                                                                                                       \
        for (uint64_t i = 0; i < n; i++) y[i] = f_##fn(x[i]);                                                          \
    }
LOOP(tanh)
LOOP(erf)
LOOP(neg)
LOOP(floor)
LOOP(ceil)
LOOP(round)
LOOP(sin)
LOOP(cos)
LOOP(reciprocal)
LOOP(log)
LOOP(softplus)
LOOP(sign)

/* oneDNN 2.6's plain eltwise forgets the clip behind a linear one where the tensor is small. */
static void loop_hard_sigmoid(const float *x, float *y, uint64_t n, const float *p) {
    for (uint64_t i = 0; i < n; i++) y[i] = f_hard_sigmoid(x[i], p[0], p[1]);
}

typedef struct unary {
    const char *op_type;
    void (*loop)(const float *x, float *y, uint64_t n, const float *p);
    bool keeps_zero;
} unary;

static const unary unaries[] = {
    {"Tanh", loop_tanh, true},
    {"Erf", loop_erf, true},
    {"Neg", loop_neg, true},
    {"Floor", loop_floor, true},
    {"Ceil", loop_ceil, true},
    {"Round", loop_round, true},
    {"Sin", loop_sin, true},
    {"Cos", loop_cos, false},
    {"Sign", loop_sign, true},
    {"Reciprocal", loop_reciprocal, false},
    {"Log", loop_log, false},
    {"HardSigmoid", loop_hard_sigmoid, false},
    {"Softplus", loop_softplus, false},
};

typedef struct unary_impl {
    const unary *u;
    uint64_t n; /* elements, padding included */
    float p[2]; /* alpha, beta */
} unary_impl;

typedef struct job {
    const unary *u;
    const float *x, *p;
    float *y;
} job;

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    j->u->loop(j->x + begin, j->y + begin, end - begin, j->p);
}

static pare_status unary_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const unary_impl *u = k->impl;
    job j = {u->u, in[0], u->p, out[0]};
    cpu_team_run(k->dev->threads, u->n, 4096, part, &j);
    return PARE_OK;
}

static void unary_destroy(cpu_kernel *k) { free(k->impl); }

pare_status cpu_make_unary(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    const unary *u = NULL;
    for (size_t i = 0; i < sizeof unaries / sizeof *unaries; i++)
        if (fast_is(s, unaries[i].op_type)) u = &unaries[i];
    if (!u || !fast_in(s, 0) || !fast_f32(s->in[0]) || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    const pare_layout *x = &s->in[0]->layout, *y = &s->out[0]->layout;
    bool own = u->keeps_zero && x->kind == PARE_LAYOUT_OWN && cpu_layout_desc(dev, x->id) &&
               (y->kind == PARE_LAYOUT_ANY || (y->kind == PARE_LAYOUT_OWN && y->id == x->id));
    if (!own && y->kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    char name[64];
    snprintf(name, sizeof name, "c:%s", u->op_type);
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    unary_impl *impl = calloc(1, sizeof *impl);
    if (!k || !impl) {
        cpu_kernel_free(k);
        free(impl);
        return PARE_ENOMEM;
    }
    if (own) k->in[0] = k->out[0] = *x;
    *impl = (unary_impl){u,
                         k->in[0].nbytes / sizeof(float),
                         {(float)ref_attr_float(s, "alpha", 0.2), (float)ref_attr_float(s, "beta", 0.5)}};
    if (own) impl->n = dn_desc_bytes(cpu_layout_desc(dev, x->id)) / sizeof(float);
    k->impl = impl;
    k->run = unary_run;
    k->destroy = unary_destroy;
    k->in_place = 0;
    *out = k;
    return PARE_OK;
}
