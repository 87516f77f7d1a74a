/* test_pass_attention.c - attention as PyTorch's exporters spell it, into one node; what only looks like it stays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/strided.h"
#include "far/passes.h"

enum { T = 7, H = 2, D = 5, W = H * D }; /* tokens, heads, width of a head, width */

typedef struct form {
    bool packed; /* one projection for all three */
    int scale;   /* 0: none, 1: q and k each, 2: Mul behind, 3: Div behind */
    int mask;    /* 0: none, 1: (T, T), 2: one for each head */
    bool mask_first;
    int64_t batch; /* -1: symbolic */
} form;

static void shape(pare_model *m, const char *name, size_t n, const int64_t *dims) {
    int64_t len = (int64_t)n;
    net_tensor(m, name, PARE_INT64, 1, &len, dims);
}

static void perm(pare_model *m, const char *out, const char *in, const int64_t *p, size_t n) {
    pare_attr_set_ints(m, net1(m, "Transpose", out, in), "perm", p, n);
}

static void number(pare_model *m, const char *name, float x) { net_tensor(m, name, PARE_FLOAT, 0, NULL, &x); }

/* q, k, v (…, T, D) from x (N, T, W), each by itself. */
static void separate(pare_model *m) {
    static const char *const names[] = {"q", "k", "v"};
    const int64_t w[] = {W, W}, b[] = {W}, split[] = {0, T, H, D}, p[] = {0, 2, 1, 3};
    shape(m, "heads", 4, split);
    for (size_t i = 0; i < 3; i++) {
        char at[6][8];
        static const char *const ends[] = {"w", "b", "p", "a", "r", ""};
        for (size_t k = 0; k < 6; k++) snprintf(at[k], sizeof at[k], "%s%s", names[i], ends[k]);
        net_floats(m, at[0], 2, w, 10 + i);
        net_floats(m, at[1], 1, b, 20 + i);
        net2(m, "MatMul", at[2], "x", at[0]);
        net2(m, "Add", at[3], at[2], at[1]);
        net2(m, "Reshape", at[4], at[3], "heads");
        perm(m, at[5], at[4], p, 4);
    }
}

/* One projection; q by Gather, k by Slice, v by Split. */
static void packed(pare_model *m) {
    const int64_t w[] = {W, 3 * W}, split[] = {0, T, 3, H, D}, p[] = {2, 0, 3, 1, 4}, one = 1, zero = 0, two = 2;
    const int64_t sizes[] = {2, 1};
    net_floats(m, "w", 2, w, 3);
    net2(m, "MatMul", "all", "x", "w");
    shape(m, "heads", 5, split);
    net2(m, "Reshape", "r", "all", "heads");
    perm(m, "t", "r", p, 5);
    net_tensor(m, "zero", PARE_INT64, 0, NULL, &zero);
    shape(m, "zeros", 1, &zero);
    shape(m, "one", 1, &one);
    shape(m, "two", 1, &two);
    net2(m, "Gather", "q", "t", "zero");
    const uint32_t in[] = {net_value(m, "t"), net_value(m, "one"), net_value(m, "two"), net_value(m, "zeros")};
    const char *sliced = "k1", *parts[] = {"qk", "v1"};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Slice", "", "slice", in, 4, &sliced, 1);
    net2(m, "Squeeze", "k", "k1", "zeros");
    int64_t n = 2;
    net_tensor(m, "sizes", PARE_INT64, 1, &n, sizes);
    const uint32_t cut[] = {net_value(m, "t"), net_value(m, "sizes")};
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Split", "", "split", cut, 2, parts, 2);
    net2(m, "Squeeze", "v", "v1", "zeros");
}

static void finish(pare_model *m, const form *f, const char *scores) {
    const int64_t back[] = {0, 2, 1, 3}, joined[] = {0, T, W}, mask[] = {T, T}, masks[] = {1, H, T, T};
    if (f->scale >= 2) net2(m, f->scale == 2 ? "Mul" : "Div", "scaled", scores, "c");
    if (f->scale >= 2) scores = "scaled";
    if (f->mask == 1) net_floats(m, "mask", 2, mask, 40);
    if (f->mask == 2) net_floats(m, "mask", 4, masks, 41);
    if (f->mask) net2(m, "Add", "masked", f->mask_first ? "mask" : scores, f->mask_first ? scores : "mask");
    pare_attr_set_int(m, net1(m, "Softmax", "weights", f->mask ? "masked" : scores), "axis", -1);
    net2(m, "MatMul", "mixed", "weights", "v");
    perm(m, "y1", "mixed", back, 4);
    shape(m, "joined", 3, joined);
    net2(m, "Reshape", "y", "y1", "joined");
    net_output(m, "y");
}

