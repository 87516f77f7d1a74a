/* quantize/dynamic.c - the technique quantize.dynamic: activations become int8 while the model runs, by their range of
 * that moment.
 *
 * MatMul(x, W) becomes DynamicQuantizeLinear(x), MatMulInteger, Cast, and Mul by both scales: the form that runtimes
 * fuse. Gemm's bias is an Add behind it. Conv, on request, becomes ConvInteger, with weights in uint8 about 128, as
 * ONNX Runtime takes no others. One DynamicQuantizeLinear serves all that take a value. What is shared with
 * quantize.weights is plain.h. Uses the SDK alone.
 */
#include "dynamic.h"

#include "plain.h"
#include "prepare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIDDLE = 128 }; /* uint8's zero of symmetric weights */

static const char *const ops[] = {"Conv", "Gemm", "MatMul", NULL};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    quantize_options *o;
    const pare_status st = plain_options_new(host, args, true, ops, &o);
    if (!st) *self = o;
    return st;
}

static void destroy(void *self) { free(self); }

static const char *reason(const quantize_apis *q, uint32_t node, const quantize_choice *c) {
    const pare_node_info n = quantize_node(q, node);
    const pare_tensor_info t = quantize_tensor(q, c->layer.tensor);
    if (quantize_is(n.op_type, "Conv")) return t.ndim < 3 ? "its weight is no convolution's" : NULL;
    if (t.ndim != 2) return "its weight does not have two dims, as scales of columns need";
    if (quantize_is(n.op_type, "Gemm") && quantize_int(q, node, "transA", 0)) return "it sets transA";
    return NULL;
}

/* ---- the look of it ---- */

static pare_status machine(const plain_work *w) {
    const quantize_apis *q = &w->q;
    const pare_run_api *run = q->host->ext(q->host, PARE_RUN_V1);
    uint32_t fast = 1;
    if (!run) return PARE_OK;
    const pare_status st = run->int8(q->host, "MatMul", PARE_UINT8, PARE_INT8, &fast);
    if (st || fast == 1) return st;
    quantize_say(
        q, PARE_WARNING, "quantize.slow", NULL, NULL,
        fast ? "portable: on makes the file exact here, with weights of 7 bits"
             : "measure with pare bench before and after; another machine may gain",
        fast ? "this machine adds int8 products in pairs that may saturate, and is at most twice as fast in int8"
             : "this machine's device has no int8 products: the file becomes smaller and nothing faster");
    return PARE_OK;
}

static void convolutions(const plain_work *w) {
    uint64_t n = 0;
    const char *first = NULL;
    for (uint64_t i = 0; i < w->n_nodes; i++) {
        const plain_node *p = &w->nodes[i];
        if (!p->asked || p->why || !quantize_is(quantize_node(&w->q, p->node).op_type, "Conv")) continue;
        if (!n++) first = quantize_node(&w->q, p->node).label;
    }
    if (n)
        quantize_say(
            &w->q, PARE_WARNING, "quantize.dynamic-conv", "ops", first,
            "quantize.static keeps activations in int8 from one convolution to the next",
            "%llu convolution%s will be int8 dynamically, which is seldom faster than float: ranges are looked "
            "for in each run, and ONNX Runtime has no fast ConvInteger",
            (unsigned long long)n, n == 1 ? "" : "s");
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    plain_work w;
    pare_status st = plain_open(&w, host, model, self);
    if (!st) st = prepare_check(&w.q, w.o);
    if (!st) st = plain_plan(&w, true, reason);
    if (st) return st;
    plain_say_float(&w, PARE_INFO);
    convolutions(&w);
    return machine(&w);
}

/* ---- the edit ---- */

/* A value and what DynamicQuantizeLinear makes of it. */
typedef struct shared {
    uint32_t value, q, scale, zero;
} shared;

/* A weight as some nodes take it. */
typedef struct stored {
    uint32_t tensor, value, scale, id; /* id: the new tensor */
    uint8_t perm[PLAIN_DIMS];
    bool conv, masked, may_saturate;
    float factor;
    double sqnr;
    char name[PLAIN_NAME];
} stored;

typedef struct writer {
    plain_work *w;
    shared *inputs;
    stored *weights;
    uint64_t n_inputs, n_weights;
} writer;

static void text(char *out, size_t n, const char *name, const char *suffix) {
    (void)snprintf(out, n, "%.300s%s", name, suffix);
}

