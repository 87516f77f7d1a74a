/* engine/fold.c - nodes that can be run before any input comes: constants of constants, shapes that are known.
 *
 * Runs them with the host device's kernels and puts initializers in their place. See parts.h. Is not: a pass that
 * changes meaning; what it makes is bit for bit what the kernels make at run time. May use: parts.h, model.
 */
#include "engine/parts.h"
#include "engine/quant.h"

#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

/* ---- putting a constant in a node's place ---- */

pare_status pare_engine_put(pare_model *m, uint32_t value, const pare_array *a, pare_diags *d) {
    const pare_value *v = pare_model_value(m, value);
    const char *name = pare_name_fresh(m, PARE_MAIN_GRAPH, v->name);
    uint32_t t = pare_tensor_add_blob(m, PARE_MAIN_GRAPH, name, a->dtype, a->ndim, a->dims, a->blob), to = 0;
    if (!t || !pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, name, &to))
        return pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for the constant \"%s\"", v->name);
    pare_dim dims[PARE_ARRAY_DIMS]; /* known at once, not only after the next inference */
    for (uint32_t i = 0; i < a->ndim; i++) dims[i] = (pare_dim){.value = a->dims[i]};
    pare_value_type_set(m, to, a->dtype, (int32_t)a->ndim, dims);
    pare_value_replace_uses(m, value, to);
    return PARE_OK;
}

static pare_array *ints(uint32_t ndim, int64_t n, const int64_t *v) {
    pare_array *a = pare_array_new(PARE_INT64, ndim, &n);
    if (a && a->nbytes) memcpy(pare_array_data_mut(a), v, a->nbytes);
    return a;
}

/* ---- Shape and Size need no data ---- */

static pare_status shape_of(pare_model *m, const pare_node *n, pare_array **out) {
    const pare_value *x = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    *out = NULL;
    if (!x || x->ndim < 0 || x->ndim > PARE_ARRAY_DIMS) return PARE_OK;
    int64_t dims[PARE_ARRAY_DIMS], rank = x->ndim;
    int64_t from = pare_node_attr_int(n, "start", 0), to = pare_node_attr_int(n, "end", rank);
    if (from < 0) from = from < -rank ? 0 : from + rank;
    if (to < 0) to = to < -rank ? 0 : to + rank;
    if (to > rank) to = rank;
    if (from > to) from = to;
    for (int64_t i = from; i < to; i++) {
        if (x->dims[i].value < 0) return PARE_OK;
        dims[i - from] = x->dims[i].value;
    }
    *out = ints(1, to - from, dims);
    return *out ? PARE_OK : PARE_ENOMEM;
}

static pare_status size_of(pare_model *m, const pare_node *n, pare_array **out) {
    const pare_value *x = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    *out = NULL;
    int64_t size = 1;
    if (!x || x->ndim < 0) return PARE_OK;
    for (int32_t i = 0; i < x->ndim; i++)
        if (x->dims[i].value < 0 || __builtin_mul_overflow(size, x->dims[i].value, &size)) return PARE_OK;
    *out = ints(0, 1, &size);
    return *out ? PARE_OK : PARE_ENOMEM;
}

/* ---- running a node ---- */

static bool is_random(const pare_node *n) {
    static const char *const ops[] = {"Bernoulli",        "Multinomial",   "RandomNormal",
                                      "RandomNormalLike", "RandomUniform", "RandomUniformLike"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i], n->op_type) == 0) return true;
    return strcmp(n->op_type, "Dropout") == 0;
}

