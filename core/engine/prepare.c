/* engine/prepare.c - the session's private model: refused or lowered, cut to the fetches, rewritten by passes.
 *
 * See parts.h. Is not: planning (plan.c), lowering (lower.c), the passes (pass.h). May use: parts.h, model.
 */
#include "engine/parts.h"

#include "engine/batch.h"
#include "engine/lower.h"
#include "engine/pass.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/pass.h"

#include <string.h>

static pare_status refuse_node(pare_model *m, const pare_node *n, pare_diags *d) {
    for (uint32_t i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].type == PARE_ATTR_GRAPH || n->attrs[i].type == PARE_ATTR_GRAPHS)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.control-flow", NULL,
                             "%s node \"%s\" holds a subgraph: control flow is not run", n->op_type,
                             pare_engine_node_name(m, n));
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(m, n->in[i]);
        const pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
        if (t && t->dtype == PARE_STRING)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.string", NULL,
                             "%s node \"%s\" takes \"%s\", a tensor of strings: those are not computed with",
                             n->op_type, pare_engine_node_name(m, n), v->name);
        if (t && t->ndim > PARE_ARRAY_DIMS)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.rank", NULL,
                             "%s node \"%s\" takes \"%s\", which has %u dims: at most %d are supported", n->op_type,
                             pare_engine_node_name(m, n), v->name, t->ndim, PARE_ARRAY_DIMS);
        if (v && v->is_sparse)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.sparse", NULL,
                             "%s node \"%s\" takes \"%s\", a sparse tensor: those are not computed with", n->op_type,
                             pare_engine_node_name(m, n), v->name);
    }
    return PARE_OK;
}

static pare_status refuse(pare_model *m, pare_diags *d) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        pare_status st = refuse_node(m, pare_model_node(m, g->nodes.data[i]), d);
        if (st) return st;
    }
    return PARE_OK;
}

/* A node that has no shape rule has no kernel either, unless its file says what comes out. */
static pare_status refuse_unknown(pare_model *m, pare_diags *d) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        const pare_op *op = pare_op_find(n->domain, n->op_type);
        const pare_value *v = n->n_out ? pare_model_value(m, n->out[0]) : NULL;
        if ((op && op->infer) || (v && v->ndim >= 0)) continue;
        return pare_fail(d, PARE_EUNSUPPORTED, "engine.op",
                         m->functions.len ? "the model defines functions: they have to be inlined first" : NULL,
                         "no backend has a kernel for %s%s%s (node \"%s\")", n->domain, n->domain[0] ? "." : "",
                         n->op_type, pare_engine_node_name(m, n));
    }
    return PARE_OK;
}

static pare_status fetches(pare_model *m, const pare_session_opts *opts, pare_diags *d) {
    pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    if (!opts->fetches) return PARE_OK;
    for (size_t i = 0; i < g->outputs.len; i++) pare_model_value(m, g->outputs.data[i])->is_output = false;
    g->outputs.len = 0;
    for (size_t i = 0; i < opts->n_fetches; i++) {
        uint32_t value = pare_graph_find(m, PARE_MAIN_GRAPH, opts->fetches[i]);
        const pare_value *v = pare_model_value(m, value);
        if (!v || v->graph != PARE_MAIN_GRAPH)
            return pare_fail(d, PARE_ENOTFOUND, "engine.fetch", NULL, "the model has no value \"%s\" to fetch",
                             opts->fetches[i]);
        pare_vec_push(&g->outputs, value);
        pare_model_value(m, value)->is_output = true;
    }
    m->edits++;
    return PARE_OK;
}

/* What is known of a constant is what it is, whatever the file declares. */
static void type_of_tensor(pare_model *m, const pare_value *v, const pare_tensor *t) {
    pare_dim dims[PARE_ARRAY_DIMS];
    for (uint32_t i = 0; i < t->ndim; i++) dims[i] = (pare_dim){.value = t->dims[i]};
    pare_value_type_set(m, v->id, t->dtype, (int32_t)t->ndim, dims);
}

/* Types in the file may speak of another batch. What rules say counts, where there is one. */
static void forget_declared(pare_model *m) {
    for (size_t i = 0; i < m->values.len; i++) {
        pare_value *v = m->values.data[i];
        const pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
        if (t && t->ndim <= PARE_ARRAY_DIMS) type_of_tensor(m, v, t);
        const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
        const pare_op *op = n ? pare_op_find(n->domain, n->op_type) : NULL;
        if (!op || !op->infer || v->other_type) continue;
        v->info.len = 0;
        v->info_stale = v->declared = false;
    }
}

static pare_status clean(pare_model *m, pare_diags *d) {
    static const char *const names[] = {"remove_dead", "remove_identity"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t changed;
        const pare_pass *p = pare_pass_find(names[i]);
        pare_status st = p ? p->run(m, d, &changed) : PARE_OK;
        if (st) return st;
    }
    return PARE_OK;
}

