/* model/ops_conv.c - convolutions and pooling: windows that move over spatial dims. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

#include <string.h>

/* ---- windows ---- */

typedef struct window {
    int32_t n;                /* spatial dims */
    int64_t k[PARE_RANK_MAX]; /* kernel; -1: not known */
    int64_t s[PARE_RANK_MAX], d[PARE_RANK_MAX];
    int64_t p[2 * PARE_RANK_MAX]; /* begins, then ends */
    enum { PAD_EXPLICIT, PAD_VALID, PAD_SAME } pad;
    bool ceil;
} window;

static bool attr_is(const pare_attr *a, const char *text) {
    return a->s.len == strlen(text) && memcmp(a->s.data, text, a->s.len) == 0;
}

static pare_status window_read(pare_infer_ctx *c, int32_t n, window *w) {
    w->n = n;
    w->pad = PAD_EXPLICIT;
    w->ceil = pare_node_attr_int(c->node, "ceil_mode", 0) != 0;
    const pare_attr *a = pare_node_attr(c->node, "auto_pad");
    if (a && a->type == PARE_ATTR_STRING && !a->ref_attr_name) {
        if (attr_is(a, "VALID"))
            w->pad = PAD_VALID;
        else if (attr_is(a, "SAME_UPPER") || attr_is(a, "SAME_LOWER"))
            w->pad = PAD_SAME;
        else if (a->s.len && !attr_is(a, "NOTSET"))
            return pare_infer_fail(c, "model.attribute",
                                   "auto_pad is \"%.*s\", allowed are NOTSET, VALID, SAME_UPPER and SAME_LOWER",
                                   (int)(a->s.len > 40 ? 40 : a->s.len), (const char *)a->s.data);
    }
    size_t len = (size_t)n;
    pare_status st = pare_infer_attr_ints(c, "strides", len, 1, 1, w->s);
    if (!st) st = pare_infer_attr_ints(c, "dilations", len, 1, 1, w->d);
    if (!st && w->pad == PAD_EXPLICIT) st = pare_infer_attr_ints(c, "pads", 2 * len, INT64_MIN, 0, w->p);
    if (st || w->pad == PAD_EXPLICIT) return st;
    memset(w->p, 0, 2 * len * sizeof *w->p);
    return PARE_OK;
}

/* (k - 1) * d + 1, or -1 on overflow. */
static int64_t window_reach(const window *w, int32_t i) {
    int64_t r;
    if (__builtin_mul_overflow(w->k[i] - 1, w->d[i], &r) || __builtin_add_overflow(r, 1, &r)) return -1;
    return r;
}

static pare_status too_large(pare_infer_ctx *c, int32_t i) {
    return pare_infer_fail(c, "model.attribute",
                           "kernel, pads or strides of spatial dim %d are too large to compute with", i);
}

/* How often the window fits along spatial dim i. */
static pare_status window_dim(pare_infer_ctx *c, const window *w, int32_t i, pare_dim in, pare_dim *out) {
    *out = pare_dim_of(-1);
    if (w->pad == PAD_SAME) {
        if (w->s[i] == 1)
            *out = in;
        else if (pare_dim_known(in))
            *out = pare_dim_of(in.value / w->s[i] + (in.value % w->s[i] != 0));
        return PARE_OK;
    }
    if (w->k[i] < 0) return PARE_OK;
    int64_t reach = window_reach(w, i), pads, room;
    if (reach < 0 || __builtin_add_overflow(w->p[i], w->p[i + w->n], &pads)) return too_large(c, i);
    if (!pare_dim_known(in)) {
        if (w->s[i] == 1 && pads == reach - 1) *out = in;
        return PARE_OK;
    }
    if (__builtin_add_overflow(in.value, pads, &room) || __builtin_sub_overflow(room, reach, &room))
        return too_large(c, i);
    int64_t s = w->s[i], steps = room / s - (room % s < 0); /* floor */
    if (w->ceil && room % s != 0) {
        int64_t start;
        steps++; /* unless the last window would begin in the padding at the end */
        if (__builtin_mul_overflow(steps, s, &start) || start >= in.value + w->p[i]) steps--;
    }
    if (steps < -1 && in.value > 0)
        return pare_infer_fail(c, "model.shape",
                               "a window of %lld does not fit into spatial dim %d: %lld with pads %lld",
                               (long long)reach, i, (long long)in.value, (long long)pads);
    *out = pare_dim_of(steps < 0 ? 0 : steps + 1);
    return PARE_OK;
}

