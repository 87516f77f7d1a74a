/* train/together.h - arrays of this process made those of the whole run: base/reduce.h for tensors.
 *
 * May use: base/reduce.h, model/array.h.
 */
#ifndef PARE_TRAIN_TOGETHER_H
#define PARE_TRAIN_TOGETHER_H

#include "base/diag.h"
#include "base/reduce.h"
#include "model/array.h"

/* In place: the mean of each over all processes, all of one dtype (float32, float64) in one reduction. The caller's own
 * arrays, not shared. One process: nothing happens. PARE_ENOMEM, or what the reduction gave; reported. */
pare_status pare_together_mean(pare_reduced what, pare_array *const *a, size_t n, pare_diags *d);

#endif
