/* cpu/grad_depthwise.c - convolution in training where each channel is a group of its own, forward and both gradients,
 * over blocks of channels.
 *
 * Which places of the maps a tap joins is a table, so that borders cost nothing, and several images go side by side.
 * By weight, a tap's sum runs in some images at a time in float and over those in double. oneDNN's own kernels fall
 * back to a product of matrices of one row over small maps, and waste most of what they do where strides are 2. May
 * use: dn_conv.h, simd.h, wide.h.
 */
#include "dn_conv.h"
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

enum { TAPS = 49, SOME_PLACES = 256, FEW_PLACES = 16, IMAGES = 4 };

typedef struct deep_job deep_job;

typedef struct deep_loops {
    int lanes;
    void (*slide)(const deep_job *j, const float *x, const float *w, const float *bias, float *y, int64_t images);
    void (*taps)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end, float *sums);
    void (*nine)(const deep_job *j, const float *x, const float *dy, int64_t begin, int64_t end, float *sums);
    void (*places)(const deep_job *j, const float *dy, int64_t begin, int64_t end, float *sums);
} deep_loops;

/* By input, x and y change places: x is what is read. */
struct deep_job {
    const deep_loops *loops;
    bool bias;
    int64_t n, channels, blocks, taps, area;
    int64_t some, few; /* by weight: images that are summed in float; of those, how many are done at once of a block */
    int64_t x_n, y_n, x_s, y_s; /* floats of an image, places of a map */
    int32_t at[TAPS];           /* each used tap among the weights' own */
    const dn_conv_link *links;
    const int32_t *first;       /* of each output place, or of each tap; and the end */
    const dn_conv_link *places; /* by weight, where nine() may do it: where each place's first tap is, and which meet */
    int64_t row, column;        /* between taps */
    float *sums;                /* by weight: [blocks][taps, and one for the bias][lanes] */
    double *all;                /* the same, beyond some images */
    const float *x, *dy;
    float *y, *dw, *db, *w, *padded_bias;
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

static const deep_loops *loops_here(void) { return SIMD_BEST(deep_loops); }

/* ---- forward, and by input: tasks are (some images, block), so that memory is read in its order ---- */

static void slides(void *ctx, uint64_t begin, uint64_t end) {
    const deep_job *j = ctx;
    const int64_t lanes = j->loops->lanes;
    for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
        int64_t i = k / j->blocks * IMAGES, b = k % j->blocks, images = j->n - i < IMAGES ? j->n - i : IMAGES;
        j->loops->slide(j, j->x + i * j->x_n + b * j->x_s * lanes, j->w + b * j->taps * lanes,
                        j->padded_bias ? j->padded_bias + b * lanes : NULL, j->y + i * j->y_n + b * j->y_s * lanes,
                        images);
    }
}

/* The weights as [block][tap][lanes], and the bias; 0 beyond the channels. */
static void pack(const deep_job *j, const float *w, const float *bias) {
    const int64_t lanes = j->loops->lanes;
    for (int64_t b = 0; b < j->blocks; b++)
        for (int64_t l = 0, c = b * lanes; l < lanes; l++, c++) {
            float *to = j->w + b * j->taps * lanes + l;
            for (int64_t t = 0; t < j->taps; t++) to[t * lanes] = c < j->channels ? w[c * j->area + j->at[t]] : 0;
            if (bias) j->padded_bias[c] = c < j->channels ? bias[c] : 0;
        }
}

static pare_status slide_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    deep_job j = *(const deep_job *)k->impl;
    const int64_t lanes = j.loops->lanes;
    j.x = in[0];
    j.y = out[0];
    j.w = scratch;
    j.padded_bias = j.bias ? j.w + j.blocks * j.taps * lanes : NULL;
    pack(&j, in[1], j.bias ? in[2] : NULL);
    cpu_team_run(k->dev->threads, (uint64_t)((j.n + IMAGES - 1) / IMAGES * j.blocks), 1, slides, &j);
    return PARE_OK;
}

