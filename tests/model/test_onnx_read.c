/* tests/model/test_onnx_read.c - sound ONNX files: every dtype and encoding, names, subgraphs, what is carried. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "model/edit.h"
#include "model/onnx.h"
#include "model/onnx_make.h"
#include "model/find_tensor.h"

static pare_model *read_ok(msg m) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *out = NULL;
    assert_int_equal(pare_onnx_read_bytes(m.p, m.n, "test.onnx", d, &out), PARE_OK);
    assert_non_null(out);
    assert_int_equal(pare_diags_count(d), 0);
    pare_diags_free(d);
    msg_free(&m);
    return out;
}

static pare_value *value(const pare_model *m, uint32_t graph, const char *name) {
    pare_value *v = pare_model_value(m, pare_graph_find(m, graph, name));
    assert_non_null(v);
    return v;
}

static void test_basic(void **state) {
    (void)state;
    msg g = graph_add();
    int64_t dims[2] = {-1, 3};
    msg_sub(&g, 13, info_f32("loose", 2, dims));
    msg b = model(g);
    msg_str(&b, 2, "maker");
    msg_int(&b, 5, 7);
    msg_str(&b, 6, "doc");
    msg_sub(&b, 8, opset("com.example", 3));
    msg_sub(&b, 14, msg_pair("k", "v"));
    pare_model *m = read_ok(b);
    assert_int_equal(m->ir_version, 8);
    assert_string_equal(m->producer_name, "maker");
    assert_null(m->producer_version);
    assert_true(m->has_model_version);
    assert_int_equal(m->model_version, 7);
    assert_string_equal(m->doc_string, "doc");
    assert_int_equal(pare_model_opset(m, ""), 17);
    assert_int_equal(pare_model_opset(m, "com.example"), 3);
    assert_string_equal(pare_model_meta(m, "k"), "v");
    assert_false(m->has_training_info);
    pare_graph *gr = pare_model_graph(m, PARE_MAIN_GRAPH);
    assert_string_equal(gr->name, "g");
    assert_int_equal(gr->nodes.len, 1);
    assert_int_equal(gr->inputs.len, 1);
    assert_int_equal(gr->outputs.len, 1);
    assert_int_equal(gr->loose_info.len, 1);
    pare_node *n = pare_model_node(m, gr->nodes.data[0]);
    assert_true(pare_node_is(n, "Add"));
    assert_int_equal(n->n_in, 2);
    pare_value *x = value(m, PARE_MAIN_GRAPH, "x"), *w = value(m, PARE_MAIN_GRAPH, "w"),
               *y = value(m, PARE_MAIN_GRAPH, "y");
    assert_int_equal(n->in[0], x->id);
    assert_int_equal(n->in[1], w->id);
    assert_int_equal(n->out[0], y->id);
    assert_true(x->is_input && !x->is_output && x->declared);
    assert_true(y->is_output && y->producer == n->id && y->slot == 0);
    assert_int_equal(w->uses.len, 1);
    assert_int_equal(w->uses.data[0].node, n->id);
    assert_int_equal(w->uses.data[0].slot, 1);
    assert_int_equal(x->dtype, PARE_FLOAT);
    assert_int_equal(x->ndim, 1);
    assert_int_equal(x->dims[0].value, 4);
    pare_tensor *t = pare_model_tensor(m, w->tensor);
    assert_string_equal(t->name, "w");
    assert_int_equal(t->count, 4);
    const void *data;
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    assert_memory_equal(data, ((float[]){0, 1, 2, 3}), 16);
    assert_int_equal((uintptr_t)data % 64, 0);
    pare_model_free(m);
}

/* ---- dtypes ---- */

typedef struct typed {
    int dtype;
    unsigned field; /* of TensorProto */
    int64_t count;
    size_t n; /* values of the field */
    int64_t values[6];
    size_t nbytes;
    unsigned char bytes[32];
} typed;

