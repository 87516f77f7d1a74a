/* tests/cpu/test_ref_a.c - plain C kernels: elements of every dtype, broadcasting, element-wise ops, activations, Cast.
 */
#include "ref_case.h"

#define F PARE_FLOAT
#define I64 PARE_INT64

/* ---- elements ---- */

/* Every code of every small format, read and written back, is itself; NaN stays NaN. */
static void small_formats_round_trip(void **state) {
    (void)state;
    static const uint32_t dtypes[] = {PARE_FLOAT16,    PARE_BFLOAT16,       PARE_FLOAT8E4M3FN, PARE_FLOAT8E4M3FNUZ,
                                      PARE_FLOAT8E5M2, PARE_FLOAT8E5M2FNUZ, PARE_FLOAT4E2M1,   PARE_FLOAT8E8M0,
                                      PARE_FLOAT6E2M3, PARE_FLOAT6E3M2,     PARE_INT4,         PARE_UINT4,
                                      PARE_INT2,       PARE_UINT2,          PARE_INT8,         PARE_UINT8};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        uint32_t t = dtypes[d], bits = pare_dtype_bits(t);
        for (uint32_t code = 0; code < 1u << bits; code++) {
            uint16_t from = (uint16_t)code, to = 0;
            double x = ref_get(&from, t, 0);
            ref_set(&to, t, 0, x);
            if (isnan(x))
                assert_true(isnan(ref_get(&to, t, 0)));
            else if (!isinf(x) || bits == 16) /* an 8-bit float saturates */
                assert_int_equal(to, code);
        }
    }
}

static double through(uint32_t dtype, double x) {
    uint64_t room = 0;
    ref_set(&room, dtype, 0, x);
    return ref_get(&room, dtype, 0);
}

static void small_formats_round(void **state) {
    (void)state;
    assert_true(through(PARE_FLOAT16, 2049) == 2048); /* ties to even */
    assert_true(through(PARE_FLOAT16, 2051) == 2052);
    assert_true(through(PARE_FLOAT16, 65519) == 65504);
    assert_true(isinf(through(PARE_FLOAT16, 65520)));
    assert_true(through(PARE_FLOAT16, 0x1p-25) == 0);
    assert_true(through(PARE_FLOAT16, 0x1.8p-25) == 0x1p-24);
    assert_true(through(PARE_FLOAT16, 0x1.ff8p-15) == 0x1.ff8p-15);
    assert_true(through(PARE_FLOAT16, 0x1.ffcp-15) == 0x1p-14); /* the largest subnormal carries into the exponent */
    assert_true(signbit(through(PARE_FLOAT16, -0.0)));
    assert_true(through(PARE_BFLOAT16, 257) == 256);
    assert_true(isinf(through(PARE_BFLOAT16, 3.4e38)) && through(PARE_BFLOAT16, 3.38e38) < 3.4e38);
    assert_true(through(PARE_FLOAT8E4M3FN, 1e9) == 448);
    assert_true(through(PARE_FLOAT8E4M3FN, -INFINITY) == -448);
    assert_true(through(PARE_FLOAT8E4M3FNUZ, 1e9) == 240);
    assert_true(!signbit(through(PARE_FLOAT8E4M3FNUZ, -0.0)));
    assert_true(through(PARE_FLOAT8E5M2, 1e9) == 57344);
    assert_true(through(PARE_FLOAT8E5M2FNUZ, 1e300) == 57344);
    assert_true(through(PARE_FLOAT4E2M1, 100) == 6 && through(PARE_FLOAT4E2M1, -2.5) == -2);
    assert_true(through(PARE_FLOAT6E2M3, 100) == 7.5 && through(PARE_FLOAT6E3M2, 100) == 28);
    assert_true(through(PARE_FLOAT8E8M0, 3) == 4 && isnan(through(PARE_FLOAT8E8M0, NAN)));
}

