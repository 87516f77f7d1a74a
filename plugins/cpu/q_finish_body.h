/* cpu/q_finish_body.h - what becomes of a tile's sums, in plain C that the compiler makes vectors of, once for each
 * instruction set: Q_FN and QS(name) as in q_gemm_body.h. The same bytes from each of them. No include guard.
 */

#define Q_EACH for (uint32_t c = 0; c < Q_NR; c++)

/* An operand's columns as floats. */
Q_INLINE void QS(operand)(const q_stage *s, const void *data, int64_t at, uint32_t columns, float *x) {
    if (s->dtype == PARE_FLOAT) {
        const float *p = (const float *)data + at;
        for (uint32_t c = 0; c < columns; c++) x[c] = p[c];
        return;
    }
    int32_t q[Q_NR] = {0};
    if (s->dtype == PARE_UINT8) {
        const uint8_t *p = (const uint8_t *)data + at;
        if (columns == Q_NR)
            Q_EACH q[c] = p[c];
        else
            for (uint32_t c = 0; c < columns; c++) q[c] = p[c];
    } else {
        const int8_t *p = (const int8_t *)data + at;
        if (columns == Q_NR)
            Q_EACH q[c] = p[c];
        else
            for (uint32_t c = 0; c < columns; c++) q[c] = p[c];
    }
    Q_EACH x[c] = ((float)q[c] - s->b) * s->a;
}

Q_INLINE void QS(stage)(const q_stage *s, const q_epilogue *e, int64_t at, uint32_t columns, float *v) {
    const float a = s->a, b = s->b, low = s->low, high = s->high;
    float x[Q_NR] = {0};
    switch (s->kind) {
    case Q_CLAMP:
        Q_EACH {
            float t = v[c] < a ? a : v[c];
            v[c] = t > b ? b : t;
        }
        break;
    case Q_QUANTIZE:
        Q_EACH {
            float t = rintf(v[c] * a);
            t = t < low ? low : t;
            v[c] = t > high ? high : t;
        }
        break;
    case Q_SCALE: Q_EACH v[c] *= a; break;
    case Q_ADD:
        QS(operand)(s, e->in[s->operand], at, columns, x);
        Q_EACH v[c] += x[c];
        break;
    case Q_MUL:
        QS(operand)(s, e->in[s->operand], at, columns, x);
        Q_EACH v[c] *= x[c];
        break;
    case Q_LEAKY: Q_EACH v[c] = v[c] < 0 ? v[c] * a : v[c]; break;
    case Q_HARD_SWISH:
        Q_EACH {
            float t = v[c] * (1.0f / 6) + 0.5f;
            t = t < 0 ? 0 : t;
            v[c] *= t > 1 ? 1 : t;
        }
        break;
    default:
        Q_EACH {
            float t = v[c] * a + b;
            t = t < 0 ? 0 : t;
            v[c] = t > 1 ? 1 : t;
        }
        break;
    }
}

Q_FN static void QS(finish)(const q_epilogue *e, int32_t *sums, int64_t row, uint32_t rows, int64_t column,
                            uint32_t columns) {
    const q_post *p = e->post;
    const float *scale = e->scale + column, *shift = e->shift ? e->shift + column : NULL;
    for (uint32_t r = 0; r < rows; r++, sums += Q_NR) {
        int64_t at = (row + r) * e->ld + e->first + column;
        float v[Q_NR];
        Q_EACH v[c] = (float)sums[c] * scale[c];
        if (shift) Q_EACH v[c] += shift[c];
        for (uint32_t i = 0; i < p->n; i++) QS(stage)(&p->stage[i], e, at, columns, v);
        if (p->dtype == PARE_FLOAT) {
            float *to = (float *)e->out + at;
            if (columns == Q_NR)
                Q_EACH to[c] = v[c];
            else
                for (uint32_t c = 0; c < columns; c++) to[c] = v[c];
        } else {
            uint8_t *to = (uint8_t *)e->out + at;
            const int32_t zero = p->zero;
            if (columns == Q_NR)
                Q_EACH to[c] = (uint8_t)((int32_t)v[c] + zero);
            else
                for (uint32_t c = 0; c < columns; c++) to[c] = (uint8_t)((int32_t)v[c] + zero);
        }
    }
}
#undef Q_EACH
