/* Gradients of whole networks, as people export them, against PyTorch's in float64 (golden/train/net_*.npz, zoo_*.npz):
 * in double on the plain C kernels here and far away, in float on the CPU's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/grad.h"
#include "model/infer.h"
#include "model/zoo.h"
#include "train/golden.h"

typedef struct net {
    const char *name, *file;
    int64_t batch;
    bool no_far; /* the same again would only take time */
} net;

static const net nets[] = {
    {"resnet18", "nets/resnet18-ts.onnx", 4, false},
    {"mobilenet_v2", "train/mobilenet_v2.onnx", 4, false},
    {"vit", "nets/vit-ts.onnx", 4, false},
    {"unet_resize", "nets/unet_resize-ts.onnx", 2, true},
    {"densenet", "nets/densenet-ts.onnx", 1, true},
    {"mobilenet_v2_folded", "nets/mobilenet_v2-ts.onnx", 4, true},
    {"vit_d18", "nets/vit-d18.onnx", 4, true},
    {"convnext", "nets/convnext-d23.onnx", 2, true},
    {"shufflenet", "nets/shufflenet_v2-ts.onnx", 4, true},
    {"efficientnet", "nets/efficientnet-ts.onnx", 4, true},
    {"mobilenet_v3", "nets/mobilenet_v3-ts.onnx", 1, true},
    {"vit_d23", "nets/vit-d23.onnx", 1, true},
    {"unet", "nets/unet-ts.onnx", 1, true},
    {"inception", "nets/inception_v3-d18.onnx", 2, true},
};
enum { N_NETS = sizeof nets / sizeof *nets };

/* ---- a net with its loss and gradients, ready to run ---- */

typedef struct graph {
    pare_model *m;
    pare_trained trained;
    pare_session *s;
    pare_array *in[2]; /* samples, labels */
    size_t n_in;
    pare_diags *d;
    const char **fetches; /* the loss, then gradients of trained.weights */
} graph;

/* Cross-entropy of (N, K); else the mean of the output times numbers. */
static uint32_t add_loss(graph *g, const int64_t *in_dims) {
    const pare_graph *main = pare_model_graph(g->m, PARE_MAIN_GRAPH);
    const pare_value *y = pare_model_value(g->m, main->outputs.data[0]);
    const char *out = "loss";
    if (y->ndim == 2) {
        const pare_dim rows = {.value = in_dims[0]};
        net_input(g->m, "labels", PARE_INT64, 1, &rows);
        g->in[g->n_in++] = golden_labels(in_dims[0], y->dims[1].value);
        pare_node_add(g->m, PARE_MAIN_GRAPH, 0, "SoftmaxCrossEntropyLoss", "", out,
                      (uint32_t[]){y->id, net_value(g->m, "labels")}, 2, &out, 1);
        return net_value(g->m, "loss");
    }
    int64_t dims[4] = {in_dims[0]};
    assert_int_equal(y->ndim, 4);
    for (int i = 1; i < 4; i++) dims[i] = y->dims[i].value > 0 ? y->dims[i].value : in_dims[i];
    pare_array *r = golden_samples(y->dtype, 4, dims, 9);
    net_tensor(g->m, "r", y->dtype, 4, dims, pare_array_data(r));
    pare_array_unref(r);
    const char *product = "loss:product";
    pare_node_add(g->m, PARE_MAIN_GRAPH, 0, "Mul", "", product, (uint32_t[]){y->id, net_value(g->m, "r")}, 2, &product,
                  1);
    uint32_t id = pare_node_add(g->m, PARE_MAIN_GRAPH, 0, "ReduceMean", "", out, (uint32_t[]){net_value(g->m, product)},
                                1, &out, 1);
    pare_attr_set_int(g->m, id, "keepdims", 0);
    return net_value(g->m, "loss");
}

static void open_graph(graph *g, pare_model *m, int device, const int64_t *dims, uint64_t seed, bool fused) {
    *g = (graph){.m = m, .d = pare_diags_new(PARE_DIAG_HUMAN, stderr)};
    pare_train_form form = {.trains = NULL};
    assert_int_equal(pare_grad_prepare(m, &form, g->d, &g->trained), PARE_OK);
    const pare_graph *main = pare_model_graph(m, PARE_MAIN_GRAPH);
    g->in[g->n_in++] = golden_samples(pare_model_value(m, main->inputs.data[0])->dtype, 4, dims, seed);
    if (fused) pare_grad_fuse(m, main->outputs.data[0]);
    uint32_t loss = add_loss(g, dims);
    size_t n = g->trained.n_weights;
    uint32_t *wrt = calloc(n + 1, sizeof *wrt), *grads = calloc(n + 1, sizeof *grads);
    for (size_t i = 0; i < n; i++) wrt[i] = net_value(m, g->trained.weights[i]);
    assert_int_equal(pare_grad_build(m, loss, wrt, n, g->d, grads), PARE_OK);
    g->fetches = calloc(n + 1, sizeof *g->fetches);
    g->fetches[0] = "loss";
    for (size_t i = 0; i < n; i++) {
        if (!grads[i]) fail_msg("the loss does not depend on \"%s\"", g->trained.weights[i]);
        g->fetches[i + 1] = pare_model_value(m, grads[i])->name;
    }
    pare_program p = {
        .fetches = g->fetches, .n_fetches = n + 1, .effects = g->trained.effects, .n_effects = g->trained.n_statistics};
    pare_session_opts o = net_opts(device);
    o.programs = &p;
    o.n_programs = 1;
    o.variables = g->trained.statistics;
    o.n_variables = g->trained.n_statistics;
    assert_int_equal(pare_session_open(m, &o, g->d, &g->s), PARE_OK);
    free(wrt);
    free(grads);
}

