/* test_quant.c - quantized graphs: what runs in 8 bits, what falls back to floats, and that it is the same numbers. The
 * kernels are the oracle's, behind the tests' own backends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/qnet.h"

#include "engine/grad.h"

#include <stdlib.h>

static const int64_t two[] = {2, 4, 6, 6};

static bool has_oracle(int device) { return device != NET_CPU; }

static size_t rows_of(const pare_session *s, const char *op, const char *dtype) {
    const pare_profile_node *rows;
    size_t n = pare_session_profile(s, &rows), found = 0;
    for (size_t i = 0; i < n; i++)
        found += (!op || strcmp(rows[i].op_type, op) == 0) && (!dtype || strcmp(rows[i].dtype, dtype) == 0);
    return found;
}

static size_t fell_back(const pare_session *s) {
    const pare_profile_node *rows;
    size_t n = pare_session_profile(s, &rows), found = 0;
    for (size_t i = 0; i < n; i++) found += rows[i].fell_back;
    return found;
}

static void print_rows(const pare_session *s) {
    const pare_profile_node *rows;
    size_t n = pare_session_profile(s, &rows);
    for (size_t i = 0; i < n; i++)
        print_error("%s %s %s %s%s\n", rows[i].node, rows[i].op_type, rows[i].kernel, rows[i].dtype,
                    rows[i].fell_back ? " (fell back)" : "");
}

/* In floats, nothing fused, nothing moved. */
static pare_array *simulated(const pare_model *m, pare_array *x) {
    far_ctl.quantized_but = NULL;
    pare_session_opts o = net_opts(NET_NEAR);
    o.no_passes = true;
    pare_session *s = open_on(m, o);
    pare_array *y = run1(s, x);
    assert_int_equal(rows_of(s, NULL, "uint8") - rows_of(s, "QuantizeLinear", "uint8"), 0);
    pare_session_close(s);
    return y;
}

static void same(const pare_array *got, const pare_array *want) {
    assert_int_equal(got->dtype, want->dtype);
    assert_int_equal(got->nbytes, want->nbytes);
    assert_memory_equal(pare_array_data(got), pare_array_data(want), got->nbytes);
}

/* An answer that is worth something: not all alike. */
static void lively(const pare_array *y) {
    size_t differ = 0;
    for (uint64_t i = 1; i < y->count; i++) differ += net_f(y)[i] != net_f(y)[0];
    assert_true(differ * 2 > y->count);
}

/* Four heavy kernels, two poolings (one moves bytes), and the reading of the end; Add and Relu are within. */
static void residual(void **state) {
    (void)state;
    static const uint32_t dtypes[] = {PARE_UINT8, PARE_INT8};
    for (int t = 0; t < 2; t++)
        for (int32_t axis = -1; axis < 1; axis++) {
            pare_model *m = qnet_residual(-1, dtypes[t], axis);
            pare_array *x = net_filled(4, two, 5), *want = simulated(m, x);
            const char *dtype = pare_dtype_name(dtypes[t]);
            lively(want);
            for (int device = 0; device < NET_DEVICES; device++) {
                far_ctl.quantized_but = "";
                pare_session *s = open_on(m, net_opts(device));
                pare_array *got = run1(s, x);
                if (has_oracle(device) && (rows_of(s, "Conv", dtype) != 3 || rows_of(s, "DequantizeLinear", NULL) != 1))
                    print_rows(s);
                if (has_oracle(device)) {
                    assert_int_equal(rows_of(s, "Conv", dtype), 3);
                    assert_int_equal(rows_of(s, "Gemm", dtype), 1);
                    assert_int_equal(rows_of(s, "MaxPool", dtype), 1);
                    assert_int_equal(rows_of(s, "GlobalAveragePool", dtype), 1);
                    assert_int_equal(rows_of(s, "Add", NULL) + rows_of(s, "Relu", NULL), 0);
                    assert_int_equal(rows_of(s, "QuantizeLinear", NULL), 1);
                    assert_int_equal(rows_of(s, "DequantizeLinear", NULL), 1);
                    assert_int_equal(fell_back(s), 0);
                }
                same(got, want);
                pare_array_unref(got);
                pare_session_close(s);
            }
            pare_array_unref(want);
            pare_array_unref(x);
            pare_model_free(m);
        }
}

