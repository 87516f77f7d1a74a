/* tests/plugins/bad_params.c - a test plugin: a parameter table that contradicts itself. */
#include "common.h"

static const pare_param params[] = {{.size = sizeof(pare_param),
                                     .type = PARE_PARAM_FLOAT,
                                     .name = "share",
                                     .doc = "A share.",
                                     .dflt = "1.5",
                                     .min = 0.0,
                                     .max = 1.0}};

static const pare_technique bad = {
    .size = sizeof(pare_technique),
    .id = "test.bad",
    .version = "1.0.0",
    .summary = "A default out of its own range.",
    .params = params,
    .n_params = 1,
    .param_stride = sizeof(pare_param),
    .create = create_nothing,
    .apply = apply_nothing,
};

TEST_PLUGIN("test-bad-params", &bad)
