/* plugin/host_run.c - the interface pare.run/1 over runners: see sdk/pare/run.h.
 *
 * Every argument comes from a plugin and is checked. Is not: the running (runner.h), sets by their names (the services
 * that the pipeline fills in). May use: host_impl.h, runner.h, model.
 */
#include "plugin/host_impl.h"
#include "plugin/runner.h"

#include "model/fingerprint.h"

#include <stdlib.h>
#include <string.h>

enum { KNOWN_FLAGS = PARE_RUNNER_FINITE };

static const pare_run_services *services(const pare_host_impl *s) { return s->env.runs; }

/* What of the model may be run: the view, in apply, with nothing borrowed for writing. NULL: misuse. */
static pare_host_impl *may_run(const pare_host *h, const pare_model *m, const char *fn) {
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return NULL;
    if (s->phase != PARE_PHASE_APPLY) {
        pare_host_misuse(h, fn, "models are run in apply alone");
        return NULL;
    }
    for (size_t i = 0; i < s->borrows.len; i++)
        if (!s->borrows.data[i].readers) {
            pare_host_misuse(h, fn, "tensor %u is borrowed for writing", s->borrows.data[i].tensor);
            return NULL;
        }
    return s;
}

/* What the runner said goes on: errors are held back. */
static pare_status told(const pare_host *h, pare_diags *said, size_t errors_before, pare_status st) {
    size_t passed = 0;
    pare_host_pass(h, said, &passed);
    pare_diags_free(said);
    if (st == PARE_ECANCELLED) h->tick(h, 0, NULL); /* so that the host knows who cancelled */
    return pare_host_said(pare_host_of(h), errors_before, st);
}

/* ---- runners ---- */

static pare_status check_values(const pare_host *h, const char *fn, const pare_runner_request *r) {
    if (!r->values) return r->n_values ? pare_host_misuse(h, fn, "n_values without values") : PARE_OK;
    if (!r->n_values || r->n_values > UINT32_MAX)
        return pare_host_misuse(h, fn, "values without a number of them that makes sense");
    for (uint64_t i = 0; i < r->n_values; i++) {
        const pare_value *v = pare_host_value(h, fn, r->values[i]);
        if (!v) return PARE_EINVAL;
        if (v->graph != PARE_MAIN_GRAPH)
            return pare_host_misuse(h, fn, "value %u (\"%s\") is not of the main graph", v->id, v->name);
    }
    return PARE_OK;
}

static pare_status run_open(const pare_host *h, pare_model *m, const pare_runner_request *request, pare_runner **out) {
    static const char fn[] = "pare.run/1 open";
    pare_host_impl *s = may_run(h, m, fn);
    pare_runner_request r;
    if (!s || !PARE_TAKE(h, fn, "request", request, r, PARE_LEAST_RUNNER_REQUEST)) return PARE_EINVAL;
    if (!out) return pare_host_misuse(h, fn, "out is NULL");
    if (r.flags & ~(uint32_t)KNOWN_FLAGS) return pare_host_misuse(h, fn, "there are no flags 0x%x", r.flags);
    if (!pare_host_text_ok(h, fn, "data", r.data) || check_values(h, fn, &r)) return PARE_EINVAL;
    const pare_runner_opts opts = {.values = r.values,
                                   .n_values = r.n_values,
                                   .data = r.data,
                                   .samples = r.samples,
                                   .batch = r.batch,
                                   .seed = s->env.seed,
                                   .finite = r.flags & PARE_RUNNER_FINITE};
    size_t before = pare_host_errors(s);
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_runner *runner = NULL;
    pare_status st = told(h, said, before, pare_runner_open(s->model, &opts, services(s), said, &runner));
    if (st) return st;
    pare_vec_push(&s->runners, runner);
    *out = runner;
    return PARE_OK;
}

