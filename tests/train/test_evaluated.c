/* Losses that are worked out on the host: they train as those in the graph do, on every device, whole or in parts. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/evaluated.h"
#include "train/small.h"

#include <math.h>

/* ---- two trainings ---- */

typedef struct result {
    pare_model *m;
    double loss;
} result;

static double loss_noted(const small_step *s) {
    return json_number_value(json_object_get(json_object_get(s->notes, "notes"), "loss"));
}

/* A net that BatchNormalization and Dropout make depend on how often and with what a step runs it. */
static pare_model *dropping(void) {
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    const float half = 0.5f;
    const bool yes = true;
    net_tensor(m, "ratio", PARE_FLOAT, 0, NULL, &half);
    net_tensor(m, "mode", PARE_BOOL, 0, NULL, &yes);
    uint32_t gemm = pare_model_value(m, net_value(m, "logits"))->producer;
    net_node(m, "Dropout", "dropped", 3, "f", "ratio", "mode");
    pare_node_input_set(m, gemm, 0, net_value(m, "dropped"));
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

typedef struct trial {
    int device;
    uint32_t micro;
    double smoothing, mixup;
    int recompute;
} trial;

static result train(const trial *t, const pare_model *m, pare_fit_loss *losses, size_t n) {
    small_step s;
    result r = {0};
    small_step_begin(&s, t->device, true);
    s.teacher[0] = small_net(true, SMALL_CLASSES, 11);
    s.fit.epochs = 1;
    s.fit.micro_batch = t->micro;
    s.fit.label_smoothing = t->smoothing;
    s.fit.augment.mixup = t->mixup;
    s.fit.recompute = t->recompute;
    s.fit.clip_norm = 0.7;
    s.fit.losses = losses;
    s.fit.n_losses = n;
    assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &r.m));
    r.loss = loss_noted(&s);
    small_step_end(&s);
    return r;
}

static void same(const char *what, int device, result *a, result *b) {
    double weights = small_apart(a->m, b->m), loss = fabs(a->loss - b->loss);
    if (!(weights < 1e-6 && loss < 1e-6)) fail_msg("%s, device %d: %g apart, losses %g", what, device, weights, loss);
    pare_model_free(a->m);
    pare_model_free(b->m);
}

static void it_equals_the_one_in_the_graph(void **state) {
    (void)state;
    pare_fit_loss built = {.use = "cross_entropy", .weight = 1}, given = {.use = "evaluated.labels", .weight = 1};
    pare_model *m = dropping();
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        const trial trials[] = {{device, 0, 0, 0, 0},     {device, 5, 0, 0, 0}, {device, 0, 0.1, 0, 0},
                                {device, 7, 0.2, 0.4, 0}, {device, 0, 0, 0, 2}, {device, 4, 0, 0, -1}};
        for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
            result a = train(&trials[i], m, &built, 1), b = train(&trials[i], m, &given, 1);
            assert_true(a.loss > 0.01 && small_apart(a.m, (pare_model *)(uintptr_t)m) > 1e-3);
            same("cross-entropy", device, &a, &b);
        }
    }
    pare_model_free(m);
}

static void it_is_one_of_several(void **state) {
    (void)state;
    const pare_loss *hinton = loss_of("distill.hinton"), *host = loss_of("evaluated.teacher");
    arguments soft = loss_arguments(hinton, "{teacher: t, alpha: 1, temperature: 4}");
    arguments with = loss_arguments(host, "teacher: t");
    pare_fit_loss built[] = {{.use = "distill.hinton", .args = soft.args, .weight = 0.25},
                             {.use = "cross_entropy", .weight = 0.75}};
    pare_fit_loss mixed[] = {{.use = "evaluated.teacher", .args = with.args, .weight = 0.25},
                             {.use = "cross_entropy", .weight = 0.75}};
    pare_fit_loss hosts[] = {{.use = "evaluated.labels", .weight = 0.75},
                             {.use = "evaluated.teacher", .args = with.args, .weight = 0.25}};
    pare_fit_loss taught[] = {{.use = "distill.hinton", .args = soft.args, .weight = 0.1},
                              {.use = "evaluated.teacher", .args = with.args, .weight = 0.15},
                              {.use = "cross_entropy", .weight = 0.75}};
    pare_model *m = dropping();
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        const trial t = {device, device % 2 ? 6 : 0, 0, 0, 0};
        result a = train(&t, m, built, 2), b = train(&t, m, mixed, 2);
        same("one on the host", device, &a, &b);
        a = train(&t, m, built, 2), b = train(&t, m, hosts, 2);
        same("both on the host", device, &a, &b);
        a = train(&t, m, built, 2), b = train(&t, m, taught, 3);
        same("teachers of two losses", device, &a, &b);
    }
    pare_model_free(m);
    arguments_free(&soft);
    arguments_free(&with);
}

