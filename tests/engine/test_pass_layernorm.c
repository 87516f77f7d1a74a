/* test_pass_layernorm.c - LayerNormalization from its primitives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static pare_model *net(int64_t axis, bool pow, bool shift) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {3, NULL}, {8, NULL}};
    const int64_t one[] = {1}, eight[] = {8};
    const float two = 2, eps = 1e-3f;
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net_tensor(m, "axes", PARE_INT64, 1, one, &axis);
    net_tensor(m, "two", PARE_FLOAT, 0, NULL, &two);
    net_tensor(m, "eps", PARE_FLOAT, 0, NULL, &eps);
    net_floats(m, "scale", 1, eight, 1);
    net_floats(m, "shift", 1, eight, 2);
    net2(m, "ReduceMean", "mean", "x", "axes");
    net2(m, "Sub", "c", "x", "mean");
    net2(m, pow ? "Pow" : "Mul", "sq", "c", pow ? "two" : "c");
    net2(m, "ReduceMean", "var", "sq", "axes");
    net2(m, "Add", "ve", "var", "eps");
    net1(m, "Sqrt", "root", "ve");
    net2(m, "Div", "n", "c", "root");
    net2(m, "Mul", shift ? "ns" : "y", "n", "scale");
    if (shift) net2(m, "Add", "y", "ns", "shift");
    net_output(m, "y");
    return m;
}

static void check(pare_model *m, size_t want) {
    const int64_t dims[] = {2, 3, 8};
    uint64_t changed;
    assert_int_equal(pass_leaves(m, pare_pass_layernorm, "LayerNormalization", &changed), want);
    assert_int_equal(changed, want);
    pass_keeps(m, net_filled(3, dims, 3), 1e-5);
    pare_model_free(m);
}

static void rewritten(void **state) {
    (void)state;
    check(net(-1, true, true), 1);
    check(net(2, false, true), 1);
    check(net(-1, true, false), 1);
}

static void another_axis(void **state) {
    (void)state;
    check(net(1, true, true), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rewritten), cmocka_unit_test(another_axis)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
