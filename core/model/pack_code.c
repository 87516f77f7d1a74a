/* model/pack_code.c - the coding of sparse tensors: gaps and values, or a bit mask and values. See pack_parts.h.
 *
 * Works on bit patterns alone, so that -0.0 and every NaN come back as they were. Knows no graph (pack.c, pack_undo.c).
 * The gap of a kept element is its distance from the one before, of the first from element 0; a distance over 255 is
 * bridged by keeping fill elements on the way. May use: pack_parts.h.
 */
#include "model/pack_parts.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 18, GAP_MAX = 255 }; /* elements a task: a multiple of 8, so that a mask splits at a byte */

typedef struct block {
    pack_item *item;
    uint64_t from, to;
    uint64_t kept, entries; /* entries: without those that bridge to the first kept element of the block */
    uint64_t first, last;   /* kept elements, when there are any */
    uint64_t prev;          /* the last kept element before the block, 0 if none */
    uint64_t kept_at, entry_at;
} block;

static uint64_t bridges(uint64_t distance) { return distance ? (distance - 1) / GAP_MAX : 0; }

static uint64_t load(const unsigned char *p, uint32_t size) {
    uint16_t a;
    uint32_t b;
    uint64_t c;
    switch (size) {
    case 1: return *p;
    case 2: memcpy(&a, p, sizeof a); return a;
    case 4: memcpy(&b, p, sizeof b); return b;
    default: memcpy(&c, p, sizeof c); return c;
    }
}

/* Runs BODY with T as the type of the element's size. */
#define BY_SIZE(size, BODY)                                                                                            \
    switch (size) {                                                                                                    \
    case 1: BODY(uint8_t) break;                                                                                       \
    case 2: BODY(uint16_t) break;                                                                                      \
    case 4: BODY(uint32_t) break;                                                                                      \
    default: BODY(uint64_t) break;                                                                                     \
    }

/* ---- survey ---- */

static void most_frequent(void *ctx, uint64_t i) {
    pack_item *t = (pack_item *)ctx + i;
    t->fill = 0;
    if (t->size != 1) return;
    uint64_t seen[4][256] = {{0}}; /* four at once: equal neighbours would wait for each other's add */
    for (uint64_t k = 0; k < t->count; k++) seen[k & 3][t->data[k]]++;
    uint64_t best = 0;
    for (unsigned v = 0; v < 256; v++) {
        uint64_t n = seen[0][v] + seen[1][v] + seen[2][v] + seen[3][v];
        if (n > best) {
            best = n;
            t->fill = v;
        }
    }
}

#define SURVEY(T)                                                                                                      \
    for (uint64_t i = b->from; i < b->to; i++) {                                                                       \
        T x;                                                                                                           \
        memcpy(&x, data + i * sizeof x, sizeof x);                                                                     \
        if (x == (T)fill) continue;                                                                                    \
        if (!kept++)                                                                                                   \
            b->first = i;                                                                                              \
        else                                                                                                           \
            extra += bridges(i - last);                                                                                \
        last = i;                                                                                                      \
    }

static void survey_block(void *ctx, uint64_t n) {
    block *b = (block *)ctx + n;
    const unsigned char *data = b->item->data;
    uint64_t fill = b->item->fill, kept = 0, extra = 0, last = 0;
    BY_SIZE(b->item->size, SURVEY)
    b->kept = kept;
    b->entries = kept + extra;
    b->last = last;
}

typedef PARE_VEC(block) blocks;

static void cut(pack_item *items, size_t n, bool coded_only, blocks *out) {
    for (size_t i = 0; i < n; i++) {
        pack_item *t = &items[i];
        if (coded_only && t->form != PACK_GAP && t->form != PACK_MASK) continue;
        for (uint64_t at = 0; at < t->count; at += BLOCK) {
            uint64_t to = t->count - at > BLOCK ? at + BLOCK : t->count;
            pare_vec_push(out, ((block){.item = t, .from = at, .to = to}));
        }
    }
}

/* Surveys the blocks and joins them: where each one's output begins, and the totals of the items. */
static void survey_blocks(blocks *bs) {
    pare_parallel(bs->len, survey_block, bs->data);
    for (size_t i = 0; i < bs->len; i++) {
        block *b = &bs->data[i];
        pack_item *t = b->item;
        if (!b->from) t->kept = t->entries = 0;
        b->prev = i && bs->data[i - 1].item == t ? bs->data[i - 1].last : 0;
        b->kept_at = t->kept;
        b->entry_at = t->entries;
        if (b->kept)
            b->entries += bridges(b->first - b->prev);
        else
            b->last = b->prev;
        t->kept += b->kept;
        t->entries += b->entries;
    }
}

void pack_survey(pack_item *items, size_t n) {
    blocks bs = {0};
    pare_parallel(n, most_frequent, items);
    cut(items, n, false, &bs);
    survey_blocks(&bs);
    pare_vec_free(&bs);
}

/* ---- encode ---- */

