/* tests/data/test_labels.c - a label that no model of so many classes has: the file it stands in, and as which of its
 * samples, for every kind of set, whole and in part; and the files that a set comes from. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/make.h"
#include "model/weights.h"

#include <zip.h>

enum { N = 12, AT = 7 }; /* sample AT has label 5, all others i % 5 */

static int64_t label(int i) { return i == AT ? 5 : i % 5; }

/* ---- making them ---- */

static void make_idx(void) {
    unsigned char x[16 + N] = {0, 0, 8, 3, 0, 0, 0, N, 0, 0, 0, 1, 0, 0, 0, 1}, y[8 + N] = {0, 0, 8, 1, 0, 0, 0, N};
    for (int i = 0; i < N; i++) y[8 + i] = (unsigned char)label(i);
    write_bytes_to(in_tmp("i-images-idx3-ubyte"), x, sizeof x);
    write_gz(in_tmp("i-labels-idx1-ubyte.gz"), y, sizeof y);
}

static pare_array *samples(void) {
    pare_array *x = pare_array_new(PARE_FLOAT, 2, (int64_t[]){N, 1});
    for (int i = 0; i < N; i++) ((float *)pare_array_data_mut(x))[i] = (float)i;
    return x;
}

static pare_array *labels(void) {
    pare_array *y = pare_array_new(PARE_INT64, 1, (int64_t[]){N});
    for (int i = 0; i < N; i++) ((int64_t *)pare_array_data_mut(y))[i] = label(i);
    return y;
}

