/* calibration.yaml: written the same each time, read back to the bit, edited and merged by hand, and what is wrong
 * with a file said by line and column. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/ranges.h"
#include "samples.h"

#include <float.h>
#include <unistd.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const calibrate_tensor asked[] = {
    {.name = "input"},
    {.name = "layer1.0/conv1:relu_output", .method = CALIBRATE_MSE},
    {.name = "say \"\\\" \t\n#: {}, é 漢 \xe2\x80\xa8 \xc2\x85 \x7f", .dtype = PARE_INT8, .symmetric = true},
};
enum { N = sizeof asked / sizeof *asked };

static void ranges_of(calibrate_range r[N]) {
    r[0] = (calibrate_range){.lo = -2.1179039f, .hi = 2.64f, .min = -2.1179039f, .max = 2.64f, .samples = 300};
    r[1] = (calibrate_range){.lo = 0, .hi = 0.1f, .min = 0, .max = FLT_MAX, .samples = 300, .clipped = 0.000123456789};
    r[2] = (calibrate_range){.lo = -FLT_TRUE_MIN, .hi = 1e-7f, .min = -1, .max = 16777216, .samples = 1, .clipped = 1};
    for (int i = 0; i < N; i++)
        calibrate_params(calibrate_grid_of(asked[i].dtype, asked[i].symmetric), r[i].lo, r[i].hi, &r[i].scale,
                         &r[i].zero_point);
}

static char *text_of(uint64_t *n) {
    static char data[] = "cal set: \"1\"";
    calibrate_range r[N];
    calibration c = {.n = N, .tensors = asked, .ranges = r, .data = data, .samples = 300, .graph = HASH};
    char *text;
    ranges_of(r);
    strcpy(c.data_sha256, HASH);
    assert_int_equal(ranges_text(&hosts[0], &c, &text, n), PARE_OK);
    assert_int_equal(strlen(text), *n);
    return text;
}

static pare_status parse(const char *text, const calibrate_tensor *t, uint64_t n, calibration *out) {
    memset(&said, 0, sizeof said);
    return ranges_parse(&hosts[0], "r.yaml", text, strlen(text), HASH, t, n, out);
}

static void test_there_and_back(void **state) {
    uint64_t n, again;
    char *text = text_of(&n), *twice = text_of(&again);
    calibrate_range r[N];
    calibration c;
    (void)state;
    assert_int_equal(n, again);
    assert_memory_equal(text, twice, n);
    ranges_of(r);
    assert_int_equal(parse(text, asked, N, &c), PARE_OK);
    assert_int_equal(said.errors + said.warnings, 0);
    for (int i = 0; i < N; i++) {
        assert_true(c.ranges[i].lo == r[i].lo && c.ranges[i].hi == r[i].hi);
        assert_true(c.ranges[i].min == r[i].min && c.ranges[i].max == r[i].max);
        assert_true(c.ranges[i].scale == r[i].scale && c.ranges[i].zero_point == r[i].zero_point);
        assert_int_equal(c.ranges[i].samples, r[i].samples);
        assert_true(fabs(c.ranges[i].clipped - r[i].clipped) < 1e-9);
    }
    assert_string_equal(c.data, "cal set: \"1\"");
    assert_string_equal(c.graph, HASH);
    assert_string_equal(c.data_sha256, HASH);
    assert_int_equal(c.samples, 300);
    /* and written again, it is the same file */
    char *third;
    assert_int_equal(ranges_text(&hosts[0], &c, &third, &again), PARE_OK);
    assert_string_equal(text, third);
    /* a line for each tensor */
    int lines = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 5 + N);
    calibration_free(&c);
    free(text);
    free(twice);
    free(third);
}

