/* tests/model/test_pass_batchnorm.c - the pass fold_batchnorm: what it computes, what it keeps, what it leaves alone.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/graph_make.h"
#include "model/pass.h"

#include <math.h>

static uint64_t fold(pare_model *m) {
    uint64_t n = 99;
    assert_int_equal(pare_pass_find("fold_batchnorm")->run(m, NULL, &n), PARE_OK);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    return n;
}

static void floats(pare_model *m, const char *name, size_t ndim, const int64_t *dims, const float *data) {
    gm_tensor(m, name, PARE_FLOAT, ndim, dims, data);
}

static const float *read(const pare_model *m, const char *name) {
    const void *data = NULL;
    const pare_value *v = pare_model_value(m, gm_find(m, name));
    assert_non_null(v);
    pare_tensor *t = pare_model_tensor(m, v->tensor);
    assert_non_null(t);
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    return data;
}

static void statistics(pare_model *m, int64_t n) {
    const float scale[] = {2, -1, 0.5f, 4}, beta[] = {1, 2, 3, -4}, mean[] = {0.5f, -0.5f, 1, 2},
                var[] = {3, 0.25f, 0, 15};
    floats(m, "scale", 1, &n, scale);
    floats(m, "beta", 1, &n, beta);
    floats(m, "mean", 1, &n, mean);
    floats(m, "var", 1, &n, var);
}

/* k and what is added, of channel c: epsilon 1 makes the roots 2, sqrt(1.25), 1, 4. */
static double factor(int c) {
    static const double scale[] = {2, -1, 0.5, 4}, var[] = {3, 0.25, 0, 15};
    return scale[c] / sqrt(var[c] + 1.0);
}

static double shift(int c, double bias) {
    static const double beta[] = {1, 2, 3, -4}, mean[] = {0.5, -0.5, 1, 2};
    return (bias - mean[c]) * factor(c) + beta[c];
}

static pare_model *with(const char *op, const char *ins, const char *attrs, size_t ndim, const int64_t *dims,
                        int64_t channels) {
    pare_model *m = pare_model_new("m");
    uint64_t count = 1;
    float w[64], b[] = {0.5f, 1, -1, 2};
    for (size_t i = 0; i < ndim; i++) count *= (uint64_t)dims[i];
    for (uint64_t i = 0; i < count; i++) w[i] = i % 3 ? 0.25f * (float)i - 2 : 0;
    floats(m, "l.weight", ndim, dims, w);
    floats(m, "l.b", 1, &channels, b);
    statistics(m, channels);
    gm_node(m, op, "l", ins, attrs, "l");
    gm_node(m, "BatchNormalization", "bn", "@l @scale @beta @mean @var", "epsilon=1.0", "y");
    gm_node(m, "Relu", "r", "@y", "", "z");
    pare_graph_output_add(m, PARE_MAIN_GRAPH, gm_find(m, "z"));
    return m;
}

/* Weight element i of channel c and the bias, against the formula; zeros are +0, and still masked. */
static void check(pare_model *m, size_t count, size_t inner, size_t channels, int groups, const char *bias,
                  const float *b) {
    assert_true(
        pare_tensor_masked_set(m, pare_model_tensor(m, pare_model_value(m, gm_find(m, "l.weight"))->tensor), true));
    assert_int_equal(fold(m), 1);
    const float *w = read(m, "l.weight"), *got = read(m, bias);
    for (size_t i = 0; i < count; i++) {
        const size_t row = i / inner, rows = count / inner / channels; /* rows of a group, groups > 1: transposed */
        const size_t c =
            groups ? row / (channels * (rows / (size_t)groups)) * channels + row % channels : row % channels;
        const float old = i % 3 ? 0.25f * (float)i - 2 : 0;
        assert_true(w[i] == (float)((double)old * factor((int)c)) + 0.0f);
        if (old == 0) assert_false(signbit(w[i]));
    }
    for (size_t c = 0; c < channels * (size_t)(groups ? groups : 1); c++)
        assert_true(fabs((double)got[c] - shift((int)c, b ? (double)b[c] : 0)) < 1e-6);
    const pare_node *l = pare_model_node(m, pare_model_value(m, gm_find(m, "y"))->producer);
    assert_string_equal(l->name, "l"); /* the result keeps its name */
    const pare_tensor *t = pare_model_tensor(m, pare_model_value(m, gm_find(m, "l.weight"))->tensor);
    assert_true(pare_tensor_masked(m, t));
    assert_int_equal(fold(m), 0);
    pare_model_free(m);
}

