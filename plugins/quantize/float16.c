/* quantize/float16.c - the technique quantize.float16: weights and arithmetic in half precision.
 *
 * Is: the parameters, the order of the work, the report. Which nodes is float16_nodes.c, the edit float16_edit.c. Where
 * samples can be run, values that leave float16's range in the float model are looked for first, and the nodes around
 * them stay float32. Uses the SDK alone.
 */
#include "float16.h"

#include "plain.h"
#include "prepare.h"
#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARG_KEEP_IO, ARG_EXCLUDE, ARG_KEEP_OPS, ARG_DATA, ARG_CHECK_SAMPLES, ARG_SANITY, N_ARGS };

static const char *const on_off[] = {"on", "off", NULL};

#define PARAM(...)                                                                                                     \
    { .size = sizeof(pare_param), __VA_ARGS__ }

static const pare_param params[N_ARGS] = {
    [ARG_KEEP_IO] = PARAM(.type = PARE_PARAM_BOOL, .name = "keep_io", .dflt = "true",
                          .doc = "The model's inputs and outputs stay float32, with a Cast behind and before them."),
    [ARG_EXCLUDE] = PARAM(.type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL, .name = "exclude",
                          .doc = "Layers that stay float32, by weight name, node name or Conv#3."),
    [ARG_KEEP_OPS] = PARAM(.type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL,
                           .name = "keep_ops", .doc = "Further ops whose nodes stay float32, as Softmax."),
    [ARG_DATA] =
        PARAM(.type = PARE_PARAM_DATA, .name = "data", .dflt = "random",
              .doc = "The set on which values too large for float16 are looked for, and the result is compared. "
                     "random: noise, for models that take one float input."),
    [ARG_CHECK_SAMPLES] = PARAM(.type = PARE_PARAM_INT, .flags = PARE_PARAM_ADVANCED, .name = "check_samples",
                                .dflt = "4", .min = 0, .max = 1e6, .doc = "Samples of that; 0: nothing is run."),
    [ARG_SANITY] = PARAM(.type = PARE_PARAM_ENUM, .name = "sanity", .dflt = "on", .choices = on_off,
                         .doc = "on: fails where the result has an SQNR below 10 dB and agrees with the float model on "
                                "less than half of the samples."),
};

typedef struct options {
    bool keep_io, sanity;
    float16_rules rules;
    const char *data;
    uint64_t samples;
} options;

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    options *o = calloc(1, sizeof *o);
    (void)host;
    if (!o) return PARE_ENOMEM;
    *o = (options){.keep_io = args[ARG_KEEP_IO].u.i != 0,
                   .sanity = args[ARG_SANITY].u.i == 0,
                   .rules = {&args[ARG_EXCLUDE], &args[ARG_KEEP_OPS]},
                   .data = args[ARG_DATA].u.s,
                   .samples = (uint64_t)args[ARG_CHECK_SAMPLES].u.i};
    *self = o;
    return PARE_OK;
}

static void destroy(void *self) { free(self); }

typedef struct work {
    quantize_apis q;
    const options *o;
    float16_plan plan;
    float16_result result;
    const char *loose; /* why nothing is run; NULL: it is */
    uint64_t wide;     /* values that left float16's range */
    calibrate_compare last;
    double agreement;
} work;

static const char *loose(const quantize_apis *q, const options *o) {
    uint32_t n = 0, dtype = 0, value;
    if (!q->run) return "this host runs no models";
    if (!o->samples) return "check_samples is 0";
    for (uint32_t i = 0; (value = q->graph->input(q->host, q->model, PARE_GRAPH_MAIN, i)); i++) {
        const pare_value_info v = quantize_value(q, value);
        if (v.tensor) continue;
        dtype = v.dtype;
        n++;
    }
    if (n != 1) return "samples have one input, and the model does not";
    if (strcmp(o->data, "random") == 0 && dtype != PARE_FLOAT)
        return "the model takes no float32, and noise is nothing else";
    return NULL;
}

static pare_status open_work(work *w, void *self, const pare_host *host, pare_model *model) {
    *w = (work){.o = self, .agreement = NAN};
    pare_status st = quantize_apis_init(&w->q, host, model);
    if (st) return st;
    if (!PARE_HAS(pare_graph_api, w->q.graph, value_retype)) {
        quantize_say(&w->q, PARE_ERROR, "quantize.host", NULL, NULL, "use the pare that this plugin came with",
                     "this host can't change the dtype of a value");
        return PARE_EUNSUPPORTED;
    }
    if (prepare_quantized(&w->q)) {
        quantize_say(&w->q, PARE_ERROR, "quantize.already", NULL, NULL, "begin with the float model",
                     "the model is quantized already: float16 is made of float32 models");
        return PARE_EINVAL;
    }
    w->loose = loose(&w->q, w->o);
    return PARE_OK;
}

static uint64_t halves(const work *w) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->plan.n; i++) n += w->plan.nodes[i].kind == FLOAT16_HALF;
    return n;
}

