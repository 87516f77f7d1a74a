/* plugins/cpu/ref/ref_grad.c - the rows of ai.pare.grad, and the gradients of moves. See ref_grad.h. */
#include "ref_grad.h"

#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

#define ROW(op, run)                                                                                                   \
    { PARE_GRAD_DOMAIN, op, NULL, run, 0 }

const ref_op ref_ops_grad[] = {
    {"", "SoftmaxCrossEntropyLoss", NULL, refg_cross_entropy_loss, 0},
    {"", "NegativeLogLikelihoodLoss", NULL, refg_cross_entropy_loss, 0},
    ROW("Accumulate", refg_accumulate),
    ROW("AdamUpdate", refg_adam),
    ROW("AveragePoolGrad", refg_average_pool),
    ROW("BatchNormGrad", refg_batch_norm),
    ROW("BatchNormTrain", refg_batch_norm_train),
    ROW("ClipGrad", refg_clip),
    ROW("ConcatGrad", refg_concat),
    ROW("ConvGradInput", refg_conv_input),
    ROW("ConvGradWeight", refg_conv_weight),
    ROW("DropoutTrain", refg_dropout),
    ROW("EluGrad", refg_activation),
    ROW("EmaUpdate", refg_ema),
    ROW("GatherElementsGrad", refg_gather_elements),
    ROW("GatherGrad", refg_gather),
    ROW("GatherNDGrad", refg_gather_nd),
    ROW("GeluGrad", refg_activation),
    ROW("GlobalAveragePoolGrad", refg_global_average_pool),
    ROW("GlobalNorm", refg_global_norm),
    ROW("GroupNormGrad", refg_group_norm),
    ROW("HardSigmoidGrad", refg_activation),
    ROW("HardSwishGrad", refg_activation),
    ROW("InstanceNormGrad", refg_group_norm),
    ROW("LRNGrad", refg_lrn),
    ROW("LayerNormGrad", refg_layer_norm),
    ROW("LeakyReluGrad", refg_activation),
    ROW("LogSoftmaxGrad", refg_log_softmax),
    ROW("MaxPoolGrad", refg_max_pool),
    ROW("MishGrad", refg_activation),
    ROW("ReluGrad", refg_activation),
    ROW("ResizeGrad", refg_resize),
    ROW("SeluGrad", refg_activation),
    ROW("SgdUpdate", refg_sgd),
    ROW("SigmoidGrad", refg_activation),
    ROW("SliceGrad", refg_slice),
    ROW("SoftCrossEntropy", refg_soft_cross_entropy_loss),
    ROW("SoftCrossEntropyGrad", refg_soft_cross_entropy),
    ROW("SoftmaxCrossEntropyGrad", refg_cross_entropy),
    ROW("SoftmaxGrad", refg_softmax),
    ROW("SoftplusGrad", refg_activation),
    ROW("SumTo", refg_sum_to),
    ROW("TanhGrad", refg_activation),
};
const uint32_t ref_n_ops_grad = sizeof ref_ops_grad / sizeof *ref_ops_grad;

/* ---- doubles in, doubles out ---- */

static void let_go(refg *g) {
    for (uint32_t i = 0; i < REFG_MOST; i++) {
        free(g->in[i]);
        free(g->out[i]);
    }
}

pare_status refg_begin(refg *g, const ref_call *c, uint32_t inputs, uint32_t n_in, uint32_t n_out) {
    const pare_kernel_spec *s = c->spec;
    *g = (refg){.c = c};
    if (s->n_in < n_in || s->n_out < n_out) return PARE_EINVAL;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (s->in[i]->ndim > REF_DIMS) return PARE_EINVAL;
    for (uint32_t i = 0; i < s->n_in && i < REFG_MOST; i++) {
        if (!(inputs >> i & 1) || !ref_has(s, i) || !c->in[i]) continue;
        g->in[i] = refb_doubles(c->in[i], s->in[i]->dtype, ref_count(s->in[i]));
        if (!g->in[i]) goto fail;
    }
    for (uint32_t i = 0; i < s->n_out && i < REFG_MOST; i++) {
        if (!refb_out(s, i)) continue;
        uint64_t n = ref_count(s->out[i]);
        g->out[i] = refb_alloc(n, sizeof(double));
        if (!g->out[i]) goto fail;
        for (uint64_t k = 0; k < n; k++) g->out[i][k] = 0;
    }
    return PARE_OK;
fail:
    let_go(g);
    return PARE_ENOMEM;
}

