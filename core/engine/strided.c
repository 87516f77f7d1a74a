/* engine/strided.c - see strided.h. */
#include "engine/strided.h"

#include "engine/pass.h"

#include <string.h>

static uint32_t begin_of(const pare_strided *v, uint32_t dim) { return dim ? v->end[dim - 1] : 0; }

int64_t pare_strided_size(const pare_strided *v, uint32_t dim) {
    int64_t n = 1;
    for (uint32_t i = begin_of(v, dim); i < v->end[dim]; i++) n *= v->f[i].n;
    return n;
}

bool pare_strided_step(const pare_strided *v, uint32_t dim, int64_t *step) {
    int64_t n = 1;
    *step = 0;
    for (uint32_t i = v->end[dim]; i-- > begin_of(v, dim);) { /* inner to outer */
        if (v->f[i].n == 1) continue;
        if (n == 1)
            *step = v->f[i].step;
        else if (v->f[i].step != *step * n)
            return false;
        n *= v->f[i].n;
    }
    return true;
}

bool pare_strided_plain(const pare_model *m, uint32_t value, pare_strided *out) {
    const pare_value *v = pare_model_value(m, value);
    *out = (pare_strided){.root = value, .scale = 1};
    if (!v || v->ndim < 0 || v->ndim > PARE_STRIDED_DIMS) return false;
    out->ndim = (uint32_t)v->ndim;
    int64_t step = 1;
    for (uint32_t i = out->ndim; i-- > 0;) {
        int64_t n = v->dims[i].value;
        if (n < 1 || step > INT64_MAX / n) return false;
        out->f[i] = (pare_strided_factor){n, step};
        out->end[i] = i + 1;
        step *= n;
    }
    return true;
}

bool pare_strided_reshape(pare_strided *v, uint32_t ndim, const int64_t *dims) {
    pare_strided r = *v;
    uint32_t at = 0, n = 0, count = v->ndim ? v->end[v->ndim - 1] : 0;
    pare_strided_factor left = {1, 0}; /* what is left of v's factor before `at` */
    if (ndim > PARE_STRIDED_DIMS) return false;
    for (uint32_t i = 0; i < ndim; i++) {
        int64_t need = dims[i];
        while (need > 1) {
            while (left.n == 1 && at < count) left = v->f[at++];
            if (left.n == 1 || n == PARE_STRIDED_FACTORS) return false;
            int64_t take = left.n <= need ? left.n : need;
            if (left.n % take || need % take) return false;
            r.f[n++] = (pare_strided_factor){take, left.step * (left.n / take)};
            left.n /= take;
            need /= take;
        }
        if (need != 1) return false;
        r.end[i] = n;
    }
    while (left.n == 1 && at < count) left = v->f[at++];
    if (left.n != 1) return false;
    r.ndim = ndim;
    *v = r;
    return true;
}

void pare_strided_transpose(pare_strided *v, const int64_t *perm) {
    pare_strided r = *v;
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->ndim; i++) {
        uint32_t from = (uint32_t)perm[i];
        for (uint32_t k = begin_of(v, from); k < v->end[from]; k++) r.f[n++] = v->f[k];
        r.end[i] = n;
    }
    *v = r;
}

/* Elements start … start + len - 1 of a dim. */
static bool cut(pare_strided *v, uint32_t dim, int64_t start, int64_t len) {
    uint32_t i = begin_of(v, dim);
    int64_t inner = 1;
    if (start < 0 || len < 1 || start + len > pare_strided_size(v, dim)) return false;
    if (start == 0 && len == pare_strided_size(v, dim)) return true;
    while (i + 1 < v->end[dim] && v->f[i].n == 1) i++;
    for (uint32_t k = i + 1; k < v->end[dim]; k++) inner *= v->f[k].n;
    if (len == 1) { /* one element: of every factor one */
        for (uint32_t k = v->end[dim]; k-- > i;) {
            v->offset += start % v->f[k].n * v->f[k].step;
            start /= v->f[k].n;
            v->f[k].n = 1;
        }
        return true;
    }
    if (start % inner || len % inner) return false;
    v->f[i].n = len / inner;
    v->offset += start / inner * v->f[i].step;
    return true;
}

/* ---- through nodes ---- */

static const int64_t *ints(const pare_model *m, const pare_node *n, uint32_t slot, uint64_t *count) {
    pare_tensor *t = pare_pass_constant(m, n, slot, PARE_INT64);
    const void *data;
    *count = 0;
    if (!t || !t->count || pare_tensor_read(t, NULL, &data) || !data || (uintptr_t)data % sizeof(int64_t)) return NULL;
    *count = t->count;
    return data;
}

static bool axis_of(int64_t axis, uint32_t ndim, uint32_t *out) {
    if (axis < 0) axis += ndim;
    *out = (uint32_t)axis;
    return axis >= 0 && axis < ndim;
}

