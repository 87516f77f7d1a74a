/* SHA-256 against FIPS 180-4's examples and itself, whole and in pieces. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/tmpdir.h"
#include "base/sha256_of.h"

static const char *const two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

static void test_known(void **state) {
    (void)state;
    char hex[PARE_SHA256_HEX];
    sha256_of("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_of("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_of(two_blocks, strlen(two_blocks), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    pare_sha256 *h = pare_sha256_new();
    pare_sink sink = pare_sha256_sink(h);
    for (int i = 0; i < 10000; i++) {
        char block[100];
        memset(block, 'a', sizeof block);
        assert_int_equal(sink.write(sink.ctx, block, sizeof block), PARE_OK);
    }
    pare_sha256_end(h, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_file(void **state) {
    (void)state;
    char hex[PARE_SHA256_HEX], want[PARE_SHA256_HEX];
    put_file(in_tmp("abc"), "abc");
    assert_int_equal(pare_sha256_file(in_tmp("abc"), NULL, hex), PARE_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    size_t n = 1000003;
    char *big = pare_xmalloc(n);
    for (size_t i = 0; i < n; i++) big[i] = (char)(i * 7);
    assert_int_equal(pare_file_write(in_tmp("big"), big, n, NULL), PARE_OK);
    sha256_of(big, n, want);
    assert_int_equal(pare_sha256_file(in_tmp("big"), NULL, hex), PARE_OK);
    assert_string_equal(hex, want);
    free(big);

    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_sha256_file(in_tmp("absent"), d, hex), PARE_ENOTFOUND);
    assert_string_equal(pare_diags_get(d, 0)->code, "file.missing");
    assert_int_equal(pare_sha256_file(tmpdir_path, d, hex), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 1)->code, "file.folder");
    assert_string_equal(hex, "");
    pare_diags_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known), cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
