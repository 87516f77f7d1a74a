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
    ARG_MASKS
};
enum { COLUMN_MATCH, COLUMN_SPARSITY, COLUMN_PATTERN, COLUMN_SKIP, COLUMN_COUNT };

static const char *const criteria[] = {"magnitude", "random", NULL};
static const char *const scopes[] = {"layer", "global", NULL};
static const char *const masks[] = {"keep", "bake", NULL};

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
                            .doc = "Which weights go: the smallest by absolute value, or ones drawn by the seed."),
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
    [ARG_MASKS] = PARAM(.type = PARE_PARAM_ENUM, .name = "masks", .dflt = "keep", .choices = masks,
                        .doc = "keep: later training holds the zeros at zero. bake: the zeros are ordinary weights."),
};
_Static_assert(ARG_MASKS + 1 == PRUNE_N_PARAMS, "one row an argument");

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
    o->random = args[ARG_CRITERION].u.i == 1;
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
