/* Calibration as a whole: batches in, ranges out, the same bits for every batch size, thread and number of processes;
 * the driver against a host whose run is made up; what is wrong with samples, by name. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/calibrate.h"
#include "quantize/calibrate_compare.h"
#include "samples.h"

#include <pare/run.h>

enum { EACH = 4096, IMAGES = N_SAMPLES / EACH };

static const calibrate_tensor all[] = {
    {.name = "minmax"},
    {.name = "average", .method = CALIBRATE_MOVING_AVERAGE, .averaging = 0.25},
    {.name = "percentile", .method = CALIBRATE_PERCENTILE, .percentile = 99.9},
    {.name = "entropy", .method = CALIBRATE_ENTROPY, .dtype = PARE_INT8, .symmetric = true},
    {.name = "mse", .method = CALIBRATE_MSE},
    {.name = "coarse", .method = CALIBRATE_MSE, .bins = 256, .symmetric = true},
};
enum { N = sizeof all / sizeof *all };

static pare_status add_some(calibrator *c, uint64_t i, const float *x, uint64_t first, uint64_t n) {
    const int64_t dims[] = {(int64_t)n, 64, 64};
    const pare_view v = samples_view(x + first * EACH, PARE_FLOAT, dims, 3);
    return calibrate_add(c, i, &v, n, NULL);
}

static void run_all(const pare_host *host, const float *x, uint64_t batch, calibrate_range *out) {
    calibrator *c;
    assert_int_equal(calibrate_new(host, all, N, &c), PARE_OK);
    for (uint64_t first = 0; first < IMAGES; first += batch)
        for (uint64_t i = 0; i < N; i++) {
            const uint64_t n = IMAGES - first < batch ? IMAGES - first : batch;
            assert_int_equal(add_some(c, i, x, first, n), PARE_OK);
        }
    assert_int_equal(calibrate_finish(c, out), PARE_OK);
    calibrate_free(c);
}

static void same(const calibrate_range *a, const calibrate_range *b, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        assert_true(a[i].lo == b[i].lo && a[i].hi == b[i].hi && a[i].scale == b[i].scale);
        assert_true(a[i].min == b[i].min && a[i].max == b[i].max && a[i].clipped == b[i].clipped);
        assert_true(a[i].zero_point == b[i].zero_point && a[i].samples == b[i].samples);
        assert_true(a[i].elements == b[i].elements && a[i].zeros == b[i].zeros);
    }
}

static void test_batches_and_threads(void **state) {
    (void)state;
    for (int set = 0; sample_sets[set]; set++) {
        float *x = samples_make(sample_sets[set]);
        calibrate_range r[4][N];
        run_all(&hosts[0], x, IMAGES, r[0]);
        run_all(&hosts[1], x, IMAGES, r[1]);
        run_all(&hosts[0], x, 1, r[2]);
        run_all(&hosts[1], x, 5, r[3]);
        for (int i = 1; i < 4; i++) same(r[0], r[i], N);
        double lo = 0, hi = 0, average[2] = {0, 0};
        for (int s = 0; s < IMAGES; s++) {
            double ends[2] = {(double)x[s * EACH], (double)x[s * EACH]};
            for (int i = 0; i < EACH; i++) {
                ends[0] = fmin(ends[0], (double)x[s * EACH + i]);
                ends[1] = fmax(ends[1], (double)x[s * EACH + i]);
            }
            lo = fmin(lo, ends[0]);
            hi = fmax(hi, ends[1]);
            for (int e = 0; e < 2; e++) average[e] = s ? average[e] + 0.25 * (ends[e] - average[e]) : ends[e];
        }
        assert_true((double)r[0][0].lo == lo && (double)r[0][0].hi == hi && r[0][0].clipped == 0);
        assert_float_equal(r[0][1].lo, fmin(average[0], 0), 1e-6);
        assert_float_equal(r[0][1].hi, fmax(average[1], 0), 1e-5);
        for (int i = 0; i < N; i++) {
            assert_int_equal(r[0][i].samples, IMAGES);
            assert_int_equal(r[0][i].elements, N_SAMPLES);
        }
        free(x);
    }
}

/* ---- two processes ---- */

static pthread_barrier_t meet;
static void *theirs[2];

