/* model/edit.h - changing a model: nodes, values, tensors, attributes, metadata; and the check after it.
 *
 * Every function keeps uses, producers and the name tables right. Ids given must be live; names given are copied.
 * The functions don't report: a caller that passes input on checks it first. May use: model.h.
 */
#ifndef PARE_MODEL_EDIT_H
#define PARE_MODEL_EDIT_H

#include "model/model.h"

/* ---- graphs, nodes ---- */
uint32_t pare_graph_add(pare_model *m, uint32_t parent_node, const char *name);
/* A node before `before` (0: at the end) with n_out fresh output values named out_names[i] ("" or NULL: left out). The
 * names must be free in the graph (pare_name_free). in[i] may be 0. Returns its id. */
uint32_t pare_node_add(pare_model *m, uint32_t graph, uint32_t before, const char *op_type, const char *domain,
                       const char *name, const uint32_t *in, size_t n_in, const char *const *out_names, size_t n_out);
/* Removes a node, its attributes' tensors and subgraphs, and its output values that nothing uses and that are no graph
 * outputs; those that are used lose their producer (the check refuses the graph until somebody defines them). */
void pare_node_del(pare_model *m, uint32_t node);
void pare_node_input_set(pare_model *m, uint32_t node, uint32_t slot,
                         uint32_t value); /* slot may be one past the end */
void pare_node_inputs_trim(pare_model *m, uint32_t node, uint32_t n_in);
/* Makes `value` (which has no producer) output `slot` of the node; slot may be past the end. */
void pare_node_output_set(pare_model *m, uint32_t node, uint32_t slot, uint32_t value);

/* ---- values ---- */
uint32_t pare_value_add(pare_model *m, uint32_t graph, const char *name); /* without producer; the name must be free */
void pare_value_del(pare_model *m, uint32_t value);                       /* unused, not a graph output */
void pare_value_replace_uses(pare_model *m, uint32_t from, uint32_t to);  /* by nodes and as graph output */
bool pare_value_rename(pare_model *m, uint32_t value, const char *name);  /* false: the name is taken */
void pare_value_type_set(pare_model *m, uint32_t value, uint32_t dtype, int32_t ndim, const pare_dim *dims);
void pare_graph_input_add(pare_model *m, uint32_t graph, uint32_t value);
void pare_graph_output_add(pare_model *m, uint32_t graph, uint32_t value);
/* Free: no value of this graph, of the graphs around it, or of those inside it has it. */
bool pare_name_is_free(const pare_model *m, uint32_t graph, const char *name);
/* A free name: `want`, else want_1, want_2, … In the model's arena. */
const char *pare_name_fresh(pare_model *m, uint32_t graph, const char *want);

/* ---- tensors ---- */
/* A new initializer with its value (name must be free, or belong to a graph input without initializer, which then has
 * this default). Bytes undefined. 0: no memory, or sizes overflow (nothing changed). */
uint32_t pare_tensor_add(pare_model *m, uint32_t graph, const char *name, uint32_t dtype, size_t ndim,
                         const int64_t *dims);
/* The same around an existing blob (takes a reference), whose length must fit; 0 otherwise. */
uint32_t pare_tensor_add_blob(pare_model *m, uint32_t graph, const char *name, uint32_t dtype, size_t ndim,
                              const int64_t *dims, pare_blob *blob);
/* An initializer made to stand at position `index` of the graph's list (for putting one back where it was). */
void pare_initializer_move(pare_model *m, uint32_t tensor, size_t index);
/* New dtype and dims, bytes undefined. false: no memory or overflow, nothing changed. */
bool pare_tensor_retype(pare_model *m, uint32_t tensor, uint32_t dtype, size_t ndim, const int64_t *dims);
/* Removes an initializer; its value goes too when nothing uses it and it is no graph input or output. */
void pare_tensor_del(pare_model *m, uint32_t tensor);

/* ---- attributes: replaces one of the same name ---- */
void pare_attr_set_int(pare_model *m, uint32_t node, const char *name, int64_t v);
void pare_attr_set_float(pare_model *m, uint32_t node, const char *name, float v);
void pare_attr_set_string(pare_model *m, uint32_t node, const char *name, const void *s, size_t n);
void pare_attr_set_ints(pare_model *m, uint32_t node, const char *name, const int64_t *v, size_t n);
void pare_attr_set_floats(pare_model *m, uint32_t node, const char *name, const float *v, size_t n);
/* A fresh tensor as attribute; returns its id, bytes undefined. 0: no memory or overflow. */
uint32_t pare_attr_set_tensor(pare_model *m, uint32_t node, const char *name, uint32_t dtype, size_t ndim,
                              const int64_t *dims);
void pare_attr_del(pare_model *m, uint32_t node, const char *name);

/* ---- model ---- */
void pare_model_meta_set(pare_model *m, const char *key, const char *value); /* value NULL: removes */
void pare_model_opset_set(pare_model *m, const char *domain, int64_t version);

/* Masked tensors: a mask at rest is the zero pattern of a tensor that the metadata names, in a JSON list under the key
 * ai.pare.masked. A tensor goes by its value's name; where several graphs have constants of that name, the K-th of
 * them, in the order of graphs, goes by NAME@K. Edits keep the list right: renaming and deleting, and where a name
 * comes to stand for one constant more or less. The exception is a tensor that is deleted while its value stays: so
 * does the entry, for what will define the value next (packing). */
bool pare_tensor_masked(pare_model *m, const pare_tensor *t);
/* false: the tensor defines no value, or the metadata entry is somebody else's (no list): nothing changed. */
bool pare_tensor_masked_set(pare_model *m, const pare_tensor *t, bool masked);

/* ---- the check ---- */
/* Names unique, every used value defined, no cycle; sorts nodes topologically where an edit left them unsorted (stable:
 * an already sorted graph keeps its order). Reports what is wrong with names; the model is unchanged on failure. */
pare_status pare_model_check(pare_model *m, pare_diags *d);

#endif
