/* engine/pass_integer.c - MatMulInteger, its Cast to float32 and the Mul by scales become one node, with an Add of a
 * constant row behind them; ConvInteger likewise becomes Conv. See pass.h.
 *
 * ai.pare.MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero_point, b_zero_point, bias): what dynamic quantization
 * leaves of a MatMul. Its sums are scaled by the product of the scales, as in the file. A convolution's sums in float32
 * of the numbers read as floats are as good, and there are fast kernels for them. Not: per-row scales of a. May use:
 * model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <string.h>

typedef struct match {
    pare_node *product, *cast, *scale, *last; /* last: scale, or the second Mul, or the Add */
    uint32_t a_scale, b_scale, bias;
    pare_node *between; /* the second Mul where there are two one after the other, or NULL */
} match;

/* One number for all, or with `n` > 0 n of them in the last dim. */
static bool spread(const pare_value *v, int64_t n) {
    if (!v || v->dtype != PARE_FLOAT || v->ndim < 0) return false;
    int64_t count = 1;
    for (int32_t i = 0; i < v->ndim; i++) count *= v->dims[i].value;
    return count == 1 || (n > 0 && v->ndim == 1 && count == n);
}

/* Which of two values is one runtime number (a's scale) and which is the weights'. */
static bool pair(const pare_model *m, uint32_t x, uint32_t y, int64_t n, match *f) {
    const pare_value *a = pare_model_value(m, x), *b = pare_model_value(m, y);
    if (!spread(a, n) || !spread(b, n)) return false;
    bool swap = !spread(a, 0) || (a->tensor && !b->tensor && spread(b, 0));
    f->a_scale = swap ? y : x;
    f->b_scale = swap ? x : y;
    return spread(pare_model_value(m, f->a_scale), 0);
}

static uint32_t other(const pare_node *n, uint32_t value) { return n->in[0] == value ? n->in[1] : n->in[0]; }

static bool find(const pare_model *m, pare_node *n, match *f) {
    *f = (match){.product = n};
    bool conv = pare_node_is(n, "ConvInteger");
    if ((!conv && !pare_node_is(n, "MatMulInteger")) || n->n_in < 2 || n->n_out != 1) return false;
    const pare_value *b = pare_model_value(m, n->in[1]), *y;
    f->cast = pare_pass_consumer(m, n->out[0]);
    if (!b || b->ndim < 2 || !f->cast || !pare_node_is(f->cast, "Cast")) return false;
    if (pare_node_attr_int(f->cast, "to", 0) != PARE_FLOAT) return false;
    int64_t columns = conv ? 0 : b->dims[b->ndim - 1].value;
    f->scale = f->last = pare_pass_consumer(m, f->cast->out[0]);
    if (!f->scale || !pare_node_is(f->scale, "Mul") || f->scale->n_in != 2) return false;
    if (f->scale->in[0] == f->scale->in[1]) return false;
    uint32_t factor = other(f->scale, f->cast->out[0]);
    const pare_value *v = pare_model_value(m, factor);
    const pare_node *both = v ? pare_model_node(m, v->producer) : NULL;
    if (both && pare_node_is(both, "Mul") && both->n_in == 2 && pair(m, both->in[0], both->in[1], columns, f)) {
    } else {
        f->between = pare_pass_consumer(m, f->scale->out[0]);
        if (!f->between || !pare_node_is(f->between, "Mul") || f->between->n_in != 2) return false;
        if (!pair(m, factor, other(f->between, f->scale->out[0]), columns, f)) return false;
        f->last = f->between;
    }
    y = pare_model_value(m, f->last->out[0]);
    const pare_value *sums = pare_model_value(m, n->out[0]);
    if (!y || y->ndim < 0 || y->ndim != sums->ndim) return false; /* a scale of more dims would make it grow */
    pare_node *add = conv ? NULL : pare_pass_consumer(m, f->last->out[0]);
    if (add && pare_node_is(add, "Add") && add->n_in == 2 && add->in[0] != add->in[1]) {
        uint32_t row = other(add, f->last->out[0]);
        const pare_value *c = pare_model_value(m, row);
        if (c && c->tensor && c->dtype == PARE_FLOAT && c->ndim == 1 && c->dims[0].value == columns) {
            f->bias = row;
            f->last = add;
        }
    }
    return true;
}

