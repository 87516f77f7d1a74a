/* plugins/cpu/ref/ref_matmul.c - MatMul, Gemm, MatMulInteger, QLinearMatMul.
 *
 * Floats are summed in double; integers exactly, wrapping at the output's width. May use: ref_b.h, the C library.
 */
#include "ref_b.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* numpy's matmul: the last two dims are matrices, a vector counts as one row (left) or one column (right), the dims in
 * front broadcast. */
typedef struct product {
    int64_t m, n, k;
    int64_t batch[REF_DIMS], a_batch[REF_DIMS], b_batch[REF_DIMS]; /* dims in front */
    uint32_t nd, a_nd, b_nd;
} product;

static pare_status read_product(const pare_operand *a, const pare_operand *b, const pare_operand *y, product *p) {
    if (!a->ndim || !b->ndim) return PARE_EINVAL;
    p->m = a->ndim > 1 ? a->dims[a->ndim - 2] : 1;
    p->k = a->dims[a->ndim - 1];
    p->n = b->ndim > 1 ? b->dims[b->ndim - 1] : 1;
    if (p->k != b->dims[b->ndim > 1 ? b->ndim - 2 : 0]) return PARE_EINVAL;
    p->a_nd = a->ndim > 2 ? a->ndim - 2 : 0;
    p->b_nd = b->ndim > 2 ? b->ndim - 2 : 0;
    p->nd = p->a_nd > p->b_nd ? p->a_nd : p->b_nd;
    memcpy(p->a_batch, a->dims, p->a_nd * sizeof *a->dims);
    memcpy(p->b_batch, b->dims, p->b_nd * sizeof *b->dims);
    for (uint32_t i = 0; i < p->nd; i++) {
        int64_t da = i + p->a_nd >= p->nd ? a->dims[i + p->a_nd - p->nd] : 1;
        int64_t db = i + p->b_nd >= p->nd ? b->dims[i + p->b_nd - p->nd] : 1;
        if (da != db && da != 1 && db != 1) return PARE_EINVAL;
        p->batch[i] = da == 1 ? db : da;
    }
    return ref_count(y) == refb_product(p->batch, p->nd) * (uint64_t)p->m * (uint64_t)p->n ? PARE_OK : PARE_EINVAL;
}

/* One matrix product; y starts with the start values. ta, tb: stored transposed. */
static void multiply(const double *a, const double *b, double *y, int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
    for (int64_t i = 0; i < m; i++, y += n)
        for (int64_t j = 0; j < k; j++) {
            double v = a[ta ? j * m + i : i * k + j];
            if (tb)
                for (int64_t o = 0; o < n; o++) y[o] += v * b[o * k + j];
            else
                for (int64_t o = 0; o < n; o++) y[o] += v * b[j * n + o];
        }
}

static void multiply_int(const int64_t *a, const int64_t *b, int64_t *y, int64_t m, int64_t n, int64_t k, bool ta,
                         bool tb) {
    for (int64_t i = 0; i < m; i++, y += n)
        for (int64_t j = 0; j < k; j++) {
            uint64_t v = (uint64_t)a[ta ? j * m + i : i * k + j];
            for (int64_t o = 0; o < n; o++)
                y[o] = (int64_t)((uint64_t)y[o] + v * (uint64_t)b[tb ? o * k + j : j * n + o]);
        }
}

static int64_t *load_ints(const void *data, uint32_t dtype, uint64_t n) {
    int64_t *v = refb_alloc(n, sizeof *v);
    for (uint64_t i = 0; v && i < n; i++) v[i] = ref_get_int(data, dtype, i);
    return v;
}

