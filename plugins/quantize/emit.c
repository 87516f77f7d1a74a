/* quantize/emit.c - see emit.h. */
#include "emit.h"

#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AXES = 8 };

/* A node with products, as it was before the graph was edited. */
typedef struct heavy {
    uint32_t node, x; /* x: a value */
    place_bias bias;
    uint32_t outputs; /* channels */
    uint32_t point;   /* of x */
} heavy;

typedef struct writer {
    const quantize_apis *q;
    const emit_request *r;
    heavy *heavies;         /* by index of the plan's nodes; node 0: none */
    uint32_t *scale, *zero; /* values, by point */
    /* Room for the largest weight: not scratch, as a graph may be written many times in one step. */
    float *data;
    int8_t *quantized;
} writer;

static void text(char *out, size_t n, const char *name, const char *suffix) {
    (void)snprintf(out, n, "%.300s%s", name, suffix);
}

static uint32_t point_of(const place_plan *plan, uint32_t value) {
    for (uint64_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].value == value) return (uint32_t)i;
    return UINT32_MAX;
}

static const emit_params *params_of(const writer *w, uint32_t point) {
    return &w->r->params[w->r->plan->points[point].source];
}

/* ---- activations ---- */

static pare_status add_zero(const writer *w, const char *name, int32_t zero, uint32_t *value) {
    const uint8_t u = (uint8_t)zero;
    const int8_t s = (int8_t)zero;
    const uint32_t dtype = w->r->o->activations;
    return quantize_add(w->q, name, dtype, 0, NULL, dtype == PARE_INT8 ? (const void *)&s : &u, NULL, value);
}

static pare_status add_params(writer *w, uint32_t point, const char *base) {
    char name[360];
    const uint32_t source = w->r->plan->points[point].source;
    if (!w->scale[source]) {
        text(name, sizeof name, base, "_scale");
        pare_status st =
            quantize_add(w->q, name, PARE_FLOAT, 0, NULL, &w->r->params[source].scale, NULL, &w->scale[source]);
        if (st) return st;
        text(name, sizeof name, base, "_zero_point");
        if ((st = add_zero(w, name, w->r->params[source].zero, &w->zero[source]))) return st;
    }
    w->scale[point] = w->scale[source];
    w->zero[point] = w->zero[source];
    return PARE_OK;
}

static pare_status quantize_point(writer *w, uint32_t point) {
    const place_plan *plan = w->r->plan;
    const place_point *p = &plan->points[point];
    const quantize_apis *q = w->q;
    char base[320], out[360];
    uint32_t quant = 0, values[3], back;
    text(base, sizeof base, quantize_value(q, p->value).name, "");
    pare_status st = add_params(w, point, base);
    if (st) return st;
    values[0] = p->value;
    values[1] = w->scale[point];
    values[2] = w->zero[point];
    text(out, sizeof out, base, "_quantized");
    if ((st = quantize_node_add(q, "QuantizeLinear", NULL, values, 3, out, &quant, &values[0]))) return st;
    text(out, sizeof out, base, "_dequantized");
    if ((st = quantize_node_add(q, "DequantizeLinear", NULL, values, 3, out, NULL, &back))) return st;
    w->r->back[point] = back;
    if (p->all) {
        st = q->graph->replace_uses(q->host, q->model, p->value, back);
        return st ? st : q->graph->input_set(q->host, q->model, quant, 0, p->value);
    }
    for (uint64_t i = 0; i < plan->n_edges && !st; i++)
        if (plan->edges[i].value == p->value)
            st = q->graph->input_set(q->host, q->model, plan->edges[i].node, plan->edges[i].slot, back);
    return st;
}

/* ---- constants of Add, Mul, Concat ---- */

