/* model/infer_declared.c - see infer_declared.h. A few fields of the protobuf wire form, nothing allocated but symbols.
 * Field numbers: ONNX's onnx.proto (ValueInfoProto.type 2; TypeProto.tensor_type 1; Tensor.elem_type 1, shape 2;
 * TensorShapeProto.dim 1; Dimension.dim_value 1, dim_param 2).
 */
#include "model/infer_declared.h"

typedef struct field {
    uint64_t number, value; /* value: of a varint */
    pare_bytes bytes;       /* of a length-delimited one */
    uint32_t type;
} field;

static bool varint(pare_bytes *b, uint64_t *out) {
    *out = 0;
    for (uint32_t shift = 0; shift < 64 && b->len; shift += 7) {
        unsigned char c = *b->data;
        b->data++;
        b->len--;
        *out |= (uint64_t)(c & 127) << shift;
        if (c < 128) return true;
    }
    return false;
}

static bool skip(pare_bytes *b, uint64_t n) {
    if (n > b->len) return false;
    b->data += n;
    b->len -= (size_t)n;
    return true;
}

/* The next field; false at the end, or where the bytes make no sense. */
static bool next(pare_bytes *b, field *f) {
    uint64_t key, n;
    if (!b->len || !varint(b, &key)) return false;
    *f = (field){.number = key >> 3, .type = key & 7};
    switch (f->type) {
    case 0: return varint(b, &f->value);
    case 1: return skip(b, 8);
    case 5: return skip(b, 4);
    case 2:
        if (!varint(b, &n) || n > b->len) return false;
        f->bytes = (pare_bytes){b->data, (size_t)n};
        return skip(b, n);
    default: return false;
    }
}

static pare_dim read_dim(pare_arena *arena, pare_bytes b) {
    pare_dim d = pare_dim_of(-1);
    for (field f; next(&b, &f);) {
        if (f.number == 1 && f.type == 0) d = pare_dim_of((int64_t)f.value);
        if (f.number == 2 && f.type == 2 && f.bytes.len)
            d = (pare_dim){.value = -1, .symbol = pare_arena_strndup(arena, (const char *)f.bytes.data, f.bytes.len)};
    }
    return d;
}

static void read_shape(pare_arena *arena, pare_bytes b, pare_shape *out) {
    if (out->ndim < 0) out->ndim = 0;
    for (field f; next(&b, &f);)
        if (f.number == 1 && f.type == 2) pare_shape_grow(out, read_dim(arena, f.bytes));
}

bool pare_declared_read(pare_arena *arena, pare_bytes info, pare_shape *out) {
    bool found = false;
    out->dtype = PARE_DTYPE_UNKNOWN;
    out->ndim = -1;
    for (field value; next(&info, &value);) {
        if (value.number != 2 || value.type != 2) continue;
        for (field type; next(&value.bytes, &type);) {
            if (type.number != 1 || type.type != 2) continue;
            found = true;
            for (field f; next(&type.bytes, &f);) {
                if (f.number == 1 && f.type == 0 && f.value < PARE_DTYPE_COUNT) out->dtype = (uint32_t)f.value;
                if (f.number == 2 && f.type == 2) read_shape(arena, f.bytes, out);
            }
        }
    }
    return found;
}
