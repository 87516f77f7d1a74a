/* model/ops_rules.c - what shape rules are made of: dims, attributes, messages. See ops_rules.h. */
#include "model/ops_rules.h"

#include "model/layers.h"

#include <string.h>

/* ---- asking ---- */

static pare_value *input_value(const pare_infer_ctx *c, uint32_t i) {
    return i < c->node->n_in ? pare_model_value(c->model, c->node->in[i]) : NULL;
}

bool pare_infer_has(const pare_infer_ctx *c, uint32_t i) { return input_value(c, i) != NULL; }

/* From IR 4 on, a graph input's initializer is a default that the caller may replace. */
static bool is_overridable(const pare_model *m, const pare_value *v) { return v->is_input && m->ir_version >= 4; }

pare_tensor *pare_infer_tensor(const pare_infer_ctx *c, uint32_t i) {
    const pare_value *v = input_value(c, i);
    if (!v) return NULL;
    if (v->tensor) return is_overridable(c->model, v) ? NULL : pare_model_tensor(c->model, v->tensor);
    const pare_node *n = pare_model_node(c->model, v->producer);
    if (!n || !pare_node_is(n, "Constant")) return NULL;
    const pare_attr *a = pare_node_attr(n, "value");
    return a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(c->model, a->ids[0]) : NULL;
}

void pare_infer_in(const pare_infer_ctx *c, uint32_t i, pare_shape *s) {
    s->dtype = PARE_DTYPE_UNKNOWN;
    s->ndim = -1;
    const pare_value *v = input_value(c, i);
    if (!v) return;
    s->dtype = v->dtype;
    const pare_tensor *t = is_overridable(c->model, v) ? NULL : pare_model_tensor(c->model, v->tensor);
    if (t) {
        s->dtype = t->dtype;
        if (t->ndim > PARE_RANK_MAX) return;
        s->ndim = (int32_t)t->ndim;
        for (uint32_t k = 0; k < t->ndim; k++) s->d[k] = pare_dim_of(t->dims[k]);
        return;
    }
    if (v->other_type || v->ndim < 0 || v->ndim > PARE_RANK_MAX) return;
    s->ndim = v->ndim;
    for (int32_t k = 0; k < v->ndim; k++) {
        s->d[k] = v->dims[k];
        if (!pare_dim_named(s->d[k])) s->d[k].symbol = NULL;
    }
}

uint32_t pare_infer_dtype(const pare_infer_ctx *c, uint32_t i) {
    const pare_value *v = input_value(c, i);
    if (!v) return PARE_DTYPE_UNKNOWN;
    const pare_tensor *t = pare_model_tensor(c->model, v->tensor);
    return t ? t->dtype : v->dtype;
}

static const pare_numbers *numbers_of_tensor(pare_infer_run *run, pare_tensor *t) {
    if (t->ndim > 1 || t->count > PARE_VALUES_MAX) return NULL;
    if (t->dtype != PARE_INT64 && t->dtype != PARE_INT32 && t->dtype != PARE_BOOL) return NULL;
    const void *data = NULL;
    if (t->count && pare_tensor_read(t, NULL, &data) != PARE_OK) return NULL;
    if (t->count && !data) return NULL;
    pare_numbers *out = pare_arena_alloc(&run->arena, sizeof *out);
    pare_number *e = pare_arena_alloc(&run->arena, (t->count + 1) * sizeof *e);
    for (uint64_t i = 0; i < t->count; i++) {
        e[i].known = true;
        if (t->dtype == PARE_INT64)
            e[i].v = ((const int64_t *)data)[i];
        else if (t->dtype == PARE_INT32)
            e[i].v = ((const int32_t *)data)[i];
        else
            e[i].v = ((const uint8_t *)data)[i] != 0;
    }
    *out = (pare_numbers){.ndim = (int32_t)t->ndim, .n = (uint32_t)t->count, .e = e};
    return out;
}

