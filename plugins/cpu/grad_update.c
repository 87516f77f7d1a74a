/* cpu/grad_update.c - what moves weights, over plain float32: SgdUpdate, AdamUpdate, EmaUpdate, Accumulate, GlobalNorm.
 *
 * Each is one pass over memory, and may write over its inputs. May use: grad.h, simd.h, wide.h.
 */
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1024, PIECE = 16384 }; /* elements */

typedef struct update_job update_job;

typedef struct update_loops {
    void (*sgd)(const update_job *j, uint64_t first, uint64_t n);
    void (*adam)(const update_job *j, uint64_t first, uint64_t n);
    void (*mix)(const float *a, float of_a, const float *b, float of_b, float *to, uint64_t n);
    double (*squares)(const float *g, uint64_t n);
    double (*squares_of)(const float *g, const uint8_t *mask, uint64_t n); /* where its bits are */
} update_loops;

struct update_job {
    const update_loops *loops;
    uint64_t n;
    bool adam, nesterov, decoupled, step1;
    double lr_mult, decay_mult;
    const float *w, *g, *m, *v; /* m: velocity too; NULL: none */
    float *w_out, *m_out, *v_out;
    const uint8_t *mask;
    float lr, momentum, beta2, epsilon, decay, scale;
    float adam_step, adam_root, one_less_b1, one_less_b2;
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_update_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_update_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_update_body.h"

static const update_loops *loops_here(void) { return SIMD_BEST(update_loops); }

/* ---- steps ---- */

/* hyper, norm (may be NULL): as the op has them. */
static void read_hyper(update_job *j, const double *h, const float *norm) {
    double lr = h[0] * j->lr_mult, scale = h[7];
    if (h[5] > 0 && norm) {
        double factor = h[5] / (scale * (double)*norm + 1e-6);
        if (factor < 1) scale *= factor;
    }
    j->lr = (float)lr;
    j->momentum = (float)h[1];
    j->beta2 = (float)h[2];
    j->epsilon = (float)h[3];
    j->decay = (float)(h[4] * j->decay_mult);
    j->scale = (float)scale;
    j->step1 = h[6] <= 1;
    j->one_less_b1 = (float)(1 - h[1]);
    j->one_less_b2 = (float)(1 - h[2]);
    if (!j->adam) return;
    j->adam_step = (float)(lr / (1 - pow(h[1], h[6])));
    j->adam_root = (float)(1 / sqrt(1 - pow(h[2], h[6])));
}

/* Blocks, so that no byte of a mask is split. */
static void blocks(void *ctx, uint64_t begin, uint64_t end) {
    const update_job *j = ctx;
    uint64_t first = begin * BLOCK, n = (end * BLOCK < j->n ? end * BLOCK : j->n) - first;
    if (j->adam)
        j->loops->adam(j, first, n);
    else
        j->loops->sgd(j, first, n);
}

static pare_status update_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    update_job j = *(const update_job *)k->impl;
    uint32_t hyper = j.adam ? 4 : 3;
    j.w = in[0];
    j.g = in[1];
    j.m = in[2];
    if (j.adam) j.v = in[3];
    j.mask = hyper + 2 < k->n_in ? in[hyper + 2] : NULL;
    j.w_out = out[0];
    j.m_out = k->n_out > 1 ? out[1] : NULL;
    j.v_out = k->n_out > 2 ? out[2] : NULL;
    read_hyper(&j, in[hyper], hyper + 1 < k->n_in ? in[hyper + 1] : NULL);
    cpu_team_run(k->dev->threads, (j.n + BLOCK - 1) / BLOCK, 16, blocks, &j);
    return PARE_OK;
}

static bool alike(const pare_kernel_spec *s, uint32_t i) {
    return fast_in(s, i) && fast_f32(s->in[i]) && fast_same_dims(s->in[i], s->in[0]);
}

static pare_status make_update(cpu_device *dev, const pare_kernel_spec *s, bool adam, uint32_t candidate,
                               cpu_kernel **out) {
    uint32_t hyper = adam ? 4 : 3;
    if (s->n_in <= hyper || !alike(s, 0) || !alike(s, 1) || !fast_out(s, 0)) return PARE_EUNSUPPORTED;
    if (fast_in(s, 2) ? !alike(s, 2) : adam) return PARE_EUNSUPPORTED;
    if (adam && (!alike(s, 3) || !fast_out(s, 1) || !fast_out(s, 2))) return PARE_EUNSUPPORTED;
    if (!fast_in(s, hyper) || s->in[hyper]->dtype != PARE_DOUBLE || ref_count(s->in[hyper]) != 8)
        return PARE_EUNSUPPORTED;
    if (fast_in(s, hyper + 1) && (s->in[hyper + 1]->dtype != PARE_FLOAT || ref_count(s->in[hyper + 1]) != 1))
        return PARE_EUNSUPPORTED;
    update_job j = {.loops = loops_here(),
                    .n = ref_count(s->in[0]),
                    .adam = adam,
                    .nesterov = ref_attr_int(s, "nesterov", 0) != 0,
                    .decoupled = ref_attr_int(s, "decoupled", 0) != 0,
                    .lr_mult = ref_attr_float(s, "lr_mult", 1),
                    .decay_mult = ref_attr_float(s, "decay_mult", 1)};
    if (fast_in(s, hyper + 2) && (s->in[hyper + 2]->dtype != PARE_UINT8 || ref_count(s->in[hyper + 2]) < (j.n + 7) / 8))
        return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &j, sizeof j);
    if (!k) return PARE_ENOMEM;
    k->run = update_run;
    k->in_place = 0;
    *out = k;
    return PARE_OK;
}

/* ---- sums of two ---- */

