/* plugins/cpu/ref/ref_grad_act.c - gradients of activations, dropout, and what moves weights. See ref_grad.h. */
#include "ref_grad.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

static double sigmoid(double v) { return v >= 0 ? 1 / (1 + exp(-v)) : exp(v) / (1 + exp(v)); }
static double softplus(double v) { return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v)); }

/* d y / d x, from x, or from y where the op's row in pare/grad_ops.h says so; a, b: its parameters. */
typedef double slope_fn(double v, double a, double b);
static double relu(double y, double a, double b) { return (void)a, (void)b, y > 0 ? 1 : y <= 0 ? 0 : y; }
static double leaky(double x, double a, double b) { return (void)b, x > 0 ? 1 : a; } /* at 0 as PyTorch */
static double elu(double x, double a, double b) { return (void)b, x > 0 ? 1 : a * exp(x); }
static double selu(double x, double a, double b) { return x <= 0 ? b * a * exp(x) : b; }
static double sigmoid_y(double y, double a, double b) { return (void)a, (void)b, y * (1 - y); }
static double tanh_y(double y, double a, double b) { return (void)a, (void)b, 1 - y * y; }
static double hard_sigmoid(double x, double a, double b) { return a * x + b > 0 && a * x + b < 1 ? a : 0; }
static double hard_swish(double x, double a, double b) {
    return (void)a, (void)b, x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
}
static double softplus_x(double x, double a, double b) { return (void)a, (void)b, sigmoid(x); }
static double gelu(double x, double a, double b) {
    (void)a, (void)b;
    return 0.5 * (1 + erf(x * 0.70710678118654752440)) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}
static double gelu_tanh(double x, double a, double b) {
    (void)a, (void)b;
    double t = tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.79788456080286535588 * (1 + 3 * 0.044715 * x * x);
}
static double mish(double x, double a, double b) {
    (void)a, (void)b;
    double t = tanh(softplus(x));
    return t + x * (1 - t * t) * sigmoid(x);
}

static const struct {
    const char *op;
    slope_fn *slope;
    const char *a, *b;
    double a_default, b_default;
} table[] = {
    {"ReluGrad", relu, NULL, NULL, 0, 0},
    {"LeakyReluGrad", leaky, "alpha", NULL, 0.01f, 0},
    {"EluGrad", elu, "alpha", NULL, 1, 0},
    {"SeluGrad", selu, "alpha", "gamma", 1.67326319217681884765625, 1.05070102214813232421875},
    {"SigmoidGrad", sigmoid_y, NULL, NULL, 0, 0},
    {"TanhGrad", tanh_y, NULL, NULL, 0, 0},
    {"HardSigmoidGrad", hard_sigmoid, "alpha", "beta", 0.2f, 0.5},
    {"HardSwishGrad", hard_swish, NULL, NULL, 0, 0},
    {"SoftplusGrad", softplus_x, NULL, NULL, 0, 0},
    {"GeluGrad", gelu, NULL, NULL, 0, 0},
    {"MishGrad", mish, NULL, NULL, 0, 0},
};

pare_status refg_activation(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    refg g;
    pare_status st = refg_begin(&g, c, 3, 2, 1);
    if (st) return st;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].op, s->op_type) != 0) continue;
        slope_fn *slope = table[i].slope;
        if (slope == gelu && ref_attr_is(s, "approximate", "none", "tanh")) slope = gelu_tanh;
        double a = table[i].a ? ref_attr_float(s, table[i].a, table[i].a_default) : 0;
        double b = table[i].b ? ref_attr_float(s, table[i].b, table[i].b_default) : 0;
        for (uint64_t k = 0; k < ref_count(s->out[0]); k++) g.out[0][k] = g.in[0][k] * slope(g.in[1][k], a, b);
        return refg_end(&g, PARE_OK);
    }
    return refg_end(&g, PARE_EUNSUPPORTED);
}

/* dy x min max -> dx */
pare_status refg_clip(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 15, 2, 1);
    if (st) return st;
    double min = g.in[2] ? g.in[2][0] : -INFINITY, max = g.in[3] ? g.in[3][0] : INFINITY;
    for (uint64_t k = 0; k < ref_count(c->spec->out[0]); k++)
        g.out[0][k] = g.in[1][k] < min || g.in[1][k] > max ? 0 : g.in[0][k];
    return refg_end(&g, PARE_OK);
}

/* x step -> y. An element's own number in the stream of (seed, stream, step): the same draw forward and back, and in
 * whatever parts a batch comes. */
pare_status refg_dropout(const ref_call *c) {
    refg g;
    const pare_kernel_spec *s = c->spec;
    pare_status st = refg_begin(&g, c, 1, 2, 1);
    if (st) return st;
    double ratio = ref_attr_float(s, "ratio", 0.5);
    uint64_t seed = (uint64_t)ref_attr_int(s, "seed", 0), n = ref_count(s->out[0]);
    int64_t step = ref_get_int(c->in[1], PARE_INT64, 0);
    uint64_t stream = (uint64_t)ref_attr_int(s, "stream", 0) << 40 ^ pare_dropout_stream(step);
    for (uint64_t i = 0, first = pare_dropout_first(step, n); i < n; i++) {
        uint32_t w[4];
        pare_philox(seed, stream, (first + i) / 4, w);
        g.out[0][i] = (double)w[(first + i) % 4] * 0x1p-32 < ratio ? 0 : g.in[0][i] / (1 - ratio);
    }
    return refg_end(&g, PARE_OK);
}

