/* tests/model/test_finite.c - NaN and infinity among weights: every float format, large tensors, what is said. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "model/finite.h"

#include "graph_make.h"

#include <math.h>

/* A model with one tensor of n elements, all bytes 0, into whose element `at` `bits` are put. */
static pare_model *with(uint32_t dtype, int64_t n, uint64_t at, uint64_t bits) {
    pare_model *m = pare_model_new("g");
    uint32_t t = gm_tensor(m, "w", dtype, 1, &n, NULL);
    unsigned char *data = gm_bytes(m, t);
    size_t size = pare_dtype_bits(dtype) / 8;
    memset(data, 0, (size_t)n * size);
    memcpy(data + at * size, &bits, size); /* little endian, as the model's bytes are */
    return m;
}

static void counts(uint32_t dtype, int64_t n, uint64_t at, uint64_t bits, uint64_t nan, uint64_t infinite) {
    pare_model *m = with(dtype, n, at, bits);
    pare_not_finite f;
    assert_int_equal(pare_model_not_finite(m, NULL, &f), PARE_OK);
    if (f.nan != nan || f.infinite != infinite)
        fail_msg("%s %llx: %llu NaN, %llu infinite", pare_dtype_name(dtype), (unsigned long long)bits,
                 (unsigned long long)f.nan, (unsigned long long)f.infinite);
    assert_int_equal(f.tensors, nan || infinite);
    assert_int_equal(f.names != NULL, nan || infinite);
    pare_not_finite_free(&f);
    pare_model_free(m);
}

static void formats(void **state) {
    (void)state;
    static const struct {
        uint32_t dtype;
        uint64_t bits, nan, infinite;
    } rows[] = {
        {PARE_FLOAT, 0x7f7fffff, 0, 0},
        {PARE_FLOAT, 0x7f800000, 0, 1},
        {PARE_FLOAT, 0xff800000, 0, 1},
        {PARE_FLOAT, 0x7f800001, 1, 0},
        {PARE_FLOAT, 0xffc00000, 1, 0},
        {PARE_FLOAT, 0x80000000, 0, 0},
        {PARE_DOUBLE, 0x7fefffffffffffff, 0, 0},
        {PARE_DOUBLE, 0xfff0000000000000, 0, 1},
        {PARE_DOUBLE, 0x7ff8000000000000, 1, 0},
        {PARE_FLOAT16, 0x7bff, 0, 0},
        {PARE_FLOAT16, 0xfc00, 0, 1},
        {PARE_FLOAT16, 0x7e00, 1, 0},
        {PARE_BFLOAT16, 0x7f7f, 0, 0},
        {PARE_BFLOAT16, 0x7f80, 0, 1},
        {PARE_BFLOAT16, 0xffc0, 1, 0},
        {PARE_FLOAT8E5M2, 0x7b, 0, 0},
        {PARE_FLOAT8E5M2, 0xfc, 0, 1},
        {PARE_FLOAT8E5M2, 0x7e, 1, 0},
        {PARE_FLOAT8E4M3FN, 0x7e, 0, 0},
        {PARE_FLOAT8E4M3FN, 0xff, 1, 0},
        {PARE_FLOAT8E4M3FNUZ, 0x80, 1, 0},
        {PARE_FLOAT8E4M3FNUZ, 0xff, 0, 0},
        {PARE_FLOAT8E5M2FNUZ, 0x7f, 0, 0},
        {PARE_FLOAT8E5M2FNUZ, 0x80, 1, 0},
        {PARE_FLOAT8E8M0, 0xff, 1, 0},
        {PARE_INT32, 0x7fc00000, 0, 0},
        {PARE_UINT8, 0xff, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        counts(rows[i].dtype, 5, i % 5, rows[i].bits, rows[i].nan, rows[i].infinite);
}

/* The first, the last and the edges of blocks are looked at. */
static void large(void **state) {
    (void)state;
    const int64_t n = (1 << 19) + 7;
    const uint64_t at[] = {0, (1 << 18) - 1, 1 << 18, (1 << 19) - 1, 1 << 19, (uint64_t)n - 1};
    pare_threads_set(4);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) counts(PARE_FLOAT, n, at[i], 0x7fc00000, 1, 0);
    pare_threads_set(0);
}

static void said(pare_model *m, size_t n, uint32_t severity, const char *text) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_model_say_not_finite(m, "net.onnx", d), PARE_OK);
    assert_int_equal(pare_diags_count(d), n);
    if (n) {
        assert_int_equal(pare_diags_get(d, 0)->severity, severity);
        if (!strstr(pare_diags_get(d, 0)->message, text)) fail_msg("%s", pare_diags_get(d, 0)->message);
    }
    pare_diags_free(d);
}

/* NaN is a warning with names and counts; infinity alone, as in a mask, a note; plain weights are no news. */
static void saying(void **state) {
    (void)state;
    const float bad[] = {1, NAN, -INFINITY, NAN}, mask[] = {0, -INFINITY};
    const int64_t four = 4, two = 2;
    pare_model *m = pare_model_new("g");
    said(m, 0, 0, "");
    gm_tensor(m, "plain", PARE_FLOAT, 1, &four, NULL);
    said(m, 0, 0, "");
    gm_tensor(m, "mask", PARE_FLOAT, 1, &two, mask);
    said(m, 1, PARE_NOTE, "net.onnx: weights hold infinite values, as masks may: mask (1 infinite)");
    gm_tensor(m, "conv.w", PARE_FLOAT, 1, &four, bad);
    said(m, 1, PARE_WARNING, "mask (1 infinite), conv.w (2 NaN, 1 infinite);");
    gm_tensor(m, "a", PARE_FLOAT, 1, &four, bad);
    gm_tensor(m, "b", PARE_FLOAT, 1, &four, bad);
    said(m, 1, PARE_WARNING, "a (2 NaN, 1 infinite) and 1 more;");
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats), cmocka_unit_test(large), cmocka_unit_test(saying)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
