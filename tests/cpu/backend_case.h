/* tests/cpu/backend_case.h - one node given to the cpu plugin and to the plain C kernels: operands of random float32,
 * attributes, post-ops; then both results are compared. One case at a time. */
#ifndef PARE_TESTS_CPU_BACKEND_CASE_H
#define PARE_TESTS_CPU_BACKEND_CASE_H

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

enum { CASE_MAX = 12, CASE_DIMS = 8 };

static const pare_backend *the_backend;
static void *the_device;
static int the_reports;

static inline void count_report(const pare_host *h, const pare_diag *d) {
    (void)h;
    if (d->severity == PARE_ERROR) the_reports++;
}
static const pare_host the_host = {.size = sizeof(pare_host), .report = count_report};

typedef struct case_operand {
    pare_operand o;
    int64_t dims[CASE_DIMS];
    float *data;
} case_operand;

static struct {
    pare_kernel_spec spec;
    case_operand in[CASE_MAX], out;
    const pare_operand *ins[CASE_MAX], *outs[1];
    pare_named_attribute attrs[CASE_MAX];
    const pare_named_attribute *attr_list[CASE_MAX];
    int64_t ints[CASE_MAX][6];
    pare_post_op post[CASE_MAX];
    const pare_post_op *posts[CASE_MAX];
    uint32_t own; /* bit i: input i */
    uint32_t candidate, done_posts;
    char name[64];
} the_case;
static uint64_t the_seed = 88172645463325252u;

static inline float noise(void) { /* xorshift64, in [-1, 1) */
    the_seed ^= the_seed << 13;
    the_seed ^= the_seed >> 7;
    the_seed ^= the_seed << 17;
    return (float)((double)(the_seed >> 40) / (double)(1 << 23) - 1.0);
}

static inline void case_drop(void) {
    for (int i = 0; i < CASE_MAX; i++) free(the_case.in[i].data);
    free(the_case.out.data);
    memset(&the_case, 0, sizeof the_case);
}

static inline void case_begin(const char *op) {
    case_drop();
    the_case.spec = (pare_kernel_spec){.size = sizeof(pare_kernel_spec),
                                       .op_type = op,
                                       .domain = "",
                                       .version = 21,
                                       .node = op,
                                       .attrs = the_case.attr_list,
                                       .in = the_case.ins,
                                       .out = the_case.outs,
                                       .post = the_case.posts};
}

static inline void operand(case_operand *c, const int64_t *dims, uint32_t ndim, uint32_t flags) {
    if (ndim) memcpy(c->dims, dims, ndim * sizeof *dims);
    c->o = (pare_operand){.size = sizeof c->o, .flags = flags, .dtype = PARE_FLOAT, .ndim = ndim, .dims = c->dims};
    uint64_t n = ref_count(&c->o);
    c->data = malloc(n ? n * sizeof *c->data : 1);
    assert_non_null(c->data);
    for (uint64_t i = 0; i < n; i++) c->data[i] = noise();
    c->o.layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = n * sizeof(float)};
    if (flags & PARE_OPERAND_CONSTANT) c->o.data = c->data;
}

static inline void case_in(const int64_t *dims, uint32_t ndim, uint32_t flags) {
    uint32_t i = the_case.spec.n_in++;
    operand(&the_case.in[i], dims, ndim, flags);
    the_case.ins[i] = &the_case.in[i].o;
}

static inline void case_absent(void) {
    uint32_t i = the_case.spec.n_in++;
    the_case.in[i].o =
        (pare_operand){.size = sizeof(pare_operand), .flags = PARE_OPERAND_ABSENT, .dims = the_case.in[i].dims};
    the_case.ins[i] = &the_case.in[i].o;
}

static inline void case_out(const int64_t *dims, uint32_t ndim) {
    operand(&the_case.out, dims, ndim, 0);
    the_case.out.o.layout.kind = PARE_LAYOUT_ANY;
    the_case.outs[0] = &the_case.out.o;
    the_case.spec.n_out = 1;
}