static bool by_transpose(const pare_node *n, pare_strided *v) {
    const pare_attr *a = pare_node_attr(n, "perm");
    int64_t perm[PARE_STRIDED_DIMS];
    uint32_t seen = 0;
    if (a && a->n != v->ndim) return false;
    for (uint32_t i = 0; i < v->ndim; i++) {
        perm[i] = a ? a->ints[i] : v->ndim - 1 - i;
        if (perm[i] < 0 || perm[i] >= v->ndim || (seen >> perm[i] & 1)) return false;
        seen |= 1u << perm[i];
    }
    pare_strided_transpose(v, perm);
    return true;
}

static bool by_split(const pare_model *m, const pare_node *n, uint32_t slot, pare_strided *v) {
    uint32_t axis;
    int64_t start = 0;
    if (!axis_of(pare_node_attr_int(n, "axis", 0), v->ndim, &axis)) return false;
    for (uint32_t i = 0; i <= slot; i++) {
        const pare_value *o = pare_model_value(m, n->out[i]);
        if (!o || o->ndim != (int32_t)v->ndim || o->dims[axis].value < 1) return false;
        if (i == slot) return cut(v, axis, start, o->dims[axis].value);
        start += o->dims[axis].value;
    }
    return false;
}

static bool by_slice(const pare_model *m, const pare_node *n, const pare_value *to, pare_strided *v) {
    uint64_t n_starts, n_axes, n_steps;
    const int64_t *starts = ints(m, n, 1, &n_starts), *axes = ints(m, n, 3, &n_axes), *steps = ints(m, n, 4, &n_steps);
    if (!starts || (n->n_in > 3 && n->in[3] && n_axes != n_starts) || (n->n_in > 4 && n->in[4] && n_steps != n_starts))
        return false;
    for (uint64_t i = 0; i < n_starts; i++) {
        uint32_t axis;
        if ((steps && steps[i] != 1) || !axis_of(axes ? axes[i] : (int64_t)i, v->ndim, &axis)) return false;
        int64_t size = pare_strided_size(v, axis), start = starts[i] < -size ? 0 : starts[i];
        if (start < 0) start += size;
        if (!cut(v, axis, start, to->dims[axis].value)) return false;
    }
    return true;
}

static bool by_gather(const pare_model *m, const pare_node *n, const pare_value *to, pare_strided *v) {
    uint64_t count;
    uint32_t axis;
    const int64_t *index = ints(m, n, 1, &count);
    if (!index || count != 1 || !axis_of(pare_node_attr_int(n, "axis", 0), v->ndim, &axis)) return false;
    int64_t at = index[0] < 0 ? index[0] + pare_strided_size(v, axis) : index[0], dims[PARE_STRIDED_DIMS];
    if (!cut(v, axis, at, 1)) return false;
    for (int32_t i = 0; i < to->ndim; i++) dims[i] = to->dims[i].value;
    return pare_strided_reshape(v, (uint32_t)to->ndim, dims);
}

/* x times or over a number, as large as x. The slot of x; -1: it is something else. */
static int scaled(const pare_model *m, const pare_node *n, const pare_value *to, double *by) {
    bool div = pare_node_is(n, "Div");
    float c;
    if ((!div && !pare_node_is(n, "Mul")) || n->n_in != 2) return -1;
    for (uint32_t i = 0; i < (div ? 1u : 2u); i++) {
        const pare_value *x = pare_model_value(m, n->in[i]);
        if (!x || x->ndim != to->ndim || !pare_pass_number(m, n, 1 - i, &c)) continue;
        if (div && c == 0.0f) return -1;
        *by = div ? 1 / (double)c : (double)c;
        return (int)i;
    }
    return -1;
}

static bool is_reshape(const pare_node *n) {
    static const char *const ops[] = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return true;
    return false;
}

static bool view_of(const pare_model *m, uint32_t value, int depth, pare_strided *out) {
    const pare_value *v = pare_model_value(m, value);
    const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    int64_t dims[PARE_STRIDED_DIMS];
    double by = 1;
    if (!pare_strided_plain(m, value, out)) return false;
    if (!n || !n->n_in || depth > 32 || v->dtype != PARE_FLOAT) return true;
    for (uint32_t i = 0; i < out->ndim; i++) dims[i] = v->dims[i].value;
    pare_strided x;
    int slot = scaled(m, n, v, &by);
    if (!view_of(m, n->in[slot < 0 ? 0 : slot], depth + 1, &x)) return true;
    x.scale *= by;
    bool through = slot >= 0                      ? true
                   : is_reshape(n)                ? pare_strided_reshape(&x, out->ndim, dims)
                   : pare_node_is(n, "Transpose") ? by_transpose(n, &x)
                   : pare_node_is(n, "Split")     ? by_split(m, n, v->slot, &x)
                   : pare_node_is(n, "Slice")     ? by_slice(m, n, v, &x)
                   : pare_node_is(n, "Gather")    ? by_gather(m, n, v, &x)
                                                  : false;
    if (through && x.ndim == out->ndim) *out = x;
    return true;
}

bool pare_strided_of(const pare_model *m, uint32_t value, pare_strided *out) { return view_of(m, value, 0, out); }