static void integers_wrap_and_truncate(void **state) {
    (void)state;
    assert_true(through(PARE_INT8, 200.9) == -56);
    assert_true(through(PARE_INT32, -2.9) == -2);
    assert_true(through(PARE_UINT64, 0x1p63) == 0x1p63);
    assert_true(through(PARE_UINT64, 1e30) == 0x1p64); /* as a double */
    assert_true(through(PARE_INT64, 1e30) == 0x1p63 && through(PARE_INT64, -1e30) == -0x1p63);
    assert_true(through(PARE_INT32, NAN) == 0 && through(PARE_BOOL, NAN) == 1);
    assert_true(through(PARE_INT4, 9) == -7 && through(PARE_UINT2, 5) == 1);
    uint64_t room = 0;
    ref_set_int(&room, I64, 0, INT64_MIN);
    assert_true(ref_get_int(&room, I64, 0) == INT64_MIN);
    uint8_t packed[4] = {0};
    for (int i = 0; i < 5; i++) ref_set_int(packed, PARE_INT4, (uint64_t)i, i - 3);
    assert_int_equal(packed[0], 0xed);
    assert_int_equal(packed[2], 0x01);
    for (int i = 0; i < 5; i++) assert_int_equal(ref_get_int(packed, PARE_INT4, (uint64_t)i), i - 3);
    memset(packed, 0xff, sizeof packed);
    for (int i = 0; i < 5; i++) ref_set(packed, PARE_FLOAT6E2M3, (uint64_t)i, i / 8.0); /* 30 bits over bytes */
    for (int i = 0; i < 5; i++) assert_true(ref_get(packed, PARE_FLOAT6E2M3, (uint64_t)i) == i / 8.0);
    assert_int_equal(packed[3] >> 6, 3);
}

/* ---- broadcasting and arithmetic ---- */

static void adds_with_broadcasting(void **state) {
    (void)state;
    begin("Add");
    in(F, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6));
    in(F, DIMS(3), VALUES(10, 20, 30));
    out(F, DIMS(2, 3));
    run_ok();
    expect(0, VALUES(11, 22, 33, 14, 25, 36));
    begin("Sub");
    in(F, DIMS(2, 1, 2), VALUES(1, 2, 3, 4));
    in(F, DIMS(3, 1), VALUES(0, 10, 20));
    out(F, DIMS(2, 3, 2));
    run_ok();
    expect(0, VALUES(1, 2, -9, -8, -19, -18, 3, 4, -7, -6, -17, -16));
    begin("Mul");
    in(F, SCALAR, VALUES(3));
    in(F, SCALAR, VALUES(4));
    out(F, SCALAR);
    run_ok();
    expect(0, VALUES(12));
    begin("Add");
    in(F, DIMS(0, 3), NONE);
    in(F, DIMS(1, 3), VALUES(1, 2, 3));
    out(F, DIMS(0, 3));
    run_ok();
    begin("Add"); /* does not broadcast: an error, no crash */
    in(F, DIMS(2), VALUES(1, 2));
    in(F, DIMS(3), VALUES(1, 2, 3));
    out(F, DIMS(3));
    assert_int_equal(run_status(), PARE_EINVAL);
}

static void half_rounds_once(void **state) {
    (void)state;
    begin("Add");
    in(PARE_FLOAT16, DIMS(2), VALUES(2048, 65504));
    in(PARE_FLOAT16, SCALAR, VALUES(1));
    out(PARE_FLOAT16, DIMS(2));
    run_ok();
    assert_true(ref_get(the_case.out_data[0], PARE_FLOAT16, 0) == 2048);
    assert_true(ref_get(the_case.out_data[0], PARE_FLOAT16, 1) == 65504);
    begin("Mul");
    in(PARE_BFLOAT16, DIMS(2), VALUES(1.5, -3));
    in(PARE_BFLOAT16, DIMS(2), VALUES(1.5, 0.5));
    out(PARE_BFLOAT16, DIMS(2));
    run_ok();
    expect(0, VALUES(2.25, -1.5));
}

