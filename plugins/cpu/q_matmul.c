/* cpu/q_matmul.c - MatMul and Gemm of 8-bit activations by constant 8-bit weights, and ai.pare's MatMulIntegerToFloat,
 * whose activations have a scale and a zero point that are known when it runs: a, b, a_scale, b_scale, a_zero_point,
 * b_zero_point, bias -> float32.
 */
#include "q_gemm.h"
#include "q_spec.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct q_matmul {
    int64_t m, n, k;
    q_shape shape;
    bool columns; /* the weights lie as [n][k] */
    bool copied;  /* rows are brought to a whole number of fours, or to uint8 */
    bool turned, turned_weights, bias;
    bool late;      /* scales come when it runs */
    bool one_scale; /* of the weights, then */
    int32_t zero;   /* of a, as uint8 */
    uint64_t start_bytes, scale_bytes;
    q_post post;
    const q_set *set;
    float *scale;
} q_matmul;

static pare_status pack_one(cpu_kernel *k, uint32_t i, const void *src, void *dst) {
    (void)i;
    const q_matmul *p = k->impl;
    const uint8_t *from = src, flip = p->turned_weights ? 0x80 : 0;
    memset(dst, 0, (size_t)k->pack[1]);
    q_blob b = q_blob_at(&p->shape, dst);
    for (int64_t r = 0; r < p->k; r++)
        for (int64_t c = 0; c < p->n; c++) {
            int8_t w = (int8_t)(from[p->columns ? c * p->k + r : r * p->n + c] ^ flip);
            b.w[c / Q_NR * b.block_bytes + r / 4 * 4 * Q_NR + c % Q_NR * 4 + r % 4] = w;
        }
    q_blob_finish(&p->shape, &b);
    return PARE_OK;
}

typedef struct rows_at {
    const uint8_t *a;
    int64_t ld;
} rows_at;

static void points(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows) {
    const rows_at *at = ctx;
    for (uint32_t j = 0; j < n; j++) rows[j] = at->a + (first + j) * at->ld;
}

typedef struct copy_job {
    const q_matmul *p;
    const uint8_t *from;
    uint8_t *to;
} copy_job;

static void copy_rows(void *ctx, uint64_t begin, uint64_t end) {
    const copy_job *j = ctx;
    const int64_t k = j->p->k, ld = j->p->shape.k;
    const uint8_t flip = j->p->turned ? 0x80 : 0;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const uint8_t *from = j->from + r * k;
        uint8_t *to = j->to + r * ld;
        for (int64_t i = 0; i < k; i++) to[i] = from[i] ^ flip;
        for (int64_t i = k; i < ld; i++) to[i] = 0;
    }
}

static int32_t late_zero(const cpu_kernel *k, const q_matmul *p, const void *const *in) {
    int32_t zero = 0;
    if (k->n_in > 4 && in[4]) zero = p->turned ? *(const int8_t *)in[4] : *(const uint8_t *)in[4];
    return p->turned ? zero + 128 : zero;
}

static pare_status matmul_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    const q_matmul *p = k->impl;
    int32_t *start = scratch;
    float *scale = (float *)(void *)((unsigned char *)scratch + p->start_bytes);
    uint8_t *copy = (uint8_t *)scratch + p->start_bytes + p->scale_bytes;
    unsigned char *packed;
    memcpy(&packed, &in[1], sizeof packed); /* only read */
    q_blob b = q_blob_at(&p->shape, packed);
    rows_at at = {in[0], p->k};
    if (p->copied) {
        copy_job job = {p, in[0], copy};
        cpu_team_run(k->dev->threads, (uint64_t)p->m, (uint64_t)(65536 / p->k + 1), copy_rows, &job);
        at = (rows_at){copy, p->shape.k};
    }
    const int32_t *bias = p->bias && !p->late ? in[2] : NULL;
    int32_t zero = p->late ? late_zero(k, p, in) : p->zero;
    for (int64_t i = 0; i < b.blocks * Q_NR; i++) {
        int32_t from = bias && i < p->n ? bias[i] : 0;
        start[i] = (int32_t)((uint32_t)from - (uint32_t)zero * (uint32_t)b.sum[i]);
    }
    if (p->late) {
        const float *a_scale = in[2], *b_scale = in[3];
        for (int64_t i = 0; i < b.blocks * Q_NR; i++)
            scale[i] = i < p->n ? *a_scale * b_scale[p->one_scale ? 0 : i] : 0;
        if (p->bias) {
            memset(scale + b.blocks * Q_NR, 0, (size_t)(b.blocks * Q_NR) * sizeof *scale);
            memcpy(scale + b.blocks * Q_NR, in[6], (size_t)p->n * sizeof *scale);
        }
    }
    q_job j = {.set = p->set,
               .shape = p->shape,
               .blob = b,
               .m = p->m,
               .start = start,
               .e = {.post = &p->post,
                     .scale = p->late ? scale : p->scale,
                     .shift = p->late && p->bias ? scale + b.blocks * Q_NR : NULL,
                     .in = in,
                     .out = out[0],
                     .ld = p->n},
               .points = points,
               .ctx = &at};
    q_job_run(k->dev->threads, &j);
    return PARE_OK;
}

