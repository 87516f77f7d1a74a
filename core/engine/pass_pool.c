/* engine/pass_pool.c - the mean over all of an image's places, as the newer exporter writes it, is GlobalAveragePool.
 *
 * ReduceMean over dims 2 and up of (N, C, …): as a pooling it has a kernel in any layout of the image. Where the dims
 * are to go, a Squeeze follows. The mean over one place, and its gradient, are what they are the mean of. See pass.h.
 * May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <pare/grad_ops.h>
#include <string.h>

/* The axes are just 2 … ndim - 1, in any order. */
static bool all_places(const pare_model *m, const pare_node *n, int32_t ndim) {
    pare_tensor *t = pare_pass_constant(m, n, 1, PARE_INT64);
    const void *data;
    uint32_t seen = 0;
    if (!t || t->count != (uint64_t)ndim - 2 || pare_tensor_read(t, NULL, &data) || !data) return false;
    for (uint64_t i = 0; i < t->count; i++) {
        int64_t axis;
        memcpy(&axis, (const char *)data + i * sizeof axis, sizeof axis);
        if (axis < 0) axis += ndim;
        if (axis < 2 || axis >= ndim || (seen >> axis & 1)) return false;
        seen |= 1u << axis;
    }
    return true;
}

static bool rewrite(pare_model *m, const pare_node *n) {
    const pare_value *x = pare_node_is(n, "ReduceMean") && n->n_in == 2 ? pare_model_value(m, n->in[0]) : NULL;
    if (!x || x->tensor || x->dtype != PARE_FLOAT || x->ndim < 4 || x->ndim > 5 || !all_places(m, n, x->ndim))
        return false;
    for (int32_t i = 2; i < x->ndim; i++)
        if (x->dims[i].value == 0) return false; /* the mean of nothing */
    uint32_t old = n->id, in[2] = {x->id, n->in[1]};
    bool keep = pare_node_attr_int(n, "keepdims", 1) != 0;
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, "pooled");
    uint32_t last = pare_node_add(m, PARE_MAIN_GRAPH, old, "GlobalAveragePool", "", n->name, in, 1, &out, 1);
    if (!keep) {
        in[0] = pare_model_node(m, last)->out[0];
        out = pare_name_fresh(m, PARE_MAIN_GRAPH, "squeezed");
        last = pare_node_add(m, PARE_MAIN_GRAPH, old, "Squeeze", "", "", in, 2, &out, 1);
    }
    pare_pass_replace(m, old, last);
    return true;
}

/* GlobalAveragePool of an image of one place, or its gradient (dy is input 0 of that): consumers take the input. */
static bool one_place(pare_model *m, const pare_node *n) {
    bool grad = strcmp(n->op_type, "GlobalAveragePoolGrad") == 0 && strcmp(n->domain, PARE_GRAD_DOMAIN) == 0;
    if ((!grad && !pare_node_is(n, "GlobalAveragePool")) || n->n_in <= grad || !n->n_out) return false;
    const pare_value *x = pare_model_value(m, n->in[grad ? 1 : 0]), *y = pare_model_value(m, n->out[0]);
    if (!x || !y || x->ndim < 3 || y->is_output || !y->uses.len) return false;
    for (int32_t i = 2; i < x->ndim; i++)
        if (x->dims[i].value != 1) return false;
    uint32_t id = n->id;
    pare_value_replace_uses(m, y->id, n->in[0]);
    pare_node_del(m, id);
    return true;
}

pare_status pare_pass_pool(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    size_t n = m->nodes.len;
    for (size_t i = 0; i < n; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH &&
            (rewrite(m, m->nodes.data[i]) || one_place(m, m->nodes.data[i])))
            ++*changed;
    return PARE_OK;
}
