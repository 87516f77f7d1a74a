/* plugin/host_edit.c - the editing half of pare.graph/1: nodes, edges, names, attributes, metadata, the journal.
 * Every argument comes from a plugin and is checked; the edit itself is model/edit.h's. May use: host_impl.h, model. */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LIST = 1 << 20, SLOTS_AHEAD = 8 };

/* ---- scopes ---- */

/* Can nodes of `graph` see a value of `owner`? Their own graph's and those around it. */
static bool sees(const pare_model *m, uint32_t graph, uint32_t owner) {
    for (const pare_graph *g = pare_model_graph(m, graph); g;) {
        if (g->id == owner) return true;
        const pare_node *n = pare_model_node(m, g->parent_node);
        g = n ? pare_model_graph(m, n->graph) : NULL;
    }
    return false;
}

/* A value that a node of `graph` may take; 0 (left out) is fine. */
static bool input_ok(const pare_host *h, const char *fn, uint32_t graph, uint32_t slot, uint32_t value) {
    if (!value) return true;
    const pare_value *v = pare_host_value(h, fn, value);
    if (!v) return false;
    if (sees(pare_host_of(h)->model, graph, v->graph)) return true;
    pare_host_misuse(h, fn, "input %u is value %u (%s) of a subgraph that the node can't see", slot, value, v->name);
    return false;
}

static pare_status name_taken(const pare_host *h, const char *name) {
    pare_diag_item it = {.code = "graph.name-taken",
                         .message = "a value's new name is taken",
                         .tensor = name,
                         .hint = "ask for a free one with name_fresh"};
    return pare_host_refuse(h, PARE_EINVAL, &it);
}

static const char *plain_domain(const char *domain) { return domain && strcmp(domain, "ai.onnx") != 0 ? domain : ""; }

/* ---- nodes ---- */

static pare_status outputs_ok(const pare_host *h, const char *fn, const pare_model *m, uint32_t graph,
                              const char *const *names, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (!names[i] || !names[i][0]) continue;
        if (!pare_host_text_ok(h, fn, "an output's name", names[i])) return PARE_EINVAL;
        for (uint32_t k = 0; k < i; k++)
            if (names[k] && strcmp(names[k], names[i]) == 0)
                return pare_host_misuse(h, fn, "two outputs are called %s", names[i]);
        if (!pare_name_is_free(m, graph, names[i])) return name_taken(h, names[i]);
    }
    return PARE_OK;
}

pare_status pare_host_node_add(const pare_host *h, pare_model *m, uint32_t graph, uint32_t before, const char *op_type,
                               const char *domain, const char *name, const uint32_t *in, uint32_t n_in,
                               const char *const *out_names, uint32_t n_out, uint32_t *node) {
    static const char fn[] = "pare.graph/1 node_add";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_graph(h, fn, graph) || !pare_host_text_ok(h, fn, "op_type", op_type)) return PARE_EINVAL;
    domain = plain_domain(domain);
    if (domain[0] && !pare_host_text_ok(h, fn, "domain", domain)) return PARE_EINVAL;
    if (name && name[0] && !pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    if (n_in > MAX_LIST || n_out > MAX_LIST || (n_in && !in) || (n_out && !out_names))
        return pare_host_misuse(h, fn, "in or out_names is NULL or absurdly long");
    if (before) {
        const pare_node *b = pare_host_node(h, fn, before);
        if (!b) return PARE_EINVAL;
        if (b->graph != graph) return pare_host_misuse(h, fn, "node %u (before) is of another graph", before);
    }
    for (uint32_t i = 0; i < n_in; i++)
        if (!input_ok(h, fn, graph, i, in[i])) return PARE_EINVAL;
    pare_status st = outputs_ok(h, fn, s->model, graph, out_names, n_out);
    if (st) return st;
    if (!pare_model_opset(s->model, domain))
        return pare_host_refuse_text(h, PARE_EINVAL, "graph.no-opset",
                                     "a node of domain %s needs the file to import it: call opset_need first", domain);
    uint32_t id = pare_node_add(s->model, graph, before, op_type, domain, name, in, n_in, out_names, n_out);
    if (node) *node = id;
    return PARE_OK;
}

