/* model/ops_numbers.c - small integer tensors that decide shapes, followed through the graph.
 *
 * Exporters compute a Reshape's target from Shape, Gather, Mul, Concat and the like. Here those numbers are passed on,
 * each known, equal to a symbol, or neither. Is not: constant folding, no tensor is made. Uses ops_rules.h alone.
 */
#include "model/ops_rules.h"

#include <string.h>

static pare_number number(int64_t v) { return (pare_number){.v = v, .known = true}; }
static pare_number unknown(void) { return (pare_number){.known = false}; }

static bool is_int(uint32_t dtype) { return dtype == PARE_INT64 || dtype == PARE_INT32; }

/* Identity, and what keeps all numbers in order: Unsqueeze, Squeeze, Reshape, Flatten are pare_numbers_reshape. */
void pare_numbers_pass(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0);
    if (x) pare_infer_numbers_set(c, 0, x->ndim, x->n, x->e);
}

void pare_numbers_cast(pare_infer_ctx *c) {
    int64_t to = pare_node_attr_int(c->node, "to", 0);
    const pare_numbers *x = pare_infer_numbers(c, 0);
    if (!x || !is_int((uint32_t)to)) return;
    for (uint32_t i = 0; to == PARE_INT32 && i < x->n; i++)
        if (x->e[i].known && (x->e[i].v < INT32_MIN || x->e[i].v > INT32_MAX)) return;
    pare_infer_numbers_set(c, 0, x->ndim, x->n, x->e);
}

/* The output's inferred rank says what a Squeeze, Unsqueeze or Reshape makes of it. */
void pare_numbers_reshape(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0);
    const pare_value *y = c->node->n_out ? pare_model_value(c->model, c->node->out[0]) : NULL;
    if (!x || !y || y->ndim < 0 || y->ndim > 1 || (y->ndim == 0 && x->n != 1)) return;
    pare_infer_numbers_set(c, 0, y->ndim, x->n, x->e);
}

void pare_numbers_shape(pare_infer_ctx *c) {
    pare_shape x;
    pare_number e[PARE_RANK_MAX];
    uint32_t n = 0;
    pare_infer_in(c, 0, &x);
    if (x.ndim < 0) return;
    int64_t from = pare_node_attr_int(c->node, "start", 0), to = pare_node_attr_int(c->node, "end", x.ndim);
    if (from < 0) from = from < -x.ndim ? 0 : from + x.ndim;
    if (to < 0) to = to < -x.ndim ? 0 : to + x.ndim;
    for (int64_t i = from; i < to && i < x.ndim; i++)
        e[n++] = (pare_number){.v = x.d[i].value, .symbol = x.d[i].symbol, .known = pare_dim_known(x.d[i])};
    pare_infer_numbers_set(c, 0, 1, n, e);
}

void pare_numbers_size(pare_infer_ctx *c) {
    pare_shape x;
    pare_dim r = pare_dim_of(1);
    pare_infer_in(c, 0, &x);
    if (x.ndim < 0) return;
    for (int32_t i = 0; i < x.ndim; i++) r = pare_dim_mul(r, x.d[i]);
    pare_number e = {.v = r.value, .symbol = r.symbol, .known = pare_dim_known(r)};
    pare_infer_numbers_set(c, 0, 0, 1, &e);
}

/* Only the forms that are no tensor: pare_infer_tensor sees the others. */
void pare_numbers_constant(pare_infer_ctx *c) {
    const pare_attr *a = pare_node_attr(c->node, "value_int");
    if (a && a->type == PARE_ATTR_INT && !a->ref_attr_name) {
        pare_number e = number(a->i);
        pare_infer_numbers_set(c, 0, 0, 1, &e);
        return;
    }
    a = pare_node_attr(c->node, "value_ints");
    if (!a || a->type != PARE_ATTR_INTS || a->ref_attr_name || a->n > PARE_VALUES_MAX) return;
    pare_number e[PARE_VALUES_MAX];
    for (size_t i = 0; i < a->n; i++) e[i] = number(a->ints[i]);
    pare_infer_numbers_set(c, 0, 1, (uint32_t)a->n, e);
}

/* ---- picking and joining ---- */

void pare_numbers_gather(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0), *k = pare_infer_numbers(c, 1);
    if (!x || !k || x->ndim != 1) return;
    pare_number e[PARE_VALUES_MAX];
    for (uint32_t i = 0; i < k->n; i++) {
        int64_t at = k->e[i].known ? k->e[i].v : INT64_MAX;
        if (at < 0) at += x->n;
        e[i] = at >= 0 && at < x->n ? x->e[at] : unknown();
    }
    pare_infer_numbers_set(c, 0, k->ndim, k->n, e);
}

