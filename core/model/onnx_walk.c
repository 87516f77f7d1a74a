/* model/onnx_walk.c - see onnx_wire.h: the check of a whole file on the wire, and the skeleton that comes of it.
 *
 * protobuf-c has no depth limit, copies every byte and takes what it is given; so it is given only what stood this
 * check. The rules are one table: what each field of each message of ONNX may hold.
 */
#include "model/onnx_wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 200,              /* messages inside messages; a graph inside a graph takes three */
    ITEMS_MAX = 16 * 1024 * 1024, /* fields of the skeleton: each costs protobuf-c some memory */
    PRIVATE_FIRST = 536870000,    /* the *_at fields of onnx.proto */
    NAME_MAX_LEN = 64 * 1024,     /* no name is longer; messages quote names whole */
    LENGTH_ROOM = 5               /* bytes kept free for a length that is known later */
};

typedef enum {
    MODEL,
    GRAPH,
    NODE,
    ATTRIBUTE,
    TENSOR,
    SPARSE,
    VALUE_INFO,
    TYPE,
    TYPE_TENSOR,
    TYPE_NESTED,
    TYPE_MAP,
    SHAPE,
    DIM,
    OPSET,
    PAIR,
    FUNCTION,
    TRAINING,
    KINDS
} message_kind;

static const char *const kind_names[KINDS] = {"ModelProto",
                                              "GraphProto",
                                              "NodeProto",
                                              "AttributeProto",
                                              "TensorProto",
                                              "SparseTensorProto",
                                              "ValueInfoProto",
                                              "TypeProto",
                                              "TypeProto.Tensor",
                                              "TypeProto.Sequence",
                                              "TypeProto.Map",
                                              "TensorShapeProto",
                                              "TensorShapeProto.Dimension",
                                              "OperatorSetIdProto",
                                              "StringStringEntryProto",
                                              "FunctionProto",
                                              "TrainingInfoProto"};

typedef enum {
    ANY,     /* not interpreted: only its bounds count */
    INT,     /* a varint */
    INTS,    /* repeated: varints, or packed ones */
    FLOAT,   /* 32 bits */
    FLOATS,  /* repeated, or packed */
    DOUBLES, /* 64 bits, repeated, or packed */
    BYTES,
    NAME, /* UTF-8, no NUL */
    TEXT, /* no NUL */
    INTO, /* a message whose fields go to the skeleton one by one */
    KEEP, /* a message that goes to the skeleton as it stands */
    LEAVE /* a message that stays where it is: its place goes to the skeleton */
} field_form;

typedef struct rule {
    uint8_t form;
    uint8_t child; /* INTO, KEEP, LEAVE: the message */
    uint8_t once;  /* an embedded message that may stand once (protobuf would merge two) */
} rule;

enum { NUMBERS = 32 };

