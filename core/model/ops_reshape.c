/* model/ops_reshape.c - rules of ops that rearrange elements and keep them all. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

static pare_dim product(const pare_shape *s, int32_t from, int32_t to) {
    pare_dim r = pare_dim_of(1);
    for (int32_t i = from; i < to; i++)
        if (s->d[i].value == 0) return pare_dim_of(0);
    for (int32_t i = from; i < to; i++) r = pare_dim_mul(r, s->d[i]);
    return r;
}

pare_status pare_rule_flatten(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 2};
    pare_infer_in(c, 0, &x);
    y.d[0] = y.d[1] = pare_dim_of(-1);
    if (x.ndim >= 0) {
        int64_t axis = pare_node_attr_int(c->node, "axis", 1);
        if (axis < -x.ndim || axis > x.ndim)
            return pare_infer_fail(c, "model.attribute", "axis is %lld, but there are %d dims", (long long)axis,
                                   x.ndim);
        int32_t at = (int32_t)(axis < 0 ? axis + x.ndim : axis);
        y.d[0] = product(&x, 0, at);
        y.d[1] = product(&x, at, x.ndim);
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ---- Reshape ---- */

/* A product of dims: the known numbers in one factor, the others listed. */
typedef struct factors {
    int64_t known; /* -1: overflow */
    bool zero;
    int32_t n;
    pare_dim open[PARE_RANK_MAX];
} factors;

static factors factors_of(const pare_shape *s, int32_t skip) {
    factors f = {.known = 1};
    for (int32_t i = 0; i < s->ndim; i++) {
        if (i == skip) continue;
        if (!pare_dim_known(s->d[i]))
            f.open[f.n++] = s->d[i];
        else if (s->d[i].value == 0)
            f.zero = true;
        else
            f.known = pare_macs_mul(f.known, s->d[i].value);
    }
    return f;
}

/* Takes out of both what surely is the same. */
static void factors_cancel(factors *a, factors *b) {
    for (int32_t i = 0; i < a->n; i++)
        for (int32_t k = 0; k < b->n; k++) {
            if (!pare_dim_same(a->open[i], b->open[k])) continue;
            a->open[i--] = a->open[--a->n];
            b->open[k] = b->open[--b->n];
            break;
        }
}

/* The dim that -1 stands for: all of x over the rest of y. */
static pare_status reshape_rest(pare_infer_ctx *c, const pare_shape *x, pare_shape *y, int32_t at) {
    factors in = factors_of(x, -1), out = factors_of(y, at);
    factors_cancel(&in, &out);
    y->d[at] = pare_dim_of(-1);
    if (out.n || in.zero || out.zero || in.known < 0 || out.known < 0) {
        if (in.zero && !out.zero && !out.n) y->d[at] = pare_dim_of(0);
        return PARE_OK;
    }
    if (in.n == 1 && in.known == out.known) y->d[at] = in.open[0];
    if (in.n) return PARE_OK;
    if (in.known % out.known)
        return pare_infer_fail(c, "model.shape",
                               "the input %s has %lld elements, which %lld of the target don't divide",
                               pare_shape_text(c, x), (long long)in.known, (long long)out.known);
    y->d[at] = pare_dim_of(in.known / out.known);
    return PARE_OK;
}

/* Reshape(data, shape): the target is an attribute before opset 5. 0 copies a dim (unless allowzero), one -1 is what
 * remains. */
