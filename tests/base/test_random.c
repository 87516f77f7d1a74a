/* The generator: published vectors, own log and cos against libm, moments, and golden hashes: these bytes must be the
 * same on every machine, with every compiler, for ever. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/sha256_of.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_philox(void **state) {
    (void)state;
    /* Known answers of the paper's authors (Random123, kat_vectors, philox4x32 10). */
    uint32_t w[4];
    static const uint32_t zero[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    pare_philox(0, 0, 0, w);
    assert_memory_equal(w, zero, sizeof w);
    static const uint32_t ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    pare_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, w);
    assert_memory_equal(w, ones, sizeof w);
    static const uint32_t pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    pare_philox(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u, w);
    assert_memory_equal(w, pi, sizeof w);
}

static double ulps(double got, long double want) {
    double w = (double)want, ulp = nextafter(fabs(w), HUGE_VAL) - fabs(w);
    return (double)(fabsl((long double)got - want) / ulp);
}

static void test_log(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t i = 0; i < 200000; i++) {
        double u = pare_random_double(1, 1, i), e = pare_random_double(1, 2, i);
        double x = i % 3 == 0   ? u + 0x1p-53
                   : i % 3 == 1 ? ldexp(1 + u, (int)(e * 2000) - 1000)
                                : 1 + (u - 0.5) * ldexp(1, -(int)(e * 50));
        long double want = logl((long double)x);
        double off = want == 0 ? (pare_log(x) == 0 ? 0 : 1e9) : ulps(pare_log(x), want);
        if (off > worst) worst = off;
    }
    assert_true(worst < 2);
    assert_true(pare_log(1) == 0);
    assert_true(ulps(pare_log(5e-324), logl((long double)5e-324)) < 2);
    assert_true(ulps(pare_log(DBL_MIN), logl((long double)DBL_MIN)) < 2);
    assert_true(ulps(pare_log(DBL_MAX), logl((long double)DBL_MAX)) < 2);
}

static void test_cos_sin(void **state) {
    (void)state;
    const long double two_pi = 6.283185307179586476925286766559005768L;
    double worst = 0;
    for (uint64_t i = 0; i < 200000; i++) {
        double u = pare_random_double(1, 3, i), t = i & 1 ? u : u * ldexp(1, -(int)(i % 60)), c, s;
        pare_cos_sin_2pi(t, &c, &s);
        double q = rint(4 * t), r = t - q / 4;
        long double sy = sinl(two_pi * (long double)r), cy = cosl(two_pi * (long double)r), want_c, want_s;
        switch ((int)q & 3) {
        case 0: want_c = cy, want_s = sy; break;
        case 1: want_c = -sy, want_s = cy; break;
        case 2: want_c = -cy, want_s = -sy; break;
        default: want_c = sy, want_s = -cy; break;
        }
        if (want_c != 0 && ulps(c, want_c) > worst) worst = ulps(c, want_c);
        if (want_s != 0 && ulps(s, want_s) > worst) worst = ulps(s, want_s);
    }
    assert_true(worst < 2);
    static const double turn[][3] = {{0, 1, 0}, {0.25, 0, 1}, {0.5, -1, 0}, {0.75, 0, -1}};
    for (int i = 0; i < 4; i++) {
        double c, s;
        pare_cos_sin_2pi(turn[i][0], &c, &s);
        assert_true(c == turn[i][1] && s == turn[i][2]);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        double x = pare_random_double(1, 4, i) * 1e6;
        assert_true(pare_sqrt(x) == sqrt(x));
    }
}

