/* cli/eval.h - a set and a device at hand to measure models with: pare eval and pare compare --data.
 * May use: pipeline/score.h. */
#ifndef PARE_CLI_EVAL_H
#define PARE_CLI_EVAL_H

#include "cli/cli.h"
#include "pipeline/report.h"
#include "pipeline/score.h"

typedef struct pare_eval {
    pare_plugins *plugins;
    pare_compute compute;
    pare_pipeline *p; /* the data block alone */
    int32_t set_index;
    pare_data *set; /* opened with the first model */
} pare_eval;

/* By --data, --device and --plugin-dir. Close after a failure as well. */
pare_status pare_eval_open(pare_cli *c, pare_eval *e);
void pare_eval_close(pare_eval *e);
pare_status pare_eval_model(pare_cli *c, pare_eval *e, const pare_model *m, const pare_logits *baseline,
                            pare_logits *keep, pare_tally *out);
json_t *pare_eval_json(const pare_eval *e, const pare_tally *t); /* a new reference */

#endif
