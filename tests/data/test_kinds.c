/* tests/data/test_kinds.c - every kind of set: what is in it, in what order, and what is refused. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/make.h"
#include "model/weights.h"

static const pare_data_preprocess none = {0};

/* n images of h x w whose first byte is their number; labels i % 3. */
static void make_idx(const char *prefix, unsigned n, unsigned h, unsigned w, int gz, int wrong_count, int extra) {
    size_t size = 16 + (size_t)n * h * w + 1;
    unsigned char *p = calloc(1, size), label[8 + 256] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)n};
    memcpy(p,
           (unsigned char[]){0, 0, 8, 3, 0, 0, 0, (unsigned char)(n + (unsigned)wrong_count), 0, 0, 0, (unsigned char)h,
                             0, 0, 0, (unsigned char)w},
           16);
    for (unsigned i = 0; i < n; i++) {
        p[16 + i * h * w] = (unsigned char)i;
        label[8 + i] = (unsigned char)(i % 3);
    }
    char path[4400];
    size_t len = (size_t)((int)size - 1 + extra);
    snprintf(path, sizeof path, "%s-images-idx3-ubyte%s", prefix, gz ? ".gz" : "");
    gz ? write_gz(path, p, len) : write_bytes_to(path, p, len);
    snprintf(path, sizeof path, "%s-labels-idx1-ubyte%s", prefix, gz ? ".gz" : "");
    gz ? write_gz(path, label, 8 + n) : write_bytes_to(path, label, 8 + n);
    free(p);
}

static void idx(void **state) {
    (void)state;
    for (int gz = 0; gz < 2; gz++) {
        const char *prefix = in_tmp(gz ? "zipped" : "plain");
        make_idx(prefix, 7, 4, 5, gz, 0, 0);
        pare_data_source src = {.kind = PARE_DATA_IDX, .path = prefix};
        pare_data *set = open_good(&src, NULL);
        assert_int_equal(pare_data_count(set), 7);
        assert_int_equal(pare_data_classes(set), 3);
        assert_null(pare_data_class_name(set, 0));
        pare_reader *r = reader_good(set, &none, NULL, 3);
        uint32_t dtype, ndim;
        int64_t dims[PARE_ARRAY_DIMS];
        pare_reader_shape(r, &dtype, &ndim, dims);
        assert_int_equal(ndim, 3);
        uint64_t seen = 0;
        for (;;) {
            pare_batch b = next_good(r);
            if (!b.n) break;
            assert_int_equal(b.images->ndim, 4);
            assert_int_equal(b.images->dims[0], b.n);
            assert_int_equal(b.images->dims[1], 1);
            assert_int_equal(b.images->dims[2], 4);
            assert_int_equal(b.images->dims[3], 5);
            const float *x = pare_array_data(b.images);
            const int64_t *y = pare_array_data(b.labels);
            for (uint64_t i = 0; i < b.n; i++, seen++) {
                assert_true(x[i * 20] == (float)seen / 255.0f);
                assert_int_equal(y[i], seen % 3);
                assert_int_equal(b.samples[i], seen);
            }
            pare_batch_free(&b);
        }
        assert_int_equal(seen, 7);
        pare_reader_close(r);
        pare_data_free(set);
    }
}

