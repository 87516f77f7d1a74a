/* plugins/cpu/ref/ref_grad_norm.c - normalisation in training, its gradients, softmax and cross-entropy. */
#include "ref_grad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- batch normalization; a channel's elements are (batch, inner) ---- */

static double relu_of(const refg *g, double v) {
    if (!ref_attr_int(g->c->spec, "relu", 0)) return v;
    double high = ref_attr_float(g->c->spec, "high", INFINITY);
    return v < 0 ? 0 : v > high ? high : v;
}

/* x scale bias mean var -> y mean' var' saved_mean saved_inv_std; mean and var may be absent with their successors */
pare_status refg_batch_norm_train(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 31, 3, 1);
    if (st) return st;
    if ((g.out[1] && !g.in[3]) || (g.out[2] && !g.in[4])) return refg_end(&g, PARE_EINVAL);
    refg_view v = refg_view_of(c->spec->in[0], 1);
    double eps = ref_attr_float(c->spec, "epsilon", 1e-5f), keep = ref_attr_float(c->spec, "momentum", 0.9f);
    double n = (double)(v.outer * v.inner);
    for (int64_t ch = 0; ch < v.axis; ch++) {
        double mean = 0, var = 0;
        for (int64_t o = 0; o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++) mean += g.in[0][(o * v.axis + ch) * v.inner + i];
        mean /= n;
        for (int64_t o = 0; o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++) {
                double d = g.in[0][(o * v.axis + ch) * v.inner + i] - mean;
                var += d * d;
            }
        var /= n;
        double inv = 1 / sqrt(var + eps);
        for (int64_t o = 0; g.out[0] && o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++) {
                int64_t at = (o * v.axis + ch) * v.inner + i;
                g.out[0][at] = relu_of(&g, (g.in[0][at] - mean) * inv * g.in[1][ch] + g.in[2][ch]);
            }
        if (g.out[1]) g.out[1][ch] = keep * g.in[3][ch] + (1 - keep) * mean;
        if (g.out[2]) g.out[2][ch] = keep * g.in[4][ch] + (1 - keep) * (n > 1 ? var * n / (n - 1) : var);
        if (g.out[3]) g.out[3][ch] = mean;
        if (g.out[4]) g.out[4][ch] = inv;
    }
    return refg_end(&g, PARE_OK);
}

/* One normalised group of n elements: x = (value - mean) * inv. Adds dx. dxhat: dy times the scale. */
static void spread(const double *xhat, const double *dxhat, double inv, int64_t n, double *dx) {
    double sum = 0, along = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += dxhat[i];
        along += dxhat[i] * xhat[i];
    }
    for (int64_t i = 0; i < n; i++) dx[i] = inv * (dxhat[i] - sum / (double)n - xhat[i] * along / (double)n);
}

/* dy x scale saved_mean saved_inv_std y bias -> dx dscale dbias */
pare_status refg_batch_norm(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 127, 5, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->in[1], 1);
    int64_t n = v.outer * v.inner;
    bool relu = ref_attr_int(c->spec, "relu", 0) && (g.in[5] || g.in[6]);
    double high = ref_attr_float(c->spec, "high", INFINITY);
    double *xhat = refb_alloc((uint64_t)n * 3, sizeof *xhat), *d = xhat ? xhat + n : NULL, *dx = d ? d + n : NULL;
    if (!xhat) return refg_end(&g, PARE_ENOMEM);
    for (int64_t ch = 0; ch < v.axis; ch++) {
        double dscale = 0, dbias = 0;
        for (int64_t o = 0, k = 0; o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++, k++) {
                int64_t at = (o * v.axis + ch) * v.inner + i;
                xhat[k] = (g.in[1][at] - g.in[3][ch]) * g.in[4][ch];
                double y = !relu ? 0 : g.in[5] ? g.in[5][at] : xhat[k] * g.in[2][ch] + g.in[6][ch];
                double dy = relu && !(y > 0 && y < high) ? 0 : g.in[0][at];
                d[k] = dy * g.in[2][ch];
                dscale += dy * xhat[k];
                dbias += dy;
            }
        spread(xhat, d, g.in[4][ch], n, dx);
        for (int64_t o = 0, k = 0; g.out[0] && o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++, k++) g.out[0][(o * v.axis + ch) * v.inner + i] = dx[k];
        if (g.out[1]) g.out[1][ch] = dscale;
        if (g.out[2]) g.out[2][ch] = dbias;
    }
    free(xhat);
    return refg_end(&g, PARE_OK);
}

