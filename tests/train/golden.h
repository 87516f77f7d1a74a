/* golden.h - what PyTorch recorded (tests/golden/train, made by its make_train.py), and the same samples, labels and
 * models in double.
 *
 * May use: core, far/net.h, cmocka.
 */
#ifndef PARE_TESTS_GOLDEN_H
#define PARE_TESTS_GOLDEN_H

#include "data/npy.h"
#include "far/net.h"
#include "model/onnx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- by formula, as in make_train.py ---- */

/* A multiple of 2^-22 in [-2, 2): splitmix64 of the index. */
static inline double golden_number(uint64_t i, uint64_t seed) {
    uint64_t x = i + seed * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x = x ^ (x >> 31);
    return (double)(x >> 40) * 0x1p-22 - 2;
}

static inline pare_array *golden_samples(uint32_t dtype, size_t ndim, const int64_t *dims, uint64_t seed) {
    pare_array *a = pare_array_new(dtype, ndim, dims);
    for (uint64_t i = 0; a && i < a->count; i++) {
        if (dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(a))[i] = golden_number(i, seed);
        else
            ((float *)pare_array_data_mut(a))[i] = (float)golden_number(i, seed);
    }
    return a;
}

static inline pare_array *golden_labels(int64_t n, int64_t classes) {
    pare_array *a = pare_array_new(PARE_INT64, 1, &n);
    for (int64_t i = 0; a && i < n; i++) ((int64_t *)pare_array_data_mut(a))[i] = (i * 7 + i / 3) % classes;
    return a;
}

/* ---- reading ---- */

static inline pare_npz *golden_open(const char *name) {
    char path[512];
    pare_npz *z = NULL;
    snprintf(path, sizeof path, "%s/golden/train/%s", PARE_TESTS_DIR, name);
    assert_int_equal(pare_npz_open(path, NULL, &z), PARE_OK);
    return z;
}

static inline pare_array *golden_read(pare_npz *z, const char *name) {
    pare_array *a = NULL;
    pare_status st = pare_npz_read(z, name, NULL, &a);
    if (st) print_error("no golden \"%s\"\n", name);
    assert_int_equal(st, PARE_OK);
    return a;
}

static inline bool golden_has(const pare_npz *z, const char *name) {
    for (size_t i = 0; i < pare_npz_count(z); i++)
        if (strcmp(pare_npz_name(z, i), name) == 0) return true;
    return false;
}

static inline double golden_at(const pare_array *a, uint64_t i) {
    assert_true(i < a->count);
    return a->dtype == PARE_DOUBLE ? ((const double *)pare_array_data(a))[i] : (double)net_f(a)[i];
}

/* Names joined by newlines, as strings one behind the other; the caller frees both. */
typedef struct golden_names {
    char *text;
    const char **name;
    size_t n;
} golden_names;

static inline golden_names golden_names_read(pare_npz *z, const char *entry) {
    pare_array *a = golden_read(z, entry);
    golden_names g = {.text = calloc(a->count + 1, 1), .name = calloc(a->count + 1, sizeof *g.name)};
    memcpy(g.text, pare_array_data(a), a->count);
    for (char *at = g.text; at && *at;) {
        g.name[g.n++] = at;
        at = strchr(at, '\n');
        if (at) *at++ = '\0';
    }
    pare_array_unref(a);
    return g;
}

static inline void golden_names_free(golden_names *g) {
    free(g->text);
    free(g->name);
}

/* ---- distances ---- */

/* |a - b| over |b|, which counts as `least` at least; b is as long as a and starts at `at`. */
static inline double golden_apart(const pare_array *a, const pare_array *b, uint64_t at, double least) {
    double diff = 0, norm = 0;
    for (uint64_t i = 0; i < a->count; i++) {
        double x = golden_at(a, i), y = golden_at(b, at + i);
        if (!isfinite(x)) return INFINITY;
        diff += (x - y) * (x - y);
        norm += y * y;
    }
    norm = fmax(sqrt(norm), least);
    return sqrt(diff) / (norm > 0 ? norm : 1);
}

/* ---- a model in double: each float32 tensor, type and cast ---- */

static inline void golden_tensor_to_double(pare_model *m, pare_tensor *t) {
    const void *data = NULL;
    void *to = NULL;
    if (t->dtype != PARE_FLOAT) return;
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    float *copy = malloc(t->count * sizeof *copy + 1);
    if (t->count) memcpy(copy, data, t->count * sizeof *copy);
    int64_t dims[PARE_ARRAY_DIMS];
    for (uint32_t i = 0; i < t->ndim; i++) dims[i] = t->dims[i];
    assert_true(pare_tensor_retype(m, t->id, PARE_DOUBLE, t->ndim, dims));
    assert_int_equal(pare_tensor_overwrite(t, NULL, &to), PARE_OK);
    for (uint64_t i = 0; i < t->count; i++) ((double *)to)[i] = (double)copy[i];
    free(copy);
}

/* Resize takes float32 scales whatever it resizes. */
static inline bool golden_is_scales(const pare_model *m, const pare_tensor *t) {
    const pare_value *v = pare_tensor_value(m, t);
    for (size_t i = 0; v && i < v->uses.len; i++)
        if (v->uses.data[i].slot && pare_node_is(pare_model_node(m, v->uses.data[i].node), "Resize")) return true;
    return false;
}

static inline void golden_to_double(pare_model *m) {
    for (size_t i = 0; i < m->tensors.len; i++) {
        pare_tensor *t = m->tensors.data[i];
        if (t && !golden_is_scales(m, t)) golden_tensor_to_double(m, t);
    }
    for (size_t i = 0; i < m->values.len; i++) {
        pare_value *v = m->values.data[i];
        if (!v || v->dtype != PARE_FLOAT) continue;
        pare_dim dims[PARE_ARRAY_DIMS];
        for (int32_t k = 0; k < v->ndim; k++) dims[k] = v->dims[k];
        pare_value_type_set(m, v->id, PARE_DOUBLE, v->ndim, dims);
    }
    for (size_t i = 0; i < m->nodes.len; i++) {
        pare_node *n = m->nodes.data[i];
        if (n && pare_node_is(n, "Cast") && pare_node_attr_int(n, "to", 0) == PARE_FLOAT)
            pare_attr_set_int(m, n->id, "to", PARE_DOUBLE);
    }
}

static inline pare_model *golden_model(const char *file, bool in_double) {
    char path[512];
    pare_model *m = NULL;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    snprintf(path, sizeof path, "%s/golden/%s", PARE_TESTS_DIR, file);
    assert_int_equal(pare_onnx_read(path, d, &m), PARE_OK);
    pare_diags_free(d);
    if (in_double) golden_to_double(m);
    return m;
}

#endif
