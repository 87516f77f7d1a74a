/* model/onnx_parts.h - what the pieces of the ONNX reader and writer share with each other, and with nobody else.
 *
 * May use: model.h, onnx_wire.h.
 */
#ifndef PARE_MODEL_ONNX_PARTS_H
#define PARE_MODEL_ONNX_PARTS_H

#include "model/model.h"
#include "model/onnx_wire.h"

/* protobuf's own limit on a message, and so on a file. */
#define PARE_ONNX_MAX INT32_MAX

/* ---- reading ---- */

typedef struct pare_onnx_external {
    char *location;      /* as tensors write it */
    pare_map_file *file; /* NULL: it was refused, and that was said */
} pare_onnx_external;

typedef struct pare_onnx_reader {
    pare_model *m;
    pare_map_file *file;
    const char *path;
    bool in_memory; /* no folder around it: external data is refused */
    pare_diags *d;
    pare_status st; /* the first failure */
    unsigned errors;
    PARE_VEC(pare_onnx_external) externals;
} pare_onnx_reader;

/* Says what is wrong; reading goes on, so that several errors come together. tensor, node and hint may be NULL. */
void pare_onnx_error(pare_onnx_reader *r, pare_status st, const char *code, const char *tensor, const char *node,
                     const char *hint, const char *fmt, ...) __attribute__((format(printf, 7, 8)));
bool pare_onnx_enough(const pare_onnx_reader *r); /* so many errors that more would not help */

/* A TensorProto that stood the walk, as a tensor of the model: entered in its table, name set, owner left to the
 * caller. NULL: it is wrong, and that was said. `node` names the node of an attribute in errors, or is NULL. */
pare_tensor *pare_onnx_tensor(pare_onnx_reader *r, pare_bytes wire, const char *node);

/* The data file a tensor names, mapped once; borrowed. NULL: refused, and that was said. */
pare_map_file *pare_onnx_external_file(pare_onnx_reader *r, const char *location, const char *tensor);
void pare_onnx_externals_free(pare_onnx_reader *r);

/* ---- value infos and sparse tensors: messages that are kept as they came ---- */

typedef struct pare_onnx_info {
    bool has_type, other_type;
    uint32_t dtype;
    int32_t ndim;         /* -1: no shape */
    const pare_dim *dims; /* of the arena */
    int64_t bad_dim;      /* a dim below -1; 0: none is */
} pare_onnx_info;
pare_bytes pare_onnx_info_name(pare_bytes wire);
void pare_onnx_info_read(pare_arena *a, pare_bytes wire, pare_onnx_info *out);

/* A ValueInfoProto's wire bytes for the value's present name, dtype and dims, in the arena: its `info` itself where
 * that is not stale. */
pare_bytes pare_onnx_info_bytes(pare_arena *a, const pare_value *v);

/* Fills all but `value`; *name is the sparse tensor's (that of its values). false: it has none, or its dims are wrong.
 */
bool pare_onnx_sparse_read(pare_arena *a, pare_bytes wire, pare_bytes *name, pare_sparse *out);

#endif
