/* pipeline/run.c - see run.h. */
#include "pipeline/run.h"

#include "base/gzip.h"
#include "base/hash.h"
#include "base/random.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "pipeline/lock.h"
#include "plugin/step.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NEVER = -1 };

/* A model of the run: a pipeline model as it came in, or a step's result. */
typedef struct slot {
    pare_model *model;              /* NULL once nothing needs it any more */
    int64_t last_use;               /* the last step that works on it, or NEVER */
    const char *file;               /* where it was saved, relative to the run folder; NULL when it was not */
    char sha256[PARE_SHA256_HEX];
} slot;

typedef struct input_hash input_hash;

typedef struct run {
    const pare_pipeline *p;
    const pare_run_opts *o;
    pare_diags *d;
    pare_report *report;
    slot *models, *steps;
    uint64_t *seeds;
    input_hash *hashes; /* one a model */
    pare_job *hash_job;
    bool hashing; /* or done */
    PARE_VEC(pare_lock_file) lock_in, lock_out;
    pare_arena arena;
    char *dir, *work; /* the run folder and where it is put together */
    FILE *log;
    bool step_done;
} run;

static slot *slot_of(run *r, pare_pipeline_ref ref) {
    return ref.kind == PARE_REF_MODEL ? &r->models[ref.i] : &r->steps[ref.i];
}

static const char *in_work(run *r, const char *rel) { return pare_arena_printf(&r->arena, "%s/%s", r->work, rel); }

/* ---- where the run goes ---- */

static bool is_finished(const char *dir) {
    char *report = pare_path_join(dir, "report.json");
    bool yes = pare_path_what(report) == PARE_PATH_FILE;
    free(report);
    return yes;
}

static bool is_empty_dir(const char *dir) {
    size_t n = 0;
    char **names = pare_dir_list(dir, &n);
    bool yes = names && n == 0;
    pare_dir_list_free(names);
    return yes;
}

static pare_status choose_dir(run *r) {
    const char *want = r->o->out ? r->o->out : r->p->output.dir;
    size_t len = strlen(want);
    while (len > 1 && want[len - 1] == '/') len--;
    char *dir = pare_xstrndup(want, len);
    pare_path_kind kind = pare_path_what(dir);
    if (!r->o->out && !r->o->force) { /* a repeated run takes the next free name */
        for (unsigned i = 2; kind != PARE_PATH_NONE; i++) {
            pare_sb b = {0};
            pare_sb_printf(&b, "%.*s-%u", (int)len, want, i);
            free(dir);
            dir = pare_xstrdup(pare_sb_str(&b));
            pare_sb_free(&b);
            kind = pare_path_what(dir);
        }
    }
    r->dir = dir;
    if (kind == PARE_PATH_NONE || (kind == PARE_PATH_DIR && is_empty_dir(dir))) return PARE_OK;
    if (kind != PARE_PATH_DIR)
        return pare_fail(r->d, PARE_EINVAL, "run.not-a-folder", "name another folder with --out", "%s is not a folder",
                         dir);
    if (!is_finished(dir))
        return pare_fail(r->d, PARE_EINVAL, "run.folder-in-use", "name another folder with --out, or empty this one",
                         "%s holds files that are not those of a finished run", dir);
    if (!r->o->force)
        return pare_fail(r->d, PARE_EINVAL, "run.finished",
                         "give --force to replace it, or another folder with --out", "%s holds a finished run", dir);
    return PARE_OK;
}

