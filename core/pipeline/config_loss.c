/* pipeline/config_loss.c - see config_read.h: what a step's `fit:` block minimises: one loss or a list with weights. */
#include "pipeline/config_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *const own[] = {"cross_entropy", "mse"}; /* the host's, without parameters */

static void unknown(pare_config *c, const pare_yaml_node *at, const char *path, const char *word) {
    const pare_loss_choice *l = &c->opts->losses;
    const char **names = pare_xcalloc(l->n_ids + COUNT(own), sizeof *names);
    for (size_t i = 0; i < COUNT(own); i++) names[i] = own[i];
    for (size_t i = 0; i < l->n_ids; i++) names[COUNT(own) + i] = l->ids[i];
    pare_config_fail(c, at->at, path, "config.unknown-loss",
                     pare_config_hint(c, word, "known are", names, l->n_ids + COUNT(own)), "there is no loss \"%s\"",
                     word);
    free(names);
}

/* Names of the parameters of type MODEL, in order. */
static void teachers_of(pare_config *c, const pare_params *q, pare_fit_loss *out) {
    PARE_VEC(const char *) refs = {0};
    for (uint32_t i = 0; i < q->table.n; i++) {
        const pare_param *row = pare_param_at(q->table, i);
        const pare_arg *a = &q->args[i];
        if (row->type != PARE_PARAM_MODEL) continue;
        bool list = row->flags & PARE_PARAM_LIST;
        for (uint64_t k = 0; k < a->n; k++) pare_vec_push(&refs, list ? a->u.list[k].u.s : a->u.s);
    }
    out->teachers =
        pare_arena_memdup(&c->p->arena, refs.data ? (const void *)refs.data : "", refs.len * sizeof *refs.data);
    out->n_teachers = refs.len;
    pare_vec_free(&refs);
}

static void read_component(pare_config *c, pare_pipeline_fit *f, size_t i, const pare_yaml_node *use,
                           const pare_yaml_node *with, const char *path) {
    pare_fit_loss *out = &f->opts.losses[i];
    for (size_t k = 0; k < COUNT(own); k++) {
        if (strcmp(out->use, own[k]) != 0) continue;
        if (with)
            pare_config_fail(c, with->key_at, path, "config.conflict", "leave it out", "%s has no parameters", own[k]);
        return;
    }
    const pare_loss *l = c->opts->losses.find ? c->opts->losses.find(c->opts->losses.ctx, out->use) : NULL;
    if (!l) {
        unknown(c, use, pare_arena_printf(&c->p->arena, "%s.use", path), out->use);
        return;
    }
    pare_params_ctx ctx = pare_config_params_ctx(c, pare_arena_printf(&c->p->arena, "%s.with", path), use->at);
    if (pare_params_parse(with, pare_loss_params(l), &ctx, &f->with[i]) != PARE_OK) {
        c->errors++;
        return;
    }
    out->component = l;
    out->args = f->with[i]->args;
    teachers_of(c, f->with[i], out);
    if (l->flags & PARE_LOSS_TEACHER && !out->n_teachers)
        pare_config_fail(c, use->at, path, "config.missing", "name an earlier step, a model or an ONNX file",
                         "the loss %s needs a teacher", out->use);
}

/* A word is short for {use: WORD}. */
static void read_loss(pare_config *c, pare_pipeline_fit *f, size_t i, const pare_yaml_node *n, const char *path,
                      bool alone) {
    static const pare_config_key keys[] = {{"use", false}, {"with", false}, {"weight", false}};
    pare_fit_loss *out = &f->opts.losses[i];
    const pare_yaml_node *use = n, *with = NULL;
    *out = (pare_fit_loss){.use = "cross_entropy", .weight = 1};
    if (n->kind == PARE_YAML_MAP) {
        pare_config_keys(c, n, path, keys, COUNT(keys));
        use = pare_yaml_get(n, "use");
        with = pare_yaml_get(n, "with");
        const pare_yaml_node *w = pare_yaml_get(n, "weight");
        if (w && w->kind != PARE_YAML_INT && w->kind != PARE_YAML_FLOAT)
            pare_config_wrong(c, w, pare_arena_printf(&c->p->arena, "%s.weight", path), "a number above 0", NULL);
        else if (w && !(w->f > 0 && isfinite((float)w->f)))
            pare_config_fail(c, w->at, path, "config.range", NULL, "weight must be a number above 0, got %g", w->f);
        else if (w)
            out->weight = w->f;
        if (!use) {
            pare_config_fail(c, n->at, path, "config.missing", "as in {use: distill.hinton, with: {teacher: trained}}",
                             "%s needs `use`: the loss", path);
            return;
        }
    }
    const char *word = pare_config_text(c, use, path,
                                        alone ? "a loss: its name, {use: ..., with: ...}, or a list of these"
                                              : "a loss: its name, or {use: ..., with: ..., weight: ...}");
    if (!word) return;
    out->use = word;
    read_component(c, f, i, use, with, path);
}

