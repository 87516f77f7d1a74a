/* tests/prune/fake_host.h - just enough of a pare_host to run the plugin's arithmetic: parallel, report.
 *
 * parallel runs the pieces on threads, or one after another from the last to the first: whoever relies on their order
 * is found out.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <pare/host.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct fake_piece {
    void (*fn)(void *ctx, uint64_t i);
    void *ctx;
    uint64_t i;
} fake_piece;

static void *fake_run(void *p) {
    const fake_piece *piece = p;
    piece->fn(piece->ctx, piece->i);
    return NULL;
}

static void fake_threads(const pare_host *host, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    pthread_t thread[64];
    fake_piece piece[64];
    (void)host;
    for (uint64_t start = 0; start < n; start += 64) {
        const uint64_t batch = n - start < 64 ? n - start : 64;
        for (uint64_t i = 0; i < batch; i++) {
            piece[i] = (fake_piece){fn, ctx, start + i};
            if (pthread_create(&thread[i], NULL, fake_run, &piece[i])) {
                fake_run(&piece[i]);
                thread[i] = pthread_self();
            }
        }
        for (uint64_t i = 0; i < batch; i++)
            if (!pthread_equal(thread[i], pthread_self())) pthread_join(thread[i], NULL);
    }
}

static void fake_backwards(const pare_host *host, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    (void)host;
    while (n--) fn(ctx, n);
}

/* What was reported last. */
static struct {
    int errors, warnings;
    char code[64], param[64], message[512];
} fake_last;

static void fake_report(const pare_host *host, const pare_diag *d) {
    (void)host;
    if (d->severity == PARE_ERROR) fake_last.errors++;
    if (d->severity == PARE_WARNING) fake_last.warnings++;
    (void)snprintf(fake_last.code, sizeof fake_last.code, "%s", d->code);
    (void)snprintf(fake_last.param, sizeof fake_last.param, "%s", d->param ? d->param : "");
    (void)snprintf(fake_last.message, sizeof fake_last.message, "%s", d->message);
}

static const pare_host fake_host[2] = {
    {.size = sizeof(pare_host), .name = "fake", .version = "0", .report = fake_report, .parallel = fake_backwards},
    {.size = sizeof(pare_host), .name = "fake", .version = "0", .report = fake_report, .parallel = fake_threads},
};

#endif
