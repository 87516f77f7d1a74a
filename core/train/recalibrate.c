/* train/recalibrate.c - see recalibrate.h: a graph whose only effects are the statistics, run over a set. */
#include "train/recalibrate.h"
#include "train/together.h"

#include "engine/grad.h"
#include "model/edit.h"
#include "model/ops.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

typedef struct recalibration {
    const pare_recalibrate_opts *o;
    const pare_fit_env *env;
    pare_diags *d;
    pare_model *m; /* a clone, in training form */
    pare_trained trained;
    pare_session *session;
    pare_array **in; /* [input of the session]; all NULL but the samples' */
    size_t n_in, samples;
    uint32_t batch, first_batch; /* now; before memory ran out */
    uint64_t batches;
    const pare_compute *compute;
    pare_compute on_host; /* `compute` once the device's memory has run out for good */
    double **sum;         /* [statistic][element]: over the batches so far */
} recalibration;

/* ---- the graph ---- */

/* Statistics are those of inference: nothing is dropped. */
static void leave_dropout_out(pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        if (!pare_node_is(n, "Dropout") || !n->n_in || !n->in[0] || !n->n_out || !n->out[0]) continue;
        if (!pare_model_value(m, n->out[0])->is_output) pare_value_replace_uses(m, n->out[0], n->in[0]);
    }
}

/* Where batches had to be cut, so many small ones leave of the statistics what the whole one would have left. */
static void set_momentum(recalibration *r) {
    double keep = r->o->momentum <= 0 ? 0 : pow(r->o->momentum, (double)r->batch / r->first_batch);
    const pare_graph *g = pare_model_graph(r->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(r->m, g->nodes.data[i]);
        if (strcmp(n->op_type, "BatchNormTrain") == 0 && strcmp(n->domain, PARE_GRAD_DOMAIN) == 0)
            pare_attr_set_float(r->m, n->id, "momentum", (float)keep);
    }
}

static pare_status open_session(recalibration *r) {
    pare_program program = {.effects = r->trained.effects, .n_effects = r->trained.n_statistics};
    pare_session_opts opts = pare_compute_session(r->compute);
    opts.threads = r->env->threads;
    opts.programs = &program;
    opts.n_programs = 1;
    opts.variables = r->trained.statistics;
    opts.n_variables = r->trained.n_statistics;
    pare_status st = pare_session_open(r->m, &opts, r->d, &r->session);
    if (st) return st;
    r->n_in = pare_session_n_inputs(r->session);
    r->in = pare_xcalloc(r->n_in + 1, sizeof *r->in);
    size_t found = 0;
    for (size_t i = 0; i < r->n_in; i++)
        if (!r->trained.step || strcmp(pare_session_input(r->session, i)->name, r->trained.step) != 0) {
            r->samples = i;
            found++;
        }
    if (found == 1) return PARE_OK;
    return pare_fail(r->d, PARE_EUNSUPPORTED, "train.inputs", NULL,
                     "the model takes %zu inputs; sets of samples have one", found);
}

/* ---- the samples ---- */

static uint64_t samples_of(const recalibration *r) {
    uint64_t n = pare_data_count(r->env->set);
    return r->o->samples && r->o->samples < n ? r->o->samples : n;
}

static pare_status choose_batch(recalibration *r) {
    uint64_t n = samples_of(r);
    r->batch = r->o->batch ? r->o->batch : 128;
    if (n < r->batch) r->batch = (uint32_t)n;
    if (r->batch < 2)
        return pare_fail(r->d, PARE_EINVAL, "train.empty", "statistics are taken over at least 2 samples",
                         "there %s %llu sample%s to take statistics of", n == 1 ? "is" : "are", (unsigned long long)n,
                         n == 1 ? "" : "s");
    r->first_batch = r->batch;
    return PARE_OK;
}

static pare_status open_reader(recalibration *r, pare_reader **out) {
    const pare_port *in = pare_session_input(r->session, r->samples);
    pare_data_target target = {.dtype = in->dtype, .ndim = in->ndim > 0 ? (uint32_t)in->ndim : 0};
    for (uint32_t i = 0; i < target.ndim && i < PARE_ARRAY_DIMS; i++) target.dims[i] = in->dims[i].value;
    pare_reader_opts opts = {.batch = r->batch, .ahead = 2, .drop_last = true};
    return pare_reader_open(r->env->set, r->env->preprocess, &target, &opts, r->d, out);
}

/* The statistics of the batch just run; `a` gets what they come to by now. */
static pare_status take(recalibration *r, size_t i, uint64_t done, pare_array *a) {
    double *sum = r->sum[i];
    if (!sum) r->sum[i] = sum = pare_xcalloc((size_t)a->count + 1, sizeof *sum);
    for (uint64_t k = 0; k < a->count; k++) {
        void *data = pare_array_data_mut(a);
        double v = a->dtype == PARE_DOUBLE ? ((double *)data)[k] : (double)((float *)data)[k];
        sum[k] = r->o->momentum < 0 ? sum[k] + v : v;
        v = r->o->momentum < 0 ? sum[k] / (double)done : v;
        if (!isfinite(v))
            return pare_fail(r->d, PARE_EUNSUPPORTED, "train.diverged", NULL,
                             "\"%s\" would hold NaN or Inf; the model is left as it was", r->trained.statistics[i]);
        if (a->dtype == PARE_DOUBLE)
            ((double *)data)[k] = v;
        else
            ((float *)data)[k] = (float)v;
    }
    return PARE_OK;
}

