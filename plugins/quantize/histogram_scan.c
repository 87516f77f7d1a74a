/* quantize/histogram_scan.c - the loops of histogram.h over elements.
 *
 * One C text, compiled for each instruction set; the compiler makes vectors of it. Whole-number results, a product
 * by a power of two, sums in one order: the same on every machine. Where zeros are many they are left out before the
 * counting, as neighbours that fall into one bin have to wait for each other. May use: the compiler's intrinsics.
 */
#include "histogram.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS void look_body(const float *x, uint32_t n, int32_t *min, int32_t *max, uint64_t *zeros) {
    int32_t lo = *min, hi = *max;
    uint32_t none = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        const int32_t key = (int32_t)(bits ^ ((uint32_t) - (int32_t)(bits >> 31) & 0x7FFFFFFFu));
        lo = key < lo ? key : lo;
        hi = key > hi ? key : hi;
        none += (bits & 0x7FFFFFFFu) == 0;
    }
    *min = lo;
    *max = hi;
    *zeros += none;
}

/* Towards zero, and one less below it, by the sign's bit: a product that underflows keeps its side. */
ALWAYS uint32_t bin_of(float x, float inv, uint32_t mask) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint32_t)((int32_t)(x * inv) - (int32_t)(bits > 0x80000000u)) & mask;
}

ALWAYS void bins_body(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin) {
    for (uint32_t i = 0; i < n; i++) bin[i] = bin_of(x[i], inv, mask);
}

ALWAYS uint32_t bins_nonzero_body(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bin[kept] = bin_of(x[i], inv, mask);
        kept += (bits & 0x7FFFFFFFu) != 0;
    }
    return kept;
}

ALWAYS void sums_body(const float *a, const float *b, uint32_t n, double lane[4][HISTOGRAM_LANES]) {
    double local[4][HISTOGRAM_LANES];
    memcpy(local, lane, sizeof local);
    for (uint32_t i = 0; i < n; i += HISTOGRAM_LANES)
        for (uint32_t l = 0; l < HISTOGRAM_LANES; l++) {
            const double x = (double)a[i + l], y = (double)b[i + l], d = x - y;
            local[0][l] += x * x;
            local[1][l] += y * y;
            local[2][l] += x * y;
            local[3][l] += d * d;
        }
    memcpy(lane, local, sizeof local);
}

#define LOOPS(set, target)                                                                                             \
    target static void look_##set(const float *x, uint32_t n, int32_t *min, int32_t *max, uint64_t *zeros) {           \
        look_body(x, n, min, max, zeros);                                                                              \
    }                                                                                                                  \
    target static void bins_##set(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin) {               \
        bins_body(x, n, inv, mask, bin);                                                                               \
    }                                                                                                                  \
    target static void sums_##set(const float *a, const float *b, uint32_t n, double lane[4][HISTOGRAM_LANES]) {       \
        sums_body(a, b, n, lane);                                                                                      \
    }
#define LOOPS_NONZERO(set, target)                                                                                     \
    target static uint32_t bins_nonzero_##set(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin) {   \
        return bins_nonzero_body(x, n, inv, mask, bin);                                                                \
    }
#define ROW(set)                                                                                                       \
    { #set, look_##set, bins_##set, bins_nonzero_##set, sums_##set }

LOOPS(base, )
LOOPS_NONZERO(base, )

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
LOOPS(avx2, AVX2)
LOOPS_NONZERO(avx2, AVX2)
LOOPS(avx512, AVX512)

AVX512 static uint32_t bins_nonzero_avx512(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin) {
    const __m512 scale = _mm512_set1_ps(inv);
    const __m512i one = _mm512_set1_epi32(1), keep = _mm512_set1_epi32((int)mask);
    const __m512i minus = _mm512_set1_epi32((int)0x80000000u), magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    uint32_t i = 0, kept = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        const __m512i bits = _mm512_castps_si512(v);
        __m512i k = _mm512_cvttps_epi32(_mm512_mul_ps(v, scale));
        k = _mm512_mask_sub_epi32(k, _mm512_cmpgt_epu32_mask(bits, minus), k, one);
        const __mmask16 some = _mm512_test_epi32_mask(bits, magnitude);
        /* into a register and all sixteen stored: a compressing store is slow on some machines */
        _mm512_storeu_si512(bin + kept, _mm512_maskz_compress_epi32(some, _mm512_and_si512(k, keep)));
        kept += (uint32_t)__builtin_popcount(some);
    }
    return kept + bins_nonzero_body(x + i, n - i, inv, mask, bin + kept);
}
#endif

static const histogram_loops sets[] = {
    ROW(base),
#if defined(__x86_64__)
    ROW(avx2),
    ROW(avx512),
#endif
};

static uint32_t runs(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
               ? 3
               : 2;
#else
    return 1;
#endif
}

const histogram_loops *histogram_loops_best(void) { return &sets[runs() - 1]; }

const histogram_loops *histogram_loops_all(uint32_t i) { return i < runs() ? &sets[i] : NULL; }
