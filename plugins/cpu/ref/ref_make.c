/* plugins/cpu/ref/ref_make.c - ops that make tensors out of little: Shape, Size, Constant, ConstantOfShape, Range,
 * OneHot, EyeLike, and Trilu.
 *
 * May use: ref_b.h, the C library.
 */
#include "ref_b.h"

#include <math.h>
#include <string.h>

pare_status ref_shape(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t n = x->ndim, start = ref_axis(ref_attr_int(c->spec, "start", 0), x->ndim);
    int64_t end = ref_axis(ref_attr_int(c->spec, "end", n), x->ndim);
    start = start < 0 ? 0 : start > n ? n : start;
    end = end < start ? start : end > n ? n : end;
    if (ref_count(y) != (uint64_t)(end - start)) return PARE_EINVAL;
    for (int64_t i = start; i < end; i++) ref_set_int(c->out[0], y->dtype, (uint64_t)(i - start), x->dims[i]);
    return PARE_OK;
}

pare_status ref_size(const ref_call *c) {
    if (!refb_ok(c, 1, 1) || ref_count(c->spec->out[0]) != 1) return PARE_EINVAL;
    ref_set_int(c->out[0], c->spec->out[0]->dtype, 0, (int64_t)ref_count(c->spec->in[0]));
    return PARE_OK;
}

/* The tensor of an attribute; NULL: none. */
static const pare_operand *attr_tensor(const pare_kernel_spec *s, const char *name) {
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (!strcmp(s->attrs[i]->name, name)) return s->attrs[i]->tensor;
    return NULL;
}

pare_status ref_constant(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 0, 1)) return PARE_EINVAL;
    const pare_operand *y = s->out[0], *value = attr_tensor(s, "value");
    uint64_t n = ref_count(y), n_ints;
    const int64_t *ints = ref_attr_ints(s, "value_ints", &n_ints);
    const pare_attribute *one = ref_attr(s, "value_float"), *floats = ref_attr(s, "value_floats");
    if (value) {
        if (value->dtype != y->dtype || ref_count(value) != n || (n && !value->data)) return PARE_EINVAL;
        refb_move(c->out[0], 0, value->data, 0, n, y->dtype);
    } else if (ints) {
        if (n != n_ints) return PARE_EINVAL;
        for (uint64_t i = 0; i < n; i++) ref_set_int(c->out[0], y->dtype, i, ints[i]);
    } else if (floats) {
        if (floats->type != PARE_ATTRIBUTE_FLOATS || n != floats->n) return PARE_EINVAL;
        for (uint64_t i = 0; i < n; i++) ref_set(c->out[0], y->dtype, i, floats->floats[i]);
    } else if (n == 1 && one) {
        ref_set(c->out[0], y->dtype, 0, one->f);
    } else if (n == 1 && ref_attr(s, "value_int")) {
        ref_set_int(c->out[0], y->dtype, 0, ref_attr_int(s, "value_int", 0));
    } else {
        return PARE_EINVAL;
    }
    return PARE_OK;
}

pare_status ref_constant_of_shape(const ref_call *c) {
    if (!refb_ok(c, 0, 1)) return PARE_EINVAL;
    const pare_operand *y = c->spec->out[0], *value = attr_tensor(c->spec, "value");
    const float zero = 0;
    if (value && (value->dtype != y->dtype || ref_count(value) != 1 || !value->data)) return PARE_EINVAL;
    if (!value && y->dtype != PARE_FLOAT) return PARE_EINVAL;
    for (uint64_t i = 0; i < ref_count(y); i++)
        refb_move(c->out[0], i, value ? value->data : (const void *)&zero, 0, 1, y->dtype);
    return PARE_OK;
}

/* start + i * delta, as many as the output holds. */
pare_status ref_range(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 3, 1)) return PARE_EINVAL;
    const pare_operand *y = s->out[0];
    if (ref_count(s->in[0]) != 1 || ref_count(s->in[2]) != 1) return PARE_EINVAL;
    if (ref_is_int(y->dtype)) {
        uint64_t v = (uint64_t)ref_get_int(c->in[0], s->in[0]->dtype, 0);
        uint64_t delta = (uint64_t)ref_get_int(c->in[2], s->in[2]->dtype, 0);
        for (uint64_t i = 0; i < ref_count(y); i++) ref_set_int(c->out[0], y->dtype, i, (int64_t)(v + i * delta));
    } else {
        double v = ref_get(c->in[0], s->in[0]->dtype, 0), delta = ref_get(c->in[2], s->in[2]->dtype, 0);
        for (uint64_t i = 0; i < ref_count(y); i++) ref_set(c->out[0], y->dtype, i, v + (double)i * delta);
    }
    return PARE_OK;
}

/* Inputs: indices, depth, values (off, on). An index out of range gives a row of off. */
pare_status ref_one_hot(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 3, 1)) return PARE_EINVAL;
    const pare_operand *index = s->in[0], *values = s->in[2], *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), y->ndim);
    if (axis < 0 || axis >= (int64_t)y->ndim || ref_count(values) != 2 || values->dtype != y->dtype) return PARE_EINVAL;
    int64_t depth = y->dims[axis];
    uint64_t n = ref_count(index), inner = refb_product(y->dims + axis + 1, y->ndim - (uint32_t)axis - 1);
    if (ref_count(y) != n * (uint64_t)depth) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        /* Indices may be floats. A NaN is no class. */
        double v = ref_get(c->in[0], index->dtype, i);
        if (v < 0) v += (double)depth;
        for (int64_t d = 0; d < depth; d++) {
            uint64_t at = (i / inner * (uint64_t)depth + (uint64_t)d) * inner + i % inner;
            refb_move(c->out[0], at, c->in[2], trunc(v) == (double)d, 1, y->dtype);
        }
    }
    return PARE_OK;
}

pare_status ref_eye_like(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *y = c->spec->out[0];
    int64_t k = ref_attr_int(c->spec, "k", 0);
    if (y->ndim != 2) return PARE_EINVAL;
    for (uint64_t i = 0; i < ref_count(y); i++) {
        int64_t row = (int64_t)i / y->dims[1], column = (int64_t)i % y->dims[1];
        ref_set(c->out[0], y->dtype, i, column - row == k);
    }
    return PARE_OK;
}

/* Input 1: the diagonal, 0 the main one. */
pare_status ref_trilu(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *y = s->out[0];
    bool upper = ref_attr_int(s, "upper", 1) != 0;
    int64_t k = ref_has(s, 1) && ref_count(s->in[1]) ? ref_get_int(c->in[1], s->in[1]->dtype, 0) : 0;
    const uint8_t zero[16] = {0};
    if (x->ndim < 2 || ref_count(x) != ref_count(y) || x->dtype != y->dtype) return PARE_EINVAL;
    int64_t rows = x->dims[x->ndim - 2], columns = x->dims[x->ndim - 1];
    for (uint64_t i = 0; i < ref_count(y); i++) {
        int64_t row = (int64_t)i / columns % rows, column = (int64_t)i % columns;
        bool keep = upper ? column - row >= k : column - row <= k;
        refb_move(c->out[0], i, keep ? c->in[0] : (const void *)zero, keep ? i : 0, 1, y->dtype);
    }
    return PARE_OK;
}
