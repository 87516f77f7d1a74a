/* plugins/cpu/ref/ref_resize.c - Resize: nearest, linear and cubic, with every coordinate transform.
 *
 * Interpolation is separable: each axis gets, once, its source indices and weights; then the axes are done one after
 * the other in double. Nearest moves elements as they are. May use: ref_b.h, the C library.
 */
#include "ref_b.h"
#include "ref_grad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST, LINEAR, CUBIC };
enum { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, ROUND_FLOOR, ROUND_CEIL };
enum { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, CROP };

typedef struct request {
    int mode, rounding, transform;
    bool antialias, exclude_outside;
    double cubic, extrapolation;
    double scale[REF_DIMS], roi_start[REF_DIMS], roi_end[REF_DIMS];
} request;

/* Where each output coordinate of an axis comes from: `taps` indices and weights. */
typedef struct axis_map {
    int64_t taps;
    int64_t *index;
    double *weight;
    bool *outside; /* beyond the crop: the extrapolation value */
    bool same;     /* nothing to do */
} axis_map;

/* The position of `name`'s value in a list of names, or `dflt`; -1: a value that isn't there. */
static int choice(const pare_kernel_spec *s, const char *name, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (ref_attr_is(s, name, names[0], names[i])) return i;
    return -1;
}

/* Scales from input 2, or from input 3 (sizes), for all axes or those of the attribute. */
static bool read_scales(const ref_call *c, request *r) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *x = s->in[0], *y = s->out[0];
    uint64_t n_axes;
    const int64_t *axes = ref_attr_ints(s, "axes", &n_axes);
    bool has_scales = ref_has(s, 2) && ref_count(s->in[2]) > 0, has_roi = ref_has(s, 1) && ref_count(s->in[1]) > 0;
    uint32_t n = axes ? (uint32_t)(n_axes > REF_DIMS ? REF_DIMS + 1 : n_axes) : x->ndim;
    int64_t sizes[REF_DIMS];
    uint32_t n_sizes = 0;
    bool larger = ref_attr_is(s, "keep_aspect_ratio_policy", "stretch", "not_larger");
    bool smaller = ref_attr_is(s, "keep_aspect_ratio_policy", "stretch", "not_smaller");
    if (n > x->ndim) return false;
    if (has_scales && ref_count(s->in[2]) != n) return false;
    if (!has_scales && (!refb_int_list(c, 3, sizes, REF_DIMS, &n_sizes) || n_sizes != n)) return false;
    if (has_roi && ref_count(s->in[1]) != 2 * (uint64_t)n) return false;
    for (uint32_t d = 0; d < x->ndim; d++) {
        r->scale[d] = 1;
        r->roi_start[d] = 0;
        r->roi_end[d] = 1;
    }
    double common = larger ? INFINITY : 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t d = axes ? ref_axis(axes[i], x->ndim) : (int64_t)i;
        if (d < 0 || d >= (int64_t)x->ndim) return false;
        double scale = has_scales ? ref_get(c->in[2], s->in[2]->dtype, i) : (double)sizes[i] / (double)x->dims[d];
        r->scale[d] = scale;
        common = larger ? fmin(common, scale) : fmax(common, scale);
        if (has_roi) {
            r->roi_start[d] = ref_get(c->in[1], s->in[1]->dtype, i);
            r->roi_end[d] = ref_get(c->in[1], s->in[1]->dtype, n + i);
        }
    }
    for (uint32_t i = 0; !has_scales && (larger || smaller) && i < n; i++)
        r->scale[axes ? ref_axis(axes[i], x->ndim) : (int64_t)i] = common;
    for (uint32_t d = 0; d < x->ndim; d++)
        if (y->dims[d] && (!x->dims[d] || !(r->scale[d] > 0) || !isfinite(r->scale[d]))) return false;
    return true;
}

