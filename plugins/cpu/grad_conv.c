/* cpu/grad_conv.c - convolution in training by oneDNN: forward with weights that change, and both gradients.
 *
 * Weights are plain variables: they are brought into the primitive's layout in scratch memory in every run, and the
 * gradient back. Activations lie in blocks of channels, whatever oneDNN would like for inference, so that forward and
 * backward agree. Is not: the depthwise gradient by the weights (grad_depthwise.c). May use: dn_conv.h.
 */
#include "dn_conv.h"
#include "grad.h"
#include "isa.h"

#include <string.h>

typedef enum { FORWARD, BY_INPUT, BY_WEIGHT } direction;
/* How it is computed: by our own loops over small maps, by those of one channel a group, by those of 1x1 kernels, as a
 * product of matrices (maps of one pixel), Winograd's way, direct, as oneDNN likes its input. */
typedef enum { AS_SMALL, AS_DEPTHWISE, AS_POINT, AS_PRODUCT, AS_WINOGRAD, AS_BLOCKED, AS_LIKED, N_WAYS } way;

typedef struct job {
    cpu_device *dev;
    const pare_kernel_spec *s;
    direction dir;
    dn_conv_shape c;
    const pare_operand *x, *w, *y; /* of the forward convolution */
    uint32_t i_x, i_w, i_y;        /* which input or output of the spec each is */
    bool bias;
} job;

static bool read_job(cpu_device *dev, const pare_kernel_spec *s, job *j) {
    *j = (job){.dev = dev, .s = s};
    bool forward = fast_is(s, "Conv"), input = grad_is(s, "ConvGradInput");
    if (!forward && !input && !grad_is(s, "ConvGradWeight")) return false;
    if (s->n_in < 2 || !s->n_out || !fast_in(s, 0) || (!forward && s->n_in < 3)) return false;
    if (forward) {
        j->dir = FORWARD;
        j->x = s->in[0];
        j->w = s->in[1];
        j->y = s->out[0];
        j->i_w = 1;
        j->bias = fast_in(s, 2);
        if (j->bias && !fast_f32(s->in[2])) return false;
    } else if (input) {
        j->dir = BY_INPUT;
        j->y = s->in[0];
        j->w = s->in[1];
        j->x = s->out[0];
        j->i_w = 1;
    } else {
        j->dir = BY_WEIGHT;
        j->y = s->in[0];
        j->x = s->in[1];
        j->w = s->in[2]; /* its dims */
        j->i_x = 1;
        j->bias = fast_out(s, 1);
        if (!fast_in(s, 1) || !fast_out(s, 0) || s->out[0]->layout.kind == PARE_LAYOUT_OWN) return false;
        if (j->bias && (!fast_f32(s->out[1]) || s->out[1]->layout.kind == PARE_LAYOUT_OWN)) return false;
    }
    if (!fast_f32(j->x) || !fast_f32(j->w) || !fast_f32(j->y)) return false;
    if (j->dir != BY_WEIGHT && (!fast_in(s, 1) || j->w->layout.kind == PARE_LAYOUT_OWN)) return false;
    if (!dn_conv_shape_of(s, j->x, j->w, j->y, &j->c)) return false;
    dn_conv_crop(&j->c, j->x, j->y);
    return true;
}

/* ---- maps of one pixel: each image is a row ---- */

static bool is_product(const job *j) {
    if (j->c.groups != 1 || j->s->n_post || (j->bias && j->dir == BY_WEIGHT)) return false;
    for (uint32_t i = 0; i < j->c.nd; i++)
        if (j->x->dims[2 + i] != 1 || j->y->dims[2 + i] != 1 || j->c.w.kernel[i] != 1) return false;
    return true;
}

static dn_desc *matrix(int64_t rows, int64_t columns, int64_t step_row, int64_t step_column) {
    const int64_t dims[] = {rows, columns}, strides[] = {step_row, step_column};
    return dn_desc_strided(2, dims, strides, dnnl_f32);
}

/* plain: weights are taken as they lie, packed piece by piece inside, which beats a pass of its own over all of them.
 */
