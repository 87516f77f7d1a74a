/* data/store_idx.c - see store.h: IDX files, as MNIST and its kin come, plain (mapped) or gzipped (inflated in memory).
 *
 * Source: Yann LeCun's page of MNIST: 0 0 TYPE NDIM, NDIM big-endian u32 dims, the elements. May use: zlib.
 */
#include "data/store.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { DEFLATE_RATIO = 1100 }; /* deflate makes at most 1032 bytes of one */

typedef struct idx {
    const char *path;
    uint32_t dims[3];
    uint64_t count; /* elements */
    const unsigned char *data;
    void *owned; /* data, when inflated */
    pare_map_file *file;
} idx;

/* Bytes that come out of a file, inflated or not. */
typedef struct stream {
    pare_map_file *file;
    uint64_t at;
    z_stream z;
    bool gzip, ended;
} stream;

/* Up to n bytes; *got tells how many. false: damaged. */
static bool stream_take(stream *s, unsigned char *to, uint64_t n, uint64_t *got) {
    *got = 0;
    if (!s->gzip) {
        *got = s->file->len - s->at < n ? s->file->len - s->at : n;
        memcpy(to, s->file->data + s->at, *got);
        s->at += *got;
        return true;
    }
    while (*got < n && !s->ended) {
        uint64_t in = s->file->len - s->at < (1u << 30) ? s->file->len - s->at : 1u << 30;
        uint64_t room = n - *got < (1u << 30) ? n - *got : 1u << 30;
        s->z.next_in = (unsigned char *)(uintptr_t)(s->file->data + s->at);
        s->z.avail_in = (uInt)in;
        s->z.next_out = to + *got;
        s->z.avail_out = (uInt)room;
        int rc = inflate(&s->z, Z_NO_FLUSH);
        s->at += in - s->z.avail_in;
        *got += room - s->z.avail_out;
        s->ended = rc == Z_STREAM_END;
        if (rc != Z_OK && rc != Z_STREAM_END) return false;
    }
    return true;
}

static pare_status damaged(const char *path, pare_diags *d, const char *why) {
    return pare_fail_file(d, PARE_EINVAL, path, "data.idx", "the file is damaged or cut short: fetch it again", "%s",
                          why);
}

