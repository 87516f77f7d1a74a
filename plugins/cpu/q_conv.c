/* cpu/q_conv.c - Conv of 8-bit numbers, channels last: a product of matrices whose rows are the input's pixels under
 * the window, found by pointers, so that nothing is copied. Where a pixel has no whole number of four channels
 * (images), lines of a padded copy are the rows. Our own because oneDNN 2.6 is slow where zero points meet padding, and
 * saturates without VNNI.
 */
#include "dn_conv.h"
#include "isa.h"
#include "q_gemm.h"
#include "q_spec.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef struct q_conv {
    /* sizes: c, oc of all groups */
    int64_t n, c, h, w, oc, oh, ow, kh, kw, sh, sw, dh, dw, top, left, groups;
    bool lines, planar, turned; /* rows are lines of a padded copy; the input is plain; it is int8 */
    int64_t hp, wp;             /* the padded copy's */
    q_shape shape;              /* of one group */
    uint64_t blob, start_bytes, copy_bytes;
    int32_t zero; /* the input's, as uint8 */
    bool bias, turned_weights;
    q_post post;
    const q_set *set;
    float *scale;          /* [groups][blocks * Q_NR] */
    unsigned char *border; /* zero points: a pixel outside */
} q_conv;

static int64_t blocks(const q_conv *c) { return (c->shape.n + Q_NR - 1) / Q_NR; }

/* ---- weights ---- */

static pare_status pack_one(cpu_kernel *k, uint32_t i, const void *src, void *dst) {
    (void)i;
    const q_conv *c = k->impl;
    const int64_t taps = c->kh * c->kw, ic = c->c / c->groups;
    const uint8_t flip = c->turned_weights ? 0x80 : 0;
    memset(dst, 0, (size_t)(c->blob * (uint64_t)c->groups));
    for (int64_t o = 0; o < c->oc; o++) {
        int64_t g = o / c->shape.n, at = o % c->shape.n;
        q_blob b = q_blob_at(&c->shape, (unsigned char *)dst + (uint64_t)g * c->blob);
        int8_t *to = b.w + at / Q_NR * b.block_bytes + at % Q_NR * 4;
        const uint8_t *from = (const uint8_t *)src + o * ic * taps;
        for (int64_t f = 0; f < ic; f++)
            for (int64_t t = 0; t < taps; t++) {
                int64_t row = c->lines ? t / c->kw * c->shape.k + t % c->kw * ic + f : t * c->shape.k + f;
                to[row / 4 * 4 * Q_NR + row % 4] = (int8_t)(from[f * taps + t] ^ flip);
            }
    }
    for (int64_t g = 0; g < c->groups; g++) {
        q_blob b = q_blob_at(&c->shape, (unsigned char *)dst + (uint64_t)g * c->blob);
        q_blob_finish(&c->shape, &b);
    }
    return PARE_OK;
}

/* ---- rows ---- */

typedef struct rows_at {
    const q_conv *c;
    const uint8_t *x; /* of the group */
} rows_at;

/* Where a tile's windows begin: rows behind the n-th repeat it. */
typedef struct corners {
    int32_t y[16], x[16];
    int64_t at[16]; /* bytes from the input's first, may lie before it */
    bool inside;    /* all windows */
} corners;

static void find_corners(const q_conv *c, int64_t first, uint32_t n, corners *to) {
    int64_t image = c->oh * c->ow, b = first / image, oh = first % image / c->ow, ow = first % c->ow;
    int64_t y = oh * c->sh - c->top, x = ow * c->sw - c->left, line = (b * c->h + y) * c->w;
    to->inside = true;
    for (uint32_t j = 0; j < n; j++) {
        to->y[j] = (int32_t)y;
        to->x[j] = (int32_t)x;
        to->at[j] = (line + x) * c->c;
        to->inside = to->inside && y >= 0 && x >= 0 && y + (c->kh - 1) * c->dh < c->h && x + (c->kw - 1) * c->dw < c->w;
        x += c->sw;
        if (++ow < c->ow) continue;
        ow = 0;
        if (++oh == c->oh) {
            oh = 0;
            b++;
        }
        y = oh * c->sh - c->top;
        x = -c->left;
        line = (b * c->h + y) * c->w;
    }
    for (uint32_t j = n; j < 16; j++) {
        to->y[j] = to->y[n - 1];
        to->x[j] = to->x[n - 1];
        to->at[j] = to->at[n - 1];
    }
}

