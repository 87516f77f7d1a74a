/* cpu/attention_body.h - attention.c's inner loops, once for each instruction set (simd.h). No include guard. */

enum { SIMD(NV) = SIMD_ISA == SIMD_AVX2 ? 2 : 4, SIMD(NR) = SIMD(NV) * VW };

/* Keys as panels of NR columns: element i of NR keys side by side. Those behind the last one are 0. */
SIMD_FN static void SIMD(pack)(const float *k, int64_t step, int64_t tk, int64_t d, float *to) {
    for (int64_t t = 0; t < tk; t += SIMD(NR), to += d * SIMD(NR)) {
        int64_t n = tk - t < SIMD(NR) ? tk - t : SIMD(NR);
        if (n < SIMD(NR)) memset(to, 0, (size_t)(d * SIMD(NR)) * sizeof *to);
        for (int64_t i = 0; i < d; i++) {
            const float *from = k + t * step + i;
            float *line = to + i * SIMD(NR);
            for (int64_t j = 0; j < n; j++) line[j] = from[j * step];
        }
    }
}

/* c (ROWS, nv vectors) = sum over i of a[r][i * sa] * b[i * sb]. */
SIMD_INLINE void SIMD(tile)(const float *const *a, const float *b, int64_t sb, int64_t n, const int nv, vf c[ROWS][4]) {
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < nv; j++) c[r][j] = V_SET(0.0f);
    for (int64_t i = 0; i < n; i++, b += sb) {
        vf row[4];
        for (int j = 0; j < nv; j++) row[j] = V_LOAD(b + j * VW);
        for (int r = 0; r < ROWS; r++) {
            vf x = V_SET(a[r][i]);
            for (int j = 0; j < nv; j++) c[r][j] = V_FMA(x, row[j], c[r][j]);
        }
    }
}

/* nv vectors of scores for ROWS rows. */
SIMD_INLINE void SIMD(score)(const float *const *q, const float *panel, int64_t d, const int nv, float *to,
                             int64_t width) {
    vf c[ROWS][4];
    SIMD(tile)(q, panel, SIMD(NR), d, nv, c);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < nv; j++) V_STORE(to + r * width + j * VW, c[r][j]);
}

/* Scores into weights (not yet divided by their sum). Returns one over the sum. */
SIMD_INLINE float SIMD(soft)(const ref_attention *a, const float *mask, float *s) {
    const int64_t n = a->tk, whole = n / VW * VW;
    const float scale = (float)a->scale;
    if (mask && a->mask[6] == 1) {
        for (int64_t i = 0; i < whole; i += VW) V_STORE(s + i, V_FMA(V_LOAD(s + i), V_SET(scale), V_LOAD(mask + i)));
        for (int64_t i = whole; i < n; i++) s[i] = s[i] * scale + mask[i];
    } else {
        for (int64_t i = 0; i < whole; i += VW) V_STORE(s + i, V_MUL(V_LOAD(s + i), V_SET(scale)));
        for (int64_t i = whole; i < n; i++) s[i] *= scale;
        for (int64_t i = 0; mask && i < n; i++) s[i] += mask[i * a->mask[6]];
    }
    for (int64_t i = n; i < (n + VW - 1) / VW * VW; i++) s[i] = -INFINITY;
    vf high = V_SET(-INFINITY), sum = V_SET(0.0f);
    for (int64_t i = 0; i < n; i += VW) high = V_MAX(V_LOAD(s + i), high);
    float part[VW], most = -INFINITY;
    V_STORE(part, high);
    for (int i = 0; i < VW; i++) most = part[i] > most ? part[i] : most;
    if (most == -INFINITY) return NAN; /* nothing may be looked at: 0 / 0 */
    for (int64_t i = 0; i < n; i += VW) {
        vf e = SIMD(v_exp)(V_SUB(V_LOAD(s + i), V_SET(most)));
        V_STORE(s + i, e);
        sum = V_ADD(sum, e);
    }
    return 1.0f / SIMD(v_sum)(sum);
}

/* nv vectors of the result for ROWS rows. */
SIMD_INLINE void SIMD(mix)(const ref_attention *a, const float *const *w, const float *v, int64_t sv, const int nv,
                           const float *inverse, int rows, float *y, int64_t columns) {
    vf c[ROWS][4];
    float part[4 * VW];
    SIMD(tile)(w, v, sv, a->tk, nv, c);
    for (int r = 0; r < rows; r++) {
        float *to = columns == nv * VW ? y + r * a->y[5] : part;
        for (int j = 0; j < nv; j++) V_STORE(to + j * VW, V_MUL(c[r][j], V_SET(inverse[r])));
        if (to == part) memcpy(y + r * a->y[5], part, (size_t)columns * sizeof *part);
    }
}

/* Rows begin..end-1 of one product. k is packed; v has rows of `sv`, whole vectors of them to be read. */
SIMD_FN static void SIMD(rows)(const ref_attention *a, const float *q, const float *k, const float *v, int64_t sv,
                               const float *mask, float *y, float *scores, int64_t begin, int64_t end) {
    const int64_t width = (a->tk + SIMD(NR) - 1) / SIMD(NR) * SIMD(NR);
    const float *w[ROWS];
    for (int r = 0; r < ROWS; r++) w[r] = scores + r * width;
    for (int64_t at = begin; at < end; at += ROWS) {
        int rows = end - at < ROWS ? (int)(end - at) : ROWS;
        const float *from[ROWS];
        float inverse[ROWS];
        for (int r = 0; r < ROWS; r++) from[r] = q + (at + (r < rows ? r : 0)) * a->q[5];
        for (int64_t t = 0; t < width; t += SIMD(NR)) {
            const float *panel = k + t * a->d;
            switch ((a->tk - t + VW - 1) / VW) { /* vectors that hold keys */
            case 1: SIMD(score)(from, panel, a->d, 1, scores + t, width); break;
#if SIMD_ISA != SIMD_AVX2
            case 2: SIMD(score)(from, panel, a->d, 2, scores + t, width); break;
            case 3: SIMD(score)(from, panel, a->d, 3, scores + t, width); break;
#endif
            default: SIMD(score)(from, panel, a->d, SIMD(NV), scores + t, width);
            }
        }
        for (int r = 0; r < rows; r++)
            inverse[r] = SIMD(soft)(a, mask ? mask + (at + r) * a->mask[5] : NULL, scores + r * width);
        int64_t i = 0;
        float *to = y + at * a->y[5];
        for (; i + SIMD(NR) <= a->dv; i += SIMD(NR))
            SIMD(mix)(a, w, v + i, sv, SIMD(NV), inverse, rows, to + i, SIMD(NR));
        for (; i < a->dv; i += VW)
            SIMD(mix)(a, w, v + i, sv, 1, inverse, rows, to + i, a->dv - i < VW ? a->dv - i : VW);
    }
}
