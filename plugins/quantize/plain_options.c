/* quantize/plain_options.c - the parameters of quantize.dynamic and quantize.weights. See plain.h. */
#include "plain.h"

#include <pare/param.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_MATCH, COLUMN_SKIP, COLUMN_WEIGHTS, COLUMN_BITS, COLUMN_COUNT };

static const char *const granularity[] = {"per_channel", "per_tensor", NULL};
static const char *const switches[] = {"auto", "on", "off", NULL};
static const char *const on_off[] = {"on", "off", NULL};

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

static const pare_param columns[COLUMN_COUNT] = {
    [COLUMN_MATCH] = PARAM(.type = PARE_PARAM_PATTERN, .name = "match",
                           .doc = "The layers this row is about, by weight name, node name or MatMul#3."),
    [COLUMN_SKIP] =
        PARAM(.type = PARE_PARAM_BOOL, .name = "skip", .dflt = "false", .doc = "Leaves these layers in float."),
    [COLUMN_WEIGHTS] = PARAM(.type = PARE_PARAM_ENUM, .flags = PARE_PARAM_OPTIONAL, .name = "weights",
                             .choices = granularity, .doc = "One scale a channel, or one for the whole weight."),
    [COLUMN_BITS] = PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_OPTIONAL, .name = "bits", .unit = "bits",
                          .min = 7, .max = 8, .doc = "8, or 7: sums are exact on x86 without VNNI too."),
};

#define ROW_INCLUDE                                                                                                    \
    PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "include",               \
          .doc = "Only layers that one of these names; left out: all.")
#define ROW_EXCLUDE                                                                                                    \
    PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "exclude",               \
          .doc = "No layer that one of these names.")
#define ROW_LAYERS                                                                                                     \
    PARAM(.type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .name = "layers", .columns = columns,                \
          .n_columns = COLUMN_COUNT, .column_stride = sizeof(pare_param),                                              \
          .doc = "Other settings for single layers; the first row that names a layer counts.")
#define ROW_WEIGHTS                                                                                                    \
    PARAM(.type = PARE_PARAM_ENUM, .name = "weights", .dflt = "per_channel", .choices = granularity,                   \
          .doc = "One scale for each output channel of a weight, or one for all of it. Symmetric, so that zeros stay " \
                 "zeros.")
#define ROW_KEEP_FIRST                                                                                                 \
    PARAM(.type = PARE_PARAM_BOOL, .name = "keep_first", .dflt = "false",                                              \
          .doc = "Leaves the model's first layer in float.")
#define ROW_KEEP_LAST                                                                                                  \
    PARAM(.type = PARE_PARAM_BOOL, .name = "keep_last", .dflt = "false",                                               \
          .doc = "Leaves the model's last layer in float.")
#define ROW_STRICT                                                                                                     \
    PARAM(.type = PARE_PARAM_BOOL, .name = "strict", .dflt = "false",                                                  \
          .doc = "Fails, before any work, where something asked for can't be int8.")
#define ROW_DATA                                                                                                       \
    PARAM(.type = PARE_PARAM_DATA, .name = "data", .dflt = "random",                                                   \
          .doc = "The set on which the result is compared with the float model; nothing is calibrated on it. random: " \
                 "noise, for models that take one float input.")
#define ROW_CHECK_SAMPLES                                                                                              \
    PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_ADVANCED, .name = "check_samples", .dflt = "8", .min = 0,        \
          .max = 1e6, .doc = "Samples of that comparison; 0: none is made.")
#define ROW_SANITY                                                                                                     \
    PARAM(.type = PARE_PARAM_ENUM, .name = "sanity", .dflt = "on", .choices = on_off,                                  \
          .doc = "on: fails where the result has an SQNR below 10 dB and agrees with the float model on less than "    \
                 "half of the samples.")
#define ROW_REQUANTIZE                                                                                                 \
    PARAM(.type = PARE_PARAM_BOOL, .name = "requantize", .dflt = "false",                                              \
          .doc = "Takes the quantizers of a model that has them out first, and begins anew.")

const pare_param plain_dynamic_params[PLAIN_N_DYNAMIC] = {
    [PLAIN_OPS] = PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY, .name = "ops",
                        .dflt = "[MatMul, Gemm]",
                        .doc = "The ops that become int8: MatMul, Gemm, and on request Conv (as ConvInteger), which "
                               "quantize.static does better."),
    [PLAIN_INCLUDE] = ROW_INCLUDE,
    [PLAIN_EXCLUDE] = ROW_EXCLUDE,
    [PLAIN_LAYERS] = ROW_LAYERS,
    [PLAIN_WEIGHTS] = ROW_WEIGHTS,
    [PLAIN_KEEP_FIRST] = ROW_KEEP_FIRST,
    [PLAIN_KEEP_LAST] = ROW_KEEP_LAST,
    [PLAIN_STRICT] = ROW_STRICT,
    [PLAIN_DATA] = ROW_DATA,
    [PLAIN_CHECK_SAMPLES] = ROW_CHECK_SAMPLES,
    [PLAIN_SANITY] = ROW_SANITY,
    [PLAIN_REQUANTIZE] = ROW_REQUANTIZE,
    [PLAIN_PORTABLE] =
        PARAM(.type = PARE_PARAM_ENUM, .name = "portable", .dflt = "auto", .choices = switches,
              .doc = "x86 CPUs without VNNI add products of uint8 and int8 in pairs that saturate. on: weights in 7 "
                     "bits, with which they can't. auto: where a comparison says that it costs 3 dB at most. off: "
                     "never."),
};

