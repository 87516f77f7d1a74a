/* pipeline/config_fit.c - see config_read.h: a step's `fit:` block, typed into the loop's options.
 *
 * Plain values are rows of parameter tables, so that they are checked, shown in the schema and written into the lock as
 * a technique's are; what belongs together is checked here. Is not: losses (config_loss.c), the loop (train/fit.h).
 */
#include "engine/recompute.h"
#include "pipeline/config_read.h"
#include "train/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ROW(...)                                                                                                       \
    { .size = sizeof(pare_param), __VA_ARGS__ }
#define FROM(lo) .min = lo, .max = INFINITY
#define ABOVE(lo) FROM(lo), .flags = PARE_PARAM_EXCL_MIN

enum { MOST_ROWS = 65536 };
#define MOST_STEPS 0x1p53

/* ---- the tables ---- */

enum {
    EPOCHS,
    STEPS,
    BATCH,
    MICRO_BATCH,
    DROP_LAST,
    OPTIMIZER,
    LR,
    MOMENTUM,
    NESTEROV,
    BETAS,
    EPSILON,
    WEIGHT_DECAY,
    DECAY,
    CLIP_NORM,
    SMOOTHING,
    EMA,
    FREEZE,
    TRAIN,
    LAYERS,
    FREEZE_BATCHNORM,
    LOGITS,
    KEEP,
    EARLY_STOP,
    CACHE_LOGITS,
    N_KEYS
};

static const char *const optimizers[] = {[PARE_SGD] = "sgd", [PARE_ADAM] = "adam", [PARE_ADAMW] = "adamw", NULL};
static const char *const decays[] = {"weights", "all", NULL};
static const char *const keeps[] = {[PARE_KEEP_BEST] = "best", [PARE_KEEP_LAST] = "last", NULL};
static const char *const switches[] = {[PARE_OFF] = "off", [PARE_ON] = "on", [PARE_AUTO] = "auto", NULL};

static const pare_param layer_columns[] = {
    ROW(.type = PARE_PARAM_PATTERN, .name = "match", .doc = "Names of weights or layers."),
    ROW(.type = PARE_PARAM_FLOAT, .name = "lr", .doc = "Times the learning rate.", .dflt = "1.0", FROM(0)),
    ROW(.type = PARE_PARAM_FLOAT, .name = "decay", .doc = "Times the weight decay.", .dflt = "1.0", FROM(0)),
};

