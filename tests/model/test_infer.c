/* tests/model/test_infer.c - shape rules, what passes between them, and what an inference leaves behind.
 * That the rules agree with onnx's is tests/interop/test_infer.py's to show. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/onnx_parts.h"
#include "model/infer.h"
#include "model/onnx.h"

#include "graph_make.h"

/* ---- the table ---- */

static void test_table(void **state) {
    (void)state;
    size_t n;
    const pare_op *all = pare_op_all(&n);
    assert_true(n > 140);
    for (size_t i = 0; i < n; i++) {
        if (i) { /* sorted, each once: bsearch needs it */
            int r = strcmp(all[i - 1].domain, all[i].domain);
            assert_true(r < 0 || (r == 0 && strcmp(all[i - 1].op_type, all[i].op_type) < 0));
        }
        assert_ptr_equal(pare_op_find(all[i].domain, all[i].op_type), &all[i]);
    }
    assert_null(pare_op_find("", "Convolution"));
    assert_null(pare_op_find("com.microsoft", "Conv"));
    assert_int_equal(pare_op_find("", "Conv")->weights, 2);
    assert_int_equal(pare_op_find("", "QLinearMatMul")->weights, 1 | 8);
}

/* ---- one node ---- */

typedef struct row {
    const char *op;
    int opset;
    const char *ins, *attrs;
    const char *want; /* shapes of the outputs; "!text": refused, saying so */
} row;

static void run_row(const row *r) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = pare_model_new("g");
    pare_model_opset_set(m, "", r->opset);
    pare_sb outs = {0}, got = {0};
    int n_out = 1;
    pare_sb_add(&outs, "y0");
    for (const char *s = r->want; (s = strchr(s, ' ')) && r->want[0] != '!'; s++, n_out++)
        pare_sb_printf(&outs, " y%d", n_out);
    gm_node(m, r->op, "it", r->ins, r->attrs, pare_sb_str(&outs));
    pare_status st = pare_model_infer(m, d);
    if (st) {
        assert_int_equal(st, PARE_EINVAL);
        assert_int_equal(pare_diags_errors(d), 1);
        const pare_diag_item *it = pare_diags_get(d, 0);
        assert_string_equal(it->node, "it");
        assert_non_null(it->hint);
        assert_true(strncmp(it->code, "model.", 6) == 0);
        if (r->want[0] != '!' || !strstr(it->message, r->want + 1))
            fail_msg("%s (%s) {%s}: wanted %s, refused: %s", r->op, r->ins, r->attrs, r->want, it->message);
        char label[64];
        snprintf(label, sizeof label, "%s#0 \"it\": ", r->op);
        assert_true(strncmp(it->message, label, strlen(label)) == 0);
    } else {
        assert_int_equal(pare_diags_count(d), 0);
        for (int i = 0; i < n_out; i++) {
            char name[16];
            snprintf(name, sizeof name, "y%d", i);
            pare_sb_printf(&got, "%s%s", i ? " " : "", gm_shape(m, name));
        }
        if (strcmp(pare_sb_str(&got), r->want) != 0)
            fail_msg("%s-%d (%s) {%s}: wanted %s, got %s", r->op, r->opset, r->ins, r->attrs, r->want,
                     pare_sb_str(&got));
    }
    pare_sb_free(&outs);
    pare_sb_free(&got);
    pare_model_free(m);
    pare_diags_free(d);
}

