/* cpu/grad_point_body.h - grad_point.c's inner loops, once for each instruction set (simd.h, wide.h). No include guard.
 */
#undef UNROLL
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* A tile of the gradient, `outs` outputs by `blocks` blocks of inputs, over some images: vectors are of inputs. to: its
 * first cell, of rows of j->in_c; what is there is added to, or not (fresh). ahead: what is fetched by the way. */
SIMD_INLINE void SIMD(tile_of)(const point_job *j, const float *x, const float *ahead, const float *dy, int64_t images,
                               float *to, int64_t rows, int64_t columns, bool fresh, const int outs, const int blocks) {
    const int64_t s = j->s, next = s * LW;
    wf a[3][16];
    UNROLL for (int k = 0; k < blocks; k++) UNROLL for (int o = 0; o < outs; o++) a[k][o] = (wf){0};
    for (int64_t i = 0; i < images; i++) {
        const float *xi = x + i * j->x_n, *yi = dy + i * j->y_n, *later = ahead + i * j->x_n;
        for (int64_t p = 0; p < s; p++, xi += LW, yi += LW, later += LW) {
            __builtin_prefetch(later);
            const wf u = W_OF(xi), v = W_OF(xi + (blocks > 1) * next), w = W_OF(xi + (blocks > 2) * 2 * next);
            UNROLL for (int o = 0; o < outs; o++) {
                const float one = yi[o];
                a[0][o] += u * one;
                if (blocks > 1) a[1][o] += v * one;
                if (blocks > 2) a[2][o] += w * one;
            }
        }
    }
    UNROLL for (int o = 0; o < outs; o++) {
        if (o >= rows) break;
        float *row = to + o * j->in_c;
        UNROLL for (int k = 0; k < blocks; k++) {
            const int64_t m = columns - k * LW;
            wf sum = a[k][o];
            if (m >= LW) {
                if (!fresh) sum += W_OF(row + k * LW);
                W_AT(row + k * LW) = sum;
            } else if (m > 0) {
                float part[LW];
                W_AT(part) = sum;
                for (int64_t l = 0; l < m; l++) row[k * LW + l] = fresh ? part[l] : row[k * LW + l] + part[l];
            }
        }
    }
}

SIMD_FN static void SIMD(tile)(const point_job *j, const float *x, const float *ahead, const float *dy, int64_t images,
                               float *to, int64_t rows, int64_t columns, bool fresh) {
    if (j->wide == 1)
        SIMD(tile_of)(j, x, ahead, dy, images, to, rows, columns, fresh, LW == 16 ? 16 : 8, 1);
    else if (columns <= LW)
        SIMD(tile_of)(j, x, ahead, dy, images, to, rows, columns, fresh, LW / 2, 1);
    else if (columns <= 2 * LW || j->wide == 2)
        SIMD(tile_of)(j, x, ahead, dy, images, to, rows, columns, fresh, LW / 2, 2);
    else
        SIMD(tile_of)(j, x, ahead, dy, images, to, rows, columns, fresh, LW / 2, 3);
}

static const point_loops SIMD(point_loops) = {LW, SIMD(tile)};