static const pare_param keys[N_KEYS] = {
    [EPOCHS] =
        ROW(.type = PARE_PARAM_FLOAT, .name = "epochs", .doc = "Times through the set; default: 1, or as `steps` says.",
            FROM(0), .flags = PARE_PARAM_EXCL_MIN | PARE_PARAM_OPTIONAL),
    [STEPS] = ROW(.type = PARE_PARAM_INT, .name = "steps", .doc = "At most so many optimiser steps.",
                  .flags = PARE_PARAM_OPTIONAL, .min = 1, .max = MOST_STEPS),
    [BATCH] = ROW(.type = PARE_PARAM_INT, .name = "batch", .doc = "Samples of one optimiser step.", .dflt = "128",
                  .min = 1, .max = MOST_ROWS),
    [MICRO_BATCH] = ROW(.type = PARE_PARAM_INT, .name = "micro_batch",
                        .doc = "Samples at once; gradients are summed over the batch (BatchNormalization sees these "
                               "alone). Default: all.",
                        .flags = PARE_PARAM_OPTIONAL, .min = 1, .max = MOST_ROWS),
    [DROP_LAST] = ROW(.type = PARE_PARAM_BOOL, .name = "drop_last", .doc = "A last batch that is short is left out.",
                      .dflt = "true"),
    [OPTIMIZER] = ROW(.type = PARE_PARAM_ENUM, .name = "optimizer", .doc = "How weights move.", .choices = optimizers,
                      .dflt = "sgd"),
    [LR] = ROW(.type = PARE_PARAM_FLOAT, .name = "lr",
               .doc = "The learning rate; default: 0.05 with sgd, 0.001 with adam and adamw.", FROM(0),
               .flags = PARE_PARAM_EXCL_MIN | PARE_PARAM_OPTIONAL),
    [MOMENTUM] = ROW(.type = PARE_PARAM_FLOAT, .name = "momentum", .doc = "Of sgd; 0: none.", .dflt = "0.9", .min = 0,
                     .max = 1, .flags = PARE_PARAM_EXCL_MAX),
    [NESTEROV] =
        ROW(.type = PARE_PARAM_BOOL, .name = "nesterov",
            .doc = "Nesterov's form of momentum; default: true where there is momentum.", .flags = PARE_PARAM_OPTIONAL),
    [BETAS] = ROW(.type = PARE_PARAM_FLOAT, .name = "betas", .doc = "Of adam and adamw: two numbers.",
                  .dflt = "[0.9, 0.999]", .min = 0, .max = 1, .flags = PARE_PARAM_LIST | PARE_PARAM_EXCL_MAX),
    [EPSILON] =
        ROW(.type = PARE_PARAM_FLOAT, .name = "epsilon", .doc = "Of adam and adamw.", .dflt = "1.0e-8", ABOVE(0)),
    [WEIGHT_DECAY] = ROW(.type = PARE_PARAM_FLOAT, .name = "weight_decay",
                         .doc = "Pulls weights to 0; default: 0.0005 with sgd, 0 with adam, 0.01 with adamw.", FROM(0),
                         .flags = PARE_PARAM_OPTIONAL),
    [DECAY] = ROW(.type = PARE_PARAM_ENUM, .name = "decay",
                  .doc = "What weight_decay pulls: weights spares biases and norm layers.", .choices = decays,
                  .dflt = "weights"),
    [CLIP_NORM] = ROW(.type = PARE_PARAM_FLOAT, .name = "clip_norm",
                      .doc = "Gradients whose norm is larger are scaled down to it.", FROM(0),
                      .flags = PARE_PARAM_EXCL_MIN | PARE_PARAM_OPTIONAL),
    [SMOOTHING] = ROW(.type = PARE_PARAM_FLOAT, .name = "label_smoothing",
                      .doc = "The share of each label that goes to all classes.", .dflt = "0.0", .min = 0, .max = 1,
                      .flags = PARE_PARAM_EXCL_MAX),
    [EMA] = ROW(.type = PARE_PARAM_FLOAT, .name = "ema",
                .doc = "Decay of a moving average of the weights that leaves in their place, as 0.999.", .min = 0,
                .max = 1, .flags = PARE_PARAM_EXCL_MIN | PARE_PARAM_EXCL_MAX | PARE_PARAM_OPTIONAL),
    [FREEZE] = ROW(.type = PARE_PARAM_PATTERN, .name = "freeze", .doc = "These weights stay as they are.",
                   .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL),
    [TRAIN] = ROW(.type = PARE_PARAM_PATTERN, .name = "train", .doc = "These weights alone are trained.",
                  .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL),
    [LAYERS] = ROW(.type = PARE_PARAM_TABLE, .name = "layers", .doc = "Factors for some; the first match counts.",
                   .columns = layer_columns, .n_columns = COUNT(layer_columns), .column_stride = sizeof(pare_param),
                   .flags = PARE_PARAM_OPTIONAL),
    [FREEZE_BATCHNORM] = ROW(.type = PARE_PARAM_BOOL, .name = "freeze_batchnorm",
                             .doc = "BatchNormalization keeps its statistics and normalises by them.", .dflt = "false"),
    [LOGITS] = ROW(.type = PARE_PARAM_STRING, .name = "logits",
                   .doc = "The value the loss takes; default: what stands before a Softmax at the end.",
                   .flags = PARE_PARAM_NONEMPTY | PARE_PARAM_OPTIONAL),
    [KEEP] = ROW(.type = PARE_PARAM_ENUM, .name = "keep",
                 .doc = "Which epoch's weights leave: the last, or the best by accuracy on `validate`.",
                 .choices = keeps, .dflt = "last"),
    [EARLY_STOP] = ROW(.type = PARE_PARAM_INT, .name = "early_stop",
                       .doc = "Ends after so many epochs without a better one on `validate`.",
                       .flags = PARE_PARAM_OPTIONAL, .min = 1, .max = 1000000),
    [CACHE_LOGITS] = ROW(.type = PARE_PARAM_ENUM, .name = "cache_logits",
                         .doc = "Teachers' logits are kept on disk during the run; auto: where samples come again "
                                "unchanged.",
                         .choices = switches, .dflt = "auto"),
};

enum {
    S_KIND,
    S_WARMUP,
    S_EVERY,
    S_GAMMA,
    S_FINAL,
    S_POWER,
    S_PCT,
    S_DIV,
    S_FINAL_DIV,
    S_CYCLE,
    S_MOMENTUM_MIN,
    S_MOMENTUM_MAX,
    N_SCHEDULE
};

