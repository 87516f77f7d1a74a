/* tests/plugin/test_host_graph.c - the host's side of the SDK: graph, opsets, layers. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/host_run.h"

/* ---- graph ---- */

static pare_status use_graph(const pare_host *host, pare_model *m) {
    uint32_t count = 0, choose = 0;
    for (uint32_t id = g->node_next(host, m, PARE_GRAPH_MAIN, 0); id; id = g->node_next(host, m, PARE_GRAPH_MAIN, id)) {
        pare_node_info info = {.size = sizeof info};
        WANT(g->node_info(host, m, id, &info) == PARE_OK && info.graph == PARE_GRAPH_MAIN && info.opset == 17);
        if (strcmp(info.op_type, "Relu") == 0) WANT(strcmp(info.label, count == 1 ? "Relu#0" : "Relu#1") == 0);
        if (info.n_subgraphs) choose = id;
        if (strcmp(info.name, "dead") == 0) WANT(g->node_del(host, m, id) == PARE_OK); /* while walking */
        count++;
    }
    WANT(count == 10 && choose);
    uint32_t then_graph = g->subgraph(host, m, choose, 0), else_graph = g->subgraph(host, m, choose, 1);
    WANT(then_graph && else_graph && then_graph != else_graph && !g->subgraph(host, m, choose, 2));
    uint32_t inner = g->node_next(host, m, then_graph, 0);
    WANT(inner && !g->node_next(host, m, then_graph, inner));
    WANT(g->output(host, m, then_graph, 0) && !g->output(host, m, then_graph, 1) && !g->input(host, m, then_graph, 0));

    pare_value_info v = {.size = sizeof v};
    WANT(g->value_info(host, m, g->value_find(host, m, "r"), &v) == PARE_OK);
    WANT(v.n_uses == 3 && v.ndim == 4 && v.dims[1] == 4 && v.dtype == PARE_FLOAT &&
         !v.kind); /* Identity, both branches */
    WANT(g->value_info(host, m, g->input(host, m, PARE_GRAPH_MAIN, 0), &v) == PARE_OK && v.kind == PARE_VALUE_INPUT);
    WANT(g->value_info(host, m, g->value_find(host, m, "fc.weight"), &v) == PARE_OK);
    WANT(v.kind == PARE_VALUE_INITIALIZER && v.tensor == t->find(host, m, "fc.weight") && v.ndim == 2 &&
         v.dims[0] == 5);

    pare_constant c = {.size = sizeof c};
    WANT(g->const_of(host, m, g->value_find(host, m, "t.weight_t"), &c) == PARE_OK);
    WANT(c.tensor == t->find(host, m, "t.weight") && c.ndim == 2 && c.perm[0] == 1 && c.perm[1] == 0 && c.axis == -1);
    WANT(g->const_of(host, m, g->value_find(host, m, "r"), &c) == PARE_OK && !c.tensor);
    pare_cost cost = {.size = sizeof cost};
    uint32_t conv = v.n_uses ? g->node_next(host, m, PARE_GRAPH_MAIN, 0) : 0;
    WANT(g->cost(host, m, conv, &cost) == PARE_OK && cost.parameters == 112 && cost.bytes == 448 &&
         cost.macs == 4 * 27 * 36);
    return PARE_OK;
}

static void graph_interface(void **state) {
    (void)state;
    pare_model_free(run(use_graph, PARE_OK));
}