static pare_status nothing(const work *w) {
    return quantize_refuse(&w->q, "quantize.nothing", NULL, NULL, "see exclude and keep_ops",
                           "nothing becomes float16: no node that may takes or makes float32");
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    work w;
    pare_status st = open_work(&w, self, host, model);
    if (!st) st = float16_plan_make(&w.q, &w.o->rules, &w.plan);
    return st;
}

/* ---- values that are too large ---- */

static float largest(const pare_view *v) {
    float most = 0;
    if (v->dtype != PARE_FLOAT) return 0;
    const float *x = (const float *)(const void *)((const char *)v->data + v->byte_offset);
    for (uint64_t i = 0; i < v->count; i++)
        if (fabsf(x[i]) > most && fabsf(x[i]) < INFINITY) most = fabsf(x[i]);
    return most;
}

static void keep(work *w, uint32_t node) {
    float16_node *n = float16_node_of(&w->plan, node);
    if (!n || n->kind != FLOAT16_HALF) return;
    n->kind = FLOAT16_KEPT;
    n->why = "values that it makes or takes are beyond 65504 on the samples";
}

/* Maker and takers of a value that float16 can't hold stay float32. */
static pare_status find_wide(work *w) {
    const quantize_apis *q = &w->q;
    uint64_t n = 0;
    uint32_t *values = quantize_scratch(q, w->plan.n, sizeof *values);
    float *most = quantize_scratch(q, w->plan.n, sizeof *most);
    verify_side side = {0};
    uint64_t samples = w->o->samples;
    const uint32_t batch = plain_batch(q, &samples);
    if (!values || !most) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->plan.n; i++) {
        const pare_node_info info = quantize_node(q, w->plan.nodes[i].id);
        if (w->plan.nodes[i].kind == FLOAT16_OTHER || !info.n_out || !info.out[0]) continue;
        if (quantize_value(q, info.out[0]).dtype == PARE_FLOAT && !info.n_subgraphs) values[n++] = info.out[0];
    }
    if (!n) return PARE_OK;
    pare_status st = verify_open(q, values, n, w->o->data, samples, batch, &side);
    while (!st) {
        pare_runner_batch b = {.size = sizeof b};
        if ((st = q->run->next(q->host, side.runner, &b))) break;
        for (uint64_t i = 0; i < n && !st; i++) {
            pare_view v = {.size = sizeof v};
            st = q->run->value(q->host, side.runner, i, &v);
            if (!st) most[i] = fmaxf(most[i], largest(&v));
        }
    }
    verify_close(q, &side);
    if (st != PARE_ENOTFOUND) return st;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t node, slot;
        if (!(most[i] > 65504)) continue;
        w->wide++;
        const pare_value_info v = quantize_value(q, values[i]);
        quantize_say(q, PARE_WARNING, "quantize.float16-range", NULL, NULL, NULL,
                     "\"%.200s\" reaches %.3g, and float16 ends at 65504: the nodes around it stay float32", v.name,
                     (double)most[i]);
        keep(w, v.producer);
        for (uint64_t k = 0; !q->graph->consumer(q->host, q->model, values[i], k, &node, &slot); k++) keep(w, node);
    }
    return PARE_OK;
}

/* ---- the work ---- */

static pare_status edit_and_compare(work *w) {
    const quantize_apis *q = &w->q;
    verify_side before = {0}, after = {0};
    uint64_t samples = w->o->samples;
    const uint32_t batch = plain_batch(q, &samples);
    if (w->loose) return float16_edit(q, &w->plan, w->o->keep_io, &w->result);
    pare_status st = find_wide(w);
    if (!st && !halves(w)) st = nothing(w);
    if (st) return st;
    st = verify_open(q, NULL, 0, w->o->data, samples, batch, &before);
    calibrate_compare *c = quantize_scratch(q, before.n, sizeof *c);
    if (!st && !c) st = PARE_ENOMEM;
    if (!st) st = float16_edit(q, &w->plan, w->o->keep_io, &w->result);
    const bool same = w->o->keep_io; /* else samples would have to be float16 */
    if (!st && !same) w->loose = "keep_io is off, and samples are float32";
    if (!st && same) st = verify_open(q, NULL, 0, w->o->data, samples, batch, &after);
    if (!st && same) st = verify_compare(q, &before, &after, c, &w->agreement);
    if (!st && same && before.n) w->last = c[before.n - 1];
    verify_close(q, &before);
    verify_close(q, &after);
    return st;
}

static double sqnr(const work *w) { return w->last.n ? calibrate_compare_sqnr(&w->last) : NAN; }

static pare_status sane(const work *w) {
    const double db = sqnr(w);
    if (!w->o->sanity || !w->last.n || w->last.aa == 0 || isnan(w->last.aa) || db >= 10 || w->agreement >= 0.5)
        return PARE_OK;
    char agreement[64] = "";
    if (!isnan(w->agreement))
        (void)snprintf(agreement, sizeof agreement, " and it agrees on %.1f %% of the samples", 100 * w->agreement);
    return quantize_refuse(
        &w->q, "quantize.sanity", "sanity", NULL,
        "keep_ops and exclude leave more in float32; or, where the numbers mean nothing, sanity: off",
        "the float16 model is not the float one any more: its SQNR is %.1f dB%s (at least 10 dB or "
        "50 %% are asked for)",
        db, agreement);
}

