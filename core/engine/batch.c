/* engine/batch.c - proof that rows don't know of each other, from shapes at several sizes of the batch. See batch.h.
 *
 * Is not: the ops' rules (batch_rules.c), opening a batch that a file fixes (batch_open.c). May use: parts.h, model.
 */
#include "engine/batch.h"

#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

enum { POINTS = 3 };
static const int64_t sizes[POINTS] = {2, 3, 1}; /* at 1, dims that are dropped or broadcast would show */

/* ---- where a value carries the batch ---- */

static pare_rows rows_of_dims(const pare_value *a, const pare_value *b) {
    pare_rows tied = {PARE_ROWS_TIED, 0}, r = {PARE_ROWS_NONE, 0};
    if (a->ndim < 0 || a->ndim != b->ndim || a->ndim > PARE_ARRAY_DIMS) return tied;
    for (int32_t i = 0; i < a->ndim; i++) {
        int64_t x = a->dims[i].value, y = b->dims[i].value;
        if (x < 0 || y < 0) return tied;
        if (x == y) continue;
        if (r.axis >= 0 || x % sizes[0] || y % sizes[1] || x / sizes[0] != y / sizes[1]) return tied;
        r = (pare_rows){i, x / sizes[0]};
    }
    return r;
}

/* The same numbers for every index of the axis? */
static bool alike(const pare_tensor *t, const unsigned char *x, int32_t axis, const unsigned char *first,
                  uint64_t block, uint64_t outer) {
    uint64_t n = (uint64_t)t->dims[axis];
    for (uint64_t o = 0; o < outer; o++)
        for (uint64_t i = 0; i < n; i++)
            if (memcmp(x + (o * n + i) * block, first + o * (uint64_t)sizes[0] * block, (size_t)block) != 0)
                return false;
    return true;
}

static pare_rows rows_of_constants(pare_tensor *a, pare_tensor *b, pare_rows by_dims) {
    pare_rows tied = {PARE_ROWS_TIED, 0}, none = {PARE_ROWS_NONE, 0}, shape = {PARE_ROWS_SHAPE, 0};
    const void *x, *y;
    uint64_t outer = 1, block;
    if (a->dtype != b->dtype || by_dims.axis == PARE_ROWS_TIED) return tied;
    if (by_dims.axis < 0 && a->blob == b->blob && a->version == b->version) return none;
    if (pare_tensor_read(a, NULL, &x) || pare_tensor_read(b, NULL, &y)) return tied;
    if (by_dims.axis < 0) return !x || memcmp(x, y, (size_t)a->blob->len) == 0 ? none : shape;
    if (!x || !y || pare_dtype_bits(a->dtype) % 8 || by_dims.mult != 1) return tied;
    for (int32_t i = 0; i < by_dims.axis; i++) outer *= (uint64_t)a->dims[i];
    block = a->blob->len / outer / (uint64_t)a->dims[by_dims.axis];
    if (!alike(a, x, by_dims.axis, x, block, outer) || !alike(b, y, by_dims.axis, x, block, outer)) return tied;
    return by_dims;
}

typedef struct look {
    pare_model *at[POINTS]; /* bound to sizes[] and settled */
} look;

/* The value that is `a` at 2 rows and `b` at 3. */
static pare_rows rows_of(const look *l, uint32_t a, uint32_t b) {
    const pare_value *x = pare_model_value(l->at[0], a), *y = pare_model_value(l->at[1], b);
    pare_rows none = {PARE_ROWS_NONE, 0}, tied = {PARE_ROWS_TIED, 0};
    if (!x && !y) return none;
    if (!x || !y) return tied;
    pare_tensor *s = pare_model_tensor(l->at[0], x->tensor), *t = pare_model_tensor(l->at[1], y->tensor);
    if (!s != !t) return tied;
    pare_rows r = rows_of_dims(x, y);
    return s ? rows_of_constants(s, t, r) : r;
}

/* At one row, dims are what two and three rows let expect. */
static bool as_expected(const look *l, const pare_value *two, uint32_t one, pare_rows r) {
    const pare_value *v = pare_model_value(l->at[2], one);
    if (!v || v->ndim != two->ndim) return false;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value != (i == r.axis ? r.mult : two->dims[i].value)) return false;
    return true;
}

/* ---- the walk ---- */

static uint64_t bytes_of(const pare_value *v) {
    uint64_t count = 1, n;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value < 0 || !pare_mul_ok(count, (uint64_t)v->dims[i].value, &count)) return 0;
    return pare_dtype_nbytes(v->dtype, count, &n) ? n : 0;
}

static bool is_random(const pare_node *n) {
    return strncmp(n->op_type, "Random", 6) == 0 || pare_node_is(n, "Bernoulli") || pare_node_is(n, "Multinomial");
}

static void add_cost(const look *l, const pare_node *n, const pare_rows *in, const pare_rows *out, pare_rows_proof *p) {
    pare_rows_cost c = {0, 0};
    uint32_t carrying = 0;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(l->at[0], n->in[i]);
        if (!v) continue;
        carrying += in[i].axis >= 0;
        if (in[i].axis >= 0)
            c.activations += bytes_of(v) / (uint64_t)sizes[0];
        else if (v->tensor)
            c.constants += bytes_of(v);
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_value *v = pare_model_value(l->at[0], n->out[i]);
        if (v && out[i].axis >= 0) c.activations += bytes_of(v) / (uint64_t)sizes[0];
    }
    /* what only looks at one tensor is done in place, by the node before it, or not at all */
    if (carrying == 1 && !c.constants) return;
    pare_vec_push(&p->costs, c);
}

