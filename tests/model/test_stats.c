/* tests/model/test_stats.c - parameters, zeros, multiply-adds: counted here once more, from the architectures. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/infer.h"
#include "model/stats.h"
#include "model/zoo.h"

#include "graph_make.h"

static pare_model_stats stats_of(pare_model *m) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model_stats s;
    assert_int_equal(pare_model_stats_of(m, d, &s), PARE_OK);
    assert_int_equal(pare_diags_count(d), 0);
    pare_diags_free(d);
    return s;
}

static uint64_t op_count(const pare_model_stats *s, const char *op) {
    for (size_t i = 0; i < s->ops.len; i++)
        if (strcmp(s->ops.data[i].op, op) == 0) return s->ops.data[i].count;
    return 0;
}

static const pare_tensor_stats *row(const pare_model_stats *s, const char *name) {
    for (size_t i = 0; i < s->tensors.len; i++)
        if (strcmp(s->tensors.data[i].name, name) == 0) return &s->tensors.data[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* ---- the zoo ---- */

static pare_model *zoo(const char *name) {
    pare_arg args[] = {
        {.u.i = 1000, .n = 1}, {.u.i = 3, .n = 1}, {.u.i = 224, .n = 1}, {.u.i = 0, .n = 1}, {.u.f = 0.2, .n = 1}};
    pare_model *m = NULL;
    assert_int_equal(pare_zoo_find(name)->build(args, 1, NULL, &m), PARE_OK);
    return m;
}

/* Multiply-adds of resnet18 by its paper: a stem, four stages of two blocks of two 3x3, three 1x1 shortcuts, fc. */
static int64_t resnet18_macs(void) {
    int64_t sum = 112LL * 112 * 64 * 3 * 49, size = 56, in = 64;
    for (int stage = 0; stage < 4; stage++, size /= 2) {
        int64_t out = 64LL << stage, pixels = size * size;
        sum += pixels * out * in * 9 + 3 * pixels * out * out * 9;
        if (in != out) sum += pixels * out * in;
        in = out;
    }
    return sum + 512 * 1000;
}

static void test_resnet18(void **state) {
    (void)state;
    pare_model *m = zoo("resnet18");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.parameters, 11689512);
    assert_int_equal(s.macs, resnet18_macs());
    assert_int_equal(s.macs, 1814073344);
    assert_int_equal(op_count(&s, "Conv"), 20);
    assert_int_equal(op_count(&s, "Gemm"), 1);
    assert_int_equal(s.dtypes[PARE_FLOAT], s.tensors.len);
    const pare_tensor_stats *w = row(&s, "layer1.0.conv1.weight");
    assert_string_equal(w->op, "Conv");
    assert_string_equal(w->label, "Conv#1");
    assert_int_equal(w->parameters, 64 * 64 * 9);
    assert_int_equal(w->bytes, 64 * 64 * 9 * 4);
    assert_int_equal(row(&s, "bn1.running_mean")->parameters, 0);
    assert_int_equal(row(&s, "bn1.running_var")->parameters, 0);
    assert_int_equal(row(&s, "bn1.weight")->parameters, 64);
    uint64_t parameters = 0, nonzero = 0;
    for (size_t i = 0; i < s.tensors.len; i++) {
        parameters += s.tensors.data[i].parameters;
        nonzero += s.tensors.data[i].nonzero;
    }
    assert_int_equal(parameters, s.parameters);
    assert_int_equal(nonzero, s.nonzero);
    pare_model_stats_free(&s);
    pare_model_free(m);
}

/* MobileNetV2 by its paper's table 2: expansion t, channels c, repeats n, stride s. */
static int64_t mobilenet_v2_macs(void) {
    static const int table[7][4] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                    {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    int64_t size = 112, in = 32, sum = size * size * 32 * 3 * 9;
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < table[i][2]; k++) {
            int64_t hidden = in * table[i][0], out = table[i][1];
            if (table[i][0] != 1) sum += size * size * in * hidden;
            size /= k ? 1 : table[i][3];
            sum += size * size * hidden * 9 + size * size * hidden * out;
            in = out;
        }
    return sum + size * size * 320 * 1280 + 1280 * 1000;
}

static void test_mobilenet_v2(void **state) {
    (void)state;
    pare_model *m = zoo("mobilenet_v2");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.parameters, 3504872);
    assert_int_equal(s.macs, mobilenet_v2_macs());
    assert_int_equal(s.macs, 300774272);
    assert_int_equal(op_count(&s, "Dropout"), 1);
    pare_model_stats_free(&s);
    pare_model_free(m);
}

/* ---- multiply-adds ---- */

