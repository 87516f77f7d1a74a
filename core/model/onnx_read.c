/* model/onnx_read.c - an ONNX file becomes a model: see onnx.h.
 *
 * Order of things: the walk checks the bytes and makes the skeleton (onnx_walk.c), protobuf-c unpacks the skeleton, and
 * here names become ids. What is wrong is collected, so that one run shows several errors. Tensors are read by
 * onnx_tensor.c, graphs by onnx_graph.c, files that are something else are named by onnx_sniff.c.
 * May use: onnx_parts.h, edit.h, the generated onnx.pb-c.h.
 */
#include "model/edit.h"
#include "model/onnx.h"
#include "model/onnx_graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_ENOUGH = 20 };

/* ---- errors ---- */

void pare_onnx_error(pare_onnx_reader *r, pare_status st, const char *code, const char *tensor, const char *node,
                     const char *hint, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_diag_item item = {.severity = PARE_ERROR,
                           .code = code,
                           .message = pare_sb_str(&b),
                           .hint = hint,
                           .path = r->path,
                           .tensor = tensor && tensor[0] ? tensor : NULL,
                           .node = node && node[0] ? node : NULL};
    if (r->d) pare_diags_add(r->d, &item);
    pare_sb_free(&b);
    r->errors++;
    if (!r->st) r->st = st;
}

bool pare_onnx_enough(const pare_onnx_reader *r) { return r->errors >= ERRORS_ENOUGH; }

/* ---- the model around the graph ---- */

pare_bytes pare_onnx_extra(pare_model *m, const ProtobufCMessage *msg) {
    pare_sb b = {0};
    for (unsigned i = 0; i < msg->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &msg->unknown_fields[i];
        pare_wire_put_varint(&b, (uint64_t)u->tag << 3 | (unsigned)u->wire_type);
        pare_sb_addn(&b, (const char *)u->data, u->len);
    }
    pare_bytes out = {NULL, 0};
    if (b.len) out = (pare_bytes){pare_arena_memdup(&m->arena, b.data, b.len), b.len};
    pare_sb_free(&b);
    return out;
}

const char *pare_onnx_domain(pare_model *m, const char *domain) {
    return domain && strcmp(domain, "ai.onnx") != 0 ? pare_arena_strdup(&m->arena, domain) : "";
}

static void opsets_read(pare_onnx_reader *r, const Onnx__ModelProto *pb) {
    pare_model *m = r->m;
    pare_map seen = {0};
    uint32_t before;
    m->opsets.len = 0;
    for (size_t i = 0; i < pb->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = pb->opset_import[i];
        pare_opset s = {pare_onnx_domain(m, o->domain), o->has_version ? o->version : 0, pare_onnx_extra(m, &o->base)};
        const char *shown = s.domain[0] ? s.domain : "ai.onnx";
        if (s.version < 0)
            pare_onnx_error(r, PARE_EINVAL, "model.opset", NULL, NULL, NULL,
                            "the model imports operator set %s at version %" PRId64, shown, s.version);
        if (pare_map_get(&seen, s.domain, &before))
            pare_onnx_error(r, PARE_EINVAL, "model.opset", NULL, NULL, NULL,
                            "the model imports operator set %s twice, at versions %" PRId64 " and %" PRId64, shown,
                            m->opsets.data[before].version, s.version);
        if (pare_onnx_enough(r)) break;
        pare_map_set(&seen, s.domain, (uint32_t)m->opsets.len);
        pare_vec_push(&m->opsets, s);
    }
    pare_map_free(&seen);
    if (!m->opsets.len)
        pare_onnx_error(r, PARE_EINVAL, "model.opset", NULL, NULL, "the file may be cut off: copy or download it again",
                        "the model imports no operator set");
}

static void head_read(pare_onnx_reader *r, const Onnx__ModelProto *pb) {
    pare_model *m = r->m;
    m->ir_version = pb->ir_version;
    m->producer_name = pare_arena_strdup(&m->arena, pb->producer_name);
    m->producer_version = pare_arena_strdup(&m->arena, pb->producer_version);
    m->domain = pare_arena_strdup(&m->arena, pb->domain);
    m->doc_string = pare_arena_strdup(&m->arena, pb->doc_string);
    m->has_model_version = pb->has_model_version;
    m->model_version = pb->has_model_version ? pb->model_version : 0;
    opsets_read(r, pb);
    for (size_t i = 0; i < pb->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *e = pb->metadata_props[i];
        pare_meta meta = {pare_arena_strdup(&m->arena, e->key ? e->key : ""),
                          pare_arena_strdup(&m->arena, e->value ? e->value : "")};
        pare_vec_push(&m->metadata, meta);
    }
    for (size_t i = 0; i + 1 < pb->n_functions_at; i += 2)
        pare_vec_push(&m->functions, pare_onnx_place(r, &pb->functions_at[i]));
    for (unsigned i = 0; i < pb->base.n_unknown_fields; i++)
        m->has_training_info |= pb->base.unknown_fields[i].tag == 20;
    m->extra = pare_onnx_extra(m, &pb->base);
}

