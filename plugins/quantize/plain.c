/* quantize/plain.c - nodes with constant weights, one weight as int8, and the comparison. See plain.h. */
#include "plain.h"

#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is there ---- */

uint32_t plain_batch(const quantize_apis *q, uint64_t *samples) {
    uint32_t value, batch = 1;
    for (uint32_t i = 0; (value = q->graph->input(q->host, q->model, PARE_GRAPH_MAIN, i)); i++) {
        const pare_value_info v = quantize_value(q, value);
        if (!v.tensor && v.ndim > 0 && v.dims[0] > 1 && v.dims[0] <= 4096) batch = (uint32_t)v.dims[0];
    }
    if (*samples < UINT64_MAX / 2) *samples = (*samples + batch - 1) / batch * batch;
    return batch;
}

/* Sets of samples have one input; noise is float32. NULL: the model can be run. */
static const char *loose(const quantize_apis *q, const quantize_options *o) {
    uint32_t n = 0, dtype = 0, value;
    if (!q->run) return "this host runs no models";
    if (!o->check_samples) return "check_samples is 0";
    for (uint32_t i = 0; (value = q->graph->input(q->host, q->model, PARE_GRAPH_MAIN, i)); i++) {
        const pare_value_info v = quantize_value(q, value);
        if (v.tensor) continue; /* has a default */
        dtype = v.dtype;
        n++;
    }
    if (n != 1) return "samples have one input, and the model does not";
    if (strcmp(o->data, "random") == 0 && dtype != PARE_FLOAT)
        return "the model takes whole numbers, and noise has none";
    return NULL;
}

pare_status plain_open(plain_work *w, const pare_host *host, pare_model *model, const quantize_options *o) {
    *w = (plain_work){.o = o, .sqnr = NAN, .agreement = NAN, .portable_cost = NAN, .default_bits = 8};
    const pare_status st = quantize_apis_init(&w->q, host, model);
    if (st) return st;
    w->loose = loose(&w->q, o);
    if (w->loose) w->q.run = NULL;
    return PARE_OK;
}

static bool has_layers(const quantize_options *o, const pare_node_info *n) {
    if (n->domain[0]) return false;
    for (size_t i = 0; o->layer_ops[i]; i++)
        if (quantize_is(n->op_type, o->layer_ops[i])) return true;
    return false;
}

static int64_t choice_of(const plain_work *w, uint32_t tensor) {
    for (uint64_t i = 0; tensor && i < w->choices.n; i++)
        if (w->choices.at[i].layer.tensor == tensor) return (int64_t)i;
    return -1;
}

static void name_it(plain_node *p, const char *name) { (void)snprintf(p->name, sizeof p->name, "%.300s", name); }

static const char *reason_of(const plain_work *w, const plain_node *p, bool first, plain_reason *reason) {
    if (p->choice < 0) return "its weight is no constant";
    const quantize_choice *c = &w->choices.at[p->choice];
    const pare_tensor_info t = quantize_tensor(&w->q, c->layer.tensor);
    if (first) return "its weight is the first operand";
    if (c->layer.scale) return "its weight is quantized already";
    if (t.dtype != PARE_FLOAT) return "its weight is not float32";
    if (!t.count) return "its weight has no elements";
    if (t.ndim > PLAIN_DIMS) return "its weight has more than eight dims";
    return reason(&w->q, p->node, c);
}

/* false: it is none. */
static bool look_at(plain_work *w, uint32_t id, plain_reason *reason, plain_node *p, uint64_t *computed) {
    const quantize_apis *q = &w->q;
    const pare_node_info n = quantize_node(q, id);
    if (!has_layers(w->o, &n) || n.n_in < 2 || !n.n_out) return false;
    const bool gather = quantize_is(n.op_type, "Gather"), matmul = quantize_is(n.op_type, "MatMul");
    *p = (plain_node){.node = id, .before = n.out[0], .bits = 32, .sqnr = NAN};
    p->choice = choice_of(w, quantize_constant(q, n.in[gather ? 0 : 1]).tensor);
    const bool first = p->choice < 0 && matmul;
    if (first) p->choice = choice_of(w, quantize_constant(q, n.in[0]).tensor);
    const bool wanted = quantize_op_asked(w->o, n.op_type);
    if (p->choice < 0 && gather) return false; /* it gathers computed values, or other things than embeddings */
    if (p->choice < 0 && matmul) *computed += wanted;
    if (p->choice < 0 && matmul) return false;
    p->asked = wanted && (p->choice < 0 ? !w->o->include->n : w->choices.at[p->choice].asked);
    name_it(p, p->choice >= 0 ? w->choices.at[p->choice].layer.name : n.name[0] ? n.name : n.label);
    if (!p->asked) return true;
    p->why = reason_of(w, p, first, reason);
    w->n_on += !p->why;
    return true;
}

static bool is_on(const plain_node *p) { return p->asked && !p->why; }

