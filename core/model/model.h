/* model/model.h - the model in memory: ONNX's words, ids that stay, tensors shared until written.
 *
 * Is: the structures and how to walk them. Everything ONNX has is carried: what pare does not interpret stays as the
 * bytes it came in (`extra`, `info`, `raw`). Is not: editing (edit.h), reading and writing files (onnx.h), shapes
 * (infer.h).
 *
 * Graphs, nodes, values and tensors live in tables of the model and are named by a u32 id (0: none) that never changes
 * and is never used again, not by clones either; a deleted entry's pointer is NULL. Structures and strings belong to
 * the model's arena and die with it. Tensor bytes are reference-counted blobs, shared between clones; a write copies
 * a blob that somebody else holds. So a clone is cheap, and a transaction is: clone, edit, keep one of the two.
 * One thread at a time per model. May use: base, sdk.
 */
#ifndef PARE_MODEL_MODEL_H
#define PARE_MODEL_MODEL_H

#include "base/diag.h"
#include "base/os.h"
#include "base/str.h"

#include <pare/tensor.h>

/* Bytes of the model's arena (or of a mapped file that the model holds). */
typedef struct pare_bytes {
    const unsigned char *data;
    size_t len;
} pare_bytes;

/* ---- blobs: immutable while shared ---- */
typedef struct pare_blob_maker pare_blob_maker;
typedef struct pare_blob {
    uint32_t refs;  /* atomic; use the functions */
    uint32_t owned; /* data was allocated by pare_try_alloc */
    unsigned char *data;
    uint64_t len;
    pare_map_file *file;          /* where data points into, when not owned */
    const pare_blob_maker *maker; /* NULL: none. Else the contents are still to be made, and data is NULL */
} pare_blob;
pare_blob *pare_blob_new(uint64_t len); /* contents undefined; NULL: no memory */
pare_blob *pare_blob_of_file(pare_map_file *file, uint64_t offset, uint64_t len); /* takes a reference to file */
pare_blob *pare_blob_ref(pare_blob *b);
void pare_blob_unref(pare_blob *b); /* NULL is fine */

/* Contents that are computed when they are asked for: what a pass derives from a large weight need not lie beside it.
 * make fills len bytes; drop frees what it needs (once, after which make is not called). Never written to files. */
struct pare_blob_maker {
    void (*make)(const void *ctx, unsigned char *to);
    void (*drop)(void *ctx);
    void *ctx;
};
pare_blob *pare_blob_made(uint64_t len, pare_blob_maker maker);
/* A copy of the contents, made for this once where they are made: nothing is kept. Pages of a mapped file that were
 * read for it may leave memory. */
void pare_blob_copy(const pare_blob *b, unsigned char *to);
void pare_blob_done(const pare_blob *b); /* whoever reads the file's pages next reads them from the disk's cache */

/* ---- tensors ---- */
typedef enum { PARE_OWNER_INITIALIZER, PARE_OWNER_ATTRIBUTE } pare_owner;

typedef struct pare_tensor {
    uint32_t id;
    uint32_t dtype;
    const char *name; /* "" for most attributes */
    uint32_t ndim;
    pare_owner owner;
    uint32_t graph; /* the graph it is in */
    uint32_t node;  /* owner attribute: the node; else 0 */
    const int64_t *dims;
    uint64_t count;            /* elements */
    pare_blob *blob;           /* len = the bytes count elements take; NULL for strings and for count 0 */
    const pare_bytes *strings; /* PARE_STRING: count of them */
    bool was_external;         /* it came from an external data file */
    pare_bytes extra;          /* TensorProto fields not listed here (doc_string, metadata_props, …), wire form */
    uint64_t version;          /* bumped by every write */
} pare_tensor;

/* ---- attributes: numbers of ONNX AttributeProto.AttributeType ---- */
typedef enum {
    PARE_ATTR_UNDEFINED = 0,
    PARE_ATTR_FLOAT = 1,
    PARE_ATTR_INT = 2,
    PARE_ATTR_STRING = 3,
    PARE_ATTR_TENSOR = 4,
    PARE_ATTR_GRAPH = 5,
    PARE_ATTR_FLOATS = 6,
    PARE_ATTR_INTS = 7,
    PARE_ATTR_STRINGS = 8,
    PARE_ATTR_TENSORS = 9,
    PARE_ATTR_GRAPHS = 10,
    PARE_ATTR_SPARSE_TENSOR = 11,
    PARE_ATTR_SPARSE_TENSORS = 12,
    PARE_ATTR_TYPE_PROTO = 13,
    PARE_ATTR_TYPE_PROTOS = 14
} pare_attr_type;

