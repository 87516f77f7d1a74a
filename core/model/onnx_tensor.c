/* model/onnx_tensor.c - a TensorProto becomes a tensor: dims, dtype, and its bytes wherever they stand.
 *
 * raw_data and external data stay in their files; values in typed fields (float_data, int32_data, …) are laid out as
 * raw_data would be. The message stood the walk, so bounds and wire types are right; numbers and sizes are checked
 * here. Source: the comments on TensorProto in the ONNX specification. May use: onnx_parts.h.
 */
#include "model/onnx_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NDIM_MAX = 64 };

/* Field numbers of TensorProto. */
enum {
    F_DIMS = 1,
    F_DATA_TYPE = 2,
    F_SEGMENT = 3,
    F_FLOAT = 4,
    F_INT32 = 5,
    F_STRING = 6,
    F_INT64 = 7,
    F_NAME = 8,
    F_RAW = 9,
    F_DOUBLE = 10,
    F_UINT64 = 11,
    F_EXTERNAL = 13,
    F_LOCATION = 14
};

static const char *const field_names[16] = {
    [F_FLOAT] = "float_data", [F_INT32] = "int32_data",   [F_STRING] = "string_data", [F_INT64] = "int64_data",
    [F_RAW] = "raw_data",     [F_DOUBLE] = "double_data", [F_UINT64] = "uint64_data"};

typedef struct parts {
    pare_onnx_reader *r;
    const char *node, *name; /* for errors; name also the tensor's */
    pare_bytes wire;
    int64_t dims[NDIM_MAX];
    size_t ndim;
    uint64_t count, nbytes;
    uint32_t dtype;
    uint64_t n[16]; /* values in each typed field, by field number */
    bool has_raw, external, segment;
    pare_bytes raw;
    const char *location; /* malloc'ed */
    bool has_offset, has_length, bad_number;
    uint64_t offset, length;
    pare_sb extra;
} parts;

#define WRONG(p, code, hint, ...)                                                                                      \
    pare_onnx_error((p)->r, PARE_EINVAL, (code), (p)->name[0] ? (p)->name : NULL, (p)->node, (hint), __VA_ARGS__)

/* ---- taking the message apart ---- */

static uint64_t packed_count(const pare_wire_field *f) {
    uint64_t n = 0;
    for (size_t i = 0; i < f->len; i++) n += !(f->data[i] & 0x80);
    return n;
}

static bool take_dims(parts *p, const pare_wire_field *f) {
    const unsigned char *q = f->type == PARE_WIRE_LEN ? f->data : f->body;
    const unsigned char *end = f->type == PARE_WIRE_LEN ? f->data + f->len : f->next;
    uint64_t v;
    while (q < end && pare_wire_varint(&q, end, &v)) {
        if (p->ndim == NDIM_MAX) return false;
        p->dims[p->ndim++] = (int64_t)v;
    }
    return true;
}

static bool number_of(pare_bytes s, uint64_t *out) {
    uint64_t v = 0;
    if (!s.len || s.len > 19) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        v = v * 10 + (s.data[i] - '0');
    }
    *out = v;
    return true;
}

static bool key_is(pare_bytes key, const char *name) {
    return key.len == strlen(name) && memcmp(key.data, name, key.len) == 0;
}

/* One StringStringEntryProto of external_data. Keys that are not known mean nothing. */
static void take_external(parts *p, const pare_wire_field *entry) {
    pare_bytes key = {0}, value = {0};
    const unsigned char *q = entry->data, *end = entry->data + entry->len;
    pare_wire_field f;
    while (pare_wire_next(&q, end, &f) > 0) {
        if (f.number == 1) key = (pare_bytes){f.data, f.len};
        if (f.number == 2) value = (pare_bytes){f.data, f.len};
    }
    if (key_is(key, "location")) {
        free((void *)(uintptr_t)p->location);
        p->location = pare_xstrndup(value.len ? (const char *)value.data : "", value.len);
    } else if (key_is(key, "offset")) {
        p->has_offset = number_of(value, &p->offset);
        p->bad_number |= !p->has_offset;
    } else if (key_is(key, "length")) {
        p->has_length = number_of(value, &p->length);
        p->bad_number |= !p->has_length;
    }
}

