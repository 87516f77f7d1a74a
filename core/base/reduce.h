/* base/reduce.h - the one place where the numbers of all processes of a run come together.
 *
 * Gradients, statistics, metrics and whatever plugins reduce (host->reduce) pass pare_reduce. A run is one process as
 * it stands: everything here is the identity then, and nothing leaves a device for it. A run of several (MPI, NCCL)
 * says at its start, once, who brings them together; then gradients are summed on the host between the backward pass
 * and the update, and each process calls pare_reduce the same number of times in the same order. Is not: how samples
 * are dealt out. One thread. May use: sdk/pare/host.h.
 */
#ifndef PARE_BASE_REDUCE_H
#define PARE_BASE_REDUCE_H

#include <pare/host.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    PARE_REDUCED_GRADIENT,  /* of an optimiser step: all of one dtype at once (train/fit_step.c) */
    PARE_REDUCED_STATISTIC, /* of BatchNormalization: of a batch, or as they leave training */
    PARE_REDUCED_METRIC,    /* the loss of a step; what is added up over a set (pipeline/score.c) */
    PARE_REDUCED_PLUGIN     /* host->reduce: what calibration counts, and whatever else plugins add up */
} pare_reduced;

/* Who brings numbers together. */
typedef struct pare_reducer {
    uint32_t processes; /* of the run, this one among them */
    /* In place, as host->reduce: op PARE_REDUCE_*, dtype PARE_FLOAT, PARE_DOUBLE, PARE_INT64 or PARE_UINT64. */
    pare_status (*reduce)(void *ctx, pare_reduced what, uint32_t op, uint32_t dtype, void *buffer, uint64_t n);
    void *ctx;
} pare_reducer;

/* Copied; NULL: one process. Not while anything trains. */
void pare_reduce_by(const pare_reducer *r);
/* Is there anyone to come together with? false: pare_reduce does nothing, and need not be called. */
bool pare_reduce_shared(void);
uint32_t pare_reduce_processes(void); /* 1 or more: a mean is the sum divided by it */
/* Not reported. */
pare_status pare_reduce(pare_reduced what, uint32_t op, uint32_t dtype, void *buffer, uint64_t n);

#endif