static pare_status product_of(const job *j, bool plain, cpu_kernel **out) {
    const pare_kernel_spec *s = j->s;
    int64_t n = j->x->dims[0], ic = j->x->dims[1], oc = j->y->dims[1], taps = fast_product(j->w->dims, 2, j->w->ndim);
    if (s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    dn_desc *any = NULL, *view = NULL;
    uint64_t offset;
    dn_conv_weights(j->w, &j->c, &any, &view, &offset);
    dn_desc_free(any);
    dn_desc_free(view);
    const int64_t back[] = {oc, ic}, forth[] = {ic, oc};
    dn_desc *x = matrix(n, ic, ic, 1), *y = matrix(n, oc, oc, 1), *bias = j->bias ? matrix(1, oc, oc, 1) : NULL;
    dn_desc *turned = matrix(oc, n, 1, oc), *dense = matrix(oc, ic, ic, 1);
    view = j->dir == FORWARD ? matrix(ic, oc, taps, ic * taps) : matrix(oc, ic, ic * taps, taps);
    any = plain ? dn_desc_clone(view) : dn_desc_any(2, j->dir == FORWARD ? forth : back, dnnl_f32);
    dn_attr a;
    dn_pd pd = NULL;
    if (dn_attr_new(&a) && x && y && any && view && turned && dense && (!j->bias || bias))
        pd = j->dir == FORWARD    ? dn_matmul(j->dev->engine, x, any, bias, y, &a)
             : j->dir == BY_INPUT ? dn_matmul(j->dev->engine, y, any, NULL, x, &a)
                                  : dn_matmul(j->dev->engine, turned, x, NULL, dense, &a);
    dn_attr_free(&a);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd && !strstr(dn_pd_name(pd), "ref")) {
        dn_desc *w = dn_pd_desc(pd, dnnl_query_weights_md, 0);
        prim_build k = prim_new(j->dev, s, pd);
        if (j->dir == BY_WEIGHT) {
            prim_in(&k, 0, DNNL_ARG_SRC, turned, turned);
            prim_in(&k, 1, DNNL_ARG_WEIGHTS, x, x);
            if (taps == 1)
                prim_out(&k, 0, DNNL_ARG_DST, dense);
            else
                prim_unpack(&k, 0, DNNL_ARG_DST, dense, view, offset, (uint64_t)(oc * ic * taps) * sizeof(float));
        } else {
            prim_in(&k, 0, DNNL_ARG_SRC, j->dir == FORWARD ? x : y, NULL);
            if (plain)
                prim_in(&k, 1, DNNL_ARG_WEIGHTS, view, view);
            else
                prim_repack(&k, 1, DNNL_ARG_WEIGHTS, w, view, offset);
            if (bias) prim_in(&k, 2, DNNL_ARG_BIAS, bias, NULL);
            prim_out(&k, 0, DNNL_ARG_DST, j->dir == FORWARD ? y : x);
        }
        st = prim_done(&k, out);
        dn_desc_free(w);
    } else if (pd) {
        dnnl_primitive_desc_destroy(pd);
    }
    dn_desc_free(x);
    dn_desc_free(y);
    dn_desc_free(bias);
    dn_desc_free(turned);
    dn_desc_free(dense);
    dn_desc_free(any);
    dn_desc_free(view);
    return st;
}

static pare_status product(const job *j, cpu_kernel **out) {
    bool plain = j->dir != BY_WEIGHT && fast_product(j->w->dims, 2, j->w->ndim) == 1;
    pare_status st = plain ? product_of(j, true, out) : PARE_EUNSUPPORTED;
    return st == PARE_EUNSUPPORTED ? product_of(j, false, out) : st;
}

/* ---- by oneDNN's convolutions ---- */

/* An activation: o is an output whose layout may be said already. The few channels of an image stay plain. */
static dn_desc *activation(const job *j, const pare_operand *o, bool is_out, way how) {
    if (is_out && o->layout.kind != PARE_LAYOUT_ANY) return prim_given(j->dev, o);
    if (how == AS_LIKED) return dn_desc_any(o->ndim, o->dims, dnnl_f32);
    if (o->dims[1] <= 4) return prim_plain(o);
    return dn_desc_blocked(o->ndim, o->dims, cpu_isa_best() >= CPU_ISA_AVX512 ? 16 : 8, dnnl_f32);
}

static dn_pd described(const job *j, dnnl_alg_kind_t alg, const dn_desc *x, const dn_desc *w, const dn_desc *bias,
                       const dn_desc *y, const dn_attr *a) {
    if (j->dir == FORWARD) return dn_conv(j->dev->engine, false, alg, x, w, bias, y, &j->c.w, a);
    if (j->dir == BY_INPUT) return dn_conv_by_input(j->dev->engine, alg, x, w, y, &j->c.w, a);
    return dn_conv_by_weights(j->dev->engine, alg, x, w, bias, y, &j->c.w, a);
}

