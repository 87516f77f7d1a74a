/* Distillation losses against PyTorch: values and gradients, in double on the plain kernels and in float everywhere. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/grad.h"
#include "far/net.h"
#include "golden/train/losses.h"
#include "model/infer.h"
#include "plugin/host.h"
#include "train/components.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <stdio.h>

enum { N = GOLDEN_N, K = GOLDEN_K, N_GOLDEN = sizeof golden / sizeof *golden };

/* How a golden case is asked for. */
static const struct asked {
    const char *golden, *loss, *with;
    const double *student, *teachers[2];
    bool targets;
} asked[] = {
    {"hinton", "distill.hinton", "teacher: t", golden_student, {golden_first, NULL}, false},
    {"hinton_soft_only", "distill.hinton", "{teacher: t, temperature: 2, alpha: 1}", golden_student, {golden_first}, 0},
    {"hinton_hard_only", "distill.hinton", "{teacher: t, alpha: 0}", golden_student, {golden_first}, 0},
    {"hinton_two",
     "distill.hinton",
     "{teacher: [t, u], weights: [1, 3], temperature: 3, alpha: 0.5}",
     golden_student,
     {golden_first, golden_second},
     0},
    {"hinton_targets", "distill.hinton", "teacher: t", golden_student, {golden_first}, true},
    {"hinton_wide", "distill.hinton", "{teacher: t, temperature: 1}", golden_wide, {golden_wide_teacher}, 0},
    {"dkd", "distill.dkd", "teacher: t", golden_student, {golden_first}, 0},
    {"dkd", "distill.dkd", "{teacher: [t, u], weights: [5, 0]}", golden_student, {golden_first, golden_second}, 0},
    {"dkd_sharp",
     "distill.dkd",
     "{teacher: t, temperature: 1, alpha: 2, beta: 0.5, cross_entropy: 0}",
     golden_student,
     {golden_first},
     0},
    {"dkd_sharp",
     "distill.dkd",
     "{teacher: t, temperature: 1, alpha: 2, beta: 0.5, cross_entropy: 0}",
     golden_student,
     {golden_first},
     true},
    {"dkd_quarter", "distill.dkd", "{teacher: t, warmup: 4}", golden_student, {golden_first}, 0},
    {"dkd", "distill.dkd", "{teacher: t, warmup: 0.5}", golden_student, {golden_first}, 0},
    {"dkd_two", "distill.dkd", "teacher: [t, u]", golden_student, {golden_first, golden_second}, 0},
    {"dist", "distill.dist", "teacher: t", golden_student, {golden_first}, 0},
    {"dist_warm",
     "distill.dist",
     "{teacher: t, temperature: 4, beta: 2, gamma: 3, cross_entropy: 0.5}",
     golden_student,
     {golden_first},
     0},
    {"dist_unlabelled",
     "distill.dist",
     "{teacher: t, temperature: 2, gamma: 2, cross_entropy: 0}",
     golden_student,
     {golden_first},
     0},
};

/* ---- a graph that is nothing but the loss ---- */

typedef struct built {
    pare_model *m;
    pare_status st;
    pare_diags *d;
    bool labels, targets; /* inputs that were made */
    size_t teachers;
} built;

static uint32_t graph_input(pare_model *m, const char *name, uint32_t dtype, int32_t ndim, int64_t n, int64_t k) {
    const pare_dim dims[2] = {{n, NULL}, {k, NULL}};
    net_input(m, name, dtype, ndim, dims);
    return net_value(m, name);
}

/* Outputs: the loss and its gradient by z. */
static built build(const pare_loss *l, const pare_arg *args, uint32_t dtype, int64_t n, int64_t k, bool labels,
                   bool targets, size_t n_teachers) {
    built b = {.m = net_new(21), .d = pare_diags_new(PARE_DIAG_SILENT, NULL), .labels = labels, .targets = targets};
    uint32_t teachers[2] = {0}, loss = 0, grad = 0;
    pare_model_opset_set(b.m, PARE_GRAD_DOMAIN, 1);
    pare_loss_io io = {.size = sizeof io, .classes = (uint64_t)k, .teachers = teachers, .n_teachers = n_teachers};
    io.logits = graph_input(b.m, "z", dtype, 2, n, k);
    io.epoch = graph_input(b.m, "epoch", dtype, 0, 0, 0);
    if (labels) io.labels = graph_input(b.m, "labels", PARE_INT64, 1, n, 0);
    if (targets) io.targets = graph_input(b.m, "targets", dtype, 2, n, k);
    for (size_t i = 0; i < n_teachers; i++) teachers[i] = graph_input(b.m, i ? "u" : "t", dtype, 2, n, k);
    b.teachers = n_teachers;
    pare_host_env env = {.diags = b.d, .plugin = "distill", .technique = l->id};
    pare_host *host = pare_host_new(&env);
    void *self = NULL;
    pare_host_begin(host, PARE_PHASE_CREATE, NULL);
    pare_status made = l->create(host, args, &self);
    b.st = pare_host_end(host, made);
    pare_host_begin(host, PARE_PHASE_APPLY, b.m);
    if (!b.st) b.st = l->build(self, host, b.m, &io, &loss);
    b.st = pare_host_end(host, b.st);
    if (!made) l->destroy(self);
    pare_host_free(host);
    if (b.st) return b;
    assert_int_equal(pare_model_infer(b.m, b.d), PARE_OK);
    const pare_value *v = pare_model_value(b.m, loss);
    assert_int_equal(v->ndim, 0);
    assert_int_equal(v->dtype, dtype);
    assert_int_equal(pare_grad_build(b.m, loss, &io.logits, 1, b.d, &grad), PARE_OK);
    assert_int_not_equal(grad, 0);
    pare_graph_output_add(b.m, PARE_MAIN_GRAPH, loss);
    pare_graph_output_add(b.m, PARE_MAIN_GRAPH, grad);
    assert_int_equal(pare_model_infer(b.m, b.d), PARE_OK);
    return b;
}

