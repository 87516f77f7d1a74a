/* quantize/options.c - see options.h. */
#include "options.h"

#include "calibrate.h"

#include <pare/run.h>
#include <pare/tensor.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARG_DATA,
    ARG_SAMPLES,
    ARG_BATCH,
    ARG_CALIBRATION,
    ARG_PERCENTILE,
    ARG_BINS,
    ARG_RANGES,
    ARG_TARGET,
    ARG_WEIGHTS,
    ARG_ACTIVATIONS,
    ARG_SYMMETRIC,
    ARG_OPS,
    ARG_INCLUDE,
    ARG_EXCLUDE,
    ARG_LAYERS,
    ARG_KEEP_FIRST,
    ARG_KEEP_LAST,
    ARG_PORTABLE,
    ARG_BIAS_CORRECTION,
    ARG_EQUALIZE,
    ARG_TUNE,
    ARG_STRICT,
    ARG_SANITY,
    ARG_REQUANTIZE,
    ARG_CHECK_SAMPLES
};
enum { COLUMN_MATCH, COLUMN_SKIP, COLUMN_CALIBRATION, COLUMN_PERCENTILE, COLUMN_WEIGHTS, COLUMN_BITS, COLUMN_COUNT };
enum { TUNE_MAX_DROP, TUNE_METRIC, TUNE_DATA, TUNE_SAMPLES, TUNE_COUNT };

#define METHOD_NAME(name, text) text,
static const char *const methods[] = {"auto", CALIBRATE_METHODS(METHOD_NAME) NULL};
static const char *const row_methods[] = {CALIBRATE_METHODS(METHOD_NAME) NULL};
static const char *const targets[] = {"onnxruntime", "tensorrt", "openvino", "generic", "pare", NULL};
static const char *const granularity[] = {"per_channel", "per_tensor", NULL};
static const char *const activations[] = {"auto", "uint8", "int8", NULL};
static const char *const switches[] = {"auto", "on", "off", NULL};
static const char *const off_on[] = {"off", "on", NULL};
static const char *const on_off[] = {"on", "off", NULL};
static const char *const metrics[] = {"accuracy", "top5", "loss", NULL};

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

static const pare_param columns[COLUMN_COUNT] = {
    [COLUMN_MATCH] = PARAM(.type = PARE_PARAM_PATTERN, .name = "match",
                           .doc = "The layers this row is about, by weight name, node name or Conv#3."),
    [COLUMN_SKIP] =
        PARAM(.type = PARE_PARAM_BOOL, .name = "skip", .dflt = "false", .doc = "Leaves these layers in float."),
    [COLUMN_CALIBRATION] = PARAM(.type = PARE_PARAM_ENUM, .flags = PARE_PARAM_OPTIONAL, .name = "calibration",
                                 .choices = row_methods, .doc = "The method for the inputs of these layers."),
    [COLUMN_PERCENTILE] =
        PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_EXCL_MIN, .name = "percentile",
              .unit = "percent", .min = 50, .max = 100, .doc = "The percentile for the inputs of these layers."),
    [COLUMN_WEIGHTS] = PARAM(.type = PARE_PARAM_ENUM, .flags = PARE_PARAM_OPTIONAL, .name = "weights",
                             .choices = granularity, .doc = "One scale a channel, or one for the whole weight."),
    [COLUMN_BITS] = PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_OPTIONAL, .name = "bits", .unit = "bits",
                          .min = 7, .max = 8, .doc = "8, or 7: exact on x86 without VNNI too (see portable)."),
};

static const pare_param tune_columns[TUNE_COUNT] = {
    [TUNE_MAX_DROP] = PARAM(.type = PARE_PARAM_FLOAT, .name = "max_drop", .dflt = "0.01", .min = 0, .max = 1e6,
                            .doc = "How much worse than in float the metric may become: 0.01 of an accuracy is one "
                                   "point."),
    [TUNE_METRIC] = PARAM(.type = PARE_PARAM_ENUM, .name = "metric", .dflt = "accuracy", .choices = metrics,
                          .doc = "What is to hold."),
    [TUNE_DATA] = PARAM(.type = PARE_PARAM_DATA, .flags = PARE_PARAM_OPTIONAL, .name = "data",
                        .doc = "The labelled set it is measured on; left out: the set of `data`."),
    [TUNE_SAMPLES] = PARAM(.type = PARE_PARAM_INT, .name = "samples", .dflt = "0", .min = 0, .max = 1e12,
                           .doc = "At most so many of them; 0: all."),
};

