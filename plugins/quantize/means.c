/* quantize/means.c - ReduceMean over the picture as GlobalAveragePool, which runtimes have int8 kernels for. See
 * prepare.h. */
#include "prepare.h"

#include <stdio.h>

/* Are these the axes 2 and 3 of four dims, in any order? */
static bool picture(const int64_t *axes, uint64_t n) {
    uint32_t seen = 0;
    if (n != 2) return false;
    for (uint64_t i = 0; i < n; i++) {
        const int64_t a = axes[i] < 0 ? axes[i] + 4 : axes[i];
        if (a < 2 || a > 3) return false;
        seen |= 1u << a;
    }
    return seen == 12;
}

/* An attribute until opset 17, a constant input since. */
static bool over_picture(const quantize_apis *q, uint32_t node, const pare_node_info *n) {
    pare_attribute a = {.size = sizeof a};
    if (!q->graph->attr_get(q->host, q->model, node, "axes", &a))
        return a.type == PARE_ATTRIBUTE_INTS && picture(a.ints, a.n);
    const pare_constant c = quantize_constant(q, n->n_in > 1 ? n->in[1] : 0);
    pare_view v = {.size = sizeof v};
    if (!c.tensor || c.scale || quantize_tensor(q, c.tensor).dtype != PARE_INT64) return false;
    if (q->tensors->borrow(q->host, q->model, c.tensor, PARE_READ, &v)) return false;
    const bool yes = picture((const int64_t *)(const void *)((const char *)v.data + v.byte_offset), v.count);
    q->tensors->release(q->host, q->model, c.tensor);
    return yes;
}

static pare_status replace(const quantize_apis *q, uint32_t node, const pare_node_info *n, bool flat) {
    const uint32_t old = n->out[0];
    char name[320];
    uint32_t value;
    (void)snprintf(name, sizeof name, "%.300s_mean", quantize_value(q, old).name);
    pare_status st = quantize_node_add(q, "GlobalAveragePool", NULL, n->in, 1, name, NULL, &value);
    (void)snprintf(name, sizeof name, "%.300s_flat", quantize_value(q, old).name);
    if (!st && flat) st = quantize_node_add(q, "Flatten", NULL, &value, 1, name, NULL, &value);
    if (!st) st = q->graph->replace_uses(q->host, q->model, old, value);
    return st ? st : q->graph->node_del(q->host, q->model, node);
}

pare_status prepare_means(const quantize_apis *q, uint64_t *changed) {
    pare_status st = PARE_OK;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id && !st;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info n = quantize_node(q, id);
        if (n.domain[0] || !quantize_is(n.op_type, "ReduceMean")) continue;
        const pare_value_info x = quantize_value(q, n.in[0]);
        if (x.ndim != 4 || x.dtype != PARE_FLOAT || !over_picture(q, id, &n)) continue;
        st = replace(q, id, &n, !quantize_int(q, id, "keepdims", 1));
        ++*changed;
    }
    return st;
}
