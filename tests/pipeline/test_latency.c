/* The ratio of two medians and its interval: core/pipeline/latency.c. No clocks here, only numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pare/random.h>
#include <stdlib.h>

#include "pipeline/latency.h"

enum { MANY = 500 };

/* Times as a machine gives them: a floor, a tail, and a slow wave that hits both models of a round. */
static void make(double *a, double *b, uint64_t n, double factor, uint64_t seed) {
    for (uint64_t i = 0; i < n; i++) {
        double wave = 1 + 0.2 * sin((double)i / 20);
        a[i] = wave * (1 + 0.1 * pow(pare_random_double(seed, 1, i), 4));
        b[i] = wave * (1 + 0.1 * pow(pare_random_double(seed, 2, i), 4)) * factor;
    }
}

static void test_a_difference_is_seen(void **state) {
    (void)state;
    double a[MANY], b[MANY];
    make(a, b, MANY, 1.1, 3);
    pare_latency_ratio r = pare_latency_ratio_of(a, b, MANY);
    assert_true(r.low <= r.ratio && r.ratio <= r.high);
    assert_true(r.low > 1 && r.low < 1.1 && r.high > 1.1 && r.high < 1.2);
    assert_false(pare_latency_in_noise(r));
    r = pare_latency_ratio_of(b, a, MANY);
    assert_true(r.high < 1);
    assert_false(pare_latency_in_noise(r));
}

static void test_no_difference_is_noise(void **state) {
    (void)state;
    double a[MANY], b[MANY];
    int noise = 0, all = 40;
    for (int k = 0; k < all; k++) {
        make(a, b, MANY, 1, 100 + (uint64_t)k);
        noise += pare_latency_in_noise(pare_latency_ratio_of(a, b, MANY));
    }
    if (noise < all * 85 / 100) fail_msg("only %d of %d pairs of equal models are within noise", noise, all);
}

static void test_the_interval_repeats(void **state) {
    (void)state;
    double a[MANY], b[MANY];
    make(a, b, MANY, 1.02, 5);
    pare_latency_ratio x = pare_latency_ratio_of(a, b, MANY), y = pare_latency_ratio_of(a, b, MANY);
    assert_true(x.ratio == y.ratio && x.low == y.low && x.high == y.high);
}

static void test_small_and_equal(void **state) {
    (void)state;
    const double one[] = {2}, other[] = {3}, same[] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    pare_latency_ratio r = pare_latency_ratio_of(one, other, 1);
    assert_true(r.ratio == 1.5 && r.low == 1.5 && r.high == 1.5);
    r = pare_latency_ratio_of(same, same, 10);
    assert_true(r.ratio == 1 && r.low == 1 && r.high == 1 && pare_latency_in_noise(r));
    r = pare_latency_ratio_of(one, other, 0);
    assert_true(isnan(r.ratio));
    assert_false(pare_latency_in_noise(r));
}

/* A difference that is steady but smaller than what memory's places make of one model. */
static void test_a_hair_is_noise(void **state) {
    (void)state;
    double a[MANY], b[MANY];
    for (int i = 0; i < MANY; i++) {
        a[i] = 1 + 1e-4 * (i % 7);
        b[i] = a[i] * 1.01;
    }
    pare_latency_ratio r = pare_latency_ratio_of(a, b, MANY);
    assert_true(r.low > 1.005 && r.high < 1.015);
    assert_true(pare_latency_in_noise(r));
    for (int i = 0; i < MANY; i++) b[i] = a[i] * 1.05;
    assert_false(pare_latency_in_noise(pare_latency_ratio_of(a, b, MANY)));
    for (int i = 0; i < MANY; i++) b[i] = a[i] / 1.05;
    assert_false(pare_latency_in_noise(pare_latency_ratio_of(a, b, MANY)));
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The medians are those of sorted values, for every length and with many equal ones. */
static void test_the_ratio_is_of_medians(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 60; n++) {
        double a[60], b[60];
        for (uint64_t i = 0; i < n; i++) {
            a[i] = 1 + (double)(pare_random_u64(n, 1, i) % 7);
            b[i] = 1 + (double)(pare_random_u64(n, 2, i) % 1000);
        }
        pare_latency_ratio r = pare_latency_ratio_of(a, b, n);
        qsort(a, n, sizeof *a, by_value);
        qsort(b, n, sizeof *b, by_value);
        assert_true(r.ratio == b[n / 2] / a[n / 2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_difference_is_seen), cmocka_unit_test(test_no_difference_is_noise),
        cmocka_unit_test(test_the_interval_repeats), cmocka_unit_test(test_small_and_equal),
        cmocka_unit_test(test_a_hair_is_noise),      cmocka_unit_test(test_the_ratio_is_of_medians),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
