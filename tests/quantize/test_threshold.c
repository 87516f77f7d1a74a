/* Ranges out of histograms: against an independent implementation and ONNX Runtime's calibrators (golden/quantize),
 * against the samples themselves, and at the edges. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/threshold.h"
#include "samples.h"

#include <float.h>

enum { BINS = 2048, CAP = 2 * BINS };

typedef struct measured {
    float *x;
    uint64_t count[CAP];
    histogram h;
} measured;

static measured *measure(float *x, uint64_t n) {
    measured *m = calloc(1, sizeof *m);
    histogram_work w;
    m->x = x;
    m->h = histogram_new(m->count, CAP);
    assert_true(histogram_work_open(&w, &hosts[0], CAP));
    assert_true(histogram_add(&w, &m->h, x, PARE_FLOAT, n, NULL, NULL));
    histogram_work_close(&w);
    return m;
}

static void drop(measured *m) {
    free(m->x);
    free(m);
}

/* The mean squared error of rounding and clipping the samples themselves. */
static double true_mse(const float *x, uint64_t n, calibrate_grid g, float lo, float hi) {
    float scale;
    int32_t zero;
    double sum = 0;
    calibrate_params(g, lo, hi, &scale, &zero);
    for (uint64_t i = 0; i < n; i++) {
        const double q = fmin(fmax(rint((double)x[i] / (double)scale) + zero, g.qmin), g.qmax);
        const double d = (q - zero) * (double)scale - (double)x[i];
        sum += d * d;
    }
    return sum / (double)n;
}

static double share_outside(const float *x, uint64_t n, float lo, float hi) {
    uint64_t out = 0;
    for (uint64_t i = 0; i < n; i++) out += x[i] < lo || x[i] > hi;
    return (double)out / (double)n;
}

static void near(const char *line, double got, double want, double allowed) {
    if (!(fabs(got - want) <= allowed)) fail_msg("%s: %.9g is not within %g of %.9g", line, got, allowed, want);
}

static void check_line(const char *line, const measured *m, const char *set, const char *what, calibrate_grid g,
                       double a, double b) {
    const double w = histogram_width(&m->h);
    float lo, hi;
    if (strcmp(what, "entropy") == 0) {
        assert_true(threshold_entropy(&m->h, g, BINS, &lo, &hi));
        near(line, (double)lo, a, 1e-6 * fabs(a));
        near(line, (double)hi, b, 1e-6 * fabs(b));
    } else if (strcmp(what, "percentile") == 0) {
        assert_true(threshold_percentile(&m->h, g, 99.9, &lo, &hi));
        near(line, (double)lo, a, 1.01 * w);
        near(line, (double)hi, b, 1.01 * w);
        near(line, threshold_clipped(&m->h, lo, hi), strcmp(set, "relu6") == 0 ? 0 : 0.001, 3e-5);
    } else if (strcmp(what, "mse") == 0) {
        assert_true(threshold_mse(&m->h, g, &lo, &hi));
        const double is = true_mse(m->x, N_SAMPLES, g, lo, hi);
        if (is > 1.01 * a) fail_msg("%s: error %g with %g..%g, not %g", line, is, (double)lo, (double)hi, a);
        near(line, threshold_mse_of(&m->h, g, lo, hi), is, 0.02 * is);
    } else if (strcmp(what, "ort-percentile") == 0) {
        /* it cuts half on each side though all lie on one, at the outer edge of its bins */
        if (!g.symmetric && threshold_one_sided(&m->h, g)) return;
        assert_true(threshold_percentile(&m->h, g, 99.9, &lo, &hi));
        near(line, (double)lo, a, 0.01 * fmax(-a, b) + w);
        near(line, (double)hi, b, 0.01 * fmax(-a, b) + w);
    } else {
        assert_string_equal(what, "ort-entropy");
        /* the same idea on other bins; make_thresholds.py says where they part */
        if (strcmp(set, "gauss") && strcmp(set, "lopsided") && strcmp(set, "negative")) return;
        assert_true(threshold_entropy(&m->h, g, BINS, &lo, &hi));
        near(line, fmax(-(double)lo, (double)hi), fmax(-a, b), 0.15 * fmax(-a, b));
    }
}