/* ---- what moves weights ---- */

/* NaN and Inf pass through. */
pare_status refg_global_norm(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    double sum = 0;
    const int64_t n = ref_attr_int(s, "gradients", s->n_in);
    for (uint32_t i = 0; i < n && i < s->n_in; i++) {
        const uint64_t at = (uint64_t)n + i;
        const uint8_t *mask = at < s->n_in && ref_has(s, (uint32_t)at) ? c->in[at] : NULL;
        for (uint64_t k = 0; ref_has(s, i) && k < ref_count(s->in[i]); k++) {
            double v = ref_get(c->in[i], s->in[i]->dtype, k);
            if (!mask || mask[k / 8] >> k % 8 & 1) sum += v * v;
        }
    }
    ref_set(c->out[0], s->out[0]->dtype, 0, sqrt(sum));
    return PARE_OK;
}

typedef struct update {
    double lr, momentum, beta2, epsilon, decay, clip, step, scale;
    const uint8_t *mask;
} update;

static bool read_update(const ref_call *c, uint32_t hyper, update *u) {
    const pare_kernel_spec *s = c->spec;
    double h[8], norm = 0;
    if (!ref_has(s, hyper) || ref_count(s->in[hyper]) != 8) return false;
    for (uint64_t i = 0; i < 8; i++) h[i] = ref_get(c->in[hyper], s->in[hyper]->dtype, i);
    bool has_norm = hyper + 1 < s->n_in && ref_has(s, hyper + 1);
    if (has_norm) norm = ref_get(c->in[hyper + 1], s->in[hyper + 1]->dtype, 0);
    *u = (update){h[0] * ref_attr_float(s, "lr_mult", 1),
                  h[1],
                  h[2],
                  h[3],
                  h[4] * ref_attr_float(s, "decay_mult", 1),
                  h[5],
                  h[6],
                  h[7],
                  hyper + 2 < s->n_in && ref_has(s, hyper + 2) ? c->in[hyper + 2] : NULL};
    if (u->clip > 0 && has_norm) {
        double factor = u->clip / (u->scale * norm + 1e-6);
        if (factor < 1) u->scale *= factor;
    }
    return true;
}

static bool lives(const update *u, uint64_t i) { return !u->mask || (u->mask[i / 8] >> i % 8 & 1); }

/* w g velocity hyper norm mask -> w' velocity' */
pare_status refg_sgd(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    refg g;
    update u;
    pare_status st = refg_begin(&g, c, 7, 4, 1);
    if (st) return st;
    if (!read_update(c, 3, &u)) return refg_end(&g, PARE_EINVAL);
    bool nesterov = ref_attr_int(s, "nesterov", 0) != 0, decoupled = ref_attr_int(s, "decoupled", 0) != 0;
    for (uint64_t i = 0; i < ref_count(s->out[0]); i++) {
        double w = g.in[0][i], d = g.in[1][i] * u.scale;
        if (!lives(&u, i)) continue; /* outputs start as zeros */
        if (decoupled)
            w -= u.lr * u.decay * w;
        else
            d += u.decay * w;
        if (g.in[2]) {
            double v = u.step <= 1 ? d : u.momentum * g.in[2][i] + d;
            if (g.out[1]) g.out[1][i] = v;
            d = nesterov ? d + u.momentum * v : v;
        }
        g.out[0][i] = w - u.lr * d;
    }
    return refg_end(&g, PARE_OK);
}

/* w g m v hyper norm mask -> w' m' v' */
pare_status refg_adam(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    refg g;
    update u;
    pare_status st = refg_begin(&g, c, 15, 5, 3);
    if (st) return st;
    if (!read_update(c, 4, &u)) return refg_end(&g, PARE_EINVAL);
    bool decoupled = ref_attr_int(s, "decoupled", 0) != 0;
    double fix1 = 1 - pow(u.momentum, u.step), fix2 = 1 - pow(u.beta2, u.step);
    for (uint64_t i = 0; i < ref_count(s->out[0]); i++) {
        double w = g.in[0][i], d = g.in[1][i] * u.scale;
        if (!lives(&u, i)) continue;
        if (decoupled)
            w -= u.lr * u.decay * w;
        else
            d += u.decay * w;
        double m = u.momentum * g.in[2][i] + (1 - u.momentum) * d, v = u.beta2 * g.in[3][i] + (1 - u.beta2) * d * d;
        g.out[1][i] = m;
        g.out[2][i] = v;
        g.out[0][i] = w - u.lr / fix1 * m / (sqrt(v) / sqrt(fix2) + u.epsilon);
    }
    return refg_end(&g, PARE_OK);
}

/* ema w decay -> ema' */
pare_status refg_ema(const ref_call *c) {
    refg g;
    pare_status st = refg_begin(&g, c, 7, 3, 1);
    if (st) return st;
    for (uint64_t i = 0; i < ref_count(c->spec->out[0]); i++)
        g.out[0][i] = g.in[2][0] * g.in[0][i] + (1 - g.in[2][0]) * g.in[1][i];
    return refg_end(&g, PARE_OK);
}
