/* The training loop on a small net and a small set: it learns, the same on every device and for every micro-batch. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "data/npy.h"
#include "far/net.h"
#include "model/infer.h"
#include "train/fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 96, CLASSES = 3 };

/* ---- a set: three clouds of points on a 1x4x4 grid ---- */

static pare_data *clouds(void) {
    const char *images = in_tmp("x.npy"), *labels = in_tmp("y.npy");
    int64_t dims[4] = {N, 1, 4, 4}, one[1] = {N};
    pare_array *x = pare_array_new(PARE_FLOAT, 4, dims), *y = pare_array_new(PARE_INT64, 1, one);
    float *px = pare_array_data_mut(x);
    int64_t *py = pare_array_data_mut(y);
    for (int i = 0; i < N; i++) {
        py[i] = i % CLASSES;
        for (int k = 0; k < 16; k++)
            px[i * 16 + k] = net_number((uint64_t)(i * 16 + k)) * 0.5f + (k % CLASSES == py[i] ? 1.0f : 0.0f);
    }
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = images, .labels = labels, .shuffle = true, .seed = 3};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

/* Conv, BatchNormalization, Relu, a classifier. */
static pare_model *small_net(bool norm) {
    pare_model *m = net_new(17);
    const pare_dim in[] = {{-1, "N"}, {1, NULL}, {4, NULL}, {4, NULL}};
    const int64_t w[] = {6, 1, 3, 3}, c[] = {6}, fc[] = {CLASSES, 96}, b[] = {CLASSES}, pads[] = {1, 1, 1, 1};
    const float ones[] = {1, 1, 1, 1, 1, 1}, zeros[6] = {0};
    net_input(m, "x", PARE_FLOAT, 4, in);
    net_floats(m, "conv.weight", 4, w, 1);
    net_tensor(m, "bn.weight", PARE_FLOAT, 1, c, ones);
    net_tensor(m, "bn.bias", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "bn.mean", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "bn.var", PARE_FLOAT, 1, c, ones);
    net_floats(m, "fc.weight", 2, fc, 2);
    net_tensor(m, "fc.bias", PARE_FLOAT, 1, b, zeros);
    uint32_t conv = net2(m, "Conv", "c", "x", "conv.weight");
    pare_attr_set_ints(m, conv, "pads", pads, 4);
    if (norm) {
        const char *out = "n";
        uint32_t ins[5] = {net_value(m, "c"), net_value(m, "bn.weight"), net_value(m, "bn.bias"),
                           net_value(m, "bn.mean"), net_value(m, "bn.var")};
        pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", "bn", ins, 5, &out, 1);
    }
    net1(m, "Relu", "r", norm ? "n" : "c");
    net1(m, "Flatten", "f", "r");
    uint32_t gemm = net_node(m, "Gemm", "logits", 3, "f", "fc.weight", "fc.bias");
    pare_attr_set_int(m, gemm, "transB", 1);
    net_output(m, "logits");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

/* ---- running ---- */

typedef struct trained {
    pare_model *m;
    pare_status st;
    double loss;
    uint32_t micro;
    char said[200];
} trained;

static pare_compute compute_of(int device) {
    pare_session_opts o = net_opts(device);
    return (pare_compute){.main = o.backend, .host = o.host_backend, .device = net_is_far(device) ? "far" : "cpu"};
}

static trained train(pare_model *m, const pare_data *set, const pare_fit_opts *o, int device, pare_diags *d) {
    pare_compute c = compute_of(device);
    pare_diags *own = d ? NULL : pare_diags_new(PARE_DIAG_HUMAN, stderr); /* what goes wrong unasked is seen */
    if (!d) d = own;
    pare_fit_env env = {.compute = &c, .threads = 1, .set = set};
    env.loss.host.diags = d;
    pare_fit *f = NULL;
    trained t = {.m = pare_model_clone(m)};
    t.st = pare_fit_open(m, o, &env, false, d, &f);
    if (!t.st) t.st = pare_fit_run(f, 0);
    if (!t.st) t.loss = pare_fit_state_of(f).loss;
    if (!t.st) t.st = pare_fit_home(f, t.m);
    if (t.st && d && pare_diags_count(d))
        snprintf(t.said, sizeof t.said, "%s", pare_diags_get(d, pare_diags_count(d) - 1)->message);
    pare_fit_close(f);
    pare_diags_free(own);
    return t;
}

static const float *weights(pare_model *m, const char *name, uint64_t *n) {
    const pare_value *v = pare_model_value(m, net_value(m, name));
    pare_tensor *t = pare_model_tensor(m, v->tensor);
    const void *data;
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    *n = t->count;
    return data;
}

static double apart(pare_model *a, pare_model *b) {
    static const char *const names[] = {"conv.weight", "bn.weight", "bn.bias", "bn.mean",
                                        "bn.var",      "fc.weight", "fc.bias"};
    double most = 0;
    for (size_t i = 0; i < 7; i++) {
        uint64_t n;
        const float *x = weights(a, names[i], &n), *y = weights(b, names[i], &n);
        for (uint64_t k = 0; k < n; k++) most = fmax(most, fabs((double)x[k] - (double)y[k]));
    }
    return most;
}

static pare_fit_opts options(double epochs) {
    pare_fit_opts o = pare_fit_defaults();
    o.epochs = epochs;
    o.batch = 16;
    o.seed = 5;
    return o;
}

/* ---- tests ---- */

static void it_learns_on_every_device(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(true);
    pare_fit_opts o = options(20);
    trained first = train(m, set, &o, NET_NEAR, NULL);
    assert_int_equal(first.st, PARE_OK);
    if (!(first.loss < 0.35)) fail_msg("the loss is %g", first.loss);
    assert_true(apart(m, first.m) > 0.1);
    for (int device = NET_FAR; device < NET_DEVICES; device++) {
        pare_fit_opts one = options(0);
        one.steps = 3;
        trained a = train(m, set, &one, NET_NEAR, NULL), b = train(m, set, &one, device, NULL);
        assert_int_equal(b.st, PARE_OK);
        assert_true(apart(a.m, b.m) < 1e-4);
        pare_model_free(a.m);
        pare_model_free(b.m);
    }
    pare_model_free(first.m);
    pare_model_free(m);
    pare_data_free(set);
}

static void micro_batches_sum_to_the_batch(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(false);
    pare_fit_opts o = options(2);
    o.clip_norm = 0.5;
    trained whole = train(m, set, &o, NET_NEAR, NULL);
    assert_int_equal(whole.st, PARE_OK);
    for (uint32_t micro = 1; micro < 16; micro += 4) { /* 5, 9, 13: the last one is smaller */
        o.micro_batch = micro;
        trained parts = train(m, set, &o, NET_NEAR, NULL);
        assert_int_equal(parts.st, PARE_OK);
        assert_true(apart(whole.m, parts.m) < 1e-5);
        pare_model_free(parts.m);
    }
    pare_model_free(whole.m);
    pare_model_free(m);
    pare_data_free(set);
}

static void optimisers_run(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(true);
    for (int k = 0; k < 3; k++) {
        pare_fit_opts o = options(6);
        o.optimizer = k == 0 ? PARE_ADAM : k == 1 ? PARE_ADAMW : PARE_SGD;
        o.lr = k < 2 ? 0.02 : 0.05;
        o.ema = k == 2 ? 0.5 : 0;
        o.label_smoothing = k == 1 ? 0.1 : 0;
        o.schedule.kind = k == 0 ? PARE_SCHEDULE_ONECYCLE : PARE_SCHEDULE_POLY;
        trained t = train(m, set, &o, NET_NEAR, NULL);
        assert_int_equal(t.st, PARE_OK);
        if (!(t.loss < 0.9)) fail_msg("optimiser %d: the loss is %g", k, t.loss);
        pare_model_free(t.m);
    }
    pare_model_free(m);
    pare_data_free(set);
}

static void masked_zeros_stay(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(true);
    pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, "conv.weight"))->tensor);
    void *data;
    assert_int_equal(pare_tensor_write(t, NULL, &data), PARE_OK);
    for (int i = 0; i < 54; i += 2) ((float *)data)[i] = 0;
    assert_true(pare_tensor_masked_set(m, t, true));
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        pare_fit_opts o = options(2);
        o.optimizer = device % 2 ? PARE_ADAM : PARE_SGD;
        trained got = train(m, set, &o, device, NULL);
        assert_int_equal(got.st, PARE_OK);
        uint64_t n;
        const float *w = weights(got.m, "conv.weight", &n);
        for (uint64_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &w[i], sizeof bits);
            if (i % 2 == 0)
                assert_int_equal(bits, 0);
            else
                assert_true(w[i] != 0);
        }
        pare_model_free(got.m);
    }
    pare_model_free(m);
    pare_data_free(set);
}