/* Pixels in the input itself; those outside are the border's. */
static void points_direct(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows) {
    const rows_at *at = ctx;
    const q_conv *c = at->c;
    corners f;
    find_corners(c, first, n, &f);
    for (int64_t i = 0; i < c->kh; i++)
        for (int64_t k = 0; k < c->kw; k++, rows += Q_MR) {
            int64_t dy = i * c->dh, dx = k * c->dw, step = (dy * c->w + dx) * c->c;
            for (uint32_t j = 0; j < n; j++) {
                bool in =
                    f.inside || ((uint64_t)(f.y[j] + dy) < (uint64_t)c->h && (uint64_t)(f.x[j] + dx) < (uint64_t)c->w);
                rows[j] = in ? at->x + (f.at[j] + step) : c->border;
            }
        }
}

#if defined(__x86_64__)
/* The same for all rows of a tile at once: searching for borders costs a tenth of a small convolution otherwise. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2"))) static void
points_wide(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows) {
    const rows_at *at = ctx;
    const q_conv *c = at->c;
    corners f;
    find_corners(c, first, n, &f);
    const __m512i y = _mm512_loadu_si512(f.y), x = _mm512_loadu_si512(f.x), h = _mm512_set1_epi32((int32_t)c->h),
                  w = _mm512_set1_epi32((int32_t)c->w), start = _mm512_set1_epi64((int64_t)(intptr_t)at->x),
                  border = _mm512_set1_epi64((int64_t)(intptr_t)c->border);
    const __m512i low = _mm512_add_epi64(_mm512_loadu_si512(f.at), start),
                  high = _mm512_add_epi64(_mm512_loadu_si512(f.at + 8), start);
    for (int64_t i = 0; i < c->kh; i++) {
        const __m512i dy = _mm512_set1_epi32((int32_t)(i * c->dh));
        const __mmask16 in_y = _mm512_cmplt_epu32_mask(_mm512_add_epi32(y, dy), h);
        for (int64_t k = 0; k < c->kw; k++, rows += Q_MR) {
            const __m512i dx = _mm512_set1_epi32((int32_t)(k * c->dw));
            const __mmask16 in = in_y & _mm512_cmplt_epu32_mask(_mm512_add_epi32(x, dx), w);
            const __m512i step = _mm512_set1_epi64((i * c->dh * c->w + k * c->dw) * c->c);
            _mm512_storeu_si512(rows, _mm512_mask_add_epi64(border, (__mmask8)in, low, step));
            _mm512_mask_storeu_epi64(rows + 8, 0x3f, _mm512_mask_add_epi64(border, (__mmask8)(in >> 8), high, step));
        }
    }
}
#endif

/* A window of one pixel that moves by one: no bounds, no search. */
static void points_pixels(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows) {
    const rows_at *at = ctx;
    const uint8_t *x = at->x + first * at->c->c;
    for (uint32_t j = 0; j < n; j++) rows[j] = x + j * at->c->c;
}

static void points_lines(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows) {
    const rows_at *at = ctx;
    const q_conv *c = at->c;
    int64_t image = c->oh * c->ow, b = first / image, oh = first % image / c->ow, ow = first % c->ow;
    for (uint32_t j = 0; j < n; j++) {
        const uint8_t *p = at->x + ((b * c->hp + oh * c->sh) * c->wp + ow * c->sw) * c->c;
        for (int64_t i = 0; i < c->kh; i++) rows[i * Q_MR + j] = p + i * c->dh * c->wp * c->c;
        if (++ow < c->ow) continue;
        ow = 0;
        if (++oh < c->oh) continue;
        oh = 0;
        b++;
    }
}

/* ---- the padded copy ---- */

typedef struct copy_job {
    const q_conv *c;
    const uint8_t *x;
    uint8_t *to;
} copy_job;

