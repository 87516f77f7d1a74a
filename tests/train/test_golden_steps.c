/* Ten steps of the loop in double: the losses, and BatchNormalization's statistics at the end, that PyTorch has
 * (golden/train/net_*.npz). And what training mode means besides: frozen statistics, folded ones, Dropout. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "model/infer.h"
#include "train/fit.h"
#include "train/golden.h"

enum { STEPS = 10, CLASSES = 10 };

/* ---- a set and a fit ---- */

static pare_data *samples(uint32_t dtype, size_t ndim, const int64_t *dims, uint64_t seed) {
    const char *images = in_tmp("x.npy"), *labels = in_tmp("y.npy");
    pare_array *x = golden_samples(dtype, ndim, dims, seed), *y = golden_labels(dims[0], CLASSES);
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = images, .labels = labels};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

typedef struct fitting {
    pare_compute compute;
    pare_fit_env env;
    pare_diags *d;
    pare_fit *f;
} fitting;

static void open_fit(fitting *t, pare_model *m, const pare_data *set, const pare_fit_opts *o, int device) {
    pare_session_opts s = net_opts(device);
    *t = (fitting){.d = pare_diags_new(PARE_DIAG_HUMAN, stderr)};
    t->compute = (pare_compute){.main = s.backend, .host = s.host_backend, .device = "cpu"};
    t->env = (pare_fit_env){.compute = &t->compute, .threads = 1, .set = set};
    t->env.loss.host.diags = t->d;
    assert_int_equal(pare_fit_open(m, o, &t->env, false, t->d, &t->f), PARE_OK);
}

static void close_fit(fitting *t) {
    pare_fit_close(t->f);
    pare_diags_free(t->d);
}

static double step(fitting *t, uint64_t i) {
    assert_int_equal(pare_fit_run(t->f, i + 1), PARE_OK);
    return pare_fit_state_of(t->f).loss;
}

static pare_array *tensor(pare_model *m, const char *name) {
    const pare_value *v = pare_model_value(m, net_value(m, name));
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    const void *data = NULL;
    assert_non_null(t);
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    return net_array(t->dtype, t->ndim, t->dims, data);
}

/* ---- ten steps ---- */

/* make_train.py's ten_steps */
static pare_fit_opts options(uint32_t batch) {
    pare_fit_opts o = pare_fit_defaults();
    o.batch = batch;
    o.lr = 0.05;
    o.momentum = 0.9;
    o.nesterov = true;
    o.weight_decay = 5e-4;
    o.schedule.kind = PARE_SCHEDULE_COSINE;
    o.schedule.warmup = 2;
    return o;
}

static void ten_steps(const char *name, const char *file, int device) {
    char golden[64];
    snprintf(golden, sizeof golden, "net_%s.npz", name);
    pare_npz *z = golden_open(golden);
    pare_model *m = golden_model(file, true);
    const pare_value *x = pare_model_value(m, pare_model_graph(m, PARE_MAIN_GRAPH)->inputs.data[0]);
    const int64_t dims[4] = {4 * STEPS, x->dims[1].value, x->dims[2].value, x->dims[3].value};
    pare_data *set = samples(PARE_DOUBLE, 4, dims, 3);
    pare_array *losses = golden_read(z, "losses");
    pare_fit_opts o = options(4);
    fitting t;
    open_fit(&t, m, set, &o, device);
    double worst = 0;
    for (uint64_t i = 0; i < STEPS; i++) {
        double got = step(&t, i), want = golden_at(losses, i);
        worst = fmax(worst, fabs(got - want) / want);
        if (!(fabs(got - want) <= 1e-6 * want))
            fail_msg("%s on device %d, step %d: loss %.10g, PyTorch has %.10g", name, device, (int)i + 1, got, want);
    }
    assert_int_equal(pare_fit_home(t.f, m), PARE_OK);
    if (golden_has(z, "stats10")) {
        golden_names names = golden_names_read(z, "stat_names");
        pare_array *stats = golden_read(z, "stats10");
        uint64_t at = 0;
        for (size_t i = 0; i < names.n; i++) {
            pare_array *a = tensor(m, names.name[i]);
            double apart = golden_apart(a, stats, at, 0);
            if (!(apart <= 1e-6)) fail_msg("%s: after ten steps \"%s\" is %g away", name, names.name[i], apart);
            at += a->count;
            pare_array_unref(a);
        }
        assert_int_equal(at, stats->count);
        pare_array_unref(stats);
        golden_names_free(&names);
    }
    if (getenv("PARE_TEST_SHOW")) print_message("%s device %d: losses %.1e\n", name, device, worst);
    close_fit(&t);
    pare_array_unref(losses);
    pare_data_free(set);
    pare_npz_close(z);
    pare_model_free(m);
}

