/* tests/base/test_yaml.c - core/base/yaml.h: types, places, aliases, every kind of bad document, substitution. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/yaml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pare_yaml *good(const char *text) {
    pare_yaml *y = NULL;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_status st = pare_yaml_parse("t.yaml", text, strlen(text), d, &y);
    if (st != PARE_OK) fail_msg("%s\n%s", text, pare_diags_count(d) ? pare_diags_get(d, 0)->message : "no diagnostic");
    assert_non_null(y->root);
    pare_diags_free(d);
    return y;
}

static void types(void **state) {
    (void)state;
    static const struct {
        const char *text;
        pare_yaml_kind kind;
        double f;
    } rows[] = {
        {"~", PARE_YAML_NULL, 0},
        {"null", PARE_YAML_NULL, 0},
        {"NULL", PARE_YAML_NULL, 0},
        {"nULL", PARE_YAML_STRING, 0},
        {"true", PARE_YAML_BOOL, 1},
        {"False", PARE_YAML_BOOL, 0},
        {"yes", PARE_YAML_STRING, 0},
        {"off", PARE_YAML_STRING, 0},
        {"On", PARE_YAML_STRING, 0},
        {"0", PARE_YAML_INT, 0},
        {"-0", PARE_YAML_INT, 0},
        {"+12", PARE_YAML_INT, 12},
        {"007", PARE_YAML_INT, 7},
        {"0x1F", PARE_YAML_INT, 31},
        {"0o17", PARE_YAML_INT, 15},
        {"0x", PARE_YAML_STRING, 0},
        {"0xg", PARE_YAML_STRING, 0},
        {"0o8", PARE_YAML_STRING, 0},
        {"-0x1", PARE_YAML_STRING, 0},
        {"1_000", PARE_YAML_STRING, 0},
        {"2:4", PARE_YAML_STRING, 0},
        {"1.5", PARE_YAML_FLOAT, 1.5},
        {".5", PARE_YAML_FLOAT, 0.5},
        {"5.", PARE_YAML_FLOAT, 5},
        {"1e3", PARE_YAML_FLOAT, 1000},
        {"-1.5E-2", PARE_YAML_FLOAT, -.015},
        {"1e", PARE_YAML_STRING, 0},
        {"e3", PARE_YAML_STRING, 0},
        {".", PARE_YAML_STRING, 0},
        {"-", PARE_YAML_LIST, 0},
        {"1.2.3", PARE_YAML_STRING, 0},
        {".inf", PARE_YAML_FLOAT, INFINITY},
        {"-.INF", PARE_YAML_FLOAT, -INFINITY},
        {"inf", PARE_YAML_STRING, 0},
        {"nan", PARE_YAML_STRING, 0},
        {"\"1\"", PARE_YAML_STRING, 0},
        {"'true'", PARE_YAML_STRING, 0},
        {"!!str 1", PARE_YAML_STRING, 0},
        {"! 1", PARE_YAML_STRING, 0},
        {"!!float 1", PARE_YAML_INT, 1},
        {"''", PARE_YAML_STRING, 0},
        {"|\n  5\n", PARE_YAML_STRING, 0},
        {"9223372036854775807", PARE_YAML_INT, 9223372036854775807.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        snprintf(text, sizeof text, "k: %s", rows[i].text);
        if (strcmp(rows[i].text, "-") == 0) snprintf(text, sizeof text, "k:\n  -");
        pare_yaml *y = good(text);
        pare_yaml_node *n = pare_yaml_get(y->root, "k");
        if (n->kind != rows[i].kind) fail_msg("%s is %s", rows[i].text, pare_yaml_kind_name(n->kind));
        if (n->kind == PARE_YAML_BOOL) assert_int_equal(n->i, (int)rows[i].f);
        if (n->kind == PARE_YAML_INT || n->kind == PARE_YAML_FLOAT) assert_true(n->f == rows[i].f);
        if (n->kind == PARE_YAML_INT) assert_true(n->fits && (double)n->i == rows[i].f);
        pare_yaml_free(y);
    }
    pare_yaml *y =
        good("[-9223372036854775808, 9223372036854775808, -9223372036854775809, .nan, 0xffffffffffffffffff]");
    assert_true(y->root->items[0]->fits && y->root->items[0]->i == INT64_MIN);
    for (int i = 1; i < 5; i++) assert_false(y->root->items[i]->fits);
    assert_true(isnan(y->root->items[3]->f));
    assert_int_equal(y->root->items[4]->kind, PARE_YAML_INT);
    pare_yaml_free(y);
}

static void at(const pare_yaml_node *n, uint32_t line, uint32_t col, uint32_t len) {
    if (n->at.line != line || n->at.col != col || n->at.len != len)
        fail_msg("%s: %u:%u+%u, expected %u:%u+%u", n->text ? n->text : "?", n->at.line, n->at.col, n->at.len, line,
                 col, len);
}

static void places(void **state) {
    (void)state;
    pare_yaml *y = good(
        "# comment\nname: net\n\xc3\xa4\xc3\xb6: {a: 1, b: [x, 'yy', \"\xe2\x82\xac\", z]}\r\nlist:\n  - one  # c\n"
        "  - |\n    two\n    three\nempty:\nlast: 5");
    pare_yaml_node *r = y->root;
    assert_int_equal(r->n, 5);
    at(r->items[0], 2, 7, 3);
    assert_int_equal(r->items[0]->key_at.col, 1);
    assert_int_equal(r->items[0]->key_at.len, 4);
    pare_yaml_node *m = pare_yaml_get(r, "\xc3\xa4\xc3\xb6");
    assert_non_null(m);
    assert_int_equal(m->key_at.len, 4); /* bytes */
    at(m, 3, 7, 30);
    pare_yaml_node *b = pare_yaml_get(m, "b");
    at(b, 3, 17, 19);
    at(b->items[1], 3, 21, 4);
    at(b->items[2], 3, 27, 5);
    at(b->items[3], 3, 34, 1);
    at(pare_yaml_get(r, "list")->items[0], 5, 5, 3);
    at(pare_yaml_get(r, "list")->items[1], 6, 5, 1);
    assert_string_equal(pare_yaml_get(r, "list")->items[1]->text, "two\nthree\n");
    assert_int_equal(pare_yaml_get(r, "empty")->kind, PARE_YAML_NULL);
    at(pare_yaml_get(r, "last"), 10, 7, 1);
    assert_null(pare_yaml_get(r, "absent"));
    pare_yaml_free(y);

    /* far past the first entries of the index of characters */
    pare_sb s = {0};
    for (int i = 0; i < 5000; i++) pare_sb_printf(&s, "k%d: \"\xc3\xa4\xe2\x82\xac\" # \xf0\x9f\x98\x80\n", i);
    y = good(pare_sb_str(&s));
    assert_int_equal(y->root->n, 5000);
    at(y->root->items[4321], 4322, 8, 7);
    pare_yaml_free(y);
    pare_sb_free(&s);
}

