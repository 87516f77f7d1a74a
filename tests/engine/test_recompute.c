/* Activations made again in the backward pass: the same bytes on every device, in less memory, and where there is no
 * place for it nothing at all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/grad.h"
#include "engine/recompute.h"
#include "far/check.h"
#include "model/infer.h"
#include "model/onnx.h"

#include <pare/grad_ops.h>
#include <stdio.h>
#include <stdlib.h>

enum { OFF = 0, AUTO = PARE_RECOMPUTE_AUTO };

/* ---- nets ---- */

static const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *text(const char *fmt, ...) {
    static char names[16][48];
    static unsigned at;
    char *to = names[at++ % 16];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(to, sizeof names[0], fmt, ap);
    va_end(ap);
    return to;
}

static void norm(pare_model *m, int64_t c, const char *id, const char *from, const char *to) {
    const float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, zeros[16] = {0};
    const char *parts[4] = {text("%s.scale", id), text("%s.bias", id), text("%s.mean", id), text("%s.var", id)};
    uint32_t in[5] = {net_value(m, from)};
    for (int i = 0; i < 4; i++) {
        net_tensor(m, parts[i], PARE_FLOAT, 1, &c, i % 3 ? zeros : ones);
        in[i + 1] = net_value(m, parts[i]);
    }
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "BatchNormalization", "", id, in, 5, &to, 1);
}

static void conv(pare_model *m, int64_t c, const char *id, const char *from, const char *to, uint64_t seed) {
    const int64_t w[] = {c, c, 3, 3}, pads[] = {1, 1, 1, 1};
    net_floats(m, text("%s.w", id), 4, w, seed);
    pare_attr_set_ints(m, net2(m, "Conv", to, from, text("%s.w", id)), "pads", pads, 4);
}

/* x, then blocks of two convolutions around which a sum leads, and the mean of squares. around: one more sum leads from
 * the first block to the end. */
static pare_model *blocks(int n, int64_t batch, int64_t c, int64_t side, bool drop, bool around) {
    const pare_dim dims[] = {{batch, NULL}, {c, NULL}, {side, NULL}, {side, NULL}};
    const float ratio = 0.25f;
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_tensor(m, "ratio", PARE_FLOAT, 0, NULL, &ratio);
    char last[48] = "x";
    for (int i = 0; i < n; i++) {
        conv(m, c, text("b%d.conv1", i), last, text("b%d.c1", i), (uint64_t)i * 2 + 1);
        norm(m, c, text("b%d.bn1", i), text("b%d.c1", i), text("b%d.n1", i));
        net1(m, "Relu", text("b%d.r1", i), text("b%d.n1", i));
        conv(m, c, text("b%d.conv2", i), text("b%d.r1", i), text("b%d.c2", i), (uint64_t)i * 2 + 2);
        norm(m, c, text("b%d.bn2", i), text("b%d.c2", i), text("b%d.n2", i));
        net2(m, "Add", text("b%d.sum", i), text("b%d.n2", i), last);
        net1(m, "Relu", text("b%d.out", i), text("b%d.sum", i));
        snprintf(last, sizeof last, "b%d.out", i);
        if (!drop) continue;
        net2(m, "Dropout", text("b%d.drop", i), last, "ratio");
        snprintf(last, sizeof last, "b%d.drop", i);
    }
    if (around) net2(m, "Add", "long", last, "b0.out");
    net2(m, "Mul", "square", around ? "long" : last, around ? "long" : last);
    pare_attr_set_int(m, net1(m, "ReduceMean", "loss", "square"), "keepdims", 0);
    net_output(m, "loss");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    return m;
}

/* ---- with and without ---- */

typedef struct result {
    size_t n; /* the loss, gradients, running statistics */
    pare_array **out;
    uint64_t arena;
    pare_recomputed how;
} result;

static size_t count(const pare_model *m, const char *part) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n = 0;
    for (size_t i = 0; i < g->nodes.len; i++)
        n += strncmp(pare_model_node(m, g->nodes.data[i])->name, part, strlen(part)) == 0;
    return n;
}

static bool only_last(void *ctx, pare_model *m, const pare_tensor *t) {
    (void)m;
    return strncmp(t->name, ctx, strlen(ctx)) == 0;
}

/* Copies stand behind all that was there before, and move no statistics. */
static void check_copies(const pare_model *m, size_t n_forward, uint32_t copies) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        if (strncmp(n->name, "again:", 6) != 0) continue;
        assert_true(i > n_forward);
        if (strcmp(n->op_type, "BatchNormTrain") == 0) assert_true(n->n_in == 3 && n->n_out == 1);
    }
    assert_int_equal(count(m, "again:"), copies);
}

