/* engine/pass_attention.c - attention spelt out becomes one node: softmax(scale * q k' + mask) v. See pass.h.
 *
 * MatMul, at most one factor and one mask, Softmax over the last axis, MatMul; q, k and v read where the projections
 * have left them, through whatever Reshape, Transpose, Split, Slice and Gather there is in between (strided.h), and the
 * result written as the Transpose behind it would. For a bound model: all dims known. The node is ai.pare's Attention,
 * which no file holds; its attributes are said in plugins/cpu/ref/ref_attention.h. Not: where q k' or its softmax is
 * wanted by somebody else too. May use: strided.h, model.
 */
#include "engine/pass.h"

#include "engine/strided.h"
#include "model/edit.h"

#include <string.h>

enum { OUTER = 4, VIEWS = 5 }; /* q, k, v, y, mask */
enum { IN_Q, IN_K, IN_V, OUT_Y, MASK };

typedef struct match {
    pare_node *end; /* what the new node takes the place of */
    uint32_t mask;  /* value, 0: none */
    pare_strided view[VIEWS];
    uint32_t n_views;
    double scale;
    int64_t tq, tk, d, dv;
    uint32_t n_outer;
    int64_t outer[OUTER], step[VIEWS][OUTER];
} match;

static pare_node *sole(const pare_model *m, const pare_node *n, uint32_t slot, const char *op) {
    pare_node *p = pare_pass_sole(m, n, slot, op);
    return p && p->graph == PARE_MAIN_GRAPH ? p : NULL;
}

/* What stands between the first product and the softmax: the product, and on the way the mask and the factor. */
static pare_node *scores_of(const pare_model *m, const pare_node *softmax, match *f) {
    const pare_node *add = sole(m, softmax, 0, "Add"), *at = softmax;
    pare_node *product = sole(m, softmax, 0, "MatMul");
    uint32_t slot = 0;
    float c;
    f->mask = 0;
    f->scale = 1;
    if (product) return product;
    if (add && add->n_in == 2) {
        for (slot = 0; slot < 2; slot++)
            if (sole(m, add, slot, "MatMul") || sole(m, add, slot, "Mul") || sole(m, add, slot, "Div")) break;
        if (slot == 2) return NULL;
        f->mask = add->in[1 - slot];
        at = add;
        product = sole(m, at, slot, "MatMul");
        if (product) return product;
    }
    const pare_node *mul = sole(m, at, slot, "Mul"), *div = sole(m, at, slot, "Div");
    for (uint32_t i = 0; mul && mul->n_in == 2 && i < 2; i++) {
        if (!pare_pass_number(m, mul, 1 - i, &c)) continue;
        f->scale = (double)c;
        return sole(m, mul, i, "MatMul");
    }
    if (!div || div->n_in != 2 || !pare_pass_number(m, div, 1, &c) || c == 0.0f) return NULL;
    f->scale = 1 / (double)c;
    return sole(m, div, 0, "MatMul");
}

static bool reshapes(const pare_node *n) {
    return n->n_out == 1 && (pare_node_is(n, "Reshape") || pare_node_is(n, "Squeeze") || pare_node_is(n, "Unsqueeze"));
}

/* The view of `product`'s result in the memory of the Transpose behind it, which then is the end; else of its own. */
static bool result_of(const pare_model *m, pare_node *product, match *f) {
    pare_strided *y = &f->view[OUT_Y];
    const pare_value *own = pare_model_value(m, product->out[0]);
    int64_t dims[PARE_STRIDED_DIMS], perm[PARE_STRIDED_DIMS];
    f->end = product;
    if (!pare_strided_plain(m, own->id, y)) return false;
    for (uint32_t i = 0; i < y->ndim; i++) dims[i] = own->dims[i].value;
    pare_node *n = pare_pass_consumer(m, own->id);
    for (int i = 0; n && reshapes(n) && n->in[0] != 0 && i < 4; i++) n = pare_pass_consumer(m, n->out[0]);
    const pare_attr *a =
        n && pare_node_is(n, "Transpose") && n->graph == product->graph ? pare_node_attr(n, "perm") : NULL;
    pare_strided to;
    if (!a || !pare_strided_plain(m, n->out[0], &to) || a->n != to.ndim) return true;
    for (uint32_t i = 0; i < to.ndim; i++) perm[i] = -1;
    for (uint32_t i = 0; i < to.ndim; i++) {
        if (a->ints[i] < 0 || a->ints[i] >= to.ndim || perm[a->ints[i]] >= 0) return true;
        perm[a->ints[i]] = i; /* backwards */
    }
    int64_t step;
    pare_strided_transpose(&to, perm);
    if (!pare_strided_reshape(&to, y->ndim, dims) || !pare_strided_step(&to, y->ndim - 1, &step) || step > 1)
        return true;
    if (!pare_strided_step(&to, y->ndim - 2, &step)) return true;
    *y = to;
    f->end = n;
    return true;
}

