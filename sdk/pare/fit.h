/* pare/fit.h - interface "pare.fit/1": the host's training loop, for techniques that train.
 *
 * The host owns optimiser, schedule, batches, masks, progress, checkpoints and cancellation, as the step's `fit:` block
 * says; a technique supplies what is its own: a loss, and hooks. Weights belong to the step's view; while a fit is open
 * they live on the device, and the view gets them back at close. [run]. May include: host.h, loss.h, note.h,
 * tensor.h.
 */
#ifndef PARE_FIT_H
#define PARE_FIT_H

#include <pare/loss.h>
#include <pare/note.h>
#include <pare/tensor.h>
#include <string.h>

#define PARE_FIT_V1 "pare.fit/1"

typedef struct pare_fit pare_fit; /* opaque: the host's */

enum {
    PARE_FIT_GRADIENTS = 1, /* hooks BEFORE_UPDATE will be set */
    PARE_FIT_MASKS = 2,     /* mask_set will be called for tensors that are not masked yet */
    PARE_FIT_STILL = 4      /* with GRADIENTS: nothing moves, hooks look at batch after batch; close changes nothing */
};

typedef struct pare_fit_request {
    uint32_t size, flags; /* PARE_FIT_* */
    const char *loss; /* a loss component's id, "cross_entropy" or "mse"; NULL: as `fit.loss` says (cross-entropy) */
    const pare_arg *loss_args; /* of `loss`: one per its parameter; NULL with loss NULL */
} pare_fit_request;

/* Where training stands. */
typedef struct pare_fit_state {
    uint32_t size, epoch; /* from 0 */
    uint64_t step, steps; /* optimiser steps done; in all */
    uint64_t steps_per_epoch;
    double loss, lr; /* of the latest step */
} pare_fit_state;

enum {
    PARE_FIT_BEFORE_UPDATE = 0, /* gradients are there, weights not yet moved */
    PARE_FIT_AFTER_UPDATE = 1,
    PARE_FIT_EPOCH = 2 /* after an epoch's validation */
};

/* *next: the step count at which the hook is wanted again (0: every time). A failure ends training. */
typedef pare_status pare_fit_hook(void *ctx, const pare_host *, pare_fit *, const pare_fit_state *, uint64_t *next);

/* What running statistics are taken anew from. */
typedef struct pare_recalibrate_request {
    uint32_t size, batch; /* 0: 128 */
    const char *data;     /* a set's name; NULL: the step's own */
    uint64_t samples;     /* at most so many; 0: all */
    double momentum; /* the share of the old statistics that each batch leaves; below 0: the mean over all batches */
} pare_recalibrate_request;

typedef struct pare_fit_api {
    uint32_t size, reserved;
    /* PARE_EINVAL, reported: the step has no `fit:` block, no data, nothing to train. One fit at a time. */
    pare_status (*open)(const pare_host *, pare_model *, const pare_fit_request *, pare_fit **out);
    /* `first`: the step count of its first call. Hooks are called in the order they were set. */
    pare_status (*hook)(const pare_host *, pare_fit *, uint32_t when, uint64_t first, pare_fit_hook *fn, void *ctx);
    /* Trains until so many steps are done in all; 0: to the end of the `fit:` block. */
    pare_status (*run)(const pare_host *, pare_fit *, uint64_t until);
    pare_status (*state)(const pare_host *, const pare_fit *, pare_fit_state *out);

    /* ---- inside hooks, and between open and close while nothing runs ---- */
    /* Copies of what is on the device, plain float32, into room for all elements of a trained tensor (PARE_ENOTFOUND:
     * it is not trained). What is masked stays +0.0, whatever is set. */
    pare_status (*weights_get)(const pare_host *, pare_fit *, uint32_t tensor, float *out);
    pare_status (*weights_set)(const pare_host *, pare_fit *, uint32_t tensor, const float *in);
    /* The gradient of the batch, dense: masked elements have theirs too. In BEFORE_UPDATE alone. */
    pare_status (*gradient)(const pare_host *, pare_fit *, uint32_t tensor, float *out);
    /* A bit per element, lowest first, 1: it lives. Clearing sets the weight to +0.0 and forgets the optimiser's state;
     * setting lets it grow from 0. A tensor without a mask has all bits set. */
    pare_status (*mask_get)(const pare_host *, pare_fit *, uint32_t tensor, uint8_t *bits);
    pare_status (*mask_set)(const pare_host *, pare_fit *, uint32_t tensor, const uint8_t *bits);
    /* The best epoch (`keep: best`) is one since the last mask_set: weights under other masks are not brought home. */

    /* Brings the weights home into the view (after run failed: leaves the view as it was) and ends the fit. */
    pare_status (*close)(const pare_host *, pare_fit *);

    /* ---- without a fit ---- */
    /* The statistics of all BatchNormalization nodes anew, over a set that needs no labels: weights stay. *n: how many
     * nodes there are (0: nothing was done). PARE_EINVAL, reported: no such set, or one that has no whole batch. */
    pare_status (*recalibrate)(const pare_host *, pare_model *, const pare_recalibrate_request *, uint64_t *n);
    /* 1: the step has a `fit:` block. In create and check as well; nothing is opened for it. */
    uint32_t (*has)(const pare_host *);
} pare_fit_api;

/* All that a technique does which only trains: opens a fit, runs it to its end, notes `steps` and `loss`, closes it.
 * PARE_EUNSUPPORTED, reported: the host doesn't train. */
static inline pare_status pare_fit_through(const pare_host *host, pare_model *model, const pare_fit_request *request) {
    const pare_fit_api *fit = (const pare_fit_api *)host->ext(host, PARE_FIT_V1);
    const pare_note_api *note = (const pare_note_api *)host->ext(host, PARE_NOTE_V1);
    pare_fit *f = NULL;
    pare_status st, closed;
    if (!fit) {
        pare_diag said;
        memset(&said, 0, sizeof said);
        said.size = sizeof said;
        said.severity = PARE_ERROR;
        said.code = "train.no-fit";
        said.message = "the step trains, and there is no training here";
        host->report(host, &said);
        return PARE_EUNSUPPORTED;
    }
    st = fit->open(host, model, request, &f);
    if (st) return st;
    st = fit->run(host, f, 0);
    if (!st && note) {
        pare_fit_state state;
        memset(&state, 0, sizeof state);
        state.size = sizeof state;
        st = fit->state(host, f, &state);
        if (!st) note->number(host, "steps", (double)state.step);
        if (!st) note->number(host, "loss", state.loss);
    }
    closed = fit->close(host, f);
    return st ? st : closed;
}

#endif