/* Whatever a device refuses in 8 bits, and however few post-ops it takes: the same numbers. What fell back is known. */
static void refused(void **state) {
    (void)state;
    static const char *const ops[] = {"Conv", "Gemm", "Add", "GlobalAveragePool"};
    pare_model *m = qnet_residual(-1, PARE_UINT8, 0);
    pare_array *x = net_filled(4, two, 5), *want = simulated(m, x);
    for (int device = 0; device < NET_DEVICES; device++)
        for (unsigned set = 0; set < 16; set++)
            for (uint32_t posts = 0; posts < 6; posts++) {
                char but[128] = "";
                for (int i = 0; i < 4; i++)
                    if (set >> i & 1) strcat(strcat(but, ops[i]), " ");
                far_ctl.quantized_but = but;
                far_ctl.most_posts = posts;
                pare_session_opts o = net_opts(device);
                o.no_passes = set & 1;
                pare_session *s = open_on(m, o);
                pare_array *got = run1(s, x);
                same(got, want);
                if (device == NET_NEAR) {
                    assert_int_equal(rows_of(s, "Conv", "float32"), set & 1 ? 3 : 0);
                    assert_int_equal(rows_of(s, "Gemm", "float32"), set & 3 ? 1 : 0); /* behind Flatten, not moved */
                    assert_true((fell_back(s) != 0) == (set & 11 || (set & 4 && rows_of(s, "Add", NULL))));
                }
                pare_array_unref(got);
                pare_session_close(s);
            }
    far_ctl.most_posts = 0;
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* The main device has no kernel of any kind for a node: the host runs it in 8 bits. */
static void elsewhere(void **state) {
    (void)state;
    pare_model *m = qnet_residual(-1, PARE_UINT8, 0);
    pare_array *x = net_filled(4, two, 5), *want = simulated(m, x);
    static const char *const refuse[] = {"Conv", "MaxPool", "GlobalAveragePool Gemm", "QuantizeLinear",
                                         "DequantizeLinear Conv"};
    for (size_t i = 0; i < sizeof refuse / sizeof *refuse; i++) {
        far_ctl.quantized_but = "";
        far_ctl.refuse = refuse[i];
        pare_session *s = open_on(m, net_opts(NET_FAR));
        pare_array *got = run1(s, x);
        same(got, want);
        pare_array_unref(got);
        pare_session_close(s);
        far_ctl.refuse = NULL;
    }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* Values in the middle are handed out, in 8 bits and as floats: nothing runs past them. */
static void handed_out(void **state) {
    (void)state;
    static const char *const names[] = {"r1_q", "p_d", "c2_q", "c2_d", "a", "g_q", "f", "y_d", "w1", "b1", "x_d"};
    enum { N = sizeof names / sizeof *names };
    pare_model *m = qnet_residual(-1, PARE_UINT8, 0);
    pare_array *x = net_filled(4, two, 5), *first[N] = {NULL}, *out[N] = {NULL};
    for (int round = 0; round < 1 + 2 * NET_DEVICES; round++) {
        far_ctl.quantized_but = round ? "" : NULL;
        pare_session_opts o = net_opts(round ? (round - 1) / 2 : NET_NEAR);
        o.no_passes = round % 2 == 0;
        o.fetches = names;
        o.n_fetches = N;
        pare_session *s = open_on(m, o);
        assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
        for (int i = 0; i < N; i++) {
            if (!first[i]) first[i] = pare_array_ref(out[i]);
            same(out[i], first[i]);
            pare_array_unref(out[i]);
        }
        pare_session_close(s);
    }
    for (int i = 0; i < N; i++) pare_array_unref(first[i]);
    pare_array_unref(x);
    pare_model_free(m);
}

/* One reading for two who want floats; none where all take 8 bits. */
static void shared_reading(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w[] = {8, 4, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_weights(m, "w", 4, w, 0, 60, 1);
    qnet_round(m, "x", PARE_UINT8, 0.0078125f, 128);
    net2(m, "Conv", "c", "x_d", "w");
    qnet_round(m, "c", PARE_UINT8, 0.03125f, 100);
    net1(m, "Neg", "n", "x_d"); /* floats alone */
    net1(m, "Abs", "b", "x_d");
    net_output(m, "c_q");
    net_output(m, "n");
    net_output(m, "b");
    pare_array *x = net_filled(4, two, 5), *out[3];
    far_ctl.quantized_but = "";
    pare_session *s = open_on(m, net_opts(NET_NEAR));
    assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
    assert_int_equal(rows_of(s, "DequantizeLinear", NULL), 1);
    assert_int_equal(rows_of(s, "Conv", "uint8"), 1);
    for (int i = 0; i < 3; i++) pare_array_unref(out[i]);
    pare_session_close(s);
    far_ctl.quantized_but = "Conv";
    s = open_on(m, net_opts(NET_NEAR));
    assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
    assert_int_equal(rows_of(s, "DequantizeLinear", NULL), 1); /* the weights' is done when planning */
    assert_int_equal(rows_of(s, "Conv", "float32"), 1);
    assert_int_equal(fell_back(s), 1);
    for (int i = 0; i < 3; i++) pare_array_unref(out[i]);
    pare_session_close(s);
    pare_array_unref(x);
    pare_model_free(m);
}

/* Weights alone in 8 bits are floats from the start, and float kernels pack them. */
static void weights_only(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w[] = {8, 4, 1, 1};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_weights(m, "w", 4, w, 0, 60, 1);
    net2(m, "Conv", "c", "x", "w");
    net_output(m, "c");
    pare_array *x = net_filled(4, two, 5);
    far_ctl.quantized_but = "";
    pare_session *s = open_on(m, net_opts(NET_CPU));
    pare_array *y = run1(s, x);
    assert_int_equal(rows_of(s, "DequantizeLinear", NULL), 0);
    assert_int_equal(rows_of(s, "Conv", "float32"), 1);
    assert_int_equal(fell_back(s), 0);
    assert_true(pare_session_memory_of(s).packed > 0);
    pare_array_unref(y);
    pare_session_close(s);
    pare_array_unref(x);
    pare_model_free(m);
}

/* ---- biases ---- */

/* x_d -> Conv with a float bias (as TensorRT-style exporters leave it) -> Q. */
static pare_model *float_bias(float size) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w[] = {8, 4, 1, 1}, b[] = {8};
    float bias[8];
    for (int i = 0; i < 8; i++) bias[i] = size * (float)(i - 4);
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_weights(m, "w", 4, w, 0, 60, 1);
    net_tensor(m, "b", PARE_FLOAT, 1, b, bias);
    qnet_round(m, "x", PARE_UINT8, 0.0078125f, 128);
    net_node(m, "Conv", "c", 3, "x_d", "w", "b");
    qnet_round(m, "c", PARE_UINT8, 0.03125f, 100);
    net_output(m, "c_d");
    return m;
}

static void biases(void **state) {
    (void)state;
    static const float sizes[] = {0.0625f, 1e9f}; /* the second does not fit in int32 */
    for (int i = 0; i < 2; i++) {
        pare_model *m = float_bias(sizes[i]);
        pare_array *x = net_filled(4, two, 5), *want = simulated(m, x);
        far_ctl.quantized_but = "";
        pare_session *s = open_on(m, net_opts(NET_NEAR));
        pare_array *got = run1(s, x), *again = run1(s, x);
        same(got, want);
        same(again, want);
        assert_int_equal(rows_of(s, "Conv", i ? "float32" : "uint8"), 1);
        pare_array_unref(got);
        pare_array_unref(again);
        pare_array_unref(want);
        pare_array_unref(x);
        pare_session_close(s);
        pare_model_free(m);
    }
}

/* ---- other ops, one by one ---- */

/* Scales that are no powers of 2: each op differs by one step at most. */
static void one_op(const char *op, size_t n_in, uint32_t dtype, const char *attr, float alpha) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    int32_t zero = dtype == PARE_UINT8 ? 121 : -7;
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_round(m, "x", dtype, 0.00771f, zero);
    net1(m, "Neg", "nx", "x");
    qnet_round(m, "nx", dtype, 0.00913f, zero + 3);
    uint32_t n = n_in == 2 ? net2(m, op, "y", "x_d", "nx_d") : net1(m, op, "y", "x_d");
    if (attr && alpha == 0) pare_attr_set_int(m, n, attr, 1);
    if (attr && alpha != 0) pare_attr_set_float(m, n, attr, alpha);
    if (strcmp(op, "AveragePool") == 0) {
        const int64_t k[] = {3, 3}, p[] = {1, 1, 1, 1};
        pare_attr_set_ints(m, n, "kernel_shape", k, 2);
        pare_attr_set_ints(m, n, "pads", p, 4);
    }
    qnet_round(m, "y", dtype, 0.0137f, zero + 1);
    net_output(m, "y_q");
    pare_array *x = net_filled(4, two, 5), *want = simulated(m, x);
    for (int device = 0; device < NET_DEVICES; device++) {
        far_ctl.quantized_but = "";
        pare_session *s = open_on(m, net_opts(device));
        pare_array *got = run1(s, x);
        if (has_oracle(device)) assert_int_equal(rows_of(s, op, pare_dtype_name(dtype)), 1);
        assert_int_equal(got->nbytes, want->nbytes);
        for (uint64_t i = 0; i < got->nbytes; i++) {
            int a = ((const uint8_t *)pare_array_data(got))[i], z = ((const uint8_t *)pare_array_data(want))[i];
            if (dtype == PARE_INT8) a = (int8_t)a, z = (int8_t)z;
            if (abs(a - z) > 1) fail_msg("%s, element %d: %d instead of %d", op, (int)i, a, z);
        }
        pare_array_unref(got);
        pare_session_close(s);
    }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

static void ops_one_by_one(void **state) {
    (void)state;
    static const struct {
        const char *op;
        size_t n_in;
        const char *attr;
        float alpha;
    } rows[] = {{"Add", 2, NULL, 0},       {"Mul", 2, NULL, 0},         {"Sub", 2, NULL, 0},
                {"Sigmoid", 1, NULL, 0},   {"Softmax", 1, "axis", 0},   {"LeakyRelu", 1, "alpha", 0.2f},
                {"HardSwish", 1, NULL, 0}, {"AveragePool", 1, NULL, 0}, {"GlobalAveragePool", 1, NULL, 0},
                {"Concat", 2, "axis", 0},  {"HardSigmoid", 1, NULL, 0}, {"Relu", 1, NULL, 0},
                {"Tanh", 1, NULL, 0},      {"Elu", 1, "alpha", 0.5f},   {"Gelu", 1, NULL, 0},
                {"MatMul", 2, NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        one_op(rows[i].op, rows[i].n_in, PARE_UINT8, rows[i].attr, rows[i].alpha);
        one_op(rows[i].op, rows[i].n_in, PARE_INT8, rows[i].attr, rows[i].alpha);
    }
}

/* ---- sums that saturate ---- */

static void saturating(void **state) {
    (void)state;
    static const int most[] = {127, 64};
    for (int i = 0; i < 2; i++) {
        pare_model *m = net_new(21);
        const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
        const int64_t w[] = {8, 4, 3, 3};
        net_input(m, "x", PARE_FLOAT, 4, dims);
        qnet_weights(m, "w", 4, w, 0, most[i], 1);
        qnet_round(m, "x", PARE_UINT8, 0.0078125f, 20);
        net2(m, "Conv", "c", "x_d", "w");
        qnet_round(m, "c", PARE_UINT8, 0.125f, 100);
        net_output(m, "c_q");
        pare_array *x = net_filled(4, two, 5);
        float *to = pare_array_data_mut(x);
        for (uint64_t k = 0; k < x->count; k++) to[k] += 1; /* much of it near 255 */
        pare_array *want = simulated(m, x);
        far_ctl.quantized_but = "";
        far_ctl.saturating = true;
        pare_session *s = open_on(m, net_opts(NET_NEAR));
        pare_array *got = run1(s, x);
        assert_int_equal(rows_of(s, "Conv", "uint8"), 1);
        bool equal = memcmp(pare_array_data(got), pare_array_data(want), want->nbytes) == 0;
        assert_int_equal(equal, i); /* weights of 7 bits are exact anywhere */
        far_ctl.saturating = false;
        pare_array_unref(got);
        pare_array_unref(want);
        pare_array_unref(x);
        pare_session_close(s);
        pare_model_free(m);
    }
}

/* ---- batches, training ---- */

/* A batch that the file fixes is opened. */
static void any_batch(void **state) {
    (void)state;
    const int64_t five[] = {5, 4, 6, 6};
    pare_model *fixed = qnet_residual(1, PARE_UINT8, 0), *open = qnet_residual(-1, PARE_UINT8, 0);
    pare_array *x = net_filled(4, five, 5), *want = simulated(open, x);
    far_ctl.quantized_but = "";
    pare_session_opts o = net_opts(NET_NEAR);
    o.any_batch = true;
    pare_session *s = open_on(fixed, o);
    assert_true(pare_session_takes(s, 5));
    assert_int_equal(pare_session_input(s, 0)->dims[0].value, -1);
    pare_array *got = run1(s, x);
    same(got, want);
    assert_int_equal(pare_session_piece(s), 0);
    pare_array_unref(got);
    pare_session_close(s);
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(fixed);
    pare_model_free(open);
}

static void not_trained(void **state) {
    (void)state;
    pare_model *m = qnet_residual(-1, PARE_UINT8, 0);
    pare_diags *d = diags();
    const pare_train_form form = {0};
    pare_trained out;
    assert_int_equal(pare_grad_prepare(m, &form, d, &out), PARE_EUNSUPPORTED);
    assert_said(d, "train.quantized", "DequantizeLinear");
    pare_diags_free(d);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(residual, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(refused, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(elsewhere, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(handed_out, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(shared_reading, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(weights_only, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(biases, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(ops_one_by_one, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(saturating, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(any_batch, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(not_trained, far_setup, far_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
