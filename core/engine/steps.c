/* engine/steps.c - from a bound model to steps: kernels chosen, layouts settled, reorders and copies put in. See
 * parts.h.
 *
 * A value may lie in several places at once (a variant each): host memory or a device's, plain or in a layout of a
 * device's own. A consumer asks for the variant it wants; it is made once and kept for the next. Is not: folding
 * (fold.c), what fuses (fuse.c), where buffers lie (layout.c). May use: parts.h, model.
 */
#include "engine/parts.h"

#include "model/ops.h"

#include <stdlib.h>
#include <string.h>

typedef struct variant {
    uint32_t buffer;
    uint32_t device; /* where it can be read; with `host`, by every device in host memory */
    bool host;
    pare_layout layout;
} variant;

typedef struct place {
    PARE_VEC(variant) at;
} place;

typedef struct builder {
    pare_session *s;
    pare_model *m;
    pare_plan *p;
    pare_diags *d;
    pare_arena tmp;
    place *places;        /* [value id] */
    unsigned char *taken; /* [node id]: done, or promised to a fused node */
    unsigned char *ready; /* [value id]: it has been made, or is there from the start */
    uint32_t *waiting;    /* [node id]: the node that is emitted when this one's turn comes, 0: none */
} builder;

/* ---- buffers ---- */

static pare_status new_buffer(builder *b, pare_buffer_kind kind, uint32_t device, uint64_t nbytes, uint32_t *out) {
    if (nbytes > UINT64_MAX / 8)
        return pare_fail(b->d, PARE_ENOMEM, "engine.memory", "use a smaller batch",
                         "a tensor of this run takes more bytes than can be counted");
    *out = (uint32_t)b->p->buffers.len;
    pare_buffer n = {.kind = kind, .device = device, .nbytes = nbytes, .root = *out};
    pare_vec_push(&b->p->buffers, n);
    return PARE_OK;
}

static void add_variant(builder *b, uint32_t value, uint32_t buffer, uint32_t device, bool host, pare_layout layout) {
    variant v = {buffer, device, host, layout};
    pare_vec_push(&b->places[value].at, v);
}

static bool same_layout(const pare_layout *a, const pare_layout *b) {
    return a->kind == b->kind && (a->kind != PARE_LAYOUT_OWN || a->id == b->id);
}

static variant *find(builder *b, uint32_t value, uint32_t device, const pare_layout *want) {
    place *p = &b->places[value];
    bool on_host = pare_engine_on_host(b->s, device);
    for (size_t i = 0; i < p->at.len; i++) {
        variant *v = &p->at.data[i];
        bool reach = v->device == device || (v->host && on_host && v->layout.kind == PARE_LAYOUT_PLAIN);
        if (reach && (!want || same_layout(&v->layout, want))) return v;
    }
    return NULL;
}

/* ---- steps ---- */

static pare_step *new_step(builder *b, pare_step_kind kind, uint32_t device, uint32_t n_in, uint32_t n_out) {
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

static void keep_kernel(builder *b, void *kernel, uint32_t device) {
    pare_plan *p = b->p;
    if (p->n_kernels == p->kernels_cap)
        p->kernels = pare_vec_grow_(p->kernels, &p->kernels_cap, p->n_kernels + 1, sizeof *p->kernels);
    p->kernels[p->n_kernels].kernel = kernel;
    p->kernels[p->n_kernels++].device = device;
}

static const char *layout_text(pare_arena *a, const pare_layout *l) {
    if (l->kind != PARE_LAYOUT_OWN) return "plain";
    return pare_arena_printf(a, "own:%llx", (unsigned long long)l->id);
}

static uint32_t new_row(builder *b, const char *node, const char *op, const char *kernel, const pare_layout *layout,
                        uint32_t device, uint32_t dtype, int64_t macs) {
    pare_arena *a = &b->p->memory;
    pare_profile_node r = {.node = pare_arena_strdup(a, node),
                           .op_type = pare_arena_strdup(a, op),
                           .kernel = pare_arena_strdup(a, kernel ? kernel : ""),
                           .layout = layout_text(a, layout),
                           .device = b->s->devices[device].use.backend->id,
                           .dtype = pare_dtype_name(dtype),
                           .macs = macs};
    pare_vec_push(&b->p->rows, r);
    return (uint32_t)b->p->rows.len - 1;
}

/* ---- variants on demand ---- */

static pare_status constant_on(builder *b, const pare_value *v, uint32_t device, uint32_t *out) {
    pare_tensor *t = pare_model_tensor(b->m, v->tensor), *own = pare_model_tensor(b->s->model, v->tensor);
    const void *data;
    bool mine = own && own->version == t->version;
    if (mine) t = own; /* a misaligned one is copied once, not in every plan */
    pare_status st = pare_tensor_read(t, b->d, &data);
    uint64_t nbytes = t->blob ? t->blob->len : 0;
    if (!st) st = new_buffer(b, PARE_BUFFER_CONSTANT, device, nbytes, out);
    if (st) return st;
    pare_buffer *x = &b->p->buffers.data[*out];
    x->blob = t->blob ? pare_blob_ref(t->blob) : NULL;
    x->tensor = mine ? t->id : 0;
    x->version = t->version;
    x->layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = nbytes};
    return PARE_OK;
}