static const row windows[] = {
    {"Conv", 17, "f[N,3,224,224] =f[64,3,7,7]", "strides=[2,2] pads=[3,3,3,3]", "[N,64,112,112]"},
    {"Conv", 17, "f[N,3,H,W] =f[8,3,3,3]", "pads=[1,1,1,1]", "[N,8,H,W]"},
    {"Conv", 17, "f[N,3,H,W] =f[8,3,3,3]", "", "[N,8,?,?]"},
    {"Conv", 17, "f[N,3,H,W] =f[8,3,3,3]", "auto_pad=SAME_UPPER", "[N,8,H,W]"},
    {"Conv", 17, "f[1,3,7,8] =f[8,3,3,3]", "auto_pad=SAME_LOWER strides=[2,2]", "[1,8,4,4]"},
    {"Conv", 17, "f[1,3,7,8] =f[8,3,3,3]", "auto_pad=VALID strides=[2,2]", "[1,8,3,3]"},
    {"Conv", 17, "f[1,4,9,9] =f[6,2,3,3]", "group=2 dilations=[2,3]", "[1,6,5,3]"},
    {"Conv", 17, "f[1,4,9] =f[6,4,3] =f[6]", "", "[1,6,7]"},
    {"Conv", 17, "f[1,4,9,9] f?", "kernel_shape=[3,3]", "[1,?,7,7]"},
    {"Conv", 17, "f? =f[6,4,3,3]", "", "[?,6,?,?]"},
    {"Conv", 17, "f? f?", "", "?"},
    {"Conv", 17, "f[1,4,0,9] =f[6,4,3,3]", "pads=[1,1,1,1]", "[1,6,0,9]"},
    {"Conv", 17, "f[N,4,8,8] =f[6,3,3,3]", "", "!has 4 channels, the weight [6, 3, 3, 3] with group 1 takes 3"},
    {"Conv", 17, "f[N,4,8,8] =f[6,2,3,3]", "group=3", "!takes 6"},
    {"Conv", 17, "f[N,4,8,8] =f[5,2,3,3]", "group=2", "!5 channels, which 2 groups don't divide"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3]", "", "!same number of dims"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3] =f[5]", "", "!bias has 5"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "strides=[2]", "!strides has 1 numbers, its input needs 2"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "strides=[2,0]", "!strides has the value 0, allowed is 1 and up"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "strides=[-1,2]", "!strides has the value -1"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "strides=2", "!strides is not a list of ints"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "dilations=[9223372036854775807,1]", "!too large"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "pads=[9223372036854775807,1,1,1]", "!too large"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "kernel_shape=[5,3]", "!kernel_shape says 5"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "group=0", "!group is 0"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "group=9223372036854775807", "!too large"},
    {"Conv", 17, "f[N,4,8,8] =f[6,4,3,3]", "auto_pad=SAMEISH", "!auto_pad is \"SAMEISH\""},
    {"Conv", 17, "f[N,4,3,3] =f[6,4,7,7]", "", "!a window of 7 does not fit"},
    {"ConvTranspose", 17, "f[1,3,4,4] =f[3,5,3,3]", "strides=[2,2] pads=[1,1,1,1] output_padding=[1,1]", "[1,5,8,8]"},
    {"ConvTranspose", 17, "f[1,4,4,4] =f[4,5,3,3]", "strides=[2,2] auto_pad=SAME_UPPER group=2", "[1,10,8,8]"},
    {"ConvTranspose", 17, "f[1,4,4,4] =f[4,5,3,3]", "output_shape=[10,9]", "[1,5,10,9]"},
    {"ConvTranspose", 17, "f[1,4,H,4] =f[4,5,1,1]", "", "[1,5,H,4]"},
    {"ConvTranspose", 17, "f[1,4,4,4] =f[3,5,3,3]", "", "!has 4 channels, the weight [3, 5, 3, 3] takes 3"},
    {"ConvInteger", 17, "u[1,3,5,5] =u[4,3,3,3]", "", "[1,4,3,3]"},
    {"QLinearConv", 17, "u[1,3,5,5] =f[] =u[] =b[4,3,3,3] =f[4] =b[4] =f[] =u[]", "", "[1,4,3,3]"},
    {"MaxPool", 17, "f[N,64,112,112]", "kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]", "[N,64,56,56] [N,64,56,56]"},
    {"MaxPool", 17, "f[1,1,4,4]", "kernel_shape=[3,3] strides=[2,2] ceil_mode=1", "[1,1,2,2]"},
    /* the second window would begin in the padding at the end */
    {"MaxPool", 17, "f[1,1,2,2]", "kernel_shape=[1,1] strides=[2,2] ceil_mode=1", "[1,1,1,1]"},
    {"MaxPool", 17, "f[1,1,1,1]", "kernel_shape=[2,2] strides=[2,2] ceil_mode=1", "[1,1,1,1]"},
    {"MaxPool", 17, "f[1,1,8,8]", "kernel_shape=[2,0]", "!kernel_shape has the value 0"},
    {"MaxPool", 17, "f[1,1,8,8]", "kernel_shape=[9223372036854775807,2]", "!does not fit"},
    {"MaxPool", 17, "f[1]", "kernel_shape=[2]", "!needs at least 3 dims"},
    {"AveragePool", 17, "f[1,1,5]", "kernel_shape=[2]", "[1,1,4]"},
    {"GlobalAveragePool", 17, "f[N,512,?,7]", "", "[N,512,1,1]"},
};

static const row products[] = {
    {"Gemm", 17, "f[N,512] =f[1000,512] =f[1000]", "transB=1", "[N,1000]"},
    {"Gemm", 17, "f[4,N] f[4,7]", "transA=1", "[N,7]"},
    {"Gemm", 17, "f? =f[1000,512]", "transB=1", "[?,1000]"},
    {"Gemm", 17, "f[N,512] =f[512,10] =f[1,1]", "", "[N,10]"},
    {"Gemm", 17, "f[N,512] =f[256,10]", "", "!gives 512 numbers a row, B [256, 10] takes 256"},
    {"Gemm", 17, "f[N,512] =f[512,10] =f[9]", "", "!C [9] does not broadcast"},
    {"Gemm", 17, "f[N,512,1] =f[512,10]", "", "!both must have 2 dims"},
    {"MatMul", 17, "f[N,8,T,64] f[N,8,64,T]", "", "[N,8,T,T]"},
    {"MatMul", 17, "f[N,T,768] =f[768,3072]", "", "[N,T,3072]"},
    {"MatMul", 17, "f[5] f[5,3]", "", "[3]"},
    {"MatMul", 17, "f[2,5] f[5]", "", "[2]"},
    {"MatMul", 17, "f[5] f[5]", "", "[]"},
    {"MatMul", 17, "f[3,1,2,4] f[5,4,6]", "", "[3,5,2,6]"},
    {"MatMul", 17, "f[N,4] f?", "", "?"},
    {"MatMul", 17, "f[2,4] f[5,6]", "", "!don't fit: 4 against 5"},
    {"MatMul", 17, "f[2,3,4] f[3,4,6]", "", "!don't broadcast"},
    {"Attention", 23, "f[N,4,T,8] f[N,2,S,8] f[N,2,S,16]", "", "[N,4,T,16]"},
    {"Attention", 23, "f[N,T,32] f[N,S,16] f[N,S,32]", "q_num_heads=4 kv_num_heads=2", "[N,T,64]"},
    {"Attention", 23, "f[N,T,32] f[N,S,16] f[N,S,32]", "", "[N,T,?]"},
    {"Attention", 23, "f? f[1,2,3,4] f[1,2,3,4]", "", "?"},
    {"Attention", 23, "f[1,3,8] f[1,3,8] f[1,2,3,4]", "", "!both must have"},
    {"MatMul", 17, "f[] f[4]", "", "!a scalar has no product"},
    {"MatMulInteger", 17, "u[N,4] =b[4,6]", "", "[N,6]"},
    {"QLinearMatMul", 17, "u[N,4] =f[] =u[] =b[4,6] =f[] =b[] =f[] =u[]", "", "[N,6]"},
    {"LSTM", 17, "f[T,N,10] =f[2,80,10] =f[2,80,20]", "hidden_size=20 direction=bidirectional",
     "[T,2,N,20] [2,N,20] [2,N,20]"},
    {"GRU", 17, "f[N,T,10] =f[1,60,10] =f[1,60,20]", "hidden_size=20 layout=1", "[N,T,1,20] [N,1,20]"},
    {"RNN", 17, "f[T,N,9] =f[1,20,10] =f[1,20,20]", "", "!has 9 features"},
};

