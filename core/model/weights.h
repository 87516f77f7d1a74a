/* model/weights.h - named tensors from weight files: safetensors and PyTorch's zip files (.pth, .pt).
 *
 * .pth is read by a restricted unpickler that knows OrderedDict, dict, list, tuple, tensor rebuilds, parameters and
 * storages and refuses everything else by name; nothing is ever executed. A state dict under "state_dict",
 * "model_state_dict" or "model" is found. May use: model.h.
 */
#ifndef PARE_MODEL_WEIGHTS_H
#define PARE_MODEL_WEIGHTS_H

#include "model/model.h"

typedef struct pare_named_tensor {
    const char *name;
    uint32_t dtype, ndim;
    const int64_t *dims;
    uint64_t count;
    pare_blob *blob; /* contiguous, packed; NULL when count is 0 */
} pare_named_tensor;

typedef struct pare_weights {
    PARE_VEC(pare_named_tensor) tensors; /* in the file's order */
    pare_map names;                      /* name -> index */
    PARE_VEC(pare_meta) metadata;        /* safetensors' __metadata__ */
    pare_arena arena;
} pare_weights;

/* By content: a zip file is PyTorch's, else safetensors. Errors name the file and what is wrong with it. */
pare_status pare_weights_read(const char *path, pare_diags *d, pare_weights **out);
void pare_weights_free(pare_weights *w);
/* Writes safetensors, byte for byte as the reference implementation does: largest dtypes first, then by name.
 * PARE_EUNSUPPORTED: the format has no word for a dtype. */
pare_status pare_weights_write(const pare_weights *w, const char *path, pare_diags *d);

/* Puts weights into a model's initializers (of the main graph) of the same names. f16, bf16 and f64 convert to the
 * model's f32; shapes must be equal. num_batches_tracked is ignored. Names in `reinit` (globs) are left as they are,
 * in the model and in the file. Missing (in the model, not in the file) and left-over names are one error that lists
 * them all, each shape or dtype that differs another. PARE_EINVAL: nothing was written. PARE_ENOMEM: some may be. */
pare_status pare_weights_apply(const pare_weights *w, const char *path, pare_model *m, const char *const *reinit,
                               size_t n_reinit, pare_diags *d);

#endif
