/* tests/cpu/test_quant.c - the cpu plugin's other 8-bit kernels against plain arithmetic. */
#define _POSIX_C_SOURCE 200809L
#include "quant_case.h"

/* ---- products ---- */

static void products(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 512, 1000}, {5, 7, 3}, {128, 64, 96}, {29, 33, 65}, {1, 4, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 8; kind++) {
            int64_t m = sizes[i][0], k = sizes[i][1], n = sizes[i][2];
            bool gemm = kind & 1, turned = kind & 2, floats = kind & 4;
            uint32_t a = turned ? PARE_INT8 : PARE_UINT8, y = floats ? PARE_FLOAT : PARE_UINT8;
            case_begin(gemm ? "Gemm" : "MatMul", "");
            if (gemm) case_int("transB", 1);
            scaled(case_in(a, (int64_t[]){m, k}, 2, 0), 0.02f, turned ? -9 : 77);
            q_operand *b = case_in(PARE_INT8, gemm ? (int64_t[]){n, k} : (int64_t[]){k, n}, 2, PARE_OPERAND_CONSTANT);
            scaled(b, 0.004f, 0);
            if (n < Q_CHANNELS && !turned) scaled_by_channel(b, gemm ? 0 : 1, 0);
            if (gemm) case_in(PARE_INT32, &n, 1, PARE_OPERAND_CONSTANT);
            q_operand *out = case_out(y, (int64_t[]){m, n}, 2);
            if (!floats) {
                scaled(out, 0.3f, 12);
                post_quantize(0.3f, 12, y);
            }
            case_run("q:matmul");
            q_check check = {0};
            for (int64_t r = 0; r < m; r++)
                for (int64_t c = 0; c < n; c++) {
                    int64_t sum = gemm ? ((int32_t *)the_case.in[2].data)[c] : 0, at = r * n + c;
                    for (int64_t d = 0; d < k; d++)
                        sum += (int64_t)(code(&the_case.in[0], (uint64_t)(r * k + d)) - the_case.in[0].zeros[0]) *
                               code(b, (uint64_t)(gemm ? c * k + d : d * n + c));
                    float scale = 0.02f * b->scales[b->o.n_scales == 1 ? 0 : c];
                    if (floats)
                        assert_true(((float *)out->data)[at] == (float)sum * scale);
                    else
                        check_code(&check, (uint64_t)at, posts_of((double)sum * (double)scale, (uint64_t)at));
                }
            check_end(&check);
        }
}

static void set_scalar(q_operand *q, float x) { memcpy(q->data, &x, sizeof x); }

static void products_of_late_scales(void **state) {
    (void)state;
    for (int kind = 0; kind < 8; kind++) {
        bool bias = kind & 1, turned = kind & 2, columns = kind & 4;
        const int64_t m = 6, k = kind == 3 ? 30 : 64, n = 70, batch = 2;
        case_begin("MatMulIntegerToFloat", "ai.pare");
        case_in(turned ? PARE_INT8 : PARE_UINT8, (int64_t[]){batch, m, k}, 3, 0);
        case_in(PARE_INT8, (int64_t[]){k, n}, 2, PARE_OPERAND_CONSTANT);
        set_scalar(case_in(PARE_FLOAT, NULL, 0, 0), 0.013f);
        q_operand *scale = case_in(PARE_FLOAT, columns ? &n : (int64_t[]){1}, 1, PARE_OPERAND_CONSTANT);
        for (int64_t i = 0; i < (columns ? n : 1); i++) ((float *)scale->data)[i] = 0.001f + 0.002f * unit();
        q_operand *zero = case_in(turned ? PARE_INT8 : PARE_UINT8, NULL, 0, 0);
        memset(zero->data, turned ? -5 : 141, 1);
        case_absent();
        if (bias)
            case_in(PARE_FLOAT, &n, 1, PARE_OPERAND_CONSTANT);
        else
            case_absent();
        q_operand *out = case_out(PARE_FLOAT, (int64_t[]){batch, m, n}, 3);
        case_run("q:matmul");
        for (int64_t r = 0; r < batch * m; r++)
            for (int64_t c = 0; c < n; c++) {
                int64_t sum = 0;
                for (int64_t d = 0; d < k; d++)
                    sum += (int64_t)(code(&the_case.in[0], (uint64_t)(r * k + d)) - code(zero, 0)) *
                           code(&the_case.in[1], (uint64_t)(d * n + c));
                float want = (float)sum * (0.013f * ((float *)scale->data)[columns ? c : 0]);
                if (bias) want += ((float *)the_case.in[6].data)[c];
                assert_true(((float *)out->data)[r * n + c] == want);
            }
    }
}

