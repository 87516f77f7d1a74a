/* pare/technique.h - a component that changes a model: one step of a pipeline. May include: host.h, param.h. */
#ifndef PARE_TECHNIQUE_H
#define PARE_TECHNIQUE_H

#include <pare/host.h>
#include <pare/param.h>

enum {
    PARE_TECHNIQUE_TRAINS = 1,   /* its step may have a `fit:` block: it asks for pare.fit/1 */
    PARE_TECHNIQUE_NEEDS_FIT = 2 /* and has to: without one there is nothing to do */
};

typedef struct pare_technique {
    uint32_t size, flags;               /* PARE_TECHNIQUE_* */
    const char *id, *version, *summary; /* [static] "prune.unstructured", "1.0.0", one sentence */
    const pare_param *params;           /* [static] walked by param_stride, not by sizeof */
    uint32_t n_params, param_stride;
    /* [run] args: one per parameter, in order, valid until destroy. *self may stay NULL. */
    pare_status (*create)(const pare_host *, const pare_arg *args, void **self);
    /* [run] Optional: looks at the model, reports what is wrong or pointless, changes nothing. */
    pare_status (*check)(void *self, const pare_host *, pare_model *);
    /* [run] Changes the step's view of the model. On failure the host throws the view away. */
    pare_status (*apply)(void *self, const pare_host *, pare_model *);
    /* [run] Exactly once per successful create. Optional. */
    void (*destroy)(void *self);
    /* [static] A technique that trains with one loss, and whose parameters are that loss's own: its id; NULL: none.
     * What the loss wants (labels, teachers, gradients) is looked at before anything runs. */
    const char *loss;
} pare_technique;

#endif
