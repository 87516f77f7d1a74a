/* plugin/runner.c - see runner.h. */
#include "plugin/runner.h"

#include "model/infer.h"
#include "model/layers.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of a batch that the runner chooses: at most so many samples, and so many bytes of values asked for. */
enum { MOST_ROWS = 32, MOST_BYTES = 32 << 20 };

/* Where a value comes from. */
typedef struct source {
    enum { FROM_RUN, FROM_INPUT, FROM_CONSTANT } kind;
    size_t fetch;         /* FROM_RUN: which of the session's outputs */
    pare_array *constant; /* FROM_CONSTANT; owned */
    int64_t strides[PARE_ARRAY_DIMS];
} source;

struct pare_runner {
    const pare_run_services *services;
    pare_model *m; /* as it was at open */
    const pare_data *set;
    const pare_data_preprocess *pre;
    pare_data_target target;
    uint64_t *order;           /* which samples of the set, in the order of the run */
    uint64_t total, at, given; /* samples of the run; where in the order the next batch begins; handed out so far */
    uint32_t batch, wanted;    /* now; before memory ran out */
    bool fixed, finite;
    const pare_compute *compute;
    pare_session *session;
    pare_reader *reader; /* NULL: to be opened at `at` */
    PARE_VEC(const char *) fetches;
    PARE_VEC(source) values;
    pare_batch latest;
    /* [fetch]: of the latest batch, and of the one before it, which goes when the next has been run: memory that is
     * freed in between would go back to the system, and come back page by page. */
    pare_array **out, **before;
    bool have;
    pare_arena arena;
};

/* ---- what is looked at ---- */

static pare_status add_value(pare_runner *r, uint32_t id, pare_diags *d) {
    const pare_value *v = pare_model_value(r->m, id);
    source s = {.kind = FROM_RUN};
    pare_const c = pare_const_of(r->m, id);
    if (v->other_type) return pare_fail(d, PARE_EUNSUPPORTED, "run.value", NULL, "\"%s\" is no tensor", v->name);
    if (c.tensor && c.value == id) {
        const void *aligned;
        pare_tensor *t = pare_model_tensor(r->m, c.tensor);
        s.kind = FROM_CONSTANT;
        if (!pare_tensor_read(t, NULL, &aligned)) s.constant = pare_array_of_tensor(t);
        if (!s.constant) return pare_fail(d, PARE_ENOMEM, "run.memory", NULL, "no memory for \"%s\"", v->name);
    } else if (v->is_input) {
        s.kind = FROM_INPUT;
    } else {
        while (s.fetch < r->fetches.len && strcmp(r->fetches.data[s.fetch], v->name) != 0) s.fetch++;
        if (s.fetch == r->fetches.len) pare_vec_push(&r->fetches, pare_arena_strdup(&r->arena, v->name));
    }
    pare_vec_push(&r->values, s);
    return PARE_OK;
}

static pare_status add_values(pare_runner *r, const pare_runner_opts *o, pare_diags *d) {
    const pare_graph *g = pare_model_graph(r->m, PARE_MAIN_GRAPH);
    uint64_t n = o->values ? o->n_values : g->outputs.len;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n && !st; i++) st = add_value(r, o->values ? o->values[i] : g->outputs.data[i], d);
    return st;
}

/* ---- the session ---- */

static pare_status open_session(pare_runner *r, pare_diags *d) {
    pare_session_opts opts = pare_compute_session(r->compute);
    opts.any_batch = true;
    if (r->fetches.len) { /* else only inputs are looked at: the session is there for what it takes */
        opts.fetches = r->fetches.data;
        opts.n_fetches = r->fetches.len;
    }
    pare_session_close(r->session);
    r->session = NULL;
    pare_status st = pare_session_open(r->m, &opts, d, &r->session);
    if (st) return st;
    size_t n = pare_session_n_inputs(r->session);
    if (n == 1) return PARE_OK;
    pare_sb b = {0};
    for (size_t i = 0; i < n && i < 8; i++)
        pare_sb_printf(&b, "%s%s", i ? ", " : " (", pare_session_input(r->session, i)->name);
    if (n) pare_sb_add(&b, n > 8 ? ", ...)" : ")");
    st = pare_fail(d, PARE_EUNSUPPORTED, "run.inputs", NULL, "the model takes %zu inputs%s; sets of samples have one",
                   n, pare_sb_str(&b));
    pare_sb_free(&b);
    return st;
}

