/* quantize/emit.h - writes a plan into the graph: QuantizeLinear and DequantizeLinear, int8 weights, int32 biases.
 *
 * Is not: a decision (place.h) or a measurement. May use: the SDK, apis.h, place.h, weights.h.
 */
#ifndef QUANTIZE_EMIT_H
#define QUANTIZE_EMIT_H

#include "calibrate.h"
#include "place.h"

/* Numbers of a point, by its index; those of points that have another's scale are that one's. */
typedef struct emit_params {
    float scale;
    int32_t zero;
} emit_params;

/* What became of a choice's weight. */
typedef struct emit_weight {
    bool done;
    uint32_t bits;
    uint64_t raised;   /* channels whose scale was raised for their bias */
    double sqnr;       /* of the weight alone, dB */
    bool may_saturate; /* in pairs of u8 x s8 */
    bool kept;         /* a float copy stays, for others that use it */
} emit_weight;

typedef struct emit_request {
    const quantize_options *o;
    const quantize_choices *choices;
    const place_plan *plan;
    const emit_params *params;  /* [plan->n_points] */
    const uint32_t *bits;       /* [choices->n] of each weight: 7, 8 */
    float *const *shift;        /* [plan->n_nodes] to be added to the node's bias, an output channel each; NULL: none */
    const calibrate_grid *grid; /* of activations */
    emit_weight *weights;       /* [choices->n], filled in */
    uint32_t *back;             /* [plan->n_points], filled in: the dequantized values */
} emit_request;

/* Edits the view. On failure reported; the view is then half edited. [run] */
pare_status emit_graph(const quantize_apis *q, const emit_request *r);

#endif
