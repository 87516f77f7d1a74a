/* train/supervised.c - train.supervised: trains as the step's `fit:` block says, by its loss. May use: the SDK. */
#include "common.h"

#include <pare/fit.h>

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    (void)args;
    (void)self;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_fit_request request = {.size = sizeof request};
    (void)self;
    return pare_fit_through(host, model, &request);
}

const pare_technique train_supervised = {
    .size = sizeof(pare_technique),
    .flags = PARE_TECHNIQUE_TRAINS | PARE_TECHNIQUE_NEEDS_FIT,
    .id = "train.supervised",
    .version = "1.0.0",
    .summary = "Trains a model on labelled samples, as the step's fit block says.",
    .create = create,
    .apply = apply,
};