static const row elementwise[] = {
    {"Relu", 17, "f[N,3,?]", "", "[N,3,?]"},
    {"Relu", 17, "f?", "", "?"},
    {"Add", 17, "f[N,3,4] f[4]", "", "[N,3,4]"},
    {"Add", 17, "f[N,1] f[1,M]", "", "[N,M]"},
    {"Add", 17, "f[N,4] f[M,4]", "", "[?,4]"},
    {"Add", 17, "f[N,4] f[3,4]", "", "[3,4]"},
    {"Add", 17, "f[0,4] f[1,4]", "", "[0,4]"},
    {"Add", 17, "f[2,3] f[2,4]", "", "!shapes [2, 3] and [2, 4] don't broadcast: 3 against 4"},
    {"Add", 17, "f[0] f[2]", "", "!don't broadcast"},
    {"Add", 6, "f[2,3,4,5] f[3,4]", "broadcast=1 axis=1", "[2,3,4,5]"},
    {"Sum", 17, "f[2,1] f[1,3] f[]", "", "[2,3]"},
    {"Equal", 17, "f[2,1] f[3]", "", "[2,3]"},
    {"Where", 17, "f[2,1] f[3] f[]", "", "[2,3]"},
    {"PRelu", 17, "f[N,3,8,8] =f[3,1,1]", "", "[N,3,8,8]"},
    {"Dropout", 17, "f[N,3]", "", "[N,3] [N,3]"},
    {"BatchNormalization", 17, "f[N,3,8,8] =f[3] =f[3] =f[3] =f[3]", "", "[N,3,8,8]"},
    {"BatchNormalization", 17, "f[N,3,8,8] =f[3] =f[3] =f[4] =f[3]", "", "!mean has 4 numbers"},
    {"BatchNormalization", 7, "f[N,3,8,8] =f[3,8,8] =f[3,8,8] =f[3,8,8] =f[3,8,8]", "spatial=0", "[N,3,8,8]"},
    {"BatchNormalization", 8, "f[N,3,8,8] =f[3] =f[3] =f[3] =f[3]", "", "[N,3,8,8] [3] [3] [3] [3]"},
    {"LayerNormalization", 17, "f[N,T,768] =f[768]", "", "[N,T,768] [N,T,1] [N,T,1]"},
    {"LayerNormalization", 17, "f[N,T,768] =f[768]", "axis=3", "!axis is 3, but there are 3 dims"},
    {"InstanceNormalization", 17, "f[N,3,8] =f[4] =f[3]", "", "!scale has 4"},
    {"DequantizeLinear", 17, "=b[8,3] =f[3] =b[3]", "axis=1", "[8,3]"},
    {"DequantizeLinear", 17, "=b[8,3] =f[4] =b[4]", "axis=1", "!the scale has 4 numbers, but dim 1"},
    {"DequantizeLinear", 21, "=b[8,4] =f[8,2]", "axis=1 block_size=2", "[8,4]"},
    {"QuantizeLinear", 17, "f[N,3] =f[] =u[]", "", "[N,3]"},
    {"DynamicQuantizeLinear", 17, "f[N,3]", "", "[N,3] [] []"},
};

