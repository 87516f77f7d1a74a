/* cpu/grad_rows.c - gradients and losses over rows of plain float32: SoftmaxGrad, LogSoftmaxGrad, LayerNormGrad, the
 * cross-entropies and their gradients; SumTo; DropoutTrain.
 *
 * Sums over rows are joined in an order that shapes and the number of threads decide. May use: grad.h, simd.h, wide.h.
 */
#include "grad.h"
#include "simd_sets.h"
#include "team.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

typedef struct row_job row_job;

typedef struct row_loops {
    void (*softmax)(const float *dy, const float *y, float *dx, int64_t n, int64_t rows, bool log);
    void (*layer)(const row_job *j, int64_t begin, int64_t end, double *dscale, double *dbias);
    void (*loss)(const row_job *j, int64_t begin, int64_t end, double *to);
    void (*slope)(const row_job *j, int64_t begin, int64_t end);
    void (*columns)(const float *x, int64_t rows, int64_t width, int64_t begin, int64_t end, float *to);
    double (*run)(const float *x, int64_t n);
} row_loops;

struct row_job {
    const row_loops *loops;
    int64_t rows, n;
    bool log, soft, mean, ignores, narrow; /* narrow: labels are int32 */
    int64_t ignore, parts;
    float epsilon, factor;
    const float *dy, *x, *scale, *target;
    const int64_t *labels; /* checked; -1: ignored */
    float *dx, *dscale, *dbias;
    double *room;
    int64_t before, behind;       /* SumTo: what is summed before and behind the n that are kept */
    uint64_t seed, stream, first; /* first: the first element's number in the batch */
    double ratio;
};

#if defined(__x86_64__)
#define SIMD_ISA SIMD_AVX512
#include "simd.h"
#include "wide.h"
#include "grad_rows_body.h"
#undef SIMD_ISA
#define SIMD_ISA SIMD_AVX2
#include "simd.h"
#include "wide.h"
#include "grad_rows_body.h"
#undef SIMD_ISA
#endif
#define SIMD_ISA SIMD_BASE
#include "simd.h"
#include "wide.h"
#include "grad_rows_body.h"

static const row_loops *loops_here(void) { return SIMD_BEST(row_loops); }

static uint64_t grain_of(const row_job *j) { return (uint64_t)(8192 / j->n + 1); }

static pare_status made(cpu_device *dev, const pare_kernel_spec *s, row_job *j,
                        pare_status (*run)(cpu_kernel *, const void *const *, void *const *, void *), uint64_t scratch,
                        int32_t in_place, cpu_kernel **out) {
    char name[64];
    grad_name(s, name, sizeof name);
    cpu_kernel *k = grad_kernel(dev, s, name, j, sizeof *j);
    if (!k) return PARE_ENOMEM;
    k->run = run;
    k->scratch = scratch;
    k->in_place = in_place;
    *out = k;
    return PARE_OK;
}

/* ---- softmax ---- */

static void softmax_part(void *ctx, uint64_t begin, uint64_t end) {
    const row_job *j = ctx;
    int64_t at = (int64_t)begin * j->n;
    j->loops->softmax(j->dy + at, j->x + at, j->dx + at, j->n, (int64_t)(end - begin), j->log);
}

static pare_status softmax_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    row_job j = *(const row_job *)k->impl;
    j.dy = in[0];
    j.x = in[1];
    j.dx = out[0];
    cpu_team_run(k->dev->threads, (uint64_t)j.rows, grain_of(&j), softmax_part, &j);
    return PARE_OK;
}

static pare_status make_softmax(cpu_device *dev, const pare_kernel_spec *s, row_job *j, cpu_kernel **out) {
    const pare_operand *y = s->in[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), y->ndim);
    if (!fast_in(s, 1) || !fast_f32(s->in[1]) || !fast_same_dims(y, s->in[1]) || axis + 1 != (int64_t)y->ndim)
        return PARE_EUNSUPPORTED;
    j->n = y->dims[axis];
    j->rows = fast_product(y->dims, 0, (uint32_t)axis);
    return made(dev, s, j, softmax_run, 0, 0, out);
}

/* ---- layer normalization: a part of the rows has sums of its own ---- */