pare_status pare_host_node_del(const pare_host *h, pare_model *m, uint32_t node) {
    static const char fn[] = "pare.graph/1 node_del";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_node(h, fn, node)) return PARE_EINVAL;
    if (pare_host_borrowed_inside(s, node))
        return pare_host_misuse(h, fn, "a tensor that node %u holds is borrowed", node);
    pare_node_del(s->model, node);
    return PARE_OK;
}

pare_status pare_host_input_set(const pare_host *h, pare_model *m, uint32_t node, uint32_t slot, uint32_t value) {
    static const char fn[] = "pare.graph/1 input_set";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    if (!n || !input_ok(h, fn, n->graph, slot, value)) return PARE_EINVAL;
    if (slot > n->n_in + SLOTS_AHEAD) return pare_host_misuse(h, fn, "slot %u of a node with %u inputs", slot, n->n_in);
    if (value || slot < n->n_in) pare_node_input_set(s->model, node, slot, value);
    uint32_t used = n->n_in; /* left-out inputs at the end are not written at all */
    while (used && !n->in[used - 1]) used--;
    if (used < n->n_in) pare_node_inputs_trim(s->model, node, used);
    return PARE_OK;
}

/* ---- edges and names ---- */

/* May `to` take a graph output's name? Not where its own name is part of the model's interface, or outputs two. */
static bool may_rename(const pare_model *m, const pare_value *v) {
    return !v->is_input && !v->is_output && !v->is_sparse && !(v->tensor && m->has_training_info);
}

/* `from` was a graph output: the output goes on under its name, as `to`. */
static void hand_output_over(pare_model *m, uint32_t from, uint32_t to) {
    pare_value *a = pare_model_value(m, from);
    const char *name = pare_arena_strdup(&m->arena, a->name);
    uint32_t graph = a->graph;
    const char *spare = pare_name_fresh(m, graph, pare_arena_printf(&m->arena, "%s_replaced", name));
    if (!may_rename(m, pare_model_value(m, to)) || pare_model_value(m, to)->graph != graph) {
        const char *out[] = {spare};
        uint32_t node = pare_node_add(m, graph, 0, "Identity", "", "", &to, 1, out, 1);
        to = pare_model_node(m, node)->out[0];
        spare = pare_name_fresh(m, graph, pare_arena_printf(&m->arena, "%s_replaced", name));
    }
    pare_value_replace_uses(m, from, to);
    pare_value_rename(m, from, spare);
    pare_value_rename(m, to, name);
    pare_value *b = pare_model_value(m, to);
    a = pare_model_value(m, from);
    b->declared = true; /* outputs carry their type in the file */
    if (!b->dtype || b->ndim < 0) pare_value_type_set(m, to, b->dtype ? b->dtype : a->dtype, a->ndim, a->dims);
}

pare_status pare_host_replace_uses(const pare_host *h, pare_model *m, uint32_t from, uint32_t to) {
    static const char fn[] = "pare.graph/1 replace_uses";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    const pare_value *a = s ? pare_host_value(h, fn, from) : NULL, *b = a ? pare_host_value(h, fn, to) : NULL;
    if (!b) return PARE_EINVAL;
    if (from == to) return pare_host_misuse(h, fn, "from and to are both value %u", from);
    if (!sees(s->model, a->graph, b->graph))
        return pare_host_misuse(h, fn, "value %u (%s) can't be seen where value %u (%s) is used", to, b->name, from,
                                a->name);
    if (!a->is_output) {
        pare_value_replace_uses(s->model, from, to);
        return PARE_OK;
    }
    if (a->tensor && s->model->has_training_info)
        return pare_host_refuse_text(h, PARE_EUNSUPPORTED, "graph.training-info",
                                     "the initializer %s is a graph output of a model with training info", a->name);
    if (a->is_input) { /* an input that is also an output keeps its name: only the nodes move */
        pare_diag_item it = {.code = "graph.interface",
                             .tensor = a->name,
                             .message = "a graph input that is an output as well can't be replaced"};
        return pare_host_refuse(h, PARE_EUNSUPPORTED, &it);
    }
    hand_output_over(s->model, from, to);
    return PARE_OK;
}

