/* quantize/place.h - where quantizers go: which nodes run in int8 and which values get QuantizeLinear and
 * DequantizeLinear, by the rules of the runtime that the file is for.
 *
 * Is: a look at the graph and a plan; the rules are tables, one a target (place_rules.c). Is not: an edit (emit.h), or
 * numbers. May use: the SDK, apis.h, choose.h.
 */
#ifndef QUANTIZE_PLACE_H
#define QUANTIZE_PLACE_H

#include "choose.h"

typedef enum place_kind {
    PLACE_FLOAT, /* nothing known: stays as it is */
    PLACE_HEAVY, /* products: int8 is what it's about */
    PLACE_ARITH, /* has an int8 kernel; worth it between int8 nodes alone */
    PLACE_SAME,  /* moves or compares numbers: out has in's scale and zero point */
    PLACE_FUSE   /* may stand between a node and its QuantizeLinear */
} place_kind;

typedef struct place_rule {
    const char *op_type;
    place_kind kind;
    bool needs_q;                 /* HEAVY: runs in int8 only where its output is quantized as well */
    int16_t min_opset, max_opset; /* versions of ai.onnx it holds for; 0: any */
} place_rule;

typedef struct place_target {
    const place_rule *rules; /* until op_type NULL */
    bool bias_int32;         /* biases are int32 at s_x * s_w; else they stay float */
    bool redundant;          /* a FUSE has to be made redundant by the QuantizeLinear behind it, and calls for one */
    bool residual;           /* Add of a HEAVY's result and a quantized value joins the HEAVY */
    bool firm;               /* ARITH only behind values that are quantized in any case */
    bool unify;              /* Concat: one scale for all of it */
} place_target;

const place_target *place_target_of(quantize_target target);
/* Is it an op that some target runs in int8? */
bool place_knows(const char *op_type);
/* The rule of an op at an opset, NULL: it is none of the target's. */
const place_rule *place_rule_of(const place_target *t, const char *op_type, int64_t opset);

/* A node of the main graph, in topological order. */
typedef struct place_node {
    uint32_t id;
    place_kind kind;
    bool on;    /* runs in int8 */
    bool fused; /* FUSE, or an Add that joins a HEAVY: nothing between its producer and it */
    bool needs_q;
    bool asked;      /* HEAVY: somebody wants it in int8 */
    const char *why; /* HEAVY, asked for and not on: the reason, [static] */
    int32_t choice;  /* HEAVY with a weight: index into the choices; -1 */
    uint32_t joined; /* fused Add: the slot that is the HEAVY's result */
    uint32_t head;   /* fused: index of the HEAVY or ARITH that it belongs to */
    uint32_t last;   /* HEAVY, ARITH: the value at the end of what is fused to it */
} place_node;

/* A use of a value that is to take the dequantized value. */
typedef struct place_edge {
    uint32_t node, slot, value;
} place_edge;

/* A value that gets QuantizeLinear and DequantizeLinear. */
typedef struct place_point {
    uint32_t value;
    uint32_t source; /* index of the point whose scale it has, perhaps itself */
    bool measured;   /* its numbers are looked at; a point's range is that of all measured points of its source */
    bool all;        /* every use takes the dequantized value, graph outputs too */
    bool clipped;    /* it comes from Relu or Clip: stays inside low..high */
    float low, high;
    uint32_t choice; /* 1 + a choice whose settings say how it is measured; 0: none */
} place_point;

typedef struct place_plan {
    place_node *nodes;
    uint64_t n_nodes;
    place_point *points;
    uint64_t n_points;
    place_edge *edges; /* of points that aren't `all`; and constants of ARITH nodes, see n_constants */
    uint64_t n_edges;
    place_edge *constants; /* constant operands of ARITH nodes: quantized like activations */
    uint64_t n_constants;
} place_plan;

/* Decides. `skip` (may be NULL): per choice, 1: left in float all the same. In scratch memory. PARE_ENOMEM; what is
 * left in float and why is in the plan, not reported. [run] */
pare_status place_make(const quantize_apis *q, const quantize_options *o, const quantize_choices *choices,
                       const uint8_t *skip, place_plan *plan);

/* Why a choice that was asked for has no node in the plan: its op, or its place. NULL: it has one, or wasn't asked for.
 */
const char *place_missing(const quantize_options *o, const quantize_choices *choices, const place_plan *plan,
                          uint64_t choice);

/* Where a node's bias goes: to the node itself; of MatMul, which has none, to the Add of a constant behind it, an
 * output channel each. ONNX Runtime makes a Gemm of those two, which runs in int8 only with an int32 bias. */
typedef struct place_bias {
    uint32_t node, slot; /* node 0: nobody takes one */
    uint32_t value;      /* 0: it has none yet */
} place_bias;

/* Of a HEAVY with a weight, by its index, on the graph as it was planned for. (place_bias.c) */
place_bias place_bias_of(const quantize_apis *q, const place_plan *plan, uint64_t index, uint64_t outputs);

#endif
