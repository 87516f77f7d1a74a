/* Techniques that train, run as a step is: what they learn, what stays zero, what is refused. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/small.h"

#include <math.h>

static double note(const small_step *s, const char *key) {
    return json_number_value(json_object_get(json_object_get(s->notes, "notes"), key));
}

/* Of the set's samples, the share that m puts into its class. */
static double accuracy(pare_model *m, const pare_data *set) {
    pare_session_opts o = net_opts(NET_NEAR);
    pare_session *session = NULL;
    pare_reader *r = NULL;
    pare_reader_opts opts = {.batch = SMALL_N};
    pare_batch b = {0};
    pare_array *out = NULL;
    double hits = 0;
    assert_int_equal(pare_session_open(m, &o, NULL, &session), PARE_OK);
    assert_int_equal(pare_reader_open(set, NULL, NULL, &opts, NULL, &r), PARE_OK);
    assert_int_equal(pare_reader_next(r, NULL, &b), PARE_OK);
    assert_int_equal(pare_session_run(session, &b.images, NULL, &out), PARE_OK);
    for (uint64_t i = 0; i < b.n; i++) {
        const float *z = net_f(out) + i * SMALL_CLASSES;
        int best = 0;
        for (int k = 1; k < SMALL_CLASSES; k++) best = z[k] > z[best] ? k : best;
        hits += best == (int)(b.samples[i] % SMALL_CLASSES);
    }
    pare_array_unref(out);
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_session_close(session);
    return hits / SMALL_N;
}

/* ---- learning ---- */

static void supervised_learns(void **state) {
    (void)state;
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        small_step_begin(&s, device, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *kept = pare_model_clone(m), *out = NULL;
        s.fit.epochs = 10;
        assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &out));
        assert_true(accuracy(out, s.set) > 0.9);
        assert_true(note(&s, "steps") == 60 && note(&s, "loss") < 0.5);
        assert_true(json_array_size(json_object_get(json_object_get(s.notes, "curves"), "loss")) > 10);
        assert_true(small_same(m, kept, "fc.weight") && !small_same(m, out, "fc.weight"));
        assert_true(!small_same(m, out, "bn.mean"));
        pare_model_free(out);
        pare_model_free(kept);
        pare_model_free(m);
        small_step_end(&s);
    }
}

static void supervised_takes_any_loss(void **state) {
    (void)state;
    const pare_loss *dkd = loss_of("distill.dkd");
    arguments with = loss_arguments(dkd, "teacher: t");
    pare_fit_loss losses[3] = {{.use = "mse", .weight = 1},
                               {.use = "cross_entropy", .weight = 0.5},
                               {.use = "distill.dkd", .args = with.args, .weight = 0.1}};
    for (size_t n = 1; n <= 3; n++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
        s.fit.losses = losses;
        s.fit.n_losses = n;
        s.fit.epochs = 15;
        s.fit.lr = 0.02;
        assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &out));
        assert_true(accuracy(out, s.set) > 0.6);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
    arguments_free(&with);
}

/* A teacher that was trained teaches without labels; the batch may be cut. */
static void hinton_needs_no_labels(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *teacher = NULL;
    s.fit.epochs = 10;
    assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &teacher));
    small_step_end(&s);
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step_begin(&s, device, false);
        pare_model *student = small_net(true, SMALL_CLASSES, 40), *out = NULL;
        s.teacher[0] = pare_model_clone(teacher);
        s.fit.epochs = 10;
        s.fit.micro_batch = device == NET_FAR ? 6 : 0;
        assert_ok(&s, small_step_run(&s, "distill.hinton", "{teacher: t, alpha: 1}", student, &out));
        double before = accuracy(student, s.set), after = accuracy(out, s.set);
        if (!(after > 0.85 && before < after)) fail_msg("%g before, %g after", before, after);
        pare_model_free(out);
        pare_model_free(student);
        small_step_end(&s);
    }
    pare_model_free(teacher);
    pare_model_free(m);
}

