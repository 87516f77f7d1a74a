/* pare/dlpack_bridge.h - pare_view to and from DLPack's DLTensor, for plugins that speak DLPack. Optional.
 *
 * Brings no copy of DLPack: include your own dlpack.h first, or have <dlpack/dlpack.h> on the path; without either this
 * header defines nothing. Numbers of type codes are DLPack's (up to its version 1.1), written out so that an older
 * dlpack.h will do. Beware: DLPack's own size helpers count a 4-bit element as a whole byte; use pare_view.nbytes. May
 * include: tensor.h.
 */
#ifndef PARE_DLPACK_BRIDGE_H
#define PARE_DLPACK_BRIDGE_H

#include <pare/tensor.h>

#if !defined(DLPACK_MAJOR_VERSION) && !defined(DLPACK_VERSION) && defined(__has_include)
#if __has_include(<dlpack/dlpack.h>)
#include <dlpack/dlpack.h>
#endif
#endif

#if defined(DLPACK_MAJOR_VERSION) || defined(DLPACK_VERSION)

/* DLPack's type code for a dtype, -1 where it has none (strings, 2-bit integers are ordinary integers of 2 bits). */
static inline int pare_dlpack_code(uint32_t dtype) {
    switch (dtype) {
    case PARE_BFLOAT16: return 4;
    case PARE_FLOAT8E4M3FN: return 10;
    case PARE_FLOAT8E4M3FNUZ: return 11;
    case PARE_FLOAT8E5M2: return 12;
    case PARE_FLOAT8E5M2FNUZ: return 13;
    case PARE_FLOAT8E8M0: return 14;
    case PARE_FLOAT6E2M3: return 15;
    case PARE_FLOAT6E3M2: return 16;
    case PARE_FLOAT4E2M1: return 17;
    default: break;
    }
    switch (pare_dtype_kind(dtype)) {
    case 'i': return 0;
    case 'u': return 1;
    case 'f': return 2;
    case 'c': return 5;
    case 'b': return 6;
    default: return -1;
    }
}

/* The dtype of a DLPack type, PARE_DTYPE_UNKNOWN where ONNX has none. */
static inline uint32_t pare_dlpack_dtype(DLDataType type) {
    uint32_t dtype;
    if (type.lanes != 1) return PARE_DTYPE_UNKNOWN;
    for (dtype = 1; dtype < PARE_DTYPE_COUNT; dtype++)
        if (pare_dlpack_code(dtype) == (int)type.code && pare_dtype_bits(dtype) == type.bits) return dtype;
    return PARE_DTYPE_UNKNOWN;
}

/* Fills in a DLTensor that looks at the same memory, good as long as the view. PARE_EUNSUPPORTED: DLPack has no such
 * type. */
static inline pare_status pare_view_to_dlpack(const pare_view *view, DLTensor *out) {
    int code = pare_dlpack_code(view->dtype);
    if (code < 0) return PARE_EUNSUPPORTED;
    out->data = view->data;
    out->device.device_type = (DLDeviceType)view->device_type;
    out->device.device_id = view->device_id;
    out->ndim = (int32_t)view->ndim;
    out->dtype.code = (uint8_t)code;
    out->dtype.bits = (uint8_t)pare_dtype_bits(view->dtype);
    out->dtype.lanes = 1;
    out->shape = (int64_t *)view->dims; /* DLPack has no const; do not write */
    out->strides = (int64_t *)view->strides;
    out->byte_offset = view->byte_offset;
    return PARE_OK;
}

/* The same the other way, for code that works on views: compact tensors whose strides are given. PARE_EUNSUPPORTED:
 * strides NULL, or a type that ONNX does not have. */
static inline pare_status pare_view_from_dlpack(const DLTensor *tensor, pare_view *out) {
    uint32_t dtype = pare_dlpack_dtype(tensor->dtype);
    int32_t i;
    if (dtype == PARE_DTYPE_UNKNOWN || (tensor->ndim && !tensor->strides)) return PARE_EUNSUPPORTED;
    out->size = (uint32_t)sizeof(*out);
    out->dtype = dtype;
    out->device_type = (int32_t)tensor->device.device_type;
    out->device_id = tensor->device.device_id;
    out->data = tensor->data;
    out->byte_offset = tensor->byte_offset;
    out->dims = tensor->shape;
    out->strides = tensor->strides;
    out->count = 1;
    for (i = 0; i < tensor->ndim; i++) out->count *= (uint64_t)tensor->shape[i];
    out->nbytes = pare_nbytes(dtype, out->count);
    out->ndim = (uint32_t)tensor->ndim;
    out->writable = 0;
    return PARE_OK;
}

#endif
#endif
