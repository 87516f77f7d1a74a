/* train/fit_parts.h - what the files of the loop share. Private to train/fit*.c. */
#ifndef PARE_TRAIN_FIT_PARTS_H
#define PARE_TRAIN_FIT_PARTS_H

#include "train/evaluated.h"
#include "train/fit.h"
#include "train/schedule.h"

#include <stdio.h>

typedef struct pare_fit_hooked {
    uint32_t when;
    uint64_t next; /* the step count from which on it is wanted */
    pare_fit_hook *fn;
    void *ctx;
    const pare_host *host;
} pare_fit_hooked;

struct pare_fit {
    pare_fit_opts o;
    pare_fit_env env;
    pare_diags *d;
    pare_model *m; /* as it came */
    const pare_compute *compute;
    pare_compute on_host; /* `compute` once it has run out of memory for good */
    bool still;           /* weights do not move: hooks look at gradients */
    bool sums, masks;     /* kept for all weights: gradients over micro-batches; masks */
    uint32_t micro;       /* rows at once */
    pare_train_graph g;
    pare_evaluated *evaluated; /* [g.n_evaluated] */
    pare_session *session;
    pare_array **in; /* [input of the session]: filled for a run */
    size_t n_in;
    size_t in_samples; /* which input the samples are */
    pare_reader *reader;
    uint64_t per_epoch, steps, step, first_step;
    bool in_gradient; /* sums hold the gradient of the batch at hand */
    pare_rate rate;
    double loss, shown_loss, epoch_loss;
    uint64_t epoch_n;
    double started, told;
    double best;
    bool has_best, stopped;
    uint32_t since_best;
    pare_array **best_weights; /* [weights, then statistics], NULL: none taken */
    PARE_VEC(pare_fit_hooked) hooks;
};

/* ---- fit_build.c: the session ---- */
/* Makes graph and session; where there was one, its variables' contents move over. */
pare_status pare_fit_build(pare_fit *f, bool sums);

/* ---- fit_step.c ---- */
/* One optimiser step; f->loss is its loss. Halves the micro-batch, and at last moves to the host's device, where memory
 * runs out. */
pare_status pare_fit_step(pare_fit *f, pare_batch *b);
bool pare_fit_hook_due(const pare_fit *f, uint32_t when);
pare_status pare_fit_hooks_call(pare_fit *f, uint32_t when);

/* ---- fit_home.c ---- */
/* Are all weights numbers? Else "train.diverged" with the first that isn't. within: a step that isn't done, whose
 * summed gradients are looked at too. */
pare_status pare_fit_finite(pare_fit *f, bool within);
pare_status pare_fit_copy_home(pare_fit *f, pare_model *into); /* as they are now; of an average, the average */
pare_status pare_fit_best_take(pare_fit *f);
void pare_fit_best_free(pare_fit *f);

#endif
