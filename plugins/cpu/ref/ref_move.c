/* plugins/cpu/ref/ref_move.c - ops that move elements by position alone: views, Transpose, Concat, Split, Slice,
 * Expand, Tile, Pad, DepthToSpace, SpaceToDepth, ReverseSequence.
 *
 * Any dtype: bytes are moved, never looked at. Is not: moves by index data (ref_gather.c). May use: ref_b.h, the C
 * library.
 */
#include "ref_b.h"

#include <stdlib.h>
#include <string.h>

/* ---- the same elements in the same order ---- */

pare_status ref_same_bytes(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    uint64_t n = ref_count(x);
    if (n != ref_count(y) || x->dtype != y->dtype) return PARE_EINVAL;
    if (n && c->out[0] != c->in[0]) memmove(c->out[0], c->in[0], (size_t)pare_nbytes(x->dtype, n));
    return PARE_OK;
}

/* In training mode only a ratio of 0 is the identity; drawing is the training graph's business. */
static bool drops_nothing(const pare_kernel_spec *s, const void *ratio, const void *mode) {
    if (!ref_has(s, 2)) return true;
    if (ref_count(s->in[2]) != 1 || (ref_has(s, 1) && ref_count(s->in[1]) != 1)) return false;
    if (mode && !ref_get_int(mode, s->in[2]->dtype, 0)) return true;
    return mode && ref_has(s, 1) && ratio && ref_get(ratio, s->in[1]->dtype, 0) == 0;
}

bool ref_dropout_supports(const pare_kernel_spec *s) {
    if (!ref_has(s, 2) || !s->in[2]->data) return true; /* known when it runs */
    return drops_nothing(s, ref_has(s, 1) ? s->in[1]->data : NULL, s->in[2]->data);
}

pare_status ref_dropout(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    if (!drops_nothing(s, ref_has(s, 1) ? c->in[1] : NULL, ref_has(s, 2) ? c->in[2] : NULL)) return PARE_EINVAL;
    pare_status st = ref_same_bytes(c);
    if (st || !refb_out(s, 1)) return st;
    for (uint64_t i = 0; i < ref_count(s->out[1]); i++) ref_set_int(c->out[1], s->out[1]->dtype, i, 1);
    return PARE_OK;
}

/* ---- boxes ---- */

pare_status ref_transpose(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    uint64_t n;
    const int64_t *perm = ref_attr_ints(c->spec, "perm", &n);
    int64_t from[REF_DIMS], to[REF_DIMS], strides[REF_DIMS];
    bool met[REF_DIMS] = {false};
    if (y->ndim != x->ndim || (perm && n != x->ndim)) return PARE_EINVAL;
    refb_strides(x->dims, x->ndim, strides);
    refb_strides(y->dims, y->ndim, to);
    for (uint32_t i = 0; i < x->ndim; i++) {
        int64_t p = perm ? ref_axis(perm[i], x->ndim) : (int64_t)(x->ndim - 1 - i);
        if (p < 0 || p >= (int64_t)x->ndim || met[p] || y->dims[i] != x->dims[p]) return PARE_EINVAL;
        met[p] = true;
        from[i] = strides[p];
    }
    refb_copy(c->out[0], 0, to, c->in[0], 0, from, y->dims, y->ndim, x->dtype);
    return PARE_OK;
}

/* Is `part` what `whole` is, but for the dim `axis`? */
static bool alike(const pare_operand *part, const pare_operand *whole, int64_t axis) {
    if (part->ndim != whole->ndim || part->dtype != whole->dtype) return false;
    for (uint32_t i = 0; i < part->ndim; i++)
        if ((int64_t)i != axis && part->dims[i] != whole->dims[i]) return false;
    return true;
}

pare_status ref_concat(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), y->ndim), at = 0, strides[REF_DIMS], from[REF_DIMS];
    if (axis < 0 || axis >= (int64_t)y->ndim) return PARE_EINVAL;
    refb_strides(y->dims, y->ndim, strides);
    for (uint32_t i = 0; i < s->n_in; i++) {
        if (!ref_has(s, i) || !alike(s->in[i], y, axis) || s->in[i]->dims[axis] > y->dims[axis] - at)
            return PARE_EINVAL;
        refb_strides(s->in[i]->dims, y->ndim, from);
        refb_copy(c->out[0], at * strides[axis], strides, c->in[i], 0, from, s->in[i]->dims, y->ndim, y->dtype);
        at += s->in[i]->dims[axis];
    }
    return at == y->dims[axis] ? PARE_OK : PARE_EINVAL;
}