/* n pixels of three planes, side by side. */
static void interleave3(const uint8_t *a, const uint8_t *b, const uint8_t *c, uint8_t *to, int64_t n, uint8_t flip) {
    for (int64_t i = 0; i < n; i++) {
        to[3 * i] = a[i] ^ flip;
        to[3 * i + 1] = b[i] ^ flip;
        to[3 * i + 2] = c[i] ^ flip;
    }
}

#if defined(__x86_64__)
/* 16 pixels at a time: each byte of the three vectors that come out is picked from one plane. */
__attribute__((target("avx2"))) static int64_t interleave3_avx2(const uint8_t *a, const uint8_t *b, const uint8_t *c,
                                                                uint8_t *to, int64_t n, uint8_t flip) {
    __m128i pick[3][3];
    for (int v = 0; v < 3; v++)
        for (int p = 0; p < 3; p++) {
            uint8_t from[16];
            for (int i = 0; i < 16; i++) from[i] = (uint8_t)((16 * v + i) % 3 == p ? (16 * v + i) / 3 : 0x80);
            pick[v][p] = _mm_loadu_si128((const __m128i *)(const void *)from);
        }
    const __m128i turn = _mm_set1_epi8((char)flip);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int v = 0; v < 3; v++) {
            __m128i x = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(a + i)), pick[v][0]);
            __m128i y = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(b + i)), pick[v][1]);
            __m128i z = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(c + i)), pick[v][2]);
            x = _mm_xor_si128(_mm_or_si128(_mm_or_si128(x, y), z), turn);
            _mm_storeu_si128((__m128i *)(void *)(to + 3 * i + 16 * v), x);
        }
    return i;
}
#endif

static void copy_lines(void *ctx, uint64_t begin, uint64_t end) {
    const copy_job *j = ctx;
    const q_conv *c = j->c;
    const uint8_t flip = c->turned ? 0x80 : 0;
    const int64_t width = c->wp * c->c, plane = c->h * c->w;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        int64_t b = r / c->hp, y = r % c->hp - c->top, left = c->left, right = c->wp;
        uint8_t *to = j->to + r * width;
        if (y < 0 || y >= c->h || left >= c->wp) {
            memset(to, c->zero, (size_t)width);
            continue;
        }
        if (right > left + c->w) right = left + c->w;
        memset(to, c->zero, (size_t)(left * c->c));
        memset(to + right * c->c, c->zero, (size_t)((c->wp - right) * c->c));
        to += left * c->c;
        if (c->planar && c->c == 3) {
            const uint8_t *p = j->x + b * 3 * plane + y * c->w;
            int64_t n = right - left, done = 0;
#if defined(__x86_64__)
            if (cpu_isa_best() >= CPU_ISA_AVX2) done = interleave3_avx2(p, p + plane, p + 2 * plane, to, n, flip);
#endif
            p += done;
            interleave3(p, p + plane, p + 2 * plane, to + 3 * done, n - done, flip);
        } else if (c->planar) {
            for (int64_t f = 0; f < c->c; f++) {
                const uint8_t *p = j->x + (b * c->c + f) * plane + y * c->w;
                for (int64_t x = 0; x < right - left; x++) to[x * c->c + f] = p[x] ^ flip;
            }
        } else {
            const uint8_t *p = j->x + (b * plane + y * c->w) * c->c;
            for (int64_t x = 0; x < (right - left) * c->c; x++) to[x] = p[x] ^ flip;
        }
    }
}

/* ---- a run ---- */

static pare_status conv_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    const q_conv *c = k->impl;
    int32_t *start = scratch;
    uint8_t *copy = (uint8_t *)scratch + c->start_bytes;
    const int32_t *bias = c->bias ? in[2] : NULL;
    const uint8_t *x = in[0];
    const int64_t width = blocks(c) * Q_NR;
    bool pixels = c->kh == 1 && c->kw == 1 && c->sh == 1 && c->sw == 1 && c->oh == c->h && c->ow == c->w;
    q_points_fn *points = c->lines ? points_lines : pixels ? points_pixels : points_direct;
#if defined(__x86_64__)
    if (points == points_direct && cpu_isa_best() >= CPU_ISA_AVX512) points = points_wide;
