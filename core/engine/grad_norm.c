/* engine/grad_norm.c - gradients of normalisations, softmax and cross-entropy. See grad_parts.h. */
#include "engine/grad_parts.h"

#include "model/array.h"

#include <math.h>

#define OP PARE_GRAD_OP
#define OWN PARE_GRAD_OWN

/* x, scale and bias from one node's three outputs. */
static void give_three(pare_grad *g, const pare_node *n, uint32_t first) {
    pare_grad_give(g, n, 0, first);
    pare_grad_give(g, n, 1, pare_grad_output(g, first, 1));
    pare_grad_give(g, n, 2, pare_grad_output(g, first, 2));
}

void pare_grad_rule_batch_norm_train(pare_grad *g, const pare_node *n) {
    uint32_t bias = pare_node_attr_int(n, "relu", 0) ? n->in[2] : 0; /* y comes of x again: one tensor less to read */
    uint32_t first =
        OWN(g, "BatchNormGrad", 3, pare_grad_dy(g, n, 0), n->in[0], n->in[1], n->out[3], n->out[4], 0, bias);
    pare_grad_attrs(g, first, n);
    give_three(g, n, first);
}

/* (C) to (C, 1, ...), as a channel's number is broadcast over an image. */
static uint32_t by_channel(pare_grad *g, uint32_t v, int32_t rank) {
    int64_t axes[PARE_ARRAY_DIMS];
    size_t k = 0;
    for (int32_t i = 1; i < rank - 1; i++) axes[k++] = i;
    return k ? OP(g, "Unsqueeze", v, pare_grad_ints(g, axes, k)) : v;
}

/* With statistics that stay: y = (x - mean) * scale / sqrt(var + epsilon) + bias, a product by channel. */
void pare_grad_rule_batch_norm(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), x = n->in[0], dtype = pare_grad_dtype(g, n->in[1]);
    int32_t rank = pare_grad_rank(g, x);
    int64_t axes[PARE_ARRAY_DIMS];
    size_t k = 0;
    if (rank < 2 || rank > PARE_ARRAY_DIMS || pare_node_attr_int(n, "training_mode", 0)) {
        pare_grad_refuse(g, n, rank < 2 ? "its rank is not known" : "training_mode is on in the file");
        return;
    }
    for (int32_t i = 0; i < rank; i++)
        if (i != 1) axes[k++] = i;
    double eps = (double)pare_node_attr_float(n, "epsilon", 1e-5f);
    uint32_t std = OP(g, "Sqrt", OP(g, "Add", n->in[4], pare_grad_number(g, dtype, eps)));
    if (pare_grad_wants(g, n, 0))
        pare_grad_give(g, n, 0, OP(g, "Mul", dy, by_channel(g, OP(g, "Div", n->in[1], std), rank)));
    if (pare_grad_wants(g, n, 1)) {
        uint32_t centred = OP(g, "Sub", x, by_channel(g, n->in[3], rank));
        uint32_t sum = OP(g, "ReduceSum", OP(g, "Mul", dy, centred), pare_grad_ints(g, axes, k));
        pare_grad_attr_int(g, sum, "keepdims", 0);
        pare_grad_give(g, n, 1, OP(g, "Div", sum, std));
    }
    if (pare_grad_wants(g, n, 2)) {
        uint32_t sum = OP(g, "ReduceSum", dy, pare_grad_ints(g, axes, k));
        pare_grad_attr_int(g, sum, "keepdims", 0);
        pare_grad_give(g, n, 2, sum);
    }
}

static void own_norm(pare_grad *g, const pare_node *n, const char *op) {
    bool bias = pare_grad_in(n, 2) != 0;
    uint32_t first = pare_grad_node(g, PARE_GRAD_DOMAIN, op, bias ? 3 : 2,
                                    (uint32_t[]){pare_grad_dy(g, n, 0), n->in[0], pare_grad_in(n, 1)}, 3);
    pare_grad_attrs(g, first, n);
    pare_grad_give(g, n, 0, first);
    pare_grad_give(g, n, 1, pare_grad_output(g, first, 1));
    if (bias) pare_grad_give(g, n, 2, pare_grad_output(g, first, 2));
}

/* The kernel takes a scale of the normalised dims, and a bias like it. Others may be broadcast to x: then the scale is
 * a product of its own behind a normalisation without one. */
