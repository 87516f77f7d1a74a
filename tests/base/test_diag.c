/* What a person and a script read when something is wrong: carets, tabs, UTF-8, long lines, control characters, JSON.
 */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/diag.h"
#include "base/tmpdir.h"

#include <jansson.h>
#include <pthread.h>

static char *said;
static size_t said_len;

static FILE *listen_in(void) {
    free(said);
    said = NULL;
    return open_memstream(&said, &said_len);
}

static void check(const char *want) {
    if (strcmp(said, want) != 0) print_error("got:\n%s\nwant:\n%s\n", said, want);
    assert_string_equal(said, want);
}

static pare_src src_of(const char *text) { return (pare_src){"net.yaml", text, strlen(text)}; }

static void say_at(const pare_src *src, uint32_t line, uint32_t col, uint32_t len) {
    FILE *f = listen_in();
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, f);
    pare_span at = {src, line, col, len};
    assert_int_equal(
        pare_fail_at(d, PARE_EINVAL, at, "config.unknown-key", "did you mean steps?", "no key \"%s\"", "stps"),
        PARE_EINVAL);
    fclose(f);
    pare_diags_free(d);
}

static void test_caret(void **state) {
    (void)state;
    pare_src src = src_of("version: 1\nstps: []\n");
    say_at(&src, 2, 1, 4);
    check("net.yaml:2:1: error[config.unknown-key]: no key \"stps\"\n"
          "     2 | stps: []\n"
          "       | ^~~~\n"
          "       = hint: did you mean steps?\n");
    say_at(&src, 1, 10, 1);
    check("net.yaml:1:10: error[config.unknown-key]: no key \"stps\"\n"
          "     1 | version: 1\n"
          "       |          ^\n"
          "       = hint: did you mean steps?\n");
    say_at(&src, 1, 10, 50); /* the mark ends with the line */
    assert_non_null(strstr(said, "       |          ^\n"));
    say_at(&src, 0, 0, 0);
    check("net.yaml: error[config.unknown-key]: no key \"stps\"\n       = hint: did you mean steps?\n");
    say_at(&src, 99, 7, 3); /* a place beyond the text is said, not quoted */
    assert_non_null(strstr(said, "net.yaml:99:7: error"));
    say_at(&src, 1, 99, 3); /* a column beyond the line */
    assert_non_null(strstr(said, "     1 | version: 1\n       |           ^\n"));
    src = src_of("a: b\r\nc: d\r\n");
    say_at(&src, 1, 4, 1);
    assert_non_null(strstr(said, "     1 | a: b\n       |    ^\n"));
    src = src_of("last line without an end");
    say_at(&src, 1, 6, 4);
    assert_non_null(strstr(said, "     1 | last line without an end\n       |      ^~~~\n"));
    src = src_of("");
    say_at(&src, 1, 1, 1);
    assert_non_null(strstr(said, "     1 | \n       | ^\n"));
}

static void test_caret_width(void **state) {
    (void)state;
    pare_src src = src_of("\tkey:\tvalue\n");
    say_at(&src, 1, 7, 5); /* tabs become one blank each */
    assert_non_null(strstr(said, "     1 |  key: value\n       |       ^~~~~\n"));
    src = src_of("n\xc3\xa4me: gr\xc3\xb6\xc3\x9f"
                 "e\n");
    say_at(&src, 1, 8, 7); /* bytes in, characters out */
    assert_non_null(strstr(said, "     1 | n\xc3\xa4me: gr\xc3\xb6\xc3\x9f"
                                 "e\n       |       ^~~~~\n"));
    /* Escaped characters are four columns wide; the caret moves along. */
    src = src_of("a\033[31mb\x9b: x\n");
    say_at(&src, 1, 11, 1);
    assert_non_null(strstr(said, "     1 | a\\x1b[31mb\\x9b: x\n       |                 ^\n"));
    assert_null(strchr(said, '\033'));

    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = 0;
    text[500] = 'Y';
    src = src_of(text);
    say_at(&src, 1, 501, 1); /* a long line: the part around the place, and the caret under it */
    const char *line = strstr(said, "     1 | "), *caret = strstr(said, "       | ");
    assert_non_null(line);
    assert_non_null(caret);
    const char *eol = strchr(line, '\n');
    assert_true(eol - line < 130);
    const char *mark = strchr(caret, '^');
    assert_int_equal(line[mark - caret], 'Y');
    assert_int_equal(strncmp(line + 9, "...", 3), 0);
    assert_int_equal(strncmp(eol - 3, "...", 3), 0);
    say_at(&src, 1, 3, 900); /* the mark does not run past what is shown */
    caret = strstr(said, "       | ");
    assert_true(strchr(caret, '\n') - caret < 130);

    /* A long line of characters of three bytes is never cut inside one. */
    pare_src wide = {"w", pare_xmalloc(901), 900};
    char *w;
    memcpy(&w, &wide.text, sizeof w);
    for (int i = 0; i < 300; i++) memcpy(w + 3 * i, "\xe2\x82\xac", 3);
    w[900] = 0;
    for (uint32_t col = 1; col <= 900; col += 3) {
        say_at(&wide, 1, col, 3);
        assert_null(strstr(said, "\\x"));
    }
    free(w);
}

