/* test_grad_kernels.c - the cpu plugin's kernels of training against the plain C ones: several shapes, plain and in the
 * plugin's own layouts, in place, with masks, twice the same bytes. Run again as on a machine that has AVX2 only.
 *
 * Tolerances are relative to the largest element of the right result: 1e-5 for sums over a map or a batch, 1e-6 for one
 * product or two.
 */
#include "backend_case.h"

#include <pare/grad_ops.h>
#include <stdio.h>

enum { IN_MOST = 8, OUT_MOST = 5 };

static struct {
    pare_kernel_spec spec;
    case_operand in[IN_MOST], out[OUT_MOST];
    const pare_operand *ins[IN_MOST], *outs[OUT_MOST];
    pare_named_attribute attrs[12];
    const pare_named_attribute *attr_list[12];
    int64_t ints[12][6];
    int over[OUT_MOST]; /* the input that an output may be written over; -1: none */
    bool own;           /* activations come in, and go out, in layouts of the plugin */
    int weights;        /* an input that is none: weights; -1: none */
    uint32_t candidate;
    char name[64];
} the;

static void drop(void) {
    for (int i = 0; i < IN_MOST; i++) free(the.in[i].data);
    for (int i = 0; i < OUT_MOST; i++) free(the.out[i].data);
    memset(&the, 0, sizeof the);
}

static void begin(const char *op, const char *domain, bool own) {
    drop();
    the.own = own;
    the.weights = -1;
    the.spec = (pare_kernel_spec){.size = sizeof the.spec,
                                  .op_type = op,
                                  .domain = domain,
                                  .version = *domain ? 1 : 21,
                                  .node = op,
                                  .attrs = the.attr_list,
                                  .in = the.ins,
                                  .out = the.outs};
    for (int i = 0; i < OUT_MOST; i++) the.over[i] = -1;
}

static float *in(const int64_t *dims, uint32_t ndim) {
    uint32_t i = the.spec.n_in++;
    operand(&the.in[i], dims, ndim, 0);
    the.ins[i] = &the.in[i].o;
    return the.in[i].data;
}

/* Its dims alone are known. */
static void in_dims(const int64_t *dims, uint32_t ndim) {
    in(dims, ndim);
    the.in[the.spec.n_in - 1].o.flags = PARE_OPERAND_ABSENT;
}

static void in_none(void) {
    in(NULL, 0);
    the.in[the.spec.n_in - 1].o.flags = PARE_OPERAND_ABSENT;
    the.in[the.spec.n_in - 1].o.dtype = 0;
}

static void in_bytes(uint32_t dtype, const int64_t *dims, uint32_t ndim, const void *data) {
    uint32_t i = the.spec.n_in;
    in(dims, ndim);
    case_operand *c = &the.in[i];
    uint64_t bytes = pare_nbytes(dtype, ref_count(&c->o));
    free(c->data);
    c->data = malloc(bytes + 1);
    assert_non_null(c->data);
    memcpy(c->data, data, bytes);
    c->o.dtype = dtype;
    c->o.layout.nbytes = bytes;
}

static void out(const int64_t *dims, uint32_t ndim, int over) {
    uint32_t i = the.spec.n_out++;
    operand(&the.out[i], dims, ndim, 0);
    the.out[i].o.layout.kind = over >= 0 ? PARE_LAYOUT_PLAIN : PARE_LAYOUT_ANY;
    the.outs[i] = &the.out[i].o;
    the.over[i] = over;
}

static void out_none(void) {
    out(NULL, 0, -1);
    the.out[the.spec.n_out - 1].o.flags = PARE_OPERAND_ABSENT;
}

static pare_attribute *attr(const char *name, uint32_t type, uint64_t n) {
    uint32_t i = the.spec.n_attrs++;
    the.attrs[i] =
        (pare_named_attribute){.name = name, .value = {.size = sizeof(pare_attribute), .type = type, .n = n}};
    the.attr_list[i] = &the.attrs[i];
    return &the.attrs[i].value;
}
static void attr_int(const char *name, int64_t x) { attr(name, PARE_ATTRIBUTE_INT, 1)->i = x; }
static void attr_float(const char *name, double x) { attr(name, PARE_ATTRIBUTE_FLOAT, 1)->f = x; }
static void attr_text(const char *name, const char *x) { attr(name, PARE_ATTRIBUTE_STRING, strlen(x))->s = x; }
static void attr_ints(const char *name, const int64_t *x, uint64_t n) {
    int64_t *kept = the.ints[the.spec.n_attrs];
    memcpy(kept, x, n * sizeof *x);
    attr(name, PARE_ATTRIBUTE_INTS, n)->ints = kept;
}

