/* test_errors.c - what can't be run is refused with one clear error, on every device, and the session stays usable
 * after input that was wrong. The same through the program, with many more graphs: tests/interop/test_bad_graphs.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/check.h"

#include <stdlib.h>

static const pare_dim n_by_2[] = {{-1, "N"}, {2, NULL}};

/* One status, one error of this code, which names this. x NULL: opening is enough. */
static void refused(const pare_model *m, pare_array *x, pare_status want, const char *code, const char *part) {
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_diags *d = diags();
        pare_session *s = NULL;
        pare_session_opts o = net_opts(device);
        pare_array *y = NULL;
        pare_status st = pare_session_open(m, &o, d, &s);
        if (!st && x) st = pare_session_run(s, &x, d, &y);
        if (st != want) print_all(d);
        assert_int_equal(st, want);
        assert_int_equal(pare_exit_code(st), 2);
        assert_null(y);
        assert_int_equal(pare_diags_errors(d), 1);
        assert_said(d, code, part);
        pare_diags_free(d);
        pare_session_close(s);
    }
}

static pare_model *net_x(void) {
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 2, n_by_2);
    return m;
}

static void nodes(void **state) {
    (void)state;
    const int64_t four[] = {4}, two[] = {2}, pair[] = {1, 0};
    const float f[4] = {1, 2, 3, 4};
    pare_model *m = net_x();
    net_tensor(m, "b", PARE_FLOAT, 1, four, f);
    net2(m, "Add", "y", "x", "b");
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "model.shape", "Add");
    pare_model_free(m);

    m = net_x();
    net_tensor(m, "b", PARE_INT64, 1, two, pair);
    net2(m, "Add", "y", "x", "b");
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "engine.dtype", "\"x\" is float32, but \"b\" is int64");
    pare_model_free(m);

    m = net_x();
    net2(m, "Relu", "y", "x", "x");
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "engine.inputs", "it has 2 inputs, at most 1 are allowed");
    pare_model_free(m);

    m = net_x();
    net1(m, "Add", "y", "x");
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "engine.inputs", "it has 1 inputs, at least 2 are needed");
    pare_model_free(m);

    m = net_x();
    pare_attr_set_int(m, net1(m, "Softmax", "y", "x"), "axis", 3);
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "engine.attribute", "its axis is 3, but \"x\" has 2 dims");
    pare_model_free(m);

    m = net_x();
    pare_attr_set_string(m, net1(m, "Gelu", "y", "x"), "approximate", "well", 4);
    net_output(m, "y");
    refused(m, NULL, PARE_EINVAL, "engine.attribute", "\"approximate\" is \"well\"; there are: none tanh");
    pare_model_free(m);
}

/* Shapes that are computed, from a batch that is known only when the input comes. */
static void computed_shapes(void **state) {
    (void)state;
    const int64_t three[] = {3, 2}, two[] = {2};
    const struct {
        const char *op;
        int64_t with[2];
        const char *code, *says;
    } tries[] = {{"Div", {0, 1}, "engine.zero", "whole numbers are divided by \"with\", which holds a 0"},
                 {"Mod", {1, 0}, "engine.zero", "whole numbers are divided by \"with\", which holds a 0"},
                 {"Sub", {9, 9}, "model.shape", "ConstantOfShape"},
                 {"Mul", {(int64_t)1 << 40, (int64_t)1 << 40}, "engine.size", "more bytes than can be counted"}};
    pare_array *x = net_filled(2, three, 1);
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        pare_model *m = net_x();
        net_tensor(m, "with", PARE_INT64, 1, two, tries[i].with);
        net1(m, "Shape", "s", "x");
        net2(m, tries[i].op, "t", "s", "with");
        net1(m, "ConstantOfShape", "y", "t");
        net_output(m, "y");
        refused(m, x, PARE_EINVAL, tries[i].code, tries[i].says);
        pare_model_free(m);
    }
    pare_array_unref(x);
}

/* Wrong numbers at run time: an error, and the session goes on. */
static void wrong_numbers(void **state) {
    (void)state;
    const pare_dim one[] = {{1, NULL}};
    const int64_t dims[] = {1}, three[] = {3};
    const struct {
        const char *op;
        int64_t good, bad;
        const char *says;
    } tries[] = {{"Gather", -3, 3, "an index is out of range"}, {"Div", 2, 0, "a whole number is divided by 0"}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        for (int device = 0; device < NET_DEVICES; device++) {
            pare_model *m = net_new(21);
            const int64_t data[] = {7, 8, 9};
            net_input(m, "i", PARE_INT64, 1, one);
            net_tensor(m, "data", PARE_INT64, 1, three, data);
            net2(m, tries[i].op, "y", "data", "i");
            net_output(m, "y");
            pare_session *s = open_on(m, net_opts(device));
            for (int round = 0; round < 4; round++) {
                bool bad = round % 2;
                pare_array *in = net_array(PARE_INT64, 1, dims, bad ? &tries[i].bad : &tries[i].good), *out = NULL;
                pare_diags *d = diags();
                pare_status st = pare_session_run(s, &in, d, &out);
                assert_int_equal(st, bad ? PARE_EINVAL : PARE_OK);
                assert_int_equal(pare_diags_errors(d), bad);
                if (bad && !net_is_far(device)) assert_said(d, "engine.run", tries[i].says); /* far's comes later */
                if (!bad) assert_int_equal(*(const int64_t *)pare_array_data(out), i ? 3 : 7);
                pare_array_unref(in);
                pare_array_unref(out);
                pare_diags_free(d);
            }
            pare_session_close(s);
            pare_model_free(m);
        }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {T(nodes), T(computed_shapes), T(wrong_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