/* Source: the comments on TensorProto.int32_data and raw_data. */
static const typed varint_cases[] = {
    {2, 5, 2, 2, {255, 1}, 2, {255, 1}},
    {3, 5, 3, 3, {-1, 127, -128}, 3, {0xff, 0x7f, 0x80}},
    {4, 5, 2, 2, {65535, 258}, 4, {0xff, 0xff, 2, 1}},
    {5, 5, 2, 2, {-2, 258}, 4, {0xfe, 0xff, 2, 1}},
    {6, 5, 2, 2, {-2, 0x01020304}, 8, {0xfe, 0xff, 0xff, 0xff, 4, 3, 2, 1}},
    {7, 7, 2, 2, {-2, 0x0102030405060708}, 16, {0xfe, 255, 255, 255, 255, 255, 255, 255, 8, 7, 6, 5, 4, 3, 2, 1}},
    {9, 5, 3, 3, {1, 0, 1}, 3, {1, 0, 1}},
    {10, 5, 2, 2, {0x3c00, 0xbc01}, 4, {0, 0x3c, 1, 0xbc}},
    {12, 11, 2, 2, {0xfffffffe, 1}, 8, {0xfe, 255, 255, 255, 1, 0, 0, 0}},
    {13, 11, 2, 2, {-1, 1}, 16, {255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}},
    {16, 5, 2, 2, {0x3f80, 0xbf80}, 4, {0x80, 0x3f, 0x80, 0xbf}},
    {17, 5, 2, 2, {0x38, 0xb8}, 2, {0x38, 0xb8}},
    {18, 5, 1, 1, {0x40}, 1, {0x40}},
    {19, 5, 1, 1, {0x3c}, 1, {0x3c}},
    {20, 5, 1, 1, {0x3c}, 1, {0x3c}},
    {21, 5, 5, 3, {0x21, 0x43, 0x05}, 3, {0x21, 0x43, 0x05}},
    {22, 5, 4, 2, {0xf1, 0x8e}, 2, {0xf1, 0x8e}},
    {23, 5, 3, 2, {0x21, 0x03}, 2, {0x21, 0x03}},
    {24, 5, 2, 2, {127, 130}, 2, {127, 130}},
    {25, 5, 5, 2, {0xe4, 0x02}, 2, {0xe4, 0x02}},
    {26, 5, 4, 1, {0x1b}, 1, {0x1b}},
};

static void expect_tensor(msg t, int dtype, int64_t count, const void *bytes, size_t nbytes) {
    msg g = graph_add();
    msg_sub(&g, 5, t);
    pare_model *m = read_ok(model(g));
    pare_tensor *got = find_tensor(m, "t");
    assert_non_null(got);
    assert_int_equal(got->dtype, dtype);
    assert_int_equal(got->count, count);
    if (nbytes) {
        assert_int_equal(got->blob->len, nbytes);
        assert_memory_equal(got->blob->data, bytes, nbytes);
    } else {
        assert_null(got->blob);
    }
    pare_model_free(m);
}

static void test_typed_varints(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof varint_cases / sizeof *varint_cases; i++) {
        const typed *c = &varint_cases[i];
        for (int packed = 0; packed < 3; packed++) { /* one by one, packed, packed in two pieces */
            msg t = tensor_head("t", c->dtype, 1, &c->count), run = {0};
            for (size_t k = 0; k < c->n; k++) {
                if (packed)
                    msg_varint(&run, (uint64_t)c->values[k]);
                else
                    msg_int(&t, c->field, c->values[k]);
                if (packed == 2 && k == 0) {
                    msg_sub(&t, c->field, run);
                    run = (msg){0};
                }
            }
            if (packed) msg_sub(&t, c->field, run);
            expect_tensor(t, c->dtype, c->count, c->bytes, c->nbytes);
        }
        expect_tensor(tensor_raw("t", c->dtype, 1, &c->count, c->bytes, c->nbytes), c->dtype, c->count, c->bytes,
                      c->nbytes);
    }
}

