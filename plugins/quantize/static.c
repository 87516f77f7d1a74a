/* quantize/static.c - the technique quantize.static: int8 by QuantizeLinear and DequantizeLinear.
 *
 * Is: the order of the work. Which layers is choose.c, where quantizers stand is place.c, ranges are calibrate.c, the
 * edit is emit.c. Uses the SDK and own libraries alone.
 */
#include "static.h"

#include "prepare.h"
#include "report.h"
#include "work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    quantize_options *o;
    const pare_status st = quantize_options_new(host, args, &o);
    if (!st) *self = o;
    return st;
}

static void destroy(void *self) { free(self); }

/* ---- the plan ---- */

/* What was asked for and can't be: each by its name. */
static pare_status strict(const quantize_work *w) {
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const place_node *node = &w->plan.nodes[i];
        if (node->kind != PLACE_HEAVY || !node->asked || !node->why) continue;
        const pare_node_info n = quantize_node(&w->q, node->id);
        quantize_say(&w->q, PARE_ERROR, "quantize.strict", "strict", n.name[0] ? n.name : n.label,
                     "exclude the layer, choose another target, or drop strict",
                     "%s can't run in int8 for target %s: %s", n.label, quantize_target_name(w->o->target), node->why);
        st = PARE_EUNSUPPORTED;
    }
    for (uint64_t i = 0; i < w->choices.n; i++) {
        const char *why = place_missing(w->o, &w->choices, &w->plan, i);
        const pare_layer *l = &w->choices.at[i].layer;
        if (!why) continue;
        quantize_say(&w->q, PARE_ERROR, "quantize.strict", "strict", l->label,
                     "exclude the layer, choose another target, or drop strict",
                     "%s (%s) can't run in int8 for target %s: %s", l->name, l->label,
                     quantize_target_name(w->o->target), why);
        st = PARE_EUNSUPPORTED;
    }
    return st;
}

static pare_status make_plan(quantize_work *w, bool loud) {
    pare_status st = quantize_choose(&w->q, w->o, loud, &w->choices);
    if (!st) st = work_plan(w);
    if (st) return st;
    if (w->o->strict && (st = strict(w))) return st;
    if (work_layers(w)) return PARE_OK;
    report_float(w, PARE_WARNING);
    return quantize_refuse(&w->q, "quantize.nothing", NULL, NULL,
                           "pare inspect lists the ops of a model; see ops, include, exclude and layers",
                           "nothing to quantize: no Conv, ConvTranspose, Gemm or MatMul that was asked for can run in "
                           "int8 for target %s",
                           quantize_target_name(w->o->target));
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    quantize_work w = {.o = self};
    pare_status st = quantize_apis_init(&w.q, host, model);
    if (!st) st = prepare_check(&w.q, w.o);
    if (!st && w.o->requantize && prepare_quantized(&w.q)) /* where its quantizers are gone, nobody knows yet */
        return quantize_choose(&w.q, w.o, true, &w.choices);
    if (!st) st = make_plan(&w, true);
    if (st) return st;
    report_float(&w, PARE_INFO);
    if (w.o->target == QUANTIZE_ONNXRUNTIME && w.o->activations == PARE_INT8)
        quantize_say(&w.q, PARE_WARNING, "quantize.int8-activations", "activations", NULL, "use uint8 for x86",
                     "ONNX Runtime on x86 runs int8 activations in float in part; on ARM it does not");
    return report_machine(&w);
}

/* ---- the work ---- */

static pare_status set_bits(quantize_work *w) {
    w->bits = quantize_scratch(&w->q, w->choices.n, sizeof *w->bits);
    if (!w->bits) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->choices.n; i++) {
        const uint32_t said = w->choices.at[i].bits;
        w->bits[i] = said ? said : w->o->portable == QUANTIZE_ON ? 7 : 8;
    }
    return PARE_OK;
}

