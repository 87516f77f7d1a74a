/* prune/schedule.h - when a gradual pruning acts, and how far it is by then.
 *
 * Is: arithmetic on steps. Is not: about tensors or the training itself (gradual.h). May use: options.h.
 */
#ifndef PRUNE_SCHEDULE_H
#define PRUNE_SCHEDULE_H

#include "options.h"

#define PRUNE_NEVER UINT64_MAX

/* In optimiser steps: at `start` nothing has gone, at `end` all has; masks change every `every` steps between. */
typedef struct prune_times {
    uint64_t start, end, every;
} prune_times;

/* What the options say of a training of so many steps. PARE_EINVAL, reported: it ends before it begins, or after the
 * training. */
pare_status prune_times_make(const pare_host *host, const prune_options *o, uint64_t steps, uint64_t steps_per_epoch,
                             prune_times *out);

/* The next time after `step` at which masks change; PRUNE_NEVER behind the end. The end itself is one. */
uint64_t prune_times_next(const prune_times *t, uint64_t step);

/* How much of the way is done at a step, 0 .. 1: 1 - (1 - (t - t0) / (t1 - t0))^3 for cubic (Zhu & Gupta 2017). */
double prune_times_done(const prune_times *t, prune_schedule kind, uint64_t step);

/* The share of living weights that RigL drops at a step: drop / 2 * (1 + cos(pi * (t - t0) / (t1 - t0))). */
double prune_times_drop(const prune_times *t, double drop, uint64_t step);

/* The way from `from` to `to`, done by a share. */
uint64_t prune_between(uint64_t from, uint64_t to, double done);

#endif
