/* engine/grad_shape.c - gradients of ops that move elements: each is the transpose of the move. See grad_parts.h. */
#include "engine/grad_parts.h"

#include "model/array.h"

#define OP PARE_GRAD_OP
#define OWN PARE_GRAD_OWN

/* Reshape, Flatten, Squeeze, Unsqueeze: back to the dims of x. */
void pare_grad_rule_reshape(pare_grad *g, const pare_node *n) {
    uint32_t dx = OP(g, "Reshape", pare_grad_dy(g, n, 0), OP(g, "Shape", n->in[0]));
    pare_grad_attr_int(g, dx, "allowzero", 1);
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_transpose(pare_grad *g, const pare_node *n) {
    const pare_attr *perm = pare_node_attr(n, "perm");
    int64_t back[PARE_ARRAY_DIMS];
    int32_t rank = perm ? (int32_t)perm->n : pare_grad_rank(g, n->in[0]);
    if (rank < 0 || rank > PARE_ARRAY_DIMS) {
        pare_grad_refuse(g, n, "its rank is not known");
        return;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (perm)
            back[perm->ints[i]] = i;
        else
            back[i] = rank - 1 - i;
    }
    pare_grad_give(g, n, 0, pare_grad_transpose(g, pare_grad_dy(g, n, 0), back, (size_t)rank));
}

void pare_grad_rule_concat(pare_grad *g, const pare_node *n) {
    uint32_t *in = pare_arena_alloc(&g->m->arena, (n->n_in + 2) * sizeof *in);
    if (n->n_in > 8) { /* more than a node's outputs may be made at once: one after the other */
        int64_t axis = pare_node_attr_int(n, "axis", 0);
        int32_t rank = pare_grad_rank(g, n->out[0]);
        int64_t at = 0;
        if (axis < 0) axis += rank;
        for (uint32_t i = 0; i < n->n_in; i++) {
            const pare_value *v = pare_model_value(g->m, n->in[i]);
            if (rank < 0 || v->ndim != rank || v->dims[axis].value < 0) {
                pare_grad_refuse(g, n, "the sizes it joins are not known");
                return;
            }
            int64_t end = at + v->dims[axis].value;
            if (pare_grad_wants(g, n, i))
                pare_grad_give(g, n, i,
                               OP(g, "Slice", pare_grad_dy(g, n, 0), pare_grad_ints(g, &at, 1),
                                  pare_grad_ints(g, &end, 1), pare_grad_ints(g, &axis, 1)));
            at = end;
        }
        return;
    }
    in[0] = pare_grad_dy(g, n, 0);
    for (uint32_t i = 0; i < n->n_in; i++) in[i + 1] = n->in[i];
    uint32_t first = pare_grad_node(g, PARE_GRAD_DOMAIN, "ConcatGrad", n->n_in, in, n->n_in + 1);
    pare_grad_attr_int(g, first, "axis", pare_node_attr_int(n, "axis", 0));
    for (uint32_t i = 0; i < n->n_in; i++) pare_grad_give(g, n, i, pare_grad_output(g, first, i));
}

/* Outputs that nobody differentiates count as zeros. */
void pare_grad_rule_split(pare_grad *g, const pare_node *n) {
    uint32_t *in = pare_arena_alloc(&g->m->arena, (n->n_out + 1) * sizeof *in);
    for (uint32_t i = 0; i < n->n_out; i++) {
        in[i] = pare_grad_dy(g, n, i);
        if (!in[i] && !n->out[i]) {
            pare_grad_refuse(g, n, "an output is left out");
            return;
        }
        if (!in[i]) {
            uint32_t zero = pare_grad_number(g, pare_grad_dtype(g, n->in[0]), 0);
            in[i] = OP(g, "Expand", zero, OP(g, "Shape", n->out[i]));
        }
    }
    uint32_t dx = pare_grad_node(g, "", "Concat", 1, in, n->n_out);
    pare_grad_attr_int(g, dx, "axis", pare_node_attr_int(n, "axis", 0));
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_slice(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0,
                   OWN(g, "SliceGrad", 1, pare_grad_dy(g, n, 0), n->in[0], n->in[1], n->in[2], pare_grad_in(n, 3),
                       pare_grad_in(n, 4)));
}

static void by_index(pare_grad *g, const pare_node *n, const char *op, const char *attr) {
    uint32_t dx =
        pare_grad_node(g, PARE_GRAD_DOMAIN, op, 1, (uint32_t[]){pare_grad_dy(g, n, 0), n->in[1], n->in[0]}, 3);
    pare_grad_attr_int(g, dx, attr, pare_node_attr_int(n, attr, 0));
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_gather(pare_grad *g, const pare_node *n) { by_index(g, n, "GatherGrad", "axis"); }
void pare_grad_rule_gather_elements(pare_grad *g, const pare_node *n) { by_index(g, n, "GatherElementsGrad", "axis"); }
void pare_grad_rule_gather_nd(pare_grad *g, const pare_node *n) { by_index(g, n, "GatherNDGrad", "batch_dims"); }

static bool replaces(pare_grad *g, const pare_node *n) {
    const pare_attr *how = pare_node_attr(n, "reduction");
    if (!how || !how->s.len || (how->s.data[0] == 'n') || how->s.data[0] == 'a') return true;
    pare_grad_refuse(g, n, "its reduction is neither none nor add");
    return false;
}

static bool adds(const pare_node *n) {
    const pare_attr *how = pare_node_attr(n, "reduction");
    return how && how->s.len && how->s.data[0] == 'a';
}

/* What was written over has no share; what was written has that of its place. */
void pare_grad_rule_scatter_elements(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), zero = pare_grad_number(g, pare_grad_dtype(g, n->in[0]), 0);
    int64_t axis = pare_node_attr_int(n, "axis", 0);
    if (!replaces(g, n)) return;
    if (pare_grad_wants(g, n, 0)) {
        uint32_t dx = dy;
        if (!adds(n)) {
            dx = OP(g, "ScatterElements", dy, n->in[1], OP(g, "Expand", zero, OP(g, "Shape", n->in[2])));
            pare_grad_attr_int(g, dx, "axis", axis);
        }
        pare_grad_give(g, n, 0, dx);
    }
    if (pare_grad_wants(g, n, 2)) {
        uint32_t dx = OP(g, "GatherElements", dy, n->in[1]);
        pare_grad_attr_int(g, dx, "axis", axis);
        pare_grad_give(g, n, 2, dx);
    }
}

void pare_grad_rule_scatter_nd(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), zero = pare_grad_number(g, pare_grad_dtype(g, n->in[0]), 0);
    if (!replaces(g, n)) return;
    if (pare_grad_wants(g, n, 0))
        pare_grad_give(
            g, n, 0, adds(n) ? dy : OP(g, "ScatterND", dy, n->in[1], OP(g, "Expand", zero, OP(g, "Shape", n->in[2]))));
    if (pare_grad_wants(g, n, 2)) pare_grad_give(g, n, 2, OP(g, "GatherND", dy, n->in[1]));
}

