/* engine/pass_transpose.c - Transpose behind Transpose is one, or none. See pass.h. May use: model. */
#include "engine/pass.h"

#include "model/edit.h"

enum { RANK = 16 };

/* The permutation: given, or all dims reversed where the rank is known. 0: not known or wrong. */
static size_t perm_of(const pare_model *m, const pare_node *n, int64_t *p) {
    const pare_attr *a = pare_node_attr(n, "perm");
    const pare_value *x = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    size_t len = a ? a->n : x && x->ndim > 0 ? (size_t)x->ndim : 0;
    if (!len || len > RANK) return 0;
    for (size_t i = 0; i < len; i++) {
        p[i] = a ? a->ints[i] : (int64_t)(len - 1 - i);
        if (p[i] < 0 || p[i] >= (int64_t)len) return 0;
    }
    return len;
}

static bool rewrite(pare_model *m, const pare_node *n) {
    int64_t second[RANK], first[RANK], both[RANK];
    const pare_value *mid = pare_node_is(n, "Transpose") && n->n_in == 1 ? pare_model_value(m, n->in[0]) : NULL;
    const pare_node *before = mid ? pare_model_node(m, mid->producer) : NULL;
    if (!before || !pare_node_is(before, "Transpose")) return false;
    size_t len = perm_of(m, n, second);
    if (!len || perm_of(m, before, first) != len) return false;
    bool none = true;
    for (size_t i = 0; i < len; i++) {
        both[i] = first[second[i]];
        none = none && both[i] == (int64_t)i;
    }
    uint32_t x = before->in[0], id = n->id, out = n->out[0], old = before->id;
    bool alone = mid->uses.len == 1 && !mid->is_output;
    if (none) {
        pare_value_replace_uses(m, out, x);
        pare_node_del(m, id);
    } else if (alone) {
        pare_node_input_set(m, id, 0, x);
        pare_attr_set_ints(m, id, "perm", both, len);
    } else {
        return false;
    }
    if (alone) pare_node_del(m, old);
    return true;
}

pare_status pare_pass_cancel_transposes(pare_model *m, pare_diags *d, uint64_t *changed) {
    (void)d;
    *changed = 0;
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && m->nodes.data[i]->graph == PARE_MAIN_GRAPH && rewrite(m, m->nodes.data[i])) ++*changed;
    return PARE_OK;
}
