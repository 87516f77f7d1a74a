/* model/pass_batchnorm.c - the pass fold_batchnorm: BatchNormalization behind Conv, ConvTranspose and Gemm goes into
 * their weights, in the file.
 *
 * y = (x - mean) * scale / sqrt(var + eps) + b, so with k = scale / sqrt(var + eps): w' = w * k per output channel and
 * b' = (b - mean) * k + beta. In double, rounded once. The weight keeps its name and its zeros (+0 stays +0), so masks
 * and patterns go on meaning it. Left alone: training mode, weights or biases that others use, numbers that are not
 * finite afterwards. Is not: the engine's pass of that name, whose weights are made as they are packed. May use:
 * model.h, edit.h.
 */
#include "model/pass.h"

#include "model/edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_tensor *constant(const pare_model *m, const pare_node *n, uint32_t i) {
    const pare_value *v = i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
    pare_tensor *t = v && !v->is_input ? pare_model_tensor(m, v->tensor) : NULL;
    return t && t->dtype == PARE_FLOAT ? t : NULL;
}

static const float *floats(const pare_model *m, const pare_node *n, uint32_t i, size_t want, pare_diags *d) {
    pare_tensor *t = constant(m, n, i);
    const void *data = NULL;
    if (!t || t->count != want || !want || pare_tensor_read(t, d, &data)) return NULL;
    return data;
}

/* The node that makes BatchNormalization's input, which nothing else takes. */
static pare_node *foldable(const pare_model *m, const pare_node *bn) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm"};
    if (!pare_node_is(bn, "BatchNormalization") || bn->n_in < 5) return NULL;
    if (pare_node_attr_int(bn, "training_mode", 0) || !pare_node_attr_int(bn, "spatial", 1)) return NULL;
    for (uint32_t i = 1; i < bn->n_out; i++)
        if (bn->out[i]) return NULL;
    const pare_value *v = pare_model_value(m, bn->in[0]);
    pare_node *n = v && v->uses.len == 1 && !v->is_output ? pare_model_node(m, v->producer) : NULL;
    if (!n || v->slot || n->graph != bn->graph) return NULL;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return n;
    return NULL;
}

/* A weight as (outer, per_group, inner): the output channel of row (o, c) is o / (outer / groups) * per_group + c. */
typedef struct weight {
    pare_tensor *t;
    size_t outer, per_group, inner, groups;
} weight;

static bool alone(const pare_model *m, const pare_tensor *t) {
    const pare_value *v = t ? pare_tensor_value(m, t) : NULL;
    return v && v->uses.len == 1 && !v->is_output;
}

static bool weight_of(const pare_model *m, const pare_node *n, weight *w) {
    *w = (weight){.t = constant(m, n, 1), .outer = 1, .groups = 1};
    if (!alone(m, w->t) || w->t->ndim < 2 || !w->t->count) return false;
    const size_t d0 = (size_t)w->t->dims[0], d1 = (size_t)w->t->dims[1];
    bool transposed = pare_node_is(n, "ConvTranspose");
    if (pare_node_is(n, "Gemm")) {
        if (w->t->ndim != 2) return false;
        transposed = !pare_node_attr_int(n, "transB", 0);
    }
    w->per_group = transposed ? d1 : d0; /* (OC, …), else (IC, OC / groups, …) */
    w->outer = transposed ? d0 : 1;
    w->inner = w->t->count / (w->outer * w->per_group);
    const int64_t groups = pare_node_is(n, "ConvTranspose") ? pare_node_attr_int(n, "group", 1) : 1;
    w->groups = (size_t)groups;
    return groups >= 1 && w->outer % (size_t)groups == 0;
}

/* k and shift of each channel; false where one is not finite, or the arrays don't fit. */
static bool factors(const pare_model *m, const pare_node *n, const pare_node *bn, size_t channels, pare_diags *d,
                    double *k, float *shift) {
    const float *scale = floats(m, bn, 1, channels, d), *beta = floats(m, bn, 2, channels, d);
    const float *mean = floats(m, bn, 3, channels, d), *var = floats(m, bn, 4, channels, d), *bias = NULL;
    const double eps = (double)pare_node_attr_float(bn, "epsilon", 1e-5f);
    const double times = pare_node_is(n, "Gemm") ? (double)pare_node_attr_float(n, "beta", 1.0f) : 1;
    if (!scale || !beta || !mean || !var) return false;
    if (n->n_in > 2 && n->in[2] && !(bias = floats(m, n, 2, channels, d))) return false;
    for (size_t i = 0; i < channels; i++) {
        k[i] = (double)scale[i] / sqrt((double)var[i] + eps);
        shift[i] = (float)(((bias ? times * (double)bias[i] : 0) - (double)mean[i]) * k[i] + (double)beta[i]);
        if (!isfinite(k[i]) || !isfinite(shift[i])) return false;
    }
    return true;
}

