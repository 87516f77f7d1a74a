/* tests/cpu/test_ref_b.c - hand values of the plain kernels that convolve, pool and multiply.
 *
 * Values are worked out by hand or follow from the specification's formulas; hostile attributes and indices must be
 * refused. May use: ref_b_call.h.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "ref_b_call.h"

/* ---- convolution ---- */

static void conv_padded_strided(void **state) {
    (void)state;
    fixture f;
    float y[4];
    start(&f, "Conv");
    in(&f, PARE_FLOAT, DIMS(1, 1, 3, 3), F(1, 2, 3, 4, 5, 6, 7, 8, 9));
    in(&f, PARE_FLOAT, DIMS(1, 1, 2, 2), F(1, 10, 100, 1000));
    in(&f, PARE_FLOAT, DIMS(1), F(0.5f));
    out(&f, PARE_FLOAT, DIMS(1, 1, 2, 2), y);
    attr_ints(&f, "pads", 4, I64(1, 1, 0, 0));
    attr_ints(&f, "strides", 2, I64(2, 2));
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1000.5f, 3200.5f, 7040.5f, 9865.5f);
}

static void conv_grouped_dilated_1d(void **state) {
    (void)state;
    fixture f;
    float y[4];
    start(&f, "Conv");
    in(&f, PARE_FLOAT, DIMS(1, 2, 4), F(1, 2, 3, 4, 10, 20, 30, 40));
    in(&f, PARE_FLOAT, DIMS(2, 1, 2), F(1, -1, 2, 1));
    out(&f, PARE_FLOAT, DIMS(1, 2, 2), y);
    attr_int(&f, "group", 2);
    attr_ints(&f, "dilations", 1, I64(2));
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, -2, -2, 50, 80);
}

static void conv_same_lower(void **state) {
    (void)state;
    fixture f;
    float y[4];
    for (int upper = 0; upper < 2; upper++) {
        start(&f, "Conv");
        in(&f, PARE_FLOAT, DIMS(1, 1, 4), F(1, 2, 3, 4));
        in(&f, PARE_FLOAT, DIMS(1, 1, 2), F(1, 10));
        out(&f, PARE_FLOAT, DIMS(1, 1, 4), y);
        attr_string(&f, "auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
        assert_int_equal(run(&f), PARE_OK);
        if (upper)
            ASSERT_FLOATS(y, 21, 32, 43, 4);
        else
            ASSERT_FLOATS(y, 10, 21, 32, 43);
    }
}

static void conv_transpose_output_padding(void **state) {
    (void)state;
    fixture f;
    float y[6];
    start(&f, "ConvTranspose");
    in(&f, PARE_FLOAT, DIMS(1, 1, 2), F(1, 2));
    in(&f, PARE_FLOAT, DIMS(1, 1, 3), F(1, 10, 100));
    out(&f, PARE_FLOAT, DIMS(1, 1, 6), y);
    attr_ints(&f, "strides", 1, I64(2));
    attr_ints(&f, "output_padding", 1, I64(1));
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 10, 102, 20, 200, 0);
}

/* 5 wide without pads, 4 wanted: one to take away, at the end for SAME_UPPER, at the front otherwise. */
static void conv_transpose_output_shape(void **state) {
    (void)state;
    fixture f;
    float y[4];
    for (int upper = 0; upper < 2; upper++) {
        start(&f, "ConvTranspose");
        in(&f, PARE_FLOAT, DIMS(1, 1, 2), F(1, 2));
        in(&f, PARE_FLOAT, DIMS(1, 1, 3), F(1, 10, 100));
        out(&f, PARE_FLOAT, DIMS(1, 1, 4), y);
        attr_ints(&f, "strides", 1, I64(2));
        attr_ints(&f, "output_shape", 1, I64(4));
        if (upper) attr_string(&f, "auto_pad", "SAME_UPPER");
        assert_int_equal(run(&f), PARE_OK);
        if (upper)
            ASSERT_FLOATS(y, 1, 10, 102, 20);
        else
            ASSERT_FLOATS(y, 10, 102, 20, 200);
    }
}

