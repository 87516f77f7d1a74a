/* Edits, clones, the check, masks, copy-on-write: core/model/{model,edit,check,mask,tensor}.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "model/edit.h"
#include "model/find_tensor.h"

/* input -> Relu -> a -> Add(a, w) -> b -> Relu -> out */
static pare_model *small_model(void) {
    pare_model *m = pare_model_new("g");
    uint32_t x = pare_value_add(m, PARE_MAIN_GRAPH, "input");
    pare_graph_input_add(m, PARE_MAIN_GRAPH, x);
    const char *a[] = {"a"}, *b[] = {"b"}, *o[] = {"out"};
    int64_t dims[] = {2, 3};
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, "w", PARE_FLOAT, 2, dims);
    float *w;
    assert_int_equal(pare_tensor_overwrite(pare_model_tensor(m, t), NULL, (void **)&w), PARE_OK);
    for (int i = 0; i < 6; i++) w[i] = (float)i;
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Relu", "", "r1", (uint32_t[]){x}, 1, a, 1);
    uint32_t va = pare_graph_find(m, PARE_MAIN_GRAPH, "a"), vw = pare_graph_find(m, PARE_MAIN_GRAPH, "w");
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Add", "ai.onnx", "add", (uint32_t[]){va, vw}, 2, b, 1);
    uint32_t vb = pare_graph_find(m, PARE_MAIN_GRAPH, "b");
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Relu", "", "r2", (uint32_t[]){vb}, 1, o, 1);
    pare_graph_output_add(m, PARE_MAIN_GRAPH, pare_graph_find(m, PARE_MAIN_GRAPH, "out"));
    return m;
}

static uint32_t find(const pare_model *m, const char *name) { return pare_graph_find(m, PARE_MAIN_GRAPH, name); }

/* Uses and producers say the same as the nodes' lists do. */
static void assert_consistent(const pare_model *m) {
    size_t uses = 0, inputs = 0;
    for (size_t i = 0; i < m->values.len; i++) {
        const pare_value *v = m->values.data[i];
        if (!v) continue;
        assert_int_equal(find(m, v->name), v->id);
        for (size_t k = 0; k < v->uses.len; k++) {
            const pare_node *n = pare_model_node(m, v->uses.data[k].node);
            assert_non_null(n);
            assert_int_equal(n->in[v->uses.data[k].slot], v->id);
        }
        uses += v->uses.len;
        if (v->producer) assert_int_equal(pare_model_node(m, v->producer)->out[v->slot], v->id);
    }
    for (size_t i = 0; i < m->nodes.len; i++)
        for (uint32_t k = 0; m->nodes.data[i] && k < m->nodes.data[i]->n_in; k++)
            inputs += m->nodes.data[i]->in[k] != 0;
    assert_int_equal(uses, inputs);
}

static void test_build(void **state) {
    (void)state;
    pare_model *m = small_model();
    assert_consistent(m);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    assert_string_equal(pare_model_node(m, 2)->domain, "");
    assert_int_equal(pare_model_value(m, find(m, "a"))->uses.len, 1);
    assert_false(pare_name_is_free(m, PARE_MAIN_GRAPH, "a"));
    assert_false(pare_name_is_free(m, PARE_MAIN_GRAPH, ""));
    assert_string_equal(pare_name_fresh(m, PARE_MAIN_GRAPH, "a"), "a_1");
    pare_model_free(m);
}

static void test_replace_delete_rename(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t b = find(m, "b"), out = find(m, "out");
    pare_value_replace_uses(m, out, b); /* the graph gives b out now */
    assert_true(pare_model_value(m, b)->is_output);
    assert_false(pare_model_value(m, out)->is_output);
    pare_node_del(m, 3);
    assert_null(pare_model_node(m, 3));
    assert_int_equal(find(m, "out"), 0);
    assert_consistent(m);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    assert_false(pare_value_rename(m, b, "a"));
    assert_true(pare_value_rename(m, b, "result"));
    assert_int_equal(find(m, "result"), b);
    assert_int_equal(find(m, "b"), 0);
    assert_consistent(m);
    pare_model_free(m);
}