static pare_status two_reduce(const pare_host *host, uint32_t op, uint32_t dtype, void *buffer, uint64_t n) {
    const size_t rank = *(const size_t *)host->impl;
    theirs[rank] = buffer;
    (void)pthread_barrier_wait(&meet);
    uint64_t *sum = malloc((n ? n : 1) * sizeof *sum); /* all dtypes are 8 bytes */
    for (uint64_t i = 0; i < n; i++) {
        const int64_t a = ((int64_t *)theirs[0])[i], b = ((int64_t *)theirs[1])[i];
        if (dtype == PARE_DOUBLE) {
            const double d = ((double *)theirs[0])[i] + ((double *)theirs[1])[i];
            memcpy(&sum[i], &d, sizeof d);
        } else {
            sum[i] = (uint64_t)(op == PARE_REDUCE_MIN   ? (a < b ? a : b)
                                : op == PARE_REDUCE_MAX ? (a > b ? a : b)
                                                        : a + b);
        }
    }
    (void)pthread_barrier_wait(&meet);
    memcpy(buffer, sum, n * sizeof *sum);
    (void)pthread_barrier_wait(&meet);
    free(sum);
    return PARE_OK;
}

typedef struct process {
    pare_host host;
    size_t rank;
    const float *x;
    calibrate_range out[N];
    pare_status st;
} process;

static void *process_run(void *ctx) {
    process *p = ctx;
    calibrator *c;
    p->st = calibrate_new(&p->host, all, N, &c);
    for (uint64_t s = p->rank; s < IMAGES && !p->st; s += 2)
        for (uint64_t i = 0; i < N && !p->st; i++) p->st = add_some(c, i, p->x, s, 1);
    if (!p->st) p->st = calibrate_finish(c, p->out);
    calibrate_free(c);
    return NULL;
}

static void test_two_processes(void **state) {
    (void)state;
    for (int set = 0; sample_sets[set]; set++) {
        float *x = samples_make(sample_sets[set]);
        calibrate_range alone[N];
        process p[2];
        pthread_t thread;
        run_all(&hosts[0], x, 1, alone);
        assert_int_equal(pthread_barrier_init(&meet, NULL, 2), 0);
        for (size_t i = 0; i < 2; i++) {
            p[i] = (process){.host = hosts[0], .rank = i, .x = x};
            p[i].host.reduce = two_reduce;
            p[i].host.impl = &p[i].rank;
        }
        assert_int_equal(pthread_create(&thread, NULL, process_run, &p[1]), 0);
        (void)process_run(&p[0]);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void)pthread_barrier_destroy(&meet);
        assert_int_equal(p[0].st | p[1].st, PARE_OK);
        same(p[0].out, p[1].out, N);
        same(alone, p[0].out, 1);
        same(alone + 2, p[0].out + 2, N - 2); /* all but the average, which is the mean of theirs */
        assert_true(p[0].out[1].hi >= 0.2f * alone[1].hi && p[0].out[1].hi <= alone[0].hi);
        free(x);
    }
}

/* ---- what is wrong ---- */