static void matmul_free(cpu_kernel *k) {
    q_matmul *p = k->impl;
    if (!p) return;
    free(p->scale);
    free(p);
}

/* a: rows of k; b: a constant matrix. */
static bool sizes(const pare_kernel_spec *s, bool gemm, q_matmul *p) {
    const pare_operand *a = s->in[0], *b = s->in[1], *y = s->out[0];
    if (!q_eight(a) || !q_eight(b) || b->ndim != 2 || a->ndim < 2 || !(b->flags & PARE_OPERAND_CONSTANT)) return false;
    if (a->layout.kind == PARE_LAYOUT_OWN && a->ndim == 2) return false;
    if (gemm && (a->ndim != 2 || ref_attr_int(s, "transA", 0) || ref_attr_float(s, "alpha", 1) != 1 ||
                 (fast_in(s, 2) && ref_attr_float(s, "beta", 1) != 1)))
        return false;
    p->columns = gemm && ref_attr_int(s, "transB", 0) != 0;
    p->k = a->dims[a->ndim - 1];
    p->m = fast_product(a->dims, 0, a->ndim - 1);
    p->n = b->dims[p->columns ? 0 : 1];
    p->turned = a->dtype == PARE_INT8;
    p->turned_weights = b->dtype == PARE_UINT8;
    p->shape = (q_shape){.n = p->n, .taps = 1, .k = (p->k + 3) / 4 * 4};
    p->copied = p->turned || p->k % 4;
    return b->dims[p->columns ? 1 : 0] == p->k && (int64_t)ref_count(y) == p->m * p->n &&
           y->layout.kind != PARE_LAYOUT_OWN;
}

static pare_status make(cpu_device *dev, const pare_kernel_spec *s, q_matmul *p, uint32_t n_post, const float *scales,
                        cpu_kernel **out) {
    char name[64];
    p->set = q_set_best();
    snprintf(name, sizeof name, "q:matmul:%s", p->set->name);
    cpu_kernel *k = q_kernel(dev, s, name, sizeof *p);
    if (!k) return PARE_ENOMEM;
    uint64_t width = ((uint64_t)p->n + Q_NR - 1) / Q_NR * Q_NR, bytes = q_blob_bytes(&p->shape);
    const int64_t words[] = {'m', p->n, p->k, p->columns, p->turned_weights};
    if (!p->late) p->scale = calloc(width, sizeof *p->scale);
    if ((!p->late && !p->scale) || !q_pack_layout(dev, bytes, words, sizeof words / sizeof *words, &k->in[1])) {
        free(p->scale);
        cpu_kernel_free(k);
        return PARE_ENOMEM;
    }
    if (!p->late) memcpy(p->scale, scales, (size_t)p->n * sizeof *scales);
    p->start_bytes = width * sizeof(int32_t);
    p->scale_bytes = p->late ? 2 * width * sizeof(float) : 0;
    k->pack[1] = bytes;
    k->pack_one = pack_one;
    k->scratch = p->start_bytes + p->scale_bytes + (p->copied ? (uint64_t)(p->m * p->shape.k) : 0);
    memcpy(k->impl, p, sizeof *p);
    k->destroy = matmul_free;
    k->run = matmul_run;
    k->n_post = n_post;
    for (uint32_t i = 0; i < p->post.n; i++) {
        const q_stage *q = &p->post.stage[i];
        if (q->kind == Q_ADD && q->dtype == p->post.dtype) k->in_place = (int32_t)q->operand;
    }
    *out = k;
    return PARE_OK;
}

