/* tests/plugins/fails.c - a test plugin: fails in apply after it wrote to tensors and to the graph. */
#include "common.h"

#include <stdlib.h>

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    (void)args;
    *self = malloc(1);
    return *self ? PARE_OK : PARE_ENOMEM;
}

static pare_status apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const pare_graph_api *g = host->ext(host, PARE_GRAPH_V1);
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    const int64_t dims[] = {2, 2};
    uint32_t added;
    for (uint32_t id = t->next(host, m, 0); id; id = t->next(host, m, id)) {
        pare_view v = {.size = sizeof v};
        WANT(t->borrow(host, m, id, PARE_WRITE, &v) == PARE_OK);
        memset(v.data, 0, (size_t)v.nbytes);
        t->release(host, m, id);
    }
    WANT(t->retype(host, m, t->find(host, m, "fc.weight"), PARE_INT8, 2, dims) == PARE_OK);
    WANT(t->add(host, m, "left over", PARE_DOUBLE, 2, dims, &added) == PARE_OK);
    WANT(g->node_del(host, m, g->node_next(host, m, PARE_GRAPH_MAIN, 0)) == PARE_OK);
    WANT(g->meta_set(host, m, "half", "done") == PARE_OK);
    PARE_REPORT(host, PARE_ERROR, .code = "test.fails", .message = "it was meant to fail", .param = "sparsity",
                .tensor = "fc.weight", .node = "fc");
    return PARE_EUNSUPPORTED;
}

static void destroy(void *self) { free(self); }

static const pare_technique fails = {
    .size = sizeof(pare_technique),
    .id = "test.fails",
    .version = "1.0.0",
    .summary = "Fails after writing.",
    .create = create,
    .apply = apply,
    .destroy = destroy,
};

TEST_PLUGIN("test-fails", &fails)