static void layer_parts(void *ctx, uint64_t begin, uint64_t end) {
    const row_job *j = ctx;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++) {
        double *dscale = j->dscale ? j->room + 2 * p * j->n : NULL,
               *dbias = j->dbias ? j->room + (2 * p + 1) * j->n : NULL;
        memset(j->room + 2 * p * j->n, 0, (size_t)(2 * j->n) * sizeof(double));
        j->loops->layer(j, j->rows * p / j->parts, j->rows * (p + 1) / j->parts, dscale, dbias);
    }
}

static pare_status layer_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    row_job j = *(const row_job *)k->impl;
    j.dy = in[0];
    j.x = in[1];
    j.scale = in[2];
    j.dx = out[0];
    j.dscale = k->n_out > 1 ? out[1] : NULL;
    j.dbias = k->n_out > 2 ? out[2] : NULL;
    j.room = scratch;
    cpu_team_run(k->dev->threads, (uint64_t)j.parts, 1, layer_parts, &j);
    for (int64_t i = 0; i < j.n; i++) {
        double a = 0, b = 0;
        for (int64_t p = 0; p < j.parts; p++) {
            a += j.room[2 * p * j.n + i];
            b += j.room[(2 * p + 1) * j.n + i];
        }
        if (j.dscale) j.dscale[i] = (float)a;
        if (j.dbias) j.dbias[i] = (float)b;
    }
    return PARE_OK;
}

static pare_status make_layer(cpu_device *dev, const pare_kernel_spec *s, row_job *j, cpu_kernel **out) {
    const pare_operand *x = s->in[0];
    if (!fast_in(s, 1) || !fast_f32(s->in[1]) || !fast_same_dims(x, s->in[1]) || !fast_in(s, 2) || !fast_f32(s->in[2]))
        return PARE_EUNSUPPORTED;
    int64_t axis = ref_axis(ref_attr_int(s, "axis", -1), x->ndim);
    if (axis < 0 || axis >= (int64_t)x->ndim) return PARE_EUNSUPPORTED;
    j->n = fast_product(x->dims, (uint32_t)axis, x->ndim);
    j->rows = fast_product(x->dims, 0, (uint32_t)axis);
    if ((int64_t)ref_count(s->in[2]) != j->n) return PARE_EUNSUPPORTED;
    j->epsilon = (float)ref_attr_float(s, "epsilon", 1e-5);
    j->parts = j->rows < (int64_t)dev->threads ? j->rows : (int64_t)dev->threads;
    return made(dev, s, j, layer_run, (uint64_t)(2 * j->parts * j->n) * sizeof(double), 0, out);
}

/* ---- cross-entropy ---- */

/* Labels as int64 in `to`, -1 where ignored; false: one is out of range. */
static bool read_labels(const row_job *j, const void *labels, int64_t *to, int64_t *counted) {
    *counted = 0;
    for (int64_t r = 0; r < j->rows; r++) {
        int64_t l = j->narrow ? ((const int32_t *)labels)[r] : ((const int64_t *)labels)[r];
        bool skip = j->ignores && l == j->ignore;
        if (!skip && (l < 0 || l >= j->n)) return false;
        to[r] = skip ? -1 : l;
        *counted += !skip;
    }
    return true;
}

static void loss_part(void *ctx, uint64_t begin, uint64_t end) {
    const row_job *j = ctx;
    j->loops->loss(j, (int64_t)begin, (int64_t)end, j->room);
}

static void slope_part(void *ctx, uint64_t begin, uint64_t end) {
    const row_job *j = ctx;
    j->loops->slope(j, (int64_t)begin, (int64_t)end);
}

/* Labels or targets of a run, and the rows that count. */
static bool targets_of(row_job *j, const void *from, void *scratch, int64_t *counted) {
    *counted = j->rows;
    if (j->soft) {
        j->target = from;
        return true;
    }
    int64_t *labels = (int64_t *)scratch;
    j->labels = labels;
    return read_labels(j, from, labels, counted);
}

static pare_status loss_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    row_job j = *(const row_job *)k->impl;
    int64_t counted;
    double sum = 0;
    if (!targets_of(&j, in[1], scratch, &counted)) return PARE_EINVAL;
    j.x = in[0];
    j.room = (double *)scratch + j.rows;
    cpu_team_run(k->dev->threads, (uint64_t)j.rows, grain_of(&j), loss_part, &j);
    for (int64_t r = 0; r < j.rows; r++) sum += j.room[r];
    *(float *)out[0] = (float)(j.mean ? sum / (double)counted : sum);
    return PARE_OK;
}

