/* model/stats_params.c - see stats_params.h. */
#include "model/stats_params.h"

#include "model/layers.h"
#include "model/ops.h"

#include <string.h>

/* ---- who uses it ---- */

/* Of ai.onnx or of com.microsoft. */
static bool is_either(const pare_node *n, const char *op) {
    return strcmp(n->op_type, op) == 0 && (!n->domain[0] || strcmp(n->domain, PARE_MICROSOFT) == 0);
}

static bool is_transparent(const pare_node *n, uint32_t slot) {
    return slot == 0 && n->n_out &&
           (pare_node_is(n, "Identity") || pare_node_is(n, "Transpose") || is_either(n, "DequantizeLinear"));
}

bool pare_value_first_use(const pare_model *m, const pare_value *v, pare_use *out) {
    bool found = false;
    for (int steps = 0; steps < 64 && v && v->uses.len; steps++) {
        *out = v->uses.data[0];
        found = true;
        const pare_node *n = pare_model_node(m, out->node);
        v = n && is_transparent(n, out->slot) ? pare_model_value(m, n->out[0]) : NULL;
    }
    return found;
}

/* ---- is it a parameter? ---- */

#define IN(i) (1u << (i))
enum { QLINEAR_SCALES = IN(1) | IN(2) | IN(4) | IN(5) | IN(6) | IN(7) };

/* Inputs that steer an op, where the others may be parameters; of ai.onnx or com.microsoft. */
static const struct {
    const char *op;
    uint32_t slots;
} steering[] = {
    {"BatchNormalization", IN(3) | IN(4)}, /* running mean and variance */
    {"CastLike", IN(1)},
    {"Clip", IN(1) | IN(2)},
    {"ConvInteger", IN(2) | IN(3)},
    {"DequantizeLinear", IN(1) | IN(2)},
    {"Dropout", IN(1) | IN(2)},
    {"DynamicQuantizeMatMul", IN(2) | IN(3)},
    {"MatMulInteger", IN(2) | IN(3)},
    {"MatMulIntegerToFloat", IN(2) | IN(3) | IN(4) | IN(5)},
    {"OneHot", IN(1) | IN(2)},
    {"Pad", IN(1) | IN(2) | IN(3)},
    {"QGemm", IN(1) | IN(2) | IN(4) | IN(5) | IN(7) | IN(8)},
    {"QLinearAdd", QLINEAR_SCALES},
    {"QLinearAveragePool", IN(1) | IN(2) | IN(3) | IN(4)},
    {"QLinearConv", QLINEAR_SCALES},
    {"QLinearGlobalAveragePool", IN(1) | IN(2) | IN(3) | IN(4)},
    {"QLinearLeakyRelu", IN(1) | IN(2) | IN(3) | IN(4)},
    {"QLinearMatMul", QLINEAR_SCALES},
    {"QLinearMul", QLINEAR_SCALES},
    {"QLinearSigmoid", IN(1) | IN(2) | IN(3) | IN(4)},
    {"QLinearSoftmax", IN(1) | IN(2) | IN(3) | IN(4)},
    {"QuantizeLinear", IN(1) | IN(2)},
    {"Range", IN(0) | IN(1) | IN(2)},
    {"Resize", IN(1) | IN(2) | IN(3)},
    {"Shape", IN(0)},
    {"Size", IN(0)},
    {"Upsample", IN(1)},
};

static bool steers(const pare_node *n, uint32_t slot) {
    if (is_either(n, "QLinearConcat")) return slot < 2 || slot % 3 != 2;
    for (size_t i = 0; i < sizeof steering / sizeof *steering && slot < 32; i++)
        if (is_either(n, steering[i].op)) return steering[i].slots >> slot & 1;
    return false;
}

/* Ops whose parameters may well be a single number. */
static bool learns_single(const pare_node *n, const pare_op *op) {
    static const char *const also[] = {
        "PRelu",           "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization",
        "RMSNormalization"};
    if (op && op->weights) return true;
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        if (pare_node_is(n, also[i])) return true;
    return false;
}

/* A weight's scale, which dynamic quantization multiplies by the input's. */
static bool is_dynamic_scale(const pare_model *m, const pare_node *n, uint32_t slot) {
    if (!pare_node_is(n, "Mul") || n->n_in != 2 || slot > 1) return false;
    const pare_value *other = pare_model_value(m, n->in[1 - slot]);
    const pare_node *from = other ? pare_model_node(m, other->producer) : NULL;
    return from && pare_node_is(from, "DynamicQuantizeLinear") && other->slot == 1;
}

