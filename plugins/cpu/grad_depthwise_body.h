/* cpu/grad_depthwise_body.h - grad_depthwise.c's inner loops, once for each instruction set (simd.h, wide.h). No
 * include guard. */
#undef UNROLL
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* `images` maps of one block of channels, from x to y, whose places are joined by links; w: [tap][LW]. */
SIMD_INLINE void SIMD(slide_some)(const deep_job *j, const float *x, const float *w, const float *bias, float *y,
                                  const int images) {
    const wf start = bias ? W_OF(bias) : (wf){0};
    const dn_conv_link *k = j->links;
    for (int64_t p = 0; p < j->y_s; p++, y += LW) {
        wf a[4];
        UNROLL for (int i = 0; i < images; i++) a[i] = start;
        for (const dn_conv_link *end = j->links + j->first[p + 1]; k < end; k++) {
            const wf one = W_OF(w + (int64_t)k->tap * LW);
            const float *from = x + (int64_t)k->place * LW;
            UNROLL for (int i = 0; i < images; i++) a[i] += one * W_OF(from + i * j->x_n);
        }
        UNROLL for (int i = 0; i < images; i++) W_AT(y + i * j->y_n) = a[i];
    }
}

SIMD_FN static void SIMD(slide)(const deep_job *j, const float *x, const float *w, const float *bias, float *y,
                                int64_t images) {
    int64_t i = 0;
    for (; i + 4 <= images; i += 4) SIMD(slide_some)(j, x + i * j->x_n, w, bias, y + i * j->y_n, 4);
    for (; i < images; i++) SIMD(slide_some)(j, x + i * j->x_n, w, bias, y + i * j->y_n, 1);
}

/* Images begin..end-1 of one block of channels: sums of each tap are added to sums[tap][LW]. */
SIMD_FN static void SIMD(taps)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end,
                               float *sums) {
    for (int64_t t = 0; t < j->taps; t++, sums += LW) {
        const dn_conv_link *first = j->links + j->first[t], *last = j->links + j->first[t + 1];
        wf a = W_OF(sums), b = {0}, c = {0}, d = {0};
        int64_t i = begin;
        for (; i + 4 <= end; i += 4) {
            const float *xi = x + i * j->x_n, *yi = dy + i * j->y_n;
            for (const dn_conv_link *k = first; k < last; k++) {
                const float *xp = xi + (int64_t)k->place * LW, *yp = yi + (int64_t)k->tap * LW;
                a += W_OF(xp) * W_OF(yp);
                b += W_OF(xp + j->x_n) * W_OF(yp + j->y_n);
                c += W_OF(xp + 2 * j->x_n) * W_OF(yp + 2 * j->y_n);
                d += W_OF(xp + 3 * j->x_n) * W_OF(yp + 3 * j->y_n);
            }
        }
        for (; i < end; i++) {
            const float *xi = x + i * j->x_n, *yi = dy + i * j->y_n;
            const dn_conv_link *k = first;
            for (; k + 4 <= last; k += 4) {
                a += W_OF(xi + (int64_t)k[0].place * LW) * W_OF(yi + (int64_t)k[0].tap * LW);
                b += W_OF(xi + (int64_t)k[1].place * LW) * W_OF(yi + (int64_t)k[1].tap * LW);
                c += W_OF(xi + (int64_t)k[2].place * LW) * W_OF(yi + (int64_t)k[2].tap * LW);
                d += W_OF(xi + (int64_t)k[3].place * LW) * W_OF(yi + (int64_t)k[3].tap * LW);
            }
            for (; k < last; k++) a += W_OF(xi + (int64_t)k->place * LW) * W_OF(yi + (int64_t)k->tap * LW);
        }
        W_AT(sums) = (a + b) + (c + d);
    }
}

/* One place's share of the taps t0..t1-1 by u0..u1-1 of 3x3; x: where the first tap would be. */
SIMD_INLINE void SIMD(nine_of)(wf *a, const float *dy, const float *x, int64_t row, int64_t column, const int t0,
                               const int t1, const int u0, const int u1) {
    const wf d = W_OF(dy);
    UNROLL for (int t = t0; t < t1; t++) UNROLL for (int u = u0; u < u1; u++) a[3 * t + u] +=
        d * W_OF(x + t * row + u * column);
}
#define NINE(which, t0, t1, u0, u1)                                                                                    \
    case which: SIMD(nine_of)(a, yi, xi + (int64_t)k->place * LW, row, column, t0, t1, u0, u1); break;

/* As taps, for a whole kernel of 3x3 of which each place meets at least the middle: all sums are in registers. */
SIMD_FN static void SIMD(nine)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end,
                               float *sums) {
    const int64_t row = j->row * LW, column = j->column * LW;
    wf a[9];
    UNROLL for (int t = 0; t < 9; t++) a[t] = W_OF(sums + t * LW);
    for (int64_t i = begin; i < end; i++) {
        const float *xi = x + i * j->x_n, *yi = dy + i * j->y_n;
        for (const dn_conv_link *k = j->places, *last = k + j->y_s; k < last; k++, yi += LW) switch (k->tap) {
                NINE(0, 0, 3, 0, 3)
                NINE(1, 1, 3, 0, 3)
                NINE(2, 0, 2, 0, 3)
                NINE(3, 1, 2, 0, 3)
                NINE(4, 0, 3, 1, 3)
                NINE(5, 1, 3, 1, 3)
                NINE(6, 0, 2, 1, 3)
                NINE(7, 1, 2, 1, 3)
                NINE(8, 0, 3, 0, 2)
                NINE(9, 1, 3, 0, 2)
                NINE(10, 0, 2, 0, 2)
                NINE(11, 1, 2, 0, 2)
                NINE(12, 0, 3, 1, 2)
                NINE(13, 1, 3, 1, 2)
                NINE(14, 0, 2, 1, 2)
            default: SIMD(nine_of)(a, yi, xi + (int64_t)k->place * LW, row, column, 1, 2, 1, 2); break;
            }
    }
    UNROLL for (int t = 0; t < 9; t++) W_AT(sums + t * LW) = a[t];
}
#undef NINE

/* Sums over places and images: the bias's gradient. */
SIMD_FN static void SIMD(places)(const deep_job *j, const float *dy, int64_t begin, int64_t end, float *sums) {
    wf a = W_OF(sums);
    for (int64_t i = begin; i < end; i++)
        for (int64_t s = 0; s < j->y_s; s++) a += W_OF(dy + i * j->y_n + s * LW);
    W_AT(sums) = a;
}

static const deep_loops SIMD(deep_loops) = {LW, SIMD(slide), SIMD(taps), SIMD(nine), SIMD(places)};
