/* net.h - small nets for the engine's tests, and running them on both backends. May use: core, far.h. */
#ifndef PARE_TESTS_NET_H
#define PARE_TESTS_NET_H

#include "engine/session.h"
#include "far/far.h"
#include "model/edit.h"

#include <string.h>

/* ---- making ---- */

static inline uint32_t net_value(const pare_model *m, const char *name) {
    return pare_graph_find(m, PARE_MAIN_GRAPH, name);
}

static inline void net_input(pare_model *m, const char *name, uint32_t dtype, int32_t ndim, const pare_dim *dims) {
    uint32_t v = pare_value_add(m, PARE_MAIN_GRAPH, name);
    pare_value_type_set(m, v, dtype, ndim, dims);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, v);
}

static inline void net_output(pare_model *m, const char *name) {
    pare_graph_output_add(m, PARE_MAIN_GRAPH, net_value(m, name));
}

static inline void net_tensor(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                              const void *data) {
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    void *to;
    if (!t || pare_tensor_write(pare_model_tensor(m, t), NULL, &to)) return;
    if (to) memcpy(to, data, pare_model_tensor(m, t)->blob->len);
}

/* Floats that differ and are not too regular. */
static inline float net_number(uint64_t i) { return (float)((int64_t)(i * 2654435761u % 2001) - 1000) / 1000.0f; }

static inline void net_floats(pare_model *m, const char *name, size_t ndim, const int64_t *dims, uint64_t seed) {
    float data[4096];
    uint64_t n = 1;
    for (size_t i = 0; i < ndim; i++) n *= (uint64_t)dims[i];
    for (uint64_t i = 0; i < n && i < 4096; i++) data[i] = net_number(i + seed * 977);
    net_tensor(m, name, PARE_FLOAT, ndim, dims, data);
}

/* net_node(m, "Conv", "y", 2, "x", "w"): one output. Input names "" are left out. */
static inline uint32_t net_node(pare_model *m, const char *op, const char *out, size_t n_in, const char *a,
                                const char *b, const char *c) {
    const char *names[] = {a, b, c};
    uint32_t in[3];
    for (size_t i = 0; i < n_in; i++) in[i] = names[i][0] ? net_value(m, names[i]) : 0;
    return pare_node_add(m, PARE_MAIN_GRAPH, 0, op, "", out, in, n_in, &out, 1);
}
static inline uint32_t net1(pare_model *m, const char *op, const char *out, const char *a) {
    return net_node(m, op, out, 1, a, "", "");
}
static inline uint32_t net2(pare_model *m, const char *op, const char *out, const char *a, const char *b) {
    return net_node(m, op, out, 2, a, b, "");
}

static inline pare_model *net_new(int64_t opset) {
    pare_model *m = pare_model_new("net");
    pare_model_opset_set(m, "", opset);
    return m;
}

/* ---- running ---- */

/* near: the plain C kernels; cpu: the plugin; far; and far with the plugin for what far has no kernel for. */
enum { NET_NEAR, NET_FAR, NET_CPU, NET_FAR_CPU, NET_DEVICES };

static inline bool net_is_far(int device) { return device == NET_FAR || device == NET_FAR_CPU; }

static inline pare_session_opts net_opts(int device) {
    const pare_backend *host = device >= NET_CPU ? far_cpu_backend() : &near_backend;
    pare_session_opts o = {.backend = {net_is_far(device) ? &far_backend : host, &far_host},
                           .host_backend = {host, &far_host},
                           .threads = 1};
    return o;
}

static inline pare_array *net_array(uint32_t dtype, size_t ndim, const int64_t *dims, const void *data) {
    pare_array *a = pare_array_new(dtype, ndim, dims);
    if (a && a->nbytes) memcpy(pare_array_data_mut(a), data, a->nbytes);
    return a;
}

static inline pare_array *net_filled(size_t ndim, const int64_t *dims, uint64_t seed) {
    pare_array *a = pare_array_new(PARE_FLOAT, ndim, dims);
    float *to = pare_array_data_mut(a);
    for (uint64_t i = 0; i < a->count; i++) to[i] = net_number(i * 31 + seed);
    return a;
}

static inline const float *net_f(const pare_array *a) { return pare_array_data(a); }

/* The largest difference, relative to the largest number of b (at least 1e-3). */
static inline double net_distance(const pare_array *a, const pare_array *b) {
    double max = 1e-3, diff = 0;
    if (a->dtype != b->dtype || a->count != b->count) return 1e9;
    for (uint64_t i = 0; i < a->count; i++) {
        double x = (double)net_f(a)[i], y = (double)net_f(b)[i];
        if ((y < 0 ? -y : y) > max) max = y < 0 ? -y : y;
        if ((x > y ? x - y : y - x) > diff) diff = x > y ? x - y : y - x;
        if (x != x) return 1e9;
    }
    return diff / max;
}

/* A small residual net with everything that fuses: x (N, 2, 6, 6) -> y (N, 3). */
static inline pare_model *net_residual(int64_t batch) {
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{batch, batch < 0 ? "N" : NULL}, {2, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w1[] = {4, 2, 3, 3}, w2[] = {4, 4, 3, 3}, w3[] = {4, 2, 1, 1}, c[] = {4}, fc[] = {3, 4},
                  three[] = {3};
    const int64_t pads[] = {1, 1, 1, 1};
    const float var[] = {0.5f, 1.5f, 2.0f, 0.25f};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w1", 4, w1, 1);
    net_floats(m, "w2", 4, w2, 2);
    net_floats(m, "w3", 4, w3, 3);
    net_floats(m, "scale", 1, c, 4);
    net_floats(m, "shift", 1, c, 5);
    net_floats(m, "mean", 1, c, 6);
    net_tensor(m, "var", PARE_FLOAT, 1, c, var);
    net_floats(m, "b2", 1, c, 7);
    net_floats(m, "fc", 2, fc, 8);
    net_floats(m, "fcb", 1, three, 9);
    uint32_t n = net2(m, "Conv", "c1", "x", "w1");
    pare_attr_set_ints(m, n, "pads", pads, 4);
    const char *bn = "n1";
    const uint32_t in[] = {net_value(m, "c1"), net_value(m, "scale"), net_value(m, "shift"), net_value(m, "mean"),
                           net_value(m, "var")};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", "bn", in, 5, &bn, 1);
    net1(m, "Relu", "r1", "n1");
    n = net_node(m, "Conv", "c2", 3, "r1", "w2", "b2");
    pare_attr_set_ints(m, n, "pads", pads, 4);
    net2(m, "Conv", "c3", "x", "w3");
    net2(m, "Add", "a", "c2", "c3");
    net1(m, "Relu", "r2", "a");
    net1(m, "GlobalAveragePool", "g", "r2");
    net1(m, "Flatten", "f", "g");
    n = net_node(m, "Gemm", "y", 3, "f", "fc", "fcb");
    pare_attr_set_int(m, n, "transB", 1);
    net_output(m, "y");
    return m;
}

#endif
