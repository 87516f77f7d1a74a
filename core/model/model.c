/* model/model.c - see model.h: creation, cloning, lookup. Tensor bytes are in tensor.c, edits in edit.c. */
#include "model/model.h"

#include "model/mask.h"

#include <stdlib.h>
#include <string.h>

pare_model *pare_model_new(const char *graph_name) {
    pare_model *m = pare_xcalloc(1, sizeof *m);
    m->ir_version = 8;
    pare_graph *g = pare_arena_alloc(&m->arena, sizeof *g);
    g->id = PARE_MAIN_GRAPH;
    g->name = pare_arena_strdup(&m->arena, graph_name);
    pare_vec_push(&m->graphs, g);
    pare_vec_push(&m->opsets, ((pare_opset){.domain = "", .version = 17}));
    return m;
}

void pare_graph_clear(pare_graph *g) {
    pare_vec_free(&g->nodes);
    pare_vec_free(&g->inputs);
    pare_vec_free(&g->outputs);
    pare_vec_free(&g->initializers);
    pare_vec_free(&g->sparse);
    pare_vec_free(&g->loose_info);
    pare_vec_free(&g->info_order);
    pare_map_free(&g->names);
}

void pare_model_free(pare_model *m) {
    if (!m) return;
    for (size_t i = 0; i < m->tensors.len; i++)
        if (m->tensors.data[i]) pare_blob_unref(m->tensors.data[i]->blob);
    for (size_t i = 0; i < m->values.len; i++)
        if (m->values.data[i]) pare_vec_free(&m->values.data[i]->uses);
    for (size_t i = 0; i < m->graphs.len; i++)
        if (m->graphs.data[i]) pare_graph_clear(m->graphs.data[i]);
    pare_vec_free(&m->opsets);
    pare_vec_free(&m->metadata);
    pare_vec_free(&m->functions);
    pare_vec_free(&m->graphs);
    pare_vec_free(&m->nodes);
    pare_vec_free(&m->values);
    pare_vec_free(&m->tensors);
    for (size_t i = 0; i < m->data_files.len; i++) pare_map_file_unref(m->data_files.data[i]);
    pare_vec_free(&m->data_files);
    pare_map_file_unref(m->file);
    free(m->path);
    free(m->numbers);
    pare_mask_forget(m);
    pare_arena_free(&m->arena);
    free(m);
}

/* ---- cloning ---- */

typedef struct cloner {
    const pare_model *from;
    pare_model *to;
} cloner;

static const char *dup_str(cloner *c, const char *s) { return pare_arena_strdup(&c->to->arena, s); }

/* Bytes in the mapped file stay there: the clone holds the file as well. */
static pare_bytes dup_bytes(cloner *c, pare_bytes b) {
    if (!b.len) return b;
    const pare_map_file *f = c->from->file;
    if (f && b.data >= f->data && b.data < f->data + f->len) return b;
    return (pare_bytes){pare_arena_memdup(&c->to->arena, b.data, b.len), b.len};
}

