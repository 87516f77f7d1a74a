/* plugins/cpu/ref/ref_gather.c - ops that move elements by index data: Gather, GatherElements, GatherND,
 * ScatterElements, ScatterND.
 *
 * An index may count from the end; one that is out of range anywhere in the data is PARE_EINVAL. May use: ref_b.h, the
 * C library.
 */
#include "ref_b.h"

#include <stdlib.h>
#include <string.h>

/* Index i of an index tensor for a dim; false: out of range. */
static bool read_index(const void *data, uint32_t dtype, uint64_t i, int64_t dim, int64_t *out) {
    int64_t v = ref_get_int(data, dtype, i);
    if (v < -dim || v >= dim) return false;
    *out = v < 0 ? v + dim : v;
    return true;
}

pare_status ref_gather(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *index = s->in[1], *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), x->ndim), at;
    if (axis < 0 || axis >= (int64_t)x->ndim || x->dtype != y->dtype) return PARE_EINVAL;
    uint64_t outer = refb_product(x->dims, (uint32_t)axis), n = ref_count(index), dim = (uint64_t)x->dims[axis];
    uint64_t inner = refb_product(x->dims + axis + 1, x->ndim - (uint32_t)axis - 1);
    if (ref_count(y) != outer * n * inner) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        if (!read_index(c->in[1], index->dtype, i, x->dims[axis], &at)) return PARE_EINVAL;
        for (uint64_t o = 0; o < outer; o++)
            refb_move(c->out[0], (o * n + i) * inner, c->in[0], (o * dim + (uint64_t)at) * inner, inner, x->dtype);
    }
    return PARE_OK;
}

/* Do the first n dims of b lie inside those of a, but for `axis`? */
static bool inside(const pare_operand *b, const pare_operand *a, int64_t axis) {
    if (a->ndim != b->ndim) return false;
    for (uint32_t i = 0; i < a->ndim; i++)
        if ((int64_t)i != axis && b->dims[i] > a->dims[i]) return false;
    return true;
}

static bool same_dims(const pare_operand *a, const pare_operand *b) {
    return a->ndim == b->ndim && !memcmp(a->dims, b->dims, a->ndim * sizeof *a->dims);
}

pare_status ref_gather_elements(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *index = s->in[1], *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), x->ndim), strides[REF_DIMS], pos[REF_DIMS] = {0};
    if (axis < 0 || axis >= (int64_t)x->ndim || !inside(index, x, axis) || !same_dims(index, y)) return PARE_EINVAL;
    if (x->dtype != y->dtype) return PARE_EINVAL;
    refb_strides(x->dims, x->ndim, strides);
    uint64_t o = 0;
    if (!ref_count(y)) return PARE_OK;
    do {
        int64_t at = 0, i;
        if (!read_index(c->in[1], index->dtype, o, x->dims[axis], &i)) return PARE_EINVAL;
        for (uint32_t d = 0; d < x->ndim; d++) at += ((int64_t)d == axis ? i : pos[d]) * strides[d];
        refb_move(c->out[0], o++, c->in[0], (uint64_t)at, 1, x->dtype);
    } while (ref_next(pos, y->dims, y->ndim));
    return PARE_OK;
}

/* The offset in x (from dim `first` on) that index tuple number i names. */
static bool read_tuple(const void *data, uint32_t dtype, uint64_t i, const pare_operand *x, uint32_t first, uint32_t n,
                       const int64_t *strides, int64_t *at) {
    *at = 0;
    for (uint32_t d = 0; d < n; d++) {
        int64_t v;
        if (!read_index(data, dtype, i * n + d, x->dims[first + d], &v)) return false;
        *at += v * strides[first + d];
    }
    return true;
}

pare_status ref_gather_nd(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *index = s->in[1], *y = s->out[0];
    int64_t batch_dims = ref_attr_int(s, "batch_dims", 0), strides[REF_DIMS], at;
    if (!index->ndim || batch_dims < 0 || batch_dims >= (int64_t)index->ndim || batch_dims >= (int64_t)x->ndim)
        return PARE_EINVAL;
    uint32_t b = (uint32_t)batch_dims;
    int64_t width = index->dims[index->ndim - 1];
    if (width < 1 || width > (int64_t)(x->ndim - b) || x->dtype != y->dtype) return PARE_EINVAL;
    if (memcmp(x->dims, index->dims, b * sizeof *x->dims)) return PARE_EINVAL;
    uint32_t n = (uint32_t)width;
    uint64_t batches = refb_product(x->dims, b), tuples = ref_count(index) / n;
    uint64_t inner = refb_product(x->dims + b + n, x->ndim - b - n), each = refb_product(x->dims + b, x->ndim - b);
    if (ref_count(y) != tuples * inner) return PARE_EINVAL;
    refb_strides(x->dims, x->ndim, strides);
    for (uint64_t i = 0; i < tuples; i++) {
        if (!read_tuple(c->in[1], index->dtype, i, x, b, n, strides, &at)) return PARE_EINVAL;
        uint64_t from = i / (tuples / batches) * each + (uint64_t)at;
        refb_move(c->out[0], i * inner, c->in[0], from, inner, x->dtype);
    }
    return PARE_OK;
}

