/* quantize/ranges_read.c - see ranges.h: reading calibration.yaml, whoever wrote it.
 *
 * The text is a tree of libyaml's; each of the few mappings has a table of its keys. Every complaint names file, line
 * and column.
 */
#include "ranges.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

enum { FILE_MOST = 64 << 20 };

typedef struct entry {
    const char *name;
    yaml_node_t *key;
    calibrate_range range;
    uint64_t place;
    bool used;
} entry;

typedef struct reader {
    const pare_host *host;
    const char *path, *graph;
    yaml_document_t *doc;
    yaml_node_t *graph_node, *tensors;
    char *data;
    char data_sha256[65], file_graph[65];
    uint64_t samples;
    entry *entries;
    uint64_t n;
} reader;

static pare_status complain(const reader *r, const yaml_mark_t *at, const char *code, const char *hint,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
static pare_status complain(const reader *r, const yaml_mark_t *at, const char *code, const char *hint,
                            const char *format, ...) {
    char text[1024], message[1536];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (at)
        (void)snprintf(message, sizeof message, "%.400s:%zu:%zu: %s", r->path, at->line + 1, at->column + 1, text);
    else
        (void)snprintf(message, sizeof message, "%.400s: %s", r->path, text);
    PARE_REPORT(r->host, PARE_ERROR, .code = code, .message = message, .hint = hint, .param = "ranges");
    return PARE_EINVAL;
}

/* ---- names ---- */

/* Letters to add, take out or change. */
static size_t distance(const char *a, const char *b) {
    enum { MOST = 128 };
    size_t row[MOST + 1], n = strlen(a), m = strlen(b);
    if (n > MOST || m > MOST) return strcmp(a, b) ? SIZE_MAX : 0;
    for (size_t k = 0; k <= m; k++) row[k] = k;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t k = 1; k <= m; k++) {
            const size_t change = corner + (a[i - 1] != b[k - 1]);
            corner = row[k];
            size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;
            row[k] = least < change ? least : change;
        }
    }
    return row[m];
}

typedef struct nearest {
    const char *name;
    size_t far;
} nearest;

static void nearest_try(nearest *best, const char *want, const char *name) {
    const size_t n = strlen(want), m = strlen(name);
    const bool begins = n > 2 && m > 2 && strncmp(want, name, n < m ? n : m) == 0;
    const size_t far = begins ? 1 : distance(want, name);
    if (far < best->far && far <= n / 2 + 1) *best = (nearest){name, far};
}

/* ---- scalars ---- */

static const char *scalar(const yaml_node_t *node) {
    if (node->type != YAML_SCALAR_NODE) return NULL;
    const char *s = (const char *)node->data.scalar.value;
    return strlen(s) == node->data.scalar.length ? s : NULL;
}

static pare_status read_number(const reader *r, const yaml_node_t *node, const char *key, double *out) {
    const char *s = scalar(node);
    char *end;
    if (!s || !*s) return complain(r, &node->start_mark, "ranges.form", NULL, "%s is not a number", key);
    if (strspn(s, "0123456789+-.eE") == strlen(s)) {
        *out = strtod(s, &end);
        if (!*end && isfinite((float)*out)) return PARE_OK;
        if (!*end)
            return complain(r, &node->start_mark, "ranges.not-finite", NULL, "%s is %.60s: more than float32 holds",
                            key, s);
    }
    if (strstr(s, "nan") || strstr(s, "NaN") || strstr(s, "inf") || strstr(s, "Inf") || strstr(s, "NAN") ||
        strstr(s, "INF"))
        return complain(r, &node->start_mark, "ranges.not-finite", NULL, "%s is %.60s: it has to be finite", key, s);
    return complain(r, &node->start_mark, "ranges.form", NULL, "%s is \"%.60s\", not a number", key, s);
}

static pare_status read_count(const reader *r, const yaml_node_t *node, const char *key, uint64_t *out) {
    const char *s = scalar(node);
    if (!s || !*s || strspn(s, "0123456789") != strlen(s) || strlen(s) > 18)
        return complain(r, &node->start_mark, "ranges.form", NULL, "%s is not a whole number from 0 up", key);
    *out = strtoull(s, NULL, 10);
    return PARE_OK;
}

static pare_status read_hash(const reader *r, const yaml_node_t *node, const char *key, char out[65]) {
    const char *s = scalar(node);
    if (!s || (strlen(s) != 64 && *s) || strspn(s, "0123456789abcdef") != strlen(s))
        return complain(r, &node->start_mark, "ranges.form", NULL, "%s is not a SHA-256 of 64 digits in hex", key);
    memcpy(out, s, strlen(s) + 1);
    return PARE_OK;
}

