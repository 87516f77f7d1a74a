/* cpu/grad_small_body.h - grad_small.c's inner loops, once for each instruction set (simd.h, wide.h). No include guard.
 *
 * An image block is NB images; their packed channels lie [block of LW channels][place][image][LW].
 */
#undef UNROLL
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* All places of one block of images, for a pair of blocks of outputs: sums over taps and input channels are kept in
 * registers. */
SIMD_INLINE void SIMD(places)(const small_job *j, const float *x, const float *w, const float *bias, float *y,
                              int64_t images, bool second, const int nb) {
    const int64_t x_step = j->in_s * nb * LW, blocks = j->in_blocks, y_n = j->out_n, y_block = j->out_s * LW;
    const int64_t w_step = (j->taps - 1) * LW * 2 * LW; /* to the same tap of the next block */
    for (int64_t p = 0; p < j->out_s; p++, y += LW) {
        wf a[14], b[14];
        const wf a0 = bias ? W_OF(bias) : (wf){0}, b0 = bias ? W_OF(bias + LW) : (wf){0};
        UNROLL for (int i = 0; i < nb; i++) {
            a[i] = a0;
            b[i] = b0;
        }
        for (const dn_conv_link *k = j->links + j->first[p], *end = j->links + j->first[p + 1]; k < end; k++) {
            const float *xq = x + (int64_t)k->place * nb * LW, *wt = w + (int64_t)k->tap * LW * 2 * LW;
            for (int64_t c = 0; c < blocks; c++, xq += x_step, wt += w_step)
                for (int l = 0; l < LW; l++, wt += 2 * LW) {
                    const wf u = W_OF(wt), v = W_OF(wt + LW);
                    UNROLL for (int i = 0; i < nb; i++) {
                        const float one = xq[i * LW + l];
                        a[i] += u * one;
                        b[i] += v * one;
                    }
                }
        }
        UNROLL for (int i = 0; i < nb; i++) {
            if (i >= images) break;
            W_AT(y + i * y_n) = a[i];
            if (second) W_AT(y + i * y_n + y_block) = b[i];
        }
    }
}

SIMD_FN static void SIMD(dot)(const small_job *j, const float *x, const float *w, const float *bias, float *y,
                              int64_t images, bool second) {
    switch (j->nb) {
#if LW == 16
    case 14: SIMD(places)(j, x, w, bias, y, images, second, 14); break;
    case 13: SIMD(places)(j, x, w, bias, y, images, second, 13); break;
    case 12: SIMD(places)(j, x, w, bias, y, images, second, 12); break;
    case 11: SIMD(places)(j, x, w, bias, y, images, second, 11); break;
    case 8: SIMD(places)(j, x, w, bias, y, images, second, 8); break;
#endif
    case 6: SIMD(places)(j, x, w, bias, y, images, second, 6); break;
    case 5: SIMD(places)(j, x, w, bias, y, images, second, 5); break;
    default: SIMD(places)(j, x, w, bias, y, images, second, 4); break;
    }
}

/* A gradient's panel, every tap of one block of inputs by a pair of blocks of outputs: [tap][input][2 LW]. x lies
 * [place][image][LW], dy [place][image][2 LW]. */
#define SOME (LW / 2) /* inputs whose sums fit in registers */
SIMD_FN static void SIMD(outer)(const small_job *j, const float *x, const float *dy, float *to) {
    const int64_t n = j->n;
    for (int64_t t = 0; t < j->taps; t++)
        for (int h = 0; h < LW; h += SOME, to += SOME * 2 * LW) {
            wf a[SOME], b[SOME];
            UNROLL for (int i = 0; i < SOME; i++) a[i] = b[i] = (wf){0};
            for (const dn_conv_link *k = j->links + j->first[t], *end = j->links + j->first[t + 1]; k < end; k++) {
                const float *xq = x + (int64_t)k->place * n * LW + h, *yp = dy + (int64_t)k->tap * n * 2 * LW;
                for (int64_t i = 0; i < n; i++, xq += LW, yp += 2 * LW) {
                    const wf u = W_OF(yp), v = W_OF(yp + LW);
                    UNROLL for (int l = 0; l < SOME; l++) {
                        a[l] += u * xq[l];
                        b[l] += v * xq[l];
                    }
                }
            }
            UNROLL for (int i = 0; i < SOME; i++) {
                W_AT(to + i * 2 * LW) = a[i];
                W_AT(to + i * 2 * LW + LW) = b[i];
            }
        }
}

static const small_loops SIMD(small_loops) = {LW, SIMD(dot), SIMD(outer)};
#undef SOME
