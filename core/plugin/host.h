/* plugin/host.h - the host's side of the SDK: the pare_host that a technique gets.
 *
 * One pare_host serves one component for one step: it carries the model the component may touch, where its reports go,
 * its seed, its notes and what it has borrowed. Everything a plugin passes in is checked: wrong ids, names and sizes
 * are errors that name the plugin, the function and the argument ("plugin.misuse"), never an abort. Errors of the
 * host's own functions are held back until the component's function returns: one that recovers (mark, try, undo) leaves
 * no error behind. Is not: the transaction around it (step.h). May use: model, base, sdk.
 */
#ifndef PARE_PLUGIN_HOST_H
#define PARE_PLUGIN_HOST_H

#include "base/diag.h"
#include "base/json.h"
#include "model/model.h"

#include <pare/plugin.h>

/* What a step runs in. Borrowed; must outlive the step. */
typedef struct pare_host_env {
    pare_diags *diags;
    const char *step;      /* the step's id for messages, or NULL */
    const char *plugin;    /* the plugin's id for messages, or NULL */
    const char *technique; /* its id; pare_step_* fill it in when it is NULL */
    /* The place of a parameter in the pipeline file ("sparsity", "layers[2].sparsity"; NULL: the step itself), the
     * nearest thing around it where that is not written there. May be NULL. [any] */
    pare_span (*locate)(void *ctx, const char *param);
    /* How far the step is, in [0, 1]; what may be NULL. May be NULL. [any] */
    void (*progress)(void *ctx, double done, const char *what);
    void *ctx;     /* for these, ext and file */
    uint64_t seed; /* the step's (pare_seed_derive) */
    json_t
        *notes; /* an object that gets "notes" {}, "layers" [] and "curves" {}, or NULL; emptied when the step fails */
    /* Interfaces of layers above this one, by id ("pare.fit/1"), and what their functions work with. May be NULL. */
    const void *(*ext)(void *ctx, const char *id);
    void *services;
    /* What pare.run/1 works with (runner.h); NULL: there is no such interface. */
    const struct pare_run_services *runs;
    /* Keeps a copy of a file that belongs beside the step's model; reported. NULL: nobody wants them. */
    pare_status (*file)(void *ctx, const char *name, const void *bytes, uint64_t n);
} pare_host_env;

/* Which function of a component is running. */
typedef enum { PARE_PHASE_NONE, PARE_PHASE_CREATE, PARE_PHASE_CHECK, PARE_PHASE_APPLY, PARE_PHASE_DESTROY } pare_phase;

/* A host for one step. Freed with pare_host_free, after the component's destroy. */
pare_host *pare_host_new(const pare_host_env *env);
void pare_host_free(pare_host *host); /* NULL is fine */
/* What it was made of, for interfaces of higher layers; and the model that may be touched now, NULL: none. */
const pare_host_env *pare_host_env_of(const pare_host *host);
pare_model *pare_host_model(const pare_host *host);

/* Around each call of a component's function: begin says what runs and on which model (NULL: none); end releases what
 * is still borrowed, frees scratch memory, forgets marks, and turns the function's status into the step's: reports
 * given back as OK fail (PARE_EINVAL), misuse is PARE_EINTERNAL, a failure without a word gets one, an unknown number
 * is PARE_EINTERNAL. */
void pare_host_begin(pare_host *host, pare_phase phase, pare_model *model);
pare_status pare_host_end(pare_host *host, pare_status st);

#endif
