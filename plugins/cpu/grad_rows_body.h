/* cpu/grad_rows_body.h - grad_rows.c's inner loops, once for each instruction set (simd.h, wide.h). No include guard.
 */

/* dx of rows of n: y * (dy - sum of dy * y), or of the logarithm dy - e^y * sum of dy. */
SIMD_FN static void SIMD(softmax_rows)(const float *dy, const float *y, float *dx, int64_t n, int64_t rows, bool log) {
    const int64_t whole = n / LW * LW;
    for (int64_t r = 0; r < rows; r++, dy += n, y += n, dx += n) {
        wf a = {0};
        float sum = 0;
        for (int64_t i = 0; i < whole; i += LW) {
            wf v = W_OF(dy + i);
            if (!log) v *= W_OF(y + i);
            a += v;
        }
        for (int64_t i = whole; i < n; i++) sum += log ? dy[i] : dy[i] * y[i];
        sum += SIMD(w_sum)(&a);
        for (int64_t i = 0; i < whole; i += LW) {
            wf e = W_OF(y + i);
            if (!log) {
                W_AT(dx + i) = e * (W_OF(dy + i) - sum);
                continue;
            }
            SIMD(w_exp)(&e);
            W_AT(dx + i) = W_OF(dy + i) - e * sum;
        }
        for (int64_t i = whole; i < n; i++) dx[i] = log ? dy[i] - expf(y[i]) * sum : y[i] * (dy[i] - sum);
    }
}

/* Rows of a layer normalization; dscale, dbias (may be NULL) are added to, in double. */
SIMD_FN static void SIMD(layer_rows)(const row_job *j, int64_t begin, int64_t end, double *dscale, double *dbias) {
    const int64_t n = j->n, whole = n / LW * LW;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->x + r * n, *dy = j->dy + r * n, *scale = j->scale;
        wf a = {0}, b = {0};
        float ra = 0, rb = 0;
        for (int64_t i = 0; i < whole; i += LW) a += W_OF(x + i);
        for (int64_t i = whole; i < n; i++) ra += x[i];
        const float mean = (SIMD(w_sum)(&a) + ra) / (float)n;
        a = (wf){0};
        ra = 0;
        for (int64_t i = 0; i < whole; i += LW) {
            wf d = W_OF(x + i) - mean;
            a += d * d;
        }
        for (int64_t i = whole; i < n; i++) ra += (x[i] - mean) * (x[i] - mean);
        const float inv = 1.0f / sqrtf((SIMD(w_sum)(&a) + ra) / (float)n + j->epsilon);
        a = (wf){0};
        ra = 0;
        for (int64_t i = 0; i < whole; i += LW) {
            wf d = W_OF(dy + i) * W_OF(scale + i);
            a += d;
            b += d * ((W_OF(x + i) - mean) * inv);
        }
        for (int64_t i = whole; i < n; i++) {
            ra += dy[i] * scale[i];
            rb += dy[i] * scale[i] * ((x[i] - mean) * inv);
        }
        const float sum = (SIMD(w_sum)(&a) + ra) / (float)n, along = (SIMD(w_sum)(&b) + rb) / (float)n;
        if (dbias)
            for (int64_t i = 0; i < n; i++) dbias[i] += (double)dy[i];
        if (dscale)
            for (int64_t i = 0; i < n; i++) dscale[i] += (double)(dy[i] * ((x[i] - mean) * inv));
        if (!j->dx) continue;
        float *dx = j->dx + r * n; /* may be dy or x: nothing of this row is read behind this */
        for (int64_t i = 0; i < n; i++) dx[i] = inv * (dy[i] * scale[i] - sum - (x[i] - mean) * inv * along);
    }
}

/* log of the sum of e^x over a row, and the row's largest. */
SIMD_INLINE double SIMD(log_sum)(const float *x, int64_t n, float *top) {
    double sum = 0;
    float most = -INFINITY;
    for (int64_t i = 0; i < n; i++) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    for (int64_t i = 0; i < n; i += LW) {
        int64_t m = n - i < LW ? n - i : LW;
        float part[LW] = {0};
        memcpy(part, x + i, (size_t)m * sizeof(float));
        wf v = W_OF(part) - most;
        SIMD(w_exp)(&v);
        W_AT(part) = v;
        for (int64_t l = 0; l < m; l++) sum += (double)part[l];
    }
    *top = most;
    return log(sum);
}

