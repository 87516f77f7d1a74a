/* pipeline/check.c - pare check: what can be known before running. See run.h. */
#include "base/random.h"
#include "pipeline/run.h"
#include "plugin/step.h"

#include <stdlib.h>
#include <string.h>

static pare_span locate(void *ctx, const char *param) { return pare_pipeline_locate(ctx, param); }

/* The pipeline model at the start of the line a step works on: what its input looks like before earlier steps. */
static uint32_t root_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    while (ref.kind == PARE_REF_STEP) ref = p->steps[ref.i].input;
    return ref.i;
}

pare_status pare_pipeline_check(const pare_pipeline *p, pare_plugins *plugins, pare_diags *d) {
    pare_model **models = pare_xcalloc(p->n_models, sizeof *models);
    pare_status first = PARE_OK; /* go on after an error: all of them at once */
    for (size_t i = 0; i < p->n_models; i++) {
        pare_status st = pare_pipeline_model_open(p, &p->models[i], d, &models[i]);
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
                             .seed = pare_seed_derive(p->seed, s->id)};
        pare_status st = pare_step_check(&env, s->technique, s->with->args, models[root_of(p, s->input)]);
        if (st && !first) first = st;
    }
    for (size_t i = 0; i < p->n_models; i++) pare_model_free(models[i]);
    free(models);
    return pare_cancelled() ? PARE_ECANCELLED : first;
}