static void test_by_hand(void **state) {
    static const calibrate_tensor two[] = {{.name = "a"}, {.name = "b", .dtype = PARE_INT8}};
    calibration c;
    (void)state;
    /* lo and hi alone; scale and zero_point that no longer fit them; other order; more tensors than asked for */
    assert_int_equal(parse("tensors:\n  unasked: {lo: 0, hi: 1}\n  b: {hi: 127, lo: -128, scale: 77, zero_point: 3}\n"
                           "  a: {lo: 0.5, hi: 510}\n",
                           two, 2, &c),
                     PARE_OK);
    assert_int_equal(said.warnings, 1);
    assert_string_equal(said.code, "ranges.no-graph");
    assert_true(c.ranges[0].lo == 0 && c.ranges[0].hi == 510 && c.ranges[0].scale == 2 && c.ranges[0].zero_point == 0);
    assert_true(c.ranges[1].scale == 1 && c.ranges[1].zero_point == 0);
    assert_true(c.ranges[0].min == 0.5f && c.ranges[0].max == 510 && isnan(c.ranges[0].clipped));
    assert_null(c.data);
    assert_string_equal(c.graph, HASH);
    calibration_free(&c);
    /* over several lines, with comments */
    assert_int_equal(parse("# mine\nformat: 1\ngraph: " HASH "\ntensors:\n  a:\n    lo: -1 # wider\n    hi: +1.0e0\n"
                           "    min: -.5\n  b: {lo: 0, hi: 0}\n",
                           two, 2, &c),
                     PARE_OK);
    assert_int_equal(said.warnings, 0);
    assert_true(c.ranges[1].scale == 1 && c.ranges[1].zero_point == -128 && c.ranges[0].min == -0.5f);
    calibration_free(&c);
    assert_int_equal(parse("graph: " HASH "\ntensors: {}\n", two, 0, &c), PARE_OK);
    calibration_free(&c);
}

