/* cpu/q_gemm_body.h - q_gemm.c's tiles, once for each instruction set that has vectors. No include guard.
 *
 * QV: a vector of int32; QN of them in a row of a block; QS(name): this set's name of a function; Q_DOT_INTO(acc, x,
 * w): adds four products to each of acc's numbers, x being unsigned.
 */
#undef QS
#undef Q_FN
#undef QV
#undef QN
#undef QMR
#undef Q_LOAD
#undef Q_STORE
#undef Q_SET32
#undef Q_DOT_INTO
#undef Q_ADD_INTO
#undef Q_MADD
#undef Q_LOW
#undef Q_HIGH
#undef Q_EVEN
#undef Q_ODD
#undef Q_INLINE

#if Q_SET == Q_VNNI
#define QS(name) name##_vnni
#define Q_FN __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#elif Q_SET == Q_AVX512
#define QS(name) name##_avx512
#define Q_FN __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#else
#define QS(name) name##_avx2
#define Q_FN __attribute__((target("avx2,fma")))
#endif
#define Q_INLINE Q_FN static inline __attribute__((always_inline))

/* Written out: gcc 12 would copy the sums about, and store them in every step. */
#define Q_ADD_INTO(acc, x) __asm__("vpaddd %1, %0, %0" : "+v"(acc) : "v"(x))
#if Q_SET == Q_AVX2
#define QV __m256i
#define QN 4
#define QMR 4
#define Q_LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define Q_STORE(p, x) _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define Q_SET32(x) _mm256_set1_epi32(x)
#define Q_MADD(a, b) _mm256_madd_epi16(a, b)
#define Q_DOT_INTO(acc, x, w) Q_ADD_INTO(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)))
#define Q_LOW(x) _mm256_and_si256(x, _mm256_set1_epi16(255))
#define Q_HIGH(x) _mm256_srli_epi16(x, 8)
#define Q_EVEN(w) _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8)
#define Q_ODD(w) _mm256_srai_epi16(w, 8)
#else
#define QV __m512i
#define QN 2
#define Q_LOAD(p) _mm512_loadu_si512(p)
#define Q_STORE(p, x) _mm512_storeu_si512(p, x)
#define Q_SET32(x) _mm512_set1_epi32(x)
#define Q_MADD(a, b) _mm512_madd_epi16(a, b)
#define Q_LOW(x) _mm512_and_si512(x, _mm512_set1_epi16(255))
#define Q_HIGH(x) _mm512_srli_epi16(x, 8)
#define Q_EVEN(w) _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8)
#define Q_ODD(w) _mm512_srai_epi16(w, 8)
#if Q_SET == Q_VNNI
#define QMR 14
#define Q_DOT_INTO(acc, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w))
#else
#define QMR 12
#define Q_DOT_INTO(acc, x, w) Q_ADD_INTO(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)))
#endif
#endif

#define Q_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

/* Two vectors of columns, mr rows: sums into a##r and b##r. The names are written out: what is in a register should not
 * depend on the compiler's mood. */
#define Q_DECLARE(r)                                                                                                   \
    QV a##r = s0, b##r = s1;                                                                                           \
    const uint8_t *p##r = rows[r];
