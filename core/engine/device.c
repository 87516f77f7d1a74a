/* engine/device.c - a session's devices, their arenas and the constants on them. See parts.h.
 *
 * Is not: what runs there (plan.c). May use: parts.h.
 */
#include "engine/steps_parts.h"

#include <stdlib.h>
#include <string.h>

static pare_status device_open(pare_engine_device *dev, const pare_engine_backend *use, const pare_session_opts *opts,
                               uint32_t index, uint32_t threads, pare_diags *d) {
    pare_device_opts o = {.size = sizeof o, .index = index, .threads = threads, .memory = opts->memory};
    dev->use = *use;
    pare_status st = use->backend->open(use->host, &o, &dev->handle);
    if (!st) return PARE_OK;
    dev->handle = NULL;
    return pare_fail(d, st, "engine.device", NULL, "device %u of backend \"%s\" can't be opened: %s", index,
                     use->backend->id, pare_status_text(st));
}

pare_status pare_engine_devices_open(pare_session *s, const pare_session_opts *opts, pare_diags *d) {
    const pare_engine_backend *host = &opts->host_backend;
    if (!opts->backend.backend || !host->backend || !host->backend->host_memory)
        return pare_fail(d, PARE_EINVAL, "engine.backend", NULL,
                         "a session needs a backend, and a host backend whose memory is the host's");
    s->n_devices = 0;
    pare_status st = device_open(&s->devices[0], &opts->backend, opts, opts->device, s->threads, d);
    if (st) return st;
    s->n_devices = 1;
    if (host->backend == opts->backend.backend) return PARE_OK;
    st = device_open(&s->devices[1], host, opts, 0, s->threads, d);
    if (!st) s->n_devices = 2;
    return st;
}

void pare_engine_devices_close(pare_session *s) {
    for (uint32_t i = 0; i < s->n_devices; i++) {
        pare_engine_device *dev = &s->devices[i];
        if (dev->arena) dev->use.backend->free(dev->handle, dev->arena);
        dev->use.backend->close(dev->handle);
    }
    s->n_devices = 0;
}

/* Drops the plan that was used longest ago, but never `keep`. false: there is none. */
static bool drop_plan(pare_session *s, const pare_plan *keep) {
    size_t at = s->n_plans;
    for (size_t i = 0; i < s->n_plans; i++)
        if (s->plans[i] != keep && (at == s->n_plans || s->plans[i]->used < s->plans[at]->used)) at = i;
    if (at == s->n_plans) return false;
    if (s->latest == s->plans[at]) s->latest = NULL;
    pare_plan_free(s, s->plans[at]);
    s->plans[at] = s->plans[--s->n_plans];
    return true;
}

pare_status pare_engine_alloc(pare_session *s, uint32_t device, uint64_t bytes, void **out) {
    const pare_engine_device *dev = &s->devices[device];
    return dev->use.backend->alloc(dev->handle, bytes ? bytes : 1, out);
}

/* ---- arenas ---- */

static pare_status no_memory(pare_session *s, const pare_plan *p, uint32_t device, uint64_t bytes, const char *what,
                             pare_status st, pare_diags *d) {
    pare_sb b = {0}, have = {0};
    pare_sb_bytes(&b, bytes);
    pare_sb_bytes(&have, s->devices[device].constant_bytes);
    if (p->batch > 1)
        st = pare_fail(d, st, "engine.memory", "use a smaller batch, or give the session more memory",
                       "device \"%s\" has no memory for %s of %s at batch %lld (constants take %s)",
                       s->devices[device].use.backend->id, what, pare_sb_str(&b), (long long)p->batch,
                       pare_sb_str(&have));
    else
        st = pare_fail(d, st, "engine.memory", "give the session more memory, or use another device",
                       "device \"%s\" has no memory for %s of %s (constants take %s)",
                       s->devices[device].use.backend->id, what, pare_sb_str(&b), pare_sb_str(&have));
    pare_sb_free(&b);
    pare_sb_free(&have);
    return st;
}

enum { ASK_FROM = 64 << 20 }; /* bytes; less is not worth asking the machine */

