/* plugins/cpu/ref/ref_saturating.c - int32 sums of 8-bit products in pairs, as x86 without VNNI forms them.
 *
 * vpmaddubsw multiplies uint8 by int8 and adds neighbouring products in int16, which saturates. int8 activations are
 * shifted by 128 first, zero points taken out by what they add to every sum. Pairs lie along the input channels of one
 * tap. See ref_quantized.h. May use: ref_quantized.h, the C library.
 */
#include "ref_quantized.h"

#include <stdlib.h>
#include <string.h>

/* One sum: so many pairs of x (uint8) and w (int8). */
typedef struct adder {
    bool pairs;
    int32_t shift; /* what the numbers of x have too much: 128 for int8, and the zero point */
    int64_t sum, weights;
    int32_t held; /* the pair's first product */
    bool half;
} adder;

static void add(adder *a, int32_t x, int32_t w) {
    a->weights += w;
    if (!a->pairs) {
        a->sum += x * w;
    } else if (!a->half) {
        a->held = x * w;
    } else {
        int32_t two = a->held + x * w;
        a->sum += two > INT16_MAX ? INT16_MAX : two < INT16_MIN ? INT16_MIN : two;
    }
    a->half = a->pairs && !a->half;
}

/* The end of a row of channels: a product without a neighbour stands alone. */
static void row_end(adder *a) {
    if (a->half) a->sum += a->held;
    a->half = false;
}

static double sum_of(const adder *a) { return (double)(a->sum - a->shift * a->weights); }

/* x as unsigned; `x` is what lies in memory. */
static int32_t lifted(const pare_operand *o, const void *x, uint64_t i) {
    return o->dtype == PARE_UINT8 ? ((const uint8_t *)x)[i] : ((const int8_t *)x)[i] + 128;
}

static int32_t shift_of(const pare_operand *x) {
    return (x->dtype == PARE_INT8 ? 128 : 0) + (x->zero_point ? x->zero_point[0] : 0);
}

static pare_status conv(const ref_call *c, bool pairs, double *y) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0], *w = s->in[1], *o = s->out[0];
    const int8_t *weights = c->in[1];
    refb_window k;
    if (x->ndim < 3 || x->ndim > 5 || w->ndim != x->ndim || o->ndim != x->ndim) return PARE_EINVAL;
    pare_status st = refb_window_read(s, x->ndim - 2, x->dims + 2, o->dims + 2, w->dims + 2, &k);
    int64_t groups = ref_attr_int(s, "group", 1), in_channels = w->dims[1], out_channels = o->dims[1];
    if (st || groups < 1 || out_channels % groups || in_channels * groups != x->dims[1]) return st ? st : PARE_EINVAL;
    int64_t plane = k.in[0] * k.in[1] * k.in[2], taps = k.kernel[0] * k.kernel[1] * k.kernel[2];
    int64_t out_plane = k.out[0] * k.out[1] * k.out[2];
    int32_t shift = shift_of(x);
    for (int64_t n = 0; n < o->dims[0]; n++)
        for (int64_t m = 0; m < out_channels; m++)
            for (int64_t at = 0; at < out_plane; at++) {
                adder a = {.pairs = pairs, .shift = shift};
                int64_t p[3] = {at / (k.out[1] * k.out[2]), at / k.out[2] % k.out[1], at % k.out[2]};
                for (int64_t t = 0; t < taps; t++) {
                    int64_t tap[3] = {t / (k.kernel[1] * k.kernel[2]), t / k.kernel[2] % k.kernel[1], t % k.kernel[2]};
                    int64_t from = 0;
                    bool inside = true;
                    for (int d = 0; d < 3; d++) {
                        int64_t i = p[d] * k.stride[d] - k.pad[d] + tap[d] * k.dilation[d];
                        inside = inside && i >= 0 && i < k.in[d];
                        from = from * k.in[d] + i;
                    }
                    int64_t first = (n * groups + m / (out_channels / groups)) * in_channels;
                    for (int64_t ch = 0; ch < in_channels; ch++) /* a pad is the zero point */
                        add(&a, inside ? lifted(x, c->in[0], (uint64_t)((first + ch) * plane + from)) : shift,
                            weights[(m * in_channels + ch) * taps + t]);
                    row_end(&a);
                }
                *y++ = sum_of(&a);
            }
    return PARE_OK;
}

/* Rows of x by columns of w. */
static void matrix(const ref_call *c, bool pairs, uint64_t x_at, uint64_t w_at, const int64_t *mnk, bool ta, bool tb,
                   double *y) {
    const pare_operand *x = c->spec->in[0];
    const int8_t *w = (const int8_t *)c->in[1] + w_at;
    int64_t m = mnk[0], n = mnk[1], k = mnk[2];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            adder a = {.pairs = pairs, .shift = shift_of(x)};
            for (int64_t l = 0; l < k; l++)
                add(&a, lifted(x, c->in[0], x_at + (uint64_t)(ta ? l * m + i : i * k + l)),
                    w[tb ? j * k + l : l * n + j]);
            row_end(&a);
            *y++ = sum_of(&a);
        }
}

static pare_status gemm(const ref_call *c, bool pairs, double *y) {
    const pare_kernel_spec *s = c->spec;
    bool ta = ref_attr_int(s, "transA", 0) != 0, tb = ref_attr_int(s, "transB", 0) != 0;
    if (s->in[0]->ndim != 2 || s->in[1]->ndim != 2) return PARE_EINVAL;
    const int64_t mnk[] = {s->in[0]->dims[ta], s->in[1]->dims[!tb], s->in[0]->dims[!ta]};
    if (s->in[1]->dims[tb] != mnk[2]) return PARE_EINVAL;
    matrix(c, pairs, 0, 0, mnk, ta, tb, y);
    return PARE_OK;
}

/* One matrix for all rows of x. */
static pare_status matmul(const ref_call *c, bool pairs, double *y) {
    const pare_operand *x = c->spec->in[0], *w = c->spec->in[1];
    if (x->ndim < 1 || w->ndim != 2) return PARE_EUNSUPPORTED;
    const int64_t mnk[] = {(int64_t)refb_product(x->dims, x->ndim - 1), w->dims[1], x->dims[x->ndim - 1]};
    if (w->dims[0] != mnk[2]) return PARE_EINVAL;
    matrix(c, pairs, 0, 0, mnk, false, false, y);
    return PARE_OK;
}

pare_status ref_integer_sums(const ref_call *c, bool pairs, double *out) {
    const pare_kernel_spec *s = c->spec;
    if (s->in[1]->dtype != PARE_INT8 || s->in[1]->zero_point) return PARE_EUNSUPPORTED;
    if (!strcmp(s->op_type, "Conv")) return conv(c, pairs, out);
    if (!strcmp(s->op_type, "Gemm")) return gemm(c, pairs, out);
    if (!strcmp(s->op_type, "MatMul")) return matmul(c, pairs, out);
    return PARE_EUNSUPPORTED;
}
