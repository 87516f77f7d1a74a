/* tests/model/test_pass.c - remove_dead and remove_identity: what goes, and what has to stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/pass.h"
#include "plugin/small_model.h"
#include "model/find_tensor.h"

static uint64_t run(pare_model *m, const char *name) {
    uint64_t n = 0;
    assert_non_null(pare_pass_find(name));
    assert_int_equal(pare_pass_find(name)->run(m, NULL, &n), PARE_OK);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    return n;
}

static void by_name(void **state) {
    (void)state;
    for (size_t i = 0; pare_pass_at(i); i++) assert_ptr_equal(pare_pass_find(pare_pass_at(i)->name), pare_pass_at(i));
    assert_null(pare_pass_find("remove_everything"));
}

static void dead_chains_go(void **state) {
    (void)state;
    pare_model *m = small_model();
    const int64_t d[] = {4};
    uint32_t c = pare_graph_find(m, 1, "unused"), w = weight(m, 1, "chain.weight", 1, d);
    node1(m, 1, "Relu", "chain_end", node1(m, 1, "Add", "chain", c, w, 0, "chain_1"), 0, 0, "chain_2");
    /* dead, chain, chain_end; spare, chain.weight */
    assert_int_equal(run(m, "remove_dead"), 5);
    assert_null(find_tensor(m, "spare"));
    assert_null(find_tensor(m, "chain.weight"));
    assert_non_null(find_tensor(m, "shared.weight")); /* captured by a branch alone */
    assert_int_equal(run(m, "remove_dead"), 0);
    pare_model_free(m);
}

/* A node with subgraphs goes whole, and with it what only they needed. */
static void dead_branches_go(void **state) {
    (void)state;
    pare_model *m = small_model();
    pare_graph *g = pare_model_graph(m, 1);
    pare_model_value(m, g->outputs.data[2])->is_output = false; /* `branch` is no output any more */
    g->outputs.len = 2;
    /* dead, choose; spare, shared.weight, flag */
    assert_int_equal(run(m, "remove_dead"), 5);
    assert_null(find_tensor(m, "shared.weight"));
    assert_null(find_tensor(m, "own.weight"));
    assert_non_null(find_tensor(m, "conv.weight"));
    pare_model_free(m);
}

static void what_may_be_needed_stays(void **state) {
    (void)state;
    pare_model *m = small_model();
    pare_graph *g = pare_model_graph(m, 1);
    /* GraphProto field 10 (doc_string) "spare", then field 14 (quantization_annotation) that names spare and unused */
    static const unsigned char doc[] = "\x52\x05"
                                       "spare";
    static const unsigned char annotation[] = "\x52\x02"
                                              "ok"
                                              "\x72\x0f"
                                              "..spare..unused";
    g->extra = (pare_bytes){annotation, sizeof annotation - 1};
    assert_int_equal(run(m, "remove_dead"), 0);
    g->extra = (pare_bytes){doc, sizeof doc - 1};
    m->has_training_info = true; /* which may name initializers */
    assert_int_equal(run(m, "remove_dead"), 1);
    assert_non_null(find_tensor(m, "spare"));
    m->has_training_info = false;
    uint32_t spare = pare_graph_find(m, 1, "spare");
    pare_graph_input_add(m, 1, spare); /* the default of an input */
    assert_int_equal(run(m, "remove_dead"), 0);
    pare_model_free(m);
}

static void identities_go(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t logits = pare_graph_find(m, 1, "logits"), x = pare_graph_find(m, 1, "x"), f = pare_graph_find(m, 1, "f");
    const int64_t f_dims[] = {1, 4}, x_dims[] = {1, 3, 8, 8}, l_dims[] = {1, 5};
    uint32_t out = node1(m, 1, "Identity", "out", node1(m, 1, "Relu", "last", f, 0, 0, "hidden"), 0, 0, "named");
    output(m, 1, out, 2, f_dims);                                                  /* goes: hidden takes the name */
    output(m, 1, node1(m, 1, "Identity", "through", x, 0, 0, "x_out"), 4, x_dims); /* stays: an input keeps its name */
    output(m, 1, node1(m, 1, "Identity", "twice", logits, 0, 0, "logits_2"), 2, l_dims); /* stays: two outputs */
    assert_int_equal(run(m, "remove_identity"), 2);                                      /* same, out */
    const pare_graph *g = pare_model_graph(m, 1);
    static const char *const names[] = {"logits", "aux", "branch", "named", "x_out", "logits_2"};
    assert_int_equal(g->outputs.len, 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(pare_model_value(m, g->outputs.data[i])->name, names[i]);
    const pare_value *named = pare_model_value(m, g->outputs.data[3]);
    assert_string_equal(pare_model_node(m, named->producer)->name, "last");
    assert_true(named->is_output && named->declared);
    const pare_node *pool = pare_model_node(m, pare_model_value(m, pare_graph_find(m, 1, "g"))->producer);
    assert_string_equal(pare_model_value(m, pool->in[0])->name, "r");
    assert_int_equal(run(m, "remove_identity"), 0);
    pare_model_free(m);
}

/* Identity of Identity of Identity. */
static void identity_chains_go(void **state) {
    (void)state;
    pare_model *m = small_model();
    uint32_t i1 = node1(m, 1, "Identity", "", pare_graph_find(m, 1, "f"), 0, 0, "i1");
    uint32_t i3 = node1(m, 1, "Identity", "", node1(m, 1, "Identity", "", i1, 0, 0, "i2"), 0, 0, "i3");
    const int64_t dims[] = {1, 4};
    output(m, 1, i3, 2, dims);
    assert_int_equal(run(m, "remove_identity"), 4);
    const pare_value *v = pare_model_value(m, pare_model_graph(m, 1)->outputs.data[3]);
    assert_string_equal(v->name, "i3");
    assert_string_equal(pare_model_node(m, v->producer)->name, "flat");
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name),          cmocka_unit_test(dead_chains_go),
        cmocka_unit_test(dead_branches_go), cmocka_unit_test(what_may_be_needed_stays),
        cmocka_unit_test(identities_go),    cmocka_unit_test(identity_chains_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
