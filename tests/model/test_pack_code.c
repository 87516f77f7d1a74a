/* tests/model/test_pack_code.c - the coding of sparse tensors against a slow and obvious one, at every small size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/pack_parts.h"

#include <stdlib.h>
#include <string.h>

static uint64_t rng_state = 3;
static uint32_t rng(void) {
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33);
}

/* Codes and decodes `count` elements of `size` bytes in both forms. `data` may lie anywhere. */
static void both_ways(const unsigned char *data, uint64_t count, uint32_t size) {
    static const unsigned char zeros[8];
    pack_item items[2] = {{.data = data, .count = count, .size = size}, {.data = data, .count = count, .size = size}};
    unsigned char *out = malloc(count * size + 1), fill[8] = {0};
    pack_survey(items, 2);
    memcpy(fill, &items[0].fill, size);
    if (size > 1) assert_memory_equal(fill, zeros, size);

    /* the obvious count */
    uint64_t kept = 0, entries = 0, prev = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (memcmp(data + i * size, fill, size) == 0) continue;
        for (uint64_t d = i - prev; d > 255; d -= 255) entries++;
        kept++;
        entries++;
        prev = i;
    }
    assert_int_equal(items[0].kept, kept);
    assert_int_equal(items[0].entries, entries);
    if (kept) {
        items[0].form = PACK_GAP;
        items[1].form = PACK_MASK;
        assert_true(pack_encode(items, 2));
        assert_int_equal(items[0].index->len, entries);
        assert_int_equal(items[0].val->len, entries * size);
        assert_int_equal(items[1].index->len, (count + 7) / 8);
        assert_int_equal(items[1].val->len, (kept + 1) * size);
        uint64_t at = 0;
        for (uint64_t i = 0; i < entries; i++) {
            at += items[0].index->data[i];
            assert_memory_equal(items[0].val->data + i * size, data + at * size, size);
        }
        assert_null(
            pack_decode_gap(items[0].index->data, items[0].val->data, entries, items[0].fill, size, out, count));
        assert_memory_equal(out, data, count * size);
        memset(out, 0x5a, count * size);
        assert_null(pack_decode_mask(items[1].index->data, items[1].val->data, kept + 1, size, out, count));
        assert_memory_equal(out, data, count * size);
        assert_non_null(pack_decode_mask(items[1].index->data, items[1].val->data, kept, size, out, count));
        for (int i = 0; i < 2; i++) {
            pare_blob_unref(items[i].index);
            pare_blob_unref(items[i].val);
        }
    }
    pack_decode_fill(items[0].fill, size, out, count);
    for (uint64_t i = 0; i < count; i++) assert_memory_equal(out + i * size, fill, size);
    free(out);
}

static void test_small_sizes(void **state) {
    (void)state;
    for (uint32_t size = 1; size <= 8; size *= 2)
        for (uint64_t count = 1; count < 70; count++)
            for (uint32_t share = 0; share <= 4; share++) {
                unsigned char buf[70 * 8 + 1], *data = buf + 1; /* at an odd address */
                memset(buf, 0, sizeof buf);
                for (uint64_t i = 0; i < count; i++)
                    if (rng() % 4 >= share) data[i * size + rng() % size] = (unsigned char)rng();
                both_ways(data, count, size);
            }
}

static void test_distances(void **state) {
    (void)state;
    for (uint64_t first = 0; first < 2; first++)
        for (uint64_t distance = 250; distance < 780; distance++) {
            uint32_t data[800] = {0};
            data[first] = 1;
            data[first + distance] = 2;
            both_ways((unsigned char *)data, 800, 4);
            data[first] = 0;
            both_ways((unsigned char *)data, 800, 4);
        }
}

/* Several blocks, kept elements around their borders and far apart. */
static void test_blocks(void **state) {
    (void)state;
    const uint64_t block = 1 << 18, count = 3 * block + 5;
    uint16_t *data = calloc(count, sizeof *data);
    const uint64_t at[] = {0, block - 1, block, 2 * block - 300, 2 * block + 1, 3 * block - 1, 3 * block, count - 1};
    for (unsigned pick = 1; pick < 256; pick += 2 + pick % 3) {
        memset(data, 0, count * sizeof *data);
        for (unsigned k = 0; k < 8; k++)
            if (pick >> k & 1) data[at[k]] = (uint16_t)(k + 1);
        both_ways((unsigned char *)data, count, 2);
    }
    free(data);
}

static void test_hostile(void **state) {
    (void)state;
    const unsigned char gap[] = {3, 4, 5}, val[] = {1, 2, 3, 4};
    unsigned char out[16];
    assert_null(pack_decode_gap(gap, val, 3, 0, 1, out, 13));
    assert_non_null(pack_decode_gap(gap, val, 3, 0, 1, out, 12)); /* the last would be element 12 */
    const unsigned char twice[] = {0, 0};
    assert_null(pack_decode_gap(twice, val, 1, 0, 1, out, 13));
    assert_non_null(pack_decode_gap(twice, val, 2, 0, 1, out, 13));
    const unsigned char mask[] = {0x07, 0x02};
    assert_non_null(pack_decode_mask(mask, val, 4, 1, out, 10)); /* four bits, three values */
    assert_non_null(pack_decode_mask(mask, val, 4, 1, out, 9));  /* a bit past the end */
    assert_non_null(pack_decode_mask(mask, val, 0, 1, out, 8));
    assert_null(pack_decode_mask(mask, val, 4, 1, out, 8));
    assert_memory_equal(out, ((unsigned char[]){2, 3, 4, 1, 1, 1, 1, 1}), 8);
}

static void test_limits(void **state) {
    (void)state;
    assert_true(pack_size_ok(PACK_TENSOR_MAX, 0));
    assert_false(pack_size_ok(PACK_TENSOR_MAX + PACK_RATIO, 0));
    assert_true(pack_size_ok((uint64_t)1 << 40, (uint64_t)1 << 30));
    assert_false(pack_size_ok(UINT64_MAX, (uint64_t)1 << 30));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_sizes), cmocka_unit_test(test_distances), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
