/* plugin/param.h - what a table of pare_param says: checks of the table itself, validation, JSON Schema, --help.
 *
 * One reader for every table: a plugin's `with:`, a zoo network's `with:`, table columns. Is not: the SDK's definition
 * (sdk/pare/param.h). May use: base (yaml, json, diag).
 */
#ifndef PARE_PLUGIN_PARAM_H
#define PARE_PLUGIN_PARAM_H

#include "base/json.h"
#include "base/yaml.h"

#include <pare/param.h>

/* A table as it is walked: rows lie `stride` bytes apart, which a plugin built with other headers decides. */
typedef struct pare_param_table {
    const pare_param *rows;
    uint32_t n, stride;
} pare_param_table;

static inline const pare_param *pare_param_at(pare_param_table t, uint32_t i) {
    return (const pare_param *)(const void *)((const char *)t.rows + (size_t)i * t.stride);
}
/* The columns of a TABLE parameter. */
static inline pare_param_table pare_param_columns(const pare_param *p) {
    return (pare_param_table){p->columns, p->n_columns, p->column_stride};
}

/* Is the table itself right: sizes, names, types, documentation, ranges, choices, defaults that parse and hold? Returns
 * NULL, or what is wrong, malloc'ed, for the person who wrote the plugin. Any thread. */
char *pare_params_check(pare_param_table t);

/* A table filled from YAML. Lives in the arena given to pare_params_parse; `node`s live in their document. */
typedef struct pare_params {
    pare_param_table table;
    const pare_arg *args;              /* table.n, every one validated, defaults filled in */
    const pare_yaml_node *const *node; /* table.n; NULL: the default (or absent) */
    const char *prefix;                /* "steps.pruned.with" */
    pare_span at;                      /* of the whole */
} pare_params;

typedef struct pare_params_ctx {
    pare_diags *d;
    pare_arena *arena;  /* owns the result and every string in it */
    const char *prefix; /* where in the file, for messages: "steps.pruned.with" */
    pare_span at;       /* the place for what is missing: of `use:`, say */
    /* For MODEL parameters: the reference as the host shall see it (a file's path made relative to the pipeline's
     * folder), or NULL after having said what is wrong. The callback itself may be NULL: texts pass as they are. */
    const char *(*model)(void *user, const char *ref, pare_span at, const char *param);
    const char *(*set)(void *user, const char *ref, pare_span at, const char *param);  /* the same of DATA */
    const char *(*file)(void *user, const char *ref, pare_span at, const char *param); /* of FILE: an absolute path */
    void *user;
} pare_params_ctx;

/* Validates `with` (a MAP; NULL or null: no keys given) against a checked table. Reports everything that is wrong, each
 * with its place, then returns PARE_EINVAL. `with` must outlive *out. */
pare_status pare_params_parse(const pare_yaml_node *with, pare_param_table t, const pare_params_ctx *ctx,
                              pare_params **out);

/* The place of a parameter as a plugin names it: "sparsity", "layers[2].sparsity", "ops[0]". The nearest place around
 * it when it was not written; p->at when nothing of it was. p and name may be NULL. */
pare_span pare_params_locate(const pare_params *p, const char *name);

/* The arguments as JSON: canonical, defaults filled in, absent ones left out; files as they were written. A new
 * reference. */
json_t *pare_params_json(const pare_params *p);

/* Calls `each` for every file that parameters of type FILE name, in order: where ("with.ranges",
 * "with.layers[1].file"), and the path as written. */
void pare_params_files(const pare_params *p, void (*each)(void *ctx, const char *param, const char *written),
                       void *ctx);

/* JSON Schema (2020-12) of the map `with:`. Typed scalars also take a string that holds ${…}. A new reference. */
json_t *pare_params_schema(pare_param_table t);
/* What one parameter is, for `pare plugins --json`: name, type, list, default, min, max, choices, unit, doc, columns.
 */
json_t *pare_param_describe(const pare_param *p);

/* Lines for --help, each indented by `indent` spaces: name, type and range, default, then the documentation. */
void pare_params_help(pare_param_table t, unsigned indent, pare_sb *out);
/* 1: the choice is on or yes, 0: off or no, which YAML 1.1 takes for bools; -1: neither. */
int pare_param_switch(const char *choice);
/* "a float in [0, 1)", "one of magnitude, random", "a list of patterns": what is allowed, as messages say it. */
void pare_param_allowed(const pare_param *p, pare_sb *out);

#endif
