/* pipeline/run_train_check.c - what can be known of training before anything runs: samples, labels, losses, teachers,
 * gradients. Asked by `pare check` and before a run's first step. See run_train.h. */
#include "pipeline/carry.h"
#include "pipeline/run_train.h"
#include "train/augment.h"

#include <stdlib.h>
#include <string.h>

/* The pipeline model at the start of the line a step works on. */
static uint32_t root_of(const pare_pipeline *p, pare_pipeline_ref ref) {
    while (ref.kind == PARE_REF_STEP) ref = p->steps[ref.i].input;
    return ref.i;
}

typedef struct check {
    pare_run *r;
    const pare_pipeline_step *s;
    const pare_model *m; /* as it is before earlier steps */
    const pare_data *set;
    pare_data *own;        /* the set, where its samples are made for this model */
    pare_fit_opts opts;    /* with the loss that the technique brings */
    pare_fit_loss brought; /* that one */
    pare_arena arena;
} check;

/* ---- samples ---- */

static pare_status open_set(check *c) {
    pare_run *r = c->r;
    int32_t i = c->s->fit->data;
    if (!pare_run_is_random(r->p, i)) return pare_run_set(r, i, true, &c->set);
    pare_data_target target = pare_run_target(c->m);
    pare_status st = pare_run_set_open(r, i, false, &target, &c->own);
    c->set = c->own;
    return st;
}

static pare_status check_samples(const check *c) {
    const pare_fit_opts *o = &c->opts;
    const pare_pipeline_set *named = &c->r->p->data.sets[c->s->fit->data];
    const pare_data_target samples = pare_run_target(c->m);
    uint64_t n = pare_data_count(c->set);
    pare_diags *d = c->r->d;
    if (pare_augments(&o->augment) && samples.ndim && (samples.ndim != 4 || samples.dtype != PARE_FLOAT))
        return pare_fail_at(d, PARE_EUNSUPPORTED, c->s->fit->at, "train.augment", "leave `augment` out",
                            "step %s: augmentation works on float32 images (N, C, H, W); the model takes %s of rank %u",
                            c->s->id, pare_dtype_name(samples.dtype), samples.ndim);
    if (o->drop_last && o->batch > n)
        return pare_fail_at(d, PARE_EINVAL, pare_params_locate(c->s->fit->keys, "batch"), "train.batch",
                            "use a smaller batch, or `drop_last: false`",
                            "step %s: the batch is %u, but the set %s has only %llu samples", c->s->id, o->batch,
                            named->name, (unsigned long long)n);
    pare_status st = pare_score_check_labels(c->set, named->name, c->m, false, d);
    if (st && st != PARE_ECANCELLED)
        pare_say_at(d, PARE_NOTE, named->source_at, "run.set", NULL, "this is where the set '%s' is described",
                    named->name);
    return st;
}

/* ---- losses ---- */

/* A technique may bring the loss it trains with: its parameters are that one's. */
static pare_status take_losses(check *c) {
    const pare_technique *t = c->s->technique;
    const char *id = PARE_HAS(pare_technique, t, loss) ? t->loss : NULL;
    const pare_loss *l = id ? pare_plugins_loss(c->r->o->plugins, id, NULL) : NULL;
    c->opts = c->s->fit->opts;
    if (!l || l->n_params != t->n_params) return PARE_OK; /* what is wrong with it the technique finds */
    if (c->opts.n_losses)
        return pare_fail_at(c->r->d, PARE_EINVAL, pare_params_locate(c->s->fit->keys, "loss"), "train.loss",
                            "leave `loss` out here, or `use: train.supervised` with it",
                            "step %s: %s has the loss %s and `fit.loss`: it is trained by one of them", c->s->id,
                            c->s->use, id);
    PARE_VEC(const char *) refs = {0};
    pare_param_table table = {l->params, l->n_params, l->param_stride};
    for (uint32_t i = 0; i < table.n; i++) {
        const pare_arg *a = &c->s->with->args[i];
        bool list = pare_param_at(table, i)->flags & PARE_PARAM_LIST;
        if (pare_param_at(table, i)->type != PARE_PARAM_MODEL) continue;
        for (uint64_t k = 0; k < a->n; k++) pare_vec_push(&refs, list ? a->u.list[k].u.s : a->u.s);
    }
    c->brought = (pare_fit_loss){.use = id, .component = l, .args = c->s->with->args, .weight = 1};
    c->brought.teachers =
        pare_arena_memdup(&c->arena, refs.data ? (const void *)refs.data : "", refs.len * sizeof *refs.data);
    c->brought.n_teachers = refs.len;
    pare_vec_free(&refs);
    c->opts.losses = &c->brought;
    c->opts.n_losses = 1;
    return PARE_OK;
}