/* With labels, two teachers; the technique and the loss of its name are one. */
static void hinton_is_loss_and_technique(void **state) {
    (void)state;
    static const char with[] = "{teacher: [t, u], weights: [1, 2], temperature: 3, alpha: 0.5}";
    const pare_loss *hinton = loss_of("distill.hinton");
    arguments args = loss_arguments(hinton, with);
    pare_fit_loss loss = {.use = hinton->id, .args = args.args, .weight = 1};
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out[2] = {NULL};
    for (int k = 0; k < 2; k++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        s.teacher[0] = small_net(true, SMALL_CLASSES, 11);
        s.teacher[1] = small_net(false, SMALL_CLASSES, 12);
        if (k) s.fit.losses = &loss;
        s.fit.n_losses = (size_t)k;
        assert_ok(&s, small_step_run(&s, k ? "train.supervised" : "distill.hinton", k ? "{}" : with, m, &out[k]));
        small_step_end(&s);
    }
    assert_true(small_same(out[0], out[1], "fc.weight") && small_same(out[0], out[1], "bn.var"));
    assert_false(small_same(m, out[0], "conv.weight"));
    for (int k = 0; k < 2; k++) pare_model_free(out[k]);
    pare_model_free(m);
    arguments_free(&args);
}

/* ---- zeros ---- */

static void pruned_zeros_stay(void **state) {
    (void)state;
    static const struct {
        const char *loss, *with;
    } cases[] = {{NULL, NULL},
                 {"mse", NULL},
                 {"distill.hinton", "{teacher: t}"},
                 {"distill.dkd", "{teacher: t, beta: 2, warmup: 1}"},
                 {"distill.dist", "{teacher: t}"}};
    static const char *const prunes[] = {"{sparsity: 0.6, ops: [Conv, Gemm]}", "{pattern: '2:4', ops: [Gemm]}"};
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    for (size_t p = 0; p < 2; p++) {
        pare_model *pruned = NULL;
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        assert_ok(&s, small_step_run(&s, "prune.unstructured", prunes[p], m, &pruned));
        small_step_end(&s);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            pare_model *out = NULL;
            arguments with = {0};
            pare_fit_loss loss = {.use = cases[i].loss, .weight = 1};
            small_step_begin(&s, i % 2 ? NET_FAR : NET_NEAR, true);
            if (cases[i].with) {
                with = loss_arguments(loss_of(cases[i].loss), cases[i].with);
                loss.args = with.args;
            }
            s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
            s.fit.optimizer = i % 3 == 1 ? PARE_ADAMW : PARE_SGD;
            s.fit.ema = i == 2 ? 0.9 : 0;
            s.fit.losses = &loss;
            s.fit.n_losses = cases[i].loss != NULL;
            assert_ok(&s, small_step_run(&s, "train.supervised", "{}", pruned, &out));
            uint64_t n, zeros = 0;
            const float *before = small_weights(pruned, "fc.weight", &n), *after = small_weights(out, "fc.weight", &n);
            for (uint64_t k = 0; k < n; k++) {
                uint32_t bits;
                memcpy(&bits, &after[k], sizeof bits);
                if (before[k] == 0) assert_int_equal(bits, 0);
                zeros += before[k] == 0;
            }
            assert_true(zeros >= n / 2 && !small_same(pruned, out, "fc.weight"));
            pare_model_free(out);
            arguments_free(&with);
            small_step_end(&s);
        }
        pare_model_free(pruned);
    }
    pare_model_free(m);
}

/* ---- refusals ---- */

static void refused(small_step *s, const char *id, const char *with, pare_status want, const char *says) {
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    pare_status st = small_step_run(s, id, with, m, &out);
    if (st != want || out) fail_msg("%s %s: status %d, %s", id, with, st, small_said(s));
    assert_said(s, says);
    if (strstr(small_said(s), "without a word")) fail_msg("%s", small_said(s));
    pare_model_free(m);
    small_step_end(s);
}

