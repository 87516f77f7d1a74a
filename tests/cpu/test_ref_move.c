/* tests/cpu/test_ref_move.c - hand values of the plain kernels that move, make, resize and quantize.
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

/* ---- moving ---- */

static void transpose_packed(void **state) {
    (void)state;
    fixture f;
    uint8_t y[3];
    start(&f, "Transpose");
    in(&f, PARE_UINT4, DIMS(2, 3), U8(0x21, 0x43, 0x65)); /* 1 2 3 / 4 5 6 */
    out(&f, PARE_UINT4, DIMS(3, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 0x41, 0x52, 0x63);
}

static void concat_and_split(void **state) {
    (void)state;
    fixture f;
    uint8_t y[6], a[4], b[2];
    start(&f, "Concat");
    in(&f, PARE_UINT8, DIMS(2, 2), U8(1, 2, 3, 4));
    in(&f, PARE_UINT8, DIMS(2, 1), U8(5, 6));
    out(&f, PARE_UINT8, DIMS(2, 3), y);
    attr_int(&f, "axis", -1);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 1, 2, 5, 3, 4, 6);
    start(&f, "Split");
    in(&f, PARE_UINT8, DIMS(2, 3), y);
    in(&f, PARE_INT64, DIMS(2), I64(2, 1));
    out(&f, PARE_UINT8, DIMS(2, 2), a);
    out(&f, PARE_UINT8, DIMS(2, 1), b);
    attr_int(&f, "axis", 1);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(a, 1, 2, 3, 4);
    ASSERT_BYTES(b, 5, 6);
}

static void slice_backwards(void **state) {
    (void)state;
    fixture f;
    uint8_t y[4];
    start(&f, "Slice");
    in(&f, PARE_UINT8, DIMS(2, 4), U8(1, 2, 3, 4, 5, 6, 7, 8));
    in(&f, PARE_INT64, DIMS(2), I64(INT64_MAX, -1));
    in(&f, PARE_INT64, DIMS(2), I64(INT64_MIN, 0));
    in(&f, PARE_INT64, DIMS(2), I64(-2, 1));
    in(&f, PARE_INT64, DIMS(2), I64(-1, -2));
    out(&f, PARE_UINT8, DIMS(2, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 8, 6, 4, 2);
    f.in_data[4] = I64(-1, INT64_MIN); /* a step that the output's two elements contradict */
    assert_int_equal(run(&f), PARE_EINVAL);
}

static void pad_modes(void **state) {
    (void)state;
    static const struct {
        const char *mode;
        uint8_t want[7];
    } cases[] = {{"constant", {9, 9, 1, 2, 3, 9, 9}},
                 {"reflect", {3, 2, 1, 2, 3, 2, 1}},
                 {"edge", {1, 1, 1, 2, 3, 3, 3}},
                 {"wrap", {2, 3, 1, 2, 3, 1, 2}}};
    for (int i = 0; i < 4; i++) {
        fixture f;
        uint8_t y[7];
        start(&f, "Pad");
        in(&f, PARE_UINT8, DIMS(1, 3), U8(1, 2, 3));
        in(&f, PARE_INT64, DIMS(2), I64(2, 2));
        in(&f, PARE_UINT8, SCALAR, U8(9));
        in(&f, PARE_INT64, DIMS(1), I64(-1));
        out(&f, PARE_UINT8, DIMS(1, 7), y);
        attr_string(&f, "mode", cases[i].mode);
        assert_int_equal(run(&f), PARE_OK);
        assert_memory_equal(y, cases[i].want, 7);
    }
}

/* Nibbles go where they belong at odd offsets too; those around them stay. */
static void packed_nibbles(void **state) {
    (void)state;
    fixture f;
    uint8_t y[4];
    start(&f, "Pad");
    in(&f, PARE_UINT4, DIMS(3), U8(0x21, 0x03));
    in(&f, PARE_INT64, DIMS(2), I64(1, 2));
    in(&f, PARE_UINT4, SCALAR, U8(0x09));
    out(&f, PARE_UINT4, DIMS(6), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 0x19, 0x32, 0x99);
    start(&f, "Concat");
    in(&f, PARE_INT4, DIMS(1, 3), U8(0xdf, 0x0e));
    in(&f, PARE_INT4, DIMS(1, 3), U8(0x21, 0x03));
    out(&f, PARE_INT4, DIMS(2, 3), y);
    attr_int(&f, "axis", 0);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 0xdf, 0x1e, 0x32);
    start(&f, "Slice");
    in(&f, PARE_INT4, DIMS(5), U8(0x21, 0x43, 0x05));
    in(&f, PARE_INT64, DIMS(1), I64(3));
    in(&f, PARE_INT64, DIMS(1), I64(-6));
    in_absent(&f);
    in(&f, PARE_INT64, DIMS(1), I64(-1));
    out(&f, PARE_INT4, DIMS(4), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 0x34, 0x12);
}