static void ten_steps_of_each_net(void **state) {
    (void)state;
    ten_steps("resnet18", "nets/resnet18-ts.onnx", NET_NEAR);
    ten_steps("mobilenet_v2", "train/mobilenet_v2.onnx", NET_NEAR);
    ten_steps("vit", "nets/vit-ts.onnx", NET_NEAR);
    ten_steps("resnet18", "nets/resnet18-ts.onnx", NET_FAR);
}

/* ---- training mode ---- */

static const pare_dim vector[] = {{-1, "N"}, {8, NULL}};

/* x (N, 8) -> [norm] -> Relu -> [Dropout] -> Gemm: logits (N, 10). */
static pare_model *small(bool norm, double ratio) {
    pare_model *m = net_new(17);
    const int64_t w[] = {CLASSES, 8}, c[] = {8}, b[] = {CLASSES};
    float ones[CLASSES], zeros[CLASSES] = {0}, drop = (float)ratio;
    for (int i = 0; i < CLASSES; i++) ones[i] = 1;
    net_input(m, "x", PARE_FLOAT, 2, vector);
    net_tensor(m, "scale", PARE_FLOAT, 1, c, ones);
    net_tensor(m, "shift", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "mean", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "var", PARE_FLOAT, 1, c, ones);
    net_floats(m, "w", 2, w, 1);
    net_tensor(m, "b", PARE_FLOAT, 1, b, zeros);
    net_tensor(m, "ratio", PARE_FLOAT, 0, NULL, &drop);
    const char *last = "x", *out = "n";
    if (norm) {
        uint32_t in[5] = {net_value(m, "x"), net_value(m, "scale"), net_value(m, "shift"), net_value(m, "mean"),
                          net_value(m, "var")};
        pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", "bn", in, 5, &out, 1);
        last = "n";
    }
    net1(m, "Relu", "r", last);
    if (ratio > 0) net2(m, "Dropout", "d", "r", "ratio");
    uint32_t gemm = net_node(m, "Gemm", "logits", 3, ratio > 0 ? "d" : "r", "w", "b");
    pare_attr_set_int(m, gemm, "transB", 1);
    net_output(m, "logits");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

static void a_frozen_norm_keeps_its_statistics(void **state) {
    (void)state;
    const int64_t dims[2] = {32, 8};
    pare_data *set = samples(PARE_FLOAT, 2, dims, 5);
    for (int frozen = 0; frozen < 3; frozen++) { /* not; its statistics; by name, as a whole */
        static const char *const names[] = {"scale", "shift"};
        pare_model *m = small(true, 0), *after = pare_model_clone(m);
        pare_fit_opts o = options(8);
        o.freeze_batchnorm = frozen == 1;
        o.freeze = names;
        o.n_freeze = frozen == 2 ? 2 : 0;
        fitting t;
        open_fit(&t, m, set, &o, NET_NEAR);
        assert_int_equal(pare_fit_graph(t.f)->trained.n_batchnorm, !frozen);
        assert_int_equal(pare_fit_run(t.f, 0), PARE_OK);
        assert_int_equal(pare_fit_home(t.f, after), PARE_OK);
        static const char *const all[] = {"mean", "var", "scale", "shift", "w"};
        for (int i = 0; i < 5; i++) {
            pare_array *a = tensor(m, all[i]), *b = tensor(after, all[i]);
            bool same = memcmp(pare_array_data(a), pare_array_data(b), a->nbytes) == 0;
            assert_int_equal(same, i < 2 ? frozen != 0 : i < 4 ? frozen == 2 : false);
            pare_array_unref(a);
            pare_array_unref(b);
        }
        close_fit(&t);
        pare_model_free(m);
        pare_model_free(after);
    }
    pare_data_free(set);
}

/* The same seed drops the same elements; another seed, step or micro-batch others. Losses tell. */
static void dropout_repeats_by_seed(void **state) {
    (void)state;
    const int64_t dims[2] = {32, 8};
    pare_data *set = samples(PARE_FLOAT, 2, dims, 5);
    double loss[4][2];
    for (int k = 0; k < 4; k++) {
        pare_model *m = small(false, k == 3 ? 0 : 0.5);
        pare_fit_opts o = options(16);
        o.seed = k == 2 ? 8 : 7;
        o.lr = 1e-12;
        fitting t;
        open_fit(&t, m, set, &o, k == 1 ? NET_FAR : NET_NEAR);
        for (uint64_t i = 0; i < 2; i++) loss[k][i] = step(&t, i);
        close_fit(&t);
        pare_model_free(m);
    }
    assert_true(loss[0][0] == loss[1][0] && loss[0][1] == loss[1][1]);
    assert_true(fabs(loss[0][0] - loss[2][0]) > 1e-3);
    assert_true(fabs(loss[0][0] - loss[3][0]) > 1e-3);
    pare_data_free(set);
}

/* One row over and over, in micro-batches of one: if each dropped the same elements, the loss would be one row's. */
static void micro_batches_drop_other_elements(void **state) {
    (void)state;
    int64_t dims[2] = {16, 8};
    const char *images = in_tmp("same.npy"), *labels = in_tmp("same-labels.npy");
    pare_array *x = pare_array_new(PARE_FLOAT, 2, dims), *y = pare_array_new(PARE_INT64, 1, dims);
    for (uint64_t i = 0; i < x->count; i++) ((float *)pare_array_data_mut(x))[i] = 0.25f * (float)(1 + i % 8);
    memset(pare_array_data_mut(y), 0, y->nbytes);
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = images, .labels = labels};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    double loss[2];
    for (int k = 0; k < 2; k++) { /* a batch of one; sixteen of one each */
        pare_model *m = small(false, 0.5);
        pare_fit_opts o = options(k ? 16 : 1);
        o.micro_batch = 1;
        o.lr = 1e-12;
        o.schedule.warmup = 0;
        fitting t;
        open_fit(&t, m, set, &o, NET_NEAR);
        loss[k] = step(&t, 0);
        close_fit(&t);
        pare_model_free(m);
    }
    assert_true(fabs(loss[0] - loss[1]) > 1e-3);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_free(set);
}

