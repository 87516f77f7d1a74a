/* test_pass_batchnorm.c - BatchNormalization into Conv, grouped ConvTranspose and Gemm; what must stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static void bn(pare_model *m, const char *out, const char *x, int64_t c) {
    const float var[] = {0.5f, 1.5f, 2.0f, 0.25f, 1, 3};
    const char *names[] = {"scale", "shift", "mean"};
    for (int i = 0; i < 3; i++) net_floats(m, names[i], 1, &c, (uint64_t)i + 4);
    net_tensor(m, "var", PARE_FLOAT, 1, &c, var);
    const uint32_t in[] = {net_value(m, x), net_value(m, "scale"), net_value(m, "shift"), net_value(m, "mean"),
                           net_value(m, "var")};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", out, in, 5, &out, 1);
    net_output(m, out);
}

static const pare_dim image[] = {{-1, "N"}, {4, NULL}, {5, NULL}, {5, NULL}};
static const int64_t image_dims[] = {2, 4, 5, 5};

static void check(pare_model *m, size_t ndim, const int64_t *dims, uint64_t want) {
    uint64_t changed;
    assert_int_equal(pass_leaves(m, pare_pass_fold_batchnorm, "BatchNormalization", &changed), !want);
    assert_int_equal(changed, want);
    pass_keeps(m, net_filled(ndim, dims, 3), 1e-5);
    pare_model_free(m);
}

static void conv(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        pare_model *m = net_new(21);
        const int64_t w[] = {6, 2, 3, 3}, b[] = {6};
        net_input(m, "x", PARE_FLOAT, 4, image);
        net_floats(m, "w", 4, w, 1);
        net_floats(m, "b", 1, b, 2);
        uint32_t n = net_node(m, "Conv", "c", bias ? 3 : 2, "x", "w", "b");
        pare_attr_set_int(m, n, "group", 2);
        bn(m, "y", "c", 6);
        check(m, 4, image_dims, 1);
    }
}

static void conv_transpose(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const int64_t w[] = {4, 3, 3, 3};
    net_input(m, "x", PARE_FLOAT, 4, image);
    net_floats(m, "w", 4, w, 1);
    pare_attr_set_int(m, net2(m, "ConvTranspose", "c", "x", "w"), "group", 2);
    bn(m, "y", "c", 6);
    check(m, 4, image_dims, 1);
}

static void gemm(void **state) {
    (void)state;
    for (int trans = 0; trans < 2; trans++) {
        pare_model *m = net_new(21);
        const pare_dim dims[] = {{-1, "N"}, {5, NULL}};
        const int64_t w[] = {trans ? 3 : 5, trans ? 5 : 3}, b[] = {3}, x[] = {4, 5};
        net_input(m, "x", PARE_FLOAT, 2, dims);
        net_floats(m, "w", 2, w, 1);
        net_floats(m, "b", 1, b, 2);
        uint32_t n = net_node(m, "Gemm", "c", 3, "x", "w", "b");
        pare_attr_set_int(m, n, "transB", trans);
        pare_attr_set_float(m, n, "alpha", 0.5f);
        pare_attr_set_float(m, n, "beta", 2.0f);
        bn(m, "y", "c", 3);
        check(m, 2, x, 1);
    }
}

/* The Conv's own result is wanted too: it has to stay what it is. */
static void wanted_twice(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const int64_t w[] = {6, 4, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, image);
    net_floats(m, "w", 4, w, 1);
    net2(m, "Conv", "c", "x", "w");
    bn(m, "n", "c", 6);
    pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    pare_model_value(m, g->outputs.data[0])->is_output = false;
    g->outputs.len = 0;
    net2(m, "Add", "y", "n", "c");
    net_output(m, "y");
    check(m, 4, image_dims, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conv), cmocka_unit_test(conv_transpose), cmocka_unit_test(gemm),
                                       cmocka_unit_test(wanted_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
