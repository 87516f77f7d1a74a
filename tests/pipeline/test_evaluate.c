/* Tallies by hand: core/pipeline/evaluate.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_top5_and_missing_labels),
        cmocka_unit_test(test_against_a_baseline),
        cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
