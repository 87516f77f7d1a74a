/* small.h - a set of three clouds of points and a small network for it, and a step with everything a step that trains
 * is given. May use: core, cmocka, base/tmpdir.h, far/net.h, components.h.
 */
#ifndef PARE_TESTS_SMALL_H
#define PARE_TESTS_SMALL_H

#include "base/tmpdir.h"
#include "data/npy.h"
#include "far/net.h"
#include "model/infer.h"
#include "plugin/step.h"
#include "train/components.h"
#include "train/services.h"

enum { SMALL_N = 96, SMALL_CLASSES = 3 };

/* On a 1x4x4 grid; shuffled: in another order each epoch. */
static inline pare_data *small_set_of(bool labelled, bool shuffled) {
    static int made; /* sets that are open map their files */
    char name[2][32];
    snprintf(name[0], sizeof name[0], "x%d.npy", made);
    snprintf(name[1], sizeof name[1], "y%d.npy", made++);
    const char *images = in_tmp(name[0]), *labels = in_tmp(name[1]);
    int64_t dims[4] = {SMALL_N, 1, 4, 4}, one[1] = {SMALL_N};
    pare_array *x = pare_array_new(PARE_FLOAT, 4, dims), *y = pare_array_new(PARE_INT64, 1, one);
    float *px = pare_array_data_mut(x);
    int64_t *py = pare_array_data_mut(y);
    for (int i = 0; i < SMALL_N; i++) {
        py[i] = i % SMALL_CLASSES;
        for (int k = 0; k < 16; k++)
            px[i * 16 + k] = net_number((uint64_t)(i * 16 + k)) * 0.5f + (k % SMALL_CLASSES == py[i] ? 1.0f : 0.0f);
    }
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {
        .kind = PARE_DATA_NPY, .path = images, .labels = labelled ? labels : NULL, .shuffle = shuffled, .seed = 3};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

static inline pare_data *small_set(bool labelled) { return small_set_of(labelled, false); }

/* Conv, BatchNormalization, Relu, a classifier. */
static inline pare_model *small_net(bool norm, int64_t classes, uint64_t seed) {
    pare_model *m = net_new(17);
    const pare_dim in[] = {{-1, "N"}, {1, NULL}, {4, NULL}, {4, NULL}};
    const int64_t w[] = {6, 1, 3, 3}, c[] = {6}, fc[] = {classes, 96}, b[] = {classes}, pads[] = {1, 1, 1, 1};
    const float ones[] = {1, 1, 1, 1, 1, 1}, zeros[16] = {0};
    net_input(m, "x", PARE_FLOAT, 4, in);
    net_floats(m, "conv.weight", 4, w, seed);
    net_tensor(m, "bn.weight", PARE_FLOAT, 1, c, ones);
    net_tensor(m, "bn.bias", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "bn.mean", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "bn.var", PARE_FLOAT, 1, c, ones);
    net_floats(m, "fc.weight", 2, fc, seed + 1);
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

static inline const float *small_weights(pare_model *m, const char *name, uint64_t *n) {
    pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, name))->tensor);
    const void *data;
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    *n = t->count;
    return data;
}

static inline bool small_same(pare_model *a, pare_model *b, const char *name) {
    uint64_t n, k;
    const float *x = small_weights(a, name, &n), *y = small_weights(b, name, &k);
    return n == k && memcmp(x, y, n * sizeof *x) == 0;
}

/* The largest difference of all weights and statistics. */
static inline double small_apart(pare_model *a, pare_model *b) {
    static const char *const names[] = {"conv.weight", "bn.weight", "bn.bias", "bn.mean",
                                        "bn.var",      "fc.weight", "fc.bias"};
    double most = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t n;
        const float *x = small_weights(a, names[i], &n), *y = small_weights(b, names[i], &n);
        for (uint64_t k = 0; k < n; k++) {
            double apart = (double)x[k] - (double)y[k];
            if (apart != apart) return 1e30;
            most = apart > most ? apart : -apart > most ? -apart : most;
        }
    }
    return most;
}

/* ---- a step ---- */

typedef struct small_step {
    int device;
    pare_compute compute;
    pare_data *set, *other; /* the step's; one that is asked for by the name "other" */
    pare_model *teacher[2]; /* "t", "u"; NULL: there is none of the name */
    pare_session *open[2];
    pare_diags *d;
    json_t *notes;
    pare_fit_opts fit;
    pare_train_services services;
} small_step;

