/* tests/cpu/quant_case.h - one quantized node given to the cpu plugin, its result to compare: operands of random 8-bit
 * numbers with scales and zero points, attributes, post-ops. One case at a time. */
#ifndef PARE_TESTS_CPU_QUANT_CASE_H
#define PARE_TESTS_CPU_QUANT_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ref/ref.h"

#include <pare/plugin.h>

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Q_MAX = 10, Q_CHANNELS = 1024 };

static const pare_backend *the_backend;
static void *the_device;

static inline void ignore_report(const pare_host *h, const pare_diag *d) {
    (void)h;
    (void)d;
}
static const pare_host the_host = {.size = sizeof(pare_host), .report = ignore_report};

typedef struct q_operand {
    pare_operand o;
    int64_t dims[6];
    float scales[Q_CHANNELS];
    int32_t zeros[Q_CHANNELS];
    void *data;
} q_operand;

static struct {
    pare_kernel_spec spec;
    q_operand in[Q_MAX], out[3];
    const pare_operand *ins[Q_MAX], *outs[3];
    pare_named_attribute attrs[Q_MAX];
    const pare_named_attribute *attr_list[Q_MAX];
    int64_t ints[Q_MAX][6];
    pare_post_op post[Q_MAX];
    const pare_post_op *posts[Q_MAX];
    char name[64];
} the_case;
static uint64_t the_seed = 88172645463325252u, the_hash = 14695981039346656037u;

static inline uint32_t noise(void) { /* xorshift64 */
    the_seed ^= the_seed << 13;
    the_seed ^= the_seed >> 7;
    the_seed ^= the_seed << 17;
    return (uint32_t)(the_seed >> 32);
}
static inline float unit(void) { return (float)((double)noise() / 4294967296.0); }

static inline void case_drop(void) {
    for (int i = 0; i < Q_MAX; i++) free(the_case.in[i].data);
    for (int i = 0; i < 3; i++) free(the_case.out[i].data);
    memset(&the_case, 0, sizeof the_case);
}

static inline void case_begin(const char *op, const char *domain) {
    case_drop();
    the_case.spec = (pare_kernel_spec){.size = sizeof(pare_kernel_spec),
                                       .op_type = op,
                                       .domain = domain,
                                       .version = 21,
                                       .node = op,
                                       .attrs = the_case.attr_list,
                                       .in = the_case.ins,
                                       .out = the_case.outs,
                                       .post = the_case.posts};
}

/* Random: 8 bits over their whole range (seven: weights of 7 bits), int32 within +-2000, floats within +-3. */
static inline q_operand *fill(q_operand *q, uint32_t dtype, const int64_t *dims, uint32_t ndim, uint32_t flags,
                              bool seven) {
    if (ndim) memcpy(q->dims, dims, ndim * sizeof *dims);
    q->o = (pare_operand){.size = sizeof q->o, .flags = flags, .dtype = dtype, .ndim = ndim, .dims = q->dims};
    uint64_t n = ref_count(&q->o), bytes = pare_nbytes(dtype, n);
    q->data = malloc(bytes ? bytes : 1);
    assert_non_null(q->data);
    for (uint64_t i = 0; i < n; i++) {
        if (dtype == PARE_FLOAT)
            ((float *)q->data)[i] = 6 * unit() - 3;
        else if (dtype == PARE_INT32)
            ((int32_t *)q->data)[i] = (int32_t)(noise() % 4001) - 2000;
        else if (seven)
            ((int8_t *)q->data)[i] = (int8_t)((int32_t)(noise() % 127) - 63);
        else
            ((uint8_t *)q->data)[i] = (uint8_t)noise();
    }
    q->o.layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = bytes};
    if ((flags & PARE_OPERAND_CONSTANT) && n <= 4096) q->o.data = q->data;
    return q;
}

