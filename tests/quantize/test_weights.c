/* tests/quantize/test_weights.c - weights and biases as whole numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "quantize/weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void shapes(void **state) {
    (void)state;
    const int64_t dims[] = {4, 3, 5, 2};
    weights_shape s = weights_shape_of(dims, 4, 0);
    assert_true(s.outer == 1 && s.channels == 4 && s.inner == 30);
    s = weights_shape_of(dims, 4, 1);
    assert_true(s.outer == 4 && s.channels == 3 && s.inner == 10);
    s = weights_shape_of(dims, 4, 3);
    assert_true(s.outer == 60 && s.channels == 2 && s.inner == 1);
    s = weights_shape_of(dims, 4, -1);
    assert_true(s.outer == 1 && s.channels == 1 && s.inner == 120);
}

static void round_half_to_even_and_stay_inside(void **state) {
    (void)state;
    const weights_shape s = {1, 1, 8};
    const float w[8] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 127.0f, -127.0f, 0.0f};
    float scale;
    int8_t q[8];
    assert_true(weights_scales(w, &s, 8, &scale));
    assert_true(scale == 1.0f);
    weights_quantize(w, &s, 8, &scale, q);
    const int8_t want[8] = {0, 2, 2, 0, -2, 127, -127, 0};
    assert_memory_equal(q, want, sizeof q);
    const float half = 0.5f; /* twice what fits: never -128 */
    weights_quantize(w, &s, 8, &half, q);
    assert_true(q[5] == 127 && q[6] == -127);
}

static void seven_bits(void **state) {
    (void)state;
    const weights_shape s = {1, 1, 4};
    const float w[4] = {6.3f, -6.3f, 6.2f, 0.05f};
    float scale;
    int8_t q[4];
    assert_int_equal(weights_most(7), 63);
    assert_true(weights_scales(w, &s, 7, &scale));
    weights_quantize(w, &s, 7, &scale, q);
    assert_true(q[0] == 63 && q[1] == -63 && q[2] == 62 && q[3] == 0);
    assert_false(weights_may_saturate(&s, q));
    assert_true(weights_scales(w, &s, 8, &scale));
    weights_quantize(w, &s, 8, &scale, q);
    assert_true(weights_may_saturate(&s, q)); /* 255 * (127 + 125) */
}

/* One large weight of a sign is no pair: 255 * 127 fits. Channels are looked at one by one. */
static void saturation(void **state) {
    (void)state;
    const int8_t one[] = {127, 1, -127, 0}, two[] = {127, -127, 2, 0}, apart[] = {127, 0, 0, 127};
    assert_false(weights_may_saturate(&(weights_shape){1, 1, 4}, one));
    assert_true(weights_may_saturate(&(weights_shape){1, 1, 4}, two)); /* 255 * 129 = 32895 */
    assert_false(weights_may_saturate(&(weights_shape){1, 2, 2}, apart));
    assert_true(weights_may_saturate(&(weights_shape){1, 1, 4}, apart));
    assert_true(weights_may_saturate(&(weights_shape){2, 2, 1}, (const int8_t[]){-127, 0, -3, 0}));
}

static void zero_channels_and_bad_numbers(void **state) {
    (void)state;
    const weights_shape s = {1, 4, 2};
    float scale[4];
    const float w[8] = {0, 0, 1.27f, -0.1f, 1e-44f, 0, 0.254f, 0};
    assert_true(weights_scales(w, &s, 8, scale));
    assert_true(scale[2] == FLT_MIN);  /* not subnormal */
    assert_true(scale[0] == scale[2]); /* the least of the others */
    int8_t q[8];
    weights_quantize(w, &s, 8, scale, q);
    assert_true(q[0] == 0 && q[1] == 0 && q[4] == 0 && q[2] == 127);
    const float none[2] = {0, 0};
    assert_true(weights_scales(none, &(weights_shape){1, 1, 2}, 8, scale));
    assert_true(scale[0] == 1.0f);
    const float nan[2] = {1, NAN}, inf[2] = {-INFINITY, 0};
    assert_false(weights_scales(nan, &(weights_shape){1, 1, 2}, 8, scale));
    assert_false(weights_scales(inf, &(weights_shape){1, 1, 2}, 8, scale));
}

/* Whatever the numbers, no bias leaves 30 bits, and the product of scales is a normal number. */
static void biases_fit(void **state) {
    (void)state;
    static const float scales[] = {1e-38f, 1e-30f, 1e-20f, 1e-9f, 1e-4f, 0.01f, 1.0f, 100.0f};
    static const float biases[] = {0, 1e-30f, 1e-6f, -0.5f, 3.0f, -250.0f, 1e6f, -1e20f, FLT_MAX};
    enum { S = sizeof scales / sizeof *scales, B = sizeof biases / sizeof *biases };
    for (int x = 0; x < S; x++)
        for (int w = 0; w < S; w++)
            for (int b = 0; b < B; b++) {
                const float raised = weights_raise(scales[w], scales[x], biases[b]);
                const float product = raised * scales[x];
                assert_true(raised >= scales[w]);
                if (!isfinite(product) || raised >= FLT_MAX) continue; /* no scale does */
                assert_true(product >= FLT_MIN);
                assert_true(fabs((double)biases[b] / (double)product) < 0x1p30);
                const int32_t q = weights_bias(biases[b], scales[x], raised);
                assert_true(q > -(1 << 30) - 1 && q < (1 << 30) + 1);
            }
    assert_true(weights_raise(0.01f, 0.02f, 5.0f) == 0.01f); /* what fits stays as it is */
    assert_int_equal(weights_bias(1.0f, 0.5f, 0.25f), 8);
    assert_int_equal(weights_bias(-0.0625f, 0.5f, 0.25f), 0); /* half to even */
    assert_int_equal(weights_bias(0.1875f, 0.5f, 0.25f), 2);
}

static void noise(void **state) {
    (void)state;
    const weights_shape s = {1, 1, 2};
    const float w[2] = {1.0f, 0.75f}, scale = 0.5f;
    const int8_t q[2] = {2, 2};
    assert_true(fabs(weights_sqnr(w, &s, &scale, q) - 10 * log10(1.5625 / 0.0625)) < 1e-9);
    assert_true(isinf(weights_sqnr((const float[]){1, 0.5f}, &s, &scale, (const int8_t[]){2, 1})));
    assert_true(isnan(weights_sqnr((const float[]){0, 0}, &s, &scale, (const int8_t[]){0, 0})));
}

static void permuted(void **state) {
    (void)state;
    const int64_t dims[] = {2, 3, 4};
    float in[24], out[24];
    for (int i = 0; i < 24; i++) in[i] = (float)i;
    weights_permute(in, dims, 3, (const uint8_t[]){2, 0, 1}, sizeof *in, out); /* (4, 2, 3) */
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 2; b++)
            for (int c = 0; c < 3; c++) assert_true(out[(a * 2 + b) * 3 + c] == in[(b * 3 + c) * 4 + a]);
    weights_permute(in, dims, 3, (const uint8_t[]){0, 1, 2}, sizeof *in, out);
    assert_memory_equal(in, out, sizeof in);
    float scalar = 0;
    weights_permute(in + 7, dims, 0, (const uint8_t[]){0}, sizeof *in, &scalar);
    assert_true(scalar == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(round_half_to_even_and_stay_inside),
        cmocka_unit_test(seven_bits),
        cmocka_unit_test(saturation),
        cmocka_unit_test(zero_channels_and_bad_numbers),
        cmocka_unit_test(biases_fit),
        cmocka_unit_test(noise),
        cmocka_unit_test(permuted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