static void test_refused(void **state) {
    static const calibrate_tensor two[] = {{.name = "conv1.out"}, {.name = "b"}};
    static const struct {
        const char *text, *code, *says, *hint;
    } rows[] = {
        {"", "ranges.form", "r.yaml: is empty", ""},
        {"[1, 2]\n", "ranges.form", "r.yaml:1:1: a file of ranges has to be a mapping", ""},
        {"tensors: {b: {lo: 0, hi: [}\n", "ranges.yaml", "r.yaml:1:", ""},
        {"tensors:\n\tb: 1\n", "ranges.yaml", "r.yaml:2:1: is no YAML", ""},
        {"a: \xff\n", "ranges.yaml", "at byte", ""},
        {"format: 2\ntensors: {}\n", "ranges.format", "r.yaml:1:9: format 2 is not known", ""},
        {"format: one\n", "ranges.form", "r.yaml:1:9: format is not a whole number", ""},
        {"tensor: {}\n", "ranges.unknown-key", "r.yaml:1:1: \"tensor\" is not a key", "did you mean \"tensors\"?"},
        {"format: 1\n", "ranges.form", "there is no \"tensors\"", ""},
        {"tensors: {}\ntensors: {}\n", "ranges.twice", "r.yaml:2:1: \"tensors\" stands here a second time", ""},
        {"tensors: {}\n", "ranges.missing", "no range of \"conv1.out\" (nor of 1 others)", ""},
        {"tensors:\n  conv1.ouT: {lo: 0, hi: 1}\n  b: {lo: 0, hi: 1}\n", "ranges.missing",
         "r.yaml:2:3: there is no range of \"conv1.out\"", "did you mean that by \"conv1.ouT\"?"},
        {"tensors:\n  b: {lo: 0, hi: 1}\n  c: {lo: 0, hi: 1}\n  b: {lo: 0, hi: 2}\n", "ranges.twice",
         "r.yaml:4:3: \"b\" has a range already", ""},
        {"tensors:\n  b: {lo: 1, hi: -1}\n", "ranges.order",
         "r.yaml:2:6: the range of \"b\" goes from lo 1 down to hi -1", ""},
        {"tensors:\n  b: {lo: 0, hi: 1, min: 2, max: 1}\n", "ranges.order", "\"b\" has min 2 above max 1", ""},
        {"tensors:\n  b: {lo: 0, hi: .inf}\n", "ranges.not-finite", "r.yaml:2:18: hi is .inf", ""},
        {"tensors:\n  b: {lo: nan, hi: 1}\n", "ranges.not-finite", "r.yaml:2:11: lo is nan", ""},
        {"tensors:\n  b: {lo: 0, hi: 1e39}\n", "ranges.not-finite", "r.yaml:2:18: hi is 1e39", ""},
        {"tensors:\n  b: {lo: 0, hi: 0x10}\n", "ranges.form", "hi is \"0x10\", not a number", ""},
        {"tensors:\n  b: {lo: 0, hi: 1 2}\n", "ranges.form", "not a number", ""},
        {"tensors:\n  b: {lo: 0, hi: }\n", "ranges.form", "hi is not a number", ""},
        {"tensors:\n  b: {lo: 0, hi: [1]}\n", "ranges.form", "hi is not a number", ""},
        {"tensors:\n  b: {lo: 0}\n", "ranges.form", "r.yaml:2:6: \"b\" has no hi", ""},
        {"tensors:\n  b: {hi: 0}\n", "ranges.form", "\"b\" has no lo", ""},
        {"tensors:\n  b: {lo: 0, hi: 1, lo: 2}\n", "ranges.twice", "r.yaml:2:21: \"lo\" stands here a second time", ""},
        {"tensors:\n  b: {lo: 0, hi: 1, clip: 0}\n", "ranges.unknown-key",
         "r.yaml:2:21: \"clip\" is not a key of the range of \"b\"", "did you mean \"clipped\"?"},
        {"tensors:\n  b: {lo: 0, hi: 1, samples: -3}\n", "ranges.form", "samples is not a whole number", ""},
        {"tensors:\n  b: {lo: 0, hi: 1, dtype: [1]}\n", "ranges.form", "dtype is not a word", ""},
        {"tensors:\n  b: 3\n", "ranges.form", "r.yaml:2:6: the range of \"b\" has to be a mapping", ""},
        {"tensors:\n  [b]: {lo: 0, hi: 1}\n", "ranges.form", "this is not a tensor's name", ""},
        {"tensors: [b]\n", "ranges.form", "r.yaml:1:10: tensors has to be a mapping", ""},
        {"data: {set: x}\ntensors: {}\n", "ranges.unknown-key", "\"set\" is not a key of data", ""},
        {"data: x\ntensors: {}\n", "ranges.form", "data has to be a mapping", ""},
        {"graph: 12\ntensors: {}\n", "ranges.form", "r.yaml:1:8: graph is not a SHA-256", ""},
        {"graph: ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\ntensors: {}\n", "ranges.other-graph",
         "r.yaml:1:8: these ranges were measured on another model (ffff45678", "takes the line \"graph\" out"},
        {"tensors:\n  conv1.out: {lo: 0, hi: 1}\n  b: {lo: 0, hi: 1}\n---\ntensors: {}\n", "ranges.form",
         "r.yaml:5:1: a second document", ""},
        {"tensors:\n  conv1.out: {lo: 0, hi: 1}\n  b: {lo: 0, hi: 1}\n---\n[\n", "ranges.yaml", "r.yaml:6:1", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        calibration c = {.samples = 42};
        const pare_status st = parse(rows[i].text, two, 2, &c);
        if (st != PARE_EINVAL || said.errors != 1 || strcmp(said.code, rows[i].code) ||
            !strstr(said.message, rows[i].says) || !strstr(said.hint, rows[i].hint) || strcmp(said.param, "ranges") ||
            c.samples != 42)
            fail_msg("%s\n-> %d, %d errors, %s: %s (%s), not %s: %s (%s)", rows[i].text, st, said.errors, said.code,
                     said.message, said.hint, rows[i].code, rows[i].says, rows[i].hint);
    }
}

/* Cut anywhere and with any byte spoilt, a file is read or refused with one complaint. */
static void test_spoilt(void **state) {
    uint64_t n;
    char *text = text_of(&n), *copy = malloc(n + 1);
    int refused = 0;
    (void)state;
    for (uint64_t i = 0; i < n; i++)
        for (int how = 0; how < 5; how++) {
            calibration c;
            memcpy(copy, text, n + 1);
            if (how == 0)
                copy[i] = '\0';
            else
                copy[i] = "?\n{\"\xff"[how];
            memset(&said, 0, sizeof said);
            const pare_status st = ranges_parse(&hosts[0], "r.yaml", copy, how ? n : i, HASH, asked, N, &c);
            if (st) {
                refused++;
                if (said.errors != 1) fail_msg("byte %llu, %d: %d complaints", (unsigned long long)i, how, said.errors);
            } else {
                calibration_free(&c);
            }
        }
    assert_true(refused > (int)n);
    free(copy);
    free(text);
}

static void test_files(void **state) {
    char path[] = "/tmp/pare-ranges-XXXXXX";
    uint64_t n;
    char *text = text_of(&n);
    calibration c;
    const int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    assert_int_equal(close(fd), 0);
    memset(&said, 0, sizeof said);
    assert_int_equal(ranges_read(&hosts[0], path, HASH, asked, N, &c), PARE_OK);
    assert_true(c.ranges[0].hi == 2.64f);
    calibration_free(&c);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ranges_read(&hosts[0], path, HASH, asked, N, &c), PARE_EIO);
    assert_non_null(strstr(said.message, "can't be read: No such file"));
    assert_int_equal(ranges_read(&hosts[0], "/tmp", HASH, asked, N, &c), PARE_EIO);
    assert_int_equal(said.errors, 2);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_by_hand), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_spoilt),         cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
