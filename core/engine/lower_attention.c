/* engine/lower_attention.c - Attention of opsets 23 to 28, spelt as exporters of older opsets spell it: the form that
 * the engine's own pass then finds again. Caches of past keys, windows and outputs besides Y are refused.
 *
 * Source: ONNX's Changelog, Attention 23 to 25. May use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <math.h>
#include <stdlib.h>

typedef struct attention {
    uint32_t q, k, v, mask, dtype;
    int32_t rank;             /* of q, k and v: 4 (batch, heads, length, size), or 3 (batch, length, heads * size) */
    int64_t q_heads, k_heads; /* -1: not known */
    float scale;
    bool causal;
} attention;

static const char HINT[] = "export the model at opset 22 or before: the exporter spells it out";

static bool asks_too_much(pare_lowering *l, const pare_node *n) {
    static const char *const outs[] = {"Y", "present_key", "present_value", "qk_matmul_output"};
    static const char *const ins[] = {"Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"};
    for (uint32_t i = 4; i < 7; i++)
        if (pare_lower_in(n, i)) {
            pare_lower_refuse(l, n, HINT, "the input %s, which came with opset %d, is not known", ins[i],
                              i < 6 ? 23 : 24);
            return true;
        }
    for (uint32_t i = 1; i < 4; i++)
        if (pare_lower_out_used(l, n, i)) {
            pare_lower_refuse(l, n, HINT, "the output %s, which came with opset 23, is not known", outs[i]);
            return true;
        }
    if (pare_node_attr_int(n, "left_window_size", -1) < 0 && pare_node_attr_int(n, "right_window_size", -1) < 0)
        return false;
    pare_lower_refuse(l, n, NULL, "windows, which came with opset 25, are not known");
    return true;
}

static bool look(pare_lowering *l, const pare_node *n, attention *a) {
    *a = (attention){.q = pare_lower_in(n, 0),
                     .k = pare_lower_in(n, 1),
                     .v = pare_lower_in(n, 2),
                     .mask = pare_lower_in(n, 3),
                     .causal = pare_node_attr_int(n, "is_causal", 0) != 0};
    a->dtype = pare_lower_dtype(l, a->q);
    a->rank = pare_lower_rank(l, a->q);
    if (!a->dtype || a->rank < 0 || (a->mask && !pare_lower_dtype(l, a->mask))) {
        pare_lower_refuse(l, n, "run shape inference on the file first",
                          "it came with opset 23, and the dtypes or the rank that it needs are not known");
        return false;
    }
    if (a->rank != 3 && a->rank != 4) {
        pare_lower_bad(l, n, "Q has %d dims, it must have 3 or 4", (int)a->rank);
        return false;
    }
    bool flat = a->rank == 3;
    a->q_heads = flat ? pare_node_attr_int(n, "q_num_heads", -1) : pare_lower_dim(l, a->q, 1);
    a->k_heads = flat ? pare_node_attr_int(n, "kv_num_heads", -1) : pare_lower_dim(l, a->k, 1);
    if (flat && (a->q_heads < 1 || a->k_heads < 1)) {
        pare_lower_bad(l, n, "Q has 3 dims, and q_num_heads is %lld and kv_num_heads %lld; both must be 1 or more",
                       (long long)a->q_heads, (long long)a->k_heads);
        return false;
    }
    if (a->q_heads > 0 && a->k_heads > 0 && (a->q_heads % a->k_heads || a->q_heads > INT16_MAX)) {
        pare_lower_bad(l, n, "Q has %lld heads and K has %lld: Q's must be a multiple of K's (at most 32767)",
                       (long long)a->q_heads, (long long)a->k_heads);
        return false;
    }
    int64_t size = flat ? pare_lower_dim(l, a->q, 2) / a->q_heads : pare_lower_dim(l, a->q, 3);
    if (!pare_node_attr(n, "scale") && size < 1) {
        pare_lower_refuse(l, n, "run shape inference on the file first",
                          "it came with opset 23; scale is absent, and the size of a head is not known");
        return false;
    }
    a->scale = pare_node_attr_float(n, "scale", size > 0 ? 1 / sqrtf((float)size) : 1);
    return true;
}

static uint32_t transposed(pare_lowering *l, const pare_node *n, const char *what, uint32_t x, const int64_t perm[4]) {
    uint32_t y = pare_lower_before(l, n, "Transpose", what, &x, 1);
    const pare_value *made = pare_model_value(l->m, y);
    if (made) pare_attr_set_ints(l->m, made->producer, "perm", perm, 4);
    return y;
}

/* (batch, length, heads * size) as (batch, heads, length, size). */
static uint32_t split(pare_lowering *l, const pare_node *n, const char *what, uint32_t x, int64_t heads) {
    int64_t dims[] = {0, 0, heads, -1};
    uint32_t in[] = {x, pare_lower_ints(l, n, "heads", dims, 4)};
    return transposed(l, n, what, pare_lower_before(l, n, "Reshape", "split", in, 2), (int64_t[]){0, 2, 1, 3});
}

/* Each head of x as often as several heads of q share it. */
static uint32_t repeated(pare_lowering *l, const pare_node *n, const char *what, uint32_t x, const attention *a) {
    if (a->q_heads < 1 || a->k_heads < 1 || a->q_heads == a->k_heads) return x;
    int64_t *from = pare_xmalloc((size_t)a->q_heads * sizeof *from);
    for (int64_t i = 0; i < a->q_heads; i++) from[i] = i / (a->q_heads / a->k_heads);
    uint32_t in[] = {x, pare_lower_ints(l, n, "head_of", from, (size_t)a->q_heads)};
    free(from);
    uint32_t y = pare_lower_before(l, n, "Gather", what, in, 2);
    pare_lower_made_int(l, y, "axis", 1);
    return y;
}

