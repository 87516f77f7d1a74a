/* engine/node_check.c - is each node of the lowered model what ONNX's specification at opset 21 says it may be?
 *
 * Looks at what neither shape rules nor kernels look at: how many inputs there are, which of them are of one dtype,
 * words in string attributes, whole numbers divided by a constant 0. See parts.h. Source of the facts: ONNX's operator
 * specification. May use: parts.h, model.
 */
#include "engine/parts.h"

#include "model/layers.h"

#include <stdlib.h>
#include <string.h>

/* ---- inputs ---- */

typedef struct inputs_row {
    const char *op_type;
    unsigned char least, most; /* 255: any number */
    const char *same;          /* a letter an input, '.' and those left out: any dtype; equal letters: equal dtypes */
} inputs_row;

/* clang-format off */
static const inputs_row inputs_rows[] = {
    {"Abs", 1, 1, ""}, {"Acos", 1, 1, ""}, {"Acosh", 1, 1, ""}, {"Add", 2, 2, "aa"}, {"And", 2, 2, "aa"},
    {"ArgMax", 1, 1, ""}, {"ArgMin", 1, 1, ""}, {"Asin", 1, 1, ""}, {"Asinh", 1, 1, ""}, {"Atan", 1, 1, ""},
    {"Atanh", 1, 1, ""}, {"AveragePool", 1, 1, ""}, {"BatchNormalization", 5, 5, ".bbcc"}, {"Bernoulli", 1, 1, ""},
    {"BitShift", 2, 2, "aa"}, {"BitwiseAnd", 2, 2, "aa"}, {"BitwiseNot", 1, 1, ""}, {"BitwiseOr", 2, 2, "aa"},
    {"BitwiseXor", 2, 2, "aa"}, {"Cast", 1, 1, ""}, {"CastLike", 2, 2, ""}, {"Ceil", 1, 1, ""}, {"Celu", 1, 1, ""},
    {"Clip", 1, 3, "aaa"}, {"Concat", 1, 255, "a"}, {"Constant", 0, 0, ""}, {"ConstantOfShape", 1, 1, ""}, {"Conv",
    2, 3, "aaa"}, {"ConvInteger", 2, 4, "abab"}, {"ConvTranspose", 2, 3, "aaa"}, {"Cos", 1, 1, ""}, {"Cosh", 1, 1,
    ""}, {"CumSum", 2, 2, ""}, {"DepthToSpace", 1, 1, ""}, {"DequantizeLinear", 2, 3, "a.a"}, {"Div", 2, 2, "aa"},
    {"Dropout", 1, 3, ""}, {"DynamicQuantizeLinear", 1, 1, ""}, {"Einsum", 1, 255, "a"}, {"Elu", 1, 1, ""},
    {"Equal", 2, 2, "aa"}, {"Erf", 1, 1, ""}, {"Exp", 1, 1, ""}, {"Expand", 2, 2, ""}, {"EyeLike", 1, 1, ""},
    {"Flatten", 1, 1, ""}, {"Floor", 1, 1, ""}, {"GRU", 3, 6, "aaaa.a"}, {"Gather", 2, 2, ""}, {"GatherElements",
    2, 2, ""}, {"GatherND", 2, 2, ""}, {"Gelu", 1, 1, ""}, {"Gemm", 2, 3, "aaa"}, {"GlobalAveragePool", 1, 1, ""},
    {"GlobalLpPool", 1, 1, ""}, {"GlobalMaxPool", 1, 1, ""}, {"Greater", 2, 2, "aa"}, {"GreaterOrEqual", 2, 2,
    "aa"}, {"GroupNormalization", 3, 3, "aaa"}, {"HardSigmoid", 1, 1, ""}, {"HardSwish", 1, 1, ""}, {"Hardmax", 1,
    1, ""}, {"Identity", 1, 1, ""}, {"InstanceNormalization", 3, 3, "aaa"}, {"IsInf", 1, 1, ""}, {"IsNaN", 1, 1,
    ""}, {"LRN", 1, 1, ""}, {"LSTM", 3, 8, "aaaa.aaa"}, {"LayerNormalization", 2, 3, "aaa"}, {"LeakyRelu", 1, 1,
    ""}, {"Less", 2, 2, "aa"}, {"LessOrEqual", 2, 2, "aa"}, {"Log", 1, 1, ""}, {"LogSoftmax", 1, 1, ""},
    {"LpNormalization", 1, 1, ""}, {"LpPool", 1, 1, ""}, {"MatMul", 2, 2, "aa"}, {"MatMulInteger", 2, 4, "abab"},
    {"Max", 1, 255, "a"}, {"MaxPool", 1, 1, ""}, {"Mean", 1, 255, "a"}, {"MeanVarianceNormalization", 1, 1, ""},
    {"Min", 1, 255, "a"}, {"Mish", 1, 1, ""}, {"Mod", 2, 2, "aa"}, {"Mul", 2, 2, "aa"}, {"Neg", 1, 1, ""},
    {"NonZero", 1, 1, ""}, {"Not", 1, 1, ""}, {"OneHot", 3, 3, ""}, {"Or", 2, 2, "aa"}, {"PRelu", 2, 2, "aa"},
    {"Pad", 2, 4, "a.a"}, {"Pow", 2, 2, ""}, {"QLinearConv", 8, 9, "a.ab.b"}, {"QLinearMatMul", 8, 8, "abacbcb"},
    {"QuantizeLinear", 2, 3, ""}, {"RNN", 3, 6, "aaaa.a"}, {"RandomNormal", 0, 0, ""}, {"RandomNormalLike", 1, 1,
    ""}, {"RandomUniform", 0, 0, ""}, {"RandomUniformLike", 1, 1, ""}, {"Range", 3, 3, "aaa"}, {"Reciprocal", 1, 1,
    ""}, {"ReduceL1", 1, 2, ""}, {"ReduceL2", 1, 2, ""}, {"ReduceLogSum", 1, 2, ""}, {"ReduceLogSumExp", 1, 2, ""},
    {"ReduceMax", 1, 2, ""}, {"ReduceMean", 1, 2, ""}, {"ReduceMin", 1, 2, ""}, {"ReduceProd", 1, 2, ""},
    {"ReduceSum", 1, 2, ""}, {"ReduceSumSquare", 1, 2, ""}, {"Relu", 1, 1, ""}, {"Reshape", 2, 2, ""}, {"Resize",
    1, 4, ""}, {"ReverseSequence", 2, 2, ""}, {"Round", 1, 1, ""}, {"Scatter", 3, 3, "a.a"}, {"ScatterElements", 3,
    3, "a.a"}, {"ScatterND", 3, 3, "a.a"}, {"Selu", 1, 1, ""}, {"Shape", 1, 1, ""}, {"Shrink", 1, 1, ""},
    {"Sigmoid", 1, 1, ""}, {"Sign", 1, 1, ""}, {"Sin", 1, 1, ""}, {"Sinh", 1, 1, ""}, {"Size", 1, 1, ""}, {"Slice",
    3, 5, ".bbbb"}, {"Softmax", 1, 1, ""}, {"Softplus", 1, 1, ""}, {"Softsign", 1, 1, ""}, {"SpaceToDepth", 1, 1,
    ""}, {"Split", 1, 2, ""}, {"Sqrt", 1, 1, ""}, {"Squeeze", 1, 2, ""}, {"Sub", 2, 2, "aa"}, {"Sum", 1, 255, "a"},
    {"Tan", 1, 1, ""}, {"Tanh", 1, 1, ""}, {"ThresholdedRelu", 1, 1, ""}, {"Tile", 2, 2, ""}, {"TopK", 2, 2, ""},
    {"Transpose", 1, 1, ""}, {"Trilu", 1, 2, ""}, {"Unsqueeze", 2, 2, ""}, {"Upsample", 2, 2, ""}, {"Where", 3, 3,
    ".bb"}, {"Xor", 2, 2, "aa"},
};
/* clang-format on */

