/* quantize/work.c - see work.h. */
#include "work.h"

#include "ranges.h"

#include <math.h>
#include <stdlib.h>

const char *work_data(const quantize_work *w) { return w->o->data ? w->o->data : "random"; }

uint32_t work_batch(const quantize_work *w) {
    const uint32_t input = w->q.graph->input(w->q.host, w->q.model, PARE_GRAPH_MAIN, 0);
    const pare_value_info v = quantize_value(&w->q, input);
    if (w->o->batch) return w->o->batch;
    return v.ndim > 0 && v.dims[0] == 1 ? 1 : 0;
}

/* ---- the plan ---- */

static bool is_layer(const place_node *n) { return n->kind == PLACE_HEAVY && n->on; }

uint64_t work_layers(const quantize_work *w) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) n += is_layer(&w->plan.nodes[i]);
    return n;
}

pare_status work_plan(quantize_work *w) {
    const pare_status st = place_make(&w->q, w->o, &w->choices, w->skip, &w->plan);
    if (st) return st;
    w->params = quantize_scratch(&w->q, w->plan.n_points, sizeof *w->params);
    w->back = quantize_scratch(&w->q, w->plan.n_points, sizeof *w->back);
    w->x = quantize_scratch(&w->q, w->plan.n_nodes, sizeof *w->x);
    w->weights = quantize_scratch(&w->q, w->choices.n, sizeof *w->weights);
    if (!w->params || !w->back || !w->x || !w->weights) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const pare_node_info n = quantize_node(&w->q, w->plan.nodes[i].id);
        w->x[i] = n.n_in ? n.in[0] : 0;
    }
    w->shift = NULL;
    return PARE_OK;
}

/* ---- ranges ---- */

const work_range *work_known(const quantize_work *w, uint32_t value) {
    for (uint64_t i = 0; i < w->n_known; i++)
        if (w->known[i].value == value) return &w->known[i];
    return NULL;
}

static bool convolves(const quantize_work *w) {
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const place_node *n = &w->plan.nodes[i];
        if (n->kind == PLACE_HEAVY && quantize_is(quantize_node(&w->q, n->id).op_type, "Conv")) return true;
    }
    return false;
}

static calibrate_tensor tensor_of(const quantize_work *w, const place_point *p) {
    const bool noise = !w->o->data || strcmp(w->o->data, "random") == 0;
    const quantize_choice *c = p->choice ? &w->choices.at[p->choice - 1] : NULL;
    const uint32_t method = w->o->method >= 0        ? (uint32_t)w->o->method
                            : !noise && convolves(w) ? CALIBRATE_MSE
                                                     : CALIBRATE_MINMAX;
    return (calibrate_tensor){
        .name = quantize_value(&w->q, p->value).name,
        .method = c && c->method >= 0 ? (uint32_t)c->method : method,
        .dtype = w->o->activations,
        .symmetric = w->o->symmetric,
        .bins = w->o->bins,
        .percentile = c && c->percentile > 0 ? c->percentile : w->o->percentile,
    };
}

static pare_status learn(quantize_work *w, const uint32_t *values, const calibration *c) {
    work_range *more = realloc(w->known, (size_t)(w->n_known + c->n + 1) * sizeof *more);
    if (!more) return PARE_ENOMEM;
    w->known = more;
    for (uint64_t i = 0; i < c->n; i++)
        w->known[w->n_known++] = (work_range){.value = values[i], .tensor = c->tensors[i], .range = c->ranges[i]};
    return PARE_OK;
}

static pare_status read_or_run(quantize_work *w, const uint32_t *values, const calibrate_tensor *tensors, uint64_t n,
                               calibration *out) {
    char graph[65] = "";
    if (!w->o->ranges)
        return calibrate_run(w->q.host, w->q.model, values, tensors, n, w->o->data, w->o->samples, work_batch(w), out);
    if (w->q.run) {
        const pare_status st = w->q.run->fingerprint(w->q.host, w->q.model, graph);
        if (st) return st;
    }
    return ranges_read(w->q.host, w->o->ranges, graph, tensors, n, out);
}

/* A range that Relu or Clip bounds must not reach beyond it, not by a bit: runtimes then take the op out. */
static void keep_inside(const quantize_work *w, const place_point *p, emit_params *x) {
    if (!p->clipped || !isfinite(p->high) || !(p->high > 0)) return;
    while (x->scale * (float)(w->grid.qmax - x->zero) > p->high) x->scale = nextafterf(x->scale, 0);
}