static const pare_bytes *dup_bytes_list(cloner *c, const pare_bytes *list, size_t n) {
    if (!n || !list) return NULL;
    pare_bytes *out = pare_arena_alloc(&c->to->arena, n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = dup_bytes(c, list[i]);
    return out;
}

static void *dup_mem(cloner *c, const void *p, size_t n) { return p ? pare_arena_memdup(&c->to->arena, p, n) : NULL; }

static const pare_dim *dup_dims(cloner *c, const pare_dim *dims, int32_t n) {
    if (n <= 0) return NULL;
    pare_dim *out = dup_mem(c, dims, (size_t)n * sizeof *dims);
    for (int32_t i = 0; i < n; i++) out[i].symbol = dup_str(c, dims[i].symbol);
    return out;
}

static pare_attr clone_attr(cloner *c, const pare_attr *a) {
    pare_attr b = *a;
    b.name = dup_str(c, a->name);
    b.ref_attr_name = dup_str(c, a->ref_attr_name);
    b.s = dup_bytes(c, a->s);
    b.floats = dup_mem(c, a->floats, a->n * sizeof *a->floats);
    b.ints = dup_mem(c, a->ints, a->n * sizeof *a->ints);
    b.ids = dup_mem(c, a->ids, a->n * sizeof *a->ids);
    b.strings = dup_bytes_list(c, a->strings, a->n);
    b.raw = dup_bytes_list(c, a->raw, a->n);
    b.extra = dup_bytes(c, a->extra);
    return b;
}

static pare_node *clone_node(cloner *c, const pare_node *n) {
    pare_node *k = dup_mem(c, n, sizeof *n);
    k->name = dup_str(c, n->name);
    k->op_type = dup_str(c, n->op_type);
    k->domain = dup_str(c, n->domain);
    k->in = dup_mem(c, n->in, n->n_in * sizeof *n->in);
    k->out = dup_mem(c, n->out, n->n_out * sizeof *n->out);
    k->attrs = n->n_attrs ? pare_arena_alloc(&c->to->arena, n->n_attrs * sizeof *n->attrs) : NULL;
    for (uint32_t i = 0; i < n->n_attrs; i++) k->attrs[i] = clone_attr(c, &n->attrs[i]);
    k->extra = dup_bytes(c, n->extra);
    return k;
}

static pare_value *clone_value(cloner *c, const pare_value *v) {
    pare_value *k = dup_mem(c, v, sizeof *v);
    k->name = dup_str(c, v->name);
    k->dims = dup_dims(c, v->dims, v->ndim);
    k->info = dup_bytes(c, v->info);
    memset(&k->uses, 0, sizeof k->uses);
    for (size_t i = 0; i < v->uses.len; i++) pare_vec_push(&k->uses, v->uses.data[i]);
    return k;
}

static pare_tensor *clone_tensor(cloner *c, const pare_tensor *t) {
    pare_tensor *k = dup_mem(c, t, sizeof *t);
    k->name = dup_str(c, t->name);
    k->dims = dup_mem(c, t->dims, t->ndim * sizeof *t->dims);
    k->strings = dup_bytes_list(c, t->strings, t->dtype == PARE_STRING ? t->count : 0);
    k->extra = dup_bytes(c, t->extra);
    if (k->blob) pare_blob_ref(k->blob);
    return k;
}

static pare_graph *clone_graph(cloner *c, const pare_graph *g) {
    pare_graph *k = pare_arena_alloc(&c->to->arena, sizeof *k);
    k->id = g->id;
    k->parent_node = g->parent_node;
    k->name = dup_str(c, g->name);
    k->extra = dup_bytes(c, g->extra);
    for (size_t i = 0; i < g->nodes.len; i++) pare_vec_push(&k->nodes, g->nodes.data[i]);
    for (size_t i = 0; i < g->inputs.len; i++) pare_vec_push(&k->inputs, g->inputs.data[i]);
    for (size_t i = 0; i < g->outputs.len; i++) pare_vec_push(&k->outputs, g->outputs.data[i]);
    for (size_t i = 0; i < g->initializers.len; i++) pare_vec_push(&k->initializers, g->initializers.data[i]);
    for (size_t i = 0; i < g->info_order.len; i++) pare_vec_push(&k->info_order, g->info_order.data[i]);
    for (size_t i = 0; i < g->loose_info.len; i++) pare_vec_push(&k->loose_info, dup_bytes(c, g->loose_info.data[i]));
    for (size_t i = 0; i < g->sparse.len; i++) {
        pare_sparse s = g->sparse.data[i];
        s.dims = dup_mem(c, s.dims, s.ndim * sizeof *s.dims);
        s.raw = dup_bytes(c, s.raw);
        pare_vec_push(&k->sparse, s);
    }
    return k;
}

pare_model *pare_model_clone(const pare_model *m) {
    pare_model *k = pare_xcalloc(1, sizeof *k);
    cloner c = {m, k};
    k->file = m->file ? pare_map_file_ref(m->file) : NULL;
    k->path = m->path ? pare_xstrdup(m->path) : NULL;
    for (size_t i = 0; i < m->data_files.len; i++)
        pare_vec_push(&k->data_files, pare_map_file_ref(m->data_files.data[i]));
    k->ir_version = m->ir_version;
    k->producer_name = dup_str(&c, m->producer_name);
    k->producer_version = dup_str(&c, m->producer_version);
    k->domain = dup_str(&c, m->domain);
    k->doc_string = dup_str(&c, m->doc_string);
    k->model_version = m->model_version;
    k->has_model_version = m->has_model_version;
    k->has_training_info = m->has_training_info;
    k->extra = dup_bytes(&c, m->extra);
    k->edits = m->edits;
    for (size_t i = 0; i < m->opsets.len; i++) {
        pare_opset o = m->opsets.data[i];
        o.domain = dup_str(&c, o.domain);
        o.extra = dup_bytes(&c, o.extra);
        pare_vec_push(&k->opsets, o);
    }
    for (size_t i = 0; i < m->metadata.len; i++) {
        pare_meta p = {dup_str(&c, m->metadata.data[i].key), dup_str(&c, m->metadata.data[i].value)};
        pare_vec_push(&k->metadata, p);
    }
    for (size_t i = 0; i < m->functions.len; i++) pare_vec_push(&k->functions, dup_bytes(&c, m->functions.data[i]));
    /* ids are positions in these tables: deleted entries keep theirs */
    for (size_t i = 0; i < m->graphs.len; i++)
        pare_vec_push(&k->graphs, m->graphs.data[i] ? clone_graph(&c, m->graphs.data[i]) : NULL);
    for (size_t i = 0; i < m->nodes.len; i++)
        pare_vec_push(&k->nodes, m->nodes.data[i] ? clone_node(&c, m->nodes.data[i]) : NULL);
    for (size_t i = 0; i < m->tensors.len; i++)
        pare_vec_push(&k->tensors, m->tensors.data[i] ? clone_tensor(&c, m->tensors.data[i]) : NULL);
    for (size_t i = 0; i < m->values.len; i++) {
        pare_value *v = m->values.data[i] ? clone_value(&c, m->values.data[i]) : NULL;
        pare_vec_push(&k->values, v);
        if (v) pare_map_set(&pare_model_graph(k, v->graph)->names, v->name, v->id);
    }
    return k;
}

/* ---- lookup ---- */

uint32_t pare_graph_find(const pare_model *m, uint32_t graph, const char *name) {
    for (const pare_graph *g = pare_model_graph(m, graph); g;) {
        uint32_t id;
        if (pare_map_get(&g->names, name, &id)) return id;
        const pare_node *parent = pare_model_node(m, g->parent_node);
        g = parent ? pare_model_graph(m, parent->graph) : NULL;
    }
    return 0;
}

pare_value *pare_tensor_value(const pare_model *m, const pare_tensor *t) {
    const pare_graph *g = pare_model_graph(m, t->graph);
    uint32_t id = 0;
    if (t->owner == PARE_OWNER_INITIALIZER)
        return g && pare_map_get(&g->names, t->name, &id) ? pare_model_value(m, id) : NULL;
    const pare_node *n = pare_model_node(m, t->node);
    return n && pare_node_is(n, "Constant") && n->n_out ? pare_model_value(m, n->out[0]) : NULL;
}

const pare_attr *pare_node_attr(const pare_node *n, const char *name) {
    for (uint32_t i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0) return &n->attrs[i];
    return NULL;
}

int64_t pare_node_attr_int(const pare_node *n, const char *name, int64_t dflt) {
    const pare_attr *a = pare_node_attr(n, name);
    return a && a->type == PARE_ATTR_INT ? a->i : dflt;
}

float pare_node_attr_float(const pare_node *n, const char *name, float dflt) {
    const pare_attr *a = pare_node_attr(n, name);
    return a && a->type == PARE_ATTR_FLOAT ? a->f : dflt;
}

int64_t pare_model_opset(const pare_model *m, const char *domain) {
    for (size_t i = 0; i < m->opsets.len; i++)
        if (strcmp(m->opsets.data[i].domain, domain) == 0) return m->opsets.data[i].version;
    return 0;
}

const char *pare_model_meta(const pare_model *m, const char *key) {
    for (size_t i = 0; i < m->metadata.len; i++)
        if (strcmp(m->metadata.data[i].key, key) == 0) return m->metadata.data[i].value;
    return NULL;
}

bool pare_node_is(const pare_node *n, const char *op_type) {
    return n->domain[0] == 0 && strcmp(n->op_type, op_type) == 0;
}
