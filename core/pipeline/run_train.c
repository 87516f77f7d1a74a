/* pipeline/run_train.c - what a step that trains is given: its samples, device, validation, progress and curves.
 *
 * See run_train.h. Is not: the loop (train/fit.h), teachers (run_teach.c), sets by name (run_data.c), looking before it
 * starts (run_train_check.c).
 */
#include "base/random.h"
#include "pipeline/carry.h"
#include "pipeline/run_train.h"

#include <math.h>
#include <pare/fit.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets ---- */

bool pare_run_is_random(const pare_pipeline *p, int32_t i) {
    while (p->data.sets[i].from >= 0) i = p->data.sets[i].from;
    return p->data.sets[i].source->kind == PARE_DATA_RANDOM;
}

pare_status pare_run_set_open(pare_run *r, int32_t i, bool shuffle, const pare_data_target *target, pare_data **out) {
    const pare_pipeline_set *s = &r->p->data.sets[i];
    pare_data_source source = *s->source;
    const pare_data *from = NULL;
    pare_data *own = NULL;
    pare_status st = PARE_OK;
    if (s->from >= 0 && pare_run_is_random(r->p, i)) {
        st = pare_run_set_open(r, s->from, false, target, &own);
        from = own;
    } else if (s->from >= 0) {
        st = pare_run_set(r, s->from, false, &from);
    }
    if (!st) {
        source.from = from;
        source.shuffle = source.shuffle || shuffle;
        st = pare_data_open(&source, target, r->d, out);
        if (st && st != PARE_ECANCELLED)
            pare_say_at(r->d, PARE_NOTE, s->source_at, "run.set", NULL, "this is where the set '%s' is described",
                        s->name);
    }
    pare_data_free(own);
    return st;
}

pare_status pare_run_set(pare_run *r, int32_t i, bool shuffle, const pare_data **out) {
    if (!r->sets) r->sets = pare_xcalloc(2 * r->p->data.n_sets + 1, sizeof *r->sets);
    pare_data **kept = &r->sets[2 * i + shuffle];
    pare_status st = *kept ? PARE_OK : pare_run_set_open(r, i, shuffle, NULL, kept);
    if (!st) *out = *kept;
    return st;
}

void pare_run_sets_free(pare_run *r) {
    for (size_t i = 0; r->sets && i < 2 * r->p->data.n_sets; i++) pare_data_free(r->sets[i]);
    free(r->sets);
    r->sets = NULL;
}

static pare_status named_set(void *ctx, const char *name, const pare_data **out) {
    enum { NOISE = 1024 };
    pare_run_train *t = ctx;
    const pare_pipeline *p = t->r->p;
    int32_t i = -1;
    if (name) {
        pare_status st = pare_run_set_find(t, name, &i);
        return st ? st : pare_run_step_set(t, i, i >= 0, &t->target, NOISE, out);
    }
    i = t->step->fit ? t->step->fit->data : pare_pipeline_set_find(p, "train");
    if (i >= 0) return pare_run_step_set(t, i, true, &t->target, 0, out);
    return pare_fail_at(t->r->d, PARE_EINVAL, t->step->at, "run.set", "say it with `data`",
                        "step %s doesn't say which set of `data` it works on", t->step->id);
}

/* ---- what the loop tells ---- */

static void on_progress(void *ctx, double done, const char *what) {
    pare_run_train *t = ctx;
    if (t->r->o->progress) pare_progress_update(t->r->o->progress, done, what);
}

static void on_curve(void *ctx, const char *name, double x, double y) {
    pare_run_train *t = ctx;
    json_t *curves = json_object_get(t->notes, "curves");
    if (!curves) return;
    json_t *points = json_object_get(curves, name);
    if (!points) json_object_set_new(curves, name, points = json_array());
    json_t *value = isfinite(y) ? json_real(y) : json_null();
    json_array_append_new(points, json_pack("[f, o]", x, value));
}

static void on_say(void *ctx, const char *line) {
    pare_run_train *t = ctx;
    if (!t->r->dir.log) return;
    fprintf(t->r->dir.log, "%s: %s\n", t->step->id, line);
    fflush(t->r->dir.log);
}