static pare_model *attention(const form *f) {
    const pare_dim dims[] = {{f->batch, f->batch < 0 ? "N" : NULL}, {T, NULL}, {W, NULL}};
    const int64_t turned[] = {0, 1, 3, 2};
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 3, dims);
    number(m, "c", f->scale == 3 ? 2.25f : 0.6f);
    (f->packed ? packed : separate)(m);
    perm(m, "kt", "k", turned, 4);
    if (f->scale == 1) {
        net2(m, "Mul", "qs", "q", "c");
        net2(m, "Div", "ks", "kt", "c");
        net2(m, "Mul", "kss", "c", "ks");
    }
    net2(m, "MatMul", "scores", f->scale == 1 ? "qs" : "q", f->scale == 1 ? "kss" : "kt");
    finish(m, f, "scores");
    return m;
}

static void forms(void **state) {
    (void)state;
    static const form all[] = {{.scale = 0, .batch = 3},
                               {.scale = 1, .batch = 3},
                               {.scale = 2, .mask = 1, .batch = 3},
                               {.scale = 3, .mask = 2, .mask_first = true, .batch = 1},
                               {.packed = true, .scale = 2, .batch = 3},
                               {.packed = true, .scale = 1, .mask = 1, .batch = 1},
                               {.packed = true, .scale = 3, .mask = 2, .batch = -1},
                               {.scale = 1, .batch = -1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        pare_model *m = attention(&all[i]);
        const int64_t x[] = {all[i].batch < 0 ? 4 : all[i].batch, T, W};
        uint64_t changed;
        if (all[i].batch > 0) {
            assert_int_equal(pass_leaves(m, pare_pass_attention, "Softmax", &changed), 0);
            assert_int_equal(changed, 1);
            assert_int_equal(pass_leaves(m, pare_pass_attention, "Transpose", &changed), 0);
        } else { /* dims that are not known */
            assert_int_equal(pass_leaves(m, pare_pass_attention, "Softmax", &changed), 1);
        }
        pass_keeps(m, net_filled(3, x, i), 1e-5);
        pare_model_free(m);
    }
}

/* nn.MultiheadAttention: (T, N, 3 W), heads joined with the batch by one Reshape and parted by the next. */
static pare_model *multihead(int64_t n) {
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{n, NULL}, {T, NULL}, {W, NULL}};
    const int64_t w[] = {W, 3 * W}, swap[] = {1, 0, 2}, five[] = {1, T, n, 3, W}, first[] = {3, 1, 2, 0, 4};
    const int64_t last = 3, joined[] = {T, n * H, D}, parted[] = {n, H, T, D}, three[] = {-1, T, D};
    const int64_t turned[] = {0, 2, 1}, four[] = {n, H, D, T}, out[] = {2, 0, 1, 3}, flat[] = {T * n, W};
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net_floats(m, "w", 2, w, 5);
    number(m, "c", 0.7f);
    perm(m, "xt", "x", swap, 3);
    net2(m, "MatMul", "all", "xt", "w");
    shape(m, "five", 5, five);
    shape(m, "joined", 3, joined);
    shape(m, "parted", 4, parted);
    shape(m, "three", 3, three);
    shape(m, "four", 4, four);
    shape(m, "flat", 2, flat);
    shape(m, "last", 1, &last);
    net2(m, "Reshape", "r", "all", "five");
    perm(m, "t", "r", first, 5);
    net2(m, "Squeeze", "s", "t", "last");
    static const char *const names[] = {"q", "k", "v"};
    for (int64_t i = 0; i < 3; i++) {
        char at[4][8];
        for (int k = 0; k < 4; k++) snprintf(at[k], sizeof at[k], "%s%d", names[i], k);
        net_tensor(m, at[0], PARE_INT64, 0, NULL, &i);
        net2(m, "Gather", at[1], "s", at[0]);
        net2(m, "Reshape", at[2], at[1], "joined");
        perm(m, at[3], at[2], swap, 3);
        net2(m, "Reshape", names[i], at[3], "parted");
    }
    net2(m, "Reshape", "kf", "k", "three"); /* as the dynamo exporter turns k */
    perm(m, "kft", "kf", turned, 3);
    net2(m, "Reshape", "kt", "kft", "four");
    net2(m, "Mul", "qs", "q", "c");
    net2(m, "MatMul", "scores", "qs", "kt");
    pare_attr_set_int(m, net1(m, "Softmax", "weights", "scores"), "axis", 3);
    net2(m, "MatMul", "mixed", "weights", "v");
    perm(m, "y1", "mixed", out, 4);
    net2(m, "Reshape", "y", "y1", "flat");
    net_output(m, "y");
    return m;
}

