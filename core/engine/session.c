/* engine/session.c - opening a session, what it takes and gives, and a run with the plan that fits. See session.h.
 *
 * Is not: the preparing of the model (prepare.c), plans (plan.c). May use: parts.h, model.
 */
#include "engine/parts.h"
#include "engine/tune.h"

#include "model/infer.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static const char *const no_backend = "(none)";

static void port_of(pare_session *s, uint32_t value, const char *name, pare_port *p) {
    const pare_value *v = pare_model_value(s->model, value);
    pare_arena *a = &s->model->arena;
    *p = (pare_port){.name = pare_arena_strdup(a, name), .dtype = v->dtype, .ndim = v->ndim};
    if (v->ndim <= 0) return;
    pare_dim *dims = pare_arena_memdup(a, v->dims, (size_t)v->ndim * sizeof *dims);
    for (int32_t i = 0; i < v->ndim; i++) {
        dims[i].symbol = pare_arena_strdup(a, dims[i].symbol);
    }
    p->dims = dims;
}

/* Which inputs' numbers reach an operand that decides shapes, other than through their dims? */
static void find_deciding(pare_session *s) {
    const pare_model *m = s->model;
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    unsigned char *wanted = pare_xcalloc(m->values.len + 1, 1);
    for (size_t i = g->nodes.len; i-- > 0;) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        bool all = false;
        for (uint32_t k = 0; k < n->n_out; k++) all = all || wanted[n->out[k]];
        if (pare_node_is(n, "Shape") || pare_node_is(n, "Size")) all = false;
        for (uint32_t k = 0; k < n->n_in; k++)
            if (all || pare_spec_host_slot(n, k)) wanted[n->in[k]] = n->in[k] != 0;
    }
    s->decides = pare_xcalloc(s->input_values.len + 1, sizeof *s->decides);
    for (size_t i = 0; i < s->input_values.len; i++) s->decides[i] = wanted[s->input_values.data[i]];
    free(wanted);
}

static pare_status ports(pare_session *s, const pare_session_opts *opts, const pare_model *source, pare_diags *d) {
    const pare_graph *g = pare_model_graph(s->model, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(s->model, g->inputs.data[i]);
        pare_port p;
        if (v->tensor || v->is_sparse || pare_variable_of(s, v->id)) continue;
        port_of(s, v->id, v->name, &p);
        if (!p.dtype || p.dtype == PARE_STRING || v->other_type)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.input", NULL,
                             "the input \"%s\" is no tensor of numbers (it is %s)", v->name,
                             v->other_type ? "a sequence, map or optional" : pare_dtype_name(p.dtype));
        if (p.ndim > PARE_ARRAY_DIMS)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.rank", NULL,
                             "the input \"%s\" has %d dims, at most %d are supported", v->name, p.ndim,
                             PARE_ARRAY_DIMS);
        pare_vec_push(&s->inputs, p);
        pare_vec_push(&s->input_values, v->id);
    }
    const pare_graph *from = pare_model_graph(source, PARE_MAIN_GRAPH);
    size_t n_outputs = opts->n_programs ? opts->programs[0].n_fetches : g->outputs.len;
    for (size_t i = 0; i < n_outputs; i++) {
        pare_port p;
        if (opts->n_programs) {
            port_of(s, s->programs.data[0].values[i], opts->programs[0].fetches[i], &p);
            pare_vec_push(&s->outputs, p);
            continue;
        }
        const char *name = opts->fetches ? opts->fetches[i] : pare_model_value(source, from->outputs.data[i])->name;
        port_of(s, g->outputs.data[i], name, &p);
        pare_vec_push(&s->outputs, p);
    }
    return PARE_OK;
}

static void keep_plan(pare_session *s, pare_plan *p) {
    if (s->n_plans == PARE_PLANS_KEPT) {
        size_t at = 0;
        for (size_t i = 1; i < s->n_plans; i++)
            if (s->plans[i]->used < s->plans[at]->used) at = i;
        pare_plan_free(s, s->plans[at]);
        s->plans[at] = s->plans[--s->n_plans];
    }
    s->plans[s->n_plans++] = p;
    p->used = ++s->clock;
    s->latest = p;
}