static const float b4[] = {0.5f, 1, -1, 2};

static void conv(void **state) {
    (void)state;
    const int64_t w[] = {4, 2, 2, 2};
    check(with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4), 32, 8, 4, 0, "l.b", b4);
    check(with("Conv", "f[N,2,8,8] @l.weight", "", 4, w, 4), 32, 8, 4, 0, "l.bias",
          NULL); /* a name beside the weight's */
}

static void gemm(void **state) {
    (void)state;
    const int64_t rows[] = {4, 5}, columns[] = {5, 4};
    const float twice[] = {1, 2, -2, 4};
    check(with("Gemm", "f[N,5] @l.weight @l.b", "transB=1", 2, rows, 4), 20, 5, 4, 0, "l.b", b4);
    check(with("Gemm", "f[N,5] @l.weight @l.b", "beta=2.0", 2, columns, 4), 20, 1, 4, 0, "l.b", twice);
}

static void conv_transpose(void **state) {
    (void)state;
    const int64_t w[] = {2, 4, 2, 2}, grouped[] = {4, 2, 2, 2};
    check(with("ConvTranspose", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4), 32, 4, 4, 0, "l.b", b4);
    check(with("ConvTranspose", "f[N,4,8,8] @l.weight @l.b", "group=2", 4, grouped, 4), 32, 4, 2, 2, "l.b", b4);
}

static void left_alone(void **state) {
    (void)state;
    const int64_t w[] = {4, 2, 2, 2};
    pare_model *m = with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4);
    gm_node(m, "Exp", "other", "@l", "", "e"); /* somebody else takes what the convolution makes */
    assert_int_equal(fold(m), 0);
    pare_model_free(m);
    m = with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4);
    gm_node(m, "Conv", "shared", "f[N,2,8,8] @l.weight", "", "e"); /* and its weight */
    assert_int_equal(fold(m), 0);
    pare_model_free(m);
    m = with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4);
    pare_attr_set_int(m, pare_model_value(m, gm_find(m, "y"))->producer, "training_mode", 1);
    assert_int_equal(fold(m), 0);
    pare_model_free(m);
    m = with("Conv", "f[N,2,8,8] @l.weight f[4]", "", 4, w, 4); /* a bias that comes from outside */
    assert_int_equal(fold(m), 0);
    pare_model_free(m);
    m = with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4);
    ((float *)gm_bytes(m, pare_model_value(m, gm_find(m, "var"))->tensor))[2] = -2; /* no root */
    const float before = read(m, "l.weight")[1];
    assert_int_equal(fold(m), 0);
    assert_true(read(m, "l.weight")[1] == before);
    pare_model_free(m);
}

/* A bias that two nodes share stays the other one's; a result that is a graph output keeps its name. */
static void shared_bias_and_output(void **state) {
    (void)state;
    const int64_t w[] = {4, 2, 2, 2};
    pare_model *m = with("Conv", "f[N,2,8,8] @l.weight @l.b", "", 4, w, 4);
    gm_node(m, "Add", "add", "@l.b @l.b", "", "e");
    pare_graph_output_add(m, PARE_MAIN_GRAPH, gm_find(m, "y"));
    assert_int_equal(fold(m), 1);
    assert_true(read(m, "l.b")[0] == 0.5f);
    assert_true(fabs((double)read(m, "l.bias")[0] - shift(0, 0.5)) < 1e-6);
    assert_true(pare_model_value(m, gm_find(m, "y"))->is_output);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv),
        cmocka_unit_test(gemm),
        cmocka_unit_test(conv_transpose),
        cmocka_unit_test(left_alone),
        cmocka_unit_test(shared_bias_and_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
