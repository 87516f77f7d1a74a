/* tests/pipeline/test_config_data.c - core/pipeline/config.h: data, preprocess and the report's metrics, and files that
 * are read for their data alone. What must be refused lies in tests/pipelines, with test_config.c. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "data/data.h"
#include "pipeline/schema.h"
#include "pipeline/techniques.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/pare-config-data-XXXXXX";
static char file[128]; /* dir/test.yaml */

static const char *in_dir(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int enter(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/test.yaml", dir);
    static const char *const files[] = {
        "a.npy", "b.npy", "c.npz", "d.txt", "e.safetensors", "one.bin", "t-images-idx3-ubyte", "t-labels-idx1-ubyte.gz",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (pare_file_write(in_dir(files[i]), "x", 1, NULL) != PARE_OK) return -1;
    static const char *const folders[] = {"ten", "hundred", "images"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (pare_dir_make(in_dir(folders[i]), NULL) != PARE_OK) return -1;
    if (pare_file_write(in_dir("ten/test_batch.bin"), "x", 1, NULL) != PARE_OK) return -1;
    return pare_file_write(in_dir("hundred/train.bin"), "x", 1, NULL) == PARE_OK ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    return pare_tree_remove(dir, NULL) == PARE_OK ? 0 : -1;
}

static const char head[] = "version: 1\nmodels: {net: {zoo: resnet18}}\nsteps: []\n";

/* `text` behind `head`, or alone and for its data only. */
static pare_status open_text(const char *text, bool data_only, pare_diags *d, pare_pipeline **p) {
    pare_sb b = {0};
    if (!data_only) pare_sb_add(&b, head);
    pare_sb_add(&b, text);
    assert_int_equal(pare_file_write(file, b.data, b.len, NULL), PARE_OK);
    pare_sb_free(&b);
    pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
    return data_only ? pare_pipeline_data_open(file, NULL, d, p) : pare_pipeline_open(file, &opts, d, p);
}

static pare_pipeline *good(const char *text, bool data_only) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_pipeline *p = NULL;
    if (open_text(text, data_only, d, &p) != PARE_OK)
        fail_msg("%s\n%s", text, pare_diags_count(d) ? pare_diags_get(d, 0)->message : "no diagnostic");
    pare_diags_free(d);
    return p;
}

static const pare_data_source *source(const pare_pipeline *p, const char *name) {
    int32_t i = pare_pipeline_set_find(p, name);
    assert_true(i >= 0);
    return p->data.sets[i].source;
}

static const char all_sets[] = "seed: 5\n"
                               "data:\n"
                               "  calibration: {from: train, take: 512, shuffle: true}\n"
                               "  train: {idx: t, seed: 9, split: [0.25, 1]}\n"
                               "  preprocess: {mean: [0.5, 0.25, 1], std: 2, resize: [8, 9], crop: 7, channels: 3,\n"
                               "               order: bgr, layout: nhwc, scale: 0.5}\n"
                               "  arrays: {npy: a.npy, labels: b.npy, layout: nchw}\n"
                               "  zip: {npz: c.npz, labels: y, images: x, classes: 4}\n"
                               "  ten: {cifar10: ten, part: test}\n"
                               "  lone: {cifar10: one.bin}\n"
                               "  hundred: {cifar100: hundred, share: 0.5}\n"
                               "  classes: {folder: images, on_error: skip}\n"
                               "  flat: {flat: \"${env:PARE_TEST_IMAGES}\"}\n"
                               "  listed: {list: d.txt, shuffle: off}\n"
                               "  tensors: {safetensors: e.safetensors}\n"
                               "  noise: {random: 1e3, classes: 2}\n"
                               "report: {on: classes, metrics: [macs, accuracy, latency, kl],\n"
                               "         latency: {batch: 16, threads: 2, runs: 40}}\n";

static void check_sets(const pare_pipeline *p) {
    assert_int_equal(p->data.n_sets, 12);
    assert_string_equal(p->data.sets[0].name, "calibration");
    assert_int_equal(p->data.sets[0].from, 1);
    assert_int_equal(p->data.sets[1].from, -1);
    const pare_data_source *s = source(p, "calibration");
    assert_int_equal(s->kind, PARE_DATA_FROM);
    assert_true(s->take == 512 && s->shuffle && s->seed == 5);
    assert_null(s->path);
    s = source(p, "train");
    assert_int_equal(s->kind, PARE_DATA_IDX);
    assert_string_equal(s->path, in_dir("t"));
    assert_string_equal(p->data.sets[1].written, "t");
    assert_string_equal(s->name, "train");
    assert_true(s->seed == 9 && s->split_from == 0.25 && s->split_to == 1 && !s->shuffle && !s->take);
    s = source(p, "arrays");
    assert_int_equal(s->kind, PARE_DATA_NPY);
    assert_string_equal(s->labels, in_dir("b.npy"));
    assert_int_equal(s->layout, 1);
    s = source(p, "zip");
    assert_int_equal(s->kind, PARE_DATA_NPY);
    assert_string_equal(s->path, in_dir("c.npz"));
    assert_string_equal(s->labels, "y");
    assert_string_equal(s->images, "x");
    assert_int_equal(s->classes, 4);
    assert_string_equal(source(p, "ten")->part, "test");
    assert_int_equal(source(p, "ten")->kind, PARE_DATA_CIFAR10);
    assert_string_equal(source(p, "lone")->part, "train");
    s = source(p, "hundred");
    assert_true(s->kind == PARE_DATA_CIFAR100 && s->split_from == 0 && s->split_to == 0.5);
    s = source(p, "classes");
    assert_true(s->kind == PARE_DATA_FOLDER && s->on_error == PARE_ON_ERROR_SKIP);
    assert_string_equal(source(p, "flat")->path, in_dir("images"));
    assert_int_equal(source(p, "listed")->kind, PARE_DATA_LIST);
    assert_int_equal(source(p, "tensors")->kind, PARE_DATA_SAFETENSORS);
    s = source(p, "noise");
    assert_true(s->kind == PARE_DATA_RANDOM && s->count == 1000 && s->classes == 2);
    const pare_data_preprocess *q = p->data.preprocess;
    assert_true(q->n_mean == 3 && q->mean[1] == 0.25 && q->n_std == 1 && q->std[0] == 2 && q->scale == 0.5);
    assert_true(!q->resize && q->resize_height == 8 && q->resize_width == 9 && q->crop_height == 7 &&
                q->crop_width == 7);
    assert_true(q->channels == 3 && q->order == PARE_ORDER_BGR && q->layout == 2);
    assert_int_equal(p->report.on, pare_pipeline_set_find(p, "classes"));
    assert_int_equal(pare_pipeline_set_find(p, "preprocess"), -1);
}

static void sets(void **state) {
    (void)state;
    setenv("PARE_TEST_IMAGES", "images", 1);
    pare_pipeline *p = good(all_sets, false);
    check_sets(p);
    assert_int_equal(p->data.sets[1].at.line, 7);
    assert_int_equal(p->data.sets[1].at.col, 3);
    assert_int_equal(p->data.sets[1].source_at.col, 16);
    assert_int_equal(p->report.metrics, PARE_METRIC_MACS | PARE_METRIC_ACCURACY | PARE_METRIC_LATENCY | PARE_METRIC_KL);
    assert_true(!p->report.size && !p->report.gzip);
    assert_true(p->report.latency.batch == 16 && p->report.latency.n_threads == 1 &&
                p->report.latency.threads[0] == 2 && p->report.latency.runs == 40);
    assert_ptr_equal(p->models[0].preprocess, p->data.preprocess);
    pare_pipeline_free(p);
    p = good("report: {metrics: latency, latency: {threads: [1, 0, 4]}}\n", false);
    assert_true(p->report.latency.n_threads == 3 && p->report.latency.threads[0] == 1 &&
                !p->report.latency.threads[1] && p->report.latency.threads[2] == 4);
    pare_pipeline_free(p);
    p = good("report: {metrics: latency}\n", false);
    assert_int_equal(p->data.n_sets, 0);
    assert_null(p->data.at.src);
    assert_non_null(p->data.preprocess);
    assert_int_equal(p->report.on, -1);
    assert_int_equal(p->report.metrics, PARE_METRIC_LATENCY);
    assert_true(p->report.latency.batch == 1 && p->report.latency.n_threads == 1 && !p->report.latency.threads[0] &&
                !p->report.latency.runs);
    pare_pipeline_free(p);
}

/* A model's own keys lie over those of data; null takes one back. Steps keep their device. */
static void overrides(void **state) {
    (void)state;
    static const char text[] = "version: 1\ndevice: cpu\n"
                               "models:\n"
                               "  a: {zoo: resnet18}\n"
                               "  b: {zoo: resnet18, preprocess: {layout: nhwc, resize: 32, std: ~}}\n"
                               "data: {preprocess: {mean: 0.5, std: 0.25, resize: [8, 9]}}\n"
                               "steps:\n"
                               "  - {id: x, use: prune.unstructured, from: a}\n"
                               "  - {id: y, use: prune.unstructured, device: auto}\n";
    pare_pipeline *p;
    assert_int_equal(pare_file_write(file, text, sizeof text - 1, NULL), PARE_OK);
    pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
    assert_int_equal(pare_pipeline_open(file, &opts, NULL, &p), PARE_OK);
    const pare_data_preprocess *a = p->models[0].preprocess, *b = p->models[1].preprocess;
    assert_true(!p->models[0].own_preprocess && p->models[1].own_preprocess);
    assert_true(a->n_std == 1 && a->resize_height == 8 && a->layout == 0);
    assert_true(b->n_mean == 1 && b->mean[0] == 0.5 && b->n_std == 0 && b->resize == 32 && !b->resize_height);
    assert_int_equal(b->layout, 2);
    assert_string_equal(p->steps[0].device, "cpu");
    assert_string_equal(p->steps[1].device, "auto");
    pare_pipeline_free(p);

    const char *const set[] = {"data.preprocess.mean=[1, 2, 3]", "models.a.preprocess.crop=4",
                               "report.latency.batch=8"};
    opts.sets = set;
    opts.n_sets = 3;
    assert_int_equal(pare_pipeline_open(file, &opts, NULL, &p), PARE_OK);
    assert_true(p->data.preprocess->n_mean == 3 && p->models[0].preprocess->crop_width == 4);
    assert_int_equal(p->report.latency.batch, 8);
    pare_pipeline_free(p);
}

/* What the lock holds reads back as the same. */
static void resolved(void **state) {
    (void)state;
    setenv("PARE_TEST_IMAGES", "images", 1);
    char text[4096];
    snprintf(text, sizeof text, "%s%s", all_sets, "name: r\n");
    pare_pipeline *p = good(text, false);
    json_t *once = pare_pipeline_json(p);
    assert_non_null(once);
    pare_pipeline_free(p);
    json_t *over = json_pack("{s:n, s:i}", "resize", "crop", 5);
    json_object_set_new(json_object_get(json_object_get(once, "models"), "net"), "preprocess", over);
    for (int round = 0; round < 2; round++) {
        char *dumped = json_dumps(once, JSON_INDENT(1));
        assert_int_equal(pare_file_write(file, dumped, strlen(dumped), NULL), PARE_OK);
        free(dumped);
        pare_pipeline_opts opts = {.techniques = test_techniques(), .losses = test_losses()};
        assert_int_equal(pare_pipeline_open(file, &opts, NULL, &p), PARE_OK);
        check_sets(p);
        const pare_data_preprocess *q = p->models[0].preprocess;
        assert_true(q->n_mean == 3 && !q->resize && !q->resize_height && q->crop_height == 5);
        json_t *twice = pare_pipeline_json(p);
        assert_true(!round || json_equal(once, twice)); /* the first still spells the override short */
        pare_pipeline_free(p);
        json_decref(once);
        once = twice;
    }
    json_decref(once);
}

/* A file that is read for its data may be a pipeline whose models and steps are not there. */
static void data_only(void **state) {
    (void)state;
    setenv("PARE_TEST_IMAGES", "images", 1);
    unsetenv("PARE_TEST_NOT_SET");
    pare_pipeline *p = good(all_sets, true);
    check_sets(p);
    assert_true(p->n_models == 0 && p->n_steps == 0);
    pare_pipeline_free(p);
    char text[4096];
    snprintf(text, sizeof text, "%s%s", all_sets,
             "version: 1\nname: x\nmodels: {net: {onnx: no-such.onnx}}\nsteps: [{use: no.such}]\nmatrix: 1\n"
             "output: \"${env:PARE_TEST_NOT_SET}\"\n");
    p = good(text, true);
    check_sets(p);
    assert_string_equal(p->name, "x");
    pare_pipeline_free(p);
    assert_int_equal(pare_file_write(file, "data: {a: {random: 5}}", 22, NULL), PARE_OK);
    const char *const set[] = {"data.a.random=7", "report.on=a"};
    pare_pipeline_opts opts = {.sets = set, .n_sets = 2};
    assert_int_equal(pare_pipeline_data_open(file, &opts, NULL, &p), PARE_OK);
    assert_int_equal(source(p, "a")->count, 7);
    assert_int_equal(p->report.on, 0);
    pare_pipeline_free(p);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *code, *says;
        bool data_only;
    } bad[] = {
        {"data: {a: {cifar10: ten}}", "config.no-file", "ten/data_batch_1.bin", false},
        {"data: {a: {cifar100: hundred, part: test}}", "config.no-file", "hundred/test.bin", false},
        {"data: {a: {cifar100: none}}", "config.no-file", "there is no folder", false},
        {"data: {a: {npy: a.npy, labels: none.npy}}", "config.no-file", "none.npy", false},
        {"data: {a: {npy: images}}", "config.no-file", "is a folder", false},
        {"data: {a: {idx: one}}", "config.no-file", "one-images-idx3-ubyte nor", false},
        {"data: {a: {random: 5}}\nreport: {on: a, metrics: accuracy}", "config.no-labels", "has none", false},
        {"data: {a: {npy: a.npy}}\nreport: {on: a, metrics: [loss]}", "config.no-labels", "has none", false},
        {"report: {metrics: top5}", "config.missing", "data: {test:", false},
        {"report: {on: a}", "config.unknown-set", "name it in a data block", false},
        {"data:", "config.type", "a map of sets", false},
        {"data: [a]", "config.type", "a map of sets", false},
        {"data: {preprocess: ~}", "config.type", "data.preprocess must be a map", false},
        {"data: {preprocess: {mean: []}}", "config.range", "1 to 16 numbers, got 0", false},
        {"data: {preprocess: {mean: .nan}}", "config.range", "must be a number", false},
        {"data: {preprocess: {std: 1e-60}}", "config.range", "above 0", false},
        {"data: {a: {from: 5}}", "config.type", "quotes", false},
        {"data: {a: {random: 2.5}}", "config.type", "an int from 1", false},
        {"data: {a: {random: 99999999999999999999}}", "config.range", "an int from 1", false},
        {"data: {a: {random: 5, take: 1e300}}", "config.type", "an int from 1", false},
        {"", "yaml.empty", "empty", true},
        {"[1]", "config.type", "the key data", true},
        {"version: 1", "config.missing", "data is missing", true},
        {"version: 2\ndata: {a: {random: 1}}", "config.version", "version 2", true},
        {"dta: {a: {random: 1}}\ndata: {a: {random: 1}}", "config.unknown-key", "did you mean \"data\"?", true},
        {"data: {a: {random: 1}}\nreport: {on: b}", "config.unknown-set", "did you mean \"a\"?", true},
        {"data: {a: {folder: \"${env:PARE_TEST_NOT_SET}\"}}", "yaml.env", "PARE_TEST_NOT_SET", true},
    };
    unsetenv("PARE_TEST_NOT_SET");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_pipeline *p;
        pare_status st = open_text(bad[i].text, bad[i].data_only, d, &p);
        if (pare_exit_code(st) != 2 || p) fail_msg("%s: it is not refused", bad[i].text);
        const pare_diag_item *it = pare_diags_get(d, 0);
        if (pare_diags_errors(d) != 1 || strcmp(it->code, bad[i].code) != 0)
            fail_msg("%s: %s: %s", bad[i].text, it->code, it->message);
        if (!strstr(it->message, bad[i].says) && !(it->hint && strstr(it->hint, bad[i].says)))
            fail_msg("%s: \"%s\" (%s)", bad[i].text, it->message, it->hint ? it->hint : "");
        pare_diags_free(d);
    }
}

static void schema(void **state) {
    (void)state;
    pare_technique_set t = test_techniques();
    json_t *s = pare_pipeline_schema(&t, NULL), *properties = json_object_get(s, "properties");
    json_t *data = json_object_get(properties, "data");
    assert_non_null(json_object_get(json_object_get(data, "properties"), "preprocess"));
    json_t *set = json_object_get(data, "additionalProperties");
    assert_int_equal(json_array_size(json_object_get(set, "oneOf")), 11);
    assert_int_equal(json_object_size(json_object_get(set, "properties")), 22);
    char *text = json_dumps(json_object_get(properties, "report"), JSON_COMPACT);
    assert_non_null(strstr(text, "\"images_per_s\""));
    free(text);
    json_decref(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets),      cmocka_unit_test(overrides), cmocka_unit_test(resolved),
        cmocka_unit_test(data_only), cmocka_unit_test(refused),   cmocka_unit_test(schema),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
