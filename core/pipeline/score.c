/* pipeline/score.c - see score.h. */
#include "pipeline/score.h"

#include <inttypes.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

/* ---- models ---- */

/* The name of the value that holds the logits. */
static const char *logits_name(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    const pare_value *v = g->outputs.len ? pare_model_value(m, g->outputs.data[0]) : NULL;
    const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    if (n && pare_node_is(n, "Softmax") && n->n_in) v = pare_model_value(m, n->in[0]);
    return v ? v->name : NULL;
}

pare_status pare_scored_open(const pare_model *m, const pare_compute *c, uint32_t threads, pare_diags *d,
                             pare_scored *out) {
    const char *name = logits_name(m);
    pare_session_opts opts = pare_compute_session(c);
    *out = (pare_scored){0};
    if (!name) return pare_fail(d, PARE_EUNSUPPORTED, "score.output", NULL, "the model has no output");
    opts.threads = threads;
    opts.fetches = &name;
    opts.n_fetches = 1;
    pare_status st = pare_session_open(m, &opts, d, &out->session);
    if (st) return st;
    if (pare_session_n_inputs(out->session) != 1) {
        st = pare_fail(d, PARE_EUNSUPPORTED, "score.inputs", NULL,
                       "the model takes %zu inputs; sets of samples have one", pare_session_n_inputs(out->session));
        pare_scored_close(out);
        return st;
    }
    const pare_port *p = pare_session_input(out->session, 0);
    out->target.dtype = p->dtype;
    out->target.ndim = p->ndim > 0 && p->ndim <= PARE_ARRAY_DIMS ? (uint32_t)p->ndim : 0;
    for (uint32_t i = 0; i < out->target.ndim; i++) out->target.dims[i] = p->dims[i].value;
    if (out->target.ndim && p->dims[0].value > 0) out->batch = (uint32_t)p->dims[0].value;
    return PARE_OK;
}

void pare_scored_close(pare_scored *s) {
    pare_session_close(s->session);
    s->session = NULL;
}

void pare_logits_free(pare_logits *l) {
    free(l->data);
    *l = (pare_logits){0};
}

/* ---- sets ---- */

pare_status pare_score_set_open(const pare_pipeline *p, int32_t i, const pare_data_target *target, pare_diags *d,
                                pare_data **out) {
    const pare_pipeline_set *s = &p->data.sets[i];
    pare_data *from = NULL;
    pare_status st = s->from >= 0 ? pare_score_set_open(p, s->from, target, d, &from) : PARE_OK;
    if (!st) {
        pare_data_source source = *s->source;
        source.from = from;
        st = pare_data_open(&source, target, d, out);
        if (st && st != PARE_ECANCELLED)
            pare_say_at(d, PARE_NOTE, s->source_at, "score.set", NULL, "this is where the set '%s' is described",
                        s->name);
    }
    pare_data_free(from); /* its files are shared */
    return st;
}

/* ---- scoring ---- */

static pare_status check_logits(const pare_array *a, uint64_t n, pare_diags *d) {
    if (a->dtype == PARE_FLOAT && n && a->count % n == 0 && a->ndim >= 1 && (uint64_t)a->dims[0] == n) return PARE_OK;
    return pare_fail(d, PARE_EUNSUPPORTED, "score.logits", NULL,
                     "the model's output is no row of float32 class scores for each sample");
}

/* The rows of `kept` that a batch's samples stand in, gathered into `room`; samples come in the set's order. */
static const float *rows_of(const pare_logits *kept, uint64_t first, uint64_t n) {
    return kept && first + n <= kept->count ? kept->data + first * kept->classes : NULL;
}

static pare_status keep_rows(pare_logits *keep, uint64_t total, uint64_t first, uint64_t n, uint64_t classes,
                             const float *x, pare_diags *d) {
    uint64_t floats;
    if (!keep->data) {
        keep->classes = classes;
        keep->data = pare_mul_ok(total, classes, &floats) && floats <= SIZE_MAX / sizeof(float)
                         ? pare_try_alloc((size_t)floats * sizeof(float))
                         : NULL;
        if (!keep->data)
            return pare_fail(d, PARE_ENOMEM, "memory.logits", "measure on fewer samples (take:)",
                             "no memory for the outputs of %" PRIu64 " samples", total);
    }
    memcpy(keep->data + first * classes, x, (size_t)(n * classes) * sizeof *x);
    keep->count = first + n;
    return PARE_OK;
}