static void conv_integer_zero_points(void **state) {
    (void)state;
    fixture f;
    int32_t y[2];
    start(&f, "ConvInteger");
    in(&f, PARE_UINT8, DIMS(1, 1, 3), U8(1, 2, 255));
    in(&f, PARE_UINT8, DIMS(1, 1, 2), U8(3, 5));
    in(&f, PARE_UINT8, SCALAR, U8(2));
    in(&f, PARE_UINT8, SCALAR, U8(4));
    out(&f, PARE_INT32, DIMS(1, 1, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    assert_int_equal(y[0], 1);
    assert_int_equal(y[1], 253);
}

static void qlinear_conv_per_channel(void **state) {
    (void)state;
    fixture f;
    uint8_t y[2];
    start(&f, "QLinearConv");
    in(&f, PARE_UINT8, DIMS(1, 1, 1), U8(12));
    in(&f, PARE_FLOAT, SCALAR, F(0.5f));
    in(&f, PARE_UINT8, SCALAR, U8(2));
    in(&f, PARE_INT8, DIMS(2, 1, 1), I8(3, -100));
    in(&f, PARE_FLOAT, DIMS(2), F(0.5f, 1));
    in(&f, PARE_INT8, DIMS(2), I8(0, 0));
    in(&f, PARE_FLOAT, SCALAR, F(1));
    in(&f, PARE_UINT8, SCALAR, U8(128));
    in(&f, PARE_INT32, DIMS(2), I32(4, 0));
    out(&f, PARE_UINT8, DIMS(1, 2, 1), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 136, 0); /* (10 * 3 + 4) / 4 = 8.5, even: 8; -500 is out of range */
}

static void conv_hostile(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t ints[2];
        uint32_t n;
    } bad[] = {{"strides", {0}, 1},         {"strides", {1, 1}, 2},      {"dilations", {-1}, 1},
               {"strides", {INT64_MAX}, 1}, {"pads", {INT64_MIN, 0}, 2}, {"pads", {1}, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture f;
        float y[2];
        start(&f, "Conv");
        in(&f, PARE_FLOAT, DIMS(1, 1, 3), F(1, 2, 3));
        in(&f, PARE_FLOAT, DIMS(1, 1, 2), F(1, 10));
        out(&f, PARE_FLOAT, DIMS(1, 1, 2), y);
        attr_ints(&f, bad[i].name, bad[i].n, bad[i].ints);
        assert_int_equal(run(&f), PARE_EINVAL);
    }
    fixture f;
    float y[2];
    start(&f, "Conv");
    in(&f, PARE_FLOAT, DIMS(1, 1, 3), F(1, 2, 3));
    in(&f, PARE_FLOAT, DIMS(1, 1, 2), F(1, 10));
    out(&f, PARE_FLOAT, DIMS(1, 1, 2), y);
    attr_int(&f, "group", 0);
    assert_int_equal(run(&f), PARE_EINVAL);
}

/* ---- pooling ---- */

static void max_pool_indices(void **state) {
    (void)state;
    fixture f;
    float y[2];
    int64_t at[2];
    for (int column = 0; column < 2; column++) {
        start(&f, "MaxPool");
        in(&f, PARE_FLOAT, DIMS(1, 1, 2, 3), F(1, 2, 3, 9, 5, 6));
        out(&f, PARE_FLOAT, DIMS(1, 1, 1, 2), y);
        out(&f, PARE_INT64, DIMS(1, 1, 1, 2), at);
        attr_ints(&f, "kernel_shape", 2, I64(2, 2));
        attr_int(&f, "storage_order", column);
        assert_int_equal(run(&f), PARE_OK);
        ASSERT_FLOATS(y, 9, 6);
        if (column)
            ASSERT_I64(at, 1, 5);
        else
            ASSERT_I64(at, 3, 5);
    }
}

static void average_pool_counts(void **state) {
    (void)state;
    fixture f;
    float y[3];
    for (int with = 0; with < 2; with++) {
        start(&f, "AveragePool");
        in(&f, PARE_FLOAT, DIMS(1, 1, 4), F(1, 2, 3, 6));
        out(&f, PARE_FLOAT, DIMS(1, 1, 3), y); /* ceil mode: the last window hangs over the padded end by one */
        attr_ints(&f, "kernel_shape", 1, I64(3));
        attr_ints(&f, "strides", 1, I64(2));
        attr_ints(&f, "pads", 2, I64(1, 1));
        attr_int(&f, "ceil_mode", 1);
        attr_int(&f, "count_include_pad", with);
        assert_int_equal(run(&f), PARE_OK);
        if (with)
            ASSERT_FLOATS(y, 1, 11.f / 3, 3);
        else
            ASSERT_FLOATS(y, 1.5f, 11.f / 3, 6);
    }
}

/* A kernel that claims a huge size costs no more than the input that it meets. */
static void pool_huge_kernel(void **state) {
    (void)state;
    fixture f;
    float y[1];
    start(&f, "MaxPool");
    in(&f, PARE_FLOAT, DIMS(1, 1, 2, 2), F(1, 2, 7, 4));
    out(&f, PARE_FLOAT, DIMS(1, 1, 1, 1), y);
    attr_ints(&f, "kernel_shape", 2, I64(1 << 30, 1 << 30));
    attr_ints(&f, "pads", 4, I64(1 << 29, 1 << 29, 1 << 29, 1 << 29));
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 7);
}

static void global_pools(void **state) {
    (void)state;
    fixture f;
    float y[2];
    const char *ops[] = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"};
    const float want[3][2] = {{3.5f, -3.5f}, {4, -3}, {5, 5}};
    for (int i = 0; i < 3; i++) {
        start(&f, ops[i]);
        in(&f, PARE_FLOAT, DIMS(1, 2, 2), F(3, 4, -3, -4));
        out(&f, PARE_FLOAT, DIMS(1, 2, 1), y);
        assert_int_equal(run(&f), PARE_OK);
        assert_close(y, want[i], 2);
    }
}

/* ---- products ---- */

static void matmul_broadcast(void **state) {
    (void)state;
    fixture f;
    float y[4];
    start(&f, "MatMul");
    in(&f, PARE_FLOAT, DIMS(2, 1, 2), F(1, 2, 3, 4));
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 10, 100, 1000));
    out(&f, PARE_FLOAT, DIMS(2, 1, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 201, 2010, 403, 4030);
}