/* ---- Scatter ---- */

enum { PUT_NONE, PUT_ADD, PUT_MUL, PUT_MAX, PUT_MIN };

static int reduction_of(const pare_kernel_spec *s) {
    if (ref_attr_is(s, "reduction", "none", "none")) return PUT_NONE;
    if (ref_attr_is(s, "reduction", "none", "add")) return PUT_ADD;
    if (ref_attr_is(s, "reduction", "none", "mul")) return PUT_MUL;
    if (ref_attr_is(s, "reduction", "none", "max")) return PUT_MAX;
    return ref_attr_is(s, "reduction", "none", "min") ? PUT_MIN : -1;
}

static void put_int(void *y, uint64_t at, int64_t v, uint32_t dtype, int how) {
    int64_t old = ref_get_int(y, dtype, at);
    bool less = dtype == PARE_UINT64 ? (uint64_t)v < (uint64_t)old : v < old;
    switch (how) {
    case PUT_ADD: v = (int64_t)((uint64_t)old + (uint64_t)v); break;
    case PUT_MUL: v = (int64_t)((uint64_t)old * (uint64_t)v); break;
    case PUT_MAX: v = less ? old : v; break;
    default: v = less ? v : old; break;
    }
    ref_set_int(y, dtype, at, v);
}

/* n neighbouring updates onto the output. Sums and products of bools are or and and. */
static void put(void *y, uint64_t at, const void *updates, uint64_t from, uint64_t n, uint32_t dtype, int how) {
    if (how == PUT_NONE) {
        refb_move(y, at, updates, from, n, dtype);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (ref_is_int(dtype)) {
            int64_t v = ref_get_int(updates, dtype, from + i);
            put_int(y, at + i, v, dtype, dtype != PARE_BOOL || how != PUT_ADD ? how : PUT_MAX);
            continue;
        }
        double old = ref_get(y, dtype, at + i), v = ref_get(updates, dtype, from + i);
        double r = how == PUT_ADD   ? old + v
                   : how == PUT_MUL ? old * v
                   : how == PUT_MAX ? (old > v ? old : v)
                   : old < v        ? old
                                    : v;
        if (how >= PUT_MAX && (old != old || v != v)) r = old + v;
        ref_set(y, dtype, at + i, r);
    }
}

/* The output starts as a copy of the data. */
static pare_status start_scatter(const ref_call *c) {
    const pare_operand *x = c->spec->in[0];
    if (!same_dims(x, c->spec->out[0]) || x->dtype != c->spec->in[2]->dtype) return PARE_EINVAL;
    return ref_same_bytes(c);
}

pare_status ref_scatter_elements(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 3, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *index = s->in[1], *updates = s->in[2];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), x->ndim), strides[REF_DIMS], pos[REF_DIMS] = {0};
    int how = reduction_of(s);
    if (axis < 0 || axis >= (int64_t)x->ndim || !inside(index, x, axis) || !same_dims(index, updates) || how < 0)
        return PARE_EINVAL;
    pare_status st = start_scatter(c);
    uint64_t i = 0;
    if (st || !ref_count(index)) return st;
    refb_strides(x->dims, x->ndim, strides);
    do {
        int64_t at = 0, v;
        if (!read_index(c->in[1], index->dtype, i, x->dims[axis], &v)) return PARE_EINVAL;
        for (uint32_t d = 0; d < x->ndim; d++) at += ((int64_t)d == axis ? v : pos[d]) * strides[d];
        put(c->out[0], (uint64_t)at, c->in[2], i++, 1, x->dtype, how);
    } while (ref_next(pos, index->dims, index->ndim));
    return PARE_OK;
}

pare_status ref_scatter_nd(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 3, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *index = s->in[1], *updates = s->in[2];
    int how = reduction_of(s);
    int64_t strides[REF_DIMS], at;
    if (!index->ndim || how < 0) return PARE_EINVAL;
    int64_t width = index->dims[index->ndim - 1];
    if (width < 1 || width > (int64_t)x->ndim) return PARE_EINVAL;
    uint32_t n = (uint32_t)width;
    uint64_t tuples = ref_count(index) / n, inner = refb_product(x->dims + n, x->ndim - n);
    if (ref_count(updates) != tuples * inner) return PARE_EINVAL;
    pare_status st = start_scatter(c);
    if (st) return st;
    refb_strides(x->dims, x->ndim, strides);
    for (uint64_t i = 0; i < tuples; i++) {
        if (!read_tuple(c->in[1], index->dtype, i, x, 0, n, strides, &at)) return PARE_EINVAL;
        put(c->out[0], (uint64_t)at, c->in[2], i * inner, inner, x->dtype, how);
    }
    return PARE_OK;
}
