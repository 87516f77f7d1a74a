/* engine/lower_parts.c - see lower_parts.h: what the rules of lowering ask, make and change. May use: model. */
#include "engine/lower_parts.h"

#include "model/layers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- saying no ---- */

static void say(pare_lowering *l, const pare_node *n, pare_status st, const char *code, const char *hint,
                const char *fmt, va_list ap) {
    pare_sb b = {0};
    const char *label = n->name[0] ? n->name : pare_node_label(l->m, n->id);
    pare_sb_printf(&b, "%s node \"%s\": ", n->op_type, label ? label : "");
    pare_sb_vprintf(&b, fmt, ap);
    pare_diag_item item = {
        .severity = PARE_ERROR, .code = code, .message = pare_sb_str(&b), .hint = hint, .node = label};
    if (l->d) pare_diags_add(l->d, &item);
    pare_sb_free(&b);
    if (!l->st) l->st = st;
}

void pare_lower_refuse(pare_lowering *l, const pare_node *n, const char *hint, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(l, n, PARE_EUNSUPPORTED, "engine.opset", hint, fmt, ap);
    va_end(ap);
}

void pare_lower_bad(pare_lowering *l, const pare_node *n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(l, n, PARE_EINVAL, "model.attribute", NULL, fmt, ap);
    va_end(ap);
}

static uint32_t no_memory(pare_lowering *l, uint64_t count) {
    pare_status st = pare_fail(l->d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a constant of %llu numbers",
                               (unsigned long long)count);
    if (!l->st) l->st = st;
    return 0;
}

/* ---- asking ---- */

int32_t pare_lower_rank(const pare_lowering *l, uint32_t value) {
    const pare_value *v = pare_model_value(l->m, value);
    if (!v) return -1;
    const pare_tensor *t = pare_model_tensor(l->m, v->tensor);
    return t ? (int32_t)t->ndim : v->other_type ? -1 : v->ndim;
}

int64_t pare_lower_dim(const pare_lowering *l, uint32_t value, int32_t i) {
    if (i < 0 || i >= pare_lower_rank(l, value)) return -1;
    const pare_value *v = pare_model_value(l->m, value);
    const pare_tensor *t = pare_model_tensor(l->m, v->tensor);
    return t ? t->dims[i] : v->dims[i].value;
}

uint32_t pare_lower_dtype(const pare_lowering *l, uint32_t value) {
    const pare_value *v = pare_model_value(l->m, value);
    if (!v || v->other_type) return PARE_DTYPE_UNKNOWN;
    const pare_tensor *t = pare_model_tensor(l->m, v->tensor);
    return t ? t->dtype : v->dtype;
}

bool pare_lower_out_used(const pare_lowering *l, const pare_node *n, uint32_t i) {
    const pare_value *v = i < n->n_out ? pare_model_value(l->m, n->out[i]) : NULL;
    return v && (v->uses.len || v->is_output);
}

bool pare_lower_attr_is(const pare_node *n, const char *name, const char *text) {
    const pare_attr *a = pare_node_attr(n, name);
    size_t len = strlen(text);
    return a && a->type == PARE_ATTR_STRING && a->s.len == len && memcmp(a->s.data, text, len) == 0;
}

const pare_attr *pare_lower_attr_ints(const pare_node *n, const char *name) {
    const pare_attr *a = pare_node_attr(n, name);
    return a && a->type == PARE_ATTR_INTS ? a : NULL;
}

pare_tensor *pare_lower_const(const pare_lowering *l, uint32_t value) {
    const pare_value *v = pare_model_value(l->m, value);
    if (!v) return NULL;
    if (v->tensor) return pare_model_tensor(l->m, v->tensor);
    const pare_node *p = pare_model_node(l->m, v->producer);
    if (!p || !pare_node_is(p, "Constant")) return NULL;
    const pare_attr *a = pare_node_attr(p, "value");
    return a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(l->m, a->ids[0]) : NULL;
}

const void *pare_lower_const_data(pare_lowering *l, uint32_t value, uint32_t dtype, uint64_t *n) {
    pare_tensor *t = pare_lower_const(l, value);
    const void *data = NULL;
    if (!t || t->dtype != dtype || pare_tensor_read(t, NULL, &data)) return NULL;
    *n = t->count;
    return data;
}

/* ---- making ---- */

