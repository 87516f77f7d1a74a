/* base/yaml.c - see yaml.h: from libyaml's events to the tree. Typing and substitution are in yaml_scalar.c. */
#include "base/yaml.h"

#include "base/os.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    MAX_ERRORS = 20, /* of one file; a broken generator shouldn't fill the screen */
    STRIDE = 64      /* characters between two entries of loader.bytes */
};

typedef struct anchor {
    pare_yaml_node *node;
    bool open; /* its collection is still being read: an alias to it is a cycle */
} anchor;

typedef struct loader {
    pare_yaml *y;
    const pare_src *src;
    size_t from; /* the YAML starts at this byte of src */
    pare_diags *d;
    yaml_parser_t parser;
    PARE_VEC(size_t) bytes; /* byte offset of every STRIDE-th character: libyaml counts characters */
    PARE_VEC(size_t) lines; /* byte offset of every line */
    PARE_VEC(anchor) anchors;
    pare_map anchor_names; /* -> the newest anchor of that name */
    size_t errors;
} loader;

/* ---- places ---- */

static void index_text(loader *l) {
    const char *s = l->src->text;
    size_t chars = 0;
    pare_vec_push(&l->lines, 0);
    for (size_t i = 0; i < l->src->len; i++) {
        if (i >= l->from && ((unsigned char)s[i] & 0xc0) != 0x80 && chars++ % STRIDE == 0) pare_vec_push(&l->bytes, i);
        if (s[i] == '\n') pare_vec_push(&l->lines, i + 1);
    }
}

static size_t byte_of(const loader *l, size_t character) {
    size_t k = character / STRIDE, left = character % STRIDE;
    if (k >= l->bytes.len) return l->src->len;
    size_t i = l->bytes.data[k];
    while (left && i < l->src->len) {
        do i++;
        while (i < l->src->len && ((unsigned char)l->src->text[i] & 0xc0) == 0x80);
        left--;
    }
    return i;
}

static pare_span span_of_bytes(const loader *l, size_t start, size_t end) {
    size_t lo = 0, hi = l->lines.len; /* the last line that starts at or before `start` */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->lines.data[mid] <= start)
            lo = mid;
        else
            hi = mid;
    }
    size_t eol = lo + 1 < l->lines.len ? l->lines.data[lo + 1] - 1 : l->src->len;
    if (end > eol) end = eol;
    while (end > start + 1 && (l->src->text[end - 1] == '\r' || l->src->text[end - 1] == ' ')) end--;
    return (pare_span){.src = l->src,
                       .line = (uint32_t)(lo + 1),
                       .col = (uint32_t)(start - l->lines.data[lo] + 1),
                       .len = end > start ? (uint32_t)(end - start) : 1};
}

static pare_span span_of(const loader *l, yaml_mark_t start, yaml_mark_t end) {
    return span_of_bytes(l, byte_of(l, start.index), byte_of(l, end.index));
}

static pare_span span_of_event(const loader *l, const yaml_event_t *ev) {
    return span_of(l, ev->start_mark, ev->end_mark);
}

/* ---- errors ---- */