static uint64_t plain_bytes(const pare_value *v) {
    uint64_t count = 1, bytes = 0;
    for (int32_t i = 0; i < v->ndim; i++)
        if (!pare_mul_ok(count, (uint64_t)v->dims[i].value, &count)) return UINT64_MAX;
    return pare_dtype_nbytes(v->dtype, count, &bytes) ? bytes : UINT64_MAX;
}

/* Plain, in host memory: from a device by a copy. */
static pare_status plain_on(builder *b, const pare_value *v, uint32_t device, variant *out);

static pare_status reorder(builder *b, const pare_value *v, const variant *from, uint32_t device,
                           const pare_layout *want, variant *out) {
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
    if (!st) keep_kernel(b, kernel, device);
    if (!st) st = dev->use.backend->kernel_info(kernel, &info);
    if (st)
        return pare_fail(b->d, st, "engine.reorder", NULL, "backend \"%s\" can't bring \"%s\" from layout %s to %s: %s",
                         dev->use.backend->id, v->name, layout_text(&b->tmp, &from->layout), layout_text(&b->tmp, want),
                         pare_status_text(st));
    uint64_t nbytes = want->kind == PARE_LAYOUT_PLAIN ? plain_bytes(v) : want->nbytes;
    *out = (variant){.device = device, .host = false, .layout = *want};
    out->host = want->kind == PARE_LAYOUT_PLAIN && pare_engine_on_host(b->s, device);
    st = new_buffer(b, PARE_BUFFER_ARENA, device, nbytes, &out->buffer);
    if (st) return st;
    pare_step *step = new_step(b, PARE_STEP_RUN, device, 1, 1);
    step->kernel = kernel;
    step->in[0] = (int32_t)from->buffer;
    step->out[0] = (int32_t)out->buffer;
    step->scratch = info.scratch;
    step->row = new_row(b, v->name, "Reorder", info.name, want, device, v->dtype, 0);
    pare_vec_push(&b->places[v->id].at, *out);
    return PARE_OK;
}

/* From another device, plain to plain. */
static pare_status cross(builder *b, const pare_value *v, uint32_t device, variant *out) {
    uint32_t other = device ^ 1u;
    variant from = {0};
    const variant *raw = NULL; /* an array or a constant, which no device has to hand over */
    for (size_t i = 0; i < b->places[v->id].at.len; i++)
        if (b->p->buffers.data[b->places[v->id].at.data[i].buffer].kind == PARE_BUFFER_INPUT)
            raw = &b->places[v->id].at.data[i];
    if (raw) {
        from = *raw;
    } else {
        pare_status st = plain_on(b, v, other, &from);
        if (st) return st;
        new_step(b, PARE_STEP_SYNC, other, 0, 0);
    }
    bool here = pare_engine_on_host(b->s, device);
    *out = (variant){.device = device, .host = here};
    if (here && from.host) { /* both in host memory: only waiting was needed */
        out->buffer = from.buffer;
        pare_vec_push(&b->places[v->id].at, *out);
        return PARE_OK;
    }
    pare_status st = new_buffer(b, PARE_BUFFER_ARENA, device, plain_bytes(v), &out->buffer);
    if (st) return st;
    uint32_t copier = here ? other : device;
    pare_step *step = new_step(b, here ? PARE_STEP_TO_HOST : PARE_STEP_TO_DEVICE, copier, 1, 1);
    step->in[0] = (int32_t)from.buffer;
    step->out[0] = (int32_t)out->buffer;
    if (!raw || here) new_step(b, PARE_STEP_SYNC, copier, 0, 0); /* memory on the host side may be used again */
    pare_vec_push(&b->places[v->id].at, *out);
    return PARE_OK;
}

