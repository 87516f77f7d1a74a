/* tests/pipeline/test_config_lock.c - core/pipeline/lock.h and schema.h: types survive the YAML writer, the lock's
 * bytes repeat, the schema holds every technique's and network's parameters. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "pipeline/lock.h"
#include "pipeline/schema.h"
#include "pipeline/techniques.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void same(const json_t *j, const pare_yaml_node *n) {
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *value;
        assert_int_equal(n->kind, PARE_YAML_MAP);
        assert_int_equal(n->n, json_object_size(j));
        json_object_foreach((json_t *)(uintptr_t)j, key, value) {
            const pare_yaml_node *item = pare_yaml_get(n, key);
            if (!item) fail_msg("no key %s", key);
            same(value, item);
        }
        break;
    }
    case JSON_ARRAY:
        assert_int_equal(n->kind, PARE_YAML_LIST);
        assert_int_equal(n->n, json_array_size(j));
        for (uint32_t i = 0; i < n->n; i++) same(json_array_get(j, i), n->items[i]);
        break;
    case JSON_STRING:
        if (n->kind != PARE_YAML_STRING)
            fail_msg("\"%s\" came back as %s", json_string_value(j), pare_yaml_kind_name(n->kind));
        assert_string_equal(n->text, json_string_value(j));
        break;
    case JSON_INTEGER:
        assert_int_equal(n->kind, PARE_YAML_INT);
        assert_true(n->fits && n->i == json_integer_value(j));
        break;
    case JSON_REAL:
        assert_int_equal(n->kind, PARE_YAML_FLOAT);
        assert_true(n->f == json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        assert_int_equal(n->kind, PARE_YAML_BOOL);
        assert_int_equal(n->i, json_is_true(j));
        break;
    default: assert_int_equal(n->kind, PARE_YAML_NULL);
    }
}

static void types_survive(void **state) {
    (void)state;
    static const char *const strings[] = {"plain",
                                          "",
                                          "1",
                                          "0.5",
                                          "1e5",
                                          "0x10",
                                          "0o7",
                                          "true",
                                          "no",
                                          "On",
                                          "null",
                                          "~",
                                          ".inf",
                                          "-",
                                          "- a",
                                          "a: b",
                                          "a #b",
                                          "#",
                                          "*x",
                                          "&x",
                                          "!x",
                                          "2:4",
                                          "[x]",
                                          "{x}",
                                          "a\nb",
                                          "a\tb",
                                          " a",
                                          "a ",
                                          "'",
                                          "\"",
                                          "%x",
                                          "@x",
                                          "1_000",
                                          "<<",
                                          "=",
                                          "?",
                                          ":",
                                          "a:",
                                          "\x01\x1b",
                                          "\xc3\xa4",
                                          "\xc2\x85",
                                          "2001-1-1",
                                          "-x",
                                          "x/y.onnx",
                                          "${name}",
                                          "re:^fc",
                                          "fc.*",
                                          "---",
                                          "...",
                                          "|",
                                          ">",
                                          "long long long long long long long long "
                                          "long long long long long long long long "
                                          "long long long long long long"};
    static const double reals[] = {0,    -0.0,       1, 0.1, 1e-5, 1e20, 1.0 / 3, 5e-324, 1.7976931348623157e308,
                                   -2.5, 123456789.0};
    json_t *all = json_object(), *s = json_array(), *r = json_array();
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        json_array_append_new(s, json_string(strings[i]));
        json_t *nested = json_object(); /* and as keys, which libyaml writes by other rules */
        json_object_set_new(nested, *strings[i] ? strings[i] : "empty", json_string(strings[i]));
        char key[16];
        snprintf(key, sizeof key, "k%zu", i);
        json_object_set_new(all, key, nested);
    }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) json_array_append_new(r, json_real(reals[i]));
    json_object_set_new(all, "strings", s);
    json_object_set_new(all, "reals", r);
    json_object_set_new(all, "ints", json_pack("[I, I, i]", (json_int_t)INT64_MIN, (json_int_t)INT64_MAX, 0));
    json_object_set_new(all, "others", json_pack("[b, b, n, [], {}, [[i], {s:i}]]", 1, 0, 1, "x", 2));
    /* "<<" can't be a key, quoted or not, in every reader; ours takes the quoted one */
    pare_sb b = {0};
    pare_lock_emit(all, &b);
    pare_yaml *y;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    if (pare_yaml_parse("lock", b.data, b.len, d, &y) != PARE_OK)
        fail_msg("%s\n%u: %s", b.data, pare_diags_get(d, 0)->at.line, pare_diags_get(d, 0)->message);
    same(all, y->root);
    pare_yaml_free(y);
    pare_diags_free(d);
    pare_sb_free(&b);
    json_decref(all);
}

