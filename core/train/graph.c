/* train/graph.c - see graph.h: inputs, gradients, updates, programs, in this order. Is not: losses (graph_loss.c). */
#include "train/graph_parts.h"

#include "model/array.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/layers.h"
#include "model/ops.h"

#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

uint32_t pare_train_logits(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    uint32_t v = g->outputs.len ? g->outputs.data[0] : 0;
    const pare_node *n = v ? pare_model_node(m, pare_model_value(m, v)->producer) : NULL;
    if (n && (pare_node_is(n, "Softmax") || pare_node_is(n, "LogSoftmax")) && n->n_in) v = n->in[0];
    return v;
}

/* ---- pieces of a graph; 0 after a failure ---- */

/* In the graph's own arena: the model may go before it. */
const char *pare_train_name(const pare_train_builder *b, uint32_t value) {
    return pare_arena_strdup(&b->g->arena, pare_model_value(b->m, value)->name);
}

static const char *const *names_of(const pare_train_builder *b, const char *const *names, size_t n) {
    const char **copy = pare_arena_alloc(&b->g->arena, (n + 1) * sizeof *copy);
    for (size_t i = 0; i < n; i++) copy[i] = pare_arena_strdup(&b->g->arena, names[i]);
    return copy;
}

uint32_t pare_train_node(pare_train_builder *b, const char *domain, const char *op, const uint32_t *in, size_t n,
                         const char *const *outs, size_t n_out) {
    if (b->st) return 0;
    const char *names[4];
    for (size_t i = 0; i < n_out; i++) names[i] = pare_name_fresh(b->m, PARE_MAIN_GRAPH, outs[i]);
    uint32_t id = pare_node_add(b->m, PARE_MAIN_GRAPH, 0, op, domain, names[0], in, n, names, n_out);
    return pare_model_node(b->m, id)->out[0];
}

uint32_t pare_train_node1(pare_train_builder *b, const char *domain, const char *op, const uint32_t *in, size_t n,
                          const char *out) {
    return pare_train_node(b, domain, op, in, n, &out, 1);
}

uint32_t pare_train_node_of(pare_train_builder *b, uint32_t first) { return pare_model_value(b->m, first)->producer; }

uint32_t pare_train_input(pare_train_builder *b, const char *name, uint32_t dtype, int32_t ndim, const pare_dim *dims) {
    uint32_t v = pare_value_add(b->m, PARE_MAIN_GRAPH, pare_name_fresh(b->m, PARE_MAIN_GRAPH, name));
    pare_value_type_set(b->m, v, dtype, ndim, dims);
    pare_graph_input_add(b->m, PARE_MAIN_GRAPH, v);
    return v;
}

