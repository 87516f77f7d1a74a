/* tests/quantize/test_place.c - where quantizers go, target by target, on graphs small enough to draw. On the real
 * host: the plan is read, nothing is edited. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/host.h"
#include "quantize/place.h"

#include "model/graph_make.h"

static const pare_arg nobody = {.n = 0};

typedef struct bench {
    pare_model *m;
    pare_diags *d;
    pare_host *host;
    quantize_apis q;
    quantize_options *o;
    quantize_choices choices;
    place_plan plan;
} bench;

static bench begin(pare_model *m, quantize_target target) {
    bench b = {.m = m, .d = pare_diags_new(PARE_DIAG_SILENT, NULL)};
    const pare_host_env env = {.diags = b.d, .step = "s", .plugin = "quantize", .technique = "quantize.static"};
    pare_model_opset_set(m, "", 17);
    b.host = pare_host_new(&env);
    b.o = calloc(1, sizeof *b.o);
    b.o->target = target;
    b.o->ops = b.o->include = b.o->exclude = &nobody;
    b.o->activations = target == QUANTIZE_TENSORRT ? PARE_INT8 : PARE_UINT8;
    b.o->symmetric = target == QUANTIZE_TENSORRT;
    pare_host_begin(b.host, PARE_PHASE_APPLY, m);
    assert_int_equal(quantize_apis_init(&b.q, b.host, m), PARE_OK);
    assert_int_equal(b.q.graph->infer(b.host, m), PARE_OK);
    return b;
}

static void plan(bench *b) {
    assert_int_equal(quantize_choose(&b->q, b->o, true, &b->choices), PARE_OK);
    assert_int_equal(place_make(&b->q, b->o, &b->choices, NULL, &b->plan), PARE_OK);
}

static void end(bench *b) {
    assert_int_equal(pare_host_end(b->host, PARE_OK), PARE_OK);
    pare_host_free(b->host);
    pare_diags_free(b->d);
    pare_model_free(b->m);
    free(b->o);
}

/* The names of the values that get quantizers, in the order of execution; "=name" behind one that has another's scale,
 * "!" where every use of it moves. */
static const char *points(const bench *b) {
    static char text[1024];
    size_t at = 0;
    text[0] = 0;
    for (uint64_t i = 0; i < b->plan.n_points; i++) {
        const place_point *p = &b->plan.points[i];
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s", i ? " " : "",
                               quantize_value(&b->q, p->value).name, p->all ? "!" : "");
        if (p->source != i)
            at += (size_t)snprintf(text + at, sizeof text - at, "=%s",
                                   quantize_value(&b->q, b->plan.points[p->source].value).name);
    }
    return text;
}

static const place_node *node_of(const bench *b, const char *name) {
    for (uint64_t i = 0; i < b->plan.n_nodes; i++)
        if (strcmp(quantize_node(&b->q, b->plan.nodes[i].id).name, name) == 0) return &b->plan.nodes[i];
    fail_msg("no node %s", name);
    return NULL;
}

static void out(pare_model *m, const char *name) { pare_graph_output_add(m, PARE_MAIN_GRAPH, gm_find(m, name)); }

static void input(pare_model *m, const char *name, int32_t ndim, const int64_t *dims) {
    pare_dim d[6];
    for (int32_t i = 0; i < ndim; i++) d[i] = (pare_dim){dims[i], NULL};
    const uint32_t v = pare_value_add(m, PARE_MAIN_GRAPH, name);
    pare_value_type_set(m, v, PARE_FLOAT, ndim, d);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, v);
}

/* x -> conv a -> relu -> MaxPool -> { conv b -> } add -> relu -> GlobalAveragePool -> Flatten -> Gemm -> y */
static pare_model *residual(void) {
    pare_model *m = pare_model_new("residual");
    input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
    gm_node(m, "Conv", "a", "@x =f[4,3,3,3] =f[4]", "pads=[1,1,1,1]", "a");
    gm_node(m, "Relu", "ra", "@a", "", "ra");
    gm_node(m, "MaxPool", "pool", "@ra", "kernel_shape=[2,2] strides=[2,2]", "p");
    gm_node(m, "Conv", "b", "@p =f[4,4,3,3] =f[4]", "pads=[1,1,1,1]", "b");
    gm_node(m, "Add", "add", "@b @p", "", "s");
    gm_node(m, "Relu", "rs", "@s", "", "rs");
    gm_node(m, "GlobalAveragePool", "mean", "@rs", "", "g");
    gm_node(m, "Flatten", "flat", "@g", "", "f");
    gm_node(m, "Gemm", "fc", "@f =f[5,4] =f[5]", "transB=1", "y");
    out(m, "y");
    return m;
}

