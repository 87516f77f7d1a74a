/* tests/model/test_pack.c - packing and unpacking whole models: round trips byte for byte, what is left alone, hostile
 * files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/edit.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "model/find_tensor.h"

#include <stdlib.h>
#include <string.h>

#define KEY "ai.pare.packed"

/* ---- helpers ---- */

static pare_status to_sb(void *ctx, const void *data, size_t n) {
    pare_sb_addn(ctx, data, n);
    return PARE_OK;
}

static pare_sb bytes_of(pare_model *m) {
    pare_sb b = {0};
    assert_int_equal(pare_onnx_stream(m, (pare_sink){to_sb, &b}, NULL), PARE_OK);
    return b;
}

static void assert_same_bytes(pare_model *m, const pare_sb *want) {
    pare_sb got = bytes_of(m);
    assert_int_equal(got.len, want->len);
    assert_memory_equal(got.data, want->data, got.len);
    pare_sb_free(&got);
}

static uint64_t rng_state = 1;
static uint32_t rng(void) { /* any even spread does */
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33);
}

/* An initializer of random bit patterns (NaNs among them), of which `share` are `fill`. */
static uint32_t add_weight(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                           double share, unsigned char fill) {
    uint32_t id = pare_tensor_add(m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    assert_int_not_equal(id, 0);
    pare_tensor *t = pare_model_tensor(m, id);
    uint32_t size = pare_dtype_bits(dtype) / 8;
    for (uint64_t i = 0; i < t->count; i++) {
        bool zero = rng() % 100000 < share * 100000;
        for (uint32_t k = 0; k < size; k++)
            t->blob->data[i * size + k] = zero ? (size == 1 ? fill : 0) : (unsigned char)(rng() | (k + 1 == size));
    }
    return id;
}

/* x -> Add(w0) -> Add(w1) … -> y; only the form matters here, nothing is run. */
static pare_model *model_with(size_t n, uint32_t dtype, size_t ndim, const int64_t *dims, const double *shares,
                              unsigned char fill) {
    pare_model *m = pare_model_new("g");
    uint32_t x = pare_value_add(m, PARE_MAIN_GRAPH, "x");
    pare_dim one = {1, NULL};
    pare_value_type_set(m, x, dtype, 1, &one);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, x);
    pare_model_opset_set(m, "", 21);
    m->ir_version = 10;
    for (size_t i = 0; i < n; i++) {
        char name[32], out[32];
        const char *outs[1] = {out};
        snprintf(name, sizeof name, "layer%zu.weight", i);
        snprintf(out, sizeof out, "y%zu", i);
        uint32_t t = add_weight(m, name, dtype, ndim, dims, shares[i], fill);
        uint32_t in[2] = {x, pare_graph_find(m, PARE_MAIN_GRAPH, pare_model_tensor(m, t)->name)};
        uint32_t node = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Add", "", name, in, 2, outs, 1);
        x = pare_model_node(m, node)->out[0];
    }
    pare_value_type_set(m, x, dtype, -1, NULL);
    pare_graph_output_add(m, PARE_MAIN_GRAPH, x);
    pare_model_meta_set(m, "before", "1");
    return m;
}

static pare_model *one_weight(uint32_t dtype, int64_t n, double share) {
    return model_with(1, dtype, 1, &n, &share, 0);
}

static pare_tensor *weight(pare_model *m, size_t i) {
    char name[32];
    snprintf(name, sizeof name, "layer%zu.weight", i);
    return find_tensor(m, name);
}

static const pare_node *maker(pare_model *m, const char *name) {
    const pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, name));
    return v ? pare_model_node(m, v->producer) : NULL;
}

static size_t count_op(const pare_model *m, const char *op) {
    size_t n = 0;
    for (size_t i = 0; i < m->nodes.len; i++) n += m->nodes.data[i] && pare_node_is(m->nodes.data[i], op);
    return n;
}

