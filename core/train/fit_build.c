/* train/fit_build.c - a fit's graph and session, made at first and again when memory runs out. See fit_parts.h. */
#include "train/fit_parts.h"

#include <stdlib.h>
#include <string.h>

static pare_status open_session(pare_fit *f, pare_train_graph *g, pare_session **out) {
    pare_session_opts opts = pare_compute_session(f->compute);
    opts.threads = f->env.threads;
    opts.programs = g->programs;
    opts.n_programs = f->sums ? PARE_TRAIN_PROGRAMS : g->n_evaluated ? PARE_TRAIN_LOGITS + 1 : PARE_TRAIN_STEP + 1;
    opts.variables = g->variables;
    opts.n_variables = g->n_variables;
    opts.profile = f->env.profile;
    return pare_session_open(g->m, &opts, f->d, out);
}

/* What the old session has under the same name goes on in the new one. */
static pare_status move_over(pare_fit *f, const pare_train_graph *g, pare_session *to) {
    for (size_t i = 0; i < g->n_variables; i++) {
        bool known = false;
        for (size_t k = 0; k < f->g.n_variables && !known; k++) known = strcmp(f->g.variables[k], g->variables[i]) == 0;
        if (!known) continue;
        pare_array *a = NULL;
        pare_status st = pare_session_variable_get(f->session, g->variables[i], f->d, &a);
        if (!st) st = pare_session_variable_set(to, g->variables[i], a, f->d);
        pare_array_unref(a);
        if (st) return st;
    }
    return PARE_OK;
}

static pare_status find_samples(pare_fit *f) {
    f->n_in = pare_session_n_inputs(f->session);
    free(f->in);
    f->in = pare_xcalloc(f->n_in + 1, sizeof *f->in);
    for (size_t i = 0; i < f->n_in; i++)
        if (strcmp(pare_session_input(f->session, i)->name, f->g.input) == 0) f->in_samples = i;
    return PARE_OK;
}

pare_status pare_fit_build(pare_fit *f, bool sums) {
    pare_train_graph g;
    pare_session *session = NULL;
    uint32_t flags = (sums ? PARE_FIT_GRADIENTS : 0) | (f->masks ? PARE_FIT_MASKS : 0);
    pare_status st = pare_train_graph_make(f->m, &f->o, flags, &f->env.loss, f->d, &g);
    if (st) return st;
    f->sums = sums;
    st = open_session(f, &g, &session);
    if (!st && f->session) st = move_over(f, &g, session);
    if (st) {
        pare_session_close(session);
        pare_train_graph_free(&g);
        return st;
    }
    pare_session_close(f->session);
    pare_train_graph_free(&f->g);
    f->session = session;
    f->g = g;
    pare_model_free(f->g.m); /* the session has its own */
    f->g.m = NULL;
    return find_samples(f);
}
