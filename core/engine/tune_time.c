/* engine/tune_time.c - timing ways of computing one node against each other. See tune.h.
 *
 * All ways get the same normal numbers, from one seed (of 8-bit operands: around their zero points); each lies in its
 * own layout, and the weights are packed before the clock starts. Ways run in turn where memory allows, so that a busy
 * moment meets all of them, and the fastest run of each counts. May use: tune.h, steps_parts.h.
 */
#include "engine/steps_parts.h"
#include "engine/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOISE = 65521, ROUNDS = 40, ROUNDS_MIN = 3, INPUTS = 16 };
#define MEMORY ((uint64_t)1 << 30) /* bytes of operands that are tried at all; a 16th: at once */
#define BUDGET 0.060               /* seconds a shape, where ROUNDS_MIN rounds don't take longer */
/* max|difference to the first way| / max|its result|. The first way is direct: its own error against float64 is below
 * 4e-6 (tests/cpu measures it), so what passes is within 1e-5. */
#define AGREE 6e-6

typedef struct rig {
    pare_session *s;
    const pare_engine_device *dev;
    uint32_t device;
    const pare_kernel_spec *spec;
    const pare_layout *at;
    const pare_layout *usual; /* of the output: the first way's */
    pare_tune_shot *shots;
    const float *noise;
    void *first, *other; /* results, plain */
    void *host;          /* room for the largest operand, plain */
    uint64_t host_bytes;
} rig;

/* A reorder that is part of what is timed. */
typedef struct bring {
    void *kernel, *scratch;
    const void *from;
    void *to;
} bring;

typedef struct lane {
    pare_tune_shot *shot;
    const void *in[INPUTS];
    void *out, *timed_out; /* timed_out: in place where the kernel works so */
    void *scratch;
    bring brings[INPUTS];
    uint32_t n_brings;
    bring after; /* kernel NULL: none */
    PARE_VEC(void *) memory;
    PARE_VEC(void *) kernels;
    bool dead;
} lane;

static float *normal_numbers(void) {
    float *x = pare_try_alloc(NOISE * sizeof *x);
    uint64_t seed = 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; x && i < NOISE; i++) { /* twelve uniform ones, less their mean: near enough to normal */
        float sum = -6;
        for (int k = 0; k < 12; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(seed >> 40) / (float)(1 << 24);
        }
        x[i] = sum;
    }
    return x;
}

static uint64_t count_of(const pare_operand *o) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < o->ndim; i++)
        if (!pare_mul_ok(n, (uint64_t)o->dims[i], &n)) return UINT64_MAX / 8;
    return n;
}

static uint64_t plain_bytes(const pare_operand *o) { return count_of(o) * (pare_dtype_bits(o->dtype) / 8); }

/* Whole numbers around the zero point, far from the ends for most. */
static void fill_whole(const rig *r, const pare_operand *o, uint64_t n, uint64_t at) {
    float middle = o->zero_point ? (float)o->zero_point[0] : 0;
    for (uint64_t k = 0; k < n; k++, at = at + 1 < NOISE ? at + 1 : 0) {
        if (o->dtype == PARE_INT32) {
            ((int32_t *)r->host)[k] = (int32_t)(r->noise[at] * 100);
            continue;
        }
        float low = o->dtype == PARE_UINT8 ? 0 : -128, v = middle + r->noise[at] * 20;
        v = v < low ? low : v > low + 255 ? low + 255 : v;
        if (o->dtype == PARE_UINT8)
            ((uint8_t *)r->host)[k] = (uint8_t)v;
        else
            ((int8_t *)r->host)[k] = (int8_t)v;
    }
}

static void fill(const rig *r, uint32_t i) {
    const pare_operand *o = r->spec->in[i];
    uint64_t n = count_of(o), at = (uint64_t)i * 7919 % NOISE;
    float *to = r->host;
    if (o->dtype != PARE_FLOAT) {
        fill_whole(r, o, n, at);
        return;
    }
    for (uint64_t k = 0; k < n;) {
        uint64_t run = NOISE - at < n - k ? NOISE - at : n - k;
        memcpy(to + k, r->noise + at, (size_t)run * sizeof *to);
        k += run;
        at = 0;
    }
    if (i != 1 || !(o->flags & PARE_OPERAND_CONSTANT) || !o->ndim) return; /* sums of weighted ones are near 1 again */
    uint64_t fan = n / (uint64_t)(o->dims[0] ? o->dims[0] : 1);
    float scale = 1.0f / sqrtf((float)(fan ? fan : 1));
    for (uint64_t k = 0; k < n; k++) to[k] *= scale;
}

