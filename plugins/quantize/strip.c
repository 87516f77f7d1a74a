/* quantize/strip.c - takes QuantizeLinear and DequantizeLinear out of a model. See prepare.h. */
#include "prepare.h"

#include <stdlib.h>

static pare_status refuse(const quantize_apis *q, const pare_node_info *n, const char *why) {
    quantize_say(q, PARE_ERROR, "quantize.strip", "requantize", n->name[0] ? n->name : n->label,
                 "begin with the float model", "the quantizers of this model can't be taken out: %s %s", n->label, why);
    return PARE_EUNSUPPORTED;
}

static int64_t whole(const pare_view *v, uint64_t i) {
    const char *data = (const char *)v->data + v->byte_offset;
    switch (v->dtype) {
    case PARE_INT8: return ((const int8_t *)(const void *)data)[i];
    case PARE_UINT8: return ((const uint8_t *)(const void *)data)[i];
    case PARE_INT32: return ((const int32_t *)(const void *)data)[i];
    default: return 0;
    }
}

/* Borrows up to three tensors and computes (q - zero) * scale; *out is malloc'ed. */
static pare_status numbers(const quantize_apis *q, const pare_node_info *n, const pare_constant *c, float **out) {
    const uint32_t ids[3] = {c->tensor, c->scale, c->zero_point};
    pare_view v[3] = {{.size = sizeof(pare_view)}, {.size = sizeof(pare_view)}, {.size = sizeof(pare_view)}};
    pare_status st = PARE_OK;
    uint32_t held = 0;
    *out = NULL;
    for (; held < 3 && ids[held] && !st; held += !st)
        st = q->tensors->borrow(q->host, q->model, ids[held], PARE_READ, &v[held]);
    if (st) goto out;
    const bool known = v[0].dtype == PARE_INT8 || v[0].dtype == PARE_UINT8 || v[0].dtype == PARE_INT32;
    if (!known || v[1].dtype != PARE_FLOAT || c->block_size) {
        st = refuse(q, n, "has a form that is not known here (4 bits, blocks or float16)");
        goto out;
    }
    uint64_t inner = 1, dim = 1;
    for (uint32_t i = c->axis < 0 ? 0 : (uint32_t)c->axis + 1; i < v[0].ndim; i++) inner *= (uint64_t)v[0].dims[i];
    if (c->axis >= 0) dim = (uint64_t)v[0].dims[c->axis];
    if (v[1].count != 1 && v[1].count != dim) {
        st = refuse(q, n, "has a scale that fits no axis");
        goto out;
    }
    *out = v[0].count > SIZE_MAX / sizeof **out ? NULL : malloc((size_t)v[0].count * sizeof **out + 1);
    if (!*out) st = PARE_ENOMEM;
    const float *scale = (const float *)(const void *)((const char *)v[1].data + v[1].byte_offset);
    for (uint64_t i = 0; !st && i < v[0].count; i++) {
        const uint64_t k = v[1].count == 1 ? 0 : i / inner % dim;
        (*out)[i] = (float)(whole(&v[0], i) - (ids[2] ? whole(&v[2], v[2].count == 1 ? 0 : k) : 0)) * scale[k];
    }
out:
    for (uint32_t i = 0; i < held; i++) q->tensors->release(q->host, q->model, ids[i]);
    return st;
}

/* DequantizeLinear of a constant: the constant becomes float32, in place where nobody else takes it. */
static pare_status strip_constant(const quantize_apis *q, uint32_t node, const pare_node_info *n) {
    const uint32_t out = n->out[0];
    const pare_constant c = quantize_constant(q, out);
    const pare_value_info in = quantize_value(q, n->in[0]);
    float *data;
    if (!c.tensor || !c.scale || in.tensor != c.tensor)
        return refuse(q, n, "takes neither a constant nor QuantizeLinear");
    pare_status st = numbers(q, n, &c, &data);
    if (st) return st;
    const pare_tensor_info t = quantize_tensor(q, c.tensor);
    uint32_t value = 0;
    if (in.n_uses == 1 && !(in.kind & (PARE_VALUE_INPUT | PARE_VALUE_OUTPUT))) {
        pare_view v = {.size = sizeof v};
        int64_t dims[8];
        if (t.ndim > 8) st = PARE_EUNSUPPORTED;
        for (uint32_t i = 0; i < t.ndim && !st; i++) dims[i] = t.dims[i];
        if (!st) st = q->tensors->retype(q->host, q->model, c.tensor, PARE_FLOAT, t.ndim, dims);
        if (!st) st = q->tensors->borrow(q->host, q->model, c.tensor, PARE_OVERWRITE, &v);
        if (!st) {
            if (v.nbytes) memcpy((char *)v.data + v.byte_offset, data, v.nbytes);
            q->tensors->release(q->host, q->model, c.tensor);
        }
        value = n->in[0];
    } else {
        st = quantize_add(q, quantize_value(q, out).name, PARE_FLOAT, t.ndim, t.dims, data, NULL, &value);
    }
    free(data);
    if (!st) st = q->graph->replace_uses(q->host, q->model, out, value);
    return st ? st : q->graph->node_del(q->host, q->model, node);
}

pare_status prepare_strip(const quantize_apis *q) {
    uint64_t changed;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info n = quantize_node(q, id);
        pare_status st = PARE_OK;
        if (quantize_is(n.op_type, "DequantizeLinear")) {
            const pare_node_info from = quantize_node(q, quantize_value(q, n.in[0]).producer);
            if (quantize_is(from.op_type, "QuantizeLinear"))
                st = q->graph->replace_uses(q->host, q->model, n.out[0], from.in[0]);
            else
                st = strip_constant(q, id, &n);
        } else if (!n.domain[0] && !quantize_is(n.op_type, "QuantizeLinear")) {
            if (strncmp(n.op_type, "QLinear", 7) == 0 || quantize_is(n.op_type, "DynamicQuantizeLinear") ||
                quantize_is(n.op_type, "ConvInteger") || quantize_is(n.op_type, "MatMulInteger"))
                st = refuse(q, &n, "is no QuantizeLinear or DequantizeLinear");
        }
        if (st) return st;
    }
    return q->pass->run(q->host, q->model, "remove_dead", &changed);
}