static void take_target(pare_runner *r) {
    const pare_port *p = pare_session_input(r->session, 0);
    r->target = (pare_data_target){.dtype = p->dtype};
    r->target.ndim = p->ndim > 0 && p->ndim <= PARE_ARRAY_DIMS ? (uint32_t)p->ndim : 0;
    for (uint32_t i = 0; i < r->target.ndim; i++) r->target.dims[i] = p->dims[i].value;
}

/* Bytes of the values asked for, for one sample; those of unknown size count as nothing. */
static uint64_t row_bytes(const pare_runner *r) {
    const pare_graph *g = pare_model_graph(r->m, PARE_MAIN_GRAPH);
    uint64_t sum = 0;
    for (size_t i = 0; i < r->fetches.len; i++) {
        const pare_value *v = pare_model_value(r->m, pare_graph_find(r->m, g->id, r->fetches.data[i]));
        uint64_t n = v ? pare_dtype_bits(v->dtype) / 8 : 0;
        for (int32_t k = 1; v && k < v->ndim; k++)
            if (v->dims[k].value < 0 || !pare_mul_ok(n, (uint64_t)v->dims[k].value, &n)) n = 0;
        if (!pare_add_ok(sum, n, &sum)) return UINT64_MAX;
    }
    return sum;
}

static pare_status choose_batch(pare_runner *r, uint32_t wanted, pare_diags *d) {
    const pare_port *p = pare_session_input(r->session, 0);
    uint64_t each = row_bytes(r), fits = each ? MOST_BYTES / each : MOST_ROWS;
    r->batch = wanted ? wanted : fits < 1 ? 1 : fits > MOST_ROWS ? MOST_ROWS : (uint32_t)fits;
    if (r->batch > r->total) r->batch = (uint32_t)r->total;
    r->fixed = false;
    /* the last batch may hold any number of them */
    if (p->ndim > 0 && !(pare_session_takes(r->session, r->batch) && pare_session_takes(r->session, 1))) {
        uint64_t own = (uint64_t)p->dims[0].value, short_by = own ? r->total % own : 0;
        r->fixed = true;
        r->batch = own && own < UINT32_MAX ? (uint32_t)own : 1;
        if (own > r->total)
            return pare_fail(d, PARE_EINVAL, "run.batch", "export the model with an open batch dimension",
                             "the graph's batch is fixed at %" PRIu64 ", and there %s %" PRIu64 " sample%s", own,
                             r->total == 1 ? "is" : "are", r->total, r->total == 1 ? "" : "s");
        if (short_by)
            pare_say(d, PARE_NOTE, "run.short",
                     "the graph's batch is fixed at %" PRIu64 ": %" PRIu64 " of %" PRIu64 " samples are run", own,
                     r->total - short_by, r->total);
        r->total -= short_by;
    }
    r->wanted = r->batch;
    return PARE_OK;
}

/* ---- opening ---- */

static pare_status open_all(pare_runner *r, const pare_runner_opts *o, pare_diags *d) {
    pare_status st = add_values(r, o, d);
    r->out = pare_xcalloc(r->fetches.len + 1, sizeof *r->out);
    r->before = pare_xcalloc(r->fetches.len + 1, sizeof *r->before);
    if (!st) st = r->services->compute(r->services->ctx, false, &r->compute);
    if (!st) st = open_session(r, d);
    if (st) return st;
    take_target(r);
    st = r->services->set(r->services->ctx, o->data, &r->target, o->samples, &r->set, &r->pre);
    if (!st) st = pare_data_draw(r->set, o->samples, o->seed, d, &r->order, &r->total);
    if (!st) st = choose_batch(r, o->batch, d);
    return st;
}

