/* cpu/dn_conv.c - Conv and ConvTranspose in float32 by oneDNN, 1-d to 3-d, with bias and post-ops. */
#include "dn_conv.h"

#include <string.h>

bool dn_conv_shape_of(const pare_kernel_spec *s, const pare_operand *x, const pare_operand *w, const pare_operand *y,
                      dn_conv_shape *c) {
    if (x->ndim < 3 || x->ndim > 5 || w->ndim != x->ndim || y->ndim != x->ndim) return false;
    c->nd = x->ndim - 2;
    c->groups = ref_attr_int(s, "group", 1);
    if (c->groups < 1 || w->dims[0] % c->groups) return false;
    uint64_t n_str, n_dil, n_pad;
    const int64_t *strides = ref_attr_ints(s, "strides", &n_str), *dilations = ref_attr_ints(s, "dilations", &n_dil),
                  *pads = ref_attr_ints(s, "pads", &n_pad);
    bool upper = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_UPPER"),
         lower = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_LOWER");
    if (ref_attr_is(s, "auto_pad", "NOTSET", "VALID")) pads = NULL;
    if ((strides && n_str != c->nd) || (dilations && n_dil != c->nd) || (pads && n_pad != 2 * c->nd)) return false;
    for (uint32_t i = 0; i < c->nd; i++) {
        int64_t in = x->dims[2 + i], out = y->dims[2 + i], k = w->dims[2 + i];
        int64_t stride = strides ? strides[i] : 1, dil = dilations ? dilations[i] : 1;
        if (stride < 1 || dil < 1) return false;
        /* Of the two, `small` is made of `large` by sliding the window. */
        int64_t large = c->transposed ? out : in, small = c->transposed ? in : out, reach = (k - 1) * dil + 1;
        int64_t total = (small - 1) * stride + reach - large, left = pads ? pads[i] : 0;
        if (upper || lower) left = total <= 0 ? 0 : upper ? total / 2 : total - total / 2;
        if (c->transposed && (upper || lower || ref_attr(s, "output_shape")))
            return false; /* pads are a matter of taste */
        int64_t right = total - left;
        if (left < 0) return false;
        if (right < 0) {
            if (right <= -stride) return false; /* something else than the attributes say */
            if (!c->transposed) right = 0;      /* the last columns are not reached */
        }
        c->w.kernel[i] = k;
        c->w.strides[i] = stride;
        c->w.dilations[i] = dil - 1;
        c->w.pads_l[i] = left;
        c->w.pads_r[i] = right;
    }
    return true;
}

void dn_conv_crop(dn_conv_shape *c, const pare_operand *x, const pare_operand *y) {
    for (uint32_t i = 0; i < c->nd; i++) {
        int64_t in = x->dims[2 + i], out = y->dims[2 + i], k = c->w.kernel[i], dil = c->w.dilations[i] + 1;
        int64_t stride = c->w.strides[i], pad = c->w.pads_l[i], lo = 0, hi = k;
        while (lo < hi && (out - 1) * stride - pad + lo * dil < 0) lo++; /* before the input from everywhere */
        while (hi > lo && (hi - 1) * dil - pad >= in) hi--;              /* behind it */
        int64_t left = pad - lo * dil, right = (out - 1) * stride + (hi - lo - 1) * dil + 1 - in - left;
        if (hi == lo || hi - lo == k || left < 0 || right <= -stride) continue;
        c->first[i] += lo;
        c->w.kernel[i] = hi - lo;
        c->w.pads_l[i] = left;
        c->w.pads_r[i] = right < 0 ? 0 : right;
    }
}

typedef struct span {
    int64_t from, to; /* to: one behind */
} span;

static span span_of(int64_t n, int64_t only) { return only < 0 ? (span){0, n} : (span){only, only + 1}; }

/* Of the outputs of dim i, those that may meet this place of the input. */
static span outputs_of(const dn_conv_shape *c, uint32_t i, int64_t in, int64_t n) {
    int64_t last = in + c->w.pads_l[i], first = last - (c->w.kernel[i] - 1) * (c->w.dilations[i] + 1);
    span s = {first > 0 ? first / c->w.strides[i] : 0, last / c->w.strides[i] + 1};
    if (s.to > n) s.to = n;
    return s;
}

