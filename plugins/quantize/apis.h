/* quantize/apis.h - the host's interfaces that the techniques use, and the few calls that every file needs.
 *
 * Is not: knowledge of quantization. May use: the SDK.
 */
#ifndef QUANTIZE_APIS_H
#define QUANTIZE_APIS_H

#include <pare/plugin.h>
#include <pare/run.h>

#include <stdbool.h>
#include <string.h>

/* A host, a model, and what may be done with both. Borrowed for one call of a technique's function. */
typedef struct quantize_apis {
    const pare_host *host;
    pare_model *model;
    const pare_graph_api *graph;
    const pare_tensors_api *tensors;
    const pare_layers_api *layers;
    const pare_pass_api *pass;
    const pare_run_api *run;   /* NULL: the host runs no models */
    const pare_note_api *note; /* may be NULL */
} quantize_apis;

/* PARE_EUNSUPPORTED, reported: the host lacks an interface. [run] */
pare_status quantize_apis_init(quantize_apis *q, const pare_host *host, pare_model *model);

pare_node_info quantize_node(const quantize_apis *q, uint32_t node);     /* op_type NULL: no such node */
pare_value_info quantize_value(const quantize_apis *q, uint32_t value);  /* name NULL: none */
pare_constant quantize_constant(const quantize_apis *q, uint32_t value); /* tensor 0: it is none */
pare_tensor_info quantize_tensor(const quantize_apis *q, uint32_t tensor);
/* An attribute's number, or what stands for a missing one. */
int64_t quantize_int(const quantize_apis *q, uint32_t node, const char *name, int64_t absent);
double quantize_float(const quantize_apis *q, uint32_t node, const char *name, double absent);
void quantize_set_int(const quantize_apis *q, uint32_t node, const char *name, int64_t i);

/* A fresh initializer of these bytes, named `want` or like it; its id, its value. */
pare_status quantize_add(const quantize_apis *q, const char *want, uint32_t dtype, uint32_t ndim, const int64_t *dims,
                         const void *bytes, uint32_t *tensor, uint32_t *value);
/* A node of ai.onnx with one output, at the end, whose value is called `out` or like it. name NULL: the node is called
 * as its output is, which is a name of its own; ONNX Runtime refuses a name that two nodes have. */
pare_status quantize_node_add(const quantize_apis *q, const char *op_type, const char *name, const uint32_t *in,
                              uint32_t n_in, const char *out, uint32_t *node, uint32_t *value);
/* All of a float32 tensor, copied into scratch memory. NULL: none left, or not float32 (reported). */
float *quantize_floats(const quantize_apis *q, uint32_t tensor, uint64_t *count);
/* A float32 constant of one element. false: it is none. */
bool quantize_number(const quantize_apis *q, uint32_t value, float *out);

static inline bool quantize_is(const char *op_type, const char *name) { return op_type && strcmp(op_type, name) == 0; }

/* Zeroed scratch memory of n x size bytes; never asked for none. NULL: none left. */
void *quantize_scratch(const quantize_apis *q, uint64_t n, uint64_t size);

/* An error about the model: reported, PARE_EINVAL. printf's format. */
pare_status quantize_refuse(const quantize_apis *q, const char *code, const char *param, const char *tensor,
                            const char *hint, const char *format, ...) __attribute__((format(printf, 6, 7)));
void quantize_say(const quantize_apis *q, uint32_t severity, const char *code, const char *param, const char *node,
                  const char *hint, const char *format, ...) __attribute__((format(printf, 7, 8)));

#endif
