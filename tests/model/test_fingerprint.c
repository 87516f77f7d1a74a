/* tests/model/test_fingerprint.c - core/model/fingerprint.h: what counts, and what doesn't. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/fingerprint.h"
#include "plugin/small_model.h"

static void print(pare_model *m, char hex[PARE_SHA256_HEX]) {
    assert_int_equal(pare_model_fingerprint(m, NULL, hex), PARE_OK);
}

static bool same(pare_model *m, const char *base) {
    char hex[PARE_SHA256_HEX];
    print(m, hex);
    return strcmp(hex, base) == 0;
}

typedef void (*change)(pare_model *m);

static void turns_initializers(pare_model *m) {
    pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0, n = g->initializers.len; i < n / 2; i++) {
        uint32_t t = g->initializers.data[i];
        g->initializers.data[i] = g->initializers.data[n - 1 - i];
        g->initializers.data[n - 1 - i] = t;
    }
}
static void says_more(pare_model *m) {
    pare_model_meta_set(m, "key", "value");
    m->producer_name = "somebody";
    pare_model_node(m, 1)->name = "another name";
}
static void turns_attributes(pare_model *m) {
    pare_node *n = pare_model_node(m, 1); /* Conv, without any */
    pare_attr_set_int(m, n->id, "group", 1);
    pare_attr_set_int(m, n->id, "a", 1);
}
static void turns_attributes_back(pare_model *m) {
    pare_node *n = pare_model_node(m, 1);
    pare_attr_set_int(m, n->id, "a", 1);
    pare_attr_set_int(m, n->id, "group", 1);
}
static void changes_weight(pare_model *m) {
    void *data;
    pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, "conv.weight"));
    assert_int_equal(pare_tensor_write(pare_model_tensor(m, v->tensor), NULL, &data), PARE_OK);
    ((float *)data)[0] += 1;
}
static void changes_inner_weight(pare_model *m) {
    void *data;
    for (size_t i = 0; i < m->tensors.len; i++) {
        pare_tensor *t = m->tensors.data[i];
        if (strcmp(t->name, "own.weight") != 0) continue;
        assert_int_equal(pare_tensor_write(t, NULL, &data), PARE_OK);
        ((float *)data)[3] += 1;
    }
}
static void changes_attribute(pare_model *m) { pare_attr_set_int(m, 1, "group", 2); }
static void changes_opset(pare_model *m) { pare_model_opset_set(m, "", 18); }
static void changes_op(pare_model *m) { pare_model_node(m, 2)->op_type = "Tanh"; }
static void changes_wiring(pare_model *m) { pare_node_input_set(m, 3, 0, pare_graph_find(m, PARE_MAIN_GRAPH, "c")); }
static void renames_value(pare_model *m) { pare_value_rename(m, pare_graph_find(m, PARE_MAIN_GRAPH, "r"), "r9"); }

static void what_counts(void **state) {
    (void)state;
    static const struct {
        change fn;
        bool counts;
    } cases[] = {{turns_initializers, false},  {says_more, false},        {changes_weight, true},
                 {changes_inner_weight, true}, {changes_attribute, true}, {changes_opset, true},
                 {changes_op, true},           {changes_wiring, true},    {renames_value, true}};
    pare_model *m = small_model();
    char base[PARE_SHA256_HEX], a[PARE_SHA256_HEX];
    print(m, base);
    assert_int_equal(strlen(base), 64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_model *other = pare_model_clone(m);
        assert_true(same(other, base));
        cases[i].fn(other);
        if (same(other, base) == cases[i].counts) fail_msg("case %zu", i);
        pare_model_free(other);
    }
    pare_model *one = pare_model_clone(m), *two = pare_model_clone(m);
    turns_attributes(one);
    turns_attributes_back(two);
    print(one, a);
    assert_true(same(two, a));
    pare_model_free(one);
    pare_model_free(two);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
