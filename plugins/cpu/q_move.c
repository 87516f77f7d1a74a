/* cpu/q_move.c - 8-bit numbers that change their place: ai.pare's Reorder between plain and channels last, Concat, with
 * a table for each input whose scale is another than the output's.
 */
#include "q_gemm.h"
#include "q_loops.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reorder: a matrix, turned ---- */

typedef struct turn {
    int64_t n, rows, columns; /* n matrices */
} turn;

typedef struct turn_job {
    const turn *p;
    const uint8_t *x;
    uint8_t *y;
} turn_job;

enum { SIDE = 32 };

/* Stripes of SIDE rows; tile by tile, so that both sides stay in the cache. */
static void turn_stripes(void *ctx, uint64_t begin, uint64_t end) {
    const turn_job *j = ctx;
    const turn *p = j->p;
    int64_t stripes = (p->rows + SIDE - 1) / SIDE;
    for (int64_t u = (int64_t)begin; u < (int64_t)end; u++) {
        int64_t image = u / stripes, r0 = u % stripes * SIDE, rn = p->rows - r0 < SIDE ? p->rows - r0 : SIDE;
        const uint8_t *x = j->x + image * p->rows * p->columns + r0 * p->columns;
        uint8_t *y = j->y + image * p->rows * p->columns + r0;
        for (int64_t c0 = 0; c0 < p->columns; c0 += SIDE) {
            int64_t cn = p->columns - c0 < SIDE ? p->columns - c0 : SIDE;
            for (int64_t c = 0; c < cn; c++)
                for (int64_t r = 0; r < rn; r++) y[(c0 + c) * p->rows + r] = x[r * p->columns + c0 + c];
        }
    }
}

static pare_status turn_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const turn *p = k->impl;
    turn_job j = {p, in[0], out[0]};
    int64_t stripes = (p->rows + SIDE - 1) / SIDE;
    cpu_team_run(k->dev->threads, (uint64_t)(p->n * stripes), (uint64_t)(16384 / (SIDE * p->columns) + 1), turn_stripes,
                 &j);
    return PARE_OK;
}

pare_status cpu_make_q_reorder(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (strcmp(s->domain, "ai.pare") != 0 || strcmp(s->op_type, "Reorder") != 0) return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0], *y = s->out[0];
    pare_layout last;
    if (!q_eight(x) || x->ndim < 3 || x->dtype != y->dtype) return PARE_EUNSUPPORTED;
    if (!q_nhwc(dev, x, &last)) return PARE_ENOMEM;
    if (last.kind != PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    bool to_last = x->layout.kind == PARE_LAYOUT_PLAIN && y->layout.kind == PARE_LAYOUT_OWN && y->layout.id == last.id;
    bool to_plain = y->layout.kind == PARE_LAYOUT_PLAIN && x->layout.kind == PARE_LAYOUT_OWN && x->layout.id == last.id;
    if (!to_last && !to_plain) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    cpu_kernel *k = q_kernel(dev, s, "q:reorder", sizeof(turn));
    if (!k) return PARE_ENOMEM;
    int64_t channels = x->dims[1], plane = fast_product(x->dims, 2, x->ndim);
    *(turn *)k->impl = (turn){x->dims[0], to_last ? channels : plane, to_last ? plane : channels};
    k->run = turn_run;
    k->in[0] = x->layout;
    k->out[0] = y->layout;
    *out = k;
    return PARE_OK;
}

/* ---- Concat ---- */

enum { CONCAT_MAX = 64 };

typedef struct concat {
    uint32_t n;
    int64_t rows, width, part[CONCAT_MAX]; /* rows of `width` bytes, made of parts */
    bool same[CONCAT_MAX];
    uint8_t table[CONCAT_MAX][256];
} concat;

typedef struct concat_job {
    const concat *p;
    const void *const *in;
    uint8_t *y;
} concat_job;

