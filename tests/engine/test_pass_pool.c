/* test_pass_pool.c - ReduceMean over the places of an image into GlobalAveragePool. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static void check(const int64_t *axes, int64_t n_axes, int keep, int want) {
    const pare_dim dims[] = {{-1, "N"}, {3, NULL}, {5, NULL}, {4, NULL}};
    const int64_t x[] = {2, 3, 5, 4}, w[] = {3, 3, 1, 1};
    pare_model *m = net_new(21);
    uint64_t changed;
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w", 4, w, 1);
    net_tensor(m, "axes", PARE_INT64, 1, &n_axes, axes);
    net2(m, "Conv", "c", "x", "w");
    pare_attr_set_int(m, net2(m, "ReduceMean", "y", "c", "axes"), "keepdims", keep);
    net_output(m, "y");
    assert_int_equal(pass_leaves(m, pare_pass_pool, "GlobalAveragePool", &changed), want);
    assert_int_equal(changed, want);
    assert_int_equal(pass_leaves(m, pare_pass_pool, "ReduceMean", &changed), !want);
    assert_int_equal(pass_leaves(m, pare_pass_pool, "Squeeze", &changed), want && !keep);
    pass_keeps(m, net_filled(4, x, 3), 1e-5);
    pare_model_free(m);
}

static void means(void **state) {
    (void)state;
    const int64_t places[] = {2, 3}, ends[] = {-1, -2}, one[] = {3}, channels[] = {1, 2}, three[] = {1, 2, 3};
    for (int keep = 0; keep < 2; keep++) {
        check(places, 2, keep, 1);
        check(ends, 2, keep, 1);
        check(one, 1, keep, 0);
        check(channels, 2, keep, 0);
        check(three, 3, keep, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(means)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
