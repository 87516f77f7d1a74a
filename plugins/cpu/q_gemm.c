/* cpu/q_gemm.c - see q_gemm.h: tiles for each instruction set, packed weights, many tiles by several threads. */
#include "q_gemm.h"
#include "isa.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tiles ---- */

#define Q_VNNI 1
#define Q_AVX512 2
#define Q_AVX2 3
#if defined(__x86_64__)
#include <immintrin.h>
#define Q_SET Q_VNNI
#include "q_gemm_body.h"
#undef Q_SET
#define Q_SET Q_AVX512
#include "q_gemm_body.h"
#include "q_finish_body.h"
#undef Q_SET
#define Q_SET Q_AVX2
#include "q_gemm_body.h"
#include "q_finish_body.h"
#undef Q_SET
#endif
#undef QS
#undef Q_FN
#undef Q_INLINE
#define QS(name) name##_base
#define Q_FN
#define Q_INLINE static inline
#include "q_finish_body.h"

static void one_base(const q_tile *t) {
    int32_t sum[Q_NR];
    const int8_t *w = t->w;
    memcpy(sum, t->start, sizeof sum);
    for (int64_t tap = 0; tap < t->taps; tap++) {
        const uint8_t *x = t->rows[tap * Q_MR];
        for (int64_t k = 0; k < t->k; k += 4, w += 4 * Q_NR)
            for (int c = 0; c < Q_NR; c++)
                for (int i = 0; i < 4; i++) sum[c] += x[k + i] * w[4 * c + i];
    }
    memcpy(t->sums, sum, sizeof sum);
}
static q_tile_fn *const list_base[] = {one_base};

const q_set *q_set_best(void) {
#if defined(__x86_64__)
    static const q_set vnni = {.name = "avx512_vnni",
                               .mr = 14,
                               .sums = list_sums_vnni,
                               .exact = list_sums_vnni,
                               .half = list_half_vnni,
                               .out = list_out_vnni,
                               .out_half = list_out_half_vnni,
                               .bytes = bytes_avx512,
                               .finish = finish_avx512},
                       avx512 = {.name = "avx512",
                                 .mr = 12,
                                 .pairs = true,
                                 .sums = list_sums_avx512,
                                 .exact = list_exact_avx512,
                                 .bytes = bytes_avx512,
                                 .finish = finish_avx512},
                       avx2 = {.name = "avx2",
                               .mr = 4,
                               .pairs = true,
                               .sums = list_sums_avx2,
                               .exact = list_exact_avx2,
                               .finish = finish_avx2};
    cpu_isa isa = cpu_isa_best();
    if (isa >= CPU_ISA_AVX512_VNNI) return &vnni;
    if (isa >= CPU_ISA_AVX512) return &avx512;
    if (isa >= CPU_ISA_AVX2) return &avx2;
#endif
    static const q_set base = {.name = "c", .mr = 1, .sums = list_base, .exact = list_base, .finish = finish_base};
    return &base;
}

/* ---- weights ---- */

static int64_t blocks_of(const q_shape *s) { return (s->n + Q_NR - 1) / Q_NR; }

uint64_t q_blob_bytes(const q_shape *s) {
    uint64_t blocks = (uint64_t)blocks_of(s), head = blocks * (Q_NR + 1) * sizeof(int32_t);
    return (head + 63) / 64 * 64 + blocks * Q_NR * (uint64_t)(s->taps * s->k);
}

q_blob q_blob_at(const q_shape *s, void *memory) {
    q_blob b = {.blocks = blocks_of(s), .block_bytes = Q_NR * s->taps * s->k};
    uint64_t head = (uint64_t)b.blocks * (Q_NR + 1) * sizeof(int32_t);
    b.sum = memory;
    b.careful = b.sum + b.blocks * Q_NR;
    b.w = (int8_t *)memory + (head + 63) / 64 * 64;
    return b;
}

