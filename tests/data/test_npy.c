/* tests/data/test_npy.c - .npy and .npz: what numpy writes, what pare writes, and files that lie. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/make.h"

#include <zip.h>

/* A version 1.0 file of a dict and bytes. */
static size_t npy(unsigned char *to, const char *dict, const void *data, size_t n) {
    size_t len = strlen(dict);
    memcpy(to, "\x93NUMPY\x01\x00", 8);
    to[8] = (unsigned char)len;
    to[9] = (unsigned char)(len >> 8);
    memcpy(to + 10, dict, len);
    if (n) memcpy(to + 10 + len, data, n);
    return 10 + len + n;
}

static pare_array *load_good(const char *dict, const void *data, size_t n) {
    static unsigned char file[4096];
    size_t len = npy(file, dict, data, n);
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_array *a = NULL;
    assert_int_equal(pare_npy_load(file, len, "x.npy", d, &a), PARE_OK);
    pare_diags_free(d);
    return a;
}

static void load_bad(const char *dict, size_t n, pare_status st, const char *code) {
    static unsigned char file[4096], zero[1024];
    size_t len = npy(file, dict, zero, n);
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_array *a = NULL;
    assert_int_equal(pare_npy_load(file, len, "x.npy", d, &a), st);
    assert_null(a);
    told(d, code, "x.npy");
    pare_diags_free(d);
}

static void reads(void **state) {
    (void)state;
    static const float f[6] = {0, 1, 2, 3, 4, 5};
    pare_array *a = load_good("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", f, sizeof f);
    assert_int_equal(a->dtype, PARE_FLOAT);
    assert_int_equal(a->ndim, 2);
    assert_int_equal(a->dims[1], 3);
    assert_memory_equal(pare_array_data(a), f, sizeof f);
    pare_array_unref(a);

    /* Fortran: columns one after the other */
    a = load_good("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", f, sizeof f);
    assert_memory_equal(pare_array_data(a), ((float[]){0, 2, 4, 1, 3, 5}), sizeof f);
    pare_array_unref(a);

    /* the keys in any order, double quotes, longs of Python 2, big-endian */
    a = load_good("{\"shape\": (2L,), 'descr': '>i2', 'fortran_order': False}", "\x01\x02\xff\xfe", 4);
    assert_memory_equal(pare_array_data(a), ((int16_t[]){0x102, -2}), 4);
    pare_array_unref(a);

    a = load_good("{'descr': '>c8', 'fortran_order': False, 'shape': ()}", "\x3f\x80\0\0\x40\0\0\0", 8);
    assert_int_equal(a->ndim, 0);
    assert_memory_equal(pare_array_data(a), ((float[]){1, 2}), 8);
    pare_array_unref(a);

    a = load_good("{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}", "\0\1\2", 3);
    assert_memory_equal(pare_array_data(a), "\0\1\1", 3);
    pare_array_unref(a);

    a = load_good("{'descr': '<f2', 'fortran_order': True, 'shape': (0, 3)}", NULL, 0);
    assert_int_equal(a->count, 0);
    pare_array_unref(a);
}

static void refuses(void **state) {
    (void)state;
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 23, PARE_EINVAL, "npy.truncated");
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 8, PARE_EINVAL,
             "npy.truncated");
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 8, PARE_EINVAL,
             "npy.header");
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 8, PARE_EINVAL, "npy.header");
    load_bad("{'descr': '<f4', 'fortran_order': False}", 8, PARE_EINVAL, "npy.header");
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 8, PARE_EINVAL, "npy.header");
    load_bad("{'descr': '<f4", 8, PARE_EINVAL, "npy.header");
    load_bad("", 8, PARE_EINVAL, "npy.header");
    load_bad("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, PARE_EUNSUPPORTED, "npy.dtype");
    load_bad("{'descr': '|V2', 'fortran_order': False, 'shape': (1,)}", 8, PARE_EUNSUPPORTED, "npy.dtype");
    load_bad("{'descr': '<U3', 'fortran_order': False, 'shape': (1,)}", 12, PARE_EUNSUPPORTED, "npy.dtype");
    load_bad("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 8, PARE_EUNSUPPORTED, "npy.dtype");
    load_bad("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}", 8,
             PARE_EUNSUPPORTED, "npy.dims");

    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_npy_head h;
    assert_int_equal(pare_npy_parse((const unsigned char *)"PK\3\4 not one", 12, "z", d, &h), PARE_EINVAL);
    told(d, "npy.magic", "z");
    assert_int_equal(pare_npy_parse((const unsigned char *)"\x93NUMPY\x09\0\0\0", 10, "z", d, &h), PARE_EUNSUPPORTED);
    told(d, "npy.version", "9");
    assert_int_equal(pare_npy_parse((const unsigned char *)"\x93NUMPY\x02\0\0\0", 10, "z", d, &h), PARE_EINVAL);
    told(d, "npy.truncated", "z");
    pare_diags_free(d);
}

static void round_trip(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    static const uint32_t dtypes[] = {PARE_FLOAT, PARE_DOUBLE, PARE_FLOAT16,   PARE_BOOL,      PARE_INT8,
                                      PARE_UINT8, PARE_INT16,  PARE_UINT16,    PARE_INT32,     PARE_UINT32,
                                      PARE_INT64, PARE_UINT64, PARE_COMPLEX64, PARE_COMPLEX128};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        int64_t dims[3] = {2, 1, 3};
        pare_array *a = pare_array_new(dtypes[i], 3, dims), *b;
        memset(pare_array_data_mut(a), 1, a->nbytes);
        assert_int_equal(pare_npy_write(in_tmp("r.npy"), a, d), PARE_OK);
        assert_int_equal(pare_npy_read(in_tmp("r.npy"), d, &b), PARE_OK);
        assert_int_equal(b->dtype, a->dtype);
        assert_int_equal(b->ndim, 3);
        assert_memory_equal(b->dims, dims, sizeof dims);
        assert_memory_equal(pare_array_data(a), pare_array_data(b), a->nbytes);
        pare_array_unref(a);
        pare_array_unref(b);
    }
    uint64_t size;
    assert_true(pare_file_size(in_tmp("r.npy"), &size));
    assert_int_equal(size, 128 + 6 * 16); /* elements begin at a multiple of 64 */
    pare_diags_free(d);
}