static void test_golden(void **state) {
    FILE *f = fopen(PARE_TESTS_DIR "/golden/quantize/thresholds.txt", "r");
    char line[256], set[32], dtype[16], what[32], have[32] = "";
    measured *m = NULL;
    int symmetric, lines = 0;
    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        double a, b = 0;
        line[strcspn(line, "\n")] = '\0';
        assert_true(sscanf(line, "%31s %15s %d %31s %lf %lf", set, dtype, &symmetric, what, &a, &b) >= 5);
        if (strcmp(set, have) != 0) {
            if (m) drop(m);
            m = measure(samples_make(set), N_SAMPLES);
            strcpy(have, set);
        }
        const uint32_t id = strcmp(dtype, "int8") == 0 ? PARE_INT8 : PARE_UINT8;
        check_line(line, m, set, what, calibrate_grid_of(id, symmetric != 0), a, b);
        lines++;
    }
    drop(m);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(lines, 7 * 12);
}

/* The expected error of a range is that of the samples, wherever it clips; and the one found is the least of a grid. */
static void test_mse_is_the_least(void **state) {
    (void)state;
    for (int set = 0; sample_sets[set]; set++) {
        measured *m = measure(samples_make(sample_sets[set]), N_SAMPLES);
        for (int kind = 0; kind < 3; kind++) {
            const calibrate_grid g = calibrate_grid_of(kind == 1 ? PARE_INT8 : PARE_UINT8, kind > 0);
            float lo, hi;
            assert_true(threshold_mse(&m->h, g, &lo, &hi));
            const double least = threshold_mse_of(&m->h, g, lo, hi);
            const float min = histogram_unkey(m->h.min), max = histogram_unkey(m->h.max);
            for (int i = 1; i <= 24; i++)
                for (int k = 1; k <= 24; k++) {
                    const float a = min < 0 ? min * (float)i / 24 : 0, b = max > 0 ? max * (float)k / 24 : 0;
                    const double here = threshold_mse_of(&m->h, g, a, b);
                    if (here < least * 0.999)
                        fail_msg("%s %d: %g..%g has %g, %g..%g only %g", sample_sets[set], kind, (double)lo, (double)hi,
                                 least, (double)a, (double)b, here);
                    if (i % 8 == 0 && k % 8 == 0 && (kind < 2 || min >= 0)) { /* uint8 has a level more below 128 */
                        const double is = true_mse(m->x, N_SAMPLES, g, a, b);
                        near(sample_sets[set], here, is, 0.03 * is);
                    }
                }
            /* zero exact, and nothing lost of zero_point 0 */
            float scale;
            int32_t zero;
            calibrate_params(g, lo, hi, &scale, &zero);
            if (min >= 0 && g.qmin == 0) assert_int_equal(zero, 0);
            assert_true(lo <= 0 && hi >= 0 && lo < hi);
        }
        drop(m);
    }
}

static void test_clipped(void **state) {
    (void)state;
    for (int set = 0; sample_sets[set]; set++) {
        measured *m = measure(samples_make(sample_sets[set]), N_SAMPLES);
        const float min = histogram_unkey(m->h.min), max = histogram_unkey(m->h.max);
        assert_true(threshold_clipped(&m->h, min, max) == 0);
        for (int i = 0; i < 20; i++) {
            const float lo = min * (float)i / 16, hi = max * (float)((i * 7) % 20) / 16;
            const double is = share_outside(m->x, N_SAMPLES, fminf(lo, 0), fmaxf(hi, 0));
            near(sample_sets[set], threshold_clipped(&m->h, fminf(lo, 0), fmaxf(hi, 0)), is, 2e-3);
        }
        drop(m);
    }
}