/* What a run needs beside the device's memory: inputs that are not there yet, and outputs. */
static uint64_t outside(const pare_plan *p) {
    uint64_t sum = 0;
    for (size_t i = 0; p->unfed && i < p->buffers.len; i++)
        if (p->buffers.data[i].kind == PARE_BUFFER_INPUT && p->buffers.data[i].root == i)
            sum +=
                p->buffers.data[i].nbytes; /* at most 2^61 each: see steps.c; a sum that wraps is beyond all memory */
    for (size_t i = 0; i < p->outputs.len; i++) sum += p->outputs.data[i].nbytes;
    return sum;
}

/* Rounded up: what --memory takes. */
static unsigned long long mib(uint64_t grows, uint64_t constants) {
    uint64_t sum;
    if (!pare_add_ok(grows, constants, &sum)) sum = UINT64_MAX;
    return (sum >> 20) + (sum % (1 << 20) != 0);
}

/* Says what is needed, what there is, and what would fit. grows: with the batch; least: it is only known to be no
 * less. */
static pare_status too_much(pare_session *s, const pare_plan *p, uint32_t device, uint64_t grows, uint64_t constants,
                            uint64_t limit, bool cap, bool least, pare_diags *d) {
    pare_sb need = {0}, have = {0}, hint = {0};
    pare_sb_bytes(&need, grows);
    pare_sb_add(&need, " for activations");
    if (constants) pare_sb_add(&need, " and "), pare_sb_bytes(&need, constants), pare_sb_add(&need, " for constants");
    pare_sb_bytes(&have, limit);
    uint64_t each = p->batch > 1 ? (grows + (uint64_t)p->batch - 1) / (uint64_t)p->batch : grows;
    uint64_t would = limit > constants && each ? (limit - constants) / each : 0;
    if (would && p->batch > 1)
        pare_sb_printf(&hint, least ? "a batch of about %llu fits at most" : "a batch of about %llu fits",
                       (unsigned long long)would);
    else if (cap)
        pare_sb_printf(&hint,
                       least ? "give it more than %llu MiB: --memory %llu" : "%llu MiB are enough: --memory %llu",
                       mib(grows, constants), least ? 2 * mib(grows, constants) : mib(grows, constants));
    else
        pare_sb_printf(&hint, least ? "more than %llu MiB are needed" : "%llu MiB are enough", mib(grows, constants));
    pare_status st = pare_fail(
        d, PARE_ENOMEM, "engine.memory", pare_sb_str(&hint), "a run on \"%s\"%s%.0lld needs %s%s, but %s %s%s",
        s->devices[device].use.backend->id, p->batch > 1 ? " at batch " : "", (long long)(p->batch > 1 ? p->batch : 0),
        least ? "at least " : "", pare_sb_str(&need), cap ? "memory is capped at" : "this machine has",
        pare_sb_str(&have), cap ? "" : " free");
    pare_sb_free(&need);
    pare_sb_free(&have);
    pare_sb_free(&hint);
    return st;
}

/* What the machine gives, less what it needs itself to go on. */
static uint64_t machine_room(const pare_engine_device *dev) {
    uint64_t room = pare_memory_available();
    if (room == UINT64_MAX || !pare_add_ok(room - room / 16, dev->arena_bytes, &room)) return UINT64_MAX;
    return room; /* the old arena goes before the new one comes */
}

/* Before anything is allocated: does it fit under the cap, and into the machine? */
static pare_status fits(pare_session *s, const pare_plan *p, uint32_t device, uint64_t arena, pare_diags *d) {
    const pare_engine_device *dev = &s->devices[device];
    uint64_t constants = p->constants[device], total;
    if (!pare_add_ok(arena, constants, &total)) total = UINT64_MAX;
    if (s->memory && total > s->memory) return too_much(s, p, device, arena, constants, s->memory, true, false, d);
    if (p->used || !pare_engine_on_host(s, device)) return PARE_OK; /* it has run */
    constants -= constants < dev->constant_bytes ? constants : dev->constant_bytes;
    uint64_t grows = arena;
    if (!pare_add_ok(grows, outside(p), &grows)) grows = UINT64_MAX / 2;
    if (!pare_add_ok(grows, constants, &total)) total = UINT64_MAX;
    if (total < ASK_FROM) return PARE_OK;
    uint64_t more = machine_room(dev);
    return total <= more ? PARE_OK : too_much(s, p, device, grows, constants, more, false, false, d);
}

