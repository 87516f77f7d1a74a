/* train/evaluated.h - losses that are worked out on the host: those with evaluate and no build (sdk/pare/loss.h).
 *
 * The graph holds such a loss as the sum over logits * seed, whose gradient by the logits is the seed: what evaluate
 * said of the logits that a forward run gave. Is not: the graph (graph.h), the runs (fit_step.c). May use: graph.h,
 * options.h, plugin.
 */
#ifndef PARE_TRAIN_EVALUATED_H
#define PARE_TRAIN_EVALUATED_H

#include "model/array.h"
#include "train/graph.h"

/* A loss that can add itself to a graph. */
bool pare_loss_builds(const pare_loss *c);

/* One that can't, as long as a fit is open. */
typedef struct pare_evaluated {
    const pare_loss *c;
    pare_host *host; /* its own */
    void *self;
    bool created;
} pare_evaluated;

/* PARE_EINVAL and what create gives; reported. On failure it is closed. */
pare_status pare_evaluated_open(const pare_fit_loss *l, const pare_train_loss_env *env, pare_evaluated *out);
/* What destroy has to say; reported. */
pare_status pare_evaluated_close(pare_evaluated *e);

/* What goes into it: rows of a batch, or of a micro-batch. */
typedef struct pare_evaluated_rows {
    pare_array *logits;          /* (N, K) float32 or float64 */
    pare_array *labels;          /* int64 (N), or NULL */
    pare_array *targets;         /* (N, K), as the logits; or NULL */
    pare_array *const *teachers; /* likewise */
    size_t n_teachers;
    double epoch;
} pare_evaluated_rows;

/* *seed: d loss / d logits, dtype and dims as the logits; the caller's. Reported. */
pare_status pare_evaluated_run(pare_evaluated *e, const pare_evaluated_rows *rows, pare_diags *d, double *loss,
                               pare_array **seed);

#endif
