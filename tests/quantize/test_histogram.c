/* Histograms: bins against a plain count, whatever the order, the pieces, the threads and the instructions. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/histogram.h"
#include "samples.h"

#include <float.h>

enum { CAP = 256 };

/* What histogram.h says of bins, in doubles. */
static int64_t plain_bin(double x, double w) { return x < 0 ? -(int64_t)floor(-x / w) - 1 : (int64_t)floor(x / w); }

static void check_plain(const histogram *h, const float *x, uint64_t n) {
    uint64_t *count = calloc(h->cap, sizeof *count), zeros = 0;
    double lo = 0, hi = 0, w = 0x1p-126;
    for (uint64_t i = 0; i < n; i++) {
        lo = fmin(lo, (double)x[i]);
        hi = fmax(hi, (double)x[i]);
        zeros += x[i] == 0;
    }
    while (floor(hi / w) + 1 + (lo < 0 ? floor(-lo / w) + 1 : 0) > h->cap) w *= 2;
    assert_true(histogram_width(h) == w);
    for (uint64_t i = 0; i < n; i++) count[(uint64_t)plain_bin((double)x[i], w) & (h->cap - 1)]++;
    assert_memory_equal(count, h->count, h->cap * sizeof *count);
    assert_int_equal(h->n, n);
    assert_int_equal(h->zeros, zeros);
    free(count);
}

static void add_all(histogram *h, const pare_host *host, const float *x, uint64_t n, uint64_t at_once) {
    histogram_work w;
    assert_true(histogram_work_open(&w, host, h->cap));
    for (uint64_t first = 0; first < n; first += at_once)
        assert_true(histogram_add(&w, h, x + first, PARE_FLOAT, n - first < at_once ? n - first : at_once, NULL, NULL));
    for (size_t i = 0; i < (size_t)HISTOGRAM_SLOTS * 2 * h->cap; i++) assert_int_equal(w.tables[i], 0);
    histogram_work_close(&w);
}

static void test_against_plain_count(void **state) {
    (void)state;
    for (int set = 0; sample_sets[set]; set++) {
        float *x = samples_make(sample_sets[set]);
        for (uint32_t cap = 256; cap <= 4096; cap *= 4) {
            uint64_t *count = calloc(cap, sizeof *count);
            histogram h = histogram_new(count, cap);
            add_all(&h, &hosts[0], x, N_SAMPLES, N_SAMPLES);
            check_plain(&h, x, N_SAMPLES);
            free(count);
        }
        free(x);
    }
}

/* Growing by small steps, from either end, in many pieces: the bytes of knowing all at once. */
static void test_order_and_pieces(void **state) {
    const uint64_t n = (uint64_t)5 * HISTOGRAM_SLOT_ELEMENTS + 77;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    (void)state;
    for (uint64_t i = 0; i < n; i++) x[i] = (i % 3 ? 1 : -1) * ldexpf((float)(i % 1013), (int)(i / 4096) - 40);
    for (uint64_t i = 0; i < n; i++) y[i] = x[n - 1 - i];
    uint64_t count[4][CAP] = {{0}};
    histogram h[4];
    for (int i = 0; i < 4; i++) h[i] = histogram_new(count[i], CAP);
    add_all(&h[0], &hosts[0], x, n, n);
    add_all(&h[1], &hosts[1], x, n, n);
    add_all(&h[2], &hosts[0], x, n, 1001);
    add_all(&h[3], &hosts[1], y, n, 70003);
    check_plain(&h[0], x, n);
    for (int i = 1; i < 4; i++) {
        assert_memory_equal(count[0], count[i], sizeof count[0]);
        assert_int_equal(h[0].exp, h[i].exp);
        assert_int_equal(h[0].min, h[i].min);
        assert_int_equal(h[0].max, h[i].max);
        assert_int_equal(h[0].zeros, h[i].zeros);
    }
    free(x);
    free(y);
}

static void test_edges(void **state) {
    static const float odd[] = {0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, -FLT_MIN,
                                1,    -1,    FLT_MAX,      -FLT_MAX,      3};
    const uint64_t n = sizeof odd / sizeof *odd;
    (void)state;
    for (uint64_t first = 0; first < n; first++)
        for (uint64_t end = first + 1; end <= n; end++) {
            uint64_t count[CAP] = {0};
            histogram h = histogram_new(count, CAP);
            add_all(&h, &hosts[0], odd + first, end - first, 1);
            check_plain(&h, odd + first, end - first);
        }
    assert_int_equal(histogram_key(0.0f), 0);
    assert_int_equal(histogram_key(-0.0f), -1);
    assert_int_equal(histogram_key(FLT_MAX), HISTOGRAM_KEY_MOST);
    assert_int_equal(histogram_key(-FLT_MAX), HISTOGRAM_KEY_LEAST);
    assert_true(histogram_key(-INFINITY) < HISTOGRAM_KEY_LEAST && histogram_key(INFINITY) > HISTOGRAM_KEY_MOST);
    assert_false(signbit(histogram_unkey(-1)));
    /* a tensor of zeros, some of them negative, has nothing below zero */
    uint64_t count[CAP] = {0};
    histogram h = histogram_new(count, CAP);
    add_all(&h, &hosts[0], odd, 2, 2);
    assert_int_equal(histogram_below(&h), 0);
    assert_int_equal(histogram_above(&h), 1);
    assert_int_equal(h.zeros, 2);
}

