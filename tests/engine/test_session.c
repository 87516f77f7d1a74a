/* test_session.c - sessions on every device: results, shapes that data decides, what comes out, what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/check.h"

#include <stdlib.h>

/* ---- results ---- */

/* y = relu(x * [[1, 2], [3, 4]] + [10, -100]) */
static void by_hand(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}};
    const int64_t two[] = {2, 2}, one[] = {2}, x_dims[] = {2, 2};
    const float w[] = {1, 2, 3, 4}, b[] = {10, -100}, x[] = {1, 1, 2, 50};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    net_tensor(m, "w", PARE_FLOAT, 2, two, w);
    net_tensor(m, "b", PARE_FLOAT, 1, one, b);
    net2(m, "MatMul", "p", "x", "w");
    net2(m, "Add", "s", "p", "b");
    net1(m, "Relu", "y", "s");
    net_output(m, "y");
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        assert_int_equal(pare_session_n_inputs(s), 1);
        assert_string_equal(pare_session_input(s, 0)->name, "x");
        assert_string_equal(pare_session_output(s, 0)->name, "y");
        assert_int_equal(pare_session_output(s, 0)->ndim, 2);
        pare_array *in = net_array(PARE_FLOAT, 2, x_dims, x), *out = run1(s, in);
        const float want[] = {14, 0, 162, 104};
        assert_memory_equal(pare_array_data(out), want, sizeof want);
        assert_int_equal(out->dims[0], 2);
        pare_array_unref(in);
        pare_array_unref(out);
        pare_session_close(s);
    }
    pare_model_free(m);
}

/* Fused or not, passes or not, near or far, batch whole or split: the same answer. */
static void residual_all_ways(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    const int64_t dims[] = {6, 2, 6, 6}, half[] = {3, 2, 6, 6};
    pare_array *x = net_filled(4, dims, 1);
    pare_session_opts plain = net_opts(NET_NEAR);
    plain.no_passes = true;
    pare_session *s = open_on(m, plain);
    pare_array *want = run1(s, x);
    pare_session_close(s);
    for (int device = 0; device < NET_DEVICES; device++)
        for (int no_passes = 0; no_passes < 2; no_passes++) {
            pare_session_opts o = net_opts(device);
            o.no_passes = no_passes != 0;
            o.profile = true;
            s = open_on(m, o);
            pare_array *got = run1(s, x), *again = run1(s, x);
            assert_true(net_distance(got, want) < 1e-5);
            assert_memory_equal(pare_array_data(got), pare_array_data(again), got->nbytes);
            for (int part = 0; part < 2; part++) {
                pare_array *xp = net_array(PARE_FLOAT, 4, half, net_f(x) + part * 3 * 72), *yp = run1(s, xp);
                for (int i = 0; i < 9; i++)
                    assert_true(abs((int)((net_f(yp)[i] - net_f(got)[part * 9 + i]) * 1e5f)) <= 1);
                pare_array_unref(xp);
                pare_array_unref(yp);
            }
            const pare_profile_node *rows;
            size_t n = pare_session_profile(s, &rows), convs = 0, bns = 0;
            for (size_t i = 0; i < n; i++) {
                convs += strcmp(rows[i].op_type, "Conv") == 0;
                bns += strcmp(rows[i].op_type, "BatchNormalization") == 0;
                if (strcmp(rows[i].op_type, "Conv") == 0) assert_true(rows[i].macs > 0 && rows[i].runs > 0);
            }
            assert_int_equal(convs, 3);
            assert_int_equal(bns, no_passes);
            assert_true(pare_session_memory_of(s).arena > 0);
            pare_array_unref(got);
            pare_array_unref(again);
            pare_session_close(s);
        }
    assert_true(far_ctl.posts >= 3);
    assert_true(far_ctl.reorders > 0);
    assert_true(far_ctl.packs >= 3);
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* Weights are packed once, however many shapes come. */
static void packed_once(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    pare_session *s = open_on(m, net_opts(NET_FAR));
    for (int64_t n = 1; n < 14; n++) {
        const int64_t dims[] = {n, 2, 6, 6};
        pare_array *x = net_filled(4, dims, 1), *y = run1(s, x);
        assert_int_equal(y->dims[0], n);
        pare_array_unref(x);
        pare_array_unref(y);
    }
    assert_int_equal(far_ctl.packs, 3);
    pare_session_close(s);
    pare_model_free(m);
}

/* ---- shapes that are computed ---- */

/* y = x reshaped to (N, -1) by Shape, Gather, Unsqueeze, Concat, as PyTorch's exporter writes it. */
static void shape_chain(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}, {-1, "W"}};
    const int64_t one[] = {1}, zero = 0, minus = -1, x_dims[] = {3, 2, 5};
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net_tensor(m, "zero", PARE_INT64, 0, NULL, &zero);
    net_tensor(m, "axes", PARE_INT64, 1, one, &zero);
    net_tensor(m, "minus", PARE_INT64, 1, one, &minus);
    net1(m, "Shape", "s", "x");
    net2(m, "Gather", "n", "s", "zero");
    net2(m, "Unsqueeze", "u", "n", "axes");
    pare_attr_set_int(m, net2(m, "Concat", "target", "u", "minus"), "axis", 0);
    net1(m, "Neg", "neg", "x");
    net2(m, "Reshape", "y", "neg", "target");
    net_output(m, "y");
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        pare_array *x = net_filled(3, x_dims, 1), *y = run1(s, x);
        assert_int_equal(y->ndim, 2);
        assert_int_equal(y->dims[0], 3);
        assert_int_equal(y->dims[1], 10);
        for (int i = 0; i < 30; i++) assert_true(net_f(y)[i] == -net_f(x)[i]);
        const pare_profile_node *rows;
        assert_int_equal(pare_session_profile(s, &rows), 1); /* the shape computations and the view are gone */
        pare_array_unref(x);
        pare_array_unref(y);
        pare_session_close(s);
    }
    pare_model_free(m);
}