static uint64_t bytes_of(const pare_operand *o) { return pare_nbytes(o->dtype, ref_count(o)); }

/* ---- running ---- */

typedef struct lane {
    void *kernel, *scratch, *in[IN_MOST], *out[OUT_MOST];
    pare_kernel_info info;
} lane;

static void fetch(const lane *l, uint32_t i, const void *from, void *to) {
    const pare_operand *o = the.outs[i];
    if (l->info.out[i].kind == PARE_LAYOUT_OWN)
        reorder(o, l->info.out[i], plain_layout(o), from, to);
    else
        memcpy(to, from, bytes_of(o));
}

static void open_lane(lane *l) {
    pare_kernel_spec *s = &the.spec;
    *l = (lane){.info = {.size = sizeof l->info}};
    for (uint32_t i = 0; the.own && i < s->n_in; i++)
        if ((int)i != the.weights && the.in[i].o.ndim == 4 && !the.in[i].o.flags && the.in[i].dims[1] > 4)
            find_own_layout(&the.in[i]);
    pare_status st = the_backend->kernel(the_device, s, the.candidate, &l->kernel);
    if (st) fail_msg("%s: no kernel, candidate %u: %d", s->op_type, the.candidate, (int)st);
    assert_int_equal(the_backend->kernel_info(l->kernel, &l->info), PARE_OK);
    snprintf(the.name, sizeof the.name, "%s", l->info.name);
    if (strncmp(the.name, "ref", 3) == 0) fail_msg("%s is done by %s", s->op_type, the.name);
    for (uint32_t i = 0; i < s->n_in; i++) {
        const pare_operand *o = s->in[i];
        if (o->flags & PARE_OPERAND_ABSENT) continue;
        bool own = l->info.in[i].kind == PARE_LAYOUT_OWN;
        l->in[i] = device_memory(own ? l->info.in[i].nbytes : bytes_of(o));
        if (own)
            reorder(o, plain_layout(o), l->info.in[i], the.in[i].data, l->in[i]);
        else
            memcpy(l->in[i], the.in[i].data, bytes_of(o));
    }
    for (uint32_t i = 0; i < s->n_out; i++) {
        if (s->out[i]->flags & PARE_OPERAND_ABSENT) continue;
        bool own = l->info.out[i].kind == PARE_LAYOUT_OWN;
        l->out[i] = device_memory(own ? l->info.out[i].nbytes : bytes_of(s->out[i]));
    }
    l->scratch = l->info.scratch ? device_memory(l->info.scratch) : NULL;
}

static void run_lane(const lane *l, void *const *to) {
    const void *from[IN_MOST];
    for (int i = 0; i < IN_MOST; i++) from[i] = l->in[i];
    assert_int_equal(the_backend->run(l->kernel, from, to, l->scratch), PARE_OK);
    assert_int_equal(the_backend->sync(the_device), PARE_OK);
}

static void close_lane(lane *l) {
    for (int i = 0; i < IN_MOST; i++) the_backend->free(the_device, l->in[i]);
    for (int i = 0; i < OUT_MOST; i++) the_backend->free(the_device, l->out[i]);
    the_backend->free(the_device, l->scratch);
    the_backend->kernel_free(l->kernel);
}

/* Over the inputs that outputs may be written over: the same bytes. */
static void in_place(lane *l, void *const *first) {
    void *to[OUT_MOST];
    memcpy(to, l->out, sizeof to);
    if (l->info.in_place >= 0 && the.spec.n_out && l->out[0] &&
        l->info.in[l->info.in_place].kind == l->info.out[0].kind)
        to[0] = l->in[l->info.in_place];
    for (uint32_t i = 0; i < the.spec.n_out; i++)
        if (the.over[i] >= 0 && l->out[i]) to[i] = l->in[the.over[i]];
    run_lane(l, to);
    for (uint32_t i = 0; i < the.spec.n_out; i++) {
        if (!l->out[i]) continue;
        fetch(l, i, to[i], the.out[i].data);
        if (memcmp(first[i], the.out[i].data, bytes_of(the.outs[i])) != 0)
            fail_msg("%s by %s: output %u is another one in place", the.spec.op_type, the.name, i);
    }
}

