/* tests/model/test_weights.c - weight files as PyTorch and the safetensors package write them (tests/golden), hostile
 * ones, and what happens when weights meet a model. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/tmpdir.h"
#include "model/edit.h"
#include "model/pickle_text.h"
#include "model/weights.h"
#include "model/find_tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

static const char *golden(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/golden/weights_%s", PARE_TESTS_DIR, name);
    return path;
}

static pare_weights *read_good(const char *path) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_weights *w = NULL;
    assert_int_equal(pare_weights_read(path, d, &w), PARE_OK);
    assert_int_equal(pare_diags_errors(d), 0);
    pare_diags_free(d);
    return w;
}

/* The file must be refused with one error of this code, whose message holds `part` and whose path is the file. */
static void read_bad(const char *path, pare_status st, const char *code, const char *part) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_weights *w = NULL;
    pare_status got = pare_weights_read(path, d, &w);
    const pare_diag_item *it = pare_diags_count(d) ? pare_diags_get(d, 0) : NULL;
    if (got != st || !it || strcmp(it->code, code) != 0 || !strstr(it->message, part))
        print_message("%s: %d, %s: %s\n", path, got, it ? it->code : "-", it ? it->message : "-");
    assert_int_equal(got, st);
    assert_null(w);
    assert_int_equal(pare_diags_errors(d), 1);
    assert_string_equal(it->code, code);
    assert_non_null(strstr(it->message, part));
    assert_string_equal(it->path, path);
    pare_diags_free(d);
}

static const pare_named_tensor *named(const pare_weights *w, const char *name) {
    uint32_t i = 0;
    assert_true(pare_map_get(&w->names, name, &i));
    return &w->tensors.data[i];
}

static float f32_at(const pare_named_tensor *t, size_t i) {
    float v;
    memcpy(&v, t->blob->data + 4 * i, 4);
    return v;
}

/* ---- files that others wrote ---- */

static const struct {
    const char *name;
    size_t count;
} NARROW[] = {{"conv1.weight", 54},   {"bn1.weight", 3}, {"bn1.bias", 3}, {"bn1.running_mean", 3},
              {"bn1.running_var", 3}, {"fc.weight", 12}, {"fc.bias", 4}};

static void golden_narrow(void **state) {
    (void)state;
    static const char *const files[] = {"narrow.pth", "narrow.safetensors"};
    for (size_t f = 0; f < 2; f++) {
        pare_weights *w = read_good(golden(files[f]));
        assert_int_equal(w->tensors.len, 8); /* num_batches_tracked too */
        for (size_t i = 0; i < sizeof NARROW / sizeof NARROW[0]; i++) {
            const pare_named_tensor *t = named(w, NARROW[i].name);
            assert_int_equal(t->dtype, PARE_FLOAT);
            assert_int_equal(t->count, NARROW[i].count);
            for (size_t k = 0; k < t->count; k++) assert_true(f32_at(t, k) == (float)k / 8);
        }
        assert_int_equal(named(w, "conv1.weight")->dims[1], 2);
        assert_int_equal(named(w, "bn1.num_batches_tracked")->dtype, PARE_INT64);
        assert_int_equal(named(w, "bn1.num_batches_tracked")->ndim, 0);
        pare_weights_free(w);
    }
}

