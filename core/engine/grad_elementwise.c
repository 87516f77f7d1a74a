/* engine/grad_elementwise.c - gradients of ops that work element by element, broadcast or not. See grad_parts.h. */
#include "engine/grad_parts.h"

#include <stdio.h>
#include <string.h>

#define OP PARE_GRAD_OP

static uint32_t x_of(const pare_node *n) { return pare_grad_in(n, 0); }

static uint32_t number(pare_grad *g, const pare_node *n, double v) {
    return pare_grad_number(g, pare_grad_dtype(g, x_of(n)), v);
}

/* ---- one input: dx = dy * f'(x) ---- */

static void by_name(pare_grad *g, const pare_node *n, uint32_t other) {
    char name[64];
    snprintf(name, sizeof name, "%sGrad", n->op_type);
    uint32_t dx = pare_grad_node(g, PARE_GRAD_DOMAIN, pare_arena_strdup(&g->m->arena, name), 1,
                                 (uint32_t[]){pare_grad_dy(g, n, 0), other}, 2);
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

/* Relu, Sigmoid, Tanh: an op of their own that needs only the output. */
void pare_grad_rule_from_y(pare_grad *g, const pare_node *n) { by_name(g, n, n->out[0]); }
void pare_grad_rule_from_x(pare_grad *g, const pare_node *n) { by_name(g, n, x_of(n)); }

void pare_grad_rule_clip(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), lo = pare_grad_in(n, 1), hi = pare_grad_in(n, 2);
    if (pare_grad_wants(g, n, 0)) pare_grad_give(g, n, 0, PARE_GRAD_OWN(g, "ClipGrad", 1, dy, x_of(n), lo, hi));
    /* a bound has a share of what it holds back */
    for (uint32_t i = 1; i < 3; i++) {
        if (!pare_grad_wants(g, n, i)) continue;
        uint32_t held = OP(g, i == 1 ? "Less" : "Greater", x_of(n), n->in[i]);
        uint32_t part = OP(g, "Where", held, dy, number(g, n, 0));
        pare_grad_like(g, part, n->out[0]);
        pare_grad_give(g, n, i, pare_grad_sum_to(g, part, n->in[i]));
    }
}

static void times(pare_grad *g, const pare_node *n, uint32_t slope) {
    pare_grad_give(g, n, 0, slope ? OP(g, "Mul", pare_grad_dy(g, n, 0), slope) : 0);
}

static void over(pare_grad *g, const pare_node *n, uint32_t by) {
    pare_grad_give(g, n, 0, by ? OP(g, "Div", pare_grad_dy(g, n, 0), by) : 0);
}

static uint32_t square(pare_grad *g, uint32_t v) { return v ? OP(g, "Mul", v, v) : 0; }

