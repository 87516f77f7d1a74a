/* pipeline/run_score.c - the metrics of a run that need execution: every row of the report against the baseline. See
 * run_parts.h. Models are opened again from where they were saved: one at a time beside the baseline, and where latency
 * is wanted they stay open until all of them are timed in turn. */
#include "model/pack.h"
#include "pipeline/carry.h"
#include "pipeline/run_parts.h"
#include "pipeline/score.h"

#include <stdlib.h>

/* A model whose turn to be timed comes. */
typedef struct timed {
    pare_pipeline_ref ref;
    pare_scored m;
} timed;

enum { MOST_TOGETHER = 1 << 30 }; /* bytes of models that are timed in one group */

typedef struct scoring {
    pare_run *r;
    uint32_t wanted;  /* PARE_METRIC_* */
    uint32_t threads; /* 0: all */
    pare_compute compute;
    pare_data_preprocess pre; /* of the model opened last */
    pare_scored base;
    pare_logits logits; /* the baseline's */
    PARE_VEC(timed) group;
    int64_t group_bytes;
    bool base_timed, base_fixed; /* fixed: it can be timed */
} scoring;

static pare_metrics *metrics_of(pare_run *r, pare_pipeline_ref ref) {
    return ref.kind == PARE_REF_MODEL ? &r->report->input[ref.i] : &r->report->steps.data[ref.i].metrics;
}

static const pare_pipeline_model *line_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    return &p->models[ref.kind == PARE_REF_MODEL ? ref.i : p->steps[ref.i].model];
}

static pare_status open_scored(scoring *s, pare_pipeline_ref ref, pare_scored *out) {
    pare_run *r = s->r;
    pare_model *m = NULL;
    pare_status st = ref.kind == PARE_REF_MODEL ? pare_pipeline_model_open(r->p, &r->p->models[ref.i], r->d, &m)
                                                : pare_model_load(pare_run_path(r, r->steps[ref.i].file), r->d, &m);
    if (!st)
        st = pare_carry_preprocess(pare_carry_given(r->p, line_of(r->p, ref)), m, pare_pipeline_ref_name(r->p, ref),
                                   r->d, &s->pre, NULL);
    if (!st) st = pare_scored_open(m, &s->compute, s->threads, r->d, out);
    pare_model_free(m);
    if (!st) out->name = pare_pipeline_ref_name(r->p, ref);
    return st;
}

static void take_tally(scoring *s, const pare_tally *t, pare_metrics *mx) {
    uint32_t w = s->wanted;
    mx->not_finite = (int64_t)t->not_finite;
    if (w & PARE_METRIC_LOSS) mx->loss = pare_tally_loss(t);
    if (w & PARE_METRIC_ACCURACY) mx->accuracy = pare_tally_accuracy(t);
    if (w & PARE_METRIC_TOP5) mx->top5 = pare_tally_top5(t);
    if (w & PARE_METRIC_AGREEMENT) mx->agreement = pare_tally_agreement(t);
    if (w & PARE_METRIC_SQNR) mx->sqnr_db = pare_tally_sqnr_db(t);
    if (w & PARE_METRIC_KL) mx->kl = pare_tally_kl(t);
    if (w & PARE_METRIC_ACCURACY) mx->mcnemar_p = pare_tally_mcnemar(t);
    if (w & PARE_METRIC_ACCURACY) mx->classes = pare_score_classes_json(s->r->set, t);
}

static pare_status score_set(scoring *s, pare_pipeline_ref ref, pare_scored *m, bool is_base) {
    pare_run *r = s->r;
    pare_tally t = {0};
    pare_status st = PARE_OK;
    if (!r->set) st = pare_score_set_open(r->p, r->p->report.on, &m->target, r->d, &r->set);
    if (!st)
        st = pare_score(m, r->set, &s->pre, is_base ? NULL : &s->logits, is_base ? &s->logits : NULL, r->o->progress,
                        r->d, &t);
    if (!st) take_tally(s, &t, metrics_of(r, ref));
    if (!st && is_base) r->report->samples = t.samples;
    if (!st) r->report->set = r->p->data.sets[r->p->report.on].name;
    pare_tally_free(&t);
    return st;
}