static pare_status open_work(run *r) {
    pare_sb b = {0};
    pare_sb_printf(&b, "%s.partial", r->dir);
    r->work = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    pare_path_kind kind = pare_path_what(r->work);
    if (kind != PARE_PATH_NONE && pare_path_what(in_work(r, "log.txt")) != PARE_PATH_FILE &&
        !(kind == PARE_PATH_DIR && is_empty_dir(r->work)))
        return pare_fail(r->d, PARE_EINVAL, "run.folder-in-use", "move it away, or name another folder with --out",
                         "%s is in the way and was not left by an earlier run", r->work);
    pare_status st = pare_tree_remove(r->work, r->d);
    if (!st) st = pare_dir_make(r->work, r->d);
    if (st) return st;
    r->log = fopen(in_work(r, "log.txt"), "w");
    if (!r->log) return pare_fail(r->d, PARE_EIO, "run.log", NULL, "%s/log.txt can't be written", r->work);
    fprintf(r->log, "pare %s: %s\n", PARE_VERSION, r->p->path);
    pare_diags_set_log(r->d, r->log);
    return PARE_OK;
}

static void close_log(run *r) {
    if (!r->log) return;
    pare_diags_set_log(r->d, NULL);
    fclose(r->log);
    r->log = NULL;
}

/* The finished folder takes its name; an old run there (with --force) goes when the new one is whole. */
static pare_status publish(run *r) {
    char *old = NULL;
    pare_status st = PARE_OK;
    close_log(r);
    if (pare_path_what(r->dir) == PARE_PATH_DIR && !is_empty_dir(r->dir)) {
        pare_sb b = {0};
        pare_sb_printf(&b, "%s.old", r->dir);
        old = pare_xstrdup(pare_sb_str(&b));
        pare_sb_free(&b);
        st = pare_tree_remove(old, r->d);
        if (!st) st = pare_path_rename(r->dir, old, r->d);
    }
    if (!st) st = pare_path_rename(r->work, r->dir, r->d);
    if (!st && old) st = pare_tree_remove(old, r->d);
    free(old);
    return st;
}

/* ---- models in ---- */

static void count_uses(run *r) {
    for (size_t i = 0; i < r->p->n_models; i++) r->models[i].last_use = NEVER;
    for (size_t i = 0; i < r->p->n_steps; i++) {
        r->steps[i].last_use = NEVER;
        slot_of(r, r->p->steps[i].input)->last_use = (int64_t)i;
    }
}

static bool is_final(const run *r, pare_pipeline_ref ref) {
    for (size_t i = 0; i < r->p->n_models; i++)
        if (r->p->models[i].last.kind == ref.kind && r->p->models[i].last.i == ref.i) return true;
    return false;
}

static bool is_main_final(const run *r, pare_pipeline_ref ref) {
    pare_pipeline_ref last = r->p->models[r->p->main_model].last;
    return last.kind == ref.kind && last.i == ref.i;
}

static pare_status open_models(run *r) {
    for (size_t i = 0; i < r->p->n_models; i++) {
        const pare_pipeline_model *pm = &r->p->models[i];
        pare_metrics *mx = &r->report->input[i];
        pare_status st = pare_pipeline_model_open(r->p, pm, r->d, &r->models[i].model);
        if (!st) st = pare_metrics_counts(r->models[i].model, r->d, mx);
        if (!st && pm->onnx)
            st = pare_metrics_file(pm->onnx, r->p->report.gzip, r->d, mx);
        else if (!st)
            st = pare_metrics_stream(r->models[i].model, r->p->report.gzip, r->d, mx);
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
        if (st) return st;
    }
    return PARE_OK;
}

/* What a model was made of, for the lock: hashed beside the rest of the run, from a clone that shares its bytes. */
struct input_hash {
    const pare_pipeline_model *pm;
    pare_model *clone; /* of a zoo model; NULL for a file */
    char hex[PARE_SHA256_HEX], weights_hex[PARE_SHA256_HEX];
    pare_status st;
};

static void hash_inputs(void *ctx) {
    run *r = ctx;
    for (size_t i = 0; i < r->p->n_models; i++) {
        input_hash *h = &r->hashes[i];
        if (h->clone) {
            pare_sha256 *sha = pare_sha256_new();
            h->st = pare_onnx_stream(h->clone, pare_sha256_sink(sha), r->d);
            pare_sha256_end(sha, h->hex);
        } else {
            h->st = pare_sha256_file(h->pm->onnx, r->d, h->hex);
        }
        if (!h->st && h->pm->weights) h->st = pare_sha256_file(h->pm->weights, r->d, h->weights_hex);
    }
}

