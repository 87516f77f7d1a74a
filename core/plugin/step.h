/* plugin/step.h - running one technique on a model as a transaction.
 *
 * The technique works on a clone that shares the model's bytes until they are written. The clone becomes the result
 * only when apply succeeded and the graph passes the check; else it is freed and the model is bit-identical to what it
 * was. May use: host.h, model.
 */
#ifndef PARE_PLUGIN_STEP_H
#define PARE_PLUGIN_STEP_H

#include "plugin/host.h"

/* create, check, apply, destroy; then the check of the result. args: one per row of the technique's table, validated.
 * *out: the caller's to free, set on success only. On failure at least one error was reported, except for
 * PARE_ECANCELLED (whoever cancelled knows). `in` is only read. One thread. */
pare_status pare_step_run(const pare_host_env *env, const pare_technique *technique, const pare_arg *args,
                          const pare_model *in, pare_model **out);
/* A dry run: create, check, destroy. `in` may be NULL when the model isn't known yet: then create and destroy alone. */
pare_status pare_step_check(const pare_host_env *env, const pare_technique *technique, const pare_arg *args,
                            const pare_model *in);

#endif
