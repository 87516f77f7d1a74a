/* model/weights_read.h - what the readers of weight files share. Internal to core/model's weight files.
 * May use: weights.h.
 */
#ifndef PARE_MODEL_WEIGHTS_READ_H
#define PARE_MODEL_WEIGHTS_READ_H

#include "model/weights.h"

/* The readers append to `w`, which the caller frees when they fail. `file` is borrowed: whoever keeps its bytes takes
 * a reference. Errors name file->path. */
pare_status pare_safetensors_read(pare_map_file *file, pare_diags *d, pare_weights *w);
pare_status pare_pth_read(pare_map_file *file, pare_diags *d, pare_weights *w);

/* Adds a tensor under a name that is copied; takes over the blob's reference. false: the name is there already (the
 * blob is released). dims are copied. */
bool pare_weights_add(pare_weights *w, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                      uint64_t count, pare_blob *blob);

/* "(64, 3, 7, 7)" */
void pare_sb_dims(pare_sb *b, const int64_t *dims, size_t ndim);

#endif
