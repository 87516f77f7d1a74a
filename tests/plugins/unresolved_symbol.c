/* tests/plugins/unresolved_symbol.c - a test plugin: needs a function that nobody defines. */
#include "common.h"

extern pare_status pare_model_secret_edit(pare_model *m);

static pare_status apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    (void)host;
    return pare_model_secret_edit(m);
}

static const pare_technique secret = TEST_TECHNIQUE("test.secret", create_nothing, apply);

TEST_PLUGIN("test-unresolved", &secret)