void q_blob_finish(const q_shape *s, const q_blob *b) {
    for (int64_t i = 0; i < b->blocks; i++) {
        const int8_t *w = b->w + i * b->block_bytes;
        int32_t *sum = b->sum + i * Q_NR;
        bool careful = false;
        memset(sum, 0, Q_NR * sizeof *sum);
        for (int64_t g = 0; g < s->taps * s->k / 4; g++, w += 4 * Q_NR)
            for (int c = 0; c < Q_NR; c++) {
                const int8_t *f = w + 4 * c;
                sum[c] += f[0] + f[1] + f[2] + f[3];
                for (int p = 0; p < 4; p += 2) { /* 255 times each of the two, the other one being 0 or not */
                    int above = (f[p] > 0 ? f[p] : 0) + (f[p + 1] > 0 ? f[p + 1] : 0);
                    int below = (f[p] < 0 ? f[p] : 0) + (f[p + 1] < 0 ? f[p + 1] : 0);
                    careful = careful || above > 128 || below < -128;
                }
            }
        b->careful[i] = careful;
    }
}

bool q_pack_layout(cpu_device *dev, uint64_t bytes, const int64_t *words, uint32_t n, pare_layout *out) {
    int64_t dims[DN_DIMS] = {(int64_t)bytes, 'q'};
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < n; i++)
        for (int b = 0; b < 8; b++) hash = (hash ^ (uint32_t)((uint64_t)words[i] >> (8 * b) & 255)) * 16777619u;
    dn_desc *d = dn_desc_strided(2, dims, NULL, dnnl_s8);
    uint64_t number = d ? cpu_layout_number(dev, d) : 0;
    dn_desc_free(d);
    *out = (pare_layout){.kind = PARE_LAYOUT_OWN, .id = number << 32 | hash, .nbytes = bytes};
    return number != 0;
}

/* ---- many tiles ---- */

enum { GROUP_BYTES = 192 * 1024 }; /* weights of a group of blocks stay in the second cache while rows pass by */

static void block(const q_job *j, const uint8_t *const *rows, int64_t row, uint32_t n, int64_t at) {
    const q_epilogue *e = &j->e;
    int64_t column = at * Q_NR, left = j->shape.n - column;
    uint32_t columns = left < Q_NR ? (uint32_t)left : Q_NR;
    bool exact = j->set->pairs && j->blob.careful[at];
    int32_t sums[Q_MR * Q_NR];
    q_tile t = {.rows = rows,
                .taps = j->shape.taps,
                .k = j->shape.k,
                .w = j->blob.w + at * j->blob.block_bytes,
                .start = j->start + column,
                .sums = sums,
                .columns = columns};
    if (j->direct && (columns == Q_NR || columns == Q_NR / 2)) {
        q_direct direct = *j->direct;
        direct.scale = e->scale + column;
        direct.out = (uint8_t *)e->out + row * e->ld + e->first + column;
        direct.ld = e->ld;
        t.direct = &direct;
        (columns == Q_NR ? j->set->out : j->set->out_half)[n - 1](&t);
        return;
    }
    q_tile_fn *const *tiles = exact ? j->set->exact : columns <= Q_NR / 2 && j->set->half ? j->set->half : j->set->sums;
    tiles[n - 1](&t);
    if (!j->set->bytes || e->post->mode == Q_NARROW_NONE) {
        j->set->finish(e, sums, row, n, column, columns);
        return;
    }
    int64_t first = row * e->ld + e->first + column;
    q_narrow narrow = {.mode = e->post->mode, .scale = e->scale + column, .columns = columns, .ld = e->ld};
    if (narrow.mode == Q_NARROW_FLOAT) {
        narrow.shift = e->shift ? e->shift + column : NULL;
        narrow.floats = (float *)e->out + first;
        j->set->bytes(&narrow, sums, n);
        return;
    }
    const q_stage *s = e->post->stage, *last = s + e->post->n - 1;
    narrow.low = last->low;
    narrow.high = last->high;
    narrow.zero = e->post->zero;
    narrow.is_signed = e->post->dtype == PARE_INT8;
    narrow.out = (uint8_t *)e->out + first;
    if (narrow.mode == Q_NARROW_ROUND_ADD) {
        narrow.low1 = s->low;
        narrow.high1 = s->high;
        narrow.scale1 = s[1].a;
        s += 2;
    }
    if (narrow.mode != Q_NARROW) {
        narrow.other = (const uint8_t *)e->in[s->operand] + first;
        narrow.other_signed = s->dtype == PARE_INT8;
        narrow.other_scale = s->a;
        narrow.other_zero = s->b;
    }
    j->set->bytes(&narrow, sums, n);
}

