/* prune/plan.h - what happens to each layer of this model, decided before a byte is touched.
 *
 * Is: layers found, selected and matched with their rows; exact counts. Is not: the choice of weights (select.h).
 * May use: the SDK, options.h.
 */
#ifndef PRUNE_PLAN_H
#define PRUNE_PLAN_H

#include "options.h"

#include <pare/layers.h>
#include <pare/tensors.h>

typedef enum prune_how {
    PRUNE_LEAVE, /* taken part, but nothing to do: see `why` */
    PRUNE_SHARE, /* `gone` weights, by the layer's own threshold */
    PRUNE_POOL,  /* by the threshold common to all such layers */
    PRUNE_GROUPS /* N:M */
} prune_how;

typedef struct prune_task {
    pare_layer layer;
    const char *why; /* PRUNE_LEAVE: the reason, [static], compared by address; NULL: nothing was asked for */
    prune_how how;
    uint32_t dtype, n, m;     /* N:M */
    uint64_t count;           /* weights */
    uint64_t channels, inner; /* N:M: the tensor is (…, channels, inner) */
    double dims;              /* their sum */
    bool ruled;               /* a row of `layers` decides */
    uint64_t gone;            /* weights to remove; PRUNE_POOL: 0, the pool's total counts */
    double requested;         /* as a share */
    uint64_t nonzero;         /* afterwards */
    uint64_t regrown;         /* weights that grew in the place of others, over all changes */
    bool readable;            /* of a dtype that keys can be made of */
} prune_task;

typedef struct prune_plan {
    prune_task *tasks; /* layers that take part, in the file's order; scratch of the host */
    uint64_t n;
    uint64_t pool_count, pool_gone; /* over all PRUNE_POOL tasks */
    bool pool_wide;                 /* the pool mixes dtypes: compare values, not bits */
} prune_plan;

typedef struct prune_apis {
    const pare_layers_api *layers;
    const pare_tensors_api *tensors;
} prune_apis;

/* Finds the layers and decides. The plan lives until the component's function returns. loud: also warn about what is
 * pointless (done once, in check). On failure reported. [run] */
pare_status prune_plan_make(const pare_host *host, pare_model *model, const prune_apis *api, const prune_options *o,
                            bool loud, prune_plan *plan);

#endif
