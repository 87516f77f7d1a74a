/* quantize/bias.c - empirical bias correction. See work.h.
 *
 * A layer in int8 makes, on average, not quite what it made in float: weights are rounded, activations rounded and
 * clipped. The mean error of each output channel is taken out of the bias (Nagel et al., arXiv 1906.04721, section
 * 4.2). All layers in one pass: each is looked at by itself, on the inputs that it gets in the float model, so that
 * what one layer is corrected by doesn't change what the next one is. As a layer is linear, the mean of its output
 * follows from the means of its input channels, in float and rounded; taps of a convolution that fall outside the
 * picture are left out in proportion. Conv, Gemm, and MatMul with an Add behind it; ConvTranspose is left as it is.
 */
#include "work.h"

#include "weights.h"

#include <math.h>
#include <stdlib.h>

enum { SAMPLES = 64, LANES = 8, FLUSH = 64 };

static bool correctable(const quantize_work *w, uint64_t i) {
    const place_node *node = &w->plan.nodes[i];
    if (node->kind != PLACE_HEAVY || !node->on || node->choice < 0) return false;
    const pare_node_info n = quantize_node(&w->q, node->id);
    if (quantize_is(n.op_type, "Conv") || quantize_is(n.op_type, "Gemm")) return true;
    const pare_layer *l = &w->choices.at[node->choice].layer;
    const pare_tensor_info t = quantize_tensor(&w->q, l->tensor);
    return quantize_is(n.op_type, "MatMul") &&
           place_bias_of(&w->q, &w->plan, i, (uint64_t)t.dims[l->out_axis]).node != 0;
}

static bool takes_rows(const quantize_work *w, uint64_t i) {
    return !quantize_is(quantize_node(&w->q, w->plan.nodes[i].id).op_type, "Conv");
}

static const emit_params *params_of(const quantize_work *w, uint32_t value) {
    for (uint64_t i = 0; i < w->plan.n_points; i++)
        if (w->plan.points[i].value == value) return &w->params[w->plan.points[i].source];
    return NULL;
}

static work_mean *mean_of(const quantize_work *w, uint32_t value, bool rows) {
    const emit_params *p = params_of(w, value);
    for (uint64_t i = 0; p && i < w->n_means; i++) {
        work_mean *m = &w->means[i];
        if (m->value == value && m->rows == rows && m->params.scale == p->scale && m->params.zero == p->zero) return m;
    }
    return NULL;
}

/* ---- means ---- */

typedef struct sums {
    work_mean *m;
    const float *x; /* (n, channels, inner) */
    uint64_t n, inner;
    float low, high, inverse, scale; /* the grid without its zero point */
} sums;

/* One row of a channel. Rounding by adding 1.5 x 2^23: half to even, and a loop that compilers make vectors of. */
static void add_row(const sums *s, const float *x, double *sum_x, double *sum_q) {
    const float magic = 12582912.0f;
    for (uint64_t i = 0; i < s->inner;) {
        float a[LANES] = {0}, b[LANES] = {0};
        const uint64_t left = s->inner - i, end = i + (left < LANES * FLUSH ? left / LANES * LANES : LANES * FLUSH);
        for (; i < end; i += LANES)
            for (int k = 0; k < LANES; k++) {
                float v = x[i + (uint64_t)k] * s->inverse;
                v = v < s->low ? s->low : v;
                v = v > s->high ? s->high : v;
                a[k] += x[i + (uint64_t)k];
                b[k] += (v + magic) - magic;
            }
        for (int k = 0; k < LANES; k++) {
            *sum_x += (double)a[k];
            *sum_q += (double)b[k];
        }
        for (; left < LANES * FLUSH && i < s->inner; i++) {
            float v = x[i] * s->inverse;
            v = v < s->low ? s->low : v > s->high ? s->high : v;
            *sum_x += (double)x[i];
            *sum_q += (double)rintf(v);
        }
    }
}

static void add_channel(void *ctx, uint64_t c) {
    const sums *s = ctx;
    double x = 0, q = 0;
    for (uint64_t n = 0; n < s->n; n++) add_row(s, s->x + (n * s->m->channels + c) * s->inner, &x, &q);
    s->m->x[c] += x;
    s->m->rounded[c] += q * (double)s->scale;
}

/* dims (N, C, …) of Conv's input, (…, C) of Gemm's. */
static pare_status shape(work_mean *m, const pare_view *v) {
    if (v->ndim < 2 || v->ndim > 6) return PARE_EUNSUPPORTED;
    const uint64_t channels = (uint64_t)v->dims[m->rows ? v->ndim - 1 : 1];
    if (m->channels) return m->channels == channels ? PARE_OK : PARE_EUNSUPPORTED;
    m->channels = channels;
    m->n_space = m->rows ? 0 : v->ndim - 2;
    for (uint32_t i = 0; i < m->n_space; i++) m->space[i] = v->dims[i + 2];
    m->x = calloc((size_t)channels * 2 + 1, sizeof *m->x);
    m->rounded = m->x ? m->x + channels : NULL;
    return m->x ? PARE_OK : PARE_ENOMEM;
}