static void golden_views(void **state) {
    (void)state;
    pare_weights *w = read_good(golden("views.pth"));
    const pare_named_tensor *t = named(w, "row");
    assert_int_equal(t->count, 6);
    for (size_t i = 0; i < 6; i++) assert_true(f32_at(t, i) == (float)(6 + i) / 8);
    t = named(w, "transposed"); /* (6, 4) */
    assert_int_equal(t->dims[0], 6);
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 4; j++) assert_true(f32_at(t, i * 4 + j) == (float)(j * 6 + i) / 8);
    t = named(w, "stepped"); /* rows 0 and 2, columns 1, 3, 5 */
    assert_int_equal(t->count, 6);
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++) assert_true(f32_at(t, i * 3 + j) == (float)(2 * i * 6 + 2 * j + 1) / 8);
    t = named(w, "expanded"); /* (3, 2) */
    for (size_t i = 0; i < 6; i++) assert_true(f32_at(t, i) == (float)(i / 2) / 8);
    assert_true(f32_at(named(w, "scalar"), 0) == 2.5f);
    assert_int_equal(named(w, "empty")->count, 0);
    assert_int_equal(named(w, "empty")->ndim, 2);
    assert_null(named(w, "empty")->blob);
    assert_ptr_equal(named(w, "again")->blob, named(w, "base")->blob);
    assert_true(f32_at(named(w, "parameter"), 3) == 3.0f / 8);
    pare_weights_free(w);
}

static void golden_kinds(void **state) {
    (void)state;
    static const uint32_t dtypes[] = {PARE_FLOAT,  PARE_FLOAT16, PARE_BFLOAT16,    PARE_DOUBLE, PARE_INT64,
                                      PARE_INT32,  PARE_INT16,   PARE_INT8,        PARE_UINT8,  PARE_UINT16,
                                      PARE_UINT32, PARE_BOOL,    PARE_FLOAT8E4M3FN};
    pare_weights *a = read_good(golden("kinds.pth")), *b = read_good(golden("kinds.safetensors"));
    assert_int_equal(a->tensors.len, 13);
    assert_int_equal(b->tensors.len, 13);
    for (size_t i = 0; i < 13; i++) {
        const char *name = pare_dtype_name(dtypes[i]);
        const pare_named_tensor *x = named(a, name), *y = named(b, name);
        assert_int_equal(x->dtype, dtypes[i]);
        assert_int_equal(y->dtype, dtypes[i]);
        assert_int_equal(x->count, 5);
        assert_int_equal(x->blob->len, y->blob->len);
        assert_memory_equal(x->blob->data, y->blob->data, x->blob->len);
    }
    int16_t last;
    memcpy(&last, named(a, "int16")->blob->data + 8, 2);
    assert_int_equal(last, 4);
    pare_weights_free(a);
    pare_weights_free(b);
}

static void golden_refused(void **state) {
    (void)state;
    read_bad(golden("legacy.pth"), PARE_EUNSUPPORTED, "weights.legacy", "before 1.6");
    read_bad(golden("module.pth"), PARE_EUNSUPPORTED, "weights.pickle-global", "'__main__.Narrow'");
}