/* A free name after the node's first output (or the node). */
static const char *name_for(pare_lowering *l, const pare_node *n, const char *what) {
    const pare_value *v = NULL;
    for (uint32_t i = 0; i < n->n_out && !v; i++) v = pare_model_value(l->m, n->out[i]);
    const char *base = v ? v->name : n->name[0] ? n->name : n->op_type;
    return pare_name_fresh(l->m, n->graph, pare_arena_printf(&l->m->arena, "%s/%s", base, what));
}

static uint32_t constant(pare_lowering *l, const pare_node *n, const char *what, uint32_t dtype, size_t ndim,
                         const void *v, size_t count, size_t size) {
    int64_t dims[1] = {(int64_t)count};
    const char *name = name_for(l, n, what);
    uint32_t id = pare_tensor_add(l->m, n->graph, name, dtype, ndim, dims);
    pare_tensor *t = pare_model_tensor(l->m, id);
    void *data = NULL;
    if (!t || pare_tensor_overwrite(t, l->d, &data)) return no_memory(l, count);
    if (count) memcpy(data, v, count * size);
    return pare_graph_find(l->m, n->graph, name);
}

uint32_t pare_lower_ints(pare_lowering *l, const pare_node *n, const char *what, const int64_t *v, size_t count) {
    return constant(l, n, what, PARE_INT64, 1, v, count, sizeof *v);
}

uint32_t pare_lower_int(pare_lowering *l, const pare_node *n, const char *what, int64_t v) {
    return constant(l, n, what, PARE_INT64, 0, &v, 1, sizeof v);
}

uint32_t pare_lower_floats(pare_lowering *l, const pare_node *n, const char *what, const float *v, size_t count) {
    return constant(l, n, what, PARE_FLOAT, 1, v, count, sizeof *v);
}

uint32_t pare_lower_float(pare_lowering *l, const pare_node *n, const char *what, float v, uint32_t dtype) {
    uint32_t value = constant(l, n, what, PARE_FLOAT, 0, &v, 1, sizeof v);
    return dtype == PARE_FLOAT ? value : pare_lower_cast(l, n, what, value, dtype);
}

uint32_t pare_lower_before(pare_lowering *l, const pare_node *n, const char *op, const char *what, const uint32_t *in,
                           size_t n_in) {
    for (size_t i = 0; i < n_in; i++)
        if (!in[i] && l->st) return 0; /* what it would take could not be made */
    const char *out[1] = {name_for(l, n, what)};
    const char *name = n->name[0] ? pare_arena_printf(&l->m->arena, "%s/%s", n->name, what) : "";
    uint32_t id = pare_node_add(l->m, n->graph, n->id, op, "", name, in, n_in, out, 1);
    return pare_model_node(l->m, id)->out[0];
}

void pare_lower_made_int(pare_lowering *l, uint32_t value, const char *name, int64_t v) {
    const pare_value *made = pare_model_value(l->m, value);
    if (made) pare_attr_set_int(l->m, made->producer, name, v);
}

uint32_t pare_lower_cast(pare_lowering *l, const pare_node *n, const char *what, uint32_t value, uint32_t dtype) {
    uint32_t out = pare_lower_before(l, n, "Cast", what, &value, 1);
    pare_lower_made_int(l, out, "to", dtype);
    return out;
}

/* ---- changing ---- */

void pare_lower_input(pare_lowering *l, pare_node *n, uint32_t slot, uint32_t value) {
    while (n->n_in < slot) pare_node_input_set(l->m, n->id, n->n_in, 0);
    pare_node_input_set(l->m, n->id, slot, value);
}

void pare_lower_rename(pare_lowering *l, pare_node *n, const char *op) {
    n->op_type = op;
    l->m->edits++;
}

void pare_lower_become(pare_lowering *l, pare_node *n, const char *op, const uint32_t *in, size_t n_in) {
    while (n->n_attrs) pare_attr_del(l->m, n->id, n->attrs[0].name);
    for (size_t i = 0; i < n_in; i++) pare_lower_input(l, n, (uint32_t)i, in[i]);
    pare_node_inputs_trim(l->m, n->id, (uint32_t)n_in);
    pare_lower_rename(l, n, op);
}

void pare_lower_outputs_trim(pare_lowering *l, pare_node *n, uint32_t n_out) {
    while (n->n_out > n_out) {
        uint32_t id = n->out[--n->n_out];
        pare_value *v = pare_model_value(l->m, id);
        if (!v) continue;
        assert(!v->uses.len && !v->is_output);
        v->producer = v->slot = 0;
        pare_value_del(l->m, id);
    }
    l->m->edits++;
}
