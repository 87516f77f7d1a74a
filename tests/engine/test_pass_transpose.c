/* test_pass_transpose.c - two Transposes are one or none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static void check(const int64_t *a, const int64_t *b, bool middle, size_t want_left, size_t want_changed) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}, {3, NULL}};
    const int64_t x[] = {4, 2, 3};
    uint64_t changed;
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net1(m, "Neg", "n", "x");
    uint32_t first = net1(m, "Transpose", "t", "n");
    if (a) pare_attr_set_ints(m, first, "perm", a, 3);
    uint32_t second = net1(m, "Transpose", "u", "t");
    if (b) pare_attr_set_ints(m, second, "perm", b, 3);
    net1(m, "Neg", "y", "u");
    net_output(m, "y");
    if (middle) net_output(m, "t");
    assert_int_equal(pass_leaves(m, pare_pass_cancel_transposes, "Transpose", &changed), want_left);
    assert_int_equal(changed, want_changed);
    if (!middle) pass_keeps(m, net_filled(3, x, 3), 0);
    pare_model_free(m);
}

static void cancelled(void **state) {
    (void)state;
    const int64_t a[] = {0, 2, 1}, b[] = {1, 2, 0}, c[] = {2, 0, 1};
    check(a, a, false, 0, 1);
    check(b, c, false, 0, 1);
    check(NULL, NULL, false, 0, 1);
    check(a, a, true, 1, 1);
}

static void merged(void **state) {
    (void)state;
    const int64_t a[] = {0, 2, 1}, b[] = {1, 2, 0};
    check(a, b, false, 1, 1);
    check(b, b, false, 1, 1);
    check(a, b, true, 2, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cancelled), cmocka_unit_test(merged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
