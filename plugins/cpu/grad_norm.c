/* cpu/grad_norm.c - BatchNormTrain and BatchNormGrad over float32, in whatever layout x has.
 *
 * Channels are dealt out in chunks of as many lanes as a vector has (plain planes: one by one). A thread takes as many
 * chunks at a time as stay in its cache between the two looks at them, image by image, so that memory is read in its
 * order. Where there are fewer chunks than threads, images are dealt out too; partial sums are joined in their order.
 * May use: grad.h, simd.h, wide.h.
 */
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* GROUP, YOUNG: places that are summed in float, and the first such ones. */
enum { NORM_LANES = 16, GROUP = 256, YOUNG = 16, FEW_PLACES = 16, NEAR_BYTES = 384 << 10, BY_Y = 1, BY_X };

typedef struct norm_sums {
    double a[NORM_LANES], b[NORM_LANES], count;
} norm_sums;

/* What is known of a part of a chunk so far. */
typedef struct norm_state {
    norm_sums all;
    float a[NORM_LANES], b[NORM_LANES], shift[NORM_LANES], count; /* of the last places, not in `all` yet */
} norm_state;

typedef struct norm_factors {
    float mean[NORM_LANES], factor[NORM_LANES], a[NORM_LANES], b[NORM_LANES], bias[NORM_LANES];
} norm_factors;

typedef struct norm_job norm_job;

typedef struct norm_loops {
    int lanes;
    void (*stats)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end, norm_state *t);
    void (*apply)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end, const norm_factors *f);
    void (*sums)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end, const norm_factors *f,
                 norm_state *t);
    void (*spread)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end, const norm_factors *f);
    void (*flush)(const norm_job *j, norm_state *t);
} norm_loops;

