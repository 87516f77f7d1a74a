/* base/progress.h - how far the work is: a bar on a terminal, plain lines elsewhere, JSON lines with --json.
 *
 * Silent for work that takes under a second. Thread-safe. Results go to stdout, progress to stderr. May use: os, str,
 * json.
 */
#ifndef PARE_BASE_PROGRESS_H
#define PARE_BASE_PROGRESS_H

#include "base/os.h"

#include <stdbool.h>
#include <stdio.h>

typedef enum { PARE_PROGRESS_AUTO, PARE_PROGRESS_JSON, PARE_PROGRESS_OFF } pare_progress_form;

typedef struct pare_progress pare_progress;
pare_progress *pare_progress_new(pare_progress_form form,
                                 FILE *out); /* out borrowed; AUTO: a bar where it is a terminal */
void pare_progress_free(pare_progress *p);   /* clears the bar; NULL is fine */
/* Begins a task ("pruned: prune.unstructured"); ends the one before. */
void pare_progress_begin(pare_progress *p, const char *task);
/* done in [0, 1] of the task; what: the thing at hand, or NULL. Cheap: prints at most ten times a second (a terminal)
 * or once in five seconds (elsewhere). */
void pare_progress_update(pare_progress *p, double done, const char *what);
void pare_progress_end(pare_progress *p);
/* Takes the bar off the line before something else is printed to the same terminal. */
void pare_progress_clear(pare_progress *p);

/* Bytes on their way to `next` (next.write NULL: nowhere) as progress towards `total`; also stops when cancelled. Fill
 * in p (may be NULL), next and total; the struct must outlive the sink. */
typedef struct pare_progress_sink {
    pare_progress *p;
    pare_sink next;
    uint64_t total, done;
} pare_progress_sink;
pare_sink pare_progress_through(pare_progress_sink *s);

#endif