static inline q_operand *case_in(uint32_t dtype, const int64_t *dims, uint32_t ndim, uint32_t flags) {
    uint32_t i = the_case.spec.n_in++;
    the_case.ins[i] = &the_case.in[i].o;
    return fill(&the_case.in[i], dtype, dims, ndim, flags, false);
}
static inline void case_absent(void) {
    uint32_t i = the_case.spec.n_in++;
    the_case.in[i].o = (pare_operand){.size = sizeof(pare_operand), .flags = PARE_OPERAND_ABSENT};
    the_case.in[i].o.dims = the_case.in[i].dims;
    the_case.ins[i] = &the_case.in[i].o;
}
static inline q_operand *case_out(uint32_t dtype, const int64_t *dims, uint32_t ndim) {
    uint32_t i = the_case.spec.n_out++;
    the_case.outs[i] = &the_case.out[i].o;
    fill(&the_case.out[i], dtype, dims, ndim, 0, false);
    the_case.out[i].o.layout.kind = PARE_LAYOUT_ANY;
    return &the_case.out[i];
}
static inline void scaled(q_operand *q, float scale, int32_t zero) {
    q->scales[0] = scale;
    q->zeros[0] = zero;
    q->o.scale = q->scales;
    q->o.zero_point = q->zeros;
    q->o.n_scales = 1;
}
static inline void scaled_by_channel(q_operand *q, int32_t axis, int32_t zero) {
    q->o.n_scales = (uint64_t)q->dims[axis];
    q->o.axis = axis;
    q->o.scale = q->scales;
    q->o.zero_point = q->zeros;
    for (uint64_t i = 0; i < q->o.n_scales; i++) {
        q->scales[i] = 0.001f + 0.002f * unit();
        q->zeros[i] = zero;
    }
}

static inline pare_attribute *attribute(const char *name, uint32_t type, uint64_t n) {
    uint32_t i = the_case.spec.n_attrs++;
    the_case.attrs[i] =
        (pare_named_attribute){.name = name, .value = {.size = sizeof(pare_attribute), .type = type, .n = n}};
    the_case.attr_list[i] = &the_case.attrs[i];
    return &the_case.attrs[i].value;
}
static inline void case_int(const char *name, int64_t x) { attribute(name, PARE_ATTRIBUTE_INT, 1)->i = x; }
static inline void case_float(const char *name, double x) { attribute(name, PARE_ATTRIBUTE_FLOAT, 1)->f = x; }
static inline void case_ints(const char *name, const int64_t *x, uint64_t n) {
    int64_t *kept = the_case.ints[the_case.spec.n_attrs];
    memcpy(kept, x, n * sizeof *x);
    attribute(name, PARE_ATTRIBUTE_INTS, n)->ints = kept;
}
static inline void case_post(pare_post_op p) {
    uint32_t i = the_case.spec.n_post++;
    p.size = sizeof p;
    the_case.post[i] = p;
    the_case.posts[i] = &the_case.post[i];
}
static inline void post_quantize(float scale, float zero, uint32_t dtype) {
    case_post((pare_post_op){.kind = PARE_POST_QUANTIZE, .alpha = scale, .beta = zero, .dtype = dtype});
}
static inline void post_dequantize(float scale, float zero, uint32_t dtype) {
    case_post((pare_post_op){.kind = PARE_POST_DEQUANTIZE, .alpha = scale, .beta = zero, .dtype = dtype});
}

/* ---- running ---- */

static inline void *device_memory(uint64_t bytes) {
    void *p = NULL;
    assert_int_equal(the_backend->alloc(the_device, bytes, &p), PARE_OK);
    assert_int_equal(the_backend->fill(the_device, p, 0xff, bytes), PARE_OK);
    return p;
}

static inline void reorder(const pare_operand *like, pare_layout from, pare_layout to, const void *src, void *dst) {
    pare_operand a = *like, b = *like;
    a.layout = from;
    b.layout = to;
    a.data = b.data = NULL;
    a.flags = b.flags = 0;
    const pare_operand *in[] = {&a}, *out[] = {&b};
    pare_kernel_spec s = {.size = sizeof s,
                          .op_type = "Reorder",
                          .domain = "ai.pare",
                          .version = 1,
                          .node = "r",
                          .in = in,
                          .out = out,
                          .n_in = 1,
                          .n_out = 1};
    void *k;
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, &s, 0, &k), PARE_OK);
    assert_int_equal(the_backend->kernel_info(k, &info), PARE_OK);
    void *scratch = info.scratch ? device_memory(info.scratch) : NULL;
    assert_int_equal(the_backend->run(k, &src, &dst, scratch), PARE_OK);
    the_backend->free(the_device, scratch);
    the_backend->kernel_free(k);
}

static inline pare_layout plain_layout(const pare_operand *o) {
    return (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = pare_nbytes(o->dtype, ref_count(o))};
}