/* ONNX Runtime wants a quantizer behind every Conv, at both inputs of Add, around pools; the same scale around MaxPool
 * and Flatten; nothing at the result of the last Gemm. */
static void onnxruntime_residual(void **state) {
    (void)state;
    bench b = begin(residual(), QUANTIZE_ONNXRUNTIME);
    plan(&b);
    assert_string_equal(points(&b), "x ra! p!=ra b! rs! g! f!=g");
    assert_true(node_of(&b, "add")->on && node_of(&b, "mean")->on && node_of(&b, "fc")->on);
    assert_true(node_of(&b, "ra")->fused && node_of(&b, "rs")->fused);
    end(&b);
}

/* TensorRT and pare: what the convolution makes goes into the Add unrounded; one branch is quantized. */
static void residual_joined(void **state) {
    (void)state;
    static const quantize_target targets[] = {QUANTIZE_TENSORRT, QUANTIZE_PARE};
    for (int i = 0; i < 2; i++) {
        bench b = begin(residual(), targets[i]);
        plan(&b);
        assert_string_equal(points(&b), "x ra! p!=ra rs! g! f!=g");
        assert_true(node_of(&b, "add")->fused && node_of(&b, "add")->on);
        assert_int_equal(node_of(&b, "add")->joined, 0);
        end(&b);
    }
}

static void openvino_residual(void **state) {
    (void)state;
    bench b = begin(residual(), QUANTIZE_OPENVINO);
    plan(&b);
    assert_string_equal(points(&b), "x ra! p!=ra b! rs! g! f!=g");
    end(&b);
}

static void generic_residual(void **state) {
    (void)state;
    bench b = begin(residual(), QUANTIZE_GENERIC);
    plan(&b);
    assert_string_equal(points(&b), "x ra! p!=ra b! rs! g! f!=g y!");
    end(&b);
}

/* Symmetric int8 goes below zero, so that Relu isn't redundant behind the quantizer: ONNX Runtime then needs one before
 * it. With the zero point at -128 it is redundant. */
static void onnxruntime_int8(void **state) {
    (void)state;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        pare_model *m = pare_model_new("m");
        input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
        gm_node(m, "Conv", "a", "@x =f[4,3,3,3]", "", "a");
        gm_node(m, "Relu", "ra", "@a", "", "ra");
        gm_node(m, "Conv", "b", "@ra =f[4,4,3,3]", "", "y");
        out(m, "y");
        bench b = begin(m, QUANTIZE_ONNXRUNTIME);
        b.o->activations = PARE_INT8;
        b.o->symmetric = symmetric;
        plan(&b);
        assert_string_equal(points(&b), symmetric ? "x a! ra y!" : "x ra! y!");
        end(&b);
    }
}

/* ONNX Runtime looks for a quantizer behind a lone Relu, and leaves the Gemm in float where there is none. */
static void gemm_then_relu(void **state) {
    (void)state;
    pare_model *m = pare_model_new("m");
    input(m, "x", 2, (const int64_t[]){1, 6});
    gm_node(m, "Gemm", "a", "@x =f[6,4] =f[4]", "", "a");
    gm_node(m, "Relu", "ra", "@a", "", "ra");
    gm_node(m, "Exp", "e", "@ra", "", "y");
    out(m, "y");
    bench b = begin(m, QUANTIZE_ONNXRUNTIME);
    plan(&b);
    assert_string_equal(points(&b), "x ra!");
    end(&b);
}

/* Clip(0, 6) may stand before the quantizer and bounds the range; other bounds and bounds that are no constants may
 * not, so that the quantizer comes before. */
