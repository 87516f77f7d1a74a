/* tests/quantize/samples.h - the samples of golden/quantize/make_thresholds.py, value for value; and a host to measure
 * them with.
 *
 * The hosts' parallel runs pieces from the last to the first, or on threads: whoever relies on their order is found
 * out. There is one process: reduce has nothing to add.
 */
#ifndef QUANTIZE_SAMPLES_H
#define QUANTIZE_SAMPLES_H

#include <pare/host.h>
#include <pare/tensor.h>

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_SAMPLES = 1 << 16 };

static const char *const sample_sets[] = {"gauss", "relu", "relu6", "cubed", "lopsided", "outliers", "negative", NULL};

static inline void samples_gauss(uint32_t seed, double *out) {
    uint32_t x = seed;
    for (int i = 0; i < N_SAMPLES; i++) {
        int64_t sum = 0;
        for (int k = 0; k < 12; k++) sum += x = x * 1664525u + 1013904223u;
        out[i] = (double)(sum - 6 * ((int64_t)1 << 32)) * 0x1p-32;
    }
}

/* [N_SAMPLES], malloc'ed. */
static inline float *samples_make(const char *name) {
    double *g = malloc(N_SAMPLES * sizeof *g);
    float *out = malloc(N_SAMPLES * sizeof *out);
    uint32_t set = 0;
    while (strcmp(sample_sets[set], name) != 0) set++;
    samples_gauss(set + 1, g);
    for (int i = 0; i < N_SAMPLES; i++) {
        double x = g[i];
        switch (set) {
        case 1: x = fmax(x, 0); break;
        case 2: x = fmin(fmax(x * 3, 0), 6); break;
        case 3: x = x * x * x; break;
        case 4: x = x > 0 ? x * 4 : x * 0.25; break;
        case 5: x = i % (N_SAMPLES / 16) == 0 ? x * 40 : x; break;
        case 6: x = -fabs(x); break;
        default: break;
        }
        out[i] = (float)x + 0.0f;
    }
    free(g);
    return out;
}

static inline pare_view samples_view(const void *data, uint32_t dtype, const int64_t *dims, uint32_t ndim) {
    pare_view v = {.size = sizeof v, .dtype = dtype, .device_type = PARE_DEVICE_CPU, .dims = dims, .ndim = ndim};
    v.data = (void *)(uintptr_t)data;
    v.count = 1;
    for (uint32_t i = 0; i < ndim; i++) v.count *= (uint64_t)dims[i];
    v.nbytes = pare_nbytes(dtype, v.count);
    return v;
}

/* ---- the host ---- */

static struct {
    int errors, warnings, ticks;
    char code[64], message[2048], hint[512], param[64], tensor[256];
} said;

static inline void host_report(const pare_host *host, const pare_diag *d) {
    (void)host;
    said.errors += d->severity == PARE_ERROR;
    said.warnings += d->severity == PARE_WARNING;
    (void)snprintf(said.code, sizeof said.code, "%s", d->code);
    (void)snprintf(said.message, sizeof said.message, "%s", d->message);
    (void)snprintf(said.hint, sizeof said.hint, "%s", d->hint ? d->hint : "");
    (void)snprintf(said.param, sizeof said.param, "%s", d->param ? d->param : "");
    (void)snprintf(said.tensor, sizeof said.tensor, "%s", d->tensor ? d->tensor : "");
}

static inline void host_backwards(const pare_host *host, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    (void)host;
    while (n--) fn(ctx, n);
}

typedef struct host_piece {
    void (*fn)(void *ctx, uint64_t i);
    void *ctx;
    uint64_t i;
} host_piece;

static inline void *host_piece_run(void *p) {
    const host_piece *piece = p;
    piece->fn(piece->ctx, piece->i);
    return NULL;
}

static inline void host_threads(const pare_host *host, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    enum { MOST = 64 };
    pthread_t thread[MOST];
    bool started[MOST];
    host_piece piece[MOST];
    (void)host;
    for (uint64_t start = 0; start < n; start += MOST) {
        const uint64_t batch = n - start < MOST ? n - start : MOST;
        for (uint64_t i = 0; i < batch; i++) {
            piece[i] = (host_piece){fn, ctx, start + i};
            started[i] = pthread_create(&thread[i], NULL, host_piece_run, &piece[i]) == 0;
            if (!started[i]) host_piece_run(&piece[i]);
        }
        for (uint64_t i = 0; i < batch; i++)
            if (started[i]) pthread_join(thread[i], NULL);
    }
}

static inline pare_status host_reduce(const pare_host *host, uint32_t op, uint32_t dtype, void *buffer, uint64_t n) {
    (void)host, (void)op, (void)dtype, (void)buffer, (void)n;
    return PARE_OK;
}

static inline pare_status host_tick(const pare_host *host, double done, const char *what) {
    (void)host, (void)what;
    said.ticks++;
    return done >= 0 && done <= 1 ? PARE_OK : PARE_EINTERNAL;
}

static inline const void *host_ext(const pare_host *host, const char *id) {
    (void)host, (void)id;
    return NULL;
}

static const pare_host hosts[2] = {
    {.size = sizeof(pare_host),
     .name = "backwards",
     .report = host_report,
     .tick = host_tick,
     .parallel = host_backwards,
     .reduce = host_reduce,
     .ext = host_ext},
    {.size = sizeof(pare_host),
     .name = "threads",
     .report = host_report,
     .tick = host_tick,
     .parallel = host_threads,
     .reduce = host_reduce,
     .ext = host_ext},
};

#endif