static void integer_division_never_traps(void **state) {
    (void)state;
    begin("Div");
    in_ints(I64, DIMS(4), INTS(7, -7, INT64_MIN, 0));
    in_ints(I64, DIMS(4), INTS(2, 2, -1, 3));
    out(I64, DIMS(4));
    run_ok();
    expect_ints(0, INTS(3, -3, INT64_MIN, 0));
    begin("Div");
    in_ints(PARE_INT32, DIMS(2), INTS(INT32_MIN, 9));
    in_ints(PARE_INT32, DIMS(2), INTS(-1, -4));
    out(PARE_INT32, DIMS(2));
    run_ok();
    expect_ints(0, INTS(INT32_MIN, -2));
    begin("Div");
    in_ints(PARE_UINT64, DIMS(1), INTS(-2));
    in_ints(PARE_UINT64, DIMS(1), INTS(2));
    out(PARE_UINT64, DIMS(1));
    run_ok();
    expect_ints(0, INTS(INT64_MAX));
    begin("Mod");
    in_ints(I64, DIMS(4), INTS(-4, 7, INT64_MIN, 3));
    in_ints(I64, DIMS(4), INTS(3, -3, -1, 3));
    out(I64, DIMS(4));
    run_ok();
    expect_ints(0, INTS(2, -2, 0, 0));
    static const char *const ops[] = {"Div", "Mod"};
    for (int i = 0; i < 2; i++) { /* by 0: the input is wrong; of nothing, nothing is wrong */
        begin(ops[i]);
        in_ints(PARE_INT32, DIMS(2), INTS(1, 2));
        in_ints(PARE_INT32, DIMS(2), INTS(1, 0));
        out(PARE_INT32, DIMS(2));
        assert_int_equal(run_status(), PARE_EINVAL);
        begin(ops[i]);
        in_ints(PARE_INT32, DIMS(0), NULL, 0);
        in_ints(PARE_INT32, DIMS(1), INTS(0));
        out(PARE_INT32, DIMS(0));
        run_ok();
    }
    begin("Mod");
    in(F, DIMS(2), VALUES(-4.3, 5));
    in(F, DIMS(2), VALUES(3, -2));
    out(F, DIMS(2));
    attr_int("fmod", 1);
    run_ok();
    expect(0, VALUES(-1.3, 1));
}

static void integers_wrap(void **state) {
    (void)state;
    begin("Add");
    in_ints(PARE_INT8, DIMS(2), INTS(127, -128));
    in_ints(PARE_INT8, DIMS(2), INTS(1, -1));
    out(PARE_INT8, DIMS(2));
    run_ok();
    expect_ints(0, INTS(-128, 127));
    begin("Mul");
    in_ints(I64, DIMS(2), INTS(INT64_MAX, 3));
    in_ints(I64, SCALAR, INTS(2));
    out(I64, DIMS(2));
    run_ok();
    expect_ints(0, INTS(-2, 6));
    begin("Neg");
    in_ints(I64, DIMS(2), INTS(INT64_MIN, 5));
    out(I64, DIMS(2));
    run_ok();
    expect_ints(0, INTS(INT64_MIN, -5));
    begin("Abs");
    in_ints(PARE_INT8, DIMS(2), INTS(-128, -3));
    out(PARE_INT8, DIMS(2));
    run_ok();
    expect_ints(0, INTS(-128, 3));
    begin("Pow");
    in_ints(I64, DIMS(4), INTS(3, -1, 2, -2));
    in_ints(I64, DIMS(4), INTS(4, -3, -1, 63));
    out(I64, DIMS(4));
    run_ok();
    expect_ints(0, INTS(81, -1, 0, INT64_MIN));
    begin("BitShift");
    in_ints(PARE_UINT8, DIMS(3), INTS(1, 3, 255));
    in_ints(PARE_UINT8, DIMS(3), INTS(7, 8, 200));
    out(PARE_UINT8, DIMS(3));
    attr_string("direction", "LEFT");
    run_ok();
    expect_ints(0, INTS(128, 0, 0));
}

static void powers(void **state) {
    (void)state;
    begin("Pow");
    in(F, DIMS(4), VALUES(3, 2, -8, 0));
    in(F, DIMS(4), VALUES(2, -1, 1, 0));
    out(F, DIMS(4));
    run_ok();
    expect(0, VALUES(9, 0.5, -8, 1));
    begin("Pow");
    in_ints(PARE_INT32, DIMS(2), INTS(2, 9));
    in(F, DIMS(2), VALUES(3, 0.5));
    out(PARE_INT32, DIMS(2));
    run_ok();
    expect_ints(0, INTS(8, 3));
}

static void compares(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double want[3];
    } t[] = {{"Equal", {0, 1, 0}},
             {"Greater", {0, 0, 0}},
             {"GreaterOrEqual", {0, 1, 0}},
             {"Less", {1, 0, 0}},
             {"LessOrEqual", {1, 1, 0}}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].op);
        in(F, DIMS(3), VALUES(1, 2, NAN));
        in(F, DIMS(3), VALUES(2, 2, NAN));
        out(PARE_BOOL, DIMS(3));
        run_ok();
        expect(0, t[i].want, 3);
        begin(t[i].op); /* float64 goes another way */
        in(PARE_DOUBLE, DIMS(3), VALUES(1, 2, NAN));
        in(PARE_DOUBLE, DIMS(3), VALUES(2, 2, NAN));
        out(PARE_BOOL, DIMS(3));
        run_ok();
        expect(0, t[i].want, 3);
    }
    begin("Greater"); /* as unsigned numbers, and with all 64 bits */
    in_ints(PARE_UINT64, DIMS(2), INTS(-1, INT64_MAX));
    in_ints(PARE_UINT64, DIMS(2), INTS(1, INT64_MAX - 1));
    out(PARE_BOOL, DIMS(2));
    run_ok();
    expect_ints(0, INTS(1, 1));
}

