/* cpu/dn_eltwise.c - functions of one float32 and of two alike, by oneDNN, in whatever layout the inputs have. */
#include "prim.h"

#include <math.h>
#include <string.h>

typedef struct unary {
    const char *op_type;
    dnnl_alg_kind_t alg;
    double alpha, beta; /* where no attribute says otherwise */
    const char *alpha_name;
} unary;

static const unary unaries[] = {
    {"Relu", dnnl_eltwise_relu, 0, 0, NULL},
    {"LeakyRelu", dnnl_eltwise_relu, 0.01, 0, "alpha"},
    {"Elu", dnnl_eltwise_elu, 1, 0, "alpha"},
    {"Sigmoid", dnnl_eltwise_logistic, 0, 0, NULL},
    {"Abs", dnnl_eltwise_abs, 0, 0, NULL},
    {"Exp", dnnl_eltwise_exp, 0, 0, NULL},
    {"Sqrt", dnnl_eltwise_sqrt, 0, 0, NULL},
    {"Mish", dnnl_eltwise_mish, 0, 0, NULL},
    {"HardSwish", dnnl_eltwise_hardswish, 1.0 / 6, 0.5, NULL},
};

/* The row of a spec; false: none. */
static bool row_of(const pare_kernel_spec *s, unary *u) {
    for (size_t i = 0; i < sizeof unaries / sizeof *unaries; i++) {
        if (!fast_is(s, unaries[i].op_type)) continue;
        *u = unaries[i];
        if (u->alpha_name) u->alpha = ref_attr_float(s, u->alpha_name, u->alpha);
        return true;
    }
    *u = (unary){.alg = dnnl_eltwise_clip, .alpha = -(double)INFINITY, .beta = (double)INFINITY};
    if (fast_is(s, "Clip")) { /* the bounds are inputs */
        float low = -INFINITY, high = INFINITY;
        if (fast_in(s, 1) && !fast_scalar(s->in[1], &low)) return false;
        if (fast_in(s, 2) && !fast_scalar(s->in[2], &high)) return false;
        u->alpha = (double)low;
        u->beta = (double)high;
        return low <= high;
    }
    u->alg = dnnl_eltwise_gelu_erf; /* the other form is made of oneDNN's tanh, which is off by 1e-5 */
    return fast_is(s, "Gelu") && ref_attr_is(s, "approximate", "none", "none");
}

/* The output lies as the input, unless it is said how it has to lie. */
static bool follows(const pare_layout *x, const pare_layout *y) {
    return y->kind == PARE_LAYOUT_ANY || (y->kind == PARE_LAYOUT_PLAIN && x->kind != PARE_LAYOUT_OWN) ||
           (y->kind == PARE_LAYOUT_OWN && x->kind == PARE_LAYOUT_OWN && x->id == y->id);
}

pare_status cpu_make_eltwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    unary u;
    if (!s->n_out || !fast_in(s, 0) || !fast_f32(s->in[0]) || !fast_f32(s->out[0]) || !row_of(s, &u))
        return PARE_EUNSUPPORTED;
    if (!follows(&s->in[0]->layout, &s->out[0]->layout)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    dn_attr a;
    dn_desc *d = prim_given(dev, s->in[0]);
    dn_pd pd = dn_attr_new(&a) && d ? dn_eltwise(dev->engine, u.alg, d, (float)u.alpha, (float)u.beta, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd) {
        prim_build k = prim_new(dev, s, pd);
        prim_in(&k, 0, DNNL_ARG_SRC, d, NULL);
        prim_out(&k, 0, DNNL_ARG_DST, d);
        if (k.k) k.k->in_place = 0;
        st = prim_done(&k, out);
    }
    dn_desc_free(d);
    return st;
}

/* ---- two, at least one of them in a layout of ours; the other one may be repeated over it ---- */

typedef struct binary {
    const char *op_type;
    dnnl_alg_kind_t alg;
    bool commutes;
} binary;

static const binary *binary_of(const pare_kernel_spec *s) {
    static const binary table[] = {{"Add", dnnl_binary_add, true}, {"Sub", dnnl_binary_sub, false},
                                   {"Mul", dnnl_binary_mul, true}, {"Div", dnnl_binary_div, false},
                                   {"Min", dnnl_binary_min, true}, {"Max", dnnl_binary_max, true}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (fast_is(s, table[i].op_type)) return &table[i];
    return NULL;
}

/* The second operand: as the first where it has its dims, else plain, with dims of 1 in front. NULL: it doesn't fit. */
static dn_desc *second(const pare_operand *o, const pare_operand *y, const dn_desc *first) {
    if (fast_same_dims(o, y)) return dn_desc_clone(first);
    int64_t dims[DN_DIMS];
    if (o->ndim > y->ndim) return NULL;
    for (uint32_t i = 0; i < y->ndim; i++) {
        dims[i] = i + o->ndim < y->ndim ? 1 : o->dims[i + o->ndim - y->ndim];
        if (dims[i] != 1 && dims[i] != y->dims[i]) return NULL;
    }
    return dn_desc_strided(y->ndim, dims, NULL, dnnl_f32);
}

pare_status cpu_make_binary(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    const binary *op = binary_of(s);
    if (!op || s->n_in != 2 + s->n_post || !fast_in(s, 0) || !fast_in(s, 1)) return PARE_EUNSUPPORTED;
    const pare_operand *y = s->out[0];
    if (!fast_f32(s->in[0]) || !fast_f32(s->in[1]) || !fast_f32(y)) return PARE_EUNSUPPORTED;
    /* Both go where the first one of ours is; a plain pair is left to the loops. */
    uint32_t lead = 2;
    for (uint32_t i = 2; i-- > 0;)
        if (s->in[i]->layout.kind == PARE_LAYOUT_OWN && fast_same_dims(s->in[i], y)) lead = i;
    if (lead == 2 || !follows(&s->in[lead]->layout, &y->layout)) return PARE_EUNSUPPORTED;
    uint32_t other = 1 - lead;
    bool alike = fast_same_dims(s->in[other], y);
    if (!alike && lead == 1 && !op->commutes) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    uint32_t a = alike ? 0 : lead, b = 1 - a;
    dn_attr attr;
    dn_desc *d = prim_given(dev, s->in[lead]), *d2 = d ? second(s->in[other], y, d) : NULL;
    dn_pd pd = dn_attr_new(&attr) && d && d2 ? dn_binary(dev->engine, op->alg, d, d2, d, &attr) : NULL;
    dn_attr_free(&attr);
    pare_status st = PARE_EUNSUPPORTED;
    if (pd && strstr(dn_pd_name(pd), "ref")) { /* slower than a way through plain */
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    if (pd) {
        prim_build k = prim_new(dev, s, pd);
        prim_in(&k, a, DNNL_ARG_SRC_0, d, NULL);
        prim_in(&k, b, DNNL_ARG_SRC_1, d2, alike ? NULL : d2);
        prim_out(&k, 0, DNNL_ARG_DST, d);
        if (k.k) k.k->in_place = s->in[a]->flags & PARE_OPERAND_CONSTANT ? -1 : (int32_t)a;
        st = prim_done(&k, out);
    }
    dn_desc_free(d);
    dn_desc_free(d2);
    return st;
}