void pare_numbers_slice(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0);
    const int64_t *from = NULL, *to = NULL, *axes = NULL, *steps = NULL;
    size_t n = 0;
    if (!x || x->ndim != 1) return;
    if (c->opset < 10) {
        const pare_attr *s = pare_node_attr(c->node, "starts"), *e = pare_node_attr(c->node, "ends");
        if (!s || !e || s->type != PARE_ATTR_INTS || e->type != PARE_ATTR_INTS || s->n != 1 || e->n != 1) return;
        from = s->ints;
        to = e->ints;
    } else {
        if (!pare_infer_const_ints(c, 1, &from, &n) || n != 1 || !pare_infer_const_ints(c, 2, &to, &n) || n != 1)
            return;
        if (pare_infer_has(c, 3) && (!pare_infer_const_ints(c, 3, &axes, &n) || n != 1)) return;
        if (pare_infer_has(c, 4) && (!pare_infer_const_ints(c, 4, &steps, &n) || n != 1)) return;
    }
    if (steps && steps[0] != 1) return;
    int64_t a = from[0] < 0 ? from[0] + x->n : from[0], b = to[0] < 0 ? to[0] + x->n : to[0];
    if (a < 0) a = 0;
    if (b > x->n) b = x->n;
    pare_infer_numbers_set(c, 0, 1, a < b ? (uint32_t)(b - a) : 0, a < b ? x->e + a : x->e);
}

void pare_numbers_concat(pare_infer_ctx *c) {
    pare_number e[PARE_VALUES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->node->n_in; i++) {
        const pare_numbers *x = pare_infer_numbers(c, i);
        pare_shape s;
        pare_infer_in(c, i, &s);
        bool open = !x && s.ndim == 1 && pare_dim_known(s.d[0]); /* so many, but not which */
        int64_t len = x ? x->n : open ? s.d[0].value : INT64_MAX;
        if ((x && x->ndim != 1) || len > PARE_VALUES_MAX - n) return;
        for (int64_t k = 0; k < len; k++) e[n++] = x ? x->e[k] : unknown();
    }
    const pare_value *y = c->node->n_out ? pare_model_value(c->model, c->node->out[0]) : NULL;
    if (y && is_int(y->dtype)) pare_infer_numbers_set(c, 0, 1, n, e);
}

/* ---- arithmetic ---- */

static pare_number apply(const char *op, pare_number a, pare_number b) {
    int64_t r = 0;
    if (strcmp(op, "Equal") == 0) {
        if (a.known && b.known) return number(a.v == b.v);
        /* a dim's name is never negative */
        if ((a.symbol && b.known && b.v < 0) || (b.symbol && a.known && a.v < 0)) return number(0);
        return unknown();
    }
    if (strcmp(op, "Mul") == 0) {
        if ((a.known && !a.v) || (b.known && !b.v)) return number(0);
        if (a.known && a.v == 1) return b;
        if (b.known && b.v == 1) return a;
    }
    if ((strcmp(op, "Add") == 0 || strcmp(op, "Sub") == 0) && b.known && !b.v) return a;
    if (strcmp(op, "Add") == 0 && a.known && !a.v) return b;
    if (strcmp(op, "Div") == 0 && b.known && b.v == 1) return a;
    if (!a.known || !b.known) return unknown();
    bool bad = false;
    if (strcmp(op, "Add") == 0)
        bad = __builtin_add_overflow(a.v, b.v, &r);
    else if (strcmp(op, "Sub") == 0)
        bad = __builtin_sub_overflow(a.v, b.v, &r);
    else if (strcmp(op, "Mul") == 0)
        bad = __builtin_mul_overflow(a.v, b.v, &r);
    else if (strcmp(op, "Div") == 0) {
        bad = b.v == 0 || b.v == -1;
        if (!bad) r = a.v / b.v;
    } else if (strcmp(op, "Min") == 0)
        r = a.v < b.v ? a.v : b.v;
    else if (strcmp(op, "Max") == 0)
        r = a.v > b.v ? a.v : b.v;
    else
        bad = true;
    return bad ? unknown() : number(r);
}

/* Length of the broadcast of two, 0 for none. */
static uint32_t joint(const pare_numbers *a, const pare_numbers *b) {
    if (a->n == b->n || b->n == 1) return a->n;
    return a->n == 1 ? b->n : 0;
}

