/* train/fit.h - the training loop: batches, steps, schedule, masks, validation, progress.
 *
 * One fit trains one model. Weights live on the device from open to close; the model it was opened on is not touched
 * until close brings them home. Everything that moves weights passes here, whatever technique asked for it. Is not: the
 * graph (graph.h), the options' reading (pipeline), metrics (pipeline). One thread. May use: base, model, engine, data,
 * plugin.
 */
#ifndef PARE_TRAIN_FIT_H
#define PARE_TRAIN_FIT_H

#include "data/data.h"
#include "plugin/compute.h"
#include "train/graph.h"
#include "train/options.h"

#include <pare/fit.h>

/* What a fit runs in. Borrowed; must outlive it. */
typedef struct pare_fit_env {
    const pare_compute *compute;
    uint32_t threads; /* 0: all */
    bool profile;     /* times each node of a step (pare_session_profile): for looking, it costs a little */
    const pare_data *set;
    const pare_data_preprocess *preprocess;
    pare_train_loss_env loss;
    /* Inference sessions of the losses' teachers, in the order of losses and their parameters; they take the samples.
     */
    pare_session *const *teachers;
    size_t n_teachers;
    /* A teacher's logits for a batch, whose images may be other than the set's; NULL: its session is run. */
    pare_status (*teach)(void *ctx, pare_session *teacher, const pare_batch *b, pare_array *images, pare_array **out);
    /* The model with its weights as they are now, after epoch `epoch` (from 0). score: what is to be high. NULL: there
     * is no validation. */
    pare_status (*validate)(void *ctx, pare_model *m, uint32_t epoch, double *score);
    void (*progress)(void *ctx, double done, const char *what);     /* may be NULL */
    void (*curve)(void *ctx, const char *name, double x, double y); /* x in epochs; may be NULL */
    void (*say)(void *ctx, const char *line);                       /* a line for the log; may be NULL */
    void *ctx;
} pare_fit_env;

/* PARE_EINVAL, PARE_EUNSUPPORTED, PARE_ENOMEM: reported. flags: PARE_FIT_GRADIENTS (hooks will want them,
 * BEFORE_UPDATE), PARE_FIT_MASKS (pare_fit_mask_set is for all tensors, not only for those that are masked now),
 * PARE_FIT_STILL (weights do not move). */
pare_status pare_fit_open(const pare_model *m, const pare_fit_opts *o, const pare_fit_env *env, uint32_t flags,
                          pare_diags *d, pare_fit **out);
void pare_fit_hook_add(pare_fit *f, uint32_t when, uint64_t first, pare_fit_hook *fn, void *ctx, const pare_host *host);
/* Until so many steps are done in all, 0: to the end. PARE_EINVAL (a label out of range), PARE_EDIVERGED (loss or
 * gradient is no number: "train.diverged"), PARE_ENOMEM, PARE_ECANCELLED, or what a hook gave; reported. */
pare_status pare_fit_run(pare_fit *f, uint64_t until);
pare_fit_state pare_fit_state_of(const pare_fit *f);

/* Copies, plain. PARE_ENOTFOUND: not trained. The gradient: in BEFORE_UPDATE alone, else PARE_EINVAL. */
pare_status pare_fit_weights_get(pare_fit *f, const char *tensor, pare_array **out);
pare_status pare_fit_weights_set(pare_fit *f, const char *tensor, const pare_array *a);
pare_status pare_fit_gradient(pare_fit *f, const char *tensor, pare_array **out);
pare_status pare_fit_mask_get(pare_fit *f, const char *tensor, pare_array **out); /* uint8, (count + 7) / 8 */
/* What is cleared becomes +0.0 with no state; what is set starts at 0. */
pare_status pare_fit_mask_set(pare_fit *f, const char *tensor, const pare_array *bits);
/* The trained tensors' names and, for those that have one, that a mask is kept. */
const pare_train_graph *pare_fit_graph(const pare_fit *f);

/* Writes weights (the average, the best epoch's, or as they are) and statistics into the tensors of these names. */
pare_status pare_fit_home(pare_fit *f, pare_model *into);
void pare_fit_close(pare_fit *f); /* NULL is fine */

#endif
