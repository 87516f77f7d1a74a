/* quantize/float16_edit.c - float32 becomes float16 in the graph: constants, dtypes of values, and a Cast wherever one
 * side stays float32. See float16.h. */
#include "float16.h"

#include <stdio.h>
#include <stdlib.h>

typedef enum want { WANT_HALF, WANT_FLOAT, WANT_ANY } want;

typedef struct use {
    uint32_t node, slot;
    want want;
} use;

typedef struct editor {
    const quantize_apis *q;
    const float16_plan *plan;
    float16_result *out;
    use *uses; /* of the value in hand */
    uint64_t n_uses, room;
    uint64_t half, whole; /* of those */
    bool keep_io;
} editor;

static want wants(const editor *e, uint32_t node, uint32_t slot) {
    const float16_node *n = float16_node_of(e->plan, node);
    const pare_node_info info = quantize_node(e->q, node);
    if (!n || info.graph != PARE_GRAPH_MAIN) return WANT_FLOAT; /* of a subgraph */
    if (!info.domain[0] && float16_slot_free(info.op_type, slot)) return WANT_ANY;
    if (n->kind != FLOAT16_HALF || float16_slot_kept(info.op_type, slot)) return WANT_FLOAT;
    return WANT_HALF;
}

static pare_status collect(editor *e, uint32_t value) {
    const quantize_apis *q = e->q;
    const uint64_t n = quantize_value(q, value).n_uses;
    e->n_uses = e->half = e->whole = 0;
    if (n > e->room) {
        e->uses = quantize_scratch(q, n + 16, sizeof *e->uses);
        e->room = e->uses ? n + 16 : 0;
        if (!e->uses) return PARE_ENOMEM;
    }
    for (; e->n_uses < n; e->n_uses++) {
        use *u = &e->uses[e->n_uses];
        if (q->graph->consumer(q->host, q->model, value, e->n_uses, &u->node, &u->slot)) break;
        u->want = wants(e, u->node, u->slot);
        e->half += u->want == WANT_HALF;
        e->whole += u->want == WANT_FLOAT;
    }
    return PARE_OK;
}

static pare_status point(const editor *e, want which, uint32_t value) {
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < e->n_uses && !st; i++)
        if (e->uses[i].want == which)
            st = e->q->graph->input_set(e->q->host, e->q->model, e->uses[i].node, e->uses[i].slot, value);
    return st;
}

static pare_status add_cast(editor *e, uint32_t value, uint32_t dtype, uint32_t *out) {
    const quantize_apis *q = e->q;
    char base[320], name[360], result[360];
    uint32_t node;
    (void)snprintf(base, sizeof base, "%.300s", quantize_value(q, value).name);
    (void)snprintf(name, sizeof name, "%s_Cast_%s", base, pare_dtype_name(dtype));
    (void)snprintf(result, sizeof result, "%s_%s", base, pare_dtype_name(dtype));
    const pare_status st = quantize_node_add(q, "Cast", name, &value, 1, result, &node, out);
    if (st) return st;
    quantize_set_int(q, node, "to", dtype);
    e->out->casts++;
    return q->graph->value_retype(q->host, q->model, *out, dtype);
}

/* A value that nodes or the caller make. `half`: it is float16 now. */
static pare_status convert_value(editor *e, uint32_t value, bool half) {
    const quantize_apis *q = e->q;
    const bool output = quantize_value(q, value).kind & PARE_VALUE_OUTPUT;
    const bool turned = output && half == e->keep_io; /* the output is to have the other dtype */
    uint32_t other = 0;
    pare_status st = collect(e, value);
    if (st) return st;
    if (!turned && !(half ? e->whole : e->half)) return PARE_OK;
    if ((st = add_cast(e, value, half ? PARE_FLOAT : PARE_FLOAT16, &other))) return st;
    if (!turned) return point(e, half ? WANT_FLOAT : WANT_HALF, other);
    const uint32_t cast = quantize_value(q, other).producer;
    if ((st = q->graph->replace_uses(q->host, q->model, value, other))) return st;
    st = q->graph->input_set(q->host, q->model, cast, 0, value);
    if (!st) st = point(e, half ? WANT_HALF : WANT_FLOAT, value);
    return st ? st : point(e, WANT_ANY, value);
}

