/* tests/quantize/test_dynamic.c - what quantize.dynamic, quantize.weights and quantize.float16 make of graphs small
 * enough to draw, on the real host. It runs no models: arithmetic against ONNX Runtime is interop's. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/host.h"
#include "quantize/dynamic.h"
#include "quantize/float16.h"
#include "quantize/plain.h"
#include "quantize/weight_only.h"

#include "model/graph_make.h"

#include <math.h>

typedef struct bench {
    pare_model *m;
    pare_diags *d;
    pare_host *host;
    pare_arg args[PLAIN_N_DYNAMIC], ops[5], pattern;
    void *self;
    pare_status status;
} bench;

static void set_ops(bench *b, const char *const *names, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) b->ops[i] = (pare_arg){.u.s = names[i], .n = 1};
    b->args[PLAIN_OPS] = (pare_arg){.u.list = b->ops, .n = n};
}

static bench begin(pare_model *m) {
    static const char *const products[] = {"MatMul", "Gemm"};
    bench b = {.m = m, .d = pare_diags_new(PARE_DIAG_SILENT, NULL)};
    const pare_host_env env = {.diags = b.d, .step = "s", .plugin = "quantize", .technique = "t"};
    if (!pare_model_opset(m, "")) pare_model_opset_set(m, "", 17);
    b.host = pare_host_new(&env);
    b.args[PLAIN_DATA] = (pare_arg){.u.s = "random", .n = 1};
    set_ops(&b, products, 2);
    return b;
}

/* The args follow the bench about: they are pointed into it here. */
static void run(bench *b, const pare_technique *t) {
    if (t != &quantize_float16) b->args[PLAIN_OPS].u.list = b->ops;
    if (b->args[PLAIN_EXCLUDE].n) b->args[PLAIN_EXCLUDE].u.list = &b->pattern;
    pare_host_begin(b->host, PARE_PHASE_CREATE, NULL);
    b->status = t->create(b->host, b->args, &b->self);
    b->status = pare_host_end(b->host, b->status);
    if (b->status) return;
    pare_host_begin(b->host, PARE_PHASE_APPLY, b->m);
    b->status = t->apply(b->self, b->host, b->m);
    b->status = pare_host_end(b->host, b->status);
    t->destroy(b->self);
}

static bool said(const bench *b, const char *code) {
    for (size_t i = 0; i < pare_diags_count(b->d); i++) {
        const char *c = pare_diags_get(b->d, i)->code;
        if (c && strcmp(c, code) == 0) return true;
    }
    return false;
}

static void finish(bench *b) {
    if (!b->status) assert_int_equal(pare_model_check(b->m, b->d), PARE_OK);
    pare_host_free(b->host);
    pare_diags_free(b->d);
    pare_model_free(b->m);
}

static int count(const bench *b, const char *op) {
    int n = 0;
    for (size_t i = 0; i < b->m->nodes.len; i++) {
        const pare_node *node = b->m->nodes.data[i];
        n += node && strcmp(node->op_type, op) == 0;
    }
    return n;
}

static const pare_tensor *tensor(const bench *b, const char *name) {
    const pare_value *v = pare_model_value(b->m, gm_find(b->m, name));
    return v && v->tensor ? pare_model_tensor(b->m, v->tensor) : NULL;
}

static void out(pare_model *m, const char *name) { pare_graph_output_add(m, PARE_MAIN_GRAPH, gm_find(m, name)); }

static void input(pare_model *m, const char *name, uint32_t dtype, int32_t ndim, const int64_t *dims) {
    pare_dim d[6];
    for (int32_t i = 0; i < ndim; i++) d[i] = (pare_dim){dims[i], NULL};
    const uint32_t v = pare_value_add(m, PARE_MAIN_GRAPH, name);
    pare_value_type_set(m, v, dtype, ndim, d);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, v);
}

/* Weights 1, 2, 3, … with every third one zero. */
static uint32_t weight(pare_model *m, const char *name, size_t ndim, const int64_t *dims) {
    float data[256];
    int64_t n = 1;
    for (size_t i = 0; i < ndim; i++) n *= dims[i];
    for (int64_t i = 0; i < n; i++) data[i] = i % 3 ? (float)(i + 1) : 0;
    return gm_tensor(m, name, PARE_FLOAT, ndim, dims, data);
}

