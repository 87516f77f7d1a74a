/* plugins/cpu/ref/ref_grad.h - what the plain C kernels of ai.pare.grad share: tensors as doubles in, doubles out.
 *
 * Meaning of each op: pare/grad_ops.h. May use: ref_b.h.
 */
#ifndef PARE_CPU_REF_GRAD_H
#define PARE_CPU_REF_GRAD_H

#include "ref_b.h"

extern const ref_op ref_ops_grad[];
extern const uint32_t ref_n_ops_grad;

enum { REFG_MOST = 8 };

/* A call with its float operands as doubles. Outputs are stored, and all is freed, by refg_end. */
typedef struct refg {
    const ref_call *c;
    double *in[REFG_MOST];  /* NULL: absent, dims only, or not asked for */
    double *out[REFG_MOST]; /* zeroed; NULL: absent */
} refg;

/* Inputs whose bit is set are read. PARE_ENOMEM, PARE_EINVAL (fewer operands than needed): nothing is held then. */
pare_status refg_begin(refg *g, const ref_call *c, uint32_t inputs, uint32_t n_in, uint32_t n_out);
pare_status refg_end(refg *g, pare_status st);
static inline const pare_operand *refg_x(const refg *g, uint32_t i) { return g->c->spec->in[i]; }

/* Sizes of a tensor seen as (outer, axis, inner); the product of dims before, at and behind. */
typedef struct refg_view {
    int64_t outer, axis, inner;
} refg_view;
refg_view refg_view_of(const pare_operand *o, int64_t axis);

#define REFG_RUN(name) pare_status name(const ref_call *c)
REFG_RUN(refg_conv_input);
REFG_RUN(refg_conv_weight);
REFG_RUN(refg_max_pool);
REFG_RUN(refg_average_pool);
REFG_RUN(refg_global_average_pool);
REFG_RUN(refg_batch_norm_train);
REFG_RUN(refg_batch_norm);
REFG_RUN(refg_layer_norm);
REFG_RUN(refg_group_norm);
REFG_RUN(refg_lrn);
REFG_RUN(refg_softmax);
REFG_RUN(refg_log_softmax);
REFG_RUN(refg_cross_entropy_loss);
REFG_RUN(refg_cross_entropy);
REFG_RUN(refg_soft_cross_entropy_loss);
REFG_RUN(refg_soft_cross_entropy);
REFG_RUN(refg_activation);
REFG_RUN(refg_clip);
REFG_RUN(refg_dropout);
REFG_RUN(refg_sum_to);
REFG_RUN(refg_slice);
REFG_RUN(refg_gather);
REFG_RUN(refg_gather_elements);
REFG_RUN(refg_gather_nd);
REFG_RUN(refg_concat);
REFG_RUN(refg_resize); /* ref_resize.c */
REFG_RUN(refg_accumulate);
REFG_RUN(refg_global_norm);
REFG_RUN(refg_sgd);
REFG_RUN(refg_adam);
REFG_RUN(refg_ema);

#endif