static pare_status quantize_operand(writer *w, const place_edge *e) {
    const quantize_apis *q = w->q;
    const pare_constant c = quantize_constant(q, e->value);
    const pare_value_info info = quantize_value(q, e->value);
    const pare_tensor_info t = quantize_tensor(q, c.tensor);
    const bool sign = w->r->o->activations == PARE_INT8;
    char base[320], name[360];
    int64_t dims[AXES];
    uint64_t count;
    const float *stored = quantize_floats(q, c.tensor, &count);
    if (!stored) return PARE_ENOMEM;
    float *data = quantize_scratch(q, count, sizeof *data);
    uint8_t *bytes = quantize_scratch(q, count, 1);
    if (!data || !bytes) return PARE_ENOMEM;
    if (t.ndim > AXES) return PARE_EUNSUPPORTED;
    weights_permute(stored, t.dims, t.ndim, c.perm, sizeof *data, data);
    for (uint32_t i = 0; i < t.ndim; i++) dims[i] = t.dims[c.perm[i]];
    float lo = 0, hi = 0, scale;
    int32_t zero;
    text(base, sizeof base, info.name, "");
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(data[i]))
            return quantize_refuse(q, "quantize.nan", NULL, base, "the model is damaged",
                                   "the constant \"%.200s\" holds a NaN or an infinite number", base);
        lo = fminf(lo, data[i]);
        hi = fmaxf(hi, data[i]);
    }
    calibrate_params(*w->r->grid, lo, hi, &scale, &zero);
    for (uint64_t i = 0; i < count; i++) {
        const float x = rintf(data[i] / scale) + (float)zero;
        const float low = (float)w->r->grid->qmin, high = (float)w->r->grid->qmax;
        const int32_t v = (int32_t)(x < low ? low : x > high ? high : x);
        bytes[i] = sign ? (uint8_t)(int8_t)v : (uint8_t)v;
    }
    uint32_t in[3], out;
    text(name, sizeof name, base, "_quantized");
    pare_status st = quantize_add(q, name, w->r->o->activations, t.ndim, dims, bytes, NULL, &in[0]);
    text(name, sizeof name, base, "_scale");
    if (!st) st = quantize_add(q, name, PARE_FLOAT, 0, NULL, &scale, NULL, &in[1]);
    text(name, sizeof name, base, "_zero_point");
    if (!st) st = add_zero(w, name, zero, &in[2]);
    text(name, sizeof name, base, "_dequantized");
    if (!st) st = quantize_node_add(q, "DequantizeLinear", NULL, in, 3, name, NULL, &out);
    return st ? st : q->graph->input_set(q->host, q->model, e->node, e->slot, out);
}

/* ---- weights ---- */

/* A weight as its node sees it. */
typedef struct seen {
    pare_constant c;
    pare_tensor_info info;
    char name[320];
    int64_t dims[AXES];
    int32_t axis; /* of the scales, -1: per tensor */
    uint64_t count;
    float *data;
    weights_shape shape;
    float *scale;
    int8_t *quantized;
} seen;

static pare_status see(const writer *w, uint64_t choice, uint32_t value, seen *s) {
    const quantize_apis *q = w->q;
    const quantize_choice *c = &w->r->choices->at[choice];
    s->c = quantize_constant(q, value);
    s->info = quantize_tensor(q, s->c.tensor);
    text(s->name, sizeof s->name, c->layer.name, "");
    if (s->info.ndim > AXES) return PARE_EUNSUPPORTED;
    pare_view v = {.size = sizeof v};
    const pare_status st = q->tensors->borrow(q->host, q->model, s->c.tensor, PARE_READ, &v);
    if (st) return st;
    s->count = v.count;
    s->data = w->data;
    s->quantized = w->quantized;
    weights_permute((const char *)v.data + v.byte_offset, s->info.dims, s->info.ndim, s->c.perm, sizeof *s->data,
                    s->data);
    q->tensors->release(q->host, q->model, s->c.tensor);
    s->axis = -1;
    for (uint32_t i = 0; i < s->info.ndim; i++) {
        s->dims[i] = s->info.dims[s->c.perm[i]];
        if (!c->per_tensor && s->c.perm[i] == c->layer.out_axis) s->axis = (int32_t)i;
    }
    s->shape = weights_shape_of(s->dims, s->info.ndim, s->axis);
    s->scale = quantize_scratch(q, s->shape.channels, sizeof *s->scale);
    if (!s->scale) return PARE_ENOMEM;
    if (weights_scales(s->data, &s->shape, w->r->bits[choice], s->scale)) return PARE_OK;
    return quantize_refuse(q, "quantize.nan", NULL, s->name,
                           "the model is damaged or its training diverged; exclude the layer to quantize the rest",
                           "the weights \"%.200s\" hold a NaN or an infinite number", s->name);
}