pare_status refg_end(refg *g, pare_status st) {
    const pare_kernel_spec *s = g->c->spec;
    for (uint32_t i = 0; !st && i < s->n_out && i < REFG_MOST; i++)
        for (uint64_t k = 0; g->out[i] && k < ref_count(s->out[i]); k++)
            ref_set(g->c->out[i], s->out[i]->dtype, k, g->out[i][k]);
    let_go(g);
    return st;
}

refg_view refg_view_of(const pare_operand *o, int64_t axis) {
    axis = ref_axis(axis, o->ndim);
    return (refg_view){(int64_t)refb_product(o->dims, (uint32_t)axis), o->dims[axis],
                       (int64_t)refb_product(o->dims + axis + 1, o->ndim - (uint32_t)axis - 1)};
}

/* ---- gradients of moves ---- */

pare_status refg_sum_to(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 2, 1);
    if (st) return st;
    const pare_operand *dy = c->spec->in[0], *x = c->spec->out[0];
    int64_t pos[REF_DIMS] = {0};
    uint64_t i = 0;
    if (x->ndim > dy->ndim) return refg_end(&g, PARE_EINVAL);
    if (ref_count(dy)) do {
            g.out[0][ref_broadcast_index(x->dims, x->ndim, pos, dy->ndim)] += g.in[0][i++];
        } while (ref_next(pos, dy->dims, dy->ndim));
    return refg_end(&g, PARE_OK);
}

/* dy x? starts ends axes steps: where each of dy's elements was taken from. */
pare_status refg_slice(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 4, 1);
    if (st) return st;
    const pare_operand *dy = c->spec->in[0], *x = c->spec->out[0];
    int64_t starts[REF_DIMS], axes[REF_DIMS], steps[REF_DIMS], from[REF_DIMS] = {0}, by[REF_DIMS], strides[REF_DIMS];
    uint32_t n = 0, n_axes = 0, n_steps = 0;
    if (!refb_int_list(c, 2, starts, REF_DIMS, &n) || dy->ndim != x->ndim) return refg_end(&g, PARE_EINVAL);
    if (!refb_int_list(c, 4, axes, REF_DIMS, &n_axes))
        for (uint32_t i = 0; i < n; i++) axes[i] = i;
    if (!refb_int_list(c, 5, steps, REF_DIMS, &n_steps))
        for (uint32_t i = 0; i < n; i++) steps[i] = 1;
    for (uint32_t i = 0; i < x->ndim; i++) by[i] = 1;
    for (uint32_t i = 0; i < n; i++) {
        int64_t a = ref_axis(axes[i], x->ndim), dim, at = starts[i];
        if (a < 0 || a >= (int64_t)x->ndim || !steps[i]) return refg_end(&g, PARE_EINVAL);
        dim = x->dims[a];
        if (at < 0) at += dim;
        from[a] = steps[i] > 0 ? (at < 0 ? 0 : at > dim ? dim : at) : (at < 0 ? 0 : at > dim - 1 ? dim - 1 : at);
        by[a] = steps[i];
    }
    refb_strides(x->dims, x->ndim, strides);
    int64_t pos[REF_DIMS] = {0};
    uint64_t i = 0;
    if (ref_count(dy)) do {
            int64_t at = 0;
            for (uint32_t d = 0; d < x->ndim; d++) at += (from[d] + pos[d] * by[d]) * strides[d];
            g.out[0][at] += g.in[0][i++];
        } while (ref_next(pos, dy->dims, dy->ndim));
    return refg_end(&g, PARE_OK);
}

static bool index_at(const ref_call *c, uint64_t i, int64_t dim, int64_t *at) {
    *at = ref_get_int(c->in[1], c->spec->in[1]->dtype, i);
    if (*at < 0) *at += dim;
    return *at >= 0 && *at < dim;
}