void pare_grad_rule_sqrt(pare_grad *g, const pare_node *n) { over(g, n, OP(g, "Mul", n->out[0], number(g, n, 2))); }
void pare_grad_rule_exp(pare_grad *g, const pare_node *n) { times(g, n, n->out[0]); }
void pare_grad_rule_log(pare_grad *g, const pare_node *n) { over(g, n, x_of(n)); }
void pare_grad_rule_neg(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, OP(g, "Neg", pare_grad_dy(g, n, 0)));
}
void pare_grad_rule_abs(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Sign", x_of(n))); }
void pare_grad_rule_reciprocal(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Neg", square(g, n->out[0]))); }
void pare_grad_rule_sin(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Cos", x_of(n))); }
void pare_grad_rule_cos(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Neg", OP(g, "Sin", x_of(n)))); }
void pare_grad_rule_tan(pare_grad *g, const pare_node *n) {
    times(g, n, OP(g, "Add", square(g, n->out[0]), number(g, n, 1)));
}
void pare_grad_rule_sinh(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Cosh", x_of(n))); }
void pare_grad_rule_cosh(pare_grad *g, const pare_node *n) { times(g, n, OP(g, "Sinh", x_of(n))); }
void pare_grad_rule_asin(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Sqrt", OP(g, "Sub", number(g, n, 1), square(g, x_of(n)))));
}
void pare_grad_rule_acos(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Neg", OP(g, "Sqrt", OP(g, "Sub", number(g, n, 1), square(g, x_of(n))))));
}
void pare_grad_rule_atan(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Add", number(g, n, 1), square(g, x_of(n))));
}
void pare_grad_rule_asinh(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Sqrt", OP(g, "Add", number(g, n, 1), square(g, x_of(n)))));
}
void pare_grad_rule_acosh(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Sqrt", OP(g, "Sub", square(g, x_of(n)), number(g, n, 1))));
}
void pare_grad_rule_atanh(pare_grad *g, const pare_node *n) {
    over(g, n, OP(g, "Sub", number(g, n, 1), square(g, x_of(n))));
}

/* 2 / sqrt(pi) * exp(-x^2) */
void pare_grad_rule_erf(pare_grad *g, const pare_node *n) {
    uint32_t e = OP(g, "Exp", OP(g, "Neg", square(g, x_of(n))));
    times(g, n, OP(g, "Mul", e, number(g, n, 1.1283791670955126)));
}

/* 1 / (1 + |x|)^2 */
void pare_grad_rule_softsign(pare_grad *g, const pare_node *n) {
    over(g, n, square(g, OP(g, "Add", OP(g, "Abs", x_of(n)), number(g, n, 1))));
}

/* dy where `condition`, else 0. */
static void where(pare_grad *g, const pare_node *n, uint32_t condition) {
    pare_grad_give(g, n, 0, OP(g, "Where", condition, pare_grad_dy(g, n, 0), number(g, n, 0)));
}

void pare_grad_rule_thresholded_relu(pare_grad *g, const pare_node *n) {
    where(g, n, OP(g, "Greater", x_of(n), number(g, n, pare_node_attr_float(n, "alpha", 1.0f))));
}

/* 1 beyond lambd on either side. */
void pare_grad_rule_shrink(pare_grad *g, const pare_node *n) {
    where(g, n, OP(g, "Greater", OP(g, "Abs", x_of(n)), number(g, n, pare_node_attr_float(n, "lambd", 0.5f))));
}

/* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)): 1 above 0, else exp(x / alpha) */
void pare_grad_rule_celu(pare_grad *g, const pare_node *n) {
    uint32_t e = OP(g, "Exp", OP(g, "Div", x_of(n), number(g, n, pare_node_attr_float(n, "alpha", 1.0f))));
    times(g, n, OP(g, "Where", OP(g, "Greater", x_of(n), number(g, n, 0)), number(g, n, 1), e));
}

/* Rounding and the like: flat almost everywhere. A zero gradient, so that what lies before has one at all. */
void pare_grad_rule_zero(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, OP(g, "Mul", pare_grad_dy(g, n, 0), number(g, n, 0)));
}

void pare_grad_rule_identity(pare_grad *g, const pare_node *n) { pare_grad_give(g, n, 0, pare_grad_dy(g, n, 0)); }

void pare_grad_rule_cast(pare_grad *g, const pare_node *n) {
    uint32_t to = pare_grad_dtype(g, x_of(n)), dy = pare_grad_dy(g, n, 0);
    if (to == pare_grad_dtype(g, n->out[0])) {
        pare_grad_give(g, n, 0, dy);
        return;
    }
    uint32_t dx = OP(g, "Cast", dy);
    pare_grad_attr_int(g, dx, "to", to);
    pare_grad_give(g, n, 0, dx);
}

/* ONNX's Dropout outside training passes on; DropoutTrain is linear, so that it is its own gradient. */
void pare_grad_rule_dropout(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0);
    if (strcmp(n->domain, PARE_GRAD_DOMAIN) != 0) {
        pare_grad_give(g, n, 0, dy);
        return;
    }
    uint32_t dx = PARE_GRAD_OWN(g, "DropoutTrain", 1, dy, pare_grad_in(n, 1));
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

/* ---- several inputs, broadcast ---- */

/* The share has the dims of the output. */
static void give(pare_grad *g, const pare_node *n, uint32_t in, uint32_t share) {
    pare_grad_like(g, share, n->out[0]);
    pare_grad_give(g, n, in, pare_grad_sum_to(g, share, pare_grad_in(n, in)));
}

void pare_grad_rule_add(pare_grad *g, const pare_node *n) { /* Sum as well */
    for (uint32_t i = 0; i < n->n_in; i++)
        if (pare_grad_wants(g, n, i)) give(g, n, i, pare_grad_dy(g, n, 0));
}

void pare_grad_rule_sub(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0);
    if (pare_grad_wants(g, n, 0)) give(g, n, 0, dy);
    if (pare_grad_wants(g, n, 1)) give(g, n, 1, OP(g, "Neg", dy));
}

void pare_grad_rule_mul(pare_grad *g, const pare_node *n) {
    for (uint32_t i = 0; i < 2; i++)
        if (pare_grad_wants(g, n, i)) give(g, n, i, OP(g, "Mul", pare_grad_dy(g, n, 0), pare_grad_in(n, 1 - i)));
}

void pare_grad_rule_div(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), a = pare_grad_in(n, 0), b = pare_grad_in(n, 1);
    if (pare_grad_wants(g, n, 0)) give(g, n, 0, OP(g, "Div", dy, b));
    /* -dy * y / b, without the forward's output: a / b^2 */
    if (pare_grad_wants(g, n, 1)) give(g, n, 1, OP(g, "Neg", OP(g, "Div", OP(g, "Mul", dy, a), OP(g, "Mul", b, b))));
}

/* b * a^(b-1), and a^b * log(a), where a is 0: 0 as PyTorch has it. */
void pare_grad_rule_pow(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), a = pare_grad_in(n, 0), b = pare_grad_in(n, 1);
    if (pare_grad_dtype(g, a) != pare_grad_dtype(g, b) && pare_grad_wants(g, n, 0)) {
        uint32_t cast = OP(g, "Cast", b);
        pare_grad_attr_int(g, cast, "to", pare_grad_dtype(g, a));
        b = cast;
    }
    if (pare_grad_wants(g, n, 0)) {
        uint32_t less = OP(g, "Sub", b, number(g, n, 1));
        uint32_t slope = OP(g, "Mul", b, OP(g, "Pow", a, less));
        slope = OP(g, "Where", OP(g, "Equal", b, number(g, n, 0)), number(g, n, 0), slope);
        give(g, n, 0, OP(g, "Mul", dy, slope));
    }
    if (pare_grad_wants(g, n, 1)) {
        uint32_t zero = OP(g, "Equal", a, number(g, n, 0));
        uint32_t safe = OP(g, "Where", zero, number(g, n, 1), a); /* its logarithm is the 0 that is wanted */
        give(g, n, 1, OP(g, "Mul", dy, OP(g, "Mul", n->out[0], OP(g, "Log", safe))));
    }
}

/* To the inputs that are equal to the result, in equal parts where several are (PyTorch's maximum gives halves). */
void pare_grad_rule_min_max(pare_grad *g, const pare_node *n) {
    uint32_t dtype = pare_grad_dtype(g, n->out[0]), hits = 0;
    uint32_t *hit = pare_arena_alloc(&g->m->arena, (n->n_in + 1) * sizeof *hit);
    for (uint32_t i = 0; i < n->n_in; i++) {
        hit[i] = OP(g, "Cast", OP(g, "Equal", n->in[i], n->out[0]));
        pare_grad_attr_int(g, hit[i], "to", dtype);
        hits = hits ? OP(g, "Add", hits, hit[i]) : hit[i];
    }
    uint32_t part = OP(g, "Div", pare_grad_dy(g, n, 0), hits);
    for (uint32_t i = 0; i < n->n_in; i++)
        if (pare_grad_wants(g, n, i)) give(g, n, i, OP(g, "Mul", part, hit[i]));
}

void pare_grad_rule_mean(pare_grad *g, const pare_node *n) {
    uint32_t part = OP(g, "Mul", pare_grad_dy(g, n, 0), number(g, n, 1.0 / n->n_in));
    for (uint32_t i = 0; i < n->n_in; i++)
        if (pare_grad_wants(g, n, i)) give(g, n, i, part);
}

void pare_grad_rule_where(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), zero = pare_grad_number(g, pare_grad_dtype(g, n->out[0]), 0);
    if (pare_grad_wants(g, n, 1)) give(g, n, 1, OP(g, "Where", n->in[0], dy, zero));
    if (pare_grad_wants(g, n, 2)) give(g, n, 2, OP(g, "Where", n->in[0], zero, dy));
}

/* a - q * b, whose quotient q is flat: (a - y) / b, a whole number but for rounding. */
void pare_grad_rule_mod(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), a = pare_grad_in(n, 0), b = pare_grad_in(n, 1);
    if (pare_grad_wants(g, n, 0)) give(g, n, 0, dy);
    if (pare_grad_wants(g, n, 1)) {
        uint32_t q = OP(g, "Round", OP(g, "Div", OP(g, "Sub", a, n->out[0]), b));
        give(g, n, 1, OP(g, "Neg", OP(g, "Mul", dy, q)));
    }
}

/* x where x > 0, else slope * x; the slope is broadcast to x. */
void pare_grad_rule_prelu(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), x = pare_grad_in(n, 0), slope = pare_grad_in(n, 1), zero = number(g, n, 0);
    uint32_t above = OP(g, "Greater", x, zero);
    if (pare_grad_wants(g, n, 0)) pare_grad_give(g, n, 0, OP(g, "Where", above, dy, OP(g, "Mul", dy, slope)));
    if (pare_grad_wants(g, n, 1)) give(g, n, 1, OP(g, "Where", above, zero, OP(g, "Mul", dy, x)));
}
