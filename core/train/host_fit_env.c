/* train/host_fit_env.c - what a component's fit works with: losses, teachers, and what the loop asks and tells. See
 * host_fit.h.
 *
 * Is not: the interface's functions (host_fit.c).
 */
#include "train/host_fit.h"

#include "plugin/param.h"

#include <string.h>

/* ---- what the loop asks and tells ---- */

static pare_status on_teach(void *ctx, pare_session *teacher, const pare_batch *b, pare_array *images,
                            pare_array **out) {
    const pare_open_fit *o = ctx;
    return o->given->env.teach(o->given->env.ctx, teacher, b, images, out);
}

static pare_status on_validate(void *ctx, pare_model *m, uint32_t epoch, double *score) {
    const pare_open_fit *o = ctx;
    return o->given->env.validate(o->given->env.ctx, m, epoch, score);
}

static void on_progress(void *ctx, double done, const char *what) {
    pare_open_fit *o = ctx;
    pare_host_pass(o->h, o->said, &o->passed); /* a warning is of use while it runs */
    if (o->given->env.progress)
        o->given->env.progress(o->given->env.ctx, done, what);
    else
        o->h->tick(o->h, done, what);
}

static void on_curve(void *ctx, const char *name, double x, double y) {
    const pare_open_fit *o = ctx;
    if (o->given->env.curve)
        o->given->env.curve(o->given->env.ctx, name, x, y);
    else
        pare_host_note_v1.curve(o->h, name, x, y);
}

static void on_say(void *ctx, const char *line) {
    const pare_open_fit *o = ctx;
    if (o->given->env.say) o->given->env.say(o->given->env.ctx, line);
}

pare_fit_env pare_host_fit_env(pare_open_fit *o) {
    pare_fit_env env = o->given->env;
    env.loss.host = (pare_host_env){.diags = o->said, .seed = o->s->env.seed, .plugin = env.loss.host.plugin};
    env.teachers = o->teachers.data;
    env.n_teachers = o->teachers.len;
    env.teach = env.teach ? on_teach : NULL;
    env.validate = env.validate ? on_validate : NULL;
    env.progress = on_progress;
    env.curve = on_curve;
    env.say = on_say;
    env.ctx = o;
    return env;
}

/* ---- losses ---- */

static bool own(const char *use) { return strcmp(use, "cross_entropy") == 0 || strcmp(use, "mse") == 0; }

static pare_status find_component(pare_open_fit *o, const char *use, const pare_loss **out) {
    const pare_loss_set *set = &o->given->losses;
    *out = set->find && !own(use) ? set->find(set->ctx, use) : NULL;
    if (*out || own(use)) return PARE_OK;
    pare_diag_item it = {.code = "train.loss",
                         .message = pare_arena_printf(&o->arena, "there is no loss \"%s\"", use),
                         .hint = "`pare plugins` lists the losses there are"};
    return pare_host_refuse(o->h, PARE_ENOTFOUND, &it);
}

/* The references of its MODEL parameters, in order. */
static void collect_teachers(pare_open_fit *o, const pare_loss *c, const pare_arg *args, pare_fit_loss *l) {
    pare_param_table t = {c->params, c->n_params, c->param_stride};
    PARE_VEC(const char *) refs = {0};
    for (uint32_t i = 0; i < t.n && args; i++) {
        const pare_param *p = pare_param_at(t, i);
        bool list = p->flags & PARE_PARAM_LIST;
        if (p->type != PARE_PARAM_MODEL) continue;
        for (uint64_t k = 0; k < args[i].n; k++) pare_vec_push(&refs, list ? args[i].u.list[k].u.s : args[i].u.s);
    }
    l->n_teachers = refs.len;
    l->teachers = pare_arena_memdup(&o->arena, refs.data ? (const void *)refs.data : "", refs.len * sizeof *refs.data);
    pare_vec_free(&refs);
}

static pare_status open_teachers(pare_open_fit *o, const pare_fit_loss *l) {
    pare_status st = PARE_OK;
    for (size_t i = 0; i < l->n_teachers && !st; i++) {
        pare_session *teacher = NULL;
        if (!o->given->teacher)
            return pare_host_refuse_text(o->h, PARE_EUNSUPPORTED, "train.teacher", "there are no teachers here");
        size_t before = pare_host_errors(o->s);
        st = pare_host_said(o->s, before, o->given->teacher(o->given->ctx, l->teachers[i], &teacher));
        if (!st) pare_vec_push(&o->teachers, teacher);
    }
    return st;
}

/* Completes one of the losses. */
static pare_status complete(pare_open_fit *o, pare_fit_loss *l) {
    const pare_loss *c = l->component;
    pare_status st = c ? PARE_OK : find_component(o, l->use, &c);
    if (st) return st;
    l->component = c;
    if (c && !l->n_teachers) collect_teachers(o, c, l->args, l);
    if (c && c->flags & PARE_LOSS_LABELS && !pare_data_labelled(o->given->env.set)) {
        pare_diag_item it = {
            .code = "train.labels",
            .message = pare_arena_printf(&o->arena, "the loss %s takes labels, and the training set has none", c->id),
            .hint = "use a loss that needs none, as distill.hinton with `alpha: 1`"};
        return pare_host_refuse(o->h, PARE_EINVAL, &it);
    }
    return open_teachers(o, l);
}

pare_status pare_host_fit_losses(pare_open_fit *o, const pare_fit_request *r) {
    const pare_fit_opts *given = o->given->fit;
    size_t n = r->loss ? 1 : given->n_losses;
    pare_status st = PARE_OK;
    if (r->loss && given->n_losses) {
        pare_diag_item it = {.code = "train.loss",
                             .message = pare_arena_printf(&o->arena,
                                                          "the step has the loss %s and `fit.loss`: it is "
                                                          "trained by one of them",
                                                          r->loss),
                             .hint = "leave `loss` out here, or `use: train.supervised` with it"};
        return pare_host_refuse(o->h, PARE_EINVAL, &it);
    }
    o->opts.losses = pare_arena_alloc(&o->arena, (n + 1) * sizeof *o->opts.losses);
    o->opts.n_losses = n;
    if (n && !r->loss) memcpy(o->opts.losses, given->losses, n * sizeof *given->losses);
    if (r->loss) o->opts.losses[0] = (pare_fit_loss){.use = r->loss, .args = r->loss_args, .weight = 1};
    for (size_t i = 0; i < n && !st; i++) st = complete(o, &o->opts.losses[i]);
    return st;
}
