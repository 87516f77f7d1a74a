/* model/stats.h - what a model holds and costs: the numbers of inspect, compare and the report.
 * May use: model.h, ops.h, infer.h, layers.h.
 */
#ifndef PARE_MODEL_STATS_H
#define PARE_MODEL_STATS_H

#include "model/model.h"

typedef struct pare_tensor_stats {
    uint32_t tensor;
    const char *name;
    const char *op;    /* op_type of the first consumer, "" if none */
    const char *label; /* "Conv#3" of it, "" if none */
    const char *node;  /* its node's name */
    uint64_t parameters, nonzero, bytes;
} pare_tensor_stats;

typedef struct pare_op_count {
    const char *op; /* "Conv", "ai.onnx.ml.Scaler" */
    uint64_t count;
} pare_op_count;

/* parameters: elements of float initializers and of quantized weights (int8/uint8/int4.. behind DequantizeLinear);
 * not of shape constants. BatchNormalization's running mean and variance are no parameters (as in PyTorch), so
 * resnet18 has 11,689,512. macs: dense multiply-adds at batch 1; -1 unknown. macs_effective leaves out zero weights. */
typedef struct pare_model_stats {
    uint64_t parameters, nonzero;
    int64_t macs, macs_effective;
    PARE_VEC(pare_op_count) ops;                /* by name */
    uint64_t dtypes[PARE_DTYPE_COUNT];          /* initializers by dtype */
    PARE_VEC(pare_tensor_stats) tensors;        /* initializers in file order */
} pare_model_stats;

/* Infers shapes first. Strings live in the model's arena. */
pare_status pare_model_stats_of(pare_model *m, pare_diags *d, pare_model_stats *out);
void pare_model_stats_free(pare_model_stats *s);

#endif