static int compare(const void *key, const void *row) { return strcmp(key, ((const inputs_row *)row)->op_type); }

static pare_status wrong(pare_model *m, const pare_node *n, pare_diags *d, const char *code, const char *text) {
    return pare_fail(d, PARE_EINVAL, code, NULL, "%s node \"%s\": %s", n->op_type, pare_engine_node_name(m, n), text);
}

/* How many there are; of one dtype where they have to be. */
static pare_status inputs(pare_model *m, const pare_node *n, pare_arena *a, pare_diags *d) {
    const inputs_row *r =
        bsearch(n->op_type, inputs_rows, sizeof inputs_rows / sizeof *inputs_rows, sizeof *inputs_rows, compare);
    uint32_t first[26] = {0};
    if (!r) return PARE_OK;
    uint32_t used = n->n_in;
    while (used && !n->in[used - 1]) used--;
    bool least = n->n_in >= r->least;
    for (uint32_t i = 0; least && r->most != 255 && i < r->least; i++) least = n->in[i] != 0;
    if (!least || (r->most != 255 && used > r->most))
        return wrong(m, n, d, "engine.inputs",
                     pare_arena_printf(a, "it has %u inputs, %s %u are %s", used, least ? "at most" : "at least",
                                       least ? r->most : r->least, least ? "allowed" : "needed"));
    size_t len = strlen(r->same);
    for (uint32_t i = 0; i < used && len; i++) {
        char letter = i < len ? r->same[i] : r->most == 255 ? r->same[len - 1] : '.';
        const pare_value *v = pare_model_value(m, n->in[i]);
        if (letter == '.' || !v || !v->dtype) continue;
        uint32_t *have = &first[letter - 'a'];
        const pare_value *o = *have ? pare_model_value(m, n->in[*have - 1]) : NULL;
        if (o && o->dtype != v->dtype)
            return wrong(m, n, d, "engine.dtype",
                         pare_arena_printf(a, "\"%s\" is %s, but \"%s\" is %s: they must be of one type", o->name,
                                           pare_dtype_name(o->dtype), v->name, pare_dtype_name(v->dtype)));
        if (!o) *have = i + 1;
    }
    return PARE_OK;
}