void pare_config_losses(pare_config *c, pare_pipeline_fit *f, const pare_yaml_node *n, const char *fit) {
    const char *path = pare_arena_printf(&c->p->arena, "%s.loss", fit);
    if (!n) return;
    bool lone = n->kind != PARE_YAML_LIST;
    size_t count = lone ? 1 : n->n;
    if (!count) {
        pare_config_wrong(c, n, path, "a loss, or a list of at least one", "leave it out for cross_entropy");
        return;
    }
    f->opts.losses = pare_arena_alloc(&c->p->arena, count * sizeof *f->opts.losses);
    f->with = pare_arena_alloc(&c->p->arena, count * sizeof *f->with);
    f->opts.n_losses = count;
    for (size_t i = 0; i < count; i++)
        read_loss(c, f, i, lone ? n : n->items[i], lone ? path : pare_arena_printf(&c->p->arena, "%s[%zu]", path, i),
                  lone);
}

/* ---- models by name ---- */

static void each_model(const pare_params *q, void (*each)(void *ctx, const char *ref), void *ctx) {
    for (uint32_t i = 0; q && i < q->table.n; i++) {
        const pare_param *row = pare_param_at(q->table, i);
        const pare_arg *a = &q->args[i];
        if (row->type == PARE_PARAM_MODEL)
            for (uint64_t k = 0; k < a->n; k++) each(ctx, row->flags & PARE_PARAM_LIST ? a->u.list[k].u.s : a->u.s);
        pare_param_table columns = pare_param_columns(row);
        for (uint64_t k = 0; row->type == PARE_PARAM_TABLE && k < a->n * columns.n; k++)
            if (pare_param_at(columns, (uint32_t)(k % columns.n))->type == PARE_PARAM_MODEL && a->u.list[k].n)
                each(ctx, a->u.list[k].u.s);
    }
}

void pare_pipeline_step_models(const pare_pipeline *p, size_t i, void (*each)(void *ctx, const char *ref), void *ctx) {
    const pare_pipeline_step *s = &p->steps[i];
    each_model(s->with, each, ctx);
    for (size_t k = 0; s->fit && k < s->fit->opts.n_losses; k++) each_model(s->fit->with[k], each, ctx);
}

void pare_pipeline_step_files(const pare_pipeline *p, size_t i,
                              void (*each)(void *ctx, const char *param, const char *written), void *ctx) {
    const pare_pipeline_step *s = &p->steps[i];
    if (s->with) pare_params_files(s->with, each, ctx);
    for (size_t k = 0; s->fit && k < s->fit->opts.n_losses; k++)
        if (s->fit->with[k]) pare_params_files(s->fit->with[k], each, ctx);
}

bool pare_pipeline_ref_find(const pare_pipeline *p, const char *name, pare_pipeline_ref *out) {
    for (size_t i = 0; i < p->n_steps; i++)
        if (strcmp(p->steps[i].id, name) == 0) {
            *out = (pare_pipeline_ref){PARE_REF_STEP, (uint32_t)i};
            return true;
        }
    for (size_t i = 0; i < p->n_models; i++)
        if (strcmp(p->models[i].name, name) == 0) {
            *out = (pare_pipeline_ref){PARE_REF_MODEL, (uint32_t)i};
            return true;
        }
    return false;
}
