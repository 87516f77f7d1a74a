/* base/yaml.h - a YAML document as a tree in which every value knows its place.
 *
 * Is: libyaml's events turned into a tree with YAML 1.2's core types (true and false only, null or ~, ints dec/0x/0o,
 * floats with .inf and .nan; yes, no, on, off are strings). Aliases become copies, bounded; cycles, merge keys, several
 * documents, duplicate keys, keys that are not scalars, tags of one's own, bytes that aren't UTF-8 are errors with a
 * place. Also substitution of ${…} in scalars. Is not: the meaning of any key (pipeline/config.h), an emitter
 * (pipeline/lock.h). May use: mem, str, diag, os, libyaml.
 */
#ifndef PARE_BASE_YAML_H
#define PARE_BASE_YAML_H

#include "base/diag.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    PARE_YAML_MAX_BYTES = 4 << 20, /* a larger file is no pipeline */
    PARE_YAML_MAX_NODES = 100000,  /* with aliases expanded */
    PARE_YAML_MAX_DEPTH = 64
};

typedef enum {
    PARE_YAML_NULL,
    PARE_YAML_BOOL,
    PARE_YAML_INT,
    PARE_YAML_FLOAT,
    PARE_YAML_STRING,
    PARE_YAML_LIST,
    PARE_YAML_MAP
} pare_yaml_kind;

/* A value. Lives in its document's arena. */
typedef struct pare_yaml_node pare_yaml_node;
struct pare_yaml_node {
    pare_yaml_kind kind;
    bool plain;       /* a scalar without quotes */
    bool substituted; /* ${…} was replaced in it: typed by its result, but a string will do wherever one is asked */
    bool fits;        /* INT: `i` holds it (else it is beyond 64 bits and only `f` is near it) */
    int64_t i;        /* INT; BOOL: 0 or 1 */
    double f;         /* FLOAT, INT */
    const char *text; /* a scalar as written, quotes undone; NULL for LIST and MAP. No NUL inside */
    const char *key;  /* of a MAP's value; NULL elsewhere */
    pare_span at, key_at;   /* of the value (of its first line); of its key */
    pare_yaml_node **items; /* elements; a MAP's values in the file's order */
    uint32_t n, cap;
};

typedef struct pare_yaml {
    pare_yaml_node *root;
    pare_src src;     /* the file; columns of spans count its bytes */
    pare_arena arena; /* nodes, texts, sources */
    uint32_t n_nodes; /* bounded by PARE_YAML_MAX_NODES */
    size_t grown;     /* bytes that substitution made; bounded by PARE_YAML_MAX_BYTES */
} pare_yaml;

/* Reads a file (at most PARE_YAML_MAX_BYTES) or a text. Says every error it can; PARE_EINVAL, or what reading the file
 * gave. *out is the caller's to free and must outlive the diagnostics that quote it. `name` is what diagnostics show.
 */
pare_status pare_yaml_open(const char *path, pare_diags *d, pare_yaml **out);
pare_status pare_yaml_parse(const char *name, const char *text, size_t len, pare_diags *d, pare_yaml **out);
void pare_yaml_free(pare_yaml *y); /* NULL is fine */

/* Parses the value that stands at byte `from` of `text` (for --set KEY=VALUE; places count from the start of text) into
 * y's arena. An empty value is null. */
pare_status pare_yaml_parse_value(pare_yaml *y, const char *name, const char *text, size_t from, pare_diags *d,
                                  pare_yaml_node **out);

/* A MAP's value by key, or NULL (also when `map` is NULL or no MAP). */
pare_yaml_node *pare_yaml_get(const pare_yaml_node *map, const char *key);
/* Sets or adds a key; `value` is the node itself, not a copy. `key_at` is the place of the key. */
void pare_yaml_put(pare_yaml *y, pare_yaml_node *map, const char *key, pare_span key_at, pare_yaml_node *value);
/* An empty MAP. */
pare_yaml_node *pare_yaml_new_map(pare_yaml *y, pare_span at);

/* Is it a scalar whose text may be read as a string: STRING, or any scalar that came of a substitution? */
bool pare_yaml_is_text(const pare_yaml_node *n);
/* "null", "a bool", "an int", "a float", "a string", "a list", "a map". */
const char *pare_yaml_kind_name(pare_yaml_kind kind);
/* Appends what the value is, as a message says it: `the string "lots"`, `the int 7`, `a list`, `nothing`. */
void pare_yaml_describe(const pare_yaml_node *n, pare_sb *out);

/* Types a scalar from its text: what a plain one looks like, else a string. For those who change `text` or `plain`. */
void pare_yaml_retype(pare_yaml_node *n);

/* One ${name}. */
typedef struct pare_yaml_var {
    const char *name, *value;
} pare_yaml_var;
/* Replaces ${NAME} (one of vars) and ${env:NAME} (the environment; unset is an error) in n's scalars and all below it;
 * $${ is a plain ${. A scalar in which something was replaced is typed anew as if it were plain. What was put in is not
 * looked at again; nothing executes. */
pare_status pare_yaml_substitute(pare_yaml *y, pare_yaml_node *n, const pare_yaml_var *vars, size_t n_vars,
                                 pare_diags *d);

#endif
