/* test_pass_integer.c - what dynamic quantization leaves of MatMul and Conv, as few nodes; and who stays as it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

#include <math.h>

static const int64_t dims3[] = {2, 3, 8};

static size_t products(const pare_model *m, pare_engine_pass pass, const char *op, const char *domain) {
    pare_model *c = pare_model_clone(m);
    uint64_t changed, gone;
    size_t n = 0;
    assert_int_equal(pare_model_infer(c, NULL), PARE_OK);
    assert_int_equal(pass(c, NULL, &changed), PARE_OK);
    assert_int_equal(pare_pass_find("remove_dead")->run(c, NULL, &gone), PARE_OK);
    for (size_t i = 0; i < c->nodes.len; i++) {
        const pare_node *x = c->nodes.data[i];
        n += x && strcmp(x->op_type, op) == 0 && strcmp(x->domain, domain) == 0;
    }
    pare_model_free(c);
    return n;
}

/* x -> DynamicQuantizeLinear: q, s, z. */
static pare_model *begun(int32_t ndim, const pare_dim *dims) {
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, ndim, dims);
    const uint32_t in[] = {net_value(m, "x")};
    const char *out[] = {"q", "s", "z"};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "DynamicQuantizeLinear", "", "dq", in, 1, out, 3);
    return m;
}

static void codes(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims) {
    int8_t data[512];
    uint64_t n = 1;
    for (size_t i = 0; i < ndim; i++) n *= (uint64_t)dims[i];
    for (uint64_t i = 0; i < n && i < 512; i++) data[i] = (int8_t)(i * 89 % 128 - 64);
    net_tensor(m, name, dtype, ndim, dims, data);
}

/* How the scales are put to it, and whether a row is added. */
enum { ONE_MUL, ONE_MUL_TURNED, TWO_MULS, WAYS };

static pare_model *matmul(int way, size_t n_scales, bool zero, bool row, int64_t rows) {
    const pare_dim dims[] = {{2, NULL}, {3, NULL}, {8, NULL}};
    const int64_t w[] = {8, 4}, ns[] = {(int64_t)n_scales}, nr[] = {rows};
    float scales[8], adds[8] = {0.5f, -1, 2, 0.25f, 3, 0, 0, 1};
    const uint8_t mid = 128;
    pare_model *m = begun(3, dims);
    for (size_t i = 0; i < 8; i++) scales[i] = 0.01f * (float)(i + 1);
    codes(m, "w", zero ? PARE_UINT8 : PARE_INT8, 2, w);
    net_tensor(m, "wz", PARE_UINT8, 0, NULL, &mid);
    net_tensor(m, "ws", PARE_FLOAT, n_scales > 1, ns, scales);
    net_tensor(m, "b", PARE_FLOAT, 1, nr, adds);
    const uint32_t in[] = {net_value(m, "q"), net_value(m, "w"), net_value(m, "z"), net_value(m, "wz")};
    const char *out = "sums";
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "MatMulInteger", "", "mm", in, zero ? 4 : 3, &out, 1);
    pare_attr_set_int(m, net1(m, "Cast", "f", "sums"), "to", PARE_FLOAT);
    if (way == TWO_MULS) {
        net2(m, "Mul", "f2", "f", "s");
        net2(m, "Mul", "y", "f2", "ws");
    } else {
        net2(m, "Mul", "both", way == ONE_MUL ? "s" : "ws", way == ONE_MUL ? "ws" : "s");
        net2(m, "Mul", "y", way == ONE_MUL ? "f" : "both", way == ONE_MUL ? "both" : "f");
    }
    if (row) net2(m, "Add", "yb", "b", "y");
    net_output(m, row ? "yb" : "y");
    return m;
}

static void matmuls(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (int k = 0; k < 8; k++) {
            pare_model *m = matmul(way, k & 1 ? 4 : 1, k & 2, k & 4, 4);
            assert_int_equal(products(m, pare_pass_integer, "MatMulIntegerToFloat", "ai.pare"), 1);
            assert_int_equal(products(m, pare_pass_integer, "Mul", ""), 0);
            assert_int_equal(products(m, pare_pass_integer, "Cast", ""), 0);
            assert_int_equal(products(m, pare_pass_integer, "Add", ""), 0);
            pass_keeps(m, net_filled(3, dims3, 3), 1e-6);
            pare_model_free(m);
        }
}

/* The sums are handed out, or what is added is no row. */
static void stays(void **state) {
    (void)state;
    pare_model *m = matmul(ONE_MUL, 1, false, false, 4);
    net_output(m, "sums");
    assert_int_equal(products(m, pare_pass_integer, "MatMulInteger", ""), 1);
    pare_model_free(m);
    m = matmul(ONE_MUL, 1, false, true, 1);
    assert_int_equal(products(m, pare_pass_integer, "MatMulIntegerToFloat", "ai.pare"), 1);
    assert_int_equal(products(m, pare_pass_integer, "Add", ""), 1);
    pass_keeps(m, net_filled(3, dims3, 3), 1e-6);
    pare_model_free(m);
}

/* One scale for all: a convolution of floats. */
static void convs(void **state) {
    (void)state;
    const pare_dim dims[] = {{2, NULL}, {3, NULL}, {5, NULL}, {5, NULL}};
    const int64_t w[] = {4, 3, 3, 3}, pads[] = {1, 1, 1, 1}, x[] = {2, 3, 5, 5};
    const float scale = 0.02f;
    const uint8_t mid = 120;
    pare_model *m = begun(4, dims);
    codes(m, "w", PARE_UINT8, 4, w);
    net_tensor(m, "wz", PARE_UINT8, 0, NULL, &mid);
    net_tensor(m, "ws", PARE_FLOAT, 0, NULL, &scale);
    const uint32_t in[] = {net_value(m, "q"), net_value(m, "w"), net_value(m, "z"), net_value(m, "wz")};
    const char *out = "sums";
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "ConvInteger", "", "conv", in, 4, &out, 1);
    pare_attr_set_ints(m, n, "pads", pads, 4);
    pare_attr_set_int(m, net1(m, "Cast", "f", "sums"), "to", PARE_FLOAT);
    net2(m, "Mul", "both", "s", "ws");
    net2(m, "Mul", "y", "f", "both");
    net_output(m, "y");
    assert_int_equal(products(m, pare_pass_integer, "Conv", ""), 1);
    assert_int_equal(products(m, pare_pass_integer, "ConvInteger", ""), 0);
    pass_keeps(m, net_filled(4, x, 3), 1e-5);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(matmuls), cmocka_unit_test(stays), cmocka_unit_test(convs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