/* ---- from float to 8 bits and back ---- */

static void scale_inputs(float scale, int32_t zero, uint32_t dtype) {
    set_scalar(case_in(PARE_FLOAT, NULL, 0, PARE_OPERAND_CONSTANT), scale);
    memset(case_in(dtype, NULL, 0, PARE_OPERAND_CONSTANT)->data, zero, 1);
}

static void quantize(void **state) {
    (void)state;
    static const int64_t dims[4] = {2, 24, 9, 7};
    for (int kind = 0; kind < 4; kind++) {
        uint32_t dtype = kind & 1 ? PARE_INT8 : PARE_UINT8;
        int32_t zero = kind & 1 ? -11 : 90;
        case_begin("QuantizeLinear", "");
        q_operand *x = case_in(PARE_FLOAT, dims, 4, 0);
        float *f = x->data;
        for (int i = 0; i < 64; i++) f[i] = (float)(i - 32) * 0.015f; /* halves */
        f[70] = INFINITY;
        f[71] = -INFINITY;
        f[72] = 3e38f;
        scale_inputs(0.03f, zero, dtype);
        case_out(dtype, dims, 4);
        if (kind & 2) x->o.layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN};
        case_run("q:quantize");
        for (uint64_t i = 0; i < ref_count(&x->o); i++)
            assert_int_equal(code(&the_case.out[0], i), (int32_t)saturate((double)rintf(f[i] / 0.03f) + zero, dtype));
        case_begin("DequantizeLinear", "");
        x = case_in(dtype, dims, 4, 0);
        scale_inputs(0.03f, zero, dtype);
        case_out(PARE_FLOAT, dims, 4);
        if (kind & 2) x->o.layout = channels_last(&x->o);
        pare_layout own = x->o.layout;
        case_run("q:dequantize");
        assert_int_equal(own.kind, kind & 2 ? PARE_LAYOUT_OWN : PARE_LAYOUT_PLAIN);
        for (uint64_t i = 0; i < ref_count(&x->o); i++)
            assert_true(((float *)the_case.out[0].data)[i] == (float)(code(x, i) - zero) * 0.03f);
    }
}

/* An input in blocks of channels, as a float convolution leaves it. */
static void quantize_blocks(void **state) {
    (void)state;
    static const int64_t dims[4] = {2, 40, 5, 7};
    pare_operand x = {.size = sizeof x, .dtype = PARE_FLOAT, .ndim = 4, .dims = dims}, y = x;
    x.layout.kind = y.layout.kind = PARE_LAYOUT_ANY;
    const int64_t wd[4] = {40, 40, 1, 1};
    float *w = calloc(1600, sizeof *w);
    assert_non_null(w);
    pare_operand k = {.size = sizeof k, .flags = PARE_OPERAND_CONSTANT, .dtype = PARE_FLOAT, .ndim = 4, .dims = wd};
    k.data = w;
    const pare_operand *in[] = {&x, &k}, *out[] = {&y};
    pare_kernel_spec s = {.size = sizeof s, .op_type = "Conv", .domain = "", .version = 21, .node = "c"};
    s.in = in;
    s.out = out;
    s.n_in = 2;
    s.n_out = 1;
    void *kernel;
    pare_kernel_info info = {.size = sizeof info};
    assert_int_equal(the_backend->kernel(the_device, &s, 0, &kernel), PARE_OK);
    assert_int_equal(the_backend->kernel_info(kernel, &info), PARE_OK);
    pare_layout layout = info.out[0];
    the_backend->kernel_free(kernel);
    free(w);
    case_begin("QuantizeLinear", "");
    q_operand *f = case_in(PARE_FLOAT, dims, 4, 0);
    scale_inputs(0.02f, 128, PARE_UINT8);
    case_out(PARE_UINT8, dims, 4);
    f->o.layout = layout;
    case_run("q:quantize");
    for (uint64_t i = 0; i < ref_count(&f->o); i++)
        assert_int_equal(code(&the_case.out[0], i),
                         (int32_t)saturate((double)rintf(((float *)f->data)[i] / 0.02f) + 128, PARE_UINT8));
}

