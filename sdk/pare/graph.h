/* pare/graph.h - interface "pare.graph/1": nodes, values and attributes of a model.
 *
 * Ids are stable for the step; 0 means none (an optional input left out, no producer). ONNX's words throughout. All
 * edits land in the step's view; a commit refuses a graph that fails the check (a name twice, a used value that nothing
 * defines, a cycle). Order of nodes is the host's business: it sorts. [run]. May include: host.h, tensor.h.
 */
#ifndef PARE_GRAPH_H
#define PARE_GRAPH_H

#include <pare/host.h>
#include <pare/tensor.h>

#define PARE_GRAPH_V1 "pare.graph/1"

enum { PARE_GRAPH_MAIN = 1 }; /* the main graph's id */

/* Here and below: set `size` of what a call fills in to sizeof before the call. The host writes no further, sets `size`
 * to where the fields that it knows end, and zeroes the rest: PARE_HAS tells. Borrowed until the node is edited or
 * deleted. */
typedef struct pare_node_info {
    uint32_t size;
    uint32_t graph;
    const char *name; /* may be "" */
    const char *op_type;
    const char *domain; /* "" is ai.onnx */
    const char *label;  /* "Conv#3": one node has it */
    int64_t opset;      /* version imported for the domain */
    const uint32_t *in; /* value ids */
    const uint32_t *out;
    uint32_t n_in, n_out;
    uint32_t n_subgraphs, reserved;
} pare_node_info;

enum { PARE_VALUE_INPUT = 1, PARE_VALUE_OUTPUT = 2, PARE_VALUE_INITIALIZER = 4 };

typedef struct pare_value_info {
    uint32_t size;
    uint32_t graph;
    const char *name;
    uint32_t kind;              /* PARE_VALUE_* bits */
    uint32_t dtype;             /* 0: not known */
    int32_t ndim;               /* -1: not known */
    uint32_t tensor;            /* its initializer, or 0 */
    const int64_t *dims;        /* -1: not known; see symbols */
    const char *const *symbols; /* NULL entries where a dim has no name */
    uint32_t producer, slot;    /* node and output number; producer 0: none */
    uint64_t n_uses;            /* inputs of nodes that take it, captured uses in subgraphs included */
} pare_value_info;

/* ONNX AttributeProto.AttributeType */
enum {
    PARE_ATTRIBUTE_NONE = 0,
    PARE_ATTRIBUTE_FLOAT = 1,
    PARE_ATTRIBUTE_INT = 2,
    PARE_ATTRIBUTE_STRING = 3,
    PARE_ATTRIBUTE_TENSOR = 4,
    PARE_ATTRIBUTE_GRAPH = 5,
    PARE_ATTRIBUTE_FLOATS = 6,
    PARE_ATTRIBUTE_INTS = 7,
    PARE_ATTRIBUTE_STRINGS = 8
};

typedef struct pare_attribute {
    uint32_t size;
    uint32_t type;
    uint64_t n; /* bytes of a string, elements of a list; 1 otherwise */
    int64_t i;
    double f;
    const char *s; /* n bytes, NUL after them */
    const int64_t *ints;
    const float *floats;
    const char *const *strings; /* NUL after each */
    uint32_t tensor, graph;     /* ids */
} pare_attribute;

/* A constant as seen from a value, through Constant, Identity, Transpose and DequantizeLinear. */
typedef struct pare_constant {
    uint32_t size;
    uint32_t tensor;            /* 0: the value is not constant */
    uint32_t scale, zero_point; /* behind DequantizeLinear: tensor ids (zero_point 0: it is 0) */
    int32_t axis;               /* of scale and zero point in the tensor's own dims, -1 per tensor */
    uint32_t ndim;
    uint8_t perm[8];    /* the value's dim i is the tensor's dim perm[i] */
    int64_t block_size; /* weights along axis that share a scale, which has the weights' rank; 0: no blocks,
                         * or their order isn't the weights' (a Transpose between) */
} pare_constant;

typedef struct pare_cost {
    uint32_t size, reserved;
    int64_t macs; /* dense multiply-adds at batch 1; -1: shapes not known */
    uint64_t parameters, bytes;
} pare_cost;

