/* engine/steps_quant.c - nodes behind DequantizeLinear: asked for with the 8-bit numbers, and the float values only
 * when somebody wants them. See steps_parts.h.
 *
 * A DequantizeLinear is put off when its turn comes. Whoever takes its output in 8 bits never needs it; whoever needs
 * floats has it emitted then, or, where it is one of constants, computed now: a float kernel packs constants. Is not:
 * what may be asked for so (quant.c), choosing a kernel (steps_kernel.c). May use: steps_parts.h, quant.h, model.
 */
#include "engine/quant.h"
#include "engine/steps_parts.h"

#include "model/edit.h"

#include <math.h>
#include <string.h>

/* ---- putting off ---- */

bool pare_steps_put_off(pare_builder *b, const pare_node *n) {
    if (!pare_node_is(n, "DequantizeLinear") || n->n_out != 1 || !n->in[0] || !n->out[0]) return false;
    for (uint32_t i = 0; i < n->n_in; i++) /* a run may write over it meanwhile */
        if (n->in[i] && pare_variable_of(b->s, n->in[i])) return false;
    b->put_off[n->out[0]] = n->id;
    b->ready[n->out[0]] = 1;
    b->done[n->id] = 1;
    return true;
}

static bool all_constant(pare_builder *b, const pare_node *n) {
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(b->m, n->in[i]);
        if (v && !v->tensor) return false;
    }
    return true;
}

/* The value becomes a constant of this plan. PARE_ENOTFOUND: the host has no kernel that would compute it. */
static pare_status fold(pare_builder *b, const pare_node *n) {
    pare_value *v = pare_model_value(b->m, n->out[0]);
    pare_array *a = NULL;
    pare_status st = pare_engine_constant_of(b->s, b->m, n, b->d, &a);
    if (st) return st;
    const char *name = pare_name_fresh(b->m, PARE_MAIN_GRAPH, v->name);
    uint32_t t = pare_tensor_add_blob(b->m, PARE_MAIN_GRAPH, name, a->dtype, a->ndim, a->dims, a->blob);
    pare_array_unref(a);
    if (!t) return pare_fail(b->d, PARE_ENOMEM, "engine.memory", NULL, "no memory for the constant \"%s\"", v->name);
    v->tensor = t;
    return PARE_OK;
}

pare_status pare_steps_float(pare_builder *b, uint32_t value) {
    uint32_t id = value ? b->put_off[value] : 0, ignored;
    if (!id) return PARE_OK;
    static const pare_chain none;
    const pare_node *n = pare_model_node(b->m, id);
    b->put_off[value] = 0;
    pare_status st = all_constant(b, n) ? fold(b, n) : PARE_ENOTFOUND;
    return st == PARE_ENOTFOUND ? pare_steps_emit(b, n, &none, &ignored) : st;
}

/* ---- a node's inputs in 8 bits ---- */

/* The channel that output channels lie on in the weights; -1: none. */
static int32_t channel_axis(pare_builder *b, const pare_node *n) {
    if (pare_node_is(n, "Conv")) return 0;
    if (pare_node_is(n, "ConvTranspose")) return 1;
    if (pare_node_is(n, "Gemm")) return pare_node_attr_int(n, "transB", 0) ? 0 : 1;
    const pare_value *w = pare_model_value(b->m, n->in[1]);
    return w ? w->ndim - 1 : -1;
}

/* The bias's own numbers and their scale, 1 for float32 ones. NULL: not constant, or of another kind. */
static const void *bias_data(pare_builder *b, const pare_value *v, pare_quant *q, uint64_t *count) {
    const pare_node *p = pare_model_node(b->m, v->producer);
    const void *data = NULL;
    *q = (pare_quant){0};
    if (!v->tensor && p &&
        (!pare_node_is(p, "DequantizeLinear") || !pare_quant_read(&b->tmp, b->m, p, q) || q->dtype != PARE_INT32 ||
         q->zero_point))
        return NULL;
    const pare_value *from = q->value ? pare_model_value(b->m, q->value) : v;
    pare_tensor *t = from ? pare_model_tensor(b->m, from->tensor) : NULL;
    if (!t || (!q->value && t->dtype != PARE_FLOAT) || pare_tensor_read(t, NULL, &data)) return NULL;
    *count = t->count;
    return data;
}

/* int32 numbers of scale `scale` [n] that are this bias; false: too large for them. */
static bool requantize(const void *data, const pare_quant *q, const float *scale, uint64_t n, int32_t *to) {
    for (uint64_t i = 0; i < n; i++) {
        double s = q->value ? (double)q->scale[q->n == 1 ? 0 : i] : 1;
        double v = q->value ? (double)((const int32_t *)data)[i] * s : (double)((const float *)data)[i];
        v = nearbyint(v / (double)scale[i]);
        if (!(fabs(v) < 0x1p31)) return false;
        to[i] = (int32_t)v;
    }
    return true;
}

