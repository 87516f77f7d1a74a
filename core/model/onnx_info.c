/* model/onnx_info.c - ValueInfoProto and SparseTensorProto: read where they stand, and mended when a type changed.
 *
 * Both are kept in wire form. A value info is written as it came as long as name, dtype and dims are what it says; else
 * it is made anew around the fields that pare doesn't know (doc_string, metadata, denotations). May use: onnx.h.
 */
#include "model/onnx.h"
#include "model/onnx_parts.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers: ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto.Dimension. */
enum {
    INFO_NAME = 1,
    INFO_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_DENOTATION = 6,
    TENSOR_ELEM = 1,
    TENSOR_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_PARAM = 2
};

/* ---- reading ---- */

static pare_dim dim_read(pare_arena *a, const pare_wire_field *dim, pare_onnx_info *out) {
    pare_dim d = {-1, NULL};
    const unsigned char *p = dim->data, *end = dim->data + dim->len;
    pare_wire_field f;
    while (pare_wire_next(&p, end, &f) > 0) {
        if (f.number == DIM_VALUE) d = (pare_dim){(int64_t)f.value < 0 ? -1 : (int64_t)f.value, NULL};
        if (f.number == DIM_VALUE && (int64_t)f.value < -1) out->bad_dim = (int64_t)f.value;
        if (f.number == DIM_PARAM)
            d = (pare_dim){-1, f.len ? pare_arena_strndup(a, (const char *)f.data, f.len) : NULL};
    }
    return d;
}

static void shape_read(pare_arena *a, const pare_wire_field *shape, pare_onnx_info *out) {
    const unsigned char *p = shape->data, *end = shape->data + shape->len;
    pare_wire_field f;
    int32_t n = 0;
    while (pare_wire_next(&p, end, &f) > 0) n += f.number == SHAPE_DIM;
    pare_dim *dims = pare_arena_alloc(a, (size_t)n * sizeof *dims);
    n = 0;
    for (p = shape->data; pare_wire_next(&p, end, &f) > 0;)
        if (f.number == SHAPE_DIM) dims[n++] = dim_read(a, &f, out);
    out->ndim = n;
    out->dims = dims;
}

static void type_read(pare_arena *a, const pare_wire_field *type, pare_onnx_info *out) {
    const unsigned char *p = type->data, *end = type->data + type->len;
    pare_wire_field f, g;
    out->has_type = true;
    while (pare_wire_next(&p, end, &f) > 0) {
        if (f.number == TYPE_DENOTATION) continue;
        out->other_type = f.number != TYPE_TENSOR; /* the last of a oneof counts */
        out->dtype = PARE_DTYPE_UNKNOWN;
        out->ndim = -1;
        out->dims = NULL;
        if (out->other_type) continue;
        const unsigned char *q = f.data, *stop = f.data + f.len;
        while (pare_wire_next(&q, stop, &g) > 0) {
            if (g.number == TENSOR_ELEM)
                out->dtype = g.value < PARE_DTYPE_COUNT ? (uint32_t)g.value : PARE_DTYPE_UNKNOWN;
            if (g.number == TENSOR_SHAPE) shape_read(a, &g, out);
        }
    }
}

void pare_onnx_info_read(pare_arena *a, pare_bytes wire, pare_onnx_info *out) {
    const unsigned char *p = wire.data, *end = wire.data + wire.len;
    pare_wire_field f;
    *out = (pare_onnx_info){.ndim = -1};
    while (wire.len && pare_wire_next(&p, end, &f) > 0) {
        if (f.number == INFO_TYPE) type_read(a, &f, out);
    }
}

pare_bytes pare_onnx_info_name(pare_bytes wire) {
    const unsigned char *p = wire.data, *end = wire.data + wire.len;
    pare_wire_field f;
    pare_bytes name = {0};
    while (wire.len && pare_wire_next(&p, end, &f) > 0)
        if (f.number == INFO_NAME) name = (pare_bytes){f.data, f.len};
    return name;
}

/* ---- writing ---- */

static void shape_put(pare_sb *b, const pare_value *v) {
    pare_sb shape = {0}, dim = {0};
    for (int32_t i = 0; i < v->ndim; i++) {
        dim.len = 0;
        if (v->dims[i].value >= 0)
            pare_wire_put_int(&dim, DIM_VALUE, (uint64_t)v->dims[i].value);
        else if (v->dims[i].symbol)
            pare_wire_put_len(&dim, DIM_PARAM, v->dims[i].symbol, strlen(v->dims[i].symbol));
        pare_wire_put_len(&shape, SHAPE_DIM, pare_sb_str(&dim), dim.len);
    }
    pare_wire_put_len(b, TENSOR_SHAPE, pare_sb_str(&shape), shape.len);
    pare_sb_free(&shape);
    pare_sb_free(&dim);
}