const pare_param plain_weights_params[PLAIN_N_WEIGHTS] = {
    [PLAIN_OPS] =
        PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY, .name = "ops",
              .dflt = "[Conv, ConvTranspose, Gemm, MatMul, Gather]",
              .doc = "The ops whose weights become int8: Conv, ConvTranspose, Gemm, MatMul, and Gather, which "
                     "looks embeddings up."),
    [PLAIN_INCLUDE] = ROW_INCLUDE,
    [PLAIN_EXCLUDE] = ROW_EXCLUDE,
    [PLAIN_LAYERS] = ROW_LAYERS,
    [PLAIN_WEIGHTS] = ROW_WEIGHTS,
    [PLAIN_KEEP_FIRST] = ROW_KEEP_FIRST,
    [PLAIN_KEEP_LAST] = ROW_KEEP_LAST,
    [PLAIN_STRICT] = ROW_STRICT,
    [PLAIN_DATA] = ROW_DATA,
    [PLAIN_CHECK_SAMPLES] = ROW_CHECK_SAMPLES,
    [PLAIN_SANITY] = ROW_SANITY,
    [PLAIN_REQUANTIZE] = ROW_REQUANTIZE,
};

static pare_status wrong(const pare_host *host, const char *code, const char *param, const char *hint,
                         const char *message) {
    PARE_REPORT(host, PARE_ERROR, .code = code, .message = message, .hint = hint, .param = param);
    return PARE_EINVAL;
}

static pare_status check_ops(const pare_host *host, const pare_arg *ops, const char *const *known) {
    pare_status st = PARE_OK;
    char hint[200] = "the ops of this technique, spelt as ONNX does:";
    for (size_t i = 0; known[i]; i++) {
        const size_t n = strlen(hint);
        (void)snprintf(hint + n, sizeof hint - n, "%s %s", i ? "," : "", known[i]);
    }
    for (uint64_t i = 0; i < ops->n; i++) {
        bool hit = false;
        for (size_t k = 0; known[k] && !hit; k++) hit = strcmp(known[k], ops->u.list[i].u.s) == 0;
        if (hit) continue;
        char param[40], message[200];
        (void)snprintf(param, sizeof param, "ops[%llu]", (unsigned long long)i);
        (void)snprintf(message, sizeof message, "this technique makes no \"%.100s\" int8", ops->u.list[i].u.s);
        st = wrong(host, "quantize.ops", param, hint, message);
    }
    return st;
}

static pare_status read_rule(const pare_host *host, uint64_t row, const pare_arg *args, quantize_rule *rule) {
    char param[64];
    (void)snprintf(param, sizeof param, "layers[%llu]", (unsigned long long)row);
    *rule = (quantize_rule){.match = &args[COLUMN_MATCH], .method = -1, .per_tensor = -1};
    rule->skip = args[COLUMN_SKIP].n && args[COLUMN_SKIP].u.i;
    if (args[COLUMN_WEIGHTS].n) rule->per_tensor = (int32_t)args[COLUMN_WEIGHTS].u.i;
    if (args[COLUMN_BITS].n) rule->bits = (uint32_t)args[COLUMN_BITS].u.i;
    const bool says = rule->per_tensor >= 0 || rule->bits;
    if (rule->skip && says)
        return wrong(host, "quantize.row", param, "drop skip, or drop the others",
                     "a row with skip: true leaves its layers in float, yet it says how to quantize them");
    if (!rule->skip && !says)
        return wrong(host, "quantize.row", param, "add weights, bits or skip: true", "the row says nothing but match");
    return PARE_OK;
}

pare_status plain_options_new(const pare_host *host, const pare_arg *args, bool dynamic, const char *const *ops,
                              quantize_options **out) {
    const uint64_t n_rules = args[PLAIN_LAYERS].n;
    quantize_options *o = n_rules > (SIZE_MAX - sizeof *o) / sizeof(quantize_rule)
                              ? NULL
                              : calloc(1, sizeof *o + (size_t)n_rules * sizeof(quantize_rule));
    if (!o) return PARE_ENOMEM;
    o->target = QUANTIZE_GENERIC; /* whoever reads ONNX */
    o->activations = PARE_UINT8;
    o->method = -1;
    o->data = args[PLAIN_DATA].u.s;
    o->check_samples = (uint64_t)args[PLAIN_CHECK_SAMPLES].u.i;
    o->per_tensor = args[PLAIN_WEIGHTS].u.i == 1;
    o->ops = &args[PLAIN_OPS];
    o->include = &args[PLAIN_INCLUDE];
    o->exclude = &args[PLAIN_EXCLUDE];
    o->keep_first = args[PLAIN_KEEP_FIRST].u.i != 0;
    o->keep_last = args[PLAIN_KEEP_LAST].u.i != 0;
    o->strict = args[PLAIN_STRICT].u.i != 0;
    o->sanity = args[PLAIN_SANITY].u.i == 0;
    o->requantize = args[PLAIN_REQUANTIZE].u.i != 0;
    o->portable = dynamic ? (quantize_switch)args[PLAIN_PORTABLE].u.i : QUANTIZE_OFF;
    o->layer_ops = ops;
    o->opset = dynamic ? 11 : 13;
    o->opset_why = dynamic ? "DynamicQuantizeLinear" : "scales for each channel";
    o->n_rules = n_rules;
    pare_status st = check_ops(host, o->ops, ops);
    for (uint64_t i = 0; i < n_rules; i++) {
        const pare_status row = read_rule(host, i, args[PLAIN_LAYERS].u.list + i * COLUMN_COUNT, &o->rules[i]);
        if (!st) st = row;
    }
    if (st) {
        free(o);
        return st;
    }
    *out = o;
    return PARE_OK;
}
