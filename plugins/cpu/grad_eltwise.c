/* cpu/grad_eltwise.c - gradients of activations over float32, in any layout that dy and the other operand share.
 *
 * Padding is 0 in both, and stays 0. May use: grad.h, simd.h, wide.h.
 */
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <string.h>

typedef enum {
    ACT_RELU,
    ACT_LEAKY,
    ACT_SIGMOID,
    ACT_TANH,
    ACT_HARD_SIGMOID,
    ACT_HARD_SWISH,
    ACT_CLIP,
    ACT_ELU,
    ACT_SELU,
    ACT_SOFTPLUS,
    ACT_GELU,
    ACT_GELU_TANH,
    ACT_MISH
} act_kind;

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_eltwise_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_eltwise_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_eltwise_body.h"

typedef void act_fn(act_kind kind, const float *dy, const float *v, float *dx, uint64_t n, const float *p);

typedef struct act {
    act_fn *run;
    act_kind kind;
    float p[2];
    bool bounds[2]; /* Clip: inputs 2, 3 are there */
    uint64_t n;     /* elements, padding included */
    const float *dy, *v;
    float *dx;
} act;

static const struct {
    const char *op_type;
    act_kind kind;
    const char *a, *b;
    double a_default, b_default;
} table[] = {
    {"ReluGrad", ACT_RELU, NULL, NULL, 0, 0},
    {"LeakyReluGrad", ACT_LEAKY, "alpha", NULL, 0.01, 0},
    {"EluGrad", ACT_ELU, "alpha", NULL, 1, 0},
    {"SeluGrad", ACT_SELU, "alpha", "gamma", 1.67326319217681884765625, 1.05070102214813232421875},
    {"SigmoidGrad", ACT_SIGMOID, NULL, NULL, 0, 0},
    {"TanhGrad", ACT_TANH, NULL, NULL, 0, 0},
    {"HardSigmoidGrad", ACT_HARD_SIGMOID, "alpha", "beta", 0.2, 0.5},
    {"HardSwishGrad", ACT_HARD_SWISH, NULL, NULL, 0, 0},
    {"SoftplusGrad", ACT_SOFTPLUS, NULL, NULL, 0, 0},
    {"GeluGrad", ACT_GELU, NULL, NULL, 0, 0},
    {"MishGrad", ACT_MISH, NULL, NULL, 0, 0},
    {"ClipGrad", ACT_CLIP, NULL, NULL, -INFINITY, INFINITY},
};

static act_fn *best(void) { return *SIMD_BEST(act); }

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const act *a = ctx;
    a->run(a->kind, a->dy + begin, a->v + begin, a->dx + begin, end - begin, a->p);
}

static pare_status act_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    act a = *(const act *)k->impl;
    a.dy = in[0];
    a.v = in[1];
    a.dx = out[0];
    for (uint32_t i = 0; i < 2; i++)
        if (a.bounds[i] && in[2 + i]) memcpy(&a.p[i], in[2 + i], sizeof(float));
    cpu_team_run(k->dev->threads, a.n, 8192, part, &a);
    return PARE_OK;
}

pare_status cpu_make_grad_eltwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    size_t row = 0;
    while (row < sizeof table / sizeof *table && !grad_is(s, table[row].op_type)) row++;
    if (row == sizeof table / sizeof *table || !fast_in(s, 0) || !fast_in(s, 1)) return PARE_EUNSUPPORTED;
    const pare_operand *dy = s->in[0], *v = s->in[1];
    if (!fast_f32(dy) || !fast_f32(v) || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    if (!fast_same_dims(dy, v) || !fast_same_dims(dy, s->out[0])) return PARE_EUNSUPPORTED;
    const uint32_t both[] = {0, 1};
    const pare_operand *lead = grad_lead(s, both, 2);
    if (!grad_follows(lead, s->out[0])) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    act a = {.run = best(), .kind = table[row].kind, .n = grad_bytes(dev, lead) / sizeof(float)};
    if (a.kind == ACT_GELU && ref_attr_is(s, "approximate", "none", "tanh")) a.kind = ACT_GELU_TANH;
    a.p[0] = (float)(table[row].a ? ref_attr_float(s, table[row].a, table[row].a_default) : table[row].a_default);
    a.p[1] = (float)(table[row].b ? ref_attr_float(s, table[row].b, table[row].b_default) : table[row].b_default);
    for (uint32_t i = 0; a.kind == ACT_CLIP && i < 2; i++) {
        a.bounds[i] = fast_in(s, 2 + i);
        if (a.bounds[i] && (s->in[2 + i]->dtype != PARE_FLOAT || ref_count(s->in[2 + i]) != 1))
            return PARE_EUNSUPPORTED;
    }
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &a, sizeof a);
    if (!k) return PARE_ENOMEM;
    k->run = act_run;
    k->in_place = 0;
    grad_in_like(k, 0, lead);
    grad_in_like(k, 1, lead);
    grad_out_like(k, 0, lead);
    *out = k;
    return PARE_OK;
}
