/* model/infer.c - walks the graphs and lets the table's rules say what flows. See infer.h.
 *
 * A value's type has a base: what the file says (declared.c reads it from `info`), what an edit said (info_stale), its
 * tensor's, or nothing. Each inference starts from the base, so nothing of an earlier one survives an edit.
 */
#include "model/infer_declared.h"
#include "model/ops_rules.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

/* ---- where a value starts ---- */

static bool same_dims(int32_t n, const pare_dim *a, const pare_dim *b) {
    for (int32_t i = 0; i < n; i++) {
        const char *x = a[i].symbol, *y = b[i].symbol;
        if (a[i].value != b[i].value || (x != y && (!x || !y || strcmp(x, y) != 0))) return false;
    }
    return true;
}

/* Sets dims, copied into the model, or those the value had before where they are the same: calling the inference
 * often must not make the model grow. */
static void set_dims(pare_model *m, const pare_infer_run *run, pare_value *v, int32_t ndim, const pare_dim *dims) {
    v->ndim = ndim;
    if (ndim <= 0) return;
    if (v->dims && run->old_ndim[v->id] == ndim && same_dims(ndim, v->dims, dims)) return;
    pare_dim *copy = pare_arena_memdup(&m->arena, dims, (size_t)ndim * sizeof *copy);
    for (int32_t i = 0; i < ndim; i++)
        if (copy[i].symbol) copy[i].symbol = pare_arena_strdup(&m->arena, copy[i].symbol);
    v->dims = copy;
    run->old_ndim[v->id] = ndim;
}

static bool is_stated(const pare_value *v) { return v->info_stale || v->info.len > 0; }

static void reset(pare_model *m, pare_infer_run *run, pare_value *v) {
    pare_shape s;
    run->old_ndim[v->id] = v->ndim;
    if (v->other_type || v->info_stale) return;
    v->dtype = PARE_DTYPE_UNKNOWN;
    v->ndim = -1;
    if (v->info.len && pare_declared_read(&run->arena, v->info, &s)) {
        v->dtype = s.dtype;
        set_dims(m, run, v, s.ndim, s.d);
    }
    const pare_tensor *t = pare_model_tensor(m, v->tensor);
    if (!t) return;
    if (!v->dtype) v->dtype = t->dtype;
    if (v->ndim >= 0 || t->ndim > PARE_RANK_MAX) return;
    for (uint32_t i = 0; i < t->ndim; i++) s.d[i] = pare_dim_of(t->dims[i]);
    set_dims(m, run, v, (int32_t)t->ndim, s.d);
}

/* ---- what rules say ---- */

/* The declared shape is wrong: the rules win, and the person hears of it once. */
static void warn_declared(pare_infer_ctx *c, const pare_value *v, const pare_shape *inferred) {
    enum { ENOUGH = 5 };
    pare_shape was = {.ndim = v->ndim};
    if (c->run->depth || !c->diags || c->run->warnings++ >= ENOUGH) return;
    if (was.ndim > 0) memcpy(was.d, v->dims, (size_t)was.ndim * sizeof *was.d);
    const char *text = pare_arena_printf(&c->run->arena, "\"%s\" is declared as %s, but its node makes %s", v->name,
                                         pare_shape_text(c, &was), pare_shape_text(c, inferred));
    for (size_t i = 0; i < pare_diags_count(c->diags); i++) {
        const pare_diag_item *it = pare_diags_get(c->diags, i);
        if (it->message && strcmp(it->message, text) == 0) return;
    }
    pare_diag_item it = {.severity = PARE_WARNING,
                         .code = "model.shape-declared",
                         .message = text,
                         .path = c->model->path,
                         .node = c->node->name[0] ? c->node->name : c->node->op_type};
    pare_diags_add(c->diags, &it);
}