/* ---- convolutions ---- */

static pare_status conv_shape(pare_infer_ctx *c, const pare_shape *x, const pare_shape *w, uint32_t bias,
                              pare_shape *y) {
    y->ndim = -1;
    int32_t rank = x->ndim >= 0 ? x->ndim : w->ndim;
    if (rank < 0) return PARE_OK;
    if (rank < 2 || (w->ndim >= 0 && w->ndim != rank))
        return pare_infer_fail(c, "model.shape",
                               "the input is %s and the weight %s, both must have the same number of dims, at least 3",
                               pare_shape_text(c, x), pare_shape_text(c, w));
    int64_t group = pare_node_attr_int(c->node, "group", 1), want;
    if (group < 1) return pare_infer_fail(c, "model.attribute", "group is %lld, allowed is 1 and up", (long long)group);
    pare_dim per_group = w->ndim >= 0 ? w->d[1] : pare_dim_of(-1);
    if (pare_dim_known(per_group) && __builtin_mul_overflow(per_group.value, group, &want)) return too_large(c, 0);
    if (x->ndim >= 0 && pare_dim_known(x->d[1]) && pare_dim_known(per_group) && x->d[1].value != want)
        return pare_infer_fail(
            c, "model.shape", "the input %s has %lld channels, the weight %s with group %lld takes %lld",
            pare_shape_text(c, x), (long long)x->d[1].value, pare_shape_text(c, w), (long long)group, (long long)want);
    pare_dim oc = w->ndim >= 0 ? w->d[0] : pare_dim_of(-1);
    if (pare_dim_known(oc) && oc.value % group)
        return pare_infer_fail(c, "model.shape", "the weight %s makes %lld channels, which %lld groups don't divide",
                               pare_shape_text(c, w), (long long)oc.value, (long long)group);
    pare_shape b;
    pare_infer_in(c, bias, &b);
    if (b.ndim == 1 && !pare_dim_merge(&oc, b.d[0]))
        return pare_infer_fail(c, "model.shape", "the bias has %lld numbers, the weight %s makes %lld channels",
                               (long long)b.d[0].value, pare_shape_text(c, w), (long long)oc.value);
    window win;
    pare_status st = window_read(c, rank - 2, &win);
    if (!st) st = pare_infer_attr_ints(c, "kernel_shape", (size_t)win.n, 0, -1, win.k);
    if (st) return st;
    win.ceil = false;
    for (int32_t i = 0; i < win.n && w->ndim >= 0; i++) {
        if (!pare_dim_known(w->d[2 + i])) continue;
        if (win.k[i] >= 0 && win.k[i] != w->d[2 + i].value)
            return pare_infer_fail(c, "model.shape", "kernel_shape says %lld for spatial dim %d, the weight is %s",
                                   (long long)win.k[i], i, pare_shape_text(c, w));
        win.k[i] = w->d[2 + i].value;
    }
    y->ndim = 0;
    pare_shape_grow(y, x->ndim >= 0 ? x->d[0] : pare_dim_of(-1));
    pare_shape_grow(y, oc);
    for (int32_t i = 0; i < win.n; i++) {
        pare_dim d;
        if ((st = window_dim(c, &win, i, x->ndim >= 0 ? x->d[2 + i] : pare_dim_of(-1), &d))) return st;
        pare_shape_grow(y, d);
    }
    return PARE_OK;
}

static pare_status conv_like(pare_infer_ctx *c, uint32_t weight, uint32_t bias, uint32_t dtype) {
    pare_shape x, w, y;
    pare_infer_in(c, 0, &x);
    pare_infer_in(c, weight, &w);
    pare_infer_out_unknown(c, 0, dtype); /* true whatever the shapes are */
    pare_status st = conv_shape(c, &x, &w, bias, &y);
    if (!st) pare_infer_out_shape(c, 0, dtype, &y);
    return st;
}

