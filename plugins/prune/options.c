/* prune/options.c - see options.h. */
#include "options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARG_SPARSITY,
    ARG_CRITERION,
    ARG_SCOPE,
    ARG_PATTERN,
    ARG_OPS,
    ARG_INCLUDE,
    ARG_EXCLUDE,
    ARG_LAYERS,
    ARG_KEEP_FIRST,
    ARG_KEEP_LAST,
    ARG_MASKS,
    ARG_DISTRIBUTION,
    ARG_SCHEDULE,
    ARG_START,
    ARG_END,
    ARG_EVERY,
    ARG_UNIT,
    ARG_BATCHES,
    ARG_REGROW,
    ARG_DROP
};
enum { COLUMN_MATCH, COLUMN_SPARSITY, COLUMN_PATTERN, COLUMN_SKIP, COLUMN_COUNT };

static const char *const criteria[] = {"magnitude", "random", "gradient", "movement", NULL};
static const char *const scopes[] = {"layer", "global", NULL};
static const char *const masks[] = {"keep", "bake", NULL};
static const char *const distributions[] = {"uniform", "erk", NULL};
static const char *const schedules[] = {"cubic", "linear", "once", NULL};
static const char *const units[] = {"steps", "epochs", NULL};
static const char *const regrows[] = {"none", "gradient", "random", NULL};

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

static const pare_param columns[COLUMN_COUNT] = {
    [COLUMN_MATCH] = PARAM(.type = PARE_PARAM_PATTERN, .name = "match",
                           .doc = "The layers this row is about, by weight name, node name or Conv#3."),
    [COLUMN_SPARSITY] = PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MAX,
                              .name = "sparsity", .unit = "fraction", .min = 0, .max = 1,
                              .doc = "The share of each such layer's weights that becomes zero."),
    [COLUMN_PATTERN] = PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_OPTIONAL, .name = "pattern",
                             .doc = "none, or N:M for these layers."),
    [COLUMN_SKIP] =
        PARAM(.type = PARE_PARAM_BOOL, .name = "skip", .dflt = "false", .doc = "Leaves these layers as they are."),
};

