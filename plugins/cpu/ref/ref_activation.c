/* plugins/cpu/ref/ref_activation.c - Relu and its relatives: one element in, one out, with a parameter or two.
 *
 * PRelu has two inputs and is in ref_elementwise.c. May use: ref.h.
 */
#include "ref_map.h"
#include "ref_rows.h"

#include <math.h>
#include <string.h>

static double sigmoid(double v) {
    if (v >= 0) return 1 / (1 + exp(-v));
    double e = exp(v); /* no overflow on the way */
    return e / (1 + e);
}

static double softplus(double v) { return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v)); }

static double clamp01(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

/* Comparisons are written so that NaN stays NaN. */
REF_MAP_F(relu, v < 0 ? 0 : v)
REF_MAP_F(leaky_relu, v < 0 ? a * v : v)
REF_MAP_F(thresholded_relu, v > a || v != v ? v : 0)
REF_MAP_D(elu, v < 0 ? a * expm1(v) : v)
REF_MAP_D(selu, v <= 0 ? b * (a * expm1(v)) : b * v)
REF_MAP_D(celu, v < 0 ? a * expm1(v / a) : v)
REF_MAP_D(sigm, sigmoid(v))
REF_MAP_D(hard_sigmoid, clamp01(a *v + b))
REF_MAP_D(hard_swish, v *clamp01(v / 6 + 0.5))
REF_MAP_D(swish, v *sigmoid(a *v))
REF_MAP_D(tanh_of, tanh(v))
REF_MAP_D(erf_of, erf(v))
REF_MAP_D(gelu, 0.5 * v * (1 + erf(v * 0.70710678118654752440)))
REF_MAP_D(gelu_tanh, 0.5 * v * (1 + tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v))))
REF_MAP_D(softplus_of, softplus(v))
REF_MAP_D(mish, v *tanh(softplus(v)))
REF_MAP_D(softsign, v / (1 + fabs(v)))
REF_MAP_D(shrink, v<-b ? v + a : v> b ? v - a : v != v ? v : 0)

/* Names of up to two float attributes and what they are when absent. */
typedef struct activation {
    ref_map map;
    const char *a, *b;
    double a_default, b_default;
} activation;

static const activation table[] = {
    {{"Relu", relu_f32, relu_f64}, NULL, NULL, 0, 0},
    {{"LeakyRelu", leaky_relu_f32, leaky_relu_f64}, "alpha", NULL, 0.01f, 0},
    {{"ThresholdedRelu", thresholded_relu_f32, thresholded_relu_f64}, "alpha", NULL, 1, 0},
    {{"Elu", elu_f32, elu_f64}, "alpha", NULL, 1, 0},
    {{"Selu", selu_f32, selu_f64}, "alpha", "gamma", 1.67326319217681884765625, 1.05070102214813232421875},
    {{"Celu", celu_f32, celu_f64}, "alpha", NULL, 1, 0},
    {{"Sigmoid", sigm_f32, sigm_f64}, NULL, NULL, 0, 0},
    {{"HardSigmoid", hard_sigmoid_f32, hard_sigmoid_f64}, "alpha", "beta", 0.2f, 0.5},
    {{"HardSwish", hard_swish_f32, hard_swish_f64}, NULL, NULL, 0, 0},
    {{"Swish", swish_f32, swish_f64}, "alpha", NULL, 1, 0},
    {{"Tanh", tanh_of_f32, tanh_of_f64}, NULL, NULL, 0, 0},
    {{"Erf", erf_of_f32, erf_of_f64}, NULL, NULL, 0, 0},
    {{"Gelu", gelu_f32, gelu_f64}, NULL, NULL, 0, 0},
    {{"Softplus", softplus_of_f32, softplus_of_f64}, NULL, NULL, 0, 0},
    {{"Mish", mish_f32, mish_f64}, NULL, NULL, 0, 0},
    {{"Softsign", softsign_f32, softsign_f64}, NULL, NULL, 0, 0},
    {{"Shrink", shrink_f32, shrink_f64}, "bias", "lambd", 0, 0.5},
};

pare_status ref_run_activation(const ref_call *c) {
    static const ref_map with_tanh = {"Gelu", gelu_tanh_f32, gelu_tanh_f64};
    const pare_kernel_spec *s = c->spec;
    if (!strcmp(s->op_type, "Gelu") && ref_attr_is(s, "approximate", "none", "tanh"))
        return ref_map_run(c, &with_tanh, 0, 0);
    if (!strcmp(s->op_type, "Relu") && ref_is_int(s->in[0]->dtype)) return ref_run_unary(c);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const activation *t = &table[i];
        if (strcmp(s->op_type, t->map.op_type)) continue;
        return ref_map_run(c, &t->map, t->a ? ref_attr_float(s, t->a, t->a_default) : 0,
                           t->b ? ref_attr_float(s, t->b, t->b_default) : 0);
    }
    return PARE_EUNSUPPORTED;
}
