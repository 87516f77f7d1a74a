/* pipeline/evaluate.c - see evaluate.h. Sums run in double, in the order of samples. */
#include "pipeline/evaluate.h"

#include "base/reduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tallies ---- */

void pare_tally_free(pare_tally *t) {
    free(t->class_total);
    free(t->class_correct);
    *t = (pare_tally){0};
}

/* log(sum(exp(x))) without overflow. */
static double log_sum_exp(const float *x, uint64_t n) {
    double top = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    if (!isfinite(top)) return top;
    for (uint64_t i = 0; i < n; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

/* The first of the largest; n where one is NaN. */
static uint64_t arg_max(const float *x, uint64_t n) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (isnan(x[i])) return n;
        if (x[i] > x[at]) at = i;
    }
    return at;
}

/* Is `label` among the five largest? Of equal ones the lower index counts as larger. */
static bool in_top5(const float *x, uint64_t n, uint64_t label) {
    uint64_t above = 0;
    for (uint64_t i = 0; i < n; i++) above += x[i] > x[label] || (x[i] == x[label] && i < label);
    return above < 5;
}

static void grow_classes(pare_tally *t, uint64_t classes) {
    if (t->classes >= classes) return;
    t->class_total = pare_xrealloc(t->class_total, classes * sizeof *t->class_total);
    t->class_correct = pare_xrealloc(t->class_correct, classes * sizeof *t->class_correct);
    for (uint64_t i = t->classes; i < classes; i++) t->class_total[i] = t->class_correct[i] = 0;
    t->classes = classes;
}

static void add_against(pare_tally *t, const float *x, const float *base, uint64_t k, int64_t label) {
    double lx = log_sum_exp(x, k), lb = log_sum_exp(base, k);
    uint64_t mine = arg_max(x, k), theirs = arg_max(base, k);
    t->compared++;
    t->agree += mine == theirs && mine < k;
    if (label >= 0) {
        t->only_a += theirs == (uint64_t)label && mine != (uint64_t)label;
        t->only_b += mine == (uint64_t)label && theirs != (uint64_t)label;
    }
    if (mine == k || theirs == k) {
        t->kl = t->noise = t->max_abs_diff = NAN;
        return;
    }
    for (uint64_t i = 0; i < k; i++) {
        double p = exp(base[i] - lb), diff = (double)x[i] - base[i];
        if (p > 0) t->kl += p * ((base[i] - lb) - (x[i] - lx));
        t->signal += (double)base[i] * base[i];
        t->noise += diff * diff;
        if (fabs(diff) > t->max_abs_diff) t->max_abs_diff = fabs(diff);
    }
}

void pare_tally_add(pare_tally *t, const float *logits, uint64_t n, uint64_t k, const int64_t *labels,
                    const float *baseline) {
    if (!k) return;
    grow_classes(t, k);
    for (uint64_t i = 0; i < n; i++) {
        const float *x = logits + i * k;
        int64_t label = labels && labels[i] >= 0 && (uint64_t)labels[i] < k ? labels[i] : -1;
        bool finite = true, nan = false;
        for (uint64_t j = 0; j < k; j++) {
            finite = finite && isfinite(x[j]);
            nan = nan || isnan(x[j]);
        }
        t->samples++;
        t->not_finite += !finite;
        t->nan += nan;
        if (label >= 0) {
            bool right = arg_max(x, k) == (uint64_t)label;
            t->labelled++;
            t->loss += nan ? NAN : log_sum_exp(x, k) - x[label];
            t->correct += right;
            t->top5 += !nan && in_top5(x, k, (uint64_t)label);
            t->class_total[label]++;
            t->class_correct[label] += right;
        }
        if (baseline) add_against(t, x, baseline + i * k, k, label);
    }
}