/* Constants all, outputs known, and not a small thing that would become a large one. */
static bool can_run(const pare_model *m, const pare_node *n) {
    enum { SMALL = 64 << 10, GROWTH = 4 };
    uint64_t in = 0, out = 0;
    if (n->domain[0] || is_random(n) || !n->n_in) return false;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(m, n->in[i]);
        const pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
        if (!n->in[i]) continue;
        if (!t || t->ndim > PARE_ARRAY_DIMS || t->dtype == PARE_STRING) return false;
        in += t->blob ? t->blob->len : 0;
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        uint64_t count = 1, bytes;
        const pare_value *v = pare_model_value(m, n->out[i]);
        if (!v) continue;
        if (!pare_value_known(v)) return false;
        for (int32_t k = 0; k < v->ndim; k++)
            if (!pare_mul_ok(count, (uint64_t)v->dims[k].value, &count)) return false;
        if (!pare_dtype_nbytes(v->dtype, count, &bytes) || !pare_add_ok(out, bytes, &out)) return false;
    }
    return out <= SMALL || out / GROWTH <= in;
}

static const uint64_t nothing[8]; /* where empty tensors lie */

/* Tensors of the session's own model are read there, so that a misaligned one is copied once. */
static pare_tensor *original(const pare_session *s, pare_model *m, uint32_t id) {
    pare_tensor *own = pare_model_tensor(s->model, id), *t = pare_model_tensor(m, id);
    return own && t && own->version == t->version ? own : t;
}

/* PARE_ENOTFOUND: no kernel takes it as it is; the node stays. */
static pare_status run_node(pare_session *s, pare_model *m, const pare_node *n, pare_diags *d, pare_array **out) {
    const pare_engine_device *dev = &s->devices[pare_engine_host_device(s)];
    const pare_backend *b = dev->use.backend;
    pare_arena a = {0};
    pare_spec spec;
    void *kernel = NULL, *scratch = NULL;
    pare_status st = pare_spec_of(&a, m, n, 0, NULL, &spec);
    const void **in = pare_arena_alloc(&a, (n->n_in + 1) * sizeof *in);
    void **to = pare_arena_alloc(&a, (n->n_out + 1) * sizeof *to);
    for (uint32_t i = 0; !st && i < n->n_in; i++) {
        const pare_value *v = pare_model_value(m, n->in[i]);
        if (!v) continue;
        st = pare_tensor_read(original(s, m, v->tensor), d, &in[i]);
        if (!in[i]) in[i] = nothing;
        if (pare_spec_host_slot(n, i)) {
            spec.operands[i].flags |= PARE_OPERAND_HOST;
            spec.operands[i].data = in[i];
        }
    }
    pare_kernel_info info = {.size = sizeof info};
    if (st || b->kernel(dev->handle, &spec.k, 0, &kernel) || b->kernel_info(kernel, &info)) goto none;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (in[i] && (info.in[i].kind == PARE_LAYOUT_OWN || (info.pack && info.pack[i]))) goto none;
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && info.out[i].kind == PARE_LAYOUT_OWN) goto none;
    if (info.scratch && b->alloc(dev->handle, info.scratch, &scratch)) goto none;
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_operand *o = spec.out[i];
        if (!n->out[i]) continue;
        if (!(out[i] = pare_array_new(o->dtype, o->ndim, o->dims))) goto none;
        to[i] = out[i]->nbytes ? pare_array_data_mut(out[i]) : NULL;
    }
    st = PARE_OK;
    if (info.view) {
        if (out[0]->nbytes) memcpy(to[0], in[0], out[0]->nbytes);
    } else if (n->out[0] && out[0]->nbytes) {
        st = b->run(kernel, in, to, scratch);
        if (!st) st = b->sync(dev->handle);
    }
    if (st)
        st = pare_fail(d, st, "engine.fold", NULL, "%s node \"%s\" of %s can't be computed: %s", n->op_type,
                       pare_engine_node_name(m, n), m == s->model ? "constants" : "the inputs' numbers or shapes",
                       pare_engine_why(n->op_type, st));
    goto done;
none:
    if (!st) st = PARE_ENOTFOUND;
done:
    if (scratch) b->free(dev->handle, scratch);
    if (kernel) b->kernel_free(kernel);
    pare_arena_free(&a);
    return st;
}

