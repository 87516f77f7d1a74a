/* distill/dist.c - distill.dist: the student ranks as the teacher does, by correlation instead of divergence.
 *
 * Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher, arXiv 2205.10536. With p = softmax(z /
 * T): T^2 * (beta * (1 - mean over samples of the correlation of their classes) + gamma * (1 - mean over classes of the
 * correlation of their samples)) + cross_entropy * CE; correlation is Pearson's. The second part looks at the whole
 * batch: micro-batches change it. May use: common.h.
 */
#include "common.h"

enum { ARG_TEACHER, ARG_WEIGHTS, ARG_TEMPERATURE, ARG_BETA, ARG_GAMMA, ARG_CROSS_ENTROPY, N_PARAMS };

static const pare_param params[N_PARAMS] = {
    [ARG_TEACHER] = PARAM_TEACHER,
    [ARG_WEIGHTS] = PARAM_WEIGHTS,
    [ARG_TEMPERATURE] = PARAM_TEMPERATURE("1"),
    [ARG_BETA] = PARAM(.type = PARE_PARAM_FLOAT, .name = "beta", .dflt = "1", .min = 0, .max = 1000,
                       .doc = "Weight of the correlation between classes, sample by sample."),
    [ARG_GAMMA] = PARAM(.type = PARE_PARAM_FLOAT, .name = "gamma", .dflt = "1", .min = 0, .max = 1000,
                        .doc = "Weight of the correlation between samples, class by class: of the batch, or of each "
                               "micro-batch."),
    [ARG_CROSS_ENTROPY] = PARAM(.type = PARE_PARAM_FLOAT, .name = "cross_entropy", .dflt = "1", .min = 0, .max = 1000,
                                .doc = "Weight of cross-entropy by labels; 0: it takes none."),
};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    return distill_create_of_two(host, args, params, ARG_BETA, ARG_GAMMA, self);
}

/* The length of a's rows along axis. Behind the root stands what is far below any real square, so that its derivative
 * is a number where all entries are equal: one sample, or a class that nobody sees. */
static uint32_t length(nodes *b, uint32_t a, int64_t axis) {
    return node1(b, "Sqrt", node2(b, "Add", reduce(b, "ReduceSumSquare", a, axis, 1), number(b, 1e-30)));
}

static uint32_t centred(nodes *b, uint32_t p, int64_t axis) {
    return node2(b, "Sub", p, reduce(b, "ReduceMean", p, axis, 1));
}

/* 1 - mean of Pearson's correlation along axis: a scalar. */
static uint32_t apart(nodes *b, uint32_t p, uint32_t q, int64_t axis) {
    uint32_t x = centred(b, p, axis), y = centred(b, q, axis);
    uint32_t lengths = node2(b, "Mul", length(b, x, axis), length(b, y, axis));
    uint32_t dot = reduce(b, "ReduceSum", node2(b, "Mul", x, y), axis, 1);
    uint32_t correlation = node2(b, "Div", dot, node2(b, "Add", lengths, number(b, 1e-8)));
    return node2(b, "Sub", number(b, 1), mean(b, correlation));
}

static pare_status build(void *self, const pare_host *host, pare_model *model, const pare_loss_io *io, uint32_t *loss) {
    const distill_loss *l = self;
    const double temperature = distill_number(l, ARG_TEMPERATURE), by_labels = distill_number(l, ARG_CROSS_ENTROPY);
    const double beta = distill_number(l, ARG_BETA), gamma = distill_number(l, ARG_GAMMA);
    nodes b;
    uint32_t soft = 0, hard = 0;
    pare_status st = distill_ready(host, distill_dist.id, io, l, by_labels > 0);
    if (!st) st = nodes_open(&b, host, model, io);
    if (st) return st;
    uint32_t p = softmax(&b, io->logits, temperature);
    for (uint64_t i = 0; i < l->n; i++) {
        const double share = l->share[i] * temperature * temperature;
        if (share == 0) continue;
        uint32_t q = softmax(&b, io->teachers[i], temperature);
        if (beta > 0) soft = plus(&b, soft, times(&b, apart(&b, p, q, 1), beta * share));
        if (gamma > 0) soft = plus(&b, soft, times(&b, apart(&b, p, q, 0), gamma * share));
    }
    if (by_labels > 0) hard = times(&b, cross_entropy(&b, io), by_labels);
    return nodes_close(&b, plus(&b, soft, hard), loss);
}

const pare_loss distill_dist = {
    .size = sizeof(pare_loss),
    .flags = PARE_LOSS_TEACHER,
    .id = "distill.dist",
    .version = "1.0.0",
    .summary = "Distillation by correlation of classes and of samples (arXiv 2205.10536), for strong teachers.",
    .params = params,
    .n_params = N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .build = build,
    .destroy = distill_destroy,
};
