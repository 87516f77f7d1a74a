/* model/infer.h - dtypes and shapes of all values, from the table of ops. May use: model.h, ops.h. */
#ifndef PARE_MODEL_INFER_H
#define PARE_MODEL_INFER_H

#include "model/ops.h"

/* Fills dtype and dims of every value it can, in the graph's order, subgraphs where their node stands. Starts anew each
 * time: values without a type in the file are forgotten first, those with one start from what the file says, so it may
 * be called again after any edit. What is declared is kept where the rules know less; where a declared shape
 * contradicts the rules, the rules win in memory and a warning says so. Where inputs contradict each other (Conv with 3
 * channels fed 4), or a declared dtype is wrong: PARE_EINVAL, each reported with its node, the rest is inferred all the
 * same. Never refused: what ONNX allows; nor anything inside a subgraph, which may be a branch that is never taken.
 * Nothing that is written to a file changes. Values that no rule reaches stay unknown. PARE_ECANCELLED: half done. */
pare_status pare_model_infer(pare_model *m, pare_diags *d);

/* For rules: set output i; dims are copied. Nothing happens when the node leaves output i out. */
void pare_infer_out(pare_infer_ctx *c, uint32_t i, uint32_t dtype, int32_t ndim, const pare_dim *dims);
/* The constant int64/int32 contents of input i as int64, or false: initializers, Constant nodes and what small integer
 * arithmetic makes of them. Rank 0 or 1, at most 1024 numbers. *v lives as long as the inference. */
bool pare_infer_const_ints(pare_infer_ctx *c, uint32_t i, const int64_t **v, size_t *n);

#endif