const pare_param quantize_static_params[QUANTIZE_N_STATIC_PARAMS] = {
    [ARG_DATA] =
        PARAM(.type = PARE_PARAM_DATA, .flags = PARE_PARAM_OPTIONAL, .name = "data",
              .doc = "The set that activations are measured on; random: noise, which says nothing about accuracy. "
                     "May be left out where `ranges` is given."),
    [ARG_SAMPLES] = PARAM(.type = PARE_PARAM_INT, .name = "samples", .dflt = "300", .min = 0, .max = 1e12,
                          .doc = "At most so many samples of it; 0: all."),
    [ARG_BATCH] = PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_ADVANCED, .name = "batch", .dflt = "0", .min = 0,
                        .max = 65536, .doc = "Samples at once; 0: what fits well. Changes the speed alone."),
    [ARG_CALIBRATION] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "calibration", .dflt = "auto", .choices = methods,
              .doc = "How a range is made of what was seen. minmax: all of it. moving_average: of each sample's least "
                     "and greatest. percentile: without the outermost. entropy: least Kullback-Leibler divergence. "
                     "mse: least squared error. auto: mse where the network convolves, minmax for others and for "
                     "noise."),
    [ARG_PERCENTILE] =
        PARAM(.type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MIN, .name = "percentile", .dflt = "99.99",
              .unit = "percent", .min = 50, .max = 100, .doc = "calibration: percentile keeps so many."),
    [ARG_BINS] = PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_ADVANCED, .name = "bins", .dflt = "2048",
                       .min = CALIBRATE_MIN_BINS, .max = CALIBRATE_MAX_BINS, .doc = "Bins of a tensor's histogram."),
    [ARG_RANGES] = PARAM(.type = PARE_PARAM_FILE, .flags = PARE_PARAM_OPTIONAL, .name = "ranges",
                         .doc = "A calibration.yaml of an earlier run of the same model, edited or not: nothing is "
                                "measured anew. It is refused where the graph has changed."),
    [ARG_TARGET] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "target", .dflt = "onnxruntime", .choices = targets,
              .doc = "Who will run the file: where quantizers stand follows that runtime's rules, and what it can't "
                     "run in int8 stays in float. generic: around every op that int8 is known for. pare: this "
                     "program's engine."),
    [ARG_WEIGHTS] = PARAM(.type = PARE_PARAM_ENUM, .name = "weights", .dflt = "per_channel", .choices = granularity,
                          .doc = "One scale for each output channel of a weight, or one for all of it. Always int8, "
                                 "symmetric, in [-127, 127]."),
    [ARG_ACTIVATIONS] = PARAM(.type = PARE_PARAM_ENUM, .name = "activations", .dflt = "auto", .choices = activations,
                              .doc = "Their dtype. auto: int8 for tensorrt, else uint8, which is exact on more CPUs."),
    [ARG_SYMMETRIC] = PARAM(.type = PARE_PARAM_ENUM, .name = "symmetric", .dflt = "auto", .choices = switches,
                            .doc = "Activations with a fixed zero point. auto: on for tensorrt alone, which needs it."),
    [ARG_OPS] = PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "ops",
                      .doc = "The ops that may run in int8; left out: all that the target runs in int8. Those that only move "
                             "numbers, and activations, go along with what is around them."),
    [ARG_INCLUDE] = PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "include",
                          .doc = "Only layers that one of these names; left out: all."),
    [ARG_EXCLUDE] = PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "exclude",
                          .doc = "No layer that one of these names."),
    [ARG_LAYERS] = PARAM(.type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .name = "layers", .columns = columns,
                         .n_columns = COLUMN_COUNT, .column_stride = sizeof(pare_param),
                         .doc = "Other settings for single layers; the first row that names a layer counts."),
    [ARG_KEEP_FIRST] = PARAM(.type = PARE_PARAM_BOOL, .name = "keep_first", .dflt = "false",
                             .doc = "Leaves the model's first layer in float."),
    [ARG_KEEP_LAST] = PARAM(.type = PARE_PARAM_BOOL, .name = "keep_last", .dflt = "false",
                            .doc = "Leaves the model's last layer in float."),
    [ARG_PORTABLE] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "portable", .dflt = "auto", .choices = switches,
              .doc = "x86 CPUs without VNNI add products of uint8 and int8 in pairs that saturate. on: weights in 7 "
                     "bits, with which they can't. auto: in those layers where that costs little beside the noise of "
                     "8-bit activations. off: never."),
    [ARG_BIAS_CORRECTION] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "bias_correction", .dflt = "auto", .choices = switches,
              .doc = "Takes the mean error that each layer makes on the samples, channel by channel, out of its bias. "
                     "auto: on with real data."),
    [ARG_EQUALIZE] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "equalize", .dflt = "off", .choices = off_on,
              .doc = "Evens out the ranges of channels between consecutive convolutions first (arXiv 1906.04721)."),
    [ARG_TUNE] = PARAM(.type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .name = "tune", .columns = tune_columns,
                       .n_columns = TUNE_COUNT, .column_stride = sizeof(pare_param),
                       .doc = "Measures a metric, and leaves the layers that quantization hurts most in float until it "
                              "holds."),
    [ARG_STRICT] = PARAM(.type = PARE_PARAM_BOOL, .name = "strict", .dflt = "false",
                         .doc = "Fails, before any work, where something asked for can't run in int8."),
    [ARG_SANITY] = PARAM(.type = PARE_PARAM_ENUM, .name = "sanity", .dflt = "on", .choices = on_off,
                         .doc = "on: fails where the result has an SQNR below 10 dB and agrees with the float model on "
                                "less than half of the samples."),
    [ARG_REQUANTIZE] = PARAM(.type = PARE_PARAM_BOOL, .name = "requantize", .dflt = "false",
                             .doc = "Takes the quantizers of a model that has them out first, and begins anew."),
    [ARG_CHECK_SAMPLES] =
        PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_ADVANCED, .name = "check_samples", .dflt = "32", .min = 1,
              .max = 1e6,
              .doc = "Samples on which the quantized model is compared with the float one, layer by layer."),
};
_Static_assert(ARG_CHECK_SAMPLES + 1 == QUANTIZE_N_STATIC_PARAMS, "one row an argument");