static void idx_bad(void **state) {
    (void)state;
    pare_data_source src = {.kind = PARE_DATA_IDX, .path = in_tmp("bad")};
    open_bad(&src, PARE_ENOTFOUND, "data.missing", "bad");
    for (int gz = 0; gz < 2; gz++) {
        const char *prefix = in_tmp(gz ? "liez" : "lie");
        src.path = prefix;
        make_idx(prefix, 7, 4, 5, gz, 1, 0); /* promises more */
        open_bad(&src, PARE_EINVAL, "data.idx-size", "images");
        make_idx(prefix, 7, 4, 5, gz, -1, 0); /* promises less */
        open_bad(&src, PARE_EINVAL, "data.idx-size", "images");
        make_idx(prefix, 7, 4, 5, gz, 0, 1);
        open_bad(&src, PARE_EINVAL, "data.idx-size", "images");
        make_idx(prefix, 7, 4, 5, gz, 0, -150); /* within the header */
        open_bad(&src, PARE_EINVAL, "data.idx", "images");
    }
    /* sizes whose product overflows; a gzip bomb's promise; another number of labels */
    const char *prefix = in_tmp("o");
    src.path = prefix;
    make_idx(prefix, 7, 4, 5, 0, 0, 0);
    char path[4400];
    snprintf(path, sizeof path, "%s-images-idx3-ubyte", prefix);
    write_bytes_to(path, "\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    open_bad(&src, PARE_EINVAL, "data.idx-size", "images");
    write_bytes_to(path, "\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x05", 17);
    open_bad(&src, PARE_EINVAL, "data.labels", "7 labels for 1 images");
    write_bytes_to(path, "\0\0\x0d\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x05", 17);
    open_bad(&src, PARE_EINVAL, "data.idx", "00000d03");
    pare_file_remove(path);
    snprintf(path, sizeof path, "%s-images-idx3-ubyte.gz", prefix);
    write_gz(path, "\0\0\x08\x03\0\0\xff\xff\0\0\xff\xff\0\0\xff\xff", 16);
    open_bad(&src, PARE_EINVAL, "data.idx-size", "images");
    write_bytes_to(path, "\x1f\x8b\x08 nonsense", 12);
    open_bad(&src, PARE_EINVAL, "data.idx", "images");
}

static void fashion(void **state) {
    (void)state;
    pare_data_source src = {
        .kind = PARE_DATA_IDX, .path = "/usr/share/datasets/fashion-mnist/t10k", .take = 100, .seed = 7};
    if (pare_path_what("/usr/share/datasets/fashion-mnist") != PARE_PATH_DIR) skip();
    pare_data *set = open_good(&src, NULL);
    assert_int_equal(pare_data_classes(set), 10);
    unsigned each[10] = {0};
    for (uint64_t i = 0; i < 100; i++) each[pare_data_label(set, i)]++;
    for (int c = 0; c < 10; c++) assert_int_equal(each[c], 10); /* the test set has 1000 of each */
    pare_data_free(set);
}

static void cifar(void **state) {
    (void)state;
    enum { N = 3 };
    static unsigned char ten[N][3073], hundred[N][3074];
    for (int i = 0; i < N; i++) {
        ten[i][0] = (unsigned char)(9 - i);
        hundred[i][0] = 99;
        hundred[i][1] = (unsigned char)(97 + i);
        for (int k = 0; k < 3072; k++) ten[i][1 + k] = hundred[i][2 + k] = (unsigned char)(i + k / 1024 * 50);
    }
    make_dir(in_tmp("c10"));
    make_dir(in_tmp("c100"));
    for (int i = 1; i <= 5; i++) {
        char name[40];
        snprintf(name, sizeof name, "c10/data_batch_%d.bin", i);
        ten[0][1] = (unsigned char)(100 + i);
        write_bytes_to(in_tmp(name), ten, sizeof ten);
    }
    put_file(in_tmp("c10/batches.meta.txt"), "airplane\nb\nc\nd\ne\nf\ng\nh\ni\ntruck\n\n");
    write_bytes_to(in_tmp("c100/test.bin"), hundred, sizeof hundred);

    pare_data_source src = {.kind = PARE_DATA_CIFAR10, .path = in_tmp("c10")};
    pare_data *set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 15);
    assert_int_equal(pare_data_classes(set), 10);
    assert_string_equal(pare_data_class_name(set, 9), "truck");
    pare_reader *r = reader_good(set, &none, NULL, 15);
    pare_batch b = next_good(r);
    const float *x = pare_array_data(b.images);
    for (int i = 0; i < 15; i++) {
        assert_true(x[i * 3072] * 255 == (i % 3 ? (float)(i % 3) : (float)(101 + i / 3)));
        assert_true(x[i * 3072 + 2048] * 255 == (float)(i % 3 + 100));
        assert_int_equal(((const int64_t *)pare_array_data(b.labels))[i], 9 - i % 3);
    }
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);

    src = (pare_data_source){.kind = PARE_DATA_CIFAR100, .path = in_tmp("c100"), .part = "test"};
    set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 3);
    assert_int_equal(pare_data_label(set, 2), 99);
    pare_data_free(set);
    src.part = "validation";
    open_bad(&src, PARE_EINVAL, "data.part", "validation");
    src.part = "train";
    open_bad(&src, PARE_ENOTFOUND, "file.missing", "train.bin");

    src = (pare_data_source){.kind = PARE_DATA_CIFAR10, .path = in_tmp("c100/test.bin")};
    open_bad(&src, PARE_EINVAL, "data.cifar", "test.bin");
    ten[1][0] = 10;
    write_bytes_to(in_tmp("one.bin"), ten, sizeof ten);
    src.path = in_tmp("one.bin");
    open_bad(&src, PARE_EINVAL, "data.label-range", "record 1 has label 10");
}

static void dot(const char *name, unsigned char v) {
    write_png(in_tmp(name), 2, 1, 8, PNG_COLOR_TYPE_GRAY, 0, (unsigned char[]){v, 0});
}