/* Few values, one value, hardly any bins: ranges that hold zero and are no less than nothing. */
static void test_small(void **state) {
    static const float few[][4] = {{0, 0, 0, 0},          {1, 1, 1, 1},
                                   {-1, -1, -1, -1},      {0, 0, 0, 5},
                                   {-3, 0, 0, 0},         {FLT_TRUE_MIN, 0, 0, 0},
                                   {-FLT_MIN, 0, 0, 0},   {FLT_MAX, -FLT_MAX, 0, 1},
                                   {1e-30f, 1e30f, 0, 0}, {-1e-30f, 1e30f, 1e29f, -1e-20f}};
    (void)state;
    for (size_t s = 0; s < sizeof few / sizeof *few; s++) {
        float *x = malloc(sizeof few[s]);
        memcpy(x, few[s], sizeof few[s]);
        measured *m = measure(x, 4);
        const float min = fminf(histogram_unkey(m->h.min), 0), max = fmaxf(histogram_unkey(m->h.max), 0);
        for (int kind = 0; kind < 4; kind++) {
            const calibrate_grid g = calibrate_grid_of(kind & 1 ? PARE_INT8 : PARE_UINT8, kind > 1);
            float end[4][2], scale;
            int32_t zero;
            assert_true(threshold_entropy(&m->h, g, BINS, &end[0][0], &end[0][1]));
            assert_true(threshold_percentile(&m->h, g, 99.99, &end[1][0], &end[1][1]));
            assert_true(threshold_percentile(&m->h, g, 100, &end[2][0], &end[2][1]));
            assert_true(threshold_mse(&m->h, g, &end[3][0], &end[3][1]));
            assert_true(end[2][0] == min && end[2][1] == max);
            for (int i = 0; i < 4; i++) {
                assert_true(end[i][0] <= 0 && end[i][1] >= 0 && isfinite(end[i][0]) && isfinite(end[i][1]));
                assert_false(signbit(end[i][0]) && end[i][0] == 0);
                calibrate_params(g, end[i][0], end[i][1], &scale, &zero);
                assert_true(scale >= FLT_MIN && isfinite(scale) && isfinite(1 / scale));
                assert_true(zero >= g.qmin && zero <= g.qmax);
                const double clipped = threshold_clipped(&m->h, end[i][0], end[i][1]);
                assert_true(clipped >= 0 && clipped <= 1);
            }
        }
        drop(m);
    }
}

static void test_params(void **state) {
    static const struct {
        uint32_t dtype;
        bool symmetric;
        float lo, hi, scale;
        int32_t zero;
    } rows[] = {
        {PARE_UINT8, false, 0, 255, 1, 0},
        {PARE_UINT8, false, -255, 0, 1, 255},
        {PARE_UINT8, false, -128, 127, 1, 128},
        {PARE_UINT8, false, 3, 510, 2, 0}, /* widened to zero */
        {PARE_UINT8, false, -510, -3, 2, 255},
        {PARE_INT8, false, 0, 255, 1, -128},
        {PARE_INT8, false, -128, 127, 1, 0},
        {PARE_INT8, true, -127, 3, 1, 0},
        {PARE_INT8, true, 0, 254, 2, 0},
        {PARE_UINT8, true, 0, 255, 1, 0},
        {PARE_UINT8, true, -1, 127, 1, 128},
        {PARE_UINT8, true, -254, 0, 2, 128},
        {PARE_UINT8, false, 0, 0, 1, 0},
        {PARE_INT8, true, 0, 0, 1, 0},
        {PARE_INT8, false, 0, 0, 1, -128},
        {PARE_UINT8, false, 0, FLT_TRUE_MIN, FLT_MIN, 0},
        {PARE_UINT8, false, -FLT_MAX, FLT_MAX, 2 * (FLT_MAX / 255), 128},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float scale;
        int32_t zero;
        calibrate_params(calibrate_grid_of(rows[i].dtype, rows[i].symmetric), rows[i].lo, rows[i].hi, &scale, &zero);
        near("scale", (double)scale, (double)rows[i].scale, 1e-6 * (double)rows[i].scale);
        assert_int_equal(zero, rows[i].zero);
    }
    for (uint32_t m = 0; m < CALIBRATE_N_METHODS; m++) assert_non_null(calibrate_method_name(m));
    assert_null(calibrate_method_name(CALIBRATE_N_METHODS));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_mse_is_the_least), cmocka_unit_test(test_clipped),
        cmocka_unit_test(test_small),  cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