const char *quantize_target_name(quantize_target target) { return targets[target]; }

static pare_status wrong(const pare_host *host, const char *code, const char *param, const char *hint,
                         const char *message) {
    PARE_REPORT(host, PARE_ERROR, .code = code, .message = message, .hint = hint, .param = param);
    return PARE_EINVAL;
}

static pare_status read_rule(const pare_host *host, uint64_t row, const pare_arg *args, quantize_rule *rule) {
    char param[64];
    (void)snprintf(param, sizeof param, "layers[%llu]", (unsigned long long)row);
    rule->match = &args[COLUMN_MATCH];
    rule->skip = args[COLUMN_SKIP].n && args[COLUMN_SKIP].u.i;
    rule->method = args[COLUMN_CALIBRATION].n ? (int32_t)args[COLUMN_CALIBRATION].u.i : -1;
    rule->percentile = args[COLUMN_PERCENTILE].n ? args[COLUMN_PERCENTILE].u.f : 0;
    rule->per_tensor = args[COLUMN_WEIGHTS].n ? (int32_t)args[COLUMN_WEIGHTS].u.i : -1;
    rule->bits = args[COLUMN_BITS].n ? (uint32_t)args[COLUMN_BITS].u.i : 0;
    const bool says = rule->method >= 0 || rule->percentile > 0 || rule->per_tensor >= 0 || rule->bits;
    if (rule->skip && says)
        return wrong(host, "quantize.row", param, "drop skip, or drop the others",
                     "a row with skip: true leaves its layers in float, yet it says how to quantize them");
    if (!rule->skip && !says)
        return wrong(host, "quantize.row", param, "add calibration, percentile, weights, bits or skip: true",
                     "the row says nothing but match");
    return PARE_OK;
}