static bool take_apart(parts *p) {
    const unsigned char *q = p->wire.data, *end = p->wire.data + p->wire.len;
    pare_wire_field f;
    bool dims_ok = true;
    uint64_t dtype = 0;
    pare_bytes name = {0};
    while (pare_wire_next(&q, end, &f) > 0) {
        switch (f.number) {
        case F_DIMS: dims_ok &= take_dims(p, &f); break;
        case F_DATA_TYPE: dtype = f.value; break;
        case F_SEGMENT: p->segment = true; break;
        case F_FLOAT: p->n[F_FLOAT] += f.type == PARE_WIRE_LEN ? f.len / 4 : 1; break;
        case F_DOUBLE: p->n[F_DOUBLE] += f.type == PARE_WIRE_LEN ? f.len / 8 : 1; break;
        case F_INT32:
        case F_INT64:
        case F_UINT64: p->n[f.number] += f.type == PARE_WIRE_LEN ? packed_count(&f) : 1; break;
        case F_STRING: p->n[F_STRING]++; break;
        case F_NAME: name = (pare_bytes){f.data, f.len}; break;
        case F_RAW:
            p->has_raw = true;
            p->raw = (pare_bytes){f.data, f.len};
            break;
        case F_EXTERNAL: take_external(p, &f); break;
        case F_LOCATION: p->external = f.value == 1; break;
        default: pare_wire_put_field(&p->extra, &f); break;
        }
    }
    p->name = pare_arena_strndup(&p->r->m->arena, name.len ? (const char *)name.data : "", name.len);
    p->dtype = dtype < PARE_DTYPE_COUNT ? (uint32_t)dtype : PARE_DTYPE_UNKNOWN;
    if (!dims_ok) {
        WRONG(p, "model.dims", NULL, "a tensor has more than %d dims", NDIM_MAX);
        return false;
    }
    if (p->dtype == PARE_DTYPE_UNKNOWN) {
        WRONG(p, "model.dtype", "see TensorProto.DataType of ONNX for the numbers",
              "a tensor has data_type %" PRId64 ", which is none that this version knows", (int64_t)dtype);
        return false;
    }
    return true;
}

static bool measure(parts *p) {
    for (size_t i = 0; i < p->ndim; i++)
        if (p->dims[i] < 0) {
            WRONG(p, "model.dims", NULL, "dim %zu of a tensor is %" PRId64 "; dims can't be negative", i, p->dims[i]);
            return false;
        }
    uint64_t bits;
    if (pare_dims_count(p->dims, p->ndim, &p->count) && pare_mul_ok(p->count, 128, &bits) && bits <= INT64_MAX) {
        if (p->dtype == PARE_STRING) return true;
        if (pare_dtype_nbytes(p->dtype, p->count, &p->nbytes) && p->nbytes <= SIZE_MAX) return true;
    }
    pare_sb b = {0};
    for (size_t i = 0; i < p->ndim; i++) pare_sb_printf(&b, "%s%" PRId64, i ? ", " : "", p->dims[i]);
    WRONG(p, "model.dims", NULL, "a tensor's dims [%s] multiply to more than 64 bits can count", pare_sb_str(&b));
    pare_sb_free(&b);
    return false;
}

/* ---- typed fields ---- */

static uint32_t field_of(uint32_t dtype) {
    switch (dtype) {
    case PARE_FLOAT:
    case PARE_COMPLEX64: return F_FLOAT;
    case PARE_DOUBLE:
    case PARE_COMPLEX128: return F_DOUBLE;
    case PARE_INT64: return F_INT64;
    case PARE_UINT32:
    case PARE_UINT64: return F_UINT64;
    case PARE_STRING: return F_STRING;
    default: return F_INT32;
    }
}

/* Values a typed field holds for `count` elements: two for complex numbers, one for a byte of 4-bit or 2-bit ones. */
static uint64_t field_values(const parts *p) {
    if (pare_dtype_kind(p->dtype) == 'c') return p->count * 2;
    uint32_t bits = pare_dtype_bits(p->dtype);
    return bits == 4 || bits == 2 ? p->nbytes : p->count;
}

