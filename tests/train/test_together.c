/* Gradients, statistics, metrics and what plugins reduce pass one place (base/reduce.h): how often, and that a run of
 * several equal processes gives what one gives. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reduce.h"
#include "pipeline/score.h"
#include "train/recalibrate.h"
#include "train/small.h"

#include <math.h>

/* ---- a run of several processes that all do the same ---- */

typedef struct world {
    uint64_t calls[4], numbers[4]; /* of each kind */
    pare_status fails;
} world;

/* What two equal processes come to: sums double, the least and the most stay. */
static pare_status doubled(void *ctx, pare_reduced what, uint32_t op, uint32_t dtype, void *buffer, uint64_t n) {
    world *w = ctx;
    w->calls[what]++;
    w->numbers[what] += n;
    if (op == PARE_REDUCE_SUM)
        for (uint64_t i = 0; i < n; i++) {
            if (dtype == PARE_FLOAT) ((float *)buffer)[i] *= 2;
            if (dtype == PARE_DOUBLE) ((double *)buffer)[i] *= 2;
            if (dtype == PARE_INT64 || dtype == PARE_UINT64) ((uint64_t *)buffer)[i] *= 2;
        }
    return w->fails;
}

/* processes: 2: as it should be; 1: whatever is summed counts twice. */
static void come_together(world *w, uint32_t processes) {
    *w = (world){0};
    pare_reduce_by(&(pare_reducer){processes, doubled, w});
}

static int alone(void **state) {
    (void)state;
    pare_reduce_by(NULL);
    return 0;
}

static double apart(pare_model *a, pare_model *b, const char *name) {
    uint64_t n;
    const float *x = small_weights(a, name, &n), *y = small_weights(b, name, &n);
    double most = 0;
    for (uint64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i] - (double)y[i]));
    return most;
}

/* ---- the three kinds ---- */

static pare_model *train(const pare_model *m, double lr, uint32_t micro, double *loss) {
    small_step s;
    pare_model *out = NULL;
    small_step_begin(&s, NET_NEAR, true);
    s.fit.epochs = 1;
    s.fit.lr = lr;
    s.fit.weight_decay = 0;
    s.fit.micro_batch = micro;
    assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &out));
    *loss = json_number_value(json_object_get(json_object_get(s.notes, "notes"), "loss"));
    small_step_end(&s);
    return out;
}

static void gradients_pass_once_a_step(void **state) {
    (void)state;
    static const char *const names[] = {"conv.weight", "bn.weight", "bn.bias", "bn.mean",
                                        "bn.var",      "fc.weight", "fc.bias"};
    world w;
    double loss, other;
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    for (uint32_t micro = 0; micro <= 8; micro += 8) {
        pare_reduce_by(NULL);
        pare_model *plain = train(m, 0.02, micro, &loss), *twice = train(m, 0.04, micro, &other);
        come_together(&w, 2);
        pare_model *two = train(m, 0.02, micro, &other);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_true(apart(plain, two, names[i]) < 1e-6);
        assert_true(fabs(loss - other) < 1e-6 && loss > 0.01);
        assert_int_equal(w.calls[PARE_REDUCED_GRADIENT], 6); /* steps: however many micro-batches */
        assert_int_equal(w.numbers[PARE_REDUCED_GRADIENT], 6 * (54 + 6 + 6 + 288 + 3));
        assert_int_equal(w.calls[PARE_REDUCED_METRIC], 6); /* their losses */
        assert_int_equal(w.numbers[PARE_REDUCED_METRIC], 6);
        assert_int_equal(w.calls[PARE_REDUCED_STATISTIC], 1); /* on the way home */
        assert_int_equal(w.numbers[PARE_REDUCED_STATISTIC], 12);
        assert_int_equal(w.calls[PARE_REDUCED_PLUGIN], 0);
        /* that the weights move by what came back: twice the gradient is twice the learning rate */
        come_together(&w, 1);
        pare_model *both = train(m, 0.02, micro, &other);
        assert_true(apart(twice, both, "fc.weight") < 1e-6 && apart(twice, both, "conv.weight") < 1e-6);
        assert_true(apart(plain, both, "fc.weight") > 1e-3);
        uint64_t n; /* and the statistics: they are twice what they were */
        assert_true(fabs((double)small_weights(both, "bn.var", &n)[1] -
                         2 * (double)small_weights(twice, "bn.var", &n)[1]) < 1e-5);
        pare_reduce_by(NULL);
        pare_model *const all[] = {plain, twice, two, both};
        for (size_t i = 0; i < 4; i++) pare_model_free(all[i]);
    }
    pare_model_free(m);
}

static pare_model *recalibrate(const pare_model *m) {
    small_step s;
    pare_model *out = NULL;
    small_step_begin(&s, NET_NEAR, true);
    assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", "{batch: 16}", m, &out));
    small_step_end(&s);
    return out;
}

static void statistics_pass_once_a_batch(void **state) {
    (void)state;
    world w;
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *plain = recalibrate(m);
    come_together(&w, 2);
    pare_model *two = recalibrate(m);
    assert_true(small_same(plain, two, "bn.mean") && small_same(plain, two, "bn.var"));
    assert_int_equal(w.calls[PARE_REDUCED_STATISTIC], 6);
    assert_int_equal(w.numbers[PARE_REDUCED_STATISTIC], 6 * 12);
    assert_int_equal(w.calls[PARE_REDUCED_GRADIENT] + w.calls[PARE_REDUCED_METRIC] + w.calls[PARE_REDUCED_PLUGIN], 0);
    come_together(&w, 1);
    pare_model *both = recalibrate(m);
    uint64_t n;
    const float *x = small_weights(plain, "bn.var", &n), *y = small_weights(both, "bn.var", &n);
    for (uint64_t i = 0; i < n; i++) assert_true(fabs((double)y[i] - 2 * (double)x[i]) < 1e-5 * (double)y[i]);
    pare_model_free(m);
    pare_model_free(plain);
    pare_model_free(two);
    pare_model_free(both);
}

