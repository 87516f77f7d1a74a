/* A fit that computes activations again ends in the same bytes as one that keeps them, whatever else it does. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/fit.h"
#include "train/small.h"

#include <pare/fit.h>
#include <stdio.h>

enum { BLOCKS = 3, WIDTH = 6, STEPS = 5, FEATURES = WIDTH * 16 };

/* ---- a network of blocks ---- */

static void add_norm(pare_model *m, const char *id, const char *from, const char *to) {
    const int64_t c[] = {WIDTH};
    const float ones[] = {1, 1, 1, 1, 1, 1}, zeros[WIDTH] = {0};
    char name[4][64];
    static const char *const parts[] = {"weight", "bias", "mean", "var"};
    uint32_t in[5] = {net_value(m, from)};
    for (int i = 0; i < 4; i++) {
        snprintf(name[i], sizeof name[i], "%s.%s", id, parts[i]);
        net_tensor(m, name[i], PARE_FLOAT, 1, c, i == 0 || i == 3 ? ones : zeros);
        in[i + 1] = net_value(m, name[i]);
    }
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", id, in, 5, &to, 1);
}

static void add_conv(pare_model *m, const char *id, int64_t channels, const char *from, const char *to, uint64_t seed) {
    const int64_t w[] = {WIDTH, channels, 3, 3}, pads[] = {1, 1, 1, 1};
    char name[64];
    snprintf(name, sizeof name, "%s.weight", id);
    net_floats(m, name, 4, w, seed);
    pare_attr_set_ints(m, net2(m, "Conv", to, from, name), "pads", pads, 4);
}

/* Blocks with a sum around them and Dropout behind, then a classifier. */
static pare_model *deep_net(void) {
    pare_model *m = net_new(17);
    const pare_dim in[] = {{-1, "N"}, {1, NULL}, {4, NULL}, {4, NULL}};
    const int64_t fc[] = {SMALL_CLASSES, FEATURES}, b[] = {SMALL_CLASSES};
    const float ratio = 0.25f, zeros[SMALL_CLASSES] = {0};
    char last[32] = "stem", id[32], at[5][32];
    net_input(m, "x", PARE_FLOAT, 4, in);
    net_tensor(m, "ratio", PARE_FLOAT, 0, NULL, &ratio);
    add_conv(m, "conv", 1, "x", "stem", 1);
    for (int i = 0; i < BLOCKS; i++) {
        for (int k = 0; k < 5; k++) snprintf(at[k], sizeof at[k], "b%d.%d", i, k);
        snprintf(id, sizeof id, "b%d.conv", i);
        add_conv(m, id, WIDTH, last, at[0], (uint64_t)i + 2);
        snprintf(id, sizeof id, "b%d.bn", i);
        add_norm(m, id, at[0], at[1]);
        net2(m, "Add", at[2], at[1], last);
        net1(m, "Relu", at[3], at[2]);
        net2(m, "Dropout", at[4], at[3], "ratio");
        snprintf(last, sizeof last, "%s", at[4]);
    }
    net_floats(m, "fc.weight", 2, fc, 9);
    net_tensor(m, "fc.bias", PARE_FLOAT, 1, b, zeros);
    net1(m, "Flatten", "f", last);
    pare_attr_set_int(m, net_node(m, "Gemm", "logits", 3, "f", "fc.weight", "fc.bias"), "transB", 1);
    net_output(m, "logits");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    pare_tensor *t = pare_model_tensor(m, pare_model_value(m, net_value(m, "b1.conv.weight"))->tensor);
    void *data;
    assert_int_equal(pare_tensor_write(t, NULL, &data), PARE_OK);
    for (uint64_t i = 0; i < t->count; i += 2) ((float *)data)[i] = 0;
    assert_true(pare_tensor_masked_set(m, t, true));
    return m;
}

/* ---- fits ---- */

typedef struct fit_result {
    pare_model *m;
    double losses[STEPS];
    uint32_t segments;
} fit_result;

