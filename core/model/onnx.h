/* model/onnx.h - ONNX files in and out.
 *
 * Reader: IR 3 and up, any opset; the file is mapped and raw_data is never copied; depth and sizes are checked on the
 * wire before anything is allocated; external data is confined to the model's folder. Packed files (pack.h) are read as
 * they are; pare_model_load undoes the packing. Writer: streams, deterministic bytes, temporary file + fsync + rename.
 * May use: model.h, edit.h.
 */
#ifndef PARE_MODEL_ONNX_H
#define PARE_MODEL_ONNX_H

#include "model/array.h"
#include "model/model.h"

/* Reads a file as it stands. On failure one or more errors name the file; *out untouched.
 * PARE_EINVAL: not a sound model; PARE_ENOTFOUND, PARE_EIO: the file; PARE_EUNSUPPORTED: IR below 3. */
pare_status pare_onnx_read(const char *path, pare_diags *d, pare_model **out);
/* The same from memory, for tests and fuzzing; bytes are copied; external data is refused. */
pare_status pare_onnx_read_bytes(const void *data, size_t n, const char *name, pare_diags *d, pare_model **out);

typedef enum { PARE_EXTERNAL_AUTO, PARE_EXTERNAL_ON, PARE_EXTERNAL_OFF } pare_external;

typedef struct pare_onnx_write_opts {
    pare_external external; /* AUTO: above 2 GB of protobuf; the data file is PATH.data */
    uint64_t external_min;  /* tensors of at least so many bytes leave the file (0: 1024) */
    char *sha256;           /* PARE_SHA256_HEX chars for the .onnx file's hash, or NULL */
    pare_sink also;         /* also.write not NULL: the .onnx file's bytes go there too (gzip on the way) */
    uint64_t *bytes;        /* size of the .onnx file plus its data file, or NULL */
} pare_onnx_write_opts;

/* Writes the model; opts may be NULL. Nothing under `path` changes on failure. Tensors are read, never copied. */
pare_status pare_onnx_write(pare_model *m, const char *path, const pare_onnx_write_opts *opts, pare_diags *d);
/* The bytes of the .onnx file (nothing external) to a sink. */
pare_status pare_onnx_stream(pare_model *m, pare_sink to, pare_diags *d);

/* A file that holds one TensorProto (*.pb, as in ONNX's test sets). *out is the caller's to unref. */
pare_status pare_onnx_tensor_file_read(const char *path, pare_diags *d, pare_array **out);
pare_status pare_onnx_tensor_file_write(const char *path, const char *name, const pare_array *a, pare_diags *d);

#endif