const pare_numbers *pare_infer_numbers(const pare_infer_ctx *c, uint32_t i) {
    const pare_value *v = input_value(c, i);
    if (!v || v->id > c->run->n_values) return NULL;
    const pare_numbers **slot = &c->run->numbers[v->id];
    if (*slot) return *slot;
    pare_tensor *t = pare_infer_tensor(c, i);
    if (t) *slot = numbers_of_tensor(c->run, t);
    return *slot;
}

bool pare_infer_const_ints(pare_infer_ctx *c, uint32_t i, const int64_t **v, size_t *n) {
    const pare_numbers *k = pare_infer_numbers(c, i);
    if (!k) return false;
    for (uint32_t j = 0; j < k->n; j++)
        if (!k->e[j].known) return false;
    int64_t *out = pare_arena_alloc(&c->run->arena, (k->n + 1) * sizeof *out);
    for (uint32_t j = 0; j < k->n; j++) out[j] = k->e[j].v;
    *v = out;
    *n = k->n;
    return true;
}

bool pare_infer_const_floats(pare_infer_ctx *c, uint32_t i, const float **v, size_t *n) {
    pare_tensor *t = pare_infer_tensor(c, i);
    if (!t || t->dtype != PARE_FLOAT || t->count > PARE_VALUES_MAX) return false;
    const void *data = NULL;
    if (t->count && (pare_tensor_read(t, NULL, &data) != PARE_OK || !data)) return false;
    *v = data;
    *n = t->count;
    return true;
}

/* ---- attributes ---- */

pare_status pare_infer_attr_ints(pare_infer_ctx *c, const char *name, size_t n, int64_t lo, int64_t dflt,
                                 int64_t *out) {
    const pare_attr *a = pare_node_attr(c->node, name);
    if (!a || a->ref_attr_name) {
        for (size_t i = 0; i < n; i++) out[i] = dflt;
        return PARE_OK;
    }
    if (a->type != PARE_ATTR_INTS)
        return pare_infer_fail(c, "model.attribute", "attribute %s is not a list of ints", name);
    if (a->n != n)
        return pare_infer_fail(c, "model.attribute", "attribute %s has %zu numbers, its input needs %zu", name, a->n,
                               n);
    for (size_t i = 0; i < n; i++) {
        if (a->ints[i] < lo)
            return pare_infer_fail(c, "model.attribute", "attribute %s has the value %lld, allowed is %lld and up",
                                   name, (long long)a->ints[i], (long long)lo);
        out[i] = a->ints[i];
    }
    return PARE_OK;
}

pare_status pare_infer_axis(pare_infer_ctx *c, const char *name, int64_t axis, int32_t ndim, int32_t *out) {
    if (axis < -ndim || axis >= ndim)
        return pare_infer_fail(c, "model.attribute", "%s is %lld, but there are %d dims", name, (long long)axis, ndim);
    *out = (int32_t)(axis < 0 ? axis + ndim : axis);
    return PARE_OK;
}

pare_status pare_infer_axes(pare_infer_ctx *c, uint32_t in_slot, int32_t ndim, bool *known, int64_t *n, int64_t *axes) {
    const pare_attr *a = pare_node_attr(c->node, "axes");
    const int64_t *v = NULL;
    size_t len = 0;
    *known = true;
    *n = -1;
    if (in_slot && pare_infer_has(c, in_slot)) {
        if (!pare_infer_const_ints(c, in_slot, &v, &len)) {
            pare_shape s;
            pare_infer_in(c, in_slot, &s);
            *known = false;
            if (s.ndim == 0) *n = 1;
            if (s.ndim == 1 && pare_dim_known(s.d[0])) *n = s.d[0].value;
            return PARE_OK;
        }
    } else if (a && a->type == PARE_ATTR_INTS) {
        v = a->ints;
        len = a->n;
    } else if (a && a->ref_attr_name) {
        *known = false;
        return PARE_OK;
    } else {
        return PARE_OK;
    }
    if (len > PARE_RANK_MAX) {
        if (ndim >= 0)
            return pare_infer_fail(c, "model.attribute", "axes has %zu numbers, but there are %d dims", len, ndim);
        *known = false;
        return PARE_OK;
    }
    for (size_t i = 0; i < len; i++) {
        axes[i] = v[i];
        int32_t at = 0;
        if (ndim < 0) continue;
        pare_status st = pare_infer_axis(c, "axes", v[i], ndim, &at);
        if (st) return st;
        axes[i] = at;
    }
    *n = (int64_t)len;
    return PARE_OK;
}

