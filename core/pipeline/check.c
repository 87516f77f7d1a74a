/* pipeline/check.c - pare check: what can be known before running. See run.h. */
#include "base/random.h"
#include "model/finite.h"
#include "pipeline/run_train.h"
#include "plugin/step.h"

#include <stdlib.h>
#include <string.h>

static pare_span locate(void *ctx, const char *param) { return pare_pipeline_locate(ctx, param); }

/* That there is training; nothing is trained here. */
static const void *ext(void *ctx, const char *id) {
    (void)ctx;
    return strcmp(id, PARE_FIT_V1) == 0 ? &pare_fit_interface : NULL;
}

/* The pipeline model at the start of the line a step works on: what its input looks like before earlier steps. */
static uint32_t root_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    while (ref.kind == PARE_REF_STEP) ref = p->steps[ref.i].input;
    return ref.i;
}

pare_status pare_pipeline_check(const pare_pipeline *p, pare_plugins *plugins, pare_diags *d) {
    pare_run_opts o = {.plugins = plugins, .diags = d};
    pare_run r = {.p = p, .o = &o, .d = d};
    r.models = pare_xcalloc(p->n_models, sizeof *r.models);
    pare_status first = PARE_OK; /* go on after an error: all of them at once */
    for (size_t i = 0; i < p->n_models; i++) {
        pare_status st = pare_pipeline_model_open(p, &p->models[i], d, &r.models[i].model);
        if (!st) st = pare_model_say_not_finite(r.models[i].model, p->models[i].name, d);
        if (st && !first) first = st;
        if (pare_cancelled()) break;
    }
    for (size_t i = 0; i < p->n_steps && !pare_cancelled(); i++) {
        const pare_pipeline_step *s = &p->steps[i];
        const pare_loaded *from = NULL;
        pare_plugins_technique(plugins, s->use, &from);
        pare_host_env env = {.diags = d,
                             .step = s->id,
                             .plugin = from ? from->id : NULL,
                             .technique = s->use,
                             .locate = locate,
                             .ctx = (void *)(uintptr_t)s,
                             .ext = ext,
                             .seed = pare_seed_derive(p->seed, s->id)};
        const pare_model *m = r.models[root_of(p, s->input)].model;
        pare_run_train t; /* sets and the device are opened by those who ask for them */
        pare_run_train_begin(&r, i, m, NULL, &t);
        if (s->fit) t.services.fit = &s->fit->opts;
        env.services = &t.services;
        env.runs = &t.runs;
        pare_status st = pare_step_check(&env, s->technique, s->with->args, m);
        pare_run_train_close(&t);
        if (!st) st = pare_train_check(&r, i, m);
        if (st && !first) first = st;
    }
    pare_status st = pare_cancelled() ? PARE_ECANCELLED : pare_run_score_prepare(&r);
    if (st) { /* said once is enough */
        pare_data_free(r.set);
        r.set = NULL;
    }
    if (!first) first = st;
    if (!pare_cancelled()) st = pare_run_fits(&r);
    if (!first) first = st;
    pare_data_free(r.set);
    pare_run_sets_free(&r);
    pare_arena_free(&r.arena);
    for (size_t i = 0; i < p->n_models; i++) pare_model_free(r.models[i].model);
    free(r.models);
    return pare_cancelled() ? PARE_ECANCELLED : first;
}