/* Conv(X, W, B), ConvInteger(x, w, x_zero_point, w_zero_point),
 * QLinearConv(x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B) */
pare_status pare_rule_conv(pare_infer_ctx *c) { return conv_like(c, 1, 2, pare_infer_dtype(c, 0)); }
pare_status pare_rule_conv_integer(pare_infer_ctx *c) { return conv_like(c, 1, UINT32_MAX, PARE_INT32); }
pare_status pare_rule_qlinear_conv(pare_infer_ctx *c) { return conv_like(c, 3, 8, pare_infer_dtype(c, 7)); }

/* One spatial dim of ConvTranspose: the input that a convolution would map back. */
static pare_status transpose_dim(pare_infer_ctx *c, const window *w, int32_t i, pare_dim in, int64_t extra,
                                 pare_dim *out) {
    *out = pare_dim_of(-1);
    int64_t r, pads;
    if (w->pad == PAD_SAME) { /* runtimes differ when the kernel is smaller than the stride or something is added */
        if (extra || w->k[i] < 0 || !pare_dim_known(in) || window_reach(w, i) < w->s[i]) return PARE_OK;
        if (__builtin_mul_overflow(in.value, w->s[i], &r)) return too_large(c, i);
        *out = pare_dim_of(r);
        return PARE_OK;
    }
    if (w->k[i] < 0) return PARE_OK;
    int64_t reach = window_reach(w, i);
    if (reach < 0 || __builtin_add_overflow(w->p[i], w->p[i + w->n], &pads) ||
        __builtin_sub_overflow(reach, pads, &r) || __builtin_add_overflow(r, extra, &r))
        return too_large(c, i);
    if (!pare_dim_known(in)) {
        if (w->s[i] == 1 && r == 1) *out = in;
        return PARE_OK;
    }
    int64_t span;
    if (__builtin_mul_overflow(in.value - 1, w->s[i], &span) || __builtin_add_overflow(span, r, &r))
        return too_large(c, i);
    if (r < 0 && in.value > 0)
        return pare_infer_fail(c, "model.shape", "spatial dim %d would be %lld after pads of %lld", i, (long long)r,
                               (long long)pads);
    *out = pare_dim_of(r < 0 ? 0 : r);
    return PARE_OK;
}