/* The target is an input: its numbers are part of the plan's key. */
static void numbers_of_an_input(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{6, NULL}}, t_dims[] = {{-1, NULL}};
    const int64_t x_dims[] = {6}, two[] = {2}, three[] = {3};
    net_input(m, "x", PARE_FLOAT, 1, dims);
    net_input(m, "target", PARE_INT64, 1, t_dims);
    net2(m, "Reshape", "r", "x", "target");
    net1(m, "Abs", "y", "r");
    net_output(m, "y");
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        const int64_t a[] = {2, 3}, b[] = {3, 2}, c[] = {1, 2, 3}, bad[] = {4, 2};
        const struct {
            const int64_t *t, *dims;
            uint32_t ndim;
        } tries[] = {{a, two, 2}, {b, two, 2}, {c, three, 3}, {a, two, 2}};
        pare_array *x = net_filled(1, x_dims, 1), *y;
        for (size_t i = 0; i < 4; i++) {
            pare_array *in[] = {x, net_array(PARE_INT64, 1, tries[i].dims, tries[i].t)};
            assert_int_equal(pare_session_run(s, in, NULL, &y), PARE_OK);
            assert_int_equal(y->ndim, tries[i].ndim);
            for (uint32_t k = 0; k < y->ndim; k++) assert_int_equal(y->dims[k], tries[i].t[k]);
            pare_array_unref(y);
            pare_array_unref(in[1]);
        }
        pare_array *in[] = {x, net_array(PARE_INT64, 1, two, bad)};
        pare_diags *d = diags();
        assert_int_not_equal(pare_session_run(s, in, d, &y), PARE_OK);
        assert_true(pare_diags_errors(d) > 0);
        pare_diags_free(d);
        pare_array_unref(in[1]);
        pare_array_unref(x);
        pare_session_close(s);
    }
    pare_model_free(m);
}

/* A depth may be a float. */
static void depth_of_floats(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}};
    const int64_t two[] = {2}, x_dims[] = {3}, ids[] = {2, 0, 1};
    const float depth = 3, values[] = {-1, 1};
    net_input(m, "x", PARE_INT64, 1, dims);
    net_tensor(m, "depth", PARE_FLOAT, 0, NULL, &depth);
    net_tensor(m, "values", PARE_FLOAT, 1, two, values);
    net_node(m, "OneHot", "y", 3, "x", "depth", "values");
    net_output(m, "y");
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        pare_array *x = net_array(PARE_INT64, 1, x_dims, ids), *y = run1(s, x);
        const float want[] = {-1, -1, 1, 1, -1, -1, -1, 1, -1};
        assert_memory_equal(pare_array_data(y), want, sizeof want);
        pare_array_unref(x);
        pare_array_unref(y);
        pare_session_close(s);
    }
    pare_model_free(m);
}

/* ---- what comes out ---- */