static void part(void *ctx, uint64_t begin, uint64_t end) {
    const q_job *j = ctx;
    const uint8_t *rows[Q_TAPS * Q_MR];
    for (uint64_t u = begin; u < end; u++) {
        int64_t im = (int64_t)(u % j->tm), in = (int64_t)(u / j->tm), blocks = j->blob.blocks;
        int64_t m0 = j->m * im / j->tm, m1 = j->m * (im + 1) / j->tm;
        int64_t b0 = blocks * in / j->tn, b1 = blocks * (in + 1) / j->tn;
        int64_t tiles = (m1 - m0 + j->set->mr - 1) / j->set->mr, group = GROUP_BYTES / j->blob.block_bytes;
        if (group < 1) group = 1;
        for (int64_t b = b0; b < b1; b += group) {
            int64_t last = b + group < b1 ? b + group : b1;
            for (int64_t i = 0; i < tiles; i++) {
                int64_t first = m0 + (m1 - m0) * i / tiles, next = m0 + (m1 - m0) * (i + 1) / tiles;
                j->points(j->ctx, first, (uint32_t)(next - first), rows);
                for (int64_t at = b; at < last; at++) block(j, rows, first, (uint32_t)(next - first), at);
            }
        }
    }
}

/* Can tiles write uint8 themselves? Its bounds are those of the type then. */
static bool goes_direct(const q_job *j) {
    const q_post *p = j->e.post;
    if (!j->set->out || p->mode != Q_NARROW || p->dtype != PARE_UINT8) return false;
    return p->stage[0].low + (float)p->zero <= 0 && p->stage[0].high + (float)p->zero >= 255;
}

void q_job_run(uint32_t threads, q_job *j) {
    static const int32_t order[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    q_direct direct = {0};
    if (goes_direct(j)) {
        for (int i = 0; i < 32; i++) direct.zeros[i] = (int16_t)j->e.post->zero;
        memcpy(direct.order, order, sizeof order);
        j->direct = &direct;
    }
    int64_t tiles = (j->m + j->set->mr - 1) / j->set->mr, best = INT64_MAX, t = threads;
    uint64_t work = (uint64_t)j->m * (uint64_t)(j->shape.n * j->shape.taps * j->shape.k);
    if (work < 200000) t = 1;                                              /* less than a team costs */
    bool heavy = j->blob.blocks * j->blob.block_bytes > j->m * j->shape.k; /* weights are worth not reading twice */
    j->tm = j->tn = 1;
    for (int64_t n = 1; n <= t; n++) {
        if (t % n) continue;
        int64_t m = t / n, cost = ((tiles + m - 1) / m) * ((j->blob.blocks + n - 1) / n);
        if (cost > best || (cost == best && !heavy)) continue;
        best = cost;
        j->tm = (uint32_t)m;
        j->tn = (uint32_t)n;
    }
    cpu_team_run((uint32_t)t, (uint64_t)t, 1, part, j);
}

/* ---- post-ops ---- */

static float bound(float x, float unit, float most) {
    float q = rintf(x / unit);
    return q > most ? most : q < -most ? -most : q;
}

/* Codes and their scales that stay far below 2^31. */
static q_narrow_mode mode_of(const q_post *p) {
    const q_stage *s = p->stage, *last = s + p->n - 1;
    if (!p->n) return Q_NARROW_FLOAT;
    if (last->kind != Q_QUANTIZE || last->a != 1 || p->dtype == PARE_FLOAT) return Q_NARROW_NONE;
    if (p->n == 1) return Q_NARROW;
    const q_stage *add = last - 1;
    if (add->kind != Q_ADD || add->dtype == PARE_FLOAT || !(add->a < 1e6f)) return Q_NARROW_NONE;
    if (p->n == 2) return Q_NARROW_ADD;
    bool rounds = p->n == 4 && s->kind == Q_QUANTIZE && s->a == 1 && s[1].kind == Q_SCALE && s[1].a < 1e6f;
    return rounds ? Q_NARROW_ROUND_ADD : Q_NARROW_NONE;
}

bool q_scales_small(const float *scale, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(scale[i]) < 0.99f)) return false;
    return true;
}

