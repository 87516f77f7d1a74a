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

/* An image of one place is its own mean; one of more is not, nor where the mean is what is asked for. */
static void one_place(void **state) {
    (void)state;
    for (int64_t size = 1; size < 3; size++)
        for (int output = 0; output < 2; output++) {
            const pare_dim dims[] = {{2, NULL}, {3, NULL}, {size, NULL}, {1, NULL}};
            const int64_t x[] = {2, 3, size, 1};
            uint64_t changed;
            pare_model *m = net_new(21);
            net_input(m, "x", PARE_FLOAT, 4, dims);
            net1(m, "Relu", "r", "x");
            net1(m, "GlobalAveragePool", "g", "r");
            if (!output) net1(m, "Flatten", "f", "g");
            net_output(m, output ? "g" : "f");
            assert_int_equal(pass_leaves(m, pare_pass_pool, "GlobalAveragePool", &changed), size > 1 || output);
            pass_keeps(m, net_filled(4, x, 3), 1e-6);
            pare_model_free(m);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(means), cmocka_unit_test(one_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