/* The bias of a node with what is to be added to it: an output channel each. NULL and PARE_OK: it has none. */
static pare_status bias_of(const writer *w, uint64_t index, float **out) {
    const quantize_apis *q = w->q;
    const heavy *h = &w->heavies[index];
    const float *shift = w->r->shift ? w->r->shift[index] : NULL;
    *out = NULL;
    if (!h->bias.node || (!h->bias.value && !shift)) return PARE_OK;
    float *bias = quantize_scratch(q, h->outputs, sizeof *bias);
    if (!bias) return PARE_ENOMEM;
    if (h->bias.value) {
        uint64_t count;
        const float *b = quantize_floats(q, quantize_constant(q, h->bias.value).tensor, &count);
        if (!b) return PARE_ENOMEM;
        for (uint32_t i = 0; i < h->outputs; i++) bias[i] = b[count == 1 ? 0 : i];
    }
    for (uint32_t i = 0; i < h->outputs; i++) {
        if (shift) bias[i] += shift[i];
        if (!isfinite(bias[i])) {
            const char *name = quantize_value(q, h->bias.value).name;
            return quantize_refuse(q, "quantize.nan", NULL, name, "the model is damaged or its training diverged",
                                   "the bias \"%.200s\" holds a NaN or an infinite number", name ? name : "");
        }
    }
    *out = bias;
    return PARE_OK;
}

static uint64_t scale_of(const seen *s, uint64_t output) {
    return s->shape.channels == 1 ? 0 : output % s->shape.channels; /* groups of a ConvTranspose share them */
}

/* Tiny and empty channels: no bias may leave int32, at the scale of any node that uses the weight. */
static void raise_scales(const writer *w, const seen *s, uint64_t index, const float *bias, uint64_t *raised) {
    const heavy *h = &w->heavies[index];
    const float x_scale = params_of(w, h->point)->scale;
    for (uint32_t i = 0; bias && i < h->outputs; i++) {
        float *scale = &s->scale[scale_of(s, i)];
        const float more = weights_raise(*scale, x_scale, bias[i]);
        *raised += more > *scale;
        *scale = more;
    }
}

/* The tensor becomes int8 where it is, so that its name, its place and its mask stay; or a new one where somebody else
 * goes on using it. */
static pare_status store(const writer *w, const seen *s, uint64_t users, bool *kept, uint32_t *value) {
    const quantize_apis *q = w->q;
    const pare_value_info v = quantize_value(q, s->info.value);
    const bool mine = s->info.value && s->info.name[0] && s->info.n_uses <= users &&
                      !(v.kind & (PARE_VALUE_OUTPUT | PARE_VALUE_INPUT));
    uint32_t tensor = s->c.tensor;
    pare_status st;
    *kept = !mine && s->info.name[0] != 0;
    if (!mine) {
        char name[360];
        text(name, sizeof name, s->name, "_quantized");
        st = quantize_add(q, name, PARE_INT8, s->info.ndim, s->dims, s->quantized, &tensor, value);
        return st || !s->info.masked ? st : q->tensors->masked_set(q->host, q->model, tensor, 1);
    }
    if ((st = q->tensors->retype(q->host, q->model, tensor, PARE_INT8, s->info.ndim, s->dims))) return st;
    pare_view view = {.size = sizeof view};
    if ((st = q->tensors->borrow(q->host, q->model, tensor, PARE_OVERWRITE, &view))) return st;
    if (view.nbytes) memcpy((char *)view.data + view.byte_offset, s->quantized, view.nbytes);
    q->tensors->release(q->host, q->model, tensor);
    *value = s->info.value;
    return PARE_OK;
}

