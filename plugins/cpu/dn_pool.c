/* cpu/dn_pool.c - MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool in float32 by oneDNN. */
#include "prim.h"

#include <string.h>

typedef struct pool {
    bool max, global, include_pad;
    dn_window w;
} pool;

static bool window_of(const pare_kernel_spec *s, pool *p) {
    const pare_operand *x = s->in[0], *y = s->out[0];
    uint32_t nd = x->ndim - 2;
    uint64_t n_k, n_str, n_dil, n_pad;
    const int64_t *kernel = ref_attr_ints(s, "kernel_shape", &n_k), *strides = ref_attr_ints(s, "strides", &n_str),
                  *dilations = ref_attr_ints(s, "dilations", &n_dil), *pads = ref_attr_ints(s, "pads", &n_pad);
    bool upper = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_UPPER"),
         lower = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_LOWER");
    if (ref_attr_is(s, "auto_pad", "NOTSET", "VALID") || upper || lower) pads = NULL;
    if (!p->global && (!kernel || n_k != nd || (strides && n_str != nd) || (dilations && n_dil != nd) ||
                       (pads && n_pad != 2 * (uint64_t)nd)))
        return false;
    for (uint32_t i = 0; i < nd; i++) {
        int64_t in = x->dims[2 + i], out = y->dims[2 + i], k = p->global ? in : kernel[i];
        int64_t stride = p->global || !strides ? 1 : strides[i], dil = p->global || !dilations ? 1 : dilations[i];
        int64_t reach = (k - 1) * dil + 1, total = (out - 1) * stride + reach - in;
        int64_t left = p->global || !pads ? 0 : pads[i];
        if (upper || lower) left = total <= 0 ? 0 : upper ? total / 2 : total - total / 2;
        int64_t right = total - left, said = pads ? pads[nd + i] : upper || lower ? right : 0;
        if (stride < 1 || dil < 1 || left < 0) return false;
        if (right < 0) right = 0; /* the last columns are not reached */
        /* Columns that ceil_mode adds are no padding: they never count. oneDNN counts all or none. */
        if (!p->max && p->include_pad && right > said) return false;
        if (left >= reach || right >= reach) return false; /* a window of padding alone */
        if (p->include_pad && !p->max && dil > 1) return false;
        p->w.kernel[i] = k;
        p->w.strides[i] = stride;
        p->w.dilations[i] = dil - 1;
        p->w.pads_l[i] = left;
        p->w.pads_r[i] = right;
    }
    return true;
}

pare_status cpu_make_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    pool p = {.max = fast_is(s, "MaxPool") || fast_is(s, "GlobalMaxPool"),
              .global = fast_is(s, "GlobalMaxPool") || fast_is(s, "GlobalAveragePool")};
    if (!p.max && !p.global && !fast_is(s, "AveragePool")) return PARE_EUNSUPPORTED;
    if (!fast_in(s, 0) || fast_out(s, 1) || !fast_f32(s->in[0]) || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0], *y = s->out[0];
    if (x->ndim < 3 || x->ndim > 5 || y->ndim != x->ndim) return PARE_EUNSUPPORTED;
    p.include_pad = !p.max && ref_attr_int(s, "count_include_pad", 0) != 0;
    if (!window_of(s, &p)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    dn_desc *src = prim_given(dev, x);
    dn_desc *dst = y->layout.kind == PARE_LAYOUT_ANY ? dn_desc_any(y->ndim, y->dims, dnnl_f32) : prim_given(dev, y);
    dn_attr a;
    dnnl_alg_kind_t alg = p.max           ? dnnl_pooling_max
                          : p.include_pad ? dnnl_pooling_avg_include_padding
                                          : dnnl_pooling_avg_exclude_padding;
    dn_pd pd = dn_attr_new(&a) && src && dst ? dn_pool(dev->engine, alg, src, dst, &p.w, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        dn_desc *d = dn_pd_desc(pd, dnnl_query_dst_md, 0);
        prim_build k = prim_new(dev, s, pd);
        prim_in(&k, 0, DNNL_ARG_SRC, src, NULL);
        prim_out(&k, 0, DNNL_ARG_DST, d);
        st = prim_done(&k, out);
        dn_desc_free(d);
    }
    dn_desc_free(src);
    dn_desc_free(dst);
    return st;
}
