/* tests/cpu/test_quant_conv.c - the cpu plugin's 8-bit convolutions against a plain one: the int32 sums bit for bit,
 * what is rounded after them within a step. */
#define _POSIX_C_SOURCE 200809L
#include "quant_case.h"

typedef struct conv_case {
    int64_t x[4], w[4]; /* w: oc, channels of a group, kh, kw */
    int64_t group, stride, dilation, pads[4];
    const char *kernel;
} conv_case;

static const conv_case convs[] = {
    {{1, 3, 33, 31}, {16, 3, 7, 7}, 1, 2, 1, {3, 3, 3, 3}, "q:conv"},
    {{2, 1, 28, 28}, {12, 1, 5, 5}, 1, 1, 1, {0, 0, 0, 0}, "q:conv"},
    {{1, 6, 9, 10}, {40, 6, 3, 2}, 1, 2, 1, {1, 0, 0, 1}, "q:conv"},
    {{2, 64, 14, 14}, {64, 64, 3, 3}, 1, 1, 1, {1, 1, 1, 1}, "q:conv"},
    {{1, 64, 7, 7}, {100, 64, 3, 3}, 1, 1, 1, {1, 1, 1, 1}, "q:conv"},
    {{1, 32, 9, 9}, {48, 32, 1, 1}, 1, 1, 1, {0, 0, 0, 0}, "q:conv"},
    {{3, 32, 9, 9}, {33, 32, 1, 1}, 1, 2, 1, {0, 0, 0, 0}, "q:conv"},
    {{1, 16, 12, 11}, {7, 16, 3, 3}, 1, 1, 2, {2, 0, 1, 3}, "q:conv"},
    {{2, 16, 5, 5}, {24, 8, 3, 3}, 2, 1, 1, {1, 1, 1, 1}, "q:conv"},
    {{1, 64, 6, 6}, {64, 4, 3, 3}, 16, 2, 1, {1, 1, 1, 1}, "q:conv"},
    {{1, 8, 1, 40}, {10, 8, 1, 5}, 1, 2, 1, {0, 2, 0, 1}, "q:conv"},
    {{1, 4, 3, 3}, {5, 4, 5, 5}, 1, 1, 1, {2, 2, 2, 2}, "q:conv"},
    {{1, 512, 7, 7}, {70, 512, 1, 1}, 1, 1, 1, {0, 0, 0, 0}, "q:conv"},
    {{2, 24, 13, 11}, {24, 1, 3, 3}, 24, 1, 1, {1, 1, 1, 1}, "q:depthwise"},
    {{1, 32, 14, 14}, {32, 1, 3, 3}, 32, 2, 1, {1, 1, 1, 1}, "q:depthwise"},
    {{1, 96, 7, 8}, {96, 1, 3, 3}, 96, 1, 1, {1, 1, 1, 1}, "q:depthwise"},
    {{1, 40, 9, 9}, {40, 1, 5, 5}, 40, 2, 1, {2, 1, 2, 3}, "q:depthwise"},
    {{2, 33, 6, 5}, {33, 1, 3, 3}, 33, 2, 1, {0, 1, 1, 0}, "q:depthwise"},
    {{1, 48, 10, 10}, {48, 1, 3, 3}, 48, 1, 2, {2, 2, 2, 2}, "q:depthwise"},
    {{1, 8, 9, 9}, {8, 1, 7, 7}, 8, 1, 1, {3, 3, 3, 3}, "q:depthwise"},
    {{1, 64, 2, 2}, {64, 1, 3, 3}, 64, 1, 1, {1, 1, 1, 1}, "q:depthwise"},
};

typedef struct dtypes {
    uint32_t x, w;
    int32_t x_zero;
    bool bias, by_channel, seven;
} dtypes;

static int64_t out_dims[4];

