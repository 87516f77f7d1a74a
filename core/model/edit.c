/* model/edit.c - see edit.h. Uses, producers and name tables are kept right here and nowhere else. */
#include "model/edit.h"

#include "model/mask.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- small helpers ---- */

#define VEC_REMOVE_VALUE(v, x)                                                                                         \
    do {                                                                                                               \
        size_t at_ = 0;                                                                                                \
        while (at_ < (v)->len && (v)->data[at_] != (x)) at_++;                                                         \
        if (at_ < (v)->len) {                                                                                          \
            memmove((v)->data + at_, (v)->data + at_ + 1, ((v)->len - at_ - 1) * sizeof *(v)->data);                   \
            (v)->len--;                                                                                                \
        }                                                                                                              \
    } while (0)

static void use_add(pare_model *m, uint32_t value, uint32_t node, uint32_t slot) {
    pare_value *v = pare_model_value(m, value);
    if (v) pare_vec_push(&v->uses, ((pare_use){node, slot}));
}

static void use_del(pare_model *m, uint32_t value, uint32_t node, uint32_t slot) {
    pare_value *v = pare_model_value(m, value);
    if (!v) return;
    for (size_t i = 0; i < v->uses.len; i++) {
        if (v->uses.data[i].node != node || v->uses.data[i].slot != slot) continue;
        memmove(&v->uses.data[i], &v->uses.data[i + 1], (v->uses.len - i - 1) * sizeof *v->uses.data);
        v->uses.len--;
        return;
    }
}

static void *grow_list(pare_model *m, const uint32_t *list, uint32_t n, uint32_t to) {
    uint32_t *out = pare_arena_alloc(&m->arena, to * sizeof *out);
    if (n) memcpy(out, list, n * sizeof *out);
    return out;
}

/* ---- graphs, nodes ---- */

uint32_t pare_graph_add(pare_model *m, uint32_t parent_node, const char *name) {
    pare_graph *g = pare_arena_alloc(&m->arena, sizeof *g);
    pare_vec_push(&m->graphs, g);
    g->id = (uint32_t)m->graphs.len;
    g->parent_node = parent_node;
    g->name = pare_arena_strdup(&m->arena, name ? name : "");
    m->edits++;
    return g->id;
}

static void vec_insert_node(pare_graph *g, uint32_t before, uint32_t id) {
    size_t at = g->nodes.len;
    if (before)
        for (at = 0; at < g->nodes.len && g->nodes.data[at] != before;) at++;
    pare_vec_push(&g->nodes, 0);
    memmove(&g->nodes.data[at + 1], &g->nodes.data[at], (g->nodes.len - 1 - at) * sizeof *g->nodes.data);
    g->nodes.data[at] = id;
}

uint32_t pare_node_add(pare_model *m, uint32_t graph, uint32_t before, const char *op_type, const char *domain,
                       const char *name, const uint32_t *in, size_t n_in, const char *const *out_names, size_t n_out) {
    pare_graph *g = pare_model_graph(m, graph);
    assert(g);
    pare_mask_hold hold = {0};
    bool defines = strcmp(op_type, "Constant") == 0 && n_out && out_names[0];
    if (defines) pare_mask_note(m, out_names[0], &hold); /* of other graphs */
    pare_node *n = pare_arena_alloc(&m->arena, sizeof *n);
    pare_vec_push(&m->nodes, n);
    n->id = (uint32_t)m->nodes.len;
    n->graph = graph;
    n->op_type = pare_arena_strdup(&m->arena, op_type);
    n->domain = pare_arena_strdup(&m->arena, domain && strcmp(domain, "ai.onnx") != 0 ? domain : "");
    n->name = pare_arena_strdup(&m->arena, name ? name : "");
    n->n_in = (uint32_t)n_in;
    n->in = grow_list(m, in, n->n_in, n->n_in);
    for (uint32_t i = 0; i < n->n_in; i++) use_add(m, n->in[i], n->id, i);
    n->n_out = (uint32_t)n_out;
    n->out = grow_list(m, NULL, 0, n->n_out);
    vec_insert_node(g, before, n->id);
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!out_names[i] || !out_names[i][0]) continue;
        n->out[i] = pare_value_add(m, graph, out_names[i]);
        pare_value *v = pare_model_value(m, n->out[i]);
        v->producer = n->id;
        v->slot = i;
    }
    pare_mask_settle(m, &hold);
    m->edits++;
    return n->id;
}

