/* quantize/place.c - see place.h.
 *
 * Two sweeps over the nodes in topological order. Forwards: which nodes can run in int8, which values are or may be
 * made in int8 by them, and what is fused to what. Backwards: an op that merely has an int8 form runs in it only where
 * somebody behind it wants the result in int8; the products always want their inputs so.
 */
#include "place.h"

#include <math.h>
#include <string.h>

/* What is known of a value. */
typedef struct state {
    uint32_t producer; /* 1 + index of its node; 0: graph input, initializer, … */
    uint32_t uses;
    bool output, floats, constant; /* floats: float32 of one element or more, as far as known */
    bool can, firm;                /* an int8 node makes it; and it is quantized in any case */
    bool inner;                    /* taken by a fused node alone: no quantizer here */
    bool wanted;                   /* an int8 node takes it quantized */
    bool need;                     /* wanted, or at the end of what is fused behind it something is */
    uint32_t root;                 /* value whose scale it has */
    uint32_t choice;
} state;

typedef struct placer {
    const quantize_apis *q;
    const quantize_options *o;
    const quantize_choices *choices;
    const uint8_t *skip;
    const place_target *target;
    place_plan *plan;
    state *values; /* by value id */
    uint32_t n_values;
    uint64_t edges_cap;
} placer;

/* ---- what there is ---- */

static uint32_t input(const pare_node_info *n, uint32_t i) { return i < n->n_in ? n->in[i] : 0; }

static state *value_of(const placer *p, uint32_t value) { return &p->values[value < p->n_values ? value : 0]; }

static void look_at_value(placer *p, uint32_t value) {
    state *s = value_of(p, value);
    const pare_value_info v = quantize_value(p->q, value);
    s->uses = (uint32_t)v.n_uses;
    s->output = (v.kind & PARE_VALUE_OUTPUT) != 0;
    s->constant = v.tensor || quantize_constant(p->q, value).tensor;
    s->floats = v.dtype == PARE_FLOAT;
    for (int32_t i = 0; i < v.ndim; i++)
        if (v.dims[i] == 0) s->floats = false;
    s->root = value;
}

static pare_status look(placer *p) {
    const quantize_apis *q = p->q;
    uint64_t n = 0;
    uint32_t most = 0, edges = 0;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info info = quantize_node(q, id);
        n++;
        edges += info.n_in + info.n_out;
        for (uint32_t i = 0; i < info.n_in; i++) most = info.in[i] > most ? info.in[i] : most;
        for (uint32_t i = 0; i < info.n_out; i++) most = info.out[i] > most ? info.out[i] : most;
    }
    p->n_values = most + 1;
    p->values = quantize_scratch(q, p->n_values, sizeof *p->values);
    p->plan->nodes = quantize_scratch(q, n, sizeof *p->plan->nodes);
    p->plan->edges = quantize_scratch(q, edges, sizeof *p->plan->edges);
    p->plan->constants = quantize_scratch(q, edges, sizeof *p->plan->constants);
    p->plan->points = quantize_scratch(q, p->n_values, sizeof *p->plan->points);
    if (!p->values || !p->plan->nodes || !p->plan->edges || !p->plan->constants || !p->plan->points) return PARE_ENOMEM;
    uint8_t *seen = quantize_scratch(q, p->n_values, 1);
    if (!seen) return PARE_ENOMEM;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info info = quantize_node(q, id);
        place_node *node = &p->plan->nodes[p->plan->n_nodes++];
        *node = (place_node){.id = id, .choice = -1};
        for (uint32_t i = 0; i < info.n_in + info.n_out; i++) {
            const uint32_t v = i < info.n_in ? info.in[i] : info.out[i - info.n_in];
            if (!v || seen[v]) continue;
            seen[v] = 1;
            look_at_value(p, v);
        }
        for (uint32_t i = 0; i < info.n_out; i++)
            if (info.out[i]) value_of(p, info.out[i])->producer = (uint32_t)p->plan->n_nodes;
    }
    return PARE_OK;
}

