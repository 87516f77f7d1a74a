/* quantize/place_bias.c - where a node's bias goes. See place.h. */
#include "place.h"

static place_bias behind(const quantize_apis *q, const place_plan *plan, uint64_t index, uint64_t outputs) {
    const uint32_t out = quantize_node(q, plan->nodes[index].id).out[0];
    for (uint64_t i = index + 1; i < plan->n_nodes; i++) {
        const place_node *node = &plan->nodes[i];
        if (!node->fused || node->kind != PLACE_FUSE || node->head != index) continue;
        const pare_node_info n = quantize_node(q, node->id);
        if (!quantize_is(n.op_type, "Add") || n.in[node->joined] != out) continue;
        const uint32_t slot = 1 - node->joined;
        const pare_value_info v = quantize_value(q, n.in[slot]);
        const uint64_t count = quantize_tensor(q, quantize_constant(q, n.in[slot]).tensor).count;
        const bool row = v.ndim > 0 && (uint64_t)v.dims[v.ndim - 1] == count;
        if (row && count == outputs) return (place_bias){node->id, slot, n.in[slot]};
    }
    return (place_bias){0, 0, 0};
}

place_bias place_bias_of(const quantize_apis *q, const place_plan *plan, uint64_t index, uint64_t outputs) {
    const pare_node_info n = quantize_node(q, plan->nodes[index].id);
    if (quantize_is(n.op_type, "MatMul")) return behind(q, plan, index, outputs);
    return (place_bias){plan->nodes[index].id, 2, n.n_in > 2 ? n.in[2] : 0};
}
