/* pipeline/report.h - report.json and the table a person reads, from the same numbers.
 *
 * Is: the collection of a run's results and its two forms. Is not: the measuring (measure.h) or the running (run.h).
 * May use: base, measure.h, config.h.
 */
#ifndef PARE_PIPELINE_REPORT_H
#define PARE_PIPELINE_REPORT_H

#include "pipeline/config.h"
#include "pipeline/measure.h"

typedef struct pare_report_step {
    const char *id, *use, *model; /* borrowed from the pipeline */
    double seconds;
    pare_metrics metrics;
    json_t *notes; /* {"notes": {}, "layers": [], "curves": {}, "files": []}, owned; NULL: none */
} pare_report_step;

typedef struct pare_report_output {
    char *path; /* relative to the run folder, owned */
    char sha256[65];
    uint64_t bytes;
} pare_report_output;

/* Under what the latencies hold; runs 0: none was measured. */
typedef struct pare_report_latency {
    uint32_t batch;
    uint32_t threads[PARE_MOST_THREADS], n_threads; /* as they were: none is 0 */
    uint64_t runs;                                  /* of each model, after warm-up; the fewest */
    const char *device;                             /* "cpu" */
    char *engine;                                   /* what the backend says of itself; owned */
} pare_report_latency;

typedef struct pare_report {
    const pare_pipeline *pipeline;
    pare_metrics *input; /* one per pipeline model, as it came in */
    PARE_VEC(pare_report_step) steps;
    PARE_VEC(pare_report_output) outputs;
    pare_report_latency latency;
    const char *set;  /* that the metrics of outputs were measured on, borrowed; NULL: none was */
    uint64_t samples; /* of it */
    double seconds;
} pare_report;

pare_report *pare_report_new(const pare_pipeline *p);
void pare_report_free(pare_report *r); /* NULL is fine */
void pare_report_add_output(pare_report *r, const char *path, const char *sha256, uint64_t bytes);

/* The numbers of what `report.baseline` names. */
const pare_metrics *pare_report_baseline(const pare_report *r);

json_t *pare_report_json(const pare_report *r); /* report.json; a new reference */
/* The table. `dir`: the run folder as the user may open it. */
void pare_report_print(const pare_report *r, const char *dir, FILE *out);

/* A table of text cells with aligned columns, for this and for inspect and compare. */
typedef struct pare_table pare_table;
pare_table *pare_table_new(const char *const *heads, size_t n); /* a head that begins with '>' is aligned right */
void pare_table_cell(pare_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* row by row */
/* "11,689,512" and "46.8 MB"; `none` where n is PARE_NOT_MEASURED. */
void pare_table_cell_count(pare_table *t, int64_t n, const char *none);
void pare_table_cell_bytes(pare_table *t, int64_t n, const char *none);
void pare_table_rule(pare_table *t); /* a line between rows */
void pare_table_print(const pare_table *t, unsigned indent, FILE *out);
void pare_table_free(pare_table *t);

#endif