/* ---- words ---- */

static const struct {
    const char *op_type, *attr, *allowed;
} words[] = {
    {"Conv", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"ConvInteger", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"ConvTranspose", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"QLinearConv", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"MaxPool", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"AveragePool", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"LpPool", "auto_pad", "NOTSET SAME_UPPER SAME_LOWER VALID"},
    {"Pad", "mode", "constant reflect edge wrap"},
    {"Resize", "mode", "nearest linear cubic"},
    {"Resize", "nearest_mode", "round_prefer_floor round_prefer_ceil floor ceil"},
    {"Resize", "keep_aspect_ratio_policy", "stretch not_larger not_smaller"},
    {"Resize", "coordinate_transformation_mode",
     "half_pixel half_pixel_symmetric pytorch_half_pixel align_corners asymmetric tf_half_pixel_for_nn "
     "tf_crop_and_resize"},
    {"Upsample", "mode", "nearest linear"},
    {"DepthToSpace", "mode", "DCR CRD"},
    {"Gelu", "approximate", "none tanh"},
    {"ScatterND", "reduction", "none add mul max min"},
    {"ScatterElements", "reduction", "none add mul max min"},
    {"BitShift", "direction", "LEFT RIGHT"},
};

static bool among(const char *list, const char *word, size_t len) {
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, word, n) == 0) return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static pare_status attributes(pare_model *m, const pare_node *n, pare_arena *a, pare_diags *d) {
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].op_type, n->op_type) != 0) continue;
        const pare_attr *x = pare_node_attr(n, words[i].attr);
        if (!x) continue;
        const char *text = x->type == PARE_ATTR_STRING && x->s.data ? (const char *)x->s.data : "";
        size_t len = x->type == PARE_ATTR_STRING ? x->s.len : 0;
        if (among(words[i].allowed, text, len)) continue;
        pare_sb b = {0};
        pare_sb_add_safe(&b, text, len);
        const char *said = pare_arena_printf(a, "its attribute \"%s\" is \"%s\"; there are: %s", words[i].attr,
                                             pare_sb_str(&b), words[i].allowed);
        pare_sb_free(&b);
        return wrong(m, n, d, "engine.attribute", said);
    }
    static const char *const along[] = {"Softmax", "LogSoftmax", "Hardmax", "LpNormalization"};
    const pare_value *v = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    for (size_t i = 0; i < sizeof along / sizeof *along; i++) {
        int64_t axis = pare_node_attr_int(n, "axis", -1);
        if (!pare_node_is(n, along[i]) || !v || v->ndim <= 0 || (axis >= -v->ndim && axis < v->ndim)) continue;
        return wrong(
            m, n, d, "engine.attribute",
            pare_arena_printf(a, "its axis is %lld, but \"%s\" has %d dims", (long long)axis, v->name, v->ndim));
    }
    return PARE_OK;
}

/* ---- division by 0 ---- */

static pare_status divisor(pare_model *m, const pare_node *n, pare_arena *a, pare_diags *d) {
    if ((!pare_node_is(n, "Div") && !pare_node_is(n, "Mod")) || n->n_in != 2) return PARE_OK;
    const pare_value *v = pare_model_value(m, n->in[1]);
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    const unsigned char *data = NULL;
    if (!t || !strchr("iu", pare_dtype_kind(t->dtype)) || pare_dtype_bits(t->dtype) < 8) return PARE_OK;
    pare_status st = pare_tensor_read(t, d, (const void **)&data);
    if (st || !data) return st;
    size_t bytes = pare_dtype_bits(t->dtype) / 8;
    static const unsigned char zero[8];
    for (uint64_t i = 0; i < t->count; i++)
        if (memcmp(data + i * bytes, zero, bytes) == 0)
            return wrong(m, n, d, "engine.zero",
                         pare_arena_printf(a, "whole numbers are divided by \"%s\", which holds a 0", v->name));
    return PARE_OK;
}

pare_status pare_engine_check_nodes(pare_model *m, pare_diags *d) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    pare_arena a = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; !st && i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        if (n->domain[0]) continue;
        st = inputs(m, n, &a, d);
        if (!st) st = attributes(m, n, &a, d);
        if (!st) st = divisor(m, n, &a, d);
    }
    pare_arena_free(&a);
    return st;
}

const char *pare_engine_why(const char *op_type, pare_status st) {
    static const struct {
        const char *op_type, *why;
    } rows[] = {
        {"Gather", "an index is out of range"},          {"GatherElements", "an index is out of range"},
        {"GatherND", "an index is out of range"},        {"ScatterND", "an index is out of range"},
        {"ScatterElements", "an index is out of range"}, {"Div", "a whole number is divided by 0"},
        {"Mod", "a whole number is divided by 0"},       {"CumSum", "the axis is out of range"},
        {"ArgMax", "there is no largest of no numbers"}, {"ArgMin", "there is no smallest of no numbers"},
    };
    for (size_t i = 0; st == PARE_EINVAL && i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].op_type, op_type) == 0) return rows[i].why;
    return pare_status_text(st);
}
