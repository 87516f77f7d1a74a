/* pipeline/evaluate.h - what a model gets right and how fast it is: the metrics that need execution.
 *
 * Is: loss, accuracy, agreement and the like over a set, and latency. Is not: the sessions' making (plugin/compute.h),
 * the sets (data/data.h), the table (report.h). May use: base, model, engine, data, plugin.
 */
#ifndef PARE_PIPELINE_EVALUATE_H
#define PARE_PIPELINE_EVALUATE_H

#include "engine/session.h"

/* What is added up over a set, sample by sample; merged from several runs by adding. Logits are (N, K) f32. */
typedef struct pare_tally {
    uint64_t samples, labelled;
    double loss; /* sum of cross-entropy, nats */
    uint64_t correct, top5;
    uint64_t classes;
    uint64_t *class_total, *class_correct; /* one a class; owned */
    uint64_t not_finite;                   /* samples with a NaN or infinite logit */
    /* against the baseline's logits on the same samples */
    uint64_t compared, agree; /* the same class comes first */
    uint64_t only_a, only_b;  /* correct by the baseline alone, by this model alone: McNemar's b and c */
    double kl;                /* sum of KL(baseline || model), nats */
    double signal, noise;     /* sums of squares: of the baseline's outputs, of the difference */
    double max_abs_diff;
} pare_tally;

void pare_tally_free(pare_tally *t);
/* Adds a batch. logits (n, classes); labels n or NULL (-1: none); baseline (n, classes) or NULL. */
void pare_tally_add(pare_tally *t, const float *logits, uint64_t n, uint64_t classes, const int64_t *labels,
                    const float *baseline);

double pare_tally_loss(const pare_tally *t); /* NaN where there were no labels, as the others */
double pare_tally_accuracy(const pare_tally *t);
double pare_tally_top5(const pare_tally *t);
double pare_tally_agreement(const pare_tally *t);
double pare_tally_kl(const pare_tally *t);
double pare_tally_sqnr_db(const pare_tally *t); /* infinite where nothing differs */
/* Two-sided p of McNemar's test (exact binomial) that both models are right equally often; NaN without labels. */
double pare_tally_mcnemar(const pare_tally *t);

/* Latency of sessions, taken in turn so that their ratio is fair: seconds, sorted. */
typedef struct pare_latency {
    double p50, p95;
    uint64_t runs;
} pare_latency;
/* in[i]: session i's inputs. Warm-up of 3; then `runs` each (0: three seconds' worth in all, at least 10 each). */
pare_status pare_latency_of(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                            pare_diags *d, pare_latency *out);

#endif
