/* cpu/grad_pool.c - MaxPoolGrad, AveragePoolGrad and GlobalAveragePoolGrad over float32, in blocks of channels,
 * channels last or plain. May use: grad.h, ref/ref_b.h, simd.h, wide.h. */
#include "grad.h"
#include "ref/ref_b.h"
#include "simd_sets.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

typedef struct pool_job pool_job;

typedef struct pool_loops {
    int lanes;
    void (*plane)(const pool_job *j, const float *x, const float *dy, float *dx, int64_t m);
    void (*global)(const pool_job *j, const float *dy, float *dx);
} pool_loops;

struct pool_job {
    const pool_loops *loops;
    refb_window w;
    dn_planes in, out; /* of x and of dy */
    bool max, with_pads;
    int64_t subs;                 /* chunks of a block */
    const struct window *windows; /* [out.s] */
    const float *x, *dy;
    float *dx;
};

/* The taps of an output's window that meet the input: the first one's place, so many each way, so far apart. */
typedef struct window {
    int64_t at, n[3], step[3], padded; /* padded: taps that meet the padded input */
} window;

static inline bool window_of(const refb_window *w, int64_t o, window *r) {
    int64_t pos[3] = {o / (w->out[1] * w->out[2]), o / w->out[2] % w->out[1], o % w->out[2]}, stride = 1;
    r->at = 0;
    r->padded = 1;
    for (int d = 3; d-- > 0;) {
        int64_t start = pos[d] * w->stride[d] - w->pad[d], dil = w->dilation[d];
        int64_t lo = start < 0 ? (-start + dil - 1) / dil : 0, hi = w->kernel[d], top = w->in[d] - 1 - start;
        int64_t end = w->in[d] + w->pad[d] + w->pad_end[d] - pos[d] * w->stride[d]; /* of what is padded */
        if (top < 0) return false;
        if (hi > top / dil + 1) hi = top / dil + 1;
        if (hi <= lo) return false;
        int64_t all = end <= 0 ? 0 : (end - 1) / dil + 1;
        r->padded *= all < w->kernel[d] ? all : w->kernel[d];
        r->n[d] = hi - lo;
        r->step[d] = dil * stride;
        r->at += (start + lo * dil) * stride;
        stride *= w->in[d];
    }
    return true;
}

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_pool_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_pool_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_pool_body.h"

typedef struct pool_impl {
    pool_job job;
    window windows[];
} pool_impl;

static const pool_loops *loops_here(void) { return SIMD_BEST(pool_loops); }

/* Task i: an image's chunk of channels. */
static void planes(void *ctx, uint64_t begin, uint64_t end) {
    const pool_job *j = ctx;
    int64_t chunks = j->in.blocks * j->subs;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        int64_t n = i / chunks, block = i % chunks / j->subs, lane = i % j->subs * j->loops->lanes;
        int64_t m = j->in.width - lane < j->loops->lanes ? j->in.width - lane : j->loops->lanes;
        int64_t at = n * j->in.step_n + block * j->in.step_block + lane;
        j->loops->plane(j, j->max ? j->x + at : NULL, j->dy + n * j->out.step_n + block * j->out.step_block + lane,
                        j->dx + at, m);
    }
}

static pare_status pool_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    pool_job j = *(const pool_job *)k->impl;
    j.dy = in[0];
    j.x = j.max ? in[1] : NULL;
    j.dx = out[0];
    cpu_team_run(k->dev->threads, (uint64_t)(j.in.n * j.in.blocks * j.subs), 4, planes, &j);
    return PARE_OK;
}

static void global_images(void *ctx, uint64_t begin, uint64_t end) {
    const pool_job *j = ctx;
    for (int64_t n = (int64_t)begin; n < (int64_t)end; n++)
        j->loops->global(j, j->dy + n * j->in.channels, j->dx + n * j->in.step_n);
}

static pare_status global_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    pool_job j = *(const pool_job *)k->impl;
    j.dy = in[0];
    j.dx = out[0];
    cpu_team_run(k->dev->threads, (uint64_t)j.in.n, 4, global_images, &j);
    return PARE_OK;
}

/* The layout of an operand by that of another one of other spatial dims. */
static bool laid_alike(cpu_device *dev, const dn_planes *like, const pare_operand *o, pare_layout *out) {
    *out = cpu_layout_plain(o);
    if (like->width == 1) return true;
    if (like->width == like->channels && like->blocks == 1) { /* channels last */
        int64_t strides[DN_DIMS], step = o->dims[1];
        for (uint32_t i = o->ndim; i-- > 2;) {
            strides[i] = step;
            step *= o->dims[i];
        }
        strides[1] = 1;
        strides[0] = step;
        dn_desc *d = dn_desc_strided(o->ndim, o->dims, strides, dnnl_f32);
        bool ok = d && cpu_layout_of(dev, d, out);
        dn_desc_free(d);
        return ok;
    }
    dn_desc *d = dn_desc_blocked(o->ndim, o->dims, (int)like->width, dnnl_f32);
    bool ok = d && cpu_layout_of(dev, d, out);
    dn_desc_free(d);
    return ok;
}

