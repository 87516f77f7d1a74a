/* pipeline/run_score.c - the metrics of a run that need execution: every row of the report against the baseline. See
 * run_parts.h. Models are opened again from where they were saved, one at a time beside the baseline. */
#include "model/pack.h"
#include "pipeline/run_parts.h"
#include "pipeline/score.h"

#include <math.h>

typedef struct scoring {
    pare_run *r;
    uint32_t wanted; /* PARE_METRIC_* */
    pare_compute compute;
    pare_data *set;
    pare_scored base;
    pare_logits logits; /* the baseline's */
} scoring;

static pare_metrics *metrics_of(pare_run *r, pare_pipeline_ref ref) {
    return ref.kind == PARE_REF_MODEL ? &r->report->input[ref.i] : &r->report->steps.data[ref.i].metrics;
}

static pare_status open_scored(scoring *s, pare_pipeline_ref ref, pare_scored *out) {
    pare_run *r = s->r;
    pare_model *m = NULL;
    pare_status st = ref.kind == PARE_REF_MODEL ? pare_pipeline_model_open(r->p, &r->p->models[ref.i], r->d, &m)
                                                : pare_model_load(pare_run_path(r, r->steps[ref.i].file), r->d, &m);
    if (!st) st = pare_scored_open(m, &s->compute, r->p->report.latency.threads, r->d, out);
    pare_model_free(m);
    return st;
}

static const pare_pipeline_model *line_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    return &p->models[ref.kind == PARE_REF_MODEL ? ref.i : p->steps[ref.i].model];
}

static void take_tally(scoring *s, const pare_tally *t, pare_metrics *mx) {
    uint32_t w = s->wanted;
    if (w & PARE_METRIC_LOSS) mx->loss = pare_tally_loss(t);
    if (w & PARE_METRIC_ACCURACY) mx->accuracy = pare_tally_accuracy(t);
    if (w & PARE_METRIC_TOP5) mx->top5 = pare_tally_top5(t);
    if (w & PARE_METRIC_AGREEMENT) mx->agreement = pare_tally_agreement(t);
    if (w & PARE_METRIC_SQNR) mx->sqnr_db = pare_tally_sqnr_db(t);
    if (w & PARE_METRIC_KL) mx->kl = pare_tally_kl(t);
    if (w & PARE_METRIC_ACCURACY) mx->mcnemar_p = pare_tally_mcnemar(t);
}

static pare_status score_set(scoring *s, pare_pipeline_ref ref, pare_scored *m, bool is_base) {
    pare_run *r = s->r;
    pare_tally t = {0};
    pare_status st = PARE_OK;
    if (!s->set) st = pare_score_set_open(r->p, r->p->report.on, &m->target, r->d, &s->set);
    if (!st)
        st = pare_score(m, s->set, line_of(r->p, ref)->preprocess, is_base ? NULL : &s->logits,
                        is_base ? &s->logits : NULL, r->o->progress, r->d, &t);
    if (!st) take_tally(s, &t, metrics_of(r, ref));
    pare_tally_free(&t);
    return st;
}

static pare_status score_time(scoring *s, pare_pipeline_ref ref, pare_scored *m, bool is_base) {
    pare_run *r = s->r;
    pare_session *sessions[] = {m->session, s->base.session};
    size_t n = is_base ? 1 : 2;
    uint32_t batch = r->p->report.latency.batch;
    pare_array **in[2] = {0};
    pare_latency l[2];
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && !st; i++) st = pare_score_noise(sessions[i], batch, r->d, &in[i]);
    if (!st) st = pare_latency_of(sessions, (pare_array *const *const *)in, n, r->p->report.latency.runs, r->d, l);
    if (!st) {
        pare_metrics *mx = metrics_of(r, ref);
        mx->latency_p50_ms = l[0].p50 * 1e3;
        mx->latency_p95_ms = l[0].p95 * 1e3;
        mx->images_per_s = batch / l[0].p50;
        if (!is_base) mx->latency_ratio = l[0].p50 / l[1].p50;
    }
    for (size_t i = 0; i < n; i++) pare_score_noise_free(sessions[i], in[i]);
    return st;
}

static pare_status score_row(scoring *s, pare_pipeline_ref ref, pare_scored *m, bool is_base) {
    pare_run *r = s->r;
    pare_status st = PARE_OK;
    if (r->o->progress)
        pare_progress_begin(r->o->progress,
                            pare_arena_printf(&r->arena, "%s: measuring", pare_pipeline_ref_name(r->p, ref)));
    if (s->wanted & PARE_METRICS_DATA) st = score_set(s, ref, m, is_base);
    if (!st && s->wanted & PARE_METRICS_TIME) st = score_time(s, ref, m, is_base);
    if (r->o->progress) pare_progress_end(r->o->progress);
    return st;
}

static pare_status score_other(scoring *s, pare_pipeline_ref ref) {
    pare_pipeline_ref b = s->r->p->report.baseline;
    if (ref.kind == b.kind && ref.i == b.i) return PARE_OK;
    pare_scored m = {0};
    pare_status st = open_scored(s, ref, &m);
    if (!st) st = score_row(s, ref, &m, false);
    pare_scored_close(&m);
    return st;
}

pare_status pare_run_score(pare_run *r) {
    scoring s = {.r = r, .wanted = r->p->report.metrics};
    pare_pipeline_ref b = r->p->report.baseline;
    if (!(s.wanted & (PARE_METRICS_DATA | PARE_METRICS_TIME))) return PARE_OK;
    pare_status st = pare_compute_open(r->o->plugins, r->o->device ? r->o->device : r->p->device, r->d, &s.compute);
    if (!st) st = open_scored(&s, b, &s.base);
    if (!st) st = score_row(&s, b, &s.base, true);
    for (size_t i = 0; i < r->p->n_models && !st; i++)
        st = score_other(&s, (pare_pipeline_ref){PARE_REF_MODEL, (uint32_t)i});
    for (size_t i = 0; i < r->p->n_steps && !st; i++)
        st = score_other(&s, (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i});
    pare_scored_close(&s.base);
    pare_logits_free(&s.logits);
    pare_data_free(s.set);
    pare_compute_close(&s.compute);
    return st;
}