static void store(unsigned char *out, uint64_t v, unsigned width) {
    for (unsigned i = 0; i < width; i++) out[i] = (unsigned char)(v >> (8 * i));
}

/* The values of one occurrence of the field, `width` bytes each, low bytes first. Returns where the next one goes. */
static unsigned char *lay_out(unsigned char *out, const pare_wire_field *f, uint32_t field, unsigned width) {
    if (field == F_FLOAT || field == F_DOUBLE) {
        size_t n = (size_t)(f->next - f->body);
        const unsigned char *from = f->body;
        if (f->type == PARE_WIRE_LEN) {
            n = f->len;
            from = f->data;
        }
        if (n) memcpy(out, from, n);
        return out + n;
    }
    const unsigned char *q = f->type == PARE_WIRE_LEN ? f->data : f->body;
    const unsigned char *end = f->type == PARE_WIRE_LEN ? f->data + f->len : f->next;
    uint64_t v;
    for (; q < end && pare_wire_varint(&q, end, &v); out += width) store(out, v, width);
    return out;
}

/* Six-bit values, laid out a byte each, are drawn together: four in three bytes, lowest bits first. */
static void pack_bits(unsigned char *data, uint64_t count, uint32_t bits) {
    uint64_t hold = 0, out = 0;
    unsigned have = 0;
    for (uint64_t i = 0; i < count; i++) {
        hold |= (uint64_t)(data[i] & ((1u << bits) - 1)) << have;
        for (have += bits; have >= 8; have -= 8, hold >>= 8) data[out++] = (unsigned char)hold;
    }
    if (have) data[out] = (unsigned char)hold;
}

static pare_blob *typed_blob(parts *p, uint32_t field) {
    uint32_t bits = pare_dtype_bits(p->dtype);
    bool spread = bits < 8 && bits != 4 && bits != 2;
    uint64_t room = spread ? p->count : p->nbytes;
    unsigned width = field == F_FLOAT ? 4 : field == F_DOUBLE || bits == 64 ? 8 : bits < 8 ? 1 : bits / 8;
    pare_blob *b = pare_blob_new(room);
    if (!b) {
        pare_onnx_error(p->r, PARE_ENOMEM, "memory.tensor", p->name, p->node, NULL,
                        "no memory for a tensor of %" PRIu64 " bytes", p->nbytes);
        return NULL;
    }
    unsigned char *out = b->data;
    const unsigned char *q = p->wire.data, *end = p->wire.data + p->wire.len;
    pare_wire_field f;
    while (pare_wire_next(&q, end, &f) > 0)
        if (f.number == field) out = lay_out(out, &f, field, width);
    if (spread) pack_bits(b->data, p->count, bits);
    b->len = p->nbytes;
    return b;
}

static const pare_bytes *string_list(parts *p) {
    pare_bytes *list = pare_arena_alloc(&p->r->m->arena, (size_t)p->count * sizeof *list);
    const unsigned char *q = p->wire.data, *end = p->wire.data + p->wire.len;
    pare_wire_field f;
    size_t n = 0;
    while (pare_wire_next(&q, end, &f) > 0)
        if (f.number == F_STRING) list[n++] = (pare_bytes){f.data, f.len};
    return list;
}

/* ---- finding the bytes ---- */

static bool external_blob(parts *p, pare_blob **out) {
    if (p->dtype == PARE_STRING) {
        WRONG(p, "model.external", NULL, "a tensor of strings can't have external data");
        return false;
    }
    if (!p->location || p->bad_number) {
        WRONG(p, "model.external", NULL, "external data needs a location, and offset and length as plain numbers%s",
              p->location ? "" : "; location is missing");
        return false;
    }
    if (p->has_length && p->length != p->nbytes) {
        WRONG(p, "model.data-length", NULL, "external data of %" PRIu64 " bytes, but dims and dtype %s take %" PRIu64,
              p->length, pare_dtype_name(p->dtype), p->nbytes);
        return false;
    }
    pare_map_file *file = pare_onnx_external_file(p->r, p->location, p->name);
    if (!file) return false;
    if (p->offset > file->len || p->nbytes > file->len - p->offset) {
        WRONG(p, "model.external", "copy or download the data file again",
              "the data file '%s' is too short: %" PRIu64 " bytes at offset %" PRIu64
              " were asked for, it has %" PRIu64,
              p->location, p->nbytes, p->offset, file->len);
        return false;
    }
    if (p->count) *out = pare_blob_of_file(file, p->offset, p->nbytes);
    return true;
}

