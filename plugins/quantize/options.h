/* quantize/options.h - the parameters of quantize.static: the table, and what it says as a struct.
 *
 * Is: everything that can be known without a model. Is not: about layers (layers.h). May use: the SDK, calibrate.h.
 */
#ifndef QUANTIZE_OPTIONS_H
#define QUANTIZE_OPTIONS_H

#include <pare/host.h>
#include <pare/param.h>

#include <stdbool.h>

enum { QUANTIZE_N_STATIC_PARAMS = 25 };
extern const pare_param quantize_static_params[QUANTIZE_N_STATIC_PARAMS];

typedef enum quantize_target {
    QUANTIZE_ONNXRUNTIME,
    QUANTIZE_TENSORRT,
    QUANTIZE_OPENVINO,
    QUANTIZE_GENERIC,
    QUANTIZE_PARE
} quantize_target;

typedef enum quantize_switch { QUANTIZE_AUTO, QUANTIZE_ON, QUANTIZE_OFF } quantize_switch;

/* One row of `layers`. */
typedef struct quantize_rule {
    const pare_arg *match; /* the pattern, as an argument: pare.layers/1 takes it as it is */
    bool skip;
    int32_t method;     /* CALIBRATE_MINMAX, … of the layer's input; -1: as the others */
    double percentile;  /* 0: as the others */
    int32_t per_tensor; /* -1: as the others; 0, 1 */
    uint32_t bits;      /* of the weights: 7, 8; 0: as the others */
} quantize_rule;

typedef struct quantize_options {
    const char *data; /* NULL: `ranges` alone */
    uint64_t samples;
    uint32_t batch;
    int32_t method; /* CALIBRATE_MINMAX, …; -1: auto */
    double percentile;
    uint32_t bins;
    quantize_target target;
    bool per_tensor;
    uint32_t activations; /* PARE_UINT8, PARE_INT8 */
    bool symmetric;       /* activations */
    const pare_arg *ops;  /* n 0: all that the target knows */
    const pare_arg *include, *exclude;
    bool keep_first, keep_last;
    quantize_switch bias_correction, portable;
    bool equalize, strict, sanity, requantize;
    const char *ranges; /* NULL: none */
    bool tune;
    double max_drop;
    const char *tune_metric, *tune_data; /* tune_data NULL: `data` */
    uint64_t tune_samples;
    uint64_t check_samples;
    /* Of techniques without a target (plain.h). */
    const char *const *layer_ops; /* ops whose weights are the layers, NULL at the end; NULL: Conv, ConvTranspose, … */
    int64_t opset;                /* what is written needs; 0: 13 */
    const char *opset_why;        /* "the first with …" */
    uint64_t n_rules;
    quantize_rule rules[];
} quantize_options;

const char *quantize_target_name(quantize_target target);

/* From validated arguments, which must outlive it. Owned by the caller, freed with free(). On failure everything that
 * is wrong has been reported. [run] */
pare_status quantize_options_new(const pare_host *host, const pare_arg *args, quantize_options **out);

#endif