/* Packs, expects `tensors` packed, unpacks, expects the first bytes. Returns the packed size in bytes. */
static size_t round_trip(pare_model *m, uint64_t tensors) {
    pare_sb first = bytes_of(m);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_null(r.why_not);
    assert_int_equal(r.tensors_packed, tensors);
    assert_int_equal(pare_model_is_packed(m), tensors > 0);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    pare_sb packed = bytes_of(m);
    /* by way of a file's bytes, as it is in life */
    pare_model *read;
    assert_int_equal(pare_onnx_read_bytes(packed.data, packed.len, "packed", NULL, &read), PARE_OK);
    assert_int_equal(pare_model_unpack(read, NULL), PARE_OK);
    assert_false(pare_model_is_packed(read));
    assert_int_equal(pare_model_check(read, NULL), PARE_OK);
    assert_same_bytes(read, &first);
    pare_model_free(read);
    /* and in place */
    assert_int_equal(pare_model_unpack(m, NULL), PARE_OK);
    assert_same_bytes(m, &first);
    size_t n = packed.len;
    if (tensors) assert_true(n < first.len);
    pare_sb_free(&packed);
    pare_sb_free(&first);
    return n;
}

/* ---- round trips ---- */

static const uint32_t DTYPES[] = {PARE_FLOAT, PARE_FLOAT16, PARE_BFLOAT16, PARE_DOUBLE, PARE_INT8, PARE_UINT8};

static void test_dtypes_and_shares(void **state) {
    (void)state;
    static const double shares[] = {0.3, 0.6, 0.8, 0.93, 0.995, 1.0};
    static const int64_t dims[][3] = {{37, 16, 25}, {41, 9, 23}}; /* a multiple of 8, and not */
    for (size_t d = 0; d < sizeof DTYPES / sizeof *DTYPES; d++)
        for (size_t k = 0; k < 2; k++) {
            pare_model *m = model_with(6, DTYPES[d], 3, dims[k], shares, 0);
            round_trip(m, 6);
            pare_model_free(m);
        }
}

static void test_forms(void **state) {
    (void)state;
    static const double shares[] = {0.0, 0.7, 0.95, 1.0};
    static const int64_t dims[] = {100, 1001};
    pare_model *m = model_with(4, PARE_FLOAT, 2, dims, shares, 0);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 3);
    assert_non_null(weight(m, 0)); /* dense: left alone */
    assert_null(weight(m, 1));
    assert_string_equal(maker(m, "layer1.weight")->op_type, "Reshape");
    assert_string_equal(maker(m, "layer3.weight")->op_type, "ConstantOfShape");
    assert_int_equal(count_op(m, "Mul"), 1);             /* a mask */
    assert_int_equal(count_op(m, "Slice"), 1);           /* 100100 is no multiple of 8 */
    assert_int_equal(count_op(m, "ScatterElements"), 1); /* gaps */
    assert_int_equal(count_op(m, "CumSum"), 2);
    assert_true(r.bytes_after < r.bytes_before / 2);
    /* packing again changes nothing */
    pare_sb first = bytes_of(m);
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_non_null(r.why_not);
    assert_same_bytes(m, &first);
    pare_sb_free(&first);
    pare_model_free(m);
}

static void set_u32(pare_model *m, uint64_t at, uint32_t v) { memcpy(weight(m, 0)->blob->data + at * 4, &v, 4); }

static void test_edges(void **state) {
    (void)state;
    static const uint64_t at[][3] = {{0, 0, 0},        {1, 1, 1},      {9999, 9999, 9999}, {0, 9999, 9999},
                                     {0, 255, 510},    {0, 256, 512},  {255, 510, 1021},   {254, 255, 256},
                                     {256, 511, 9998}, {700, 701, 702}};
    static const uint32_t patterns[] = {0x3f800000, 0x80000000 /* -0.0 */, 0x7fc00001 /* a NaN */, 1 /* subnormal */};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (size_t p = 0; p < 4; p++) {
            pare_model *m = one_weight(PARE_FLOAT, 10000, 1.0);
            for (size_t k = 0; k < 3; k++) set_u32(m, at[i][k], patterns[p]);
            round_trip(m, 1);
            pare_model_free(m);
        }
    pare_model *m = one_weight(PARE_FLOAT, 10000, 0.0); /* nothing to leave out */
    round_trip(m, 0);
    pare_model_free(m);
}