static void test_not_finite(void **state) {
    float x[3000];
    uint64_t count[CAP] = {0}, before[CAP];
    histogram h = histogram_new(count, CAP);
    histogram_work w;
    (void)state;
    for (int i = 0; i < 3000; i++) x[i] = (float)i;
    assert_true(histogram_work_open(&w, &hosts[0], CAP));
    assert_true(histogram_add(&w, &h, x, PARE_FLOAT, 3000, NULL, NULL));
    memcpy(before, count, sizeof before);
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        x[2500] = bad[i];
        assert_false(histogram_add(&w, &h, x, PARE_FLOAT, 3000, NULL, NULL));
        assert_memory_equal(before, count, sizeof before);
        assert_int_equal(h.n, 3000);
        x[2500] = 2500;
    }
    assert_true(histogram_add(&w, &h, x, PARE_FLOAT, 3000, NULL, NULL));
    for (int i = 0; i < CAP; i++) assert_int_equal(count[i], 2 * before[i]);
    histogram_work_close(&w);
}

static void test_dtypes(void **state) {
    enum { N = 5000 };
    static float x[N];
    static uint16_t half[N], brain[N];
    static double wide[N];
    uint64_t count[4][CAP] = {{0}};
    (void)state;
    for (int i = 0; i < N; i++) { /* numbers that all four hold: 8 bits of fraction */
        x[i] = (i % 2 ? 1 : -1) * ldexpf((float)(i % 256), i % 20 - 24);
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        brain[i] = (uint16_t)(bits >> 16);
        wide[i] = (double)x[i];
        int e = 0;
        const float m = frexpf(fabsf(x[i]), &e); /* x = m 2^e, m in [0.5, 1) */
        const uint16_t sign = signbit(x[i]) ? 0x8000 : 0;
        if (x[i] == 0)
            half[i] = sign;
        else if (e < -13)
            half[i] = (uint16_t)(sign | (uint16_t)ldexpf(fabsf(x[i]), 24));
        else
            half[i] = (uint16_t)(sign | (e + 14) << 10 | ((int)(m * 2048) & 0x3FF));
    }
    const void *data[4] = {x, half, brain, wide};
    const uint32_t dtype[4] = {PARE_FLOAT, PARE_FLOAT16, PARE_BFLOAT16, PARE_DOUBLE};
    histogram_work w;
    assert_true(histogram_work_open(&w, &hosts[0], CAP));
    for (int i = 0; i < 4; i++) {
        histogram h = histogram_new(count[i], CAP);
        assert_true(histogram_reads(dtype[i]));
        assert_true(histogram_add(&w, &h, data[i], dtype[i], N, NULL, NULL));
        check_plain(&h, x, N);
    }
    wide[17] = 1e300;
    histogram h = histogram_new(count[0], CAP);
    assert_false(histogram_add(&w, &h, wide, PARE_DOUBLE, N, NULL, NULL));
    assert_false(histogram_reads(PARE_INT32));
    histogram_work_close(&w);
}

static void test_loops_agree(void **state) {
    enum { N = 2047 };
    static float x[N];
    static uint32_t want[N + 16], got[N + 16];
    (void)state;
    for (int i = 0; i < N; i++) x[i] = i % 4 == 0 ? (i % 8 ? 0.0f : -0.0f) : (float)(i * 7919 % 4001 - 2000) * 0x1p-9f;
    const histogram_loops *plain = histogram_loops_all(0), *fast;
    for (uint32_t s = 1; (fast = histogram_loops_all(s)); s++)
        for (uint32_t n = 0; n <= N; n = n < 40 ? n + 1 : n + 233) {
            int32_t ends[2][2] = {{INT32_MAX, INT32_MIN}, {INT32_MAX, INT32_MIN}};
            uint64_t zeros[2] = {0, 0};
            plain->look(x, n, &ends[0][0], &ends[0][1], &zeros[0]);
            fast->look(x, n, &ends[1][0], &ends[1][1], &zeros[1]);
            assert_memory_equal(ends[0], ends[1], sizeof ends[0]);
            assert_int_equal(zeros[0], zeros[1]);
            plain->bins(x, n, 0x1p6f, 1023, want);
            fast->bins(x, n, 0x1p6f, 1023, got);
            assert_memory_equal(want, got, n * sizeof *want);
            const uint32_t m = plain->bins_nonzero(x, n, 0x1p6f, 1023, want);
            assert_int_equal(m, n - zeros[0]);
            assert_int_equal(fast->bins_nonzero(x, n, 0x1p6f, 1023, got), m);
            assert_memory_equal(want, got, m * sizeof *want);
            double sums[2][4][HISTOGRAM_LANES] = {{{1}}, {{1}}};
            plain->sums(x, x + 1, n / 2 / HISTOGRAM_LANES * HISTOGRAM_LANES, sums[0]);
            fast->sums(x, x + 1, n / 2 / HISTOGRAM_LANES * HISTOGRAM_LANES, sums[1]);
            assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain_count),
        cmocka_unit_test(test_order_and_pieces),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_loops_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
