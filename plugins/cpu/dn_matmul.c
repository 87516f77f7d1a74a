/* cpu/dn_matmul.c - MatMul and Gemm in float32 by oneDNN's matmul, with post-ops. */
#include "prim.h"

#include <string.h>

/* A product of matrices as oneDNN wants it: all three of the same number of dims. */
typedef struct product {
    uint32_t ndim;
    int64_t a[DN_DIMS], b[DN_DIMS], c[DN_DIMS];
    int64_t a_strides[DN_DIMS], b_strides[DN_DIMS];
} product;

static void row_major(const int64_t *dims, uint32_t ndim, int64_t *strides) {
    int64_t step = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        strides[i] = step;
        step *= dims[i];
    }
}

static bool gemm_of(const pare_kernel_spec *s, product *p) {
    const pare_operand *a = s->in[0], *b = s->in[1], *y = s->out[0];
    if (a->ndim != 2 || b->ndim != 2 || y->ndim != 2) return false;
    bool ta = ref_attr_int(s, "transA", 0) != 0, tb = ref_attr_int(s, "transB", 0) != 0;
    if (ref_attr_float(s, "alpha", 1) != 1) return false;
    if (fast_in(s, 2) && ref_attr_float(s, "beta", 1) != 1) return false;
    p->ndim = 2;
    for (uint32_t i = 0; i < 2; i++) {
        p->a[i] = a->dims[ta ? 1 - i : i];
        p->b[i] = b->dims[tb ? 1 - i : i];
        p->a_strides[i] = (i == 1) != ta ? 1 : a->dims[1];
        p->b_strides[i] = (i == 1) != tb ? 1 : b->dims[1];
        p->c[i] = y->dims[i];
    }
    return true;
}

static bool matmul_of(const pare_kernel_spec *s, product *p) {
    const pare_operand *a = s->in[0], *b = s->in[1];
    if (!a->ndim || !b->ndim) return false;
    int64_t da[DN_DIMS], db[DN_DIMS];
    uint32_t na = a->ndim, nb = b->ndim;
    memcpy(da, a->dims, na * sizeof *da);
    memcpy(db, b->dims, nb * sizeof *db);
    if (na == 1) { /* a row; a column */
        da[1] = da[0];
        da[0] = 1;
        na = 2;
    }
    if (nb == 1) db[nb++] = 1;
    if (nb == 2 && na > 2) { /* many rows times one matrix */
        da[0] = fast_product(da, 0, na - 1);
        da[1] = da[na - 1];
        na = 2;
    }
    p->ndim = na > nb ? na : nb;
    for (uint32_t i = 0; i < p->ndim; i++) {
        p->a[i] = i + na < p->ndim ? 1 : da[i + na - p->ndim];
        p->b[i] = i + nb < p->ndim ? 1 : db[i + nb - p->ndim];
        p->c[i] = p->a[i] > p->b[i] ? p->a[i] : p->b[i];
    }
    p->c[p->ndim - 2] = p->a[p->ndim - 2];
    p->c[p->ndim - 1] = p->b[p->ndim - 1];
    row_major(p->a, p->ndim, p->a_strides);
    row_major(p->b, p->ndim, p->b_strides);
    return true;
}

/* Gemm's C as a bias: one number a column. */
static bool is_bias(const pare_operand *c, int64_t n) {
    return (c->ndim == 1 || (c->ndim == 2 && c->dims[0] == 1)) && c->dims[c->ndim - 1] == n;
}

static pare_status build(cpu_device *dev, const pare_kernel_spec *s, const product *p, uint32_t n_post,
                         cpu_kernel **out) {
    const pare_operand *b = s->in[1];
    bool bias = fast_is(s, "Gemm") && fast_in(s, 2);
    int64_t bias_dims[DN_DIMS];
    for (uint32_t i = 0; i < p->ndim; i++) bias_dims[i] = i + 1 == p->ndim ? p->c[i] : 1;
    dn_desc *src = dn_desc_strided(p->ndim, p->a, p->a_strides, dnnl_f32);
    dn_desc *view = dn_desc_strided(p->ndim, p->b, p->b_strides, dnnl_f32);
    dn_desc *dst = dn_desc_strided(p->ndim, p->c, NULL, dnnl_f32);
    dn_desc *add = bias ? dn_desc_strided(p->ndim, bias_dims, NULL, dnnl_f32) : NULL;
    dn_desc *any = b->flags & PARE_OPERAND_CONSTANT ? dn_desc_any(p->ndim, p->b, dnnl_f32) : dn_desc_clone(view);
    dn_attr a;
    int32_t sum;
    dn_pd pd = NULL;
    prim_products products = {.like = dst};
    bool ok = dn_attr_new(&a) && src && view && dst && any && (!bias || add) &&
              prim_post(&a, s, n_post, &products, &sum) && dn_attr_set(&a);
    if (ok) pd = dn_matmul(dev->engine, src, any, add, dst, &a);
    if (pd && n_post && strstr(dn_pd_name(pd), "ref")) {
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    dn_attr_free(&a);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        dn_desc *w = dn_pd_desc(pd, dnnl_query_weights_md, 0);
        prim_build k = prim_new(dev, s, pd);
        prim_in(&k, 0, DNNL_ARG_SRC, src, src);
        prim_in(&k, 1, DNNL_ARG_WEIGHTS, w, view);
        if (bias) prim_in(&k, 2, DNNL_ARG_BIAS, add, add);
        prim_out(&k, 0, DNNL_ARG_DST, dst);
        if (sum >= 0) prim_sum(&k, (uint32_t)sum, dst);
        prim_bind_products(&k, &products);
        if (k.k) k.k->n_post = n_post;
        st = prim_done(&k, out);
        dn_desc_free(w);
    }
    dn_desc_free(src);
    dn_desc_free(view);
    dn_desc_free(dst);
    dn_desc_free(add);
    dn_desc_free(any);
    return st;
}

pare_status cpu_make_matmul(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    bool gemm = fast_is(s, "Gemm");
    if ((!gemm && !fast_is(s, "MatMul")) || !fast_in(s, 0) || !fast_in(s, 1)) return PARE_EUNSUPPORTED;
    if (!fast_f32(s->in[0]) || !fast_f32(s->in[1]) || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    product p;
    if (!(gemm ? gemm_of(s, &p) : matmul_of(s, &p))) return PARE_EUNSUPPORTED;
    if (gemm && fast_in(s, 2) && (!fast_f32(s->in[2]) || !is_bias(s->in[2], p.c[1]))) return PARE_EUNSUPPORTED;
    if (s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    for (uint32_t n = s->n_post;; n--) {
        pare_status st = build(dev, s, &p, n, out);
        if (st != PARE_EUNSUPPORTED || !n) return st;
    }
}