static void aliases(void **state) {
    (void)state;
    pare_yaml *y =
        good("base: &b {x: 1, l: [2, 3]}\none: *b\ntwo: [*b, *b]\nword: &w hi\nagain: *w\nre: &w ho\nnew: *w");
    pare_yaml_node *one = pare_yaml_get(y->root, "one"), *base = pare_yaml_get(y->root, "base");
    assert_true(one != base);
    assert_int_equal(pare_yaml_get(one, "l")->items[1]->i, 3);
    assert_string_equal(one->key, "one");
    assert_string_equal(base->key, "base");
    assert_int_equal(pare_yaml_get(y->root, "two")->n, 2);
    assert_string_equal(pare_yaml_get(y->root, "again")->text, "hi");
    assert_string_equal(pare_yaml_get(y->root, "new")->text, "ho");
    /* copies: a change of one is no change of the other */
    pare_yaml_put(y, one, "x", one->at, pare_yaml_new_map(y, one->at));
    assert_int_equal(pare_yaml_get(base, "x")->kind, PARE_YAML_INT);
    pare_yaml_free(y);
    /* the key's own anchor, and a redefinition inside the anchored value */
    y = good("a: &x [&x 1, *x]\n&k key: *k");
    assert_int_equal(pare_yaml_get(y->root, "a")->items[1]->i, 1);
    assert_string_equal(pare_yaml_get(y->root, "key")->text, "key");
    pare_yaml_free(y);
}

