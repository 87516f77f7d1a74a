/* test_pass_reshape.c - Reshape moves behind what can fuse with Gemm. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

/* MatMul, Add, Gelu, then the residual x + …: `swap` says on which side. */
static pare_model *net(bool swap, bool twice) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {3, NULL}, {4, NULL}};
    const int64_t w[] = {4, 4}, b[] = {4};
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net_floats(m, "w", 2, w, 1);
    net_floats(m, "b", 1, b, 2);
    net2(m, "MatMul", "p", "x", "w");
    net2(m, "Add", "g", "p", "b");
    net1(m, "Gelu", "a", "g");
    net2(m, "Add", "r", swap ? "x" : "a", swap ? "a" : "x");
    net1(m, "Relu", "y", "r");
    net_output(m, "y");
    if (twice) net_output(m, "a");
    return m;
}

/* Both passes as the engine runs them; the nodes between the Gemm and the last Reshape are counted. */
static pare_status both(pare_model *m, pare_diags *d, uint64_t *changed) {
    uint64_t n;
    pare_status st = pare_pass_matmul_add(m, d, &n);
    if (!st) st = pare_model_infer(m, d);
    return st ? st : pare_pass_sink_reshape(m, d, changed);
}

static void moved(void **state) {
    (void)state;
    for (int swap = 0; swap < 2; swap++) {
        pare_model *m = net(swap, false);
        const int64_t x[] = {5, 3, 4}, none[] = {0, 3, 4};
        uint64_t changed;
        assert_int_equal(pass_leaves(m, both, "Reshape", &changed), 3);
        assert_int_equal(changed, 3);
        pass_keeps(m, net_filled(3, x, 3), 1e-5);
        pass_keeps(m, net_filled(3, none, 3), 1e-5);
        pare_model_free(m);
    }
}

/* What the graph hands out keeps its shape. */
static void stops_at_outputs(void **state) {
    (void)state;
    pare_model *m = net(false, true);
    uint64_t changed;
    pass_leaves(m, both, "Reshape", &changed);
    assert_int_equal(changed, 1);
    pare_session_opts o = net_opts(NET_NEAR);
    pare_session *s = NULL;
    const int64_t x_dims[] = {2, 3, 4};
    pare_array *x = net_filled(3, x_dims, 3), *y[2];
    assert_int_equal(pare_session_open(m, &o, NULL, &s), PARE_OK);
    assert_int_equal(pare_session_run(s, &x, NULL, y), PARE_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(y[i]->ndim, 3);
        assert_int_equal(y[i]->dims[1], 3);
        pare_array_unref(y[i]);
    }
    pare_array_unref(x);
    pare_session_close(s);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(moved), cmocka_unit_test(stops_at_outputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
