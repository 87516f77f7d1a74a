/* cpu/dn_move.c - bytes that change their order: ai.pare's Reorder between layouts, Transpose, Concat. */
#include "prim.h"
#include "q_spec.h"

#include <string.h>

static pare_status reorder(cpu_device *dev, const pare_kernel_spec *s, const dn_desc *from, const dn_desc *to,
                           const dn_desc *view, cpu_kernel **out) {
    dn_attr a;
    pare_status st = PARE_EUNSUPPORTED;
    dn_pd pd = dn_attr_new(&a) && from && to ? dn_reorder(dev->engine, from, to, &a) : NULL;
    dn_attr_free(&a);
    if (!pd) return st;
    prim_build k = prim_new(dev, s, pd);
    prim_in(&k, 0, DNNL_ARG_FROM, from, view);
    prim_out(&k, 0, DNNL_ARG_TO, to);
    return prim_done(&k, out);
}

pare_status cpu_make_reorder(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (strcmp(s->domain, "ai.pare") != 0 || strcmp(s->op_type, "Reorder") != 0) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    /* A constant comes as it is said to come: nothing is packed on the way. */
    pare_operand x = *s->in[0];
    x.flags &= ~(uint32_t)PARE_OPERAND_CONSTANT;
    const pare_operand *const in[] = {&x};
    pare_kernel_spec as_is = *s;
    as_is.in = in;
    dn_desc *from = prim_given(dev, s->in[0]), *to = prim_given(dev, s->out[0]);
    pare_status st = reorder(dev, &as_is, from, to, NULL, out);
    dn_desc_free(from);
    dn_desc_free(to);
    return st;
}

/* A plain tensor seen with its dims in another order is a strided one: a reorder to plain transposes it. */
pare_status cpu_make_transpose(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (!fast_is(s, "Transpose") || !fast_in(s, 0) || !s->in[0]->ndim) return PARE_EUNSUPPORTED;
    if (!fast_f32(s->in[0]) && !q_eight(s->in[0])) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    const pare_operand *x = s->in[0];
    uint64_t n;
    const int64_t *perm = ref_attr_ints(s, "perm", &n);
    if (perm && n != x->ndim) return PARE_EUNSUPPORTED;
    int64_t strides[DN_DIMS];
    for (uint32_t i = 0; i < x->ndim; i++) {
        int64_t p = perm ? perm[i] : x->ndim - 1 - i;
        if (p < 0 || p >= x->ndim || x->dims[p] != s->out[0]->dims[i]) return PARE_EUNSUPPORTED;
        strides[i] = fast_product(x->dims, (uint32_t)p + 1, x->ndim);
    }
    dn_desc *from = dn_desc_strided(x->ndim, s->out[0]->dims, strides, dn_dtype(x->dtype)), *to = prim_plain(s->out[0]);
    pare_status st = reorder(dev, s, from, to, from, out);
    dn_desc_free(from);
    dn_desc_free(to);
    return st;
}

enum { CONCAT_MAX = 32 };

/* In the layout that the first input has, where all have one of ours; else left to the plain kernel. */
pare_status cpu_make_concat(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (!fast_is(s, "Concat") || s->n_in < 2 || s->n_in > CONCAT_MAX || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (!fast_in(s, i) || !fast_f32(s->in[i]) || s->in[i]->layout.kind != PARE_LAYOUT_OWN ||
            s->in[i]->ndim != s->out[0]->ndim)
            return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    const pare_operand *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), y->ndim);
    dn_desc *src[CONCAT_MAX] = {0}, *dst = NULL;
    bool ok = true;
    for (uint32_t i = 0; i < s->n_in; i++) ok = (src[i] = prim_given(dev, s->in[i])) && ok;
    if (y->layout.kind != PARE_LAYOUT_ANY) ok = (dst = prim_given(dev, y)) && ok;
    dn_attr a;
    dn_pd pd =
        dn_attr_new(&a) && ok ? dn_concat(dev->engine, s->n_in, (int)axis, (const dn_desc *const *)src, dst, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        prim_build k = prim_new(dev, s, pd);
        dn_desc *d = dn_pd_desc(pd, dnnl_query_dst_md, 0);
        for (uint32_t i = 0; i < s->n_in; i++) prim_in(&k, i, DNNL_ARG_MULTIPLE_SRC + (int)i, src[i], NULL);
        prim_out(&k, 0, DNNL_ARG_DST, d);
        dn_desc_free(d);
        st = prim_done(&k, out);
    }
    for (uint32_t i = 0; i < s->n_in; i++) dn_desc_free(src[i]);
    dn_desc_free(dst);
    return st;
}