static void depth_and_space(void **state) {
    (void)state;
    fixture f;
    uint8_t y[8], back[8];
    for (int crd = 0; crd < 2; crd++) {
        start(&f, "DepthToSpace");
        in(&f, PARE_UINT8, DIMS(1, 8, 1, 1), U8(0, 1, 2, 3, 4, 5, 6, 7));
        out(&f, PARE_UINT8, DIMS(1, 2, 2, 2), y);
        attr_int(&f, "blocksize", 2);
        attr_string(&f, "mode", crd ? "CRD" : "DCR");
        assert_int_equal(run(&f), PARE_OK);
        if (crd)
            ASSERT_BYTES(y, 0, 1, 2, 3, 4, 5, 6, 7);
        else
            ASSERT_BYTES(y, 0, 2, 4, 6, 1, 3, 5, 7);
    }
    start(&f, "SpaceToDepth");
    in(&f, PARE_UINT8, DIMS(1, 2, 2, 2), U8(0, 2, 4, 6, 1, 3, 5, 7));
    out(&f, PARE_UINT8, DIMS(1, 8, 1, 1), back);
    attr_int(&f, "blocksize", 2);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(back, 0, 1, 2, 3, 4, 5, 6, 7);
}

static void expand_and_tile(void **state) {
    (void)state;
    fixture f;
    uint8_t y[8];
    start(&f, "Expand");
    in(&f, PARE_UINT8, DIMS(2, 1), U8(1, 2));
    in(&f, PARE_INT64, DIMS(3), I64(2, 1, 2));
    out(&f, PARE_UINT8, DIMS(2, 2, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 1, 1, 2, 2, 1, 1, 2, 2);
    start(&f, "Tile");
    in(&f, PARE_UINT8, DIMS(2, 1), U8(1, 2));
    in(&f, PARE_INT64, DIMS(2), I64(2, 2));
    out(&f, PARE_UINT8, DIMS(4, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 1, 1, 2, 2, 1, 1, 2, 2);
}

/* ---- indices ---- */

static void gather_checks_indices(void **state) {
    (void)state;
    fixture f;
    uint8_t y[4];
    int64_t index[2] = {-1, 0};
    start(&f, "Gather");
    in(&f, PARE_UINT8, DIMS(2, 3), U8(1, 2, 3, 4, 5, 6));
    in(&f, PARE_INT64, DIMS(2), index);
    out(&f, PARE_UINT8, DIMS(2, 2), y);
    attr_int(&f, "axis", 1);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 3, 1, 6, 4);
    const int64_t bad[] = {3, -4, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 4; i++) {
        index[1] = bad[i];
        assert_int_equal(run(&f), PARE_EINVAL);
    }
}

static void gather_elements_and_nd(void **state) {
    (void)state;
    fixture f;
    uint8_t y[4];
    int64_t index[4] = {1, -2, 0, 0};
    start(&f, "GatherElements");
    in(&f, PARE_UINT8, DIMS(2, 2), U8(1, 2, 3, 4));
    in(&f, PARE_INT64, DIMS(2, 2), index);
    out(&f, PARE_UINT8, DIMS(2, 2), y);
    attr_int(&f, "axis", 1);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 2, 1, 3, 3);
    index[3] = 2;
    assert_int_equal(run(&f), PARE_EINVAL);
    start(&f, "GatherND");
    in(&f, PARE_UINT8, DIMS(2, 2, 2), U8(0, 1, 2, 3, 4, 5, 6, 7));
    in(&f, PARE_INT64, DIMS(2, 1), index);
    out(&f, PARE_UINT8, DIMS(2, 2), y);
    attr_int(&f, "batch_dims", 1);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 2, 3, 4, 5);
    index[0] = 2;
    assert_int_equal(run(&f), PARE_EINVAL);
}

static void scatter(void **state) {
    (void)state;
    fixture f;
    float y[4];
    int64_t index[3] = {1, 1, -4};
    start(&f, "ScatterND");
    in(&f, PARE_FLOAT, DIMS(4), F(1, 2, 3, 4));
    in(&f, PARE_INT64, DIMS(3, 1), index);
    in(&f, PARE_FLOAT, DIMS(3), F(10, 20, 0.5f));
    out(&f, PARE_FLOAT, DIMS(4), y);
    attr_string(&f, "reduction", "add");
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1.5f, 32, 3, 4);
    f.attr[0].value.s = "max";
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 20, 3, 4);
    index[2] = 4;
    assert_int_equal(run(&f), PARE_EINVAL);
    start(&f, "ScatterElements");
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 2, 3, 4));
    in(&f, PARE_INT64, DIMS(1, 2), index);
    in(&f, PARE_FLOAT, DIMS(1, 2), F(10, 20));
    out(&f, PARE_FLOAT, DIMS(2, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 2, 10, 20);
    index[1] = 2;
    assert_int_equal(run(&f), PARE_EINVAL);
}

