/* tests/plugins/backend_taken.c - a test plugin: a backend under the id that the cpu plugin wants, and one more. */
#include "backend.h"

static pare_status no_run(void *kernel, const void *const *in, void *const *out, void *scratch) {
    (void)kernel;
    (void)in;
    (void)out;
    (void)scratch;
    return PARE_EUNSUPPORTED;
}

static const pare_backend taken = TEST_BACKEND("cpu", .run = no_run);
static const pare_backend another = TEST_BACKEND("test.far-away", .run = no_run);
TEST_BACKEND_PLUGIN("test-backend-taken", &taken, &another)