static pare_status add_quantizer(writer *x, uint32_t value, const shared **out) {
    const quantize_apis *q = &x->w->q;
    for (uint64_t i = 0; i < x->n_inputs; i++)
        if (x->inputs[i].value == value) {
            *out = &x->inputs[i];
            return PARE_OK;
        }
    static const char *const suffixes[] = {"_quantized", "_scale", "_zero_point"};
    const char *names[3];
    char base[PLAIN_NAME], name[PLAIN_NAME + 40];
    text(base, sizeof base, quantize_value(q, value).name, "");
    for (uint32_t i = 0; i < 3; i++) {
        text(name, sizeof name, base, suffixes[i]);
        if (!(names[i] = q->graph->name_fresh(q->host, q->model, name))) return PARE_ENOMEM;
    }
    uint32_t node;
    text(name, sizeof name, base, "_DynamicQuantizeLinear");
    const pare_status st = q->graph->node_add(q->host, q->model, PARE_GRAPH_MAIN, 0, "DynamicQuantizeLinear", "", name,
                                              &value, 1, names, 3, &node);
    if (st) return st;
    const pare_node_info n = quantize_node(q, node);
    x->inputs[x->n_inputs] = (shared){value, n.out[0], n.out[1], n.out[2]};
    *out = &x->inputs[x->n_inputs++];
    return PARE_OK;
}

static pare_status store(writer *x, stored *s, const char *name, const uint8_t *perm, int32_t out_axis, uint32_t bits) {
    const quantize_apis *q = &x->w->q;
    plain_weight w;
    char text_[PLAIN_NAME + 40];
    int64_t dims[PLAIN_DIMS] = {0};
    pare_status st = plain_weight_make(q, name, s->tensor, perm, out_axis, bits, s->factor, &w);
    if (st) return st;
    s->sqnr = w.sqnr;
    s->may_saturate = w.may_saturate && !s->conv;
    for (uint64_t i = 0; s->conv && i < w.count; i++) w.data[i] = (int8_t)(uint8_t)(w.data[i] + MIDDLE);
    text(text_, sizeof text_, name, "_quantized");
    st = quantize_add(q, text_, s->conv ? PARE_UINT8 : PARE_INT8, w.ndim, w.dims, w.data, &s->id, &s->value);
    uint32_t ndim = 0; /* the result's channels are its last dim, or those behind the batch */
    if (w.axis >= 0) {
        ndim = s->conv ? w.ndim - 1 : 1;
        for (uint32_t i = 0; i < ndim; i++) dims[i] = i ? 1 : (int64_t)w.channels;
    }
    text(text_, sizeof text_, name, "_scale");
    if (!st) st = quantize_add(q, text_, PARE_FLOAT, ndim, dims, w.scale, NULL, &s->scale);
    plain_weight_free(&w);
    return st;
}

static pare_status weight_of(writer *x, const plain_node *p, const pare_node_info *n, const stored **out) {
    const quantize_apis *q = &x->w->q;
    const quantize_choice *choice = &x->w->choices.at[p->choice];
    const pare_constant c = quantize_constant(q, n->in[1]);
    stored s = {.tensor = c.tensor, .factor = 1, .conv = quantize_is(n->op_type, "Conv")};
    memcpy(s.perm, c.perm, sizeof s.perm);
    if (quantize_is(n->op_type, "Gemm")) {
        s.factor = (float)quantize_float(q, p->node, "alpha", 1);
        if (quantize_int(q, p->node, "transB", 0)) {
            s.perm[0] = c.perm[1];
            s.perm[1] = c.perm[0];
        }
    }
    for (uint64_t i = 0; i < x->n_weights; i++) {
        const stored *o = &x->weights[i];
        if (o->tensor != s.tensor || o->conv != s.conv || o->factor != s.factor) continue;
        if (memcmp(o->perm, s.perm, sizeof s.perm) != 0) continue;
        *out = o;
        return PARE_OK;
    }
    text(s.name, sizeof s.name, choice->layer.name, "");
    s.masked = quantize_tensor(q, s.tensor).masked != 0;
    const int32_t axis = choice->per_tensor ? -1 : s.perm[s.conv ? 0 : 1];
    const pare_status st = store(x, &s, s.name, s.perm, axis, p->bits);
    if (st) return st;
    x->weights[x->n_weights] = s;
    *out = &x->weights[x->n_weights++];
    return PARE_OK;
}

static pare_status copy_attributes(const quantize_apis *q, uint32_t from, uint32_t to) {
    static const char *const names[] = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !st; i++) {
        pare_attribute a = {.size = sizeof a};
        if (q->graph->attr_get(q->host, q->model, from, names[i], &a) == PARE_OK)
            st = q->graph->attr_set(q->host, q->model, to, names[i], &a);
    }
    return st;
}