/* Parses a bad text; checks the first diagnostic. */
static void bad_n(const char *text, size_t len, const char *code, uint32_t line, uint32_t col, const char *says,
                  size_t errors) {
    pare_yaml *y = NULL;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_yaml_parse("t.yaml", text, len, d, &y), PARE_EINVAL);
    assert_null(y->root);
    if (pare_diags_errors(d) != errors) fail_msg("%.40s: %zu errors", text, pare_diags_errors(d));
    const pare_diag_item *it = pare_diags_get(d, 0);
    if (strcmp(it->code, code) != 0 || it->at.line != line || it->at.col != col)
        fail_msg("%.60s: %s at %u:%u (%s), expected %s at %u:%u", text, it->code, it->at.line, it->at.col, it->message,
                 code, line, col);
    if (says && !strstr(it->message, says) && !(it->hint && strstr(it->hint, says)))
        fail_msg("%.60s: \"%s\" (%s) does not say \"%s\"", text, it->message, it->hint ? it->hint : "", says);
    pare_yaml_free(y);
    pare_diags_free(d);
}

static void bad(const char *text, const char *code, uint32_t line, uint32_t col, const char *says) {
    bad_n(text, strlen(text), code, line, col, says, 1);
}

static void bad_documents(void **state) {
    (void)state;
    bad("", "yaml.empty", 0, 0, "empty");
    bad("# nothing\n\n", "yaml.empty", 0, 0, "empty");
    bad("---\n", "yaml.empty", 0, 0, "empty");
    bad("a: [1, 2\nb: 3", "yaml.syntax", 2, 2, NULL);
    bad("a: 1\n b: 2", "yaml.syntax", 2, 3, "mapping values");
    bad("a:\n\tb: 1", "yaml.syntax", 2, 1, "tabs");
    bad("a: @x", "yaml.syntax", 1, 4, "quote");
    bad("a: {dir: runs/${name}}", "yaml.syntax", 1, 16, "\"runs/${name}\"");
    bad("a: [${x}, 1]", "yaml.syntax", 1, 6, "quote it");
    bad("a: 'open\n", "yaml.syntax", 2, 1, NULL);
    bad("a: \"\\q\"", "yaml.syntax", 1, 5, "escape");
    bad("a: \x01", "yaml.syntax", 1, 4, "control");
    bad_n("a: \0b", 5, "yaml.syntax", 1, 4, "control", 1);
    bad("a: \"x\\0y\"", "yaml.nul", 1, 4, "\\0");
    bad("a: 1\nb: \xff\xfe", "yaml.encoding", 2, 4, "0xff at offset 8");
    bad("\xff\xfe"
        "a",
        "yaml.encoding", 1, 1, "UTF-8");
    bad("a: \xc3\xa4\xed\xa0\x80", "yaml.encoding", 1, 6, "0xed");
    bad("a: 1\nb: 2\n---\nc: 3", "yaml.documents", 3, 1, "second document");
    bad("a: 1\nb: 2\na: 3", "yaml.duplicate-key", 3, 1, "line 1");
    bad("x: {a: 1, 'a': 3}", "yaml.duplicate-key", 1, 11, "before");
    bad("a: &b {x: 1}\nc:\n  <<: *b\n  y: 2", "yaml.merge", 3, 3, "merge");
    bad("a: *nope", "yaml.alias", 1, 4, "nope");
    bad("a: &x [1, *x]", "yaml.alias-cycle", 1, 11, "hold itself");
    bad("a: &x {b: {c: *x}}", "yaml.alias-cycle", 1, 15, "hold itself");
    bad("? [1, 2]\n: 3", "yaml.key", 1, 3, "key");
    bad("{${name}: 1}", "yaml.syntax", 1, 3, "quote it");
    bad("a: &k b\n*k : 1", "yaml.key", 2, 1, "alias");
    bad("\"\": 1", "yaml.key", 1, 1, "missing");
    bad("a: !thing 1", "yaml.tag", 1, 4, "!thing");
    bad("a: !!python/object:os.system 1", "yaml.tag", 1, 4, "python");
    bad("a: !!int x", "yaml.tag", 1, 4, "!!int");
    bad("a: !thing [1]", "yaml.tag", 1, 4, "!thing");
    bad("%YAML 3.0\n---\na: 1", "yaml.syntax", 1, 1, "incompatible");
}

