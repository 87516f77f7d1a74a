/* tests/plugins/older.c - a test plugin: built with the first headers, whose plugin struct ended with `techniques`. */
#include "common.h"

static const pare_technique nothing = TEST_TECHNIQUE("test.older", create_nothing, apply_nothing);
static const pare_technique *const techniques[] = {&nothing, NULL};
static const pare_plugin plugin = {.size = offsetof(pare_plugin, backends),
                                   .abi_major = PARE_ABI_MAJOR,
                                   .id = "test-older",
                                   .version = "1.0.0",
                                   .techniques = techniques,
                                   .backends =
                                       (const pare_backend *const *)&plugin}; /* behind its end: never looked at */
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