/* Exactly one place may hold values, and it must be the right one with the right number. */
static bool inline_ok(parts *p) {
    uint32_t field = field_of(p->dtype), filled = 0;
    for (uint32_t i = 0; i < 16; i++) {
        if (!p->n[i]) continue;
        if (filled || (p->has_raw && p->raw.len)) {
            WRONG(p, "model.data", NULL, "a tensor holds its values twice: in %s and in %s",
                  field_names[filled ? filled : F_RAW], field_names[i]);
            return false;
        }
        filled = i;
    }
    if (filled) p->has_raw = false; /* an empty one beside it says nothing */
    if (filled && filled != field) {
        WRONG(p, "model.data", NULL, "a tensor of %s holds its values in %s; they belong in %s or raw_data",
              pare_dtype_name(p->dtype), field_names[filled], field_names[field]);
        return false;
    }
    if (p->has_raw && p->dtype == PARE_STRING && p->raw.len) {
        WRONG(p, "model.data", NULL, "a tensor of strings holds raw_data; strings belong in string_data");
        return false;
    }
    if (p->has_raw && !filled && p->dtype != PARE_STRING) {
        if (p->raw.len == p->nbytes) return true;
        WRONG(p, "model.data-length", NULL, "raw_data of %zu bytes, but dims and dtype %s take %" PRIu64, p->raw.len,
              pare_dtype_name(p->dtype), p->nbytes);
        return false;
    }
    if (p->n[field] == field_values(p)) return true;
    WRONG(p, "model.data-length", NULL, "%s of %" PRIu64 " values, but dims and dtype %s take %" PRIu64,
          field_names[field], p->n[field], pare_dtype_name(p->dtype), field_values(p));
    return false;
}

static pare_tensor *build(parts *p) {
    pare_blob *blob = NULL;
    const pare_bytes *strings = NULL;
    if (p->segment) {
        pare_onnx_error(p->r, PARE_EUNSUPPORTED, "model.segment", p->name, p->node, NULL,
                        "a tensor stored in segments is not supported");
        return NULL;
    }
    if (p->external) {
        if (!external_blob(p, &blob)) return NULL;
    } else {
        if (!inline_ok(p)) return NULL;
        if (p->dtype == PARE_STRING) {
            strings = p->count ? string_list(p) : NULL;
        } else if (p->count && p->has_raw) {
            blob = pare_blob_of_file(p->r->file, (uint64_t)(p->raw.data - p->r->file->data), p->nbytes);
        } else if (p->count && !(blob = typed_blob(p, field_of(p->dtype)))) {
            return NULL;
        }
    }
    pare_model *m = p->r->m;
    pare_tensor *t = pare_arena_alloc(&m->arena, sizeof *t);
    pare_vec_push(&m->tensors, t);
    t->id = (uint32_t)m->tensors.len;
    t->dtype = p->dtype;
    t->name = p->name;
    t->ndim = (uint32_t)p->ndim;
    t->dims = pare_arena_memdup(&m->arena, p->dims, p->ndim * sizeof *p->dims);
    t->count = p->count;
    t->blob = blob;
    t->strings = strings;
    t->was_external = p->external;
    if (p->extra.len) t->extra = (pare_bytes){pare_arena_memdup(&m->arena, p->extra.data, p->extra.len), p->extra.len};
    return t;
}

pare_tensor *pare_onnx_tensor(pare_onnx_reader *r, pare_bytes wire, const char *node) {
    parts p = {.r = r, .node = node, .name = "", .wire = wire};
    pare_tensor *t = take_apart(&p) && measure(&p) ? build(&p) : NULL;
    free((void *)(uintptr_t)p.location);
    pare_sb_free(&p.extra);
    return t;
}
