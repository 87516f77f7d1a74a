/* test_batch.c - batches: apart or tied, fixed ones made open, run in pieces; on near and far. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/net.h"

#include <stdlib.h>

static pare_diags *diags(void) { return pare_diags_new(PARE_DIAG_SILENT, stderr); }

static size_t said(pare_diags *d, const char *code, const char *part) {
    size_t n = 0;
    for (size_t i = 0; i < pare_diags_count(d); i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        n += strcmp(it->code, code) == 0 && strstr(it->message, part);
    }
    return n;
}

static void print_all(pare_diags *d) {
    for (size_t i = 0; i < pare_diags_count(d); i++)
        print_error("said: [%s] %s\n", pare_diags_get(d, i)->code, pare_diags_get(d, i)->message);
}

static pare_session *open_at(const pare_model *m, int device, uint32_t piece) {
    pare_session_opts o = net_opts(device);
    pare_diags *d = diags();
    pare_session *s = NULL;
    o.any_batch = true;
    o.piece = piece;
    if (pare_session_open(m, &o, d, &s)) print_all(d);
    assert_non_null(s);
    pare_diags_free(d);
    return s;
}

static void run(pare_session *s, pare_array *const *in, pare_array **out) {
    pare_diags *d = diags();
    if (pare_session_run(s, in, d, out)) print_all(d);
    assert_non_null(out[0]);
    pare_diags_free(d);
}

/* Rows from..from+n of an array, copied. */
static pare_array *rows(const pare_array *a, int64_t from, int64_t n) {
    int64_t dims[PARE_ARRAY_DIMS];
    memcpy(dims, a->dims, sizeof dims);
    dims[0] = n;
    pare_array *r = pare_array_new(a->dtype, a->ndim, dims);
    size_t each = (size_t)(a->nbytes / (uint64_t)a->dims[0]);
    memcpy(pare_array_data_mut(r), (const char *)pare_array_data(a) + each * (size_t)from, each * (size_t)n);
    return r;
}

static int setup(void **state) {
    (void)state;
    memset(&far_ctl, 0, sizeof far_ctl);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_int_equal(far_ctl.wrong, 0);
    assert_int_equal(far_ctl.live, 0);
    return 0;
}

/* ---- nets ---- */

static uint32_t ints(pare_model *m, const char *name, size_t n, const int64_t *x) {
    int64_t len = (int64_t)n;
    net_tensor(m, name, PARE_INT64, 1, &len, x);
    return net_value(m, name);
}

/* Depthwise separable, as mobilenet's: x (N, 4, 8, 8) -> y (N, 3), Clip, a residual; the end is a Reshape to (N, 6). */
static pare_model *mobile(int64_t batch) {
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{batch, batch < 0 ? "N" : NULL}, {4, NULL}, {8, NULL}, {8, NULL}};
    const int64_t wide[] = {8, 4, 1, 1}, depth[] = {8, 1, 3, 3}, narrow[] = {4, 8, 1, 1}, last[] = {6, 4, 1, 1};
    const int64_t pads[] = {1, 1, 1, 1}, fc[] = {6, 3}, shape[] = {batch < 0 ? 0 : batch, 6};
    const float zero = 0, six = 6;
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w1", 4, wide, 1);
    net_floats(m, "w2", 4, depth, 2);
    net_floats(m, "w3", 4, narrow, 3);
    net_floats(m, "w4", 4, last, 4);
    net_floats(m, "fc", 2, fc, 5);
    net_tensor(m, "zero", PARE_FLOAT, 0, NULL, &zero);
    net_tensor(m, "six", PARE_FLOAT, 0, NULL, &six);
    ints(m, "shape", 2, shape);
    net2(m, "Conv", "a", "x", "w1");
    net_node(m, "Clip", "b", 3, "a", "zero", "six");
    uint32_t n = net2(m, "Conv", "c", "b", "w2");
    pare_attr_set_int(m, n, "group", 8);
    pare_attr_set_ints(m, n, "pads", pads, 4);
    net_node(m, "Clip", "d", 3, "c", "zero", "six");
    net2(m, "Conv", "e", "d", "w3");
    net2(m, "Add", "f", "e", "x");
    net2(m, "Conv", "g", "f", "w4");
    net1(m, "GlobalAveragePool", "h", "g");
    net2(m, "Reshape", "i", "h", "shape");
    net2(m, "MatMul", "y", "i", "fc");
    net_output(m, "y");
    return m;
}

