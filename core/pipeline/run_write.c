/* pipeline/run_write.c - a run's models as they go out: plain, gzipped, packed. See run_parts.h. */
#include "base/gzip.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "pipeline/carry.h"
#include "pipeline/run_parts.h"

#include <inttypes.h>

static pare_external external_of(pare_switch s) {
    return s == PARE_ON ? PARE_EXTERNAL_ON : s == PARE_OFF ? PARE_EXTERNAL_OFF : PARE_EXTERNAL_AUTO;
}

/* The data file beside a written model, relative to the work folder; NULL: there is none. */
static const char *data_of(pare_run *r, const char *rel) {
    const char *data = pare_arena_printf(&r->arena, "%s.data", rel);
    return pare_path_what(pare_run_path(r, data)) == PARE_PATH_FILE ? data : NULL;
}

typedef struct gz_out { /* where the gzip stream goes; file NULL: it is only counted */
    pare_gzip *z;
    pare_file_out *file;
} gz_out;

static pare_status gz_open(pare_run *r, const char *gz, gz_out *out) {
    if (!gz && !r->p->report.gzip) return PARE_OK;
    if (gz) {
        pare_status st = pare_file_out_open(pare_run_path(r, gz), r->d, &out->file);
        if (st) return st;
    }
    out->z = pare_gzip_new(out->file ? pare_file_out_sink(out->file) : (pare_sink){0}, r->d);
    return PARE_OK;
}

pare_status pare_run_carry(pare_run *r, size_t i, pare_model *m) {
    const pare_pipeline_model *pm = &r->p->models[i];
    const pare_data_preprocess *given = pare_carry_given(r->p, pm);
    if (!given && !r->p->data.n_sets) return PARE_OK;
    pare_data_preprocess pre;
    pare_status st = pare_carry_preprocess(given, m, pm->name, r->d, &pre, NULL);
    if (st) return st;
    pare_classes classes;
    pare_classes_of_pipeline(r->p, &classes);
    pare_carry_write(m, &pre, &classes);
    pare_classes_free(&classes);
    return PARE_OK;
}

pare_status pare_run_write_model(pare_run *r, pare_model *m, const char *rel, const char *gz, pare_metrics *mx,
                                 char *sha256) {
    gz_out out = {0};
    uint64_t bytes = 0, gz_bytes = 0;
    if (r->p->output.external_data == PARE_ON) gz = NULL;
    pare_progress_sink through = {.p = r->o->progress};
    pare_status st = gz_open(r, gz, &out);
    if (!st && out.z) { /* what takes long */
        pare_metrics size = pare_metrics_none();
        through.next = pare_gzip_sink(out.z);
        if (!pare_metrics_stream(m, false, NULL, NULL, &size)) through.total = (uint64_t)size.bytes;
    }
    if (!st) {
        pare_onnx_write_opts opts = {.external = external_of(r->p->output.external_data),
                                     .sha256 = sha256,
                                     .also = out.z ? pare_progress_through(&through) : (pare_sink){0},
                                     .bytes = &bytes};
        st = pare_onnx_write(m, pare_run_path(r, rel), &opts, r->d);
    }
    if (st)
        pare_gzip_abort(out.z);
    else if (out.z)
        st = pare_gzip_end(out.z, &gz_bytes);
    bool external = !st && data_of(r, rel);
    if (out.file && (st || external)) {
        pare_file_out_abort(out.file);
    } else if (out.file) {
        st = pare_file_out_commit(out.file);
    }
    if (st) return st;
    mx->bytes = (int64_t)bytes;
    if (out.z && !external) mx->gzip_bytes = (int64_t)gz_bytes;
    if (external && r->p->report.gzip && bytes < INT32_MAX) { /* what the file would be with its weights inside */
        pare_metrics whole = pare_metrics_none();
        st = pare_metrics_stream(m, true, r->o->progress, r->d, &whole);
        mx->gzip_bytes = whole.gzip_bytes;
    }
    return st;
}

static void add_output(pare_run *r, const char *rel, const char *sha256) {
    const char *path = pare_arena_strdup(&r->arena, rel);
    pare_lock_file f = {.name = path, .path = path, .sha256 = pare_arena_strdup(&r->arena, sha256)};
    pare_file_size(pare_run_path(r, rel), &f.bytes);
    pare_vec_push(&r->lock_out, f);
    pare_report_add_output(r->report, rel, sha256, f.bytes);
}