static bool node_apart(const look *l, const pare_node *const n[POINTS], pare_rows *in, pare_rows *out,
                       pare_rows_proof *p) {
    bool any = false, plain = true;
    for (uint32_t i = 0; i < n[0]->n_in; i++) {
        in[i] = rows_of(l, n[0]->in[i], n[1]->in[i]);
        any = any || in[i].axis >= 0;
        plain = plain && in[i].axis == PARE_ROWS_NONE;
    }
    for (uint32_t i = 0; i < n[0]->n_out; i++) {
        const pare_value *v = pare_model_value(l->at[0], n[0]->out[i]);
        out[i] = rows_of(l, n[0]->out[i], n[1]->out[i]);
        if (!v) continue;
        if (out[i].axis == PARE_ROWS_TIED || (any && out[i].axis < 0)) return false;
        if (!as_expected(l, v, n[2]->out[i], out[i])) return false;
        plain = plain && out[i].axis == PARE_ROWS_NONE;
    }
    if (is_random(n[0])) return false;
    if (plain) return true;
    pare_rows_node r = {l->at[0], n[0], in, out};
    if (!pare_rows_rule(&r)) return false;
    add_cost(l, n[0], in, out, p);
    return true;
}

static bool walk(const look *l, pare_rows_proof *p) {
    const pare_graph *g[POINTS];
    for (int k = 0; k < POINTS; k++) g[k] = pare_model_graph(l->at[k], PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g[0]->nodes.len; i++) {
        const pare_node *n[POINTS] = {NULL};
        for (int k = 0; k < POINTS; k++)
            n[k] = i < g[k]->nodes.len ? pare_model_node(l->at[k], g[k]->nodes.data[i]) : NULL;
        bool same = n[1] && n[2];
        for (int k = 1; same && k < POINTS; k++)
            same = n[k]->id == n[0]->id && n[k]->n_in == n[0]->n_in && n[k]->n_out == n[0]->n_out;
        pare_rows *rows = pare_xcalloc((size_t)n[0]->n_in + n[0]->n_out + 1, sizeof *rows);
        bool apart = same && node_apart(l, n, rows, rows + n[0]->n_in, p);
        free(rows);
        if (apart) continue;
        pare_sb b = {0};
        pare_sb_printf(&b, "%s node \"%s\"", n[0]->op_type, pare_engine_node_name(l->at[0], n[0]));
        p->why = pare_xstrdup(pare_sb_str(&b));
        pare_sb_free(&b);
        return false;
    }
    return g[1]->nodes.len == g[0]->nodes.len && g[2]->nodes.len == g[0]->nodes.len;
}

static bool outputs_join(const look *l, pare_rows_proof *p) {
    const pare_graph *a = pare_model_graph(l->at[0], PARE_MAIN_GRAPH), *b = pare_model_graph(l->at[1], PARE_MAIN_GRAPH);
    p->outputs = pare_xcalloc(a->outputs.len + 1, sizeof *p->outputs);
    for (size_t i = 0; i < a->outputs.len; i++) {
        pare_rows r = rows_of(l, a->outputs.data[i], b->outputs.data[i]);
        if (r.axis != 0 && r.axis != PARE_ROWS_NONE) return false;
        p->outputs[i] = r.axis == 0;
    }
    return true;
}

/* ---- proof ---- */

void pare_rows_bind(pare_model *m, const pare_rows_inputs *in, int64_t n, const char *symbol) {
    for (size_t i = 0; i < in->n; i++) {
        const pare_value *v = pare_model_value(m, in->values[i]);
        pare_dim dims[PARE_ARRAY_DIMS];
        int32_t ndim = in->arrays ? (int32_t)in->arrays[i]->ndim : v->ndim;
        if (ndim < 0 || ndim > PARE_ARRAY_DIMS) continue;
        for (int32_t k = 0; k < ndim; k++) {
            if (in->arrays)
                dims[k] = (pare_dim){.value = in->arrays[i]->dims[k]};
            else
                dims[k] = v->dims[k];
        }
        if (in->carries[i]) dims[0] = (pare_dim){.value = n, .symbol = symbol};
        pare_value_type_set(m, v->id, v->dtype, ndim, dims);
    }
}

void pare_rows_prove(pare_session *s, const pare_model *m, const pare_rows_inputs *in, pare_rows_proof *out) {
    look l = {{NULL}};
    pare_status st = PARE_OK;
    *out = (pare_rows_proof){0};
    for (int k = 0; k < POINTS; k++) {
        l.at[k] = pare_model_clone(m);
        pare_rows_bind(l.at[k], in, sizes[k], NULL);
        pare_status r = pare_plan_settle(s, l.at[k], NULL);
        if (r && !st) st = r;
    }
    out->apart = walk(&l, out) && !st;
    out->joins = out->apart && outputs_join(&l, out);
    for (int k = 0; k < POINTS; k++) pare_model_free(l.at[k]);
}

void pare_rows_proof_free(pare_rows_proof *p) {
    free(p->why);
    free(p->outputs);
    pare_vec_free(&p->costs);
    *p = (pare_rows_proof){0};
}