static void tensor_drop(pare_model *m, uint32_t id) {
    pare_tensor *t = pare_model_tensor(m, id);
    if (!t) return;
    pare_blob_unref(t->blob);
    t->blob = NULL;
    m->tensors.data[id - 1] = NULL;
}

static void value_drop(pare_model *m, uint32_t id) {
    pare_value *v = pare_model_value(m, id);
    pare_graph *g = pare_model_graph(m, v->graph);
    pare_map_del(&g->names, v->name);
    VEC_REMOVE_VALUE(&g->info_order, id);
    pare_vec_free(&v->uses);
    m->values.data[id - 1] = NULL;
}

static bool is_listed_output(const pare_model *m, uint32_t value) {
    for (size_t g = 0; g < m->graphs.len; g++)
        for (size_t i = 0; m->graphs.data[g] && i < m->graphs.data[g]->outputs.len; i++)
            if (m->graphs.data[g]->outputs.data[i] == value) return true;
    return false;
}

static void node_drop(pare_model *m, uint32_t node);

static void graph_drop(pare_model *m, uint32_t id) {
    pare_graph *g = pare_model_graph(m, id);
    if (!g) return;
    while (g->outputs.len) { /* it may have named an outer value as its output */
        pare_value *v = pare_model_value(m, g->outputs.data[--g->outputs.len]);
        if (v && v->graph != id) v->is_output = is_listed_output(m, v->id);
    }
    while (g->nodes.len) node_drop(m, g->nodes.data[g->nodes.len - 1]);
    for (size_t i = 0; i < g->initializers.len; i++) tensor_drop(m, g->initializers.data[i]);
    for (size_t i = 0; i < m->values.len; i++)
        if (m->values.data[i] && m->values.data[i]->graph == id) value_drop(m, (uint32_t)i + 1);
    pare_graph_clear(g);
    m->graphs.data[id - 1] = NULL;
}

static void attr_drop_owned(pare_model *m, const pare_attr *a) {
    bool tensors = a->type == PARE_ATTR_TENSOR || a->type == PARE_ATTR_TENSORS;
    bool graphs = a->type == PARE_ATTR_GRAPH || a->type == PARE_ATTR_GRAPHS;
    for (size_t i = 0; a->ids && i < a->n; i++) {
        if (tensors) tensor_drop(m, a->ids[i]);
        if (graphs) graph_drop(m, a->ids[i]);
    }
}

static void node_drop(pare_model *m, uint32_t node) {
    pare_node *n = pare_model_node(m, node);
    assert(n);
    for (uint32_t i = 0; i < n->n_attrs; i++) attr_drop_owned(m, &n->attrs[i]);
    for (uint32_t i = 0; i < n->n_in; i++) use_del(m, n->in[i], node, i);
    for (uint32_t i = 0; i < n->n_out; i++) {
        pare_value *v = pare_model_value(m, n->out[i]);
        if (!v) continue;
        v->producer = v->slot = 0;
        if (!v->uses.len && !v->is_output) value_drop(m, v->id);
    }
    pare_graph *g = pare_model_graph(m, n->graph);
    VEC_REMOVE_VALUE(&g->nodes, node);
    m->nodes.data[node - 1] = NULL;
    m->edits++;
}

/* May tensors that have names go with this attribute? */
static bool owns_named(const pare_node *n, const pare_attr *a) {
    return a->type == PARE_ATTR_GRAPH || a->type == PARE_ATTR_GRAPHS || pare_node_is(n, "Constant");
}

void pare_node_del(pare_model *m, uint32_t node) {
    const pare_node *n = pare_model_node(m, node);
    assert(n);
    pare_mask_hold hold = {0};
    bool named = false;
    for (uint32_t i = 0; i < n->n_attrs; i++) named = named || owns_named(n, &n->attrs[i]);
    if (named) pare_mask_note(m, NULL, &hold);
    node_drop(m, node);
    pare_mask_settle(m, &hold);
}