enum { HEADS = 2, EACH = 4, TOKENS = 5, HIDDEN = HEADS * EACH };

/* A transformer's block as an exporter writes it that knows the batch: x (1, 4, 8), a class token put in front, heads
 * merged into the batch and taken apart again, all targets constants. y (1, 8). */
static pare_model *tokens(void) {
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{1, NULL}, {TOKENS - 1, NULL}, {HIDDEN, NULL}};
    const int64_t token[] = {1, 1, HIDDEN}, square[] = {HIDDEN, HIDDEN}, row[] = {HIDDEN},
                  where[] = {1, TOKENS, HIDDEN};
    const int64_t split[] = {1, TOKENS, HEADS, EACH}, merged[] = {HEADS, TOKENS, EACH};
    const int64_t apart[] = {1, HEADS, TOKENS, EACH}, whole[] = {1, TOKENS, HIDDEN};
    const int64_t heads[] = {0, 2, 1, 3}, back[] = {0, 2, 1};
    const char *const qkv[] = {"q", "k", "v"};
    net_input(m, "x", PARE_FLOAT, 3, dims);
    net_floats(m, "token", 3, token, 1);
    net_floats(m, "place", 3, where, 2);
    net_floats(m, "scale", 1, row, 3);
    ints(m, "split", 4, split);
    ints(m, "merged", 3, merged);
    ints(m, "apart", 4, apart);
    ints(m, "whole", 3, whole);
    uint32_t n = net2(m, "Concat", "t", "token", "x");
    pare_attr_set_int(m, n, "axis", 1);
    net2(m, "Add", "p", "t", "place");
    net2(m, "LayerNormalization", "l", "p", "scale");
    for (int i = 0; i < 3; i++) {
        char w[8], a[8], b[8], c[8], e[8];
        snprintf(w, sizeof w, "w%d", i);
        snprintf(a, sizeof a, "a%d", i);
        snprintf(b, sizeof b, "b%d", i);
        snprintf(c, sizeof c, "c%d", i);
        snprintf(e, sizeof e, "%s", qkv[i]);
        net_floats(m, w, 2, square, (uint64_t)i + 4);
        net2(m, "MatMul", a, "l", w);
        net2(m, "Reshape", b, a, "split");
        n = net1(m, "Transpose", c, b);
        pare_attr_set_ints(m, n, "perm", heads, 4);
        net2(m, "Reshape", e, c, "merged");
    }
    n = net1(m, "Transpose", "kt", "k");
    pare_attr_set_ints(m, n, "perm", back, 3);
    net2(m, "MatMul", "scores", "q", "kt");
    n = net1(m, "Softmax", "weights", "scores");
    pare_attr_set_int(m, n, "axis", 2);
    net2(m, "MatMul", "mixed", "weights", "v");
    net2(m, "Reshape", "parts", "mixed", "apart");
    n = net1(m, "Transpose", "turned", "parts");
    pare_attr_set_ints(m, n, "perm", heads, 4);
    net2(m, "Reshape", "joined", "turned", "whole");
    net2(m, "Add", "sum", "joined", "p");
    const int64_t first = 0;
    net_tensor(m, "first", PARE_INT64, 0, NULL, &first);
    n = net2(m, "Gather", "y", "sum", "first");
    pare_attr_set_int(m, n, "axis", 1);
    net_output(m, "y");
    return m;
}

/* ---- the same, however it is cut ---- */