/* Losses of rows, each minus the sum of target * log_softmax; target NULL: 1 at the label. Labels are checked before.
 */
SIMD_FN static void SIMD(loss_rows)(const row_job *j, int64_t begin, int64_t end, double *to) {
    const int64_t n = j->n;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->x + r * n, *t = j->target ? j->target + r * n : NULL;
        float top;
        double loss = 0;
        to[r] = 0;
        if (!t && j->labels[r] < 0) continue; /* ignored */
        const double log_sum = SIMD(log_sum)(x, n, &top);
        if (!t) loss = log_sum - ((double)x[j->labels[r]] - (double)top);
        for (int64_t i = 0; t && i < n; i++)
            if (t[i] != 0) loss -= (double)t[i] * ((double)x[i] - (double)top - log_sum);
        to[r] = loss;
    }
}

/* dx = factor * (softmax * sum of target - target) */
SIMD_FN static void SIMD(slope_rows)(const row_job *j, int64_t begin, int64_t end) {
    const int64_t n = j->n, whole = n / LW * LW;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->x + r * n, *t = j->target ? j->target + r * n : NULL;
        float *dx = j->dx + r * n, top, all = t ? 0 : 1;
        if (!t && j->labels[r] < 0) {
            memset(dx, 0, (size_t)n * sizeof *dx);
            continue;
        }
        for (int64_t i = 0; t && i < n; i++) all += t[i];
        const float log_sum = (float)SIMD(log_sum)(x, n, &top), factor = j->factor, label_x = t ? 0 : x[j->labels[r]];
        for (int64_t i = 0; i < whole; i += LW) {
            wf e = (W_OF(x + i) - top) - log_sum;
            SIMD(w_exp)(&e);
            e *= all;
            if (t) e -= W_OF(t + i);
            W_AT(dx + i) = e * factor;
        }
        for (int64_t i = whole; i < n; i++) dx[i] = factor * (expf((x[i] - top) - log_sum) * all - (t ? t[i] : 0.0f));
        if (!t) dx[j->labels[r]] = factor * (expf((label_x - top) - log_sum) - 1.0f);
    }
}

/* Columns begin..end-1 of rows x width, summed over rows. */
SIMD_FN static void SIMD(sum_columns)(const float *x, int64_t rows, int64_t width, int64_t begin, int64_t end,
                                      float *to) {
    for (int64_t c = begin; c < end; c += LW) {
        int64_t m = end - c < LW ? end - c : LW;
        double sum[LW] = {0};
        for (int64_t r0 = 0; r0 < rows; r0 += 64) {
            int64_t r1 = r0 + 64 < rows ? r0 + 64 : rows;
            float part[LW];
            wf a = {0};
            for (int64_t r = r0; r < r1; r++) {
                if (m == LW) {
                    a += W_OF(x + r * width + c);
                    continue;
                }
                wf v = {0};
                memcpy(&v, x + r * width + c, (size_t)m * sizeof(float));
                a += v;
            }
            W_AT(part) = a;
            for (int l = 0; l < LW; l++) sum[l] += (double)part[l];
        }
        for (int64_t l = 0; l < m; l++) to[c + l] = (float)sum[l];
    }
}

SIMD_FN static double SIMD(sum_run)(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += 1024) {
        int64_t m = n - i < 1024 ? n - i : 1024, k = 0;
        wf a = {0};
        float rest = 0;
        for (; k + LW <= m; k += LW) a += W_OF(x + i + k);
        for (; k < m; k++) rest += x[i + k];
        sum += (double)(SIMD(w_sum)(&a) + rest);
    }
    return sum;
}

static const row_loops SIMD(row_loops) = {SIMD(softmax_rows), SIMD(layer_rows),  SIMD(loss_rows),
                                          SIMD(slope_rows),   SIMD(sum_columns), SIMD(sum_run)};