static const rule rules[KINDS][NUMBERS] = {
    [MODEL] = {[1] = {INT, 0, 0},
               [2] = {TEXT, 0, 0},
               [3] = {TEXT, 0, 0},
               [4] = {TEXT, 0, 0},
               [5] = {INT, 0, 0},
               [6] = {TEXT, 0, 0},
               [7] = {INTO, GRAPH, 1},
               [8] = {INTO, OPSET, 0},
               [14] = {INTO, PAIR, 0},
               [20] = {KEEP, TRAINING, 0},
               [25] = {LEAVE, FUNCTION, 0}},
    [GRAPH] = {[1] = {INTO, NODE, 0},
               [2] = {NAME, 0, 0},
               [5] = {LEAVE, TENSOR, 0},
               [10] = {BYTES, 0, 0},
               [11] = {LEAVE, VALUE_INFO, 0},
               [12] = {LEAVE, VALUE_INFO, 0},
               [13] = {LEAVE, VALUE_INFO, 0},
               [15] = {LEAVE, SPARSE, 0}},
    [NODE] = {[1] = {NAME, 0, 0},
              [2] = {NAME, 0, 0},
              [3] = {NAME, 0, 0},
              [4] = {NAME, 0, 0},
              [5] = {INTO, ATTRIBUTE, 0},
              [6] = {BYTES, 0, 0},
              [7] = {NAME, 0, 0},
              [8] = {BYTES, 0, 0}},
    [ATTRIBUTE] = {[1] = {NAME, 0, 0},
                   [2] = {FLOAT, 0, 0},
                   [3] = {INT, 0, 0},
                   [4] = {BYTES, 0, 0},
                   [5] = {LEAVE, TENSOR, 1},
                   [6] = {INTO, GRAPH, 1},
                   [7] = {FLOATS, 0, 0},
                   [8] = {INTS, 0, 0},
                   [9] = {BYTES, 0, 0},
                   [10] = {LEAVE, TENSOR, 0},
                   [11] = {INTO, GRAPH, 0},
                   [13] = {BYTES, 0, 0},
                   [14] = {KEEP, TYPE, 1},
                   [15] = {KEEP, TYPE, 0},
                   [20] = {INT, 0, 0},
                   [21] = {NAME, 0, 0},
                   [22] = {KEEP, SPARSE, 1},
                   [23] = {KEEP, SPARSE, 0}},
    [TENSOR] = {[1] = {INTS, 0, 0},
                [2] = {INT, 0, 0},
                [3] = {BYTES, 0, 0},
                [4] = {FLOATS, 0, 0},
                [5] = {INTS, 0, 0},
                [6] = {BYTES, 0, 0},
                [7] = {INTS, 0, 0},
                [8] = {NAME, 0, 0},
                [9] = {BYTES, 0, 0},
                [10] = {DOUBLES, 0, 0},
                [11] = {INTS, 0, 0},
                [12] = {BYTES, 0, 0},
                [13] = {KEEP, PAIR, 0},
                [14] = {INT, 0, 0}},
    [SPARSE] = {[1] = {KEEP, TENSOR, 1}, [2] = {KEEP, TENSOR, 1}, [3] = {INTS, 0, 0}},
    [VALUE_INFO] = {[1] = {NAME, 0, 0}, [2] = {KEEP, TYPE, 1}, [3] = {BYTES, 0, 0}},
    [TYPE] = {[1] = {KEEP, TYPE_TENSOR, 1},
              [4] = {KEEP, TYPE_NESTED, 1},
              [5] = {KEEP, TYPE_MAP, 1},
              [6] = {BYTES, 0, 0},
              [8] = {KEEP, TYPE_TENSOR, 1},
              [9] = {KEEP, TYPE_NESTED, 1}},
    [TYPE_TENSOR] = {[1] = {INT, 0, 0}, [2] = {KEEP, SHAPE, 1}},
    [TYPE_NESTED] = {[1] = {KEEP, TYPE, 1}},
    [TYPE_MAP] = {[1] = {INT, 0, 0}, [2] = {KEEP, TYPE, 1}},
    [SHAPE] = {[1] = {KEEP, DIM, 0}},
    [DIM] = {[1] = {INT, 0, 0}, [2] = {NAME, 0, 0}, [3] = {BYTES, 0, 0}},
    [OPSET] = {[1] = {NAME, 0, 0}, [2] = {INT, 0, 0}},
    [PAIR] = {[1] = {NAME, 0, 0}, [2] = {TEXT, 0, 0}},
    [FUNCTION] = {[1] = {NAME, 0, 0},
                  [4] = {NAME, 0, 0},
                  [5] = {NAME, 0, 0},
                  [6] = {NAME, 0, 0},
                  [7] = {KEEP, NODE, 0},
                  [8] = {BYTES, 0, 0},
                  [9] = {KEEP, OPSET, 0},
                  [10] = {NAME, 0, 0},
                  [11] = {KEEP, ATTRIBUTE, 0},
                  [12] = {KEEP, VALUE_INFO, 0},
                  [13] = {BYTES, 0, 0}},
    [TRAINING] = {[1] = {KEEP, GRAPH, 1}, [2] = {KEEP, GRAPH, 1}, [3] = {KEEP, PAIR, 0}, [4] = {KEEP, PAIR, 0}},
};

typedef struct walker {
    const unsigned char *base;
    size_t len;
    uint64_t items;
    pare_onnx_skeleton *out;
    pare_onnx_problem *why;
} walker;

static bool problem(walker *w, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static bool problem(walker *w, const char *code, const char *hint, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->why->text, sizeof w->why->text, fmt, ap);
    va_end(ap);
    w->why->code = code;
    w->why->hint = hint;
    return false;
}

static uint64_t place(const walker *w, const unsigned char *p) { return (uint64_t)(p - w->base); }

