/* Every gradient rule against central differences in float64, on the plain C kernels here and far away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/grad.h"
#include "far/net.h"
#include "model/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 10 };

/* An input: dims; or numbers that don't change. */
typedef struct input {
    int64_t dims[5];
    int ndim;            /* -1: absent */
    const int64_t *ints; /* constant int64 of dims[0] elements */
    double at;           /* a constant float scalar, where `scalar` */
    bool scalar, positive, frozen;
    bool bools;    /* the constant's elements are bool */
    bool point;    /* a variable without dims */
    double plus;   /* is added to each number */
    int zero_each; /* so many elements apart there is a 0 */
} input;

typedef struct attr {
    const char *name;
    enum { A_NONE, A_INT, A_FLOAT, A_TEXT, A_INTS } kind;
    int64_t i[8];
    int n;
    double f;
    const char *s;
} attr;

typedef struct rule {
    const char *op, *domain;
    input in[MOST];
    attr attrs[MOST];
    int n_out;     /* 0: 1 */
    double margin; /* values stay this far from where a rule has a kink: |x - k/4| */
} rule;

#define D(...)                                                                                                         \
    { .dims = {__VA_ARGS__}, .ndim = sizeof((int64_t[]){__VA_ARGS__}) / 8 }
#define P(...)                                                                                                         \
    { .dims = {__VA_ARGS__}, .ndim = sizeof((int64_t[]){__VA_ARGS__}) / 8, .positive = true }
#define F(...)                                                                                                         \
    { .dims = {__VA_ARGS__}, .ndim = sizeof((int64_t[]){__VA_ARGS__}) / 8, .positive = true, .frozen = true }
#define I(...)                                                                                                         \
    {                                                                                                                  \
        .dims = {sizeof((int64_t[]){__VA_ARGS__}) / 8}, .ndim = 1, .ints = (const int64_t[]) { __VA_ARGS__ }           \
    }
#define IS(...)                                                                                                        \
    .ints = (const int64_t[]) { __VA_ARGS__ }
#define S(v)                                                                                                           \
    { .scalar = true, .at = (v) }
#define U(...) /* above 1 */                                                                                           \
    { .dims = {__VA_ARGS__}, .ndim = sizeof((int64_t[]){__VA_ARGS__}) / 8, .positive = true, .plus = 1 }
#define Z(n_, ...) /* with zeros */                                                                                    \
    { .dims = {__VA_ARGS__}, .ndim = sizeof((int64_t[]){__VA_ARGS__}) / 8, .zero_each = n_ }
#define POINT                                                                                                          \
    { .point = true }
#define NO                                                                                                             \
    { .ndim = -1 }
#define AI(n_, v)                                                                                                      \
    {                                                                                                                  \
        .name = n_, .kind = A_INT, .i = { v }                                                                          \
    }
#define AF(n_, v)                                                                                                      \
    { .name = n_, .kind = A_FLOAT, .f = v }
#define AT(n_, v)                                                                                                      \
    { .name = n_, .kind = A_TEXT, .s = v }
#define AL(n_, ...)                                                                                                    \
    { .name = n_, .kind = A_INTS, .i = {__VA_ARGS__}, .n = sizeof((int64_t[]){__VA_ARGS__}) / 8 }

