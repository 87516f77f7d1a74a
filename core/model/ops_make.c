/* model/ops_make.c - rules of ops that make tensors from attributes, shapes or numbers. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

pare_status pare_rule_shape(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 1};
    pare_infer_in(c, 0, &x);
    y.d[0] = pare_dim_of(-1);
    if (x.ndim >= 0) {
        int64_t from = pare_node_attr_int(c->node, "start", 0), to = pare_node_attr_int(c->node, "end", x.ndim);
        if (from < 0) from = from < -x.ndim ? 0 : from + x.ndim;
        if (to < 0) to = to < -x.ndim ? 0 : to + x.ndim;
        if (to > x.ndim) to = x.ndim;
        y.d[0] = pare_dim_of(from < to ? to - from : 0);
    }
    pare_infer_out_shape(c, 0, PARE_INT64, &y);
    return PARE_OK;
}

pare_status pare_rule_size(pare_infer_ctx *c) {
    pare_infer_out(c, 0, PARE_INT64, 0, NULL);
    return PARE_OK;
}

/* ---- constants ---- */

static void out_tensor(pare_infer_ctx *c, const pare_tensor *t) {
    pare_shape y = {.ndim = 0};
    for (uint32_t i = 0; i < t->ndim; i++) pare_shape_grow(&y, pare_dim_of(t->dims[i]));
    pare_infer_out_shape(c, 0, t->dtype, &y);
}

pare_status pare_rule_constant(pare_infer_ctx *c) {
    static const struct {
        const char *name;
        pare_attr_type type;
        uint32_t dtype;
    } forms[] = {{"value_float", PARE_ATTR_FLOAT, PARE_FLOAT},    {"value_floats", PARE_ATTR_FLOATS, PARE_FLOAT},
                 {"value_int", PARE_ATTR_INT, PARE_INT64},        {"value_ints", PARE_ATTR_INTS, PARE_INT64},
                 {"value_string", PARE_ATTR_STRING, PARE_STRING}, {"value_strings", PARE_ATTR_STRINGS, PARE_STRING}};
    const pare_attr *a = pare_node_attr(c->node, "value");
    const pare_tensor *t = a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(c->model, a->ids[0]) : NULL;
    if (t) {
        out_tensor(c, t);
        return PARE_OK;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!(a = pare_node_attr(c->node, forms[i].name)) || a->type != forms[i].type || a->ref_attr_name) continue;
        pare_dim n = pare_dim_of((int64_t)a->n);
        bool list = a->type == PARE_ATTR_FLOATS || a->type == PARE_ATTR_INTS || a->type == PARE_ATTR_STRINGS;
        pare_infer_out(c, 0, forms[i].dtype, list ? 1 : 0, &n);
    }
    return PARE_OK;
}

/* ConstantOfShape(shape): the attribute's one element gives dtype and value, float32 0 without it. */
pare_status pare_rule_constant_of_shape(pare_infer_ctx *c) {
    pare_shape s, y = {.ndim = 0};
    const pare_attr *a = pare_node_attr(c->node, "value");
    const pare_tensor *t = a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(c->model, a->ids[0]) : NULL;
    uint32_t dtype = t ? t->dtype : PARE_FLOAT;
    pare_infer_out_unknown(c, 0, dtype);
    const pare_numbers *k = pare_infer_numbers(c, 0);
    pare_infer_in(c, 0, &s);
    if (k && k->ndim == 1) {
        for (uint32_t i = 0; i < k->n; i++) {
            if (k->e[i].known && k->e[i].v < 0)
                return pare_infer_fail(c, "model.shape", "dim %u of the shape is %lld, allowed is 0 and up", i,
                                       (long long)k->e[i].v);
            pare_dim d = {.value = k->e[i].known ? k->e[i].v : -1, .symbol = k->e[i].symbol};
            pare_shape_grow(&y, d);
        }
    } else if (s.ndim == 1 && pare_dim_known(s.d[0]) && s.d[0].value <= PARE_RANK_MAX) {
        for (int64_t i = 0; i < s.d[0].value; i++) pare_shape_grow(&y, pare_dim_of(-1));
    } else {
        return PARE_OK;
    }
    pare_infer_out_shape(c, 0, dtype, &y);
    return PARE_OK;
}