static pare_status misuse_graph(const pare_host *host, pare_model *m) {
    uint32_t conv = g->node_next(host, m, PARE_GRAPH_MAIN, 0), node, x = g->value_find(host, m, "x"),
             c = g->value_find(host, m, "c");
    uint32_t choose = 0;
    for (uint32_t id = conv; id; id = g->node_next(host, m, PARE_GRAPH_MAIN, id))
        if (g->subgraph(host, m, id, 0)) choose = id;
    uint32_t hidden = g->output(host, m, g->subgraph(host, m, choose, 0), 0);
    const char *const twice[] = {"a", "a"};
    const pare_attribute list = {.size = sizeof list, .type = PARE_ATTRIBUTE_INTS, .n = 3};
    const pare_attribute kind = {.size = sizeof kind, .type = PARE_ATTRIBUTE_GRAPH};
    WANT(g->node_add(host, m, 99, 0, "Relu", "", "", &x, 1, twice, 1, &node) == PARE_EINVAL);
    WANT(g->node_add(host, m, 1, 0, "", "", "", &x, 1, twice, 1, &node) == PARE_EINVAL);
    WANT(g->node_add(host, m, 1, 0, "Split", "", "", &x, 1, twice, 2, &node) == PARE_EINVAL);
    WANT(g->node_add(host, m, 1, 0, "Relu", "", "", NULL, 1, twice, 1, &node) == PARE_EINVAL);
    WANT(g->node_add(host, m, 1, 0, "Relu", "", "", &hidden, 1, twice, 1, &node) == PARE_EINVAL);
    WANT(g->input_set(host, m, conv, 5000, x) == PARE_EINVAL);
    WANT(g->replace_uses(host, m, c, c) == PARE_EINVAL);
    WANT(g->replace_uses(host, m, c, hidden) == PARE_EINVAL);
    WANT(g->attr_set(host, m, conv, "a", &list) == PARE_EINVAL);
    WANT(g->attr_set(host, m, conv, "a", &kind) == PARE_EINVAL);
    WANT(g->attr_set(host, m, conv, "a", NULL) == PARE_EINVAL);
    WANT(g->meta_set(host, m, "ai.pare.masked", "[]") == PARE_EINVAL);
    WANT(g->undo(host, m, 3) == PARE_EINVAL && g->keep(host, m, 0) == PARE_EINVAL &&
         g->mark(host, m, NULL) == PARE_EINVAL);
    WANT(g->opset_need(host, m, "", 0) == PARE_EINVAL);
    WANT(!g->name_fresh(host, m, NULL) && !g->node_next(host, m, 1, 77777));
    return PARE_OK;
}

static void graph_misuse(void **state) {
    (void)state;
    run(misuse_graph, PARE_EINTERNAL);
    assert_said(said_by, "plugin.misuse", "two outputs are called a");
    assert_said(said_by, "plugin.misuse", "of a subgraph that the node can't see");
    assert_said(said_by, "plugin.misuse", "keys of ai.pare.* are the host's");
    assert_int_equal(pare_diags_errors(said_by), 18);
}

/* A graph output that is handed to a graph input or to another output: an Identity keeps the name. */
static pare_status outputs_keep_names(const pare_host *host, pare_model *m) {
    uint32_t logits = g->output(host, m, PARE_GRAPH_MAIN, 0), aux = g->output(host, m, PARE_GRAPH_MAIN, 1);
    WANT(g->replace_uses(host, m, aux, logits) == PARE_OK);
    pare_value_info info = {.size = sizeof info};
    pare_node_info node = {.size = sizeof node};
    uint32_t now = g->output(host, m, PARE_GRAPH_MAIN, 1);
    WANT(now != aux && now != logits && g->output(host, m, PARE_GRAPH_MAIN, 0) == logits);
    WANT(g->value_info(host, m, now, &info) == PARE_OK && strcmp(info.name, "aux") == 0);
    WANT(g->node_info(host, m, info.producer, &node) == PARE_OK && strcmp(node.op_type, "Identity") == 0 &&
         node.in[0] == logits);
    WANT(g->value_rename(host, m, logits, "other") == PARE_EINVAL); /* an output's name is the model's */
    WANT(g->value_rename(host, m, g->value_find(host, m, "x"), "other") == PARE_EINVAL);
    WANT(g->value_rename(host, m, g->value_find(host, m, "c"), "f") == PARE_EINVAL); /* taken */
    return PARE_OK;
}