static bool damaged(walker *w, message_kind kind, const unsigned char *at, const pare_wire_field *f, int r,
                    unsigned depth) {
    const char *name = kind_names[kind];
    switch (r) {
    case PARE_WIRE_CUT:
        if (depth == 0 && f->len)
            return problem(w, "model.truncated", "copy or download the file again",
                           "the file ends inside a field: the one at byte %" PRIu64
                           " holds %zu bytes, the file has %zu in all",
                           place(w, at), f->len, w->len);
        if (depth == 0)
            return problem(w, "model.truncated", "copy or download the file again",
                           "the file ends inside a field, at byte %zu", w->len);
        return problem(w, "model.malformed", NULL,
                       "a field at byte %" PRIu64 " reaches past the end of the %s around it", place(w, at), name);
    case PARE_WIRE_BAD_VARINT:
        return problem(w, "model.malformed", NULL, "a number at byte %" PRIu64 ", in a %s, takes more than ten bytes",
                       place(w, at), name);
    case PARE_WIRE_GROUP:
        return problem(w, "model.malformed", NULL,
                       "the field at byte %" PRIu64 ", in a %s, is a protobuf group, which ONNX never has",
                       place(w, at), name);
    default:
        return problem(w, "model.malformed", NULL, "no protobuf field starts at byte %" PRIu64 ", in a %s",
                       place(w, at), name);
    }
}

/* ---- fields ---- */

static bool packed_ok(const pare_wire_field *f, field_form form) {
    if (form == FLOATS) return f->len % 4 == 0;
    if (form == DOUBLES) return f->len % 8 == 0;
    const unsigned char *p = f->data, *end = f->data + f->len;
    uint64_t v;
    while (p < end)
        if (!pare_wire_varint(&p, end, &v)) return false;
    return true;
}

static bool type_ok(const pare_wire_field *f, field_form form) {
    switch (form) {
    case ANY: return true;
    case INT: return f->type == PARE_WIRE_VARINT;
    case FLOAT: return f->type == PARE_WIRE_32;
    case INTS: return f->type == PARE_WIRE_VARINT || f->type == PARE_WIRE_LEN;
    case FLOATS: return f->type == PARE_WIRE_32 || f->type == PARE_WIRE_LEN;
    case DOUBLES: return f->type == PARE_WIRE_64 || f->type == PARE_WIRE_LEN;
    default: return f->type == PARE_WIRE_LEN;
    }
}

static bool field_ok(walker *w, message_kind kind, const pare_wire_field *f, field_form form) {
    if (f->number >= PRIVATE_FIRST)
        return problem(w, "model.reserved-field", NULL,
                       "field %u at byte %" PRIu64 ", in a %s, is none that a file may hold", f->number,
                       place(w, f->at), kind_names[kind]);
    if (!type_ok(f, form))
        return problem(w, "model.malformed", NULL,
                       "field %u of a %s, at byte %" PRIu64 ", has wire type %u, not ONNX's", f->number,
                       kind_names[kind], place(w, f->at), f->type);
    if ((form == INTS || form == FLOATS || form == DOUBLES) && f->type == PARE_WIRE_LEN && !packed_ok(f, form))
        return problem(w, "model.malformed", NULL,
                       "the packed numbers of field %u of a %s, at byte %" PRIu64 ", don't fill its %zu bytes",
                       f->number, kind_names[kind], place(w, f->at), f->len);
    if ((form == NAME || form == TEXT) && memchr(f->data, 0, f->len))
        return problem(w, "model.nul", NULL, "the text in field %u of a %s, at byte %" PRIu64 ", holds a NUL byte",
                       f->number, kind_names[kind], place(w, f->at));
    if (form == NAME && f->len > NAME_MAX_LEN)
        return problem(w, "model.name", NULL,
                       "the name in field %u of a %s, at byte %" PRIu64 ", has %zu bytes; %d is the most", f->number,
                       kind_names[kind], place(w, f->at), f->len, NAME_MAX_LEN);
    if (form == NAME && !pare_utf8_ok((const char *)f->data, f->len))
        return problem(w, "model.utf8", NULL, "the name in field %u of a %s, at byte %" PRIu64 ", is not UTF-8",
                       f->number, kind_names[kind], place(w, f->at));
    return true;
}

/* ---- the skeleton ---- */

static unsigned char *room(walker *w, size_t n) {
    pare_vec_reserve(&w->out->bytes, w->out->bytes.len + n);
    return w->out->bytes.data + w->out->bytes.len;
}

static size_t varint_to(unsigned char *p, uint64_t v) {
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) p[n++] = (unsigned char)(v | 0x80);
    p[n++] = (unsigned char)v;
    return n;
}