static void test_long_runs(void **state) {
    (void)state;
    pare_model *m = one_weight(PARE_FLOAT, (1 << 19) + 3, 1.0); /* longer than the blocks that are coded in parallel */
    set_u32(m, 1 << 18, 7);
    set_u32(m, (1 << 19) + 2, 7);
    size_t n = round_trip(m, 1);
    assert_true(n > 4 * (1 << 19) / 255 && n < 6 * (1 << 19) / 255 + 1500);
    pare_model_free(m);
}

static void test_negative_zero_is_kept(void **state) {
    (void)state;
    pare_model *m = one_weight(PARE_FLOAT, 8000, 1.0);
    for (uint64_t i = 0; i < 8000; i++) set_u32(m, i, 0x80000000u); /* a tensor of -0.0 only: nothing is left out */
    round_trip(m, 0);
    pare_model_free(m);
}

static void test_zero_points(void **state) {
    (void)state;
    static const double shares[] = {0.7, 0.95, 1.0};
    static const int64_t dims[] = {64, 333};
    for (int fill = 0; fill < 256; fill += 51) {
        pare_model *m = model_with(3, PARE_UINT8, 2, dims, shares, (unsigned char)fill);
        round_trip(m, 3);
        pare_model_free(m);
        m = model_with(3, PARE_INT8, 2, dims, shares, (unsigned char)(fill ^ 0x80));
        round_trip(m, 3);
        pare_model_free(m);
    }
}

static void test_old_bfloat16(void **state) {
    (void)state;
    static const double shares[] = {0.7, 0.95, 1.0};
    static const int64_t dims[] = {50, 401};
    for (int opset = 12; opset <= 20; opset += 4) {
        pare_model *m = model_with(3, PARE_BFLOAT16, 2, dims, shares, 0);
        pare_model_opset_set(m, "", opset);
        round_trip(m, opset < 13 ? 0 : 3);
        pare_model_free(m);
    }
}

static void test_places(void **state) {
    (void)state;
    static const double shares[] = {0.95, 0, 0.95, 0.7, 0, 1.0};
    static const int64_t dims[] = {25, 1000};
    pare_model *m = model_with(6, PARE_FLOAT, 2, dims, shares, 0);
    pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, "layer2.weight"));
    pare_dim vd[2] = {{25, NULL}, {1000, NULL}};
    pare_value_type_set(m, v->id, PARE_FLOAT, 2, vd); /* some exporters declare initializers in value_info */
    v->declared = true;
    pare_vec_push(&pare_model_graph(m, PARE_MAIN_GRAPH)->info_order, v->id);
    pare_initializer_move(m, weight(m, 5)->id, 1);
    /* names that packing wants are taken */
    const char *outs[] = {KEY "/0/gap"};
    uint32_t in = pare_graph_find(m, PARE_MAIN_GRAPH, "y1");
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Relu", "", KEY "/0/cast", &in, 1, outs, 1);
    int64_t one = 1;
    uint32_t t = pare_tensor_add(m, PARE_MAIN_GRAPH, KEY "/axis", PARE_FLOAT, 1, &one);
    memset(pare_model_tensor(m, t)->blob->data, 0, 4);
    assert_true(pare_tensor_masked_set(m, weight(m, 0), true));
    pare_sb b = bytes_of(m); /* read again, so that the value infos are a file's */
    pare_model_free(m);
    assert_int_equal(pare_onnx_read_bytes(b.data, b.len, "places", NULL, &m), PARE_OK);
    pare_sb_free(&b);
    round_trip(m, 4);
    pare_model_free(m);
}

/* ---- what is left alone ---- */

static void assert_not_packed(pare_model *m, bool as_a_whole) {
    pare_sb first = bytes_of(m);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 0);
    assert_int_equal(r.why_not != NULL, as_a_whole);
    assert_false(pare_model_is_packed(m));
    assert_same_bytes(m, &first);
    assert_int_equal(pare_model_unpack(m, NULL), PARE_OK); /* no packed model: nothing happens */
    assert_same_bytes(m, &first);
    pare_sb_free(&first);
    pare_model_free(m);
}

