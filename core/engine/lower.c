/* engine/lower.c - see lower.h: which ops there are, which rule takes which opsets, and the walk over the nodes.
 *
 * A change between opsets that only widens dtypes, adds an optional input, or adds an attribute whose default is the
 * old behaviour needs no rule: the node is relabelled. What has a row in `rules` is rewritten by it; the rules stand in
 * lower_*.c. Of com.microsoft's,
 * those of 8-bit numbers are rewritten; other domains are not touched. A dtype that came after PARE_ENGINE_OPSET
 * passes: it changes no op's meaning, and who has no kernel for it says so. May use: lower_parts.h, model/infer.h.
 */
#include "engine/lower_parts.h"

#include "model/infer.h"

#include <stdlib.h>
#include <string.h>

enum { NEWEST = 28, ANY = 999, FIRST_IR = 10 }; /* FIRST_IR: the IR version that came with PARE_ENGINE_OPSET */

typedef struct op_row {
    const char *op;
    int since; /* the opset it came with */
} op_row;

/* Every op of ai.onnx up to NEWEST, by name. */
/* clang-format off */
static const op_row ops[] = {
    {"Abs", 1}, {"Acos", 7}, {"Acosh", 9}, {"Add", 1}, {"AffineGrid", 20}, {"And", 1}, {"ArgMax", 1}, {"ArgMin", 1},
    {"Asin", 7}, {"Asinh", 9}, {"Atan", 7}, {"Atanh", 9}, {"Attention", 23}, {"AveragePool", 1},
    {"BatchNormalization", 1}, {"Bernoulli", 15}, {"BitCast", 26}, {"BitShift", 11}, {"BitwiseAnd", 18},
    {"BitwiseNot", 18}, {"BitwiseOr", 18}, {"BitwiseXor", 18}, {"BlackmanWindow", 17}, {"Cast", 1}, {"CastLike", 15},
    {"CausalConvWithState", 27}, {"Ceil", 1}, {"Celu", 12}, {"CenterCropPad", 18}, {"Clip", 1}, {"Col2Im", 18},
    {"Compress", 9}, {"Concat", 1}, {"ConcatFromSequence", 11}, {"Constant", 1}, {"ConstantOfShape", 9}, {"Conv", 1},
    {"ConvInteger", 10}, {"ConvTranspose", 1}, {"Cos", 7}, {"Cosh", 9}, {"CumProd", 26}, {"CumSum", 11}, {"DFT", 17},
    {"DeformConv", 19}, {"DepthToSpace", 1}, {"DequantizeLinear", 10}, {"Det", 11}, {"Div", 1}, {"Dropout", 1},
    {"DynamicQuantizeLinear", 11}, {"Einsum", 12}, {"Elu", 1}, {"Equal", 1}, {"Erf", 9}, {"Exp", 1}, {"Expand", 8},
    {"EyeLike", 9}, {"Flatten", 1}, {"Floor", 1}, {"GRU", 1}, {"Gather", 1}, {"GatherElements", 11}, {"GatherND", 11},
    {"Gelu", 20}, {"Gemm", 1}, {"GlobalAveragePool", 1}, {"GlobalLpPool", 1}, {"GlobalMaxPool", 1}, {"Greater", 1},
    {"GreaterOrEqual", 12}, {"GridSample", 16}, {"GroupNormalization", 18}, {"HammingWindow", 17}, {"HannWindow", 17},
    {"HardSigmoid", 1}, {"HardSwish", 14}, {"Hardmax", 1}, {"Identity", 1}, {"If", 1}, {"ImageDecoder", 20},
    {"InstanceNormalization", 1}, {"IsInf", 10}, {"IsNaN", 9}, {"LRN", 1}, {"LSTM", 1}, {"LayerNormalization", 17},
    {"LeakyRelu", 1}, {"Less", 1}, {"LessOrEqual", 12}, {"LinearAttention", 27}, {"Log", 1}, {"LogSoftmax", 1},
    {"Loop", 1}, {"LpNormalization", 1}, {"LpPool", 1}, {"MatMul", 1}, {"MatMulInteger", 10}, {"Max", 1},
    {"MaxPool", 1}, {"MaxRoiPool", 1}, {"MaxUnpool", 9}, {"Mean", 1}, {"MeanVarianceNormalization", 9},
    {"MelWeightMatrix", 17}, {"Min", 1}, {"Mish", 18}, {"Mod", 10}, {"Mul", 1}, {"Multinomial", 7}, {"Neg", 1},
    {"NegativeLogLikelihoodLoss", 12}, {"NonMaxSuppression", 10}, {"NonZero", 9}, {"Not", 1}, {"OneHot", 9},
    {"Optional", 15}, {"OptionalGetElement", 15}, {"OptionalHasElement", 15}, {"Or", 1}, {"PRelu", 1}, {"Pad", 1},
    {"Pow", 1}, {"QLinearConv", 10}, {"QLinearMatMul", 10}, {"QuantizeLinear", 10}, {"RMSNormalization", 23},
    {"RNN", 1}, {"RandomNormal", 1}, {"RandomNormalLike", 1}, {"RandomUniform", 1}, {"RandomUniformLike", 1},
    {"Range", 11}, {"Reciprocal", 1}, {"ReduceL1", 1}, {"ReduceL2", 1}, {"ReduceLogSum", 1}, {"ReduceLogSumExp", 1},
    {"ReduceMax", 1}, {"ReduceMean", 1}, {"ReduceMin", 1}, {"ReduceProd", 1}, {"ReduceSum", 1},
    {"ReduceSumSquare", 1}, {"RegexFullMatch", 20}, {"Relu", 1}, {"Reshape", 1}, {"Resize", 10},
    {"ReverseSequence", 10}, {"RoiAlign", 10}, {"RotaryEmbedding", 23}, {"Round", 11}, {"STFT", 17}, {"Scan", 8},
    {"Scatter", 9}, {"ScatterElements", 11}, {"ScatterND", 11}, {"Selu", 1}, {"SequenceAt", 11},
    {"SequenceConstruct", 11}, {"SequenceEmpty", 11}, {"SequenceErase", 11}, {"SequenceInsert", 11},
    {"SequenceLength", 11}, {"SequenceMap", 17}, {"Shape", 1}, {"Shrink", 9}, {"Sigmoid", 1}, {"Sign", 9}, {"Sin", 7},
    {"Sinh", 9}, {"Size", 1}, {"Slice", 1}, {"Softmax", 1}, {"SoftmaxCrossEntropyLoss", 12}, {"Softplus", 1},
    {"Softsign", 1}, {"SpaceToDepth", 1}, {"Split", 1}, {"SplitToSequence", 11}, {"Sqrt", 1}, {"Squeeze", 1},
    {"StringConcat", 20}, {"StringNormalizer", 10}, {"StringSplit", 20}, {"Sub", 1}, {"Sum", 1}, {"SwiGLU", 28},
    {"Swish", 24}, {"Tan", 7}, {"Tanh", 1}, {"TensorScatter", 24}, {"TfIdfVectorizer", 9}, {"ThresholdedRelu", 10},
    {"Tile", 1}, {"TopK", 1}, {"Transpose", 1}, {"Trilu", 14}, {"Unique", 11}, {"Unsqueeze", 1}, {"Upsample", 1},
    {"Where", 9}, {"Xor", 1},
};
/* clang-format on */

