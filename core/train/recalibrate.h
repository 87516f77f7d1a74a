/* train/recalibrate.h - the running statistics of BatchNormalization taken anew: forward runs in training mode, nothing
 * else. Is not: training (fit.h). One thread. May use: fit.h (what it runs in), model, engine, data.
 */
#ifndef PARE_TRAIN_RECALIBRATE_H
#define PARE_TRAIN_RECALIBRATE_H

#include "train/fit.h"

typedef struct pare_recalibrate_opts {
    uint32_t batch;   /* 0: 128; smaller where the set is */
    uint64_t samples; /* at most so many, in whole batches; 0: all */
    double momentum;  /* the share of the statistics so far that each batch leaves; below 0: the mean over all batches,
                       * as torch.optim.swa_utils.update_bn takes it */
} pare_recalibrate_opts;

/* Where a device's memory runs out it begins anew with batches of half the size (down to 2 samples), then on the CPU,
 * and says so.
 *
 * In place: the tensors that hold mean and variance, of every BatchNormalization whose tensors no other shares. Of env
 * it takes compute, threads, set, preprocess and progress. *n: how many nodes. PARE_EINVAL, PARE_EUNSUPPORTED,
 * PARE_ENOMEM, PARE_ECANCELLED: reported, and m is as it was. */
pare_status pare_recalibrate(pare_model *m, const pare_recalibrate_opts *o, const pare_fit_env *env, pare_diags *d,
                             uint64_t *n);

#endif