static void test_control(void **state) {
    (void)state;
    FILE *f = listen_in();
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, f);
    pare_fail_file(d, PARE_EINVAL, "a\033]0;title\007.onnx", "model.name", "see\033[2J", "tensor \"%s\"\nis bad",
                   "w\033[31m\xc2\x9b\x7f\r\xff\xe2\x80\xae");
    pare_diags_add(d, &(pare_diag_item){.severity = PARE_WARNING,
                                        .code = "x.y",
                                        .message = "m",
                                        .param = "p\033",
                                        .tensor = "t\007",
                                        .node = "n\b"});
    fclose(f);
    check("a\\x1b]0;title\\x07.onnx: error[model.name]: tensor \"w\\x1b[31m\\xc2\\x9b\\x7f\\x0d\\xff\\xe2\\x80\\xae\"\n"
          "       is bad\n"
          "       = hint: see\\x1b[2J\n"
          "pare: warning[x.y]: m\n"
          "       = param: p\\x1b\n"
          "       = tensor: t\\x07\n"
          "       = node: n\\x08\n");
    pare_diags_free(d);
}

static void test_collector(void **state) {
    (void)state;
    FILE *f = listen_in();
    FILE *log = fopen(in_tmp("log"), "w");
    assert_non_null(log);
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, f);
    pare_diags_set_quiet(d, true);
    pare_diags_set_log(d, log);
    char text[] = "first";
    pare_say(d, PARE_NOTE, "a.note", "%s", text);
    pare_say(d, PARE_WARNING, "a.warning", "%s", "second");
    memset(text, 'x', 5); /* copied: ours to change */
    pare_diags_set_log(d, NULL);
    assert_int_equal(pare_fail(d, PARE_EIO, "a.error", NULL, "third"), PARE_EIO);
    assert_int_equal(pare_fail(NULL, PARE_ENOMEM, "a.error", NULL, "nobody hears"), PARE_ENOMEM);
    pare_diags_add(d, &(pare_diag_item){.severity = 77, .message = "no code"});
    fclose(f);
    fclose(log);
    assert_int_equal(pare_diags_count(d), 4);
    assert_int_equal(pare_diags_errors(d), 2);
    assert_string_equal(pare_diags_get(d, 0)->message, "first");
    assert_string_equal(pare_diags_get(d, 0)->code, "a.note");
    assert_int_equal(pare_diags_get(d, 3)->severity, PARE_ERROR);
    check("pare: warning[a.warning]: second\npare: error[a.error]: third\npare: error: no code\n");
    pare_diags_free(d);
    pare_diags_free(NULL);
    char *logged = get_file(in_tmp("log"), NULL);
    assert_string_equal(logged, "pare: note: first\npare: warning[a.warning]: second\n");
    free(logged);
}

