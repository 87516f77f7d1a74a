/* tests/pipeline/test_config.c - core/pipeline/config.h: good files typed, --set, and every file of tests/pipelines,
 * which says in its first lines what must be said about it, and where: # expect: CODE LINE:COL WORDS */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "pipeline/techniques.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/pare-config-XXXXXX";
static char file[128]; /* dir/test.yaml */

static int enter(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/test.yaml", dir);
    char net[160];
    snprintf(net, sizeof net, "%s/net.onnx", dir);
    return pare_file_write(net, "x", 1, NULL) == PARE_OK ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    return pare_tree_remove(dir, NULL) == PARE_OK ? 0 : -1;
}

static pare_status open_text(const char *text, const char *const *sets, size_t n_sets, pare_diags *d,
                             pare_pipeline **p) {
    assert_int_equal(pare_file_write(file, text, strlen(text), NULL), PARE_OK);
    pare_pipeline_opts opts = {
        .techniques = test_techniques(), .losses = test_losses(), .sets = sets, .n_sets = n_sets};
    return pare_pipeline_open(file, &opts, d, p);
}

static pare_pipeline *good(const char *text, const char *const *sets, size_t n_sets) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_pipeline *p = NULL;
    pare_status st = open_text(text, sets, n_sets, d, &p);
    if (st != PARE_OK) fail_msg("%s\n%s", text, pare_diags_count(d) ? pare_diags_get(d, 0)->message : "no diagnostic");
    pare_diags_free(d);
    return p;
}

static const char full[] = "version: 1\n"
                           "name: \"r-${env:PARE_TEST_TAG}\"\n"
                           "seed: 0x10\n"
                           "device: cpu\n"
                           "models:\n"
                           "  net: {zoo: resnet18, with: {classes: 10}}\n"
                           "  other: {onnx: net.onnx}\n"
                           "steps:\n"
                           "  - {id: a, use: prune.unstructured, model: net, with: {sparsity: 0.5, ops: Conv}}\n"
                           "  - id: b\n"
                           "    use: prune.unstructured\n"
                           "    with:\n"
                           "      sparsity: 0.9\n"
                           "      layers: [{match: fc.*, sparsity: 0.2}]\n"
                           "  - {id: c, use: test.needs, from: a, with: {teacher: b, level: 3}}\n"
                           "  - {id: d, use: test.needs, model: other, with: {teacher: net.onnx, level: 1}}\n"
                           "  - {id: e, use: prune.unstructured, model: net}\n"
                           "report: {baseline: a, metrics: [gzip]}\n"
                           "output: {dir: \"out/${name}\", gzip: off, pack: on}\n";

static void typed(void **state) {
    (void)state;
    setenv("PARE_TEST_TAG", "7", 1);
    pare_pipeline *p = good(full, NULL, 0);
    assert_string_equal(p->name, "r-7");
    assert_int_equal(p->seed, 16);
    assert_string_equal(p->device, "cpu");
    assert_int_equal(p->n_models, 2);
    assert_string_equal(p->models[0].zoo->name, "resnet18");
    assert_int_equal(p->models[0].with->args[0].u.i, 10);
    assert_null(p->models[1].zoo);
    char net[160];
    snprintf(net, sizeof net, "%s/net.onnx", dir);
    assert_string_equal(p->models[1].onnx, net);
    assert_string_equal(p->models[1].file_written, "net.onnx");
    static const struct {
        const char *id, *input, *model;
    } rows[] = {{"a", "net", "net"}, {"b", "a", "net"}, {"c", "a", "net"}, {"d", "other", "other"}, {"e", "c", "net"}};
    assert_int_equal(p->n_steps, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(p->steps[i].id, rows[i].id);
        assert_string_equal(pare_pipeline_ref_name(p, p->steps[i].input), rows[i].input);
        assert_string_equal(p->models[p->steps[i].model].name, rows[i].model);
        assert_non_null(p->steps[i].technique);
    }
    assert_string_equal(pare_pipeline_ref_name(p, p->models[0].last), "e");
    assert_string_equal(pare_pipeline_ref_name(p, p->models[1].last), "d");
    assert_int_equal(p->main_model, 0);
    assert_true(p->steps[1].with->args[0].u.f == 0.9);
    assert_int_equal(pare_params_locate(p->steps[1].with, "layers[0].sparsity").line, 14);
    assert_int_equal(pare_params_locate(p->steps[1].with, "layers[0].sparsity").col, 40);
    assert_string_equal(p->steps[2].with->args[0].u.s, "b");
    assert_string_equal(p->steps[3].with->args[0].u.s, net);
    assert_int_equal(p->steps[4].at.line, 17);
    assert_int_equal(p->steps[4].use_at.col, 18);
    assert_string_equal(p->report.baseline_name, "a");
    assert_true(!p->report.size && p->report.gzip);
    assert_string_equal(p->output.dir_written, "out/r-7");
    assert_int_equal(p->output.gzip, PARE_OFF);
    assert_int_equal(p->output.pack, PARE_ON);
    assert_int_equal(p->output.external_data, PARE_AUTO);
    pare_pipeline_free(p);
}

