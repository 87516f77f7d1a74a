/* quantize/place_rules.c - what each runtime does with QuantizeLinear and DequantizeLinear, as tables. See place.h.
 *
 * onnxruntime: the selectors of its QDQ transformer on the CPU (qdq_selector_action_transformer.cc, qdq_selectors.cc).
 * tensorrt: explicit quantization (NVIDIA's "Working with Quantized Types": quantizers at inputs of what is to run in
 * int8, one branch of a residual Add). openvino: low precision transformations, FakeQuantize at inputs. pare: what its
 * engine fuses behind int8 convolutions and products. generic: around every op that has an int8 form somewhere.
 */
#include "place.h"

#include <string.h>

static const place_rule onnxruntime[] = {
    {"Conv", PLACE_HEAVY, true, 0, 0},
    {"Gemm", PLACE_HEAVY, false, 0, 0},
    {"MatMul", PLACE_HEAVY, false, 0, 0},
    {"Add", PLACE_ARITH, false, 0, 0},
    {"Mul", PLACE_ARITH, false, 0, 0},
    {"Concat", PLACE_ARITH, false, 0, 0},
    {"AveragePool", PLACE_ARITH, false, 0, 0},
    {"GlobalAveragePool", PLACE_ARITH, false, 0, 0},
    {"LeakyRelu", PLACE_ARITH, false, 0, 0},
    {"Sigmoid", PLACE_ARITH, false, 0, 0},
    {"Softmax", PLACE_ARITH, false, 0, 0},
    {"MaxPool", PLACE_SAME, false, 12, 21}, /* registered for version 12 of the op */
    {"ReduceMax", PLACE_SAME, false, 0, 0},
    {"ReduceMin", PLACE_SAME, false, 0, 0},
    {"Resize", PLACE_SAME, false, 0, 0},
    {"Expand", PLACE_SAME, false, 0, 0},
    {"Flatten", PLACE_SAME, false, 0, 0},
    {"Gather", PLACE_SAME, false, 0, 0},
    {"GatherElements", PLACE_SAME, false, 0, 0},
    {"Reshape", PLACE_SAME, false, 0, 0},
    {"Slice", PLACE_SAME, false, 0, 0},
    {"Split", PLACE_SAME, false, 0, 0},
    {"Squeeze", PLACE_SAME, false, 0, 0},
    {"Tile", PLACE_SAME, false, 0, 0},
    {"Transpose", PLACE_SAME, false, 0, 0},
    {"Unsqueeze", PLACE_SAME, false, 0, 0},
    {"Relu", PLACE_FUSE, false, 0, 0},
    {"Clip", PLACE_FUSE, false, 0, 0},
    {NULL, PLACE_FLOAT, false, 0, 0},
};

#define MOVERS                                                                                                         \
    {"MaxPool", PLACE_SAME, false, 0, 0}, {"Expand", PLACE_SAME, false, 0, 0}, {"Flatten", PLACE_SAME, false, 0, 0},   \
        {"Gather", PLACE_SAME, false, 0, 0}, {"Reshape", PLACE_SAME, false, 0, 0}, {"Slice", PLACE_SAME, false, 0, 0}, \
        {"Split", PLACE_SAME, false, 0, 0}, {"Squeeze", PLACE_SAME, false, 0, 0},                                      \
        {"Transpose", PLACE_SAME, false, 0, 0}, {"Unsqueeze", PLACE_SAME, false, 0, 0},                                \
        {"DepthToSpace", PLACE_SAME, false, 0, 0}, {"SpaceToDepth", PLACE_SAME, false, 0, 0}, {                        \
        "Resize", PLACE_SAME, false, 0, 0                                                                              \
    }

#define HEAVY(needs_q)                                                                                                 \
    {"Conv", PLACE_HEAVY, needs_q, 0, 0}, {"ConvTranspose", PLACE_HEAVY, needs_q, 0, 0},                               \
        {"Gemm", PLACE_HEAVY, needs_q, 0, 0}, {                                                                        \
        "MatMul", PLACE_HEAVY, needs_q, 0, 0                                                                           \
    }

#define ACTIVATIONS                                                                                                    \
    {"Relu", PLACE_FUSE, false, 0, 0}, {"Clip", PLACE_FUSE, false, 0, 0}, {"LeakyRelu", PLACE_FUSE, false, 0, 0},      \
        {"Sigmoid", PLACE_FUSE, false, 0, 0}, {"Tanh", PLACE_FUSE, false, 0, 0},                                       \
        {"HardSwish", PLACE_FUSE, false, 0, 0}, {"HardSigmoid", PLACE_FUSE, false, 0, 0},                              \
        {"Elu", PLACE_FUSE, false, 0, 0}, {                                                                            \
        "Gelu", PLACE_FUSE, false, 0, 0                                                                                \
    }