static void folders(void **state) {
    (void)state;
    static const char *const dirs[] = {"f/cat", "f/Zebra/deep", "f/ant", NULL};
    for (int i = 0; dirs[i]; i++) make_dir(in_tmp(dirs[i]));
    dot("f/cat/2.png", 1);
    dot("f/cat/10.PNG", 2);
    dot("f/Zebra/z.png", 3);
    dot("f/Zebra/deep/a.png", 4);
    dot("f/ant/x.png", 5);
    put_file(in_tmp("f/ant/notes.txt"), "no image");
    put_file(in_tmp("f/readme"), "no class");
    pare_data_source src = {.kind = PARE_DATA_FOLDER, .path = in_tmp("f")};
    pare_data *set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 5);
    assert_int_equal(pare_data_classes(set), 3);
    assert_string_equal(pare_data_class_name(set, 0), "Zebra"); /* byte order */
    assert_string_equal(pare_data_class_name(set, 1), "ant");
    assert_string_equal(pare_data_class_name(set, 2), "cat");
    assert_null(pare_data_class_name(set, 3));
    pare_data_preprocess pre = {.channels = 1};
    pare_reader *r = reader_good(set, &pre, NULL, 8);
    pare_batch b = next_good(r);
    static const int want[] = {3, 4, 5, 2, 1}, labels[] = {0, 0, 1, 2, 2};
    for (int i = 0; i < 5; i++) {
        assert_true(((const float *)pare_array_data(b.images))[i * 2] == (float)want[i] / 255.0f);
        assert_int_equal(((const int64_t *)pare_array_data(b.labels))[i], labels[i]);
    }
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);

    src.classes = 2;
    open_bad(&src, PARE_EINVAL, "data.label-range", "cat");
    src.classes = 0;
    make_dir(in_tmp("f/empty"));
    open_bad(&src, PARE_EINVAL, "data.empty-class", "empty");
    put_file(in_tmp("f/empty/x.webp"), "RIFF");
    open_bad(&src, PARE_EUNSUPPORTED, "image.format", "x.webp");
    src.path = in_tmp("f/cat");
    open_bad(&src, PARE_EINVAL, "data.no-classes", "cat");
    src.path = in_tmp("nowhere");
    open_bad(&src, PARE_ENOTFOUND, "data.missing", "nowhere");

    src = (pare_data_source){.kind = PARE_DATA_FLAT, .path = in_tmp("f/cat")};
    set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 2);
    assert_false(pare_data_labelled(set));
    assert_int_equal(pare_data_label(set, 0), -1);
    assert_non_null(strstr(pare_data_path(set, 0), "10.PNG"));
    pare_data_free(set);
    make_dir(in_tmp("void"));
    src.path = in_tmp("void");
    open_bad(&src, PARE_EINVAL, "data.empty", "void");
}