static void test_macs(void **state) {
    (void)state;
    static const struct {
        const char *op, *ins, *attrs;
        int64_t want;
    } rows[] = {
        {"Conv", "f[N,4,8,8] =f[6,2,3,3]", "group=2", 6 * 6 * 6 * 2 * 9},
        {"Conv", "f[1,4,8,8] =f[6,4,3,3]", "", 6 * 6 * 6 * 4 * 9},
        {"Conv", "f[16,4,8,8] =f[6,4,3,3]", "", 6 * 6 * 6 * 4 * 9}, /* at batch 1 */
        {"Conv", "f[N,4,H,8] =f[6,4,3,3]", "", -1},
        {"ConvTranspose", "f[N,4,8,8] =f[4,3,2,2]", "strides=[2,2] group=2", 4 * 64 * 3 * 4},
        {"Gemm", "f[N,512] =f[1000,512]", "transB=1", 512000},
        {"Gemm", "f[?,N] =f[1000,512]", "transA=1 transB=1", 512000},
        {"MatMul", "f[N,7,768] =f[768,3072]", "", 7 * 768 * 3072},
        {"MatMul", "f[N,T,768] =f[768,3072]", "", -1},
        {"MatMul", "f[7,N,768] =f[768,3072]", "", -1}, /* N is no batch there */
        {"MatMul", "f[N,12,7,64] f[N,12,64,7]", "", 12 * 7 * 64 * 7},
        {"ConvInteger", "u[N,4,8,8] =u[6,4,3,3]", "", 6 * 6 * 6 * 4 * 9},
        {"QLinearConv", "u[1,3,5,5] =f[] =u[] =b[4,3,3,3] =f[4] =b[4] =f[] =u[]", "", 9 * 4 * 27},
        {"QLinearMatMul", "u[N,4] =f[] =u[] =b[4,6] =f[] =b[] =f[] =u[]", "", 24},
        {"LSTM", "f[7,N,10] =f[2,80,10] =f[2,80,20]", "hidden_size=20 direction=bidirectional", 7 * 2 * 80 * 30},
        {"LSTM", "f[T,N,10] =f[1,80,10] =f[1,80,20]", "hidden_size=20", -1},
        {"Relu", "f[N,4]", "", 0},
        {"FusedConv", "f[N,4] =f[6,4,3,3]", "", -1}, /* not in the table, and it may multiply */
        {"FusedRelu", "f[N,4] =f[6]", "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model *m = pare_model_new("g");
        uint32_t n = gm_node(m, rows[i].op, "", rows[i].ins, rows[i].attrs, "y");
        pare_model_stats s = stats_of(m);
        if (s.macs != rows[i].want)
            fail_msg("%s (%s): wanted %lld, got %lld", rows[i].op, rows[i].ins, (long long)rows[i].want,
                     (long long)s.macs);
        assert_int_equal(pare_node_macs(m, pare_model_node(m, n)), rows[i].want);
        pare_model_stats_free(&s);
        pare_model_free(m);
    }
}

/* One unknown makes the sum unknown; each layer's share is rounded by itself. */
static void test_macs_effective(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    float w[] = {1, 0, -0.0f, 2, 0, 0}, v[] = {0, 3, 4};
    gm_tensor(m, "w", PARE_FLOAT, 2, (int64_t[]){2, 3}, w);
    gm_tensor(m, "v", PARE_FLOAT, 2, (int64_t[]){3, 1}, v);
    gm_node(m, "Gemm", "", "f[N,2] @w", "", "a");
    gm_node(m, "MatMul", "", "@a @v", "", "b");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.macs, 6 + 3);
    assert_int_equal(s.macs_effective, 2 + 2);
    assert_int_equal(s.parameters, 9);
    assert_int_equal(s.nonzero, 4);
    pare_model_stats_free(&s);
    gm_node(m, "MatMul", "", "f[N,T,4] =f[4,4]", "", "c");
    s = stats_of(m);
    assert_int_equal(s.macs, -1);
    assert_int_equal(s.macs_effective, -1);
    pare_model_stats_free(&s);
    pare_model_free(m);
}

/* ---- parameters ---- */