static void test_dangling_and_cycle(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = small_model();
    pare_node_del(m, 1); /* `a` is used and has no producer now */
    assert_int_equal(pare_model_check(m, d), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 0)->code, "model.dangling");
    pare_model_free(m);

    m = small_model();
    pare_node_input_set(m, 1, 0, find(m, "b")); /* a needs b needs a */
    assert_consistent(m);
    assert_int_equal(pare_model_check(m, d), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 1)->code, "model.cycle");
    pare_model_free(m);
    pare_diags_free(d);
}

static void test_sorts(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t x = find(m, "input"), b = find(m, "b");
    const char *late[] = {"late"};
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Neg", "", "neg", &x, 1, late, 1); /* at the end */
    pare_node_input_set(m, 2, 1, find(m, "late"));                                       /* needed in the middle */
    (void)b;
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    uint32_t want[] = {1, n, 2, 3}; /* only what had to move has moved */
    assert_memory_equal(g->nodes.data, want, sizeof want);
    pare_model_free(m);
}

static void test_clone_shares_until_written(void **state) {
    (void)state;
    pare_model *m = small_model(), *k = pare_model_clone(m);
    pare_tensor *a = find_tensor(m, "w"), *b = find_tensor(k, "w");
    assert_ptr_equal(a->blob, b->blob);
    assert_int_equal(a->id, b->id);
    float *w;
    assert_int_equal(pare_tensor_write(b, NULL, (void **)&w), PARE_OK);
    assert_int_equal((uintptr_t)w % 64, 0);
    w[5] = 0;
    assert_ptr_not_equal(a->blob, b->blob);
    const float *orig;
    assert_int_equal(pare_tensor_read(a, NULL, (const void **)&orig), PARE_OK);
    assert_true(orig[5] == 5.0f && w[4] == 4.0f);
    uint64_t nz;
    assert_int_equal(pare_tensor_nonzero(a, NULL, &nz), PARE_OK);
    assert_int_equal(nz, 5);
    assert_int_equal(pare_tensor_nonzero(b, NULL, &nz), PARE_OK);
    assert_int_equal(nz, 4);
    pare_node_del(k, 3);
    assert_non_null(pare_model_node(m, 3));
    assert_consistent(m);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    pare_model_free(m); /* the clone stands alone */
    assert_string_equal(pare_model_node(k, 2)->name, "add");
    pare_model_free(k);
}

static void test_retype_overflow(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t id = find_tensor(m, "w")->id;
    int64_t huge[] = {INT64_MAX, 4}, negative[] = {-1}, one[] = {1, 3};
    assert_false(pare_tensor_retype(m, id, PARE_FLOAT, 2, huge));
    assert_false(pare_tensor_retype(m, id, PARE_FLOAT, 1, negative));
    assert_int_equal(pare_tensor_add(m, PARE_MAIN_GRAPH, "huge", PARE_FLOAT, 2, huge), 0);
    assert_true(pare_name_is_free(m, PARE_MAIN_GRAPH, "huge"));
    assert_int_equal(pare_model_tensor(m, id)->count, 6);
    assert_true(pare_tensor_retype(m, id, PARE_INT4, 2, one));
    assert_int_equal(pare_model_tensor(m, id)->blob->len, 2); /* three nibbles */
    pare_model_free(m);
}

static pare_tensor *tensor(const pare_model *m, uint32_t graph, const char *name) {
    uint32_t value;
    return pare_map_get(&pare_model_graph(m, graph)->names, name, &value)
               ? pare_model_tensor(m, pare_model_value(m, value)->tensor)
               : NULL;
}

static void test_masks_follow_names(void **state) {
    (void)state;
    pare_model *m = small_model();
    pare_tensor *w = tensor(m, PARE_MAIN_GRAPH, "w");
    assert_false(pare_tensor_masked(m, w));
    assert_true(pare_tensor_masked_set(m, w, false)); /* nothing to take out, nothing written */
    assert_null(pare_model_meta(m, "ai.pare.masked"));
    assert_true(pare_tensor_masked_set(m, w, true));
    assert_true(pare_tensor_masked_set(m, w, true));
    assert_string_equal(pare_model_meta(m, "ai.pare.masked"), "[\"w\"]");
    assert_true(pare_value_rename(m, find(m, "w"), "weight \"1\""));
    assert_true(pare_tensor_masked(m, w));
    assert_string_equal(pare_model_meta(m, "ai.pare.masked"), "[\"weight \\\"1\\\"\"]");
    pare_model *k = pare_model_clone(m);
    assert_true(pare_tensor_masked(k, pare_model_tensor(k, w->id)));
    pare_model_free(k);
    pare_node_input_set(m, 2, 1, find(m, "a"));
    pare_tensor_del(m, w->id);
    assert_null(pare_model_meta(m, "ai.pare.masked"));
    assert_consistent(m);
    pare_model_free(m);
}

