/* qnet.h - small quantized nets for the engine's tests. All scales are powers of 2 and the sums small, so that floats
 * simulate them without rounding: whatever runs them, the answer is the same bit for bit. May use: net.h.
 */
#ifndef PARE_TESTS_QNET_H
#define PARE_TESTS_QNET_H

#include "far/check.h"

#include <math.h>
#include <stdio.h>

/* Parameters as initializers NAME_s and NAME_z. */
static inline void qnet_params(pare_model *m, const char *name, uint32_t dtype, size_t n, const float *scale,
                               const int32_t *zero) {
    char s[64], z[64];
    const int64_t dims[] = {(int64_t)n};
    int8_t bytes[64];
    snprintf(s, sizeof s, "%s_s", name);
    snprintf(z, sizeof z, "%s_z", name);
    for (size_t i = 0; i < n; i++) bytes[i] = (int8_t)zero[i];
    net_tensor(m, s, PARE_FLOAT, n > 1, dims, scale);
    if (dtype == PARE_INT32)
        net_tensor(m, z, dtype, n > 1, dims, zero);
    else
        net_tensor(m, z, dtype, n > 1, dims, bytes);
}

static inline void qnet_one(pare_model *m, const char *name, uint32_t dtype, float scale, int32_t zero) {
    qnet_params(m, name, dtype, 1, &scale, &zero);
}

static inline uint32_t qnet_op(pare_model *m, const char *op, const char *params, const char *in, const char *out) {
    char s[64], z[64];
    snprintf(s, sizeof s, "%s_s", params);
    snprintf(z, sizeof z, "%s_z", params);
    return net_node(m, op, out, 3, in, s, z);
}
static inline void qnet_to(pare_model *m, const char *params, const char *in, const char *out) {
    qnet_op(m, "QuantizeLinear", params, in, out);
}
static inline uint32_t qnet_from(pare_model *m, const char *params, const char *in, const char *out) {
    return qnet_op(m, "DequantizeLinear", params, in, out);
}

/* A rounding point of `value`: NAME_q in 8 bits, NAME_d in floats. */
static inline void qnet_round(pare_model *m, const char *value, uint32_t dtype, float scale, int32_t zero) {
    char q[64], d[64];
    snprintf(q, sizeof q, "%s_q", value);
    snprintf(d, sizeof d, "%s_d", value);
    qnet_one(m, value, dtype, scale, zero);
    qnet_to(m, value, value, q);
    qnet_from(m, value, q, d);
}

/* int8 weights NAME_q in [-most, most], one scale a channel of `axis` (-1: one for all), read as NAME. */
static inline void qnet_weights(pare_model *m, const char *name, size_t ndim, const int64_t *dims, int32_t axis,
                                int most, uint64_t seed) {
    int8_t data[4096];
    float scale[64];
    const int32_t zero[64] = {0};
    uint64_t n = 1;
    for (size_t i = 0; i < ndim; i++) n *= (uint64_t)dims[i];
    for (uint64_t i = 0; i < n && i < sizeof data; i++)
        data[i] = (int8_t)((int)((i * 2654435761u + seed * 977) % (uint64_t)(2 * most + 1)) - most);
    size_t channels = axis < 0 ? 1 : (size_t)dims[axis];
    for (size_t i = 0; i < channels && i < 64; i++) scale[i] = ldexpf(1, -6 - (int)(i % 3));
    char q[64];
    snprintf(q, sizeof q, "%s_q", name);
    net_tensor(m, q, PARE_INT8, ndim, dims, data);
    qnet_params(m, name, PARE_INT8, channels, scale, zero);
    uint32_t id = qnet_from(m, name, q, name);
    if (channels > 1) pare_attr_set_int(m, id, "axis", axis);
}

