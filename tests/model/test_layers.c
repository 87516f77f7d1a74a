/* tests/model/test_layers.c - where a constant is found, and what a pattern names. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/layers.h"

#include "graph_make.h"
#include "model/find_tensor.h"

static pare_const const_of(pare_model *m, const char *name) { return pare_const_of(m, gm_find(m, name)); }
static uint32_t tensor(const pare_model *m, const char *name) { return find_tensor(m, name)->id; }

/* ---- constants ---- */

static void test_plain(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_tensor(m, "w", PARE_FLOAT, 2, (int64_t[]){4, 3}, NULL);
    gm_node(m, "Identity", "", "@w", "", "w1");
    gm_node(m, "Identity", "", "@w1", "", "w2");
    gm_node(m, "Relu", "", "@w2", "", "y");
    for (int i = 0; i < 3; i++) {
        pare_const k = const_of(m, (const char *[]){"w", "w1", "w2"}[i]);
        assert_int_equal(k.tensor, tensor(m, "w"));
        assert_int_equal(k.value, gm_find(m, "w"));
        assert_int_equal(k.axis, -1);
        assert_int_equal(k.ndim, 2);
        assert_int_equal(k.perm[0], 0);
        assert_int_equal(k.perm[1], 1);
        assert_false(k.quantized);
    }
    assert_int_equal(const_of(m, "y").tensor, 0);
    assert_int_equal(pare_const_of(m, 0).tensor, 0);
    assert_int_equal(pare_const_of(m, 9999).tensor, 0);
    pare_model_free(m);
}

static uint32_t constant_node(pare_model *m, const char *out) {
    uint32_t n = gm_node(m, "Constant", "", "", "", out);
    uint32_t t = pare_attr_set_tensor(m, n, "value", PARE_FLOAT, 2, (int64_t[]){4, 3});
    memset(gm_bytes(m, t), 0, 48);
    return t;
}

static void test_constant_node(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    uint32_t t = constant_node(m, "c");
    uint32_t n = gm_node(m, "MatMul", "mm", "f[N,3] @c", "", "y");
    pare_const k = const_of(m, "c");
    assert_int_equal(k.tensor, t);
    assert_int_equal(k.value, gm_find(m, "c"));
    /* such a tensor goes by the name of the value */
    assert_int_equal(pare_layer_match(m, "c", n, t, NULL), 1);
    assert_true(pare_pattern_hits(m, "c"));
    gm_node(m, "Constant", "", "", "value_float=1.5", "f");
    assert_int_equal(const_of(m, "f").tensor, 0);
    pare_model_free(m);
}

static void test_transpose(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_tensor(m, "w", PARE_FLOAT, 3, (int64_t[]){5, 6, 7}, NULL);
    gm_node(m, "Transpose", "", "@w", "perm=[2,0,1]", "a"); /* 7 5 6 */
    gm_node(m, "Transpose", "", "@a", "", "b");             /* 6 5 7 */
    gm_node(m, "Transpose", "", "@b", "perm=[1,2,0]", "c"); /* 5 7 6 */
    pare_const a = const_of(m, "a"), b = const_of(m, "b"), c = const_of(m, "c");
    const uint8_t want[3][3] = {{2, 0, 1}, {1, 0, 2}, {0, 2, 1}};
    assert_memory_equal(a.perm, want[0], 3);
    assert_memory_equal(b.perm, want[1], 3);
    assert_memory_equal(c.perm, want[2], 3);
    assert_int_equal(c.tensor, tensor(m, "w"));
    gm_node(m, "Transpose", "", "@w", "perm=[0,1]", "short");
    gm_node(m, "Transpose", "", "@w", "perm=[0,1,1]", "twice");
    gm_node(m, "Transpose", "", "@w", "perm=[0,1,9]", "far");
    gm_node(m, "Reshape", "", "@w {-1}", "", "flat");
    const char *const none[] = {"short", "twice", "far", "flat"};
    for (int i = 0; i < 4; i++) assert_int_equal(const_of(m, none[i]).tensor, 0);
    pare_model_free(m);
}

