/* engine/device.c - a session's devices, their arenas and the constants on them. See parts.h.
 *
 * Is not: what runs there (plan.c). May use: parts.h.
 */
#include "engine/parts.h"

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

/* Before anything is allocated: does it fit under the cap, and if not, what would? */
static pare_status fits(pare_session *s, const pare_plan *p, uint32_t device, uint64_t arena, pare_diags *d) {
    uint64_t constants = p->constants[device], total;
    if (!s->memory || (pare_add_ok(arena, constants, &total) && total <= s->memory)) return PARE_OK;
    pare_sb need = {0}, cap = {0}, hint = {0};
    pare_sb_bytes(&need, arena);
    pare_sb_printf(&need, " for activations and ");
    pare_sb_bytes(&need, constants);
    pare_sb_bytes(&cap, s->memory);
    uint64_t each = p->batch > 1 ? (arena + (uint64_t)p->batch - 1) / (uint64_t)p->batch : arena;
    uint64_t would = s->memory > constants && each ? (s->memory - constants) / each : 0;
    if (would && p->batch > 1)
        pare_sb_printf(&hint, "a batch of about %llu fits", (unsigned long long)would);
    else
        pare_sb_printf(&hint, "a cap of %llu bytes fits", (unsigned long long)(arena + constants));
    pare_status st = pare_fail(d, PARE_ENOMEM, "engine.memory", pare_sb_str(&hint),
                               "a run on \"%s\"%s%.0lld needs %s for constants, but memory is capped at %s",
                               s->devices[device].use.backend->id, p->batch > 1 ? " at batch " : "",
                               (long long)(p->batch > 1 ? p->batch : 0), pare_sb_str(&need), pare_sb_str(&cap));
    pare_sb_free(&need);
    pare_sb_free(&cap);
    pare_sb_free(&hint);
    return st;
}

pare_status pare_engine_arenas(pare_session *s, const pare_plan *p, pare_diags *d) {
    for (uint32_t i = 0; i < s->n_devices; i++) {
        pare_engine_device *dev = &s->devices[i];
        uint64_t bytes = p->arena[i] + p->scratch[i];
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

static void *find(const pare_engine_constants *c, uint32_t device, const pare_buffer *b) {
    for (size_t i = 0; i < c->len; i++) {
        const pare_engine_constant *x = &c->data[i];
        if (x->tensor == b->tensor && x->device == device && x->version == b->version &&
            x->layout.kind == b->layout.kind && x->layout.id == b->layout.id && x->layout.nbytes == b->layout.nbytes)
            return x->memory;
    }
    return NULL;
}

static const char nothing[PARE_ENGINE_ALIGN] __attribute__((aligned(64))); /* where empty constants lie */

static pare_status make_one(pare_session *s, pare_plan *p, pare_buffer *b, pare_diags *d) {
    pare_engine_device *dev = &s->devices[b->device];
    const void *src = b->blob ? b->blob->data : (const unsigned char *)nothing;
    bool shared = b->tensor && (!b->packer || b->layout.kind == PARE_LAYOUT_OWN);
    void *memory = NULL;
    if (b->on_host) {
        b->at = (void *)(uintptr_t)src;
        return PARE_OK;
    }
    if (shared && (b->at = find(&s->constants, b->device, b))) return PARE_OK;
    pare_status st;
    while ((st = pare_engine_alloc(s, b->device, b->layout.nbytes, &memory)) == PARE_ENOMEM && drop_plan(s, p)) {
    }
    if (st) return no_memory(s, p, b->device, b->layout.nbytes, "a constant", st, d);
    if (b->packer)
        st = dev->use.backend->pack(b->packer, b->slot, src, memory);
    else if (b->nbytes && b->blob)
        st = dev->use.backend->copy(dev->handle, memory, src, b->nbytes, PARE_COPY_TO_DEVICE);
    if (st) {
        dev->use.backend->free(dev->handle, memory);
        return pare_fail(d, st, "engine.pack", NULL, "a constant can't be brought to \"%s\": %s", dev->use.backend->id,
                         pare_status_text(st));
    }
    pare_engine_constant c = {b->tensor, b->device, b->version, b->layout, memory};
    if (shared)
        pare_vec_push(&s->constants, c);
    else
        pare_vec_push(&p->own, c);
    dev->constant_bytes += b->layout.nbytes;
    b->at = memory;
    return PARE_OK;
}

pare_status pare_engine_constants_make(pare_session *s, pare_plan *p, pare_diags *d) {
    pare_status st = PARE_OK;
    for (size_t i = 0; !st && i < p->buffers.len; i++)
        if (p->buffers.data[i].kind == PARE_BUFFER_CONSTANT && p->buffers.data[i].root == i)
            st = make_one(s, p, &p->buffers.data[i], d);
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
        dev->use.backend->free(dev->handle, c->data[i].memory);
        dev->constant_bytes -= c->data[i].layout.nbytes;
    }
    pare_vec_free(c);
}