pare_status pare_runner_open(const pare_model *m, const pare_runner_opts *o, const pare_run_services *services,
                             pare_diags *d, pare_runner **out) {
    pare_runner *r = pare_xcalloc(1, sizeof *r);
    r->services = services;
    r->m = pare_model_clone(m);
    r->finite = o->finite;
    pare_model_infer(r->m, NULL); /* for the size of values; a session says what is wrong */
    pare_status st = open_all(r, o, d);
    if (st) {
        pare_runner_close(r);
        return st;
    }
    *out = r;
    return PARE_OK;
}

static void unref_all(pare_array **a, size_t n) {
    for (size_t i = 0; a && i < n; i++) {
        pare_array_unref(a[i]);
        a[i] = NULL;
    }
}

/* Its values may wait for the next ones. */
static void put_aside(pare_runner *r) {
    pare_array **old = r->before;
    unref_all(old, r->fetches.len);
    r->before = r->out;
    r->out = old;
    pare_batch_free(&r->latest);
    r->have = false;
}

static void forget_batch(pare_runner *r) {
    unref_all(r->out, r->fetches.len);
    unref_all(r->before, r->fetches.len);
    pare_batch_free(&r->latest);
    r->have = false;
}

void pare_runner_close(pare_runner *r) {
    if (!r) return;
    forget_batch(r);
    pare_reader_close(r->reader);
    pare_session_close(r->session);
    for (size_t i = 0; i < r->values.len; i++) pare_array_unref(r->values.data[i].constant);
    pare_vec_free(&r->values);
    pare_vec_free(&r->fetches);
    free(r->out);
    free(r->before);
    free(r->order);
    pare_model_free(r->m);
    pare_arena_free(&r->arena);
    free(r);
}

void pare_runner_rewind(pare_runner *r) {
    forget_batch(r);
    pare_reader_close(r->reader);
    r->reader = NULL;
    r->at = r->given = 0;
}

/* ---- running ---- */

static pare_status open_reader(pare_runner *r, pare_diags *d) {
    pare_reader_opts opts = {.batch = r->batch,
                             .threads = 1,
                             .ahead = 2,
                             .drop_last = r->fixed && r->batch > 1,
                             .only = r->order + r->at,
                             .n_only = r->total - r->at};
    return r->reader ? PARE_OK : pare_reader_open(r->set, r->pre, &r->target, &opts, d, &r->reader);
}

/* Of a batch: the first sample that holds NaN or Inf, b->n: none does. */
static uint64_t first_odd(const pare_batch *b) {
    const unsigned char *data = pare_array_data(b->images);
    uint64_t each = b->n ? b->images->count / b->n : 0, size = pare_dtype_bits(b->images->dtype) / 8;
    for (uint64_t i = 0; i < b->n && b->images->dtype == PARE_FLOAT; i++)
        for (uint64_t k = i * each; k < (i + 1) * each; k++) {
            uint32_t bits;
            memcpy(&bits, data + k * size, sizeof bits);
            if ((bits & 0x7f800000) == 0x7f800000) return i;
        }
    return b->n;
}

static pare_status check_finite(pare_runner *r, const pare_batch *b, pare_diags *d) {
    uint64_t odd = r->finite ? first_odd(b) : b->n;
    if (odd == b->n) return PARE_OK;
    char *name = pare_data_sample_name(r->set, b->samples[odd]);
    pare_status st = pare_fail(d, PARE_EINVAL, "run.not-finite", "leave it out of the set, or mend it",
                               "%s holds NaN or infinity before the model sees it", name);
    free(name);
    return st;
}

static pare_status run_batch(pare_runner *r, pare_diags *d) {
    pare_status st = open_reader(r, d);
    if (!st) st = pare_reader_next(r->reader, d, &r->latest);
    if (st) return st;
    if (!r->latest.n) return PARE_ENOTFOUND;
    st = check_finite(r, &r->latest, d);
    if (!st && r->fetches.len) st = pare_session_run(r->session, &r->latest.images, d, r->out);
    return st;
}

