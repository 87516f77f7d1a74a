/* cpu/q_depthwise_body.h - q_depthwise.c's lines, once for each instruction set: QS(name), Q_FN and Q_INLINE, and
 * Q_DOT_INTO(acc, x, w), Q_DOT_EXACT_INTO over vectors of 32 bytes. No include guard.
 *
 * 32 channels at a time. Of a column of the window, up to four pixels one above the other are brought side by side for
 * each channel by unpacking twice; packing the sums twice brings the channels back into their order.
 */

typedef struct QS(column) {
    __m256i v[4];
} QS(column);

Q_INLINE __m256i QS(load)(const uint8_t *p, uint32_t n) {
    if (n == Q_NR) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    uint8_t part[Q_NR] = {0};
    memcpy(part, p, n);
    return _mm256_loadu_si256((const __m256i *)(const void *)part);
}

Q_INLINE QS(column) QS(mix)(__m256i r0, __m256i r1, __m256i r2, __m256i r3) {
    __m256i l0 = _mm256_unpacklo_epi8(r0, r1), h0 = _mm256_unpackhi_epi8(r0, r1);
    __m256i l1 = _mm256_unpacklo_epi8(r2, r3), h1 = _mm256_unpackhi_epi8(r2, r3);
    return (QS(column)){{_mm256_unpacklo_epi16(l0, l1), _mm256_unpackhi_epi16(l0, l1), _mm256_unpacklo_epi16(h0, h1),
                         _mm256_unpackhi_epi16(h0, h1)}};
}

/* Group g's (up to four) pixels of the column `at` bytes into the lines; NULL lines: a column outside. */
Q_INLINE QS(column) QS(column_at)(const q_line *l, int64_t g, int64_t at, bool in, const int taps, uint32_t n) {
    __m256i zero = _mm256_set1_epi8((char)l->zero), r0 = zero, r1 = zero, r2 = zero, r3 = zero;
    if (in) {
        const uint8_t *const *line = l->lines + 4 * g;
        r0 = QS(load)(line[0] + at, n);
        if (taps > 1) r1 = QS(load)(line[1] + at, n);
        if (taps > 2) r2 = QS(load)(line[2] + at, n);
        if (taps > 3) r3 = QS(load)(line[3] + at, n);
    }
    return QS(mix)(r0, r1, r2, r3);
}

Q_INLINE void QS(add)(QS(column) * sum, const QS(column) * x, const int8_t *w, const bool exact) {
    for (int v = 0; v < 4; v++) {
        __m256i f = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * v));
        if (exact)
            Q_DOT_EXACT_INTO(sum->v[v], x->v[v], f);
        else
            Q_DOT_INTO(sum->v[v], x->v[v], f);
    }
}

Q_INLINE void QS(put)(const q_line *l, int64_t ow, const QS(column) * sum, uint32_t n) {
    if (!l->simple) { /* the sums in the channels' order */
        int32_t out[Q_NR];
        for (int v = 0; v < 4; v++) {
            _mm_storeu_si128((__m128i *)(void *)(out + 4 * v), _mm256_castsi256_si128(sum->v[v]));
            _mm_storeu_si128((__m128i *)(void *)(out + 16 + 4 * v), _mm256_extracti128_si256(sum->v[v], 1));
        }
        l->finish(l->e, out, l->row + ow, 1, l->channel, n);
        return;
    }
    __m256i q[4];
    for (int v = 0; v < 4; v++) {
        __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(sum->v[v]), _mm256_loadu_ps(l->scale + 8 * v));
        q[v] = _mm256_cvtps_epi32(f);
    }
    __m256i a = _mm256_packs_epi32(q[0], q[1]), b = _mm256_packs_epi32(q[2], q[3]);
    const __m256i low = _mm256_set1_epi16(l->low), high = _mm256_set1_epi16(l->high);
    a = _mm256_max_epi16(_mm256_min_epi16(a, high), low);
    b = _mm256_max_epi16(_mm256_min_epi16(b, high), low);
    a = _mm256_add_epi16(a, _mm256_set1_epi16(l->out_zero));
    b = _mm256_add_epi16(b, _mm256_set1_epi16(l->out_zero));
    __m256i y = l->out_signed ? _mm256_packs_epi16(a, b) : _mm256_packus_epi16(a, b);
    uint8_t *to = l->out + ow * l->c;
    if (n == Q_NR) {
        _mm256_storeu_si256((__m256i *)(void *)to, y);
    } else {
        uint8_t part[Q_NR];
        _mm256_storeu_si256((__m256i *)(void *)part, y);
        memcpy(to, part, n);
    }
}

Q_INLINE QS(column) QS(begin)(const q_line *l) {
    QS(column) s;
    for (int v = 0; v < 4; v++) s.v[v] = _mm256_loadu_si256((const __m256i *)(const void *)(l->start + 8 * v));
    return s;
}

/* One line of outputs of a 3 x 3 window: columns that the next output has too stay in registers. */
Q_INLINE void QS(line3)(const q_line *l, const int step, const bool exact, const uint32_t n) {
    QS(column) c[3];
    int64_t x = -l->left;
    for (int i = 0; i < 3 - step; i++) c[i] = QS(column_at)(l, 0, (x + i) * l->c, x + i >= 0 && x + i < l->w, 3, n);
    for (int64_t ow = 0; ow < l->ow; ow++, x += step) {
        for (int i = 3 - step; i < 3; i++) c[i] = QS(column_at)(l, 0, (x + i) * l->c, x + i >= 0 && x + i < l->w, 3, n);
        QS(column) sum = QS(begin)(l);
        for (int i = 0; i < 3; i++) QS(add)(&sum, &c[i], l->weights + 128 * i, exact);
        QS(put)(l, ow, &sum, n);
        for (int i = 0; i < 3 - step; i++) c[i] = c[i + step];
    }
}

/* Any window. */
Q_INLINE void QS(line)(const q_line *l, const bool exact, const uint32_t n) {
    for (int64_t ow = 0; ow < l->ow; ow++) {
        QS(column) sum = QS(begin)(l);
        const int8_t *w = l->weights;
        for (int64_t g = 0; g < l->groups; g++)
            for (int64_t k = 0; k < l->kw; k++, w += 128) {
                int64_t x = ow * l->step - l->left + k * l->spread;
                QS(column) c = QS(column_at)(l, g, x * l->c, x >= 0 && x < l->w, 4, n);
                QS(add)(&sum, &c, w, exact);
            }
        QS(put)(l, ow, &sum, n);
    }
}

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
