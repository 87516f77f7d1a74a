/* quantize/verify.c - see verify.h. */
#include "verify.h"

#include <math.h>

enum { SAMPLES = 4 }; /* of a rewrite's check: enough for every path, whatever the images are */

pare_status verify_open(const quantize_apis *q, const uint32_t *values, uint64_t n, const char *data, uint64_t samples,
                        uint32_t batch, verify_side *out) {
    const pare_runner_request r = {
        .size = sizeof r, .values = values, .n_values = n, .data = data, .samples = samples, .batch = batch};
    *out = (verify_side){.n = n};
    for (uint32_t i = 0; !values && q->graph->output(q->host, q->model, PARE_GRAPH_MAIN, i); i++) out->n++;
    return q->run->open(q->host, q->model, &r, &out->runner);
}

void verify_close(const quantize_apis *q, verify_side *s) {
    if (s->runner) q->run->close(q->host, s->runner);
    s->runner = NULL;
}

static uint64_t largest(const float *x, uint64_t n) {
    uint64_t at = 0;
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

/* Samples of one batch that put the same element first, of `n`; false: the views hold no row a sample. */
static bool same_first(const pare_view *a, const pare_view *b, uint64_t n, uint64_t *same) {
    if (!n || a->dtype != PARE_FLOAT || b->dtype != PARE_FLOAT || a->count != b->count || a->count % n) return false;
    const uint64_t each = a->count / n;
    if (a->ndim < 2 || (uint64_t)a->dims[0] != n || each < 2 || (uint64_t)a->dims[a->ndim - 1] != each) return false;
    const float *x = (const float *)(const void *)((const char *)a->data + a->byte_offset);
    const float *y = (const float *)(const void *)((const char *)b->data + b->byte_offset);
    for (uint64_t i = 0; i < n; i++) *same += largest(x + i * each, each) == largest(y + i * each, each);
    return true;
}

pare_status verify_compare(const quantize_apis *q, verify_side *before, verify_side *after, calibrate_compare *c,
                           double *agreement) {
    pare_runner_batch one = {.size = sizeof one}, two = {.size = sizeof two};
    uint64_t same = 0, samples = 0;
    bool rows = true;
    if (before->n != after->n) return PARE_EINTERNAL;
    for (;;) {
        pare_status st = q->run->next(q->host, before->runner, &one);
        if (st == PARE_ENOTFOUND) break;
        if (!st) st = q->run->next(q->host, after->runner, &two);
        if (st) return st == PARE_ENOTFOUND ? PARE_EINTERNAL : st;
        for (uint64_t i = 0; i < before->n; i++) {
            pare_view a = {.size = sizeof a}, b = {.size = sizeof b};
            if ((st = q->run->value(q->host, before->runner, i, &a))) return st;
            if ((st = q->run->value(q->host, after->runner, i, &b))) return st;
            if (a.dtype == PARE_FLOAT && (st = calibrate_compare_add(q->host, &c[i], &a, &b))) return st;
            if (i + 1 == before->n) rows = rows && same_first(&a, &b, one.n, &same);
        }
        samples += one.n;
        one.size = sizeof one;
        two.size = sizeof two;
    }
    if (agreement) *agreement = rows && samples ? (double)same / (double)samples : NAN;
    return PARE_OK;
}

pare_status verify_before(const quantize_apis *q, const char *data, verify_side *out) {
    *out = (verify_side){0};
    if (!q->run) return PARE_OK;
    return verify_open(q, NULL, 0, data ? data : "random", SAMPLES, SAMPLES, out);
}

pare_status verify_rewrite(const quantize_apis *q, verify_side *before, const char *data, const char *what) {
    verify_side after = {0};
    if (!before->runner) return PARE_OK;
    calibrate_compare *c = quantize_scratch(q, before->n, sizeof *c);
    pare_status st = c ? verify_open(q, NULL, 0, data ? data : "random", SAMPLES, SAMPLES, &after) : PARE_ENOMEM;
    if (!st) st = verify_compare(q, before, &after, c, NULL);
    for (uint64_t i = 0; i < before->n && !st; i++) {
        const double db = calibrate_compare_sqnr(&c[i]);
        if (c[i].aa == 0 ? c[i].bb == 0 : db >= 60) continue;
        if (isnan(c[i].aa)) continue; /* the model gives NaN as it is, which calibration names */
        quantize_say(q, PARE_ERROR, "quantize.rewrite", NULL, NULL, "this is a bug: please report it with the model",
                     "%s changed what the model computes: its output %llu is %.1f dB from what it was", what,
                     (unsigned long long)i, db);
        st = PARE_EINTERNAL;
    }
    verify_close(q, before);
    verify_close(q, &after);
    return st;
}