/* Starts the hashing, once; the input models are all in memory then. */
static void start_hashing(run *r) {
    if (r->hashing) return;
    r->hashing = true;
    for (size_t i = 0; i < r->p->n_models; i++) {
        const pare_pipeline_model *pm = &r->p->models[i];
        r->hashes[i] = (input_hash){.pm = pm, .clone = pm->zoo ? pare_model_clone(r->models[i].model) : NULL};
    }
    r->hash_job = pare_job_start(hash_inputs, r);
}

/* Waits for it and lets go of the models. */
static void join_hashing(run *r) {
    pare_job_join(r->hash_job);
    r->hash_job = NULL;
    for (size_t i = 0; i < r->p->n_models; i++) {
        pare_model_free(r->hashes[i].clone);
        r->hashes[i].clone = NULL;
    }
}

static pare_status note_inputs(run *r) {
    start_hashing(r);
    join_hashing(r);
    for (size_t i = 0; i < r->p->n_models; i++) {
        const input_hash *h = &r->hashes[i];
        const pare_pipeline_model *pm = h->pm;
        if (h->st) return h->st;
        pare_lock_file f = {.name = pm->name, .sha256 = h->hex, .bytes = (uint64_t)r->report->input[i].bytes,
                            .zoo = pm->zoo ? pm->zoo->name : NULL, .path = pm->zoo ? NULL : pm->onnx};
        pare_vec_push(&r->lock_in, f);
        if (!pm->weights) continue;
        pare_lock_file w = {.name = pare_arena_printf(&r->arena, "%s weights", pm->name), .path = pm->weights,
                            .sha256 = h->weights_hex};
        pare_file_size(pm->weights, &w.bytes);
        pare_vec_push(&r->lock_in, w);
    }
    return PARE_OK;
}

/* ---- models out ---- */

static pare_external external_of(pare_switch s) {
    return s == PARE_ON ? PARE_EXTERNAL_ON : s == PARE_OFF ? PARE_EXTERNAL_OFF : PARE_EXTERNAL_AUTO;
}

/* Writes a model under the run folder, hashes it, and gzips it on the way: into `gz` (a path, or NULL), or only to learn
 * the size when mx asks for it. */
static pare_status write_model(run *r, pare_model *m, const char *rel, const char *gz, pare_metrics *mx, char *sha256) {
    pare_file_out *gz_file = NULL;
    pare_gzip *z = NULL;
    pare_status st = PARE_OK;
    uint64_t bytes = 0, gz_bytes = 0;
    if (gz) {
        st = pare_file_out_open(in_work(r, gz), r->d, &gz_file);
        if (!st) z = pare_gzip_new(pare_file_out_sink(gz_file), r->d);
    } else if (r->p->report.gzip) {
        z = pare_gzip_new((pare_sink){0}, r->d);
    }
    if (!st) {
        pare_onnx_write_opts opts = {.external = external_of(r->p->output.external_data), .sha256 = sha256,
                                     .also = z ? pare_gzip_sink(z) : (pare_sink){0}, .bytes = &bytes};
        st = pare_onnx_write(m, in_work(r, rel), &opts, r->d);
    }
    if (st)
        pare_gzip_abort(z);
    else if (z)
        st = pare_gzip_end(z, &gz_bytes);
    if (st) {
        pare_file_out_abort(gz_file);
        return st;
    }
    if (gz_file) st = pare_file_out_commit(gz_file);
    if (st) return st;
    mx->bytes = (int64_t)bytes;
    if (z) mx->gzip_bytes = (int64_t)gz_bytes;
    return PARE_OK;
}

