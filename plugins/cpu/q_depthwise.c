/* cpu/q_depthwise.c - Conv of 8-bit numbers with a group for each channel, channels last, 32 of them at a time. */
#include "dn_conv.h"
#include "isa.h"
#include "q_gemm.h"
#include "q_spec.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q_LINES = 16 }; /* the highest window */

/* One line of outputs of up to 32 channels. */
typedef struct q_line {
    const uint8_t *const *lines; /* [4 * groups], at the first of the channels; zero points where there is none */
    const int8_t *weights;       /* [groups][kw][32][4] in the order of unpacked bytes */
    const int32_t *start;        /* [32] in that order */
    const float *scale;
    uint8_t *out;
    const q_epilogue *e;
    q_rows_fn *finish;
    int64_t c, w, ow, groups, kw, left, step, spread, row, channel;
    uint32_t n, kind; /* 1, 2: 3 x 3 with steps of that */
    uint8_t zero;
    int16_t low, high, out_zero;
    bool simple, out_signed, exact;
} q_line;

#if defined(__x86_64__)
#include <immintrin.h>
#define Q_DOT_EXACT_INTO(acc, x, w)                                                                                    \
    do {                                                                                                               \
        __m256i xe_ = _mm256_and_si256(x, _mm256_set1_epi16(255)), xo_ = _mm256_srli_epi16(x, 8);                      \
        __m256i we_ = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), wo_ = _mm256_srai_epi16(w, 8);                    \
        acc = _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(xe_, we_), _mm256_madd_epi16(xo_, wo_)));       \
    } while (0)
#define QS(name) name##_vnni
#define Q_FN __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define Q_INLINE Q_FN static inline __attribute__((always_inline))
#define Q_DOT_INTO(acc, x, w) acc = _mm256_dpbusd_epi32(acc, x, w)
#include "q_depthwise_body.h"
#undef QS
#undef Q_FN
#undef Q_DOT_INTO
#define QS(name) name##_avx2
#define Q_FN __attribute__((target("avx2,fma")))
#define Q_DOT_INTO(acc, x, w)                                                                                          \
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)))
#include "q_depthwise_body.h"
#endif

/* The place of channel c (of 32) among unpacked ones. */
static uint32_t place(uint32_t c) { return c % 16 / 4 * 8 + c / 16 * 4 + c % 4; }

static void run_base(const q_line *l) {
    for (int64_t ow = 0; ow < l->ow; ow++) {
        int32_t sum[Q_NR] = {0};
        const int8_t *w = l->weights;
        for (uint32_t c = 0; c < l->n; c++) sum[c] = l->start[place(c)];
        for (int64_t g = 0; g < l->groups; g++)
            for (int64_t k = 0; k < l->kw; k++, w += 128) {
                int64_t x = ow * l->step - l->left + k * l->spread;
                for (uint32_t c = 0; c < l->n; c++)
                    for (int64_t i = 0; i < 4; i++) {
                        int32_t v = x >= 0 && x < l->w ? l->lines[4 * g + i][x * l->c + c] : l->zero;
                        sum[c] += v * w[4 * place(c) + i];
                    }
            }
        l->finish(l->e, sum, l->row + ow, 1, l->channel, l->n);
    }
}

typedef struct depthwise {
    int64_t n, c, h, w, oh, ow, kh, kw, sh, sw, dh, dw, top, left, groups, blocks, weights_bytes;
    uint64_t start_bytes, turned_bytes;
    int32_t zero;
    bool bias, turned, turned_weights;
    q_post post;
    q_rows_fn *finish;
    void (*run)(const q_line *l);
    bool pairs, simple;
    float *scale, *mixed; /* in the channels' order; and [blocks][32] as unpacked */
    uint8_t *border;      /* a line of zero points */
} depthwise;