typedef struct rule_row {
    const char *op;
    int from, to; /* file opsets that it is for */
    pare_lower_fn *fn;
} rule_row;

#define R(name) pare_lower_rule_##name
static const rule_row rules[] = {
    {"Add", 1, 6, R(broadcast)},
    {"And", 1, 6, R(broadcast)},
    {"Attention", 23, ANY, R(attention)},
    {"BatchNormalization", 1, 13, R(batch_norm)},
    {"BitShift", 28, ANY, R(bit_shift)},
    {"Cast", 1, 5, R(cast_text)},
    {"Cast", 24, ANY, R(cast_round)},
    {"CastLike", 24, ANY, R(cast_round)},
    {"Clip", 1, 10, R(clip)},
    {"Concat", 1, 3, R(concat)},
    {"Constant", 11, ANY, R(constant)},
    {"DFT", 17, 19, R(dft)},
    {"DequantizeLinear", 23, ANY, R(dequantize)},
    {"Div", 1, 6, R(broadcast)},
    {"Dropout", 1, 11, R(dropout)},
    {"Equal", 1, 6, R(broadcast)},
    {"GRU", 1, 6, R(rnn)},
    {"Gemm", 1, 6, R(gemm)},
    {"GlobalLpPool", 1, 1, R(lp_power)},
    {"Greater", 1, 6, R(broadcast)},
    {"GridSample", 16, 19, R(grid_sample)},
    {"GroupNormalization", 18, 20, R(group_norm)},
    {"Hardmax", 1, 12, R(softmax)},
    {"LSTM", 1, 6, R(rnn)},
    {"Less", 1, 6, R(broadcast)},
    {"LogSoftmax", 1, 12, R(softmax)},
    {"LpPool", 1, 1, R(lp_power)},
    {"Mod", 28, ANY, R(mod)},
    {"Mul", 1, 6, R(broadcast)},
    {"Or", 1, 6, R(broadcast)},
    {"PRelu", 1, 6, R(prelu)},
    {"Pad", 1, 10, R(pad)},
    {"Pow", 1, 6, R(broadcast)},
    {"QLinearConv", 10, ANY, R(qlinear_conv)},
    {"QLinearMatMul", 10, ANY, R(qlinear_matmul)},
    {"QuantizeLinear", 23, ANY, R(quantize)},
    {"RMSNormalization", 23, ANY, R(rms_norm)},
    {"RNN", 1, 6, R(rnn)},
    {"Range", 27, ANY, R(range)},
    {"ReduceL1", 1, 17, R(axes)},
    {"ReduceL2", 1, 17, R(axes)},
    {"ReduceLogSum", 1, 17, R(axes)},
    {"ReduceLogSumExp", 1, 17, R(axes)},
    {"ReduceMax", 1, 17, R(axes)},
    {"ReduceMean", 1, 17, R(axes)},
    {"ReduceMin", 1, 17, R(axes)},
    {"ReduceProd", 1, 17, R(axes)},
    {"ReduceSum", 1, 12, R(axes)},
    {"ReduceSumSquare", 1, 17, R(axes)},
    {"Reshape", 1, 4, R(reshape)},
    {"Resize", 10, 10, R(resize_10)},
    {"Resize", 11, 12, R(resize_11)},
    {"Resize", 13, ANY, R(resize)},
    {"RoiAlign", 10, 15, R(roi_align)},
    {"Scan", 8, 8, R(scan)},
    {"Scatter", 9, ANY, R(scatter)},
    {"Selu", 1, 5, R(selu)},
    {"Slice", 1, 9, R(slice)},
    {"Softmax", 1, 12, R(softmax)},
    {"SpaceToDepth", 28, ANY, R(space_to_depth)},
    {"Split", 1, 17, R(split)},
    {"Squeeze", 1, 12, R(axes)},
    {"Sub", 1, 6, R(broadcast)},
    {"Swish", 24, ANY, R(swish)},
    {"Tile", 1, 5, R(tile)},
    {"TopK", 1, 9, R(topk)},
    {"Unsqueeze", 1, 12, R(axes)},
    {"Upsample", 1, ANY, R(upsample)},
    {"Xor", 1, 6, R(broadcast)},
};
#undef R

