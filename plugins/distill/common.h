/* distill/common.h - what the losses of this plugin share: teachers, labels, their messages. May use: nodes.h. */
#ifndef DISTILL_COMMON_H
#define DISTILL_COMMON_H

#include "nodes.h"

#include <pare/technique.h>

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

/* The first two parameters of every loss here: arguments 0 and 1. */
#define PARAM_TEACHER                                                                                                  \
    PARAM(.type = PARE_PARAM_MODEL, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY, .name = "teacher",                 \
          .doc = "Who is learned from: earlier steps, models or ONNX files; one or several.")
#define PARAM_WEIGHTS                                                                                                  \
    PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "weights", .min = 0,       \
          .max = 1e6, .doc = "How much each teacher counts, in proportion; left out: all the same.")
#define PARAM_TEMPERATURE(default_value)                                                                               \
    PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MIN, .name = "temperature", .dflt = (default_value),      \
          .min = 0, .max = 1000, .doc = "Logits are divided by it: above 1 small probabilities count more.")

/* What every loss here is: its arguments, its teachers and their shares. */
typedef struct distill_loss {
    const pare_arg *args;
    uint64_t n;
    double share[]; /* sum to 1 */
} distill_loss;

/* create and destroy of a pare_loss. PARE_EINVAL, reported: weights that don't go with the teachers. */
pare_status distill_create(const pare_host *host, const pare_arg *args, void **self);
void distill_destroy(void *self);
/* create of one with two parts by the teacher, whose weights are parameters a and b: not both are 0. */
pare_status distill_create_of_two(const pare_host *host, const pare_arg *args, const pare_param *params, uint32_t a,
                                  uint32_t b, void **self);

/* A parameter of type FLOAT. */
static inline double distill_number(const distill_loss *l, uint32_t param) { return l->args[param].u.f; }

/* Is there what the loss takes? PARE_EINVAL, reported with the loss's id. */
pare_status distill_ready(const pare_host *host, const char *id, const pare_loss_io *io, const distill_loss *l,
                          int labels);

extern const pare_loss distill_hinton, distill_dkd, distill_dist;
extern const pare_technique distill_hinton_technique;

#endif
