/* pipeline/run_data.c - what a step is given to run its model on samples: sets by name, devices, metrics; and what it
 * leaves behind besides a model. See run_train.h and plugin/runner.h.
 *
 * Is not: the running (plugin/runner.c), the metrics' arithmetic (evaluate.h).
 */
#include "pipeline/carry.h"
#include "pipeline/run_train.h"

#include <stdlib.h>
#include <string.h>

/* ---- sets ---- */

pare_status pare_run_set_find(const pare_run_train *t, const char *name, int32_t *out) {
    const pare_pipeline *p = t->r->p;
    *out = strcmp(name, PARE_RANDOM_SET) == 0 ? -1 : pare_pipeline_set_find(p, name);
    if (*out >= 0 || strcmp(name, PARE_RANDOM_SET) == 0) return PARE_OK;
    const char **names = pare_xcalloc(p->data.n_sets + 1, sizeof *names);
    pare_sb hint = {0};
    for (size_t k = 0; k < p->data.n_sets; k++) names[k] = p->data.sets[k].name;
    names[p->data.n_sets] = PARE_RANDOM_SET;
    const char *near = pare_nearest(name, names, p->data.n_sets + 1);
    if (near) pare_sb_printf(&hint, "did you mean \"%s\"? ", near);
    pare_sb_add(&hint, "known are: ");
    for (size_t k = 0; k <= p->data.n_sets; k++) pare_sb_printf(&hint, "%s%s", k ? ", " : "", names[k]);
    pare_status st = pare_fail_at(t->r->d, PARE_ENOTFOUND, t->step->at, "run.set", pare_sb_str(&hint),
                                  "step %s: there is no set \"%s\" in `data`", t->step->id, name);
    pare_sb_free(&hint);
    free(names);
    return st;
}

/* Noise for a model's input. */
static pare_status open_noise(pare_run_train *t, const pare_data_target *target, uint64_t samples, pare_data **out) {
    const pare_data_source source = {
        .kind = PARE_DATA_RANDOM, .name = PARE_RANDOM_SET, .count = samples, .seed = t->seed};
    return pare_data_open(&source, target, t->r->d, out);
}

/* One of those that the step keeps for itself. */
static pare_run_own_set *find_own(pare_run_train *t, int32_t set, bool shuffle, uint64_t samples) {
    for (size_t i = 0; i < t->own_sets.len; i++) {
        pare_run_own_set *o = &t->own_sets.data[i];
        if (o->set == set && o->shuffle == shuffle && o->samples == samples) return o;
    }
    return NULL;
}

pare_status pare_run_step_set(pare_run_train *t, int32_t i, bool shuffle, const pare_data_target *target,
                              uint64_t samples, const pare_data **out) {
    if (i >= 0 && !pare_run_is_random(t->r->p, i)) return pare_run_set(t->r, i, shuffle, out);
    if (i >= 0) samples = 0;
    const pare_run_own_set *known = find_own(t, i, shuffle, samples);
    pare_run_own_set own = {.set = i, .shuffle = shuffle, .samples = samples};
    pare_status st = PARE_OK;
    if (known)
        own = *known;
    else
        st = i >= 0 ? pare_run_set_open(t->r, i, shuffle, target, &own.opened)
                    : open_noise(t, target, samples, &own.opened);
    if (st) return st;
    if (!known) pare_vec_push(&t->own_sets, own);
    *out = own.opened;
    return PARE_OK;
}

void pare_run_own_free(pare_run_train *t) {
    for (size_t i = 0; i < t->own_sets.len; i++) pare_data_free(t->own_sets.data[i].opened);
    for (size_t i = 0; i < t->files.len; i++) {
        free(t->files.data[i].name);
        free(t->files.data[i].bytes);
    }
    pare_vec_free(&t->own_sets);
    pare_vec_free(&t->files);
}

pare_status pare_run_pre(pare_run_train *t) {
    const pare_pipeline_model *pm = &t->r->p->models[t->step->model];
    if (t->pre_known || !t->model) return PARE_OK;
    pare_status st = pare_carry_preprocess(pare_carry_given(t->r->p, pm), t->model, pm->name, t->r->d, &t->pre, NULL);
    t->pre_known = !st;
    return st;
}

/* ---- pare.run/1 ---- */

static pare_status run_set(void *ctx, const char *name, const pare_data_target *target, uint64_t samples,
                           const pare_data **out, const pare_data_preprocess **pre) {
    enum { NOISE = 300 };
    pare_run_train *t = ctx;
    int32_t i;
    pare_status st = pare_run_set_find(t, name, &i);
    if (!st) st = pare_run_pre(t);
    if (!st) st = pare_run_step_set(t, i, false, target, samples ? samples : NOISE, out);
    *pre = &t->pre;
    return st;
}

