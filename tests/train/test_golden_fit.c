/* What `fit:` adds to a bare optimiser, through the loop: six steps on one whole batch end where PyTorch's do
 * (golden/train/fit.h): exemptions from decay, factors by pattern, masks under clipping, averages, smoothed labels,
 * cycled momentum, a model that ends in Softmax, micro-batches. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "data/npy.h"
#include "far/net.h"
#include "golden/train/fit.h"
#include "model/infer.h"
#include "train/fit.h"

#include <math.h>
#include <string.h>

/* ---- a network and a set ---- */

static const char *const names[] = {"a.w", "a.b", "c.w", "c.b"};
static const int64_t dims[][2] = {{FIT_H, FIT_D}, {FIT_H, 0}, {FIT_K, FIT_H}, {FIT_K, 0}};

static bool masked_off(int i) { return i < FIT_H * FIT_D && i % 3 == 0; }

/* end: NULL, or what stands behind the logits. */
static pare_model *network(uint32_t dtype, bool masked, const char *end) {
    pare_model *m = net_new(17);
    const pare_dim in[] = {{-1, "N"}, {FIT_D, NULL}};
    int at = 0;
    net_input(m, "x", dtype, 2, in);
    for (int i = 0; i < 4; i++) {
        double doubles[FIT_H * FIT_D];
        float floats[FIT_H * FIT_D];
        int n = (int)(dims[i][0] * (dims[i][1] ? dims[i][1] : 1));
        for (int k = 0; k < n; k++) {
            doubles[k] = masked && masked_off(at + k) ? 0 : fit_first[at + k];
            floats[k] = (float)doubles[k];
        }
        at += n;
        net_tensor(m, names[i], dtype, dims[i][1] ? 2 : 1, dims[i], dtype == PARE_DOUBLE ? (void *)doubles : floats);
    }
    if (masked) {
        pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, "a.w"))->tensor);
        assert_true(pare_tensor_masked_set(m, t, true));
    }
    pare_attr_set_int(m, net_node(m, "Gemm", "h", 3, "x", "a.w", "a.b"), "transB", 1);
    net1(m, "Relu", "r", "h");
    pare_attr_set_int(m, net_node(m, "Gemm", "z", 3, "r", "c.w", "c.b"), "transB", 1);
    if (end) pare_attr_set_int(m, net1(m, end, "p", "z"), "axis", 1);
    net_output(m, end ? "p" : "z");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

static pare_data *set_of(uint32_t dtype) {
    const char *images = in_tmp(dtype == PARE_DOUBLE ? "d.npy" : "f.npy"), *labels = in_tmp("y.npy");
    const int64_t both[] = {FIT_N, FIT_D};
    pare_array *x = pare_array_new(dtype, 2, both), *y = pare_array_new(PARE_INT64, 1, both);
    for (int i = 0; i < FIT_N * FIT_D; i++)
        if (dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(x))[i] = fit_x[i];
        else
            ((float *)pare_array_data_mut(x))[i] = (float)fit_x[i];
    for (int i = 0; i < FIT_N; i++) ((int64_t *)pare_array_data_mut(y))[i] = i % FIT_K;
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = images, .labels = labels};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

/* ---- cases, by the names make_fit.py gives them ---- */

static const pare_fit_group factors[] = {{"c.w", 0.5, 2}, {"a.b", 0, 1}, {"*", 1.5, 1}};

static pare_fit_opts options(const char *name) {
    pare_fit_opts o = pare_fit_defaults();
    bool adam = strncmp(name, "adam", 4) == 0;
    o.epochs = 0;
    o.steps = FIT_STEPS;
    o.batch = FIT_N;
    o.lr = adam ? fit_lr / 4 : fit_lr;
    o.optimizer = strncmp(name, "adamw", 5) == 0 ? PARE_ADAMW : adam ? PARE_ADAM : PARE_SGD;
    o.weight_decay = strstr(name, "decay") || strstr(name, "masked") || strstr(name, "factors") ? 0.1 : 0;
    o.decay_all = strcmp(name, "decay_all") == 0;
    o.schedule.kind = PARE_SCHEDULE_CONSTANT;
    o.schedule.warmup = 0;
    if (strstr(name, "cycled")) {
        o.schedule.kind = PARE_SCHEDULE_ONECYCLE;
        o.schedule.cycle_momentum = true;
    }
    o.clip_norm = strstr(name, "clip") || strstr(name, "adamw_masked") ? 0.3 : 0;
    o.label_smoothing = strstr(name, "smoothing") ? 0.2 : 0;
    o.ema = strcmp(name, "ema") == 0 ? 0.8 : strcmp(name, "adamw_masked") == 0 ? 0.5 : 0;
    o.groups = strcmp(name, "factors") == 0 ? factors : NULL;
    o.n_groups = o.groups ? 3 : 0;
    return o;
}

static void check(size_t c, uint32_t dtype, int device, uint32_t micro, const char *end, double limit) {
    const char *name = fit_golden[c].name;
    bool masked = strstr(name, "masked");
    pare_fit_opts o = options(name);
    o.micro_batch = micro;
    pare_data *set = set_of(dtype);
    pare_model *m = network(dtype, masked, end);
    pare_session_opts s = net_opts(device);
    pare_compute compute = {.main = s.backend, .host = s.host_backend, .device = "cpu"};
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_fit_env env = {.compute = &compute, .threads = 1, .set = set};
    env.loss.host.diags = d;
    pare_fit *f = NULL;
    assert_int_equal(pare_fit_open(m, &o, &env, false, d, &f), PARE_OK);
    assert_int_equal(pare_fit_run(f, 0), PARE_OK);
    assert_int_equal(pare_fit_home(f, m), PARE_OK);
    pare_fit_close(f);
    int at = 0;
    for (int i = 0; i < 4; i++) {
        const void *data;
        pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, names[i]))->tensor);
        assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
        for (uint64_t k = 0; k < t->count; k++, at++) {
            double got = dtype == PARE_DOUBLE ? ((const double *)data)[k] : (double)((const float *)data)[k];
            if (!(fabs(got - fit_golden[c].weights[at]) <= limit))
                fail_msg("%s, device %d, micro-batch %u: %s[%d] is %.12g, PyTorch has %.12g", name, device, micro,
                         names[i], (int)k, got, fit_golden[c].weights[at]);
            if (masked && masked_off(at)) assert_true(got == 0 && !signbit(got));
        }
    }
    assert_int_equal(at, FIT_ALL);
    pare_diags_free(d);
    pare_model_free(m);
    pare_data_free(set);
}

enum { CASES = sizeof fit_golden / sizeof *fit_golden };

static void in_double(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c++) check(c, PARE_DOUBLE, NET_NEAR, 0, NULL, 1e-9);
}

static void in_float(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c++)
        for (int device = NET_NEAR; device < NET_DEVICES; device++) check(c, PARE_FLOAT, device, 0, NULL, 2e-6);
}

static void in_parts(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c++) check(c, PARE_DOUBLE, NET_NEAR, 3, NULL, 1e-9);
}

/* The loss is taken before it. */
static void behind_a_softmax(void **state) {
    (void)state;
    check(0, PARE_DOUBLE, NET_NEAR, 0, "Softmax", 1e-9);
    check(0, PARE_DOUBLE, NET_NEAR, 0, "LogSoftmax", 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_double),
        cmocka_unit_test(in_float),
        cmocka_unit_test(in_parts),
        cmocka_unit_test(behind_a_softmax),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