static void test_left_alone(void **state) {
    (void)state;
    pare_model *m = one_weight(PARE_FLOAT, 10000, 0.9);
    pare_model_opset_set(m, "", 10);
    assert_not_packed(m, true);

    m = one_weight(PARE_FLOAT, 10000, 0.9);
    m->ir_version = 3;
    assert_not_packed(m, true);

    m = one_weight(PARE_FLOAT, 10000, 0.9);
    m->has_training_info = true;
    assert_not_packed(m, true);

    m = one_weight(PARE_FLOAT, 10000, 0.9);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, pare_graph_find(m, PARE_MAIN_GRAPH, "layer0.weight"));
    assert_not_packed(m, false);

    m = one_weight(PARE_FLOAT, 10000, 0.9);
    pare_graph_output_add(m, PARE_MAIN_GRAPH, pare_graph_find(m, PARE_MAIN_GRAPH, "layer0.weight"));
    assert_not_packed(m, false);

    m = one_weight(PARE_FLOAT, 10000, 0.9); /* a doc string: field 12 */
    weight(m, 0)->extra = (pare_bytes){(const unsigned char *)"\x62\x02hi", 4};
    assert_not_packed(m, false);

    m = one_weight(PARE_FLOAT, 1000, 0.95); /* too small to win anything */
    assert_not_packed(m, false);

    m = one_weight(PARE_INT32, 10000, 0.95); /* indices and such: not weights */
    assert_not_packed(m, false);

    m = one_weight(PARE_FLOAT, 10000, 0.04); /* saves a percent: not worth the nodes */
    assert_not_packed(m, false);
}

/* ---- damaged and hostile files ---- */

/* Unpacking fails with this status and code, and changes nothing. Frees m. */
static void assert_refused(pare_model *m, pare_status want, const char *code, const char *tensor) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, stderr);
    pare_sb before = bytes_of(m);
    assert_int_equal(pare_model_unpack(m, d), want);
    assert_int_equal(pare_diags_count(d), 1);
    assert_string_equal(pare_diags_get(d, 0)->code, code);
    if (tensor) assert_string_equal(pare_diags_get(d, 0)->tensor, tensor);
    assert_same_bytes(m, &before);
    pare_sb_free(&before);
    pare_diags_free(d);
    pare_model_free(m);
}

static void assert_damaged(pare_model *m) { assert_refused(m, PARE_EINVAL, "model.packed-damaged", "layer0.weight"); }

static pare_model *packed(uint32_t dtype, int64_t n, double share) {
    pare_model *m = one_weight(dtype, n, share);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 1);
    return m;
}

static pare_model *packed_gap(void) { return packed(PARE_FLOAT, 10007, 0.95); }
static pare_model *packed_mask(void) { return packed(PARE_FLOAT, 10007, 0.6); }

static pare_tensor *part(pare_model *m, const char *name) {
    char full[64];
    snprintf(full, sizeof full, KEY "/%s", name);
    pare_tensor *t = find_tensor(m, full);
    assert_non_null(t);
    return t;
}

static pare_node *by_op(pare_model *m, const char *op) {
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && pare_node_is(m->nodes.data[i], op)) return m->nodes.data[i];
    fail();
    return NULL;
}

#define ENTRY "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":1,\"form\":\"gap\"}"

