/* test_ref_quantized.c - the oracle of quantized execution against sums written out here: zero points, pads, scales a
 * channel, rounding half to even, post-ops one by one, and pairs that saturate. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ref/ref_quantized.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IN = 5, MOST_POST = 6 };

static struct {
    pare_kernel_spec spec;
    pare_operand in[MOST_IN], out;
    const pare_operand *in_list[MOST_IN], *out_list[1];
    const void *data[MOST_IN];
    pare_named_attribute attrs[6];
    const pare_named_attribute *attr_list[6];
    pare_post_op post[MOST_POST];
    const pare_post_op *post_list[MOST_POST];
    int64_t dims[MOST_IN + 1][4];
} the;

static void begin(const char *op) {
    memset(&the, 0, sizeof the);
    the.spec = (pare_kernel_spec){.size = sizeof the.spec,
                                  .op_type = op,
                                  .domain = "",
                                  .version = 21,
                                  .node = op,
                                  .attrs = the.attr_list,
                                  .in = the.in_list,
                                  .out = the.out_list,
                                  .post = the.post_list,
                                  .n_out = 1};
    the.out_list[0] = &the.out;
}

static pare_operand of(uint32_t dtype, const int64_t *dims, uint32_t ndim, int64_t *held) {
    memcpy(held, dims, ndim * sizeof *dims);
    return (pare_operand){.size = sizeof(pare_operand), .dtype = dtype, .ndim = ndim, .dims = held, .axis = -1};
}

static pare_operand *in(uint32_t dtype, const int64_t *dims, uint32_t ndim, const void *data) {
    uint32_t i = the.spec.n_in++;
    the.in[i] = of(dtype, dims, ndim, the.dims[i]);
    the.in_list[i] = &the.in[i];
    the.data[i] = data;
    return &the.in[i];
}

static void coded(pare_operand *o, const float *scale, const int32_t *zero, uint64_t n, int32_t axis) {
    o->scale = scale;
    o->zero_point = zero;
    o->n_scales = n;
    o->axis = axis;
}

static void absent(void) {
    uint32_t i = the.spec.n_in++;
    the.in[i] = (pare_operand){.size = sizeof the.in[i], .flags = PARE_OPERAND_ABSENT};
    the.in_list[i] = &the.in[i];
}

static void out(uint32_t dtype, const int64_t *dims, uint32_t ndim) {
    the.out = of(dtype, dims, ndim, the.dims[MOST_IN]);
}

static void attr_int(const char *name, int64_t v) {
    uint32_t i = the.spec.n_attrs++;
    the.attrs[i] = (pare_named_attribute){.name = name};
    the.attrs[i].value =
        (pare_attribute){.size = sizeof the.attrs[i].value, .type = PARE_ATTRIBUTE_INT, .i = v, .n = 1};
    the.attr_list[i] = &the.attrs[i];
}

static void attr_ints(const char *name, const int64_t *v, uint64_t n) {
    uint32_t i = the.spec.n_attrs++;
    the.attrs[i] = (pare_named_attribute){.name = name};
    the.attrs[i].value =
        (pare_attribute){.size = sizeof the.attrs[i].value, .type = PARE_ATTRIBUTE_INTS, .ints = v, .n = n};
    the.attr_list[i] = &the.attrs[i];
}

static void post(uint32_t kind, float alpha, float beta, uint32_t operand, uint32_t dtype) {
    uint32_t i = the.spec.n_post++;
    the.post[i] = (pare_post_op){sizeof the.post[i], kind, alpha, beta, operand, dtype};
    the.post_list[i] = &the.post[i];
}

static void run(ref_sums sums, void *to) {
    const ref_op *op = ref_quantized_find(&the.spec, sums);
    assert_non_null(op);
    void *outs[] = {to};
    const ref_call c = {&the.spec, the.data, outs};
    assert_int_equal(op->run(&c), PARE_OK);
}

static uint32_t seed = 1;
static int any(int low, int high) { /* both included */
    seed = seed * 1664525u + 1013904223u;
    return low + (int)((seed >> 8) % (uint32_t)(high - low + 1));
}

static void fill(uint32_t dtype, void *to, size_t n, int low, int high) {
    for (size_t i = 0; i < n; i++) {
        int v = any(low, high);
        if (dtype == PARE_UINT8)
            ((uint8_t *)to)[i] = (uint8_t)v;
        else
            ((int8_t *)to)[i] = (int8_t)v;
    }
}

static int at(uint32_t dtype, const void *x, int64_t i) {
    return dtype == PARE_UINT8 ? ((const uint8_t *)x)[i] : ((const int8_t *)x)[i];
}

/* ---- convolution ---- */