static void make_arrays(void) {
    pare_array *x = samples(), *y = labels();
    assert_int_equal(pare_npy_write(in_tmp("x.npy"), x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(in_tmp("y.npy"), y, NULL), PARE_OK);
    zip_t *zip = zip_open(in_tmp("both.npz"), ZIP_CREATE | ZIP_TRUNCATE, NULL);
    zip_file_add(zip, "images.npy", zip_source_file(zip, in_tmp("x.npy"), 0, 0), 0);
    zip_file_add(zip, "labels.npy", zip_source_file(zip, in_tmp("y.npy"), 0, 0), 0);
    assert_int_equal(zip_close(zip), 0);
    pare_weights w = {0};
    int64_t dims[2] = {N, 1}, n = N;
    pare_vec_push(&w.tensors, ((pare_named_tensor){"images", PARE_FLOAT, 2, dims, N, x->blob}));
    pare_vec_push(&w.tensors, ((pare_named_tensor){"labels", PARE_INT64, 1, &n, N, y->blob}));
    assert_int_equal(pare_weights_write(&w, in_tmp("both.safetensors"), NULL), PARE_OK);
    pare_vec_free(&w.tensors);
    pare_array_unref(x);
    pare_array_unref(y);
}

/* Five files of three records: the bad one is the second of the third. */
static void make_cifar(void) {
    static unsigned char ten[3][3073], hundred[N][3074];
    char name[32];
    make_dir(in_tmp("ten"));
    make_dir(in_tmp("hundred"));
    for (int f = 0; f < 5; f++) {
        for (int i = 0; i < 3; i++) ten[i][0] = (unsigned char)label(3 * f + i);
        snprintf(name, sizeof name, "ten/data_batch_%d.bin", f + 1);
        write_bytes_to(in_tmp(name), ten, sizeof ten);
    }
    for (int i = 0; i < N; i++) hundred[i][1] = (unsigned char)label(i);
    write_bytes_to(in_tmp("hundred/train.bin"), hundred, sizeof hundred);
}

static void make_images(void) {
    FILE *f = fopen(in_tmp("list.txt"), "w");
    assert_non_null(f);
    for (int i = 0; i < N; i++) {
        char name[64];
        snprintf(name, sizeof name, "classes/%d", (int)label(i));
        make_dir(in_tmp(name));
        snprintf(name, sizeof name, "classes/%d/image%02d.png", (int)label(i), i);
        write_png(in_tmp(name), 1, 1, 8, PNG_COLOR_TYPE_GRAY, 0, (unsigned char[]){0});
        fprintf(f, "%s %d\n", name, (int)label(i));
    }
    assert_int_equal(fclose(f), 0);
}

/* ---- tests ---- */

static const struct kind {
    pare_data_source source; /* path and labels below the test's folder */
    const char *file;
    uint64_t at, files, images;
} kinds[] = {
    {{.kind = PARE_DATA_IDX, .path = "i"}, "i-labels-idx1-ubyte.gz", AT, 2, 0},
    {{.kind = PARE_DATA_NPY, .path = "x.npy", .labels = "y.npy"}, "y.npy", AT, 2, 0},
    {{.kind = PARE_DATA_NPY, .path = "both.npz"}, "both.npz", AT, 1, 0},
    {{.kind = PARE_DATA_SAFETENSORS, .path = "both.safetensors"}, "both.safetensors", AT, 1, 0},
    {{.kind = PARE_DATA_CIFAR10, .path = "ten"}, "ten/data_batch_3.bin", 1, 5, 0},
    {{.kind = PARE_DATA_CIFAR100, .path = "hundred"}, "hundred/train.bin", AT, 1, 0},
    {{.kind = PARE_DATA_LIST, .path = "list.txt"}, "classes/5/image07.png", AT, 1 + N, N},
    {{.kind = PARE_DATA_FOLDER, .path = "classes"}, "classes/5/image07.png", N - 1, N, N},
};

/* Says which file and sample, on one line. */
static void names_it(const pare_diags *d, const struct kind *k) {
    char want[120];
    assert_int_equal(pare_diags_errors(d), 1);
    const pare_diag_item *it = pare_diags_get(d, 0);
    snprintf(want, sizeof want, "the label of sample %d is 5; 0 to 4 are allowed", (int)k->at);
    assert_string_equal(it->code, "data.label-range");
    assert_string_equal(it->message, want);
    if (!it->path || strcmp(it->path, in_tmp(k->file)) != 0) fail_msg("%s, not %s", it->path, k->file);
}

static void the_file_and_the_sample_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct kind *k = &kinds[i];
        pare_data_source src = k->source;
        src.path = in_tmp(src.path);
        if (src.labels) src.labels = in_tmp(src.labels);
        src.name = "train"; /* the set's name is no file's */
        pare_data *set = open_good(&src, NULL), *part = NULL;
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        assert_int_equal(pare_data_check_labels(set, 6, d), PARE_OK);
        assert_int_equal(pare_data_check_labels(set, 5, d), PARE_EINVAL);
        names_it(d, k);
        pare_diags_free(d);
        /* the same of a part of it, in another order */
        d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_data_source from = {.kind = PARE_DATA_FROM, .from = set, .take = pare_data_count(set) - 1, .seed = 1};
        for (; !part || !pare_data_check_labels(part, 5, NULL); from.seed++) { /* one that holds it */
            pare_data_free(part);
            part = open_good(&from, NULL);
        }
        assert_int_equal(pare_data_check_labels(part, 5, d), PARE_EINVAL);
        names_it(d, k);
        pare_diags_free(d);
        pare_data_free(part);
        /* and where the description of the set limits them */
        d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        src.classes = 5;
        pare_data *none = NULL;
        assert_int_equal(pare_data_open(&src, NULL, d, &none), PARE_EINVAL);
        names_it(d, k);
        pare_diags_free(d);
        pare_data_free(set);
    }
}

static void the_files_are_known(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        pare_data_source src = kinds[i].source;
        src.path = in_tmp(src.path);
        if (src.labels) src.labels = in_tmp(src.labels);
        pare_data *set = open_good(&src, NULL);
        assert_int_equal(pare_data_n_files(set), kinds[i].files);
        assert_int_equal(pare_data_n_images(set), kinds[i].images);
        for (uint64_t k = 0; k < kinds[i].files; k++)
            assert_int_equal(pare_path_what(pare_data_file(set, k)), PARE_PATH_FILE);
        pare_data_free(set);
    }
}

static int set_up(void **state) {
    int rc = tmpdir_make(state);
    if (rc) return rc;
    make_idx();
    make_arrays();
    make_cifar();
    make_images();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_and_the_sample_are_named),
        cmocka_unit_test(the_files_are_known),
    };
    return cmocka_run_group_tests(tests, set_up, tmpdir_remove);
}
