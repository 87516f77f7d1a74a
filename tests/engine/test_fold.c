/* test_fold.c - what is computed before any input comes: constants of constants, shapes that are known, sizes that a
 * shape is computed from; what stays for the run; and that a folded net answers as its nodes would. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/check.h"

#include <stdlib.h>

/* Runs x on every device: `want` comes out, and so many rows of the profile (0: any; reorders don't count) are run. */
static void gives(pare_model *m, pare_array *x, uint32_t dtype, size_t ndim, const int64_t *dims, const void *want,
                  size_t rows) {
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session_opts o = net_opts(device);
        o.profile = true;
        pare_session *s = open_on(m, o);
        pare_array *y = run1(s, x);
        assert_int_equal(y->dtype, dtype);
        assert_int_equal(y->ndim, ndim);
        for (size_t i = 0; i < ndim; i++) assert_int_equal(y->dims[i], dims[i]);
        assert_memory_equal(pare_array_data(y), want, y->nbytes);
        const pare_profile_node *nodes;
        size_t n = pare_session_profile(s, &nodes), ran = 0;
        for (size_t i = 0; i < n; i++) ran += strcmp(nodes[i].op_type, "Reorder") != 0;
        if (rows && ran != rows && !net_is_far(device)) {
            for (size_t i = 0; i < n; i++) print_message("%s %s\n", nodes[i].op_type, nodes[i].kernel);
            fail_msg("device %d: %zu nodes run, not %zu", device, ran, rows);
        }
        pare_array_unref(y);
        pare_session_close(s);
    }
    pare_array_unref(x);
    pare_model_free(m);
}

static void ints(pare_model *m, const char *name, int64_t n, const int64_t *v) {
    net_tensor(m, name, PARE_INT64, 1, &n, v);
}

/* A chain of constants: Add, Mul, Cast, Concat and Gather before the one node that needs the input. */
static void constants(void **state) {
    (void)state;
    const int64_t two = 2, dims[] = {3, 4};
    const pare_dim in[] = {{3, NULL}, {4, NULL}};
    const float a[] = {1, 2}, b[] = {3, 5}, x[12] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 2, in);
    net_tensor(m, "a", PARE_FLOAT, 1, &two, a);
    net_tensor(m, "b", PARE_FLOAT, 1, &two, b);
    net2(m, "Add", "s", "a", "b");                                     /* 4, 7 */
    net2(m, "Mul", "p", "s", "a");                                     /* 4, 14 */
    pare_attr_set_int(m, net2(m, "Concat", "c", "s", "p"), "axis", 0); /* 4, 7, 4, 14 */
    net2(m, "Mul", "y", "x", "c");
    net_output(m, "y");
    const float want[] = {4, 7, 4, 14, 8, 14, 8, 28, 12, 21, 12, 42};
    gives(m, net_array(PARE_FLOAT, 2, dims, x), PARE_FLOAT, 2, dims, want, 1);
}

/* The Constant node's forms are weights like any other. */
static void constant_nodes(void **state) {
    (void)state;
    const int64_t dims[] = {2};
    const pare_dim in[] = {{2, NULL}};
    const float x[] = {1, 2}, list[] = {10, 20};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 1, in);
    const char *name = "one";
    pare_attr_set_float(m, pare_node_add(m, PARE_MAIN_GRAPH, 0, "Constant", "", "k1", NULL, 0, &name, 1), "value_float",
                        0.5f);
    name = "two";
    pare_attr_set_floats(m, pare_node_add(m, PARE_MAIN_GRAPH, 0, "Constant", "", "k2", NULL, 0, &name, 1),
                         "value_floats", list, 2);
    net2(m, "Mul", "c", "one", "two"); /* 5, 10 */
    net2(m, "Add", "y", "x", "c");
    net_output(m, "y");
    const float want[] = {6, 12};
    gives(m, net_array(PARE_FLOAT, 1, dims, x), PARE_FLOAT, 1, dims, want, 1);
}

/* As exporters flatten: Shape -> Gather -> Unsqueeze -> Concat -> Reshape. With the sizes known none of it is run; with
 * an open batch it follows what comes. */