static void close_graph(graph *g) {
    pare_session_close(g->s);
    for (size_t i = 0; i < g->n_in; i++) pare_array_unref(g->in[i]);
    free(g->fetches);
    pare_model_free(g->m);
    pare_diags_free(g->d);
}

static size_t number_of(const graph *g, const char *weight) {
    for (size_t i = 0; i < g->trained.n_weights; i++)
        if (strcmp(g->trained.weights[i], weight) == 0) return i;
    fail_msg("\"%s\" is not trained", weight);
    return 0;
}

/* ---- comparing ---- */

/* Some gradients are 0 but for rounding: a bias that the next normalisation takes away. What they are measured by is at
 * least this part of what as many elements have on average. */
static const double floor_share = 1e-2;

static void check(const net *t, int device, bool in_double, bool fused) {
    char file[64];
    snprintf(file, sizeof file, "net_%s.npz", t->name);
    pare_npz *z = golden_open(file);
    pare_model *m = golden_model(t->file, in_double);
    const pare_value *x = pare_model_value(m, pare_model_graph(m, PARE_MAIN_GRAPH)->inputs.data[0]);
    int64_t dims[4] = {t->batch, x->dims[1].value, x->dims[2].value, x->dims[3].value};
    graph g;
    open_graph(&g, m, device, dims, 1, fused);
    pare_array **out = calloc(g.trained.n_weights + 1, sizeof *out);
    assert_int_equal(pare_session_run_program(g.s, 0, g.in, g.d, out), PARE_OK);
    pare_array *loss = golden_read(z, "loss"), *grads = golden_read(z, "grads");
    bool stored_in_double = grads->dtype == PARE_DOUBLE;
    double loss_limit = in_double ? 1e-9 : 1e-5, limit = !in_double ? 1e-3 : stored_in_double ? 1e-9 : 1e-6, worst = 0;
    double got = golden_at(out[0], 0), want = golden_at(loss, 0);
    if (!(fabs(got - want) <= loss_limit * fabs(want)))
        fail_msg("%s on device %d: loss %.12g, PyTorch has %.12g", t->name, device, got, want);
    golden_names names = golden_names_read(z, "names");
    uint64_t at = 0;
    double all = 0;
    for (uint64_t i = 0; i < grads->count; i++) all += golden_at(grads, i) * golden_at(grads, i) / (double)grads->count;
    for (size_t i = 0; i < names.n; i++) {
        pare_array *a = out[1 + number_of(&g, names.name[i])];
        double apart = golden_apart(a, grads, at, floor_share * sqrt(all * (double)a->count));
        if (!(apart <= limit))
            fail_msg("%s on device %d: the gradient by \"%s\" is %g away from PyTorch's (norm-wise)", t->name, device,
                     names.name[i], apart);
        worst = fmax(worst, apart);
        at += a->count;
    }
    assert_int_equal(at, grads->count);
    assert_int_equal(names.n, g.trained.n_weights);
    if (getenv("PARE_TEST_SHOW"))
        print_message("%s device %d%s: loss %.1e, gradients %.1e\n", t->name, device, fused ? " fused" : "",
                      fabs(got - want) / fabs(want), worst);
    golden_names_free(&names);
    if (golden_has(z, "stats")) {
        names = golden_names_read(z, "stat_names");
        pare_array *stats = golden_read(z, "stats");
        at = 0;
        assert_int_equal(names.n, g.trained.n_statistics);
        for (size_t i = 0; i < names.n; i++) {
            pare_array *a = NULL;
            assert_int_equal(pare_session_variable_get(g.s, names.name[i], g.d, &a), PARE_OK);
            double apart = golden_apart(a, stats, at, 0);
            if (!(apart <= (in_double ? 1e-9 : 1e-5)))
                fail_msg("%s on device %d: \"%s\" is %g away from PyTorch's", t->name, device, names.name[i], apart);
            at += a->count;
            pare_array_unref(a);
        }
        pare_array_unref(stats);
        golden_names_free(&names);
    }
    for (size_t i = 0; i <= g.trained.n_weights; i++) pare_array_unref(out[i]);
    free(out);
    pare_array_unref(loss);
    pare_array_unref(grads);
    close_graph(&g);
    pare_npz_close(z);
}