pare_status pare_engine_constant_of(pare_session *s, pare_model *m, const pare_node *n, pare_diags *d,
                                    pare_array **out) {
    pare_array **all = pare_xcalloc(n->n_out + 1, sizeof *all);
    pare_status st = n->n_out && can_run(m, n) ? run_node(s, m, n, d, all) : PARE_ENOTFOUND;
    if (!st && !all[0]) st = PARE_ENOTFOUND;
    if (!st) *out = pare_array_ref(all[0]);
    for (uint32_t i = 0; i < n->n_out; i++) pare_array_unref(all[i]);
    free(all);
    return st;
}

static pare_status fold_node(pare_session *s, pare_model *m, uint32_t node, pare_diags *d, bool *folded) {
    const pare_node *n = pare_model_node(m, node);
    pare_array *one = NULL, **out = NULL;
    pare_status st = PARE_OK;
    *folded = false;
    if (!n->n_out) return PARE_OK;
    uint32_t n_out = n->n_out;
    out = pare_xcalloc(n_out, sizeof *out);
    if (pare_node_is(n, "Shape"))
        st = shape_of(m, n, &one);
    else if (pare_node_is(n, "Size"))
        st = size_of(m, n, &one);
    else if (can_run(m, n) && !pare_quant_keeps(m, n))
        st = run_node(s, m, n, d, out);
    else
        st = PARE_ENOTFOUND;
    if (one) out[0] = one;
    if (!st && !out[0]) st = PARE_ENOTFOUND;
    for (uint32_t i = 0; !st && i < n_out; i++)
        if (out[i]) st = pare_engine_put(m, n->out[i], out[i], d);
    if (!st) {
        pare_node_del(m, node);
        *folded = true;
    }
    for (uint32_t i = 0; i < n_out; i++) pare_array_unref(out[i]);
    free(out);
    return st == PARE_ENOTFOUND ? PARE_OK : st;
}

/* One number of any type as a whole one; false: none, or a float that is no size. */
static bool whole_number(uint32_t dtype, const void *data, int64_t *out) {
    double f = -1;
    uint16_t h;
    switch (dtype) {
    case PARE_INT8: *out = *(const int8_t *)data; return true;
    case PARE_UINT8: *out = *(const uint8_t *)data; return true;
    case PARE_INT16: *out = *(const int16_t *)data; return true;
    case PARE_UINT16: *out = *(const uint16_t *)data; return true;
    case PARE_INT32: *out = *(const int32_t *)data; return true;
    case PARE_UINT32: *out = *(const uint32_t *)data; return true;
    case PARE_UINT64:
    case PARE_INT64: *out = *(const int64_t *)data; return *out >= 0;
    case PARE_FLOAT: f = (double)*(const float *)data; break;
    case PARE_DOUBLE: f = *(const double *)data; break;
    case PARE_FLOAT16: /* numbers of 1 and more: no subnormals, no infinity */
        h = *(const uint16_t *)data;
        if (h >= 0x3c00 && h < 0x7c00) f = (double)(1024 + (h & 1023)) / 1024 * (double)(1u << ((h >> 10) - 15));
        if (!h) f = 0;
        break;
    default: return false;
    }
    if (!(f >= 0 && f <= 1e9)) return false;
    *out = (int64_t)f;
    return true;
}

