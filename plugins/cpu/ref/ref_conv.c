/* plugins/cpu/ref/ref_conv.c - Conv, ConvTranspose, ConvInteger, QLinearConv by direct loops, 1 to 3 spatial dims.
 *
 * All operands are turned into doubles first: products of 8-bit numbers and their sums stay exact there, so one loop
 * serves every dtype; int32 results wrap at the end, as int32 accumulators would. May use: ref_b.h, the C library.
 */
#include "ref_b.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool ref_conv_supports(const pare_kernel_spec *s) {
    return s->n_in > 0 && ref_has(s, 0) && s->in[0]->ndim >= 3 && s->in[0]->ndim <= 5;
}

/* Sizes of one convolution. */
typedef struct shape {
    int64_t batch, groups, in_channels, out_channels; /* channels: per group */
    int64_t in_plane, out_plane, taps;
    refb_window w;
} shape;

static pare_status read_shape(const ref_call *c, uint32_t weight, bool transposed, shape *k) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0], *f = s->in[weight], *y = s->out[0];
    if (!ref_conv_supports(s) || f->ndim != x->ndim || y->ndim != x->ndim) return PARE_EINVAL;
    uint32_t rank = x->ndim - 2;
    k->groups = ref_attr_int(s, "group", 1);
    k->batch = x->dims[0];
    if (k->groups < 1 || x->dims[1] % k->groups || f->dims[0] % k->groups || y->dims[0] != k->batch) return PARE_EINVAL;
    k->in_channels = x->dims[1] / k->groups;
    if (transposed) {
        k->out_channels = f->dims[1];
        if (f->dims[0] != x->dims[1]) return PARE_EINVAL;
    } else {
        k->out_channels = f->dims[0] / k->groups;
        if (f->dims[1] != k->in_channels) return PARE_EINVAL;
    }
    if (y->dims[1] % k->groups || y->dims[1] / k->groups != k->out_channels) return PARE_EINVAL;
    pare_status st = refb_window_read(s, rank, x->dims + 2, y->dims + 2, f->dims + 2, &k->w);
    k->in_plane = (int64_t)refb_product(x->dims + 2, rank);
    k->out_plane = (int64_t)refb_product(y->dims + 2, rank);
    k->taps = (int64_t)refb_product(f->dims + 2, rank);
    return st;
}

/* A 1x1 kernel without steps or pads sees the plane as one long row. */
static void flatten_rows(shape *k) {
    refb_window *w = &k->w;
    for (uint32_t d = 0; d < 3; d++)
        if (w->kernel[d] != 1 || w->stride[d] != 1 || w->pad[d] || w->in[d] != w->out[d]) return;
    w->in[2] = w->out[2] = k->in_plane;
    w->in[0] = w->in[1] = w->out[0] = w->out[1] = 1;
}

/* Adds one filter's products to the output row (d, h). x: the group's channels; f: the filter. */
static void conv_row(const shape *k, const double *x, const double *f, int64_t d, int64_t h, double *row) {
    const refb_window *w = &k->w;
    for (int64_t ch = 0; ch < k->in_channels; ch++, x += k->in_plane) {
        for (int64_t kd = 0; kd < w->kernel[0]; kd++) {
            int64_t id = d * w->stride[0] - w->pad[0] + kd * w->dilation[0];
            for (int64_t kh = 0; kh < w->kernel[1]; kh++, f += w->kernel[2]) {
                int64_t ih = h * w->stride[1] - w->pad[1] + kh * w->dilation[1];
                if (id < 0 || id >= w->in[0] || ih < 0 || ih >= w->in[1]) continue;
                const double *line = x + (id * w->in[1] + ih) * w->in[2];
                for (int64_t kw = 0; kw < w->kernel[2]; kw++) {
                    int64_t lo, hi, step = w->stride[2], shift = kw * w->dilation[2] - w->pad[2];
                    double v = f[kw];
                    refb_overlap(w->out[2], step, shift, w->in[2], &lo, &hi);
                    if (step == 1)
                        for (int64_t o = lo; o < hi; o++) row[o] += v * line[o + shift];
                    else
                        for (int64_t o = lo; o < hi; o++) row[o] += v * line[o * step + shift];
                }
            }
        }
    }
}

/* All outputs in order. y holds the start values (the bias) and then the sums. */
static void conv_all(const shape *k, const double *x, const double *f, double *y) {
    const refb_window *w = &k->w;
    for (int64_t n = 0; n < k->batch; n++)
        for (int64_t g = 0; g < k->groups; g++, x += k->in_channels * k->in_plane)
            for (int64_t m = 0; m < k->out_channels; m++) {
                const double *filter = f + (g * k->out_channels + m) * k->in_channels * k->taps;
                for (int64_t d = 0; d < w->out[0]; d++)
                    for (int64_t h = 0; h < w->out[1]; h++, y += w->out[2]) conv_row(k, x, filter, d, h, y);
            }
}

