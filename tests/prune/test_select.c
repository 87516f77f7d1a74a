/* tests/prune/test_select.c - thresholds and groups against a plain sort, for every dtype. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_host.h"
#include "prune/select.h"
#include "prune/count.h"

#include <pare/random.h>

#include <math.h>
#include <stdlib.h>

typedef struct item {
    uint64_t key, index;
} item;

static int by_key(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void keys_of(const prune_source *s, uint64_t *key) {
    for (uint64_t i = 0; i < s->count; i += PRUNE_BLOCK)
        prune_keys(s, i, (uint32_t)(s->count - i < PRUNE_BLOCK ? s->count - i : PRUNE_BLOCK), key + i);
}

static prune_work *work_new(int threads) {
    prune_work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->host = &fake_host[threads];
    return w;
}

static bool is_zero(const prune_source *s, uint64_t i) {
    uint64_t key;
    prune_magnitudes(s, i, 1, &key);
    return key == 0;
}

/* Zeroes the k smallest of `n` sources together, checks each element against the sort. */
static void check_threshold(prune_source *sources, int n, uint64_t k, int threads) {
    prune_work *w = work_new(threads);
    uint64_t total = 0, at = 0;
    for (int i = 0; i < n; i++) total += sources[i].count;
    uint64_t *key = calloc(total, sizeof *key);
    item *items = calloc(total, sizeof *items);
    uint8_t *gone = calloc(total, 1);
    assert_true(key && items && gone);
    for (int i = 0; i < n; at += sources[i++].count) keys_of(&sources[i], key + at);
    for (uint64_t i = 0; i < total; i++) items[i] = (item){key[i], i};
    qsort(items, total, sizeof *items, by_key);
    for (uint64_t i = 0; i < k; i++) gone[items[i].index] = 1;

    prune_search s;
    prune_search_begin(&s, w, sources[0].key_bits, k);
    while (!s.found) {
        for (int i = 0; i < n; i++) assert_true(prune_search_scan(&s, w, &sources[i]));
        prune_search_next(&s, w);
    }
    at = 0;
    for (int i = 0; i < n; at += sources[i++].count) {
        const uint64_t nonzero = prune_write(w, &sources[i], &s.threshold);
        uint64_t want = 0;
        for (uint64_t e = 0; e < sources[i].count; e++) {
            uint64_t after;
            const bool zero = gone[at + e] || key[at + e] == 0;
            want += !zero;
            if (is_zero(&sources[i], e) != zero) fail_msg("source %d element %llu", i, (unsigned long long)e);
            prune_keys(&sources[i], e, 1, &after);
            if (!zero) assert_int_equal(after, key[at + e]);
        }
        assert_int_equal(nonzero, want);
        assert_int_equal(prune_nonzero(w, &sources[i]), want);
    }
    free(key);
    free(items);
    free(gone);
    free(w);
}

static float gaussian(uint64_t stream, uint64_t i) { /* near enough */
    double x = 0;
    for (uint64_t j = 0; j < 6; j++) x += pare_random_double(5, stream, i * 6 + j) - 0.5;
    return (float)x;
}

static uint64_t bits_of(const void *p, size_t n) {
    uint64_t u = 0;
    memcpy(&u, p, n);
    return u;
}

static void floats(void **state) {
    (void)state;
    static const uint64_t counts[] = {1, 2, 1023, 1024, 1025, 65536, 65537, 300001};
    static const double shares[] = {0.001, 0.3, 0.5, 0.9, 0.999};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        float *w = malloc(counts[c] * sizeof *w);
        assert_non_null(w);
        for (size_t p = 0; p < sizeof shares / sizeof *shares; p++) {
            for (uint64_t i = 0; i < counts[c]; i++) w[i] = gaussian(1, i);
            prune_source s;
            prune_source_plain(&s, PARE_FLOAT, w, counts[c], p & 1);
            const uint64_t k = prune_count(shares[p], counts[c]);
            if (k) check_threshold(&s, 1, k, (int)(c & 1));
        }
        free(w);
    }
}