static const row moves[] = {
    {"Flatten", 17, "f[N,512,1,1]", "", "[N,512]"},
    {"Flatten", 17, "f[N,3,H,2]", "axis=-1", "[?,2]"},
    {"Flatten", 17, "f[2,3,4]", "axis=0", "[1,24]"},
    {"Flatten", 17, "f[2,3,4]", "axis=4", "!axis is 4"},
    {"Flatten", 17, "f[4611686018427387904,4611686018427387904]", "axis=2", "[?,1]"},
    {"Reshape", 17, "f[N,512,1,1] {-1,512}", "", "[N,512]"},
    {"Reshape", 17, "f[N,12,64] {0,-1}", "", "[N,768]"},
    {"Reshape", 17, "f[N,T,768] {0,0,12,-1}", "", "[N,T,12,64]"},
    {"Reshape", 17, "f[2,3,4] {4,-1}", "", "[4,6]"},
    {"Reshape", 17, "f[N,3] {3,2}", "", "[3,2]"},
    {"Reshape", 17, "f[0,3] {0,-1}", "", "[0,?]"},
    {"Reshape", 17, "f[0,3] {3,0}", "allowzero=1", "[3,0]"},
    {"Reshape", 17, "f[2,3] i[2]", "", "[?,?]"},
    {"Reshape", 17, "f[2,3] i[K]", "", "?"},
    {"Reshape", 17, "f[2,3] i[1000000000]", "", "?"},
    {"Reshape", 4, "f[2,3]", "shape=[3,2]", "[3,2]"},
    {"Reshape", 17, "f[2,3] {4,-1}", "", "!6 elements, which 4 of the target don't divide"},
    {"Reshape", 17, "f[2,3] {4,2}", "", "!has 6 elements, the target [4, 2] has 8"},
    {"Reshape", 17, "f[2,3] {-1,-1}", "", "!more than one -1"},
    {"Reshape", 17, "f[2,3] {-2,3}", "", "!number 0 is -2"},
    {"Reshape", 17, "f[2,3] {2,3,0}", "", "!copies dim 2 of the input [2, 3], which has none"},
    {"Reshape", 17, "f[N,3] {9223372036854775807,9223372036854775807,-1}", "",
     "[9223372036854775807,9223372036854775807,?]"},
    {"Transpose", 17, "f[N,3,8]", "perm=[2,0,1]", "[8,N,3]"},
    {"Transpose", 17, "f[N,3,8]", "", "[8,3,N]"},
    {"Transpose", 17, "f[N,3,8]", "perm=[0,1]", "!perm has 2 numbers"},
    {"Transpose", 17, "f[N,3,8]", "perm=[0,1,1]", "!perm names dim 1 twice"},
    {"Transpose", 17, "f[N,3,8]", "perm=[0,1,3]", "!perm is 3"},
    {"Squeeze", 11, "f[N,1,3,1]", "axes=[1,-1]", "[N,3]"},
    {"Squeeze", 17, "f[N,1,3,1] {1,-1}", "", "[N,3]"},
    {"Squeeze", 17, "f[2,1,3,1]", "", "[2,3]"},
    {"Squeeze", 17, "f[N,1,3,1]", "", "?"},
    {"Squeeze", 17, "f[N,1,3,1] i[2]", "", "[?,?]"},
    {"Squeeze", 17, "f[N,1] {0}", "", "[1]"},
    {"Squeeze", 17, "f[N,3] {1}", "", "!takes away dim 1 of [N, 3], which is not 1"},
    {"Unsqueeze", 11, "f[N,3]", "axes=[0,3]", "[1,N,3,1]"},
    {"Unsqueeze", 17, "f[N,3] {-1}", "", "[N,3,1]"},
    {"Unsqueeze", 17, "f[N,3] {1,1}", "", "!axes names dim 1 twice"},
    {"Unsqueeze", 17, "f[N,3] {4}", "", "!axes is 4, but there are 3 dims"},
    {"Concat", 17, "f[N,3,8] f[N,5,8] f[N,1,?]", "axis=1", "[N,9,8]"},
    {"Concat", 17, "f[N,3] f[N,K]", "axis=-1", "[N,?]"},
    {"Concat", 17, "f[N,3] f?", "axis=0", "[?,3]"},
    {"Concat", 17, "f[2,3] f[2,4]", "axis=0", "!input 1 is [2, 4], which does not join"},
    {"Concat", 17, "f[2,3] f[2]", "axis=1", "!input 1 is [2]"},
    {"Concat", 17, "f[2,3] f[2,3]", "axis=2", "!axis is 2"},
    {"Split", 17, "f[N,9]", "axis=1", "[N,3] [N,3] [N,3]"},
    {"Split", 17, "f[N,9] {2,7}", "axis=1", "[N,2] [N,7]"},
    {"Split", 11, "f[N,9]", "axis=1 split=[4,5]", "[N,4] [N,5]"},
    {"Split", 18, "f[N,7]", "axis=1 num_outputs=3", "[N,3] [N,3] [N,1]"},
    {"Split", 17, "f[N,9]", "axis=1 num_outputs=2", "!does not split"},
    {"Split", 17, "f[N,9] {2,6}", "axis=1", "!sum 8"},
    {"Split", 17, "f[N,9] {10,-1}", "axis=1", "!split size 1 is -1"},
    {"Slice", 17, "f[N,10] {1} {-1} {1}", "", "[N,8]"},
    {"Slice", 17, "f[N,10] {-1} {-11} {1} {-1}", "", "[N,10]"},
    {"Slice", 17, "f[N,10] {0} {9223372036854775807} {0}", "", "[N,10]"},
    {"Slice", 17, "f[N,10] {0} {9223372036854775807} {1} {3}", "", "[N,4]"},
    {"Slice", 17, "f[N,10] {-9223372036854775808} {-9223372036854775808} {1} {-9223372036854775808}", "", "[N,1]"},
    {"Slice", 17, "f[N,10] {5} {2} {1}", "", "[N,0]"},
    {"Slice", 17, "f[N,10] i[1] {2} {1}", "", "[N,?]"},
    {"Slice", 17, "f[N,10] i[1] i[1] i[1]", "", "[?,?]"},
    {"Slice", 9, "f[4,10]", "starts=[1,0] ends=[3,100]", "[2,10]"},
    {"Slice", 17, "f[N,10] {0} {2} {2}", "", "!axes is 2"},
    {"Slice", 17, "f[N,10] {0} {2} {1} {0}", "", "!a step is 0"},
    {"Slice", 17, "f[N,10] {0,1} {2} {1}", "", "!starts, ends, axes and steps have 2, 1, 1"},
    {"Gather", 17, "=f[30522,768] i[N,T]", "", "[N,T,768]"},
    {"Gather", 17, "f[N,T,768] (0)", "axis=1", "[N,768]"},
    {"Gather", 17, "f[N,T] (0)", "axis=2", "!axis is 2"},
    {"GatherND", 17, "f[2,3,4] i[5,2]", "", "[5,4]"},
    {"GatherElements", 17, "f[2,3] i[2,9]", "axis=1", "[2,9]"},
    {"Expand", 17, "f[N,1,4] {3,1}", "", "[N,3,4]"},
    {"Expand", 17, "f[2,3] {4,3}", "", "!don't broadcast"},
    {"Tile", 17, "f[N,3] {1,4}", "", "[N,12]"},
    {"Tile", 17, "f[N,3] {1,4,1}", "", "!repeats has 3 numbers"},
    {"Tile", 17, "f[N,3] {1,-4}", "", "!repeats[1] is -4"},
    {"Pad", 17, "f[N,3,8] {0,0,1,0,0,2}", "", "[N,3,11]"},
    {"Pad", 18, "f[N,3,8] {1,2} _ {-1}", "", "[N,3,11]"},
    {"Pad", 10, "f[N,3,8]", "pads=[0,0,-1,0,0,-1]", "[N,3,6]"},
    {"Pad", 17, "f[N,3,8] i[6]", "", "[?,?,?]"},
    {"Pad", 17, "f[N,3,8] {0,0,-9,0,0,0}", "", "!pads of -9 and 0 don't fit dim 2"},
    {"Pad", 17, "f[N,3,8] {0,0,9223372036854775807,0,0,1}", "", "!don't fit"},
    {"Pad", 17, "f[N,3,8] {0,0,1}", "", "!pads has 3 numbers"},
    {"Resize", 17, "f[N,3,8,9] _ f{1,1,2,1.5}", "", "[N,3,16,13]"},
    {"Resize", 17, "f[N,3,8,9] _ _ {1,3,16,20}", "", "[1,3,16,20]"},
    {"Resize", 18, "f[N,3,8,9] _ _ {16,20}", "axes=[2,3]", "[N,3,16,20]"},
    {"Resize", 10, "f[N,3,8,9] f{1,1,2,2}", "", "[N,3,16,18]"},
    {"Resize", 17, "f[N,3,8,9] _ f{1,1,2}", "", "!scales has 3 numbers"},
    {"Resize", 17, "f[N,3,8,9] _ f{1,1,0,2}", "", "!scale 2 is 0"},
    {"Upsample", 7, "f[N,3,8,9]", "scales=[1.0,1.0,2.0,2.0]", "[N,3,16,18]"},
    {"Upsample", 9, "f[N,3,8,9] f{1,1,2,2}", "", "[N,3,16,18]"},
    {"DepthToSpace", 17, "f[N,12,4,H]", "blocksize=2", "[N,3,8,?]"},
    {"DepthToSpace", 17, "f[N,11,4,H]", "blocksize=2", "!can't be divided by 4"},
    {"SpaceToDepth", 17, "f[N,3,8,6]", "blocksize=2", "[N,12,4,3]"},
    {"SpaceToDepth", 17, "f[N,3,8,6]", "blocksize=4294967296", "!blocksize is 4294967296"},
    {"ReduceMean", 17, "f[N,T,768]", "axes=[-1]", "[N,T,1]"},
    {"ReduceMean", 18, "f[N,T,768] {1}", "keepdims=0", "[N,768]"},
    {"ReduceSum", 17, "f[N,T] i[1]", "keepdims=0", "[?]"},
    {"ReduceSum", 17, "f[N,T]", "", "[1,1]"},
    {"ReduceSum", 17, "f?", "keepdims=0", "[]"},
    {"ReduceSum", 17, "f[N,T]", "noop_with_empty_axes=1", "[N,T]"},
    {"ReduceMax", 17, "f[N,T]", "axes=[2]", "!axes is 2"},
    {"ArgMax", 17, "f[N,10]", "axis=1 keepdims=0", "[N]"},
    {"TopK", 17, "f[N,10] {3}", "", "[N,3] [N,3]"},
    {"TopK", 17, "f[N,2] {3}", "", "!k is 3"},
    {"Shape", 17, "f[N,3,8]", "", "[3]"},
    {"Shape", 17, "f[N,3,8]", "start=-2", "[2]"},
    {"ConstantOfShape", 17, "{2,3}", "", "[2,3]"},
    {"ConstantOfShape", 17, "{2,-3}", "", "!dim 1 of the shape is -3"},
    {"ConstantOfShape", 17, "i[4000000000]", "", "?"},
    {"Range", 17, "(0) (10) (3)", "", "[4]"},
    {"Range", 17, "(10) (0) (-3)", "", "[4]"},
    {"Range", 17, "(0) (10) (0)", "", "!delta is 0"},
    {"Range", 17, "(-9223372036854775808) (9223372036854775807) (1)", "", "[?]"},
    {"OneHot", 17, "i[N] (10) =f[2]", "", "[N,10]"},
    {"RandomNormal", 17, "", "shape=[2,3]", "[2,3]"},
};