/* Noise says nothing about means; and where a range file stands for the data, nothing is run. */
static bool corrects(const quantize_work *w) {
    if (!w->q.run || !w->o->data || w->o->bias_correction == QUANTIZE_OFF) return false;
    return w->o->bias_correction == QUANTIZE_ON || strcmp(w->o->data, "random") != 0;
}

/* Only uint8 times int8 saturates on some CPUs; and TensorRT doesn't run on them. */
static bool makes_portable(const quantize_work *w) {
    return w->q.run && w->o->portable == QUANTIZE_AUTO && w->o->activations == PARE_UINT8 &&
           w->o->target != QUANTIZE_TENSORRT;
}

static pare_status sane(const quantize_work *w) {
    if (!w->o->sanity || !(w->sqnr < 10) || w->agreement >= 0.5) return PARE_OK;
    char agreement[64] = "";
    if (!isnan(w->agreement))
        (void)snprintf(agreement, sizeof agreement, " and it agrees on %.1f %% of the samples", 100 * w->agreement);
    return quantize_refuse(&w->q, "quantize.sanity", "sanity", NULL,
                           "calibrate with samples like those the model is for; try another calibration or tune; or, "
                           "where the numbers mean nothing, sanity: off",
                           "the quantized model is not the float one any more: its SQNR is %.1f dB%s (at least 10 dB "
                           "or 50 %% are asked for)",
                           w->sqnr, agreement);
}

static pare_status evaluate(const quantize_work *w, double *out) {
    const char *data = w->o->tune_data ? w->o->tune_data : w->o->data;
    return w->q.run->evaluate(w->q.host, w->q.model, data, w->o->tune_metric, w->o->tune_samples, out);
}

static pare_status work(quantize_work *w) {
    const pare_host *host = w->q.host;
    double before = NAN;
    uint32_t mark = 0;
    pare_status st = host->tick(host, 0, "folding");
    if (!st) st = prepare_graph(&w->q, w->o);
    if (!st && w->o->equalize) st = quantize_equalize(w);
    if (!st) st = make_plan(w, false);
    if (!st) st = set_bits(w);
    if (!st) st = host->tick(host, 0.1, "calibrating");
    if (!st) st = work_ranges(w);
    if (!st && w->o->tune) st = evaluate(w, &before);
    w->correct = corrects(w);
    if (!st && w->correct) st = quantize_correct(w);
    if (!st) st = host->tick(host, 0.6, "quantizing");
    if (!st) st = w->q.graph->mark(host, w->q.model, &mark);
    if (!st) st = work_try(w);
    if (!st && makes_portable(w)) st = quantize_portable(w, &mark);
    if (!st && w->o->tune) st = quantize_tune(w, &mark, before);
    if (!st) st = sane(w);
    if (!st) st = w->q.graph->keep(host, w->q.model, mark);
    if (!st && w->n_known) st = work_save(w);
    if (!st) report_all(w);
    return st;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    quantize_work w = {.o = self, .sqnr = NAN, .agreement = NAN, .portable_cost = NAN};
    w.grid = calibrate_grid_of(w.o->activations, w.o->symmetric);
    pare_status st = quantize_apis_init(&w.q, host, model);
    if (st) return st;
    if (!w.q.run && w.o->data) {
        quantize_say(&w.q, PARE_ERROR, "quantize.host", "data", NULL, "use `ranges` of an earlier run",
                     "this host runs no models, so nothing can be measured");
        return PARE_EUNSUPPORTED;
    }
    st = work(&w);
    quantize_correct_free(&w);
    calibration_free(&w.first);
    free(w.known);
    return st;
}

const pare_technique quantize_static = {
    .size = sizeof(pare_technique),
    .id = "quantize.static",
    .version = "1.0.0",
    .summary = "Weights and activations in int8, with ranges measured on samples: QuantizeLinear and DequantizeLinear "
               "where the target runs int8.",
    .params = quantize_static_params,
    .n_params = QUANTIZE_N_STATIC_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .check = check,
    .apply = apply,
    .destroy = destroy,
};