/* ---- forwards: what can be ---- */

static int32_t choice_of(const placer *p, uint32_t tensor) {
    for (uint64_t i = 0; tensor && i < p->choices->n; i++)
        if (p->choices->at[i].layer.tensor == tensor) return (int32_t)i;
    return -1;
}

static bool activation(const placer *p, uint32_t value) {
    const state *s = value_of(p, value);
    return value && s->floats && !s->constant;
}

static bool plain_constant(const placer *p, uint32_t value) {
    const pare_constant c = quantize_constant(p->q, value);
    return c.tensor && !c.scale && quantize_tensor(p->q, c.tensor).dtype == PARE_FLOAT;
}

/* May a bias become int32, one number an output channel? */
static const char *bias_fits(const placer *p, uint32_t bias, uint64_t channels) {
    if (!bias) return NULL;
    if (!plain_constant(p, bias)) return "its bias is no float32 constant";
    const uint64_t count = quantize_tensor(p->q, quantize_constant(p->q, bias).tensor).count;
    return count == channels || count == 1 ? NULL : "its bias has another number of elements than there are channels";
}

static const char *with_weight(const placer *p, const pare_node_info *n, place_node *node) {
    const pare_constant w = quantize_constant(p->q, input(n, 1));
    const pare_tensor_info t = quantize_tensor(p->q, w.tensor);
    node->choice = choice_of(p, w.tensor);
    node->asked = node->choice >= 0 && p->choices->at[node->choice].asked;
    if (!activation(p, input(n, 0))) return "its input is no float32 activation";
    if (w.scale) return "its weight is quantized already";
    if (t.dtype != PARE_FLOAT) return "its weight is not float32";
    if (node->choice < 0) return "its weight is none that pare knows as one";
    if (!t.count) return "its weight has no elements";
    if (t.ndim < 2) return "its weight is a vector";
    const bool matmul = quantize_is(n->op_type, "MatMul"), gemm = quantize_is(n->op_type, "Gemm");
    if (matmul && t.ndim > 2) return "its weight is a stack of matrices";
    const pare_layer *l = &p->choices->at[node->choice].layer;
    const uint64_t channels =
        l->out_axis < 0 ? 0
                        : (uint64_t)t.dims[l->out_axis] * (quantize_is(n->op_type, "ConvTranspose") ? l->groups : 1);
    if (gemm && quantize_int(p->q, node->id, "transA", 0)) return "it takes its input transposed";
    if (!matmul && p->target->bias_int32) return bias_fits(p, input(n, 2), channels);
    return NULL;
}

/* MatMul of two activations. It has no layer that could be named: `ops` decides, and that nobody chose layers. */
static const char *with_none(const placer *p, const pare_node_info *n, place_node *node) {
    const bool matmul = quantize_is(n->op_type, "MatMul");
    const bool both = activation(p, input(n, 0)) && activation(p, input(n, 1));
    node->asked = quantize_op_asked(p->o, n->op_type) && !p->o->include->n;
    if (matmul && both) return NULL;
    if (!activation(p, input(n, 0)) && plain_constant(p, input(n, 0))) return "its weight is the first operand";
    return both ? "its weight is no initializer" : "its inputs are not float32";
}

/* Does the lone consumer of `value` take it as `slot`? */
static bool lone(const placer *p, uint32_t value) {
    const state *s = value_of(p, value);
    return value && s->uses == 1 && !s->output;
}

static bool same_dims(const placer *p, uint32_t a, uint32_t b) {
    const pare_value_info x = quantize_value(p->q, a), y = quantize_value(p->q, b);
    if (x.ndim < 0 || x.ndim != y.ndim) return false;
    for (int32_t i = 0; i < x.ndim; i++) {
        if (x.dims[i] != y.dims[i]) return false;
        if (x.dims[i] < 0 && i > 0) return false;
    }
    return true;
}

