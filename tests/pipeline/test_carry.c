/* tests/pipeline/test_carry.c - preprocessing and class names in a model's metadata: there and back. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tmpdir.h"
#include "model/edit.h"
#include "pipeline/carry.h"

#include <stdlib.h>
#include <string.h>

static const pare_data_preprocess full = {.scale = 0.1,
                                          .n_mean = 3,
                                          .mean = {0.485, 0.456, 1.0 / 3},
                                          .n_std = 1,
                                          .std = {1e-30},
                                          .resize_height = 7,
                                          .resize_width = 9,
                                          .crop_height = 5,
                                          .crop_width = 6,
                                          .channels = 3,
                                          .order = PARE_ORDER_BGR,
                                          .layout = PARE_DATA_LAYOUT_NHWC};

static pare_model *model(const char *preprocess, const char *classes) {
    pare_model *m = pare_model_new("g");
    if (preprocess) pare_model_meta_set(m, PARE_CARRY_PREPROCESS, preprocess);
    if (classes) pare_model_meta_set(m, PARE_CARRY_CLASSES, classes);
    return m;
}

static void round_trip(void **state) {
    (void)state;
    pare_model *m = model(NULL, NULL);
    pare_data_preprocess got = {0};
    pare_carry_source source;
    assert_int_equal(pare_carry_preprocess(NULL, m, "m", NULL, &got, &source), PARE_OK);
    assert_int_equal(source, PARE_CARRY_NOTHING);
    assert_memory_equal(&got, &(pare_data_preprocess){0}, sizeof got);

    pare_carry_write(m, &full, NULL);
    assert_int_equal(pare_carry_preprocess(NULL, m, "m", NULL, &got, &source), PARE_OK);
    assert_int_equal(source, PARE_CARRY_MODEL);
    assert_memory_equal(&got, &full, sizeof got);
    assert_non_null(strstr(pare_model_meta(m, PARE_CARRY_PREPROCESS), "[0.485,0.456,0.333333333"));

    pare_data_preprocess other = {.resize = 256};
    assert_int_equal(pare_carry_preprocess(&other, m, "m", NULL, &got, &source), PARE_OK);
    assert_int_equal(source, PARE_CARRY_GIVEN);
    assert_int_equal(got.resize, 256);
    pare_carry_write(m, &other, NULL); /* in its place */
    assert_string_equal(pare_model_meta(m, PARE_CARRY_PREPROCESS), "{\"resize\":256}");
    pare_model_free(m);
}

static void wrong(void **state) {
    (void)state;
    static const char *const texts[] = {"",          "7",           "{\"resize\": \"big\"}", "{\"mean\": []}",
                                        "{\"x\":1}", "{\"std\": 1", "{\"crop\": [1, 2, 3]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pare_model *m = model(texts[i], NULL);
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_data_preprocess got;
        assert_int_equal(pare_carry_preprocess(NULL, m, "m.onnx", d, &got, NULL), PARE_EINVAL);
        assert_int_equal(pare_diags_errors(d), 1);
        assert_string_equal(pare_diags_get(d, 0)->path, "m.onnx");
        pare_diags_free(d);
        pare_model_free(m);
    }
    static const char *const lists[] = {"", "{}", "[]", "[1]", "[\"a\", null]", "[\"a\""};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        pare_model *m = model(NULL, lists[i]);
        pare_classes c;
        pare_classes_of_model(m, &c);
        assert_int_equal(c.n, 0);
        assert_null(c.names);
        pare_model_free(m);
    }
}

/* A model of nothing but an output of `columns` columns; -1: not known. */
static pare_model *with_output(int64_t columns) {
    pare_model *m = model(NULL, NULL);
    uint32_t v = pare_value_add(m, PARE_MAIN_GRAPH, "logits");
    pare_value_type_set(m, v, PARE_FLOAT, 2, (pare_dim[]){{-1, NULL}, {columns, NULL}});
    pare_graph_output_add(m, PARE_MAIN_GRAPH, v);
    return m;
}

static void classes(void **state) {
    (void)state;
    char *names[] = {"cat", "d\"o,g", "\xc3\xa4"};
    pare_classes three = {names, 3}, got;
    for (int64_t columns = -1; columns < 5; columns++) {
        pare_model *m = with_output(columns);
        pare_carry_write(m, &full, &three);
        pare_classes_of_model(m, &got);
        assert_int_equal(got.n, columns == -1 || columns == 3 ? 3 : 0);
        for (uint32_t i = 0; i < got.n; i++) assert_string_equal(got.names[i], names[i]);
        pare_classes_free(&got);
        pare_model_free(m);
    }
    /* too many, too long */
    pare_classes many = {calloc(PARE_CARRY_MOST_CLASSES + 1, sizeof(char *)), PARE_CARRY_MOST_CLASSES + 1};
    char *longest = calloc(PARE_CARRY_MOST_BYTES + 1, 1);
    memset(longest, 'x', PARE_CARRY_MOST_BYTES);
    for (uint32_t i = 0; i < many.n; i++) many.names[i] = names[0];
    pare_model *m = with_output(-1);
    pare_carry_write(m, &full, &many);
    assert_null(pare_model_meta(m, PARE_CARRY_CLASSES));
    many.n = 2;
    many.names[1] = longest;
    pare_carry_write(m, &full, &many);
    assert_null(pare_model_meta(m, PARE_CARRY_CLASSES));
    many.names[1] = names[2];
    pare_carry_write(m, &full, &many);
    assert_string_equal(pare_model_meta(m, PARE_CARRY_CLASSES), "[\"cat\",\"\xc3\xa4\"]");
    pare_model_free(m);
    free(longest);
    free(many.names);
}

static pare_pipeline *open_data(const char *text) {
    put_file(in_tmp("d.yaml"), text);
    pare_pipeline *p = NULL;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    assert_int_equal(pare_pipeline_data_open(in_tmp("d.yaml"), NULL, d, &p), PARE_OK);
    pare_diags_free(d);
    return p;
}

/* What a file says, and of whose classes it speaks. */
static void pipelines(void **state) {
    (void)state;
    static const char *const dirs[] = {"train/b", "train/a", "test/z", NULL};
    for (int i = 0; dirs[i]; i++) assert_int_equal(pare_dir_make(in_tmp(dirs[i]), NULL), PARE_OK);
    pare_classes c;
    pare_pipeline *p = open_data("data:\n  noise: {random: 3}\n  train: {folder: train}\n  test: {folder: test}\n"
                                 "  few: {from: train, take: 1}\n");
    assert_null(pare_carry_given(p, NULL));
    pare_classes_of_pipeline(p, &c);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.names[0], "a");
    pare_classes_free(&c);
    pare_classes_of_set(p, pare_pipeline_set_find(p, "few"), &c);
    assert_int_equal(c.n, 2);
    pare_classes_free(&c);
    pare_classes_of_set(p, pare_pipeline_set_find(p, "noise"), &c);
    assert_int_equal(c.n, 0);
    pare_pipeline_free(p);
    p = open_data("data:\n  preprocess: {}\n  train: {folder: train}\n  test: {folder: test}\nreport: {on: test}\n");
    assert_non_null(pare_carry_given(p, NULL)); /* an empty block is one */
    pare_classes_of_pipeline(p, &c);
    assert_int_equal(c.n, 1);
    assert_string_equal(c.names[0], "z");
    pare_classes_free(&c);
    pare_pipeline_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(wrong),
        cmocka_unit_test(classes),
        cmocka_unit_test(pipelines),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