static void model_read(pare_onnx_reader *r, const Onnx__ModelProto *pb) {
    if (!pb->graph || !pb->has_ir_version) {
        char *what = pare_onnx_sniff(r->file->data, (size_t)r->file->len);
        pare_onnx_error(r, PARE_EINVAL, "model.not-onnx", NULL, NULL, NULL, "not an ONNX model: %s%s",
                        what ? "it looks like " : "",
                        what         ? what
                        : !pb->graph ? "it holds no graph"
                                     : "it has no ir_version");
        free(what);
        return;
    }
    if (pb->ir_version < 3) {
        pare_onnx_error(r, PARE_EUNSUPPORTED, "model.ir-version", NULL, NULL,
                        "export the model again with a newer tool",
                        "the model has ONNX IR version %" PRId64 "; 3 and newer can be read", pb->ir_version);
        return;
    }
    head_read(r, pb);
    pare_model_graph(r->m, PARE_MAIN_GRAPH)->name =
        pare_arena_strdup(&r->m->arena, pb->graph->name ? pb->graph->name : "");
    pare_onnx_graph(r, PARE_MAIN_GRAPH, pb->graph);
}

/* ---- from bytes ---- */

static void *arena_alloc(void *arena, size_t n) { return pare_arena_alloc(arena, n); }
static void arena_keep(void *arena, void *p) {
    (void)arena;
    (void)p; /* the whole arena goes at once */
}

static void skeleton_read(pare_onnx_reader *r, pare_onnx_skeleton *s) {
    pare_arena arena = {0};
    ProtobufCAllocator allocator = {arena_alloc, arena_keep, &arena};
    ProtobufCMessage *msg = protobuf_c_message_unpack(&onnx__model_proto__descriptor, &allocator, s->bytes.len,
                                                      s->bytes.data ? s->bytes.data : (const uint8_t *)"");
    pare_vec_free(&s->bytes);
    if (msg)
        model_read(r, (const Onnx__ModelProto *)msg);
    else
        pare_onnx_error(r, PARE_EINVAL, "model.malformed", NULL, NULL, NULL, "the file can't be unpacked");
    pare_arena_free(&arena);
}

static void file_read(pare_onnx_reader *r) {
    const pare_map_file *f = r->file;
    pare_onnx_skeleton skeleton = {0};
    pare_onnx_problem why = {0};
    if (!f->len) {
        pare_onnx_error(r, PARE_EINVAL, "model.not-onnx", NULL, NULL, NULL, "not an ONNX model: the file is empty");
    } else if (f->len > PARE_ONNX_MAX) {
        pare_onnx_error(r, PARE_EINVAL, "model.too-large", NULL, NULL,
                        "keep the weights in an external data file beside it",
                        "%" PRIu64 " bytes, but protobuf ends at %d", f->len, PARE_ONNX_MAX);
    } else if (pare_onnx_walk(f->data, (size_t)f->len, &skeleton, &why)) {
        char *what = pare_onnx_sniff(f->data, (size_t)f->len);
        if (what)
            pare_onnx_error(r, PARE_EINVAL, "model.not-onnx", NULL, NULL, NULL, "not an ONNX model: it looks like %s",
                            what);
        else
            pare_onnx_error(r, PARE_EINVAL, why.code, NULL, NULL, why.hint, "%s", why.text);
        free(what);
    } else {
        skeleton_read(r, &skeleton);
    }
    if (!r->st) r->st = pare_model_check(r->m, r->d);
}

static pare_status read_file(pare_map_file *file, const char *path, bool in_memory, pare_diags *d, pare_model **out) {
    pare_onnx_reader r = {.m = pare_model_new(""), .file = file, .path = path, .in_memory = in_memory, .d = d};
    r.m->file = file;               /* the model has our reference now */
    r.m->path = pare_xstrdup(path); /* for messages; a model in memory came from nowhere */
    file_read(&r);
    for (size_t i = 0; i < r.externals.len; i++)
        if (r.externals.data[i].file) pare_vec_push(&r.m->data_files, pare_map_file_ref(r.externals.data[i].file));
    pare_onnx_externals_free(&r);
    if (r.st) {
        pare_model_free(r.m);
        return r.st;
    }
    if (in_memory) {
        free(r.m->path);
        r.m->path = NULL;
    }
    *out = r.m;
    return PARE_OK;
}

pare_status pare_onnx_read(const char *path, pare_diags *d, pare_model **out) {
    pare_map_file *file = NULL;
    pare_status st = pare_map_file_open(path, d, &file);
    return st ? st : read_file(file, path, false, d, out);
}

pare_status pare_onnx_read_bytes(const void *data, size_t n, const char *name, pare_diags *d, pare_model **out) {
    unsigned char *copy = pare_try_alloc(n);
    if (!copy) return pare_fail_file(d, PARE_ENOMEM, name, "memory", NULL, "no memory for a model of %zu bytes", n);
    if (n) memcpy(copy, data, n);
    pare_map_file *file = pare_xcalloc(1, sizeof *file);
    *file = (pare_map_file){.data = copy, .len = n, .path = pare_xstrdup(name), .refs = 1};
    return read_file(file, name, true, d, out);
}
