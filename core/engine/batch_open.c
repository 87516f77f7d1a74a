/* engine/batch_open.c - a batch that the exporter fixed made open: constants that hold it give way. See batch.h.
 *
 * Targets of Reshape, Expand and Resize lose the number, constant rows that are put beside the batch's are repeated.
 * Which axis carries the batch is only guessed here: at the file's own batch every rewritten node computes what it did,
 * and that rows stay apart at any other is for the proof to say. May use: parts.h, model.
 */
#include "engine/batch.h"

#include "model/edit.h"
#include "model/infer.h"

#include <stdlib.h>
#include <string.h>

typedef struct opener {
    pare_session *s;
    pare_model *m;
    int64_t batch; /* the file's */
    int32_t *axis; /* [value id]: the guess, -1: none */
    size_t n_axis;
} opener;

static int32_t axis_of(const opener *o, uint32_t value) { return value < o->n_axis ? o->axis[value] : -1; }
static int64_t from_end(int64_t axis, int32_t ndim) { return axis < 0 ? axis + ndim : axis; }

/* ---- making nodes ---- */

static uint32_t numbers(pare_model *m, const int64_t *x, size_t n) {
    int64_t len = (int64_t)n;
    const char *name = pare_name_fresh(m, PARE_MAIN_GRAPH, "open_batch");
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, name, PARE_INT64, 1, &len), value = 0;
    void *to;
    if (!t || pare_tensor_overwrite(pare_model_tensor(m, t), NULL, &to)) return 0;
    if (n) memcpy(to, x, n * sizeof *x);
    pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, name, &value);
    const pare_dim known = {.value = len};
    pare_value_type_set(m, value, PARE_INT64, 1, &known);
    return value;
}

static uint32_t add(pare_model *m, uint32_t before, const char *op, const uint32_t *in, size_t n_in) {
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, "open_batch");
    return pare_node_add(m, PARE_MAIN_GRAPH, before, op, "", out, in, n_in, &out, 1);
}

/* The dims, but dim `axis` is that of `like` at run time. 0: no memory. */
static uint32_t dims_like(pare_model *m, uint32_t before, const int64_t *dims, size_t n, int32_t axis, uint32_t like,
                          int32_t like_axis) {
    uint32_t parts[3], count = 0;
    if (axis > 0 && !(parts[count++] = numbers(m, dims, (size_t)axis))) return 0;
    uint32_t shape = add(m, before, "Shape", &like, 1);
    pare_attr_set_int(m, shape, "start", like_axis);
    pare_attr_set_int(m, shape, "end", like_axis + 1);
    parts[count++] = pare_model_node(m, shape)->out[0];
    if ((size_t)axis + 1 < n && !(parts[count++] = numbers(m, dims + axis + 1, n - (size_t)axis - 1))) return 0;
    uint32_t concat = add(m, before, "Concat", parts, count);
    pare_attr_set_int(m, concat, "axis", 0);
    return pare_model_node(m, concat)->out[0];
}

/* ---- looking ---- */

/* A constant's whole numbers. NULL: it is none. */
static const int64_t *constant(pare_model *m, const pare_node *n, uint32_t slot, size_t *count) {
    const pare_value *v = slot < n->n_in ? pare_model_value(m, n->in[slot]) : NULL;
    pare_tensor *t = v && !v->is_input ? pare_model_tensor(m, v->tensor) : NULL;
    const void *data;
    if (!t || t->dtype != PARE_INT64 || t->ndim > 1 || !t->count || pare_tensor_read(t, NULL, &data)) return NULL;
    *count = (size_t)t->count;
    return data;
}

static bool all_known(const pare_value *v) {
    if (v->ndim < 0 || v->ndim > PARE_ARRAY_DIMS) return false;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value <= 0) return false;
    return true;
}

static bool has(const int64_t *x, size_t n, int64_t what, int32_t ndim) {
    for (size_t i = 0; i < n; i++)
        if (from_end(x[i], ndim) == what) return true;
    return false;
}

/* ---- ops that hold the batch, or move its axis ---- */

/* The first axis of the output before which as many numbers lie as before the batch's. */
static int32_t reshaped(const opener *o, const pare_value *in, const pare_value *out, int32_t axis) {
    int64_t before = 1, after = 1;
    for (int32_t i = 0; i < axis; i++) before *= in->dims[i].value;
    for (int32_t i = 0; i < out->ndim; i++) {
        if (after == before && out->dims[i].value % o->batch == 0) return i;
        after *= out->dims[i].value;
    }
    return -1;
}

