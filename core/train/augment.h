/* train/augment.h - what a training batch goes through before it is used: mirror images, crops, colours, mixtures.
 *
 * Drawn by (seed, step, sample), never by thread. May use: options.h, data.
 */
#ifndef PARE_TRAIN_AUGMENT_H
#define PARE_TRAIN_AUGMENT_H

#include "data/data.h"
#include "train/options.h"

/* Does it change anything at all? */
bool pare_augments(const pare_augment_opts *o);
/* pre: how pixels became these numbers (colours are changed in the pixels' own); may be NULL. *images (N, C, H, W)
 * float32 is replaced (its reference with it) where something is to be done; targets (N, K) or NULL is mixed in place.
 * samples: their numbers in the set. PARE_EUNSUPPORTED (no images), PARE_ENOMEM; reported. */
pare_status pare_augment(const pare_augment_opts *o, const pare_data_preprocess *pre, uint64_t seed, uint64_t step,
                         const uint64_t *samples, pare_array **images, pare_array *targets, pare_diags *d);

#endif