static pare_array *cut(pare_session *s, pare_array *x, int64_t at) {
    pare_array *a = rows(x, 0, at), *b = rows(x, at, x->dims[0] - at), *y = NULL, *z = NULL;
    run(s, &a, &y);
    run(s, &b, &z);
    int64_t dims[PARE_ARRAY_DIMS];
    memcpy(dims, y->dims, sizeof dims);
    dims[0] = x->dims[0];
    pare_array *r = pare_array_new(y->dtype, y->ndim, dims);
    memcpy(pare_array_data_mut(r), pare_array_data(y), (size_t)y->nbytes);
    memcpy((char *)pare_array_data_mut(r) + y->nbytes, pare_array_data(z), (size_t)z->nbytes);
    pare_array_unref(a);
    pare_array_unref(b);
    pare_array_unref(y);
    pare_array_unref(z);
    return r;
}

static void same_in_all_cuts(const pare_model *m, size_t ndim, const int64_t *dims, int64_t per_row) {
    pare_array *x = net_filled(ndim, dims, 3), *want = NULL, *y, *again;
    for (int device = 0; device < NET_DEVICES; device++)
        for (uint32_t piece = 0; piece <= 3; piece++) {
            pare_session *s = open_at(m, device, piece);
            assert_int_equal(pare_session_input(s, 0)->dims[0].value, -1);
            assert_string_equal(pare_session_input(s, 0)->dims[0].symbol, "N");
            y = again = NULL;
            run(s, &x, &y);
            if (piece) assert_int_equal(pare_session_piece(s), piece);
            run(s, &x, &again);
            assert_int_equal(y->dims[0], dims[0]);
            assert_int_equal(y->count, dims[0] * per_row);
            assert_memory_equal(net_f(y), net_f(again), (size_t)y->nbytes);
            if (!want) want = pare_array_ref(y);
            assert_true(net_distance(y, want) <= 1e-5);
            pare_array_unref(y);
            pare_array_unref(again);
            for (int64_t at = 1; at <= 2; at++) {
                y = cut(s, x, at);
                assert_true(net_distance(y, want) <= 1e-5);
                pare_array_unref(y);
            }
            pare_session_close(s);
        }
    pare_array_unref(want);
    pare_array_unref(x);
}

static void cuts(void **state) {
    (void)state;
    const int64_t small[] = {5, 2, 6, 6}, image[] = {5, 4, 8, 8}, words[] = {5, TOKENS - 1, HIDDEN};
    pare_model *m = net_residual(-1);
    same_in_all_cuts(m, 4, small, 3);
    pare_model_free(m);
    m = mobile(-1);
    same_in_all_cuts(m, 4, image, 3);
    pare_model_free(m);
    m = mobile(1); /* its Reshape says so */
    same_in_all_cuts(m, 4, image, 3);
    pare_model_free(m);
    m = mobile(4);
    same_in_all_cuts(m, 4, image, 3);
    pare_model_free(m);
    m = tokens();
    same_in_all_cuts(m, 3, words, HIDDEN);
    pare_model_free(m);
}

/* A row alone in the file's own words, and among others in the opened graph's. */
static void as_the_file_says(void **state) {
    (void)state;
    const int64_t words[] = {3, TOKENS - 1, HIDDEN};
    pare_model *m = tokens();
    pare_array *x = net_filled(3, words, 9), *all = NULL;
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_at(m, device, 0), *plain = NULL;
        pare_session_opts o = net_opts(device);
        assert_int_equal(pare_session_open(m, &o, NULL, &plain), PARE_OK);
        assert_int_equal(pare_session_input(plain, 0)->dims[0].value, 1);
        run(s, &x, &all);
        for (int64_t i = 0; i < 3; i++) {
            pare_array *one = rows(x, i, 1), *want = NULL, *got = rows(all, i, 1);
            run(plain, &one, &want);
            assert_true(net_distance(got, want) <= 1e-5);
            pare_array_unref(one);
            pare_array_unref(want);
            pare_array_unref(got);
        }
        pare_array *y = NULL;
        pare_diags *d = diags();
        assert_int_equal(pare_session_run(plain, &x, d, &y), PARE_EINVAL); /* exact where it is not asked for */
        assert_int_equal(said(d, "engine.input", "[3, 4, 8], but the model takes float32 [1, 4, 8]"), 1);
        pare_diags_free(d);
        pare_array_unref(all);
        all = NULL;
        pare_session_close(s);
        pare_session_close(plain);
    }
    pare_array_unref(x);
    pare_model_free(m);
}