static void fail(loader *l, pare_span at, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static void fail(loader *l, pare_span at, const char *code, const char *hint, const char *fmt, ...) {
    if (++l->errors > MAX_ERRORS) return;
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_fail_at(l->d, PARE_EINVAL, at, code, hint, "%s", pare_sb_str(&b));
    pare_sb_free(&b);
}

static bool line_holds(const loader *l, uint32_t line, const char *what) {
    if (!line || line > l->lines.len) return false;
    size_t i = l->lines.data[line - 1], n = strlen(what);
    for (; i + n <= l->src->len && l->src->text[i] != '\n'; i++)
        if (memcmp(l->src->text + i, what, n) == 0) return true;
    return false;
}

static const char *syntax_hint(const loader *l, pare_span at, size_t byte) {
    if (byte < l->src->len && l->src->text[byte] == '\t') return "YAML indents with spaces, never with tabs";
    if (line_holds(l, at.line, "${"))
        return "inside { } and [ ] a ${...} has braces of its own: quote it, as in {dir: \"runs/${name}\"}";
    if (byte < l->src->len && strchr("%@`*&!|>", l->src->text[byte]) && l->src->text[byte])
        return "this character means something in YAML: quote the text";
    return NULL;
}

static void fail_syntax(loader *l) {
    const yaml_parser_t *p = &l->parser;
    const char *problem = p->problem ? p->problem : "unreadable";
    if (p->error == YAML_READER_ERROR) {
        size_t at = l->from + p->problem_offset;
        if (at > l->src->len) at = l->src->len;
        fail(l, span_of_bytes(l, at, at + 1), "yaml.syntax", NULL, "%s (byte 0x%02x)", problem,
             (unsigned)p->problem_value);
        return;
    }
    size_t byte = byte_of(l, p->problem_mark.index);
    pare_span at = span_of_bytes(l, byte, byte + 1);
    if (p->context && p->context_mark.line != p->problem_mark.line)
        fail(l, at, "yaml.syntax", syntax_hint(l, at, byte), "this is not YAML: %s, %s that starts at line %zu",
             problem, p->context, p->context_mark.line + 1);
    else
        fail(l, at, "yaml.syntax", syntax_hint(l, at, byte), "this is not YAML: %s%s%s", problem,
             p->context ? ", " : "", p->context ? p->context : "");
}

/* ---- nodes ---- */

static pare_yaml_node *node_new(pare_yaml *y, pare_yaml_kind kind, pare_span at) {
    pare_yaml_node *n = pare_arena_alloc(&y->arena, sizeof *n);
    n->kind = kind;
    n->at = at;
    y->n_nodes++;
    return n;
}

static void node_push(pare_yaml *y, pare_yaml_node *n, pare_yaml_node *item) {
    if (n->n == n->cap) {
        uint32_t cap = n->cap ? n->cap * 2 : 4;
        pare_yaml_node **items = pare_arena_alloc(&y->arena, cap * sizeof *items);
        if (n->n) memcpy(items, n->items, n->n * sizeof *items);
        n->items = items;
        n->cap = cap;
    }
    n->items[n->n++] = item;
}

static bool room(loader *l, pare_span at, unsigned depth) {
    if (depth > PARE_YAML_MAX_DEPTH) {
        fail(l, at, "yaml.too-deep", NULL, "values are nested more than %d deep", PARE_YAML_MAX_DEPTH);
        return false;
    }
    if (l->y->n_nodes >= PARE_YAML_MAX_NODES) {
        fail(l, at, "yaml.too-large", "aliases (*name) count with all they stand for",
             "there are more than %d values here", PARE_YAML_MAX_NODES);
        return false;
    }
    return true;
}

static pare_yaml_node *node_copy(loader *l, const pare_yaml_node *from, pare_span at, unsigned depth) {
    if (!room(l, at, depth)) return NULL;
    pare_yaml_node *n = node_new(l->y, from->kind, from->at);
    *n = *from;
    n->items = NULL;
    n->n = n->cap = 0;
    for (uint32_t i = 0; i < from->n; i++) {
        pare_yaml_node *item = node_copy(l, from->items[i], at, depth + 1);
        if (!item) return NULL;
        node_push(l->y, n, item);
    }
    return n;
}

static size_t anchor_add(loader *l, const yaml_char_t *name, pare_yaml_node *node) {
    if (!name) return SIZE_MAX;
    pare_vec_push(&l->anchors, ((anchor){node, true}));
    pare_map_set(&l->anchor_names, pare_arena_strdup(&l->y->arena, (const char *)name), (uint32_t)(l->anchors.len - 1));
    return l->anchors.len - 1;
}

static void anchor_close(loader *l, size_t i) {
    if (i != SIZE_MAX) l->anchors.data[i].open = false;
}

/* The core schema's tags change nothing but !!str, which keeps a text a text; all others are refused. */
static void check_tag(loader *l, const yaml_char_t *tag, pare_span at, pare_yaml_node *n) {
    static const char core[] = "tag:yaml.org,2002:";
    if (!tag) return;
    const char *t = (const char *)tag;
    const char *word = strncmp(t, core, sizeof core - 1) == 0 ? t + sizeof core - 1 : "";
    if (strcmp(t, "!") == 0 || strcmp(word, "str") == 0) {
        if (n->text) n->plain = false;
        if (n->text) n->kind = PARE_YAML_STRING;
        return;
    }
    static const struct {
        const char *word;
        pare_yaml_kind kind;
    } known[] = {{"null", PARE_YAML_NULL},   {"bool", PARE_YAML_BOOL}, {"int", PARE_YAML_INT},
                 {"float", PARE_YAML_FLOAT}, {"seq", PARE_YAML_LIST},  {"map", PARE_YAML_MAP}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(word, known[i].word) != 0) continue;
        if (known[i].kind == n->kind || (known[i].kind == PARE_YAML_FLOAT && n->kind == PARE_YAML_INT)) return;
        fail(l, at, "yaml.tag", NULL, "the tag !!%s does not fit %s", word, pare_yaml_kind_name(n->kind));
        return;
    }
    fail(l, at, "yaml.tag", "leave the tag out; quote the text if it starts with !", "the tag %s means nothing here",
         t);
}

