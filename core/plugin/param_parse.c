/* plugin/param_parse.c - see param.h: filling a checked table from YAML, finding a value's place, writing it as JSON.
 */
#include "plugin/param.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ERRORS = 20 };

typedef struct filler {
    const pare_params_ctx *ctx;
    size_t errors;
} filler;

/* ---- errors ---- */

static void fail(filler *f, pare_span at, const char *path, const char *code, const char *hint, const char *message) {
    if (++f->errors > MAX_ERRORS) return;
    pare_diags_add(f->ctx->d, &(pare_diag_item){.severity = PARE_ERROR,
                                                .code = code,
                                                .message = message,
                                                .hint = hint && *hint ? hint : NULL,
                                                .param = *path ? path : NULL,
                                                .at = at});
}

static char *path_join(filler *f, const char *prefix, const char *name) {
    return pare_arena_printf(f->ctx->arena, "%s%s%s", prefix, *prefix ? "." : "", name);
}

static void unknown_key(filler *f, const pare_yaml_node *value, const char *prefix, pare_param_table t) {
    const char **names = pare_xcalloc(t.n, sizeof *names);
    for (uint32_t i = 0; i < t.n; i++) names[i] = pare_param_at(t, i)->name;
    const char *near = pare_nearest(value->key, names, t.n);
    pare_sb message = {0}, hint = {0};
    pare_sb_printf(&message, "unknown key \"%s\"", value->key);
    if (*prefix) pare_sb_printf(&message, " in %s", prefix);
    if (near) pare_sb_printf(&hint, "did you mean \"%s\"? ", near);
    pare_sb_add(&hint, t.n ? "allowed are: " : "there are no keys to set here");
    for (uint32_t i = 0; i < t.n; i++) pare_sb_printf(&hint, "%s%s", i ? ", " : "", names[i]);
    fail(f, value->key_at, path_join(f, prefix, value->key), "config.unknown-key", pare_sb_str(&hint),
         pare_sb_str(&message));
    pare_sb_free(&message);
    pare_sb_free(&hint);
    free(names);
}

/* "sparsity must be a float in [0, 1), got the string "lots"". `inside`: an element of a list, so the list is not said.
 */
static void wrong_value(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, bool inside,
                        const char *code, const char *hint) {
    pare_sb b = {0};
    pare_param one = *p;
    if (inside) one.flags &= ~(uint64_t)(PARE_PARAM_LIST | PARE_PARAM_NONEMPTY);
    pare_sb_printf(&b, inside ? "each of %s must be " : "%s must be ", p->name);
    pare_param_allowed(&one, &b);
    pare_sb_add(&b, ", got ");
    pare_yaml_describe(n, &b);
    if (n->kind == PARE_YAML_INT && !n->fits) pare_sb_add(&b, ", which needs more than 64 bits");
    fail(f, n->at, path, code, hint, pare_sb_str(&b));
    pare_sb_free(&b);
}

static const char *type_hint(const pare_param *p, const pare_yaml_node *n) {
    if (n->kind == PARE_YAML_NULL && (p->dflt || p->flags & PARE_PARAM_OPTIONAL))
        return "leave the key out to get the default";
    if (p->type == PARE_PARAM_BOOL && n->kind == PARE_YAML_STRING)
        for (const char *const *w = (const char *const[]){"yes", "no", "on", "off", "y", "n", NULL}; *w; w++)
            if (strcmp(n->text, *w) == 0) return "write true or false";
    if ((p->type == PARE_PARAM_FLOAT || p->type == PARE_PARAM_INT) && n->kind == PARE_YAML_STRING) {
        size_t len = strlen(n->text);
        if (len && n->text[len - 1] == '%') return "write a share, as in 0.9 for 90 %";
        pare_yaml_node plain = {.plain = true, .text = n->text};
        pare_yaml_retype(&plain);
        if (!n->plain && (plain.kind == PARE_YAML_INT || plain.kind == PARE_YAML_FLOAT))
            return "write the number without quotes";
    }
    bool number = p->type == PARE_PARAM_FLOAT || p->type == PARE_PARAM_INT;
    if (!number && p->type != PARE_PARAM_BOOL && p->type != PARE_PARAM_ENUM && p->type != PARE_PARAM_TABLE && n->text &&
        n->kind != PARE_YAML_NULL)
        return "put the text in quotes";
    return NULL;
}

