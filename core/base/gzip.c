/* base/gzip.c - see gzip.h. The container is RFC 1952's, the blocks RFC 1951's.
 *
 * Input gathers in a buffer of a few blocks; when it is full and more comes, all its blocks are deflated in parallel
 * and written in order. Every block but the last ends with a sync flush, so that it stops at a byte.
 */
#include "base/gzip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    BLOCK = 256 * 1024, /* part of the format we promise: another size gives other bytes */
    WINDOW = 32 * 1024, /* deflate looks back this far */
    MAX_BLOCKS = 32,    /* in flight: bounds memory on machines with many cores */
    LEVEL = 6,
};

typedef struct block {
    z_stream z;
    bool ready;  /* z is initialised */
    bool failed; /* zlib had no memory */
    unsigned char *out;
    size_t cap, len;
    uint32_t crc;
} block;

struct pare_gzip {
    pare_sink to;
    pare_diags *d;
    pare_status st;
    unsigned char *in; /* WINDOW bytes of the past, then n_blocks * BLOCK */
    size_t used;       /* of the latter */
    size_t past;       /* bytes of the window that are real */
    uint32_t n_blocks;
    bool last; /* the blocks being deflated end the stream */
    block *blocks;
    uint32_t crc;
    uint64_t total, written;
};

pare_gzip *pare_gzip_new(pare_sink to, pare_diags *d) {
    pare_gzip *z = pare_xcalloc(1, sizeof *z);
    z->to = to;
    z->d = d;
    uint32_t threads = pare_threads();
    z->n_blocks = threads < 2 ? 1 : threads > MAX_BLOCKS / 2 ? MAX_BLOCKS : 2 * threads;
    z->in = pare_xmalloc(WINDOW + (size_t)z->n_blocks * BLOCK);
    z->blocks = pare_xcalloc(z->n_blocks, sizeof *z->blocks);
    z->crc = (uint32_t)crc32(0, NULL, 0);
    return z;
}

static size_t block_len(const pare_gzip *z, uint64_t i) {
    size_t at = (size_t)i * BLOCK;
    return z->used - at < BLOCK ? z->used - at : BLOCK;
}

static void deflate_block(void *ctx, uint64_t i) {
    pare_gzip *z = ctx;
    block *b = &z->blocks[i];
    if (!b->ready) {
        b->failed = true;
        if (deflateInit2(&b->z, LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) return;
        b->cap = deflateBound(&b->z, BLOCK) + 64; /* and a sync flush's marker */
        b->out = pare_xmalloc(b->cap);
        b->ready = true;
        b->failed = false;
    } else {
        deflateReset(&b->z);
    }
    size_t at = (size_t)i * BLOCK, n = block_len(z, i), past = i ? WINDOW : z->past;
    unsigned char *p = z->in + WINDOW + at;
    bool finish = z->last && at + n == z->used;
    if (past) deflateSetDictionary(&b->z, p - past, (uInt)past);
    b->z.next_in = p;
    b->z.avail_in = (uInt)n;
    b->z.next_out = b->out;
    b->z.avail_out = (uInt)b->cap;
    int rc = deflate(&b->z, finish ? Z_FINISH : Z_SYNC_FLUSH);
    b->failed = finish ? rc != Z_STREAM_END : rc != Z_OK || b->z.avail_in || !b->z.avail_out;
    b->len = b->cap - b->z.avail_out;
    b->crc = (uint32_t)crc32_z(crc32(0, NULL, 0), p, n);
}

static pare_status put(pare_gzip *z, const void *data, size_t n) {
    z->written += n;
    return z->to.write ? z->to.write(z->to.ctx, data, n) : PARE_OK;
}

/* Deflates what the buffer holds and passes it on. */
static pare_status drain(pare_gzip *z, bool last) {
    if (z->st != PARE_OK) return z->st;
    if (pare_cancelled()) return z->st = PARE_ECANCELLED;
    if (!z->written) {
        /* magic, deflate, no flags, mtime 0, no extra flags, OS unknown */
        static const unsigned char header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
        z->st = put(z, header, sizeof header);
    }
    uint64_t n = (z->used + BLOCK - 1) / BLOCK;
    if (!n && last) n = 1; /* an empty stream is still one block */
    z->last = last;
    if (z->st == PARE_OK) pare_parallel(n, deflate_block, z);
    for (uint64_t i = 0; i < n && z->st == PARE_OK; i++) {
        block *b = &z->blocks[i];
        if (b->failed) {
            z->st = pare_fail(z->d, PARE_ENOMEM, "gzip.memory", NULL, "out of memory while compressing");
            break;
        }
        size_t len = block_len(z, i);
        z->crc = (uint32_t)crc32_combine(z->crc, b->crc, (z_off_t)len);
        z->total += len;
        z->st = put(z, b->out, b->len);
    }
    if (z->used >= WINDOW) {
        memmove(z->in, z->in + z->used, WINDOW); /* the last WINDOW bytes of window and input together */
        z->past = WINDOW;
    }
    z->used = 0;
    return z->st;
}

static pare_status gzip_write(void *ctx, const void *data, size_t n) {
    pare_gzip *z = ctx;
    const unsigned char *p = data;
    size_t cap = (size_t)z->n_blocks * BLOCK;
    while (n && z->st == PARE_OK) {
        if (z->used == cap) { /* only now is it known that these blocks are not the last */
            drain(z, false);
            continue;
        }
        size_t k = cap - z->used < n ? cap - z->used : n;
        memcpy(z->in + WINDOW + z->used, p, k);
        z->used += k;
        p += k;
        n -= k;
    }
    return z->st;
}

pare_sink pare_gzip_sink(pare_gzip *z) { return (pare_sink){gzip_write, z}; }

pare_status pare_gzip_end(pare_gzip *z, uint64_t *bytes) {
    if (bytes) *bytes = 0;
    pare_status st = drain(z, true);
    if (st == PARE_OK) {
        unsigned char trailer[8];
        uint32_t size = (uint32_t)z->total; /* modulo 2^32, as RFC 1952 says */
        for (unsigned i = 0; i < 4; i++) {
            trailer[i] = (unsigned char)(z->crc >> 8 * i);
            trailer[4 + i] = (unsigned char)(size >> 8 * i);
        }
        st = put(z, trailer, sizeof trailer);
    }
    if (st == PARE_OK && bytes) *bytes = z->written;
    pare_gzip_abort(z);
    return st;
}

void pare_gzip_abort(pare_gzip *z) {
    if (!z) return;
    for (uint32_t i = 0; i < z->n_blocks; i++) {
        if (z->blocks[i].ready) deflateEnd(&z->blocks[i].z);
        free(z->blocks[i].out);
    }
    free(z->blocks);
    free(z->in);
    free(z);
}