void pare_grad_rule_expand(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, pare_grad_sum_to(g, pare_grad_dy(g, n, 0), n->in[0]));
}

/* (r0 * d0, ...) seen as (r0, d0, ...), the repeats summed. */
void pare_grad_rule_tile(pare_grad *g, const pare_node *n) {
    int32_t rank = pare_grad_rank(g, n->in[0]);
    int64_t axes[PARE_ARRAY_DIMS], order[2 * PARE_ARRAY_DIMS];
    if (rank < 1 || rank > PARE_ARRAY_DIMS / 2) {
        pare_grad_refuse(g, n, rank < 0 ? "its rank is not known" : "its rank is above 8");
        return;
    }
    /* the dims r0, d0, r1, d1, ... as a tensor: repeats and Shape(x), interleaved by a Gather */
    for (int32_t i = 0; i < rank; i++) {
        axes[i] = 2 * i;
        order[2 * i] = i;
        order[2 * i + 1] = rank + i;
    }
    uint32_t both = OP(g, "Concat", n->in[1], OP(g, "Shape", n->in[0]));
    pare_grad_attr_int(g, both, "axis", 0);
    uint32_t dims = OP(g, "Gather", both, pare_grad_ints(g, order, (size_t)(2 * rank)));
    uint32_t dx =
        OP(g, "ReduceSum", OP(g, "Reshape", pare_grad_dy(g, n, 0), dims), pare_grad_ints(g, axes, (size_t)rank));
    pare_grad_attr_int(g, dx, "keepdims", 0);
    pare_grad_give(g, n, 0, dx);
}

