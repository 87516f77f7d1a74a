/* model/check.c - the check after reading and after edits: see pare_model_check in edit.h. */
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

static const char *graph_name(const pare_graph *g) { return g->name && g->name[0] ? g->name : "(unnamed)"; }

/* ---- every used value is defined ---- */

static bool is_defined(const pare_value *v) { return v->producer || v->is_input || v->tensor || v->is_sparse; }

static pare_status check_defined(const pare_model *m, pare_diags *d) {
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->values.len; i++) {
        const pare_value *v = m->values.data[i];
        if (!v || is_defined(v) || (!v->uses.len && !v->is_output)) continue;
        const pare_node *n = v->uses.len ? pare_model_node(m, v->uses.data[0].node) : NULL;
        pare_sb b = {0};
        if (n)
            pare_sb_printf(&b, "input %u of this %s node is '%s', which nothing defines", v->uses.data[0].slot,
                           n->op_type, v->name);
        else
            pare_sb_printf(&b, "graph output '%s' is defined by no node, input or initializer", v->name);
        pare_diag_item it = {.severity = PARE_ERROR,
                             .code = "model.dangling",
                             .message = pare_sb_str(&b),
                             .tensor = v->name,
                             .node = n && n->name[0] ? n->name : NULL,
                             .path = m->path};
        pare_diags_add(d, &it);
        pare_sb_free(&b);
        st = PARE_EINVAL;
    }
    return st;
}

/* ---- order ---- */

typedef struct edge {
    uint32_t graph, from, to; /* `to` needs `from`; both nodes of `graph` */
} edge;

static int by_graph_and_target(const void *a, const void *b) {
    const edge *x = a, *y = b;
    if (x->graph != y->graph) return x->graph < y->graph ? -1 : 1;
    if (x->to != y->to) return x->to < y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* The node of graph `graph` that contains `node`, itself or by nesting; 0: none. */
static uint32_t container(const pare_model *m, uint32_t node, uint32_t graph) {
    const pare_node *n = pare_model_node(m, node);
    while (n && n->graph != graph) n = pare_model_node(m, pare_model_graph(m, n->graph)->parent_node);
    return n ? n->id : 0;
}

typedef PARE_VEC(edge) edges;

static void edge_of(const pare_model *m, const pare_value *v, uint32_t user, edges *out) {
    if (!v || !v->producer) return;
    uint32_t to = container(m, user, v->graph);
    if (to) pare_vec_push(out, ((edge){v->graph, v->producer, to}));
}

static void collect_edges(const pare_model *m, edges *out) {
    for (size_t i = 0; i < m->nodes.len; i++) {
        const pare_node *n = m->nodes.data[i];
        if (!n) continue;
        for (uint32_t k = 0; k < n->n_in; k++) edge_of(m, pare_model_value(m, n->in[k]), n->id, out);
    }
    for (size_t i = 0; i < m->graphs.len; i++) { /* a subgraph may hand an outer value out */
        const pare_graph *g = m->graphs.data[i];
        if (!g || !g->parent_node) continue;
        for (size_t k = 0; k < g->outputs.len; k++) {
            const pare_value *v = pare_model_value(m, g->outputs.data[k]);
            if (v && v->graph != g->id) edge_of(m, v, g->parent_node, out);
        }
    }
}

static pare_status cycle_found(const pare_model *m, const pare_graph *g, uint32_t node, pare_diags *d) {
    const pare_node *n = pare_model_node(m, node);
    const pare_value *v = pare_model_value(m, n->n_out ? n->out[0] : 0);
    pare_sb b = {0};
    pare_sb_printf(&b, "the nodes of graph '%s' form a cycle through this %s node", graph_name(g), n->op_type);
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = "model.cycle",
                         .message = pare_sb_str(&b),
                         .path = m->path,
                         .node = n->name[0] ? n->name : NULL,
                         .tensor = v ? v->name : NULL};
    pare_diags_add(d, &it);
    pare_sb_free(&b);
    return PARE_EINVAL;
}

enum { WHITE, GREY, BLACK };

/* Depth first over what nodes need, nodes taken in their present order: an order that is right already stays. `first`
 * and `e` are the graph's edges sorted by target; `colour` is WHITE for all its nodes. The new order goes to `out`. */
static pare_status sort_graph(const pare_model *m, const pare_graph *g, const edge *e, const size_t *first,
                              unsigned char *colour, uint32_t *out, pare_diags *d) {
    pare_status st = PARE_OK;
    PARE_VEC(struct {
        uint32_t node;
        size_t next;
    })
    stack = {0};
    size_t n_out = 0;
    for (size_t i = 0; i < g->nodes.len && !st; i++) {
        if (colour[g->nodes.data[i]] != WHITE) continue;
        stack.len = 0;
        pare_vec_reserve(&stack, 1);
        stack.data[0].node = g->nodes.data[i];
        stack.data[0].next = first[g->nodes.data[i]];
        stack.len = 1;
        colour[g->nodes.data[i]] = GREY;
        while (stack.len && !st) {
            uint32_t node = stack.data[stack.len - 1].node;
            size_t k = stack.data[stack.len - 1].next;
            if (k == SIZE_MAX || e[k].to != node || e[k].graph != g->id) {
                colour[node] = BLACK;
                out[n_out++] = node;
                stack.len--;
                continue;
            }
            stack.data[stack.len - 1].next = k + 1;
            uint32_t need = e[k].from;
            if (colour[need] == GREY) {
                st = cycle_found(m, g, need, d);
            } else if (colour[need] == WHITE) {
                colour[need] = GREY;
                pare_vec_reserve(&stack, stack.len + 1);
                stack.data[stack.len].node = need;
                stack.data[stack.len].next = first[need];
                stack.len++;
            }
        }
    }
    pare_vec_free(&stack);
    return st;
}

pare_status pare_model_check(pare_model *m, pare_diags *d) {
    pare_status st = check_defined(m, d);
    if (st) return st;
    edges e = {0};
    collect_edges(m, &e);
    pare_vec_push(&e, ((edge){UINT32_MAX, 0, 0})); /* a sentinel behind the last */
    qsort(e.data, e.len, sizeof *e.data, by_graph_and_target);
    size_t *first = pare_xmalloc((m->nodes.len + 1) * sizeof *first);
    for (size_t i = 0; i <= m->nodes.len; i++) first[i] = SIZE_MAX;
    for (size_t i = e.len - 1; i-- > 0;) first[e.data[i].to] = i;
    uint32_t *order = pare_xmalloc((m->nodes.len + 1) * sizeof *order);
    /* two rounds, so that nothing has moved when a later graph turns out to be wrong */
    unsigned char *colour = pare_xmalloc(m->nodes.len + 1); /* a node is in one graph: one array for all of them */
    for (int commit = 0; commit < 2 && !st; commit++) {
        memset(colour, WHITE, m->nodes.len + 1);
        for (size_t i = 0; i < m->graphs.len && !st; i++) {
            pare_graph *g = m->graphs.data[i];
            if (!g) continue;
            st = sort_graph(m, g, e.data, first, colour, order, d);
            if (!st && commit && g->nodes.len) memcpy(g->nodes.data, order, g->nodes.len * sizeof *order);
        }
    }
    free(colour);
    free(order);
    free(first);
    pare_vec_free(&e);
    return st;
}