/* Weights that only subgraphs use. */
static void inside(const plain_work *w, uint32_t severity, bool *any) {
    for (uint64_t i = 0; i < w->choices.n; i++) {
        bool met = !w->choices.at[i].asked;
        for (uint64_t k = 0; k < w->n_nodes && !met; k++) met = w->nodes[k].choice == (int64_t)i;
        const pare_layer *l = &w->choices.at[i].layer;
        if (met || quantize_node(&w->q, l->node).graph == PARE_GRAPH_MAIN) continue;
        *any = true;
        quantize_say(&w->q, severity, "quantize.float", NULL, l->label, NULL,
                     "%.300s stays in float: %s stands in a subgraph", l->name, l->label);
    }
}

void plain_say_float(const plain_work *w, uint32_t severity) {
    bool any = false;
    for (uint64_t i = 0; i < w->n_nodes; i++) {
        const plain_node *p = &w->nodes[i];
        if (p->asked && p->why)
            quantize_say(&w->q, severity, "quantize.float", NULL, quantize_node(&w->q, p->node).label, NULL,
                         "%s stays in float: %s", p->name, p->why);
    }
    inside(w, severity, &any);
}

static pare_status strict(const plain_work *w) {
    bool any = false;
    for (uint64_t i = 0; i < w->n_nodes; i++) {
        const plain_node *p = &w->nodes[i];
        if (!p->asked || !p->why) continue;
        any = true;
        quantize_say(&w->q, PARE_ERROR, "quantize.strict", "strict", quantize_node(&w->q, p->node).label,
                     "exclude the layer, or drop strict", "%s can't be int8: %s", p->name, p->why);
    }
    inside(w, PARE_ERROR, &any);
    return any ? PARE_EUNSUPPORTED : PARE_OK;
}

pare_status plain_plan(plain_work *w, bool loud, plain_reason *reason) {
    const quantize_apis *q = &w->q;
    uint64_t n = 0, computed = 0;
    pare_status st = quantize_choose(q, w->o, loud, &w->choices);
    if (st) return st;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id))
        n++;
    w->nodes = quantize_scratch(q, n, sizeof *w->nodes);
    if (!w->nodes) return PARE_ENOMEM;
    w->n_nodes = w->n_on = 0;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id))
        if (look_at(w, id, reason, &w->nodes[w->n_nodes], &computed)) w->n_nodes++;
    if (computed && loud)
        quantize_say(q, PARE_INFO, "quantize.computed", NULL, NULL, NULL,
                     "%llu MatMul of two computed values stay%s in float", (unsigned long long)computed,
                     computed == 1 ? "s" : "");
    if (w->o->strict && (st = strict(w))) return st;
    if (w->n_on) return PARE_OK;
    plain_say_float(w, PARE_WARNING);
    return quantize_refuse(q, "quantize.nothing", NULL, NULL,
                           "pare inspect lists the ops of a model; see ops, include, exclude and layers",
                           "nothing to quantize: no node that was asked for has a constant weight that can be int8");
}

/* ---- weights ---- */

pare_status plain_weight_make(const quantize_apis *q, const char *name, uint32_t tensor, const uint8_t *perm,
                              int32_t out_axis, uint32_t bits, float factor, plain_weight *out) {
    *out = (plain_weight){.axis = -1};
    const pare_tensor_info t = quantize_tensor(q, tensor);
    pare_view v = {.size = sizeof v};
    out->ndim = t.ndim;
    out->count = t.count;
    for (uint32_t i = 0; i < t.ndim; i++) {
        out->dims[i] = t.dims[perm[i]];
        if (perm[i] == out_axis) out->axis = (int32_t)i;
    }
    const weights_shape shape = weights_shape_of(out->dims, out->ndim, out->axis);
    out->channels = shape.channels;
    out->scale = quantize_scratch(q, shape.channels, sizeof *out->scale);
    if (!out->scale || t.count > SIZE_MAX / sizeof(float)) return PARE_ENOMEM;
    float *data = malloc((size_t)t.count * sizeof *data + 1);
    out->data = malloc((size_t)t.count + 1);
    pare_status st = data && out->data ? PARE_OK : PARE_ENOMEM;
    if (!st) st = q->tensors->borrow(q->host, q->model, tensor, PARE_READ, &v);
    if (st) goto done;
    weights_permute((const char *)v.data + v.byte_offset, t.dims, t.ndim, perm, sizeof *data, data);
    q->tensors->release(q->host, q->model, tensor);
    for (uint64_t i = 0; factor != 1 && i < t.count; i++) data[i] *= factor;
    if (!weights_scales(data, &shape, bits, out->scale)) {
        st = quantize_refuse(q, "quantize.nan", NULL, name,
                             "the model is damaged or its training diverged; exclude the layer to quantize the rest",
                             "the weights \"%.200s\" hold a NaN or an infinite number", name);
        goto done;
    }
    weights_quantize(data, &shape, bits, out->scale, out->data);
    out->sqnr = weights_sqnr(data, &shape, out->scale, out->data);
    out->may_saturate = weights_may_saturate(&shape, out->data);
done:
    free(data);
    if (st) plain_weight_free(out);
    return st;
}

void plain_weight_free(plain_weight *w) {
    free(w->data);
    w->data = NULL;
}

/* ---- comparison ---- */