/* Joins `node` to what `value` comes from. false: that is no int8 node that something may be fused to. */
static bool join(placer *p, place_node *node, uint32_t value) {
    const state *s = value_of(p, value);
    if (!s->producer) return false;
    const place_node *from = &p->plan->nodes[s->producer - 1];
    if (!from->on && !from->fused) return false;
    if (from->kind == PLACE_SAME) return false;
    node->head = from->fused ? from->head : s->producer - 1;
    node->fused = true;
    return true;
}

static void made(placer *p, const pare_node_info *n, bool can, bool firm) {
    for (uint32_t i = 0; i < n->n_out; i++) {
        state *s = value_of(p, n->out[i]);
        if (!n->out[i] || !s->floats) continue;
        s->can = can;
        s->firm = firm;
    }
}

/* Is all that takes the node's result a Relu or Clip? The fusion then looks for a quantizer behind that, and does
 * nothing where there is none. */
static bool activation_follows(const placer *p, const pare_node_info *n) {
    uint32_t next, slot;
    if (!lone(p, n->out[0]) || p->q->graph->consumer(p->q->host, p->q->model, n->out[0], 0, &next, &slot)) return false;
    const pare_node_info c = quantize_node(p->q, next);
    return !c.domain[0] && (quantize_is(c.op_type, "Relu") || quantize_is(c.op_type, "Clip"));
}

static void see_heavy(placer *p, const pare_node_info *n, place_node *node, const place_rule *rule) {
    const bool weight = quantize_constant(p->q, input(n, 1)).tensor != 0;
    const char *why = weight ? with_weight(p, n, node) : with_none(p, n, node);
    node->why = why;
    node->needs_q = rule->needs_q;
    node->on = !why && node->asked && !(p->skip && node->choice >= 0 && p->skip[node->choice]);
    if (node->on) made(p, n, true, rule->needs_q || (p->target->redundant && activation_follows(p, n)));
}

/* Bounds that are constants, or none. */
static bool bounds_of(const placer *p, const pare_node_info *n, float *low, float *high) {
    *low = quantize_is(n->op_type, "Relu") ? 0 : -INFINITY;
    *high = INFINITY;
    if (!quantize_is(n->op_type, "Clip")) return true;
    if (input(n, 1) && !quantize_number(p->q, input(n, 1), low)) return false;
    if (input(n, 2) && !quantize_number(p->q, input(n, 2), high)) return false;
    return *low <= 0 && *high >= 0;
}

static void see_fuse(placer *p, const pare_node_info *n, place_node *node) {
    const uint32_t x = input(n, 0);
    float low, high;
    if (!lone(p, x) || !bounds_of(p, n, &low, &high)) return;
    const state *s = value_of(p, x);
    if (!s->producer) return;
    const place_node *from = &p->plan->nodes[s->producer - 1];
    if (p->target->redundant && from->fused) {
        if (!quantize_is(quantize_node(p->q, from->id).op_type, "Add")) return; /* one activation is enough */
    } else if (p->target->redundant) {
        /* Quantizing has to clip as the op does: from zero, which symmetric int8 goes below. */
        if (low != 0 || (p->o->symmetric && p->o->activations == PARE_INT8)) return;
    }
    if (!join(p, node, x)) return;
    value_of(p, x)->inner = true;
    made(p, n, true, s->firm);
}

/* Mul(x, Sigmoid(x)): both stay with the node that makes x. */
static bool see_swish(placer *p, const pare_node_info *n, place_node *node) {
    if (p->target->redundant || p->target->firm || !quantize_is(n->op_type, "Mul") || n->n_in != 2) return false;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t x = input(n, i), y = input(n, 1 - i);
        const state *s = value_of(p, x), *t = value_of(p, y);
        if (!t->producer || !lone(p, y) || s->uses != 2 || s->output) continue;
        place_node *sigmoid = &p->plan->nodes[t->producer - 1];
        const pare_node_info from = quantize_node(p->q, sigmoid->id);
        if (!quantize_is(from.op_type, "Sigmoid") || input(&from, 0) != x || !join(p, node, x)) continue;
        sigmoid->fused = true;
        sigmoid->kind = PLACE_FUSE;
        sigmoid->head = node->head;
        value_of(p, x)->inner = true;
        value_of(p, y)->inner = true;
        node->kind = PLACE_FUSE;
        node->joined = i;
        made(p, n, true, s->firm);
        return true;
    }
    return false;
}

