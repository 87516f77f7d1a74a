/* cpu/grad_point.c - ConvGradWeight of 1x1 kernels that step by 1, over blocks of channels.
 *
 * The gradient is a product of two matrices whose common side, the places of all images, is long: tiles of it are kept
 * in registers over some images at a time, those that stay in a core's own cache, and added up in place. oneDNN's
 * kernels split images among threads, which then wait for each other. Forward and by input, the like of it was as fast
 * as oneDNN's and is left to it. May use: dn_conv.h, simd.h, wide.h.
 */
#include "dn_conv.h"
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <string.h>

enum { NEAR_BYTES = 256 << 10 };

typedef struct point_job point_job;

typedef struct point_loops {
    int lanes;
    void (*tile)(const point_job *j, const float *x, const float *ahead, const float *dy, int64_t images, float *to,
                 int64_t rows, int64_t columns, bool fresh);
} point_loops;

struct point_job {
    const point_loops *loops;
    int64_t n, some;                     /* images; of which that many are taken at a time */
    int64_t s, in_c, out_c, x_n, y_n;    /* places of a map; floats of an image */
    int64_t wide, outs, across, columns; /* of a tile: blocks of inputs, outputs; tiles across and down */
    const float *x, *dy;
    float *dw;
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_point_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_point_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_point_body.h"

/* Tasks are tiles: those of the same inputs behind each other. While some images are worked on, the same blocks of the
 * next ones' x are fetched: it was written long ago, and comes from memory. */
static void tiles(void *ctx, uint64_t begin, uint64_t end) {
    const point_job *j = ctx;
    const int64_t lanes = j->loops->lanes, wide = j->wide * lanes;
    for (int64_t i = 0, images; i < j->n; i += images) {
        images = j->n - i < j->some ? j->n - i : j->some;
        for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
            const int64_t c = k / j->across * wide, o = k % j->across * j->outs;
            const float *x = j->x + i * j->x_n + c * j->s, *ahead = x;
            const int64_t block = k % j->across;
            if (block < j->wide && c + block * lanes < j->in_c && i + 2 * images <= j->n)
                ahead = x + images * j->x_n + block * lanes * j->s;
            j->loops->tile(j, x, ahead, j->dy + i * j->y_n + o / lanes * lanes * j->s + o % lanes, images,
                           j->dw + o * j->in_c + c, j->out_c - o, j->in_c - c, i == 0);
        }
    }
}

static pare_status point_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    point_job j = *(const point_job *)k->impl;
    j.dy = in[0];
    j.x = in[1];
    j.dw = out[0];
    cpu_team_run(k->dev->threads, (uint64_t)(j.across * j.columns), 1, tiles, &j);
    return PARE_OK;
}

static bool lay(cpu_device *dev, const pare_operand *o, int lanes, pare_layout *to) {
    dn_desc *d = dn_desc_blocked(4, o->dims, lanes, dnnl_f32);
    bool ok = d && cpu_layout_of(dev, d, to);
    dn_desc_free(d);
    return ok;
}

pare_status cpu_make_conv_point(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                const dn_conv_shape *c, cpu_kernel **out) {
    point_job j = {.loops = SIMD_BEST(point_loops), .n = a->x->dims[0], .in_c = a->x->dims[1]};
    const int64_t lanes = j.loops->lanes;
    bool fits = c->nd == 2 && c->groups == 1 && !c->transposed && !a->bias && a->x != s->out[0] && a->y != s->out[0];
    fits = fits && a->w->dims[2] * a->w->dims[3] == 1;
    for (uint32_t i = 0; fits && i < 2; i++)
        fits = c->w.strides[i] == 1 && c->w.pads_l[i] == 0 && a->x->dims[2 + i] == a->y->dims[2 + i];
    j.out_c = a->y->dims[1];
    if (!fits || j.in_c < lanes || j.out_c < lanes) return PARE_EUNSUPPORTED;
    const int64_t blocks = (j.in_c + lanes - 1) / lanes;
    j.s = a->x->dims[2] * a->x->dims[3];
    j.x_n = blocks * lanes * j.s;
    j.y_n = (j.out_c + lanes - 1) / lanes * lanes * j.s;
    j.wide = blocks == 1 ? 1 : blocks % 3 == 0 ? 3 : 2;
    j.outs = j.wide == 1 ? lanes : lanes / 2;
    j.across = (j.out_c + j.outs - 1) / j.outs;
    j.columns = (blocks + j.wide - 1) / j.wide;
    j.some = NEAR_BYTES / ((j.x_n + j.y_n) * (int64_t)sizeof(float));
    if (j.some < 1) j.some = 1;
    pare_layout lay_x, lay_y;
    if (!lay(dev, a->x, (int)lanes, &lay_x) || !lay(dev, a->y, (int)lanes, &lay_y)) return PARE_EUNSUPPORTED;
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, &j, sizeof j);
    if (!k) return PARE_ENOMEM;
    k->in[0] = lay_y;
    k->in[1] = lay_x;
    k->run = point_run;
    *out = k;
    return PARE_OK;
}