static pare_status plain_on(builder *b, const pare_value *v, uint32_t device, variant *out) {
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN};
    const variant *have = find(b, v->id, device, &plain);
    if (have) {
        *out = *have;
        return PARE_OK;
    }
    if (v->tensor) {
        *out = (variant){.device = device, .host = pare_engine_on_host(b->s, device)};
        pare_status st = constant_on(b, v, device, &out->buffer);
        if (st) return st;
        b->p->buffers.data[out->buffer].on_host = out->host;
        pare_vec_push(&b->places[v->id].at, *out);
        return PARE_OK;
    }
    have = find(b, v->id, device, NULL);
    if (!have) return cross(b, v, device, out);
    variant from = *have; /* the list may move */
    return reorder(b, v, &from, device, &plain, out);
}

static pare_status want_on(builder *b, const pare_value *v, uint32_t device, const pare_layout *want, variant *out) {
    const variant *have = find(b, v->id, device, want);
    if (have) {
        *out = *have;
        return PARE_OK;
    }
    if (want->kind != PARE_LAYOUT_OWN) return plain_on(b, v, device, out);
    have = find(b, v->id, device, NULL);
    variant from;
    if (have) {
        from = *have;
    } else {
        pare_status st = plain_on(b, v, device, &from);
        if (st) return st;
    }
    return reorder(b, v, &from, device, want, out);
}

/* ---- kernels ---- */

/* A node with what fuses behind it, as asked of one device. */
typedef struct request {
    const pare_node *node;
    pare_spec spec;
    const pare_chain *chain;
    uint32_t n_post, n_in; /* post-ops asked for; inputs with their operands */
    uint32_t *values;      /* [n_in]: value ids */
    void *kernel;
    pare_kernel_info info;
} request;

static bool is_heavy(const pare_node *n) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return true;
    return false;
}

/* What the node's own inputs are padded to before operands of post-ops: no operand may look like a bias. */
static uint32_t full_inputs(const pare_node *n) {
    bool three = pare_node_is(n, "Conv") || pare_node_is(n, "ConvTranspose") || pare_node_is(n, "Gemm");
    return three && n->n_in < 3 ? 3 : n->n_in;
}

static pare_status operand_of(builder *b, request *r, uint32_t i, uint32_t device, bool plain) {
    const pare_value *v = pare_model_value(b->m, r->values[i]);
    pare_operand *o = &r->spec.operands[i];
    if (!v) return PARE_OK;
    if (i >= r->node->n_in) pare_spec_operand(&b->tmp, v, o);
    bool host = i < r->node->n_in && pare_spec_host_slot(r->node, i);
    if (v->tensor) {
        pare_tensor *t = pare_model_tensor(b->m, v->tensor), *own = pare_model_tensor(b->s->model, v->tensor);
        if (own && own->version == t->version) t = own;
        o->flags |= host ? PARE_OPERAND_HOST : PARE_OPERAND_CONSTANT;
        return pare_tensor_read(t, b->d, &o->data);
    }
    if (host)
        return pare_fail(
            b->d, PARE_EUNSUPPORTED, "engine.data-dependent", NULL,
            "%s node \"%s\": its input \"%s\" decides shapes, but depends on data that no input alone gives",
            r->node->op_type, pare_engine_node_name(b->m, r->node), v->name);
    if (plain) return PARE_OK;
    const variant *have = find(b, v->id, device, NULL);
    if (is_heavy(r->node))
        o->layout.kind = PARE_LAYOUT_ANY;
    else if (have)
        o->layout = have->layout;
    if (o->layout.kind == PARE_LAYOUT_PLAIN) o->layout.nbytes = plain_bytes(v);
    return PARE_OK;
}