static void as_multihead(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 3; n += 2) {
        pare_model *m = multihead(n);
        const int64_t x[] = {n, T, W};
        uint64_t changed;
        assert_int_equal(pass_leaves(m, pare_pass_attention, "Softmax", &changed), 0);
        assert_int_equal(pass_leaves(m, pare_pass_attention, "Transpose", &changed), 1); /* x's */
        pass_keeps(m, net_filled(3, x, 9), 1e-5);
        pare_model_free(m);
    }
}

/* The weights are an output; the softmax goes along another axis: nothing is rewritten. */
static void what_is_left(void **state) {
    (void)state;
    const form f = {.scale = 2, .batch = 2};
    uint64_t changed;
    pare_model *m = attention(&f);
    net_output(m, "weights");
    assert_int_equal(pass_leaves(m, pare_pass_attention, "Softmax", &changed), 1);
    assert_int_equal(changed, 0);
    pare_model_free(m);
    m = attention(&f);
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && pare_node_is(m->nodes.data[i], "Softmax"))
            pare_attr_set_int(m, m->nodes.data[i]->id, "axis", 2);
    assert_int_equal(pass_leaves(m, pare_pass_attention, "Softmax", &changed), 1);
    const int64_t x[] = {2, T, W};
    pass_keeps(m, net_filled(3, x, 5), 1e-5);
    pare_model_free(m);
}

/* A device without the kernel: it goes on as before, node by node. */
static void refused(void **state) {
    (void)state;
    const form f = {.scale = 1, .mask = 1, .batch = 2};
    const int64_t dims[] = {2, T, W};
    pare_model *m = attention(&f);
    far_ctl.refuse = "Attention";
    pass_keeps(m, net_filled(3, dims, 5), 1e-5);
    far_ctl.refuse = NULL;
    pare_model_free(m);
}

/* ---- strided views by themselves ---- */

static void views(void **state) {
    (void)state;
    pare_model *m = net_new(21);
    const pare_dim dims[] = {{4, NULL}, {6, NULL}};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    pare_strided v;
    int64_t step;
    const int64_t back[] = {1, 0}, parted[] = {2, 3, 4}, joined[] = {24}, uneven[] = {4, 6}, more[] = {5, 5};
    assert_true(pare_strided_of(m, net_value(m, "x"), &v));
    assert_true(pare_strided_step(&v, 0, &step));
    assert_int_equal(step, 6);
    pare_strided_transpose(&v, back); /* (6, 4) */
    assert_true(pare_strided_reshape(&v, 3, parted));
    assert_true(pare_strided_step(&v, 0, &step));
    assert_int_equal(step, 3);
    assert_true(pare_strided_step(&v, 2, &step));
    assert_int_equal(step, 6);
    assert_false(pare_strided_reshape(&v, 2, more));
    assert_true(pare_strided_reshape(&v, 1, joined));
    assert_int_equal(pare_strided_size(&v, 0), 24);
    assert_false(pare_strided_step(&v, 0, &step)); /* it takes two */
    assert_true(pare_strided_reshape(&v, 3, parted));
    assert_false(pare_strided_reshape(&v, 2, uneven)); /* 6 of (2, 3) don't part into 4 */
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(as_multihead),
                                       cmocka_unit_test(what_is_left), cmocka_unit_test(refused),
                                       cmocka_unit_test(views)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
