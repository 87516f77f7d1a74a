/* pipeline/score.h - models scored on a set: sessions, batches and tallies brought together.
 *
 * Is: what `report:`, `pare eval` and `pare compare --data` share. Is not: the arithmetic of metrics (evaluate.h),
 * their printing. May use: config.h, evaluate.h, latency.h, data, plugin/compute.h.
 */
#ifndef PARE_PIPELINE_SCORE_H
#define PARE_PIPELINE_SCORE_H

#include "base/progress.h"
#include "data/data.h"
#include "pipeline/config.h"
#include "pipeline/evaluate.h"
#include "pipeline/latency.h"
#include "plugin/compute.h"

/* A model ready to be scored. Its session hands out logits: what goes into a Softmax at the end of the graph, else the
 * first output. */
typedef struct pare_scored {
    pare_session *session;
    const char *name;        /* for messages; borrowed; NULL (as open leaves it): the model */
    pare_data_target target; /* what its first input takes */
    uint32_t batch;          /* the graph's own, where it is fixed; else 0 */
} pare_scored;

/* PARE_EUNSUPPORTED, reported: not one input, or an op that can't run. threads 0: all. */
pare_status pare_scored_open(const pare_model *m, const pare_compute *c, uint32_t threads, pare_diags *d,
                             pare_scored *out);
void pare_scored_close(pare_scored *s);

/* The logits of a whole set, kept to compare others with: (count, classes) f32. */
typedef struct pare_logits {
    float *data;
    uint64_t count, classes;
} pare_logits;
void pare_logits_free(pare_logits *l);

/* Set i of a pipeline's data, with the sets it comes from. */
pare_status pare_score_set_open(const pare_pipeline *p, int32_t i, const pare_data_target *target, pare_diags *d,
                                pare_data **out);

/* Runs the set through. baseline (may be NULL): of the same set in the same order; keep (may be NULL) gets the logits.
 * What can't be compared (other numbers of classes) is left out and said. */
pare_status pare_score(pare_scored *s, const pare_data *set, const pare_data_preprocess *pre,
                       const pare_logits *baseline, pare_logits *keep, pare_progress *progress, pare_diags *d,
                       pare_tally *out);

/* The set has labels if `labels` asks for them, and the model knows a class for each: else PARE_EINVAL, which names the
 * sample. What only a run shows is left to pare_score. m NULL: any label will do. */
pare_status pare_score_check_labels(const pare_data *set, const char *name, const pare_model *m, bool labels,
                                    pare_diags *d);
/* [{class, samples, accuracy}] of a tally, each class that the model knows; a new reference; NULL without labels. */
json_t *pare_score_classes_json(const pare_data *set, const pare_tally *t);

/* Are all sizes of the session's inputs but the batch known, so that noise can be made for it? Else a warning. */
bool pare_score_can_time(const pare_scored *s, pare_diags *d);

/* Inputs of a batch size (0: the model's own, else 1) filled with repeatable noise, for timing; n_inputs arrays, the
 * caller's to unref and free. */
pare_status pare_score_noise(pare_session *s, uint32_t batch, pare_diags *d, pare_array ***out);
/* Sizes of an input that go before the model's and the batch. */
typedef struct pare_score_shape {
    bool given;
    uint32_t ndim;
    int64_t dims[PARE_ARRAY_DIMS];
} pare_score_shape;
/* The same with one shape an input, as far as they are given. */
pare_status pare_score_noise_like(pare_session *s, const pare_score_shape *shapes, uint32_t batch, pare_diags *d,
                                  pare_array ***out);
void pare_score_noise_free(const pare_session *s, pare_array **in);

#endif
