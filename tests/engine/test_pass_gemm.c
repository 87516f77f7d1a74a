/* test_pass_gemm.c - MatMul and Add into Gemm, of two dims and of more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static void check(int32_t ndim, const pare_dim *dims, const int64_t *x, size_t want, bool bias_first) {
    pare_model *m = net_new(21);
    const int64_t w[] = {4, 3}, b[] = {3};
    uint64_t changed;
    net_input(m, "x", PARE_FLOAT, ndim, dims);
    net_floats(m, "w", 2, w, 1);
    net_floats(m, "b", 1, b, 2);
    net2(m, "MatMul", "p", "x", "w");
    net2(m, "Add", "y", bias_first ? "b" : "p", bias_first ? "p" : "b");
    net_output(m, "y");
    assert_int_equal(pass_leaves(m, pare_pass_matmul_add, "Gemm", &changed), want);
    assert_int_equal(changed, want);
    assert_int_equal(pass_leaves(m, pare_pass_matmul_add, "MatMul", &changed), !want);
    pass_keeps(m, net_filled((size_t)ndim, x, 3), 1e-5);
    pare_model_free(m);
}

static void two_dims(void **state) {
    (void)state;
    const pare_dim dims[] = {{-1, "N"}, {4, NULL}};
    const int64_t x[] = {5, 4};
    check(2, dims, x, 1, false);
    check(2, dims, x, 1, true);
}

static void more_dims(void **state) {
    (void)state;
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}, {3, NULL}, {4, NULL}};
    const int64_t x[] = {5, 2, 3, 4}, none[] = {0, 2, 3, 4};
    check(4, dims, x, 1, false);
    check(4, dims, none, 1, true);
}

static void two_unknown(void **state) {
    (void)state;
    const pare_dim dims[] = {{-1, "N"}, {-1, "L"}, {4, NULL}};
    const int64_t x[] = {5, 2, 4};
    check(3, dims, x, 0, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_dims), cmocka_unit_test(more_dims),
                                       cmocka_unit_test(two_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