/* The mask as it repeats over (…, tq, tk). */
static bool mask_of(const pare_model *m, const pare_value *scores, match *f) {
    pare_strided own, *v = &f->view[MASK];
    const pare_value *mask = pare_model_value(m, f->mask);
    f->n_views = VIEWS;
    if (!mask || mask->dtype != PARE_FLOAT || mask->ndim > scores->ndim || !pare_strided_plain(m, f->mask, &own))
        return false;
    *v = (pare_strided){.root = f->mask, .ndim = (uint32_t)scores->ndim, .scale = 1};
    for (uint32_t i = 0; i < v->ndim; i++) {
        int64_t n = scores->dims[i].value;
        uint32_t missing = v->ndim - own.ndim;
        v->f[i] = (pare_strided_factor){n, 0};
        v->end[i] = i + 1;
        if (i < missing || own.f[i - missing].n == 1) continue;
        if (own.f[i - missing].n != n) return false;
        v->f[i].step = own.f[i - missing].step;
    }
    return true;
}

/* The outer dims of all views, parted and joined until they are the same at most OUTER ones. */
static bool align_outer(match *f) {
    uint32_t at[VIEWS];
    int64_t left[VIEWS], sizes[PARE_STRIDED_FACTORS], steps[VIEWS][PARE_STRIDED_FACTORS];
    uint32_t n = 0;
    for (uint32_t v = 0; v < f->n_views; v++) {
        at[v] = f->view[v].ndim > 2 ? f->view[v].end[f->view[v].ndim - 3] : 0;
        left[v] = 1;
    }
    for (;;) { /* inner to outer: the largest part that every view can go in one step */
        int64_t part = 0, inner[VIEWS];
        bool done = true;
        for (uint32_t v = 0; v < f->n_views; v++) {
            while (left[v] == 1 && at[v] > 0) left[v] = f->view[v].f[--at[v]].n;
            if (left[v] > 1) done = false;
            if (!part || left[v] < part) part = left[v];
        }
        if (done) break;
        if (part < 2 || n == PARE_STRIDED_FACTORS) return false;
        for (uint32_t v = 0; v < f->n_views; v++) {
            const pare_strided_factor *x = &f->view[v].f[at[v]];
            if (left[v] % part) return false;
            inner[v] = x->step * (x->n / left[v]);
            left[v] /= part;
            steps[v][n] = inner[v];
        }
        bool join = n > 0;
        for (uint32_t v = 0; join && v < f->n_views; v++) join = steps[v][n] == steps[v][n - 1] * sizes[n - 1];
        if (join)
            sizes[n - 1] *= part;
        else
            sizes[n++] = part;
    }
    if (n > OUTER) return false;
    f->n_outer = n;
    for (uint32_t i = 0; i < OUTER; i++) { /* outer to inner, 1s in front */
        bool there = i >= OUTER - n;
        uint32_t from = there ? OUTER - 1 - i : 0;
        f->outer[i] = there ? sizes[from] : 1;
        for (uint32_t v = 0; v < f->n_views; v++) f->step[v][i] = there ? steps[v][from] : 0;
    }
    return true;
}

/* Rows have a step, elements in them lie side by side. */
static bool rows_of(const pare_strided *v, int64_t *row) {
    int64_t column;
    return pare_strided_step(v, v->ndim - 2, row) && pare_strided_step(v, v->ndim - 1, &column) &&
           (column == 1 || pare_strided_size(v, v->ndim - 1) == 1);
}

static bool known(const pare_value *v) {
    if (!v || v->dtype != PARE_FLOAT || v->ndim < 2 || v->ndim > PARE_STRIDED_DIMS) return false;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value < 1 || v->dims[i].value > INT32_MAX) return false;
    return true;
}

