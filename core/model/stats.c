/* model/stats.c - see stats.h. Which constants are parameters is stats_params.c. */
#include "model/stats.h"

#include "model/infer.h"
#include "model/layers.h"
#include "model/stats_params.h"

#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* ---- one node ---- */

/* The number that all inputs of the model share as first dim, where it is one; else 1. With a dim left open, that one
 * may be the batch: nothing is divided then. */
static int64_t fixed_batch(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    int64_t batch = 0;
    for (size_t i = 0; g && i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(m, g->inputs.data[i]);
        if (!v || v->tensor || v->ndim == 0) continue;
        if (v->ndim < 1 || v->dims[0].value < 1 || (batch && batch != v->dims[0].value)) return 1;
        batch = v->dims[0].value;
        for (int32_t k = 1; k < v->ndim; k++)
            if (v->dims[k].value < 0) return 1;
    }
    return batch ? batch : 1;
}

/* Would this op multiply by a matrix? Of one that isn't in the table, its constants are the only sign. */
static bool may_multiply(pare_model *m, const pare_node *n) {
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_tensor *t = pare_model_tensor(m, pare_const_of(m, n->in[i]).tensor);
        if (t && t->ndim >= 2 && pare_dtype_kind(t->dtype) == 'f') return true;
    }
    return false;
}

static int64_t node_macs(pare_model *m, const pare_node *n, int64_t batch) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    if (!op) return may_multiply(m, n) ? -1 : 0;
    int64_t macs = op->macs ? op->macs(m, n) : 0;
    return macs > 0 && macs % batch == 0 ? macs / batch : macs;
}

int64_t pare_node_macs(pare_model *m, const pare_node *n) { return node_macs(m, n, fixed_batch(m)); }

static uint64_t tensor_bytes(const pare_tensor *t) {
    uint64_t n = 0;
    if (t->dtype != PARE_STRING) return pare_dtype_nbytes(t->dtype, t->count, &n) ? n : 0;
    for (uint64_t i = 0; i < t->count && t->strings; i++) n += t->strings[i].len;
    return n;
}

void pare_node_parameters(pare_model *m, const pare_node *n, uint64_t *parameters, uint64_t *bytes) {
    *parameters = *bytes = 0;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_tensor *t = pare_model_tensor(m, pare_const_of(m, n->in[i]).tensor);
        bool again = false;
        for (uint32_t k = 0; k < i && t && !again; k++) again = pare_const_of(m, n->in[k]).tensor == t->id;
        if (!t || again || !pare_tensor_is_parameter(m, t)) continue;
        *parameters += t->count;
        *bytes += tensor_bytes(t);
    }
}

/* ---- the model ---- */

typedef struct counter {
    pare_model *m;
    pare_diags *d;
    pare_model_stats *s;
    int64_t *nonzero;    /* [tensor id], -1: not counted yet */
    const char **labels; /* [node id] */
} counter;

static pare_status nonzero_of(counter *c, pare_tensor *t, uint64_t *out) {
    if (c->nonzero[t->id] < 0) {
        uint64_t n;
        pare_status st = pare_parameter_nonzero(c->m, t, c->d, &n);
        if (st) return st;
        c->nonzero[t->id] = (int64_t)n;
    }
    *out = (uint64_t)c->nonzero[t->id];
    return PARE_OK;
}

/* Rounded to the nearest: macs times the share of weights that are not zero. */
static pare_status effective_macs(counter *c, const pare_node *n, int64_t macs, int64_t *out) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    uint64_t all = 0, left = 0, nonzero;
    for (uint32_t i = 0; op && i < n->n_in && i < 32; i++) {
        pare_tensor *t = op->weights >> i & 1 ? pare_model_tensor(c->m, pare_const_of(c->m, n->in[i]).tensor) : NULL;
        if (!t) continue;
        pare_status st = nonzero_of(c, t, &nonzero);
        if (st) return st;
        all += t->count;
        left += nonzero;
    }
    *out = all ? (int64_t)(((wide)(uint64_t)macs * left + all / 2) / all) : macs;
    return PARE_OK;
}

/* Is it 8-bit integers, as they are or as a DequantizeLinear reads them? */
static bool is_int8(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    if (n && strcmp(n->op_type, "DequantizeLinear") == 0 && n->n_in) v = pare_model_value(m, n->in[0]);
    return v && (v->dtype == PARE_INT8 || v->dtype == PARE_UINT8);
}

/* Does it multiply 8-bit numbers by such? */
static bool multiplies_int8(const pare_model *m, const pare_node *n) {
    bool late = strncmp(n->op_type, "QLinear", 7) == 0 || strcmp(n->op_type, "QGemm") == 0;
    if (strcmp(n->op_type, "DynamicQuantizeMatMul") == 0) return n->n_in > 1 && is_int8(m, n->in[1]);
    return n->n_in > (late ? 3u : 1u) && is_int8(m, n->in[0]) && is_int8(m, n->in[late ? 3 : 1]);
}