/* Groups of n elements that lie together; element i of group r has the scale number `scale_of`. */
static pare_status groups(refg *g, int64_t rows, int64_t n, double eps, int64_t n_scale, int64_t inner, int64_t cycle) {
    double *xhat = refb_alloc((uint64_t)n * 2, sizeof *xhat), *d = xhat ? xhat + n : NULL;
    if (!xhat) return PARE_ENOMEM;
    for (int64_t r = 0; r < rows; r++) {
        const double *x = g->in[1] + r * n, *dy = g->in[0] + r * n;
        double mean = 0, var = 0;
        for (int64_t i = 0; i < n; i++) mean += x[i];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
        double inv = 1 / sqrt(var / (double)n + eps);
        for (int64_t i = 0; i < n; i++) {
            int64_t s = (r % cycle * n + i) / inner % n_scale;
            xhat[i] = (x[i] - mean) * inv;
            d[i] = dy[i] * (g->in[2] ? g->in[2][s] : 1);
            if (g->out[1]) g->out[1][s] += dy[i] * xhat[i];
            if (g->out[2]) g->out[2][s] += dy[i];
        }
        if (g->out[0]) spread(xhat, d, inv, n, g->out[0] + r * n);
    }
    free(xhat);
    return PARE_OK;
}

/* dy x scale -> dx dscale dbias; scale has the dims from axis on, or fewer behind those that are 1 */
pare_status refg_layer_norm(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 7, 2, 1);
    if (st) return st;
    const pare_operand *x = c->spec->in[1];
    int64_t axis = ref_axis(ref_attr_int(c->spec, "axis", -1), x->ndim);
    int64_t n = (int64_t)refb_product(x->dims + axis, x->ndim - (uint32_t)axis);
    int64_t n_scale = g.in[2] ? (int64_t)ref_count(c->spec->in[2]) : n;
    if (n && (!n_scale || n % n_scale)) return refg_end(&g, PARE_EUNSUPPORTED);
    if (n) st = groups(&g, (int64_t)ref_count(x) / n, n, ref_attr_float(c->spec, "epsilon", 1e-5f), n_scale, 1, 1);
    return refg_end(&g, st);
}

/* InstanceNormGrad too, whose groups are single channels: dy x scale -> dx dscale dbias, scale (C) */
pare_status refg_group_norm(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 7, 3, 1);
    if (st) return st;
    const pare_operand *x = c->spec->in[1];
    if (x->ndim < 2) return refg_end(&g, PARE_EINVAL);
    int64_t per_image =
        strcmp(c->spec->op_type, "InstanceNormGrad") == 0 ? x->dims[1] : ref_attr_int(c->spec, "num_groups", 1);
    int64_t inner = (int64_t)refb_product(x->dims + 2, x->ndim - 2), all = x->dims[1] * inner;
    if (per_image < 1 || x->dims[1] % per_image) return refg_end(&g, PARE_EINVAL);
    if (ref_count(x))
        st = groups(&g, x->dims[0] * per_image, all / per_image, ref_attr_float(c->spec, "epsilon", 1e-5f), x->dims[1],
                    inner, per_image);
    return refg_end(&g, st);
}