/* The model is used up. in: one an input. trains: how names of what is trained begin, NULL: all. */
static result run(pare_model *m, int32_t segments, int device, pare_array **in, const char *trains) {
    pare_trained t;
    pare_train_form form = {.seed = 3};
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    result r = {0};
    if (trains) form = (pare_train_form){.trains = only_last, .ctx = (void *)(uintptr_t)trains};
    assert_int_equal(pare_grad_prepare(m, &form, d, &t), PARE_OK);
    pare_grad_fuse(m, 0);
    uint32_t *wrt = pare_xcalloc(t.n_weights + 1, sizeof *wrt), *grads = pare_xcalloc(t.n_weights + 1, sizeof *grads);
    for (size_t i = 0; i < t.n_weights; i++) wrt[i] = net_value(m, t.weights[i]);
    size_t n_forward = pare_model_graph(m, PARE_MAIN_GRAPH)->nodes.len;
    assert_int_equal(pare_grad_build(m, net_value(m, "loss"), wrt, t.n_weights, d, grads), PARE_OK);
    size_t before = pare_model_graph(m, PARE_MAIN_GRAPH)->nodes.len;
    if (segments != OFF) assert_int_equal(pare_recompute(m, n_forward, wrt, t.n_weights, segments, d, &r.how), PARE_OK);
    assert_int_equal(pare_model_graph(m, PARE_MAIN_GRAPH)->nodes.len, before + r.how.copies);
    check_copies(m, n_forward, r.how.copies);
    const char **fetches = pare_xcalloc(t.n_weights + t.n_statistics + 1, sizeof *fetches);
    fetches[r.n++] = "loss";
    for (size_t i = 0; i < t.n_weights; i++)
        if (grads[i]) fetches[r.n++] = pare_model_value(m, grads[i])->name;
    for (size_t i = 0; i < t.n_statistics; i++) fetches[r.n++] = t.effects[i];
    pare_session_opts o = net_opts(device);
    o.fetches = fetches;
    o.n_fetches = r.n;
    o.threads = 2;
    pare_session *s = open_on(m, o);
    r.out = pare_xcalloc(r.n, sizeof *r.out);
    assert_int_equal(pare_session_run(s, in, d, r.out), PARE_OK);
    r.arena = pare_session_memory_of(s).arena;
    pare_session_close(s);
    pare_model_free(m);
    pare_diags_free(d);
    free(fetches);
    free(wrt);
    free(grads);
    return r;
}

static void result_free(result *r) {
    for (size_t i = 0; i < r->n; i++) pare_array_unref(r->out[i]);
    free(r->out);
}

static void assert_same(const result *a, const result *b, const char *what) {
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        if (memcmp(pare_array_data(a->out[i]), pare_array_data(b->out[i]), a->out[i]->nbytes) != 0)
            fail_msg("%s: value %zu differs by %g", what, i, net_distance(a->out[i], b->out[i]));
}

static void the_same_bytes(void **state) {
    (void)state;
    static const int32_t ways[] = {2, 3, 5, AUTO};
    const int64_t dims[] = {3, 4, 6, 6}, step = 7;
    pare_array *in[2] = {net_filled(4, dims, 5), net_array(PARE_INT64, 0, NULL, &step)};
    for (int device = NET_NEAR; device < NET_DEVICES; device++)
        for (int drop = 0; drop < 2; drop++) {
            result plain = run(blocks(5, 3, 4, 6, drop, false), OFF, device, in, NULL);
            for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                result r = run(blocks(5, 3, 4, 6, drop, false), ways[i], device, in, NULL);
                assert_true(r.how.copies > 0);
                if (ways[i] != AUTO) assert_true(r.how.segments > 1 && r.how.segments <= (uint32_t)ways[i]);
                assert_same(&plain, &r, text("device %d, dropout %d, %d segments", device, drop, ways[i]));
                result_free(&r);
            }
            result_free(&plain);
        }
    pare_array_unref(in[0]);
    pare_array_unref(in[1]);
}