static void add_macs(int64_t *sum, int64_t macs) {
    if (*sum >= 0 && (macs < 0 || __builtin_add_overflow(*sum, macs, sum))) *sum = -1;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const pare_op_count *)a)->op, ((const pare_op_count *)b)->op);
}

/* Ops, labels and multiply-adds of every graph. */
static pare_status count_nodes(counter *c) {
    pare_model *m = c->m;
    pare_map rows = {0};
    int64_t batch = fixed_batch(m);
    pare_status st = PARE_OK;
    for (size_t k = 0; k < m->graphs.len && !st; k++) {
        const pare_graph *g = m->graphs.data[k];
        pare_map numbers = {0};
        for (size_t i = 0; g && i < g->nodes.len && !st; i++) {
            const pare_node *n = pare_model_node(m, g->nodes.data[i]);
            uint32_t number = 0, row;
            if (!n) continue;
            pare_map_get(&numbers, n->op_type, &number);
            pare_map_set(&numbers, n->op_type, number + 1);
            c->labels[n->id] = pare_arena_printf(&m->arena, "%s#%u", n->op_type, number);
            const char *op = n->domain[0] ? pare_arena_printf(&m->arena, "%s.%s", n->domain, n->op_type) : n->op_type;
            if (!pare_map_get(&rows, op, &row)) {
                row = (uint32_t)c->s->ops.len;
                pare_vec_push(&c->s->ops, ((pare_op_count){op, 0}));
                pare_map_set(&rows, op, row);
            }
            c->s->ops.data[row].count++;
            int64_t macs = node_macs(m, n, batch), effective = macs;
            if (macs > 0) st = effective_macs(c, n, macs, &effective);
            add_macs(&c->s->macs, macs);
            add_macs(&c->s->macs_int8, macs > 0 && !multiplies_int8(m, n) ? 0 : macs);
            add_macs(&c->s->macs_effective, effective);
        }
        pare_map_free(&numbers);
    }
    pare_map_free(&rows);
    if (c->s->ops.len) qsort(c->s->ops.data, c->s->ops.len, sizeof *c->s->ops.data, by_name);
    return st;
}

static pare_status count_tensor(counter *c, pare_tensor *t) {
    const pare_value *v = pare_tensor_value(c->m, t);
    bool is_parameter = pare_tensor_is_parameter(c->m, t);
    if (t->owner == PARE_OWNER_ATTRIBUTE && !is_parameter) return PARE_OK;
    pare_tensor_stats row = {.tensor = t->id, .op = "", .label = "", .node = "", .bytes = tensor_bytes(t)};
    row.name = t->owner == PARE_OWNER_ATTRIBUTE && v ? v->name : t->name;
    pare_use use;
    if (v && pare_value_first_use(c->m, v, &use)) {
        const pare_node *n = pare_model_node(c->m, use.node);
        if (n) row.op = n->op_type, row.node = n->name, row.label = c->labels[n->id];
        if (!row.label) row.label = "";
    }
    if (is_parameter) {
        pare_status st = nonzero_of(c, t, &row.nonzero);
        if (st) return st;
        row.parameters = t->count;
        if (t->dtype < PARE_DTYPE_COUNT) c->s->parameter_dtypes[t->dtype] += t->count;
    }
    c->s->parameters += row.parameters;
    c->s->nonzero += row.nonzero;
    if (t->dtype < PARE_DTYPE_COUNT) c->s->dtypes[t->dtype]++;
    pare_vec_push(&c->s->tensors, row);
    return PARE_OK;
}

static pare_status count_tensors(counter *c) {
    pare_status st = PARE_OK;
    for (size_t k = 0; k < c->m->graphs.len && !st; k++) {
        const pare_graph *g = c->m->graphs.data[k];
        for (size_t i = 0; g && i < g->initializers.len && !st; i++) {
            pare_tensor *t = pare_model_tensor(c->m, g->initializers.data[i]);
            if (t) st = count_tensor(c, t);
        }
    }
    for (size_t i = 0; i < c->m->tensors.len && !st; i++) {
        pare_tensor *t = c->m->tensors.data[i];
        if (t && t->owner == PARE_OWNER_ATTRIBUTE && pare_tensor_value(c->m, t)) st = count_tensor(c, t);
    }
    return st;
}

pare_status pare_model_stats_of(pare_model *m, pare_diags *d, pare_model_stats *out) {
    memset(out, 0, sizeof *out);
    pare_status st = pare_model_infer(m, d);
    if (st) return st;
    counter c = {.m = m, .d = d, .s = out};
    c.nonzero = pare_xmalloc((m->tensors.len + 1) * sizeof *c.nonzero);
    memset(c.nonzero, 0xff, (m->tensors.len + 1) * sizeof *c.nonzero);
    c.labels = pare_xcalloc(m->nodes.len + 1, sizeof *c.labels);
    st = count_nodes(&c);
    if (!st) st = count_tensors(&c);
    free(c.nonzero);
    free(c.labels);
    if (st) pare_model_stats_free(out);
    return st;
}

void pare_model_stats_free(pare_model_stats *s) {
    pare_vec_free(&s->ops);
    pare_vec_free(&s->tensors);
    memset(s, 0, sizeof *s);
}
