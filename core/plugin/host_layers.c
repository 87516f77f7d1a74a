/* plugin/host_layers.c - pare.layers/1: which layers a model has, where their axes are, which ones a pattern names.
 *
 * Which inputs of an op are weights is the table of ops' business, how names match is model/layers.h's; here is what
 * the dims of a weight mean. Every argument comes from a plugin and is checked. May use: host_impl.h, model.
 */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/layers.h"
#include "model/ops.h"

#include <stdlib.h>
#include <string.h>

/* ---- axes: what the dims of a weight mean, as the node sees it; -1: none ---- */

typedef struct axes {
    int32_t in, out;
} axes;

static bool is_one_of(const char *op, const char *a, const char *b, const char *c) {
    return strcmp(op, a) == 0 || strcmp(op, b) == 0 || strcmp(op, c) == 0;
}

static axes axes_of(const pare_node *n, uint32_t slot, int32_t ndim) {
    const axes none = {-1, -1};
    const char *op = n->op_type;
    if (n->domain[0]) return none;
    if (is_one_of(op, "Conv", "ConvInteger", "QLinearConv") || strcmp(op, "DeformConv") == 0)
        return ndim < 2 ? none : (axes){.in = 1, .out = 0};                                   /* w (OC, IC/g, …) */
    if (strcmp(op, "ConvTranspose") == 0) return ndim < 2 ? none : (axes){.in = 0, .out = 1}; /* w (IC, OC/g, …) */
    if (strcmp(op, "Gemm") == 0) {
        if (ndim != 2) return none;
        bool transposed = pare_node_attr_int(n, slot == 0 ? "transA" : "transB", 0) != 0;
        bool out_first = slot == 0 ? !transposed : transposed; /* A' (M, K), B' (K, N) */
        return out_first ? (axes){.in = 1, .out = 0} : (axes){.in = 0, .out = 1};
    }
    if (is_one_of(op, "MatMul", "MatMulInteger", "QLinearMatMul")) {
        if (ndim == 1) return (axes){.in = 0, .out = -1};
        if (ndim < 2) return none;
        return slot == 0 ? (axes){.in = ndim - 1, .out = ndim - 2} : (axes){.in = ndim - 2, .out = ndim - 1};
    }
    if (is_one_of(op, "LSTM", "GRU", "RNN"))
        return ndim == 3 ? (axes){.in = 2, .out = 1} : none; /* (dirs, gates*H, I) */
    return none;
}

/* Ops that take their weight's scale and zero point as inputs of their own. 0: no such input. */
typedef struct quant_slots {
    const char *op;
    uint32_t weight, scale, zero_point;
} quant_slots;

static const quant_slots quantized[] = {
    {"ConvInteger", 1, 0, 3}, {"MatMulInteger", 0, 0, 2}, {"MatMulInteger", 1, 0, 3},
    {"QLinearConv", 3, 4, 5}, {"QLinearMatMul", 0, 1, 2}, {"QLinearMatMul", 3, 4, 5},
};

static uint32_t const_input(pare_model *m, const pare_node *n, uint32_t slot) {
    return slot && slot < n->n_in && n->in[slot] ? pare_const_of(m, n->in[slot]).tensor : 0;
}

static void fill_quant(pare_model *m, const pare_node *n, pare_layer *l) {
    for (size_t i = 0; !n->domain[0] && i < sizeof quantized / sizeof *quantized; i++) {
        const quant_slots *q = &quantized[i];
        if (q->weight != l->slot || strcmp(q->op, n->op_type) != 0) continue;
        l->scale = const_input(m, n, q->scale);
        l->zero_point = const_input(m, n, q->zero_point);
        const pare_tensor *t = pare_model_tensor(m, l->scale ? l->scale : l->zero_point);
        l->quant_axis = t && t->count > 1 ? l->out_axis : -1;
    }
}

/* ---- who takes a tensor: forward through what pare_const_of sees through backward ---- */

typedef PARE_VEC(uint32_t) ids;

static bool passes_constants(const pare_node *n) {
    return pare_node_is(n, "Identity") || pare_node_is(n, "Transpose") || pare_node_is(n, "DequantizeLinear");
}

