/* test_pass_pad.c - Pad into Conv and AveragePool, and where it must stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

#include <math.h>

static void check(const char *op, const int64_t *pads, float value, bool own_pads, size_t want) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}, {5, NULL}, {6, NULL}};
    const int64_t x[] = {2, 2, 5, 6}, w[] = {3, 2, 3, 3}, eight[] = {8}, kernel[] = {3, 3}, own[] = {1, 1, 0, 1};
    uint64_t changed;
    bool conv = strcmp(op, "Conv") == 0;
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w", 4, w, 1);
    net_tensor(m, "pads", PARE_INT64, 1, eight, pads);
    net_tensor(m, "value", PARE_FLOAT, 0, NULL, &value);
    net_node(m, "Pad", "p", 3, "x", "pads", "value");
    uint32_t n = net_node(m, op, "y", conv ? 2 : 1, "p", "w", "");
    if (!conv) pare_attr_set_ints(m, n, "kernel_shape", kernel, 2);
    if (own_pads) pare_attr_set_ints(m, n, "pads", own, 4);
    net_output(m, "y");
    assert_int_equal(pass_leaves(m, pare_pass_fold_pad, "Pad", &changed), !want);
    assert_int_equal(changed, want);
    if (want || !isinf(value)) pass_keeps(m, net_filled(4, x, 3), 1e-5); /* what stays may make infinities */
    pare_model_free(m);
}

static void folded(void **state) {
    (void)state;
    const int64_t pads[] = {0, 0, 1, 2, 0, 0, 0, 1};
    check("Conv", pads, 0, false, 1);
    check("Conv", pads, 0, true, 1);
    check("AveragePool", pads, 0, false, 1);
    check("MaxPool", pads, -INFINITY, false, 1);
}

static void stays(void **state) {
    (void)state;
    const int64_t pads[] = {0, 0, 1, 2, 0, 0, 0, 1}, crop[] = {0, 0, -1, 2, 0, 0, 0, 1},
                  batch[] = {1, 0, 0, 0, 0, 0, 0, 1};
    check("Conv", pads, 1, false, 0);
    check("Conv", crop, 0, false, 0);
    check("Conv", batch, 0, false, 0);
    check("AveragePool", pads, 0, true, 0);
    check("MaxPool", pads, 0, false, 0);
    check("MaxPool", pads, -INFINITY, true, 0); /* 2 + 1 of 3 */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folded), cmocka_unit_test(stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