/* Spreads one input plane over one output plane. */
static void spread_plane(const shape *k, const double *x, const double *f, double *y) {
    const refb_window *w = &k->w;
    for (int64_t d = 0; d < w->in[0]; d++)
        for (int64_t h = 0; h < w->in[1]; h++, x += w->in[2])
            for (int64_t kd = 0; kd < w->kernel[0]; kd++)
                for (int64_t kh = 0; kh < w->kernel[1]; kh++) {
                    int64_t od = d * w->stride[0] - w->pad[0] + kd * w->dilation[0];
                    int64_t oh = h * w->stride[1] - w->pad[1] + kh * w->dilation[1];
                    if (od < 0 || od >= w->out[0] || oh < 0 || oh >= w->out[1]) continue;
                    double *line = y + (od * w->out[1] + oh) * w->out[2];
                    const double *tap = f + (kd * w->kernel[1] + kh) * w->kernel[2];
                    for (int64_t kw = 0; kw < w->kernel[2]; kw++) {
                        int64_t lo, hi, step = w->stride[2], shift = kw * w->dilation[2] - w->pad[2];
                        refb_overlap(w->in[2], step, shift, w->out[2], &lo, &hi);
                        for (int64_t i = lo; i < hi; i++) line[i * step + shift] += tap[kw] * x[i];
                    }
                }
}

static void spread_all(const shape *k, const double *x, const double *f, double *y) {
    for (int64_t n = 0; n < k->batch; n++)
        for (int64_t g = 0; g < k->groups; g++)
            for (int64_t m = 0; m < k->out_channels; m++, y += k->out_plane)
                for (int64_t ch = 0; ch < k->in_channels; ch++) {
                    int64_t from = (n * k->groups + g) * k->in_channels + ch;
                    int64_t filter = (g * k->in_channels + ch) * k->out_channels + m;
                    spread_plane(k, x + from * k->in_plane, f + filter * k->taps, y);
                }
}

/* The operands of a run as doubles. */
typedef struct operands {
    double *x, *f, *y;
} operands;

static void drop(operands *o) {
    free(o->x);
    free(o->f);
    free(o->y);
}

/* Subtracts zero points: one for all, or one for each of `blocks` equal parts (output channels of a weight). */
static pare_status subtract_zero(const ref_call *c, uint32_t in, double *v, uint64_t n, uint64_t blocks) {
    if (!ref_has(c->spec, in)) return PARE_OK;
    uint64_t zeros = ref_count(c->spec->in[in]);
    if (zeros != 1 && zeros != blocks) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++)
        v[i] -= ref_get(c->in[in], c->spec->in[in]->dtype, zeros == 1 ? 0 : i / (n / blocks));
    return PARE_OK;
}

/* x, weight `f` and a y that starts with the bias (input `bias`, or zeros). drop() in any case. */
static pare_status load(const ref_call *c, const shape *k, uint32_t f, uint32_t bias, operands *o) {
    const pare_kernel_spec *s = c->spec;
    uint64_t n = ref_count(s->out[0]), channels = (uint64_t)(k->groups * k->out_channels);
    o->x = refb_doubles(c->in[0], s->in[0]->dtype, ref_count(s->in[0]));
    o->f = refb_doubles(c->in[f], s->in[f]->dtype, ref_count(s->in[f]));
    o->y = refb_alloc(n, sizeof *o->y);
    if (!o->x || !o->f || !o->y) return PARE_ENOMEM;
    bool has = ref_has(s, bias);
    if (has && ref_count(s->in[bias]) != channels) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++)
        o->y[i] = has ? ref_get(c->in[bias], s->in[bias]->dtype, i / (uint64_t)k->out_plane % channels) : 0;
    return PARE_OK;
}

static void store(const ref_call *c, const double *y) {
    const pare_operand *o = c->spec->out[0];
    uint64_t n = ref_count(o);
    if (o->dtype == PARE_FLOAT) {
        float *f = c->out[0];
        for (uint64_t i = 0; i < n; i++) f[i] = (float)y[i];
    } else if (ref_is_int(o->dtype)) {
        for (uint64_t i = 0; i < n; i++) ref_set_int(c->out[0], o->dtype, i, refb_wrap(y[i]));
    } else {
        for (uint64_t i = 0; i < n; i++) ref_set(c->out[0], o->dtype, i, y[i]);
    }
}

pare_status ref_conv(const ref_call *c) {
    shape k;
    operands o = {0};
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    pare_status st = read_shape(c, 1, false, &k);
    if (st == PARE_OK) st = load(c, &k, 1, 2, &o);
    if (st == PARE_OK) {
        flatten_rows(&k);
        conv_all(&k, o.x, o.f, o.y);
        store(c, o.y);
    }
    drop(&o);
    return st;
}