/* One that is open, or misuse and false. */
static bool is_open(const pare_host *h, const pare_runner *r, const char *fn) {
    const pare_host_impl *s = pare_host_of(h);
    for (size_t i = 0; r && i < s->runners.len; i++)
        if (s->runners.data[i] == r) return true;
    pare_host_misuse(h, fn, "%s", r ? "the runner is not open, or not any more" : "the runner is NULL");
    return false;
}

static pare_status run_next(const pare_host *h, pare_runner *r, pare_runner_batch *out) {
    static const char fn[] = "pare.run/1 next";
    if (!is_open(h, r, fn) || !pare_host_room(h, fn, "out", out, PARE_LEAST_RUNNER_BATCH)) return PARE_EINVAL;
    pare_runner_batch b = {0};
    size_t before = pare_host_errors(pare_host_of(h));
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_status st = told(h, said, before, pare_runner_next(r, said, &b));
    if (!st && !PARE_GIVE(h, fn, out, b, PARE_LEAST_RUNNER_BATCH)) st = PARE_EINVAL;
    return st;
}

static pare_status run_value(const pare_host *h, pare_runner *r, uint64_t i, pare_view *out) {
    static const char fn[] = "pare.run/1 value";
    pare_view v;
    if (!is_open(h, r, fn)) return PARE_EINVAL;
    if (pare_runner_value(r, i, &v))
        return pare_host_misuse(h, fn, "there is no value %llu, or no batch was run", (unsigned long long)i);
    return PARE_GIVE(h, fn, out, v, PARE_LEAST_VIEW) ? PARE_OK : PARE_EINVAL;
}

static pare_status run_rewind(const pare_host *h, pare_runner *r) {
    if (!is_open(h, r, "pare.run/1 rewind")) return PARE_EINVAL;
    pare_runner_rewind(r);
    return PARE_OK;
}

static void run_close(const pare_host *h, pare_runner *r) {
    pare_host_impl *s = pare_host_of(h);
    if (!r || !is_open(h, r, "pare.run/1 close")) return;
    size_t i = 0;
    while (s->runners.data[i] != r) i++;
    s->runners.data[i] = s->runners.data[--s->runners.len];
    pare_runner_close(r);
}

static const char *run_sample_name(const pare_host *h, pare_runner *r, uint64_t sample) {
    static const char fn[] = "pare.run/1 sample_name";
    if (!is_open(h, r, fn)) return "";
    const char *name = pare_runner_sample_name(r, sample);
    if (!name) pare_host_misuse(h, fn, "the set has no sample %llu", (unsigned long long)sample);
    return name ? name : "";
}

void pare_host_runs_end(pare_host_impl *s) {
    while (s->runners.len) pare_runner_close(s->runners.data[--s->runners.len]);
    if (s->int8) pare_int8_close(s->int8);
    free(s->int8);
    s->int8 = NULL;
}

/* ---- without a runner ---- */

/* What the model in hand takes; nothing is known in create. */
static pare_data_target target_of(const pare_model *m) {
    const pare_graph *g = m ? pare_model_graph(m, PARE_MAIN_GRAPH) : NULL;
    pare_data_target t = {0};
    for (size_t i = 0; g && i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(m, g->inputs.data[i]);
        if (v->tensor) continue;
        t.dtype = v->dtype;
        t.ndim = v->ndim > 0 && v->ndim <= PARE_ARRAY_DIMS ? (uint32_t)v->ndim : 0;
        for (uint32_t k = 0; k < t.ndim; k++) t.dims[k] = v->dims[k].value;
        break;
    }
    return t;
}

/* Of what the model gets: samples, labels, and what is done to them on their way. */
static pare_status hash_set(const pare_data *set, const pare_data_preprocess *pre, const pare_data_target *t,
                            pare_diags *d, char hex[PARE_SHA256_HEX]) {
    pare_sb b = {0};
    pare_sha256 *h = pare_sha256_new();
    if (pre) pare_data_preprocess_print(pre, &b);
    pare_sb_printf(&b, "\n%u", t->dtype);
    for (uint32_t i = 1; i < t->ndim; i++) pare_sb_printf(&b, " %lld", (long long)t->dims[i]);
    pare_sha256_add(h, pare_sb_str(&b), b.len);
    pare_sb_free(&b);
    pare_status st = pare_data_hash(set, h, d);
    pare_sha256_end(h, hex);
    return st;
}

