/* model/infer_declared.c - see infer_declared.h. Reads over the wire's cursor, allocates nothing but symbols. Field
 * numbers: ONNX's onnx.proto (ValueInfoProto.type 2; TypeProto.tensor_type 1; Tensor.elem_type 1, shape 2;
 * TensorShapeProto.dim 1; Dimension.dim_value 1, dim_param 2).
 */
#include "model/infer_declared.h"

#include "model/onnx_wire.h"

typedef struct cursor {
    const unsigned char *p, *end;
    pare_wire_field f;
} cursor;

static cursor into(const unsigned char *data, size_t len) {
    return (cursor){.p = data, .end = len ? data + len : data};
}

/* The next field; false at the end, or where the bytes make no sense. */
static bool next(cursor *c) { return c->p && pare_wire_next(&c->p, c->end, &c->f) > 0; }

static bool is(const cursor *c, uint32_t number, uint32_t type) { return c->f.number == number && c->f.type == type; }

static pare_dim read_dim(pare_arena *arena, cursor c) {
    pare_dim d = pare_dim_of(-1);
    while (next(&c)) {
        if (is(&c, 1, PARE_WIRE_VARINT)) d = pare_dim_of((int64_t)c.f.value);
        if (is(&c, 2, PARE_WIRE_LEN) && c.f.len)
            d = (pare_dim){.value = -1, .symbol = pare_arena_strndup(arena, (const char *)c.f.data, c.f.len)};
    }
    return d;
}

static void read_shape(pare_arena *arena, cursor c, pare_shape *out) {
    if (out->ndim < 0) out->ndim = 0;
    while (next(&c))
        if (is(&c, 1, PARE_WIRE_LEN)) pare_shape_grow(out, read_dim(arena, into(c.f.data, c.f.len)));
}

static void read_tensor(pare_arena *arena, cursor c, pare_shape *out) {
    while (next(&c)) {
        if (is(&c, 1, PARE_WIRE_VARINT) && c.f.value < PARE_DTYPE_COUNT) out->dtype = (uint32_t)c.f.value;
        if (is(&c, 2, PARE_WIRE_LEN)) read_shape(arena, into(c.f.data, c.f.len), out);
    }
}

bool pare_declared_read(pare_arena *arena, pare_bytes info, pare_shape *out) {
    bool found = false;
    out->dtype = PARE_DTYPE_UNKNOWN;
    out->ndim = -1;
    for (cursor value = into(info.data, info.len); next(&value);) {
        if (!is(&value, 2, PARE_WIRE_LEN)) continue;
        for (cursor type = into(value.f.data, value.f.len); next(&type);) {
            if (!is(&type, 1, PARE_WIRE_LEN)) continue;
            found = true;
            read_tensor(arena, into(type.f.data, type.f.len), out);
        }
    }
    return found;
}
