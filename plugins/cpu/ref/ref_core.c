/* plugins/cpu/ref/ref_core.c - what all families share: attributes, axes, broadcasting.
 *
 * Is not: elements (ref_dtype.c). May use: ref.h, the C library.
 */
#include "ref.h"
#include "ref_rows.h"

#include <string.h>

const pare_attribute *ref_attr(const pare_kernel_spec *s, const char *name) {
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (!strcmp(s->attrs[i]->name, name)) return &s->attrs[i]->value;
    return NULL;
}

int64_t ref_attr_int(const pare_kernel_spec *s, const char *name, int64_t dflt) {
    const pare_attribute *a = ref_attr(s, name);
    return a && a->type == PARE_ATTRIBUTE_INT ? a->i : dflt;
}

double ref_attr_float(const pare_kernel_spec *s, const char *name, double dflt) {
    const pare_attribute *a = ref_attr(s, name);
    return a && a->type == PARE_ATTRIBUTE_FLOAT ? a->f : dflt;
}

bool ref_attr_is(const pare_kernel_spec *s, const char *name, const char *dflt, const char *value) {
    const pare_attribute *a = ref_attr(s, name);
    return !strcmp(a && a->type == PARE_ATTRIBUTE_STRING && a->s ? a->s : dflt, value);
}

const int64_t *ref_attr_ints(const pare_kernel_spec *s, const char *name, uint64_t *n) {
    const pare_attribute *a = ref_attr(s, name);
    bool there = a && a->type == PARE_ATTRIBUTE_INTS;
    *n = there ? a->n : 0;
    return there ? a->ints : NULL;
}

bool ref_has(const pare_kernel_spec *s, uint32_t in) {
    return in < s->n_in && s->in[in] && !(s->in[in]->flags & PARE_OPERAND_ABSENT);
}

uint64_t ref_count(const pare_operand *o) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < o->ndim; i++) n *= (uint64_t)o->dims[i];
    return n;
}

int64_t ref_axis(int64_t axis, uint32_t ndim) { return axis < 0 ? axis + (int64_t)ndim : axis; }

static bool numeric(const pare_operand *o) {
    if (!o || o->flags & PARE_OPERAND_ABSENT) return true;
    char k = pare_dtype_kind(o->dtype);
    return o->ndim <= REF_DIMS && (k == 'f' || k == 'i' || k == 'u' || k == 'b');
}

bool ref_numeric(const pare_kernel_spec *s) {
    if (!ref_has(s, 0) || !s->n_out || !s->out[0] || s->out[0]->flags & PARE_OPERAND_ABSENT) return false;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (!numeric(s->in[i])) return false;
    for (uint32_t i = 0; i < s->n_out; i++)
        if (!numeric(s->out[i])) return false;
    return true;
}

uint64_t ref_broadcast_index(const int64_t *dims, uint32_t ndim, const int64_t *pos, uint32_t out_ndim) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < ndim; i++) {
        int64_t p = pos[out_ndim - ndim + i];
        at = at * (uint64_t)dims[i] + (dims[i] == 1 ? 0 : (uint64_t)p);
    }
    return at;
}

bool ref_next(int64_t *pos, const int64_t *dims, uint32_t ndim) {
    for (uint32_t i = ndim; i-- > 0;) {
        if (++pos[i] < dims[i]) return true;
        pos[i] = 0;
    }
    return false;
}

bool ref_axis_split(const pare_operand *x, int64_t axis, ref_axes *a) {
    axis = ref_axis(axis, x->ndim);
    if (axis < 0 || axis >= (int64_t)x->ndim) return false;
    *a = (ref_axes){1, (uint64_t)x->dims[axis], 1};
    for (int64_t i = 0; i < axis; i++) a->outer *= (uint64_t)x->dims[i];
    for (int64_t i = axis + 1; i < (int64_t)x->ndim; i++) a->inner *= (uint64_t)x->dims[i];
    return true;
}

/* Can dim d be walked as part of the dim kept last? Each input must move on as if both were one. */
static bool merges(const ref_walk *w, uint32_t last, const int64_t *stride, int64_t dim) {
    for (uint32_t k = 0; k < w->n_in; k++)
        if (w->stride[k][last] != stride[k] * dim) return false;
    return true;
}

pare_status ref_walk_init(ref_walk *w, const pare_operand *out, const pare_operand *const *in, uint32_t n_in) {
    int64_t stride[REF_WALK_INPUTS][REF_DIMS] = {{0}};
    if (n_in > REF_WALK_INPUTS || out->ndim > REF_DIMS) return PARE_EINVAL;
    for (uint32_t k = 0; k < n_in; k++) {
        if (in[k]->ndim > out->ndim) return PARE_EINVAL;
        int64_t step = 1;
        for (uint32_t i = in[k]->ndim; i-- > 0;) {
            uint32_t o = out->ndim - in[k]->ndim + i;
            int64_t dim = in[k]->dims[i];
            if (dim != 1 && dim != out->dims[o]) return PARE_EINVAL;
            stride[k][o] = dim == 1 ? 0 : step;
            step *= dim;
        }
    }
    memset(w, 0, sizeof *w);
    w->n_in = n_in;
    for (uint32_t o = 0; o < out->ndim; o++) {
        if (out->dims[o] == 1) continue;
        int64_t at[REF_WALK_INPUTS] = {0};
        for (uint32_t k = 0; k < n_in; k++) at[k] = stride[k][o];
        if (w->ndim && merges(w, w->ndim - 1, at, out->dims[o]))
            w->dims[w->ndim - 1] *= out->dims[o];
        else
            w->dims[w->ndim++] = out->dims[o];
        for (uint32_t k = 0; k < n_in; k++) w->stride[k][w->ndim - 1] = at[k];
    }
    if (!w->ndim) w->dims[w->ndim++] = 1;
    return PARE_OK;
}

void ref_walk_run(const ref_walk *w, ref_row *row, void *ctx) {
    uint32_t last = w->ndim - 1;
    int64_t pos[REF_DIMS] = {0}, stride[REF_WALK_INPUTS] = {0};
    uint64_t at[REF_WALK_INPUTS] = {0}, out_at = 0, n = (uint64_t)w->dims[last];
    for (uint32_t i = 0; i < w->ndim; i++)
        if (!w->dims[i]) return;
    for (uint32_t k = 0; k < w->n_in; k++) stride[k] = w->stride[k][last];
    do {
        for (uint32_t k = 0; k < w->n_in; k++) {
            at[k] = 0;
            for (uint32_t i = 0; i < last; i++) at[k] += (uint64_t)(pos[i] * w->stride[k][i]);
        }
        row(ctx, out_at, at, stride, n);
        out_at += n;
    } while (ref_next(pos, w->dims, last));
}