/* Fetching in the middle stops fusion there; inputs and constants can be handed out too. */
static void fetches(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    const char *const names[] = {"c2", "r2", "x", "fcb"};
    const int64_t dims[] = {1, 2, 6, 6};
    pare_array *x = net_filled(4, dims, 1), *out[4], *first[4] = {NULL};
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session_opts o = net_opts(device);
        o.fetches = names;
        o.n_fetches = 4;
        pare_session *s = open_on(m, o);
        assert_int_equal(pare_session_n_outputs(s), 4);
        assert_string_equal(pare_session_output(s, 1)->name, "r2");
        assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
        assert_memory_equal(pare_array_data(out[2]), pare_array_data(x), x->nbytes);
        assert_int_equal(out[3]->count, 3);
        assert_true(net_f(out[3])[1] == net_number(1 + 9 * 977));
        for (uint64_t i = 0; i < out[1]->count; i++) assert_true(net_f(out[1])[i] >= 0);
        for (int i = 0; i < 4; i++) {
            if (!first[i]) first[i] = pare_array_ref(out[i]);
            assert_true(net_distance(out[i], first[i]) < 1e-5);
            pare_array_unref(out[i]);
        }
        pare_session_close(s);
    }
    for (int i = 0; i < 4; i++) pare_array_unref(first[i]);
    pare_session_opts o = net_opts(NET_NEAR);
    const char *const wrong[] = {"nope"};
    o.fetches = wrong;
    o.n_fetches = 1;
    pare_session *s;
    pare_diags *d = diags();
    assert_int_equal(pare_session_open(m, &o, d, &s), PARE_ENOTFOUND);
    assert_said(d, "engine.fetch", "nope");
    pare_diags_free(d);
    pare_array_unref(x);
    pare_model_free(m);
}

static void nothing_in(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    const int64_t dims[] = {0, 2, 6, 6};
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        pare_array *x = net_filled(4, dims, 1), *y = run1(s, x);
        assert_int_equal(y->count, 0);
        assert_int_equal(y->dims[1], 3);
        pare_array_unref(x);
        pare_array_unref(y);
        pare_session_close(s);
    }
    pare_model_free(m);
}

/* ---- bad input ---- */

static void wrong_inputs(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}};
    net_input(m, "a", PARE_FLOAT, 2, dims);
    net_input(m, "b", PARE_FLOAT, 2, dims);
    net2(m, "Add", "y", "a", "b");
    net_output(m, "y");
    const int64_t ok[] = {3, 2}, other[] = {1, 2}, wide[] = {3, 4}, flat[] = {6};
    const float f[12] = {0};
    pare_array *good = net_array(PARE_FLOAT, 2, ok, f), *out = NULL;
    const struct {
        pare_array *a;
        const char *say;
    } tries[] = {{NULL, "\"b\" is missing"},
                 {net_array(PARE_INT32, 2, ok, f), "input \"b\" is int32 [3, 2], but the model takes float32 [N, 2]"},
                 {net_array(PARE_FLOAT, 2, wide, f), "[3, 4]"},
                 {net_array(PARE_FLOAT, 1, flat, f), "[6]"},
                 {net_array(PARE_FLOAT, 2, other, f), "\"N\" is 1 in dim 0 of input \"b\", but 3"}};
    pare_session *s = open_on(m, net_opts(NET_FAR));
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        pare_array *in[] = {good, tries[i].a};
        pare_diags *d = diags();
        assert_int_equal(pare_session_run(s, in, d, &out), PARE_EINVAL);
        assert_said(d, "engine.input", tries[i].say);
        assert_null(out);
        pare_diags_free(d);
        pare_array_unref(tries[i].a);
    }
    pare_array_unref(good);
    pare_session_close(s);
    pare_model_free(m);
}

static void refused(const pare_model *m, const char *code, const char *part) {
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_diags *d = diags();
        pare_session *s = NULL;
        pare_session_opts o = net_opts(device);
        pare_status st = pare_session_open(m, &o, d, &s);
        assert_int_equal(st, PARE_EUNSUPPORTED);
        assert_said(d, code, part);
        pare_diags_free(d);
    }
}

static void refusals(void **state) {
    (void)state;
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 2, dims);
    const char *y = "y";
    const uint32_t x = net_value(m, "x");
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Thing", "my.own", "thing7", &x, 1, &y, 1);
    pare_model_opset_set(m, "my.own", 1);
    net_output(m, "y");
    refused(m, "engine.op", "my.own.Thing (node \"thing7\")");
    pare_model_free(m);

    m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 2, dims);
    net1(m, "NoSuchOp", "y", "x");
    net_output(m, "y");
    refused(m, "engine.opset", "NoSuchOp");
    pare_model_free(m);

    m = net_new(17);
    net_input(m, "x", PARE_STRING, 2, dims);
    net1(m, "Identity", "y", "x");
    net_output(m, "y");
    refused(m, "engine.input", "string");
    pare_model_free(m);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        T(by_hand),         T(residual_all_ways), T(packed_once), T(shape_chain),  T(numbers_of_an_input),
        T(depth_of_floats), T(fetches),           T(nothing_in),  T(wrong_inputs), T(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
