/* plugins/cpu/ref/ref_grad_conv.c - gradients of convolution and pooling, 1 to 3 spatial dims, by direct loops. */
#include "ref_grad.h"

#include <stdlib.h>

/* Sizes of the convolution whose gradient this is; channels per group. */
typedef struct shape {
    int64_t batch, groups, in_channels, out_channels, in_plane, out_plane, taps;
    refb_window w;
} shape;

static pare_status read_shape(const ref_call *c, const pare_operand *x, const pare_operand *f, const pare_operand *y,
                              shape *k) {
    if (x->ndim < 3 || x->ndim > 5 || f->ndim != x->ndim || y->ndim != x->ndim) return PARE_EINVAL;
    uint32_t rank = x->ndim - 2;
    k->groups = ref_attr_int(c->spec, "group", 1);
    if (k->groups < 1 || x->dims[1] % k->groups || f->dims[0] % k->groups) return PARE_EINVAL;
    k->batch = x->dims[0];
    k->in_channels = x->dims[1] / k->groups;
    k->out_channels = f->dims[0] / k->groups;
    if (f->dims[1] != k->in_channels || y->dims[1] != f->dims[0] || y->dims[0] != k->batch) return PARE_EINVAL;
    k->in_plane = (int64_t)refb_product(x->dims + 2, rank);
    k->out_plane = (int64_t)refb_product(y->dims + 2, rank);
    k->taps = (int64_t)refb_product(f->dims + 2, rank);
    return refb_window_read(c->spec, rank, x->dims + 2, y->dims + 2, f->dims + 2, &k->w);
}

/* What a tap joins in one output row: n places of the input from xi, `step` apart, with those of the output from yi. */
typedef struct run {
    int64_t xi, yi, n, step;
} run;

/* Of tap (kd, kh, kw) and output row (d, h): false where it meets the input nowhere. */
static bool row_of(const refb_window *w, const int64_t tap[3], int64_t d, int64_t h, run *r) {
    int64_t id = d * w->stride[0] - w->pad[0] + tap[0] * w->dilation[0],
            ih = h * w->stride[1] - w->pad[1] + tap[1] * w->dilation[1], lo, hi,
            shift = tap[2] * w->dilation[2] - w->pad[2];
    if (id < 0 || id >= w->in[0] || ih < 0 || ih >= w->in[1]) return false;
    refb_overlap(w->out[2], w->stride[2], shift, w->in[2], &lo, &hi);
    *r = (run){(id * w->in[1] + ih) * w->in[2] + lo * w->stride[2] + shift, (d * w->out[1] + h) * w->out[2] + lo,
               hi - lo, w->stride[2]};
    return hi > lo;
}

/* One plane of x and one of dy through one filter plane: dx += f * dy, or df += x * dy. */
static void plane(const shape *k, const double *x, double *dx, const double *f, double *df, const double *dy) {
    const refb_window *w = &k->w;
    int64_t tap[3] = {0}, t = 0;
    run r;
    do {
        double sum = 0;
        for (int64_t d = 0; d < w->out[0]; d++)
            for (int64_t h = 0; h < w->out[1]; h++) {
                if (!row_of(w, tap, d, h, &r)) continue;
                if (dx)
                    for (int64_t i = 0; i < r.n; i++) dx[r.xi + i * r.step] += f[t] * dy[r.yi + i];
                else
                    for (int64_t i = 0; i < r.n; i++) sum += x[r.xi + i * r.step] * dy[r.yi + i];
            }
        if (df) df[t] += sum;
        t++;
    } while (ref_next(tap, w->kernel, 3));
}

static void all_planes(const shape *k, const double *x, double *dx, const double *f, double *df, const double *dy) {
    for (int64_t n = 0; n < k->batch; n++)
        for (int64_t gr = 0; gr < k->groups; gr++)
            for (int64_t o = 0; o < k->out_channels; o++)
                for (int64_t i = 0; i < k->in_channels; i++) {
                    int64_t xc = ((n * k->groups + gr) * k->in_channels + i) * k->in_plane;
                    int64_t yc = ((n * k->groups + gr) * k->out_channels + o) * k->out_plane;
                    int64_t fc = ((gr * k->out_channels + o) * k->in_channels + i) * k->taps;
                    plane(k, x ? x + xc : NULL, dx ? dx + xc : NULL, f ? f + fc : NULL, df ? df + fc : NULL, dy + yc);
                }
}

/* dy w x? -> dx */
pare_status refg_conv_input(const ref_call *c) {
    refg g;
    shape k;
    pare_status st = refg_begin(&g, c, 3, 3, 1);
    if (st) return st;
    st = read_shape(c, c->spec->out[0], c->spec->in[1], c->spec->in[0], &k);
    if (!st) all_planes(&k, NULL, g.out[0], g.in[1], NULL, g.in[0]);
    return refg_end(&g, st);
}

