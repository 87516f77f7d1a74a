/* tests/data/test_draw.c - core/data/data.h: some of a set's samples by seed, readers of these alone, hashes, names. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/make.h"

/* n samples of 4 floats; labels i % classes; `change`: one number is another. */
static const char *numbers(const char *name, uint64_t n, int change) {
    const int64_t dims[] = {(int64_t)n, 4};
    pare_array *x = pare_array_new(PARE_FLOAT, 2, dims);
    for (uint64_t i = 0; i < x->count; i++) ((float *)pare_array_data_mut(x))[i] = (float)i;
    if (change) ((float *)pare_array_data_mut(x))[n * 4 - 1] = -1;
    const char *path = in_tmp(name);
    assert_int_equal(pare_npy_write(path, x, NULL), PARE_OK);
    pare_array_unref(x);
    return path;
}

static const char *labels(const char *name, uint64_t n, int64_t classes) {
    const int64_t dims[] = {(int64_t)n};
    pare_array *y = pare_array_new(PARE_INT64, 1, dims);
    for (uint64_t i = 0; i < n; i++) ((int64_t *)pare_array_data_mut(y))[i] = (int64_t)i * classes / (int64_t)n;
    const char *path = in_tmp(name);
    assert_int_equal(pare_npy_write(path, y, NULL), PARE_OK);
    pare_array_unref(y);
    return path;
}

static pare_data *set_of(const char *x, const char *y) {
    return open_good(&(pare_data_source){.kind = PARE_DATA_NPY, .name = "set", .path = x, .labels = y}, NULL);
}

static void draw(const pare_data *set, uint64_t n, uint64_t seed, uint64_t **p, uint64_t *count) {
    assert_int_equal(pare_data_draw(set, n, seed, NULL, p, count), PARE_OK);
}

static void drawing(void **state) {
    (void)state;
    enum { N = 90 };
    pare_data *set = set_of(numbers("x.npy", N, 0), labels("y.npy", N, 3)); /* sorted by class */
    uint64_t *a, *b, *c, *all, n, m;
    draw(set, 12, 1, &a, &n);
    draw(set, 12, 1, &b, &m);
    assert_true(n == 12 && m == 12);
    assert_memory_equal(a, b, n * sizeof *a);
    uint64_t of[3] = {0};
    for (uint64_t i = 0; i < n; i++) {
        of[pare_data_label(set, a[i])]++;
        for (uint64_t k = 0; k < i; k++) assert_true(a[i] != a[k]);
    }
    assert_true(of[0] == 4 && of[1] == 4 && of[2] == 4);
    draw(set, 12, 2, &c, &n);
    assert_memory_not_equal(a, c, n * sizeof *a);
    draw(set, 0, 1, &all, &n);
    assert_int_equal(n, N);
    bool seen[N] = {false};
    for (uint64_t i = 0; i < n; i++) seen[all[i]] = true;
    for (int i = 0; i < N; i++) assert_true(seen[i]);
    free(b);
    draw(set, 1000, 1, &b, &n); /* more than there are: all */
    assert_int_equal(n, N);
    assert_memory_equal(b, all, N * sizeof *b);
    /* of a part of a set: positions in the part */
    pare_data *part = open_good(&(pare_data_source){.kind = PARE_DATA_FROM, .from = set, .take = 30, .seed = 5}, NULL);
    uint64_t *d;
    draw(part, 9, 1, &d, &n);
    for (uint64_t i = 0; i < n; i++) assert_true(d[i] < 30);
    /* a reader of these alone, in their order */
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_reader *r = NULL;
    pare_reader_opts o = {.batch = 4, .threads = 2, .only = d, .n_only = n};
    assert_int_equal(pare_reader_open(part, NULL, NULL, &o, said, &r), PARE_OK);
    uint64_t at = 0;
    for (pare_batch batch;; pare_batch_free(&batch)) {
        assert_int_equal(pare_reader_next(r, said, &batch), PARE_OK);
        if (!batch.n) break;
        assert_memory_equal(batch.samples, d + at, batch.n * sizeof *d);
        for (uint64_t i = 0; i < batch.n; i++)
            assert_int_equal(((int64_t *)pare_array_data(batch.labels))[i], pare_data_label(part, d[at + i]));
        at += batch.n;
    }
    assert_int_equal(at, 9);
    pare_reader_close(r);
    o.drop_last = true;
    assert_int_equal(pare_reader_open(part, NULL, NULL, &o, said, &r), PARE_OK);
    for (at = 0;;) {
        pare_batch batch;
        assert_int_equal(pare_reader_next(r, said, &batch), PARE_OK);
        if (!batch.n) break;
        at += batch.n;
        pare_batch_free(&batch);
    }
    assert_int_equal(at, 8);
    pare_reader_close(r);
    pare_diags_free(said);
    free(a);
    free(b);
    free(c);
    free(d);
    free(all);
    pare_data_free(part);
    pare_data_free(set);
}