/* An initializer of zeros, or of ones in every bit. */
static uint32_t zeros(pare_train_builder *b, const char *want, uint32_t dtype, size_t ndim, const int64_t *dims,
                      int fill) {
    if (b->st) return 0;
    const char *name = pare_name_fresh(b->m, PARE_MAIN_GRAPH, want);
    uint32_t t = pare_tensor_add(b->m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    void *data = NULL;
    if (t) {
        b->st = pare_tensor_overwrite(pare_model_tensor(b->m, t), b->d, &data);
        if (!b->st && data) memset(data, fill, pare_model_tensor(b->m, t)->blob->len);
    } else {
        b->st = pare_fail(b->d, PARE_ENOMEM, "train.memory", NULL, "no memory for the optimiser's state");
    }
    return b->st ? 0 : pare_graph_find(b->m, PARE_MAIN_GRAPH, name);
}

/* A variable beside a weight, of its dims: "velocity:fc.weight". */
static const char *beside(pare_train_builder *b, const char *what, const pare_tensor *w) {
    uint32_t v = zeros(b, pare_arena_printf(&b->m->arena, "%s:%s", what, w->name), w->dtype, w->ndim, w->dims, 0);
    if (!v) return NULL;
    const char *name = pare_train_name(b, v);
    pare_vec_push(&b->variables, name);
    return name;
}

uint32_t pare_train_find(const pare_train_builder *b, const char *name) {
    return name ? pare_graph_find(b->m, PARE_MAIN_GRAPH, name) : 0;
}

uint32_t pare_train_number(pare_train_builder *b, uint32_t dtype, double v) {
    uint32_t value = zeros(b, "train:number", dtype, 0, NULL, 0);
    void *data = NULL;
    if (!value) return 0;
    b->st = pare_tensor_overwrite(pare_model_tensor(b->m, pare_model_value(b->m, value)->tensor), b->d, &data);
    if (b->st) return 0;
    if (dtype == PARE_DOUBLE)
        memcpy(data, &v, sizeof v);
    else
        memcpy(data, &(float){(float)v}, sizeof(float));
    return value;
}

/* ---- updates ---- */

/* By the name of the tensor or the layer it is a weight of. */
static bool matches(pare_model *m, const char *pattern, const pare_tensor *t) {
    const pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, t->name));
    char *error = NULL;
    bool hit = strcmp(pattern, t->name) == 0;
    for (size_t i = 0; v && !hit && i < v->uses.len; i++) {
        hit = pare_layer_match(m, pattern, v->uses.data[i].node, t->id, &error) == 1;
        free(error);
        error = NULL;
    }
    return hit;
}

static double factor(pare_train_builder *b, const pare_tensor *t, bool decay) {
    for (size_t i = 0; i < b->o->n_groups; i++)
        if (matches(b->m, b->o->groups[i].match, t)) return decay ? b->o->groups[i].decay : b->o->groups[i].lr;
    return 1;
}

/* Adds the update of one weight by gradient g; its new contents go to `effects`. */
static void update(pare_train_builder *b, const pare_train_weight *w, uint32_t g, uint32_t norm, pare_program *p) {
    bool adam = b->o->optimizer != PARE_SGD;
    const pare_tensor *t = pare_model_tensor(b->m, pare_model_value(b->m, pare_train_find(b, w->name))->tensor);
    uint32_t in[7] = {pare_train_find(b, w->name), g, pare_train_find(b, w->velocity)}, n = 3;
    if (adam) in[n++] = pare_train_find(b, w->second);
    in[n++] = pare_train_find(b, b->g->hyper);
    in[n++] = norm;
    in[n++] = pare_train_find(b, w->mask);
    const char *outs[3] = {"train:moved", w->velocity ? "train:first" : "", "train:second"};
    uint32_t first = pare_train_node(b, PARE_GRAD_DOMAIN, adam ? "AdamUpdate" : "SgdUpdate", in, n, outs,
                                     adam          ? 3
                                     : w->velocity ? 2
                                                   : 1);
    if (!first) return;
    uint32_t id = pare_train_node_of(b, first);
    bool exempt = t->ndim <= 1 && !b->o->decay_all;
    if (b->o->nesterov && !adam) pare_attr_set_int(b->m, id, "nesterov", 1);
    if (b->o->optimizer == PARE_ADAMW) pare_attr_set_int(b->m, id, "decoupled", 1);
    pare_attr_set_float(b->m, id, "lr_mult", (float)factor(b, t, false));
    pare_attr_set_float(b->m, id, "decay_mult", exempt ? 0.0f : (float)factor(b, t, true));
    const pare_node *made = pare_model_node(b->m, id);
    const char **effects = (const char **)(uintptr_t)p->effects;
    for (uint32_t i = 0; i < made->n_out; i++)
        if (made->out[i]) effects[p->n_effects++] = pare_train_name(b, made->out[i]);
    if (w->ema) {
        uint32_t decay = pare_train_number(b, t->dtype, b->o->ema);
        uint32_t ema = pare_train_node1(b, PARE_GRAD_DOMAIN, "EmaUpdate",
                                        (uint32_t[]){pare_train_find(b, w->ema), made->out[0], decay}, 3, "train:ema");
        if (ema) effects[p->n_effects++] = pare_train_name(b, ema);
    }
}

