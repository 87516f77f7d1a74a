/* Builder, UTF-8, map, nearest names, globs, numbers for people. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_builder(void **state) {
    (void)state;
    pare_sb b = {0};
    assert_string_equal(pare_sb_str(&b), "");
    pare_sb_addn(&b, "", 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 1000; i++) {
        pare_sb_addc(&b, 'x');
        pare_sb_add(&b, "yz");
        pare_sb_printf(&b, "%d", i % 10);
    }
    assert_int_equal(b.len, 4000);
    assert_int_equal(strlen(b.data), 4000);
    assert_memory_equal(b.data + 3996, "xyz9", 5);
    pare_sb_printf(&b, "%5000s", "");
    assert_int_equal(b.len, 9000);
    pare_sb_free(&b);
    assert_null(b.data);
}

static void check_safe(const char *s, const char *want) {
    pare_sb b = {0};
    pare_sb_add_safe(&b, s, strlen(s));
    assert_string_equal(pare_sb_str(&b), want);
    pare_sb_free(&b);
}

static void test_utf8(void **state) {
    (void)state;
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xef\xbf\xbd",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xff",
                                      "a\xfe",
                                      "\xc3("};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(pare_utf8_ok(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(pare_utf8_ok(bad[i], strlen(bad[i])));
    assert_false(pare_utf8_ok("\xe2\x82\xac", 2)); /* cut off */
    check_safe("plain \xc3\xa4 \xe2\x82\xac", "plain \xc3\xa4 \xe2\x82\xac");
    check_safe("\033[0m\n\t\x7f", "\\x1b[0m\\x0a\\x09\\x7f");
    check_safe("\xc2\x9b", "\\xc2\\x9b");
    check_safe("\xe2\x80\xae\xe2\x81\xa6", "\\xe2\\x80\\xae\\xe2\\x81\\xa6");
    check_safe("a\xffz", "a\\xffz");
}

static void test_map(void **state) {
    (void)state;
    pare_map m = {0};
    uint32_t v = 99;
    assert_false(pare_map_get(&m, "a", &v));
    pare_map_del(&m, "a");
    assert_int_equal(v, 99);
    enum { N = 3000 };
    static char key[N][12];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(key[i], sizeof key[i], "k%u", i);
        pare_map_set(&m, key[i], i);
    }
    assert_int_equal(m.len, N);
    pare_map_set(&m, key[5], 500);
    assert_int_equal(m.len, N);
    assert_true(pare_map_get(&m, "k5", &v));
    assert_int_equal(v, 500);
    pare_map_set(&m, key[5], 5);
    for (uint32_t i = 0; i < N; i += 3) pare_map_del(&m, key[i]); /* deleting must not hide what was pushed behind */
    pare_map_del(&m, "absent");
    for (uint32_t i = 0; i < N; i++) {
        bool there = pare_map_get(&m, key[i], &v);
        assert_int_equal(there, i % 3 != 0);
        if (there) assert_int_equal(v, i);
    }
    assert_int_equal(m.len, N - N / 3);
    for (uint32_t i = 0; i < N; i += 3) pare_map_set(&m, key[i], i);
    for (uint32_t i = 0; i < N; i++) {
        assert_true(pare_map_get(&m, key[i], &v));
        assert_int_equal(v, i);
    }
    pare_map_free(&m);
    assert_int_equal(m.len, 0);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"sparsity", "criterion", "scope",   "pattern",  "ops",
                                        NULL,       "include",   "exclude", "resnet18", "prune.unstructured"};
    size_t n = sizeof names / sizeof *names;
    assert_string_equal(pare_nearest("sparsty", names, n), "sparsity");
    assert_string_equal(pare_nearest("sparisty", names, n), "sparsity");
    assert_string_equal(pare_nearest("Scope", names, n), "scope");
    assert_string_equal(pare_nearest("op", names, n), "ops");
    assert_string_equal(pare_nearest("resnet", names, n), "resnet18");
    assert_string_equal(pare_nearest("unstructured", names, n), "prune.unstructured");
    assert_null(pare_nearest("zzzzzz", names, n));
    assert_null(pare_nearest("sparsity", names, 0));
    assert_null(pare_nearest("", names, n));
    char huge[300];
    memset(huge, 'q', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    assert_null(pare_nearest(huge, names, n));
}