#define Q_POINT(r) p##r = mr > r ? rows[r] : p##r;
#define Q_STEP(r)                                                                                                      \
    if (mr > r) {                                                                                                      \
        int32_t four;                                                                                                  \
        memcpy(&four, p##r + k, 4);                                                                                    \
        QV x = Q_SET32(four);                                                                                          \
        Q_DOT_INTO(a##r, x, w0);                                                                                       \
        if (wide) Q_DOT_INTO(b##r, x, w1);                                                                             \
    }
#define Q_STEP_EXACT(r)                                                                                                \
    if (mr > r) {                                                                                                      \
        int32_t four;                                                                                                  \
        memcpy(&four, p##r + k, 4);                                                                                    \
        QV x = Q_SET32(four), xe = Q_LOW(x), xo = Q_HIGH(x);                                                           \
        Q_ADD_INTO(a##r, Q_MADD(xe, e0));                                                                              \
        Q_ADD_INTO(b##r, Q_MADD(xe, e1));                                                                              \
        Q_ADD_INTO(a##r, Q_MADD(xo, o0));                                                                              \
        Q_ADD_INTO(b##r, Q_MADD(xo, o1));                                                                              \
    }
#define Q_KEEP(r)                                                                                                      \
    if (mr > r) {                                                                                                      \
        Q_STORE(t->sums + r * Q_NR + column, a##r);                                                                    \
        if (wide) Q_STORE(t->sums + r * Q_NR + column + Q_NR / QN, b##r);                                              \
    }
#if Q_SET == Q_AVX512
/* 16 columns of a row as whole numbers: the sums scaled; in the residual's modes what it is made of besides. */
Q_INLINE __m512i QS(whole)(const q_narrow *n, const int32_t *sums, __m512 k, const uint8_t *other, __mmask16 mask,
                           const int mode) {
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), k);
    if (mode == Q_NARROW) return _mm512_cvtps_epi32(v);
    if (mode == Q_NARROW_ROUND_ADD) {
        v = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        v = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(n->low1)), _mm512_set1_ps(n->high1));
        v = _mm512_mul_ps(v, _mm512_set1_ps(n->scale1));
    }
    __m128i q = _mm_maskz_loadu_epi8(mask, other);
    __m512 x = _mm512_cvtepi32_ps(n->other_signed ? _mm512_cvtepi8_epi32(q) : _mm512_cvtepu8_epi32(q));
    x = _mm512_mul_ps(_mm512_sub_ps(x, _mm512_set1_ps(n->other_zero)), _mm512_set1_ps(n->other_scale));
    return _mm512_cvtps_epi32(_mm512_add_ps(v, x));
}

/* Sums to 8 bits, two rows at a time: every step saturates. Packing takes four columns of either half in turns, which
 * the order at the end undoes. */
Q_INLINE void QS(narrow)(const q_narrow *from, const int32_t *sums, uint32_t rows, const int mode) {
    const q_narrow n = *from; /* a copy: stores to `out` can't change it */
    const __m512 k0 = _mm512_loadu_ps(n.scale), k1 = _mm512_loadu_ps(n.scale + 16);
    const __m512i zero = _mm512_set1_epi16((int16_t)n.zero);
    const __m512i low = _mm512_set1_epi16((int16_t)(n.low + (float)n.zero)),
                  high = _mm512_set1_epi16((int16_t)(n.high + (float)n.zero));
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __mmask32 mask = n.columns >= 32 ? ~(__mmask32)0 : ((__mmask32)1 << n.columns) - 1;
    const __mmask16 m0 = (__mmask16)mask, m1 = (__mmask16)(mask >> 16);
    const uint8_t *other = n.other;
    uint8_t *out = n.out;
    for (uint32_t r = 0; r < rows; r += 2, sums += 2 * Q_NR, out += 2 * n.ld) {
        const bool both = r + 1 < rows;
        __m512i a = _mm512_packs_epi32(QS(whole)(&n, sums, k0, other, m0, mode),
                                       QS(whole)(&n, sums + 16, k1, other + 16, m1, mode));
        __m512i b = a;
        if (both)
            b = _mm512_packs_epi32(QS(whole)(&n, sums + Q_NR, k0, other + n.ld, m0, mode),
                                   QS(whole)(&n, sums + Q_NR + 16, k1, other + n.ld + 16, m1, mode));
        if (mode != Q_NARROW) other += 2 * n.ld;
        a = _mm512_max_epi16(_mm512_min_epi16(_mm512_adds_epi16(a, zero), high), low);
        b = _mm512_max_epi16(_mm512_min_epi16(_mm512_adds_epi16(b, zero), high), low);
        __m512i y = n.is_signed ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b);
        y = _mm512_permutexvar_epi32(order, y);
        __m256i y0 = _mm512_castsi512_si256(y), y1 = _mm512_extracti64x4_epi64(y, 1);
        if (n.columns >= 32) {
            _mm256_storeu_si256((__m256i *)(void *)out, y0);
            if (both) _mm256_storeu_si256((__m256i *)(void *)(out + n.ld), y1);
        } else {
            _mm256_mask_storeu_epi8(out, mask, y0);
            if (both) _mm256_mask_storeu_epi8(out + n.ld, mask, y1);
        }
    }
}

Q_FN static void QS(floats)(const q_narrow *n, const int32_t *sums, uint32_t rows) {
    const uint32_t columns = n->columns;
    const __mmask16 m0 = (__mmask16)(columns >= 16 ? 0xffff : (1u << columns) - 1),
                    m1 = (__mmask16)(columns >= 32   ? 0xffff
                                     : columns <= 16 ? 0
                                                     : (1u << (columns - 16)) - 1);
    const __m512 k0 = _mm512_loadu_ps(n->scale), k1 = _mm512_loadu_ps(n->scale + 16);
    const bool shifts = n->shift != NULL;
    const __m512 s0 = shifts ? _mm512_loadu_ps(n->shift) : k0, s1 = shifts ? _mm512_loadu_ps(n->shift + 16) : k1;
    float *out = n->floats;
    for (uint32_t r = 0; r < rows; r++, sums += Q_NR, out += n->ld) {
        __m512 a = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), k0);
        __m512 b = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums + 16)), k1);
        if (shifts) {
            a = _mm512_add_ps(a, s0);
            b = _mm512_add_ps(b, s1);
        }
        if (columns >= 32) {
            _mm512_storeu_ps(out, a);
            _mm512_storeu_ps(out + 16, b);
        } else {
            _mm512_mask_storeu_ps(out, m0, a);
            if (m1) _mm512_mask_storeu_ps(out + 16, m1, b);
        }
    }
}