static bool read_request(const ref_call *c, request *r) {
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const rounding[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    static const char *const transforms[] = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                             "align_corners", "asymmetric",           "tf_crop_and_resize"};
    const pare_kernel_spec *s = c->spec;
    if (s->out[0]->ndim != s->in[0]->ndim || s->out[0]->dtype != s->in[0]->dtype) return false;
    r->mode = choice(s, "mode", modes, 3);
    r->rounding = choice(s, "nearest_mode", rounding, 4);
    r->transform = choice(s, "coordinate_transformation_mode", transforms, 6);
    r->antialias = ref_attr_int(s, "antialias", 0) != 0;
    r->exclude_outside = ref_attr_int(s, "exclude_outside", 0) != 0;
    r->cubic = ref_attr_float(s, "cubic_coeff_a", -0.75);
    r->extrapolation = ref_attr_float(s, "extrapolation_value", 0);
    return r->mode >= 0 && r->rounding >= 0 && r->transform >= 0 && read_scales(c, r);
}

/* The input coordinate of output o. in and out are the lengths; in * scale is the length before it was cut to `out`. */
static double source(const request *r, uint32_t d, double o, double in, double out) {
    double scale = r->scale[d], length = in * scale, start = r->roi_start[d], end = r->roi_end[d];
    switch (r->transform) {
    case ALIGN_CORNERS: return length == 1 ? 0 : o * (in - 1) / (length - 1);
    case ASYMMETRIC: return o / scale;
    case PYTORCH_HALF_PIXEL: return out > 1 ? (o + 0.5) / scale - 0.5 : 0;
    case HALF_PIXEL_SYMMETRIC: return in / 2 * (1 - out / length) + (o + 0.5) / scale - 0.5;
    case CROP:
        return start * (in - 1) +
               (length == 1 ? (end - start) * (in - 1) / 2 : o * (end - start) * (in - 1) / (length - 1));
    default: return (o + 0.5) / scale - 0.5;
    }
}

static double cubic_weight(double t, double a) {
    t = fabs(t);
    if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((t - 5) * t + 8) * t * a - 4 * a : 0;
}

/* Weights of the indices first, first + 1, … for a coordinate. */
static void weigh(const request *r, uint32_t d, double at, int64_t first, int64_t in, int64_t taps, double *w) {
    double squeeze = r->antialias && r->scale[d] < 1 ? r->scale[d] : 1, sum = 0;
    for (int64_t t = 0; t < taps; t++) {
        double far = ((double)(first + t) - at) * squeeze;
        w[t] = r->mode == CUBIC ? cubic_weight(far, r->cubic) : fabs(far) < 1 ? 1 - fabs(far) : 0;
        if (r->exclude_outside && (first + t < 0 || first + t >= in)) w[t] = 0;
        sum += w[t];
    }
    if ((r->antialias || r->exclude_outside) && sum != 0)
        for (int64_t t = 0; t < taps; t++) w[t] /= sum;
}

static int64_t round_index(double at, int rounding) {
    double low = floor(at), rest = at - low;
    bool up = rounding == ROUND_PREFER_FLOOR  ? rest > 0.5
              : rounding == ROUND_PREFER_CEIL ? rest >= 0.5
              : rounding == ROUND_CEIL        ? rest > 0
                                              : false;
    return (int64_t)low + up;
}

static int64_t clamp(int64_t i, int64_t in) { return i < 0 ? 0 : i >= in ? in - 1 : i; }

static void free_map(axis_map *m) {
    free(m->index);
    free(m->weight);
    free(m->outside);
}

static pare_status make_map(const request *r, uint32_t d, int64_t in, int64_t out, axis_map *m) {
    m->same = in == out && r->scale[d] == 1 && (r->transform != CROP || (r->roi_start[d] == 0 && r->roi_end[d] == 1));
    double half = r->mode == CUBIC ? 2 : 1; /* taps to each side */
    if (r->mode != NEAREST && r->antialias && r->scale[d] < 1) half = -floor(-half / r->scale[d]);
    if (out > 0 && half > 4 * (double)in + 8) return PARE_EINVAL; /* an output of this scale would be empty */
    m->taps = r->mode == NEAREST ? 1 : out > 0 ? 2 * (int64_t)half : 0;
    uint64_t n = out > 0 ? (uint64_t)out : 0;
    if (m->taps && n > UINT64_MAX / 16 / (uint64_t)m->taps) return PARE_ENOMEM;
    m->index = refb_alloc(n * (uint64_t)m->taps, sizeof *m->index);
    m->weight = refb_alloc(n * (uint64_t)m->taps, sizeof *m->weight);
    m->outside = refb_alloc(n, sizeof *m->outside);
    if (!m->index || !m->weight || !m->outside) return PARE_ENOMEM;
    for (int64_t o = 0; o < out; o++) {
        double at = source(r, d, (double)o, (double)in, (double)out);
        m->outside[o] = r->transform == CROP && !(at >= 0 && at <= (double)(in - 1));
        at = at > -1 ? at < (double)in ? at : (double)in : -1; /* beyond the edge there is only the edge */
        int64_t *index = m->index + o * m->taps;
        if (r->mode == NEAREST) {
            *index = clamp(round_index(at, r->rounding), in);
            continue;
        }
        int64_t first = (int64_t)ceil(at) - m->taps / 2;
        weigh(r, d, at, first, in, m->taps, m->weight + o * m->taps);
        for (int64_t t = 0; t < m->taps; t++) index[t] = clamp(first + t, in);
    }
    return PARE_OK;
}