/* Is this dim the batch that the file fixes? */
static bool opened(const pare_session *s, size_t input, int32_t dim) {
    return !dim && s->rows.opened && s->rows.carries[input];
}

/* Where nothing is left open, the plan is made now: what can't run is refused before anything is asked of it. */
static pare_status plan_ahead(pare_session *s, pare_diags *d) {
    pare_status st = PARE_OK;
    pare_plan *p = NULL;
    size_t n = s->inputs.len;
    if (s->programs.len) return PARE_OK; /* not all may be asked for, and each takes memory */
    for (size_t i = 0; i < n; i++) {
        if (s->decides[i] || s->inputs.data[i].ndim < 0) return PARE_OK;
        for (int32_t k = 0; k < s->inputs.data[i].ndim; k++)
            if (s->inputs.data[i].dims[k].value < 0 && !opened(s, i, k)) return PARE_OK;
    }
    pare_array *shapes = pare_xcalloc(n + 1, sizeof *shapes), **in = pare_xcalloc(n + 1, sizeof *in);
    for (size_t i = 0; i < n; i++) {
        const pare_port *port = &s->inputs.data[i];
        shapes[i] = (pare_array){.refs = 1, .dtype = port->dtype, .ndim = (uint32_t)port->ndim};
        for (int32_t k = 0; k < port->ndim; k++)
            shapes[i].dims[k] = opened(s, i, k) ? s->rows.fixed : port->dims[k].value;
        in[i] = &shapes[i];
    }
    st = pare_plan_make(s, in, d, &p);
    if (!st) keep_plan(s, p);
    free(shapes);
    free(in);
    return st;
}

pare_status pare_session_open(const pare_model *m, const pare_session_opts *opts, pare_diags *d, pare_session **out) {
    pare_session *s = pare_xcalloc(1, sizeof *s);
    s->threads = opts->threads ? opts->threads : pare_threads();
    s->memory = opts->memory;
    s->profile = opts->profile;
    s->progress = opts->progress;
    s->rows.any = opts->any_batch;
    s->rows.piece = opts->piece;
    s->model = pare_model_clone(m);
    bool tune;
    pare_status st = pare_tune_wanted(opts->tune, d, &tune);
    if (!st) st = pare_engine_devices_open(s, opts, d);
    if (!st && tune) s->tune = pare_tune_open(s);
    if (!st) st = pare_engine_prepare(s, opts, d);
    if (!st) st = ports(s, opts, m, d);
    if (!st) st = pare_variables_place(s, d);
    if (!st) {
        find_deciding(s);
        if (!s->programs.len) pare_rows_ready(s);
        s->staging = pare_xcalloc(s->inputs.len + 1, sizeof *s->staging);
        s->staging_bytes = pare_xcalloc(s->inputs.len + 1, sizeof *s->staging_bytes);
        st = plan_ahead(s, d);
    }
    if (st) {
        pare_session_close(s);
        return st;
    }
    *out = s;
    return PARE_OK;
}

void pare_session_close(pare_session *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_plans; i++) pare_plan_free(s, s->plans[i]);
    pare_engine_constants_free(s, &s->constants);
    pare_variables_free(s);
    pare_engine_devices_close(s);
    pare_tune_close(s->tune);
    for (size_t i = 0; s->staging && i < s->inputs.len; i++) free(s->staging[i]);
    free(s->staging);
    free(s->staging_bytes);
    free(s->decides);
    pare_rows_free(s);
    pare_vec_free(&s->inputs);
    pare_vec_free(&s->input_values);
    pare_vec_free(&s->outputs);
    pare_model_free(s->model);
    free(s);
}

/* ---- looking ---- */

size_t pare_session_n_inputs(const pare_session *s) { return s->inputs.len; }
const pare_port *pare_session_input(const pare_session *s, size_t i) {
    return i < s->inputs.len ? &s->inputs.data[i] : NULL;
}
size_t pare_session_n_outputs(const pare_session *s) { return s->outputs.len; }
const pare_port *pare_session_output(const pare_session *s, size_t i) {
    return i < s->outputs.len ? &s->outputs.data[i] : NULL;
}

