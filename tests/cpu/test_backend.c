/* tests/cpu/test_backend.c - the cpu plugin's kernels against the plain C ones, on random data: every layout that a
 * kernel asks for is made with its own Reorder, constants are packed, post-ops are done by hand on the other side. */
#define _POSIX_C_SOURCE 200809L
#include "backend_case.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- convolutions ---- */

typedef struct conv_case {
    uint32_t nd;
    int64_t x[5], w[5];
    int64_t group, stride, dilation, pads[6], out_pad;
    bool bias, transposed;
} conv_case;

static const conv_case convs[] = {
    {2, {1, 3, 33, 31}, {16, 3, 7, 7}, 1, 2, 1, {3, 3, 3, 3}, 0, true, false},
    {2, {2, 64, 14, 14}, {64, 64, 3, 3}, 1, 1, 1, {1, 1, 1, 1}, 0, true, false},
    {2, {1, 32, 9, 9}, {48, 32, 1, 1}, 1, 1, 1, {0, 0, 0, 0}, 0, false, false},
    {2, {1, 32, 9, 9}, {48, 32, 1, 1}, 1, 2, 1, {0, 0, 0, 0}, 0, true, false},
    {2, {2, 24, 13, 11}, {24, 1, 3, 3}, 24, 1, 1, {1, 1, 1, 1}, 0, true, false},
    {2, {1, 24, 13, 11}, {24, 1, 5, 5}, 24, 2, 1, {2, 1, 2, 3}, 0, true, false},
    {2, {1, 12, 10, 10}, {18, 4, 3, 3}, 3, 1, 2, {2, 0, 1, 3}, 0, true, false},
    {2, {1, 5, 8, 8}, {7, 5, 3, 2}, 1, 3, 1, {0, 1, 2, 0}, 0, false, false},
    {2, {1, 1, 6, 6}, {1, 1, 6, 6}, 1, 1, 1, {0, 0, 0, 0}, 0, true, false},
    {1, {2, 8, 50}, {12, 8, 5}, 1, 2, 1, {2, 1}, 0, true, false},
    {3, {1, 4, 6, 7, 8}, {6, 4, 3, 3, 3}, 1, 1, 1, {1, 1, 1, 1, 1, 1}, 0, true, false},
    {2, {1, 16, 7, 7}, {16, 8, 3, 3}, 1, 2, 1, {1, 1, 1, 1}, 1, true, true},
    {2, {1, 16, 7, 7}, {16, 4, 2, 2}, 2, 2, 1, {0, 0, 0, 0}, 0, false, true},
    {2, {2, 8, 5, 6}, {8, 5, 3, 4}, 1, 1, 2, {1, 0, 2, 1}, 0, true, true},
    {1, {1, 6, 20}, {6, 4, 4}, 1, 2, 1, {1, 1}, 0, true, true},
};

static void conv_begin(const conv_case *c, bool weights_fixed) {
    int64_t y[5] = {c->x[0], c->transposed ? c->w[1] * c->group : c->w[0]};
    int64_t strides[3], dilations[3], out_pads[3];
    for (uint32_t i = 0; i < c->nd; i++) {
        int64_t reach = (c->w[2 + i] - 1) * c->dilation + 1, pad = c->pads[i] + c->pads[c->nd + i];
        y[2 + i] = c->transposed ? (c->x[2 + i] - 1) * c->stride + reach - pad + c->out_pad
                                 : (c->x[2 + i] + pad - reach) / c->stride + 1;
        strides[i] = c->stride;
        dilations[i] = c->dilation;
        out_pads[i] = c->out_pad;
    }
    case_begin(c->transposed ? "ConvTranspose" : "Conv");
    case_ints("strides", strides, c->nd);
    case_ints("dilations", dilations, c->nd);
    case_ints("pads", c->pads, 2 * c->nd);
    case_int("group", c->group);
    if (c->out_pad) case_ints("output_padding", out_pads, c->nd);
    case_in(c->x, c->nd + 2, 0);
    case_in(c->w, c->nd + 2, weights_fixed ? PARE_OPERAND_CONSTANT : 0);
    if (c->bias)
        case_in(&y[1], 1, PARE_OPERAND_CONSTANT);
    else
        case_absent();
    case_out(y, c->nd + 2);
}