static bool is_weight_use(const pare_model *m, const pare_tensor *t, const pare_node *n, uint32_t slot) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    char kind = pare_dtype_kind(t->dtype);
    if (steers(n, slot) || is_dynamic_scale(m, n, slot)) return false;
    if (kind == 'f') return t->count != 1 || learns_single(n, op);
    if (kind != 'i' && kind != 'u') return false;
    if (is_either(n, "DequantizeLinear")) return true;
    if ((pare_node_is(n, "QLinearConv") && slot == 8) || (is_either(n, "QGemm") && slot == 6)) return true; /* int32 */
    return op && slot < 32 && op->weights >> slot & 1 && pare_dtype_bits(t->dtype) <= 8;
}

static bool any_weight_use(const pare_model *m, const pare_tensor *t, const pare_value *v, int steps) {
    for (size_t i = 0; i < v->uses.len && steps > 0; i++) {
        const pare_node *n = pare_model_node(m, v->uses.data[i].node);
        if (!n) continue;
        /* only what comes out of a copy or a Transpose says what the constant is for */
        bool look = is_transparent(n, v->uses.data[i].slot) && !is_either(n, "DequantizeLinear");
        const pare_value *y = look ? pare_model_value(m, n->out[0]) : NULL;
        if (y && y->uses.len ? any_weight_use(m, t, y, steps - 1) : is_weight_use(m, t, n, v->uses.data[i].slot))
            return true;
    }
    return false;
}

bool pare_tensor_is_parameter(const pare_model *m, const pare_tensor *t) {
    const pare_value *v = pare_tensor_value(m, t);
    if (!v) return false;
    if (t->owner == PARE_OWNER_INITIALIZER && !v->uses.len) return pare_dtype_kind(t->dtype) == 'f' && t->count != 1;
    return any_weight_use(m, t, v, 64);
}

/* ---- zeros of quantized weights ---- */

/* Where an element's zero point stands: the tensor seen as (outer, n, inner) along axis; blocks of `block`. */
typedef struct zeros {
    pare_tensor *point;
    uint64_t n, inner, block; /* n 0: one zero point for all */
} zeros;

static int64_t element(const void *data, uint32_t dtype, uint64_t i) {
    const unsigned char *b = data;
    switch (dtype) {
    case PARE_INT8: return ((const int8_t *)data)[i];
    case PARE_UINT8: return b[i];
    case PARE_INT16: return ((const int16_t *)data)[i];
    case PARE_UINT16: return ((const uint16_t *)data)[i];
    case PARE_INT32: return ((const int32_t *)data)[i];
    case PARE_UINT4:
    case PARE_INT4: return b[i / 2] >> (i % 2 * 4) & 15; /* sign doesn't matter for equality */
    case PARE_UINT2:
    case PARE_INT2: return b[i / 4] >> (i % 4 * 2) & 3;
    default: return 0;
    }
}

static bool zeros_along(zeros *z, const pare_tensor *t, int64_t axis) {
    if (axis < 0 || axis >= t->ndim) return false;
    z->n = (uint64_t)t->dims[axis];
    z->inner = 1;
    for (uint32_t i = (uint32_t)axis + 1; i < t->ndim; i++) z->inner *= (uint64_t)t->dims[i];
    return true;
}

/* Which input of its first quantized use holds the zero point; UINT32_MAX: none. */
static uint32_t zero_slot(const pare_node *n, uint32_t slot) {
    if (is_either(n, "DequantizeLinear")) return slot == 0 ? 2 : UINT32_MAX;
    if (is_either(n, "MatMulIntegerToFloat")) return slot < 2 ? slot + 4 : UINT32_MAX;
    if (is_either(n, "DynamicQuantizeMatMul")) return slot == 1 ? 3 : UINT32_MAX;
    if (is_either(n, "QGemm")) return slot == 0 || slot == 3 ? slot + 2 : UINT32_MAX;
    if (pare_node_is(n, "QLinearConv")) return slot == 3 ? 5 : UINT32_MAX;
    if (pare_node_is(n, "QLinearMatMul")) return slot == 0 || slot == 3 ? slot + 2 : UINT32_MAX;
    if (pare_node_is(n, "ConvInteger")) return slot == 1 ? 3 : UINT32_MAX;
    if (pare_node_is(n, "MatMulInteger")) return slot < 2 ? slot + 2 : UINT32_MAX;
    return UINT32_MAX;
}

