/* engine/steps_variant.c - where values lie while steps are made, and bringing them elsewhere. See steps_parts.h.
 *
 * A consumer asks for the variant it wants; it is made once, by a reorder or a copy, and kept for the next. May use:
 * steps_parts.h, model.
 */
#include "engine/steps_parts.h"

#include <string.h>

/* ---- buffers ---- */

pare_status pare_steps_buffer(pare_builder *b, pare_buffer_kind kind, uint32_t device, uint64_t nbytes, uint32_t *out) {
    if (nbytes > UINT64_MAX / 8)
        return pare_fail(b->d, PARE_ENOMEM, "engine.memory", "use a smaller batch",
                         "a tensor of this run takes more bytes than can be counted");
    *out = (uint32_t)b->p->buffers.len;
    pare_buffer n = {.kind = kind, .device = device, .nbytes = nbytes, .root = *out};
    pare_vec_push(&b->p->buffers, n);
    return PARE_OK;
}

void pare_steps_add(pare_builder *b, uint32_t value, uint32_t buffer, uint32_t device, bool host, pare_layout layout) {
    pare_variant v = {buffer, device, host, layout};
    pare_vec_push(&b->places[value].at, v);
}

bool pare_steps_same(const pare_layout *a, const pare_layout *b) {
    return a->kind == b->kind && (a->kind != PARE_LAYOUT_OWN || a->id == b->id);
}

pare_variant *pare_steps_find(pare_builder *b, uint32_t value, uint32_t device, const pare_layout *want) {
    pare_place *p = &b->places[value];
    bool on_host = pare_engine_on_host(b->s, device);
    for (size_t i = 0; i < p->at.len; i++) {
        pare_variant *v = &p->at.data[i];
        bool reach = v->device == device || (v->host && on_host && v->layout.kind == PARE_LAYOUT_PLAIN);
        if (reach && (!want || pare_steps_same(&v->layout, want))) return v;
    }
    return NULL;
}

/* ---- steps ---- */

pare_step *pare_steps_step(pare_builder *b, pare_step_kind kind, uint32_t device, uint32_t n_in, uint32_t n_out) {
    pare_arena *a = &b->p->memory;
    pare_step s = {.kind = kind, .device = device, .n_in = n_in, .n_out = n_out, .in_place = -1, .row = UINT32_MAX};
    s.in = pare_arena_alloc(a, (n_in + 1) * sizeof *s.in);
    s.out = pare_arena_alloc(a, (n_out + 1) * sizeof *s.out);
    s.in_at = pare_arena_alloc(a, (n_in + 1) * sizeof *s.in_at);
    s.out_at = pare_arena_alloc(a, (n_out + 1) * sizeof *s.out_at);
    for (uint32_t i = 0; i < n_in; i++) s.in[i] = -1;
    for (uint32_t i = 0; i < n_out; i++) s.out[i] = -1;
    pare_vec_push(&b->p->steps, s);
    return &b->p->steps.data[b->p->steps.len - 1];
}

void pare_steps_keep(pare_builder *b, void *kernel, uint32_t device) {
    pare_plan *p = b->p;
    if (p->n_kernels == p->kernels_cap)
        p->kernels = pare_vec_grow_(p->kernels, &p->kernels_cap, p->n_kernels + 1, sizeof *p->kernels);
    p->kernels[p->n_kernels].kernel = kernel;
    p->kernels[p->n_kernels++].device = device;
}

const char *pare_steps_layout_text(pare_arena *a, const pare_engine_device *dev, const pare_layout *l) {
    if (l->kind != PARE_LAYOUT_OWN) return "plain";
    const pare_backend *be = dev->use.backend;
    const char *name = PARE_HAS(pare_backend, be, layout_name) ? be->layout_name(dev->handle, l->id) : NULL;
    if (name && *name) return pare_arena_strdup(a, name);
    return pare_arena_printf(a, "own:%llx", (unsigned long long)l->id);
}

