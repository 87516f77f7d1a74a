/* engine/layout.c - one memory plan: who may write over whom, how long each buffer lives, where it lies. See parts.h.
 *
 * Greedy by size: large buffers first, each at the lowest offset where nothing alive at the same time lies (the method
 * of "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288). A kernel's
 * scratch memory is one more of them, alive in its step alone. May use: parts.h.
 */
#include "engine/parts.h"

#include <stdlib.h>
#include <string.h>

static uint32_t root_of(const pare_plan *p, int32_t b) {
    uint32_t r = (uint32_t)b;
    while (p->buffers.data[r].root != r) r = p->buffers.data[r].root;
    return r;
}

static void touch(pare_plan *p, int32_t b, uint32_t step) {
    if (b < 0) return;
    pare_buffer *r = &p->buffers.data[root_of(p, b)];
    if (step < r->first) r->first = step;
    if (step > r->last) r->last = step;
}

static void lifetimes(pare_plan *p) {
    for (size_t i = 0; i < p->buffers.len; i++) {
        p->buffers.data[i].first = UINT32_MAX;
        p->buffers.data[i].last = 0;
    }
    for (size_t i = 0; i < p->steps.len; i++) {
        const pare_step *st = &p->steps.data[i];
        for (uint32_t k = 0; k < st->n_in; k++) touch(p, st->in[k], (uint32_t)i);
        for (uint32_t k = 0; k < st->n_out; k++) touch(p, st->out[k], (uint32_t)i);
    }
    for (size_t i = 0; i < p->outputs.len; i++) touch(p, p->outputs.data[i].buffer, (uint32_t)p->steps.len);
}

/* out[0] goes over the input that dies in this step. */
static void in_place(pare_plan *p, uint32_t at) {
    const pare_step *st = &p->steps.data[at];
    if (st->kind != PARE_STEP_RUN || st->in_place < 0 || (uint32_t)st->in_place >= st->n_in || !st->n_out) return;
    int32_t from = st->in[st->in_place], to = st->out[0];
    if (from < 0 || to < 0) return;
    uint32_t a = root_of(p, from), b = root_of(p, to);
    pare_buffer *x = &p->buffers.data[a], *y = &p->buffers.data[b];
    if (a == b || x->kind != PARE_BUFFER_ARENA || y->kind != PARE_BUFFER_ARENA || x->device != y->device) return;
    if (x->last != at || y->first != at || x->nbytes < y->nbytes) return;
    for (uint32_t k = 0; k < st->n_in; k++)
        if ((int32_t)k != st->in_place && st->in[k] >= 0 && root_of(p, st->in[k]) == a) return;
    y->root = a;
    x->last = y->last;
}

/* A buffer, or the scratch memory of a step. */
typedef struct place {
    uint32_t id, first, last;
    bool scratch;
    uint64_t nbytes, offset;
} place;

static int by_size(const void *x, const void *y) {
    const place *a = x, *b = y;
    if (a->nbytes != b->nbytes) return a->nbytes < b->nbytes ? 1 : -1;
    if (a->scratch != b->scratch) return a->scratch ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static int by_offset(const void *x, const void *y) {
    const uint64_t *a = x, *b = y;
    return a[0] < b[0] ? -1 : a[0] > b[0];
}

static uint64_t aligned(uint64_t nbytes) { return (nbytes / PARE_ENGINE_ALIGN + 1) * PARE_ENGINE_ALIGN; }

static size_t places_of(const pare_plan *p, uint32_t device, place *to) {
    size_t n = 0;
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        const pare_buffer *b = &p->buffers.data[i];
        if (b->kind == PARE_BUFFER_ARENA && b->device == device && b->root == i && b->first != UINT32_MAX)
            to[n++] = (place){.id = i, .first = b->first, .last = b->last, .nbytes = aligned(b->nbytes)};
    }
    for (uint32_t i = 0; i < p->steps.len; i++) {
        const pare_step *s = &p->steps.data[i];
        if (s->scratch && s->device == device)
            to[n++] = (place){.id = i, .first = i, .last = i, .scratch = true, .nbytes = aligned(s->scratch)};
    }
    return n;
}

static pare_status offsets(pare_plan *p, uint32_t device, pare_diags *d) {
    size_t most = p->buffers.len + p->steps.len + 1, n;
    place *order = pare_xcalloc(most, sizeof *order);
    uint64_t(*busy)[2] = pare_xcalloc(most, sizeof *busy); /* from, to */
    uint64_t end = 0;
    pare_status st = PARE_OK;
    n = places_of(p, device, order);
    qsort(order, n, sizeof *order, by_size);
    for (size_t i = 0; !st && i < n; i++) {
        place *b = &order[i];
        size_t k = 0;
        for (size_t j = 0; j < i; j++) {
            const place *o = &order[j];
            if (o->last < b->first || o->first > b->last) continue;
            busy[k][0] = o->offset;
            busy[k++][1] = o->offset + o->nbytes;
        }
        qsort(busy, k, sizeof *busy, by_offset);
        uint64_t at = 0, top = 0;
        for (size_t j = 0; j < k && busy[j][0] < at + b->nbytes; j++)
            if (busy[j][1] > at) at = busy[j][1];
        b->offset = at;
        if (b->scratch)
            p->steps.data[b->id].scratch_at = at;
        else
            p->buffers.data[b->id].offset = at;
        if (!pare_add_ok(at, b->nbytes, &top) || top > UINT64_MAX / 4)
            st = pare_fail(d, PARE_ENOMEM, "engine.memory", "use a smaller batch",
                           "the activations of one run take more bytes than can be counted");
        if (top > end) end = top;
    }
    p->arena[device] = end;
    free(order);
    free(busy);
    return st;
}

pare_status pare_plan_layout(pare_plan *p, pare_diags *d) {
    lifetimes(p);
    for (uint32_t i = 0; i < p->steps.len; i++) in_place(p, i);
    for (uint32_t i = 0; i < p->buffers.len; i++) p->buffers.data[i].root = root_of(p, (int32_t)i);
    pare_status st = offsets(p, PARE_DEVICE_MAIN, d);
    if (!st) st = offsets(p, PARE_DEVICE_HOST, d);
    return st;
}