static int op_cmp(const void *name, const void *row) { return strcmp(name, ((const op_row *)row)->op); }

static const rule_row *rule_of(const char *op, int64_t from) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].op, op) == 0 && from >= rules[i].from && from <= rules[i].to) return &rules[i];
    return NULL;
}

static void lower_node(pare_lowering *l, pare_node *n) {
    const op_row *op = bsearch(n->op_type, ops, sizeof ops / sizeof *ops, sizeof *ops, op_cmp);
    if (!op) {
        pare_lower_refuse(l, n, NULL, "ai.onnx has no such operator up to opset %d", NEWEST);
        return;
    }
    const rule_row *rule = rule_of(n->op_type, l->from);
    if (op->since > PARE_ENGINE_OPSET && !rule) {
        pare_lower_refuse(l, n, "export the model at an opset that has no such operator: the exporter spells it out",
                          "the operator came with opset %d, and the engine knows those up to %d", op->since,
                          (int)PARE_ENGINE_OPSET);
        return;
    }
    if (l->from < 6) pare_attr_del(l->m, n->id, "consumed_inputs"); /* a hint about memory */
    if (rule) rule->fn(l, n);
}

/* Some rules need ranks and dtypes as they are before anything is changed. */
static bool wants_types(const pare_model *m, int64_t from) {
    if (from < 13 || from > PARE_ENGINE_OPSET) return true;
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && pare_node_is(m->nodes.data[i], "GroupNormalization")) return from < PARE_ENGINE_OPSET;
    return false;
}

static pare_status check_imports(const pare_model *m, int64_t from, pare_diags *d) {
    if (from > NEWEST)
        return pare_fail(d, PARE_EUNSUPPORTED, "engine.opset", "export the model at an older opset",
                         "the model is of ai.onnx opset %lld; 1 to %d are known", (long long)from, NEWEST);
    if (from < 1)
        for (size_t i = 0; i < m->nodes.len; i++)
            if (m->nodes.data[i] && m->nodes.data[i]->domain[0] == 0)
                return pare_fail(d, PARE_EINVAL, "engine.opset", NULL,
                                 "the model uses %s of ai.onnx without importing an opset of it (%lld)",
                                 m->nodes.data[i]->op_type, (long long)from);
    if (m->functions.len && from && from != PARE_ENGINE_OPSET)
        return pare_fail(
            d, PARE_EUNSUPPORTED, "engine.functions", "inline them: onnx.inliner.inline_local_functions",
            "the model defines %zu functions of its own, which are of its opset %lld and not brought to %d",
            m->functions.len, (long long)from, (int)PARE_ENGINE_OPSET);
    return PARE_OK;
}

pare_status pare_engine_lower(pare_model *m, pare_diags *d) {
    pare_lowering l = {.m = m, .d = d, .from = pare_model_opset(m, "")};
    pare_status st = check_imports(m, l.from, d);
    if (st) return st;
    /* What it says is said again, of the lowered graph, when the session infers; here only what it fills in counts. */
    if (l.from && wants_types(m, l.from)) (void)pare_model_infer(m, NULL);
    size_t before = m->nodes.len; /* what the rules add stands at PARE_ENGINE_OPSET already */
    for (size_t i = 0; i < before; i++) {
        pare_node *n = m->nodes.data[i];
        if (n && n->domain[0] == 0) lower_node(&l, n);
        if (n && strcmp(n->domain, "com.microsoft") == 0) pare_lower_microsoft(&l, n);
    }
    if (l.st) return l.st;
    pare_model_opset_set(m, "", PARE_ENGINE_OPSET);
    if (m->ir_version < FIRST_IR) m->ir_version = FIRST_IR;
    return PARE_OK;
}
