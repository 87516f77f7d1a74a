/* engine/pass.h - the rewrites that make the engine's own copy of a model faster to run.
 *
 * Each is a file pass_NAME.c with a test of its own. They keep what the graph computes (up to rounding), its inputs and
 * outputs; the model is lowered to PARE_ENGINE_OPSET and its Constant nodes are initializers. Is not: clean-ups that
 * any technique may ask for (model/pass.h). May use: base, model.
 */
#ifndef PARE_ENGINE_PASS_H
#define PARE_ENGINE_PASS_H

#include "model/model.h"

/* *changed counts the places that were rewritten. PARE_ENOMEM, reported. */
typedef pare_status (*pare_engine_pass)(pare_model *m, pare_diags *d, uint64_t *changed);

pare_status pare_pass_fold_batchnorm(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_pool(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_fold_pad(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_cancel_transposes(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_layernorm(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_gelu(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_matmul_add(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_sink_reshape(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_quant(pare_model *m, pare_diags *d, uint64_t *changed);

/* For a bound model only: every dim known. */
pare_status pare_pass_attention(pare_model *m, pare_diags *d, uint64_t *changed);
pare_status pare_pass_integer(pare_model *m, pare_diags *d, uint64_t *changed);

/* All of them, in their order, each as often as it finds something (bounded). */
pare_status pare_engine_passes(pare_model *m, pare_diags *d);
/* Once more for a model bound to dims, with the passes that need those. attention, integer: there are kernels for their
 * nodes. */
pare_status pare_engine_passes_bound(pare_model *m, bool attention, bool integer, pare_diags *d);

/* ---- what passes are made of ---- */
/* The initializer behind input i, of this dtype (0: any); NULL: none, or a graph input's default. */
pare_tensor *pare_pass_constant(const pare_model *m, const pare_node *n, uint32_t i, uint32_t dtype);
/* The node that makes input i, when it is `op` of ai.onnx and nothing else wants what it makes; NULL otherwise. */
pare_node *pare_pass_sole(const pare_model *m, const pare_node *n, uint32_t i, const char *op);
/* The one node that takes v, when nothing else does and v is no output of the graph; NULL otherwise. */
pare_node *pare_pass_consumer(const pare_model *m, uint32_t value);
/* A float32 constant's single number. false: it is none. */
bool pare_pass_number(const pare_model *m, const pare_node *n, uint32_t i, float *out);
/* A fresh float32 initializer with these numbers; returns its value. 0: no memory, reported. */
uint32_t pare_pass_floats(pare_model *m, pare_diags *d, const char *name, size_t ndim, const int64_t *dims,
                          const float *data);
/* The same with bytes of the caller's, who keeps a reference. NULL: no memory. */
uint32_t pare_pass_blob(pare_model *m, pare_diags *d, const char *name, size_t ndim, const int64_t *dims,
                        pare_blob *blob);
/* Node `from`'s output 0 becomes `to`'s: consumers move, and `from` goes when nothing else wants it. */
void pare_pass_replace(pare_model *m, uint32_t from, uint32_t to);

#endif