/* ---- values ---- */

static bool in_range(const pare_param *p, double v) {
    if (p->min == 0 && p->max == 0) return true;
    bool low = p->flags & PARE_PARAM_EXCL_MIN ? v > p->min : v >= p->min;
    bool high = p->flags & PARE_PARAM_EXCL_MAX ? v < p->max : v <= p->max;
    return low && high;
}

int pare_param_switch(const char *choice) {
    if (strcmp(choice, "on") == 0 || strcmp(choice, "yes") == 0) return 1;
    return strcmp(choice, "off") == 0 || strcmp(choice, "no") == 0 ? 0 : -1;
}

static void fill_enum(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, bool inside,
                      pare_arg *out) {
    size_t count = 0;
    while (p->choices[count]) count++;
    if (!n->text) {
        wrong_value(f, p, n, path, inside, "config.type", NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (strcmp(p->choices[i], n->text) == 0) {
            out->u.i = (int64_t)i;
            return;
        }
    for (size_t i = 0; i < count && n->kind == PARE_YAML_BOOL; i++) /* YAML 1.1 tools write true for on and yes */
        if (pare_param_switch(p->choices[i]) == (int)n->i) {
            out->u.i = (int64_t)i;
            return;
        }
    const char *near = pare_nearest(n->text, p->choices, count);
    char *hint = near ? pare_arena_printf(f->ctx->arena, "did you mean \"%s\"?", near) : NULL;
    wrong_value(f, p, n, path, inside, n->kind == PARE_YAML_NULL ? "config.type" : "config.choice",
                hint ? hint : type_hint(p, n));
}

static void fill_text(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, bool inside,
                      pare_arg *out) {
    if (!pare_yaml_is_text(n)) {
        wrong_value(f, p, n, path, inside, "config.type", type_hint(p, n));
        return;
    }
    bool may_be_empty = p->type == PARE_PARAM_STRING && (inside || !(p->flags & PARE_PARAM_NONEMPTY));
    if (!*n->text && !may_be_empty) {
        wrong_value(f, p, n, path, inside, "config.range", NULL);
        return;
    }
    out->u.s = pare_arena_strdup(f->ctx->arena, n->text);
    const char *(*resolve)(void *, const char *, pare_span, const char *) = p->type == PARE_PARAM_MODEL  ? f->ctx->model
                                                                            : p->type == PARE_PARAM_DATA ? f->ctx->set
                                                                            : p->type == PARE_PARAM_FILE ? f->ctx->file
                                                                                                         : NULL;
    if (resolve && !(out->u.s = resolve(f->ctx->user, out->u.s, n->at, path))) f->errors++; /* said by the callback */
}

static void fill_scalar(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, bool inside,
                        pare_arg *out) {
    *out = (pare_arg){.n = 1};
    bool number = n->kind == PARE_YAML_INT || n->kind == PARE_YAML_FLOAT;
    switch (p->type) {
    case PARE_PARAM_BOOL:
        if (n->kind != PARE_YAML_BOOL) break;
        out->u.i = n->i;
        return;
    case PARE_PARAM_INT:
        if (n->kind == PARE_YAML_INT && n->fits)
            out->u.i = n->i;
        else if (n->kind == PARE_YAML_FLOAT && n->f == floor(n->f) && fabs(n->f) <= 0x1p53) /* 1e3 is an int, too */
            out->u.i = (int64_t)n->f;
        else
            break;
        if (in_range(p, (double)out->u.i)) return;
        wrong_value(f, p, n, path, inside, "config.range", NULL);
        return;
    case PARE_PARAM_FLOAT:
        if (!number || !isfinite(n->f)) break;
        out->u.f = n->f;
        if (in_range(p, n->f)) return;
        wrong_value(f, p, n, path, inside, "config.range",
                    p->max == 1 && n->f >= 2 && n->f <= 100 ? "it is a share: 0.9 means 90 %" : NULL);
        return;
    case PARE_PARAM_ENUM: fill_enum(f, p, n, path, inside, out); return;
    default: fill_text(f, p, n, path, inside, out); return;
    }
    wrong_value(f, p, n, path, inside,
                number && p->type != PARE_PARAM_BOOL && n->kind == PARE_YAML_INT ? "config.range" : "config.type",
                type_hint(p, n));
}

static void fill_list(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, pare_arg *out) {
    bool lone = n->kind != PARE_YAML_LIST;
    uint32_t count = lone ? 1 : n->n;
    if (n->kind == PARE_YAML_MAP || n->kind == PARE_YAML_NULL) {
        wrong_value(f, p, n, path, false, "config.type", type_hint(p, n));
        return;
    }
    if (!count && p->flags & PARE_PARAM_NONEMPTY) {
        wrong_value(f, p, n, path, false, "config.range", NULL);
        return;
    }
    pare_arg *list = pare_arena_alloc(f->ctx->arena, (count ? count : 1) * sizeof *list);
    for (uint32_t i = 0; i < count; i++)
        fill_scalar(f, p, lone ? n : n->items[i], lone ? path : pare_arena_printf(f->ctx->arena, "%s[%u]", path, i),
                    true, &list[i]);
    out->u.list = list;
    out->n = count;
}

static void fill_map(filler *f, const pare_yaml_node *map, pare_param_table t, const char *prefix, pare_span at,
                     pare_arg *args, const pare_yaml_node **nodes);

static void fill_table(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, pare_arg *out) {
    pare_param_table t = pare_param_columns(p);
    bool lone = n->kind == PARE_YAML_MAP;
    uint32_t count = lone ? 1 : n->n;
    if (n->kind != PARE_YAML_LIST && !lone) {
        wrong_value(f, p, n, path, false, "config.type", type_hint(p, n));
        return;
    }
    if (!count && p->flags & PARE_PARAM_NONEMPTY) {
        wrong_value(f, p, n, path, false, "config.range", "it must not be empty");
        return;
    }
    pare_arg *rows = pare_arena_alloc(f->ctx->arena, ((size_t)count * t.n + 1) * sizeof *rows);
    for (uint32_t i = 0; i < count; i++) {
        const pare_yaml_node *row = lone ? n : n->items[i];
        const char *where = lone ? path : pare_arena_printf(f->ctx->arena, "%s[%u]", path, i);
        if (row->kind == PARE_YAML_MAP) {
            fill_map(f, row, t, where, row->at, rows + (size_t)i * t.n, NULL);
        } else {
            pare_sb b = {0};
            pare_sb_printf(&b, "each of %s must be a record, as in {%s: ...}, got ", p->name,
                           pare_param_at(t, 0)->name);
            pare_yaml_describe(row, &b);
            fail(f, row->at, where, "config.type", NULL, pare_sb_str(&b));
            pare_sb_free(&b);
        }
    }
    out->u.list = rows;
    out->n = count;
}

static void fill_value(filler *f, const pare_param *p, const pare_yaml_node *n, const char *path, pare_arg *out) {
    if (p->type == PARE_PARAM_TABLE)
        fill_table(f, p, n, path, out);
    else if (p->flags & PARE_PARAM_LIST)
        fill_list(f, p, n, path, out);
    else
        fill_scalar(f, p, n, path, false, out);
}

/* A default is YAML of its own: strings go to the arena, so the document can go. */
static void fill_default(filler *f, const pare_param *p, const char *path, pare_arg *out) {
    pare_yaml *y = NULL;
    if (pare_yaml_parse(p->name, p->dflt, strlen(p->dflt), f->ctx->d, &y) == PARE_OK)
        fill_value(f, p, y->root, path, out);
    else
        f->errors++;
    pare_yaml_free(y);
}

static void missing(filler *f, const pare_param *p, const char *prefix, pare_span at) {
    pare_sb b = {0};
    if (*prefix)
        pare_sb_printf(&b, "%s is missing in %s: ", p->name, prefix);
    else
        pare_sb_printf(&b, "%s is missing: ", p->name);
    pare_param_allowed(p, &b);
    fail(f, at, path_join(f, prefix, p->name), "config.missing", p->doc, pare_sb_str(&b));
    pare_sb_free(&b);
}

static void fill_map(filler *f, const pare_yaml_node *map, pare_param_table t, const char *prefix, pare_span at,
                     pare_arg *args, const pare_yaml_node **nodes) {
    pare_map known = {0};
    for (uint32_t i = 0; i < t.n; i++) pare_map_set(&known, pare_param_at(t, i)->name, i);
    const pare_yaml_node **given = pare_xcalloc(t.n, sizeof *given);
    for (uint32_t k = 0; map && k < map->n; k++) {
        uint32_t i;
        if (pare_map_get(&known, map->items[k]->key, &i))
            given[i] = map->items[k];
        else
            unknown_key(f, map->items[k], prefix, t);
    }
    for (uint32_t i = 0; i < t.n; i++) {
        const pare_param *p = pare_param_at(t, i);
        const char *path = path_join(f, prefix, p->name);
        if (given[i]) {
            fill_value(f, p, given[i], path, &args[i]);
            if (p->flags & PARE_PARAM_DEPRECATED)
                pare_say_at(f->ctx->d, PARE_WARNING, given[i]->key_at, "config.deprecated", p->doc, "%s is deprecated",
                            p->name);
        } else if (p->dflt) {
            fill_default(f, p, path, &args[i]);
        } else if (!(p->flags & PARE_PARAM_OPTIONAL)) {
            missing(f, p, prefix, at);
        }
        if (nodes) nodes[i] = given[i];
    }
    free(given);
    pare_map_free(&known);
}

pare_status pare_params_parse(const pare_yaml_node *with, pare_param_table t, const pare_params_ctx *ctx,
                              pare_params **out) {
    filler f = {.ctx = ctx};
    *out = NULL;
    if (with && with->kind == PARE_YAML_NULL) with = NULL;
    if (with && with->kind != PARE_YAML_MAP) {
        pare_sb b = {0};
        pare_sb_printf(&b, "%s must be a map of parameters, got ", *ctx->prefix ? ctx->prefix : "this");
        pare_yaml_describe(with, &b);
        fail(&f, with->at, ctx->prefix, "config.type", NULL, pare_sb_str(&b));
        pare_sb_free(&b);
        return PARE_EINVAL;
    }
    pare_params *p = pare_arena_alloc(ctx->arena, sizeof *p);
    pare_arg *args = pare_arena_alloc(ctx->arena, (t.n ? t.n : 1) * sizeof *args);
    const pare_yaml_node **nodes = pare_arena_alloc(ctx->arena, (t.n ? t.n : 1) * sizeof *nodes);
    fill_map(&f, with, t, ctx->prefix, ctx->at, args, nodes);
    if (f.errors > MAX_ERRORS)
        pare_say_at(ctx->d, PARE_NOTE, ctx->at, "config.more", NULL, "%zu more errors like these",
                    f.errors - MAX_ERRORS);
    if (f.errors) return PARE_EINVAL;
    *p = (pare_params){.table = t,
                       .args = args,
                       .node = nodes,
                       .prefix = pare_arena_strdup(ctx->arena, ctx->prefix),
                       .at = with ? with->at : ctx->at};
    *out = p;
    return PARE_OK;
}

/* ---- places ---- */

pare_span pare_params_locate(const pare_params *p, const char *name) {
    if (!p) return (pare_span){0};
    if (!name) return p->at;
    size_t n = strcspn(name, ".[");
    const pare_yaml_node *node = NULL;
    for (uint32_t i = 0; i < p->table.n; i++) {
        const char *row = pare_param_at(p->table, i)->name;
        if (strlen(row) == n && memcmp(row, name, n) == 0) node = p->node[i];
    }
    if (!node) return p->at;
    for (const char *s = name + n; *s;) {
        const pare_yaml_node *next = NULL;
        if (*s == '[') {
            char *end;
            unsigned long i = strtoul(s + 1, &end, 10);
            if (end == s + 1 || *end != ']') break;
            if (node->kind == PARE_YAML_LIST && i < node->n) next = node->items[i];
            if (node->kind == PARE_YAML_MAP && !i) next = node; /* a lone record */
            s = end + 1;
        } else {
            s += *s == '.';
            n = strcspn(s, ".[");
            if (!n) break;
            for (uint32_t i = 0; node->kind == PARE_YAML_MAP && i < node->n; i++)
                if (strlen(node->items[i]->key) == n && memcmp(node->items[i]->key, s, n) == 0) next = node->items[i];
            s += n;
        }
        if (!next) break;
        node = next;
    }
    return node->at;
}

/* ---- JSON ---- */

/* n: where it was written, or NULL. */
static json_t *scalar_json(const pare_param *p, const pare_arg *a, const pare_yaml_node *n) {
    switch (p->type) {
    case PARE_PARAM_BOOL: return json_boolean(a->u.i);
    case PARE_PARAM_INT: return json_integer(a->u.i);
    case PARE_PARAM_FLOAT: return json_real(a->u.f);
    case PARE_PARAM_ENUM: return pare_json_str(p->choices[a->u.i]);
    case PARE_PARAM_FILE: return pare_json_str(n && n->text ? n->text : a->u.s);
    default: return pare_json_str(a->u.s);
    }
}

/* The k-th element of a list or of what may stand for one. NULL: it was not written. */
static const pare_yaml_node *element_node(const pare_yaml_node *n, uint64_t k) {
    if (!n || n->kind != PARE_YAML_LIST) return k ? NULL : n;
    return k < n->n ? n->items[k] : NULL;
}

/* Where row i's value was written: at the top in `nodes`, in a record below it. */
static const pare_yaml_node *value_node(const pare_yaml_node *const *nodes, const pare_yaml_node *record,
                                        const pare_param *p, uint32_t i) {
    return nodes ? nodes[i] : record ? pare_yaml_get(record, p->name) : NULL;
}

static json_t *map_json(pare_param_table t, const pare_arg *args, const pare_yaml_node *const *nodes,
                        const pare_yaml_node *record) {
    json_t *j = json_object();
    for (uint32_t i = 0; i < t.n; i++) {
        const pare_param *p = pare_param_at(t, i);
        const pare_arg *a = &args[i];
        const pare_yaml_node *n = value_node(nodes, record, p, i);
        json_t *value;
        if (p->type == PARE_PARAM_TABLE || p->flags & PARE_PARAM_LIST) {
            if (!a->n && !a->u.list) continue; /* absent; an empty list has a (useless) pointer */
            value = json_array();
            pare_param_table columns = pare_param_columns(p);
            for (uint64_t k = 0; k < a->n; k++)
                json_array_append_new(value,
                                      p->type == PARE_PARAM_TABLE
                                          ? map_json(columns, a->u.list + k * columns.n, NULL, element_node(n, k))
                                          : scalar_json(p, a->u.list + k, element_node(n, k)));
        } else {
            if (!a->n) continue;
            value = scalar_json(p, a, n);
        }
        json_object_set_new(j, p->name, value);
    }
    return j;
}

json_t *pare_params_json(const pare_params *p) { return map_json(p->table, p->args, p->node, NULL); }

/* ---- files ---- */

typedef struct file_walk {
    void (*each)(void *ctx, const char *param, const char *written);
    void *ctx;
} file_walk;

static void tell_file(const file_walk *w, const char *prefix, const char *name, const char *index,
                      const pare_yaml_node *n) {
    pare_sb b = {0};
    pare_sb_printf(&b, "%s%s%s%s", prefix, *prefix ? "." : "", name, index);
    if (n && n->text) w->each(w->ctx, pare_sb_str(&b), n->text);
    pare_sb_free(&b);
}

static void walk_files(const file_walk *w, pare_param_table t, const pare_arg *args, const pare_yaml_node *const *nodes,
                       const pare_yaml_node *record, const char *prefix) {
    for (uint32_t i = 0; i < t.n; i++) {
        const pare_param *p = pare_param_at(t, i);
        const pare_arg *a = &args[i];
        const pare_yaml_node *n = value_node(nodes, record, p, i);
        bool list = p->flags & PARE_PARAM_LIST, table = p->type == PARE_PARAM_TABLE;
        if (p->type == PARE_PARAM_FILE && !list && a->n) tell_file(w, prefix, p->name, "", n);
        for (uint64_t k = 0; k < a->n && (table || (p->type == PARE_PARAM_FILE && list)); k++) {
            char index[32];
            snprintf(index, sizeof index, "[%llu]", (unsigned long long)k);
            if (!table) {
                tell_file(w, prefix, p->name, index, element_node(n, k));
                continue;
            }
            pare_param_table columns = pare_param_columns(p);
            pare_sb b = {0};
            pare_sb_printf(&b, "%s%s%s%s", prefix, *prefix ? "." : "", p->name, index);
            walk_files(w, columns, a->u.list + k * columns.n, NULL, element_node(n, k), pare_sb_str(&b));
            pare_sb_free(&b);
        }
    }
}

void pare_params_files(const pare_params *p, void (*each)(void *ctx, const char *param, const char *written),
                       void *ctx) {
    const file_walk w = {each, ctx};
    walk_files(&w, p->table, p->args, p->node, NULL, p->prefix);
}
