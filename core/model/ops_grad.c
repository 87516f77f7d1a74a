/* model/ops_grad.c - the rows of ai.pare.grad: what comes out of each op of training (meaning: pare/grad_ops.h), and
 * ONNX's own losses.
 *
 * Is not: gradients themselves (engine/grad). May use: ops_rules.h.
 */
#include "model/ops_rules.h"

#include <pare/grad_ops.h>
#include <string.h>

static pare_status like(pare_infer_ctx *c);
static int64_t conv_macs(const pare_model *m, const pare_node *n);

#define IN(i) (1u << (i))
#define OP(op, like_text, macs, dims_only, over)                                                                       \
    { PARE_GRAD_DOMAIN, op, like, macs, 0, NULL, dims_only, over, like_text }

/* clang-format off */
static const pare_op table[] = {
    /* like, a character an output: the digit of the input whose dims it has; '+': those of the input one on; 's': a
     * scalar of input 0's dtype; 'c': as many elements as input 0 has channels. */
    OP("Accumulate", "0", NULL, 0, "0"),
    OP("AdamUpdate", "023", NULL, 0, "023"),
    OP("AveragePoolGrad", "1", NULL, IN(1), NULL),
    OP("BatchNormGrad", "122", NULL, 0, NULL),
    OP("BatchNormTrain", "03411", NULL, 0, ".34"),
    OP("ClipGrad", "0", NULL, 0, NULL),
    OP("ConcatGrad", "+", NULL, ~IN(0), NULL),
    OP("ConvGradInput", "2", conv_macs, IN(2), NULL),
    OP("ConvGradWeight", "2c", conv_macs, IN(2), NULL),
    OP("DropoutTrain", "0", NULL, 0, NULL),
    OP("EluGrad", "0", NULL, 0, NULL),
    OP("EmaUpdate", "0", NULL, 0, "0"),
    OP("GatherElementsGrad", "2", NULL, IN(2), NULL),
    OP("GatherGrad", "2", NULL, IN(2), NULL),
    OP("GatherNDGrad", "2", NULL, IN(2), NULL),
    OP("GeluGrad", "0", NULL, 0, NULL),
    OP("GlobalAveragePoolGrad", "1", NULL, IN(1), NULL),
    OP("GlobalNorm", "s", NULL, 0, NULL),
    OP("GroupNormGrad", "122", NULL, 0, NULL),
    OP("HardSigmoidGrad", "0", NULL, 0, NULL),
    OP("HardSwishGrad", "0", NULL, 0, NULL),
    OP("InstanceNormGrad", "122", NULL, 0, NULL),
    OP("LRNGrad", "1", NULL, 0, NULL),
    OP("LayerNormGrad", "122", NULL, 0, NULL),
    OP("LeakyReluGrad", "0", NULL, 0, NULL),
    OP("LogSoftmaxGrad", "0", NULL, 0, NULL),
    OP("MaxPoolGrad", "1", NULL, 0, NULL),
    OP("MishGrad", "0", NULL, 0, NULL),
    OP("ReluGrad", "0", NULL, 0, NULL),
    OP("ResizeGrad", "1", NULL, IN(1), NULL),
    OP("SeluGrad", "0", NULL, 0, NULL),
    OP("SgdUpdate", "02", NULL, 0, "02"),
    OP("SigmoidGrad", "0", NULL, 0, NULL),
    OP("SliceGrad", "1", NULL, IN(1), NULL),
    OP("SoftCrossEntropy", "s", NULL, 0, NULL),
    OP("SoftCrossEntropyGrad", "1", NULL, 0, NULL),
    OP("SoftmaxCrossEntropyGrad", "1", NULL, 0, NULL),
    OP("SoftmaxGrad", "0", NULL, 0, NULL),
    OP("SoftplusGrad", "0", NULL, 0, NULL),
    OP("SumTo", "1", NULL, IN(1), NULL),
    OP("TanhGrad", "0", NULL, 0, NULL),
};
/* clang-format on */

const pare_op *pare_op_grad_find(const char *op_type) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].op_type, op_type) == 0) return &table[i];
    return NULL;
}

static pare_status like(pare_infer_ctx *c) {
    const pare_op *op = pare_op_grad_find(c->node->op_type);
    pare_shape s;
    for (uint32_t i = 0; i < c->node->n_out; i++) {
        char from = op->like[0] == '+' ? '+' : i < strlen(op->like) ? op->like[i] : '.';
        if (!c->node->out[i] || from == '.') continue;
        pare_infer_in(c, from == '+' ? i + 1 : from >= '0' && from <= '9' ? (uint32_t)(from - '0') : 0, &s);
        if (from == 's') s.ndim = 0;
        if (from == 'c') {
            if (s.ndim > 1) s.d[0] = s.d[1];
            s.ndim = s.ndim > 1 ? 1 : -1;
        }
        pare_infer_out_shape(c, i, s.dtype, &s);
    }
    return PARE_OK;
}

/* As many as the convolution itself: outputs (dy) times inputs of a group times the kernel's area. */
static int64_t conv_macs(const pare_model *m, const pare_node *n) {
    const pare_value *dy = pare_model_value(m, n->in[0]);
    const pare_value *w =
        strcmp(n->op_type, "ConvGradInput") == 0 ? pare_model_value(m, n->in[1]) : pare_model_value(m, n->in[2]);
    int64_t r = 1;
    if (!dy || !w || dy->ndim < 0 || w->ndim < 0) return -1;
    for (int32_t i = 0; i < dy->ndim; i++) r = pare_macs_mul(r, pare_macs_dim(m, dy, i));
    for (int32_t i = 1; i < w->ndim; i++) r = pare_macs_mul(r, pare_macs_dim(m, w, i));
    return r;
}

/* scores (N, C, d1, ...), labels (N, d1, ...): a number, or one a label where nothing reduces them; and log_prob. */
pare_status pare_rule_loss(pare_infer_ctx *c) {
    const pare_attr *how = pare_node_attr(c->node, "reduction");
    pare_shape scores, labels;
    pare_infer_in(c, 0, &scores);
    pare_infer_in(c, 1, &labels);
    if (!how || !how->s.len || how->s.data[0] != 'n') labels.ndim = 0;
    pare_infer_out_shape(c, 0, scores.dtype, &labels);
    if (c->node->n_out > 1) pare_infer_out_shape(c, 1, scores.dtype, &scores);
    return PARE_OK;
}
