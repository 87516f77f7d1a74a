/* quantize/calibrate_run.c - see calibrate.h: the samples through the model and into the statistics. */
#include "calibrate.h"

#include <pare/run.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    const pare_host *host;
    const pare_run_api *api;
    pare_runner *runner;
    calibrator *stats;
    uint64_t n;
} run;

void calibration_free(calibration *c) {
    free(c->ranges);
    free(c->data);
    memset(c, 0, sizeof *c);
}

static pare_status no_memory(const pare_host *host) {
    PARE_REPORT(host, PARE_ERROR, .code = "calibrate.memory", .message = "no memory for the calibration's bookkeeping");
    return PARE_ENOMEM;
}

static const char *sample_name(void *ctx, uint64_t sample) {
    const run *r = ctx;
    return r->api->sample_name(r->host, r->runner, sample);
}

static pare_status take_batch(run *r, const pare_runner_batch *batch) {
    for (uint64_t i = 0; i < r->n; i++) {
        pare_view view = {.size = sizeof view};
        pare_status st = r->api->value(r->host, r->runner, i, &view);
        if (!st) st = calibrate_add(r->stats, i, &view, batch->n, batch->samples);
        if (st) return st;
    }
    return PARE_OK;
}

static pare_status take_all(run *r, const char *data, uint64_t *samples) {
    pare_runner_batch batch = {.size = sizeof batch};
    pare_status st;
    *samples = 0;
    while (!(st = r->api->next(r->host, r->runner, &batch))) {
        if ((st = take_batch(r, &batch))) return st;
        *samples += batch.n;
        const double whole = batch.total ? (double)batch.total : (double)*samples;
        if ((st = r->host->tick(r->host, (double)*samples / whole, "calibrating"))) return st;
        batch = (pare_runner_batch){.size = sizeof batch};
    }
    if (st != PARE_ENOTFOUND) return st;
    char text[320];
    if (*samples == 0) {
        (void)snprintf(text, sizeof text, "the data \"%.200s\" holds no sample to calibrate with", data);
        PARE_REPORT(r->host, PARE_ERROR, .code = "calibrate.empty", .message = text, .param = "data");
        return PARE_EINVAL;
    }
    if (*samples == 1) {
        (void)snprintf(text, sizeof text, "calibrated on one sample of \"%.200s\": ranges of others will differ", data);
        PARE_REPORT(r->host, PARE_WARNING, .code = "calibrate.one-sample", .message = text, .param = "samples",
                    .hint = "300 samples are usual");
    }
    return PARE_OK;
}

/* What the ranges come from. */
static pare_status describe(const run *r, pare_model *model, const char *data, calibration *out) {
    pare_runner_set set = {.size = sizeof set};
    pare_status st = r->api->fingerprint(r->host, model, out->graph);
    if (!st) st = r->api->set(r->host, data, 1, &set);
    if (st) return st;
    memcpy(out->data_sha256, set.sha256, sizeof out->data_sha256);
    out->data = malloc(strlen(data) + 1);
    if (!out->data) return no_memory(r->host);
    memcpy(out->data, data, strlen(data) + 1);
    return PARE_OK;
}

pare_status calibrate_run(const pare_host *host, pare_model *model, const uint32_t *values,
                          const calibrate_tensor *tensors, uint64_t n, const char *data, uint64_t samples,
                          uint32_t batch, calibration *out) {
    run r = {.host = host, .api = host->ext(host, PARE_RUN_V1), .n = n};
    calibration c = {.n = n, .tensors = tensors};
    pare_status st;
    if (!r.api) {
        PARE_REPORT(host, PARE_ERROR, .code = "calibrate.host", .message = "this host offers no pare.run/1",
                    .hint = "use the pare that this plugin came with");
        return PARE_EUNSUPPORTED;
    }
    c.ranges = calloc(n ? n : 1, sizeof *c.ranges);
    if (!c.ranges) return no_memory(host);
    if ((st = calibrate_new(host, tensors, n, &r.stats))) goto done;
    if ((st = describe(&r, model, data, &c))) goto done;
    /* A sample that holds NaN is refused as it is: Relu would swallow the NaN before anybody sees it. */
    const pare_runner_request request = {.size = sizeof request,
                                         .flags = PARE_RUNNER_FINITE,
                                         .values = values,
                                         .n_values = n,
                                         .data = data,
                                         .samples = samples,
                                         .batch = batch};
    if ((st = r.api->open(host, model, &request, &r.runner))) goto done;
    if (PARE_HAS(pare_run_api, r.api, sample_name)) calibrate_names(r.stats, sample_name, &r);
    if ((st = take_all(&r, data, &c.samples))) goto done;
    st = calibrate_finish(r.stats, c.ranges);
done:
    if (r.runner) r.api->close(host, r.runner);
    calibrate_free(r.stats);
    if (st) {
        calibration_free(&c);
        return st;
    }
    *out = c;
    return PARE_OK;
}
