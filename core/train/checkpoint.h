/* train/checkpoint.h - where training stands, in one file: so that it can go on there another day.
 *
 * Is: a safetensors file of all variables (weights, the optimiser's state, masks, averages, running statistics, and
 * the best epoch's weights as "best:NAME"), with epoch, step, seed and a hash of the options as JSON in its metadata
 * under "ai.pare.checkpoint". Random numbers are drawn by seed and step, so these two are all of the generators. Is
 * not: going on there. May use: fit.h, model/weights.h.
 */
#ifndef PARE_TRAIN_CHECKPOINT_H
#define PARE_TRAIN_CHECKPOINT_H

#include "base/hash.h"
#include "model/weights.h"
#include "train/fit.h"

#define PARE_CHECKPOINT_META "ai.pare.checkpoint"

typedef struct pare_checkpoint {
    uint64_t step, steps, steps_per_epoch; /* done; in all */
    uint64_t seed;
    uint32_t epoch; /* epochs done */
    uint32_t since_best;
    double best;                   /* NaN: no epoch was validated */
    char options[PARE_SHA256_HEX]; /* of the options that decide what training does, but for the seed */
} pare_checkpoint;

/* A hash of what training does: equal options, equal text. */
void pare_fit_opts_hash(const pare_fit_opts *o, char hex[PARE_SHA256_HEX]);

/* The file appears when it is whole; what stood there before stays till then. Reported. */
pare_status pare_checkpoint_write(pare_fit *f, const char *path);
/* *weights (may be NULL): the variables, the caller's to free. PARE_EINVAL: it is no checkpoint; reported. */
pare_status pare_checkpoint_read(const char *path, pare_diags *d, pare_checkpoint *out, pare_weights **weights);

#endif
