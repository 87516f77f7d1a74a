/* engine/grad_prepare.c - a model for inference brought into the form that trains. See grad.h.
 *
 * Is not: gradients (grad.c), the loss. May use: grad.h, parts.h, lower.h, model.
 */
#include "engine/grad.h"
#include "engine/lower.h"
#include "engine/parts.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/ops.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

typedef struct prepare {
    pare_model *m;
    const pare_train_form *form;
    pare_map initial; /* names of the initializers in the file: a Constant node's number is no weight */
    pare_map claimed; /* statistics that a node writes over already */
    PARE_VEC(const char *) weights, statistics, effects;
    pare_trained *out;
} prepare;

/* Where an op takes what can be learned. Bit i: input i. plain: arithmetic, whose other numbers may be constants of the
 * computation: a scalar is no weight there, nor is what holds infinities (masks of attention do). */
static uint32_t learned_slots(const pare_node *n, bool *plain) {
    static const struct {
        const char *op;
        uint32_t slots;
        bool plain;
    } rows[] = {{"Conv", 6, false},
                {"ConvTranspose", 6, false},
                {"Gemm", 7, false},
                {"MatMul", 3, false},
                {"PRelu", 2, false},
                {"BatchNormalization", 6, false},
                {"InstanceNormalization", 6, false},
                {"LayerNormalization", 6, false},
                {"GroupNormalization", 6, false},
                {"Gather", 1, false},
                {"Einsum", ~0u, false},
                {"Add", 3, true},
                {"Mul", 3, true},
                {"Sub", 3, true},
                {"Div", 3, true},
                {"Concat", ~0u, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!pare_node_is(n, rows[i].op)) continue;
        *plain = rows[i].plain;
        return rows[i].slots;
    }
    return 0;
}

/* What an exporter puts between a weight and its op. */
static bool moves(const pare_node *n) {
    static const char *const ops[] = {"Identity", "Transpose", "Expand", "Reshape", "Unsqueeze",
                                      "Squeeze",  "Flatten",   "Tile",   "Slice",   "Split"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return true;
    return false;
}

static bool is_weight(const prepare *p, const pare_tensor *t, const char *name) {
    uint32_t k;
    return (t->dtype == PARE_FLOAT || t->dtype == PARE_DOUBLE) && t->count > 0 && pare_map_get(&p->initial, name, &k);
}

static bool trained(const prepare *p, uint32_t value) {
    const pare_value *v = pare_model_value(p->m, value);
    const pare_tensor *t = v ? pare_model_tensor(p->m, v->tensor) : NULL;
    if (!t || !is_weight(p, t, v->name)) return false;
    return !p->form->trains || p->form->trains(p->form->ctx, p->m, t);
}

static bool finite(pare_tensor *t) {
    const void *data = NULL;
    if (pare_tensor_read(t, NULL, &data)) return false;
    for (uint64_t i = 0; i < t->count; i++)
        if (!isfinite(t->dtype == PARE_DOUBLE ? ((const double *)data)[i] : (double)((const float *)data)[i]))
            return false;
    return true;
}

/* Does the value, which is t's or t moved about, come where something can be learned? */
static bool learns(const prepare *p, uint32_t value, pare_tensor *t, int depth) {
    const pare_value *v = pare_model_value(p->m, value);
    for (size_t k = 0; v && k < v->uses.len; k++) {
        const pare_node *n = pare_model_node(p->m, v->uses.data[k].node);
        uint32_t slot = v->uses.data[k].slot;
        bool plain = false;
        if (slot < 32 && learned_slots(n, &plain) >> slot & 1 && (!plain || (t->count > 1 && finite(t)))) return true;
        for (uint32_t i = 0; slot == 0 && depth < 8 && moves(n) && i < n->n_out; i++)
            if (learns(p, n->out[i], t, depth + 1)) return true;
    }
    return false;
}

static void find_weights(prepare *p) {
    const pare_graph *g = pare_model_graph(p->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->initializers.len; i++) {
        pare_tensor *t = pare_model_tensor(p->m, g->initializers.data[i]);
        const pare_value *v = pare_model_value(p->m, pare_graph_find(p->m, PARE_MAIN_GRAPH, t->name));
        if (v && trained(p, v->id) && learns(p, v->id, t, 0)) pare_vec_push(&p->weights, v->name);
    }
}

static bool claim(prepare *p, uint32_t value) {
    const pare_value *v = pare_model_value(p->m, value);
    uint32_t k;
    if (!v || !v->tensor || pare_map_get(&p->claimed, v->name, &k)) return false;
    pare_map_set(&p->claimed, v->name, 1);
    pare_vec_push(&p->statistics, v->name);
    return true;
}

static void output(prepare *p, pare_node *n, uint32_t slot, const char *name) {
    uint32_t v = pare_value_add(p->m, n->graph, pare_name_fresh(p->m, n->graph, name));
    pare_node_output_set(p->m, n->id, slot, v);
}

static void batch_norm(prepare *p, pare_node *n) {
    static const char *const names[] = {NULL, "running_mean", "running_var", "saved_mean", "saved_inv_std"};
    if (p->form->freeze_batchnorm || n->n_in < 5 || n->n_out > 1 || pare_node_attr_int(n, "training_mode", 0)) return;
    if (!trained(p, n->in[1]) && !trained(p, n->in[2])) return; /* frozen as a whole */
    if (!claim(p, n->in[3])) return;
    if (!claim(p, n->in[4])) {
        p->statistics.len--;
        return;
    }
    const char *y = pare_model_value(p->m, n->out[0])->name;
    n->op_type = "BatchNormTrain";
    n->domain = PARE_GRAD_DOMAIN;
    for (uint32_t i = 1; i < 5; i++) output(p, n, i, pare_arena_printf(&p->m->arena, "%s:%s", y, names[i]));
    for (uint32_t i = 1; i < 3; i++) pare_vec_push(&p->effects, pare_model_value(p->m, n->out[i])->name);
    p->out->n_batchnorm++;
}

static uint32_t step_input(prepare *p) {
    if (p->out->step) return pare_graph_find(p->m, PARE_MAIN_GRAPH, p->out->step);
    uint32_t v = pare_value_add(p->m, PARE_MAIN_GRAPH, pare_name_fresh(p->m, PARE_MAIN_GRAPH, "train:step"));
    pare_value_type_set(p->m, v, PARE_INT64, 0, NULL);
    pare_graph_input_add(p->m, PARE_MAIN_GRAPH, v);
    p->out->step = pare_model_value(p->m, v)->name;
    return v;
}

/* The ratio: an input since opset 12, an attribute before. What is not constant, or drops nothing, stays as it is. */
static pare_status dropout(prepare *p, pare_node *n, pare_diags *d) {
    double ratio = (double)pare_node_attr_float(n, "ratio", 0.5f);
    if (n->n_in > 1 && n->in[1]) {
        const pare_value *v = pare_model_value(p->m, n->in[1]);
        pare_tensor *t = pare_model_tensor(p->m, v->tensor);
        const void *data = NULL;
        if (!t || t->count != 1 || (t->dtype != PARE_FLOAT && t->dtype != PARE_DOUBLE)) return PARE_OK;
        pare_status st = pare_tensor_read(t, d, &data);
        if (st) return st;
        ratio = t->dtype == PARE_FLOAT ? (double)*(const float *)data : *(const double *)data;
    }
    if (!(ratio > 0) || (n->n_out > 1 && n->out[1])) return PARE_OK;
    if (ratio >= 1)
        return pare_fail(d, PARE_EINVAL, "train.dropout", NULL,
                         "Dropout node \"%s\" has the ratio %g, allowed is [0, 1)", pare_engine_node_name(p->m, n),
                         ratio);
    int64_t stream = (int64_t)p->out->n_dropout++;
    uint32_t step = step_input(p);
    while (n->n_attrs) pare_attr_del(p->m, n->id, n->attrs[0].name);
    n->op_type = "DropoutTrain";
    n->domain = PARE_GRAD_DOMAIN;
    pare_node_input_set(p->m, n->id, 1, step);
    pare_node_inputs_trim(p->m, n->id, 2);
    pare_attr_set_float(p->m, n->id, "ratio", (float)ratio);
    pare_attr_set_int(p->m, n->id, "seed", (int64_t)p->form->seed);
    pare_attr_set_int(p->m, n->id, "stream", stream);
    return PARE_OK;
}

static const char *const *names_of(prepare *p, const char **data, size_t n) {
    return pare_arena_memdup(&p->m->arena, data, (n + 1) * sizeof *data);
}

/* Rounded numbers have no gradient of use, and training behind their back would undo what was calibrated. */
static pare_status refuse_quantized(pare_model *m, pare_diags *d) {
    static const char *const words[] = {"QuantizeLinear", "QLinear", "QGemm", "Integer"};
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        bool found = pare_node_is(n, "DequantizeLinear");
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) found = found || strstr(n->op_type, words[k]);
        if (found)
            return pare_fail(d, PARE_EUNSUPPORTED, "train.quantized",
                             "train or distil first, then quantize; quantization-aware training comes later",
                             "the model is quantized: %s%s%s node \"%s\"; such models are not trained yet", n->domain,
                             n->domain[0] ? "." : "", n->op_type, pare_engine_node_name(m, n));
    }
    return PARE_OK;
}