/* Add of a product's result and a constant (its bias), or, where the target fuses that, another activation. */
static bool see_add(placer *p, const pare_node_info *n, place_node *node) {
    uint32_t best = UINT32_MAX;
    if (!quantize_is(n->op_type, "Add") || n->n_in != 2) return false;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t x = input(n, i), other = input(n, 1 - i);
        const state *s = value_of(p, x);
        if (!lone(p, x) || !s->producer || x == other) continue;
        const place_node *from = &p->plan->nodes[s->producer - 1];
        const place_node *head = from->fused ? &p->plan->nodes[from->head] : from;
        if (head->kind != PLACE_HEAVY || !head->on || head->needs_q) continue;
        const bool bias = plain_constant(p, other);
        if (!bias && (!p->target->residual || !activation(p, other) || !same_dims(p, x, other))) continue;
        if (!bias && from->fused && from->kind == PLACE_ARITH) continue; /* one Add of an activation is enough */
        if (best == UINT32_MAX || s->producer > value_of(p, input(n, best))->producer) best = i;
    }
    if (best == UINT32_MAX || !join(p, node, input(n, best))) return false;
    node->joined = best;
    node->kind = plain_constant(p, input(n, 1 - best)) ? PLACE_FUSE : PLACE_ARITH;
    value_of(p, input(n, best))->inner = true;
    made(p, n, true, false);
    return true;
}

/* Does a value come from a mask, whose -inf has no range? Exporters make them with Where. */
static bool mask(const placer *p, uint32_t value) {
    for (int steps = 0; steps < 16; steps++) {
        const state *s = value_of(p, value);
        if (!s->producer || s->constant) return false;
        const pare_node_info n = quantize_node(p->q, p->plan->nodes[s->producer - 1].id);
        if (quantize_is(n.op_type, "Where")) return true;
        const place_rule *r = place_rule_of(p->target, n.op_type, n.opset);
        if (!r || r->kind != PLACE_SAME) return false;
        value = input(&n, 0);
    }
    return false;
}

static bool finite_constant(const placer *p, uint32_t value) {
    const pare_constant c = quantize_constant(p->q, value);
    pare_view v = {.size = sizeof v};
    bool finite = true;
    if (!plain_constant(p, value)) return false;
    if (p->q->tensors->borrow(p->q->host, p->q->model, c.tensor, PARE_READ, &v)) return false;
    const float *x = (const float *)(const void *)((const char *)v.data + v.byte_offset);
    for (uint64_t i = 0; i < v.count && finite; i++) finite = isfinite(x[i]) != 0;
    p->q->tensors->release(p->q->host, p->q->model, c.tensor);
    return finite && v.count;
}

static void see_arith(placer *p, const pare_node_info *n, place_node *node) {
    bool some = false;
    if (see_swish(p, n, node) || see_add(p, n, node)) return;
    if (!quantize_op_asked(p->o, n->op_type)) return;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const state *s = value_of(p, n->in[i]);
        if (!n->in[i] || (!activation(p, n->in[i]) && !finite_constant(p, n->in[i])) || mask(p, n->in[i])) return;
        some = some || (p->target->firm ? s->firm : s->can);
    }
    if (!some) return;
    if (p->target->unify && quantize_is(n->op_type, "Concat")) node->kind = PLACE_SAME;
    node->on = true;
    made(p, n, true, p->target->firm);
}

/* Resize that makes no new numbers. */
static bool moves_only(const placer *p, const pare_node_info *n, uint32_t node) {
    pare_attribute a = {.size = sizeof a};
    if (!quantize_is(n->op_type, "Resize")) return true;
    const pare_status st = p->q->graph->attr_get(p->q->host, p->q->model, node, "mode", &a);
    return st || (a.type == PARE_ATTRIBUTE_STRING && quantize_is(a.s, "nearest"));
}