static uint32_t with_float(pare_lowering *l, const pare_node *n, const char *op, const char *what, uint32_t x, float v,
                           uint32_t dtype) {
    uint32_t in[] = {x, pare_lower_float(l, n, what, v, dtype)};
    return pare_lower_before(l, n, op, what, in, 2);
}

/* True where the mask is constant and leaves a key to every query. */
static bool leaves_keys(pare_lowering *l, uint32_t mask) {
    uint64_t n = 0, b = 0;
    const float *f = pare_lower_const_data(l, mask, PARE_FLOAT, &n);
    const uint8_t *t = pare_lower_const_data(l, mask, PARE_BOOL, &b);
    int64_t keys = pare_lower_dim(l, mask, pare_lower_rank(l, mask) - 1);
    if ((!f && !t) || keys < 1) return false;
    for (uint64_t i = 0, some = 0; i < (f ? n : b); i++) {
        some += f ? f[i] > -INFINITY : t[i] != 0;
        if ((i + 1) % (uint64_t)keys) continue;
        if (!some) return false;
        some = 0;
    }
    return true;
}

/* What is added to the scores: -inf where a query doesn't see a key. 0: nothing. */
static uint32_t bias_of(pare_lowering *l, const pare_node *n, const attention *a, uint32_t scores) {
    uint32_t bias = a->mask;
    float none = -INFINITY;
    if (bias && pare_lower_dtype(l, bias) == PARE_BOOL) {
        uint32_t in[] = {bias, pare_lower_float(l, n, "seen", 0, a->dtype),
                         pare_lower_float(l, n, "hidden", none, a->dtype)};
        bias = pare_lower_before(l, n, "Where", "mask", in, 3);
    }
    if (!a->causal) return bias;
    uint32_t shape = pare_lower_before(l, n, "Shape", "lengths", &scores, 1);
    pare_lower_made_int(l, shape, "start", -2);
    uint32_t hide = pare_lower_float(l, n, "none", none, a->dtype);
    uint32_t full = pare_lower_before(l, n, "Expand", "all", (uint32_t[]){hide, shape}, 2);
    uint32_t in[] = {full, pare_lower_int(l, n, "above", 1)};
    uint32_t later = pare_lower_before(l, n, "Trilu", "later", in, 2);
    return bias ? pare_lower_before(l, n, "Add", "causal", (uint32_t[]){bias, later}, 2) : later;
}

void pare_lower_rule_attention(pare_lowering *l, pare_node *n) {
    attention a;
    if (asks_too_much(l, n) || !look(l, n, &a)) return;
    float cap = pare_node_attr_float(n, "softcap", 0), root = sqrtf(fabsf(a.scale));
    int64_t precision = pare_node_attr_int(n, "softmax_precision", a.dtype);
    uint32_t q = a.q, k = a.k, v = a.v;
    if (a.rank == 3) {
        q = split(l, n, "q", q, a.q_heads);
        k = split(l, n, "k", k, a.k_heads);
        v = split(l, n, "v", v, a.k_heads);
    }
    k = repeated(l, n, "k_repeated", k, &a);
    v = repeated(l, n, "v_repeated", v, &a);
    k = transposed(l, n, "k_transposed", k, (int64_t[]){0, 1, 3, 2});
    q = with_float(l, n, "Mul", "q_scaled", q, a.scale < 0 ? -root : root, a.dtype);
    k = with_float(l, n, "Mul", "k_scaled", k, root, a.dtype);
    uint32_t scores = pare_lower_before(l, n, "MatMul", "scores", (uint32_t[]){q, k}, 2);
    if (cap > 0) {
        scores = with_float(l, n, "Div", "capped", scores, cap, a.dtype);
        scores = pare_lower_before(l, n, "Tanh", "tanh", &scores, 1);
        scores = with_float(l, n, "Mul", "cap", scores, cap, a.dtype);
    }
    uint32_t bias = bias_of(l, n, &a, scores);
    if (bias) scores = pare_lower_before(l, n, "Add", "biased", (uint32_t[]){scores, bias}, 2);
    if (precision != a.dtype) scores = pare_lower_cast(l, n, "precise", scores, (uint32_t)precision);
    uint32_t share = pare_lower_before(l, n, "Softmax", "weights", &scores, 1);
    pare_lower_made_int(l, share, "axis", -1);
    if (precision != a.dtype) share = pare_lower_cast(l, n, "rounded", share, a.dtype);
    if (a.mask && (a.causal || !leaves_keys(l, a.mask))) { /* who sees no key gets zeros, not NaN */
        uint32_t in[] = {bias, pare_lower_ints(l, n, "keys", (int64_t[]){-1}, 1)};
        uint32_t most = pare_lower_before(l, n, "ReduceMax", "most", in, 2);
        uint32_t blind = with_float(l, n, "Equal", "blind", most, -INFINITY, a.dtype);
        uint32_t zero = pare_lower_float(l, n, "zero", 0, a.dtype);
        share = pare_lower_before(l, n, "Where", "seeing", (uint32_t[]){blind, zero, share}, 3);
    }
    pare_lower_outputs_trim(l, n, 1);
    if (a.rank == 4) {
        pare_lower_become(l, n, "MatMul", (uint32_t[]){share, v}, 2);
        return;
    }
    uint32_t y = pare_lower_before(l, n, "MatMul", "heads_out", (uint32_t[]){share, v}, 2);
    y = transposed(l, n, "lengths_first", y, (int64_t[]){0, 2, 1, 3});
    uint32_t in[] = {y, pare_lower_ints(l, n, "joined", (int64_t[]){0, 0, -1}, 3)};
    pare_lower_become(l, n, "Reshape", in, 2);
}
