/* model/ops_matmul.c - matrix products and recurrent layers. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

#include <string.h>

/* ---- Gemm ---- */

/* Gemm(A (M, K), B (K, N), C): transA and transB turn the first two. */
pare_status pare_rule_gemm(pare_infer_ctx *c) {
    pare_shape a, b, bias;
    pare_infer_in(c, 0, &a);
    pare_infer_in(c, 1, &b);
    pare_infer_in(c, 2, &bias);
    pare_infer_out_unknown(c, 0, a.dtype);
    if ((a.ndim >= 0 && a.ndim != 2) || (b.ndim >= 0 && b.ndim != 2))
        return pare_infer_fail(c, "model.shape", "A is %s and B is %s, both must have 2 dims", pare_shape_text(c, &a),
                               pare_shape_text(c, &b));
    bool ta = pare_node_attr_int(c->node, "transA", 0) != 0, tb = pare_node_attr_int(c->node, "transB", 0) != 0;
    pare_shape y = {.ndim = 2, .d = {pare_dim_of(-1), pare_dim_of(-1)}};
    if (a.ndim == 2 && b.ndim == 2) {
        pare_dim ka = a.d[ta ? 0 : 1], kb = b.d[tb ? 1 : 0];
        if (!pare_dim_merge(&ka, kb))
            return pare_infer_fail(c, "model.shape", "A %s%s gives %lld numbers a row, B %s%s takes %lld",
                                   pare_shape_text(c, &a), ta ? " transposed" : "", (long long)ka.value,
                                   pare_shape_text(c, &b), tb ? " transposed" : "", (long long)kb.value);
    }
    if (a.ndim == 2) y.d[0] = a.d[ta ? 1 : 0];
    if (b.ndim == 2) y.d[1] = b.d[tb ? 0 : 1];
    /* C must broadcast to (M, N), from opset 7 on without being told */
    for (int32_t i = 0; i < bias.ndim && c->opset >= 7; i++) {
        int32_t at = 2 - bias.ndim + i;
        bool fits = at >= 0 ? bias.d[i].value <= 1 || !pare_dim_known(y.d[at]) || bias.d[i].value == y.d[at].value
                            : bias.d[i].value <= 1;
        if (!fits)
            return pare_infer_fail(c, "model.shape", "C %s does not broadcast to the product %s",
                                   pare_shape_text(c, &bias), pare_shape_text(c, &y));
    }
    pare_infer_out_shape(c, 0, a.dtype, &y);
    return PARE_OK;
}

/* ---- MatMul ---- */

/* NumPy's product: 1-d operands lose their dim again, leading dims broadcast. */
static pare_status matmul_shape(pare_infer_ctx *c, uint32_t ia, uint32_t ib, pare_shape *y) {
    pare_shape a, b;
    pare_infer_in(c, ia, &a);
    pare_infer_in(c, ib, &b);
    y->ndim = -1;
    if (a.ndim < 0 || b.ndim < 0) return PARE_OK;
    if (!a.ndim || !b.ndim)
        return pare_infer_fail(c, "model.shape", "the operands are %s and %s, a scalar has no product",
                               pare_shape_text(c, &a), pare_shape_text(c, &b));
    pare_dim ka = a.d[a.ndim - 1], kb = b.d[b.ndim > 1 ? b.ndim - 2 : 0];
    if (!pare_dim_merge(&ka, kb))
        return pare_infer_fail(c, "model.shape", "the operands %s and %s don't fit: %lld against %lld",
                               pare_shape_text(c, &a), pare_shape_text(c, &b), (long long)ka.value,
                               (long long)kb.value);
    pare_dim m = a.ndim > 1 ? a.d[a.ndim - 2] : pare_dim_of(1), n = b.d[b.ndim - 1];
    bool has_m = a.ndim > 1, has_n = b.ndim > 1;
    a.ndim = a.ndim > 2 ? a.ndim - 2 : 0;
    b.ndim = b.ndim > 2 ? b.ndim - 2 : 0;
    pare_status st = pare_infer_broadcast(c, &a, &b);
    if (st) return st;
    *y = a;
    if (has_m) pare_shape_grow(y, m);
    if (has_n) pare_shape_grow(y, n);
    return PARE_OK;
}

static pare_status matmul_like(pare_infer_ctx *c, uint32_t b, uint32_t dtype) {
    pare_shape y;
    pare_infer_out_unknown(c, 0, dtype);
    pare_status st = matmul_shape(c, 0, b, &y);
    if (!st) pare_infer_out_shape(c, 0, dtype, &y);
    return st;
}

/* QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point) */
pare_status pare_rule_matmul(pare_infer_ctx *c) { return matmul_like(c, 1, pare_infer_dtype(c, 0)); }
pare_status pare_rule_matmul_integer(pare_infer_ctx *c) { return matmul_like(c, 1, PARE_INT32); }
pare_status pare_rule_qlinear_matmul(pare_infer_ctx *c) { return matmul_like(c, 3, pare_infer_dtype(c, 7)); }

/* ---- attention ---- */

/* Attention(Q, K, V, …) -> Y; of (batch, heads, length, size), or (batch, length, heads * size) with q_num_heads and
 * kv_num_heads. present_key and present_value hold the past, too: their length isn't worked out. */
pare_status pare_rule_attention(pare_infer_ctx *c) {
    pare_shape q, v;
    pare_infer_in(c, 0, &q);
    pare_infer_in(c, 2, &v);
    for (uint32_t i = 0; i < c->node->n_out; i++) pare_infer_out_unknown(c, i, i == 2 ? v.dtype : q.dtype);
    if (q.ndim < 0 || v.ndim < 0) return PARE_OK;
    if (q.ndim != v.ndim || (q.ndim != 3 && q.ndim != 4))
        return pare_infer_fail(c, "model.shape", "Q is %s and V is %s, both must have 3 dims or both 4",
                               pare_shape_text(c, &q), pare_shape_text(c, &v));
    int64_t q_heads = pare_node_attr_int(c->node, "q_num_heads", 0),
            heads = pare_node_attr_int(c->node, "kv_num_heads", 0);
    pare_dim last = v.d[v.ndim - 1];
    if (q.ndim == 3)
        last = pare_dim_known(last) && heads > 0 && q_heads > 0
                   ? pare_dim_mul(pare_dim_of(last.value / heads), pare_dim_of(q_heads))
                   : pare_dim_of(-1);
    q.d[q.ndim - 1] = last;
    pare_infer_out_shape(c, 0, q.dtype, &q);
    return PARE_OK;
}

/* ---- recurrent layers ---- */

static int64_t gates_of(const pare_node *n) {
    return strcmp(n->op_type, "LSTM") == 0 ? 4 : strcmp(n->op_type, "GRU") == 0 ? 3 : 1;
}

/* LSTM, GRU, RNN(X (seq, batch, in), W (dirs, gates*hidden, in), R (dirs, gates*hidden, hidden), …)
 * -> Y (seq, dirs, batch, hidden), Y_h (dirs, batch, hidden), Y_c; layout 1 puts the batch first. */
pare_status pare_rule_rnn(pare_infer_ctx *c) {
    pare_shape x, w, r, y = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_in(c, 1, &w);
    pare_infer_in(c, 2, &r);
    for (uint32_t i = 0; i < 3; i++) pare_infer_out_unknown(c, i, x.dtype);
    if (c->opset < 7 && pare_node_attr(c->node, "output_sequence")) return PARE_OK;
    if ((x.ndim >= 0 && x.ndim != 3) || (w.ndim >= 0 && w.ndim != 3) || (r.ndim >= 0 && r.ndim != 3))
        return pare_infer_fail(c, "model.shape", "X is %s, W is %s and R is %s, all must have 3 dims",
                               pare_shape_text(c, &x), pare_shape_text(c, &w), pare_shape_text(c, &r));
    if (x.ndim < 0) return PARE_OK;
    pare_dim in = x.d[2], hidden = pare_dim_of(pare_node_attr_int(c->node, "hidden_size", -1));
    if (w.ndim == 3 && !pare_dim_merge(&in, w.d[2]))
        return pare_infer_fail(c, "model.shape", "X %s has %lld features, W %s takes %lld", pare_shape_text(c, &x),
                               (long long)in.value, pare_shape_text(c, &w), (long long)w.d[2].value);
    if (!pare_dim_known(hidden) && r.ndim == 3) hidden = r.d[2];
    const pare_attr *a = pare_node_attr(c->node, "direction");
    bool both = a && a->type == PARE_ATTR_STRING && a->s.len == 13 && memcmp(a->s.data, "bidirectional", 13) == 0;
    bool first = pare_node_attr_int(c->node, "layout", 0) != 0;
    pare_dim dirs = pare_dim_of(both ? 2 : 1), seq = x.d[first ? 1 : 0], batch = x.d[first ? 0 : 1];
    pare_dim full[2][4] = {{seq, dirs, batch, hidden}, {batch, seq, dirs, hidden}};
    pare_dim last[2][3] = {{dirs, batch, hidden}, {batch, dirs, hidden}};
    for (int i = 0; i < 4; i++) pare_shape_grow(&y, full[first][i]);
    pare_infer_out_shape(c, 0, x.dtype, &y);
    y.ndim = 0;
    for (int i = 0; i < 3; i++) pare_shape_grow(&y, last[first][i]);
    pare_infer_out_shape(c, 1, x.dtype, &y);
    pare_infer_out_shape(c, 2, x.dtype, &y);
    return PARE_OK;
}

