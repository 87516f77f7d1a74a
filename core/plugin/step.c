/* plugin/step.c - see step.h: clone, create, check, apply, destroy, commit. May use: host.h, model. */
#include "plugin/step.h"

#include "base/str.h"
#include "model/edit.h"
#include "model/infer.h"

#include <stddef.h>

static pare_host *open_host(const pare_host_env *env, const pare_technique *t) {
    pare_host_env full = *env;
    if (!full.technique) full.technique = t->id;
    return pare_host_new(&full);
}

static pare_status call_create(pare_host *host, const pare_technique *t, const pare_arg *args, void **self) {
    pare_host_begin(host, PARE_PHASE_CREATE, NULL);
    pare_status st = t->create(host, args, self);
    pare_status judged = pare_host_end(host, st);
    if (judged && !st && PARE_HAS(pare_technique, t, destroy)) t->destroy(*self); /* it was created, whatever it said */
    return judged;
}

/* Keeps an earlier failure. */
static pare_status call_destroy(pare_host *host, const pare_technique *t, void *self, pare_status st) {
    if (!PARE_HAS(pare_technique, t, destroy)) return st;
    pare_host_begin(host, PARE_PHASE_DESTROY, NULL);
    t->destroy(self);
    pare_status last = pare_host_end(host, PARE_OK);
    return st ? st : last;
}

static pare_status call_check(pare_host *host, const pare_technique *t, void *self, pare_model *view) {
    if (!PARE_HAS(pare_technique, t, check)) return PARE_OK;
    pare_host_begin(host, PARE_PHASE_CHECK, view);
    return pare_host_end(host, t->check(self, host, view));
}

static pare_status call_apply(pare_host *host, const pare_technique *t, void *self, pare_model *view) {
    pare_host_begin(host, PARE_PHASE_APPLY, view);
    return pare_host_end(host, t->apply(self, host, view));
}

/* Is what apply left behind a graph? `sound`: shapes could be inferred before, so they must be now. */
static pare_status commit_check(const pare_host_env *env, const pare_technique *t, pare_model *view, bool sound) {
    pare_status st = pare_model_check(view, env->diags);
    if (!st && sound) st = pare_model_infer(view, env->diags);
    if (!st) return PARE_OK;
    return pare_fail(env->diags, PARE_EINTERNAL, "plugin.broken-graph",
                     "this is a bug in the plugin: tell its author; the model is as it was before the step",
                     "%s%s%sthe technique %s left a graph that is wrong (see above)", env->step ? "step " : "",
                     env->step ? env->step : "", env->step ? ": " : "", t->id);
}

pare_status pare_step_run(const pare_host_env *env, const pare_technique *t, const pare_arg *args, const pare_model *in,
                          pare_model **out) {
    pare_model *view = pare_model_clone(in);
    bool sound = pare_model_infer(view, NULL) == PARE_OK;
    pare_host *host = open_host(env, t);
    void *self = NULL;
    pare_status st = call_create(host, t, args, &self);
    if (!st) {
        st = call_check(host, t, self, view);
        if (!st) st = call_apply(host, t, self, view);
        st = call_destroy(host, t, self, st);
    }
    if (!st) st = commit_check(env, t, view, sound);
    pare_host_free(host);
    if (st) {
        pare_model_free(view);
        if (env->notes) json_object_clear(env->notes);
        return st;
    }
    *out = view;
    return PARE_OK;
}

pare_status pare_step_check(const pare_host_env *env, const pare_technique *t, const pare_arg *args,
                            const pare_model *in) {
    pare_host *host = open_host(env, t);
    void *self = NULL;
    pare_status st = call_create(host, t, args, &self);
    if (!st) {
        pare_model *view = in ? pare_model_clone(in) : NULL;
        if (view) {
            pare_model_infer(view, NULL);
            st = call_check(host, t, self, view);
        }
        st = call_destroy(host, t, self, st);
        pare_model_free(view);
    }
    pare_host_free(host);
    return st;
}