Q_FN static void QS(bytes)(const q_narrow *n, const int32_t *sums, uint32_t rows) {
    if (n->mode == Q_NARROW_FLOAT)
        QS(floats)(n, sums, rows);
    else if (n->mode == Q_NARROW)
        QS(narrow)(n, sums, rows, Q_NARROW);
    else if (n->mode == Q_NARROW_ADD)
        QS(narrow)(n, sums, rows, Q_NARROW_ADD);
    else
        QS(narrow)(n, sums, rows, Q_NARROW_ROUND_ADD);
}
#endif

#if Q_SET == Q_VNNI
Q_INLINE __m512i QS(scale)(__m512i sum, const float *scale) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scale)));
}
/* Two rows from registers to 8 bits. The barrier has constants read from memory anew: in registers they would drive
 * sums out, and gcc would do that within the loop. */
#define Q_OUT(r, q)                                                                                                    \
    if (mr > r) {                                                                                                      \
        __asm__ volatile("" : : : "memory");                                                                           \
        const q_direct *d = t->direct;                                                                                 \
        __m512i y = wide ? _mm512_packs_epi32(QS(scale)(a##r, d->scale), QS(scale)(b##r, d->scale + 16))               \
                         : _mm512_packs_epi32(QS(scale)(a##r, d->scale), QS(scale)(a##q, d->scale));                   \
        __m512i z = y;                                                                                                 \
        if (wide && mr > q) z = _mm512_packs_epi32(QS(scale)(a##q, d->scale), QS(scale)(b##q, d->scale + 16));         \
        y = _mm512_adds_epi16(y, Q_LOAD(d->zeros));                                                                    \
        z = _mm512_adds_epi16(z, Q_LOAD(d->zeros));                                                                    \
        y = _mm512_permutexvar_epi32(Q_LOAD(d->order), _mm512_packus_epi16(y, z));                                     \
        if (wide) {                                                                                                    \
            _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(y));                                    \
            if (mr > q) _mm256_storeu_si256((__m256i *)(void *)(out + ld), _mm512_extracti64x4_epi64(y, 1));           \
        } else {                                                                                                       \
            _mm_storeu_si128((__m128i *)(void *)out, _mm512_castsi512_si128(y));                                       \
            if (mr > q) _mm_storeu_si128((__m128i *)(void *)(out + ld), _mm512_extracti32x4_epi32(y, 1));              \
        }                                                                                                              \
        out += 2 * ld;                                                                                                 \
    }
#endif

/* exact: not by pairs of int16; wide: both vectors of columns; direct: 8 bits go out, else the sums. */
Q_INLINE void QS(tile)(const q_tile *t, const int mr, const bool exact, const bool wide, const bool direct,
                       const int column) {
    const uint8_t *const *rows = t->rows;
    const int8_t *w = t->w + column * 4;
    QV s0 = Q_LOAD(t->start + column), s1 = Q_LOAD(t->start + column + Q_NR / QN);
    const uint8_t *const *const end = rows + t->taps * Q_MR;
    const int64_t depth = t->k;
    Q_ROWS(Q_DECLARE)
    do { /* neither loop is ever empty: compilers then keep the sums in registers */
        int64_t k = 0;
        Q_ROWS(Q_POINT)
        do {
            QV w0 = Q_LOAD(w), w1 = Q_LOAD(w + 4 * Q_NR / QN);
            if (exact) {
                QV e0 = Q_EVEN(w0), o0 = Q_ODD(w0), e1 = Q_EVEN(w1), o1 = Q_ODD(w1);
                Q_ROWS(Q_STEP_EXACT)
            } else {
                Q_ROWS(Q_STEP)
            }
            k += 4;
            w += 4 * Q_NR;
        } while (k < depth);
        rows += Q_MR;
    } while (rows < end);
#if Q_SET == Q_VNNI
    if (direct) {
        uint8_t *out = t->direct->out;
        const int64_t ld = t->direct->ld;
        Q_OUT(0, 1) Q_OUT(2, 3) Q_OUT(4, 5) Q_OUT(6, 7) Q_OUT(8, 9) Q_OUT(10, 11) Q_OUT(12, 13) return;
    }
#else
    (void)direct;
#endif
    Q_ROWS(Q_KEEP)
}

#if Q_SET == Q_AVX2
#define Q_TILE(name, exact, wide, direct, r)                                                                           \
    Q_FN static void QS(name##r)(const q_tile *t) {                                                                    \
        QS(tile)(t, r, exact, true, false, 0);                                                                         \
        if (t->columns > Q_NR / 2) QS(tile)(t, r, exact, true, false, Q_NR / 2);                                       \
    }
#else
#define Q_TILE(name, exact, wide, direct, r)                                                                           \
    Q_FN static void QS(name##r)(const q_tile *t) { QS(tile)(t, r, exact, wide, direct, 0); }
#endif
#define Q_TILES_4(name, e, w, d)                                                                                       \
    Q_TILE(name, e, w, d, 1) Q_TILE(name, e, w, d, 2) Q_TILE(name, e, w, d, 3) Q_TILE(name, e, w, d, 4)
#define Q_TILES_12(name, e, w, d)                                                                                      \
    Q_TILES_4(name, e, w, d)                                                                                           \
    Q_TILE(name, e, w, d, 5)                                                                                           \
    Q_TILE(name, e, w, d, 6)                                                                                           \
    Q_TILE(name, e, w, d, 7) Q_TILE(name, e, w, d, 8) Q_TILE(name, e, w, d, 9) Q_TILE(name, e, w, d, 10)               \
        Q_TILE(name, e, w, d, 11) Q_TILE(name, e, w, d, 12)
#define Q_TILES_14(name, e, w, d) Q_TILES_12(name, e, w, d) Q_TILE(name, e, w, d, 13) Q_TILE(name, e, w, d, 14)
#define Q_LIST_4(name) QS(name##1), QS(name##2), QS(name##3), QS(name##4)
#define Q_LIST_12(name)                                                                                                \
    Q_LIST_4(name), QS(name##5), QS(name##6), QS(name##7), QS(name##8), QS(name##9), QS(name##10), QS(name##11),       \
        QS(name##12)
#define Q_LIST_14(name) Q_LIST_12(name), QS(name##13), QS(name##14)

#if Q_SET == Q_VNNI
Q_TILES_14(sums, false, true, false)
Q_TILES_14(half, false, false, false)
Q_TILES_14(out, false, true, true)
Q_TILES_14(out_half, false, false, true)
static q_tile_fn *const QS(list_sums)[] = {Q_LIST_14(sums)};
static q_tile_fn *const QS(list_half)[] = {Q_LIST_14(half)};
static q_tile_fn *const QS(list_out)[] = {Q_LIST_14(out)};
static q_tile_fn *const QS(list_out_half)[] = {Q_LIST_14(out_half)};
#elif Q_SET == Q_AVX512
Q_TILES_12(sums, false, true, false)
Q_TILES_12(exact, true, true, false)
static q_tile_fn *const QS(list_sums)[] = {Q_LIST_12(sums)};
static q_tile_fn *const QS(list_exact)[] = {Q_LIST_12(exact)};
#else
Q_TILES_4(sums, false, true, false)
Q_TILES_4(exact, true, true, false)
static q_tile_fn *const QS(list_sums)[] = {Q_LIST_4(sums)};
static q_tile_fn *const QS(list_exact)[] = {Q_LIST_4(exact)};
#endif
#undef Q_ROWS
#undef Q_DECLARE
#undef Q_POINT
#undef Q_STEP
#undef Q_STEP_EXACT
#undef Q_KEEP
#undef Q_OUT
#undef Q_TILE
#undef Q_TILES_4
#undef Q_TILES_12
#undef Q_TILES_14
#undef Q_LIST_4
#undef Q_LIST_12
#undef Q_LIST_14
