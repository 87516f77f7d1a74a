/* cpu/q_loops_body.h - loops over rows of 8-bit numbers in plain C that the compiler makes vectors of, once for each
 * instruction set: Q_FN and QS(name), and QL_* for what it makes none of. The same bytes from each of them. No include
 * guard.
 */

/* round half to even of x / scale, + zero, within 8 bits; what is no number becomes the lowest. */
Q_FN static void QS(quantize)(const float *x, uint8_t *y, int64_t n, const q_scale *q) {
    const float scale = q->scale, low = q->low - (float)q->zero, high = q->high - (float)q->zero;
    const int32_t zero = q->zero;
    for (int64_t i = 0; i < n; i++) {
        float t = rintf(x[i] / scale);
        t = t > low ? t : low;
        t = t < high ? t : high;
        y[i] = (uint8_t)((int32_t)t + zero);
    }
}

Q_FN static void QS(dequantize)(const uint8_t *x, float *y, int64_t n, const q_scale *q) {
    const float scale = q->scale;
    const int32_t zero = q->zero;
    if (q->is_signed)
        for (int64_t i = 0; i < n; i++) y[i] = (float)((int32_t)(int8_t)x[i] - zero) * scale;
    else
        for (int64_t i = 0; i < n; i++) y[i] = (float)((int32_t)x[i] - zero) * scale;
}

/* Of two numbers, the second where one is none: a NaN counts nowhere. */
Q_FN static void QS(range)(const float *x, int64_t n, float *low, float *high) {
    float lo = 0, hi = 0;
    int64_t i = 0;
#ifdef QL_LANES
    QL_VECTOR a = QL_ZERO, b = QL_ZERO, c = QL_ZERO, d = QL_ZERO;
    for (; i + 2 * QL_LANES <= n; i += 2 * QL_LANES) {
        QL_VECTOR p = QL_LOAD(x + i), q = QL_LOAD(x + i + QL_LANES);
        a = QL_MIN(p, a);
        b = QL_MAX(p, b);
        c = QL_MIN(q, c);
        d = QL_MAX(q, d);
    }
    float ends[2][QL_LANES];
    QL_STORE(ends[0], QL_MIN(a, c));
    QL_STORE(ends[1], QL_MAX(b, d));
    for (int k = 0; k < QL_LANES; k++) {
        lo = ends[0][k] < lo ? ends[0][k] : lo;
        hi = ends[1][k] > hi ? ends[1][k] : hi;
    }
#endif
    for (; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *low = lo;
    *high = hi;
}

#define Q_VALUE(type, p, q) ((float)((int32_t)(type)(p) - (q).zero) * (q).scale)
#define Q_PAIR(ta, tb, op)                                                                                             \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        float t = Q_VALUE(ta, a[i], qa) op Q_VALUE(tb, b[i], qb);                                                      \
        t = rintf(t * inverse);                                                                                        \
        t = t < low ? low : t;                                                                                         \
        t = t > high ? high : t;                                                                                       \
        y[i] = (uint8_t)((int32_t)t + zero);                                                                           \
    }
/* a + b or a * b of n numbers each. */
Q_FN static void QS(pair)(const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n, const q_pair *p) {
    const q_scale qa = p->a, qb = p->b;
    const float inverse = p->y.scale, low = p->y.low, high = p->y.high;
    const int32_t zero = p->y.zero;
    switch ((p->product ? 4 : 0) + (qa.is_signed ? 2 : 0) + (qb.is_signed ? 1 : 0)) {
    case 0: Q_PAIR(uint8_t, uint8_t, +) break;
    case 1: Q_PAIR(uint8_t, int8_t, +) break;
    case 2: Q_PAIR(int8_t, uint8_t, +) break;
    case 3: Q_PAIR(int8_t, int8_t, +) break;
    case 4: Q_PAIR(uint8_t, uint8_t, *) break;
    case 5: Q_PAIR(uint8_t, int8_t, *) break;
    case 6: Q_PAIR(int8_t, uint8_t, *) break;
    default: Q_PAIR(int8_t, int8_t, *) break;
    }
}
#undef Q_PAIR
#undef Q_VALUE

/* y = the larger of y and x. */
Q_FN static void QS(largest)(const uint8_t *x, uint8_t *y, int64_t n, bool is_signed) {
    if (is_signed) {
        const int8_t *a = (const int8_t *)x;
        int8_t *b = (int8_t *)y;
        for (int64_t i = 0; i < n; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    } else {
        for (int64_t i = 0; i < n; i++) y[i] = x[i] > y[i] ? x[i] : y[i];
    }
}

Q_FN static void QS(sum)(const uint8_t *x, int32_t *y, int64_t n, bool is_signed) {
    if (is_signed)
        for (int64_t i = 0; i < n; i++) y[i] += (int8_t)x[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* Sums of `count` numbers each to their mean. */
Q_FN static void QS(mean)(const int32_t *sum, uint8_t *y, int64_t n, float scale, int32_t less, const q_scale *q) {
    const float low = q->low, high = q->high;
    const int32_t zero = q->zero;
    for (int64_t i = 0; i < n; i++) {
        float t = rintf((float)(sum[i] - less) * scale);
        t = t < low ? low : t;
        t = t > high ? high : t;
        y[i] = (uint8_t)((int32_t)t + zero);
    }
}

static const q_loops QS(loops) = {QS(quantize), QS(dequantize), QS(range), QS(pair), QS(largest), QS(sum), QS(mean)};
#undef QL_LANES
#undef QL_VECTOR
#undef QL_ZERO
#undef QL_LOAD
#undef QL_STORE
#undef QL_MIN
#undef QL_MAX