#endif
    if (c->lines) {
        copy_job job = {c, x, copy};
        uint64_t grain = (uint64_t)(16384 / (c->wp * c->c) + 1);
        cpu_team_run(k->dev->threads, (uint64_t)(c->n * c->hp), grain, copy_lines, &job);
        x = copy;
    } else if (c->turned) {
        q_turn(k->dev->threads, x, copy, c->copy_bytes);
        x = copy;
    }
    for (int64_t g = 0; g < c->groups; g++) {
        unsigned char *packed;
        memcpy(&packed, &in[1], sizeof packed); /* only read */
        q_blob b = q_blob_at(&c->shape, packed + (uint64_t)g * c->blob);
        for (int64_t i = 0; i < width; i++) {
            int32_t from = bias && i < c->shape.n ? bias[g * c->shape.n + i] : 0;
            start[i] = (int32_t)((uint32_t)from - (uint32_t)c->zero * (uint32_t)b.sum[i]);
        }
        rows_at at = {c, x + (c->lines ? 0 : g * (c->c / c->groups))};
        q_job j = {.set = c->set,
                   .shape = c->shape,
                   .blob = b,
                   .m = c->n * c->oh * c->ow,
                   .start = start,
                   .e = {.post = &c->post,
                         .scale = c->scale + g * width,
                         .in = in,
                         .out = out[0],
                         .ld = c->oc,
                         .first = g * c->shape.n},
                   .points = points,
                   .ctx = &at};
        q_job_run(k->dev->threads, &j);
    }
    return PARE_OK;
}

static void conv_free(cpu_kernel *k) {
    q_conv *c = k->impl;
    if (!c) return;
    free(c->scale);
    free(c->border);
    free(c);
}

/* ---- making ---- */

/* Sizes; a row of pixels is an image of height 1. */
static bool sizes(const pare_kernel_spec *s, q_conv *c) {
    const pare_operand *x = s->in[0], *w = s->in[1], *y = s->out[0];
    dn_conv_shape shape = {0};
    if (x->ndim < 3 || x->ndim > 4 || !dn_conv_shape_of(s, x, w, y, &shape)) return false;
    uint32_t d = shape.nd - 1;
    bool two = shape.nd == 2;
    c->n = x->dims[0];
    c->c = x->dims[1];
    c->oc = y->dims[1];
    c->h = two ? x->dims[2] : 1;
    c->oh = two ? y->dims[2] : 1;
    c->kh = two ? w->dims[2] : 1;
    c->sh = two ? shape.w.strides[0] : 1;
    c->dh = two ? shape.w.dilations[0] + 1 : 1;
    c->top = two ? shape.w.pads_l[0] : 0;
    c->w = x->dims[2 + d];
    c->ow = y->dims[2 + d];
    c->kw = w->dims[2 + d];
    c->sw = shape.w.strides[d];
    c->dw = shape.w.dilations[d] + 1;
    c->left = shape.w.pads_l[d];
    c->groups = shape.groups;
    return c->oc == w->dims[0] && w->dims[1] * c->groups == c->c && c->oc % c->groups == 0 && y->dims[0] == c->n;
}

/* How rows are made. false: not by this kernel. */
static bool plan(const pare_kernel_spec *s, q_conv *c) {
    int64_t ic = c->c / c->groups, least = c->turned ? c->n * c->c * c->h * c->w : 0;
    c->lines = ic % 4 != 0;
    c->shape = (q_shape){.n = c->oc / c->groups, .taps = c->kh * c->kw, .k = ic};
    if (c->lines) {
        if (c->groups != 1 || c->dw != 1) return false;
        c->planar = s->in[0]->layout.kind != PARE_LAYOUT_OWN && c->c <= 4;
        c->hp = (c->oh - 1) * c->sh + (c->kh - 1) * c->dh + 1;
        c->wp = (c->ow - 1) * c->sw + c->kw;
        c->shape.taps = c->kh;
        c->shape.k = (c->kw * c->c + 3) / 4 * 4;
        least = c->n * c->hp * c->wp * c->c + 4;
    }
    c->copy_bytes = (uint64_t)least;
    c->start_bytes = (uint64_t)blocks(c) * Q_NR * sizeof(int32_t);
    c->blob = (q_blob_bytes(&c->shape) + 63) / 64 * 64;
    return c->shape.taps <= Q_TAPS && c->h < INT32_MAX / 4 && c->w < INT32_MAX / 4;
}

