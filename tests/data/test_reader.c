/* tests/data/test_reader.c - which samples come, in what order and shape; what can't fit a model; images that are
 * broken. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/make.h"

static const pare_data_preprocess none = {0};

/* 90 samples of one number each, their own; labels: 60 of 0, then 20 of 1, then 10 of 2. */
static void make_numbers(void) {
    pare_array *x = pare_array_new(PARE_FLOAT, 2, (int64_t[]){90, 1}),
               *y = pare_array_new(PARE_INT64, 1, (int64_t[]){90});
    for (int i = 0; i < 90; i++) {
        ((float *)pare_array_data_mut(x))[i] = (float)i;
        ((int64_t *)pare_array_data_mut(y))[i] = i < 60 ? 0 : i < 80 ? 1 : 2;
    }
    assert_int_equal(pare_npy_write(in_tmp("x.npy"), x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(in_tmp("y.npy"), y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
}

static pare_data_source numbers(void) {
    make_numbers();
    return (pare_data_source){.kind = PARE_DATA_NPY, .path = in_tmp("x.npy"), .labels = in_tmp("y.npy"), .seed = 5};
}

/* Reads it through; the numbers in order. */
static uint64_t read_all(const pare_data *set, const pare_reader_opts *o, float *to) {
    pare_reader *r;
    uint64_t n = 0;
    assert_int_equal(pare_reader_open(set, &none, NULL, o, NULL, &r), PARE_OK);
    for (;;) {
        pare_batch b = next_good(r);
        if (!b.n) break;
        assert_true(b.n <= o->batch);
        memcpy(to + n, pare_array_data(b.images), b.n * sizeof *to);
        for (uint64_t i = 0; i < b.n; i++)
            assert_int_equal(((const int64_t *)pare_array_data(b.labels))[i], to[n + i] < 60   ? 0
                                                                              : to[n + i] < 80 ? 1
                                                                                               : 2);
        n += b.n;
        pare_batch_free(&b);
    }
    pare_batch b = next_good(r); /* stays at the end */
    assert_int_equal(b.n, 0);
    pare_reader_close(r);
    return n;
}

static void take(void **state) {
    (void)state;
    pare_data_source src = numbers();
    src.take = 18;
    pare_data *set = open_good(&src, NULL);
    float x[90], again[90];
    pare_reader_opts o = {.batch = 7, .threads = 2};
    assert_int_equal(read_all(set, &o, x), 18);
    unsigned each[3] = {0}, sorted = 0;
    for (int i = 0; i < 18; i++) {
        each[pare_data_label(set, (uint64_t)i)]++;
        sorted += i && x[i] > x[i - 1];
        for (int k = 0; k < i; k++) assert_true(x[i] != x[k]);
    }
    assert_int_equal(each[0], 12); /* in proportion */
    assert_int_equal(each[1], 4);
    assert_int_equal(each[2], 2);
    assert_true(sorted < 17); /* the first batch is not all of one class */
    pare_data_free(set);

    set = open_good(&src, NULL); /* the same seed, the same samples */
    read_all(set, &o, again);
    assert_memory_equal(x, again, 18 * sizeof *x);
    pare_data_free(set);
    src.seed = 6;
    set = open_good(&src, NULL);
    read_all(set, &o, again);
    assert_memory_not_equal(x, again, 18 * sizeof *x);
    pare_data_free(set);

    src.take = 2; /* fewer than classes */
    set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 2);
    pare_data_free(set);
    src.take = 91;
    open_bad(&src, PARE_EINVAL, "data.take", "91");
}

static void split(void **state) {
    (void)state;
    pare_data_source src = numbers();
    pare_data *all = open_good(&src, NULL);
    pare_data_source a = {.kind = PARE_DATA_FROM, .from = all, .split_from = 0, .split_to = 0.8, .seed = 1}, b = a;
    b.split_from = 0.8;
    b.split_to = 1;
    pare_data *train = open_good(&a, NULL), *val = open_good(&b, NULL);
    assert_int_equal(pare_data_count(train), 72);
    assert_int_equal(pare_data_count(val), 18);
    float x[90], y[90];
    pare_reader_opts o = {.batch = 16, .threads = 2};
    read_all(train, &o, x);
    read_all(val, &o, y);
    unsigned each[3] = {0};
    for (uint64_t i = 0; i < 18; i++) {
        each[pare_data_label(val, i)]++;
        for (int k = 0; k < 72; k++) assert_true(y[i] != x[k]);
        if (i) assert_true(y[i] > y[i - 1]); /* the set's order is kept */
    }
    assert_int_equal(each[0], 12);
    assert_int_equal(each[1], 4);
    assert_int_equal(each[2], 2);
    /* from a part: its samples, and no others; the first set may go before it */
    pare_data_source c = {.kind = PARE_DATA_FROM, .from = val, .take = 9, .seed = 1};
    pare_data *few = open_good(&c, NULL);
    pare_data_free(all);
    pare_data_free(train);
    pare_data_free(val);
    float z[90];
    assert_int_equal(read_all(few, &o, z), 9);
    for (int i = 0; i < 9; i++) {
        int found = 0;
        for (int k = 0; k < 18; k++) found += y[k] == z[i];
        assert_int_equal(found, 1);
    }
    pare_data_free(few);
    src.split_from = 0.5;
    src.split_to = 0.4;
    open_bad(&src, PARE_EINVAL, "data.split", "0.5");
    src.split_to = 1.5;
    open_bad(&src, PARE_EINVAL, "data.split", "1.5");
    src.split_from = 0;
    src.split_to = 0.001; /* nothing of any class */
    open_bad(&src, PARE_EINVAL, "data.empty", "no samples");
}

static void shuffle(void **state) {
    (void)state;
    pare_data_source src = numbers();
    src.shuffle = true;
    pare_data *set = open_good(&src, NULL);
    float x[90], y[90];
    pare_reader_opts o = {.batch = 8, .threads = 1, .epoch = 3};
    assert_int_equal(read_all(set, &o, x), 90);
    char seen[90] = {0};
    for (int i = 0; i < 90; i++) seen[(int)x[i]]++;
    for (int i = 0; i < 90; i++) assert_int_equal(seen[i], 1);
    for (uint32_t threads = 2; threads < 9; threads += 3) { /* neither threads, queue nor batch change the order */
        pare_reader_opts p = {.batch = 5 + threads, .threads = threads, .epoch = 3, .ahead = threads};
        assert_int_equal(read_all(set, &p, y), 90);
        assert_memory_equal(x, y, sizeof x);
    }
    o.epoch = 4;
    read_all(set, &o, y);
    assert_memory_not_equal(x, y, sizeof x);
    o.drop_last = true;
    assert_int_equal(read_all(set, &o, y), 88);
    pare_data_free(set);
}

static void dot(const char *name, uint32_t w, uint32_t h, unsigned char v) {
    unsigned char px[64 * 64];
    memset(px, v, sizeof px);
    write_png(in_tmp(name), w, h, 8, PNG_COLOR_TYPE_GRAY, 0, px);
}

static void broken(void **state) {
    (void)state;
    make_dir(in_tmp("b/a"));
    make_dir(in_tmp("b/b"));
    char name[40];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "b/%c/%02d.png", i < 10 ? 'a' : 'b', i);
        if (i == 3 || i == 8 || (i >= 12 && i < 16))
            put_file(in_tmp(name), "\x89PNG\r\n\x1a\nnot an image");
        else
            dot(name, 2, 2, (unsigned char)i);
    }
    pare_data_source src = {.kind = PARE_DATA_FOLDER, .path = in_tmp("b")};
    pare_data_preprocess pre = {.channels = 1};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_data *set = open_good(&src, NULL);
    pare_reader *r = reader_good(set, &pre, NULL, 4);
    pare_batch b;
    assert_int_equal(pare_reader_next(r, d, &b), PARE_EINVAL);
    assert_int_equal(b.n, 0);
    assert_int_equal(pare_diags_errors(d), 1);
    told(d, "image.corrupt", "b/a/03.png");
    assert_int_equal(pare_reader_next(r, d, &b), PARE_EINVAL); /* final */
    assert_int_equal(pare_diags_errors(d), 1);
    pare_reader_close(r);
    pare_data_free(set);
    pare_diags_free(d);

    src.on_error = PARE_ON_ERROR_SKIP;
    set = open_good(&src, NULL);
    for (uint32_t batch = 1; batch < 24; batch += 3) {
        d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        r = reader_good(set, &pre, NULL, batch);
        float got[20];
        int n = 0;
        for (;;) {
            assert_int_equal(pare_reader_next(r, d, &b), PARE_OK);
            if (!b.n) break;
            for (uint64_t i = 0; i < b.n; i++) {
                assert_int_equal(((const int64_t *)pare_array_data(b.labels))[i], b.samples[i] >= 10);
                got[n++] = ((const float *)pare_array_data(b.images))[i * 4];
                assert_true(got[n - 1] == (float)b.samples[i] / 255.0f);
            }
            pare_batch_free(&b);
        }
        assert_int_equal(n, 14);
        assert_int_equal(pare_reader_skipped(r), 6);
        assert_int_equal(pare_diags_errors(d), 0);
        assert_int_equal(pare_diags_count(d), 6);
        assert_non_null(strstr(pare_diags_get(d, 0)->path, "03.png"));
        assert_int_equal(pare_diags_get(d, 0)->severity, PARE_WARNING);
        pare_reader_close(r);
        pare_diags_free(d);
    }
    pare_data_free(set);
}