static void put_tag(walker *w, uint32_t number, uint32_t type) {
    w->out->bytes.len += varint_to(room(w, 10), (uint64_t)number << 3 | type);
}

static void put_bytes(walker *w, const unsigned char *data, size_t n) {
    unsigned char *p = room(w, n);
    if (n) memcpy(p, data, n);
    w->out->bytes.len += n;
}

static void put_field(walker *w, const pare_wire_field *f) {
    put_tag(w, f->number, f->type);
    if (f->type == PARE_WIRE_LEN) {
        w->out->bytes.len += varint_to(room(w, 10), f->len);
        put_bytes(w, f->data, f->len);
    } else {
        put_bytes(w, f->body, (size_t)(f->next - f->body));
    }
}

static void put_place(walker *w, const pare_wire_field *f) {
    uint64_t pair[2] = {place(w, f->data), f->len};
    for (int i = 0; i < 2; i++) {
        put_tag(w, PRIVATE_FIRST + f->number, PARE_WIRE_64);
        unsigned char *p = room(w, 8);
        for (int k = 0; k < 8; k++) p[k] = (unsigned char)(pair[i] >> (8 * k));
        w->out->bytes.len += 8;
    }
}

/* ---- the walk ---- */

static bool walk(walker *w, message_kind kind, const unsigned char *p, const unsigned char *end, unsigned depth,
                 bool emit);

static bool walk_into(walker *w, message_kind child, const pare_wire_field *f, unsigned depth) {
    put_tag(w, f->number, PARE_WIRE_LEN);
    room(w, LENGTH_ROOM);
    w->out->bytes.len += LENGTH_ROOM;
    size_t start = w->out->bytes.len;
    if (!walk(w, child, f->data, f->data + f->len, depth + 1, true)) return false;
    /* the length in five bytes, whatever its value: the last one ends it */
    uint64_t n = w->out->bytes.len - start;
    unsigned char *q = w->out->bytes.data + start - LENGTH_ROOM;
    for (int i = 0; i < LENGTH_ROOM; i++, n >>= 7)
        q[i] = (unsigned char)((n & 0x7f) | (i < LENGTH_ROOM - 1 ? 0x80 : 0));
    return true;
}

static bool walk(walker *w, message_kind kind, const unsigned char *p, const unsigned char *end, unsigned depth,
                 bool emit) {
    if (depth > DEPTH_MAX)
        return problem(w, "model.depth", NULL,
                       "the %s at byte %" PRIu64
                       " is nested more than %d messages deep (about %d graphs inside graphs)",
                       kind_names[kind], place(w, p), DEPTH_MAX, DEPTH_MAX / 3);
    uint32_t seen = 0;
    for (;;) {
        pare_wire_field f = {0};
        const unsigned char *at = p;
        int r = pare_wire_next(&p, end, &f);
        if (r < 0) return damaged(w, kind, at, &f, r, depth);
        if (r == 0) return true;
        const rule *u = f.number < NUMBERS ? &rules[kind][f.number] : &(const rule){ANY, 0, 0};
        if (!field_ok(w, kind, &f, u->form)) return false;
        if (emit && ++w->items > ITEMS_MAX)
            return problem(w, "model.too-many", NULL, "the file holds more than %d fields beside its tensors",
                           ITEMS_MAX);
        if (u->once) {
            if (seen & 1u << f.number)
                return problem(w, "model.duplicate-field", NULL, "field %u stands twice in the %s around byte %" PRIu64,
                               f.number, kind_names[kind], place(w, f.at));
            seen |= 1u << f.number;
        }
        if (u->form == INTO && emit) {
            if (!walk_into(w, u->child, &f, depth)) return false;
            continue;
        }
        if ((u->form == INTO || u->form == KEEP || u->form == LEAVE) &&
            !walk(w, u->child, f.data, f.data + f.len, depth + 1, false))
            return false;
        if (!emit) continue;
        if (u->form == LEAVE)
            put_place(w, &f);
        else
            put_field(w, &f);
    }
}

pare_status pare_onnx_walk(const unsigned char *data, size_t len, pare_onnx_skeleton *out, pare_onnx_problem *why) {
    walker w = {.base = data, .len = len, .out = out, .why = why};
    pare_vec_free(&out->bytes);
    if (walk(&w, MODEL, data, data + len, 0, true)) return PARE_OK;
    pare_vec_free(&out->bytes);
    return PARE_EINVAL;
}