static inline void case_positive(uint32_t in) {
    uint64_t n = ref_count(&the_case.in[in].o);
    for (uint64_t i = 0; i < n; i++) the_case.in[in].data[i] = fabsf(the_case.in[in].data[i]) + 0.1f;
}

static inline void case_set(uint32_t in, float x) { the_case.in[in].data[0] = x; }

static inline pare_attribute *attribute(const char *name, uint32_t type, uint64_t n) {
    uint32_t i = the_case.spec.n_attrs++;
    the_case.attrs[i] =
        (pare_named_attribute){.name = name, .value = {.size = sizeof(pare_attribute), .type = type, .n = n}};
    the_case.attr_list[i] = &the_case.attrs[i];
    return &the_case.attrs[i].value;
}

static inline void case_int(const char *name, int64_t x) { attribute(name, PARE_ATTRIBUTE_INT, 1)->i = x; }
static inline void case_float(const char *name, double x) { attribute(name, PARE_ATTRIBUTE_FLOAT, 1)->f = x; }
static inline void case_text(const char *name, const char *x) {
    attribute(name, PARE_ATTRIBUTE_STRING, strlen(x))->s = x;
}
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

static inline void case_post_with(uint32_t kind) { /* an operand of the output's dims */
    case_in(the_case.out.dims, the_case.out.o.ndim, 0);
    case_post((pare_post_op){.kind = kind, .operand = the_case.spec.n_in - 1});
}

static inline void case_own_inputs(bool own) { the_case.own = own ? UINT32_MAX : 0; }
static inline void case_own_input(uint32_t i) { the_case.own = 1u << i; }
static inline void case_candidate(uint32_t n) { the_case.candidate = n; }
static inline uint32_t case_done_posts(void) { return the_case.done_posts; }
static inline const char *case_kernel_name(void) { return the_case.name; }
static inline const pare_kernel_spec *case_spec(void) { return &the_case.spec; }
static inline float *case_result(uint64_t *n) {
    *n = ref_count(&the_case.out.o);
    return the_case.out.data;
}

static inline double post_of(const pare_post_op *p, double x, double other) {
    switch (p->kind) {
    case PARE_POST_RELU: return x > 0 ? x : 0;
    case PARE_POST_CLIP: return x < p->alpha ? p->alpha : x > p->beta ? p->beta : x;
    case PARE_POST_LEAKY_RELU: return x > 0 ? x : p->alpha * x;
    case PARE_POST_SIGMOID: return 1 / (1 + exp(-x));
    case PARE_POST_TANH: return tanh(x);
    case PARE_POST_HARD_SWISH: return x * fmin(fmax(x / 6 + 0.5, 0), 1);
    case PARE_POST_HARD_SIGMOID: return fmin(fmax(p->alpha * x + p->beta, 0), 1);
    case PARE_POST_SWISH: return x / (1 + exp(-x));
    case PARE_POST_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case PARE_POST_ELU: return x > 0 ? x : p->alpha * (exp(x) - 1);
    case PARE_POST_ADD: return x + other;
    default: return x * other;
    }
}

static inline void *device_memory(uint64_t bytes) {
    void *p = NULL;
    assert_int_equal(the_backend->alloc(the_device, bytes, &p), PARE_OK);
    assert_int_equal(the_backend->fill(the_device, p, 0xff, bytes), PARE_OK); /* NaN, wherever nobody writes */
    return p;
}

static inline void reorder(const pare_operand *like, pare_layout from, pare_layout to, const void *src, void *dst) {
    pare_operand a = *like, b = *like;
    a.layout = from;
    b.layout = to;
    a.data = NULL;
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
    return (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = ref_count(o) * sizeof(float)};
}