/* ---- by weight: tasks are blocks ---- */

/* Images lead, so that memory is read in its order. */
static void blocks(void *ctx, uint64_t begin, uint64_t end) {
    const deep_job *j = ctx;
    const int64_t lanes = j->loops->lanes, wide = (j->taps + 1) * lanes, first = (int64_t)begin, last = (int64_t)end;
    float *sums = j->sums;
    double *all = j->all;
    for (int64_t q = first * wide; q < last * wide; q++) all[q] = 0;
    for (int64_t i = 0, until; i < j->n; i = until) {
        until = i + j->some < j->n ? i + j->some : j->n;
        memset(sums + first * wide, 0, (size_t)((last - first) * wide) * sizeof *sums);
        for (int64_t at = i, to; at < until; at = to) {
            to = at + j->few < until ? at + j->few : until;
            for (int64_t b = first; b < last; b++) {
                const float *x = j->x + b * j->x_s * lanes, *dy = j->dy + b * j->y_s * lanes;
                (j->places ? j->loops->nine : j->loops->taps)(j, x, dy, at, to, sums + b * wide);
                if (j->db) j->loops->places(j, dy, at, to, sums + b * wide + j->taps * lanes);
            }
        }
        for (int64_t q = first * wide; q < last * wide; q++) all[q] += (double)sums[q];
    }
    for (int64_t b = first; b < last; b++)
        for (int64_t l = 0, c = b * lanes; l < lanes && c < j->channels; l++, c++) {
            float *to = j->dw + c * j->area;
            if (j->taps < j->area) memset(to, 0, (size_t)j->area * sizeof *to);
            for (int64_t t = 0; t < j->taps; t++) to[j->at[t]] = (float)all[b * wide + t * lanes + l];
            if (j->db) j->db[c] = (float)all[b * wide + j->taps * lanes + l];
        }
}

static pare_status deep_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    deep_job j = *(const deep_job *)k->impl;
    j.all = scratch;
    j.sums = (float *)(void *)(j.all + j.blocks * (j.taps + 1) * j.loops->lanes);
    j.dy = in[0];
    j.x = in[1];
    j.dw = out[0];
    j.db = j.bias ? out[1] : NULL;
    cpu_team_run(k->dev->threads, (uint64_t)j.blocks, 1, blocks, &j);
    return PARE_OK;
}

typedef struct deep_impl {
    deep_job job;
    int32_t *first; /* [keys + 1], behind the links */
    dn_conv_link links[];
} deep_impl;

/* The layout of an activation; false: the output is asked for in another one. */
static bool lay(cpu_device *dev, const pare_operand *o, int lanes, bool is_out, pare_layout *to) {
    dn_desc *d = dn_desc_blocked(4, o->dims, lanes, dnnl_f32);
    bool ok = d && cpu_layout_of(dev, d, to);
    dn_desc_free(d);
    return ok && (!is_out || o->layout.kind == PARE_LAYOUT_ANY ||
                  (o->layout.kind == to->kind && (to->kind != PARE_LAYOUT_OWN || o->layout.id == to->id)));
}

/* What nine() goes by; false: the kernel is not a whole one of 3x3, or misses the map with its middle. */
static bool nine_places(const dn_conv_shape *c, const pare_operand *x, const pare_operand *y, dn_conv_link *to) {
    if (c->w.kernel[0] != 3 || c->w.kernel[1] != 3) return false;
    for (int64_t p = 0; p < y->dims[2] * y->dims[3]; p++) {
        int32_t missed = 0;
        int64_t at[2] = {p / y->dims[3], p % y->dims[3]};
        for (uint32_t i = 0; i < 2; i++) {
            int64_t step = c->w.dilations[i] + 1, size = x->dims[2 + i];
            at[i] = at[i] * c->w.strides[i] - c->w.pads_l[i];
            if (at[i] + step < 0 || at[i] + step >= size) return false;
            missed |= ((at[i] < 0) | (at[i] + 2 * step >= size) << 1) << 2 * i;
        }
        to[p] = (dn_conv_link){(int32_t)(at[0] * x->dims[3] + at[1]), missed};
    }
    return true;
}