static pare_yaml_node *load_node(loader *l, yaml_event_t *ev, unsigned depth);

static bool next_event(loader *l, yaml_event_t *ev) {
    if (yaml_parser_parse(&l->parser, ev)) return true;
    fail_syntax(l);
    return false;
}

static pare_yaml_node *load_scalar(loader *l, const yaml_event_t *ev) {
    pare_yaml_node *n = node_new(l->y, PARE_YAML_STRING, span_of_event(l, ev));
    const char *value = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    if (memchr(value, 0, len)) fail(l, n->at, "yaml.nul", NULL, "a text here can't hold the character \\0");
    n->text = pare_arena_strndup(&l->y->arena, value, len);
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    pare_yaml_retype(n);
    check_tag(l, ev->data.scalar.tag, n->at, n);
    anchor_close(l, anchor_add(l, ev->data.scalar.anchor, n));
    return n;
}

static pare_yaml_node *load_alias(loader *l, const yaml_event_t *ev, unsigned depth) {
    pare_span at = span_of_event(l, ev);
    const char *name = (const char *)ev->data.alias.anchor;
    uint32_t i;
    if (!pare_map_get(&l->anchor_names, name, &i)) {
        fail(l, at, "yaml.alias", "quote the text if it should start with *", "no &%s stands before this *%s", name,
             name);
        return node_new(l->y, PARE_YAML_NULL, at);
    }
    if (l->anchors.data[i].open) {
        fail(l, at, "yaml.alias-cycle", NULL, "*%s stands inside &%s, so it would hold itself without end", name, name);
        return NULL;
    }
    pare_yaml_node *n = node_copy(l, l->anchors.data[i].node, at, depth);
    if (n) n->key = NULL;
    return n;
}

static pare_yaml_node *load_list(loader *l, const yaml_event_t *start, unsigned depth) {
    pare_yaml_node *n = node_new(l->y, PARE_YAML_LIST, span_of_event(l, start));
    size_t a = anchor_add(l, start->data.sequence_start.anchor, n);
    check_tag(l, start->data.sequence_start.tag, n->at, n);
    for (;;) {
        yaml_event_t ev;
        if (!next_event(l, &ev)) return NULL;
        if (ev.type == YAML_SEQUENCE_END_EVENT) {
            if (start->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE)
                n->at = span_of(l, start->start_mark, ev.end_mark);
            yaml_event_delete(&ev);
            break;
        }
        pare_yaml_node *item = load_node(l, &ev, depth + 1);
        if (!item) return NULL;
        node_push(l->y, n, item);
    }
    anchor_close(l, a);
    return n;
}

/* One key; NULL when nothing sensible can follow. *merge: it is `<<`. */
static const char *load_key(loader *l, yaml_event_t *ev, pare_span *at, bool *merge) {
    const char *key = NULL;
    *at = span_of_event(l, ev);
    *merge = false;
    if (ev->type == YAML_SCALAR_EVENT) {
        const char *text = (const char *)ev->data.scalar.value;
        *merge = strcmp(text, "<<") == 0 && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (memchr(text, 0, ev->data.scalar.length))
            fail(l, *at, "yaml.nul", NULL, "a key can't hold the character \\0");
        else if (!*text)
            fail(l, *at, "yaml.key", NULL, "a key is missing before the ':'");
        key = pare_arena_strdup(&l->y->arena, text);
        if (ev->data.scalar.anchor) {
            pare_yaml_node *n = node_new(l->y, PARE_YAML_STRING, *at);
            n->text = key;
            anchor_close(l, anchor_add(l, ev->data.scalar.anchor, n));
        }
    } else if (ev->type == YAML_ALIAS_EVENT) {
        fail(l, *at, "yaml.key", "write the key out", "an alias can't be a key");
    } else {
        pare_span where = *at;
        const char *hint = line_holds(l, where.line, "${") ? "a ${...} beside YAML's own braces must be quoted"
                                                           : "a key is one word, as in `name: value`";
        fail(l, *at, "yaml.key", hint, "a list or map can't be a key");
    }
    yaml_event_delete(ev);
    return key;
}

