/* model/pack.h - pruned weights stored as gaps and values (or a bit mask) that every runtime folds back at load.
 *
 * A tensor W is replaced by nodes whose last output has W's name; consumers don't change. Metadata key `ai.pare.packed`
 * says what was packed and where it stood, so that unpacking gives the first file back, byte for byte.
 * Source of the form: shared research (measured with ONNX Runtime); needs ai.onnx >= 11 and IR >= 4.
 * May use: model.h, edit.h.
 */
#ifndef PARE_MODEL_PACK_H
#define PARE_MODEL_PACK_H

#include "model/model.h"

typedef struct pare_pack_result {
    uint64_t tensors_packed;
    uint64_t bytes_before, bytes_after; /* of the tensors that were packed */
    const char *why_not;                /* [static] set when the model as a whole can't be packed */
} pare_pack_result;

/* Packs in place every tensor that gets smaller. A model that can't be packed (old opset, IR 3) is left as it is and why_not says why: that is no failure. */
pare_status pare_model_pack(pare_model *m, pare_diags *d, pare_pack_result *out);
bool pare_model_is_packed(const pare_model *m);
/* Undoes it in place; a model that isn't packed is left alone. PARE_EINVAL: the packed form is damaged, or hostile. */
pare_status pare_model_unpack(pare_model *m, pare_diags *d);

/* Reads an ONNX file and unpacks it: the way every command and step opens a model. */
pare_status pare_model_load(const char *path, pare_diags *d, pare_model **out);

#endif
