/* tests/plugins/loss_evaluate.c - a test plugin: losses without nodes, worked out on the host. One by labels, one by a
 * teacher, and some that go wrong. */
#include "common.h"

#include <math.h>

/* Row i of softmax(x / t), and the log of its sum. */
static double softmax(const float *x, uint64_t k, double t, double *p) {
    double top = (double)x[0], sum = 0;
    for (uint64_t j = 1; j < k; j++) top = (double)x[j] > top ? (double)x[j] : top;
    for (uint64_t j = 0; j < k; j++) sum += p[j] = exp(((double)x[j] - top) / t);
    for (uint64_t j = 0; j < k; j++) p[j] /= sum;
    return top / t + log(sum);
}

/* Cross-entropy by class numbers, or by shares of classes. */
static pare_status by_labels(void *self, const pare_host *host, const pare_loss_values *v, double *loss,
                             float *dlogits) {
    double *p = host->scratch(host, v->classes * sizeof *p);
    (void)self;
    *loss = 0;
    WANT(p && v->rows && v->classes > 1 && !(v->labels && v->targets) && v->epoch >= 0);
    if (!v->labels && !v->targets) {
        PARE_REPORT(host, PARE_ERROR, .code = "test.labels", .message = "there are no labels");
        return PARE_EINVAL;
    }
    for (uint64_t i = 0; i < v->rows; i++) {
        const float *x = v->logits + i * v->classes;
        double log_sum = softmax(x, v->classes, 1, p);
        for (uint64_t j = 0; j < v->classes; j++) {
            uint64_t at = i * v->classes + j;
            WANT(dlogits[at] == 0);
            double target = v->targets ? (double)v->targets[at] : (uint64_t)v->labels[i] == j;
            *loss += target * (log_sum - (double)x[j]) / (double)v->rows;
            dlogits[at] = (float)((p[j] - target) / (double)v->rows);
        }
    }
    return PARE_OK;
}

/* T^2 * KL(teacher || student), mean over rows; T is 4. */
static pare_status by_teacher(void *self, const pare_host *host, const pare_loss_values *v, double *loss,
                              float *dlogits) {
    const double t = 4;
    double *p = host->scratch(host, 2 * v->classes * sizeof *p), *q = p + v->classes;
    (void)self;
    WANT(p && v->n_teachers == 1);
    *loss = 0;
    for (uint64_t i = 0; i < v->rows; i++) {
        const float *x = v->logits + i * v->classes, *y = v->teachers[0] + i * v->classes;
        double log_p = softmax(x, v->classes, t, p), log_q = softmax(y, v->classes, t, q);
        for (uint64_t j = 0; j < v->classes; j++) {
            *loss += t * t * q[j] * (((double)y[j] / t - log_q) - ((double)x[j] / t - log_p)) / (double)v->rows;
            dlogits[i * v->classes + j] = (float)(t * (p[j] - q[j]) / (double)v->rows);
        }
    }
    return PARE_OK;
}

static pare_status no_number(void *self, const pare_host *host, const pare_loss_values *v, double *loss,
                             float *dlogits) {
    (void)self;
    (void)host;
    (void)v;
    (void)dlogits;
    *loss = NAN;
    return PARE_OK;
}

static pare_status silent(void *self, const pare_host *host, const pare_loss_values *v, double *loss, float *dlogits) {
    (void)self;
    (void)host;
    (void)v;
    (void)loss;
    (void)dlogits;
    return PARE_EINVAL;
}

static const pare_param params[] = {
    {.size = sizeof(pare_param), .type = PARE_PARAM_MODEL, .name = "teacher", .doc = "Who is learned from."}};

#define LOSS(name, loss_id, fn, ...)                                                                                   \
    static const pare_loss name = {.size = sizeof(pare_loss),                                                          \
                                   .id = (loss_id),                                                                    \
                                   .version = "1.0.0",                                                                 \
                                   .summary = "A test.",                                                               \
                                   .create = create_nothing,                                                           \
                                   .evaluate = (fn),                                                                   \
                                   __VA_ARGS__}
LOSS(labels, "evaluated.labels", by_labels, .flags = PARE_LOSS_LABELS);
LOSS(unsure, "evaluated.unsure", by_labels, .flags = 0);
LOSS(teacher, "evaluated.teacher", by_teacher, .flags = PARE_LOSS_TEACHER, .params = params, .n_params = 1,
     .param_stride = sizeof(pare_param));
LOSS(odd, "evaluated.nan", no_number, .flags = 0);
LOSS(mute, "evaluated.mute", silent, .flags = 0);

static const pare_loss *const losses[] = {&labels, &unsure, &teacher, &odd, &mute, NULL};
static const pare_plugin plugin = {.size = sizeof(pare_plugin),
                                   .abi_major = PARE_ABI_MAJOR,
                                   .abi_minor = PARE_ABI_MINOR,
                                   .id = "test-loss-evaluate",
                                   .version = "1.0.0",
                                   .losses = losses};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
