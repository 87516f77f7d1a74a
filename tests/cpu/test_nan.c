/* test_nan.c - where the cpu backend loses a NaN: oneDNN's Relu, Clip, Exp and MaxPool answer it with a number, Relu and
 * Clip behind a convolution too; of a row of NaN its Softmax may keep one alone. All else hands it on. What is said of
 * this in plugins/cpu/device.h is pinned here. */
#include "backend_case.h"

static uint64_t nans(const float *x, uint64_t n) {
    uint64_t k = 0;
    for (uint64_t i = 0; i < n; i++) k += isnan(x[i]) != 0;
    return k;
}

/* The node with one NaN in input 0; how many come out? */
static uint64_t comes_out(const char *op, uint32_t more_inputs) {
    static const int64_t dims[] = {1, 16, 8, 8};
    case_begin(op);
    for (uint32_t i = 0; i <= more_inputs; i++) case_in(dims, 4, 0);
    case_out(dims, 4);
    for (uint32_t i = 0; i <= more_inputs; i++) case_positive(i); /* no NaN of their own from Log, Sqrt, Pow */
    case_set(0, NAN);
    run_backend("");
    uint64_t n;
    const float *y = case_result(&n);
    return nans(y, n);
}

static const char *const alone[] = {"Abs",  "Ceil",        "Cos",       "Elu",      "Erf",       "Exp",     "Floor",
                                    "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log",     "Mish",
                                    "Neg",  "Reciprocal",  "Relu",      "Round",    "Selu",      "Sigmoid", "Sign",
                                    "Sin",  "Softplus",    "Sqrt",      "Tanh"},
                         *const of_two[] = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"};

/* oneDNN's, which take what is not above a limit for the limit. */
static bool loses(const char *op) {
    static const char *const ops[] = {"Relu", "Exp"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i]) == 0) return true;
    return false;
}

static void elementwise(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (comes_out(alone[i], 0) != !loses(alone[i]))
            fail_msg("%s by %s %s a NaN", alone[i], case_kernel_name(), loses(alone[i]) ? "keeps" : "loses");
    for (size_t i = 0; i < sizeof of_two / sizeof *of_two; i++)
        if (comes_out(of_two[i], 1) != 1) fail_msg("%s by %s loses a NaN", of_two[i], case_kernel_name());
}

static uint64_t pooled(const char *op) {
    static const int64_t x[] = {1, 16, 8, 8}, y[] = {1, 16, 4, 4}, two[] = {2, 2};
    case_begin(op);
    case_in(x, 4, 0);
    case_out(y, 4);
    case_ints("kernel_shape", two, 2);
    case_ints("strides", two, 2);
    case_set(0, NAN);
    run_backend("");
    uint64_t n;
    const float *out = case_result(&n);
    return nans(out, n);
}

static void pools(void **state) {
    (void)state;
    assert_int_equal(pooled("AveragePool"), 1);
    assert_int_equal(pooled("MaxPool"), 0);
}

/* Limits as inputs 1 and 2. */
static void clip(void **state) {
    (void)state;
    static const int64_t dims[] = {1, 16, 8, 8};
    const float limits[] = {0, 6};
    case_begin("Clip");
    case_in(dims, 4, 0);
    for (uint32_t i = 0; i < 2; i++) {
        case_in(NULL, 0, PARE_OPERAND_CONSTANT);
        case_set(i + 1, limits[i]);
    }
    case_out(dims, 4);
    case_set(0, NAN);
    run_backend("");
    uint64_t n;
    const float *y = case_result(&n);
    assert_int_equal(nans(y, n), 0);
}

/* A row of 8 whose first is NaN; the exact answer is a row of NaN. */
static void softmax(void **state) {
    (void)state;
    static const int64_t dims[] = {2, 8};
    case_begin("Softmax");
    case_in(dims, 2, 0);
    case_out(dims, 2);
    case_int("axis", -1);
    case_set(0, NAN);
    run_backend("");
    uint64_t n;
    const float *y = case_result(&n);
    if (!nans(y, n)) fail_msg("Softmax by %s loses a NaN", case_kernel_name());
    assert_true(nans(y, n) <= 8); /* the other row has none */
}

/* A 3x3 convolution over one NaN in the weights of output channel 0, and what stands behind it in the same kernel. */
static uint64_t behind_conv(const pare_post_op *post) {
    static const int64_t x[] = {1, 16, 8, 8}, w[] = {16, 16, 3, 3}, pads[] = {1, 1, 1, 1};
    case_begin("Conv");
    case_in(x, 4, 0);
    case_in(w, 4, PARE_OPERAND_CONSTANT);
    case_set(1, NAN);
    case_out(x, 4);
    case_ints("pads", pads, 4);
    if (post) case_post(*post);
    run_backend("");
    uint64_t n;
    const float *y = case_result(&n);
    assert_int_equal(case_done_posts(), post != NULL);
    return nans(y, n);
}

static void convs(void **state) {
    (void)state;
    uint64_t all = behind_conv(NULL);
    assert_int_equal(all, 49); /* where the weight at a corner of the kernel meets a pixel */
    assert_int_equal(behind_conv(&(pare_post_op){.kind = PARE_POST_RELU}), 0);
    assert_int_equal(behind_conv(&(pare_post_op){.kind = PARE_POST_CLIP, .alpha = 0, .beta = 6}), 0);
    assert_int_equal(behind_conv(&(pare_post_op){.kind = PARE_POST_SIGMOID}), all);
    assert_int_equal(behind_conv(&(pare_post_op){.kind = PARE_POST_HARD_SWISH}), all);
    assert_int_equal(behind_conv(&(pare_post_op){.kind = PARE_POST_LEAKY_RELU, .alpha = 0.1f}), all);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(elementwise), cmocka_unit_test(pools), cmocka_unit_test(clip),
                                       cmocka_unit_test(softmax), cmocka_unit_test(convs)};
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