/* The names alone, without samples. */
static void class_names(void **state) {
    (void)state;
    make_dir(in_tmp("names/b"));
    make_dir(in_tmp("names/A"));
    put_file(in_tmp("names/file"), "no class");
    pare_data_source src = {.kind = PARE_DATA_FOLDER, .path = in_tmp("names")};
    uint32_t n;
    char **names = pare_data_source_classes(&src, &n);
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "A");
    assert_string_equal(names[1], "b");
    for (uint32_t i = 0; i < n; i++) free(names[i]);
    free(names);
    src.path = in_tmp("names/nowhere");
    assert_null(pare_data_source_classes(&src, &n));
    assert_int_equal(n, 0);
    make_dir(in_tmp("names10"));
    put_file(in_tmp("names10/batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    src = (pare_data_source){.kind = PARE_DATA_CIFAR10, .path = in_tmp("names10")};
    names = pare_data_source_classes(&src, &n);
    assert_int_equal(n, 10);
    assert_string_equal(names[9], "j");
    for (uint32_t i = 0; i < n; i++) free(names[i]);
    free(names);
    src.kind = PARE_DATA_IDX;
    assert_null(pare_data_source_classes(&src, &n));
}

static void lists(void **state) {
    (void)state;
    make_dir(in_tmp("l"));
    dot("l/a b.png", 1);
    dot("l/c.png", 2);
    put_file(in_tmp("l/list.txt"), "# images\na b.png 4\r\n\nc.png\t 0\n");
    pare_data_source src = {.kind = PARE_DATA_LIST, .path = in_tmp("l/list.txt")};
    pare_data *set = open_good(&src, NULL);
    assert_int_equal(pare_data_count(set), 2);
    assert_int_equal(pare_data_classes(set), 5);
    assert_int_equal(pare_data_label(set, 0), 4);
    assert_int_equal(pare_data_label(set, 1), 0);
    pare_data_free(set);
    src.classes = 4;
    open_bad(&src, PARE_EINVAL, "data.label-range", "is 4; 0 to 3");
    src.classes = 0;
    put_file(in_tmp("l/list.txt"), "a b.png\nc.png");
    set = open_good(&src, NULL);
    assert_false(pare_data_labelled(set));
    pare_data_free(set);
    put_file(in_tmp("l/list.txt"), "a b.png 1\nc.png");
    open_bad(&src, PARE_EINVAL, "data.list", "no label");
    put_file(in_tmp("l/list.txt"), "a b.png -1\n");
    open_bad(&src, PARE_EINVAL, "data.label-range", "-1");
    put_file(in_tmp("l/list.txt"), "gone.png 1\n");
    open_bad(&src, PARE_ENOTFOUND, "data.missing", "no such image");
    put_file(in_tmp("l/list.txt"), "# nothing\n");
    open_bad(&src, PARE_EINVAL, "data.empty", "no image");
}

static pare_array *array(uint32_t dtype, size_t ndim, const int64_t *dims, const void *bytes) {
    pare_array *a = pare_array_new(dtype, ndim, dims);
    assert_non_null(a);
    if (bytes) memcpy(pare_array_data_mut(a), bytes, a->nbytes);
    return a;
}

static void put_npy(const char *name, uint32_t dtype, size_t ndim, const int64_t *dims, const void *bytes) {
    pare_array *a = array(dtype, ndim, dims, bytes);
    assert_int_equal(pare_npy_write(in_tmp(name), a, NULL), PARE_OK);
    pare_array_unref(a);
}

static void arrays(void **state) {
    (void)state;
    /* tokens stay int64 */
    put_npy("t.npy", PARE_INT64, 2, (int64_t[]){3, 2}, (int64_t[]){1, 2, 3, 4, 5, 6});
    put_npy("y.npy", PARE_INT32, 1, (int64_t[]){3}, (int32_t[]){0, 2, 1});
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = in_tmp("t.npy"), .labels = in_tmp("y.npy")};
    pare_data *set = open_good(&src, NULL);
    pare_reader *r = reader_good(set, &none, NULL, 2);
    pare_batch b = next_good(r);
    assert_int_equal(b.images->dtype, PARE_INT64);
    assert_memory_equal(pare_array_data(b.images), ((int64_t[]){1, 2, 3, 4}), 32);
    assert_memory_equal(pare_array_data(b.labels), ((int64_t[]){0, 2}), 16);
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);

    put_npy("y2.npy", PARE_INT32, 1, (int64_t[]){2}, (int32_t[]){0, 2});
    src.labels = in_tmp("y2.npy");
    open_bad(&src, PARE_EINVAL, "data.labels", "2 labels for 3 samples");
    put_npy("y3.npy", PARE_FLOAT, 1, (int64_t[]){3}, (float[]){0, 2, 1});
    src.labels = in_tmp("y3.npy");
    open_bad(&src, PARE_EINVAL, "data.labels", "float32");
    put_npy("y4.npy", PARE_INT64, 1, (int64_t[]){3}, (int64_t[]){0, -5, 1});
    src.labels = in_tmp("y4.npy");
    open_bad(&src, PARE_EINVAL, "data.label-range", "sample 1 is -5");
    put_npy("y5.npy", PARE_UINT64, 1, (int64_t[]){3}, (uint64_t[]){0, 1, UINT64_MAX});
    src.labels = in_tmp("y5.npy");
    open_bad(&src, PARE_EINVAL, "data.label-range", "sample 2 is");
    src.labels = in_tmp("y.npy");
    src.classes = 2;
    open_bad(&src, PARE_EINVAL, "data.label-range", "sample 1 is 2; 0 to 1");
    src.classes = 0;
    put_npy("y6.npy", PARE_BOOL, 2, (int64_t[]){3, 1}, "\0\1\1");
    src.labels = in_tmp("y6.npy");
    set = open_good(&src, NULL);
    assert_int_equal(pare_data_label(set, 2), 1);
    pare_data_free(set);
    static const char object[] = "\x93NUMPY\1\0\x36\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
    write_bytes_to(in_tmp("o.npy"), object, sizeof object - 1);
    src.labels = in_tmp("o.npy");
    open_bad(&src, PARE_EUNSUPPORTED, "npy.dtype", "o.npy");
    put_npy("s.npy", PARE_FLOAT, 0, NULL, (float[]){1});
    src = (pare_data_source){.kind = PARE_DATA_NPY, .path = in_tmp("s.npy")};
    open_bad(&src, PARE_EINVAL, "data.dims", "single number");
    put_npy("n.npy", PARE_FLOAT, 2, (int64_t[]){0, 3}, NULL);
    src.path = in_tmp("n.npy");
    open_bad(&src, PARE_EINVAL, "data.empty", "no samples");
    put_npy("z.npy", PARE_FLOAT, 2, (int64_t[]){3, 0}, NULL);
    src.path = in_tmp("z.npy");
    open_bad(&src, PARE_EINVAL, "data.dims", "nothing");
}

