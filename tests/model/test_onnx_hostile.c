/* tests/model/test_onnx_hostile.c - ONNX files that are damaged, or wrong, or meant to hurt: each gets its error. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "model/onnx.h"
#include "model/onnx_make.h"

#include <sys/stat.h>
#include <unistd.h>

/* The first error's code must be `code`, and some error must hold `says` (NULL: any) in its message, hint or names. */
static void expect_diags(pare_diags *d, pare_status got, pare_status st, const char *code, const char *says) {
    if (got != st || !pare_diags_errors(d) || strcmp(pare_diags_get(d, 0)->code, code) != 0)
        for (size_t i = 0; i < pare_diags_count(d); i++)
            printf("status %d, %s: %s\n", got, pare_diags_get(d, i)->code, pare_diags_get(d, i)->message);
    assert_int_equal(got, st);
    assert_true(pare_diags_errors(d) >= 1);
    const pare_diag_item *first = pare_diags_get(d, 0);
    assert_string_equal(first->code, code);
    assert_non_null(first->path);
    bool said = !says;
    for (size_t i = 0; i < pare_diags_count(d) && !said; i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        const char *parts[4] = {it->message, it->hint, it->tensor, it->node};
        for (int k = 0; k < 4; k++) said |= parts[k] && strstr(parts[k], says);
    }
    if (!said) printf("'%s' is not in: %s\n", says, first->message);
    assert_true(said);
    pare_diags_free(d);
}

static void expect_st(msg m, pare_status st, const char *code, const char *says) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *out = NULL;
    pare_status got = pare_onnx_read_bytes(m.p ? m.p : (const unsigned char *)"", m.n, "bad.onnx", d, &out);
    assert_null(out);
    msg_free(&m);
    expect_diags(d, got, st, code, says);
}

static void expect(msg m, const char *code, const char *says) { expect_st(m, PARE_EINVAL, code, says); }

static void expect_file(const char *path, pare_status st, const char *code, const char *says) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *out = NULL;
    pare_status got = pare_onnx_read(path, d, &out);
    assert_null(out);
    expect_diags(d, got, st, code, says);
}

/* ---- files that are something else ---- */

static msg raw(const char *bytes, size_t n) {
    msg m = {0};
    msg_add(&m, bytes, n);
    return m;
}