static pare_status ask(builder *b, const pare_node *n, const pare_chain *chain, uint32_t n_post, uint32_t device,
                       bool plain, request *r) {
    const pare_engine_device *dev = &b->s->devices[device];
    uint32_t own = n->n_in, extra = 0;
    *r = (request){.node = n, .chain = chain, .n_post = n_post, .info = {.size = sizeof r->info}};
    for (uint32_t i = 0; i < n_post; i++) extra += chain->operand[i] != 0;
    if (extra) own = full_inputs(n);
    r->n_in = own + extra;
    pare_status st = pare_spec_of(&b->tmp, b->m, n, r->n_in - n->n_in, b->d, &r->spec);
    if (st) return st;
    r->values = pare_arena_alloc(&b->tmp, (r->n_in + 1) * sizeof *r->values);
    memcpy(r->values, n->in, n->n_in * sizeof *r->values);
    pare_post_op *post = pare_arena_alloc(&b->tmp, (n_post + 1) * sizeof *post);
    const pare_post_op **list = pare_arena_alloc(&b->tmp, (n_post + 1) * sizeof *list);
    for (uint32_t i = 0, at = own; i < n_post; i++) {
        post[i] = chain->post[i];
        list[i] = &post[i];
        if (!chain->operand[i]) continue;
        r->values[at] = chain->operand[i];
        post[i].operand = at++;
    }
    r->spec.k.post = list;
    r->spec.k.n_post = n_post;
    for (uint32_t i = 0; !st && i < r->n_in; i++) st = operand_of(b, r, i, device, plain);
    if (st) return st;
    for (uint32_t i = 0; i < n->n_out; i++) {
        pare_operand *o = &r->spec.operands[r->n_in + i];
        const pare_value *v = pare_model_value(b->m, n->out[i]);
        if (v && i && !v->uses.len && !v->is_output) o->flags |= PARE_OPERAND_ABSENT; /* nobody asks for it */
        if (!plain) o->layout.kind = PARE_LAYOUT_ANY;
    }
    st = dev->use.backend->kernel(dev->handle, &r->spec.k, 0, &r->kernel);
    if (!st && (st = dev->use.backend->kernel_info(r->kernel, &r->info))) {
        dev->use.backend->kernel_free(r->kernel);
        r->kernel = NULL;
    }
    return st;
}

/* The best there is: with all post-ops the kernel takes, else plain and alone. */
static pare_status choose_on(builder *b, const pare_node *n, const pare_chain *chain, uint32_t device, request *r) {
    const pare_backend *be = b->s->devices[device].use.backend;
    uint32_t want = chain->n;
    pare_status st = ask(b, n, chain, want, device, false, r);
    while (!st && r->info.n_post < want) { /* again, with those alone that it takes */
        want = r->info.n_post;
        be->kernel_free(r->kernel);
        st = ask(b, n, chain, want, device, false, r);
    }
    if (st == PARE_EUNSUPPORTED && want) st = ask(b, n, chain, 0, device, false, r);
    if (st == PARE_EUNSUPPORTED) st = ask(b, n, chain, 0, device, true, r);
    return st;
}

static pare_status refuse(builder *b, const pare_node *n) {
    pare_sb in = {0};
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(b->m, n->in[i]);
        pare_sb_printf(&in, "%s%s", i ? ", " : "", v ? pare_value_text(&b->tmp, v) : "absent");
    }
    pare_status st =
        pare_fail(b->d, PARE_EUNSUPPORTED, "engine.op", NULL, "no backend has a kernel for %s%s%s (node \"%s\") of %s",
                  n->domain, n->domain[0] ? "." : "", n->op_type, pare_engine_node_name(b->m, n), pare_sb_str(&in));
    pare_sb_free(&in);
    return st;
}

static size_t errors(const builder *b) { return b->d ? pare_diags_errors(b->d) : 0; }