static void looks(void **state) {
    (void)state;
    json_t *j = json_pack("{s:s, s:{s:[s, s], s:f, s:f}, s:[{s:s, s:i}, {s:n}], s:[], s:{}}", "name", "net", "with",
                          "ops", "Conv", "Gemm", "sparsity", 0.9, "big", 1e20, "files", "sha256", "00ff", "bytes", 12,
                          "zoo", "none", "empty");
    pare_sb b = {0};
    pare_lock_emit(j, &b);
    assert_string_equal(b.data, "name: net\n"
                                "with:\n"
                                "  ops: [Conv, Gemm]\n"
                                "  sparsity: 0.9\n"
                                "  big: 1.0e+20\n"
                                "files:\n"
                                "- sha256: \"00ff\"\n"
                                "  bytes: 12\n"
                                "- zoo: null\n"
                                "none: []\n"
                                "empty: {}\n");
    pare_sb_free(&b);
    json_decref(j);
}

static void whole_lock(void **state) {
    (void)state;
    char dir[] = "/tmp/pare-lock-XXXXXX", file[64], out[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/p.yaml", dir);
    snprintf(out, sizeof out, "%s/lock.yaml", dir);
    static const char text[] =
        "version: 1\nmodels: {net: {zoo: resnet18}}\n"
        "steps: [{id: a, use: prune.unstructured, with: {sparsity: 0.9, layers: [{match: fc}]}}]\n";
    assert_int_equal(pare_file_write(file, text, sizeof text - 1, NULL), PARE_OK);
    pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
    pare_pipeline *p;
    assert_int_equal(pare_pipeline_open(file, &opts, NULL, &p), PARE_OK);
    const uint64_t seeds[] = {0xfedcba9876543210u};
    const pare_lock_plugin plugins[] = {{"prune", "0.1.0", "12345678"}};
    const pare_lock_file in[] = {{.name = "net", .zoo = "resnet18", .bytes = 5, .sha256 = "0e1"}};
    const pare_lock_file made[] = {{.name = "a", .path = "steps/01-a/model.onnx", .bytes = 6, .sha256 = "ab"}};
    pare_lock l = {.pipeline = p,
                   .step_seeds = seeds,
                   .plugins = plugins,
                   .n_plugins = 1,
                   .in = in,
                   .n_in = 1,
                   .out = made,
                   .n_out = 1,
                   .cpu_model = "Some CPU: 3 GHz",
                   .cpu_features = "avx2,fma",
                   .threads = 2};
    assert_int_equal(pare_lock_write(&l, out, NULL), PARE_OK);
    pare_yaml *y;
    assert_int_equal(pare_yaml_open(out, NULL, &y), PARE_OK);
    json_t *j = pare_lock_json(&l);
    same(j, y->root);
    json_decref(j);
    const pare_yaml_node *first = pare_yaml_get(y->root, "in")->items[0];
    assert_string_equal(pare_yaml_get(first, "sha256")->text, "0e1");
    assert_string_equal(pare_yaml_get(pare_yaml_get(y->root, "step_seeds"), "a")->text, "0xfedcba9876543210");
    assert_int_equal(pare_yaml_get(pare_yaml_get(y->root, "step_seeds"), "a")->kind, PARE_YAML_STRING);
    assert_int_equal(pare_yaml_get(pare_yaml_get(y->root, "cpu"), "features")->n, 2);
    const pare_yaml_node *step = pare_yaml_get(pare_yaml_get(y->root, "pipeline"), "steps")->items[0];
    assert_string_equal(pare_yaml_get(pare_yaml_get(step, "with"), "criterion")->text, "magnitude");
    pare_sb first_bytes = {0};
    pare_sb_addn(&first_bytes, y->src.text, y->src.len);
    pare_yaml_free(y);
    assert_int_equal(pare_lock_write(&l, out, NULL), PARE_OK);
    assert_int_equal(pare_yaml_open(out, NULL, &y), PARE_OK);
    assert_string_equal(y->src.text, first_bytes.data);
    pare_sb_free(&first_bytes);
    pare_yaml_free(y);
    pare_pipeline_free(p);
    assert_int_equal(pare_tree_remove(dir, NULL), PARE_OK);
}

static void schema(void **state) {
    (void)state;
    pare_technique_set t = test_techniques();
    pare_loss_choice l = test_losses();
    json_t *s = pare_pipeline_schema(&t, &l);
    assert_string_equal(json_string_value(json_object_get(s, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    assert_true(json_is_false(json_object_get(s, "additionalProperties")));
    char *text = json_dumps(s, JSON_COMPACT);
    assert_non_null(strstr(text, "\"const\":\"prune.unstructured\""));
    assert_non_null(strstr(text, "\"const\":\"test.needs\""));
    assert_non_null(strstr(text, "\"const\":\"resnet18\""));
    assert_non_null(strstr(text, "\"teacher\""));
    assert_non_null(strstr(text, "\"const\":\"test.distill\""));
    assert_non_null(strstr(text, "\"label_smoothing\""));
    free(text);
    json_t *steps = json_object_get(json_object_get(json_object_get(s, "properties"), "steps"), "items");
    assert_int_equal(json_array_size(json_object_get(steps, "allOf")), 2 * TEST_TECHNIQUES); /* with, fit */
    json_decref(s);
    t.n_ids = 0; /* no plugin at all */
    s = pare_pipeline_schema(&t, NULL);
    assert_non_null(s);
    json_decref(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_survive), cmocka_unit_test(looks),
                                       cmocka_unit_test(whole_lock), cmocka_unit_test(schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