static pare_status score_batch(pare_scored *s, const pare_batch *b, uint64_t first, uint64_t total,
                               const pare_logits *baseline, pare_logits *keep, pare_diags *d, pare_tally *out) {
    pare_array *in[] = {b->images}, *got[1] = {NULL};
    pare_status st = pare_session_run(s->session, in, d, got);
    if (st) return st;
    st = check_logits(got[0], b->n, d);
    uint64_t classes = st ? 0 : got[0]->count / b->n;
    const float *x = pare_array_data(got[0]);
    const int64_t *labels = b->labels ? pare_array_data(b->labels) : NULL;
    for (uint64_t i = 0; i < b->n && !st && labels; i++)
        if (labels[i] >= 0 && (uint64_t)labels[i] >= classes)
            st = pare_fail(d, PARE_EINVAL, "score.label", "does this set belong to this model?",
                           "sample %" PRIu64 " has label %" PRId64 "; the model knows %" PRIu64 " classes", first + i,
                           labels[i], classes);
    const float *base = baseline && baseline->classes == classes ? rows_of(baseline, first, b->n) : NULL;
    if (!st) pare_tally_add(out, x, b->n, classes, labels, base);
    if (!st && keep) st = keep_rows(keep, total, first, b->n, classes, x, d);
    pare_array_unref(got[0]);
    return st;
}

pare_status pare_score(pare_scored *s, const pare_data *set, const pare_data_preprocess *pre,
                       const pare_logits *baseline, pare_logits *keep, pare_progress *progress, pare_diags *d,
                       pare_tally *out) {
    pare_reader_opts opts = {.batch = s->batch ? s->batch : BATCH, .threads = 1, .drop_last = s->batch > 1};
    pare_reader *r = NULL;
    uint64_t total = pare_data_count(set), first = 0;
    pare_status st = pare_reader_open(set, pre, &s->target, &opts, d, &r);
    while (!st) {
        pare_batch b = {0};
        st = pare_reader_next(r, d, &b);
        if (st || !b.n) break;
        st = score_batch(s, &b, first, total, baseline, keep, d, out);
        first += b.n;
        pare_batch_free(&b);
        if (progress) pare_progress_update(progress, (double)first / (double)total, NULL);
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    pare_reader_close(r);
    if (!st && first < total && s->batch > 1)
        pare_say(d, PARE_NOTE, "score.short",
                 "the graph's batch is fixed at %u: %" PRIu64 " of %" PRIu64 " samples were run", s->batch, first,
                 total);
    if (!st && out->not_finite)
        pare_say(d, PARE_WARNING, "score.not-finite",
                 "%" PRIu64 " of %" PRIu64 " samples give outputs that are NaN or infinite", out->not_finite,
                 out->samples);
    if (!st && baseline && !out->compared)
        pare_say(d, PARE_WARNING, "score.not-compared",
                 "the outputs have other sizes than the baseline's: not compared");
    return st;
}

/* ---- noise ---- */

pare_status pare_score_noise(const pare_session *s, uint32_t batch, pare_diags *d, pare_array ***out) {
    size_t n = pare_session_n_inputs(s);
    pare_array **in = pare_xcalloc(n, sizeof *in);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const pare_port *p = pare_session_input(s, i);
        int64_t dims[PARE_ARRAY_DIMS];
        if (p->ndim < 0 || p->ndim > PARE_ARRAY_DIMS)
            st = pare_fail(d, PARE_EUNSUPPORTED, "score.shape", NULL, "input %s has no known rank", p->name);
        for (int32_t k = 0; k < p->ndim && !st; k++) {
            dims[k] = p->dims[k].value >= 0 ? p->dims[k].value : k ? -1 : batch ? (int64_t)batch : 1;
            if (dims[k] < 0)
                st = pare_fail(d, PARE_EUNSUPPORTED, "score.shape", "export the model with fixed sizes",
                               "input %s: dimension %d (%s) is open", p->name, k,
                               p->dims[k].symbol ? p->dims[k].symbol : "unnamed");
        }
        if (!st && batch && p->ndim && dims[0] != batch)
            st = pare_fail(d, PARE_EINVAL, "score.batch", "export the model with an open batch dimension",
                           "batch %u was asked for, but input %s is fixed at %" PRId64, batch, p->name, dims[0]);
        if (st) break;
        in[i] = pare_array_new(p->dtype, (size_t)p->ndim, dims);
        if (!in[i]) {
            st = pare_fail(d, PARE_ENOMEM, "memory.input", "take a smaller batch", "no memory for input %s", p->name);
            break;
        }
        if (in[i]->nbytes) memset(pare_array_data_mut(in[i]), 0, (size_t)in[i]->nbytes);
        float *x = p->dtype == PARE_FLOAT ? pare_array_data_mut(in[i]) : NULL;
        for (uint64_t k = 0; x && k < in[i]->count; k++) x[k] = (float)pare_random_double(1, i, k) - 0.5f;
    }
    if (st) {
        pare_score_noise_free(s, in);
        return st;
    }
    *out = in;
    return PARE_OK;
}

void pare_score_noise_free(const pare_session *s, pare_array **in) {
    for (size_t i = 0; in && i < pare_session_n_inputs(s); i++) pare_array_unref(in[i]);
    free(in);
}