/* The sizes are those of the outputs. */
pare_status ref_split(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 1, 0)) return PARE_EINVAL;
    const pare_operand *x = s->in[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 0), x->ndim), at = 0, strides[REF_DIMS], to[REF_DIMS];
    int64_t sizes[64], n = 0;
    if (axis < 0 || axis >= (int64_t)x->ndim) return PARE_EINVAL;
    uint32_t n_sizes = 0;
    bool listed = refb_int_list(c, 1, sizes, 64, &n_sizes);
    refb_strides(x->dims, x->ndim, strides);
    for (uint32_t i = 0; i < s->n_out; i++) {
        if (refb_out(s, i)) {
            if (!alike(s->out[i], x, axis)) return PARE_EINVAL;
            n = s->out[i]->dims[axis];
        } else if (listed && i < n_sizes) {
            n = sizes[i]; /* an output left out takes its room all the same */
        } else {
            int64_t part = (x->dims[axis] + s->n_out - 1) / s->n_out, left = x->dims[axis] - at;
            n = left < part ? left : part;
        }
        if (n < 0 || n > x->dims[axis] - at) return PARE_EINVAL;
        if (refb_out(s, i)) {
            refb_strides(s->out[i]->dims, x->ndim, to);
            refb_copy(c->out[i], 0, to, c->in[0], at * strides[axis], strides, s->out[i]->dims, x->ndim, x->dtype);
        }
        at += n;
    }
    return PARE_OK;
}

/* Inputs: data, starts, ends, axes, steps. */
pare_status ref_slice(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 3, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *y = s->out[0];
    int64_t start[REF_DIMS], axes[REF_DIMS], step[REF_DIMS], from[REF_DIMS], to[REF_DIMS], at = 0;
    uint32_t n, n_axes, n_step;
    bool met[REF_DIMS] = {false};
    if (y->ndim != x->ndim || y->dtype != x->dtype || !refb_int_list(c, 1, start, REF_DIMS, &n)) return PARE_EINVAL;
    bool has_axes = refb_int_list(c, 3, axes, REF_DIMS, &n_axes),
         has_step = refb_int_list(c, 4, step, REF_DIMS, &n_step);
    if (n > x->ndim || (has_axes && n_axes != n) || (has_step && n_step != n)) return PARE_EINVAL;
    refb_strides(x->dims, x->ndim, from);
    refb_strides(y->dims, y->ndim, to);
    for (uint32_t i = 0; i < n; i++) {
        int64_t a = has_axes ? ref_axis(axes[i], x->ndim) : (int64_t)i, by = has_step ? step[i] : 1;
        if (a < 0 || a >= (int64_t)x->ndim || met[a] || !by) return PARE_EINVAL;
        met[a] = true;
        int64_t dim = x->dims[a], first = start[i] < 0 ? start[i] + dim : start[i], last;
        int64_t top = by < 0 ? dim - 1 : dim;
        first = first < 0 ? 0 : first > top ? top : first;
        if (!y->dims[a]) continue;
        /* More than one element means that a step is no longer than the dim. */
        if (y->dims[a] > 1 && (by > dim || by < -dim)) return PARE_EINVAL;
        if (y->dims[a] == 1) by = 1;
        last = y->dims[a] > dim ? -1 : first + (y->dims[a] - 1) * by;
        if (first >= dim || last < 0 || last >= dim) return PARE_EINVAL;
        at += first * from[a];
        from[a] *= by;
    }
    for (uint32_t a = 0; a < x->ndim; a++)
        if (!met[a] && x->dims[a] != y->dims[a]) return PARE_EINVAL;
    refb_copy(c->out[0], 0, to, c->in[0], at, from, y->dims, y->ndim, x->dtype);
    return PARE_OK;
}

pare_status ref_expand(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t strides[REF_DIMS], from[REF_DIMS], to[REF_DIMS];
    if (x->ndim > y->ndim || x->dtype != y->dtype) return PARE_EINVAL;
    refb_strides(x->dims, x->ndim, strides);
    refb_strides(y->dims, y->ndim, to);
    for (uint32_t i = 0; i < y->ndim; i++) {
        uint32_t front = y->ndim - x->ndim;
        int64_t dim = i < front ? 1 : x->dims[i - front];
        if (dim != 1 && dim != y->dims[i]) return PARE_EINVAL;
        from[i] = dim == 1 ? 0 : strides[i - front];
    }
    refb_copy(c->out[0], 0, to, c->in[0], 0, from, y->dims, y->ndim, x->dtype);
    return PARE_OK;
}