static void clips(void **state) {
    (void)state;
    static const struct {
        const char *in, *points;
        bool clipped;
    } cases[] = {
        {"@a f{0} f{6}", "x c! y!", true},
        {"@a f{-1} f{1}", "x a! c y!", false},
        {"@a @low f{6}", "x a! c y!", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_model *m = pare_model_new("m");
        input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
        input(m, "low", 0, NULL);
        gm_node(m, "Conv", "a", "@x =f[4,3,3,3]", "", "a");
        gm_node(m, "Clip", "c", cases[i].in, "", "c");
        gm_node(m, "Conv", "b", "@c =f[4,4,3,3]", "", "y");
        out(m, "y");
        bench b = begin(m, QUANTIZE_ONNXRUNTIME);
        plan(&b);
        assert_string_equal(points(&b), cases[i].points);
        if (cases[i].clipped) {
            assert_true(b.plan.points[1].clipped);
            assert_true(b.plan.points[1].low == 0 && b.plan.points[1].high == 6);
        }
        end(&b);
    }
}

/* x * Sigmoid(x) behind a convolution: one activation for pare, two int8 nodes for ONNX Runtime. */
static void swish(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        pare_model *m = pare_model_new("m");
        input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
        gm_node(m, "Conv", "a", "@x =f[4,3,3,3]", "", "a");
        gm_node(m, "Sigmoid", "s", "@a", "", "s");
        gm_node(m, "Mul", "m", "@a @s", "", "m");
        gm_node(m, "Conv", "b", "@m =f[4,4,3,3]", "", "y");
        out(m, "y");
        bench b = begin(m, own ? QUANTIZE_PARE : QUANTIZE_ONNXRUNTIME);
        plan(&b);
        assert_string_equal(points(&b), own ? "x m!" : "x a! s! m! y!");
        end(&b);
    }
}

/* What runs in float behind int8 doesn't drag int8 along: LayerNormalization's inputs stay as exact as they are. */
static void transformer(void **state) {
    (void)state;
    pare_model *m = pare_model_new("m");
    input(m, "x", 3, (const int64_t[]){1, 5, 8});
    gm_node(m, "MatMul", "q", "@x =f[8,8]", "", "q0");
    gm_node(m, "Add", "qb", "@q0 =f[8]", "", "q1");
    gm_node(m, "Transpose", "qt", "@q1", "perm=[0,2,1]", "q2");
    gm_node(m, "MatMul", "k", "@x =f[8,8]", "", "k0");
    gm_node(m, "MatMul", "qk", "@k0 @q2", "", "qk");
    gm_node(m, "Softmax", "soft", "@qk", "", "soft");
    gm_node(m, "MatMul", "v", "@soft @x", "", "v");
    gm_node(m, "Add", "res", "@v @x", "", "r");
    gm_node(m, "LayerNormalization", "norm", "@r =f[8] =f[8]", "", "y");
    out(m, "y");
    bench b = begin(m, QUANTIZE_ONNXRUNTIME);
    plan(&b);
    assert_string_equal(points(&b), "x q1! q2!=q1 k0! soft");
    assert_false(node_of(&b, "res")->on);
    assert_true(node_of(&b, "qb")->fused); /* a bias: no rounding before it */
    end(&b);
}

/* A mask's -inf has no range. */
static void masks_stay_float(void **state) {
    (void)state;
    pare_model *m = pare_model_new("m");
    input(m, "x", 4, (const int64_t[]){1, 2, 5, 5});
    gm_tensor(m, "c", PARE_BOOL, 1, (const int64_t[]){1}, NULL);
    gm_node(m, "Conv", "a", "@x =f[2,2,1,1]", "", "a");
    gm_node(m, "Where", "w", "@c f{0} f{-1}", "", "w");
    gm_node(m, "Add", "add", "@a @w", "", "s");
    gm_node(m, "Conv", "b", "@s =f[2,2,1,1]", "", "y");
    out(m, "y");
    bench b = begin(m, QUANTIZE_GENERIC);
    plan(&b);
    assert_false(node_of(&b, "add")->on);
    assert_string_equal(points(&b), "x a! s y!");
    end(&b);
}

static const char *why(pare_model *m, const char *node, quantize_target target) {
    static char text[200];
    bench b = begin(m, target);
    plan(&b);
    const place_node *n = node_of(&b, node);
    assert_false(n->on);
    assert_int_equal(b.plan.n_points, 0);
    (void)snprintf(text, sizeof text, "%s", n->why ? n->why : "");
    end(&b);
    return text;
}

static pare_model *one(const char *op, const char *ins, const char *attrs) {
    pare_model *m = pare_model_new("m");
    input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
    input(m, "dynamic", 4, (const int64_t[]){4, 3, 3, 3});
    input(m, "flat", 2, (const int64_t[]){3, 6});
    input(m, "bias", 1, (const int64_t[]){4});
    gm_node(m, op, "n", ins, attrs, "y");
    out(m, "y");
    return m;
}

