/* train/graph_loss.c - what a training graph minimises: the host's own losses, those of components that add nodes, and
 * those that are worked out on the host. See graph_parts.h. Is not: their evaluation (evaluated.h). */
#include "train/graph_parts.h"

#include "model/edit.h"
#include "model/infer.h"
#include "train/evaluated.h"

#include <pare/grad_ops.h>
#include <string.h>

/* Class numbers, or shares of classes where labels are smoothed or mixed. */
static uint32_t cross_entropy(pare_train_builder *b, const pare_loss_io *io) {
    if (io->targets)
        return pare_train_node1(b, PARE_GRAD_DOMAIN, "SoftCrossEntropy", (uint32_t[]){io->logits, io->targets}, 2,
                                "train:loss");
    uint32_t loss =
        pare_train_node1(b, "", "SoftmaxCrossEntropyLoss", (uint32_t[]){io->logits, io->labels}, 2, "train:loss");
    if (loss) pare_attr_set_string(b->m, pare_train_node_of(b, loss), "reduction", "mean", 4);
    return loss;
}

static uint32_t mse(pare_train_builder *b, const pare_loss_io *io) {
    uint32_t diff = pare_train_node1(b, "", "Sub", (uint32_t[]){io->logits, io->targets}, 2, "train:difference");
    uint32_t square = pare_train_node1(b, "", "Mul", (uint32_t[]){diff, diff}, 2, "train:square");
    uint32_t loss = pare_train_node1(b, "", "ReduceMean", (uint32_t[]){square}, 1, "train:loss");
    if (loss) pare_attr_set_int(b->m, pare_train_node_of(b, loss), "keepdims", 0);
    return loss;
}

static bool has_teacher(pare_train_builder *b, const pare_loss *c, const pare_loss_io *io) {
    if (!(c->flags & PARE_LOSS_TEACHER) || io->n_teachers) return true;
    b->st = pare_fail(b->d, PARE_EINVAL, "train.no-teacher", "name an earlier step, a model or an ONNX file",
                      "the loss %s has no teacher to learn from", c->id);
    return false;
}

/* A loss of the host's: what it says of the logits comes in, and is their gradient. Opened to see that it can be. */
static uint32_t evaluated(pare_train_builder *b, const pare_fit_loss *l, const pare_loss_io *io,
                          const pare_train_loss_env *env, pare_train_evaluated *out) {
    const pare_loss *c = l->component;
    const pare_value *logits = pare_model_value(b->m, io->logits);
    pare_evaluated e;
    if (!has_teacher(b, c, io)) return 0;
    b->st = pare_evaluated_open(l, env, &e);
    if (!b->st) b->st = pare_evaluated_close(&e);
    if (b->st) return 0;
    pare_dim both[2] = {logits->dims[0], logits->dims[1]};
    uint32_t seed = pare_train_input(b, "train:seed", logits->dtype, 2, both);
    out->seed = pare_train_name(b, seed);
    b->g->wants_targets = b->g->wants_targets || io->targets;
    b->g->wants_labels = b->g->wants_labels || c->flags & PARE_LOSS_LABELS;
    uint32_t product = pare_train_node1(b, "", "Mul", (uint32_t[]){io->logits, seed}, 2, "train:seeded");
    uint32_t sum = pare_train_node1(b, "", "ReduceSum", (uint32_t[]){product}, 1, "train:evaluated");
    if (sum) pare_attr_set_int(b->m, pare_train_node_of(b, sum), "keepdims", 0);
    return sum;
}

static uint32_t component(pare_train_builder *b, const pare_fit_loss *l, const pare_loss_io *io,
                          const pare_train_loss_env *env) {
    const pare_loss *c = l->component;
    if (!has_teacher(b, c, io)) return 0;
    pare_host_env e = env->host;
    e.technique = c->id;
    pare_host *host = pare_host_new(&e);
    void *self = NULL;
    uint32_t loss = 0;
    pare_host_begin(host, PARE_PHASE_CREATE, NULL);
    pare_status made = c->create(host, l->args, &self);
    b->st = pare_host_end(host, made);
    if (!b->st) {
        pare_host_begin(host, PARE_PHASE_APPLY, b->m);
        b->st = pare_host_end(host, c->build(self, host, b->m, io, &loss));
    }
    if (!made && PARE_HAS(pare_loss, c, destroy)) { /* it was created, whatever was said of it */
        pare_host_begin(host, PARE_PHASE_DESTROY, NULL);
        c->destroy(self);
        pare_status last = pare_host_end(host, PARE_OK);
        if (!b->st) b->st = last;
    }
    pare_host_free(host);
    if (b->st) return 0;
    b->st = pare_model_infer(b->m, b->d);
    const pare_value *v = pare_model_value(b->m, loss);
    const pare_node *last = v ? pare_model_node(b->m, v->producer) : NULL;
    if (!b->st && last && v->ndim < 0)
        b->st = pare_fail(b->d, PARE_EUNSUPPORTED, "train.loss", "this is a bug in the plugin: tell its author",
                          "the loss %s ends in a %s, whose result is not known", c->id, last->op_type);
    if (!b->st && (!v || v->ndim != 0))
        b->st = pare_fail(b->d, PARE_EINTERNAL, "train.loss", "this is a bug in the plugin: tell its author",
                          "the loss %s is no scalar of the graph", c->id);
    return b->st ? 0 : loss;
}