static const char *const schedules[] = {
    [PARE_SCHEDULE_CONSTANT] = "constant", [PARE_SCHEDULE_STEP] = "step", [PARE_SCHEDULE_COSINE] = "cosine",
    [PARE_SCHEDULE_ONECYCLE] = "onecycle", [PARE_SCHEDULE_POLY] = "poly", NULL};

static const pare_param schedule_keys[N_SCHEDULE] = {
    [S_KIND] = ROW(.type = PARE_PARAM_ENUM, .name = "kind", .doc = "How the learning rate moves.", .choices = schedules,
                   .dflt = "cosine"),
    [S_WARMUP] = ROW(.type = PARE_PARAM_FLOAT, .name = "warmup",
                     .doc = "Steps in which it rises to lr; below 1 a share of all. Default: 0.05 with cosine, else 0.",
                     FROM(0), .flags = PARE_PARAM_OPTIONAL),
    [S_EVERY] = ROW(.type = PARE_PARAM_FLOAT, .name = "every", .doc = "step: every so many epochs ...", .dflt = "1.0",
                    ABOVE(0)),
    [S_GAMMA] = ROW(.type = PARE_PARAM_FLOAT, .name = "gamma", .doc = "step: ... it is taken times this.",
                    .dflt = "0.1", .min = 0, .max = 1, .flags = PARE_PARAM_EXCL_MIN),
    [S_FINAL] =
        ROW(.type = PARE_PARAM_FLOAT, .name = "final_lr", .doc = "cosine: where it ends.", .dflt = "0.0", FROM(0)),
    [S_POWER] =
        ROW(.type = PARE_PARAM_FLOAT, .name = "power", .doc = "poly: lr * (1 - t)^power.", .dflt = "1.0", ABOVE(0)),
    [S_PCT] = ROW(.type = PARE_PARAM_FLOAT, .name = "pct_start", .doc = "onecycle: the share in which it rises.",
                  .dflt = "0.3", .min = 0, .max = 1, .flags = PARE_PARAM_EXCL_MIN | PARE_PARAM_EXCL_MAX),
    [S_DIV] = ROW(.type = PARE_PARAM_FLOAT, .name = "div_factor", .doc = "onecycle: it starts at lr over this.",
                  .dflt = "25.0", FROM(1)),
    [S_FINAL_DIV] = ROW(.type = PARE_PARAM_FLOAT, .name = "final_div_factor",
                        .doc = "onecycle: it ends at its start over this.", .dflt = "1.0e+4", FROM(1)),
    [S_CYCLE] = ROW(.type = PARE_PARAM_BOOL, .name = "cycle_momentum",
                    .doc = "onecycle: momentum (adam, adamw: the first beta) falls while it rises, and comes back.",
                    .dflt = "false"),
    [S_MOMENTUM_MIN] = ROW(.type = PARE_PARAM_FLOAT, .name = "momentum_min", .doc = "onecycle, cycle_momentum.",
                           .dflt = "0.85", .min = 0, .max = 1, .flags = PARE_PARAM_EXCL_MAX),
    [S_MOMENTUM_MAX] = ROW(.type = PARE_PARAM_FLOAT, .name = "momentum_max", .doc = "onecycle, cycle_momentum.",
                           .dflt = "0.95", .min = 0, .max = 1, .flags = PARE_PARAM_EXCL_MAX),
};

enum { A_FLIP, A_CROP, A_RESIZED, A_BRIGHTNESS, A_CONTRAST, A_SATURATION, A_CUTOUT, A_MIXUP, N_AUGMENT };
#define SHARE(text) .doc = text, .dflt = "0.0", .min = 0, .max = 1