static pare_status note_loss(void *ctx, const pare_host *host, pare_fit *f, const pare_fit_state *s, uint64_t *next) {
    fit_result *r = ctx;
    (void)host;
    (void)f;
    (void)next;
    r->losses[s->step - 1] = s->loss;
    return PARE_OK;
}

static fit_result fit(const pare_model *from, int device, int32_t recompute, uint32_t micro, pare_fit_loss *losses,
                      size_t n_losses) {
    small_step s;
    small_step_begin(&s, device, true);
    pare_session_opts so = net_opts(device);
    pare_model *teacher = small_net(true, SMALL_CLASSES, 11);
    pare_session *teachers[1] = {NULL};
    assert_int_equal(pare_session_open(teacher, &so, s.d, &teachers[0]), PARE_OK);
    pare_fit_env env = {.compute = &s.compute, .threads = 1, .set = s.set, .teachers = teachers, .n_teachers = 1};
    env.loss.host.diags = s.d;
    env.loss.host.seed = 7;
    pare_fit_opts o = pare_fit_defaults();
    o.epochs = 0;
    o.steps = STEPS;
    o.batch = 16;
    o.seed = 5;
    o.ema = 0.5;
    o.clip_norm = 1;
    o.optimizer = device % 2 ? PARE_ADAM : PARE_SGD;
    o.micro_batch = micro;
    o.recompute = recompute;
    o.losses = losses;
    o.n_losses = n_losses;
    fit_result r = {.m = pare_model_clone(from)};
    pare_fit *f = NULL;
    assert_ok(&s, pare_fit_open(from, &o, &env, 0, s.d, &f));
    pare_fit_hook_add(f, PARE_FIT_AFTER_UPDATE, 0, note_loss, &r, NULL);
    r.segments = pare_fit_graph(f)->recomputed.segments;
    assert_ok(&s, pare_fit_run(f, 0));
    assert_ok(&s, pare_fit_home(f, r.m));
    pare_fit_close(f);
    pare_session_close(teachers[0]);
    pare_model_free(teacher);
    small_step_end(&s);
    return r;
}

static void assert_same_bytes(pare_model *a, pare_model *b) {
    const pare_graph *g = pare_model_graph(a, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->initializers.len; i++) {
        const char *name = pare_model_tensor(a, g->initializers.data[i])->name;
        if (!small_same(a, b, name)) fail_msg("%s differs", name);
    }
}

/* Masks, an average, clipping, Dropout, micro-batches of uneven size, a teacher beside labels. */
static void the_same_bytes(void **state) {
    (void)state;
    const pare_loss *hinton = loss_of("distill.hinton");
    arguments args = loss_arguments(hinton, "{teacher: t, alpha: 0.5}");
    const char *ref = "t";
    pare_fit_loss losses[2] = {{.use = hinton->id, .component = hinton, .args = args.args, .weight = 0.5},
                               {.use = "mse", .weight = 0.5}};
    losses[0].teachers = &ref;
    losses[0].n_teachers = 1;
    pare_model *m = deep_net();
    for (int device = NET_NEAR; device < NET_DEVICES; device++)
        for (uint32_t micro = 0; micro < 8; micro += 7) {
            fit_result plain = fit(m, device, 0, micro, losses, 2);
            assert_int_equal(plain.segments, 0);
            assert_false(small_same(m, plain.m, "b0.bn.mean"));
            for (int32_t ways = -1; ways <= 3; ways += 4) { /* auto, 3 */
                fit_result some = fit(m, device, ways, micro, losses, 2);
                assert_true(some.segments > 1);
                for (int i = 0; i < STEPS; i++) assert_true(plain.losses[i] > 0 && plain.losses[i] == some.losses[i]);
                assert_same_bytes(plain.m, some.m);
                pare_model_free(some.m);
            }
            pare_model_free(plain.m);
        }
    pare_model_free(m);
    arguments_free(&args);
}

static int open_all(void **state) {
    plugins_open();
    return tmpdir_make(state);
}

static int close_all(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_bytes)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