/* ---- saying ---- */

pare_status pare_infer_fail(pare_infer_ctx *c, const char *code, const char *fmt, ...) {
    enum { ENOUGH = 20 };
    if (c->run->depth || !c->diags || c->run->errors++ >= ENOUGH) return PARE_EINVAL;
    pare_sb b = {0};
    const char *label = pare_node_label(c->model, c->node->id);
    if (c->node->name[0])
        pare_sb_printf(&b, "%s \"%s\": ", label, c->node->name);
    else
        pare_sb_printf(&b, "%s: ", label);
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = code,
                         .message = pare_sb_str(&b),
                         .hint = "the graph contradicts itself here; no runtime can run it: export or edit it anew",
                         .path = c->model->path,
                         .node = c->node->name[0] ? c->node->name : label};
    pare_diags_add(c->diags, &it);
    pare_sb_free(&b);
    return PARE_EINVAL;
}

const char *pare_shape_text(const pare_infer_ctx *c, const pare_shape *s) {
    if (s->ndim < 0) return "[?]";
    pare_sb b = {0};
    pare_sb_addc(&b, '[');
    for (int32_t i = 0; i < s->ndim; i++) {
        if (i) pare_sb_add(&b, ", ");
        if (pare_dim_known(s->d[i]))
            pare_sb_printf(&b, "%lld", (long long)s->d[i].value);
        else
            pare_sb_add(&b, s->d[i].symbol ? s->d[i].symbol : "?");
    }
    pare_sb_addc(&b, ']');
    const char *text = pare_arena_strdup(&c->run->arena, pare_sb_str(&b));
    pare_sb_free(&b);
    return text;
}

void pare_infer_out_shape(pare_infer_ctx *c, uint32_t i, uint32_t dtype, const pare_shape *s) {
    pare_infer_out(c, i, dtype, s->ndim, s->d);
}

void pare_infer_out_unknown(pare_infer_ctx *c, uint32_t i, uint32_t dtype) { pare_infer_out(c, i, dtype, -1, NULL); }

void pare_infer_numbers_set(pare_infer_ctx *c, uint32_t i, int32_t ndim, uint32_t n, const pare_number *e) {
    if (i >= c->node->n_out || !c->node->out[i] || c->node->out[i] > c->run->n_values || n > PARE_VALUES_MAX) return;
    pare_numbers *k = pare_arena_alloc(&c->run->arena, sizeof *k);
    *k = (pare_numbers){.ndim = ndim, .n = n, .e = pare_arena_memdup(&c->run->arena, e, n * sizeof *e)};
    c->run->numbers[c->node->out[i]] = k;
}

/* ---- dims ---- */

bool pare_dim_named(pare_dim d) {
    static const char *const nameless[] = {"", "?", "*", "-1", "None"};
    for (size_t i = 0; d.symbol && i < sizeof nameless / sizeof *nameless; i++)
        if (strcmp(d.symbol, nameless[i]) == 0) return false;
    return d.symbol != NULL;
}

bool pare_dim_same(pare_dim a, pare_dim b) {
    if (pare_dim_known(a) || pare_dim_known(b)) return a.value == b.value;
    return a.symbol && b.symbol && strcmp(a.symbol, b.symbol) == 0;
}

