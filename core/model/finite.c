/* model/finite.c - see finite.h. All tensors are cut into blocks, which threads share. */
#include "model/finite.h"

#include "base/os.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 18, NAMES = 3 }; /* elements a task; tensors that are named */

/* Of a format's bits: (x ^ flip) & mask is from `infinite` on not finite, from `nan` on NaN. */
typedef struct form {
    uint64_t flip, mask, infinite, nan;
} form;

static bool form_of(uint32_t dtype, form *f) {
    switch (dtype) {
    case PARE_FLOAT: *f = (form){0, INT32_MAX, 0x7f800000, 0x7f800001}; return true;
    case PARE_DOUBLE: *f = (form){0, INT64_MAX, 0x7ff0000000000000, 0x7ff0000000000001}; return true;
    case PARE_FLOAT16: *f = (form){0, 0x7fff, 0x7c00, 0x7c01}; return true;
    case PARE_BFLOAT16: *f = (form){0, 0x7fff, 0x7f80, 0x7f81}; return true;
    case PARE_FLOAT8E5M2: *f = (form){0, 0x7f, 0x7c, 0x7d}; return true;
    case PARE_FLOAT8E4M3FN: *f = (form){0, 0x7f, 0x7f, 0x7f}; return true;
    case PARE_FLOAT8E4M3FNUZ: /* 0x80 alone is NaN */
    case PARE_FLOAT8E5M2FNUZ: *f = (form){0x7f, 0xff, 0xff, 0xff}; return true;
    case PARE_FLOAT8E8M0: *f = (form){0, 0xff, 0xff, 0xff}; return true;
    default: return false;
    }
}

typedef struct block {
    const unsigned char *data;
    uint32_t n, bits;
    size_t tensor; /* found[] */
    form form;
    uint32_t nan, infinite;
} block;

typedef struct found {
    const char *name;
    uint64_t nan, infinite;
} found;

typedef struct search {
    PARE_VEC(block) blocks;
    PARE_VEC(found) found;
} search;

/* Almost always there is none: one comparison an element, and a second look only where it is needed. memcpy keeps
 * the loads legal at odd offsets of a mapped file. */
#define LOOK(T)                                                                                                        \
    do {                                                                                                               \
        const T flip = (T)b->form.flip, mask = (T)b->form.mask, infinite = (T)b->form.infinite;                        \
        uint32_t odd = 0;                                                                                              \
        for (uint32_t i = 0; i < b->n; i++) {                                                                          \
            T x;                                                                                                       \
            memcpy(&x, b->data + i * sizeof x, sizeof x);                                                              \
            odd += (T)((x ^ flip) & mask) >= infinite;                                                                 \
        }                                                                                                              \
        for (uint32_t i = 0; i < b->n && odd; i++) {                                                                   \
            T x;                                                                                                       \
            memcpy(&x, b->data + i * sizeof x, sizeof x);                                                              \
            x = (T)((x ^ flip) & mask);                                                                                \
            b->nan += x >= (T)b->form.nan;                                                                             \
            b->infinite += x >= infinite && x < (T)b->form.nan;                                                        \
        }                                                                                                              \
    } while (0)

static void look(void *ctx, uint64_t i) {
    block *b = &((search *)ctx)->blocks.data[i];
    switch (b->bits) {
    case 8: LOOK(uint8_t); break;
    case 16: LOOK(uint16_t); break;
    case 32: LOOK(uint32_t); break;
    default: LOOK(uint64_t); break;
    }
}

static pare_status add(search *s, const pare_model *m, pare_tensor *t, pare_diags *d) {
    form f;
    const pare_value *v = t->blob && form_of(t->dtype, &f) ? pare_tensor_value(m, t) : NULL;
    if (!v) return PARE_OK;
    if (t->blob->maker) { /* packed: it is made here, as it would be for a run */
        const void *made;
        pare_status st = pare_tensor_read(t, d, &made);
        if (st) return st;
    }
    uint32_t bits = pare_dtype_bits(t->dtype);
    for (uint64_t from = 0; from < t->count; from += BLOCK) {
        uint64_t n = t->count - from < BLOCK ? t->count - from : BLOCK;
        pare_vec_push(&s->blocks, ((block){.data = (const unsigned char *)t->blob->data + from * (bits / 8),
                                           .n = (uint32_t)n,
                                           .bits = bits,
                                           .tensor = s->found.len,
                                           .form = f}));
    }
    pare_vec_push(&s->found, ((found){.name = v->name}));
    return PARE_OK;
}

static void print_counts(pare_sb *b, uint64_t nan, uint64_t infinite) {
    if (nan) pare_sb_printf(b, "%" PRIu64 " NaN", nan);
    if (infinite) pare_sb_printf(b, "%s%" PRIu64 " infinite", nan ? ", " : "", infinite);
}

static void sum(const search *s, pare_not_finite *out) {
    pare_sb b = {0};
    for (size_t i = 0; i < s->blocks.len; i++) {
        s->found.data[s->blocks.data[i].tensor].nan += s->blocks.data[i].nan;
        s->found.data[s->blocks.data[i].tensor].infinite += s->blocks.data[i].infinite;
    }
    for (size_t i = 0; i < s->found.len; i++) {
        const found *f = &s->found.data[i];
        if (!f->nan && !f->infinite) continue;
        out->nan += f->nan;
        out->infinite += f->infinite;
        if (out->tensors++ >= NAMES) continue;
        pare_sb_printf(&b, "%s%s (", b.len ? ", " : "", f->name);
        print_counts(&b, f->nan, f->infinite);
        pare_sb_addc(&b, ')');
    }
    if (out->tensors > NAMES) pare_sb_printf(&b, " and %" PRIu64 " more", out->tensors - NAMES);
    if (b.len) out->names = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
}

pare_status pare_model_not_finite(const pare_model *m, pare_diags *d, pare_not_finite *out) {
    search s = {0};
    pare_status st = PARE_OK;
    *out = (pare_not_finite){0};
    for (size_t i = 0; i < m->tensors.len && !st; i++)
        if (m->tensors.data[i]) st = add(&s, m, m->tensors.data[i], d);
    if (!st) {
        pare_parallel(s.blocks.len, look, &s);
        sum(&s, out);
    }
    pare_vec_free(&s.blocks);
    pare_vec_free(&s.found);
    return st;
}

void pare_not_finite_free(pare_not_finite *f) {
    free(f->names);
    *f = (pare_not_finite){0};
}

pare_status pare_model_say_not_finite(const pare_model *m, const char *name, pare_diags *d) {
    pare_not_finite f;
    pare_status st = pare_model_not_finite(m, d, &f);
    if (!st && f.nan)
        pare_say(d, PARE_WARNING, "model.not-finite",
                 "%s: weights hold values that are no numbers: %s; outputs may look sound all the same, for Relu, Clip "
                 "and MaxPool answer a NaN with a number",
                 name, f.names);
    else if (!st && f.infinite)
        pare_say(d, PARE_NOTE, "model.not-finite", "%s: weights hold infinite values, as masks may: %s", name, f.names);
    pare_not_finite_free(&f);
    return st;
}
