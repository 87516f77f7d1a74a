/* model/stats.h - what a model holds and costs: the numbers of inspect, compare and the report.
 * May use: model.h, ops.h, infer.h, layers.h.
 */
#ifndef PARE_MODEL_STATS_H
#define PARE_MODEL_STATS_H

#include "model/model.h"

typedef struct pare_tensor_stats {
    uint32_t tensor;
    const char *name;
    const char
        *op; /* op_type of the first consumer, seen through Identity, Transpose and DequantizeLinear; "" if none */
    const char *label; /* "Conv#3" of it, "" if none */
    const char *node;  /* its node's name */
    uint64_t parameters, nonzero, bytes;
} pare_tensor_stats;

typedef struct pare_op_count {
    const char *op; /* "Conv", "ai.onnx.ml.Scaler" */
    uint64_t count;
} pare_op_count;

/* parameters: elements of float initializers, and of constants in Constant nodes, that a layer computes with, and of
 * quantized weights and biases (int8/uint8/int4.. behind DequantizeLinear or in QLinearConv and its kin). No
 * parameters: BatchNormalization's running mean and variance (as in PyTorch, so resnet18 has 11,689,512), scales and
 * zero points, bounds, pads, ratios, and single numbers of elementwise ops. nonzero: of them, those that are not zero;
 * of quantized ones, those that are not the zero point. macs: dense multiply-adds at batch 1, -1 when a shape is not
 * known; a subgraph's nodes count once, however often they run. macs_effective leaves out those with a zero weight. */
typedef struct pare_model_stats {
    uint64_t parameters, nonzero;
    int64_t macs, macs_effective;
    int64_t macs_int8; /* of macs: both factors are 8-bit (behind DequantizeLinear or not); -1 with it */
    uint64_t parameter_dtypes[PARE_DTYPE_COUNT]; /* parameters by what they are stored as */
    PARE_VEC(pare_op_count) ops;                 /* by name, subgraphs included */
    uint64_t dtypes[PARE_DTYPE_COUNT];           /* of `tensors` */
    PARE_VEC(pare_tensor_stats) tensors; /* initializers in file order, then constants of nodes that are parameters */
} pare_model_stats;

/* Infers shapes first (a contradiction is an error). *out needs no preparation and is empty on failure; its strings
 * live in the model's arena. PARE_EINVAL, PARE_ENOMEM. */
pare_status pare_model_stats_of(pare_model *m, pare_diags *d, pare_model_stats *out);
void pare_model_stats_free(pare_model_stats *s);

/* Dense multiply-adds of one node at batch 1, from shapes inferred before; 0 for what multiplies nothing, -1: not
 * known. */
int64_t pare_node_macs(pare_model *m, const pare_node *n);
/* Elements of a node's parameters and the bytes they take (SDK: cost). */
void pare_node_parameters(pare_model *m, const pare_node *n, uint64_t *parameters, uint64_t *bytes);

#endif