static void check(double tolerance) {
    pare_kernel_spec *s = &the.spec;
    const void *from[IN_MOST] = {0};
    void *want[OUT_MOST] = {0}, *got[OUT_MOST] = {0};
    lane l;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (!(s->in[i]->flags & PARE_OPERAND_ABSENT)) from[i] = the.in[i].data;
    for (uint32_t i = 0; i < s->n_out; i++)
        if (!(s->out[i]->flags & PARE_OPERAND_ABSENT)) {
            want[i] = calloc(1, bytes_of(s->out[i]) + 1);
            got[i] = calloc(1, bytes_of(s->out[i]) + 1);
        }
    const ref_op *op = ref_find(s->domain, s->op_type);
    assert_non_null(op);
    const ref_call call = {s, from, want};
    assert_int_equal(op->run(&call), PARE_OK);
    open_lane(&l);
    run_lane(&l, l.out);
    for (uint32_t i = 0; i < s->n_out; i++)
        if (want[i]) fetch(&l, i, l.out[i], got[i]);
    for (uint32_t i = 0; i < s->n_out; i++) {
        double largest = 0;
        const float *w = want[i], *g = got[i];
        uint64_t n = w ? ref_count(s->out[i]) : 0;
        for (uint64_t k = 0; k < n; k++) largest = fmax(largest, fabs((double)w[k]));
        for (uint64_t k = 0; k < n; k++)
            if (!(fabs((double)g[k] - (double)w[k]) <= tolerance * largest))
                fail_msg("%s by %s%s: output %u, element %llu is %.9g, %.9g is right", s->op_type, the.name,
                         the.own ? " (own)" : "", i, (unsigned long long)k, (double)g[k], (double)w[k]);
    }
    in_place(&l, got);
    for (uint32_t i = 0; i < s->n_out; i++) {
        free(want[i]);
        free(got[i]);
    }
    close_lane(&l);
}

#define DIMS(...) ((const int64_t[]){__VA_ARGS__}), sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)
#define GRAD PARE_GRAD_DOMAIN

/* ---- convolution ---- */

typedef struct conv {
    int64_t n, ic, oc, h, w, k, stride, pad, group, dilation;
} conv;

static const conv convs[] = {
    {2, 1, 16, 9, 9, 7, 2, 3, 1, 1},     {3, 16, 32, 7, 7, 3, 1, 1, 1, 1},   {4, 32, 32, 4, 4, 3, 2, 1, 1, 1},
    {5, 32, 48, 2, 2, 3, 2, 1, 1, 1},    {7, 48, 32, 1, 1, 3, 1, 1, 1, 1},   {6, 32, 64, 1, 1, 1, 1, 0, 1, 1},
    {3, 24, 40, 5, 6, 1, 2, 0, 1, 1},    {2, 3, 8, 8, 5, 3, 1, 1, 1, 1},     {3, 10, 7, 6, 6, 5, 1, 2, 1, 1},
    {4, 32, 32, 7, 7, 3, 1, 1, 32, 1},   {3, 24, 24, 4, 4, 3, 2, 1, 24, 1},  {5, 40, 40, 1, 1, 3, 1, 1, 40, 1},
    {3, 16, 32, 5, 5, 3, 1, 1, 4, 1},    {2, 16, 16, 9, 9, 3, 1, 2, 1, 2},   {3, 48, 48, 2, 2, 5, 2, 2, 48, 1},
    {2, 8, 16, 6, 6, 3, 1, 1, 8, 1},     {9, 17, 33, 1, 1, 3, 1, 1, 1, 1},   {4, 64, 64, 2, 2, 3, 1, 1, 1, 1},
    {39, 16, 48, 2, 2, 3, 1, 1, 1, 1},   {28, 32, 16, 2, 2, 3, 2, 1, 1, 1},  {36, 16, 33, 3, 2, 1, 1, 0, 1, 1},
    {40, 16, 16, 4, 4, 3, 2, 1, 1, 1},   {39, 40, 40, 2, 2, 3, 1, 1, 40, 1}, {11, 20, 20, 7, 7, 3, 2, 1, 20, 1},
    {2, 32, 32, 17, 17, 3, 1, 1, 32, 1}, {3, 24, 24, 9, 9, 3, 1, 3, 24, 2},  {37, 48, 24, 3, 3, 1, 1, 0, 1, 1},
    {38, 80, 16, 2, 1, 1, 1, 0, 1, 1},   {5, 40, 48, 20, 20, 1, 1, 0, 1, 1},
};

