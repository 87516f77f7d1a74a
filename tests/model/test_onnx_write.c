/* tests/model/test_onnx_write.c - what is written: the same model again, the same bytes again, and nothing on failure.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/tmpdir.h"
#include "model/onnx_parts.h"
#include "model/edit.h"
#include "model/onnx.h"
#include "model/onnx_make.h"
#include "model/find_tensor.h"
#include "base/sha256_of.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static pare_model *read_msg(msg m) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *out = NULL;
    assert_int_equal(pare_onnx_read_bytes(m.p, m.n, "test.onnx", d, &out), PARE_OK);
    pare_diags_free(d);
    msg_free(&m);
    return out;
}

static pare_model *read_file(const char *path) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *out = NULL;
    assert_int_equal(pare_onnx_read(path, d, &out), PARE_OK);
    pare_diags_free(d);
    return out;
}

static pare_status to_msg(void *ctx, const void *data, size_t n) {
    msg_add(ctx, data, n);
    return PARE_OK;
}

static msg stream(pare_model *m) {
    msg out = {0};
    assert_int_equal(pare_onnx_stream(m, (pare_sink){to_msg, &out}, NULL), PARE_OK);
    return out;
}

static bool holds(const msg *m, const void *part, size_t n) {
    for (size_t i = 0; i + n <= m->n; i++)
        if (memcmp(m->p + i, part, n) == 0) return true;
    return false;
}

/* A model with one of everything. `parts` gets byte strings that must come out as they went in. */
static msg rich(msg *parts, size_t *n_parts) {
    int64_t dims[2] = {-1, 3}, two = 2;
    size_t k = 0;
    msg g = graph_add(), m = {0};
#define PART(field, to, what)                                                                                          \
    do {                                                                                                               \
        msg part_ = (what), field_ = {0};                                                                              \
        msg_sub(&field_, (field), part_);                                                                              \
        msg_add(&(to), field_.p, field_.n);                                                                            \
        parts[k++] = field_;                                                                                           \
    } while (0)
    msg sparse = {0}, note = {0}, fn = {0}, train = {0}, tomorrow = {0}, info = info_f32("h", 2, dims);
    msg_sub(&sparse, 1, tensor_f32("s", 2));
    msg_int(&sparse, 3, 5);
    PART(15, g, sparse);
    msg_str(&note, 1, "w");
    msg_sub(&note, 2, msg_pair("SCALE_TENSOR", "w_scale"));
    PART(14, g, note);
    msg_str(&info, 3, "doc of h");
    msg_sub(&info, 4, msg_pair("meta", "data"));
    PART(13, g, info);
    PART(13, g, info_f32("of nothing", 1, &two));
    msg_str(&tomorrow, 1, "a field of tomorrow");
    PART(77, g, tomorrow);
    msg n = node("Op", "x s - w", "h"), a = {0}, t = tensor_f32("in attribute", 3),
        strings = tensor_head("st", 8, 1, &two);
    msg_str(&n, 6, "node doc");
    msg_str(&n, 8, "overload");
    msg_str(&n, 7, "com.example");
    msg_str(&t, 12, "tensor doc");
    msg_str(&a, 1, "t");
    msg_sub(&a, 5, t);
    msg_int(&a, 20, 4);
    msg_str(&a, 13, "attribute doc");
    msg_sub(&n, 5, a);
    msg inner = {0}, name = {0};
    msg_sub(&inner, 1, node("Mul", "x w", "r"));
    msg_str(&inner, 2, "body");
    msg_str(&inner, 10, "inner doc");
    msg_str(&name, 1, "r");
    msg_sub(&inner, 12, name);
    a = (msg){0};
    msg_str(&a, 1, "g");
    msg_sub(&a, 11, inner);
    msg_int(&a, 20, 10);
    msg_sub(&n, 5, a);
    msg_sub(&g, 1, n);
    msg_str(&strings, 6, "one");
    msg_str(&strings, 6, "");
    msg_sub(&g, 5, strings);
    msg_str(&g, 10, "graph doc");
    m = model(g);
    msg_sub(&m, 8, opset("com.example", 1));
    msg_sub(&m, 14, msg_pair("k2", "v2"));
    msg_sub(&m, 14, msg_pair("k1", "v1"));
    msg_str(&fn, 1, "f");
    msg_sub(&fn, 7, node("Anything", "a", "b"));
    PART(25, m, fn);
    msg_sub(&train, 2, graph_add());
    PART(20, m, train);
    msg_int(&m, 99, 12345);
    *n_parts = k;
    return m;
#undef PART
}