/* Of the gradients of what moves: masked elements have none. */
static uint32_t norm_of(pare_train_builder *b, const uint32_t *g, size_t n) {
    if (!(b->o->clip_norm > 0)) return 0;
    uint32_t *in = pare_arena_alloc(&b->g->arena, (2 * n + 1) * sizeof *in);
    bool masked = false;
    for (size_t i = 0; i < n; i++) {
        in[i] = g[i];
        in[n + i] = pare_train_find(b, b->g->weights[i].mask);
        masked = masked || in[n + i];
    }
    uint32_t norm = pare_train_node1(b, PARE_GRAD_DOMAIN, "GlobalNorm", in, masked ? 2 * n : n, "train:norm");
    if (norm && masked) pare_attr_set_int(b->m, pare_train_node_of(b, norm), "gradients", (int64_t)n);
    return norm;
}

/* Effects of each program have room for whatever may come: weights times outputs, and the statistics. */
static void programs(pare_train_builder *b, const uint32_t *grads, bool sums) {
    pare_train_graph *g = b->g;
    size_t most = 4 * g->n_weights + g->trained.n_statistics + 1;
    for (int k = 0; k < PARE_TRAIN_PROGRAMS; k++) {
        const char **fetches = pare_arena_alloc(&g->arena, 3 * sizeof *fetches);
        const char **effects = pare_arena_alloc(&g->arena, most * sizeof *effects);
        pare_program *p = &g->programs[k];
        *p = (pare_program){.fetches = fetches, .effects = effects};
        if (k == PARE_TRAIN_APPLY) continue;
        if (k != PARE_TRAIN_LOGITS) fetches[p->n_fetches++] = g->loss;
        fetches[p->n_fetches++] = g->logits;
        if (k == PARE_TRAIN_LOGITS) continue;
        for (size_t i = 0; i < g->trained.n_statistics; i++) effects[p->n_effects++] = g->trained.effects[i];
    }
    for (int k = 0; k < PARE_TRAIN_PROGRAMS; k++) {
        pare_program *p = &g->programs[k];
        bool apply = k == PARE_TRAIN_APPLY;
        if (k == PARE_TRAIN_LOGITS) continue;
        if (k != PARE_TRAIN_STEP && !sums) break;
        uint32_t *from = pare_arena_alloc(&g->arena, (g->n_weights + 1) * sizeof *from);
        for (size_t i = 0; i < g->n_weights; i++) from[i] = apply ? pare_train_find(b, g->weights[i].sum) : grads[i];
        if (k == PARE_TRAIN_STEP || apply) {
            uint32_t norm = norm_of(b, from, g->n_weights);
            if (norm) ((const char **)(uintptr_t)p->fetches)[p->n_fetches++] = g->norm = pare_train_name(b, norm);
            for (size_t i = 0; i < g->n_weights; i++) update(b, &g->weights[i], from[i], norm, p);
            continue;
        }
        for (size_t i = 0; i < g->n_weights; i++) {
            uint32_t sum =
                pare_train_node1(b, PARE_GRAD_DOMAIN, "Accumulate",
                                 (uint32_t[]){pare_train_find(b, g->weights[i].sum), from[i]}, 2, "train:summed");
            if (!sum) return;
            if (k == PARE_TRAIN_FIRST) pare_attr_set_int(b->m, pare_train_node_of(b, sum), "first", 1);
            ((const char **)(uintptr_t)p->effects)[p->n_effects++] = pare_train_name(b, sum);
        }
    }
}

/* ---- weights ---- */

typedef struct chooser {
    const pare_fit_opts *o;
} chooser;

static bool matches_any(pare_model *m, const char *const *patterns, size_t n, const pare_tensor *t) {
    for (size_t i = 0; i < n; i++)
        if (matches(m, patterns[i], t)) return true;
    return false;
}