static pare_yaml_node *load_map(loader *l, const yaml_event_t *start, unsigned depth) {
    pare_yaml_node *n = node_new(l->y, PARE_YAML_MAP, span_of_event(l, start));
    size_t a = anchor_add(l, start->data.mapping_start.anchor, n);
    check_tag(l, start->data.mapping_start.tag, n->at, n);
    pare_map seen = {0};
    for (;;) {
        yaml_event_t ev;
        if (!next_event(l, &ev)) goto fail;
        if (ev.type == YAML_MAPPING_END_EVENT) {
            if (start->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE)
                n->at = span_of(l, start->start_mark, ev.end_mark);
            yaml_event_delete(&ev);
            break;
        }
        pare_span key_at;
        bool merge;
        const char *key = load_key(l, &ev, &key_at, &merge);
        if (!key) goto fail;
        if (!next_event(l, &ev)) goto fail;
        pare_yaml_node *value = load_node(l, &ev, depth + 1);
        if (!value) goto fail;
        uint32_t before;
        if (merge) {
            fail(l, key_at, "yaml.merge", "write the keys out; *name alone may stand for a whole value",
                 "merge keys (<<) are not part of YAML 1.2 and not read here");
        } else if (pare_map_get(&seen, key, &before)) {
            fail(l, key_at, "yaml.duplicate-key", "keep one of the two", "the key %s was given before, at line %u", key,
                 n->items[before]->key_at.line);
        } else {
            pare_map_set(&seen, key, n->n);
            value->key = key;
            value->key_at = key_at;
            node_push(l->y, n, value);
        }
    }
    pare_map_free(&seen);
    anchor_close(l, a);
    return n;
fail:
    pare_map_free(&seen);
    return NULL;
}

/* The node that starts with `ev`, which it frees. NULL: reading can't go on. */
static pare_yaml_node *load_node(loader *l, yaml_event_t *ev, unsigned depth) {
    pare_yaml_node *n = NULL;
    if (room(l, span_of_event(l, ev), depth)) {
        switch (ev->type) {
        case YAML_SCALAR_EVENT: n = load_scalar(l, ev); break;
        case YAML_ALIAS_EVENT: n = load_alias(l, ev, depth); break;
        case YAML_SEQUENCE_START_EVENT: n = load_list(l, ev, depth); break;
        case YAML_MAPPING_START_EVENT: n = load_map(l, ev, depth); break;
        default: fail(l, span_of_event(l, ev), "yaml.syntax", NULL, "a value is missing here"); break;
        }
    }
    yaml_event_delete(ev);
    return n;
}

/* ---- documents ---- */

/* The offset of the first byte that is not UTF-8, or n. */
static size_t first_bad_byte(const char *s, size_t n) {
    if (pare_utf8_ok(s, n)) return n;
    for (size_t i = 0, k; i < n; i += k) {
        unsigned char c = (unsigned char)s[i];
        k = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (k > n - i || !pare_utf8_ok(s + i, k)) return i;
    }
    return n;
}

/* NULL with l->errors when it is wrong, without when there is no document. */
static pare_yaml_node *load_document(loader *l) {
    pare_yaml_node *root = NULL;
    for (;;) {
        yaml_event_t ev;
        if (!next_event(l, &ev)) return NULL;
        yaml_event_type_t type = ev.type;
        if (type == YAML_DOCUMENT_START_EVENT && root)
            fail(l, span_of_event(l, &ev), "yaml.documents", "one file is one pipeline: split it in two",
                 "a second document starts here");
        if (type == YAML_STREAM_END_EVENT || l->errors) {
            yaml_event_delete(&ev);
            return root;
        }
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT || type == YAML_DOCUMENT_END_EVENT) {
            yaml_event_delete(&ev);
            continue;
        }
        root = load_node(l, &ev, 1);
        if (!root) return NULL;
    }
}