static void run_nearest(const ref_call *c, const request *r, const axis_map *maps) {
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t pos[REF_DIMS] = {0}, strides[REF_DIMS];
    uint64_t o = 0, n = x->ndim ? (uint64_t)y->dims[x->ndim - 1] : 1;
    uint32_t last = x->ndim ? x->ndim - 1 : 0;
    static const int64_t scalar = 0;
    refb_strides(x->dims, x->ndim, strides);
    do {
        int64_t at = 0;
        bool outside = false;
        for (uint32_t d = 0; d < last; d++) {
            at += maps[d].index[pos[d]] * strides[d];
            outside = outside || maps[d].outside[pos[d]];
        }
        refb_pick(c->out[0], o, c->in[0], (uint64_t)at, x->ndim ? maps[last].index : &scalar, n, NULL, y->dtype);
        for (uint64_t i = 0; r->transform == CROP && x->ndim && i < n; i++)
            if (outside || maps[last].outside[i]) ref_set(c->out[0], y->dtype, o + i, r->extrapolation);
        o += n;
    } while (last && ref_next(pos, y->dims, last));
}

/* One axis of v (outer, in, inner) into w (outer, out, inner). */
static void run_axis(const axis_map *m, const double *v, double *w, uint64_t outer, int64_t in, int64_t out,
                     uint64_t inner, double extrapolation) {
    for (uint64_t a = 0; a < outer; a++, v += (uint64_t)in * inner)
        for (int64_t o = 0; o < out; o++, w += inner) {
            for (uint64_t i = 0; i < inner; i++) w[i] = m->outside[o] ? extrapolation : 0;
            for (int64_t t = 0; !m->outside[o] && t < m->taps; t++) {
                double f = m->weight[o * m->taps + t];
                const double *line = v + (uint64_t)m->index[o * m->taps + t] * inner;
                if (f == 0) continue; /* an Inf or NaN that isn't wanted */
                for (uint64_t i = 0; i < inner; i++) w[i] += f * line[i];
            }
        }
}

static void store(const ref_call *c, const double *v) {
    const pare_operand *y = c->spec->out[0];
    for (uint64_t i = 0; i < ref_count(y); i++) {
        if (!ref_is_int(y->dtype))
            ref_set(c->out[0], y->dtype, i, v[i]);
        else if (pare_dtype_bits(y->dtype) > 32)
            ref_set(c->out[0], y->dtype, i, rint(v[i]));
        else
            ref_set_int(c->out[0], y->dtype, i, refb_saturate(rint(v[i]), y->dtype));
    }
}

static pare_status run_weighted(const ref_call *c, const request *r, const axis_map *maps) {
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t dims[REF_DIMS];
    memcpy(dims, x->dims, x->ndim * sizeof *dims);
    double *v = refb_doubles(c->in[0], x->dtype, ref_count(x));
    for (uint32_t d = 0; v && d < x->ndim; d++) {
        if (maps[d].same) continue;
        uint64_t outer = refb_product(dims, d), inner = refb_product(dims + d + 1, x->ndim - d - 1);
        uint64_t out = (uint64_t)y->dims[d];
        double *w = out && outer * inner > UINT64_MAX / 16 / out ? NULL : refb_alloc(outer * inner * out, sizeof *w);
        if (w) run_axis(&maps[d], v, w, outer, dims[d], y->dims[d], inner, r->extrapolation);
        free(v);
        v = w;
        dims[d] = y->dims[d];
    }
    if (!v) return PARE_ENOMEM;
    store(c, v);
    free(v);
    return PARE_OK;
}

