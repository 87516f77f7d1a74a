/* model/ops_rules.h - what shape rules are made of, and the rules' names for the table in ops.c.
 *
 * Is: private to ops*.c and infer*.c. Dims carry a symbol ("N") as far as it stays true; ranks above PARE_RANK_MAX are
 * treated as unknown, so rules can work on the stack. May use: ops.h, infer.h.
 */
#ifndef PARE_MODEL_OPS_RULES_H
#define PARE_MODEL_OPS_RULES_H

#include "model/infer.h"

enum { PARE_RANK_MAX = 64, PARE_VALUES_MAX = 1024 };

typedef struct pare_shape {
    uint32_t dtype;
    int32_t ndim; /* -1: not known */
    pare_dim d[PARE_RANK_MAX];
} pare_shape;

/* One number of a small integer tensor: known, or equal to a symbol, or neither. */
typedef struct pare_number {
    int64_t v;
    const char *symbol; /* set only where !known */
    bool known;
} pare_number;
typedef struct pare_numbers {
    int32_t ndim; /* 0: a scalar (n is 1); 1 */
    uint32_t n;
    const pare_number *e;
} pare_numbers;

/* The state of one inference. */
typedef struct pare_infer_run {
    pare_arena arena;             /* lives as long as the inference */
    const pare_numbers **numbers; /* [value id], where computed */
    int32_t *old_ndim; /* [value id]: what value->dims held before, so that equal dims are not stored again */
    size_t n_values;
    size_t errors, warnings;        /* reported */
    bool failed;                    /* the main graph contradicts itself */
    uint32_t bad_dtype, rule_dtype; /* of the node at hand: a value whose declared dtype is not what the rule says */
    uint32_t depth; /* of subgraphs; contradictions in there are no errors: a branch may be one that is never taken */
} pare_infer_run;

/* ---- asking ---- */
bool pare_infer_has(const pare_infer_ctx *c, uint32_t i);               /* is input i there? */
void pare_infer_in(const pare_infer_ctx *c, uint32_t i, pare_shape *s); /* not there: nothing known */
uint32_t pare_infer_dtype(const pare_infer_ctx *c, uint32_t i);
/* What is known of the numbers in input i; NULL: nothing, or not a small integer tensor of rank 0 or 1. */
const pare_numbers *pare_infer_numbers(const pare_infer_ctx *c, uint32_t i);
bool pare_infer_const_floats(pare_infer_ctx *c, uint32_t i, const float **v, size_t *n); /* float32 constants only */
/* The tensor of a constant input (initializer or Constant node), or NULL. */
pare_tensor *pare_infer_tensor(const pare_infer_ctx *c, uint32_t i);

/* Attribute of n ints, each >= lo; absent: all dflt. Wrong length or value: PARE_EINVAL, reported. */
pare_status pare_infer_attr_ints(pare_infer_ctx *c, const char *name, size_t n, int64_t lo, int64_t dflt, int64_t *out);
/* "axes" as attribute or, where in_slot > 0, constant input. *known false: given, but not constant; then *n is their
 * number or -1. Absent: *known true, *n is -1. Normalised to 0..ndim-1 (ndim < 0: left as they are). */
pare_status pare_infer_axes(pare_infer_ctx *c, uint32_t in_slot, int32_t ndim, bool *known, int64_t *n, int64_t *axes);
/* axis in [-ndim, ndim) to 0..ndim-1; otherwise PARE_EINVAL, reported. */
pare_status pare_infer_axis(pare_infer_ctx *c, const char *name, int64_t axis, int32_t ndim, int32_t *out);

