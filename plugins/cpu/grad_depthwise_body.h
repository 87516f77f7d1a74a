/* cpu/grad_depthwise_body.h - grad_depthwise.c's inner loop, once for each instruction set (simd.h, wide.h). No include
 * guard. */

/* Images begin..end-1 of one block of channels: sums of each tap are added to sums[tap][LW]. */
SIMD_FN static void SIMD(taps)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end,
                               double *sums) {
    for (int64_t t = 0; t < j->taps; t++, sums += LW) {
        const dn_conv_link *first = j->links + j->first[t], *last = j->links + j->first[t + 1];
        wf a = {0}, b = {0}, c = {0}, d = {0};
        for (int64_t i = begin; i < end; i++) {
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
        a = (a + b) + (c + d);
        float part[LW];
        W_AT(part) = a;
        for (int l = 0; l < LW; l++) sums[l] += (double)part[l];
    }
}

/* Sums over places and images: the bias's gradient. */
SIMD_FN static void SIMD(places)(const deep_job *j, const float *dy, int64_t begin, int64_t end, double *sums) {
    wf a = {0};
    for (int64_t i = begin; i < end; i++)
        for (int64_t s = 0; s < j->y_s; s++) a += W_OF(dy + i * j->y_n + s * LW);
    float part[LW];
    W_AT(part) = a;
    for (int l = 0; l < LW; l++) sums[l] += (double)part[l];
}

static const deep_loops SIMD(deep_loops) = {LW, SIMD(taps), SIMD(places)};