/* The value's type as a TypeProto; what an old one said besides (its denotation) stays. */
static void type_put(pare_sb *b, const pare_value *v, const pare_wire_field *old) {
    pare_sb type = {0}, tensor = {0};
    pare_wire_put_int(&tensor, TENSOR_ELEM, v->dtype);
    if (v->ndim >= 0) shape_put(&tensor, v);
    pare_wire_put_len(&type, TYPE_TENSOR, pare_sb_str(&tensor), tensor.len);
    const unsigned char *p = old ? old->data : NULL, *end = old ? old->data + old->len : NULL;
    pare_wire_field f;
    while (old && pare_wire_next(&p, end, &f) > 0)
        if (f.number == TYPE_DENOTATION) pare_wire_put_field(&type, &f);
    pare_wire_put_len(b, INFO_TYPE, pare_sb_str(&type), type.len);
    pare_sb_free(&type);
    pare_sb_free(&tensor);
}

static bool name_is(pare_bytes wire, const char *name) {
    pare_bytes is = pare_onnx_info_name(wire);
    return is.len == strlen(name) && (!is.len || memcmp(is.data, name, is.len) == 0);
}

pare_bytes pare_onnx_info_bytes(pare_arena *a, const pare_value *v) {
    if (v->info.len && !v->info_stale && name_is(v->info, v->name)) return v->info;

    pare_sb b = {0};
    pare_wire_put_len(&b, INFO_NAME, v->name, strlen(v->name));
    bool retype = !v->other_type && (v->info_stale || !v->info.len);
    const unsigned char *p = v->info.data, *end = v->info.data ? v->info.data + v->info.len : NULL;
    pare_wire_field f, type = {0};
    while (v->info.len && pare_wire_next(&p, end, &f) > 0) {
        if (f.number == INFO_TYPE && retype)
            type = f;
        else if (f.number != INFO_NAME)
            pare_wire_put_field(&b, &f);
    }
    if (retype && v->dtype != PARE_DTYPE_UNKNOWN) type_put(&b, v, type.data ? &type : NULL);
    pare_bytes out = {pare_arena_memdup(a, b.data, b.len), b.len};
    pare_sb_free(&b);
    return out;
}

/* ---- sparse tensors ---- */

enum { SPARSE_VALUES = 1, SPARSE_DIMS = 3, TENSOR_DIMS = 1, TENSOR_DTYPE = 2, TENSOR_NAME = 8 };

/* Appends a repeated int64 field, packed or not. */
static void ints_of(const pare_wire_field *f, int64_t *out, size_t *n, size_t room) {
    const unsigned char *q = f->type == PARE_WIRE_LEN ? f->data : f->body;
    const unsigned char *end = f->type == PARE_WIRE_LEN ? f->data + f->len : f->next;
    uint64_t v;
    for (; q < end && pare_wire_varint(&q, end, &v); ++*n)
        if (*n < room) out[*n] = (int64_t)v;
}

bool pare_onnx_sparse_read(pare_arena *a, pare_bytes wire, pare_bytes *name, pare_sparse *out) {
    enum { ROOM = 64 };
    int64_t dims[ROOM], value_dims[ROOM];
    size_t ndim = 0, value_ndim = 0;
    const unsigned char *p = wire.data, *end = wire.data + wire.len;
    pare_wire_field f, g;
    *name = (pare_bytes){0};
    *out = (pare_sparse){.raw = wire};
    while (pare_wire_next(&p, end, &f) > 0) {
        if (f.number == SPARSE_DIMS) ints_of(&f, dims, &ndim, ROOM);
        if (f.number != SPARSE_VALUES) continue;
        const unsigned char *q = f.data, *stop = f.data + f.len;
        while (pare_wire_next(&q, stop, &g) > 0) {
            if (g.number == TENSOR_DIMS) ints_of(&g, value_dims, &value_ndim, ROOM);
            if (g.number == TENSOR_DTYPE) out->dtype = g.value < PARE_DTYPE_COUNT ? (uint32_t)g.value : 0;
            if (g.number == TENSOR_NAME) *name = (pare_bytes){g.data, g.len};
        }
    }
    uint64_t count;
    if (!name->len || ndim > ROOM || value_ndim > ROOM || !pare_dims_count(dims, ndim, &count) ||
        !pare_dims_count(value_dims, value_ndim, &out->nonzero))
        return false;
    out->ndim = (uint32_t)ndim;
    out->dims = pare_arena_memdup(a, dims, ndim * sizeof *dims);
    return true;
}
