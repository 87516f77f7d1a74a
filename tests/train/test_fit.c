/* The training loop on a small net and a small set: it learns, the same on every device and for every micro-batch. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/small.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    pare_fit_opts o = options(20);
    trained first = train(m, set, &o, NET_NEAR, NULL);
    assert_int_equal(first.st, PARE_OK);
    if (!(first.loss < 0.35)) fail_msg("the loss is %g", first.loss);
    assert_true(small_apart(m, first.m) > 0.1);
    for (int device = NET_FAR; device < NET_DEVICES; device++) {
        pare_fit_opts one = options(0);
        one.steps = 3;
        trained a = train(m, set, &one, NET_NEAR, NULL), b = train(m, set, &one, device, NULL);
        assert_int_equal(b.st, PARE_OK);
        assert_true(small_apart(a.m, b.m) < 1e-4);
        pare_model_free(a.m);
        pare_model_free(b.m);
    }
    pare_model_free(first.m);
    pare_model_free(m);
    pare_data_free(set);
}

static void micro_batches_sum_to_the_batch(void **state) {
    (void)state;
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(false, SMALL_CLASSES, 1);
    pare_fit_opts o = options(2);
    o.clip_norm = 0.5;
    trained whole = train(m, set, &o, NET_NEAR, NULL);
    assert_int_equal(whole.st, PARE_OK);
    for (uint32_t micro = 1; micro < 16; micro += 4) { /* 5, 9, 13: the last one is smaller */
        o.micro_batch = micro;
        trained parts = train(m, set, &o, NET_NEAR, NULL);
        assert_int_equal(parts.st, PARE_OK);
        assert_true(small_apart(whole.m, parts.m) < 1e-5);
        pare_model_free(parts.m);
    }
    pare_model_free(whole.m);
    pare_model_free(m);
    pare_data_free(set);
}

static void optimisers_run(void **state) {
    (void)state;
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
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
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
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
        const float *w = small_weights(got.m, "conv.weight", &n);
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
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    static const char *const freeze[] = {"conv.*"}, *const all[] = {"*"}, *const none[] = {"head.*"};
    pare_fit_opts o = options(1);
    o.freeze = freeze;
    o.n_freeze = 1;
    trained t = train(m, set, &o, NET_NEAR, NULL);
    uint64_t n;
    assert_int_equal(t.st, PARE_OK);
    assert_memory_equal(small_weights(m, "conv.weight", &n), small_weights(t.m, "conv.weight", &n), 54 * sizeof(float));
    assert_true(small_apart(m, t.m) > 0);
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
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(false, SMALL_CLASSES, 1);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_fit_opts o = options(3);
    o.schedule = (pare_schedule_opts){.kind = PARE_SCHEDULE_CONSTANT};
    o.lr = 1e30;
    trained t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EDIVERGED);
    assert_non_null(strstr(t.said, "diverged"));
    assert_non_null(
        strstr(t.said, "by step 2 (learning rate 1e+30): \"conv.weight\" is the first tensor that holds NaN"));
    pare_model_free(t.m);
    o.micro_batch = 8; /* what the loss says comes before the update */
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EDIVERGED);
    assert_non_null(
        strstr(t.said, "by step 2 (learning rate 1e+30): that of \"conv.weight\" is the first gradient that"));
    pare_model_free(t.m);
    o = options(0);
    o.schedule = (pare_schedule_opts){.kind = PARE_SCHEDULE_CONSTANT};
    o.steps = 1; /* at the end of training, where no later loss would tell */
    o.lr = INFINITY;
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EDIVERGED);
    assert_non_null(strstr(t.said, "by step 1 (learning rate inf): \"conv.weight\""));
    pare_model_free(t.m);
    o = options(1);
    o.batch = SMALL_N + 1;
    t = train(m, set, &o, NET_NEAR, d);
    assert_int_equal(t.st, PARE_EINVAL);
    pare_model_free(t.m);
    pare_diags_free(d);
    pare_model_free(m);
    pare_data_free(set);
}

static void short_memory_halves_the_batch(void **state) {
    (void)state;
    pare_data *set = small_set_of(true, true);
    pare_model *m = small_net(false, SMALL_CLASSES, 1);
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
            assert_true(small_apart(plain.m, t.m) < 1e-4);
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