/* Few different values: nearly everything is a tie, and ties go by index, over pieces and over tensors. */
static void ties(void **state) {
    (void)state;
    enum { N = 200000 };
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    assert_true(a && b);
    static const uint64_t ks[] = {1, 5, 65536, 99999, 200000, 250000, 399999, 400000};
    for (size_t c = 0; c < sizeof ks / sizeof *ks; c++) {
        for (uint64_t i = 0; i < N; i++) {
            const int v = (int)(pare_random_u64(9, 1, i) % 4);
            a[i] = (float)(v - 1);
            b[i] = (float)(1 - v);
        }
        prune_source s[2];
        prune_source_plain(&s[0], PARE_FLOAT, a, N, false);
        prune_source_plain(&s[1], PARE_FLOAT, b, N, false);
        check_threshold(s, 2, ks[c], 1);
    }
    free(a);
    free(b);
}

static void zero_bits(void **state) {
    (void)state;
    float w[6] = {-0.0f, 3, -1, 0.0f, -2, 0.5f};
    prune_source s;
    prune_source_plain(&s, PARE_FLOAT, w, 6, false);
    check_threshold(&s, 1, 4, 0);
    const float want[6] = {0, 3, 0, 0, -2, 0};
    assert_memory_equal(w, want, sizeof w); /* +0.0: the bits count */
}

/* All 16-bit patterns but the NaNs; and value order against bit order. */
static void halves(void **state) {
    (void)state;
    static const uint32_t dtypes[] = {PARE_FLOAT16, PARE_BFLOAT16};
    for (int d = 0; d < 2; d++) {
        const uint32_t infinity = dtypes[d] == PARE_FLOAT16 ? 0x7C00 : 0x7F80;
        uint16_t *w = malloc(0x10000 * sizeof *w), *copy = malloc(0x10000 * sizeof *w);
        assert_true(w && copy);
        uint64_t n = 0;
        for (uint32_t i = 0; i < 0x10000; i++) {
            const uint16_t bits = (uint16_t)(i * 40503u);
            if ((bits & 0x7FFFu) <= infinity) w[n++] = bits;
        }
        memcpy(copy, w, n * sizeof *w);
        prune_source s;
        prune_source_plain(&s, dtypes[d], w, n, false);
        check_threshold(&s, 1, n / 3, 1);
        prune_source_plain(&s, dtypes[d], copy, n, true);
        check_threshold(&s, 1, n / 3, 1);
        assert_memory_equal(w, copy, n * sizeof *w);
        free(w);
        free(copy);
    }
    /* 1.5, the smallest subnormal, and the largest, as values */
    const uint16_t f16[3] = {0x3E00, 0x0001, 0x7BFF};
    prune_source s;
    uint64_t key[3];
    prune_source_plain(&s, PARE_FLOAT16, (void *)(uintptr_t)f16, 3, true);
    prune_keys(&s, 0, 3, key);
    const double want[3] = {1.5, ldexp(1, -24), 65504};
    for (int i = 0; i < 3; i++) assert_int_equal(key[i], bits_of(&want[i], 8));
}

static void doubles(void **state) {
    (void)state;
    enum { N = 70000 };
    double *w = malloc(N * sizeof *w);
    assert_non_null(w);
    for (uint64_t i = 0; i < N; i++) w[i] = 1 + 1e-13 * (double)gaussian(2, i); /* the same leading bits */
    prune_source s;
    prune_source_plain(&s, PARE_DOUBLE, w, N, false);
    check_threshold(&s, 1, N / 2, 1);
    free(w);
}