static void dynamic(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        const int64_t dims[2] = {kind == 3 ? 1 : 130, kind == 3 ? 1 : 97};
        case_begin("DynamicQuantizeLinear", "");
        q_operand *x = case_in(PARE_FLOAT, dims, 2, 0);
        float *f = x->data;
        uint64_t n = ref_count(&x->o);
        for (uint64_t i = 0; i < n; i++)
            f[i] = kind == 1 ? fabsf(f[i]) + 1 : kind == 2 ? -fabsf(f[i]) : kind == 4 ? 0 : f[i];
        case_out(PARE_UINT8, dims, 2);
        case_out(PARE_FLOAT, NULL, 0);
        case_out(PARE_UINT8, NULL, 0);
        case_run("q:dynamic");
        uint8_t *want = malloc(n), zero;
        float scale;
        assert_non_null(want);
        const void *in[] = {f};
        void *out[] = {want, &scale, &zero};
        const ref_call call = {&the_case.spec, in, out};
        assert_int_equal(ref_find("", "DynamicQuantizeLinear")->run(&call), PARE_OK);
        assert_memory_equal(want, the_case.out[0].data, n);
        assert_memory_equal(&scale, the_case.out[1].data, sizeof scale);
        assert_memory_equal(&zero, the_case.out[2].data, 1);
        free(want);
    }
}

/* ---- pairs ---- */

static void pairs(void **state) {
    (void)state;
    static const int64_t dims[4] = {2, 20, 7, 5}, one[4] = {2, 20, 1, 1};
    for (int kind = 0; kind < 32; kind++) {
        bool product = kind & 1, own = kind & 8, spread = kind & 16;
        uint32_t a = kind & 2 ? PARE_INT8 : PARE_UINT8, b = kind & 4 ? PARE_INT8 : PARE_UINT8;
        case_begin(product ? "Mul" : "Add", "");
        q_operand *x = case_in(a, dims, 4, 0), *z = case_in(b, spread ? one : dims, 4, 0);
        scaled(x, 0.0313f, a == PARE_INT8 ? -4 : 100);
        scaled(z, 0.01717f, b == PARE_INT8 ? 6 : 140);
        q_operand *y = case_out(PARE_UINT8, dims, 4);
        scaled(y, 0.04f, 110);
        if (kind & 4) case_post((pare_post_op){.kind = PARE_POST_RELU});
        post_quantize(0.04f, 110, PARE_UINT8);
        if (own) x->o.layout = channels_last(&x->o);
        case_run(product ? "q:mul" : "q:add");
        q_check check = {0};
        for (uint64_t i = 0; i < ref_count(&x->o); i++) {
            double p = real(x, i), r = real(z, spread ? i / 35 : i);
            check_code(&check, i, posts_of(product ? p * r : p + r, i));
        }
        check_end(&check);
    }
}

/* ---- windows ---- */

static double window(const int64_t *dims, const int64_t *y, uint64_t at, int k, int stride, int pad, int what) {
    const q_operand *x = &the_case.in[0];
    int64_t plane = (int64_t)at / (y[2] * y[3]), oy = (int64_t)at / y[3] % y[2], ox = (int64_t)at % y[3];
    double best = -1000, sum = 0;
    int n = 0;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) {
            int64_t iy = oy * stride - pad + i, ix = ox * stride - pad + j;
            if (iy < 0 || ix < 0 || iy >= dims[2] || ix >= dims[3]) continue;
            uint64_t p = (uint64_t)((plane * dims[2] + iy) * dims[3] + ix);
            best = fmax(best, code(x, p));
            if (what) sum += real(x, p);
            n++;
        }
    return what == 0 ? best : sum / (what == 2 ? k * k : n);
}