/* Add, Sub, Mul, Div, Min, Max, Equal of two. */
void pare_numbers_binary(pare_infer_ctx *c) {
    const pare_numbers *a = pare_infer_numbers(c, 0), *b = pare_infer_numbers(c, 1);
    if (!a || !b || c->node->n_in != 2 || c->opset < 7) return;
    pare_number e[PARE_VALUES_MAX];
    uint32_t n = joint(a, b);
    if (!n) return;
    for (uint32_t i = 0; i < n; i++) e[i] = apply(c->node->op_type, a->e[a->n == 1 ? 0 : i], b->e[b->n == 1 ? 0 : i]);
    pare_infer_numbers_set(c, 0, a->ndim > b->ndim ? a->ndim : b->ndim, n, e);
}

void pare_numbers_neg(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0);
    if (!x) return;
    pare_number e[PARE_VALUES_MAX];
    for (uint32_t i = 0; i < x->n; i++) e[i] = x->e[i].known && x->e[i].v != INT64_MIN ? number(-x->e[i].v) : unknown();
    pare_infer_numbers_set(c, 0, x->ndim, x->n, e);
}

/* Where(condition, X, Y): Expand's exports replace -1 by a dim this way. */
void pare_numbers_where(pare_infer_ctx *c) {
    const pare_numbers *k = pare_infer_numbers(c, 0), *a = pare_infer_numbers(c, 1), *b = pare_infer_numbers(c, 2);
    if (!k || !a || !b) return;
    uint32_t n = k->n > a->n ? k->n : a->n;
    if (b->n > n) n = b->n;
    if ((k->n != n && k->n != 1) || (a->n != n && a->n != 1) || (b->n != n && b->n != 1)) return;
    pare_number e[PARE_VALUES_MAX];
    for (uint32_t i = 0; i < n; i++) {
        pare_number w = k->e[k->n == 1 ? 0 : i];
        e[i] = !w.known ? unknown() : w.v ? a->e[a->n == 1 ? 0 : i] : b->e[b->n == 1 ? 0 : i];
    }
    int32_t ndim = k->ndim || a->ndim || b->ndim;
    pare_infer_numbers_set(c, 0, ndim, n, e);
}

void pare_numbers_reduce_prod(pare_infer_ctx *c) {
    const pare_numbers *x = pare_infer_numbers(c, 0);
    const pare_value *y = c->node->n_out ? pare_model_value(c->model, c->node->out[0]) : NULL;
    if (!x || x->ndim != 1 || !y || y->ndim < 0 || y->ndim > 1) return;
    if (y->ndim == 1 && y->dims[0].value != 1) return;
    pare_number r = number(1);
    for (uint32_t i = 0; i < x->n; i++) r = apply("Mul", r, x->e[i]);
    pare_infer_numbers_set(c, 0, y->ndim, 1, &r);
}

/* ---- making ---- */

void pare_numbers_range(pare_infer_ctx *c) {
    const int64_t *v[3];
    size_t n;
    const pare_value *y = c->node->n_out ? pare_model_value(c->model, c->node->out[0]) : NULL;
    for (uint32_t i = 0; i < 3; i++)
        if (!pare_infer_const_ints(c, i, &v[i], &n) || n != 1) return;
    if (!y || y->ndim != 1 || y->dims[0].value < 0 || y->dims[0].value > PARE_VALUES_MAX) return;
    pare_number e[PARE_VALUES_MAX];
    for (int64_t i = 0; i < y->dims[0].value; i++) e[i] = number(v[0][0] + i * v[2][0]);
    pare_infer_numbers_set(c, 0, 1, (uint32_t)y->dims[0].value, e);
}

void pare_numbers_constant_of_shape(pare_infer_ctx *c) {
    const int64_t *dims;
    size_t n;
    const pare_attr *a = pare_node_attr(c->node, "value");
    pare_tensor *t = a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(c->model, a->ids[0]) : NULL;
    const void *data = NULL;
    if (!t || t->dtype != PARE_INT64 || t->count != 1 || pare_tensor_read(t, NULL, &data) != PARE_OK || !data) return;
    if (!pare_infer_const_ints(c, 0, &dims, &n) || n > 1 || (n && (dims[0] < 0 || dims[0] > PARE_VALUES_MAX))) return;
    uint32_t len = n ? (uint32_t)dims[0] : 1;
    pare_number e[PARE_VALUES_MAX];
    for (uint32_t i = 0; i < len; i++) e[i] = number(*(const int64_t *)data);
    pare_infer_numbers_set(c, 0, (int32_t)n, len, e);
}