static int64_t reach(const conv *c, int64_t in_size) {
    return (in_size + 2 * c->pad - (c->k - 1) * c->dilation - 1) / c->stride + 1;
}

static void conv_attrs(const conv *c) {
    attr_int("group", c->group);
    attr_ints("strides", (const int64_t[]){c->stride, c->stride}, 2);
    attr_ints("dilations", (const int64_t[]){c->dilation, c->dilation}, 2);
    attr_ints("pads", (const int64_t[]){c->pad, c->pad, c->pad, c->pad}, 4);
}

static bool has_candidate(void) {
    void *k;
    if (the_backend->kernel(the_device, &the.spec, the.candidate, &k)) return false;
    the_backend->kernel_free(k);
    return true;
}

/* what: 0 forward, 1 by input, 2 by weight, 3 by weight and bias */
static void make_conv(const conv *c, int what, bool own) {
    const int64_t x[] = {c->n, c->ic, c->h, c->w}, w[] = {c->oc, c->ic / c->group, c->k, c->k};
    const int64_t y[] = {c->n, c->oc, reach(c, c->h), reach(c, c->w)};
    if (what == 0) {
        begin("Conv", "", own);
        in(x, 4);
        in(w, 4);
        in(DIMS(c->oc));
        out(y, 4, -1);
    } else if (what == 1) {
        begin("ConvGradInput", GRAD, own);
        in(y, 4);
        in(w, 4);
        in_dims(x, 4);
        out(x, 4, -1);
    } else {
        begin("ConvGradWeight", GRAD, own);
        in(y, 4);
        in(x, 4);
        in_dims(w, 4);
        out(w, 4, -1);
        if (what == 3) out(DIMS(c->oc), -1);
    }
    the.weights = what < 2 ? 1 : -1;
    conv_attrs(c);
}

static void convolutions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (int what = 0; what < 4; what++)
            for (uint32_t candidate = 0; candidate < 9; candidate++) {
                make_conv(&convs[i], what, candidate & 1);
                the.candidate = candidate;
                /* Winograd's sums lose a digit more. */
                if (!candidate || has_candidate()) check(2e-5);
            }
}

/* ---- normalization ---- */

static const int64_t maps[][4] = {{3, 32, 5, 5},  {4, 20, 3, 7},   {9, 64, 1, 1},
                                  {2, 7, 20, 20}, {300, 16, 2, 2}, {6, 90, 3, 3}};

static void batch_norms(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        for (int form = 0; form < 16; form++) {
            const int64_t *d = maps[i], c = d[1];
            bool own = form & 1, relu = form & 2, high = form & 4,
                 anew = form & 8; /* anew: y comes of x and the bias */
            if (anew && !relu) continue;
            begin("BatchNormTrain", GRAD, own);
            float *x = in(d, 4);
            for (int64_t k = 0; k < d[0] * c * d[2] * d[3]; k++)
                x[k] = x[k] * 0.5f + 1.5f; /* a mean to lose digits by */
            for (int k = 0; k < 4; k++) in(DIMS(c));
            out(d, 4, -1);
            out(DIMS(c), 3);
            out(DIMS(c), 4);
            out(DIMS(c), -1);
            out(DIMS(c), -1);
            attr_int("relu", relu);
            if (high) attr_float("high", 0.4);
            attr_float("momentum", 0.75);
            attr_float("epsilon", 1e-3);
            check(3e-6);
            begin("BatchNormTrain", GRAD, own); /* y alone, once more */
            in(d, 4);
            for (int k = 0; k < 2; k++) in(DIMS(c));
            out(d, 4, -1);
            attr_int("relu", relu);
            if (high) attr_float("high", 0.4);
            check(3e-6);
            begin("BatchNormGrad", GRAD, own);
            for (int k = 0; k < 2; k++) in(d, 4);
            for (int k = 0; k < 3; k++) in(DIMS(c));
            for (int64_t k = 0; k < c; k++) the.in[4].data[k] = fabsf(the.in[4].data[k]) + 0.5f;
            if (relu && !anew)
                in(d, 4);
            else
                in_none();
            if (anew) in(DIMS(c));
            attr_int("relu", relu);
            if (high) attr_float("high", 0.4);
            out(d, 4, -1);
            out(DIMS(c), -1);
            if (form == 7)
                out_none();
            else
                out(DIMS(c), -1);
            check(1e-5);
        }
}