void pare_infer_out(pare_infer_ctx *c, uint32_t i, uint32_t dtype, int32_t ndim, const pare_dim *dims) {
    pare_value *v = i < c->node->n_out ? pare_model_value(c->model, c->node->out[i]) : NULL;
    if (!v || v->other_type || ndim > PARE_RANK_MAX) return;
    if (!is_stated(v)) {
        v->dtype = dtype;
        set_dims(c->model, c->run, v, ndim, dims);
        return;
    }
    if (!v->dtype) v->dtype = dtype;
    if (dtype && v->dtype != dtype && !c->run->bad_dtype) c->run->bad_dtype = v->id, c->run->rule_dtype = dtype;
    if (ndim < 0) return;
    pare_shape s = {.ndim = ndim};
    bool fits = v->ndim < 0 || v->ndim == ndim;
    for (int32_t k = 0; k < ndim; k++) {
        s.d[k] = dims[k];
        if (v->ndim == ndim && !pare_dim_merge(&s.d[k], v->dims[k])) fits = false;
    }
    if (!fits) warn_declared(c, v, &s);
    set_dims(c->model, c->run, v, ndim, s.d);
}

/* ---- walking ---- */

static pare_status infer_graph(pare_infer_ctx *c, uint32_t graph);

static pare_status infer_subgraphs(pare_infer_ctx *c, const pare_node *n) {
    for (uint32_t i = 0; i < n->n_attrs && c->run->depth < DEPTH_MAX; i++) {
        const pare_attr *a = &n->attrs[i];
        if ((a->type != PARE_ATTR_GRAPH && a->type != PARE_ATTR_GRAPHS) || !a->ids) continue;
        c->run->depth++;
        for (size_t k = 0; k < a->n; k++) {
            pare_status st = infer_graph(c, a->ids[k]);
            if (st) return st;
        }
        c->run->depth--;
    }
    return PARE_OK;
}

static void infer_node(pare_infer_ctx *c, const pare_op *op) {
    c->run->bad_dtype = 0;
    pare_status st = op->infer(c);
    const pare_value *v = pare_model_value(c->model, c->run->bad_dtype);
    if (v)
        st = pare_infer_fail(c, "model.dtype", "\"%s\" is declared as %s, but the node makes %s", v->name,
                             pare_dtype_name(v->dtype), pare_dtype_name(c->run->rule_dtype));
    if (st && !c->run->depth) c->run->failed = true;
    if (!st && op->values) op->values(c);
}

static pare_status infer_graph(pare_infer_ctx *c, uint32_t graph) {
    const pare_graph *g = pare_model_graph(c->model, graph);
    if (!g) return PARE_OK;
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(c->model, g->nodes.data[i]);
        if (!n) continue;
        if ((i & 1023) == 1023 && pare_cancelled()) return PARE_ECANCELLED;
        pare_status st = infer_subgraphs(c, n);
        if (st) return st;
        const pare_op *op = pare_op_find(n->domain, n->op_type);
        if (!op || !op->infer) continue;
        c->node = n;
        infer_node(c, op);
    }
    return PARE_OK;
}

pare_status pare_model_infer(pare_model *m, pare_diags *d) {
    pare_infer_run run = {.n_values = m->values.len};
    run.numbers = pare_xcalloc(run.n_values + 1, sizeof *run.numbers);
    run.old_ndim = pare_xcalloc(run.n_values + 1, sizeof *run.old_ndim);
    for (size_t i = 0; i < m->values.len; i++)
        if (m->values.data[i]) reset(m, &run, m->values.data[i]);
    pare_infer_ctx c = {.model = m, .diags = d, .run = &run, .opset = pare_model_opset(m, "")};
    if (c.opset < 1) c.opset = 1; /* a file without the import means the first */
    pare_status st = infer_graph(&c, PARE_MAIN_GRAPH);
    if (!st && run.failed) st = PARE_EINVAL;
    free(run.numbers);
    free(run.old_ndim);
    pare_arena_free(&run.arena);
    return st;
}
