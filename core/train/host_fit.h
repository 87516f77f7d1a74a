/* train/host_fit.h - what the files host_fit*.c share: a fit as the host keeps it for a component.
 *
 * Private to train/host_fit*.c. May use: services.h, plugin/host_impl.h.
 */
#ifndef PARE_TRAIN_HOST_FIT_H
#define PARE_TRAIN_HOST_FIT_H

#include "plugin/host_impl.h"
#include "train/services.h"

/* One that is open, kept by the host until close or until the component's function returns. */
typedef struct pare_open_fit {
    pare_host_impl *s;
    const pare_host *h;
    const pare_train_services *given;
    pare_fit *fit;
    pare_fit_opts opts; /* the step's, losses completed */
    pare_fit_env env;
    pare_diags *said; /* by the loop, until it is passed on */
    size_t passed;
    PARE_VEC(pare_session *) teachers;
    PARE_VEC(void *) hooks;
    uint32_t flags, during; /* which hook runs; PARE_NO_HOOK */
    bool running, failed;
    pare_arena arena;
} pare_open_fit;

enum { PARE_NO_HOOK = 3 };

/* Fills in opts.losses and their teachers: the request's own loss, else the step's. PARE_EINVAL, PARE_ENOTFOUND: held
 * back or reported. */
pare_status pare_host_fit_losses(pare_open_fit *o, const pare_fit_request *r);
/* What the loop asks and tells, led to the step's services. */
pare_fit_env pare_host_fit_env(pare_open_fit *o);

#endif
