/* pipeline/config_steps.c - see config_read.h: the steps, each with its technique, parameters and input. */
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 999 }; /* a step's folder has two or three digits */

/* The names `from` may use at this place: models, then the steps before. */
static const char *input_hint(pare_config *c, const char *word, bool steps) {
    const pare_pipeline *p = c->p;
    const char **names = pare_xcalloc(p->n_models + p->n_steps, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; steps && i < p->n_steps; i++)
        if (p->steps[i].id) names[n++] = p->steps[i].id;
    for (size_t i = 0; i < p->n_models; i++) names[n++] = p->models[i].name;
    const char *hint = pare_config_hint(c, word, "known here are", names, n);
    free(names);
    return hint;
}

static bool comes_later(const pare_yaml_node *steps, const char *id) {
    for (uint32_t i = 0; i < steps->n; i++) {
        const pare_yaml_node *n = pare_yaml_get(steps->items[i], "id");
        if (n && n->text && strcmp(n->text, id) == 0) return true;
    }
    return false;
}

static void read_id(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *n, const char *path) {
    const pare_yaml_node *id = pare_yaml_get(n, "id");
    uint32_t other;
    if (!id) {
        pare_config_fail(c, n->at, path, "config.missing", "as in `id: pruned`: the report and other steps use it",
                         "%s needs an id", path);
        return;
    }
    s->at = id->at;
    const char *text = pare_config_text(c, id, pare_arena_printf(&c->p->arena, "%s.id", path), "a string");
    if (!text) return;
    if (!pare_config_name_ok(text, false))
        pare_config_fail(c, id->at, path, "config.name", "letters, digits, '_' and '-', at most 100, no '-' in front",
                         "a step can't be called \"%s\"", text);
    else if (pare_map_get(&c->steps, text, &other))
        pare_config_fail(c, id->at, path, "config.duplicate-id", "give each step its own id",
                         "the id \"%s\" was given before, at line %u", text, c->p->steps[other].at.line);
    else if (pare_map_get(&c->models, text, &other))
        pare_config_fail(c, id->at, path, "config.duplicate-id", "a step and a model can't share a name",
                         "\"%s\" is a model's name already", text);
    else
        s->id = text;
}

static void read_use(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *n, const char *path) {
    const pare_technique_set *t = &c->opts->techniques;
    const pare_yaml_node *use = pare_yaml_get(n, "use");
    if (!use) {
        pare_config_fail(c, n->at, path, "config.missing", pare_config_hint(c, "", "loaded are", t->ids, t->n_ids),
                         "%s needs `use`: the technique", path);
        return;
    }
    s->use_at = use->at;
    s->use = pare_config_text(c, use, pare_arena_printf(&c->p->arena, "%s.use", path), "a technique");
    if (!s->use) return;
    s->technique = t->find(t->ctx, s->use);
    if (s->technique) return;
    static const char *const later[] = {"prune.structured", "quantize.aware",  "quantize.dynamic",
                                        "quantize.float16", "quantize.static", "quantize.weights"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (strcmp(s->use, later[i]) != 0) continue;
        pare_config_fail(c, use->at, path, "config.later", NULL, "use: %s is not in this version of pare", s->use);
        return;
    }
    const char *near = pare_nearest(s->use, t->ids, t->n_ids);
    const char *list = pare_config_hint(c, s->use, "loaded are", t->ids, t->n_ids);
    pare_config_fail(c, use->at, path, "config.unknown-technique",
                     near && t->n_ids < 2
                         ? list
                         : pare_arena_printf(&c->p->arena, "%s; `pare plugins --why` says what was found",
                                             list ? list : "no technique is loaded"),
                     "no loaded plugin has the technique \"%s\"", s->use);
}

/* A step works on what the step before made, unless it says otherwise. */
static void read_input(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *steps, const pare_yaml_node *n,
                       uint32_t i, const char *path) {
    pare_pipeline *p = c->p;
    const pare_yaml_node *from = pare_yaml_get(n, "from"), *model = pare_yaml_get(n, "model");
    uint32_t k;
    if (from && model) {
        pare_config_fail(c, model->key_at, path, "config.conflict", "`from` says it all; drop `model`",
                         "%s has both from and model", path);
    } else if (from) {
        const char *name = pare_config_text(c, from, pare_arena_printf(&p->arena, "%s.from", path),
                                            "an earlier step's id or a model's name");
        if (!name) return;
        if (pare_map_get(&c->steps, name, &k)) {
            s->input = (pare_pipeline_ref){PARE_REF_STEP, k};
            s->model = p->steps[k].model;
        } else if (pare_map_get(&c->models, name, &k)) {
            s->input = (pare_pipeline_ref){PARE_REF_MODEL, k};
            s->model = k;
        } else if (comes_later(steps, name)) {
            pare_config_fail(c, from->at, path, "config.unknown-step", "move it up, or branch from another one",
                             "the step \"%s\" does not come before this one", name);
        } else {
            pare_config_fail(c, from->at, path, "config.unknown-step", input_hint(c, name, true),
                             "\"%s\" is neither an earlier step nor a model", name);
        }
    } else if (model) {
        const char *name =
            pare_config_text(c, model, pare_arena_printf(&p->arena, "%s.model", path), "the name of a model");
        if (!name) return;
        if (pare_map_get(&c->models, name, &k)) {
            s->model = k;
            s->input = p->models[k].last;
        } else {
            pare_config_fail(c, model->at, path, "config.unknown-model", input_hint(c, name, false),
                             "there is no model \"%s\"", name);
        }
    } else if (i) {
        s->input = (pare_pipeline_ref){PARE_REF_STEP, i - 1};
        s->model = p->steps[i - 1].model;
    } else if (p->n_models > 1) {
        pare_config_fail(c, s->at.src ? s->at : n->at, path, "config.missing", input_hint(c, "", false),
                         "there are several models: the first step needs `model` or `from`");
    }
}