static void left_in_float_and_why(void **state) {
    (void)state;
    const quantize_target ort = QUANTIZE_ONNXRUNTIME;
    assert_string_equal(why(one("Conv", "@x @dynamic", ""), "n", ort), "its weight is no initializer");
    assert_string_equal(why(one("Conv", "@x =f[4,3,3,3] @bias", ""), "n", ort), "its bias is no float32 constant");
    assert_string_equal(why(one("MatMul", "=f[2,3] @flat", ""), "n", ort), "its weight is the first operand");
    assert_string_equal(why(one("MatMul", "@flat =f[6]", ""), "n", ort), "its weight is a vector");
    assert_string_equal(why(one("MatMul", "@x =f[3,8,8]", ""), "n", ort), "its weight is a stack of matrices");
    assert_string_equal(why(one("MatMul", "@flat =f[6,0]", ""), "n", ort), "its weight has no elements");
    assert_string_equal(why(one("Gemm", "@flat =f[3,4]", "transA=1"), "n", ort), "it takes its input transposed");
    assert_string_equal(why(one("Gemm", "@flat =f[6,4] =f[3,4]", ""), "n", ort),
                        "its bias has another number of elements than there are channels");
    assert_string_equal(why(one("ConvTranspose", "@x =f[3,4,2,2]", ""), "n", ort), "");
    assert_string_equal(why(one("Conv", "h[1,3,8,8] =h[4,3,3,3]", ""), "n", ort), "its input is no float32 activation");
}

/* The opset decides about MaxPool: ONNX Runtime knows version 12 of it. */
static void maxpool_by_opset(void **state) {
    (void)state;
    pare_model *m = residual();
    bench b = begin(m, QUANTIZE_ONNXRUNTIME);
    pare_model_opset_set(m, "", 22);
    plan(&b);
    assert_false(node_of(&b, "pool")->on);
    assert_string_equal(points(&b), "x ra! p b! rs! g! f!=g");
    end(&b);
}

/* `ops`, and a layer that somebody left out: what stood around it in int8 alone stays in float as well. */
static void chosen(void **state) {
    (void)state;
    const pare_arg conv = {.u.s = "Conv", .n = 1}, ops = {.u.list = &conv, .n = 1};
    bench b = begin(residual(), QUANTIZE_ONNXRUNTIME);
    b.o->ops = &ops;
    plan(&b);
    assert_false(node_of(&b, "fc")->asked);
    assert_string_equal(points(&b), "x ra! p!=ra b!"); /* Add and Gemm in float */
    end(&b);
    b = begin(residual(), QUANTIZE_ONNXRUNTIME);
    b.o->keep_first = b.o->keep_last = true;
    plan(&b);
    assert_false(node_of(&b, "a")->on);
    assert_string_equal(points(&b), "p b!"); /* conv b alone */
    end(&b);
}

/* A value that float and int8 nodes take: made by a float node, only the int8 ones get it rounded. */
static void shared_values(void **state) {
    (void)state;
    pare_model *m = pare_model_new("m");
    input(m, "x", 4, (const int64_t[]){1, 3, 8, 8});
    gm_node(m, "Exp", "e", "@x", "", "e");
    gm_node(m, "Conv", "a", "@e =f[3,3,1,1]", "", "a");
    gm_node(m, "Sub", "s", "@e @a", "", "y");
    out(m, "y");
    out(m, "a");
    bench b = begin(m, QUANTIZE_ONNXRUNTIME);
    plan(&b);
    assert_string_equal(points(&b), "e a!");
    assert_int_equal(b.plan.n_edges, 1);
    end(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnxruntime_residual),
        cmocka_unit_test(residual_joined),
        cmocka_unit_test(openvino_residual),
        cmocka_unit_test(generic_residual),
        cmocka_unit_test(onnxruntime_int8),
        cmocka_unit_test(gemm_then_relu),
        cmocka_unit_test(clips),
        cmocka_unit_test(swish),
        cmocka_unit_test(transformer),
        cmocka_unit_test(masks_stay_float),
        cmocka_unit_test(left_in_float_and_why),
        cmocka_unit_test(maxpool_by_opset),
        cmocka_unit_test(chosen),
        cmocka_unit_test(shared_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