/* ---- tied rows ---- */

typedef void (*tie_fn)(pare_model *m);

static void by_mean(pare_model *m) { /* over all rows */
    const int64_t axis = 0;
    ints(m, "axis", 1, &axis);
    net2(m, "ReduceMean", "t", "x", "axis");
    net2(m, "Sub", "y", "x", "t");
}
static void by_transpose(pare_model *m) { /* (1, 6) -> (6, 1) -> softmax over rows -> (1, 6) */
    net1(m, "Transpose", "t", "x");
    uint32_t n = net1(m, "Softmax", "u", "t");
    pare_attr_set_int(m, n, "axis", 1);
    net1(m, "Transpose", "y", "u");
}
static void by_reshape(pare_model *m) { /* rows end up in one another: (N, 6) as (3, 2N) */
    const int64_t odd[] = {3, -1}, back[] = {-1, 6};
    ints(m, "odd", 2, odd);
    ints(m, "back", 2, back);
    net2(m, "Reshape", "t", "x", "odd");
    uint32_t n = net1(m, "Softmax", "u", "t");
    pare_attr_set_int(m, n, "axis", 1);
    net2(m, "Reshape", "y", "u", "back");
}
static void by_gram(pare_model *m) { /* x x^T x */
    net1(m, "Transpose", "t", "x");
    net2(m, "MatMul", "u", "x", "t");
    net2(m, "MatMul", "y", "u", "x");
}
static void by_softmax(pare_model *m) {
    uint32_t n = net1(m, "Softmax", "y", "x");
    pare_attr_set_int(m, n, "axis", 0);
}
static void by_cumsum(pare_model *m) {
    const int64_t axis = 0;
    net_tensor(m, "axis", PARE_INT64, 0, NULL, &axis);
    net2(m, "CumSum", "y", "x", "axis");
}

static pare_model *net_tied(tie_fn tie, int64_t batch) {
    pare_model *m = net_new(18);
    const pare_dim dims[] = {{batch, batch < 0 ? "N" : NULL}, {6, NULL}};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    tie(m);
    net_output(m, "y");
    return m;
}

static const struct {
    tie_fn tie;
    const char *node;
} ties[] = {{by_mean, "ReduceMean node"}, {by_transpose, "Softmax node"}, {by_reshape, "Reshape node"},
            {by_gram, "MatMul node"},     {by_softmax, "Softmax node"},   {by_cumsum, "CumSum node"}};

static void tied_one_by_one(void **state) {
    (void)state;
    const int64_t dims[] = {3, 6};
    pare_array *x = net_filled(2, dims, 5);
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
        if (ties[i].tie == by_reshape) continue; /* of one row it makes three, which can be 3 N */
        for (int device = 0; device < NET_DEVICES; device++) {
            pare_model *m = net_tied(ties[i].tie, 1);
            pare_session *s = open_at(m, device, 0);
            pare_diags *d = diags();
            pare_array *y = NULL, *one = NULL;
            assert_int_equal(pare_session_input(s, 0)->dims[0].value, 1);
            assert_true(pare_session_takes(s, 3));
            for (int k = 0; k < 2; k++) {
                assert_int_equal(pare_session_run(s, &x, d, &y), PARE_OK);
                assert_int_equal(y->dims[0], 3);
                if (!k) pare_array_unref(y);
            }
            assert_int_equal(said(d, "engine.batch", "images run one by one"), 1); /* once */
            assert_int_equal(said(d, "engine.batch", ties[i].node), 1);
            for (int64_t k = 0; k < 3; k++) {
                pare_array *in = rows(x, k, 1), *want = rows(y, k, 1);
                run(s, &in, &one);
                assert_memory_equal(net_f(one), net_f(want), 24);
                pare_array_unref(in);
                pare_array_unref(one);
                pare_array_unref(want);
                one = NULL;
            }
            pare_array_unref(y);
            pare_diags_free(d);
            pare_session_close(s);
            pare_model_free(m);
        }
    }
    pare_array_unref(x);
}