static void test_json(void **state) {
    (void)state;
    static const char *const nasty[] = {"plain",
                                        "\"quoted\\\"",
                                        "line\nbreak\ttab",
                                        "\033[31m\x7f\x01",
                                        "gr\xc3\xb6\xc3\x9fzer \xe2\x82\xac",
                                        "broken \xff\xfe\xc3",
                                        "\xed\xa0\x80 surrogate",
                                        ""};
    size_t n = sizeof nasty / sizeof *nasty;
    FILE *f = listen_in();
    pare_diags *d = pare_diags_new(PARE_DIAG_JSON, f);
    pare_src src = src_of("a\nb: c\n");
    for (size_t i = 0; i < n; i++)
        pare_diags_add(d, &(pare_diag_item){.severity = PARE_ERROR,
                                            .code = "a.b",
                                            .message = nasty[i],
                                            .hint = nasty[i],
                                            .param = nasty[i],
                                            .tensor = nasty[i],
                                            .node = nasty[i],
                                            .at = {&src, 2, 4, 1}});
    pare_fail_file(d, PARE_EIO, "m.onnx", "a.b", NULL, "x");
    pare_say(d, PARE_NOTE, NULL, "just so");
    fclose(f);
    pare_diags_free(d);
    size_t lines = 0;
    for (char *line = said, *eol; (eol = strchr(line, '\n')); line = eol + 1, lines++) {
        *eol = 0;
        for (char *p = line; *p; p++) assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
        json_error_t e;
        json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, &e);
        if (!j) print_error("%s: %s\n", e.text, line);
        assert_non_null(j);
        const char *message = json_string_value(json_object_get(j, "message"));
        assert_non_null(message);
        if (lines < n) {
            assert_string_equal(json_string_value(json_object_get(j, "severity")), "error");
            assert_string_equal(json_string_value(json_object_get(j, "file")), "net.yaml");
            assert_int_equal(json_integer_value(json_object_get(j, "line")), 2);
            assert_int_equal(json_integer_value(json_object_get(j, "col")), 4);
            assert_string_equal(json_string_value(json_object_get(j, "node")), message);
            if (lines < 5) assert_string_equal(message, nasty[lines]);
        } else if (lines == n) {
            assert_string_equal(json_string_value(json_object_get(j, "file")), "m.onnx");
            assert_null(json_object_get(j, "line"));
            assert_null(json_object_get(j, "hint"));
        }
        json_decref(j);
    }
    assert_int_equal(lines, n + 2);
}

static void *shout(void *arg) {
    for (int i = 0; i < 200; i++) pare_say(arg, PARE_WARNING, "a.b", "%d of a line that must stay whole", i);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    FILE *f = listen_in();
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, f);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, shout, d), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    fclose(f);
    assert_int_equal(pare_diags_count(d), 800);
    size_t lines = 0;
    for (char *line = said, *eol; (eol = strchr(line, '\n')); line = eol + 1, lines++) {
        *eol = 0;
        int i;
        assert_int_equal(sscanf(line, "pare: warning[a.b]: %d of a line that must stay whole", &i), 1);
    }
    assert_int_equal(lines, 800);
    pare_diags_free(d);
}

static void test_status(void **state) {
    (void)state;
    assert_string_equal(pare_status_text(PARE_OK), "ok");
    assert_string_equal(pare_status_text(PARE_ECANCELLED), "cancelled");
    assert_string_equal(pare_status_text(-12345), "unknown status");
    assert_int_equal(pare_exit_code(PARE_OK), 0);
    assert_int_equal(pare_exit_code(PARE_EINVAL), 2);
    assert_int_equal(pare_exit_code(PARE_EUNSUPPORTED), 2);
    assert_int_equal(pare_exit_code(PARE_ENOTFOUND), 2);
    assert_int_equal(pare_exit_code(PARE_EIO), 1);
    assert_int_equal(pare_exit_code(PARE_ENOMEM), 1);
    assert_int_equal(pare_exit_code(PARE_ECANCELLED), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caret),     cmocka_unit_test(test_caret_width), cmocka_unit_test(test_control),
        cmocka_unit_test(test_collector), cmocka_unit_test(test_json),        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_status),
    };
    int rc = cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
    free(said);
    return rc;
}