static void what_can_not_be_trained_is_said(void **state) {
    (void)state;
    small_step s;
    pare_fit_loss loss = {.use = "distill.hinto", .weight = 1};

    small_step_begin(&s, NET_NEAR, true);
    s.services.fit = NULL;
    refused(&s, "train.supervised", "{}", PARE_EINVAL, "step it: the step has no `fit` block");
    small_step_begin(&s, NET_NEAR, true);
    s.services.env.set = NULL;
    refused(&s, "train.supervised", "{}", PARE_EINVAL, "no set to train on");
    small_step_begin(&s, NET_NEAR, false);
    refused(&s, "train.supervised", "{}", PARE_EINVAL, "the training set has none");
    small_step_begin(&s, NET_NEAR, true);
    s.fit.losses = &loss;
    s.fit.n_losses = 1;
    refused(&s, "train.supervised", "{}", PARE_ENOTFOUND, "there is no loss \"distill.hinto\"");
    small_step_begin(&s, NET_NEAR, true);
    s.fit.losses = &loss;
    s.fit.n_losses = 1;
    refused(&s, "distill.hinton", "{teacher: t}", PARE_EINVAL, "distill.hinton and `fit.loss`");
    small_step_begin(&s, NET_NEAR, true);
    refused(&s, "distill.hinton", "{teacher: t}", PARE_ENOTFOUND, "there is no teacher t");
    small_step_begin(&s, NET_NEAR, false);
    s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
    refused(&s, "distill.hinton", "{teacher: t}", PARE_EINVAL, "the training set has none");
    small_step_begin(&s, NET_NEAR, true);
    s.teacher[0] = small_net(true, 5, 1);
    refused(&s, "distill.hinton", "{teacher: t}", PARE_EINVAL, "teacher 1 tells 5 classes, the student 3");
    small_step_begin(&s, NET_NEAR, true);
    s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
    refused(&s, "distill.hinton", "{teacher: t, weights: [1, 2]}", PARE_EINVAL, "2 weights for 1 teacher");
    small_step_begin(&s, NET_NEAR, true);
    s.fit.lr = 1e30;
    refused(&s, "train.supervised", "{}", PARE_EDIVERGED, "diverged");
    loss = (pare_fit_loss){.use = "distill.dkd", .weight = 1};
    arguments with = loss_arguments(loss_of("distill.dkd"), "teacher: t");
    loss.args = with.args;
    small_step_begin(&s, NET_NEAR, false);
    s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
    s.fit.losses = &loss;
    s.fit.n_losses = 1;
    refused(&s, "train.supervised", "{}", PARE_EINVAL, "the loss distill.dkd takes labels");
    small_step_begin(&s, NET_NEAR, true);
    loss.args = NULL;
    s.fit.losses = &loss;
    s.fit.n_losses = 1;
    refused(&s, "train.supervised", "{}", PARE_EINVAL, "the loss distill.dkd has no teacher");
    arguments_free(&with);
}

static void hear(void *ctx, const char *line) {
    if (strstr(line, "where an exporter folded it")) ++*(int *)ctx;
}