static void refuse(const pare_data *set, const pare_data_preprocess *pre, const pare_data_target *t, const char *code,
                   const char *part) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_reader *r = NULL;
    pare_batch b;
    pare_reader_opts o = {.batch = 2, .threads = 2};
    pare_status st = pare_reader_open(set, pre, t, &o, d, &r);
    if (st == PARE_OK) st = pare_reader_next(r, d, &b);
    assert_int_equal(st, PARE_EINVAL);
    told(d, code, part);
    pare_reader_close(r);
    pare_diags_free(d);
}

static void fits(void **state) {
    (void)state;
    make_dir(in_tmp("s"));
    dot("s/1.png", 6, 4, 10);
    dot("s/2.png", 4, 6, 20);
    pare_data_source src = {.kind = PARE_DATA_FLAT, .path = in_tmp("s")};
    pare_data *set = open_good(&src, NULL);
    pare_data_target nchw = {PARE_FLOAT, 4, {-1, 3, 4, 4}}, nhwc = {PARE_FLOAT, 4, {-1, 4, 4, 3}},
                     u8 = {PARE_UINT8, 4, {-1, 1, 4, 4}}, flat = {PARE_FLOAT, 2, {-1, 48}},
                     tokens = {PARE_INT64, 2, {-1, 48}}, wide = {PARE_FLOAT, 4, {-1, 64, 4, 4}},
                     open = {PARE_FLOAT, 4, {-1, 3, -1, -1}};
    pare_data_preprocess pre = {.resize = 4, .crop_height = 4, .crop_width = 4}, q;

    pare_reader *r = reader_good(set, &pre, &nchw, 2);
    pare_batch b = next_good(r);
    assert_memory_equal(b.images->dims, ((int64_t[]){2, 3, 4, 4}), 32);
    assert_true(((const float *)pare_array_data(b.images))[47] == 10 / 255.0f);
    assert_null(b.labels);
    pare_batch_free(&b);
    pare_reader_close(r);

    r = reader_good(set, &pre, &nhwc, 2); /* layout: auto finds the channels last */
    b = next_good(r);
    assert_memory_equal(b.images->dims, ((int64_t[]){2, 4, 4, 3}), 32);
    pare_batch_free(&b);
    pare_reader_close(r);

    r = reader_good(set, &pre, &flat, 2);
    b = next_good(r);
    assert_int_equal(b.images->ndim, 2);
    assert_int_equal(b.images->dims[1], 48);
    pare_batch_free(&b);
    pare_reader_close(r);

    r = reader_good(set, &pre, &u8, 2); /* pixels as they are */
    b = next_good(r);
    assert_int_equal(b.images->dtype, PARE_UINT8);
    assert_int_equal(((const unsigned char *)pare_array_data(b.images))[31], 20);
    pare_batch_free(&b);
    pare_reader_close(r);

    refuse(set, &none, &nchw, "data.image-size", "1.png");
    refuse(set, &none, &open, "data.image-size", "2.png"); /* as the first one is, or not at all */
    refuse(set, &none, NULL, "data.image-size", "4x6");
    refuse(set, &pre, &tokens, "data.dtype", "int64");
    refuse(set, &pre, &wide, "data.channels", "64");
    q = pre;
    q.crop_height = q.crop_width = 5;
    refuse(set, &q, &nchw, "data.image-size", "3x5x5");
    q = pre;
    q.n_mean = 2;
    refuse(set, &q, &nchw, "data.mean-std", "2 numbers");
    q = pre;
    q.n_std = 1;
    refuse(set, &q, &nchw, "data.mean-std", "std 0");
    refuse(set, &q, &u8, "data.dtype", "uint8");
    q = pre;
    q.channels = 1;
    refuse(set, &q, &nchw, "data.channels", "takes 3");
    q = pre;
    q.crop_width = 0;
    refuse(set, &q, &nchw, "data.resize", "together");
    assert_int_equal(pare_data_check_labels(set, 3, NULL), PARE_OK);
    pare_data_free(set);

    pare_data_source s2 = numbers();
    set = open_good(&s2, NULL);
    refuse(set, &pre, NULL, "data.resize", "8-bit");
    refuse(set, &none, &nchw, "data.shape", "samples are 1, and the model takes 3x4x4");
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_data_check_labels(set, 2, d), PARE_EINVAL);
    told(d, "data.label-range", "sample 80 is 2; 0 to 1");
    pare_reader_opts zero = {0};
    assert_int_equal(pare_reader_open(set, &none, NULL, &zero, d, &r), PARE_EINVAL);
    told(d, "data.batch", "0 samples");
    pare_diags_free(d);
    pare_data_free(set);
}