/* All batches of a and b (8-byte elements: doubles, or int64 with `ints`) into y. */
static void all_batches(const product *p, const void *a, const void *b, void *y, bool ints) {
    int64_t pos[REF_DIMS] = {0};
    uint64_t done = 0;
    if (!refb_product(p->batch, p->nd)) return;
    do {
        uint64_t ai = ref_broadcast_index(p->a_batch, p->a_nd, pos, p->nd) * (uint64_t)(p->m * p->k);
        uint64_t bi = ref_broadcast_index(p->b_batch, p->b_nd, pos, p->nd) * (uint64_t)(p->k * p->n);
        uint64_t yi = done++ * (uint64_t)(p->m * p->n);
        if (ints)
            multiply_int((const int64_t *)a + ai, (const int64_t *)b + bi, (int64_t *)y + yi, p->m, p->n, p->k, false,
                         false);
        else
            multiply((const double *)a + ai, (const double *)b + bi, (double *)y + yi, p->m, p->n, p->k, false, false);
    } while (p->nd && ref_next(pos, p->batch, p->nd));
}

pare_status ref_matmul(const ref_call *c) {
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *a = c->spec->in[0], *b = c->spec->in[1], *y = c->spec->out[0];
    product p;
    pare_status st = read_product(a, b, y, &p);
    if (st) return st;
    bool ints = ref_is_int(y->dtype);
    uint64_t n = ref_count(y);
    void *va = ints ? (void *)load_ints(c->in[0], a->dtype, ref_count(a))
                    : (void *)refb_doubles(c->in[0], a->dtype, ref_count(a));
    void *vb = ints ? (void *)load_ints(c->in[1], b->dtype, ref_count(b))
                    : (void *)refb_doubles(c->in[1], b->dtype, ref_count(b));
    void *vy = refb_alloc(n, 8);
    if (va && vb && vy) {
        memset(vy, 0, (size_t)n * 8); /* 0 and 0.0 alike */
        all_batches(&p, va, vb, vy, ints);
        for (uint64_t i = 0; i < n; i++)
            if (ints)
                ref_set_int(c->out[0], y->dtype, i, ((int64_t *)vy)[i]);
            else
                ref_set(c->out[0], y->dtype, i, ((double *)vy)[i]);
    } else {
        st = PARE_ENOMEM;
    }
    free(va);
    free(vb);
    free(vy);
    return st;
}

/* alpha * A' * B' + beta * C, C broadcast to it. */
pare_status ref_gemm(const ref_call *c) {
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_kernel_spec *s = c->spec;
    const pare_operand *a = s->in[0], *b = s->in[1], *y = s->out[0], *bias = ref_has(s, 2) ? s->in[2] : NULL;
    bool ta = ref_attr_int(s, "transA", 0) != 0, tb = ref_attr_int(s, "transB", 0) != 0;
    double alpha = ref_attr_float(s, "alpha", 1), beta = ref_attr_float(s, "beta", 1);
    if (a->ndim != 2 || b->ndim != 2 || y->ndim != 2 || (bias && bias->ndim > 2)) return PARE_EINVAL;
    int64_t m = a->dims[ta], k = a->dims[!ta], n = b->dims[!tb];
    if (b->dims[tb] != k || y->dims[0] != m || y->dims[1] != n) return PARE_EINVAL;
    for (uint32_t i = 0; bias && i < bias->ndim; i++) {
        int64_t want = y->dims[2 - bias->ndim + i];
        if (bias->dims[i] != 1 && bias->dims[i] != want) return PARE_EINVAL;
    }
    bool ints = ref_is_int(y->dtype) && alpha == 1 && beta == 1;
    uint64_t count = (uint64_t)m * (uint64_t)n;
    void *va = ints ? (void *)load_ints(c->in[0], a->dtype, ref_count(a))
                    : (void *)refb_doubles(c->in[0], a->dtype, ref_count(a));
    void *vb = ints ? (void *)load_ints(c->in[1], b->dtype, ref_count(b))
                    : (void *)refb_doubles(c->in[1], b->dtype, ref_count(b));
    void *vy = refb_alloc(count, 8);
    pare_status st = va && vb && vy ? PARE_OK : PARE_ENOMEM;
    if (st == PARE_OK) {
        memset(vy, 0, (size_t)count * 8);
        if (ints)
            multiply_int(va, vb, vy, m, n, k, ta, tb);
        else
            multiply(va, vb, vy, m, n, k, ta, tb);
    }
    for (uint64_t i = 0; st == PARE_OK && i < count; i++) {
        int64_t pos[2] = {(int64_t)i / n, (int64_t)i % n};
        uint64_t at = bias ? ref_broadcast_index(bias->dims, bias->ndim, pos, 2) : 0;
        if (ints) {
            uint64_t more = bias ? (uint64_t)ref_get_int(c->in[2], bias->dtype, at) : 0;
            ref_set_int(c->out[0], y->dtype, i, (int64_t)((uint64_t)((int64_t *)vy)[i] + more));
        } else {
            double more = bias ? beta * ref_get(c->in[2], bias->dtype, at) : 0;
            ref_set(c->out[0], y->dtype, i, alpha * ((double *)vy)[i] + more);
        }
    }
    free(va);
    free(vb);
    free(vy);
    return st;
}

