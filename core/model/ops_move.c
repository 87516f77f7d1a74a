/* model/ops_move.c - rules of ops that join, cut, pick, repeat and resize. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

#include <math.h>
#include <string.h>

static pare_dim dim_of_number(pare_number e) {
    return e.known ? pare_dim_of(e.v) : (pare_dim){.value = -1, .symbol = e.symbol};
}

/* ---- Concat, Split ---- */

pare_status pare_rule_concat(pare_infer_ctx *c) {
    pare_shape y = {.ndim = -1}, x;
    int32_t axis = 0;
    bool open = false; /* an input of unknown rank hides how much it adds */
    pare_infer_out_unknown(c, 0, pare_infer_dtype(c, 0));
    for (uint32_t i = 0; i < c->node->n_in; i++) {
        pare_infer_in(c, i, &x);
        open = open || x.ndim < 0;
        if (y.ndim < 0) y = x;
    }
    if (y.ndim < 0) return PARE_OK;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", 1), y.ndim, &axis);
    if (st) return st;
    pare_dim sum = pare_dim_of(0);
    for (uint32_t i = 0; i < c->node->n_in; i++) {
        pare_infer_in(c, i, &x);
        if (x.ndim < 0) continue;
        bool fits = x.ndim == y.ndim;
        for (int32_t k = 0; k < y.ndim && fits; k++)
            if (k != axis) fits = pare_dim_merge(&y.d[k], x.d[k]);
        if (!fits)
            return pare_infer_fail(c, "model.shape", "input %u is %s, which does not join %s along dim %d", i,
                                   pare_shape_text(c, &x), pare_shape_text(c, &y), axis);
        sum = pare_dim_add(sum, x.d[axis]);
    }
    y.d[axis] = open ? pare_dim_of(-1) : sum;
    pare_infer_out_shape(c, 0, pare_infer_dtype(c, 0), &y);
    return PARE_OK;
}