static void test_bad_metadata(void **state) {
    (void)state;
    static const char *const whole[] = {
        "",
        "[]",
        "{",
        "{\"version\":1}",
        "{\"version\":\"1\",\"tensors\":[]}",
        "{\"version\":1,\"version\":1,\"tensors\":[]}",
        "{\"version\":1,\"tensors\":{}}",
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        pare_model *m = packed_gap();
        pare_model_meta_set(m, KEY, whole[i]);
        assert_refused(m, PARE_EINVAL, "model.packed-damaged", NULL);
    }
    static const char *const entries[] = {
        "1",
        "{}",
        "{\"name\":\"nobody\",\"index\":0,\"dtype\":1,\"form\":\"gap\"}",
        "{\"name\":\"x\",\"index\":0,\"dtype\":1,\"form\":\"gap\"}",
        "{\"name\":\"y0\",\"index\":0,\"dtype\":1,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":1,\"form\":\"mask\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":1,\"form\":\"fill\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":1,\"form\":\"zip\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":10,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":3,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":8,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":0,\"dtype\":4294967297,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":-1,\"dtype\":1,\"form\":\"gap\"}",
        "{\"name\":\"layer0.weight\",\"index\":0.5,\"dtype\":1,\"form\":\"gap\"}",
        ENTRY "," ENTRY,
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        pare_sb b = {0};
        pare_sb_printf(&b, "{\"version\":1,\"tensors\":[%s]}", entries[i]);
        pare_model *m = packed_gap();
        pare_model_meta_set(m, KEY, pare_sb_str(&b));
        assert_refused(m, PARE_EINVAL, "model.packed-damaged", NULL);
        pare_sb_free(&b);
    }
    pare_model *m = packed_gap();
    pare_model_meta_set(m, KEY, "{\"version\":2,\"tensors\":[]}");
    assert_refused(m, PARE_EUNSUPPORTED, "model.packed-version", NULL);
    m = packed_gap(); /* an index past the end is merely the end */
    pare_model_meta_set(m, KEY,
                        "{\"version\":1,\"tensors\":[{\"name\":\"layer0.weight\",\"index\":99999,\"dtype\":1,\"form\":"
                        "\"gap\"}]}");
    assert_int_equal(pare_model_unpack(m, NULL), PARE_OK);
    assert_int_equal(pare_model_graph(m, PARE_MAIN_GRAPH)->initializers.len, 1);
    pare_model_free(m);
}

static void test_bad_contents(void **state) {
    (void)state;
    pare_model *m = packed_gap();
    memset(part(m, "0/gap")->blob->data, 255, 100); /* past the end */
    assert_damaged(m);
    m = packed_gap();
    part(m, "0/gap")->blob->data[5] = 0; /* the same element twice */
    assert_damaged(m);

    m = packed_mask();
    part(m, "0/mask")->blob->data[10007 / 8] |= 0x80; /* a bit past the end */
    assert_damaged(m);
    m = packed_mask();
    part(m, "0/mask")->blob->data[0] ^= 1; /* one element more or fewer than values */
    assert_damaged(m);
    m = packed_mask();
    part(m, "table")->blob->data[100] ^= 1;
    assert_damaged(m);

    const int64_t more = 10008, minus = -1;
    m = packed_gap(); /* W has one dim: the shape of W and the length of ConstantOfShape are one constant */
    memcpy(part(m, "0/shape")->blob->data, &more, 8);
    assert_int_equal(pare_model_unpack(m, NULL), PARE_OK); /* consistent: a longer tensor */
    assert_int_equal(weight(m, 0)->count, 10008);
    pare_model_free(m);
    m = packed_gap();
    memcpy(part(m, "0/shape")->blob->data, &minus, 8);
    assert_damaged(m);
    m = packed_mask();
    memcpy(part(m, "0/shape")->blob->data, &more, 8); /* no Slice where 8 divides */
    assert_damaged(m);
}

static void test_bombs(void **state) {
    (void)state;
    static const int64_t sizes[] = {(int64_t)1 << 29, (int64_t)1 << 30, (int64_t)1 << 40, INT64_MAX, 0};
    for (size_t i = 1; i < sizeof sizes / sizeof *sizes; i++) {
        pare_model *m = packed(PARE_FLOAT, 10007, 1.0);
        memcpy(part(m, "0/shape")->blob->data, &sizes[i], 8);
        assert_damaged(m);
        m = packed_gap();
        memcpy(part(m, "0/shape")->blob->data, &sizes[i], 8);
        assert_damaged(m);
    }
    /* each within the limit for one tensor, all together not: a small file can't claim gigabytes many times over */
    static const double shares[] = {1, 1, 1, 1, 1};
    const int64_t n = 10007;
    pare_model *m = model_with(5, PARE_FLOAT, 1, &n, shares, 0);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 5);
    memcpy(part(m, "0/shape")->blob->data, &sizes[0], 8); /* 2 GiB; the five share the constant */
    assert_refused(m, PARE_EINVAL, "model.packed-damaged", "layer1.weight");
}