static pare_status add_batch(quantize_work *w, pare_runner *runner, uint64_t first) {
    for (uint64_t i = first; i < w->n_means; i++) {
        pare_view v = {.size = sizeof v};
        work_mean *m = &w->means[i];
        pare_status st = w->q.run->value(w->q.host, runner, i - first, &v);
        if (!st && v.dtype != PARE_FLOAT) st = PARE_EUNSUPPORTED;
        if (!st) st = shape(m, &v);
        if (st) return st;
        if (!v.count) continue;
        sums s = {.m = m,
                  .x = (const float *)(const void *)((const char *)v.data + v.byte_offset),
                  .n = m->rows ? v.count / m->channels : (uint64_t)v.dims[0],
                  .inner = m->rows ? 1 : v.count / (uint64_t)v.dims[0] / m->channels,
                  .low = (float)(w->grid.qmin - m->params.zero),
                  .high = (float)(w->grid.qmax - m->params.zero),
                  .inverse = 1 / m->params.scale,
                  .scale = m->params.scale};
        w->q.host->parallel(w->q.host, m->channels, add_channel, &s);
        m->count += s.n * s.inner;
    }
    return PARE_OK;
}

/* Means of the inputs that are not known yet. */
static pare_status collect(quantize_work *w) {
    const uint64_t first = w->n_means;
    uint32_t *values = quantize_scratch(&w->q, w->plan.n_nodes, sizeof *values);
    work_mean *more = realloc(w->means, (size_t)(w->n_means + w->plan.n_nodes + 1) * sizeof *more);
    if (more) w->means = more;
    if (!more || !values) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const emit_params *p = params_of(w, w->x[i]);
        if (!correctable(w, i) || !p || mean_of(w, w->x[i], takes_rows(w, i))) continue;
        values[w->n_means - first] = w->x[i];
        w->means[w->n_means++] = (work_mean){.value = w->x[i], .rows = takes_rows(w, i), .params = *p};
    }
    const uint64_t n = w->n_means - first;
    if (!n) return PARE_OK;
    verify_side run = {0};
    const uint64_t samples = w->o->samples && w->o->samples < SAMPLES ? w->o->samples : SAMPLES;
    pare_status st = verify_open(&w->q, values, n, w->o->data, samples, work_batch(w), &run);
    pare_runner_batch batch = {.size = sizeof batch};
    while (!st && !(st = w->q.run->next(w->q.host, run.runner, &batch))) {
        st = add_batch(w, run.runner, first);
        batch.size = sizeof batch;
    }
    verify_close(&w->q, &run);
    for (uint64_t i = first; i < w->n_means; i++)
        for (uint64_t c = 0; c < w->means[i].channels && w->means[i].count; c++) {
            w->means[i].x[c] /= (double)w->means[i].count;
            w->means[i].rounded[c] /= (double)w->means[i].count;
        }
    return st == PARE_ENOTFOUND ? PARE_OK : st;
}

/* ---- what a layer makes of them ---- */

static int64_t ints(const quantize_apis *q, uint32_t node, const char *name, uint32_t i, int64_t absent) {
    pare_attribute a = {.size = sizeof a};
    if (q->graph->attr_get(q->host, q->model, node, name, &a) || a.type != PARE_ATTRIBUTE_INTS || i >= a.n)
        return absent;
    return a.ints[i];
}

/* Share of the output's places along one axis whose tap `k` falls inside the picture. */
static double covered(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t begin, int64_t end,
                      int64_t k) {
    const int64_t out = (size + begin + end - dilation * (kernel - 1) - 1) / stride + 1;
    int64_t inside = 0;
    if (out < 1) return 0;
    for (int64_t o = 0; o < out; o++) {
        const int64_t at = o * stride + k * dilation - begin;
        inside += at >= 0 && at < size;
    }
    return (double)inside / (double)out;
}

/* share[tap], taps in the order of the weight. false: padding that isn't written out. */
static bool taps(const quantize_apis *q, uint32_t node, const work_mean *m, const int64_t *kernel, double *share) {
    pare_attribute a = {.size = sizeof a};
    const bool named = !q->graph->attr_get(q->host, q->model, node, "auto_pad", &a) &&
                       a.type == PARE_ATTRIBUTE_STRING && strcmp(a.s, "NOTSET") != 0 && strcmp(a.s, "VALID") != 0;
    uint64_t n = 1;
    if (named) return false;
    share[0] = 1;
    for (uint32_t d = 0; d < m->n_space; d++) {
        const int64_t stride = ints(q, node, "strides", d, 1), dilation = ints(q, node, "dilations", d, 1);
        const int64_t begin = ints(q, node, "pads", d, 0), end = ints(q, node, "pads", d + m->n_space, 0);
        for (uint64_t i = n; i-- > 0;) /* from the back: what is read isn't overwritten yet */
            for (int64_t k = kernel[d]; k-- > 0;)
                share[i * (uint64_t)kernel[d] + (uint64_t)k] =
                    share[i] * covered(m->space[d], kernel[d], stride, dilation, begin, end, k);
        n *= (uint64_t)kernel[d];
    }
    return true;
}