static pare_status choose(builder *b, const pare_node *n, const pare_chain *chain, request *r, uint32_t *device) {
    size_t before = errors(b);
    for (*device = 0; *device < b->s->n_devices; ++*device) {
        pare_status st = choose_on(b, n, chain, *device, r);
        if (!st) {
            keep_kernel(b, r->kernel, *device);
            return PARE_OK;
        }
        if (errors(b) > before) return st;
        if (st != PARE_EUNSUPPORTED)
            return pare_fail(b->d, st, "engine.kernel", NULL, "%s node \"%s\": no kernel on \"%s\": %s", n->op_type,
                             pare_engine_node_name(b->m, n), b->s->devices[*device].use.backend->id,
                             pare_status_text(st));
    }
    return refuse(b, n);
}

/* ---- emitting ---- */

static pare_status input_of(builder *b, request *r, uint32_t i, uint32_t device, int32_t *out) {
    const pare_value *v = pare_model_value(b->m, r->values[i]);
    const pare_operand *o = &r->spec.operands[i];
    uint64_t pack = r->info.pack ? r->info.pack[i] : 0;
    variant at;
    *out = -1;
    if (!v || (o->flags & PARE_OPERAND_ABSENT)) return PARE_OK;
    if ((o->flags & PARE_OPERAND_HOST) || ((o->flags & PARE_OPERAND_CONSTANT) && pack)) {
        uint32_t buffer;
        pare_status st = constant_on(b, v, device, &buffer);
        if (st) return st;
        pare_buffer *x = &b->p->buffers.data[buffer];
        if (o->flags & PARE_OPERAND_HOST) {
            x->on_host = true;
        } else {
            x->layout = r->info.in[i];
            x->layout.nbytes = pack;
            x->packer = r->kernel;
            x->slot = i;
        }
        *out = (int32_t)buffer;
        return PARE_OK;
    }
    pare_status st = want_on(b, v, device, &r->info.in[i], &at);
    if (!st) *out = (int32_t)at.buffer;
    return st;
}

/* An output's buffer; a view shares that of in[0]. */
static pare_status output_of(builder *b, request *r, uint32_t i, uint32_t device, uint32_t value, int32_t *in,
                             int32_t *out) {
    const pare_value *v = pare_model_value(b->m, value);
    pare_layout layout = r->info.out[i];
    uint64_t nbytes = layout.kind == PARE_LAYOUT_OWN ? layout.nbytes : plain_bytes(v);
    uint32_t buffer;
    bool view = r->info.view && i == 0 && r->n_in && in[0] >= 0;
    if (layout.kind != PARE_LAYOUT_OWN) layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = nbytes};
    if (view && nbytes > b->p->buffers.data[in[0]].nbytes)
        return pare_fail(b->d, PARE_EINVAL, "engine.shape", NULL, "%s node \"%s\" makes more elements than it takes",
                         r->node->op_type, pare_engine_node_name(b->m, r->node));
    pare_status st = new_buffer(b, view ? b->p->buffers.data[in[0]].kind : PARE_BUFFER_ARENA, device, nbytes, &buffer);
    if (st) return st;
    if (view) b->p->buffers.data[buffer].root = (uint32_t)in[0];
    add_variant(b, value, buffer, device, layout.kind == PARE_LAYOUT_PLAIN && pare_engine_on_host(b->s, device),
                layout);
    b->ready[value] = 1;
    *out = (int32_t)buffer;
    return PARE_OK;
}

static int64_t macs_of(builder *b, const pare_node *n) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    return !op ? -1 : op->macs ? op->macs(b->m, n) : 0;
}