static void test_complaints(void **state) {
    static const int64_t dims[] = {3, 10}, odd[] = {30}, none[] = {0, 10};
    static const uint64_t which[] = {70, 80, 90};
    float x[30] = {0}, nan_image[30] = {0}, big[30] = {0};
    calibrator *c;
    calibrate_range out[N];
    (void)state;
    for (int i = 0; i < 30; i++) x[i] = (float)i;
    memcpy(nan_image, x, sizeof x);
    memcpy(big, x, sizeof x);
    for (int i = 10; i < 20; i++) nan_image[i] = NAN;
    big[29] = -INFINITY;
    for (int method = 0; method < CALIBRATE_N_METHODS; method++) {
        const calibrate_tensor t[] = {{.name = "conv1", .method = (uint32_t)method}, {.name = "fc"}, {.name = "dead"}};
        memset(&said, 0, sizeof said);
        assert_int_equal(calibrate_new(&hosts[0], t, 3, &c), PARE_OK);
        pare_view v = samples_view(nan_image, PARE_FLOAT, dims, 2);
        assert_int_equal(calibrate_add(c, 0, &v, 3, which), PARE_EINVAL);
        assert_string_equal(said.code, "calibrate.nan");
        assert_string_equal(said.message, "sample 80 makes all 10 values of \"conv1\" NaN");
        v = samples_view(big, PARE_FLOAT, dims, 2);
        assert_int_equal(calibrate_add(c, 0, &v, 3, which), PARE_EINVAL);
        assert_string_equal(said.code, "calibrate.infinite");
        assert_non_null(strstr(said.message, "sample 90 makes 1 of 10 values of \"conv1\" infinite"));
        nan_image[0] = NAN;
        v = samples_view(nan_image, PARE_FLOAT, odd, 1); /* its first dimension is not the batch's: 30 / 7 */
        assert_int_equal(calibrate_add(c, 0, &v, 7, NULL), PARE_EINVAL);
        assert_non_null(strstr(said.message, "the batch of 7 that begins with sample 0 makes 11 of 30 values"));
        nan_image[0] = 0;
        v = samples_view(x, PARE_INT64, odd, 1);
        assert_int_equal(calibrate_add(c, 0, &v, 1, NULL), PARE_EUNSUPPORTED);
        assert_string_equal(said.code, "calibrate.dtype");
        v = samples_view(x, PARE_FLOAT, none, 2);
        assert_int_equal(calibrate_add(c, 2, &v, 1, NULL), PARE_OK);
        v = samples_view(x, PARE_FLOAT, NULL, 0); /* a scalar */
        assert_int_equal(calibrate_add(c, 1, &v, 1, NULL), PARE_OK);
        assert_int_equal(calibrate_finish(c, out), PARE_EINVAL);
        assert_string_equal(said.code, "calibrate.unreached");
        assert_string_equal(said.message, "no sample reached \"conv1\", \"dead\"");
        calibrate_free(c);
    }
    calibrate_free(NULL);
    const calibrate_tensor wrong = {.name = "x", .method = CALIBRATE_N_METHODS};
    assert_int_equal(calibrate_new(&hosts[0], &wrong, 1, &c), PARE_EINTERNAL);
}

static void test_constant(void **state) {
    static const int64_t dims[] = {2, 8};
    float x[16], zero[16] = {0};
    (void)state;
    zero[3] = -0.0f;
    for (int i = 0; i < 16; i++) x[i] = 2.5f;
    for (uint32_t method = 0; method < CALIBRATE_N_METHODS; method++) {
        const calibrate_tensor t[] = {{.name = "five halves", .method = method}, {.name = "nothing", .method = method}};
        calibrate_range r[2];
        calibrator *c;
        memset(&said, 0, sizeof said);
        assert_int_equal(calibrate_new(&hosts[0], t, 2, &c), PARE_OK);
        pare_view v = samples_view(x, PARE_FLOAT, dims, 2);
        assert_int_equal(calibrate_add(c, 0, &v, 2, NULL), PARE_OK);
        v = samples_view(zero, PARE_FLOAT, dims, 2);
        assert_int_equal(calibrate_add(c, 1, &v, 2, NULL), PARE_OK);
        assert_int_equal(calibrate_finish(c, r), PARE_OK);
        assert_int_equal(said.warnings, 2);
        assert_string_equal(said.code, "calibrate.zero");
        assert_true(r[0].lo == 0 && fabsf(r[0].hi - 2.5f) < 0.02f && r[0].zero_point == 0);
        assert_true(r[1].lo == 0 && r[1].hi == 0 && r[1].scale == 1 && r[1].zero_point == 0 && r[1].zeros == 16);
        assert_true(r[1].clipped == 0);
        calibrate_free(c);
    }
}

/* ---- the driver, on a host that makes up what the model gives ---- */

enum { RUN_TOTAL = 10, RUN_BATCH = 4, RUN_EACH = 100 };

static struct {
    uint64_t at, total, n_values, nan_sample;
    const uint32_t *values;
    int opened, closed;
    uint32_t flags;
    pare_status fails;
    float data[RUN_BATCH * RUN_EACH];
    uint64_t samples[RUN_BATCH];
    int64_t dims[2];
} made_up;