size_t pare_session_profile(const pare_session *s, const pare_profile_node **nodes) {
    *nodes = s->latest ? s->latest->rows.data : NULL;
    return s->latest ? s->latest->rows.len : 0;
}

void pare_session_profile_reset(pare_session *s) {
    for (size_t k = 0; k < s->n_plans; k++)
        for (size_t i = 0; i < s->plans[k]->rows.len; i++) {
            s->plans[k]->rows.data[i].seconds = 0;
            s->plans[k]->rows.data[i].runs = 0;
        }
}

pare_session_memory pare_session_memory_of(const pare_session *s) {
    pare_session_memory r = {0, 0};
    for (uint32_t i = 0; s->latest && i < s->n_devices; i++) {
        r.arena += s->latest->arena[i];
        r.packed += s->latest->constants[i];
    }
    return r;
}

bool pare_session_tuned(const pare_session *s) { return s->tune != NULL; }

const char *pare_session_device(const pare_session *s) {
    const pare_backend *b = s->devices[0].use.backend;
    const char *text = b && b->describe ? b->describe(s->devices[0].handle) : NULL;
    return text ? text : no_backend;
}

/* ---- running ---- */

static void port_text(pare_sb *b, uint32_t dtype, int32_t ndim, const pare_dim *dims) {
    pare_sb_printf(b, "%s [", pare_dtype_name(dtype));
    if (ndim < 0) pare_sb_add(b, "any dims");
    for (int32_t i = 0; i < ndim; i++) {
        if (i) pare_sb_add(b, ", ");
        if (dims[i].value >= 0)
            pare_sb_printf(b, "%lld", (long long)dims[i].value);
        else
            pare_sb_add(b, dims[i].symbol ? dims[i].symbol : "any");
    }
    pare_sb_add(b, "]");
}

static pare_status bad_input(const pare_port *p, const pare_array *a, pare_diags *d) {
    pare_sb want = {0}, got = {0};
    pare_dim dims[PARE_ARRAY_DIMS];
    for (uint32_t i = 0; i < a->ndim; i++) dims[i] = (pare_dim){.value = a->dims[i]};
    port_text(&want, p->dtype, p->ndim, p->dims);
    port_text(&got, a->dtype, (int32_t)a->ndim, dims);
    pare_status st = pare_fail(d, PARE_EINVAL, "engine.input", NULL, "input \"%s\" is %s, but the model takes %s",
                               p->name, pare_sb_str(&got), pare_sb_str(&want));
    pare_sb_free(&want);
    pare_sb_free(&got);
    return st;
}

/* Equal symbols mean equal sizes, over all inputs. */
static pare_status check_symbol(pare_session *s, pare_array *const *in, size_t at, int32_t dim, pare_diags *d) {
    const char *symbol = s->inputs.data[at].dims[dim].symbol;
    for (size_t i = 0; i <= at; i++) {
        const pare_port *p = &s->inputs.data[i];
        for (int32_t k = 0; in[i] && k < p->ndim && (i < at || k < dim); k++) {
            if (p->dims[k].value >= 0 || !p->dims[k].symbol || strcmp(p->dims[k].symbol, symbol) != 0) continue;
            if (in[i]->dims[k] == in[at]->dims[dim]) return PARE_OK;
            return pare_fail(d, PARE_EINVAL, "engine.input", NULL,
                             "\"%s\" is %lld in dim %d of input \"%s\", but %lld in dim %d of input \"%s\"", symbol,
                             (long long)in[at]->dims[dim], dim, s->inputs.data[at].name, (long long)in[i]->dims[k], k,
                             p->name);
        }
    }
    return PARE_OK;
}

