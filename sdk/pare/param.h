/* pare/param.h - parameters are data.
 *
 * One table of pare_param feeds validation, JSON Schema, --help and docs, without running plugin code. The plugin gets
 * one pare_arg per row, in the table's order, already validated: types, ranges, choices and defaults hold.
 * May include: status.h.
 */
#ifndef PARE_PARAM_H
#define PARE_PARAM_H

#include <pare/status.h>

/* X(NAME, number, YAML's word for it) */
#define PARE_PARAM_TYPES(X)                                                                                            \
    X(PARE_PARAM_BOOL, 0, "bool")                                                                                      \
    X(PARE_PARAM_INT, 1, "int")                                                                                        \
    X(PARE_PARAM_FLOAT, 2, "float")                                                                                    \
    X(PARE_PARAM_ENUM, 3, "enum") /* one of `choices` */                                                               \
    X(PARE_PARAM_STRING, 4, "string")                                                                                  \
    X(PARE_PARAM_PATTERN, 5, "pattern") /* names a layer or tensor: "layer1.*", "re:^fc", "Conv#3" */                  \
    X(PARE_PARAM_MODEL, 6, "model")     /* an earlier step's id, a model's name, or a file */                          \
    X(PARE_PARAM_TABLE, 7, "table")     /* a list of records with the columns `columns`; a lone record is taken too */ \
    X(PARE_PARAM_DATA, 8, "data")       /* a set of the pipeline's `data`, or "random" (pare/run.h) */                 \
    X(PARE_PARAM_FILE, 9, "file")       /* a file, relative to the pipeline's; the plugin gets an absolute path */

enum {
#define PARE_PARAM_ENUM_(name, value, text) name = (value),
    PARE_PARAM_TYPES(PARE_PARAM_ENUM_)
#undef PARE_PARAM_ENUM_
};

enum {
    PARE_PARAM_LIST = 1,     /* a list of the type; a lone scalar is taken as a list of one */
    PARE_PARAM_EXCL_MIN = 2, /* min itself is not allowed */
    PARE_PARAM_EXCL_MAX = 4, /* max itself is not allowed */
    PARE_PARAM_ADVANCED = 8, /* shown last in --help */
    PARE_PARAM_DEPRECATED = 16,
    PARE_PARAM_NONEMPTY = 32, /* LIST: at least one element; STRING: at least one byte */
    PARE_PARAM_OPTIONAL = 64  /* may be left out though it has no default: pare_arg.n is 0 then */
};

typedef struct pare_param {
    uint32_t size;
    uint32_t type; /* PARE_PARAM_* */
    uint64_t flags;
    const char *name;           /* [static] the key: lower case, digits, '_' */
    const char *doc;            /* [static] one sentence */
    const char *unit;           /* [static] "fraction", "bits", … or NULL */
    const char *dflt;           /* [static] the default as YAML: "0.5", "[Conv, Gemm]"; NULL: required (or OPTIONAL).
                                 * Of DATA it can only be "random", and FILE has none */
    double min, max;            /* inclusive unless EXCL_*; both 0: unbounded. INT and FLOAT, element-wise for lists */
    const char *const *choices; /* [static] NULL-terminated; ENUM only */
    const struct pare_param *columns; /* [static] TABLE only: the columns, walked by column_stride */
    uint32_t n_columns, column_stride;
} pare_param;

/* An argument. Frozen at 16 bytes. Borrowed: lives until destroy() of the component it was given to. */
typedef struct pare_arg {
    union {
        int64_t i;                   /* BOOL (0, 1), INT, ENUM (index into choices) */
        double f;                    /* FLOAT */
        const char *s;               /* STRING, PATTERN, MODEL, DATA, FILE; UTF-8 */
        const struct pare_arg *list; /* LIST: n elements; TABLE: n rows of n_columns arguments each, row after row */
    } u;
    uint64_t n; /* list or table length; 1 for a scalar; 0: absent (OPTIONAL, or an empty list) */
} pare_arg;

#endif
