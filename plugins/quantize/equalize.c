/* quantize/equalize.c - cross-layer equalization (Nagel et al., arXiv 1906.04721, section 4.1). See work.h.
 *
 * Between two convolutions with nothing but Relu or LeakyRelu between them a channel may be made smaller by any
 * positive factor in the first and larger in the second. The factor sqrt(r1 / r2) gives both the same range, so that
 * one scale for all channels loses less. Depthwise chains are two such pairs, gone through until nothing moves. Clip
 * would need another bound for every channel, which ONNX's has not: such pairs are skipped and counted.
 */
#include "work.h"

#include <math.h>

enum { ROUNDS = 30 };

typedef struct side {
    uint32_t tensor;
    uint64_t outputs, inputs, taps, groups; /* weight (outputs, inputs, taps), inputs: of a group */
    float *data;                            /* borrowed for writing */
} side;

typedef struct pair {
    side a, b;
    uint32_t bias; /* tensor of a's; 0: none */
    float *bias_data;
} pair;

/* An initializer that one node alone takes. */
static uint32_t own(const quantize_apis *q, uint32_t value) {
    const pare_value_info v = quantize_value(q, value);
    const bool mine = v.tensor && v.n_uses == 1 && v.dtype == PARE_FLOAT;
    return mine && !(v.kind & (PARE_VALUE_INPUT | PARE_VALUE_OUTPUT)) ? v.tensor : 0;
}

static bool side_of(const quantize_apis *q, uint32_t node, side *s) {
    const pare_node_info n = quantize_node(q, node);
    if (n.domain[0] || !quantize_is(n.op_type, "Conv") || n.n_in < 2 || !(s->tensor = own(q, n.in[1]))) return false;
    const pare_tensor_info t = quantize_tensor(q, s->tensor);
    if (t.ndim < 3 || !t.count) return false;
    s->outputs = (uint64_t)t.dims[0];
    s->inputs = (uint64_t)t.dims[1];
    s->taps = t.count / (s->outputs * s->inputs);
    s->groups = (uint64_t)quantize_int(q, node, "group", 1);
    return s->groups >= 1 && s->outputs % s->groups == 0;
}

/* The one node that takes a value; 0: none, several, or it is an output. */
static uint32_t next_of(const quantize_apis *q, uint32_t value) {
    const pare_value_info v = quantize_value(q, value);
    uint32_t node, slot;
    if (v.n_uses != 1 || (v.kind & PARE_VALUE_OUTPUT)) return 0;
    if (q->graph->consumer(q->host, q->model, value, 0, &node, &slot) || slot) return 0;
    return node;
}

static bool pair_of(const quantize_apis *q, uint32_t node, pair *p, uint64_t *clips) {
    if (!side_of(q, node, &p->a)) return false;
    const pare_node_info first = quantize_node(q, node);
    p->bias = first.n_in > 2 && first.in[2] ? own(q, first.in[2]) : 0;
    if (first.n_in > 2 && first.in[2] && !p->bias) return false;
    uint32_t next = next_of(q, first.out[0]);
    pare_node_info n = quantize_node(q, next);
    if (!next) return false;
    const bool clip = quantize_is(n.op_type, "Clip");
    if (clip || quantize_is(n.op_type, "Relu") || quantize_is(n.op_type, "LeakyRelu")) {
        if (!(next = next_of(q, n.out[0]))) return false;
    }
    if (!side_of(q, next, &p->b) || p->b.inputs * p->b.groups != p->a.outputs) return false;
    *clips += clip;
    return !clip;
}

static float largest_output(const side *s, uint64_t o) {
    float most = 0;
    for (uint64_t i = 0; i < s->inputs * s->taps; i++) most = fmaxf(most, fabsf(s->data[o * s->inputs * s->taps + i]));
    return most;
}