/* One that was not hashed while it was written. */
static pare_status add_output_of_file(pare_run *r, const char *rel) {
    char hex[PARE_SHA256_HEX];
    pare_status st = pare_sha256_file(pare_run_path(r, rel), r->d, hex);
    if (!st) add_output(r, rel, hex);
    return st;
}

pare_status pare_run_write_file(pare_run *r, const char *rel, const void *bytes, uint64_t n, json_t *files) {
    char hex[PARE_SHA256_HEX];
    pare_sha256 *sha = pare_sha256_new();
    pare_sha256_add(sha, bytes, (size_t)n);
    pare_sha256_end(sha, hex);
    pare_status st = pare_file_write(pare_run_path(r, rel), bytes, (size_t)n, r->d);
    if (st) return st;
    add_output(r, rel, hex);
    json_array_append_new(
        files, json_pack("{s:o, s:s, s:I}", "path", pare_json_str(rel), "sha256", hex, "bytes", (json_int_t)n));
    return PARE_OK;
}

/* Why a packed form that was asked for is not there. */
static void say_not_packed(pare_run *r, const char *rel, const pare_pack_result *res) {
    if (r->p->output.pack != PARE_ON) return;
    pare_say_at(r->d, PARE_WARNING, r->p->output.at, "run.not-packed",
                res->why_not
                    ? NULL
                    : "packed are initializers of the main graph of at least 4 KiB, in float32, float16, bfloat16, "
                      "float64 or 8 bits, that are no graph inputs or outputs and have enough zeros",
                "%s was not written: %s", rel, res->why_not ? res->why_not : "no weight gets smaller by packing");
}

/* The packed form of a final model, where it is asked for or pays. */
static pare_status write_packed(pare_run *r, pare_model *m, const char *rel, pare_metrics *mx) {
    if (r->p->output.pack == PARE_OFF) return PARE_OK;
    pare_model *packed = pare_model_clone(m);
    pare_pack_result res = {0};
    pare_metrics size = pare_metrics_none();
    char hex[PARE_SHA256_HEX];
    pare_status st = pare_model_pack(packed, r->d, &res);
    if (!st && res.tensors_packed) st = pare_metrics_stream(packed, false, NULL, r->d, &size);
    if (!st && !res.tensors_packed) say_not_packed(r, rel, &res);
    bool pays = size.bytes >= 0 && (r->p->output.pack == PARE_ON || size.bytes <= mx->bytes - mx->bytes / 10);
    if (!st && pays) {
        pare_onnx_write_opts opts = {.external = PARE_EXTERNAL_OFF, .sha256 = hex};
        st = pare_onnx_write(packed, pare_run_path(r, rel), &opts, r->d);
        if (!st) mx->packed_bytes = size.bytes;
        if (!st) add_output(r, rel, hex);
    }
    pare_model_free(packed);
    return st;
}

pare_status pare_run_write_final(pare_run *r, size_t i) {
    pare_pipeline_ref last = r->p->models[i].last;
    pare_run_slot *s = pare_run_slot_of(r, last);
    pare_metrics *mx = last.kind == PARE_REF_MODEL ? &r->report->input[i] : &r->report->steps.data[last.i].metrics;
    bool main_model = i == r->p->main_model;
    const char *stem = main_model ? "model" : pare_arena_printf(&r->arena, "models/%s", r->p->models[i].name);
    const char *rel = pare_arena_printf(&r->arena, "%s.onnx", stem);
    pare_status st = PARE_OK;
    if (!main_model) st = pare_dir_make(pare_run_path(r, "models"), r->d);
    if (st) return st;
    if (s->file && !data_of(r, s->file)) {
        st = pare_path_link(pare_run_path(r, s->file), pare_run_path(r, rel), r->d);
    } else { /* a copy, or a step's with external data: readers refuse data files that have several names */
        pare_metrics written = pare_metrics_none();
        const char *gz = main_model && r->p->output.gzip == PARE_ON ? "model.onnx.gz" : NULL;
        pare_run_hash_start(r); /* of what came in, before it carries anything */
        st = pare_run_carry(r, i, s->model);
        if (!st) st = pare_run_write_model(r, s->model, rel, gz, &written, s->sha256);
    }
    if (st) return st;
    add_output(r, rel, s->sha256);
    const char *data = data_of(r, rel);
    if (data) st = add_output_of_file(r, data);
    if (!st && main_model && pare_path_what(pare_run_path(r, "model.onnx.gz")) == PARE_PATH_FILE)
        st = add_output_of_file(r, "model.onnx.gz");
    if (!st) st = write_packed(r, s->model, pare_arena_printf(&r->arena, "%s.packed.onnx", stem), mx);
    return st;
}
