/* quantize/weight_only.c - the technique quantize.weights: weights in int8, everything else in float.
 *
 * A DequantizeLinear stands behind the stored weight, so that all who take it go on as they were. An embedding is
 * gathered in int8 and dequantized behind that, with one scale a column: the table is never written out in float. What
 * is shared with quantize.dynamic is plain.h. Uses the SDK alone.
 */
#include "weight_only.h"

#include "plain.h"
#include "prepare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ops[] = {"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul", NULL};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    quantize_options *o;
    const pare_status st = plain_options_new(host, args, false, ops, &o);
    if (!st) *self = o;
    return st;
}

static void destroy(void *self) { free(self); }

static const char *reason(const quantize_apis *q, uint32_t node, const quantize_choice *c) {
    const pare_tensor_info t = quantize_tensor(q, c->layer.tensor);
    const pare_node_info n = quantize_node(q, node);
    if (!quantize_is(n.op_type, "Gather")) return t.ndim < 2 ? "its weight has less than two dims" : NULL;
    if (t.ndim != 2) return "its table does not have two dims";
    const int64_t axis = quantize_int(q, node, "axis", 0);
    if (axis != 0 && axis != -2) return "it gathers along columns";
    return NULL;
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    plain_work w;
    pare_status st = plain_open(&w, host, model, self);
    if (!st) st = prepare_check(&w.q, w.o);
    if (!st) st = plain_plan(&w, true, reason);
    if (st) return st;
    plain_say_float(&w, PARE_INFO);
    return PARE_OK;
}

/* ---- the edit ---- */

/* A weight as it is stored, and the dequantized value that takes its place. */
typedef struct stored {
    uint32_t tensor, id, value, scale, zero, back;
    int32_t axis;
    bool masked, gathered;
    uint32_t bits;
    double sqnr;
    char name[PLAIN_NAME];
} stored;

typedef struct writer {
    plain_work *w;
    stored *weights;
    uint64_t n_weights;
} writer;

static void text(char *out, size_t n, const char *name, const char *suffix) {
    (void)snprintf(out, n, "%.300s%s", name, suffix);
}

/* The axis of the results in the tensor's own dims, as this node takes it. */
static int32_t out_axis(const quantize_apis *q, uint32_t node, const pare_node_info *n, const pare_constant *c) {
    const uint32_t ndim = c->ndim;
    if (quantize_is(n->op_type, "Gather")) return c->perm[1];
    if (quantize_is(n->op_type, "ConvTranspose")) return c->perm[1];
    if (quantize_is(n->op_type, "Gemm")) return c->perm[quantize_int(q, node, "transB", 0) ? 0 : 1];
    return c->perm[quantize_is(n->op_type, "MatMul") ? ndim - 1 : 0];
}

static pare_status dequantize(const quantize_apis *q, const char *base, const uint32_t in[3], int32_t axis,
                              uint32_t *out) {
    char name[PLAIN_NAME + 40], value[PLAIN_NAME + 40];
    uint32_t node;
    text(name, sizeof name, base, "_DequantizeLinear");
    text(value, sizeof value, base, "_dequantized");
    const pare_status st = quantize_node_add(q, "DequantizeLinear", name, in, 3, value, &node, out);
    if (!st && axis >= 0) quantize_set_int(q, node, "axis", axis);
    return st;
}

/* The order in which the tensor is stored stays. */
static pare_status store(writer *x, const plain_node *p, const pare_node_info *n, uint32_t slot, bool gather,
                         stored **out) {
    static const uint8_t as_is[PLAIN_DIMS] = {0, 1, 2, 3, 4, 5, 6, 7};
    const quantize_apis *q = &x->w->q;
    const quantize_choice *choice = &x->w->choices.at[p->choice];
    const pare_constant c = quantize_constant(q, n->in[slot]);
    const pare_tensor_info t = quantize_tensor(q, c.tensor);
    const int32_t axis = choice->per_tensor ? -1 : out_axis(q, p->node, n, &c);
    for (uint64_t i = 0; i < x->n_weights; i++) {
        if (x->weights[i].tensor != c.tensor) continue;
        *out = &x->weights[i]; /* whoever came first chose the axis; the numbers are as good along the other */
        return PARE_OK;
    }
    stored *s = &x->weights[x->n_weights];
    plain_weight w;
    char name[PLAIN_NAME + 40];
    *s = (stored){.tensor = c.tensor, .axis = axis, .masked = t.masked != 0, .gathered = gather};
    s->bits = choice->bits ? choice->bits : 8;
    text(s->name, sizeof s->name, choice->layer.name, "");
    pare_status st = plain_weight_make(q, s->name, c.tensor, as_is, axis, s->bits, 1, &w);
    if (st) return st;
    s->sqnr = w.sqnr;
    const uint32_t ndim = axis >= 0;
    const int64_t dims = (int64_t)w.channels;
    const void *zeros = quantize_scratch(q, w.channels, 1);
    if (!zeros) st = PARE_ENOMEM;
    text(name, sizeof name, s->name, "_quantized");
    if (!st) st = quantize_add(q, name, PARE_INT8, w.ndim, w.dims, w.data, &s->id, &s->value);
    text(name, sizeof name, s->name, "_scale");
    if (!st) st = quantize_add(q, name, PARE_FLOAT, ndim, &dims, w.scale, NULL, &s->scale);
    text(name, sizeof name, s->name, "_zero_point");
    if (!st) st = quantize_add(q, name, PARE_INT8, ndim, &dims, zeros, NULL, &s->zero);
    plain_weight_free(&w);
    x->n_weights++;
    *out = s;
    return st;
}