static void add_output(run *r, const char *rel, const char *sha256) {
    pare_lock_file f = {.name = rel, .path = pare_arena_strdup(&r->arena, rel),
                        .sha256 = pare_arena_strdup(&r->arena, sha256)};
    f.name = f.path;
    pare_file_size(in_work(r, rel), &f.bytes);
    pare_vec_push(&r->lock_out, f);
    pare_report_add_output(r->report, rel, sha256, f.bytes);
}

static pare_status add_hashed_output(run *r, const char *rel) {
    char hex[PARE_SHA256_HEX];
    pare_status st = pare_sha256_file(in_work(r, rel), r->d, hex);
    if (!st) add_output(r, rel, hex);
    return st;
}

/* The packed form of a final model, where it is asked for or pays. */
static pare_status write_packed(run *r, pare_model *m, const char *rel, pare_metrics *mx) {
    if (r->p->output.pack == PARE_OFF) return PARE_OK;
    pare_model *packed = pare_model_clone(m);
    pare_pack_result res = {0};
    pare_metrics size = pare_metrics_none();
    char hex[PARE_SHA256_HEX];
    pare_status st = pare_model_pack(packed, r->d, &res);
    if (!st && res.why_not && r->p->output.pack == PARE_ON)
        pare_say_at(r->d, PARE_WARNING, r->p->output.at, "run.not-packed", NULL, "%s was not written: %s", rel,
                    res.why_not);
    if (!st && !res.why_not && res.tensors_packed) st = pare_metrics_stream(packed, false, r->d, &size);
    bool pays = size.bytes >= 0 && (r->p->output.pack == PARE_ON || size.bytes <= mx->bytes - mx->bytes / 10);
    if (!st && pays) {
        pare_onnx_write_opts opts = {.external = PARE_EXTERNAL_OFF, .sha256 = hex};
        st = pare_onnx_write(packed, in_work(r, rel), &opts, r->d);
        if (!st) mx->packed_bytes = size.bytes;
        if (!st) add_output(r, rel, hex);
    }
    pare_model_free(packed);
    return st;
}

/* model.onnx and what stands beside it, or models/NAME.onnx. */
static pare_status write_final(run *r, size_t i) {
    pare_pipeline_ref last = r->p->models[i].last;
    slot *s = slot_of(r, last);
    pare_metrics *mx = last.kind == PARE_REF_MODEL ? &r->report->input[i] : &r->report->steps.data[last.i].metrics;
    bool main_model = i == r->p->main_model;
    const char *stem = main_model ? "model" : pare_arena_printf(&r->arena, "models/%s", r->p->models[i].name);
    const char *rel = pare_arena_printf(&r->arena, "%s.onnx", stem);
    pare_status st = PARE_OK;
    if (!main_model) st = pare_dir_make(in_work(r, "models"), r->d);
    const char *data = s->file ? pare_arena_printf(&r->arena, "%s.data", s->file) : NULL;
    bool external = data && pare_path_what(in_work(r, data)) == PARE_PATH_FILE; /* the graph names its data file */
    if (!st && s->file && (main_model || !external)) {
        st = pare_path_link(in_work(r, s->file), in_work(r, rel), r->d);
        if (!st && external) st = pare_path_link(in_work(r, data), in_work(r, "model.onnx.data"), r->d);
    } else if (!st) {
        const char *gz = main_model && r->p->output.gzip == PARE_ON ? "model.onnx.gz" : NULL;
        pare_metrics written = pare_metrics_none();
        st = write_model(r, s->model, rel, gz, &written, s->sha256);
    }
    if (st) return st;
    add_output(r, rel, s->sha256);
    if (main_model && pare_path_what(in_work(r, "model.onnx.data")) == PARE_PATH_FILE)
        st = add_hashed_output(r, "model.onnx.data");
    if (!st && main_model && r->p->output.gzip == PARE_ON) st = add_hashed_output(r, "model.onnx.gz");
    if (!st) st = write_packed(r, s->model, pare_arena_printf(&r->arena, "%s.packed.onnx", stem), mx);
    return st;
}

