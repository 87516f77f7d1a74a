/* tests/plugins/loss_no_build.c - a test plugin: a loss without its function. */
#include "common.h"

static const pare_loss bad = {.size = sizeof(pare_loss),
                              .id = "test.no-build",
                              .version = "1.0.0",
                              .summary = "A test.",
                              .create = create_nothing};
static const pare_loss *const losses[] = {&bad, NULL};
static const pare_plugin plugin = {.size = sizeof(pare_plugin),
                                   .abi_major = PARE_ABI_MAJOR,
                                   .abi_minor = PARE_ABI_MINOR,
                                   .id = "test-loss-no-build",
                                   .version = "1.0.0",
                                   .losses = losses};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
