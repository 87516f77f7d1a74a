/* cpu/q_pool.c - MaxPool, AveragePool and GlobalAveragePool of 8-bit numbers, channels last. */
#include "q_loops.h"
#include "team.h"

#include <string.h>

enum { WIDE = 1024 }; /* channels at a time */

typedef struct pool {
    const q_loops *loops;
    bool max, include, is_signed;
    int64_t n, c, h, w, oh, ow, kh, kw, sh, sw, dh, dw, top, left;
    float scale;
    int32_t zero;
    q_scale y;
} pool;

typedef struct job {
    const pool *p;
    const uint8_t *x;
    uint8_t *y;
} job;

/* Channels c..c + n - 1 of one output pixel. */
static void pixel(const pool *p, const uint8_t *x, uint8_t *y, int64_t oh, int64_t ow, int64_t c, int64_t n) {
    int32_t sum[WIDE];
    int64_t count = 0;
    if (!p->max) memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t i = 0; i < p->kh; i++) {
        int64_t iy = oh * p->sh - p->top + i * p->dh;
        if (iy < 0 || iy >= p->h) continue;
        for (int64_t k = 0; k < p->kw; k++) {
            int64_t ix = ow * p->sw - p->left + k * p->dw;
            if (ix < 0 || ix >= p->w) continue;
            const uint8_t *from = x + (iy * p->w + ix) * p->c + c;
            if (!p->max)
                p->loops->sum(from, sum, n, p->is_signed);
            else if (!count)
                memcpy(y + c, from, (size_t)n);
            else
                p->loops->largest(from, y + c, n, p->is_signed);
            count++;
        }
    }
    if (p->max) return;
    int32_t less = (int32_t)count * p->zero;
    if (p->include) count = p->kh * p->kw; /* the padding counts as zeros */
    p->loops->mean(sum, y + c, n, p->scale / (float)(count ? count : 1), less, &p->y);
}

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const pool *p = j->p;
    int64_t wide = (p->c + WIDE - 1) / WIDE;
    for (int64_t u = (int64_t)begin; u < (int64_t)end; u++) {
        int64_t c = u % wide * WIDE, n = p->c - c < WIDE ? p->c - c : WIDE, at = u / wide;
        int64_t image = at / (p->oh * p->ow), oh = at / p->ow % p->oh, ow = at % p->ow;
        pixel(p, j->x + image * p->h * p->w * p->c, j->y + at * p->c, oh, ow, c, n);
    }
}

static pare_status pool_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const pool *p = k->impl;
    job j = {p, in[0], out[0]};
    int64_t wide = (p->c + WIDE - 1) / WIDE, work = p->kh * p->kw * (p->c < WIDE ? p->c : WIDE);
    cpu_team_run(k->dev->threads, (uint64_t)(p->n * p->oh * p->ow * wide), (uint64_t)(65536 / work + 1), part, &j);
    return PARE_OK;
}

static bool window_of(const pare_kernel_spec *s, bool global, pool *p) {
    const pare_operand *x = s->in[0], *y = s->out[0];
    if (x->ndim != 4 || y->ndim != 4) return false;
    p->n = x->dims[0];
    p->c = x->dims[1];
    p->h = x->dims[2];
    p->w = x->dims[3];
    p->oh = y->dims[2];
    p->ow = y->dims[3];
    p->sh = p->sw = p->dh = p->dw = 1;
    p->kh = p->h;
    p->kw = p->w;
    if (global) return p->oh == 1 && p->ow == 1;
    uint64_t n;
    const int64_t *kernel = ref_attr_ints(s, "kernel_shape", &n);
    if (!kernel || n != 2) return false;
    p->kh = kernel[0];
    p->kw = kernel[1];
    const int64_t *strides = ref_attr_ints(s, "strides", &n);
    if (strides && n != 2) return false;
    if (strides) {
        p->sh = strides[0];
        p->sw = strides[1];
    }
    const int64_t *dilations = ref_attr_ints(s, "dilations", &n);
    if (dilations && n != 2) return false;
    if (dilations) {
        p->dh = dilations[0];
        p->dw = dilations[1];
    }
    const int64_t *pads = ref_attr_ints(s, "pads", &n);
    if ((pads && n != 4) || !ref_attr_is(s, "auto_pad", "NOTSET", "NOTSET")) return false;
    if (pads) {
        p->top = pads[0];
        p->left = pads[1];
    }
    p->include = ref_attr_int(s, "count_include_pad", 0) != 0;
    if (p->include && ref_attr_int(s, "ceil_mode", 0)) return false; /* what lies beyond the padding never counts */
    if (p->kh < 1 || p->kw < 1 || p->sh < 1 || p->sw < 1 || p->dh < 1 || p->dw < 1) return false;
    /* Every window has a pixel. */
    return p->top >= 0 && p->left >= 0 && p->top < p->kh * p->dh && p->left < p->kw * p->dw &&
           (p->oh - 1) * p->sh - p->top < p->h && (p->ow - 1) * p->sw - p->left < p->w && p->dh == 1 && p->dw == 1;
}

pare_status cpu_make_q_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    pool p = {.loops = q_loops_best(), .max = fast_is(s, "MaxPool")};
    bool global = fast_is(s, "GlobalAveragePool");
    if ((!p.max && !global && !fast_is(s, "AveragePool")) || !fast_in(s, 0) || !fast_out(s, 0) || fast_out(s, 1))
        return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0], *y = s->out[0];
    if (!q_eight(x)) return PARE_EUNSUPPORTED;
    p.is_signed = x->dtype == PARE_INT8;
    uint32_t n = 0;
    if (p.max) { /* only compares: the same numbers come out */
        if (y->dtype != x->dtype) return PARE_EUNSUPPORTED;
    } else {
        if (!q_tensor(x, &p.scale, &p.zero)) return PARE_EUNSUPPORTED;
        for (n = s->n_post; n && !q_scale_of_post(s, n, &p.y);) n--;
        if (!n || (n == s->n_post && !q_eight(y))) return PARE_EUNSUPPORTED;
        p.scale *= p.y.scale;
    }
    if (!window_of(s, global, &p)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    cpu_kernel *k = q_kernel(dev, s, p.max ? "q:maxpool" : "q:avgpool", sizeof p);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &p, sizeof p);
    k->run = pool_run;
    k->n_post = n;
    bool ok = q_nhwc(dev, x, &k->in[0]) && q_nhwc(dev, y, &k->out[0]);
    if (ok && q_fits(y, &k->out[0])) {
        *out = k;
        return PARE_OK;
    }
    cpu_kernel_free(k);
    return ok ? PARE_EUNSUPPORTED : PARE_ENOMEM;
}