/* A graph inside a node of its own, with an initializer. */
static uint32_t graph_with(pare_model *m, const char *out, const char *name) {
    int64_t two[] = {2};
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "If", "", "", (uint32_t[]){find(m, "a")}, 1, &out, 1);
    uint32_t g = pare_graph_add(m, n, out);
    pare_attr_set_int(m, n, "then_branch", 0);
    pare_node *node = pare_model_node(m, n);
    node->attrs[0].type = PARE_ATTR_GRAPH;
    node->attrs[0].n = 1;
    node->attrs[0].ids = pare_arena_memdup(&m->arena, &g, sizeof g);
    assert_int_not_equal(pare_tensor_add(m, g, name, PARE_FLOAT, 1, two), 0);
    return g;
}

static const char *masks(const pare_model *m) { return pare_model_meta(m, "ai.pare.masked"); }

/* Two branches may each have a weight of the same name: one's mask is not the other's. */
static void test_masks_of_one_name(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t g1 = graph_with(m, "o1", "inner");
    pare_tensor *a = tensor(m, g1, "inner");
    assert_true(pare_tensor_masked_set(m, tensor(m, PARE_MAIN_GRAPH, "w"), true));
    assert_true(pare_tensor_masked_set(m, a, true));
    assert_string_equal(masks(m), "[\"w\",\"inner\"]");
    uint32_t g2 = graph_with(m, "o2", "inner"); /* the name stands for two now */
    pare_tensor *b = tensor(m, g2, "inner");
    assert_string_equal(masks(m), "[\"w\",\"inner@1\"]");
    assert_true(pare_tensor_masked(m, a));
    assert_false(pare_tensor_masked(m, b));
    assert_true(pare_tensor_masked_set(m, b, true));
    assert_true(pare_tensor_masked_set(m, a, false));
    assert_string_equal(masks(m), "[\"w\",\"inner@2\"]");
    assert_false(pare_tensor_masked(m, a));
    assert_true(pare_tensor_masked(m, b));

    uint32_t value;
    assert_true(pare_map_get(&pare_model_graph(m, g2)->names, "inner", &value));
    assert_true(pare_value_rename(m, value, "other"));
    assert_string_equal(masks(m), "[\"w\",\"other\"]");
    assert_true(pare_tensor_masked_set(m, a, true));
    assert_true(pare_value_rename(m, value, "inner"));
    assert_string_equal(masks(m), "[\"w\",\"inner@2\",\"inner@1\"]");

    pare_node_del(m, pare_model_graph(m, g1)->parent_node); /* a goes with its graph */
    assert_string_equal(masks(m), "[\"w\",\"inner\"]");
    assert_true(pare_tensor_masked(m, b));
    pare_model_free(m);
}

static void test_masks_of_constants(void **state) {
    (void)state;
    pare_model *m = small_model();
    int64_t two[] = {2};
    uint32_t g = graph_with(m, "o", "c");
    assert_true(pare_tensor_masked_set(m, tensor(m, g, "c"), true));
    const char *out[] = {"k"};
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Constant", "", "", NULL, 0, out, 1);
    uint32_t id = pare_attr_set_tensor(m, n, "value", PARE_FLOAT, 1, two);
    assert_true(pare_tensor_masked_set(m, pare_model_tensor(m, id), true));
    assert_string_equal(masks(m), "[\"c\",\"k\"]");
    assert_true(pare_value_rename(m, find(m, "k"), "k2"));
    assert_string_equal(masks(m), "[\"c\",\"k2\"]");
    pare_node_del(m, n);
    assert_string_equal(masks(m), "[\"c\"]");
    n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Abs", "", "", (uint32_t[]){find(m, "a")}, 1, out, 1);
    id = pare_attr_set_tensor(m, n, "value", PARE_FLOAT, 1, two);
    assert_false(pare_tensor_masked_set(m, pare_model_tensor(m, id), true)); /* it defines no value */
    assert_string_equal(masks(m), "[\"c\"]");
    pare_model_free(m);
}