static void convolutions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (int fixed = 0; fixed < 2; fixed++) {
            bool deep = convs[i].group > 1 && convs[i].group == convs[i].x[1]; /* ours, where weights are trained */
            conv_begin(&convs[i], fixed != 0);
            case_check(deep && !fixed ? "c:" : "dnnl:", 1e-5);
        }
}

static void automatic_padding(void **state) {
    (void)state;
    static const char *const kinds[] = {"SAME_UPPER", "SAME_LOWER", "VALID"};
    for (int i = 0; i < 3; i++) {
        case_begin("Conv");
        case_text("auto_pad", kinds[i]);
        case_ints("strides", (int64_t[]){2, 2}, 2);
        case_in((int64_t[]){1, 8, 10, 9}, 4, 0);
        case_in((int64_t[]){16, 8, 3, 4}, 4, PARE_OPERAND_CONSTANT);
        case_out(i < 2 ? (int64_t[]){1, 16, 5, 5} : (int64_t[]){1, 16, 4, 3}, 4);
        case_check("dnnl:", 1e-5);
    }
}

static void post_ops(void **state) {
    (void)state;
    static const pare_post_op all[] = {
        {.kind = PARE_POST_RELU},
        {.kind = PARE_POST_CLIP, .alpha = 0, .beta = 6},
        {.kind = PARE_POST_LEAKY_RELU, .alpha = 0.1f},
        {.kind = PARE_POST_SIGMOID},
        {.kind = PARE_POST_TANH},
        {.kind = PARE_POST_HARD_SWISH},
        {.kind = PARE_POST_HARD_SIGMOID, .alpha = 0.2f, .beta = 0.5f},
        {.kind = PARE_POST_SWISH},
        {.kind = PARE_POST_GELU},
        {.kind = PARE_POST_ELU, .alpha = 1.5f},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int add = 0; add < 2; add++) {
            for (int which = 0; which < 3; which++) {
                if (which < 2) {
                    conv_begin(&convs[which ? 4 : 1], true);
                } else {
                    case_begin("Gemm");
                    case_in((int64_t[]){5, 24}, 2, 0);
                    case_in((int64_t[]){24, 40}, 2, PARE_OPERAND_CONSTANT);
                    case_in((int64_t[]){40}, 1, PARE_OPERAND_CONSTANT);
                    case_out((int64_t[]){5, 40}, 2);
                }
                if (add) case_post_with(PARE_POST_ADD);
                case_post(all[i]);
                case_check("dnnl:", 1e-5);
                uint32_t left = all[i].kind == PARE_POST_TANH; /* the rest is fused, not left to the engine */
                assert_int_equal(case_done_posts(), add + 1u - left);
            }
        }
}

/* ---- products ---- */

static void products(void **state) {
    (void)state;
    static const struct {
        int64_t a[4], b[4], y[4];
        uint32_t na, nb, ny;
    } m[] = {
        {{5, 7}, {7, 3}, {5, 3}, 2, 2, 2},
        {{1, 64}, {64, 100}, {1, 100}, 2, 2, 2},
        {{2, 3, 5, 7}, {7, 4}, {2, 3, 5, 4}, 4, 2, 4},
        {{2, 3, 5, 7}, {2, 3, 7, 4}, {2, 3, 5, 4}, 4, 4, 4},
        {{3, 5, 7}, {2, 1, 7, 4}, {2, 3, 5, 4}, 3, 4, 4},
        {{7}, {7, 4}, {4}, 1, 2, 1},
        {{5, 7}, {7}, {5}, 2, 1, 1},
        {{7}, {7}, {0}, 1, 1, 0},
        {{6, 197, 64}, {6, 64, 197}, {6, 197, 197}, 3, 3, 3},
    };
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        for (int fixed = 0; fixed < 2; fixed++) {
            case_begin("MatMul");
            case_in(m[i].a, m[i].na, 0);
            case_in(m[i].b, m[i].nb, fixed ? PARE_OPERAND_CONSTANT : 0);
            case_out(m[i].y, m[i].ny);
            case_check("dnnl:", 1e-5);
        }
    for (int t = 0; t < 8; t++) {
        case_begin("Gemm");
        case_int("transA", t & 1);
        case_int("transB", t >> 1 & 1);
        case_in(t & 1 ? (int64_t[]){19, 6} : (int64_t[]){6, 19}, 2, 0);
        case_in(t & 2 ? (int64_t[]){11, 19} : (int64_t[]){19, 11}, 2, t & 4 ? PARE_OPERAND_CONSTANT : 0);
        case_in((int64_t[]){11}, 1, PARE_OPERAND_CONSTANT);
        case_out((int64_t[]){6, 11}, 2);
        case_check("dnnl:", 1e-5);
    }
    case_begin("Gemm"); /* what the fast one leaves */
    case_float("alpha", 0.5);
    case_float("beta", 2);
    case_in((int64_t[]){6, 19}, 2, 0);
    case_in((int64_t[]){19, 11}, 2, PARE_OPERAND_CONSTANT);
    case_in((int64_t[]){6, 1}, 2, 0);
    case_out((int64_t[]){6, 11}, 2);
    case_check("", 1e-5);
}

