/* plugins/cpu/ref/ref_ops.c - the table: one row an op.
 *
 * A new op is a row here and a run function in the file of its family. May use: ref.h.
 */
#include "ref_b.h"
#include "ref_grad.h"
#include "ref_rows.h"

#include <pthread.h>
#include <string.h>

/* Convolutions, products, pooling, moving, indexing and quantization have their rows in ref_b.c. */
#define ROW(op_type, run) {"", op_type, ref_numeric, run, 0},

static const ref_op rows[] = {
    /* clang-format off */
    ROW("Abs", ref_run_unary)
    ROW("Acos", ref_run_unary)
    ROW("Acosh", ref_run_unary)
    ROW("Add", ref_run_binary)
    ROW("And", ref_run_binary)
    ROW("ArgMax", ref_run_arg)
    ROW("ArgMin", ref_run_arg)
    ROW("Asin", ref_run_unary)
    ROW("Asinh", ref_run_unary)
    ROW("Atan", ref_run_unary)
    ROW("Atanh", ref_run_unary)
    ROW("BatchNormalization", ref_run_batchnorm)
    ROW("BitShift", ref_run_binary)
    ROW("BitwiseAnd", ref_run_binary)
    ROW("BitwiseNot", ref_run_unary)
    ROW("BitwiseOr", ref_run_binary)
    ROW("BitwiseXor", ref_run_binary)
    ROW("Cast", ref_run_cast)
    ROW("CastLike", ref_run_cast)
    ROW("Ceil", ref_run_unary)
    ROW("Celu", ref_run_activation)
    ROW("Clip", ref_run_clip)
    ROW("Cos", ref_run_unary)
    ROW("Cosh", ref_run_unary)
    ROW("CumSum", ref_run_cumsum)
    ROW("Div", ref_run_binary)
    ROW("Elu", ref_run_activation)
    ROW("Equal", ref_run_binary)
    ROW("Erf", ref_run_activation)
    ROW("Exp", ref_run_unary)
    ROW("Floor", ref_run_unary)
    ROW("Gelu", ref_run_activation)
    ROW("Greater", ref_run_binary)
    ROW("GreaterOrEqual", ref_run_binary)
    ROW("GroupNormalization", ref_run_groupnorm)
    ROW("HardSigmoid", ref_run_activation)
    ROW("HardSwish", ref_run_activation)
    ROW("Hardmax", ref_run_softmax)
    ROW("InstanceNormalization", ref_run_groupnorm)
    ROW("IsInf", ref_run_unary)
    ROW("IsNaN", ref_run_unary)
    ROW("LRN", ref_run_lrn)
    ROW("LayerNormalization", ref_run_layernorm)
    ROW("LeakyRelu", ref_run_activation)
    ROW("Less", ref_run_binary)
    ROW("LessOrEqual", ref_run_binary)
    ROW("Log", ref_run_unary)
    ROW("LogSoftmax", ref_run_softmax)
    ROW("LpNormalization", ref_run_lpnorm)
    ROW("Max", ref_run_variadic)
    ROW("Mean", ref_run_variadic)
    ROW("MeanVarianceNormalization", ref_run_mvn)
    ROW("Min", ref_run_variadic)
    ROW("Mish", ref_run_activation)
    ROW("Mod", ref_run_binary)
    ROW("Mul", ref_run_binary)
    ROW("Neg", ref_run_unary)
    ROW("Not", ref_run_unary)
    ROW("Or", ref_run_binary)
    ROW("PRelu", ref_run_binary)
    ROW("Pow", ref_run_binary)
    ROW("Reciprocal", ref_run_unary)
    ROW("ReduceL1", ref_run_reduce)
    ROW("ReduceL2", ref_run_reduce)
    ROW("ReduceLogSum", ref_run_reduce)
    ROW("ReduceLogSumExp", ref_run_reduce)
    ROW("ReduceMax", ref_run_reduce)
    ROW("ReduceMean", ref_run_reduce)
    ROW("ReduceMin", ref_run_reduce)
    ROW("ReduceProd", ref_run_reduce)
    ROW("ReduceSum", ref_run_reduce)
    ROW("ReduceSumSquare", ref_run_reduce)
    ROW("Relu", ref_run_activation)
    ROW("Round", ref_run_unary)
    ROW("Selu", ref_run_activation)
    ROW("Shrink", ref_run_activation)
    ROW("Sigmoid", ref_run_activation)
    ROW("Sign", ref_run_unary)
    ROW("Sin", ref_run_unary)
    ROW("Sinh", ref_run_unary)
    ROW("Softmax", ref_run_softmax)
    ROW("Softplus", ref_run_activation)
    ROW("Softsign", ref_run_activation)
    ROW("Sqrt", ref_run_unary)
    ROW("Sub", ref_run_binary)
    ROW("Sum", ref_run_variadic)
    ROW("Swish", ref_run_activation)
    ROW("Tan", ref_run_unary)
    ROW("Tanh", ref_run_activation)
    ROW("ThresholdedRelu", ref_run_activation)
    ROW("TopK", ref_run_topk)
    ROW("Where", ref_run_where)
    ROW("Xor", ref_run_binary)
    {"ai.pare", "Attention", ref_attention_ok, ref_run_attention, 0},
    /* clang-format on */
};

enum { N_ROWS = sizeof rows / sizeof *rows, N_MOST = 256 };

static const ref_op *all[N_MOST];
static uint32_t n_all;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void list_all(void) {
    for (uint32_t i = 0; i < N_ROWS; i++) all[n_all++] = &rows[i];
    for (uint32_t i = 0; i < ref_n_ops_b && n_all < N_MOST; i++) all[n_all++] = &ref_ops_b[i];
    for (uint32_t i = 0; i < ref_n_ops_grad && n_all < N_MOST; i++) all[n_all++] = &ref_ops_grad[i];
}

const ref_op *const *ref_all(uint32_t *n) {
    pthread_once(&once, list_all);
    *n = n_all;
    return all;
}

const ref_op *ref_find(const char *domain, const char *op_type) {
    uint32_t n;
    const ref_op *const *r = ref_all(&n);
    if (!strcmp(domain, "ai.onnx")) domain = "";
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(r[i]->op_type, op_type) && !strcmp(r[i]->domain, domain)) return r[i];
    return NULL;
}