int64_t dn_conv_links(const dn_conv_shape *c, const pare_operand *x, const pare_operand *y, int64_t only_out,
                      int64_t only_in, int64_t only_tap, dn_conv_link *emit) {
    int64_t n = 0, kw = c->w.kernel[1], yw = y->dims[3], xw = x->dims[3];
    span oh_of = span_of(y->dims[2], only_out < 0 ? -1 : only_out / yw),
         ow_of = span_of(yw, only_out < 0 ? -1 : only_out % yw),
         th_of = span_of(c->w.kernel[0], only_tap < 0 ? -1 : only_tap / kw),
         tw_of = span_of(kw, only_tap < 0 ? -1 : only_tap % kw);
    if (only_in >= 0) {
        oh_of = outputs_of(c, 0, only_in / xw, y->dims[2]);
        ow_of = outputs_of(c, 1, only_in % xw, yw);
    }
    for (int64_t oh = oh_of.from; oh < oh_of.to; oh++)
        for (int64_t ow = ow_of.from; ow < ow_of.to; ow++)
            for (int64_t th = th_of.from; th < th_of.to; th++)
                for (int64_t tw = tw_of.from; tw < tw_of.to; tw++) {
                    int64_t ih = oh * c->w.strides[0] - c->w.pads_l[0] + th * (c->w.dilations[0] + 1),
                            iw = ow * c->w.strides[1] - c->w.pads_l[1] + tw * (c->w.dilations[1] + 1), o = oh * yw + ow,
                            i = ih * xw + iw, t = th * kw + tw;
                    if (ih < 0 || iw < 0 || ih >= x->dims[2] || iw >= xw || (only_in >= 0 && i != only_in)) continue;
                    if (emit)
                        emit[n] = only_out >= 0  ? (dn_conv_link){(int32_t)i, (int32_t)t}
                                  : only_in >= 0 ? (dn_conv_link){(int32_t)o, (int32_t)t}
                                                 : (dn_conv_link){(int32_t)i, (int32_t)o};
                    n++;
                }
    return n;
}

void dn_conv_weights(const pare_operand *w, const dn_conv_shape *c, dn_desc **any, dn_desc **view, uint64_t *offset) {
    int64_t dims[DN_DIMS], strides[DN_DIMS], area = fast_product(w->dims, 2, w->ndim);
    uint32_t n = 0;
    int64_t g = c->groups, a = w->dims[0] / g, b = w->dims[1]; /* a of each group's first dim */
    *offset = 0;
    if (g > 1) {
        dims[n] = g;
        strides[n++] = a * b * area;
    }
    dims[n] = c->transposed ? b : a; /* ConvTranspose has inputs first */
    strides[n++] = c->transposed ? area : b * area;
    dims[n] = c->transposed ? a : b;
    strides[n++] = c->transposed ? b * area : area;
    for (uint32_t i = 0; i < c->nd; i++) {
        dims[n] = c->w.kernel[i];
        strides[n] = fast_product(w->dims, 3 + i, w->ndim);
        *offset += (uint64_t)(c->first[i] * strides[n++]) * sizeof(float);
    }
    *view = dn_desc_strided(n, dims, strides, dnnl_f32);
    *any = dn_desc_any(n, dims, dnnl_f32);
}

/* An output that has to be as it is said; else oneDNN's choice. */
static dn_desc *wanted(const cpu_device *dev, const pare_operand *o) {
    if (o->layout.kind == PARE_LAYOUT_ANY) return dn_desc_any(o->ndim, o->dims, dnnl_f32);
    return prim_given(dev, o);
}