static pare_tally score(pare_model *m, const pare_data *set, const pare_logits *baseline, pare_logits *keep) {
    pare_session_opts o = net_opts(NET_NEAR);
    pare_compute c = {.main = o.backend, .host = o.host_backend, .device = "cpu"};
    pare_scored s;
    pare_tally t = {0};
    assert_int_equal(pare_scored_open(m, &c, 1, NULL, &s), PARE_OK);
    assert_int_equal(pare_score(&s, set, NULL, baseline, keep, NULL, NULL, &t), PARE_OK);
    pare_scored_close(&s);
    return t;
}

static void metrics_pass_once_a_set(void **state) {
    (void)state;
    world w;
    pare_data *set = small_set(true);
    pare_logits logits = {0};
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *other = small_net(true, SMALL_CLASSES, 7);
    pare_tally base = score(other, set, NULL, &logits), one = score(m, set, &logits, NULL);
    come_together(&w, 2);
    pare_tally two = score(m, set, &logits, NULL);
    assert_int_equal(w.calls[PARE_REDUCED_METRIC], 2); /* sums, and what is the most of all */
    assert_int_equal(w.calls[PARE_REDUCED_GRADIENT] + w.calls[PARE_REDUCED_STATISTIC] + w.calls[PARE_REDUCED_PLUGIN],
                     0);
    assert_int_equal(one.samples, SMALL_N);
    assert_int_equal(two.samples, 2 * SMALL_N);
    assert_int_equal(two.correct, 2 * one.correct);
    assert_int_equal(two.only_a, 2 * one.only_a);
    assert_int_equal(two.only_b, 2 * one.only_b);
    assert_true(one.correct && one.only_a + one.only_b);
    assert_int_equal(two.classes, SMALL_CLASSES);
    for (int i = 0; i < SMALL_CLASSES; i++) {
        assert_int_equal(two.class_total[i], 2 * one.class_total[i]);
        assert_int_equal(two.class_correct[i], 2 * one.class_correct[i]);
    }
    assert_true(two.max_abs_diff == one.max_abs_diff && one.max_abs_diff > 0);
    const double shares[][2] = {
        {pare_tally_loss(&one), pare_tally_loss(&two)}, {pare_tally_accuracy(&one), pare_tally_accuracy(&two)},
        {pare_tally_top5(&one), pare_tally_top5(&two)}, {pare_tally_agreement(&one), pare_tally_agreement(&two)},
        {pare_tally_kl(&one), pare_tally_kl(&two)},     {pare_tally_sqnr_db(&one), pare_tally_sqnr_db(&two)}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!(fabs(shares[i][0] - shares[i][1]) <= 1e-12 * fabs(shares[i][0]))) fail_msg("metric %zu", i);
    pare_tally_free(&base);
    pare_tally_free(&one);
    pare_tally_free(&two);
    pare_logits_free(&logits);
    pare_model_free(m);
    pare_model_free(other);
    pare_data_free(set);
}

static void plugins_pass_too(void **state) {
    (void)state;
    world w;
    pare_host_env env = {0};
    pare_host *h = pare_host_new(&env);
    double x[2] = {1, 3};
    int64_t k = -4;
    assert_int_equal(h->reduce(h, PARE_REDUCE_SUM, PARE_DOUBLE, x, 2), PARE_OK);
    assert_true(x[0] == 1 && x[1] == 3);
    come_together(&w, 2);
    assert_int_equal(h->reduce(h, PARE_REDUCE_SUM, PARE_DOUBLE, x, 2), PARE_OK);
    assert_int_equal(h->reduce(h, PARE_REDUCE_SUM, PARE_INT64, &k, 1), PARE_OK);
    assert_int_equal(h->reduce(h, PARE_REDUCE_MAX, PARE_DOUBLE, x, 2), PARE_OK);
    assert_true(x[0] == 2 && x[1] == 6 && k == -8);
    assert_int_equal(w.calls[PARE_REDUCED_PLUGIN], 3);
    assert_int_equal(w.calls[PARE_REDUCED_GRADIENT] + w.calls[PARE_REDUCED_STATISTIC] + w.calls[PARE_REDUCED_METRIC],
                     0);
    pare_host_free(h);
}

/* Where the others can't be reached the step fails, and says why. */
static void a_failure_is_said(void **state) {
    (void)state;
    static const struct {
        const char *id, *with, *says;
    } steps[] = {{"train.supervised", "{}", "can't bring their numbers together"},
                 {"batchnorm.recalibrate", "{batch: 16}", "can't bring their numbers together"}};
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    for (size_t i = 0; i < 2; i++) {
        world w;
        small_step s;
        come_together(&w, 2);
        w.fails = PARE_EIO;
        small_step_begin(&s, NET_NEAR, true);
        assert_int_equal(small_step_run(&s, steps[i].id, steps[i].with, m, &out), PARE_EIO);
        assert_null(out);
        assert_said(&s, steps[i].says);
        small_step_end(&s);
    }
    pare_model_free(m);
}

static int set_up(void **state) {
    plugins_open();
    return tmpdir_make(state);
}

static int tear_down(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gradients_pass_once_a_step, alone),
        cmocka_unit_test_teardown(statistics_pass_once_a_batch, alone),
        cmocka_unit_test_teardown(metrics_pass_once_a_set, alone),
        cmocka_unit_test_teardown(plugins_pass_too, alone),
        cmocka_unit_test_teardown(a_failure_is_said, alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
