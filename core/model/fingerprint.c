/* model/fingerprint.c - see fingerprint.h. Every piece goes in with its length before it, so that no two lists of
 * pieces give the same bytes. */
#include "model/fingerprint.h"

#include <stdlib.h>
#include <string.h>

typedef struct printer {
    pare_model *m;
    pare_diags *d;
    pare_sha256 *h;
    pare_status st; /* the first failure */
} printer;

static void add_number(printer *p, uint64_t v) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(v >> 8 * i);
    pare_sha256_add(p->h, b, sizeof b);
}

static void add_bytes(printer *p, const void *data, uint64_t n) {
    add_number(p, n);
    if (n) pare_sha256_add(p->h, data, (size_t)n);
}

static void add_text(printer *p, const char *s) { add_bytes(p, s, strlen(s)); }

static void add_float(printer *p, float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    add_number(p, bits);
}

/* ---- pieces ---- */

static void add_tensor(printer *p, pare_tensor *t) {
    const void *data = NULL;
    add_number(p, t->dtype);
    add_number(p, t->ndim);
    for (uint32_t i = 0; i < t->ndim; i++) add_number(p, (uint64_t)t->dims[i]);
    for (uint64_t i = 0; t->dtype == PARE_STRING && t->strings && i < t->count; i++)
        add_bytes(p, t->strings[i].data, t->strings[i].len);
    if (!t->blob || p->st) return;
    if (t->blob->data) /* as it lies there: a hash needs no alignment */
        data = t->blob->data;
    else
        p->st = pare_tensor_read(t, p->d, &data);
    if (!p->st) add_bytes(p, data, t->blob->len);
}

static void add_graph(printer *p, const pare_graph *g);

static void add_attr(printer *p, const pare_attr *a) {
    add_text(p, a->name);
    add_number(p, a->type);
    add_text(p, a->ref_attr_name ? a->ref_attr_name : "");
    add_number(p, a->n);
    switch (a->type) {
    case PARE_ATTR_FLOAT: add_float(p, a->f); break;
    case PARE_ATTR_INT: add_number(p, (uint64_t)a->i); break;
    case PARE_ATTR_STRING: add_bytes(p, a->s.data, a->s.len); break;
    case PARE_ATTR_FLOATS:
        for (size_t i = 0; i < a->n; i++) add_float(p, a->floats[i]);
        break;
    case PARE_ATTR_INTS:
        for (size_t i = 0; i < a->n; i++) add_number(p, (uint64_t)a->ints[i]);
        break;
    case PARE_ATTR_STRINGS:
        for (size_t i = 0; i < a->n; i++) add_bytes(p, a->strings[i].data, a->strings[i].len);
        break;
    case PARE_ATTR_TENSOR:
    case PARE_ATTR_TENSORS:
        for (size_t i = 0; i < a->n; i++) {
            pare_tensor *t = pare_model_tensor(p->m, a->ids[i]);
            if (t) add_tensor(p, t);
        }
        break;
    case PARE_ATTR_GRAPH:
    case PARE_ATTR_GRAPHS:
        for (size_t i = 0; i < a->n; i++) {
            const pare_graph *g = pare_model_graph(p->m, a->ids[i]);
            if (g) add_graph(p, g);
        }
        break;
    default:
        for (size_t i = 0; a->raw && i < a->n; i++) add_bytes(p, a->raw[i].data, a->raw[i].len);
        break;
    }
}

static int by_attr_name(const void *a, const void *b) {
    return strcmp((*(const pare_attr *const *)a)->name, (*(const pare_attr *const *)b)->name);
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(pare_tensor *const *)a)->name, (*(pare_tensor *const *)b)->name);
}

static int by_domain(const void *a, const void *b) {
    return strcmp(((const pare_opset *)a)->domain, ((const pare_opset *)b)->domain);
}

static void add_values(printer *p, const uint32_t *ids, uint32_t n) {
    add_number(p, n);
    for (uint32_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(p->m, ids[i]);
        add_text(p, v ? v->name : "");
    }
}

static void add_node(printer *p, const pare_node *n) {
    const pare_attr **attrs = pare_xcalloc(n->n_attrs + 1, sizeof *attrs);
    add_text(p, n->domain);
    add_text(p, n->op_type);
    add_values(p, n->in, n->n_in);
    add_values(p, n->out, n->n_out);
    for (uint32_t i = 0; i < n->n_attrs; i++) attrs[i] = &n->attrs[i];
    if (n->n_attrs) qsort(attrs, n->n_attrs, sizeof *attrs, by_attr_name);
    add_number(p, n->n_attrs);
    for (uint32_t i = 0; i < n->n_attrs; i++) add_attr(p, attrs[i]);
    free(attrs);
}

static void add_initializers(printer *p, const pare_graph *g) {
    pare_tensor **tensors = pare_xcalloc(g->initializers.len + 1, sizeof *tensors);
    size_t n = 0;
    for (size_t i = 0; i < g->initializers.len; i++) {
        pare_tensor *t = pare_model_tensor(p->m, g->initializers.data[i]);
        if (t) tensors[n++] = t;
    }
    qsort(tensors, n, sizeof *tensors, by_tensor_name);
    add_number(p, n);
    for (size_t i = 0; i < n; i++) {
        add_text(p, tensors[i]->name);
        add_tensor(p, tensors[i]);
    }
    free(tensors);
}

static void add_graph(printer *p, const pare_graph *g) {
    add_values(p, g->inputs.data, (uint32_t)g->inputs.len);
    add_values(p, g->outputs.data, (uint32_t)g->outputs.len);
    for (size_t i = 0; i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(p->m, g->inputs.data[i]);
        add_number(p, v->dtype);
        for (int32_t k = 0; k < v->ndim; k++) add_number(p, (uint64_t)v->dims[k].value);
    }
    add_initializers(p, g);
    for (size_t i = 0; i < g->sparse.len; i++) add_bytes(p, g->sparse.data[i].raw.data, g->sparse.data[i].raw.len);
    add_number(p, g->nodes.len);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(p->m, g->nodes.data[i]);
        if (n) add_node(p, n);
    }
}

pare_status pare_model_fingerprint(pare_model *m, pare_diags *d, char hex[PARE_SHA256_HEX]) {
    printer p = {.m = m, .d = d, .h = pare_sha256_new()};
    pare_opset *opsets = pare_xcalloc(m->opsets.len + 1, sizeof *opsets);
    if (m->opsets.len) memcpy(opsets, m->opsets.data, m->opsets.len * sizeof *opsets);
    qsort(opsets, m->opsets.len, sizeof *opsets, by_domain);
    for (size_t i = 0; i < m->opsets.len; i++) {
        add_text(&p, opsets[i].domain);
        add_number(&p, (uint64_t)opsets[i].version);
    }
    free(opsets);
    for (size_t i = 0; i < m->functions.len; i++) add_bytes(&p, m->functions.data[i].data, m->functions.data[i].len);
    add_graph(&p, pare_model_graph(m, PARE_MAIN_GRAPH));
    pare_sha256_end(p.h, hex);
    return p.st;
}
