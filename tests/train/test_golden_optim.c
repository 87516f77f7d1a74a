/* SGD, Adam and AdamW over 50 recorded gradients: the weights PyTorch has after steps 1, 2, 10 and 50
 * (golden/train/optim.npz), to 1e-9 in double and 1e-5 in float. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/infer.h"
#include "train/golden.h"

#include <pare/grad_ops.h>

enum { STEPS = 50, TENSORS = 3, TOTAL = 7 + 15 + 24 };

static const struct {
    size_t ndim;
    int64_t dims[3];
    uint64_t n;
} shapes[TENSORS] = {{1, {7}, 7}, {2, {3, 5}, 15}, {3, {2, 3, 4}, 24}};
static const uint64_t kept[] = {1, 2, 10, 50};

typedef struct way {
    const char *name;
    bool adam, decoupled, nesterov;
    double lr, momentum, beta2, epsilon, decay, clip;
} way;

static const way ways[] = {
    {"sgd", .lr = 0.05},
    {"sgd_decay", .lr = 0.05, .decay = 0.01},
    {"sgd_momentum", .lr = 0.02, .momentum = 0.9},
    {"sgd_nesterov", .lr = 0.02, .momentum = 0.9, .nesterov = true, .decay = 0.01},
    {"sgd_clip", .lr = 0.05, .momentum = 0.8, .nesterov = true, .decay = 0.01, .clip = 1.5},
    {"adam", .adam = true, .lr = 0.01, .momentum = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
    {"adam_decay", .adam = true, .lr = 0.01, .momentum = 0.8, .beta2 = 0.99, .epsilon = 1e-6, .decay = 0.05},
    {"adam_clip", .adam = true, .lr = 0.01, .momentum = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = 0.05,
     .clip = 1.5},
    {"adamw", .adam = true, .decoupled = true, .lr = 0.01, .momentum = 0.9, .beta2 = 0.999, .epsilon = 1e-8,
     .decay = 0.1},
    {"adamw_clip", .adam = true, .decoupled = true, .lr = 0.01, .momentum = 0.85, .beta2 = 0.95, .epsilon = 1e-8,
     .decay = 0.1, .clip = 1.5},
};

/* Names of what a step writes, and of what it keeps. */
typedef struct names {
    char text[64][24];
    size_t n;
} names;

static const char *named(names *list, const char *what, int i) {
    snprintf(list->text[list->n], sizeof *list->text, "%s%d", what, i);
    return list->text[list->n++];
}

static pare_model *updates(const way *w, uint32_t dtype, pare_npz *z, names *effects, names *variables) {
    pare_model *m = net_new(21);
    pare_array *start = golden_read(z, "start");
    uint32_t g[TENSORS], state[2] = {0, 0};
    const pare_dim eight = {.value = 8};
    pare_model_opset_set(m, PARE_GRAD_DOMAIN, 1);
    for (int i = 0; i < TENSORS; i++) {
        pare_dim dims[3];
        for (size_t k = 0; k < shapes[i].ndim; k++) dims[k] = (pare_dim){.value = shapes[i].dims[k]};
        char name[8];
        snprintf(name, sizeof name, "g%d", i);
        net_input(m, name, dtype, (int32_t)shapes[i].ndim, dims);
        g[i] = net_value(m, name);
    }
    net_input(m, "hyper", PARE_DOUBLE, 1, &eight);
    uint32_t norm = 0;
    if (w->clip > 0) {
        const char *out = "norm";
        pare_node_add(m, PARE_MAIN_GRAPH, 0, "GlobalNorm", PARE_GRAD_DOMAIN, "norm", g, TENSORS, &out, 1);
        norm = net_value(m, "norm");
    }
    for (int i = 0, at = 0; i < TENSORS; at += (int)shapes[i].n, i++) {
        double first[24], none[24] = {0};
        float first_f[24], none_f[24] = {0};
        for (uint64_t k = 0; k < shapes[i].n; k++) first_f[k] = (float)(first[k] = golden_at(start, (uint64_t)at + k));
        const void *from = dtype == PARE_DOUBLE ? (const void *)first : first_f;
        const void *zero = dtype == PARE_DOUBLE ? (const void *)none : none_f;
        const char *name = named(variables, "w", i);
        net_tensor(m, name, dtype, shapes[i].ndim, shapes[i].dims, from);
        uint32_t weight = net_value(m, name);
        size_t n_state = w->adam ? 2 : w->momentum > 0 ? 1 : 0;
        for (size_t k = 0; k < n_state; k++) {
            name = named(variables, k ? "v" : "m", i);
            net_tensor(m, name, dtype, shapes[i].ndim, shapes[i].dims, zero);
            state[k] = net_value(m, name);
        }
        uint32_t in[7] = {weight, g[i], n_state ? state[0] : 0}, n = 3;
        if (w->adam) in[n++] = state[1];
        in[n++] = net_value(m, "hyper");
        if (norm) in[n++] = norm;
        const char *outs[3] = {named(effects, "new_w", i), NULL, NULL};
        for (size_t k = 0; k < n_state; k++) outs[k + 1] = named(effects, k ? "new_v" : "new_m", i);
        uint32_t node = pare_node_add(m, PARE_MAIN_GRAPH, 0, w->adam ? "AdamUpdate" : "SgdUpdate", PARE_GRAD_DOMAIN,
                                      outs[0], in, n, outs, 1 + n_state);
        if (w->nesterov) pare_attr_set_int(m, node, "nesterov", 1);
        if (w->decoupled) pare_attr_set_int(m, node, "decoupled", 1);
        pare_attr_set_float(m, node, "lr_mult", i ? 1.0f : 0.5f);
        pare_attr_set_float(m, node, "decay_mult", i ? 1.0f : 0.0f);
    }
    pare_array_unref(start);
    return m;
}