/* Pads of a ConvTranspose whose output's size is prescribed: by output_shape, or by SAME. */
static pare_status transposed_pads(const pare_kernel_spec *s, shape *k) {
    uint64_t n, n_shape;
    uint32_t rank = s->in[0]->ndim - 2;
    bool upper = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_UPPER");
    bool lower = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_LOWER");
    const int64_t *extra = ref_attr_ints(s, "output_padding", &n);
    const int64_t *prescribed = ref_attr_ints(s, "output_shape", &n_shape);
    if (extra && n && n != rank) return PARE_EINVAL;
    if (!(prescribed && n_shape) && !upper && !lower) return PARE_OK;
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t d = 3 - rank + i;
        refb_window *w = &k->w;
        int64_t more = extra && n ? extra[i] : 0;
        if (more < 0 || more > w->stride[d] * w->dilation[d]) return PARE_EINVAL;
        int64_t total = w->stride[d] * (w->in[d] - 1) + more + (w->kernel[d] - 1) * w->dilation[d] + 1 - w->out[d];
        if (total < 0) total = 0; /* the output ends in zeros */
        w->pad[d] = upper ? total / 2 : total - total / 2;
        w->pad_end[d] = total - w->pad[d];
    }
    return PARE_OK;
}

pare_status ref_conv_transpose(const ref_call *c) {
    shape k;
    operands o = {0};
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    pare_status st = read_shape(c, 1, true, &k);
    if (st == PARE_OK) st = transposed_pads(c->spec, &k);
    if (st == PARE_OK) st = load(c, &k, 1, 2, &o);
    if (st == PARE_OK) {
        spread_all(&k, o.x, o.f, o.y);
        store(c, o.y);
    }
    drop(&o);
    return st;
}

/* Padding is the zero point, which is 0 once subtracted. */
pare_status ref_conv_integer(const ref_call *c) {
    shape k;
    operands o = {0};
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_kernel_spec *s = c->spec;
    pare_status st = read_shape(c, 1, false, &k);
    if (st == PARE_OK) st = load(c, &k, 1, UINT32_MAX, &o);
    if (st == PARE_OK) st = subtract_zero(c, 2, o.x, ref_count(s->in[0]), 1);
    if (st == PARE_OK) st = subtract_zero(c, 3, o.f, ref_count(s->in[1]), (uint64_t)s->in[1]->dims[0]);
    if (st == PARE_OK) {
        flatten_rows(&k);
        conv_all(&k, o.x, o.f, o.y);
        store(c, o.y);
    }
    drop(&o);
    return st;
}

/* Inputs: x, its scale and zero point, w, its scale and zero point, y's scale and zero point, bias (int32). */
pare_status ref_qlinear_conv(const ref_call *c) {
    shape k;
    operands o = {0};
    if (!refb_ok(c, 8, 1)) return PARE_EINVAL;
    const pare_kernel_spec *s = c->spec;
    pare_status st = read_shape(c, 3, false, &k);
    uint64_t channels = (uint64_t)s->in[3]->dims[0], scales = ref_count(s->in[4]);
    if (st == PARE_OK && (ref_count(s->in[1]) != 1 || ref_count(s->in[6]) != 1 || ref_count(s->in[7]) != 1 ||
                          (scales != 1 && scales != channels)))
        st = PARE_EINVAL;
    if (st == PARE_OK) st = load(c, &k, 3, 8, &o);
    if (st == PARE_OK) st = subtract_zero(c, 2, o.x, ref_count(s->in[0]), 1);
    if (st == PARE_OK) st = subtract_zero(c, 5, o.f, ref_count(s->in[3]), channels);
    if (st == PARE_OK) {
        const pare_operand *y = s->out[0];
        uint64_t n = ref_count(y), plane = (uint64_t)k.out_plane;
        float x_scale = (float)ref_get(c->in[1], s->in[1]->dtype, 0);
        float y_scale = (float)ref_get(c->in[6], s->in[6]->dtype, 0);
        double zero = ref_get(c->in[7], s->in[7]->dtype, 0);
        flatten_rows(&k);
        conv_all(&k, o.x, o.f, o.y);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t m = scales == 1 ? 0 : i / plane % channels;
            float w_scale = (float)ref_get(c->in[4], s->in[4]->dtype, m);
            int32_t sum = refb_wrap(o.y[i]);
            float q = rintf((float)sum * (x_scale * w_scale / y_scale));
            ref_set_int(c->out[0], y->dtype, i, refb_saturate((double)q + zero, y->dtype));
        }
    }
    drop(&o);
    return st;
}
