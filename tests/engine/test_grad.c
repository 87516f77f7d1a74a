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

enum { MOST = 6 };

/* An input: dims; or numbers that don't change. */
typedef struct input {
    int64_t dims[5];
    int ndim;            /* -1: absent */
    const int64_t *ints; /* constant int64 of dims[0] elements */
    double at;           /* a constant float scalar, where `scalar` */
    bool scalar, positive, frozen;
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
        bool given = x->ndim > 0 || x->ints || x->scalar;
        if (x->ndim < 0 || !given) continue;
        n_in = (uint32_t)i + 1;
        snprintf(name, sizeof name, "x%d", i);
        if (x->ints) {
            net_tensor(t->m, name, PARE_INT64, (size_t)x->ndim, x->dims, x->ints);
        } else if (x->scalar) {
            net_tensor(t->m, name, PARE_DOUBLE, 0, NULL, &x->at);
        } else {
            pare_dim dims[5];
            for (int k = 0; k < x->ndim; k++) dims[k] = (pare_dim){.value = x->dims[k]};
            t->in[t->n] = pare_array_new(PARE_DOUBLE, (size_t)x->ndim, x->dims);
            double *to = pare_array_data_mut(t->in[t->n]);
            for (uint64_t k = 0; k < size_of(x); k++) to[k] = number_at(k, (uint64_t)i, x->positive);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule),
        cmocka_unit_test(every_rule_far_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
