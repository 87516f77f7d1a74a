/* pipeline/measure.h - the numbers of one model: what inspect, compare and the report show.
 *
 * Is: sizes and counts of a model as it stands, and the place for what execution measures (score.h fills it in).
 * May use: base, model.
 */
#ifndef PARE_PIPELINE_MEASURE_H
#define PARE_PIPELINE_MEASURE_H

#include "base/json.h"
#include "base/progress.h"
#include "model/stats.h"

enum { PARE_NOT_MEASURED = -1 }; /* written as null */

/* Latency at one number of threads; NaN where not measured. */
typedef struct pare_timed {
    uint32_t threads;
    double p50_ms, p95_ms, images_per_s;
    double ratio, low, high; /* to the baseline's p50, in turn with it; 95 % */
} pare_timed;

typedef struct pare_metrics {
    int64_t bytes, gzip_bytes, packed_bytes;
    int64_t parameters, nonzero;
    int64_t macs, macs_effective;
    /* by execution; NaN where not measured */
    double loss, accuracy, top5, agreement, sqnr_db, kl;
    double mcnemar_p; /* of the accuracy, against the baseline's */
    double latency_p50_ms, latency_p95_ms, images_per_s;
    double latency_ratio, latency_ratio_low, latency_ratio_high; /* to the baseline's p50, in turn with it; 95 % */
    int64_t not_finite;                                          /* samples with a NaN or infinite output */
    PARE_VEC(pare_timed) timed; /* for each number of threads, the first being the one above; owned as classes is */
    json_t *classes;            /* [{class, samples, accuracy}], owned by who keeps the metrics; NULL: not measured */
} pare_metrics;

pare_metrics pare_metrics_none(void);

/* Everything but the bytes, from the model in memory. */
pare_status pare_metrics_counts(pare_model *m, pare_diags *d, pare_metrics *out);
/* The size of the model's file as pare writes it, and with `gzip` its size in a gzip file (zlib level 6). Nothing is
 * written anywhere. progress may be NULL. */
pare_status pare_metrics_stream(pare_model *m, bool gzip, pare_progress *progress, pare_diags *d, pare_metrics *out);
/* The same of the file a model was read from, with the data files beside it. */
pare_status pare_metrics_read(const pare_model *m, bool gzip, pare_progress *progress, pare_diags *d,
                              pare_metrics *out);

/* The keys of report.json's `metrics`; what was not measured is null. A new reference. */
json_t *pare_metrics_json(const pare_metrics *m);
/* A count as JSON: null when it is PARE_NOT_MEASURED. */
json_t *pare_json_count(int64_t n);

#endif
