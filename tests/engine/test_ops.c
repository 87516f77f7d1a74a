/* test_ops.c - every op that the engine promises is in all tables: shape rule and plain C kernel. That each computes
 * what it should, ONNX's backend suite says: tests/interop/test_backend.py, test_dtypes.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/ops.h"
#include "ref/ref.h"

#include <string.h>

static const char promised[] =
    "Conv ConvTranspose Gemm MatMul BatchNormalization LayerNormalization InstanceNormalization GroupNormalization "
    "Relu LeakyRelu PRelu Elu Selu Clip Sigmoid HardSigmoid HardSwish Tanh Erf Gelu Softplus Mish Add Sub Mul Div Pow "
    "Sqrt Exp Log Neg Abs Reciprocal Floor Ceil Round Sign Min Max Mean Sum Where Equal Greater GreaterOrEqual Less "
    "LessOrEqual And Or Not MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax "
    "ReduceMin ReduceProd ReduceL1 ReduceL2 ArgMax ArgMin Softmax LogSoftmax Flatten Reshape Transpose Squeeze "
    "Unsqueeze Concat Split Slice Gather Expand Tile Pad Resize Upsample DepthToSpace SpaceToDepth Cast Shape Constant "
    "ConstantOfShape Range Identity Dropout LRN TopK Einsum CumSum GatherElements GatherND ScatterND OneHot Trilu Mod "
    "Sin Cos QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul MatMulInteger ConvInteger";

/* Never a kernel: made initializers, known from dims, or lowered to another op before anything runs. */
static bool gone_before(const char *op) {
    static const char *const ops[] = {"Constant", "Shape", "Upsample"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i]) == 0) return true;
    return false;
}

static void in_the_tables(void **state) {
    (void)state;
    char op[64];
    size_t n = 0;
    for (const char *p = promised; *p;) {
        size_t len = strcspn(p, " ");
        assert_true(len < sizeof op);
        memcpy(op, p, len);
        op[len] = 0;
        p += len + (p[len] == ' ');
        n++;
        const pare_op *row = pare_op_find("", op);
        if (!row || !row->infer) fail_msg("%s has no shape rule", op);
        if (!gone_before(op) && !ref_find("", op)) fail_msg("%s has no plain C kernel", op);
    }
    assert_int_equal(n, 107);
}

/* Rows are found by a binary search, so their order counts. */
static void sorted(void **state) {
    (void)state;
    size_t n;
    const pare_op *all = pare_op_all(&n);
    for (size_t i = 0; i < n; i++) assert_ptr_equal(pare_op_find(all[i].domain, all[i].op_type), &all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_the_tables), cmocka_unit_test(sorted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
