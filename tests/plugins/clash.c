/* tests/plugins/clash.c - a test plugin: another plugin with a technique that test-edits already has. */
#include "common.h"

static const pare_technique nothing = TEST_TECHNIQUE("test.edits", create_nothing, apply_nothing);

TEST_PLUGIN("test-clash", &nothing)