static void set_params(quantize_work *w) {
    for (uint32_t s = 0; s < w->plan.n_points; s++) {
        float lo = 0, hi = 0;
        if (w->plan.points[s].source != s) continue;
        for (uint32_t i = 0; i < w->plan.n_points; i++) {
            const work_range *r = NULL;
            if (w->plan.points[i].source == s && w->plan.points[i].measured) r = work_known(w, w->plan.points[i].value);
            if (!r) continue;
            lo = fminf(lo, r->range.lo);
            hi = fmaxf(hi, r->range.hi);
        }
        calibrate_params(w->grid, lo, hi, &w->params[s].scale, &w->params[s].zero);
        keep_inside(w, &w->plan.points[s], &w->params[s]);
    }
}

pare_status work_ranges(quantize_work *w) {
    const uint64_t n = w->plan.n_points;
    const bool first = !w->n_known;
    calibrate_tensor *tensors = quantize_scratch(&w->q, n, sizeof *tensors);
    uint32_t *values = quantize_scratch(&w->q, n, sizeof *values);
    uint64_t missing = 0;
    if (!tensors || !values) return PARE_ENOMEM;
    for (uint64_t i = 0; i < n; i++) {
        const place_point *p = &w->plan.points[i];
        if (!p->measured || work_known(w, p->value)) continue;
        tensors[missing] = tensor_of(w, p);
        values[missing++] = p->value;
    }
    pare_status st = PARE_OK;
    if (missing) {
        calibration c = {0};
        st = read_or_run(w, values, tensors, missing, &c);
        if (!st) st = learn(w, values, &c);
        if (!st && first)
            w->first = c;
        else
            calibration_free(&c);
    }
    if (!st) set_params(w);
    return st;
}

pare_status work_save(quantize_work *w) {
    calibrate_tensor *tensors = quantize_scratch(&w->q, w->n_known, sizeof *tensors);
    calibrate_range *ranges = quantize_scratch(&w->q, w->n_known, sizeof *ranges);
    if (!tensors || !ranges) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->n_known; i++) {
        tensors[i] = w->known[i].tensor;
        ranges[i] = w->known[i].range;
    }
    calibration all = w->first; /* where it comes from */
    all.n = w->n_known;
    all.tensors = tensors;
    all.ranges = ranges;
    return ranges_save(w->q.host, &all);
}

/* ---- the edit ---- */

pare_status work_emit(quantize_work *w) {
    const emit_request r = {.o = w->o,
                            .choices = &w->choices,
                            .plan = &w->plan,
                            .params = w->params,
                            .bits = w->bits,
                            .shift = w->shift,
                            .grid = &w->grid,
                            .weights = w->weights,
                            .back = w->back};
    return emit_graph(&w->q, &r);
}

pare_status work_undo(quantize_work *w, uint32_t *mark) {
    const pare_status st = w->q.graph->undo(w->q.host, w->q.model, *mark);
    return st ? st : w->q.graph->mark(w->q.host, w->q.model, mark);
}

static uint32_t point_of(const place_plan *plan, uint32_t value) {
    for (uint32_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].value == value) return i;
    return UINT32_MAX;
}

uint32_t *work_values(quantize_work *w, bool quantized) {
    uint64_t n = 0, outputs = 0;
    while (w->q.graph->output(w->q.host, w->q.model, PARE_GRAPH_MAIN, (uint32_t)outputs)) outputs++;
    uint32_t *values = quantize_scratch(&w->q, w->plan.n_nodes + outputs, sizeof *values);
    if (!values) return NULL;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        if (!is_layer(&w->plan.nodes[i])) continue;
        const uint32_t last = w->plan.nodes[i].last, point = quantized ? point_of(&w->plan, last) : UINT32_MAX;
        values[n++] = point == UINT32_MAX ? last : w->back[point];
    }
    for (uint32_t i = 0; i < outputs; i++) values[n++] = w->q.graph->output(w->q.host, w->q.model, PARE_GRAPH_MAIN, i);
    w->n_compared = n;
    return values;
}

pare_status work_try(quantize_work *w) {
    verify_side before = {0}, after = {0};
    pare_status st = PARE_OK;
    w->sqnr = w->agreement = NAN;
    w->compare = NULL;
    if (!w->q.run) return work_emit(w);
    uint32_t *values = work_values(w, false);
    calibrate_compare *c = quantize_scratch(&w->q, w->n_compared, sizeof *c);
    if (!values || !c) return PARE_ENOMEM;
    st = verify_open(&w->q, values, w->n_compared, work_data(w), w->o->check_samples, work_batch(w), &before);
    if (!st) st = work_emit(w);
    if (!st && !(values = work_values(w, true))) st = PARE_ENOMEM;
    if (!st) st = verify_open(&w->q, values, w->n_compared, work_data(w), w->o->check_samples, work_batch(w), &after);
    if (!st) st = verify_compare(&w->q, &before, &after, c, &w->agreement);
    verify_close(&w->q, &before);
    verify_close(&w->q, &after);
    if (st) return st;
    w->compare = c;
    w->sqnr = calibrate_compare_sqnr(&c[w->n_compared - 1]);
    return PARE_OK;
}
