/* train/schedule.h - learning rate and momentum at a step. May use: options.h. */
#ifndef PARE_TRAIN_SCHEDULE_H
#define PARE_TRAIN_SCHEDULE_H

#include "train/options.h"

typedef struct pare_rate {
    double lr, momentum;
} pare_rate;

/* At optimiser step `step`, from 0, of `steps`; epochs have `per_epoch` steps. */
pare_rate pare_schedule_at(const pare_fit_opts *o, uint64_t step, uint64_t steps, uint64_t per_epoch);

#endif
