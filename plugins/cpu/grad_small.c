/* cpu/grad_small.c - convolution over small maps in training, forward and both gradients, by our own loops.
 *
 * Where a map has few places, most taps of a 3x3 kernel miss it, and oneDNN's rows are too short to fill registers.
 * Here images are what fills them: each output place is a product of matrices (images by input channels, by output
 * channels), summed over the taps that meet the map at it, and no others. Activations lie in blocks of channels; they
 * and the weights are packed in scratch memory first. May use: dn_conv.h, simd.h, wide.h.
 */
#include "dn_conv.h"
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

typedef struct small_job small_job;

typedef struct small_loops {
    int lanes;
    void (*dot)(const small_job *j, const float *x, const float *w, const float *bias, float *y, int64_t images,
                bool second);
    void (*outer)(const small_job *j, const float *x, const float *dy, float *to);
} small_loops;

struct small_job {
    const small_loops *loops;
    bool by_input, by_weight, bias;
    int nb;            /* images of a block */
    int64_t n, images; /* images, blocks of them */
    int64_t in_c, out_c, in_blocks, out_blocks, pairs;
    int64_t in_s, out_s, in_n, out_n; /* places of a map; floats of an image */
    int64_t parts;                    /* that the tasks of the gradient by weights are split into */
    int64_t taps, area;               /* those used; those of the weights */
    int64_t step_out, step_in;        /* plain weights: from one output (input) of this product to the next */
    int32_t at[49];                   /* each used tap among the weights' own */
    const dn_conv_link *links;
    const int32_t *first; /* [out_s + 1], or [taps + 1] */
    const float *x, *w, *dy, *plain_bias;
    float *y, *packed_x, *packed_w, *panels, *padded_bias;
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_small_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_small_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_small_body.h"

enum { PLACES = 256, TAPS = 49 }; /* at most */

static const small_loops *loops_here(void) { return SIMD_BEST(small_loops); }

/* ---- packing ---- */

/* Images of some blocks: [block of images][block of channels][place][image][lanes]; 0 where the last one ends. */
static void pack_images(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes, bytes = lanes * (int64_t)sizeof(float);
    for (int64_t b = (int64_t)begin; b < (int64_t)end; b++) {
        float *to = j->packed_x + b * j->nb * j->in_n;
        for (int64_t k = 0; k < j->in_blocks * j->in_s; k++)
            for (int64_t i = 0; i < j->nb; i++, to += lanes) {
                if (b * j->nb + i < j->n)
                    memcpy(to, j->x + (b * j->nb + i) * j->in_n + k * lanes, (size_t)bytes);
                else
                    memset(to, 0, (size_t)bytes);
            }
    }
}

/* Weights of some pairs of output blocks: [pair][block of inputs][tap][lane][2 * lanes]. What is read and written for a
 * block of inputs stays in the first cache; the inner loop runs along the weights' own order. */
static void pack_weights(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes, wide = 2 * lanes, size = j->taps * lanes * wide;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++) {
        const int64_t outs = j->out_c - p * wide < wide ? j->out_c - p * wide : wide;
        const float *w = j->w + p * wide * j->step_out;
        for (int64_t b = 0; b < j->in_blocks; b++) {
            float *to = j->packed_w + (p * j->in_blocks + b) * size;
            const int64_t c0 = b * lanes, ins = j->in_c - c0 < lanes ? j->in_c - c0 : lanes;
            if (outs < wide || ins < lanes) memset(to, 0, (size_t)size * sizeof *to);
            const int64_t slow = j->by_input ? ins : outs, quick = j->by_input ? outs : ins;
            const int64_t slow_step = j->by_input ? j->step_in : j->step_out,
                          quick_step = j->by_input ? j->step_out : j->step_in;
            const int64_t slow_to = j->by_input ? wide : 1, quick_to = j->by_input ? 1 : wide;
            const float *from = w + c0 * j->step_in;
            for (int64_t u = 0; u < slow; u++)
                for (int64_t v = 0; v < quick; v++) {
                    const float *cell_from = from + u * slow_step + v * quick_step;
                    float *cell = to + u * slow_to + v * quick_to;
                    if (j->taps == 9 && j->area == 9) /* the usual kernel, unrolled */
                        for (int t = 0; t < 9; t++) cell[t * lanes * wide] = cell_from[t];
                    else
                        for (int64_t t = 0; t < j->taps; t++) cell[t * lanes * wide] = cell_from[j->at[t]];
                }
        }
    }
}