/* ---- constants ---- */

static pare_status to_half(editor *e, uint32_t tensor, const char *name, uint16_t **out) {
    const quantize_apis *q = e->q;
    pare_view v = {.size = sizeof v};
    pare_status st = q->tensors->borrow(q->host, q->model, tensor, PARE_READ, &v);
    if (st) return st;
    *out = v.count > SIZE_MAX / 2 ? NULL : malloc((size_t)v.count * sizeof **out + 1);
    float16_loss loss = {0};
    if (*out)
        float16_convert((const float *)(const void *)((const char *)v.data + v.byte_offset), v.count, *out, &loss);
    if (*out && e->out->n < e->out->room) {
        float16_tensor *t = &e->out->tensors[e->out->n++];
        (void)snprintf(t->name, sizeof t->name, "%.300s", name);
        t->count = v.count;
        t->loss = loss;
    }
    q->tensors->release(q->host, q->model, tensor);
    return *out ? PARE_OK : PARE_ENOMEM;
}

static pare_status in_place(const editor *e, uint32_t tensor, const uint16_t *data) {
    const quantize_apis *q = e->q;
    const pare_tensor_info t = quantize_tensor(q, tensor);
    int64_t *dims = quantize_scratch(q, t.ndim, sizeof *dims);
    pare_view v = {.size = sizeof v};
    if (!dims) return PARE_ENOMEM;
    for (uint32_t i = 0; i < t.ndim; i++) dims[i] = t.dims[i];
    pare_status st = q->tensors->retype(q->host, q->model, tensor, PARE_FLOAT16, t.ndim, dims);
    if (!st) st = q->tensors->borrow(q->host, q->model, tensor, PARE_OVERWRITE, &v);
    if (st) return st;
    if (v.nbytes) memcpy((char *)v.data + v.byte_offset, data, v.nbytes);
    q->tensors->release(q->host, q->model, tensor);
    return PARE_OK;
}

/* A constant that float16 nodes take: it becomes float16 where nobody else takes it, else a copy does. */
static pare_status convert_constant(editor *e, uint32_t value, uint32_t tensor, bool initializer) {
    const quantize_apis *q = e->q;
    pare_status st = collect(e, value);
    if (st || !e->half) return st;
    const pare_value_info v = quantize_value(q, value);
    const pare_tensor_info t = quantize_tensor(q, tensor);
    char name[360];
    uint16_t *data;
    uint32_t copy;
    (void)snprintf(name, sizeof name, "%.300s", v.name);
    if ((st = to_half(e, tensor, name, &data))) return st;
    if (initializer && !e->whole && !(v.kind & PARE_VALUE_OUTPUT)) {
        st = in_place(e, tensor, data);
    } else {
        (void)snprintf(name, sizeof name, "%.300s_float16", v.name);
        st = quantize_add(q, name, PARE_FLOAT16, t.ndim, t.dims, data, NULL, &copy);
        if (!st) st = point(e, WANT_HALF, copy);
    }
    free(data);
    return st;
}

static pare_status constants(editor *e) {
    const quantize_apis *q = e->q;
    pare_status st = PARE_OK;
    uint32_t last = 0; /* copies come behind it */
    for (uint32_t id = q->tensors->next(q->host, q->model, 0); id; id = q->tensors->next(q->host, q->model, id))
        last = id;
    for (uint32_t id = q->tensors->next(q->host, q->model, 0); id && !st;
         id = q->tensors->next(q->host, q->model, id)) {
        const pare_tensor_info t = quantize_tensor(q, id);
        if (t.dtype == PARE_FLOAT && t.value) st = convert_constant(e, t.value, id, true);
        if (id == last) break;
    }
    for (uint64_t i = 0; i < e->plan->n && !st; i++) {
        const pare_node_info n = quantize_node(q, e->plan->nodes[i].id);
        if (n.domain[0] || !quantize_is(n.op_type, "Constant")) continue;
        const uint32_t tensor = quantize_constant(q, n.out[0]).tensor;
        if (quantize_tensor(q, tensor).dtype == PARE_FLOAT)
            st = convert_constant(e, n.out[0], tensor, false);
        else if (quantize_value(q, n.out[0]).dtype == PARE_FLOAT)
            st = convert_value(e, n.out[0], false); /* a number in an attribute */
    }
    return st;
}