/* The tensors that a heavy node reads and writes, which lie side by side; the graph's inputs are not the arena's. */
static uint64_t node_bytes(const pare_model *m, const pare_node *n) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    bool heavy = false;
    uint64_t sum = 0;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) heavy = heavy || pare_node_is(n, ops[k]);
    if (!heavy || !n->n_in || !n->n_out) return 0;
    const pare_value *x = pare_model_value(m, n->in[0]), *y = pare_model_value(m, n->out[0]);
    if (y && pare_value_known(y)) sum = pare_steps_plain_bytes(y);
    if (x && !x->is_input && !x->tensor && pare_value_known(x) && !pare_add_ok(sum, pare_steps_plain_bytes(x), &sum))
        return UINT64_MAX;
    return sum;
}

pare_status pare_engine_inputs_fit(pare_session *s, pare_array *const *in, pare_diags *d) {
    uint64_t sum = 0, room;
    int64_t batch = s->inputs.len && in[0] && in[0]->ndim ? in[0]->dims[0] : 0;
    for (size_t i = 0; i < s->inputs.len; i++)
        if (in[i] && !in[i]->blob && !pare_add_ok(sum, in[i]->nbytes, &sum)) sum = UINT64_MAX;
    if (sum < ASK_FROM || sum <= (room = machine_room(&s->devices[0]))) return PARE_OK;
    pare_sb need = {0}, have = {0}, hint = {0};
    pare_sb_bytes(&need, sum);
    pare_sb_bytes(&have, room);
    if (batch > 1)
        pare_sb_printf(&hint, "a batch of about %llu fits by its inputs; activations take their share, too",
                       (unsigned long long)(room / (sum / (uint64_t)batch + 1)));
    pare_status st = pare_fail(d, PARE_ENOMEM, "engine.memory", batch > 1 ? pare_sb_str(&hint) : NULL,
                               "the inputs of batch %lld alone take %s, but this machine has %s free", (long long)batch,
                               pare_sb_str(&need), pare_sb_str(&have));
    pare_sb_free(&need);
    pare_sb_free(&have);
    pare_sb_free(&hint);
    return st;
}

/* Bytes of the model's constants as they are in the file. */
static uint64_t weights_of(const pare_model *m) {
    uint64_t sum = 0;
    for (size_t i = 0; i < m->tensors.len; i++) {
        const pare_tensor *t = m->tensors.data[i];
        if (t && t->blob && !pare_add_ok(sum, t->blob->len, &sum)) return UINT64_MAX;
    }
    return sum;
}

pare_status pare_engine_fits_ahead(pare_session *s, pare_model *m, const pare_plan *p, pare_diags *d) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    uint64_t most = 0, grows;
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        uint64_t bytes = node_bytes(m, n);
        /* floats around a rounding point need not come to be */
        if (pare_node_is(n, "QuantizeLinear") || pare_node_is(n, "DequantizeLinear") || pare_quant_asks(m, n))
            bytes /= 4;
        if (bytes > most) most = bytes;
    }
    if (s->memory && most > s->memory) return too_much(s, p, 0, most, weights_of(m), s->memory, true, true, d);
    grows = most;
    for (size_t i = 0; p->unfed && i < s->input_values.len; i++) {
        const pare_value *v = pare_model_value(m, s->input_values.data[i]);
        if (pare_value_known(v) && !pare_add_ok(grows, pare_steps_plain_bytes(v), &grows)) grows = UINT64_MAX;
    }
    if (grows < ASK_FROM || !pare_engine_on_host(s, 0)) return PARE_OK;
    uint64_t room = machine_room(&s->devices[0]);
    return grows <= room ? PARE_OK : too_much(s, p, 0, grows, 0, room, false, true, d);
}

