/* engine/grad_reduce.c - gradients of reductions. See grad_parts.h.
 *
 * What a reduction without keepdims takes away is put back by a Reshape to the dims that keepdims would have left; the
 * rest is broadcasting.
 */
#include "engine/grad_parts.h"

#include "model/array.h"
#include "model/edit.h"

#define OP PARE_GRAD_OP

/* v, of the output's dims, with the reduced dims as ones. 0 and a refusal where the axes are not known. */
static uint32_t kept(pare_grad *g, const pare_node *n, uint32_t v) {
    if (pare_node_attr_int(n, "keepdims", 1)) return v;
    int32_t rank = pare_grad_rank(g, n->in[0]);
    pare_tensor *t = NULL;
    if (pare_grad_in(n, 1)) t = pare_model_tensor(g->m, pare_model_value(g->m, n->in[1])->tensor);
    if (rank < 0 || rank > PARE_ARRAY_DIMS || (pare_grad_in(n, 1) && !t)) {
        pare_grad_refuse(g, n, rank < 0 ? "its rank is not known" : "its axes are not constant");
        return 0;
    }
    if (!t || !t->count) { /* all of them, to (1, 1, ...); or none */
        int64_t ones[PARE_ARRAY_DIMS];
        if (!rank || pare_node_attr_int(n, "noop_with_empty_axes", 0)) return v;
        for (int32_t i = 0; i < rank; i++) ones[i] = 1;
        return OP(g, "Reshape", v, pare_grad_ints(g, ones, (size_t)rank));
    }
    return OP(g, "Unsqueeze", v, n->in[1]);
}

/* v spread over the dims of x, where a product with x-sized values won't do it. */
static uint32_t spread(pare_grad *g, const pare_node *n, uint32_t v) {
    return v ? OP(g, "Expand", v, OP(g, "Shape", n->in[0])) : 0;
}

/* The reduction itself over another tensor, keeping dims. */
static uint32_t again(pare_grad *g, const pare_node *n, const char *op, uint32_t v) {
    uint32_t r = OP(g, op, v, pare_grad_in(n, 1));
    pare_grad_attrs(g, r, n);
    pare_grad_attr_int(g, r, "keepdims", 1);
    return r;
}

static uint32_t number(pare_grad *g, const pare_node *n, double v) {
    return pare_grad_number(g, pare_grad_dtype(g, n->in[0]), v);
}

void pare_grad_rule_reduce_sum(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, spread(g, n, kept(g, n, pare_grad_dy(g, n, 0))));
}

/* As many elements as were averaged: size of x over size of y. */
void pare_grad_rule_reduce_mean(pare_grad *g, const pare_node *n) {
    uint32_t sizes[2] = {OP(g, "Cast", OP(g, "Size", n->out[0])), OP(g, "Cast", OP(g, "Size", n->in[0]))};
    for (int i = 0; i < 2; i++) pare_grad_attr_int(g, sizes[i], "to", pare_grad_dtype(g, n->in[0]));
    uint32_t part = OP(g, "Mul", pare_grad_dy(g, n, 0), OP(g, "Div", sizes[0], sizes[1]));
    pare_grad_give(g, n, 0, spread(g, n, kept(g, n, part)));
}

/* ReduceMin too: in equal parts to the elements that are the extreme one, as PyTorch's amax. */
void pare_grad_rule_reduce_max(pare_grad *g, const pare_node *n) {
    uint32_t y = kept(g, n, n->out[0]);
    if (!y) return;
    uint32_t hit = OP(g, "Cast", OP(g, "Equal", n->in[0], y));
    pare_grad_attr_int(g, hit, "to", pare_grad_dtype(g, n->in[0]));
    uint32_t hits = again(g, n, "ReduceSum", hit);
    pare_grad_give(g, n, 0, OP(g, "Mul", hit, OP(g, "Div", kept(g, n, pare_grad_dy(g, n, 0)), hits)));
}

/* The product of the others: y / x; where one element is 0 that one alone has it, and of more nobody. */
void pare_grad_rule_reduce_prod(pare_grad *g, const pare_node *n) {
    uint32_t x = n->in[0], dy = kept(g, n, pare_grad_dy(g, n, 0));
    if (!dy) return;
    uint32_t zero = OP(g, "Equal", x, number(g, n, 0)), zeros = OP(g, "Cast", zero);
    pare_grad_attr_int(g, zeros, "to", pare_grad_dtype(g, x));
    uint32_t count = again(g, n, "ReduceSum", zeros), safe = OP(g, "Where", zero, number(g, n, 1), x);
    uint32_t rest = OP(g, "Mul", dy, again(g, n, "ReduceProd", safe));
    uint32_t one = OP(g, "Where", OP(g, "Equal", count, number(g, n, 1)), zeros, number(g, n, 0));
    uint32_t part = OP(g, "Where", OP(g, "Equal", count, number(g, n, 0)), OP(g, "Reciprocal", safe), one);
    pare_grad_give(g, n, 0, OP(g, "Mul", rest, part));
}

void pare_grad_rule_reduce_l1(pare_grad *g, const pare_node *n) {
    uint32_t dy = kept(g, n, pare_grad_dy(g, n, 0));
    pare_grad_give(g, n, 0, dy ? OP(g, "Mul", OP(g, "Sign", n->in[0]), dy) : 0);
}

/* x / y, and 0 where y is 0. */
void pare_grad_rule_reduce_l2(pare_grad *g, const pare_node *n) {
    uint32_t none = OP(g, "Equal", n->out[0], number(g, n, 0));
    uint32_t part = OP(g, "Div", pare_grad_dy(g, n, 0), OP(g, "Where", none, number(g, n, 1), n->out[0]));
    uint32_t dy = kept(g, n, part);
    pare_grad_give(g, n, 0, dy ? OP(g, "Mul", n->in[0], dy) : 0);
}

void pare_grad_rule_reduce_sum_square(pare_grad *g, const pare_node *n) {
    uint32_t dy = kept(g, n, OP(g, "Mul", pare_grad_dy(g, n, 0), number(g, n, 2)));
    pare_grad_give(g, n, 0, dy ? OP(g, "Mul", n->in[0], dy) : 0);
}

/* y = log(sum(x)): dy / exp(y) */
void pare_grad_rule_reduce_log_sum(pare_grad *g, const pare_node *n) {
    uint32_t part = OP(g, "Div", pare_grad_dy(g, n, 0), OP(g, "Exp", n->out[0]));
    pare_grad_give(g, n, 0, spread(g, n, kept(g, n, part)));
}

/* dy * exp(x - y) */
void pare_grad_rule_reduce_log_sum_exp(pare_grad *g, const pare_node *n) {
    uint32_t dy = kept(g, n, pare_grad_dy(g, n, 0)), y = kept(g, n, n->out[0]);
    if (dy && y) pare_grad_give(g, n, 0, OP(g, "Mul", OP(g, "Exp", OP(g, "Sub", n->in[0], y)), dy));
}
