/* model/layers.h - layers as people name them, and where a layer's weight really is.
 *
 * A layer is a node with an op that has weights (Conv, Gemm, MatMul, …) and one constant input of it. It is addressed
 * by weight name ("layer1.0.conv1.weight"), node name ("/layer1/conv1/Conv") or op and number in the file's order,
 * counted from 0 over all nodes of that op: first those of the main graph, then those of its subgraphs ("Conv#3"). One
 * matcher for every technique.
 * May use: model.h, ops.h.
 */
#ifndef PARE_MODEL_LAYERS_H
#define PARE_MODEL_LAYERS_H

#include "model/model.h"

/* The constant a value comes from, seen through Constant, Identity, Transpose and DequantizeLinear. Not seen: what
 * stands behind a Transpose with more than 8 dims, behind two DequantizeLinear, behind one whose scale or zero point is
 * no constant, or whose zero points lie in blocks (block_size) and so along no single axis. */
typedef struct pare_const {
    uint32_t tensor;     /* 0: not a constant */
    uint32_t value;      /* the value that the tensor defines */
    uint32_t zero_point; /* behind DequantizeLinear: its zero-point tensor; else 0 */
    uint32_t scale;      /* behind DequantizeLinear: its scale tensor; else 0 */
    int32_t axis;        /* of scale and zero point, in the tensor's own dims; -1: per tensor */
    int64_t block_size;  /* elements along axis that share a scale; 0: scales don't lie in blocks, or lie in another
                            order than the tensor (a Transpose stands before the DequantizeLinear) */
    bool quantized;
    uint32_t ndim;
    uint8_t perm[8]; /* value's dim i is the tensor's dim perm[i]; identity where no Transpose stands between */
} pare_const;
pare_const pare_const_of(pare_model *m, uint32_t value);

/* "Conv#3" of a node: one node has it. Counted anew after edits. Arena of m. */
const char *pare_node_label(pare_model *m, uint32_t node);

/* Does a pattern name this layer? Patterns: a glob, or "re:" and a POSIX extended regex (searched, not anchored),
 * matched against the tensor's name, the node's name, each output's name and the label; an exact name always matches
 * itself. Returns 1, 0, or -1 for a regex that doesn't compile (*error malloc'ed). */
int pare_layer_match(pare_model *m, const char *pattern, uint32_t node, uint32_t tensor, char **error);
/* Does it name any node or tensor of the model at all? And, if not, the nearest name (NULL: none near). */
bool pare_pattern_hits(pare_model *m, const char *pattern);
const char *pare_pattern_nearest(pare_model *m, const char *pattern);

#endif
