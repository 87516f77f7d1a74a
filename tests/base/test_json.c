/* JSON out: strings that are not UTF-8, numbers that read back, order, one-line lists, files; and progress lines. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/progress.h"
#include "base/tmpdir.h"

#include <pare/random.h>
#include <unistd.h>

static char *printed(json_t *j) {
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    pare_json_print(j, f);
    fclose(f);
    json_decref(j);
    return text;
}

static void check(json_t *j, const char *want) {
    char *text = printed(j);
    assert_string_equal(text, want);
    free(text);
}

static void test_strings(void **state) {
    (void)state;
    check(pare_json_str(NULL), "null\n");
    check(pare_json_str(""), "\"\"\n");
    check(pare_json_str("gr\xc3\xb6\xc3\x9f"
                        "e"),
          "\"gr\xc3\xb6\xc3\x9f"
          "e\"\n");
    check(pare_json_str("a\"\\\n\t\033\x7f"), "\"a\\\"\\\\\\n\\t\\u001b\\u007f\"\n");
    check(pare_json_str("\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xe2\x82\xac"), "\"\\u009b\\u202e\\u2066\xe2\x82\xac\"\n");
    check(pare_json_str("a\xff"
                        "b\xc3"),
          "\"a\xef\xbf\xbd"
          "b\xef\xbf\xbd\"\n");
    check(pare_json_str("\xed\xa0\x80z\xc3\xa4"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xc3\xa4\"\n");
    check(pare_json_str("\xc3(\xf0\x9f\x98\x80"), "\"\xef\xbf\xbd(\xf0\x9f\x98\x80\"\n");
    /* Any bytes at all: it never fails, and jansson reads back what it writes. */
    for (uint64_t i = 0; i < 3000; i++) {
        char s[9] = {0};
        uint64_t bytes = pare_random_u64(1, 2, i);
        memcpy(s, &bytes, 8);
        char *text = printed(pare_json_str(s));
        json_t *back = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(back);
        json_t *again = pare_json_str(s);
        assert_true(json_equal(back, again));
        json_decref(back);
        json_decref(again);
        free(text);
    }
}

static void test_numbers(void **state) {
    (void)state;
    check(json_real(0.1), "0.1\n");
    check(json_real(0.9), "0.9\n");
    check(json_real(1.0), "1.0\n");
    check(json_real(-0.0), "-0.0\n");
    check(json_real(1e300), "1e+300\n");
    check(json_real(1.0 / 3), "0.3333333333333333\n");
    check(json_real(123456789012.25), "123456789012.25\n");
    check(json_integer(INT64_MIN), "-9223372036854775808\n");
    check(json_integer(11689512), "11689512\n");
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t bits = pare_random_u64(3, 4, i);
        double v;
        memcpy(&v, &bits, sizeof v);
        json_t *j = json_real(v);
        if (!j) continue; /* NaN or infinite */
        char *text = printed(j);
        json_t *back = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(back);
        assert_true(json_real_value(back) == v);
        json_decref(back);
        free(text);
    }
}

static void test_layout(void **state) {
    (void)state;
    json_t *j = json_pack("{s:i, s:[i,i,i,i], s:[], s:{}, s:[{s:b}, n], s:s}", "z", 1, "shape", 64, 3, 7, 7, "none",
                          "empty", "rows", "ok", 1, "a", "last");
    assert_non_null(j);
    check(j, "{\n"
             "  \"z\": 1,\n"
             "  \"shape\": [64, 3, 7, 7],\n"
             "  \"none\": [],\n"
             "  \"empty\": {},\n"
             "  \"rows\": [\n"
             "    {\n"
             "      \"ok\": true\n"
             "    },\n"
             "    null\n"
             "  ],\n"
             "  \"a\": \"last\"\n"
             "}\n");
    j = json_array();
    for (int i = 0; i < 13; i++) json_array_append_new(j, json_integer(i));
    char *text = printed(j);
    assert_non_null(strstr(text, "\n  12\n]\n")); /* long lists go down the page */
    free(text);

    j = json_pack("{s:f}", "x", 0.25);
    assert_int_equal(pare_json_write(j, in_tmp("x.json"), NULL), PARE_OK);
    text = get_file(in_tmp("x.json"), NULL);
    assert_string_equal(text, "{\n  \"x\": 0.25\n}\n");
    free(text);
    assert_int_equal(pare_json_write(j, in_tmp("absent/x.json"), NULL), PARE_EINVAL);
    json_decref(j);
}

/* Work under a second says nothing; longer work says a line, made safe, and how long it took. */
static void test_progress(void **state) {
    (void)state;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    pare_progress *lines = pare_progress_new(PARE_PROGRESS_AUTO, f);
    pare_progress_update(lines, 0.5, "no task yet");
    pare_progress_begin(lines, "short");
    for (int i = 0; i < 1000; i++) pare_progress_update(lines, i / 1000.0, "x");
    pare_progress_end(lines);
    pare_progress_end(lines);
    fflush(f);
    assert_int_equal(n, 0);

    char *text2 = NULL;
    size_t n2;
    FILE *f2 = open_memstream(&text2, &n2);
    pare_progress *json = pare_progress_new(PARE_PROGRESS_JSON, f2);
    pare_progress *off = pare_progress_new(PARE_PROGRESS_OFF, f2);
    pare_progress_begin(off, "nothing");
    pare_progress_begin(lines, "pruned: prune.unstructured");
    pare_progress_begin(json, "pruned");
    usleep(1050000);
    for (int i = 0; i < 100; i++) {
        pare_progress_update(lines, 0.42, "layer1.\033[31m");
        pare_progress_update(json, i ? 2.0 : 0.5, "a\"\n\xff");
        pare_progress_update(off, 0.5, "never");
    }
    pare_progress_clear(lines);
    pare_progress_begin(lines, "next"); /* ends the one before */
    pare_progress_free(lines);
    pare_progress_free(json);
    pare_progress_free(off);
    pare_progress_free(NULL);
    pare_progress_update(NULL, 0.5, "fine");
    fclose(f);
    fclose(f2);
    float took;
    char rest[64];
    assert_int_equal(strncmp(text, "pruned: prune.unstructured  42 %  layer1.\\x1b[31m\n", 50), 0);
    assert_int_equal(sscanf(text + 50, "pruned: prune.unstructured took %f %63s", &took, rest), 2);
    assert_true(took >= 1 && took < 100);
    size_t count = 0;
    for (char *line = text2, *eol; (eol = strchr(line, '\n')); line = eol + 1, count++) {
        *eol = 0;
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        assert_string_equal(json_string_value(json_object_get(j, "progress")), "pruned");
        assert_true(json_real_value(json_object_get(j, "done")) == (count ? 1.0 : 0.5));
        json_decref(j);
    }
    assert_int_equal(count, 2);
    free(text);
    free(text2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_layout), cmocka_unit_test(test_progress)};
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