static void order_and_scale(void **state) {
    (void)state;
    write_png(in_tmp("p.png"), 1, 1, 8, PNG_COLOR_TYPE_RGB, 0, (const unsigned char *)"\x0a\x14\x1e");
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_array *a;
    pare_data_preprocess pre = {.scale = 1, .order = PARE_ORDER_BGR, .n_mean = 3, .mean = {1, 2, 3}};
    assert_int_equal(pare_data_image(in_tmp("p.png"), &pre, NULL, d, &a), PARE_OK);
    assert_memory_equal(pare_array_data(a), ((float[]){29, 18, 7}), 12); /* blue first; means are the tensor's */
    assert_int_equal(a->dims[0], 1);
    pare_array_unref(a);
    assert_int_equal(pare_data_image(in_tmp("p.png"), NULL, NULL, d, &a), PARE_OK);
    assert_memory_equal(pare_array_data(a), ((float[]){10 / 255.0f, 20 / 255.0f, 30 / 255.0f}), 12);
    pare_array_unref(a);
    pare_diags_free(d);
    d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_data_image(in_tmp("none.jpg"), NULL, NULL, d, &a), PARE_ENOTFOUND);
    assert_int_equal(pare_data_image(tmpdir_path, NULL, NULL, d, &a), PARE_EINVAL);
    pare_diags_free(d);
}