static bool stays_finite(const weight *w, const float *x, const double *k) {
    for (size_t row = 0; row < w->outer * w->per_group; row++) {
        const double f = k[row / w->per_group / (w->outer / w->groups) * w->per_group + row % w->per_group];
        for (size_t i = 0; i < w->inner; i++)
            if (!isfinite((float)((double)x[row * w->inner + i] * f))) return false;
    }
    return true;
}

/* "conv1.bias" beside "conv1.weight". */
static const char *bias_name(pare_model *m, const pare_node *n, const char *weight) {
    static const char ending[] = "weight";
    const size_t len = strlen(weight), cut = sizeof ending - 1;
    const bool ends = len > cut && strcmp(weight + len - cut, ending) == 0;
    const char *want = ends ? pare_arena_printf(&m->arena, "%.*sbias", (int)(len - cut), weight)
                            : pare_arena_printf(&m->arena, "%s_bias", weight);
    return pare_name_fresh(m, n->graph, want);
}

/* A tensor for the bias: the one there is where it is this node's alone, else a new one. */
static pare_tensor *bias_tensor(pare_model *m, pare_node *n, size_t channels, const char *weight) {
    pare_tensor *t = constant(m, n, 2);
    if (alone(m, t) && t->count == channels) return t;
    const int64_t dims = (int64_t)channels;
    const uint32_t id = pare_tensor_add(m, n->graph, bias_name(m, n, weight), PARE_FLOAT, 1, &dims);
    if (!id) return NULL;
    t = pare_model_tensor(m, id);
    pare_node_input_set(m, n->id, 2, pare_tensor_value(m, t)->id);
    return t;
}

/* BatchNormalization's result is the node's now, under the name that it had. */
static void replace(pare_model *m, pare_node *n, pare_node *bn) {
    const uint32_t old = bn->out[0], new = n->out[0];
    const pare_value *v = pare_model_value(m, old);
    const char *name = pare_arena_strdup(&m->arena, v->name);
    const bool declared = v->declared;
    const uint32_t dtype = v->dtype;
    const int32_t ndim = v->ndim;
    const pare_dim *dims = v->dims;
    pare_value_replace_uses(m, old, new);
    pare_node_del(m, bn->id);
    pare_value_rename(m, new, name);
    pare_value *to = pare_model_value(m, new);
    to->declared = to->declared || declared;
    if (dtype) pare_value_type_set(m, new, dtype, ndim, dims);
}

static pare_status fold(pare_model *m, pare_node *n, pare_node *bn, pare_diags *d, bool *done) {
    weight w;
    void *data = NULL, *to = NULL;
    if (!weight_of(m, n, &w)) return PARE_OK;
    const size_t channels = w.per_group * w.groups;
    double *k = pare_xcalloc(channels, sizeof *k);
    float *shift = pare_xcalloc(channels, sizeof *shift);
    const void *x = NULL;
    pare_status st = PARE_OK;
    if (!factors(m, n, bn, channels, d, k, shift)) goto out;
    if ((st = pare_tensor_read(w.t, d, &x)) || !stays_finite(&w, x, k)) goto out;
    pare_tensor *bias = bias_tensor(m, n, channels, w.t->name);
    if (!bias) {
        st = pare_fail(d, PARE_ENOMEM, "memory.tensor", NULL, "no memory for the bias of \"%s\"", w.t->name);
        goto out;
    }
    if ((st = pare_tensor_write(w.t, d, &data)) || (st = pare_tensor_overwrite(bias, d, &to))) goto out;
    float *y = data;
    for (size_t row = 0; row < w.outer * w.per_group; row++) {
        const double f = k[row / w.per_group / (w.outer / w.groups) * w.per_group + row % w.per_group];
        for (size_t i = 0; i < w.inner; i++) /* + 0: no -0 where a zero meets a negative factor */
            y[row * w.inner + i] = (float)((double)y[row * w.inner + i] * f) + 0.0f;
    }
    memcpy(to, shift, channels * sizeof *shift);
    if (pare_node_is(n, "Gemm")) pare_attr_set_float(m, n->id, "beta", 1.0f);
    replace(m, n, bn);
    *done = true;
out:
    free(k);
    free(shift);
    return st;
}

pare_status pare_model_fold_batchnorm(pare_model *m, pare_diags *d, uint64_t *changed) {
    pare_status st = pare_model_check(m, d);
    uint64_t n = 0;
    for (size_t i = 0; i < m->nodes.len && !st; i++) {
        pare_node *bn = m->nodes.data[i], *from = bn ? foldable(m, bn) : NULL;
        bool done = false;
        if (from) st = fold(m, from, bn, d, &done);
        n += done;
    }
    *changed = n;
    return st;
}