static double run_dropout(pare_model *m, int device, const char *fetch, int64_t at_step, double *kept_as) {
    int64_t dims[2] = {512, 40};
    pare_session_opts o = net_opts(device);
    o.fetches = &fetch;
    o.n_fetches = 1;
    pare_session *s = NULL;
    assert_int_equal(pare_session_open(m, &o, NULL, &s), PARE_OK);
    pare_array *in[2] = {pare_array_new(PARE_FLOAT, 2, dims), net_array(PARE_INT64, 0, NULL, &at_step)}, *out = NULL;
    for (uint64_t i = 0; i < in[0]->count; i++) ((float *)pare_array_data_mut(in[0]))[i] = 1;
    assert_int_equal(pare_session_run(s, in, NULL, &out), PARE_OK);
    uint64_t kept = 0, n = out->count;
    for (uint64_t i = 0; i < n; i++) {
        if (net_f(out)[i] == 0) continue;
        kept++;
        *kept_as = (double)net_f(out)[i];
    }
    pare_array_unref(in[0]);
    pare_array_unref(in[1]);
    pare_array_unref(out);
    pare_session_close(s);
    return (double)kept / (double)n;
}

/* A share of 1 - ratio is kept, and grows by as much; in inference nothing happens. */
static void dropout_keeps_its_share(void **state) {
    (void)state;
    static const float ratios[] = {0.1f, 0.5f, 0.75f, 0.25f};
    const pare_dim dims[] = {{-1, "N"}, {40, NULL}};
    for (int k = 0; k < 4; k++) { /* the last as before opset 12: an attribute */
        pare_model *m = net_new(k < 3 ? 17 : 10);
        net_input(m, "x", PARE_FLOAT, 2, dims);
        if (k < 3) net_tensor(m, "ratio", PARE_FLOAT, 0, NULL, &ratios[k]);
        uint32_t node = k < 3 ? net2(m, "Dropout", "y", "x", "ratio") : net1(m, "Dropout", "y", "x");
        if (k == 3) pare_attr_set_float(m, node, "ratio", ratios[k]);
        net_output(m, "y");
        pare_train_form form = {.seed = 3};
        pare_trained trained;
        double as = 0, keep = 1 - (double)ratios[k];
        assert_int_equal(pare_grad_prepare(m, &form, NULL, &trained), PARE_OK);
        assert_int_equal(trained.n_dropout, 1);
        assert_non_null(trained.step);
        for (int device = NET_NEAR; device < NET_DEVICES; device++)
            for (int64_t at = 0; at < 3; at++) {
                double share = run_dropout(m, device, "y", at, &as);
                if (fabs(share - keep) > 5 * sqrt(keep * (1 - keep) / (512 * 40)))
                    fail_msg("ratio %g on device %d: a share of %g is kept", (double)ratios[k], device, share);
                assert_true(fabs(as - 1 / keep) < 1e-5);
            }
        pare_model_free(m);
    }
}