static void finish(pare_model *m, const match *f, uint32_t id) {
    const pare_value *y = pare_model_value(m, f->last->out[0]);
    pare_value_type_set(m, pare_model_node(m, id)->out[0], PARE_FLOAT, y->ndim, y->dims);
    uint32_t gone[] = {f->last->id, f->between ? f->between->id : 0, f->scale->id, f->cast->id, f->product->id};
    pare_value_replace_uses(m, f->last->out[0], pare_model_node(m, id)->out[0]);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (pare_model_node(m, gone[i])) pare_node_del(m, gone[i]);
}

/* Input i of n read as floats, by one scale. */
static uint32_t read_as(pare_model *m, const match *f, uint32_t i, uint32_t scale) {
    const pare_node *n = f->product;
    const pare_value *x = pare_model_value(m, n->in[i]);
    const uint32_t in[] = {x->id, scale, n->n_in > i + 2 ? n->in[i + 2] : 0};
    const char *out = pare_name_fresh(m, n->graph, x->name);
    uint32_t id = pare_node_add(m, n->graph, f->last->id, "DequantizeLinear", "", n->name, in, in[2] ? 3 : 2, &out, 1);
    uint32_t value = pare_model_node(m, id)->out[0];
    pare_value_type_set(m, value, PARE_FLOAT, x->ndim, x->dims);
    return value;
}

/* One scale and one zero point each: DequantizeLinear takes them as they are. */
static bool one_each(const pare_model *m, const pare_node *n) {
    for (uint32_t i = 2; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(m, n->in[i]);
        for (int32_t k = 0; v && k < v->ndim; k++)
            if (v->dims[k].value != 1) return false;
    }
    return true;
}

static void rewrite_conv(pare_model *m, const match *f) {
    const pare_node *n = f->product;
    const uint32_t in[] = {read_as(m, f, 0, f->a_scale), read_as(m, f, 1, f->b_scale)};
    const char *out = pare_name_fresh(m, n->graph, pare_model_value(m, f->last->out[0])->name);
    uint32_t id = pare_node_add(m, n->graph, f->last->id, "Conv", "", n->name, in, 2, &out, 1);
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        const pare_attr *a = &n->attrs[i];
        if (a->type == PARE_ATTR_INT) pare_attr_set_int(m, id, a->name, a->i);
        if (a->type == PARE_ATTR_INTS) pare_attr_set_ints(m, id, a->name, a->ints, a->n);
        if (a->type == PARE_ATTR_STRING) pare_attr_set_string(m, id, a->name, a->s.data, a->s.len);
    }
    finish(m, f, id);
}

static void rewrite(pare_model *m, const match *f) {
    const pare_node *n = f->product;
    const uint32_t in[] = {
        n->in[0], n->in[1], f->a_scale, f->b_scale, n->n_in > 2 ? n->in[2] : 0, n->n_in > 3 ? n->in[3] : 0, f->bias};
    size_t used = f->bias ? 7 : in[5] ? 6 : in[4] ? 5 : 4;
    const pare_value *y = pare_model_value(m, f->last->out[0]);
    const char *out = pare_name_fresh(m, n->graph, y->name);
    uint32_t id =
        pare_node_add(m, n->graph, f->last->id, "MatMulIntegerToFloat", "ai.pare", n->name, in, used, &out, 1);
    finish(m, f, id);
}

pare_status pare_pass_integer(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    size_t n = m->nodes.len; /* not those that are added here */
    for (size_t i = 0; i < n; i++) {
        match f;
        pare_node *node = m->nodes.data[i];
        if (!node || node->graph != PARE_MAIN_GRAPH || !find(m, node, &f)) continue;
        if (pare_node_is(node, "ConvInteger") && !one_each(m, node)) continue;
        if (pare_node_is(node, "ConvInteger"))
            rewrite_conv(m, &f);
        else
            rewrite(m, &f);
        ++*changed;
    }
    return PARE_OK;
}