static pare_status load(pare_yaml *y, const pare_src *src, size_t from, pare_diags *d, pare_yaml_node **root) {
    loader l = {.y = y, .src = src, .from = from, .d = d};
    *root = NULL;
    index_text(&l);
    size_t bad = first_bad_byte(src->text, src->len);
    if (bad < src->len) {
        fail(&l, span_of_bytes(&l, bad, bad + 1), "yaml.encoding", "save it as UTF-8",
             "byte 0x%02x at offset %zu is not UTF-8", (unsigned char)src->text[bad], bad);
    } else if (!yaml_parser_initialize(&l.parser)) {
        fail(&l, (pare_span){.src = src}, "yaml.memory", NULL, "out of memory");
    } else {
        yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&l.parser, (const unsigned char *)src->text + from, src->len - from);
        *root = load_document(&l);
        yaml_parser_delete(&l.parser);
    }
    if (l.errors > MAX_ERRORS)
        pare_say_at(d, PARE_NOTE, (pare_span){.src = src}, "yaml.more", NULL, "%zu more errors like these",
                    l.errors - MAX_ERRORS);
    pare_vec_free(&l.bytes);
    pare_vec_free(&l.lines);
    pare_vec_free(&l.anchors);
    pare_map_free(&l.anchor_names);
    return l.errors ? PARE_EINVAL : PARE_OK;
}

pare_status pare_yaml_parse(const char *name, const char *text, size_t len, pare_diags *d, pare_yaml **out) {
    pare_yaml *y = pare_xcalloc(1, sizeof *y);
    *out = y;
    y->src.name = pare_arena_strdup(&y->arena, name);
    if (len > PARE_YAML_MAX_BYTES) {
        y->src.text = "";
        return pare_fail_file(d, PARE_EINVAL, name, "yaml.too-large", NULL, "%zu bytes; a pipeline has at most %d", len,
                              PARE_YAML_MAX_BYTES);
    }
    y->src.text = pare_arena_strndup(&y->arena, len ? text : "", len);
    y->src.len = len;
    size_t from = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark, as editors leave it */
    pare_status st = load(y, &y->src, from, d, &y->root);
    if (st == PARE_OK && (!y->root || (y->root->kind == PARE_YAML_NULL && !*y->root->text)))
        st = pare_fail_at(d, PARE_EINVAL, (pare_span){.src = &y->src}, "yaml.empty", NULL,
                          "the file is empty: there is no value in it");
    if (st != PARE_OK) y->root = NULL;
    return st;
}

pare_status pare_yaml_open(const char *path, pare_diags *d, pare_yaml **out) {
    pare_map_file *file = NULL;
    *out = NULL;
    if (pare_path_what(path) == PARE_PATH_DIR)
        return pare_fail_file(d, PARE_EINVAL, path, "yaml.folder", "name the file in it",
                              "this is a folder, not a file");
    pare_status st = pare_map_file_open(path, d, &file);
    if (st != PARE_OK) return st;
    st = pare_yaml_parse(path, (const char *)file->data, (size_t)file->len, d, out);
    pare_map_file_unref(file);
    return st;
}

void pare_yaml_free(pare_yaml *y) {
    if (!y) return;
    pare_arena_free(&y->arena);
    free(y);
}

pare_status pare_yaml_parse_value(pare_yaml *y, const char *name, const char *text, size_t from, pare_diags *d,
                                  pare_yaml_node **out) {
    pare_src *src = pare_arena_alloc(&y->arena, sizeof *src);
    src->name = pare_arena_strdup(&y->arena, name);
    src->text = pare_arena_strdup(&y->arena, text);
    src->len = strlen(text);
    pare_status st = load(y, src, from, d, out);
    if (st == PARE_OK && !*out)
        *out = node_new(y, PARE_YAML_NULL, (pare_span){.src = src, .line = 1, .col = (uint32_t)from + 1, .len = 1});
    return st;
}

/* ---- maps ---- */

pare_yaml_node *pare_yaml_get(const pare_yaml_node *map, const char *key) {
    if (!map || map->kind != PARE_YAML_MAP) return NULL;
    for (uint32_t i = 0; i < map->n; i++)
        if (strcmp(map->items[i]->key, key) == 0) return map->items[i];
    return NULL;
}

void pare_yaml_put(pare_yaml *y, pare_yaml_node *map, const char *key, pare_span key_at, pare_yaml_node *value) {
    value->key = pare_arena_strdup(&y->arena, key);
    value->key_at = key_at;
    for (uint32_t i = 0; i < map->n; i++) {
        if (strcmp(map->items[i]->key, key) != 0) continue;
        map->items[i] = value;
        return;
    }
    node_push(y, map, value);
}

pare_yaml_node *pare_yaml_new_map(pare_yaml *y, pare_span at) { return node_new(y, PARE_YAML_MAP, at); }
