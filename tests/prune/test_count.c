/* tests/prune/test_count.c - how many weights a share is, and the N:M notation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "prune/count.h"

#include <stdio.h>
#include <stdlib.h>

static void exact_in_decimal(void **state) {
    (void)state;
    assert_int_equal(prune_count(0.9, 10), 9);
    assert_int_equal(prune_count(0.1, 10), 1);
    assert_int_equal(prune_count(0.9, 2359296), 2123366);   /* 2123366.4 */
    assert_int_equal(prune_count(0.9, 11678912), 10511021); /* 10511020.8 */
    assert_int_equal(prune_count(0.3, 7), 2);
    assert_int_equal(prune_count(0, 100), 0);
    assert_int_equal(prune_count(0.5, 0), 0);
    assert_int_equal(prune_count(1, 17), 17);
    assert_int_equal(prune_count(0.999999, 10), 10);
    assert_int_equal(prune_count(1e-300, UINT64_MAX), 0);
    assert_int_equal(prune_count(5e-324, UINT64_MAX), 0);
    assert_int_equal(prune_count(0.5, UINT64_MAX - 1), (UINT64_MAX - 1) / 2);
    assert_true(prune_count(0.99999999999999989, UINT64_MAX) < UINT64_MAX);
}

/* Halves go to the even neighbour, also where the double lies off the decimal. */
static void halves_to_even(void **state) {
    (void)state;
    assert_int_equal(prune_count(0.5, 1), 0);
    assert_int_equal(prune_count(0.5, 3), 2);
    assert_int_equal(prune_count(0.5, 5), 2);
    assert_int_equal(prune_count(0.25, 10), 2);
    assert_int_equal(prune_count(0.75, 10), 8);
    assert_int_equal(prune_count(0.15, 10), 2); /* the double is below 0.15 */
    assert_int_equal(prune_count(0.35, 10), 4); /* below */
    assert_int_equal(prune_count(0.45, 10), 4); /* above */
    assert_int_equal(prune_count(0.85, 10), 8); /* below */
    assert_int_equal(prune_count(0.05, 10), 0); /* above */
    assert_int_equal(prune_count(0.0625, 1000), 62);
    assert_int_equal(prune_count(0.145, 100), 14);
    assert_int_equal(prune_count(0.005, 1000000100), 5000000); /* 5000000.5 */
    assert_int_equal(prune_count(0.005, 1000000300), 5000002); /* 5000001.5 */
}

/* Every hundredth against integer arithmetic. */
static void against_integers(void **state) {
    (void)state;
    for (uint64_t p = 0; p < 1000; p++) {
        char text[16];
        (void)snprintf(text, sizeof text, "0.%03u", (unsigned)p);
        const double s = strtod(text, NULL);
        for (uint64_t n = 1; n < 3000; n += 7) {
            uint64_t want = p * n / 1000;
            const uint64_t rest = p * n % 1000;
            want += rest > 500 || (rest == 500 && (want & 1));
            assert_int_equal(prune_count(s, n), want);
        }
    }
}

static void patterns(void **state) {
    (void)state;
    uint32_t n = 9, m = 9;
    assert_true(prune_pattern_parse("none", &n, &m));
    assert_int_equal(n, 0);
    assert_int_equal(m, 0);
    assert_true(prune_pattern_parse("2:4", &n, &m));
    assert_int_equal(n, 2);
    assert_int_equal(m, 4);
    assert_true(prune_pattern_parse("1:64", &n, &m));
    static const char *const bad[] = {"",      "2",    ":4",   "2:",   "0:4",
                                      "4:4",   "5:4",  "2:65", "2:4 ", " 2:4",
                                      "2:4:8", "-1:4", "None", "2,4",  "2:1000000000000",
                                      "+2:4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(prune_pattern_parse(bad[i], &n, &m));
}

static void group_counts(void **state) {
    (void)state;
    assert_int_equal(prune_group_keep(2, 4, 4), 2);
    assert_int_equal(prune_group_keep(2, 4, 3), 2);
    assert_int_equal(prune_group_keep(2, 4, 2), 1);
    assert_int_equal(prune_group_keep(2, 4, 1), 1);
    assert_int_equal(prune_group_keep(1, 4, 3), 1);
    assert_int_equal(prune_group_keep(1, 4, 0), 0);
    assert_int_equal(prune_pattern_count(2, 4, 64, 9), 32 * 9);
    assert_int_equal(prune_pattern_count(2, 4, 7, 10), (2 + 1) * 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_in_decimal), cmocka_unit_test(halves_to_even), cmocka_unit_test(against_integers),
        cmocka_unit_test(patterns),         cmocka_unit_test(group_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