static pare_status run_open(const pare_host *h, pare_model *m, const pare_runner_request *q, pare_runner **out) {
    (void)h, (void)m;
    assert_string_equal(q->data, "train");
    made_up.at = 0;
    made_up.values = q->values;
    made_up.n_values = q->n_values;
    made_up.flags = q->flags;
    made_up.opened++;
    *out = (pare_runner *)(void *)&made_up;
    return made_up.fails;
}

static pare_status run_next(const pare_host *h, pare_runner *r, pare_runner_batch *out) {
    (void)h, (void)r;
    if (made_up.at >= made_up.total) return PARE_ENOTFOUND;
    const uint64_t left = made_up.total - made_up.at, n = left < RUN_BATCH ? left : RUN_BATCH;
    for (uint64_t i = 0; i < n; i++) made_up.samples[i] = 1000 + made_up.at + i;
    out->first = made_up.at;
    out->n = n;
    out->samples = made_up.samples;
    out->total = made_up.total;
    made_up.at += n;
    return PARE_OK;
}

/* Values follow from their ids. */
static pare_status run_value(const pare_host *h, pare_runner *r, uint64_t i, pare_view *out) {
    const uint64_t n = (made_up.at - 1) % RUN_BATCH + 1;
    (void)h, (void)r;
    assert_true(i < made_up.n_values);
    for (uint64_t k = 0; k < n * RUN_EACH; k++) {
        const uint64_t sample = (made_up.at - n) + k / RUN_EACH;
        made_up.data[k] = (float)made_up.values[i] * (float)(sample + 1) * (float)(k % RUN_EACH) / RUN_EACH;
        if (sample == made_up.nan_sample && made_up.values[i] == 3) made_up.data[k] = NAN;
    }
    made_up.dims[0] = (int64_t)n;
    made_up.dims[1] = RUN_EACH;
    *out = samples_view(made_up.data, PARE_FLOAT, made_up.dims, 2);
    return PARE_OK;
}

static void run_close(const pare_host *h, pare_runner *r) {
    (void)h, (void)r;
    made_up.closed++;
}

static pare_status run_set(const pare_host *h, const char *data, uint32_t hash, pare_runner_set *out) {
    (void)h, (void)data;
    assert_int_equal(hash, 1);
    memset(out->sha256, 'd', 64);
    return PARE_OK;
}

static pare_status run_fingerprint(const pare_host *h, pare_model *m, char out[65]) {
    (void)h, (void)m;
    memset(out, 'a', 64);
    out[64] = '\0';
    return PARE_OK;
}

static const char *run_sample_name(const pare_host *h, pare_runner *r, uint64_t sample) {
    static char name[32];
    (void)h, (void)r;
    assert_int_equal(made_up.opened, made_up.closed + 1);
    (void)snprintf(name, sizeof name, "cats/%llu.jpg", (unsigned long long)sample);
    return name;
}

static const pare_run_api run_api = {.size = sizeof run_api,
                                     .open = run_open,
                                     .next = run_next,
                                     .value = run_value,
                                     .close = run_close,
                                     .set = run_set,
                                     .fingerprint = run_fingerprint,
                                     .sample_name = run_sample_name};
static const void *run_ext(const pare_host *h, const char *id) {
    (void)h;
    return strcmp(id, PARE_RUN_V1) == 0 ? &run_api : NULL;
}

static pare_status drive(const uint32_t *values, calibration *out) {
    static const calibrate_tensor two[] = {{.name = "a", .method = CALIBRATE_MSE}, {.name = "b"}};
    pare_host host = hosts[1];
    host.ext = run_ext;
    memset(&said, 0, sizeof said);
    made_up.opened = made_up.closed = 0;
    return calibrate_run(&host, NULL, values, two, 2, "train", 0, 0, out);
}

