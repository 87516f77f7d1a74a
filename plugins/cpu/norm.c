/* cpu/norm.c - our own LayerNormalization over plain float32, which oneDNN 2.6 does by a plain loop. */
#include "fast.h"
#include "isa.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "norm_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "norm_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "norm_body.h"

typedef void rows_fn(const float *x, float *y, const float *scale, const float *shift, int64_t n, int64_t rows,
                     float epsilon);

typedef struct norm {
    rows_fn *run;
    int64_t rows, n;
    float epsilon;
    bool shift;
} norm;

typedef struct norm_job {
    const norm *p;
    const float *x, *scale, *shift;
    float *y;
} norm_job;

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const norm_job *j = ctx;
    int64_t at = (int64_t)begin * j->p->n;
    j->p->run(j->x + at, j->y + at, j->scale, j->shift, j->p->n, (int64_t)(end - begin), j->p->epsilon);
}

static pare_status norm_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const norm *p = k->impl;
    norm_job j = {p, in[0], in[1], p->shift ? in[2] : NULL, out[0]};
    uint64_t grain = 8192 / (uint64_t)p->n + 1;
    cpu_team_run(k->dev->threads, (uint64_t)p->rows, grain, part, &j);
    return PARE_OK;
}

static void free_impl(cpu_kernel *k) { free(k->impl); }

static const char *choose(norm *p) {
    cpu_isa isa = cpu_isa_best();
#if defined(__x86_64__)
    if (isa >= CPU_ISA_AVX2) {
        bool wide = isa >= CPU_ISA_AVX512;
        p->run = wide ? rows_avx512 : rows_avx2;
        return wide ? "c:layernorm:avx512" : "c:layernorm:avx2";
    }
#endif
    (void)isa;
    p->run = rows_base;
    return "c:layernorm";
}

pare_status cpu_make_layernorm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (!fast_is(s, "LayerNormalization") || s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (!fast_in(s, 0) || !fast_in(s, 1) || fast_out(s, 1) || fast_out(s, 2)) return PARE_EUNSUPPORTED;
    if (!fast_f32(s->in[0]) || !fast_f32(s->in[1]) || !fast_f32(s->out[0])) return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), x->ndim);
    if (axis < 0 || axis >= x->ndim) return PARE_EUNSUPPORTED;
    norm n = {.rows = fast_product(x->dims, 0, (uint32_t)axis),
              .n = fast_product(x->dims, (uint32_t)axis, x->ndim),
              .epsilon = (float)ref_attr_float(s, "epsilon", 1e-5),
              .shift = fast_in(s, 2)};
    if ((int64_t)ref_count(s->in[1]) != n.n) return PARE_EUNSUPPORTED;
    if (n.shift && (!fast_f32(s->in[2]) || (int64_t)ref_count(s->in[2]) != n.n)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    const char *name = choose(&n);
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    norm *kept = malloc(sizeof *kept);
    if (!k || !kept) {
        cpu_kernel_free(k);
        free(kept);
        return PARE_ENOMEM;
    }
    *kept = n;
    k->impl = kept;
    k->run = norm_run;
    k->destroy = free_impl;
    k->in_place = 0;
    *out = k;
    return PARE_OK;
}