static void small_makers(void **state) {
    (void)state;
    fixture f;
    int64_t y[4];
    start(&f, "Shape");
    in(&f, PARE_FLOAT, DIMS(2, 0, 5), NULL);
    out(&f, PARE_INT64, DIMS(2), y);
    attr_int(&f, "start", -2);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_I64(y, 0, 5);
    start(&f, "Range");
    in(&f, PARE_INT64, SCALAR, I64(5));
    in(&f, PARE_INT64, SCALAR, I64(-4));
    in(&f, PARE_INT64, SCALAR, I64(-3));
    out(&f, PARE_INT64, DIMS(3), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_I64(y, 5, 2, -1);
    start(&f, "OneHot");
    in(&f, PARE_INT64, DIMS(2), I64(-1, 9));
    in(&f, PARE_INT64, SCALAR, I64(2));
    in(&f, PARE_INT64, DIMS(2), I64(3, 7));
    out(&f, PARE_INT64, DIMS(2, 2), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_I64(y, 3, 7, 3, 3);
    start(&f, "Trilu");
    in(&f, PARE_INT64, DIMS(2, 2), I64(1, 2, 3, 4));
    in(&f, PARE_INT64, SCALAR, I64(-1));
    out(&f, PARE_INT64, DIMS(2, 2), y);
    attr_int(&f, "upper", 0);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_I64(y, 0, 0, 3, 0);
}

static void dropout_mask(void **state) {
    (void)state;
    fixture f;
    float y[2];
    uint8_t mask[2], training = 0;
    start(&f, "Dropout");
    in(&f, PARE_FLOAT, DIMS(2), F(1, 2));
    in(&f, PARE_FLOAT, SCALAR, F(0.5f));
    in(&f, PARE_BOOL, SCALAR, &training);
    out(&f, PARE_FLOAT, DIMS(2), y);
    out(&f, PARE_BOOL, DIMS(2), mask);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 2);
    ASSERT_BYTES(mask, 1, 1);
    training = 1;
    assert_int_equal(run(&f), PARE_EINVAL);
}

/* ---- Resize ---- */

static void resize_1d(const char *mode, const char *transform, const char *nearest, int64_t n, float *y) {
    fixture f;
    start(&f, "Resize");
    in(&f, PARE_FLOAT, DIMS(4), F(1, 2, 3, 4));
    in(&f, PARE_FLOAT, DIMS(2), F(0.25f, 1.5f));
    in_absent(&f);
    in(&f, PARE_INT64, DIMS(1), &n);
    out(&f, PARE_FLOAT, 1, &n, y);
    attr_string(&f, "mode", mode);
    attr_string(&f, "coordinate_transformation_mode", transform);
    attr_string(&f, "nearest_mode", nearest);
    attr_float(&f, "extrapolation_value", -7);
    assert_int_equal(run(&f), PARE_OK);
}

static void resize_values(void **state) {
    (void)state;
    float y[8];
    const char *floor_ = "floor", *ceil_ = "ceil", *down = "round_prefer_floor", *up = "round_prefer_ceil";
    resize_1d("linear", "half_pixel", down, 2, y);
    ASSERT_FLOATS(y, 1.5f, 3.5f);
    resize_1d("linear", "align_corners", down, 3, y);
    ASSERT_FLOATS(y, 1, 2.5f, 4);
    resize_1d("linear", "asymmetric", down, 8, y);
    ASSERT_FLOATS(y, 1, 1.5f, 2, 2.5f, 3, 3.5f, 4, 4);
    resize_1d("nearest", "half_pixel", down, 2, y);
    ASSERT_FLOATS(y, 1, 3);
    resize_1d("nearest", "half_pixel", up, 2, y);
    ASSERT_FLOATS(y, 2, 4);
    resize_1d("nearest", "asymmetric", floor_, 3, y);
    ASSERT_FLOATS(y, 1, 2, 3);
    resize_1d("nearest", "asymmetric", ceil_, 3, y);
    ASSERT_FLOATS(y, 1, 3, 4);
    /* from 0.75 to 4.5 in steps of 1.25: the last two lie outside */
    resize_1d("linear", "tf_crop_and_resize", down, 4, y);
    ASSERT_FLOATS(y, 1.75f, 3, -7, -7);
    /* weights at half a step, a = -0.75: -3/32, 19/32, 19/32, -3/32 */
    resize_1d("cubic", "half_pixel", down, 2, y);
    ASSERT_FLOATS(y, (-3 + 19 + 38 - 9) / 32.f, (-6 + 57 + 76 - 12) / 32.f);
}

static void resize_antialias_and_hostile(void **state) {
    (void)state;
    fixture f;
    float y[2], scale[1] = {0.5f};
    start(&f, "Resize");
    in(&f, PARE_FLOAT, DIMS(4), F(1, 2, 3, 4));
    in_absent(&f);
    in(&f, PARE_FLOAT, DIMS(1), scale);
    out(&f, PARE_FLOAT, DIMS(2), y);
    attr_string(&f, "mode", "linear");
    attr_int(&f, "antialias", 1);
    assert_int_equal(run(&f), PARE_OK);
    /* a triangle 2 wide on each side of 0.5, without normalising 1/4 3/4 3/4 1/4 at -1 0 1 2: the edge counts twice */
    ASSERT_FLOATS(y, (0.25f + 0.75f + 1.5f + 0.75f) / 2, (0.5f + 2.25f + 3 + 1) / 2);
    const float bad[] = {0, -1, NAN, INFINITY, 1e-30f};
    for (int i = 0; i < 5; i++) {
        scale[0] = bad[i];
        assert_int_equal(run(&f), PARE_EINVAL);
    }
}

/* ---- quantization ---- */

static void quantize_ties_and_limits(void **state) {
    (void)state;
    fixture f;
    uint8_t y[6];
    start(&f, "QuantizeLinear");
    in(&f, PARE_FLOAT, DIMS(6), F(1, 3, 5, -1000, 1000, NAN));
    in(&f, PARE_FLOAT, SCALAR, F(2));
    in(&f, PARE_UINT8, SCALAR, U8(128));
    out(&f, PARE_UINT8, DIMS(6), y);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 128, 130, 130, 0, 255);
    start(&f, "QuantizeLinear");
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, -100, 7, 3));
    in(&f, PARE_FLOAT, DIMS(2), F(1, 2));
    in(&f, PARE_INT4, DIMS(2), U8(0));
    out(&f, PARE_INT4, DIMS(2, 2), y);
    attr_int(&f, "axis", 0);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_BYTES(y, 0x81, 0x24); /* 1 -8, 4 2: 3.5 and 1.5 go to even */
}