/* Our writer gives the safetensors package's bytes. */
static void safetensors_same_bytes(void **state) {
    (void)state;
    static const char *const files[] = {"kinds.safetensors", "narrow.safetensors"};
    for (size_t f = 0; f < 2; f++) {
        pare_weights *w = read_good(golden(files[f]));
        pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
        assert_int_equal(pare_weights_write(w, in_tmp("again.safetensors"), d), PARE_OK);
        size_t na = 0, nb = 0;
        char *a = get_file(golden(files[f]), &na), *b = get_file(in_tmp("again.safetensors"), &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
        free(a);
        free(b);
        pare_diags_free(d);
        pare_weights_free(w);
    }
}

/* ---- hostile safetensors ---- */

static const char *put_bytes(const char *name, const void *data, size_t n) {
    const char *path = in_tmp(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return path;
}

static const char *put_safetensors(uint64_t length, const char *header, size_t data) {
    pare_sb b = {0};
    for (int i = 0; i < 8; i++) pare_sb_addc(&b, (char)(unsigned char)(length >> (8 * i)));
    pare_sb_add(&b, header);
    for (size_t i = 0; i < data; i++) pare_sb_addc(&b, 0);
    const char *path = put_bytes("hostile.safetensors", pare_sb_str(&b), b.len);
    pare_sb_free(&b);
    return path;
}

static void safetensors_hostile(void **state) {
    (void)state;
#define F(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t data;
        const char *code, *part;
    } cases[] = {
        {"{" F("a", "[2]", "[0,8]") "," F("b", "[2]", "[4,12]") "}", 12, "weights.offsets", "overlap"},
        {"{" F("a", "[2]", "[0,8]") "," F("b", "[2]", "[0,8]") "}", 8, "weights.offsets", "overlap"},
        {"{" F("a", "[2]", "[0,8]") "," F("b", "[1]", "[12,16]") "}", 16, "weights.offsets", "belong to no tensor"},
        {"{" F("a", "[2]", "[4,12]") "}", 12, "weights.offsets", "belong to no tensor"},
        {"{" F("a", "[2]", "[0,8]") "}", 12, "weights.trailing", "4 bytes"},
        {"{}", 4, "weights.trailing", "4 bytes"},
        {"{" F("a", "[2]", "[0,8]") "}", 7, "weights.offsets", "7 bytes of data"},
        {"{" F("a", "[2]", "[8,0]") "}", 8, "weights.offsets", "[8, 0]"},
        {"{" F("a", "[3]", "[0,8]") "}", 8, "weights.shape", "takes 12"},
        {"{" F("a", "[-2]", "[0,8]") "}", 8, "weights.shape", "dimension 0"},
        {"{" F("a", "[2.0]", "[0,8]") "}", 8, "weights.shape", "dimension 0"},
        {"{" F("a", "[4294967296,4294967296]", "[0,8]") "}", 8, "weights.shape", "overflows"},
        {"{" F("a", "[9223372036854775807]", "[0,8]") "}", 8, "weights.shape", "overflows"},
        {"{" F("a", "[99999999999999999999]", "[0,8]") "}", 8, "weights.header", "not sound"},
        {"{" F("a", "[2]", "[0,8,9]") "}", 8, "weights.header", "not an object"},
        {"{" F("a", "[2]", "[-1,8]") "}", 8, "weights.offsets", "whole numbers"},
        {"{" F("a", "8", "[0,8]") "}", 8, "weights.header", "not an object"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "weights.dtype", "'F33'"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "weights.shape", "takes 16"},
        {"{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "weights.header", "not an object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "weights.header", "not an object"},
        {"{\"a\":[]}", 8, "weights.header", "not an object"},
        {"{" F("a", "[1]", "[0,4]") "," F("a", "[1]", "[4,8]") "}", 8, "weights.header", "not sound"},
        {"{\"a\":", 8, "weights.header", "not sound"},
        {"{\"__metadata__\":[]}", 0, "weights.header", "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "weights.header", "__metadata__"},
        {"{\"\xff\":1}", 0, "weights.header", "not sound"},
        {"[1]", 0, "weights.format", "no JSON header"},
    };
#undef F
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        read_bad(put_safetensors(strlen(cases[i].header), cases[i].header, cases[i].data), PARE_EINVAL, cases[i].code,
                 cases[i].part);
    read_bad(put_safetensors(100, "{}", 0), PARE_EINVAL, "weights.truncated", "what the file has left is 2");
    read_bad(put_safetensors(UINT64_MAX, "{}", 0), PARE_EINVAL, "weights.format", "most allowed");
    read_bad(put_safetensors(1, "{", 0), PARE_EINVAL, "weights.format", "no JSON header");
    read_bad(put_bytes("x", "short", 5), PARE_EINVAL, "weights.truncated", "5 bytes");
    read_bad(put_bytes("x", "", 0), PARE_EINVAL, "weights.empty", "empty");
    read_bad(put_bytes("x", "\xff\xd8\xff\xe0\0\20JFIF\0\1\1", 13), PARE_EINVAL, "weights.format", "header");
    read_bad(put_bytes("x", "\x80\2cposix\nsystem\n.", 18), PARE_EUNSUPPORTED, "weights.format", "bare Python pickle");
    char *deep = malloc(1 << 20); /* {"a":[[[[[… */
    memset(deep, '[', 1 << 20);
    memcpy(deep, "{\"a\":", 5);
    deep[(1 << 20) - 1] = 0;
    read_bad(put_safetensors(strlen(deep), deep, 0), PARE_EINVAL, "weights.header", "depth");
    free(deep);
    /* a header whose length has the bytes of a pickle, and of "PK" */
    for (size_t n = 0x0280; n <= 0x4b50; n += 0x4b50 - 0x0280) {
        char *header = malloc(n + 1);
        memset(header, ' ', n);
        memcpy(header, "{}", 2);
        header[n] = 0;
        pare_weights_free(read_good(put_safetensors(n, header, 0)));
        free(header);
    }
}

static void missing_file(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_weights *w = NULL;
    assert_int_equal(pare_weights_read(in_tmp("absent.pth"), d, &w), PARE_ENOTFOUND);
    assert_int_equal(pare_diags_errors(d), 1);
    assert_int_not_equal(pare_weights_read(in_tmp(""), d, &w), PARE_OK); /* a folder */
    pare_diags_free(d);
}

/* ---- hostile zip files ---- */

typedef struct zip_part {
    const char *name;
    const void *data;
    size_t n;
    bool deflate;
} zip_part;

static const char *put_zip(const char *file, const zip_part *parts, size_t n) {
    const char *path = in_tmp(file);
    remove(path);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    for (size_t i = 0; i < n; i++) {
        zip_source_t *s = zip_source_buffer(z, parts[i].data, parts[i].n, 0);
        zip_int64_t at = zip_file_add(z, parts[i].name, s, ZIP_FL_ENC_UTF_8);
        assert_true(at >= 0);
        zip_set_file_compression(z, (zip_uint64_t)at, parts[i].deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 1);
    }
    assert_int_equal(zip_close(z), 0);
    return path;
}
#define PUT_ZIP(...)                                                                                                   \
    put_zip("hostile.pth", (zip_part[]){__VA_ARGS__}, sizeof((zip_part[]){__VA_ARGS__}) / sizeof(zip_part))
#define PKL(text)                                                                                                      \
    { "a/data.pkl", text, sizeof(text) - 1, false }

static const float SIX[6] = {1, 2, 3, 4, 5, 6};

static void zip_good(void **state) {
    (void)state;
    for (int deflate = 0; deflate < 2; deflate++) {
        pare_weights *w = read_good(PUT_ZIP({"a/data.pkl", GOOD, sizeof GOOD - 1, deflate},
                                            {"a/byteorder", "little", 6, deflate}, {"a/data/0", SIX, 24, deflate}));
        assert_true(f32_at(named(w, "w"), 5) == 6);
        pare_weights_free(w);
    }
    /* no folder, no byteorder */
    pare_weights_free(read_good(PUT_ZIP({"data.pkl", GOOD, sizeof GOOD - 1, false}, {"data/0", SIX, 24, false})));
}

static void zip_hostile(void **state) {
    (void)state;
    read_bad(PUT_ZIP({"a/data.pkl", "cos\nsystem\n(U\4truetR.", 21, false}), PARE_EUNSUPPORTED, "weights.pickle-global",
             "'os.system'");
    read_bad(PUT_ZIP(PKL(GOOD)), PARE_EINVAL, "weights.zip", "'a/data/0' is missing");
    read_bad(PUT_ZIP(PKL(GOOD), {"a/data/0", SIX, 20, false}), PARE_EINVAL, "weights.size", "declares 20 bytes");
    read_bad(PUT_ZIP(PKL(GOOD), {"b/data.pkl", GOOD, 1, false}), PARE_EINVAL, "weights.zip", "more than one data.pkl");
    read_bad(PUT_ZIP({"readme.txt", "x", 1, false}), PARE_EINVAL, "weights.zip", "without data.pkl");
    read_bad(PUT_ZIP(PKL(GOOD), {"a/byteorder", "big", 3, false}), PARE_EUNSUPPORTED, "weights.byteorder", "'big'");
    read_bad(PUT_ZIP(PKL("N.")), PARE_EINVAL, "weights.no-state-dict", "not a dict");
    read_bad(PUT_ZIP(PKL("}.")), PARE_EINVAL, "weights.no-tensors", "no tensors");
    read_bad(put_bytes("x", "PK\3\4nothing that a zip file has", 32), PARE_EINVAL, "weights.zip", "can't be opened");
}

static void zip_bombs(void **state) {
    (void)state;
    size_t n = 100 << 20;
    void *zeros = calloc(n, 1);
    assert_non_null(zeros);
    read_bad(PUT_ZIP({"a/data.pkl", zeros, 70 << 20, true}), PARE_EINVAL, "weights.bomb", "73400320 bytes");
    /* a tensor that does have 100 MiB, in a file of 0.1 */
#define NUMEL "J\0\0\x90\1"
    read_bad(PUT_ZIP(PKL(HEAD TENSOR_OF(NUMEL, "K\0", NUMEL "\x85", "K\1\x85") "u."), {"a/data/0", zeros, n, true}),
             PARE_EINVAL, "weights.bomb", "'a/data/0' of 104857600 bytes");
    /* a small tensor on a storage of 100 MiB that says it is small */
    read_bad(PUT_ZIP(PKL(GOOD), {"a/data/0", zeros, n, true}), PARE_EINVAL, "weights.size", "declares 104857600 bytes");
    /* one element spread to 2^40 by strides of 0 */
    read_bad(PUT_ZIP(PKL(HEAD TENSOR_OF("K\1", "K\0", "J\0\0\x10\0J\0\0\x10\0\x86", "K\0K\0\x86") "u."),
                     {"a/data/0", SIX, 4, false}),
             PARE_EINVAL, "weights.bomb", "'w' of 4398046511104 bytes");
    free(zeros);
}

/* Every cut and every flipped byte of a real file is answered, by an error or by the tensors. */
static void zip_damaged(void **state) {
    (void)state;
    size_t n = 0, refused = 0;
    char *file = get_file(golden("narrow.pth"), &n);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    for (size_t i = 0; i < n; i += 7) {
        pare_weights *w = NULL;
        size_t errors = pare_diags_errors(d);
        assert_int_not_equal(pare_weights_read(put_bytes("cut.pth", file, i), d, &w), PARE_OK);
        assert_int_equal(pare_diags_errors(d), errors + 1);
    }
    for (size_t i = 0; i < n; i += 3) {
        pare_weights *w = NULL;
        size_t errors = pare_diags_errors(d);
        file[i] = (char)(file[i] ^ 0x41);
        if (pare_weights_read(put_bytes("flip.pth", file, n), d, &w)) {
            refused++;
            assert_int_equal(pare_diags_errors(d), errors + 1);
        }
        pare_weights_free(w);
        file[i] = (char)(file[i] ^ 0x41);
    }
    assert_true(refused > n / 3 / 8);
    pare_diags_free(d);
    free(file);
}

/* ---- weights meet a model ---- */

static pare_tensor *add_tensor(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims) {
    pare_tensor *t = pare_model_tensor(m, pare_tensor_add(m, PARE_MAIN_GRAPH, name, dtype, ndim, dims));
    void *p;
    assert_int_equal(pare_tensor_overwrite(t, NULL, &p), PARE_OK);
    for (uint64_t i = 0; i < t->count; i++) ((float *)p)[i] = -1;
    return t;
}

/* The model of make_weights.py's Narrow; classes 4 is its own. */
static pare_model *narrow_model(int64_t classes) {
    pare_model *m = pare_model_new("narrow");
    add_tensor(m, "conv1.weight", PARE_FLOAT, 4, (int64_t[]){3, 2, 3, 3});
    add_tensor(m, "bn1.weight", PARE_FLOAT, 1, (int64_t[]){3});
    add_tensor(m, "bn1.bias", PARE_FLOAT, 1, (int64_t[]){3});
    add_tensor(m, "bn1.running_mean", PARE_FLOAT, 1, (int64_t[]){3});
    add_tensor(m, "bn1.running_var", PARE_FLOAT, 1, (int64_t[]){3});
    add_tensor(m, "fc.weight", PARE_FLOAT, 2, (int64_t[]){classes, 3});
    add_tensor(m, "fc.bias", PARE_FLOAT, 1, (int64_t[]){classes});
    return m;
}

static float model_at(pare_model *m, const char *name, size_t i) {
    const void *p;
    assert_int_equal(pare_tensor_read(find_tensor(m, name), NULL, &p), PARE_OK);
    return ((const float *)p)[i];
}

static void apply_converts(void **state) {
    (void)state;
    static const char *const files[] = {"narrow.pth", "narrow_f16.pth", "narrow_bf16_p4.pth", "checkpoint_f64.pth",
                                        "narrow.safetensors"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        pare_weights *w = read_good(golden(files[f]));
        pare_model *m = narrow_model(4);
        pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
        assert_int_equal(pare_weights_apply(w, files[f], m, NULL, 0, d), PARE_OK);
        for (size_t i = 0; i < sizeof NARROW / sizeof NARROW[0]; i++)
            for (size_t k = 0; k < NARROW[i].count; k++) assert_true(model_at(m, NARROW[i].name, k) == (float)k / 8);
        pare_diags_free(d);
        pare_model_free(m);
        pare_weights_free(w);
    }
}

/* f16: every class of number. */
static void apply_f16(void **state) {
    (void)state;
    static const uint16_t bits[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00,
                                    0xbc01, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
    static const float want[] = {0.0f, -0.0f, 0x1p-24f, -0x1.ff8p-15f, 0x1p-14f, 1.0f, -0x1.004p0f, 65504.0f};
    pare_sb b = {0};
    const char *header = "{\"w\":{\"dtype\":\"F16\",\"shape\":[11],\"data_offsets\":[0,22]}}";
    pare_sb_addc(&b, (char)strlen(header));
    pare_sb_addn(&b, "\0\0\0\0\0\0\0", 7);
    pare_sb_add(&b, header);
    pare_sb_addn(&b, (const char *)bits, sizeof bits);
    pare_weights *w = read_good(put_bytes("f16.safetensors", b.data, b.len));
    pare_model *m = pare_model_new("f16");
    add_tensor(m, "w", PARE_FLOAT, 1, (int64_t[]){11});
    assert_int_equal(pare_weights_apply(w, "f16.safetensors", m, NULL, 0, NULL), PARE_OK);
    const void *p;
    assert_int_equal(pare_tensor_read(find_tensor(m, "w"), NULL, &p), PARE_OK);
    const float *got = p;
    assert_memory_equal(got, want, sizeof want);
    assert_true(got[8] > 3.4e38f && got[9] < -3.4e38f && got[10] != got[10]);
    pare_model_free(m);
    pare_weights_free(w);
    pare_sb_free(&b);
}

static void apply_other_head(void **state) {
    (void)state;
    pare_weights *w = read_good(golden("narrow.pth"));
    pare_model *m = narrow_model(10);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_weights_apply(w, "narrow.pth", m, NULL, 0, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 2); /* fc.weight and fc.bias, each with both shapes and the way out */
    const pare_diag_item *it = pare_diags_get(d, 0);
    assert_string_equal(it->code, "weights.shape");
    assert_string_equal(it->tensor, "fc.weight");
    assert_non_null(strstr(it->message, "(4, 3)"));
    assert_non_null(strstr(it->message, "(10, 3)"));
    assert_non_null(strstr(it->hint, "reinit: [fc.*]"));
    assert_true(model_at(m, "conv1.weight", 1) == -1); /* nothing was written */
    const char *reinit[] = {"fc.*"};
    assert_int_equal(pare_weights_apply(w, "narrow.pth", m, reinit, 1, d), PARE_OK);
    assert_true(model_at(m, "conv1.weight", 1) == 1.0f / 8);
    assert_true(model_at(m, "fc.weight", 1) == -1);
    const char *typo[] = {"fc.weigt"};
    assert_int_equal(pare_weights_apply(w, "narrow.pth", m, typo, 1, d), PARE_EINVAL);
    it = pare_diags_get(d, 2);
    assert_string_equal(it->code, "weights.reinit");
    assert_string_equal(it->hint, "did you mean 'fc.weight'?");
    pare_diags_free(d);
    pare_model_free(m);
    pare_weights_free(w);
}

static void apply_names(void **state) {
    (void)state;
    pare_weights *w = read_good(golden("views.pth"));
    pare_model *m = pare_model_new("names");
    add_tensor(m, "row", PARE_FLOAT, 1, (int64_t[]){6});
    add_tensor(m, "absent.one", PARE_FLOAT, 1, (int64_t[]){6});
    add_tensor(m, "absent.two", PARE_FLOAT, 1, (int64_t[]){6});
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_weights_apply(w, "views.pth", m, NULL, 0, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 1);
    const char *said = pare_diags_get(d, 0)->message;
    assert_string_equal(pare_diags_get(d, 0)->code, "weights.names");
    assert_non_null(strstr(said, "2 tensors of the model are missing in the file: absent.one, absent.two"));
    assert_non_null(strstr(said, "8 tensors of the file are not in the model: base, transposed, stepped, expanded, "
                                 "scalar, empty, again, parameter"));
    assert_non_null(strstr(pare_diags_get(d, 0)->hint, "reinit"));
    const char *reinit[] = {"absent.*", "*[!w]"}; /* all but those that end in w: row */
    assert_int_equal(pare_weights_apply(w, "views.pth", m, reinit, 2, d), PARE_OK);
    assert_true(model_at(m, "row", 0) == 6.0f / 8);
    pare_diags_free(d);
    pare_model_free(m);
    pare_weights_free(w);
}

/* A file that has nothing in common with the model is another network's. */
static void apply_stranger(void **state) {
    (void)state;
    pare_weights *w = read_good(golden("kinds.pth"));
    pare_model *m = narrow_model(4);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_weights_apply(w, "kinds.pth", m, NULL, 0, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 1);
    assert_non_null(strstr(pare_diags_get(d, 0)->hint, "another network"));
    pare_diags_free(d);
    pare_model_free(m);
    pare_weights_free(w);
}

static void apply_dtype(void **state) {
    (void)state;
    pare_weights *w = read_good(golden("kinds.pth"));
    pare_model *m = pare_model_new("kinds");
    add_tensor(m, "int64", PARE_FLOAT, 1, (int64_t[]){5});
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    const char *reinit[] = {"*"};
    assert_int_equal(pare_weights_apply(w, "kinds.pth", m, reinit, 1, d), PARE_OK);
    assert_int_equal(pare_weights_apply(w, "kinds.pth", m, NULL, 0, d), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 0)->code, "weights.dtype");
    assert_non_null(strstr(pare_diags_get(d, 0)->message, "'int64' is int64 (5) in the file"));
    pare_diags_free(d);
    pare_model_free(m);
    pare_weights_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_narrow),
        cmocka_unit_test(golden_views),
        cmocka_unit_test(golden_kinds),
        cmocka_unit_test(golden_refused),
        cmocka_unit_test(safetensors_same_bytes),
        cmocka_unit_test(safetensors_hostile),
        cmocka_unit_test(missing_file),
        cmocka_unit_test(zip_good),
        cmocka_unit_test(zip_hostile),
        cmocka_unit_test(zip_bombs),
        cmocka_unit_test(zip_damaged),
        cmocka_unit_test(apply_converts),
        cmocka_unit_test(apply_f16),
        cmocka_unit_test(apply_other_head),
        cmocka_unit_test(apply_names),
        cmocka_unit_test(apply_stranger),
        cmocka_unit_test(apply_dtype),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