void pare_grad_rule_layer_norm(pare_grad *g, const pare_node *n) {
    uint32_t x = n->in[0], scale = n->in[1], bias = pare_grad_in(n, 2), dy = pare_grad_dy(g, n, 0);
    const pare_value *xv = pare_model_value(g->m, x), *sv = pare_model_value(g->m, scale);
    int64_t axis = pare_node_attr_int(n, "axis", -1);
    bool plain = xv->ndim > 0 && sv->ndim > 0 && (!bias || pare_grad_same_dims(g, scale, bias));
    if (axis < 0) axis += xv->ndim;
    plain = plain && sv->ndim == xv->ndim - axis;
    for (int32_t i = 0; plain && i < sv->ndim; i++) plain = pare_grad_same_dim(&sv->dims[i], &xv->dims[axis + i]);
    if (plain) {
        own_norm(g, n, "LayerNormGrad");
        return;
    }
    if (xv->ndim <= 0 || axis < 0 || axis >= xv->ndim) {
        pare_grad_refuse(g, n, "its rank is not known");
        return;
    }
    uint32_t dtype = pare_grad_dtype(g, x);
    int64_t axes[PARE_ARRAY_DIMS];
    for (int64_t i = axis; i < xv->ndim; i++) axes[i - axis] = i;
    uint32_t over = pare_grad_ints(g, axes, (size_t)(xv->ndim - axis));
    uint32_t centred = OP(g, "Sub", x, OP(g, "ReduceMean", x, over));
    uint32_t var = OP(g, "ReduceMean", OP(g, "Mul", centred, centred), over);
    double eps = (double)pare_node_attr_float(n, "epsilon", 1e-5f);
    uint32_t std = OP(g, "Sqrt", OP(g, "Add", var, pare_grad_number(g, dtype, eps)));
    uint32_t xhat = OP(g, "Div", centred, std);
    if (pare_grad_wants(g, n, 0)) {
        uint32_t d = OP(g, "Mul", dy, scale);
        uint32_t mean = OP(g, "ReduceMean", d, over), along = OP(g, "ReduceMean", OP(g, "Mul", d, xhat), over);
        uint32_t rest = OP(g, "Sub", OP(g, "Sub", d, mean), OP(g, "Mul", xhat, along));
        pare_grad_give(g, n, 0, OP(g, "Div", rest, std));
    }
    uint32_t product = pare_grad_wants(g, n, 1) ? OP(g, "Mul", dy, xhat) : 0;
    if (product) pare_grad_like(g, product, x);
    if (product) pare_grad_give(g, n, 1, pare_grad_sum_to(g, product, scale));
    if (pare_grad_wants(g, n, 2)) pare_grad_give(g, n, 2, pare_grad_sum_to(g, dy, bias));
}
void pare_grad_rule_instance_norm(pare_grad *g, const pare_node *n) { own_norm(g, n, "InstanceNormGrad"); }
void pare_grad_rule_group_norm(pare_grad *g, const pare_node *n) { own_norm(g, n, "GroupNormGrad"); }

void pare_grad_rule_lrn(pare_grad *g, const pare_node *n) {
    uint32_t dx = OWN(g, "LRNGrad", 1, pare_grad_dy(g, n, 0), n->in[0], n->out[0]);
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

/* y = x / r with r the p-norm along an axis: dx = (dy - y * sum(dy * y)) / r for p = 2; for p = 1 sign(x) for y. */
void pare_grad_rule_lp_norm(pare_grad *g, const pare_node *n) {
    int64_t axis = pare_node_attr_int(n, "axis", -1), p = pare_node_attr_int(n, "p", 2);
    uint32_t dy = pare_grad_dy(g, n, 0), x = n->in[0], y = n->out[0];
    uint32_t norm = OP(g, p == 1 ? "ReduceL1" : "ReduceL2", x, pare_grad_ints(g, &axis, 1));
    uint32_t along = OP(g, "ReduceSum", OP(g, "Mul", dy, y), pare_grad_ints(g, &axis, 1));
    uint32_t slope = p == 1 ? OP(g, "Sign", x) : y, dtype = pare_grad_dtype(g, x);
    /* where all are 0, y is, and nothing flows */
    uint32_t none = OP(g, "Equal", norm, pare_grad_number(g, dtype, 0));
    uint32_t safe = OP(g, "Where", none, pare_grad_number(g, dtype, INFINITY), norm);
    pare_grad_give(g, n, 0, OP(g, "Div", OP(g, "Sub", dy, OP(g, "Mul", slope, along)), safe));
}

static void by_output(pare_grad *g, const pare_node *n, const char *op) {
    uint32_t dx = pare_grad_node(g, PARE_GRAD_DOMAIN, op, 1, (uint32_t[]){pare_grad_dy(g, n, 0), n->out[0]}, 2);
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_softmax(pare_grad *g, const pare_node *n) { by_output(g, n, "SoftmaxGrad"); }
void pare_grad_rule_log_softmax(pare_grad *g, const pare_node *n) { by_output(g, n, "LogSoftmaxGrad"); }

void pare_grad_rule_softmax_cross_entropy(pare_grad *g, const pare_node *n) {
    const pare_attr *how = pare_node_attr(n, "reduction");
    if (pare_grad_in(n, 2) || (how && how->s.len && how->s.data[0] == 'n')) {
        pare_grad_refuse(g, n, "with class weights or without a reduction it is not differentiated");
        return;
    }
    if (!pare_grad_dy(g, n, 0) || pare_grad_dy(g, n, 1)) {
        pare_grad_refuse(g, n, "its log_prob output takes part in the loss");
        return;
    }
    uint32_t dx = OWN(g, "SoftmaxCrossEntropyGrad", 1, pare_grad_dy(g, n, 0), n->in[0], n->in[1]);
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_soft_cross_entropy(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, OWN(g, "SoftCrossEntropyGrad", 1, pare_grad_dy(g, n, 0), n->in[0], n->in[1]));
}