static void *memory(const rig *r, lane *l, uint64_t bytes) {
    void *p = NULL;
    if (pare_engine_alloc(r->s, r->device, bytes, &p)) return NULL;
    pare_vec_push(&l->memory, p);
    return p;
}

static void drop(const rig *r, lane *l, const void *p) {
    for (size_t i = 0; i < l->memory.len; i++)
        if (l->memory.data[i] == p) {
            r->dev->use.backend->free(r->dev->handle, l->memory.data[i]);
            l->memory.data[i] = l->memory.data[--l->memory.len];
            return;
        }
}

static uint64_t bytes_in(const pare_operand *o, const pare_layout *l) {
    return l->kind == PARE_LAYOUT_OWN ? l->nbytes : plain_bytes(o);
}

/* A kernel that brings operand o from one layout to another. */
static bool reorder(const rig *r, lane *l, const pare_operand *o, const pare_layout *from, const pare_layout *to,
                    bring *out) {
    pare_operand a = *o, z = *o;
    const pare_operand *in[] = {&a}, *outs[] = {&z};
    pare_kernel_spec spec = {.size = sizeof spec,
                             .op_type = "Reorder",
                             .domain = "ai.pare",
                             .version = 1,
                             .node = r->spec->node,
                             .in = in,
                             .out = outs,
                             .n_in = 1,
                             .n_out = 1};
    a.layout = *from;
    z.layout = *to;
    a.flags = z.flags = 0;
    a.data = z.data = NULL;
    pare_kernel_info info = {.size = sizeof info};
    const pare_backend *be = r->dev->use.backend;
    if (be->kernel(r->dev->handle, &spec, 0, &out->kernel)) return false;
    pare_vec_push(&l->kernels, out->kernel);
    if (be->kernel_info(out->kernel, &info)) return false;
    out->scratch = info.scratch ? memory(r, l, info.scratch) : NULL;
    return !info.scratch || out->scratch;
}

static bool run_bring(const rig *r, const bring *g) {
    const void *in[] = {g->from};
    void *out[] = {g->to};
    return r->dev->use.backend->run(g->kernel, in, out, g->scratch) == PARE_OK;
}

/* Operand o, whose plain contents are on the device at p, in layout `to`; p may be gone then. NULL: it can't be had. */
static void *laid(const rig *r, lane *l, const pare_operand *o, void *p, const pare_layout *to) {
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN, .nbytes = plain_bytes(o)};
    bring g = {.from = p};
    if (to->kind != PARE_LAYOUT_OWN) return p;
    if (!reorder(r, l, o, &plain, to, &g) || !(g.to = memory(r, l, bytes_in(o, to))) || !run_bring(r, &g) ||
        r->dev->use.backend->sync(r->dev->handle))
        return NULL;
    drop(r, l, p);
    return g.to;
}

static bool set_input(const rig *r, lane *l, uint32_t i) {
    const pare_operand *o = r->spec->in[i];
    const pare_kernel_info *info = l->shot->info;
    const pare_backend *be = r->dev->use.backend;
    const pare_layout *want = &info->in[i], *have = &r->at[i];
    if (o->flags & PARE_OPERAND_ABSENT) return true;
    if (o->flags & PARE_OPERAND_HOST) {
        l->in[i] = o->data;
        return true;
    }
    fill(r, i);
    if ((o->flags & PARE_OPERAND_CONSTANT) && info->pack && info->pack[i]) {
        void *packed = memory(r, l, info->pack[i]);
        l->in[i] = packed;
        return packed && be->pack(l->shot->kernel, i, r->host, packed) == PARE_OK &&
               be->sync(r->dev->handle) == PARE_OK; /* the numbers are overwritten next */
    }
    uint64_t bytes = plain_bytes(o);
    void *p = memory(r, l, bytes);
    if (!p || be->copy(r->dev->handle, p, r->host, bytes, PARE_COPY_TO_DEVICE) || be->sync(r->dev->handle))
        return false;
    if (pare_steps_same(want, have) || (o->flags & PARE_OPERAND_CONSTANT))
        return (l->in[i] = laid(r, l, o, p, want)) != NULL;
    bring *g = &l->brings[l->n_brings++];
    g->from = laid(r, l, o, p, have);
    g->to = memory(r, l, bytes_in(o, want));
    l->in[i] = g->to;
    return g->from && g->to && reorder(r, l, o, have, want, g);
}