/* ---- forward, and by input: tasks are (pair, block of images) ---- */

static void dots(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes, panel = j->taps * j->in_blocks * lanes * 2 * lanes;
    for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
        int64_t pair = k / j->images, b = k % j->images, images = j->n - b * j->nb;
        j->loops->dot(j, j->packed_x + b * j->nb * j->in_n, j->packed_w + pair * panel,
                      j->padded_bias ? j->padded_bias + pair * 2 * lanes : NULL,
                      j->y + b * j->nb * j->out_n + pair * 2 * j->out_s * lanes, images < j->nb ? images : j->nb,
                      2 * pair + 1 < j->out_blocks);
    }
}

static uint64_t whole_lines(int64_t floats) { return ((uint64_t)floats * sizeof(float) + 63) / 64 * 64; }

static pare_status dots_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    small_job j = *(const small_job *)k->impl;
    unsigned char *room = scratch;
    const int64_t lanes = j.loops->lanes;
    j.x = in[0];
    j.w = in[1];
    j.y = out[0];
    j.packed_x = scratch;
    room += whole_lines(j.images * j.nb * j.in_n);
    j.packed_w = (float *)(void *)room;
    room += whole_lines(j.pairs * j.taps * j.in_blocks * lanes * 2 * lanes);
    if (j.bias) {
        j.padded_bias = (float *)(void *)room;
        memset(j.padded_bias, 0, (size_t)(j.pairs * 2 * lanes) * sizeof(float));
        memcpy(j.padded_bias, in[2], (size_t)j.out_c * sizeof(float));
    }
    cpu_team_run(k->dev->threads, (uint64_t)j.images, 1, pack_images, &j);
    cpu_team_run(k->dev->threads, (uint64_t)j.pairs, 1, pack_weights, &j);
    cpu_team_run(k->dev->threads, (uint64_t)(j.pairs * j.images), 1, dots, &j);
    return PARE_OK;
}

/* ---- by weight ---- */

/* x: [block][place][image][lanes]; tasks are blocks. */
static void pack_rows(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes;
    for (int64_t b = (int64_t)begin; b < (int64_t)end; b++)
        for (int64_t s = 0; s < j->in_s; s++) {
            float *to = j->packed_x + (b * j->in_s + s) * j->n * lanes;
            for (int64_t i = 0; i < j->n; i++, to += lanes)
                memcpy(to, j->x + i * j->in_n + (b * j->in_s + s) * lanes, (size_t)lanes * sizeof *to);
        }
}

/* dy: [pair][place][image][2 * lanes]; tasks are pairs. The bias's gradient by the way. */
static void pack_gradients(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++)
        for (int64_t s = 0; s < j->out_s; s++) {
            float *to = j->packed_w + (p * j->out_s + s) * j->n * 2 * lanes;
            for (int64_t i = 0; i < j->n; i++, to += 2 * lanes)
                for (int64_t h = 0; h < 2; h++) {
                    if (2 * p + h < j->out_blocks)
                        memcpy(to + h * lanes, j->dy + i * j->out_n + ((2 * p + h) * j->out_s + s) * lanes,
                               (size_t)lanes * sizeof *to);
                    else
                        memset(to + h * lanes, 0, (size_t)lanes * sizeof *to);
                }
        }
    for (int64_t c = (int64_t)begin * 2 * lanes; j->padded_bias && c < (int64_t)end * 2 * lanes && c < j->out_c; c++) {
        double sum = 0;
        const float *dy = j->dy + c / lanes * j->out_s * lanes + c % lanes;
        for (int64_t i = 0; i < j->n; i++)
            for (int64_t s = 0; s < j->out_s; s++) sum += (double)dy[i * j->out_n + s * lanes];
        j->padded_bias[c] = (float)sum;
    }
}