static inline pare_status small_teacher(void *ctx, const char *ref, pare_session **out) {
    small_step *s = ctx;
    int i = strcmp(ref, "u") == 0;
    if (!s->teacher[i]) return pare_fail(s->d, PARE_ENOTFOUND, "test.teacher", NULL, "there is no teacher %s", ref);
    pare_session_opts opts = net_opts(s->device);
    pare_status st = s->open[i] ? PARE_OK : pare_session_open(s->teacher[i], &opts, s->d, &s->open[i]);
    *out = s->open[i];
    return st;
}

static inline pare_status small_data(void *ctx, const char *name, const pare_data **out) {
    small_step *s = ctx;
    *out = name ? strcmp(name, "other") == 0 ? s->other : NULL : s->set;
    return *out ? PARE_OK : pare_fail(s->d, PARE_ENOTFOUND, "test.data", NULL, "there is no set %s", name);
}

static inline const pare_loss *small_find_loss(void *ctx, const char *id) {
    (void)ctx;
    return pare_plugins_loss(plugins, id, NULL);
}

static inline const void *small_ext(void *ctx, const char *id) {
    (void)ctx;
    return strcmp(id, PARE_FIT_V1) == 0 ? &pare_fit_interface : NULL;
}

/* Stays where it is until small_step_end. */
static inline void small_step_begin(small_step *s, int device, bool labelled) {
    memset(s, 0, sizeof *s);
    pare_session_opts o = net_opts(device);
    s->device = device;
    s->compute =
        (pare_compute){.main = o.backend, .host = o.host_backend, .device = net_is_far(device) ? "far" : "cpu"};
    s->set = small_set(labelled);
    s->d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    s->notes = json_object();
    s->fit = pare_fit_defaults();
    s->fit.epochs = 2;
    s->fit.batch = 16;
    s->fit.seed = 5;
    s->services = (pare_train_services){.fit = &s->fit,
                                        .env = {.compute = &s->compute, .threads = 1, .set = s->set},
                                        .losses = {.find = small_find_loss},
                                        .teacher = small_teacher,
                                        .data = small_data,
                                        .ctx = s};
}

static inline void small_step_end(small_step *s) {
    for (int i = 0; i < 2; i++) {
        pare_session_close(s->open[i]);
        pare_model_free(s->teacher[i]);
    }
    pare_data_free(s->set);
    pare_data_free(s->other);
    json_decref(s->notes);
    pare_diags_free(s->d);
}

/* *out: NULL on failure. */
static inline pare_status small_step_with(small_step *s, const pare_technique *t, const pare_arg *args,
                                          const pare_model *in, pare_model **out) {
    pare_host_env env = {.diags = s->d,
                         .step = "it",
                         .plugin = "test",
                         .seed = 7,
                         .notes = s->notes,
                         .ext = small_ext,
                         .services = &s->services};
    *out = NULL;
    return pare_step_run(&env, t, args, in, out);
}

static inline pare_status small_step_run(small_step *s, const char *id, const char *with, const pare_model *in,
                                         pare_model **out) {
    const pare_technique *t = technique_of(id);
    arguments a = technique_arguments(t, with);
    pare_status st = small_step_with(s, t, a.args, in, out);
    arguments_free(&a);
    return st;
}

/* All errors and warnings on one line. Valid until the next call. */
static inline const char *small_said(const small_step *s) {
    static char text[2048];
    size_t at = 0;
    text[0] = 0;
    for (size_t i = 0; i < pare_diags_count(s->d) && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "[%s] %s; ", pare_diags_get(s->d, i)->code,
                               pare_diags_get(s->d, i)->message);
    return text;
}

#define assert_said(s, part)                                                                                           \
    do {                                                                                                               \
        if (!strstr(small_said(s), part)) fail_msg("\"%s\" lacks \"%s\"", small_said(s), part);                        \
    } while (0)
#define assert_ok(s, status)                                                                                           \
    do {                                                                                                               \
        pare_status st_ = (status);                                                                                    \
        if (st_) fail_msg("status %d: %s", st_, small_said(s));                                                        \
    } while (0)

#endif
