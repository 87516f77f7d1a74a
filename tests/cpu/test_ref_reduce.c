/* tests/cpu/test_ref_reduce.c - plain C kernels: reductions, Arg*, CumSum, Softmax and relatives, TopK, normalisations.
 */
#include "ref_case.h"

#define F PARE_FLOAT
#define I64 PARE_INT64

/* ---- reductions ---- */

static void every_reduction(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double rows[2], all;
    } t[] = {{"ReduceSum", {6, 7}, 13},
             {"ReduceMean", {2, 7.0 / 3}, 13.0 / 6},
             {"ReduceMax", {3, 6}, 6},
             {"ReduceMin", {1, -4}, -4},
             {"ReduceProd", {6, -120}, -720},
             {"ReduceL1", {6, 15}, 21},
             {"ReduceL2", {3.74165738677, 8.77496438739}, 9.53939201417},
             {"ReduceLogSum", {1.79175946923, 1.94591014906}, 2.56494935746},
             {"ReduceLogSumExp", {3.40760596444, 6.31329487698}, 6.36656175471},
             {"ReduceSumSquare", {14, 77}, 91}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        for (int d = 0; d < 2; d++) {
            uint32_t dtype = d ? PARE_DOUBLE : F;
            begin(t[i].op);
            in(dtype, DIMS(2, 3), VALUES(1, 2, 3, 5, -4, 6));
            in_ints(I64, DIMS(1), INTS(-1));
            out(dtype, DIMS(2, 1));
            run_ok();
            expect(0, t[i].rows, 2);
            begin(t[i].op);
            in(dtype, DIMS(2, 3), VALUES(1, 2, 3, 5, -4, 6));
            out(dtype, SCALAR);
            attr_int("keepdims", 0);
            run_ok();
            expect(0, &t[i].all, 1);
        }
    }
}

static void axes_in_any_order(void **state) {
    (void)state;
    double x[24], want[3] = {0};
    for (int i = 0; i < 24; i++) x[i] = i, want[i / 4 % 3] += i;
    begin("ReduceSum");
    in(F, DIMS(2, 3, 4), x, 24);
    in_ints(PARE_INT32, DIMS(2), INTS(2, -3));
    out(F, DIMS(3));
    run_ok();
    expect(0, want, 3);
    begin_at("ReduceSum", 11);
    static const int64_t axes[] = {0, 2};
    in(F, DIMS(2, 3, 4), x, 24);
    out(F, DIMS(1, 3, 1));
    attr_ints("axes", axes, 2);
    run_ok();
    expect(0, want, 3);
    begin("ReduceSum");
    in(F, DIMS(2), VALUES(1, 2));
    in_ints(I64, DIMS(1), INTS(1));
    out(F, DIMS(2));
    assert_int_equal(run_status(), PARE_EINVAL);
    begin("ReduceSum"); /* longer than the lanes of the sum */
    in(F, DIMS(24), x, 24);
    out(F, DIMS(1));
    run_ok();
    expect(0, VALUES(276));
}

/* No axes and noop: nothing is reduced, but the rest of the op is done. */
static void no_axes(void **state) {
    (void)state;
    begin("ReduceSumSquare");
    in(F, DIMS(2), VALUES(3, -4));
    in_ints(I64, DIMS(0), NONE);
    out(F, DIMS(2));
    attr_int("noop_with_empty_axes", 1);
    run_ok();
    expect(0, VALUES(9, 16));
    begin("ReduceMax");
    in(F, SCALAR, VALUES(7));
    out(F, SCALAR);
    run_ok();
    expect(0, VALUES(7));
}

