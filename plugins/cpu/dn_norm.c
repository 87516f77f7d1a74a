/* cpu/dn_norm.c - BatchNormalization (inference), Softmax, LogSoftmax and LRN in float32 by oneDNN. */
#include "prim.h"

/* One primitive whose source and destination are alike; scale and shift are inputs 1 and 2, mean and variance 3 and 4.
 */
static pare_status alike(cpu_device *dev, const pare_kernel_spec *s, dn_pd pd, const dn_desc *d, const dn_desc *view,
                         bool scale, bool shift, bool stats, cpu_kernel **out) {
    if (!pd) return PARE_EUNSUPPORTED;
    prim_build k = prim_new(dev, s, pd);
    prim_in(&k, 0, DNNL_ARG_SRC, d, view);
    int64_t n = scale ? (int64_t)ref_count(s->in[1]) : 0;
    dn_desc *row = n ? dn_desc_strided(1, &n, NULL, dnnl_f32) : NULL;
    if (scale) prim_in(&k, 1, DNNL_ARG_SCALE, row, row);
    if (shift) prim_in(&k, 2, DNNL_ARG_SHIFT, row, row);
    if (stats) {
        prim_in(&k, 3, DNNL_ARG_MEAN, row, row);
        prim_in(&k, 4, DNNL_ARG_VARIANCE, row, row);
    }
    prim_out(&k, 0, DNNL_ARG_DST, d);
    if (k.k) k.k->in_place = 0;
    dn_desc_free(row);
    return prim_done(&k, out);
}

/* Is the output free to lie as the input does? */
static bool follows(const pare_kernel_spec *s) {
    const pare_layout *x = &s->in[0]->layout, *y = &s->out[0]->layout;
    return y->kind == PARE_LAYOUT_ANY || (y->kind == x->kind && y->id == x->id) ||
           (y->kind == PARE_LAYOUT_PLAIN && x->kind == PARE_LAYOUT_ANY);
}

static pare_status batchnorm(cpu_device *dev, const pare_kernel_spec *s, cpu_kernel **out) {
    const pare_operand *x = s->in[0];
    if (s->n_in < 5 || fast_out(s, 1) || x->ndim < 2 || x->ndim > 5 || ref_attr_int(s, "training_mode", 0) ||
        !follows(s))
        return PARE_EUNSUPPORTED;
    for (uint32_t i = 1; i < 5; i++)
        if (!fast_in(s, i) || !fast_f32(s->in[i]) || (int64_t)ref_count(s->in[i]) != x->dims[1])
            return PARE_EUNSUPPORTED;
    dn_attr a;
    dn_desc *d = prim_given(dev, x);
    float epsilon = (float)ref_attr_float(s, "epsilon", 1e-5);
    dn_pd pd = dn_attr_new(&a) && d ? dn_batchnorm(dev->engine, d, epsilon, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = alike(dev, s, pd, d, NULL, true, true, true, out);
    dn_desc_free(d);
    return st;
}

static pare_status softmax(cpu_device *dev, const pare_kernel_spec *s, bool log, cpu_kernel **out) {
    const pare_operand *x = s->in[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), x->ndim);
    if (axis < 0 || axis >= x->ndim) return PARE_EUNSUPPORTED;
    int64_t dims[3] = {fast_product(x->dims, 0, (uint32_t)axis), x->dims[axis],
                       fast_product(x->dims, (uint32_t)axis + 1, x->ndim)};
    dn_attr a;
    dn_desc *d = dn_desc_strided(dims[2] == 1 ? 2 : 3, dims, NULL, dnnl_f32);
    dn_pd pd = dn_attr_new(&a) && d ? dn_softmax(dev->engine, log, d, 1, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = alike(dev, s, pd, d, d, false, false, false, out);
    dn_desc_free(d);
    return st;
}

static pare_status lrn(cpu_device *dev, const pare_kernel_spec *s, cpu_kernel **out) {
    const pare_operand *x = s->in[0];
    int64_t size = ref_attr_int(s, "size", 0);
    if (x->ndim != 4 || size < 1 || size % 2 == 0 || !follows(s)) return PARE_EUNSUPPORTED;
    dn_attr a;
    dn_desc *d = prim_given(dev, x);
    float alpha = (float)ref_attr_float(s, "alpha", 1e-4), beta = (float)ref_attr_float(s, "beta", 0.75),
          bias = (float)ref_attr_float(s, "bias", 1);
    dn_pd pd = dn_attr_new(&a) && d ? dn_lrn(dev->engine, d, size, alpha, beta, bias, &a) : NULL;
    dn_attr_free(&a);
    pare_status st = alike(dev, s, pd, d, NULL, false, false, false, out);
    if (!st) (*out)->in_place = -1; /* it looks at its neighbours */
    dn_desc_free(d);
    return st;
}

pare_status cpu_make_norm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    bool bn = fast_is(s, "BatchNormalization"), log = fast_is(s, "LogSoftmax"), sm = log || fast_is(s, "Softmax");
    if (!bn && !sm && !fast_is(s, "LRN")) return PARE_EUNSUPPORTED;
    if (!fast_in(s, 0) || !fast_f32(s->in[0]) || !fast_f32(s->out[0]) || !s->in[0]->ndim) return PARE_EUNSUPPORTED;
    if (sm && s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    return bn ? batchnorm(dev, s, out) : sm ? softmax(dev, s, log, out) : lrn(dev, s, out);
}