static const pare_param augment_keys[N_AUGMENT] = {
    [A_FLIP] = ROW(.type = PARE_PARAM_FLOAT, .name = "flip", SHARE("How often an image is mirrored, left to right.")),
    [A_CROP] = ROW(.type = PARE_PARAM_INT, .name = "crop",
                   .doc = "Zeros put on each side, then a crop of the old size anywhere.", .dflt = "0", .min = 0,
                   .max = 1024, .unit = "pixels"),
    [A_RESIZED] = ROW(.type = PARE_PARAM_FLOAT, .name = "resized_crop",
                      .doc = "An area between these two shares of the image, resized to its size, as [0.08, 1].",
                      .min = 0, .max = 1, .flags = PARE_PARAM_LIST | PARE_PARAM_EXCL_MIN | PARE_PARAM_OPTIONAL),
    [A_BRIGHTNESS] = ROW(.type = PARE_PARAM_FLOAT, .name = "brightness", SHARE("Drawn from 1 - x to 1 + x.")),
    [A_CONTRAST] = ROW(.type = PARE_PARAM_FLOAT, .name = "contrast", SHARE("Likewise.")),
    [A_SATURATION] = ROW(.type = PARE_PARAM_FLOAT, .name = "saturation", SHARE("Likewise, of three channels.")),
    [A_CUTOUT] = ROW(.type = PARE_PARAM_INT, .name = "cutout", .doc = "The side of a square of zeros.", .dflt = "0",
                     .min = 0, .max = 65535, .unit = "pixels"),
    [A_MIXUP] = ROW(.type = PARE_PARAM_FLOAT, .name = "mixup",
                    .doc = "Images and labels are mixed in pairs; alpha of the beta distribution, 0: not.",
                    .dflt = "0.0", .min = 0, .max = 100),
};

pare_param_table pare_config_fit_table(pare_fit_table which) {
    switch (which) {
    case PARE_FIT_SCHEDULE: return (pare_param_table){schedule_keys, N_SCHEDULE, sizeof(pare_param)};
    case PARE_FIT_AUGMENT: return (pare_param_table){augment_keys, N_AUGMENT, sizeof(pare_param)};
    default: return (pare_param_table){keys, N_KEYS, sizeof(pare_param)};
    }
}

/* ---- reading ---- */

typedef struct reading {
    pare_config *c;
    pare_pipeline_step *s;
    pare_pipeline_fit *f;
    const char *path; /* "steps.trained.fit" */
} reading;

static double number(const pare_params *q, uint32_t row, double dflt) {
    return q->args[row].n ? q->args[row].u.f : dflt;
}
static uint64_t whole(const pare_params *q, uint32_t row) { return q->args[row].n ? (uint64_t)q->args[row].u.i : 0; }
static bool given(const pare_params *q, uint32_t row) { return q->node[row] != NULL; }

static const char *joined(const reading *r, const char *key) {
    return pare_arena_printf(&r->c->p->arena, "%s.%s", r->path, key);
}

/* A row that was given but has no meaning beside another key. */
static void stray(const reading *r, const pare_params *q, uint32_t row, const char *with) {
    const char *name = pare_param_at(q->table, row)->name;
    if (!given(q, row)) return;
    pare_config_fail(r->c, q->node[row]->key_at.src ? q->node[row]->key_at : q->node[row]->at,
                     pare_arena_printf(&r->c->p->arena, "%s.%s", q->prefix, name), "config.conflict", "leave it out",
                     "%s goes with %s alone", name, with);
}

static void wrong_pair(const reading *r, const pare_params *q, uint32_t row, const char *must) {
    const char *name = pare_param_at(q->table, row)->name;
    pare_config_fail(r->c, q->node[row]->at, pare_arena_printf(&r->c->p->arena, "%s.%s", q->prefix, name),
                     "config.range", NULL, "%s must be %s", name, must);
}

static pare_params *parse(const reading *r, const pare_yaml_node *n, pare_fit_table which, const char *prefix) {
    pare_params_ctx ctx = {.d = r->c->d, .arena = &r->c->p->arena, .prefix = prefix, .at = r->f->at};
    pare_params *q = NULL;
    if (pare_params_parse(n, pare_config_fit_table(which), &ctx, &q) != PARE_OK) r->c->errors++;
    return q;
}