#define ENCODE_GAP(T)                                                                                                  \
    for (uint64_t i = b->from; i < b->to; i++) {                                                                       \
        T x, f = (T)t->fill;                                                                                           \
        memcpy(&x, t->data + i * sizeof x, sizeof x);                                                                  \
        if (x == f) continue;                                                                                          \
        uint64_t distance = i - prev;                                                                                  \
        for (; distance > GAP_MAX; distance -= GAP_MAX) {                                                              \
            *gap++ = GAP_MAX;                                                                                          \
            memcpy(val, &f, sizeof f);                                                                                 \
            val += sizeof f;                                                                                           \
        }                                                                                                              \
        *gap++ = (unsigned char)distance;                                                                              \
        memcpy(val, &x, sizeof x);                                                                                     \
        val += sizeof x;                                                                                               \
        prev = i;                                                                                                      \
    }

#define ENCODE_MASK(T)                                                                                                 \
    for (uint64_t i = b->from; i < b->to; i += 8) {                                                                    \
        unsigned bits = 0;                                                                                             \
        for (unsigned k = 0; k < 8 && i + k < b->to; k++) {                                                            \
            T x;                                                                                                       \
            memcpy(&x, t->data + (i + k) * sizeof x, sizeof x);                                                        \
            if (x == (T)t->fill) continue;                                                                             \
            bits |= 1u << k;                                                                                           \
            memcpy(val, &x, sizeof x);                                                                                 \
            val += sizeof x;                                                                                           \
        }                                                                                                              \
        mask[i / 8] = (unsigned char)bits;                                                                             \
    }

static void encode_block(void *ctx, uint64_t n) {
    const block *b = (const block *)ctx + n;
    const pack_item *t = b->item;
    if (t->form == PACK_GAP) {
        unsigned char *gap = t->index->data + b->entry_at, *val = t->val->data + b->entry_at * t->size;
        uint64_t prev = b->prev;
        BY_SIZE(t->size, ENCODE_GAP)
    } else {
        unsigned char *mask = t->index->data, *val = t->val->data + (b->kept_at + 1) * t->size;
        BY_SIZE(t->size, ENCODE_MASK)
    }
}

bool pack_encode(pack_item *items, size_t n) {
    blocks bs = {0};
    bool ok = true;
    cut(items, n, true, &bs);
    survey_blocks(&bs);
    for (size_t i = 0; i < n && ok; i++) {
        pack_item *t = &items[i];
        if (t->form != PACK_GAP && t->form != PACK_MASK) continue;
        bool gap = t->form == PACK_GAP;
        t->index = pare_blob_new(gap ? t->entries : (t->count + 7) / 8);
        t->val = pare_blob_new((gap ? t->entries : t->kept + 1) * t->size);
        ok = t->index && t->val;
        if (ok && !gap) pack_decode_fill(t->fill, t->size, t->val->data, 1);
    }
    if (ok) pare_parallel(bs.len, encode_block, bs.data);
    for (size_t i = 0; i < n && !ok; i++) {
        pare_blob_unref(items[i].index);
        pare_blob_unref(items[i].val);
        items[i].index = items[i].val = NULL;
    }
    pare_vec_free(&bs);
    return ok;
}

void pack_table(unsigned char *table) {
    for (unsigned i = 0; i < PACK_TABLE_BYTES; i++) table[i] = (unsigned char)(i / 8 >> i % 8 & 1);
}

/* ---- decode: input may be hostile ---- */

#define FILL(T)                                                                                                        \
    for (uint64_t i = 0; i < count; i++) {                                                                             \
        T x = (T)fill;                                                                                                 \
        memcpy((unsigned char *)out + i * sizeof x, &x, sizeof x);                                                     \
    }

void pack_decode_fill(uint64_t fill, uint32_t size, void *out, uint64_t count) {
    if (!fill || size == 1)
        memset(out, (int)(fill & 0xff), (size_t)(count * size));
    else
        BY_SIZE(size, FILL)
}

#define DECODE_GAP(T)                                                                                                  \
    for (uint64_t i = 0; i < entries; i++) {                                                                           \
        if (i && !gap[i]) return "two values stand for the same element";                                              \
        at += gap[i];                                                                                                  \
        if (at >= count) return "the gaps lead past the last element";                                                 \
        memcpy(to + at * sizeof(T), val + i * sizeof(T), sizeof(T));                                                   \
    }

const char *pack_decode_gap(const unsigned char *gap, const unsigned char *val, uint64_t entries, uint64_t fill,
                            uint32_t size, void *out, uint64_t count) {
    unsigned char *to = out;
    uint64_t at = 0;
    pack_decode_fill(fill, size, out, count);
    BY_SIZE(size, DECODE_GAP)
    return NULL;
}

/* val walks from the element after the fill; every set bit takes one. */
#define DECODE_MASK(T)                                                                                                 \
    for (uint64_t i = 0; i < count; i++) {                                                                             \
        if (!(mask[i / 8] >> i % 8 & 1)) continue;                                                                     \
        if (++used >= vals) return "the mask keeps more elements than there are values";                               \
        memcpy(to + i * sizeof(T), val + used * sizeof(T), sizeof(T));                                                 \
    }

const char *pack_decode_mask(const unsigned char *mask, const unsigned char *val, uint64_t vals, uint32_t size,
                             void *out, uint64_t count) {
    unsigned char *to = out;
    uint64_t used = 0;
    if (!vals) return "the values are empty";
    if (count % 8 && mask[count / 8] >> count % 8) return "the mask has bits past the last element";
    pack_decode_fill(load(val, size), size, out, count);
    BY_SIZE(size, DECODE_MASK)
    return used + 1 == vals ? NULL : "the mask keeps fewer elements than there are values";
}