/* An input in the layout that a convolution would leave it in. */
static inline void find_own_layout(case_operand *c) {
    pare_operand x = c->o, y = c->o;
    int64_t wd[5] = {c->dims[1], c->dims[1], 1, 1, 1};
    float *w = calloc((size_t)(wd[0] * wd[1]), sizeof *w);
    assert_non_null(w);
    pare_operand k = {.size = sizeof k,
                      .flags = PARE_OPERAND_CONSTANT,
                      .dtype = PARE_FLOAT,
                      .ndim = c->o.ndim,
                      .dims = wd,
                      .data = w};
    x.layout.kind = y.layout.kind = PARE_LAYOUT_ANY;
    const pare_operand *in[] = {&x, &k}, *out[] = {&y};
    pare_kernel_spec s = {.size = sizeof s,
                          .op_type = "Conv",
                          .domain = "",
                          .version = 21,
                          .node = "c",
                          .in = in,
                          .out = out,
                          .n_in = 2,
                          .n_out = 1};
    void *kernel;
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, &s, 0, &kernel), PARE_OK);
    assert_int_equal(the_backend->kernel_info(kernel, &info), PARE_OK);
    c->o.layout = info.out[0];
    the_backend->kernel_free(kernel);
    free(w);
}

static inline bool case_has_kernel(void) {
    void *k;
    if (the_backend->kernel(the_device, &the_case.spec, the_case.candidate, &k)) return false;
    the_backend->kernel_free(k);
    return true;
}

/* Runs the case on the plugin, result in the_case.out.data. */
static inline void run_backend(const char *prefix) {
    pare_kernel_spec *s = &the_case.spec;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (the_case.own >> i & 1 && the_case.in[i].o.ndim == 4 && !the_case.in[i].o.flags)
            find_own_layout(&the_case.in[i]);
    void *k, *held[CASE_MAX] = {0}, *scratch;
    const void *in[CASE_MAX] = {0};
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, s, the_case.candidate, &k), PARE_OK);
    assert_int_equal(the_backend->kernel_info(k, &info), PARE_OK);
    the_case.done_posts = info.n_post;
    strncpy(the_case.name, info.name, sizeof the_case.name - 1);
    if (strncmp(info.name, prefix, strlen(prefix)) != 0) fail_msg("%s is done by %s", s->op_type, info.name);
    for (uint32_t i = 0; i < s->n_in; i++) {
        const pare_operand *o = s->in[i];
        if (o->flags & PARE_OPERAND_ABSENT) continue;
        uint64_t plain = ref_count(o) * sizeof(float);
        if (info.pack && info.pack[i]) {
            in[i] = held[i] = device_memory(info.pack[i]);
            assert_int_equal(the_backend->pack(k, i, the_case.in[i].data, held[i]), PARE_OK);
        } else if (info.in[i].kind == PARE_LAYOUT_OWN) {
            in[i] = held[i] = device_memory(info.in[i].nbytes);
            reorder(o, plain_layout(o), info.in[i], the_case.in[i].data, held[i]);
        } else {
            in[i] = held[i] = device_memory(plain);
            assert_int_equal(the_backend->copy(the_device, held[i], the_case.in[i].data, plain, PARE_COPY_TO_DEVICE),
                             PARE_OK);
        }
    }
    const pare_operand *y = s->out[0];
    uint64_t plain = ref_count(y) * sizeof(float);
    bool own = info.out[0].kind == PARE_LAYOUT_OWN;
    void *out = device_memory(own ? info.out[0].nbytes : plain);
    scratch = info.scratch ? device_memory(info.scratch) : NULL;
    for (int again = 0; again < 2; again++) assert_int_equal(the_backend->run(k, in, &out, scratch), PARE_OK);
    assert_int_equal(the_backend->sync(the_device), PARE_OK);
    if (own)
        reorder(y, info.out[0], plain_layout(y), out, the_case.out.data);
    else
        assert_int_equal(the_backend->copy(the_device, the_case.out.data, out, plain, PARE_COPY_TO_HOST), PARE_OK);
    if (info.in_place >= 0 && !(s->in[info.in_place]->flags & PARE_OPERAND_CONSTANT)) { /* once more, over that input */
        float *first = malloc(plain);
        assert_non_null(first);
        memcpy(first, the_case.out.data, plain);
        void *over = held[info.in_place];
        assert_int_equal(info.in[info.in_place].kind, info.out[0].kind);
        assert_int_equal(the_backend->run(k, in, &over, scratch), PARE_OK);
        if (own)
            reorder(y, info.out[0], plain_layout(y), over, the_case.out.data);
        else
            memcpy(the_case.out.data, over, plain);
        assert_memory_equal(first, the_case.out.data, plain);
        free(first);
    }
    the_backend->free(the_device, scratch);
    the_backend->free(the_device, out);
    for (uint32_t i = 0; i < s->n_in; i++) the_backend->free(the_device, held[i]);
    the_backend->kernel_free(k);
}