static void run_rows(const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) run_row(&rows[i]);
}
#define ROWS_TEST(rows)                                                                                                \
    static void test_##rows(void **state) {                                                                            \
        (void)state;                                                                                                   \
        run_rows(rows, sizeof rows / sizeof rows[0]);                                                                  \
    }
ROWS_TEST(windows)
ROWS_TEST(products)
ROWS_TEST(elementwise)
ROWS_TEST(moves)

static void test_dtypes(void **state) {
    (void)state;
    static const struct {
        const char *op, *ins, *attrs;
        uint32_t want;
    } rows[] = {{"Relu", "h[2]", "", PARE_FLOAT16},
                {"Equal", "h[2] h[2]", "", PARE_BOOL},
                {"Cast", "f[2]", "to=10", PARE_FLOAT16},
                {"Cast", "f[2]", "to=99", PARE_DTYPE_UNKNOWN},
                {"ArgMax", "f[2]", "", PARE_INT64},
                {"ConvInteger", "u[1,1,3] =u[1,1,1]", "", PARE_INT32},
                {"QLinearConv", "u[1,3,5,5] =f[] =u[] =b[4,3,3,3] =f[4] =b[4] =f[] =b[]", "", PARE_INT8},
                {"QuantizeLinear", "f[2] =f[]", "", PARE_UINT8},
                {"QuantizeLinear", "f[2] =f[] =b[]", "", PARE_INT8},
                {"DequantizeLinear", "b[2] =h[]", "", PARE_FLOAT16},
                {"Where", "b[2] h[2] h[2]", "", PARE_FLOAT16},
                {"Shape", "f?", "", PARE_INT64},
                {"Conv", "h? f?", "", PARE_FLOAT16}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model *m = pare_model_new("g");
        pare_model_opset_set(m, "", 19);
        gm_node(m, rows[i].op, "", rows[i].ins, rows[i].attrs, "y");
        assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
        if (pare_model_value(m, gm_find(m, "y"))->dtype != rows[i].want) fail_msg("dtype of %s", rows[i].op);
        pare_model_free(m);
    }
}

