/* train/supervised.c - train.supervised: trains as the step's `fit:` block says, by its loss. May use: the SDK. */
#include "common.h"

#include <pare/fit.h>
#include <pare/note.h>

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    (void)args;
    (void)self;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_fit_api *fit = host->ext(host, PARE_FIT_V1);
    const pare_note_api *note = host->ext(host, PARE_NOTE_V1);
    const pare_fit_request request = {.size = sizeof request};
    pare_fit_state state = {.size = sizeof state};
    pare_fit *f = NULL;
    (void)self;
    if (!fit) {
        PARE_REPORT(host, PARE_ERROR, .code = "train.no-fit",
                    .message = "train.supervised trains, and there is no training here");
        return PARE_EUNSUPPORTED;
    }
    pare_status st = fit->open(host, model, &request, &f);
    if (st) return st;
    st = fit->run(host, f, 0);
    if (!st) st = fit->state(host, f, &state);
    if (!st && note) {
        note->number(host, "steps", (double)state.step);
        note->number(host, "loss", state.loss);
    }
    const pare_status closed = fit->close(host, f);
    return st ? st : closed;
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