/* ---- quantized ---- */

/* A scale or zero point: one for all, one a row (left operand) or a column (right): 1-d, or with the batch in front. */
typedef struct per {
    const void *data;
    const pare_operand *o; /* NULL: absent */
    uint64_t each;         /* entries: 1, rows or columns of one matrix, or of all batches */
} per;

static bool read_per(const ref_call *c, uint32_t in, uint64_t line, uint64_t batches, per *p) {
    *p = (per){0};
    if (!ref_has(c->spec, in)) return true;
    p->data = c->in[in];
    p->o = c->spec->in[in];
    p->each = ref_count(p->o);
    return p->each == 1 || p->each == line || p->each == line * batches;
}

static double per_at(const per *p, uint64_t batch, uint64_t line, uint64_t i, double absent) {
    if (!p->o) return absent;
    return ref_get(p->data, p->o->dtype, p->each == 1 ? 0 : p->each == line ? i : batch * line + i);
}

/* a and b as doubles less their zero points, y = a * b. `a_zero` and `b_zero` are inputs. The caller frees all three.
 */
static pare_status integer_product(const ref_call *c, uint32_t b_in, uint32_t a_zero, uint32_t b_zero, product *p,
                                   double **va, double **vb, double **vy) {
    const pare_operand *a = c->spec->in[0], *b = c->spec->in[b_in], *y = c->spec->out[0];
    per az, bz;
    pare_status st = read_product(a, b, y, p);
    if (st) return st;
    uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k, count = ref_count(y);
    uint64_t na = ref_count(a), nb = ref_count(b);
    if (!read_per(c, a_zero, m, refb_product(p->a_batch, p->a_nd), &az) ||
        !read_per(c, b_zero, n, refb_product(p->b_batch, p->b_nd), &bz))
        return PARE_EINVAL;
    *va = refb_doubles(c->in[0], a->dtype, na);
    *vb = refb_doubles(c->in[b_in], b->dtype, nb);
    *vy = refb_alloc(count, sizeof **vy);
    if (!*va || !*vb || !*vy) return PARE_ENOMEM;
    for (uint64_t i = 0; i < na; i++) (*va)[i] -= per_at(&az, i / (m * k), m, i / k % m, 0);
    for (uint64_t i = 0; i < nb; i++) (*vb)[i] -= per_at(&bz, i / (k * n), n, i % n, 0);
    memset(*vy, 0, (size_t)count * sizeof **vy);
    all_batches(p, *va, *vb, *vy, false);
    return PARE_OK;
}

pare_status ref_matmul_integer(const ref_call *c) {
    product p;
    double *va = NULL, *vb = NULL, *vy = NULL;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    pare_status st = integer_product(c, 1, 2, 3, &p, &va, &vb, &vy);
    const pare_operand *y = c->spec->out[0];
    for (uint64_t i = 0; st == PARE_OK && i < ref_count(y); i++) ref_set_int(c->out[0], y->dtype, i, refb_wrap(vy[i]));
    free(va);
    free(vb);
    free(vy);
    return st;
}