static void small_floats(void **state) {
    (void)state;
    /* dtype, a pattern, its magnitude (ONNX's float8 page, OCP MX for FP4) */
    static const struct {
        uint32_t dtype;
        uint8_t bits;
        double value;
    } known[] = {
        {PARE_FLOAT8E4M3FN, 0x7E, 448},       {PARE_FLOAT8E4M3FN, 0x01, 0x1p-9},
        {PARE_FLOAT8E4M3FN, 0xB8, 1},         {PARE_FLOAT8E4M3FNUZ, 0x7F, 240},
        {PARE_FLOAT8E4M3FNUZ, 0x01, 0x1p-10}, {PARE_FLOAT8E5M2, 0x7B, 57344},
        {PARE_FLOAT8E5M2, 0x01, 0x1p-16},     {PARE_FLOAT8E5M2, 0x7C, (double)INFINITY},
        {PARE_FLOAT8E5M2FNUZ, 0x7F, 57344},   {PARE_FLOAT8E5M2FNUZ, 0x01, 0x1p-17},
        {PARE_FLOAT4E2M1, 0x07, 6},           {PARE_FLOAT4E2M1, 0x01, 0.5},
        {PARE_FLOAT4E2M1, 0x0C, 2},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint8_t w = known[i].bits;
        prune_source s;
        uint64_t key;
        prune_source_plain(&s, known[i].dtype, &w, 1, true);
        prune_keys(&s, 0, 1, &key);
        assert_int_equal(key, bits_of(&known[i].value, 8));
    }
    static const uint32_t dtypes[] = {PARE_FLOAT8E4M3FN, PARE_FLOAT8E4M3FNUZ, PARE_FLOAT8E5M2, PARE_FLOAT8E5M2FNUZ};
    for (size_t d = 0; d < 4; d++) {
        uint8_t w[512], n = 0;
        uint64_t count = 0;
        do {
            prune_source one;
            uint64_t key;
            prune_source_plain(&one, dtypes[d], &n, 1, false);
            prune_keys(&one, 0, 1, &key);
            if (key <= one.nan_above) w[count++] = n;
        } while (++n);
        prune_source s;
        prune_source_plain(&s, dtypes[d], w, count, false);
        check_threshold(&s, 1, count / 2, 0);
    }
    uint8_t packed[50];
    for (int i = 0; i < 50; i++) packed[i] = (uint8_t)pare_random_u64(1, 4, (uint64_t)i);
    prune_source s;
    prune_source_plain(&s, PARE_FLOAT4E2M1, packed, 99, false);
    const uint8_t pad = packed[49] >> 4;
    check_threshold(&s, 1, 60, 0);
    assert_int_equal(packed[49] >> 4, pad); /* beyond the last element: not ours */
}

static void nans(void **state) {
    (void)state;
    enum { N = 140000 };
    prune_work *w = work_new(1);
    float *f = calloc(N, sizeof *f);
    assert_non_null(f);
    for (int random = 0; random < 2; random++)
        for (int wide = 0; wide < 2; wide++) {
            prune_source s;
            prune_search search;
            prune_source_plain(&s, PARE_FLOAT, f, N, wide);
            if (random) prune_source_random(&s, 1, 2);
            f[N - 1] = -INFINITY;
            prune_search_begin(&search, w, s.key_bits, 1);
            assert_true(prune_search_scan(&search, w, &s));
            f[N - 1] = NAN;
            prune_search_begin(&search, w, s.key_bits, 1);
            assert_false(prune_search_scan(&search, w, &s));
            uint64_t nonzero;
            assert_false(prune_write_groups(w, &s, 4, 1, 2, 4, &nonzero));
            f[N - 1] = 0;
        }
    free(f);
    free(w);
    static const struct {
        uint32_t dtype;
        uint8_t nan, number;
    } eight[] = {{PARE_FLOAT8E4M3FN, 0xFF, 0xFE},
                 {PARE_FLOAT8E5M2, 0xFD, 0xFC},
                 {PARE_FLOAT8E4M3FNUZ, 0x80, 0xFF},
                 {PARE_FLOAT8E5M2FNUZ, 0x80, 0xFF}};
    for (int i = 0; i < 4; i++)
        for (int wide = 0; wide < 2; wide++) {
            uint8_t v[2] = {eight[i].nan, eight[i].number};
            prune_source s;
            uint64_t key[2];
            prune_source_plain(&s, eight[i].dtype, v, 2, wide);
            prune_keys(&s, 0, 2, key);
            assert_true(key[0] > s.nan_above);
            assert_true(key[1] <= s.nan_above);
        }
}

