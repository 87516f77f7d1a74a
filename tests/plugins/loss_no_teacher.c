/* tests/plugins/loss_no_teacher.c - a test plugin: its loss needs a teacher that no parameter names. */
#include "common.h"

static pare_status build(void *self, const pare_host *host, pare_model *model, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    (void)host;
    (void)model;
    *loss = io->logits;
    return PARE_OK;
}

static const pare_loss bad = {.size = sizeof(pare_loss),
                              .flags = PARE_LOSS_TEACHER,
                              .id = "test.taught",
                              .version = "1.0.0",
                              .summary = "A test.",
                              .create = create_nothing,
                              .build = build};
static const pare_loss *const losses[] = {&bad, NULL};
static const pare_plugin plugin = {.size = sizeof(pare_plugin),
                                   .abi_major = PARE_ABI_MAJOR,
                                   .abi_minor = PARE_ABI_MINOR,
                                   .id = "test-loss-no-teacher",
                                   .version = "1.0.0",
                                   .losses = losses};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