static bool set_up(const rig *r, lane *l) {
    const pare_kernel_info *info = l->shot->info;
    for (uint32_t i = 0; i < r->spec->n_in; i++)
        if (!set_input(r, l, i)) return false;
    l->out = l->timed_out = memory(r, l, bytes_in(r->spec->out[0], &info->out[0]));
    int32_t same = info->in_place;
    if (same >= 0 && (uint32_t)same < r->spec->n_in && !(r->spec->in[same]->flags & PARE_OPERAND_CONSTANT) &&
        pare_steps_same(&info->in[same], &info->out[0]))
        memcpy(&l->timed_out, &l->in[same], sizeof l->timed_out);
    if (info->scratch && !(l->scratch = memory(r, l, info->scratch))) return false;
    if (!l->out || r->at[0].kind == PARE_LAYOUT_OWN || pare_steps_same(&info->out[0], r->usual)) return l->out != NULL;
    /* The first of a chain settles the layout of what follows: another one than usual has to be worth going back. */
    l->after.from = l->out;
    l->after.to = memory(r, l, bytes_in(r->spec->out[0], r->usual));
    return l->after.to && reorder(r, l, r->spec->out[0], &info->out[0], r->usual, &l->after);
}

static bool run_once(const rig *r, lane *l, void *out) {
    void *outs[INPUTS] = {out};
    for (uint32_t i = 0; i < l->n_brings; i++)
        if (!run_bring(r, &l->brings[i])) return false;
    return r->dev->use.backend->run(l->shot->kernel, l->in, outs, l->scratch) == PARE_OK &&
           (!l->after.kernel || run_bring(r, &l->after)) && r->dev->use.backend->sync(r->dev->handle) == PARE_OK;
}

/* The result, plain, in host memory. */
static bool result(const rig *r, lane *l, void *to) {
    const pare_operand *o = r->spec->out[0];
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN, .nbytes = plain_bytes(o)};
    const pare_backend *be = r->dev->use.backend;
    bring g = {.from = l->out, .to = l->out};
    if (!run_once(r, l, l->out)) return false;
    if (l->shot->info->out[0].kind == PARE_LAYOUT_OWN && (!reorder(r, l, o, &l->shot->info->out[0], &plain, &g) ||
                                                          !(g.to = memory(r, l, plain.nbytes)) || !run_bring(r, &g)))
        return false;
    return be->copy(r->dev->handle, to, g.to, plain.nbytes, PARE_COPY_TO_HOST) == PARE_OK &&
           be->sync(r->dev->handle) == PARE_OK;
}

/* 8-bit numbers: one step apart at most. */
static bool agree_whole(const uint8_t *a, const uint8_t *b, uint64_t n, uint8_t turn) {
    for (uint64_t i = 0; i < n; i++) {
        int step = (a[i] ^ turn) - (b[i] ^ turn);
        if (step > 1 || step < -1) return false;
    }
    return true;
}

static bool agree(const float *a, const float *b, uint64_t n) {
    float max = 0, diff = 0;
    for (uint64_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]), x = fabsf(a[i]);
        if (!(d <= 3.4e38f)) return false; /* a NaN, too */
        diff = d > diff ? d : diff;
        max = x > max ? x : max;
    }
    return (double)diff <= AGREE * (double)max;
}

/* A way's result against the first one's; who is off is out. */
static void compare(const rig *r, lane *l) {
    const pare_operand *o = r->spec->out[0];
    uint64_t count = count_of(o);
    bool is_first = l->shot == r->shots;
    if (!l->dead) l->dead = !result(r, l, is_first ? r->first : r->other);
    if (!l->dead && !is_first)
        l->dead = !(r->shots->seconds > 0) ||
                  !(o->dtype == PARE_FLOAT ? agree(r->first, r->other, count)
                                           : agree_whole(r->first, r->other, count, o->dtype == PARE_INT8 ? 0x80 : 0));
    l->shot->seconds = l->dead ? 0 : 1e9; /* until it is timed */
}

