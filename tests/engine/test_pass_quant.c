/* test_pass_quant.c - rounding points moved together: DequantizeLinear behind what moves numbers, QuantizeLinear in
 * front of it, and what is needless then. All of it bit for bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/passes.h"
#include "far/qnet.h"

static const int64_t dims4[] = {2, 4, 6, 6};

static pare_model *begun(void) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_round(m, "x", PARE_UINT8, 0.0078125f, 128);
    return m;
}

static void ints(pare_model *m, const char *name, size_t n, const int64_t *v) {
    const int64_t dims[] = {(int64_t)n};
    net_tensor(m, name, PARE_INT64, 1, dims, v);
}
#define INTS(name, ...)                                                                                                \
    ints(m, name, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})
#define ATTR(id, name, ...)                                                                                            \
    pare_attr_set_ints(m, id, name, (const int64_t[]){__VA_ARGS__},                                                    \
                       sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

/* y of x_d by one op that moves numbers. */
static void moving(pare_model *m, const char *op) {
    if (strcmp(op, "MaxPool") == 0) {
        ATTR(net1(m, op, "y", "x_d"), "kernel_shape", 2, 2);
    } else if (strcmp(op, "Transpose") == 0) {
        ATTR(net1(m, op, "y", "x_d"), "perm", 0, 2, 3, 1);
    } else if (strcmp(op, "Reshape") == 0) {
        INTS("target", 2, 12, 12);
        net2(m, op, "y", "x_d", "target");
    } else if (strcmp(op, "Unsqueeze") == 0 || strcmp(op, "Tile") == 0 || strcmp(op, "Expand") == 0) {
        if (op[0] == 'U') INTS("how", 1);
        if (op[0] == 'T') INTS("how", 1, 2, 1, 1);
        if (op[0] == 'E') INTS("how", 3, 1, 1, 1, 1);
        net2(m, op, "y", "x_d", "how");
    } else if (strcmp(op, "Slice") == 0) {
        INTS("from", 1);
        INTS("to", 3);
        INTS("axes", 2);
        const uint32_t in[] = {net_value(m, "x_d"), net_value(m, "from"), net_value(m, "to"), net_value(m, "axes")};
        const char *out = "y";
        pare_node_add(m, PARE_MAIN_GRAPH, 0, op, "", op, in, 4, &out, 1);
    } else if (strcmp(op, "Gather") == 0) {
        INTS("which", 3, 0, 3);
        pare_attr_set_int(m, net2(m, op, "y", "x_d", "which"), "axis", 1);
    } else if (strcmp(op, "Resize") == 0) {
        const float scales[] = {1, 1, 2, 2};
        const int64_t four[] = {4};
        net_tensor(m, "scales", PARE_FLOAT, 1, four, scales);
        uint32_t n = net_node(m, op, "y", 3, "x_d", "", "scales");
        pare_attr_set_string(m, n, "mode", "nearest", 7);
    } else if (strcmp(op, "Concat") == 0) {
        pare_attr_set_int(m, net2(m, op, "y", "x_d", "x_d"), "axis", 1);
    } else {
        uint32_t n = net1(m, op, "y", "x_d");
        if (strcmp(op, "DepthToSpace") == 0) pare_attr_set_int(m, n, "blocksize", 2);
        if (strcmp(op, "SpaceToDepth") == 0) pare_attr_set_int(m, n, "blocksize", 2);
    }
}

static void down(void **state) {
    (void)state;
    static const char *const ops[] = {"MaxPool", "Transpose", "Reshape",      "Flatten",      "Unsqueeze",
                                      "Slice",   "Gather",    "DepthToSpace", "SpaceToDepth", "GlobalMaxPool",
                                      "Resize",  "Concat",    "Tile",         "Expand",       "Identity"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int same = 0; same < 2; same++) {
            pare_model *m = begun();
            uint64_t changed;
            moving(m, ops[i]);
            qnet_round(m, "y", PARE_UINT8, same ? 0.0078125f : 0.015625f, 128);
            net_output(m, "y_d");
            size_t left = pass_leaves(m, pare_pass_quant, "QuantizeLinear", &changed);
            if (left != (same ? 1 : 2)) print_error("%s\n", ops[i]);
            assert_int_equal(left, same ? 1 : 2); /* rounded to what it is already */
            assert_int_equal(changed, same ? 2 : 1);
            assert_int_equal(pass_leaves(m, pare_pass_quant, "DequantizeLinear", &changed), same ? 1 : 2);
            assert_int_equal(pass_leaves(m, pare_pass_quant, ops[i], &changed), 1);
            far_ctl.quantized_but = "";
            pass_keeps(m, net_filled(4, dims4, 3), 0);
            pare_model_free(m);
        }
}

