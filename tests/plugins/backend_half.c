/* tests/plugins/backend_half.c - a test plugin: its backend makes kernels but runs none. */
#include "backend.h"

static const pare_backend half = TEST_BACKEND("half", .host_memory = 0);
TEST_BACKEND_PLUGIN("test-backend-half", &half)
