/* model/pack_parts.h - what pack.c, pack_undo.c and pack_code.c share. Not for anybody else. May use: model.h. */
#ifndef PARE_MODEL_PACK_PARTS_H
#define PARE_MODEL_PACK_PARTS_H

#include "model/model.h"

#define PACK_KEY "ai.pare.packed"

typedef enum { PACK_NONE, PACK_FILL, PACK_GAP, PACK_MASK } pack_form;

enum {
    PACK_TABLE_BYTES = 256 * 8, /* the shared table of PACK_MASK: row i holds the bits of i, lowest first */
    PACK_F32_EXACT = 1 << 24,   /* sums up to here are exact in f32 */
    PACK_RATIO = 1024           /* see pack_size_ok */
};
#define PACK_TENSOR_MAX ((uint64_t)1 << 31) /* bytes of one tensor */

/* Guards against small files that unfold without end: up to 2 GiB in all, or up to 1024 times the packed bytes. */
static inline bool pack_size_ok(uint64_t unpacked, uint64_t packed) {
    return unpacked <= PACK_TENSOR_MAX || unpacked / PACK_RATIO <= packed;
}

/* The dtypes that a form can rebuild in a file of this opset of ai.onnx. */
static inline bool pack_dtype_ok(int64_t dtype, int64_t opset) {
    switch (dtype) {
    case PARE_FLOAT:
    case PARE_FLOAT16:
    case PARE_DOUBLE:
    case PARE_INT8:
    case PARE_UINT8: return true;
    case PARE_BFLOAT16: return opset >= 13;
    default: return false;
    }
}

/* One tensor's elements as bit patterns of `size` bytes (1, 2, 4, 8), which may lie at any address. */
typedef struct pack_item {
    const unsigned char *data; /* borrowed */
    uint64_t count;
    uint32_t size;
    uint64_t fill;    /* the pattern left out. Survey: 0, or for one byte the most frequent one */
    uint64_t kept;    /* elements of any other pattern */
    uint64_t entries; /* gaps, with those that bridge distances over 255 */
    pack_form form;   /* chosen between survey and encode */
    pare_blob *index; /* encode: the gaps or the mask */
    pare_blob *val;   /* encode: the kept elements; of PACK_MASK the fill goes before them */
} pack_item;

/* Fills fill, kept and entries of n items. Several threads. */
void pack_survey(pack_item *items, size_t n);
/* Fills index and val of the items whose form is PACK_GAP or PACK_MASK. false: no memory, none is filled. */
bool pack_encode(pack_item *items, size_t n);
/* The table's PACK_TABLE_BYTES. */
void pack_table(unsigned char *table);

/* `count` elements of the pattern. */
void pack_decode_fill(uint64_t fill, uint32_t size, void *out, uint64_t count);
/* entries gaps and values over fill. NULL, or [static] what is wrong. */
const char *pack_decode_gap(const unsigned char *gap, const unsigned char *val, uint64_t entries, uint64_t fill,
                            uint32_t size, void *out, uint64_t count);
/* (count + 7) / 8 mask bytes; vals values, the first is the fill. NULL, or [static] what is wrong. */
const char *pack_decode_mask(const unsigned char *mask, const unsigned char *val, uint64_t vals, uint32_t size,
                             void *out, uint64_t count);

#endif