static pare_status dequantize(const writer *w, const char *base, uint32_t quantized, const float *scale, uint64_t n,
                              int32_t axis, uint32_t zero_dtype, uint32_t *out) {
    const quantize_apis *q = w->q;
    char name[360];
    uint32_t in[3] = {quantized, 0, 0}, node;
    const int64_t dims = (int64_t)n;
    const uint32_t ndim = axis >= 0;
    text(name, sizeof name, base, "_scale");
    pare_status st = quantize_add(q, name, PARE_FLOAT, ndim, &dims, scale, NULL, &in[1]);
    if (!st && zero_dtype) {
        const void *zeros = quantize_scratch(q, n, 4);
        if (!zeros) return PARE_ENOMEM;
        text(name, sizeof name, base, "_zero_point");
        st = quantize_add(q, name, zero_dtype, ndim, &dims, zeros, NULL, &in[2]);
    }
    text(name, sizeof name, base, "_dequantized");
    if (!st) st = quantize_node_add(q, "DequantizeLinear", NULL, in, zero_dtype ? 3 : 2, name, &node, out);
    if (!st && axis >= 0) quantize_set_int(q, node, "axis", axis);
    return st;
}

static pare_status quantize_bias(const writer *w, const seen *s, uint64_t index, const float *bias) {
    const quantize_apis *q = w->q;
    const heavy *h = &w->heavies[index];
    if (!bias) return PARE_OK;
    const bool whole = place_target_of(w->r->o->target)->bias_int32;
    const float *shift = w->r->shift ? w->r->shift[index] : NULL;
    if (!whole && !shift) return PARE_OK; /* it stays as it is */
    const int64_t dims = h->outputs;
    const float x_scale = params_of(w, h->point)->scale;
    char base[320], name[360];
    uint32_t in = 0, out = 0;
    pare_status st;
    if (h->bias.value)
        text(base, sizeof base, quantize_value(q, h->bias.value).name, "");
    else
        text(base, sizeof base, s->name, "_bias");
    if (!whole) {
        text(name, sizeof name, base, "_corrected");
        st = quantize_add(q, name, PARE_FLOAT, 1, &dims, bias, NULL, &in);
        return st ? st : q->graph->input_set(q->host, q->model, h->bias.node, h->bias.slot, in);
    }
    int32_t *rounded = quantize_scratch(q, h->outputs, sizeof *rounded);
    const bool one = s->shape.channels == 1;
    float *scale = quantize_scratch(q, h->outputs, sizeof *scale);
    if (!rounded || !scale) return PARE_ENOMEM;
    for (uint32_t i = 0; i < h->outputs; i++) {
        const float w_scale = s->scale[scale_of(s, i)];
        rounded[i] = weights_bias(bias[i], x_scale, w_scale);
        scale[i] = x_scale * w_scale;
    }
    text(name, sizeof name, base, "_quantized");
    st = quantize_add(q, name, PARE_INT32, 1, &dims, rounded, NULL, &in);
    if (!st) st = dequantize(w, base, in, scale, one ? 1 : h->outputs, one ? -1 : 0, 0, &out);
    return st ? st : q->graph->input_set(q->host, q->model, h->bias.node, h->bias.slot, out);
}

