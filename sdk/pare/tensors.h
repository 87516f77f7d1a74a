/* pare/tensors.h - interface "pare.tensors/1": the tensors of a model.
 *
 * Ids are stable for the step; 0 means none. All writes land in the step's view: when apply fails or is cancelled the
 * model is bit-identical to what it was. [run] unless tagged. May include: host.h, tensor.h.
 */
#ifndef PARE_TENSORS_H
#define PARE_TENSORS_H

#include <pare/host.h>
#include <pare/tensor.h>

#define PARE_TENSORS_V1 "pare.tensors/1"

enum { PARE_READ = 1, PARE_WRITE = 2, PARE_OVERWRITE = 3 }; /* OVERWRITE: old contents need not survive */

typedef struct pare_tensor_info {
    uint32_t size;
    uint32_t dtype;
    const char *name;    /* "" for constants held by a node */
    const int64_t *dims; /* until the tensor is retyped or deleted */
    uint64_t count;
    uint64_t nbytes;
    uint32_t ndim;
    uint32_t masked; /* 1: its zeros are a mask that training keeps */
    uint32_t value;  /* the graph value it defines */
    uint32_t n_uses; /* inputs of nodes that take that value */
} pare_tensor_info;

typedef struct pare_tensors_api {
    uint32_t size, reserved;
    /* The initializers of the main graph in the file's order: pass 0 first, then what it returned; 0 at the end. */
    uint32_t (*next)(const pare_host *, const pare_model *, uint32_t prev);
    uint32_t (*find)(const pare_host *, const pare_model *, const char *name);
    /* Set out->size to sizeof before the call, as everywhere. */
    pare_status (*info)(const pare_host *, const pare_model *, uint32_t tensor, pare_tensor_info *out);
    /* A contiguous view on the CPU, 64-byte aligned. Several readers or one writer of a tensor at a time; PARE_EINVAL
     * (reported) otherwise. Sub-byte dtypes are packed. Strings have no view: PARE_EUNSUPPORTED. */
    pare_status (*borrow)(const pare_host *, pare_model *, uint32_t tensor, uint32_t mode, pare_view *view);
    /* Ends a borrow; the view's pointers are dead after it. What is still borrowed when apply returns is released
     * by the host, with a warning about the plugin. */
    void (*release)(const pare_host *, pare_model *, uint32_t tensor);
    /* A new initializer of the main graph, contents undefined. The name must be free: else PARE_EINVAL, reported. */
    pare_status (*add)(const pare_host *, pare_model *, const char *name, uint32_t dtype, uint32_t ndim,
                       const int64_t *dims, uint32_t *tensor);
    /* New dtype and dims, contents undefined. Not while borrowed. */
    pare_status (*retype)(const pare_host *, pare_model *, uint32_t tensor, uint32_t dtype, uint32_t ndim,
                          const int64_t *dims);
    /* Not while borrowed or used by a node. */
    pare_status (*del)(const pare_host *, pare_model *, uint32_t tensor);
    /* Names the tensor in the model's metadata as masked (its zeros stay zero in training), or takes the name out. */
    pare_status (*masked_set)(const pare_host *, pare_model *, uint32_t tensor, uint32_t masked);
} pare_tensors_api;

#endif