static void test_bad_structure(void **state) {
    (void)state;
    pare_model *m = packed_gap();
    pare_attr_set_int(m, by_op(m, "ScatterElements")->id, "axis", 1);
    assert_damaged(m);
    m = packed_gap();
    pare_attr_set_string(m, by_op(m, "ScatterElements")->id, "reduction", "add", 3);
    assert_damaged(m);
    m = packed_gap();
    pare_attr_set_int(m, by_op(m, "CumSum")->id, "exclusive", 1);
    assert_damaged(m);
    m = packed_gap();
    pare_attr_set_int(m, by_op(m, "Cast")->id, "to", PARE_DOUBLE);
    assert_damaged(m);
    m = packed_gap();
    by_op(m, "CumSum")->op_type = "CumProd";
    assert_damaged(m);
    m = packed_gap();
    by_op(m, "CumSum")->domain = "com.example";
    assert_damaged(m);
    m = packed_gap();
    pare_tensor_retype(m, part(m, "0/gap")->id, PARE_INT8, 1, (int64_t[]){10});
    memset(part(m, "0/gap")->blob->data, 1, 10);
    assert_damaged(m);
    m = packed_gap();
    pare_tensor_retype(m, part(m, "0/val")->id, PARE_FLOAT, 1, (int64_t[]){10});
    memset(part(m, "0/val")->blob->data, 1, 40);
    assert_damaged(m);
    m = packed_gap();
    pare_node_inputs_trim(m, by_op(m, "CumSum")->id, 1);
    assert_damaged(m);
    m = packed_gap(); /* somebody else uses an inner value */
    const char *outs[] = {"tap"};
    uint32_t in = by_op(m, "CumSum")->out[0];
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Relu", "", "", &in, 1, outs, 1);
    assert_damaged(m);
    m = packed_gap(); /* an inner value is an output of the graph */
    pare_graph_output_add(m, PARE_MAIN_GRAPH, by_op(m, "CumSum")->out[0]);
    pare_value_type_set(m, by_op(m, "CumSum")->out[0], PARE_FLOAT, -1, NULL);
    assert_damaged(m);
    m = packed_gap();
    uint32_t x = pare_graph_find(m, PARE_MAIN_GRAPH, "x"); /* rebuilt from the input of the graph */
    pare_node_input_set(m, by_op(m, "ScatterElements")->id, 2, x);
    assert_damaged(m);
    m = packed_mask();
    pare_node_input_set(m, by_op(m, "Mul")->id, 1, by_op(m, "CumSum")->out[0]);
    assert_damaged(m);
    m = packed(PARE_INT8, 40000, 0.95);
    const pare_attr *a = pare_node_attr(by_op(m, "ConstantOfShape"), "value");
    pare_model_tensor(m, a->ids[0])->blob->data[1] = 1; /* 256: no int8 */
    assert_damaged(m);
}

/* One tensor's last node poses as another's inner one: a bfloat16 of zeros casts what is an f32 tensor of its own. */
static void test_shared_node(void **state) {
    (void)state;
    const int64_t n = 10007;
    const double all = 1.0;
    pare_model *m = model_with(1, PARE_BFLOAT16, 1, &n, &all, 0);
    pare_model_opset_set(m, "", 17);
    add_weight(m, "layer1.weight", PARE_FLOAT, 1, &n, 1.0, 0);
    const char *outs[] = {"z"};
    uint32_t in = pare_graph_find(m, PARE_MAIN_GRAPH, "layer1.weight"), x = pare_graph_find(m, PARE_MAIN_GRAPH, "x");
    uint32_t relu = pare_node_add(m, PARE_MAIN_GRAPH, 0, "Relu", "", "", &in, 1, outs, 1);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(m, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 2);
    pare_node_input_set(m, by_op(m, "Cast")->id, 0, in);
    pare_model *twice = pare_model_clone(m);
    assert_refused(twice, PARE_EINVAL, "model.packed-damaged", "layer0.weight"); /* layer1 is used elsewhere */
    pare_node_input_set(m, relu, 0, x);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    assert_refused(m, PARE_EINVAL, "model.packed-damaged", NULL);
}