/* ---- values ---- */

/* Dtypes as they were before anything was edited. */
static pare_status float_values(const editor *e, uint32_t **values, uint64_t *n_values) {
    const quantize_apis *q = e->q;
    uint64_t n = 0;
    for (uint64_t i = 0; i < e->plan->n; i++) n += quantize_node(q, e->plan->nodes[i].id).n_out;
    *values = quantize_scratch(q, n, sizeof **values);
    if (!*values) return PARE_ENOMEM;
    *n_values = 0;
    for (uint64_t i = 0; i < e->plan->n; i++) {
        const pare_node_info info = quantize_node(q, e->plan->nodes[i].id);
        if (quantize_is(info.op_type, "Constant") && !info.domain[0]) continue;
        for (uint32_t k = 0; k < info.n_out; k++)
            if (info.out[k] && quantize_value(q, info.out[k]).dtype == PARE_FLOAT)
                (*values)[(*n_values)++] = info.out[k];
    }
    return PARE_OK;
}

static bool made_half(const editor *e, uint32_t value) {
    const float16_node *n = float16_node_of(e->plan, quantize_value(e->q, value).producer);
    return n && n->kind == FLOAT16_HALF;
}

pare_status float16_edit(const quantize_apis *q, const float16_plan *plan, bool keep_io, float16_result *out) {
    editor e = {.q = q, .plan = plan, .out = out, .keep_io = keep_io};
    uint32_t *values, value;
    uint64_t n;
    *out = (float16_result){0};
    for (uint32_t id = q->tensors->next(q->host, q->model, 0); id; id = q->tensors->next(q->host, q->model, id))
        out->room++;
    out->room += plan->n;
    out->tensors = quantize_scratch(q, out->room, sizeof *out->tensors);
    if (!out->tensors) return PARE_ENOMEM;
    pare_status st = float_values(&e, &values, &n);
    for (uint64_t i = 0; i < n && !st; i++)
        if (made_half(&e, values[i])) st = q->graph->value_retype(q->host, q->model, values[i], PARE_FLOAT16);
    for (uint64_t i = 0; i < plan->n && !st; i++) {
        const pare_node_info info = quantize_node(q, plan->nodes[i].id);
        if (plan->nodes[i].kind == FLOAT16_HALF && quantize_is(info.op_type, "Cast") &&
            quantize_int(q, plan->nodes[i].id, "to", 0) == PARE_FLOAT)
            quantize_set_int(q, plan->nodes[i].id, "to", PARE_FLOAT16);
    }
    if (!st) st = constants(&e);
    for (uint32_t i = 0; !st && (value = q->graph->input(q->host, q->model, PARE_GRAPH_MAIN, i)); i++) {
        const pare_value_info v = quantize_value(q, value);
        if (v.tensor || v.dtype != PARE_FLOAT) continue;
        if (!keep_io) st = q->graph->value_retype(q->host, q->model, value, PARE_FLOAT16);
        if (!st && !(v.kind & PARE_VALUE_OUTPUT)) st = convert_value(&e, value, !keep_io);
    }
    for (uint64_t i = 0; i < n && !st; i++) st = convert_value(&e, values[i], made_half(&e, values[i]));
    if (!st) st = q->pass->run(q->host, q->model, "remove_dead", NULL);
    return st ? st : q->graph->infer(q->host, q->model);
}