/* Counts are exact as doubles, up to 2^53. */
pare_status pare_tally_together(pare_tally *t) {
    enum { NUMBERS = 14 };
    if (!pare_reduce_shared()) return PARE_OK;
    double most[2] = {(double)t->classes, t->max_abs_diff};
    pare_status st = pare_reduce(PARE_REDUCED_METRIC, PARE_REDUCE_MAX, PARE_DOUBLE, most, 2);
    if (st) return st;
    grow_classes(t, (uint64_t)most[0]); /* of a process that has seen no sample, too */
    t->max_abs_diff = most[1];
    uint64_t *const counts[] = {&t->samples,    &t->labelled, &t->correct, &t->top5,   &t->not_finite,
                                &t->nan,        &t->compared, &t->agree,   &t->only_a, &t->only_b};
    double *const sums[] = {&t->loss, &t->kl, &t->signal, &t->noise};
    const size_t n_counts = sizeof counts / sizeof *counts;
    double *x = pare_xcalloc(NUMBERS + 2 * t->classes, sizeof *x);
    for (size_t i = 0; i < n_counts; i++) x[i] = (double)*counts[i];
    for (size_t i = n_counts; i < NUMBERS; i++) x[i] = *sums[i - n_counts];
    for (uint64_t i = 0; i < t->classes; i++) {
        x[NUMBERS + i] = (double)t->class_total[i];
        x[NUMBERS + t->classes + i] = (double)t->class_correct[i];
    }
    st = pare_reduce(PARE_REDUCED_METRIC, PARE_REDUCE_SUM, PARE_DOUBLE, x, NUMBERS + 2 * t->classes);
    for (size_t i = 0; i < n_counts && !st; i++) *counts[i] = (uint64_t)x[i];
    for (size_t i = n_counts; i < NUMBERS && !st; i++) *sums[i - n_counts] = x[i];
    for (uint64_t i = 0; i < t->classes && !st; i++) {
        t->class_total[i] = (uint64_t)x[NUMBERS + i];
        t->class_correct[i] = (uint64_t)x[NUMBERS + t->classes + i];
    }
    free(x);
    return st;
}

static double share(double part, uint64_t of) { return of ? part / (double)of : NAN; }

double pare_tally_loss(const pare_tally *t) { return share(t->loss, t->labelled); }
double pare_tally_accuracy(const pare_tally *t) { return share((double)t->correct, t->labelled); }
double pare_tally_top5(const pare_tally *t) { return share((double)t->top5, t->labelled); }
double pare_tally_agreement(const pare_tally *t) { return share((double)t->agree, t->compared); }
double pare_tally_kl(const pare_tally *t) { return share(t->kl, t->compared); }

double pare_tally_sqnr_db(const pare_tally *t) {
    if (!t->compared) return NAN;
    return t->noise == 0 ? INFINITY : 10 * log10(t->signal / t->noise);
}

void pare_count_not_finite(const pare_array *a, uint64_t *nan, uint64_t *infinite) {
    const unsigned char *data = pare_array_data(a); /* of a mapped file: at any offset */
    *nan = *infinite = 0;
    for (uint64_t i = 0; i < a->count; i++) {
        double x = 0;
        if (a->dtype == PARE_FLOAT) {
            float f;
            memcpy(&f, data + i * sizeof f, sizeof f);
            x = f;
        } else if (a->dtype == PARE_DOUBLE) {
            memcpy(&x, data + i * sizeof x, sizeof x);
        } else if (a->dtype == PARE_FLOAT16 || a->dtype == PARE_BFLOAT16) {
            uint16_t bits, top = a->dtype == PARE_FLOAT16 ? 0x7c00 : 0x7f80;
            memcpy(&bits, data + i * sizeof bits, sizeof bits);
            x = (bits & top) != top ? 0 : bits & 0x7fff & ~top ? NAN : INFINITY;
        } else {
            return;
        }
        *nan += isnan(x);
        *infinite += isinf(x) != 0;
    }
}

double pare_tally_mcnemar(const pare_tally *t) {
    if (!t->compared || !t->labelled) return NAN;
    uint64_t n = t->only_a + t->only_b, k = t->only_a < t->only_b ? t->only_a : t->only_b;
    double p = 0;
    /* 2 * P(X <= k), X ~ Binomial(n, 1/2), term by term in logarithms */
    for (uint64_t i = 0; i <= k; i++)
        p += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) - (double)n * log(2));
    return 2 * p > 1 ? 1 : 2 * p;
}
