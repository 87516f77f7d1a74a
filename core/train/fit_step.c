/* train/fit_step.c - one optimiser step: a batch's inputs, its runs, and what is done when memory runs out.
 *
 * See fit_parts.h. May use: fit_parts.h, augment.h.
 */
#include "train/augment.h"
#include "train/fit_parts.h"
#include "train/together.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs ---- */

static void put(pare_fit *f, const char *name, pare_array *a) {
    for (size_t i = 0; name && i < f->n_in; i++)
        if (strcmp(pare_session_input(f->session, i)->name, name) == 0) {
            pare_array_unref(f->in[i]);
            f->in[i] = a ? pare_array_ref(a) : NULL;
        }
}

static void put_away(pare_fit *f) {
    for (size_t i = 0; i < f->n_in; i++) {
        pare_array_unref(f->in[i]);
        f->in[i] = NULL;
    }
}

static pare_status no_memory(pare_fit *f) {
    return pare_fail(f->d, PARE_ENOMEM, "train.memory", "use a smaller batch", "no memory for a batch");
}

/* Rows from..from+n of an array: itself, where those are all. */
static pare_array *rows_of(pare_array *a, uint64_t from, uint64_t n) {
    if (!from && n == (uint64_t)a->dims[0]) return pare_array_ref(a);
    int64_t dims[PARE_ARRAY_DIMS];
    memcpy(dims, a->dims, a->ndim * sizeof *dims);
    uint64_t row = a->nbytes / (uint64_t)a->dims[0];
    dims[0] = (int64_t)n;
    pare_array *r = pare_array_new(a->dtype, a->ndim, dims);
    if (r) memcpy(pare_array_data_mut(r), (const char *)pare_array_data(a) + from * row, n * row);
    return r;
}

static pare_array *scalar_of(uint32_t dtype, double v) {
    pare_array *a = pare_array_new(dtype, 0, NULL);
    if (!a) return NULL;
    if (dtype == PARE_DOUBLE)
        memcpy(pare_array_data_mut(a), &v, sizeof v);
    else
        memcpy(pare_array_data_mut(a), &(float){(float)v}, sizeof(float));
    return a;
}

static pare_array *hyper_of(const pare_fit *f) {
    int64_t eight = 8;
    bool cycled = f->o.schedule.kind == PARE_SCHEDULE_ONECYCLE && f->o.schedule.cycle_momentum;
    bool beta1 = f->o.optimizer != PARE_SGD && !cycled;
    pare_array *a = pare_array_new(PARE_DOUBLE, 1, &eight);
    const double h[8] = {f->rate.lr,
                         beta1 ? f->o.beta1 : f->rate.momentum,
                         f->o.beta2,
                         f->o.epsilon,
                         f->o.weight_decay,
                         f->o.clip_norm,
                         (double)(f->step + 1),
                         1};
    if (a) memcpy(pare_array_data_mut(a), h, sizeof h);
    return a;
}

static uint32_t dtype_of(const pare_fit *f, const char *name) {
    for (size_t i = 0; i < f->n_in; i++)
        if (strcmp(pare_session_input(f->session, i)->name, name) == 0) return pare_session_input(f->session, i)->dtype;
    return PARE_FLOAT;
}

/* (N, K): a one for the label, smoothed. */
static pare_array *targets_of(const pare_fit *f, const pare_array *labels, uint32_t dtype) {
    int64_t dims[2] = {labels->dims[0], f->g.classes};
    pare_array *a = pare_array_new(dtype, 2, dims);
    if (!a) return NULL;
    double rest = f->o.label_smoothing / (double)f->g.classes;
    for (int64_t i = 0; i < dims[0]; i++) {
        int64_t label = ((const int64_t *)pare_array_data(labels))[i];
        for (int64_t k = 0; k < dims[1]; k++) {
            double v = rest + (k == label ? 1 - f->o.label_smoothing : 0);
            if (dtype == PARE_DOUBLE)
                ((double *)pare_array_data_mut(a))[i * dims[1] + k] = v;
            else
                ((float *)pare_array_data_mut(a))[i * dims[1] + k] = (float)v;
        }
    }
    return a;
}

/* All inputs but the samples of a micro-batch: whole arrays of the batch's rows. */
typedef struct fed {
    pare_array *images, *labels, *targets;
    pare_array **teachers;
} fed;

static void fed_free(const pare_fit *f, fed *x) {
    pare_array_unref(x->images);
    pare_array_unref(x->labels);
    pare_array_unref(x->targets);
    for (size_t i = 0; x->teachers && i < f->env.n_teachers; i++) pare_array_unref(x->teachers[i]);
    free(x->teachers);
}

