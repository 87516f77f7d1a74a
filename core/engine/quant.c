/* engine/quant.c - see quant.h. May use: model. */
#include "engine/quant.h"

#include <math.h>
#include <string.h>

enum { HOPS = 8 }; /* moving ops between a DequantizeLinear and its consumer */

static pare_tensor *constant(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    return v ? pare_model_tensor(m, v->tensor) : NULL;
}

/* ---- parameters ---- */

static bool scales(pare_model *m, const pare_node *n, const pare_value *coded, pare_quant *out) {
    pare_tensor *t = constant(m, n->in[1]);
    const void *data = NULL;
    if (!t || t->dtype != PARE_FLOAT || !t->count || t->ndim > 1 || pare_tensor_read(t, NULL, &data)) return false;
    out->scale = data;
    out->n = t->count;
    for (uint64_t i = 0; i < t->count; i++)
        if (!isnormal(out->scale[i]) || out->scale[i] < 0) return false;
    if (t->count == 1) return true;
    int64_t axis = pare_node_attr_int(n, "axis", 1);
    if (coded->ndim < 0) return false;
    if (axis < 0) axis += coded->ndim;
    if (axis < 0 || axis >= coded->ndim || coded->dims[axis].value != (int64_t)t->count) return false;
    out->axis = (int32_t)axis;
    return true;
}

static bool zero_points(pare_arena *a, pare_model *m, const pare_node *n, pare_quant *out) {
    if (n->n_in < 3 || !n->in[2]) return true;
    pare_tensor *t = constant(m, n->in[2]);
    const void *data = NULL;
    if (!t || t->dtype != out->dtype || t->count != out->n || pare_tensor_read(t, NULL, &data)) return false;
    int32_t *to = pare_arena_alloc(a, (size_t)t->count * sizeof *to);
    bool any = false;
    for (uint64_t i = 0; i < t->count; i++) {
        to[i] = t->dtype == PARE_UINT8  ? ((const uint8_t *)data)[i]
                : t->dtype == PARE_INT8 ? ((const int8_t *)data)[i]
                                        : ((const int32_t *)data)[i];
        any = any || to[i];
    }
    if (any) out->zero_point = to;
    return true;
}

bool pare_quant_read(pare_arena *a, pare_model *m, const pare_node *n, pare_quant *out) {
    bool to = pare_node_is(n, "QuantizeLinear"), from = pare_node_is(n, "DequantizeLinear");
    *out = (pare_quant){0};
    if ((!to && !from) || n->n_in < 2 || n->n_in > 3 || n->n_out != 1 || !n->in[0] || !n->out[0]) return false;
    if (pare_node_attr_int(n, "block_size", 0)) return false;
    const pare_value *coded = pare_model_value(m, to ? n->out[0] : n->in[0]);
    const pare_value *real = pare_model_value(m, to ? n->in[0] : n->out[0]);
    if (!coded || !real || real->dtype != PARE_FLOAT) return false;
    if (coded->dtype != PARE_UINT8 && coded->dtype != PARE_INT8 && !(from && coded->dtype == PARE_INT32)) return false;
    out->dtype = coded->dtype;
    if (!scales(m, n, coded, out) || !zero_points(a, m, n, out)) return false;
    out->value = coded->id;
    return true;
}

bool pare_quant_of(pare_arena *a, pare_model *m, uint32_t value, pare_quant *out) {
    const pare_value *v = pare_model_value(m, value);
    const pare_node *p = v && !v->slot ? pare_model_node(m, v->producer) : NULL;
    return p && pare_node_is(p, "DequantizeLinear") && pare_quant_read(a, m, p, out) && out->dtype != PARE_INT32;
}

bool pare_quant_same(const pare_quant *a, const pare_quant *b) {
    if (a->dtype != b->dtype || a->n != 1 || b->n != 1 || a->scale[0] != b->scale[0]) return false;
    return (a->zero_point ? a->zero_point[0] : 0) == (b->zero_point ? b->zero_point[0] : 0);
}

/* ---- which nodes ---- */