static pare_status slope_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    row_job j = *(const row_job *)k->impl;
    int64_t counted;
    if (!targets_of(&j, in[2], scratch, &counted)) return PARE_EINVAL;
    j.x = in[1];
    j.dx = out[0];
    j.factor = (float)((double)*(const float *)in[0] / (j.mean ? (double)counted : 1));
    cpu_team_run(k->dev->threads, (uint64_t)j.rows, grain_of(&j), slope_part, &j);
    return PARE_OK;
}

/* x: the index of the logits; what follows them are labels or targets. */
static pare_status make_loss(cpu_device *dev, const pare_kernel_spec *s, row_job *j, uint32_t x, cpu_kernel **out) {
    if (s->n_in < x + 2 || !fast_in(s, x) || !fast_in(s, x + 1) || !fast_f32(s->in[x]) || s->in[x]->ndim != 2)
        return PARE_EUNSUPPORTED;
    const pare_operand *logits = s->in[x], *t = s->in[x + 1];
    if (fast_in(s, x + 2) || fast_out(s, 1) || ref_attr_is(s, "reduction", "mean", "none")) return PARE_EUNSUPPORTED;
    j->rows = logits->dims[0];
    j->n = logits->dims[1];
    if (x && (s->in[0]->dtype != PARE_FLOAT || ref_count(s->in[0]) != 1)) return PARE_EUNSUPPORTED;
    if (j->soft ? !fast_f32(t) || !fast_same_dims(t, logits)
                : (t->dtype != PARE_INT64 && t->dtype != PARE_INT32) || (int64_t)ref_count(t) != j->rows)
        return PARE_EUNSUPPORTED;
    j->mean = j->soft || ref_attr_is(s, "reduction", "mean", "mean");
    j->narrow = t->dtype == PARE_INT32;
    j->ignores = ref_attr(s, "ignore_index") != NULL;
    j->ignore = ref_attr_int(s, "ignore_index", -1);
    return made(dev, s, j, x ? slope_run : loss_run, (uint64_t)j->rows * 2 * sizeof(double), -1, out);
}

/* ---- SumTo ---- */

static void columns_part(void *ctx, uint64_t begin, uint64_t end) { /* in vectors of 16 columns */
    const row_job *j = ctx;
    int64_t last = (int64_t)end * 16 < j->n ? (int64_t)end * 16 : j->n;
    j->loops->columns(j->dy, j->before, j->n, (int64_t)begin * 16, last, j->dx);
}

static void runs_part(void *ctx, uint64_t begin, uint64_t end) {
    const row_job *j = ctx;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        double sum = 0;
        for (int64_t b = 0; b < j->before; b++) sum += j->loops->run(j->dy + (b * j->n + i) * j->behind, j->behind);
        j->dx[i] = (float)sum;
    }
}

static pare_status sum_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    row_job j = *(const row_job *)k->impl;
    j.dy = in[0];
    j.dx = out[0];
    if (j.behind == 1)
        cpu_team_run(k->dev->threads, (uint64_t)(j.n + 15) / 16, 1, columns_part, &j);
    else
        cpu_team_run(k->dev->threads, (uint64_t)j.n, 1, runs_part, &j);
    return PARE_OK;
}

/* What is kept lies in one piece: dims that are summed before and behind it alone. */
static pare_status make_sum(cpu_device *dev, const pare_kernel_spec *s, row_job *j, cpu_kernel **out) {
    const pare_operand *dy = s->in[0], *x = s->out[0];
    if (!fast_f32(x) || x->ndim > dy->ndim) return PARE_EUNSUPPORTED;
    j->before = j->n = j->behind = 1;
    int stage = 0; /* 0: before, 1: in it, 2: behind */
    for (uint32_t i = 0; i < dy->ndim; i++) {
        int64_t d = dy->dims[i], kept = i + x->ndim < dy->ndim ? 1 : x->dims[i + x->ndim - dy->ndim];
        if (d == 1) continue;
        if (kept != 1 && kept != d) return PARE_EUNSUPPORTED;
        if (kept == d && stage == 2) return PARE_EUNSUPPORTED;
        if (kept == d)
            stage = 1;
        else if (stage == 1)
            stage = 2;
        *(stage == 0 ? &j->before : stage == 1 ? &j->n : &j->behind) *= d;
    }
    if (j->n == 1) { /* all of it */
        j->behind *= j->before;
        j->before = 1;
    }
    return made(dev, s, j, sum_run, 0, -1, out);
}