/* ---- multiply-adds ---- */

static const pare_value *value_in(const pare_model *m, const pare_node *n, uint32_t i) {
    return i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
}

int64_t pare_macs_gemm(const pare_model *m, const pare_node *n) {
    const pare_value *a = value_in(m, n, 0), *b = value_in(m, n, 1);
    bool ta = pare_node_attr_int(n, "transA", 0) != 0, tb = pare_node_attr_int(n, "transB", 0) != 0;
    if (!a || !b || a->ndim != 2 || b->ndim != 2) return -1;
    int64_t rows = pare_macs_dim(m, a, ta ? 1 : 0), k = a->dims[ta ? 0 : 1].value;
    if (rows < 0) rows = 1; /* they are the batch, wherever they stand */
    if (k < 0) k = b->dims[tb ? 1 : 0].value;
    return pare_macs_mul(pare_macs_mul(rows, k), b->dims[tb ? 0 : 1].value);
}

static int64_t macs_matmul(const pare_model *m, const pare_node *n, uint32_t ib) {
    const pare_value *a = value_in(m, n, 0), *b = value_in(m, n, ib);
    const pare_value *y = n->n_out ? pare_model_value(m, n->out[0]) : NULL;
    if (!a || !b || !y || y->ndim < 0 || a->ndim < 1 || b->ndim < 1) return -1;
    int64_t r = a->dims[a->ndim - 1].value;
    if (r < 0) r = b->dims[b->ndim > 1 ? b->ndim - 2 : 0].value;
    if (r < 0) r = pare_macs_dim(m, a, a->ndim - 1);
    for (int32_t i = 0; i < y->ndim; i++) r = pare_macs_mul(r, pare_macs_dim(m, y, i));
    return r;
}
int64_t pare_macs_matmul(const pare_model *m, const pare_node *n) { return macs_matmul(m, n, 1); }
int64_t pare_macs_qlinear_matmul(const pare_model *m, const pare_node *n) { return macs_matmul(m, n, 3); }

/* Both products, of all heads; keys of the past aren't counted. */
int64_t pare_macs_attention(const pare_model *m, const pare_node *n) {
    const pare_value *q = value_in(m, n, 0), *k = value_in(m, n, 1);
    const pare_value *y = n->n_out ? pare_model_value(m, n->out[0]) : NULL;
    if (!q || !k || !y || q->ndim < 3 || k->ndim != q->ndim || y->ndim != q->ndim) return -1;
    int32_t last = q->ndim - 1;
    int64_t of_q = pare_macs_dim(m, q, last), of_y = pare_macs_dim(m, y, last), sum;
    if (of_q < 0 || of_y < 0 || __builtin_add_overflow(of_q, of_y, &sum)) return -1;
    int64_t r = pare_macs_mul(pare_macs_dim(m, k, last - 1), sum);
    for (int32_t i = 0; i < last; i++) r = pare_macs_mul(r, pare_macs_dim(m, q, i));
    return r;
}

int64_t pare_macs_rnn(const pare_model *m, const pare_node *n) {
    const pare_value *x = value_in(m, n, 0), *w = value_in(m, n, 1), *r = value_in(m, n, 2);
    if (!x || !w || !r || x->ndim != 3 || w->ndim != 3 || r->ndim != 3) return -1;
    bool first = pare_node_attr_int(n, "layout", 0) != 0;
    int64_t seq = x->dims[first ? 1 : 0].value, batch = x->dims[first ? 0 : 1].value, sum;
    if (batch < 0) batch = 1;
    int64_t rows = pare_macs_mul(w->dims[0].value, w->dims[1].value); /* all gates of all directions */
    if (w->dims[2].value < 0 || r->dims[2].value < 0 ||
        __builtin_add_overflow(w->dims[2].value, r->dims[2].value, &sum))
        return -1;
    if (w->dims[1].value != pare_macs_mul(gates_of(n), r->dims[2].value)) return -1;
    return pare_macs_mul(pare_macs_mul(seq, batch), pare_macs_mul(rows, sum));
}