static void takers_of(const pare_model *m, uint32_t tensor, ids *nodes) {
    ids values = {0};
    const pare_tensor *t = pare_model_tensor(m, tensor);
    const pare_value *first = t ? pare_tensor_value(m, t) : NULL;
    if (first) pare_vec_push(&values, first->id);
    for (size_t i = 0; i < values.len && i <= m->values.len; i++) { /* bounded: apply may be halfway to a cycle */
        const pare_value *v = pare_model_value(m, values.data[i]);
        for (size_t k = 0; v && k < v->uses.len; k++) {
            const pare_node *n = pare_model_node(m, v->uses.data[k].node);
            if (v->uses.data[k].slot == 0 && passes_constants(n) && n->n_out && n->out[0])
                pare_vec_push(&values, n->out[0]);
            pare_vec_push(nodes, n->id);
        }
    }
    pare_vec_free(&values);
}

/* ---- list ---- */

typedef struct lister {
    const pare_host *h;
    pare_host_impl *s;
    const pare_op **ops; /* n_ops */
    const char *const *names;
    uint64_t n_ops;
    pare_layer *out;
    uint64_t cap, n;
    uint32_t stride;
    uint32_t *index;                    /* [tensor]: 1 + its layer */
    PARE_VEC(uint32_t) last_node, uses; /* of each layer */
} lister;

/* A plugin's layers lie as far apart as its struct is long, ours or not. 0: misuse. */
static uint32_t stride_of(const pare_host *h, const char *fn, const char *what, const pare_layer *first) {
    uint32_t stride = pare_host_room(h, fn, what, first, PARE_LEAST_LAYER);
    if (stride % _Alignof(pare_layer) == 0) return stride;
    pare_host_misuse(h, fn, "%s.size is %u, not a multiple of %zu", what, stride, _Alignof(pare_layer));
    return 0;
}

/* Good for the fields of minor 0 alone. */
static pare_layer *layer_at(pare_layer *out, uint32_t stride, uint64_t i) {
    return (pare_layer *)(void *)((char *)out + i * stride);
}

/* "Conv", "com.microsoft.MatMulNBits": the domain stands before the last dot. */
static const pare_op *op_by_name(pare_arena *a, const char *name) {
    const char *dot = strrchr(name, '.');
    if (!dot) return pare_op_find("", name);
    const char *domain = pare_arena_strndup(a, name, (size_t)(dot - name));
    return pare_op_find(strcmp(domain, "ai.onnx") == 0 ? "" : domain, dot + 1);
}

static void describe(lister *l, const pare_node *n, uint32_t slot, const pare_const *c, pare_layer *out) {
    pare_model *m = l->s->model;
    pare_arena *a = &l->s->step;
    const pare_tensor *t = pare_model_tensor(m, c->tensor);
    const char *label = pare_arena_strdup(a, pare_node_label(m, n->id));
    const pare_value *v = pare_tensor_value(m, t); /* a Constant's goes by its value's name */
    axes as_seen = axes_of(n, slot, (int32_t)c->ndim);
    *out = (pare_layer){
        .node = n->id,
        .slot = slot,
        .tensor = c->tensor,
        .scale = c->scale,
        .zero_point = c->zero_point,
        .name = v ? pare_arena_strdup(a, v->name) : label,
        .op_type = pare_arena_strdup(a, n->op_type),
        .node_name = pare_arena_strdup(a, n->name),
        .label = label,
        .in_axis = as_seen.in < 0 ? -1 : c->perm[as_seen.in],
        .out_axis = as_seen.out < 0 ? -1 : c->perm[as_seen.out],
        .quant_axis = c->quantized ? c->axis : -1,
        .block_size = c->block_size,
        .groups = 1,
    };
    int64_t groups = strstr(n->op_type, "Conv") ? pare_node_attr_int(n, "group", 1) : 1;
    if (groups > 1 && groups <= UINT32_MAX) out->groups = (uint32_t)groups;
    if (!c->quantized) fill_quant(m, n, out);
}

static void add_weight(lister *l, const pare_node *n, uint32_t slot) {
    pare_const c = n->in[slot] ? pare_const_of(l->s->model, n->in[slot]) : (pare_const){0};
    const pare_tensor *t = pare_model_tensor(l->s->model, c.tensor);
    if (!t || t->dtype == PARE_STRING || c.ndim > sizeof c.perm) return;
    uint32_t at = l->index[c.tensor];
    if (!at) {
        at = l->index[c.tensor] = (uint32_t)++l->n;
        pare_vec_push(&l->last_node, 0);
        pare_vec_push(&l->uses, 0);
        if (l->n <= l->cap) {
            pare_layer full;
            describe(l, n, slot, &c, &full);
            pare_layer *to = layer_at(l->out, l->stride, l->n - 1);
            to->size = l->stride;
            pare_host_fill(to, l->stride, &full, sizeof full);
        }
    }
    if (l->last_node.data[at - 1] == n->id) return; /* twice by one node */
    l->last_node.data[at - 1] = n->id;
    l->uses.data[at - 1]++;
}