/* Both parts of a Split, and a float consumer of what was read. */
static void two_outputs(void **state) {
    (void)state;
    pare_model *m = begun();
    const uint32_t in[] = {net_value(m, "x_d")};
    const char *out[] = {"a", "b"};
    uint64_t changed;
    uint32_t n = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Split", "", "split", in, 1, out, 2);
    pare_attr_set_int(m, n, "axis", 1);
    pare_attr_set_int(m, n, "num_outputs", 2);
    net1(m, "Neg", "na", "a");
    net2(m, "Sub", "y", "na", "b");
    net_output(m, "y");
    net_output(m, "x_d");
    assert_int_equal(pass_leaves(m, pare_pass_quant, "DequantizeLinear", &changed), 3);
    assert_int_equal(changed, 1);
    const char *const names[] = {"y", "b", "x_q"};
    pare_array *x = net_filled(4, dims4, 3), *first[3] = {NULL}, *got[3];
    for (int device = 0; device < NET_DEVICES; device++)
        for (int passes = 0; passes < 2; passes++) {
            pare_session_opts o = net_opts(device);
            o.no_passes = !passes;
            o.fetches = names;
            o.n_fetches = 3;
            pare_session *s = open_on(m, o);
            assert_int_equal(pare_session_run(s, &x, NULL, got), PARE_OK);
            for (int i = 0; i < 3; i++) {
                if (!first[i]) first[i] = pare_array_ref(got[i]);
                assert_memory_equal(pare_array_data(got[i]), pare_array_data(first[i]), got[i]->nbytes);
                pare_array_unref(got[i]);
            }
            pare_session_close(s);
        }
    for (int i = 0; i < 3; i++) pare_array_unref(first[i]);
    pare_array_unref(x);
    pare_model_free(m);
}

/* Weights that an exporter turns behind their reading: the channels' axis turns, too, and they run in 8 bits. */
static void turned_weights(void **state) {
    (void)state;
    const int64_t w[] = {5, 36}, flat[] = {8, 36};
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{8, NULL}, {36, NULL}};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    qnet_round(m, "x", PARE_UINT8, 0.0078125f, 128);
    qnet_weights(m, "w", 2, w, 0, 60, 1);
    ATTR(net1(m, "Transpose", "wt", "w"), "perm", 1, 0);
    net2(m, "MatMul", "y", "x_d", "wt");
    qnet_round(m, "y", PARE_UINT8, 0.0625f, 100);
    net_output(m, "y_d");
    far_ctl.quantized_but = "";
    pare_session *s = open_on(m, net_opts(NET_NEAR));
    pare_array *x = net_filled(2, flat, 3);
    pare_array_unref(run1(s, x));
    const pare_profile_node *rows;
    size_t n = pare_session_profile(s, &rows);
    for (size_t i = 0; i < n; i++) assert_string_not_equal(rows[i].op_type, "Transpose");
    assert_int_equal(n, 3);
    assert_string_equal(rows[1].dtype, "uint8");
    pare_session_close(s);
    pass_keeps(m, x, 0);
    pare_model_free(m);
}

/* What makes the numbers rounds them, too, though they are moved in between. */
static void up(void **state) {
    (void)state;
    const int64_t w[] = {4, 4, 1, 1};
    pare_model *m = begun();
    uint64_t changed;
    qnet_weights(m, "w", 4, w, 0, 60, 1);
    net2(m, "Conv", "c", "x_d", "w");
    net1(m, "Relu", "r", "c");
    ATTR(net1(m, "MaxPool", "p", "r"), "kernel_shape", 3, 3);
    ATTR(net1(m, "Transpose", "y", "p"), "perm", 0, 2, 3, 1);
    qnet_round(m, "y", PARE_UINT8, 0.03125f, 0);
    net_output(m, "y_d");
    pass_leaves(m, pare_pass_quant, "Relu", &changed);
    assert_true(changed >= 2);
    far_ctl.quantized_but = "";
    pare_session *s = open_on(m, net_opts(NET_NEAR));
    pare_array *x = net_filled(4, dims4, 3);
    pare_array_unref(run1(s, x));
    const pare_profile_node *rows;
    static const char *const want[] = {"QuantizeLinear", "Conv", "MaxPool", "Transpose", "DequantizeLinear"};
    assert_int_equal(pare_session_profile(s, &rows), 5);
    for (int i = 0; i < 5; i++) assert_string_equal(rows[i].op_type, want[i]);
    for (int i = 0; i < 4; i++) assert_string_equal(rows[i].dtype, "uint8");
    pare_session_close(s);
    pass_keeps(m, x, 0);
    pare_model_free(m);
}