/* ---- saying ---- */
/* "Conv node "conv1": <text>"; code: "model.shape" or "model.attribute". PARE_EINVAL. */
pare_status pare_infer_fail(pare_infer_ctx *c, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *pare_shape_text(const pare_infer_ctx *c, const pare_shape *s); /* "[N, 3, 224, 224]" */
void pare_infer_out_shape(pare_infer_ctx *c, uint32_t i, uint32_t dtype, const pare_shape *s);
void pare_infer_out_unknown(pare_infer_ctx *c, uint32_t i, uint32_t dtype); /* dtype known, rank not */
void pare_infer_numbers_set(pare_infer_ctx *c, uint32_t i, int32_t ndim, uint32_t n, const pare_number *e); /* copied */

/* ---- dims ---- */
static inline pare_dim pare_dim_of(int64_t v) { return (pare_dim){.value = v < 0 ? -1 : v, .symbol = NULL}; }
static inline bool pare_dim_known(pare_dim d) { return d.value >= 0; }
/* Its symbol says something: exporters write "?", "None" and the like for any dim that is not known. */
bool pare_dim_named(pare_dim d);
bool pare_dim_same(pare_dim a, pare_dim b);   /* surely equal: same number or same symbol */
bool pare_dim_merge(pare_dim *a, pare_dim b); /* a learns from b; false: two different numbers */
/* a * b and a + b; what is not known or too large gives an unknown dim. */
pare_dim pare_dim_mul(pare_dim a, pare_dim b);
pare_dim pare_dim_add(pare_dim a, pare_dim b);
/* s broadcast with b by NumPy's rules, into s. PARE_EINVAL, reported, when they conflict. */
pare_status pare_infer_broadcast(pare_infer_ctx *c, pare_shape *s, const pare_shape *b);
bool pare_shape_grow(pare_shape *s, pare_dim d); /* appends; false: rank above PARE_RANK_MAX, ndim is -1 then */

/* A dim for counting multiply-adds: the batch counts as 1 where it is no number. -1: not known. */
int64_t pare_macs_dim(const pare_model *m, const pare_value *v, int32_t i);
int64_t pare_macs_mul(int64_t a, int64_t b); /* -1 where one is, or on overflow */

const pare_op *pare_op_grad_find(const char *op_type);      /* ops_grad.c: a row of ai.pare.grad, NULL: none */
const pare_op *pare_op_microsoft_find(const char *op_type); /* ops_microsoft.c: one of com.microsoft, likewise */

/* ---- the rules ---- */
/* clang-format off */
#define PARE_RULES(X)                                                                                                  \
    X(same) X(same_bool) X(dropout) X(cast) X(cast_like) X(compare) X(nary) X(where) X(batch_norm) X(layer_norm)       \
    X(instance_norm) X(conv) X(conv_transpose) X(conv_integer) X(qlinear_conv) X(pool) X(global_pool) X(gemm)          \
    X(attention) X(matmul) X(matmul_integer) X(qlinear_matmul) X(rnn) X(flatten) X(reshape) X(transpose) X(squeeze) X(unsqueeze)    \
    X(expand) X(tile) X(depth_to_space) X(space_to_depth) X(concat) X(split) X(slice) X(gather) X(gather_elements)     \
    X(gather_nd) X(einsum) X(pad) X(resize) X(upsample) X(reduce) X(arg_reduce) X(topk) X(one_hot) X(nonzero) X(shape) X(size)   \
    X(constant) X(constant_of_shape) X(range) X(fill) X(fill_like) X(quantize) X(dequantize) X(dynamic_quantize) X(loss)
#define PARE_RULE_DECLARE_(name) pare_status pare_rule_##name(pare_infer_ctx *c);
PARE_RULES(PARE_RULE_DECLARE_)
#undef PARE_RULE_DECLARE_

#define PARE_MACS(X) X(attention) X(conv) X(conv_transpose) X(qlinear_conv) X(gemm) X(matmul) X(qlinear_matmul) X(rnn)
#define PARE_MACS_DECLARE_(name) int64_t pare_macs_##name(const pare_model *m, const pare_node *n);
PARE_MACS(PARE_MACS_DECLARE_)
#undef PARE_MACS_DECLARE_

#define PARE_PASSES(X)                                                                                                 \
    X(pass) X(shape) X(size) X(constant) X(gather) X(slice) X(concat) X(binary) X(where) X(neg) X(range)               \
    X(constant_of_shape) X(reduce_prod) X(cast) X(reshape)
#define PARE_PASS_DECLARE_(name) void pare_numbers_##name(pare_infer_ctx *c);
PARE_PASSES(PARE_PASS_DECLARE_)
#undef PARE_PASS_DECLARE_
/* clang-format on */

#endif
