/* pipeline/latency.c - see latency.h. */
#include "pipeline/latency.h"

#include <math.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

/* ---- times ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static pare_status run_once(pare_session *s, pare_array *const *in, pare_diags *d, double *seconds) {
    size_t n = pare_session_n_outputs(s);
    pare_array **out = pare_xcalloc(n, sizeof *out);
    double start = pare_clock();
    pare_status st = pare_cancelled() ? PARE_ECANCELLED : pare_session_run(s, in, d, out);
    *seconds = pare_clock() - start;
    for (size_t i = 0; i < n && !st; i++) pare_array_unref(out[i]);
    free(out);
    return st;
}

typedef PARE_VEC(double) times; /* of one session, round by round */

static pare_status take_times(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                              pare_diags *d, times *t) {
    enum { WARM = 3, LEAST = 10 };
    const double enough = n > 2 ? 1.5 * (double)n : 3.0; /* seconds */
    pare_status st = PARE_OK;
    double begin = 0, seconds;
    for (uint64_t round = 0; !st; round++) {
        if (round == WARM) {
            begin = pare_clock();
            for (size_t i = 0; i < n; i++) pare_session_profile_reset(sessions[i]);
        }
        uint64_t done = round > WARM ? round - WARM : 0;
        if (runs ? done >= runs : done >= LEAST && pare_clock() - begin > enough) break;
        for (size_t k = 0; k < n && !st; k++) {
            size_t i = round % 2 ? n - 1 - k : k;
            st = run_once(sessions[i], in[i], d, &seconds);
            if (round >= WARM) pare_vec_push(&t[i], seconds);
        }
    }
    return st;
}

/* Sorts them. */
static pare_latency summary(times *t) {
    qsort(t->data, t->len, sizeof *t->data, by_value);
    return (pare_latency){t->data[t->len / 2], t->data[(t->len * 95 + 99) / 100 - 1], t->len};
}

pare_status pare_latency_against(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                                 pare_diags *d, pare_latency *out, pare_latency_ratio *ratios) {
    times *t = pare_xcalloc(n, sizeof *t);
    pare_status st = take_times(sessions, in, n, runs, d, t);
    for (size_t i = 0; i < n && !st && ratios; i++) /* before they are sorted */
        ratios[i] = i ? pare_latency_ratio_of(t[0].data, t[i].data, t[0].len) : pare_latency_ratio_of(NULL, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        if (!st) out[i] = summary(&t[i]);
        pare_vec_free(&t[i]);
    }
    free(t);
    return st;
}

pare_status pare_latency_of(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                            pare_diags *d, pare_latency *out) {
    return pare_latency_against(sessions, in, n, runs, d, out, NULL);
}

/* ---- the bootstrap ---- */

/* The k-th smallest (Hoare's selection); leaves x in another order. */
static double select_kth(double *x, uint64_t n, uint64_t k) {
    int64_t low = 0, high = (int64_t)n - 1;
    while (low < high) {
        double pivot = x[low + (high - low) / 2];
        int64_t i = low - 1, j = high + 1;
        for (;;) {
            do i++;
            while (x[i] < pivot);
            do j--;
            while (x[j] > pivot);
            if (i >= j) break;
            double kept = x[i];
            x[i] = x[j];
            x[j] = kept;
        }
        if ((int64_t)k <= j) /* all up to j are at most the pivot, all beyond at least */
            high = j;
        else
            low = j + 1;
    }
    return x[k];
}

static double median(double *x, uint64_t n) { return select_kth(x, n, n / 2); }

pare_latency_ratio pare_latency_ratio_of(const double *a, const double *b, uint64_t n) {
    enum { MOST = 2000, LEAST = 400, WORK = 8000000, SEED = 7 };
    pare_latency_ratio r = {NAN, NAN, NAN};
    if (!n) return r;
    uint64_t resamples = WORK / n, block = (uint64_t)ceil(cbrt((double)n)), draw = 0;
    resamples = resamples > MOST ? MOST : resamples < LEAST ? LEAST : resamples;
    double *x = pare_xcalloc(n, sizeof *x), *y = pare_xcalloc(n, sizeof *y);
    double *ratios = pare_xcalloc(resamples, sizeof *ratios);
    memcpy(x, a, n * sizeof *x);
    memcpy(y, b, n * sizeof *y);
    r.ratio = median(y, n) / median(x, n);
    for (uint64_t k = 0; k < resamples; k++) {
        uint64_t at = 0;
        for (uint64_t i = 0; i < n; i++, at = at + 1 < n ? at + 1 : 0) {
            if (i % block == 0) at = (uint64_t)(pare_random_double(SEED, 0, draw++) * (double)n);
            x[i] = a[at];
            y[i] = b[at];
        }
        ratios[k] = median(y, n) / median(x, n);
    }
    qsort(ratios, resamples, sizeof *ratios, by_value);
    r.low = ratios[resamples / 40];
    r.high = ratios[resamples - 1 - resamples / 40];
    free(x);
    free(y);
    free(ratios);
    return r;
}

bool pare_latency_in_noise(pare_latency_ratio r) {
    return r.low <= 1 + PARE_LATENCY_PLACES && r.high >= 1 - PARE_LATENCY_PLACES;
}
