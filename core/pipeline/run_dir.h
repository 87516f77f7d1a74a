/* pipeline/run_dir.h - the run folder: where it goes, where it is put together, how it gets its name.
 *
 * A run works in OUT.partial, made for it alone and locked while it runs, and is renamed when all of it is whole. Only
 * what a run wrote is ever replaced or removed: a folder counts as one when its lock, log and names say so.
 * May use: base.
 */
#ifndef PARE_PIPELINE_RUN_DIR_H
#define PARE_PIPELINE_RUN_DIR_H

#include "base/diag.h"

typedef struct pare_run_dir {
    char *shown; /* as the user may open it */
    char *dir;   /* its place, links resolved */
    char *work;  /* OUT.partial, NULL until it is ours */
    FILE *log;   /* work's log.txt, locked */
    char *want;  /* what was asked for, where another name will do too; else NULL */
} pare_run_dir;

/* want: --out or the pipeline's output; next: a taken name makes way for NAME-2, NAME-3, …; force: a finished run there
 * will be replaced. PARE_EINVAL: it can't go there (reported); nothing is made yet. */
pare_status pare_run_dir_choose(const char *want, bool next, bool force, pare_diags *d, pare_run_dir *out);
/* Makes the work folder and its log. Chooses again where another run was faster. Call once. */
pare_status pare_run_dir_open(pare_run_dir *r, const char *title, pare_diags *d);
/* The work folder takes the run's name; a finished run of that name goes when the new one is in its place. */
pare_status pare_run_dir_publish(pare_run_dir *r, pare_diags *d);
/* Frees; a work folder that is still there is removed, unless `keep`. */
void pare_run_dir_close(pare_run_dir *r, bool keep);

#endif
