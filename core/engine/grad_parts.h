/* engine/grad_parts.h - what gradient rules are made of, and their names for the table in grad.c.
 *
 * Is: private to grad*.c. A rule looks at one node and gives each input that is wanted its share of the gradient; what
 * other consumers of that input give is added to it by grad.c. May use: grad.h, edit.h.
 */
#ifndef PARE_ENGINE_GRAD_PARTS_H
#define PARE_ENGINE_GRAD_PARTS_H

#include "engine/grad.h"
#include "model/edit.h"

#include <pare/grad_ops.h>

typedef struct pare_grad {
    pare_model *m;
    pare_diags *d;
    size_t n_values;        /* of the forward graph: ids up to this one have places below */
    uint32_t *sum;          /* [value id]: its gradient as far as it is summed up, 0: none yet */
    unsigned char *depends; /* [value id]: it depends on something that is asked for, by a path one can differentiate */
    pare_status st;         /* the first failure */
} pare_grad;

typedef void pare_grad_rule(pare_grad *g, const pare_node *n);

/* ---- asking ---- */
static inline uint32_t pare_grad_in(const pare_node *n, uint32_t i) { return i < n->n_in ? n->in[i] : 0; }
uint32_t pare_grad_dy(const pare_grad *g, const pare_node *n, uint32_t out); /* 0: nothing depends on that output */
bool pare_grad_wants(const pare_grad *g, const pare_node *n, uint32_t in);   /* has input `in` to be given a share? */
int32_t pare_grad_rank(const pare_grad *g, uint32_t value);                  /* -1: not known */
uint32_t pare_grad_dtype(const pare_grad *g, uint32_t value);
bool pare_grad_same_dims(const pare_grad *g, uint32_t a, uint32_t b); /* surely */
bool pare_grad_same_dim(const pare_dim *a, const pare_dim *b);        /* likewise */

/* ---- giving ---- */
/* Input `in`'s share. A share of broadcast dims has to be summed first: pare_grad_sum_to. value 0: nothing. */
void pare_grad_give(pare_grad *g, const pare_node *n, uint32_t in, uint32_t value);
/* The op can't be differentiated as it stands here: PARE_EUNSUPPORTED with op and node. */
void pare_grad_refuse(pare_grad *g, const pare_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Says that a value made here has the dims and dtype of `like`, where nothing is known of it. */
void pare_grad_like(pare_grad *g, uint32_t value, uint32_t like);

/* ---- making: all are 0 after a failure and take 0 as such ---- */
/* A node at the end of the graph with n inputs (0: left out); its first output. domain: "" or PARE_GRAD_DOMAIN. */
uint32_t pare_grad_node(pare_grad *g, const char *domain, const char *op, uint32_t n_out, const uint32_t *in, size_t n);
uint32_t pare_grad_output(pare_grad *g, uint32_t first, uint32_t i); /* output i of the node whose first this is */
const pare_node *pare_grad_made(pare_grad *g, uint32_t first);       /* that node, for its attributes */
#define PARE_GRAD_OP(g, op, ...)                                                                                       \
    pare_grad_node(g, "", op, 1, (const uint32_t[]){__VA_ARGS__}, sizeof(uint32_t[]){__VA_ARGS__} / sizeof(uint32_t))
#define PARE_GRAD_OWN(g, op, n_out, ...)                                                                               \
    pare_grad_node(g, PARE_GRAD_DOMAIN, op, n_out, (const uint32_t[]){__VA_ARGS__},                                    \
                   sizeof(uint32_t[]){__VA_ARGS__} / sizeof(uint32_t))
void pare_grad_attrs(pare_grad *g, uint32_t first, const pare_node *from); /* copies all of from's attributes */
void pare_grad_attr_int(pare_grad *g, uint32_t first, const char *name, int64_t v);
void pare_grad_attr_ints(pare_grad *g, uint32_t first, const char *name, const int64_t *v, size_t n);
void pare_grad_attr_float(pare_grad *g, uint32_t first, const char *name, float v);
uint32_t pare_grad_ints(pare_grad *g, const int64_t *v, size_t n); /* an initializer (n) int64 */
uint32_t pare_grad_number(pare_grad *g, uint32_t dtype, double v); /* a scalar initializer */
uint32_t pare_grad_sum_to(pare_grad *g, uint32_t dy, uint32_t x);  /* dy where dims surely are x's */
uint32_t pare_grad_transpose(pare_grad *g, uint32_t v, const int64_t *perm, size_t n);
uint32_t pare_grad_swap_last(pare_grad *g, uint32_t v); /* the last two dims; rank known */

/* ---- the rules: one a row of the table in grad.c ---- */
/* clang-format off */
#define PARE_GRAD_RULES(X)                                                                                             \
    /* grad_heavy.c */                                                                                                 \
    X(conv) X(conv_transpose) X(gemm) X(matmul) X(max_pool) X(average_pool) X(global_average_pool) X(global_max_pool)  \
    X(einsum)                                                                                                          \
    /* grad_norm.c */                                                                                                  \
    X(batch_norm_train) X(batch_norm) X(layer_norm) X(instance_norm) X(group_norm) X(lrn) X(softmax) X(log_softmax)    \
    X(softmax_cross_entropy) X(soft_cross_entropy) X(lp_norm)                                                          \
    /* grad_elementwise.c */                                                                                           \
    X(from_y) X(from_x) X(clip) X(prelu) X(celu) X(erf) X(softsign) X(thresholded_relu) X(shrink)                      \
    X(add) X(sub) X(mul) X(div) X(pow) X(min_max) X(mean) X(where)                                                     \
    X(sqrt) X(exp) X(log) X(neg) X(abs) X(reciprocal) X(sin) X(cos) X(tan) X(asin) X(acos) X(atan) X(sinh) X(cosh)     \
    X(asinh) X(acosh) X(atanh) X(mod) X(zero) X(identity) X(cast) X(dropout)                                           \
    /* grad_shape.c */                                                                                                 \
    X(reshape) X(transpose) X(concat) X(split) X(slice) X(gather) X(gather_elements) X(gather_nd) X(scatter_elements)  \
    X(scatter_nd) X(expand) X(tile) X(pad) X(resize) X(depth_to_space) X(space_to_depth) X(cumsum) X(trilu) X(topk)    \
    /* grad_reduce.c */                                                                                                \
    X(reduce_sum) X(reduce_mean) X(reduce_max) X(reduce_prod) X(reduce_l1) X(reduce_l2) X(reduce_sum_square)           \
    X(reduce_log_sum) X(reduce_log_sum_exp)
#define PARE_GRAD_DECLARE_(name) pare_grad_rule pare_grad_rule_##name;
PARE_GRAD_RULES(PARE_GRAD_DECLARE_)
#undef PARE_GRAD_DECLARE_
/* clang-format on */

#endif
