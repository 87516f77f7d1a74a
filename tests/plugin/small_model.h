/* tests/plugin/small_model.h - the model that the plugin tests work on, and small helpers around it.
 *
 *   x (1,3,8,8) -> Conv conv -> c -> Relu relu -> r -> Identity -> i -> GlobalAveragePool -> g -> Flatten -> f
 *     -> Gemm fc (transB) -> logits (1,5) -> MatMul mm with Transpose(t.weight (6,5)) -> aux (1,6)
 *   c -> Relu dead -> unused;  spare: an initializer that nothing uses
 *   flag -> If choose: both branches take r, one with a weight of its own, one with shared.weight -> branch (1,2,6,6)
 */
#ifndef PARE_TESTS_PLUGIN_SMALL_MODEL_H
#define PARE_TESTS_PLUGIN_SMALL_MODEL_H

#include "base/hash.h"
#include "base/str.h"
#include "model/edit.h"
#include "model/onnx.h"

#include <stdlib.h>
#include <string.h>

static inline uint32_t weight(pare_model *m, uint32_t graph, const char *name, size_t ndim, const int64_t *dims) {
    uint32_t id = pare_tensor_add(m, graph, name, PARE_FLOAT, ndim, dims);
    pare_tensor *t = pare_model_tensor(m, id);
    void *data;
    assert_int_equal(pare_tensor_overwrite(t, NULL, &data), PARE_OK);
    for (uint64_t i = 0; i < t->count; i++) ((float *)data)[i] = 0.25f * (float)(i + 1);
    return pare_graph_find(m, graph, name);
}

/* A node with one output; its value. */
static inline uint32_t node1(pare_model *m, uint32_t graph, const char *op, const char *name, uint32_t a, uint32_t b,
                             uint32_t c, const char *out) {
    const uint32_t in[] = {a, b, c};
    uint32_t id = pare_node_add(m, graph, 0, op, "", name, in, c ? 3 : b ? 2 : 1, &out, 1);
    return pare_model_node(m, id)->out[0];
}

static inline void output(pare_model *m, uint32_t graph, uint32_t value, int32_t ndim, const int64_t *dims) {
    pare_dim d[4];
    for (int32_t i = 0; i < ndim; i++) d[i] = (pare_dim){dims[i], NULL};
    pare_graph_output_add(m, graph, value);
    pare_value_type_set(m, value, PARE_FLOAT, ndim, d);
}

static inline void branch(pare_model *m, uint32_t choose, const char *attr, uint32_t r, const char *weight_name) {
    const int64_t sub[] = {2, 4, 1, 1}, dims[] = {1, 2, 6, 6};
    uint32_t g = pare_graph_add(m, choose, attr), shared = pare_graph_find(m, PARE_MAIN_GRAPH, weight_name);
    uint32_t w = shared ? shared : weight(m, g, weight_name, 4, sub);
    uint32_t out = node1(m, g, "Conv", attr, r, w, 0, shared ? "from_else" : "from_then");
    output(m, g, out, 4, dims);
    pare_attr_set_int(m, choose, attr, 0); /* a place for it; made a graph by hand, as no function does that */
    pare_node *n = pare_model_node(m, choose);
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, attr) != 0) continue;
        n->attrs[i].type = PARE_ATTR_GRAPH;
        n->attrs[i].n = 1;
        n->attrs[i].ids = pare_arena_memdup(&m->arena, &g, sizeof g);
    }
}