/* Said once, in the log, of convolutions with biases alone. */
static void folded_batchnorm_is_told(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++) { /* with BatchNormalization, without, without and with a bias */
        int heard = 0;
        small_step s;
        pare_model *m = small_net(k == 0, SMALL_CLASSES, 1), *out = NULL;
        pare_node *conv = pare_model_node(m, pare_model_value(m, net_value(m, "c"))->producer);
        if (k == 2) {
            net_floats(m, "conv.bias", 1, (int64_t[]){6}, 3);
            const uint32_t in[] = {conv->in[0], conv->in[1], net_value(m, "conv.bias")};
            uint32_t old = conv->out[0];
            const char *name = "biased";
            uint32_t id = pare_node_add(m, PARE_MAIN_GRAPH, conv->id, "Conv", "", "conv2", in, 3, &name, 1);
            pare_attr_set_ints(m, id, "pads", (int64_t[]){1, 1, 1, 1}, 4);
            pare_value_replace_uses(m, old, pare_model_node(m, id)->out[0]);
            pare_node_del(m, conv->id);
            assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
        }
        small_step_begin(&s, NET_NEAR, true);
        s.services.env.say = hear;
        s.services.env.ctx = &heard;
        assert_ok(&s, small_step_run(&s, "train.supervised", "{}", m, &out));
        assert_int_equal(heard, k == 2);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* It is named, with the way out; behind what is frozen it is in nobody's way. */
static void an_op_without_a_gradient_is_named(void **state) {
    (void)state;
    static const char *const freeze[] = {"conv.*", "bn"};
    for (int frozen = 0; frozen < 2; frozen++) {
        small_step s;
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        pare_node *n = pare_model_node(m, pare_model_value(m, net_value(m, "r"))->producer);
        n->op_type = "Hardmax";
        n->name = "pick";
        small_step_begin(&s, NET_NEAR, true);
        s.fit.freeze = freeze;
        s.fit.n_freeze = frozen ? 2 : 0;
        pare_status st = small_step_run(&s, "train.supervised", "{}", m, &out);
        if (frozen) {
            assert_ok(&s, st);
            assert_true(small_same(m, out, "conv.weight") && !small_same(m, out, "fc.weight"));
        } else {
            assert_int_equal(st, PARE_EUNSUPPORTED);
            assert_said(&s, "[train.gradient] step it: Hardmax node \"pick\" has no gradient");
            assert_non_null(strstr(pare_diags_get(s.d, 0)->hint, "freeze what lies before it"));
        }
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* On the device, at any moment: it is done in smaller parts, on the CPU, or refused; nothing is left behind. */
static void memory_may_run_out(void **state) {
    (void)state;
    static const struct {
        const char *id, *with;
    } steps[] = {{"distill.hinton", "{teacher: t}"}, {"batchnorm.recalibrate", "{batch: 16}"}};
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    for (size_t k = 0; k < 2; k++) {
        int done = 0, refused_ = 0;
        for (uint64_t at = 1; at < 2000; at += 11) {
            small_step s;
            pare_model *out = NULL;
            small_step_begin(&s, NET_FAR, true);
            s.teacher[0] = small_net(true, SMALL_CLASSES, 1);
            s.fit.epochs = 0;
            s.fit.steps = 3;
            memset(&far_ctl, 0, sizeof far_ctl);
            far_ctl.fail_at = at;
            pare_status st = small_step_run(&s, steps[k].id, steps[k].with, m, &out);
            bool failed = far_ctl.allocs >= at;
            if (st && st != PARE_ENOMEM) fail_msg("%s at %d: %d, %s", steps[k].id, (int)at, st, small_said(&s));
            if (strstr(small_said(&s), "without a word")) fail_msg("%s", small_said(&s));
            assert_true((st == PARE_OK) == (out != NULL));
            done += !st;
            refused_ += st != PARE_OK;
            pare_model_free(out);
            small_step_end(&s);
            assert_int_equal(far_ctl.live, 0);
            if (!failed) break;
        }
        assert_true(done > 0 && (refused_ > 0) == (k == 0)); /* statistics are begun anew */
    }
    memset(&far_ctl, 0, sizeof far_ctl);
    pare_model_free(m);
}

/* ---- statistics ---- */

/* Mean and unbiased variance of the first channel before BatchNormalization, by batches of 16, averaged. */
static void expected(pare_model *m, const pare_data *set, int batches, double *mean, double *var) {
    static const char *const fetch[] = {"c"};
    pare_session_opts o = net_opts(NET_NEAR);
    o.fetches = fetch;
    o.n_fetches = 1;
    pare_session *session = NULL;
    pare_reader *r = NULL;
    pare_reader_opts opts = {.batch = 16};
    *mean = *var = 0;
    assert_int_equal(pare_session_open(m, &o, NULL, &session), PARE_OK);
    assert_int_equal(pare_reader_open(set, NULL, NULL, &opts, NULL, &r), PARE_OK);
    for (int i = 0; i < batches; i++) {
        pare_batch b = {0};
        pare_array *out = NULL;
        double sum = 0, squares = 0, n = 16 * 16;
        assert_int_equal(pare_reader_next(r, NULL, &b), PARE_OK);
        assert_int_equal(pare_session_run(session, &b.images, NULL, &out), PARE_OK);
        for (int k = 0; k < 16 * 16; k++) sum += (double)net_f(out)[k / 16 * 96 + k % 16];
        for (int k = 0; k < 16 * 16; k++) squares += pow((double)net_f(out)[k / 16 * 96 + k % 16] - sum / n, 2);
        *mean += sum / n / batches;
        *var += squares / (n - 1) / batches;
        pare_array_unref(out);
        pare_batch_free(&b);
    }
    pare_reader_close(r);
    pare_session_close(session);
}

static void statistics_are_taken_anew(void **state) {
    (void)state;
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        pare_model *out = NULL;
        double mean, var;
        uint64_t n;
        small_step_begin(&s, device, false); /* no labels are needed, nor a fit block */
        s.services.fit = NULL;
        s.services.env.set = device == NET_NEAR ? NULL : s.set; /* without it the step is asked for its own */
        assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", "{batch: 16, samples: 50}", m, &out));
        expected(m, s.set, 3, &mean, &var);
        float got_mean = small_weights(out, "bn.mean", &n)[0], got_var = small_weights(out, "bn.var", &n)[0];
        if (fabs((double)got_mean - mean) > 1e-5 || fabs((double)got_var - var) > 1e-5 * var)
            fail_msg("mean %g for %g, variance %g for %g", (double)got_mean, mean, (double)got_var, var);
        assert_true(small_same(m, out, "fc.weight") && small_same(m, out, "conv.weight"));
        assert_true(note(&s, "batchnorms") == 1);
        pare_model_free(out);
        /* a share of what was there stays: 0.9^2 of the mean 0 and the variance 1 */
        double m1, v1, m2, v2;
        assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", "{batch: 16, samples: 32, momentum: 0.9}", m, &out));
        expected(m, s.set, 1, &m1, &v1);
        expected(m, s.set, 2, &m2, &v2);
        double second = 2 * v2 - v1;
        got_var = small_weights(out, "bn.var", &n)[0];
        if (fabs((double)got_var - (0.81 + 0.09 * v1 + 0.1 * second)) > 1e-5)
            fail_msg("variance %g for %g", (double)got_var, 0.81 + 0.09 * v1 + 0.1 * second);
        pare_model_free(out);
        small_step_end(&s);
    }
    pare_model_free(m);
}

/* On a device that holds less and less: in smaller batches, and at last on the CPU. */
static void statistics_where_memory_is_short(void **state) {
    (void)state;
    static const char *const with[] = {"{batch: 16}", "{batch: 16, momentum: 0.9}"};
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    for (size_t k = 0; k < 2; k++) {
        pare_model *whole = NULL, *out = NULL;
        int cut = 0, moved = 0, as_ever = 0;
        small_step s;
        small_step_begin(&s, NET_NEAR, false);
        assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", with[k], m, &whole));
        small_step_end(&s);
        for (uint64_t cap = 512; cap < 1 << 18; cap += cap / 4) {
            uint64_t n;
            memset(&far_ctl, 0, sizeof far_ctl);
            far_ctl.cap = cap;
            small_step_begin(&s, cap % 2 ? NET_FAR : NET_FAR_CPU, false);
            assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", with[k], m, &out));
            bool on_cpu = strstr(small_said(&s), "statistics are taken on the CPU"),
                 small = strstr(small_said(&s), "over batches of");
            const float *x = small_weights(whole, "bn.var", &n), *y = small_weights(out, "bn.var", &n);
            for (uint64_t i = 0; i < n; i++) { /* smaller batches have other variances, but of the same samples */
                double off = fabs((double)x[i] - (double)y[i]) / (double)x[i];
                if (!(off < (on_cpu || !small ? 1e-5 : 0.3))) fail_msg("%g off at %d bytes", off, (int)cap);
            }
            if (on_cpu) assert_said(&s, "statistics are taken over batches of 2 instead of 16");
            moved += on_cpu;
            cut += small && !on_cpu;
            as_ever += !small && !on_cpu;
            pare_model_free(out);
            small_step_end(&s);
            assert_int_equal(far_ctl.live, 0);
        }
        if (!moved || !cut || !as_ever) fail_msg("%d on the CPU, %d in parts, %d as ever", moved, cut, as_ever);
        pare_model_free(whole);
    }
    memset(&far_ctl, 0, sizeof far_ctl);
    pare_model_free(m);
}

static void statistics_of_nothing(void **state) {
    (void)state;
    small_step s;
    pare_model *plain = small_net(false, SMALL_CLASSES, 1), *out = NULL;
    small_step_begin(&s, NET_NEAR, false);
    assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", "{}", plain, &out));
    assert_said(&s, "no BatchNormalization");
    pare_model_free(out);
    small_step_end(&s);
    small_step_begin(&s, NET_NEAR, false);
    refused(&s, "batchnorm.recalibrate", "{data: nowhere}", PARE_ENOTFOUND, "there is no set nowhere");
    small_step_begin(&s, NET_NEAR, false);
    refused(&s, "batchnorm.recalibrate", "{samples: 1}", PARE_EINVAL, "1 sample to take statistics of");
    small_step_begin(&s, NET_NEAR, false);
    s.other = small_set(true);
    assert_ok(&s, small_step_run(&s, "batchnorm.recalibrate", "{data: other}", plain, &out));
    pare_model_free(out);
    small_step_end(&s);
    pare_model_free(plain);
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
        cmocka_unit_test(supervised_learns),
        cmocka_unit_test(supervised_takes_any_loss),
        cmocka_unit_test(hinton_needs_no_labels),
        cmocka_unit_test(hinton_is_loss_and_technique),
        cmocka_unit_test(pruned_zeros_stay),
        cmocka_unit_test(what_can_not_be_trained_is_said),
        cmocka_unit_test(folded_batchnorm_is_told),
        cmocka_unit_test(an_op_without_a_gradient_is_named),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(statistics_are_taken_anew),
        cmocka_unit_test(statistics_where_memory_is_short),
        cmocka_unit_test(statistics_of_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