pare_status pare_rule_reshape(pare_infer_ctx *c) {
    pare_shape x, t, y = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    const pare_numbers *k = pare_infer_numbers(c, 1);
    pare_numbers from_attr;
    const pare_attr *a = pare_node_attr(c->node, "shape");
    if (c->opset < 5 && a && a->type == PARE_ATTR_INTS && a->n <= PARE_RANK_MAX) {
        pare_number *e = pare_arena_alloc(&c->run->arena, (a->n + 1) * sizeof *e);
        for (size_t i = 0; i < a->n; i++) e[i] = (pare_number){.v = a->ints[i], .known = true};
        from_attr = (pare_numbers){.ndim = 1, .n = (uint32_t)a->n, .e = e};
        k = &from_attr;
    }
    if (!k) { /* only the rank may be known */
        pare_infer_in(c, 1, &t);
        if (t.ndim != 1 || !pare_dim_known(t.d[0]) || t.d[0].value > PARE_RANK_MAX) return PARE_OK;
        for (int64_t i = 0; i < t.d[0].value; i++) pare_shape_grow(&y, pare_dim_of(-1));
        pare_infer_out_shape(c, 0, x.dtype, &y);
        return PARE_OK;
    }
    if (k->n > PARE_RANK_MAX || k->ndim != 1) return PARE_OK;
    bool allowzero = pare_node_attr_int(c->node, "allowzero", 0) != 0, sure = true;
    int32_t rest = -1;
    for (uint32_t i = 0; i < k->n; i++) {
        pare_number e = k->e[i];
        pare_dim d = e.known ? pare_dim_of(e.v) : (pare_dim){-1, e.symbol};
        if (e.known && e.v < -1)
            return pare_infer_fail(c, "model.shape", "the target's number %u is %lld, allowed is -1 and up", i,
                                   (long long)e.v);
        if (e.known && e.v == 0 && !allowzero) {
            if (x.ndim >= 0 && (int32_t)i >= x.ndim)
                return pare_infer_fail(c, "model.shape", "the target copies dim %u of the input %s, which has none", i,
                                       pare_shape_text(c, &x));
            d = x.ndim >= 0 ? x.d[i] : pare_dim_of(-1);
        } else if (e.known && e.v == -1) {
            if (rest >= 0) return pare_infer_fail(c, "model.shape", "the target has more than one -1");
            rest = (int32_t)i;
        } else if (!e.known) {
            sure = sure && e.symbol; /* may be -1 or 0 */
        }
        pare_shape_grow(&y, d);
    }
    if (x.ndim >= 0 && rest >= 0) {
        pare_status st = reshape_rest(c, &x, &y, rest);
        if (st) return st;
    } else if (x.ndim >= 0) {
        factors in = factors_of(&x, -1), out = factors_of(&y, -1);
        int64_t a_n = in.zero ? 0 : in.known, b_n = out.zero ? 0 : out.known;
        if (sure && !in.n && !out.n && in.known >= 0 && out.known >= 0 && a_n != b_n)
            return pare_infer_fail(c, "model.shape", "the input %s has %lld elements, the target %s has %lld",
                                   pare_shape_text(c, &x), (long long)a_n, pare_shape_text(c, &y), (long long)b_n);
        /* one number that isn't known is what remains */
        int32_t open = -1, n_open = 0;
        for (int32_t i = 0; i < y.ndim; i++)
            if (!pare_dim_known(y.d[i]) && !y.d[i].symbol) open = i, n_open++;
        if (n_open == 1 && !in.zero && !out.zero) {
            factors rest_in = in, rest_out = factors_of(&y, open);
            factors_cancel(&rest_in, &rest_out);
            if (!rest_out.n && !rest_in.n && rest_in.known > 0 && rest_out.known > 0 &&
                rest_in.known % rest_out.known == 0)
                y.d[open] = pare_dim_of(rest_in.known / rest_out.known);
        }
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ---- Transpose, Squeeze, Unsqueeze ---- */

pare_status pare_rule_transpose(pare_infer_ctx *c) {
    pare_shape x, y;
    pare_infer_in(c, 0, &x);
    const pare_attr *a = pare_node_attr(c->node, "perm");
    y = x;
    if (x.ndim >= 0 && !(a && a->type == PARE_ATTR_INTS))
        for (int32_t i = 0; i < x.ndim; i++) y.d[i] = x.d[x.ndim - 1 - i];
    if (x.ndim >= 0 && a && a->type == PARE_ATTR_INTS) {
        bool seen[PARE_RANK_MAX] = {false};
        if (a->n != (size_t)x.ndim)
            return pare_infer_fail(c, "model.attribute", "perm has %zu numbers, the input %s has %d dims", a->n,
                                   pare_shape_text(c, &x), x.ndim);
        for (int32_t i = 0; i < x.ndim; i++) {
            int32_t at = 0;
            pare_status st = pare_infer_axis(c, "perm", a->ints[i], x.ndim, &at);
            if (st) return st;
            if (seen[at]) return pare_infer_fail(c, "model.attribute", "perm names dim %d twice", at);
            seen[at] = true;
            y.d[i] = x.d[at];
        }
    } else if (a && a->type == PARE_ATTR_INTS && a->n <= PARE_RANK_MAX) {
        y.ndim = 0;
        for (size_t i = 0; i < a->n; i++) pare_shape_grow(&y, pare_dim_of(-1));
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

pare_status pare_rule_squeeze(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    bool known, drop[PARE_RANK_MAX] = {false};
    int64_t n, axes[PARE_RANK_MAX];
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_status st = pare_infer_axes(c, 1, x.ndim, &known, &n, axes);
    if (st || x.ndim < 0) return st;
    if (!known) {
        for (int64_t i = n; i < x.ndim && n >= 0; i++) pare_shape_grow(&y, pare_dim_of(-1));
        if (n < 0) y.ndim = -1;
    } else {
        for (int64_t i = 0; i < n; i++) {
            if (x.d[axes[i]].value > 1 || x.d[axes[i]].value == 0)
                return pare_infer_fail(c, "model.shape", "axes takes away dim %lld of %s, which is not 1",
                                       (long long)axes[i], pare_shape_text(c, &x));
            drop[axes[i]] = true;
        }
        for (int32_t i = 0; i < x.ndim && n < 1; i++) {
            if (!pare_dim_known(x.d[i])) return PARE_OK; /* may be 1 */
            drop[i] = x.d[i].value == 1;
            if (drop[i] && n == 0) return PARE_OK; /* runtimes differ on an empty list: none, or all that are 1 */
        }
        for (int32_t i = 0; i < x.ndim; i++)
            if (!drop[i]) pare_shape_grow(&y, x.d[i]);
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

pare_status pare_rule_unsqueeze(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    bool known, fresh[PARE_RANK_MAX] = {false};
    int64_t n, axes[PARE_RANK_MAX];
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_status st = pare_infer_axes(c, 1, -1, &known, &n, axes);
    if (st || x.ndim < 0 || n < 0 || n > PARE_RANK_MAX - x.ndim) return st;
    int32_t rank = x.ndim + (int32_t)n, from = 0;
    for (int64_t i = 0; i < n && known; i++) {
        int32_t at = 0;
        if ((st = pare_infer_axis(c, "axes", axes[i], rank, &at))) return st;
        if (fresh[at]) return pare_infer_fail(c, "model.attribute", "axes names dim %d twice", at);
        fresh[at] = true;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (!known)
            pare_shape_grow(&y, pare_dim_of(-1));
        else
            pare_shape_grow(&y, fresh[i] ? pare_dim_of(1) : x.d[from++]);
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ---- blocks ---- */

static pare_status block_size(pare_infer_ctx *c, const pare_shape *x, int64_t *b, int64_t *bb) {
    *b = pare_node_attr_int(c->node, "blocksize", 0);
    if (*b < 1 || __builtin_mul_overflow(*b, *b, bb))
        return pare_infer_fail(c, "model.attribute", "blocksize is %lld, allowed is 1 and up", (long long)*b);
    if (x->ndim >= 0 && x->ndim != 4)
        return pare_infer_fail(c, "model.shape", "the input is %s, but needs 4 dims", pare_shape_text(c, x));
    return PARE_OK;
}

static pare_status divide(pare_infer_ctx *c, const pare_shape *x, int32_t i, int64_t by, pare_dim *out) {
    *out = by == 1 ? x->d[i] : pare_dim_of(-1);
    if (!pare_dim_known(x->d[i])) return PARE_OK;
    if (x->d[i].value % by)
        return pare_infer_fail(c, "model.shape", "dim %d of the input %s can't be divided by %lld", i,
                               pare_shape_text(c, x), (long long)by);
    *out = pare_dim_of(x->d[i].value / by);
    return PARE_OK;
}

pare_status pare_rule_depth_to_space(pare_infer_ctx *c) {
    pare_shape x;
    int64_t b = 1, bb = 1;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_status st = block_size(c, &x, &b, &bb);
    if (st || x.ndim < 0) return st;
    pare_shape y = x;
    if ((st = divide(c, &x, 1, bb, &y.d[1]))) return st;
    for (int32_t i = 2; i < 4; i++) y.d[i] = pare_dim_mul(x.d[i], pare_dim_of(b));
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

pare_status pare_rule_space_to_depth(pare_infer_ctx *c) {
    pare_shape x;
    int64_t b = 1, bb = 1;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_status st = block_size(c, &x, &b, &bb);
    if (st || x.ndim < 0) return st;
    pare_shape y = x;
    y.d[1] = pare_dim_mul(x.d[1], pare_dim_of(bb));
    for (int32_t i = 2; i < 4 && !st; i++) st = divide(c, &x, i, b, &y.d[i]);
    if (!st) pare_infer_out_shape(c, 0, x.dtype, &y);
    return st;
}
