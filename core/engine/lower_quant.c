/* engine/lower_quant.c - ops that take and give 8-bit numbers, spelled out: DequantizeLinear, the op, QuantizeLinear.
 *
 * QLinearConv and QLinearMatMul of ai.onnx, and what ONNX Runtime's quantizer writes in its own domain. One path then
 * serves all of them (steps_quant.c). Source: ONNX's operator specification, ONNX Runtime's ContribOperators.md. May
 * use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <string.h>

/* ---- parts ---- */

/* Its constant float32 numbers; NULL: not constant, or others. */
static const float *floats(pare_lowering *l, uint32_t value, uint64_t *n) {
    return pare_lower_const_data(l, value, PARE_FLOAT, n);
}

/* A DequantizeLinear before n. axis < 0: one scale for all. */
static uint32_t read_codes(pare_lowering *l, const pare_node *n, const char *what, uint32_t x, uint32_t scale,
                           uint32_t zero, int32_t axis) {
    const uint32_t in[] = {x, scale, zero};
    uint32_t out = pare_lower_before(l, n, "DequantizeLinear", what, in, zero ? 3 : 2);
    if (axis >= 0) pare_lower_made_int(l, out, "axis", axis);
    return out;
}

/* Reads inputs i, i + 1 and i + 2: numbers, scale, zero point. */
static uint32_t read_at(pare_lowering *l, const pare_node *n, const char *what, uint32_t i, int32_t axis) {
    uint64_t count = 0;
    uint32_t scale = pare_lower_in(n, i + 1);
    pare_tensor *t = pare_lower_const(l, scale);
    if (t) count = t->count;
    return read_codes(l, n, what, pare_lower_in(n, i), scale, pare_lower_in(n, i + 2), count > 1 ? axis : -1);
}

/* All attributes but those of a name in `but` (NULL-terminated). */
static void copy_attrs(pare_lowering *l, const pare_node *from, uint32_t value, const char *const *but) {
    const pare_value *v = pare_model_value(l->m, value);
    for (uint32_t i = 0; v && i < from->n_attrs; i++) {
        const pare_attr *a = &from->attrs[i];
        bool skip = false;
        for (size_t k = 0; but[k]; k++) skip = skip || strcmp(but[k], a->name) == 0;
        if (skip) continue;
        if (a->type == PARE_ATTR_INT) pare_attr_set_int(l->m, v->producer, a->name, a->i);
        if (a->type == PARE_ATTR_FLOAT) pare_attr_set_float(l->m, v->producer, a->name, a->f);
        if (a->type == PARE_ATTR_INTS) pare_attr_set_ints(l->m, v->producer, a->name, a->ints, a->n);
        if (a->type == PARE_ATTR_STRING) pare_attr_set_string(l->m, v->producer, a->name, a->s.data, a->s.len);
    }
}

/* n becomes the rounding of `real`, with inputs i and i + 1 as scale and zero point. */
static void round_to(pare_lowering *l, pare_node *n, uint32_t real, uint32_t i) {
    const uint32_t in[] = {real, pare_lower_in(n, i), pare_lower_in(n, i + 1)};
    pare_lower_become(l, n, "QuantizeLinear", in, in[2] ? 3 : 2);
    n->domain = "";
}

/* An int32 bias read with the product of two scales, times `factor`. 0: they are not constant, or don't fit. */
static uint32_t read_bias(pare_lowering *l, const pare_node *n, uint32_t bias, uint32_t x_scale, uint32_t w_scale,
                          float factor) {
    uint64_t nx, nw;
    const float *x = floats(l, x_scale, &nx), *w = floats(l, w_scale, &nw);
    const pare_tensor *t = pare_lower_const(l, bias);
    if (!x || !w || nx != 1 || !nw || !t || !t->ndim) return 0;
    float *both = pare_arena_alloc(&l->m->arena, (size_t)nw * sizeof *both);
    for (uint64_t i = 0; i < nw; i++) both[i] = x[0] * factor * w[i];
    uint32_t scale = pare_lower_floats(l, n, "bias_scale", both, (size_t)nw);
    return scale ? read_codes(l, n, "bias", bias, scale, 0, nw > 1 ? (int32_t)t->ndim - 1 : -1) : 0;
}

