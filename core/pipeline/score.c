/* pipeline/score.c - see score.h. */
#include "pipeline/score.h"

#include <inttypes.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

/* ---- models ---- */

/* The value that holds the logits, or NULL. */
static const pare_value *logits_of(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    const pare_value *v = g->outputs.len ? pare_model_value(m, g->outputs.data[0]) : NULL;
    const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    if (n && pare_node_is(n, "Softmax") && n->n_in) v = pare_model_value(m, n->in[0]);
    return v;
}

pare_status pare_scored_open(const pare_model *m, const pare_compute *c, uint32_t threads, pare_diags *d,
                             pare_scored *out) {
    const pare_value *logits = logits_of(m);
    const char *name = logits ? logits->name : NULL;
    pare_session_opts opts = pare_compute_session(c);
    *out = (pare_scored){0};
    if (!name) return pare_fail(d, PARE_EUNSUPPORTED, "score.output", NULL, "the model has no output");
    opts.threads = threads;
    opts.any_batch = true;
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
    /* a graph fixed at 1 takes any number, one by one if need be */
    if (out->target.ndim && p->dims[0].value > 1) out->batch = (uint32_t)p->dims[0].value;
    if (out->target.ndim && p->dims[0].value == 1 && pare_session_takes(out->session, BATCH)) out->target.dims[0] = -1;
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

pare_status pare_score_check_labels(const pare_data *set, const char *name, const pare_model *m, bool labels,
                                    pare_diags *d) {
    if (!pare_data_labelled(set))
        return labels ? pare_fail(d, PARE_EINVAL, "score.no-labels", "agreement, kl, sqnr and latency need none",
                                  "loss, accuracy and top5 need labels, and the set '%s' has none", name)
                      : PARE_OK;
    const pare_value *v = m ? logits_of(m) : NULL;
    uint64_t classes = 1;
    for (int32_t i = 1; v && i < v->ndim; i++)
        if (v->dims[i].value <= 0 || !pare_mul_ok(classes, (uint64_t)v->dims[i].value, &classes)) return PARE_OK;
    return v && v->ndim > 1 && classes < INT32_MAX ? pare_data_check_labels(set, (uint32_t)classes, d) : PARE_OK;
}

json_t *pare_score_classes_json(const pare_data *set, const pare_tally *t) {
    if (!t->labelled) return NULL;
    json_t *j = json_array();
    for (uint64_t i = 0; i < t->classes; i++) {
        const char *name = pare_data_class_name(set, (uint32_t)i);
        json_t *row = json_object();
        json_object_set_new(row, "class", name ? pare_json_str(name) : json_integer((json_int_t)i));
        json_object_set_new(row, "samples", json_integer((json_int_t)t->class_total[i]));
        json_object_set_new(row, "accuracy",
                            t->class_total[i] ? json_real((double)t->class_correct[i] / (double)t->class_total[i])
                                              : json_null());
        json_array_append_new(j, row);
    }
    return j;
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

/* Samples of a batch that hold NaN or infinity. A NaN may be lost on the way to the outputs. */
static uint64_t odd_samples(const pare_array *a, uint64_t n) {
    const uint32_t *bits = pare_array_data(a);
    uint64_t each = n ? a->count / n : 0, samples = 0;
    if (a->dtype != PARE_FLOAT) return 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t odd = 0;
        for (uint64_t k = i * each; k < (i + 1) * each; k++) odd += (bits[k] & 0x7f800000) == 0x7f800000;
        samples += odd != 0;
    }
    return samples;
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
                           "sample %" PRIu64 " of the set has label %" PRId64 "; the model knows %" PRIu64 " classes",
                           b->samples[i], labels[i], classes);
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
    uint64_t total = pare_data_count(set), first = 0, odd = 0;
    pare_status st = pare_reader_open(set, pre, &s->target, &opts, d, &r);
    while (!st) {
        pare_batch b = {0};
        st = pare_reader_next(r, d, &b);
        if (st || !b.n) break;
        st = score_batch(s, &b, first, total, baseline, keep, d, out);
        first += b.n;
        odd += odd_samples(b.images, b.n);
        pare_batch_free(&b);
        if (progress) pare_progress_update(progress, (double)first / (double)total, NULL);
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    uint64_t skipped = r ? pare_reader_skipped(r) : 0;
    pare_reader_close(r);
    if (!st && (st = pare_tally_together(out)))
        pare_fail(d, st, "score.reduce", NULL, "the processes of the run can't bring their counts together");
    if (!st && skipped)
        pare_say(d, PARE_WARNING, "score.skipped",
                 "%" PRIu64 " of %" PRIu64 " samples were left out: their images can't be decoded", skipped, total);
    if (!st && first < total && s->batch > 1)
        pare_say(d, PARE_NOTE, "score.short",
                 "the graph's batch is fixed at %u: %" PRIu64 " of %" PRIu64 " samples were run", s->batch, first,
                 total);
    if (!st && odd)
        pare_say(d, PARE_WARNING, "score.odd-samples",
                 "%" PRIu64 " of %" PRIu64 " samples hold NaN or infinity before the model sees them", odd, first);
    if (!st && out->not_finite)
        pare_say(d, PARE_WARNING, "score.not-finite",
                 "%s: %" PRIu64 " of %" PRIu64 " samples give outputs that are NaN or infinite, %" PRIu64
                 " of them NaN%s",
                 s->name ? s->name : "the model", out->not_finite, out->samples, out->nan,
                 out->nan ? ": those count as wrong, and loss, KL and SQNR have no value" : "");
    if (!st && baseline && !out->compared)
        pare_say(d, PARE_WARNING, "score.not-compared",
                 "%s: %" PRIu64 " outputs a sample, the baseline has %" PRIu64 ": they are not compared",
                 s->name ? s->name : "the model", out->classes, baseline->classes);
    return st;
}

/* ---- noise ---- */

bool pare_score_can_time(const pare_scored *s, pare_diags *d) {
    for (size_t i = 0; i < pare_session_n_inputs(s->session); i++) {
        const pare_port *p = pare_session_input(s->session, i);
        bool open = p->ndim < 0 || p->ndim > PARE_ARRAY_DIMS;
        for (int32_t k = 1; k < p->ndim && !open; k++) open = p->dims[k].value < 0;
        if (!open) continue;
        pare_say(d, PARE_WARNING, "score.not-timed",
                 "%s: not all sizes of input %s are fixed, so it is not timed (export it with fixed sizes)",
                 s->name ? s->name : "the model", p->name);
        return false;
    }
    return true;
}

/* Sizes to begin with, where some are open: those of images as most models take them. */
static char *example_of(const pare_port *p) {
    pare_sb b = {0};
    pare_sb_printf(&b, "say its sizes, as in --shape %s=", p->name);
    for (int32_t k = 0; k < (p->ndim < 0 ? 4 : p->ndim); k++) {
        int64_t known = p->ndim < 0 ? -1 : p->dims[k].value, usual = !k ? 1 : p->ndim == 3 ? 16 : k == 1 ? 3 : 224;
        pare_sb_printf(&b, "%s%" PRId64, k ? "," : "", known >= 0 ? known : usual);
    }
    char *text = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    return text;
}

static pare_status open_size(const pare_port *p, int32_t k, pare_diags *d) {
    char *hint = example_of(p);
    pare_status st = p->ndim < 0 || p->ndim > PARE_ARRAY_DIMS
                         ? pare_fail(d, PARE_EUNSUPPORTED, "score.shape", hint, "input %s has no known rank", p->name)
                         : pare_fail(d, PARE_EUNSUPPORTED, "score.shape", hint, "input %s: dimension %d (%s) is open",
                                     p->name, k, p->dims[k].symbol ? p->dims[k].symbol : "unnamed");
    free(hint);
    return st;
}

static pare_status noise_dims(const pare_session *s, const pare_port *p, uint32_t batch, pare_diags *d, int64_t *dims) {
    int64_t own = pare_session_own_batch(s) > 0 ? pare_session_own_batch(s) : 1;
    if (p->ndim < 0 || p->ndim > PARE_ARRAY_DIMS) return open_size(p, 0, d);
    for (int32_t k = 0; k < p->ndim; k++) {
        dims[k] = p->dims[k].value >= 0 ? p->dims[k].value : k ? -1 : batch ? (int64_t)batch : own;
        if (dims[k] < 0) return open_size(p, k, d);
    }
    if (batch && p->ndim && dims[0] == 1 && pare_session_takes(s, batch)) dims[0] = batch; /* one by one */
    if (!batch || !p->ndim || dims[0] == batch) return PARE_OK;
    return pare_fail(d, PARE_EINVAL, "score.batch", "export the model with an open batch dimension",
                     "batch %u was asked for, but input %s is fixed at %" PRId64, batch, p->name, dims[0]);
}

static pare_status no_input(const pare_port *p, pare_diags *d) {
    return pare_fail(d, PARE_EINVAL, "memory.input", "take a smaller batch", "no memory for input %s", p->name);
}

/* Before memory for the inputs is taken, the session says whether a run fits. What does not is the asker's mistake. */
static pare_status noise_fits(pare_session *s, pare_array *shapes, pare_diags *d) {
    size_t n = pare_session_n_inputs(s);
    pare_array **in = pare_xcalloc(n, sizeof *in);
    for (size_t i = 0; i < n; i++) in[i] = &shapes[i];
    pare_status st = pare_session_ready(s, in, d);
    free(in);
    return st == PARE_ENOMEM ? PARE_EINVAL : st;
}

pare_status pare_score_noise(pare_session *s, uint32_t batch, pare_diags *d, pare_array ***out) {
    return pare_score_noise_like(s, NULL, batch, d, out);
}

pare_status pare_score_noise_like(pare_session *s, const pare_score_shape *given, uint32_t batch, pare_diags *d,
                                  pare_array ***out) {
    size_t n = pare_session_n_inputs(s);
    pare_array **in = pare_xcalloc(n, sizeof *in), *shapes = pare_xcalloc(n, sizeof *shapes);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const pare_port *p = pare_session_input(s, i);
        shapes[i] = (pare_array){.refs = 1, .dtype = p->dtype, .ndim = (uint32_t)p->ndim};
        if (given && given[i].given) {
            shapes[i].ndim = given[i].ndim;
            memcpy(shapes[i].dims, given[i].dims, sizeof given[i].dims);
        } else {
            st = noise_dims(s, p, batch, d, shapes[i].dims);
        }
        if (!st && (!pare_dims_count(shapes[i].dims, shapes[i].ndim, &shapes[i].count) ||
                    !pare_dtype_nbytes(p->dtype, shapes[i].count, &shapes[i].nbytes)))
            st = no_input(p, d);
    }
    if (!st) st = noise_fits(s, shapes, d);
    for (size_t i = 0; i < n && !st; i++) {
        in[i] = pare_array_new(shapes[i].dtype, shapes[i].ndim, shapes[i].dims);
        if (!in[i]) {
            st = no_input(pare_session_input(s, i), d);
            break;
        }
        if (in[i]->nbytes) memset(pare_array_data_mut(in[i]), 0, (size_t)in[i]->nbytes);
        float *x = in[i]->dtype == PARE_FLOAT ? pare_array_data_mut(in[i]) : NULL;
        for (uint64_t k = 0; x && k < in[i]->count; k++) x[k] = (float)pare_random_double(1, i, k) - 0.5f;
    }
    free(shapes);
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