static void nothing_to_reduce(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double want;
    } t[] = {
        {"ReduceSum", 0},      {"ReduceProd", 1},           {"ReduceMax", -INFINITY}, {"ReduceMin", INFINITY},
        {"ReduceMean", NAN},   {"ReduceLogSum", -INFINITY}, {"ReduceL2", 0},          {"ReduceLogSumExp", -INFINITY},
        {"ReduceSumSquare", 0}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].op);
        in(F, DIMS(2, 0), NONE);
        in_ints(I64, DIMS(1), INTS(1));
        out(F, DIMS(2, 1));
        run_ok();
        const double want[2] = {t[i].want, t[i].want};
        expect(0, want, 2);
    }
    begin("ReduceMax");
    in_ints(PARE_INT8, DIMS(0), NONE);
    out(PARE_INT8, SCALAR);
    run_ok();
    expect_ints(0, INTS(-128));
    begin("ReduceMin");
    in_ints(PARE_UINT64, DIMS(0), NONE);
    out(PARE_UINT64, SCALAR);
    run_ok();
    expect_ints(0, INTS(-1));
    begin("ReduceMean");
    in_ints(PARE_INT32, DIMS(0), NONE);
    out(PARE_INT32, SCALAR);
    run_ok();
    expect_ints(0, INTS(0));
}

static void reductions_of_numbers_at_the_edge(void **state) {
    (void)state;
    begin("ReduceMax");
    in(F, DIMS(3), VALUES(1, NAN, 2));
    out(F, DIMS(1));
    run_ok();
    expect(0, VALUES(NAN));
    begin("ReduceLogSumExp");
    in(F, DIMS(2, 2), VALUES(1000, 1000, -INFINITY, -INFINITY));
    in_ints(I64, DIMS(1), INTS(1));
    out(F, DIMS(2));
    run_ok();
    expect(0, VALUES(1000.69314718, -INFINITY));
    begin("ReduceSum");
    in_ints(I64, DIMS(2), INTS(INT64_MAX, 1));
    out(I64, DIMS(1));
    run_ok();
    expect_ints(0, INTS(INT64_MIN));
    begin("ReduceMean");
    in_ints(PARE_INT32, DIMS(3), INTS(-5, 1, 0));
    out(PARE_INT32, DIMS(1));
    run_ok();
    expect_ints(0, INTS(-1));
    begin("ReduceMax");
    in_ints(PARE_BOOL, DIMS(2, 2), INTS(0, 0, 0, 1));
    in_ints(I64, DIMS(1), INTS(1));
    out(PARE_BOOL, DIMS(2));
    run_ok();
    expect_ints(0, INTS(0, 1));
    begin("ReduceMean"); /* 5000 halves would not fit a half's sum */
    double x[5000];
    for (int i = 0; i < 5000; i++) x[i] = 40;
    in(PARE_FLOAT16, DIMS(5000), x, 5000);
    out(PARE_FLOAT16, DIMS(1));
    run_ok();
    expect(0, VALUES(40));
}

static void arg_max_and_min(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int64_t last, want[3];
    } t[] = {{"ArgMax", 0, {1, 0, 1}}, {"ArgMax", 1, {1, 1, 1}}, {"ArgMin", 0, {0, 0, 1}}, {"ArgMin", 1, {0, 1, 1}}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].op);
        in(F, DIMS(2, 3), VALUES(1, 5, 2, 3, 5, NAN));
        out(I64, DIMS(1, 3));
        attr_int("axis", 0);
        attr_int("select_last_index", t[i].last);
        run_ok();
        expect_ints(0, t[i].want, 3);
    }
    begin("ArgMax");
    in_ints(PARE_UINT64, DIMS(3), INTS(5, -1, 7));
    out(I64, SCALAR);
    run_ok();
    expect_ints(0, INTS(1));
    begin("ArgMin");
    in_ints(PARE_INT8, DIMS(3), INTS(5, -1, 7));
    out(I64, DIMS(1));
    run_ok();
    expect_ints(0, INTS(1));
    begin("ArgMax");
    in(F, DIMS(2, 0), NONE);
    out(I64, DIMS(2, 1));
    attr_int("axis", 1);
    assert_int_equal(run_status(), PARE_EINVAL);
}