/* What a kernel is, and of a run what it works on. */
struct norm_job {
    const norm_loops *loops;
    dn_planes p;
    int64_t group_n, group_s; /* images and places of plain planes that are summed in float */
    int64_t near, few;        /* chunks that stay in cache; images that are done at once of a chunk */
    int64_t subs, chunks;     /* chunks of a block, of all blocks */
    int64_t parts;            /* of the images of a chunk */
    bool relu, grad, anew;    /* anew: y is not read, but computed of x */
    float high;               /* relu: where it ends, or infinity */
    double epsilon, keep;
    const float *x, *dy, *y, *scale, *bias, *mean, *var; /* mean, var: running, or saved mean and 1 / std */
    float *out, *mean_out, *var_out, *saved_mean, *saved_inv, *dscale, *dbias;
    norm_state *states;    /* [chunks * parts] */
    norm_factors *factors; /* [chunks] */
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_norm_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_norm_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_norm_body.h"

static const norm_loops *loops_here(void) { return SIMD_BEST(norm_loops); }

/* Where a chunk begins, its lanes, its first channel, and how many of its lanes are channels, not padding. */
typedef struct chunk {
    int64_t at, m, channel, real;
} chunk;

static chunk chunk_of(const norm_job *j, int64_t q) {
    int64_t block = q / j->subs, lane = q % j->subs * j->loops->lanes, m = j->p.width - lane;
    if (m > j->loops->lanes) m = j->loops->lanes;
    chunk c = {block * j->p.step_block + lane, m, block * j->p.width + lane, 0};
    c.real = j->p.channels - c.channel;
    if (c.real > m) c.real = m;
    if (c.real < 0) c.real = 0;
    return c;
}

static void images(const norm_job *j, int64_t part, int64_t *begin, int64_t *end) {
    *begin = j->p.n * part / j->parts;
    *end = j->p.n * (part + 1) / j->parts;
}

/* What the first look of the backward pass goes by. */
static void prepare(const norm_job *j, int64_t q) {
    chunk c = chunk_of(j, q);
    norm_factors *f = &j->factors[q];
    memset(f, 0, sizeof *f); /* padding stays 0 */
    for (int64_t l = 0; j->grad && l < c.real; l++) {
        f->mean[l] = j->mean[c.channel + l];
        f->factor[l] = (float)((double)j->scale[c.channel + l] * (double)j->var[c.channel + l]);
        if (j->anew) f->bias[l] = j->bias[c.channel + l];
    }
}

/* First look at images of a chunk. */
static void look(const norm_job *j, int64_t q, int64_t begin, int64_t end, norm_state *t) {
    chunk c = chunk_of(j, q);
    if (begin == end) return;
    if (j->grad)
        j->loops->sums(j, c.at, c.m, begin, end, &j->factors[q], t);
    else
        j->loops->stats(j, c.at, c.m, begin, end, t);
}

/* All parts of a chunk have been looked at: the outputs by channel, and the factors. */
static void settle(const norm_job *j, int64_t q) {
    chunk c = chunk_of(j, q);
    norm_sums t = j->states[q * j->parts].all;
    norm_factors *f = &j->factors[q];
    double n = (double)j->p.n * (double)j->p.s;
    for (int64_t k = 1; k < j->parts; k++) {
        const norm_sums *o = &j->states[q * j->parts + k].all;
        double all = t.count + o->count;
        for (int64_t l = 0; l < c.real; l++) {
            if (j->grad) {
                t.a[l] += o->a[l];
                t.b[l] += o->b[l];
            } else if (all > 0) {
                double d = o->a[l] - t.a[l];
                t.a[l] += d * o->count / all;
                t.b[l] += o->b[l] + d * d * t.count * o->count / all;
            }
        }
        t.count = all;
    }
    for (int64_t l = 0; l < c.real; l++) {
        int64_t ch = c.channel + l;
        if (j->grad) {
            double inv = (double)j->var[ch], scale = (double)j->scale[ch];
            if (j->dscale) j->dscale[ch] = (float)(t.b[l] * inv);
            if (j->dbias) j->dbias[ch] = (float)t.a[l];
            f->a[l] = (float)(t.a[l] / n);
            f->b[l] = (float)(scale * inv * inv * inv * t.b[l] / n);
            continue;
        }
        double var = t.b[l] / n, inv = 1 / sqrt(var + j->epsilon);
        f->mean[l] = (float)t.a[l];
        f->a[l] = (float)(inv * (double)j->scale[ch]);
        /* What rounding took from the mean. */
        f->b[l] = (float)((double)j->bias[ch] + ((double)f->mean[l] - t.a[l]) * inv * (double)j->scale[ch]);
        if (j->mean_out) j->mean_out[ch] = (float)(j->keep * (double)j->mean[ch] + (1 - j->keep) * t.a[l]);
        if (j->var_out)
            j->var_out[ch] = (float)(j->keep * (double)j->var[ch] + (1 - j->keep) * (n > 1 ? var * n / (n - 1) : var));
        if (j->saved_mean) j->saved_mean[ch] = (float)t.a[l];
        if (j->saved_inv) j->saved_inv[ch] = (float)inv;
    }
}

static void write(const norm_job *j, int64_t q, int64_t begin, int64_t end) {
    chunk c = chunk_of(j, q);
    if (begin == end || !j->out) return;
    if (j->grad)
        j->loops->spread(j, c.at, c.m, begin, end, &j->factors[q]);
    else
        j->loops->apply(j, c.at, c.m, begin, end, &j->factors[q]);
}

static void look_some(void *ctx, uint64_t from, uint64_t to) {
    const norm_job *j = ctx;
    for (int64_t i = (int64_t)from, begin, end; i < (int64_t)to; i++) {
        images(j, i % j->parts, &begin, &end);
        memset(&j->states[i], 0, sizeof *j->states);
        look(j, i / j->parts, begin, end, &j->states[i]);
        j->loops->flush(j, &j->states[i]);
    }
}
static void write_some(void *ctx, uint64_t from, uint64_t to) {
    const norm_job *j = ctx;
    for (int64_t i = (int64_t)from, begin, end; i < (int64_t)to; i++) {
        images(j, i % j->parts, &begin, &end);
        write(j, i / j->parts, begin, end);
    }
}
static void whole_chunks(void *ctx, uint64_t from, uint64_t to) {
    const norm_job *j = ctx;
    const int64_t n = j->p.n, last = (int64_t)to;
    for (int64_t first = (int64_t)from, next; first < last; first = next) {
        next = first + j->near < last ? first + j->near : last;
        memset(&j->states[first], 0, (size_t)(next - first) * sizeof *j->states);
        for (int64_t q = first; q < next; q++) prepare(j, q);
        for (int64_t i = 0; i < n; i += j->few)
            for (int64_t q = first; q < next; q++) look(j, q, i, i + j->few < n ? i + j->few : n, &j->states[q]);
        for (int64_t q = first; q < next; q++) {
            j->loops->flush(j, &j->states[q]);
            settle(j, q);
        }
        for (int64_t i = 0; i < n; i += j->few)
            for (int64_t q = first; q < next; q++) write(j, q, i, i + j->few < n ? i + j->few : n);
    }
}

static void run(const cpu_kernel *k, norm_job *j, void *scratch) {
    j->states = scratch;
    j->factors = (norm_factors *)(void *)(j->states + j->chunks * j->parts);
    uint64_t tasks = (uint64_t)(j->chunks * j->parts);
    if (j->parts == 1) {
        cpu_team_run(k->dev->threads, tasks, 1, whole_chunks, j);
        return;
    }
    for (int64_t q = 0; q < j->chunks; q++) prepare(j, q);
    cpu_team_run(k->dev->threads, tasks, 1, look_some, j);
    for (int64_t q = 0; q < j->chunks; q++) settle(j, q);
    cpu_team_run(k->dev->threads, tasks, 1, write_some, j);
}

static pare_status train_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    norm_job j = *(const norm_job *)k->impl;
    j.x = in[0];
    j.scale = in[1];
    j.bias = in[2];
    j.mean = k->n_in > 3 ? in[3] : NULL;
    j.var = k->n_in > 4 ? in[4] : NULL;
    j.out = out[0];
    j.mean_out = k->n_out > 1 ? out[1] : NULL;
    j.var_out = k->n_out > 2 ? out[2] : NULL;
    j.saved_mean = k->n_out > 3 ? out[3] : NULL;
    j.saved_inv = k->n_out > 4 ? out[4] : NULL;
    run(k, &j, scratch);
    return PARE_OK;
}

