/* cpu/q_loops.c - see q_loops.h. */
#include "q_loops.h"
#include "isa.h"
#include "q_gemm.h"

#include <math.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define QL_LANES 16
#define QL_VECTOR __m512
#define QL_ZERO _mm512_setzero_ps()
#define QL_LOAD(p) _mm512_loadu_ps(p)
#define QL_STORE(p, x) _mm512_storeu_ps(p, x)
#define QL_MIN(a, b) _mm512_min_ps(a, b)
#define QL_MAX(a, b) _mm512_max_ps(a, b)
#define QS(name) name##_avx512
#define Q_FN __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#include "q_loops_body.h"
#undef QS
#undef Q_FN
#define QL_LANES 8
#define QL_VECTOR __m256
#define QL_ZERO _mm256_setzero_ps()
#define QL_LOAD(p) _mm256_loadu_ps(p)
#define QL_STORE(p, x) _mm256_storeu_ps(p, x)
#define QL_MIN(a, b) _mm256_min_ps(a, b)
#define QL_MAX(a, b) _mm256_max_ps(a, b)
#define QS(name) name##_avx2
#define Q_FN __attribute__((target("avx2,fma")))
#include "q_loops_body.h"
#undef QS
#undef Q_FN
#endif
#define QS(name) name##_base
#define Q_FN
#include "q_loops_body.h"

const q_loops *q_loops_best(void) {
    cpu_isa isa = cpu_isa_best();
#if defined(__x86_64__)
    if (isa >= CPU_ISA_AVX512) return &loops_avx512;
    if (isa >= CPU_ISA_AVX2) return &loops_avx2;
#endif
    (void)isa;
    return &loops_base;
}

bool q_scale_of(const pare_operand *o, q_scale *q) {
    bool is_signed = o->dtype == PARE_INT8;
    *q = (q_scale){.is_signed = is_signed, .low = is_signed ? -128 : 0, .high = is_signed ? 127 : 255};
    return q_tensor(o, &q->scale, &q->zero);
}

bool q_scale_of_post(const pare_kernel_spec *s, uint32_t n_post, q_scale *q) {
    q_post post;
    float first;
    if (!q_post_of(s, n_post, &post, &first) || !post.simple) return false;
    *q = (q_scale){.scale = 1 / first,
                   .low = post.stage[0].low,
                   .high = post.stage[0].high,
                   .zero = post.zero,
                   .is_signed = post.dtype == PARE_INT8};
    return isfinite(q->scale);
}