/* Tasks are (pair, block of inputs); each thread has a panel, by the part of the tasks that is its (team.h). */
static void outers(void *ctx, uint64_t begin, uint64_t end) {
    const small_job *j = ctx;
    const int64_t lanes = j->loops->lanes, wide = 2 * lanes, size = j->taps * lanes * wide;
    const int64_t tasks = j->pairs * j->in_blocks, base = tasks / j->parts, more = tasks % j->parts;
    const int64_t part =
        (int64_t)begin < more * (base + 1) ? (int64_t)begin / (base + 1) : ((int64_t)begin - more) / base;
    for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
        int64_t pair = k / j->in_blocks, b = k % j->in_blocks;
        float *panel = j->panels + part * size;
        j->loops->outer(j, j->packed_x + b * j->in_s * j->n * lanes, j->packed_w + pair * j->out_s * j->n * wide,
                        panel);
        int64_t outs = j->out_c - pair * wide < wide ? j->out_c - pair * wide : wide,
                ins = j->in_c - b * lanes < lanes ? j->in_c - b * lanes : lanes;
        for (int64_t o = 0; o < outs; o++) {
            float *to = j->y + (pair * wide + o) * j->step_out + b * lanes * j->area;
            if (j->taps < j->area) memset(to, 0, (size_t)(ins * j->area) * sizeof *to);
            for (int64_t t = 0; t < j->taps; t++) {
                const float *from = panel + t * lanes * wide + o;
                float *cell = to + j->at[t];
                for (int64_t c = 0; c < ins; c++) cell[c * j->area] = from[c * wide];
            }
        }
    }
}

static pare_status outers_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    small_job j = *(const small_job *)k->impl;
    unsigned char *room = scratch;
    const int64_t lanes = j.loops->lanes;
    j.dy = in[0];
    j.x = in[1];
    j.y = out[0];
    j.padded_bias = j.bias ? out[1] : NULL;
    j.packed_x = scratch;
    room += whole_lines(j.in_n * j.n);
    j.packed_w = (float *)(void *)room;
    room += whole_lines(j.pairs * j.out_s * j.n * 2 * lanes);
    j.panels = (float *)(void *)room;
    cpu_team_run(k->dev->threads, (uint64_t)j.in_blocks, 1, pack_rows, &j);
    cpu_team_run(k->dev->threads, (uint64_t)j.pairs, 1, pack_gradients, &j);
    cpu_team_run(k->dev->threads, (uint64_t)(j.pairs * j.in_blocks), 1, outers, &j);
    return PARE_OK;
}

/* ---- making ---- */

typedef struct small_impl {
    small_job job;
    int32_t first[PLACES + 2];
    dn_conv_link links[];
} small_impl;

static bool fits(const pare_operand *o) { return o->ndim == 4 && o->dims[2] * o->dims[3] <= PLACES; }

static int block_of(int64_t n, int lanes) {
    static const int wide[] = {14, 13, 12, 11, 8}, narrow[] = {6, 5, 4};
    const int *list = lanes == 16 ? wide : narrow;
    int best = list[0], count = lanes == 16 ? 5 : 3;
    for (int i = 1; i < count; i++)
        if ((n + list[i] - 1) / list[i] * list[i] < (n + best - 1) / best * best) best = list[i];
    return best;
}

/* The layout of an activation, and its bytes; false: the output is asked for in another one. */
static bool lay(cpu_device *dev, const pare_operand *o, int lanes, bool is_out, pare_layout *to) {
    dn_desc *d = dn_desc_blocked(4, o->dims, lanes, dnnl_f32);
    bool ok = d && cpu_layout_of(dev, d, to);
    dn_desc_free(d);
    return ok && (!is_out || o->layout.kind == PARE_LAYOUT_ANY ||
                  (o->layout.kind == to->kind && (to->kind != PARE_LAYOUT_OWN || o->layout.id == to->id)));
}