/* Whoever wrote something else under the key keeps it. */
static void test_masks_of_somebody_else(void **state) {
    (void)state;
    static const char *const theirs[] = {"{\"w\":true}", "nonsense", ""};
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        pare_model *m = small_model();
        pare_model_meta_set(m, "ai.pare.masked", theirs[i]);
        pare_tensor *w = tensor(m, PARE_MAIN_GRAPH, "w");
        assert_false(pare_tensor_masked(m, w));
        assert_false(pare_tensor_masked_set(m, w, true));
        assert_false(pare_tensor_masked_set(m, w, false));
        assert_true(pare_value_rename(m, find(m, "w"), "v"));
        assert_string_equal(masks(m), theirs[i]);
        pare_model_meta_set(m, "ai.pare.masked", NULL);
        assert_true(pare_tensor_masked_set(m, w, true));
        assert_string_equal(masks(m), "[\"v\"]");
        pare_model_free(m);
    }
}

static void test_attributes(void **state) {
    (void)state;
    pare_model *m = small_model();
    pare_attr_set_int(m, 2, "axis", 3);
    pare_attr_set_ints(m, 2, "pads", (int64_t[]){1, 2}, 2);
    pare_attr_set_string(m, 2, "mode", "nearest", 7);
    int64_t dims[] = {4};
    uint32_t t = pare_attr_set_tensor(m, 2, "value", PARE_INT64, 1, dims);
    const pare_node *n = pare_model_node(m, 2);
    assert_int_equal(n->n_attrs, 4);
    assert_int_equal(pare_node_attr_int(n, "axis", 0), 3);
    assert_int_equal(pare_node_attr(n, "pads")->ints[1], 2);
    assert_int_equal(pare_model_tensor(m, t)->owner, PARE_OWNER_ATTRIBUTE);
    pare_attr_set_float(m, 2, "value", 0.5f); /* the tensor goes with what held it */
    assert_null(pare_model_tensor(m, t));
    pare_attr_del(m, 2, "pads");
    assert_null(pare_node_attr(pare_model_node(m, 2), "pads"));
    assert_true(pare_node_attr_float(pare_model_node(m, 2), "value", 0) == 0.5f);
    pare_model_free(m);
}

/* An If whose branch captures `a` from outside: uses count, order counts, deleting the If frees the capture. */
static void test_subgraph_capture(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t a = find(m, "a");
    const char *y[] = {"y"}, *inner[] = {"inner"};
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 1, "If", "", "if", &a, 1, y, 1); /* stands before its input's node */
    uint32_t g = pare_graph_add(m, n, "then");
    pare_node_add(m, g, 0, "Neg", "", "n", &a, 1, inner, 1);
    pare_graph_output_add(m, g, pare_graph_find(m, g, "inner"));
    pare_attr_set_int(m, n, "then_branch", 0);
    pare_node *ifn = pare_model_node(m, n);
    ifn->attrs[0].type = PARE_ATTR_GRAPH;
    ifn->attrs[0].ids = pare_arena_memdup(&m->arena, &g, sizeof g);
    ifn->attrs[0].n = 1;
    assert_int_equal(pare_model_value(m, a)->uses.len, 3);
    assert_int_equal(pare_graph_find(m, g, "a"), a);
    assert_false(pare_name_is_free(m, PARE_MAIN_GRAPH, "inner"));
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    const pare_graph *main_graph = pare_model_graph(m, PARE_MAIN_GRAPH);
    assert_int_equal(main_graph->nodes.data[0], 1);
    assert_int_equal(main_graph->nodes.data[1], n);
    pare_model *k = pare_model_clone(m);
    pare_node_del(k, n);
    assert_null(pare_model_graph(k, g));
    assert_int_equal(pare_model_value(k, a)->uses.len, 1);
    assert_int_equal(pare_model_check(k, NULL), PARE_OK);
    pare_model_free(k);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),
        cmocka_unit_test(test_replace_delete_rename),
        cmocka_unit_test(test_dangling_and_cycle),
        cmocka_unit_test(test_sorts),
        cmocka_unit_test(test_clone_shares_until_written),
        cmocka_unit_test(test_retype_overflow),
        cmocka_unit_test(test_masks_follow_names),
        cmocka_unit_test(test_masks_of_one_name),
        cmocka_unit_test(test_masks_of_constants),
        cmocka_unit_test(test_masks_of_somebody_else),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_subgraph_capture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