/* ---- numbers that decide shapes ---- */

/* PyTorch's x.view(x.size(0), -1), with the batch open */
static void test_view(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_node(m, "Relu", "", "f[N,8,T,64]", "", "x");
    gm_node(m, "Shape", "", "@x", "", "s");
    gm_node(m, "Gather", "", "@s (0)", "axis=0", "n");
    gm_node(m, "Unsqueeze", "", "@n {0}", "", "n1");
    gm_node(m, "Slice", "", "@s {2} {3} {0}", "", "t1");
    gm_node(m, "Gather", "", "@s (1)", "", "h");
    gm_node(m, "Gather", "", "@s (-1)", "", "k");
    gm_node(m, "Mul", "", "@h @k", "", "hk");
    gm_node(m, "Cast", "", "@hk", "to=7", "hk2");
    gm_node(m, "Div", "", "@hk2 (2)", "", "half");
    gm_node(m, "Unsqueeze", "", "@half {0}", "", "half1");
    gm_node(m, "Concat", "", "@n1 @t1 @half1 {2}", "axis=0", "target");
    gm_node(m, "Reshape", "", "@x @target", "", "y");
    gm_node(m, "Concat", "", "@n1 {-1}", "axis=0", "flat");
    gm_node(m, "Reshape", "", "@x @flat", "", "z");
    /* Expand's export: where(shape == -1, ones, shape) */
    gm_node(m, "ConstantOfShape", "", "{3}", "", "ones");
    gm_node(m, "Shape", "", "@z", "", "zs");
    gm_node(m, "Concat", "", "@zs {-1}", "axis=0", "want");
    gm_node(m, "Equal", "", "@want {-1}", "", "is");
    gm_node(m, "Where", "", "@is {1,1,5} @want", "", "e");
    gm_node(m, "Unsqueeze", "", "@z {2}", "", "z1");
    gm_node(m, "Expand", "", "@z1 @e", "", "big");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_string_equal(gm_shape(m, "y"), "[N,T,256,2]");
    assert_string_equal(gm_shape(m, "z"), "[N,?]");
    assert_string_equal(gm_shape(m, "big"), "[N,?,5]");
    pare_model_free(m);
}

/* s -> Concat(s, s) -> …: 2^40 numbers must cost nothing */
static void test_numbers_bounded(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_node(m, "Identity", "", "{1,2,3}", "", "c0");
    for (int i = 0; i < 40; i++) {
        char in[32], out[16];
        snprintf(in, sizeof in, "@c%d @c%d", i, i);
        snprintf(out, sizeof out, "c%d", i + 1);
        gm_node(m, "Concat", "", in, "axis=0", out);
    }
    gm_node(m, "ConstantOfShape", "", "@c40", "", "y");
    gm_node(m, "ConstantOfShape", "", "@c8", "", "z");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_string_equal(gm_shape(m, "c40"), "[3298534883328]");
    assert_string_equal(gm_shape(m, "y"), "?");
    assert_string_equal(gm_shape(m, "z"), "?"); /* a rank of 768 is more than rules work with */
    pare_model_free(m);
}