void pare_node_input_set(pare_model *m, uint32_t node, uint32_t slot, uint32_t value) {
    pare_node *n = pare_model_node(m, node);
    assert(n);
    if (slot >= n->n_in) {
        n->in = grow_list(m, n->in, n->n_in, slot + 1);
        n->n_in = slot + 1;
    }
    if (n->in[slot]) use_del(m, n->in[slot], node, slot);
    n->in[slot] = value;
    if (value) use_add(m, value, node, slot);
    m->edits++;
}

void pare_node_inputs_trim(pare_model *m, uint32_t node, uint32_t n_in) {
    pare_node *n = pare_model_node(m, node);
    assert(n);
    for (uint32_t i = n_in; i < n->n_in; i++)
        if (n->in[i]) use_del(m, n->in[i], node, i);
    if (n_in < n->n_in) n->n_in = n_in;
    m->edits++;
}

void pare_node_output_set(pare_model *m, uint32_t node, uint32_t slot, uint32_t value) {
    pare_node *n = pare_model_node(m, node);
    pare_value *v = pare_model_value(m, value);
    assert(n && v && !v->producer);
    if (slot >= n->n_out) {
        n->out = grow_list(m, n->out, n->n_out, slot + 1);
        n->n_out = slot + 1;
    }
    pare_value *old = pare_model_value(m, n->out[slot]);
    if (old) old->producer = old->slot = 0;
    n->out[slot] = value;
    v->producer = node;
    v->slot = slot;
    m->edits++;
}

/* ---- values ---- */

uint32_t pare_value_add(pare_model *m, uint32_t graph, const char *name) {
    pare_graph *g = pare_model_graph(m, graph);
    pare_value *v = pare_arena_alloc(&m->arena, sizeof *v);
    pare_vec_push(&m->values, v);
    v->id = (uint32_t)m->values.len;
    v->graph = graph;
    v->ndim = -1;
    v->name = pare_arena_strdup(&m->arena, name);
    pare_map_set(&g->names, v->name, v->id);
    m->edits++;
    return v->id;
}

void pare_value_del(pare_model *m, uint32_t value) {
    pare_value *v = pare_model_value(m, value);
    assert(v && !v->uses.len && !v->is_output);
    pare_graph *g = pare_model_graph(m, v->graph);
    if (v->is_input) VEC_REMOVE_VALUE(&g->inputs, value);
    value_drop(m, value);
    m->edits++;
}

void pare_value_replace_uses(pare_model *m, uint32_t from, uint32_t to) {
    pare_value *a = pare_model_value(m, from), *b = pare_model_value(m, to);
    assert(a && b && a != b);
    for (size_t i = 0; i < a->uses.len; i++) {
        pare_use u = a->uses.data[i];
        pare_model_node(m, u.node)->in[u.slot] = to;
        pare_vec_push(&b->uses, u);
    }
    a->uses.len = 0;
    if (a->is_output) { /* in every graph that hands it out */
        for (size_t g = 0; g < m->graphs.len; g++)
            for (size_t i = 0; m->graphs.data[g] && i < m->graphs.data[g]->outputs.len; i++)
                if (m->graphs.data[g]->outputs.data[i] == from) m->graphs.data[g]->outputs.data[i] = to;
        a->is_output = false;
        b->is_output = true;
    }
    m->edits++;
}

bool pare_value_rename(pare_model *m, uint32_t value, const char *name) {
    pare_value *v = pare_model_value(m, value);
    assert(v);
    if (strcmp(v->name, name) == 0) return true;
    if (!pare_name_is_free(m, v->graph, name)) return false;
    pare_graph *g = pare_model_graph(m, v->graph);
    pare_tensor *t = pare_model_tensor(m, v->tensor);
    pare_mask_hold hold = {0};
    pare_mask_note(m, v->name, &hold);
    pare_mask_note(m, name, &hold); /* of other graphs */
    pare_map_del(&g->names, v->name);
    v->name = pare_arena_strdup(&m->arena, name);
    pare_map_set(&g->names, v->name, value);
    if (v->info.len) v->info_stale = true; /* it holds the name */
    if (t) t->name = v->name;
    pare_mask_settle(m, &hold);
    m->edits++;
    return true;
}