static pare_status agree(const pare_host *host, const quantize_options *o) {
    if (!o->data && !o->ranges)
        return wrong(host, "quantize.no-data", "data",
                     "add for instance data: calibration (a set of the file's data block), or data: random",
                     "neither data nor ranges is given: nothing says how large activations become");
    if (o->tune && !o->tune_data && (!o->data || strcmp(o->data, "random") == 0))
        return wrong(host, "quantize.tune-data", "tune", "name a labelled set: tune: {data: test}",
                     "tune measures a metric, which needs samples with labels");
    if (o->tune && o->tune_data && strcmp(o->tune_data, "random") == 0)
        return wrong(host, "quantize.tune-data", "tune", "name a labelled set: tune: {data: test}",
                     "tune measures a metric, and noise has no labels");
    if (o->target == QUANTIZE_TENSORRT && (o->activations != PARE_INT8 || !o->symmetric))
        return wrong(host, "quantize.tensorrt", o->symmetric ? "activations" : "symmetric",
                     "drop activations and symmetric, or choose another target",
                     "target: tensorrt takes int8 activations with zero point 0 alone");
    if (o->bias_correction == QUANTIZE_ON && !o->data)
        return wrong(host, "quantize.no-data", "bias_correction", "add data, or drop bias_correction",
                     "bias correction measures means on samples, and no data is given");
    return PARE_OK;
}

pare_status quantize_options_new(const pare_host *host, const pare_arg *args, quantize_options **out) {
    const uint64_t n_rules = args[ARG_LAYERS].n;
    quantize_options *o = n_rules > (SIZE_MAX - sizeof *o) / sizeof(quantize_rule)
                              ? NULL
                              : calloc(1, sizeof *o + (size_t)n_rules * sizeof(quantize_rule));
    if (!o) return PARE_ENOMEM;
    o->data = args[ARG_DATA].n ? args[ARG_DATA].u.s : NULL;
    o->samples = (uint64_t)args[ARG_SAMPLES].u.i;
    o->batch = (uint32_t)args[ARG_BATCH].u.i;
    o->method = (int32_t)args[ARG_CALIBRATION].u.i - 1;
    o->percentile = args[ARG_PERCENTILE].u.f;
    o->bins = (uint32_t)args[ARG_BINS].u.i;
    o->ranges = args[ARG_RANGES].n ? args[ARG_RANGES].u.s : NULL;
    o->target = (quantize_target)args[ARG_TARGET].u.i;
    o->per_tensor = args[ARG_WEIGHTS].u.i == 1;
    const bool signed_default = o->target == QUANTIZE_TENSORRT;
    o->activations =
        args[ARG_ACTIVATIONS].u.i == 2 || (args[ARG_ACTIVATIONS].u.i == 0 && signed_default) ? PARE_INT8 : PARE_UINT8;
    o->symmetric = args[ARG_SYMMETRIC].u.i == QUANTIZE_ON || (args[ARG_SYMMETRIC].u.i == 0 && signed_default);
    o->ops = &args[ARG_OPS];
    o->include = &args[ARG_INCLUDE];
    o->exclude = &args[ARG_EXCLUDE];
    o->keep_first = args[ARG_KEEP_FIRST].u.i != 0;
    o->keep_last = args[ARG_KEEP_LAST].u.i != 0;
    o->portable = (quantize_switch)args[ARG_PORTABLE].u.i;
    o->bias_correction = (quantize_switch)args[ARG_BIAS_CORRECTION].u.i;
    o->equalize = args[ARG_EQUALIZE].u.i == 1;
    o->strict = args[ARG_STRICT].u.i != 0;
    o->sanity = args[ARG_SANITY].u.i == 0;
    o->requantize = args[ARG_REQUANTIZE].u.i != 0;
    o->check_samples = (uint64_t)args[ARG_CHECK_SAMPLES].u.i;
    o->n_rules = n_rules;
    if (args[ARG_TUNE].n) {
        const pare_arg *row = args[ARG_TUNE].u.list;
        o->tune = true;
        o->max_drop = row[TUNE_MAX_DROP].u.f;
        o->tune_metric = metrics[row[TUNE_METRIC].u.i];
        o->tune_data = row[TUNE_DATA].n ? row[TUNE_DATA].u.s : NULL;
        o->tune_samples = (uint64_t)row[TUNE_SAMPLES].u.i;
    }
    pare_status st = agree(host, o);
    if (args[ARG_TUNE].n > 1)
        st = wrong(host, "quantize.tune", "tune", "keep one", "tune is one record, and there are several");
    for (uint64_t i = 0; i < n_rules; i++) {
        const pare_status row = read_rule(host, i, args[ARG_LAYERS].u.list + i * COLUMN_COUNT, &o->rules[i]);
        if (!st) st = row;
    }
    if (st) {
        free(o);
        return st;
    }
    *out = o;
    return PARE_OK;
}