static pare_array *gradient(uint32_t dtype, const pare_array *all, uint64_t step, int i, double factor) {
    uint64_t at = step * TOTAL;
    for (int k = 0; k < i; k++) at += shapes[k].n;
    pare_array *a = pare_array_new(dtype, shapes[i].ndim, shapes[i].dims);
    for (uint64_t k = 0; k < a->count; k++) {
        double v = golden_at(all, at + k) * factor;
        if (dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(a))[k] = v;
        else
            ((float *)pare_array_data_mut(a))[k] = (float)v;
    }
    return a;
}

/* parts: gradients come as sums over so many micro-batches, and `hyper` says so. */
static void check(const way *w, int device, uint32_t dtype, double parts) {
    names effects = {.n = 0}, variables = {.n = 0};
    pare_npz *z = golden_open("optim.npz");
    pare_model *m = updates(w, dtype, z, &effects, &variables);
    const char *effect[64], *variable[64];
    for (size_t i = 0; i < effects.n; i++) effect[i] = effects.text[i];
    for (size_t i = 0; i < variables.n; i++) variable[i] = variables.text[i];
    pare_program program = {.effects = effect, .n_effects = effects.n};
    pare_session_opts o = net_opts(device);
    o.programs = &program;
    o.n_programs = 1;
    o.variables = variable;
    o.n_variables = variables.n;
    pare_session *s = NULL;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    assert_int_equal(pare_session_open(m, &o, d, &s), PARE_OK);
    pare_array *all = golden_read(z, "grads"), *want = golden_read(z, w->name);
    size_t row = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        int64_t eight = 8;
        const double h[8] = {w->lr, w->momentum, w->beta2, w->epsilon, w->decay, w->clip, (double)step + 1, 1 / parts};
        pare_array *in[TENSORS + 1];
        for (int i = 0; i < TENSORS; i++) in[i] = gradient(dtype, all, step, i, parts);
        in[TENSORS] = net_array(PARE_DOUBLE, 1, &eight, h);
        assert_int_equal(pare_session_run_program(s, 0, in, d, NULL), PARE_OK);
        for (int i = 0; i <= TENSORS; i++) pare_array_unref(in[i]);
        if (step + 1 != kept[row]) continue;
        for (uint64_t i = 0, at = row * TOTAL; i < TENSORS; at += shapes[i++].n) {
            char name[8];
            pare_array *got = NULL;
            snprintf(name, sizeof name, "w%d", (int)i);
            assert_int_equal(pare_session_variable_get(s, name, d, &got), PARE_OK);
            for (uint64_t k = 0; k < got->count; k++) {
                double x = golden_at(got, k), y = golden_at(want, at + k);
                if (!(fabs(x - y) <= (dtype == PARE_DOUBLE ? 1e-9 : 1e-5) * fmax(1, fabs(y))))
                    fail_msg("%s on device %d, step %d, %s[%d]: %.12g, PyTorch has %.12g", w->name, device,
                             (int)step + 1, name, (int)k, x, y);
            }
            pare_array_unref(got);
        }
        row++;
    }
    assert_int_equal(row, sizeof kept / sizeof *kept);
    pare_array_unref(all);
    pare_array_unref(want);
    pare_session_close(s);
    pare_npz_close(z);
    pare_model_free(m);
    pare_diags_free(d);
}

static void in_double(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int device = NET_NEAR; device <= NET_FAR; device++) check(&ways[i], device, PARE_DOUBLE, 1);
}

static void in_float(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int device = NET_NEAR; device < NET_DEVICES; device++) check(&ways[i], device, PARE_FLOAT, 1);
}

static void of_sums(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        check(&ways[i], NET_NEAR, PARE_DOUBLE, 4);
        check(&ways[i], NET_CPU, PARE_FLOAT, 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_double),
        cmocka_unit_test(in_float),
        cmocka_unit_test(of_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