static inline pare_model *small_model(void) {
    pare_model *m = pare_model_new("small");
    const uint32_t G = PARE_MAIN_GRAPH;
    const pare_dim x_dims[] = {{1, NULL}, {3, NULL}, {8, NULL}, {8, NULL}};
    const int64_t conv_w[] = {4, 3, 3, 3}, four[] = {4}, fc_w[] = {5, 4}, five[] = {5}, t_w[] = {6, 5}, spare[] = {7},
                  shared[] = {2, 4, 1, 1}, logits_d[] = {1, 5}, aux_d[] = {1, 6}, branch_d[] = {1, 2, 6, 6};
    uint32_t x = pare_value_add(m, G, "x");
    pare_graph_input_add(m, G, x);
    pare_value_type_set(m, x, PARE_FLOAT, 4, x_dims);
    uint32_t cw = weight(m, G, "conv.weight", 4, conv_w), cb = weight(m, G, "conv.bias", 1, four);
    uint32_t c = node1(m, G, "Conv", "conv", x, cw, cb, "c");
    uint32_t r = node1(m, G, "Relu", "relu", c, 0, 0, "r");
    uint32_t i = node1(m, G, "Identity", "same", r, 0, 0, "i");
    uint32_t g = node1(m, G, "GlobalAveragePool", "pool", i, 0, 0, "g");
    uint32_t f = node1(m, G, "Flatten", "flat", g, 0, 0, "f");
    uint32_t fw = weight(m, G, "fc.weight", 2, fc_w), fb = weight(m, G, "fc.bias", 1, five);
    uint32_t logits = node1(m, G, "Gemm", "fc", f, fw, fb, "logits");
    pare_attr_set_int(m, pare_model_value(m, logits)->producer, "transB", 1);
    uint32_t tw = weight(m, G, "t.weight", 2, t_w);
    uint32_t tt = node1(m, G, "Transpose", "turn", tw, 0, 0, "t.weight_t");
    uint32_t aux = node1(m, G, "MatMul", "mm", logits, tt, 0, "aux");
    node1(m, G, "Relu", "dead", c, 0, 0, "unused");
    weight(m, G, "spare", 1, spare);
    weight(m, G, "shared.weight", 4, shared);
    uint32_t flag = pare_tensor_add(m, G, "flag", PARE_BOOL, 0, NULL);
    void *data;
    assert_int_equal(pare_tensor_overwrite(pare_model_tensor(m, flag), NULL, &data), PARE_OK);
    *(unsigned char *)data = 1;
    uint32_t b = node1(m, G, "If", "choose", pare_graph_find(m, G, "flag"), 0, 0, "branch");
    uint32_t choose = pare_model_value(m, b)->producer;
    branch(m, choose, "then_branch", r, "own.weight");
    branch(m, choose, "else_branch", r, "shared.weight");
    output(m, G, logits, 2, logits_d);
    output(m, G, aux, 2, aux_d);
    output(m, G, b, 4, branch_d);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    return m;
}

/* The SHA-256 of the file the model would be. */
static inline void fingerprint(pare_model *m, char hex[PARE_SHA256_HEX]) {
    pare_sha256 *h = pare_sha256_new();
    assert_int_equal(pare_onnx_stream(m, pare_sha256_sink(h), NULL), PARE_OK);
    pare_sha256_end(h, hex);
}

/* How many diagnostics have this code and hold this text in message or hint. */
static inline size_t said(const pare_diags *d, const char *code, const char *text) {
    size_t n = 0;
    for (size_t i = 0; i < pare_diags_count(d); i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        n += strcmp(it->code, code) == 0 && (strstr(it->message, text) || (it->hint && strstr(it->hint, text)));
    }
    return n;
}

static inline void print_said(const pare_diags *d) {
    for (size_t i = 0; i < pare_diags_count(d); i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        print_message("  %u [%s] %s | %s | param %s tensor %s node %s\n", it->severity, it->code, it->message,
                      it->hint ? it->hint : "-", it->param ? it->param : "-", it->tensor ? it->tensor : "-",
                      it->node ? it->node : "-");
    }
}

#define assert_said(d, code, text)                                                                                     \
    do {                                                                                                               \
        if (!said(d, code, text)) {                                                                                    \
            print_said(d);                                                                                             \
            fail_msg("nobody said %s: %s", code, text);                                                                \
        }                                                                                                              \
    } while (0)

#endif