/* ---- dynamic ---- */

static pare_model *two_heads(void) {
    pare_model *m = pare_model_new("two");
    input(m, "x", PARE_FLOAT, 3, (const int64_t[]){1, 5, 4});
    weight(m, "wa", 2, (const int64_t[]){4, 6});
    weight(m, "wb", 2, (const int64_t[]){6, 4});
    gm_node(m, "MatMul", "a", "@x @wa", "", "ya");
    gm_node(m, "Transpose", "t", "@wb", "perm=[1,0]", "wt");
    gm_node(m, "MatMul", "b", "@x @wt", "", "yb");
    out(m, "ya");
    out(m, "yb");
    return m;
}

/* One quantizer for both; a Transpose before a weight goes into it; names stay; zeros stay zeros. */
static void shared(void **state) {
    (void)state;
    bench b = begin(two_heads());
    assert_true(
        pare_tensor_masked_set(b.m, pare_model_tensor(b.m, pare_model_value(b.m, gm_find(b.m, "wa"))->tensor), true));
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "DynamicQuantizeLinear"), 1);
    assert_int_equal(count(&b, "MatMulInteger"), 2);
    assert_int_equal(count(&b, "MatMul"), 0);
    assert_int_equal(count(&b, "Transpose"), 0);
    const pare_tensor *wa = tensor(&b, "wa"), *wb = tensor(&b, "wb");
    assert_true(wa && wa->dtype == PARE_INT8 && pare_tensor_masked(b.m, wa));
    assert_true(wb && wb->dtype == PARE_INT8 && wb->dims[0] == 4 && wb->dims[1] == 6);
    const void *data;
    assert_int_equal(pare_tensor_read((pare_tensor *)(uintptr_t)wa, NULL, &data), PARE_OK);
    for (int i = 0; i < 24; i++) assert_int_equal(((const int8_t *)data)[i] == 0, i % 3 == 0);
    assert_int_equal(((const int8_t *)data)[23], 127); /* the largest of its column */
    assert_int_equal(tensor(&b, "wa_scale")->count, 6);
    finish(&b);
}

/* Gemm: its bias is an Add, its factors go into constants. */
static void gemm(void **state) {
    (void)state;
    pare_model *m = pare_model_new("gemm");
    input(m, "x", PARE_FLOAT, 2, (const int64_t[]){5, 4});
    weight(m, "w", 2, (const int64_t[]){6, 4});
    gm_node(m, "Gemm", "fc", "@x @w f{1,2,3,4,5,6}", "transB=1 alpha=2.0 beta=0.5", "y");
    out(m, "y");
    bench b = begin(m);
    b.args[PLAIN_WEIGHTS].u.i = 1;
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "MatMulInteger"), 1);
    assert_int_equal(count(&b, "Add"), 1);
    assert_true(tensor(&b, "w")->dims[0] == 4 && tensor(&b, "w_scale")->count == 1);
    const void *scale;
    assert_int_equal(pare_tensor_read((pare_tensor *)(uintptr_t)tensor(&b, "w_scale"), NULL, &scale), PARE_OK);
    assert_true(fabsf(*(const float *)scale - 2 * 24 / 127.0f) < 1e-6f);
    finish(&b);
}

/* Weights of more dims, first operands and computed ones stay in float; strict calls the first two an error. */
static pare_model *odd(void) {
    pare_model *m = pare_model_new("odd");
    input(m, "x", PARE_FLOAT, 3, (const int64_t[]){2, 4, 4});
    weight(m, "w3", 3, (const int64_t[]){2, 4, 4});
    weight(m, "w1", 2, (const int64_t[]){4, 4});
    weight(m, "w", 2, (const int64_t[]){4, 4});
    gm_node(m, "MatMul", "a", "@x @w3", "", "ya");
    gm_node(m, "MatMul", "b", "@w1 @ya", "", "yb");
    gm_node(m, "MatMul", "c", "@yb @ya", "", "yc");
    gm_node(m, "MatMul", "d", "@yc @w", "", "y");
    out(m, "y");
    return m;
}