/* Accuracy on the validation set. */
static pare_status on_validate(void *ctx, pare_model *m, uint32_t epoch, double *score) {
    pare_run_train *t = ctx;
    pare_scored s;
    pare_tally tally = {0};
    pare_status st = pare_scored_open(m, t->services.env.compute, 0, t->r->d, &s);
    if (st) return st;
    s.name = t->step->id;
    st = pare_score(&s, t->validate, &t->pre, NULL, NULL, NULL, t->r->d, &tally);
    pare_scored_close(&s);
    if (!st) {
        char line[160];
        *score = pare_tally_accuracy(&tally);
        on_curve(t, "accuracy", epoch + 1, *score);
        on_curve(t, "validation_loss", epoch + 1, pare_tally_loss(&tally));
        snprintf(line, sizeof line, "epoch %u: accuracy %.2f %%, loss %.5f on %s", epoch + 1, 100 * *score,
                 pare_tally_loss(&tally), t->r->p->data.sets[t->step->fit->validate].name);
        on_say(t, line);
    }
    pare_tally_free(&tally);
    return st;
}

/* ---- opening ---- */

static const pare_loss *find_loss(void *ctx, const char *id) { return pare_plugins_loss(ctx, id, NULL); }

static pare_status open_compute(pare_run_train *t) {
    pare_run *r = t->r;
    if (t->services.env.compute) return PARE_OK;
    pare_status st = pare_compute_open(r->o->plugins, r->o->device ? r->o->device : t->step->device, r->d, &t->compute);
    if (!st) t->services.env.compute = &t->compute;
    return st;
}

static pare_status ready(void *ctx) { return open_compute(ctx); }

static pare_status open_validation(pare_run_train *t) {
    const pare_pipeline_set *s = &t->r->p->data.sets[t->step->fit->validate];
    pare_status st = pare_run_step_set(t, t->step->fit->validate, false, &t->target, 0, &t->validate);
    if (!st) st = pare_score_check_labels(t->validate, s->name, t->model, true, t->r->d);
    if (!st) t->services.env.validate = on_validate;
    return st;
}

const char *pare_run_checkpoint(pare_run *r, size_t i) {
    return pare_run_path(
        r, pare_arena_printf(&r->arena, "steps/%02zu-%s/checkpoint.safetensors", i + 1, r->p->steps[i].id));
}

void pare_run_train_begin(pare_run *r, size_t i, const pare_model *model, json_t *notes, pare_run_train *t) {
    const pare_pipeline_step *s = &r->p->steps[i];
    *t = (pare_run_train){
        .r = r, .step = s, .notes = notes, .model = model, .seed = pare_seed_derive(r->p->seed, s->id)};
    if (model) t->target = pare_run_target(model);
    t->runs = pare_run_services_of(t);
    t->services = (pare_train_services){
        .env = {.progress = on_progress, .curve = on_curve, .say = on_say, .preprocess = &t->pre, .ctx = t},
        .losses = {.find = find_loss, .ctx = r->o->plugins},
        .teacher = pare_run_teacher,
        .data = named_set,
        .ready = ready,
        .ctx = t};
}

pare_status pare_run_train_open(pare_run *r, size_t i, json_t *notes, pare_run_train *t) {
    const pare_pipeline_step *s = &r->p->steps[i];
    pare_run_train_begin(r, i, pare_run_slot_of(r, s->input)->model, notes, t);
    pare_status st = pare_run_pre(t);
    if (st || !s->fit) return st;
    t->opts = s->fit->opts;
    t->opts.seed = r->seeds[i];
    t->opts.checkpoint = pare_run_checkpoint(r, i);
    t->services.fit = &t->opts;
    t->services.env.teach = pare_run_teach;
    char *folder = pare_path_dir(t->opts.checkpoint);
    st = pare_dir_make(folder, r->d);
    free(folder);
    if (!st) st = open_compute(t);
    if (!st) st = pare_run_step_set(t, s->fit->data, true, &t->target, 0, &t->services.env.set);
    if (!st && s->fit->validate >= 0) st = open_validation(t);
    if (st) pare_run_train_close(t);
    return st;
}

void pare_run_train_close(pare_run_train *t) {
    pare_run_teachers_close(t);
    pare_run_own_free(t);
    pare_compute_close(&t->compute);
    pare_compute_close(&t->cpu);
    t->services.env.compute = NULL;
}

/* Without a fit block the device is opened by those who need it (ready). */
const void *pare_run_train_ext(pare_run_train *t, const char *id) {
    (void)t;
    return strcmp(id, PARE_FIT_V1) == 0 ? &pare_fit_interface : NULL;
}

pare_status pare_run_train_said(pare_run *r, size_t i, pare_status st) {
    const pare_pipeline_step *s = &r->p->steps[i];
    if (st && st != PARE_ECANCELLED && s->fit)
        pare_say_at(r->d, PARE_NOTE, s->fit->at, "run.train", NULL, "this is where step %s is asked to train", s->id);
    return st;
}
