/* base/random.c - see random.h.
 *
 * Everything here is the same sequence of IEEE operations on every machine: no libm, no contraction to FMA (the build
 * says -ffp-contract=off), no sums whose order depends on the vector width. The loops work on blocks of pairs, stage by
 * stage, without branches, so that compilers vectorise them; on x86 the same source is compiled for three instruction
 * sets and the widest that this machine has is taken. May use: sdk/pare/random.h, os.
 */
#include "base/random.h"

#include "base/os.h"

#include <float.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "the bytes must repeat: build without -ffast-math, and on 32-bit x86 with -msse2 -mfpmath=sse"
#endif

#define INLINE static inline __attribute__((always_inline))

enum { PAIRS = 256, CHUNK = 256 * PAIRS }; /* a block on the stack; a task of pare_parallel */

INLINE uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

INLINE double double_of(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* v < 2^52 as a double: its bits under the exponent of 2^52. Conversion instructions exist for few vector sets. */
INLINE double small_to_double(uint64_t v) { return double_of(v | 0x4330000000000000u) - 0x1p52; }

/* log x for normal x > 0. x = 2^k m with m in [sqrt 1/2, sqrt 2); with f = m - 1 and s = f / (2 + f),
 * log m = 2 atanh s = 2 s + s R, R = 2/3 z + 2/5 z^2 + ..., z = s^2 <= 0.0295: eleven terms leave 2^-59.
 * 2 s = f - s f, so log m = f - (f^2 / 2 - s (f^2 / 2 + R)): the leading f is exact and the rest small. */
INLINE double log_normal(double x) {
    const uint64_t root_half = 0x3fe6a09e667f3bcdu;
    uint64_t u = bits_of(x), biased = (u - root_half + ((uint64_t)1100 << 52)) >> 52; /* k + 1100 */
    double k = small_to_double(biased) - 1100.0;
    double f = double_of(u - (biased << 52) + ((uint64_t)1100 << 52)) - 1.0;
    double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
    double r = 2.0 / 23;
    r = r * z + 2.0 / 21;
    r = r * z + 2.0 / 19;
    r = r * z + 2.0 / 17;
    r = r * z + 2.0 / 15;
    r = r * z + 2.0 / 13;
    r = r * z + 2.0 / 11;
    r = r * z + 2.0 / 9;
    r = r * z + 2.0 / 7;
    r = r * z + 2.0 / 5;
    r = r * z + 2.0 / 3;
    r = r * z;
    /* log 2 in two parts; the first has 21 zero bits at its end, so that its product with k is exact */
    return k * 0x1.62e42fee00000p-1 + (f - (half - (s * (half + r) + k * 0x1.a39ef35793c76p-33)));
}

/* t = q / 4 + r with |r| <= 1/8, exactly; then the Taylor series of sin and cos in r, coefficients (2 pi)^n / n!. */
INLINE void cos_sin_turn(double t, double *c, double *s) {
    double shifted = 4.0 * t + 0x1.8p52, r = t - 0.25 * (shifted - 0x1.8p52), z = r * r;
    uint64_t q = bits_of(shifted); /* its low bits are the quadrant */
    double a = 0x1.aaec32af93359p-4;
    a = a * z - 0x1.6fadb9f155744p-1;
    a = a * z + 0x1.e8f434d018d63p+1;
    a = a * z - 0x1.e3074fde8871fp+3;
    a = a * z + 0x1.50783487ee782p+5;
    a = a * z - 0x1.32d2cce62bd86p+6;
    a = a * z + 0x1.466bc6775aae2p+6;
    a = a * z - 0x1.4abbce625be53p+5;
    a = a * z + 0x1.1a62633145c07p-52; /* 2 pi's second half */
    a = r * 0x1.921fb54442d18p+2 + r * a;
    double b = -0x1.2a0c591af8314p-5;
    b = b * z + 0x1.20c62c2f2d7f5p-2;
    b = b * z - 0x1.b6e24f44b128fp+0;
    b = b * z + 0x1.f9d38a3763cc3p+2;
    b = b * z - 0x1.a6d1f2a204a8cp+4;
    b = b * z + 0x1.e1f506891babbp+5;
    b = b * z - 0x1.55d3c7e3cbffap+6;
    b = b * z + 0x1.03c1f081b5ac4p+6;
    b = b * z - 0x1.3bd3cc9be45dep+4;
    b = 1.0 + b * z;
    uint64_t ua = bits_of(a), ub = bits_of(b), swap = 0 - (q & 1), mixed = (ua ^ ub) & swap;
    *c = double_of(ub ^ mixed ^ ((q + 1) & 2) << 62);
    *s = double_of(ua ^ mixed ^ (q & 2) << 62);
}

/* x[i] becomes its square root. Intrinsics, because with errno in the language compilers won't vectorise sqrt(). */
INLINE void roots(double *x, int n) {
#if defined(__SSE2__)
    for (int i = 0; i < n; i += 2) _mm_storeu_pd(x + i, _mm_sqrt_pd(_mm_loadu_pd(x + i)));
#elif defined(__aarch64__)
    for (int i = 0; i < n; i += 2) vst1q_f64(x + i, vsqrtq_f64(vld1q_f64(x + i)));
#else
    for (int i = 0; i < n; i++) x[i] = __builtin_sqrt(x[i]);
#endif
}

typedef struct job {
    uint64_t seed, stream;
    double shift, scale;
    bool normal;
    float *out;
    uint64_t n;
} job;

/* Philox as in sdk/pare/random.h for counters first..first+PAIRS-1, its words in 64-bit lanes: what vector units
 * multiply. w[j][i] < 2^32. */
INLINE void philox_block(const job *j, uint64_t first, uint64_t w[4][PAIRS]) {
    const uint64_t low = 0xffffffffu;
    for (int i = 0; i < PAIRS; i++) {
        uint64_t at = first + (uint64_t)i;
        uint64_t c0 = at & low, c1 = at >> 32, c2 = j->stream & low, c3 = j->stream >> 32;
        uint32_t k0 = (uint32_t)j->seed, k1 = (uint32_t)(j->seed >> 32);
#if defined(__clang__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
        for (int r = 0; r < 10; r++) {
            uint64_t p0 = (c0 & low) * 0xD2511F53u, p1 = (c2 & low) * 0xCD9E8D57u;
            c0 = p1 >> 32 ^ c1 ^ k0;
            c2 = p0 >> 32 ^ c3 ^ k1;
            c1 = p1 & low;
            c3 = p0 & low;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        w[0][i] = c0;
        w[1][i] = c1;
        w[2][i] = c2;
        w[3][i] = c3;
    }
}

/* 53 bits in [0, 1) from two words, as pare_random_double makes them: the sum is exact. */
INLINE double unit(uint64_t high, uint64_t low) {
    return small_to_double(high) * 0x1p-32 + small_to_double(low >> 11) * 0x1p-53;
}

INLINE void block(const job *j, uint64_t first, float *out) {
    uint64_t w[4][PAIRS];
    double x[PAIRS], y[PAIRS], u[PAIRS];
    philox_block(j, first, w);
    if (j->normal) {
        /* Box and Muller, 1958: r = sqrt(-2 log u1), r cos and r sin of 2 pi u2; u1 in (0, 1] */
        for (int i = 0; i < PAIRS; i++) u[i] = -2.0 * log_normal(unit(w[1][i], w[0][i]) + 0x1p-53);
        roots(u, PAIRS);
        for (int i = 0; i < PAIRS; i++) {
            double c, s;
            cos_sin_turn(unit(w[3][i], w[2][i]), &c, &s);
            x[i] = u[i] * c;
            y[i] = u[i] * s;
        }
    } else {
        for (int i = 0; i < PAIRS; i++) {
            x[i] = unit(w[1][i], w[0][i]);
            y[i] = unit(w[3][i], w[2][i]);
        }
    }
    double shift = j->shift, scale = j->scale;
    for (int i = 0; i < PAIRS; i++) {
        out[2 * i] = (float)(shift + scale * x[i]);
        out[2 * i + 1] = (float)(shift + scale * y[i]);
    }
}

INLINE void pairs(const job *j, uint64_t first, uint64_t n) {
    for (uint64_t i = first; i < first + n; i += PAIRS) {
        if (j->n - 2 * i >= 2 * PAIRS) {
            block(j, i, j->out + 2 * i);
        } else {
            float tail[2 * PAIRS];
            block(j, i, tail);
            memcpy(j->out + 2 * i, tail, (size_t)(j->n - 2 * i) * sizeof *tail);
        }
    }
}

static void pairs_plain(const job *j, uint64_t first, uint64_t n) { pairs(j, first, n); }

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2"))) static void pairs_avx2(const job *j, uint64_t first, uint64_t n) { pairs(j, first, n); }
__attribute__((target("avx2,avx512f,avx512dq,avx512vl"))) static void pairs_avx512(const job *j, uint64_t first,
                                                                                   uint64_t n) {
    pairs(j, first, n);
}
#endif

static void chunk(void *ctx, uint64_t i) {
    const job *j = ctx;
    uint64_t first = i * CHUNK, all = j->n / 2 + (j->n & 1), n = all - first < CHUNK ? all - first : CHUNK;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        pairs_avx512(j, first, n);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        pairs_avx2(j, first, n);
        return;
    }
#endif
    pairs_plain(j, first, n);
}

static void fill(job *j) {
    uint64_t all = j->n / 2 + (j->n & 1);
    pare_parallel(all / CHUNK + (all % CHUNK != 0), chunk, j);
}

void pare_random_normal(uint64_t seed, uint64_t stream, float mean, float std, float *out, uint64_t n) {
    job j = {seed, stream, (double)mean, (double)std, true, out, n};
    fill(&j);
}

void pare_random_uniform(uint64_t seed, uint64_t stream, float lo, float hi, float *out, uint64_t n) {
    job j = {seed, stream, (double)lo, (double)hi - (double)lo, false, out, n};
    fill(&j);
}

double pare_log(double x) {
    if (x >= DBL_MIN) return log_normal(x);
    /* 54 log 2, taken off again; rounding it once costs less than an ulp of so large a logarithm */
    return log_normal(x * 0x1p54) - 0x1.2b708872320e2p+5;
}

void pare_cos_sin_2pi(double t, double *c, double *s) { cos_sin_turn(t, c, s); }

double pare_sqrt(double x) {
    double pair[2] = {x, 0.0};
    roots(pair, 2);
    return pair[0];
}

uint64_t pare_seed_derive(uint64_t seed, const char *name) {
    return pare_random_u64(seed, pare_random_stream(name), 0);
}
