/* tests/plugins/newer_minor.c - a test plugin: needs a newer minor of the ABI than any host has. */
#define PARE_ABI_MINOR 999
#include "common.h"

static const pare_technique nothing = TEST_TECHNIQUE("test.newer", create_nothing, apply_nothing);

TEST_PLUGIN("test-newer", &nothing)
