/* distill/common.c - see common.h. */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>

pare_status distill_teachers_new(const pare_host *host, const pare_arg *teacher, const pare_arg *weights,
                                 distill_teachers **out) {
    const uint64_t n = teacher->n;
    char text[160];
    double sum = 0;
    if (weights->n && weights->n != n) {
        (void)snprintf(text, sizeof text, "%llu weights for %llu teacher%s", (unsigned long long)weights->n,
                       (unsigned long long)n, n == 1 ? "" : "s");
        PARE_REPORT(host, PARE_ERROR, .code = "distill.weights", .message = text, .param = "weights",
                    .hint = "give each teacher one, or leave weights out: then all count the same");
        return PARE_EINVAL;
    }
    distill_teachers *t = n < SIZE_MAX / sizeof(double) - 1 ? malloc(sizeof *t + (size_t)n * sizeof(double)) : NULL;
    if (!t) return PARE_ENOMEM;
    t->n = n;
    for (uint64_t i = 0; i < n; i++) sum += t->share[i] = weights->n ? weights->u.list[i].u.f : 1;
    for (uint64_t i = 0; i < n; i++) t->share[i] /= sum;
    if (sum > 0) {
        *out = t;
        return PARE_OK;
    }
    free(t);
    PARE_REPORT(host, PARE_ERROR, .code = "distill.weights", .message = "all weights are 0: no teacher would count",
                .param = "weights");
    return PARE_EINVAL;
}

pare_status distill_ready(const pare_host *host, const char *id, const pare_loss_io *io, const distill_teachers *t,
                          int labels) {
    char text[200];
    if (!io->n_teachers || io->n_teachers != t->n) {
        (void)snprintf(text, sizeof text, "%s has no teacher to learn from", id);
        PARE_REPORT(host, PARE_ERROR, .code = "distill.teacher", .message = text, .param = "teacher",
                    .hint = "name an earlier step, a model or an ONNX file, as in `teacher: trained`");
        return PARE_EINVAL;
    }
    if (!labels || io->labels || io->targets) return PARE_OK;
    (void)snprintf(text, sizeof text, "%s takes labels, and the training set has none", id);
    PARE_REPORT(host, PARE_ERROR, .code = "distill.labels", .message = text,
                .hint = "distill.hinton with `alpha: 1` learns from the teacher alone");
    return PARE_EINVAL;
}
