/* engine/lower_newer.c - what came after PARE_ENGINE_OPSET: attributes and ops whose meaning can be had with older ops.
 *
 * Widened dtypes alone need no rule here. Source: ONNX's Changelog, opsets 22 to 28. May use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <stdlib.h>

/* Cast and CastLike 24: round_mode is about float8e8m0 alone, and `up` where it says nothing. */
void pare_lower_rule_cast_round(pare_lowering *l, pare_node *n) {
    bool to_e8m0 = pare_node_attr_int(n, "to", pare_lower_dtype(l, pare_lower_in(n, 1))) == PARE_FLOAT8E8M0;
    if (to_e8m0 && pare_node_attr(n, "round_mode") && !pare_lower_attr_is(n, "round_mode", "up"))
        pare_lower_refuse(l, n, NULL, "it rounds to float8_e8m0 in a mode other than up, which came with opset 24");
    else
        pare_attr_del(l->m, n->id, "round_mode");
}

/* The value as `dtype`, by a Cast unless it is so already. */
static uint32_t as(pare_lowering *l, const pare_node *n, const char *what, uint32_t value, uint32_t dtype) {
    return !value || pare_lower_dtype(l, value) == dtype ? value : pare_lower_cast(l, n, what, value, dtype);
}

/* QuantizeLinear 23: data and scale may differ in dtype; it divides in `precision`, else in the scale's. */
void pare_lower_rule_quantize(pare_lowering *l, pare_node *n) {
    uint32_t x = pare_lower_in(n, 0), scale = pare_lower_in(n, 1);
    int64_t precision = pare_node_attr_int(n, "precision", 0);
    if (!precision) precision = pare_lower_dtype(l, scale);
    pare_attr_del(l->m, n->id, "precision");
    if (!precision) return; /* as little is known as before 23, where both had to be the same */
    pare_lower_input(l, n, 0, as(l, n, "data", x, (uint32_t)precision));
    pare_lower_input(l, n, 1, as(l, n, "scale", scale, (uint32_t)precision));
}

/* DequantizeLinear 23: output_dtype is also what it multiplies in; before, both were the scale's. */
void pare_lower_rule_dequantize(pare_lowering *l, pare_node *n) {
    int64_t dtype = pare_node_attr_int(n, "output_dtype", 0);
    pare_attr_del(l->m, n->id, "output_dtype");
    if (dtype) pare_lower_input(l, n, 1, as(l, n, "scale", pare_lower_in(n, 1), (uint32_t)dtype));
}

/* Range 27: float16 and bfloat16 are counted in stash_type. */
void pare_lower_rule_range(pare_lowering *l, pare_node *n) {
    uint32_t dtype = pare_lower_dtype(l, pare_lower_in(n, 0));
    int64_t stash = pare_node_attr_int(n, "stash_type", PARE_FLOAT);
    pare_attr_del(l->m, n->id, "stash_type");
    if ((dtype != PARE_FLOAT16 && dtype != PARE_BFLOAT16) || stash == dtype) return;
    static const char *const names[] = {"start", "limit", "delta"};
    uint32_t in[3];
    for (uint32_t i = 0; i < 3; i++) in[i] = as(l, n, names[i], pare_lower_in(n, i), (uint32_t)stash);
    uint32_t range = pare_lower_before(l, n, "Range", "range", in, 3);
    pare_lower_become(l, n, "Cast", &range, 1);
    pare_attr_set_int(l->m, n->id, "to", dtype);
}

static bool is_float(uint32_t dtype) { return dtype && pare_dtype_kind(dtype) == 'f'; }

/* Mod 28: fmod 0 may be of floats: C's fmod, plus the divisor where the remainder is not 0 and of the other sign. */
void pare_lower_rule_mod(pare_lowering *l, pare_node *n) {
    uint32_t a = pare_lower_in(n, 0), b = pare_lower_in(n, 1);
    uint32_t dtype = pare_lower_dtype(l, a) ? pare_lower_dtype(l, a) : pare_lower_dtype(l, b);
    if (pare_node_attr_int(n, "fmod", 0) != 0 || (dtype && !is_float(dtype))) return;
    if (!dtype) {
        pare_lower_refuse(l, n, "export the model at opset 27 or before",
                          "fmod is 0, which depends on the dtype of its inputs since opset 28; that is not known");
        return;
    }
    uint32_t in[2] = {a, b}, zero = pare_lower_float(l, n, "zero", 0, dtype);
    uint32_t rest = pare_lower_before(l, n, "Mod", "rest", in, 2);
    pare_lower_made_int(l, rest, "fmod", 1);
    uint32_t rest_neg = pare_lower_before(l, n, "Less", "rest_negative", (uint32_t[]){rest, zero}, 2);
    uint32_t b_neg = pare_lower_before(l, n, "Less", "divisor_negative", (uint32_t[]){b, zero}, 2);
    uint32_t same = pare_lower_before(l, n, "Equal", "same_sign", (uint32_t[]){rest_neg, b_neg}, 2);
    uint32_t none = pare_lower_before(l, n, "Equal", "no_rest", (uint32_t[]){rest, zero}, 2);
    uint32_t done = pare_lower_before(l, n, "Or", "done", (uint32_t[]){same, none}, 2);
    uint32_t moved = pare_lower_before(l, n, "Add", "moved", (uint32_t[]){rest, b}, 2);
    pare_lower_become(l, n, "Where", (uint32_t[]){done, rest, moved}, 3);
}