/* Nodes in the file's order; those of subgraphs after the node that holds them. The reader bounds the depth. */
static void walk(lister *l, uint32_t graph) {
    const pare_model *m = l->s->model;
    const pare_graph *g = pare_model_graph(m, graph);
    for (size_t i = 0; g && i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[i]);
        for (uint64_t k = 0; k < l->n_ops; k++) {
            const pare_op *op = l->ops[k];
            if (strcmp(op->op_type, n->op_type) != 0 || strcmp(op->domain, n->domain) != 0) continue;
            for (uint32_t slot = 0; slot < n->n_in && slot < 32; slot++)
                if (op->weights >> slot & 1) add_weight(l, n, slot);
            break;
        }
        for (uint32_t k = 0; k < n->n_attrs; k++)
            if (n->attrs[k].type == PARE_ATTR_GRAPH || n->attrs[k].type == PARE_ATTR_GRAPHS)
                for (size_t j = 0; j < n->attrs[k].n; j++) walk(l, n->attrs[k].ids[j]);
    }
}

/* "Conv, ConvInteger, …", of ai.onnx. */
static void ops_with_weights(pare_sb *out) {
    size_t n;
    const pare_op *all = pare_op_all(&n);
    for (size_t i = 0; i < n; i++)
        if (all[i].weights && !all[i].domain[0]) pare_sb_printf(out, "%s%s", out->len ? ", " : "", all[i].op_type);
}

static pare_status find_ops(lister *l, const char *param) {
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < l->n_ops; i++) {
        if (!pare_host_text_ok(l->h, "pare.layers/1 list", "an op's name", l->names[i])) return PARE_EINVAL;
        l->ops[i] = op_by_name(&l->s->call, l->names[i]);
        if (l->ops[i] && l->ops[i]->weights) continue;
        pare_sb b = {0}, at = {0}, hint = {0};
        pare_sb_add(&hint, "ops that have weights, spelt as ONNX does: ");
        ops_with_weights(&hint);
        pare_sb_printf(&b, "pare knows no weights of the op %s", l->names[i]);
        pare_sb_printf(&at, "%s[%llu]", param ? param : "ops", (unsigned long long)i);
        pare_diag_item it = {
            .code = "layers.op", .message = pare_sb_str(&b), .param = pare_sb_str(&at), .hint = pare_sb_str(&hint)};
        st = pare_host_refuse(l->h, PARE_EINVAL, &it);
        pare_sb_free(&hint);
        pare_sb_free(&b);
        pare_sb_free(&at);
    }
    return st;
}

static pare_status layers_list(const pare_host *h, pare_model *m, const char *param, const char *const *ops,
                               uint64_t n_ops, pare_layer *out, uint64_t cap, uint64_t *n) {
    static const char fn[] = "pare.layers/1 list";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return PARE_EINVAL;
    if (!n || (cap && !out) || (n_ops && !ops)) return pare_host_misuse(h, fn, "ops, out or n is NULL");
    uint32_t stride = cap ? stride_of(h, fn, "out[0]", out) : 0;
    if (cap && !stride) return PARE_EINVAL;
    lister l = {.h = h, .s = s, .names = ops, .n_ops = n_ops, .out = out, .cap = cap, .stride = stride};
    l.ops = pare_arena_alloc(&s->call, (n_ops + 1) * sizeof *l.ops);
    pare_status st = find_ops(&l, param);
    if (st) return st;
    l.index = pare_xcalloc(s->model->tensors.len + 1, sizeof *l.index);
    walk(&l, PARE_MAIN_GRAPH);
    for (uint64_t i = 0; i < l.n && i < cap; i++) layer_at(out, stride, i)->n_uses = l.uses.data[i];
    free(l.index);
    pare_vec_free(&l.last_node);
    pare_vec_free(&l.uses);
    *n = l.n;
    return PARE_OK;
}

/* ---- select ---- */