/* y = x * s^-beta, s = bias + alpha / size * sum of squares nearby. dy x y -> dx */
pare_status refg_lrn(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->in[1], 1);
    int64_t size = ref_attr_int(c->spec, "size", 1), before = (size - 1) / 2, behind = size - 1 - before;
    double alpha = ref_attr_float(c->spec, "alpha", 1e-4f), beta = ref_attr_float(c->spec, "beta", 0.75f),
           bias = ref_attr_float(c->spec, "bias", 1);
    for (int64_t o = 0; o < v.outer; o++)
        for (int64_t i = 0; i < v.inner; i++)
            for (int64_t ch = 0; ch < v.axis; ch++) {
                int64_t lo = ch < before ? 0 : ch - before, hi = ch + behind >= v.axis ? v.axis - 1 : ch + behind;
                int64_t at = (o * v.axis + ch) * v.inner + i;
                double s = 0;
                for (int64_t k = lo; k <= hi; k++) {
                    double x = g.in[1][(o * v.axis + k) * v.inner + i];
                    s += x * x;
                }
                s = bias + alpha / (double)size * s;
                double dy = g.in[0][at], x = g.in[1][at], slope = -beta * pow(s, -beta - 1) * alpha / (double)size * 2;
                g.out[0][at] += dy * pow(s, -beta);
                for (int64_t k = lo; k <= hi; k++) {
                    int64_t to = (o * v.axis + k) * v.inner + i;
                    g.out[0][to] += dy * x * slope * g.in[1][to];
                }
            }
    return refg_end(&g, PARE_OK);
}

/* ---- softmax: dy y -> dx ---- */

static pare_status softmax(const ref_call *c, bool log) {
    refg g;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->in[0], ref_attr_int(c->spec, "axis", -1));
    for (int64_t o = 0; o < v.outer; o++)
        for (int64_t i = 0; i < v.inner; i++) {
            double sum = 0;
            for (int64_t k = 0; k < v.axis; k++) {
                int64_t at = (o * v.axis + k) * v.inner + i;
                sum += log ? g.in[0][at] : g.in[0][at] * g.in[1][at];
            }
            for (int64_t k = 0; k < v.axis; k++) {
                int64_t at = (o * v.axis + k) * v.inner + i;
                g.out[0][at] = log ? g.in[0][at] - exp(g.in[1][at]) * sum : g.in[1][at] * (g.in[0][at] - sum);
            }
        }
    return refg_end(&g, PARE_OK);
}

pare_status refg_softmax(const ref_call *c) { return softmax(c, false); }
pare_status refg_log_softmax(const ref_call *c) { return softmax(c, true); }

/* ---- cross-entropy ---- */

/* log(softmax) of one row whose elements are `inner` apart. */
static void log_softmax(const double *x, int64_t n, int64_t inner, double *out) {
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < n; k++) top = x[k * inner] > top || x[k * inner] != x[k * inner] ? x[k * inner] : top;
    for (int64_t k = 0; k < n; k++) sum += exp(x[k * inner] - top);
    for (int64_t k = 0; k < n; k++) out[k * inner] = x[k * inner] - top - log(sum);
}

typedef enum { NONE, MEAN, SUM } reduction;

static reduction reduction_of(const pare_kernel_spec *s) {
    return ref_attr_is(s, "reduction", "mean", "mean") ? MEAN : ref_attr_is(s, "reduction", "mean", "sum") ? SUM : NONE;
}

