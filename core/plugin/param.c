/* plugin/param.c - see param.h: what a table says of itself: its check, its words for people, its JSON Schema.
 * Filling it from YAML is in param_parse.c. */
#include "plugin/param.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 1024, KNOWN_FLAGS = 127 };

static const char *const type_name[] = {
#define NAME(name, value, text) [value] = text,
    PARE_PARAM_TYPES(NAME)
#undef NAME
};
enum { N_TYPES = sizeof type_name / sizeof *type_name };

static bool is_number(const pare_param *p) { return p->type == PARE_PARAM_INT || p->type == PARE_PARAM_FLOAT; }
static bool bounded(const pare_param *p) { return is_number(p) && (p->min != 0 || p->max != 0); }
static bool has_min(const pare_param *p) { return bounded(p) && !isinf(p->min); }
static bool has_max(const pare_param *p) { return bounded(p) && !isinf(p->max); }

/* ---- words ---- */

static void add_number(const pare_param *p, double v, pare_sb *out) {
    if (p->type == PARE_PARAM_INT && fabs(v) < 1e15)
        pare_sb_printf(out, "%.0f", v);
    else
        pare_sb_printf(out, "%g", v);
}

static void add_range(const pare_param *p, pare_sb *out) {
    bool open_min = p->flags & PARE_PARAM_EXCL_MIN, open_max = p->flags & PARE_PARAM_EXCL_MAX;
    if (has_min(p) && has_max(p)) {
        bool words = p->type == PARE_PARAM_INT && !open_min && !open_max;
        pare_sb_add(out, words ? " from " : open_min ? " in (" : " in [");
        add_number(p, p->min, out);
        pare_sb_add(out, words ? " to " : ", ");
        add_number(p, p->max, out);
        if (!words) pare_sb_addc(out, open_max ? ')' : ']');
    } else if (has_min(p)) {
        pare_sb_add(out, open_min ? " above " : " of at least ");
        add_number(p, p->min, out);
    } else if (has_max(p)) {
        pare_sb_add(out, open_max ? " below " : " of at most ");
        add_number(p, p->max, out);
    }
}

static void add_scalar(const pare_param *p, pare_sb *out) {
    switch (p->type) {
    case PARE_PARAM_BOOL: pare_sb_add(out, "true or false"); break;
    case PARE_PARAM_INT:
        pare_sb_add(out, "an int");
        add_range(p, out);
        break;
    case PARE_PARAM_FLOAT:
        pare_sb_add(out, "a float");
        add_range(p, out);
        break;
    case PARE_PARAM_ENUM:
        pare_sb_add(out, p->choices[1] ? "one of " : "");
        for (size_t i = 0; p->choices[i]; i++) pare_sb_printf(out, "%s%s", i ? ", " : "", p->choices[i]);
        break;
    case PARE_PARAM_STRING:
        pare_sb_add(out, p->flags & PARE_PARAM_NONEMPTY && !(p->flags & PARE_PARAM_LIST) ? "a string that is not empty"
                                                                                         : "a string");
        break;
    case PARE_PARAM_PATTERN: pare_sb_add(out, "a name pattern (\"layer1.*\", \"re:^fc\", \"Conv#3\")"); break;
    case PARE_PARAM_MODEL: pare_sb_add(out, "a model (an earlier step's id, a model's name or a file)"); break;
    case PARE_PARAM_DATA: pare_sb_add(out, "a set of samples (a name from `data`, or random)"); break;
    case PARE_PARAM_FILE: pare_sb_add(out, "a file"); break;
    default: break;
    }
}

void pare_param_allowed(const pare_param *p, pare_sb *out) {
    if (p->type == PARE_PARAM_TABLE) {
        pare_sb_add(out, "a record or a list of records with ");
        pare_param_table t = pare_param_columns(p);
        for (uint32_t i = 0; i < t.n; i++)
            pare_sb_printf(out, "%s%s", i == 0 ? "" : i + 1 == t.n ? " and " : ", ", pare_param_at(t, i)->name);
        return;
    }
    if (p->flags & PARE_PARAM_LIST)
        pare_sb_add(out, p->flags & PARE_PARAM_NONEMPTY ? "a list that is not empty, each element "
                                                        : "a list, each element ");
    add_scalar(p, out);
}