static pare_status emit(builder *b, const pare_node *n, const pare_chain *chain, uint32_t *n_post) {
    request r;
    uint32_t device;
    *n_post = 0;
    for (uint32_t i = 0; i < n->n_in + n->n_out; i++) {
        const pare_value *v = pare_model_value(b->m, i < n->n_in ? n->in[i] : n->out[i - n->n_in]);
        if (v && !pare_value_known(v) && (v->uses.len || v->is_output))
            return pare_fail(b->d, PARE_EUNSUPPORTED, "engine.shape", NULL,
                             "%s%s%s node \"%s\": the shape of \"%s\" is not known before it runs (%s)", n->domain,
                             n->domain[0] ? "." : "", n->op_type, pare_engine_node_name(b->m, n), v->name,
                             pare_value_text(&b->tmp, v));
    }
    pare_status st = choose(b, n, chain, &r, &device);
    if (st) return st;
    int32_t *in = pare_arena_alloc(&b->tmp, (r.n_in + 1) * sizeof *in);
    for (uint32_t i = 0; !st && i < r.n_in; i++) st = input_of(b, &r, i, device, &in[i]);
    int32_t *out = pare_arena_alloc(&b->tmp, (n->n_out + 1) * sizeof *out);
    uint64_t bytes = 0;
    for (uint32_t i = 0; !st && i < n->n_out; i++) {
        out[i] = -1;
        if (!n->out[i] || (r.spec.operands[r.n_in + i].flags & PARE_OPERAND_ABSENT)) continue;
        st = output_of(b, &r, i, device, i || !r.n_post ? n->out[i] : chain->out[r.n_post - 1], in, &out[i]);
        if (!st) bytes += b->p->buffers.data[out[i]].nbytes;
    }
    *n_post = r.n_post;
    bool view = r.info.view && n->n_out && out[0] >= 0 && r.n_in && in[0] >= 0;
    if (st || view || !bytes) return st; /* a view runs nothing, and nothing is made of nothing */
    pare_step *step = new_step(b, PARE_STEP_RUN, device, r.n_in, n->n_out);
    memcpy(step->in, in, r.n_in * sizeof *in);
    memcpy(step->out, out, n->n_out * sizeof *out);
    step->kernel = r.kernel;
    step->scratch = r.info.scratch;
    step->in_place = r.info.in_place;
    if (r.info.in_place >= 0 && (uint32_t)r.info.in_place < r.n_in &&
        !same_layout(&r.info.in[r.info.in_place], &r.info.out[0]))
        step->in_place = -1;
    const pare_value *v = pare_model_value(b->m, n->out[0]);
    uint32_t row = new_row(b, pare_engine_node_name(b->m, n), n->op_type, r.info.name, &r.info.out[0], device,
                           v ? v->dtype : 0, macs_of(b, n));
    b->p->steps.data[b->p->steps.len - 1].row = row;
    return PARE_OK;
}

/* Where the last operand comes that isn't made yet: the node can be emitted there. 0: now. */
static uint32_t wait_for(builder *b, const pare_chain *chain) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < chain->n; i++)
        if (chain->operand[i] && !b->ready[chain->operand[i]])
            at = chain->nodes[i][1] ? chain->nodes[i][1] : chain->nodes[i][0];
    return at;
}

static void chain_take(builder *b, const pare_chain *chain, uint32_t from, unsigned char mark) {
    for (uint32_t i = from; i < chain->n; i++)
        for (uint32_t k = 0; k < 2; k++)
            if (chain->nodes[i][k]) b->taken[chain->nodes[i][k]] = mark;
}

static pare_status emit_chain(builder *b, const pare_node *n, const pare_chain *chain, bool all) {
    static const pare_chain none;
    uint32_t done;
    pare_status st = emit(b, n, chain, &done);
    if (st) return st;
    chain_take(b, chain, 0, 1);
    if (!all) { /* what the kernel did not take comes in its turn */
        chain_take(b, chain, done, 0);
        return PARE_OK;
    }
    for (uint32_t i = done; !st && i < chain->n; i++) /* their turn has passed */
        for (uint32_t k = 0; !st && k < 2; k++) {
            uint32_t id = chain->nodes[i][1 - k]; /* a pair runs second first: Sigmoid, then Mul */
            uint32_t ignored;
            if (id) st = emit(b, pare_model_node(b->m, id), &none, &ignored);
        }
    return st;
}

typedef struct deferred {
    uint32_t node;
    pare_chain chain;
} deferred;

static pare_status walk(builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    PARE_VEC(deferred) late = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; !st && i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(b->m, g->nodes.data[i]);
        if ((i & 255) == 255 && pare_cancelled()) st = PARE_ECANCELLED;
        if (st) break;
        if (b->waiting[n->id]) {
            deferred *w = &late.data[b->waiting[n->id] - 1];
            st = emit_chain(b, pare_model_node(b->m, w->node), &w->chain, true);
            continue;
        }
        if (b->taken[n->id]) continue;
        deferred f = {.node = n->id};
        pare_chain_find(b->m, n, b->taken, &f.chain);
        uint32_t at = wait_for(b, &f.chain);
        if (at && !is_heavy(n)) { /* only what is worth it waits */
            uint32_t k = 0;
            while (k < f.chain.n && (!f.chain.operand[k] || b->ready[f.chain.operand[k]])) k++;
            f.chain.n = k;
            at = 0;
        }
        if (!at) {
            st = emit_chain(b, n, &f.chain, false);
            continue;
        }
        chain_take(b, &f.chain, 0, 1);
        pare_vec_push(&late, f);
        b->waiting[at] = (uint32_t)late.len;
    }
    pare_vec_free(&late);
    return st;
}

