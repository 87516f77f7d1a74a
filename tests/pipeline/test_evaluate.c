/* Tallies by hand: core/pipeline/evaluate.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "pipeline/evaluate.h"

static void near(double got, double want) {
    if (fabs(got - want) > 1e-9 * (1 + fabs(want))) fail_msg("%.12g, not %.12g", got, want);
}

static void test_labels(void **state) {
    (void)state;
    /* softmax of (0, 0) is a half each; of (log 3, 0) three quarters and one */
    const float x[] = {0, 0, (float)0, 0, 10, -10};
    const int64_t labels[] = {0, 1, 0};
    pare_tally t = {0};
    pare_tally_add(&t, x, 3, 2, labels, NULL);
    near(pare_tally_accuracy(&t), 2.0 / 3); /* of equal logits the first counts */
    near(pare_tally_loss(&t), (2 * log(2) + log(1 + exp(-20))) / 3);
    near(pare_tally_top5(&t), 1);
    assert_int_equal(t.class_total[1], 1);
    assert_int_equal(t.class_correct[1], 0);
    assert_true(isnan(pare_tally_agreement(&t)));
    pare_tally_free(&t);
}

static void test_top5_and_missing_labels(void **state) {
    (void)state;
    const float x[] = {6, 5, 4, 3, 2, 1, 0};
    pare_tally t = {0};
    for (int64_t label = -1; label < 7; label++) pare_tally_add(&t, x, 1, 7, &label, NULL);
    assert_int_equal(t.samples, 8);
    assert_int_equal(t.labelled, 7);
    assert_int_equal(t.top5, 5);
    assert_int_equal(t.correct, 1);
    pare_tally_free(&t);
}

static void test_against_a_baseline(void **state) {
    (void)state;
    const float base[] = {1, 0, 0, 1}, x[] = {1, 0, 1, 0};
    const int64_t labels[] = {0, 1};
    pare_tally t = {0};
    pare_tally_add(&t, x, 2, 2, labels, base);
    near(pare_tally_agreement(&t), 0.5);
    assert_int_equal(t.only_a, 1);
    assert_int_equal(t.only_b, 0);
    near(pare_tally_mcnemar(&t), 1); /* one discordant pair says nothing */
    near(t.max_abs_diff, 1);
    near(pare_tally_sqnr_db(&t), 10 * log10(2.0 / 2.0));
    double p = exp(1) / (1 + exp(1)); /* KL of (1-p, p) against (p, 1-p) */
    near(pare_tally_kl(&t), (2 * p - 1) / 2);
    pare_tally_free(&t);

    pare_tally_add(&t, x, 2, 2, labels, x);
    assert_true(isinf(pare_tally_sqnr_db(&t)));
    near(pare_tally_kl(&t), 0);
    pare_tally_free(&t);
}

static void test_mcnemar(void **state) {
    (void)state;
    pare_tally t = {.labelled = 100, .compared = 100, .only_a = 1, .only_b = 9};
    near(pare_tally_mcnemar(&t), 2 * (1 + 10) / 1024.0); /* the binomial's tail, exactly */
}

static void test_not_finite(void **state) {
    (void)state;
    const float x[] = {NAN, 0, INFINITY, 0, 1, 0};
    pare_tally t = {0};
    pare_tally_add(&t, x, 3, 2, NULL, NULL);
    assert_int_equal(t.not_finite, 2);
    assert_true(isnan(pare_tally_accuracy(&t)));
    pare_tally_free(&t);
}

/* A sample with a NaN is never right, whichever class its label is, and agrees with nothing. */
static void test_nan_counts_as_wrong(void **state) {
    (void)state;
    const float x[] = {NAN, 0, 1, NAN, 2, 0}, base[] = {1, 0, 1, 0, 2, 0};
    const int64_t labels[] = {0, 0, 0};
    pare_tally t = {0};
    pare_tally_add(&t, x, 3, 2, labels, base);
    assert_int_equal(t.nan, 2);
    assert_int_equal(t.correct, 1);
    assert_int_equal(t.top5, 1);
    assert_int_equal(t.agree, 1);
    assert_int_equal(t.only_a, 2);
    assert_true(isnan(pare_tally_loss(&t)));
    assert_true(isnan(pare_tally_kl(&t)));
    assert_true(isnan(pare_tally_sqnr_db(&t)));
    assert_true(isnan(t.max_abs_diff));
    pare_tally_free(&t);
    pare_tally_add(&t, base, 3, 2, labels, x); /* the baseline's NaN */
    assert_int_equal(t.nan, 0);
    assert_int_equal(t.agree, 1);
    assert_int_equal(t.only_b, 2);
    near(pare_tally_accuracy(&t), 1);
    pare_tally_free(&t);
}

static void test_infinity_is_a_number_where_it_can(void **state) {
    (void)state;
    const float x[] = {-INFINITY, 1, INFINITY, 1}; /* masked classes are given as -inf */
    const int64_t labels[] = {1, 0};
    pare_tally t = {0};
    pare_tally_add(&t, x, 1, 2, labels, NULL);
    near(pare_tally_loss(&t), 0);
    pare_tally_add(&t, x + 2, 1, 2, labels + 1, NULL);
    assert_int_equal(t.nan, 0);
    assert_int_equal(t.not_finite, 2);
    assert_int_equal(t.correct, 2);
    pare_tally_free(&t);
}

static void test_not_finite_of_any_float(void **state) {
    (void)state;
    static const float f[] = {NAN, INFINITY, -INFINITY, 0};
    static const double g[] = {NAN, INFINITY, -INFINITY, 0};
    static const uint16_t h[] = {0x7e00, 0x7c00, 0xfc00, 0x7bff}, b[] = {0x7fc0, 0x7f80, 0xff80, 0x7f7f};
    static const int64_t n[] = {-1, 0, 1, INT64_MAX};
    static const struct {
        uint32_t dtype;
        const void *data;
        size_t size;
    } cases[] = {{PARE_FLOAT, f, sizeof f},
                 {PARE_DOUBLE, g, sizeof g},
                 {PARE_FLOAT16, h, sizeof h},
                 {PARE_BFLOAT16, b, sizeof b},
                 {PARE_INT64, n, sizeof n}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t nan = 9, inf = 9;
        pare_array *a = pare_array_new(cases[i].dtype, 1, (const int64_t[]){4});
        assert_int_equal(a->nbytes, cases[i].size);
        memcpy(pare_array_data_mut(a), cases[i].data, cases[i].size);
        pare_count_not_finite(a, &nan, &inf);
        assert_int_equal(nan, cases[i].dtype == PARE_INT64 ? 0 : 1);
        assert_int_equal(inf, cases[i].dtype == PARE_INT64 ? 0 : 2);
        pare_array_unref(a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_top5_and_missing_labels),
        cmocka_unit_test(test_against_a_baseline),
        cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_nan_counts_as_wrong),
        cmocka_unit_test(test_infinity_is_a_number_where_it_can),
        cmocka_unit_test(test_not_finite_of_any_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