static bool open_reshape(opener *o, uint32_t node, const pare_value *in, const pare_value *out, int32_t a, int32_t b) {
    const pare_node *n = pare_model_node(o->m, node);
    int64_t to[PARE_ARRAY_DIMS];
    size_t count;
    const int64_t *target = constant(o->m, n, 1, &count);
    if (!target || count != (size_t)out->ndim || target[b] <= 0) return true;
    bool copy = a == b && in->dims[a].value == out->dims[b].value && !pare_node_attr_int(n, "allowzero", 0);
    for (size_t i = 0; i < count; i++) to[i] = copy ? target[i] : out->dims[i].value;
    to[b] = copy ? 0 : -1;
    uint32_t value = numbers(o->m, to, count);
    if (value) pare_node_input_set(o->m, node, 1, value);
    return value != 0;
}

static bool open_expand(opener *o, uint32_t node, const pare_value *out, int32_t b) {
    int64_t to[PARE_ARRAY_DIMS];
    size_t count;
    const int64_t *target = constant(o->m, pare_model_node(o->m, node), 1, &count);
    int64_t at = target ? b - (out->ndim - (int64_t)count) : -1;
    if (at < 0 || count > PARE_ARRAY_DIMS || target[at] == 1) return true;
    memcpy(to, target, count * sizeof *to);
    to[at] = 1;
    uint32_t value = numbers(o->m, to, count);
    if (value) pare_node_input_set(o->m, node, 1, value);
    return value != 0;
}

static bool open_resize(opener *o, uint32_t node, uint32_t in, int32_t a) {
    int64_t to[PARE_ARRAY_DIMS];
    size_t count;
    const pare_node *n = pare_model_node(o->m, node);
    const int64_t *target = constant(o->m, n, 3, &count);
    if (!target || (size_t)a >= count || count > PARE_ARRAY_DIMS || pare_node_attr(n, "axes")) return true;
    memcpy(to, target, count * sizeof *to);
    uint32_t value = dims_like(o->m, node, to, count, a, in, a);
    if (value) pare_node_input_set(o->m, node, 3, value);
    return value != 0;
}

/* Constant rows beside the batch's, a class token say: once for each. */
static bool open_concat(opener *o, uint32_t node, uint32_t like, int32_t a) {
    const pare_node *n = pare_model_node(o->m, node);
    if (o->batch != 1) return true;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(o->m, n->in[i]);
        int64_t ones[PARE_ARRAY_DIMS];
        if (axis_of(o, v->id) >= 0 || v->ndim <= a || v->dims[a].value != 1) continue;
        for (int32_t k = 0; k < v->ndim; k++) ones[k] = 1;
        uint32_t shape = dims_like(o->m, node, ones, (size_t)v->ndim, a, like, a);
        if (!shape) return false;
        const uint32_t in[] = {v->id, shape};
        uint32_t expand = add(o->m, node, "Expand", in, 2);
        pare_node_input_set(o->m, node, i, pare_model_node(o->m, expand)->out[0]);
    }
    return true;
}

/* Where the batch's axis a of input `slot` goes in an output with `out` dims. */
static int32_t moved(opener *o, const pare_node *n, uint32_t slot, const pare_value *in, const pare_value *out,
                     int32_t a) {
    const pare_attr *perm = pare_node_attr(n, "perm");
    if (pare_node_is(n, "Transpose")) {
        for (int32_t i = 0; i < out->ndim; i++)
            if (perm ? (size_t)i < perm->n && perm->ints[i] == a : out->ndim - 1 - i == a) return i;
        return -1;
    }
    if (pare_node_is(n, "Gather")) {
        int64_t axis = from_end(pare_node_attr_int(n, "axis", 0), in->ndim);
        const pare_value *index = pare_model_value(o->m, n->in[1]);
        if (slot == 1) return (int32_t)pare_node_attr_int(n, "axis", 0) + a;
        return a < axis ? a : a + index->ndim - 1;
    }
    size_t count = 0;
    const int64_t *axes = constant(o->m, n, 1, &count);
    const pare_attr *listed = pare_node_attr(n, "axes");
    if (!axes && listed) {
        axes = listed->ints;
        count = listed->n;
    }
    if (pare_node_is(n, "Unsqueeze") && axes) {
        int32_t at = 0;
        for (int32_t i = 0; i < out->ndim; i++)
            if (!has(axes, count, i, out->ndim) && at++ == a) return i;
        return -1;
    }
    if (pare_node_is(n, "Squeeze") || strncmp(n->op_type, "Reduce", 6) == 0) {
        if (in->ndim == out->ndim) return a;
        int32_t at = a;
        for (int32_t i = 0; i < a; i++) at -= axes && has(axes, count, i, in->ndim);
        return at;
    }
    if (pare_node_is(n, "Reshape") || pare_node_is(n, "Flatten")) return reshaped(o, in, out, a);
    return a + out->ndim - in->ndim;
}

