/* engine/pass_quant.c - rounding points moved together, and what they make needless. See pass.h.
 *
 * Numbers of 8 bits are moved about instead of the floats they stand for: DequantizeLinear goes behind ops that only
 * move or choose numbers, QuantizeLinear in front of those that make no fewer. QuantizeLinear behind DequantizeLinear
 * of the same parameters goes, and Relu and Clip whose bounds the 8 bits keep anyway. All of it bit for bit. May use:
 * quant.h, model.
 */
#include "engine/pass.h"

#include "engine/quant.h"
#include "model/edit.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct pass {
    pare_model *m;
    pare_arena a; /* emptied after each node */
} pass;

/* ---- moving down ---- */

/* The node behind n in the graph's list; 0: n is the last. */
static uint32_t next_of(const pare_model *m, const pare_node *n) {
    const pare_graph *g = pare_model_graph(m, n->graph);
    for (size_t i = 0; i + 1 < g->nodes.len; i++)
        if (g->nodes.data[i] == n->id) return g->nodes.data[i + 1];
    return 0;
}

/* Output k of n is numbers of this dtype from now on, and a DequantizeLinear like dq makes of them what it was. */
static void read_behind(pare_model *m, pare_node *n, uint32_t k, uint32_t before, const pare_node *dq, uint32_t dtype,
                        int32_t axis) {
    pare_value *old = pare_model_value(m, n->out[k]);
    if (!old) return;
    int32_t ndim = old->ndim;
    uint32_t real = old->dtype, was = old->id;
    const pare_dim *dims = old->dims;
    uint32_t code = pare_value_add(m, n->graph, pare_name_fresh(m, n->graph, old->name));
    pare_node_output_set(m, n->id, k, code);
    pare_value_type_set(m, code, dtype, ndim, dims);
    const uint32_t in[] = {code, dq->in[1], dq->n_in > 2 ? dq->in[2] : 0};
    const char *out = pare_name_fresh(m, n->graph, old->name);
    uint32_t id =
        pare_node_add(m, n->graph, before, "DequantizeLinear", "", dq->name, in, dq->n_in > 2 ? 3 : 2, &out, 1);
    if (axis >= 0) pare_attr_set_int(m, id, "axis", axis);
    uint32_t to = pare_model_node(m, id)->out[0];
    pare_value_type_set(m, to, real, ndim, dims);
    pare_value_replace_uses(m, was, to);
    pare_value_del(m, was);
}

/* Where the channels lie behind a Transpose; -1: another op, or a permutation that is not known. */
static int32_t moved_axis(const pare_node *n, const pare_value *x, int32_t axis) {
    const pare_attr *perm = pare_node_attr(n, "perm");
    if (!pare_node_is(n, "Transpose") || x->ndim < 0) return -1;
    if (!perm) return x->ndim - 1 - axis;
    for (size_t i = 0; i < perm->n; i++)
        if (perm->ints[i] == axis) return (int32_t)i;
    return -1;
}

static bool move_down(pass *p, pare_node *n) {
    pare_model *m = p->m;
    pare_quant q;
    int32_t axis = -1;
    if (!pare_quant_moves(m, n) || !pare_quant_of(&p->a, m, n->in[0], &q)) return false;
    if (q.n > 1 && (axis = moved_axis(n, pare_model_value(m, n->in[0]), q.axis)) < 0) return false;
    const pare_node *dq = pare_model_node(m, pare_model_value(m, n->in[0])->producer);
    uint32_t before = next_of(m, n);
    pare_node_input_set(m, n->id, 0, q.value);
    for (uint32_t k = 0; k < n->n_out; k++) read_behind(m, n, k, before, dq, q.dtype, axis);
    return true;
}

/* Concat of parts that have one scale and zero point. */
static bool move_below_concat(pass *p, pare_node *n) {
    pare_model *m = p->m;
    pare_quant first, q;
    if (!pare_node_is(n, "Concat") || !n->n_in || n->n_out != 1) return false;
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (!pare_quant_of(&p->a, m, n->in[i], &q) || q.n != 1) return false;
        if (!i) first = q;
        if (!pare_quant_same(&first, &q)) return false;
    }
    const pare_node *dq = pare_model_node(m, pare_model_value(m, n->in[0])->producer);
    uint32_t before = next_of(m, n);
    for (uint32_t i = 0; i < n->n_in; i++) {
        pare_quant_of(&p->a, m, n->in[i], &q);
        pare_node_input_set(m, n->id, i, q.value);
    }
    read_behind(m, n, 0, before, dq, q.dtype, -1);
    return true;
}

/* ---- moving up ---- */

