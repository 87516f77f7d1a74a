/* tests/plugins/grown.c - a test plugin: built with headers of the future: every struct of it is longer than the host
 * knows. */
#include "common.h"

typedef struct grown_param {
    pare_param now;
    const char *later;
} grown_param;

typedef struct grown_technique {
    pare_technique now;
    void (*later)(void);
} grown_technique;

typedef struct grown_plugin {
    pare_plugin now;
    const void *later;
} grown_plugin;

#define ROW(param_name, param_type, param_dflt)                                                                        \
    {                                                                                                                  \
        {.size = sizeof(grown_param),                                                                                  \
         .type = (param_type),                                                                                         \
         .name = (param_name),                                                                                         \
         .doc = "A test.",                                                                                             \
         .dflt = (param_dflt)},                                                                                        \
            "x"                                                                                                        \
    }
static const grown_param params[] = {ROW("first", PARE_PARAM_INT, "1"), ROW("second", PARE_PARAM_BOOL, "true")};

static const grown_technique nothing = {
    .now = {.size = sizeof(grown_technique),
            .id = "test.grown",
            .version = "2.0.0",
            .summary = "From the future.",
            .params = &params[0].now,
            .n_params = 2,
            .param_stride = sizeof(grown_param),
            .create = create_nothing,
            .apply = apply_nothing},
};
static const pare_technique *const techniques[] = {&nothing.now, NULL};
static const grown_plugin plugin = {
    .now = {.size = sizeof(grown_plugin),
            .abi_major = PARE_ABI_MAJOR,
            .id = "test-grown",
            .version = "2.0.0",
            .techniques = techniques},
};
const pare_plugin *pare_plugin_v1(void) { return &plugin.now; }
