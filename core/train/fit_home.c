/* train/fit_home.c - weights out of the device and back: looking, masks, the best epoch, home. See fit_parts.h. */
#include "train/fit_parts.h"
#include "train/together.h"

#include "model/edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pare_train_weight *find(const pare_fit *f, const char *tensor) {
    for (size_t i = 0; i < f->g.n_weights; i++)
        if (strcmp(f->g.weights[i].name, tensor) == 0) return &f->g.weights[i];
    return NULL;
}

static pare_status not_trained(pare_fit *f, const char *tensor) {
    return pare_fail(f->d, PARE_ENOTFOUND, "train.tensor", NULL, "\"%s\" is not trained", tensor);
}

pare_status pare_fit_weights_get(pare_fit *f, const char *tensor, pare_array **out) {
    if (!find(f, tensor)) return not_trained(f, tensor);
    return pare_session_variable_get(f->session, tensor, f->d, out);
}

pare_status pare_fit_weights_set(pare_fit *f, const char *tensor, const pare_array *a) {
    if (!find(f, tensor)) return not_trained(f, tensor);
    return pare_session_variable_set(f->session, tensor, a, f->d);
}

pare_status pare_fit_gradient(pare_fit *f, const char *tensor, pare_array **out) {
    const pare_train_weight *w = find(f, tensor);
    if (!w) return not_trained(f, tensor);
    if (!f->in_gradient || !w->sum)
        return pare_fail(f->d, PARE_EINVAL, "train.gradient", NULL,
                         "gradients are there before an update alone (PARE_FIT_BEFORE_UPDATE)");
    return pare_session_variable_get(f->session, w->sum, f->d, out);
}

/* ---- masks ---- */

pare_status pare_fit_mask_get(pare_fit *f, const char *tensor, pare_array **out) {
    const pare_train_weight *w = find(f, tensor);
    if (!w) return not_trained(f, tensor);
    if (w->mask) return pare_session_variable_get(f->session, w->mask, f->d, out);
    int64_t bytes = (int64_t)((w->count + 7) / 8);
    *out = pare_array_new(PARE_UINT8, 1, &bytes);
    if (!*out) return pare_fail(f->d, PARE_ENOMEM, "train.memory", NULL, "no memory for a mask");
    memset(pare_array_data_mut(*out), 0xff, (size_t)bytes);
    return PARE_OK;
}

/* Elements whose bit is off become 0. */
static pare_status clear(pare_fit *f, const char *variable, const unsigned char *bits, uint64_t n) {
    pare_array *a = NULL;
    pare_status st = variable ? pare_session_variable_get(f->session, variable, f->d, &a) : PARE_OK;
    if (st || !a) return st;
    for (uint64_t i = 0; i < n; i++) {
        if (bits[i / 8] >> i % 8 & 1) continue;
        if (a->dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(a))[i] = 0;
        else
            ((float *)pare_array_data_mut(a))[i] = 0;
    }
    st = pare_session_variable_set(f->session, variable, a, f->d);
    pare_array_unref(a);
    return st;
}

pare_status pare_fit_mask_set(pare_fit *f, const char *tensor, const pare_array *bits) {
    const pare_train_weight *w = find(f, tensor);
    if (!w) return not_trained(f, tensor);
    if (!w->mask)
        return pare_fail(f->d, PARE_EINVAL, "train.mask", NULL, "no mask is kept for \"%s\" in this training", tensor);
    pare_array *old = NULL;
    pare_status st = pare_session_variable_get(f->session, w->mask, f->d, &old);
    /* what is off now, or was until now, starts anew from 0 */
    unsigned char *both = NULL;
    if (!st) {
        both = pare_xmalloc(bits->nbytes + 1);
        for (uint64_t i = 0; i < bits->nbytes; i++)
            both[i] =
                ((const unsigned char *)pare_array_data(bits))[i] & ((const unsigned char *)pare_array_data(old))[i];
        st = pare_session_variable_set(f->session, w->mask, bits, f->d);
    }
    if (!st) st = clear(f, w->name, both, w->count);
    if (!st) st = clear(f, w->velocity, both, w->count);
    if (!st) st = clear(f, w->second, both, w->count);
    if (!st) st = clear(f, w->ema, both, w->count);
    /* the best epoch is one of weights under these masks */
    pare_fit_best_free(f);
    f->has_best = false;
    f->since_best = 0;
    pare_array_unref(old);
    free(both);
    return st;
}

/* ---- is all well? ---- */

static bool finite(const pare_array *a) {
    for (uint64_t i = 0; i < a->count; i++) {
        double v = a->dtype == PARE_DOUBLE ? ((const double *)pare_array_data(a))[i]
                                           : (double)((const float *)pare_array_data(a))[i];
        if (!isfinite(v)) return false;
    }
    return true;
}

