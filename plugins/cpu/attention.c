/* cpu/attention.c - ai.pare's Attention in float32: for each product and each few rows of q, the scores, their softmax
 * and the mix of values while they are in the cache. Reads q, k and v where the projections left them. Meaning:
 * ref/ref_attention.h.
 */
#include "fast.h"
#include "isa.h"
#include "ref/ref_attention.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6 }; /* of q at once */

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "attention_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "attention_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "attention_body.h"

typedef void pack_fn(const float *k, int64_t step, int64_t tk, int64_t d, float *to);
typedef void rows_fn(const ref_attention *a, const float *q, const float *k, const float *v, int64_t sv,
                     const float *mask, float *y, float *scores, int64_t begin, int64_t end);

typedef struct attention {
    ref_attention a;
    int64_t views[5][REF_ATTENTION_VIEW + 1];
    pack_fn *pack;
    rows_fn *rows;
    int64_t products, chunks; /* q's rows of a product are split into so many parts */
    int64_t k_floats, v_floats, s_floats, sv;
} attention;

typedef struct attention_job {
    const attention *p;
    const float *q, *k, *v, *mask;
    float *y, *scratch;
    uint64_t units;
} attention_job;

static int64_t room(const attention *p) { return p->k_floats + p->v_floats + p->s_floats; }

/* v with rows of whole vectors, where its own rows end within one. */
static void copy_values(const attention *p, const float *v, float *to) {
    for (int64_t t = 0; t < p->a.tk; t++, to += p->sv) {
        memcpy(to, v + t * p->a.v[5], (size_t)p->a.dv * sizeof *to);
        memset(to + p->a.dv, 0, (size_t)(p->sv - p->a.dv) * sizeof *to);
    }
}

static void unit(const attention_job *j, uint64_t u) {
    const attention *p = j->p;
    const ref_attention *a = &p->a;
    int64_t items = p->products * p->chunks, begin = (int64_t)u * items / (int64_t)j->units,
            end = ((int64_t)u + 1) * items / (int64_t)j->units, last = -1;
    float *keys = j->scratch + (int64_t)u * room(p), *values = keys + p->k_floats, *scores = values + p->v_floats;
    for (int64_t i = begin; i < end; i++) {
        int64_t product = i / p->chunks, chunk = i % p->chunks;
        const float *v = j->v + ref_attention_at(a, a->v, product);
        if (product != last) {
            p->pack(j->k + ref_attention_at(a, a->k, product), a->k[5], a->tk, a->d, keys);
            if (p->v_floats) copy_values(p, v, values);
            last = product;
        }
        p->rows(a, j->q + ref_attention_at(a, a->q, product), keys, p->v_floats ? values : v, p->sv,
                j->mask ? j->mask + ref_attention_at(a, a->mask, product) : NULL,
                j->y + ref_attention_at(a, a->y, product), scores, chunk * a->tq / p->chunks,
                (chunk + 1) * a->tq / p->chunks);
    }
}

static void units(void *ctx, uint64_t begin, uint64_t end) {
    for (uint64_t u = begin; u < end; u++) unit(ctx, u);
}

static pare_status attention_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    attention *p = k->impl;
    attention_job j = {.p = p,
                       .q = in[0],
                       .k = in[1],
                       .v = in[2],
                       .mask = p->a.mask ? in[3] : NULL,
                       .y = out[0],
                       .scratch = scratch,
                       .units = k->dev->threads};
    cpu_team_run(k->dev->threads, j.units, 1, units, &j);
    return PARE_OK;
}

static void free_impl(cpu_kernel *k) { free(k->impl); }

static const char *choose(attention *p, int64_t *vw, int64_t *nr) {
    cpu_isa isa = cpu_isa_best();
#if defined(__x86_64__)
    if (isa >= CPU_ISA_AVX512) {
        p->pack = pack_avx512;
        p->rows = rows_avx512;
        *vw = 16;
        *nr = NR_avx512;
        return "c:attention:avx512";
    }
    if (isa >= CPU_ISA_AVX2) {
        p->pack = pack_avx2;
        p->rows = rows_avx2;
        *vw = 8;
        *nr = NR_avx2;
        return "c:attention:avx2";
    }
#endif
    (void)isa;
    p->pack = pack_base;
    p->rows = rows_base;
    *vw = 1;
    *nr = NR_base;
    return "c:attention";
}

/* The views are the spec's: a kernel keeps copies. */
static void keep_views(attention *p) {
    const int64_t **views[] = {&p->a.q, &p->a.k, &p->a.v, &p->a.y, &p->a.mask};
    for (uint32_t i = 0; i < 5; i++) {
        if (!*views[i]) continue;
        memcpy(p->views[i], *views[i], (REF_ATTENTION_VIEW + (i == 4)) * sizeof **views[i]);
        *views[i] = p->views[i];
    }
}

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

pare_status cpu_make_attention(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    ref_attention a;
    if (strcmp(s->domain, "ai.pare") != 0 || strcmp(s->op_type, "Attention") != 0) return PARE_EUNSUPPORTED;
    if (!ref_attention_read(s, &a) || s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    int64_t vw, nr, threads = dev->threads;
    attention *p = calloc(1, sizeof *p);
    if (!p) return PARE_ENOMEM;
    p->a = a;
    const char *name = choose(p, &vw, &nr);
    keep_views(p);
    p->products = a.outer[0] * a.outer[1] * a.outer[2] * a.outer[3];
    p->chunks = p->products % threads == 0 || p->products >= 8 * threads ? 1 : threads;
    if (p->chunks > up(a.tq, ROWS) / ROWS) p->chunks = up(a.tq, ROWS) / ROWS;
    p->sv = a.dv % vw ? up(a.dv, vw) : a.v[5];
    p->v_floats = a.dv % vw ? up(a.tk * p->sv, 16) : 0;
    p->k_floats = up(a.tk, nr) * a.d;
    p->s_floats = up(a.tk, nr) * ROWS;
    p->k_floats = up(p->k_floats, 16);
    p->s_floats = up(p->s_floats, 16);
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    if (!k) {
        free(p);
        return PARE_ENOMEM;
    }
    k->impl = p;
    k->run = attention_run;
    k->destroy = free_impl;
    k->scratch = (uint64_t)(room(p) * threads) * sizeof(float);
    *out = k;
    return PARE_OK;
}