pare_status pare_host_value_rename(const pare_host *h, pare_model *m, uint32_t value, const char *name) {
    static const char fn[] = "pare.graph/1 value_rename";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    const pare_value *v = s ? pare_host_value(h, fn, value) : NULL;
    if (!v || !pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    if (strcmp(v->name, name) == 0) return PARE_OK;
    if (!may_rename(s->model, v)) {
        pare_diag_item it = {.code = "graph.interface",
                             .tensor = v->name,
                             .message = "graph inputs, graph outputs and what training info may name keep their names"};
        return pare_host_refuse(h, PARE_EINVAL, &it);
    }
    return pare_value_rename(s->model, value, name) ? PARE_OK : name_taken(h, name);
}

pare_status pare_host_value_retype(const pare_host *h, pare_model *m, uint32_t value, uint32_t dtype) {
    static const char fn[] = "pare.graph/1 value_retype";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    const pare_value *v = s ? pare_host_value(h, fn, value) : NULL;
    if (!v) return PARE_EINVAL;
    if (!pare_dtype_kind(dtype)) return pare_host_misuse(h, fn, "there is no dtype %u", dtype);
    if (v->tensor) return pare_host_misuse(h, fn, "value %u (%s) is an initializer: see retype of its tensor", value, v->name);
    pare_value_type_set(s->model, value, dtype, v->ndim, v->dims);
    return PARE_OK;
}

const char *pare_host_name_fresh(const pare_host *h, pare_model *m, const char *want) {
    static const char fn[] = "pare.graph/1 name_fresh";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s || !pare_host_text_ok(h, fn, "want", want)) return NULL;
    return pare_name_fresh(s->model, PARE_MAIN_GRAPH, want);
}

/* ---- attributes, metadata, opsets ---- */

pare_status pare_host_attr_set(const pare_host *h, pare_model *m, uint32_t node, const char *name,
                               const pare_attribute *attr) {
    static const char fn[] = "pare.graph/1 attr_set";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_node(h, fn, node) || !pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    pare_attribute full;
    if (!PARE_TAKE(h, fn, "attr", attr, full, PARE_LEAST_ATTRIBUTE)) return PARE_EINVAL;
    const pare_attribute *a = &full;
    if (pare_host_borrowed_inside(s, node))
        return pare_host_misuse(h, fn, "a tensor that node %u holds is borrowed", node);
    const void *list = a->type == PARE_ATTRIBUTE_STRING   ? (const void *)a->s
                       : a->type == PARE_ATTRIBUTE_FLOATS ? (const void *)a->floats
                       : a->type == PARE_ATTRIBUTE_INTS   ? (const void *)a->ints
                                                          : fn;
    if ((a->n && !list) || a->n > (uint64_t)1 << 32)
        return pare_host_misuse(h, fn, "the attribute's data is NULL or absurdly long");
    switch (a->type) {
    case PARE_ATTRIBUTE_FLOAT: pare_attr_set_float(s->model, node, name, (float)a->f); break;
    case PARE_ATTRIBUTE_INT: pare_attr_set_int(s->model, node, name, a->i); break;
    case PARE_ATTRIBUTE_STRING: pare_attr_set_string(s->model, node, name, a->s, (size_t)a->n); break;
    case PARE_ATTRIBUTE_FLOATS: pare_attr_set_floats(s->model, node, name, a->floats, (size_t)a->n); break;
    case PARE_ATTRIBUTE_INTS: pare_attr_set_ints(s->model, node, name, a->ints, (size_t)a->n); break;
    default: return pare_host_misuse(h, fn, "attributes of type %u can't be set", a->type);
    }
    return PARE_OK;
}

pare_status pare_host_attr_del(const pare_host *h, pare_model *m, uint32_t node, const char *name) {
    static const char fn[] = "pare.graph/1 attr_del";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    const pare_node *n = s ? pare_host_node(h, fn, node) : NULL;
    if (!n || !pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    if (!pare_node_attr(n, name)) return PARE_ENOTFOUND;
    if (pare_host_borrowed_inside(s, node))
        return pare_host_misuse(h, fn, "a tensor that node %u holds is borrowed", node);
    pare_attr_del(s->model, node, name);
    return PARE_OK;
}

pare_status pare_host_meta_set(const pare_host *h, pare_model *m, const char *key, const char *value) {
    static const char fn[] = "pare.graph/1 meta_set";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_text_ok(h, fn, "key", key)) return PARE_EINVAL;
    if (strncmp(key, "ai.pare.", 8) == 0) return pare_host_misuse(h, fn, "keys of ai.pare.* are the host's: %s", key);
    if (value && !pare_utf8_ok(value, strlen(value)))
        return pare_host_misuse(h, fn, "the value of %s is not UTF-8", key);
    pare_model_meta_set(s->model, key, value);
    return PARE_OK;
}