/* ---- pooling ---- */

static void pools(void **state) {
    (void)state;
    static const struct {
        int64_t h, w, k, stride, pad, dilation, oh, ow;
        int ceil;
    } p[] = {{14, 14, 3, 2, 1, 1, 7, 7, 0}, {5, 6, 2, 2, 0, 1, 2, 3, 0}, {5, 5, 3, 1, 1, 1, 5, 5, 0},
             {6, 6, 2, 1, 0, 2, 4, 4, 0},   {5, 5, 2, 2, 0, 1, 3, 3, 1}, {3, 3, 3, 1, 0, 1, 1, 1, 0}};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++)
        for (int form = 0; form < 6; form++) {
            int64_t c = form < 4 ? 32 : 19;
            const int64_t x[] = {3, c, p[i].h, p[i].w}, y[] = {3, c, p[i].oh, p[i].ow};
            bool max = form & 1, own = form >= 2;
            if (!max && p[i].dilation > 1) continue;
            begin(max ? "MaxPoolGrad" : "AveragePoolGrad", GRAD, own);
            in(y, 4);
            if (max)
                for (float *v = in(x, 4), *e = v + 3 * c * p[i].h * p[i].w; v < e; v++) *v = rintf(*v * 3); /* ties */
            else
                in_dims(x, 4);
            out(x, 4, -1);
            attr_ints("kernel_shape", (const int64_t[]){p[i].k, p[i].k}, 2);
            attr_ints("strides", (const int64_t[]){p[i].stride, p[i].stride}, 2);
            attr_ints("dilations", (const int64_t[]){p[i].dilation, p[i].dilation}, 2);
            attr_ints("pads", (const int64_t[]){p[i].pad, p[i].pad, p[i].pad, p[i].pad}, 4);
            attr_int("ceil_mode", p[i].ceil);
            if (!max) attr_int("count_include_pad", (int64_t)(i & 1));
            check(1e-6);
        }
    for (int form = 0; form < 4; form++) {
        int64_t c = form & 1 ? 3 : 40;
        begin("GlobalAveragePoolGrad", GRAD, form >= 2);
        in(DIMS(2, c, 1, 1));
        in_dims(DIMS(2, c, 3, 4));
        out(DIMS(2, c, 3, 4), -1);
        check(1e-6);
    }
}

/* ---- activations ---- */

static void activations(void **state) {
    (void)state;
    static const char *const ops[] = {"ReluGrad",      "LeakyReluGrad", "EluGrad",      "SeluGrad",
                                      "SigmoidGrad",   "TanhGrad",      "SoftplusGrad", "HardSigmoidGrad",
                                      "HardSwishGrad", "GeluGrad",      "MishGrad",     "ClipGrad"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int form = 0; form < 4; form++) {
            begin(ops[i], GRAD, form & 1);
            const int64_t d[] = {2, form & 2 ? 21 : 32, 5, 7};
            in(d, 4);
            float *v = in(d, 4);
            for (int64_t k = 0; k < 2 * d[1] * 35; k++) v[k] *= k % 7 ? 4.0f : 20.0f;
            if (strcmp(ops[i], "ClipGrad") == 0) {
                *in(NULL, 0) = -1.5f;
                if (form & 2)
                    in_none();
                else
                    *in(NULL, 0) = 2.5f;
            }
            if (strcmp(ops[i], "GeluGrad") == 0 && form & 2) attr_text("approximate", "tanh");
            out(d, 4, -1);
            check(2e-6);
        }
}

/* ---- what moves weights ---- */

