/* pipeline/run.h - running a pipeline: steps as transactions, results saved as they come, a run folder at the end.
 *
 * The folder is put together beside its place under the name OUT.partial and renamed when all of it is whole. A run
 * that fails before its first step is done leaves nothing; one that fails later leaves OUT.partial with the finished
 * steps, and says so. May use: everything below pipeline/.
 */
#ifndef PARE_PIPELINE_RUN_H
#define PARE_PIPELINE_RUN_H

#include "base/progress.h"
#include "pipeline/config.h"
#include "pipeline/report.h"
#include "plugin/plugin.h"

typedef struct pare_run_opts {
    const char *out;         /* --out: the run folder itself; NULL: the file's `output:`, else a free NAME-2, NAME-3 */
    const char *device;      /* --device; NULL: the file's */
    bool force;              /* a finished run at `out` is replaced, once the new one is whole */
    pare_plugins *plugins;   /* borrowed */
    pare_progress *progress; /* borrowed; may be NULL */
    pare_diags *diags;
} pare_run_opts;

/* Runs it all. On success *report (the caller's to free, p must outlive it) and *dir, the run folder (malloc'ed).
 * PARE_EINVAL and kin: the input is wrong, nothing written; PARE_ECANCELLED after a signal. One thread. */
pare_status pare_pipeline_run(const pare_pipeline *p, const pare_run_opts *o, pare_report **report, char **dir);

/* Everything that can be known before running: models open, weights fit, shapes hold, each technique's `check` on the
 * model it will work on (as it is before earlier steps), and where a step will not do what people hope for. */
pare_status pare_pipeline_check(const pare_pipeline *p, pare_plugins *plugins, pare_diags *d);

/* One of the pipeline's models, built or read, weights applied, checked, shapes inferred. */
pare_status pare_pipeline_model_open(const pare_pipeline *p, const pare_pipeline_model *pm, pare_diags *d,
                                     pare_model **out);

#endif