uint32_t pare_quant_slots(const pare_node *n) {
    static const struct {
        const char *op_type;
        uint32_t slots;
    } rows[] = {
        {"Add", 3},           {"AveragePool", 1},
        {"Clip", 1},          {"Concat", UINT32_MAX},
        {"Conv", 3},          {"Elu", 1},
        {"ConvTranspose", 3}, {"Gelu", 1},
        {"Gemm", 3},          {"GlobalAveragePool", 1},
        {"HardSwish", 1},     {"HardSigmoid", 1},
        {"LeakyRelu", 1},     {"MatMul", 3},
        {"Mul", 3},           {"ReduceMean", 1},
        {"Relu", 1},          {"Resize", 1},
        {"Sigmoid", 1},       {"Softmax", 1},
        {"Sub", 3},           {"Swish", 1},
        {"Tanh", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (pare_node_is(n, rows[i].op_type)) return rows[i].slots;
    return 0;
}

bool pare_quant_asks(pare_model *m, const pare_node *n) {
    uint32_t slots = pare_quant_slots(n), any = 0;
    pare_arena a = {0};
    pare_quant q;
    bool all = slots != 0;
    for (uint32_t i = 0; all && i < n->n_in; i++) {
        if (!(slots >> (i < 31 ? i : 31) & 1)) continue;
        all = pare_quant_of(&a, m, n->in[i], &q);
        any++;
    }
    pare_arena_free(&a);
    return all && any;
}

uint32_t pare_quant_bias_slot(const pare_node *n) {
    return pare_node_is(n, "Conv") || pare_node_is(n, "ConvTranspose") || pare_node_is(n, "Gemm") ? 2 : 0;
}

static bool text_is(const pare_node *n, const char *name, const char *dflt, const char *want) {
    const pare_attr *a = pare_node_attr(n, name);
    if (!a || a->type != PARE_ATTR_STRING) return strcmp(dflt, want) == 0;
    return a->s.len == strlen(want) && memcmp(a->s.data, want, a->s.len) == 0;
}

bool pare_quant_moves(pare_model *m, const pare_node *n) {
    static const char *const ops[] = {"DepthToSpace", "Expand",  "Flatten",   "Gather",       "GlobalMaxPool",
                                      "Identity",     "Reshape", "Slice",     "SpaceToDepth", "Split",
                                      "Squeeze",      "Tile",    "Transpose", "Unsqueeze"};
    if (!n->n_in || !n->in[0] || !n->n_out) return false;
    if (pare_node_is(n, "MaxPool")) {
        const pare_value *v = n->n_out > 1 ? pare_model_value(m, n->out[1]) : NULL;
        return !v || (!v->uses.len && !v->is_output);
    }
    if (pare_node_is(n, "Resize"))
        return text_is(n, "mode", "nearest", "nearest") &&
               !text_is(n, "coordinate_transformation_mode", "half_pixel", "tf_crop_and_resize");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return true;
    return false;
}

/* ---- constants that are better left as they are ---- */

/* Does the value come from 8-bit numbers, perhaps moved about since? *varies: they are no constant. */
static bool coded(pare_model *m, uint32_t value, int hops, bool *varies) {
    const pare_value *v = pare_model_value(m, value);
    const pare_node *p = v ? pare_model_node(m, v->producer) : NULL;
    if (!p || hops > HOPS) return false;
    if (pare_node_is(p, "DequantizeLinear")) {
        const pare_value *x = p->n_in ? pare_model_value(m, p->in[0]) : NULL;
        if (!x || (x->dtype != PARE_UINT8 && x->dtype != PARE_INT8)) return false;
        *varies = *varies || !x->tensor;
        return true;
    }
    return pare_quant_moves(m, p) && coded(m, p->in[0], hops + 1, varies);
}

static bool wanted(pare_model *m, uint32_t value, int hops) {
    const pare_value *v = pare_model_value(m, value);
    for (size_t i = 0; v && hops <= HOPS && i < v->uses.len; i++) {
        const pare_node *u = pare_model_node(m, v->uses.data[i].node);
        uint32_t slot = v->uses.data[i].slot, slots = pare_quant_slots(u);
        if (!slot && pare_quant_moves(m, u) && wanted(m, u->out[0], hops + 1)) return true;
        bool bias = slot && slot == pare_quant_bias_slot(u);
        if (!bias && !(slots >> (slot < 31 ? slot : 31) & 1)) continue;
        bool all = true, varies = false;
        for (uint32_t k = 0; all && k < u->n_in; k++)
            if (k != slot && slots >> (k < 31 ? k : 31) & 1) all = coded(m, u->in[k], 0, &varies);
        if (all && varies) return true;
    }
    return false;
}

bool pare_quant_keeps(pare_model *m, const pare_node *n) {
    const pare_value *x = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    if (!pare_node_is(n, "DequantizeLinear") || n->n_out != 1 || !x) return false;
    if (x->dtype != PARE_UINT8 && x->dtype != PARE_INT8 && x->dtype != PARE_INT32) return false;
    return !pare_node_attr_int(n, "block_size", 0) && wanted(m, n->out[0], 0);
}
