/* tests/pipeline/techniques.h - techniques and a loss that exist as tables alone: prune.unstructured's parameters as
 * the real one has them (as far as tests/pipelines names them), test.needs with what that one doesn't use, test.train
 * that trains, and the loss test.distill. */
#ifndef PARE_TESTS_TECHNIQUES_H
#define PARE_TESTS_TECHNIQUES_H

#include "pipeline/config.h"

#include <string.h>

#define TEST_ROW(...)                                                                                                  \
    { .size = sizeof(pare_param), .doc = "What it does.", __VA_ARGS__ }

static const char *const test_criteria[] = {"magnitude", "random", NULL};

static const pare_param test_columns[] = {
    TEST_ROW(.name = "match", .type = PARE_PARAM_PATTERN),
    TEST_ROW(.name = "sparsity", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MAX | PARE_PARAM_OPTIONAL,
             .max = 1),
};

static const pare_param test_prune[] = {
    TEST_ROW(.name = "sparsity", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MAX | PARE_PARAM_OPTIONAL,
             .max = 1),
    TEST_ROW(.name = "criterion", .type = PARE_PARAM_ENUM, .choices = test_criteria, .dflt = "magnitude"),
    TEST_ROW(.name = "ops", .type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY,
             .dflt = "[Conv, Gemm, MatMul]"),
    TEST_ROW(.name = "keep_first", .type = PARE_PARAM_BOOL, .dflt = "false"),
    TEST_ROW(.name = "keep_last", .type = PARE_PARAM_BOOL, .dflt = "false"),
    TEST_ROW(.name = "layers", .type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .columns = test_columns,
             .n_columns = 2, .column_stride = sizeof(pare_param)),
};

static const pare_param test_tune[] = {
    TEST_ROW(.name = "max_drop", .type = PARE_PARAM_FLOAT, .max = 1),
    TEST_ROW(.name = "data", .type = PARE_PARAM_DATA),
};

static const pare_param test_needs[] = {
    TEST_ROW(.name = "teacher", .type = PARE_PARAM_MODEL),
    TEST_ROW(.name = "level", .type = PARE_PARAM_INT, .min = 1, .max = 9),
    TEST_ROW(.name = "data", .type = PARE_PARAM_DATA, .dflt = "random"),
    TEST_ROW(.name = "ranges", .type = PARE_PARAM_FILE, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_LIST),
    TEST_ROW(.name = "tune", .type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .columns = test_tune,
             .n_columns = 2, .column_stride = sizeof(pare_param)),
};

static const pare_technique test_technique[] = {
    {.size = sizeof(pare_technique),
     .id = "prune.unstructured",
     .version = "1",
     .summary = "Prunes.",
     .params = test_prune,
     .n_params = 6,
     .param_stride = sizeof(pare_param)},
    {.size = sizeof(pare_technique),
     .id = "test.needs",
     .version = "1",
     .summary = "Needs.",
     .params = test_needs,
     .n_params = 5,
     .param_stride = sizeof(pare_param)},
    {.size = sizeof(pare_technique),
     .flags = PARE_TECHNIQUE_TRAINS | PARE_TECHNIQUE_NEEDS_FIT,
     .id = "test.train",
     .version = "1",
     .summary = "Trains."},
};
enum { TEST_TECHNIQUES = sizeof test_technique / sizeof *test_technique };

static const pare_param test_distill[] = {
    TEST_ROW(.name = "teacher", .type = PARE_PARAM_MODEL, .flags = PARE_PARAM_LIST),
    TEST_ROW(.name = "temperature", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MIN, .max = 100, .dflt = "4.0"),
};

static const pare_loss test_loss = {.size = sizeof(pare_loss),
                                    .flags = PARE_LOSS_TEACHER,
                                    .id = "test.distill",
                                    .version = "1",
                                    .summary = "Learns.",
                                    .params = test_distill,
                                    .n_params = 2,
                                    .param_stride = sizeof(pare_param)};

static inline const pare_loss *test_find_loss(void *ctx, const char *id) {
    (void)ctx;
    return strcmp(id, test_loss.id) == 0 ? &test_loss : NULL;
}

static inline pare_loss_choice test_losses(void) {
    static const char *const ids[] = {"test.distill"};
    return (pare_loss_choice){.find = test_find_loss, .ids = ids, .n_ids = 1};
}

static inline const pare_technique *test_find(void *ctx, const char *id) {
    (void)ctx;
    for (size_t i = 0; i < TEST_TECHNIQUES; i++)
        if (strcmp(test_technique[i].id, id) == 0) return &test_technique[i];
    return NULL;
}

static inline pare_technique_set test_techniques(void) {
    static const char *const ids[] = {"prune.unstructured", "test.needs", "test.train"};
    return (pare_technique_set){.find = test_find, .ids = ids, .n_ids = TEST_TECHNIQUES};
}

#endif