/* MatMul and a float row, of more than two dims: one product that rounds. */
static void linear(void **state) {
    (void)state;
    const int64_t w[] = {6, 5}, b[] = {5};
    pare_model *m = begun();
    qnet_weights(m, "w", 2, w, 1, 60, 1);
    net_floats(m, "b", 1, b, 2);
    net2(m, "MatMul", "p", "x_d", "w");
    net2(m, "Add", "y", "p", "b");
    qnet_round(m, "y", PARE_UINT8, 0.0625f, 100);
    net_output(m, "y_d");
    far_ctl.quantized_but = "";
    pare_session *s = open_on(m, net_opts(NET_NEAR));
    pare_array *x = net_filled(4, dims4, 3);
    pare_array_unref(run1(s, x));
    const pare_profile_node *rows;
    assert_int_equal(pare_session_profile(s, &rows), 3);
    assert_string_equal(rows[1].op_type, "Gemm");
    assert_string_equal(rows[1].dtype, "uint8");
    pare_session_close(s);
    pass_keeps(m, x, 0.005); /* the bias is rounded to the sums' own scale */
    pare_model_free(m);
}

/* Relu and Clip between or before rounding points, where their bounds are the 8 bits' own. */
static void bounds(void **state) {
    (void)state;
    static const struct {
        const char *op;
        float low, high;
        uint32_t dtype;
        int zero, left;
    } rows[] = {{"Relu", 0, 0, PARE_UINT8, 0, 0},         {"Relu", 0, 0, PARE_UINT8, 1, 1},
                {"Relu", 0, 0, PARE_INT8, -128, 0},       {"Relu", 0, 0, PARE_INT8, 0, 1},
                {"Clip", 0, 6, PARE_UINT8, 0, 0},         {"Clip", 0, 1.9f, PARE_UINT8, 0, 1},
                {"Clip", -0.5f, 6, PARE_UINT8, 64, 0},    {"Clip", -0.4f, 6, PARE_UINT8, 64, 1},
                {"Clip", 0, 1.9921875f, PARE_UINT8, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int behind = 0; behind < 2; behind++) {
            pare_model *m = net_new(21);
            const pare_dim dims[] = {{2, NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
            uint64_t changed;
            net_input(m, "x", PARE_FLOAT, 4, dims);
            net_tensor(m, "low", PARE_FLOAT, 0, NULL, &rows[i].low);
            net_tensor(m, "high", PARE_FLOAT, 0, NULL, &rows[i].high);
            const char *from = behind ? "v_d" : "v";
            net1(m, "Neg", "v", "x");
            if (behind) qnet_round(m, "v", rows[i].dtype, 0.0078125f, rows[i].zero);
            if (rows[i].op[0] == 'R')
                net1(m, "Relu", "y", from);
            else
                net_node(m, "Clip", "y", 3, from, "low", "high");
            if (!behind) qnet_round(m, "y", rows[i].dtype, 0.0078125f, rows[i].zero);
            net1(m, "Neg", "z", behind ? "y" : "y_d");
            net_output(m, "z");
            if ((int)pass_leaves(m, pare_pass_quant, rows[i].op, &changed) != rows[i].left)
                fail_msg("row %zu, %d behind: %d expected", i, behind, rows[i].left);
            pass_keeps(m, net_filled(4, dims4, 3), 0);
            pare_model_free(m);
        }
}

/* Other parameters, one scale a channel, blocks, two who want the floats: all that stays. */
static void stays(void **state) {
    (void)state;
    const int64_t w[] = {4, 6};
    uint64_t changed;
    pare_model *m = begun();
    qnet_one(m, "o", PARE_UINT8, 0.0078125f, 127);
    qnet_to(m, "o", "x_d", "y_q");
    net_output(m, "y_q");
    assert_int_equal(pass_leaves(m, pare_pass_quant, "QuantizeLinear", &changed), 2);
    assert_int_equal(changed, 0);
    pare_model_free(m);
    m = net_new(21);
    const pare_dim dims[] = {{4, NULL}, {6, NULL}};
    net_input(m, "x", PARE_INT8, 2, dims);
    qnet_weights(m, "w", 2, w, 0, 60, 1);
    uint32_t id = qnet_from(m, "w", "x", "d");
    pare_attr_set_int(m, id, "axis", 0);
    INTS("target", 24);
    net2(m, "Reshape", "y", "d", "target");
    net_output(m, "y");
    assert_int_equal(pass_leaves(m, pare_pass_quant, "DequantizeLinear", &changed), 1);
    assert_int_equal(changed, 0);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(down, far_setup),           cmocka_unit_test_setup(two_outputs, far_setup),
        cmocka_unit_test_setup(turned_weights, far_setup), cmocka_unit_test_setup(up, far_setup),
        cmocka_unit_test_setup(linear, far_setup),         cmocka_unit_test_setup(bounds, far_setup),
        cmocka_unit_test_setup(stays, far_setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
