/* pipeline/run_fits.c - what a run will need at its end, looked at before its start: a device where something is
 * executed, and samples that the models take. See run_parts.h; pare check asks the same. */
#include "pipeline/carry.h"
#include "pipeline/run_train.h"

#include <stdlib.h>
#include <string.h>

pare_data_target pare_run_target(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    pare_data_target t = {0};
    for (size_t i = 0; i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(m, g->inputs.data[i]);
        if (v->tensor) continue;
        t.dtype = v->dtype;
        t.ndim = v->ndim > 0 && v->ndim <= PARE_ARRAY_DIMS ? (uint32_t)v->ndim : 0;
        for (uint32_t k = 0; k < t.ndim; k++) t.dims[k] = k ? v->dims[k].value : -1;
        return t;
    }
    return t;
}

/* ---- devices ---- */

static pare_status device_opens(pare_run *r, const char *device) {
    pare_compute c;
    pare_status st = pare_compute_open(r->o->plugins, r->o->device ? r->o->device : device, r->d, &c);
    pare_compute_close(&c);
    return st;
}

static pare_status devices(pare_run *r) {
    const pare_pipeline *p = r->p;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < p->n_steps && !st; i++)
        if (p->steps[i].fit) st = pare_run_train_said(r, i, device_opens(r, p->steps[i].device));
    if (st || !(p->report.metrics & (PARE_METRICS_DATA | PARE_METRICS_TIME))) return st;
    st = device_opens(r, p->device);
    if (st)
        pare_say_at(r->d, PARE_NOTE, p->report.at, "run.measure", NULL,
                    "the report asks for metrics that need a model to run");
    return st;
}

/* ---- samples ---- */

/* Decodes one: what is known sooner is refused sooner. */
static pare_status set_fits(pare_run *r, const pare_data *set, uint32_t model) {
    const pare_pipeline_model *pm = &r->p->models[model];
    const pare_model *m = r->models[model].model;
    pare_data_preprocess pre;
    pare_reader *reader = NULL;
    pare_batch b = {0};
    if (!m || !set) return PARE_OK; /* said already */
    pare_data_target target = pare_run_target(m);
    pare_reader_opts opts = {.batch = 1, .threads = 1, .ahead = 1};
    pare_status st = pare_carry_preprocess(pare_carry_given(r->p, pm), m, pm->name, r->d, &pre, NULL);
    if (!st) st = pare_reader_open(set, &pre, &target, &opts, r->d, &reader);
    if (!st) st = pare_reader_next(reader, r->d, &b);
    pare_batch_free(&b);
    pare_reader_close(reader);
    if (st && st != PARE_ECANCELLED)
        pare_say_at(r->d, PARE_NOTE, pm->at, "run.model", NULL, "this is where model '%s' is asked for", pm->name);
    return st;
}

static uint32_t root_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    while (ref.kind == PARE_REF_STEP) ref = p->steps[ref.i].input;
    return ref.i;
}

static pare_status validation_fits(pare_run *r, const pare_pipeline_step *s) {
    const pare_data *set = NULL;
    uint32_t root = root_of(r->p, s->input);
    if (s->fit->validate < 0 || pare_run_is_random(r->p, s->fit->validate) || !r->models[root].model) return PARE_OK;
    pare_status st = pare_run_set(r, s->fit->validate, false, &set);
    if (!st)
        st = pare_score_check_labels(set, r->p->data.sets[s->fit->validate].name, r->models[root].model, true, r->d);
    return st ? st : set_fits(r, set, root);
}

static pare_status samples(pare_run *r) {
    const pare_pipeline *p = r->p;
    pare_status first = PARE_OK, st;
    /* each pair of a set and a model once */
    char *seen = pare_xcalloc(p->n_models * p->data.n_sets + 1, 1);
    for (size_t i = 0; i < p->n_models && p->report.on >= 0 && !pare_cancelled(); i++) {
        seen[i * p->data.n_sets + (size_t)p->report.on] = 1;
        st = set_fits(r, r->set, (uint32_t)i); /* NULL where samples are made for each model, or none are wanted */
        if (st && !first) first = st;
        if (st && st != PARE_ECANCELLED)
            pare_say_at(r->d, PARE_NOTE, p->report.on_at, "run.measure", NULL, "this is where the report asks for it");
    }
    for (size_t i = 0; i < p->n_steps && !pare_cancelled(); i++) {
        const pare_pipeline_step *s = &p->steps[i];
        uint32_t root = root_of(p, s->input);
        char *mine = s->fit ? &seen[root * p->data.n_sets + (size_t)s->fit->data] : NULL;
        if (!mine) continue;
        const pare_data *set = r->sets ? r->sets[2 * s->fit->data + 1] : NULL; /* open, if it could be opened */
        st = *mine ? PARE_OK : set_fits(r, set, root);
        *mine = 1;
        if (!st) st = validation_fits(r, s);
        pare_run_train_said(r, i, st);
        if (st && !first) first = st;
    }
    free(seen);
    return first;
}

pare_status pare_run_fits(pare_run *r) {
    pare_status st = devices(r), next = pare_cancelled() ? PARE_ECANCELLED : samples(r);
    return st ? st : next;
}