static inline bool case_has_kernel(void) {
    void *k;
    if (the_backend->kernel(the_device, &the_case.spec, 0, &k)) return false;
    the_backend->kernel_free(k);
    return true;
}

/* The layout with channels last, as a pooling would leave it. */
static inline pare_layout channels_last(const pare_operand *like) {
    pare_operand x = *like, y = *like;
    x.layout.kind = y.layout.kind = PARE_LAYOUT_ANY;
    x.n_scales = y.n_scales = 0;
    x.flags = y.flags = 0;
    int64_t one[2] = {1, 1};
    pare_named_attribute kernel = {
        .name = "kernel_shape",
        .value = {.size = sizeof(pare_attribute), .type = PARE_ATTRIBUTE_INTS, .n = 2, .ints = one}};
    const pare_named_attribute *attrs[] = {&kernel};
    const pare_operand *in[] = {&x}, *out[] = {&y};
    pare_kernel_spec s = {.size = sizeof s,
                          .op_type = "MaxPool",
                          .domain = "",
                          .version = 21,
                          .node = "p",
                          .attrs = attrs,
                          .in = in,
                          .out = out,
                          .n_attrs = 1,
                          .n_in = 1,
                          .n_out = 1};
    void *k;
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, &s, 0, &k), PARE_OK);
    assert_int_equal(the_backend->kernel_info(k, &info), PARE_OK);
    pare_layout l = info.out[0];
    the_backend->kernel_free(k);
    return l;
}

/* Runs the case, results in the_case.out[].data. The kernel's name begins with `prefix` and it does all post-ops. */
static inline void case_run(const char *prefix) {
    pare_kernel_spec *s = &the_case.spec;
    void *k, *held[Q_MAX] = {0}, *results[3] = {0};
    const void *in[Q_MAX] = {0};
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, s, 0, &k), PARE_OK);
    assert_int_equal(the_backend->kernel_info(k, &info), PARE_OK);
    strncpy(the_case.name, info.name, sizeof the_case.name - 1);
    if (strncmp(info.name, prefix, strlen(prefix)) != 0) fail_msg("%s is done by %s", s->op_type, info.name);
    assert_int_equal(info.n_post, s->n_post);
    for (uint32_t i = 0; i < s->n_in; i++) {
        const pare_operand *o = s->in[i];
        if (o->flags & PARE_OPERAND_ABSENT) continue;
        uint64_t plain = pare_nbytes(o->dtype, ref_count(o));
        if (info.pack && info.pack[i]) {
            in[i] = held[i] = device_memory(info.pack[i]);
            assert_int_equal(the_backend->pack(k, i, the_case.in[i].data, held[i]), PARE_OK);
        } else if (info.in[i].kind == PARE_LAYOUT_OWN) {
            in[i] = held[i] = device_memory(info.in[i].nbytes);
            reorder(o, plain_layout(o), info.in[i], the_case.in[i].data, held[i]);
        } else {
            in[i] = held[i] = device_memory(plain);
            memcpy(held[i], the_case.in[i].data, plain);
        }
    }
    for (uint32_t i = 0; i < s->n_out; i++)
        results[i] =
            device_memory(info.out[i].kind == PARE_LAYOUT_OWN ? info.out[i].nbytes
                                                              : pare_nbytes(s->out[i]->dtype, ref_count(s->out[i])));
    void *scratch = info.scratch ? device_memory(info.scratch) : NULL;
    for (int again = 0; again < 2; again++) assert_int_equal(the_backend->run(k, in, results, scratch), PARE_OK);
    uint64_t first_bytes = pare_nbytes(s->out[0]->dtype, ref_count(s->out[0]));
    for (uint32_t i = 0; i < s->n_out; i++) {
        const pare_operand *y = s->out[i];
        if (info.out[i].kind == PARE_LAYOUT_OWN)
            reorder(y, info.out[i], plain_layout(y), results[i], the_case.out[i].data);
        else
            memcpy(the_case.out[i].data, results[i], pare_nbytes(y->dtype, ref_count(y)));
    }
    if (info.in_place >= 0) { /* once more, over that input */
        uint8_t *again = malloc(first_bytes);
        void *over = held[info.in_place];
        assert_non_null(again);
        assert_int_equal(info.in[info.in_place].kind, info.out[0].kind);
        assert_int_equal(the_backend->run(k, in, &over, scratch), PARE_OK);
        if (info.out[0].kind == PARE_LAYOUT_OWN)
            reorder(s->out[0], info.out[0], plain_layout(s->out[0]), over, again);
        else
            memcpy(again, over, first_bytes);
        assert_memory_equal(again, the_case.out[0].data, first_bytes);
        free(again);
    }
    for (uint64_t i = 0; i < first_bytes; i++)
        the_hash = (the_hash ^ ((uint8_t *)the_case.out[0].data)[i]) * 1099511628211u;
    the_backend->free(the_device, scratch);
    for (uint32_t i = 0; i < s->n_out; i++) the_backend->free(the_device, results[i]);
    for (uint32_t i = 0; i < s->n_in; i++) the_backend->free(the_device, held[i]);
    the_backend->kernel_free(k);
}