static void read_fit(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *n, const char *path) {
    const pare_yaml_node *fit = pare_yaml_get(n, "fit");
    uint32_t flags = s->technique ? s->technique->flags : 0;
    if (fit && s->technique && !(flags & PARE_TECHNIQUE_TRAINS))
        pare_config_fail(c, fit->key_at, path, "config.no-fit",
                         "leave it out, or use a technique that trains, as train.supervised",
                         "%s does not train: it takes no `fit`", s->use);
    else if (fit)
        pare_config_fit(c, s, fit, path);
    else if (flags & PARE_TECHNIQUE_NEEDS_FIT)
        pare_config_fail(c, s->use_at, path, "config.missing", "as in `fit: {epochs: 2}`; `fit: {}` takes the defaults",
                         "%s trains: it needs a `fit` block", s->use);
}

static void read_step(pare_config *c, const pare_yaml_node *steps, uint32_t i) {
    static const pare_config_key keys[] = {{"id", false},    {"use", false}, {"with", false},  {"from", false},
                                           {"model", false}, {"fit", false}, {"device", false}};
    static const char *const devices[] = {"auto", "cpu"};
    pare_pipeline *p = c->p;
    const pare_yaml_node *n = steps->items[i];
    pare_pipeline_step *s = &p->steps[i];
    const char *path = pare_arena_printf(&p->arena, "steps[%u]", i);
    s->at = n->at;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, path, "a map, as in {id: pruned, use: prune.unstructured}", NULL);
        return;
    }
    read_id(c, s, n, path);
    if (s->id) path = pare_arena_printf(&p->arena, "steps.%s", s->id);
    pare_config_keys(c, n, path, keys, sizeof keys / sizeof *keys);
    read_use(c, s, n, path);
    read_input(c, s, steps, n, i, path);
    const pare_yaml_node *device = pare_yaml_get(n, "device");
    s->device = p->device;
    if (device && device->text && strncmp(device->text, "cuda", 4) == 0) {
        pare_config_later(c, device->at, path, "device: cuda");
    } else if (device) {
        int word = pare_config_word(c, device, pare_arena_printf(&p->arena, "%s.device", path), devices, 2);
        if (word >= 0) s->device = devices[word];
    }
    if (s->technique) {
        pare_params_ctx ctx = pare_config_params_ctx(c, pare_arena_printf(&p->arena, "%s.with", path), s->use_at);
        if (pare_params_parse(pare_yaml_get(n, "with"), pare_technique_params(s->technique), &ctx, &s->with) != PARE_OK)
            c->errors++;
    }
    read_fit(c, s, n, path);
    /* only now, so that a step can't name itself */
    if (s->id) pare_map_set(&c->steps, s->id, i);
    if (p->n_models) p->models[s->model].last = (pare_pipeline_ref){PARE_REF_STEP, i};
    p->main_model = s->model;
}

void pare_config_steps(pare_config *c, const pare_yaml_node *steps) {
    pare_pipeline *p = c->p;
    if (!steps) {
        pare_config_fail(c, (pare_span){.src = &p->yaml->src}, "steps", "config.missing",
                         "`steps: []` copies the model", "steps is missing");
        return;
    }
    if (steps->kind != PARE_YAML_LIST) {
        pare_config_wrong(c, steps, "steps", "a list",
                          steps->kind == PARE_YAML_NULL ? "`steps: []` copies the model"
                                                        : "each step starts with a dash: `- id: pruned`");
        return;
    }
    if (steps->n > MAX_STEPS) {
        pare_config_fail(c, steps->at, "steps", "config.range", NULL, "there are %u steps; at most %d are allowed",
                         steps->n, MAX_STEPS);
        return;
    }
    p->steps = pare_arena_alloc(&p->arena, (steps->n + 1) * sizeof *p->steps);
    for (uint32_t i = 0; i < steps->n; i++) {
        p->n_steps = i;
        read_step(c, steps, i);
    }
    p->n_steps = steps->n;
}
