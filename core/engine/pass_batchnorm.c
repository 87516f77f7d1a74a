/* engine/pass_batchnorm.c - BatchNormalization behind Conv, ConvTranspose and Gemm goes into their weights. See pass.h.
 *
 * y = (x - mean) * scale / sqrt(var + eps) + b, so with k = scale / sqrt(var + eps): w' = w * k per output channel and
 * b' = (b - mean) * k + beta. In double, rounded once. Not: training mode, weights that others use. May use: model.
 */
#include "engine/pass.h"

#include "model/edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct channels {
    size_t n;
    double *k, *shift; /* y = x * k + shift */
} channels;

static const float *floats(const pare_model *m, const pare_node *n, uint32_t i, size_t want, pare_diags *d) {
    pare_tensor *t = pare_pass_constant(m, n, i, PARE_FLOAT);
    const void *data = NULL;
    if (!t || t->count != want || !want || pare_tensor_read(t, d, &data)) return NULL;
    return data;
}

static bool factors(const pare_model *m, const pare_node *bn, pare_diags *d, channels *c) {
    const float *scale = floats(m, bn, 1, c->n, d), *b = floats(m, bn, 2, c->n, d);
    const float *mean = floats(m, bn, 3, c->n, d), *var = floats(m, bn, 4, c->n, d);
    double eps = (double)pare_node_attr_float(bn, "epsilon", 1e-5f);
    if (!scale || !b || !mean || !var) return false;
    for (size_t i = 0; i < c->n; i++) {
        c->k[i] = (double)scale[i] / sqrt((double)var[i] + eps);
        c->shift[i] = (double)b[i] - (double)mean[i] * c->k[i];
        if (!isfinite(c->k[i]) || !isfinite(c->shift[i])) return false;
    }
    return true;
}

/* The output channel of weight element i. */
typedef struct weight {
    pare_tensor *t;
    size_t outer, inner, per_group,
        groups; /* dims: (outer, per_group, inner); channel = group(outer) * per_group + … */
} weight;

static bool weight_of(const pare_model *m, const pare_node *n, weight *w) {
    *w = (weight){.t = pare_pass_constant(m, n, 1, PARE_FLOAT), .groups = 1};
    if (!w->t || w->t->ndim < 2 || !w->t->count) return false;
    int64_t d0 = w->t->dims[0], d1 = w->t->dims[1];
    bool transposed = pare_node_is(n, "ConvTranspose");
    if (pare_node_is(n, "Gemm")) {
        if (w->t->ndim != 2) return false;
        transposed = !pare_node_attr_int(n, "transB", 0);
    }
    w->inner = w->t->count / (size_t)d0;
    w->outer = 1;
    w->per_group = (size_t)d0;
    if (!transposed) return true; /* (OC, …) */
    int64_t groups = pare_node_is(n, "ConvTranspose") ? pare_node_attr_int(n, "group", 1) : 1;
    if (groups < 1 || d0 % groups) return false;
    w->outer = (size_t)d0; /* (IC, OC / groups, …) */
    w->per_group = (size_t)d1;
    w->inner = w->t->count / ((size_t)d0 * (size_t)d1);
    w->groups = (size_t)groups;
    return true;
}

static size_t channels_of(const weight *w) { return w->per_group * w->groups; }

/* ---- the folded weight: made where it is asked for, which mostly is where it is packed ---- */

typedef struct folded {
    pare_blob *from;
    double *k; /* a factor for each channel */
    weight w;
} folded;

typedef struct scaling {
    const folded *f;
    const unsigned char *from; /* at any address */
    unsigned char *to;
    size_t rows_each;
} scaling;

static void scale_rows(void *ctx, uint64_t task) {
    const scaling *s = ctx;
    const weight *w = &s->f->w;
    size_t rows = w->outer * w->per_group, from = (size_t)task * s->rows_each,
           to = rows - from < s->rows_each ? rows : from + s->rows_each;
    for (size_t r = from; r < to; r++) {
        size_t group = r / w->per_group / (w->outer / w->groups);
        double k = s->f->k[group * w->per_group + r % w->per_group];
        const unsigned char *x = s->from + r * w->inner * sizeof(float);
        float *y = (float *)(void *)(s->to + r * w->inner * sizeof(float));
        for (size_t j = 0; j < w->inner; j++) {
            float v;
            memcpy(&v, x + j * sizeof v, sizeof v);
            y[j] = (float)((double)v * k);
        }
    }
}