static void flattened(int64_t batch) {
    const pare_dim in[] = {{batch, batch < 0 ? "N" : NULL}, {2, NULL}, {3, NULL}};
    const int64_t zero = 0, minus = -1, x_dims[] = {4, 2, 3}, y_dims[] = {4, 6};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 3, in);
    net_tensor(m, "zero", PARE_INT64, 0, NULL, &zero);
    ints(m, "axes", 1, &zero);
    ints(m, "rest", 1, &minus);
    net1(m, "Relu", "r", "x");
    net1(m, "Shape", "shape", "r");
    net2(m, "Gather", "n", "shape", "zero");
    net2(m, "Unsqueeze", "n1", "n", "axes");
    pare_attr_set_int(m, net2(m, "Concat", "to", "n1", "rest"), "axis", 0);
    net2(m, "Reshape", "y", "r", "to");
    net_output(m, "y");
    float want[24];
    pare_array *x = net_filled(3, x_dims, 1);
    for (int i = 0; i < 24; i++) want[i] = net_f(x)[i] > 0 ? net_f(x)[i] : 0;
    gives(m, x, PARE_FLOAT, 2, y_dims, want, 1);
}

static void shapes(void **state) {
    (void)state;
    flattened(4);
    flattened(-1);
}

/* Shape's start and end count from the back and are cut to the rank; Size is a scalar. */
static void shape_slices(void **state) {
    (void)state;
    static const struct {
        int64_t start, end, n, want[3];
    } rows[] = {{0, 3, 3, {2, 5, 7}},  {1, 3, 2, {5, 7}}, {-1, 3, 1, {7}}, {0, -1, 2, {2, 5}},
                {-9, 9, 3, {2, 5, 7}}, {2, 1, 0, {0}},    {-2, -1, 1, {5}}};
    const int64_t dims[] = {2, 5, 7};
    const pare_dim in[] = {{2, NULL}, {5, NULL}, {7, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model *m = net_new(17);
        net_input(m, "x", PARE_FLOAT, 3, in);
        uint32_t n = net1(m, "Shape", "y", "x");
        pare_attr_set_int(m, n, "start", rows[i].start);
        pare_attr_set_int(m, n, "end", rows[i].end);
        net_output(m, "y");
        gives(m, net_filled(3, dims, 1), PARE_INT64, 1, &rows[i].n, rows[i].want, 0);
    }
    const int64_t size = 70;
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 3, in);
    net1(m, "Size", "y", "x");
    net_output(m, "y");
    gives(m, net_filled(3, dims, 1), PARE_INT64, 0, NULL, &size, 0);
}

/* A small constant is not made large before it is needed: the Expand is run, and right. */
static void not_grown(void **state) {
    (void)state;
    const int64_t dims[] = {1, 1}, big[] = {512, 512}, two = 2;
    const pare_dim in[] = {{1, NULL}, {1, NULL}};
    const float one = 1.5f, x = 2;
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 2, in);
    net_tensor(m, "one", PARE_FLOAT, 2, dims, &one);
    net_tensor(m, "big", PARE_INT64, 1, &two, big);
    net2(m, "Expand", "e", "one", "big");
    net2(m, "Mul", "y", "e", "x");
    net_output(m, "y");
    float *want = malloc(sizeof(float) * 512 * 512);
    assert_non_null(want);
    for (int i = 0; i < 512 * 512; i++) want[i] = 3;
    gives(m, net_array(PARE_FLOAT, 2, dims, &x), PARE_FLOAT, 2, big, want, 2);
    free(want);
}

/* A graph output that is a constant of constants comes out as it is. */
static void output_is_folded(void **state) {
    (void)state;
    const int64_t two = 2;
    const pare_dim in[] = {{2, NULL}};
    const float a[] = {1, -2}, want[] = {0, -3}, x[] = {0, 0};
    const float minus[] = {-1, -1};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 1, in);
    net_tensor(m, "a", PARE_FLOAT, 1, &two, a);
    net_tensor(m, "b", PARE_FLOAT, 1, &two, minus);
    net2(m, "Add", "y", "a", "b");
    net_output(m, "y");
    gives(m, net_array(PARE_FLOAT, 1, &two, x), PARE_FLOAT, 1, &two, want, 0);
}

/* What a kernel refuses while folding names the node. */
static void refused(void **state) {
    (void)state;
    const int64_t one = 1, a = 7, b = 0;
    const pare_dim in[] = {{1, NULL}};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_INT64, 1, in);
    net_tensor(m, "a", PARE_INT64, 1, &one, &a);
    net_tensor(m, "b", PARE_INT64, 1, &one, &b);
    net2(m, "Div", "q", "a", "b");
    net2(m, "Add", "y", "x", "q");
    net_output(m, "y");
    pare_diags *d = diags();
    pare_session_opts o = net_opts(NET_NEAR);
    pare_session *s = NULL;
    assert_int_not_equal(pare_session_open(m, &o, d, &s), PARE_OK);
    assert_null(s);
    assert_said(d, "engine.zero", "Div node");
    pare_diags_free(d);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(constants, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(constant_nodes, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(shapes, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(shape_slices, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(not_grown, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(output_is_folded, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(refused, far_setup, far_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