/* Back from the node's input to the value that the tensor defines: through Transpose and Identity. */
static uint32_t root_of(const quantize_apis *q, uint32_t value, uint32_t *node, uint32_t *slot) {
    for (;;) {
        const pare_node_info n = quantize_node(q, quantize_value(q, value).producer);
        if (!quantize_is(n.op_type, "Transpose") && !quantize_is(n.op_type, "Identity")) return value;
        *node = quantize_value(q, value).producer;
        *slot = 0;
        value = n.in[0];
    }
}

static pare_status replace(writer *x, plain_node *p) {
    const quantize_apis *q = &x->w->q;
    const pare_node_info n = quantize_node(q, p->node);
    const bool gather = quantize_is(n.op_type, "Gather");
    uint32_t node = p->node, slot = gather ? 0 : 1;
    stored *s;
    pare_status st = store(x, p, &n, slot, gather, &s);
    if (st) return st;
    p->bits = s->bits;
    p->sqnr = s->sqnr;
    p->after = p->before;
    const pare_constant c = quantize_constant(q, n.in[slot]);
    if (gather && c.perm[0] == 0 && (s->axis < 0 || s->axis == 1)) {
        const uint32_t in[3] = {s->value, s->scale, s->zero};
        const uint32_t old = n.out[0];
        const pare_value_info y = quantize_value(q, old);
        const pare_value_info ids = quantize_value(q, n.in[1]);
        if (s->axis < 0 || ids.ndim >= 0) { /* its last dim is the columns' */
            char name[PLAIN_NAME];
            uint32_t back;
            text(name, sizeof name, y.name, "");
            const char *fresh;
            char want[PLAIN_NAME + 40];
            text(want, sizeof want, name, "_int8");
            if (!(fresh = q->graph->name_fresh(q->host, q->model, want))) return PARE_ENOMEM;
            const uint32_t taken[2] = {s->value, n.in[1]};
            uint32_t moved;
            st = q->graph->node_add(q->host, q->model, PARE_GRAPH_MAIN, 0, "Gather", "", n.name, taken, 2, &fresh, 1,
                                    &moved);
            if (st) return st;
            const uint32_t from[3] = {quantize_node(q, moved).out[0], in[1], in[2]};
            st = dequantize(q, name, from, s->axis < 0 ? -1 : ids.ndim, &back);
            if (!st) st = q->graph->replace_uses(q->host, q->model, old, back);
            p->after = back;
            return st ? st : q->graph->node_del(q->host, q->model, p->node);
        }
    }
    root_of(q, n.in[slot], &node, &slot);
    if (!s->back) {
        const uint32_t in[3] = {s->value, s->scale, s->zero};
        if ((st = dequantize(q, s->name, in, s->axis, &s->back))) return st;
    }
    return q->graph->input_set(q->host, q->model, node, slot, s->back);
}

static pare_status take_names(const writer *x) {
    const quantize_apis *q = &x->w->q;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < x->n_weights && !st; i++) {
        const stored *s = &x->weights[i];
        if (!q->graph->value_find(q->host, q->model, s->name))
            st = q->graph->value_rename(q->host, q->model, s->value, s->name);
        if (!st && s->masked) st = q->tensors->masked_set(q->host, q->model, s->id, 1);
    }
    return st;
}

static pare_status edit(plain_work *w, void *ctx) {
    const quantize_apis *q = &w->q;
    writer x = {.w = w};
    (void)ctx;
    x.weights = quantize_scratch(q, w->n_on, sizeof *x.weights);
    if (!x.weights) return PARE_ENOMEM;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < w->n_nodes && !st; i++)
        if (w->nodes[i].asked && !w->nodes[i].why) st = replace(&x, &w->nodes[i]);
    if (!st) st = q->pass->run(q->host, q->model, "remove_dead", NULL);
    if (!st) st = take_names(&x);
    return st ? st : q->graph->infer(q->host, q->model);
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    plain_work w;
    pare_status st = plain_open(&w, host, model, self);
    if (!st) st = host->tick(host, 0, "folding");
    if (!st) st = prepare_graph(&w.q, w.o);
    if (!st) st = plain_plan(&w, false, reason);
    if (!st) st = host->tick(host, 0.3, "quantizing");
    if (!st) st = plain_try(&w, edit, NULL);
    if (!st) st = plain_sane(&w);
    if (!st) plain_report(&w);
    return st;
}

const pare_technique quantize_weights = {
    .size = sizeof(pare_technique),
    .id = "quantize.weights",
    .version = "1.0.0",
    .summary =
        "Weights in int8 and the rest in float: a quarter of the file, at nearly the float model's results. Needs "
        "no data.",
    .params = plain_weights_params,
    .n_params = PLAIN_N_WEIGHTS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .check = check,
    .apply = apply,
    .destroy = destroy,
};