/* `schedule: cosine` is short for {kind: cosine}. */
static void read_schedule(const reading *r, const pare_yaml_node *n) {
    pare_yaml *y = r->c->p->yaml;
    pare_schedule_opts *s = &r->f->opts.schedule;
    if (n && n->text && n->kind != PARE_YAML_NULL) {
        pare_yaml_node *kind = pare_arena_memdup(&y->arena, n, sizeof *n), *map = pare_yaml_new_map(y, n->at);
        pare_yaml_put(y, map, "kind", n->key_at, kind);
        n = map;
    }
    pare_params *q = r->f->schedule = parse(r, n, PARE_FIT_SCHEDULE, joined(r, "schedule"));
    if (!q) return;
    s->kind = (pare_schedule)q->args[S_KIND].u.i;
    s->warmup = number(q, S_WARMUP, s->kind == PARE_SCHEDULE_COSINE ? 0.05 : 0);
    s->step_epochs = number(q, S_EVERY, 1);
    s->gamma = number(q, S_GAMMA, 0.1);
    s->final_lr = number(q, S_FINAL, 0);
    s->power = number(q, S_POWER, 1);
    s->pct_start = number(q, S_PCT, 0.3);
    s->div_factor = number(q, S_DIV, 25);
    s->final_div = number(q, S_FINAL_DIV, 1e4);
    s->cycle_momentum = q->args[S_CYCLE].u.i != 0;
    s->momentum_min = number(q, S_MOMENTUM_MIN, 0.85);
    s->momentum_max = number(q, S_MOMENTUM_MAX, 0.95);
    bool cycle = s->kind == PARE_SCHEDULE_ONECYCLE;
    if (cycle) stray(r, q, S_WARMUP, "kind: constant, step, cosine and poly");
    for (uint32_t i = S_EVERY; i <= S_GAMMA && s->kind != PARE_SCHEDULE_STEP; i++) stray(r, q, i, "kind: step");
    if (s->kind != PARE_SCHEDULE_COSINE) stray(r, q, S_FINAL, "kind: cosine");
    if (s->kind != PARE_SCHEDULE_POLY) stray(r, q, S_POWER, "kind: poly");
    for (uint32_t i = S_PCT; i < N_SCHEDULE && !cycle; i++) stray(r, q, i, "kind: onecycle");
    if (s->momentum_min > s->momentum_max)
        wrong_pair(r, q, given(q, S_MOMENTUM_MIN) ? S_MOMENTUM_MIN : S_MOMENTUM_MAX,
                   "such that momentum_min is at most momentum_max");
}

static void read_augment(const reading *r, const pare_yaml_node *n) {
    pare_augment_opts *a = &r->f->opts.augment;
    pare_params *q = r->f->augment = parse(r, n, PARE_FIT_AUGMENT, joined(r, "augment"));
    if (!q) return;
    a->flip = number(q, A_FLIP, 0);
    a->crop_padding = (uint32_t)whole(q, A_CROP);
    a->brightness = number(q, A_BRIGHTNESS, 0);
    a->contrast = number(q, A_CONTRAST, 0);
    a->saturation = number(q, A_SATURATION, 0);
    a->cutout = (uint32_t)whole(q, A_CUTOUT);
    a->mixup = number(q, A_MIXUP, 0);
    if (!given(q, A_RESIZED)) return;
    const pare_arg *v = &q->args[A_RESIZED];
    a->resized_crop = true;
    if (v->n == 2 && v->u.list[0].u.f <= v->u.list[1].u.f) {
        a->resized_min = v->u.list[0].u.f;
        a->resized_max = v->u.list[1].u.f;
    } else {
        wrong_pair(r, q, A_RESIZED, "two shares, the smaller first, as in [0.08, 1]");
    }
}

static const char *const *texts(const reading *r, const pare_arg *a, size_t *n) {
    const char **list = pare_arena_alloc(&r->c->p->arena, ((size_t)a->n + 1) * sizeof *list);
    for (uint64_t i = 0; i < a->n; i++) list[i] = a->u.list[i].u.s;
    *n = (size_t)a->n;
    return list;
}

static void read_optimizer(const reading *r, const pare_params *q) {
    static const double lr[] = {[PARE_SGD] = 0.05, [PARE_ADAM] = 0.001, [PARE_ADAMW] = 0.001};
    static const double decay[] = {[PARE_SGD] = 5e-4, [PARE_ADAM] = 0, [PARE_ADAMW] = 0.01};
    pare_fit_opts *o = &r->f->opts;
    bool sgd = q->args[OPTIMIZER].u.i == PARE_SGD;
    o->optimizer = (pare_optimizer)q->args[OPTIMIZER].u.i;
    o->lr = number(q, LR, lr[o->optimizer]);
    o->weight_decay = number(q, WEIGHT_DECAY, decay[o->optimizer]);
    o->decay_all = q->args[DECAY].u.i == 1;
    o->momentum = sgd ? number(q, MOMENTUM, 0.9) : 0;
    o->nesterov = sgd && (given(q, NESTEROV) ? q->args[NESTEROV].u.i != 0 : o->momentum > 0);
    o->epsilon = number(q, EPSILON, 1e-8);
    if (q->args[BETAS].n == 2) {
        o->beta1 = q->args[BETAS].u.list[0].u.f;
        o->beta2 = q->args[BETAS].u.list[1].u.f;
    } else {
        wrong_pair(r, q, BETAS, "two numbers, as in [0.9, 0.999]");
    }
    for (uint32_t i = MOMENTUM; i <= NESTEROV && !sgd; i++) stray(r, q, i, "optimizer: sgd");
    for (uint32_t i = BETAS; i <= EPSILON && sgd; i++) stray(r, q, i, "optimizer: adam and adamw");
    if (sgd && o->nesterov && !(o->momentum > 0))
        pare_config_fail(r->c, q->node[NESTEROV]->at, joined(r, "nesterov"), "config.conflict",
                         "give it one, or leave nesterov out", "nesterov is a form of momentum, and momentum is 0");
}