static void pools(void **state) {
    (void)state;
    static const int64_t dims[4] = {2, 36, 12, 9}, half[4] = {2, 36, 6, 5}, one[4] = {2, 36, 1, 1};
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        uint32_t t = is_signed ? PARE_INT8 : PARE_UINT8;
        for (int what = 0; what < 3; what++) {
            case_begin(what ? "AveragePool" : "MaxPool", "");
            case_ints("kernel_shape", (int64_t[]){3, 3}, 2);
            case_ints("strides", (int64_t[]){2, 2}, 2);
            case_ints("pads", (int64_t[]){1, 1, 1, 1}, 4);
            if (what == 2) case_int("count_include_pad", 1);
            q_operand *x = case_in(t, dims, 4, 0), *y = case_out(what ? PARE_UINT8 : t, half, 4);
            if (what) {
                scaled(x, 0.02f, is_signed ? 3 : 120);
                scaled(y, 0.015f, 128);
                post_quantize(0.015f, 128, PARE_UINT8);
            }
            case_run(what ? "q:avgpool" : "q:maxpool");
            q_check check = {0};
            for (uint64_t i = 0; i < ref_count(&y->o); i++)
                check_code(&check, i, posts_of(window(dims, half, i, 3, 2, 1, what), i));
            if (!what) assert_int_equal(check.off, 0);
            check_end(&check);
        }
        case_begin("GlobalAveragePool", "");
        scaled(case_in(t, dims, 4, 0), 0.02f, is_signed ? -8 : 100);
        q_operand *y = case_out(PARE_INT8, one, 4);
        scaled(y, 0.005f, 4);
        post_quantize(0.005f, 4, PARE_INT8);
        case_run("q:avgpool");
        q_check check = {0};
        for (uint64_t i = 0; i < ref_count(&y->o); i++) {
            double sum = 0;
            for (uint64_t p = 0; p < 108; p++) sum += real(&the_case.in[0], i * 108 + p);
            check_code(&check, i, posts_of(sum / 108, i));
        }
        check_end(&check);
    }
}

/* ---- tables ---- */

static void tables(void **state) {
    (void)state;
    static const int64_t dims[4] = {1, 16, 8, 8};
    static const char *const ops[] = {"Sigmoid", "LeakyRelu", "HardSwish", "Relu", "QuantizeLinear"};
    for (size_t op = 0; op < sizeof ops / sizeof *ops; op++)
        for (int own = 0; own < 2; own++) {
            case_begin(ops[op], "");
            q_operand *x = case_in(op == 1 ? PARE_INT8 : PARE_UINT8, dims, 4, 0);
            scaled(x, 0.04f, op == 1 ? 9 : 128);
            if (own) x->o.layout = channels_last(&x->o);
            if (op == 1) case_float("alpha", 0.2);
            if (op == 4) scale_inputs(0.05f, 3, PARE_INT8);
            q_operand *y = case_out(op == 4 ? PARE_INT8 : PARE_UINT8, dims, 4);
            scaled(y, op ? 0.05f : 1.0f / 256, op ? 3 : 0);
            if (op < 4) post_quantize(y->scales[0], (float)y->zeros[0], PARE_UINT8);
            case_run("q:table");
            q_check check = {0};
            for (uint64_t i = 0; i < ref_count(&x->o); i++) {
                double v = real(x, i);
                v = op == 0   ? 1 / (1 + exp(-v))
                    : op == 1 ? (v > 0 ? v : 0.2 * v)
                    : op == 2 ? v * fmin(fmax(v / 6 + 0.5, 0), 1)
                    : op == 3 ? fmax(v, 0)
                              : saturate(rint(v / (double)0.05f) + 3, PARE_INT8);
                check_code(&check, i, posts_of(v, i));
            }
            if (op < 3) check_end(&check);
        }
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        case_begin("Softmax", "");
        q_operand *x = case_in(is_signed ? PARE_INT8 : PARE_UINT8, (int64_t[]){7, 50}, 2, 0);
        scaled(x, 0.03f, is_signed ? 0 : 30);
        q_operand *y = case_out(PARE_UINT8, (int64_t[]){7, 50}, 2);
        scaled(y, 1.0f / 256, 0);
        post_quantize(1.0f / 256, 0, PARE_UINT8);
        case_run("q:softmax");
        q_check check = {0};
        for (uint64_t i = 0; i < 350; i++) {
            double sum = 0;
            for (uint64_t c = 0; c < 50; c++) sum += exp(real(x, i / 50 * 50 + c));
            check_code(&check, i, posts_of(exp(real(x, i)) / sum, i));
        }
        check_end(&check);
    }
}

/* ---- moves ---- */

