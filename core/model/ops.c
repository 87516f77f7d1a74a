/* model/ops.c - the table of ops and looking one up. A new op is one row here, in the order of strcmp. See ops.h. */
#include "model/ops_rules.h"

#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

#define IN(i) (1u << (i))
#define OP(op, infer, macs, weights, numbers)                                                                          \
    { "", op, infer, macs, weights, numbers, 0, NULL, NULL }

/* clang-format off */
static const pare_op table[] = {
    /* op, shape rule, multiply-adds, inputs that are weights, numbers that decide shapes */
    OP("Abs", pare_rule_same, NULL, 0, NULL),
    OP("Acos", pare_rule_same, NULL, 0, NULL),
    OP("Acosh", pare_rule_same, NULL, 0, NULL),
    OP("Add", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("And", pare_rule_compare, NULL, 0, NULL),
    OP("ArgMax", pare_rule_arg_reduce, NULL, 0, NULL),
    OP("ArgMin", pare_rule_arg_reduce, NULL, 0, NULL),
    OP("Asin", pare_rule_same, NULL, 0, NULL),
    OP("Asinh", pare_rule_same, NULL, 0, NULL),
    OP("Atan", pare_rule_same, NULL, 0, NULL),
    OP("Atanh", pare_rule_same, NULL, 0, NULL),
    OP("Attention", pare_rule_attention, pare_macs_attention, 0, NULL),
    OP("AveragePool", pare_rule_pool, NULL, 0, NULL),
    OP("BatchNormalization", pare_rule_batch_norm, NULL, 0, NULL),
    OP("Bernoulli", pare_rule_fill_like, NULL, 0, NULL),
    OP("BitShift", pare_rule_nary, NULL, 0, NULL),
    OP("BitwiseAnd", pare_rule_nary, NULL, 0, NULL),
    OP("BitwiseNot", pare_rule_same, NULL, 0, NULL),
    OP("BitwiseOr", pare_rule_nary, NULL, 0, NULL),
    OP("BitwiseXor", pare_rule_nary, NULL, 0, NULL),
    OP("Cast", pare_rule_cast, NULL, 0, pare_numbers_cast),
    OP("CastLike", pare_rule_cast_like, NULL, 0, NULL),
    OP("Ceil", pare_rule_same, NULL, 0, NULL),
    OP("Celu", pare_rule_same, NULL, 0, NULL),
    OP("Clip", pare_rule_same, NULL, 0, NULL),
    OP("Concat", pare_rule_concat, NULL, 0, pare_numbers_concat),
    OP("Constant", pare_rule_constant, NULL, 0, pare_numbers_constant),
    OP("ConstantOfShape", pare_rule_constant_of_shape, NULL, 0, pare_numbers_constant_of_shape),
    OP("Conv", pare_rule_conv, pare_macs_conv, IN(1), NULL),
    OP("ConvInteger", pare_rule_conv_integer, pare_macs_conv, IN(1), NULL),
    OP("ConvTranspose", pare_rule_conv_transpose, pare_macs_conv_transpose, IN(1), NULL),
    OP("Cos", pare_rule_same, NULL, 0, NULL),
    OP("Cosh", pare_rule_same, NULL, 0, NULL),
    OP("CumSum", pare_rule_same, NULL, 0, NULL),
    OP("DepthToSpace", pare_rule_depth_to_space, NULL, 0, NULL),
    OP("DequantizeLinear", pare_rule_dequantize, NULL, 0, NULL),
    OP("Div", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("Dropout", pare_rule_dropout, NULL, 0, NULL),
    OP("DynamicQuantizeLinear", pare_rule_dynamic_quantize, NULL, 0, NULL),
    OP("Einsum", pare_rule_einsum, NULL, 0, NULL),
    OP("Elu", pare_rule_same, NULL, 0, NULL),
    OP("Equal", pare_rule_compare, NULL, 0, pare_numbers_binary),
    OP("Erf", pare_rule_same, NULL, 0, NULL),
    OP("Exp", pare_rule_same, NULL, 0, NULL),
    OP("Expand", pare_rule_expand, NULL, 0, NULL),
    OP("EyeLike", pare_rule_fill_like, NULL, 0, NULL),
    OP("Flatten", pare_rule_flatten, NULL, 0, pare_numbers_reshape),
    OP("Floor", pare_rule_same, NULL, 0, NULL),
    OP("GRU", pare_rule_rnn, pare_macs_rnn, IN(1) | IN(2), NULL),
    OP("Gather", pare_rule_gather, NULL, IN(0), pare_numbers_gather),
    OP("GatherElements", pare_rule_gather_elements, NULL, 0, NULL),
    OP("GatherND", pare_rule_gather_nd, NULL, 0, NULL),
    OP("Gelu", pare_rule_same, NULL, 0, NULL),
    OP("Gemm", pare_rule_gemm, pare_macs_gemm, IN(0) | IN(1), NULL),
    OP("GlobalAveragePool", pare_rule_global_pool, NULL, 0, NULL),
    OP("GlobalLpPool", pare_rule_global_pool, NULL, 0, NULL),
    OP("GlobalMaxPool", pare_rule_global_pool, NULL, 0, NULL),
    OP("Greater", pare_rule_compare, NULL, 0, NULL),
    OP("GreaterOrEqual", pare_rule_compare, NULL, 0, NULL),
    OP("GroupNormalization", pare_rule_same, NULL, 0, NULL),
    OP("HardSigmoid", pare_rule_same, NULL, 0, NULL),
    OP("HardSwish", pare_rule_same, NULL, 0, NULL),
    OP("Hardmax", pare_rule_same, NULL, 0, NULL),
    OP("Identity", pare_rule_same, NULL, 0, pare_numbers_pass),
    OP("InstanceNormalization", pare_rule_instance_norm, NULL, 0, NULL),
    OP("IsInf", pare_rule_same_bool, NULL, 0, NULL),
    OP("IsNaN", pare_rule_same_bool, NULL, 0, NULL),
    OP("LRN", pare_rule_same, NULL, 0, NULL),
    OP("LSTM", pare_rule_rnn, pare_macs_rnn, IN(1) | IN(2), NULL),
    OP("LayerNormalization", pare_rule_layer_norm, NULL, 0, NULL),
    OP("LeakyRelu", pare_rule_same, NULL, 0, NULL),
    OP("Less", pare_rule_compare, NULL, 0, NULL),
    OP("LessOrEqual", pare_rule_compare, NULL, 0, NULL),
    OP("Log", pare_rule_same, NULL, 0, NULL),
    OP("LogSoftmax", pare_rule_same, NULL, 0, NULL),
    OP("LpNormalization", pare_rule_same, NULL, 0, NULL),
    OP("LpPool", pare_rule_pool, NULL, 0, NULL),
    OP("MatMul", pare_rule_matmul, pare_macs_matmul, IN(0) | IN(1), NULL),
    OP("MatMulInteger", pare_rule_matmul_integer, pare_macs_matmul, IN(0) | IN(1), NULL),
    OP("Max", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("MaxPool", pare_rule_pool, NULL, 0, NULL),
    OP("Mean", pare_rule_nary, NULL, 0, NULL),
    OP("MeanVarianceNormalization", pare_rule_same, NULL, 0, NULL),
    OP("Min", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("Mish", pare_rule_same, NULL, 0, NULL),
    OP("Mod", pare_rule_nary, NULL, 0, NULL),
    OP("Mul", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("Neg", pare_rule_same, NULL, 0, pare_numbers_neg),
    OP("NegativeLogLikelihoodLoss", pare_rule_loss, NULL, 0, NULL),
    OP("NonZero", pare_rule_nonzero, NULL, 0, NULL),
    OP("Not", pare_rule_same_bool, NULL, 0, NULL),
    OP("OneHot", pare_rule_one_hot, NULL, 0, NULL),
    OP("Or", pare_rule_compare, NULL, 0, NULL),
    OP("PRelu", pare_rule_same, NULL, 0, NULL),
    OP("Pad", pare_rule_pad, NULL, 0, NULL),
    OP("Pow", pare_rule_nary, NULL, 0, NULL),
    OP("QLinearConv", pare_rule_qlinear_conv, pare_macs_qlinear_conv, IN(3), NULL),
    OP("QLinearMatMul", pare_rule_qlinear_matmul, pare_macs_qlinear_matmul, IN(0) | IN(3), NULL),
    OP("QuantizeLinear", pare_rule_quantize, NULL, 0, NULL),
    OP("RMSNormalization", pare_rule_same, NULL, 0, NULL),
    OP("RNN", pare_rule_rnn, pare_macs_rnn, IN(1) | IN(2), NULL),
    OP("RandomNormal", pare_rule_fill, NULL, 0, NULL),
    OP("RandomNormalLike", pare_rule_fill_like, NULL, 0, NULL),
    OP("RandomUniform", pare_rule_fill, NULL, 0, NULL),
    OP("RandomUniformLike", pare_rule_fill_like, NULL, 0, NULL),
    OP("Range", pare_rule_range, NULL, 0, pare_numbers_range),
    OP("Reciprocal", pare_rule_same, NULL, 0, NULL),
    OP("ReduceL1", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceL2", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceLogSum", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceLogSumExp", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceMax", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceMean", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceMin", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceProd", pare_rule_reduce, NULL, 0, pare_numbers_reduce_prod),
    OP("ReduceSum", pare_rule_reduce, NULL, 0, NULL),
    OP("ReduceSumSquare", pare_rule_reduce, NULL, 0, NULL),
    OP("Relu", pare_rule_same, NULL, 0, NULL),
    OP("Reshape", pare_rule_reshape, NULL, 0, pare_numbers_reshape),
    OP("Resize", pare_rule_resize, NULL, 0, NULL),
    OP("ReverseSequence", pare_rule_same, NULL, 0, NULL),
    OP("Round", pare_rule_same, NULL, 0, NULL),
    OP("Scatter", pare_rule_same, NULL, 0, NULL),
    OP("ScatterElements", pare_rule_same, NULL, 0, NULL),
    OP("ScatterND", pare_rule_same, NULL, 0, NULL),
    OP("Selu", pare_rule_same, NULL, 0, NULL),
    OP("Shape", pare_rule_shape, NULL, 0, pare_numbers_shape),
    OP("Shrink", pare_rule_same, NULL, 0, NULL),
    OP("Sigmoid", pare_rule_same, NULL, 0, NULL),
    OP("Sign", pare_rule_same, NULL, 0, NULL),
    OP("Sin", pare_rule_same, NULL, 0, NULL),
    OP("Sinh", pare_rule_same, NULL, 0, NULL),
    OP("Size", pare_rule_size, NULL, 0, pare_numbers_size),
    OP("Slice", pare_rule_slice, NULL, 0, pare_numbers_slice),
    OP("Softmax", pare_rule_same, NULL, 0, NULL),
    OP("SoftmaxCrossEntropyLoss", pare_rule_loss, NULL, 0, NULL),
    OP("Softplus", pare_rule_same, NULL, 0, NULL),
    OP("Softsign", pare_rule_same, NULL, 0, NULL),
    OP("SpaceToDepth", pare_rule_space_to_depth, NULL, 0, NULL),
    OP("Split", pare_rule_split, NULL, 0, NULL),
    OP("Sqrt", pare_rule_same, NULL, 0, NULL),
    OP("Squeeze", pare_rule_squeeze, NULL, 0, pare_numbers_reshape),
    OP("Sub", pare_rule_nary, NULL, 0, pare_numbers_binary),
    OP("Sum", pare_rule_nary, NULL, 0, NULL),
    OP("Swish", pare_rule_same, NULL, 0, NULL),
    OP("Tan", pare_rule_same, NULL, 0, NULL),
    OP("Tanh", pare_rule_same, NULL, 0, NULL),
    OP("ThresholdedRelu", pare_rule_same, NULL, 0, NULL),
    OP("Tile", pare_rule_tile, NULL, 0, NULL),
    OP("TopK", pare_rule_topk, NULL, 0, NULL),
    OP("Transpose", pare_rule_transpose, NULL, 0, NULL),
    OP("Trilu", pare_rule_same, NULL, 0, NULL),
    OP("Unsqueeze", pare_rule_unsqueeze, NULL, 0, pare_numbers_reshape),
    OP("Upsample", pare_rule_upsample, NULL, 0, NULL),
    OP("Where", pare_rule_where, NULL, 0, pare_numbers_where),
    OP("Xor", pare_rule_compare, NULL, 0, NULL),
};
/* clang-format on */

static int compare(const void *key, const void *row) {
    const pare_op *a = key, *b = row;
    int r = strcmp(a->domain, b->domain);
    return r ? r : strcmp(a->op_type, b->op_type);
}

const pare_op *pare_op_find(const char *domain, const char *op_type) {
    pare_op key = {.domain = domain, .op_type = op_type};
    if (strcmp(domain, PARE_GRAD_DOMAIN) == 0) return pare_op_grad_find(op_type);
    if (strcmp(domain, PARE_MICROSOFT) == 0) return pare_op_microsoft_find(op_type);
    return bsearch(&key, table, sizeof table / sizeof *table, sizeof *table, compare);
}

int32_t pare_op_over(const pare_op *op, uint32_t out) {
    if (!op || !op->over || out >= strlen(op->over) || op->over[out] == '.') return -1;
    return op->over[out] - '0';
}

const pare_op *pare_op_all(size_t *n) {
    *n = sizeof table / sizeof *table;
    return table;
}
