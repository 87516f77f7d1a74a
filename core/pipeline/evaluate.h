/* pipeline/evaluate.h - what a model gets right: the metrics of outputs.
 *
 * Is: loss, accuracy, agreement and the like, added up over a set. Is not: the running (score.h), latency (latency.h),
 * the sets (data/data.h), the table (report.h). May use: base, model.
 */
#ifndef PARE_PIPELINE_EVALUATE_H
#define PARE_PIPELINE_EVALUATE_H

#include "model/array.h"

/* What is added up over a set, sample by sample; merged from several runs by adding. Logits are (N, K) f32. A sample
 * with a NaN among its logits has no first class: it is never right and agrees with nothing, and loss, KL and SQNR of a
 * tally that holds one are NaN. Infinite logits count as numbers where they can. */
typedef struct pare_tally {
    uint64_t samples, labelled;
    double loss; /* sum of cross-entropy, nats */
    uint64_t correct, top5;
    uint64_t classes;
    uint64_t *class_total, *class_correct; /* one a class; owned */
    uint64_t not_finite, nan;              /* samples with a NaN or infinite logit; with a NaN */
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

/* The tally of all processes of the run (base/reduce.h): once, when a set is through. Not reported. */
pare_status pare_tally_together(pare_tally *t);

double pare_tally_loss(const pare_tally *t); /* NaN where there were no labels, as the others */
double pare_tally_accuracy(const pare_tally *t);
double pare_tally_top5(const pare_tally *t);
double pare_tally_agreement(const pare_tally *t);
double pare_tally_kl(const pare_tally *t);
double pare_tally_sqnr_db(const pare_tally *t); /* infinite where nothing differs */
/* How many of an array's values are NaN, how many infinite: floats of 16, 32 and 64 bits, else none. */
void pare_count_not_finite(const pare_array *a, uint64_t *nan, uint64_t *infinite);

/* Two-sided p of McNemar's test (exact binomial) that both models are right equally often; NaN without labels. */
double pare_tally_mcnemar(const pare_tally *t);
#define PARE_MCNEMAR_NOISE 0.05 /* a difference whose p is not below it can't be told from noise */

#endif