static void hash_of(const pare_data *set, char hex[PARE_SHA256_HEX]) {
    pare_sha256 *h = pare_sha256_new();
    assert_int_equal(pare_data_hash(set, h, NULL), PARE_OK);
    pare_sha256_end(h, hex);
}

/* Equal numbers in other files: the same; another number, label, order or choice: another. */
static void hashing(void **state) {
    (void)state;
    enum { N = 20 };
    const char *x = numbers("x.npy", N, 0), *y = labels("y.npy", N, 2);
    pare_data *set = set_of(x, y), *sets[] = {set_of(numbers("copy.npy", N, 0), y), set_of(numbers("z.npy", N, 1), y),
                                              set_of(x, labels("y5.npy", N, 5)), set_of(x, NULL)};
    char base[PARE_SHA256_HEX], other[PARE_SHA256_HEX], part[PARE_SHA256_HEX];
    hash_of(set, base);
    for (size_t i = 0; i < 4; i++) {
        hash_of(sets[i], other);
        assert_int_equal(strcmp(base, other) == 0, i == 0);
        pare_data_free(sets[i]);
    }
    for (uint64_t seed = 1; seed < 3; seed++) {
        pare_data *p =
            open_good(&(pare_data_source){.kind = PARE_DATA_FROM, .from = set, .take = 7, .seed = seed}, NULL);
        hash_of(p, seed == 1 ? part : other);
        pare_data_free(p);
    }
    assert_string_not_equal(part, base);
    assert_string_not_equal(part, other);
    pare_data_free(set);
    /* images: their files' bytes, wherever they lie */
    const unsigned char px[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    make_dir(in_tmp("one"));
    make_dir(in_tmp("two"));
    write_png(in_tmp("one/a.png"), 2, 2, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, px);
    write_png(in_tmp("two/b.png"), 2, 2, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, px);
    pare_data *one = open_good(&(pare_data_source){.kind = PARE_DATA_FLAT, .path = in_tmp("one")}, NULL),
              *two = open_good(&(pare_data_source){.kind = PARE_DATA_FLAT, .path = in_tmp("two")}, NULL);
    hash_of(one, base);
    hash_of(two, other);
    assert_string_equal(base, other);
    char *name = pare_data_sample_name(two, 0);
    assert_non_null(strstr(name, "two/b.png"));
    free(name);
    /* one that can't be read any more: an error that names it, or its absence, as on_error says */
    assert_int_equal(remove(in_tmp("two/b.png")), 0);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_sha256 *h = pare_sha256_new();
    assert_true(pare_data_hash(two, h, d) != PARE_OK);
    pare_sha256_end(h, other);
    told(d, "file.missing", "b.png");
    pare_diags_free(d);
    pare_data_free(one);
    pare_data_free(two);
    /* noise: its seed and its number */
    const pare_data_target target = {.dtype = PARE_FLOAT, .ndim = 2, .dims = {-1, 3}};
    for (uint64_t i = 0; i < 3; i++) {
        pare_data *noise =
            open_good(&(pare_data_source){.kind = PARE_DATA_RANDOM, .count = 5 + i / 2, .seed = 1 + i % 2}, &target);
        hash_of(noise, i ? other : base);
        pare_data_free(noise);
        if (i) assert_string_not_equal(base, other);
    }
}

static void names(void **state) {
    (void)state;
    pare_data *set = set_of(numbers("x.npy", 5, 0), NULL);
    char *name = pare_data_sample_name(set, 3);
    assert_string_equal(name, "sample 3 of set");
    free(name);
    pare_data_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(drawing), cmocka_unit_test(hashing), cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
