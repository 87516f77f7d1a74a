/* tests/quantize/test_float16.c - float32 to float16 and back: every float16 there is, the rounding between them, and
 * what is counted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "quantize/float16.h"

#include <math.h>

/* Each of the 65536 comes back as it was; NaN as a NaN. */
static void all_of_them(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = float16_value((uint16_t)h);
        if (isnan(x))
            assert_true(isnan(float16_value(float16_of(x))));
        else
            assert_int_equal(float16_of(x), h);
    }
}

/* Between two neighbours: the nearer one, and in the middle the even one. */
static void half_to_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const float a = float16_value((uint16_t)h), b = float16_value((uint16_t)(h + 1)), middle = (a + b) / 2;
        assert_int_equal(float16_of(middle), h & 1 ? h + 1 : h);
        assert_int_equal(float16_of(nextafterf(middle, 0)), h);
        assert_int_equal(float16_of(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(float16_of(-middle), 0x8000 | (h & 1 ? h + 1 : h));
    }
}

static void counted(void **state) {
    (void)state;
    const float in[] = {65504, 65519.99f, 65520, -1e30f, INFINITY, NAN, 0, 1e-9f, -0.0f, 0x1p-25f, 0x1.000002p-25f};
    enum { N = sizeof in / sizeof *in };
    uint16_t out[N];
    float16_loss loss = {0};
    float16_convert(in, N, out, &loss);
    assert_int_equal(loss.overflowed, 2);
    assert_int_equal(loss.flushed, 2); /* 1e-9 and 2^-25, a tie that goes to zero */
    assert_true(loss.most == 1e30f);
    assert_int_equal(out[0], 0x7bff);
    assert_int_equal(out[1], 0x7bff);
    assert_int_equal(out[2], 0x7bff);
    assert_int_equal(out[3], 0xfbff);
    assert_int_equal(out[4], 0x7c00);
    assert_true((out[5] & 0x7c00) == 0x7c00 && out[5] & 0x3ff);
    assert_int_equal(out[8], 0x8000);
    assert_int_equal(out[10], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_of_them), cmocka_unit_test(half_to_even),
                                       cmocka_unit_test(counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