/* Each output dim is (copies, input dim). */
pare_status ref_tile(const ref_call *c) {
    if (!refb_ok(c, 1, 1)) return PARE_EINVAL;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t dims[2 * REF_DIMS], from[2 * REF_DIMS], to[2 * REF_DIMS], strides[REF_DIMS];
    if (x->ndim != y->ndim || x->dtype != y->dtype) return PARE_EINVAL;
    if (!ref_count(y)) return PARE_OK;
    refb_strides(x->dims, x->ndim, strides);
    for (uint32_t i = 0; i < x->ndim; i++) {
        if (!x->dims[i] || y->dims[i] % x->dims[i]) return PARE_EINVAL;
        dims[2 * i] = y->dims[i] / x->dims[i];
        dims[2 * i + 1] = x->dims[i];
        from[2 * i] = 0;
        from[2 * i + 1] = strides[i];
    }
    refb_strides(dims, 2 * x->ndim, to);
    refb_copy(c->out[0], 0, to, c->in[0], 0, from, dims, 2 * x->ndim, x->dtype);
    return PARE_OK;
}

/* ---- Pad ---- */

enum { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

/* Where coordinate i of a padded dim comes from, -1: from nowhere. dim > 0 unless constant. */
static int64_t pad_source(int64_t i, int64_t dim, int mode) {
    if (i >= 0 && i < dim) return i;
    if (mode == PAD_EDGE) return i < 0 ? 0 : dim - 1;
    if (mode == PAD_WRAP) return (i % dim + dim) % dim;
    if (mode == PAD_REFLECT) {
        if (dim == 1) return 0;
        int64_t period = 2 * (dim - 1);
        i = (i % period + period) % period;
        return i < dim ? i : period - i;
    }
    return -1;
}

/* Input 1: pads, begins then ends, for all dims or those of input 3. */
pare_status ref_pad(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *y = s->out[0];
    int64_t pads[2 * REF_DIMS], axes[REF_DIMS], begin[REF_DIMS] = {0}, strides[REF_DIMS], pos[REF_DIMS] = {0};
    uint32_t n, n_axes;
    int mode = ref_attr_is(s, "mode", "constant", "reflect") ? PAD_REFLECT
               : ref_attr_is(s, "mode", "constant", "edge")  ? PAD_EDGE
               : ref_attr_is(s, "mode", "constant", "wrap")  ? PAD_WRAP
                                                             : PAD_CONSTANT;
    if (y->ndim != x->ndim || y->dtype != x->dtype || !refb_int_list(c, 1, pads, 2 * REF_DIMS, &n)) return PARE_EINVAL;
    bool has_axes = refb_int_list(c, 3, axes, REF_DIMS, &n_axes);
    if (!has_axes) n_axes = x->ndim;
    if (n != 2 * n_axes) return PARE_EINVAL;
    for (uint32_t i = 0; i < n_axes; i++) {
        int64_t a = has_axes ? ref_axis(axes[i], x->ndim) : (int64_t)i;
        int64_t far = (int64_t)1 << 40; /* no output in memory is so long */
        if (a < 0 || a >= (int64_t)x->ndim || pads[i] < -far || pads[i] > far) return PARE_EINVAL;
        begin[a] = pads[i];
    }
    if (!ref_count(y)) return PARE_OK;
    if (!ref_count(x) && mode != PAD_CONSTANT) return PARE_EINVAL;
    if (!y->ndim) return ref_same_bytes(c);
    uint32_t last = y->ndim - 1;
    uint64_t total = (uint64_t)y->dims[last]; /* and a row from nowhere */
    for (uint32_t i = 0; i < y->ndim; i++) total += (uint64_t)y->dims[i];
    int64_t *map = refb_alloc(total, sizeof *map), *row[REF_DIMS] = {0}, *nowhere = map;
    if (!map) return PARE_ENOMEM;
    for (int64_t i = 0; i < y->dims[last]; i++) nowhere[i] = -1;
    total = (uint64_t)y->dims[last];
    refb_strides(x->dims, x->ndim, strides);
    for (uint32_t d = 0; d < y->ndim; d++) {
        row[d] = map + total;
        total += (uint64_t)y->dims[d];
        for (int64_t i = 0; i < y->dims[d]; i++) {
            int64_t from = pad_source(i - begin[d], x->dims[d], mode);
            row[d][i] = from < 0 ? -1 : from * strides[d];
        }
    }
    const uint8_t zero[16] = {0};
    const void *value = ref_has(s, 2) && ref_count(s->in[2]) && s->in[2]->dtype == x->dtype ? c->in[2] : zero;
    uint64_t o = 0, n_row = (uint64_t)y->dims[last];
    do {
        int64_t at = 0;
        for (uint32_t d = 0; at >= 0 && d < last; d++) at = row[d][pos[d]] < 0 ? -1 : at + row[d][pos[d]];
        refb_pick(c->out[0], o, c->in[0], at < 0 ? 0 : (uint64_t)at, at < 0 ? nowhere : row[last], n_row, value,
                  x->dtype);
        o += n_row;
    } while (last && ref_next(pos, y->dims, last));
    free(map);
    return PARE_OK;
}

/* ---- blocks ---- */

/* Copies with the output's dims `dims`, each with the input's dim perm[i] of `in_dims`. */
static void permute(const ref_call *c, const int64_t *in_dims, const uint8_t *perm, uint32_t n) {
    int64_t strides[REF_DIMS], from[REF_DIMS], to[REF_DIMS], dims[REF_DIMS];
    refb_strides(in_dims, n, strides);
    for (uint32_t i = 0; i < n; i++) {
        dims[i] = in_dims[perm[i]];
        from[i] = strides[perm[i]];
    }
    refb_strides(dims, n, to);
    refb_copy(c->out[0], 0, to, c->in[0], 0, from, dims, n, c->spec->in[0]->dtype);
}

/* The block size if it divides what it must, else 0. */
static int64_t block_of(const ref_call *c, bool depth) {
    if (!refb_ok(c, 1, 1)) return 0;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    int64_t b = ref_attr_int(c->spec, "blocksize", 0);
    if (x->ndim != 4 || x->dtype != y->dtype || ref_count(x) != ref_count(y) || b < 1 || b > (1 << 20)) return 0;
    if (depth ? x->dims[1] % (b * b) : x->dims[2] % b || x->dims[3] % b) return 0;
    return b;
}

pare_status ref_depth_to_space(const ref_call *c) {
    int64_t b = block_of(c, true);
    if (!b) return PARE_EINVAL;
    const int64_t *d = c->spec->in[0]->dims;
    int64_t rest = d[1] / (b * b);
    if (ref_attr_is(c->spec, "mode", "DCR", "CRD"))
        permute(c, (int64_t[]){d[0], rest, b, b, d[2], d[3]}, (uint8_t[]){0, 1, 4, 2, 5, 3}, 6);
    else
        permute(c, (int64_t[]){d[0], b, b, rest, d[2], d[3]}, (uint8_t[]){0, 3, 4, 1, 5, 2}, 6);
    return PARE_OK;
}

pare_status ref_space_to_depth(const ref_call *c) {
    int64_t b = block_of(c, false);
    if (!b) return PARE_EINVAL;
    const int64_t *d = c->spec->in[0]->dims;
    bool crd = ref_attr_is(c->spec, "mode", "DCR", "CRD"); /* the attribute came after opset 21 */
    permute(c, (int64_t[]){d[0], d[1], d[2] / b, b, d[3] / b, b},
            crd ? (uint8_t[]){0, 1, 3, 5, 2, 4} : (uint8_t[]){0, 3, 5, 1, 2, 4}, 6);
    return PARE_OK;
}

/* The first sequence_lens[b] steps backwards, the rest as they are. */
pare_status ref_reverse_sequence(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0];
    int64_t batch = ref_attr_int(s, "batch_axis", 1), time = ref_attr_int(s, "time_axis", 0), pos[REF_DIMS] = {0};
    if (x->ndim < 2 || batch < 0 || batch > 1 || time < 0 || time > 1 || batch == time) return PARE_EINVAL;
    if (ref_count(x) != ref_count(s->out[0]) || x->dtype != s->out[0]->dtype) return PARE_EINVAL;
    if (ref_count(s->in[1]) != (uint64_t)x->dims[batch]) return PARE_EINVAL;
    uint64_t inner = refb_product(x->dims + 2, x->ndim - 2), o = 0;
    for (uint64_t i = 0; i < (uint64_t)x->dims[batch]; i++) {
        int64_t n = ref_get_int(c->in[1], s->in[1]->dtype, i);
        if (n < 0 || n > x->dims[time]) return PARE_EINVAL;
    }
    if (!ref_count(x)) return PARE_OK;
    do {
        int64_t n = ref_get_int(c->in[1], s->in[1]->dtype, (uint64_t)pos[batch]), from[2] = {pos[0], pos[1]};
        if (pos[time] < n) from[time] = n - 1 - pos[time];
        refb_move(c->out[0], o++ * inner, c->in[0], (uint64_t)(from[0] * x->dims[1] + from[1]) * inner, inner,
                  x->dtype);
    } while (ref_next(pos, x->dims, 2));
    return PARE_OK;
}