typedef struct layer {
    const work_mean *m;
    const float *weight;
    const int8_t *quantized;
    const float *scale;
    bool one;                         /* scale */
    uint64_t outputs, inputs, n_taps; /* inputs: of a group */
    uint64_t groups;
    uint64_t out_step, in_step; /* in elements of the weight */
    const double *share;
    float *shift;
} layer;

static void shift_output(void *ctx, uint64_t o) {
    const layer *l = ctx;
    const uint64_t first = o / (l->outputs / l->groups) * l->inputs;
    double error = 0;
    for (uint64_t i = 0; i < l->inputs; i++) {
        const double x = l->m->x[first + i], rounded = l->m->rounded[first + i];
        for (uint64_t t = 0; t < l->n_taps; t++) {
            const uint64_t at = o * l->out_step + i * l->in_step + t;
            const double q = (double)l->scale[l->one ? 0 : o] * (double)l->quantized[at];
            error += l->share[t] * ((double)l->weight[at] * x - q * rounded);
        }
    }
    l->shift[o] = (float)error;
}

static pare_status correct_layer(quantize_work *w, uint64_t index) {
    const place_node *node = &w->plan.nodes[index];
    const quantize_choice *choice = &w->choices.at[node->choice];
    const pare_node_info n = quantize_node(&w->q, node->id);
    const bool conv = quantize_is(n.op_type, "Conv");
    const pare_constant c = quantize_constant(&w->q, n.in[1]);
    const pare_tensor_info t = quantize_tensor(&w->q, c.tensor);
    layer l = {.m = mean_of(w, w->x[index], takes_rows(w, index)), .groups = 1, .n_taps = 1};
    int64_t dims[8];
    pare_status st = PARE_OK;
    if (!l.m || !l.m->count || t.ndim > 8) return PARE_OK;
    float *data = malloc((size_t)t.count * sizeof *data);
    int8_t *quantized = malloc((size_t)t.count);
    pare_view v = {.size = sizeof v};
    st = data && quantized ? w->q.tensors->borrow(w->q.host, w->q.model, c.tensor, PARE_READ, &v) : PARE_ENOMEM;
    if (st) goto out;
    weights_permute((const char *)v.data + v.byte_offset, t.dims, t.ndim, c.perm, sizeof *data, data);
    w->q.tensors->release(w->q.host, w->q.model, c.tensor);
    int32_t axis = -1;
    for (uint32_t i = 0; i < t.ndim; i++) {
        dims[i] = t.dims[c.perm[i]];
        if (c.perm[i] == choice->layer.out_axis) axis = (int32_t)i;
    }
    if (conv) l.groups = choice->layer.groups;
    for (uint32_t i = 2; conv && i < t.ndim; i++) l.n_taps *= (uint64_t)dims[i];
    l.outputs = (uint64_t)dims[axis];
    l.inputs = (uint64_t)dims[1 - axis];
    l.out_step = axis == 0 ? l.inputs * l.n_taps : 1;
    l.in_step = axis == 0 ? l.n_taps : l.outputs;
    if (l.inputs * l.groups != l.m->channels || (conv && t.ndim != l.m->n_space + 2) || (!conv && l.m->n_space))
        goto out;
    const weights_shape s = weights_shape_of(dims, t.ndim, choice->per_tensor ? -1 : axis);
    float *scale = quantize_scratch(&w->q, s.channels, sizeof *scale);
    double *share = quantize_scratch(&w->q, l.n_taps, sizeof *share);
    l.shift = quantize_scratch(&w->q, l.outputs, sizeof *l.shift);
    if (!scale || !share || !l.shift) {
        st = PARE_ENOMEM;
        goto out;
    }
    if (!weights_scales(data, &s, w->bits[node->choice], scale)) goto out; /* the edit will name it */
    weights_quantize(data, &s, w->bits[node->choice], scale, quantized);
    if (!taps(&w->q, node->id, l.m, dims + 2, share)) goto out;
    l.weight = data;
    l.quantized = quantized;
    l.scale = scale;
    l.one = s.channels == 1;
    l.share = share;
    w->q.host->parallel(w->q.host, l.outputs, shift_output, &l);
    w->shift[index] = l.shift;
    w->corrected++;
out:
    free(data);
    free(quantized);
    return st;
}

pare_status quantize_correct(quantize_work *w) {
    pare_status st = collect(w);
    w->corrected = 0;
    w->shift = quantize_scratch(&w->q, w->plan.n_nodes, sizeof *w->shift);
    if (!w->shift) return PARE_ENOMEM;
    for (uint64_t i = 0; i < w->plan.n_nodes && !st; i++)
        if (correctable(w, i)) st = correct_layer(w, i);
    return st;
}

void quantize_correct_free(quantize_work *w) {
    for (uint64_t i = 0; i < w->n_means; i++) free(w->means[i].x);
    free(w->means);
    w->means = NULL;
    w->n_means = 0;
}
