/* model/ops_reduce.c - rules of reductions and of ops that search. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

/* Reduce*(data, axes): axes is an attribute before opset 13 (ReduceSum) or 18. */
pare_status pare_rule_reduce(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    bool known, gone[PARE_RANK_MAX] = {false};
    int64_t n, axes[PARE_RANK_MAX];
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_status st = pare_infer_axes(c, 1, x.ndim, &known, &n, axes);
    if (st) return st;
    bool keep = pare_node_attr_int(c->node, "keepdims", 1) == 1;
    bool noop = pare_node_attr_int(c->node, "noop_with_empty_axes", 0) != 0;
    bool all = known && n <= 0 && !noop;
    if (all && !keep) {
        pare_infer_out_shape(c, 0, x.dtype, &y);
        return PARE_OK;
    }
    if (x.ndim < 0) return PARE_OK;
    if (!known) {
        int64_t rank = keep ? x.ndim : n > 0 ? x.ndim - n : -1;
        for (int64_t i = 0; i < rank; i++) pare_shape_grow(&y, pare_dim_of(-1));
        if (rank < 0) y.ndim = -1;
    } else {
        for (int64_t i = 0; i < n; i++) gone[axes[i]] = true;
        for (int32_t i = 0; i < x.ndim; i++) {
            if (!gone[i] && !all)
                pare_shape_grow(&y, x.d[i]);
            else if (keep)
                pare_shape_grow(&y, pare_dim_of(1));
        }
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ArgMax, ArgMin */
pare_status pare_rule_arg_reduce(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    int32_t axis = 0;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, PARE_INT64);
    if (x.ndim < 1) return PARE_OK;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", 0), x.ndim, &axis);
    if (st) return st;
    bool keep = pare_node_attr_int(c->node, "keepdims", 1) == 1;
    for (int32_t i = 0; i < x.ndim; i++) {
        if (i != axis)
            pare_shape_grow(&y, x.d[i]);
        else if (keep)
            pare_shape_grow(&y, pare_dim_of(1));
    }
    pare_infer_out_shape(c, 0, PARE_INT64, &y);
    return PARE_OK;
}

/* TopK(X, K) -> Values, Indices; K is an attribute before opset 10. */
pare_status pare_rule_topk(pare_infer_ctx *c) {
    pare_shape x;
    int32_t axis = 0;
    const int64_t *k = NULL;
    size_t n = 0;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_infer_out_unknown(c, 1, PARE_INT64);
    if (x.ndim < 1) return PARE_OK;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", -1), x.ndim, &axis);
    if (st) return st;
    int64_t top = c->opset < 10 ? pare_node_attr_int(c->node, "k", -1) : -1;
    if (c->opset >= 10 && pare_infer_const_ints(c, 1, &k, &n) && n == 1) top = k[0];
    if (top >= 0 && pare_dim_known(x.d[axis]) && top > x.d[axis].value)
        return pare_infer_fail(c, "model.shape", "k is %lld, but dim %d of %s has fewer", (long long)top, axis,
                               pare_shape_text(c, &x));
    x.d[axis] = pare_dim_of(top);
    pare_infer_out_shape(c, 0, x.dtype, &x);
    pare_infer_out_shape(c, 1, PARE_INT64, &x);
    return PARE_OK;
}

/* OneHot(indices, depth, values): a dim of `depth` joins at axis. */
pare_status pare_rule_one_hot(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    int32_t axis = 0;
    const int64_t *depth = NULL;
    size_t n = 0;
    uint32_t dtype = pare_infer_dtype(c, 2);
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, dtype);
    if (x.ndim < 0) return PARE_OK;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", -1), x.ndim + 1, &axis);
    if (st) return st;
    bool known = pare_infer_const_ints(c, 1, &depth, &n) && n == 1;
    for (int32_t i = 0; i <= x.ndim; i++)
        pare_shape_grow(&y, i == axis ? pare_dim_of(known ? depth[0] : -1) : x.d[i - (i > axis)]);
    pare_infer_out_shape(c, 0, dtype, &y);
    return PARE_OK;
}

/* NonZero(X) -> (rank, how many) */
pare_status pare_rule_nonzero(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 2, .d = {pare_dim_of(-1), pare_dim_of(-1)}};
    pare_infer_in(c, 0, &x);
    if (x.ndim > 0) y.d[0] = pare_dim_of(x.ndim); /* of a scalar, runtimes disagree */
    pare_infer_out_shape(c, 0, PARE_INT64, &y);
    return PARE_OK;
}