/* The last block ends with the last channel, and overlaps the one before. */
static int64_t first_of(const depthwise *d, int64_t block) {
    return block * Q_NR + Q_NR <= d->c || d->c < Q_NR ? block * Q_NR : d->c - Q_NR;
}
static uint32_t width(const depthwise *d) { return d->c < Q_NR ? (uint32_t)d->c : Q_NR; }

/* Packed: sums of each block's channels, as unpacked; a flag each; then the weights. */
static uint64_t head_bytes(const depthwise *d) {
    return ((uint64_t)d->blocks * (Q_NR + 1) * sizeof(int32_t) + 63) / 64 * 64;
}

static pare_status pack_one(cpu_kernel *k, uint32_t i, const void *src, void *dst) {
    (void)i;
    const depthwise *d = k->impl;
    int32_t *sum = dst, *careful = sum + d->blocks * Q_NR;
    const uint8_t flip = d->turned_weights ? 0x80 : 0;
    memset(dst, 0, (size_t)k->pack[1]);
    for (int64_t b = 0; b < d->blocks; b++) {
        int8_t *w = (int8_t *)dst + head_bytes(d) + (uint64_t)(b * d->weights_bytes);
        for (uint32_t c = 0; c < width(d); c++) {
            const uint8_t *from = (const uint8_t *)src + (first_of(d, b) + c) * d->kh * d->kw;
            for (int64_t y = 0; y < d->kh; y++)
                for (int64_t x = 0; x < d->kw; x++) {
                    int8_t f = (int8_t)(from[y * d->kw + x] ^ flip);
                    w[(y / 4 * d->kw + x) * 128 + 4 * place(c) + y % 4] = f;
                    sum[b * Q_NR + place(c)] += f;
                }
        }
        for (int64_t p = 0; p < d->weights_bytes; p += 2) {
            int above = (w[p] > 0 ? w[p] : 0) + (w[p + 1] > 0 ? w[p + 1] : 0);
            int below = (w[p] < 0 ? w[p] : 0) + (w[p + 1] < 0 ? w[p + 1] : 0);
            if (above > 128 || below < -128) careful[b] = 1;
        }
    }
    return PARE_OK;
}

typedef struct job {
    const depthwise *d;
    const uint8_t *x;
    const unsigned char *packed;
    const int32_t *start;
    const q_epilogue *e;
} job;

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const depthwise *d = j->d;
    const int32_t *careful = (const int32_t *)(const void *)j->packed + d->blocks * Q_NR;
    const q_stage *q = &d->post.stage[0];
    q_line l = {.e = j->e,
                .finish = d->finish,
                .c = d->c,
                .w = d->w,
                .ow = d->ow,
                .groups = d->groups,
                .kw = d->kw,
                .left = d->left,
                .step = d->sw,
                .spread = d->dw,
                .n = width(d),
                .zero = (uint8_t)d->zero,
                .simple = d->simple,
                .out_signed = d->post.dtype == PARE_INT8};
    if (d->kh == 3 && d->kw == 3 && d->dw == 1 && d->sw <= 2) l.kind = (uint32_t)d->sw;
    if (d->simple) {
        l.low = (int16_t)q->low;
        l.high = (int16_t)q->high;
        l.out_zero = (int16_t)d->post.zero;
    }
    for (uint64_t u = begin; u < end; u++) {
        int64_t b = (int64_t)u % d->blocks, r = (int64_t)u / d->blocks, oh = r % d->oh, n = r / d->oh;
        const uint8_t *lines[Q_LINES];
        l.channel = first_of(d, b);
        for (int64_t i = 0; i < 4 * d->groups; i++) {
            int64_t y = oh * d->sh - d->top + i * d->dh;
            lines[i] = i < d->kh && y >= 0 && y < d->h ? j->x + ((n * d->h + y) * d->w) * d->c + l.channel : d->border;
        }
        l.lines = lines;
        l.weights = (const int8_t *)j->packed + head_bytes(d) + (uint64_t)(b * d->weights_bytes);
        l.start = j->start + b * Q_NR;
        l.scale = d->mixed + b * Q_NR;
        l.row = r * d->ow;
        l.out = (uint8_t *)j->e->out + l.row * d->c + l.channel;
        l.exact = d->pairs && careful[b];
        d->run(&l);
    }
}