/* dy x w? -> dw [db] */
pare_status refg_conv_weight(const ref_call *c) {
    refg g;
    shape k;
    pare_status st = refg_begin(&g, c, 3, 3, 1);
    if (st) return st;
    st = read_shape(c, c->spec->in[1], c->spec->in[2], c->spec->in[0], &k);
    if (!st && g.out[0]) all_planes(&k, g.in[1], NULL, NULL, g.out[0], g.in[0]);
    int64_t channels = st ? 0 : k.groups * k.out_channels;
    for (int64_t n = 0; !st && g.out[1] && n < k.batch; n++)
        for (int64_t o = 0; o < channels; o++)
            for (int64_t i = 0; i < k.out_plane; i++) g.out[1][o] += g.in[0][(n * channels + o) * k.out_plane + i];
    return refg_end(&g, st);
}

/* ---- pooling ---- */

static pare_status read_pool(const ref_call *c, const pare_operand *x, const pare_operand *y, refb_window *w) {
    uint64_t n;
    const int64_t *kernel = ref_attr_ints(c->spec, "kernel_shape", &n);
    if (x->ndim < 3 || x->ndim > 5 || y->ndim != x->ndim || !kernel || n != x->ndim - 2) return PARE_EINVAL;
    return refb_window_read(c->spec, x->ndim - 2, x->dims + 2, y->dims + 2, kernel, w);
}

/* The window at output `at`: its taps that meet the input, from `first` on, `count` of them each way; how many taps
 * meet the padded input. */
static bool window(const refb_window *w, const int64_t at[3], int64_t first[3], int64_t count[3], double *padded) {
    bool any = true;
    *padded = 1;
    for (int d = 0; d < 3; d++) {
        int64_t lo, hi, start = at[d] * w->stride[d] - w->pad[d];
        refb_overlap(w->kernel[d], w->dilation[d], start + w->pad[d], w->in[d] + w->pad[d] + w->pad_end[d], &lo, &hi);
        *padded *= hi > lo ? (double)(hi - lo) : 0;
        refb_overlap(w->kernel[d], w->dilation[d], start, w->in[d], &lo, &hi);
        first[d] = start + lo * w->dilation[d];
        count[d] = hi - lo;
        any = any && hi > lo;
    }
    return any;
}

static int64_t flat(const refb_window *w, const int64_t first[3], const int64_t k[3]) {
    int64_t r = 0;
    for (int d = 0; d < 3; d++) r = r * w->in[d] + first[d] + k[d] * w->dilation[d];
    return r;
}

/* x: NULL for averages. */
static void pool(const ref_call *c, const refb_window *w, const pare_operand *shape_of, const double *x,
                 const double *dy, double *dx) {
    bool with_pads = ref_attr_int(c->spec, "count_include_pad", 0) != 0;
    int64_t in_plane = w->in[0] * w->in[1] * w->in[2], o = 0;
    for (uint64_t n = 0; n < refb_product(shape_of->dims, 2); n++, dx += in_plane, x = x ? x + in_plane : NULL) {
        int64_t at[3] = {0};
        do {
            int64_t first[3], count[3], k[3] = {0}, best = -1;
            double padded;
            double share = dy[o++];
            if (!window(w, at, first, count, &padded)) continue;
            if (!x) share /= with_pads ? padded : (double)(count[0] * count[1] * count[2]);
            do {
                int64_t i = flat(w, first, k);
                if (!x)
                    dx[i] += share;
                else if (best < 0 || x[i] > x[best] || (x[i] != x[i] && x[best] == x[best]))
                    best = i;
            } while (ref_next(k, count, 3));
            if (x) dx[best] += share;
        } while (ref_next(at, w->out, 3));
    }
}

pare_status refg_max_pool(const ref_call *c) {
    refg g;
    refb_window w;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    st = read_pool(c, c->spec->out[0], c->spec->in[0], &w);
    if (!st && ref_count(c->spec->in[0])) pool(c, &w, c->spec->out[0], g.in[1], g.in[0], g.out[0]);
    return refg_end(&g, st);
}

pare_status refg_average_pool(const ref_call *c) {
    refg g;
    refb_window w;
    pare_status st = refg_begin(&g, c, 1, 2, 1);
    if (st) return st;
    st = read_pool(c, c->spec->out[0], c->spec->in[0], &w);
    if (!st && ref_count(c->spec->in[0])) pool(c, &w, c->spec->out[0], NULL, g.in[0], g.out[0]);
    return refg_end(&g, st);
}

pare_status refg_global_average_pool(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 2, 1);
    if (st) return st;
    const pare_operand *x = c->spec->out[0];
    uint64_t area = refb_product(x->dims + 2, x->ndim < 2 ? 0 : x->ndim - 2);
    if (x->ndim < 3) return refg_end(&g, PARE_EINVAL);
    for (uint64_t i = 0; i < ref_count(x); i++) g.out[0][i] = g.in[0][i / area] / (double)area;
    return refg_end(&g, PARE_OK);
}