/* ---- dropout ---- */

static void drop_part(void *ctx, uint64_t begin, uint64_t end) { /* in fours */
    const row_job *j = ctx;
    const float by = (float)(1 / (1 - j->ratio));
    const uint64_t first = j->first, last = first + (uint64_t)j->n;
    for (uint64_t q = first / 4 + begin; q < first / 4 + end; q++) {
        uint32_t w[4];
        pare_philox(j->seed, j->stream, q, w);
        for (uint64_t i = 4 * q < first ? first : 4 * q; i < 4 * q + 4 && i < last; i++)
            j->dx[i - first] = (double)w[i - 4 * q] * 0x1p-32 < j->ratio ? 0.0f : j->x[i - first] * by;
    }
}

static pare_status drop_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    row_job j = *(const row_job *)k->impl;
    int64_t step;
    memcpy(&step, in[1], sizeof step);
    j.stream = j.stream << 40 ^ pare_dropout_stream(step);
    j.first = pare_dropout_first(step, (uint64_t)j.n);
    j.x = in[0];
    j.dx = out[0];
    cpu_team_run(k->dev->threads, (j.first % 4 + (uint64_t)j.n + 3) / 4, 1024, drop_part, &j);
    return PARE_OK;
}

static pare_status make_drop(cpu_device *dev, const pare_kernel_spec *s, row_job *j, cpu_kernel **out) {
    if (!fast_in(s, 1) || s->in[1]->dtype != PARE_INT64 || ref_count(s->in[1]) != 1) return PARE_EUNSUPPORTED;
    j->n = (int64_t)ref_count(s->in[0]);
    j->ratio = ref_attr_float(s, "ratio", 0.5);
    j->seed = (uint64_t)ref_attr_int(s, "seed", 0);
    j->stream = (uint64_t)ref_attr_int(s, "stream", 0);
    return made(dev, s, j, drop_run, 0, 0, out);
}

pare_status cpu_make_grad_rows(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    typedef enum { SOFTMAX, LAYER, LOSS, SLOPE, SUM, DROP } kind;
    static const struct {
        const char *op_type;
        kind kind;
        bool log, soft;
    } table[] = {{"SoftmaxGrad", SOFTMAX, false, false},
                 {"LogSoftmaxGrad", SOFTMAX, true, false},
                 {"LayerNormGrad", LAYER, false, false},
                 {"SoftCrossEntropy", LOSS, false, true},
                 {"SoftmaxCrossEntropyGrad", SLOPE, false, false},
                 {"SoftCrossEntropyGrad", SLOPE, false, true},
                 {"SumTo", SUM, false, false},
                 {"DropoutTrain", DROP, false, false}};
    size_t row = 0, n = sizeof table / sizeof *table;
    while (row < n && !grad_is(s, table[row].op_type)) row++;
    bool hard = row == n && fast_is(s, "SoftmaxCrossEntropyLoss");
    if ((row == n && !hard) || !s->n_out || !s->n_in || !fast_in(s, 0)) return PARE_EUNSUPPORTED;
    if (s->out[0]->layout.kind == PARE_LAYOUT_OWN || s->out[0]->dtype != PARE_FLOAT) return PARE_EUNSUPPORTED;
    row_job j = {.loops = loops_here(), .log = !hard && table[row].log, .soft = !hard && table[row].soft};
    if (!fast_f32(s->in[0])) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    switch (hard ? LOSS : table[row].kind) {
    case SOFTMAX: return make_softmax(dev, s, &j, out);
    case LAYER: return make_layer(dev, s, &j, out);
    case LOSS: return make_loss(dev, s, &j, 0, out);
    case SLOPE: return make_loss(dev, s, &j, 1, out);
    case SUM: return make_sum(dev, s, &j, out);
    default: return make_drop(dev, s, &j, out);
    }
}