/* A constant of one double or int16. */
static bool other_number(pare_infer_ctx *c, uint32_t i, double *out) {
    pare_tensor *t = pare_infer_tensor(c, i);
    const void *data = NULL;
    if (!t || t->count != 1 || (t->dtype != PARE_DOUBLE && t->dtype != PARE_INT16)) return false;
    if (pare_tensor_read(t, NULL, &data) || !data) return false;
    *out = t->dtype == PARE_DOUBLE ? *(const double *)data : *(const int16_t *)data;
    return true;
}

/* Range(start, limit, delta): constants, or a length that isn't known. */
pare_status pare_rule_range(pare_infer_ctx *c) {
    pare_dim n = pare_dim_of(-1);
    const int64_t *v[3];
    const float *f[3];
    size_t len;
    bool ints = true, floats = true, others = true;
    double x[3];
    for (uint32_t i = 0; i < 3; i++) {
        others = others && other_number(c, i, &x[i]);
        ints = ints && pare_infer_const_ints(c, i, &v[i], &len) && len == 1;
        floats = floats && pare_infer_const_floats(c, i, &f[i], &len) && len == 1;
    }
    if ((ints && !v[2][0]) || (floats && f[2][0] == 0.0f) || (others && x[2] == 0))
        return pare_infer_fail(c, "model.shape", "delta is 0");
    double steps = -1;
    int64_t span;
    if (ints && !__builtin_sub_overflow(v[1][0], v[0][0], &span)) {
        int64_t d = v[2][0];
        if ((span > 0) != (d > 0) || !span)
            n = pare_dim_of(0);
        else if (d != INT64_MIN && span != INT64_MIN)
            n = pare_dim_of(span / d + (span % d != 0));
    } else if (floats || others) {
        steps = floats ? (double)(f[1][0] - f[0][0]) / (double)f[2][0] : (x[1] - x[0]) / x[2];
        if (steps <= 0) n = pare_dim_of(0);
        if (steps > 0 && steps < 9e15) n = pare_dim_of((int64_t)steps + ((double)(int64_t)steps < steps));
    }
    pare_infer_out(c, 0, pare_infer_dtype(c, 0), 1, &n);
    return PARE_OK;
}

/* ---- filled tensors: RandomNormal, RandomUniform; EyeLike, RandomNormalLike, …, Bernoulli ---- */

static uint32_t fill_dtype(const pare_infer_ctx *c, uint32_t dflt) {
    int64_t v = pare_node_attr_int(c->node, "dtype", dflt);
    return v > 0 && v < PARE_DTYPE_COUNT ? (uint32_t)v : PARE_DTYPE_UNKNOWN;
}

pare_status pare_rule_fill(pare_infer_ctx *c) {
    pare_shape y = {.ndim = 0};
    const pare_attr *a = pare_node_attr(c->node, "shape");
    uint32_t dtype = fill_dtype(c, PARE_FLOAT);
    pare_infer_out_unknown(c, 0, dtype);
    if (!a || a->type != PARE_ATTR_INTS) return PARE_OK;
    for (size_t i = 0; i < a->n && pare_shape_grow(&y, pare_dim_of(a->ints[i])); i++)
        if (a->ints[i] < 0)
            return pare_infer_fail(c, "model.attribute", "shape has the dim %lld, allowed is 0 and up",
                                   (long long)a->ints[i]);
    pare_infer_out_shape(c, 0, dtype, &y);
    return PARE_OK;
}

pare_status pare_rule_fill_like(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, fill_dtype(c, x.dtype), &x);
    return PARE_OK;
}