/* Half the batch, or else the CPU. PARE_ENOMEM: there is nothing left to try. */
static pare_status after_memory(pare_runner *r, pare_diags *d) {
    forget_batch(r);
    pare_reader_close(r->reader);
    r->reader = NULL;
    if (!r->fixed && r->batch > 1) {
        pare_say(d, PARE_NOTE, "run.memory", "a batch of %u does not fit in memory: it goes on with %u", r->batch,
                 r->batch / 2);
        r->batch /= 2;
        return PARE_OK;
    }
    if (r->compute->main.backend == r->compute->host.backend) return PARE_ENOMEM;
    pare_say(d, PARE_WARNING, "run.memory", "there is not enough memory on %s: it goes on with the CPU",
             r->compute->device);
    pare_status st = r->services->compute(r->services->ctx, true, &r->compute);
    if (!st) st = open_session(r, d);
    r->batch = r->wanted;
    return st;
}

/* Errors of a try that is made again are of no use to anybody. */
static void pass_on(pare_diags *said, pare_diags *d, bool errors) {
    for (size_t i = 0; i < pare_diags_count(said); i++) {
        const pare_diag_item *it = pare_diags_get(said, i);
        if (errors || it->severity != PARE_ERROR) pare_diags_add(d, it);
    }
}

static pare_status try_batch(pare_runner *r, pare_diags *d) {
    for (;;) {
        pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
        put_aside(r);
        pare_status st = run_batch(r, said), next = st == PARE_ENOMEM ? after_memory(r, d) : st;
        bool again = st == PARE_ENOMEM && !next;
        pass_on(said, d, !again);
        pare_diags_free(said);
        if (!again) return next;
    }
}

pare_status pare_runner_next(pare_runner *r, pare_diags *d, pare_runner_batch *out) {
    pare_status st = r->at >= r->total ? PARE_ENOTFOUND : pare_cancelled() ? PARE_ECANCELLED : try_batch(r, d);
    if (st) {
        if (st == PARE_ENOTFOUND) r->at = r->total;
        forget_batch(r);
        return st;
    }
    const pare_batch *b = &r->latest;
    while (r->at < r->total && r->order[r->at] != b->samples[b->n - 1]) r->at++; /* those left out lie before it */
    r->at++;
    *out = (pare_runner_batch){.first = r->given,
                               .n = b->n,
                               .samples = b->samples,
                               .labels = b->labels ? pare_array_data(b->labels) : NULL,
                               .total = r->total};
    r->given += b->n;
    r->have = true;
    return PARE_OK;
}

/* ---- looking ---- */

pare_status pare_runner_value(pare_runner *r, uint64_t i, pare_view *out) {
    if (i >= r->values.len || !r->have) return PARE_EINVAL;
    source *s = &r->values.data[i];
    const pare_array *a = s->kind == FROM_RUN     ? r->out[s->fetch]
                          : s->kind == FROM_INPUT ? r->latest.images
                                                  : s->constant;
    int64_t stride = 1;
    for (uint32_t k = a->ndim; k-- > 0;) {
        s->strides[k] = stride;
        stride *= a->dims[k] > 0 ? a->dims[k] : 1;
    }
    *out = (pare_view){.dtype = a->dtype,
                       .device_type = PARE_DEVICE_CPU,
                       .data = (void *)(uintptr_t)pare_array_data(a),
                       .dims = a->dims,
                       .strides = s->strides,
                       .count = a->count,
                       .nbytes = a->nbytes,
                       .ndim = a->ndim};
    return PARE_OK;
}

const char *pare_runner_sample_name(pare_runner *r, uint64_t sample) {
    if (sample >= pare_data_count(r->set)) return NULL;
    char *name = pare_data_sample_name(r->set, sample);
    const char *kept = pare_arena_strdup(&r->arena, name);
    free(name);
    return kept;
}
