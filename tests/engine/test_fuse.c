/* test_fuse.c - what stands behind a convolution or a product runs with it: every activation, a sum and an activation,
 * in one kernel of the cpu backend; and the same answer everywhere. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

/* The answer is the same on all devices; on the cpu plugin so many nodes are run. */
static void same_and_few(pare_model *m, size_t ndim, const int64_t *dims, size_t rows, double limit) {
    pare_session_opts o = net_opts(NET_CPU);
    pare_session *s = NULL;
    pare_array *x = net_filled(ndim, dims, 3), *y = NULL;
    const pare_profile_node *nodes;
    assert_int_equal(pare_session_open(m, &o, NULL, &s), PARE_OK);
    assert_int_equal(pare_session_run(s, &x, NULL, &y), PARE_OK);
    size_t n = pare_session_profile(s, &nodes), ran = 0;
    for (size_t i = 0; i < n; i++) ran += strcmp(nodes[i].op_type, "Reorder") != 0;
    if (ran != rows)
        for (size_t i = 0; i < n; i++) print_message("%s %s\n", nodes[i].op_type, nodes[i].kernel);
    assert_int_equal(ran, rows);
    pare_array_unref(y);
    pare_session_close(s);
    pass_keeps(m, x, limit);
    pare_model_free(m);
}

static void number(pare_model *m, const char *name, float x) { net_tensor(m, name, PARE_FLOAT, 0, NULL, &x); }

/* One activation of `in`, as exporters write it; what they take apart is in several nodes. */
static void activation(pare_model *m, const char *what, const char *in, const char *out) {
    if (strcmp(what, "Clip") == 0) {
        number(m, "low", 0);
        number(m, "high", 0.6f);
        net_node(m, "Clip", out, 3, in, "low", "high");
    } else if (strcmp(what, "Swish") == 0) {
        net1(m, "Sigmoid", "sig", in);
        net2(m, "Mul", out, in, "sig");
    } else if (strcmp(what, "x HardSigmoid") == 0) {
        pare_attr_set_float(m, net1(m, "HardSigmoid", "sig", in), "alpha", 1.0f / 6);
        net2(m, "Mul", out, in, "sig");
    } else {
        net1(m, what, out, in);
    }
}

static const char *const whats[] = {"Relu",  "Clip",          "LeakyRelu", "HardSwish",
                                    "Swish", "x HardSigmoid", "Sigmoid",   "Elu"};
enum { WHATS = sizeof whats / sizeof *whats };

static pare_model *conv(void) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {4, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w[] = {4, 4, 3, 3}, b[] = {4}, pads[] = {1, 1, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w", 4, w, 1);
    net_floats(m, "b", 1, b, 2);
    pare_attr_set_ints(m, net_node(m, "Conv", "c", 3, "x", "w", "b"), "pads", pads, 4);
    return m;
}

static void behind_conv(void **state) {
    (void)state;
    const int64_t x[] = {2, 4, 6, 6};
    for (size_t i = 0; i < WHATS; i++) {
        pare_model *m = conv();
        activation(m, whats[i], "c", "y");
        net_output(m, "y");
        same_and_few(m, 4, x, 1, 1e-5);
    }
}

/* Conv + Add + activation, the sum in place; either operand first. */
static void behind_conv_and_add(void **state) {
    (void)state;
    const int64_t x[] = {2, 4, 6, 6};
    for (size_t i = 0; i < 2 * WHATS; i++) {
        pare_model *m = conv();
        const int64_t w[] = {4, 4, 1, 1};
        net_floats(m, "w1", 4, w, 5);
        net2(m, "Conv", "side", "x", "w1");
        net2(m, "Add", "a", i % 2 ? "c" : "side", i % 2 ? "side" : "c");
        activation(m, whats[i / 2], "a", "y");
        net_output(m, "y");
        same_and_few(m, 4, x, 2, 1e-5);
    }
}

static void behind_gemm(void **state) {
    (void)state;
    static const char *const ops[] = {"Relu", "Gelu", "Swish", "LeakyRelu"};
    const pare_dim dims[] = {{-1, "N"}, {5, NULL}, {8, NULL}};
    const int64_t w[] = {8, 8}, b[] = {8}, x[] = {3, 5, 8};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        pare_model *m = net_new(21);
        net_input(m, "x", PARE_FLOAT, 3, dims);
        net_floats(m, "w", 2, w, 1);
        net_floats(m, "b", 1, b, 2);
        net2(m, "MatMul", "p", "x", "w");
        net2(m, "Add", "c", "b", "p");
        activation(m, ops[i], "c", "z");
        net2(m, "MatMul", "p2", "z", "w");
        net2(m, "Add", "c2", "p2", "b");
        net2(m, "Add", "y", "x", "c2"); /* the residual */
        net_output(m, "y");
        same_and_few(m, 3, x, 2, 1e-5);
    }
}

/* A gate: the product with another projection. */
static void gated(void **state) {
    (void)state;
    const pare_dim dims[] = {{-1, "N"}, {8, NULL}};
    const int64_t w[] = {8, 16}, b[] = {16}, x[] = {3, 8};
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 2, dims);
    net_floats(m, "w", 2, w, 1);
    net_floats(m, "v", 2, w, 4);
    net_floats(m, "b", 1, b, 2);
    net_node(m, "Gemm", "g", 3, "x", "v", "b");
    net_node(m, "Gemm", "c", 3, "x", "w", "b");
    activation(m, "Swish", "c", "s");
    net2(m, "Mul", "y", "s", "g");
    net_output(m, "y");
    same_and_few(m, 2, x, 2, 1e-5);
}

/* What two nodes want, or the caller, is made. */
static void ends(void **state) {
    (void)state;
    const int64_t x[] = {2, 4, 6, 6};
    pare_model *m = conv();
    net1(m, "Relu", "r", "c");
    net1(m, "Tanh", "t", "r");
    net2(m, "Mul", "y", "r", "t");
    net_output(m, "y");
    same_and_few(m, 4, x, 3, 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(behind_conv), cmocka_unit_test(behind_conv_and_add),
                                       cmocka_unit_test(behind_gemm), cmocka_unit_test(gated), cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
