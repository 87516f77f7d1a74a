/* pipeline/run.c - the order of a run: models in, steps, models out, lock and report. See run.h and run_parts.h. */
#include "pipeline/run.h"

#include "base/random.h"
#include "data/data.h"
#include "model/finite.h"
#include "pipeline/run_train.h"
#include "plugin/step.h"

#include <stdlib.h>
#include <string.h>

pare_run_slot *pare_run_slot_of(pare_run *r, pare_pipeline_ref ref) {
    return ref.kind == PARE_REF_MODEL ? &r->models[ref.i] : &r->steps[ref.i];
}

const char *pare_run_path(pare_run *r, const char *rel) {
    return pare_arena_printf(&r->arena, "%s/%s", r->dir.work, rel);
}

bool pare_run_is_final(const pare_run *r, pare_pipeline_ref ref) {
    for (size_t i = 0; i < r->p->n_models; i++)
        if (r->p->models[i].last.kind == ref.kind && r->p->models[i].last.i == ref.i) return true;
    return false;
}

bool pare_run_is_main_final(const pare_run *r, pare_pipeline_ref ref) {
    pare_pipeline_ref last = r->p->models[r->p->main_model].last;
    return last.kind == ref.kind && last.i == ref.i;
}

typedef struct use {
    pare_run *r;
    size_t step;
} use;

static void names_model(void *ctx, const char *name) {
    const use *u = ctx;
    pare_pipeline_ref ref;
    if (pare_pipeline_ref_find(u->r->p, name, &ref)) pare_run_slot_of(u->r, ref)->last_use = (int64_t)u->step;
}

/* Until which step each model is needed. */
static void count_uses(pare_run *r) {
    for (size_t i = 0; i < r->p->n_models; i++) r->models[i].last_use = PARE_NEVER;
    for (size_t i = 0; i < r->p->n_steps; i++) {
        use u = {r, i};
        r->steps[i].last_use = PARE_NEVER;
        pare_run_slot_of(r, r->p->steps[i].input)->last_use = (int64_t)i;
        pare_pipeline_step_models(r->p, i, names_model, &u);
    }
}

/* After step i: what no later step needs goes. */
static void let_go(pare_run *r, size_t i) {
    for (size_t k = 0; k < r->p->n_models + i + 1; k++) {
        bool model = k < r->p->n_models;
        pare_pipeline_ref ref = {model ? PARE_REF_MODEL : PARE_REF_STEP, (uint32_t)(model ? k : k - r->p->n_models)};
        pare_run_slot *s = pare_run_slot_of(r, ref);
        if (!s->model || s->last_use > (int64_t)i || pare_run_is_final(r, ref)) continue;
        pare_model_free(s->model);
        s->model = NULL;
    }
}

/* ---- steps ---- */

typedef struct step_ctx {
    const pare_pipeline_step *step;
    pare_progress *progress;
    pare_run_train train;
} step_ctx;

static pare_span locate(void *ctx, const char *param) {
    return pare_pipeline_locate(((const step_ctx *)ctx)->step, param);
}

static void progress(void *ctx, double done, const char *what) {
    const step_ctx *c = ctx;
    if (c->progress) pare_progress_update(c->progress, done, what);
}

static const void *ext(void *ctx, const char *id) { return pare_run_train_ext(&((step_ctx *)ctx)->train, id); }

static pare_status keep_file(void *ctx, const char *name, const void *bytes, uint64_t n) {
    return pare_run_keep_file(&((step_ctx *)ctx)->train, name, bytes, n);
}

/* The step's work itself, with what it needs to train and to run its model. What it leaves in ctx->train.files is there
 * until pare_run_train_close. */
static pare_status run_technique(pare_run *r, size_t i, pare_host_env *env, step_ctx *ctx) {
    const pare_pipeline_step *ps = &r->p->steps[i];
    pare_status st = pare_run_train_open(r, i, env->notes, &ctx->train);
    if (!st) {
        env->ext = ext;
        env->services = &ctx->train.services;
        env->runs = &ctx->train.runs;
        env->file = keep_file;
        st = pare_step_run(env, ps->technique, ps->with->args, ctx->train.model, &r->steps[i].model);
        if (st) pare_run_train_close(&ctx->train);
    }
    if (!st && ps->fit) pare_file_remove(pare_run_checkpoint(r, i)); /* the step's model says more */
    return pare_run_train_said(r, i, st);
}

/* The technique's own files, into the step's folder. */
static pare_status write_files(pare_run *r, const pare_run_train *t, const char *folder, json_t *notes) {
    json_t *files = json_array();
    pare_status st = PARE_OK;
    json_object_set_new(notes, "files", files);
    for (size_t i = 0; i < t->files.len && !st; i++) {
        const pare_run_file *f = &t->files.data[i];
        st = pare_run_write_file(r, pare_arena_printf(&r->arena, "%s/%s", folder, f->name), f->bytes, f->n, files);
    }
    return st;
}