static void built_free(built *b) {
    pare_model_free(b->m);
    pare_diags_free(b->d);
}

static pare_array *numbers(uint32_t dtype, int64_t n, int64_t k, const double *from) {
    pare_array *a = pare_array_new(dtype, 2, (int64_t[]){n, k});
    for (int64_t i = 0; i < n * k; i++) {
        if (dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(a))[i] = from[i];
        else
            ((float *)pare_array_data_mut(a))[i] = (float)from[i];
    }
    return a;
}

static double at(const pare_array *a, uint64_t i) {
    return a->dtype == PARE_DOUBLE ? ((const double *)pare_array_data(a))[i]
                                   : (double)((const float *)pare_array_data(a))[i];
}

static pare_array *epoch_one(uint32_t dtype) {
    pare_array *a = pare_array_new(dtype, 0, NULL);
    if (dtype == PARE_DOUBLE)
        *(double *)pare_array_data_mut(a) = 1;
    else
        *(float *)pare_array_data_mut(a) = 1;
    return a;
}

/* out[0]: the loss, out[1]: its gradient. */
static void run(const built *b, int device, pare_array *z, const double *const *teachers, const int64_t *labels,
                const double *targets, pare_array **out) {
    pare_session_opts opts = net_opts(device);
    pare_session *s = NULL;
    pare_status st = pare_session_open(b->m, &opts, b->d, &s);
    for (size_t i = 0; i < pare_diags_count(b->d); i++) print_error("%s\n", pare_diags_get(b->d, i)->message);
    assert_int_equal(st, PARE_OK);
    pare_array *in[6] = {NULL};
    for (size_t i = 0; i < pare_session_n_inputs(s); i++) {
        const char *name = pare_session_input(s, i)->name;
        if (name[0] == 'z') in[i] = pare_array_ref(z);
        if (strcmp(name, "epoch") == 0) in[i] = epoch_one(z->dtype);
        if (strcmp(name, "labels") == 0) in[i] = net_array(PARE_INT64, 1, z->dims, labels);
        if (strcmp(name, "targets") == 0) in[i] = numbers(z->dtype, z->dims[0], z->dims[1], targets);
        if (strcmp(name, "t") == 0) in[i] = numbers(z->dtype, z->dims[0], z->dims[1], teachers[0]);
        if (strcmp(name, "u") == 0) in[i] = numbers(z->dtype, z->dims[0], z->dims[1], teachers[1]);
    }
    assert_int_equal(pare_session_run(s, in, b->d, out), PARE_OK);
    for (size_t i = 0; i < 6; i++) pare_array_unref(in[i]);
    pare_session_close(s);
}

/* ---- tests ---- */

static void check(const struct asked *a, uint32_t dtype, int device, double tolerance) {
    size_t g = 0;
    while (g < N_GOLDEN && strcmp(golden[g].name, a->golden) != 0) g++;
    assert_true(g < N_GOLDEN);
    const pare_loss *l = loss_of(a->loss);
    arguments args = loss_arguments(l, a->with);
    built b = build(l, args.args, dtype, N, K, !a->targets, a->targets, a->teachers[1] ? 2 : 1);
    for (size_t i = 0; i < pare_diags_count(b.d); i++) print_error("%s\n", pare_diags_get(b.d, i)->message);
    assert_int_equal(b.st, PARE_OK);
    pare_array *z = numbers(dtype, N, K, a->student), *out[2] = {NULL};
    run(&b, device, z, a->teachers, golden_labels, golden_targets, out);
    double off = fabs(at(out[0], 0) - golden[g].loss) / golden[g].loss, most = 1e-3, worst = 0;
    for (uint64_t i = 0; i < N * K; i++) {
        most = fmax(most, fabs(golden[g].gradient[i]));
        worst = fmax(worst, fabs(at(out[1], i) - golden[g].gradient[i]));
    }
    if (!(off <= tolerance))
        fail_msg("%s on %d: the loss is %.12g, PyTorch's %.12g", a->golden, device, at(out[0], 0), golden[g].loss);
    if (!(worst / most <= tolerance)) fail_msg("%s on %d: gradients are %g apart", a->golden, device, worst / most);
    for (size_t i = 0; i < 2; i++) pare_array_unref(out[i]);
    pare_array_unref(z);
    built_free(&b);
    arguments_free(&args);
}