static void test_not_onnx(void **state) {
    (void)state;
    static const char zeros[5000];
    expect(raw("", 0), "model.not-onnx", "empty");
    expect(raw("\xff\xd8\xff\xe0\0\x10JFIF\0\x01", 13), "model.not-onnx", "JPEG");
    expect(raw("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), "model.not-onnx", "PNG");
    expect(raw("PK\x03\x04\0\0\0\0", 8), "model.not-onnx", "zip");
    expect(raw("version: 1\nname: text\n", 22), "model.not-onnx", "text");
    expect(raw("version https://git-lfs.github.com/spec/v1\n", 43), "model.not-onnx", "lfs");
    expect(raw(zeros, sizeof zeros), "model.not-onnx", "zero bytes");
    expect(raw("\x08\x08", 2), "model.not-onnx", "no graph");
    msg m = {0};
    msg_sub(&m, 7, graph_add());
    expect(m, "model.not-onnx", "ir_version");
    assert_int_equal(pare_dir_make(in_tmp("folder"), NULL), PARE_OK);
    pare_model *out = NULL;
    assert_int_not_equal(pare_onnx_read(in_tmp("folder"), NULL, &out), PARE_OK);
    assert_int_equal(pare_onnx_read(in_tmp("absent.onnx"), NULL, &out), PARE_ENOTFOUND);
    assert_null(out);
}

static void test_versions(void **state) {
    (void)state;
    expect_st(model_ir(graph_add(), 2), PARE_EUNSUPPORTED, "model.ir-version", "IR version 2");
    expect_st(model_ir(graph_add(), -1), PARE_EUNSUPPORTED, "model.ir-version", "-1");
    msg m = {0};
    msg_int(&m, 1, 8);
    msg_sub(&m, 7, graph_add());
    expect(m, "model.opset", NULL);
}

/* ---- damage ---- */

static void test_truncated(void **state) {
    (void)state;
    enum { N = 20000 };
    static float weights[N];
    int64_t n = N;
    msg g = graph_add();
    msg_sub(&g, 5, tensor_raw("big", 1, 1, &n, weights, sizeof weights));
    msg whole = model(g);
    size_t end_of_graph = whole.n - 4; /* the opset is the last field: tag, length and two bytes */
    for (size_t cut = 0; cut < whole.n; cut += cut < 600 ? 1 : cut + 4096 < whole.n - 600 ? 4096 - cut % 4096 : 1) {
        msg m = {0};
        msg_add(&m, whole.p, cut);
        const char *code = cut == 0 || cut == 2  ? "model.not-onnx"
                           : cut == end_of_graph ? "model.opset"
                                                 : "model.truncated";
        expect(m, code, NULL);
    }
    msg_free(&whole);
}

static void test_malformed(void **state) {
    (void)state;
    msg m = model(graph_add());
    msg_add(&m, "\x3b\x3c", 2); /* a group */
    expect(m, "model.malformed", "group");
    m = model(graph_add());
    msg_add(&m, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
    expect(m, "model.malformed", "ten bytes");
    m = model(graph_add());
    msg_add(&m, "\x02\x00", 2); /* field number 0 */
    expect(m, "model.malformed", NULL);
    m = model(graph_add());
    msg_add(&m, "\x0f\x00", 2); /* wire type 7 */
    expect(m, "model.malformed", NULL);
    m = model(graph_add());
    msg_float(&m, 1, 8); /* ir_version as a float */
    expect(m, "model.malformed", "field 1 of a ModelProto");
    m = model(graph_add());
    msg_sub(&m, 7, graph_add());
    expect(m, "model.duplicate-field", NULL);
    msg g = graph_add();
    msg_add(&g, "\x2a\x7f", 2); /* a tensor that reaches past its graph */
    expect(model(g), "model.malformed", "GraphProto");
    g = graph_add();
    msg_bytes(&g, 2, "a\0b", 3);
    expect(model(g), "model.nul", NULL);
    g = graph_add();
    msg_sub(&g, 1, node("Neg", "x", "\xff\xfe"));
    expect(model(g), "model.utf8", NULL);
    g = graph_add();
    char *long_name = calloc(1, 70001);
    memset(long_name, 'n', 70000);
    msg_sub(&g, 1, node("Neg", "x", long_name));
    free(long_name);
    expect(model(g), "model.name", "70000");
    msg t = tensor_head("p", 6, 1, (int64_t[]){2});
    msg_bytes(&t, 5, "\x01\x82", 2); /* the last packed varint has no end */
    g = graph_add();
    msg_sub(&g, 5, t);
    expect(model(g), "model.malformed", "packed");
    t = tensor_head("p", 1, 1, (int64_t[]){1});
    msg_bytes(&t, 4, "\0\0\0\0\0", 5);
    g = graph_add();
    msg_sub(&g, 5, t);
    expect(model(g), "model.malformed", "packed");
}

/* The fields that the reader uses between its own two stages are not for files. */
static void test_private_fields(void **state) {
    (void)state;
    for (int where = 0; where < 3; where++) {
        msg at = {0};
        for (int i = 0; i < 2; i++) {
            uint64_t v = 1u << 30;
            msg_tag(&at, where == 2 ? 536870025 : 536870005, 1);
            msg_add(&at, &v, 8);
        }
        msg g = graph_add();
        if (where == 0) {
            msg_add(&g, at.p, at.n);
        } else if (where == 1) {
            msg a = {0}, n = node("Op", "x", "p");
            msg_str(&a, 1, "t");
            msg_add(&a, at.p, at.n);
            msg_int(&a, 20, 4);
            msg_sub(&n, 5, a);
            msg_sub(&g, 1, n);
        }
        msg m = model(g);
        if (where == 2) msg_add(&m, at.p, at.n);
        msg_free(&at);
        expect(m, "model.reserved-field", NULL);
    }
}

static msg nested(int depth) {
    /* from the inside out would copy it all each time: lengths first, then one pass */
    size_t *sizes = calloc((size_t)depth + 1, sizeof *sizes);
    msg m = {0};
    for (int i = 1; i <= depth; i++) {
        msg probe = {0};
        msg_varint(&probe, sizes[i - 1]);
        size_t graph = sizes[i - 1] + 1 + probe.n; /* AttributeProto.g */
        msg_free(&probe);
        msg_varint(&probe, graph);
        size_t attr = graph + 1 + probe.n; /* NodeProto.attribute */
        msg_free(&probe);
        msg_varint(&probe, attr);
        sizes[i] = attr + 1 + probe.n; /* GraphProto.node */
        msg_free(&probe);
    }
    for (int i = depth; i > 0; i--) {
        msg probe = {0};
        msg_varint(&probe, sizes[i - 1]);
        size_t graph = sizes[i - 1] + 1 + probe.n;
        msg_free(&probe);
        msg_varint(&probe, graph);
        size_t attr = graph + 1 + probe.n;
        msg_free(&probe);
        msg_tag(&m, 1, 2), msg_varint(&m, attr);
        msg_tag(&m, 5, 2), msg_varint(&m, graph);
        msg_tag(&m, 6, 2), msg_varint(&m, sizes[i - 1]);
    }
    free(sizes);
    return m;
}

static void test_depth(void **state) {
    (void)state;
    expect(model(nested(10000)), "model.depth", "nested");
    msg fn = {0}, m = model(graph_add()), type = {0}; /* in a function, and in a type */
    msg graph = nested(10000);
    msg_add(&fn, "\x3a", 1);
    msg a = {0}, n = {0};
    msg_sub(&a, 6, graph);
    msg_sub(&n, 5, a);
    msg_varint(&fn, n.n);
    msg_add(&fn, n.p, n.n);
    msg_free(&n);
    msg_sub(&m, 25, fn);
    expect(m, "model.depth", NULL);
    for (int i = 0; i < 300; i++) {
        msg seq = {0}, outer = {0};
        msg_sub(&seq, 1, type);
        msg_sub(&outer, 4, seq);
        type = outer;
    }
    msg info = {0}, g = graph_add();
    msg_str(&info, 1, "deep");
    msg_sub(&info, 2, type);
    msg_sub(&g, 13, info);
    expect(model(g), "model.depth", NULL);
}

/* ---- tensors ---- */

static void expect_tensor(msg t, const char *code, const char *says) {
    msg g = graph_add();
    msg_sub(&g, 5, t);
    expect(model(g), code, says);
}

static void test_tensors(void **state) {
    (void)state;
    int64_t minus[2] = {3, -1}, huge[3] = {INT64_MAX, INT64_MAX, 4}, sly[2] = {1LL << 62, 4}, two = 2;
    expect_tensor(tensor_raw("t", 1, 2, minus, "", 0), "model.dims", "-1");
    expect_tensor(tensor_raw("t", 1, 3, huge, "", 0), "model.dims", "multiply");
    expect_tensor(tensor_raw("t", 1, 2, sly, "", 0), "model.dims", NULL); /* wraps to 0 in 64 bits */
    sly[1] = 0;
    msg ok = tensor_raw("t", 1, 2, sly, "", 0), g = graph_add();
    msg_sub(&g, 5, ok);
    msg m = model(g);
    pare_model *out = NULL; /* empty is fine, whatever the other dim says */
    assert_int_equal(pare_onnx_read_bytes(m.p, m.n, "m", NULL, &out), PARE_OK);
    pare_model_free(out);
    msg_free(&m);
    expect_tensor(tensor_raw("short", 1, 1, &two, "1234567", 7), "model.data-length", "short");
    expect_tensor(tensor_raw("t", 1, 1, &two, "1234567", 7), "model.data-length", "7 bytes");
    expect_tensor(tensor_raw("t", 1, 1, &two, "123456789", 9), "model.data-length", "take 8");
    expect_tensor(tensor_raw("t", 99, 1, &two, "12345678", 8), "model.dtype", "99");
    expect_tensor(tensor_raw("t", 0, 1, &two, "12345678", 8), "model.dtype", NULL);
    expect_tensor(tensor_raw("t", 8, 1, &two, "12345678", 8), "model.data", "string");
    expect_tensor(tensor_head("t", 1, 1, &two), "model.data-length", "0 values");
    msg t = tensor_head("t", 1, 1, &two);
    msg_float(&t, 4, 1);
    expect_tensor(t, "model.data-length", "1 values");
    t = tensor_head("t", 1, 1, &two);
    msg_int(&t, 5, 1), msg_int(&t, 5, 1);
    expect_tensor(t, "model.data", "int32_data");
    t = tensor_raw("t", 1, 1, &two, "12345678", 8);
    msg_float(&t, 4, 1);
    expect_tensor(t, "model.data", "twice");
    t = tensor_raw("t", 1, 1, &two, "12345678", 8);
    msg_str(&t, 3, "");
    msg b = graph_add();
    msg_sub(&b, 5, t);
    expect_st(model(b), PARE_EUNSUPPORTED, "model.segment", NULL);
    t = (msg){0};
    for (int i = 0; i < 100; i++) msg_int(&t, 1, 1);
    msg_int(&t, 2, 1);
    expect_tensor(t, "model.dims", "64");
    /* in an attribute: the node is named */
    msg n = node("Constant", "", "c"), a = {0};
    msg_str(&a, 1, "value");
    msg_sub(&a, 5, tensor_raw(NULL, 1, 1, &two, "1", 1));
    msg_int(&a, 20, 4);
    msg_sub(&n, 5, a);
    b = graph_add();
    msg_sub(&b, 1, n);
    expect(model(b), "model.data-length", "Constant");
}

/* ---- names ---- */

/* model() imports ai.onnx, which may go by "" as well. */
static void test_opsets(void **state) {
    (void)state;
    static const char *const again[] = {"", "ai.onnx"};
    for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
        msg m = model(graph_add());
        msg_sub(&m, 8, opset(again[i], 12));
        expect(m, "model.opset", "ai.onnx twice");
    }
    msg m = model(graph_add());
    msg_sub(&m, 8, opset("com.example", 1));
    msg_sub(&m, 8, opset("com.example", 1));
    expect(m, "model.opset", "com.example twice");
    m = model(graph_add());
    msg_sub(&m, 8, opset("com.example", -1));
    expect(m, "model.opset", "com.example at version -1");
}

/* info_f32 writes dims below 0 as symbols; here they stand as they are. */
static msg info_dim(const char *name, int64_t value) {
    msg dim = {0}, shape = {0}, tensor = {0}, type = {0}, m = {0};
    msg_int(&dim, 1, value);
    msg_sub(&shape, 1, dim);
    msg_int(&tensor, 1, 1);
    msg_sub(&tensor, 2, shape);
    msg_sub(&type, 1, tensor);
    msg_str(&m, 1, name);
    msg_sub(&m, 2, type);
    return m;
}

static void test_dims(void **state) {
    (void)state;
    for (unsigned field = 11; field <= 13; field++) { /* inputs, outputs, value_info */
        msg g = graph_add();
        msg_sub(&g, 1, node("Neg", "x", "extra"));
        msg_sub(&g, field, info_dim(field == 11 ? "x2" : "extra", -2));
        expect(model(g), "model.dims", "a dim of -2");
    }
    msg g = graph_add();
    msg_sub(&g, 11, info_dim("x2", INT64_MIN));
    expect(model(g), "model.dims", "x2");
    g = graph_add(); /* some exporters write -1 where nothing is known */
    msg_sub(&g, 11, info_dim("x2", -1));
    msg m = model(g);
    pare_model *out = NULL;
    assert_int_equal(pare_onnx_read_bytes(m.p, m.n, "m", NULL, &out), PARE_OK);
    assert_int_equal(pare_model_value(out, pare_graph_find(out, PARE_MAIN_GRAPH, "x2"))->dims[0].value, -1);
    pare_model_free(out);
    msg_free(&m);
}

static void test_attribute_twice(void **state) {
    (void)state;
    msg n = node("Op", "x", "o"), g = graph_add();
    static const char *const names[] = {"k", "j", "k"};
    for (int i = 0; i < 3; i++) {
        msg a = {0};
        msg_str(&a, 1, names[i]);
        msg_int(&a, 3, i);
        msg_int(&a, 20, 2);
        msg_sub(&n, 5, a);
    }
    msg_sub(&g, 1, n);
    expect(model(g), "model.attribute", "'k' is given twice");
}

static void test_names(void **state) {
    (void)state;
    int64_t four[1] = {4};
    msg g = graph_add();
    msg_sub(&g, 1, node("Neg", "x", "y"));
    expect(model(g), "model.duplicate-name", "y");
    g = graph_add();
    msg_sub(&g, 5, tensor_f32("w", 2));
    expect(model(g), "model.duplicate-name", "w");
    g = graph_add();
    msg_sub(&g, 11, info_f32("x", 1, four));
    expect(model(g), "model.duplicate-name", "x");
    g = graph_add();
    msg_sub(&g, 1, node("Neg", "y", "x"));
    expect(model(g), "model.duplicate-name", "x");
    g = graph_add();
    msg_sub(&g, 5, tensor_f32(NULL, 2));
    expect(model(g), "model.name", "initializer");
    g = graph_add();
    msg_sub(&g, 1, node("Neg", "weightz", "z"));
    msg_sub(&g, 5, tensor_f32("weights", 2));
    expect(model(g), "model.dangling", "did you mean 'weights'?");
    g = graph_add();
    msg_sub(&g, 12, info_f32("nowhere", 1, four));
    expect(model(g), "model.dangling", "nowhere");
    g = graph_add();
    msg_sub(&g, 1, node("", "x", "z"));
    expect(model(g), "model.node", NULL);
    g = graph_add(); /* several at once */
    msg_sub(&g, 1, node("Neg", "p", "z"));
    msg_sub(&g, 1, node("Neg", "q", "z2"));
    msg m = model(g);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *out = NULL;
    assert_int_equal(pare_onnx_read_bytes(m.p, m.n, "m", d, &out), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 2);
    pare_diags_free(d);
    msg_free(&m);
}

static msg with_branch(const char *in, const char *out) {
    msg inner = {0}, name = {0}, a = {0}, iff = node("If", "x", out);
    msg_sub(&inner, 1, node("Neg", in, "r"));
    msg_str(&name, 1, "r");
    msg_sub(&inner, 12, name);
    msg_str(&a, 1, "then_branch");
    msg_sub(&a, 6, inner);
    msg_int(&a, 20, 5);
    msg_sub(&iff, 5, a);
    msg g = graph_add();
    msg_sub(&g, 1, iff);
    return g;
}

static void test_scopes(void **state) {
    (void)state;
    expect(model(with_branch("nothing", "z")), "model.dangling", "around it");
    msg g = with_branch("x", "z"); /* what a subgraph makes can't be seen from outside */
    msg_sub(&g, 1, node("Neg", "r", "z2"));
    expect(model(g), "model.dangling", "r");
    expect(model(with_branch("z", "z")), "model.cycle", NULL); /* a branch needs its own If */
}

static void test_cycle(void **state) {
    (void)state;
    msg g = graph_add();
    msg_sub(&g, 1, node("A", "c", "a"));
    msg_sub(&g, 1, node("B", "a", "b"));
    msg_sub(&g, 1, node("C", "b", "c"));
    expect(model(g), "model.cycle", NULL);
    g = graph_add();
    msg_sub(&g, 1, node("Self", "s", "s"));
    expect(model(g), "model.cycle", NULL);
}

static void test_attributes(void **state) {
    (void)state;
    struct {
        int type;
        int fields; /* 1: i = 5, 2: f = 1, 4: ints */
        const char *says;
    } cases[] = {{99, 1, "99"},      {1, 1, "not of its type"}, {0, 3, "several"}, {7, 1, "not of its type"},
                 {4, 0, "no value"}, {5, 0, "no value"},        {-1, 1, "-1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msg n = node("Op", "x", "o"), a = {0}, g = graph_add();
        msg_str(&a, 1, "attr");
        if (cases[i].fields & 1) msg_int(&a, 3, 5);
        if (cases[i].fields & 2) msg_float(&a, 2, 1);
        if (cases[i].fields & 4) msg_int(&a, 8, 5);
        if (cases[i].type) msg_int(&a, 20, cases[i].type);
        msg_sub(&n, 5, a);
        msg_sub(&g, 1, n);
        expect(model(g), "model.attribute", cases[i].says);
    }
}

/* ---- external data ---- */

static void expect_external(msg t, pare_status st, const char *says) {
    msg g = graph_add();
    msg_sub(&g, 5, t);
    msg m = model(g);
    file_put(in_tmp("model/m.onnx"), m.p, m.n);
    msg_free(&m);
    expect_file(in_tmp("model/m.onnx"), st, "model.external", says);
}

static void test_external(void **state) {
    (void)state;
    assert_int_equal(pare_dir_make(in_tmp("model/inner"), NULL), PARE_OK);
    file_put(in_tmp("secret.bin"), "0123456789abcdef", 16);
    file_put(in_tmp("model/data.bin"), "0123456789abcdef", 16);
    assert_int_equal(symlink(in_tmp("secret.bin"), in_tmp("model/link.bin")), 0);
    assert_int_equal(symlink("..", in_tmp("model/up")), 0);
    assert_int_equal(mkfifo(in_tmp("model/pipe"), 0600), 0);
    expect_external(tensor_external("t", 4, "../secret.bin", NULL, NULL), PARE_EINVAL, "out of the folder");
    expect_external(tensor_external("t", 4, "inner/../../secret.bin", NULL, NULL), PARE_EINVAL, "out of the folder");
    expect_external(tensor_external("t", 4, "..", NULL, NULL), PARE_EINVAL, NULL);
    expect_external(tensor_external("t", 4, in_tmp("model/data.bin"), NULL, NULL), PARE_EINVAL, "absolute");
    expect_external(tensor_external("t", 4, "C:\\data.bin", NULL, NULL), PARE_EINVAL, "absolute");
    expect_external(tensor_external("t", 4, "link.bin", NULL, NULL), PARE_EINVAL, "link");
    expect_external(tensor_external("t", 4, "up/secret.bin", NULL, NULL), PARE_EINVAL, "link");
    expect_external(tensor_external("t", 4, "absent.bin", NULL, NULL), PARE_ENOTFOUND, "absent.bin");
    expect_external(tensor_external("t", 4, "inner", NULL, NULL), PARE_EINVAL, "not a file");
    expect_external(tensor_external("t", 4, "pipe", NULL, NULL), PARE_EINVAL, "not a file");
    expect_external(tensor_external("t", 4, "", NULL, NULL), PARE_EINVAL, NULL);
    expect_external(tensor_external("t", 4, NULL, NULL, NULL), PARE_EINVAL, "location");
    expect_external(tensor_external("t", 5, "data.bin", NULL, NULL), PARE_EINVAL, "too short");
    expect_external(tensor_external("t", 4, "data.bin", "1", "16"), PARE_EINVAL, "too short");
    expect_external(tensor_external("t", 4, "data.bin", "17", NULL), PARE_EINVAL, "too short");
    expect_external(tensor_external("t", 4, "data.bin", "9223372036854775807", NULL), PARE_EINVAL, "too short");
    expect_external(tensor_external("t", 4, "data.bin", "-4", NULL), PARE_EINVAL, "plain numbers");
    expect_external(tensor_external("t", 4, "data.bin", "99999999999999999999", NULL), PARE_EINVAL, "plain numbers");
    expect_external(tensor_external("t", 4, "data.bin", "0x0", NULL), PARE_EINVAL, "plain numbers");
    msg g = graph_add(), m;
    msg_sub(&g, 5, tensor_external("t", 4, "data.bin", "0", "12"));
    m = model(g);
    file_put(in_tmp("model/m.onnx"), m.p, m.n);
    msg_free(&m);
    expect_file(in_tmp("model/m.onnx"), PARE_EINVAL, "model.data-length", "t");
    g = graph_add(); /* a model in memory has no folder */
    msg_sub(&g, 5, tensor_external("t", 4, "data.bin", NULL, NULL));
    expect(model(g), "model.external", NULL);
}

static void test_too_large(void **state) {
    (void)state;
    const char *path = in_tmp("large.onnx");
    file_put(path, "", 0);
    if (truncate(path, (off_t)INT32_MAX + 1) != 0) skip(); /* a hole; no disk is used */
    expect_file(path, PARE_EINVAL, "model.too-large", "2147483648");
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_onnx),  cmocka_unit_test(test_versions),       cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_private_fields), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_tensors),   cmocka_unit_test(test_names),          cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_cycle),     cmocka_unit_test(test_attributes),     cmocka_unit_test(test_external),
        cmocka_unit_test(test_opsets),    cmocka_unit_test(test_dims),           cmocka_unit_test(test_attribute_twice),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