static void defaults(void **state) {
    (void)state;
    pare_pipeline *p =
        good("version: 1\nmodels: {a: {zoo: resnet18}, b: {zoo: resnet18, with: }}\nsteps: []\n", NULL, 0);
    assert_string_equal(p->name, "test");
    assert_int_equal(p->seed, 0);
    assert_string_equal(p->device, "auto");
    assert_int_equal(p->n_steps, 0);
    assert_int_equal(p->main_model, 0);
    assert_string_equal(p->report.baseline_name, "a");
    assert_true(p->report.size && p->report.gzip);
    char out[160];
    snprintf(out, sizeof out, "%s/runs/test", dir);
    assert_string_equal(p->output.dir, out);
    assert_false(p->output.dir_given);
    assert_int_equal(p->output.gzip, PARE_ON);
    assert_int_equal(p->output.pack, PARE_AUTO);
    pare_pipeline_free(p);
    pare_pipeline_free(NULL);
    p = good("version: 1\nmodels: {a: {zoo: resnet18}, b: {zoo: resnet18}}\n"
             "steps: [{id: x, use: prune.unstructured, from: b}]\noutput: /abs/x\nreport: {metrics: []}\n",
             NULL, 0);
    assert_int_equal(p->main_model, 1);
    assert_string_equal(p->report.baseline_name, "b");
    assert_string_equal(p->output.dir, "/abs/x");
    assert_true(!p->report.size && !p->report.gzip);
    pare_pipeline_free(p);
}

/* What the lock holds is a pipeline of its own and resolves to itself. */
static void resolved(void **state) {
    (void)state;
    setenv("PARE_TEST_TAG", "7", 1);
    pare_pipeline *p = good(full, NULL, 0);
    json_t *once = pare_pipeline_json(p);
    pare_pipeline_free(p);
    char *text = json_dumps(once, JSON_INDENT(1));
    p = good(text, NULL, 0); /* JSON is YAML */
    json_t *twice = pare_pipeline_json(p);
    assert_true(json_equal(once, twice));
    json_t *step = json_array_get(json_object_get(once, "steps"), 4);
    assert_string_equal(json_string_value(json_object_get(step, "from")), "c");
    assert_string_equal(json_string_value(json_object_get(json_object_get(step, "with"), "criterion")), "magnitude");
    pare_pipeline_free(p);
    json_decref(once);
    json_decref(twice);
    free(text);
}