/* As the loop will make it of the model that came in: patterns, losses, gradients; and what the losses take. */
static pare_status check_graph(const check *c) {
    pare_train_graph g;
    pare_diags *d = c->r->d;
    pare_train_loss_env env = {.host = {.diags = d, .step = c->s->id}};
    pare_status st = pare_train_graph_make(c->m, &c->opts, false, &env, d, &g);
    if (st) return st;
    if ((g.labels || g.targets || g.wants_labels) && !pare_data_labelled(c->set))
        st = pare_fail(d, PARE_EINVAL, "train.labels",
                       "use a loss that needs none, as distill.hinton with `alpha: 1`, or a set that has them",
                       "step %s: the loss takes labels, and the set %s has none", c->s->id,
                       c->r->p->data.sets[c->s->fit->data].name);
    else if (!c->r->report && pare_data_classes(c->set) == 1 && g.classes > 1) /* a run says it as it trains */
        pare_say(d, PARE_WARNING, "train.one-class", "step %s: all samples of the set %s are of one class", c->s->id,
                 c->r->p->data.sets[c->s->fit->data].name);
    pare_train_graph_free(&g);
    return st;
}

/* ---- teachers ---- */

static int64_t classes_of(const pare_model *m) {
    const pare_value *v = pare_model_value(m, pare_train_logits(m));
    return v && v->ndim == 2 ? v->dims[1].value : -1;
}

static pare_status check_teacher(const check *c, const char *ref) {
    pare_run *r = c->r;
    pare_pipeline_ref at;
    const pare_pipeline_model *line = NULL;
    const pare_model *teacher = NULL;
    pare_model *own = NULL;
    pare_data_preprocess pre, mine;
    pare_status st = PARE_OK;
    if (pare_pipeline_ref_find(r->p, ref, &at)) {
        line = &r->p->models[root_of(r->p, at)];
        teacher = r->models[root_of(r->p, at)].model;
    } else {
        st = pare_run_teacher_read(r, ref, !r->report, &own); /* a run says it when it is opened */
        teacher = own;
    }
    if (st || !teacher) return st; /* a model that does not open is said already */
    const pare_pipeline_model *student = &r->p->models[root_of(r->p, c->s->input)];
    pare_data_target theirs = pare_run_target(teacher), ours = pare_run_target(c->m);
    int64_t k = classes_of(teacher), classes = classes_of(c->m);
    st = pare_carry_preprocess(pare_carry_given(r->p, line), teacher, ref, r->d, &pre, NULL);
    if (!st) st = pare_carry_preprocess(pare_carry_given(r->p, student), c->m, student->name, r->d, &mine, NULL);
    if (!st) st = pare_run_teacher_fits(ref, &theirs, &pre, &ours, &mine, r->d);
    if (!st && k >= 0 && classes >= 0 && k != classes && !c->opts.logits)
        st =
            pare_fail(r->d, PARE_EINVAL, "train.teacher",
                      "both need the same classes: give the student a last layer of that size",
                      "the teacher \"%s\" tells %lld classes, the student %lld", ref, (long long)k, (long long)classes);
    pare_model_free(own);
    return st;
}

static pare_status check_teachers(const check *c) {
    pare_status st = PARE_OK;
    for (size_t i = 0; i < c->opts.n_losses && !st; i++)
        for (size_t k = 0; k < c->opts.losses[i].n_teachers && !st; k++)
            st = check_teacher(c, c->opts.losses[i].teachers[k]);
    return st;
}

/* ---- all of it ---- */

pare_status pare_train_check(pare_run *r, size_t i, const pare_model *m) {
    check c = {.r = r, .s = &r->p->steps[i], .m = m};
    if (!c.s->fit || !m) return PARE_OK;
    pare_status st = take_losses(&c);
    if (!st) st = open_set(&c);
    if (!st) st = check_samples(&c);
    if (!st) st = check_graph(&c);
    if (!st) st = check_teachers(&c);
    pare_data_free(c.own);
    pare_arena_free(&c.arena);
    return pare_run_train_said(r, i, st);
}

pare_status pare_run_train_prepare(pare_run *r) {
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->p->n_steps && !st; i++)
        st = pare_train_check(r, i, r->models[root_of(r->p, r->p->steps[i].input)].model);
    return st;
}