static pare_status run_compute(void *ctx, bool cpu, const pare_compute **out) {
    pare_run_train *t = ctx;
    pare_status st = PARE_OK;
    if (cpu) {
        if (!t->cpu.device) st = pare_compute_open(t->r->o->plugins, "cpu", t->r->d, &t->cpu);
        *out = &t->cpu;
        return st;
    }
    if (!t->services.env.compute) st = t->services.ready(t);
    *out = t->services.env.compute;
    return st;
}

/* The whole set, or a part of it that is drawn by the pipeline's seed. */
static pare_status part_of(pare_run_train *t, int32_t i, const pare_data_target *target, uint64_t samples,
                           const pare_data **out) {
    const pare_data *whole = NULL;
    pare_status st = pare_run_step_set(t, i, false, target, samples, &whole);
    if (st) return st;
    *out = whole;
    if (i < 0 || !samples || samples >= pare_data_count(whole)) return PARE_OK;
    const pare_run_own_set *known = find_own(t, i, false, samples);
    pare_run_own_set own = {.set = i, .samples = samples};
    const pare_data_source source = {.kind = PARE_DATA_FROM, .from = whole, .take = samples, .seed = t->r->p->seed};
    if (known)
        own = *known;
    else
        st = pare_data_open(&source, target, t->r->d, &own.opened);
    if (st) return st;
    if (!known) pare_vec_push(&t->own_sets, own);
    *out = own.opened;
    return PARE_OK;
}

/* What is said again and again is said once. */
static void say_once(pare_run_train *t, pare_diags *said) {
    for (size_t i = 0; i < pare_diags_count(said); i++) {
        const pare_diag_item *it = pare_diags_get(said, i);
        if (it->severity == PARE_ERROR || !t->evaluated) pare_diags_add(t->r->d, it);
    }
}

static pare_status evaluate_on(pare_run_train *t, const pare_compute *c, const pare_model *m, int32_t set,
                               const char *name, bool labels, uint64_t samples, pare_diags *d, pare_tally *out) {
    const pare_data *on = NULL;
    pare_scored s;
    pare_status st = pare_scored_open(m, c, 0, d, &s);
    if (st) return st;
    s.name = t->step->id;
    st = pare_run_pre(t);
    if (!st) st = part_of(t, set, &s.target, samples, &on);
    if (!st) st = pare_score_check_labels(on, name, m, labels, d);
    if (!st) st = pare_score(&s, on, &t->pre, NULL, NULL, NULL, d, out);
    pare_scored_close(&s);
    return st;
}

static pare_status run_evaluate(void *ctx, const pare_model *m, const char *data, const char *metric, uint64_t samples,
                                double *out) {
    static const struct {
        const char *name;
        double (*of)(const pare_tally *);
    } metrics[] = {{"accuracy", pare_tally_accuracy}, {"top5", pare_tally_top5}, {"loss", pare_tally_loss}};
    pare_run_train *t = ctx;
    const pare_compute *c = NULL;
    size_t k = 0;
    int32_t i;
    while (k < sizeof metrics / sizeof *metrics && strcmp(metrics[k].name, metric) != 0) k++;
    if (k == sizeof metrics / sizeof *metrics)
        return pare_fail_at(t->r->d, PARE_EINVAL, t->step->at, "run.metric", "there are: accuracy, top5, loss",
                            "step %s: there is no metric \"%s\" of a model alone", t->step->id, metric);
    pare_status st = pare_run_set_find(t, data, &i);
    if (!st) st = run_compute(t, false, &c);
    bool again = false;
    do {
        pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_tally tally = {0};
        if (!st) st = evaluate_on(t, c, m, i, data, true, samples, said, &tally);
        again = st == PARE_ENOMEM && c && c->main.backend != c->host.backend;
        if (again)
            st = run_compute(t, true, &c);
        else
            say_once(t, said);
        if (!st && !again) *out = metrics[k].of(&tally);
        pare_tally_free(&tally);
        pare_diags_free(said);
    } while (again && !st);
    t->evaluated = t->evaluated || !st;
    return st;
}

pare_run_services pare_run_services_of(pare_run_train *t) {
    return (pare_run_services){.set = run_set, .compute = run_compute, .evaluate = run_evaluate, .ctx = t};
}

/* ---- files ---- */

pare_status pare_run_keep_file(void *ctx, const char *name, const void *bytes, uint64_t n) {
    pare_run_train *t = ctx;
    pare_run_file f = {.name = pare_xstrdup(name), .bytes = pare_try_alloc(n ? (size_t)n : 1), .n = n};
    if (!f.bytes) {
        free(f.name);
        return PARE_ENOMEM;
    }
    if (n) memcpy(f.bytes, bytes, (size_t)n);
    for (size_t i = 0; i < t->files.len; i++) { /* the same file again: the latest stays */
        pare_run_file *old = &t->files.data[i];
        if (strcmp(old->name, name) != 0) continue;
        free(old->name);
        free(old->bytes);
        *old = f;
        return PARE_OK;
    }
    pare_vec_push(&t->files, f);
    return PARE_OK;
}