static void sets(void **state) {
    (void)state;
    setenv("PARE_TEST_TAG", "7", 1);
    const char *const all[] = {"steps.b.with.sparsity=0.25",
                               "steps.4.with.ops=[Gemm, MatMul]",
                               "seed=9",
                               "name=fresh",
                               "models.net.with.classes=${env:PARE_TEST_TAG}",
                               "steps.b.with.layers.0.sparsity=.75",
                               "report.metrics=size",
                               "output=o/${name}"};
    pare_pipeline *p = good(full, all, 8);
    assert_true(p->steps[1].with->args[0].u.f == 0.25);
    assert_int_equal(pare_params_locate(p->steps[1].with, "sparsity").col, 23);
    assert_string_equal(pare_params_locate(p->steps[1].with, "sparsity").src->name, "--set");
    json_t *j = pare_pipeline_json(p);
    char *text = json_dumps(json_object_get(json_array_get(json_object_get(j, "steps"), 4), "with"), JSON_COMPACT);
    assert_non_null(strstr(text, "\"ops\":[\"Gemm\",\"MatMul\"]"));
    free(text);
    json_decref(j);
    assert_int_equal(p->seed, 9);
    assert_string_equal(p->name, "fresh");
    assert_int_equal(p->models[0].with->args[0].u.i, 7);
    assert_true(p->steps[1].with->args[5].u.list[1].u.f == 0.75);
    assert_true(p->report.size && !p->report.gzip);
    assert_string_equal(p->output.dir_written, "o/fresh");
    pare_pipeline_free(p);

    static const struct {
        const char *set, *code, *says;
        uint32_t col;
    } bad[] = {
        {"steps.pruned.with.sparsity=0.8", "config.set", "steps has no element \"pruned\"", 7},
        {"steps.bb.with.sparsity=0.8", "config.set", "did you mean", 7},
        {"steps.9=x", "config.set", "steps has no element", 7},
        {"models.nett.weights=x", "config.set", "did you mean \"net\"?", 8},
        {"seed.x=1", "config.set", "seed is the int 0x10", 6},
        {"steps.b.with.sparsty=1", "config.unknown-key", "did you mean \"sparsity\"?", 14},
        {"steps.b.with.sparsity=high", "config.type", "a float", 23},
        {"sede=1", "config.unknown-key", "did you mean \"seed\"?", 1},
        {"repot.metrics=size", "config.unknown-key", "did you mean \"report\"?", 1},
        {"seed", "config.set", "KEY=VALUE", 0},
        {"=1", "config.set", "KEY=VALUE", 0},
        {"steps..x=1", "config.set", "missing", 7},
        {"name=[x", "yaml.syntax", NULL, 0},
        {"seed=${nmae}", "yaml.variable", "${nmae}", 6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        assert_int_equal(open_text(full, &bad[i].set, 1, d, &p), PARE_EINVAL);
        assert_null(p);
        const pare_diag_item *it = pare_diags_get(d, 0);
        if (pare_diags_errors(d) != 1 || strcmp(it->code, bad[i].code) != 0 || (bad[i].col && it->at.col != bad[i].col))
            fail_msg("%s: %s at %u: %s", bad[i].set, it->code, it->at.col, it->message);
        if (bad[i].says && !strstr(it->message, bad[i].says) && !(it->hint && strstr(it->hint, bad[i].says)))
            fail_msg("%s: \"%s\" (%s)", bad[i].set, it->message, it->hint ? it->hint : "");
        pare_diags_free(d);
    }
}

static void references(void **state) {
    (void)state;
    static const char head[] = "version: 1\nmodels: {net: {zoo: resnet18}}\n";
    static const struct {
        const char *steps, *code, *says;
    } bad[] = {
        {"steps: [{id: a, use: test.needs, with: {teacher: b, level: 1}}, {id: b, use: prune.unstructured}]",
         "config.unknown-model", "no earlier step"},
        {"steps: [{id: a, use: test.needs, with: {teacher: nett, level: 1}}]", "config.unknown-model", "\"net\""},
        {"steps: [{id: a, use: test.needs, with: {teacher: net}}]", "config.missing", "level is missing"},
        {"steps: [{id: a, use: test.needs, with: [teacher]}]", "config.type", "steps.a.with must be a map"},
        {"steps: [{id: a, use: 5}]", "config.type", "quotes"},
        {"steps: [{id: 5, use: prune.unstructured}]", "config.type", "quotes"},
        {"steps: [a]", "config.type", "steps[0] must be a map"},
        {"steps:", "config.type", "`steps: []` copies"},
        {"steps: []\nname: 2024", "config.type", "quotes"},
        {"steps: []\nname: \"\"", "config.range", "empty"},
        {"steps: []\nname: ${name}", "yaml.variable", "${name}"},
        {"steps: []\noutput: ~", "config.type", "nothing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_pipeline *p;
        char text[512];
        snprintf(text, sizeof text, "%s%s\n", head, bad[i].steps);
        assert_int_equal(open_text(text, NULL, 0, d, &p), PARE_EINVAL);
        const pare_diag_item *it = pare_diags_get(d, 0);
        if (pare_diags_errors(d) != 1 || strcmp(it->code, bad[i].code) != 0)
            fail_msg("%s: %s: %s", bad[i].steps, it->code, it->message);
        if (!strstr(it->message, bad[i].says) && !(it->hint && strstr(it->hint, bad[i].says)))
            fail_msg("%s: \"%s\" (%s)", bad[i].steps, it->message, it->hint ? it->hint : "");
        pare_diags_free(d);
    }
    /* a folder and a file that is not there */
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
    pare_pipeline *p;
    assert_int_equal(pare_pipeline_open(dir, &opts, d, &p), PARE_EINVAL);
    assert_int_equal(pare_exit_code(pare_pipeline_open("/nonexistent/x.yaml", &opts, d, &p)), 2);
    assert_int_equal(pare_diags_errors(d), 2);
    pare_diags_free(d);
    /* so many errors that they are not all said */
    pare_sb b = {0};
    pare_sb_add(&b, head);
    pare_sb_add(&b, "steps: []\n");
    for (int i = 0; i < 3000; i++) pare_sb_printf(&b, "key%d: 1\n", i);
    d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(open_text(b.data, NULL, 0, d, &p), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 20);
    pare_diags_free(d);
    pare_sb_free(&b);
}

/* ---- tests/pipelines ---- */

static unsigned failures;

static void complain(const char *name, const char *what, const char *want, const pare_diag_item *got) {
    failures++;
    if (got)
        print_message("%s: %s: expected %s\n    got %s %u:%u %s (%s)\n", name, what, want, got->code, got->at.line,
                      got->at.col, got->message, got->hint ? got->hint : "");
    else
        print_message("%s: %s: expected %s\n", name, what, want);
}

static void check_file(const char *path, const char *name) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
    pare_pipeline *p = NULL;
    pare_status st = pare_pipeline_open(path, &opts, d, &p);
    if (pare_exit_code(st) != 2 || p) complain(name, "it is not refused", "exit code 2", NULL);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = 0;
    char line[512];
    while (fgets(line, sizeof line, f) && strncmp(line, "# expect: ", 10) == 0) {
        line[strcspn(line, "\n")] = 0;
        char code[64];
        unsigned l, c;
        int words;
        assert_int_equal(sscanf(line, "# expect: %63s %u:%u %n", code, &l, &c, &words), 3);
        const pare_diag_item *it = n < pare_diags_count(d) ? pare_diags_get(d, n) : NULL;
        n++;
        if (!it || strcmp(it->code, code) != 0 || it->at.line != l || it->at.col != c)
            complain(name, "code or place", line + 10, it);
        else if (!strstr(it->message, line + words) && !(it->hint && strstr(it->hint, line + words)))
            complain(name, "words", line + words, it);
    }
    fclose(f);
    if (!n) complain(name, "no expectation", "# expect: CODE LINE:COL WORDS", NULL);
    if (n != pare_diags_errors(d))
        complain(name, "more errors than expected", "that many", pare_diags_count(d) > n ? pare_diags_get(d, n) : NULL);
    pare_diags_free(d);
}

static void bad_files(void **state) {
    (void)state;
    unsetenv("PARE_TEST_NOT_SET");
    size_t n;
    char **names = pare_dir_list(PARE_TESTS_DIR "/pipelines", &n);
    assert_non_null(names);
    assert_true(n >= 25);
    failures = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        if (len < 5 || strcmp(names[i] + len - 5, ".yaml") != 0) continue;
        char *path = pare_path_join(PARE_TESTS_DIR "/pipelines", names[i]);
        check_file(path, names[i]);
        free(path);
    }
    pare_dir_list_free(names);
    if (failures) fail_msg("%u expectations failed", failures);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typed), cmocka_unit_test(defaults),   cmocka_unit_test(resolved),
        cmocka_unit_test(sets),  cmocka_unit_test(references), cmocka_unit_test(bad_files),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