static void test_typed_floats(void **state) {
    (void)state;
    float f[4] = {1.5f, -2, 0, 3};
    double e[4] = {1.5, -2, 0, 3};
    int64_t four = 4, two = 2;
    for (int packed = 0; packed < 2; packed++) {
        for (int complex_ = 0; complex_ < 2; complex_++) {
            msg t = tensor_head("t", complex_ ? 14 : 1, 1, complex_ ? &two : &four);
            msg u = tensor_head("t", complex_ ? 15 : 11, 1, complex_ ? &two : &four);
            if (packed) {
                msg_bytes(&t, 4, f, sizeof f);
                msg_bytes(&u, 10, e, sizeof e);
            } else {
                for (int i = 0; i < 4; i++) {
                    msg_float(&t, 4, f[i]);
                    msg_tag(&u, 10, 1);
                    msg_add(&u, &e[i], 8);
                }
            }
            expect_tensor(t, complex_ ? 14 : 1, complex_ ? 2 : 4, f, sizeof f);
            expect_tensor(u, complex_ ? 15 : 11, complex_ ? 2 : 4, e, sizeof e);
        }
    }
}

static void test_empty_scalar_string(void **state) {
    (void)state;
    int64_t zero[2] = {3, 0}, two = 2;
    expect_tensor(tensor_head("t", 1, 2, zero), 1, 0, "", 0);
    expect_tensor(tensor_raw("t", 1, 2, zero, "", 0), 1, 0, "", 0);
    expect_tensor(tensor_raw("t", 1, 0, NULL, "\0\0\x80\x3f", 4), 1, 1, "\0\0\x80\x3f", 4);
    msg packed_dims = {0}, t = {0};
    msg_varint(&packed_dims, 1);
    msg_varint(&packed_dims, 2);
    msg_sub(&t, 1, packed_dims);
    msg_int(&t, 2, 3);
    msg_str(&t, 8, "t");
    msg_bytes(&t, 9, "ab", 2);
    expect_tensor(t, 3, 2, "ab", 2);

    msg s = tensor_head("t", 8, 1, &two), g = graph_add();
    msg_str(&s, 6, "one");
    msg_bytes(&s, 6, "t\0o", 3);
    msg_sub(&g, 5, s);
    pare_model *m = read_ok(model(g));
    pare_tensor *got = find_tensor(m, "t");
    assert_null(got->blob);
    assert_int_equal(got->strings[0].len, 3);
    assert_int_equal(got->strings[1].len, 3);
    assert_memory_equal(got->strings[1].data, "t\0o", 3);
    pare_model_free(m);
}

/* ---- names ---- */

static void test_initializer_of_input(void **state) {
    (void)state;
    int64_t four[1] = {4};
    msg g = graph_add();
    msg_sub(&g, 11, info_f32("w", 1, four)); /* IR 3 wants every initializer among the inputs */
    pare_model *m = read_ok(model_ir(g, 3));
    pare_value *w = value(m, PARE_MAIN_GRAPH, "w");
    assert_true(w->is_input && w->tensor);
    assert_int_equal(pare_model_graph(m, 1)->inputs.len, 2);
    pare_model_free(m);
}

static void test_optional_and_forward(void **state) {
    (void)state;
    int64_t four[1] = {4};
    msg g = {0};
    msg_sub(&g, 1, node("Third", "b", "y"));
    msg_sub(&g, 1, node("Second", "a - a", "b"));
    msg_sub(&g, 1, node("First", "x", "- a"));
    msg_sub(&g, 11, info_f32("x", 1, four));
    msg_sub(&g, 12, info_f32("y", 1, four));
    pare_model *m = read_ok(model(g));
    pare_graph *gr = pare_model_graph(m, 1);
    const char *order[3] = {"First", "Second", "Third"}; /* sorted, as a graph in memory always is */
    for (int i = 0; i < 3; i++) assert_string_equal(pare_model_node(m, gr->nodes.data[i])->op_type, order[i]);
    pare_node *second = pare_model_node(m, gr->nodes.data[1]), *first = pare_model_node(m, gr->nodes.data[0]);
    assert_int_equal(second->n_in, 3);
    assert_int_equal(second->in[1], 0);
    assert_int_equal(first->out[0], 0);
    assert_int_equal(value(m, 1, "a")->slot, 1);
    assert_int_equal(value(m, 1, "a")->uses.len, 2);
    pare_model_free(m);
}