static void read_layers(const reading *r, const pare_arg *a) {
    pare_fit_group *g = pare_arena_alloc(&r->c->p->arena, ((size_t)a->n + 1) * sizeof *g);
    for (uint64_t i = 0; i < a->n; i++) {
        const pare_arg *row = a->u.list + i * COUNT(layer_columns);
        g[i] = (pare_fit_group){row[0].u.s, row[1].u.f, row[2].u.f};
    }
    r->f->opts.groups = g;
    r->f->opts.n_groups = (size_t)a->n;
}

static void read_plain(const reading *r, const pare_params *q) {
    pare_fit_opts *o = &r->f->opts;
    o->epochs = number(q, EPOCHS, given(q, STEPS) ? 0 : 1);
    o->steps = whole(q, STEPS);
    o->batch = (uint32_t)whole(q, BATCH);
    o->micro_batch = (uint32_t)whole(q, MICRO_BATCH);
    o->drop_last = q->args[DROP_LAST].u.i != 0;
    o->clip_norm = number(q, CLIP_NORM, 0);
    o->label_smoothing = number(q, SMOOTHING, 0);
    o->ema = number(q, EMA, 0);
    o->freeze = texts(r, &q->args[FREEZE], &o->n_freeze);
    o->train = texts(r, &q->args[TRAIN], &o->n_train);
    o->freeze_batchnorm = q->args[FREEZE_BATCHNORM].u.i != 0;
    o->logits = q->args[LOGITS].n ? q->args[LOGITS].u.s : NULL;
    o->keep = (pare_keep)q->args[KEEP].u.i;
    o->early_stop = (uint32_t)whole(q, EARLY_STOP);
    r->f->cache_logits = (pare_switch)q->args[CACHE_LOGITS].u.i;
    read_layers(r, &q->args[LAYERS]);
    read_optimizer(r, q);
    if (o->micro_batch > o->batch)
        pare_config_fail(r->c, q->node[MICRO_BATCH]->at, joined(r, "micro_batch"), "config.range", NULL,
                         "micro_batch must be at most batch (%u), got %u", o->batch, o->micro_batch);
}

/* off, auto or how many segments. YAML 1.1 tools write false for off. */
static void read_recompute(const reading *r, const pare_yaml_node *n) {
    int32_t *to = &r->f->opts.recompute;
    const char *path = joined(r, "recompute");
    int64_t v = 0;
    if (!n || (n->kind == PARE_YAML_BOOL && !n->i)) return;
    if (n->kind == PARE_YAML_INT || n->kind == PARE_YAML_FLOAT) {
        if (pare_config_int(r->c, n, path, 2, PARE_RECOMPUTE_MAX, &v)) *to = (int32_t)v;
    } else if (n->kind == PARE_YAML_STRING && strcmp(n->text, "auto") == 0) {
        *to = PARE_RECOMPUTE_AUTO;
    } else if (n->kind != PARE_YAML_STRING || strcmp(n->text, "off") != 0) {
        pare_config_wrong(r->c, n, path, "off, auto or a number of segments from 2 on",
                          n->kind == PARE_YAML_BOOL ? "auto chooses the number" : NULL);
    }
}

/* ---- sets ---- */

