/* engine/pass_gemm.c - MatMul with a constant matrix, then Add of a constant row, becomes Gemm. See pass.h.
 *
 * Inputs of more than two dims are seen as one tall matrix: Reshape costs nothing. 8-bit weights behind a
 * DequantizeLinear are constant, too. Not: where more than one of the leading dims is unknown. May use: quant.h, model.
 */
#include "engine/pass.h"

#include "engine/quant.h"
#include "model/edit.h"

#include <string.h>

static uint32_t add1(pare_model *m, uint32_t before, const char *op, const char *name, const uint32_t *in, size_t n) {
    const char *out = pare_name_fresh(m, PARE_MAIN_GRAPH, name);
    return pare_node_add(m, PARE_MAIN_GRAPH, before, op, "", name, in, n, &out, 1);
}

/* The shape constant; 0: no memory, reported. */
static uint32_t target(pare_model *m, pare_diags *d, size_t n, const int64_t *dims) {
    int64_t len = (int64_t)n;
    const char *name = pare_name_fresh(m, PARE_MAIN_GRAPH, "shape");
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, name, PARE_INT64, 1, &len), v = 0;
    void *to;
    if (!t || pare_tensor_overwrite(pare_model_tensor(m, t), d, &to) || !to) return 0;
    memcpy(to, dims, n * sizeof *dims);
    pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, name, &v);
    const pare_dim known = {.value = len};
    pare_value_type_set(m, v, PARE_INT64, 1, &known);
    return v;
}

typedef struct match {
    pare_node *matmul, *add;
    uint32_t x, w, b;
    int32_t ndim;
    int64_t k, n, out[8]; /* the Add's dims, at most one of them -1 */
} match;

/* The dims of constant float32 weights, or of 8-bit ones that are read as such; NULL: they are neither. */
static const int64_t *weights(pare_model *m, const pare_node *matmul) {
    const pare_tensor *t = pare_pass_constant(m, matmul, 1, PARE_FLOAT);
    pare_arena a = {0};
    pare_quant q;
    if (!t && matmul->n_in > 1 && pare_quant_of(&a, m, matmul->in[1], &q) && pare_quant_asks(m, matmul))
        t = pare_model_tensor(m, pare_model_value(m, q.value)->tensor);
    pare_arena_free(&a);
    return t && t->ndim == 2 ? t->dims : NULL;
}

static bool find(pare_model *m, pare_node *add, match *f) {
    for (uint32_t i = 0; pare_node_is(add, "Add") && add->n_in == 2 && i < 2; i++) {
        *f = (match){.add = add, .matmul = pare_pass_sole(m, add, i, "MatMul")};
        if (!f->matmul) continue;
        const int64_t *w = weights(m, f->matmul);
        const pare_tensor *b = pare_pass_constant(m, add, 1 - i, PARE_FLOAT);
        const pare_value *x = pare_model_value(m, f->matmul->in[0]);
        if (!w || !b || !x || b->ndim != 1 || b->dims[0] != w[1]) continue;
        if (x->dtype != PARE_FLOAT || x->tensor || x->ndim < 2 || x->ndim > 8) continue;
        int unknown = 0;
        for (int32_t k = 0; k < x->ndim - 1; k++) {
            f->out[k] = x->dims[k].value;
            unknown += f->out[k] < 0;
            if (f->out[k] == 0) unknown = 2; /* in a target, 0 means something else */
        }
        if (x->ndim > 2 && unknown > 1) continue;
        f->x = x->id;
        f->w = f->matmul->in[1];
        f->b = add->in[1 - i];
        f->ndim = x->ndim;
        f->k = w[0];
        f->n = f->out[x->ndim - 1] = w[1];
        return f->k > 0 && f->n > 0;
    }
    return false;
}

static pare_status rewrite(pare_model *m, const match *f, pare_diags *d) {
    const int64_t tall[] = {-1, f->k};
    const char *name = f->matmul->name[0] ? f->matmul->name : "gemm";
    uint32_t x = f->x, before = f->add->id, back = 0, last;
    if (f->ndim > 2) {
        uint32_t flat = target(m, d, 2, tall);
        back = flat ? target(m, d, (size_t)f->ndim, f->out) : 0;
        if (!back) return pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a shape");
        const uint32_t in[] = {x, flat};
        x = pare_model_node(m, add1(m, before, "Reshape", name, in, 2))->out[0];
    }
    const uint32_t in[] = {x, f->w, f->b};
    last = add1(m, before, "Gemm", name, in, 3);
    if (back) {
        const uint32_t again[] = {pare_model_node(m, last)->out[0], back};
        last = add1(m, before, "Reshape", name, again, 2);
    }
    const pare_value *y = pare_model_value(m, f->add->out[0]); /* known better here than by inference: N is still N */
    pare_value_type_set(m, pare_model_node(m, last)->out[0], PARE_FLOAT, y->ndim, y->dims);
    uint32_t matmul = f->matmul->id;
    pare_pass_replace(m, f->add->id, last);
    pare_node_del(m, matmul);
    return PARE_OK;
}

pare_status pare_pass_matmul_add(pare_model *m, pare_diags *d, uint64_t *changed) {
    *changed = 0;
    size_t n = m->nodes.len; /* not those that are added here */
    for (size_t i = 0; i < n; i++) {
        match f;
        pare_node *add = m->nodes.data[i];
        if (!add || add->graph != PARE_MAIN_GRAPH || !find(m, add, &f)) continue;
        pare_status st = rewrite(m, &f, d);
        if (st) return st;
        ++*changed;
    }
    return PARE_OK;
}
