/* train/evaluated.c - see evaluated.h. */
#include "train/evaluated.h"

#include <stdlib.h>
#include <string.h>

bool pare_loss_builds(const pare_loss *c) { return c->build; }

/* ---- its life ---- */

pare_status pare_evaluated_open(const pare_fit_loss *l, const pare_train_loss_env *env, pare_evaluated *out) {
    pare_host_env e = env->host;
    *out = (pare_evaluated){.c = l->component};
    e.technique = out->c->id;
    out->host = pare_host_new(&e);
    pare_host_begin(out->host, PARE_PHASE_CREATE, NULL);
    pare_status made = out->c->create(out->host, l->args, &out->self);
    out->created = !made;
    pare_status st = pare_host_end(out->host, made);
    if (st) pare_evaluated_close(out); /* it was created, whatever was said of it */
    return st;
}

pare_status pare_evaluated_close(pare_evaluated *e) {
    pare_status st = PARE_OK;
    if (e->created && PARE_HAS(pare_loss, e->c, destroy)) {
        pare_host_begin(e->host, PARE_PHASE_DESTROY, NULL);
        e->c->destroy(e->self);
        st = pare_host_end(e->host, PARE_OK);
    }
    pare_host_free(e->host);
    *e = (pare_evaluated){0};
    return st;
}

/* ---- running ---- */

/* As float32: itself, or a copy in `own`. NULL: no memory. */
static const float *floats(const pare_array *a, pare_array **own) {
    if (a->dtype == PARE_FLOAT) return pare_array_data(a);
    *own = pare_array_new(PARE_FLOAT, a->ndim, a->dims);
    float *to = *own ? pare_array_data_mut(*own) : NULL;
    for (uint64_t i = 0; to && i < a->count; i++) to[i] = (float)((const double *)pare_array_data(a))[i];
    return to;
}

/* The loss's answer in the dtype of the logits. NULL: no memory. */
static pare_array *seed_of(const pare_array *logits, pare_array *floats) {
    if (logits->dtype == PARE_FLOAT) return pare_array_ref(floats);
    pare_array *a = pare_array_new(logits->dtype, logits->ndim, logits->dims);
    for (uint64_t i = 0; a && i < a->count; i++)
        ((double *)pare_array_data_mut(a))[i] = (double)((const float *)pare_array_data(floats))[i];
    return a;
}

pare_status pare_evaluated_run(pare_evaluated *e, const pare_evaluated_rows *rows, pare_diags *d, double *loss,
                               pare_array **seed) {
    size_t n = rows->n_teachers;
    pare_array **own = pare_xcalloc(n + 2, sizeof *own), *given = NULL; /* teachers', logits, targets */
    const float **teachers = pare_xcalloc(n + 1, sizeof *teachers);
    bool good = true;
    for (size_t i = 0; i < n && good; i++) good = (teachers[i] = floats(rows->teachers[i], &own[i]));
    pare_loss_values v = {.size = sizeof v,
                          .logits = good ? floats(rows->logits, &own[n]) : NULL,
                          .labels = rows->labels && !rows->targets ? pare_array_data(rows->labels) : NULL,
                          .targets = rows->targets ? floats(rows->targets, &own[n + 1]) : NULL,
                          .teachers = teachers,
                          .n_teachers = n,
                          .rows = (uint64_t)rows->logits->dims[0],
                          .classes = (uint64_t)rows->logits->dims[1],
                          .epoch = rows->epoch};
    given = pare_array_new(PARE_FLOAT, rows->logits->ndim, rows->logits->dims);
    good = good && v.logits && given && (!rows->targets || v.targets);
    pare_status st = PARE_OK;
    if (!good) st = pare_fail(d, PARE_ENOMEM, "train.memory", "use a smaller batch", "no memory for a loss");
    if (!st) {
        if (given->nbytes) memset(pare_array_data_mut(given), 0, (size_t)given->nbytes);
        pare_host_begin(e->host, PARE_PHASE_APPLY, NULL);
        st = pare_host_end(e->host, e->c->evaluate(e->self, e->host, &v, loss, pare_array_data_mut(given)));
    }
    *seed = st ? NULL : seed_of(rows->logits, given);
    if (!st && !*seed) st = pare_fail(d, PARE_ENOMEM, "train.memory", "use a smaller batch", "no memory for a loss");
    pare_array_unref(given);
    for (size_t i = 0; i < n + 2; i++) pare_array_unref(own[i]);
    free(own);
    free(teachers);
    return st;
}