/* clang-format off */
static const rule rules[] = {
    /* elementwise, one input */
    {.op = "Abs", .in = {D(3, 4)}}, {.op = "Acos", .in = {D(3, 4)}}, {.op = "Asin", .in = {D(3, 4)}},
    {.op = "Atan", .in = {D(3, 4)}}, {.op = "Sinh", .in = {D(3, 4)}}, {.op = "Cosh", .in = {D(3, 4)}},
    {.op = "Asinh", .in = {D(3, 4)}}, {.op = "Atanh", .in = {D(3, 4)}}, {.op = "Sin", .in = {D(3, 4)}},
    {.op = "Cos", .in = {D(3, 4)}}, {.op = "Tan", .in = {D(3, 4)}}, {.op = "Exp", .in = {D(3, 4)}},
    {.op = "Log", .in = {P(3, 4)}}, {.op = "Sqrt", .in = {P(3, 4)}}, {.op = "Reciprocal", .in = {P(3, 4)}},
    {.op = "Neg", .in = {D(3, 4)}}, {.op = "Erf", .in = {D(3, 4)}}, {.op = "Relu", .in = {D(3, 4)}},
    {.op = "LeakyRelu", .in = {D(3, 4)}, .attrs = {AF("alpha", 0.125)}}, {.op = "Elu", .in = {D(3, 4)}},
    {.op = "Selu", .in = {D(3, 4)}}, {.op = "Celu", .in = {D(3, 4)}, .attrs = {AF("alpha", 0.5)}},
    {.op = "Sigmoid", .in = {D(3, 4)}}, {.op = "HardSigmoid", .in = {D(3, 4)}, .attrs = {AF("alpha", 0.625)}},
    {.op = "HardSwish", .in = {D(3, 4)}}, {.op = "Tanh", .in = {D(3, 4)}}, {.op = "Softplus", .in = {D(3, 4)}},
    {.op = "Softsign", .in = {D(3, 4)}}, {.op = "Gelu", .in = {D(3, 4)}},
    {.op = "Gelu", .in = {D(3, 4)}, .attrs = {AT("approximate", "tanh")}}, {.op = "Mish", .in = {D(3, 4)}},
    {.op = "Shrink", .in = {D(3, 4)}, .attrs = {AF("lambd", 0.25)}},
    {.op = "ThresholdedRelu", .in = {D(3, 4)}, .attrs = {AF("alpha", 0.25)}},
    {.op = "Clip", .in = {D(3, 4), S(-0.5), S(0.25)}}, {.op = "Clip", .in = {D(3, 4), NO, S(0.25)}},
    {.op = "Identity", .in = {D(3, 4)}}, {.op = "Cast", .in = {D(3, 4)}, .attrs = {AI("to", PARE_DOUBLE)}},
    {.op = "Dropout", .in = {D(3, 4)}}, {.op = "Floor", .in = {D(3, 4)}}, {.op = "Round", .in = {D(3, 4)}},
    {.op = "Sign", .in = {D(3, 4)}},
    /* elementwise, several */
    {.op = "Add", .in = {D(2, 3, 4), D(3, 1)}}, {.op = "Sub", .in = {D(4), D(2, 3, 4)}},
    {.op = "Mul", .in = {D(2, 3, 4), D(2, 1, 4)}}, {.op = "Div", .in = {D(2, 3, 4), P(3, 1)}},
    {.op = "Div", .in = {D(1, 4), P(2, 3, 4)}}, {.op = "Pow", .in = {P(3, 4), D(4)}},
    {.op = "Pow", .in = {D(3, 4), S(2)}}, {.op = "Max", .in = {D(3, 4), D(4), D(3, 1)}},
    {.op = "Min", .in = {D(3, 4), D(3, 4)}}, {.op = "Mean", .in = {D(3, 4), D(4)}}, {.op = "Sum", .in = {D(3, 4), D(4), D(1)}},
    {.op = "PRelu", .in = {D(2, 3, 4), D(3, 1)}},
    /* moves */
    {.op = "Reshape", .in = {D(2, 6), I(3, -1)}}, {.op = "Flatten", .in = {D(2, 3, 2)}},
    {.op = "Squeeze", .in = {D(2, 1, 3), I(1)}}, {.op = "Unsqueeze", .in = {D(2, 3), I(0, 3)}},
    {.op = "Transpose", .in = {D(2, 3, 4)}, .attrs = {AL("perm", 2, 0, 1)}}, {.op = "Transpose", .in = {D(2, 3, 4)}},
    {.op = "Concat", .in = {D(2, 3), D(2, 1), D(2, 2)}, .attrs = {AI("axis", 1)}},
    {.op = "Split", .in = {D(2, 5), I(2, 3)}, .attrs = {AI("axis", 1)}, .n_out = 2},
    {.op = "Slice", .in = {D(4, 6), I(1, -1), I(4, 0), I(0, 1), I(2, -2)}},
    {.op = "Slice", .in = {D(4, 6), I(1), I(3)}},
    {.op = "Gather", .in = {D(4, 3), I(2, 0, 2, -1)}, .attrs = {AI("axis", 0)}},
    {.op = "Gather", .in = {D(4, 3), I(2, 0)}, .attrs = {AI("axis", 1)}},
    {.op = "GatherElements", .in = {D(3, 2), {.dims = {2, 2}, .ndim = 2, IS(1, 0, 1, 2)}}, .attrs = {AI("axis", 0)}},
    {.op = "GatherND", .in = {D(3, 2, 2), {.dims = {2, 2}, .ndim = 2, IS(1, 0, 2, 1)}}},
    {.op = "ScatterElements", .in = {D(3, 2), {.dims = {1, 2}, .ndim = 2, IS(1, 2)}, D(1, 2)}, .attrs = {AI("axis", 0)}},
    {.op = "ScatterND", .in = {D(4, 2), {.dims = {2, 1}, .ndim = 2, IS(1, 3)}, D(2, 2)}},
    {.op = "Expand", .in = {D(3, 1), I(2, 3, 4)}}, {.op = "Tile", .in = {D(2, 3), I(2, 3)}},
    {.op = "Pad", .in = {D(2, 3), I(1, 0, 0, 2)}}, {.op = "Pad", .in = {D(3, 4), I(1, -1, 0, -1)}},
    {.op = "Resize", .in = {D(1, 1, 3, 4), NO, NO, I(1, 1, 6, 6)}, .attrs = {AT("mode", "linear")}},
    {.op = "Resize", .in = {D(1, 1, 4, 4), NO, NO, I(1, 1, 2, 3)}, .attrs = {AT("mode", "linear"), AI("antialias", 1)}},
    {.op = "Resize", .in = {D(1, 1, 3, 4), NO, NO, I(1, 1, 6, 8)}, .attrs = {AT("mode", "nearest")}},
    {.op = "Resize", .in = {D(1, 1, 3, 4), NO, NO, I(1, 1, 5, 5)}, .attrs = {AT("mode", "cubic")}},
    {.op = "DepthToSpace", .in = {D(1, 8, 2, 3)}, .attrs = {AI("blocksize", 2)}},
    {.op = "DepthToSpace", .in = {D(1, 8, 2, 3)}, .attrs = {AI("blocksize", 2), AT("mode", "CRD")}},
    {.op = "SpaceToDepth", .in = {D(1, 2, 4, 6)}, .attrs = {AI("blocksize", 2)}},
    {.op = "CumSum", .in = {D(3, 4), {.dims = {0}, .ndim = 0, IS(1)}}, .attrs = {AI("exclusive", 1)}},
    {.op = "Trilu", .in = {D(3, 4)}}, {.op = "TopK", .in = {D(3, 4), I(2)}, .n_out = 2},
    /* reductions */
    {.op = "ReduceSum", .in = {D(2, 3, 4), I(1)}}, {.op = "ReduceSum", .in = {D(2, 3)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceMean", .in = {D(2, 3, 4), I(0, 2)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceMax", .in = {D(2, 3, 4), I(2)}}, {.op = "ReduceMin", .in = {D(2, 3, 4), I(1)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceProd", .in = {P(2, 3), I(1)}}, {.op = "ReduceL1", .in = {D(2, 3), I(1)}},
    {.op = "ReduceL2", .in = {D(2, 3), I(1)}}, {.op = "ReduceSumSquare", .in = {D(2, 3), I(1)}},
    {.op = "ReduceLogSum", .in = {P(2, 3), I(1)}}, {.op = "ReduceLogSumExp", .in = {D(2, 3), I(1)}, .attrs = {AI("keepdims", 0)}},
    /* products */
    {.op = "MatMul", .in = {D(3, 4), D(4, 2)}}, {.op = "MatMul", .in = {D(2, 3, 4), D(4, 2)}},
    {.op = "MatMul", .in = {D(2, 3, 4), D(2, 4, 2)}}, {.op = "MatMul", .in = {D(2, 2, 3, 4), D(2, 4, 2)}},
    {.op = "MatMul", .in = {D(4), D(4, 2)}}, {.op = "MatMul", .in = {D(3, 4), D(4)}}, {.op = "MatMul", .in = {D(4), D(4)}},
    {.op = "Gemm", .in = {D(3, 4), D(4, 2), D(2)}}, {.op = "Gemm", .in = {D(4, 3), D(4, 2), D(3, 1)}, .attrs = {AI("transA", 1), AF("alpha", 0.5), AF("beta", 2)}},
    {.op = "Gemm", .in = {D(3, 4), D(2, 4)}, .attrs = {AI("transB", 1)}},
    {.op = "Gemm", .in = {D(4, 3), D(2, 4)}, .attrs = {AI("transA", 1), AI("transB", 1)}},
    {.op = "Einsum", .in = {D(2, 3, 4), D(2, 5, 4)}, .attrs = {AT("equation", "bij,bkj->bik")}},
    /* convolutions and pooling */
    {.op = "Conv", .in = {D(2, 2, 5, 5), D(4, 2, 3, 3), D(4)}, .attrs = {AL("pads", 1, 1, 1, 1), AL("strides", 2, 2)}},
    {.op = "Conv", .in = {D(1, 4, 5, 4), D(4, 1, 3, 3)}, .attrs = {AI("group", 4), AL("pads", 1, 0, 1, 2)}},
    {.op = "Conv", .in = {D(1, 4, 6, 5), D(6, 2, 2, 2), D(6)}, .attrs = {AI("group", 2), AL("dilations", 2, 2), AT("auto_pad", "SAME_UPPER")}},
    {.op = "Conv", .in = {D(2, 2, 7), D(3, 2, 3)}}, {.op = "Conv", .in = {D(1, 2, 3, 3, 3), D(2, 2, 2, 2, 2), D(2)}},
    {.op = "ConvTranspose", .in = {D(1, 3, 3, 3), D(3, 2, 3, 3), D(2)}, .attrs = {AL("strides", 2, 2), AL("pads", 1, 1, 1, 1), AL("output_padding", 1, 1)}},
    {.op = "ConvTranspose", .in = {D(1, 4, 3, 3), D(4, 1, 2, 2)}, .attrs = {AI("group", 2)}},
    {.op = "MaxPool", .in = {D(1, 2, 5, 5)}, .attrs = {AL("kernel_shape", 3, 3), AL("strides", 2, 2), AL("pads", 1, 1, 1, 1)}},
    {.op = "AveragePool", .in = {D(1, 2, 5, 5)}, .attrs = {AL("kernel_shape", 3, 3), AL("strides", 2, 2), AL("pads", 1, 1, 1, 1)}},
    {.op = "AveragePool", .in = {D(1, 2, 5, 5)}, .attrs = {AL("kernel_shape", 2, 2), AI("count_include_pad", 1), AL("pads", 1, 1, 0, 0)}},
    {.op = "GlobalAveragePool", .in = {D(2, 3, 2, 4)}}, {.op = "GlobalMaxPool", .in = {D(2, 3, 2, 4)}},
    /* normalisations */
    {.op = "BatchNormalization", .in = {D(2, 3, 2, 2), P(3), D(3), F(3), F(3)}},
    {.op = "BatchNormTrain", .domain = "ai.pare.grad", .in = {D(3, 2, 2, 2), P(2), D(2), F(2), F(2)}, .n_out = 5},
    {.op = "BatchNormTrain", .domain = "ai.pare.grad", .in = {D(4, 3), P(3), D(3), F(3), F(3)}, .attrs = {AI("relu", 1)}, .n_out = 5},
    {.op = "LayerNormalization", .in = {D(2, 3, 4), P(4), D(4)}}, {.op = "LayerNormalization", .in = {D(2, 3, 4), P(3, 4)}, .attrs = {AI("axis", 1)}},
    {.op = "InstanceNormalization", .in = {D(2, 3, 2, 3), P(3), D(3)}},
    {.op = "GroupNormalization", .in = {D(2, 4, 3), P(4), D(4)}, .attrs = {AI("num_groups", 2)}},
    {.op = "LRN", .in = {D(1, 5, 2, 2)}, .attrs = {AI("size", 3), AF("alpha", 0.5)}},
    {.op = "LpNormalization", .in = {D(3, 4)}}, {.op = "LpNormalization", .in = {D(3, 4)}, .attrs = {AI("p", 1), AI("axis", 0)}},
    {.op = "Softmax", .in = {D(3, 4)}}, {.op = "Softmax", .in = {D(2, 3, 4)}, .attrs = {AI("axis", 1)}},
    {.op = "LogSoftmax", .in = {D(3, 4)}},
    {.op = "SoftmaxCrossEntropyLoss", .in = {D(3, 4), I(1, 3, 0)}},
    {.op = "SoftmaxCrossEntropyLoss", .in = {D(3, 4), I(1, 3, 0)}, .attrs = {AT("reduction", "sum"), AI("ignore_index", 3)}},
    {.op = "SoftCrossEntropy", .domain = "ai.pare.grad", .in = {D(3, 4), F(3, 4)}},
    /* corners of the above */
    {.op = "Acosh", .in = {U(3, 4)}}, {.op = "Ceil", .in = {D(3, 4)}}, {.op = "CastLike", .in = {D(3, 4), F(1)}},
    {.op = "HardSigmoid", .in = {D(3, 4)}}, {.op = "LeakyRelu", .in = {D(3, 4)}},
    {.op = "Where", .in = {{.dims = {3, 1}, .ndim = 2, IS(1, 0, 1), .bools = true}, D(3, 4), D(4)}},
    {.op = "Where", .in = {{.dims = {2, 1, 4}, .ndim = 3, IS(1, 0, 1, 0, 0, 1, 1, 0), .bools = true}, D(3, 1), POINT}},
    {.op = "Mod", .in = {D(3, 4), P(4)}, .attrs = {AI("fmod", 1)}}, {.op = "Mod", .in = {U(4), P(3, 4)}, .attrs = {AI("fmod", 1)}},
    {.op = "Clip", .in = {D(3, 4), S(-0.5)}}, {.op = "Clip", .in = {D(3, 4)}},
    {.op = "Clip", .in = {D(3, 4), {.point = true, .plus = -0.5}, {.point = true, .plus = 0.5}}},
    {.op = "PRelu", .in = {D(2, 3, 2, 2), D(3, 1, 1)}}, {.op = "PRelu", .in = {D(2, 3), D(1)}}, {.op = "PRelu", .in = {D(2, 3), D(2, 3)}},
    {.op = "Pow", .in = {D(3, 4), S(3)}}, {.op = "Pow", .in = {D(3, 4), {.dims = {1}, .ndim = 1, IS(2)}}},
    {.op = "Pow", .in = {P(4), D(3, 1)}}, {.op = "Pow", .in = {D(3, 4), S(0)}}, {.op = "Max", .in = {D(3, 4)}},
    {.op = "Min", .in = {D(4), D(3, 4), POINT}}, {.op = "Sum", .in = {D(3, 4)}}, {.op = "Mul", .in = {D(3, 4), POINT}},
    {.op = "Sub", .in = {POINT, D(3, 4)}}, {.op = "Div", .in = {POINT, P(3, 4)}}, {.op = "Mean", .in = {D(4), D(3, 1), D(2, 1, 1)}},
    {.op = "Gemm", .in = {D(3, 4), D(4, 2), POINT}, .attrs = {AF("beta", 0.5)}}, {.op = "Gemm", .in = {D(3, 4), D(4, 2), D(1)}},
    {.op = "Gemm", .in = {D(3, 4), D(4, 2), D(3, 2)}, .attrs = {AF("alpha", 2)}},
    {.op = "Concat", .in = {D(1), D(2), D(1), D(2), D(1), D(1), D(1), D(1), D(3)}, .attrs = {AI("axis", 0)}},
    {.op = "Concat", .in = {D(2, 1), D(2, 2), D(2, 1), D(2, 1), D(2, 1), D(2, 1), D(2, 1), D(2, 1), D(2, 1), D(2, 1)}, .attrs = {AI("axis", -1)}},
    {.op = "Split", .in = {D(5, 2)}, .attrs = {AI("num_outputs", 2)}, .n_out = 2},
    {.op = "Split", .in = {D(2, 6)}, .attrs = {AI("num_outputs", 3), AI("axis", -1)}, .n_out = 3},
    {.op = "Squeeze", .in = {D(1, 2, 1, 3)}}, {.op = "Flatten", .in = {D(2, 3, 2)}, .attrs = {AI("axis", 2)}},
    {.op = "Reshape", .in = {D(2, 6), I(0, 3, 2)}}, {.op = "Expand", .in = {D(1), I(2, 3)}}, {.op = "Expand", .in = {POINT, I(2, 3)}},
    {.op = "Slice", .in = {D(4, 6), I(-2), I(100), I(-1)}}, {.op = "Slice", .in = {D(5, 3), I(-1), I(-100), I(0), I(-1)}},
    {.op = "Slice", .in = {D(5, 3), I(3), I(0), I(0), I(-2)}},
    {.op = "Gather", .in = {D(3, 4), {.dims = {0}, .ndim = 0, IS(2)}}, .attrs = {AI("axis", -1)}},
    {.op = "Gather", .in = {D(3, 2, 2), {.dims = {2, 2}, .ndim = 2, IS(1, 0, -1, 1)}}, .attrs = {AI("axis", 1)}},
    {.op = "GatherElements", .in = {D(3, 4), {.dims = {3, 2}, .ndim = 2, IS(1, -1, 1, 1, 3, 0)}}, .attrs = {AI("axis", -1)}},
    {.op = "GatherND", .in = {D(2, 3, 2), {.dims = {2, 1}, .ndim = 2, IS(2, 0)}}, .attrs = {AI("batch_dims", 1)}},
    {.op = "ScatterElements", .in = {D(3, 2), {.dims = {2, 2}, .ndim = 2, IS(1, 2, 1, 0)}, D(2, 2)}, .attrs = {AI("axis", 0), AT("reduction", "add")}},
    {.op = "ScatterElements", .in = {D(2, 3), {.dims = {2, 1}, .ndim = 2, IS(-1, 0)}, D(2, 1)}, .attrs = {AI("axis", -1)}},
    {.op = "ScatterND", .in = {D(4, 2), {.dims = {3, 1}, .ndim = 2, IS(1, 3, 1)}, D(3, 2)}, .attrs = {AT("reduction", "add")}},
    {.op = "Tile", .in = {D(2, 1, 3), I(1, 3, 2)}}, {.op = "Pad", .in = {D(2, 3, 2), I(1, 2), NO, I(-2)}},
    {.op = "Pad", .in = {D(2, 3), I(0, 1, 1, 0), S(7)}},
    {.op = "Resize", .in = {D(1, 2, 3, 3), NO, NO, I(1, 2, 5, 7)}, .attrs = {AT("mode", "linear"), AT("coordinate_transformation_mode", "align_corners")}},
    {.op = "Resize", .in = {D(1, 2, 3, 3), NO, NO, I(1, 2, 6, 6)}, .attrs = {AT("mode", "nearest"), AT("coordinate_transformation_mode", "asymmetric"), AT("nearest_mode", "floor")}},
    {.op = "Resize", .in = {D(1, 1, 4), NO, NO, I(1, 1, 7)}, .attrs = {AT("mode", "linear"), AT("coordinate_transformation_mode", "pytorch_half_pixel")}},
    {.op = "Resize", .in = {D(3, 4), NO, NO, I(5, 3)}, .attrs = {AT("mode", "cubic"), AF("cubic_coeff_a", -0.5), AI("exclude_outside", 1)}},
    {.op = "CumSum", .in = {D(3, 4), {.dims = {0}, .ndim = 0, IS(0)}}, .attrs = {AI("reverse", 1)}},
    {.op = "CumSum", .in = {D(2, 3), {.dims = {0}, .ndim = 0, IS(-1)}}, .attrs = {AI("reverse", 1), AI("exclusive", 1)}},
    {.op = "Trilu", .in = {D(2, 3, 4), {.dims = {0}, .ndim = 0, IS(-1)}}, .attrs = {AI("upper", 0)}},
    {.op = "TopK", .in = {D(4, 3), I(2)}, .attrs = {AI("axis", 0), AI("largest", 0)}, .n_out = 2},
    {.op = "ReduceProd", .in = {Z(4, 3, 5), I(1)}}, {.op = "ReduceProd", .in = {Z(3, 2, 5), I(1)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceProd", .in = {D(2, 3)}}, {.op = "ReduceSum", .in = {D(2, 3)}, .attrs = {AI("noop_with_empty_axes", 1), AI("keepdims", 0)}},
    {.op = "ReduceMean", .in = {D(2, 3)}, .attrs = {AI("keepdims", 0)}}, {.op = "ReduceMean", .in = {D(2, 3, 2), I(-1, 0)}},
    {.op = "ReduceMax", .in = {D(2, 3, 2), I(-1, 0)}, .attrs = {AI("keepdims", 0)}}, {.op = "ReduceMin", .in = {D(2, 3)}},
    {.op = "ReduceL2", .in = {D(2, 3)}, .attrs = {AI("keepdims", 0)}}, {.op = "ReduceL1", .in = {D(2, 3), I(0)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceSumSquare", .in = {D(2, 3, 2), I(0, -1)}, .attrs = {AI("keepdims", 0)}}, {.op = "ReduceLogSum", .in = {P(2, 3)}, .attrs = {AI("keepdims", 0)}},
    {.op = "ReduceLogSumExp", .in = {D(2, 3)}},
    {.op = "MatMul", .in = {D(2, 1, 3, 4), D(3, 4, 2)}}, {.op = "MatMul", .in = {D(2, 3, 4), D(4)}}, {.op = "MatMul", .in = {D(4), D(2, 4, 3)}},
    {.op = "MatMul", .in = {D(3, 4), D(2, 4, 2)}}, {.op = "MatMul", .in = {D(1, 3, 4), D(2, 4, 2)}},
    {.op = "Einsum", .in = {D(2, 3), D(3, 4), D(4, 2)}, .attrs = {AT("equation", "ij,jk,kl->il")}},
    {.op = "Einsum", .in = {D(2, 3)}, .attrs = {AT("equation", "ij->ji")}}, {.op = "Einsum", .in = {D(3), D(4)}, .attrs = {AT("equation", "i,j -> ij")}},
    {.op = "Conv", .in = {D(1, 2, 6, 5), D(2, 2, 3, 2), D(2)}, .attrs = {AT("auto_pad", "SAME_LOWER"), AL("strides", 2, 2)}},
    {.op = "Conv", .in = {D(1, 2, 6, 5), D(2, 2, 3, 2)}, .attrs = {AT("auto_pad", "VALID"), AL("strides", 2, 1)}},
    {.op = "Conv", .in = {D(1, 2, 8), D(2, 1, 3), D(2)}, .attrs = {AI("group", 2), AL("dilations", 2), AL("strides", 3), AL("pads", 2, 1)}},
    {.op = "Conv", .in = {F(2, 2, 4, 4), F(3, 2, 3, 3), D(3)}},
    {.op = "ConvTranspose", .in = {D(2, 2, 4), D(2, 3, 3), D(3)}, .attrs = {AL("strides", 2), AL("pads", 1, 0), AL("dilations", 2)}},
    {.op = "ConvTranspose", .in = {D(1, 2, 2, 2, 2), D(2, 1, 2, 2, 2), D(1)}, .attrs = {AL("strides", 2, 1, 1)}},
    {.op = "ConvTranspose", .in = {D(1, 4, 3, 2), D(4, 2, 2, 3), D(4)}, .attrs = {AI("group", 2), AL("strides", 3, 2), AL("output_padding", 2, 1)}},
    {.op = "ConvTranspose", .in = {F(1, 2, 3, 3), F(2, 2, 2, 2), D(2)}},
    {.op = "MaxPool", .in = {D(1, 2, 6, 5)}, .attrs = {AL("kernel_shape", 3, 2), AL("strides", 2, 2), AI("ceil_mode", 1)}},
    {.op = "MaxPool", .in = {D(1, 1, 7, 7)}, .attrs = {AL("kernel_shape", 2, 3), AL("dilations", 3, 2), AL("pads", 1, 1, 1, 1)}},
    {.op = "MaxPool", .in = {D(2, 2, 7)}, .attrs = {AL("kernel_shape", 3), AL("strides", 2), AT("auto_pad", "SAME_UPPER")}},
    {.op = "MaxPool", .in = {D(1, 1, 4, 3, 4)}, .attrs = {AL("kernel_shape", 2, 2, 2), AL("strides", 2, 1, 2)}},
    {.op = "MaxPool", .in = {D(1, 1, 5, 5)}, .attrs = {AL("kernel_shape", 2, 2)}, .n_out = 2},
    {.op = "AveragePool", .in = {D(1, 2, 6, 5)}, .attrs = {AL("kernel_shape", 3, 2), AL("strides", 2, 2), AI("ceil_mode", 1)}},
    {.op = "AveragePool", .in = {D(1, 1, 6, 6)}, .attrs = {AL("kernel_shape", 3, 3), AL("strides", 2, 2), AL("pads", 1, 1, 1, 1), AI("ceil_mode", 1), AI("count_include_pad", 1)}},
    {.op = "AveragePool", .in = {D(1, 1, 7, 6)}, .attrs = {AL("kernel_shape", 2, 2), AL("dilations", 2, 3)}},
    {.op = "AveragePool", .in = {D(2, 2, 7)}, .attrs = {AL("kernel_shape", 3), AT("auto_pad", "SAME_LOWER")}},
    {.op = "AveragePool", .in = {D(1, 1, 3, 4, 3)}, .attrs = {AL("kernel_shape", 2, 2, 2)}},
    {.op = "GlobalAveragePool", .in = {D(2, 3, 4)}}, {.op = "GlobalMaxPool", .in = {D(2, 3, 4)}},
    {.op = "BatchNormalization", .in = {D(4, 3), P(3), D(3), F(3), F(3)}}, {.op = "BatchNormalization", .in = {D(2, 2, 3), P(2), D(2), F(2), F(2)}, .attrs = {AF("epsilon", 0.5)}},
    {.op = "BatchNormTrain", .domain = "ai.pare.grad", .in = {D(2, 3, 4), P(3), D(3), F(3), F(3)}, .attrs = {AF("epsilon", 0.25), AF("momentum", 0.5)}, .n_out = 5},
    {.op = "LayerNormalization", .in = {D(2, 3, 4), P(1)}}, {.op = "LayerNormalization", .in = {D(2, 3, 4), P(1), D(4)}},
    {.op = "LayerNormalization", .in = {D(2, 3, 4), P(3, 1), D(1, 4)}, .attrs = {AI("axis", 1)}},
    {.op = "LayerNormalization", .in = {D(2, 3, 4), P(4), D(3, 4)}, .attrs = {AI("axis", -2), AF("epsilon", 0.1)}},
    {.op = "LayerNormalization", .in = {D(2, 3, 4), P(2, 3, 4), D(2, 3, 4)}, .attrs = {AI("axis", 0)}},
    {.op = "InstanceNormalization", .in = {D(2, 3, 4), P(3), D(3)}, .attrs = {AF("epsilon", 0.1)}},
    {.op = "LRN", .in = {D(1, 6, 2)}, .attrs = {AI("size", 4), AF("alpha", 0.5), AF("beta", 0.5), AF("bias", 2)}},
    {.op = "Softmax", .in = {D(3, 4)}, .attrs = {AI("axis", 0)}}, {.op = "LogSoftmax", .in = {D(2, 3, 2)}, .attrs = {AI("axis", 0)}},
    {.op = "LogSoftmax", .in = {D(2, 3, 2)}, .attrs = {AI("axis", -2)}},
    {.op = "SoftmaxCrossEntropyLoss", .in = {D(2, 3, 2), {.dims = {2, 2}, .ndim = 2, IS(1, 2, 0, 2)}}, .attrs = {AI("ignore_index", 0)}},
    {.op = "DropoutTrain", .domain = "ai.pare.grad", .in = {D(3, 4), {.dims = {0}, .ndim = 0, IS(5)}}, .attrs = {AF("ratio", 0.5), AI("seed", 3)}},
};
/* clang-format on */
enum { N_RULES = sizeof rules / sizeof *rules };

/* ---- making a net of one op: loss = sum(r * y) ---- */

static void set_attrs(pare_model *m, uint32_t node, const rule *r) {
    for (int i = 0; i < MOST && r->attrs[i].name; i++) {
        const attr *a = &r->attrs[i];
        if (a->kind == A_INT) pare_attr_set_int(m, node, a->name, a->i[0]);
        if (a->kind == A_FLOAT) pare_attr_set_float(m, node, a->name, (float)a->f);
        if (a->kind == A_TEXT) pare_attr_set_string(m, node, a->name, a->s, strlen(a->s));
        if (a->kind == A_INTS) pare_attr_set_ints(m, node, a->name, a->i, (size_t)a->n);
    }
}

static uint64_t size_of(const input *in) {
    uint64_t n = 1;
    for (int i = 0; i < in->ndim; i++) n *= (uint64_t)in->dims[i];
    return n;
}

/* Away from multiples of 1/4, where rules have their kinks, and from each other. */
static double number_at(uint64_t i, uint64_t seed, bool positive) {
    double v = ((double)((i * 37 + seed * 11 + 5) % 97) / 97.0 - 0.5) * 1.8;
    if (fabs(v * 4 - rint(v * 4)) < 0.05) v += 0.03;
    return positive ? fabs(v) + 0.3 : v;
}

typedef struct net {
    pare_model *m;
    uint32_t wrt[MOST], grads[MOST];
    int from[MOST], n; /* which input each is of */
    pare_array *in[MOST];
} net;

static uint32_t add(net *t, const char *op, const char *domain, const char *out, const uint32_t *in, size_t n) {
    uint32_t id = pare_node_add(t->m, PARE_MAIN_GRAPH, 0, op, domain, out, in, n, &out, 1);
    return pare_model_node(t->m, id)->out[0];
}

static void make(net *t, const rule *r) {
    uint32_t in[MOST] = {0}, n_in = 0;
    char name[16];
    *t = (net){.m = net_new(21)};
    pare_model_opset_set(t->m, "ai.pare.grad", 1);
    for (int i = 0; i < MOST; i++) {
        const input *x = &r->in[i];
        bool given = x->ndim > 0 || x->ints || x->scalar || x->point;
        if (x->ndim < 0 || !given) continue;
        n_in = (uint32_t)i + 1;
        snprintf(name, sizeof name, "x%d", i);
        if (x->bools) {
            unsigned char bytes[64];
            for (uint64_t k = 0; k < size_of(x); k++) bytes[k] = (unsigned char)x->ints[k];
            net_tensor(t->m, name, PARE_BOOL, (size_t)x->ndim, x->dims, bytes);
        } else if (x->ints) {
            net_tensor(t->m, name, PARE_INT64, (size_t)x->ndim, x->dims, x->ints);
        } else if (x->scalar) {
            net_tensor(t->m, name, PARE_DOUBLE, 0, NULL, &x->at);
        } else {
            pare_dim dims[5];
            for (int k = 0; k < x->ndim; k++) dims[k] = (pare_dim){.value = x->dims[k]};
            t->in[t->n] = pare_array_new(PARE_DOUBLE, (size_t)x->ndim, x->dims);
            double *to = pare_array_data_mut(t->in[t->n]);
            for (uint64_t k = 0; k < size_of(x); k++) {
                to[k] = number_at(k, (uint64_t)i, x->positive) + x->plus;
                if (x->zero_each && k % (uint64_t)x->zero_each == 0) to[k] = 0;
            }
            net_input(t->m, name, PARE_DOUBLE, x->ndim, dims);
            t->wrt[t->n] = x->frozen ? 0 : net_value(t->m, name);
            t->from[t->n++] = i;
        }
        in[i] = net_value(t->m, name);
    }
    const char *outs[] = {"y", "y1", "y2", "y3", "y4"};
    uint32_t node = pare_node_add(t->m, PARE_MAIN_GRAPH, 0, r->op, r->domain ? r->domain : "", "op", in, n_in, outs,
                                  r->n_out ? (size_t)r->n_out : 1);
    set_attrs(t->m, node, r);
    assert_int_equal(pare_model_infer(t->m, NULL), PARE_OK);
    const pare_value *y = pare_model_value(t->m, net_value(t->m, "y"));
    int64_t dims[8];
    uint64_t n = 1;
    assert_true(y->ndim >= 0 && y->ndim <= 8);
    for (int32_t i = 0; i < y->ndim; i++) n *= (uint64_t)(dims[i] = y->dims[i].value);
    double weights[512];
    assert_true(n <= 512);
    for (uint64_t i = 0; i < n; i++) weights[i] = number_at(i, 7, false) + 0.1;
    net_tensor(t->m, "r", PARE_DOUBLE, (size_t)y->ndim, dims, weights);
    uint32_t product = add(t, "Mul", "", "p", (uint32_t[]){y->id, net_value(t->m, "r")}, 2);
    uint32_t loss = add(t, "ReduceSum", "", "loss", &product, 1);
    pare_attr_set_int(t->m, pare_model_value(t->m, loss)->producer, "keepdims", 0);
    pare_graph_output_add(t->m, PARE_MAIN_GRAPH, loss);
}

static void drop(net *t) {
    for (int i = 0; i < t->n; i++) pare_array_unref(t->in[i]);
    pare_model_free(t->m);
}

static double run_loss(pare_session *s, net *t) {
    pare_array *out[1] = {NULL};
    assert_int_equal(pare_session_run(s, t->in, NULL, out), PARE_OK);
    double v = *(const double *)pare_array_data(out[0]);
    pare_array_unref(out[0]);
    return v;
}

static void check(const rule *r, int device) {
    net t;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    make(&t, r);
    pare_session_opts o = net_opts(device);
    pare_session *s = NULL, *g = NULL;
    pare_status st = pare_session_open(t.m, &o, d, &s);
    if (st) print_error("%s: %s\n", r->op, pare_diags_count(d) ? pare_diags_get(d, 0)->message : "?");
    assert_int_equal(st, PARE_OK);
    uint32_t wrt[MOST], grads[MOST];
    size_t n = 0;
    for (int i = 0; i < t.n; i++)
        if (t.wrt[i]) wrt[n++] = t.wrt[i];
    pare_model *m = pare_model_clone(t.m);
    st = pare_grad_build(m, net_value(m, "loss"), wrt, n, d, grads);
    if (st) print_error("%s: %s\n", r->op, pare_diags_count(d) ? pare_diags_get(d, 0)->message : "?");
    assert_int_equal(st, PARE_OK);
    const char *names[MOST];
    for (size_t i = 0; i < n; i++) {
        if (!grads[i]) print_error("%s: no gradient by input %zu\n", r->op, i);
        assert_true(grads[i] != 0);
        names[i] = pare_model_value(m, grads[i])->name;
    }
    o.fetches = names;
    o.n_fetches = n;
    st = pare_session_open(m, &o, d, &g);
    pare_array *out[MOST] = {NULL};
    if (!st) st = pare_session_run(g, t.in, d, out);
    if (st)
        print_error("%s: %s\n", r->op, pare_diags_count(d) ? pare_diags_get(d, pare_diags_count(d) - 1)->message : "?");
    assert_int_equal(st, PARE_OK);
    for (int i = 0, at = 0; i < t.n; i++) {
        if (!t.wrt[i]) continue;
        const double *got = pare_array_data(out[at]);
        double *x = pare_array_data_mut(t.in[i]);
        assert_int_equal(out[at]->count, t.in[i]->count);
        assert_int_equal(out[at]->ndim, t.in[i]->ndim);
        for (uint64_t k = 0; k < t.in[i]->count; k++) {
            double was = x[k], h = 1e-5;
            x[k] = was + h;
            double up = run_loss(s, &t);
            x[k] = was - h;
            double down = run_loss(s, &t);
            x[k] = was;
            double want = (up - down) / (2 * h);
            if (fabs(got[k] - want) > 1e-7 * (1 + fabs(want))) {
                print_error("%s on device %d: by input %d, element %d: %.10g, differences say %.10g\n", r->op, device,
                            t.from[i], (int)k, got[k], want);
                fail();
            }
        }
        pare_array_unref(out[at++]);
    }
    pare_session_close(s);
    pare_session_close(g);
    pare_model_free(m);
    drop(&t);
    pare_diags_free(d);
}

static void every_rule(void **state) {
    (void)state;
    for (size_t i = 0; i < N_RULES; i++) check(&rules[i], NET_NEAR);
}

static void every_rule_far_away(void **state) {
    (void)state;
    for (size_t i = 0; i < N_RULES; i++) check(&rules[i], NET_FAR);
}

/* ---- the table ---- */

/* The engine's list of ops, those that can be differentiated. Upsample is lowered to Resize before. */
static void every_differentiable_op_has_a_rule(void **state) {
    (void)state;
    static const char *const ops[] = {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "Relu",
        "LayerNormalization",
        "LeakyRelu",
        "PRelu",
        "InstanceNormalization",
        "Elu",
        "GroupNormalization",
        "Selu",
        "Clip",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Erf",
        "Gelu",
        "Softplus",
        "Mish",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Sqrt",
        "Exp",
        "Log",
        "Neg",
        "Abs",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Min",
        "Max",
        "Mean",
        "Sum",
        "Where",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "Softmax",
        "LogSoftmax",
        "Flatten",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Split",
        "Slice",
        "Gather",
        "Expand",
        "Tile",
        "Pad",
        "Resize",
        "DepthToSpace",
        "SpaceToDepth",
        "Cast",
        "Identity",
        "Dropout",
        "LRN",
        "TopK",
        "Einsum",
        "CumSum",
        "GatherElements",
        "GatherND",
        "ScatterND",
        "Trilu",
        "Mod",
        "Sin",
        "Cos",
        "ScatterElements",
        "Softsign",
        "Celu",
        "Shrink",
        "ThresholdedRelu",
        "SoftmaxCrossEntropyLoss",
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        bool tested = false;
        for (size_t k = 0; k < N_RULES && !tested; k++) tested = strcmp(rules[k].op, ops[i]) == 0;
        if (!pare_grad_has("", ops[i])) fail_msg("%s has no gradient", ops[i]);
        if (!tested) fail_msg("%s has no case above", ops[i]);
    }
}

static pare_status gradient_of(pare_model *m, const char *by, pare_diags *d, uint32_t *grad) {
    uint32_t wrt = net_value(m, by);
    uint32_t loss = pare_model_node(m, net1(m, "ReduceSum", "loss", "y"))->out[0];
    pare_attr_set_int(m, pare_model_value(m, loss)->producer, "keepdims", 0);
    return pare_grad_build(m, loss, &wrt, 1, d, grad);
}

/* What a rule does not cover is refused by name; nothing is lost in silence. */
static void what_has_no_gradient_is_refused(void **state) {
    (void)state;
    static const pare_dim dims[] = {{2, NULL}, {4, NULL}};
    static const int64_t four[] = {4}, pads[] = {0, 1, 0, 1};
    for (int k = 0; k < 5; k++) {
        pare_model *m = net_new(21);
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        const char *word = "", *outs[] = {"z", "mean"};
        uint32_t grad;
        net_input(m, "x", PARE_FLOAT, 2, dims);
        net_floats(m, "w", 1, four, 1);
        net_tensor(m, "pads", PARE_INT64, 1, four, pads);
        if (k == 0) { /* a second output that takes part */
            uint32_t in[] = {net_value(m, "x"), net_value(m, "w")};
            pare_node_add(m, PARE_MAIN_GRAPH, 0, "LayerNormalization", "", "z", in, 2, outs, 2);
            net2(m, "Mul", "y", "z", "mean");
            word = "output 1";
        } else if (k == 1) {
            pare_attr_set_string(m, net2(m, "Pad", "y", "x", "pads"), "mode", "reflect", 7);
            word = "constant";
        } else if (k == 2) { /* an op without a rule */
            net1(m, "Det", "y", "x");
            pare_value_type_set(m, net_value(m, "y"), PARE_FLOAT, 2, dims);
            word = "Det";
        } else if (k == 3) { /* an input that a rule does not know */
            uint32_t in[] = {net_value(m, "w"), net_value(m, "pads"), 0};
            net_tensor(m, "axis", PARE_INT64, 0, NULL, &(int64_t){0});
            in[2] = pare_model_node(m, net2(m, "Gather", "one", "x", "axis"))->out[0];
            net1(m, "ReduceSum", "point", "one");
            in[2] = net_value(m, "point");
            const char *y = "y";
            int64_t two[] = {1, 1};
            net_tensor(m, "two", PARE_INT64, 1, (int64_t[]){2}, two);
            in[1] = net_value(m, "two");
            pare_node_add(m, PARE_MAIN_GRAPH, 0, "Pad", "", "y", in, 3, &y, 1);
            word = "input 2";
        } else { /* what is not reached is no error: there is no gradient */
            net1(m, "Relu", "y", "w");
        }
        pare_status st = gradient_of(m, "x", d, &grad);
        if (k == 4) {
            assert_int_equal(st, PARE_OK);
            assert_int_equal(grad, 0);
        } else {
            assert_int_equal(st, PARE_EUNSUPPORTED);
            if (!strstr(pare_diags_get(d, 0)->message, word))
                fail_msg("\"%s\" does not say \"%s\"", pare_diags_get(d, 0)->message, word);
        }
        pare_diags_free(d);
        pare_model_free(m);
    }
}

static bool makes(const pare_model *m, const char *op) {
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && strcmp(m->nodes.data[i]->op_type, op) == 0) return true;
    return false;
}

/* Frozen tensors cost nothing: of a convolution's three gradients only those asked for are made. */
static void only_what_is_asked_for_is_made(void **state) {
    (void)state;
    static const pare_dim dims[] = {{2, NULL}, {2, NULL}, {5, NULL}, {5, NULL}};
    static const int64_t w[] = {3, 2, 3, 3}, b[] = {3};
    static const char *const by[] = {"x", "w", "b"};
    for (int k = 0; k < 3; k++) {
        pare_model *m = net_new(21);
        uint32_t grad;
        net_input(m, "x", PARE_FLOAT, 4, dims);
        net_floats(m, "w", 4, w, 1);
        net_floats(m, "b", 1, b, 2);
        net_node(m, "Conv", "c", 3, "x", "w", "b");
        net1(m, "Relu", "y", "c");
        assert_int_equal(gradient_of(m, by[k], NULL, &grad), PARE_OK);
        assert_true(grad != 0);
        assert_int_equal(makes(m, "ConvGradInput"), k == 0);
        assert_int_equal(makes(m, "ConvGradWeight"), k == 1);
        pare_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule),
        cmocka_unit_test(every_rule_far_away),
        cmocka_unit_test(every_differentiable_op_has_a_rule),
        cmocka_unit_test(what_has_no_gradient_is_refused),
        cmocka_unit_test(only_what_is_asked_for_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