/* Of a long chain of blocks most of the memory goes: kept are a value a segment and the inside of one. */
static void less_memory(void **state) {
    (void)state;
    static const struct {
        int device, blocks;
        int64_t batch, c, side;
    } rows[] = {{NET_CPU, 16, 64, 16, 12}, {NET_FAR, 9, 8, 4, 6}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int64_t dims[] = {rows[i].batch, rows[i].c, rows[i].side, rows[i].side};
        pare_array *x = net_filled(4, dims, 5);
        result plain = run(blocks(rows[i].blocks, rows[i].batch, rows[i].c, rows[i].side, false, false), OFF,
                           rows[i].device, &x, NULL);
        result some = run(blocks(rows[i].blocks, rows[i].batch, rows[i].c, rows[i].side, false, false), 2,
                          rows[i].device, &x, NULL);
        result most = run(blocks(rows[i].blocks, rows[i].batch, rows[i].c, rows[i].side, false, false), AUTO,
                          rows[i].device, &x, NULL);
        double two = (double)some.arena / (double)plain.arena, best = (double)most.arena / (double)plain.arena;
        assert_true(two < 0.75);
        assert_true(best < 0.5);
        result_free(&plain);
        result_free(&some);
        result_free(&most);
        pare_array_unref(x);
    }
}

/* Two values go on everywhere; nothing in front is trained; there are fewer cuts than were asked for. */
static void where_it_ends(void **state) {
    (void)state;
    const int64_t dims[] = {3, 4, 6, 6};
    pare_array *x = net_filled(4, dims, 5);
    result plain = run(blocks(4, 3, 4, 6, false, true), OFF, NET_NEAR, &x, NULL);
    result r = run(blocks(4, 3, 4, 6, false, true), AUTO, NET_NEAR, &x, NULL);
    assert_true(r.how.copies < 7); /* of the first block alone */
    assert_same(&plain, &r, "around");
    result_free(&r);
    result_free(&plain);
    r = run(blocks(4, 3, 4, 6, false, false), AUTO, NET_NEAR, &x, "b3.");
    assert_true(r.how.copies < 7); /* of what is trained */
    result_free(&r);
    plain = run(blocks(4, 3, 4, 6, false, false), OFF, NET_NEAR, &x, "b2.conv1");
    r = run(blocks(4, 3, 4, 6, false, false), 200, NET_NEAR, &x, "b2.conv1");
    assert_true(r.how.segments < 20);
    assert_same(&plain, &r, "200 segments");
    result_free(&r);
    result_free(&plain);
    pare_array_unref(x);
}

/* Networks as people export them, in float on the CPU's kernels. Where an exporter wrote out attention, the forward
 * pass has one kernel for it once nothing reads its inside any more, and that rounds in its own way. */
static pare_model *whole(const char *file, pare_array **x) {
    char path[512];
    pare_model *m = NULL;
    snprintf(path, sizeof path, "%s/golden/%s", PARE_TESTS_DIR, file);
    assert_int_equal(pare_onnx_read(path, NULL, &m), PARE_OK);
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    const pare_value *in = pare_model_value(m, g->inputs.data[0]);
    const char *y = pare_model_value(m, g->outputs.data[0])->name;
    int64_t dims[4] = {0};
    for (int32_t i = 0; i < in->ndim; i++) dims[i] = in->dims[i].value >= 0 ? in->dims[i].value : 2;
    if (!*x) *x = net_filled((size_t)in->ndim, dims, 3);
    net2(m, "Mul", "recompute:square", y, y);
    pare_attr_set_int(m, net1(m, "ReduceMean", "loss", "recompute:square"), "keepdims", 0);
    return m;
}

static void whole_nets(void **state) {
    (void)state;
    static const struct {
        const char *file;
        float apart;
    } files[] = {{"nets/resnet18-ts.onnx", 0},     {"train/mobilenet_v2.onnx", 0},    {"nets/densenet-ts.onnx", 0},
                 {"nets/mobilenet_v3-ts.onnx", 0}, {"nets/shufflenet_v2-ts.onnx", 0}, {"nets/unet_resize-ts.onnx", 0},
                 {"nets/convnext-d23.onnx", 0},    {"nets/vit-ts.onnx", 1e-5f}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        pare_array *x = NULL;
        const char *file = files[i].file;
        result plain = run(whole(file, &x), OFF, NET_CPU, &x, NULL),
               some = run(whole(file, &x), AUTO, NET_CPU, &x, NULL);
        assert_int_equal(plain.n, some.n);
        for (size_t k = 0; k < plain.n; k++) {
            double d = net_distance(some.out[k], plain.out[k]);
            if (d > files[i].apart) fail_msg("%s: value %zu differs by %g", file, k, d);
        }
        result_free(&plain);
        result_free(&some);
        pare_array_unref(x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes),
        cmocka_unit_test(whole_nets),
        cmocka_unit_test(less_memory),
        cmocka_unit_test(where_it_ends),
    };
    return cmocka_run_group_tests(tests, far_setup, far_teardown);
}