static pare_status run_set(const pare_host *h, const char *data, uint32_t hash, pare_runner_set *out) {
    static const char fn[] = "pare.run/1 set";
    pare_host_impl *s = pare_host_of(h);
    if (s->phase == PARE_PHASE_NONE) return pare_host_misuse(h, fn, "called while no function of the technique runs");
    if (!pare_host_text_ok(h, fn, "data", data) || !pare_host_room(h, fn, "out", out, PARE_LEAST_RUNNER_SET))
        return PARE_EINVAL;
    pare_data_target target = target_of(s->model);
    const pare_data *set = NULL;
    const pare_data_preprocess *pre = NULL;
    size_t before = pare_host_errors(s);
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_runner_set full = {.size = sizeof full};
    pare_status st = services(s)->set(services(s)->ctx, data, target.ndim ? &target : NULL, 1, &set, &pre);
    if (!st && hash == 1) st = hash_set(set, pre, &target, said, full.sha256);
    st = told(h, said, before, st);
    if (st) return st;
    full.labelled = pare_data_labelled(set);
    full.count = strcmp(data, "random") == 0 ? 0 : pare_data_count(set);
    return PARE_GIVE(h, fn, out, full, PARE_LEAST_RUNNER_SET) ? PARE_OK : PARE_EINVAL;
}

static pare_status run_fingerprint(const pare_host *h, pare_model *m, char out[65]) {
    static const char fn[] = "pare.run/1 fingerprint";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return PARE_EINVAL;
    if (!out) return pare_host_misuse(h, fn, "out is NULL");
    size_t before = pare_host_errors(s);
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    return told(h, said, before, pare_model_fingerprint(s->model, said, out));
}

static pare_status run_evaluate(const pare_host *h, pare_model *m, const char *data, const char *metric,
                                uint64_t samples, double *out) {
    static const char fn[] = "pare.run/1 evaluate";
    pare_host_impl *s = may_run(h, m, fn);
    if (!s || !pare_host_text_ok(h, fn, "data", data) || !pare_host_text_ok(h, fn, "metric", metric))
        return PARE_EINVAL;
    if (!out) return pare_host_misuse(h, fn, "out is NULL");
    size_t before = pare_host_errors(s);
    pare_status st = services(s)->evaluate(services(s)->ctx, s->model, data, metric, samples, out);
    if (st == PARE_ECANCELLED) h->tick(h, 0, NULL);
    return pare_host_said(s, before, st);
}

static pare_status run_int8(const pare_host *h, const char *op_type, uint32_t x_dtype, uint32_t w_dtype,
                            uint32_t *fast) {
    static const char fn[] = "pare.run/1 int8";
    pare_host_impl *s = pare_host_of(h);
    const pare_compute *c = NULL;
    if (s->phase == PARE_PHASE_NONE) return pare_host_misuse(h, fn, "called while no function of the technique runs");
    if (!pare_host_text_ok(h, fn, "op_type", op_type)) return PARE_EINVAL;
    if (!fast) return pare_host_misuse(h, fn, "fast is NULL");
    size_t before = pare_host_errors(s);
    pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_status st = services(s)->compute(services(s)->ctx, false, &c);
    if (!st && !s->int8) s->int8 = pare_xcalloc(1, sizeof *s->int8);
    if (!st) st = pare_int8_ask(s->int8, c, op_type, x_dtype, w_dtype, said, fast);
    return told(h, said, before, st);
}

const pare_run_api pare_host_run_v1 = {
    .size = sizeof(pare_run_api),
    .open = run_open,
    .next = run_next,
    .value = run_value,
    .rewind = run_rewind,
    .close = run_close,
    .set = run_set,
    .fingerprint = run_fingerprint,
    .evaluate = run_evaluate,
    .int8 = run_int8,
    .sample_name = run_sample_name,
};