/* The bias, as something to be added to the product. */
static pare_status bias_of(const quantize_apis *q, uint32_t node, uint32_t bias, bool conv, const char *base,
                           uint32_t *out) {
    char name[PLAIN_NAME + 40];
    pare_status st = PARE_OK;
    *out = bias;
    if (conv) { /* (M) to (M, 1, …): the weight's dims less one */
        const pare_node_info n = quantize_node(q, node);
        const pare_constant w = quantize_constant(q, n.in[1]), c = quantize_constant(q, bias);
        int64_t shape[PLAIN_DIMS];
        const uint32_t ndim = quantize_tensor(q, w.tensor).ndim - 1;
        const pare_tensor_info t = quantize_tensor(q, c.tensor);
        for (uint32_t i = 0; i < ndim; i++) shape[i] = i ? 1 : -1;
        if (c.tensor && !c.scale && t.dtype == PARE_FLOAT && t.ndim == 1) {
            uint64_t count;
            const float *data = quantize_floats(q, c.tensor, &count);
            if (!data) return PARE_ENOMEM;
            shape[0] = (int64_t)count;
            text(name, sizeof name, quantize_value(q, bias).name, "_reshaped");
            return quantize_add(q, name, PARE_FLOAT, ndim, shape, data, NULL, out);
        }
        uint32_t in[2] = {bias, 0};
        const int64_t n_shape = ndim;
        text(name, sizeof name, base, "_bias_shape");
        st = quantize_add(q, name, PARE_INT64, 1, &n_shape, shape, NULL, &in[1]);
        text(name, sizeof name, base, "_bias_Reshape");
        return st ? st : quantize_node_add(q, "Reshape", name, in, 2, name, NULL, out);
    }
    const float beta = (float)quantize_float(q, node, "beta", 1);
    if (beta == 1) return PARE_OK;
    uint32_t in[2] = {bias, 0};
    text(name, sizeof name, base, "_beta");
    st = quantize_add(q, name, PARE_FLOAT, 0, NULL, &beta, NULL, &in[1]);
    text(name, sizeof name, base, "_bias_Mul");
    return st ? st : quantize_node_add(q, "Mul", name, in, 2, name, NULL, out);
}

static pare_status replace(writer *x, plain_node *p) {
    const quantize_apis *q = &x->w->q;
    const pare_node_info n = quantize_node(q, p->node);
    const bool conv = quantize_is(n.op_type, "Conv");
    const uint32_t old = n.out[0], bias = n.n_in > 2 && !quantize_is(n.op_type, "MatMul") ? n.in[2] : 0;
    const shared *in = NULL;
    const stored *w = NULL;
    char base[PLAIN_NAME], name[PLAIN_NAME + 40];
    const quantize_choice *choice = &x->w->choices.at[p->choice];
    p->bits = choice->bits ? choice->bits : conv ? 8 : x->w->default_bits;
    text(base, sizeof base, n.name[0] ? n.name : quantize_value(q, old).name, ""); /* labels change on the way */
    pare_status st = add_quantizer(x, n.in[0], &in);
    if (!st) st = weight_of(x, p, &n, &w);
    if (st) return st;
    p->sqnr = w->sqnr;
    p->may_saturate = w->may_saturate;
    uint32_t values[4] = {in->q, w->value, in->zero, 0}, both[2] = {in->scale, w->scale}, node, product[2];
    if (conv) {
        const uint8_t middle = MIDDLE;
        text(name, sizeof name, base, "_weight_zero_point");
        if ((st = quantize_add(q, name, PARE_UINT8, 0, NULL, &middle, NULL, &values[3]))) return st;
    }
    const char *op = conv ? "ConvInteger" : "MatMulInteger";
    char out[PLAIN_NAME + 60];
    (void)snprintf(name, sizeof name, "%.300s_%s", base, op);
    (void)snprintf(out, sizeof out, "%s_output", name);
    st = quantize_node_add(q, op, name, values, conv ? 4 : 3, out, &node, &product[0]);
    if (!st && conv) st = copy_attributes(q, p->node, node);
    text(name, sizeof name, base, "_Cast");
    text(out, sizeof out, base, "_Cast_output");
    if (!st) st = quantize_node_add(q, "Cast", name, product, 1, out, &node, &product[0]);
    if (!st) quantize_set_int(q, node, "to", PARE_FLOAT);
    text(name, sizeof name, base, "_scales_Mul");
    text(out, sizeof out, base, "_scales");
    if (!st) st = quantize_node_add(q, "Mul", name, both, 2, out, NULL, &product[1]);
    text(name, sizeof name, base, "_Mul");
    text(out, sizeof out, base, "_Mul_output");
    if (!st) st = quantize_node_add(q, "Mul", name, product, 2, out, NULL, &product[0]);
    if (!st && bias) {
        if ((st = bias_of(q, p->node, bias, conv, base, &product[1]))) return st;
        text(name, sizeof name, base, "_Add");
        text(out, sizeof out, base, "_Add_output");
        st = quantize_node_add(q, "Add", name, product, 2, out, NULL, &product[0]);
    }
    p->after = product[0];
    if (!st) st = q->graph->replace_uses(q->host, q->model, old, p->after);
    return st ? st : q->graph->node_del(q->host, q->model, p->node);
}