static uint32_t threads_of(const scoring *s) { return s->threads ? s->threads : (uint32_t)pare_threads(); }

/* Notes under what it was measured. */
static void note_latency(scoring *s, const pare_scored *m, uint64_t runs) {
    pare_report_latency *l = &s->r->report->latency;
    if (!l->engine) l->engine = pare_xstrdup(pare_session_device(m->session));
    l->device = s->compute.device; /* a plugin's, the command line's or the pipeline's own */
    l->batch = s->r->p->report.latency.batch;
    if (!s->base_timed) l->threads[l->n_threads++] = threads_of(s);
    if (!l->runs || runs < l->runs) l->runs = runs;
}

static void take_latency(scoring *s, pare_pipeline_ref ref, const pare_latency *l, const pare_latency_ratio *ratio) {
    pare_metrics *mx = metrics_of(s->r, ref);
    const pare_timed t = {.threads = threads_of(s),
                          .p50_ms = l->p50 * 1e3,
                          .p95_ms = l->p95 * 1e3,
                          .images_per_s = s->r->p->report.latency.batch / l->p50,
                          .ratio = ratio->ratio,
                          .low = ratio->low,
                          .high = ratio->high};
    pare_vec_push(&mx->timed, t);
    if (mx->timed.len > 1) return;
    mx->latency_p50_ms = t.p50_ms;
    mx->latency_p95_ms = t.p95_ms;
    mx->images_per_s = t.images_per_s;
    mx->latency_ratio = t.ratio;
    mx->latency_ratio_low = t.low;
    mx->latency_ratio_high = t.high;
}

/* Times the baseline and the models of the group in turn, and lets go of them. The baseline's row has the numbers of
 * the first group. */
static pare_status time_group(scoring *s) {
    pare_run *r = s->r;
    size_t n = s->group.len + 1;
    if (n == 1 && s->base_timed) return PARE_OK;
    pare_session **sessions = pare_xcalloc(n, sizeof *sessions);
    pare_array ***in = pare_xcalloc(n, sizeof *in);
    pare_latency *l = pare_xcalloc(n, sizeof *l);
    pare_latency_ratio *ratios = pare_xcalloc(n, sizeof *ratios);
    pare_status st = PARE_OK;
    if (r->o->progress) pare_progress_begin(r->o->progress, "latency");
    for (size_t i = 0; i < n; i++) sessions[i] = i ? s->group.data[i - 1].m.session : s->base.session;
    for (size_t i = 0; i < n && !st; i++) st = pare_score_noise(sessions[i], r->p->report.latency.batch, r->d, &in[i]);
    if (!st)
        st = pare_latency_against(sessions, (pare_array *const *const *)in, n, r->p->report.latency.runs, r->d, l,
                                  ratios);
    for (size_t i = s->base_timed ? 1 : 0; i < n && !st; i++)
        take_latency(s, i ? s->group.data[i - 1].ref : r->p->report.baseline, &l[i], &ratios[i]);
    if (!st) note_latency(s, &s->base, l[0].runs);
    s->base_timed = true;
    if (r->o->progress) pare_progress_end(r->o->progress);
    for (size_t i = 0; i < n; i++) pare_score_noise_free(sessions[i], in[i]);
    for (size_t i = 0; i < s->group.len; i++) pare_scored_close(&s->group.data[i].m);
    s->group.len = 0;
    s->group_bytes = 0;
    free(sessions);
    free(in);
    free(l);
    free(ratios);
    return st;
}

static pare_status score_row(scoring *s, pare_pipeline_ref ref, pare_scored *m, bool is_base) {
    pare_run *r = s->r;
    if (!(s->wanted & PARE_METRICS_DATA)) return PARE_OK;
    if (r->o->progress)
        pare_progress_begin(r->o->progress,
                            pare_arena_printf(&r->arena, "%s: measuring", pare_pipeline_ref_name(r->p, ref)));
    pare_status st = score_set(s, ref, m, is_base);
    if (r->o->progress) pare_progress_end(r->o->progress);
    return st;
}