/* ---- report ---- */

/* One line an op: how many of its nodes stay float32, and why. */
static void say_kept(const work *w, uint64_t *total) {
    const quantize_apis *q = &w->q;
    for (uint64_t i = 0; i < w->plan.n; i++) {
        const float16_node *n = &w->plan.nodes[i];
        if (n->kind != FLOAT16_KEPT || n->quiet) continue;
        const char *op = quantize_node(q, n->id).op_type;
        uint64_t same = 0;
        bool told = false;
        for (uint64_t k = 0; k < w->plan.n; k++) {
            const float16_node *o = &w->plan.nodes[k];
            if (o->kind != FLOAT16_KEPT || o->quiet || o->why != n->why) continue;
            if (!quantize_is(quantize_node(q, o->id).op_type, op)) continue;
            told = told || k < i;
            same++;
        }
        ++*total;
        if (told) continue;
        char key[200], text[300];
        (void)snprintf(key, sizeof key, "float: %.150s", op);
        (void)snprintf(text, sizeof text, "%llu node%s: %s", (unsigned long long)same, same == 1 ? "" : "s", n->why);
        if (q->note) q->note->text(q->host, key, text);
        quantize_say(q, PARE_INFO, "quantize.float", NULL, NULL, NULL, "%s stays in float32, %s", op, text);
    }
}

static void say_tensor(const work *w, const float16_tensor *t) {
    const char *keys[] = {"overflowed", "flushed", "most"};
    const double values[] = {(double)t->loss.overflowed, (double)t->loss.flushed, (double)t->loss.most};
    const pare_layer_note note = {.size = sizeof note,
                                  .n_extra = 3,
                                  .name = t->name,
                                  .requested = 16,
                                  .achieved = 16,
                                  .keys = keys,
                                  .values = values};
    if (w->q.note && (t->count > 1 || t->loss.overflowed || t->loss.flushed)) w->q.note->layer(w->q.host, &note);
    if (t->loss.overflowed)
        quantize_say(&w->q, PARE_WARNING, "quantize.float16-overflow", NULL, NULL,
                     "where that matters, exclude the layers that take it",
                     "%llu of %llu numbers of \"%.200s\" are beyond float16 (up to %.3g): they became 65504",
                     (unsigned long long)t->loss.overflowed, (unsigned long long)t->count, t->name,
                     (double)t->loss.most);
}

static void report(const work *w) {
    const quantize_apis *q = &w->q;
    uint64_t overflowed = 0, flushed = 0, kept = 0;
    for (uint64_t i = 0; i < w->result.n; i++) {
        say_tensor(w, &w->result.tensors[i]);
        overflowed += w->result.tensors[i].loss.overflowed;
        flushed += w->result.tensors[i].loss.flushed;
    }
    say_kept(w, &kept);
    if (q->note) {
        q->note->number(q->host, "float16_nodes", (double)halves(w));
        q->note->number(q->host, "float32_nodes", (double)kept);
        q->note->number(q->host, "casts", (double)w->result.casts);
        q->note->number(q->host, "overflowed", (double)overflowed);
        q->note->number(q->host, "flushed_to_zero", (double)flushed);
        q->note->number(q->host, "wide_values", (double)w->wide);
        q->note->number(q->host, "sqnr_db", sqnr(w));
        q->note->number(q->host, "agreement", w->agreement);
        if (w->loose) q->note->text(q->host, "not_compared", w->loose);
    }
    char compared[160];
    if (w->loose)
        (void)snprintf(compared, sizeof compared, "nothing was compared: %.100s", w->loose);
    else
        (void)snprintf(compared, sizeof compared, "the outputs' SQNR is %.1f dB", sqnr(w));
    quantize_say(
        q, PARE_INFO, "quantize.done", NULL, NULL, NULL,
        "%llu nodes are float16 now, %llu stay float32; of the constants %llu numbers overflowed and %llu became "
        "zero; %s",
        (unsigned long long)halves(w), (unsigned long long)kept, (unsigned long long)overflowed,
        (unsigned long long)flushed, compared);
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    work w;
    pare_status st = open_work(&w, self, host, model);
    if (!st) st = host->tick(host, 0, "looking");
    if (!st) st = w.q.graph->infer(host, model);
    if (!st) st = float16_plan_make(&w.q, &w.o->rules, &w.plan);
    if (!st && !halves(&w)) st = nothing(&w);
    if (!st) st = edit_and_compare(&w);
    if (!st) st = sane(&w);
    if (!st) report(&w);
    return st;
}

const pare_technique quantize_float16 = {
    .size = sizeof(pare_technique),
    .id = "quantize.float16",
    .version = "1.0.0",
    .summary = "Weights and arithmetic in half precision: half the file. For GPUs and machines with float16; others "
               "compute in float32 all the same.",
    .params = params,
    .n_params = N_ARGS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .check = check,
    .apply = apply,
    .destroy = destroy,
};
