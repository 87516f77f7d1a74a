/* model/onnx_write.c - a model becomes an ONNX file, streamed: see onnx.h.
 *
 * protobuf-c packs straight from the model's memory into the sinks; nothing the size of the model is allocated.
 * What the file says is decided in onnx_build.c. May use: onnx_build.h, base/hash.h.
 */
#include "base/hash.h"
#include "model/onnx.h"
#include "model/onnx_build.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL = 64 * 1024,   /* pieces below this are gathered */
    CHUNK = 1024 * 1024, /* what goes to all sinks before the next: stays in the cache meanwhile */
    SIDE = 2,            /* the first sinks, file and hash, take large chunks side by side */
    EXTERNAL_MIN = 1024
};

/* ---- one stream, several sinks ---- */

typedef struct outlet {
    ProtobufCBuffer base; /* first: protobuf-c hands this back */
    pare_sink sinks[3];
    size_t n_sinks;
    pare_status st, side_st[SIDE];
    const unsigned char *side_data;
    size_t side_len;
    uint64_t written;
    size_t used;
    unsigned char small[SMALL];
} outlet;

static void side_write(void *ctx, uint64_t i) {
    outlet *o = ctx;
    o->side_st[i] = o->sinks[i].write(o->sinks[i].ctx, o->side_data, o->side_len);
}

static void outlet_write(outlet *o, const unsigned char *data, size_t n) {
    while (n && !o->st) {
        size_t now = n < CHUNK ? n : CHUNK, i = 0;
        if (pare_cancelled()) o->st = PARE_ECANCELLED;
        if (now == CHUNK && o->n_sinks >= SIDE && !o->st) {
            o->side_data = data;
            o->side_len = now;
            pare_parallel(SIDE, side_write, o);
            for (; i < SIDE; i++) o->st = o->st ? o->st : o->side_st[i];
        }
        for (; i < o->n_sinks && !o->st; i++) o->st = o->sinks[i].write(o->sinks[i].ctx, data, now);
        o->written += now;
        data += now;
        n -= now;
    }
}

static void outlet_flush(outlet *o) {
    outlet_write(o, o->small, o->used);
    o->used = 0;
}

static void outlet_append(ProtobufCBuffer *base, size_t n, const uint8_t *data) {
    outlet *o = (outlet *)base;
    if (o->st) return;
    if (o->used + n > SMALL) outlet_flush(o);
    if (n >= SMALL) {
        outlet_write(o, data, n);
    } else if (n) {
        memcpy(o->small + o->used, data, n);
        o->used += n;
    }
}

static void outlet_sink(outlet *o, pare_sink s) { o->sinks[o->n_sinks++] = s; }

static pare_status outlet_pack(outlet *o, const Onnx__ModelProto *pb) {
    o->base.append = outlet_append;
    protobuf_c_message_pack_to_buffer(&pb->base, &o->base);
    outlet_flush(o);
    return o->st;
}

static bool fits(const Onnx__ModelProto *pb) { return protobuf_c_message_get_packed_size(&pb->base) <= PARE_ONNX_MAX; }

static pare_status too_large(pare_diags *d, const char *path, const char *hint) {
    return pare_fail_file(d, PARE_EINVAL, path, "model.too-large", hint,
                          "the model takes more than %d bytes, where protobuf ends", PARE_ONNX_MAX);
}

pare_status pare_onnx_stream(pare_model *m, pare_sink to, pare_diags *d) {
    pare_onnx_builder b = {.m = m};
    outlet *o = pare_xcalloc(1, sizeof *o);
    const Onnx__ModelProto *pb = pare_onnx_build(&b);
    outlet_sink(o, to);
    pare_status st = fits(pb) ? outlet_pack(o, pb) : too_large(d, m->path ? m->path : "model", NULL);
    free(o);
    pare_onnx_builder_free(&b);
    return st;
}

/* ---- files ---- */

typedef struct writer {
    const char *path;
    pare_diags *d;
    const pare_onnx_write_opts *opts;
    pare_onnx_builder b;
    const Onnx__ModelProto *pb;
    char *data_path;
    pare_file_out *data, *file; /* written, not yet under their names */
    uint64_t bytes;
} writer;