static void logic(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int64_t want[4];
    } t[] = {{"And", {0, 0, 0, 1}}, {"Or", {0, 1, 1, 1}}, {"Xor", {0, 1, 1, 0}}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].op);
        in_ints(PARE_BOOL, DIMS(2, 1), INTS(0, 1));
        in_ints(PARE_BOOL, DIMS(2), INTS(0, 1));
        out(PARE_BOOL, DIMS(2, 2));
        run_ok();
        expect_ints(0, t[i].want, 4);
    }
    begin("Not");
    in_ints(PARE_BOOL, DIMS(2), INTS(0, 1));
    out(PARE_BOOL, DIMS(2));
    run_ok();
    expect_ints(0, INTS(1, 0));
}

static void many_inputs(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double want[2];
    } t[] = {{"Max", {5, NAN}}, {"Min", {1, NAN}}, {"Sum", {9, NAN}}, {"Mean", {3, NAN}}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].op);
        in(F, DIMS(2), VALUES(1, NAN));
        in(F, SCALAR, VALUES(3));
        in(F, DIMS(1), VALUES(5));
        out(F, DIMS(2));
        run_ok();
        expect(0, t[i].want, 2);
    }
    begin("Max");
    in(F, DIMS(3), VALUES(1, NAN, 2));
    in(F, DIMS(3), VALUES(NAN, 1, 3));
    out(F, DIMS(3));
    run_ok();
    expect(0, VALUES(NAN, NAN, 3));
    begin("Min");
    in_ints(PARE_INT8, DIMS(2), INTS(-5, 4));
    out(PARE_INT8, DIMS(2));
    run_ok();
    expect_ints(0, INTS(-5, 4));
}

static void where_and_clip(void **state) {
    (void)state;
    begin("Where");
    in_ints(PARE_BOOL, DIMS(2, 1), INTS(1, 0));
    in_ints(I64, DIMS(2), INTS(INT64_MAX, 2));
    in_ints(I64, SCALAR, INTS(-1));
    out(I64, DIMS(2, 2));
    run_ok();
    expect_ints(0, INTS(INT64_MAX, 2, -1, -1));
    begin("Clip");
    in(F, DIMS(4), VALUES(-2, 0.5, 9, NAN));
    in(F, SCALAR, VALUES(-1));
    in(F, SCALAR, VALUES(6));
    out(F, DIMS(4));
    run_ok();
    expect(0, VALUES(-1, 0.5, 6, NAN));
    begin("Clip");
    in_ints(PARE_INT8, DIMS(3), INTS(-100, 0, 100));
    in_absent();
    in_ints(PARE_INT8, SCALAR, INTS(6));
    out(PARE_INT8, DIMS(3));
    run_ok();
    expect_ints(0, INTS(-100, 0, 6));
    begin_at("Clip", 6);
    in(F, DIMS(2), VALUES(-2, 9));
    out(F, DIMS(2));
    attr_float("max", 3);
    run_ok();
    expect(0, VALUES(-2, 3));
}

/* ---- one input ---- */

