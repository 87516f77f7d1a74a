/* engine/fuse.c - which elementwise nodes stand behind a node and could be its post-ops. See parts.h.
 *
 * Only looks: the kernel says how many it takes. A value that the session hands out, or that two nodes want, ends the
 * chain. A rounding point is a QuantizeLinear and, where nobody else wants its numbers, the DequantizeLinear of the
 * same parameters behind it. May use: parts.h, model.
 */
#include "engine/parts.h"
#include "engine/quant.h"

#include <float.h>
#include <string.h>

static bool same_dims(const pare_value *a, const pare_value *b) {
    if (!a || !b || a->ndim != b->ndim || a->ndim < 0) return false;
    for (int32_t i = 0; i < a->ndim; i++)
        if (a->dims[i].value != b->dims[i].value || a->dims[i].value < 0) return false;
    return true;
}

static bool same_type(const pare_value *a, const pare_value *b) { return same_dims(a, b) && a->dtype == b->dtype; }

static bool text_attr_is(const pare_node *n, const char *name, const char *dflt, const char *want) {
    const pare_attr *a = pare_node_attr(n, name);
    if (!a || a->type != PARE_ATTR_STRING) return strcmp(dflt, want) == 0;
    return a->s.len == strlen(want) && memcmp(a->s.data, want, a->s.len) == 0;
}

/* A constant number in input i; absent: as it was. false: there, but no constant number. */
static bool number(pare_model *m, const pare_node *n, uint32_t i, float *out) {
    const pare_value *v = i < n->n_in ? pare_model_value(m, n->in[i]) : NULL;
    pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    const void *data;
    if (!v) return true;
    if (!t || t->dtype != PARE_FLOAT || t->count != 1 || pare_tensor_read(t, NULL, &data)) return false;
    memcpy(out, data, sizeof *out);
    return true;
}

/* ---- one post-op ---- */

static bool unary(pare_model *m, const pare_node *n, pare_post_op *p) {
    static const struct {
        const char *op;
        uint32_t kind;
        float alpha, beta; /* the attributes' defaults */
    } rows[] = {{"Relu", PARE_POST_RELU, 0, 0},
                {"LeakyRelu", PARE_POST_LEAKY_RELU, 0.01f, 0},
                {"Sigmoid", PARE_POST_SIGMOID, 0, 0},
                {"Tanh", PARE_POST_TANH, 0, 0},
                {"HardSwish", PARE_POST_HARD_SWISH, 0, 0},
                {"HardSigmoid", PARE_POST_HARD_SIGMOID, 0.2f, 0.5f},
                {"Elu", PARE_POST_ELU, 1.0f, 0},
                {"Gelu", PARE_POST_GELU, 0, 0},
                {"Clip", PARE_POST_CLIP, -FLT_MAX, FLT_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!pare_node_is(n, rows[i].op)) continue;
        *p = (pare_post_op){.size = sizeof *p, .kind = rows[i].kind, .alpha = rows[i].alpha, .beta = rows[i].beta};
        if (p->kind == PARE_POST_CLIP) return number(m, n, 1, &p->alpha) && number(m, n, 2, &p->beta);
        if (p->kind == PARE_POST_GELU) return text_attr_is(n, "approximate", "none", "none");
        p->alpha = pare_node_attr_float(n, "alpha", p->alpha);
        p->beta = pare_node_attr_float(n, "beta", p->beta);
        return true;
    }
    return false;
}

/* Add or Mul of v and another value of the same dims. */
static bool binary(pare_model *m, const pare_node *n, const pare_value *v, pare_post_op *p, uint32_t *operand) {
    bool add = pare_node_is(n, "Add");
    if ((!add && !pare_node_is(n, "Mul")) || n->n_in != 2 || n->in[0] == n->in[1]) return false;
    const pare_value *o = pare_model_value(m, n->in[n->in[0] == v->id ? 1 : 0]);
    if (!same_type(o, v)) return false;
    *p = (pare_post_op){.size = sizeof *p, .kind = add ? PARE_POST_ADD : PARE_POST_MUL};
    *operand = o->id;
    return true;
}

