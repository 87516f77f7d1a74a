/* train/recalibrate.c - batchnorm.recalibrate: running statistics anew, after weights were changed otherwise.
 *
 * Pruning shifts what a BatchNormalization sees; its running mean and variance are of the network before. They are
 * taken anew over samples, whose labels nobody needs; no weight moves. May use: the SDK.
 */
#include "common.h"

#include <pare/fit.h>
#include <pare/note.h>
#include <stdlib.h>

enum { ARG_DATA, ARG_SAMPLES, ARG_BATCH, ARG_MOMENTUM, N_PARAMS };

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

static const pare_param params[N_PARAMS] = {
    [ARG_DATA] =
        PARAM(.type = PARE_PARAM_DATA, .flags = PARE_PARAM_OPTIONAL, .name = "data",
              .doc = "The set of `data` that statistics are taken over; left out: the one the step trains on."),
    [ARG_SAMPLES] = PARAM(.type = PARE_PARAM_INT, .name = "samples", .dflt = "1024", .min = 0, .max = 1e12,
                          .doc = "At most so many of its samples; 0: all."),
    [ARG_BATCH] = PARAM(.type = PARE_PARAM_INT, .name = "batch", .dflt = "128", .min = 2, .max = 65536,
                        .doc = "Samples at once: statistics are those of batches of this size."),
    [ARG_MOMENTUM] = PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MAX,
                           .name = "momentum", .unit = "fraction", .min = 0, .max = 1,
                           .doc = "The share of the statistics so far that each batch leaves; left out: the mean over "
                                  "all batches, without what was there before."),
};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    *self = (void *)(uintptr_t)args;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_arg *args = self;
    const pare_fit_api *fit = host->ext(host, PARE_FIT_V1);
    const pare_note_api *note = host->ext(host, PARE_NOTE_V1);
    if (!fit || !PARE_HAS(pare_fit_api, fit, recalibrate)) {
        PARE_REPORT(host, PARE_ERROR, .code = "train.no-fit",
                    .message = "batchnorm.recalibrate runs the model on samples, and there are none here");
        return PARE_EUNSUPPORTED;
    }
    const pare_recalibrate_request request = {.size = sizeof request,
                                              .batch = (uint32_t)args[ARG_BATCH].u.i,
                                              .data = args[ARG_DATA].n ? args[ARG_DATA].u.s : NULL,
                                              .samples = (uint64_t)args[ARG_SAMPLES].u.i,
                                              .momentum = args[ARG_MOMENTUM].n ? args[ARG_MOMENTUM].u.f : -1};
    uint64_t n = 0;
    const pare_status st = fit->recalibrate(host, model, &request, &n);
    if (!st && !n)
        PARE_REPORT(host, PARE_WARNING, .code = "train.no-batchnorm",
                    .message = "the model has no BatchNormalization, so nothing was recalibrated",
                    .hint = "an exporter may have folded it into the layer before");
    if (!st && note) note->number(host, "batchnorms", (double)n);
    return st;
}

const pare_technique train_recalibrate = {
    .size = sizeof(pare_technique),
    .flags = PARE_TECHNIQUE_TRAINS, /* for the data of a fit block */
    .id = "batchnorm.recalibrate",
    .version = "1.0.0",
    .summary = "Takes the running statistics of BatchNormalization anew; gives accuracy back after pruning.",
    .params = params,
    .n_params = N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .apply = apply,
};