/* ---- windows, norms ---- */

static void pools(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        case_begin("MaxPool");
        case_ints("kernel_shape", (int64_t[]){3, 3}, 2);
        case_ints("strides", (int64_t[]){2, 2}, 2);
        case_ints("pads", (int64_t[]){1, 1, 1, 1}, 4);
        case_in((int64_t[]){2, 32, 15, 13}, 4, 0);
        case_out((int64_t[]){2, 32, 8, 7}, 4);
        case_own_inputs(own);
        case_check("dnnl:", 0);
        for (int pad = 0; pad < 2; pad++)
            for (int ceil = 0; ceil < 2; ceil++) {
                case_begin("AveragePool");
                case_ints("kernel_shape", (int64_t[]){3, 2}, 2);
                case_ints("strides", (int64_t[]){2, 2}, 2);
                case_ints("pads", (int64_t[]){1, 0, 1, 1}, 4);
                case_int("count_include_pad", pad);
                case_int("ceil_mode", ceil);
                case_in((int64_t[]){1, 16, 12, 9}, 4, 0);
                case_out(ceil ? (int64_t[]){1, 16, 7, 5} : (int64_t[]){1, 16, 6, 5}, 4);
                case_own_inputs(own);
                case_check(pad && ceil ? "" : "dnnl:", 1e-5);
            }
        case_begin("GlobalAveragePool");
        case_in((int64_t[]){2, 48, 7, 7}, 4, 0);
        case_out((int64_t[]){2, 48, 1, 1}, 4);
        case_own_inputs(own);
        case_check("dnnl:", 1e-5);
        case_begin("GlobalMaxPool");
        case_in((int64_t[]){2, 5, 4, 3, 2}, 5, 0);
        case_out((int64_t[]){2, 5, 1, 1, 1}, 5);
        case_check("dnnl:", 0);
    }
}

static void norms(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        case_begin("BatchNormalization");
        case_in((int64_t[]){2, 24, 5, 6}, 4, 0);
        for (int i = 0; i < 4; i++) case_in((int64_t[]){24}, 1, PARE_OPERAND_CONSTANT);
        case_positive(4);
        case_out((int64_t[]){2, 24, 5, 6}, 4);
        case_own_inputs(own);
        case_check("dnnl:", 1e-5);
        case_begin("LRN");
        case_int("size", 5);
        case_float("alpha", 0.01);
        case_in((int64_t[]){1, 32, 6, 6}, 4, 0);
        case_out((int64_t[]){1, 32, 6, 6}, 4);
        case_own_inputs(own);
        case_check("dnnl:", 1e-5);
    }
    for (int axis = 1; axis < 3; axis++) {
        case_begin("LayerNormalization");
        case_int("axis", axis);
        case_in((int64_t[]){3, 5, 48}, 3, 0);
        for (int i = 0; i < 2; i++) case_in(axis == 1 ? (int64_t[]){5, 48} : (int64_t[]){48}, axis == 1 ? 2 : 1, 0);
        case_out((int64_t[]){3, 5, 48}, 3);
        case_check("c:layernorm", 1e-5);
    }
    for (int axis = 0; axis < 3; axis++)
        for (int log = 0; log < 2; log++) {
            case_begin(log ? "LogSoftmax" : "Softmax");
            case_int("axis", axis);
            case_in((int64_t[]){4, 9, 33}, 3, 0);
            case_out((int64_t[]){4, 9, 33}, 3);
            case_check("dnnl:", 1e-5);
        }
}

/* ---- elements ---- */