pare_status cpu_make_q_matmul(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    q_matmul p = {0};
    float a_scale, first;
    bool gemm = fast_is(s, "Gemm");
    if ((!gemm && !fast_is(s, "MatMul")) || !fast_in(s, 0) || !fast_in(s, 1) || !fast_out(s, 0))
        return PARE_EUNSUPPORTED;
    if (!q_tensor(s->in[0], &a_scale, &p.zero) || !sizes(s, gemm, &p)) return PARE_EUNSUPPORTED;
    if (p.turned) p.zero += 128;
    p.bias = gemm && fast_in(s, 2);
    if (p.bias && (s->in[2]->dtype != PARE_INT32 || (int64_t)ref_count(s->in[2]) != p.n)) return PARE_EUNSUPPORTED;
    uint32_t n = s->n_post;
    while (!q_post_of(s, n, &p.post, &first))
        if (!n--) return PARE_EUNSUPPORTED;
    if (n == s->n_post && s->out[0]->dtype != p.post.dtype) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    float *scales = malloc((size_t)p.n * sizeof *scales);
    if (!scales) return PARE_ENOMEM;
    pare_status st = PARE_EUNSUPPORTED;
    if (q_weights(s->in[1], p.n, p.columns ? 0 : 1, a_scale, scales)) {
        for (int64_t i = 0; i < p.n; i++) scales[i] /= first;
        if (!q_scales_small(scales, p.n)) p.post.mode = Q_NARROW_NONE;
        st = make(dev, s, &p, n, scales, out);
    }
    free(scales);
    return st;
}

/* Is the weights' zero point 0 (128 of uint8 ones), for all we know now? */
static bool centered(const pare_operand *zero, uint32_t dtype) {
    uint64_t n = ref_count(zero);
    if (zero->dtype != dtype || !zero->data) return false;
    for (uint64_t i = 0; i < n; i++)
        if (ref_get_int(zero->data, dtype, i) != (dtype == PARE_UINT8 ? 128 : 0)) return false;
    return true;
}

pare_status cpu_make_q_matmul_float(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    q_matmul p = {.late = true};
    float first;
    if (strcmp(s->domain, "ai.pare") != 0 || strcmp(s->op_type, "MatMulIntegerToFloat") != 0) return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; i < 4; i++)
        if (!fast_in(s, i)) return PARE_EUNSUPPORTED;
    if (!sizes(s, false, &p) || s->in[2]->dtype != PARE_FLOAT || ref_count(s->in[2]) != 1 ||
        s->in[3]->dtype != PARE_FLOAT)
        return PARE_EUNSUPPORTED;
    p.one_scale = ref_count(s->in[3]) == 1;
    if (!p.one_scale && (int64_t)ref_count(s->in[3]) != p.n) return PARE_EUNSUPPORTED;
    if (fast_in(s, 4) && (s->in[4]->dtype != s->in[0]->dtype || ref_count(s->in[4]) != 1)) return PARE_EUNSUPPORTED;
    if (fast_in(s, 5) ? !centered(s->in[5], s->in[1]->dtype) : p.turned_weights) return PARE_EUNSUPPORTED;
    p.bias = fast_in(s, 6);
    if (p.bias && (s->in[6]->dtype != PARE_FLOAT || (int64_t)ref_count(s->in[6]) != p.n)) return PARE_EUNSUPPORTED;
    uint32_t n = s->n_post;
    while (!q_post_of(s, n, &p.post, &first) || p.post.dtype != PARE_FLOAT || first != 1)
        if (!n--) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    return make(dev, s, &p, n, NULL, out);
}