/* BitShift 28 shifts signed numbers too. */
void pare_lower_rule_bit_shift(pare_lowering *l, pare_node *n) {
    uint32_t dtype = pare_lower_dtype(l, pare_lower_in(n, 0));
    if (!dtype || pare_dtype_kind(dtype) != 'u')
        pare_lower_refuse(l, n, NULL, "before opset 28 it shifts unsigned numbers only, and these are %s",
                          dtype ? pare_dtype_name(dtype) : "of a dtype that is not known");
}

/* SpaceToDepth 28: mode CRD orders channels (C, block) where DCR, all there was before, has (block, C). */
void pare_lower_rule_space_to_depth(pare_lowering *l, pare_node *n) {
    bool crd = pare_lower_attr_is(n, "mode", "CRD");
    pare_attr_del(l->m, n->id, "mode");
    if (!crd) return;
    uint32_t x = pare_lower_in(n, 0);
    int64_t channels = pare_lower_dim(l, x, 1), size = pare_node_attr_int(n, "blocksize", 0);
    if (channels < 0 || channels > INT16_MAX || size < 1 || size > INT16_MAX || size * size * channels > 1 << 24) {
        pare_lower_refuse(l, n, "export it with mode DCR", "mode CRD with blocksize %lld and channels %s",
                          (long long)size, channels < 0 ? "whose number is not known" : "too many to reorder");
        return;
    }
    int64_t blocks = size * size;
    int64_t *from = pare_xmalloc((size_t)(blocks * channels + 1) * sizeof *from);
    for (int64_t c = 0; c < channels; c++)
        for (int64_t k = 0; k < blocks; k++) from[c * blocks + k] = k * channels + c;
    uint32_t in[2] = {pare_lower_before(l, n, "SpaceToDepth", "dcr", &x, 1),
                      pare_lower_ints(l, n, "order", from, (size_t)(blocks * channels))};
    free(from);
    pare_lower_made_int(l, in[0], "blocksize", size);
    pare_lower_become(l, n, "Gather", in, 2);
    pare_attr_set_int(l->m, n->id, "axis", 1);
}

/* Swish 24: x * sigmoid(alpha * x). */
void pare_lower_rule_swish(pare_lowering *l, pare_node *n) {
    uint32_t x = pare_lower_in(n, 0), dtype = pare_lower_dtype(l, x), scaled = x;
    float alpha = pare_node_attr_float(n, "alpha", 1);
    if (alpha != 1) {
        if (!dtype) {
            pare_lower_refuse(l, n, NULL,
                              "it came with opset 24, and alpha needs the dtype of its data, which is not known");
            return;
        }
        uint32_t in[2] = {x, pare_lower_float(l, n, "alpha", alpha, dtype)};
        scaled = pare_lower_before(l, n, "Mul", "scaled", in, 2);
    }
    uint32_t in[2] = {x, pare_lower_before(l, n, "Sigmoid", "sigmoid", &scaled, 1)};
    pare_lower_become(l, n, "Mul", in, 2);
}

/* RMSNormalization 23: x / sqrt(mean(x^2) + epsilon) in stash_type, over the dims from axis on, times scale. */
void pare_lower_rule_rms_norm(pare_lowering *l, pare_node *n) {
    uint32_t x = pare_lower_in(n, 0), scale = pare_lower_in(n, 1), dtype = pare_lower_dtype(l, x);
    uint32_t out = pare_lower_dtype(l, scale);
    int64_t axis = pare_node_attr_int(n, "axis", -1), stash = pare_node_attr_int(n, "stash_type", PARE_FLOAT);
    float epsilon = pare_node_attr_float(n, "epsilon", 1e-5f);
    int32_t rank = pare_lower_rank(l, x);
    if (!dtype || !out || rank < 0) {
        pare_lower_refuse(l, n, "run shape inference on the file first",
                          "it came with opset 23, and the dtypes or the rank that it needs are not known");
        return;
    }
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) {
        pare_lower_bad(l, n, "axis %lld of data of rank %d", (long long)axis, (int)rank);
        return;
    }
    int64_t *axes = pare_xmalloc((size_t)rank * sizeof *axes);
    for (int64_t i = axis; i < rank; i++) axes[i - axis] = i;
    uint32_t v = as(l, n, "stashed", x, (uint32_t)stash);
    uint32_t square = pare_lower_before(l, n, "Mul", "square", (uint32_t[]){v, v}, 2);
    uint32_t over = pare_lower_ints(l, n, "axes", axes, (size_t)(rank - axis));
    free(axes);
    uint32_t mean = pare_lower_before(l, n, "ReduceMean", "mean", (uint32_t[]){square, over}, 2);
    uint32_t eps = pare_lower_float(l, n, "epsilon", epsilon, (uint32_t)stash);
    uint32_t sum = pare_lower_before(l, n, "Add", "mean_epsilon", (uint32_t[]){mean, eps}, 2);
    uint32_t rms = pare_lower_before(l, n, "Sqrt", "rms", &sum, 1);
    uint32_t normal = pare_lower_before(l, n, "Div", "normalized", (uint32_t[]){v, rms}, 2);
    if (stash != dtype) normal = pare_lower_cast(l, n, "rounded", normal, dtype);
    if (out != dtype) normal = pare_lower_cast(l, n, "as_scale", normal, out);
    pare_lower_become(l, n, "Mul", (uint32_t[]){normal, scale}, 2);
}
