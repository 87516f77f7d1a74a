/* train/services.h - what a step that trains is given: the interface pare.fit/1, and what it works with.
 *
 * The pipeline fills a pare_train_services for each step and hands it to the host's environment; the functions of
 * pare_fit_interface find it there. Is not: the loop (fit.h). May use: fit.h, plugin/host.h.
 */
#ifndef PARE_TRAIN_SERVICES_H
#define PARE_TRAIN_SERVICES_H

#include "train/fit.h"

/* A loss component by its id, with the plugin that brings it. */
typedef struct pare_loss_set {
    const pare_loss *(*find)(void *ctx, const char *id); /* NULL: unknown */
    void *ctx;
} pare_loss_set;

/* Borrowed for the step. */
typedef struct pare_train_services {
    const pare_fit_opts *fit; /* the step's `fit:` block with defaults; NULL: it has none */
    pare_fit_env env;         /* teachers are opened by `teacher` below, when a loss names them */
    pare_loss_set losses;
    /* The inference session of a model that a loss parameter of type MODEL names ("trained", "net", a file): it takes
     * the samples of the training set and hands out logits. Owned by the pipeline until the step ends. Reported. */
    pare_status (*teacher)(void *ctx, const char *ref, pare_session **out);
    /* A set of samples by name, in a new order each epoch; NULL: the step's own, `fit.data` or the one called train.
     * Owned by the pipeline until the step ends. Reported. */
    pare_status (*data)(void *ctx, const char *name, const pare_data **out);
    /* Called before env.compute is read where it is still NULL: opens the device and fills it in. May be NULL.
     * Reported. */
    pare_status (*ready)(void *ctx);
    void *ctx;
} pare_train_services;

extern const pare_fit_api pare_fit_interface; /* what ext(host, "pare.fit/1") gives where there are services */

#endif