/* Calls for all weights that input channel c meets. */
static float over_input(const side *s, uint64_t c, float factor) {
    const uint64_t each = s->outputs / s->groups, group = c / s->inputs;
    float most = 0;
    for (uint64_t o = group * each; o < (group + 1) * each; o++) {
        float *w = s->data + (o * s->inputs + c % s->inputs) * s->taps;
        for (uint64_t t = 0; t < s->taps; t++) {
            w[t] *= factor;
            most = fmaxf(most, fabsf(w[t]));
        }
    }
    return most;
}

/* How far the farthest factor was from 1. */
static double equalize(pair *p) {
    double moved = 0;
    for (uint64_t c = 0; c < p->a.outputs; c++) {
        const double r1 = (double)largest_output(&p->a, c), r2 = (double)over_input(&p->b, c, 1);
        if (!(r1 > 0) || !(r2 > 0) || !isfinite(r1) || !isfinite(r2)) continue;
        double s = sqrt(r1 / r2);
        s = s < 1e-4 ? 1e-4 : s > 1e4 ? 1e4 : s;
        moved = fmax(moved, fabs(log(s)));
        const float down = (float)(1 / s);
        const uint64_t n = p->a.inputs * p->a.taps;
        for (uint64_t i = 0; i < n; i++) p->a.data[c * n + i] *= down;
        if (p->bias_data) p->bias_data[c] *= down;
        (void)over_input(&p->b, c, (float)s);
    }
    return moved;
}

static pare_status take(const quantize_apis *q, uint32_t tensor, float **data) {
    pare_view v = {.size = sizeof v};
    if (!tensor) return PARE_OK;
    const pare_status st = q->tensors->borrow(q->host, q->model, tensor, PARE_WRITE, &v);
    if (!st) *data = (float *)(void *)((char *)v.data + v.byte_offset);
    return st;
}

static void give(const quantize_apis *q, uint32_t tensor, float **data) {
    if (*data) q->tensors->release(q->host, q->model, tensor);
    *data = NULL;
}

static pare_status equalize_pair(const quantize_apis *q, pair *p, double *moved) {
    pare_status st = take(q, p->a.tensor, &p->a.data);
    if (!st) st = take(q, p->b.tensor, &p->b.data);
    if (!st) st = take(q, p->bias, &p->bias_data);
    if (!st) *moved = fmax(*moved, equalize(p));
    give(q, p->a.tensor, &p->a.data);
    give(q, p->b.tensor, &p->b.data);
    give(q, p->bias, &p->bias_data);
    return st;
}

pare_status quantize_equalize(quantize_work *w) {
    const quantize_apis *q = &w->q;
    uint64_t n = 0, clips = 0, nodes = 0;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id))
        nodes++;
    pair *pairs = quantize_scratch(q, nodes, sizeof *pairs);
    if (!pairs) return PARE_ENOMEM;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        pairs[n] = (pair){.bias = 0};
        if (pair_of(q, id, &pairs[n], &clips)) n++;
    }
    verify_side before = {0};
    pare_status st = n ? verify_before(q, w->o->data, &before) : PARE_OK;
    double moved = 1;
    for (int round = 0; round < ROUNDS && moved > 1e-3 && !st && n; round++) {
        moved = 0;
        for (uint64_t i = 0; i < n && !st; i++) st = equalize_pair(q, &pairs[i], &moved);
    }
    if (!st && n) st = verify_rewrite(q, &before, w->o->data, "equalizing channels");
    verify_close(q, &before);
    if (st) return st;
    w->equalized = n;
    if (clips)
        quantize_say(q, PARE_INFO, "quantize.equalize-clip", "equalize", NULL,
                     "weights with a scale for each channel lose little without it",
                     "%llu pair%s of convolutions with Clip between them %s left as they are: it would need another "
                     "bound for every channel",
                     (unsigned long long)clips, clips == 1 ? "" : "s", clips == 1 ? "is" : "are");
    else if (!n)
        quantize_say(q, PARE_WARNING, "quantize.equalize", "equalize", NULL, "drop equalize",
                     "there is nothing to equalize: no Conv feeds another one alone");
    return PARE_OK;
}