#define END                                                                                                            \
    { NULL, PLACE_FLOAT, false, 0, 0 }

static const place_rule tensorrt[] = {
    HEAVY(false),
    MOVERS,
    ACTIVATIONS,
    {"Add", PLACE_ARITH, false, 0, 0},
    {"AveragePool", PLACE_ARITH, false, 0, 0},
    {"GlobalAveragePool", PLACE_ARITH, false, 0, 0},
    {"Concat", PLACE_ARITH, false, 0, 0},
    END,
};

static const place_rule openvino[] = {
    HEAVY(false),
    MOVERS,
    ACTIVATIONS,
    {"Add", PLACE_ARITH, false, 0, 0},
    {"Mul", PLACE_ARITH, false, 0, 0},
    {"AveragePool", PLACE_ARITH, false, 0, 0},
    {"GlobalAveragePool", PLACE_ARITH, false, 0, 0},
    {"Concat", PLACE_ARITH, false, 0, 0},
    END,
};

static const place_rule generic[] = {
    HEAVY(true),
    MOVERS,
    {"Relu", PLACE_FUSE, false, 0, 0},
    {"Clip", PLACE_FUSE, false, 0, 0},
    {"Add", PLACE_ARITH, false, 0, 0},
    {"Mul", PLACE_ARITH, false, 0, 0},
    {"AveragePool", PLACE_ARITH, false, 0, 0},
    {"GlobalAveragePool", PLACE_ARITH, false, 0, 0},
    {"LeakyRelu", PLACE_ARITH, false, 0, 0},
    {"Sigmoid", PLACE_ARITH, false, 0, 0},
    {"Softmax", PLACE_ARITH, false, 0, 0},
    {"Concat", PLACE_ARITH, false, 0, 0},
    END,
};

static const place_rule own[] = {
    HEAVY(false),
    MOVERS,
    ACTIVATIONS,
    {"Add", PLACE_ARITH, false, 0, 0},
    {"Mul", PLACE_ARITH, false, 0, 0},
    {"AveragePool", PLACE_ARITH, false, 0, 0},
    {"GlobalAveragePool", PLACE_ARITH, false, 0, 0},
    {"Concat", PLACE_ARITH, false, 0, 0},
    END,
};

static const place_target targets[] = {
    [QUANTIZE_ONNXRUNTIME] = {.rules = onnxruntime, .bias_int32 = true, .redundant = true, .firm = true},
    [QUANTIZE_TENSORRT] = {.rules = tensorrt, .residual = true, .unify = true},
    [QUANTIZE_OPENVINO] = {.rules = openvino, .unify = true},
    [QUANTIZE_GENERIC] = {.rules = generic, .bias_int32 = true, .firm = true},
    [QUANTIZE_PARE] = {.rules = own, .bias_int32 = true, .residual = true},
};

const place_target *place_target_of(quantize_target target) { return &targets[target]; }

bool place_knows(const char *op_type) {
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++)
        for (const place_rule *r = targets[t].rules; r->op_type; r++)
            if (strcmp(r->op_type, op_type) == 0) return true;
    return false;
}

const char *place_missing(const quantize_options *o, const quantize_choices *choices, const place_plan *plan,
                          uint64_t choice) {
    const quantize_choice *c = &choices->at[choice];
    if (!c->asked) return NULL;
    for (uint64_t i = 0; i < plan->n_nodes; i++)
        if (plan->nodes[i].kind == PLACE_HEAVY && plan->nodes[i].choice == (int32_t)choice) return NULL;
    for (const place_rule *r = place_target_of(o->target)->rules; r->op_type; r++)
        if (strcmp(r->op_type, c->layer.op_type) == 0) return "it is inside a subgraph (If, Loop, Scan)";
    return "the target runs no such op in int8";
}

const place_rule *place_rule_of(const place_target *t, const char *op_type, int64_t opset) {
    for (const place_rule *r = t->rules; r->op_type; r++) {
        if (strcmp(r->op_type, op_type) != 0) continue;
        if ((r->min_opset && opset < r->min_opset) || (r->max_opset && opset > r->max_opset)) return NULL;
        return r;
    }
    return NULL;
}