static void random_draws(void **state) {
    (void)state;
    enum { N = 150001 };
    float *w = malloc(N * sizeof *w);
    assert_non_null(w);
    for (uint64_t i = 0; i < N; i++) w[i] = i % 5 ? gaussian(3, i) : 0;
    prune_source s;
    prune_source_plain(&s, PARE_FLOAT, w, N, false);
    prune_source_random(&s, 77, pare_random_stream("w"));
    uint64_t key[3];
    prune_keys(&s, 3, 3, key); /* an odd start: the same numbers as one by one */
    assert_int_equal(key[0], pare_random_u64(77, pare_random_stream("w"), 3));
    assert_int_equal(key[1], pare_random_u64(77, pare_random_stream("w"), 4));
    assert_int_equal(key[2], 0);
    check_threshold(&s, 1, N / 2, 1); /* the zeros first, then drawn ones */
    free(w);
}

static void quantized(void **state) {
    (void)state;
    enum { OC = 7, INNER = 9001, N = OC * INNER };
    int8_t *q = malloc(N), *before = malloc(N);
    assert_true(q && before);
    float scale[OC];
    int8_t zero[OC];
    for (int c = 0; c < OC; c++) {
        scale[c] = 0.01f * (float)(c + 1);
        zero[c] = (int8_t)(c * 9 - 30);
    }
    for (uint64_t i = 0; i < N; i++) q[i] = (int8_t)pare_random_u64(3, 3, i);
    memcpy(before, q, N);
    prune_source s;
    prune_source_quantized(&s, PARE_INT8, q, N, PARE_FLOAT, scale, zero);
    prune_source_axis(&s, OC, INNER, 0, OC);
    uint64_t key;
    prune_keys(&s, 3 * INNER + 5, 1, &key);
    const double want = (double)abs(q[3 * INNER + 5] - zero[3]) * (double)scale[3];
    assert_int_equal(key, bits_of(&want, 8));
    check_threshold(&s, 1, 40000, 1);
    for (uint64_t i = 0; i < N; i++) assert_true(q[i] == before[i] || q[i] == zero[i / INNER]);

    /* uint4, zero points packed as the weights are, blocks of 3 channels along axis 0 of (7, 5) */
    uint8_t w[18], z[8];
    float sc[15];
    for (int i = 0; i < 18; i++) w[i] = (uint8_t)pare_random_u64(3, 5, (uint64_t)i);
    for (int i = 0; i < 8; i++) z[i] = (uint8_t)pare_random_u64(3, 6, (uint64_t)i);
    for (int i = 0; i < 15; i++) sc[i] = 1 + (float)i;
    prune_source_quantized(&s, PARE_UINT4, w, 35, PARE_FLOAT, sc, z);
    prune_source_axis(&s, 7, 5, 3, 3);
    prune_keys(&s, 22, 1, &key); /* (4, 2): block 1, scale 7 */
    const int q22 = w[11] & 15, z7 = z[3] >> 4;
    const double v22 = (double)abs(q22 - z7) * 8;
    assert_int_equal(key, bits_of(&v22, 8));
    check_threshold(&s, 1, 20, 1);

    /* float8 behind a scale */
    uint8_t e[4] = {0x38, 0xB8, 0x40, 0x01};
    const float half = 0.5f;
    prune_source_quantized(&s, PARE_FLOAT8E4M3FN, e, 4, PARE_FLOAT, &half, NULL);
    prune_keys(&s, 2, 1, &key);
    const double one = 1;
    assert_int_equal(key, bits_of(&one, 8));
    check_threshold(&s, 1, 2, 0);
    free(q);
    free(before);
}

