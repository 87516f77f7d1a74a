/* cli/load.h - a model made ready to run: what pare infer and pare bench both need. May use:
 * plugin/compute.h, model. */
#ifndef PARE_CLI_LOAD_H
#define PARE_CLI_LOAD_H

#include "cli/cli.h"
#include "plugin/compute.h"

typedef struct pare_loaded_model {
    pare_plugins *plugins;
    pare_compute compute;
    pare_model *model;
    pare_session *session;
} pare_loaded_model;

/* Operand 0 with --device, --threads and --memory. profile: nodes are timed; tune: kernels may be chosen by timing
 * them, shown as progress. Close after a failure as well. */
pare_status pare_cli_load(pare_cli *c, bool profile, bool tune, pare_loaded_model *l);
void pare_cli_unload(pare_loaded_model *l);

#endif