static msg graph_attr(const char *name, msg graph) {
    msg a = {0};
    msg_str(&a, 1, name);
    msg_sub(&a, 6, graph);
    msg_int(&a, 20, 5);
    return a;
}

static void test_subgraph(void **state) {
    (void)state;
    msg inner = {0}, other = {0}, name = {0}, g = graph_add();
    msg_sub(&inner, 1, node("Mul", "x late", "r")); /* x and late are captured; late comes from a node further down */
    msg_str(&inner, 2, "then");
    msg_str(&name, 1, "r");
    msg_sub(&inner, 12, name);
    msg_str(&other, 2, "else");
    name = (msg){0};
    msg_str(&name, 1, "w"); /* hands an outer value out */
    msg_sub(&other, 12, name);
    msg branch = node("If", "x", "z");
    msg_sub(&branch, 5, graph_attr("then_branch", inner));
    msg_sub(&branch, 5, graph_attr("else_branch", other));
    msg_sub(&g, 1, branch);
    msg_sub(&g, 1, node("Neg", "x", "late"));
    pare_model *m = read_ok(model(g));
    assert_int_equal(m->graphs.len, 3);
    pare_graph *then = pare_model_graph(m, 2), *els = pare_model_graph(m, 3);
    assert_string_equal(then->name, "then");
    pare_node *mul = pare_model_node(m, then->nodes.data[0]);
    assert_int_equal(mul->graph, 2);
    assert_int_equal(mul->in[0], value(m, 1, "x")->id);
    assert_int_equal(mul->in[1], value(m, 1, "late")->id);
    assert_int_equal(value(m, 1, "late")->uses.len, 1);
    assert_int_equal(value(m, 1, "late")->uses.data[0].node, mul->id);
    assert_int_equal(els->outputs.data[0], value(m, 1, "w")->id);
    pare_node *iff = pare_model_node(m, then->parent_node);
    assert_string_equal(iff->op_type, "If");
    const pare_attr *a = pare_node_attr(iff, "else_branch");
    assert_int_equal(a->type, PARE_ATTR_GRAPH);
    assert_int_equal(a->n, 1);
    assert_int_equal(a->ids[0], 3);
    /* Neg was moved before the If that needs it by its branch */
    pare_graph *gr = pare_model_graph(m, 1);
    assert_string_equal(pare_model_node(m, gr->nodes.data[gr->nodes.len - 1])->op_type, "If");
    pare_model_free(m);
}

/* ---- attributes ---- */