static void see_same(placer *p, const pare_node_info *n, place_node *node) {
    const state *s = value_of(p, input(n, 0));
    if (!activation(p, input(n, 0)) || !s->can || !moves_only(p, n, node->id)) return;
    if (quantize_is(n->op_type, "MaxPool") && n->n_out > 1 && n->out[1]) return;
    node->on = true;
    made(p, n, true, s->firm);
}

static void forwards(placer *p) {
    for (uint64_t i = 0; i < p->plan->n_nodes; i++) {
        place_node *node = &p->plan->nodes[i];
        const pare_node_info n = quantize_node(p->q, node->id);
        const place_rule *rule = n.domain[0] ? NULL : place_rule_of(p->target, n.op_type, n.opset);
        if (!rule) continue;
        node->kind = rule->kind;
        switch (rule->kind) {
        case PLACE_HEAVY: see_heavy(p, &n, node, rule); break;
        case PLACE_ARITH: see_arith(p, &n, node); break;
        case PLACE_SAME: see_same(p, &n, node); break;
        case PLACE_FUSE: see_fuse(p, &n, node); break;
        case PLACE_FLOAT: break;
        }
    }
}

/* ---- backwards: what is ---- */

static void want(placer *p, uint32_t node, uint32_t slot, uint32_t value) {
    state *s = value_of(p, value);
    s->wanted = s->need = true;
    p->plan->edges[p->plan->n_edges++] = (place_edge){node, slot, value};
}

static void want_operand(placer *p, uint32_t node, uint32_t slot, uint32_t value) {
    if (value_of(p, value)->constant)
        p->plan->constants[p->plan->n_constants++] = (place_edge){node, slot, value};
    else
        want(p, node, slot, value);
}

static uint32_t root_of(const placer *p, uint32_t value) {
    while (value_of(p, value)->root != value) value = value_of(p, value)->root;
    return value;
}

static void unite(placer *p, uint32_t in, uint32_t out) {
    const uint32_t a = root_of(p, in), b = root_of(p, out);
    if (a != b) value_of(p, b)->root = a;
}

static bool any_needed(const placer *p, const pare_node_info *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && value_of(p, n->out[i])->need) return true;
    return false;
}

static void settle_heavy(placer *p, const pare_node_info *n, const place_node *node) {
    want(p, node->id, 0, input(n, 0));
    value_of(p, input(n, 0))->choice = (uint32_t)(node->choice + 1);
    if (node->choice < 0) want(p, node->id, 1, input(n, 1));
}

static void settle_fused(placer *p, const pare_node_info *n, place_node *node) {
    const state *out = value_of(p, n->out[0]);
    const place_node *head = &p->plan->nodes[node->head];
    const uint32_t x = input(n, node->joined);
    node->on = false;
    if (!head->on) return;
    value_of(p, x)->need = value_of(p, x)->need || out->need;
    if (node->kind != PLACE_ARITH || !out->need) return;
    node->on = true; /* a residual Add: what it adds is quantized */
    want(p, node->id, 1 - node->joined, input(n, 1 - node->joined));
}

static void settle_same(placer *p, const pare_node_info *n, place_node *node) {
    const bool concat = quantize_is(n->op_type, "Concat");
    if (!(node->on = any_needed(p, n))) return;
    for (uint32_t i = 0; i < (concat ? n->n_in : 1); i++) {
        want_operand(p, node->id, i, n->in[i]);
        if (i && !value_of(p, n->in[i])->constant) unite(p, n->in[0], n->in[i]);
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!n->out[i]) continue;
        unite(p, n->in[0], n->out[i]);
        value_of(p, n->out[i])->wanted = true;
    }
}