static bool has_kernel(const pare_engine_device *dev, const pare_kernel_spec *spec) {
    void *kernel = NULL;
    if (dev->use.backend->kernel(dev->handle, spec, 0, &kernel)) return false;
    dev->use.backend->kernel_free(kernel);
    return true;
}

/* Asks the main device for the smallest attention there is. Without one, what it is made of runs node by node. */
static bool has_attention(const pare_session *s) {
    static const int64_t one = 1, ones[] = {1, 1, 1, 1, 1, 1, 1, 1}, at[] = {0, 0, 0, 0, 0, 0};
    static const char *const names[] = {"shape", "q", "k", "v", "y"};
    const pare_engine_device *dev = &s->devices[PARE_DEVICE_MAIN];
    pare_operand o = {.size = sizeof o, .dtype = PARE_FLOAT, .ndim = 1, .dims = &one, .layout.nbytes = 4, .axis = -1};
    const pare_operand *operands[] = {&o, &o, &o};
    pare_named_attribute attrs[5];
    const pare_named_attribute *list[5];
    for (size_t i = 0; i < 5; i++) {
        attrs[i] = (pare_named_attribute){.name = names[i]};
        attrs[i].value = (pare_attribute){
            .size = sizeof attrs->value, .type = PARE_ATTRIBUTE_INTS, .n = i ? 6 : 8, .ints = i ? at : ones};
        list[i] = &attrs[i];
    }
    pare_kernel_spec spec = {.size = sizeof spec, .op_type = "Attention", .domain = "ai.pare", .version = 1};
    spec.node = "attention";
    spec.attrs = list;
    spec.in = spec.out = operands;
    spec.n_attrs = 5;
    spec.n_in = 3;
    spec.n_out = 1;
    return has_kernel(dev, &spec);
}

/* Likewise for a product of 8-bit numbers with its scales. */
static bool has_integer(const pare_session *s) {
    static const int64_t two[] = {32, 32};
    static const int8_t codes[32 * 32] = {0};
    static const float scale = 1;
    pare_operand a = {.size = sizeof a, .dtype = PARE_UINT8, .ndim = 2, .dims = two, .layout.nbytes = 1024, .axis = -1};
    pare_operand b = a, one = {.size = sizeof one, .dtype = PARE_FLOAT, .layout.nbytes = 4, .axis = -1}, weights, y = a;
    b.dtype = PARE_INT8;
    b.flags = PARE_OPERAND_CONSTANT;
    b.data = codes;
    weights = one;
    weights.flags = PARE_OPERAND_CONSTANT;
    weights.data = &scale;
    y.dtype = PARE_FLOAT;
    y.layout.nbytes *= 4;
    const pare_operand *in[] = {&a, &b, &one, &weights}, *out[] = {&y};
    pare_kernel_spec spec = {.size = sizeof spec, .op_type = "MatMulIntegerToFloat", .domain = "ai.pare", .version = 1};
    spec.node = "product";
    spec.in = in;
    spec.out = out;
    spec.n_in = 4;
    spec.n_out = 1;
    return has_kernel(&s->devices[PARE_DEVICE_MAIN], &spec);
}

pare_status pare_engine_prepare(pare_session *s, const pare_session_opts *opts, pare_diags *d) {
    pare_model *m = s->model;
    uint64_t folded;
    s->passes = !opts->no_passes;
    s->attention = s->passes && has_attention(s);
    s->integer = s->passes && has_integer(s);
    m->has_training_info = false; /* of the user's file; this copy is never written */
    pare_status st = pare_variables_take(s, opts, d);
    if (!st) st = pare_programs_take(s, opts, d);
    if (!st) st = fetches(m, opts, d);
    if (!st) st = clean(m, d); /* sorts the nodes too */
    if (!st) st = refuse(m, d);
    if (!st) st = pare_engine_lower(m, d);
    if (!st) st = pare_engine_constant_nodes(m, d);
    if (st) return st;
    forget_declared(m);
    st = pare_model_infer(m, d);
    if (!st) st = refuse_unknown(m, d);
    if (!st) st = pare_engine_check_nodes(m, d);
    if (!st && s->rows.any && !s->programs.len && !s->variables.len) st = pare_rows_open(s, d);
    m = s->model;
    for (int round = 0; !st && round < 16; round++) {
        st = pare_engine_fold(s, m, d, &folded);
        if (!st) st = pare_model_infer(m, d);
        if (!st && !folded) break;
    }
    if (!st && !opts->no_passes) {
        st = pare_engine_passes(m, d);
        if (!st) st = pare_model_infer(m, d);
        if (!st) st = pare_engine_fold(s, m, d, &folded); /* 8-bit weights that a pass has moved */
        if (!st && folded) st = pare_model_infer(m, d);
    }
    if (!st) st = clean(m, d);
    return st;
}