static void join(void *ctx, uint64_t begin, uint64_t end) {
    const concat_job *j = ctx;
    const concat *p = j->p;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        uint8_t *y = j->y + r * p->width;
        for (uint32_t i = 0; i < p->n; i++) {
            const int64_t n = p->part[i];
            const uint8_t *x = (const uint8_t *)j->in[i] + r * n, *t = p->table[i];
            if (p->same[i])
                memcpy(y, x, (size_t)n);
            else
                for (int64_t c = 0; c < n; c++) y[c] = t[x[c]];
            y += n;
        }
    }
}

static pare_status concat_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const concat *p = k->impl;
    concat_job j = {p, in, out[0]};
    cpu_team_run(k->dev->threads, (uint64_t)p->rows, (uint64_t)(32768 / p->width + 1), join, &j);
    return PARE_OK;
}

/* From x's scale to the post-op's. */
static void table_of(const q_scale *x, const q_scale *to, uint8_t *t) {
    for (int i = 0; i < 256; i++) {
        int32_t q = x->is_signed ? (int8_t)i : i;
        float v = rintf((float)(q - x->zero) * x->scale * to->scale);
        v = v < to->low ? to->low : v > to->high ? to->high : v;
        t[i] = (uint8_t)((int32_t)v + to->zero);
    }
}

pare_status cpu_make_q_concat(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (!fast_is(s, "Concat") || !s->n_in || s->n_in > CONCAT_MAX || !fast_out(s, 0)) return PARE_EUNSUPPORTED;
    const pare_operand *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), y->ndim);
    bool own = false, scaled = s->in[0]->n_scales != 0;
    if (axis < 0 || axis >= y->ndim) return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; i < s->n_in; i++) {
        const pare_operand *x = s->in[i];
        if (!fast_in(s, i) || !q_eight(x) || x->ndim != y->ndim || (x->n_scales != 0) != scaled ||
            (x->flags & PARE_OPERAND_CONSTANT) || (!scaled && x->dtype != y->dtype))
            return PARE_EUNSUPPORTED;
        own = own || x->layout.kind == PARE_LAYOUT_OWN;
    }
    q_scale to = {0};
    uint32_t n = scaled ? s->n_post : 0;
    while (n && !q_scale_of_post(s, n, &to)) n--;
    if (scaled && !n) return PARE_EUNSUPPORTED;
    if ((n == s->n_post || !scaled) && !q_eight(y)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    cpu_kernel *k = q_kernel(dev, s, "q:concat", sizeof(concat));
    if (!k) return PARE_ENOMEM;
    concat *p = k->impl;
    bool ok = true, fits = true;
    p->n = s->n_in;
    own = own && y->ndim > 2 && axis == 1;
    p->rows = own ? y->dims[0] * fast_product(y->dims, 2, y->ndim) : fast_product(y->dims, 0, (uint32_t)axis);
    for (uint32_t i = 0; ok && fits && i < s->n_in; i++) {
        const pare_operand *x = s->in[i];
        q_scale from;
        p->part[i] = own ? x->dims[1] : fast_product(x->dims, (uint32_t)axis, x->ndim);
        p->width += p->part[i];
        p->same[i] = !scaled;
        if (scaled && (fits = q_scale_of(x, &from))) {
            table_of(&from, &to, p->table[i]);
            p->same[i] = true;
            for (int b = 0; b < 256; b++) p->same[i] = p->same[i] && p->table[i][b] == b;
        }
        if (own) ok = q_nhwc(dev, x, &k->in[i]);
    }
    if (ok && own) ok = q_nhwc(dev, y, &k->out[0]);
    k->run = concat_run;
    k->n_post = n;
    if (ok && fits && q_fits(y, &k->out[0])) {
        *out = k;
        return PARE_OK;
    }
    cpu_kernel_free(k);
    return ok ? PARE_EUNSUPPORTED : PARE_ENOMEM;
}