void pare_value_type_set(pare_model *m, uint32_t value, uint32_t dtype, int32_t ndim, const pare_dim *dims) {
    pare_value *v = pare_model_value(m, value);
    assert(v);
    pare_dim *copy = ndim > 0 ? pare_arena_alloc(&m->arena, (size_t)ndim * sizeof *copy) : NULL;
    for (int32_t i = 0; i < ndim; i++)
        copy[i] = (pare_dim){dims[i].value, pare_arena_strdup(&m->arena, dims[i].symbol)};
    v->dtype = dtype;
    v->ndim = ndim;
    v->dims = copy;
    v->info_stale = true;
    v->other_type = false;
    m->edits++;
}

void pare_graph_input_add(pare_model *m, uint32_t graph, uint32_t value) {
    pare_vec_push(&pare_model_graph(m, graph)->inputs, value);
    pare_model_value(m, value)->is_input = true;
    pare_model_value(m, value)->declared = true;
    m->edits++;
}

void pare_graph_output_add(pare_model *m, uint32_t graph, uint32_t value) {
    pare_vec_push(&pare_model_graph(m, graph)->outputs, value);
    pare_model_value(m, value)->is_output = true;
    pare_model_value(m, value)->declared = true;
    m->edits++;
}

static bool graph_is_inside(const pare_model *m, uint32_t graph, uint32_t outer) {
    for (const pare_graph *g = pare_model_graph(m, graph); g;) {
        if (g->id == outer) return true;
        const pare_node *n = pare_model_node(m, g->parent_node);
        g = n ? pare_model_graph(m, n->graph) : NULL;
    }
    return false;
}

bool pare_name_is_free(const pare_model *m, uint32_t graph, const char *name) {
    uint32_t id;
    if (!name[0] || pare_graph_find(m, graph, name)) return false;
    for (size_t i = 0; i < m->graphs.len; i++) {
        const pare_graph *g = m->graphs.data[i];
        if (g && g->id != graph && pare_map_get(&g->names, name, &id) && graph_is_inside(m, g->id, graph)) return false;
    }
    return true;
}

const char *pare_name_fresh(pare_model *m, uint32_t graph, const char *want) {
    if (pare_name_is_free(m, graph, want)) return pare_arena_strdup(&m->arena, want);
    for (unsigned i = 1;; i++) {
        const char *name = pare_arena_printf(&m->arena, "%s_%u", want, i);
        if (pare_name_is_free(m, graph, name)) return name;
    }
}

/* ---- tensors ---- */

/* Memory for a tensor of these dims; NULL: none to be had, or sizes overflow. */
static pare_blob *blob_for(uint32_t dtype, size_t ndim, const int64_t *dims, uint64_t *count) {
    uint64_t bytes;
    return pare_dims_count(dims, ndim, count) && pare_dtype_nbytes(dtype, *count, &bytes) ? pare_blob_new(bytes) : NULL;
}

static pare_tensor *tensor_new(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                               uint64_t count, pare_blob *blob) {
    pare_tensor *t = pare_arena_alloc(&m->arena, sizeof *t);
    pare_vec_push(&m->tensors, t);
    t->id = (uint32_t)m->tensors.len;
    t->dtype = dtype;
    t->name = pare_arena_strdup(&m->arena, name);
    t->ndim = (uint32_t)ndim;
    t->dims = pare_arena_memdup(&m->arena, dims, ndim * sizeof *dims);
    t->count = count;
    t->blob = blob;
    return t;
}

static void tensor_define(pare_model *m, uint32_t graph, pare_tensor *t) {
    pare_graph *g = pare_model_graph(m, graph);
    uint32_t value;
    if (!pare_map_get(&g->names, t->name, &value)) value = pare_value_add(m, graph, t->name);
    pare_value *v = pare_model_value(m, value);
    assert(!v->tensor && !v->producer);
    pare_mask_hold hold = {0};
    pare_mask_note(m, v->name, &hold); /* of other graphs */
    v->tensor = t->id;
    t->name = v->name;
    t->owner = PARE_OWNER_INITIALIZER;
    t->graph = graph;
    pare_vec_push(&g->initializers, t->id);
    pare_mask_settle(m, &hold);
    m->edits++;
}