/* Whatever the vector width and the number of threads: element i is what the formula says, bit by bit. */
static void test_elements(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 2, 3, 511, 512, 513, 1024, 131071, 131072, 131075, 300001};
    float *out = pare_xmalloc(300002 * sizeof *out), *uni = pare_xmalloc(300002 * sizeof *uni);
    const uint64_t seed = 0x123456789abcdef0u, stream = pare_random_stream("fc.weight");
    const float mean = 0.25f, std = 0.0625f, lo = -0.3f, hi = 0.7f;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        uint64_t n = sizes[k];
        pare_threads_set(1 + (uint32_t)k % 3);
        out[n] = uni[n] = 12345;
        pare_random_normal(seed, stream, mean, std, out, n);
        pare_random_uniform(seed, stream, lo, hi, uni, n);
        assert_true(out[n] == 12345 && uni[n] == 12345);
        for (uint64_t i = 0; i < n; i++) {
            if (n > 2000 && i % 97 && i + 40 < n) continue;
            uint64_t pair = i & ~(uint64_t)1;
            double u1 = pare_random_double(seed, stream, pair) + 0x1p-53, c, s;
            pare_cos_sin_2pi(pare_random_double(seed, stream, pair + 1), &c, &s);
            double z = pare_sqrt(-2.0 * pare_log(u1)) * (i & 1 ? s : c);
            float want = (float)((double)mean + (double)std * z);
            assert_memory_equal(&out[i], &want, sizeof want);
            double u = pare_random_double(seed, stream, i);
            want = (float)((double)lo + ((double)hi - (double)lo) * u);
            assert_memory_equal(&uni[i], &want, sizeof want);
        }
    }
    pare_threads_set(0);
    free(out);
    free(uni);
}

static void test_golden(void **state) {
    (void)state;
    float x[1000];
    char hex[PARE_SHA256_HEX];
    pare_random_normal(7, pare_random_stream("conv1.weight"), 0.0f, 1.0f, x, 1000);
    sha256_of(x, sizeof x, hex);
    assert_string_equal(hex, "6594628fa039fbac94b6ad08cf27a028a18284362f8fdf9b9cc33e52f448670f");
    pare_random_uniform(7, pare_random_stream("fc.weight"), -0.5f, 0.5f, x, 1000);
    sha256_of(x, sizeof x, hex);
    assert_string_equal(hex, "091eabe8fae4a5175da2a137d5ca407aa2c3af04449314ace5520c8cecc8ea78");
    assert_int_equal(pare_seed_derive(7, "pruned"), 0x25dd31596194916au);
    assert_int_not_equal(pare_seed_derive(7, "pruned"), pare_seed_derive(7, "trained"));
    assert_int_not_equal(pare_seed_derive(7, "pruned"), pare_seed_derive(8, "pruned"));
}

static void test_moments(void **state) {
    (void)state;
    enum { N = 1000000 };
    float *x = pare_xmalloc(N * sizeof *x);
    pare_random_normal(3, 4, 0, 1, x, N);
    double m[5] = {0}, tail = 0, pairs = 0;
    for (size_t i = 0; i < N; i++) {
        double v = (double)x[i], p = v;
        for (int k = 1; k < 5; k++, p *= v) m[k] += p / N;
        tail += fabs(v) > 3;
        if (i) pairs += v * (double)x[i - 1] / N;
    }
    assert_true(fabs(m[1]) < 0.005 && fabs(m[2] - 1) < 0.007 && fabs(m[3]) < 0.015 && fabs(m[4] - 3) < 0.05);
    assert_true(fabs(tail / N - 0.0026998) < 0.0003);
    assert_true(fabs(pairs) < 0.005);
    pare_random_uniform(3, 4, 0, 1, x, N);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < N; i++) {
        assert_true(x[i] >= 0 && x[i] <= 1);
        sum += (double)x[i] / N;
        squares += (double)x[i] * (double)x[i] / N;
    }
    assert_true(fabs(sum - 0.5) < 0.002 && fabs(squares - 1.0 / 3) < 0.002);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),   cmocka_unit_test(test_log),    cmocka_unit_test(test_cos_sin),
        cmocka_unit_test(test_elements), cmocka_unit_test(test_golden), cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
