/* tests/model/graph_make.h - models written as short text, for the tests of inference, layers and statistics.
 *
 * Values: `f[N,3,8,8]` a graph input (f float32, h float16, i int64, j int32, u uint8, b int8; ? is a dim not known;
 * `f?` a rank not known), `=f[4,3]` an initializer of zeros, `{1,-1}` int64 numbers, `(5)` an int64 scalar, `f{0.5,2}`
 * float numbers, `_` left out, `@name` a value that is there already.
 * Attributes: `a=1 b=[1,2] c=0.5 d=[0.5,2.0] e=WORD`.
 */
#ifndef TESTS_GRAPH_MAKE_H
#define TESTS_GRAPH_MAKE_H

#include "model/edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t gm_dtype(char c) {
    switch (c) {
    case 'f': return PARE_FLOAT;
    case 'h': return PARE_FLOAT16;
    case 'i': return PARE_INT64;
    case 'j': return PARE_INT32;
    case 'u': return PARE_UINT8;
    case 'b': return PARE_INT8;
    default: fail_msg("no dtype '%c'", c); return 0;
    }
}

/* "N,3,?]" into dims; returns how many. */
static inline int32_t gm_dims(pare_model *m, const char *s, pare_dim *out) {
    int32_t n = 0;
    while (*s && *s != ']') {
        size_t len = strcspn(s, ",]");
        out[n] = (pare_dim){-1, NULL};
        if ((*s >= '0' && *s <= '9') || *s == '-')
            out[n].value = strtoll(s, NULL, 10);
        else if (*s != '?')
            out[n].symbol = pare_arena_strndup(&m->arena, s, len);
        n++;
        s += len + (s[len] == ',');
    }
    return n;
}

static inline void *gm_bytes(pare_model *m, uint32_t tensor) {
    void *data = NULL;
    pare_tensor *t = pare_model_tensor(m, tensor);
    assert_non_null(t);
    if (t->count) assert_int_equal(pare_tensor_overwrite(t, NULL, &data), PARE_OK);
    return data;
}

/* An initializer; `data` may be NULL (zeros). Returns the tensor. */
static inline uint32_t gm_tensor(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                                 const void *data) {
    uint32_t id = pare_tensor_add(m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    assert_int_not_equal(id, 0);
    void *to = gm_bytes(m, id);
    pare_tensor *t = pare_model_tensor(m, id);
    if (to && data) memcpy(to, data, (size_t)t->blob->len);
    if (to && !data) memset(to, 0, (size_t)t->blob->len);
    return id;
}

static inline uint32_t gm_find(const pare_model *m, const char *name) {
    return pare_graph_find(m, PARE_MAIN_GRAPH, name);
}

static inline uint32_t gm_value(pare_model *m, const char *s) {
    if (*s == '_') return 0;
    if (*s == '@') {
        assert_int_not_equal(gm_find(m, s + 1), 0);
        return gm_find(m, s + 1);
    }
    char name[32];
    snprintf(name, sizeof name, "v%zu", m->values.len);
    if (*s == '{' || *s == '(' || s[1] == '{') {
        bool floats = *s == 'f', scalar = *s == '(';
        int64_t ints[64], n = 0;
        float f[64];
        for (char *p = (char *)(uintptr_t)(s + 1 + floats); *p && *p != '}' && *p != ')'; n++) {
            ints[n] = strtoll(p, NULL, 10);
            f[n] = strtof(p, &p);
            p += *p == ',';
        }
        gm_tensor(m, name, floats ? PARE_FLOAT : PARE_INT64, scalar ? 0 : 1, &n, floats ? (void *)f : (void *)ints);
        return gm_find(m, name);
    }
    pare_dim dims[80];
    bool constant = *s == '=';
    s += constant;
    int32_t ndim = s[1] == '?' ? -1 : gm_dims(m, s + 2, dims);
    if (!constant) {
        uint32_t v = pare_value_add(m, PARE_MAIN_GRAPH, name);
        pare_value_type_set(m, v, gm_dtype(*s), ndim, dims);
        pare_graph_input_add(m, PARE_MAIN_GRAPH, v);
        return v;
    }
    int64_t numbers[80];
    for (int32_t i = 0; i < ndim; i++) numbers[i] = dims[i].value;
    gm_tensor(m, name, gm_dtype(*s), (size_t)ndim, numbers, NULL);
    return gm_find(m, name);
}

static inline void gm_attr(pare_model *m, uint32_t node, char *text) {
    char *eq = strchr(text, '=');
    assert_non_null(eq);
    *eq = 0;
    const char *v = eq + 1;
    bool list = *v == '[', number = (v[list] >= '0' && v[list] <= '9') || v[list] == '-' || v[list] == ']';
    bool real = strchr(v, '.') != NULL;
    int64_t ints[64];
    float floats[64];
    size_t n = 0;
    for (char *p = eq + 1 + list; number && *p && *p != ']'; n++) {
        char *end;
        floats[n] = strtof(p, &end);
        ints[n] = strtoll(p, NULL, 10);
        p = end + (*end == ',');
    }
    if (!number)
        pare_attr_set_string(m, node, text, v, strlen(v));
    else if (list && real)
        pare_attr_set_floats(m, node, text, floats, n);
    else if (list)
        pare_attr_set_ints(m, node, text, ints, n);
    else if (real)
        pare_attr_set_float(m, node, text, floats[0]);
    else
        pare_attr_set_int(m, node, text, ints[0]);
}

/* A node called `name` (may be "") whose outputs are called `outs`, separated by spaces. Returns its id. */
static inline uint32_t gm_node(pare_model *m, const char *op, const char *name, const char *ins, const char *attrs,
                               const char *outs) {
    char buf[512], *save = NULL;
    uint32_t in[32];
    const char *out[32];
    size_t n_in = 0, n_out = 0;
    snprintf(buf, sizeof buf, "%s", ins);
    for (char *t = strtok_r(buf, " ", &save); t; t = strtok_r(NULL, " ", &save)) in[n_in++] = gm_value(m, t);
    snprintf(buf, sizeof buf, "%s", outs);
    for (char *t = strtok_r(buf, " ", &save); t; t = strtok_r(NULL, " ", &save)) out[n_out++] = t;
    uint32_t node = pare_node_add(m, PARE_MAIN_GRAPH, 0, op, "", name, in, n_in, out, n_out);
    snprintf(buf, sizeof buf, "%s", attrs);
    for (char *t = strtok_r(buf, " ", &save); t; t = strtok_r(NULL, " ", &save)) gm_attr(m, node, t);
    return node;
}

/* "[N,3,?]" or "?" of a value, in a static buffer. */
static inline const char *gm_shape(const pare_model *m, const char *name) {
    static char text[512];
    const pare_value *v = pare_model_value(m, gm_find(m, name));
    if (!v || v->ndim < 0) return strcpy(text, "?");
    size_t at = (size_t)sprintf(text, "[");
    for (int32_t i = 0; i < v->ndim && at < 400; i++) {
        at += (size_t)sprintf(text + at, "%s", i ? "," : "");
        if (v->dims[i].value >= 0)
            at += (size_t)sprintf(text + at, "%lld", (long long)v->dims[i].value);
        else
            at += (size_t)sprintf(text + at, "%.20s", v->dims[i].symbol ? v->dims[i].symbol : "?");
    }
    sprintf(text + at, "]");
    return text;
}

#endif
