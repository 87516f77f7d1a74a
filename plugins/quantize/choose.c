/* quantize/choose.c - see choose.h. */
#include "choose.h"

#include "place.h"

#include <stdio.h>
#include <string.h>

static const char *const weighted[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", NULL};

bool quantize_op_asked(const quantize_options *o, const char *op_type) {
    if (!o->ops->n) return true;
    for (uint64_t i = 0; i < o->ops->n; i++)
        if (strcmp(o->ops->u.list[i].u.s, op_type) == 0) return true;
    return false;
}

typedef struct chooser {
    const quantize_apis *q;
    const quantize_options *o;
    bool loud;
    pare_layer *layers;
    uint64_t n;
    uint32_t *hit;
    quantize_choice *out;
} chooser;

static pare_status list(chooser *c) {
    const quantize_apis *q = c->q;
    const char *const *ops = c->o->layer_ops ? c->o->layer_ops : weighted;
    uint64_t n_ops = 0;
    while (ops[n_ops]) n_ops++;
    pare_status st = q->layers->list(q->host, q->model, "ops", ops, n_ops, NULL, 0, &c->n);
    if (st) return st;
    c->layers = quantize_scratch(q, c->n, sizeof *c->layers);
    c->hit = quantize_scratch(q, c->n, sizeof *c->hit);
    c->out = quantize_scratch(q, c->n, sizeof *c->out);
    if (!c->layers || !c->hit || !c->out) return PARE_ENOMEM;
    for (uint64_t i = 0; i < c->n; i++) c->layers[i].size = sizeof(pare_layer);
    uint64_t again = 0;
    st = q->layers->list(q->host, q->model, "ops", ops, n_ops, c->layers, c->n, &again);
    if (st) return st;
    for (uint64_t i = 0; i < c->n; i++)
        c->out[i] = (quantize_choice){.layer = c->layers[i],
                                      .asked = quantize_op_asked(c->o, c->layers[i].op_type),
                                      .per_tensor = c->o->per_tensor,
                                      .method = -1};
    return again == c->n ? PARE_OK : PARE_EINTERNAL;
}

static pare_status select_by(chooser *c, const char *param, const pare_arg *patterns, uint64_t n) {
    return c->q->layers->select(c->q->host, c->q->model, param, patterns, n, c->layers, c->n, c->hit);
}

static void set(quantize_choice *x, const quantize_rule *r) {
    if (r->skip) x->asked = false;
    if (r->per_tensor >= 0) x->per_tensor = r->per_tensor == 1;
    x->bits = r->bits;
    x->method = r->method;
    x->percentile = r->percentile;
}

static pare_status rules(chooser *c) {
    uint8_t *done = quantize_scratch(c->q, c->n, 1);
    if (!done) return PARE_ENOMEM;
    for (uint64_t r = 0; r < c->o->n_rules; r++) {
        char param[64];
        bool named = false;
        (void)snprintf(param, sizeof param, "layers[%llu].match", (unsigned long long)r);
        const pare_status st = select_by(c, param, c->o->rules[r].match, 1);
        if (st) return st;
        for (uint64_t i = 0; i < c->n; i++) {
            if (!c->hit[i] || done[i]) continue;
            named = named || c->out[i].asked;
            done[i] = 1;
            set(&c->out[i], &c->o->rules[r]);
        }
        if (!named && c->loud)
            quantize_say(c->q, PARE_WARNING, "quantize.row-unused", param, NULL,
                         "put special rows above general ones, or drop the row",
                         "this row decides nothing: each layer it names belongs to an earlier row, or is kept out by "
                         "ops, include or exclude");
    }
    return PARE_OK;
}

/* The first and last layer in the order of execution, whatever `ops` says. */
static void keep_ends(chooser *c) {
    if (c->o->keep_first && c->n) c->out[0].asked = false;
    if (c->o->keep_last && c->n) c->out[c->n - 1].asked = false;
}

/* An op that no target runs in int8 is a slip of the pen. */
static pare_status known_ops(const quantize_apis *q, const quantize_options *o) {
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < o->ops->n; i++) {
        char param[32];
        const char *op = o->ops->u.list[i].u.s;
        if (place_knows(op)) continue;
        (void)snprintf(param, sizeof param, "ops[%llu]", (unsigned long long)i);
        st = quantize_refuse(q, "quantize.op", param, NULL,
                             "Conv, ConvTranspose, Gemm, MatMul; with them Add, Mul, Concat, AveragePool, "
                             "GlobalAveragePool, MaxPool and others; left out: all that the target knows",
                             "no runtime that is known here runs the op \"%.60s\" in int8", op);
    }
    return st;
}

pare_status quantize_choose(const quantize_apis *q, const quantize_options *o, bool loud, quantize_choices *out) {
    chooser c = {.q = q, .o = o, .loud = loud};
    pare_status st = known_ops(q, o);
    if (!st) st = list(&c);
    if (st) return st;
    if (o->include->n) {
        if ((st = select_by(&c, "include", o->include->u.list, o->include->n))) return st;
        for (uint64_t i = 0; i < c.n; i++) c.out[i].asked = c.out[i].asked && c.hit[i];
    }
    if (o->exclude->n) {
        if ((st = select_by(&c, "exclude", o->exclude->u.list, o->exclude->n))) return st;
        for (uint64_t i = 0; i < c.n; i++) c.out[i].asked = c.out[i].asked && !c.hit[i];
    }
    keep_ends(&c);
    if ((st = rules(&c))) return st;
    *out = (quantize_choices){c.out, c.n};
    return PARE_OK;
}