static void bounded(void **state) {
    (void)state;
    pare_sb s = {0};
    for (int i = 0; i < 100; i++) pare_sb_addc(&s, '[');
    bad(pare_sb_str(&s), "yaml.too-deep", 1, 65, "64");
    pare_sb_free(&s);
    /* a hundred thousand brackets stop as early */
    for (int i = 0; i < 100000; i++) pare_sb_addc(&s, '{');
    bad_n(pare_sb_str(&s), s.len, "yaml.key", 1, 2, NULL, 1);
    pare_sb_free(&s);
    /* billion laughs */
    pare_sb_add(&s, "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for (char c = 'b'; c < 'l'; c++) {
        pare_sb_printf(&s, "%c: &%c [", c, c);
        for (int i = 0; i < 10; i++) pare_sb_printf(&s, "%s*%c", i ? ", " : "", c - 1);
        pare_sb_add(&s, "]\n");
    }
    pare_yaml *y;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_yaml_parse("t", s.data, s.len, d, &y), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 0)->code, "yaml.too-large");
    assert_int_equal(pare_diags_errors(d), 1);
    assert_true(y->n_nodes <= PARE_YAML_MAX_NODES);
    pare_yaml_free(y);
    pare_sb_free(&s);
    /* depth by aliases */
    pare_sb_add(&s, "a0: &a0 [[[[[[[[[[1]]]]]]]]]]\n");
    for (int i = 1; i < 8; i++) pare_sb_printf(&s, "a%d: &a%d [[[[[[[[[[*a%d]]]]]]]]]]\n", i, i, i - 1);
    pare_yaml *deep;
    assert_int_equal(pare_yaml_parse("t", s.data, s.len, d, &deep), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 1)->code, "yaml.too-deep");
    pare_yaml_free(deep);
    pare_sb_free(&s);
    /* many mistakes are not all printed */
    for (int i = 0; i < 500; i++) pare_sb_add(&s, "same: 1\n");
    size_t before = pare_diags_errors(d);
    assert_int_equal(pare_yaml_parse("t", s.data, s.len, d, &y), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d) - before, 20);
    pare_yaml_free(y);
    pare_sb_free(&s);
    /* too many bytes */
    char *big = malloc(PARE_YAML_MAX_BYTES + 1);
    assert_non_null(big);
    memset(big, ' ', PARE_YAML_MAX_BYTES + 1);
    assert_int_equal(pare_yaml_parse("t", big, PARE_YAML_MAX_BYTES + 1, d, &y), PARE_EINVAL);
    pare_yaml_free(y);
    free(big);
    pare_diags_free(d);
}

static void several_errors(void **state) {
    (void)state;
    const char *text = "a: 1\na: 2\nb: *gone\nc: !x 1\nd: {<<: 1}";
    bad_n(text, strlen(text), "yaml.duplicate-key", 2, 1, NULL, 4);
}

static void files(void **state) {
    (void)state;
    char dir[] = "/tmp/pare-yaml-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_yaml *y = NULL;
    assert_int_equal(pare_yaml_open(dir, d, &y), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 0)->code, "yaml.folder");
    assert_null(y);
    snprintf(path, sizeof path, "%s/x.yaml", dir);
    pare_status st = pare_yaml_open(path, d, &y);
    assert_int_equal(pare_exit_code(st), 2);
    assert_int_equal(pare_diags_errors(d), 2);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("a: 1\n", f);
    fclose(f);
    assert_int_equal(pare_yaml_open(path, d, &y), PARE_OK);
    assert_int_equal(pare_yaml_get(y->root, "a")->i, 1);
    pare_yaml_free(y);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(pare_yaml_open(path, d, &y), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 2)->code, "yaml.empty");
    pare_yaml_free(y);
    pare_diags_free(d);
    unlink(path);
    rmdir(dir);
}