/* A batch of two whose rows are tied runs two by two. */
static void tied_two_by_two(void **state) {
    (void)state;
    const int64_t four[] = {4, 6}, three[] = {3, 6};
    pare_array *x = net_filled(2, four, 5), *odd = net_filled(2, three, 5);
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
        pare_model *m = net_tied(ties[i].tie, 2);
        pare_session *s = open_at(m, i % 2 ? NET_NEAR : NET_FAR, 0);
        pare_diags *d = diags();
        pare_array *y = NULL, *second = rows(x, 2, 2), *want = NULL;
        assert_int_equal(pare_session_run(s, &odd, d, &y), PARE_EINVAL);
        assert_int_equal(said(d, "engine.input", "takes float32 [2, 6]"), 1);
        assert_int_equal(pare_session_run(s, &x, d, &y), PARE_OK);
        assert_int_equal(said(d, "engine.batch", "2 rows at a time"), 1);
        run(s, &second, &want);
        assert_memory_equal(net_f(want), net_f(y) + 12, 48);
        pare_array_unref(y);
        pare_array_unref(second);
        pare_array_unref(want);
        pare_diags_free(d);
        pare_session_close(s);
        pare_model_free(m);
    }
    pare_array_unref(x);
    pare_array_unref(odd);
}

/* With an open batch, what ties rows runs whole, whatever piece is asked for. */
static void tied_whole(void **state) {
    (void)state;
    const int64_t dims[] = {4, 6};
    pare_array *x = net_filled(2, dims, 5);
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
        pare_model *m = net_tied(ties[i].tie, -1);
        pare_array *y = NULL, *z = NULL;
        pare_session *a = open_at(m, NET_NEAR, 1), *b = open_at(m, NET_FAR, 0);
        run(a, &x, &y);
        run(b, &x, &z);
        assert_int_equal(pare_session_piece(a), 0);
        assert_true(net_distance(y, z) <= 1e-6);
        pare_array_unref(y);
        pare_array_unref(z);
        pare_session_close(a);
        pare_session_close(b);
        pare_model_free(m);
    }
    pare_array_unref(x);
}

static void cant_be_joined(void **state) {
    (void)state;
    pare_model *m = net_new(18);
    const pare_dim fixed[] = {{1, NULL}, {6, NULL}};
    const int64_t axis = 0, two[] = {2, 6}, wide[] = {2, 7};
    net_input(m, "x", PARE_FLOAT, 2, fixed);
    ints(m, "axis", 1, &axis);
    uint32_t n = net2(m, "ReduceSum", "y", "x", "axis");
    pare_attr_set_int(m, n, "keepdims", 0);
    net_output(m, "y");
    pare_array *x = net_filled(2, two, 1), *bad = net_filled(2, wide, 1), *y = NULL;
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_at(m, device, 0);
        pare_diags *d = diags();
        assert_int_equal(pare_session_run(s, &x, d, &y), PARE_EUNSUPPORTED);
        assert_int_equal(said(d, "engine.batch", "its output \"y\" has no such dim 0"), 1);
        assert_int_equal(pare_session_run(s, &bad, d, &y), PARE_EINVAL); /* not only the batch is wrong */
        assert_int_equal(said(d, "engine.input", "float32 [2, 7], but the model takes float32 [1, 6]"), 1);
        assert_null(y);
        pare_diags_free(d);
        pare_session_close(s);
    }
    pare_array_unref(x);
    pare_array_unref(bad);
    pare_model_free(m);
}