/* From IR 4 on a graph input's default may be replaced: its numbers are no constant. */
static void test_overridable(void **state) {
    (void)state;
    for (int ir = 3; ir <= 8; ir += 5) {
        pare_model *m = pare_model_new("g");
        m->ir_version = ir;
        int64_t two = 2, target[] = {3, 2};
        gm_tensor(m, "target", PARE_INT64, 1, &two, target);
        pare_graph_input_add(m, PARE_MAIN_GRAPH, gm_find(m, "target"));
        gm_node(m, "Reshape", "", "f[6] @target", "", "y");
        assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
        assert_string_equal(gm_shape(m, "y"), ir == 3 ? "[3,2]" : "[?,?]");
        pare_model_free(m);
    }
}

/* Some exporters call every open dim "?": that makes no two of them equal. */
static void test_nameless(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    pare_dim dims[] = {{-1, "?"}, {3, NULL}, {-1, "?"}, {-1, "None"}};
    uint32_t x = pare_value_add(m, PARE_MAIN_GRAPH, "x");
    pare_value_type_set(m, x, PARE_FLOAT, 4, dims);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, x);
    gm_node(m, "Relu", "", "@x", "", "y");
    gm_node(m, "Concat", "", "@x @x", "axis=1", "z");
    gm_node(m, "Reshape", "", "@x {0,-1}", "", "r");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    const pare_value *y = pare_model_value(m, gm_find(m, "y"));
    for (int i = 0; i < 4; i++) assert_null(y->dims[i].symbol);
    assert_string_equal(pare_model_value(m, x)->dims[0].symbol, "?"); /* what the file says stays */
    assert_string_equal(gm_shape(m, "r"), "[?,?]");
    pare_model_free(m);
}

/* ---- what stays and what is made anew ---- */

static void test_again(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_node(m, "Conv", "c", "f[N,3,8,8] =f[4,3,3,3]", "", "a");
    gm_node(m, "Relu", "r", "@a", "", "b");
    gm_node(m, "Unknown", "u", "@b", "", "x");
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_string_equal(gm_shape(m, "b"), "[N,4,6,6]");
    const pare_value *b = pare_model_value(m, gm_find(m, "b"));
    const pare_dim *dims = b->dims;
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_ptr_equal(b->dims, dims); /* the model does not grow */
    assert_false(b->declared || b->info_stale);
    assert_string_equal(gm_shape(m, "x"), "?");
    /* another weight, other shapes */
    uint32_t w = pare_model_value(m, pare_model_node(m, 1)->in[1])->tensor;
    assert_true(pare_tensor_retype(m, w, PARE_FLOAT, 4, (int64_t[]){2, 3, 1, 1}));
    pare_model *copy = pare_model_clone(m);
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_string_equal(gm_shape(m, "b"), "[N,2,8,8]");
    assert_int_equal(pare_model_infer(copy, NULL), PARE_OK);
    assert_string_equal(gm_shape(copy, "b"), "[N,2,8,8]");
    assert_string_equal(gm_shape(m, "x"), "?");
    /* without its input's shape nothing is known any more */
    pare_value_type_set(m, pare_model_node(m, 1)->in[0], PARE_FLOAT, -1, NULL);
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_string_equal(gm_shape(m, "b"), "[?,2,?,?]");
    pare_model_free(copy);
    pare_model_free(m);
}

/* Values as a reader leaves them: declared by `info`, here written by the writer's own function. */
static void declare(pare_model *m, const char *name, const char *type) {
    pare_value *v = pare_model_value(m, gm_find(m, name));
    pare_dim dims[8];
    int32_t ndim = type[1] == '?' ? -1 : gm_dims(m, type + 2, dims);
    pare_value_type_set(m, v->id, gm_dtype(type[0]), ndim, dims);
    v->info = pare_onnx_info_bytes(&m->arena, v);
    assert_true(v->info.len > 0);
    v->info_stale = false;
    v->declared = true;
}

static void test_declared(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = pare_model_new("g");
    gm_node(m, "Relu", "r", "f[N,3]", "", "a");
    gm_node(m, "Mystery", "", "@a", "", "b");
    gm_node(m, "Relu", "", "@b", "", "c");
    gm_node(m, "Relu", "", "f[N,?]", "", "e");
    declare(m, "a", "f[M,?]");
    declare(m, "b", "f[K,7]");
    declare(m, "e", "f[?,9]");
    pare_bytes before = pare_model_value(m, gm_find(m, "a"))->info;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pare_model_infer(m, d), PARE_OK);
        assert_string_equal(gm_shape(m, "a"), "[N,3]"); /* the rule knows more */
        assert_string_equal(gm_shape(m, "c"), "[K,7]"); /* a rule carries on from what only the file knows */
        assert_string_equal(gm_shape(m, "e"), "[N,9]"); /* and what only the file knows stays */
    }
    assert_int_equal(pare_diags_count(d), 0);
    const pare_value *a = pare_model_value(m, gm_find(m, "a"));
    assert_false(a->info_stale);
    assert_ptr_equal(a->info.data, before.data);
    /* a wrong shape: the rules win, said once; what is written stays */
    declare(m, "a", "f[N,4]");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pare_model_infer(m, d), PARE_OK);
        assert_string_equal(gm_shape(m, "a"), "[N,3]");
        assert_int_equal(pare_diags_count(d), 1);
    }
    assert_int_equal(pare_diags_errors(d), 0);
    assert_string_equal(pare_diags_get(d, 0)->message, "\"a\" is declared as [N, 4], but its node makes [N, 3]");
    assert_false(a->info_stale);
    /* a wrong dtype: no runtime opens that */
    declare(m, "a", "i[N,3]");
    assert_int_equal(pare_model_infer(m, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 1);
    assert_string_equal(pare_diags_get(d, 1)->message,
                        "Relu#0 \"r\": \"a\" is declared as int64, but the node makes float32");
    pare_model_free(m);
    pare_diags_free(d);
}