static void substitution(void **state) {
    (void)state;
    setenv("PARE_TEST_SHARE", "0.5", 1);
    setenv("PARE_TEST_ODD", "${name}: [x", 1);
    setenv("PARE_TEST_EMPTY", "", 1);
    unsetenv("PARE_TEST_UNSET");
    pare_yaml *y =
        good("plain: runs/${name}\nshare: ${env:PARE_TEST_SHARE}\nquoted: {x: \"${env:PARE_TEST_SHARE}\"}\n"
             "dollars: $${name}\nodd: ${env:PARE_TEST_ODD}\ntwice: ${name}${name}\nempty: ${env:PARE_TEST_EMPTY}\n"
             "list: [1, \"a${name}\"]\nalone: $x {y}\n");
    pare_yaml_var vars[] = {{"name", "7"}};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_yaml_substitute(y, y->root, vars, 1, d), PARE_OK);
    const pare_yaml_node *r = y->root;
    assert_string_equal(pare_yaml_get(r, "plain")->text, "runs/7");
    assert_int_equal(pare_yaml_get(r, "share")->kind, PARE_YAML_FLOAT);
    const pare_yaml_node *x = pare_yaml_get(pare_yaml_get(r, "quoted"), "x");
    assert_int_equal(x->kind, PARE_YAML_FLOAT);
    assert_true(x->f == 0.5 && pare_yaml_is_text(x));
    assert_string_equal(pare_yaml_get(r, "dollars")->text, "${name}");
    assert_string_equal(pare_yaml_get(r, "odd")->text, "${name}: [x"); /* what came in is not looked at again */
    assert_int_equal(pare_yaml_get(r, "twice")->i, 77);
    assert_int_equal(pare_yaml_get(r, "empty")->kind, PARE_YAML_NULL);
    assert_string_equal(pare_yaml_get(r, "list")->items[1]->text, "a7");
    assert_string_equal(pare_yaml_get(r, "alone")->text, "$x {y}");
    assert_int_equal(pare_diags_count(d), 0);
    pare_yaml_free(y);

    y = good("a: x ${env:PARE_TEST_UNSET}\nb: ${nmae}\nc: \"open ${name\"\nd: ${env:}\n");
    assert_int_equal(pare_yaml_substitute(y, y->root, vars, 1, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 4);
    static const struct {
        const char *code, *says;
        uint32_t line, col, len;
    } rows[] = {{"yaml.env", "\"PARE_TEST_UNSET\"", 1, 6, 22},
                {"yaml.variable", "${nmae}", 2, 4, 7},
                {"yaml.variable", "never closed", 3, 10, 2},
                {"yaml.env", "\"\"", 4, 4, 7}};
    for (size_t i = 0; i < 4; i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        assert_string_equal(it->code, rows[i].code);
        assert_non_null(strstr(it->message, rows[i].says));
        assert_int_equal(it->at.line, rows[i].line);
        assert_int_equal(it->at.col, rows[i].col);
        assert_int_equal(it->at.len, rows[i].len);
    }
    pare_yaml_free(y);
    pare_diags_free(d);
}

static void values(void **state) {
    (void)state;
    pare_yaml *y = good("a: 1");
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_yaml_node *n;
    assert_int_equal(pare_yaml_parse_value(y, "--set", "a.b=[x, 0.5]", 4, d, &n), PARE_OK);
    assert_int_equal(n->kind, PARE_YAML_LIST);
    assert_int_equal(n->items[1]->at.col, 9);
    assert_string_equal(n->items[1]->at.src->name, "--set");
    assert_int_equal(pare_yaml_parse_value(y, "--set", "a=", 2, d, &n), PARE_OK);
    assert_int_equal(n->kind, PARE_YAML_NULL);
    assert_int_equal(n->at.col, 3);
    assert_int_equal(pare_yaml_parse_value(y, "--set", "\xc3\xa4=[1", 3, d, &n), PARE_EINVAL);
    assert_int_equal(pare_diags_get(d, 0)->at.line, 1);
    pare_sb b = {0};
    pare_yaml_describe(pare_yaml_get(y->root, "a"), &b);
    assert_string_equal(b.data, "the int 1");
    pare_sb_free(&b);
    pare_diags_free(d);
    pare_yaml_free(y);
    pare_yaml_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),         cmocka_unit_test(places),       cmocka_unit_test(aliases),
        cmocka_unit_test(bad_documents), cmocka_unit_test(bounded),      cmocka_unit_test(several_errors),
        cmocka_unit_test(files),         cmocka_unit_test(substitution), cmocka_unit_test(values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