static void moves(void **state) {
    (void)state;
    static const int64_t dims[][4] = {{2, 20, 7, 5}, {1, 64, 56, 56}, {1, 3, 33, 40}, {3, 33, 1, 70}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) { /* there and back again */
        case_begin("Relu", "");
        q_operand *x = case_in(PARE_UINT8, dims[i], 4, 0);
        uint64_t n = ref_count(&x->o);
        pare_layout last = channels_last(&x->o);
        assert_int_equal(last.kind, PARE_LAYOUT_OWN);
        uint8_t *there = malloc(n), *back = malloc(n);
        assert_true(there && back);
        reorder(&x->o, x->o.layout, last, x->data, there);
        reorder(&x->o, last, x->o.layout, there, back);
        assert_memory_equal(back, x->data, n);
        for (uint64_t p = 0; p < n; p += 13) { /* one by one */
            uint64_t plane = (uint64_t)(dims[i][2] * dims[i][3]), c = p / plane % (uint64_t)dims[i][1];
            uint64_t image = p / plane / (uint64_t)dims[i][1];
            assert_int_equal(there[(image * plane + p % plane) * (uint64_t)dims[i][1] + c], ((uint8_t *)x->data)[p]);
        }
        free(there);
        free(back);
    }
}

static void transpose(void **state) {
    (void)state;
    static const int64_t dims[4] = {2, 5, 7, 6}, turned[4] = {2, 7, 6, 5}, perm[4] = {0, 2, 3, 1};
    case_begin("Transpose", "");
    case_ints("perm", perm, 4);
    q_operand *x = case_in(PARE_INT8, dims, 4, 0), *y = case_out(PARE_INT8, turned, 4);
    case_run("dnnl:");
    for (uint64_t i = 0; i < ref_count(&y->o); i++) {
        uint64_t c = i % 5, p = i / 5 % 42, n = i / 210;
        assert_int_equal(code(y, i), code(x, (n * 5 + c) * 42 + p));
    }
}

static void concat(void **state) {
    (void)state;
    for (int kind = 0; kind < 8; kind++) {
        bool own = kind & 1, scales = kind & 2;
        int64_t axis = kind & 4 ? 2 : 1, a[4] = {2, 12, 5, 6}, b[4] = {2, 12, 5, 6}, y[4] = {2, 12, 5, 6};
        b[axis] = 20;
        y[axis] = a[axis] + b[axis];
        case_begin("Concat", "");
        case_int("axis", axis);
        q_operand *p = case_in(PARE_UINT8, a, 4, 0), *q = case_in(PARE_UINT8, b, 4, 0);
        q_operand *out = case_out(PARE_UINT8, y, 4);
        scaled(p, 0.02f, 7);
        scaled(q, scales ? 0.03f : 0.02f, scales ? 60 : 7);
        scaled(out, 0.02f, 7);
        if (scales)
            post_quantize(0.02f, 7, PARE_UINT8);
        else
            p->o.n_scales = q->o.n_scales = out->o.n_scales = 0;
        if (own) p->o.layout = channels_last(&p->o);
        case_run("q:concat");
        q_check check = {0};
        uint64_t at = 0, inner = axis == 1 ? 30 : 6, outer = axis == 1 ? 2 : 24;
        for (uint64_t o = 0; o < outer; o++)
            for (uint64_t c = 0; c < (uint64_t)y[axis]; c++)
                for (uint64_t i = 0; i < inner; i++, at++) {
                    bool first = c < (uint64_t)a[axis];
                    const q_operand *from = first ? p : q;
                    uint64_t size = (uint64_t)(first ? a[axis] : b[axis]), in = first ? c : c - (uint64_t)a[axis];
                    uint64_t f = (o * size + in) * inner + i;
                    check_code(&check, at, scales ? posts_of(real(from, f), at) : code(from, f));
                }
        if (!scales) assert_int_equal(check.off, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products), cmocka_unit_test(products_of_late_scales),
        cmocka_unit_test(quantize), cmocka_unit_test(quantize_blocks),
        cmocka_unit_test(dynamic),  cmocka_unit_test(pairs),
        cmocka_unit_test(pools),    cmocka_unit_test(tables),
        cmocka_unit_test(moves),    cmocka_unit_test(transpose),
        cmocka_unit_test(concat),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