static pare_status depthwise_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    const depthwise *d = k->impl;
    int32_t *start = scratch;
    const int32_t *bias = d->bias ? in[2] : NULL, *sum = in[1];
    const uint8_t *x = in[0];
    if (d->turned) {
        q_turn(k->dev->threads, x, (uint8_t *)scratch + d->start_bytes, d->turned_bytes);
        x = (uint8_t *)scratch + d->start_bytes;
    }
    for (int64_t b = 0; b < d->blocks; b++)
        for (uint32_t c = 0; c < width(d); c++) {
            int64_t at = b * Q_NR + place(c);
            int32_t from = bias ? bias[first_of(d, b) + c] : 0;
            start[at] = (int32_t)((uint32_t)from - (uint32_t)d->zero * (uint32_t)sum[at]);
        }
    q_epilogue e = {.post = &d->post, .scale = d->scale, .in = in, .out = out[0], .ld = d->c};
    job j = {d, x, in[1], start, &e};
    uint64_t grain = 16384 / (uint64_t)(d->ow * Q_NR) + 1;
    cpu_team_run(k->dev->threads, (uint64_t)(d->n * d->oh * d->blocks), grain, part, &j);
    return PARE_OK;
}

static void depthwise_free(cpu_kernel *k) {
    depthwise *d = k->impl;
    if (!d) return;
    free(d->scale);
    free(d->mixed);
    free(d->border);
    free(d);
}

static bool sizes(const pare_kernel_spec *s, depthwise *d) {
    const pare_operand *x = s->in[0], *w = s->in[1], *y = s->out[0];
    dn_conv_shape shape = {0};
    if (x->ndim != 4 || !dn_conv_shape_of(s, x, w, y, &shape)) return false;
    d->n = x->dims[0];
    d->c = x->dims[1];
    d->h = x->dims[2];
    d->w = x->dims[3];
    d->oh = y->dims[2];
    d->ow = y->dims[3];
    d->kh = w->dims[2];
    d->kw = w->dims[3];
    d->sh = shape.w.strides[0];
    d->sw = shape.w.strides[1];
    d->dh = shape.w.dilations[0] + 1;
    d->dw = shape.w.dilations[1] + 1;
    d->top = shape.w.pads_l[0];
    d->left = shape.w.pads_l[1];
    d->groups = (d->kh + 3) / 4;
    d->blocks = (d->c + Q_NR - 1) / Q_NR;
    d->weights_bytes = d->groups * d->kw * 128;
    return shape.groups == d->c && w->dims[1] == 1 && w->dims[0] == d->c && y->dims[1] == d->c && d->c > 1 &&
           d->kh <= Q_LINES && d->kw <= 64;
}

static const char *choose(depthwise *d) {
    cpu_isa isa = cpu_isa_best();
    d->finish = q_set_best()->finish;
    d->run = run_base;
#if defined(__x86_64__)
    d->pairs = isa < CPU_ISA_AVX512_VNNI && isa >= CPU_ISA_AVX2;
    if (isa >= CPU_ISA_AVX512_VNNI) d->run = run_vnni;
    if (d->pairs) d->run = run_avx2;
#endif
    return isa >= CPU_ISA_AVX512_VNNI ? "q:depthwise:avx512_vnni"
           : isa >= CPU_ISA_AVX2      ? "q:depthwise:avx2"
                                      : "q:depthwise:c";
}