static void frozen_weights_stay(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(true);
    static const char *const freeze[] = {"conv.*"}, *const all[] = {"*"}, *const none[] = {"head.*"};
    pare_fit_opts o = options(1);
    o.freeze = freeze;
    o.n_freeze = 1;
    trained t = train(m, set, &o, NET_NEAR, NULL);
    uint64_t n;
    assert_int_equal(t.st, PARE_OK);
    assert_memory_equal(weights(m, "conv.weight", &n), weights(t.m, "conv.weight", &n), 54 * sizeof(float));
    assert_true(apart(m, t.m) > 0);
    pare_model_free(t.m);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    o.freeze = all;
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EINVAL);
    assert_non_null(strstr(t.said, "nothing to train"));
    pare_model_free(t.m);
    o.freeze = none;
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EINVAL);
    assert_non_null(strstr(t.said, "head.*"));
    pare_model_free(t.m);
    pare_diags_free(d);
    pare_model_free(m);
    pare_data_free(set);
}

static void it_says_when_it_diverges(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(false);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_fit_opts o = options(3);
    o.lr = 1e30;
    trained t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EDIVERGED);
    assert_non_null(strstr(t.said, "diverged"));
    assert_non_null(strstr(t.said, "e+29"));
    pare_model_free(t.m);
    o = options(1);
    o.batch = N + 1;
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EINVAL);
    pare_model_free(t.m);
    pare_diags_free(d);
    pare_model_free(m);
    pare_data_free(set);
}

