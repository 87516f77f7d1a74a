/* model/pack.h - pruned weights stored as gaps and values (or a bit mask) that runtimes fold back at load.
 *
 * A tensor W is replaced by ordinary nodes whose last output has W's name; consumers don't change. Metadata key
 * `ai.pare.packed` says what was packed and where it stood, so that unpacking gives the first file back: byte for
 * byte one that pare wrote, with the same meaning one of another tool.
 * The forms are described in pack.c. They need ai.onnx >= 11 (bfloat16: 13) and IR >= 4, and were measured with ONNX
 * Runtime and OpenVINO, which fold every node of them when they load the file. May use: model.h, edit.h, onnx.h.
 */
#ifndef PARE_MODEL_PACK_H
#define PARE_MODEL_PACK_H

#include "model/model.h"

typedef struct pare_pack_result {
    uint64_t tensors_packed;
    uint64_t bytes_before, bytes_after; /* of the tensors that were packed; after: with the nodes, estimated */
    const char *why_not;                /* [static] set when the model as a whole can't be packed, else NULL */
} pare_pack_result;

/* Packs in place every tensor that gets smaller by a sixteenth. A model that can't be packed (old opset, IR 3, packed
 * already) is left as it is and why_not says why; so is one where nothing gets smaller (tensors_packed 0): neither is a
 * failure. On failure (PARE_ENOMEM) the model is unchanged as well. Several threads. */
pare_status pare_model_pack(pare_model *m, pare_diags *d, pare_pack_result *out);
bool pare_model_is_packed(const pare_model *m);
/* Undoes it in place; a model that isn't packed is left alone. PARE_EINVAL: the packed form is damaged, or hostile;
 * PARE_EUNSUPPORTED: packed by a newer version; PARE_ENOMEM. On failure the model is unchanged. */
pare_status pare_model_unpack(pare_model *m, pare_diags *d);

/* Reads an ONNX file and unpacks it: the way every command and step opens a model. Fails as pare_onnx_read and
 * pare_model_unpack do; *out is then untouched. */
pare_status pare_model_load(const char *path, pare_diags *d, pare_model **out);

#endif