static void test_attributes(void **state) {
    (void)state;
    msg n = node("Op", "x", "y2"), a, run = {0}, sparse = {0}, type = {0};
    int64_t one = 1;
    a = (msg){0}, msg_str(&a, 1, "f"), msg_float(&a, 2, 2.5f), msg_int(&a, 20, 1), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "i"), msg_int(&a, 3, -9), msg_int(&a, 20, 2), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "s"), msg_bytes(&a, 4, "a\0b", 3), msg_int(&a, 20, 3), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "t"), msg_sub(&a, 5, tensor_f32(NULL, 2)), msg_int(&a, 20, 4), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "floats"), msg_float(&a, 7, 1), msg_float(&a, 7, 2), msg_int(&a, 20, 6),
    msg_sub(&n, 5, a);
    msg_varint(&run, 3), msg_varint(&run, (uint64_t)-4);
    a = (msg){0}, msg_str(&a, 1, "ints"), msg_int(&a, 8, 2), msg_sub(&a, 8, run), msg_int(&a, 20, 7), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "strings"), msg_str(&a, 9, "p"), msg_str(&a, 9, ""), msg_int(&a, 20, 8),
    msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "tensors"), msg_sub(&a, 10, tensor_f32("t0", 1)), msg_sub(&a, 10, tensor_f32("t1", 3)),
    msg_int(&a, 20, 9), msg_sub(&n, 5, a);
    msg_sub(&sparse, 1, tensor_f32("v", 1)), msg_int(&sparse, 3, one);
    a = (msg){0}, msg_str(&a, 1, "sparse"), msg_sub(&a, 22, sparse), msg_int(&a, 20, 11), msg_sub(&n, 5, a);
    msg_str(&type, 6, "denotation");
    a = (msg){0}, msg_str(&a, 1, "tp"), msg_sub(&a, 14, type), msg_int(&a, 20, 13), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "untyped"), msg_int(&a, 3, 5), msg_str(&a, 13, "doc"), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "none"), msg_sub(&n, 5, a);
    a = (msg){0}, msg_str(&a, 1, "empty"), msg_int(&a, 3, 0), msg_int(&a, 20, 7), msg_sub(&n, 5, a);
    msg g = graph_add();
    msg_sub(&g, 1, n);
    pare_model *m = read_ok(model(g));
    pare_node *op = pare_model_node(m, value(m, 1, "y2")->producer);
    assert_int_equal(op->n_attrs, 13);
    assert_true(pare_node_attr_float(op, "f", 0) == 2.5f);
    assert_int_equal(pare_node_attr_int(op, "i", 0), -9);
    assert_int_equal(pare_node_attr(op, "s")->s.len, 3);
    const pare_attr *t = pare_node_attr(op, "t");
    pare_tensor *tensor = pare_model_tensor(m, t->ids[0]);
    assert_int_equal(tensor->owner, PARE_OWNER_ATTRIBUTE);
    assert_int_equal(tensor->node, op->id);
    assert_int_equal(tensor->count, 2);
    assert_string_equal(tensor->name, "");
    assert_int_equal(pare_node_attr(op, "floats")->n, 2);
    const pare_attr *ints = pare_node_attr(op, "ints");
    assert_int_equal(ints->n, 3);
    assert_memory_equal(ints->ints, ((int64_t[]){2, 3, -4}), 24);
    assert_int_equal(pare_node_attr(op, "strings")->n, 2);
    assert_int_equal(pare_node_attr(op, "tensors")->n, 2);
    assert_int_equal(pare_node_attr(op, "sparse")->n, 1);
    assert_int_equal(pare_node_attr(op, "tp")->raw[0].len, 12);
    assert_int_equal(pare_node_attr(op, "untyped")->type, PARE_ATTR_INT);
    assert_int_equal(pare_node_attr_int(op, "untyped", 0), 5);
    assert_true(pare_node_attr(op, "untyped")->extra.len > 0);
    assert_int_equal(pare_node_attr(op, "none")->type, PARE_ATTR_UNDEFINED);
    assert_int_equal(pare_node_attr(op, "empty")->type, PARE_ATTR_INTS);
    assert_int_equal(pare_node_attr(op, "empty")->n, 0);
    pare_model_free(m);
}

/* ---- what is carried ---- */