pare_status pare_engine_arenas(pare_session *s, const pare_plan *p, pare_diags *d) {
    for (uint32_t i = 0; i < s->n_devices; i++) {
        pare_engine_device *dev = &s->devices[i];
        uint64_t bytes = p->arena[i];
        pare_status st = fits(s, p, i, bytes, d);
        if (st) return st;
        if (dev->arena_bytes >= bytes && (dev->arena || !bytes)) continue;
        if (dev->arena) dev->use.backend->free(dev->handle, dev->arena);
        dev->arena = NULL;
        dev->arena_bytes = 0;
        while ((st = pare_engine_alloc(s, i, bytes, &dev->arena)) == PARE_ENOMEM && drop_plan(s, p)) {
        }
        if (st) {
            dev->arena = NULL;
            return no_memory(s, p, i, bytes, "an arena", st, d);
        }
        dev->arena_bytes = bytes;
        if (pare_engine_on_host(s, i)) pare_memory_huge(dev->arena, bytes);
    }
    return PARE_OK;
}

/* ---- constants ---- */

static bool same(const pare_engine_constant *x, const pare_buffer *b) {
    return x->tensor == b->tensor && x->device == b->device && x->version == b->version &&
           x->layout.kind == b->layout.kind && x->layout.id == b->layout.id && x->layout.nbytes == b->layout.nbytes;
}

static void *find(const pare_engine_constants *c, const pare_buffer *b) {
    for (size_t i = 0; i < c->len; i++)
        if (same(&c->data[i], b)) return c->data[i].memory;
    return NULL;
}

static const char nothing[PARE_ENGINE_ALIGN] __attribute__((aligned(64))); /* where empty constants lie */

/* Constants that are made at one time lie in one block: large enough for huge pages, which small tensors never are. */
typedef struct block {
    char *at;
    uint64_t used, bytes;
} block;

typedef struct maker {
    pare_session *s;
    pare_plan *p;
    pare_diags *d;
    block blocks[2][2];  /* [device][shared] */
    void *temp;          /* contents on their way to a kernel's layout, one tensor's at a time */
    uint64_t temp_bytes; /* of the largest */
} maker;

/* Of the session's own model, in a layout that says all: other plans may use it. */
static bool shared(const pare_buffer *b) { return b->tensor && (!b->packer || b->layout.kind == PARE_LAYOUT_OWN); }
static bool is_constant(const pare_plan *p, size_t i) {
    return p->buffers.data[i].kind == PARE_BUFFER_CONSTANT && p->buffers.data[i].root == i;
}
static uint64_t room(uint64_t nbytes) { return nbytes / PARE_ENGINE_ALIGN * PARE_ENGINE_ALIGN + PARE_ENGINE_ALIGN; }

static bool aligned(const pare_blob *b) { return !b->maker && (uintptr_t)b->data % PARE_ENGINE_ALIGN == 0; }

/* What is read where it lies has to lie somewhere, and aligned. */
static pare_status in_place(maker *m, pare_buffer *b) {
    pare_tensor *t = pare_model_tensor(m->s->model, b->tensor);
    const void *data;
    if (b->blob && !aligned(b->blob) && t) {
        pare_status st = pare_tensor_read(t, m->d, &data);
        if (st) return st;
        pare_blob_unref(b->blob);
        b->blob = pare_blob_ref(t->blob);
    }
    b->at = b->blob ? b->blob->data : (void *)(uintptr_t)nothing;
    return PARE_OK;
}

static pare_status contents(maker *m, const pare_buffer *b, const void **out) {
    *out = b->blob ? b->blob->data : (const unsigned char *)nothing;
    if (!b->blob || aligned(b->blob)) return PARE_OK;
    if (!m->temp) {
        m->temp = pare_try_alloc((size_t)m->temp_bytes);
        if (!m->temp)
            return pare_fail(m->d, PARE_ENOMEM, "engine.memory", NULL, "no memory to bring a constant to \"%s\"",
                             m->s->devices[b->device].use.backend->id);
        pare_memory_huge(m->temp, (size_t)m->temp_bytes);
    }
    pare_blob_copy(b->blob, m->temp);
    *out = m->temp;
    return PARE_OK;
}