/* hyper, norm and mask behind the tensors of a step; n elements. */
static void step_inputs(int64_t n, double step, bool clip, bool mask, bool adam) {
    const double h[] = {0.05, 0.9, 0.99, 1e-3, 0.01, clip ? 0.7 : 0, step, 0.5};
    static uint8_t bits[1000];
    in_bytes(PARE_DOUBLE, DIMS(8), h);
    if (clip)
        *in(NULL, 0) = 3.0f;
    else
        in_none();
    for (size_t i = 0; i < sizeof bits; i++) bits[i] = (uint8_t)(i * 37 + 11);
    if (mask) in_bytes(PARE_UINT8, DIMS((n + 7) / 8), bits);
    if (adam) /* second moments are positive */
        for (int64_t i = 0; i < n; i++) the.in[3].data[i] = fabsf(the.in[3].data[i]);
    attr_float("lr_mult", 0.5);
    attr_float("decay_mult", 2);
}

static void updates(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 15, 64, 1024, 2500, 7001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int form = 0; form < 64; form++) {
            int64_t n = sizes[i];
            bool velocity = form & 1, mask = form & 2, clip = form & 4, adam = form & 32;
            begin(adam ? "AdamUpdate" : "SgdUpdate", GRAD, false);
            for (int k = 0; k < (adam ? 4 : 2); k++) in(DIMS(n));
            if (!adam && velocity)
                in(DIMS(n));
            else if (!adam)
                in_none();
            step_inputs(n, form & 8 ? 1 : 7, clip, mask, adam);
            attr_int("nesterov", form >> 4 & 1);
            attr_int("decoupled", form & 1);
            out(DIMS(n), 0);
            if (adam || velocity) out(DIMS(n), 2);
            if (adam) out(DIMS(n), 3);
            check(2e-6);
            const uint8_t *bits = mask ? (const uint8_t *)the.in[the.spec.n_in - 1].data : NULL;
            for (uint32_t o = 0; o < the.spec.n_out; o++)
                for (int64_t k = 0; mask && k < n; k++) {
                    uint32_t word;
                    memcpy(&word, &the.out[o].data[k], sizeof word);
                    if (!(bits[k / 8] >> k % 8 & 1)) assert_int_equal(word, 0); /* +0.0 */
                }
        }
    for (int form = 0; form < 2; form++) {
        begin("Accumulate", GRAD, false);
        for (int k = 0; k < 2; k++) in(DIMS(3, 1001));
        if (form) the.in[0].data[5] = NAN; /* what was there before counts for nothing */
        attr_int("first", form);
        out(DIMS(3, 1001), 0);
        if (form) /* in place the NaN is gone */
            the.over[0] = -1;
        check(1e-6);
        begin("EmaUpdate", GRAD, false);
        for (int k = 0; k < 2; k++) in(DIMS(40000));
        *in(NULL, 0) = 0.99f;
        out(DIMS(40000), 0);
        the.over[0] = -1;
        check(1e-6);
    }
    begin("GlobalNorm", GRAD, false);
    in(DIMS(70000));
    in(DIMS(3));
    in_none();
    in(DIMS(5, 7, 3));
    out(NULL, 0, -1);
    check(1e-6);
    the.in[1].data[2] = INFINITY;
    lane l;
    open_lane(&l);
    run_lane(&l, l.out);
    assert_true(isinf(*(float *)l.out[0]));
    close_lane(&l);
    /* what masks keep at 0 does not count, whatever it is */
    static uint8_t bits[70003 / 8 + 1];
    for (size_t i = 0; i < sizeof bits; i++) bits[i] = (uint8_t)(i * 37 + 10);
    begin("GlobalNorm", GRAD, false);
    attr_int("gradients", 4);
    in(DIMS(70003))[0] = NAN;
    in(DIMS(3));
    in_none();
    in(DIMS(5, 7, 3))[8] = INFINITY;
    in_bytes(PARE_UINT8, DIMS((int64_t)sizeof bits), bits);
    in_none();
    in_none();
    in_bytes(PARE_UINT8, DIMS(14), bits + 1);
    out(NULL, 0, -1);
    check(1e-6);
    double sum = 0;
    for (uint32_t i = 0; i < 4; i += i + 1) /* 0, 1, 3 */
        for (uint64_t k = 0; k < ref_count(&the.in[i].o); k++) {
            const uint8_t *mask = i == 0 ? bits : i == 3 ? bits + 1 : NULL;
            double g = (double)the.in[i].data[k];
            if (!mask || mask[k / 8] >> k % 8 & 1) sum += g * g;
        }
    open_lane(&l);
    run_lane(&l, l.out);
    assert_true(fabs((double)*(float *)l.out[0] - sqrt(sum)) < 1e-5 * sqrt(sum));
    close_lane(&l);
}

