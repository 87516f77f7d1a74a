/* model/ops.h - the table of operators pare knows: one row each, columns added by the layers that need them.
 *
 * A row holds the shape rule, the multiply-adds, which inputs are weights, and how values that decide shapes pass
 * through. Ops that are not here survive a round trip untouched and have unknown output shapes. A new op is one row in
 * ops.c and, where no present rule fits, a rule in the ops_*.c of its family (helpers: ops_rules.h).
 * Source of names and semantics: ONNX's operator specification. May use: model.h.
 */
#ifndef PARE_MODEL_OPS_H
#define PARE_MODEL_OPS_H

#include "model/model.h"

/* The domain of what quantizers write beside ai.onnx's ops. */
#define PARE_MICROSOFT "com.microsoft"

/* What a shape rule sees and fills. */
typedef struct pare_infer_ctx {
    pare_model *model;
    const pare_node *node;
    int64_t opset; /* of the node's domain */
    pare_diags *diags;
    struct pare_infer_run *run; /* infer.c's state; see ops_rules.h for what rules may ask of it */
} pare_infer_ctx;

typedef struct pare_op {
    const char *domain, *op_type;
    /* Sets dtype and dims of the outputs from the inputs (pare_infer_out). Inputs may be unknown: then says nothing.
     * PARE_EINVAL: the graph is wrong (reported with the node). NULL: no rule. */
    pare_status (*infer)(pare_infer_ctx *c);
    /* Dense multiply-adds at the shapes known, -1 when shapes are missing. A symbolic batch counts as 1. NULL: 0.
     * Callers want pare_node_macs (stats.h), which also takes a fixed batch out. */
    int64_t (*macs)(const pare_model *m, const pare_node *n);
    /* Bit i: input i is a weight where it is constant (Conv: 1 | bias is not a weight). */
    uint32_t weights;
    /* Passes on what is known of the numbers in a small integer tensor (a Reshape target, say). NULL: nothing. */
    void (*values)(pare_infer_ctx *c);
    /* ai.pare.grad: bit i: only the dims of input i are looked at. */
    uint32_t dims_only;
    /* ai.pare.grad: a character an output, the digit of the input that it is the new content of, else '.'. NULL: none. */
    const char *over;
    const char *like; /* ops_grad.c's: where each output's dims come from */
} pare_op;

/* The input that output `out` of this op writes over, -1: none. */
int32_t pare_op_over(const pare_op *op, uint32_t out);

const pare_op *pare_op_find(const char *domain, const char *op_type); /* NULL: not in the table */
const pare_op *pare_op_all(size_t *n);                                /* sorted by domain, then op_type */

#endif