uint32_t pare_tensor_add(pare_model *m, uint32_t graph, const char *name, uint32_t dtype, size_t ndim,
                         const int64_t *dims) {
    uint64_t count;
    pare_blob *blob = blob_for(dtype, ndim, dims, &count);
    if (!blob) return 0;
    pare_tensor *t = tensor_new(m, name, dtype, ndim, dims, count, blob);
    tensor_define(m, graph, t);
    return t->id;
}

uint32_t pare_tensor_add_blob(pare_model *m, uint32_t graph, const char *name, uint32_t dtype, size_t ndim,
                              const int64_t *dims, pare_blob *blob) {
    uint64_t count, bytes;
    if (!pare_dims_count(dims, ndim, &count)) return 0;
    if (dtype != PARE_STRING && (!pare_dtype_nbytes(dtype, count, &bytes) || (blob ? blob->len : 0) != bytes)) return 0;
    pare_tensor *t = tensor_new(m, name, dtype, ndim, dims, count, blob ? pare_blob_ref(blob) : NULL);
    tensor_define(m, graph, t);
    return t->id;
}

void pare_initializer_move(pare_model *m, uint32_t tensor, size_t index) {
    pare_tensor *t = pare_model_tensor(m, tensor);
    pare_graph *g = pare_model_graph(m, t->graph);
    VEC_REMOVE_VALUE(&g->initializers, tensor);
    if (index > g->initializers.len) index = g->initializers.len;
    pare_vec_push(&g->initializers, 0);
    memmove(&g->initializers.data[index + 1], &g->initializers.data[index],
            (g->initializers.len - 1 - index) * sizeof *g->initializers.data);
    g->initializers.data[index] = tensor;
    m->edits++;
}

bool pare_tensor_retype(pare_model *m, uint32_t tensor, uint32_t dtype, size_t ndim, const int64_t *dims) {
    pare_tensor *t = pare_model_tensor(m, tensor);
    uint64_t count;
    pare_blob *blob = blob_for(dtype, ndim, dims, &count);
    if (!blob) return false;
    pare_blob_unref(t->blob);
    t->blob = blob;
    t->dtype = dtype;
    t->ndim = (uint32_t)ndim;
    t->dims = pare_arena_memdup(&m->arena, dims, ndim * sizeof *dims);
    t->count = count;
    t->strings = NULL;
    t->version++;
    pare_value *v =
        t->owner == PARE_OWNER_INITIALIZER ? pare_model_value(m, pare_graph_find(m, t->graph, t->name)) : NULL;
    if (v && (v->info.len || v->ndim >= 0)) {
        pare_dim *vd = pare_arena_alloc(&m->arena, (ndim + 1) * sizeof *vd);
        for (size_t i = 0; i < ndim; i++) vd[i] = (pare_dim){dims[i], NULL};
        pare_value_type_set(m, v->id, dtype, (int32_t)ndim, vd);
    }
    m->edits++;
    return true;
}

void pare_tensor_del(pare_model *m, uint32_t tensor) {
    pare_tensor *t = pare_model_tensor(m, tensor);
    assert(t && t->owner == PARE_OWNER_INITIALIZER);
    pare_graph *g = pare_model_graph(m, t->graph);
    pare_value *v = pare_tensor_value(m, t);
    bool goes = v && !v->uses.len && !v->is_output && !v->is_input;
    pare_mask_hold hold = {0};
    if (goes) pare_mask_note(m, t->name, &hold);
    VEC_REMOVE_VALUE(&g->initializers, tensor);
    if (v) v->tensor = 0;
    if (goes) value_drop(m, v->id);
    tensor_drop(m, tensor);
    pare_mask_settle(m, &hold);
    m->edits++;
}

/* ---- attributes ---- */

static void attr_clear(pare_model *m, const pare_node *n, const pare_attr *a) {
    pare_mask_hold hold = {0};
    if (owns_named(n, a)) pare_mask_note(m, NULL, &hold);
    attr_drop_owned(m, a);
    pare_mask_settle(m, &hold);
}

