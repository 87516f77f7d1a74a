/* prune/gradual.h - pruning while the host trains: masks that change at some steps of a fit (pare/fit.h).
 *
 * Is: when masks change and what is looked at for it; sparsity that rises along a schedule, or stays while zeros move
 * (regrow), or one choice by gradients of a network that stands still. Is not: the choice itself (choose.h), steps
 * (schedule.h), the report. May use: the SDK, plan.h, source.h, choose.h, schedule.h.
 */
#ifndef PRUNE_GRADUAL_H
#define PRUNE_GRADUAL_H

#include "plan.h"
#include "select.h"

/* Trains the model as the step's fit block says, and prunes the plan's layers on the way. On success the view has the
 * trained weights, with +0.0 where masks are off, and each task's `regrown`. Which tensors are masked from now on is
 * the caller's to say. On failure reported. [run] */
pare_status prune_gradual(const pare_host *host, pare_model *model, const prune_options *o, const prune_plan *plan,
                          prune_work *work);

#endif