const pare_param prune_params[PRUNE_N_PARAMS] = {
    [ARG_SPARSITY] =
        PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MAX, .name = "sparsity",
              .unit = "fraction", .min = 0, .max = 1,
              .doc = "The share of weights that becomes zero: exactly round(sparsity x n) of each layer's n "
                     "weights, halves to even. Weights that are zero already are the first to count."),
    [ARG_CRITERION] = PARAM(.type = PARE_PARAM_ENUM, .name = "criterion", .dflt = "magnitude", .choices = criteria,
                            .doc = "Which weights go. magnitude: the smallest by absolute value. random: ones drawn by "
                                   "the seed. gradient: those that the loss would miss least, by the sum of "
                                   "|weight x gradient| over batches. movement: those that move towards zero, by the "
                                   "sum of -weight x gradient over all steps since start. The last two need a fit "
                                   "block."),
    [ARG_SCOPE] = PARAM(.type = PARE_PARAM_ENUM, .name = "scope", .dflt = "layer", .choices = scopes,
                        .doc = "layer: every layer loses the same share. global: the smallest weights of all layers "
                               "together go, so layers end up differently sparse."),
    [ARG_PATTERN] =
        PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_NONEMPTY, .name = "pattern", .dflt = "none",
              .doc = "N:M keeps exactly N of every M successive input channels (2:4, 4:8; M up to 64) and "
                     "replaces sparsity; of a short group of r at the end ceil(N x r / M) stay. Layers with "
                     "fewer than M input channels are left as they are. none: zeros may fall anywhere."),
    [ARG_OPS] = PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY, .name = "ops",
                      .dflt = "[Conv, Gemm, MatMul]", .doc = "The ops whose weights are pruned."),
    [ARG_INCLUDE] = PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "include",
                          .doc = "Only layers that one of these names; left out: all."),
    [ARG_EXCLUDE] = PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "exclude",
                          .doc = "No layer that one of these names."),
    [ARG_LAYERS] = PARAM(.type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .name = "layers", .columns = columns,
                         .n_columns = COLUMN_COUNT, .column_stride = sizeof(pare_param),
                         .doc = "Another sparsity or pattern for single layers; the first row that names a layer "
                                "counts. With scope global such layers stand outside the common threshold."),
    [ARG_KEEP_FIRST] = PARAM(.type = PARE_PARAM_BOOL, .name = "keep_first", .dflt = "false",
                             .doc = "Leaves the model's first layer as it is."),
    [ARG_KEEP_LAST] = PARAM(.type = PARE_PARAM_BOOL, .name = "keep_last", .dflt = "false",
                            .doc = "Leaves the model's last layer as it is."),
    [ARG_DISTRIBUTION] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "distribution", .dflt = "uniform", .choices = distributions,
              .doc = "How the sparsity falls to layers. uniform: the same share of each. erk: density in proportion to "
                     "(outputs + inputs + kernel height + width) / weights, so that small layers stay denser and all "
                     "together are as sparse as asked; layers with a row of their own stand outside."),
    [ARG_SCHEDULE] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "schedule", .dflt = "cubic", .choices = schedules,
              .doc =
                  "With a fit block: how sparsity rises from what the model has to what is asked, between start and "
                  "end. cubic: s_f + (s_i - s_f) (1 - t)^3, fast at first. linear: evenly. once: nothing is trained; "
                  "all goes at once by the gradient of the first batches of the fit block."),
    [ARG_START] =
        PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL, .name = "start", .min = 0, .max = 1e15,
              .doc = "With a fit block: when pruning begins; left out: 0. Up to 1 it is a share of all steps, "
                     "above that so many steps, or epochs (see unit)."),
    [ARG_END] = PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MIN, .name = "end",
                      .min = 0, .max = 1e15,
                      .doc = "When the whole sparsity is reached and masks stay as they are, counted as start is; left "
                             "out: after three quarters of all steps. What is left of the training lets the network "
                             "recover."),
    [ARG_EVERY] = PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MIN, .name = "every",
                        .min = 0, .max = 1e15,
                        .doc = "Steps, or epochs, from one change of the masks to the next; left out: a twentieth of "
                               "the way from start to end, at most 100 steps."),
    [ARG_UNIT] = PARAM(.type = PARE_PARAM_ENUM, .name = "unit", .dflt = "steps", .choices = units,
                       .doc = "What start, end and every count: optimiser steps (start and end up to 1: shares of all "
                              "of them), or epochs, of which 0.5 is half a one."),
    [ARG_BATCHES] = PARAM(.type = PARE_PARAM_INT, .name = "batches", .dflt = "16", .min = 1, .max = 1e9,
                          .doc = "Criterion gradient: how many batches before each change it is summed over."),
    [ARG_REGROW] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "regrow", .dflt = "none", .choices = regrows,
              .doc =
                  "With a fit block: the whole sparsity from the first step on, and at each change every layer drops "
                  "its smallest weights and lets as many grow elsewhere, from 0. gradient: where the gradient is "
                  "largest (RigL). random: where the seed says (SET)."),
    [ARG_DROP] =
        PARAM(.type = PARE_PARAM_FLOAT, .name = "drop", .dflt = "0.3", .unit = "fraction", .min = 0, .max = 1,
              .doc = "regrow: the share of a layer's living weights that is dropped at the start; it falls to 0 "
                     "at the end along a cosine."),
    [ARG_MASKS] = PARAM(.type = PARE_PARAM_ENUM, .name = "masks", .dflt = "keep", .choices = masks,
                        .doc = "keep: later training holds the zeros at zero. bake: the zeros are ordinary weights."),
};
_Static_assert(ARG_DROP + 1 == PRUNE_N_PARAMS, "one row an argument");

static pare_status wrong(const pare_host *host, const char *code, const char *param, const char *hint,
                         const char *message) {
    PARE_REPORT(host, PARE_ERROR, .code = code, .message = message, .hint = hint, .param = param);
    return PARE_EINVAL;
}

static pare_status read_pattern(const pare_host *host, const char *param, const pare_arg *arg, uint32_t *n,
                                uint32_t *m) {
    *n = *m = 0;
    if (!arg->n || prune_pattern_parse(arg->u.s, n, m)) return PARE_OK;
    char text[256];
    (void)snprintf(text, sizeof text, "pattern \"%.60s\" is neither none nor N:M with 1 <= N < M <= %d", arg->u.s,
                   PRUNE_MAX_M);
    return wrong(host, "prune.pattern", param, "write \"2:4\" (with quotes) to keep 2 of every 4 weights", text);
}

/* A sparsity beside N:M may only repeat what N:M says. */
static pare_status agree(const pare_host *host, const char *param, const pare_arg *sparsity, uint32_t n, uint32_t m) {
    if (!sparsity->n || !m) return PARE_OK;
    const double implied = 1.0 - (double)n / (double)m;
    if (fabs(sparsity->u.f - implied) < 1e-9) return PARE_OK;
    char text[160];
    (void)snprintf(text, sizeof text, "sparsity %.10g contradicts the pattern %u:%u, which makes it %.10g",
                   sparsity->u.f, n, m, implied);
    return wrong(host, "prune.sparsity-pattern", param, "leave one of the two out", text);
}