/* The int8 weight takes the float one's name and mask where that is gone. */
static pare_status take_names(const writer *x) {
    const quantize_apis *q = &x->w->q;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < x->n_weights && !st; i++) {
        const stored *s = &x->weights[i];
        if (!q->graph->value_find(q->host, q->model, s->name))
            st = q->graph->value_rename(q->host, q->model, s->value, s->name);
        if (!st && s->masked && !s->conv) st = q->tensors->masked_set(q->host, q->model, s->id, 1);
    }
    return st;
}

static pare_status edit(plain_work *w, void *ctx) {
    const quantize_apis *q = &w->q;
    writer x = {.w = w};
    (void)ctx;
    x.inputs = quantize_scratch(q, w->n_on, sizeof *x.inputs);
    x.weights = quantize_scratch(q, w->n_on, sizeof *x.weights);
    if (!x.inputs || !x.weights) return PARE_ENOMEM;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < w->n_nodes && !st; i++)
        if (w->nodes[i].asked && !w->nodes[i].why) st = replace(&x, &w->nodes[i]);
    if (!st) st = q->pass->run(q->host, q->model, "remove_dead", NULL);
    if (!st) st = take_names(&x);
    return st ? st : q->graph->infer(q->host, q->model);
}

/* ---- the work ---- */

static uint64_t saturating(const plain_work *w) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->n_nodes; i++) n += w->nodes[i].may_saturate;
    return n;
}

static pare_status again(plain_work *w, uint32_t *mark, uint32_t bits) {
    pare_status st = w->q.graph->undo(w->q.host, w->q.model, *mark);
    if (!st) st = w->q.graph->mark(w->q.host, w->q.model, mark);
    w->default_bits = bits;
    return st ? st : plain_try(w, edit, NULL);
}

/* After 8 bits: 7 where it costs 3 dB at most, which is what 8-bit activations make in noise anyway. */
static pare_status portable(plain_work *w, uint32_t *mark) {
    const double eight = w->sqnr;
    if (w->o->portable != QUANTIZE_AUTO || !isfinite(eight) || !saturating(w)) return PARE_OK;
    pare_status st = again(w, mark, 7);
    if (st) return st;
    if (w->sqnr < eight - 3) return again(w, mark, 8);
    w->portable_cost = eight - w->sqnr;
    return PARE_OK;
}

static void report(const plain_work *w) {
    const uint64_t n = saturating(w);
    char words[300] = "no pair of products can saturate: exact on every CPU";
    if (n)
        (void)snprintf(
            words, sizeof words,
            "exact on CPUs with VNNI or the like, on ARM and on GPUs; on other x86 CPUs pairs of products may "
            "saturate in %llu of %llu layers (portable: on avoids it)",
            (unsigned long long)n, (unsigned long long)w->n_on);
    if (w->q.note) w->q.note->text(w->q.host, "portable", words);
    if (w->q.note && !isnan(w->portable_cost)) w->q.note->number(w->q.host, "portable_cost_db", w->portable_cost);
    plain_report(w);
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    plain_work w;
    uint32_t mark = 0;
    pare_status st = plain_open(&w, host, model, self);
    if (!st) st = host->tick(host, 0, "folding");
    if (!st) st = prepare_graph(&w.q, w.o);
    if (!st) st = plain_plan(&w, false, reason);
    if (!st) st = host->tick(host, 0.3, "quantizing");
    if (!st) st = w.q.graph->mark(host, model, &mark);
    if (st) return st;
    w.default_bits = w.o->portable == QUANTIZE_ON ? 7 : 8;
    st = plain_try(&w, edit, NULL);
    if (!st) st = portable(&w, &mark);
    if (!st) st = plain_sane(&w);
    if (!st) st = w.q.graph->keep(host, model, mark);
    if (!st) report(&w);
    return st;
}

const pare_technique quantize_dynamic = {
    .size = sizeof(pare_technique),
    .id = "quantize.dynamic",
    .version = "1.0.0",
    .summary = "Weights in int8, and activations too while the model runs, by their range of that moment: "
               "DynamicQuantizeLinear and MatMulInteger. For transformers; needs no data.",
    .params = plain_dynamic_params,
    .n_params = PLAIN_N_DYNAMIC,
    .param_stride = sizeof(pare_param),
    .create = create,
    .check = check,
    .apply = apply,
    .destroy = destroy,
};