typedef struct pare_graph_api {
    uint32_t size, reserved;

    /* ---- looking ---- */
    /* Nodes of a graph in topological order: pass 0 first, then what it returned; 0 at the end. Nodes may be deleted
     * on the way, the one just returned too; added ones are met by the next walk. */
    uint32_t (*node_next)(const pare_host *, const pare_model *, uint32_t graph, uint32_t prev);
    pare_status (*node_info)(const pare_host *, pare_model *, uint32_t node, pare_node_info *out);
    uint32_t (*subgraph)(const pare_host *, const pare_model *, uint32_t node, uint32_t i);
    uint32_t (*value_find)(const pare_host *, const pare_model *, const char *name); /* in the main graph */
    pare_status (*value_info)(const pare_host *, pare_model *, uint32_t value, pare_value_info *out);
    /* i-th use of a value: node and input slot; PARE_ENOTFOUND (silent) past the last. */
    pare_status (*consumer)(const pare_host *, const pare_model *, uint32_t value, uint64_t i, uint32_t *node,
                            uint32_t *slot);
    /* i-th graph input / output of a graph as value id, 0 past the last. */
    uint32_t (*input)(const pare_host *, const pare_model *, uint32_t graph, uint32_t i);
    uint32_t (*output)(const pare_host *, const pare_model *, uint32_t graph, uint32_t i);
    pare_status (*attr_get)(const pare_host *, const pare_model *, uint32_t node, const char *name,
                            pare_attribute *out); /* PARE_ENOTFOUND (silent) when absent */
    pare_status (*const_of)(const pare_host *, pare_model *, uint32_t value, pare_constant *out);
    /* Shapes and dtypes anew after edits; PARE_EINVAL (reported) when the graph contradicts itself. */
    pare_status (*infer)(const pare_host *, pare_model *);
    pare_status (*cost)(const pare_host *, pare_model *, uint32_t node, pare_cost *out);

    /* ---- editing ---- */
    /* A node with n_out fresh outputs of these names (NULL or "": output left out). before 0: at the end. */
    pare_status (*node_add)(const pare_host *, pare_model *, uint32_t graph, uint32_t before, const char *op_type,
                            const char *domain, const char *name, const uint32_t *in, uint32_t n_in,
                            const char *const *out_names, uint32_t n_out, uint32_t *node);
    pare_status (*node_del)(const pare_host *, pare_model *, uint32_t node);
    pare_status (*input_set)(const pare_host *, pare_model *, uint32_t node, uint32_t slot, uint32_t value);
    /* Everything that takes `from` takes `to`, graph outputs included: the output keeps its name, so `to` gets it and
     * `from` another (an Identity stands between where `to` has to keep its own). A node of yours that is to go on
     * taking `from` needs an input_set afterwards. */
    pare_status (*replace_uses)(const pare_host *, pare_model *, uint32_t from, uint32_t to);
    /* Graph inputs and outputs keep their names: PARE_EINVAL for those, and for a name taken. */
    pare_status (*value_rename)(const pare_host *, pare_model *, uint32_t value, const char *name);
    /* n as in pare_attribute. Sets FLOAT, INT, STRING, FLOATS, INTS. */
    pare_status (*attr_set)(const pare_host *, pare_model *, uint32_t node, const char *name,
                            const pare_attribute *attr);
    pare_status (*attr_del)(const pare_host *, pare_model *, uint32_t node, const char *name);
    /* A free name: `want`, else want_1, … */
    const char *(*name_fresh)(const pare_host *, pare_model *, const char *want);

    /* ---- model ---- */
    const char *(*meta_get)(const pare_host *, const pare_model *, const char *key);              /* NULL: absent */
    pare_status (*meta_set)(const pare_host *, pare_model *, const char *key, const char *value); /* NULL removes */
    /* Makes sure the file imports a domain at `min` or newer; upgrades no further than that. PARE_EUNSUPPORTED
     * (reported) when an op in use can't be upgraded. */
    pare_status (*opset_need)(const pare_host *, pare_model *, const char *domain, int64_t min);

    /* ---- trying: a journal inside one apply ---- */
    /* Remembers the model as it is now; marks nest. Not while a tensor is borrowed. */
    pare_status (*mark)(const pare_host *, pare_model *, uint32_t *mark);
    pare_status (*undo)(const pare_host *, pare_model *, uint32_t mark); /* back to the mark, which is used up */
    pare_status (*keep)(const pare_host *, pare_model *, uint32_t mark); /* forgets the mark, keeps the edits */

    /* Another dtype than the file declares for a value that no initializer defines, where edits gave it one; shapes stay.
     * Of a graph input or output: the model's interface changes. `infer` says whether it fits. */
    pare_status (*value_retype)(const pare_host *, pare_model *, uint32_t value, uint32_t dtype);
} pare_graph_api;

#endif