static pare_status read_rule(const pare_host *host, const prune_options *o, uint64_t row, const pare_arg *args,
                             prune_rule *rule) {
    const pare_arg *sparsity = &args[COLUMN_SPARSITY], *pattern = &args[COLUMN_PATTERN];
    char param[64], name[96];
    (void)snprintf(param, sizeof param, "layers[%llu]", (unsigned long long)row);
    rule->match = &args[COLUMN_MATCH];
    rule->skip = args[COLUMN_SKIP].n && args[COLUMN_SKIP].u.i;
    if (rule->skip) {
        if (!sparsity->n && !pattern->n) return PARE_OK;
        return wrong(host, "prune.row", param, "drop skip, or drop the other two",
                     "a row with skip: true leaves its layers as they are, yet it has a sparsity or pattern");
    }
    if (!sparsity->n && !pattern->n)
        return wrong(host, "prune.row", param, "add sparsity, pattern or skip: true", "the row says nothing but match");
    (void)snprintf(name, sizeof name, "%s.pattern", param);
    pare_status st = read_pattern(host, name, pattern, &rule->n, &rule->m);
    if (st) return st;
    (void)snprintf(name, sizeof name, "%s.sparsity", param);
    if ((st = agree(host, name, sparsity, rule->n, rule->m))) return st;
    if (rule->m) return PARE_OK;
    if (sparsity->n) {
        rule->sparsity = sparsity->u.f;
    } else if (o->has_sparsity && !o->m) {
        rule->sparsity = o->sparsity; /* pattern: none, spelt out */
    } else {
        return wrong(host, "prune.row", param, "add the row's sparsity", "pattern: none needs a sparsity here");
    }
    return PARE_OK;
}

pare_status prune_options_new(const pare_host *host, const pare_arg *args, prune_options **out) {
    const uint64_t n_rules = args[ARG_LAYERS].n;
    *out = NULL;
    prune_options *o = n_rules > (SIZE_MAX - sizeof *o) / sizeof(prune_rule)
                           ? NULL
                           : calloc(1, sizeof *o + (size_t)n_rules * sizeof(prune_rule));
    if (!o) return PARE_ENOMEM;
    o->has_sparsity = args[ARG_SPARSITY].n != 0;
    o->sparsity = o->has_sparsity ? args[ARG_SPARSITY].u.f : 0;
    o->criterion = (prune_criterion)args[ARG_CRITERION].u.i;
    o->random = o->criterion == PRUNE_RANDOM;
    o->erk = args[ARG_DISTRIBUTION].u.i == 1;
    o->schedule = (prune_schedule)args[ARG_SCHEDULE].u.i;
    o->epochs = args[ARG_UNIT].u.i == 1;
    o->start = args[ARG_START].n ? args[ARG_START].u.f : 0;
    o->has_every = args[ARG_EVERY].n != 0;
    o->every = o->has_every ? args[ARG_EVERY].u.f : 0;
    o->batches = (uint32_t)args[ARG_BATCHES].u.i;
    o->regrow = (prune_regrow)args[ARG_REGROW].u.i;
    o->drop = args[ARG_DROP].u.f;
    o->global = args[ARG_SCOPE].u.i == 1;
    o->keep_first = args[ARG_KEEP_FIRST].u.i != 0;
    o->keep_last = args[ARG_KEEP_LAST].u.i != 0;
    o->bake = args[ARG_MASKS].u.i == 1;
    o->ops = &args[ARG_OPS];
    o->include = &args[ARG_INCLUDE];
    o->exclude = &args[ARG_EXCLUDE];
    o->n_rules = n_rules;

    pare_status st = read_pattern(host, "pattern", &args[ARG_PATTERN], &o->n, &o->m);
    if (!st) st = agree(host, "sparsity", &args[ARG_SPARSITY], o->n, o->m);
    if (!st && o->m && o->global)
        st = wrong(host, "prune.scope-pattern", "scope", "leave scope out: N:M is decided group by group",
                   "scope: global has no meaning with an N:M pattern");
    if (!st && !o->m && !o->has_sparsity && n_rules == 0)
        st = wrong(host, "prune.no-sparsity", "sparsity", "add for instance sparsity: 0.9, or pattern: \"2:4\"",
                   "neither sparsity nor an N:M pattern is given: nothing says how much to prune");
    if (!st && o->erk && (o->m || o->global || !o->has_sparsity))
        st = wrong(host, "prune.distribution", "distribution",
                   "distribution: erk shares out `sparsity` over layers, with scope: layer and without a pattern",
                   o->m        ? "distribution: erk has no meaning with an N:M pattern, which is the same everywhere"
                   : o->global ? "distribution: erk has no meaning with scope: global, which shares out by size"
                               : "distribution: erk shares out a sparsity, and none is given");
    for (uint64_t i = 0; i < n_rules; i++) {
        const pare_status row = read_rule(host, o, i, args[ARG_LAYERS].u.list + i * COLUMN_COUNT, &o->rules[i]);
        if (!st) st = row;
    }
    if (st) {
        free(o);
        return st;
    }
    *out = o;
    return PARE_OK;
}