static pare_status score_other(scoring *s, pare_pipeline_ref ref) {
    pare_pipeline_ref b = s->r->p->report.baseline;
    if (ref.kind == b.kind && ref.i == b.i) return PARE_OK;
    timed t = {.ref = ref};
    pare_status st = open_scored(s, ref, &t.m);
    if (!st) st = score_row(s, ref, &t.m, false);
    if (st || !(s->wanted & PARE_METRICS_TIME) || !s->base_fixed || !pare_score_can_time(&t.m, s->r->d)) {
        pare_scored_close(&t.m);
        return st;
    }
    pare_vec_push(&s->group, t);
    s->group_bytes += metrics_of(s->r, ref)->bytes;
    return s->group_bytes > MOST_TOGETHER ? time_group(s) : PARE_OK;
}

pare_status pare_run_score_prepare(pare_run *r) {
    const pare_pipeline *p = r->p;
    uint32_t wanted = p->report.metrics;
    if (!(wanted & PARE_METRICS_DATA)) return PARE_OK;
    int32_t root = p->report.on;
    while (p->data.sets[root].from >= 0) root = p->data.sets[root].from;
    if (p->data.sets[root].source->kind == PARE_DATA_RANDOM) return PARE_OK; /* made for a model's input */
    pare_status st = pare_score_set_open(p, p->report.on, NULL, r->d, &r->set);
    if (!st)
        st = pare_score_check_labels(r->set, p->data.sets[p->report.on].name, r->models[p->main_model].model,
                                     wanted & PARE_METRICS_LABELS, r->d);
    if (st && st != PARE_ECANCELLED)
        pare_say_at(r->d, PARE_NOTE, p->report.on_at, "run.measure", NULL, "this is where the report asks for it");
    return st;
}

/* All rows at one number of threads. */
static pare_status score_all(pare_run *r, uint32_t wanted, uint32_t threads) {
    scoring s = {.r = r, .wanted = wanted, .threads = threads};
    pare_pipeline_ref b = r->p->report.baseline;
    pare_status st = pare_compute_open(r->o->plugins, r->o->device ? r->o->device : r->p->device, r->d, &s.compute);
    if (!st) st = open_scored(&s, b, &s.base);
    if (!st && s.wanted & PARE_METRICS_TIME) s.base_fixed = pare_score_can_time(&s.base, r->d);
    if (!st) st = score_row(&s, b, &s.base, true);
    for (size_t i = 0; i < r->p->n_models && !st; i++)
        st = score_other(&s, (pare_pipeline_ref){PARE_REF_MODEL, (uint32_t)i});
    for (size_t i = 0; i < r->p->n_steps && !st; i++)
        st = score_other(&s, (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i});
    if (!st && s.base_fixed) st = time_group(&s);
    for (size_t i = 0; i < s.group.len; i++) pare_scored_close(&s.group.data[i].m);
    pare_vec_free(&s.group);
    pare_scored_close(&s.base);
    pare_logits_free(&s.logits);
    pare_compute_close(&s.compute);
    return st;
}

pare_status pare_run_score(pare_run *r) {
    const pare_pipeline *p = r->p;
    uint32_t wanted = p->report.metrics, all = (uint32_t)pare_threads();
    if (!(wanted & (PARE_METRICS_DATA | PARE_METRICS_TIME))) return PARE_OK;
    pare_status st = score_all(r, wanted, p->report.latency.threads[0]);
    for (uint32_t i = 1; i < p->report.latency.n_threads && !st && wanted & PARE_METRICS_TIME; i++) {
        uint32_t n = p->report.latency.threads[i];
        bool again = false; /* all, on a machine that has as many as were asked for before */
        for (uint32_t k = 0; k < i; k++) {
            uint32_t other = p->report.latency.threads[k];
            again = again || (n ? n : all) == (other ? other : all);
        }
        if (!again) st = score_all(r, wanted & PARE_METRICS_TIME, n);
    }
    return st;
}
