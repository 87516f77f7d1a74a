/* pipeline/open.c - a pipeline's models: from the zoo or a file, with weights. See run.h. */
#include "base/random.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/pack.h"
#include "model/weights.h"
#include "pipeline/run.h"

/* Says which entry of the pipeline file the errors above belong to. */
static pare_status at_entry(pare_status st, pare_diags *d, const pare_pipeline_model *pm, pare_span at) {
    if (st && st != PARE_ECANCELLED)
        pare_say_at(d, PARE_NOTE, at, "run.model", NULL, "this is where model '%s' is asked for", pm->name);
    return st;
}

/* The zoo names parameters; their places are known here. */
static pare_status build(const pare_pipeline *p, const pare_pipeline_model *pm, pare_diags *d, pare_model **out) {
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_status st = pm->zoo->build(pm->with->args, p->seed, said, out);
    for (size_t i = 0; i < pare_diags_count(said); i++) {
        pare_diag_item it = *pare_diags_get(said, i);
        if (it.param) it.at = pare_params_locate(pm->with, it.param);
        pare_diags_add(d, &it);
    }
    pare_diags_free(said);
    return st;
}

pare_status pare_pipeline_model_open(const pare_pipeline *p, const pare_pipeline_model *pm, pare_diags *d,
                                     pare_model **out) {
    pare_model *m = NULL;
    pare_weights *w = NULL;
    pare_status st;
    if (pm->zoo)
        st = build(p, pm, d, &m);
    else
        st = pare_model_load(pm->onnx, d, &m);
    if (st) return at_entry(st, d, pm, pm->at);
    if (pm->weights) {
        st = pare_weights_read(pm->weights, d, &w);
        if (!st) st = pare_weights_apply(w, pm->weights, m, pm->reinit, pm->n_reinit, d);
        pare_weights_free(w);
        if (st) {
            pare_model_free(m);
            return at_entry(st, d, pm, pm->weights_at);
        }
    }
    st = pare_model_check(m, d);
    if (!st) st = pare_model_infer(m, d);
    if (st) {
        pare_model_free(m);
        return at_entry(st, d, pm, pm->at);
    }
    *out = m;
    return PARE_OK;
}
