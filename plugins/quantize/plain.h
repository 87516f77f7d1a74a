/* quantize/plain.h - what quantize.dynamic and quantize.weights share: their parameters, the nodes with constant
 * weights and why some can't be, one weight as int8, and the comparison with the float model.
 *
 * Is not: a target's rules (place.h), ranges of activations. May use: the SDK, choose.h, prepare.h, verify.h,
 * weights.h.
 */
#ifndef QUANTIZE_PLAIN_H
#define QUANTIZE_PLAIN_H

#include "choose.h"
#include "verify.h"

enum { PLAIN_DIMS = 8, PLAIN_NAME = 320 };

/* ---- parameters ---- */

enum {
    PLAIN_OPS,
    PLAIN_INCLUDE,
    PLAIN_EXCLUDE,
    PLAIN_LAYERS,
    PLAIN_WEIGHTS,
    PLAIN_KEEP_FIRST,
    PLAIN_KEEP_LAST,
    PLAIN_STRICT,
    PLAIN_DATA,
    PLAIN_CHECK_SAMPLES,
    PLAIN_SANITY,
    PLAIN_REQUANTIZE,
    PLAIN_PORTABLE, /* quantize.dynamic alone */
    PLAIN_N_DYNAMIC,
    PLAIN_N_WEIGHTS = PLAIN_PORTABLE
};
extern const pare_param plain_dynamic_params[PLAIN_N_DYNAMIC];
extern const pare_param plain_weights_params[PLAIN_N_WEIGHTS];

/* From validated arguments, which must outlive it; freed with free(). ops: what `ops` may hold, NULL at the end. On
 * failure reported. */
pare_status plain_options_new(const pare_host *host, const pare_arg *args, bool dynamic, const char *const *ops,
                              quantize_options **out);

/* ---- nodes ---- */

/* A node of the main graph that multiplies by (or gathers from) a constant, and what becomes of it. */
typedef struct plain_node {
    uint32_t node;
    int64_t choice; /* -1: its weight is no constant */
    bool asked;
    const char *why;       /* asked, and stays in float: the reason, [static]; NULL: it will be int8 */
    char name[PLAIN_NAME]; /* of the weight; without one, of the node */
    uint32_t before;       /* its result in float */
    uint32_t after;        /* and from the int8 weight */
    uint32_t bits;
    double sqnr; /* of the weight alone, dB */
    bool may_saturate;
} plain_node;

typedef struct plain_work {
    quantize_apis q;
    const quantize_options *o;
    quantize_choices choices;
    plain_node *nodes;
    uint64_t n_nodes, n_on;
    const char *loose; /* why nothing is compared, [static]; NULL: it is */
    uint32_t default_bits;
    uint64_t n_compared;
    calibrate_compare *compare; /* a node that is on each, then the outputs; NULL: not compared */
    double sqnr, agreement;     /* of the last output; NaN: not known */
    double portable_cost;       /* dB; NaN: not known */
} plain_work;

/* Why this op's node can't take an int8 weight, [static]; NULL: it can. */
typedef const char *plain_reason(const quantize_apis *q, uint32_t node, const quantize_choice *c);

/* Interfaces; the run API is left out, with the reason in w->loose, where samples can't be fed to the model. */
pare_status plain_open(plain_work *w, const pare_host *host, pare_model *model, const quantize_options *o);
/* Choices and nodes. PARE_EUNSUPPORTED, reported: `strict`, and something asked for stays in float; PARE_EINVAL:
 * nothing is left to be quantized. */
pare_status plain_plan(plain_work *w, bool loud, plain_reason *reason);
void plain_say_float(const plain_work *w, uint32_t severity);

/* ---- weights ---- */

/* A weight as whole numbers, in the order of `perm` (out's dim i is the tensor's perm[i]). */
typedef struct plain_weight {
    uint32_t ndim;
    int64_t dims[PLAIN_DIMS];
    int32_t axis; /* of the scales, in the order written; -1: one */
    uint64_t count, channels;
    int8_t *data; /* malloc'ed */
    float *scale; /* scratch [channels] */
    double sqnr;
    bool may_saturate;
} plain_weight;

/* out_axis: in the tensor's own dims, -1: one scale. `factor` goes into the weight. PARE_EINVAL, reported: a NaN. Free
 * with plain_weight_free. */
pare_status plain_weight_make(const quantize_apis *q, const char *name, uint32_t tensor, const uint8_t *perm,
                              int32_t out_axis, uint32_t bits, float factor, plain_weight *out);
void plain_weight_free(plain_weight *w);

/* ---- the end ---- */

/* So many samples at once as the graph is made for, else one: a range of the moment is that of a whole batch. Rounds
 * the number of samples up to whole ones. */
uint32_t plain_batch(const quantize_apis *q, uint64_t *samples);

/* Runs the model, edits it with `edit`, and compares: layers, outputs, sanity's numbers. */
pare_status plain_try(plain_work *w, pare_status (*edit)(plain_work *w, void *ctx), void *ctx);
pare_status plain_sane(const plain_work *w);
/* Rows of layers, and the notes that both have. */
void plain_report(const plain_work *w);

#endif
