/* plugin/host_graph.c - the looking half of pare.graph/1, and its table: see sdk/pare/graph.h. Editing is host_edit.c.
 * Every argument comes from a plugin and is checked. May use: host_impl.h, model. */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/layers.h"
#include "model/stats.h"

#include <string.h>

/* ---- walking ---- */

static uint32_t node_next(const pare_host *h, const pare_model *m, uint32_t graph, uint32_t prev) {
    static const char fn[] = "pare.graph/1 node_next";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s || !pare_host_graph(h, fn, graph)) return 0;
    if (!prev) {
        /* An edited graph that can be sorted is; one that can't yet is walked as it lies. */
        if (s->sorted_at != s->model->edits) pare_model_check(s->model, NULL);
        s->sorted_at = s->model->edits;
        const pare_graph *g = pare_model_graph(s->model, graph);
        while (s->next_node.len <= s->model->nodes.len) pare_vec_push(&s->next_node, 0);
        for (size_t i = 0; i < g->nodes.len; i++) {
            uint32_t after = i + 1 < g->nodes.len ? g->nodes.data[i + 1] : 0;
            s->next_node.data[g->nodes.data[i]] = after;
        }
        return g->nodes.len ? g->nodes.data[0] : 0;
    }
    if (prev >= s->next_node.len) {
        pare_host_misuse(h, fn, "node %u is not what node_next returned before", prev);
        return 0;
    }
    do prev = s->next_node.data[prev];
    while (prev && !pare_model_node(s->model, prev)); /* deleted on the way */
    return prev;
}

static uint32_t count_subgraphs(const pare_node *n) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].type == PARE_ATTR_GRAPH || n->attrs[i].type == PARE_ATTR_GRAPHS) k += (uint32_t)n->attrs[i].n;
    return k;
}

static pare_status node_info(const pare_host *h, pare_model *m, uint32_t node, pare_node_info *out) {
    static const char fn[] = "pare.graph/1 node_info";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    if (!n) return PARE_EINVAL;
    pare_node_info info = {
        .graph = n->graph,
        .name = n->name,
        .op_type = n->op_type,
        .domain = n->domain,
        .label = pare_node_label(s->model, node),
        .opset = pare_model_opset(s->model, n->domain),
        .in = n->in,
        .out = n->out,
        .n_in = n->n_in,
        .n_out = n->n_out,
        .n_subgraphs = count_subgraphs(n),
    };
    return PARE_GIVE(h, fn, out, info, PARE_LEAST_NODE_INFO) ? PARE_OK : PARE_EINVAL;
}

static uint32_t subgraph(const pare_host *h, const pare_model *m, uint32_t node, uint32_t i) {
    static const char fn[] = "pare.graph/1 subgraph";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    for (uint32_t k = 0; n && k < n->n_attrs; k++) {
        const pare_attr *a = &n->attrs[k];
        if (a->type != PARE_ATTR_GRAPH && a->type != PARE_ATTR_GRAPHS) continue;
        if (i < a->n) return a->ids[i];
        i -= (uint32_t)a->n;
    }
    return 0;
}

/* ---- values ---- */

static uint32_t value_find(const pare_host *h, const pare_model *m, const char *name) {
    static const char fn[] = "pare.graph/1 value_find";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return 0;
    if (name) return pare_graph_find(s->model, PARE_MAIN_GRAPH, name);
    pare_host_misuse(h, fn, "name is NULL");
    return 0;
}

static pare_status value_info(const pare_host *h, pare_model *m, uint32_t value, pare_value_info *out) {
    static const char fn[] = "pare.graph/1 value_info";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_value *v = s ? pare_host_value(h, fn, value) : NULL;
    if (!v) return PARE_EINVAL;
    uint32_t dtype = v->dtype;
    int32_t ndim = v->ndim;
    const pare_tensor *t = pare_model_tensor(s->model, v->tensor);
    if (t && ndim < 0) { /* an initializer knows its own */
        dtype = t->dtype;
        ndim = (int32_t)t->ndim;
    }
    size_t n = ndim > 0 ? (size_t)ndim : 0;
    int64_t *dims = pare_arena_alloc(&s->call, (n + 1) * sizeof *dims);
    const char **symbols = pare_arena_alloc(&s->call, (n + 1) * sizeof *symbols);
    for (size_t i = 0; i < n; i++) {
        dims[i] = v->ndim >= 0 ? v->dims[i].value : t->dims[i];
        symbols[i] = v->ndim >= 0 ? pare_arena_strdup(&s->call, v->dims[i].symbol) : NULL;
    }
    pare_value_info info = {
        .graph = v->graph,
        .name = v->name,
        .kind = (v->is_input ? PARE_VALUE_INPUT : 0u) | (v->is_output ? PARE_VALUE_OUTPUT : 0u) |
                (v->tensor || v->is_sparse ? PARE_VALUE_INITIALIZER : 0u),
        .dtype = dtype,
        .ndim = ndim,
        .tensor = v->tensor,
        .dims = dims,
        .symbols = symbols,
        .producer = v->producer,
        .slot = v->slot,
        .n_uses = v->uses.len,
    };
    return PARE_GIVE(h, fn, out, info, PARE_LEAST_VALUE_INFO) ? PARE_OK : PARE_EINVAL;
}

static pare_status consumer(const pare_host *h, const pare_model *m, uint32_t value, uint64_t i, uint32_t *node,
                            uint32_t *slot) {
    static const char fn[] = "pare.graph/1 consumer";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_value *v = s ? pare_host_value(h, fn, value) : NULL;
    if (!v) return PARE_EINVAL;
    if (i >= v->uses.len) return PARE_ENOTFOUND;
    if (node) *node = v->uses.data[i].node;
    if (slot) *slot = v->uses.data[i].slot;
    return PARE_OK;
}

