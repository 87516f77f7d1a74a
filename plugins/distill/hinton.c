/* distill/hinton.c - distill.hinton, the loss: soft targets of one or several teachers beside the labels.
 *
 * Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv 1503.02531. With p = softmax(z / T) of
 * teacher and student: alpha * T^2 * KL(p_teacher || p_student) + (1 - alpha) * cross-entropy, both means over the
 * batch. May use: common.h.
 */
#include "hinton.h"

const pare_param hinton_params[HINTON_N_PARAMS] = {
    [HINTON_TEACHER] = PARAM_TEACHER,
    [HINTON_WEIGHTS] = PARAM_WEIGHTS,
    [HINTON_TEMPERATURE] = PARAM_TEMPERATURE("4"),
    [HINTON_ALPHA] = PARAM(.type = PARE_PARAM_FLOAT, .name = "alpha", .unit = "fraction", .dflt = "0.7", .min = 0,
                           .max = 1, .doc = "The teachers' share of the loss; the rest is cross-entropy by labels."),
};

/* (N, K): p * (log p - log q), of one teacher. */
static uint32_t divergence(nodes *b, uint32_t teacher, uint32_t log_student, double temperature) {
    uint32_t log_teacher = log_softmax(b, teacher, temperature);
    return node2(b, "Mul", node1(b, "Exp", log_teacher), node2(b, "Sub", log_teacher, log_student));
}

static pare_status build(void *self, const pare_host *host, pare_model *model, const pare_loss_io *io, uint32_t *loss) {
    const distill_loss *h = self;
    const double temperature = distill_number(h, HINTON_TEMPERATURE), alpha = distill_number(h, HINTON_ALPHA);
    nodes b;
    uint32_t soft = 0, hard = 0;
    pare_status st = distill_ready(host, distill_hinton.id, io, h, alpha < 1);
    if (!st) st = nodes_open(&b, host, model, io);
    if (st) return st;
    if (alpha > 0) {
        uint32_t log_student = log_softmax(&b, io->logits, temperature);
        for (uint64_t i = 0; i < h->n; i++) {
            if (h->share[i] == 0) continue;
            uint32_t one = divergence(&b, io->teachers[i], log_student, temperature);
            soft = plus(&b, soft, times(&b, one, h->share[i]));
        }
        soft = mean(&b, reduce(&b, "ReduceSum", soft, 1, 0));
        soft = times(&b, soft, alpha * temperature * temperature);
    }
    if (alpha < 1) hard = times(&b, cross_entropy(&b, io), 1 - alpha);
    return nodes_close(&b, plus(&b, soft, hard), loss);
}

const pare_loss distill_hinton = {
    .size = sizeof(pare_loss),
    .flags = PARE_LOSS_TEACHER,
    .id = "distill.hinton",
    .version = "1.0.0",
    .summary = "Knowledge distillation by softened probabilities (arXiv 1503.02531), beside the labels.",
    .params = hinton_params,
    .n_params = HINTON_N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = distill_create,
    .build = build,
    .destroy = distill_destroy,
};