static pare_status check_inputs(pare_session *s, pare_array *const *in, pare_diags *d) {
    for (size_t i = 0; i < s->inputs.len; i++) {
        const pare_port *p = &s->inputs.data[i];
        const pare_array *a = in ? in[i] : NULL;
        if (!a && s->programs.len) continue; /* the program may not need it: plan.c */
        if (!a) return pare_fail(d, PARE_EINVAL, "engine.input", NULL, "input \"%s\" is missing", p->name);
        bool fits = a->dtype == p->dtype && (p->ndim < 0 || (uint32_t)p->ndim == a->ndim);
        for (int32_t k = 0; fits && k < p->ndim; k++)
            fits = p->dims[k].value < 0 || p->dims[k].value == a->dims[k] || (!k && pare_rows_fits(s, i, a->dims[0]));
        if (!fits) return bad_input(p, a, d);
        for (int32_t k = 0; k < p->ndim; k++) {
            if (p->dims[k].value >= 0 || !p->dims[k].symbol || strcmp(p->dims[k].symbol, "?") == 0) continue;
            pare_status st = check_symbol(s, in, i, k, d);
            if (st) return st;
        }
        if (s->decides[i] && a->count > PARE_HOST_OPERANDS_MAX)
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.data-dependent", NULL,
                             "the numbers of input \"%s\" decide shapes; of such there may be at most %d, not %llu",
                             p->name, PARE_HOST_OPERANDS_MAX, (unsigned long long)a->count);
    }
    return PARE_OK;
}

static bool fits_plan(const pare_session *s, const pare_plan *p, pare_array *const *in) {
    size_t at = 0;
    if (p->program != s->program) return false;
    for (size_t i = 0; i < s->inputs.len; i++) {
        const unsigned char *data = in[i] ? pare_array_data(in[i]) : NULL;
        if (!in[i] || p->key.data[at] < 0) {
            if (in[i] || p->key.data[at++] >= 0) return false;
            continue;
        }
        if (p->key.data[at++] != (int64_t)in[i]->ndim) return false;
        for (uint32_t k = 0; k < in[i]->ndim; k++)
            if (p->key.data[at++] != in[i]->dims[k]) return false;
        for (uint64_t k = 0; s->decides[i] && k < in[i]->nbytes; k += 8) {
            int64_t word = 0;
            memcpy(&word, data + k, in[i]->nbytes - k < 8 ? (size_t)(in[i]->nbytes - k) : 8);
            if (p->key.data[at++] != word) return false;
        }
    }
    return true;
}

pare_status pare_session_plan(pare_session *s, pare_array *const *in, pare_diags *d, pare_plan **out) {
    pare_plan *p = NULL;
    for (size_t i = 0; !p && i < s->n_plans; i++)
        if (fits_plan(s, s->plans[i], in)) p = s->plans[i];
    if (!p) {
        pare_status st = pare_plan_make(s, in, d, &p);
        if (st) return st;
        keep_plan(s, p);
    }
    p->used = ++s->clock;
    s->latest = *out = p;
    return PARE_OK;
}

pare_status pare_session_run_program(pare_session *s, size_t program, pare_array *const *in, pare_diags *d,
                                     pare_array **out) {
    pare_plan *p;
    pare_status st = check_inputs(s, in, d);
    if (st) return st;
    s->program = program;
    st = pare_session_plan(s, in, d, &p);
    s->program = 0;
    return st ? st : pare_plan_run(s, p, in, d, out);
}

pare_status pare_session_run(pare_session *s, pare_array *const *in, pare_diags *d, pare_array **out) {
    pare_plan *p;
    int64_t piece;
    pare_status st = check_inputs(s, in, d);
    if (!st) st = pare_rows_choose(s, in, d, &piece);
    if (st) return st;
    s->rows.latest = piece;
    if (piece) return pare_rows_run(s, in, piece, d, out);
    st = pare_session_plan(s, in, d, &p);
    return st ? st : pare_plan_run(s, p, in, d, out);
}

pare_status pare_session_ready(pare_session *s, pare_array *const *in, pare_diags *d) {
    pare_plan *p;
    int64_t piece;
    pare_status st = check_inputs(s, in, d);
    if (!st) st = pare_engine_inputs_fit(s, in, d);
    for (size_t i = 0; !st && i < s->inputs.len; i++)
        if (s->decides[i] && !in[i]->blob) return st; /* its numbers would be needed */
    if (!st) st = pare_rows_choose(s, in, d, &piece);
    if (st) return st;
    return piece ? pare_rows_plan(s, in, piece, d) : pare_session_plan(s, in, d, &p);
}