static pare_status build(cpu_device *dev, const pare_kernel_spec *s, const dn_conv_shape *c, dnnl_alg_kind_t alg,
                         uint32_t n_post, bool given, cpu_kernel **out) {
    const pare_operand *x = s->in[0];
    bool bias = fast_in(s, 2);
    dn_desc *src = given ? prim_given(dev, x) : dn_desc_any(x->ndim, x->dims, dnnl_f32), *dst = wanted(dev, s->out[0]);
    dn_desc *b = bias ? prim_plain(s->in[2]) : NULL, *any = NULL, *view = NULL;
    uint64_t offset;
    bool packed = (s->in[1]->flags & PARE_OPERAND_CONSTANT) != 0;
    dn_conv_weights(s->in[1], c, &any, &view, &offset);
    dn_attr a;
    int32_t sum = -1;
    dn_pd pd = NULL;
    bool ok = dn_attr_new(&a) && src && dst && any && view && (!bias || b) && prim_post(&a, s, n_post, NULL, &sum) &&
              dn_attr_set(&a);
    if (ok) pd = dn_conv(dev->engine, c->transposed, alg, src, any, b, dst, &c->w, &a);
    /* Its plain reference is the last resort, without post-ops; Winograd where it was asked for. */
    if (pd && (((n_post || given) && strstr(dn_pd_name(pd), "ref")) ||
               (alg == dnnl_convolution_winograd && !strstr(dn_pd_name(pd), "wino")))) {
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    dn_attr_free(&a);
    dn_desc_free(src);
    dn_desc_free(dst);
    dn_desc_free(any);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        dn_desc *p_src = dn_pd_desc(pd, dnnl_query_src_md, 0), *p_w = dn_pd_desc(pd, dnnl_query_weights_md, 0),
                *p_dst = dn_pd_desc(pd, dnnl_query_dst_md, 0);
        prim_build k = prim_new(dev, s, pd);
        prim_in(&k, 0, DNNL_ARG_SRC, p_src, NULL);
        if (packed || (p_w && view && dn_desc_equal(p_w, view)))
            prim_in(&k, 1, DNNL_ARG_WEIGHTS, p_w, view);
        else
            prim_repack(&k, 1, DNNL_ARG_WEIGHTS, p_w, view, offset);
        if (bias) prim_in(&k, 2, DNNL_ARG_BIAS, b, NULL);
        prim_out(&k, 0, DNNL_ARG_DST, p_dst);
        if (sum >= 0) prim_sum(&k, (uint32_t)sum, p_dst);
        if (k.k) k.k->n_post = n_post;
        st = prim_done(&k, out);
        dn_desc_free(p_src);
        dn_desc_free(p_w);
        dn_desc_free(p_dst);
    }
    dn_desc_free(b);
    dn_desc_free(view);
    return st;
}

/* F(4x4, 3x3): by shape; whether this CPU has it, oneDNN says. */
static bool has_winograd(const pare_kernel_spec *s, const dn_conv_shape *c) {
    if (c->transposed || c->nd != 2 || c->groups != 1 || !(s->in[1]->flags & PARE_OPERAND_CONSTANT)) return false;
    for (uint32_t i = 0; i < 2; i++)
        if (c->w.kernel[i] != 3 || c->w.strides[i] != 1 || c->w.dilations[i] != 0) return false;
    return true;
}

/* Is the input asked for as it lies, without a reorder? Of plain ones that pays with the few channels of an image. */
static bool as_given(const pare_kernel_spec *s) {
    const pare_operand *x = s->in[0];
    return x->layout.kind == PARE_LAYOUT_OWN ||
           (x->layout.kind == PARE_LAYOUT_PLAIN && s->out[0]->layout.kind == PARE_LAYOUT_ANY && x->dims[1] <= 4);
}

pare_status cpu_make_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    dn_conv_shape c = {.transposed = fast_is(s, "ConvTranspose")};
    if ((!c.transposed && !fast_is(s, "Conv")) || !fast_in(s, 0) || !fast_in(s, 1)) return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0], *w = s->in[1], *y = s->out[0];
    if (!fast_f32(x) || !fast_f32(w) || !fast_f32(y) || (fast_in(s, 2) && !fast_f32(s->in[2])))
        return PARE_EUNSUPPORTED;
    if (!dn_conv_shape_of(s, x, w, y, &c)) return PARE_EUNSUPPORTED;
    if (!c.transposed && !(w->flags & PARE_OPERAND_CONSTANT)) {
        pare_status st = cpu_make_conv_trained(dev, s, candidate, out);
        if (st != PARE_EUNSUPPORTED || candidate) return st;
    }
    if (candidate > (uint32_t)has_winograd(s, &c)) return PARE_ENOTFOUND;
    dnnl_alg_kind_t alg = candidate      ? dnnl_convolution_winograd
                          : c.transposed ? dnnl_deconvolution_direct
                                         : dnnl_convolution_direct;
    for (uint32_t n = s->n_post;; n--) {
        pare_status st = PARE_EUNSUPPORTED;
        if (as_given(s)) st = build(dev, s, &c, alg, n, true, out);
        if (st == PARE_EUNSUPPORTED) st = build(dev, s, &c, alg, n, false, out);
        if (st != PARE_EUNSUPPORTED || !n) return st;
    }
}