/* The first use as quantized weight, through Identity and Transpose. */
static const pare_node *quantized_use(const pare_model *m, const pare_value *v, uint32_t *slot, int steps) {
    for (size_t i = 0; v && i < v->uses.len && steps > 0; i++) {
        const pare_node *n = pare_model_node(m, v->uses.data[i].node);
        if (!n) continue;
        *slot = v->uses.data[i].slot;
        if (zero_slot(n, *slot) != UINT32_MAX) return n;
        if (!is_transparent(n, *slot)) continue;
        const pare_node *found = quantized_use(m, pare_model_value(m, n->out[0]), slot, steps - 1);
        if (found) return found;
    }
    return NULL;
}

static zeros zeros_of(pare_model *m, const pare_tensor *t) {
    zeros z = {.block = 1}, none = {.block = 1};
    uint32_t slot = 0;
    const pare_node *n = quantized_use(m, pare_tensor_value(m, t), &slot, 64);
    uint32_t zs = n ? zero_slot(n, slot) : UINT32_MAX;
    if (zs >= (n ? n->n_in : 0)) return none;
    pare_const point = pare_const_of(m, n->in[zs]), seen = pare_const_of(m, n->in[slot]);
    z.point = pare_model_tensor(m, point.tensor);
    if (!z.point || point.quantized || z.point->dtype != t->dtype || !z.point->count) return none;
    if (z.point->count == 1) return z;
    if (seen.tensor != t->id || t->ndim > 8) return none;
    int64_t axis = 0; /* as the node sees the tensor */
    if (is_either(n, "DequantizeLinear")) axis = pare_node_attr_int(n, "axis", t->ndim == 1 ? 0 : 1);
    if (is_either(n, "QGemm"))
        axis = pare_node_attr_int(n, slot ? "transB" : "transA", 0) ? (slot ? 0 : 1) : slot ? 1 : 0;
    if (pare_node_is(n, "QLinearMatMul") || pare_node_is(n, "MatMulInteger") || is_either(n, "MatMulIntegerToFloat") ||
        is_either(n, "DynamicQuantizeMatMul"))
        axis = (int64_t)t->ndim - (slot == 0 ? 2 : 1); /* rows of A, columns of B */
    if (axis < 0) axis += t->ndim;
    if (axis < 0 || axis >= t->ndim || !zeros_along(&z, t, seen.perm[axis])) return none;
    int64_t block = pare_node_attr_int(n, "block_size", 0);
    if (block > 0) {
        z.block = (uint64_t)block;
        uint64_t blocks = z.n / z.block + (z.n % z.block != 0), outer = t->count / (z.n * z.inner);
        return seen.perm[axis] == axis && z.point->count == outer * blocks * z.inner ? z : none;
    }
    return z.point->count == z.n ? z : none;
}

pare_status pare_parameter_nonzero(pare_model *m, pare_tensor *t, pare_diags *d, uint64_t *out) {
    char kind = pare_dtype_kind(t->dtype);
    zeros z = t->count && (kind == 'i' || kind == 'u') ? zeros_of(m, t) : (zeros){0};
    if (!z.point) return pare_tensor_nonzero(t, d, out);
    const void *data, *points;
    pare_status st = pare_tensor_read(t, d, &data);
    if (!st) st = pare_tensor_read(z.point, d, &points);
    if (st) return st;
    if (!data || !points) return pare_tensor_nonzero(t, d, out);
    uint64_t count = 0, blocks = z.n / z.block + (z.n % z.block != 0);
    for (uint64_t i = 0; i < t->count; i++) {
        uint64_t at = 0;
        if (z.n && z.block == 1) at = i / z.inner % z.n;
        if (z.n && z.block > 1)
            at = (i / (z.inner * z.n) * blocks + i / z.inner % z.n / z.block) * z.inner + i % z.inner;
        count += element(data, t->dtype, i) != element(points, t->dtype, at);
    }
    *out = count;
    return PARE_OK;
}