/* ---- what goes in and out ---- */

static pare_status inputs(builder *b) {
    for (uint32_t i = 0; i < b->s->input_values.len; i++) {
        const pare_value *v = pare_model_value(b->m, b->s->input_values.data[i]);
        uint32_t buffer;
        if (v->tensor) continue; /* a constant of this plan */
        pare_status st = new_buffer(b, PARE_BUFFER_INPUT, 0, plain_bytes(v), &buffer);
        if (st) return st;
        b->p->buffers.data[buffer].input = i;
        /* host memory, which the host device reads; the main one too where its memory is the host's */
        add_variant(b, v->id, buffer, pare_engine_on_host(b->s, 0) ? 0 : pare_engine_host_device(b->s), true,
                    (pare_layout){.kind = PARE_LAYOUT_PLAIN});
    }
    for (size_t i = 0; i < b->m->values.len; i++) {
        const pare_value *v = b->m->values.data[i];
        if (v && (v->tensor || v->is_input)) b->ready[v->id] = 1;
    }
    return PARE_OK;
}

static int32_t input_index(const pare_session *s, uint32_t value) {
    for (size_t i = 0; i < s->input_values.len; i++)
        if (s->input_values.data[i] == value) return (int32_t)i;
    return -1;
}

static pare_status outputs(builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->outputs.len; i++) {
        const pare_value *v = pare_model_value(b->m, g->outputs.data[i]);
        if (!pare_value_known(v))
            return pare_fail(b->d, PARE_EUNSUPPORTED, "engine.shape", NULL,
                             "the shape of the output \"%s\" is not known before it is computed", v->name);
        pare_plan_output o = {.buffer = -1, .input = -1, .dtype = v->dtype, .ndim = (uint32_t)v->ndim};
        for (int32_t k = 0; k < v->ndim; k++) o.dims[k] = v->dims[k].value;
        o.nbytes = plain_bytes(v);
        if (v->tensor) {
            pare_tensor *t = pare_model_tensor(b->m, v->tensor);
            const void *data;
            pare_status st = pare_tensor_read(t, b->d, &data);
            if (st) return st;
            o.blob = t->blob ? pare_blob_ref(t->blob) : NULL;
        } else if (v->is_input) {
            o.input = input_index(b->s, v->id);
        } else {
            variant at;
            const variant *have = find(b, v->id, 0, NULL);
            uint32_t device = have ? 0 : pare_engine_host_device(b->s);
            pare_status st = plain_on(b, v, device, &at);
            if (st) return st;
            o.buffer = (int32_t)at.buffer;
            o.host = pare_engine_on_host(b->s, device);
        }
        pare_vec_push(&b->p->outputs, o);
    }
    return PARE_OK;
}

pare_status pare_plan_steps(pare_session *s, pare_model *m, pare_plan *p, pare_diags *d) {
    builder b = {.s = s, .m = m, .p = p, .d = d};
    b.places = pare_xcalloc(m->values.len + 1, sizeof *b.places);
    b.ready = pare_xcalloc(m->values.len + 1, 1);
    b.taken = pare_xcalloc(m->nodes.len + 1, 1);
    b.waiting = pare_xcalloc(m->nodes.len + 1, sizeof *b.waiting);
    size_t n_values = m->values.len;
    pare_status st = inputs(&b);
    if (!st) st = walk(&b);
    if (!st) st = outputs(&b);
    for (size_t i = 0; i <= n_values; i++) pare_vec_free(&b.places[i].at);
    free(b.places);
    free(b.ready);
    free(b.taken);
    free(b.waiting);
    pare_arena_free(&b.tmp);
    return st;
}