/* OneHot's depth may be of any number type; shapes follow from whole numbers alone. */
static pare_status whole_depth(pare_model *m, pare_node *n, pare_diags *d, bool *changed) {
    const pare_value *v = pare_node_is(n, "OneHot") && n->n_in > 1 ? pare_model_value(m, n->in[1]) : NULL;
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    const void *data = NULL;
    int64_t depth = 0;
    *changed = false;
    if (!t || t->count != 1 || t->dtype == PARE_INT64 || pare_tensor_read(t, NULL, &data) || !data) return PARE_OK;
    if (!whole_number(t->dtype, data, &depth)) return PARE_OK;
    const char *name = pare_name_fresh(m, PARE_MAIN_GRAPH, "depth");
    uint32_t to = pare_tensor_add(m, PARE_MAIN_GRAPH, name, PARE_INT64, 0, NULL), value = 0;
    void *mine;
    if (!to || pare_tensor_overwrite(pare_model_tensor(m, to), d, &mine)) return PARE_ENOMEM;
    memcpy(mine, &depth, sizeof depth);
    pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, name, &value);
    pare_value_type_set(m, value, PARE_INT64, 0, NULL);
    pare_node_input_set(m, n->id, 1, value);
    *changed = true;
    return PARE_OK;
}

pare_status pare_engine_fold(pare_session *s, pare_model *m, pare_diags *d, uint64_t *changed) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    *changed = 0;
    for (size_t i = 0; i < g->nodes.len; i++) {
        bool folded, whole;
        pare_status st = whole_depth(m, pare_model_node(m, g->nodes.data[i]), d, &whole);
        if (!st) st = fold_node(s, m, g->nodes.data[i], d, &folded);
        if (st) return st;
        *changed += whole;
        if (folded) ++*changed, i--; /* the list moved up */
    }
    return PARE_OK;
}

/* ---- Constant nodes ---- */

static pare_status constant_array(pare_model *m, const pare_node *n, pare_diags *d, pare_array **out) {
    const pare_attr *a = NULL;
    static const char *const forms[] = {"value", "value_float", "value_int", "value_floats", "value_ints"};
    *out = NULL;
    for (size_t i = 0; !a && i < sizeof forms / sizeof *forms; i++) a = pare_node_attr(n, forms[i]);
    int64_t one = 1, len = a ? (int64_t)a->n : 0;
    const pare_tensor *t = a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(m, a->ids[0]) : NULL;
    if (t && t->dtype != PARE_STRING) {
        if (t->ndim > PARE_ARRAY_DIMS)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.rank", NULL,
                             "Constant node \"%s\" has %u dims, at most %d are supported", pare_engine_node_name(m, n),
                             t->ndim, PARE_ARRAY_DIMS);
        *out = pare_array_of_tensor(t);
    } else if (a && (a->type == PARE_ATTR_FLOAT || a->type == PARE_ATTR_FLOATS)) {
        bool list = a->type == PARE_ATTR_FLOATS;
        *out = pare_array_new(PARE_FLOAT, list, list ? &len : &one);
        if (*out && (*out)->nbytes) memcpy(pare_array_data_mut(*out), list ? a->floats : &a->f, (*out)->nbytes);
    } else if (a && (a->type == PARE_ATTR_INT || a->type == PARE_ATTR_INTS)) {
        *out = ints(a->type == PARE_ATTR_INTS, a->type == PARE_ATTR_INTS ? len : 1,
                    a->type == PARE_ATTR_INTS ? a->ints : &a->i);
    } else {
        return pare_fail(d, PARE_EUNSUPPORTED, "engine.constant", NULL,
                         "Constant node \"%s\" holds what the engine does not compute with (a string or sparse tensor)",
                         pare_engine_node_name(m, n));
    }
    return *out ? PARE_OK : PARE_ENOMEM;
}

pare_status pare_engine_constant_nodes(pare_model *m, pare_diags *d) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        uint32_t id = g->nodes.data[i];
        const pare_node *n = pare_model_node(m, id);
        pare_array *a = NULL;
        if (!pare_node_is(n, "Constant") || n->n_out < 1 || !n->out[0]) continue;
        pare_status st = constant_array(m, n, d, &a);
        if (!st) st = pare_engine_put(m, n->out[0], a, d);
        pare_array_unref(a);
        if (st) return st;
        pare_node_del(m, id);
        i--;
    }
    return PARE_OK;
}
