/* engine/pass_layernorm.c - LayerNormalization, put together again from the primitives of exports before opset 17.
 *
 * (x - mean) / Sqrt(mean((x - mean)^2) + eps) * scale + shift over the last axis. See pass.h. May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <string.h>

static pare_node *maker(const pare_model *m, uint32_t value, const char *op) {
    const pare_value *v = pare_model_value(m, value);
    pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    return n && pare_node_is(n, op) ? n : NULL;
}

/* ReduceMean over the last axis alone, kept as a 1: what it takes. 0: another one. */
static uint32_t mean_of(const pare_model *m, uint32_t value) {
    const pare_node *n = maker(m, value, "ReduceMean");
    const pare_value *x = n && n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    pare_tensor *axes = n ? pare_pass_constant(m, n, 1, PARE_INT64) : NULL;
    const void *data;
    int64_t axis;
    if (!x || x->ndim < 1 || !axes || axes->count != 1 || !pare_node_attr_int(n, "keepdims", 1)) return 0;
    if (pare_tensor_read(axes, NULL, &data) || !data) return 0;
    memcpy(&axis, data, sizeof axis);
    return axis == -1 || axis == x->ndim - 1 ? x->id : 0;
}

static bool is_square(const pare_model *m, uint32_t value, uint32_t of) {
    float two;
    const pare_node *n = maker(m, value, "Pow");
    if (n) return n->in[0] == of && pare_pass_number(m, n, 1, &two) && two == 2.0f;
    n = maker(m, value, "Mul");
    return n && n->n_in == 2 && n->in[0] == of && n->in[1] == of;
}

/* The normalised value's node: Div. x and eps of it; false: something else. */
static bool match(const pare_model *m, const pare_node *div, uint32_t *x, float *eps) {
    if (!pare_node_is(div, "Div") || div->n_in != 2) return false;
    const pare_node *sub = maker(m, div->in[0], "Sub"), *root = maker(m, div->in[1], "Sqrt");
    const pare_node *sum = root ? maker(m, root->in[0], "Add") : NULL;
    if (!sub || !sum || sub->n_in != 2 || sum->n_in != 2) return false;
    uint32_t var = pare_pass_number(m, sum, 1, eps) ? sum->in[0] : pare_pass_number(m, sum, 0, eps) ? sum->in[1] : 0;
    *x = sub->in[0];
    return var && mean_of(m, sub->in[1]) == *x && is_square(m, mean_of(m, var), sub->out[0]);
}

/* The constant row of n (Mul or Add), whose other input is `value`. 0: none of this length. */
static uint32_t row(const pare_model *m, const pare_node *n, const char *op, uint32_t value, int64_t len) {
    if (!n || !pare_node_is(n, op) || n->n_in != 2) return 0;
    for (uint32_t i = 0; i < 2; i++) {
        const pare_tensor *t = pare_pass_constant(m, n, i, PARE_FLOAT);
        if (t && n->in[1 - i] == value && t->ndim == 1 && t->dims[0] == len) return n->in[i];
    }
    return 0;
}

static bool rewrite(pare_model *m, const pare_node *div) {
    uint32_t x;
    float eps;
    if (!match(m, div, &x, &eps)) return false;
    const pare_value *v = pare_model_value(m, x);
    int64_t len = v->ndim > 0 && v->dtype == PARE_FLOAT ? v->dims[v->ndim - 1].value : -1;
    pare_node *mul = pare_pass_consumer(m, div->out[0]), *end = mul;
    uint32_t scale = len > 0 ? row(m, mul, "Mul", div->out[0], len) : 0;
    if (!scale) return false;
    pare_node *add = pare_pass_consumer(m, mul->out[0]);
    uint32_t shift = row(m, add, "Add", mul->out[0], len);
    if (shift) end = add;
    const uint32_t in[] = {x, scale, shift};
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, "LayerNormalization");
    uint32_t n =
        pare_node_add(m, PARE_MAIN_GRAPH, end->id, "LayerNormalization", "", end->name, in, shift ? 3 : 2, &out, 1);
    pare_attr_set_int(m, n, "axis", -1);
    pare_attr_set_float(m, n, "epsilon", eps);
    pare_pass_replace(m, end->id, n);
    return true;
}

pare_status pare_pass_layernorm(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    size_t n = m->nodes.len;
    for (size_t i = 0; i < n; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH && rewrite(m, m->nodes.data[i])) ++*changed;
    return PARE_OK;
}