/* ---- what should come out ---- */

static inline int32_t code(const q_operand *q, uint64_t i) { /* element i of 8 bits */
    return q->o.dtype == PARE_INT8 ? ((int8_t *)q->data)[i] : ((uint8_t *)q->data)[i];
}
static inline double real(const q_operand *q, uint64_t i) {
    if (q->o.dtype == PARE_FLOAT) return (double)((float *)q->data)[i];
    return (double)(code(q, i) - q->zeros[0]) * (double)q->scales[0];
}

static inline double saturate(double x, uint32_t dtype) {
    double low = dtype == PARE_UINT8 ? 0 : -128;
    return x < low ? low : x > low + 255 ? low + 255 : x;
}

/* The post-ops of element i: after a QUANTIZE, its code. */
static inline double posts_of(double v, uint64_t i) {
    for (uint32_t n = 0; n < the_case.spec.n_post; n++) {
        const pare_post_op *p = &the_case.post[n];
        double a = (double)p->alpha, b = (double)p->beta;
        switch (p->kind) {
        case PARE_POST_RELU: v = v > 0 ? v : 0; break;
        case PARE_POST_CLIP: v = v < a ? a : v > b ? b : v; break;
        case PARE_POST_LEAKY_RELU: v = v > 0 ? v : a * v; break;
        case PARE_POST_SIGMOID: v = 1 / (1 + exp(-v)); break;
        case PARE_POST_HARD_SWISH: v *= fmin(fmax(v / 6 + 0.5, 0), 1); break;
        case PARE_POST_HARD_SIGMOID: v = fmin(fmax(a * v + b, 0), 1); break;
        case PARE_POST_ADD: v += real(&the_case.in[p->operand], i); break;
        case PARE_POST_MUL: v *= real(&the_case.in[p->operand], i); break;
        case PARE_POST_QUANTIZE: v = saturate(rint(v / a) + b, p->dtype); break;
        case PARE_POST_DEQUANTIZE: v = (v - b) * a; break;
        default: fail();
        }
    }
    return v;
}

/* 8 bits: within a step, and as good as always equal. */
typedef struct q_check {
    uint64_t n, off;
} q_check;
static inline void check_code(q_check *c, uint64_t i, double want) {
    int32_t got = code(&the_case.out[0], i);
    if (fabs(got - want) > 1)
        fail_msg("%s: element %llu is %d, not %g", the_case.name, (unsigned long long)i, got, want);
    c->off += got != (int32_t)want;
    c->n++;
}
static inline void check_end(const q_check *c) {
    if (c->off > c->n / 1000 + 1)
        fail_msg("%s: %llu of %llu are a step off", the_case.name, (unsigned long long)c->off,
                 (unsigned long long)c->n);
}

static inline int open_backend(void **state) {
    (void)state;
    const char *path = getenv("PARE_TEST_CPU"); /* another build of it */
    void *object = dlopen(path && *path ? path : PARE_CPU_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (!object) return -1;
    const pare_plugin *(*entry)(void);
    void *symbol = dlsym(object, "pare_plugin_v1");
    memcpy(&entry, &symbol, sizeof entry);
    the_backend = entry()->backends[0];
    const pare_device_opts opts = {.size = sizeof opts, .threads = 2};
    return the_backend->open(&the_host, &opts, &the_device) ? -1 : 0;
}
static inline int close_backend(void **state) {
    (void)state;
    case_drop();
    the_backend->close(the_device);
    print_message("all results: %016llx\n", (unsigned long long)the_hash); /* the same with every instruction set */
    return 0;
}

#endif