/* Weights or their gradient: in place where oneDNN takes ONNX's bytes, else by way of scratch memory. */
static void bind_weights(const job *j, prim_build *k, const dn_desc *w, const dn_desc *view, uint64_t offset) {
    bool all = true; /* taps */
    for (uint32_t i = 0; i < j->c.nd; i++) all = all && j->c.w.kernel[i] == j->w->dims[2 + i];
    bool whole = all && w && view && dn_desc_equal(w, view);
    if (j->dir == BY_WEIGHT) {
        if (whole)
            prim_out(k, 0, DNNL_ARG_DIFF_WEIGHTS, w);
        else
            prim_unpack(k, 0, DNNL_ARG_DIFF_WEIGHTS, w, view, offset, all ? 0 : ref_count(j->w) * sizeof(float));
    } else if (whole) {
        prim_in(k, 1, DNNL_ARG_WEIGHTS, w, view);
    } else {
        prim_repack(k, 1, DNNL_ARG_WEIGHTS, w, view, offset);
    }
}

/* One channel a group. By weight oneDNN 2.6 refuses some small maps, for which it has products of matrices of one row
 * alone, up to a hundred times slower than our loops. */
static bool is_depthwise(const job *j) {
    return j->c.nd == 2 && j->c.groups > 1 && j->c.groups == j->x->dims[1] && j->c.groups == j->y->dims[1];
}

static pare_status convolve(const job *j, way how, cpu_kernel **out) {
    const pare_kernel_spec *s = j->s;
    dnnl_alg_kind_t alg = how == AS_WINOGRAD ? dnnl_convolution_winograd : dnnl_convolution_direct;
    dn_desc *x = activation(j, j->x, j->dir == BY_INPUT, how), *y = activation(j, j->y, j->dir == FORWARD, how);
    dn_desc *bias = j->bias ? prim_plain(j->dir == FORWARD ? s->in[2] : s->out[1]) : NULL, *any, *view;
    uint64_t offset;
    dn_conv_weights(j->w, &j->c, &any, &view, &offset);
    dn_attr a;
    int32_t sum = -1;
    uint32_t n_post = j->dir == FORWARD ? s->n_post : 0;
    dn_pd pd = NULL;
    bool ok = dn_attr_new(&a) && x && y && any && view && (!j->bias || bias) && prim_post(&a, s, n_post, NULL, &sum) &&
              dn_attr_set(&a);
    if (ok) pd = described(j, alg, x, any, bias, y, &a);
    dn_attr_free(&a);
    if (pd &&
        (strstr(dn_pd_name(pd), "ref") || (j->dir == BY_WEIGHT && is_depthwise(j) && strstr(dn_pd_name(pd), "gemm")) ||
         (how == AS_WINOGRAD && !strstr(dn_pd_name(pd), "wino")))) {
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        bool to_x = j->dir == BY_INPUT, to_w = j->dir == BY_WEIGHT, to_y = j->dir == FORWARD;
        dn_desc *p_x = dn_pd_desc(pd, to_x ? dnnl_query_diff_src_md : dnnl_query_src_md, 0),
                *p_w = dn_pd_desc(pd, to_w ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0),
                *p_y = dn_pd_desc(pd, to_y ? dnnl_query_dst_md : dnnl_query_diff_dst_md, 0);
        prim_build k = prim_new(j->dev, s, pd);
        if (to_x)
            prim_out(&k, 0, DNNL_ARG_DIFF_SRC, p_x);
        else
            prim_in(&k, j->i_x, DNNL_ARG_SRC, p_x, NULL);
        if (to_y)
            prim_out(&k, 0, DNNL_ARG_DST, p_y);
        else
            prim_in(&k, 0, DNNL_ARG_DIFF_DST, p_y, NULL);
        bind_weights(j, &k, p_w, view, offset);
        if (j->bias && to_y) prim_in(&k, 2, DNNL_ARG_BIAS, bias, NULL);
        if (j->bias && to_w) prim_out(&k, 1, DNNL_ARG_DIFF_BIAS, bias);
        if (sum >= 0) prim_sum(&k, (uint32_t)sum, p_y);
        if (k.k) k.k->n_post = n_post;
        st = prim_done(&k, out);
        dn_desc_free(p_x);
        dn_desc_free(p_w);
        dn_desc_free(p_y);
    }
    dn_desc_free(x);
    dn_desc_free(y);
    dn_desc_free(bias);
    dn_desc_free(any);
    dn_desc_free(view);
    return st;
}

