/* engine/pass_reshape.c - a Reshape behind Gemm moves behind the elementwise nodes that follow, so that those can fuse.
 *
 * Elementwise is the same in any shape; an Add's other operand is seen as the tall matrix too, which costs nothing. See
 * pass.h. Needs pass_gemm.c's Reshapes to have been made. May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <string.h>

static bool is_one_of(const pare_node *n, const char *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (pare_node_is(n, ops[i])) return true;
    return false;
}

static bool is_unary(const pare_node *n) {
    static const char *const ops[] = {"Relu",      "LeakyRelu",   "Sigmoid", "Tanh",
                                      "HardSwish", "HardSigmoid", "Elu",     "Gelu"};
    return n->n_in == 1 && is_one_of(n, ops, sizeof ops / sizeof *ops);
}

/* Made by a Gemm, or by what this pass has put behind one. */
static bool behind_gemm(const pare_model *m, const pare_value *v) {
    for (int depth = 0; v && v->ndim == 2 && depth < 8; depth++) {
        const pare_node *n = pare_model_node(m, v->producer);
        if (!n) return false;
        if (pare_node_is(n, "Gemm")) return true;
        if (!is_unary(n) && !pare_node_is(n, "Add") && !pare_node_is(n, "Mul")) return false;
        v = pare_model_value(m, n->in[0]);
    }
    return false;
}

/* Surely of the same dims. */
static bool same(const pare_value *a, const pare_value *b) {
    if (!a || !b || a->dtype != b->dtype || a->ndim != b->ndim) return false;
    for (int32_t i = 0; i < a->ndim; i++) {
        const pare_dim *x = &a->dims[i], *y = &b->dims[i];
        if (x->value != y->value) return false;
        if (x->value < 0 && (!x->symbol || !y->symbol || strcmp(x->symbol, y->symbol) != 0)) return false;
    }
    return true;
}

/* The other operand as a matrix of rows of n: 0: no memory, reported. */
static uint32_t flat(pare_model *m, uint32_t before, uint32_t value, int64_t n, pare_diags *d) {
    const int64_t two = 2, dims[] = {-1, n};
    const char *name = pare_name_fresh(m, PARE_MAIN_GRAPH, "shape"), *out;
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, name, PARE_INT64, 1, &two), shape = 0;
    void *to;
    if (!t || pare_tensor_overwrite(pare_model_tensor(m, t), d, &to)) return 0;
    memcpy(to, dims, sizeof dims);
    pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, name, &shape);
    const uint32_t in[] = {value, shape};
    out = pare_name_fresh(m, PARE_MAIN_GRAPH, "flat");
    return pare_model_node(m, pare_node_add(m, PARE_MAIN_GRAPH, before, "Reshape", "", "", in, 2, &out, 1))->out[0];
}

/* x * Sigmoid(x), the only ones that want x: the product. */
static pare_node *swish_of(const pare_model *m, const pare_value *x) {
    if (x->uses.len != 2 || x->is_output) return NULL;
    for (size_t i = 0; i < 2; i++) {
        const pare_node *s = pare_model_node(m, x->uses.data[i].node);
        pare_node *mul = pare_node_is(s, "Sigmoid") ? pare_pass_consumer(m, s->out[0]) : NULL;
        if (mul && pare_node_is(mul, "Mul") && mul->n_in == 2 && x->uses.data[1 - i].node == mul->id) return mul;
    }
    return NULL;
}

/* The pair moves in front of the Reshape. */
static void sink_swish(pare_model *m, uint32_t reshape, pare_node *mul) {
    uint32_t shaped = pare_model_node(m, reshape)->out[0], matrix = pare_model_node(m, reshape)->in[0];
    uint32_t result = mul->out[0], id = mul->id, slot = mul->in[0] == shaped ? 0 : 1, squashed = mul->in[1 - slot];
    uint32_t sigmoid = pare_model_value(m, squashed)->producer;
    pare_value_replace_uses(m, result, shaped);
    pare_node_input_set(m, sigmoid, 0, matrix);
    pare_node_input_set(m, id, slot, matrix);
    pare_node_input_set(m, reshape, 0, result);
    for (int i = 0; i < 2; i++)
        pare_value_type_set(m, i ? result : squashed, PARE_FLOAT, 2, pare_model_value(m, matrix)->dims);
}

static pare_status rewrite(pare_model *m, const pare_node *r, pare_diags *d, bool *changed) {
    *changed = false;
    if (!pare_node_is(r, "Reshape") || r->n_in != 2 || !pare_pass_constant(m, r, 1, PARE_INT64)) return PARE_OK;
    const pare_value *from = pare_model_value(m, r->in[0]), *shaped = pare_model_value(m, r->out[0]);
    pare_node *next = pare_pass_consumer(m, r->out[0]), *swish = shaped ? swish_of(m, shaped) : NULL;
    if (swish && from && from->uses.len == 1 && !from->is_output && from->dtype == PARE_FLOAT && behind_gemm(m, from)) {
        sink_swish(m, r->id, swish);
        *changed = true;
        return PARE_OK;
    }
    if (!next || !from || from->uses.len != 1 || from->is_output || from->dtype != PARE_FLOAT) return PARE_OK;
    if (next->n_out != 1 || !behind_gemm(m, from) || from->dims[1].value <= 0) return PARE_OK;
    uint32_t reshape = r->id, id = next->id, slot = 0, other = 0;
    if ((pare_node_is(next, "Add") || pare_node_is(next, "Mul")) && next->n_in == 2 && next->in[0] != next->in[1]) {
        slot = next->in[0] == shaped->id ? 0 : 1;
        const pare_value *o = pare_model_value(m, next->in[1 - slot]);
        if (!same(o, shaped) || o->tensor) return PARE_OK;
        other = flat(m, id, o->id, from->dims[1].value, d);
        if (!other) return pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a shape");
    } else if (!is_unary(next)) {
        return PARE_OK;
    }
    uint32_t matrix = from->id, result = next->out[0], out = shaped->id;
    pare_value_replace_uses(m, result, out);
    pare_node_input_set(m, id, slot, matrix);
    if (other) pare_node_input_set(m, id, 1 - slot, other);
    pare_node_input_set(m, reshape, 0, result);
    pare_value_type_set(m, result, PARE_FLOAT, 2, pare_model_value(m, matrix)->dims);
    if (slot) { /* the matrix first: the chain is followed there */
        pare_node_input_set(m, id, 0, matrix);
        pare_node_input_set(m, id, 1, other);
    }
    *changed = true;
    return PARE_OK;
}

pare_status pare_pass_sink_reshape(pare_model *m, pare_diags *d, uint64_t *changed) {
    *changed = 0;
    size_t n = m->nodes.len;
    for (size_t i = 0; i < n; i++) {
        bool moved = true;
        for (int steps = 0; moved && steps < 8; steps++) {
            const pare_node *r = m->nodes.data[i];
            moved = false;
            pare_status st = r && r->graph == PARE_MAIN_GRAPH ? rewrite(m, r, d, &moved) : PARE_OK;
            if (st) return st;
            *changed += moved;
        }
    }
    return *changed ? pare_model_check(m, d) : PARE_OK; /* sorts: what stood behind now stands before */
}
