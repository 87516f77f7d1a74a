/* cpu/norm_body.h - norm.c's inner loop, once for each instruction set (simd.h). No include guard. */

/* Rows of n: (x - mean) / sqrt(variance + epsilon) * scale + shift. Two sums at once, a second look for the variance.
 */
SIMD_FN static void SIMD(rows)(const float *x, float *y, const float *scale, const float *shift, int64_t n,
                               int64_t rows, float epsilon) {
    const int64_t pairs = n / (2 * VW) * (2 * VW), whole = n / VW * VW;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        vf a = V_SET(0.0f), b = V_SET(0.0f);
        float rest = 0;
        for (int64_t i = 0; i < pairs; i += 2 * VW) {
            a = V_ADD(a, V_LOAD(x + i));
            b = V_ADD(b, V_LOAD(x + i + VW));
        }
        for (int64_t i = pairs; i < n; i++) rest += x[i];
        const float mean = (SIMD(v_sum)(V_ADD(a, b)) + rest) / (float)n;
        a = b = V_SET(0.0f);
        rest = 0;
        for (int64_t i = 0; i < pairs; i += 2 * VW) {
            vf p = V_SUB(V_LOAD(x + i), V_SET(mean)), q = V_SUB(V_LOAD(x + i + VW), V_SET(mean));
            a = V_FMA(p, p, a);
            b = V_FMA(q, q, b);
        }
        for (int64_t i = pairs; i < n; i++) rest += (x[i] - mean) * (x[i] - mean);
        const float k = 1.0f / sqrtf((SIMD(v_sum)(V_ADD(a, b)) + rest) / (float)n + epsilon);
        for (int64_t i = 0; i < whole; i += VW) {
            vf v = V_MUL(V_MUL(V_SUB(V_LOAD(x + i), V_SET(mean)), V_SET(k)), V_LOAD(scale + i));
            V_STORE(y + i, shift ? V_ADD(v, V_LOAD(shift + i)) : v);
        }
        for (int64_t i = whole; i < n; i++) y[i] = (x[i] - mean) * k * scale[i] + (shift ? shift[i] : 0.0f);
    }
}
