/* engine/grad_fuse.c - a Relu or Clip(0, c) behind BatchNormTrain becomes part of it, before gradients are made.
 *
 * See grad.h. The backward pass then needs the activation's output alone: one tensor of each such layer less is kept,
 * and two passes over memory are saved. May use: pass.h, edit.h, pare/grad_ops.h.
 */
#include "engine/grad.h"
#include "engine/pass.h"

#include "model/edit.h"

#include <pare/grad_ops.h>
#include <string.h>

/* A Clip from 0 to a positive constant. */
static bool clips(const pare_model *m, const pare_node *n, float *high) {
    float low;
    return pare_node_is(n, "Clip") && pare_pass_number(m, n, 1, &low) && low == 0.0f &&
           pare_pass_number(m, n, 2, high) && *high > 0;
}

static bool fuse(pare_model *m, uint32_t id, uint32_t keep) {
    const pare_node *n = pare_model_node(m, id);
    float high = 0;
    if (strcmp(n->op_type, "BatchNormTrain") != 0 || strcmp(n->domain, PARE_GRAD_DOMAIN) != 0) return false;
    if (pare_node_attr_int(n, "relu", 0) || !n->out[0] || n->out[0] == keep) return false;
    const pare_node *act = pare_pass_consumer(m, n->out[0]);
    if (!act || act->graph != n->graph || act->n_out != 1) return false;
    bool relu = pare_node_is(act, "Relu");
    if (!relu && (act->in[0] != n->out[0] || !clips(m, act, &high))) return false;
    uint32_t was = n->out[0], y = act->out[0];
    const pare_value *v = pare_model_value(m, y);
    if (!v->uses.len && !v->is_output) return false;
    pare_node_del(m, act->id); /* its output is used, so it stays, and is defined anew */
    pare_node_output_set(m, id, 0, y);
    pare_value_del(m, was);
    pare_attr_set_int(m, id, "relu", 1);
    if (!relu) pare_attr_set_float(m, id, "high", high);
    return true;
}

void pare_grad_fuse(pare_model *m, uint32_t keep) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) fuse(m, g->nodes.data[i], keep);
}
