/* gzip: zlib reads it back, the bytes don't depend on threads or on how the input came, and it is as small as one
 * stream of zlib level 6 within 0.2 %. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/gzip.h"

#include <pare/random.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct bytes {
    unsigned char *data;
    size_t len, cap, limit; /* limit: fail beyond it; 0: never */
} bytes;

static pare_status collect(void *ctx, const void *data, size_t n) {
    bytes *b = ctx;
    if (b->limit && b->len + n > b->limit) return PARE_EIO;
    if (b->len + n > b->cap) {
        b->cap = 2 * (b->len + n);
        b->data = pare_xrealloc(b->data, b->cap);
    }
    memcpy(b->data + b->len, data, n);
    b->len += n;
    return PARE_OK;
}

/* Writes in pieces of `piece` bytes. */
static bytes gzip_of(const unsigned char *data, size_t n, size_t piece, uint32_t threads) {
    pare_threads_set(threads);
    bytes b = {0};
    pare_gzip *z = pare_gzip_new((pare_sink){collect, &b}, NULL);
    pare_sink s = pare_gzip_sink(z);
    for (size_t at = 0; at < n; at += piece)
        assert_int_equal(s.write(s.ctx, data + at, n - at < piece ? n - at : piece), PARE_OK);
    uint64_t size;
    assert_int_equal(pare_gzip_end(z, &size), PARE_OK);
    assert_int_equal(size, b.len);
    return b;
}

/* One gzip member, its CRC and its length right, nothing after it. */
static void check_inflates(const bytes *b, const unsigned char *data, size_t n) {
    z_stream z = {0};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    unsigned char *out = pare_xmalloc(n + 1);
    z.next_in = b->data;
    z.avail_in = (uInt)b->len;
    z.next_out = out;
    z.avail_out = (uInt)n + 1;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, n);
    assert_int_equal(z.avail_in, 0);
    assert_memory_equal(out, data, n);
    inflateEnd(&z);
    free(out);
}

/* Weights after pruning: one in ten survives. */
static unsigned char *sparse(size_t n) {
    unsigned char *p = pare_xcalloc(1, n + 8);
    for (size_t i = 0; i + 4 <= n; i += 4) {
        float f = pare_random_double(1, 2, i) < 0.1 ? (float)(pare_random_double(1, 3, i) - 0.5) : 0.0f;
        memcpy(p + i, &f, 4);
    }
    return p;
}

static unsigned char *text(size_t n) {
    unsigned char *p = pare_xcalloc(1, n + 8);
    for (size_t i = 0, w = 0; i < n; i++) {
        if (i % 7 == 0) w = pare_random_u64(5, 6, i) % 3000;
        p[i] = (unsigned char)("etaoinshrdlu "[(w * 31 + i % 7 * 5) % 13]);
    }
    return p;
}

static void test_round_trip(void **state) {
    (void)state;
    enum { BLOCK = 256 * 1024 };
    static const size_t sizes[] = {0,     1,         100,       32767,         32768,         32769,        BLOCK - 1,
                                   BLOCK, BLOCK + 1, 2 * BLOCK, 4 * BLOCK - 1, 4 * BLOCK + 1, 6 * BLOCK + 5};
    unsigned char *data = sparse(7 * BLOCK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bytes one = gzip_of(data, sizes[i], 1000000, 1);
        check_inflates(&one, data, sizes[i]);
        static const unsigned char header[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
        assert_memory_equal(one.data, header, 10);
        static const uint32_t threads[] = {2, 5};
        for (int t = 0; t < 2; t++) {
            bytes b = gzip_of(data, sizes[i], t ? 4097 : 70001, threads[t]);
            assert_int_equal(b.len, one.len);
            assert_memory_equal(b.data, one.data, one.len);
            free(b.data);
        }
        free(one.data);
    }
    free(data);
}

static void check_size(const unsigned char *data, size_t n) {
    bytes b = gzip_of(data, n, n, 2);
    check_inflates(&b, data, n);
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t cap = deflateBound(&z, n);
    unsigned char *out = pare_xmalloc(cap);
    unsigned char *in = pare_xmalloc(n);
    memcpy(in, data, n);
    z.next_in = in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_true((double)b.len <= 1.002 * (double)z.total_out);
    deflateEnd(&z);
    free(out);
    free(in);
    free(b.data);
}

static void test_size(void **state) {
    (void)state;
    size_t n = 3 << 20;
    unsigned char *a = sparse(n), *b = text(n), *noise = pare_xmalloc(n);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = pare_random_u64(8, 9, i);
        memcpy(noise + i, &v, 8);
    }
    check_size(a, n);
    check_size(b, n);
    check_size(noise, n);
    free(a);
    free(b);
    free(noise);
}

static void test_counting_and_failing(void **state) {
    (void)state;
    size_t n = 3 << 20;
    unsigned char *data = text(n);
    bytes b = gzip_of(data, n, n, 2);
    pare_gzip *z = pare_gzip_new((pare_sink){0}, NULL);
    pare_sink s = pare_gzip_sink(z);
    assert_int_equal(s.write(s.ctx, data, n), PARE_OK);
    uint64_t size = 0;
    assert_int_equal(pare_gzip_end(z, &size), PARE_OK);
    assert_int_equal(size, b.len);

    bytes small = {.limit = 1000};
    z = pare_gzip_new((pare_sink){collect, &small}, NULL);
    s = pare_gzip_sink(z);
    assert_int_equal(s.write(s.ctx, data, n), PARE_EIO); /* the sink's own status comes back */
    assert_int_equal(s.write(s.ctx, data, n), PARE_EIO);
    assert_int_equal(pare_gzip_end(z, &size), PARE_EIO);
    assert_int_equal(size, 0);

    pare_cancel_request();
    z = pare_gzip_new((pare_sink){0}, NULL);
    s = pare_gzip_sink(z);
    assert_int_equal(s.write(s.ctx, data, n), PARE_ECANCELLED);
    pare_gzip_abort(z);
    pare_gzip_abort(NULL);
    pare_cancel_reset();
    free(small.data);
    free(b.data);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_size),
                                       cmocka_unit_test(test_counting_and_failing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
