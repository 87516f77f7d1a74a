/* cpu/q_eltwise.c - Add and Mul of two 8-bit tensors: alike, or one of them a number for each image and channel. */
#include "q_loops.h"
#include "team.h"

#include <string.h>

typedef struct pairs {
    const q_loops *loops;
    q_pair p;
    bool spread; /* b has one number an image and channel */
    uint32_t a, b;
    int64_t rows, width, plane; /* rows of `width`; plane: those of one image */
} pairs;

typedef struct job {
    const pairs *p;
    const uint8_t *a, *b;
    uint8_t *y;
} job;

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const pairs *p = j->p;
    if (!p->spread) {
        p->loops->pair(j->a + begin, j->b + begin, j->y + begin, (int64_t)(end - begin), &p->p);
        return;
    }
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        int64_t at = r * p->width;
        p->loops->pair(j->a + at, j->b + r / p->plane * p->width, j->y + at, p->width, &p->p);
    }
}

static pare_status pairs_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const pairs *p = k->impl;
    job j = {p, in[p->a], in[p->b], out[0]};
    uint64_t n = (uint64_t)p->rows * (p->spread ? 1 : (uint64_t)p->width);
    cpu_team_run(k->dev->threads, n, p->spread ? 16384 / (uint64_t)p->width + 1 : 16384, part, &j);
    return PARE_OK;
}

/* (N, C, 1, ...) beside y's (N, C, ...)? */
static bool one_a_channel(const pare_operand *o, const pare_operand *y) {
    if (o->ndim != y->ndim || y->ndim < 3 || o->dims[0] != y->dims[0] || o->dims[1] != y->dims[1]) return false;
    for (uint32_t i = 2; i < o->ndim; i++)
        if (o->dims[i] != 1) return false;
    return true;
}

pare_status cpu_make_q_pair(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    pairs p = {.loops = q_loops_best(), .b = 1, .rows = 1, .plane = 1};
    p.p.product = fast_is(s, "Mul");
    if ((!p.p.product && !fast_is(s, "Add")) || s->n_in != 2 || !fast_in(s, 0) || !fast_in(s, 1) || !fast_out(s, 0))
        return PARE_EUNSUPPORTED;
    const pare_operand *y = s->out[0], *a = s->in[0], *b = s->in[1];
    uint32_t n = s->n_post;
    while (n && !q_scale_of_post(s, n, &p.p.y)) n--;
    if (!n || (n == s->n_post && !q_eight(y))) return PARE_EUNSUPPORTED;
    if (!fast_same_dims(a, y)) {
        const pare_operand *other = a;
        a = b;
        b = other;
        p.a = 1;
        p.b = 0;
    }
    if (!q_scale_of(a, &p.p.a) || !q_scale_of(b, &p.p.b) || !fast_same_dims(a, y) ||
        ((a->flags | b->flags) & PARE_OPERAND_CONSTANT))
        return PARE_EUNSUPPORTED;
    p.spread = !fast_same_dims(b, y);
    if (p.spread && !one_a_channel(b, y)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    p.width = p.spread ? y->dims[1] : (int64_t)ref_count(y);
    if (p.spread) {
        p.plane = fast_product(y->dims, 2, y->ndim);
        p.rows = y->dims[0] * p.plane;
    }
    cpu_kernel *k = q_kernel(dev, s, p.p.product ? "q:mul" : "q:add", sizeof p);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &p, sizeof p);
    k->run = pairs_run;
    k->n_post = n;
    k->in_place = (int32_t)p.a;
    bool last = p.spread || a->layout.kind == PARE_LAYOUT_OWN || b->layout.kind == PARE_LAYOUT_OWN, ok = true;
    if (last) { /* all three with their channels last */
        ok = q_nhwc(dev, a, &k->in[p.a]) && q_nhwc(dev, y, &k->out[0]);
        if (ok && !p.spread) ok = q_nhwc(dev, b, &k->in[p.b]);
    }
    if (ok && q_fits(y, &k->out[0])) {
        *out = k;
        return PARE_OK;
    }
    cpu_kernel_free(k);
    return ok ? PARE_EUNSUPPORTED : PARE_ENOMEM;
}