static void test_rich(void **state) {
    (void)state;
    msg parts[16];
    size_t n_parts;
    pare_model *m = read_msg(rich(parts, &n_parts));
    msg once = stream(m);
    for (size_t i = 0; i < n_parts; i++) {
        assert_true(holds(&once, parts[i].p, parts[i].n));
        msg_free(&parts[i]);
    }
    const char *docs[] = {"node doc",  "overload",  "tensor doc", "attribute doc",
                          "inner doc", "graph doc", "com.example"};
    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++) assert_true(holds(&once, docs[i], strlen(docs[i])));
    assert_true(holds(&once, "\x98\x06\xb9\x60", 4)); /* field 99 */
    msg twice = stream(m);
    assert_int_equal(once.n, twice.n);
    assert_memory_equal(once.p, twice.p, once.n);
    msg_free(&twice);
    pare_model *copy = pare_model_clone(m); /* a clone says the same */
    pare_model_free(m);
    twice = stream(copy);
    assert_int_equal(once.n, twice.n);
    assert_memory_equal(once.p, twice.p, once.n);
    msg_free(&twice);
    pare_model_free(copy);
    m = read_msg(once); /* and so does what was written */
    once = stream(m);
    pare_model *again = read_msg((msg){memcpy(malloc(once.n), once.p, once.n), once.n, once.n});
    twice = stream(again);
    assert_int_equal(once.n, twice.n);
    assert_memory_equal(once.p, twice.p, once.n);
    msg_free(&once);
    msg_free(&twice);
    pare_model_free(m);
    pare_model_free(again);
}

static void test_dtypes(void **state) {
    (void)state;
    static const char raw[64] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!";
    msg g = graph_add();
    int64_t three = 3;
    char name[8];
    for (int t = 1; t < PARE_DTYPE_COUNT; t++) {
        if (t == PARE_STRING) continue;
        snprintf(name, sizeof name, "t%d", t);
        msg_sub(&g, 5, tensor_raw(name, t, 1, &three, raw, (pare_dtype_bits((uint32_t)t) * 3 + 7) / 8));
    }
    pare_model *m = read_msg(model(g));
    pare_model *back = read_msg(stream(m));
    for (int t = 1; t < PARE_DTYPE_COUNT; t++) {
        if (t == PARE_STRING) continue;
        snprintf(name, sizeof name, "t%d", t);
        const pare_tensor *a = find_tensor(m, name), *b = find_tensor(back, name);
        assert_int_equal(b->dtype, t);
        assert_int_equal(a->blob->len, b->blob->len);
        assert_memory_equal(a->blob->data, b->blob->data, a->blob->len);
    }
    pare_model_free(m);
    pare_model_free(back);
}

/* ---- value infos ---- */