bool pare_dim_merge(pare_dim *a, pare_dim b) {
    if (pare_dim_known(*a)) return !pare_dim_known(b) || a->value == b.value;
    if (pare_dim_known(b) || (b.symbol && !a->symbol)) *a = b;
    return true;
}

pare_dim pare_dim_mul(pare_dim a, pare_dim b) {
    int64_t r;
    if (a.value == 0 || b.value == 0) return pare_dim_of(0);
    if (a.value == 1) return b;
    if (b.value == 1) return a;
    if (!pare_dim_known(a) || !pare_dim_known(b) || __builtin_mul_overflow(a.value, b.value, &r))
        return pare_dim_of(-1);
    return pare_dim_of(r);
}

pare_dim pare_dim_add(pare_dim a, pare_dim b) {
    int64_t r;
    if (a.value == 0) return b;
    if (b.value == 0) return a;
    if (!pare_dim_known(a) || !pare_dim_known(b) || __builtin_add_overflow(a.value, b.value, &r))
        return pare_dim_of(-1);
    return pare_dim_of(r);
}

bool pare_shape_grow(pare_shape *s, pare_dim d) {
    if (s->ndim < 0) return false;
    if (s->ndim == PARE_RANK_MAX) {
        s->ndim = -1;
        return false;
    }
    s->d[s->ndim++] = d;
    return true;
}

/* What two dims broadcast to. false: two numbers that can't meet. */
static bool broadcast_dim(pare_dim a, pare_dim b, pare_dim *out) {
    if (pare_dim_same(a, b) || b.value == 1) return *out = a, true;
    if (a.value == 1) return *out = b, true;
    if (pare_dim_known(a) && pare_dim_known(b)) return false;
    /* one is not known: it must be 1 or the other's number, unless that is 0 */
    if (a.value > 1) return *out = a, true;
    if (b.value > 1) return *out = b, true;
    *out = pare_dim_of(-1);
    return true;
}

pare_status pare_infer_broadcast(pare_infer_ctx *c, pare_shape *s, const pare_shape *b) {
    if (s->ndim < 0 || b->ndim < 0) return s->ndim = -1, PARE_OK;
    pare_shape a = *s;
    s->ndim = a.ndim > b->ndim ? a.ndim : b->ndim;
    for (int32_t i = 0; i < s->ndim; i++) {
        int32_t ia = i - (s->ndim - a.ndim), ib = i - (s->ndim - b->ndim);
        pare_dim one = pare_dim_of(1);
        if (!broadcast_dim(ia < 0 ? one : a.d[ia], ib < 0 ? one : b->d[ib], &s->d[i]))
            return pare_infer_fail(c, "model.shape", "shapes %s and %s don't broadcast: %lld against %lld",
                                   pare_shape_text(c, &a), pare_shape_text(c, b), (long long)a.d[ia].value,
                                   (long long)b->d[ib].value);
    }
    return PARE_OK;
}

/* ---- multiply-adds ---- */

int64_t pare_macs_mul(int64_t a, int64_t b) {
    int64_t r;
    return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &r) ? -1 : r;
}

int64_t pare_macs_dim(const pare_model *m, const pare_value *v, int32_t i) {
    if (!v || v->ndim < 0 || i < 0 || i >= v->ndim) return -1;
    pare_dim d = v->dims[i];
    if (pare_dim_known(d)) return d.value;
    if (i == 0) return 1;
    /* elsewhere only what has the name of the inputs' batch */
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t k = 0; pare_dim_named(d) && g && k < g->inputs.len; k++) {
        const pare_value *in = pare_model_value(m, g->inputs.data[k]);
        if (!in || in->tensor || in->ndim < 1 || !in->dims[0].symbol) continue;
        return strcmp(in->dims[0].symbol, d.symbol) == 0 ? 1 : -1;
    }
    return -1;
}