static void output_names(void **state) {
    (void)state;
    pare_model *out = run(outputs_keep_names, PARE_OK);
    static const char *const names[] = {"logits", "aux", "branch"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(pare_model_value(out, pare_model_graph(out, 1)->outputs.data[i])->name, names[i]);
    pare_model_free(out);
}

static pare_status leaves_a_hole(const pare_host *host, pare_model *m) {
    return g->node_del(host, m, g->node_next(host, m, PARE_GRAPH_MAIN, 0));
}

static pare_status leaves_a_cycle(const pare_host *host, pare_model *m) {
    uint32_t conv = g->node_next(host, m, PARE_GRAPH_MAIN, 0);
    return g->input_set(host, m, conv, 0, g->value_find(host, m, "r"));
}

static pare_status leaves_wrong_shapes(const pare_host *host, pare_model *m) {
    const int64_t dims[] = {4, 2, 3, 3};
    return t->retype(host, m, t->find(host, m, "conv.weight"), PARE_FLOAT, 4, dims);
}

static void broken_graphs_are_refused(void **state) {
    (void)state;
    static const body bodies[] = {leaves_a_hole, leaves_a_cycle, leaves_wrong_shapes};
    for (size_t i = 0; i < 3; i++) {
        run(bodies[i], PARE_EINTERNAL);
        assert_said(said_by, "plugin.broken-graph", "the technique test.host left a graph that is wrong");
        assert_true(pare_diags_errors(said_by) >= 2);
    }
}

/* ---- opsets ---- */

static int64_t opset_wanted;

static pare_status raise_opset(const pare_host *host, pare_model *m) {
    return g->opset_need(host, m, "", opset_wanted);
}

static pare_model *with_op(int64_t opset, const char *op, const char *attr, int64_t value) {
    pare_model *m = small_model();
    uint32_t f = pare_graph_find(m, 1, "f");
    node1(m, 1, op, "odd one", f, 0, 0, "odd");
    uint32_t node = pare_model_value(m, pare_graph_find(m, 1, "odd"))->producer;
    if (attr && value != INT64_MIN) pare_attr_set_int(m, node, attr, value);
    pare_model_opset_set(m, "", opset);
    return m;
}

static void opsets_rise_only_where_nothing_changed(void **state) {
    (void)state;
    static const struct {
        const char *op, *attr;
        int64_t value, from, to;
        const char *refusal; /* NULL: it works */
    } cases[] = {
        {"Relu", NULL, 0, 7, 21, NULL},
        {"Softmax", "axis", 1, 11, 13, NULL}, /* rank 2: the last axis */
        {"Softmax", "axis", INT64_MIN, 11, 13, NULL},
        {"Softmax", "axis", -1, 11, 13, NULL},
        {"Softmax", "axis", 0, 11, 13, "Softmax changed in version 13"},
        {"Softmax", "axis", 0, 13, 21, NULL},
        {"ReduceMean", "axes", 1, 17, 18, "ReduceMean changed in version 18"},
        {"ReduceMean", NULL, 0, 17, 18, NULL},
        {"ReduceMean", "axes", 1, 11, 17, NULL},
        {"Unsqueeze", "axes", 1, 12, 13, "Unsqueeze changed in version 13"},
        {"Clip", NULL, 0, 10, 11, NULL},
        {"Clip", "min", 0, 10, 11, "Clip changed in version 11"},
        {"Split", NULL, 0, 17, 18, "Split changed in version 18"},
        {"Dropout", "ratio", 0, 11, 12, "Dropout changed in version 12"},
        {"Upsample", NULL, 0, 9, 10, "Upsample changed in version 10"},
        {"Relu", NULL, 0, 6, 13, "pare knows what changed from 7 to 21"},
        {"Relu", NULL, 0, 17, 22, "pare knows what changed from 7 to 21"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_model *in = with_op(cases[i].from, cases[i].op, cases[i].attr, cases[i].value);
        opset_wanted = cases[i].to;
        pare_model *out = run_on(in, raise_opset, cases[i].refusal ? PARE_EUNSUPPORTED : PARE_OK);
        if (out)
            assert_int_equal(pare_model_opset(out, ""), cases[i].to);
        else
            assert_true(said(said_by, "opset.changed", cases[i].refusal) +
                            said(said_by, "opset.unknown", cases[i].refusal) ==
                        1);
        if (!out && said(said_by, "opset.changed", ""))
            assert_string_equal(pare_diags_get(said_by, 0)->node, "odd one");
        pare_model_free(in);
        pare_model_free(out);
    }
}

/* ---- layers ---- */

static const char *const ops[] = {"Conv", "Gemm", "MatMul"};

static pare_status use_layers(const pare_host *host, pare_model *m) {
    uint64_t count = 0;
    pare_layer layer[8];
    uint32_t hit[8];
    for (size_t i = 0; i < 8; i++) layer[i].size = sizeof *layer;
    WANT(l->list(host, m, "ops", ops, 3, NULL, 0, &count) == PARE_OK && count == 5);
    WANT(l->list(host, m, "ops", ops, 3, layer, 2, &count) == PARE_OK && count == 5);
    WANT(l->list(host, m, "ops", ops, 3, layer, 8, &count) == PARE_OK && count == 5);
    static const struct {
        const char *name, *op, *label;
        int32_t in, out;
        uint32_t slot;
    } want[] = {
        {"conv.weight", "Conv", "Conv#0", 1, 0, 1},  {"fc.weight", "Gemm", "Gemm#0", 1, 0, 1},
        {"t.weight", "MatMul", "MatMul#0", 1, 0, 1}, /* stored (6, 5), the node sees (5, 6): K in, N out */
        {"own.weight", "Conv", "Conv#0", 1, 0, 1},   {"shared.weight", "Conv", "Conv#0", 1, 0, 1},
    };
    for (size_t i = 0; i < 5; i++) {
        WANT(strcmp(layer[i].name, want[i].name) == 0 && strcmp(layer[i].op_type, want[i].op) == 0);
        WANT(strncmp(layer[i].label, want[i].op, strlen(want[i].op)) == 0);
        WANT(layer[i].in_axis == want[i].in && layer[i].out_axis == want[i].out && layer[i].slot == want[i].slot);
        WANT(layer[i].n_uses == 1 && layer[i].groups == 1 && !layer[i].scale && !layer[i].zero_point);
    }
    const pare_arg patterns[] = {{.u.s = "fc.*", .n = 1},
                                 {.u.s = "re:^(own|shared)\\.", .n = 1},
                                 {.u.s = "MatMul#0", .n = 1},
                                 {.u.s = "fc", .n = 1}};
    WANT(l->select(host, m, "include", patterns, 4, layer, 5, hit) == PARE_OK);
    WANT(hit[0] == 0 && hit[1] == 1 && hit[2] == 3 && hit[3] == 2 && hit[4] == 2);
    WANT(l->select(host, m, "include", NULL, 0, layer, 5, hit) == PARE_OK && !hit[1]);
    return PARE_OK;
}

static void layers_interface(void **state) {
    (void)state;
    pare_model_free(run(use_layers, PARE_OK));
}

static pare_status bad_op(const pare_host *host, pare_model *m) {
    const char *const wrong[] = {"Conv", "Relu", "Cnov"};
    uint64_t count;
    return l->list(host, m, "ops", wrong, 3, NULL, 0, &count);
}

static pare_status bad_patterns(const pare_host *host, pare_model *m) {
    uint64_t count;
    pare_layer layer[8];
    uint32_t hit[8];
    for (size_t i = 0; i < 8; i++) layer[i].size = sizeof *layer;
    const pare_arg patterns[] = {{.u.s = "fc.weihgt", .n = 1}, {.u.s = "relu", .n = 1}, {.u.s = "fc*", .n = 1}};
    pare_status st = l->list(host, m, "ops", ops, 3, layer, 8, &count);
    return st ? st : l->select(host, m, "exclude", patterns, 3, layer, count, hit);
}

static pare_status bad_regex(const pare_host *host, pare_model *m) {
    uint64_t count;
    pare_layer layer[8];
    uint32_t hit[8];
    for (size_t i = 0; i < 8; i++) layer[i].size = sizeof *layer;
    const pare_arg patterns[] = {{.u.s = "re:(", .n = 1}};
    pare_status st = l->list(host, m, "ops", ops, 3, layer, 8, &count);
    return st ? st : l->select(host, m, "layers[2].match", patterns, 1, layer, count, hit);
}

static void layer_errors_name_the_place(void **state) {
    (void)state;
    run(bad_op, PARE_EINVAL);
    assert_said(said_by, "layers.op", "Relu");
    assert_said(said_by, "layers.op", "Cnov");
    assert_string_equal(pare_diags_get(said_by, 0)->param, "ops[1]");
    run(bad_patterns, PARE_EINVAL);
    assert_int_equal(pare_diags_errors(said_by), 2);
    assert_said(said_by, "layers.pattern", "did you mean \"fc.weight\"?");
    assert_said(said_by, "layers.pattern", "\"relu\" names something in the model, but no layer of this step");
    assert_string_equal(pare_diags_get(said_by, 1)->param, "exclude[1]");
    run(bad_regex, PARE_EINVAL);
    assert_said(said_by, "layers.regex", "\"re:(\" is no regular expression");
    assert_string_equal(pare_diags_get(said_by, 0)->param, "layers[2].match");
}

/* Weights in every position an op can have them. */
static pare_status use_axes(const pare_host *host, pare_model *m) {
    static const char *const all[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    static const struct {
        const char *name;
        int32_t in, out;
        uint32_t groups, uses;
    } want[] = {
        {"ct", 0, 1, 2, 1}, {"gemm_b", 0, 1, 1, 1}, {"mm_a", 2, 1, 1, 2}, {"mm_b1", 0, -1, 1, 1}, {"q", 0, 1, 1, 1},
    };
    pare_layer layer[16];
    uint64_t count;
    for (size_t i = 0; i < 16; i++) layer[i].size = sizeof *layer;
    WANT(l->list(host, m, "ops", all, 4, layer, 16, &count) == PARE_OK);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        const pare_layer *x = NULL;
        for (uint64_t i = 0; i < count; i++)
            if (strcmp(layer[i].name, want[k].name) == 0) x = &layer[i];
        WANT(x);
        WANT(x->in_axis == want[k].in);
        WANT(x->out_axis == want[k].out);
        WANT(x->groups == want[k].groups && x->n_uses == want[k].uses);
        if (strcmp(x->name, "q") == 0) WANT(x->scale && x->zero_point && x->quant_axis == 1);
    }
    return PARE_OK;
}

static void axes_of_every_position(void **state) {
    (void)state;
    pare_model *m = small_model();
    const int64_t ct[] = {4, 3, 2, 2}, b[] = {5, 7}, a[] = {2, 3, 5}, v[] = {6}, q[] = {6, 4}, per[] = {4};
    uint32_t r = pare_graph_find(m, 1, "r"), logits = pare_graph_find(m, 1, "logits"),
             aux = pare_graph_find(m, 1, "aux");
    uint32_t c = node1(m, 1, "ConvTranspose", "", r, weight(m, 1, "ct", 4, ct), 0, "ct_out");
    pare_attr_set_int(m, pare_model_value(m, c)->producer, "group", 2);
    node1(m, 1, "Gemm", "", logits, weight(m, 1, "gemm_b", 2, b), 0, "gemm_out");
    uint32_t turned = node1(m, 1, "Transpose", "", logits, 0, 0, "turned"), shared = weight(m, 1, "mm_a", 3, a);
    node1(m, 1, "MatMul", "", shared, turned, 0, "mm_out");
    node1(m, 1, "MatMul", "", shared, turned, 0, "mm_out_2");
    node1(m, 1, "MatMul", "", aux, weight(m, 1, "mm_b1", 1, v), 0, "mv_out");
    uint32_t quantized = pare_tensor_add(m, 1, "q", PARE_INT8, 2, q),
             zero = pare_tensor_add(m, 1, "q_zero", PARE_INT8, 1, per);
    memset(pare_model_tensor(m, quantized)->blob->data, 0, 24);
    memset(pare_model_tensor(m, zero)->blob->data, 0, 4);
    uint32_t dq = node1(m, 1, "DequantizeLinear", "", pare_graph_find(m, 1, "q"), weight(m, 1, "q_scale", 1, per),
                        pare_graph_find(m, 1, "q_zero"), "dq");
    node1(m, 1, "MatMul", "", aux, dq, 0, "q_out");
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    pare_model *out = run_on(m, use_axes, PARE_OK);
    pare_model_free(out);
    pare_model_free(m);
}

/* ---- strings live until the function returns, whatever is undone ---- */

static pare_status strings_outlive_undo(const pare_host *host, pare_model *m) {
    uint32_t mark, w = t->find(host, m, "fc.weight");
    WANT(g->mark(host, m, &mark) == PARE_OK);
    uint32_t c = g->value_find(host, m, "c");
    WANT(g->value_rename(host, m, c, "a name that is taken back") == PARE_OK);
    pare_value_info info = {.size = sizeof info}, again = {.size = sizeof again};
    WANT(g->value_info(host, m, c, &info) == PARE_OK);
    WANT(g->undo(host, m, mark) == PARE_OK);
    WANT(strcmp(info.name, "a name that is taken back") == 0);
    WANT(g->value_info(host, m, c, &again) == PARE_OK && strcmp(again.name, "c") == 0);
    pare_view v = {.size = sizeof v};
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_OK);
    WANT(g->mark(host, m, &mark) == PARE_EINVAL); /* not while borrowed */
    t->release(host, m, w);
    return PARE_OK;
}

static void undo_keeps_strings(void **state) {
    (void)state;
    run(strings_outlive_undo, PARE_EINTERNAL); /* the last mark was misuse */
    assert_int_equal(pare_diags_errors(said_by), 1);
    assert_said(said_by, "plugin.misuse", "pare.graph/1 mark: tensor");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_interface),
        cmocka_unit_test(graph_misuse),
        cmocka_unit_test(output_names),
        cmocka_unit_test(broken_graphs_are_refused),
        cmocka_unit_test(opsets_rise_only_where_nothing_changed),
        cmocka_unit_test(layers_interface),
        cmocka_unit_test(layer_errors_name_the_place),
        cmocka_unit_test(axes_of_every_position),
        cmocka_unit_test(undo_keeps_strings),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
