/* cpu/q_depthwise_body.h - q_depthwise.c's lines, once for each instruction set: QS(name), Q_FN and Q_INLINE, and
 * Q_DOT_INTO(acc, x, w), Q_DOT_EXACT_INTO over vectors of 32 bytes. No include guard.
 *
 * 32 channels at a time. Of a column of the window, up to four pixels one above the other are brought side by side for
 * each channel by unpacking twice; packing the sums twice brings the channels back into their order.
 */

Q_INLINE __m256i QS(load)(const uint8_t *p, uint32_t n) {
    if (n == Q_NR) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    uint8_t part[Q_NR] = {0};
    memcpy(part, p, n);
    return _mm256_loadu_si256((const __m256i *)(const void *)part);
}

/* What a line's outputs have in common, where no store can seem to change it. */
#define Q_COMMON                                                                                                       \
    const bool simple = l->simple, is_signed = l->out_signed;                                                          \
    const float *const scale = l->scale;                                                                               \
    const int32_t *const start = l->start;                                                                             \
    const int64_t step_c = l->c, width = l->w, outputs = l->ow;                                                        \
    const __m256i border = _mm256_set1_epi8((char)l->zero), low = _mm256_set1_epi16(l->low);                           \
    const __m256i high = _mm256_set1_epi16(l->high), out_zero = _mm256_set1_epi16(l->out_zero);                        \
    uint8_t *const out = l->out
#define Q_SCALE32(s, at) _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(s), _mm256_loadu_ps(scale + (at))))
/* Sums of 32 channels, as unpacked, become output pixel ow. */
#define Q_PUT                                                                                                          \
    do {                                                                                                               \
        if (simple) {                                                                                                  \
            __m256i u_ = _mm256_packs_epi32(Q_SCALE32(s0, 0), Q_SCALE32(s1, 8));                                       \
            __m256i v_ = _mm256_packs_epi32(Q_SCALE32(s2, 16), Q_SCALE32(s3, 24));                                     \
            u_ = _mm256_add_epi16(_mm256_max_epi16(_mm256_min_epi16(u_, high), low), out_zero);                        \
            v_ = _mm256_add_epi16(_mm256_max_epi16(_mm256_min_epi16(v_, high), low), out_zero);                        \
            QS(store)(out + ow * step_c, is_signed ? _mm256_packs_epi16(u_, v_) : _mm256_packus_epi16(u_, v_), n);     \
        } else {                                                                                                       \
            QS(other)(l, ow, s0, s1, s2, s3);                                                                          \
        }                                                                                                              \
    } while (0)

Q_INLINE void QS(store)(uint8_t *to, __m256i y, uint32_t n) {
    if (n == Q_NR) {
        _mm256_storeu_si256((__m256i *)(void *)to, y);
    } else {
        uint8_t part[Q_NR];
        _mm256_storeu_si256((__m256i *)(void *)part, y);
        memcpy(to, part, n);
    }
}

/* In the channels' order, and the rest in common with other kernels. */
Q_FN static __attribute__((noinline)) void QS(other)(const q_line *l, int64_t ow, __m256i s0, __m256i s1, __m256i s2,
                                                     __m256i s3) {
    int32_t sums[Q_NR];
    const __m256i s[4] = {s0, s1, s2, s3};
    for (int v = 0; v < 4; v++) {
        _mm_storeu_si128((__m128i *)(void *)(sums + 4 * v), _mm256_castsi256_si128(s[v]));
        _mm_storeu_si128((__m128i *)(void *)(sums + 16 + 4 * v), _mm256_extracti128_si256(s[v], 1));
    }
    l->finish(l->e, sums, l->row + ow, 1, l->channel, l->n);
}

/* Columns are four vectors with names, c##0 to c##3: as an array, or a struct, compilers would keep them in memory. */
#define Q_MIX(c)                                                                                                       \
    do {                                                                                                               \
        __m256i l0_ = _mm256_unpacklo_epi8(r0, r1), h0_ = _mm256_unpackhi_epi8(r0, r1);                                \
        __m256i l1_ = _mm256_unpacklo_epi8(r2, r3), h1_ = _mm256_unpackhi_epi8(r2, r3);                                \
        c##0 = _mm256_unpacklo_epi16(l0_, l1_);                                                                        \
        c##1 = _mm256_unpackhi_epi16(l0_, l1_);                                                                        \
        c##2 = _mm256_unpacklo_epi16(h0_, h1_);                                                                        \
        c##3 = _mm256_unpackhi_epi16(h0_, h1_);                                                                        \
    } while (0)
/* Column x of three lines; outside, zero points. Weights of the fourth are 0. */
#define Q_FETCH(c, x)                                                                                                  \
    do {                                                                                                               \
        __m256i r0 = border, r1 = border, r2 = border, r3 = border;                                                    \
        int64_t x_ = (x);                                                                                              \
        if ((uint64_t)x_ < (uint64_t)width) {                                                                          \
            r0 = QS(load)(line0 + x_ * step_c, n);                                                                     \
            r1 = QS(load)(line1 + x_ * step_c, n);                                                                     \
            r2 = QS(load)(line2 + x_ * step_c, n);                                                                     \
        }                                                                                                              \
        Q_MIX(c);                                                                                                      \
    } while (0)
