/* model/tensor.c - tensor bytes: blobs, copy-on-write, alignment, counting zeros. See model.h. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, HUGE_MIN = 4 << 20, DONE_MIN = 1 << 16 };

/* ---- blobs ---- */

pare_blob *pare_blob_new(uint64_t len) {
    unsigned char *data = len <= SIZE_MAX ? pare_try_alloc((size_t)len) : NULL;
    if (!data) return NULL;
    if (len >= HUGE_MIN) pare_memory_huge(data, (size_t)len);
    pare_blob *b = pare_xcalloc(1, sizeof *b);
    *b = (pare_blob){.refs = 1, .owned = 1, .data = data, .len = len};
    return b;
}

pare_blob *pare_blob_of_file(pare_map_file *file, uint64_t offset, uint64_t len) {
    pare_blob *b = pare_xcalloc(1, sizeof *b);
    *b = (pare_blob){.refs = 1, .data = (unsigned char *)(uintptr_t)file->data + offset, .len = len};
    b->file = pare_map_file_ref(file);
    return b;
}

pare_blob *pare_blob_ref(pare_blob *b) {
    __atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
    return b;
}

static void drop_maker(pare_blob *b) {
    if (!b->maker) return;
    pare_blob_maker m = *b->maker;
    free((void *)(uintptr_t)b->maker);
    b->maker = NULL;
    m.drop(m.ctx);
}

pare_blob *pare_blob_made(uint64_t len, pare_blob_maker maker) {
    pare_blob *b = pare_xcalloc(1, sizeof *b);
    pare_blob_maker *own = pare_xmalloc(sizeof *own);
    *own = maker;
    *b = (pare_blob){.refs = 1, .owned = 1, .len = len, .maker = own};
    return b;
}

void pare_blob_done(const pare_blob *b) {
    if (b->file && b->len >= DONE_MIN) pare_map_file_done(b->file, (uint64_t)(b->data - b->file->data), b->len);
}

void pare_blob_copy(const pare_blob *b, unsigned char *to) {
    if (b->maker)
        b->maker->make(b->maker->ctx, to);
    else if (b->len)
        memcpy(to, b->data, (size_t)b->len);
    pare_blob_done(b);
}

void pare_blob_unref(pare_blob *b) {
    if (!b || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL)) return;
    drop_maker(b);
    if (b->owned) free(b->data);
    pare_map_file_unref(b->file);
    free(b);
}

/* ---- sizes ---- */

bool pare_dtype_nbytes(uint32_t dtype, uint64_t count, uint64_t *out) {
    uint64_t bits = pare_dtype_bits(dtype), total;
    if (!bits || !pare_mul_ok(count, bits, &total) || !pare_add_ok(total, 7, &total)) return false;
    *out = total / 8;
    return true;
}

bool pare_dims_count(const int64_t *dims, size_t ndim, uint64_t *out) {
    uint64_t n = 1;
    bool zero = false;
    for (size_t i = 0; i < ndim; i++) {
        if (dims[i] < 0) return false;
        if (!dims[i])
            zero = true; /* still look at the others: [0, -1] is wrong, [2^40, 2^40, 0] is merely empty */
        else if (!zero && !pare_mul_ok(n, (uint64_t)dims[i], &n))
            return false;
    }
    *out = zero ? 0 : n;
    return true;
}

/* ---- borrowing ---- */

static pare_status no_memory(pare_diags *d, const pare_tensor *t) {
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = "memory.tensor",
                         .tensor = t->name,
                         .message = "no memory for a tensor's bytes",
                         .hint = "close other programs, or use a machine with more memory"};
    pare_diags_add(d, &it);
    return PARE_ENOMEM;
}

static pare_status replace_blob(pare_tensor *t, pare_diags *d, bool keep) {
    pare_blob *b = pare_blob_new(t->blob->len);
    if (!b) return no_memory(d, t);
    if (keep) pare_blob_copy(t->blob, b->data); /* a file's pages were read once and may go */
    pare_blob_unref(t->blob);
    t->blob = b;
    return PARE_OK;
}

pare_status pare_tensor_read(pare_tensor *t, pare_diags *d, const void **data) {
    *data = NULL;
    if (!t->blob) return PARE_OK;
    if (t->blob->maker || (uintptr_t)t->blob->data % ALIGN) {
        pare_status st = replace_blob(t, d, true);
        if (st) return st;
    }
    *data = t->blob->data;
    return PARE_OK;
}