static pare_status finish(cpu_device *dev, const pare_kernel_spec *s, cpu_kernel *k, q_conv *c) {
    const int64_t words[] = {'c', c->lines, c->groups, c->oc, c->c, c->kh, c->kw, c->turned_weights};
    if (!q_pack_layout(dev, c->blob * (uint64_t)c->groups, words, sizeof words / sizeof *words, &k->in[1]))
        return PARE_ENOMEM;
    k->pack[1] = c->blob * (uint64_t)c->groups;
    k->pack_one = pack_one;
    k->scratch = c->start_bytes + c->copy_bytes;
    if (!c->planar && !q_nhwc(dev, s->in[0], &k->in[0])) return PARE_ENOMEM;
    if (!q_nhwc(dev, s->out[0], &k->out[0])) return PARE_ENOMEM;
    for (uint32_t i = 0; i < c->post.n; i++) {
        const q_stage *q = &c->post.stage[i];
        if ((q->kind == Q_ADD || q->kind == Q_MUL) && !q_nhwc(dev, s->in[q->operand], &k->in[q->operand]))
            return PARE_ENOMEM;
        if (q->kind == Q_ADD && q->dtype == c->post.dtype) k->in_place = (int32_t)q->operand;
    }
    return q_fits(s->out[0], &k->out[0]) ? PARE_OK : PARE_EUNSUPPORTED;
}

pare_status cpu_make_q_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    q_conv c = {0};
    float x_scale, first;
    if (!fast_is(s, "Conv") || !fast_in(s, 0) || !fast_in(s, 1) || !fast_out(s, 0)) return PARE_EUNSUPPORTED;
    const pare_operand *w = s->in[1];
    if (!q_tensor(s->in[0], &x_scale, &c.zero) || !q_eight(w) || !(w->flags & PARE_OPERAND_CONSTANT) || !sizes(s, &c))
        return PARE_EUNSUPPORTED;
    c.bias = fast_in(s, 2);
    if (c.bias && (s->in[2]->dtype != PARE_INT32 || (int64_t)ref_count(s->in[2]) != c.oc)) return PARE_EUNSUPPORTED;
    c.turned = s->in[0]->dtype == PARE_INT8;
    c.turned_weights = w->dtype == PARE_UINT8;
    if (c.turned) c.zero += 128;
    if (!plan(s, &c)) return PARE_EUNSUPPORTED;
    uint32_t n = s->n_post;
    while (!q_post_of(s, n, &c.post, &first))
        if (!n--) return PARE_EUNSUPPORTED;
    if (n == s->n_post && s->out[0]->dtype != c.post.dtype) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    c.set = q_set_best();
    char name[64];
    snprintf(name, sizeof name, "q:conv:%s", c.set->name);
    cpu_kernel *k = q_kernel(dev, s, name, sizeof c);
    int64_t width = blocks(&c) * Q_NR;
    float *scales = malloc((size_t)c.oc * sizeof *scales);
    c.scale = calloc((size_t)(c.groups * width), sizeof *c.scale);
    c.border = malloc((size_t)c.shape.k + 64);
    pare_status st = k && scales && c.scale && c.border ? PARE_OK : PARE_ENOMEM;
    if (!st && !q_weights(w, c.oc, 0, x_scale, scales)) st = PARE_EUNSUPPORTED;
    for (int64_t i = 0; !st && i < c.oc; i++) c.scale[i / c.shape.n * width + i % c.shape.n] = scales[i] / first;
    if (!st && !q_scales_small(c.scale, c.groups * width)) c.post.mode = Q_NARROW_NONE;
    free(scales);
    if (!k) {
        free(c.scale);
        free(c.border);
        return st;
    }
    if (c.border) memset(c.border, c.zero, (size_t)c.shape.k + 64);
    memcpy(k->impl, &c, sizeof c);
    k->destroy = conv_free;
    k->run = conv_run;
    k->n_post = n;
    if (!st) st = finish(dev, s, k, k->impl);
    if (st)
        cpu_kernel_free(k);
    else
        *out = k;
    return st;
}