static void one_input(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double x[4], y[4];
    } t[] = {
        {"Round", {0.5, 1.5, -2.5, 2.6}, {0, 2, -2, 3}},
        {"Floor", {-1.5, 1.5, 2, INFINITY}, {-2, 1, 2, INFINITY}},
        {"Ceil", {-1.5, 1.5, 2, NAN}, {-1, 2, 2, NAN}},
        {"Sign", {-3, 0, 7, NAN}, {-1, 0, 1, NAN}},
        {"Sqrt", {4, 2, 0, -1}, {2, 1.41421356237, 0, NAN}},
        {"Exp", {0, 1, -INFINITY, 1000}, {1, 2.71828182846, 0, INFINITY}},
        {"Log", {1, 10, 0, -1}, {0, 2.30258509299, -INFINITY, NAN}},
        {"Reciprocal", {2, -4, 0, INFINITY}, {0.5, -0.25, INFINITY, 0}},
        {"Sin", {0, 1, -1, INFINITY}, {0, 0.841470984808, -0.841470984808, NAN}},
        {"Cos", {0, 1, -1, 3}, {1, 0.540302305868, 0.540302305868, -0.9899924966}},
        {"Relu", {-1, 0, 2, NAN}, {0, 0, 2, NAN}},
        {"LeakyRelu", {-1, 0, 2, NAN}, {-0.01, 0, 2, NAN}},
        {"ThresholdedRelu", {0.5, 1, 2, NAN}, {0, 0, 2, NAN}},
        {"Elu", {-1, 0, 2, -INFINITY}, {-0.632120558829, 0, 2, -1}},
        {"Selu", {-1, 0, 1, 2}, {-1.11133073, 0, 1.05070099, 2.10140198}},
        {"Celu", {-1, 0, 1, 2}, {-0.632120558829, 0, 1, 2}},
        {"Sigmoid", {0, -1000, 1000, 1}, {0.5, 0, 1, 0.73105857863}},
        {"HardSigmoid", {0, -5, 5, 1}, {0.5, 0, 1, 0.7}},
        {"HardSwish", {-4, 1, 4, NAN}, {0, 0.666666666667, 4, NAN}},
        {"Tanh", {0, 1, -1000, 1000}, {0, 0.761594155956, -1, 1}},
        {"Erf", {0, 1, -1, INFINITY}, {0, 0.842700792950, -0.842700792950, 1}},
        {"Gelu", {0, 1, -1, 100}, {0, 0.841344746069, -0.158655253931, 100}},
        {"Softplus", {0, 1, -1000, 1000}, {0.693147180560, 1.31326168752, 0, 1000}},
        {"Mish", {0, 1, -1000, 100}, {0, 0.865098388267, 0, 100}},
        {"Softsign", {0, 1, -3, 9}, {0, 0.5, -0.75, 0.9}},
    };
    static const uint32_t dtypes[] = {F, PARE_DOUBLE};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        for (size_t d = 0; d < 2; d++) {
            begin(t[i].op);
            in(dtypes[d], DIMS(2, 2), t[i].x, 4);
            out(dtypes[d], DIMS(2, 2));
            run_ok();
            expect(0, t[i].y, 4);
        }
        begin(t[i].op); /* nothing in, nothing out */
        in(F, DIMS(0), NONE);
        out(F, DIMS(0));
        run_ok();
    }
}

static void parameters_count(void **state) {
    (void)state;
    begin("LeakyRelu");
    in(PARE_FLOAT16, DIMS(2), VALUES(-2, 3));
    out(PARE_FLOAT16, DIMS(2));
    attr_float("alpha", 0.5);
    run_ok();
    expect(0, VALUES(-1, 3));
    begin("Gelu");
    in(F, DIMS(3), VALUES(0, 1, -1));
    out(F, DIMS(3));
    attr_string("approximate", "tanh");
    run_ok();
    expect(0, VALUES(0, 0.841191990608, -0.158808009392));
    begin("PRelu");
    in(F, DIMS(1, 2, 2), VALUES(-1, 2, -3, NAN));
    in(F, DIMS(2, 1), VALUES(0.5, 2));
    out(F, DIMS(1, 2, 2));
    run_ok();
    expect(0, VALUES(-0.5, 2, -6, NAN));
    begin("IsInf");
    in(F, DIMS(4), VALUES(INFINITY, -INFINITY, 1, NAN));
    out(PARE_BOOL, DIMS(4));
    attr_int("detect_negative", 0);
    run_ok();
    expect_ints(0, INTS(1, 0, 0, 0));
    begin("IsNaN");
    in(PARE_FLOAT16, DIMS(2), VALUES(INFINITY, NAN));
    out(PARE_BOOL, DIMS(2));
    run_ok();
    expect_ints(0, INTS(0, 1));
    begin("Relu");
    in_ints(I64, DIMS(2), INTS(INT64_MIN, INT64_MAX));
    out(I64, DIMS(2));
    run_ok();
    expect_ints(0, INTS(0, INT64_MAX));
}

/* ---- Cast ---- */

