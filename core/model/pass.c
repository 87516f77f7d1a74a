/* model/pass.c - see pass.h: remove_dead, remove_identity, and the table. May use: model.h, edit.h, onnx_wire.h. */
#include "model/pass.h"

#include "model/edit.h"
#include "model/onnx_wire.h"

#include <stdlib.h>
#include <string.h>

/* ---- what may not go ---- */

/* Values that some graph names as its output: an inner graph may name an outer value. */
static unsigned char *output_flags(const pare_model *m) {
    unsigned char *is = pare_xcalloc(m->values.len + 1, 1);
    for (size_t i = 0; i < m->graphs.len; i++)
        for (size_t k = 0; m->graphs.data[i] && k < m->graphs.data[i]->outputs.len; k++)
            is[m->graphs.data[i]->outputs.data[k]] = 1;
    return is;
}

static bool holds(const unsigned char *text, size_t n, const char *word) {
    size_t k = strlen(word);
    for (size_t i = 0; k && i + k <= n; i++)
        if (text[i] == (unsigned char)word[0] && memcmp(text + i, word, k) == 0) return true;
    return false;
}

/* Does a quantization annotation mention the name? They are carried in wire form (GraphProto field 14) and name tensors
 * that no node may use. What else is carried unread (doc strings) names nothing. */
static bool mentioned(const pare_graph *g, const char *name) {
    enum { ANNOTATION = 14 };
    const unsigned char *p = g->extra.data, *end = p + g->extra.len;
    pare_wire_field f;
    while (g->extra.len && p < end) {
        if (pare_wire_next(&p, end, &f) <= 0) return holds(p, (size_t)(end - p), name); /* no known form: play safe */
        if (f.number == ANNOTATION && holds(f.data, f.len, name)) return true;
    }
    return false;
}

/* ---- remove_dead ---- */

static bool node_is_dead(const pare_model *m, const pare_node *n, const unsigned char *is_output) {
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_value *v = pare_model_value(m, n->out[i]);
        if (v && (v->uses.len || v->is_output || is_output[v->id] || mentioned(pare_model_graph(m, v->graph), v->name)))
            return false;
    }
    return true;
}

/* Backwards, so that a chain goes in one sweep: what only a dead node needs is dead when its turn comes. */
static uint64_t remove_nodes(pare_model *m, uint32_t graph, const unsigned char *is_output) {
    uint64_t n = 0;
    const pare_graph *g = pare_model_graph(m, graph);
    for (size_t i = g->nodes.len; i-- > 0;) {
        if (i >= g->nodes.len || !node_is_dead(m, pare_model_node(m, g->nodes.data[i]), is_output)) continue;
        pare_node_del(m, g->nodes.data[i]);
        n++;
    }
    return n;
}

static bool initializer_is_dead(const pare_model *m, const pare_graph *g, const pare_tensor *t,
                                const unsigned char *is_output) {
    uint32_t id;
    if (!pare_map_get(&g->names, t->name, &id)) return false;
    const pare_value *v = pare_model_value(m, id);
    return !v->uses.len && !v->is_output && !is_output[id] && !v->is_input && !mentioned(g, v->name);
}

static pare_status remove_dead(pare_model *m, pare_diags *d, uint64_t *changed) {
    pare_status st = pare_model_check(m, d); /* sorts, so that backwards means against the edges */
    if (st) return st;
    unsigned char *is_output = output_flags(m);
    uint64_t n = 0, before;
    do { /* inner graphs hold outer values; freed by the first sweep, they go in the next */
        before = n;
        for (size_t i = m->graphs.len; i-- > 0;)
            if (m->graphs.data[i]) n += remove_nodes(m, (uint32_t)i + 1, is_output);
    } while (n != before);
    for (size_t i = 0; i < m->graphs.len && !m->has_training_info; i++) { /* training info may name initializers */
        const pare_graph *g = m->graphs.data[i];
        for (size_t k = g ? g->initializers.len : 0; k-- > 0;) {
            const pare_tensor *t = pare_model_tensor(m, g->initializers.data[k]);
            if (!initializer_is_dead(m, g, t, is_output)) continue;
            pare_tensor_del(m, t->id);
            n++;
        }
    }
    free(is_output);
    *changed = n;
    return PARE_OK;
}

/* ---- remove_identity ---- */

/* The Identity's output may be called differently, so its consumers move to its input; a graph output keeps its name by
 * renaming the input instead, where that is free to change. */
static bool identity_goes(pare_model *m, uint32_t node, const unsigned char *is_output) {
    const pare_node *n = pare_model_node(m, node);
    if (!pare_node_is(n, "Identity") || n->n_in < 1 || n->n_out < 1) return false;
    const pare_value *from = pare_model_value(m, n->out[0]), *to = pare_model_value(m, n->in[0]);
    if (!from || !to || from == to || to->other_type || from->other_type) return false;
    if (mentioned(pare_model_graph(m, from->graph), from->name)) return false;
    bool is_out = from->is_output || is_output[from->id];
    if (is_out) {
        bool fixed = to->is_input || to->is_output || is_output[to->id] || to->is_sparse || !to->producer ||
                     to->graph != from->graph || mentioned(pare_model_graph(m, to->graph), to->name);
        if (fixed) return false;
    }
    uint32_t from_id = from->id, to_id = to->id;
    const char *name = pare_arena_strdup(&m->arena, from->name);
    bool declared = from->declared;
    uint32_t dtype = from->dtype;
    int32_t ndim = from->ndim;
    const pare_dim *dims = from->dims;
    pare_value_replace_uses(m, from_id, to_id);
    pare_node_del(m, node); /* frees the name, as nothing uses the output any more */
    if (!is_out) return true;
    pare_value_rename(m, to_id, name);
    pare_value *v = pare_model_value(m, to_id);
    v->declared = v->declared || declared;
    if (dtype) pare_value_type_set(m, to_id, dtype, ndim, dims);
    return true;
}

static pare_status remove_identity(pare_model *m, pare_diags *d, uint64_t *changed) {
    pare_status st = pare_model_check(m, d);
    if (st) return st;
    uint64_t n = 0;
    unsigned char *is_output = output_flags(m);
    for (size_t i = 0; i < m->nodes.len; i++) {
        if (!m->nodes.data[i]) continue;
        uint32_t in = m->nodes.data[i]->n_in ? m->nodes.data[i]->in[0] : 0;
        uint32_t out = m->nodes.data[i]->n_out ? m->nodes.data[i]->out[0] : 0;
        if (!identity_goes(m, (uint32_t)i + 1, is_output)) continue;
        is_output[in] |= is_output[out];
        n++;
    }
    free(is_output);
    *changed = n;
    return PARE_OK;
}

/* ---- by name ---- */

static const pare_pass passes[] = {
    {"remove_dead", "removes nodes whose outputs nothing needs, and initializers that nothing uses", remove_dead},
    {"fold_batchnorm", "puts BatchNormalization into the weights of the Conv, ConvTranspose or Gemm before it",
     pare_model_fold_batchnorm},
    {"remove_identity", "removes Identity nodes, moving their consumers to the input", remove_identity},
};

const pare_pass *pare_pass_at(size_t i) { return i < sizeof passes / sizeof *passes ? &passes[i] : NULL; }

const pare_pass *pare_pass_find(const char *name) {
    for (size_t i = 0; pare_pass_at(i); i++)
        if (strcmp(passes[i].name, name) == 0) return &passes[i];
    return NULL;
}
