/* tests/plugins/cancels.c - a test plugin: works until it is cancelled. */
#include "common.h"

static pare_status apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    pare_view v = {.size = sizeof v};
    uint32_t w = t->find(host, m, "fc.weight");
    WANT(t->borrow(host, m, w, PARE_WRITE, &v) == PARE_OK);
    memset(v.data, 0, (size_t)v.nbytes);
    for (int i = 0; i < 1000; i++) {
        pare_status st = host->tick(host, i / 1000.0, "waiting");
        if (st) return st;
    }
    WANT(!"cancelled in time");
    return PARE_OK;
}

static const pare_technique cancels = TEST_TECHNIQUE("test.cancels", create_nothing, apply);

TEST_PLUGIN("test-cancels", &cancels)
