/* engine/lower_parts.h - what the rules of lowering are made of, and their names for the table in lower.c.
 *
 * Is: private to lower*.c. A rule gets one node that stands at the file's opset and leaves it, and the nodes it puts
 * before it, at PARE_ENGINE_OPSET. Where several nodes are needed the given one becomes the last of them, so that
 * output values, their names and declared types stay. May use: lower.h, edit.h.
 */
#ifndef PARE_ENGINE_LOWER_PARTS_H
#define PARE_ENGINE_LOWER_PARTS_H

#include "engine/lower.h"
#include "model/edit.h"

typedef struct pare_lowering {
    pare_model *m;
    pare_diags *d;
    int64_t from;   /* the file's opset */
    pare_status st; /* the first failure; what can be had is lowered all the same, so that all refusals are named */
} pare_lowering;

typedef void pare_lower_fn(pare_lowering *l, pare_node *n);

/* ---- saying no ---- */
/* `Softmax node "prob": <text>`, PARE_EUNSUPPORTED. hint may be NULL. */
void pare_lower_refuse(pare_lowering *l, const pare_node *n, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The node breaks its own opset's rules: PARE_EINVAL. */
void pare_lower_bad(pare_lowering *l, const pare_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- asking ---- */
int32_t pare_lower_rank(const pare_lowering *l, uint32_t value);           /* -1: not known */
int64_t pare_lower_dim(const pare_lowering *l, uint32_t value, int32_t i); /* i from 0; -1: not known */
uint32_t pare_lower_dtype(const pare_lowering *l, uint32_t value);         /* PARE_DTYPE_UNKNOWN: not known */
static inline uint32_t pare_lower_in(const pare_node *n, uint32_t i) { return i < n->n_in ? n->in[i] : 0; }
bool pare_lower_out_used(const pare_lowering *l, const pare_node *n, uint32_t i);
bool pare_lower_attr_is(const pare_node *n, const char *name, const char *text); /* a string attribute of this text */
const pare_attr *pare_lower_attr_ints(const pare_node *n, const char *name);     /* NULL: absent or no ints */
/* The tensor of an initializer or a Constant node; NULL: not constant. */
pare_tensor *pare_lower_const(const pare_lowering *l, uint32_t value);
/* A constant's numbers of that dtype; NULL: not constant, another dtype, or none. */
const void *pare_lower_const_data(pare_lowering *l, uint32_t value, uint32_t dtype, uint64_t *n);

/* ---- making: 0 after a failure, which is reported ---- */
/* Initializers in the node's graph, called after its first output. */
uint32_t pare_lower_ints(pare_lowering *l, const pare_node *n, const char *what, const int64_t *v, size_t count);
uint32_t pare_lower_int(pare_lowering *l, const pare_node *n, const char *what, int64_t v); /* rank 0 */
uint32_t pare_lower_floats(pare_lowering *l, const pare_node *n, const char *what, const float *v, size_t count);
/* Rank 0 and of a float dtype; other than float32 by a Cast of a float32 one, which constant folding removes. */
uint32_t pare_lower_float(pare_lowering *l, const pare_node *n, const char *what, float v, uint32_t dtype);
/* A node before n; returns its only output, whose producer it is. */
uint32_t pare_lower_before(pare_lowering *l, const pare_node *n, const char *op, const char *what, const uint32_t *in,
                           size_t n_in);
/* Sets an attribute of the node that made a value. */
void pare_lower_made_int(pare_lowering *l, uint32_t value, const char *name, int64_t v);
uint32_t pare_lower_cast(pare_lowering *l, const pare_node *n, const char *what, uint32_t value, uint32_t dtype);

/* ---- changing ---- */
void pare_lower_input(pare_lowering *l, pare_node *n, uint32_t slot, uint32_t value); /* slots between stay left out */
/* The node becomes another op, without attributes. op: a literal. */
void pare_lower_become(pare_lowering *l, pare_node *n, const char *op, const uint32_t *in, size_t n_in);
void pare_lower_rename(pare_lowering *l, pare_node *n, const char *op);       /* keeps inputs and attributes */
void pare_lower_outputs_trim(pare_lowering *l, pare_node *n, uint32_t n_out); /* the rest must be unused */

/* ---- the rules ---- */
/* clang-format off */
#define PARE_LOWER_RULES(X)                                                                                            \
    /* lower_inputs.c: attributes that became inputs, and Constant's forms */                                          \
    X(axes) X(clip) X(pad) X(slice) X(split) X(topk) X(reshape) X(dropout) X(constant) X(dft)                          \
    /* lower_legacy.c: old meanings of ops that are there still */                                                     \
    X(broadcast) X(prelu) X(gemm) X(batch_norm) X(softmax) X(group_norm) X(cast_text) X(concat) X(selu) X(tile)        \
    X(lp_power) X(rnn) X(grid_sample) X(roi_align) X(scatter) X(scan)                                                  \
    /* lower_resize.c */                                                                                               \
    X(upsample) X(resize_10) X(resize_11) X(resize)                                                                    \
    /* lower_newer.c: what came after PARE_ENGINE_OPSET */                                                             \
    X(cast_round) X(quantize) X(dequantize) X(range) X(mod) X(bit_shift) X(space_to_depth) X(swish) X(rms_norm)  \
    /* lower_attention.c */                                                                                            \
    X(attention)                                                                                                       \
    /* lower_quant.c */                                                                                                \
    X(qlinear_conv) X(qlinear_matmul)
#define PARE_LOWER_DECLARE_(name) pare_lower_fn pare_lower_rule_##name;
PARE_LOWER_RULES(PARE_LOWER_DECLARE_)
#undef PARE_LOWER_DECLARE_
/* clang-format on */
/* Of com.microsoft, what is quantized (lower_quant.c); other ops of it stay as they are. */
void pare_lower_microsoft(pare_lowering *l, pare_node *n);

#endif