/* ---- several inputs and outputs ---- */

/* y = x + relu(z) (batches), s = k * k (no batch). */
static void several(void **state) {
    (void)state;
    const pare_dim one[] = {{1, NULL}, {4, NULL}}, none[] = {{3, NULL}};
    const int64_t five[] = {5, 4}, three[] = {3}, other[] = {4, 4};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 2, one);
    net_input(m, "z", PARE_FLOAT, 2, one);
    net_input(m, "k", PARE_FLOAT, 1, none);
    net1(m, "Relu", "r", "z");
    net2(m, "Add", "y", "x", "r");
    net2(m, "Mul", "s", "k", "k");
    net_output(m, "y");
    net_output(m, "s");
    pare_array *x = net_filled(2, five, 1), *z = net_filled(2, five, 2), *k = net_filled(1, three, 3);
    pare_array *short_z = net_filled(2, other, 2), *in[] = {x, z, k}, *wrong[] = {x, short_z, k};
    for (int device = 0; device < NET_DEVICES; device++)
        for (uint32_t piece = 0; piece < 3; piece++) {
            pare_session *s = open_at(m, device, piece);
            pare_array *out[2] = {NULL};
            pare_diags *d = diags();
            run(s, in, out);
            assert_int_equal(out[0]->dims[0], 5);
            assert_int_equal(out[1]->count, 3);
            for (int i = 0; i < 20; i++) {
                float b = net_f(z)[i];
                assert_true(net_f(out[0])[i] == net_f(x)[i] + (b > 0 ? b : 0));
            }
            for (int i = 0; i < 3; i++) assert_true(net_f(out[1])[i] == net_f(k)[i] * net_f(k)[i]);
            pare_array_unref(out[0]);
            pare_array_unref(out[1]);
            out[0] = NULL;
            assert_int_equal(pare_session_run(s, wrong, d, out), PARE_EINVAL);
            assert_null(out[0]);
            pare_diags_free(d);
            pare_session_close(s);
        }
    pare_array_unref(x);
    pare_array_unref(z);
    pare_array_unref(k);
    pare_array_unref(short_z);
    pare_model_free(m);
}

/* ---- memory ---- */

/* What doesn't fit at once runs in smaller pieces, said once; what doesn't fit at all is refused. */
static void fits_in_pieces(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    const int64_t many[] = {64, 2, 6, 6};
    pare_array *x = net_filled(4, many, 1), *y = NULL, *want = NULL;
    pare_session *whole = open_at(m, NET_FAR, 0);
    run(whole, &x, &want);
    pare_session_close(whole);
    for (int tight = 0; tight < 2; tight++) {
        pare_session_opts o = net_opts(NET_FAR);
        pare_session *s = NULL;
        pare_diags *d = diags();
        o.memory = tight ? 500 : 16000;
        assert_int_equal(pare_session_open(m, &o, d, &s), PARE_OK);
        pare_status st = pare_session_run(s, &x, d, &y);
        if (tight) {
            assert_int_equal(st, PARE_ENOMEM);
            assert_null(y);
            assert_true(pare_diags_errors(d) == 1);
        } else {
            assert_int_equal(st, PARE_OK);
            assert_true(pare_session_piece(s) > 0);
            assert_int_equal(said(d, "engine.pieces", "a batch of 64 does not fit in memory"), 1);
            assert_true(net_distance(y, want) <= 1e-5);
            assert_true(far_ctl.live_bytes <= 16384);
            pare_array_unref(y);
            y = NULL;
        }
        pare_diags_free(d);
        pare_session_close(s);
    }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(cuts),       T(as_the_file_says), T(tied_one_by_one), T(tied_two_by_two),
                                       T(tied_whole), T(cant_be_joined),   T(several),         T(fits_in_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