/* N:M against a loop over every group. */
static void check_groups(prune_source *s, uint64_t channels, uint64_t inner, uint32_t n, uint32_t m) {
    prune_work *w = work_new(1);
    uint64_t *key = calloc(s->count, sizeof *key);
    uint8_t *gone = calloc(s->count, 1);
    assert_true(key && gone);
    keys_of(s, key);
    const uint64_t outer = s->count / channels / inner;
    uint64_t marked = 0, want = 0, nonzero;
    for (uint64_t o = 0; o < outer; o++)
        for (uint64_t c = 0; c < channels; c += m)
            for (uint64_t i = 0; i < inner; i++) {
                const uint32_t r = channels - c < m ? (uint32_t)(channels - c) : m;
                item items[PRUNE_MAX_M];
                for (uint32_t j = 0; j < r; j++) {
                    const uint64_t at = (o * channels + c + j) * inner + i;
                    items[j] = (item){key[at], at};
                }
                qsort(items, r, sizeof *items, by_key);
                for (uint32_t j = 0; j < r - prune_group_keep(n, m, r); j++, marked++) gone[items[j].index] = 1;
            }
    assert_int_equal(marked, prune_pattern_count(n, m, channels, outer * inner));
    assert_true(prune_write_groups(w, s, channels, inner, n, m, &nonzero));
    for (uint64_t i = 0; i < s->count; i++) {
        const bool zero = gone[i] || key[i] == 0;
        want += !zero;
        if (is_zero(s, i) != zero) fail_msg("element %llu", (unsigned long long)i);
    }
    assert_int_equal(nonzero, want);
    free(key);
    free(gone);
    free(w);
}

static void groups(void **state) {
    (void)state;
    static const struct {
        uint64_t outer, channels, inner;
        uint32_t n, m;
    } cases[] = {
        {64, 64, 9, 2, 4},  {10, 512, 1, 2, 4},   {1, 96, 3000, 4, 8},  {3, 7, 9, 2, 4},     {5, 9, 1, 1, 8},
        {1, 70, 40, 1, 64}, {300, 300, 1, 3, 64}, {1, 256, 1024, 2, 4}, {2, 66, 100, 7, 33}, {1, 4, 1, 2, 4},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const uint64_t count = cases[c].outer * cases[c].channels * cases[c].inner;
        float *w = malloc(count * sizeof *w);
        uint8_t *p = malloc(count / 2 + 1);
        assert_true(w && p);
        for (uint64_t i = 0; i < count; i++) w[i] = (float)((int)(pare_random_u64(2, c, i) % 7) - 3);
        prune_source s;
        prune_source_plain(&s, PARE_FLOAT, w, count, false);
        check_groups(&s, cases[c].channels, cases[c].inner, cases[c].n, cases[c].m);
        for (uint64_t i = 0; i < count; i++) w[i] = gaussian(c, i);
        prune_source_random(&s, 4, 5);
        check_groups(&s, cases[c].channels, cases[c].inner, cases[c].n, cases[c].m);
        for (uint64_t i = 0; i < count / 2 + 1; i++) p[i] = (uint8_t)pare_random_u64(2, 50, i);
        const float one = 1;
        prune_source_quantized(&s, PARE_INT4, p, count, PARE_FLOAT, &one, NULL);
        check_groups(&s, cases[c].channels, cases[c].inner, cases[c].n, cases[c].m);
        free(w);
        free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats), cmocka_unit_test(ties),         cmocka_unit_test(zero_bits),
        cmocka_unit_test(halves), cmocka_unit_test(doubles),      cmocka_unit_test(small_floats),
        cmocka_unit_test(nans),   cmocka_unit_test(random_draws), cmocka_unit_test(quantized),
        cmocka_unit_test(groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