static pare_status make_global(cpu_device *dev, const pare_kernel_spec *s, cpu_kernel **out) {
    const pare_operand *y = s->out[0];
    pool_job j = {.loops = loops_here()};
    dn_planes like = {.width = 1};
    pare_operand dx = *y;
    if (y->layout.kind == PARE_LAYOUT_ANY) { /* as activations of training lie */
        if (y->dims[1] > 4 && y->ndim <= 5) like = (dn_planes){.width = j.loops->lanes, .blocks = 2};
        if (!laid_alike(dev, &like, y, &dx.layout)) return PARE_EUNSUPPORTED;
    }
    if (!grad_planes(dev, &dx, &j.in)) return PARE_EUNSUPPORTED;
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &j, sizeof j);
    if (!k) return PARE_ENOMEM;
    k->run = global_run;
    grad_out_like(k, 0, &dx);
    *out = k;
    return PARE_OK;
}

pare_status cpu_make_grad_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    bool max = grad_is(s, "MaxPoolGrad"), global = grad_is(s, "GlobalAveragePoolGrad");
    if ((!max && !global && !grad_is(s, "AveragePoolGrad")) || s->n_in < 2 || !fast_in(s, 0) || !fast_out(s, 0))
        return PARE_EUNSUPPORTED;
    const pare_operand *dy = s->in[0], *x = s->out[0];
    if (!fast_f32(dy) || !fast_f32(x) || x->ndim < 3 || x->ndim > 5 || dy->ndim != x->ndim) return PARE_EUNSUPPORTED;
    if (dy->dims[0] != x->dims[0] || dy->dims[1] != x->dims[1]) return PARE_EUNSUPPORTED;
    if (global) return candidate ? PARE_ENOTFOUND : make_global(dev, s, out);
    pool_job j = {.loops = loops_here(), .max = max, .with_pads = ref_attr_int(s, "count_include_pad", 0) != 0};
    uint64_t n;
    const int64_t *kernel = ref_attr_ints(s, "kernel_shape", &n);
    if (!kernel || n != x->ndim - 2u ||
        refb_window_read(s, x->ndim - 2, x->dims + 2, dy->dims + 2, kernel, &j.w) != PARE_OK)
        return PARE_EUNSUPPORTED;
    if (fast_product(x->dims, 2, x->ndim) > INT32_MAX) return PARE_EUNSUPPORTED; /* places are lanes of ints */
    /* x leads (MaxPool), and dy is wanted like it; else dy, and dx is made like it. */
    pare_operand a = *x, b = *dy;
    if (max && (!fast_in(s, 1) || !fast_f32(s->in[1]) || !fast_same_dims(s->in[1], x))) return PARE_EUNSUPPORTED;
    a.layout = s->in[max ? 1 : 0]->layout;
    if (max) {
        if (!grad_planes(dev, &a, &j.in) || !laid_alike(dev, &j.in, &b, &b.layout)) return PARE_EUNSUPPORTED;
    } else {
        dn_planes like;
        if (!grad_planes(dev, &b, &like) || !laid_alike(dev, &like, &a, &a.layout)) return PARE_EUNSUPPORTED;
    }
    if (!grad_follows(&a, s->out[0])) { /* by way of plain */
        if (s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
        a.layout = cpu_layout_plain(&a);
        b.layout = cpu_layout_plain(&b);
    }
    if (!grad_planes(dev, &a, &j.in) || !grad_planes(dev, &b, &j.out)) return PARE_EUNSUPPORTED;
    /* What is rows of channels on one side may be plain planes on the other: both have one channel a chunk then. */
    if (j.in.width != j.out.width || j.in.blocks != j.out.blocks) {
        int64_t c = x->dims[1];
        if (a.layout.kind == PARE_LAYOUT_OWN || b.layout.kind == PARE_LAYOUT_OWN) {
            if (j.in.width > 1 && j.out.blocks == 1 && j.out.width == c) { /* a blocked map over plain rows */
                j.out.blocks = j.in.blocks;
                j.out.width = j.out.step = j.in.width;
                j.out.step_block = j.in.width;
            } else if (j.out.width > 1 && j.in.blocks == 1 && j.in.width == c) {
                j.in.blocks = j.out.blocks;
                j.in.width = j.in.step = j.out.width;
                j.in.step_block = j.out.width;
            } else {
                return PARE_EUNSUPPORTED;
            }
            if (c % j.in.width) return PARE_EUNSUPPORTED;
        } else {
            j.in.width = j.in.step = j.out.width = j.out.step = 1;
            j.in.blocks = j.out.blocks = c;
            j.in.step_block = j.in.s;
            j.out.step_block = j.out.s;
        }
    }
    if (candidate) return PARE_ENOTFOUND;
    j.subs = (j.in.width + j.loops->lanes - 1) / j.loops->lanes;
    char name[64];
    grad_name(s, name, sizeof name);
    size_t size = sizeof(pool_impl) + (size_t)j.out.s * sizeof(window);
    pool_impl *impl = calloc(1, size);
    cpu_kernel *k = impl ? grad_kernel(dev, s, name, impl, size) : NULL;
    free(impl);
    if (!k) return PARE_ENOMEM;
    impl = k->impl;
    for (int64_t o = 0; o < j.out.s; o++)
        if (!window_of(&j.w, o, &impl->windows[o])) impl->windows[o] = (window){0}; /* of padding alone */
    j.windows = impl->windows;
    impl->job = j;
    k->run = pool_run;
    grad_in_like(k, 0, &b);
    if (max) grad_in_like(k, 1, &a);
    grad_out_like(k, 0, &a);
    *out = k;
    return PARE_OK;
}
