/* tests/plugins/losses.c - a test plugin: nothing but losses, one of them under the id of a technique. */
#include "common.h"

static pare_status build(void *self, const pare_host *host, pare_model *model, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    (void)host;
    (void)model;
    *loss = io->logits; /* no scalar */
    return PARE_OK;
}

static const pare_param params[] = {
    {.size = sizeof(pare_param), .type = PARE_PARAM_MODEL, .name = "teacher", .doc = "Who is learned from."}};

static const pare_loss plain = {.size = sizeof(pare_loss),
                                .flags = PARE_LOSS_LABELS,
                                .id = "test.plain",
                                .version = "1.0.0",
                                .summary = "A loss that is no scalar.",
                                .create = create_nothing,
                                .build = build};
static const pare_loss taught = {.size = sizeof(pare_loss),
                                 .flags = PARE_LOSS_TEACHER,
                                 .id = "test.edits",
                                 .version = "1.0.0",
                                 .summary = "A loss with a teacher.",
                                 .params = params,
                                 .n_params = 1,
                                 .param_stride = sizeof(pare_param),
                                 .create = create_nothing,
                                 .build = build};

static const pare_loss *const losses[] = {&plain, &taught, NULL};
static const pare_plugin plugin = {.size = sizeof(pare_plugin),
                                   .abi_major = PARE_ABI_MAJOR,
                                   .abi_minor = PARE_ABI_MINOR,
                                   .id = "test-losses",
                                   .version = "1.0.0",
                                   .losses = losses};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