/* Header and elements of a file of ndim dims. */
static pare_status idx_read(stream *s, const char *path, uint32_t ndim, pare_diags *d, idx *out) {
    unsigned char head[16], extra;
    uint64_t got, n = 4 + 4 * (uint64_t)ndim;
    if (!stream_take(s, head, n, &got)) return damaged(path, d, "its gzip stream can't be inflated");
    if (got < n) return damaged(path, d, "it ends within its header");
    if (head[0] || head[1] || head[2] != 8 || head[3] != ndim)
        return pare_fail_file(d, PARE_EINVAL, path, "data.idx", NULL,
                              "it begins with %02x%02x%02x%02x; IDX of unsigned bytes and %u dimensions begins with "
                              "000008%02x",
                              head[0], head[1], head[2], head[3], ndim, ndim);
    out->count = 1;
    bool ok = true;
    for (uint32_t i = 0; i < ndim; i++) {
        const unsigned char *p = head + 4 + (size_t)i * 4;
        out->dims[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        ok = ok && pare_mul_ok(out->count, out->dims[i], &out->count);
    }
    uint64_t most = s->gzip ? s->file->len * DEFLATE_RATIO : s->file->len - s->at;
    if (!ok || out->count > most)
        return pare_fail_file(d, PARE_EINVAL, path, "data.idx-size", "the file is damaged or cut short: fetch it again",
                              "its header promises more bytes than the file can hold");
    if (!s->gzip) {
        if (out->count != most)
            return pare_fail_file(d, PARE_EINVAL, path, "data.idx-size", NULL,
                                  "its header promises %" PRIu64 " bytes, and %" PRIu64 " follow", out->count, most);
        out->data = s->file->data + s->at;
        return PARE_OK;
    }
    out->owned = pare_store_alloc(out->count, 1, path, d);
    if (!out->owned) return PARE_ENOMEM;
    out->data = out->owned;
    if (!stream_take(s, out->owned, out->count, &got)) return damaged(path, d, "its gzip stream can't be inflated");
    if (got < out->count)
        return pare_fail_file(d, PARE_EINVAL, path, "data.idx-size", NULL,
                              "its header promises %" PRIu64 " bytes, and %" PRIu64 " follow", out->count, got);
    if (!stream_take(s, &extra, 1, &got)) return damaged(path, d, "its gzip stream can't be inflated");
    if (got)
        return pare_fail_file(d, PARE_EINVAL, path, "data.idx-size", NULL,
                              "its header promises %" PRIu64 " bytes, and more follow", out->count);
    if (!s->ended) return damaged(path, d, "its gzip stream has no end");
    return PARE_OK;
}

static void idx_free(idx *x) {
    free(x->owned);
    pare_map_file_unref(x->file);
}

static pare_status idx_open(const char *path, uint32_t ndim, pare_diags *d, idx *out) {
    stream s = {0};
    pare_status st = pare_map_file_open(path, d, &s.file);
    if (st != PARE_OK) return st;
    s.gzip = s.file->len >= 2 && s.file->data[0] == 0x1f && s.file->data[1] == 0x8b;
    out->file = s.file;
    out->path = path;
    if (s.gzip && inflateInit2(&s.z, 15 + 16) != Z_OK)
        return pare_fail_file(d, PARE_ENOMEM, path, "memory", NULL, "zlib could not be started");
    st = idx_read(&s, path, ndim, d, out);
    if (s.gzip) inflateEnd(&s.z);
    return st;
}

/* PREFIX + ending, plain or gzipped; NULL (reported): neither is there. */
static char *find(const char *prefix, const char *ending, pare_diags *d) {
    pare_sb b = {0};
    pare_sb_printf(&b, "%s%s", prefix, ending);
    if (pare_path_what(b.data) == PARE_PATH_NONE) {
        pare_sb_add(&b, ".gz");
        if (pare_path_what(b.data) == PARE_PATH_NONE) {
            pare_fail_file(d, PARE_ENOTFOUND, prefix, "data.missing",
                           "idx: PREFIX stands for PREFIX-images-idx3-ubyte[.gz] and PREFIX-labels-idx1-ubyte[.gz]",
                           "there is neither '%s%s' nor that with .gz", prefix, ending);
            pare_sb_free(&b);
            return NULL;
        }
    }
    return b.data;
}

pare_status pare_store_idx(pare_store *s, const pare_data_source *src, pare_diags *d) {
    idx images = {0}, labels = {0};
    char *image_path = find(src->path, "-images-idx3-ubyte", d);
    char *label_path = image_path ? find(src->path, "-labels-idx1-ubyte", d) : NULL;
    pare_status st = label_path ? PARE_OK : PARE_ENOTFOUND;
    if (st == PARE_OK) st = idx_open(image_path, 3, d, &images);
    if (st == PARE_OK) st = idx_open(label_path, 1, d, &labels);
    if (st == PARE_OK && images.dims[0] != labels.dims[0])
        st = pare_fail_file(d, PARE_EINVAL, label_path, "data.labels", NULL, "%u labels for %u images", labels.dims[0],
                            images.dims[0]);
    if (st == PARE_OK && images.dims[0] && !images.count)
        st = pare_fail_file(d, PARE_EINVAL, image_path, "data.idx", NULL, "images of %ux%u pixels hold nothing",
                            images.dims[2], images.dims[1]);
    if (st == PARE_OK && !(s->labels = pare_store_alloc(images.dims[0], sizeof *s->labels, label_path, d)))
        st = PARE_ENOMEM;
    if (st == PARE_OK) {
        s->count = images.dims[0];
        pare_store_source(s, image_path, 0, false);
        pare_store_source(s, label_path, 0, true);
        for (uint64_t i = 0; i < s->count; i++) s->labels[i] = labels.data[i];
        s->dtype = PARE_UINT8;
        s->ndim = 2;
        s->dims[0] = images.dims[1];
        s->dims[1] = images.dims[2];
        s->bytes = s->count ? images.count / s->count : 0;
        s->image = true;
        pare_vec_push(&s->runs, ((store_run){images.data, 0, s->bytes}));
        if (images.owned)
            s->owned = images.owned;
        else
            pare_vec_push(&s->files, pare_map_file_ref(images.file));
        images.owned = NULL;
    }
    idx_free(&images);
    idx_free(&labels);
    free(image_path);
    free(label_path);
    return st;
}