/* ConvTranspose(X, W (C, M/group, k…), B) */
pare_status pare_rule_conv_transpose(pare_infer_ctx *c) {
    pare_shape x, w, y = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_in(c, 1, &w);
    pare_infer_out_unknown(c, 0, x.dtype);
    int32_t rank = x.ndim >= 0 ? x.ndim : w.ndim;
    if (rank < 0) return PARE_OK;
    if (rank < 2 || (w.ndim >= 0 && w.ndim != rank))
        return pare_infer_fail(c, "model.shape",
                               "the input is %s and the weight %s, both must have the same number of dims, at least 3",
                               pare_shape_text(c, &x), pare_shape_text(c, &w));
    int64_t group = pare_node_attr_int(c->node, "group", 1);
    if (group < 1) return pare_infer_fail(c, "model.attribute", "group is %lld, allowed is 1 and up", (long long)group);
    if (x.ndim >= 0 && w.ndim >= 0 && pare_dim_known(x.d[1]) && pare_dim_known(w.d[0]) && x.d[1].value != w.d[0].value)
        return pare_infer_fail(c, "model.shape", "the input %s has %lld channels, the weight %s takes %lld",
                               pare_shape_text(c, &x), (long long)x.d[1].value, pare_shape_text(c, &w),
                               (long long)w.d[0].value);
    pare_dim oc = w.ndim >= 0 && (pare_dim_known(w.d[1]) || group == 1) ? pare_dim_mul(w.d[1], pare_dim_of(group))
                                                                        : pare_dim_of(-1);
    window win;
    int64_t extra[PARE_RANK_MAX];
    pare_status st = window_read(c, rank - 2, &win);
    if (!st) st = pare_infer_attr_ints(c, "kernel_shape", (size_t)win.n, 0, -1, win.k);
    if (!st) st = pare_infer_attr_ints(c, "output_padding", (size_t)win.n, 0, 0, extra);
    if (st) return st;
    for (int32_t i = 0; i < win.n && w.ndim >= 0; i++)
        if (pare_dim_known(w.d[2 + i])) win.k[i] = w.d[2 + i].value;
    const pare_attr *given = pare_node_attr(c->node, "output_shape");
    pare_shape_grow(&y, x.ndim >= 0 ? x.d[0] : pare_dim_of(-1));
    pare_shape_grow(&y, oc);
    for (int32_t i = 0; i < win.n; i++) {
        pare_dim d = pare_dim_of(-1);
        if (given && given->type == PARE_ATTR_INTS && given->n >= (size_t)win.n)
            d = pare_dim_of(given->ints[given->n - (size_t)win.n + (size_t)i]); /* older files give N and C as well */
        else if (!given)
            st = transpose_dim(c, &win, i, x.ndim >= 0 ? x.d[2 + i] : pare_dim_of(-1), extra[i], &d);
        if (st) return st;
        pare_shape_grow(&y, d);
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ---- pooling ---- */

/* MaxPool (-> Y, Indices), AveragePool, LpPool: kernel_shape is an attribute. */
pare_status pare_rule_pool(pare_infer_ctx *c) {
    pare_shape x, y = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    pare_infer_out_unknown(c, 1, PARE_INT64);
    if (x.ndim < 0) return PARE_OK;
    if (x.ndim < 2)
        return pare_infer_fail(c, "model.shape", "the input is %s, but needs at least 3 dims", pare_shape_text(c, &x));
    window win;
    pare_status st = window_read(c, x.ndim - 2, &win);
    if (!st) st = pare_infer_attr_ints(c, "kernel_shape", (size_t)win.n, 1, -1, win.k);
    if (st) return st;
    pare_shape_grow(&y, x.d[0]);
    pare_shape_grow(&y, x.d[1]);
    for (int32_t i = 0; i < win.n; i++) {
        pare_dim d;
        if ((st = window_dim(c, &win, i, x.d[2 + i], &d))) return st;
        pare_shape_grow(&y, d);
    }
    pare_infer_out_shape(c, 0, x.dtype, &y);
    pare_infer_out_shape(c, 1, PARE_INT64, &y);
    return PARE_OK;
}

pare_status pare_rule_global_pool(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    for (int32_t i = 2; i < x.ndim; i++) x.d[i] = pare_dim_of(1);
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

/* ---- multiply-adds ---- */

static pare_value *value_in(const pare_model *m, const pare_node *n, uint32_t i) {
    return i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
}

/* Every element of `v` takes one multiply-add per element of a filter: w's dims from dim 1 on. */
static int64_t macs_window(const pare_model *m, const pare_value *v, const pare_value *w) {
    if (!v || !w || v->ndim < 2 || w->ndim != v->ndim) return -1;
    int64_t r = 1;
    for (int32_t i = 0; i < v->ndim; i++) r = pare_macs_mul(r, pare_macs_dim(m, v, i));
    for (int32_t i = 1; i < w->ndim; i++) r = pare_macs_mul(r, w->dims[i].value);
    return r;
}

static const pare_value *value_out(const pare_model *m, const pare_node *n) {
    return n->n_out ? pare_model_value(m, n->out[0]) : NULL;
}

int64_t pare_macs_conv(const pare_model *m, const pare_node *n) {
    return macs_window(m, value_out(m, n), value_in(m, n, 1));
}
int64_t pare_macs_qlinear_conv(const pare_model *m, const pare_node *n) {
    return macs_window(m, value_out(m, n), value_in(m, n, 3));
}
/* The weight is (C, M/group, k…): every element of the input meets M/group filters. */
int64_t pare_macs_conv_transpose(const pare_model *m, const pare_node *n) {
    return macs_window(m, value_in(m, n, 0), value_in(m, n, 1));
}
