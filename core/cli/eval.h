/* cli/eval.h - a set and a device at hand to measure models with: pare eval and pare compare --data.
 * May use: pipeline/score.h. */
#ifndef PARE_CLI_EVAL_H
#define PARE_CLI_EVAL_H

#include "cli/cli.h"
#include "cli/look.h"
#include "pipeline/report.h"
#include "pipeline/score.h"

typedef struct pare_eval {
    pare_plugins *plugins;
    pare_compute compute;
    pare_pipeline *p; /* the data block alone */
    int32_t set_index;
    pare_data *set;   /* opened with the first model */
    char *preprocess; /* of the first model, as text; its path */
    const char *first;
} pare_eval;

/* By --data, --device and --plugin-dir. Close after a failure as well. */
pare_status pare_eval_open(pare_cli *c, pare_eval *e);
void pare_eval_close(pare_eval *e);
/* A model's session, for pare_eval_model and timing. Close with pare_scored_close, after a failure as well. */
pare_status pare_eval_session(pare_cli *c, pare_eval *e, const pare_look *l, pare_scored *out);
pare_status pare_eval_model(pare_cli *c, pare_eval *e, const pare_look *l, pare_scored *s, const pare_logits *baseline,
                            pare_logits *keep, pare_tally *out);
const char *pare_eval_set_name(const pare_eval *e);

/* What --batch and the graphs allow for timing n models alike; 0: their graphs' batches are fixed and differ. */
uint32_t pare_eval_batch(const pare_cli *c, const pare_scored *s, size_t n);
uint64_t pare_eval_threads(const pare_cli *c);

/* The keys of a model's measured side, into j. latency NULL: it was not timed. */
void pare_eval_add_json(json_t *j, const pare_eval *e, const pare_tally *t, const pare_latency *latency,
                        uint32_t batch);
/* Under what the latency holds: batch, threads, runs, device, engine, cpu, set. A new reference. */
json_t *pare_eval_latency_json(const pare_cli *c, const char *device, const pare_session *s, uint32_t batch,
                               uint64_t runs);
/* The same as a line of text: "batch 1 of noise, ...; 50 runs". */
void pare_eval_put_conditions(const pare_cli *c, const pare_session *s, uint32_t batch, uint64_t runs);
json_t *pare_eval_number(double x); /* null where it is none */

#define PARE_EVAL_OPTS                                                                                                 \
    PARE_OPT("batch", PARE_OPT_MANY, "N", batch, "images at once for the latency (default: the model's own, else 1)"), \
        PARE_OPT("runs", PARE_OPT_MANY, "N", runs, "timed runs after warm-up (default: three seconds' worth)"),        \
        PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"), PARE_OPT_THREADS, PARE_OPT_PLUGIN_DIR,         \
        PARE_OPT_QUIET, PARE_OPT_JSON

#endif
