/* plugin/runner.h - a model run on samples, batch by batch, with any of its values to look at: what pare.run/1 stands
 * on.
 *
 * Is: the session over the values asked for, the samples in a fixed order, smaller batches and then the CPU where
 * memory runs out. Is not: the interface that plugins see (host_run.c), sets by their names (the pipeline fills in
 * pare_run_services). One thread. May use: engine, data, compute.h.
 */
#ifndef PARE_PLUGIN_RUNNER_H
#define PARE_PLUGIN_RUNNER_H

#include "data/data.h"
#include "plugin/compute.h"

#include <pare/run.h>

/* What a step's runs work with; filled in by the pipeline, borrowed for the step. Functions report to the step's
 * diagnostics, past the host. */
typedef struct pare_run_services {
    /* A set by its name, in the order of its files, and how its samples become the model's input. "random": `samples`
     * of noise (0: 300) for `target`, by the step's seed; other sets have theirs. target may be NULL: no model is
     * known. Both are the pipeline's until the step ends. PARE_ENOTFOUND: there is no such set. */
    pare_status (*set)(void *ctx, const char *name, const pare_data_target *target, uint64_t samples,
                       const pare_data **out, const pare_data_preprocess **pre);
    /* The step's device, opened when it is first asked for; `cpu`: the CPU, whatever the step says. */
    pare_status (*compute)(void *ctx, bool cpu, const pare_compute **out);
    /* A metric as the report measures it; PARE_EINVAL for unknown ones. samples 0: all. */
    pare_status (*evaluate)(void *ctx, const pare_model *m, const char *data, const char *metric, uint64_t samples,
                            double *out);
    void *ctx;
} pare_run_services;

typedef struct pare_runner_opts {
    const uint32_t *values; /* of the main graph; NULL: its outputs */
    uint64_t n_values;
    const char *data;
    uint64_t samples, seed; /* 0: all; which of them and in which order */
    uint32_t batch;         /* 0: what fits well */
    bool finite;            /* samples with NaN or Inf are refused by name */
} pare_runner_opts;

/* m is cloned. PARE_EINVAL, PARE_ENOTFOUND, PARE_EUNSUPPORTED, PARE_ENOMEM; reported, to d or by the services. */
pare_status pare_runner_open(const pare_model *m, const pare_runner_opts *o, const pare_run_services *services,
                             pare_diags *d, pare_runner **out);
void pare_runner_close(pare_runner *r); /* NULL is fine */
/* As pare/run.h says; reported to d. */
pare_status pare_runner_next(pare_runner *r, pare_diags *d, pare_runner_batch *out);
/* PARE_EINVAL, silent: no such value, no batch yet. */
pare_status pare_runner_value(pare_runner *r, uint64_t i, pare_view *out);
void pare_runner_rewind(pare_runner *r);
const char *pare_runner_sample_name(pare_runner *r, uint64_t sample); /* until close; NULL: no such sample */

/* How an op of 8-bit operands would be run: 0 as float, 1 by int8 instructions that don't saturate, 2 by such that may.
 * x_dtype of the first operand, w_dtype of the second, where the op has one. A device is open from the first question
 * to pare_int8_close. */
typedef struct pare_int8 {
    void *device;
    const pare_engine_backend *backend;
    bool exact; /* the device says that its instructions add products without saturating */
} pare_int8;
pare_status pare_int8_ask(pare_int8 *q, const pare_compute *c, const char *op_type, uint32_t x_dtype, uint32_t w_dtype,
                          pare_diags *d, uint32_t *fast);
void pare_int8_close(pare_int8 *q);

#endif