bool q_post_of(const pare_kernel_spec *s, uint32_t n_post, q_post *post, float *first) {
    *post = (q_post){.dtype = PARE_FLOAT};
    *first = 1;
    float low = -INFINITY, high = INFINITY;
    bool clamped = false;
    for (uint32_t i = 0; i < n_post; i++) {
        const pare_post_op *p = s->post[i];
        if (post->n + 2 > Q_STAGES) return false;
        if (p->kind == PARE_POST_RELU || p->kind == PARE_POST_CLIP) {
            float a = p->kind == PARE_POST_RELU ? 0 : p->alpha, b = p->kind == PARE_POST_RELU ? INFINITY : p->beta;
            if (!(a <= b)) return false;
            low = low < a ? a : low > b ? b : low; /* clamp of a clamp */
            high = high > b ? b : high < a ? a : high;
            clamped = true;
            continue;
        }
        if (p->kind == PARE_POST_QUANTIZE) {
            bool u = p->dtype == PARE_UINT8;
            float least = u ? 0 : -128, most = u ? 255 : 127;
            if ((!u && p->dtype != PARE_INT8) || !(p->alpha > 0) || p->beta < least || p->beta > most ||
                p->beta != rintf(p->beta))
                return false;
            q_stage q = {.kind = Q_QUANTIZE, .a = 1 / p->alpha, .low = least - p->beta, .high = most - p->beta};
            float lo = bound(low, p->alpha, 1024), hi = bound(high, p->alpha, 1024);
            q.low = lo > q.low ? lo > q.high ? q.high : lo : q.low;
            q.high = hi < q.high ? hi < q.low ? q.low : hi : q.high;
            if (!isfinite(q.a)) return false;
            uint32_t n = post->n;
            q_stage *add = n ? &post->stage[n - 1] : NULL, *scale = n > 1 ? &post->stage[n - 2] : NULL;
            bool added = add && add->kind == Q_ADD && add->dtype != PARE_FLOAT;
            if (!n || (n == 1 && added)) *first = p->alpha;
            if (n > 1 && added && scale->kind == Q_SCALE) scale->a *= q.a;
            if (n > 1 && added && scale->kind != Q_SCALE) added = false;
            if (added) add->a *= q.a; /* the two summands in the result's steps */
            if (!n || added) q.a = 1;
            post->stage[post->n++] = q;
            post->dtype = p->dtype;
            post->zero = (int32_t)p->beta;
            low = -INFINITY;
            high = INFINITY;
            clamped = false;
            continue;
        }
        if (clamped) post->stage[post->n++] = (q_stage){.kind = Q_CLAMP, .a = low, .b = high};
        low = -INFINITY;
        high = INFINITY;
        clamped = false;
        q_stage q = {.a = p->alpha, .b = p->beta};
        switch (p->kind) {
        case PARE_POST_DEQUANTIZE:
            if (post->dtype == PARE_FLOAT) return false;
            q.kind = Q_SCALE;
            post->dtype = PARE_FLOAT;
            post->zero = 0;
            break;
        case PARE_POST_LEAKY_RELU: q.kind = Q_LEAKY; break;
        case PARE_POST_HARD_SWISH: q.kind = Q_HARD_SWISH; break;
        case PARE_POST_HARD_SIGMOID: q.kind = Q_HARD_SIGMOID; break;
        case PARE_POST_ADD:
        case PARE_POST_MUL: {
            if (p->operand >= s->n_in) return false;
            const pare_operand *o = s->in[p->operand];
            if (!fast_same_dims(o, s->out[0]) || (o->flags & PARE_OPERAND_CONSTANT)) return false;
            q.kind = p->kind == PARE_POST_ADD ? Q_ADD : Q_MUL;
            q.operand = p->operand;
            q.dtype = o->dtype;
            q.a = 1;
            q.b = 0;
            if (o->dtype == PARE_FLOAT) break;
            if ((o->dtype != PARE_UINT8 && o->dtype != PARE_INT8) || o->n_scales != 1) return false;
            q.a = o->scale[0];
            q.b = o->zero_point ? (float)o->zero_point[0] : 0;
            break;
        }
        default: return false;
        }
        if (q.kind != Q_SCALE && post->dtype != PARE_FLOAT) return false; /* behind a QUANTIZE comes a DEQUANTIZE */
        post->stage[post->n++] = q;
    }
    if (clamped) post->stage[post->n++] = (q_stage){.kind = Q_CLAMP, .a = low, .b = high};
    if (clamped && post->dtype != PARE_FLOAT) return false;
    post->simple = post->n == 1 && post->stage[0].kind == Q_QUANTIZE;
    post->mode = mode_of(post);
    return true;
}