static void test_dequantize(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_tensor(m, "q", PARE_INT8, 3, (int64_t[]){5, 6, 7}, NULL);
    gm_tensor(m, "s6", PARE_FLOAT, 1, (int64_t[]){6}, NULL);
    gm_tensor(m, "z6", PARE_INT8, 1, (int64_t[]){6}, NULL);
    gm_tensor(m, "s", PARE_FLOAT, 0, NULL, NULL);
    gm_node(m, "Identity", "", "@s6", "", "s6i");
    gm_node(m, "Transpose", "", "@q", "perm=[2,0,1]", "qt"); /* 7 5 6 */
    gm_node(m, "DequantizeLinear", "", "@qt @s6i @z6", "axis=-1", "d");
    gm_node(m, "Transpose", "", "@d", "perm=[1,2,0]", "w"); /* 5 6 7 */
    pare_const k = const_of(m, "w");
    assert_int_equal(k.tensor, tensor(m, "q"));
    assert_true(k.quantized);
    assert_int_equal(k.scale, tensor(m, "s6"));
    assert_int_equal(k.zero_point, tensor(m, "z6"));
    assert_int_equal(k.axis, 1); /* in q's own dims */
    assert_memory_equal(k.perm, ((const uint8_t[]){0, 1, 2}), 3);
    gm_node(m, "DequantizeLinear", "", "@q @s", "", "p");
    k = const_of(m, "p");
    assert_int_equal(k.axis, -1);
    assert_int_equal(k.zero_point, 0);
    assert_true(k.quantized);
    /* not constants: a scale that is computed, a weight dequantized twice, an axis that isn't there */
    gm_node(m, "DequantizeLinear", "", "@q f[6]", "axis=1", "open");
    gm_node(m, "DequantizeLinear", "", "@p @s", "", "twice");
    gm_node(m, "DequantizeLinear", "", "@q @s6", "axis=3", "far");
    gm_node(m, "DequantizeLinear", "", "@q @s6 b[6]", "axis=1", "zero");
    const char *const none[] = {"open", "twice", "far", "zero"};
    for (int i = 0; i < 4; i++) assert_int_equal(const_of(m, none[i]).tensor, 0);
    pare_model_free(m);
}

static void test_chain_is_bounded(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_tensor(m, "w", PARE_FLOAT, 0, NULL, NULL);
    gm_node(m, "Identity", "", "@w", "", "i0");
    for (int i = 0; i < 1000; i++) {
        char in[16], out[16];
        snprintf(in, sizeof in, "@i%d", i);
        snprintf(out, sizeof out, "i%d", i + 1);
        gm_node(m, "Identity", "", in, "", out);
    }
    assert_int_not_equal(const_of(m, "i20").tensor, 0);
    assert_int_equal(const_of(m, "i1000").tensor, 0);
    /* a cycle, as a broken edit might leave it */
    pare_node_input_set(m, pare_model_value(m, gm_find(m, "i0"))->producer, 0, gm_find(m, "i5"));
    assert_int_equal(const_of(m, "i3").tensor, 0);
    /* dequantizing what is dequantized, in every slot: a walk of all paths would never end */
    gm_node(m, "DequantizeLinear", "", "@w @w @w", "", "d0");
    for (int i = 0; i < 60; i++) {
        char in[48], out[16];
        snprintf(in, sizeof in, "@d%d @d%d @d%d", i, i, i);
        snprintf(out, sizeof out, "d%d", i + 1);
        gm_node(m, "DequantizeLinear", "", in, "", out);
    }
    assert_int_equal(const_of(m, "d60").tensor, 0);
    pare_model_free(m);
}

/* ---- names ---- */

static pare_model *named_model(void) {
    pare_model *m = pare_model_new("g");
    const int64_t dims[] = {4, 4, 1, 1};
    const char *const weights[] = {"layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2[0].weight", "fc"};
    for (int i = 0; i < 4; i++) gm_tensor(m, weights[i], PARE_FLOAT, 4, dims, NULL);
    gm_node(m, "Conv", "/layer1/conv1/Conv", "f[N,4,1,1] @layer1.0.conv1.weight", "", "a");
    gm_node(m, "Relu", "/relu", "@a", "", "b");
    gm_node(m, "Conv", "", "@b @layer1.1.conv1.weight", "", "c");
    gm_node(m, "Conv", "odd*name", "@c @layer2[0].weight", "", "d");
    gm_node(m, "Conv", "", "@d @fc", "", "e");
    return m;
}