pare_status pare_host_opset_need(const pare_host *h, pare_model *m, const char *domain, int64_t min) {
    static const char fn[] = "pare.graph/1 opset_need";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s) return PARE_EINVAL;
    domain = plain_domain(domain);
    if (domain[0] && !pare_host_text_ok(h, fn, "domain", domain)) return PARE_EINVAL;
    if (min < 1) return pare_host_misuse(h, fn, "version %lld", (long long)min);
    int64_t now = pare_model_opset(s->model, domain);
    if (now >= min) return PARE_OK;
    if (!domain[0] && now) return pare_host_opset_raise(h, s->model, min);
    if (now)
        return pare_host_refuse_text(h, PARE_EUNSUPPORTED, "opset.unknown-domain",
                                     "the file imports %s at %lld; pare doesn't know what changed up to %lld", domain,
                                     (long long)now, (long long)min);
    pare_model_opset_set(s->model, domain, min);
    return PARE_OK;
}

/* ---- the journal ---- */

pare_status pare_host_mark(const pare_host *h, pare_model *m, uint32_t *mark) {
    static const char fn[] = "pare.graph/1 mark";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s) return PARE_EINVAL;
    if (!mark) return pare_host_misuse(h, fn, "mark is NULL");
    if (s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    pare_mark k = {++s->last_mark, pare_model_clone(s->model)};
    pare_vec_push(&s->marks, k);
    *mark = k.id;
    return PARE_OK;
}

static pare_mark *find_mark(const pare_host *h, const char *fn, uint32_t mark) {
    pare_host_impl *s = pare_host_of(h);
    for (size_t i = 0; i < s->marks.len; i++)
        if (s->marks.data[i].id == mark) return &s->marks.data[i];
    pare_host_misuse(h, fn, "there is no mark %u", mark);
    return NULL;
}

/* Ids that were given out since the mark stay dead: they must not come to mean something else. */
#define RETIRE_IDS(table, from, to)                                                                                    \
    while ((to)->table.len < (from)->table.len) pare_vec_push(&(to)->table, NULL)

pare_status pare_host_undo(const pare_host *h, pare_model *m, uint32_t mark) {
    static const char fn[] = "pare.graph/1 undo";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_mark *k = s ? find_mark(h, fn, mark) : NULL;
    if (!k) return PARE_EINVAL;
    if (s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    pare_model *old = k->snapshot;
    while (s->marks.len && s->marks.data[s->marks.len - 1].id != mark)
        pare_model_free(s->marks.data[--s->marks.len].snapshot); /* nested ones go with it */
    s->marks.len--;
    pare_model swap = *s->model;
    *s->model = *old;
    *old = swap; /* now what is thrown away */
    RETIRE_IDS(graphs, old, s->model);
    RETIRE_IDS(nodes, old, s->model);
    RETIRE_IDS(values, old, s->model);
    RETIRE_IDS(tensors, old, s->model);
    s->model->edits = old->edits + 1;
    s->sorted_at = UINT64_MAX;
    /* Its strings stay until the function returns, its bytes may go now. */
    for (size_t i = 0; i < old->tensors.len; i++) {
        if (!old->tensors.data[i]) continue;
        pare_blob_unref(old->tensors.data[i]->blob);
        old->tensors.data[i]->blob = NULL;
    }
    pare_vec_push(&s->undone, old);
    return PARE_OK;
}

pare_status pare_host_keep(const pare_host *h, pare_model *m, uint32_t mark) {
    static const char fn[] = "pare.graph/1 keep";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_mark *k = s ? find_mark(h, fn, mark) : NULL;
    if (!k) return PARE_EINVAL;
    pare_model_free(k->snapshot);
    size_t at = (size_t)(k - s->marks.data);
    memmove(k, k + 1, (s->marks.len - at - 1) * sizeof *k);
    s->marks.len--;
    return PARE_OK;
}