static void casts(void **state) {
    (void)state;
    begin("Cast");
    in(F, DIMS(5), VALUES(-1.9, 2.5, 300, NAN, 0.1));
    out(PARE_INT8, DIMS(5));
    run_ok();
    expect_ints(0, INTS(-1, 2, 44, 0, 0));
    begin("Cast");
    in(F, DIMS(4), VALUES(0.1, -0.0, NAN, 0));
    out(PARE_BOOL, DIMS(4));
    run_ok();
    expect_ints(0, INTS(1, 0, 1, 0));
    begin("Cast");
    in_ints(I64, DIMS(2), INTS(INT64_MIN, 0x100000001));
    out(PARE_INT32, DIMS(2));
    run_ok();
    expect_ints(0, INTS(0, 1));
    begin("Cast");
    in_ints(PARE_UINT64, DIMS(1), INTS(-1));
    out(PARE_DOUBLE, DIMS(1));
    run_ok();
    expect(0, VALUES(0x1p64));
    begin("Cast"); /* one rounding: by way of float64 it would be 2^62 */
    in_ints(I64, DIMS(1), INTS(((int64_t)1 << 62) + ((int64_t)1 << 38) + 1));
    out(F, DIMS(1));
    run_ok();
    assert_true(((float *)the_case.out_data[0])[0] == 0x1.000002p62f);
    begin("Cast");
    in(F, DIMS(3), VALUES(-8, 7, 3));
    out(PARE_INT4, DIMS(3));
    run_ok();
    expect_ints(0, INTS(-8, 7, 3));
    assert_int_equal(((uint8_t *)the_case.out_data[0])[1], 3); /* the spare nibble is 0 */
    begin("Cast");
    in(F, DIMS(3), VALUES(1e9, INFINITY, 17));
    out(PARE_FLOAT8E4M3FN, DIMS(3));
    run_ok();
    expect(0, VALUES(448, 448, 16));
    begin("Cast");
    in(F, DIMS(3), VALUES(1e9, INFINITY, 17));
    out(PARE_FLOAT8E4M3FN, DIMS(3));
    attr_int("saturate", 0);
    run_ok();
    expect(0, VALUES(NAN, NAN, 16));
    begin("Cast");
    in(F, DIMS(2), VALUES(1e9, 3));
    out(PARE_FLOAT8E5M2, DIMS(2));
    attr_int("saturate", 0);
    run_ok();
    expect(0, VALUES(INFINITY, 3));
    begin("Cast");
    in(F, DIMS(2), VALUES(3, 5));
    out(PARE_FLOAT8E8M0, DIMS(2));
    attr_string("round_mode", "down");
    run_ok();
    expect(0, VALUES(2, 4));
}

/* ---- the table ---- */

static void the_table(void **state) {
    (void)state;
    uint32_t n;
    const ref_op *const *rows = ref_all(&n);
    assert_true(n > 100);
    for (uint32_t i = 0; i < n; i++) {
        assert_non_null(rows[i]->run);
        assert_ptr_equal(ref_find(rows[i]->domain, rows[i]->op_type), rows[i]); /* no op twice */
    }
    assert_non_null(ref_find("ai.onnx", "Relu"));
    assert_null(ref_find("", "NoSuchOp"));
    assert_null(ref_find("com.example", "Relu"));
    begin("Add");
    in_raw(PARE_COMPLEX64, DIMS(1));
    out(F, DIMS(1));
    assert_false(ref_find("", "Add")->supports(&the_case.spec));
    begin("Relu"); /* nothing to read, nothing to write */
    assert_false(ref_find("", "Relu")->supports(&the_case.spec));
    begin("Clip"); /* an output that is too small */
    in(F, DIMS(2), VALUES(1, 2));
    out(F, DIMS(1));
    assert_int_equal(run_status(), PARE_EINVAL);
    drop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_formats_round_trip),
        cmocka_unit_test(small_formats_round),
        cmocka_unit_test(integers_wrap_and_truncate),
        cmocka_unit_test(adds_with_broadcasting),
        cmocka_unit_test(half_rounds_once),
        cmocka_unit_test(integer_division_never_traps),
        cmocka_unit_test(integers_wrap),
        cmocka_unit_test(powers),
        cmocka_unit_test(compares),
        cmocka_unit_test(logic),
        cmocka_unit_test(many_inputs),
        cmocka_unit_test(where_and_clip),
        cmocka_unit_test(one_input),
        cmocka_unit_test(parameters_count),
        cmocka_unit_test(casts),
        cmocka_unit_test(the_table),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    drop();
    return failed;
}