/* ---- along an axis ---- */

static void running_sums(void **state) {
    (void)state;
    static const double want[2][2][3] = {{{1, 3, 6}, {6, 5, 3}}, {{0, 1, 3}, {5, 3, 0}}};
    for (int exclusive = 0; exclusive < 2; exclusive++) {
        for (int reverse = 0; reverse < 2; reverse++) {
            for (int d = 0; d < 2; d++) {
                begin("CumSum");
                in(d ? PARE_INT32 : F, DIMS(3), VALUES(1, 2, 3));
                in_ints(I64, SCALAR, INTS(-1));
                out(d ? PARE_INT32 : F, DIMS(3));
                attr_int("exclusive", exclusive);
                attr_int("reverse", reverse);
                run_ok();
                expect(0, want[exclusive][reverse], 3);
            }
        }
    }
    begin("CumSum");
    in(F, DIMS(2, 2), VALUES(1, 2, 3, 4));
    in_ints(PARE_INT32, DIMS(1), INTS(0));
    out(F, DIMS(2, 2));
    run_ok();
    expect(0, VALUES(1, 2, 4, 6));
    begin("CumSum");
    in(F, DIMS(2), VALUES(1, 2));
    in_ints(PARE_INT32, SCALAR, INTS(7));
    out(F, DIMS(2));
    assert_int_equal(run_status(), PARE_EINVAL);
}

static void softmaxes(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        uint32_t t = d ? PARE_DOUBLE : F;
        begin("Softmax");
        in(t, DIMS(2, 2), VALUES(1000, 1001, 0, -INFINITY));
        out(t, DIMS(2, 2));
        run_ok();
        expect(0, VALUES(0.268941421370, 0.731058578630, 1, 0));
        begin("Softmax");
        in(t, DIMS(2, 2), VALUES(0, 1, 0, 3));
        out(t, DIMS(2, 2));
        attr_int("axis", 0);
        run_ok();
        expect(0, VALUES(0.5, 0.119202922022, 0.5, 0.880797077978));
        begin("LogSoftmax");
        in(t, DIMS(2), VALUES(1000, 1001));
        out(t, DIMS(2));
        run_ok();
        expect(0, VALUES(-1.31326168752, -0.313261687518));
        begin("Hardmax");
        in(t, DIMS(3), VALUES(1, 4, 4));
        out(t, DIMS(3));
        run_ok();
        expect(0, VALUES(0, 1, 0));
    }
    begin_at("Softmax", 11); /* flattened from axis 1 on */
    in(F, DIMS(1, 2, 2), VALUES(1, 1, 1, 1));
    out(F, DIMS(1, 2, 2));
    run_ok();
    expect(0, VALUES(0.25, 0.25, 0.25, 0.25));
    begin("Softmax");
    in(F, DIMS(2, 0), NONE);
    out(F, DIMS(2, 0));
    run_ok();
    begin("Softmax");
    in(F, SCALAR, VALUES(3));
    out(F, SCALAR);
    run_ok();
    expect(0, VALUES(1));
}

