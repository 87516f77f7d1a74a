/* tests/plugins/misuse.c - a test plugin: breaks the rules of the SDK, one at a time, and goes on as if nothing were
 * wrong. */
#include "common.h"

static pare_status wrong_ids(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const pare_graph_api *g = host->ext(host, PARE_GRAPH_V1);
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    pare_view v = {.size = sizeof v};
    pare_node_info info = {.size = sizeof info};
    WANT(t->borrow(host, m, 99999, PARE_READ, &v) == PARE_EINVAL);
    WANT(g->node_info(host, m, 0, &info) == PARE_EINVAL);
    WANT(g->node_del(host, m, 4000000000u) == PARE_EINVAL);
    return PARE_OK;
}

static pare_status double_borrow(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    uint32_t w = t->find(host, m, "fc.weight");
    pare_view v = {.size = sizeof v};
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_OK);
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_OK); /* two readers are fine */
    WANT(t->borrow(host, m, w, PARE_WRITE, &v) == PARE_EINVAL);
    WANT(t->retype(host, m, w, PARE_INT8, 0, NULL) == PARE_EINVAL);
    t->release(host, m, w);
    t->release(host, m, w);
    return PARE_OK;
}

static pare_status leaks(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    pare_view v = {.size = sizeof v};
    WANT(t->borrow(host, m, t->find(host, m, "fc.weight"), PARE_WRITE, &v) == PARE_OK);
    return PARE_OK;
}

static const pare_technique all[] = {
    TEST_TECHNIQUE("misuse.wrong_ids", create_nothing, wrong_ids),
    TEST_TECHNIQUE("misuse.double_borrow", create_nothing, double_borrow),
    TEST_TECHNIQUE("misuse.leaks", create_nothing, leaks),
};

TEST_PLUGIN("test-misuse", &all[0], &all[1], &all[2])