static uint32_t conv(const pare_model *m, int i) { return pare_model_graph(m, 1)->nodes.data[i ? i + 1 : 0]; }

static int match(pare_model *m, const char *pattern, int i) {
    const pare_node *n = pare_model_node(m, conv(m, i));
    return pare_layer_match(m, pattern, n->id, pare_model_value(m, n->in[1])->tensor, NULL);
}

static void test_labels(void **state) {
    (void)state;
    pare_model *m = named_model();
    assert_string_equal(pare_node_label(m, conv(m, 0)), "Conv#0");
    assert_string_equal(pare_node_label(m, pare_model_graph(m, 1)->nodes.data[1]), "Relu#0");
    assert_string_equal(pare_node_label(m, conv(m, 3)), "Conv#3");
    pare_model_free(m);
}

static void test_match(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        int want[4]; /* of the four convolutions */
    } rows[] = {
        {"layer1.0.conv1.weight", {1, 0, 0, 0}},
        {"/layer1/conv1/Conv", {1, 0, 0, 0}},
        {"Conv#1", {0, 1, 0, 0}},
        {"Conv#3", {0, 0, 0, 1}},
        {"Conv#4", {0, 0, 0, 0}},
        {"Relu#0", {0, 0, 0, 0}},
        {"Conv#[12]", {0, 1, 1, 0}},
        {"Conv#*", {1, 1, 1, 1}},
        {"c", {0, 1, 0, 0}},
        {"layer1.*", {1, 1, 0, 0}},
        {"*.weight", {1, 1, 1, 0}},
        {"layer", {0, 0, 0, 0}},            /* a glob is about the whole name */
        {"layer2[0].weight", {0, 0, 1, 0}}, /* the name itself, though as a glob it means layer20.weight */
        {"odd*name", {0, 0, 1, 0}},
        {"re:^layer1\\.[01]\\.", {1, 1, 0, 0}},
        {"re:conv1", {1, 1, 0, 0}},
        {"re:^Conv#(0|3)$", {1, 0, 0, 1}},
        {"re:nothing", {0, 0, 0, 0}},
        {"", {0, 0, 0, 0}},
        {"*", {1, 1, 1, 1}},
    };
    pare_model *m = named_model();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool any = false;
        for (int k = 0; k < 4; k++) {
            if (match(m, rows[i].pattern, k) != rows[i].want[k]) fail_msg("\"%s\" and Conv#%d", rows[i].pattern, k);
            any = any || rows[i].want[k];
        }
        if (strcmp(rows[i].pattern, "Relu#0") != 0) assert_int_equal(pare_pattern_hits(m, rows[i].pattern), any);
    }
    assert_true(pare_pattern_hits(m, "Relu#0"));
    assert_true(pare_pattern_hits(m, "/relu"));
    pare_model_free(m);
}

static void test_bad_regex(void **state) {
    (void)state;
    pare_model *m = named_model();
    char *error = NULL;
    assert_int_equal(pare_layer_match(m, "re:(", conv(m, 0), 1, &error), -1);
    assert_non_null(error);
    assert_true(strlen(error) > 5);
    free(error);
    assert_int_equal(pare_layer_match(m, "re:(", conv(m, 0), 1, NULL), -1);
    assert_false(pare_pattern_hits(m, "re:("));
    pare_model_free(m);
}

static void test_nearest(void **state) {
    (void)state;
    pare_model *m = named_model();
    assert_string_equal(pare_pattern_nearest(m, "layer1.0.conv1.wieght"), "layer1.0.conv1.weight");
    assert_string_equal(pare_pattern_nearest(m, "/layer1/conv1/Cnov"), "/layer1/conv1/Conv");
    assert_string_equal(pare_pattern_nearest(m, "conv#3"), "Conv#3");
    assert_null(pare_pattern_nearest(m, "something else altogether"));
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_constant_node),    cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_dequantize), cmocka_unit_test(test_chain_is_bounded), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_match),      cmocka_unit_test(test_bad_regex),        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