static pare_status one_batch(recalibration *r, const pare_batch *b, uint64_t done, pare_array **last) {
    r->in[r->samples] = b->images;
    pare_status st = pare_session_run_program(r->session, 0, r->in, r->d, NULL);
    r->in[r->samples] = NULL;
    for (size_t i = 0; i < r->trained.n_statistics && !st; i++) {
        pare_array_unref(last[i]);
        last[i] = NULL;
        st = pare_session_variable_get(r->session, r->trained.statistics[i], r->d, &last[i]);
    }
    if (!st) st = pare_together_mean(PARE_REDUCED_STATISTIC, last, r->trained.n_statistics, r->d);
    for (size_t i = 0; i < r->trained.n_statistics && !st; i++) st = take(r, i, done, last[i]);
    return st;
}

static pare_status all_batches(recalibration *r, pare_array **last) {
    pare_reader *reader = NULL;
    pare_status st = open_reader(r, &reader);
    for (uint64_t done = 1; done <= r->batches && !st; done++) {
        pare_batch b = {0};
        st = pare_reader_next(reader, r->d, &b);
        if (!st && !b.n && done == 1)
            st = pare_fail(r->d, PARE_EINVAL, "train.empty", "use a smaller batch", "the set gives no whole batch");
        if (!st && !b.n) break; /* some could not be decoded, and were left out */
        if (!st) st = one_batch(r, &b, done, last);
        pare_batch_free(&b);
        if (!st && r->env->progress) r->env->progress(r->env->ctx, (double)done / (double)r->batches, "statistics");
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    pare_reader_close(reader);
    return st;
}

/* ---- home ---- */

static pare_status write_home(recalibration *r, pare_model *m, size_t i, const pare_array *a) {
    const char *name = r->trained.statistics[i];
    const pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, name));
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    void *to = NULL;
    if (!t || !a || t->dtype != a->dtype || t->count != a->count)
        return pare_fail(r->d, PARE_EINTERNAL, "train.home", NULL, "the model has no place for the statistics \"%s\"",
                         name);
    pare_status st = pare_tensor_overwrite(t, r->d, &to);
    if (!st) memcpy(to, pare_array_data(a), a->nbytes);
    return st;
}

/* ---- all of it, and again where memory runs out ---- */

static pare_status attempt(recalibration *r, pare_array **last) {
    set_momentum(r);
    r->batches = samples_of(r) / r->batch;
    pare_status st = open_session(r);
    return st ? st : all_batches(r, last);
}

static void close_attempt(recalibration *r, pare_array **last) {
    for (size_t i = 0; i < r->trained.n_statistics; i++) {
        pare_array_unref(last[i]);
        free(r->sum[i]);
        last[i] = NULL;
        r->sum[i] = NULL;
    }
    free(r->in);
    pare_session_close(r->session);
    r->in = NULL;
    r->session = NULL;
}

/* Smaller batches, or the host's device. false: there is nothing left to try. */
static bool give_way(recalibration *r) {
    const char *device = r->compute->device;
    char line[160];
    if (r->batch >= 4) {
        r->batch /= 2;
        snprintf(line, sizeof line, "memory is short on \"%s\": statistics are taken over batches of %u instead of %u",
                 device, r->batch, r->first_batch);
    } else if (r->compute->main.backend != r->compute->host.backend) {
        r->on_host = *r->compute;
        r->on_host.main = r->compute->host;
        r->on_host.device = "cpu";
        r->on_host.index = 0;
        r->compute = &r->on_host;
        r->batch = r->first_batch;
        snprintf(line, sizeof line, "memory is short on \"%s\": statistics are taken on the CPU", device);
    } else {
        return false;
    }
    pare_say(r->d, PARE_WARNING, "train.memory", "%s", line);
    if (r->env->say) r->env->say(r->env->ctx, line);
    return true;
}

/* What is said of memory running out is an error only if it ends here. */
static pare_status attempts(recalibration *r, pare_array **last) {
    for (;;) {
        pare_diags *all = r->d;
        r->d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_status st = attempt(r, last);
        pare_diags *said = r->d;
        r->d = all;
        bool again = st == PARE_ENOMEM && give_way(r);
        for (size_t i = 0; !again && i < pare_diags_count(said); i++) pare_diags_add(all, pare_diags_get(said, i));
        pare_diags_free(said);
        if (!again) return st;
        close_attempt(r, last);
    }
}

pare_status pare_recalibrate(pare_model *m, const pare_recalibrate_opts *o, const pare_fit_env *env, pare_diags *d,
                             uint64_t *n) {
    recalibration r = {.o = o, .env = env, .d = d, .m = pare_model_clone(m), .compute = env->compute};
    const pare_train_form form = {0};
    pare_array **last = NULL;
    leave_dropout_out(r.m);
    pare_status st = pare_grad_prepare(r.m, &form, d, &r.trained);
    *n = r.trained.n_batchnorm;
    if (!st && r.trained.n_statistics) {
        last = pare_xcalloc(r.trained.n_statistics, sizeof *last);
        r.sum = pare_xcalloc(r.trained.n_statistics, sizeof *r.sum);
        st = choose_batch(&r);
        if (!st) st = attempts(&r, last);
        for (size_t i = 0; i < r.trained.n_statistics && !st; i++) st = write_home(&r, m, i, last[i]);
        close_attempt(&r, last);
    }
    free(last);
    free(r.sum);
    pare_model_free(r.m);
    return st;
}