static bool fits(const pare_quant *q, const float *scale, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (!(fabsf(q->scale[q->n == 1 ? 0 : i] - scale[i]) <= 1e-6f * scale[i])) return false;
    return true;
}

/* A bias in int32 of scale x's times w's: the file's own where it is that already, else a constant of this plan. false:
 * the node can't be asked for in 8 bits. */
static bool bias_of(pare_builder *b, const pare_node *n, const pare_quant *x, const pare_quant *w, pare_quant *out) {
    const pare_value *v = pare_model_value(b->m, n->in[2]);
    uint64_t count = 0;
    pare_quant q;
    const void *data = v ? bias_data(b, v, &q, &count) : NULL;
    const pare_value *weights = pare_model_value(b->m, n->in[1]);
    int32_t axis = channel_axis(b, n);
    if (!data || !count || x->n != 1 || axis < 0 || axis >= weights->ndim || (w->n != 1 && w->axis != axis))
        return false;
    int64_t channels = weights->dims[axis].value;
    if (pare_node_is(n, "ConvTranspose")) channels *= pare_node_attr_int(n, "group", 1);
    if (v->ndim < 1 || v->dims[v->ndim - 1].value != channels || count != (uint64_t)channels) return false;
    float *scale = pare_arena_alloc(&b->tmp, (size_t)count * sizeof *scale);
    for (uint64_t i = 0; i < count; i++) scale[i] = x->scale[0] * w->scale[w->n == 1 ? 0 : i % w->n];
    *out = (pare_quant){.value = q.value, .dtype = PARE_INT32, .n = w->n == 1 ? 1 : count, .scale = scale};
    if (q.value && v->ndim == 1 && fits(&q, scale, count)) return true;
    if (!b->bias[n->id]) {
        const char *name = pare_name_fresh(b->m, PARE_MAIN_GRAPH, v->name);
        uint32_t t = pare_tensor_add(b->m, PARE_MAIN_GRAPH, name, PARE_INT32, 1, &channels), value = 0;
        void *to = NULL;
        if (!t || pare_tensor_overwrite(pare_model_tensor(b->m, t), NULL, &to) ||
            !requantize(data, &q, scale, count, to) ||
            !pare_map_get(&pare_model_graph(b->m, PARE_MAIN_GRAPH)->names, name, &value))
            return false;
        const pare_dim dim = {.value = channels};
        pare_value_type_set(b->m, value, PARE_INT32, 1, &dim);
        b->bias[n->id] = value;
        b->ready[value] = 1;
    }
    out->value = b->bias[n->id];
    return true;
}

bool pare_steps_quantized(pare_builder *b, const pare_node *n, pare_quant **out) {
    uint32_t slots = pare_quant_slots(n), bias = pare_quant_bias_slot(n);
    *out = NULL;
    if (!slots || !pare_quant_asks(b->m, n)) return false;
    pare_quant *q = pare_arena_alloc(&b->tmp, (n->n_in + 1) * sizeof *q);
    for (uint32_t i = 0; i < n->n_in; i++) {
        q[i] = (pare_quant){0};
        if (slots >> (i < 31 ? i : 31) & 1 && !pare_quant_of(&b->tmp, b->m, n->in[i], &q[i])) return false;
    }
    if (pare_node_is(n, "Gemm") &&
        (pare_node_attr_float(n, "alpha", 1) != 1 || pare_node_attr_float(n, "beta", 1) != 1))
        return false;
    if (bias && bias < n->n_in && n->in[bias] && !bias_of(b, n, &q[0], &q[1], &q[bias])) return false;
    *out = q;
    return true;
}

void pare_steps_operand_is(pare_builder *b, const pare_quant *q, pare_operand *o) {
    const pare_value *v = pare_model_value(b->m, q->value);
    pare_spec_operand(&b->tmp, v, o);
    o->scale = q->scale;
    o->zero_point = q->zero_point;
    o->n_scales = q->n;
    o->axis = q->n == 1 ? -1 : q->axis;
}

/* ---- chains ---- */

uint32_t pare_steps_float_posts(const pare_chain *c) {
    uint32_t n = 0;
    while (n < c->n && c->post[n].kind != PARE_POST_QUANTIZE) n++;
    return n;
}

uint32_t pare_steps_trimmed(const pare_chain *c, uint32_t n) {
    while (n && c->post[n - 1].kind == PARE_POST_DEQUANTIZE) n--;
    return n;
}
