/* pipeline/run_inputs.c - a run's models as they come in: opened, measured, hashed for the lock. See run_parts.h. */
#include "model/finite.h"
#include "model/onnx.h"
#include "pipeline/run_parts.h"

#include <stdlib.h>

pare_status pare_run_open_models(pare_run *r) {
    for (size_t i = 0; i < r->p->n_models; i++) {
        const pare_pipeline_model *pm = &r->p->models[i];
        pare_metrics *mx = &r->report->input[i];
        pare_model **m = &r->models[i].model;
        if (r->o->progress)
            pare_progress_begin(r->o->progress, pare_arena_printf(&r->arena, "%s: as it comes in", pm->name));
        pare_status st = pare_pipeline_model_open(r->p, pm, r->d, m);
        if (!st) st = pare_model_say_not_finite(*m, pm->name, r->d);
        if (!st) st = pare_metrics_counts(*m, r->d, mx);
        if (!st) /* a file that other tools wrote is measured as it lies there */
            st = pm->onnx ? pare_metrics_read(*m, r->p->report.gzip, r->o->progress, r->d, mx)
                          : pare_metrics_stream(*m, r->p->report.gzip, r->o->progress, r->d, mx);
        if (r->o->progress) pare_progress_end(r->o->progress);
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
        if (st) return st;
    }
    return PARE_OK;
}

/* One thing that went in: a model from the zoo, or a file. */
typedef struct input {
    pare_lock_file lock; /* sha256 points to hex */
    pare_model *clone;   /* a zoo model, sharing its bytes; NULL: the file at lock.path */
    char hex[PARE_SHA256_HEX];
    pare_status st;
} input;

struct pare_run_hashes {
    pare_job *job;
    pare_diags *d;
    PARE_VEC(input *) inputs;
};

static void add_input(pare_run *r, const char *name, const char *zoo, const char *path, uint64_t bytes,
                      pare_model *clone) {
    input *in = pare_arena_alloc(&r->arena, sizeof *in);
    in->lock = (pare_lock_file){.name = name, .zoo = zoo, .path = path, .bytes = bytes, .sha256 = in->hex};
    in->clone = clone;
    if (path) pare_file_size(path, &in->lock.bytes);
    pare_vec_push(&r->hashes->inputs, in);
}

static void hash_all(void *ctx) {
    pare_run_hashes *h = ctx;
    for (size_t i = 0; i < h->inputs.len; i++) {
        input *in = h->inputs.data[i];
        if (in->clone) {
            pare_sha256 *sha = pare_sha256_new();
            in->st = pare_onnx_stream(in->clone, pare_sha256_sink(sha), h->d);
            pare_sha256_end(sha, in->hex);
        } else {
            in->st = pare_sha256_file(in->lock.path, h->d, in->hex);
        }
    }
}

static void add_param_file(void *ctx, const char *param, const char *written) {
    pare_run *r = ctx;
    char *path = pare_path_join(r->p->dir, written);
    add_input(r, pare_arena_strdup(&r->arena, param), NULL, pare_arena_strdup(&r->arena, path), 0, NULL);
    free(path);
}

void pare_run_hash_start(pare_run *r) {
    if (r->hashes) return;
    r->hashes = pare_xcalloc(1, sizeof *r->hashes);
    r->hashes->d = r->d;
    for (size_t i = 0; i < r->p->n_models; i++) {
        const pare_pipeline_model *pm = &r->p->models[i];
        const pare_model *m = r->models[i].model;
        uint64_t bytes = (uint64_t)r->report->input[i].bytes;
        add_input(r, pm->name, pm->zoo ? pm->zoo->name : NULL, pm->onnx, bytes, pm->zoo ? pare_model_clone(m) : NULL);
        for (size_t k = 0; k < m->data_files.len; k++)
            add_input(r, pare_arena_printf(&r->arena, "%s data", pm->name), NULL,
                      pare_arena_strdup(&r->arena, m->data_files.data[k]->path), 0, NULL);
        if (pm->weights) add_input(r, pare_arena_printf(&r->arena, "%s weights", pm->name), NULL, pm->weights, 0, NULL);
    }
    for (size_t i = 0; i < r->p->n_steps; i++) pare_pipeline_step_files(r->p, i, add_param_file, r);
    r->hashes->job = pare_job_start(hash_all, r->hashes);
}

void pare_run_hash_join(pare_run *r) {
    if (!r->hashes) return;
    pare_job_join(r->hashes->job);
    r->hashes->job = NULL;
    for (size_t i = 0; i < r->hashes->inputs.len; i++) {
        pare_model_free(r->hashes->inputs.data[i]->clone);
        r->hashes->inputs.data[i]->clone = NULL;
    }
}

pare_status pare_run_hash_note(pare_run *r) {
    pare_run_hash_start(r);
    pare_run_hash_join(r);
    for (size_t i = 0; i < r->hashes->inputs.len; i++) {
        if (r->hashes->inputs.data[i]->st) return r->hashes->inputs.data[i]->st;
        pare_vec_push(&r->lock_in, r->hashes->inputs.data[i]->lock);
    }
    for (size_t i = 0; i < r->lock_data.len; i++) pare_vec_push(&r->lock_in, r->lock_data.data[i]);
    return PARE_OK;
}

void pare_run_hash_free(pare_run *r) {
    pare_run_hash_join(r);
    if (r->hashes) pare_vec_free(&r->hashes->inputs);
    free(r->hashes);
    r->hashes = NULL;
}
