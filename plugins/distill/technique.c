/* distill/technique.c - distill.hinton, the technique: trains as `fit:` says, with the loss of the same name.
 *
 * Its parameters are the loss's, so its arguments are handed on as they came. May use: hinton.h, pare/fit.h.
 */
#include "hinton.h"

#include <pare/fit.h>

/* What is wrong with the arguments is said before anything is trained. */
static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    void *loss = NULL;
    pare_status st = distill_hinton.create(host, args, &loss);
    if (st) return st;
    distill_hinton.destroy(loss);
    *self = (void *)(uintptr_t)args;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_fit_request request = {.size = sizeof request, .loss = distill_hinton.id, .loss_args = self};
    return pare_fit_through(host, model, &request);
}

const pare_technique distill_hinton_technique = {
    .size = sizeof(pare_technique),
    .flags = PARE_TECHNIQUE_TRAINS | PARE_TECHNIQUE_NEEDS_FIT,
    .id = "distill.hinton",
    .version = "1.0.0",
    .summary = "Trains a model to tell what a teacher tells, by softened probabilities and the labels.",
    .params = hinton_params,
    .n_params = HINTON_N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .apply = apply,
    .loss = "distill.hinton",
};