static void test_roles(void **state) {
    (void)state;
    static const struct {
        const char *op, *ins, *attrs;
        uint64_t want;
    } rows[] = {
        {"Conv", "f[N,1,4,4] =f[1,1,1,1] =f[1]", "", 2}, /* single numbers of a layer count */
        {"Clip", "f[N] =f[] =f[]", "", 0},
        {"Dropout", "f[N] =f[]", "", 0},
        {"Add", "f[N,4] =f[4]", "", 4},
        {"Add", "f[N,4] =f[1]", "", 0},
        {"Pow", "f[N,4] =f[]", "", 0},
        {"PRelu", "f[N,4] =f[1]", "", 1},
        {"LayerNormalization", "f[N,4] =f[4] =f[4]", "", 8},
        {"BatchNormalization", "f[N,4,2] =f[4] =f[4] =f[4] =f[4]", "", 8},
        {"Resize", "f[N,1,4,4] _ f{1,1,2,2}", "", 0},
        {"Upsample", "f[N,1,4,4] f{1,1,2,2}", "", 0},
        {"Reshape", "f[N,4] {-1,2}", "", 0},
        {"Gather", "=f[10,4] i[N]", "", 40},
        {"Gather", "=i[10] i[N]", "", 0},
        {"DequantizeLinear", "=b[4,2] =f[2] =b[2]", "axis=1", 8},
        {"DequantizeLinear", "=j[4] =f[]", "", 4}, /* a bias */
        {"QLinearConv", "u[1,3,5,5] =f[] =u[] =b[4,3,3,3] =f[4] =b[4] =f[] =u[] =j[4]", "", 108 + 4},
        {"MatMulInteger", "u[N,4] =b[4,6] =u[] =b[6]", "", 24},
        {"Unheard", "f[N,4] =f[4,6]", "", 24},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model *m = pare_model_new("g");
        uint32_t n = gm_node(m, rows[i].op, "", rows[i].ins, rows[i].attrs, "y");
        pare_model_stats s = stats_of(m);
        if (s.parameters != rows[i].want)
            fail_msg("%s (%s): wanted %llu, got %llu", rows[i].op, rows[i].ins, (unsigned long long)rows[i].want,
                     (unsigned long long)s.parameters);
        uint64_t parameters, bytes;
        if (strcmp(rows[i].op, "DequantizeLinear") != 0) { /* its input is the layer's that takes it */
            pare_node_parameters(m, pare_model_node(m, n), &parameters, &bytes);
            assert_int_equal(parameters, rows[i].want);
        }
        pare_model_stats_free(&s);
        pare_model_free(m);
    }
}

/* Exporters share equal tensors through Identity: what comes out decides. */
static void test_through_copies(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_tensor(m, "mean", PARE_FLOAT, 1, (int64_t[]){4}, NULL);
    gm_tensor(m, "scale", PARE_FLOAT, 1, (int64_t[]){4}, NULL);
    gm_tensor(m, "w", PARE_FLOAT, 2, (int64_t[]){6, 4}, NULL);
    gm_tensor(m, "spare", PARE_FLOAT, 1, (int64_t[]){5}, NULL);
    gm_node(m, "Identity", "", "@mean", "", "mean1");
    gm_node(m, "BatchNormalization", "bn", "f[N,4] @scale @scale @mean1 @mean", "", "a");
    gm_node(m, "Transpose", "", "@w", "", "wt");
    gm_node(m, "MatMul", "one", "@a @wt", "", "b");
    gm_node(m, "MatMul", "two", "@a @wt", "", "c");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.parameters, 4 + 24 + 5);
    assert_int_equal(row(&s, "mean")->parameters, 0);
    assert_string_equal(row(&s, "mean")->op, "BatchNormalization");
    assert_string_equal(row(&s, "w")->op, "MatMul");
    assert_string_equal(row(&s, "w")->label, "MatMul#0");
    assert_string_equal(row(&s, "w")->node, "one");
    assert_string_equal(row(&s, "spare")->op, "");
    assert_string_equal(row(&s, "spare")->label, "");
    uint64_t parameters, bytes;
    pare_node_parameters(m, pare_model_node(m, pare_model_value(m, gm_find(m, "b"))->producer), &parameters, &bytes);
    assert_int_equal(parameters, 24);
    assert_int_equal(bytes, 96);
    pare_model_stats_free(&s);
    pare_model_free(m);
}

/* Weights in Constant nodes, as some converters write all of them. */
static void test_constant_nodes(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    float w[] = {1, 0, 0, 2};
    uint32_t n = gm_node(m, "Constant", "", "", "", "w");
    memcpy(gm_bytes(m, pare_attr_set_tensor(m, n, "value", PARE_FLOAT, 2, (int64_t[]){2, 2})), w, sizeof w);
    n = gm_node(m, "Constant", "", "", "", "shape");
    memset(gm_bytes(m, pare_attr_set_tensor(m, n, "value", PARE_INT64, 1, (int64_t[]){2})), 0, 16);
    gm_node(m, "Gemm", "", "f[N,2] @w", "", "y");
    gm_node(m, "Reshape", "", "@y @shape", "", "z");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.parameters, 4);
    assert_int_equal(s.nonzero, 2);
    assert_int_equal(s.macs_effective, 2);
    assert_int_equal(s.tensors.len, 1);
    assert_int_equal(row(&s, "w")->bytes, 16);
    pare_model_stats_free(&s);
    pare_model_free(m);
}

/* ---- quantized zeros ---- */

