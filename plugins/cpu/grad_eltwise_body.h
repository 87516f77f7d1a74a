/* cpu/grad_eltwise_body.h - grad_eltwise.c's loops, once for each instruction set (simd.h, wide.h). No include guard.
 */

/* The slope at v times dy, both LW of them; p: the op's parameters. */
SIMD_INLINE void SIMD(slope)(act_kind kind, wf *g, const wf *at, const float *p) {
    const wf v = *at, one = (wf){0} + 1.0f;
    wf e, t;
    switch (kind) {
    case ACT_RELU: *g = W_SELECT(v > 0, *g, W_SELECT(v <= 0, (wf){0}, v)); return;
    case ACT_LEAKY: *g = W_SELECT(v < 0, *g * p[0], *g); return;
    case ACT_SIGMOID: *g *= v * (1.0f - v); return;
    case ACT_TANH: *g *= 1.0f - v * v; return;
    case ACT_HARD_SIGMOID:
        t = v * p[0] + p[1];
        *g = W_KEEP((t > 0) & (t < 1), *g * p[0]);
        return;
    case ACT_HARD_SWISH: *g = W_SELECT(v <= -3, (wf){0}, W_SELECT(v >= 3, *g, *g * (v * (1.0f / 3) + 0.5f))); return;
    case ACT_CLIP: *g = W_KEEP(~((v < p[0]) | (v > p[1])), *g); return;
    case ACT_ELU:
        e = v;
        SIMD(w_exp)(&e);
        *g *= W_SELECT(v < 0, e * p[0], one);
        return;
    case ACT_SELU:
        e = v;
        SIMD(w_exp)(&e);
        *g *= W_SELECT(v <= 0, e * (p[0] * p[1]), one * p[1]);
        return;
    case ACT_SOFTPLUS:
        e = -v;
        SIMD(w_exp)(&e);
        *g /= 1.0f + e;
        return;
    case ACT_GELU: /* erf by Abramowitz and Stegun 7.1.26, to 1.5e-7 */
        e = v * v * -0.5f;
        SIMD(w_exp)(&e);
        t = 1.0f / (1.0f + W_SELECT(v < 0, -v, v) * (0.3275911f * 0.70710678f));
        t *= (((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f;
        t *= e * 0.5f;
        *g *= W_SELECT(v < 0, t, 1.0f - t) + v * e * 0.39894228f;
        return;
    case ACT_GELU_TANH:
        e = (v + 0.044715f * v * v * v) * (2 * 0.79788456f);
        SIMD(w_exp)(&e);
        t = 1.0f - 2.0f / (1.0f + e);
        *g *= 0.5f + 0.5f * t + 0.5f * v * (1.0f - t * t) * 0.79788456f * (1.0f + 3 * 0.044715f * v * v);
        return;
    case ACT_MISH: /* tanh(log(1 + e)) is 1 - q */
        e = W_SELECT(v > 30, one * 30.0f, v);
        SIMD(w_exp)(&e);
        t = 2.0f / (e * (e + 2.0f) + 2.0f);
        *g *= (1.0f - t) + v * t * (2.0f - t) * (e / (1.0f + e));
        return;
    default: return;
    }
}

/* One loop a function: what is the same in all rounds is out of it. */
#define LOOP(kind)                                                                                                     \
    case kind:                                                                                                         \
        for (; i + LW <= n; i += LW) {                                                                                 \
            wf g = W_OF(dy + i), x = W_OF(v + i);                                                                      \
            SIMD(slope)(kind, &g, &x, p);                                                                              \
            W_AT(dx + i) = g;                                                                                          \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            wf g = {0}, x = {0};                                                                                       \
            memcpy(&g, dy + i, (size_t)(n - i) * sizeof(float));                                                       \
            memcpy(&x, v + i, (size_t)(n - i) * sizeof(float));                                                        \
            SIMD(slope)(kind, &g, &x, p);                                                                              \
            memcpy(dx + i, &g, (size_t)(n - i) * sizeof(float));                                                       \
        }                                                                                                              \
        break

SIMD_FN static void SIMD(act)(act_kind kind, const float *dy, const float *v, float *dx, uint64_t n, const float *p) {
    uint64_t i = 0;
    switch (kind) {
        LOOP(ACT_RELU);
        LOOP(ACT_LEAKY);
        LOOP(ACT_SIGMOID);
        LOOP(ACT_TANH);
        LOOP(ACT_HARD_SIGMOID);
        LOOP(ACT_HARD_SWISH);
        LOOP(ACT_CLIP);
        LOOP(ACT_ELU);
        LOOP(ACT_SELU);
        LOOP(ACT_SOFTPLUS);
        LOOP(ACT_GELU);
        LOOP(ACT_GELU_TANH);
        LOOP(ACT_MISH);
    default: break;
    }
}
#undef LOOP