static bool trains(void *ctx, pare_model *m, const pare_tensor *t) {
    const pare_fit_opts *o = ((const chooser *)ctx)->o;
    if (o->n_train && !matches_any(m, o->train, o->n_train, t)) return false;
    return !matches_any(m, o->freeze, o->n_freeze, t);
}

static pare_status check_pattern(pare_train_builder *b, const char *key, const char *pattern) {
    if (pare_pattern_hits(b->m, pattern)) return PARE_OK;
    char *error = NULL;
    if (pare_layer_match(b->m, pattern, 0, 0, &error) < 0) {
        pare_status st =
            pare_fail(b->d, PARE_EINVAL, "layers.regex", "after re: stands a POSIX extended regular expression",
                      "fit.%s: \"%s\" is no regular expression: %s", key, pattern, error ? error : "");
        free(error);
        return st;
    }
    free(error);
    const char *near = pare_pattern_nearest(b->m, pattern);
    return pare_fail(b->d, PARE_EINVAL, "train.pattern",
                     near ? pare_arena_printf(&b->g->arena, "did you mean \"%s\"?", near) : NULL,
                     "fit.%s: \"%s\" names no weight or layer of the model", key, pattern);
}

static pare_status check_patterns(pare_train_builder *b) {
    pare_status st = PARE_OK;
    for (size_t i = 0; !st && i < b->o->n_freeze; i++) st = check_pattern(b, "freeze", b->o->freeze[i]);
    for (size_t i = 0; !st && i < b->o->n_train; i++) st = check_pattern(b, "train", b->o->train[i]);
    for (size_t i = 0; !st && i < b->o->n_groups; i++) st = check_pattern(b, "layers", b->o->groups[i].match);
    return st;
}

/* A bit per element: what is 0 in a masked tensor stays so. */
static const char *mask_of(pare_train_builder *b, const pare_tensor *w, bool masked) {
    int64_t bytes = (int64_t)((w->count + 7) / 8);
    const void *data = NULL;
    uint32_t v = zeros(b, pare_arena_printf(&b->m->arena, "mask:%s", w->name), PARE_UINT8, 1, &bytes, 0xff);
    void *bits = NULL;
    if (v) b->st = pare_tensor_overwrite(pare_model_tensor(b->m, pare_model_value(b->m, v)->tensor), b->d, &bits);
    if (v && !b->st) b->st = pare_tensor_read((pare_tensor *)(uintptr_t)w, b->d, &data);
    if (!v || b->st) return NULL;
    unsigned char *to = bits;
    memset(to, 0xff, (size_t)bytes);
    for (uint64_t i = 0; masked && i < w->count; i++) {
        bool zero = w->dtype == PARE_DOUBLE ? ((const double *)data)[i] == 0 : ((const float *)data)[i] == 0;
        if (zero) to[i / 8] &= (unsigned char)~(1u << i % 8);
    }
    const char *name = pare_train_name(b, v);
    pare_vec_push(&b->variables, name);
    return name;
}