static pare_attr *attr_slot(pare_model *m, uint32_t node, const char *name) {
    pare_node *n = pare_model_node(m, node);
    assert(n);
    m->edits++;
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, name) != 0) continue;
        attr_clear(m, n, &n->attrs[i]);
        n->attrs[i] = (pare_attr){.name = n->attrs[i].name};
        return &n->attrs[i];
    }
    pare_attr *grown = pare_arena_alloc(&m->arena, (n->n_attrs + 1) * sizeof *grown);
    if (n->n_attrs) memcpy(grown, n->attrs, n->n_attrs * sizeof *grown);
    n->attrs = grown;
    pare_attr *a = &n->attrs[n->n_attrs++];
    a->name = pare_arena_strdup(&m->arena, name);
    return a;
}

void pare_attr_set_int(pare_model *m, uint32_t node, const char *name, int64_t v) {
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_INT;
    a->i = v;
}

void pare_attr_set_float(pare_model *m, uint32_t node, const char *name, float v) {
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_FLOAT;
    a->f = v;
}

void pare_attr_set_string(pare_model *m, uint32_t node, const char *name, const void *s, size_t n) {
    unsigned char *copy = pare_arena_alloc(&m->arena, n + 1);
    if (n) memcpy(copy, s, n);
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_STRING;
    a->s = (pare_bytes){copy, n};
}

void pare_attr_set_ints(pare_model *m, uint32_t node, const char *name, const int64_t *v, size_t n) {
    const int64_t *copy = pare_arena_memdup(&m->arena, v, n * sizeof *v);
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_INTS;
    a->ints = copy;
    a->n = n;
}

void pare_attr_set_floats(pare_model *m, uint32_t node, const char *name, const float *v, size_t n) {
    const float *copy = pare_arena_memdup(&m->arena, v, n * sizeof *v);
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_FLOATS;
    a->floats = copy;
    a->n = n;
}

uint32_t pare_attr_set_tensor(pare_model *m, uint32_t node, const char *name, uint32_t dtype, size_t ndim,
                              const int64_t *dims) {
    uint64_t count;
    pare_blob *blob = blob_for(dtype, ndim, dims, &count);
    if (!blob) return 0;
    pare_tensor *t = tensor_new(m, "", dtype, ndim, dims, count, blob);
    t->owner = PARE_OWNER_ATTRIBUTE;
    t->node = node;
    t->graph = pare_model_node(m, node)->graph;
    pare_attr *a = attr_slot(m, node, name);
    a->type = PARE_ATTR_TENSOR;
    a->ids = pare_arena_memdup(&m->arena, &t->id, sizeof t->id);
    a->n = 1;
    return t->id;
}

void pare_attr_del(pare_model *m, uint32_t node, const char *name) {
    pare_node *n = pare_model_node(m, node);
    assert(n);
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, name) != 0) continue;
        attr_clear(m, n, &n->attrs[i]);
        memmove(&n->attrs[i], &n->attrs[i + 1], (n->n_attrs - i - 1) * sizeof *n->attrs);
        n->n_attrs--;
        m->edits++;
        return;
    }
}

/* ---- model ---- */

void pare_model_meta_set(pare_model *m, const char *key, const char *value) {
    size_t i = 0;
    while (i < m->metadata.len && strcmp(m->metadata.data[i].key, key) != 0) i++;
    m->edits++;
    if (i < m->metadata.len && value) {
        m->metadata.data[i].value = pare_arena_strdup(&m->arena, value);
    } else if (i < m->metadata.len) {
        memmove(&m->metadata.data[i], &m->metadata.data[i + 1], (m->metadata.len - i - 1) * sizeof *m->metadata.data);
        m->metadata.len--;
    } else if (value) {
        pare_meta p = {pare_arena_strdup(&m->arena, key), pare_arena_strdup(&m->arena, value)};
        pare_vec_push(&m->metadata, p);
    }
}

void pare_model_opset_set(pare_model *m, const char *domain, int64_t version) {
    m->edits++;
    for (size_t i = 0; i < m->opsets.len; i++) {
        if (strcmp(m->opsets.data[i].domain, domain) != 0) continue;
        m->opsets.data[i].version = version;
        return;
    }
    pare_opset o = {.domain = pare_arena_strdup(&m->arena, domain), .version = version};
    pare_vec_push(&m->opsets, o);
}