static void left_in_float(void **state) {
    (void)state;
    bench b = begin(odd());
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "MatMul"), 3);
    assert_int_equal(count(&b, "MatMulInteger"), 1);
    assert_true(said(&b, "quantize.float"));
    finish(&b);
    b = begin(odd());
    b.args[PLAIN_STRICT].u.i = 1;
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_EUNSUPPORTED);
    assert_true(said(&b, "quantize.strict"));
    finish(&b);
}

/* What others take in float stays, under its name. */
static void tied(void **state) {
    (void)state;
    pare_model *m = pare_model_new("tied");
    input(m, "ids", PARE_INT64, 1, (const int64_t[]){3});
    weight(m, "w", 2, (const int64_t[]){4, 4});
    gm_node(m, "Gather", "look", "@w @ids", "", "e");
    gm_node(m, "MatMul", "head", "@e @w", "", "y");
    out(m, "y");
    bench b = begin(m);
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(tensor(&b, "w")->dtype, PARE_FLOAT);
    assert_int_equal(tensor(&b, "w_quantized")->dtype, PARE_INT8);
    finish(&b);
}

/* Convolutions on request: uint8 about 128. */
static void convolution(void **state) {
    (void)state;
    static const char *const ops[] = {"Conv"};
    pare_model *m = pare_model_new("conv");
    input(m, "x", PARE_FLOAT, 4, (const int64_t[]){1, 2, 6, 6});
    weight(m, "w", 4, (const int64_t[]){3, 2, 3, 3});
    gm_node(m, "Conv", "c", "@x @w f{1,2,3}", "pads=[1,1,1,1] strides=[2,2]", "y");
    out(m, "y");
    bench b = begin(m);
    set_ops(&b, ops, 1);
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "ConvInteger"), 1);
    const pare_tensor *w = tensor(&b, "w");
    const void *data;
    assert_int_equal(w->dtype, PARE_UINT8);
    assert_int_equal(pare_tensor_read((pare_tensor *)(uintptr_t)w, NULL, &data), PARE_OK);
    assert_int_equal(((const uint8_t *)data)[0], 128);
    assert_true(tensor(&b, "w_scale")->ndim == 3 && tensor(&b, "w_scale")->dims[0] == 3);
    finish(&b);
}

/* ---- weights ---- */

static void weight_only(void **state) {
    (void)state;
    static const char *const ops[] = {"MatMul", "Gather"};
    pare_model *m = pare_model_new("weights");
    input(m, "ids", PARE_INT64, 2, (const int64_t[]){2, 3});
    weight(m, "table", 2, (const int64_t[]){8, 4});
    weight(m, "w", 2, (const int64_t[]){6, 4});
    gm_node(m, "Gather", "look", "@table @ids", "", "e");
    gm_node(m, "Transpose", "t", "@w", "perm=[1,0]", "wt");
    gm_node(m, "MatMul", "a", "@e @wt", "", "y");
    out(m, "y");
    bench b = begin(m);
    pare_model_opset_set(m, "", 11);
    set_ops(&b, ops, 2);
    run(&b, &quantize_weights);
    assert_int_equal(b.status, PARE_OK);
    assert_true(said(&b, "quantize.opset"));
    assert_int_equal(pare_model_opset(b.m, ""), 13);
    assert_int_equal(count(&b, "DequantizeLinear"), 2);
    assert_int_equal(tensor(&b, "table")->dtype, PARE_INT8);
    assert_int_equal(tensor(&b, "w")->dtype, PARE_INT8);
    assert_true(tensor(&b, "w")->dims[0] == 6 && tensor(&b, "w_scale")->count == 6);
    assert_int_equal(tensor(&b, "table_scale")->count, 4);
    for (size_t i = 0; i < b.m->nodes.len; i++) { /* behind the Gather the columns are the last dim */
        const pare_node *n = b.m->nodes.data[i];
        if (!n || !pare_node_is(n, "DequantizeLinear")) continue;
        const pare_value *v = pare_model_value(b.m, n->in[0]);
        assert_int_equal(pare_node_attr_int(n, "axis", -9), v->tensor ? 0 : 2);
    }
    finish(&b);
}

/* ---- bad input ---- */

