/* pipeline/evaluate.c - see evaluate.h. Sums run in double, in the order of samples. */
#include "pipeline/evaluate.h"

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

/* The first of the largest. */
static uint64_t arg_max(const float *x, uint64_t n) {
    uint64_t at = 0;
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
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
    t->agree += mine == theirs;
    if (label >= 0) {
        t->only_a += theirs == (uint64_t)label && mine != (uint64_t)label;
        t->only_b += mine == (uint64_t)label && theirs != (uint64_t)label;
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
        bool finite = true;
        for (uint64_t j = 0; j < k; j++) finite = finite && isfinite(x[j]);
        t->samples++;
        t->not_finite += !finite;
        if (label >= 0) {
            bool right = arg_max(x, k) == (uint64_t)label;
            t->labelled++;
            t->loss += log_sum_exp(x, k) - x[label];
            t->correct += right;
            t->top5 += in_top5(x, k, (uint64_t)label);
            t->class_total[label]++;
            t->class_correct[label] += right;
        }
        if (baseline) add_against(t, x, baseline + i * k, k, label);
    }
}

static double share(double part, uint64_t of) { return of ? part / (double)of : NAN; }

double pare_tally_loss(const pare_tally *t) { return share(t->loss, t->labelled); }
double pare_tally_accuracy(const pare_tally *t) { return share((double)t->correct, t->labelled); }
double pare_tally_top5(const pare_tally *t) { return share((double)t->top5, t->labelled); }
double pare_tally_agreement(const pare_tally *t) { return share((double)t->agree, t->compared); }
double pare_tally_kl(const pare_tally *t) { return share(t->kl, t->compared); }

double pare_tally_sqnr_db(const pare_tally *t) {
    if (!t->compared) return NAN;
    return t->noise > 0 ? 10 * log10(t->signal / t->noise) : INFINITY;
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

/* ---- latency ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static pare_status run_once(pare_session *s, pare_array *const *in, pare_diags *d, double *seconds) {
    size_t n = pare_session_n_outputs(s);
    pare_array **out = pare_xcalloc(n, sizeof *out);
    double start = pare_clock();
    pare_status st = pare_cancelled() ? PARE_ECANCELLED : pare_session_run(s, in, d, out);
    *seconds = pare_clock() - start;
    for (size_t i = 0; i < n && !st; i++) pare_array_unref(out[i]);
    free(out);
    return st;
}

pare_status pare_latency_of(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                            pare_diags *d, pare_latency *out) {
    enum { WARM = 3, LEAST = 10 };
    static const double enough = 3.0; /* seconds */
    typedef PARE_VEC(double) times;
    times *t = pare_xcalloc(n, sizeof *t);
    pare_status st = PARE_OK;
    double begin = 0, seconds;
    for (uint64_t round = 0; !st; round++) {
        if (round == WARM) {
            begin = pare_clock();
            for (size_t i = 0; i < n; i++) pare_session_profile_reset(sessions[i]);
        }
        uint64_t done = round > WARM ? round - WARM : 0;
        if (runs ? done >= runs : done >= LEAST && pare_clock() - begin > enough) break;
        for (size_t i = 0; i < n && !st; i++) {
            st = run_once(sessions[i], in[i], d, &seconds);
            if (round >= WARM) pare_vec_push(&t[i], seconds);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!st) {
            qsort(t[i].data, t[i].len, sizeof *t[i].data, by_value);
            out[i] = (pare_latency){t[i].data[t[i].len / 2], t[i].data[(t[i].len * 95 + 99) / 100 - 1], t[i].len};
        }
        pare_vec_free(&t[i]);
    }
    free(t);
    return st;
}