static int32_t read_set(const reading *r, const pare_yaml_node *n, const char *key) {
    const pare_pipeline *p = r->c->p;
    const char *path = joined(r, key), *name = pare_config_text(r->c, n, path, "the name of a set of `data`");
    uint32_t i;
    if (!name) return -1;
    if (pare_map_get(&r->c->sets, name, &i)) return (int32_t)i;
    const char **names = pare_xcalloc(p->data.n_sets + 1, sizeof *names);
    for (size_t k = 0; k < p->data.n_sets; k++) names[k] = p->data.sets[k].name;
    pare_config_fail(r->c, n->at, path, "config.unknown-set",
                     p->data.n_sets ? pare_config_hint(r->c, name, "known are", names, p->data.n_sets)
                                    : "name it in a data block, as in `data: {train: {folder: images}}`",
                     "there is no set \"%s\"", name);
    free(names);
    return -1;
}

static void read_validate(const reading *r, const pare_yaml_node *n, const pare_params *q) {
    const pare_pipeline *p = r->c->p;
    if (n) r->f->validate = read_set(r, n, "validate");
    if (r->f->validate >= 0 && pare_config_no_labels(p, r->f->validate))
        pare_config_fail(r->c, n->at, joined(r, "validate"), "config.no-labels", NULL,
                         "validation counts what is right, and the set \"%s\" has no labels",
                         p->data.sets[r->f->validate].name);
    if (n || !q) return;
    if (r->f->opts.keep == PARE_KEEP_BEST)
        pare_config_fail(r->c, q->node[KEEP]->at, joined(r, "keep"), "config.missing", "as in `validate: test`",
                         "keep: best needs `validate`: the set it is the best on");
    if (r->f->opts.early_stop)
        pare_config_fail(r->c, q->node[EARLY_STOP]->at, joined(r, "early_stop"), "config.missing",
                         "as in `validate: test`", "early_stop needs `validate`: the set that says it");
}

/* ---- all of it ---- */

void pare_config_fit(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *n, const char *path) {
    static const char *const others[] = {"schedule", "augment", "loss", "data", "validate", "recompute"};
    pare_config_key all[N_KEYS + COUNT(others)];
    pare_pipeline_fit *f = s->fit = pare_arena_alloc(&c->p->arena, sizeof *f);
    reading r = {c, s, f, pare_arena_printf(&c->p->arena, "%s.fit", path)};
    *f = (pare_pipeline_fit){.opts = pare_fit_defaults(), .data = -1, .validate = -1, .at = n->key_at};
    if (n->kind != PARE_YAML_MAP && n->kind != PARE_YAML_NULL) {
        pare_config_wrong(c, n, r.path, "a map, as in {epochs: 2, lr: 0.05}", NULL);
        return;
    }
    pare_yaml_node *plain = pare_yaml_new_map(c->p->yaml, n->at);
    for (size_t i = 0; i < N_KEYS; i++) {
        all[i] = (pare_config_key){keys[i].name, false};
        const pare_yaml_node *v = pare_yaml_get(n, keys[i].name);
        if (!v) continue;
        pare_span key_at = v->key_at;
        pare_yaml_put(c->p->yaml, plain, keys[i].name, key_at, pare_arena_memdup(&c->p->yaml->arena, v, sizeof *v));
    }
    for (size_t i = 0; i < COUNT(others); i++) all[N_KEYS + i] = (pare_config_key){others[i], false};
    pare_config_keys(c, n, r.path, all, COUNT(all));
    f->keys = parse(&r, plain, PARE_FIT_KEYS, r.path);
    if (f->keys) read_plain(&r, f->keys);
    read_schedule(&r, pare_yaml_get(n, "schedule"));
    read_augment(&r, pare_yaml_get(n, "augment"));
    read_recompute(&r, pare_yaml_get(n, "recompute"));
    read_validate(&r, pare_yaml_get(n, "validate"), f->keys);
    const pare_yaml_node *data = pare_yaml_get(n, "data");
    if (data) f->data = read_set(&r, data, "data");
    pare_config_losses(c, f, pare_yaml_get(n, "loss"), r.path);
    if (f->keys && f->cache_logits == PARE_ON && pare_augments(&f->opts.augment))
        pare_config_fail(c, f->keys->node[CACHE_LOGITS]->at, joined(&r, "cache_logits"), "config.conflict",
                         "leave it out: with `augment` teachers look at every batch anew",
                         "logits can't be kept where `augment` makes other images of the samples each time");
    else if (pare_augments(&f->opts.augment))
        f->cache_logits = PARE_OFF;
}

/* The set called train, else the only one that may have labels, else the only one; never what the report measures on.
 */