pare_status refg_gather(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 3, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->out[0], ref_attr_int(c->spec, "axis", 0));
    int64_t n = (int64_t)ref_count(c->spec->in[1]), at;
    for (int64_t o = 0; o < v.outer; o++)
        for (int64_t k = 0; k < n; k++) {
            if (!index_at(c, (uint64_t)k, v.axis, &at)) return refg_end(&g, PARE_EINVAL);
            for (int64_t i = 0; i < v.inner; i++)
                g.out[0][(o * v.axis + at) * v.inner + i] += g.in[0][(o * n + k) * v.inner + i];
        }
    return refg_end(&g, PARE_OK);
}

pare_status refg_gather_elements(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 3, 1);
    if (st) return st;
    const pare_operand *idx = c->spec->in[1], *x = c->spec->out[0];
    int64_t axis = ref_axis(ref_attr_int(c->spec, "axis", 0), x->ndim), pos[REF_DIMS] = {0}, strides[REF_DIMS], at;
    uint64_t i = 0;
    refb_strides(x->dims, x->ndim, strides);
    if (idx->ndim != x->ndim) return refg_end(&g, PARE_EINVAL);
    if (ref_count(idx)) do {
            int64_t to = 0;
            if (!index_at(c, i, x->dims[axis], &at)) return refg_end(&g, PARE_EINVAL);
            for (uint32_t d = 0; d < x->ndim; d++) to += (d == (uint32_t)axis ? at : pos[d]) * strides[d];
            g.out[0][to] += g.in[0][i++];
        } while (ref_next(pos, idx->dims, idx->ndim));
    return refg_end(&g, PARE_OK);
}

pare_status refg_gather_nd(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 1, 3, 1);
    if (st) return st;
    const pare_operand *idx = c->spec->in[1], *x = c->spec->out[0];
    int64_t b = ref_attr_int(c->spec, "batch_dims", 0), strides[REF_DIMS], at;
    if (idx->ndim < 1 || b < 0 || b >= (int64_t)idx->ndim) return refg_end(&g, PARE_EINVAL);
    int64_t depth = idx->dims[idx->ndim - 1];
    if (depth < 1 || b + depth > (int64_t)x->ndim) return refg_end(&g, PARE_EINVAL);
    refb_strides(x->dims, x->ndim, strides);
    int64_t batches = (int64_t)refb_product(x->dims, (uint32_t)b), rows = (int64_t)ref_count(idx) / depth,
            whole = batches ? (int64_t)ref_count(x) / batches : 0,
            slice = (int64_t)refb_product(x->dims + b + depth, x->ndim - (uint32_t)(b + depth));
    for (int64_t r = 0; r < rows; r++) {
        int64_t to = batches ? r / (rows / batches) * whole : 0;
        for (int64_t k = 0; k < depth; k++) {
            if (!index_at(c, (uint64_t)(r * depth + k), x->dims[b + k], &at)) return refg_end(&g, PARE_EINVAL);
            to += at * strides[b + k];
        }
        for (int64_t i = 0; i < slice; i++) g.out[0][to + i] += g.in[0][r * slice + i];
    }
    return refg_end(&g, PARE_OK);
}

pare_status refg_concat(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *dy = s->in[0];
    if (s->n_out + 1 > s->n_in) return PARE_EINVAL;
    refg_view v = refg_view_of(dy, ref_attr_int(s, "axis", 0));
    int64_t at = 0;
    for (uint32_t k = 0; k < s->n_out; k++) {
        int64_t part = refg_view_of(s->in[k + 1], ref_attr_int(s, "axis", 0)).axis;
        for (int64_t o = 0; refb_out(s, k) && o < v.outer; o++)
            refb_move(c->out[k], (uint64_t)(o * part * v.inner), c->in[0], (uint64_t)((o * v.axis + at) * v.inner),
                      (uint64_t)(part * v.inner), dy->dtype);
        at += part;
    }
    return at == v.axis ? PARE_OK : PARE_EINVAL;
}

/* ---- sums ---- */

pare_status refg_accumulate(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    bool first = ref_attr_int(c->spec, "first", 0) != 0;
    for (uint64_t i = 0; i < ref_count(c->spec->out[0]); i++) g.out[0][i] = (first ? 0 : g.in[0][i]) + g.in[1][i];
    return refg_end(&g, PARE_OK);
}
