/* distill/dkd.c - distill.dkd: the teacher's word on the labelled class and on all others, weighed apart.
 *
 * Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, arXiv 2203.08679. KL(p_teacher || p_student) splits
 * into that of the labelled class against all others together (TCKD) and that among the others (NCKD); the loss is
 * cross_entropy * CE + T^2 * (alpha * TCKD + beta * NCKD), means over the batch; its second part may rise in a straight
 * line over the first epochs. May use: common.h.
 */
#include "common.h"

enum { ARG_TEACHER, ARG_WEIGHTS, ARG_TEMPERATURE, ARG_ALPHA, ARG_BETA, ARG_CROSS_ENTROPY, ARG_WARMUP, N_PARAMS };

static const pare_param params[N_PARAMS] = {
    [ARG_TEACHER] = PARAM_TEACHER,
    [ARG_WEIGHTS] = PARAM_WEIGHTS,
    [ARG_TEMPERATURE] = PARAM_TEMPERATURE("4"),
    [ARG_ALPHA] = PARAM(.type = PARE_PARAM_FLOAT, .name = "alpha", .dflt = "1", .min = 0, .max = 1000,
                        .doc = "Weight of how sure the teacher is of the labelled class."),
    [ARG_BETA] = PARAM(.type = PARE_PARAM_FLOAT, .name = "beta", .dflt = "8", .min = 0, .max = 1000,
                       .doc = "Weight of what the teacher thinks of the other classes."),
    [ARG_CROSS_ENTROPY] = PARAM(.type = PARE_PARAM_FLOAT, .name = "cross_entropy", .dflt = "1", .min = 0, .max = 1000,
                                .doc = "Weight of cross-entropy by labels."),
    [ARG_WARMUP] =
        PARAM(.type = PARE_PARAM_FLOAT, .name = "warmup", .unit = "epochs", .dflt = "0", .min = 0, .max = 1e6,
              .doc = "The teacher counts for more and more until so many epochs are done; 0: fully at once."),
};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    return distill_create_of_two(host, args, params, ARG_ALPHA, ARG_BETA, self);
}

/* What is known of one side's logits. */
typedef struct side {
    uint32_t log_hit;    /* (N, 1): log p of the labelled class */
    uint32_t log_rest;   /* (N, 1): log of the sum of all others */
    uint32_t log_others; /* (N, K): log p among the others; far below where the label is */
} side;

/* Where the label is, this is added before a softmax over the others: exp of it is 0, and it is no infinity, which
 * would make 0 * inf of the label's own term. */
static const double AWAY = -1000;

static side side_of(nodes *b, uint32_t logits, double temperature, uint32_t hit) {
    uint32_t away = times(b, hit, AWAY), log_p = log_softmax(b, logits, temperature);
    uint32_t scaled = node2(b, "Add", times(b, logits, 1 / temperature), away);
    return (side){.log_hit = reduce(b, "ReduceSum", node2(b, "Mul", log_p, hit), 1, 1),
                  .log_rest = reduce(b, "ReduceLogSumExp", node2(b, "Add", log_p, away), 1, 1),
                  .log_others = log_softmax(b, scaled, 1)};
}

static uint32_t part(nodes *b, uint32_t log_teacher, uint32_t log_student) {
    return node2(b, "Mul", node1(b, "Exp", log_teacher), node2(b, "Sub", log_teacher, log_student));
}

/* (N, 1) */
static uint32_t of_teacher(nodes *b, const distill_loss *l, const side *s, const side *t) {
    uint32_t hit = 0, others = 0;
    if (distill_number(l, ARG_ALPHA) > 0) {
        hit = node2(b, "Add", part(b, t->log_hit, s->log_hit), part(b, t->log_rest, s->log_rest));
        hit = times(b, hit, distill_number(l, ARG_ALPHA));
    }
    if (distill_number(l, ARG_BETA) > 0)
        others =
            times(b, reduce(b, "ReduceSum", part(b, t->log_others, s->log_others), 1, 1), distill_number(l, ARG_BETA));
    return plus(b, hit, others);
}

static pare_status build(void *self, const pare_host *host, pare_model *model, const pare_loss_io *io, uint32_t *loss) {
    const distill_loss *l = self;
    const double temperature = distill_number(l, ARG_TEMPERATURE), warmup = distill_number(l, ARG_WARMUP);
    const double by_labels = distill_number(l, ARG_CROSS_ENTROPY);
    nodes b;
    uint32_t soft = 0, hard = 0;
    pare_status st = distill_ready(host, distill_dkd.id, io, l, 1);
    if (!st && io->classes < 2) {
        PARE_REPORT(host, PARE_ERROR, .code = "distill.classes",
                    .message = "distill.dkd compares the classes beside the labelled one, and there is only one class");
        st = PARE_EINVAL;
    }
    if (!st && warmup > 0 && !PARE_HAS(pare_loss_io, io, epoch)) {
        PARE_REPORT(host, PARE_ERROR, .code = "distill.warmup", .param = "warmup",
                    .message = "this host does not tell losses how many epochs are done: there is no warmup");
        st = PARE_EUNSUPPORTED;
    }
    if (!st) st = nodes_open(&b, host, model, io);
    if (st) return st;
    const uint32_t hit = one_hot(&b, io);
    const side s = side_of(&b, io->logits, temperature, hit);
    for (uint64_t i = 0; i < l->n; i++) {
        if (l->share[i] == 0) continue;
        const side t = side_of(&b, io->teachers[i], temperature, hit);
        soft = plus(&b, soft, times(&b, of_teacher(&b, l, &s, &t), l->share[i]));
    }
    soft = times(&b, mean(&b, soft), temperature * temperature);
    if (warmup > 0) {
        uint32_t share = node2(&b, "Min", times(&b, io->epoch, 1 / warmup), number(&b, 1));
        soft = node2(&b, "Mul", soft, share);
    }
    if (by_labels > 0) hard = times(&b, cross_entropy(&b, io), by_labels);
    return nodes_close(&b, plus(&b, soft, hard), loss);
}

const pare_loss distill_dkd = {
    .size = sizeof(pare_loss),
    .flags = PARE_LOSS_TEACHER | PARE_LOSS_LABELS,
    .id = "distill.dkd",
    .version = "1.0.0",
    .summary = "Decoupled knowledge distillation (arXiv 2203.08679): labelled class and others weighed apart.",
    .params = params,
    .n_params = N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .build = build,
    .destroy = distill_destroy,
};