static int32_t likely_set(const pare_pipeline *p) {
    int32_t train = pare_pipeline_set_find(p, "train"), only = -1;
    if (train >= 0) return train;
    for (int pass = 0; pass < 2 && only == -1; pass++)
        for (size_t i = 0; i < p->data.n_sets; i++) {
            if ((int32_t)i == p->report.on || (!pass && pare_config_no_labels(p, (int32_t)i))) continue;
            only = only == -1 ? (int32_t)i : -2;
        }
    return only;
}

void pare_config_fit_sets(pare_config *c) {
    pare_pipeline *p = c->p;
    for (size_t i = 0; i < p->n_steps; i++) {
        pare_pipeline_fit *f = p->steps[i].fit;
        if (!f || !p->steps[i].id) continue;
        const char *path = pare_arena_printf(&p->arena, "steps.%s.fit", p->steps[i].id);
        if (f->data < 0) f->data = likely_set(p);
        if (f->data < 0)
            pare_config_fail(c, f->at, path, "config.missing",
                             p->data.n_sets ? "as in `fit: {data: train}`; a set called train is taken by itself"
                                            : "add it, as in `data: {train: {folder: images}}`",
                             p->data.n_sets ? "%s doesn't say which set of `data` it trains on"
                                            : "%s trains, and there is no set to train on",
                             path);
        else if (f->opts.keep == PARE_KEEP_BEST && f->validate >= 0 && f->validate == p->report.on)
            pare_say_at(c->d, PARE_WARNING, f->at, "config.validate", "set some of the training set apart (split:)",
                        "the report measures on \"%s\", and step %s chooses its epoch by it: that accuracy flatters",
                        p->data.sets[f->validate].name, p->steps[i].id);
    }
}

/* ---- resolved ---- */

json_t *pare_config_fit_json(const pare_pipeline *p, const pare_pipeline_fit *f) {
    const pare_fit_opts *o = &f->opts;
    json_t *j = pare_params_json(f->keys), *schedule = pare_params_json(f->schedule), *losses = json_array();
    json_object_set_new(j, "data", pare_json_str(p->data.sets[f->data].name));
    if (f->validate >= 0) json_object_set_new(j, "validate", pare_json_str(p->data.sets[f->validate].name));
    if (o->epochs > 0) json_object_set_new(j, "epochs", json_real(o->epochs));
    json_object_set_new(j, "lr", json_real(o->lr));
    json_object_set_new(j, "weight_decay", json_real(o->weight_decay));
    json_object_set_new(j, "cache_logits", json_string(switches[f->cache_logits]));
    json_object_set_new(j, "recompute",
                        o->recompute > 0 ? json_integer(o->recompute) : json_string(o->recompute ? "auto" : "off"));
    if (o->optimizer == PARE_SGD) {
        json_object_set_new(j, "nesterov", json_boolean(o->nesterov));
        json_object_del(j, "betas");
        json_object_del(j, "epsilon");
    } else {
        json_object_del(j, "momentum");
        json_object_del(j, "nesterov");
    }
    if (o->schedule.kind != PARE_SCHEDULE_ONECYCLE)
        json_object_set_new(schedule, "warmup", json_real(o->schedule.warmup));
    static const struct {
        uint32_t first, last;
        pare_schedule kind;
    } own[] = {{S_EVERY, S_GAMMA, PARE_SCHEDULE_STEP},
               {S_FINAL, S_FINAL, PARE_SCHEDULE_COSINE},
               {S_POWER, S_POWER, PARE_SCHEDULE_POLY},
               {S_PCT, S_MOMENTUM_MAX, PARE_SCHEDULE_ONECYCLE}};
    for (size_t i = 0; i < COUNT(own); i++)
        for (uint32_t k = own[i].first; k <= own[i].last && own[i].kind != o->schedule.kind; k++)
            json_object_del(schedule, schedule_keys[k].name);
    json_object_set_new(j, "schedule", schedule);
    json_object_set_new(j, "augment", pare_params_json(f->augment));
    for (size_t i = 0; i < o->n_losses; i++) {
        json_t *l = json_pack("{s:o}", "use", pare_json_str(o->losses[i].use));
        if (f->with[i]) json_object_set_new(l, "with", pare_params_json(f->with[i]));
        json_object_set_new(l, "weight", json_real(o->losses[i].weight));
        json_array_append_new(losses, l);
    }
    if (json_array_size(losses))
        json_object_set_new(j, "loss", losses);
    else
        json_decref(losses);
    return j;
}