static void refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"Softmax"};
    bench b = begin(two_heads());
    set_ops(&b, wrong, 1);
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_EINVAL);
    assert_true(said(&b, "quantize.ops"));
    finish(&b);

    b = begin(two_heads());
    b.pattern = (pare_arg){.u.s = "wc", .n = 1};
    b.args[PLAIN_EXCLUDE] = (pare_arg){.n = 1};
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_EINVAL);
    assert_true(said(&b, "layers.pattern"));
    finish(&b);

    b = begin(two_heads());
    b.pattern = (pare_arg){.u.s = "w*", .n = 1};
    b.args[PLAIN_EXCLUDE] = (pare_arg){.n = 1};
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_EINVAL);
    assert_true(said(&b, "quantize.nothing"));
    finish(&b);

    b = begin(two_heads());
    ((float *)gm_bytes(b.m, pare_model_value(b.m, gm_find(b.m, "wb"))->tensor))[2] = NAN;
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_EINVAL);
    assert_true(said(&b, "quantize.nan"));
    finish(&b);

    b = begin(two_heads()); /* twice */
    run(&b, &quantize_dynamic);
    assert_int_equal(b.status, PARE_OK);
    run(&b, &quantize_weights);
    assert_int_equal(b.status, PARE_EINVAL);
    assert_true(said(&b, "quantize.already"));
    finish(&b);
}

/* ---- float16 ---- */

/* x -> MatMul -> Pow -> MatMul -> y, and a Reshape by numbers out of Shape. */
static pare_model *mixed(void) {
    pare_model *m = pare_model_new("mixed");
    input(m, "x", PARE_FLOAT, 2, (const int64_t[]){4, 4});
    weight(m, "wa", 2, (const int64_t[]){4, 4});
    weight(m, "wb", 2, (const int64_t[]){4, 4});
    ((float *)gm_bytes(m, pare_model_value(m, gm_find(m, "wb"))->tensor))[1] = 1e6f;
    gm_node(m, "MatMul", "a", "@x @wa", "", "h");
    gm_node(m, "Pow", "p", "@h f{2}", "", "q");
    gm_node(m, "MatMul", "b", "@q @wb", "", "z");
    gm_node(m, "Shape", "s", "@x", "", "dims");
    gm_node(m, "Reshape", "r", "@z @dims", "", "y");
    out(m, "y");
    return m;
}

static bench begin_half(pare_model *m, bool keep_io) {
    bench b = begin(m);
    memset(b.args, 0, sizeof b.args); /* keep_io, exclude, keep_ops, data, check_samples, sanity */
    b.args[0] = (pare_arg){.u.i = keep_io, .n = 1};
    b.args[3] = (pare_arg){.u.s = "random", .n = 1};
    b.args[5] = (pare_arg){.u.i = 0, .n = 1};
    return b;
}

static uint32_t dtype(const bench *b, const char *name) { return pare_model_value(b->m, gm_find(b->m, name))->dtype; }

static void half_keeps_io(void **state) {
    (void)state;
    bench b = begin_half(mixed(), true);
    run(&b, &quantize_float16);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "Cast"), 4); /* x, before and behind Pow, y */
    assert_int_equal(dtype(&b, "x"), PARE_FLOAT);
    assert_int_equal(dtype(&b, "y"), PARE_FLOAT);
    assert_int_equal(dtype(&b, "h"), PARE_FLOAT16);
    assert_int_equal(dtype(&b, "q"), PARE_FLOAT);
    assert_int_equal(tensor(&b, "wa")->dtype, PARE_FLOAT16);
    assert_true(said(&b, "quantize.float16-overflow"));
    finish(&b);
}

static void half_io(void **state) {
    (void)state;
    bench b = begin_half(mixed(), false);
    run(&b, &quantize_float16);
    assert_int_equal(b.status, PARE_OK);
    assert_int_equal(count(&b, "Cast"), 2);
    assert_int_equal(dtype(&b, "x"), PARE_FLOAT16);
    assert_int_equal(dtype(&b, "y"), PARE_FLOAT16);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared),  cmocka_unit_test(gemm),          cmocka_unit_test(left_in_float),
        cmocka_unit_test(tied),    cmocka_unit_test(convolution),   cmocka_unit_test(weight_only),
        cmocka_unit_test(refused), cmocka_unit_test(half_keeps_io), cmocka_unit_test(half_io),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