/* 2-d, one number a bias; every size at random. Sums by hand, floats out. */
static void one_conv(void) {
    uint32_t dtype = any(0, 1) ? PARE_UINT8 : PARE_INT8;
    int groups = any(1, 2), ic = any(1, 3), oc = any(1, 3) * groups, k = any(1, 3), stride = any(1, 2),
        dilation = any(1, 2), pad = any(0, 2), hw = any(5, 7);
    int out_hw = (hw + 2 * pad - dilation * (k - 1) - 1) / stride + 1;
    const int64_t xd[] = {2, ic * groups, hw, hw}, wd[] = {oc, ic, k, k}, yd[] = {2, oc, out_hw, out_hw}, bd[] = {oc};
    const int64_t strides[] = {stride, stride}, dilations[] = {dilation, dilation}, pads[] = {pad, pad, pad, pad};
    static uint8_t x[4096], w[4096];
    static float y[4096], scale[16], x_scale;
    static int32_t bias[16], zero;
    bool low_start = dtype == PARE_INT8;
    fill(dtype, x, (size_t)(2 * ic * groups * hw * hw), low_start ? -128 : 0, low_start ? 127 : 255);
    fill(PARE_INT8, w, (size_t)(oc * ic * k * k), -128, 127);
    x_scale = 0.0173f;
    zero = low_start ? any(-128, 127) : any(0, 255);
    bool per = any(0, 1);
    for (int i = 0; i < oc; i++) scale[i] = 0.003f * (float)(i + 1), bias[i] = any(-5000, 5000);
    begin("Conv");
    coded(in(dtype, xd, 4, x), &x_scale, &zero, 1, -1);
    coded(in(PARE_INT8, wd, 4, w), scale, NULL, per ? (uint64_t)oc : 1, per ? 0 : -1);
    in(PARE_INT32, bd, 1, bias);
    out(PARE_FLOAT, yd, 4);
    attr_int("group", groups);
    attr_ints("strides", strides, 2);
    attr_ints("dilations", dilations, 2);
    attr_ints("pads", pads, 4);
    run(REF_EXACT, y);
    static double sums[4096];
    void *to[] = {y};
    const ref_call c = {&the.spec, the.data, to};
    assert_int_equal(ref_integer_sums(&c, false, sums), PARE_OK);
    size_t i = 0;
    for (int n = 0; n < 2; n++)
        for (int m = 0; m < oc; m++)
            for (int p = 0; p < out_hw; p++)
                for (int q = 0; q < out_hw; q++, i++) {
                    int32_t sum = 0;
                    for (int ch = 0; ch < ic; ch++)
                        for (int a = 0; a < k * k; a++) {
                            int h = p * stride - pad + a / k * dilation, v = q * stride - pad + a % k * dilation;
                            if (h < 0 || h >= hw || v < 0 || v >= hw) continue;
                            int from = ((n * ic * groups + m / (oc / groups) * ic + ch) * hw + h) * hw + v;
                            sum += (at(dtype, x, from) - zero) * at(PARE_INT8, w, (m * ic + ch) * k * k + a);
                        }
                    assert_true(sums[i] == sum); /* the other way of summing */
                    float want = (float)(sum + bias[m]) * (x_scale * scale[per ? m : 0]);
                    assert_true(y[i] == want);
                }
}

static void convs(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) one_conv();
}

/* ---- products ---- */

static void one_product(bool gemm) {
    int m = any(1, 4), n = any(1, 5), k = any(1, 9);
    bool turned = gemm && any(0, 1), per = any(0, 1);
    const int64_t xd[] = {m, k}, wd[] = {turned ? n : k, turned ? k : n}, yd[] = {m, n}, bd[] = {n};
    static uint8_t x[64], w[64];
    static float y[64], scale[8], x_scale = 0.02f;
    static int32_t bias[8], zero;
    fill(PARE_UINT8, x, (size_t)(m * k), 0, 255);
    fill(PARE_INT8, w, (size_t)(k * n), -128, 127);
    zero = any(0, 255);
    for (int i = 0; i < n; i++) scale[i] = 0.003f * (float)(i + 1), bias[i] = any(-5000, 5000);
    begin(gemm ? "Gemm" : "MatMul");
    coded(in(PARE_UINT8, xd, 2, x), &x_scale, &zero, 1, -1);
    coded(in(PARE_INT8, wd, 2, w), scale, NULL, per ? (uint64_t)n : 1, per ? (turned ? 0 : 1) : -1);
    if (gemm) in(PARE_INT32, bd, 1, bias);
    if (gemm) attr_int("transB", turned);
    out(PARE_FLOAT, yd, 2);
    run(REF_EXACT, y);
    for (int i = 0; i < m * n; i++) {
        int32_t sum = gemm ? bias[i % n] : 0;
        for (int l = 0; l < k; l++)
            sum += (x[i / n * k + l] - zero) * at(PARE_INT8, w, turned ? i % n * k + l : l * n + i % n);
        assert_true(y[i] == (float)sum * (x_scale * scale[per ? i % n : 0]));
    }
}

static void products(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) one_product(i & 1);
}