typedef struct mix_job {
    const update_loops *loops;
    uint64_t n;
    bool ema, first;
    const float *a, *b;
    float *to;
    float of_a, of_b;
} mix_job;

static void mix_some(void *ctx, uint64_t begin, uint64_t end) {
    const mix_job *j = ctx;
    j->loops->mix(j->a + begin, j->of_a, j->b + begin, j->of_b, j->to + begin, end - begin);
}

static pare_status mix_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    mix_job j = *(const mix_job *)k->impl;
    j.a = in[0];
    j.b = in[1];
    j.to = out[0];
    j.of_a = j.first ? 0.0f : 1.0f;
    j.of_b = 1;
    if (j.ema) {
        double decay = (double)*(const float *)in[2];
        j.of_a = (float)decay;
        j.of_b = (float)(1 - decay);
    }
    cpu_team_run(k->dev->threads, j.n, PIECE, mix_some, &j);
    return PARE_OK;
}

static pare_status make_mix(cpu_device *dev, const pare_kernel_spec *s, bool ema, uint32_t candidate,
                            cpu_kernel **out) {
    if (s->n_in < (ema ? 3u : 2u) || !alike(s, 0) || !alike(s, 1)) return PARE_EUNSUPPORTED;
    if (ema && (!fast_in(s, 2) || s->in[2]->dtype != PARE_FLOAT || ref_count(s->in[2]) != 1)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    mix_job j = {
        .loops = loops_here(), .n = ref_count(s->in[0]), .ema = ema, .first = ref_attr_int(s, "first", 0) != 0};
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &j, sizeof j);
    if (!k) return PARE_ENOMEM;
    k->run = mix_run;
    k->in_place = 0;
    *out = k;
    return PARE_OK;
}

/* ---- the norm of all gradients: pieces of a fixed size, their sums joined in order ---- */

typedef struct norm_piece {
    uint32_t in, mask; /* inputs; mask 0: there is none */
    uint64_t first, n;
} norm_piece;

typedef struct norm_all {
    const update_loops *loops;
    norm_piece *pieces;
    uint64_t n_pieces;
} norm_all;

typedef struct norm_run_job {
    const norm_all *all;
    const void *const *in;
    double *sums;
} norm_run_job;

static void some_pieces(void *ctx, uint64_t begin, uint64_t end) {
    const norm_run_job *j = ctx;
    for (uint64_t i = begin; i < end; i++) {
        const norm_piece *p = &j->all->pieces[i];
        const float *g = (const float *)j->in[p->in] + p->first;
        j->sums[i] = p->mask ? j->all->loops->squares_of(g, (const uint8_t *)j->in[p->mask] + p->first / 8, p->n)
                             : j->all->loops->squares(g, p->n);
    }
}

static pare_status norm_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    const norm_all *all = k->impl;
    norm_run_job j = {all, in, scratch};
    double sum = 0;
    cpu_team_run(k->dev->threads, all->n_pieces, 4, some_pieces, &j);
    for (uint64_t i = 0; i < all->n_pieces; i++) sum += j.sums[i];
    *(float *)out[0] = (float)sqrt(sum);
    return PARE_OK;
}

static void norm_destroy(cpu_kernel *k) {
    norm_all *all = k->impl;
    free(all->pieces);
    free(all);
}

static pare_status make_norm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    uint64_t pieces = 0;
    const int64_t told = ref_attr_int(s, "gradients", s->n_in);
    if (!s->n_out || s->out[0]->dtype != PARE_FLOAT || told < 0 || told > s->n_in) return PARE_EUNSUPPORTED;
    const uint32_t n = (uint32_t)told;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t mask = n + i < s->n_in && fast_in(s, n + i) ? n + i : 0;
        if (!fast_in(s, i)) continue;
        if (!fast_f32(s->in[i])) return PARE_EUNSUPPORTED;
        if (mask && (s->in[mask]->dtype != PARE_UINT8 || ref_count(s->in[mask]) < (ref_count(s->in[i]) + 7) / 8))
            return PARE_EUNSUPPORTED;
        pieces += (ref_count(s->in[i]) + PIECE - 1) / PIECE;
    }
    if (candidate) return PARE_ENOTFOUND;
    char name[64];
    grad_name(s, name, sizeof name);
    norm_all all = {.loops = loops_here(), .n_pieces = pieces};
    cpu_kernel *k = grad_kernel(dev, s, name, &all, sizeof all);
    norm_piece *list = calloc((size_t)pieces + 1, sizeof *list);
    if (!k || !list) {
        cpu_kernel_free(k);
        free(list);
        return PARE_ENOMEM;
    }
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t count = fast_in(s, i) ? ref_count(s->in[i]) : 0;
        const uint32_t mask = n + i < s->n_in && fast_in(s, n + i) ? n + i : 0;
        for (uint64_t first = 0; first < count; first += PIECE)
            list[at++] = (norm_piece){i, mask, first, count - first < PIECE ? count - first : PIECE};
    }
    ((norm_all *)k->impl)->pieces = list;
    k->destroy = norm_destroy;
    k->run = norm_run;
    k->scratch = (pieces + 1) * sizeof(double);
    *out = k;
    return PARE_OK;
}

pare_status cpu_make_grad_update(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (grad_is(s, "SgdUpdate")) return make_update(dev, s, false, candidate, out);
    if (grad_is(s, "AdamUpdate")) return make_update(dev, s, true, candidate, out);
    if (grad_is(s, "EmaUpdate")) return make_mix(dev, s, true, candidate, out);
    if (grad_is(s, "Accumulate")) return make_mix(dev, s, false, candidate, out);
    return grad_is(s, "GlobalNorm") ? make_norm(dev, s, candidate, out) : PARE_EUNSUPPORTED;
}