/* v * Sigmoid(v): the two uses of v are the Sigmoid and the Mul. */
static bool swish(pare_model *m, const pare_value *v, uint32_t *mul, uint32_t *sigmoid) {
    if (v->uses.len != 2) return false;
    for (size_t i = 0; i < 2; i++) {
        const pare_node *a = pare_model_node(m, v->uses.data[i].node),
                        *b = pare_model_node(m, v->uses.data[1 - i].node);
        const pare_value *s = a->n_out == 1 ? pare_model_value(m, a->out[0]) : NULL;
        if (!pare_node_is(a, "Sigmoid") || !pare_node_is(b, "Mul") || b->n_in != 2 || !s) continue;
        if (s->uses.len != 1 || s->uses.data[0].node != b->id || s->is_output) continue;
        *mul = b->id;
        *sigmoid = a->id;
        return true;
    }
    return false;
}

/* A rounding point, one scale for all; behind one, its numbers read again. */
static bool rounding(pare_model *m, const pare_node *n, const pare_post_op *last, pare_post_op *p) {
    pare_arena a = {0};
    pare_quant q;
    bool to = pare_node_is(n, "QuantizeLinear"), found = pare_quant_read(&a, m, n, &q) && q.n == 1;
    if (found) {
        *p = (pare_post_op){.size = sizeof *p,
                            .kind = to ? PARE_POST_QUANTIZE : PARE_POST_DEQUANTIZE,
                            .alpha = q.scale[0],
                            .beta = q.zero_point ? (float)q.zero_point[0] : 0,
                            .dtype = q.dtype};
        if (!to)
            found = last && last->kind == PARE_POST_QUANTIZE && last->dtype == p->dtype && last->alpha == p->alpha &&
                    last->beta == p->beta;
    }
    pare_arena_free(&a);
    return found;
}

void pare_chain_find(pare_model *m, const pare_node *n, const unsigned char *taken, pare_chain *out) {
    const pare_value *v = n->n_out ? pare_model_value(m, n->out[0]) : NULL;
    out->n = 0;
    for (uint32_t i = 1; i < n->n_out; i++) {
        const pare_value *o = pare_model_value(m, n->out[i]);
        if (o && (o->uses.len || o->is_output)) return;
    }
    while (v && out->n < PARE_POSTS_MAX && !v->is_output && v->uses.len) {
        uint32_t i = out->n, mul = 0, sigmoid = 0;
        const pare_post_op *last = i ? &out->post[i - 1] : NULL;
        bool coded = last && last->kind == PARE_POST_QUANTIZE;
        if (v->dtype != PARE_FLOAT && !coded) return;
        const pare_node *next = pare_model_node(m, v->uses.data[0].node);
        out->operand[i] = out->nodes[i][1] = 0;
        if (!coded && swish(m, v, &mul, &sigmoid) && !taken[mul] && !taken[sigmoid]) {
            out->post[i] = (pare_post_op){.size = sizeof *out->post, .kind = PARE_POST_SWISH};
            out->nodes[i][1] = sigmoid;
            next = pare_model_node(m, mul);
        } else if (v->uses.len != 1 || taken[next->id] || next->graph != n->graph ||
                   !(rounding(m, next, last, &out->post[i]) ||
                     (!coded &&
                      (unary(m, next, &out->post[i]) || binary(m, next, v, &out->post[i], &out->operand[i]))))) {
            return;
        }
        const pare_value *to = next->n_out == 1 ? pare_model_value(m, next->out[0]) : NULL;
        bool rounds = out->post[i].kind == PARE_POST_QUANTIZE || out->post[i].kind == PARE_POST_DEQUANTIZE;
        if (rounds ? !same_dims(v, to) : !same_type(v, to)) return;
        out->nodes[i][0] = next->id;
        out->out[i] = to->id;
        out->n++;
        v = to;
    }
}