/* ---- with and without `fit:` ---- */

static pare_status without_fit(const pare_host *host, const pare_arg *args, const prune_options *o) {
    static const struct {
        int arg;
        const char *name, *message;
    } timed[] = {{ARG_START, "start", "start says when gradual pruning begins, and the step does not train"},
                 {ARG_END, "end", "end says when gradual pruning ends, and the step does not train"},
                 {ARG_EVERY, "every", "every says how often masks change in training, and the step does not train"}};
    if (o->regrow)
        return wrong(host, "prune.no-fit", "regrow", "add a fit block, as in fit: {epochs: 2}, or drop regrow",
                     "regrow moves zeros about while the network trains, and the step has no fit block");
    if (o->criterion == PRUNE_GRADIENT)
        return wrong(host, "prune.no-fit", "criterion",
                     "add fit: {data: train, batch: 128}; with schedule: once the network is only looked at",
                     "criterion: gradient needs samples to take gradients of, and the step has no fit block");
    if (o->criterion == PRUNE_MOVEMENT)
        return wrong(host, "prune.no-fit", "criterion", "add a fit block, as in fit: {epochs: 2}",
                     "criterion: movement is about how weights move in training, and the step has no fit block");
    for (int i = 0; i < 3; i++)
        if (args[timed[i].arg].n)
            return wrong(host, "prune.no-fit", timed[i].name, "add a fit block, as in fit: {epochs: 2}, or drop it",
                         timed[i].message);
    return PARE_OK;
}

static pare_status once(const pare_host *host, const pare_arg *args, const prune_options *o) {
    if (o->criterion != PRUNE_GRADIENT)
        return wrong(host, "prune.once", "schedule", "drop the fit block, or use criterion: gradient",
                     "schedule: once trains nothing, so that only criterion: gradient has a use for the fit block");
    if (o->regrow)
        return wrong(host, "prune.once", "regrow", "use another schedule, or drop regrow",
                     "regrow goes on through a training, and with schedule: once there is none");
    for (int i = ARG_START; i <= ARG_EVERY; i++)
        if (args[i].n)
            return wrong(host, "prune.once", prune_params[i].name, "drop it, or use another schedule",
                         "with schedule: once there is no start, end or every");
    return PARE_OK;
}

static pare_status with_regrow(const pare_host *host, const prune_options *o) {
    bool grouped = o->m != 0;
    for (uint64_t i = 0; i < o->n_rules; i++) grouped |= o->rules[i].m != 0;
    if (grouped)
        return wrong(host, "prune.regrow", "regrow", "drop one of the two",
                     "regrow moves zeros to anywhere in a layer, which an N:M pattern does not allow");
    if (o->criterion == PRUNE_GRADIENT || o->criterion == PRUNE_MOVEMENT)
        return wrong(host, "prune.regrow", "criterion", "use criterion: magnitude, or random for a random first mask",
                     "with regrow the whole sparsity is there before the first step, so that there is no gradient to "
                     "choose by; the smallest magnitudes are dropped later");
    return PARE_OK;
}

pare_status prune_options_fit(const pare_host *host, const pare_arg *args, bool fit, prune_options *o) {
    o->fit = fit;
    if (!fit) return without_fit(host, args, o);
    if (o->schedule == PRUNE_ONCE) return once(host, args, o);
    /* Left out, the end is a share, whatever the unit is. */
    o->has_end = args[ARG_END].n != 0;
    o->end = o->has_end ? args[ARG_END].u.f : 0.75;
    const bool alike = o->epochs ? o->has_end : (o->start <= 1) == (o->end <= 1);
    if (alike && o->end <= o->start) {
        char text[160];
        (void)snprintf(text, sizeof text, "the end, %.10g, is not after the start, %.10g", o->end, o->start);
        return wrong(host, "prune.end", "end", "pruning goes on from start to end: give it some steps", text);
    }
    return o->regrow ? with_regrow(host, o) : PARE_OK;
}