static pare_status fill(cpu_device *dev, const pare_kernel_spec *s, cpu_kernel *k, float x_scale, float first) {
    depthwise *d = k->impl;
    d->scale = calloc((size_t)(d->c + Q_NR), sizeof *d->scale);
    d->mixed = calloc((size_t)(d->blocks * Q_NR), sizeof *d->mixed);
    d->border = malloc((size_t)(d->w * d->c + Q_NR));
    if (!d->scale || !d->mixed || !d->border) return PARE_ENOMEM;
    if (!q_weights(s->in[1], d->c, 0, x_scale, d->scale)) return PARE_EUNSUPPORTED;
    memset(d->border, d->zero, (size_t)(d->w * d->c + Q_NR));
    for (int64_t i = 0; i < d->c; i++) d->scale[i] /= first;
    d->simple = d->post.simple && q_scales_small(d->scale, d->c);
    for (int64_t b = 0; b < d->blocks; b++)
        for (uint32_t c = 0; c < width(d); c++) d->mixed[b * Q_NR + place(c)] = d->scale[first_of(d, b) + c];
    const int64_t words[] = {'d', d->c, d->kh, d->kw, d->turned_weights};
    uint64_t bytes = head_bytes(d) + (uint64_t)(d->blocks * d->weights_bytes);
    if (!q_pack_layout(dev, bytes, words, sizeof words / sizeof *words, &k->in[1])) return PARE_ENOMEM;
    k->pack[1] = bytes;
    k->pack_one = pack_one;
    d->start_bytes = (uint64_t)d->blocks * Q_NR * sizeof(int32_t);
    d->turned_bytes = d->turned ? (uint64_t)(d->n * d->c * d->h * d->w) : 0;
    k->scratch = d->start_bytes + d->turned_bytes;
    if (!q_nhwc(dev, s->in[0], &k->in[0]) || !q_nhwc(dev, s->out[0], &k->out[0])) return PARE_ENOMEM;
    for (uint32_t i = 0; i < d->post.n; i++) {
        uint32_t operand = d->post.stage[i].operand;
        if (d->post.stage[i].kind != Q_ADD && d->post.stage[i].kind != Q_MUL) continue;
        if (!q_nhwc(dev, s->in[operand], &k->in[operand])) return PARE_ENOMEM;
    }
    return q_fits(s->out[0], &k->out[0]) ? PARE_OK : PARE_EUNSUPPORTED;
}

pare_status cpu_make_q_depthwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    depthwise d = {0};
    float x_scale, first;
    if (!fast_is(s, "Conv") || !fast_in(s, 0) || !fast_in(s, 1) || !fast_out(s, 0)) return PARE_EUNSUPPORTED;
    const pare_operand *w = s->in[1];
    if (!q_tensor(s->in[0], &x_scale, &d.zero) || !q_eight(w) || !(w->flags & PARE_OPERAND_CONSTANT) || !sizes(s, &d))
        return PARE_EUNSUPPORTED;
    d.bias = fast_in(s, 2);
    if (d.bias && (s->in[2]->dtype != PARE_INT32 || (int64_t)ref_count(s->in[2]) != d.c)) return PARE_EUNSUPPORTED;
    d.turned = s->in[0]->dtype == PARE_INT8;
    d.turned_weights = w->dtype == PARE_UINT8;
    if (d.turned) d.zero += 128;
    uint32_t n = s->n_post;
    while (!q_post_of(s, n, &d.post, &first))
        if (!n--) return PARE_EUNSUPPORTED;
    if (n == s->n_post && s->out[0]->dtype != d.post.dtype) return PARE_EUNSUPPORTED;
    const char *name = choose(&d);
    if (candidate) return PARE_ENOTFOUND;
    cpu_kernel *k = q_kernel(dev, s, name, sizeof d);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &d, sizeof d);
    k->destroy = depthwise_free;
    k->run = depthwise_run;
    k->n_post = n;
    pare_status st = fill(dev, s, k, x_scale, first);
    if (st)
        cpu_kernel_free(k);
    else
        *out = k;
    return st;
}
