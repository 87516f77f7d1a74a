/* tests/fuzz/fields.h - mutations that know protobuf's framing: one field is changed and the lengths around it are put
 * right, so that what comes out is damaged in meaning, not in form.
 *
 * Which bytes are a message is guessed: what parses as one to its end, with the small field numbers that ONNX has.
 */
#ifndef TESTS_FUZZ_FIELDS_H
#define TESTS_FUZZ_FIELDS_H

#include "model/onnx_make.h"
#include "model/onnx_wire.h"

typedef struct field_change {
    uint64_t (*rng)(void);
    size_t at, seen;           /* the field to change, counted in the file's order; fields met so far */
    const unsigned char *swap; /* text to put in place of another */
    size_t swap_len;
} field_change;

static inline bool is_message(const unsigned char *p, size_t n) {
    const unsigned char *end = p + n;
    pare_wire_field f;
    int r = 0;
    if (!n) return false;
    while ((r = pare_wire_next(&p, end, &f)) > 0)
        if (f.number > 32) return false;
    return r == 0;
}

static inline void change_field(field_change *c, const pare_wire_field *f, msg *out) {
    static const int64_t numbers[] = {0,         1,         -1,        2,         3,        7,         8,
                                      16,        22,        99,        127,       128,      INT32_MAX, INT32_MIN,
                                      1LL << 31, 1LL << 32, 1LL << 62, INT64_MAX, INT64_MIN};
    uint64_t dice = c->rng();
    if (dice % 8 == 0) return; /* gone */
    if (dice % 8 == 1) {       /* twice */
        for (int i = 0; i < 2; i++) msg_add(out, f->at, (size_t)(f->next - f->at));
    } else if (f->type == PARE_WIRE_VARINT) {
        msg_int(out, f->number,
                dice % 8 < 6 ? numbers[dice / 8 % (sizeof numbers / sizeof *numbers)] : (int64_t)c->rng());
    } else if (f->type == PARE_WIRE_LEN && dice % 8 < 4) {
        msg_bytes(out, f->number, c->swap, c->swap_len);
    } else if (f->type == PARE_WIRE_LEN && dice % 8 < 5) {
        msg_bytes(out, f->number, f->data, f->len / 2);
    } else if (f->type == PARE_WIRE_LEN && f->len) {
        size_t from = out->n;
        msg_bytes(out, f->number, f->data, f->len);
        size_t header = out->n - from - f->len;
        out->p[from + header + c->rng() % f->len] ^= (unsigned char)(1 << c->rng() % 8);
    } else { /* another field number */
        msg_tag(out, 1 + (unsigned)(c->rng() % 26), f->type);
        msg_add(out, f->body, (size_t)(f->next - f->body));
    }
}

/* Copies a message, changing field number c->at of it and of the messages in it. */
static inline void change_message(field_change *c, const unsigned char *p, size_t n, msg *out, int depth) {
    const unsigned char *end = p + n;
    pare_wire_field f;
    while (pare_wire_next(&p, end, &f) > 0) {
        if (c->seen++ == c->at) {
            change_field(c, &f, out);
        } else if (f.type == PARE_WIRE_LEN && depth < 40 && is_message(f.data, f.len)) {
            msg inner = {0};
            change_message(c, f.data, f.len, &inner, depth + 1);
            msg_sub(out, f.number, inner);
        } else {
            msg_add(out, f.at, (size_t)(f.next - f.at));
        }
    }
}

/* Fields in a message and in those inside it; picks the contents of number `pick` as *text on the way. */
static inline size_t count_fields(const unsigned char *p, size_t n, size_t pick, const unsigned char **text,
                                  size_t *len, size_t seen, int depth) {
    const unsigned char *end = p + n;
    pare_wire_field f;
    while (pare_wire_next(&p, end, &f) > 0) {
        if (seen++ == pick && f.type == PARE_WIRE_LEN) {
            *text = f.data;
            *len = f.len;
        }
        if (f.type == PARE_WIRE_LEN && depth < 40 && is_message(f.data, f.len))
            seen = count_fields(f.data, f.len, pick, text, len, seen, depth + 1);
    }
    return seen;
}

#endif