static void in_double(void **state) {
    (void)state;
    for (size_t i = 0; i < N_NETS; i++) check(&nets[i], NET_NEAR, true, false);
}

static void in_double_fused(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) check(&nets[i], NET_NEAR, true, true);
}

static void far_away(void **state) {
    (void)state;
    for (size_t i = 0; i < N_NETS; i++)
        if (!nets[i].no_far) check(&nets[i], NET_FAR, true, true);
}

static void in_float_on_the_cpu(void **state) {
    (void)state;
    for (size_t i = 0; i < N_NETS; i++)
        for (int fused = 0; fused < 2; fused++) check(&nets[i], NET_CPU, false, fused);
}

/* ---- pare's own nets in full size ---- */

static void check_zoo(const char *name, int device, bool in_double) {
    char file[64];
    snprintf(file, sizeof file, "zoo_%s.npz", name);
    pare_npz *z = golden_open(file);
    const pare_zoo_net *zoo = pare_zoo_find(name);
    const pare_arg args[5] = {
        {.u.i = 10, .n = 1}, {.u.i = 1, .n = 1}, {.u.i = 28, .n = 1}, {.u.i = 0, .n = 1}, {.u.f = 0, .n = 1}};
    pare_model *m = NULL;
    assert_int_equal(zoo->build(args, 7, NULL, &m), PARE_OK);
    if (in_double) golden_to_double(m);
    const int64_t dims[4] = {16, 1, 28, 28};
    graph g;
    pare_array *seed = golden_read(z, "seed"); /* of a batch that stays clear of where Relu and Clip bend */
    open_graph(&g, m, device, dims, *(const uint64_t *)pare_array_data(seed), true);
    pare_array_unref(seed);
    pare_array **out = calloc(g.trained.n_weights + 1, sizeof *out);
    assert_int_equal(pare_session_run_program(g.s, 0, g.in, g.d, out), PARE_OK);
    pare_array *loss = golden_read(z, "loss"), *norms = golden_read(z, "norms"), *picked = golden_read(z, "picked");
    double got = golden_at(out[0], 0), want = golden_at(loss, 0), limit = in_double ? 1e-9 : 1e-3, worst = 0;
    if (!(fabs(got - want) <= (in_double ? 1e-9 : 1e-5) * want))
        fail_msg("%s on device %d: loss %.12g, PyTorch has %.12g", name, device, got, want);
    golden_names names = golden_names_read(z, "names");
    uint64_t n = picked->count / names.n;
    double all = 0, count = 0;
    for (size_t i = 0; i < names.n; i++) {
        all += golden_at(norms, i) * golden_at(norms, i);
        count += (double)out[1 + number_of(&g, names.name[i])]->count;
    }
    assert_int_equal(names.n, g.trained.n_weights);
    for (size_t i = 0; i < names.n; i++) {
        const pare_array *a = out[1 + number_of(&g, names.name[i])];
        double norm = 0, diff = 0, sample = 0, true_norm = golden_at(norms, i), rest;
        for (uint64_t k = 0; k < a->count; k++) norm += golden_at(a, k) * golden_at(a, k);
        for (uint64_t k = 0; k < n; k++) {
            double y = golden_at(picked, i * n + k), by = golden_at(a, k * a->count / n) - y;
            diff += by * by;
            sample += y * y;
        }
        /* of the few elements, relative to what as many have on average where these are smaller */
        rest = fmax(true_norm, floor_share * sqrt(all / count * (double)a->count));
        sample = fmax(sqrt(sample), rest * sqrt((double)n / (double)a->count));
        double apart = fmax(fabs(sqrt(norm) - true_norm) / rest, sqrt(diff) / sample);
        if (!(apart <= limit))
            fail_msg("%s on device %d: the gradient by \"%s\" is %g away from PyTorch's", name, device, names.name[i],
                     apart);
        worst = fmax(worst, apart);
    }
    if (getenv("PARE_TEST_SHOW"))
        print_message("zoo %s device %d: loss %.1e, gradients %.1e\n", name, device, fabs(got - want) / want, worst);
    golden_names_free(&names);
    for (size_t i = 0; i <= g.trained.n_weights; i++) pare_array_unref(out[i]);
    free(out);
    pare_array_unref(loss);
    pare_array_unref(norms);
    pare_array_unref(picked);
    close_graph(&g);
    pare_npz_close(z);
}

static void first_step_of_the_zoo(void **state) {
    (void)state;
    check_zoo("resnet18", NET_CPU, false);
    check_zoo("mobilenet_v2", NET_CPU, false);
    check_zoo("mobilenet_v2", NET_NEAR, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_double),           cmocka_unit_test(in_double_fused),       cmocka_unit_test(far_away),
        cmocka_unit_test(in_float_on_the_cpu), cmocka_unit_test(first_step_of_the_zoo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