/* An int32 bias NAME of scale x_scale times the weights' scales. */
static inline void qnet_bias(pare_model *m, const char *name, const char *weights, float x_scale, size_t channels) {
    int32_t data[64];
    float scale[64];
    const int32_t zero[64] = {0};
    char s[64], q[64];
    const void *w;
    const int64_t dims[] = {(int64_t)channels};
    snprintf(s, sizeof s, "%s_s", weights);
    snprintf(q, sizeof q, "%s_q", name);
    pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, s))->tensor);
    assert_int_equal(pare_tensor_read(t, NULL, &w), PARE_OK);
    for (size_t i = 0; i < channels; i++) {
        data[i] = (int32_t)(i * 37 % 400) - 200;
        scale[i] = x_scale * ((const float *)w)[t->count == 1 ? 0 : i];
    }
    net_tensor(m, q, PARE_INT32, 1, dims, data);
    qnet_params(m, name, PARE_INT32, (size_t)t->count, scale, zero);
    uint32_t id = qnet_from(m, name, q, name);
    if (t->count > 1) pare_attr_set_int(m, id, "axis", 0);
}

/* x (batch, 4, 6, 6) -> y (batch, 3), as a quantizer leaves it: two convolutions and a shortcut with one, MaxPool,
 * global average, a product. `dtype`: of activations; `axis`: -1 or 0, of the weights' scales. */
static inline pare_model *qnet_residual(int64_t batch, uint32_t dtype, int32_t axis) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{batch, batch < 0 ? "N" : NULL}, {4, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w1[] = {8, 4, 3, 3}, w2[] = {8, 8, 3, 3}, w3[] = {8, 8, 1, 1}, fc[] = {3, 8};
    const int64_t pads[] = {1, 1, 1, 1}, two[] = {2, 2};
    int32_t zero = dtype == PARE_UINT8 ? 128 : 0, low = dtype == PARE_UINT8 ? 0 : -128;
    net_input(m, "x", PARE_FLOAT, 4, dims);
    qnet_weights(m, "w1", 4, w1, axis, 40, 1);
    qnet_weights(m, "w2", 4, w2, axis, 30, 2);
    qnet_weights(m, "w3", 4, w3, axis, 60, 3);
    qnet_weights(m, "fc", 2, fc, axis, 60, 4);
    qnet_bias(m, "b1", "w1", 0.0078125f, 8);
    qnet_bias(m, "b2", "w2", 0.03125f, 8);
    qnet_bias(m, "fcb", "fc", 0.0625f, 3);
    qnet_round(m, "x", dtype, 0.0078125f, zero);
    pare_attr_set_ints(m, net_node(m, "Conv", "c1", 3, "x_d", "w1", "b1"), "pads", pads, 4);
    net1(m, "Relu", "r1", "c1");
    qnet_round(m, "r1", dtype, 0.03125f, low);
    uint32_t pool = net1(m, "MaxPool", "p", "r1_d");
    pare_attr_set_ints(m, pool, "kernel_shape", two, 2);
    pare_attr_set_ints(m, pool, "strides", two, 2);
    qnet_round(m, "p", dtype, 0.03125f, low);
    pare_attr_set_ints(m, net_node(m, "Conv", "c2", 3, "p_d", "w2", "b2"), "pads", pads, 4);
    qnet_round(m, "c2", dtype, 0.0625f, zero);
    net2(m, "Conv", "c3", "p_d", "w3");
    qnet_round(m, "c3", dtype, 0.0625f, zero);
    net2(m, "Add", "a", "c2_d", "c3_d");
    net1(m, "Relu", "r2", "a");
    qnet_round(m, "r2", dtype, 0.125f, low);
    net1(m, "GlobalAveragePool", "g", "r2_d");
    qnet_round(m, "g", dtype, 0.0625f, low);
    net1(m, "Flatten", "f", "g_d");
    pare_attr_set_int(m, net_node(m, "Gemm", "y", 3, "f", "fc", "fcb"), "transB", 1);
    qnet_round(m, "y", dtype, 0.125f, zero);
    net_output(m, "y_d");
    return m;
}

#endif
