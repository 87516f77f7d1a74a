/* engine/pass_pad.c - Pad with zeros goes into the pads of the Conv or AveragePool behind it. See pass.h.
 *
 * AveragePool only where it pads nothing itself: it then counts what was padded. MaxPool pads with less than every
 * number: only a Pad with -inf goes there. May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <math.h>
#include <string.h>

enum { RANK = 8 };

static bool pads_of(const pare_model *m, const pare_node *pad, int32_t ndim, float with, const int64_t **out) {
    const pare_attr *mode = pare_node_attr(pad, "mode");
    if (mode && (mode->s.len != 8 || memcmp(mode->s.data, "constant", 8) != 0)) return false;
    float number = 0;
    if (pad->n_in > 3 && pad->in[3]) return false; /* axes */
    if (pad->n_in > 2 && pad->in[2] && !pare_pass_number(m, pad, 2, &number)) return false;
    if (number != with) return false;
    pare_tensor *t = pare_pass_constant(m, pad, 1, PARE_INT64);
    const void *data;
    if (!t || t->count != 2 * (uint64_t)ndim || pare_tensor_read(t, NULL, &data) || !data) return false;
    const int64_t *p = data;
    for (int32_t i = 0; i < ndim; i++)
        if (p[i] < 0 || p[i + ndim] < 0 || (i < 2 && (p[i] || p[i + ndim]))) return false;
    *out = p;
    return true;
}

/* Its own pads are numbers, not a rule. */
static bool plain_pads(const pare_node *n) {
    const pare_attr *a = pare_node_attr(n, "auto_pad");
    if (!a || (a->s.len == 6 && memcmp(a->s.data, "NOTSET", 6) == 0)) return true;
    return a->s.len == 5 && memcmp(a->s.data, "VALID", 5) == 0 && !pare_node_attr(n, "pads");
}

static bool rewrite(pare_model *m, const pare_node *n) {
    bool pool = pare_node_is(n, "AveragePool"), most = pare_node_is(n, "MaxPool");
    if ((!pool && !most && !pare_node_is(n, "Conv")) || !plain_pads(n)) return false;
    if (most && (n->n_out > 1 || pare_node_attr_int(n, "ceil_mode", 0))) return false; /* where, in the padded one */
    pare_node *pad = pare_pass_sole(m, n, 0, "Pad");
    const pare_value *x = pad ? pare_model_value(m, pad->in[0]) : NULL;
    const int64_t *p;
    if (!x || x->dtype != PARE_FLOAT || x->ndim < 3 || x->ndim > RANK ||
        !pads_of(m, pad, x->ndim, most ? -INFINITY : 0.0f, &p))
        return false;
    int64_t sum[2 * RANK] = {0};
    int32_t spatial = x->ndim - 2;
    const pare_attr *own = pare_node_attr(n, "pads");
    const pare_attr *kernel = pare_node_attr(n, "kernel_shape");
    if (own && own->n != 2 * (size_t)spatial) return false;
    if (most && (!kernel || kernel->n != (size_t)spatial)) return false;
    for (int32_t i = 0; i < 2 * spatial; i++) {
        int64_t before = own ? own->ints[i] : 0;
        sum[i] = before + p[i < spatial ? i + 2 : i + 4];
        if (most && sum[i] >= kernel->ints[i % spatial]) return false; /* a window of nothing but padding */
        if (pool && (before || pare_node_attr_int(n, "ceil_mode", 0))) return false;
    }
    uint32_t id = n->id, from = pad->id;
    pare_node_input_set(m, id, 0, x->id);
    pare_attr_set_ints(m, id, "pads", sum, 2 * (size_t)spatial);
    pare_attr_del(m, id, "auto_pad");
    if (pool) pare_attr_set_int(m, id, "count_include_pad", 1);
    pare_node_del(m, from);
    return true;
}

pare_status pare_pass_fold_pad(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH && rewrite(m, m->nodes.data[i])) ++*changed;
    return PARE_OK;
}
