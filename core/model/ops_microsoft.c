/* model/ops_microsoft.c - the ops of com.microsoft that quantizers write: their shapes and multiply-adds. See ops.h.
 *
 * Each is an op of ai.onnx whose operands stand elsewhere among scales and zero points: the rules are that op's, on a
 * node that has the operands alone. Source: ONNX Runtime's ContribOperators.md. Is not: other ops of that domain, which
 * survive a round trip and have unknown shapes.
 */
#include "model/ops_rules.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 512, NEWEST = 21 }; /* operands; the opset whose meaning the rules are asked for */

/* A node of the operands: those in `slots`; every third from 2 on, for QLinearConcat. */
static bool operands_of(const pare_node *n, const uint32_t *slots, uint32_t count, pare_node *out,
                        uint32_t room[MOST]) {
    *out = *n;
    out->domain = "";
    out->in = room;
    out->n_in = 0;
    for (uint32_t i = 0; i < count; i++) room[out->n_in++] = slots[i] < n->n_in ? n->in[slots[i]] : 0;
    for (uint32_t i = 2; !count && i < n->n_in; i += 3) {
        if (out->n_in == MOST) return false;
        room[out->n_in++] = n->in[i];
    }
    return true;
}

static pare_status by_rule(pare_infer_ctx *c, pare_status (*rule)(pare_infer_ctx *), const uint32_t *slots,
                           uint32_t count) {
    uint32_t room[MOST];
    pare_node n;
    if (!operands_of(c->node, slots, count, &n, room)) return PARE_OK;
    pare_infer_ctx one = *c;
    one.node = &n;
    one.opset = NEWEST;
    return rule(&one);
}

/* What comes out of the node is of another dtype than the rule says. */
static void retype(pare_infer_ctx *c, uint32_t dtype) {
    const pare_value *v = c->node->n_out ? pare_model_value(c->model, c->node->out[0]) : NULL;
    if (!v || v->declared) return;
    pare_infer_out(c, 0, dtype, v->ndim, v->dims);
}

static pare_status first(pare_infer_ctx *c) { return by_rule(c, pare_rule_same, (const uint32_t[]){0}, 1); }

/* QLinearAdd, QLinearMul (A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point) */
static pare_status two(pare_infer_ctx *c) { return by_rule(c, pare_rule_nary, (const uint32_t[]){0, 3}, 2); }

/* With channels last, a rule of its own would be needed: the shape stays unknown. */
static pare_status pool_like(pare_infer_ctx *c, pare_status (*rule)(pare_infer_ctx *)) {
    if (!pare_node_attr_int(c->node, "channels_last", 0)) return by_rule(c, rule, (const uint32_t[]){0}, 1);
    pare_infer_out_unknown(c, 0, pare_infer_dtype(c, 0));
    return PARE_OK;
}
static pare_status pool(pare_infer_ctx *c) { return pool_like(c, pare_rule_pool); }
static pare_status global_pool(pare_infer_ctx *c) { return pool_like(c, pare_rule_global_pool); }

/* QLinearConcat(Y_scale, Y_zero_point, then for each input its tensor, scale and zero point) */
static pare_status concat(pare_infer_ctx *c) { return by_rule(c, pare_rule_concat, NULL, 0); }

/* QGemm(A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point); without y_scale: float32 */
static const uint32_t gemm_slots[] = {0, 3, 6};
static pare_status gemm(pare_infer_ctx *c) {
    pare_status st = by_rule(c, pare_rule_gemm, gemm_slots, 3);
    if (!st) retype(c, pare_infer_has(c, 7) ? pare_infer_dtype(c, 8) : PARE_FLOAT);
    return st;
}
static int64_t gemm_macs(const pare_model *m, const pare_node *n) {
    uint32_t room[MOST];
    pare_node one;
    return operands_of(n, gemm_slots, 3, &one, room) ? pare_macs_gemm(m, &one) : -1;
}

/* MatMulIntegerToFloat(A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias),
 * DynamicQuantizeMatMul(A, B, b_scale, b_zero_point, bias): float32 */
static const uint32_t matmul_slots[] = {0, 1};
static pare_status matmul(pare_infer_ctx *c) {
    pare_status st = by_rule(c, pare_rule_matmul, matmul_slots, 2);
    if (!st) retype(c, PARE_FLOAT);
    return st;
}
static int64_t matmul_macs(const pare_model *m, const pare_node *n) {
    uint32_t room[MOST];
    pare_node one;
    return operands_of(n, matmul_slots, 2, &one, room) ? pare_macs_matmul(m, &one) : -1;
}

#define IN(i) (1u << (i))
#define OP(op, infer, macs, weights)                                                                                   \
    { PARE_MICROSOFT, op, infer, macs, weights, NULL, 0, NULL, NULL }

static const pare_op table[] = {
    OP("DequantizeLinear", pare_rule_dequantize, NULL, 0),
    OP("DynamicQuantizeMatMul", matmul, matmul_macs, IN(1)),
    OP("MatMulIntegerToFloat", matmul, matmul_macs, IN(0) | IN(1)),
    OP("QGemm", gemm, gemm_macs, IN(0) | IN(3)),
    OP("QLinearAdd", two, NULL, 0),
    OP("QLinearAveragePool", pool, NULL, 0),
    OP("QLinearConcat", concat, NULL, 0),
    OP("QLinearGlobalAveragePool", global_pool, NULL, 0),
    OP("QLinearLeakyRelu", first, NULL, 0),
    OP("QLinearMul", two, NULL, 0),
    OP("QLinearSigmoid", first, NULL, 0),
    OP("QLinearSoftmax", first, NULL, 0),
    OP("QuantizeLinear", pare_rule_quantize, NULL, 0),
};

const pare_op *pare_op_microsoft_find(const char *op_type) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].op_type, op_type) == 0) return &table[i];
    return NULL;
}