/* Two products of 255 * 127 are more than int16 holds; weights of 7 bits never are. An odd one stands alone. */
static void saturating(void **state) {
    (void)state;
    static const uint8_t x[] = {255, 255, 255};
    static const int8_t large[] = {127, 127, 127}, low[] = {-127, -127, -127}, small[] = {64, 64, 64};
    static const int8_t *const weights[] = {large, low, small};
    static const double want[] = {32767 + 255 * 127, -32768 - 255 * 127, 255 * 64 * 3};
    const int64_t xd[] = {1, 3}, wd[] = {3, 1}, yd[] = {1, 1};
    const float one = 1;
    const int32_t zero = 10;
    for (int i = 0; i < 3; i++) {
        float y;
        begin("MatMul");
        coded(in(PARE_UINT8, xd, 2, x), &one, &zero, 1, -1);
        coded(in(PARE_INT8, wd, 2, weights[i]), &one, NULL, 1, -1);
        out(PARE_FLOAT, yd, 2);
        run(REF_SATURATING, &y);
        assert_true((double)y == want[i] - 10 * 3 * weights[i][0]);
        run(REF_EXACT, &y);
        assert_true(y == (float)((255 - 10) * 3 * weights[i][0]));
    }
}

/* ---- post-ops ---- */

static void rounding(void **state) {
    (void)state;
    static const uint8_t x[] = {5, 7, 9, 6, 0, 255};
    const int64_t d[] = {6};
    const float half = 0.5f;
    const int32_t four = 4;
    uint8_t y[6];
    int8_t z[6];
    begin("Relu"); /* 0.5, 1.5, 2.5, 1, 0, 125.5 */
    coded(in(PARE_UINT8, d, 1, x), &half, &four, 1, -1);
    out(PARE_UINT8, d, 1);
    post(PARE_POST_QUANTIZE, 1, 3, 0, PARE_UINT8);
    run(REF_EXACT, y);
    static const uint8_t want[] = {3, 5, 5, 4, 3, 129};
    assert_memory_equal(y, want, 6);
    the.out.dtype = PARE_INT8;
    the.post[0].dtype = PARE_INT8;
    the.post[0].beta = 100;
    run(REF_EXACT, z);
    static const int8_t other[] = {100, 102, 102, 101, 100, 127}; /* saturated */
    assert_memory_equal(z, other, 6);
}

/* Sum, rounded, read again, added to an operand in 8 bits, an activation, rounded. */
static void chain(void **state) {
    (void)state;
    static const uint8_t x[] = {10, 20, 30, 40};
    static const int8_t w[] = {1, -2}, other[] = {-3, 100, 7, -50};
    const int64_t xd[] = {2, 2}, wd[] = {2, 1}, yd[] = {2, 1}, od[] = {2, 1};
    const float sx = 0.1f, sw = 0.5f, so = 0.25f;
    const int32_t zx = 5, zo = -2;
    uint8_t y[2];
    begin("MatMul");
    coded(in(PARE_UINT8, xd, 2, x), &sx, &zx, 1, -1);
    coded(in(PARE_INT8, wd, 2, w), &sw, NULL, 1, -1);
    absent();
    coded(in(PARE_INT8, od, 2, other), &so, &zo, 1, -1);
    out(PARE_UINT8, yd, 2);
    post(PARE_POST_QUANTIZE, 0.3f, 120, 0, PARE_UINT8);
    post(PARE_POST_DEQUANTIZE, 0.3f, 120, 0, PARE_UINT8);
    post(PARE_POST_ADD, 0, 0, 3, 0);
    post(PARE_POST_LEAKY_RELU, 0.5f, 0, 0, 0);
    post(PARE_POST_QUANTIZE, 0.2f, 20, 0, PARE_UINT8);
    run(REF_EXACT, y);
    static const int sums[] = {5 - 2 * 15, 25 - 2 * 35};
    for (int i = 0; i < 2; i++) {
        float v = (float)sums[i] * (sx * sw);
        v = (rintf(v / 0.3f) + 120 - 120) * 0.3f;
        v += (float)(other[i] - zo) * so;
        v = v < 0 ? 0.5f * v : v;
        assert_int_equal(y[i], (int)(rintf(v / 0.2f) + 20));
    }
}

static void refused(void **state) {
    (void)state;
    static const uint8_t x[] = {1, 2, 3, 4};
    static const float scale[] = {1, 2};
    const int64_t d[] = {2, 2};
    begin("MatMul");
    coded(in(PARE_UINT8, d, 2, x), scale, NULL, 2, 1); /* one scale a channel of what is summed over */
    coded(in(PARE_INT8, d, 2, x), scale, NULL, 1, -1);
    out(PARE_FLOAT, d, 2);
    assert_null(ref_quantized_find(&the.spec, REF_EXACT));
    coded(&the.in[0], scale, NULL, 1, -1);
    assert_non_null(ref_quantized_find(&the.spec, REF_EXACT));
    the.out.dtype = PARE_UINT8; /* nothing rounds it */
    assert_null(ref_quantized_find(&the.spec, REF_EXACT));
    the.out.dtype = PARE_FLOAT;
    coded(&the.in[1], scale, NULL, 2, 0); /* along the sums */
    assert_null(ref_quantized_find(&the.spec, REF_EXACT));
    the.in[0].n_scales = 0;
    assert_null(ref_quantized_find(&the.spec, REF_EXACT));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convs),    cmocka_unit_test(products), cmocka_unit_test(saturating),
        cmocka_unit_test(rounding), cmocka_unit_test(chain),    cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