static void weights(pare_train_builder *b, const uint32_t *grads, bool sums, bool masks) {
    pare_train_graph *g = b->g;
    g->weights = pare_arena_alloc(&g->arena, (g->trained.n_weights + 1) * sizeof *g->weights);
    for (size_t i = 0; i < g->trained.n_weights && !b->st; i++) {
        if (!grads[i]) continue; /* the loss does not depend on it */
        const char *name = pare_arena_strdup(&g->arena, g->trained.weights[i]);
        pare_tensor *t = pare_model_tensor(b->m, pare_model_value(b->m, pare_train_find(b, name))->tensor);
        pare_train_weight w = {.name = name, .count = t->count};
        pare_vec_push(&b->variables, name);
        if (b->o->optimizer != PARE_SGD || b->o->momentum > 0 || b->o->schedule.cycle_momentum)
            w.velocity = beside(b, "velocity", t);
        if (b->o->optimizer != PARE_SGD) w.second = beside(b, "second", t);
        if (sums) w.sum = beside(b, "sum", t);
        if (b->o->ema > 0) {
            w.ema = beside(b, "ema", t);
            void *to = NULL;
            const void *from = NULL;
            pare_tensor *e =
                w.ema ? pare_model_tensor(b->m, pare_model_value(b->m, pare_train_find(b, w.ema))->tensor) : NULL;
            if (e) b->st = pare_tensor_overwrite(e, b->d, &to);
            if (e && !b->st) b->st = pare_tensor_read(t, b->d, &from);
            if (e && !b->st) memcpy(to, from, t->blob->len);
        }
        bool masked = pare_tensor_masked(b->m, t);
        if (masked || masks) w.mask = mask_of(b, t, masked);
        g->weights[g->n_weights++] = w;
    }
}

/* ---- all of it ---- */

/* The output of a node whose name is nearest to what was asked for, or NULL. */
static const char *nearest_output(const pare_train_builder *b, const char *name) {
    const pare_graph *graph = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    PARE_VEC(const char *) names = {0};
    for (size_t i = 0; i < graph->nodes.len; i++) {
        const pare_node *n = pare_model_node(b->m, graph->nodes.data[i]);
        for (uint32_t k = 0; k < n->n_out; k++)
            if (n->out[k]) pare_vec_push(&names, pare_model_value(b->m, n->out[k])->name);
    }
    const char *near = names.len ? pare_nearest(name, names.data, names.len) : NULL;
    pare_vec_free(&names);
    return near;
}

static pare_status find_logits(pare_train_builder *b) {
    pare_train_graph *g = b->g;
    uint32_t v = b->o->logits ? pare_train_find(b, b->o->logits) : pare_train_logits(b->m);
    const pare_value *value = pare_model_value(b->m, v);
    if (b->o->logits && !value) {
        const char *near = nearest_output(b, b->o->logits);
        return pare_fail(b->d, PARE_EINVAL, "train.logits",
                         near ? pare_arena_printf(&g->arena, "did you mean \"%s\"?", near)
                              : "it names what a node gives, of the form (N, classes)",
                         "the model has no value \"%s\" for `logits`", b->o->logits);
    }
    if (!value || value->tensor || value->ndim != 2 || value->dims[1].value <= 0)
        return pare_fail(b->d, PARE_EUNSUPPORTED, "train.logits", "`logits: TENSOR` names another value of the graph",
                         "a loss takes logits of the form (N, classes), and \"%s\" is not of it",
                         value ? value->name : "the model's output");
    g->logits = pare_arena_strdup(&g->arena, value->name);
    g->classes = value->dims[1].value;
    return PARE_OK;
}

static pare_status find_input(pare_train_builder *b) {
    const pare_graph *graph = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < graph->inputs.len; i++) {
        const pare_value *v = pare_model_value(b->m, graph->inputs.data[i]);
        if (v->tensor) continue;
        if (b->g->input)
            return pare_fail(b->d, PARE_EUNSUPPORTED, "train.inputs", NULL,
                             "the model takes several inputs (\"%s\", \"%s\"); sets of samples have one", b->g->input,
                             v->name);
        b->g->input = pare_arena_strdup(&b->g->arena, v->name);
    }
    return b->g->input ? PARE_OK : pare_fail(b->d, PARE_EUNSUPPORTED, "train.inputs", NULL, "the model has no input");
}