static void folded_make(const void *ctx, unsigned char *to) {
    enum { TASK = 1 << 17 }; /* elements */
    const folded *f = ctx;
    scaling s = {.f = f, .from = f->from->data, .to = to, .rows_each = TASK / f->w.inner + 1};
    if (f->from->maker) { /* itself derived: made first, then scaled where it lies */
        pare_blob_copy(f->from, to);
        s.from = to;
    }
    size_t rows = f->w.outer * f->w.per_group;
    pare_parallel((rows + s.rows_each - 1) / s.rows_each, scale_rows, &s);
    pare_blob_done(f->from);
}

static void folded_drop(void *ctx) {
    folded *f = ctx;
    pare_blob_unref(f->from);
    free(f->k);
    free(f);
}

/* A tensor of the folded weight, as a value. 0: no memory, reported. */
static uint32_t folded_weight(pare_model *m, pare_diags *d, const weight *w, const channels *c) {
    folded *f = pare_xmalloc(sizeof *f);
    *f = (folded){.from = pare_blob_ref(w->t->blob), .k = pare_xmalloc(c->n * sizeof *f->k), .w = *w};
    memcpy(f->k, c->k, c->n * sizeof *f->k);
    pare_blob *b = pare_blob_made(w->t->blob->len, (pare_blob_maker){folded_make, folded_drop, f});
    uint32_t value = pare_pass_blob(m, d, w->t->name, w->t->ndim, w->t->dims, b);
    pare_blob_unref(b);
    return value;
}

/* The bias: absent, or one number a channel. Gemm's C may also be a scalar or (1, N). */
static bool bias_of(const pare_model *m, const pare_node *n, size_t channels, pare_diags *d, const float **out) {
    *out = NULL;
    if (n->n_in < 3 || !n->in[2]) return true;
    const pare_tensor *t = pare_pass_constant(m, n, 2, PARE_FLOAT);
    if (!t || t->ndim > 2 || (t->ndim == 2 && t->dims[0] != 1)) return false;
    *out = floats(m, n, 2, channels, d);
    return *out != NULL;
}

static pare_status fold(pare_model *m, pare_node *n, pare_node *bn, pare_diags *d, bool *done) {
    weight w;
    const float *bias;
    pare_status st = PARE_OK;
    *done = false;
    if (!weight_of(m, n, &w) || !bias_of(m, n, channels_of(&w), d, &bias)) return PARE_OK;
    channels c = {.n = channels_of(&w)};
    c.k = pare_xcalloc(c.n, sizeof *c.k);
    c.shift = pare_xcalloc(c.n, sizeof *c.shift);
    float *shift = pare_xcalloc(c.n, sizeof *shift);
    double beta = pare_node_is(n, "Gemm") ? (double)pare_node_attr_float(n, "beta", 1.0f) : 1;
    if (!factors(m, bn, d, &c)) goto out;
    for (size_t i = 0; i < c.n; i++) shift[i] = (float)((bias ? (double)bias[i] * beta * c.k[i] : 0) + c.shift[i]);
    int64_t len = (int64_t)c.n;
    uint32_t wv = folded_weight(m, d, &w, &c);
    uint32_t bv = wv ? pare_pass_floats(m, d, "bias", 1, &len, shift) : 0;
    if (!bv) {
        st = PARE_ENOMEM;
        goto out;
    }
    pare_node_input_set(m, n->id, 1, wv);
    pare_node_input_set(m, n->id, 2, bv);
    if (pare_node_is(n, "Gemm")) pare_attr_set_float(m, n->id, "beta", 1.0f);
    pare_pass_replace(m, bn->id, n->id);
    *done = true;
out:
    free(c.k);
    free(c.shift);
    free(shift);
    return st;
}

static pare_node *foldable(const pare_model *m, const pare_node *bn) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm"};
    if (!pare_node_is(bn, "BatchNormalization") || bn->n_in < 5) return NULL;
    if (pare_node_attr_int(bn, "training_mode", 0)) return NULL;
    for (uint32_t i = 1; i < bn->n_out; i++)
        if (bn->out[i]) return NULL;
    pare_node *n = NULL;
    for (size_t i = 0; !n && i < sizeof ops / sizeof *ops; i++) n = pare_pass_sole(m, bn, 0, ops[i]);
    return n;
}

pare_status pare_pass_fold_batchnorm(pare_model *m, pare_diags *d, uint64_t *changed) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    *changed = 0;
    for (size_t i = 0; i < g->nodes.len; i++) {
        pare_node *bn = pare_model_node(m, g->nodes.data[i]), *n = foldable(m, bn);
        bool done = false;
        pare_status st = n ? fold(m, n, bn, d, &done) : PARE_OK;
        if (st) return st;
        if (done) ++*changed, i--;
    }
    return PARE_OK;
}