/* ---- mappings ---- */

/* The place of the key in keys (NULL-terminated); complains about others and about one that came before. */
static pare_status find_key(const reader *r, const yaml_node_t *key, const char *const *keys, const char *what,
                            uint32_t *seen, uint32_t *out) {
    const char *s = scalar(key);
    nearest best = {NULL, SIZE_MAX};
    char hint[96];
    for (uint32_t i = 0; s && keys[i]; i++) {
        if (strcmp(s, keys[i]) == 0) {
            if (*seen >> i & 1)
                return complain(r, &key->start_mark, "ranges.twice", "put the lines below both under one",
                                "\"%s\" stands here a second time", s);
            *seen |= 1u << i;
            *out = i;
            return PARE_OK;
        }
        nearest_try(&best, s, keys[i]);
    }
    if (best.name) (void)snprintf(hint, sizeof hint, "did you mean \"%s\"?", best.name);
    return complain(r, &key->start_mark, "ranges.unknown-key", best.name ? hint : NULL, "\"%.60s\" is not a key of %s",
                    s ? s : "(not a word)", what);
}

static pare_status need_mapping(const reader *r, const yaml_node_t *node, const char *what) {
    if (node->type == YAML_MAPPING_NODE) return PARE_OK;
    return complain(r, &node->start_mark, "ranges.form", NULL, "%s has to be a mapping of keys to values", what);
}

static pare_status read_data(reader *r, yaml_node_t *node) {
    static const char *const keys[] = {"name", "sha256", "samples", NULL};
    uint32_t seen = 0, key;
    pare_status st = need_mapping(r, node, "data");
    if (st) return st;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        if ((st = find_key(r, yaml_document_get_node(r->doc, p->key), keys, "data", &seen, &key))) return st;
        if (key == 0) {
            const char *s = scalar(value);
            if (!s) return complain(r, &value->start_mark, "ranges.form", NULL, "name is not a set's name");
            r->data = malloc(strlen(s) + 1);
            if (!r->data) return PARE_ENOMEM;
            memcpy(r->data, s, strlen(s) + 1);
        } else if ((st = key == 1 ? read_hash(r, value, "sha256", r->data_sha256)
                                  : read_count(r, value, "samples", &r->samples))) {
            return st;
        }
    }
    return PARE_OK;
}

static pare_status read_entry(const reader *r, entry *e, const yaml_node_t *node) {
    static const char *const keys[] = {"lo",      "hi",         "min",   "max",    "clipped", "scale",
                                       "samples", "zero_point", "dtype", "method", NULL};
    enum { LO, HI, MIN, MAX, CLIPPED, SCALE, SAMPLES, ZERO_POINT, DTYPE };
    double number[ZERO_POINT + 1] = {0};
    char what[320];
    uint32_t seen = 0, key;
    (void)snprintf(what, sizeof what, "the range of \"%.200s\"", e->name);
    pare_status st = need_mapping(r, node, what);
    if (st) return st;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        if ((st = find_key(r, yaml_document_get_node(r->doc, p->key), keys, what, &seen, &key))) return st;
        if (key == SAMPLES)
            st = read_count(r, value, keys[key], &e->range.samples);
        else if (key < DTYPE)
            st = read_number(r, value, keys[key], &number[key]);
        else if (!scalar(value))
            st = complain(r, &value->start_mark, "ranges.form", NULL, "%s is not a word", keys[key]);
        if (st) return st;
    }
    if ((seen & 3) != 3)
        return complain(r, &node->start_mark, "ranges.form", NULL, "\"%.200s\" has no %s", e->name,
                        seen & 1 ? "hi" : "lo");
    if (number[LO] > number[HI])
        return complain(r, &node->start_mark, "ranges.order", NULL,
                        "the range of \"%.200s\" goes from lo %g down to hi %g", e->name, number[LO], number[HI]);
    if (!(seen >> MIN & 1)) number[MIN] = number[LO];
    if (!(seen >> MAX & 1)) number[MAX] = number[HI];
    if ((seen >> MIN & 3) == 3 && number[MIN] > number[MAX])
        return complain(r, &node->start_mark, "ranges.order", NULL, "\"%.200s\" has min %g above max %g", e->name,
                        number[MIN], number[MAX]);
    e->range.lo = (float)fmin(number[LO], 0) + 0.0f;
    e->range.hi = (float)fmax(number[HI], 0);
    e->range.min = (float)number[MIN];
    e->range.max = (float)number[MAX];
    e->range.clipped = seen >> CLIPPED & 1 ? number[CLIPPED] : (double)NAN;
    return PARE_OK;
}