/* ---- steps ---- */

typedef struct step_ctx {
    const pare_pipeline_step *step;
    pare_progress *progress;
} step_ctx;

static pare_span locate(void *ctx, const char *param) {
    const step_ctx *c = ctx;
    return param ? pare_params_locate(c->step->with, param) : c->step->at;
}

static void progress(void *ctx, double done, const char *what) {
    const step_ctx *c = ctx;
    if (c->progress) pare_progress_update(c->progress, done, what);
}

static pare_status run_step(run *r, size_t i) {
    const pare_pipeline_step *ps = &r->p->steps[i];
    const pare_loaded *from = NULL;
    pare_plugins_technique(r->o->plugins, ps->use, &from);
    step_ctx ctx = {ps, r->o->progress};
    pare_report_step rs = {.id = ps->id, .use = ps->use, .model = r->p->models[ps->model].name,
                           .metrics = pare_metrics_none(), .notes = json_object()};
    pare_host_env env = {.diags = r->d, .step = ps->id, .plugin = from ? from->id : NULL, .technique = ps->use,
                         .locate = locate, .progress = progress, .ctx = &ctx, .seed = r->seeds[i], .notes = rs.notes};
    slot *in = slot_of(r, ps->input), *out = &r->steps[i];
    pare_sb title = {0};
    pare_sb_printf(&title, "%s: %s", ps->id, ps->use);
    if (r->o->progress) pare_progress_begin(r->o->progress, pare_sb_str(&title));
    fprintf(r->log, "step %zu of %zu: %s\n", i + 1, r->p->n_steps, pare_sb_str(&title));
    pare_sb_free(&title);
    double start = pare_clock();
    pare_status st = pare_step_run(&env, ps->technique, ps->with->args, in->model, &out->model);
    rs.seconds = pare_clock() - start;
    if (r->o->progress) pare_progress_end(r->o->progress);
    if (st) {
        json_decref(rs.notes);
        return st;
    }
    start_hashing(r); /* beside the writing, which leaves a core idle */
    if (in->last_use == (int64_t)i && !is_final(r, ps->input)) {
        pare_model_free(in->model);
        in->model = NULL;
    }
    st = pare_metrics_counts(out->model, r->d, &rs.metrics);
    if (!st) {
        const char *folder = pare_arena_printf(&r->arena, "steps/%02zu-%s", i + 1, ps->id);
        bool gz = r->p->output.gzip == PARE_ON && is_main_final(r, (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i});
        out->file = pare_arena_printf(&r->arena, "%s/model.onnx", folder);
        st = pare_dir_make(in_work(r, folder), r->d);
        if (!st) st = write_model(r, out->model, out->file, gz ? "model.onnx.gz" : NULL, &rs.metrics, out->sha256);
    }
    join_hashing(r); /* it holds the input models' bytes */
    if (st) {
        json_decref(rs.notes);
        return st;
    }
    pare_vec_push(&r->report->steps, rs);
    r->step_done = true;
    if (out->last_use == NEVER && !is_final(r, (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i})) {
        pare_model_free(out->model);
        out->model = NULL;
    }
    return pare_cancelled() ? PARE_ECANCELLED : PARE_OK;
}

/* ---- lock and report ---- */