static uint32_t *values_of(plain_work *w, bool after) {
    uint64_t n = 0;
    uint32_t outputs = 0;
    while (w->q.graph->output(w->q.host, w->q.model, PARE_GRAPH_MAIN, outputs)) outputs++;
    uint32_t *values = quantize_scratch(&w->q, w->n_on + outputs, sizeof *values);
    if (!values) return NULL;
    for (uint64_t i = 0; i < w->n_nodes; i++)
        if (is_on(&w->nodes[i])) values[n++] = after ? w->nodes[i].after : w->nodes[i].before;
    for (uint32_t i = 0; i < outputs; i++) values[n++] = w->q.graph->output(w->q.host, w->q.model, PARE_GRAPH_MAIN, i);
    w->n_compared = n;
    return values;
}

pare_status plain_try(plain_work *w, pare_status (*edit)(plain_work *w, void *ctx), void *ctx) {
    verify_side before = {0}, after = {0};
    w->sqnr = w->agreement = NAN;
    w->compare = NULL;
    if (!w->q.run) return edit(w, ctx);
    uint32_t *values = values_of(w, false);
    uint64_t samples = w->o->check_samples;
    const uint32_t batch = plain_batch(&w->q, &samples);
    calibrate_compare *c = quantize_scratch(&w->q, w->n_compared, sizeof *c);
    if (!values || !c) return PARE_ENOMEM;
    pare_status st = verify_open(&w->q, values, w->n_compared, w->o->data, samples, batch, &before);
    if (!st) st = edit(w, ctx);
    if (!st && !(values = values_of(w, true))) st = PARE_ENOMEM;
    if (!st) st = verify_open(&w->q, values, w->n_compared, w->o->data, samples, batch, &after);
    if (!st) st = verify_compare(&w->q, &before, &after, c, &w->agreement);
    verify_close(&w->q, &before);
    verify_close(&w->q, &after);
    if (st) return st;
    w->compare = c;
    w->sqnr = calibrate_compare_sqnr(&c[w->n_compared - 1]);
    return PARE_OK;
}

pare_status plain_sane(const plain_work *w) {
    if (!w->o->sanity || !(w->sqnr < 10) || w->agreement >= 0.5) return PARE_OK;
    char agreement[64] = "";
    if (!isnan(w->agreement))
        (void)snprintf(agreement, sizeof agreement, " and it agrees on %.1f %% of the samples", 100 * w->agreement);
    return quantize_refuse(&w->q, "quantize.sanity", "sanity", NULL,
                           "see sqnr_db of the layers in report.json and exclude the worst; or, where the numbers mean "
                           "nothing, sanity: off",
                           "the quantized model is not the float one any more: its SQNR is %.1f dB%s (at least 10 dB "
                           "or 50 %% are asked for)",
                           w->sqnr, agreement);
}

/* ---- report ---- */

static void row(const plain_work *w, const plain_node *p, uint64_t compared) {
    const bool on = is_on(p), run = on && w->compare;
    const char *keys[] = {"sqnr_db", "cosine", "weight_sqnr_db"};
    const double values[] = {
        run ? calibrate_compare_sqnr(&w->compare[compared]) : NAN,
        run ? calibrate_compare_cosine(&w->compare[compared]) : NAN,
        p->sqnr,
    };
    const pare_layer_note note = {.size = sizeof note,
                                  .n_extra = on ? 3 : 0,
                                  .name = p->name,
                                  .requested = p->asked ? 8 : 32,
                                  .achieved = on ? p->bits : 32,
                                  .keys = keys,
                                  .values = values};
    w->q.note->layer(w->q.host, &note);
    if (!p->asked || !p->why) return;
    char key[400];
    (void)snprintf(key, sizeof key, "float: %.300s", p->name);
    w->q.note->text(w->q.host, key, p->why);
}

void plain_report(const plain_work *w) {
    const pare_note_api *note = w->q.note;
    uint64_t compared = 0;
    for (uint64_t i = 0; note && i < w->n_nodes; i++) {
        row(w, &w->nodes[i], compared);
        compared += is_on(&w->nodes[i]);
    }
    if (note) {
        note->number(w->q.host, "int8_layers", (double)w->n_on);
        note->number(w->q.host, "float_layers", (double)(w->n_nodes - w->n_on));
        note->number(w->q.host, "sqnr_db", w->sqnr);
        note->number(w->q.host, "agreement", w->agreement);
        if (w->loose) note->text(w->q.host, "not_compared", w->loose);
    }
    plain_say_float(w, PARE_WARNING);
    if (w->loose)
        quantize_say(&w->q, PARE_INFO, "quantize.done", NULL, NULL, NULL,
                     "%llu layers have int8 weights now, %llu are in float; nothing was compared: %s",
                     (unsigned long long)w->n_on, (unsigned long long)(w->n_nodes - w->n_on), w->loose);
    else
        quantize_say(&w->q, PARE_INFO, "quantize.done", NULL, NULL, NULL,
                     "%llu layers have int8 weights now, %llu are in float; the outputs' SQNR is %.1f dB",
                     (unsigned long long)w->n_on, (unsigned long long)(w->n_nodes - w->n_on), w->sqnr);
}