static int by_name(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : x->place < y->place ? -1 : x->place > y->place;
}

static pare_status read_tensors(reader *r) {
    const yaml_node_t *node = r->tensors;
    pare_status st = need_mapping(r, node, "tensors");
    if (st) return st;
    const uint64_t n = (uint64_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    r->entries = calloc(n ? n : 1, sizeof *r->entries);
    if (!r->entries) return PARE_ENOMEM;
    for (uint64_t i = 0; i < n; i++) {
        const yaml_node_pair_t *p = node->data.mapping.pairs.start + i;
        entry *e = &r->entries[i];
        e->key = yaml_document_get_node(r->doc, p->key);
        e->name = scalar(e->key);
        e->place = i;
        r->n = i + 1;
        if (!e->name) return complain(r, &e->key->start_mark, "ranges.form", NULL, "this is not a tensor's name");
        if ((st = read_entry(r, e, yaml_document_get_node(r->doc, p->value)))) return st;
    }
    qsort(r->entries, n, sizeof *r->entries, by_name);
    const entry *twice = NULL;
    for (uint64_t i = 1; i < n; i++)
        if (strcmp(r->entries[i].name, r->entries[i - 1].name) == 0 && (!twice || r->entries[i].place < twice->place))
            twice = &r->entries[i];
    if (twice)
        return complain(r, &twice->key->start_mark, "ranges.twice", "leave one of the two lines",
                        "\"%.200s\" has a range already, further up", twice->name);
    return PARE_OK;
}

static pare_status read_root(reader *r) {
    static const char *const keys[] = {"format", "graph", "data", "tensors", NULL};
    yaml_node_t *root = yaml_document_get_root_node(r->doc);
    uint32_t seen = 0, key;
    uint64_t format = 0;
    if (!root) return complain(r, NULL, "ranges.form", NULL, "is empty");
    pare_status st = need_mapping(r, root, "a file of ranges");
    if (st) return st;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        if ((st = find_key(r, yaml_document_get_node(r->doc, p->key), keys, "a file of ranges", &seen, &key)))
            return st;
        if (key == 0) {
            if ((st = read_count(r, value, "format", &format))) return st;
            if (format != 1)
                return complain(r, &value->start_mark, "ranges.format", "a newer pare wrote it",
                                "format %llu is not known here, 1 is", (unsigned long long)format);
        } else if (key == 1) {
            r->graph_node = value;
            if ((st = read_hash(r, value, "graph", r->file_graph))) return st;
        } else if (key == 2) {
            if ((st = read_data(r, value))) return st;
        } else {
            r->tensors = value;
        }
    }
    if (!r->tensors)
        return complain(r, &root->start_mark, "ranges.form", "calibration.yaml of an earlier run shows the form",
                        "there is no \"tensors\" in it");
    if (r->file_graph[0] && strcmp(r->file_graph, r->graph) != 0)
        return complain(r, &r->graph_node->start_mark, "ranges.other-graph",
                        "calibrate anew; whoever knows that the ranges fit takes the line \"graph\" out",
                        "these ranges were measured on another model (%.12s..., this one is %.12s...)", r->file_graph,
                        r->graph);
    return read_tensors(r);
}

/* ---- to the tensors asked for ---- */

static pare_status missing(const reader *r, const calibrate_tensor *tensors, uint64_t n, uint64_t first,
                           uint64_t many) {
    nearest best = {NULL, SIZE_MAX};
    char hint[320] = "add it, or calibrate anew";
    char more[64] = "";
    const char *name = tensors[first].name;
    (void)n;
    for (uint64_t i = 0; i < r->n; i++)
        if (!r->entries[i].used) nearest_try(&best, name, r->entries[i].name);
    if (best.name) (void)snprintf(hint, sizeof hint, "did you mean that by \"%.200s\"?", best.name);
    if (many > 1) (void)snprintf(more, sizeof more, " (nor of %llu others)", (unsigned long long)(many - 1));
    return complain(r, &r->tensors->start_mark, "ranges.missing", hint, "there is no range of \"%.200s\"%s", name,
                    more);
}