uint32_t pare_steps_row(pare_builder *b, const char *node, const char *op, const char *kernel,
                        const pare_layout *layout, uint32_t device, uint32_t dtype, int64_t macs) {
    pare_arena *a = &b->p->memory;
    pare_profile_node r = {.node = pare_arena_strdup(a, node),
                           .op_type = pare_arena_strdup(a, op),
                           .kernel = pare_arena_strdup(a, kernel ? kernel : ""),
                           .layout = pare_steps_layout_text(a, &b->s->devices[device], layout),
                           .device = b->s->devices[device].use.backend->id,
                           .dtype = pare_dtype_name(dtype),
                           .macs = macs};
    pare_vec_push(&b->p->rows, r);
    return (uint32_t)b->p->rows.len - 1;
}

/* ---- variants on demand ---- */

pare_status pare_steps_constant(pare_builder *b, const pare_value *v, uint32_t device, uint32_t *out) {
    pare_tensor *t = pare_model_tensor(b->m, v->tensor), *own = pare_model_tensor(b->s->model, v->tensor);
    const void *data;
    bool mine = own && own->version == t->version;
    if (mine) t = own; /* what is read in place is made and aligned once, not in every plan: see device.c */
    pare_status st = mine ? PARE_OK : pare_tensor_read(t, b->d, &data);
    uint64_t nbytes = t->blob ? t->blob->len : 0;
    if (!st) st = pare_steps_buffer(b, PARE_BUFFER_CONSTANT, device, nbytes, out);
    if (st) return st;
    pare_buffer *x = &b->p->buffers.data[*out];
    x->blob = t->blob ? pare_blob_ref(t->blob) : NULL;
    x->tensor = mine ? t->id : 0;
    x->version = t->version;
    x->layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = nbytes};
    return PARE_OK;
}

uint64_t pare_steps_plain_bytes(const pare_value *v) {
    uint64_t count = 1, bytes = 0;
    for (int32_t i = 0; i < v->ndim; i++)
        if (!pare_mul_ok(count, (uint64_t)v->dims[i].value, &count)) return UINT64_MAX;
    return pare_dtype_nbytes(v->dtype, count, &bytes) ? bytes : UINT64_MAX;
}

static pare_status reorder(pare_builder *b, const pare_value *v, const pare_variant *from, uint32_t device,
                           const pare_layout *want, pare_variant *out) {
    const pare_engine_device *dev = &b->s->devices[device];
    pare_operand in, to;
    pare_spec_operand(&b->tmp, v, &in);
    to = in;
    in.layout = from->layout;
    to.layout = *want;
    const pare_operand *ins[] = {&in}, *outs[] = {&to};
    pare_kernel_spec spec = {.size = sizeof spec,
                             .op_type = "Reorder",
                             .domain = "ai.pare",
                             .version = 1,
                             .node = v->name,
                             .in = ins,
                             .out = outs,
                             .n_in = 1,
                             .n_out = 1};
    void *kernel = NULL;
    pare_kernel_info info = {.size = sizeof info};
    pare_status st = dev->use.backend->kernel(dev->handle, &spec, 0, &kernel);
    if (!st) pare_steps_keep(b, kernel, device);
    if (!st) st = dev->use.backend->kernel_info(kernel, &info);
    if (st)
        return pare_fail(b->d, st, "engine.reorder", NULL, "backend \"%s\" can't bring \"%s\" from layout %s to %s: %s",
                         dev->use.backend->id, v->name, pare_steps_layout_text(&b->tmp, dev, &from->layout),
                         pare_steps_layout_text(&b->tmp, dev, want), pare_status_text(st));
    uint64_t nbytes = want->kind == PARE_LAYOUT_PLAIN ? pare_steps_plain_bytes(v) : want->nbytes;
    *out = (pare_variant){.device = device, .host = false, .layout = *want};
    out->host = want->kind == PARE_LAYOUT_PLAIN && pare_engine_on_host(b->s, device);
    st = pare_steps_buffer(b, PARE_BUFFER_ARENA, device, nbytes, &out->buffer);
    if (st) return st;
    pare_step *step = pare_steps_step(b, PARE_STEP_RUN, device, 1, 1);
    step->kernel = kernel;
    step->in[0] = (int32_t)from->buffer;
    step->out[0] = (int32_t)out->buffer;
    step->scratch = info.scratch;
    step->row = pare_steps_row(b, v->name, "Reorder", info.name, want, device, v->dtype, 0);
    pare_vec_push(&b->places[v->id].at, *out);
    return PARE_OK;
}

