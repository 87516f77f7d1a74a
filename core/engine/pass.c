/* engine/pass.c - the list of passes, and what they are made of. See pass.h. May use: model. */
#include "engine/pass.h"

#include "model/edit.h"
#include "model/infer.h"
#include "model/pass.h"

#include <string.h>

pare_tensor *pare_pass_constant(const pare_model *m, const pare_node *n, uint32_t i, uint32_t dtype) {
    const pare_value *v = i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    return t && (!dtype || t->dtype == dtype) ? t : NULL;
}

pare_node *pare_pass_sole(const pare_model *m, const pare_node *n, uint32_t i, const char *op) {
    const pare_value *v = i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
    pare_node *p = v ? pare_model_node(m, v->producer) : NULL;
    if (!p || !pare_node_is(p, op) || v->slot || v->uses.len != 1 || v->is_output) return NULL;
    return p;
}

pare_node *pare_pass_consumer(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    return v && v->uses.len == 1 && !v->is_output ? pare_model_node(m, v->uses.data[0].node) : NULL;
}

bool pare_pass_number(const pare_model *m, const pare_node *n, uint32_t i, float *out) {
    pare_tensor *t = pare_pass_constant(m, n, i, PARE_FLOAT);
    const void *data;
    if (!t || t->count != 1 || pare_tensor_read(t, NULL, &data) || !data) return false;
    memcpy(out, data, sizeof *out);
    return true;
}

uint32_t pare_pass_blob(pare_model *m, pare_diags *d, const char *name, size_t ndim, const int64_t *dims,
                        pare_blob *blob) {
    const char *fresh = pare_name_fresh(m, PARE_MAIN_GRAPH, name);
    uint32_t t = blob ? pare_tensor_add_blob(m, PARE_MAIN_GRAPH, fresh, PARE_FLOAT, ndim, dims, blob) : 0, value = 0;
    if (!t) {
        pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for the constant \"%s\"", name);
        return 0;
    }
    pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, fresh, &value);
    pare_dim *known = pare_arena_alloc(&m->arena, (ndim + 1) * sizeof *known);
    for (size_t i = 0; i < ndim; i++) known[i] = (pare_dim){.value = dims[i]};
    pare_value_type_set(m, value, PARE_FLOAT, (int32_t)ndim, known);
    return value;
}

uint32_t pare_pass_floats(pare_model *m, pare_diags *d, const char *name, size_t ndim, const int64_t *dims,
                          const float *data) {
    uint64_t count, bytes;
    pare_blob *b = NULL;
    if (pare_dims_count(dims, ndim, &count) && pare_mul_ok(count, sizeof *data, &bytes)) b = pare_blob_new(bytes);
    if (b && bytes) memcpy(b->data, data, bytes);
    uint32_t value = pare_pass_blob(m, d, name, ndim, dims, b);
    pare_blob_unref(b);
    return value;
}

void pare_pass_replace(pare_model *m, uint32_t from, uint32_t to) {
    uint32_t old = pare_model_node(m, from)->out[0], new = pare_model_node(m, to)->out[0];
    pare_value_replace_uses(m, old, new);
    pare_node_del(m, from);
}

pare_status pare_engine_passes(pare_model *m, pare_diags *d) {
    static const pare_engine_pass list[] = {
        pare_pass_cancel_transposes, pare_pass_pool,         pare_pass_fold_pad,
        pare_pass_fold_batchnorm,    pare_pass_layernorm,    pare_pass_gelu,
        pare_pass_matmul_add,        pare_pass_sink_reshape, pare_pass_quant,
    };
    const pare_pass *dead = pare_pass_find("remove_dead");
    enum { ROUNDS = 4 };
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t any = 0;
        for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
            uint64_t changed = 0;
            pare_status st = list[i](m, d, &changed);
            any += changed;
            uint64_t gone;
            if (!st && changed && dead) st = dead->run(m, d, &gone); /* what a pattern was made of, and its uses */
            if (!st && changed) st = pare_model_infer(m, d);
            if (st) return st;
        }
        if (!any) break;
    }
    return PARE_OK;
}

pare_status pare_engine_passes_bound(pare_model *m, bool attention, bool integer, pare_diags *d) {
    const pare_pass *dead = pare_pass_find("remove_dead");
    uint64_t changed = 0, products = 0;
    pare_status st = pare_engine_passes(m, d);
    if (!st && attention) st = pare_pass_attention(m, d, &changed);
    if (!st && integer) st = pare_pass_integer(m, d, &products);
    return !st && changed + products && dead ? dead->run(m, d, &changed) : st;
}
