/* plugins/cpu/ref/ref_rows.h - between the files of ref/: the run functions that ref_ops.c lists, and helpers of the
 * element-wise and normalising families that the rest does not need.
 *
 * May use: ref.h.
 */
#ifndef PARE_CPU_REF_ROWS_H
#define PARE_CPU_REF_ROWS_H

#include "ref.h"

#include <stddef.h>

/* ---- elements ---- */
enum { REF_ROUND_UP, REF_ROUND_DOWN, REF_ROUND_NEAREST }; /* of float8_e8m0 only */
/* ref_set with Cast's say: saturate false lets the 8-bit floats overflow to inf or NaN. */
void ref_set_cast(void *data, uint32_t dtype, uint64_t i, double x, bool saturate, int mode);

/* ---- what most rows cover: a first input and output, numbers, at most REF_DIMS dims ---- */
bool ref_numeric(const pare_kernel_spec *s);

/* ---- broadcasting walk: the output in row-major order, as rows in which each input moves by one stride ---- */
enum { REF_WALK_INPUTS = 3 };
typedef struct ref_walk {
    uint32_t n_in, ndim; /* ndim >= 1 after merging neighbours */
    int64_t dims[REF_DIMS];
    int64_t stride[REF_WALK_INPUTS][REF_DIMS]; /* in elements */
} ref_walk;
/* A row: n elements from out_at on; input k starts at at[k] and moves by stride[k]. */
typedef void ref_row(void *ctx, uint64_t out_at, const uint64_t *at, const int64_t *stride, uint64_t n);
/* PARE_EINVAL: the inputs (`n_in` of them) do not broadcast to the output. */
pare_status ref_walk_init(ref_walk *w, const pare_operand *out, const pare_operand *const *in, uint32_t n_in);
void ref_walk_run(const ref_walk *w, ref_row *row, void *ctx);

/* ---- one axis or a run of them: index = (o * n + i) * inner + k ---- */
typedef struct ref_axes {
    uint64_t outer, n, inner;
} ref_axes;
/* false: no such axis. */
bool ref_axis_split(const pare_operand *x, int64_t axis, ref_axes *a);

/* ---- runs ---- */
pare_status ref_run_unary(const ref_call *c);      /* ref_unary.c: arithmetic, trigonometry, rounding, tests, Not */
pare_status ref_run_activation(const ref_call *c); /* ref_activation.c */
pare_status ref_run_binary(const ref_call *c);     /* ref_elementwise.c: Add … Xor */
pare_status ref_run_variadic(const ref_call *c);   /* Max, Min, Sum, Mean */
pare_status ref_run_where(const ref_call *c);
pare_status ref_run_clip(const ref_call *c);
pare_status ref_run_cast(const ref_call *c);
pare_status ref_run_reduce(const ref_call *c); /* ref_reduce.c */
pare_status ref_run_arg(const ref_call *c);
pare_status ref_run_cumsum(const ref_call *c); /* ref_axis.c: along one axis */
pare_status ref_run_softmax(const ref_call *c);
pare_status ref_run_topk(const ref_call *c);
pare_status ref_run_batchnorm(const ref_call *c); /* ref_norm.c */
pare_status ref_run_layernorm(const ref_call *c);
pare_status ref_run_groupnorm(const ref_call *c); /* InstanceNormalization, GroupNormalization */
pare_status ref_run_lrn(const ref_call *c);
pare_status ref_run_mvn(const ref_call *c);
pare_status ref_run_lpnorm(const ref_call *c);
pare_status ref_run_attention(const ref_call *c); /* ref_attention.c */
bool ref_attention_ok(const pare_kernel_spec *s);

#endif