static void dequantize_blocks(void **state) {
    (void)state;
    fixture f;
    float y[6];
    start(&f, "DequantizeLinear");
    in(&f, PARE_INT8, DIMS(3, 2), I8(1, 2, 3, 4, 5, 6));
    in(&f, PARE_FLOAT, DIMS(2, 2), F(1, 10, 100, 1000));
    in(&f, PARE_INT8, DIMS(2, 2), I8(0, 1, 0, 0));
    out(&f, PARE_FLOAT, DIMS(3, 2), y);
    attr_int(&f, "axis", 0);
    attr_int(&f, "block_size", 2);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(y, 1, 10, 3, 30, 500, 6000);
    f.attr[1].value.i = 1; /* three scales would be needed */
    assert_int_equal(run(&f), PARE_EINVAL);
}

static void dynamic_quantize(void **state) {
    (void)state;
    fixture f;
    uint8_t y[3], zero[1];
    float scale[1];
    start(&f, "DynamicQuantizeLinear");
    in(&f, PARE_FLOAT, DIMS(3), F(-1, 0, 4.1f));
    out(&f, PARE_UINT8, DIMS(3), y);
    out(&f, PARE_FLOAT, SCALAR, scale);
    out(&f, PARE_UINT8, SCALAR, zero);
    assert_int_equal(run(&f), PARE_OK);
    ASSERT_FLOATS(scale, 0.02f);
    ASSERT_BYTES(zero, 50);
    ASSERT_BYTES(y, 0, 50, 255);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose_packed),
        cmocka_unit_test(concat_and_split),
        cmocka_unit_test(slice_backwards),
        cmocka_unit_test(pad_modes),
        cmocka_unit_test(packed_nibbles),
        cmocka_unit_test(depth_and_space),
        cmocka_unit_test(expand_and_tile),
        cmocka_unit_test(gather_checks_indices),
        cmocka_unit_test(gather_elements_and_nd),
        cmocka_unit_test(scatter),
        cmocka_unit_test(small_makers),
        cmocka_unit_test(dropout_mask),
        cmocka_unit_test(resize_values),
        cmocka_unit_test(resize_antialias_and_hostile),
        cmocka_unit_test(quantize_ties_and_limits),
        cmocka_unit_test(dequantize_blocks),
        cmocka_unit_test(dynamic_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