static bool find(const pare_model *m, pare_node *product, match *f) {
    if (!pare_node_is(product, "MatMul") || product->n_in != 2) return false;
    const pare_node *softmax = sole(m, product, 0, "Softmax");
    const pare_value *y = pare_model_value(m, product->out[0]);
    if (!softmax || !known(y)) return false;
    const pare_value *w = pare_model_value(m, softmax->out[0]);
    int64_t axis = pare_node_attr_int(softmax, "axis", -1);
    const pare_node *first = scores_of(m, softmax, f);
    if (!first || first->n_in != 2 || !known(w) || (axis != -1 && axis != w->ndim - 1)) return false;
    const pare_value *q = pare_model_value(m, first->in[0]), *k = pare_model_value(m, first->in[1]),
                     *v = pare_model_value(m, product->in[1]);
    const pare_value *s = pare_model_value(m, first->out[0]);
    if (!known(q) || !known(k) || !known(v) || !known(s) || s->ndim != w->ndim) return false;
    if (q->ndim != k->ndim || q->ndim != v->ndim || q->ndim != w->ndim || q->ndim != y->ndim) return false;
    for (int32_t i = 0; i < q->ndim - 2; i++) /* no broadcasting */
        if (q->dims[i].value != k->dims[i].value || q->dims[i].value != v->dims[i].value) return false;
    for (int32_t i = 0; i < s->ndim; i++) /* nor by the mask */
        if (s->dims[i].value != w->dims[i].value) return false;
    if (!pare_strided_of(m, q->id, &f->view[IN_Q]) || !pare_strided_of(m, k->id, &f->view[IN_K]) ||
        !pare_strided_of(m, v->id, &f->view[IN_V]) || !result_of(m, product, f))
        return false;
    int64_t last[PARE_STRIDED_DIMS];
    for (int32_t i = 0; i < k->ndim; i++) last[i] = i < k->ndim - 2 ? i : 2 * k->ndim - 3 - i;
    pare_strided_transpose(&f->view[IN_K], last);
    if (f->view[IN_V].scale != 1) return false;
    f->scale *= f->view[IN_Q].scale * f->view[IN_K].scale;
    f->n_views = OUT_Y + 1;
    f->tq = q->dims[q->ndim - 2].value;
    f->d = q->dims[q->ndim - 1].value;
    f->tk = k->dims[k->ndim - 1].value;
    f->dv = v->dims[v->ndim - 1].value;
    return (!f->mask || mask_of(m, s, f)) && align_outer(f);
}

static void set_view(pare_model *m, uint32_t node, const char *name, const match *f, uint32_t v, int64_t row,
                     int64_t column, bool columns) {
    int64_t view[OUTER + 3] = {f->view[v].offset};
    memcpy(view + 1, f->step[v], sizeof f->step[v]);
    view[OUTER + 1] = row;
    view[OUTER + 2] = column;
    pare_attr_set_ints(m, node, name, view, OUTER + 2 + columns);
}

static bool rewrite(pare_model *m, pare_node *product) {
    static const char *const names[] = {"q", "k", "v", "y"};
    match f;
    int64_t row[VIEWS] = {0}, column = 0;
    if (!find(m, product, &f)) return false;
    for (uint32_t v = 0; v < MASK; v++)
        if (!rows_of(&f.view[v], &row[v])) return false;
    if (f.mask && (!pare_strided_step(&f.view[MASK], f.view[MASK].ndim - 2, &row[MASK]) ||
                   !pare_strided_step(&f.view[MASK], f.view[MASK].ndim - 1, &column)))
        return false;
    const uint32_t in[] = {f.view[IN_Q].root, f.view[IN_K].root, f.view[IN_V].root, f.mask};
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, "attention");
    uint32_t end = f.end->id, n = pare_node_add(m, PARE_MAIN_GRAPH, end, "Attention", "ai.pare", product->name, in,
                                                f.mask ? 4 : 3, &out, 1);
    int64_t shape[OUTER + 4] = {f.outer[0], f.outer[1], f.outer[2], f.outer[3], f.tq, f.tk, f.d, f.dv};
    pare_attr_set_ints(m, n, "shape", shape, OUTER + 4);
    for (uint32_t v = 0; v < MASK; v++) set_view(m, n, names[v], &f, v, row[v], 0, false);
    if (f.mask) set_view(m, n, "mask", &f, MASK, row[MASK], column, true);
    pare_attr_set_float(m, n, "scale", (float)f.scale);
    const pare_value *y = pare_model_value(m, pare_model_node(m, end)->out[0]);
    pare_value_type_set(m, pare_model_node(m, n)->out[0], PARE_FLOAT, y->ndim, y->dims);
    pare_pass_replace(m, end, n);
    return true;
}

pare_status pare_pass_attention(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    size_t n = m->nodes.len;
    for (size_t i = 0; i < n; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH && rewrite(m, m->nodes.data[i])) ++*changed;
    return PARE_OK;
}