static pare_status feed(pare_fit *f, pare_batch *b, fed *x) {
    *x = (fed){0};
    x->images = pare_array_ref(b->images);
    if (b->labels) x->labels = pare_array_ref(b->labels);
    if (f->g.targets || (f->g.wants_targets && b->labels)) {
        uint32_t dtype = dtype_of(f, f->g.targets ? f->g.targets : f->g.evaluated[0].seed);
        if (!(x->targets = targets_of(f, b->labels, dtype))) return no_memory(f);
    }
    pare_status st =
        pare_augment(&f->o.augment, f->env.preprocess, f->o.seed, f->step, b->samples, &x->images, x->targets, f->d);
    x->teachers = pare_xcalloc(f->env.n_teachers + 1, sizeof(pare_array *));
    for (size_t i = 0; !st && i < f->env.n_teachers; i++)
        st = f->env.teach ? f->env.teach(f->env.ctx, f->env.teachers[i], b, x->images, &x->teachers[i])
                          : pare_session_run(f->env.teachers[i], &x->images, f->d, &x->teachers[i]);
    return st;
}

/* ---- runs ---- */

static pare_status run(pare_fit *f, pare_train_program program, double *loss) {
    pare_array *out[3] = {NULL};
    pare_status st = pare_session_run_program(f->session, program, f->in, f->d, out);
    if (!st && loss) {
        const void *v = pare_array_data(out[0]);
        *loss = out[0]->dtype == PARE_DOUBLE ? *(const double *)v : (double)*(const float *)v;
    }
    for (size_t i = 0; i < 3; i++) pare_array_unref(out[i]);
    return st;
}

/* What Dropout draws by: the step, and which rows of the batch these are, so that micro-batches drop what it would. */
static pare_array *drawn_by(const pare_fit *f, uint64_t from, uint64_t n) {
    pare_array *a = pare_array_new(PARE_INT64, 0, NULL);
    int64_t v = pare_dropout_step(f->step, from, n);
    if (a) memcpy(pare_array_data_mut(a), &v, sizeof v);
    return a;
}

/* What the host's losses say of the rows that are put: their seeds are put as well. *loss: their sum. */
static pare_status evaluate(pare_fit *f, const fed *x, uint64_t from, uint64_t n, double *loss) {
    size_t n_own = f->g.n_teachers + 3;
    pare_array **own = pare_xcalloc(n_own, sizeof *own), **teachers = own + 3;
    for (size_t i = 0; i < f->g.n_evaluated; i++) put(f, f->g.evaluated[i].seed, NULL); /* those of other rows */
    pare_status st = pare_session_run_program(f->session, PARE_TRAIN_LOGITS, f->in, f->d, &own[0]);
    *loss = 0;
    if (!st && x->labels && !(own[1] = rows_of(x->labels, from, n))) st = no_memory(f);
    if (!st && x->targets && !(own[2] = rows_of(x->targets, from, n))) st = no_memory(f);
    for (size_t i = 0; i < f->g.n_teachers && !st; i++)
        if (!(teachers[i] = rows_of(x->teachers[i], from, n))) st = no_memory(f);
    for (size_t i = 0; i < f->g.n_evaluated && !st; i++) {
        const pare_train_evaluated *at = &f->g.evaluated[i];
        const pare_fit_loss *l = &f->o.losses[at->loss];
        const pare_evaluated_rows rows = {.logits = own[0],
                                          .labels = own[1],
                                          .targets = own[2],
                                          .teachers = teachers + at->first_teacher,
                                          .n_teachers = l->n_teachers,
                                          .epoch = (double)f->step / (double)f->per_epoch};
        pare_array *seed = NULL;
        double value = 0;
        st = pare_evaluated_run(&f->evaluated[i], &rows, f->d, &value, &seed);
        put(f, at->seed, seed);
        *loss += l->weight * value;
        pare_array_unref(seed);
    }
    for (size_t i = 0; i < n_own; i++) pare_array_unref(own[i]);
    free(own);
    return st;
}

static pare_status part(pare_fit *f, const fed *x, uint64_t from, uint64_t n, uint64_t all, bool whole,
                        pare_train_program program, double *loss) {
    pare_array *a[5] = {rows_of(x->images, from, n), NULL};
    pare_status st = PARE_OK;
    put(f, f->g.input, a[0]);
    if (f->g.labels) put(f, f->g.labels, a[1] = rows_of(x->labels, from, n));
    if (f->g.targets) put(f, f->g.targets, a[2] = rows_of(x->targets, from, n));
    if (f->g.share) put(f, f->g.share, a[3] = scalar_of(dtype_of(f, f->g.share), whole ? 1 : (double)n / (double)all));
    if (f->g.trained.step) put(f, f->g.trained.step, a[4] = drawn_by(f, from, n));
    if (!a[0] || (f->g.trained.step && !a[4]) || (f->g.labels && !a[1]) || (f->g.targets && !a[2]) ||
        (f->g.share && !a[3]))
        st = no_memory(f);
    for (size_t i = 0; i < 5; i++) pare_array_unref(a[i]);
    for (size_t i = 0; !st && i < f->g.n_teachers; i++) {
        pare_array *t = rows_of(x->teachers[i], from, n);
        put(f, f->g.teachers[i], t);
        if (!t) st = no_memory(f);
        pare_array_unref(t);
    }
    double outside = 0;
    if (!st && f->g.n_evaluated) st = evaluate(f, x, from, n, &outside);
    if (!st) st = run(f, program, loss);
    if (!st) *loss = (f->g.built ? *loss : 0) + outside;
    return st;
}