static bool visit(opener *o, uint32_t node) {
    const pare_node *n = pare_model_node(o->m, node);
    uint32_t slot = 0;
    while (slot < n->n_in && axis_of(o, n->in[slot]) < 0) slot++;
    if (slot == n->n_in || pare_node_is(n, "Shape") || pare_node_is(n, "Size")) return true;
    const pare_value *in = pare_model_value(o->m, n->in[slot]);
    int32_t a = axis_of(o, in->id);
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_value *out = pare_model_value(o->m, n->out[i]);
        if (!out || !all_known(out) || !all_known(in) || out->id >= o->n_axis) continue;
        int32_t b = moved(o, n, slot, in, out, a);
        if (b >= 0 && b < out->ndim && out->dims[b].value % o->batch == 0) o->axis[out->id] = b;
    }
    const pare_value *out = pare_model_value(o->m, n->n_out ? n->out[0] : 0);
    int32_t b = out ? axis_of(o, out->id) : -1;
    if (b < 0) return true;
    if (pare_node_is(n, "Reshape")) return open_reshape(o, node, in, out, a, b);
    if (pare_node_is(n, "Expand")) return open_expand(o, node, out, b);
    if (pare_node_is(n, "Resize")) return open_resize(o, node, in->id, a);
    if (pare_node_is(n, "Concat")) return open_concat(o, node, in->id, a);
    return true;
}

static bool rewrite(opener *o, const pare_rows_inputs *in) {
    pare_model *m = o->m;
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n = g->nodes.len;
    uint32_t *order = pare_xcalloc(n + 1, sizeof *order); /* nodes come in between */
    bool ok = true;
    if (n) memcpy(order, g->nodes.data, n * sizeof *order);
    o->n_axis = m->values.len + 1;
    o->axis = pare_xcalloc(o->n_axis, sizeof *o->axis);
    for (size_t i = 0; i < o->n_axis; i++) o->axis[i] = -1;
    for (size_t i = 0; i < in->n; i++)
        if (in->carries[i]) o->axis[in->values[i]] = 0;
    for (size_t i = 0; ok && i < n; i++) ok = visit(o, order[i]);
    free(o->axis);
    free(order);
    return ok;
}

/* ---- opening ---- */

/* What follows from the file's batch, as constants too. */
static pare_status fold_all(pare_session *s, pare_model *m) {
    uint64_t folded = 1;
    pare_status st = PARE_OK;
    for (int round = 0; !st && folded && round < 16; round++) {
        st = pare_engine_fold(s, m, NULL, &folded);
        if (!st) st = pare_model_infer(m, NULL);
    }
    return st;
}

/* A copy with an open batch, or NULL; *why as pare_rows_proof has it, where it is still NULL. */
static pare_model *try_open(pare_session *s, const pare_rows_inputs *in, int64_t batch, bool fold, char **why) {
    opener o = {.s = s, .m = pare_model_clone(s->model), .batch = batch};
    pare_rows_proof proof = {0};
    bool ok = (!fold || !fold_all(s, o.m)) && rewrite(&o, in);
    if (ok) pare_rows_prove(s, o.m, in, &proof);
    ok = ok && proof.apart;
    if (ok) pare_rows_bind(o.m, in, -1, pare_arena_strdup(&o.m->arena, "N"));
    ok = ok && !pare_model_infer(o.m, NULL);
    if (!*why && proof.why) *why = pare_xstrdup(proof.why);
    pare_rows_proof_free(&proof);
    if (ok) return o.m;
    pare_model_free(o.m);
    return NULL;
}

pare_status pare_rows_open(pare_session *s, pare_diags *d) {
    (void)d;
    const pare_graph *g = pare_model_graph(s->model, PARE_MAIN_GRAPH);
    uint32_t *values = pare_xcalloc(g->inputs.len + 1, sizeof *values);
    bool *carries = pare_xcalloc(g->inputs.len + 1, sizeof *carries), known = true;
    pare_rows_inputs in = {.values = values, .carries = carries};
    int64_t batch = -1;
    for (size_t i = 0; i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(s->model, g->inputs.data[i]);
        if (v->tensor || v->is_sparse) continue;
        for (int32_t k = 0; k < v->ndim; k++) known = known && v->dims[k].value >= 0;
        known = known && v->ndim >= 0;
        if (batch < 0 && v->ndim > 0) batch = v->dims[0].value;
        carries[in.n] = v->ndim > 0 && v->dims[0].value == batch;
        values[in.n++] = v->id;
    }
    if (in.n && batch > 0) {
        s->rows.fixed = batch;
        pare_model *open = known ? try_open(s, &in, batch, false, &s->rows.why) : NULL;
        if (known && !open) open = try_open(s, &in, batch, true, &s->rows.why);
        if (open) {
            pare_model_free(s->model);
            s->model = open;
            s->rows.opened = true;
            free(s->rows.why);
            s->rows.why = NULL;
        }
    }
    free(values);
    free(carries);
    return PARE_OK;
}