#define Q_WEIGHT(at) _mm256_loadu_si256((const __m256i *)(const void *)(w + (at)))
#define Q_TAP(s, x, at)                                                                                                \
    do {                                                                                                               \
        __m256i w_ = Q_WEIGHT(at);                                                                                     \
        if (exact)                                                                                                     \
            Q_DOT_EXACT_INTO(s, x, w_);                                                                                \
        else                                                                                                           \
            Q_DOT_INTO(s, x, w_);                                                                                      \
    } while (0)
#define Q_COLUMN(c, at)                                                                                                \
    Q_TAP(s0, c##0, at);                                                                                               \
    Q_TAP(s1, c##1, (at) + 32);                                                                                        \
    Q_TAP(s2, c##2, (at) + 64);                                                                                        \
    Q_TAP(s3, c##3, (at) + 96)
#define Q_BEGIN                                                                                                        \
    __m256i s0 = _mm256_loadu_si256((const __m256i *)(const void *)start),                                             \
            s1 = _mm256_loadu_si256((const __m256i *)(const void *)(start + 8)),                                       \
            s2 = _mm256_loadu_si256((const __m256i *)(const void *)(start + 16)),                                      \
            s3 = _mm256_loadu_si256((const __m256i *)(const void *)(start + 24))
#define Q_OUTPUT(a, b, c)                                                                                              \
    do {                                                                                                               \
        Q_BEGIN;                                                                                                       \
        Q_COLUMN(a, 0);                                                                                                \
        Q_COLUMN(b, 128);                                                                                              \
        Q_COLUMN(c, 256);                                                                                              \
        Q_PUT;                                                                                                         \
    } while (0)

/* One line of outputs of a 3 x 3 window: columns that the next output has too stay in registers. */
Q_INLINE void QS(line3)(const q_line *l, const int step, const bool exact, const uint32_t n) {
    Q_COMMON;
    const uint8_t *const line0 = l->lines[0], *const line1 = l->lines[1], *const line2 = l->lines[2];
    const int8_t *const w = l->weights;
    __m256i a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3;
    int64_t x = -l->left, ow = 0;
    Q_FETCH(a, x);
    if (step == 1) {
        Q_FETCH(b, x + 1);
        for (; ow < outputs; x += 3) {
            Q_FETCH(c, x + 2);
            Q_OUTPUT(a, b, c);
            if (++ow == outputs) return;
            Q_FETCH(a, x + 3);
            Q_OUTPUT(b, c, a);
            if (++ow == outputs) return;
            Q_FETCH(b, x + 4);
            Q_OUTPUT(c, a, b);
            ow++;
        }
    } else {
        for (; ow < outputs; x += 4) {
            Q_FETCH(b, x + 1);
            Q_FETCH(c, x + 2);
            Q_OUTPUT(a, b, c);
            if (++ow == outputs) return;
            Q_FETCH(b, x + 3);
            Q_FETCH(a, x + 4);
            Q_OUTPUT(c, b, a);
            ow++;
        }
    }
}

/* Any window: every output's columns anew. */
Q_INLINE void QS(line)(const q_line *l, const bool exact, const uint32_t n) {
    Q_COMMON;
    const int64_t groups = l->groups, kw = l->kw;
    for (int64_t ow = 0; ow < outputs; ow++) {
        const int8_t *w = l->weights;
        Q_BEGIN;
        for (int64_t g = 0; g < groups; g++)
            for (int64_t k = 0; k < kw; k++, w += 128) {
                const uint8_t *const *lines = l->lines + 4 * g;
                int64_t x = ow * l->step - l->left + k * l->spread;
                __m256i r0 = border, r1 = border, r2 = border, r3 = border, c0, c1, c2, c3;
                if ((uint64_t)x < (uint64_t)width) {
                    r0 = QS(load)(lines[0] + x * step_c, n);
                    r1 = QS(load)(lines[1] + x * step_c, n);
                    r2 = QS(load)(lines[2] + x * step_c, n);
                    r3 = QS(load)(lines[3] + x * step_c, n);
                }
                Q_MIX(c);
                Q_COLUMN(c, 0);
            }
        Q_PUT;
    }
}
#undef Q_COMMON
#undef Q_SCALE32
#undef Q_PUT
#undef Q_MIX
#undef Q_FETCH
#undef Q_WEIGHT
#undef Q_TAP
#undef Q_COLUMN
#undef Q_BEGIN
#undef Q_OUTPUT

Q_INLINE void QS(shape)(const q_line *l, const bool exact, const uint32_t n) {
    if (l->kind == 1)
        QS(line3)(l, 1, exact, n);
    else if (l->kind == 2)
        QS(line3)(l, 2, exact, n);
    else
        QS(line)(l, exact, n);
}

Q_FN static void QS(run)(const q_line *l) {
    if (l->exact && l->n == Q_NR)
        QS(shape)(l, true, Q_NR);
    else if (l->exact)
        QS(shape)(l, true, l->n);
    else if (l->n == Q_NR)
        QS(shape)(l, false, Q_NR);
    else
        QS(shape)(l, false, l->n);
}
