/* cpu/wide.h - vectors of float32 as the compiler's own, for bodies where lanes are channels. After simd.h, once for
 * each instruction set: LW lanes, as many as oneDNN has channels in a block there. No include guard.
 *
 * They may lie anywhere and be read out of arrays of float. A comparison gives a mask of ints. May use: simd.h.
 */
#undef LW
#undef wf
#undef wi
#undef W_AT
#undef W_OF
#undef W_KEEP
#undef W_SELECT

#if SIMD_ISA == SIMD_AVX512
#define LW 16
#else
#define LW 8
#endif
#define wf SIMD(wide_float)
#define wi SIMD(wide_int)
typedef float wf __attribute__((vector_size(LW * 4), aligned(4), may_alias));
typedef int32_t wi __attribute__((vector_size(LW * 4), aligned(4), may_alias));
#define W_AT(p) (*(wf *)(p))
#define W_OF(p) (*(const wf *)(p))
#define W_KEEP(mask, a) ((wf)((mask) & (wi)(a)))
#define W_SELECT(mask, a, b) ((wf)(((mask) & (wi)(a)) | (~(mask) & (wi)(b))))

/* e^x to 2e-7 within -87..87; beyond, what it is there. */
SIMD_INLINE void SIMD(w_exp)(wf *at) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    wf x = *at;
    x = W_SELECT(x < -87.0f, (wf){0} - 87.0f, x);
    x = W_SELECT(x > 87.0f, (wf){0} + 87.0f, x);
    wf t = x * 1.44269504f + magic, n = t - magic;
    wf r = (x - n * 0.693359375f) + n * 2.12194440e-4f, p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    *at = p * (wf)(((wi)t << 23) + 0x3f800000);
}

SIMD_INLINE float SIMD(w_sum)(const wf *v) {
    float part[LW], sum = 0;
    W_AT(part) = *v;
    for (int i = 0; i < LW; i++) sum += part[i];
    return sum;
}
