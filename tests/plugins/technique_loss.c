/* tests/plugins/technique_loss.c - a test plugin: a technique that names a loss, and does not train. */
#include "common.h"

static const pare_technique bad = {.size = sizeof(pare_technique),
                                   .id = "test.loss",
                                   .version = "1.0.0",
                                   .summary = "A test.",
                                   .create = create_nothing,
                                   .apply = apply_nothing,
                                   .loss = "distill.hinton"};

TEST_PLUGIN("test-technique-loss", &bad)