static pare_status writer_build(writer *w) {
    pare_external mode = w->opts->external;
    w->data_path = pare_xmalloc(strlen(w->path) + sizeof ".data");
    strcat(strcpy(w->data_path, w->path), ".data");
    w->b.external_min = w->opts->external_min ? w->opts->external_min : EXTERNAL_MIN;
    if (mode == PARE_EXTERNAL_ON) w->b.location = pare_path_base(w->data_path);
    w->pb = pare_onnx_build(&w->b);
    if (fits(w->pb)) return PARE_OK;
    if (mode == PARE_EXTERNAL_OFF) return too_large(w->d, w->path, "let its weights go to a data file beside it");
    if (mode == PARE_EXTERNAL_AUTO) {
        const pare_model *m = w->b.m;
        pare_onnx_builder again = {.m = m, .external_min = w->b.external_min, .location = pare_path_base(w->data_path)};
        pare_onnx_builder_free(&w->b);
        w->b = again;
        w->pb = pare_onnx_build(&w->b);
        if (fits(w->pb)) return PARE_OK;
    }
    return too_large(w->d, w->path, NULL);
}

/* The data file, when tensors go there: zeros up to each tensor's offset, then its bytes. */
static pare_status write_data(writer *w) {
    static const unsigned char zeros[4096];
    if (!w->b.pieces.len) return PARE_OK;
    pare_status st = pare_file_out_open(w->data_path, w->d, &w->data);
    if (st) return st;
    outlet *o = pare_xcalloc(1, sizeof *o);
    outlet_sink(o, pare_file_out_sink(w->data));
    for (size_t i = 0; i < w->b.pieces.len && !o->st; i++) {
        const pare_onnx_piece *p = &w->b.pieces.data[i];
        outlet_write(o, zeros, (size_t)(p->offset - o->written)); /* below a page, as offsets are aligned up */
        outlet_write(o, p->tensor->blob->data, (size_t)p->tensor->blob->len);
    }
    w->bytes += o->written;
    st = o->st;
    free(o);
    return st;
}

static pare_status write_model(writer *w) {
    pare_status st = pare_file_out_open(w->path, w->d, &w->file);
    if (st) return st;
    outlet *o = pare_xcalloc(1, sizeof *o);
    pare_sha256 *hash = w->opts->sha256 ? pare_sha256_new() : NULL;
    outlet_sink(o, pare_file_out_sink(w->file));
    if (hash) outlet_sink(o, pare_sha256_sink(hash));
    if (w->opts->also.write) outlet_sink(o, w->opts->also);
    st = outlet_pack(o, w->pb);
    w->bytes += o->written;
    if (hash) pare_sha256_end(hash, w->opts->sha256);
    free(o);
    return st;
}

/* Both are whole; the data goes first, so that the model never names data that isn't there. */
static pare_status commit(writer *w) {
    pare_status st = PARE_OK;
    bool fresh = w->data && pare_path_what(w->data_path) == PARE_PATH_NONE;
    if (w->data) {
        st = pare_file_out_commit(w->data);
        w->data = NULL;
        if (st) return st;
    }
    st = pare_file_out_commit(w->file);
    w->file = NULL;
    if (st && fresh) pare_file_remove(w->data_path);
    return st;
}

pare_status pare_onnx_write(pare_model *m, const char *path, const pare_onnx_write_opts *opts, pare_diags *d) {
    static const pare_onnx_write_opts defaults;
    writer w = {.path = path, .d = d, .opts = opts ? opts : &defaults, .b = {.m = m}};
    pare_status st = writer_build(&w);
    if (!st) st = write_data(&w);
    if (!st) st = write_model(&w);
    if (!st) st = commit(&w);
    if (!st && w.opts->bytes) *w.opts->bytes = w.bytes;
    pare_file_out_abort(w.data);
    pare_file_out_abort(w.file);
    pare_onnx_builder_free(&w.b);
    free(w.data_path);
    return st;
}
