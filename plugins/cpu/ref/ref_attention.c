/* plugins/cpu/ref/ref_attention.c - ai.pare's Attention, the node that the engine puts where it finds attention spelt
 * out. Its meaning is in ref_attention.h. May use: ref.h.
 */
#include "ref_attention.h"

#include "ref_b.h"
#include "ref_rows.h"

#include <math.h>
#include <stdlib.h>

/* Does a view of these dims stay inside of an operand? */
static bool inside(const int64_t *view, const int64_t *outer, int64_t rows, int64_t columns, int64_t step,
                   const pare_operand *o) {
    if (o->dtype != PARE_FLOAT || o->n_scales) return false;
    int64_t count = (int64_t)ref_count(o), last = view[0];
    const int64_t sizes[] = {outer[0], outer[1], outer[2], outer[3], rows, columns};
    const int64_t steps[] = {view[1], view[2], view[3], view[4], view[5], step};
    if (view[0] < 0) return false;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (steps[i] < 0 || steps[i] > count || (steps[i] && sizes[i] > count + 1)) return false; /* step 0: it repeats */
        if (steps[i] && sizes[i] - 1 > (count - last) / steps[i]) return false;
        last += (sizes[i] - 1) * steps[i];
    }
    return last < count;
}

static const int64_t *view_of(const pare_kernel_spec *s, const char *name, uint64_t want) {
    uint64_t n = 0;
    const int64_t *v = ref_attr_ints(s, name, &n);
    return v && n == want ? v : NULL;
}

bool ref_attention_read(const pare_kernel_spec *s, ref_attention *out) {
    const int64_t *shape = view_of(s, "shape", REF_ATTENTION_OUTER + 4);
    if (!shape || s->n_in < 3 || s->n_out < 1 || !ref_has(s, 0) || !ref_has(s, 1) || !ref_has(s, 2)) return false;
    for (uint32_t i = 0; i < REF_ATTENTION_OUTER + 4; i++)
        if (shape[i] < 1 || shape[i] > INT32_MAX) return false;
    *out = (ref_attention){.tq = shape[4],
                           .tk = shape[5],
                           .d = shape[6],
                           .dv = shape[7],
                           .q = view_of(s, "q", REF_ATTENTION_VIEW),
                           .k = view_of(s, "k", REF_ATTENTION_VIEW),
                           .v = view_of(s, "v", REF_ATTENTION_VIEW),
                           .y = view_of(s, "y", REF_ATTENTION_VIEW),
                           .scale = ref_attr_float(s, "scale", 1)};
    for (uint32_t i = 0; i < REF_ATTENTION_OUTER; i++) out->outer[i] = shape[i];
    if (!out->q || !out->k || !out->v || !out->y) return false;
    if (ref_has(s, 3)) {
        out->mask = view_of(s, "mask", REF_ATTENTION_VIEW + 1);
        if (!out->mask || !inside(out->mask, shape, out->tq, out->tk, out->mask[6], s->in[3])) return false;
    }
    return inside(out->q, shape, out->tq, out->d, 1, s->in[0]) && inside(out->k, shape, out->tk, out->d, 1, s->in[1]) &&
           inside(out->v, shape, out->tk, out->dv, 1, s->in[2]) &&
           inside(out->y, shape, out->tq, out->dv, 1, s->out[0]);
}

int64_t ref_attention_at(const ref_attention *a, const int64_t *view, int64_t i) {
    int64_t at = view[0];
    for (uint32_t d = REF_ATTENTION_OUTER; d-- > 0; i /= a->outer[d]) at += i % a->outer[d] * view[1 + d];
    return at;
}

bool ref_attention_ok(const pare_kernel_spec *s) {
    ref_attention a;
    return ref_attention_read(s, &a);
}

/* One row of scores into weights. */
static void soft(double *w, int64_t n) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) most = w[i] > most ? w[i] : most;
    for (int64_t i = 0; i < n; i++) sum += w[i] = exp(w[i] - most);
    for (int64_t i = 0; i < n; i++) w[i] /= sum;
}

static void row(const ref_attention *a, const float *q, const float *k, const float *v, const float *mask, double *w,
                float *y) {
    for (int64_t t = 0; t < a->tk; t++) {
        double sum = 0;
        for (int64_t i = 0; i < a->d; i++) sum += (double)q[i] * (double)k[t * a->k[5] + i];
        w[t] = sum * a->scale + (mask ? (double)mask[t * a->mask[6]] : 0);
    }
    soft(w, a->tk);
    for (int64_t i = 0; i < a->dv; i++) {
        double sum = 0;
        for (int64_t t = 0; t < a->tk; t++) sum += w[t] * (double)v[t * a->v[5] + i];
        y[i] = (float)sum;
    }
}

pare_status ref_run_attention(const ref_call *c) {
    ref_attention a;
    if (!ref_attention_read(c->spec, &a)) return PARE_EINVAL;
    double *w = refb_alloc((uint64_t)a.tk, sizeof *w);
    if (!w) return PARE_ENOMEM;
    int64_t n = a.outer[0] * a.outer[1] * a.outer[2] * a.outer[3];
    for (int64_t i = 0; i < n; i++) {
        const float *q = (const float *)c->in[0] + ref_attention_at(&a, a.q, i);
        const float *k = (const float *)c->in[1] + ref_attention_at(&a, a.k, i);
        const float *v = (const float *)c->in[2] + ref_attention_at(&a, a.v, i);
        const float *mask = a.mask ? (const float *)c->in[3] + ref_attention_at(&a, a.mask, i) : NULL;
        float *y = (float *)c->out[0] + ref_attention_at(&a, a.y, i);
        for (int64_t r = 0; r < a.tq; r++)
            row(&a, q + r * a.q[5], k, v, mask ? mask + r * a.mask[5] : NULL, w, y + r * a.y[5]);
    }
    free(w);
    return PARE_OK;
}