/* The pruned parts of the forward graph stay out of the way: only what a program fetches is run. */
static pare_status build(pare_train_builder *b, uint32_t flags, const pare_train_loss_env *env) {
    pare_train_graph *g = b->g;
    bool sums = flags & PARE_FIT_GRADIENTS;
    chooser choose = {b->o};
    pare_train_form form = {
        .trains = trains, .ctx = &choose, .freeze_batchnorm = b->o->freeze_batchnorm, .seed = b->o->seed};
    pare_status st = find_input(b);
    if (!st) st = check_patterns(b);
    if (!st) st = pare_grad_prepare(b->m, &form, b->d, &g->trained);
    if (!st) st = find_logits(b);
    if (st) return st;
    pare_grad_fuse(b->m, pare_train_find(b, g->logits));
    g->trained.weights = names_of(b, g->trained.weights, g->trained.n_weights);
    g->trained.statistics = names_of(b, g->trained.statistics, g->trained.n_statistics);
    g->trained.effects = names_of(b, g->trained.effects, g->trained.n_statistics);
    if (g->trained.step) g->trained.step = pare_arena_strdup(&g->arena, g->trained.step);
    if (!g->trained.n_weights)
        return pare_fail(b->d, PARE_EINVAL, "train.nothing", "see `freeze` and `train` of the fit block",
                         "there is nothing to train: no weight of the model is left");
    uint32_t told, loss = pare_train_losses(b, env, &told);
    if (!loss) return b->st;
    st = pare_model_infer(b->m, b->d);
    if (st) return st;
    g->loss = pare_train_name(b, told);
    if (sums) { /* a micro-batch counts by its share of the batch's rows */
        uint32_t dtype = pare_model_value(b->m, loss)->dtype,
                 share = pare_train_input(b, "train:share", dtype, 0, NULL);
        g->share = pare_train_name(b, share);
        loss = pare_train_node1(b, "", "Mul", (uint32_t[]){loss, share}, 2, "train:part");
    }
    size_t n = g->trained.n_weights;
    uint32_t *wrt = pare_arena_alloc(&g->arena, (n + 1) * sizeof *wrt);
    uint32_t *grads = pare_arena_alloc(&g->arena, (n + 1) * sizeof *grads);
    for (size_t i = 0; i < n; i++) wrt[i] = pare_train_find(b, g->trained.weights[i]);
    size_t n_forward = pare_model_graph(b->m, PARE_MAIN_GRAPH)->nodes.len;
    st = pare_grad_build(b->m, loss, wrt, n, b->d, grads);
    if (!st && b->o->recompute) st = pare_recompute(b->m, n_forward, wrt, n, b->o->recompute, b->d, &g->recomputed);
    if (st) return st;
    weights(b, grads, sums, sums || flags & PARE_FIT_MASKS);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (grads[i]) grads[kept++] = grads[i];
    if (!b->st && !g->n_weights)
        return pare_fail(b->d, PARE_EINVAL, "train.nothing", "see `logits` of the fit block",
                         "the loss depends on no weight of the model");
    pare_dim eight = {.value = 8};
    g->hyper = pare_train_name(b, pare_train_input(b, "train:hyper", PARE_DOUBLE, 1, &eight));
    for (size_t i = 0; i < g->trained.n_statistics; i++) pare_vec_push(&b->variables, g->trained.statistics[i]);
    if (!b->st) programs(b, grads, sums);
    if (b->st) return b->st;
    g->n_variables = b->variables.len;
    g->variables = pare_arena_memdup(&g->arena, b->variables.data, b->variables.len * sizeof *b->variables.data);
    return pare_model_infer(b->m, b->d);
}

pare_status pare_train_graph_make(const pare_model *m, const pare_fit_opts *o, uint32_t flags,
                                  const pare_train_loss_env *env, pare_diags *d, pare_train_graph *out) {
    *out = (pare_train_graph){.m = pare_model_clone(m)};
    pare_train_builder b = {.g = out, .m = out->m, .o = o, .d = d};
    pare_status st = build(&b, flags, env);
    pare_vec_free(&b.variables);
    if (st) pare_train_graph_free(out);
    return st;
}

void pare_train_graph_free(pare_train_graph *g) {
    pare_model_free(g->m);
    pare_arena_free(&g->arena);
    *g = (pare_train_graph){0};
}