static void test_infos(void **state) {
    (void)state;
    int64_t dims[2] = {-1, 3};
    msg g = graph_add(), info = info_f32("h", 2, dims);
    msg_str(&info, 3, "doc of h");
    msg_sub(&g, 13, info);
    msg_sub(&g, 1, node("Neg", "x", "h"));
    msg_sub(&g, 1, node("Neg", "h", "unknown"));
    pare_model *m = read_msg(model(g));
    uint32_t h = pare_graph_find(m, 1, "h");
    pare_bytes same = pare_onnx_info_bytes(&m->arena, pare_model_value(m, h));
    assert_ptr_equal(same.data, pare_model_value(m, h)->info.data);
    pare_dim to[2] = {{5, NULL}, {-1, "K"}};
    pare_value_type_set(m, h, PARE_FLOAT16, 2, to);
    assert_true(pare_value_rename(m, h, "h_renamed"));
    /* what inference finds is not written */
    pare_value *unknown = pare_model_value(m, pare_graph_find(m, 1, "unknown"));
    unknown->dtype = PARE_FLOAT;
    unknown->ndim = 0;
    pare_model *back = read_msg(stream(m));
    pare_value *v = pare_model_value(back, pare_graph_find(back, 1, "h_renamed"));
    assert_non_null(v);
    assert_int_equal(v->dtype, PARE_FLOAT16);
    assert_int_equal(v->ndim, 2);
    assert_int_equal(v->dims[0].value, 5);
    assert_string_equal(v->dims[1].symbol, "K");
    msg bytes = {0};
    msg_add(&bytes, v->info.data, v->info.len);
    assert_true(holds(&bytes, "doc of h", 8));
    msg_free(&bytes);
    assert_int_equal(pare_model_value(back, pare_graph_find(back, 1, "unknown"))->info.len, 0);
    assert_int_equal(pare_model_graph(back, 1)->info_order.len, 1);
    pare_model_free(m);
    pare_model_free(back);
}

/* A value that is input, output and in value_info at once: what value_info says besides is kept. */
static void test_infos_beside(void **state) {
    (void)state;
    int64_t dims[1] = {4};
    msg g = graph_add(), info = info_f32("x", 1, dims);
    msg_sub(&g, 12, info_f32("x", 1, dims));
    msg_str(&info, 3, "another doc of x");
    msg_sub(&g, 13, info);
    msg_sub(&g, 13, info_f32("y", 1, dims));
    pare_model *m = read_msg(model(g));
    pare_model *back = read_msg(stream(m));
    pare_graph *gr = pare_model_graph(back, 1);
    assert_int_equal(gr->outputs.len, 2);
    assert_int_equal(gr->outputs.data[1], gr->inputs.data[0]);
    assert_int_equal(gr->info_order.len, 1);
    assert_int_equal(gr->loose_info.len, 1);
    msg out = stream(m);
    assert_true(holds(&out, "another doc of x", 16));
    msg_free(&out);
    /* until the type changes: then the old entry would be a lie */
    pare_dim to[1] = {{5, NULL}};
    pare_value_type_set(m, pare_graph_find(m, 1, "x"), PARE_FLOAT, 1, to);
    out = stream(m);
    assert_false(holds(&out, "another doc of x", 16));
    msg_free(&out);
    pare_model_free(m);
    pare_model_free(back);
}

/* A model made from nothing, with types declared by hand. */
static void test_built(void **state) {
    (void)state;
    pare_model *m = pare_model_new("made");
    int64_t dims[1] = {4};
    pare_dim vdims[1] = {{4, NULL}};
    uint32_t x = pare_value_add(m, 1, "x");
    pare_value_type_set(m, x, PARE_FLOAT, 1, vdims);
    pare_graph_input_add(m, 1, x);
    uint32_t t = pare_tensor_add(m, 1, "w", PARE_FLOAT, 1, dims);
    void *data;
    assert_int_equal(pare_tensor_overwrite(pare_model_tensor(m, t), NULL, &data), PARE_OK);
    memset(data, 0, 16);
    uint32_t in[2] = {x, pare_graph_find(m, 1, "w")};
    const char *out = "y";
    uint32_t n = pare_node_add(m, 1, 0, "Add", "", "add", in, 2, &out, 1);
    pare_attr_set_int(m, n, "i", 3);
    pare_value_type_set(m, pare_graph_find(m, 1, "y"), PARE_FLOAT, 1, vdims);
    pare_graph_output_add(m, 1, pare_graph_find(m, 1, "y"));
    assert_int_equal(pare_onnx_write(m, in_tmp("built.onnx"), NULL, NULL), PARE_OK);
    pare_model *back = read_file(in_tmp("built.onnx"));
    assert_int_equal(back->ir_version, 8);
    assert_int_equal(pare_model_opset(back, ""), 17);
    pare_value *y = pare_model_value(back, pare_graph_find(back, 1, "y"));
    assert_int_equal(y->dtype, PARE_FLOAT);
    assert_int_equal(y->dims[0].value, 4);
    assert_int_equal(pare_node_attr_int(pare_model_node(back, y->producer), "i", 0), 3);
    pare_model_free(m);
    pare_model_free(back);
}