static void conv_begin(const conv_case *c, const dtypes *t, uint32_t y) {
    for (int i = 0; i < 2; i++) {
        int64_t reach = (c->w[2 + i] - 1) * c->dilation + 1;
        out_dims[2 + i] = (c->x[2 + i] + c->pads[i] + c->pads[2 + i] - reach) / c->stride + 1;
    }
    out_dims[0] = c->x[0];
    out_dims[1] = c->w[0];
    case_begin("Conv", "");
    case_ints("strides", (int64_t[]){c->stride, c->stride}, 2);
    case_ints("dilations", (int64_t[]){c->dilation, c->dilation}, 2);
    case_ints("pads", c->pads, 4);
    case_int("group", c->group);
    scaled(case_in(t->x, c->x, 4, 0), 0.02f, t->x_zero);
    uint32_t i = the_case.spec.n_in++;
    the_case.ins[i] = &the_case.in[i].o;
    q_operand *w = fill(&the_case.in[i], t->w, c->w, 4, PARE_OPERAND_CONSTANT, t->seven);
    int32_t w_zero = t->w == PARE_UINT8 ? 128 : 0;
    if (t->by_channel)
        scaled_by_channel(w, 0, w_zero);
    else
        scaled(w, 0.003f, w_zero);
    if (t->bias)
        case_in(PARE_INT32, &c->w[0], 1, PARE_OPERAND_CONSTANT);
    else
        case_absent();
    q_operand *out = case_out(y, out_dims, 4);
    if (y != PARE_FLOAT) scaled(out, 0.1f, 0); /* the post-op says which */
}

/* The sum of output element (n, o, y, x), exact. */
static int64_t sum_of(const conv_case *c, int64_t n, int64_t o, int64_t y, int64_t x) {
    int64_t per = c->w[0] / c->group, g = o / per, sum = 0;
    const q_operand *in = &the_case.in[0], *w = &the_case.in[1];
    int32_t w_zero = w->zeros[w->o.n_scales == 1 ? 0 : o];
    for (int64_t f = 0; f < c->w[1]; f++)
        for (int64_t i = 0; i < c->w[2]; i++)
            for (int64_t k = 0; k < c->w[3]; k++) {
                int64_t iy = y * c->stride - c->pads[0] + i * c->dilation,
                        ix = x * c->stride - c->pads[1] + k * c->dilation;
                if (iy < 0 || ix < 0 || iy >= c->x[2] || ix >= c->x[3]) continue;
                int64_t at = ((n * c->x[1] + g * c->w[1] + f) * c->x[2] + iy) * c->x[3] + ix;
                int64_t wt = ((o * c->w[1] + f) * c->w[2] + i) * c->w[3] + k;
                sum += (int64_t)(code(in, (uint64_t)at) - in->zeros[0]) * (code(w, (uint64_t)wt) - w_zero);
            }
    if (!(the_case.in[2].o.flags & PARE_OPERAND_ABSENT)) sum += ((int32_t *)the_case.in[2].data)[o];
    return sum;
}

/* Runs and compares. */
static void conv_check(const conv_case *c) {
    case_run(c->kernel);
    q_check check = {0};
    const q_operand *w = &the_case.in[1];
    uint64_t at = 0;
    for (int64_t n = 0; n < out_dims[0]; n++)
        for (int64_t o = 0; o < out_dims[1]; o++)
            for (int64_t y = 0; y < out_dims[2]; y++)
                for (int64_t x = 0; x < out_dims[3]; x++, at++) {
                    int64_t sum = sum_of(c, n, o, y, x);
                    float scale = the_case.in[0].scales[0] * w->scales[w->o.n_scales == 1 ? 0 : o];
                    if (!the_case.spec.n_post) {
                        float got = ((float *)the_case.out[0].data)[at], want = (float)sum * scale;
                        if (got != want)
                            fail_msg("%s: element %llu is %.9g, not %.9g", the_case.name, (unsigned long long)at,
                                     (double)got, (double)want);
                        continue;
                    }
                    double want = posts_of((double)sum * (double)scale, at);
                    if (the_case.out[0].o.dtype == PARE_FLOAT)
                        assert_true(fabs((double)((float *)the_case.out[0].data)[at] - want) <=
                                    1e-4 + 1e-5 * fabs(want));
                    else
                        check_code(&check, at, want);
                }
    check_end(&check);
}

static const dtypes all_dtypes[] = {
    {PARE_UINT8, PARE_INT8, 0, true, true, false},    {PARE_UINT8, PARE_INT8, 113, true, true, false},
    {PARE_UINT8, PARE_INT8, 113, false, false, true}, {PARE_INT8, PARE_INT8, -7, true, true, false},
    {PARE_INT8, PARE_INT8, 0, false, true, true},     {PARE_UINT8, PARE_UINT8, 3, true, false, false},
};