static void test_zero_points(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    const int8_t q[] = {5, 5, 7, 0, 5, 7, 5, 7}, z2[] = {5, 7}, z4[] = {5, 7, 5, 7};
    gm_tensor(m, "q", PARE_INT8, 2, (int64_t[]){4, 2}, q); /* columns: 5 7 5 5; 5 0 7 7 */
    gm_tensor(m, "z", PARE_INT8, 1, (int64_t[]){2}, z2);
    gm_node(m, "DequantizeLinear", "", "@q =f[2] @z", "axis=1", "w");
    gm_node(m, "MatMul", "", "f[N,4] @w", "", "y");
    pare_model_stats s = stats_of(m);
    assert_int_equal(row(&s, "q")->parameters, 8);
    assert_int_equal(row(&s, "q")->nonzero, 1 + 2);
    assert_string_equal(row(&s, "q")->op, "MatMul");
    assert_int_equal(row(&s, "z")->parameters, 0);
    assert_int_equal(s.macs, 8);
    assert_int_equal(s.macs_effective, 3);
    pare_model_stats_free(&s);
    pare_model_free(m);

    /* through a Transpose, the axis is another one of the tensor's */
    m = pare_model_new("g");
    gm_tensor(m, "q", PARE_INT8, 2, (int64_t[]){4, 2}, q); /* rows: 5 5; 7 0; 5 7; 5 7 */
    gm_tensor(m, "z", PARE_INT8, 1, (int64_t[]){4}, z4);
    gm_node(m, "Transpose", "", "@q", "", "qt");
    gm_node(m, "DequantizeLinear", "", "@qt =f[4] @z", "axis=1", "w");
    gm_node(m, "MatMul", "", "f[N,2] @w", "", "y");
    s = stats_of(m);
    assert_int_equal(row(&s, "q")->nonzero, 0 + 1 + 1 + 1);
    pare_model_stats_free(&s);
    pare_model_free(m);

    /* packed nibbles, one zero point; and blocks of two along axis 1 */
    const uint8_t u4[] = {0x18, 0x88, 0x21, 0x83}, nine[] = {8}, zb[] = {0x18, 0x11};
    for (int blocked = 0; blocked < 2; blocked++) {
        m = pare_model_new("g");
        pare_model_opset_set(m, "", 21);
        gm_tensor(m, "q", PARE_UINT4, 2, (int64_t[]){2, 4}, u4); /* 8 1 8 8; 1 2 3 8 */
        if (blocked)
            gm_tensor(m, "z", PARE_UINT4, 2, (int64_t[]){2, 2}, zb); /* 8 1; 1 1 */
        else
            gm_tensor(m, "z", PARE_UINT4, 0, NULL, nine);
        gm_node(m, "DequantizeLinear", "", blocked ? "@q =f[2,2] @z" : "@q =f[] @z",
                blocked ? "axis=1 block_size=2" : "", "w");
        gm_node(m, "MatMul", "", "@w f[4,N]", "", "y");
        s = stats_of(m);
        assert_int_equal(row(&s, "q")->parameters, 8);
        assert_int_equal(row(&s, "q")->bytes, 4);
        assert_int_equal(row(&s, "q")->nonzero, blocked ? 1 + 2 + 1 + 2 : 1 + 3);
        pare_model_stats_free(&s);
        pare_model_free(m);
    }
}

static void test_empty_and_odd(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    pare_model_stats s = stats_of(m);
    assert_int_equal(s.parameters + s.nonzero + (uint64_t)s.macs + s.tensors.len + s.ops.len, 0);
    pare_model_stats_free(&s);
    gm_node(m, "DequantizeLinear", "", "=b[0,3] =f[3] =b[3]", "axis=1", "w");
    gm_node(m, "MatMul", "", "f[N,0] @w", "", "y");
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Scaler", "ai.onnx.ml", "", NULL, 0, NULL, 0);
    s = stats_of(m);
    assert_int_equal(s.parameters, 0);
    assert_int_equal(s.macs, 0);
    assert_int_equal(op_count(&s, "ai.onnx.ml.Scaler"), 1);
    for (size_t i = 1; i < s.ops.len; i++) assert_true(strcmp(s.ops.data[i - 1].op, s.ops.data[i].op) < 0);
    pare_model_stats_free(&s);
    gm_node(m, "MatMul", "", "f[2,3] f[4,5]", "", "bad");
    assert_int_equal(pare_model_stats_of(m, NULL, &s), PARE_EINVAL);
    assert_int_equal(s.tensors.len, 0);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnet18),       cmocka_unit_test(test_mobilenet_v2),
        cmocka_unit_test(test_macs),           cmocka_unit_test(test_macs_effective),
        cmocka_unit_test(test_roles),          cmocka_unit_test(test_through_copies),
        cmocka_unit_test(test_constant_nodes), cmocka_unit_test(test_zero_points),
        cmocka_unit_test(test_empty_and_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