static void as_text(void **state) {
    (void)state;
    static const pare_data_preprocess some[] = {
        {0},
        {.resize = 256,
         .crop_height = 224,
         .crop_width = 200,
         .n_mean = 3,
         .mean = {0.485, 0.456, 0.1},
         .n_std = 1,
         .std = {0.1}},
        {.scale = 1.0 / 127,
         .resize_height = 3,
         .resize_width = 4,
         .channels = 1,
         .order = PARE_ORDER_BGR,
         .layout = PARE_DATA_LAYOUT_NHWC},
        {.layout = PARE_DATA_LAYOUT_NCHW},
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        pare_sb b = {0};
        pare_data_preprocess p;
        pare_data_preprocess_print(&some[i], &b);
        assert_int_equal(pare_data_preprocess_parse(b.data, "m.onnx", NULL, &p), PARE_OK);
        assert_memory_equal(&p, &some[i], sizeof p);
        if (i == 3) assert_string_equal(b.data, "{\"layout\":\"nchw\"}");
        pare_sb_free(&b);
    }
    static const struct {
        const char *text, *part;
    } bad[] = {{"", "JSON"},
               {"[1]", "JSON"},
               {"{\"mean\": []}", "mean"},
               {"{\"std\": [1, \"x\"]}", "std"},
               {"{\"resize\": 0}", "resize"},
               {"{\"crop\": [1, 2, 3]}", "crop"},
               {"{\"crop\": 70000}", "crop"},
               {"{\"order\": \"grb\"}", "order"},
               {"{\"layout\": \"chw\"}", "layout"},
               {"{\"scale\": \"1\"}", "scale"},
               {"{\"gamma\": 2}", "gamma"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_data_preprocess p;
        assert_int_equal(pare_data_preprocess_parse(bad[i].text, "m.onnx", d, &p), PARE_EINVAL);
        told(d, "data.preprocess", bad[i].part);
        pare_diags_free(d);
    }
}

static void ends_early(void **state) {
    (void)state;
    pare_data_source src = numbers();
    pare_data *set = open_good(&src, NULL);
    for (int k = 0; k < 30; k++) { /* closed at any moment */
        pare_reader *r = reader_good(set, &none, NULL, 4);
        for (int i = 0; i < k % 4; i++) {
            pare_batch b = next_good(r);
            pare_batch_free(&b);
        }
        pare_reader_close(r);
    }
    pare_reader *r = reader_good(set, &none, NULL, 4);
    pare_batch b;
    pare_cancel_request();
    assert_int_equal(pare_reader_next(r, NULL, &b), PARE_ECANCELLED);
    pare_cancel_reset();
    pare_reader_close(r);
    pare_data_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take),       cmocka_unit_test(split),   cmocka_unit_test(shuffle),
        cmocka_unit_test(broken),     cmocka_unit_test(fits),    cmocka_unit_test(order_and_scale),
        cmocka_unit_test(ends_early), cmocka_unit_test(as_text),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
