/* test_pass_batchnorm.c - BatchNormalization into Conv, grouped ConvTranspose and Gemm; what must stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

#include <stdlib.h>

static void bn_inner(pare_model *m, const char *out, const char *x, int64_t c, const char *const *names) {
    const float var[] = {0.5f, 1.5f, 2.0f, 0.25f, 1, 3};
    uint32_t in[5] = {net_value(m, x)};
    for (int i = 0; i < 3; i++) net_floats(m, names[i], 1, &c, (uint64_t)i + 4);
    net_tensor(m, names[3], PARE_FLOAT, 1, &c, var);
    for (int i = 0; i < 4; i++) in[i + 1] = net_value(m, names[i]);
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", out, in, 5, &out, 1);
}

static const char *const names_of_one[] = {"scale", "shift", "mean", "var"};
static const char *const names_of_two[] = {"scale2", "shift2", "mean2", "var2"};

static void bn(pare_model *m, const char *out, const char *x, int64_t c) {
    bn_inner(m, out, x, c, names_of_one);
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

/* Two in a row: the second folds into a weight that is itself still to be made. */
static void two_in_a_row(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const int64_t w[] = {6, 4, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, image);
    net_floats(m, "w", 4, w, 1);
    net2(m, "Conv", "c", "x", "w");
    bn_inner(m, "n", "c", 6, names_of_two);
    bn(m, "y", "n", 6);
    check(m, 4, image_dims, 2);
}

/* The folded weight is made when it is read, for whoever reads it: a clone makes its own, which is the same. */
static void made_when_read(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const int64_t w[] = {6, 4, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, image);
    net_floats(m, "w", 4, w, 1);
    net2(m, "Conv", "c", "x", "w");
    bn(m, "y", "c", 6);
    uint64_t changed;
    assert_int_equal(pare_pass_fold_batchnorm(m, NULL, &changed), PARE_OK);
    const pare_node *conv = pare_model_node(m, pare_model_graph(m, PARE_MAIN_GRAPH)->nodes.data[0]);
    uint32_t id = pare_model_value(m, conv->in[1])->tensor;
    pare_model *clone = pare_model_clone(m);
    pare_tensor *t = pare_model_tensor(m, id), *c = pare_model_tensor(clone, id);
    const void *a, *b;
    void *mine;
    assert_non_null(t->blob->maker);
    assert_int_equal(pare_tensor_read(t, NULL, &a), PARE_OK);
    assert_null(t->blob->maker);
    assert_non_null(c->blob->maker);
    float *copy = malloc(t->blob->len);
    pare_blob_copy(c->blob, (unsigned char *)copy);
    assert_memory_equal(copy, a, t->blob->len);
    uint64_t version = c->version;
    assert_int_equal(pare_tensor_write(c, NULL, &mine), PARE_OK);
    assert_true(c->version > version);
    assert_memory_equal(mine, a, t->blob->len);
    assert_int_equal(pare_tensor_read(c, NULL, &b), PARE_OK);
    assert_ptr_equal(b, mine);
    free(copy);
    pare_model_free(clone);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conv),         cmocka_unit_test(conv_transpose),
                                       cmocka_unit_test(gemm),         cmocka_unit_test(wanted_twice),
                                       cmocka_unit_test(two_in_a_row), cmocka_unit_test(made_when_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