/* Rounded before it is moved: what makes the numbers can round them then. */
static bool move_up(pass *p, pare_node *n) {
    static const char *const ops[] = {"DepthToSpace", "Expand",       "Flatten", "Identity", "MaxPool",   "Reshape",
                                      "Resize",       "SpaceToDepth", "Squeeze", "Tile",     "Transpose", "Unsqueeze"};
    pare_model *m = p->m;
    pare_quant q;
    bool known = false;
    if (!pare_node_is(n, "QuantizeLinear") || !pare_quant_read(&p->a, m, n, &q) || q.n != 1) return false;
    const pare_value *moved = pare_model_value(m, n->in[0]);
    pare_node *u = pare_model_node(m, moved->producer);
    for (size_t i = 0; u && i < sizeof ops / sizeof *ops; i++) known = known || pare_node_is(u, ops[i]);
    if (!known || !pare_quant_moves(m, u) || moved->uses.len != 1 || moved->is_output || moved->slot) return false;
    const pare_value *x = pare_model_value(m, u->in[0]);
    const pare_node *from = pare_model_node(m, x->producer);
    if (x->tensor || x->dtype != PARE_FLOAT || !from || pare_node_is(from, "DequantizeLinear")) return false;
    int64_t dtype = pare_node_attr_int(n, "output_dtype", 0);
    const uint32_t in[] = {x->id, n->in[1], n->n_in > 2 ? n->in[2] : 0};
    const char *out = pare_name_fresh(m, n->graph, x->name);
    uint32_t id = pare_node_add(m, n->graph, u->id, "QuantizeLinear", "", n->name, in, n->n_in, &out, 1);
    if (dtype) pare_attr_set_int(m, id, "output_dtype", dtype);
    uint32_t code = pare_model_node(m, id)->out[0];
    pare_value_type_set(m, code, q.dtype, x->ndim, x->dims);
    pare_node_input_set(m, u->id, 0, code);
    pare_value_type_set(m, moved->id, q.dtype, moved->ndim, moved->dims);
    pare_value_replace_uses(m, n->out[0], moved->id);
    pare_node_del(m, n->id);
    return true;
}

/* ---- what is needless ---- */

static bool cancels(pass *p, pare_node *n) {
    pare_quant to, from;
    if (!pare_node_is(n, "QuantizeLinear") || !pare_quant_read(&p->a, p->m, n, &to)) return false;
    if (!pare_quant_of(&p->a, p->m, n->in[0], &from) || !pare_quant_same(&to, &from)) return false;
    if (!isfinite(from.scale[0] * 255)) return false;
    pare_value_replace_uses(p->m, n->out[0], from.value);
    pare_node_del(p->m, n->id);
    return true;
}

/* The bounds of Relu or Clip. */
static bool bounds(const pare_model *m, const pare_node *n, float *low, float *high) {
    *low = pare_node_is(n, "Relu") ? 0 : -FLT_MAX;
    *high = FLT_MAX;
    if (n->n_out != 1 || !n->n_in || !n->in[0]) return false;
    if (pare_node_is(n, "Relu")) return true;
    if (!pare_node_is(n, "Clip")) return false;
    if (n->n_in > 1 && n->in[1] && !pare_pass_number(m, n, 1, low)) return false;
    return n->n_in < 3 || !n->in[2] || pare_pass_number(m, n, 2, high);
}

static bool needless(pass *p, pare_node *n) {
    float low, high;
    pare_quant q;
    if (!bounds(p->m, n, &low, &high) || !(low <= high)) return false;
    bool none = false;
    const pare_node *next = pare_pass_consumer(p->m, n->out[0]);
    if (pare_quant_of(&p->a, p->m, n->in[0], &q) && q.n == 1) {
        int32_t zero = q.zero_point ? q.zero_point[0] : 0, least = q.dtype == PARE_UINT8 ? 0 : -128;
        none = low <= (float)(least - zero) * q.scale[0] && high >= (float)(least + 255 - zero) * q.scale[0];
    }
    if (!none && next && pare_node_is(next, "QuantizeLinear") && pare_quant_read(&p->a, p->m, next, &q) && q.n == 1) {
        float zero = q.zero_point ? (float)q.zero_point[0] : 0, least = q.dtype == PARE_UINT8 ? 0 : -128;
        none = rintf(low / q.scale[0]) + zero <= least && rintf(high / q.scale[0]) + zero >= least + 255;
    }
    if (!none) return false;
    pare_value_replace_uses(p->m, n->out[0], n->in[0]);
    pare_node_del(p->m, n->id);
    return true;
}

pare_status pare_pass_quant(pare_model *m, pare_diags *d, uint64_t *changed) {
    pass p = {.m = m};
    (void)d;
    *changed = 0;
    for (size_t i = 0; i < m->nodes.len; i++) {
        pare_node *n = m->nodes.data[i];
        if (!n || n->graph != PARE_MAIN_GRAPH) continue;
        *changed += cancels(&p, n) || needless(&p, n) || move_down(&p, n) || move_below_concat(&p, n) || move_up(&p, n);
        pare_arena_free(&p.a);
    }
    return PARE_OK;
}
