/* prune/source.h - a layer's weights borrowed from the host as a source of keys.
 *
 * May use: the SDK, plan.h, keys.h.
 */
#ifndef PRUNE_SOURCE_H
#define PRUNE_SOURCE_H

#include "keys.h"
#include "plan.h"

#include <pare/tensors.h>

typedef struct prune_borrow {
    const pare_host *host;
    pare_model *model;
    const pare_tensors_api *tensors;
    uint32_t held[3];
    uint32_t n_held;
    prune_source source;
} prune_borrow;

/* Borrows the weights (mode PARE_READ or PARE_WRITE) and, behind DequantizeLinear, scale and zero point. wide: keys are
 * values as doubles (keys.h). On failure reported, and nothing is held. [run] */
pare_status prune_borrow_open(prune_borrow *b, const pare_host *host, pare_model *model, const prune_task *task,
                              uint32_t mode, bool wide);
void prune_borrow_close(prune_borrow *b);

#endif