/* Inputs: a, its scale and zero point, b, its scale and zero point, y's scale and zero point. */
pare_status ref_qlinear_matmul(const ref_call *c) {
    product p;
    per as, bs;
    double *va = NULL, *vb = NULL, *vy = NULL;
    if (!refb_ok(c, 8, 1)) return PARE_EINVAL;
    const pare_kernel_spec *s = c->spec;
    const pare_operand *y = s->out[0];
    pare_status st = integer_product(c, 3, 2, 5, &p, &va, &vb, &vy);
    if (st == PARE_OK && (!read_per(c, 1, (uint64_t)p.m, refb_product(p.a_batch, p.a_nd), &as) ||
                          !read_per(c, 4, (uint64_t)p.n, refb_product(p.b_batch, p.b_nd), &bs) ||
                          ref_count(s->in[6]) != 1 || ref_count(s->in[7]) != 1))
        st = PARE_EINVAL;
    if (st == PARE_OK) {
        float y_scale = (float)ref_get(c->in[6], s->in[6]->dtype, 0);
        double zero = ref_get(c->in[7], s->in[7]->dtype, 0);
        uint64_t m = (uint64_t)p.m, n = (uint64_t)p.n;
        for (uint64_t i = 0; i < ref_count(y); i++) {
            uint64_t batch = i / (m * n);
            int64_t pos[REF_DIMS];
            for (uint32_t d = p.nd; d-- > 0;) {
                pos[d] = (int64_t)(batch % (uint64_t)p.batch[d]);
                batch /= (uint64_t)p.batch[d];
            }
            uint64_t ab = ref_broadcast_index(p.a_batch, p.a_nd, pos, p.nd);
            uint64_t bb = ref_broadcast_index(p.b_batch, p.b_nd, pos, p.nd);
            float scale = (float)per_at(&as, ab, m, i / n % m, 1) * (float)per_at(&bs, bb, n, i % n, 1) / y_scale;
            int32_t sum = refb_wrap(vy[i]);
            ref_set_int(c->out[0], y->dtype, i, refb_saturate((double)rintf((float)sum * scale) + zero, y->dtype));
        }
    }
    free(va);
    free(vb);
    free(vy);
    return st;
}

/* ai.pare: a, b, a_scale, b_scale, a_zero_point, b_zero_point, bias. The int32 sums in float32, times the product of
 * the scales (b's: one, or one a column), and the bias. */
pare_status ref_matmul_integer_to_float(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 4, 1)) return PARE_EINVAL;
    const pare_operand *y = s->out[0], *b = s->in[1];
    pare_operand absent = {.size = sizeof absent, .flags = PARE_OPERAND_ABSENT}, sums = *y;
    uint64_t n = ref_count(y), columns = b->ndim > 1 ? (uint64_t)b->dims[b->ndim - 1] : 1, scales = ref_count(s->in[3]);
    const float *a_scale = c->in[2], *b_scale = c->in[3], *bias = ref_has(s, 6) ? c->in[6] : NULL;
    if (s->in[2]->dtype != PARE_FLOAT || s->in[3]->dtype != PARE_FLOAT || ref_count(s->in[2]) != 1 ||
        (scales != 1 && scales != columns) ||
        (bias && (s->in[6]->dtype != PARE_FLOAT || ref_count(s->in[6]) != columns)))
        return PARE_EINVAL;
    sums.dtype = PARE_INT32;
    const pare_operand *in[4] = {s->in[0], b, ref_has(s, 4) ? s->in[4] : &absent, ref_has(s, 5) ? s->in[5] : &absent};
    const pare_operand *out[1] = {&sums};
    pare_kernel_spec sub = *s;
    sub.in = in;
    sub.out = out;
    sub.n_in = 4;
    int32_t *sum = refb_alloc(n, sizeof *sum);
    const void *data[4] = {c->in[0], c->in[1], s->n_in > 4 ? c->in[4] : NULL, s->n_in > 5 ? c->in[5] : NULL};
    void *to[1] = {sum};
    const ref_call call = {&sub, data, to};
    pare_status st = sum ? ref_matmul_integer(&call) : PARE_ENOMEM;
    for (uint64_t i = 0; !st && i < n; i++) {
        uint64_t at = i % columns;
        float v = (float)sum[i] * (a_scale[0] * b_scale[scales == 1 ? 0 : at]);
        ((float *)c->out[0])[i] = bias ? v + bias[at] : v;
    }
    free(sum);
    return st;
}