/* Are all of these inputs, where they are there, constant float32 numbers? */
static bool constants(pare_lowering *l, const pare_node *n, const uint32_t *slots, size_t count) {
    uint64_t ignored;
    for (size_t i = 0; i < count; i++)
        if (!floats(l, pare_lower_in(n, slots[i]), &ignored)) return false;
    return true;
}

/* ---- ai.onnx ---- */

static const char *const no_names[] = {NULL};

/* (x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B). One whose scales are no constants
 * stays: it has a kernel of its own. */
static void qlinear_conv(pare_lowering *l, pare_node *n, const char *op, int32_t axis) {
    static const uint32_t scales[] = {1, 4, 6};
    uint32_t in[3] = {0}, bias = pare_lower_in(n, 8);
    if (!constants(l, n, scales, 3) || !pare_lower_const(l, pare_lower_in(n, 3))) return;
    if (bias && !(in[2] = read_bias(l, n, bias, pare_lower_in(n, 1), pare_lower_in(n, 4), 1))) return;
    in[0] = read_at(l, n, "x", 0, -1);
    in[1] = read_at(l, n, "w", 3, axis);
    uint32_t y = pare_lower_before(l, n, op, "real", in, bias ? 3 : 2);
    copy_attrs(l, n, y, no_names);
    round_to(l, n, y, 6);
}

void pare_lower_rule_qlinear_conv(pare_lowering *l, pare_node *n) { qlinear_conv(l, n, "Conv", 0); }

/* (a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point) */
void pare_lower_rule_qlinear_matmul(pare_lowering *l, pare_node *n) {
    static const uint32_t scales[] = {1, 4, 6};
    const pare_tensor *b = pare_lower_const(l, pare_lower_in(n, 3));
    uint64_t na, nb;
    if (!constants(l, n, scales, 3)) return;
    (void)floats(l, pare_lower_in(n, 1), &na);
    (void)floats(l, pare_lower_in(n, 4), &nb);
    if (na != 1 || (nb != 1 && (!b || b->ndim != 2 || (int64_t)nb != b->dims[1]))) return;
    const uint32_t in[] = {read_at(l, n, "a", 0, -1), read_at(l, n, "b", 3, 1)};
    round_to(l, n, pare_lower_before(l, n, "MatMul", "real", in, 2), 6);
}

/* ---- com.microsoft ---- */

/* (A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point) */
static void binary(pare_lowering *l, pare_node *n, const char *op) {
    const uint32_t in[] = {read_at(l, n, "a", 0, -1), read_at(l, n, "b", 3, -1)};
    round_to(l, n, pare_lower_before(l, n, op, "real", in, 2), 6);
}

/* (X, X_scale, X_zero_point, Y_scale, Y_zero_point) */
static void unary(pare_lowering *l, pare_node *n, const char *op) {
    static const char *const but[] = {"channels_last", NULL};
    if (pare_node_attr_int(n, "channels_last", 0)) {
        pare_lower_refuse(l, n, NULL, "it takes channels last, which nothing else of the model says");
        return;
    }
    uint32_t x = read_at(l, n, "x", 0, -1), y = pare_lower_before(l, n, op, "real", &x, 1);
    copy_attrs(l, n, y, but);
    round_to(l, n, y, 3);
}

/* Before opset 13 it worked on all dims from `axis` on. */
static void softmax(pare_lowering *l, pare_node *n) {
    int64_t axis = pare_node_attr_int(n, "axis", -1);
    uint32_t x = read_at(l, n, "x", 0, -1);
    bool flat = pare_node_attr_int(n, "opset", 13) < 13 && axis != -1;
    uint32_t in[] = {x, 0}, y;
    if (flat) {
        in[1] = pare_lower_before(l, n, "Shape", "shape", &x, 1);
        in[0] = pare_lower_before(l, n, "Flatten", "flat", &x, 1);
        pare_lower_made_int(l, in[0], "axis", axis);
    }
    y = pare_lower_before(l, n, "Softmax", "real", in, 1);
    pare_lower_made_int(l, y, "axis", flat ? 1 : axis);
    in[0] = y;
    if (flat) y = pare_lower_before(l, n, "Reshape", "back", in, 2);
    round_to(l, n, y, 3);
}