/* Gradients and the loss become those of all processes of the run: base/reduce.h. */
static pare_status together(pare_fit *f, double *loss) {
    pare_array **sums = pare_xcalloc(f->g.n_weights + 1, sizeof *sums);
    pare_status st = PARE_OK;
    size_t n = f->g.n_weights;
    for (size_t i = 0; i < n && !st; i++)
        st = pare_session_variable_get(f->session, f->g.weights[i].sum, f->d, &sums[i]);
    if (!st) st = pare_together_mean(PARE_REDUCED_GRADIENT, sums, n, f->d);
    for (size_t i = 0; i < n && !st; i++)
        st = pare_session_variable_set(f->session, f->g.weights[i].sum, sums[i], f->d);
    for (size_t i = 0; i < n; i++) pare_array_unref(sums[i]);
    free(sums);
    if (!st && (st = pare_reduce(PARE_REDUCED_METRIC, PARE_REDUCE_SUM, PARE_DOUBLE, loss, 1)))
        return pare_fail(f->d, st, "train.reduce", NULL, "the processes of the run can't bring their losses together");
    *loss /= pare_reduce_processes();
    return st;
}

static pare_status runs(pare_fit *f, const fed *x) {
    uint64_t all = (uint64_t)x->images->dims[0];
    pare_array *hyper = hyper_of(f);
    pare_status st = hyper ? PARE_OK : no_memory(f);
    put(f, f->g.hyper, hyper);
    if (f->g.epoch) {
        pare_array *epoch = scalar_of(dtype_of(f, f->g.epoch), (double)f->step / (double)f->per_epoch);
        put(f, f->g.epoch, epoch);
        if (!st && !epoch) st = no_memory(f);
        pare_array_unref(epoch);
    }
    bool look = f->sums && (f->still || pare_reduce_shared() || pare_fit_hook_due(f, PARE_FIT_BEFORE_UPDATE));
    if (!st && f->micro >= all && !look) {
        st = part(f, x, 0, all, all, true, PARE_TRAIN_STEP, &f->loss);
    } else if (!st) {
        double sum = 0, loss = 0;
        for (uint64_t from = 0; !st && from < all; from += f->micro) {
            uint64_t n = all - from < f->micro ? all - from : f->micro;
            st = part(f, x, from, n, all, false, from ? PARE_TRAIN_ADD : PARE_TRAIN_FIRST, &loss);
            sum += loss * (double)n / (double)all;
        }
        if (!st && pare_reduce_shared()) st = together(f, &sum);
        f->loss = sum;
        f->in_gradient = !st;
        if (!st && isfinite(sum)) st = pare_fit_hooks_call(f, PARE_FIT_BEFORE_UPDATE);
        f->in_gradient = false;
        put(f, f->g.hyper, hyper);
        if (!st && isfinite(sum) && !f->still) st = run(f, PARE_TRAIN_APPLY, NULL);
    }
    put_away(f);
    pare_array_unref(hyper);
    return st;
}

/* ---- when memory runs out ---- */

static void say(pare_fit *f, const char *line) {
    pare_say(f->d, PARE_WARNING, "train.memory", "%s", line);
    if (f->env.say) f->env.say(f->env.ctx, line);
}

/* A smaller micro-batch, or the host's device. false: there is nothing left to try. */
static bool give_way(pare_fit *f, pare_status *st) {
    char line[200];
    if (f->micro > 1) {
        f->micro = (f->micro + 1) / 2;
        snprintf(line, sizeof line, "memory is short on \"%s\": gradients are summed over micro-batches of %u%s",
                 f->compute->device, f->micro,
                 f->g.trained.n_batchnorm ? " (BatchNormalization sees these alone)" : "");
        say(f, line);
        *st = f->sums ? PARE_OK : pare_fit_build(f, true);
        return true;
    }
    if (f->compute->main.backend == f->compute->host.backend) return false;
    f->on_host = *f->compute;
    f->on_host.main = f->compute->host;
    f->on_host.device = "cpu";
    f->on_host.index = 0;
    snprintf(line, sizeof line, "memory is short on \"%s\" even for one sample: training goes on on the CPU",
             f->compute->device);
    f->compute = &f->on_host;
    f->micro = f->o.micro_batch ? f->o.micro_batch : f->o.batch;
    say(f, line);
    *st = pare_fit_build(f, f->sums);
    return true;
}

pare_status pare_fit_step(pare_fit *f, pare_batch *b) {
    fed x;
    pare_status st = feed(f, b, &x);
    if (!st) st = runs(f, &x);
    while (st == PARE_ENOMEM) {
        if (!give_way(f, &st)) break;
        if (!st) st = runs(f, &x);
    }
    fed_free(f, &x);
    if (st) return st;
    if (isfinite(f->loss)) return PARE_OK;
    f->epoch_loss = 0;
    st = pare_fit_finite(f, true);
    if (st) return st;
    return pare_fail(f->d, PARE_EDIVERGED, "train.diverged", "lower `lr`, or set `clip_norm`",
                     "training diverged: the loss is %g at step %llu (learning rate %g); the model is left as it was",
                     f->loss, (unsigned long long)f->step + 1, f->rate.lr);
}