static void top_k(void **state) {
    (void)state;
    begin("TopK");
    in(F, DIMS(2, 4), VALUES(3, 9, 9, 1, -0.0, 0, NAN, -5));
    in_ints(I64, DIMS(1), INTS(3));
    out(F, DIMS(2, 3));
    out(I64, DIMS(2, 3));
    run_ok();
    expect(0, VALUES(9, 9, 3, NAN, 0, 0));
    expect_ints(1, INTS(1, 2, 0, 2, 0, 1)); /* equals: the first index first */
    begin("TopK");
    in_ints(I64, DIMS(4, 1), INTS(INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN));
    in_ints(I64, DIMS(1), INTS(4));
    out(I64, DIMS(4, 1));
    out(I64, DIMS(4, 1));
    attr_int("axis", 0);
    attr_int("largest", 0);
    run_ok();
    expect_ints(0, INTS(INT64_MIN, INT64_MIN, INT64_MAX - 1, INT64_MAX));
    expect_ints(1, INTS(1, 3, 2, 0));
    begin("TopK");
    in(F, DIMS(2), VALUES(1, 2));
    in_ints(I64, DIMS(1), INTS(0));
    out(F, DIMS(0));
    out(I64, DIMS(0));
    run_ok();
    begin("TopK");
    in(F, DIMS(2), VALUES(1, 2));
    in_ints(I64, DIMS(1), INTS(3));
    out(F, DIMS(2));
    out(I64, DIMS(2));
    assert_int_equal(run_status(), PARE_EINVAL);
}

/* Against a plain sort by hand: many sizes, many ties. */
static void top_k_sorts(void **state) {
    (void)state;
    uint32_t r = 7;
    for (int64_t n = 1; n < 40; n++) {
        double x[40];
        for (int64_t i = 0; i < n; i++) r = r * 1664525 + 1013904223, x[i] = r >> 29;
        begin("TopK");
        in(F, DIMS(n), x, (size_t)n);
        in_ints(I64, DIMS(1), INTS(n));
        out(F, DIMS(n));
        out(I64, DIMS(n));
        run_ok();
        const float *v = the_case.out_data[0];
        const int64_t *at = the_case.out_data[1];
        for (int64_t i = 0; i < n; i++) {
            assert_true(v[i] == (float)x[at[i]]);
            if (i) assert_true(v[i - 1] > v[i] || (v[i - 1] == v[i] && at[i - 1] < at[i]));
        }
    }
}

/* ---- normalisation ---- */

static void batch_norm(void **state) {
    (void)state;
    begin("BatchNormalization");
    in(F, DIMS(1, 2, 2), VALUES(1, 3, 10, 20));
    in(F, DIMS(2), VALUES(2, 1));
    in(F, DIMS(2), VALUES(0.5, -1));
    in(F, DIMS(2), VALUES(1, 10));
    in(F, DIMS(2), VALUES(4, 25));
    out(F, DIMS(1, 2, 2));
    attr_float("epsilon", 0);
    run_ok();
    expect(0, VALUES(0.5, 2.5, -1, 1));
    begin("BatchNormalization");
    in(F, DIMS(2, 1), VALUES(1, 3));
    in(F, DIMS(1), VALUES(1));
    in(F, DIMS(1), VALUES(0));
    in(F, DIMS(1), VALUES(10));
    in(F, DIMS(1), VALUES(10));
    out(F, DIMS(2, 1));
    out(F, DIMS(1));
    out(F, DIMS(1));
    attr_int("training_mode", 1);
    attr_float("epsilon", 0);
    attr_float("momentum", 0.5);
    run_ok();
    expect(0, VALUES(-1, 1));
    expect(1, VALUES(6));
    expect(2, VALUES(5.5));
    begin("BatchNormalization");
    in(F, DIMS(1, 2), VALUES(1, 3));
    for (int i = 0; i < 4; i++) in(F, DIMS(1), VALUES(1));
    out(F, DIMS(1, 2));
    assert_int_equal(run_status(), PARE_EINVAL);
}

static void layer_norm(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        uint32_t t = d ? PARE_DOUBLE : F;
        begin("LayerNormalization");
        in(t, DIMS(2, 2), VALUES(1, 3, 10, 20));
        in(t, DIMS(2), VALUES(1, 2));
        in(t, DIMS(2), VALUES(0, 5));
        out(t, DIMS(2, 2));
        out(F, DIMS(2, 1));
        out(F, DIMS(2, 1));
        attr_float("epsilon", 0);
        run_ok();
        expect(0, VALUES(-1, 7, -1, 7));
        expect(1, VALUES(2, 15));
        expect(2, VALUES(1, 0.2));
    }
    begin("LayerNormalization"); /* one scale for all, over both dims */
    in(F, DIMS(2, 2), VALUES(1, 1, 3, 3));
    in(F, DIMS(2, 1), VALUES(1, 3));
    out(F, DIMS(2, 2));
    attr_int("axis", 0);
    attr_float("epsilon", 0);
    run_ok();
    expect(0, VALUES(-1, -1, 3, 3));
}

