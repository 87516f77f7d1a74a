/* pare/tensor.h - dtypes and the tensor view.
 *
 * The view has DLPack's meaning (data + byte_offset, shape and strides in elements, a device) with ONNX's numbers for
 * dtypes; dlpack_bridge.h converts. Sub-byte dtypes are packed, low nibble first, and nbytes says so (DLPack's own
 * size macro does not). May include: status.h.
 */
#ifndef PARE_TENSOR_H
#define PARE_TENSOR_H

#include <pare/status.h>

/* X(NAME, ONNX TensorProto.DataType, bits per element, kind, name)
 * kind: f IEEE-like float, u unsigned, i signed, b bool, c complex, s string (no bytes of its own). */
#define PARE_DTYPES(X)                                                                                                 \
    X(PARE_FLOAT, 1, 32, 'f', "float32")                                                                               \
    X(PARE_UINT8, 2, 8, 'u', "uint8")                                                                                  \
    X(PARE_INT8, 3, 8, 'i', "int8")                                                                                    \
    X(PARE_UINT16, 4, 16, 'u', "uint16")                                                                               \
    X(PARE_INT16, 5, 16, 'i', "int16")                                                                                 \
    X(PARE_INT32, 6, 32, 'i', "int32")                                                                                 \
    X(PARE_INT64, 7, 64, 'i', "int64")                                                                                 \
    X(PARE_STRING, 8, 0, 's', "string")                                                                                \
    X(PARE_BOOL, 9, 8, 'b', "bool")                                                                                    \
    X(PARE_FLOAT16, 10, 16, 'f', "float16")                                                                            \
    X(PARE_DOUBLE, 11, 64, 'f', "float64")                                                                             \
    X(PARE_UINT32, 12, 32, 'u', "uint32")                                                                              \
    X(PARE_UINT64, 13, 64, 'u', "uint64")                                                                              \
    X(PARE_COMPLEX64, 14, 64, 'c', "complex64")                                                                        \
    X(PARE_COMPLEX128, 15, 128, 'c', "complex128")                                                                     \
    X(PARE_BFLOAT16, 16, 16, 'f', "bfloat16")                                                                          \
    X(PARE_FLOAT8E4M3FN, 17, 8, 'f', "float8_e4m3fn")                                                                  \
    X(PARE_FLOAT8E4M3FNUZ, 18, 8, 'f', "float8_e4m3fnuz")                                                              \
    X(PARE_FLOAT8E5M2, 19, 8, 'f', "float8_e5m2")                                                                      \
    X(PARE_FLOAT8E5M2FNUZ, 20, 8, 'f', "float8_e5m2fnuz")                                                              \
    X(PARE_UINT4, 21, 4, 'u', "uint4")                                                                                 \
    X(PARE_INT4, 22, 4, 'i', "int4")                                                                                   \
    X(PARE_FLOAT4E2M1, 23, 4, 'f', "float4_e2m1")                                                                      \
    X(PARE_FLOAT8E8M0, 24, 8, 'f', "float8_e8m0")                                                                      \
    X(PARE_UINT2, 25, 2, 'u', "uint2")                                                                                 \
    X(PARE_INT2, 26, 2, 'i', "int2")                                                                                   \
    X(PARE_FLOAT6E2M3, 27, 6, 'f', "float6_e2m3")                                                                      \
    X(PARE_FLOAT6E3M2, 28, 6, 'f', "float6_e3m2")

enum {
    PARE_DTYPE_UNKNOWN = 0,
#define PARE_DTYPE_ENUM_(name, value, bits, kind, text) name = (value),
    PARE_DTYPES(PARE_DTYPE_ENUM_)
#undef PARE_DTYPE_ENUM_
        PARE_DTYPE_COUNT = 29
};

/* Bits an element takes; 0 for strings and unknown numbers. */
static inline uint32_t pare_dtype_bits(uint32_t dtype) {
    switch (dtype) {
#define PARE_DTYPE_BITS_(name, value, bits, kind, text)                                                                \
    case (value): return (bits);
        PARE_DTYPES(PARE_DTYPE_BITS_)
#undef PARE_DTYPE_BITS_
    default: return 0;
    }
}

/* 'f', 'u', 'i', 'b', 'c', 's'; 0 for unknown numbers. */
static inline char pare_dtype_kind(uint32_t dtype) {
    switch (dtype) {
#define PARE_DTYPE_KIND_(name, value, bits, kind, text)                                                                \
    case (value): return (kind);
        PARE_DTYPES(PARE_DTYPE_KIND_)
#undef PARE_DTYPE_KIND_
    default: return 0;
    }
}

/* "float32", …; "unknown" otherwise. */
static inline const char *pare_dtype_name(uint32_t dtype) {
    switch (dtype) {
#define PARE_DTYPE_NAME_(name, value, bits, kind, text)                                                                \
    case (value): return (text);
        PARE_DTYPES(PARE_DTYPE_NAME_)
#undef PARE_DTYPE_NAME_
    default: return "unknown";
    }
}

/* Bytes that `count` elements take, sub-byte dtypes packed; UINT64_MAX where that is no number of bytes (strings,
 * unknown dtypes, overflow). */
static inline uint64_t pare_nbytes(uint32_t dtype, uint64_t count) {
    uint64_t bits = pare_dtype_bits(dtype);
    if (!bits || count > (UINT64_MAX - 7) / bits) return UINT64_MAX;
    return (count * bits + 7) / 8;
}

/* DLPack's device types. */
enum { PARE_DEVICE_CPU = 1, PARE_DEVICE_CUDA = 2 };

/* A borrowed look at a tensor. data is 64-byte aligned (plus byte_offset); contiguous in the ONNX order unless a call
 * says otherwise. dims and strides are the host's, never NULL (ndim 0: pointers to nothing). */
typedef struct pare_view {
    uint32_t size;
    uint32_t dtype;      /* PARE_FLOAT, … */
    int32_t device_type; /* PARE_DEVICE_* */
    int32_t device_id;
    void *data;
    uint64_t byte_offset;
    const int64_t *dims;
    const int64_t *strides; /* in elements */
    uint64_t count;         /* elements */
    uint64_t nbytes;        /* bytes the elements take, packed */
    uint32_t ndim;
    uint32_t writable; /* 1: borrowed with PARE_WRITE */
} pare_view;

#endif
