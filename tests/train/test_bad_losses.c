/* Losses of plugins that do wrong: each is refused with what it did, its self is destroyed, the model stays. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/small.h"

static int made, destroyed;

static pare_status create(const pare_host *h, const pare_arg *args, void **self) {
    (void)h;
    (void)args;
    *self = &made;
    made++;
    return PARE_OK;
}

static void destroy(void *self) {
    assert_ptr_equal(self, &made);
    destroyed++;
}

static uint32_t node(const pare_host *h, pare_model *m, const char *op, uint32_t in) {
    const pare_graph_api *g = h->ext(h, PARE_GRAPH_V1);
    const char *name = g->name_fresh(h, m, "bad:value");
    uint32_t id = 0;
    pare_node_info info = {.size = sizeof info};
    assert_int_equal(g->node_add(h, m, PARE_GRAPH_MAIN, 0, op, "", "", &in, 1, &name, 1, &id), PARE_OK);
    assert_int_equal(g->node_info(h, m, id, &info), PARE_OK);
    return info.out[0];
}

static pare_status fails_to_create(const pare_host *h, const pare_arg *args, void **self) {
    (void)h;
    (void)args;
    (void)self;
    return PARE_EUNSUPPORTED;
}

static pare_status no_scalar(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    *loss = node(h, m, "Exp", io->logits);
    return PARE_OK;
}

static pare_status nothing(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    (void)h;
    (void)m;
    (void)io;
    (void)loss;
    return PARE_OK;
}

static pare_status no_gradient(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    *loss = node(h, m, "Squeeze", node(h, m, "ReduceMean", node(h, m, "Hardmax", io->logits)));
    return PARE_OK;
}

static pare_status wrong_op(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    *loss = node(h, m, "NoSuchOp", io->logits);
    return PARE_OK;
}

static pare_status constant(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    const pare_tensors_api *t = h->ext(h, PARE_TENSORS_V1);
    uint32_t id = 0;
    pare_tensor_info info = {.size = sizeof info};
    (void)self;
    (void)io;
    assert_int_equal(t->add(h, m, "bad:number", PARE_FLOAT, 0, NULL, &id), PARE_OK);
    assert_int_equal(t->info(h, m, id, &info), PARE_OK);
    *loss = info.value;
    return PARE_OK;
}

static pare_status misuses(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    const pare_graph_api *g = h->ext(h, PARE_GRAPH_V1);
    uint32_t in = 99999, id;
    const char *name = "bad:value";
    (void)self;
    (void)io;
    (void)loss;
    return g->node_add(h, m, PARE_GRAPH_MAIN, 0, "Exp", "", "", &in, 1, &name, 1, &id);
}

static pare_status silent(void *self, const pare_host *h, pare_model *m, const pare_loss_io *io, uint32_t *loss) {
    (void)self;
    (void)h;
    (void)m;
    (void)io;
    (void)loss;
    return PARE_EINVAL;
}

static const struct bad {
    pare_status (*create)(const pare_host *, const pare_arg *, void **);
    pare_status (*build)(void *, const pare_host *, pare_model *, const pare_loss_io *, uint32_t *);
    const char *says;
} bad[] = {
    {fails_to_create, nothing, "test.bad failed without a word (not supported) in create"},
    {create, no_scalar, "the loss test.bad is no scalar of the graph"},
    {create, nothing, "the loss test.bad is no scalar of the graph"},
    {create, no_gradient, "Hardmax node"},
    {create, wrong_op, "the loss test.bad ends in a NoSuchOp"},
    {create, constant, "the loss depends on no weight of the model"},
    {create, misuses, "misuses pare.graph/1 node_add: there is no value 99999"},
    {create, silent, "test.bad failed without a word (the input is wrong) in apply"},
};

static pare_loss loss;

static const pare_loss *find(void *ctx, const char *id) {
    (void)ctx;
    return strcmp(id, loss.id) == 0 ? &loss : NULL;
}

static void they_are_refused(void **state) {
    (void)state;
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    pare_fit_loss asked = {.use = "test.bad", .weight = 1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        loss = (pare_loss){.size = sizeof loss,
                           .id = "test.bad",
                           .version = "1.0.0",
                           .summary = "A test.",
                           .create = bad[i].create,
                           .build = bad[i].build,
                           .destroy = destroy};
        made = destroyed = 0;
        s.services.losses.find = find;
        s.fit.losses = &asked;
        s.fit.n_losses = 1;
        pare_status st = small_step_run(&s, "train.supervised", "{}", m, &out);
        if (!st || out) fail_msg("case %zu was taken", i);
        assert_said(&s, bad[i].says);
        assert_int_equal(made, destroyed);
        assert_int_equal(made, bad[i].create == create);
        small_step_end(&s);
    }
    pare_model_free(m);
}

static int set_up(void **state) {
    plugins_open();
    return tmpdir_make(state);
}

static int tear_down(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_are_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