/* Of a constant pad: what was inside. The other modes repeat elements. */
void pare_grad_rule_pad(pare_grad *g, const pare_node *n) {
    const pare_attr *mode = pare_node_attr(n, "mode");
    if (mode && mode->s.len && mode->s.data[0] != 'c') {
        pare_grad_refuse(g, n, "only padding with a constant is differentiated");
        return;
    }
    int32_t rank = pare_grad_rank(g, n->in[0]);
    uint32_t axes = pare_grad_in(n, 3);
    const pare_value *v = pare_model_value(g->m, n->in[1]);
    int64_t half = -1, all[PARE_ARRAY_DIMS];
    if (v && v->ndim == 1 && v->dims[0].value >= 0) half = v->dims[0].value / 2;
    if (half < 0 && !axes) half = rank;
    if (half < 0 || rank > PARE_ARRAY_DIMS || rank < 0) {
        pare_grad_refuse(g, n, "its rank is not known");
        return;
    }
    for (int32_t i = 0; i < rank; i++) all[i] = i;
    if (!axes) axes = pare_grad_ints(g, all, (size_t)rank);
    /* from the pads in front, as many as x has; negative pads (cropping) give zeros back: starts below 0 won't do */
    uint32_t front = OP(g, "Slice", n->in[1], pare_grad_ints(g, (int64_t[]){0}, 1), pare_grad_ints(g, &half, 1));
    uint32_t size = OP(g, "Gather", OP(g, "Shape", n->in[0]), axes);
    uint32_t crop = pare_model_tensor(g->m, v->tensor) ? 0 : 1;
    const pare_tensor *t = pare_model_tensor(g->m, v->tensor);
    const void *data = NULL;
    if (t && pare_tensor_read(pare_model_tensor(g->m, v->tensor), g->d, &data)) data = NULL;
    for (uint64_t i = 0; data && i < t->count; i++) crop |= ((const int64_t *)data)[i] < 0;
    if (crop) { /* not constant, or cropping: padding by the negative does both */
        uint32_t dx = OP(g, "Pad", pare_grad_dy(g, n, 0), OP(g, "Neg", n->in[1]), 0, axes);
        pare_grad_give(g, n, 0, dx);
        return;
    }
    pare_grad_give(g, n, 0, OP(g, "Slice", pare_grad_dy(g, n, 0), front, OP(g, "Add", front, size), axes));
}

void pare_grad_rule_resize(pare_grad *g, const pare_node *n) {
    uint32_t dx = OWN(g, "ResizeGrad", 1, pare_grad_dy(g, n, 0), n->in[0], pare_grad_in(n, 1), pare_grad_in(n, 2),
                      pare_grad_in(n, 3));
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

/* DCR and CRD are each undone by a Reshape, a Transpose and a Reshape; SpaceToDepth has DCR alone. */
void pare_grad_rule_depth_to_space(pare_grad *g, const pare_node *n) {
    const pare_attr *mode = pare_node_attr(n, "mode");
    int64_t b = pare_node_attr_int(n, "blocksize", 1);
    uint32_t dy = pare_grad_dy(g, n, 0), dx;
    if (!mode || !mode->s.len || mode->s.data[0] == 'D') {
        dx = OP(g, "SpaceToDepth", dy);
        pare_grad_attr_int(g, dx, "blocksize", b);
        pare_grad_give(g, n, 0, dx);
        return;
    }
    const pare_value *x = pare_model_value(g->m, n->in[0]);
    if (x->ndim != 4 || x->dims[1].value < 0 || x->dims[2].value < 0 || x->dims[3].value < 0) {
        pare_grad_refuse(g, n, "its dims are not known");
        return;
    }
    int64_t split[6] = {-1, x->dims[1].value / (b * b), x->dims[2].value, b, x->dims[3].value, b};
    int64_t perm[6] = {0, 1, 3, 5, 2, 4}; /* to (N, C, b, b, H, W) */
    dx = OP(g, "Reshape", dy, pare_grad_ints(g, split, 6));
    dx = OP(g, "Reshape", pare_grad_transpose(g, dx, perm, 6), OP(g, "Shape", n->in[0]));
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_space_to_depth(pare_grad *g, const pare_node *n) {
    uint32_t dx = OP(g, "DepthToSpace", pare_grad_dy(g, n, 0));
    pare_grad_attr_int(g, dx, "blocksize", pare_node_attr_int(n, "blocksize", 1));
    pare_grad_give(g, n, 0, dx);
}

/* The sum from the other end. */
void pare_grad_rule_cumsum(pare_grad *g, const pare_node *n) {
    uint32_t dx = OP(g, "CumSum", pare_grad_dy(g, n, 0), n->in[1]);
    pare_grad_attr_int(g, dx, "exclusive", pare_node_attr_int(n, "exclusive", 0));
    pare_grad_attr_int(g, dx, "reverse", !pare_node_attr_int(n, "reverse", 0));
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_trilu(pare_grad *g, const pare_node *n) {
    uint32_t dx = OP(g, "Trilu", pare_grad_dy(g, n, 0), pare_grad_in(n, 1));
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

/* The values' shares go where they came from. */
void pare_grad_rule_topk(pare_grad *g, const pare_node *n) {
    int64_t axis = pare_node_attr_int(n, "axis", -1);
    if (!pare_grad_dy(g, n, 0) || n->n_out < 2 || !n->out[1]) {
        if (pare_grad_dy(g, n, 0)) pare_grad_refuse(g, n, "its indices are left out");
        return;
    }
    uint32_t dx = OWN(g, "GatherElementsGrad", 1, pare_grad_dy(g, n, 0), n->out[1], n->in[0]);
    pare_grad_attr_int(g, dx, "axis", axis);
    pare_grad_give(g, n, 0, dx);
}