/* Inputs: X, roi, scales, sizes. */
pare_status ref_resize(const ref_call *c) {
    request r;
    axis_map maps[REF_DIMS] = {{0}};
    if (!refb_ok(c, 1, 1) || !read_request(c, &r)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    pare_status st = PARE_OK;
    if (!ref_count(y)) return PARE_OK;
    for (uint32_t d = 0; st == PARE_OK && d < x->ndim; d++) st = make_map(&r, d, x->dims[d], y->dims[d], &maps[d]);
    if (st == PARE_OK) {
        if (r.mode == NEAREST)
            run_nearest(c, &r, maps);
        else
            st = run_weighted(c, &r, maps);
    }
    for (uint32_t d = 0; d < x->ndim; d++) free_map(&maps[d]);
    return st;
}

/* ---- the transpose: dy x? roi scales sizes -> dx ---- */

/* One axis of w (outer, out, inner) back onto v (outer, in, inner), which is zeroed. */
static void back_axis(const axis_map *m, double *v, const double *w, uint64_t outer, int64_t in, int64_t out,
                      uint64_t inner, bool nearest) {
    for (uint64_t a = 0; a < outer; a++, v += (uint64_t)in * inner)
        for (int64_t o = 0; o < out; o++, w += inner)
            for (int64_t t = 0; !m->outside[o] && t < m->taps; t++) {
                double f = nearest ? 1 : m->weight[o * m->taps + t];
                double *line = v + (uint64_t)m->index[o * m->taps + t] * inner;
                for (uint64_t i = 0; f != 0 && i < inner; i++) line[i] += f * w[i];
            }
}

pare_status refg_resize(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    static const pare_operand absent = {.size = sizeof absent, .flags = PARE_OPERAND_ABSENT};
    if (s->n_in < 2 || s->n_out < 1) return PARE_EINVAL;
    /* the forward op, as its request is read */
    const pare_operand *in[4] = {s->out[0], &absent, &absent, &absent}, *out[1] = {s->in[0]};
    const void *data[4] = {NULL};
    for (uint32_t i = 2; i < 5 && i < s->n_in; i++) {
        in[i - 1] = s->in[i];
        data[i - 1] = c->in[i];
    }
    pare_kernel_spec forward = *s;
    forward.in = in;
    forward.out = out;
    forward.n_in = 4;
    forward.n_out = 1;
    ref_call call = {.spec = &forward, .in = data, .out = c->out};
    request r;
    refg g;
    axis_map maps[REF_DIMS] = {{0}};
    pare_status st = refg_begin(&g, c, 1, 2, 1);
    if (st) return st;
    if (!read_request(&call, &r)) return refg_end(&g, PARE_EINVAL);
    const pare_operand *x = in[0], *y = out[0];
    int64_t dims[REF_DIMS];
    memcpy(dims, y->dims, y->ndim * sizeof *dims);
    for (uint32_t d = 0; !st && ref_count(y) && d < x->ndim; d++)
        st = make_map(&r, d, x->dims[d], y->dims[d], &maps[d]);
    double *w = g.in[0];
    g.in[0] = NULL;
    for (uint32_t d = x->ndim; !st && ref_count(y) && d-- > 0;) {
        uint64_t outer = refb_product(dims, d), inner = refb_product(dims + d + 1, x->ndim - d - 1);
        uint64_t n = outer * (uint64_t)x->dims[d] * inner;
        double *v = refb_alloc(n, sizeof *v);
        for (uint64_t i = 0; v && i < n; i++) v[i] = 0;
        if (v) back_axis(&maps[d], v, w, outer, x->dims[d], dims[d], inner, r.mode == NEAREST);
        if (!v) st = PARE_ENOMEM;
        free(w);
        w = v;
        dims[d] = x->dims[d];
    }
    if (!st && ref_count(y)) memcpy(g.out[0], w, ref_count(x) * sizeof *w);
    free(w);
    for (uint32_t d = 0; d < x->ndim; d++) free_map(&maps[d]);
    return refg_end(&g, st);
}