static void instance_and_group_norm(void **state) {
    (void)state;
    begin("InstanceNormalization");
    in(F, DIMS(1, 2, 2), VALUES(1, 3, 10, 20));
    in(F, DIMS(2), VALUES(1, 2));
    in(F, DIMS(2), VALUES(0, 1));
    out(F, DIMS(1, 2, 2));
    attr_float("epsilon", 0);
    run_ok();
    expect(0, VALUES(-1, 1, -1, 3));
    begin("GroupNormalization");
    in(F, DIMS(1, 4, 1), VALUES(1, 3, 10, 20));
    in(F, DIMS(4), VALUES(1, 2, 3, 4));
    in(F, DIMS(4), VALUES(0, 0, 0, 1));
    out(F, DIMS(1, 4, 1));
    attr_int("num_groups", 2);
    attr_float("epsilon", 0);
    run_ok();
    expect(0, VALUES(-1, 2, -3, 5));
    begin("GroupNormalization");
    in(F, DIMS(1, 3, 1), VALUES(1, 3, 10));
    in(F, DIMS(3), VALUES(1, 2, 3));
    in(F, DIMS(3), VALUES(0, 0, 0));
    out(F, DIMS(1, 3, 1));
    attr_int("num_groups", 2);
    assert_int_equal(run_status(), PARE_EINVAL);
}

static void other_norms(void **state) {
    (void)state;
    begin("LRN");
    in(F, DIMS(1, 3, 1), VALUES(1, 2, 3));
    out(F, DIMS(1, 3, 1));
    attr_int("size", 3);
    attr_float("alpha", 3);
    attr_float("beta", 1);
    run_ok();
    expect(0, VALUES(1.0 / 6, 2.0 / 15, 3.0 / 14));
    begin("LRN"); /* a window larger than anything */
    in(F, DIMS(1, 2, 1), VALUES(1, 2));
    out(F, DIMS(1, 2, 1));
    attr_int("size", INT64_MAX);
    attr_float("alpha", 0);
    run_ok();
    expect(0, VALUES(1, 2));
    static const int64_t axes[] = {-1};
    begin("MeanVarianceNormalization");
    in(F, DIMS(2, 2), VALUES(1, 3, 10, 20));
    out(F, DIMS(2, 2));
    attr_ints("axes", axes, 1);
    run_ok();
    expect(0, VALUES(-1, 1, -1, 1));
    begin("LpNormalization");
    in(F, DIMS(2, 2), VALUES(3, 0, 4, 0));
    out(F, DIMS(2, 2));
    attr_int("axis", 0);
    run_ok();
    expect(0, VALUES(0.6, 0, 0.8, 0));
    begin("LpNormalization");
    in(F, DIMS(2), VALUES(3, -1));
    out(F, DIMS(2));
    attr_int("p", 1);
    run_ok();
    expect(0, VALUES(0.75, -0.25));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reduction),
        cmocka_unit_test(axes_in_any_order),
        cmocka_unit_test(no_axes),
        cmocka_unit_test(nothing_to_reduce),
        cmocka_unit_test(reductions_of_numbers_at_the_edge),
        cmocka_unit_test(arg_max_and_min),
        cmocka_unit_test(running_sums),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(top_k),
        cmocka_unit_test(top_k_sorts),
        cmocka_unit_test(batch_norm),
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(instance_and_group_norm),
        cmocka_unit_test(other_norms),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    drop();
    return failed;
}
