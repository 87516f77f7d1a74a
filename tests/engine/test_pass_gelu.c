/* test_pass_gelu.c - Gelu in every order that is exported, HardSwish, and what only looks like them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"

static pare_model *start(void) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{-1, "N"}, {8, NULL}};
    const float numbers[] = {1.41421356f, 0.70710678f, 1, 0.5f, 3, 0.044715f, 0.79788456f, 2};
    const char *const names[] = {"sqrt2", "sqrt.5", "one", "half", "three", "k", "sqrt2pi", "two"};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    for (int i = 0; i < 8; i++) net_tensor(m, names[i], PARE_FLOAT, 0, NULL, &numbers[i]);
    return m;
}

/* (x (1 + s)) 0.5, x ((1 + s) 0.5), (0.5 x) (1 + s) */
static void finish(pare_model *m, int form, const char *s) {
    net2(m, "Add", "a", s, "one");
    if (form == 0) {
        net2(m, "Mul", "p", "x", "a");
        net2(m, "Mul", "y", "p", "half");
    } else if (form == 1) {
        net2(m, "Mul", "p", "a", "half");
        net2(m, "Mul", "y", "x", "p");
    } else {
        net2(m, "Mul", "p", "half", "x");
        net2(m, "Mul", "y", "p", "a");
    }
    net_output(m, "y");
}

static void check(pare_model *m, const char *op, size_t want) {
    const int64_t dims[] = {3, 8};
    uint64_t changed;
    assert_int_equal(pass_leaves(m, pare_pass_gelu, op, &changed), want);
    assert_int_equal(changed, want);
    pass_keeps(m, net_filled(2, dims, 3), 1e-5);
    pare_model_free(m);
}

static void erf_form(void **state) {
    (void)state;
    for (int form = 0; form < 3; form++)
        for (int div = 0; div < 2; div++) {
            pare_model *m = start();
            net2(m, div ? "Div" : "Mul", "d", "x", div ? "sqrt2" : "sqrt.5");
            net1(m, "Erf", "e", "d");
            finish(m, form, "e");
            check(m, "Gelu", 1);
        }
}

static void tanh_form(void **state) {
    (void)state;
    for (int form = 0; form < 3; form++)
        for (int pow = 0; pow < 2; pow++) {
            pare_model *m = start();
            if (pow) {
                net2(m, "Pow", "cube", "x", "three");
            } else {
                net2(m, "Mul", "square", "x", "x");
                net2(m, "Mul", "cube", "square", "x");
            }
            net2(m, "Mul", "t", "cube", "k");
            net2(m, "Add", "s", "x", "t");
            net2(m, "Mul", "u", "s", "sqrt2pi");
            net1(m, "Tanh", "e", "u");
            finish(m, form, "e");
            check(m, "Gelu", 1);
        }
}

static void not_gelu(void **state) {
    (void)state;
    pare_model *m = start(); /* Erf(x / 0.7) */
    net2(m, "Div", "d", "x", "sqrt.5");
    net1(m, "Erf", "e", "d");
    finish(m, 0, "e");
    check(m, "Gelu", 0);
    m = start(); /* 1 + s is wanted elsewhere */
    net2(m, "Div", "d", "x", "sqrt2");
    net1(m, "Erf", "e", "d");
    net2(m, "Add", "a", "e", "one");
    net2(m, "Mul", "p", "x", "a");
    net2(m, "Mul", "h", "p", "half");
    net2(m, "Add", "y", "h", "a");
    net_output(m, "y");
    check(m, "Gelu", 0);
}

static void hard_swish(void **state) {
    (void)state;
    for (int sixth = 0; sixth < 2; sixth++) {
        pare_model *m = start();
        pare_attr_set_float(m, net1(m, "HardSigmoid", "h", "x"), "alpha", sixth ? 1.0f / 6 : 0.2f);
        net2(m, "Mul", "y", "x", "h");
        net_output(m, "y");
        check(m, "HardSwish", (size_t)sixth);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(erf_form), cmocka_unit_test(tanh_form),
                                       cmocka_unit_test(not_gelu), cmocka_unit_test(hard_swish)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