static void test_driver(void **state) {
    static const uint32_t values[] = {2, 3};
    calibration c;
    (void)state;
    made_up.total = RUN_TOTAL;
    made_up.nan_sample = UINT64_MAX;
    assert_int_equal(drive(values, &c), PARE_OK);
    assert_int_equal(made_up.n_values, 2);
    assert_int_equal(made_up.flags, PARE_RUNNER_FINITE);
    assert_int_equal(said.errors + said.warnings, 0);
    assert_int_equal(said.ticks, 3);
    assert_int_equal(c.samples, RUN_TOTAL);
    assert_int_equal(c.ranges[1].samples, RUN_TOTAL);
    assert_true(c.ranges[1].lo == 0 && fabsf(c.ranges[1].hi - 3 * RUN_TOTAL * 0.99f) < 1e-4f);
    assert_string_equal(c.data, "train");
    assert_int_equal(strspn(c.graph, "a"), 64);
    assert_int_equal(strspn(c.data_sha256, "d"), 64);
    calibration_free(&c);
    /* one image; none; one that makes NaN; a run that fails */
    made_up.total = 1;
    assert_int_equal(drive(values, &c), PARE_OK);
    assert_int_equal(said.warnings, 1);
    assert_string_equal(said.code, "calibrate.one-sample");
    calibration_free(&c);
    memset(&c, 7, sizeof c);
    made_up.total = 0;
    assert_int_equal(drive(values, &c), PARE_EINVAL);
    assert_string_equal(said.code, "calibrate.empty");
    made_up.total = RUN_TOTAL;
    made_up.nan_sample = 6;
    assert_int_equal(drive(values, &c), PARE_EINVAL);
    assert_string_equal(said.message, "cats/1006.jpg makes all 100 values of \"b\" NaN");
    assert_int_equal(made_up.opened, made_up.closed);
    made_up.nan_sample = UINT64_MAX;
    made_up.fails = PARE_EUNSUPPORTED;
    assert_int_equal(drive(values, &c), PARE_EUNSUPPORTED);
    made_up.fails = PARE_OK;
    for (size_t i = 0; i < sizeof c; i++) assert_int_equal(((unsigned char *)&c)[i], 7);
    assert_int_equal(calibrate_run(&hosts[0], NULL, values, all, 1, "train", 0, 0, &c), PARE_EUNSUPPORTED);
    assert_string_equal(said.code, "calibrate.host");
}

/* ---- comparing ---- */

static void test_compare(void **state) {
    static const int64_t dims[] = {N_SAMPLES - 3};
    float *a = samples_make("gauss"), *b = samples_make("gauss");
    double aa = 0, dd = 0, ab = 0, bb = 0;
    (void)state;
    for (int i = 0; i < N_SAMPLES; i++) {
        b[i] = rintf(a[i] * 16) / 16;
        if (i >= dims[0]) break;
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
        ab += (double)a[i] * (double)b[i];
        dd += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    calibrate_compare c[2] = {{.n = 0}, {.n = 0}};
    pare_view x = samples_view(a, PARE_FLOAT, dims, 1), y = samples_view(b, PARE_FLOAT, dims, 1);
    for (int h = 0; h < 2; h++)
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(calibrate_compare_add(&hosts[h], &c[h], &x, &y), PARE_OK);
    assert_memory_equal(&c[0], &c[1], sizeof c[0]);
    assert_int_equal(calibrate_compare_merge(&hosts[0], &c[0]), PARE_OK);
    assert_float_equal(calibrate_compare_sqnr(&c[0]), 10 * log10(aa / dd), 1e-9);
    assert_float_equal(calibrate_compare_cosine(&c[0]), ab / sqrt(aa * bb), 1e-12);
    c[0] = c[1] = (calibrate_compare){.n = 0};
    assert_true(isnan(calibrate_compare_sqnr(&c[0])) && isnan(calibrate_compare_cosine(&c[0])));
    assert_int_equal(calibrate_compare_add(&hosts[0], &c[0], &x, &x), PARE_OK);
    assert_true(isinf(calibrate_compare_sqnr(&c[0])) && calibrate_compare_cosine(&c[0]) > 1 - 1e-12);
    a[0] = NAN;
    assert_int_equal(calibrate_compare_add(&hosts[0], &c[0], &x, &x), PARE_OK);
    assert_true(isnan(calibrate_compare_sqnr(&c[0])) && isnan(calibrate_compare_cosine(&c[0])));
    y.count--;
    assert_int_equal(calibrate_compare_add(&hosts[0], &c[1], &x, &y), PARE_EINVAL);
    y = samples_view(b, PARE_INT32, dims, 1);
    assert_int_equal(calibrate_compare_add(&hosts[0], &c[1], &x, &y), PARE_EUNSUPPORTED);
    free(a);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_and_threads),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_driver),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
