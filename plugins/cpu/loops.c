/* cpu/loops.c - our own loops over plain float32: functions of two operands, with broadcasting. */
#include "fast.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

typedef enum { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MIN, OP_MAX } binary_op;

/* Broadcast dims, neighbours joined where both operands go on alike. Strides in elements, 0 where one is repeated. */
typedef struct binary {
    binary_op op;
    uint32_t ndim;
    int64_t dims[DN_DIMS], a[DN_DIMS], b[DN_DIMS];
    int64_t rows; /* product of all dims but the last */
} binary;

typedef struct binary_job {
    const binary *p;
    const float *a, *b;
    float *y;
} binary_job;

static float apply(binary_op op, float x, float y) {
    switch (op) {
    case OP_ADD: return x + y;
    case OP_SUB: return x - y;
    case OP_MUL: return x * y;
    case OP_DIV: return x / y;
    case OP_MIN: return x < y || x != x ? x : y; /* a NaN stays one */
    default: return x > y || x != x ? x : y;
    }
}

/* One row; steps are 0 or 1, so that each case is a loop that compilers vectorise. */
#define ROW(OP)                                                                                                        \
    if (sa && sb)                                                                                                      \
        for (int64_t i = 0; i < n; i++) y[i] = apply(OP, a[i], b[i]);                                                  \
    else if (sa)                                                                                                       \
        for (int64_t i = 0; i < n; i++) y[i] = apply(OP, a[i], *b);                                                    \
    else if (sb)                                                                                                       \
        for (int64_t i = 0; i < n; i++) y[i] = apply(OP, *a, b[i]);                                                    \
    else                                                                                                               \
        for (int64_t i = 0; i < n; i++) y[i] = apply(OP, *a, *b);                                                      \
    break

static void row(binary_op op, int64_t n, const float *a, int64_t sa, const float *b, int64_t sb, float *y) {
    switch (op) {
    case OP_ADD: ROW(OP_ADD);
    case OP_SUB: ROW(OP_SUB);
    case OP_MUL: ROW(OP_MUL);
    case OP_DIV: ROW(OP_DIV);
    case OP_MIN: ROW(OP_MIN);
    default: ROW(OP_MAX);
    }
}

/* Elements begin..end-1 of the output, row by row. */
static void binary_part(void *ctx, uint64_t begin, uint64_t end) {
    const binary_job *j = ctx;
    const binary *p = j->p;
    int64_t width = p->dims[p->ndim - 1], sa = p->a[p->ndim - 1], sb = p->b[p->ndim - 1];
    for (int64_t at = (int64_t)begin; at < (int64_t)end;) {
        int64_t r = at / width, col = at % width, n = width - col, ia = 0, ib = 0, rest = r;
        if (n > (int64_t)end - at) n = (int64_t)end - at;
        for (uint32_t d = p->ndim - 1; d-- > 0;) {
            ia += rest % p->dims[d] * p->a[d];
            ib += rest % p->dims[d] * p->b[d];
            rest /= p->dims[d];
        }
        row(p->op, n, j->a + ia + col * sa, sa, j->b + ib + col * sb, sb, j->y + at);
        at += n;
    }
}

static pare_status binary_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const binary *p = k->impl;
    binary_job j = {p, in[0], in[1], out[0]};
    uint64_t n = (uint64_t)p->rows * (uint64_t)p->dims[p->ndim - 1];
    cpu_team_run(k->dev->threads, n, 16384, binary_part, &j);
    return PARE_OK;
}

static void free_impl(cpu_kernel *k) { free(k->impl); }

static void strides_of(const pare_operand *o, uint32_t ndim, int64_t *strides) {
    int64_t step = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        int64_t d = i + o->ndim < ndim ? 1 : o->dims[i + o->ndim - ndim];
        strides[i] = d == 1 ? 0 : step;
        step *= d;
    }
}

static void collapse(binary *p, const pare_operand *a, const pare_operand *b, const pare_operand *y) {
    int64_t sa[DN_DIMS] = {0}, sb[DN_DIMS] = {0};
    strides_of(a, y->ndim, sa);
    strides_of(b, y->ndim, sb);
    uint32_t n = 0;
    for (uint32_t i = 0; i < y->ndim; i++) {
        int64_t d = y->dims[i];
        if (d == 1) continue;
        if (n && p->a[n - 1] == sa[i] * d && p->b[n - 1] == sb[i] * d) {
            p->dims[n - 1] *= d;
            p->a[n - 1] = sa[i];
            p->b[n - 1] = sb[i];
            continue;
        }
        p->dims[n] = d;
        p->a[n] = sa[i];
        p->b[n++] = sb[i];
    }
    if (!n) {
        p->dims[0] = 1;
        p->a[0] = p->b[0] = 0;
        n = 1;
    }
    p->ndim = n;
    p->rows = fast_product(p->dims, 0, n - 1);
}

static pare_status make_binary(cpu_device *dev, const pare_kernel_spec *s, binary_op op, const char *name,
                               cpu_kernel **out) {
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    binary *p = calloc(1, sizeof *p);
    if (!k || !p) {
        cpu_kernel_free(k);
        free(p);
        return PARE_ENOMEM;
    }
    p->op = op;
    collapse(p, s->in[0], s->in[1], s->out[0]);
    k->impl = p;
    k->run = binary_run;
    k->destroy = free_impl;
    if (fast_same_dims(s->in[0], s->out[0]))
        k->in_place = 0;
    else if (fast_same_dims(s->in[1], s->out[0]))
        k->in_place = 1;
    *out = k;
    return PARE_OK;
}

pare_status cpu_make_loops(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    static const struct {
        const char *op_type, *name;
    } table[] = {[OP_ADD] = {"Add", "c:add"}, [OP_SUB] = {"Sub", "c:sub"}, [OP_MUL] = {"Mul", "c:mul"},
                 [OP_DIV] = {"Div", "c:div"}, [OP_MIN] = {"Min", "c:min"}, [OP_MAX] = {"Max", "c:max"}};
    if (s->n_in - s->n_post != 2 && s->n_in != 2) return PARE_EUNSUPPORTED;
    if (!fast_in(s, 0) || !fast_in(s, 1) || !fast_f32(s->in[0]) || !fast_f32(s->in[1]) || !fast_f32(s->out[0]))
        return PARE_EUNSUPPORTED;
    if (s->out[0]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!fast_is(s, table[i].op_type)) continue;
        if (candidate) return PARE_ENOTFOUND;
        return make_binary(dev, s, (binary_op)i, table[i].name, out);
    }
    return PARE_EUNSUPPORTED;
}