/* Without post-ops a float comes out, which is the sum times one number. */
static void sums(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (size_t t = 0; t < sizeof all_dtypes / sizeof *all_dtypes; t++) {
            conv_begin(&convs[i], &all_dtypes[t], PARE_FLOAT);
            conv_check(&convs[i]);
        }
}

/* The largest products there are, one after the other. */
static void extremes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (int sign = 0; sign < 2; sign++) {
            conv_begin(&convs[i], &all_dtypes[1], PARE_FLOAT);
            memset(the_case.in[0].data, 255, ref_count(&the_case.in[0].o));
            memset(the_case.in[1].data, sign ? 0x80 : 0x7f, ref_count(&the_case.in[1].o));
            conv_check(&convs[i]);
        }
}

static void rounded(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (size_t t = 0; t < sizeof all_dtypes / sizeof *all_dtypes; t++)
            for (int kind = 0; kind < 6; kind++) {
                uint32_t y = kind == 2 ? PARE_INT8 : PARE_UINT8;
                float s = convs[i].w[1] > 1 ? 0.2f : 0.05f, zero = kind == 2 ? -5 : kind == 3 ? 120 : 0;
                conv_begin(&convs[i], &all_dtypes[t], y);
                if (kind == 0 || kind == 4) case_post((pare_post_op){.kind = PARE_POST_RELU});
                if (kind == 1) case_post((pare_post_op){.kind = PARE_POST_CLIP, .alpha = 0, .beta = 6});
                if (kind == 3) case_post((pare_post_op){.kind = PARE_POST_LEAKY_RELU, .alpha = 0.1f});
                if (kind == 5) case_post((pare_post_op){.kind = PARE_POST_HARD_SWISH});
                post_quantize(s, zero, y);
                conv_check(&convs[i]);
            }
}

/* A residual: rounded before it is added, or not. */
static void added(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (int kind = 0; kind < 5; kind++) {
            uint32_t other = kind == 2 ? PARE_INT8 : kind == 3 ? PARE_FLOAT : PARE_UINT8;
            uint32_t y = kind == 4 ? PARE_FLOAT : PARE_UINT8;
            conv_begin(&convs[i], &all_dtypes[0], y);
            float s = convs[i].w[1] > 1 ? 0.2f : 0.05f;
            if (kind != 1) {
                post_quantize(s, 117, PARE_UINT8);
                post_dequantize(s, 117, PARE_UINT8);
            }
            uint32_t at = the_case.spec.n_in;
            q_operand *r = case_in(other, out_dims, 4, 0);
            if (other != PARE_FLOAT) scaled(r, 0.0731f, kind == 2 ? -3 : 30);
            case_post((pare_post_op){.kind = PARE_POST_ADD, .operand = at});
            if (kind < 3) case_post((pare_post_op){.kind = PARE_POST_RELU});
            if (y != PARE_FLOAT) post_quantize(1.4713f * s, kind < 3 ? 0 : 99, y);
            conv_check(&convs[i]);
        }
}

/* What is left to others. */
static void refused(void **state) {
    (void)state;
    static const conv_case some[] = {
        {{1, 6, 9, 9}, {12, 1, 3, 3}, 6, 1, 1, {1, 1, 1, 1}, ""}, /* two filters a channel */
        {{1, 6, 9, 9}, {6, 3, 3, 3}, 2, 1, 1, {1, 1, 1, 1}, ""},  /* three channels a group */
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        conv_begin(&some[i], &all_dtypes[0], PARE_UINT8);
        post_quantize(0.1f, 0, PARE_UINT8);
        void *k;
        pare_kernel_info info = {.size = sizeof info};
        if (the_backend->kernel(the_device, &the_case.spec, 0, &k)) continue;
        assert_int_equal(the_backend->kernel_info(k, &info), PARE_OK);
        assert_true(strncmp(info.name, "q:", 2) != 0);
        the_backend->kernel_free(k);
    }
    conv_begin(&convs[3], &all_dtypes[0], PARE_UINT8);
    the_case.in[1].zeros[5] = 1; /* weights that are not symmetric */
    post_quantize(0.1f, 0, PARE_UINT8);
    assert_false(case_has_kernel() && strncmp(the_case.name, "q:", 2) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),  cmocka_unit_test(extremes), cmocka_unit_test(rounded),
        cmocka_unit_test(added), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