typedef struct pare_attr {
    const char *name;
    pare_attr_type type;
    const char *ref_attr_name; /* in function bodies; NULL otherwise */
    size_t n;                  /* of the list kinds; 1 for TENSOR and GRAPH */
    float f;
    int64_t i;
    pare_bytes s;
    const float *floats;
    const int64_t *ints;
    const pare_bytes *strings;
    const uint32_t *ids;   /* TENSOR(S): tensor ids; GRAPH(S): graph ids */
    const pare_bytes *raw; /* SPARSE_TENSOR(S), TYPE_PROTO(S): n messages, wire form */
    pare_bytes extra;      /* AttributeProto fields not listed here (doc_string, …), wire form */
} pare_attr;

/* ---- nodes ---- */
typedef struct pare_node {
    uint32_t id, graph;
    const char *name; /* "" is common */
    const char *op_type;
    const char *domain; /* "" is ai.onnx ("ai.onnx" is read as "") */
    uint32_t *in, *out; /* value ids; 0: an optional one left out */
    uint32_t n_in, n_out;
    pare_attr *attrs;
    uint32_t n_attrs;
    pare_bytes extra; /* NodeProto fields not listed here (doc_string, overload, metadata_props, …), wire form */
} pare_node;

/* ---- values: what flows along the edges ---- */
typedef struct pare_dim {
    int64_t value;      /* >= 0 known; -1 not */
    const char *symbol; /* "N" when symbolic, else NULL */
} pare_dim;

typedef struct pare_use {
    uint32_t node, slot; /* node takes the value as its input `slot`; nodes of subgraphs that capture it too */
} pare_use;

typedef struct pare_value {
    uint32_t id, graph;
    const char *name;
    uint32_t producer, slot;  /* the node and which of its outputs; producer 0: an input, an initializer or neither */
    uint32_t tensor;          /* its initializer, or 0 */
    bool is_input, is_output; /* of its graph */
    bool is_sparse;           /* a sparse initializer (see pare_graph.sparse) */
    bool declared;            /* its type stands in the file (input, output, value_info), not only inferred */
    bool other_type;          /* a sequence, map, optional or sparse tensor: the type is in `info` alone */
    bool info_stale;          /* dtype or dims were changed since `info` was read: it is made anew when written */
    uint32_t dtype;           /* PARE_DTYPE_UNKNOWN when not known */
    int32_t ndim;             /* -1: rank not known */
    const pare_dim *dims;
    pare_bytes info; /* its ValueInfoProto, wire form; len 0: none */
    PARE_VEC(pare_use) uses;
} pare_value;

/* ---- graphs ---- */
typedef struct pare_sparse { /* a sparse initializer: carried, not computed with */
    uint32_t value;
    uint32_t dtype, ndim;
    const int64_t *dims;
    uint64_t nonzero;
    pare_bytes raw; /* SparseTensorProto, wire form */
} pare_sparse;

typedef struct pare_graph {
    uint32_t id;
    uint32_t parent_node; /* the node whose attribute it is; 0: the main graph */
    const char *name;
    PARE_VEC(uint32_t) nodes;        /* ids in the file's order, which is topological */
    PARE_VEC(uint32_t) inputs;       /* value ids */
    PARE_VEC(uint32_t) outputs;      /* value ids, may be of an outer graph */
    PARE_VEC(uint32_t) initializers; /* tensor ids in the file's order */
    PARE_VEC(pare_sparse) sparse;
    PARE_VEC(pare_bytes) loose_info; /* ValueInfoProtos of names that nothing defines, wire form */
    PARE_VEC(uint32_t) info_order;   /* values with an entry in value_info, in the file's order */
    pare_map names;                  /* name -> value id, of this graph alone */
    pare_bytes extra;                /* GraphProto fields not listed here (doc_string, quantization_annotation, …) */
} pare_graph;

/* ---- the model ---- */
typedef struct pare_opset {
    const char *domain; /* "" is ai.onnx */
    int64_t version;
    pare_bytes extra;
} pare_opset;

typedef struct pare_meta {
    const char *key, *value;
} pare_meta;

