/* model/ops_elementwise.c - shape rules of elementwise ops, activations and normalisations. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

/* Output 0 is like input 0. */
pare_status pare_rule_same(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

pare_status pare_rule_same_bool(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, PARE_BOOL, &x);
    return PARE_OK;
}

pare_status pare_rule_dropout(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, x.dtype, &x);
    pare_infer_out_shape(c, 1, c->opset >= 10 ? PARE_BOOL : x.dtype, &x);
    return PARE_OK;
}

static uint32_t dtype_attr(const pare_infer_ctx *c, const char *name, uint32_t dflt) {
    int64_t v = pare_node_attr_int(c->node, name, dflt);
    return v > 0 && v < PARE_DTYPE_COUNT ? (uint32_t)v : PARE_DTYPE_UNKNOWN;
}

pare_status pare_rule_cast(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, dtype_attr(c, "to", PARE_DTYPE_UNKNOWN), &x);
    return PARE_OK;
}

pare_status pare_rule_cast_like(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, pare_infer_dtype(c, 1), &x);
    return PARE_OK;
}

/* All inputs from `first` on, broadcast. Before opset 7 (Min, Max, Sum, Mean: 8) the output was like the first. */
static pare_status broadcast_all(pare_infer_ctx *c, uint32_t first, uint32_t dtype) {
    pare_shape s, b;
    pare_infer_in(c, first, &s);
    for (uint32_t i = first + 1; i < c->node->n_in && c->opset >= 7; i++) {
        pare_infer_in(c, i, &b);
        pare_status st = pare_infer_broadcast(c, &s, &b);
        if (st) return st;
    }
    pare_infer_out_shape(c, 0, dtype, &s);
    return PARE_OK;
}

pare_status pare_rule_nary(pare_infer_ctx *c) { return broadcast_all(c, 0, pare_infer_dtype(c, 0)); }
pare_status pare_rule_compare(pare_infer_ctx *c) { return broadcast_all(c, 0, PARE_BOOL); }

/* Where(condition, X, Y) */
pare_status pare_rule_where(pare_infer_ctx *c) {
    uint32_t dtype = pare_infer_dtype(c, 1);
    return broadcast_all(c, 0, dtype ? dtype : pare_infer_dtype(c, 2));
}

/* ---- normalisations ---- */

/* Input i has one number per channel of x (dim 1), where both are known. */
static pare_status per_channel(pare_infer_ctx *c, const pare_shape *x, uint32_t i, const char *what) {
    pare_shape s;
    pare_infer_in(c, i, &s);
    if (x->ndim < 2 || s.ndim != 1 || !pare_dim_known(x->d[1]) || !pare_dim_known(s.d[0])) return PARE_OK;
    if (s.d[0].value == x->d[1].value) return PARE_OK;
    return pare_infer_fail(c, "model.shape", "%s has %lld numbers, but the input %s has %lld channels", what,
                           (long long)s.d[0].value, pare_shape_text(c, x), (long long)x->d[1].value);
}

/* BatchNormalization(X, scale, B, mean, var) -> Y and, in training, statistics per channel. Before opset 9, `spatial`
 * 0 meant statistics per element. */
pare_status pare_rule_batch_norm(pare_infer_ctx *c) {
    static const char *const names[] = {"X", "scale", "B", "mean", "var"};
    pare_shape x, s;
    pare_infer_in(c, 0, &x);
    bool spatial = c->opset >= 9 || pare_node_attr_int(c->node, "spatial", 1);
    for (uint32_t i = 1; i < 5 && spatial; i++) {
        pare_status st = per_channel(c, &x, i, names[i]);
        if (st) return st;
    }
    pare_infer_out_shape(c, 0, x.dtype, &x);
    for (uint32_t i = 1; i < c->node->n_out; i++) {
        pare_infer_in(c, 3 + (i - 1) % 2, &s); /* mean, var, and before opset 14 saved_mean, saved_var */
        pare_infer_out_shape(c, i, s.dtype, &s);
    }
    return PARE_OK;
}

pare_status pare_rule_instance_norm(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_status st = per_channel(c, &x, 1, "scale");
    if (!st) st = per_channel(c, &x, 2, "B");
    if (st) return st;
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

/* LayerNormalization(X, Scale, B) -> Y, Mean, InvStdDev: the latter with the normalised dims 1. */
pare_status pare_rule_layer_norm(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, x.dtype, &x);
    uint32_t stash = dtype_attr(c, "stash_type", PARE_FLOAT);
    int32_t axis = 0;
    if (x.ndim > 0) {
        pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", -1), x.ndim, &axis);
        if (st) return st;
        for (int32_t i = axis; i < x.ndim; i++) x.d[i] = pare_dim_of(1);
    }
    pare_infer_out_shape(c, 1, stash, &x);
    pare_infer_out_shape(c, 2, stash, &x);
    return PARE_OK;
}

/* ---- quantization ---- */

/* Scale of a per-axis Q/DQ has one number per slice of x. */
static pare_status scale_fits(pare_infer_ctx *c, const pare_shape *x) {
    pare_shape s;
    pare_infer_in(c, 1, &s);
    if (c->opset < 13 || pare_node_attr_int(c->node, "block_size", 0) || x->ndim < 1 || s.ndim != 1) return PARE_OK;
    if (!pare_dim_known(s.d[0]) || s.d[0].value == 1) return PARE_OK;
    int64_t axis = pare_node_attr_int(c->node, "axis", 1);
    int32_t at = 0;
    if (x->ndim == 1 && axis == 1) axis = 0; /* the default of an input with one dim */
    pare_status st = pare_infer_axis(c, "axis", axis, x->ndim, &at);
    if (st || !pare_dim_known(x->d[at]) || x->d[at].value == s.d[0].value) return st;
    return pare_infer_fail(c, "model.shape", "the scale has %lld numbers, but dim %d of the input %s is %lld",
                           (long long)s.d[0].value, at, pare_shape_text(c, x), (long long)x->d[at].value);
}

pare_status pare_rule_quantize(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    uint32_t dtype = dtype_attr(c, "output_dtype", PARE_DTYPE_UNKNOWN);
    if (!dtype) dtype = pare_infer_has(c, 2) ? pare_infer_dtype(c, 2) : PARE_UINT8;
    pare_infer_out_shape(c, 0, dtype, &x);
    return scale_fits(c, &x);
}

pare_status pare_rule_dequantize(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    uint32_t dtype = dtype_attr(c, "output_dtype", PARE_DTYPE_UNKNOWN);
    if (!dtype) dtype = c->opset >= 19 ? pare_infer_dtype(c, 1) : PARE_FLOAT;
    pare_infer_out_shape(c, 0, dtype, &x);
    return scale_fits(c, &x);
}

/* DynamicQuantizeLinear(x) -> y, y_scale, y_zero_point */
pare_status pare_rule_dynamic_quantize(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_shape(c, 0, PARE_UINT8, &x);
    pare_infer_out(c, 1, PARE_FLOAT, 0, NULL);
    pare_infer_out(c, 2, PARE_UINT8, 0, NULL);
    return PARE_OK;
}