static void test_carried(void **state) {
    (void)state;
    int64_t dims[2] = {-1, 3};
    msg g = graph_add(), sparse = {0}, note = {0}, fn = {0}, train = {0}, seq = {0}, elem = {0}, type = {0}, info = {0};
    msg_sub(&sparse, 1, tensor_f32("s", 2));
    msg_int(&sparse, 3, 5), msg_int(&sparse, 3, 7);
    msg_sub(&g, 15, sparse);
    msg_sub(&g, 1, node("Identity", "s", "s2"));
    msg_str(&note, 1, "w");
    msg_sub(&g, 14, note);
    msg_str(&g, 10, "graph doc");
    msg_sub(&g, 13, info_f32("s2", 2, dims));
    msg_int(&type, 1, 1);
    msg_sub(&elem, 1, type);
    msg_sub(&seq, 1, elem);
    type = (msg){0};
    msg_sub(&type, 4, seq);
    msg_str(&info, 1, "sequence");
    msg_sub(&info, 2, type);
    msg_sub(&g, 11, info);
    msg b = model(g);
    msg_str(&fn, 1, "f");
    msg_sub(&fn, 7, node("Anything", "a", "b"));
    msg_sub(&b, 25, fn);
    msg_sub(&train, 2, graph_add());
    msg_sub(&b, 20, train);
    msg_int(&b, 99, 12345);
    pare_model *m = read_ok(b);
    pare_graph *gr = pare_model_graph(m, 1);
    assert_int_equal(gr->sparse.len, 1);
    assert_int_equal(gr->sparse.data[0].ndim, 2);
    assert_int_equal(gr->sparse.data[0].dims[1], 7);
    assert_int_equal(gr->sparse.data[0].nonzero, 2);
    assert_int_equal(gr->sparse.data[0].dtype, PARE_FLOAT);
    assert_true(value(m, 1, "s")->is_sparse);
    assert_int_equal(gr->sparse.data[0].value, value(m, 1, "s")->id);
    assert_int_equal(gr->info_order.len, 1);
    pare_value *s2 = value(m, 1, "s2");
    assert_int_equal(s2->ndim, 2);
    assert_int_equal(s2->dims[0].value, -1);
    assert_string_equal(s2->dims[0].symbol, "N");
    assert_true(value(m, 1, "sequence")->other_type);
    assert_int_equal(value(m, 1, "sequence")->dtype, PARE_DTYPE_UNKNOWN);
    assert_int_equal(m->functions.len, 1);
    assert_true(m->has_training_info);
    assert_true(m->extra.len > 0);
    assert_true(gr->extra.len > 0);
    pare_model_free(m);
}

static void test_domain_alias(void **state) {
    (void)state;
    msg n = node("Relu", "x", "r"), g = graph_add();
    msg_str(&n, 7, "ai.onnx");
    msg_sub(&g, 1, n);
    msg b = {0};
    msg_int(&b, 1, 8);
    msg_sub(&b, 7, g);
    msg_sub(&b, 8, opset("ai.onnx", 12));
    pare_model *m = read_ok(b);
    assert_int_equal(pare_model_opset(m, ""), 12);
    assert_true(pare_node_is(pare_model_node(m, value(m, 1, "r")->producer), "Relu"));
    pare_model_free(m);
}

/* ---- files ---- */

static void test_mapped_and_external(void **state) {
    (void)state;
    const char *path = in_tmp("m.onnx"), *data = in_tmp("d/w.bin");
    assert_int_equal(pare_dir_make(in_tmp("d"), NULL), PARE_OK);
    float values[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    file_put(data, values, sizeof values);
    msg g = graph_add();
    msg_sub(&g, 5, tensor_external("a", 3, "d/w.bin", "8", "12"));
    msg_sub(&g, 5, tensor_external("b", 8, "d/w.bin", NULL, NULL));
    msg_sub(&g, 5, tensor_external("c", 2, "d/./w.bin", "0", "8"));
    msg b = model(g);
    file_put(path, b.p, b.n);
    msg_free(&b);
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *m = NULL;
    assert_int_equal(pare_onnx_read(path, d, &m), PARE_OK);
    assert_string_equal(m->path, path);
    pare_tensor *w = find_tensor(m, "w"), *a = find_tensor(m, "a"), *bb = find_tensor(m, "b");
    assert_ptr_equal(w->blob->file, m->file); /* mapped, not copied */
    assert_false(w->was_external);
    assert_true(a->was_external && bb->was_external);
    assert_ptr_equal(a->blob->file, bb->blob->file); /* one map */
    assert_memory_equal(a->blob->data, values + 2, 12);
    assert_memory_equal(bb->blob->data, values, 32);
    pare_model_free(m);
    pare_diags_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_typed_varints),
        cmocka_unit_test(test_typed_floats),
        cmocka_unit_test(test_empty_scalar_string),
        cmocka_unit_test(test_initializer_of_input),
        cmocka_unit_test(test_optional_and_forward),
        cmocka_unit_test(test_subgraph),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_carried),
        cmocka_unit_test(test_domain_alias),
        cmocka_unit_test(test_mapped_and_external),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
