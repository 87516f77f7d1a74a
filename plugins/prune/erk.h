/* prune/erk.h - how much of a common sparsity falls to each layer: the Erdos-Renyi-Kernel rule.
 *
 * Is: arithmetic on sizes. Is not: about tensors. May use: the C library.
 */
#ifndef PRUNE_ERK_H
#define PRUNE_ERK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct prune_erk_layer {
    double count;    /* weights: the product of its dims */
    double dims;     /* and their sum: outputs + inputs + kernel height + width */
    double sparsity; /* out */
    bool dense;      /* out: the rule would leave it more than all of its weights */
} prune_erk_layer;

/* A layer's density is in proportion to dims / count, so that all together are of `sparsity`; where that passes 1 a
 * layer stays dense and the others give more (Evci et al., "Rigging the Lottery", 2020; Mocanu et al., 2018).
 * sparsity in [0, 1). */
void prune_erk(prune_erk_layer *layers, uint64_t n, double sparsity);

#endif
