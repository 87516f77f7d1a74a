/* tests/model/onnx_make.h - tiny ONNX files put together by hand, field by field, for the reader's and writer's tests.
 *
 * Own code on purpose: nothing here comes from what is tested. A msg grows; msg_sub takes another one over.
 */
#ifndef TESTS_ONNX_MAKE_H
#define TESTS_ONNX_MAKE_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct msg {
    unsigned char *p;
    size_t n, cap;
} msg;

static inline void msg_add(msg *m, const void *data, size_t n) {
    if (m->n + n >= m->cap) {
        m->cap = (m->n + n + 16) * 2;
        m->p = realloc(m->p, m->cap);
        if (!m->p) abort();
    }
    if (n) memcpy(m->p + m->n, data, n);
    m->n += n;
}

static inline void msg_free(msg *m) {
    free(m->p);
    *m = (msg){0};
}

static inline void msg_varint(msg *m, uint64_t v) {
    do {
        unsigned char c = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        msg_add(m, &c, 1);
        v >>= 7;
    } while (v);
}

static inline void msg_tag(msg *m, unsigned field, unsigned type) { msg_varint(m, (uint64_t)field << 3 | type); }

static inline void msg_int(msg *m, unsigned field, int64_t v) {
    msg_tag(m, field, 0);
    msg_varint(m, (uint64_t)v);
}

static inline void msg_float(msg *m, unsigned field, float f) {
    msg_tag(m, field, 5);
    msg_add(m, &f, 4);
}

static inline void msg_bytes(msg *m, unsigned field, const void *data, size_t n) {
    msg_tag(m, field, 2);
    msg_varint(m, n);
    msg_add(m, data, n);
}

static inline void msg_str(msg *m, unsigned field, const char *s) { msg_bytes(m, field, s, strlen(s)); }

static inline void msg_sub(msg *m, unsigned field, msg sub) {
    msg_bytes(m, field, sub.p ? sub.p : (const unsigned char *)"", sub.n);
    msg_free(&sub);
}

static inline msg msg_pair(const char *key, const char *value) {
    msg m = {0};
    msg_str(&m, 1, key);
    msg_str(&m, 2, value);
    return m;
}

/* A TensorProto without its values. */
static inline msg tensor_head(const char *name, int dtype, size_t ndim, const int64_t *dims) {
    msg m = {0};
    for (size_t i = 0; i < ndim; i++) msg_int(&m, 1, dims[i]);
    msg_int(&m, 2, dtype);
    if (name) msg_str(&m, 8, name);
    return m;
}

static inline msg tensor_raw(const char *name, int dtype, size_t ndim, const int64_t *dims, const void *raw, size_t n) {
    msg m = tensor_head(name, dtype, ndim, dims);
    msg_bytes(&m, 9, raw, n);
    return m;
}

/* f32 of one dim, values 0, 1, 2, … */
static inline msg tensor_f32(const char *name, int64_t n) {
    float v[64];
    if (n > 64) abort();
    for (int i = 0; i < n; i++) v[i] = (float)i;
    return tensor_raw(name, 1, 1, &n, v, (size_t)n * 4);
}

static inline msg tensor_external(const char *name, int64_t n, const char *location, const char *offset,
                                  const char *length) {
    msg m = tensor_head(name, 1, 1, &n);
    if (location) msg_sub(&m, 13, msg_pair("location", location));
    if (offset) msg_sub(&m, 13, msg_pair("offset", offset));
    if (length) msg_sub(&m, 13, msg_pair("length", length));
    msg_sub(&m, 13, msg_pair("a key of tomorrow", "x"));
    msg_int(&m, 14, 1);
    return m;
}

/* A ValueInfoProto of f32; a dim below 0 is the symbol "N". */
static inline msg info_f32(const char *name, size_t ndim, const int64_t *dims) {
    msg shape = {0}, tensor = {0}, type = {0}, m = {0};
    for (size_t i = 0; i < ndim; i++) {
        msg dim = {0};
        if (dims[i] < 0)
            msg_str(&dim, 2, "N");
        else
            msg_int(&dim, 1, dims[i]);
        msg_sub(&shape, 1, dim);
    }
    msg_int(&tensor, 1, 1);
    msg_sub(&tensor, 2, shape);
    msg_sub(&type, 1, tensor);
    msg_str(&m, 1, name);
    msg_sub(&m, 2, type);
    return m;
}

/* A NodeProto; names separated by blanks, "-" for one left out. */
static inline void names_put(msg *m, unsigned field, const char *names) {
    while (*names) {
        size_t n = strcspn(names, " ");
        msg_bytes(m, field, names, n == 1 && names[0] == '-' ? 0 : n);
        names += n;
        while (*names == ' ') names++;
    }
}

static inline msg node(const char *op, const char *in, const char *out) {
    msg m = {0};
    names_put(&m, 1, in);
    names_put(&m, 2, out);
    msg_str(&m, 3, op);
    msg_str(&m, 4, op);
    return m;
}

static inline msg opset(const char *domain, int64_t version) {
    msg m = {0};
    if (domain[0]) msg_str(&m, 1, domain);
    msg_int(&m, 2, version);
    return m;
}

/* A ModelProto around a GraphProto. */
static inline msg model_ir(msg graph, int64_t ir) {
    msg m = {0};
    msg_int(&m, 1, ir);
    msg_sub(&m, 7, graph);
    msg_sub(&m, 8, opset("", 17));
    return m;
}

static inline msg model(msg graph) { return model_ir(graph, 8); }

/* x (4) -> Add with w (4) -> y, and whatever is put in before it is made a model. */
static inline msg graph_add(void) {
    int64_t dims[1] = {4};
    msg g = {0};
    msg_sub(&g, 1, node("Add", "x w", "y"));
    msg_str(&g, 2, "g");
    msg_sub(&g, 5, tensor_f32("w", 4));
    msg_sub(&g, 11, info_f32("x", 1, dims));
    msg_sub(&g, 12, info_f32("y", 1, dims));
    return g;
}

static inline void file_put(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(data, 1, n, f) != n)) abort();
    fclose(f);
}

#endif
