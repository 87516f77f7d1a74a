/* model/onnx_wire.c - see onnx_wire.h: the field cursor and the builder. The walk is in onnx_walk.c. */
#include "model/onnx_wire.h"

bool pare_wire_varint(const unsigned char **p, const unsigned char *end, uint64_t *out) {
    uint64_t v = 0;
    const unsigned char *q = *p;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (q == end) return false;
        unsigned char c = *q++;
        v |= shift < 64 ? (uint64_t)(c & 0x7f) << shift : 0;
        if (!(c & 0x80)) {
            *p = q;
            *out = v;
            return true;
        }
    }
    return false;
}

static uint64_t little_endian(const unsigned char *p, unsigned n) {
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* A varint that doesn't end: because the bytes do, or because it is too long? */
static int varint_fault(const unsigned char *p, const unsigned char *end) {
    return end - p < 10 ? PARE_WIRE_CUT : PARE_WIRE_BAD_VARINT;
}

int pare_wire_next(const unsigned char **p, const unsigned char *end, pare_wire_field *f) {
    const unsigned char *q = *p;
    uint64_t v;
    if (q == end) return 0;
    f->at = q;
    if (!pare_wire_varint(&q, end, &v)) return varint_fault(q, end);
    if (v > UINT32_MAX || v >> 3 == 0) return PARE_WIRE_BAD_TAG;
    f->number = (uint32_t)(v >> 3);
    f->type = (uint32_t)(v & 7);
    f->body = q;
    f->value = 0;
    f->data = NULL;
    f->len = 0;
    switch (f->type) {
    case PARE_WIRE_VARINT:
        if (!pare_wire_varint(&q, end, &f->value)) return varint_fault(q, end);
        break;
    case PARE_WIRE_64:
    case PARE_WIRE_32: {
        unsigned n = f->type == PARE_WIRE_64 ? 8 : 4;
        if (end - q < (ptrdiff_t)n) return PARE_WIRE_CUT;
        f->value = little_endian(q, n);
        q += n;
        break;
    }
    case PARE_WIRE_LEN:
        if (!pare_wire_varint(&q, end, &v)) return varint_fault(q, end);
        f->len = v > SIZE_MAX ? SIZE_MAX : (size_t)v; /* for messages about it */
        if (v > (uint64_t)(end - q)) return PARE_WIRE_CUT;
        f->data = q;
        q += v;
        break;
    case 3:
    case 4: return PARE_WIRE_GROUP;
    default: return PARE_WIRE_BAD_TAG;
    }
    f->next = q;
    *p = q;
    return 1;
}

void pare_wire_put_varint(pare_sb *b, uint64_t v) {
    char bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (char)(v | 0x80);
    bytes[n++] = (char)v;
    pare_sb_addn(b, bytes, n);
}

void pare_wire_put_int(pare_sb *b, uint32_t number, uint64_t v) {
    pare_wire_put_varint(b, (uint64_t)number << 3 | PARE_WIRE_VARINT);
    pare_wire_put_varint(b, v);
}

void pare_wire_put_len(pare_sb *b, uint32_t number, const void *data, size_t n) {
    pare_wire_put_varint(b, (uint64_t)number << 3 | PARE_WIRE_LEN);
    pare_wire_put_varint(b, n);
    pare_sb_addn(b, data, n);
}

void pare_wire_put_field(pare_sb *b, const pare_wire_field *f) {
    if (f->type == PARE_WIRE_LEN) {
        pare_wire_put_len(b, f->number, f->data, f->len);
        return;
    }
    pare_wire_put_varint(b, (uint64_t)f->number << 3 | f->type);
    pare_sb_addn(b, (const char *)f->body, (size_t)(f->next - f->body));
}