static void help_row(const pare_param *p, unsigned indent, pare_sb *out) {
    pare_sb_printf(out, "%*s%s: ", (int)indent, "", p->name);
    pare_param_allowed(p, out);
    if (p->unit) pare_sb_printf(out, " (%s)", p->unit);
    if (p->dflt)
        pare_sb_printf(out, "; default %s", p->dflt);
    else
        pare_sb_add(out, p->flags & PARE_PARAM_OPTIONAL ? "; optional" : "; required");
    if (p->flags & PARE_PARAM_DEPRECATED) pare_sb_add(out, "; deprecated");
    pare_sb_printf(out, "\n%*s%s\n", (int)indent + 4, "", p->doc);
    if (p->type == PARE_PARAM_TABLE) pare_params_help(pare_param_columns(p), indent + 4, out);
}

void pare_params_help(pare_param_table t, unsigned indent, pare_sb *out) {
    for (int advanced = 0; advanced < 2; advanced++)
        for (uint32_t i = 0; i < t.n; i++) {
            const pare_param *p = pare_param_at(t, i);
            if (!!(p->flags & PARE_PARAM_ADVANCED) == advanced) help_row(p, indent, out);
        }
}

/* ---- the check of a table ---- */

static char *wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *wrong(const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    return b.data;
}

static bool text_ok(const char *s) { return s && *s && pare_utf8_ok(s, strlen(s)); }

static bool name_ok(const char *s) {
    if (!s || *s < 'a' || *s > 'z' || strlen(s) > 64) return false;
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

static char *check_choices(const pare_param *p) {
    if (p->type != PARE_PARAM_ENUM) return p->choices ? wrong("%s: only an enum has choices", p->name) : NULL;
    if (!p->choices || !p->choices[0]) return wrong("%s: an enum needs choices", p->name);
    for (size_t i = 0; p->choices[i]; i++) {
        if (!text_ok(p->choices[i])) return wrong("%s: a choice is empty or not UTF-8", p->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(p->choices[i], p->choices[j]) == 0)
                return wrong("%s: the choice \"%s\" is there twice", p->name, p->choices[i]);
    }
    return NULL;
}

static char *check_range(const pare_param *p) {
    uint64_t excl = p->flags & (PARE_PARAM_EXCL_MIN | PARE_PARAM_EXCL_MAX);
    if (isnan(p->min) || isnan(p->max)) return wrong("%s: min or max is not a number", p->name);
    if (!is_number(p))
        return p->min != 0 || p->max != 0 || excl ? wrong("%s: only ints and floats have a range", p->name) : NULL;
    if (excl && !bounded(p))
        return wrong("%s: min and max are both 0, which means no range, yet one is excluded", p->name);
    if (p->min > p->max || (excl && p->min == p->max))
        return wrong("%s: the range from %g to %g holds no value", p->name, p->min, p->max);
    return NULL;
}

/* The smallest row is that of minor 0, which ends here whatever is appended later. */
enum { LEAST_ROW = PARE_END(pare_param, column_stride) };

/* A row as ours, whatever headers it was built with: zeros where it ends early. */
static pare_param row_of(const pare_param *p) {
    pare_param one = {0};
    memcpy(&one, p, p->size < sizeof one ? p->size : sizeof one);
    one.size = sizeof one;
    return one;
}

/* The default must pass what a user's value passes. */
static char *check_default(const pare_param *p) {
    if (!p->dflt) return NULL;
    if (p->flags & PARE_PARAM_OPTIONAL) return wrong("%s: optional and with a default at once", p->name);
    if (!text_ok(p->dflt)) return wrong("%s: the default is empty or not UTF-8", p->name);
    if (p->type == PARE_PARAM_FILE) return wrong("%s: a file has no default: no pipeline need have it", p->name);
    if (p->type == PARE_PARAM_DATA && strcmp(p->dflt, "random") != 0)
        return wrong("%s: the default of a set can only be \"random\": no pipeline need have another", p->name);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_arena arena = {0};
    pare_params *parsed = NULL;
    pare_param one = row_of(p);
    pare_params_ctx ctx = {.d = d, .arena = &arena, .prefix = ""};
    char *why = NULL;
    if (pare_params_parse(NULL, (pare_param_table){&one, 1, sizeof one}, &ctx, &parsed) != PARE_OK)
        why = wrong("%s: the default \"%s\" is not allowed: %s", p->name, p->dflt,
                    pare_diags_count(d) ? pare_diags_get(d, 0)->message : "unreadable");
    pare_arena_free(&arena);
    pare_diags_free(d);
    return why;
}

static char *check_table(pare_param_table t, bool is_columns);

static char *check_row(const pare_param *p, bool is_column) {
    char *why;
    if (p->type >= N_TYPES) return wrong("%s: there is no parameter type %u", p->name, p->type);
    if (p->flags & ~(uint64_t)KNOWN_FLAGS)
        return wrong("%s: unknown flags 0x%llx", p->name, (unsigned long long)(p->flags & ~(uint64_t)KNOWN_FLAGS));
    if (!text_ok(p->doc)) return wrong("%s: doc is missing or not UTF-8", p->name);
    if (p->unit && !text_ok(p->unit)) return wrong("%s: unit is empty or not UTF-8", p->name);
    bool list = p->flags & PARE_PARAM_LIST;
    if (p->type == PARE_PARAM_TABLE && list) return wrong("%s: a table is a list already", p->name);
    if (p->flags & PARE_PARAM_NONEMPTY && !list && p->type != PARE_PARAM_STRING && p->type != PARE_PARAM_TABLE)
        return wrong("%s: only lists, tables and strings can be asked not to be empty", p->name);
    if ((why = check_choices(p))) return why;
    if ((why = check_range(p))) return why;
    if (p->type == PARE_PARAM_TABLE) {
        if (is_column) return wrong("%s: a table can't hold tables", p->name);
        if (!p->n_columns) return wrong("%s: a table needs columns", p->name);
        if ((why = check_table(pare_param_columns(p), true))) {
            char *full = wrong("%s: %s", p->name, why);
            free(why);
            return full;
        }
    } else if (p->columns || p->n_columns) {
        return wrong("%s: only a table has columns", p->name);
    }
    return check_default(p);
}

static char *check_table(pare_param_table t, bool is_columns) {
    if (!t.n) return NULL;
    if (!t.rows) return wrong("the table is NULL but has %u rows", t.n);
    if (t.n > MAX_ROWS) return wrong("%u rows; at most %d are allowed", t.n, MAX_ROWS);
    if (t.stride < LEAST_ROW || t.stride % _Alignof(pare_param) || t.stride > 64 * 1024)
        return wrong("rows of %u bytes; pare_param has %zu", t.stride, sizeof(pare_param));
    for (uint32_t i = 0; i < t.n; i++) {
        const pare_param *p = pare_param_at(t, i);
        if (p->size < LEAST_ROW || p->size > t.stride)
            return wrong("row %u has size %u; expected %d to %u", i, p->size, LEAST_ROW, t.stride);
        if (!name_ok(p->name))
            return wrong("row %u: a name is lower case, digits and '_', starts with a letter, has at most 64", i);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(p->name, pare_param_at(t, j)->name) == 0) return wrong("%s: there twice", p->name);
        char *why = check_row(p, is_columns);
        if (why) return why;
    }
    return NULL;
}

