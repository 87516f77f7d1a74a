/* cli/look.h - a model looked at: what inspect and compare both need. May use: pipeline/measure.h, model. */
#ifndef PARE_CLI_LOOK_H
#define PARE_CLI_LOOK_H

#include "pipeline/measure.h"

typedef struct pare_look {
    const char *path;
    pare_model *model;
    pare_model_stats stats;
    pare_metrics metrics;
    bool packed; /* the file holds weights in packed form; the numbers are those of the plain weights */
} pare_look;

/* Loads, infers, counts, gzips (not kept). Free with pare_look_close, after a failure as well. */
pare_status pare_look_open(const char *path, pare_progress *progress, pare_diags *d, pare_look *out);
void pare_look_close(pare_look *l);
json_t *pare_look_json(const pare_look *l); /* the keys of `pare inspect --json`; a new reference */

/* Text from a file to stdout, made safe for a terminal. */
void pare_put(const char *s);

#endif
