/* engine/recompute.h - less memory for a training step: activations made again when the backward pass wants them.
 *
 * A rewrite of the graph that pare_grad_build leaves. The forward part is cut into segments where all that goes on is
 * one value; such values are kept. What the backward nodes of a segment read beside them is computed a second time, by
 * copies of the segment's nodes that stand right before the first of those backward nodes, so that the first time's
 * memory is free in between. The last segment is not worth it: its backward pass begins at once. (Chen et al.,
 * "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.) Numbers do not change: a copy has the operands
 * and attributes of what it copies. Running statistics are moved by the first time alone, and DropoutTrain draws by its
 * attributes and the step, so the same twice. Is not: where buffers lie (layout.c). May use: base, model, sdk.
 */
#ifndef PARE_ENGINE_RECOMPUTE_H
#define PARE_ENGINE_RECOMPUTE_H

#include "model/model.h"

enum { PARE_RECOMPUTE_AUTO = -1, PARE_RECOMPUTE_MAX = 256 };

typedef struct pare_recomputed {
    uint32_t segments; /* that there are now; 1: nothing is computed again, no value or no backward node would gain */
    uint32_t copies;   /* nodes that were added */
} pare_recomputed;

/* Between pare_grad_build and everything that is added behind it. n_forward: of the main graph's nodes, those that were
 * there before pare_grad_build. wrt: as given to it. segments: PARE_RECOMPUTE_AUTO, or at most so many, from 2 to
 * PARE_RECOMPUTE_MAX. Of all ways to cut it takes the one whose peak is estimated lowest, and of those the one with the
 * fewest segments; AUTO looks at the product of memory and time. Infers. PARE_EINVAL, reported: the graph is wrong. */
pare_status pare_recompute(pare_model *m, size_t n_forward, const uint32_t *wrt, size_t n, int32_t segments,
                           pare_diags *d, pare_recomputed *out);

#endif