static pare_status write_lock(run *r) {
    PARE_VEC(pare_lock_plugin) used = {0};
    pare_status st = PARE_OK;
    for (size_t k = 0; k < pare_plugins_count(r->o->plugins) && !st; k++) {
        const pare_loaded *pl = pare_plugins_at(r->o->plugins, k);
        bool in_use = false;
        for (size_t i = 0; i < r->p->n_steps; i++) {
            const pare_loaded *from = NULL;
            pare_plugins_technique(r->o->plugins, r->p->steps[i].use, &from);
            in_use = in_use || from == pl;
        }
        if (!in_use) continue;
        pare_lock_plugin lp = {pl->id, pl->version, pare_plugin_sha256(r->o->plugins, pl, r->d)};
        if (!lp.sha256) st = PARE_EIO;
        pare_vec_push(&used, lp);
    }
    pare_lock lock = {.pipeline = r->p, .step_seeds = r->seeds, .plugins = used.data, .n_plugins = used.len,
                      .in = r->lock_in.data, .n_in = r->lock_in.len, .out = r->lock_out.data, .n_out = r->lock_out.len,
                      .cpu_model = pare_cpu_model(), .cpu_features = pare_cpu_features(), .threads = pare_threads()};
    if (!st) st = pare_lock_write(&lock, in_work(r, "pipeline.lock.yaml"), r->d);
    pare_vec_free(&used);
    return st;
}

static pare_status write_report(run *r, double start) {
    r->report->seconds = pare_clock() - start;
    json_t *j = pare_report_json(r->report);
    pare_status st = pare_json_write(j, in_work(r, "report.json"), r->d);
    json_decref(j);
    return st;
}

/* ---- all of it ---- */

static pare_status run_all(run *r) {
    double start = pare_clock();
    pare_status st = choose_dir(r);
    if (!st) st = open_models(r);
    if (!st) st = open_work(r);
    for (size_t i = 0; i < r->p->n_steps && !st; i++) st = run_step(r, i);
    if (!st && r->o->progress) pare_progress_begin(r->o->progress, "writing the results");
    for (size_t i = 0; i < r->p->n_models && !st; i++) st = write_final(r, i);
    if (!st) st = note_inputs(r);
    if (!st) st = write_lock(r);
    if (!st) st = write_report(r, start);
    if (r->o->progress) pare_progress_end(r->o->progress);
    if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    if (!st) st = publish(r);
    return st;
}

static void clean_up(run *r, pare_status st) {
    join_hashing(r);
    close_log(r);
    if (st && r->work && pare_path_what(r->work) == PARE_PATH_DIR) {
        if (r->step_done)
            pare_say(r->d, PARE_INFO, "run.partial", "the steps that were finished lie in %s", r->work);
        else
            pare_tree_remove(r->work, NULL);
    }
    for (size_t i = 0; i < r->p->n_models; i++) pare_model_free(r->models[i].model);
    for (size_t i = 0; i < r->p->n_steps; i++) pare_model_free(r->steps[i].model);
    free(r->models);
    free(r->steps);
    free(r->seeds);
    free(r->hashes);
    free(r->work);
    pare_vec_free(&r->lock_in);
    pare_vec_free(&r->lock_out);
    pare_arena_free(&r->arena);
}

pare_status pare_pipeline_run(const pare_pipeline *p, const pare_run_opts *o, pare_report **report, char **dir) {
    run r = {.p = p, .o = o, .d = o->diags, .report = pare_report_new(p)};
    r.models = pare_xcalloc(p->n_models, sizeof *r.models);
    r.steps = pare_xcalloc(p->n_steps, sizeof *r.steps);
    r.hashes = pare_xcalloc(p->n_models, sizeof *r.hashes);
    r.seeds = pare_xcalloc(p->n_steps, sizeof *r.seeds);
    for (size_t i = 0; i < p->n_steps; i++) r.seeds[i] = pare_seed_derive(p->seed, p->steps[i].id);
    count_uses(&r);
    pare_status st = run_all(&r);
    if (st == PARE_ECANCELLED) pare_fail(r.d, st, "run.cancelled", NULL, "cancelled before the run was finished");
    clean_up(&r, st);
    if (st) {
        free(r.dir);
        pare_report_free(r.report);
        return st;
    }
    *report = r.report;
    *dir = r.dir;
    return PARE_OK;
}