static pare_status run_step(pare_run *r, size_t i) {
    const pare_pipeline_step *ps = &r->p->steps[i];
    const pare_loaded *from = NULL;
    pare_plugins_technique(r->o->plugins, ps->use, &from);
    step_ctx ctx = {.step = ps, .progress = r->o->progress};
    pare_report_step rs = {.id = ps->id,
                           .use = ps->use,
                           .model = r->p->models[ps->model].name,
                           .metrics = pare_metrics_none(),
                           .notes = json_object()};
    pare_host_env env = {.diags = r->d,
                         .step = ps->id,
                         .plugin = from ? from->id : NULL,
                         .technique = ps->use,
                         .locate = locate,
                         .progress = progress,
                         .ctx = &ctx,
                         .seed = r->seeds[i],
                         .notes = rs.notes};
    pare_run_slot *out = &r->steps[i];
    pare_sb title = {0};
    pare_sb_printf(&title, "%s: %s", ps->id, ps->use);
    if (r->o->progress) pare_progress_begin(r->o->progress, pare_sb_str(&title));
    fprintf(r->dir.log, "step %zu of %zu: %s\n", i + 1, r->p->n_steps, pare_sb_str(&title));
    pare_sb_free(&title);
    double start = pare_clock();
    pare_status st = run_technique(r, i, &env, &ctx);
    rs.seconds = pare_clock() - start;
    if (r->o->progress) pare_progress_end(r->o->progress);
    if (st) {
        json_decref(rs.notes);
        return st;
    }
    if (r->o->progress) pare_progress_begin(r->o->progress, pare_arena_printf(&r->arena, "%s: writing", ps->id));
    pare_run_hash_start(r); /* beside the writing, which leaves a core idle */
    pare_run_slot *in = pare_run_slot_of(r, ps->input);
    if (in->last_use == (int64_t)i && !pare_run_is_final(r, ps->input)) {
        pare_model_free(in->model);
        in->model = NULL;
    }
    st = pare_model_say_not_finite(out->model, ps->id, r->d);
    if (!st) st = pare_run_carry(r, ps->model, out->model);
    if (!st) st = pare_metrics_counts(out->model, r->d, &rs.metrics);
    if (!st) {
        const char *folder = pare_arena_printf(&r->arena, "steps/%02zu-%s", i + 1, ps->id);
        bool gz =
            r->p->output.gzip == PARE_ON && pare_run_is_main_final(r, (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i});
        out->file = pare_arena_printf(&r->arena, "%s/model.onnx", folder);
        st = pare_dir_make(pare_run_path(r, folder), r->d);
        if (!st)
            st = pare_run_write_model(r, out->model, out->file, gz ? "model.onnx.gz" : NULL, &rs.metrics, out->sha256);
        if (!st) st = write_files(r, &ctx.train, folder, rs.notes);
    }
    pare_run_train_close(&ctx.train);
    if (r->o->progress) pare_progress_end(r->o->progress);
    pare_run_hash_join(r); /* it holds the input models' bytes */
    if (st) {
        json_decref(rs.notes);
        return st;
    }
    pare_vec_push(&r->report->steps, rs);
    r->step_done = true;
    let_go(r, i);
    return pare_cancelled() ? PARE_ECANCELLED : PARE_OK;
}

/* ---- lock and report ---- */

static pare_status write_lock(pare_run *r) {
    PARE_VEC(pare_lock_plugin) used = {0};
    pare_status st = PARE_OK;
    for (size_t k = 0; k < pare_plugins_count(r->o->plugins) && !st; k++) {
        const pare_loaded *pl = pare_plugins_at(r->o->plugins, k);
        bool in_use = false;
        for (size_t i = 0; i < r->p->n_steps; i++) {
            const pare_loaded *from = NULL;
            pare_plugins_technique(r->o->plugins, r->p->steps[i].use, &from);
            in_use = in_use || from == pl;
            const pare_pipeline_fit *f = r->p->steps[i].fit;
            for (size_t n = 0; f && n < f->opts.n_losses; n++) {
                from = NULL;
                pare_plugins_loss(r->o->plugins, f->opts.losses[n].use, &from);
                in_use = in_use || from == pl;
            }
        }
        if (!in_use) continue;
        pare_lock_plugin lp = {pl->id, pl->version, pare_plugin_sha256(r->o->plugins, pl, r->d)};
        if (!lp.sha256) st = PARE_EIO;
        pare_vec_push(&used, lp);
    }
    pare_lock lock = {.pipeline = r->p,
                      .step_seeds = r->seeds,
                      .plugins = used.data,
                      .n_plugins = used.len,
                      .in = r->lock_in.data,
                      .n_in = r->lock_in.len,
                      .out = r->lock_out.data,
                      .n_out = r->lock_out.len,
                      .cpu_model = pare_cpu_model(),
                      .cpu_features = pare_cpu_features(),
                      .threads = pare_threads()};
    if (!st) st = pare_lock_write(&lock, pare_run_path(r, "pipeline.lock.yaml"), r->d);
    pare_vec_free(&used);
    return st;
}

