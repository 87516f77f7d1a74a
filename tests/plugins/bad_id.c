/* tests/plugins/bad_id.c - a test plugin: a technique whose id is no id. */
#include "common.h"

static const pare_technique nothing = TEST_TECHNIQUE("Prune Everything", create_nothing, apply_nothing);

TEST_PLUGIN("test-bad-id", &nothing)