/* An initializer that a node of the graph moves about first is a weight too; a mask of -inf and a scalar are none. */
static void weights_are_found(void **state) {
    (void)state;
    pare_model *m = net_new(17);
    const int64_t one_row[] = {1, 8}, all_rows[] = {8}, two[] = {2}, w[] = {8, CLASSES}, slope[] = {1};
    const float mask[8] = {0, -INFINITY, 0, 0, 0, 0, 0, 0}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, half = 0.5f;
    const int64_t shape[] = {2, 8};
    net_input(m, "x", PARE_FLOAT, 2, vector);
    net_floats(m, "token", 2, one_row, 3);
    net_tensor(m, "shape", PARE_INT64, 1, two, shape);
    net_tensor(m, "mask", PARE_FLOAT, 1, all_rows, mask);
    net_tensor(m, "plain", PARE_FLOAT, 1, all_rows, ones);
    net_tensor(m, "half", PARE_FLOAT, 0, NULL, &half);
    net_tensor(m, "slope", PARE_FLOAT, 1, slope, ones);
    net_floats(m, "w", 2, w, 1);
    net2(m, "Expand", "tokens", "token", "shape");
    net2(m, "Add", "a", "x", "plain");
    net2(m, "Mul", "h", "a", "half");
    net2(m, "PRelu", "p", "h", "slope");
    net2(m, "Add", "q", "p", "mask");
    net1(m, "Softmax", "s", "q");
    const char *joined = "j";
    uint32_t both[2] = {net_value(m, "s"), net_value(m, "tokens")};
    pare_attr_set_int(m, pare_node_add(m, PARE_MAIN_GRAPH, 0, "Concat", "", joined, both, 2, &joined, 1), "axis", 0);
    net2(m, "MatMul", "logits", "j", "w");
    net_output(m, "logits");
    pare_train_form form = {.seed = 0};
    pare_trained t;
    assert_int_equal(pare_grad_prepare(m, &form, NULL, &t), PARE_OK);
    static const char *const want[] = {"token", "plain", "slope", "w"};
    assert_int_equal(t.n_weights, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(t.weights[i], want[i]);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_steps_of_each_net),   cmocka_unit_test(a_frozen_norm_keeps_its_statistics),
        cmocka_unit_test(dropout_repeats_by_seed), cmocka_unit_test(micro_batches_drop_other_elements),
        cmocka_unit_test(dropout_keeps_its_share), cmocka_unit_test(weights_are_found),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