static void elements(void **state) {
    (void)state;
    static const char *const one[] = {"Relu", "LeakyRelu", "Elu",       "Sigmoid", "Abs",
                                      "Exp",  "Mish",      "HardSwish", "Gelu",    "Sqrt"};
    static const char *const own_loops[] = {"Tanh", "Erf",        "Neg", "Floor",    "Ceil", "Round",      "Sin",
                                            "Cos",  "Reciprocal", "Log", "Softplus", "Sign", "HardSigmoid"};
    static const char *const two[] = {"Add", "Sub", "Mul", "Div", "Min", "Max"};
    for (int own = 0; own < 2; own++) {
        for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
            case_begin(one[i]);
            case_in((int64_t[]){2, 20, 5, 7}, 4, 0);
            if (strcmp(one[i], "Sqrt") == 0) case_positive(0);
            case_out((int64_t[]){2, 20, 5, 7}, 4);
            case_own_inputs(own);
            case_check("dnnl:", 1e-5);
        }
        for (size_t i = 0; i < sizeof own_loops / sizeof *own_loops; i++) {
            case_begin(own_loops[i]);
            case_in((int64_t[]){2, 20, 5, 7}, 4, 0);
            if (i > 7) case_positive(0);
            case_out((int64_t[]){2, 20, 5, 7}, 4);
            case_own_inputs(own);
            case_check("c:", 1e-6);
        }
        for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
            case_begin(two[i]);
            case_in((int64_t[]){2, 20, 5, 7}, 4, 0);
            case_in((int64_t[]){2, 20, 5, 7}, 4, 0);
            case_positive(1);
            case_out((int64_t[]){2, 20, 5, 7}, 4);
            case_own_inputs(own);
            /* Blocks with padding are not divided: 0 / 0 would not stay 0. */
            case_check(!own ? "c:" : strcmp(two[i], "Div") == 0 ? "" : "dnnl:", 1e-6);
        }
    }
    case_begin("Clip");
    case_in((int64_t[]){3, 40}, 2, 0);
    case_in(NULL, 0, PARE_OPERAND_CONSTANT);
    case_set(1, -0.5f);
    case_in(NULL, 0, PARE_OPERAND_CONSTANT);
    case_set(2, 0.25f);
    case_out((int64_t[]){3, 40}, 2);
    case_check("dnnl:", 0);
    static const struct {
        int64_t a[4], b[4], y[4];
        uint32_t na, nb, ny;
    } m[] = {
        {{2, 3, 4, 5}, {5}, {2, 3, 4, 5}, 4, 1, 4},       {{2, 3, 4, 5}, {3, 1, 1}, {2, 3, 4, 5}, 4, 3, 4},
        {{3, 1, 1}, {2, 3, 4, 5}, {2, 3, 4, 5}, 3, 4, 4}, {{4, 1}, {1, 6}, {4, 6}, 2, 2, 2},
        {{2, 1, 4, 1}, {3, 1, 5}, {2, 3, 4, 5}, 4, 3, 4}, {{0}, {2, 5}, {2, 5}, 0, 2, 2},
        {{64, 1000}, {64, 1}, {64, 1000}, 2, 2, 2},       {{0}, {0}, {0}, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        for (size_t k = 0; k < sizeof two / sizeof *two; k++) {
            case_begin(two[k]);
            case_in(m[i].a, m[i].na, 0);
            case_in(m[i].b, m[i].nb, 0);
            case_positive(1);
            case_out(m[i].y, m[i].ny);
            case_check("c:", 1e-6);
        }
}

/* One operand as a convolution leaves it, the other plain and repeated over it. */
static void repeated_over_own_layouts(void **state) {
    (void)state;
    static const int64_t other[][4] = {{2, 20, 1, 1}, {1, 20, 1, 1}, {1, 1, 1, 1}, {2, 1, 5, 7}, {1, 1, 1, 7}};
    static const char *const ops[] = {"Add", "Mul", "Sub", "Div"};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (size_t i = 0; i < sizeof other / sizeof *other; i++)
            for (uint32_t first = 0; first < 2; first++) {
                case_begin(ops[k]);
                for (uint32_t j = 0; j < 2; j++) case_in(j == first ? (int64_t[]){2, 20, 5, 7} : other[i], 4, 0);
                case_positive(1);
                case_out((int64_t[]){2, 20, 5, 7}, 4);
                case_own_input(first);
                case_check("", 1e-6);
            }
}

static void moving(void **state) {
    (void)state;
    static const int64_t perms[][4] = {{0, 2, 1, 3}, {3, 2, 1, 0}, {0, 1, 2, 3}, {1, 0, 3, 2}};
    static const int64_t dims[] = {2, 3, 20, 5};
    for (size_t i = 0; i < sizeof perms / sizeof *perms; i++) {
        case_begin("Transpose");
        case_ints("perm", perms[i], 4);
        case_in(dims, 4, 0);
        int64_t y[4];
        for (int d = 0; d < 4; d++) y[d] = dims[perms[i][d]];
        case_out(y, 4);
        case_check("dnnl:", 0);
    }
    for (int own = 0; own < 2; own++)
        for (int axis = 0; axis < 4; axis++) {
            case_begin("Concat");
            case_int("axis", axis);
            int64_t y[4] = {2, 24, 5, 7};
            for (int i = 0; i < 3; i++) case_in(y, 4, 0);
            y[axis] *= 3;
            case_out(y, 4);
            case_own_inputs(own);
            case_check(own ? "dnnl:" : "", 0);
        }
}

/* ---- the device ---- */

static void memory_has_a_cap(void **state) {
    (void)state;
    pare_device_opts opts = {.size = sizeof opts, .threads = 1, .memory = 1 << 20};
    void *dev, *a, *b, *big;
    assert_int_equal(the_backend->open(&the_host, &opts, &dev), PARE_OK);
    assert_int_equal(the_backend->alloc(dev, 600 << 10, &a), PARE_OK);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal(the_backend->alloc(dev, 600 << 10, &b), PARE_ENOMEM);
    assert_int_equal(the_backend->alloc(dev, UINT64_MAX - 5, &b), PARE_ENOMEM);
    the_backend->free(dev, a);
    assert_int_equal(the_backend->alloc(dev, 600 << 10, &b), PARE_OK);
    assert_int_equal(the_backend->fill(dev, b, 7, 600 << 10), PARE_OK);
    assert_int_equal(((unsigned char *)b)[(600 << 10) - 1], 7);
    the_backend->free(dev, b);
    the_backend->free(dev, NULL);
    assert_int_equal(the_backend->alloc(dev, 0, &b), PARE_OK);
    the_backend->free(dev, b);
    the_backend->close(dev);
    opts.memory = 0;
    assert_int_equal(the_backend->open(&the_host, &opts, &dev), PARE_OK);
    assert_int_equal(the_backend->alloc(dev, (uint64_t)1 << 60, &big), PARE_ENOMEM);
    assert_int_equal(the_backend->alloc(dev, 9 << 20, &big), PARE_OK); /* huge pages */
    assert_int_equal((uintptr_t)big % 64, 0);
    the_backend->free(dev, big);
    the_backend->close(dev);
    opts.index = 1;
    assert_int_equal(the_backend->open(&the_host, &opts, &dev), PARE_EINVAL);
}

static void says_no_quietly(void **state) {
    (void)state;
    void *k;
    int before = the_reports;
    case_begin("NoSuchOp");
    case_in((int64_t[]){2}, 1, 0);
    case_out((int64_t[]){2}, 1);
    assert_int_equal(the_backend->kernel(the_device, case_spec(), 0, &k), PARE_EUNSUPPORTED);
    case_begin("Relu");
    case_in((int64_t[]){2}, 1, 0);
    case_out((int64_t[]){2}, 1);
    assert_int_equal(the_backend->kernel(the_device, case_spec(), 1, &k), PARE_ENOTFOUND);
    conv_begin(&convs[9], true);
    assert_int_equal(the_backend->kernel(the_device, case_spec(), 1, &k), PARE_ENOTFOUND); /* no Winograd in 1-d */
    assert_int_equal(the_backend->count(&the_host), 1);
    assert_int_equal(the_reports, before);
}

/* The thin object alone, away from its implementation: no devices, and an open that says why. */
static void a_lost_implementation_is_said(void **state) {
    (void)state;
    char dir[] = "/tmp/pare-cpu-XXXXXX", path[64], part[4096];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/cpu.so", dir);
    FILE *from = fopen(PARE_CPU_PLUGIN, "rb"), *to = fopen(path, "wb");
    assert_non_null(from);
    assert_non_null(to);
    for (size_t n; (n = fread(part, 1, sizeof part, from)) > 0;) assert_int_equal(fwrite(part, 1, n, to), n);
    fclose(from);
    assert_int_equal(fclose(to), 0);
    const pare_backend *lost = case_open_plugin(path);
    assert_non_null(lost);
    void *dev;
    pare_device_opts opts = {.size = sizeof opts, .threads = 1};
    int before = the_reports;
    assert_int_equal(lost->count(&the_host), 0);
    assert_int_equal(the_reports, before); /* an info */
    assert_int_equal(lost->open(&the_host, &opts, &dev), PARE_EUNSUPPORTED);
    assert_int_equal(the_reports, before + 1);
    remove(path);
    remove(dir);
}

/* resnet18's 3x3 convolutions with a sum and a Relu behind; on maps of at most 28x28, for the oracle's sake. */
static void conv3x3_begin(int64_t channels, int64_t size, uint32_t candidate) {
    const int64_t x[] = {1, channels, size, size}, w[] = {channels, channels, 3, 3}, pads[] = {1, 1, 1, 1};
    case_begin("Conv");
    case_in(x, 4, 0);
    case_in(w, 4, PARE_OPERAND_CONSTANT);
    case_in(&channels, 1, PARE_OPERAND_CONSTANT);
    case_out(x, 4);
    case_ints("pads", pads, 4);
    case_post_with(PARE_POST_ADD);
    case_post((pare_post_op){.kind = PARE_POST_RELU});
    case_candidate(candidate);
}

/* Direct: never Winograd, within 4e-6 of float64; that is what the engine's choosing of kernels builds on. Winograd is
 * the second candidate, and within 1e-5. */
static void errors_against_float64(void **state) {
    static const int64_t shapes[][2] = {{64, 28}, {128, 14}, {256, 14}, {512, 7}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        conv3x3_begin(shapes[i][0], shapes[i][1], 0);
        case_check("dnnl:", 4e-6);
        assert_null(strstr(case_kernel_name(), "wino"));
        assert_int_equal(case_done_posts(), 2);
        conv3x3_begin(shapes[i][0], shapes[i][1], 1);
        if (!case_has_kernel()) continue; /* a CPU without it */
        case_check("dnnl:", 1e-5);
        assert_non_null(strstr(case_kernel_name(), "wino"));
        assert_int_equal(case_done_posts(), 2);
    }
}

static void winograd_is_for_3x3(void **state) {
    const int64_t x[] = {1, 16, 14, 14}, w[] = {16, 16, 1, 1};
    (void)state;
    conv3x3_begin(16, 14, 2); /* there is no third */
    assert_false(case_has_kernel());
    case_begin("Conv");
    case_in(x, 4, 0);
    case_in(w, 4, PARE_OPERAND_CONSTANT);
    case_out(x, 4);
    case_candidate(1);
    assert_false(case_has_kernel());
}

/* An image is taken as it lies, where that is asked for. */
static void few_channels_stay_plain(void **state) {
    const int64_t x[] = {2, 3, 30, 30}, w[] = {16, 3, 7, 7}, y[] = {2, 16, 15, 15}, pads[] = {3, 3, 3, 3},
                  strides[] = {2, 2};
    (void)state;
    case_begin("Conv");
    case_in(x, 4, 0);
    case_in(w, 4, PARE_OPERAND_CONSTANT);
    case_out(y, 4);
    case_ints("pads", pads, 4);
    case_ints("strides", strides, 2);
    case_post((pare_post_op){.kind = PARE_POST_RELU});
    case_check("dnnl:", 2e-6);
    the_case.in[0].o.layout.kind = PARE_LAYOUT_ANY;
    case_check("dnnl:", 2e-6);
}

static void bytes_repeat(void **state) {
    (void)state;
    conv_begin(&convs[1], true);
    case_check("dnnl:", 1e-5);
    uint64_t n;
    float *first = case_result(&n), *copy = malloc(n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, first, n * sizeof *copy);
    for (int i = 0; i < 3; i++) {
        case_check("dnnl:", 1e-5);
        assert_memory_equal(copy, case_result(&n), n * sizeof *copy);
    }
    free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(automatic_padding),
        cmocka_unit_test(post_ops),
        cmocka_unit_test(products),
        cmocka_unit_test(pools),
        cmocka_unit_test(norms),
        cmocka_unit_test(elements),
        cmocka_unit_test(repeated_over_own_layouts),
        cmocka_unit_test(moving),
        cmocka_unit_test(memory_has_a_cap),
        cmocka_unit_test(says_no_quietly),
        cmocka_unit_test(errors_against_float64),
        cmocka_unit_test(winograd_is_for_3x3),
        cmocka_unit_test(few_channels_stay_plain),
        cmocka_unit_test(bytes_repeat),
        cmocka_unit_test(a_lost_implementation_is_said),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