pare_status pare_grad_prepare(pare_model *m, const pare_train_form *form, pare_diags *d, pare_trained *out) {
    prepare p = {.m = m, .form = form, .out = out};
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    *out = (pare_trained){0};
    for (size_t i = 0; i < g->initializers.len; i++)
        pare_map_set(&p.initial, pare_model_tensor(m, g->initializers.data[i])->name, 1);
    pare_status st = pare_model_check(m, d);
    if (!st) st = refuse_quantized(m, d);
    if (!st) st = pare_engine_lower(m, d);
    if (!st) st = pare_engine_constant_nodes(m, d);
    if (!st) st = pare_model_infer(m, d);
    if (!st) {
        find_weights(&p);
        pare_model_opset_set(m, PARE_GRAD_DOMAIN, 1);
    }
    for (size_t i = 0; !st && i < g->nodes.len; i++) {
        pare_node *n = pare_model_node(m, g->nodes.data[i]);
        if (pare_node_is(n, "BatchNormalization"))
            batch_norm(&p, n);
        else if (pare_node_is(n, "Dropout"))
            st = dropout(&p, n, d);
    }
    if (!st) {
        pare_vec_push(&p.weights, NULL);
        pare_vec_push(&p.statistics, NULL);
        pare_vec_push(&p.effects, NULL);
        out->n_weights = p.weights.len - 1;
        out->weights = names_of(&p, p.weights.data, out->n_weights);
        out->n_statistics = p.statistics.len - 1;
        out->statistics = names_of(&p, p.statistics.data, out->n_statistics);
        out->effects = names_of(&p, p.effects.data, out->n_statistics);
    }
    pare_vec_free(&p.weights);
    pare_vec_free(&p.statistics);
    pare_vec_free(&p.effects);
    pare_map_free(&p.initial);
    pare_map_free(&p.claimed);
    return st ? st : pare_model_infer(m, d);
}
