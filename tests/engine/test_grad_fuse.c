/* test_grad_fuse.c - activations that become part of BatchNormTrain: the same values and gradients on every device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/grad.h"
#include "far/check.h"
#include "model/infer.h"

#include <pare/grad_ops.h>

enum { GRADS = 4, RELU = 0, RELU6, CLIP_LOW, KEPT };

static const int64_t input[] = {4, 2, 5, 5};

/* x, Conv, BatchNormalization, an activation, Conv, the mean of squares. */
static pare_model *net(int act) {
    const pare_dim dims[] = {{4, NULL}, {2, NULL}, {5, NULL}, {5, NULL}};
    const int64_t w1[] = {3, 2, 3, 3}, w2[] = {2, 3, 1, 1}, c[] = {3};
    const float zeros[3] = {0}, ones[] = {1, 1, 1}, shift[] = {0.5f, -0.25f, 0.75f}, low[] = {-0.5f}, high[] = {0.75f},
                zero[] = {0};
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w1", 4, w1, 1);
    net_floats(m, "w2", 4, w2, 2);
    net_tensor(m, "scale", PARE_FLOAT, 1, c, ones);
    net_tensor(m, "shift", PARE_FLOAT, 1, c, shift);
    net_tensor(m, "mean", PARE_FLOAT, 1, c, zeros);
    net_tensor(m, "var", PARE_FLOAT, 1, c, ones);
    net_tensor(m, "low", PARE_FLOAT, 0, NULL, act == CLIP_LOW ? low : zero);
    net_tensor(m, "high", PARE_FLOAT, 0, NULL, high);
    net2(m, "Conv", "c", "x", "w1");
    const char *out = "n";
    const uint32_t in[] = {net_value(m, "c"), net_value(m, "scale"), net_value(m, "shift"), net_value(m, "mean"),
                           net_value(m, "var")};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", "bn", in, 5, &out, 1);
    if (act == RELU || act == KEPT)
        net1(m, "Relu", "a", "n");
    else
        net_node(m, "Clip", "a", 3, "n", "low", "high");
    net2(m, "Conv", "d", "a", "w2");
    net2(m, "Mul", "square", "d", "d");
    pare_attr_set_int(m, net1(m, "ReduceMean", "loss", "square"), "keepdims", 0);
    net_output(m, "loss");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

static size_t count(const pare_model *m, const char *op) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n = 0;
    for (size_t i = 0; i < g->nodes.len; i++) n += strcmp(pare_model_node(m, g->nodes.data[i])->op_type, op) == 0;
    return n;
}

/* The loss, what comes out of the activation, and the gradients. */
static void run(int act, bool fused, int device, pare_array *x, pare_array *out[GRADS + 2]) {
    static const char *const weights[GRADS] = {"w1", "w2", "scale", "shift"};
    pare_model *m = net(act);
    pare_trained t;
    pare_train_form form = {0};
    uint32_t wrt[GRADS], grads[GRADS];
    const char *fetches[GRADS + 2] = {"loss", "a"};
    assert_int_equal(pare_grad_prepare(m, &form, NULL, &t), PARE_OK);
    if (fused) pare_grad_fuse(m, act == KEPT ? net_value(m, "n") : 0);
    bool want = fused && (act == RELU || act == RELU6);
    assert_int_equal(count(m, "Relu") + count(m, "Clip"), !want);
    for (size_t i = 0; i < GRADS; i++) wrt[i] = net_value(m, weights[i]);
    assert_int_equal(pare_grad_build(m, net_value(m, "loss"), wrt, GRADS, NULL, grads), PARE_OK);
    for (size_t i = 0; i < GRADS; i++) fetches[i + 2] = pare_model_value(m, grads[i])->name;
    pare_session_opts o = net_opts(device);
    o.fetches = fetches;
    o.n_fetches = GRADS + 2;
    pare_session *s = open_on(m, o);
    assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
    pare_session_close(s);
    pare_model_free(m);
}

static void the_same(void **state) {
    (void)state;
    pare_array *x = net_filled(4, input, 3);
    for (int act = RELU; act <= KEPT; act++)
        for (int device = NET_NEAR; device < NET_DEVICES; device++) {
            pare_array *a[GRADS + 2] = {NULL}, *b[GRADS + 2] = {NULL};
            run(act, false, NET_NEAR, x, a);
            run(act, true, device, x, b);
            for (size_t i = 0; i < GRADS + 2; i++) {
                if (net_distance(b[i], a[i]) > 2e-4) fail_msg("activation %d, device %d, value %zu", act, device, i);
                pare_array_unref(a[i]);
                pare_array_unref(b[i]);
            }
        }
    pare_array_unref(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
