/* model/onnx_wire.h - protobuf's wire form: reading it, checking it, putting it together.
 *
 * Is: a cursor over fields, the walk that checks a whole file before anything is unpacked, and a small builder for
 * messages that pare makes or mends by hand. Is not: the meaning of the fields (onnx_read.c). Source: the protobuf
 * encoding specification. May use: model.h.
 */
#ifndef PARE_MODEL_ONNX_WIRE_H
#define PARE_MODEL_ONNX_WIRE_H

#include "model/model.h"

enum { PARE_WIRE_VARINT = 0, PARE_WIRE_64 = 1, PARE_WIRE_LEN = 2, PARE_WIRE_32 = 5 };

/* One field. Points into the message; data and len are the contents of a PARE_WIRE_LEN field. */
typedef struct pare_wire_field {
    uint32_t number, type;
    uint64_t value; /* of the other wire types */
    const unsigned char *data;
    size_t len;
    const unsigned char *at, *body, *next; /* where the tag, what follows the tag, and the next field begin */
} pare_wire_field;

/* Above 0: a field; 0: the message's end; below: it is damaged, and *p stays at the field. */
enum { PARE_WIRE_CUT = -1, PARE_WIRE_BAD_VARINT = -2, PARE_WIRE_BAD_TAG = -3, PARE_WIRE_GROUP = -4 };
int pare_wire_next(const unsigned char **p, const unsigned char *end, pare_wire_field *f);
/* false: no whole varint of at most ten bytes stands at *p. */
bool pare_wire_varint(const unsigned char **p, const unsigned char *end, uint64_t *out);

/* ---- the walk ---- */

/* The file without its bulk: what protobuf-c unpacks. Free with pare_vec_free(&s->bytes). */
typedef struct pare_onnx_skeleton {
    PARE_VEC(unsigned char) bytes;
} pare_onnx_skeleton;

/* What is wrong with a file, kept until the caller knows what kind of file it is. */
typedef struct pare_onnx_problem {
    const char *code, *hint; /* static; hint may be NULL */
    char text[320];
} pare_onnx_problem;

/* Checks a ModelProto to its leaves: bounds, wire types, depth, names; what passes can be unpacked and read without
 * looking again. Tensors, value infos, sparse tensors and functions stay where they are: the skeleton holds pairs of
 * offset and length in the *_at fields of onnx.proto. PARE_EINVAL with *why. */
pare_status pare_onnx_walk(const unsigned char *data, size_t len, pare_onnx_skeleton *out, pare_onnx_problem *why);

/* ---- putting messages together ---- */
void pare_wire_put_varint(pare_sb *b, uint64_t v);
void pare_wire_put_int(pare_sb *b, uint32_t number, uint64_t v);
void pare_wire_put_len(pare_sb *b, uint32_t number, const void *data, size_t n);
/* A field as it stands, with the tag written in its shortest form. */
void pare_wire_put_field(pare_sb *b, const pare_wire_field *f);

#endif