static void test_other_type(void **state) {
    (void)state;
    pare_model *m = pare_model_new("g");
    gm_node(m, "Identity", "", "f[2]", "", "y");
    pare_value *y = pare_model_value(m, gm_find(m, "y"));
    y->other_type = true;
    assert_int_equal(pare_model_infer(m, NULL), PARE_OK);
    assert_int_equal(y->dtype, 0);
    assert_string_equal(gm_shape(m, "y"), "?");
    pare_model_free(m);
}

static void test_many_errors(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = pare_model_new("g");
    gm_node(m, "MatMul", "m1", "f[2,3] f[4,5]", "", "a");
    gm_node(m, "Relu", "", "@a", "", "b");
    gm_node(m, "MatMul", "m2", "f[2,3] f[4,5]", "", "c");
    assert_int_equal(pare_model_infer(m, d), PARE_EINVAL);
    assert_int_equal(pare_diags_errors(d), 2);
    assert_string_equal(gm_shape(m, "b"), "?");
    assert_int_equal(pare_model_infer(m, NULL), PARE_EINVAL); /* nobody listens: still an error */
    pare_model_free(m);
    pare_diags_free(d);
}

/* ---- subgraphs ---- */

static void test_subgraph(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = pare_model_new("g");
    uint32_t branch = gm_node(m, "If", "if", "b[]", "", "y");
    gm_node(m, "Relu", "", "f[N,3]", "", "x");
    uint32_t g = pare_graph_add(m, branch, "then");
    pare_attr *a = pare_arena_alloc(&m->arena, sizeof *a);
    uint32_t *ids = pare_arena_alloc(&m->arena, sizeof *ids);
    *ids = g;
    *a = (pare_attr){.name = "then_branch", .type = PARE_ATTR_GRAPH, .n = 1, .ids = ids};
    pare_model_node(m, branch)->attrs = a;
    pare_model_node(m, branch)->n_attrs = 1;
    uint32_t in = pare_model_graph(m, PARE_MAIN_GRAPH)->inputs.data[1];
    const char *t[] = {"t"}, *s[] = {"s"};
    pare_node_add(m, g, 0, "Transpose", "", "", &in, 1, t, 1);
    /* never taken with this shape, so no contradiction of the model */
    uint32_t k = pare_node_add(m, g, 0, "Squeeze", "", "sq", &in, 1, s, 1);
    pare_attr_set_ints(m, k, "axes", (int64_t[]){1}, 1);
    pare_graph_output_add(m, g, pare_graph_find(m, g, "t"));
    assert_int_equal(pare_model_infer(m, d), PARE_OK);
    assert_int_equal(pare_diags_count(d), 0);
    const pare_value *v = pare_model_value(m, pare_graph_find(m, g, "t"));
    assert_int_equal(v->ndim, 2);
    assert_int_equal(v->dims[0].value, 3);
    assert_string_equal(v->dims[1].symbol, "N");
    assert_int_equal(pare_model_value(m, pare_graph_find(m, g, "s"))->ndim, -1);
    assert_string_equal(gm_shape(m, "y"), "?");
    pare_model_free(m);
    pare_diags_free(d);
}

/* Every op with missing inputs, missing attributes and inputs of every rank: refused or not, never a crash. */
static void test_anything(void **state) {
    (void)state;
    static const char *const shapes[] = {"f?",      "f[]",   "f[3]", "i[2]", "f[N,?]", "f[2,3,4]", "f[1,2,3,4,5]",
                                         "=f[2,0]", "{1,0}", "{-1}", "(7)",  "f{0.5}", "_"};
    enum { N = sizeof shapes / sizeof *shapes };
    static const char *const attrs[] = {"", "axis=-9223372036854775808 axes=[-9223372036854775808] perm=[0] k=-1",
                                        "kernel_shape=[1] group=-1 num_outputs=-1 hidden_size=-1 batch_dims=-1"};
    size_t n;
    const pare_op *all = pare_op_all(&n);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < N * 3; k++) {
            pare_sb ins = {0};
            for (int j = 0; j < k / N * 3; j++) pare_sb_printf(&ins, "%s ", shapes[(k + j * (k % 5 + 1)) % N]);
            pare_model *m = pare_model_new("g");
            pare_model_opset_set(m, "", k % 2 ? 21 : k % 3 ? 9 : 1);
            gm_node(m, all[i].op_type, "", pare_sb_str(&ins), attrs[(size_t)k % 3], "y z");
            pare_sb_free(&ins);
            pare_status st = pare_model_infer(m, NULL);
            assert_true(st == PARE_OK || st == PARE_EINVAL);
            pare_model_free(m);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_windows),         cmocka_unit_test(test_products),
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_moves),           cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_view),        cmocka_unit_test(test_numbers_bounded), cmocka_unit_test(test_overridable),
        cmocka_unit_test(test_nameless),    cmocka_unit_test(test_again),           cmocka_unit_test(test_declared),
        cmocka_unit_test(test_other_type),  cmocka_unit_test(test_many_errors),     cmocka_unit_test(test_subgraph),
        cmocka_unit_test(test_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