/* ONNX's SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss: scores labels [weights] -> loss [log_prob] */
pare_status refg_cross_entropy_loss(const ref_call *c) {
    refg g;
    const pare_kernel_spec *s = c->spec;
    pare_status st = refg_begin(&g, c, 1 | 4, 2, 1);
    if (st) return st;
    bool plain = strcmp(s->op_type, "NegativeLogLikelihoodLoss") == 0, ignores = ref_attr(s, "ignore_index") != NULL;
    int64_t ignore = ref_attr_int(s, "ignore_index", -1);
    refg_view v = refg_view_of(s->in[0], 1);
    double *p = refb_alloc(ref_count(s->in[0]), sizeof *p), total = 0, weights = 0;
    if (!p) return refg_end(&g, PARE_ENOMEM);
    for (int64_t r = 0; r < v.outer * v.inner; r++) {
        int64_t first = r / v.inner * v.axis * v.inner + r % v.inner;
        int64_t label = ref_get_int(c->in[1], s->in[1]->dtype, (uint64_t)r);
        if (plain)
            for (int64_t k = 0; k < v.axis; k++) p[first + k * v.inner] = g.in[0][first + k * v.inner];
        else
            log_softmax(g.in[0] + first, v.axis, v.inner, p + first);
        if (ignores && label == ignore) continue;
        if (label < 0 || label >= v.axis) {
            st = PARE_EINVAL;
            break;
        }
        double w = g.in[2] ? g.in[2][label] : 1, loss = -w * p[first + label * v.inner];
        if (reduction_of(s) == NONE && g.out[0]) g.out[0][r] = loss;
        total += loss;
        weights += w;
    }
    if (reduction_of(s) != NONE && g.out[0]) g.out[0][0] = reduction_of(s) == SUM ? total : total / weights;
    for (uint64_t i = 0; s->n_out > 1 && g.out[1] && i < ref_count(s->out[1]); i++) g.out[1][i] = p[i];
    free(p);
    return refg_end(&g, st);
}

/* dloss logits labels -> dlogits */
pare_status refg_cross_entropy(const ref_call *c) {
    refg g;
    const pare_kernel_spec *s = c->spec;
    pare_status st = refg_begin(&g, c, 3, 3, 1);
    if (st) return st;
    bool ignores = ref_attr(s, "ignore_index") != NULL;
    int64_t ignore = ref_attr_int(s, "ignore_index", -1), counted = 0;
    refg_view v = refg_view_of(s->in[1], 1);
    for (int64_t r = 0; r < v.outer * v.inner; r++)
        counted += !ignores || ref_get_int(c->in[2], s->in[2]->dtype, (uint64_t)r) != ignore;
    double scale = g.in[0][0] / (reduction_of(s) == SUM ? 1 : (double)counted);
    for (int64_t r = 0; r < v.outer * v.inner; r++) {
        int64_t first = r / v.inner * v.axis * v.inner + r % v.inner;
        int64_t label = ref_get_int(c->in[2], s->in[2]->dtype, (uint64_t)r);
        if (ignores && label == ignore) continue;
        if (label < 0 || label >= v.axis) return refg_end(&g, PARE_EINVAL);
        log_softmax(g.in[1] + first, v.axis, v.inner, g.out[0] + first);
        for (int64_t k = 0; k < v.axis; k++) {
            double *d = &g.out[0][first + k * v.inner];
            *d = scale * (exp(*d) - (k == label));
        }
    }
    return refg_end(&g, PARE_OK);
}

/* logits target -> loss, the mean over rows */
pare_status refg_soft_cross_entropy_loss(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->in[0], 1);
    double *p = refb_alloc((uint64_t)v.axis, sizeof *p), total = 0;
    for (int64_t r = 0; p && r < v.outer; r++) {
        log_softmax(g.in[0] + r * v.axis, v.axis, 1, p);
        for (int64_t k = 0; k < v.axis; k++) {
            double t = g.in[1][r * v.axis + k];
            if (t != 0) total -= t * p[k];
        }
    }
    if (p) g.out[0][0] = total / (double)v.outer;
    st = p ? PARE_OK : PARE_ENOMEM;
    free(p);
    return refg_end(&g, st);
}

/* dloss logits target -> dlogits: softmax times the target's sum, less the target */
pare_status refg_soft_cross_entropy(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 7, 3, 1);
    if (st) return st;
    refg_view v = refg_view_of(c->spec->in[1], 1);
    for (int64_t r = 0; r < v.outer; r++) {
        double *d = g.out[0] + r * v.axis, sum = 0;
        log_softmax(g.in[1] + r * v.axis, v.axis, 1, d);
        for (int64_t k = 0; k < v.axis; k++) sum += g.in[2][r * v.axis + k];
        for (int64_t k = 0; k < v.axis; k++)
            d[k] = g.in[0][0] / (double)v.outer * (exp(d[k]) * sum - g.in[2][r * v.axis + k]);
    }
    return refg_end(&g, PARE_OK);
}