/* Split(input, split): sizes are an attribute before opset 13, num_outputs says the number from 18 on. */
pare_status pare_rule_split(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    uint32_t n = c->node->n_out;
    for (uint32_t i = 0; i < n; i++) pare_infer_out_unknown(c, i, x.dtype);
    if (x.ndim < 0 || !n) return PARE_OK;
    int32_t axis = 0;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", 0), x.ndim, &axis);
    if (st) return st;
    pare_dim whole = x.d[axis];
    const int64_t *sizes = NULL;
    size_t n_sizes = 0;
    const pare_attr *a = pare_node_attr(c->node, "split");
    bool given = false;
    if (a && a->type == PARE_ATTR_INTS && c->opset < 13) {
        given = true;
        sizes = a->ints;
        n_sizes = a->n;
    } else if (pare_infer_has(c, 1)) {
        given = true;
        pare_infer_const_ints(c, 1, &sizes, &n_sizes);
    }
    if (sizes) {
        int64_t sum = 0;
        for (size_t i = 0; i < n_sizes; i++)
            if (sizes[i] < 0 || __builtin_add_overflow(sum, sizes[i], &sum))
                return pare_infer_fail(c, "model.shape", "split size %zu is %lld, allowed is 0 and up", i,
                                       (long long)sizes[i]);
        if (n_sizes != n || (pare_dim_known(whole) && sum != whole.value))
            return pare_infer_fail(c, "model.shape",
                                   "%zu split sizes with the sum %lld for %u outputs of %s along dim %d", n_sizes,
                                   (long long)sum, n, pare_shape_text(c, &x), axis);
    }
    /* equal parts; the last may be smaller from opset 18 on */
    int64_t parts = pare_node_attr_int(c->node, "num_outputs", n), part = -1;
    if (parts < 1) return pare_infer_fail(c, "model.attribute", "num_outputs is %lld", (long long)parts);
    if (!given && pare_dim_known(whole)) {
        if (c->opset < 18 && whole.value % parts)
            return pare_infer_fail(c, "model.shape", "%s along dim %d does not split into %lld equal parts",
                                   pare_shape_text(c, &x), axis, (long long)parts);
        part = whole.value / parts + (whole.value % parts != 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        x.d[axis] = n == 1 && !given ? whole : pare_dim_of(-1);
        if (sizes) x.d[axis] = pare_dim_of(sizes[i]);
        if (part >= 0) {
            int64_t left = whole.value - pare_macs_mul(part, i);
            x.d[axis] = pare_dim_of(left < 0 ? 0 : left < part ? left : part);
        }
        pare_infer_out_shape(c, i, x.dtype, &x);
    }
    return PARE_OK;
}

/* ---- Slice ---- */

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* How many of 0..dim-1 lie on the way from start to end; negative ones count from the end. */
static int64_t slice_count(int64_t dim, int64_t start, int64_t end, int64_t step) {
    if (dim == 0) return 0;
    if (start < 0) start += dim;
    if (end < 0) end += dim;
    if (step > 0) {
        start = clamp(start, 0, dim);
        end = clamp(end, 0, dim);
        return end > start ? (end - start - 1) / step + 1 : 0;
    }
    start = clamp(start, 0, dim - 1);
    end = clamp(end, -1, dim - 1);
    if (step == INT64_MIN) return start > end;
    return start > end ? (start - end - 1) / -step + 1 : 0;
}

/* Numbers from an attribute before opset 10, from an input since. *n -1: absent or not known at all. */
static const pare_number *slice_numbers(pare_infer_ctx *c, const char *attr, uint32_t slot, int64_t *n) {
    *n = -1;
    if (c->opset >= 10) {
        const pare_numbers *k = pare_infer_numbers(c, slot);
        if (!k) return NULL;
        *n = k->n;
        return k->e;
    }
    const pare_attr *a = pare_node_attr(c->node, attr);
    if (!a || a->type != PARE_ATTR_INTS) return NULL;
    pare_number *e = pare_arena_alloc(&c->run->arena, (a->n + 1) * sizeof *e);
    for (size_t i = 0; i < a->n; i++) e[i] = (pare_number){.v = a->ints[i], .known = true};
    *n = (int64_t)a->n;
    return e;
}

/* Slice(data, starts, ends, axes, steps) */
pare_status pare_rule_slice(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    if (x.ndim < 0) return PARE_OK;
    int64_t n_starts, n_ends, n_axes, n_steps;
    const pare_number *starts = slice_numbers(c, "starts", 1, &n_starts), *ends = slice_numbers(c, "ends", 2, &n_ends);
    const pare_number *axes = slice_numbers(c, "axes", 3, &n_axes), *steps = slice_numbers(c, "steps", 4, &n_steps);
    bool has_axes = c->opset >= 10 ? pare_infer_has(c, 3) : n_axes >= 0;
    int64_t n = n_starts >= 0 ? n_starts : n_ends;
    if (n < 0 && n_axes >= 0) n = n_axes;
    bool axes_known = !has_axes || n_axes >= 0;
    for (int64_t i = 0; i < n_axes && axes_known; i++) axes_known = axes[i].known;
    if (n < 0 || !axes_known) {
        for (int32_t i = 0; i < x.ndim; i++) x.d[i] = pare_dim_of(-1);
        pare_infer_out_shape(c, 0, x.dtype, &x);
        return PARE_OK;
    }
    if ((n_starts >= 0 && n_starts != n) || (n_ends >= 0 && n_ends != n) || (n_axes >= 0 && n_axes != n) ||
        (n_steps >= 0 && n_steps != n) || (!has_axes && n > x.ndim))
        return pare_infer_fail(c, "model.shape",
                               "starts, ends, axes and steps have %lld, %lld, %lld and %lld numbers "
                               "(-1: not constant or left out) for the input %s",
                               (long long)n_starts, (long long)n_ends, (long long)n_axes, (long long)n_steps,
                               pare_shape_text(c, &x));
    for (int64_t i = 0; i < n; i++) {
        int32_t at = (int32_t)i;
        if (has_axes) {
            pare_status st = pare_infer_axis(c, "axes", axes[i].v, x.ndim, &at);
            if (st) return st;
        }
        pare_dim in = x.d[at];
        x.d[at] = pare_dim_of(-1);
        pare_number step = {.v = 1, .known = true};
        if (c->opset >= 10 && pare_infer_has(c, 4)) step = steps ? steps[i] : (pare_number){.v = 0};
        if (step.known && step.v == 0) return pare_infer_fail(c, "model.shape", "a step is 0");
        if (!starts || !ends || !starts[i].known || !step.known) continue;
        pare_number start = starts[i], end = ends[i];
        bool to_end = end.known && end.v >= INT32_MAX;
        if (!end.known && end.symbol && in.symbol && strcmp(end.symbol, in.symbol) == 0) to_end = true;
        if (start.v == 0 && step.v == 1 && to_end && !pare_dim_known(in))
            x.d[at] = in;
        else if (pare_dim_known(in) && end.known)
            x.d[at] = pare_dim_of(slice_count(in.value, start.v, end.v, step.v));
    }
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

/* ---- Gather ---- */

/* The dim `axis` of data is replaced by all dims of indices. */
pare_status pare_rule_gather(pare_infer_ctx *c) {
    pare_shape x, k, y = {.ndim = 0};
    int32_t axis = 0;
    pare_infer_in(c, 0, &x);
    pare_infer_in(c, 1, &k);
    pare_infer_out_unknown(c, 0, x.dtype);
    if (x.ndim < 0) return PARE_OK;
    pare_status st = pare_infer_axis(c, "axis", pare_node_attr_int(c->node, "axis", 0), x.ndim, &axis);
    if (st || k.ndim < 0) return st;
    for (int32_t i = 0; i < axis; i++) pare_shape_grow(&y, x.d[i]);
    for (int32_t i = 0; i < k.ndim; i++) pare_shape_grow(&y, k.d[i]);
    for (int32_t i = axis + 1; i < x.ndim; i++) pare_shape_grow(&y, x.d[i]);
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

pare_status pare_rule_gather_elements(pare_infer_ctx *c) {
    pare_shape k;
    pare_infer_in(c, 1, &k);
    pare_infer_out_shape(c, 0, pare_infer_dtype(c, 0), &k);
    return PARE_OK;
}

/* GatherND(data, indices (…, q)): the last dim of indices picks the first q dims after batch_dims. */
pare_status pare_rule_gather_nd(pare_infer_ctx *c) {
    pare_shape x, k, y = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_in(c, 1, &k);
    pare_infer_out_unknown(c, 0, x.dtype);
    int64_t batch = pare_node_attr_int(c->node, "batch_dims", 0), from;
    if (x.ndim < 1 || k.ndim < 1 || !pare_dim_known(k.d[k.ndim - 1]) || batch < 0) return PARE_OK;
    if (__builtin_add_overflow(batch, k.d[k.ndim - 1].value, &from) || from > x.ndim)
        return pare_infer_fail(c, "model.shape", "indices %s pick more dims than the data %s has",
                               pare_shape_text(c, &k), pare_shape_text(c, &x));
    for (int32_t i = 0; i + 1 < k.ndim; i++) pare_shape_grow(&y, k.d[i]);
    for (int32_t i = (int32_t)from; i < x.ndim; i++) pare_shape_grow(&y, x.d[i]);
    pare_infer_out_shape(c, 0, x.dtype, &y);
    return PARE_OK;
}

/* ---- Expand, Tile, Pad ---- */

/* The rank that a vector of n numbers stands for; false when n is not known. */
static bool rank_from(const pare_infer_ctx *c, uint32_t i, int32_t *rank) {
    pare_shape s;
    pare_infer_in(c, i, &s);
    if (s.ndim != 1 || !pare_dim_known(s.d[0]) || s.d[0].value > PARE_RANK_MAX) return false;
    *rank = (int32_t)s.d[0].value;
    return true;
}

pare_status pare_rule_expand(pare_infer_ctx *c) {
    pare_shape x, t = {.ndim = 0};
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    const pare_numbers *k = pare_infer_numbers(c, 1);
    int32_t rank = 0;
    if (k && k->ndim == 1 && k->n <= PARE_RANK_MAX)
        for (uint32_t i = 0; i < k->n; i++) pare_shape_grow(&t, dim_of_number(k->e[i]));
    else if (rank_from(c, 1, &rank))
        for (int32_t i = 0; i < rank; i++) pare_shape_grow(&t, pare_dim_of(-1));
    else
        return PARE_OK;
    pare_status st = pare_infer_broadcast(c, &x, &t);
    if (!st) pare_infer_out_shape(c, 0, x.dtype, &x);
    return st;
}

/* Tile(input, repeats); before opset 6 Tile(input, tiles, axis). */
pare_status pare_rule_tile(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    if (x.ndim < 0) return PARE_OK;
    const pare_numbers *k = c->opset >= 6 ? pare_infer_numbers(c, 1) : NULL;
    if (k && k->n != (uint32_t)x.ndim)
        return pare_infer_fail(c, "model.shape", "repeats has %u numbers, the input %s has %d dims", k->n,
                               pare_shape_text(c, &x), x.ndim);
    for (int32_t i = 0; i < x.ndim; i++) {
        if (k && k->e[i].known && k->e[i].v < 0)
            return pare_infer_fail(c, "model.shape", "repeats[%d] is %lld, allowed is 0 and up", i,
                                   (long long)k->e[i].v);
        x.d[i] = k ? pare_dim_mul(x.d[i], dim_of_number(k->e[i])) : pare_dim_of(-1);
    }
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

/* Pad(data, pads, value, axes): pads is an attribute before opset 11 ("paddings" in opset 1). */
pare_status pare_rule_pad(pare_infer_ctx *c) {
    pare_shape x;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    if (x.ndim < 0) return PARE_OK;
    const int64_t *pads = NULL;
    size_t n = 0;
    bool known = true;
    int64_t axes[PARE_RANK_MAX], n_axes = -1;
    if (c->opset >= 11) {
        known = pare_infer_const_ints(c, 1, &pads, &n);
        bool axes_known = true;
        pare_status st = pare_infer_axes(c, 3, x.ndim, &axes_known, &n_axes, axes);
        if (st) return st;
        known = known && axes_known;
    } else {
        const pare_attr *a = pare_node_attr(c->node, c->opset >= 2 ? "pads" : "paddings");
        known = a && a->type == PARE_ATTR_INTS;
        if (known) pads = a->ints, n = a->n;
    }
    if (n_axes < 0)
        for (n_axes = 0; n_axes < x.ndim; n_axes++) axes[n_axes] = n_axes;
    if (known && n != 2 * (size_t)n_axes)
        return pare_infer_fail(c, "model.shape", "pads has %zu numbers, %lld dims need two each", n, (long long)n_axes);
    for (int32_t i = 0; i < x.ndim && !known; i++) x.d[i] = pare_dim_of(-1);
    for (int64_t i = 0; i < n_axes && known; i++) {
        int64_t sum, r;
        pare_dim *d = &x.d[axes[i]];
        if (__builtin_add_overflow(pads[i], pads[i + n_axes], &sum) ||
            (pare_dim_known(*d) && (__builtin_add_overflow(d->value, sum, &r) || r < 0)))
            return pare_infer_fail(c, "model.shape", "pads of %lld and %lld don't fit dim %lld of %s",
                                   (long long)pads[i], (long long)pads[i + n_axes], (long long)axes[i],
                                   pare_shape_text(c, &x));
        if (sum) *d = pare_dim_known(*d) ? pare_dim_of(r) : pare_dim_of(-1);
    }
    pare_infer_out_shape(c, 0, x.dtype, &x);
    return PARE_OK;
}

/* ---- Resize, Upsample ---- */

static pare_dim scaled(pare_dim in, float scale) {
    if (scale == 1.0f) return in;
    if (!pare_dim_known(in)) return pare_dim_of(-1);
    float r = (float)in.value * scale; /* as runtimes do: in single precision, rounded down */
    return r >= 0 && r < 9e15f ? pare_dim_of((int64_t)r) : pare_dim_of(-1);
}

static pare_status scale_all(pare_infer_ctx *c, pare_shape *x, const float *v, size_t n, const int64_t *axes) {
    for (size_t i = 0; i < n; i++) {
        if (!(v[i] > 0))
            return pare_infer_fail(c, "model.shape", "scale %zu is %g, allowed is above 0", i, (double)v[i]);
        x->d[axes[i]] = scaled(x->d[axes[i]], v[i]);
    }
    pare_infer_out_shape(c, 0, x->dtype, x);
    return PARE_OK;
}

static pare_status unknown_dims(pare_infer_ctx *c, pare_shape *x, const int64_t *axes, int64_t n) {
    for (int64_t i = 0; i < n; i++) x->d[axes[i]] = pare_dim_of(-1);
    pare_infer_out_shape(c, 0, x->dtype, x);
    return PARE_OK;
}

static pare_status count_fits(pare_infer_ctx *c, const pare_shape *x, const char *what, size_t n, int64_t want) {
    if (n == (size_t)want) return PARE_OK;
    return pare_infer_fail(c, "model.shape", "%s has %zu numbers for %lld dims of the input %s", what, n,
                           (long long)want, pare_shape_text(c, x));
}

/* keep_aspect_ratio_policy: one scale for all axes, the smallest (not_larger) or largest (not_smaller) that a size asks
 * for; a dim is then its scaled length, rounded half up. */
static pare_status keep_aspect(pare_infer_ctx *c, pare_shape *x, const pare_numbers *sizes, const int64_t *axes,
                               int64_t n_axes, const pare_attr *policy) {
    bool larger = policy->s.len == 11 && memcmp(policy->s.data, "not_smaller", 11) == 0;
    double scale = 0;
    bool known = n_axes > 0;
    for (int64_t i = 0; i < n_axes && known; i++) {
        int64_t size = dim_of_number(sizes->e[i]).value, dim = x->d[axes[i]].value;
        known = size >= 0 && dim > 0;
        double s = known ? (double)size / (double)dim : 0;
        if (i == 0 || (larger ? s > scale : s < scale)) scale = s;
    }
    for (int64_t i = 0; i < n_axes; i++) {
        double d = known ? floor(scale * (double)x->d[axes[i]].value + 0.5) : -1;
        x->d[axes[i]] = pare_dim_of(d >= 0 && d < 0x1p62 ? (int64_t)d : -1);
    }
    pare_infer_out_shape(c, 0, x->dtype, x);
    return PARE_OK;
}

/* Resize(X, roi, scales, sizes); opset 10: (X, scales). */
pare_status pare_rule_resize(pare_infer_ctx *c) {
    pare_shape x;
    const float *v = NULL;
    size_t n = 0;
    int64_t axes[PARE_RANK_MAX], n_axes = -1;
    bool known = true;
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    if (x.ndim < 0) return PARE_OK;
    pare_status st = pare_infer_axes(c, 0, x.ndim, &known, &n_axes, axes);
    if (st || !known) return st;
    if (n_axes < 0)
        for (n_axes = 0; n_axes < x.ndim; n_axes++) axes[n_axes] = n_axes;
    uint32_t i_scales = c->opset >= 11 ? 2 : 1;
    const pare_numbers *sizes = c->opset >= 11 ? pare_infer_numbers(c, 3) : NULL;
    const pare_attr *policy = pare_node_attr(c->node, "keep_aspect_ratio_policy");
    const pare_attr *mode = pare_node_attr(c->node, "coordinate_transformation_mode");
    if (sizes) {
        if ((st = count_fits(c, &x, "sizes", sizes->n, n_axes))) return st;
        bool stretch = !policy || (policy->s.len == 7 && memcmp(policy->s.data, "stretch", 7) == 0);
        if (!stretch) return keep_aspect(c, &x, sizes, axes, n_axes, policy);
        for (int64_t i = 0; i < n_axes; i++) x.d[axes[i]] = dim_of_number(sizes->e[i]);
        pare_infer_out_shape(c, 0, x.dtype, &x);
        return PARE_OK;
    }
    bool crops = mode && mode->s.len == 18 && memcmp(mode->s.data, "tf_crop_and_resize", 18) == 0;
    if (crops || !pare_infer_const_floats(c, i_scales, &v, &n) || !n) return unknown_dims(c, &x, axes, n_axes);
    if ((st = count_fits(c, &x, "scales", n, n_axes))) return st;
    return scale_all(c, &x, v, n, axes);
}

/* Upsample(X, scales): an attribute before opset 9. */
pare_status pare_rule_upsample(pare_infer_ctx *c) {
    pare_shape x;
    const float *v = NULL;
    size_t n = 0;
    int64_t axes[PARE_RANK_MAX];
    pare_infer_in(c, 0, &x);
    pare_infer_out_unknown(c, 0, x.dtype);
    const pare_attr *a = pare_node_attr(c->node, "scales");
    if (a && a->type == PARE_ATTR_FLOATS) v = a->floats, n = a->n;
    if (x.ndim < 0) return PARE_OK;
    for (int32_t i = 0; i < x.ndim; i++) axes[i] = i;
    if (!v && !pare_infer_const_floats(c, 1, &v, &n)) return unknown_dims(c, &x, axes, x.ndim);
    pare_status st = count_fits(c, &x, "scales", n, x.ndim);
    return st ? st : scale_all(c, &x, v, n, axes);
}