/* ---- files ---- */

static void test_options(void **state) {
    (void)state;
    msg parts[16], also = {0};
    size_t n_parts, n;
    pare_model *m = read_msg(rich(parts, &n_parts));
    for (size_t i = 0; i < n_parts; i++) msg_free(&parts[i]);
    char hex[PARE_SHA256_HEX], want[PARE_SHA256_HEX];
    uint64_t bytes = 0;
    pare_onnx_write_opts o = {.sha256 = hex, .also = {to_msg, &also}, .bytes = &bytes};
    assert_int_equal(pare_onnx_write(m, in_tmp("o.onnx"), &o, NULL), PARE_OK);
    char *text = get_file(in_tmp("o.onnx"), &n);
    sha256_of(text, n, want);
    assert_string_equal(hex, want);
    assert_int_equal(bytes, n);
    assert_int_equal(also.n, n);
    assert_memory_equal(also.p, text, n);
    assert_int_equal(pare_path_what(in_tmp("o.onnx.data")), PARE_PATH_NONE);
    free(text);
    msg_free(&also);
    pare_model_free(m);
}

static void test_external(void **state) {
    (void)state;
    enum { N = 3000 };
    static float big[N];
    for (int i = 0; i < N; i++) big[i] = (float)i;
    int64_t n = N;
    msg g = graph_add(), a = {0}, c = node("Constant", "", "c");
    msg_sub(&g, 5, tensor_raw("big", 1, 1, &n, big, sizeof big));
    msg_sub(&g, 5, tensor_raw("big2", 1, 1, &n, big, sizeof big));
    msg_str(&a, 1, "value");
    msg_sub(&a, 5, tensor_raw(NULL, 1, 1, &n, big, sizeof big));
    msg_int(&a, 20, 4);
    msg_sub(&c, 5, a);
    msg_sub(&g, 1, c);
    pare_model *m = read_msg(model(g));
    uint64_t bytes = 0, size = 0, data_size = 0;
    pare_onnx_write_opts o = {.external = PARE_EXTERNAL_ON, .bytes = &bytes};
    assert_int_equal(pare_onnx_write(m, in_tmp("e.onnx"), &o, NULL), PARE_OK);
    assert_true(pare_file_size(in_tmp("e.onnx"), &size) && pare_file_size(in_tmp("e.onnx.data"), &data_size));
    assert_int_equal(bytes, size + data_size);
    assert_int_equal(data_size, 3 * 4096 + sizeof big); /* two tensors on page boundaries, 12,000 bytes each */
    pare_model_free(m);
    m = read_file(in_tmp("e.onnx"));
    pare_tensor *t = find_tensor(m, "big2"), *w = find_tensor(m, "w");
    assert_true(t->was_external);
    assert_false(w->was_external); /* small */
    assert_memory_equal(t->blob->data, big, sizeof big);
    assert_int_equal((t->blob->data - t->blob->file->data) % 4096, 0);
    /* written again without being asked: inlined, and over the file it is read from */
    assert_int_equal(pare_onnx_write(m, in_tmp("e.onnx"), NULL, NULL), PARE_OK);
    assert_memory_equal(t->blob->data, big, sizeof big);
    pare_model_free(m);
    m = read_file(in_tmp("e.onnx"));
    assert_false(find_tensor(m, "big2")->was_external);
    assert_memory_equal(find_tensor(m, "big2")->blob->data, big, sizeof big);
    pare_model_free(m);
}

static pare_status fail_late(void *ctx, const void *data, size_t n) {
    size_t *left = ctx;
    (void)data;
    if (n > *left) return PARE_EIO;
    *left -= n;
    return PARE_OK;
}

static void expect_untouched(void) {
    size_t n;
    char *text = get_file(in_tmp("out/old.onnx"), &n);
    assert_non_null(text);
    assert_string_equal(text, "what stood here before");
    free(text);
    char **names = pare_dir_list(in_tmp("out"), &n);
    assert_int_equal(n, 1); /* no temporary file either, and no data file */
    pare_dir_list_free(names);
}