static void race(const rig *r, lane *lanes, uint32_t n) {
    double spent = 0;
    for (uint32_t round = 0; round < ROUNDS && (spent < BUDGET || round < ROUNDS_MIN); round++)
        for (uint32_t i = 0; i < n; i++) {
            lane *l = &lanes[i];
            /* twice as slow in two rounds: it has lost */
            if (l->dead || (round > 1 && l->shot->seconds > 2 * r->shots->seconds)) continue;
            double start = pare_clock();
            l->dead = !run_once(r, l, l->timed_out);
            double t = pare_clock() - start;
            spent += t;
            if (t < l->shot->seconds) l->shot->seconds = t;
        }
    for (uint32_t i = 0; i < n; i++)
        if (lanes[i].dead) lanes[i].shot->seconds = 0;
}

static void tear_down(const rig *r, lane *l) {
    const pare_backend *be = r->dev->use.backend;
    for (size_t i = 0; i < l->kernels.len; i++) be->kernel_free(l->kernels.data[i]);
    for (size_t i = 0; i < l->memory.len; i++) be->free(r->dev->handle, l->memory.data[i]);
    pare_vec_free(&l->kernels);
    pare_vec_free(&l->memory);
}

static bool fillable(uint32_t dtype) { return dtype == PARE_FLOAT || dtype == PARE_UINT8 || dtype == PARE_INT8; }

static bool takes(const pare_kernel_spec *spec) {
    if (spec->n_in > INPUTS || spec->n_out != 1 || !fillable(spec->out[0]->dtype)) return false;
    for (uint32_t i = 0; i < spec->n_in; i++) {
        const pare_operand *o = spec->in[i];
        if (o->flags & PARE_OPERAND_ABSENT) continue;
        if (!fillable(o->dtype) && !(o->dtype == PARE_INT32 && o->n_scales)) return false;
    }
    return true;
}

/* Together, or one after the other: as many as there may be memory for at once. */
static void group(const rig *r, pare_tune_shot *shots, uint32_t n) {
    lane *lanes = pare_xcalloc(n, sizeof *lanes);
    for (uint32_t i = 0; i < n; i++) {
        lanes[i].shot = &shots[i];
        lanes[i].dead = !set_up(r, &lanes[i]);
        compare(r, &lanes[i]);
    }
    race(r, lanes, n);
    r->dev->use.backend->sync(r->dev->handle);
    for (uint32_t i = 0; i < n; i++) tear_down(r, &lanes[i]);
    free(lanes);
}

void pare_tune_measure(pare_session *s, uint32_t device, const pare_kernel_spec *spec, const pare_layout *at,
                       pare_tune_shot *shots, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) shots[i].seconds = 0;
    if (n < 2 || !takes(spec)) return;
    rig r = {.s = s,
             .dev = &s->devices[device],
             .device = device,
             .spec = spec,
             .at = at,
             .usual = &shots[0].info->out[0],
             .shots = shots};
    uint64_t out = plain_bytes(spec->out[0]), all = out;
    for (uint32_t i = 0; i < spec->n_in; i++) {
        uint64_t bytes = spec->in[i]->flags & PARE_OPERAND_ABSENT ? 0 : plain_bytes(spec->in[i]);
        if (bytes > r.host_bytes) r.host_bytes = bytes;
        if (!pare_add_ok(all, bytes, &all)) return;
    }
    if (all > MEMORY) return; /* not worth that much */
    float *noise = normal_numbers();
    r.noise = noise;
    r.host = pare_try_alloc(r.host_bytes);
    r.first = pare_try_alloc(out);
    r.other = pare_try_alloc(out);
    uint32_t at_once = all * n <= MEMORY / 16 ? n : 1;
    for (uint32_t i = 0; noise && r.host && r.first && r.other && i < n; i += at_once) {
        if (i && !(shots[0].seconds > 0)) break; /* nothing to compare with */
        group(&r, &shots[i], at_once);
    }
    if (!(shots[0].seconds > 0))
        for (uint32_t i = 0; i < n; i++) shots[i].seconds = 0;
    free(r.first);
    free(r.other);
    free(r.host);
    free(noise);
}
