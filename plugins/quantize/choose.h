/* quantize/choose.h - the layers of a model, which of them are asked to be int8, and with which settings.
 *
 * Is: layers found, selected by include, exclude, keep_first, keep_last and matched with their rows. Is not: whether
 * the target can run them in int8 (place.h). May use: the SDK, apis.h, options.h.
 */
#ifndef QUANTIZE_CHOOSE_H
#define QUANTIZE_CHOOSE_H

#include "apis.h"
#include "options.h"

/* A weight tensor and what is asked of it. */
typedef struct quantize_choice {
    pare_layer layer;
    bool asked;
    bool per_tensor;
    uint32_t bits;     /* 7, 8; 0: nothing said */
    int32_t method;    /* of its node's input; -1: nothing said */
    double percentile; /* 0: nothing said */
} quantize_choice;

typedef struct quantize_choices {
    quantize_choice *at; /* in the file's order; scratch */
    uint64_t n;
} quantize_choices;

/* May this op run in int8, as far as `ops` goes? */
bool quantize_op_asked(const quantize_options *o, const char *op_type);

/* loud: also warn about what is pointless (done once, in check). PARE_EINVAL, reported: a pattern that names no layer.
 * [run] */
pare_status quantize_choose(const quantize_apis *q, const quantize_options *o, bool loud, quantize_choices *out);

#endif