static pare_status make_one(maker *m, pare_buffer *b) {
    pare_session *s = m->s;
    pare_engine_device *dev = &s->devices[b->device];
    block *in = &m->blocks[b->device][shared(b)];
    const void *src;
    if (b->on_host) return in_place(m, b);
    if (shared(b) && (b->at = find(&s->constants, b))) return PARE_OK;
    void *memory = in->at + in->used;
    pare_status st = contents(m, b, &src);
    if (st) return st;
    if (b->packer)
        st = dev->use.backend->pack(b->packer, b->slot, src, memory);
    else if (b->nbytes && b->blob)
        st = dev->use.backend->copy(dev->handle, memory, src, b->nbytes, PARE_COPY_TO_DEVICE);
    if (!st && src == m->temp) st = dev->use.backend->sync(dev->handle); /* the next one needs it */
    if (st)
        return pare_fail(m->d, st, "engine.pack", NULL, "a constant can't be brought to \"%s\": %s",
                         dev->use.backend->id, pare_status_text(st));
    if (b->blob && src != m->temp && dev->use.backend->host_memory) pare_blob_done(b->blob);
    in->used += room(b->layout.nbytes);
    pare_engine_constant c = {b->tensor, b->device, b->version, b->layout, memory, NULL};
    if (shared(b))
        pare_vec_push(&s->constants, c);
    else
        pare_vec_push(&m->p->own, c);
    dev->constant_bytes += b->layout.nbytes;
    b->at = memory;
    return PARE_OK;
}

/* What is still to be made, each once. */
static void measure(maker *m) {
    pare_engine_constants seen = {0};
    for (size_t i = 0; i < m->p->buffers.len; i++) {
        const pare_buffer *b = &m->p->buffers.data[i];
        if (!is_constant(m->p, i) || b->on_host) continue;
        if (shared(b)) {
            if (find(&m->s->constants, b) || find(&seen, b)) continue;
            pare_engine_constant c = {b->tensor, b->device, b->version, b->layout, (void *)(uintptr_t)nothing, NULL};
            pare_vec_push(&seen, c);
        }
        m->blocks[b->device][shared(b)].bytes += room(b->layout.nbytes);
        if (b->blob && !aligned(b->blob) && b->blob->len > m->temp_bytes) m->temp_bytes = b->blob->len;
    }
    pare_vec_free(&seen);
}

static pare_status reserve(maker *m, uint32_t device, bool is_shared) {
    block *b = &m->blocks[device][is_shared];
    void *memory = NULL;
    pare_status st;
    if (!b->bytes) return PARE_OK;
    while ((st = pare_engine_alloc(m->s, device, b->bytes, &memory)) == PARE_ENOMEM && drop_plan(m->s, m->p)) {
    }
    if (st) return no_memory(m->s, m->p, device, b->bytes, "constants", st, m->d);
    b->at = memory;
    pare_engine_constant holder = {.device = device, .memory = memory, .block = memory};
    if (is_shared)
        pare_vec_push(&m->s->constants, holder);
    else
        pare_vec_push(&m->p->own, holder);
    return PARE_OK;
}

pare_status pare_engine_constants_make(pare_session *s, pare_plan *p, pare_diags *d) {
    maker m = {.s = s, .p = p, .d = d};
    pare_status st = PARE_OK;
    measure(&m);
    for (uint32_t i = 0; !st && i < s->n_devices; i++) {
        st = reserve(&m, i, true);
        if (!st) st = reserve(&m, i, false);
    }
    for (size_t i = 0; !st && i < p->buffers.len; i++)
        if (is_constant(p, i)) st = make_one(&m, &p->buffers.data[i]);
    free(m.temp);
    for (uint32_t i = 0; i < s->n_devices; i++) { /* the copies' sources may go after this */
        pare_status done = s->devices[i].use.backend->sync(s->devices[i].handle);
        if (!st && done)
            st = pare_fail(d, done, "engine.pack", NULL, "constants can't be brought to \"%s\": %s",
                           s->devices[i].use.backend->id, pare_status_text(done));
    }
    return st;
}

void pare_engine_constants_free(pare_session *s, pare_engine_constants *c) {
    for (size_t i = 0; i < c->len; i++) {
        pare_engine_device *dev = &s->devices[c->data[i].device];
        if (c->data[i].block) dev->use.backend->free(dev->handle, c->data[i].block);
        dev->constant_bytes -= c->data[i].layout.nbytes;
    }
    pare_vec_free(c);
}
