/* tests/plugins/wrong_field.c - a test plugin: the entry of this major, but its struct says another. */
#include "common.h"

static const pare_technique nothing = TEST_TECHNIQUE("test.wrong", create_nothing, apply_nothing);
static const pare_technique *const techniques[] = {&nothing, NULL};
static const pare_plugin plugin = {
    .size = sizeof plugin, .abi_major = 3, .id = "test-wrong", .version = "1", .techniques = techniques};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
