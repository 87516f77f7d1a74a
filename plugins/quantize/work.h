/* quantize/work.h - what quantize.static has in hand while it works, and the steps that it may take several times:
 * plan, ranges, edit, comparison. May use: the parts' headers.
 */
#ifndef QUANTIZE_WORK_H
#define QUANTIZE_WORK_H

#include "calibrate.h"
#include "emit.h"
#include "verify.h"

/* A value whose range is known. */
typedef struct work_range {
    uint32_t value;
    calibrate_tensor tensor;
    calibrate_range range;
} work_range;

/* Means of a value's channels over samples, as they are in float and rounded. */
typedef struct work_mean {
    uint32_t value;
    emit_params params;       /* rounded with these */
    uint64_t channels, count; /* count: elements a channel */
    double *x, *rounded;      /* [channels] sums while they are collected; malloc'ed, one block */
    bool rows;                /* (…, channels); else (N, channels, …) */
    int64_t space[4];         /* dims behind the channels */
    uint32_t n_space;
} work_mean;

typedef struct quantize_work {
    quantize_apis q;
    const quantize_options *o;
    quantize_choices choices;
    calibrate_grid grid;
    work_range *known; /* grows; malloc'ed */
    uint64_t n_known;
    work_mean *means; /* grows; malloc'ed */
    uint64_t n_means;
    calibration first;    /* of the whole plan: what the artefact is made of */
    uint8_t *skip;        /* [choices.n] tune leaves these in float; NULL: none */
    uint32_t *bits;       /* [choices.n] */
    double *alone;        /* [choices.n] tune: SQNR in dB with this layer alone in int8; NULL */
    double portable_cost; /* dB of SQNR that 7 bits cost; NaN: not known */
    uint64_t equalized;   /* pairs */
    bool correct;         /* biases */
    uint64_t corrected;   /* layers */

    /* Of the latest plan. */
    place_plan plan;
    emit_params *params; /* [plan.n_points] */
    uint32_t *x;         /* [plan.n_nodes] the value that each node took before the edit */
    float **shift;       /* [plan.n_nodes] added to biases; NULL: no correction */
    emit_weight *weights;
    uint32_t *back;
    uint64_t n_compared;
    calibrate_compare *compare; /* a layer each, then the outputs; NULL: not run */
    double sqnr, agreement;     /* of the last output; NaN: not known */
} quantize_work;

/* The set that models are compared on. */
const char *work_data(const quantize_work *w);

/* Samples at once; 0: what fits. A graph that was exported for one sample takes one: a value inside may have no batch
 * that could be put together. */
uint32_t work_batch(const quantize_work *w);

/* Where quantizers go, given `skip`. */
pare_status work_plan(quantize_work *w);
uint64_t work_layers(const quantize_work *w); /* in int8, by the plan */
/* The range of a value, NULL: not known. */
const work_range *work_known(const quantize_work *w, uint32_t value);
/* Ranges of all points: those not known yet are measured on the model as it is, or read. */
pare_status work_ranges(quantize_work *w);
/* All ranges that were measured or read, as the step's artefact. */
pare_status work_save(quantize_work *w);
/* Writes the plan into the graph. */
pare_status work_emit(quantize_work *w);
/* The values that tell how good each layer is: at the end of what is fused to it, then the graph's outputs;
 * w->n_compared of them. quantized: as they are after the edit. Scratch; NULL: no memory. */
uint32_t *work_values(quantize_work *w, bool quantized);
/* Edit and comparison with the graph before, layer by layer. */
pare_status work_try(quantize_work *w);

/* ---- other parts ---- */

/* Evens out channels between consecutive convolutions (equalize.c). */
pare_status quantize_equalize(quantize_work *w);
void quantize_correct_free(quantize_work *w);
/* w->shift: what goes onto each bias (bias.c). On the model before the edit. */
pare_status quantize_correct(quantize_work *w);
/* After work_try with 8 bits: takes the edit back and makes it anew, with 7 bits where that costs little
 * (portable.c). mark: of the model before the edit, used up and made anew. */
pare_status quantize_portable(quantize_work *w, uint32_t *mark);
/* After work_try: leaves layers in float until the metric holds (tune.c). before: the metric in float. */
pare_status quantize_tune(quantize_work *w, uint32_t *mark, double before);
/* Takes the edit back and marks the model again. */
pare_status work_undo(quantize_work *w, uint32_t *mark);

#endif