typedef struct pare_model {
    int64_t ir_version;
    const char *producer_name, *producer_version, *domain, *doc_string; /* NULL: absent */
    int64_t model_version;
    bool has_model_version;
    PARE_VEC(pare_opset) opsets;
    PARE_VEC(pare_meta) metadata;         /* metadata_props in order */
    PARE_VEC(pare_bytes) functions;       /* FunctionProtos, wire form */
    pare_bytes extra;                     /* ModelProto fields not listed here (training_info, …), wire form */
    bool has_training_info;               /* training graphs may name initializers: those must keep their names */
    PARE_VEC(pare_graph *) graphs;        /* [id - 1]; the main graph has id 1 */
    PARE_VEC(pare_node *) nodes;          /* [id - 1] */
    PARE_VEC(pare_value *) values;        /* [id - 1] */
    PARE_VEC(pare_tensor *) tensors;      /* [id - 1] */
    pare_map_file *file;                  /* the mapped file that `extra`s may point into, or NULL */
    char *path;                           /* where it was read from, or NULL */
    PARE_VEC(pare_map_file *) data_files; /* external data files it was read from, in order of first use */
    pare_arena arena;
    uint64_t edits;    /* bumped by every structural edit */
    uint32_t *numbers; /* layers.c's: a node's number in its label, as of numbers_edits; or NULL */
    uint64_t numbers_edits;
    struct json_t *masks; /* mask.c's: the list of masked tensors, read from masks_text; or NULL */
    const char *masks_text;
} pare_model;

enum { PARE_MAIN_GRAPH = 1 };

/* A model with an empty main graph, IR 8, opset 17 of ai.onnx: what new models start from. */
pare_model *pare_model_new(const char *graph_name);
/* An independent copy with the same ids; tensor bytes are shared until written. */
pare_model *pare_model_clone(const pare_model *m);
void pare_model_free(pare_model *m);  /* NULL is fine */
void pare_graph_clear(pare_graph *g); /* frees a graph's lists, which are not the arena's; for edit.c */

/* Entries by id; NULL for 0, deleted and out of range. */
static inline pare_graph *pare_model_graph(const pare_model *m, uint32_t id) {
    return id && id <= m->graphs.len ? m->graphs.data[id - 1] : NULL;
}
static inline pare_node *pare_model_node(const pare_model *m, uint32_t id) {
    return id && id <= m->nodes.len ? m->nodes.data[id - 1] : NULL;
}
static inline pare_value *pare_model_value(const pare_model *m, uint32_t id) {
    return id && id <= m->values.len ? m->values.data[id - 1] : NULL;
}
static inline pare_tensor *pare_model_tensor(const pare_model *m, uint32_t id) {
    return id && id <= m->tensors.len ? m->tensors.data[id - 1] : NULL;
}

/* The value a name means in a graph: its own, else an enclosing graph's (captured). 0: none. */
uint32_t pare_graph_find(const pare_model *m, uint32_t graph, const char *name);

/* The value a tensor defines: an initializer's, or the output of the Constant node that holds it. NULL: none. */
pare_value *pare_tensor_value(const pare_model *m, const pare_tensor *t);

const pare_attr *pare_node_attr(const pare_node *n, const char *name); /* NULL: absent */
int64_t pare_node_attr_int(const pare_node *n, const char *name, int64_t dflt);
float pare_node_attr_float(const pare_node *n, const char *name, float dflt);
/* The opset version the model imports for a domain; 0: none. */
int64_t pare_model_opset(const pare_model *m, const char *domain);
const char *pare_model_meta(const pare_model *m, const char *key); /* NULL: absent */
bool pare_node_is(const pare_node *n, const char *op_type);        /* of ai.onnx */

/* ---- tensor bytes ---- */

/* Bytes that `count` elements of a dtype take (sub-byte ones packed). false on overflow or for strings. */
bool pare_dtype_nbytes(uint32_t dtype, uint64_t count, uint64_t *out);
/* Product of dims, false on a negative dim or on overflow. ndim 0: 1. */
bool pare_dims_count(const int64_t *dims, size_t ndim, uint64_t *out);

/* Read-only bytes, 64-byte aligned: a misaligned mapped tensor is copied at its first borrow. NULL blob gives *data
 * NULL. The pointer is good until the tensor is written, retyped or deleted. PARE_ENOMEM. */
pare_status pare_tensor_read(pare_tensor *t, pare_diags *d, const void **data);
/* Bytes for writing: copied first when shared or mapped. Bumps version. PARE_ENOMEM leaves the tensor as it was. */
pare_status pare_tensor_write(pare_tensor *t, pare_diags *d, void **data);
/* As pare_tensor_write, but the old contents need not survive: nothing is copied. */
pare_status pare_tensor_overwrite(pare_tensor *t, pare_diags *d, void **data);

/* Elements that are not zero (-0.0 is zero; NaN is not). Strings: all. Blocks, several threads. PARE_ENOMEM. */
pare_status pare_tensor_nonzero(pare_tensor *t, pare_diags *d, uint64_t *out);

#endif