static void backwards(placer *p) {
    for (uint64_t i = p->plan->n_nodes; i-- > 0;) {
        place_node *node = &p->plan->nodes[i];
        const pare_node_info n = quantize_node(p->q, node->id);
        if (node->fused) {
            settle_fused(p, &n, node);
        } else if (node->on && node->kind == PLACE_HEAVY) {
            settle_heavy(p, &n, node);
        } else if (node->on && node->kind == PLACE_ARITH) {
            if ((node->on = any_needed(p, &n)))
                for (uint32_t k = 0; k < n.n_in; k++) want_operand(p, node->id, k, n.in[k]);
        } else if (node->on && node->kind == PLACE_SAME) {
            settle_same(p, &n, node);
        }
    }
}

/* ---- the plan ---- */

/* Where what is fused to each node ends; whether its results are quantized in any case. */
static void ends(placer *p) {
    for (uint64_t i = 0; i < p->plan->n_nodes; i++) {
        place_node *node = &p->plan->nodes[i];
        const pare_node_info n = quantize_node(p->q, node->id);
        if (node->on && !node->fused) node->last = n.out[0];
        if (!node->fused) continue;
        place_node *head = &p->plan->nodes[node->head];
        /* A fused node that ends nothing in int8 is an ordinary float node. */
        if (head->on) head->last = n.out[0];
    }
}

static bool quantized(const placer *p, uint32_t value) {
    const state *s = value_of(p, value);
    if (!s->floats || s->constant) return false;
    if (s->wanted) return true;
    if (!s->firm || !s->producer || s->inner) return false;
    const place_node *from = &p->plan->nodes[s->producer - 1];
    if (from->kind == PLACE_SAME || from->kind == PLACE_ARITH) return from->on;
    return from->fused ? p->plan->nodes[from->head].on : from->on;
}

static void describe(const placer *p, uint32_t value, place_point *point) {
    const state *s = value_of(p, value);
    point->value = value;
    point->choice = s->choice;
    point->measured = true;
    if (!s->producer) return;
    const place_node *from = &p->plan->nodes[s->producer - 1];
    const pare_node_info n = quantize_node(p->q, from->id);
    point->all = from->on || (from->fused && p->plan->nodes[from->head].on);
    point->measured = from->kind != PLACE_SAME || !from->on;
    const bool bounded = !n.domain[0] && (quantize_is(n.op_type, "Relu") || quantize_is(n.op_type, "Clip"));
    point->clipped = bounded && bounds_of(p, &n, &point->low, &point->high);
}

static pare_status points(placer *p) {
    uint32_t *at = quantize_scratch(p->q, p->n_values, sizeof *at); /* 1 + index of a value's point */
    if (!at) return PARE_ENOMEM;
    uint8_t *done = quantize_scratch(p->q, p->n_values, 1);
    if (!done) return PARE_ENOMEM;
    for (uint64_t i = 0; i < p->plan->n_nodes; i++) {
        const pare_node_info n = quantize_node(p->q, p->plan->nodes[i].id);
        for (uint32_t k = 0; k < n.n_in + n.n_out; k++) { /* in the order of execution */
            const uint32_t v = k < n.n_in ? n.in[k] : n.out[k - n.n_in];
            if (!v || done[v] || (k < n.n_in && value_of(p, v)->producer)) continue;
            done[v] = 1;
            if (!quantized(p, v)) continue;
            at[v] = (uint32_t)++p->plan->n_points;
            describe(p, v, &p->plan->points[at[v] - 1]);
        }
    }
    for (uint64_t i = 0; i < p->plan->n_points; i++) {
        place_point *x = &p->plan->points[i];
        const uint32_t root = root_of(p, x->value);
        x->source = at[root] ? at[root] - 1 : (uint32_t)i;
    }
    return PARE_OK;
}

pare_status place_make(const quantize_apis *q, const quantize_options *o, const quantize_choices *choices,
                       const uint8_t *skip, place_plan *plan) {
    placer p = {.q = q, .o = o, .choices = choices, .skip = skip, .target = place_target_of(o->target), .plan = plan};
    memset(plan, 0, sizeof *plan);
    pare_status st = look(&p);
    if (st) return st;
    forwards(&p);
    backwards(&p);
    ends(&p);
    return points(&p);
}