char *pare_params_check(pare_param_table t) { return check_table(t, false); }

/* ---- JSON ---- */

static json_t *number_json(const pare_param *p, double v) {
    return p->type == PARE_PARAM_INT && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

/* The default as JSON, or NULL. */
static json_t *default_json(const pare_param *p) {
    if (!p->dflt) return NULL;
    pare_arena arena = {0};
    pare_params *parsed = NULL;
    pare_params_ctx ctx = {.arena = &arena, .prefix = ""};
    pare_param one = row_of(p);
    json_t *j = NULL;
    if (pare_params_parse(NULL, (pare_param_table){&one, 1, sizeof one}, &ctx, &parsed) == PARE_OK) {
        json_t *all = pare_params_json(parsed);
        j = json_incref(json_object_get(all, p->name));
        json_decref(all);
    }
    pare_arena_free(&arena);
    return j;
}

static json_t *scalar_schema(const pare_param *p) {
    json_t *s = json_object();
    switch (p->type) {
    case PARE_PARAM_BOOL: json_object_set_new(s, "type", json_string("boolean")); break;
    case PARE_PARAM_INT:
    case PARE_PARAM_FLOAT:
        json_object_set_new(s, "type", json_string(p->type == PARE_PARAM_INT ? "integer" : "number"));
        if (has_min(p))
            json_object_set_new(s, p->flags & PARE_PARAM_EXCL_MIN ? "exclusiveMinimum" : "minimum",
                                number_json(p, p->min));
        if (has_max(p))
            json_object_set_new(s, p->flags & PARE_PARAM_EXCL_MAX ? "exclusiveMaximum" : "maximum",
                                number_json(p, p->max));
        break;
    case PARE_PARAM_ENUM: {
        json_t *all = json_array();
        for (size_t i = 0; p->choices[i]; i++) {
            json_array_append_new(all, pare_json_str(p->choices[i]));
            /* an unquoted 8 or true is the choice "8" or "true": validation takes the text */
            pare_yaml_node n = {.plain = true, .text = p->choices[i]};
            pare_yaml_retype(&n);
            if (n.kind == PARE_YAML_INT && n.fits) json_array_append_new(all, json_integer(n.i));
            if (n.kind == PARE_YAML_FLOAT && isfinite(n.f)) json_array_append_new(all, json_real(n.f));
            if (n.kind == PARE_YAML_BOOL) json_array_append_new(all, json_boolean(n.i));
            int as_bool = pare_param_switch(p->choices[i]);
            if (as_bool >= 0) json_array_append_new(all, json_boolean(as_bool));
            if (n.kind == PARE_YAML_NULL) json_array_append_new(all, json_null());
        }
        json_object_set_new(s, "enum", all);
        break;
    }
    default:
        json_object_set_new(s, "type", json_string("string"));
        if (p->type != PARE_PARAM_STRING || (p->flags & PARE_PARAM_NONEMPTY && !(p->flags & PARE_PARAM_LIST)))
            json_object_set_new(s, "minLength", json_integer(1));
        return s;
    }
    json_t *text = json_pack("{s:s, s:s}", "type", "string", "pattern", "\\$\\{[^}]+\\}");
    return json_pack("{s:[o, o]}", "anyOf", s, text);
}

static json_t *row_schema(const pare_param *p) {
    json_t *s;
    if (p->type == PARE_PARAM_TABLE) {
        json_t *row = pare_params_schema(pare_param_columns(p));
        json_t *many = json_pack("{s:s, s:O}", "type", "array", "items", row);
        if (p->flags & PARE_PARAM_NONEMPTY) json_object_set_new(many, "minItems", json_integer(1));
        s = json_pack("{s:[o, o]}", "anyOf", many, row);
    } else if (p->flags & PARE_PARAM_LIST) {
        json_t *many = json_pack("{s:s, s:o}", "type", "array", "items", scalar_schema(p));
        if (p->flags & PARE_PARAM_NONEMPTY) json_object_set_new(many, "minItems", json_integer(1));
        s = json_pack("{s:[o, o]}", "anyOf", many, scalar_schema(p));
    } else {
        s = scalar_schema(p);
    }
    pare_sb text = {0};
    pare_sb_add(&text, p->doc);
    if (p->unit) pare_sb_printf(&text, " (%s)", p->unit);
    json_object_set_new(s, "description", pare_json_str(pare_sb_str(&text)));
    pare_sb_free(&text);
    json_t *dflt = default_json(p);
    if (dflt) json_object_set_new(s, "default", dflt);
    if (p->flags & PARE_PARAM_DEPRECATED) json_object_set_new(s, "deprecated", json_true());
    return s;
}

static bool required(const pare_param *p) { return !p->dflt && !(p->flags & PARE_PARAM_OPTIONAL); }

json_t *pare_params_schema(pare_param_table t) {
    json_t *props = json_object(), *needed = json_array();
    for (uint32_t i = 0; i < t.n; i++) {
        const pare_param *p = pare_param_at(t, i);
        json_object_set_new(props, p->name, row_schema(p));
        if (required(p)) json_array_append_new(needed, json_string(p->name));
    }
    json_t *s = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties", props);
    if (json_array_size(needed))
        json_object_set_new(s, "required", needed);
    else
        json_decref(needed);
    return s;
}

json_t *pare_param_describe(const pare_param *p) {
    json_t *j = json_object();
    json_object_set_new(j, "name", json_string(p->name));
    json_object_set_new(j, "type", json_string(type_name[p->type]));
    json_object_set_new(j, "list", json_boolean(p->flags & PARE_PARAM_LIST));
    json_object_set_new(j, "required", json_boolean(required(p)));
    json_t *dflt = default_json(p);
    if (dflt) json_object_set_new(j, "default", dflt);
    if (has_min(p)) {
        json_object_set_new(j, "min", number_json(p, p->min));
        if (p->flags & PARE_PARAM_EXCL_MIN) json_object_set_new(j, "min_excluded", json_true());
    }
    if (has_max(p)) {
        json_object_set_new(j, "max", number_json(p, p->max));
        if (p->flags & PARE_PARAM_EXCL_MAX) json_object_set_new(j, "max_excluded", json_true());
    }
    if (p->type == PARE_PARAM_ENUM) {
        json_t *all = json_array();
        for (size_t i = 0; p->choices[i]; i++) json_array_append_new(all, pare_json_str(p->choices[i]));
        json_object_set_new(j, "choices", all);
    }
    if (p->unit) json_object_set_new(j, "unit", pare_json_str(p->unit));
    json_object_set_new(j, "doc", pare_json_str(p->doc));
    if (p->type == PARE_PARAM_TABLE) {
        pare_param_table t = pare_param_columns(p);
        json_t *columns = json_array();
        for (uint32_t i = 0; i < t.n; i++) json_array_append_new(columns, pare_param_describe(pare_param_at(t, i)));
        json_object_set_new(j, "columns", columns);
    }
    return j;
}