static pare_status tensor_write(pare_tensor *t, pare_diags *d, void **data, bool keep) {
    *data = NULL;
    if (!t->blob) return PARE_OK;
    if (!t->blob->owned || t->blob->maker || __atomic_load_n(&t->blob->refs, __ATOMIC_ACQUIRE) > 1) {
        pare_status st = replace_blob(t, d, keep);
        if (st) return st;
    }
    t->version++;
    *data = t->blob->data;
    return PARE_OK;
}

pare_status pare_tensor_write(pare_tensor *t, pare_diags *d, void **data) { return tensor_write(t, d, data, true); }

pare_status pare_tensor_overwrite(pare_tensor *t, pare_diags *d, void **data) {
    return tensor_write(t, d, data, false);
}

/* ---- counting ---- */

enum { BLOCK = 1 << 18 }; /* elements a task; even, so that packed ones start at a byte */

typedef struct counter {
    const unsigned char *data;
    uint32_t dtype, bits;
    uint64_t count;
    uint64_t *sums; /* one a block */
} counter;

/* Elements of w bits that are non-zero after masking the sign of floats away. memcpy keeps the loads legal for
 * blobs at odd offsets of a mapped file; compilers make plain vector loads of it. */
#define COUNT_LOOP(T, mask)                                                                                            \
    for (uint64_t i = from; i < to; i++) {                                                                             \
        T x;                                                                                                           \
        memcpy(&x, c->data + i * sizeof x, sizeof x);                                                                  \
        n += (x & (T)(mask)) != 0;                                                                                     \
    }

static void count_block(void *ctx, uint64_t block) {
    counter *c = ctx;
    uint64_t from = block * BLOCK, to = from + BLOCK < c->count ? from + BLOCK : c->count, n = 0;
    bool is_float = pare_dtype_kind(c->dtype) == 'f' && c->dtype != PARE_FLOAT8E8M0;
    /* the fnuz kinds have no negative zero: 0x80 is NaN */
    bool signless = c->dtype == PARE_FLOAT8E4M3FNUZ || c->dtype == PARE_FLOAT8E5M2FNUZ;
    switch (c->bits) {
    case 8: COUNT_LOOP(uint8_t, is_float && !signless ? 0x7f : 0xff) break;
    case 16: COUNT_LOOP(uint16_t, is_float ? 0x7fff : 0xffff) break;
    case 32: COUNT_LOOP(uint32_t, is_float ? 0x7fffffff : 0xffffffff) break;
    case 64:
        if (c->dtype == PARE_COMPLEX64) {
            COUNT_LOOP(uint64_t, 0x7fffffff7fffffff)
        } else {
            COUNT_LOOP(uint64_t, is_float ? INT64_MAX : UINT64_MAX)
        }
        break;
    case 128:
        for (uint64_t i = from; i < to; i++) {
            uint64_t x[2];
            memcpy(x, c->data + i * sizeof x, sizeof x);
            n += ((x[0] | x[1]) & INT64_MAX) != 0;
        }
        break;
    case 4:
        for (uint64_t i = from; i < to; i++)
            n += (c->data[i / 2] >> (i % 2 * 4) & (c->dtype == PARE_FLOAT4E2M1 ? 7 : 15)) != 0;
        break;
    case 6: /* four in three bytes; the sign is bit 5 */
        for (uint64_t i = from; i < to; i++) {
            uint64_t bit = i * 6;
            uint32_t two = c->data[bit / 8];
            if (bit % 8 > 2) two |= (uint32_t)c->data[bit / 8 + 1] << 8;
            n += (two >> bit % 8 & 0x1f) != 0;
        }
        break;
    case 2:
        for (uint64_t i = from; i < to; i++) n += (c->data[i / 4] >> (i % 4 * 2) & 3) != 0;
        break;
    default: break;
    }
    c->sums[block] = n;
}

pare_status pare_tensor_nonzero(pare_tensor *t, pare_diags *d, uint64_t *out) {
    if (t->dtype == PARE_STRING || !t->blob) {
        *out = t->count;
        return PARE_OK;
    }
    if (t->blob->maker) {
        const void *made;
        pare_status st = pare_tensor_read(t, d, &made);
        if (st) return st;
    }
    uint64_t blocks = (t->count + BLOCK - 1) / BLOCK, total = 0;
    counter c = {t->blob->data, t->dtype, pare_dtype_bits(t->dtype), t->count, pare_xcalloc(blocks, sizeof *c.sums)};
    pare_parallel(blocks, count_block, &c);
    for (uint64_t i = 0; i < blocks; i++) total += c.sums[i];
    free(c.sums);
    *out = total;
    return PARE_OK;
}
