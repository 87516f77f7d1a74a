/* distill/common.c - see common.h. */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>

pare_status distill_create(const pare_host *host, const pare_arg *args, void **self) {
    const pare_arg *teacher = &args[0], *weights = &args[1];
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
    distill_loss *l = n < SIZE_MAX / sizeof(double) - 4 ? malloc(sizeof *l + (size_t)n * sizeof(double)) : NULL;
    if (!l) return PARE_ENOMEM;
    l->args = args;
    l->n = n;
    for (uint64_t i = 0; i < n; i++) sum += l->share[i] = weights->n ? weights->u.list[i].u.f : 1;
    for (uint64_t i = 0; i < n; i++) l->share[i] /= sum;
    if (sum > 0) {
        *self = l;
        return PARE_OK;
    }
    free(l);
    PARE_REPORT(host, PARE_ERROR, .code = "distill.weights", .message = "all weights are 0: no teacher would count",
                .param = "weights");
    return PARE_EINVAL;
}

void distill_destroy(void *self) { free(self); }

pare_status distill_create_of_two(const pare_host *host, const pare_arg *args, const pare_param *params, uint32_t a,
                                  uint32_t b, void **self) {
    char text[160];
    if (args[a].u.f > 0 || args[b].u.f > 0) return distill_create(host, args, self);
    (void)snprintf(text, sizeof text, "%s and %s are both 0: the teacher would not count", params[a].name,
                   params[b].name);
    PARE_REPORT(host, PARE_ERROR, .code = "distill.nothing", .message = text, .param = params[a].name);
    return PARE_EINVAL;
}

pare_status distill_ready(const pare_host *host, const char *id, const pare_loss_io *io, const distill_loss *l,
                          int labels) {
    char text[200];
    if (!io->n_teachers || io->n_teachers != l->n) {
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