static pare_status write_report(pare_run *r, double start) {
    r->report->seconds = pare_clock() - start;
    json_t *j = pare_report_json(r->report);
    pare_status st = pare_json_write(j, pare_run_path(r, "report.json"), r->d);
    json_decref(j);
    return st;
}

/* ---- all of it ---- */

static pare_status run_all(pare_run *r) {
    double start = pare_clock();
    bool given = r->o->out != NULL;
    pare_status st = pare_run_dir_choose(given ? r->o->out : r->p->output.dir, !given, r->o->force, r->d, &r->dir);
    if (!st) st = pare_run_open_models(r);
    if (!st) st = pare_run_score_prepare(r);
    if (!st) st = pare_run_train_prepare(r);
    if (!st) st = pare_run_fits(r);
    if (!st) st = pare_run_dir_open(&r->dir, r->p->path, r->d);
    if (!st) pare_diags_set_log(r->d, r->dir.log);
    for (size_t i = 0; i < r->p->n_steps && !st; i++) st = run_step(r, i);
    if (!st) st = pare_run_hash_sets(r);
    pare_run_sets_free(r);
    pare_run_logits_free(r);
    if (!st && r->o->progress) pare_progress_begin(r->o->progress, "writing the results");
    for (size_t i = 0; i < r->p->n_models && !st; i++) st = pare_run_write_final(r, i);
    if (r->o->progress) pare_progress_end(r->o->progress);
    if (!st) st = pare_run_score(r);
    if (!st) st = pare_run_hash_note(r);
    if (!st) st = write_lock(r);
    if (!st) st = write_report(r, start);
    if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    pare_diags_set_log(r->d, NULL);
    if (!st) st = pare_run_dir_publish(&r->dir, r->d);
    return st;
}

/* Keeps what a run that failed has done: finished steps, and how far the one at work came. */
static bool keep(pare_run *r, pare_status st) {
    if (!st || !r->dir.work) return false;
    size_t i = r->report->steps.len; /* the step at work */
    const char *checkpoint = i < r->p->n_steps && r->p->steps[i].fit ? pare_run_checkpoint(r, i) : NULL;
    if (checkpoint && pare_path_what(checkpoint) != PARE_PATH_FILE) checkpoint = NULL;
    if (checkpoint)
        pare_say(r->d, PARE_WARNING, "run.partial", "the steps that were finished, and how far step %s came, lie in %s",
                 r->p->steps[i].id, r->dir.work);
    else if (r->step_done)
        pare_say(r->d, PARE_WARNING, "run.partial", "the steps that were finished lie in %s", r->dir.work);
    return checkpoint || r->step_done;
}

static void clean_up(pare_run *r, pare_status st) {
    pare_run_hash_free(r);
    pare_data_free(r->set);
    pare_run_sets_free(r);
    pare_run_logits_free(r);
    pare_diags_set_log(r->d, NULL);
    pare_run_dir_close(&r->dir, keep(r, st));
    for (size_t i = 0; i < r->p->n_models; i++) pare_model_free(r->models[i].model);
    for (size_t i = 0; i < r->p->n_steps; i++) pare_model_free(r->steps[i].model);
    free(r->models);
    free(r->steps);
    free(r->seeds);
    pare_vec_free(&r->lock_in);
    pare_vec_free(&r->lock_out);
    pare_vec_free(&r->lock_data);
    pare_arena_free(&r->arena);
}

pare_status pare_pipeline_run(const pare_pipeline *p, const pare_run_opts *o, pare_report **report, char **dir) {
    pare_run r = {.p = p, .o = o, .d = o->diags, .report = pare_report_new(p)};
    r.models = pare_xcalloc(p->n_models, sizeof *r.models);
    r.steps = pare_xcalloc(p->n_steps, sizeof *r.steps);
    r.seeds = pare_xcalloc(p->n_steps, sizeof *r.seeds);
    for (size_t i = 0; i < p->n_steps; i++) r.seeds[i] = pare_seed_derive(p->seed, p->steps[i].id);
    count_uses(&r);
    pare_status st = run_all(&r);
    if (st == PARE_ECANCELLED) pare_fail(r.d, st, "run.cancelled", NULL, "cancelled before the run was finished");
    char *shown = st ? NULL : pare_xstrdup(r.dir.shown);
    clean_up(&r, st);
    if (st) {
        pare_report_free(r.report);
        return st;
    }
    *report = r.report;
    *dir = shown;
    return PARE_OK;
}
