/* cpu/grad_depthwise.c - ConvGradWeight where each channel is a group of its own, over blocks of channels.
 *
 * A tap's sum runs over the places where it meets the map, in some images at a time in float and over those in double.
 * oneDNN's own kernel falls back to a product of matrices of one row over small maps. May use: dn_conv.h, simd.h,
 * wide.h.
 */
#include "dn_conv.h"
#include "grad.h"
#include "isa.h"
#include "simd_sets.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

enum { TAPS = 49, SOME_PLACES = 512 };

typedef struct deep_job deep_job;

typedef struct deep_loops {
    int lanes;
    void (*taps)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end, double *sums);
    void (*places)(const deep_job *j, const float *dy, int64_t begin, int64_t end, double *sums);
} deep_loops;

struct deep_job {
    const deep_loops *loops;
    bool bias;
    int64_t n, some, channels, blocks, taps, area; /* some: images that are summed in float */
    int64_t x_n, y_n, x_s, y_s;                    /* floats of an image, places of a map */
    int32_t at[TAPS];                              /* each used tap among the weights' own */
    int32_t first[TAPS + 1];
    const dn_conv_link *links;
    const float *x, *dy;
    float *dw, *db;
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_depthwise_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_depthwise_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_depthwise_body.h"

static const deep_loops *loops_here(void) {
    cpu_isa isa = cpu_isa_best();
#if defined(__x86_64__)
    if (isa >= CPU_ISA_AVX512) return &deep_loops_avx512;
    if (isa >= CPU_ISA_AVX2) return &deep_loops_avx2;
#endif
    (void)isa;
    return &deep_loops_base;
}

static void blocks(void *ctx, uint64_t begin, uint64_t end) {
    const deep_job *j = ctx;
    const int64_t lanes = j->loops->lanes;
    for (int64_t b = (int64_t)begin; b < (int64_t)end; b++) {
        double sums[TAPS * 16] = {0}, bias[16] = {0};
        const float *x = j->x + b * j->x_s * lanes, *dy = j->dy + b * j->y_s * lanes;
        for (int64_t i = 0; i < j->n; i += j->some) {
            int64_t last = i + j->some < j->n ? i + j->some : j->n;
            j->loops->taps(j, x, dy, i, last, sums);
            if (j->db) j->loops->places(j, dy, i, last, bias);
        }
        for (int64_t l = 0; l < lanes && b * lanes + l < j->channels; l++) {
            float *to = j->dw + (b * lanes + l) * j->area;
            if (j->taps < j->area) memset(to, 0, (size_t)j->area * sizeof *to);
            for (int64_t t = 0; t < j->taps; t++) to[j->at[t]] = (float)sums[t * lanes + l];
            if (j->db) j->db[b * lanes + l] = (float)bias[l];
        }
    }
}

static pare_status deep_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    deep_job j = *(const deep_job *)k->impl;
    j.dy = in[0];
    j.x = in[1];
    j.dw = out[0];
    j.db = j.bias ? out[1] : NULL;
    cpu_team_run(k->dev->threads, (uint64_t)j.blocks, 1, blocks, &j);
    return PARE_OK;
}

typedef struct deep_impl {
    deep_job job;
    dn_conv_link links[];
} deep_impl;

static bool lay(cpu_device *dev, const pare_operand *o, int lanes, pare_layout *to) {
    dn_desc *d = dn_desc_blocked(4, o->dims, lanes, dnnl_f32);
    bool ok = d && cpu_layout_of(dev, d, to);
    dn_desc_free(d);
    return ok;
}

pare_status cpu_make_conv_depthwise(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                    const dn_conv_shape *c, cpu_kernel **out) {
    const deep_loops *loops = loops_here();
    const int64_t lanes = loops->lanes, taps = c->w.kernel[0] * c->w.kernel[1];
    if (c->nd != 2 || taps > TAPS || a->w->dims[1] != 1) return PARE_EUNSUPPORTED;
    deep_job j = {.loops = loops, .bias = a->bias, .n = a->x->dims[0], .channels = a->x->dims[1], .taps = taps};
    j.blocks = (j.channels + lanes - 1) / lanes;
    j.area = a->w->dims[2] * a->w->dims[3];
    j.x_s = a->x->dims[2] * a->x->dims[3];
    j.y_s = a->y->dims[2] * a->y->dims[3];
    j.x_n = j.blocks * lanes * j.x_s;
    j.y_n = j.blocks * lanes * j.y_s;
    j.some = j.y_s < SOME_PLACES ? SOME_PLACES / j.y_s : 1;
    if (j.x_s > INT32_MAX / 64 || taps * j.y_s > INT32_MAX / 64) return PARE_EUNSUPPORTED;
    for (int64_t t = 0; t < taps; t++)
        j.at[t] = (int32_t)((c->first[0] + t / c->w.kernel[1]) * a->w->dims[3] + c->first[1] + t % c->w.kernel[1]);
    pare_layout lay_x, lay_y;
    if (!lay(dev, a->x, (int)lanes, &lay_x) || !lay(dev, a->y, (int)lanes, &lay_y)) return PARE_EUNSUPPORTED;
    int64_t links = dn_conv_links(c, a->x, a->y, -1, -1, -1, NULL), at = 0;
    size_t size = sizeof(deep_impl) + (size_t)links * sizeof(dn_conv_link);
    deep_impl *impl = calloc(1, size);
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = impl ? grad_kernel(dev, s, name, impl, size) : NULL;
    free(impl);
    if (!k) return PARE_ENOMEM;
    impl = k->impl;
    for (int64_t t = 0; t < taps; t++) {
        j.first[t] = (int32_t)at;
        at += dn_conv_links(c, a->x, a->y, -1, -1, t, impl->links + at);
    }
    j.first[taps] = (int32_t)at;
    j.links = impl->links;
    impl->job = j;
    k->in[0] = lay_y;
    k->in[1] = lay_x;
    k->run = deep_run;
    *out = k;
    return PARE_OK;
}