/* From another device, plain to plain. */
static pare_status cross(pare_builder *b, const pare_value *v, uint32_t device, pare_variant *out) {
    uint32_t other = device ^ 1u;
    pare_variant from = {0};
    const pare_variant *raw = NULL; /* an array or a constant, which no device has to hand over */
    for (size_t i = 0; i < b->places[v->id].at.len; i++)
        if (b->p->buffers.data[b->places[v->id].at.data[i].buffer].kind == PARE_BUFFER_INPUT)
            raw = &b->places[v->id].at.data[i];
    if (raw) {
        from = *raw;
    } else {
        pare_status st = pare_steps_plain(b, v, other, &from);
        if (st) return st;
        pare_steps_step(b, PARE_STEP_SYNC, other, 0, 0);
    }
    bool here = pare_engine_on_host(b->s, device);
    *out = (pare_variant){.device = device, .host = here};
    if (here && from.host) { /* both in host memory: only waiting was needed */
        out->buffer = from.buffer;
        pare_vec_push(&b->places[v->id].at, *out);
        return PARE_OK;
    }
    pare_status st = pare_steps_buffer(b, PARE_BUFFER_ARENA, device, pare_steps_plain_bytes(v), &out->buffer);
    if (st) return st;
    uint32_t copier = here ? other : device;
    pare_step *step = pare_steps_step(b, here ? PARE_STEP_TO_HOST : PARE_STEP_TO_DEVICE, copier, 1, 1);
    step->in[0] = (int32_t)from.buffer;
    step->out[0] = (int32_t)out->buffer;
    if (!raw || here) pare_steps_step(b, PARE_STEP_SYNC, copier, 0, 0); /* memory on the host side may be used again */
    pare_vec_push(&b->places[v->id].at, *out);
    return PARE_OK;
}

pare_status pare_steps_plain(pare_builder *b, const pare_value *v, uint32_t device, pare_variant *out) {
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN};
    const pare_variant *have = pare_steps_find(b, v->id, device, &plain);
    if (have) {
        *out = *have;
        return PARE_OK;
    }
    if (v->tensor) {
        *out = (pare_variant){.device = device, .host = pare_engine_on_host(b->s, device)};
        pare_status st = pare_steps_constant(b, v, device, &out->buffer);
        if (st) return st;
        b->p->buffers.data[out->buffer].on_host = out->host;
        pare_vec_push(&b->places[v->id].at, *out);
        return PARE_OK;
    }
    have = pare_steps_find(b, v->id, device, NULL);
    if (!have) return cross(b, v, device, out);
    pare_variant from = *have; /* the list may move */
    return reorder(b, v, &from, device, &plain, out);
}

pare_status pare_steps_want(pare_builder *b, const pare_value *v, uint32_t device, const pare_layout *want,
                            pare_variant *out) {
    const pare_variant *have = pare_steps_find(b, v->id, device, want);
    if (have) {
        *out = *have;
        return PARE_OK;
    }
    if (want->kind != PARE_LAYOUT_OWN) return pare_steps_plain(b, v, device, out);
    have = pare_steps_find(b, v->id, device, NULL);
    pare_variant from;
    if (have) {
        from = *have;
    } else {
        pare_status st = pare_steps_plain(b, v, device, &from);
        if (st) return st;
    }
    return reorder(b, v, &from, device, want, out);
}