/* F(4x4, 3x3): by shape; whether this CPU has it, oneDNN says. */
static bool is_winograd(const job *j) {
    if (j->c.nd != 2 || j->c.groups != 1) return false;
    for (uint32_t i = 0; i < 2; i++)
        if (j->c.w.kernel[i] != 3 || j->c.w.strides[i] != 1 || j->c.w.dilations[i] != 0) return false;
    return true;
}

/* Measured on Zen 5: on maps below this its tiles are mostly padding. By shape alone, so that a run repeats to the
 * byte. */
static bool winograd_pays(const job *j) {
    int64_t least = j->dir == FORWARD ? 8 : 4;
    return j->y->dims[2] >= least && j->y->dims[3] >= least && j->x->dims[1] >= 16 && j->y->dims[1] >= 16;
}

/* Measured on Zen 5: of one to four places, and the gradients of strided ones, whose taps oneDNN mostly wastes. */
static bool small_pays(const job *j) {
    int64_t places = j->c.nd == 2 ? j->y->dims[2] * j->y->dims[3] : 0;
    if (places < 1 || j->x->dims[0] < 32) return false;
    if (places <= 4) return j->dir == BY_WEIGHT || j->c.w.strides[0] > 1 || j->c.w.kernel[0] > 1;
    return places <= 16 && j->c.w.strides[0] > 1 && j->dir != FORWARD;
}

/* Measured on Zen 4. oneDNN's steps over large maps are as good as our table, whose steps of 2 are better always. */
static bool depthwise_pays(const job *j) {
    int64_t places = j->y->dims[2] * j->y->dims[3];
    bool steps = j->c.w.strides[0] > 1 || j->c.w.strides[1] > 1;
    if (j->dir == BY_WEIGHT) return places <= (steps ? 16 : 225);
    return steps || places <= (j->dir == FORWARD ? 784 : 2304);
}

/* Maps of one pixel are a plain product. */
static bool point_pays(const job *j) {
    return j->dir == BY_WEIGHT && j->c.nd == 2 && j->y->dims[2] * j->y->dims[3] > 1;
}

/* In the order in which they are expected to be fast. */
static uint32_t ways_of(const job *j, way *ways) {
    uint32_t n = 0;
    bool small = small_pays(j), deep = is_depthwise(j), ours = deep && depthwise_pays(j), point = point_pays(j);
    bool winograd = is_winograd(j), first = winograd && winograd_pays(j);
    if (ours) ways[n++] = AS_DEPTHWISE;
    if (is_product(j)) ways[n++] = AS_PRODUCT;
    if (point) ways[n++] = AS_POINT;
    if (small) ways[n++] = AS_SMALL;
    if (first) ways[n++] = AS_WINOGRAD;
    ways[n++] = AS_BLOCKED;
    if (winograd && !first) ways[n++] = AS_WINOGRAD;
    if (deep && !ours) ways[n++] = AS_DEPTHWISE;
    if (!point) ways[n++] = AS_POINT;
    ways[n++] = AS_LIKED;
    if (!small) ways[n++] = AS_SMALL;
    return n;
}

static pare_status make_way(const job *j, way how, cpu_kernel **out) {
    const cpu_conv_operands a = {j->x, j->w, j->y, j->bias};
    switch (how) {
    case AS_SMALL: return cpu_make_conv_small(j->dev, j->s, &a, &j->c, out);
    case AS_DEPTHWISE: return cpu_make_conv_depthwise(j->dev, j->s, &a, &j->c, out);
    case AS_POINT: return cpu_make_conv_point(j->dev, j->s, &a, &j->c, out);
    case AS_PRODUCT: return product(j, out);
    default: return convolve(j, how, out);
    }
}

static pare_status make(const job *j, uint32_t candidate, cpu_kernel **out) {
    way ways[N_WAYS];
    uint32_t n = ways_of(j, ways);
    if (candidate >= n) return PARE_ENOTFOUND;
    for (uint32_t i = candidate; i < n; i++) { /* the best guess may not exist: the next one then */
        pare_status st = make_way(j, ways[i], out);
        if (st != PARE_EUNSUPPORTED || candidate) return st;
    }
    return PARE_EUNSUPPORTED;
}

pare_status cpu_make_conv_trained(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    job j;
    return read_job(dev, s, &j) ? make(&j, candidate, out) : PARE_EUNSUPPORTED;
}

pare_status cpu_make_grad_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    job j;
    if (!grad_is(s, "ConvGradInput") && !grad_is(s, "ConvGradWeight")) return PARE_EUNSUPPORTED;
    return read_job(dev, s, &j) ? make(&j, candidate, out) : PARE_EUNSUPPORTED;
}
