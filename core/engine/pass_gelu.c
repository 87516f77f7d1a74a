/* engine/pass_gelu.c - Gelu and HardSwish, put together again from what exporters take them apart into. See pass.h.
 *
 * Gelu: 0.5 x (1 + Erf(x / sqrt 2)), and 0.5 x (1 + Tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the products in any order
 * that PyTorch's exporters write. HardSwish: x * HardSigmoid(x) with alpha 1/6, beta 1/2. May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <math.h>

static bool near(float a, double b) { return fabs((double)a - b) <= 1e-5 * fabs(b); }

/* n is `op` of a constant near c and one other value: that. 0: it isn't. Div: the constant is below. */
static uint32_t with_number(const pare_model *m, const pare_node *n, const char *op, double c) {
    float v;
    if (!n || !pare_node_is(n, op) || n->n_in != 2) return 0;
    bool ordered = pare_node_is(n, "Div") || pare_node_is(n, "Pow");
    if (pare_pass_number(m, n, 1, &v) && near(v, c)) return n->in[0];
    if (!ordered && pare_pass_number(m, n, 0, &v) && near(v, c)) return n->in[1];
    return 0;
}

static uint32_t other(const pare_node *n, uint32_t value) {
    if (n->n_in != 2) return 0;
    return n->in[0] == value ? n->in[1] : n->in[1] == value ? n->in[0] : 0;
}

static const pare_node *maker(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    return v ? pare_model_node(m, v->producer) : NULL;
}

/* What is squashed: x behind Erf(x / sqrt 2). */
static uint32_t erf_of(const pare_model *m, const pare_node *n) {
    const pare_node *d = maker(m, n->in[0]);
    uint32_t x = with_number(m, d, "Div", sqrt(2.0));
    return x ? x : with_number(m, d, "Mul", sqrt(0.5));
}

static bool is_cube(const pare_model *m, uint32_t value, uint32_t x) {
    const pare_node *n = maker(m, value);
    if (n && with_number(m, n, "Pow", 3.0) == x) return true;
    const pare_node *square = n && pare_node_is(n, "Mul") ? maker(m, other(n, x)) : NULL;
    return square && pare_node_is(square, "Mul") && square->n_in == 2 && square->in[0] == x && square->in[1] == x;
}

/* x behind Tanh(sqrt(2 / pi) (x + 0.044715 x^3)). */
static uint32_t tanh_of(const pare_model *m, const pare_node *n) {
    const double pi = 3.14159265358979323846;
    const pare_node *sum = maker(m, with_number(m, maker(m, n->in[0]), "Mul", sqrt(2.0 / pi)));
    if (!sum || !pare_node_is(sum, "Add") || sum->n_in != 2) return 0;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t cube = with_number(m, maker(m, sum->in[1 - i]), "Mul", 0.044715);
        if (cube && is_cube(m, cube, sum->in[i])) return sum->in[i];
    }
    return 0;
}

/* The node that ends 0.5 x (1 + s), s being what n makes; NULL: it is something else. */
static pare_node *end_of(const pare_model *m, const pare_node *n, uint32_t x) {
    const pare_node *one = pare_pass_consumer(m, n->out[0]);
    if (!one || with_number(m, one, "Add", 1.0) != n->out[0]) return NULL;
    pare_node *mul = pare_pass_consumer(m, one->out[0]);
    if (!mul || !pare_node_is(mul, "Mul")) return NULL;
    uint32_t factor = other(mul, one->out[0]);
    if (factor == x) { /* (x (1 + s)) 0.5 */
        pare_node *half = pare_pass_consumer(m, mul->out[0]);
        return with_number(m, half, "Mul", 0.5) == mul->out[0] ? half : NULL;
    }
    if (with_number(m, mul, "Mul", 0.5) == one->out[0]) { /* x ((1 + s) 0.5) */
        pare_node *last = pare_pass_consumer(m, mul->out[0]);
        return last && pare_node_is(last, "Mul") && other(last, mul->out[0]) == x ? last : NULL;
    }
    return with_number(m, maker(m, factor), "Mul", 0.5) == x ? mul : NULL; /* (0.5 x) (1 + s) */
}

static void put(pare_model *m, pare_node *end, const char *op, uint32_t x, const char *approximate) {
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, op);
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, end->id, op, "", end->name, &x, 1, &out, 1);
    if (approximate) pare_attr_set_string(m, n, "approximate", approximate, 4);
    pare_pass_replace(m, end->id, n);
}

static bool is_float(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    return v && v->dtype == PARE_FLOAT;
}

static bool rewrite(pare_model *m, const pare_node *n) {
    uint32_t x = 0;
    if (n->n_in != 1 || n->n_out != 1) return false;
    bool by_erf = pare_node_is(n, "Erf");
    if (by_erf) x = erf_of(m, n);
    if (pare_node_is(n, "Tanh")) x = tanh_of(m, n);
    if (x && is_float(m, x)) {
        pare_node *end = end_of(m, n, x);
        if (end) put(m, end, "Gelu", x, by_erf ? NULL : "tanh");
        return end != NULL;
    }
    if (!pare_node_is(n, "HardSigmoid") || !is_float(m, n->in[0])) return false;
    if (!near(pare_node_attr_float(n, "alpha", 0.2f), 1.0 / 6) || !near(pare_node_attr_float(n, "beta", 0.5f), 0.5))
        return false;
    pare_node *mul = pare_pass_consumer(m, n->out[0]);
    if (!mul || !pare_node_is(mul, "Mul") || other(mul, n->out[0]) != n->in[0]) return false;
    put(m, mul, "HardSwish", n->in[0], NULL);
    return true;
}

pare_status pare_pass_gelu(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    size_t n = m->nodes.len;
    for (size_t i = 0; i < n; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH && rewrite(m, m->nodes.data[i])) ++*changed;
    return PARE_OK;
}