/* (Y_scale, Y_zero_point, then X, X_scale, X_zero_point of each part) */
static void concat(pare_lowering *l, pare_node *n) {
    uint32_t parts = n->n_in < 2 ? 0 : (n->n_in - 2) / 3;
    uint32_t *in = pare_arena_alloc(&l->m->arena, (parts + 1) * sizeof *in);
    if (n->n_in != 2 + 3 * parts || !parts) {
        pare_lower_bad(l, n, "it has %u inputs: two and three for each part are needed", n->n_in);
        return;
    }
    for (uint32_t i = 0; i < parts; i++) in[i] = read_at(l, n, "part", 2 + 3 * i, -1);
    uint32_t y = pare_lower_before(l, n, "Concat", "real", in, parts);
    copy_attrs(l, n, y, no_names);
    round_to(l, n, y, 0);
}

/* (A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point); without y_scale: floats. */
static void gemm(pare_lowering *l, pare_node *n) {
    static const char *const but[] = {"alpha", NULL};
    float alpha = pare_node_attr_float(n, "alpha", 1);
    uint32_t in[3] = {0}, bias = pare_lower_in(n, 6), scale = pare_lower_in(n, 1);
    bool turned = pare_node_attr_int(n, "transB", 0) != 0;
    if (bias && !(in[2] = read_bias(l, n, bias, scale, pare_lower_in(n, 4), alpha))) {
        pare_lower_refuse(l, n, NULL, "its bias and the scales of A and B have to be constants");
        return;
    }
    if (alpha != 1) {
        uint32_t factor = pare_lower_float(l, n, "alpha", alpha, PARE_FLOAT);
        scale = pare_lower_before(l, n, "Mul", "a_scale", (uint32_t[]){scale, factor}, 2);
    }
    in[0] = read_codes(l, n, "a", pare_lower_in(n, 0), scale, pare_lower_in(n, 2), -1);
    in[1] = read_at(l, n, "b", 3, turned ? 0 : 1);
    if (pare_lower_in(n, 7)) {
        uint32_t y = pare_lower_before(l, n, "Gemm", "real", in, bias ? 3 : 2);
        copy_attrs(l, n, y, but);
        round_to(l, n, y, 7);
        return;
    }
    int64_t ta = pare_node_attr_int(n, "transA", 0);
    pare_lower_become(l, n, "Gemm", in, bias ? 3 : 2);
    pare_attr_set_int(l->m, n->id, "transA", ta);
    pare_attr_set_int(l->m, n->id, "transB", turned);
    n->domain = "";
}

/* Reduced axes are an attribute there. */
static void reduce_mean(pare_lowering *l, pare_node *n) {
    const pare_attr *axes = pare_lower_attr_ints(n, "axes");
    uint32_t in[2] = {read_at(l, n, "x", 0, -1), axes ? pare_lower_ints(l, n, "axes", axes->ints, axes->n) : 0};
    uint32_t y = pare_lower_before(l, n, "ReduceMean", "real", in, axes ? 2 : 1);
    pare_lower_made_int(l, y, "keepdims", pare_node_attr_int(n, "keepdims", 1));
    round_to(l, n, y, 3);
}

static bool is(const pare_node *n, const char *op) { return strcmp(n->op_type, op) == 0; }

void pare_lower_microsoft(pare_lowering *l, pare_node *n) {
    static const char *const unaries[][2] = {{"QLinearGlobalAveragePool", "GlobalAveragePool"},
                                             {"QLinearAveragePool", "AveragePool"},
                                             {"QLinearLeakyRelu", "LeakyRelu"},
                                             {"QLinearSigmoid", "Sigmoid"}};
    for (size_t i = 0; i < sizeof unaries / sizeof *unaries; i++)
        if (is(n, unaries[i][0])) {
            unary(l, n, unaries[i][1]);
            return;
        }
    if (is(n, "QLinearAdd")) binary(l, n, "Add");
    if (is(n, "QLinearMul")) binary(l, n, "Mul");
    if (is(n, "QLinearConcat")) concat(l, n);
    if (is(n, "QLinearSoftmax")) softmax(l, n);
    if (is(n, "QLinearReduceMean")) reduce_mean(l, n);
    if (is(n, "QLinearConvTranspose")) qlinear_conv(l, n, "ConvTranspose", 1);
    if (is(n, "QGemm")) gemm(l, n);
    if (is(n, "QuantizeLinear") || is(n, "DequantizeLinear")) n->domain = "";
}