static void widens(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_array *a = pare_array_new(PARE_BFLOAT16, 1, (int64_t[]){2}), *b;
    memcpy(pare_array_data_mut(a), (uint16_t[]){0x3f80, 0xc000}, 4);
    assert_int_equal(pare_npy_write(in_tmp("w.npy"), a, d), PARE_OK);
    assert_int_equal(pare_npy_read(in_tmp("w.npy"), d, &b), PARE_OK);
    assert_int_equal(b->dtype, PARE_FLOAT);
    assert_memory_equal(pare_array_data(b), ((float[]){1, -2}), 8);
    pare_array_unref(a);
    pare_array_unref(b);

    a = pare_array_new(PARE_INT4, 1, (int64_t[]){3});
    memcpy(pare_array_data_mut(a), "\xf1\x08", 2);
    assert_int_equal(pare_npy_write(in_tmp("w.npy"), a, d), PARE_OK);
    assert_int_equal(pare_npy_read(in_tmp("w.npy"), d, &b), PARE_OK);
    assert_int_equal(b->dtype, PARE_INT8);
    assert_memory_equal(pare_array_data(b), ((int8_t[]){1, -1, -8}), 3);
    pare_array_unref(a);
    pare_array_unref(b);

    a = pare_array_new(PARE_FLOAT8E5M2, 1, (int64_t[]){3});
    assert_int_equal(pare_npy_write(in_tmp("no.npy"), a, d), PARE_EUNSUPPORTED);
    told(d, "npy.dtype", "float8_e5m2");
    assert_int_equal(pare_path_what(in_tmp("no.npy")), PARE_PATH_NONE);
    pare_array_unref(a);
    pare_diags_free(d);
}

static void zipped(void **state) {
    (void)state;
    static unsigned char file[512];
    size_t n = npy(file, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}", "hello", 5);
    zip_t *zip = zip_open(in_tmp("a.npz"), ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    zip_file_add(zip, "x.npy", zip_source_buffer(zip, file, n, 0), 0);
    zip_file_add(zip, "readme.txt", zip_source_buffer(zip, file, n, 0), 0);
    assert_int_equal(zip_close(zip), 0);

    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_npz *z;
    pare_array *a;
    assert_int_equal(pare_npz_open(in_tmp("a.npz"), d, &z), PARE_OK);
    assert_int_equal(pare_npz_count(z), 1);
    assert_string_equal(pare_npz_name(z, 0), "x");
    assert_int_equal(pare_npz_read(z, "x", d, &a), PARE_OK);
    assert_memory_equal(pare_array_data(a), "hello", 5);
    pare_array_unref(a);
    assert_int_equal(pare_npz_read(z, "y", d, &a), PARE_ENOTFOUND);
    told(d, "npz.entry", "there is: x");
    pare_npz_close(z);

    /* a byte of the packed data changed */
    pare_map_file *f;
    assert_int_equal(pare_map_file_open(in_tmp("a.npz"), d, &f), PARE_OK);
    unsigned char *copy = malloc(f->len);
    memcpy(copy, f->data, f->len);
    copy[50] ^= 0x55;
    write_bytes_to(in_tmp("b.npz"), copy, f->len);
    write_bytes_to(in_tmp("c.npz"), copy, f->len - 30);
    free(copy);
    pare_map_file_unref(f);
    assert_int_equal(pare_npz_open(in_tmp("b.npz"), d, &z), PARE_OK);
    assert_int_equal(pare_npz_read(z, "x", d, &a), PARE_EINVAL);
    told(d, "npz.zip", "b.npz:x");
    pare_npz_close(z);
    assert_int_equal(pare_npz_open(in_tmp("c.npz"), d, &z), PARE_EINVAL);
    told(d, "npz.zip", "c.npz");
    pare_diags_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),  cmocka_unit_test(refuses), cmocka_unit_test(round_trip),
        cmocka_unit_test(widens), cmocka_unit_test(zipped),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