/* Tensors of one length scatter into one base, also where that is a tensor of its own. */
static void test_shared_base(void **state) {
    (void)state;
    static const double shares[] = {0.95, 0.95, 1.0};
    const int64_t n = 10007;
    pare_model *m = model_with(3, PARE_FLOAT, 1, &n, shares, 0), *k = pare_model_clone(m);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(k, NULL, &r), PARE_OK);
    assert_int_equal(count_op(k, "ConstantOfShape"), 2); /* the base, and the tensor of zeros */
    for (size_t i = 0; i < k->nodes.len; i++)
        if (k->nodes.data[i] && pare_node_is(k->nodes.data[i], "ScatterElements"))
            pare_node_input_set(k, (uint32_t)i + 1, 0, pare_graph_find(k, PARE_MAIN_GRAPH, "layer2.weight"));
    assert_int_equal(pare_model_check(k, NULL), PARE_OK);
    assert_int_equal(pare_model_unpack(k, NULL), PARE_OK);
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(weight(k, i)->blob->data, weight(m, i)->blob->data, weight(m, i)->blob->len);
    pare_model_free(k);
    round_trip(m, 3);
    pare_model_free(m);
}

/* W's consumers have gone: it still comes back. */
static void test_unused(void **state) {
    (void)state;
    pare_model *m = packed_gap();
    uint32_t x = pare_graph_find(m, PARE_MAIN_GRAPH, "x");
    pare_node_input_set(m, by_op(m, "Add")->id, 1, x);
    assert_int_equal(pare_model_unpack(m, NULL), PARE_OK);
    assert_non_null(weight(m, 0));
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    pare_model_free(m);
}

/* Another tool has folded the nodes but kept the metadata: nothing is left to do. */
static void test_folded_elsewhere(void **state) {
    (void)state;
    pare_model *m = packed_gap(), *plain = packed_gap();
    assert_int_equal(pare_model_unpack(plain, NULL), PARE_OK);
    pare_model_meta_set(plain, KEY, pare_model_meta(m, KEY));
    assert_int_equal(pare_model_unpack(plain, NULL), PARE_OK);
    assert_false(pare_model_is_packed(plain));
    assert_non_null(weight(plain, 0));
    pare_model_meta_set(plain, KEY,
                        "{\"version\":1,\"tensors\":[{\"name\":\"layer0.weight\",\"index\":7,\"dtype\":3,"
                        "\"form\":\"gap\"}]}");
    assert_refused(plain, PARE_EINVAL, "model.packed-damaged", "layer0.weight");
    pare_model_free(m);
}

static void test_clone_is_untouched(void **state) {
    (void)state;
    pare_model *m = one_weight(PARE_FLOAT16, 30000, 0.9), *k = pare_model_clone(m);
    pare_sb first = bytes_of(m);
    pare_pack_result r;
    assert_int_equal(pare_model_pack(k, NULL, &r), PARE_OK);
    assert_int_equal(r.tensors_packed, 1);
    assert_same_bytes(m, &first);
    assert_int_equal(weight(m, 0)->blob->refs, 1); /* the packed model holds none of the plain bytes */
    pare_sb_free(&first);
    pare_model_free(k);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes_and_shares),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_negative_zero_is_kept),
        cmocka_unit_test(test_zero_points),
        cmocka_unit_test(test_old_bfloat16),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_bad_metadata),
        cmocka_unit_test(test_bad_contents),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_bad_structure),
        cmocka_unit_test(test_shared_node),
        cmocka_unit_test(test_shared_base),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_folded_elsewhere),
        cmocka_unit_test(test_clone_is_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