static pare_status grad_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    norm_job j = *(const norm_job *)k->impl;
    j.dy = in[0];
    j.x = in[1];
    j.scale = in[2];
    j.mean = in[3];
    j.var = in[4];
    j.y = j.relu && !j.anew ? in[5] : NULL;
    j.bias = j.anew ? in[6] : NULL;
    j.out = out[0];
    j.dscale = k->n_out > 1 ? out[1] : NULL;
    j.dbias = k->n_out > 2 ? out[2] : NULL;
    run(k, &j, scratch);
    return PARE_OK;
}

static bool by_channel(const pare_kernel_spec *s, uint32_t i, int64_t channels) {
    return fast_in(s, i) && fast_f32(s->in[i]) && (int64_t)ref_count(s->in[i]) == channels;
}

pare_status cpu_make_grad_norm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    bool grad = grad_is(s, "BatchNormGrad");
    if ((!grad && !grad_is(s, "BatchNormTrain")) || s->n_in < (grad ? 5 : 3) || !s->n_out) return PARE_EUNSUPPORTED;
    const uint32_t wide[] = {1, 0, 5}; /* x leads */
    const pare_operand *x = s->in[grad ? 1 : 0];
    norm_job j = {.loops = loops_here(), .grad = grad, .relu = ref_attr_int(s, "relu", 0) != 0};
    if (!fast_in(s, 0) || !fast_in(s, grad ? 1 : 0) || !fast_f32(x) || x->ndim < 2) return PARE_EUNSUPPORTED;
    for (uint32_t i = grad ? 2 : 1; i < 5; i++) /* running statistics: where they are moved */
        if ((grad || i < 3 || fast_out(s, i - 2)) && !by_channel(s, i, x->dims[1])) return PARE_EUNSUPPORTED;
    j.anew = grad && j.relu && !fast_in(s, 5);
    if (j.anew && !by_channel(s, 6, x->dims[1])) return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; grad && i < 3; i++)
        if ((i < 2 || (j.relu && !j.anew)) && (!fast_f32(s->in[wide[i]]) || !fast_same_dims(s->in[wide[i]], x)))
            return PARE_EUNSUPPORTED;
    const pare_operand *lead = grad ? grad_lead(s, wide, j.relu && !j.anew ? 3 : 2) : x;
    if (fast_out(s, 0) && !grad_follows(lead, s->out[0])) return PARE_EUNSUPPORTED;
    if (!grad_planes(dev, lead, &j.p)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    j.epsilon = ref_attr_float(s, "epsilon", 1e-5f);
    j.high = (float)ref_attr_float(s, "high", (double)INFINITY);
    j.keep = ref_attr_float(s, "momentum", 0.9f);
    j.group_s = j.p.s > GROUP ? GROUP : j.p.s;
    j.group_n = j.group_s < GROUP ? GROUP / j.group_s : 1;
    j.subs = (j.p.width + j.loops->lanes - 1) / j.loops->lanes;
    j.chunks = j.p.blocks * j.subs;
    j.parts = j.chunks >= (int64_t)dev->threads ? 1 : ((int64_t)dev->threads + j.chunks - 1) / j.chunks;
    if (j.parts > j.p.n) j.parts = j.p.n;
    j.near = NEAR_BYTES / ((grad ? 2 : 1) * j.p.n * j.p.s * j.loops->lanes * (int64_t)sizeof(float));
    j.few = j.p.s < FEW_PLACES ? FEW_PLACES / j.p.s : 1;
    if (j.near < 1 || j.p.width == 1) j.near = 1;
    if (j.near == 1) j.few = j.p.n;
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &j, sizeof j);
    if (!k) return PARE_ENOMEM;
    k->run = grad ? grad_run : train_run;
    k->scratch = (uint64_t)(j.chunks * j.parts) * sizeof(norm_state) + (uint64_t)j.chunks * sizeof(norm_factors);
    grad_in_like(k, 0, lead);
    if (grad) grad_in_like(k, 1, lead);
    if (j.relu && grad && !j.anew) grad_in_like(k, 5, lead);
    if (fast_out(s, 0)) grad_out_like(k, 0, lead);
    k->in_place = fast_out(s, 0) ? 0 : -1; /* every place is read before it is written, for the last time */
    *out = k;
    return PARE_OK;
}