/* The kernel's name begins with `prefix`; every element within `tolerance` of the plain kernel's, taken relative to the
 * largest of them. */
static inline void case_check(const char *prefix, double tolerance) {
    pare_kernel_spec s = the_case.spec;
    uint64_t n = ref_count(&the_case.out.o);
    float *want = malloc(n * sizeof *want);
    assert_non_null(want);
    const void *in[CASE_MAX] = {0};
    void *out[] = {want};
    for (uint32_t i = 0; i < s.n_in; i++) in[i] = the_case.in[i].data;
    run_backend(prefix);
    s.n_post = 0;
    const ref_op *op = ref_find(s.domain, s.op_type);
    assert_non_null(op);
    const ref_call call = {&s, in, out};
    assert_int_equal(op->run(&call), PARE_OK);
    double largest = 0;
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)want[i];
        for (uint32_t p = 0; p < the_case.done_posts; p++) {
            const pare_post_op *post = &the_case.post[p];
            bool two = post->kind == PARE_POST_ADD || post->kind == PARE_POST_MUL;
            x = post_of(post, x, two ? (double)the_case.in[post->operand].data[i] : 0);
        }
        want[i] = (float)x;
        largest = fmax(largest, fabs(x));
    }
    for (uint64_t i = 0; i < n; i++) {
        double error = fabs((double)the_case.out.data[i] - (double)want[i]);
        if (!(error <= tolerance * largest)) /* a NaN is none of these */
            fail_msg("%s (first post-op %u) by %s: element %llu is %.9g, %.9g is right", s.op_type,
                     s.post[0] ? s.post[0]->kind : 99, the_case.name, (unsigned long long)i,
                     (double)the_case.out.data[i], (double)want[i]);
    }
    free(want);
}

static inline const pare_backend *case_open_plugin(const char *path) {
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol;
    if (!object || !(symbol = dlsym(object, "pare_plugin_v1"))) return NULL;
    const pare_plugin *(*entry)(void);
    memcpy(&entry, &symbol, sizeof entry);
    return entry()->backends[0];
}

static inline int case_setup(void **state) {
    (void)state;
    const char *other = getenv("PARE_TEST_CPU"); /* built against another oneDNN */
    the_backend = case_open_plugin(other && *other ? other : PARE_CPU_PLUGIN);
    if (!the_backend) return -1;
    pare_device_opts opts = {.size = sizeof opts, .threads = 2};
    if (the_backend->open(&the_host, &opts, &the_device)) return -1;
    print_message("%s\n", the_backend->describe(the_device));
    const char *major = getenv("PARE_TEST_ONEDNN"); /* "3": it must be oneDNN 3.x that is tried */
    if (major && strncmp(the_backend->describe(the_device) + strlen("oneDNN "), major, strlen(major)) != 0) return -1;
    return 0;
}

static inline int case_teardown(void **state) {
    (void)state;
    case_drop();
    the_backend->close(the_device);
    return 0;
}

#endif
