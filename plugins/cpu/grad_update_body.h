/* cpu/grad_update_body.h - grad_update.c's loops, once for each instruction set (simd.h, wide.h). No include guard.
 *
 * Plain loops that compilers vectorise; a block is small enough that what masks clear is still in the first cache.
 */

/* Elements first..first+n-1 of p: 0 where their bit is. first is a multiple of 16. */
SIMD_INLINE void SIMD(clear)(float *p, const uint8_t *mask, uint64_t first, uint64_t n) {
    wi bit;
    for (int l = 0; l < LW; l++) bit[l] = 1 << l;
    uint64_t i = 0;
    for (; i + LW <= n; i += LW) {
        int32_t bits = mask[(first + i) / 8];
        if (LW > 8) bits |= mask[(first + i) / 8 + 1] << 8;
        W_AT(p + i) = W_KEEP((((wi){0} + bits) & bit) != 0, W_OF(p + i));
    }
    for (; i < n; i++)
        if (!(mask[(first + i) / 8] >> (first + i) % 8 & 1)) p[i] = 0;
}

SIMD_FN static void SIMD(sgd)(const update_job *j, uint64_t first, uint64_t n) {
    const float scale = j->scale, decay = j->decay, momentum = j->momentum, lr = j->lr;
    const float keep = j->decoupled ? 1 - lr * decay : 1, add = j->decoupled ? 0 : decay;
    for (uint64_t b = 0, m; b < n; b += m) {
        m = n - b < BLOCK ? n - b : BLOCK;
        const float *w = j->w + first + b, *g = j->g + first + b, *v = j->m ? j->m + first + b : NULL;
        float *w2 = j->w_out + first + b, *v2 = j->m_out ? j->m_out + first + b : NULL;
        if (!v) {
            for (uint64_t i = 0; i < m; i++) w2[i] = w[i] * keep - lr * (g[i] * scale + add * w[i]);
        } else if (!v2) {
            const float hold = j->step1 ? 0 : momentum, own = j->nesterov ? 1 : 0, of_v = j->nesterov ? momentum : 1;
            for (uint64_t i = 0; i < m; i++) {
                float d = g[i] * scale + add * w[i], x = j->step1 ? d : hold * v[i] + d;
                w2[i] = w[i] * keep - lr * (own * d + of_v * x);
            }
        } else if (j->step1) {
            const float of_v = j->nesterov ? 1 + momentum : 1;
            for (uint64_t i = 0; i < m; i++) {
                float d = g[i] * scale + add * w[i];
                w2[i] = w[i] * keep - lr * (of_v * d);
                v2[i] = d;
            }
        } else if (j->nesterov) {
            for (uint64_t i = 0; i < m; i++) {
                float d = g[i] * scale + add * w[i], x = momentum * v[i] + d;
                w2[i] = w[i] * keep - lr * (d + momentum * x);
                v2[i] = x;
            }
        } else {
            for (uint64_t i = 0; i < m; i++) {
                float x = momentum * v[i] + (g[i] * scale + add * w[i]);
                w2[i] = w[i] * keep - lr * x;
                v2[i] = x;
            }
        }
        if (j->mask) {
            SIMD(clear)(w2, j->mask, first + b, m);
            if (v2) SIMD(clear)(v2, j->mask, first + b, m);
        }
    }
}

SIMD_FN static void SIMD(adam)(const update_job *j, uint64_t first, uint64_t n) {
    const float scale = j->scale, decay = j->decay, b1 = j->momentum, b2 = j->beta2, lr = j->lr, eps = j->epsilon;
    const float keep = j->decoupled ? 1 - lr * decay : 1, add = j->decoupled ? 0 : decay;
    const float step = j->adam_step, root = j->adam_root, c1 = j->one_less_b1, c2 = j->one_less_b2;
    for (uint64_t b = 0, m; b < n; b += m) {
        m = n - b < BLOCK ? n - b : BLOCK;
        const float *w = j->w + first + b, *g = j->g + first + b, *p = j->m + first + b, *q = j->v + first + b;
        float *w2 = j->w_out + first + b, *p2 = j->m_out + first + b, *q2 = j->v_out + first + b;
        for (uint64_t i = 0; i < m; i++) {
            float d = g[i] * scale + add * w[i], x = b1 * p[i] + c1 * d, y = b2 * q[i] + c2 * d * d;
            w2[i] = w[i] * keep - step * x / (sqrtf(y) * root + eps);
            p2[i] = x;
            q2[i] = y;
        }
        if (!j->mask) continue;
        SIMD(clear)(w2, j->mask, first + b, m);
        SIMD(clear)(p2, j->mask, first + b, m);
        SIMD(clear)(q2, j->mask, first + b, m);
    }
}

SIMD_FN static void SIMD(mix)(const float *a, float of_a, const float *b, float of_b, float *to, uint64_t n) {
    if (of_a == 1 && of_b == 1) /* a NaN on one side alone stays one, too */
        for (uint64_t i = 0; i < n; i++) to[i] = a[i] + b[i];
    else if (of_a == 0 && of_b == 1)
        memmove(to, b, n * sizeof *to);
    else
        for (uint64_t i = 0; i < n; i++) to[i] = of_a * a[i] + of_b * b[i];
}

/* Sum of squares, in double; in an order that n alone decides. */
SIMD_FN static double SIMD(squares)(const float *g, uint64_t n) {
    double part[16] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) part[l] += (double)g[i + (uint64_t)l] * (double)g[i + (uint64_t)l];
    for (; i < n; i++) part[i % 16] += (double)g[i] * (double)g[i];
    for (int l = 0; l < 16; l++) sum += part[l];
    return sum;
}

SIMD_FN static double SIMD(squares_of)(const float *g, const uint8_t *mask, uint64_t n) {
    float living[BLOCK];
    double sum = 0;
    for (uint64_t b = 0, m; b < n; b += m) {
        m = n - b < BLOCK ? n - b : BLOCK;
        memcpy(living, g + b, m * sizeof *g);
        SIMD(clear)(living, mask, b, m);
        sum += SIMD(squares)(living, m);
    }
    return sum;
}

static const update_loops SIMD(update_loops) = {SIMD(sgd), SIMD(adam), SIMD(mix), SIMD(squares), SIMD(squares_of)};