static pare_status finite_all(pare_fit *f, bool sums, uint64_t step) {
    for (size_t i = 0; i < f->g.n_weights; i++) {
        const pare_train_weight *w = &f->g.weights[i];
        pare_array *a = NULL;
        pare_status st = pare_session_variable_get(f->session, sums ? w->sum : w->name, f->d, &a);
        if (st) return st;
        bool good = finite(a);
        pare_array_unref(a);
        if (!good)
            return pare_fail(f->d, PARE_EDIVERGED, "train.diverged", "lower `lr`, or set `clip_norm`",
                             "training diverged by step %llu (learning rate %g): %s\"%s\" is the first %s that holds "
                             "NaN or Inf; the model is left as it was",
                             (unsigned long long)step, f->rate.lr, sums ? "that of " : "", w->name,
                             sums ? "gradient" : "tensor");
    }
    return PARE_OK;
}

pare_status pare_fit_finite(pare_fit *f, bool within) {
    uint64_t step = f->step + within;
    pare_status st = finite_all(f, false, step);
    return st || !within || !f->sums ? st : finite_all(f, true, step);
}

/* ---- home ---- */

static pare_status write_tensor(pare_fit *f, pare_model *into, const char *name, const pare_array *a) {
    const pare_value *v = pare_model_value(into, pare_graph_find(into, PARE_MAIN_GRAPH, name));
    pare_tensor *t = v ? pare_model_tensor(into, v->tensor) : NULL;
    void *to = NULL;
    if (!t || t->dtype != a->dtype || t->count != a->count)
        return pare_fail(f->d, PARE_EINTERNAL, "train.home", NULL, "the model has no place for the trained \"%s\"",
                         name);
    pare_status st = pare_tensor_overwrite(t, f->d, &to);
    if (!st) memcpy(to, pare_array_data(a), a->nbytes);
    return st;
}

/* The i-th thing that training changes: weights, then statistics. *variable: where it is now. */
static size_t n_changed(const pare_fit *f) { return f->g.n_weights + f->g.trained.n_statistics; }

static const char *changed(const pare_fit *f, size_t i, const char **variable) {
    const char *name = i < f->g.n_weights ? f->g.weights[i].name : f->g.trained.statistics[i - f->g.n_weights];
    *variable = i < f->g.n_weights && f->g.weights[i].ema ? f->g.weights[i].ema : name;
    return name;
}

/* The statistics as all processes of the run have them: [g.trained.n_statistics], the caller's. */
static pare_status statistics(pare_fit *f, pare_array **a) {
    size_t n = f->g.trained.n_statistics;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && !st; i++) {
        pare_array_unref(a[i]);
        a[i] = NULL;
        st = pare_session_variable_get(f->session, f->g.trained.statistics[i], f->d, &a[i]);
    }
    return st ? st : pare_together_mean(PARE_REDUCED_STATISTIC, a, n, f->d);
}

pare_status pare_fit_copy_home(pare_fit *f, pare_model *into) {
    size_t n = f->g.n_weights, n_statistics = f->g.trained.n_statistics;
    pare_array **stats = pare_xcalloc(n_statistics + 1, sizeof *stats);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const char *variable, *name = changed(f, i, &variable);
        pare_array *a = NULL;
        st = pare_session_variable_get(f->session, variable, f->d, &a);
        if (!st) st = write_tensor(f, into, name, a);
        pare_array_unref(a);
    }
    if (!st) st = statistics(f, stats);
    for (size_t i = 0; i < n_statistics && !st; i++) st = write_tensor(f, into, f->g.trained.statistics[i], stats[i]);
    for (size_t i = 0; i < n_statistics; i++) pare_array_unref(stats[i]);
    free(stats);
    return st;
}

pare_status pare_fit_best_take(pare_fit *f) {
    size_t n = n_changed(f);
    pare_status st = PARE_OK;
    if (!f->best_weights) f->best_weights = pare_xcalloc(n + 1, sizeof *f->best_weights);
    for (size_t i = 0; i < f->g.n_weights && !st; i++) {
        const char *variable;
        changed(f, i, &variable);
        pare_array_unref(f->best_weights[i]);
        f->best_weights[i] = NULL;
        st = pare_session_variable_get(f->session, variable, f->d, &f->best_weights[i]);
    }
    return st ? st : statistics(f, f->best_weights + f->g.n_weights);
}

void pare_fit_best_free(pare_fit *f) {
    for (size_t i = 0; f->best_weights && i < n_changed(f); i++) pare_array_unref(f->best_weights[i]);
    free(f->best_weights);
    f->best_weights = NULL;
}

pare_status pare_fit_home(pare_fit *f, pare_model *into) {
    pare_status st = PARE_OK;
    if (!f->best_weights) return pare_fit_copy_home(f, into);
    for (size_t i = 0; i < n_changed(f) && !st; i++) {
        const char *variable, *name = changed(f, i, &variable);
        st = write_tensor(f, into, name, f->best_weights[i]);
    }
    return st;
}