pare_status cpu_make_conv_depthwise(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                    const dn_conv_shape *c, cpu_kernel **out) {
    const deep_loops *loops = loops_here();
    const int64_t lanes = loops->lanes, taps = c->w.kernel[0] * c->w.kernel[1];
    if (c->nd != 2 || c->transposed || taps > TAPS || a->w->dims[1] != 1 || s->n_post) return PARE_EUNSUPPORTED;
    bool by_input = a->x == s->out[0], by_weight = !by_input && a->y != s->out[0];
    const pare_operand *from = by_input ? a->y : a->x, *to = by_input ? a->x : a->y;
    deep_job j = {.loops = loops, .bias = a->bias, .n = from->dims[0], .channels = from->dims[1], .taps = taps};
    j.blocks = (j.channels + lanes - 1) / lanes;
    j.area = a->w->dims[2] * a->w->dims[3];
    j.x_s = from->dims[2] * from->dims[3];
    j.y_s = to->dims[2] * to->dims[3];
    j.x_n = j.blocks * lanes * j.x_s;
    j.y_n = j.blocks * lanes * j.y_s;
    j.some = j.y_s < SOME_PLACES ? SOME_PLACES / j.y_s : 1;
    j.few = j.y_s < FEW_PLACES ? FEW_PLACES / j.y_s : 1;
    if (j.x_s > INT32_MAX / 64 || taps * j.x_s > INT32_MAX / 64 || taps * j.y_s > INT32_MAX / 64)
        return PARE_EUNSUPPORTED;
    for (int64_t t = 0; t < taps; t++)
        j.at[t] = (int32_t)((c->first[0] + t / c->w.kernel[1]) * a->w->dims[3] + c->first[1] + t % c->w.kernel[1]);
    pare_layout lay_from, lay_to;
    if (!lay(dev, from, (int)lanes, false, &lay_from) || !lay(dev, to, (int)lanes, !by_weight, &lay_to))
        return PARE_EUNSUPPORTED;
    int64_t keys = by_weight ? taps : j.y_s, links = dn_conv_links(c, a->x, a->y, -1, -1, -1, NULL), at = 0;
    const int64_t places = by_weight ? j.y_s : 0;
    size_t size =
        sizeof(deep_impl) + (size_t)(places + links) * sizeof(dn_conv_link) + ((size_t)keys + 1) * sizeof(int32_t);
    deep_impl *impl = calloc(1, size);
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = impl ? grad_kernel(dev, s, name, impl, size) : NULL;
    free(impl);
    if (!k) return PARE_ENOMEM;
    impl = k->impl;
    impl->first = (int32_t *)(void *)(impl->links + places + links);
    for (int64_t i = 0; i < keys; i++) {
        impl->first[i] = (int32_t)at;
        at += dn_conv_links(c, a->x, a->y, by_weight || by_input ? -1 : i, by_input ? i : -1, by_weight ? i : -1,
                            impl->links + at);
    }
    impl->first[keys] = (int32_t)at;
    if (by_weight && nine_places(c, a->x, a->y, impl->links + links)) {
        j.places = impl->links + links;
        j.row = (c->w.dilations[0] + 1) * a->x->dims[3];
        j.column = c->w.dilations[1] + 1;
    }
    j.links = impl->links;
    j.first = impl->first;
    impl->job = j;
    k->in[by_weight ? 1 : 0] = lay_from;
    if (by_weight)
        k->in[0] = lay_to;
    else
        k->out[0] = lay_to;
    k->run = by_weight ? deep_run : slide_run;
    k->scratch = (uint64_t)(j.blocks * lanes * (taps + 1)) * (sizeof(float) + (by_weight ? sizeof(double) : 0));
    *out = k;
    return PARE_OK;
}