static pare_status quantize_choice_weight(writer *w, uint64_t choice) {
    const place_plan *plan = w->r->plan;
    const quantize_apis *q = w->q;
    emit_weight *result = &w->r->weights[choice];
    seen s = {0};
    uint64_t users = 0;
    uint32_t value = 0, out = 0;
    pare_status st = PARE_OK;
    float **bias = quantize_scratch(q, plan->n_nodes, sizeof *bias);
    if (!bias) return PARE_ENOMEM;
    for (uint64_t i = 0; i < plan->n_nodes; i++) {
        if (!w->heavies[i].node || plan->nodes[i].choice != (int32_t)choice) continue;
        const uint32_t taken = quantize_node(q, plan->nodes[i].id).in[1];
        if (!users && (st = see(w, choice, taken, &s))) return st;
        users++;
        if ((st = bias_of(w, i, &bias[i]))) return st;
        raise_scales(w, &s, i, bias[i], &result->raised);
    }
    if (!users) return PARE_OK;
    weights_quantize(s.data, &s.shape, w->r->bits[choice], s.scale, s.quantized);
    result->done = true;
    result->bits = w->r->bits[choice];
    result->sqnr = weights_sqnr(s.data, &s.shape, s.scale, s.quantized);
    result->may_saturate = weights_may_saturate(&s.shape, s.quantized);
    if ((st = store(w, &s, users, &result->kept, &value))) return st;
    if ((st = dequantize(w, s.name, value, s.scale, s.shape.channels, s.axis, PARE_INT8, &out))) return st;
    for (uint64_t i = 0; i < plan->n_nodes && !st; i++) {
        if (!w->heavies[i].node || plan->nodes[i].choice != (int32_t)choice) continue;
        st = q->graph->input_set(q->host, q->model, plan->nodes[i].id, 1, out);
        if (!st) st = quantize_bias(w, &s, i, bias[i]);
    }
    return st;
}

/* ---- the whole ---- */

static pare_status collect(writer *w) {
    const place_plan *plan = w->r->plan;
    for (uint64_t i = 0; i < plan->n_nodes; i++) {
        const place_node *node = &plan->nodes[i];
        if (node->kind != PLACE_HEAVY || !node->on || node->choice < 0) continue;
        const pare_node_info n = quantize_node(w->q, node->id);
        const pare_layer *l = &w->r->choices->at[node->choice].layer;
        const pare_tensor_info t = quantize_tensor(w->q, l->tensor);
        heavy *h = &w->heavies[i];
        const bool transposed = quantize_is(n.op_type, "ConvTranspose");
        *h = (heavy){.node = node->id, .x = n.in[0]};
        h->outputs = (uint32_t)t.dims[l->out_axis] * (transposed ? l->groups : 1);
        h->bias = place_bias_of(w->q, plan, i, h->outputs);
        h->point = point_of(plan, h->x);
        if (h->point == UINT32_MAX) return PARE_EINTERNAL;
    }
    return PARE_OK;
}

static bool make_room(writer *w) {
    uint64_t most = 1;
    for (uint64_t i = 0; i < w->r->choices->n; i++) {
        const uint64_t n = quantize_tensor(w->q, w->r->choices->at[i].layer.tensor).count;
        if (n > most) most = n;
    }
    if (most > SIZE_MAX / sizeof *w->data) return false;
    w->data = malloc((size_t)most * sizeof *w->data);
    w->quantized = malloc((size_t)most);
    return w->data && w->quantized;
}

pare_status emit_graph(const quantize_apis *q, const emit_request *r) {
    writer w = {.q = q, .r = r};
    w.heavies = quantize_scratch(q, r->plan->n_nodes, sizeof *w.heavies);
    w.scale = quantize_scratch(q, r->plan->n_points, sizeof *w.scale);
    w.zero = quantize_scratch(q, r->plan->n_points, sizeof *w.zero);
    if (!w.heavies || !w.scale || !w.zero) return PARE_ENOMEM;
    pare_status st = make_room(&w) ? collect(&w) : PARE_ENOMEM;
    for (uint32_t i = 0; i < r->plan->n_points && !st; i++) st = quantize_point(&w, i);
    for (uint64_t i = 0; i < r->plan->n_constants && !st; i++) st = quantize_operand(&w, &r->plan->constants[i]);
    for (uint64_t i = 0; i < r->choices->n && !st; i++) st = quantize_choice_weight(&w, i);
    free(w.data);
    free(w.quantized);
    if (!st) st = q->pass->run(q->host, q->model, "remove_dead", NULL);
    return st ? st : q->graph->infer(q->host, q->model);
}