static void short_memory_halves_the_batch(void **state) {
    (void)state;
    pare_data *set = clouds();
    pare_model *m = small_net(false);
    pare_fit_opts o = options(0);
    o.steps = 4;
    trained plain = train(m, set, &o, NET_NEAR, NULL);
    assert_int_equal(plain.st, PARE_OK);
    int halved = 0;
    for (uint64_t at = 1; at < 400; at++) {
        memset(&far_ctl, 0, sizeof far_ctl);
        far_ctl.fail_at = at;
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        trained t = train(m, set, &o, NET_FAR, d);
        bool failed = far_ctl.allocs >= at;
        for (size_t i = 0; i < pare_diags_count(d); i++) halved += pare_diags_get(d, i)->severity == PARE_WARNING;
        if (!t.st)
            assert_true(apart(plain.m, t.m) < 1e-4);
        else
            assert_int_equal(t.st, PARE_ENOMEM); /* while the session was opened */
        assert_int_equal(far_ctl.live, 0);
        pare_model_free(t.m);
        pare_diags_free(d);
        if (!failed) break;
    }
    memset(&far_ctl, 0, sizeof far_ctl);
    assert_true(halved > 0);
    pare_model_free(plain.m);
    pare_model_free(m);
    pare_data_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns_on_every_device),
        cmocka_unit_test(micro_batches_sum_to_the_batch),
        cmocka_unit_test(optimisers_run),
        cmocka_unit_test(masked_zeros_stay),
        cmocka_unit_test(frozen_weights_stay),
        cmocka_unit_test(it_says_when_it_diverges),
        cmocka_unit_test(short_memory_halves_the_batch),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
