/* model/onnx_build.h - a model as protobuf-c structs that point at its memory: the seam of onnx_build.c and
 * onnx_write.c.
 *
 * May use: onnx_parts.h, the generated onnx.pb-c.h.
 */
#ifndef PARE_MODEL_ONNX_BUILD_H
#define PARE_MODEL_ONNX_BUILD_H

#include "model/onnx_parts.h"

#include <onnx.pb-c.h>

typedef struct pare_onnx_piece {
    const pare_tensor *tensor;
    uint64_t offset; /* in the data file */
} pare_onnx_piece;

typedef struct pare_onnx_builder {
    const pare_model *m;
    pare_arena arena;     /* holds the structs */
    const char *location; /* of the data file, as tensors name it; NULL: nothing leaves the file */
    uint64_t external_min;
    PARE_VEC(pare_onnx_piece) pieces; /* what goes to the data file, in order */
    uint64_t data_len;
} pare_onnx_builder;

/* Structs in the builder's arena; they borrow the model's bytes, so it may not change meanwhile. Never fails. */
Onnx__ModelProto *pare_onnx_build(pare_onnx_builder *b);
void pare_onnx_builder_free(pare_onnx_builder *b);

#endif