/* ---- rows ---- */

static void rows(void **state) {
    (void)state;
    static const int64_t dims[][3] = {{2, 3, 16}, {1, 5, 7}, {4, 1, 100}, {3, 20, 33}, {1, 1, 1}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        const int64_t *d = dims[i], n = d[0] * d[1] * d[2];
        for (int log = 0; log < 2; log++) {
            begin(log ? "LogSoftmaxGrad" : "SoftmaxGrad", GRAD, false);
            in(d, 3);
            for (float *y = in(d, 3), *e = y + n; y < e; y++) *y = log ? -fabsf(*y) * 3 : fabsf(*y) * 0.1f;
            out(d, 3, -1);
            check(2e-6);
        }
        for (int axis = 1; axis < 3; axis++) {
            begin("LayerNormGrad", GRAD, false);
            in(d, 3);
            for (float *x = in(d, 3), *e = x + n; x < e; x++) *x += 2;
            in(d + axis, 3 - (uint32_t)axis);
            out(d, 3, -1);
            out(d + axis, 3 - (uint32_t)axis, -1);
            out(d + axis, 3 - (uint32_t)axis, -1);
            attr_int("axis", axis);
            if (d[2] > 1) check(2e-5);
        }
        const int64_t m[] = {d[0] * d[1], d[2]}, *labels = NULL;
        int64_t l[64];
        for (int64_t k = 0; k < m[0]; k++) l[k] = k % 3 == 2 && m[0] > 2 ? -5 : k * 7 % d[2];
        labels = l;
        for (int form = 0; form < 4; form++) { /* labels, or targets; mean, or sum */
            bool soft = form & 1;
            if (soft && form & 2) continue;
            for (int grad = 0; grad < 2; grad++) {
                begin(!soft  ? grad ? "SoftmaxCrossEntropyGrad" : "SoftmaxCrossEntropyLoss"
                      : grad ? "SoftCrossEntropyGrad"
                             : "SoftCrossEntropy",
                      soft || grad ? GRAD : "", false);
                if (grad) *in(NULL, 0) = 0.7f;
                for (float *x = in(m, 2), *e = x + n; x < e; x++) *x *= 9;
                if (soft)
                    in(m, 2);
                else
                    in_bytes(PARE_INT64, m, 1, labels);
                if (!soft) attr_int("ignore_index", -5);
                if (!soft) attr_text("reduction", form & 2 ? "sum" : "mean");
                out(m, grad ? 2 : 0, -1);
                check(3e-6);
            }
        }
    }
    static const int64_t sums[][8] = {{6, 5, 37, 1, 1, 1, 37, 1},   {4, 19, 3, 5, 1, 19, 1, 1},
                                      {300, 40, 1, 1, 1, 40, 1, 1}, {4, 19, 3, 5, 1, 1, 1, 1},
                                      {4, 19, 3, 5, 4, 19, 1, 1},   {2, 3, 4, 5, 1, 1, 4, 5}};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        begin("SumTo", GRAD, false);
        in(sums[i], 4);
        in_dims(sums[i] + 4, 4);
        out(sums[i] + 4, 4, -1);
        check(1e-5);
    }
    const int64_t step = 11;
    begin("DropoutTrain", GRAD, false);
    in(DIMS(13, 77));
    in_bytes(PARE_INT64, NULL, 0, &step);
    attr_float("ratio", 0.3);
    attr_int("seed", 5);
    attr_int("stream", 2);
    out(DIMS(13, 77), -1);
    check(1e-6);
}

static int close_all(void **state) {
    drop();
    return case_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions), cmocka_unit_test(batch_norms), cmocka_unit_test(pools),
        cmocka_unit_test(activations),  cmocka_unit_test(updates),     cmocka_unit_test(rows),
    };
    return cmocka_run_group_tests(tests, case_setup, close_all);
}