static pare_status give(reader *r, const calibrate_tensor *tensors, uint64_t n, calibration *out) {
    uint64_t first = 0, many = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t from = 0, to = r->n;
        while (from < to) {
            const uint64_t half = from + (to - from) / 2;
            if (strcmp(r->entries[half].name, tensors[i].name) < 0)
                from = half + 1;
            else
                to = half;
        }
        if (from == r->n || strcmp(r->entries[from].name, tensors[i].name) != 0) {
            if (!many++) first = i;
            continue;
        }
        calibrate_range *range = &out->ranges[i];
        r->entries[from].used = true;
        *range = r->entries[from].range;
        calibrate_params(calibrate_grid_of(tensors[i].dtype, tensors[i].symmetric), range->lo, range->hi, &range->scale,
                         &range->zero_point);
    }
    if (many) return missing(r, tensors, n, first, many);
    if (!r->file_graph[0]) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       "%.400s names no graph: nobody can tell whether its ranges belong to this model", r->path);
        PARE_REPORT(r->host, PARE_WARNING, .code = "ranges.no-graph", .message = text, .param = "ranges");
    }
    return PARE_OK;
}

static pare_status no_yaml(const reader *r, const yaml_parser_t *parser) {
    if (parser->error == YAML_MEMORY_ERROR) return PARE_ENOMEM;
    if (parser->error == YAML_READER_ERROR)
        return complain(r, NULL, "ranges.yaml", NULL, "is no YAML: %.100s at byte %zu", parser->problem,
                        parser->problem_offset);
    return complain(r, &parser->problem_mark, "ranges.yaml", NULL, "is no YAML: %.200s",
                    parser->problem ? parser->problem : "it can't be parsed");
}

pare_status ranges_parse(const pare_host *host, const char *path, const char *text, uint64_t n_text, const char *graph,
                         const calibrate_tensor *tensors, uint64_t n, calibration *out) {
    yaml_parser_t parser;
    yaml_document_t doc, next;
    bool loaded = false;
    reader r = {.host = host, .path = path, .graph = graph, .doc = &doc};
    calibration c = {.n = n, .tensors = tensors};
    pare_status st = PARE_ENOMEM;
    if (!yaml_parser_initialize(&parser)) goto report;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_text);
    if (!(loaded = yaml_parser_load(&parser, &doc))) {
        st = no_yaml(&r, &parser);
        goto done;
    }
    c.ranges = calloc(n ? n : 1, sizeof *c.ranges);
    if (!c.ranges) goto done;
    if ((st = read_root(&r))) goto done;
    if (!yaml_parser_load(&parser, &next)) {
        st = no_yaml(&r, &parser);
        goto done;
    }
    const yaml_node_t *more = yaml_document_get_root_node(&next);
    if (more)
        st = complain(&r, &more->start_mark, "ranges.form", "put the lines below one \"tensors:\"",
                      "a second document begins here");
    yaml_document_delete(&next);
    if (!st) st = give(&r, tensors, n, &c);
done:
    if (loaded) yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
report:
    free(r.entries);
    if (st == PARE_ENOMEM)
        PARE_REPORT(host, PARE_ERROR, .code = "ranges.memory", .message = "no memory to read the ranges",
                    .param = "ranges");
    if (st) {
        free(r.data);
        calibration_free(&c);
        return st;
    }
    c.data = r.data;
    c.samples = r.samples;
    memcpy(c.graph, graph, strlen(graph) < sizeof c.graph ? strlen(graph) + 1 : 0);
    memcpy(c.data_sha256, r.data_sha256, sizeof c.data_sha256);
    *out = c;
    return PARE_OK;
}

pare_status ranges_read(const pare_host *host, const char *path, const char *graph, const calibrate_tensor *tensors,
                        uint64_t n, calibration *out) {
    const reader r = {.host = host, .path = path};
    char *text = NULL;
    size_t room = 0, got = 0;
    errno = 0;
    FILE *f = fopen(path, "rb");
    while (f && !ferror(f) && !feof(f)) {
        if (got == room) {
            char *more = room < FILE_MOST ? realloc(text, room = room ? 2 * room : 1 << 16) : NULL;
            if (!more) break;
            text = more;
        }
        got += fread(text + got, 1, room - got, f);
    }
    pare_status st = PARE_EIO;
    if (!f || ferror(f))
        (void)complain(&r, NULL, "ranges.read", NULL, "can't be read: %s", strerror(errno));
    else if (!feof(f))
        st = complain(&r, NULL, "ranges.form", NULL, "is longer than the %d bytes that fit into memory or make sense",
                      (int)FILE_MOST);
    else
        st = ranges_parse(host, path, text, got, graph, tensors, n, out);
    if (f) (void)fclose(f);
    free(text);
    return st;
}