static void no_hit(const pare_host *h, const char *param, const char *pattern) {
    pare_model *m = pare_host_of(h)->model;
    pare_sb b = {0}, hint = {0};
    if (pare_pattern_hits(m, pattern)) {
        pare_sb_printf(&b, "\"%s\" names something in the model, but no layer of this step", pattern);
        pare_sb_add(&hint,
                    "the step's layers are those whose op is listed and whose weights are constant: see pare inspect");
    } else {
        pare_sb_printf(&b, "\"%s\" names no layer of the model", pattern);
        const char *near = pare_pattern_nearest(m, pattern);
        if (near)
            pare_sb_printf(&hint, "did you mean \"%s\"?", near);
        else
            pare_sb_add(&hint, "pare inspect lists the names: weights, nodes, and labels like Conv#3");
    }
    pare_diag_item it = {
        .code = "layers.pattern", .message = pare_sb_str(&b), .hint = pare_sb_str(&hint), .param = param};
    pare_host_refuse(h, PARE_EINVAL, &it);
    pare_sb_free(&b);
    pare_sb_free(&hint);
}

/* 1: the pattern names the layer, 0: it doesn't, -1: it is no pattern (reported). */
static int names_layer(const pare_host *h, const char *param, const char *pattern, uint32_t tensor, const ids *takers) {
    pare_model *m = pare_host_of(h)->model;
    for (size_t i = 0; i < takers->len; i++) {
        char *error = NULL;
        int hit = pare_layer_match(m, pattern, takers->data[i], tensor, &error);
        if (hit < 0) {
            pare_sb b = {0};
            pare_sb_printf(&b, "\"%s\" is no regular expression: %s", pattern, error ? error : "it can't be read");
            pare_diag_item it = {.code = "layers.regex",
                                 .message = pare_sb_str(&b),
                                 .param = param,
                                 .hint = "after re: stands a POSIX extended regular expression"};
            pare_host_refuse(h, PARE_EINVAL, &it);
            pare_sb_free(&b);
        }
        free(error);
        if (hit) return hit;
    }
    return 0;
}

static const char *place_of(pare_host_impl *s, const char *param, uint64_t i, uint64_t n) {
    if (!param) return NULL;
    if (n == 1 && strchr(param, '[')) return param; /* "layers[2].match": a single cell */
    return pare_arena_printf(&s->call, "%s[%llu]", param, (unsigned long long)i);
}

static pare_status layers_select(const pare_host *h, pare_model *m, const char *param, const pare_arg *patterns,
                                 uint64_t n_patterns, const pare_layer *layers, uint64_t n, uint32_t *hit) {
    static const char fn[] = "pare.layers/1 select";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return PARE_EINVAL;
    if ((n && (!layers || !hit)) || (n_patterns && !patterns))
        return pare_host_misuse(h, fn, "patterns, layers or hit is NULL");
    uint32_t stride = n ? stride_of(h, fn, "layers[0]", layers) : 0;
    if (n && !stride) return PARE_EINVAL;
    for (uint64_t k = 0; k < n_patterns; k++)
        if (!pare_host_text_ok(h, fn, "a pattern", patterns[k].u.s)) return PARE_EINVAL;
    ids *takers = pare_xcalloc(n + 1, sizeof *takers);
    unsigned char *useful = pare_xcalloc(n_patterns + 1, 1);
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n && !st; i++) {
        const pare_layer *l = (const pare_layer *)(const void *)((const char *)layers + i * stride);
        hit[i] = 0;
        if (!pare_host_tensor(h, fn, l->tensor) || !pare_host_node(h, fn, l->node)) {
            st = PARE_EINVAL;
            break;
        }
        pare_vec_push(&takers[i], l->node);
        takers_of(s->model, l->tensor, &takers[i]);
        for (uint64_t k = 0; k < n_patterns; k++) {
            if (hit[i] && useful[k]) continue;
            int is = names_layer(h, place_of(s, param, k, n_patterns), patterns[k].u.s, l->tensor, &takers[i]);
            if (is < 0) {
                st = PARE_EINVAL;
                break;
            }
            if (!is) continue;
            useful[k] = 1;
            if (!hit[i]) hit[i] = (uint32_t)k + 1;
        }
    }
    bool sound = !st;
    for (uint64_t k = 0; k < n_patterns && sound; k++) {
        if (useful[k]) continue;
        no_hit(h, place_of(s, param, k, n_patterns), patterns[k].u.s); /* each of them is named */
        st = PARE_EINVAL;
    }
    for (uint64_t i = 0; i < n; i++) pare_vec_free(&takers[i]);
    free(takers);
    free(useful);
    return st;
}

const pare_layers_api pare_host_layers_v1 = {
    .size = sizeof(pare_layers_api), .list = layers_list, .select = layers_select};