static void matmul_int64_is_exact(void **state) {
    (void)state;
    fixture f;
    int64_t y[1], big = ((int64_t)1 << 60) + 1;
    start(&f, "MatMul");
    in(&f, PARE_INT64, DIMS(2), I64(big, 1));
    in(&f, PARE_INT64, DIMS(2), I64(3, -2));
    out(&f, PARE_INT64, SCALAR, y);
    assert_int_equal(run(&f), PARE_OK);
    assert_true(y[0] == 3 * big - 2);
}

static void gemm_transposed(void **state) {
    (void)state;
    fixture f;
    float y[4];
    start(&f, "Gemm");
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 2, 3, 4));
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 0, 0, 2));
    in(&f, PARE_FLOAT, DIMS(2, 1), F(10, 20));
    out(&f, PARE_FLOAT, DIMS(2, 2), y);
    attr_int(&f, "transA", 1);
    attr_float(&f, "alpha", 2);
    attr_float(&f, "beta", 0.5);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 7, 17, 14, 26);
}

static void matmul_integer_rows_and_columns(void **state) {
    (void)state;
    fixture f;
    int32_t y[4];
    start(&f, "MatMulInteger");
    in(&f, PARE_UINT8, DIMS(2, 1), U8(10, 20));
    in(&f, PARE_INT8, DIMS(1, 2), I8(3, -4));
    in(&f, PARE_UINT8, DIMS(2), U8(10, 0));
    in(&f, PARE_INT8, DIMS(2), I8(0, 1));
    out(&f, PARE_INT32, DIMS(2, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    assert_memory_equal(y, I32(0, 0, 60, -100), sizeof y);
}

static void qlinear_matmul(void **state) {
    (void)state;
    fixture f;
    uint8_t y[1];
    start(&f, "QLinearMatMul");
    in(&f, PARE_UINT8, DIMS(1, 2), U8(130, 120));
    in(&f, PARE_FLOAT, SCALAR, F(0.5f));
    in(&f, PARE_UINT8, SCALAR, U8(128));
    in(&f, PARE_UINT8, DIMS(2, 1), U8(10, 20));
    in(&f, PARE_FLOAT, SCALAR, F(0.25f));
    in(&f, PARE_UINT8, SCALAR, U8(0));
    in(&f, PARE_FLOAT, SCALAR, F(1));
    in(&f, PARE_UINT8, SCALAR, U8(100));
    out(&f, PARE_UINT8, DIMS(1, 1), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 82); /* (20 - 160) / 8 = -17.5, even: -18 */
}

static void einsum_diagonal_ellipsis(void **state) {
    (void)state;
    fixture f;
    float y[4];
    start(&f, "Einsum");
    in(&f, PARE_FLOAT, DIMS(2, 2, 2), F(1, 2, 3, 4, 5, 6, 7, 8));
    out(&f, PARE_FLOAT, DIMS(2, 2), y);
    attr_string(&f, "equation", "...ii -> ...i");
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 4, 5, 8);
    start(&f, "Einsum");
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 2, 3, 4));
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 0, 1, 1));
    out(&f, PARE_FLOAT, DIMS(2, 2), y);
    attr_string(&f, "equation", "ij,jk");
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 3, 2, 7, 4);
    const char *bad[] = {"ij,jk->i", "ijk,jk->ik", "ij->ik", "ij,jk->iz", "i.j,jk->ik", "ij;jk->ik", "ij,jk,->ik", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        f.attr[0].value.s = bad[i];
        assert_int_equal(run(&f), PARE_EINVAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_padded_strided),
        cmocka_unit_test(conv_grouped_dilated_1d),
        cmocka_unit_test(conv_same_lower),
        cmocka_unit_test(conv_transpose_output_padding),
        cmocka_unit_test(conv_transpose_output_shape),
        cmocka_unit_test(conv_integer_zero_points),
        cmocka_unit_test(qlinear_conv_per_channel),
        cmocka_unit_test(conv_hostile),
        cmocka_unit_test(max_pool_indices),
        cmocka_unit_test(average_pool_counts),
        cmocka_unit_test(pool_huge_kernel),
        cmocka_unit_test(global_pools),
        cmocka_unit_test(matmul_broadcast),
        cmocka_unit_test(matmul_int64_is_exact),
        cmocka_unit_test(gemm_transposed),
        cmocka_unit_test(matmul_integer_rows_and_columns),
        cmocka_unit_test(qlinear_matmul),
        cmocka_unit_test(einsum_diagonal_ellipsis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