/* The name of an input that a loss takes; one that none takes goes. */
static const char *taken(pare_train_builder *b, uint32_t value) {
    if (!value || b->st) return NULL;
    if (pare_model_value(b->m, value)->uses.len) return pare_train_name(b, value);
    pare_value_del(b->m, value);
    return NULL;
}

static bool takes_targets(const pare_fit_opts *o) {
    bool mse_asked = false;
    for (size_t i = 0; i < o->n_losses; i++) mse_asked = mse_asked || strcmp(o->losses[i].use, "mse") == 0;
    return mse_asked || o->label_smoothing > 0 || o->augment.mixup > 0;
}

/* One more of them. */
static uint32_t plus(pare_train_builder *b, uint32_t sum, uint32_t loss) {
    return sum && loss ? pare_train_node1(b, "", "Add", (uint32_t[]){sum, loss}, 2, "train:sum") : loss ? loss : sum;
}

/* The sum of all; *told: of those in the graph, whose value is known there. */
uint32_t pare_train_losses(pare_train_builder *b, const pare_train_loss_env *env, uint32_t *told) {
    static pare_fit_loss plain = {.use = "cross_entropy", .weight = 1};
    const pare_fit_opts *o = b->o;
    const pare_fit_loss *list = o->n_losses ? o->losses : &plain;
    size_t n = o->n_losses ? o->n_losses : 1, n_teachers = 0;
    uint32_t logits = pare_train_find(b, b->g->logits), dtype = pare_model_value(b->m, logits)->dtype, outside = 0;
    const pare_value *lv = pare_model_value(b->m, logits);
    pare_dim rows = lv->dims[0], both[2] = {lv->dims[0], lv->dims[1]};
    for (size_t i = 0; i < n; i++) n_teachers += list[i].n_teachers;
    pare_loss_io io = {.size = sizeof io, .logits = logits, .classes = (uint64_t)b->g->classes};
    if (takes_targets(o)) io.targets = pare_train_input(b, "train:targets", dtype, 2, both);
    if (!o->augment.mixup && !takes_targets(o)) io.labels = pare_train_input(b, "train:labels", PARE_INT64, 1, &rows);
    io.epoch = pare_train_input(b, "train:epoch", dtype, 0, NULL);
    uint32_t *teachers = pare_arena_alloc(&b->g->arena, (n_teachers + 1) * sizeof *teachers);
    const char **names = pare_arena_alloc(&b->g->arena, (n_teachers + 1) * sizeof *names);
    for (size_t i = 0; i < n_teachers; i++) {
        teachers[i] = pare_train_input(b, pare_arena_printf(&b->m->arena, "train:teacher%zu", i), dtype, 2, both);
        names[i] = pare_train_name(b, teachers[i]);
    }
    b->g->teachers = names;
    b->g->n_teachers = n_teachers;
    pare_train_evaluated *hosts = pare_arena_alloc(&b->g->arena, n * sizeof *hosts);
    size_t taught = 0;
    *told = 0;
    for (size_t i = 0; i < n && !b->st; i++) {
        bool on_host = list[i].component && !pare_loss_builds(list[i].component);
        pare_train_evaluated *mine = &hosts[b->g->n_evaluated];
        io.teachers = teachers + taught;
        io.n_teachers = list[i].n_teachers;
        if (on_host) *mine = (pare_train_evaluated){.loss = i, .first_teacher = taught};
        taught += list[i].n_teachers;
        uint32_t loss = on_host                           ? evaluated(b, &list[i], &io, env, mine)
                        : list[i].component               ? component(b, &list[i], &io, env)
                        : strcmp(list[i].use, "mse") == 0 ? mse(b, &io)
                                                          : cross_entropy(b, &io);
        if (loss && list[i].weight != 1)
            loss = pare_train_node1(b, "", "Mul", (uint32_t[]){loss, pare_train_number(b, dtype, list[i].weight)}, 2,
                                    "train:weighted");
        b->g->n_evaluated += on_host;
        if (on_host)
            outside = plus(b, outside, loss);
        else
            *told = plus(b, *told, loss);
    }
    b->g->evaluated = hosts;
    b->g->built = *told;
    uint32_t sum = plus(b, *told, outside);
    if (!*told) *told = sum;
    b->g->epoch = taken(b, io.epoch);
    b->g->labels = taken(b, io.labels);
    b->g->targets = taken(b, io.targets);
    return b->st ? 0 : sum;
}