static void tensors(void **state) {
    (void)state;
    int64_t dims[4] = {2, 3, 1, 2}, n = 2;
    pare_weights w = {0};
    pare_blob *x = pare_blob_new(48), *y = pare_blob_new(16);
    for (int i = 0; i < 12; i++) memcpy(x->data + i * 4, &(float){(float)i}, 4);
    memcpy(y->data, (int64_t[]){1, 0}, 16);
    pare_vec_push(&w.tensors, ((pare_named_tensor){"images", PARE_FLOAT, 4, dims, 12, x}));
    pare_vec_push(&w.tensors, ((pare_named_tensor){"labels", PARE_INT64, 1, &n, 2, y}));
    assert_int_equal(pare_weights_write(&w, in_tmp("d.safetensors"), NULL), PARE_OK);
    pare_vec_free(&w.tensors);
    pare_blob_unref(x);
    pare_blob_unref(y);

    pare_data_source src = {.kind = PARE_DATA_SAFETENSORS, .path = in_tmp("d.safetensors")};
    pare_data *set = open_good(&src, NULL);
    assert_int_equal(pare_data_label(set, 0), 1);
    /* floats are not scaled; mean and std a channel; to NHWC for a model that wants it */
    pare_data_preprocess pre = {.n_mean = 3, .mean = {0, 1, 2}, .n_std = 1, .std = {2}};
    pare_data_target nhwc = {PARE_FLOAT, 4, {-1, 1, 2, 3}};
    pre.layout = PARE_DATA_LAYOUT_NHWC;
    pare_reader *r = reader_good(set, &pre, &nhwc, 2);
    pare_batch b = next_good(r);
    assert_memory_equal(pare_array_data(b.images), ((float[]){0, .5f, 1, .5f, 1, 1.5f, 3, 3.5f, 4, 3.5f, 4, 4.5f}), 48);
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);
    src.images = "pixels";
    open_bad(&src, PARE_ENOTFOUND, "data.tensor", "pixels");
    src.images = NULL;
    src.labels = "targets";
    open_bad(&src, PARE_ENOTFOUND, "data.tensor", "targets");
}

static void randoms(void **state) {
    (void)state;
    pare_data_target t = {PARE_FLOAT, 4, {-1, 3, 5, 5}};
    pare_data_source src = {.kind = PARE_DATA_RANDOM, .count = 10, .seed = 3, .classes = 4};
    pare_data *set = open_good(&src, &t);
    float all[10 * 75];
    for (uint32_t batch = 10; batch > 2; batch -= 3) { /* the same whatever the batch */
        pare_reader *r = reader_good(set, &none, &t, batch);
        uint64_t at = 0;
        for (;;) {
            pare_batch b = next_good(r);
            if (!b.n) break;
            if (batch == 10)
                memcpy(all, pare_array_data(b.images), sizeof all);
            else
                assert_memory_equal(pare_array_data(b.images), all + at * 75, b.n * 300);
            at += b.n;
            pare_batch_free(&b);
        }
        assert_int_equal(at, 10);
        pare_reader_close(r);
    }
    assert_true(memcmp(all, all + 75, 300) != 0);
    assert_true(pare_data_classes(set) <= 4);
    pare_data_free(set);
    open_bad(&src, PARE_EINVAL, "data.random", "there is none");
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    t.dims[2] = -1;
    assert_int_equal(pare_data_open(&src, &t, d, &set), PARE_EINVAL);
    told(d, "data.random", "dimension 2 is not fixed");
    pare_diags_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx),     cmocka_unit_test(idx_bad), cmocka_unit_test(fashion),     cmocka_unit_test(cifar),
        cmocka_unit_test(folders), cmocka_unit_test(lists),   cmocka_unit_test(class_names), cmocka_unit_test(arrays),
        cmocka_unit_test(tensors), cmocka_unit_test(randoms),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
