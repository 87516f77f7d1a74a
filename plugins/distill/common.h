/* distill/common.h - what the losses of this plugin share: teachers, labels, their messages. May use: nodes.h. */
#ifndef DISTILL_COMMON_H
#define DISTILL_COMMON_H

#include "nodes.h"

#include <pare/technique.h>

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

/* The first two parameters of every loss here. */
#define PARAM_TEACHER                                                                                                  \
    PARAM(.type = PARE_PARAM_MODEL, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY, .name = "teacher",                 \
          .doc = "Who is learned from: earlier steps, models or ONNX files; one or several.")
#define PARAM_WEIGHTS                                                                                                  \
    PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "weights", .min = 0,       \
          .max = 1e6, .doc = "How much each teacher counts, in proportion; left out: all the same.")
#define PARAM_TEMPERATURE(default_value)                                                                               \
    PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MIN, .name = "temperature", .dflt = (default_value),      \
          .min = 0, .max = 1000, .doc = "Logits are divided by it: above 1 small probabilities count more.")

/* Teachers and their shares. */
typedef struct distill_teachers {
    uint64_t n;
    double share[]; /* sum to 1 */
} distill_teachers;

/* By the two parameters. PARE_EINVAL, reported. The caller frees *out. */
pare_status distill_teachers_new(const pare_host *host, const pare_arg *teacher, const pare_arg *weights,
                                 distill_teachers **out);

/* Is there what the loss takes? PARE_EINVAL, reported with the loss's id. */
pare_status distill_ready(const pare_host *host, const char *id, const pare_loss_io *io, const distill_teachers *t,
                          int labels);

extern const pare_loss distill_hinton, distill_dkd, distill_dist;
extern const pare_technique distill_hinton_technique;

#endif