static uint32_t graph_input(const pare_host *h, const pare_model *m, uint32_t graph, uint32_t i) {
    static const char fn[] = "pare.graph/1 input";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_graph *g = s ? pare_host_graph(h, fn, graph) : NULL;
    return g && i < g->inputs.len ? g->inputs.data[i] : 0;
}

static uint32_t graph_output(const pare_host *h, const pare_model *m, uint32_t graph, uint32_t i) {
    static const char fn[] = "pare.graph/1 output";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_graph *g = s ? pare_host_graph(h, fn, graph) : NULL;
    return g && i < g->outputs.len ? g->outputs.data[i] : 0;
}

/* ---- attributes ---- */

static const char *text_of(pare_host_impl *s, pare_bytes b) {
    return pare_arena_strndup(&s->call, b.len ? (const char *)b.data : "", b.len);
}

static pare_status attr_get(const pare_host *h, const pare_model *m, uint32_t node, const char *name,
                            pare_attribute *out) {
    static const char fn[] = "pare.graph/1 attr_get";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    if (!n) return PARE_EINVAL;
    if (!name) return pare_host_misuse(h, fn, "name is NULL");
    const pare_attr *a = pare_node_attr(n, name);
    if (!a) return PARE_ENOTFOUND;
    pare_attribute full = {.type = (uint32_t)a->type, .n = 1};
    switch (a->type) {
    case PARE_ATTR_FLOAT: full.f = a->f; break;
    case PARE_ATTR_INT: full.i = a->i; break;
    case PARE_ATTR_STRING:
        full.s = text_of(s, a->s);
        full.n = a->s.len;
        break;
    case PARE_ATTR_TENSOR: full.tensor = a->n ? a->ids[0] : 0; break;
    case PARE_ATTR_GRAPH: full.graph = a->n ? a->ids[0] : 0; break;
    case PARE_ATTR_FLOATS:
        full.floats = a->floats;
        full.n = a->n;
        break;
    case PARE_ATTR_INTS:
        full.ints = a->ints;
        full.n = a->n;
        break;
    case PARE_ATTR_STRINGS: {
        const char **list = pare_arena_alloc(&s->call, (a->n + 1) * sizeof *list);
        for (size_t i = 0; i < a->n; i++) list[i] = text_of(s, a->strings[i]);
        full.strings = list;
        full.n = a->n;
        break;
    }
    default: full.n = a->n; break; /* its type alone */
    }
    return PARE_GIVE(h, fn, out, full, PARE_LEAST_ATTRIBUTE) ? PARE_OK : PARE_EINVAL;
}

static pare_status const_of(const pare_host *h, pare_model *m, uint32_t value, pare_constant *out) {
    static const char fn[] = "pare.graph/1 const_of";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s || !pare_host_value(h, fn, value)) return PARE_EINVAL;
    pare_const c = pare_const_of(s->model, value);
    pare_constant full = {.tensor = c.tensor, .axis = -1};
    if (c.tensor) {
        full.scale = c.scale;
        full.zero_point = c.zero_point;
        full.axis = c.axis;
        full.block_size = c.block_size;
        full.ndim = c.ndim;
        memcpy(full.perm, c.perm, sizeof full.perm);
    }
    return PARE_GIVE(h, fn, out, full, PARE_LEAST_CONSTANT) ? PARE_OK : PARE_EINVAL;
}

/* ---- shapes and cost ---- */

static pare_status infer(const pare_host *h, pare_model *m) {
    pare_host_impl *s = pare_host_look(h, m, "pare.graph/1 infer");
    return s ? pare_model_infer(s->model, s->held) : PARE_EINVAL;
}

static pare_status cost(const pare_host *h, pare_model *m, uint32_t node, pare_cost *out) {
    static const char fn[] = "pare.graph/1 cost";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    if (!n) return PARE_EINVAL;
    pare_cost full = {.macs = pare_node_macs(s->model, n)};
    pare_node_parameters(s->model, n, &full.parameters, &full.bytes);
    return PARE_GIVE(h, fn, out, full, PARE_LEAST_COST) ? PARE_OK : PARE_EINVAL;
}

static const char *meta_get(const pare_host *h, const pare_model *m, const char *key) {
    static const char fn[] = "pare.graph/1 meta_get";
    pare_host_impl *s = pare_host_look(h, m, fn);
    return s && pare_host_text_ok(h, fn, "key", key) ? pare_model_meta(s->model, key) : NULL;
}

const pare_graph_api pare_host_graph_v1 = {
    .size = sizeof(pare_graph_api),
    .node_next = node_next,
    .node_info = node_info,
    .subgraph = subgraph,
    .value_find = value_find,
    .value_info = value_info,
    .consumer = consumer,
    .input = graph_input,
    .output = graph_output,
    .attr_get = attr_get,
    .const_of = const_of,
    .infer = infer,
    .cost = cost,
    .node_add = pare_host_node_add,
    .node_del = pare_host_node_del,
    .input_set = pare_host_input_set,
    .replace_uses = pare_host_replace_uses,
    .value_rename = pare_host_value_rename,
    .attr_set = pare_host_attr_set,
    .attr_del = pare_host_attr_del,
    .name_fresh = pare_host_name_fresh,
    .meta_get = meta_get,
    .meta_set = pare_host_meta_set,
    .opset_need = pare_host_opset_need,
    .mark = pare_host_mark,
    .undo = pare_host_undo,
    .keep = pare_host_keep,
    .value_retype = pare_host_value_retype,
};