static void test_glob(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *s;
        bool match;
    } t[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*c", "abc", true},
        {"a*c", "ac", true},
        {"a*c", "acb", false},
        {"?", "", false},
        {"a?c", "abc", true},
        {"layer?.*", "layer4.1.conv2.weight", true},
        {"*.weight", "fc.weight", true},
        {"*.weight", "fc.bias", false},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[!abc]", "d", true},
        {"[^abc]", "a", false},
        {"[a-c]x", "bx", true},
        {"[]a]", "]", true},
        {"[a", "[a", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a\\", "a\\", true},
        {"**a**", "bab", true},
        {"[a-]", "-", true},
        {"fc", "fc.weight", false},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (pare_glob(t[i].pattern, t[i].s) != t[i].match) fail_msg("%s against %s", t[i].pattern, t[i].s);
    char p[200] = "", s[2000];
    for (int i = 0; i < 60; i++) strcat(p, "a*");
    strcat(p, "b");
    memset(s, 'a', sizeof s - 1);
    s[sizeof s - 1] = 0;
    assert_false(pare_glob(p, s)); /* at once, not in 2^60 steps */
}

static void check_bytes(uint64_t n, const char *want) {
    pare_sb b = {0};
    pare_sb_bytes(&b, n);
    assert_string_equal(b.data, want);
    pare_sb_free(&b);
}

static void check_count(uint64_t n, const char *want) {
    pare_sb b = {0};
    pare_sb_count(&b, n);
    assert_string_equal(b.data, want);
    pare_sb_free(&b);
}

static void test_numbers(void **state) {
    (void)state;
    check_bytes(0, "0 B");
    check_bytes(812, "812 B");
    check_bytes(999, "999 B");
    check_bytes(1000, "1.00 kB");
    check_bytes(46800000, "46.8 MB");
    check_bytes(999499, "999.5 kB");
    check_bytes(999950000, "1.00 GB");
    check_bytes(UINT64_MAX, "18.4 EB");
    check_count(0, "0");
    check_count(999, "999");
    check_count(1000, "1,000");
    check_count(11689512, "11,689,512");
    check_count(UINT64_MAX, "18,446,744,073,709,551,615");
}

static void test_mem(void **state) {
    (void)state;
    pare_arena a = {0};
    char *first = pare_arena_strdup(&a, "first");
    assert_null(pare_arena_strdup(&a, NULL));
    for (size_t i = 0; i < 5000; i++) {
        unsigned char *p = pare_arena_alloc(&a, i % 97);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < i % 97; k++) assert_int_equal(p[k], 0);
        memset(p, 0xff, i % 97);
    }
    unsigned char *big = pare_arena_alloc(&a, 1 << 20);
    memset(big, 1, 1 << 20);
    assert_string_equal(pare_arena_printf(&a, "%s-%d", "x", 7), "x-7");
    assert_string_equal(pare_arena_strndup(&a, "abcdef", 3), "abc");
    assert_memory_equal(pare_arena_memdup(&a, "abc", 3), "abc", 3);
    assert_string_equal(first, "first");
    pare_arena_free(&a);
    assert_non_null(pare_arena_alloc(&a, 1)); /* may be used again */
    pare_arena_free(&a);

    uint64_t r = 7;
    assert_false(pare_mul_ok(UINT64_MAX, 2, &r));
    assert_false(pare_add_ok(UINT64_MAX, 1, &r));
    assert_int_equal(r, 7);
    assert_true(pare_mul_ok(1u << 31, 4, &r));
    assert_int_equal(r, (uint64_t)1 << 33);
    void *p = pare_try_alloc(0);
    assert_non_null(p);
    free(p);
    p = pare_try_alloc(100);
    assert_int_equal((uintptr_t)p % 64, 0);
    free(p);
    assert_null(pare_try_alloc(SIZE_MAX));
    PARE_VEC(int) v = {0};
    for (int i = 0; i < 1000; i++) pare_vec_push(&v, i);
    assert_int_equal(v.len, 1000);
    assert_int_equal(v.data[999], 999);
    pare_vec_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builder), cmocka_unit_test(test_utf8), cmocka_unit_test(test_map),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_glob), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_mem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