static void test_failures(void **state) {
    (void)state;
    enum { N = 400000 };
    int64_t n = N;
    msg g = graph_add();
    void *zeros = calloc(N, 4);
    msg_sub(&g, 5, tensor_raw("big", 1, 1, &n, zeros, (size_t)N * 4));
    free(zeros);
    pare_model *m = read_msg(model(g));
    assert_int_equal(pare_dir_make(in_tmp("out"), NULL), PARE_OK);
    put_file(in_tmp("out/old.onnx"), "what stood here before");
    size_t left = 1000;
    pare_onnx_write_opts o = {.also = {fail_late, &left}};
    assert_int_equal(pare_onnx_write(m, in_tmp("out/old.onnx"), &o, NULL), PARE_EIO);
    expect_untouched();
    o.external = PARE_EXTERNAL_ON; /* the data file is whole by then */
    left = 10;
    assert_int_equal(pare_onnx_write(m, in_tmp("out/old.onnx"), &o, NULL), PARE_EIO);
    expect_untouched();

    pare_cancel_request();
    assert_int_equal(pare_onnx_write(m, in_tmp("out/old.onnx"), NULL, NULL), PARE_ECANCELLED);
    pare_cancel_reset();
    expect_untouched();

    /* no room: the kernel refuses to let files grow past a limit, as it does on a full disk */
    struct rlimit old, tight = {200000, 200000};
    getrlimit(RLIMIT_FSIZE, &old);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    pare_status st[2];
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    st[0] = pare_onnx_write(m, in_tmp("out/old.onnx"), NULL, d);
    st[1] = pare_onnx_write(m, in_tmp("out/old.onnx"), &(pare_onnx_write_opts){.external = PARE_EXTERNAL_ON}, d);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(st[0], PARE_EIO);
    assert_int_equal(st[1], PARE_EIO);
    assert_int_equal(pare_diags_errors(d), 2);
    pare_diags_free(d);
    expect_untouched();
    assert_int_not_equal(pare_onnx_write(m, in_tmp("no/such/folder.onnx"), NULL, NULL), PARE_OK);
    pare_model_free(m);
}

/* More than protobuf holds: 600 million floats that are a hole in a file. */
static void test_too_large(void **state) {
    (void)state;
    char count[32];
    int64_t n = 600000000;
    put_file(in_tmp("hole.bin"), "");
    if (truncate(in_tmp("hole.bin"), n * 4) != 0) skip();
    snprintf(count, sizeof count, "%lld", (long long)n * 4);
    msg g = graph_add();
    msg_sub(&g, 5, tensor_external("huge", n, "hole.bin", "0", count));
    msg b = model(g);
    file_put(in_tmp("huge.onnx"), b.p, b.n);
    msg_free(&b);
    pare_model *m = read_file(in_tmp("huge.onnx"));
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    msg sunk = {0};
    assert_int_equal(pare_onnx_stream(m, (pare_sink){to_msg, &sunk}, d), PARE_EINVAL);
    assert_int_equal(sunk.n, 0);
    pare_onnx_write_opts o = {.external = PARE_EXTERNAL_OFF};
    assert_int_equal(pare_onnx_write(m, in_tmp("huge2.onnx"), &o, d), PARE_EINVAL);
    assert_int_equal(pare_path_what(in_tmp("huge2.onnx")), PARE_PATH_NONE);
    assert_int_equal(pare_diags_errors(d), 2);
    assert_string_equal(pare_diags_get(d, 1)->code, "model.too-large");
    pare_diags_free(d);
    pare_model_free(m);
    unlink(in_tmp("hole.bin"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rich),         cmocka_unit_test(test_dtypes),   cmocka_unit_test(test_infos),
        cmocka_unit_test(test_infos_beside), cmocka_unit_test(test_built),    cmocka_unit_test(test_options),
        cmocka_unit_test(test_external),     cmocka_unit_test(test_failures), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