pare_status cpu_make_conv_small(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                const dn_conv_shape *c, cpu_kernel **out) {
    const small_loops *loops = loops_here();
    const int64_t lanes = loops->lanes, taps = c->w.kernel[0] * c->w.kernel[1];
    bool by_input = a->x == s->out[0], by_weight = !by_input && a->y != s->out[0];
    if (c->nd != 2 || c->groups != 1 || c->transposed || s->n_post || !fits(a->x) || !fits(a->y) || taps > TAPS)
        return PARE_EUNSUPPORTED;
    if (a->x->dims[0] < 4 || a->x->dims[1] < lanes || a->y->dims[1] < lanes) return PARE_EUNSUPPORTED;
    const pare_operand *from = by_input ? a->y : a->x, *to = by_input ? a->x : a->y;
    small_job j = {.loops = loops, .by_input = by_input, .by_weight = by_weight, .bias = a->bias, .n = from->dims[0]};
    j.in_c = from->dims[1];
    j.out_c = to->dims[1];
    j.in_blocks = (j.in_c + lanes - 1) / lanes;
    j.out_blocks = (j.out_c + lanes - 1) / lanes;
    j.pairs = (j.out_blocks + 1) / 2;
    j.in_s = from->dims[2] * from->dims[3];
    j.out_s = to->dims[2] * to->dims[3];
    j.in_n = j.in_blocks * lanes * j.in_s;
    j.out_n = j.out_blocks * lanes * j.out_s;
    j.nb = block_of(j.n, (int)lanes);
    j.images = (j.n + j.nb - 1) / j.nb;
    j.parts = j.pairs * j.in_blocks < (int64_t)dev->threads ? j.pairs * j.in_blocks : (int64_t)dev->threads;
    j.taps = taps;
    j.area = a->w->dims[2] * a->w->dims[3];
    int64_t of_in = j.area, of_out = a->w->dims[1] * j.area; /* ONNX: outputs first */
    j.step_out = by_input ? of_in : of_out;
    j.step_in = by_input ? of_out : of_in;
    for (int64_t t = 0; t < taps; t++)
        j.at[t] = (int32_t)((c->first[0] + t / c->w.kernel[1]) * a->w->dims[3] + c->first[1] + t % c->w.kernel[1]);
    int64_t keys = by_weight ? taps : j.out_s, links = dn_conv_links(c, a->x, a->y, -1, -1, -1, NULL), at = 0;
    pare_layout lay_in, lay_out;
    if (!lay(dev, from, (int)lanes, false, &lay_in) || !lay(dev, to, (int)lanes, !by_weight, &lay_out))
        return PARE_EUNSUPPORTED;
    size_t size = sizeof(small_impl) + (size_t)links * sizeof(dn_conv_link);
    small_impl *impl = calloc(1, size);
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = impl ? grad_kernel(dev, s, name, impl, size) : NULL;
    free(impl);
    if (!k) return PARE_ENOMEM;
    impl = k->impl;
    for (int64_t i = 0; i < keys; i++) {
        impl->first[i] = (int32_t)at;
        at += dn_conv_links(c, a->x, a->y, by_weight || by_input ? -1 : i, by_input ? i : -1, by_weight ? i : -1,
                            impl->links + at);
    }
    impl->first[keys] = (int32_t)at;
    j.links = impl->links;
    j.first = impl->first;
    impl->job = j;
    k->in[by_weight ? 1 : 0] = lay_in;
    if (by_weight)
        k->in[0] = lay_out;
    else
        k->out[0] = lay_out;
    k->run = by_weight ? outers_run : dots_run;
    k->scratch = by_weight ? whole_lines(j.in_n * j.n) + whole_lines(j.pairs * j.out_s * j.n * 2 * lanes) +
                                 whole_lines(j.parts * taps * lanes * 2 * lanes)
                           : whole_lines(j.images * j.nb * j.in_n) +
                                 whole_lines(j.pairs * taps * j.in_blocks * lanes * 2 * lanes) +
                                 whole_lines(j.pairs * 2 * lanes);
    *out = k;
    return PARE_OK;
}