/* Logits of float64, as the oracle has them: the loss sees float32, and its answer is float64 again. */
static void doubles_go_in_and_out(void **state) {
    (void)state;
    pare_fit_loss l = {.use = "evaluated.labels", .component = loss_of("evaluated.labels"), .weight = 1};
    pare_train_loss_env env = {0};
    pare_evaluated e;
    double loss[2] = {0};
    pare_array *seeds[2] = {NULL}, *labels = net_array(PARE_INT64, 1, (int64_t[]){2}, (int64_t[]){2, 0});
    assert_int_equal(pare_evaluated_open(&l, &env, &e), PARE_OK);
    for (int k = 0; k < 2; k++) {
        const float x[] = {0.5f, -1, 2, 3, 0.25f, -2};
        double y[6];
        for (int i = 0; i < 6; i++) y[i] = (double)x[i];
        pare_array *logits = net_array(k ? PARE_DOUBLE : PARE_FLOAT, 2, (int64_t[]){2, 3}, k ? (const void *)y : x);
        const pare_evaluated_rows rows = {.logits = logits, .labels = labels};
        assert_int_equal(pare_evaluated_run(&e, &rows, NULL, &loss[k], &seeds[k]), PARE_OK);
        assert_int_equal(seeds[k]->dtype, logits->dtype);
        pare_array_unref(logits);
    }
    assert_true(loss[0] == loss[1] && fabs(loss[0] - 0.155) < 0.01);
    for (int i = 0; i < 6; i++)
        assert_true((double)net_f(seeds[0])[i] == ((const double *)pare_array_data(seeds[1]))[i]);
    assert_int_equal(pare_evaluated_close(&e), PARE_OK);
    pare_array_unref(seeds[0]);
    pare_array_unref(seeds[1]);
    pare_array_unref(labels);
}

/* ---- when it goes wrong ---- */

static void refused(const char *use, bool labelled, pare_status want, const char *says) {
    small_step s;
    pare_fit_loss loss = {.use = use, .weight = 1};
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    small_step_begin(&s, NET_NEAR, labelled);
    s.fit.losses = &loss;
    s.fit.n_losses = 1;
    pare_status st = small_step_run(&s, "train.supervised", "{}", m, &out);
    if (st != want || out) fail_msg("%s: status %d, %s", use, st, small_said(&s));
    assert_said(&s, says);
    pare_model_free(m);
    small_step_end(&s);
}

static void what_it_can_not_do_is_said(void **state) {
    (void)state;
    refused("evaluated.labels", false, PARE_EINVAL, "the loss evaluated.labels takes labels");
    refused("evaluated.unsure", false, PARE_EINVAL, "there are no labels");
    refused("evaluated.teacher", true, PARE_EINVAL, "the loss evaluated.teacher has no teacher to learn from");
    refused("evaluated.nan", true, PARE_EDIVERGED, "diverged");
    refused("evaluated.mute", true, PARE_EINVAL, "evaluated.mute failed without a word");
}

/* On the device, at any moment. */
static void memory_may_run_out(void **state) {
    (void)state;
    pare_fit_loss loss = {.use = "evaluated.labels", .weight = 1};
    pare_model *m = small_net(false, SMALL_CLASSES, 1);
    const trial plain = {NET_NEAR, 0, 0, 0, 0};
    result want = train(&plain, m, &loss, 1);
    int done = 0, halved = 0;
    for (uint64_t at = 1; at < 400; at++) {
        small_step s;
        pare_model *out = NULL;
        small_step_begin(&s, NET_FAR, true);
        s.fit.epochs = 1;
        s.fit.clip_norm = 0.7;
        s.fit.losses = &loss;
        s.fit.n_losses = 1;
        memset(&far_ctl, 0, sizeof far_ctl);
        far_ctl.fail_at = at;
        pare_status st = small_step_run(&s, "train.supervised", "{}", m, &out);
        bool failed = far_ctl.allocs >= at;
        if (st && st != PARE_ENOMEM) fail_msg("at %d: %d, %s", (int)at, st, small_said(&s));
        if (!st) assert_true(small_apart(out, want.m) < 1e-4);
        done += !st;
        halved += strstr(small_said(&s), "gradients are summed over micro-batches") != NULL;
        pare_model_free(out);
        small_step_end(&s);
        assert_int_equal(far_ctl.live, 0);
        if (!failed) break;
    }
    memset(&far_ctl, 0, sizeof far_ctl);
    assert_true(done > 1 && halved > 0);
    pare_model_free(want.m);
    pare_model_free(m);
}

static int set_up(void **state) {
    plugins_open_with(PARE_BUILD_DIR "/tests/plugins/loss_evaluate");
    return tmpdir_make(state);
}

static int tear_down(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_equals_the_one_in_the_graph),
        cmocka_unit_test(it_is_one_of_several),
        cmocka_unit_test(doubles_go_in_and_out),
        cmocka_unit_test(what_it_can_not_do_is_said),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