static void they_equal_pytorch_in_double(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) check(&asked[i], PARE_DOUBLE, NET_NEAR, 1e-9);
}

static void they_equal_pytorch_in_float(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        for (int device = NET_NEAR; device < NET_DEVICES; device++) check(&asked[i], PARE_FLOAT, device, 1e-5);
}

/* Logits that agree, one sample, all logits equal, a class that nobody thinks of: nothing becomes NaN. */
static void extremes_stay_numbers(void **state) {
    (void)state;
    static const double same[] = {0, 0, 0, 0, 0, 0}, far_off[] = {500, -500, 0, -500, 500, 0},
                        other[] = {-500, 500, 0, 1, 2, 3};
    static const double *const logits[] = {same, far_off, other};
    static const char *const losses[] = {"distill.hinton", "distill.dkd", "distill.dist"};
    static const int64_t labels[] = {0, 2};
    for (size_t k = 0; k < 3; k++) {
        const pare_loss *l = loss_of(losses[k]);
        arguments args = loss_arguments(l, "{teacher: t, temperature: 1}");
        for (int64_t n = 1; n <= 2; n++) {
            built b = build(l, args.args, PARE_FLOAT, n, 3, true, false, 1);
            assert_int_equal(b.st, PARE_OK);
            for (size_t i = 0; i < 9; i++) {
                pare_array *z = numbers(PARE_FLOAT, n, 3, logits[i / 3]), *out[2] = {NULL};
                run(&b, NET_NEAR, z, &logits[i % 3], labels, NULL, out);
                if (!isfinite(at(out[0], 0))) fail_msg("%s, case %zu: the loss is %g", losses[k], i, at(out[0], 0));
                for (uint64_t e = 0; e < out[1]->count; e++)
                    if (!isfinite(at(out[1], e))) fail_msg("%s, case %zu: gradient %g", losses[k], i, at(out[1], e));
                for (size_t e = 0; e < 2; e++) pare_array_unref(out[e]);
                pare_array_unref(z);
            }
            built_free(&b);
        }
        arguments_free(&args);
    }
}

static const char *first_error(const built *b) {
    return pare_diags_count(b->d) ? pare_diags_get(b->d, 0)->message : "(nothing)";
}

static void refused(const char *id, const char *with, int64_t k, bool labels, size_t teachers, const char *says) {
    const pare_loss *l = loss_of(id);
    arguments args = loss_arguments(l, with);
    built b = build(l, args.args, PARE_FLOAT, 4, k, labels, false, teachers);
    if (b.st != PARE_EINVAL || !strstr(first_error(&b), says))
        fail_msg("%s {%s}: status %d, \"%s\" lacks \"%s\"", id, with, b.st, first_error(&b), says);
    built_free(&b);
    arguments_free(&args);
}

static void what_is_missing_is_said(void **state) {
    (void)state;
    refused("distill.hinton", "teacher: t", 3, false, 1, "distill.hinton takes labels");
    refused("distill.hinton", "teacher: t", 3, true, 0, "distill.hinton has no teacher");
    refused("distill.hinton", "{teacher: [t, u], weights: [1]}", 3, true, 2, "1 weights for 2 teachers");
    refused("distill.hinton", "{teacher: [t, u], weights: [0, 0]}", 3, true, 2, "all weights are 0");
    refused("distill.dkd", "teacher: t", 3, false, 1, "distill.dkd takes labels");
    refused("distill.dkd", "teacher: t", 1, true, 1, "only one class");
    refused("distill.dkd", "{teacher: t, alpha: 0, beta: 0}", 3, true, 1, "the teacher would not count");
    refused("distill.dist", "{teacher: t, beta: 0, gamma: 0}", 3, true, 1, "the teacher would not count");
    refused("distill.dist", "teacher: t", 3, false, 1, "distill.dist takes labels");
    /* and what is not missing is not */
    const pare_loss *l = loss_of("distill.hinton");
    arguments args = loss_arguments(l, "{teacher: t, alpha: 1}");
    built b = build(l, args.args, PARE_FLOAT, 4, 3, false, false, 1);
    assert_int_equal(b.st, PARE_OK);
    built_free(&b);
    arguments_free(&args);
}

static int set_up(void **state) {
    (void)state;
    plugins_open();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    plugins_close();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_equal_pytorch_in_double),
        cmocka_unit_test(they_equal_pytorch_in_float),
        cmocka_unit_test(extremes_stay_numbers),
        cmocka_unit_test(what_is_missing_is_said),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
