/* pare/layers.h - interface "pare.layers/1": layers as people name them.
 *
 * A layer is a node with weights and one constant input of it. People address it by weight name, node name or op and
 * number ("Conv#3"), with globs and "re:" patterns; one matcher in the host serves every technique. [run].
 * May include: host.h, param.h.
 */
#ifndef PARE_LAYERS_H
#define PARE_LAYERS_H

#include <pare/host.h>
#include <pare/param.h>

#define PARE_LAYERS_V1 "pare.layers/1"

/* Strings until the step ends. Axes are those of the tensor as it is stored, whatever stands between it and the
 * node. */
typedef struct pare_layer {
    uint32_t size;
    uint32_t node;              /* the consumer, first in the file's order */
    uint32_t slot;              /* which of its inputs the weight is */
    uint32_t tensor;            /* the weight; behind DequantizeLinear the quantized tensor */
    uint32_t scale, zero_point; /* behind DequantizeLinear: tensor ids; zero_point 0: zero is 0 */
    const char *name;           /* the weight's name; a Constant's is that of the value it defines */
    const char *op_type;
    const char *node_name; /* may be "" */
    const char *label;     /* "Conv#3" */
    int32_t in_axis;       /* input channels (per group), -1: none */
    int32_t out_axis;      /* output channels, -1: none */
    int32_t quant_axis;    /* of scale and zero_point; -1: per tensor */
    uint32_t groups;       /* Conv, ConvTranspose: group; else 1 */
    uint32_t n_uses;       /* nodes that share this tensor */
    uint32_t reserved;
    int64_t block_size; /* weights along quant_axis that share a scale, which has the weights' rank; 0: no blocks,
                         * or their order isn't the weights' (a Transpose between) */
} pare_layer;

typedef struct pare_layers_api {
    uint32_t size, reserved;
    /* The layers whose op_type is in `ops` (n_ops names), one per weight tensor, in the file's order, subgraphs
     * included. Writes up to cap of them and the number there are. Set the size of each to sizeof beforehand: it is
     * the distance between them, and stays; fields that the host doesn't know are zeroed. An op that pare does not know
     * to have weights is PARE_EINVAL, reported against `param`. */
    pare_status (*list)(const pare_host *, pare_model *, const char *param, const char *const *ops, uint64_t n_ops,
                        pare_layer *out, uint64_t cap, uint64_t *n);
    /* hit[i] = 1 + the first of the patterns (args of type PATTERN) that names layers[i] or a node sharing its
     * tensor, or 0. A pattern that names none of them is PARE_EINVAL, reported against `param` (with [i] behind it,
     * unless it is a cell like layers[2].match) with the nearest names. */
    pare_status (*select)(const pare_host *, pare_model *, const char *param, const pare_arg *patterns,
                          uint64_t n_patterns, const pare_layer *layers, uint64_t n, uint32_t *hit);
} pare_layers_api;

#endif
