/* cpu/simd.h - what the *_body.h files of our own kernels are written in: vectors of float32 of one instruction set.
 *
 * A kernel's file includes simd_sets.h, defines SIMD_ISA as one of its sets, includes this, then its body, and so on
 * for each instruction set; SIMD(name) is the name of a function of the body. A set is compiled for always, whatever
 * the compiler's own flags, and called where cpu_isa_best allows it. No include guard. May use: the compiler's
 * intrinsics.
 */
#undef SIMD
#undef SIMD_FN
#undef SIMD_INLINE
#undef VW
#undef vf
#undef V_LOAD
#undef V_STORE
#undef V_SET
#undef V_ADD
#undef V_SUB
#undef V_MUL
#undef V_FMA
#undef V_MAX
#undef V_POW2

/* V_MAX(a, b): b where one of them is no number. V_POW2(t): 2 to the power of n, for t = n + 1.5 * 2^23. */
#if SIMD_ISA == SIMD_AVX512
#define SIMD(name) name##_avx512
#define SIMD_FN __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define VW 16
#define vf __m512
#define V_LOAD(p) _mm512_loadu_ps(p)
#define V_STORE(p, x) _mm512_storeu_ps(p, x)
#define V_SET(x) _mm512_set1_ps(x)
#define V_ADD(a, b) _mm512_add_ps(a, b)
#define V_SUB(a, b) _mm512_sub_ps(a, b)
#define V_MUL(a, b) _mm512_mul_ps(a, b)
#define V_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define V_MAX(a, b) _mm512_max_ps(a, b)
#define V_POW2(t)                                                                                                      \
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000)))
#elif SIMD_ISA == SIMD_AVX2
#define SIMD(name) name##_avx2
#define SIMD_FN __attribute__((target("avx2,fma")))
#define VW 8
#define vf __m256
#define V_LOAD(p) _mm256_loadu_ps(p)
#define V_STORE(p, x) _mm256_storeu_ps(p, x)
#define V_SET(x) _mm256_set1_ps(x)
#define V_ADD(a, b) _mm256_add_ps(a, b)
#define V_SUB(a, b) _mm256_sub_ps(a, b)
#define V_MUL(a, b) _mm256_mul_ps(a, b)
#define V_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define V_MAX(a, b) _mm256_max_ps(a, b)
#define V_POW2(t)                                                                                                      \
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000)))
#else
#define SIMD(name) name##_base
#define SIMD_FN
#define VW 1
#define vf float
#define V_LOAD(p) (*(p))
#define V_STORE(p, x) (*(p) = (x))
#define V_SET(x) (x)
#define V_ADD(a, b) ((a) + (b))
#define V_SUB(a, b) ((a) - (b))
#define V_MUL(a, b) ((a) * (b))
#define V_FMA(a, b, c) ((a) * (b) + (c))
#define V_MAX(a, b) ((a) > (b) ? (a) : (b))
#define V_POW2(t) ldexpf(1.0f, (t) == (t) ? (int)((t)-12582912.0f) : 0)
#endif
#define SIMD_INLINE SIMD_FN static inline __attribute__((always_inline))

/* e^x for x <= 0, to 2e-7; what is below -87 gives some 1e-38. What is no number stays none. */
SIMD_INLINE vf SIMD(v_exp)(vf x) {
    const vf magic = V_SET(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    x = V_MAX(V_SET(-87.0f), x);
    vf t = V_FMA(x, V_SET(1.44269504f), magic), n = V_SUB(t, magic);
    vf r = V_FMA(n, V_SET(-0.693359375f), x); /* ln 2 in two parts, the first one exact in products */
    r = V_FMA(n, V_SET(2.12194440e-4f), r);
    vf p = V_SET(1.0f / 5040); /* the series: |r| <= ln 2 / 2 */
    p = V_FMA(p, r, V_SET(1.0f / 720));
    p = V_FMA(p, r, V_SET(1.0f / 120));
    p = V_FMA(p, r, V_SET(1.0f / 24));
    p = V_FMA(p, r, V_SET(1.0f / 6));
    p = V_FMA(p, r, V_SET(0.5f));
    p = V_FMA(p, r, V_SET(1.0f));
    p = V_FMA(p, r, V_SET(1.0f));
    return V_MUL(p, V_POW2(t));
}

SIMD_INLINE float SIMD(v_sum)(vf x) {
    float part[VW], sum = 0;
    V_STORE(part, x);
    for (int i = 0; i < VW; i++) sum += part[i];
    return sum;
}
