/* tests/engine/test_lower.c - what nodes of older and newer opsets become, and what is refused by name.
 * That they compute the same is tests/interop/test_lower.py's to show. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/lower.h"
#include "model/infer.h"
#include "model/onnx.h"

#include "model/graph_make.h"

static pare_model *model_of(int opset) {
    pare_model *m = pare_model_new("g");
    pare_model_opset_set(m, "", opset);
    m->ir_version = 3;
    return m;
}

/* A constant's numbers: "{1,2}", "f{0.5}". */
static void sb_const(pare_sb *b, pare_tensor *t) {
    const void *data = NULL;
    if (t->count > 8 || (t->dtype != PARE_INT64 && t->dtype != PARE_FLOAT)) {
        pare_sb_add(b, "=");
        return;
    }
    assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
    pare_sb_add(b, t->dtype == PARE_FLOAT ? "f" : "");
    pare_sb_addc(b, t->ndim ? '{' : '(');
    for (uint64_t i = 0; i < t->count; i++) {
        pare_sb_add(b, i ? "," : "");
        if (t->dtype == PARE_FLOAT)
            pare_sb_printf(b, "%g", (double)((const float *)data)[i]);
        else
            pare_sb_printf(b, "%lld", (long long)((const int64_t *)data)[i]);
    }
    pare_sb_addc(b, t->ndim ? '}' : ')');
}

/* The nodes of a graph: "Unsqueeze(x,{1,2}) Add(x,x)". Inputs: constants, _ (left out), x. Then attributes. */
static char *text_of(pare_model *m, uint32_t graph) {
    pare_sb b = {0};
    const pare_graph *g = pare_model_graph(m, graph);
    for (size_t k = 0; k < g->nodes.len; k++) {
        const pare_node *n = pare_model_node(m, g->nodes.data[k]);
        pare_sb_printf(&b, "%s%s(", k ? " " : "", n->op_type);
        for (uint32_t i = 0; i < n->n_in; i++) {
            const pare_value *v = pare_model_value(m, n->in[i]);
            pare_sb_add(&b, i ? "," : "");
            if (v && v->tensor)
                sb_const(&b, pare_model_tensor(m, v->tensor));
            else
                pare_sb_add(&b, v ? "x" : "_");
        }
        pare_sb_add(&b, ")");
        for (uint32_t i = 0; i < n->n_attrs; i++) {
            const pare_attr *a = &n->attrs[i];
            pare_sb_printf(&b, "%s%s=", i ? "," : ":", a->name);
            if (a->type == PARE_ATTR_INT) pare_sb_printf(&b, "%lld", (long long)a->i);
            if (a->type == PARE_ATTR_FLOAT) pare_sb_printf(&b, "%g", (double)a->f);
            if (a->type == PARE_ATTR_STRING) pare_sb_addn(&b, (const char *)a->s.data, a->s.len);
            if (a->type == PARE_ATTR_TENSOR) sb_const(&b, pare_model_tensor(m, a->ids[0]));
        }
    }
    if (!b.data) pare_sb_add(&b, "");
    return b.data;
}

typedef struct row {
    const char *op;
    int opset;
    const char *ins, *attrs, *outs;
    const char *want; /* the nodes; or, where it begins with !, part of the message that refuses */
} row;

/* Lowers one node; y (and y2, …) are its outputs and the first is the graph's. */
static pare_model *lower_row(const row *r, pare_diags *d, pare_status *st) {
    pare_model *m = model_of(r->opset);
    gm_node(m, r->op, "it", r->ins, r->attrs, r->outs);
    pare_graph_output_add(m, PARE_MAIN_GRAPH, gm_find(m, "y"));
    *st = pare_engine_lower(m, d);
    return m;
}

static void check_rows(const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const row *r = &rows[i];
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_status st;
        pare_model *m = lower_row(r, d, &st);
        if (*r->want == '!') {
            const char *said = pare_diags_count(d) ? pare_diags_get(d, 0)->message : "(nothing)";
            if (st != PARE_EUNSUPPORTED && st != PARE_EINVAL) fail_msg("%s %d: not refused", r->op, r->opset);
            if (!strstr(said, r->want + 1)) fail_msg("%s %d said: %s", r->op, r->opset, said);
            if (!strstr(said, r->op) || !strstr(said, "it")) fail_msg("not named: %s", said);
            assert_string_equal(pare_diags_get(d, 0)->node, "it");
        } else {
            char *got = text_of(m, PARE_MAIN_GRAPH);
            if (st) fail_msg("%s %d: %s", r->op, r->opset, pare_diags_get(d, 0)->message);
            if (strcmp(got, r->want) != 0) fail_msg("%s %d:\n     %s\nnot  %s", r->op, r->opset, got, r->want);
            free(got);
            assert_int_equal(pare_model_opset(m, ""), PARE_ENGINE_OPSET);
            assert_int_equal(m->ir_version, 10);
            assert_int_equal(pare_model_check(m, d), PARE_OK);
            assert_int_not_equal(gm_find(m, "y"), 0); /* the output keeps its name */
            /* Again: nothing is left to do. */
            got = text_of(m, PARE_MAIN_GRAPH);
            assert_int_equal(pare_engine_lower(m, d), PARE_OK);
            char *again = text_of(m, PARE_MAIN_GRAPH);
            assert_string_equal(got, again);
            free(got);
            free(again);
        }
        pare_model_free(m);
        pare_diags_free(d);
    }
}
#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

/* ---- attributes that became inputs ---- */

static void test_inputs(void **state) {
    (void)state;
    static const row rows[] = {
        {"Squeeze", 1, "f[2,1,3]", "axes=[1]", "y", "Squeeze(x,{1})"},
        {"Squeeze", 12, "f[2,1,3]", "", "y", "Squeeze(x)"},
        {"Unsqueeze", 11, "f[2]", "axes=[0,-1]", "y", "Unsqueeze(x,{0,-1})"},
        {"Unsqueeze", 11, "f[2]", "", "y", "!axes is missing"},
        {"ReduceSum", 12, "f[2,3]", "axes=[1] keepdims=0", "y", "ReduceSum(x,{1}):keepdims=0"},
        {"ReduceMean", 17, "f[2,3]", "axes=[1]", "y", "ReduceMean(x,{1})"},
        {"ReduceMean", 18, "f[2,3] {1}", "", "y", "ReduceMean(x,{1})"},
        {"Clip", 6, "f[2]", "min=0.0 max=6.0", "y", "Clip(x,f(0),f(6))"},
        {"Clip", 6, "f[2]", "max=6.0", "y", "Clip(x,_,f(6))"},
        {"Clip", 6, "h[2]", "max=6.0", "y", "Cast(f(6)):to=10 Clip(x,_,x)"},
        {"Pad", 1, "f[2]", "paddings=[1,1]", "y", "Pad(x,{1,1})"},
        {"Pad", 2, "f[2]", "pads=[1,1] value=2.5 mode=constant", "y", "Pad(x,{1,1},f(2.5)):mode=constant"},
        {"Pad", 2, "f[2]", "", "y", "!pads is missing"},
        {"Slice", 1, "f[2,3]", "starts=[0] ends=[1]", "y", "Slice(x,{0},{1},{0})"},
        {"Slice", 9, "f[2,3]", "starts=[0] ends=[1] axes=[1]", "y", "Slice(x,{0},{1},{1})"},
        {"Slice", 9, "f[2,3]", "starts=[0] ends=[1,2]", "y", "!1 starts, 2 ends"},
        {"Split", 2, "f[4]", "split=[1,3]", "y y2", "Split(x,{1,3})"},
        {"Split", 2, "f[4]", "split=[1,3]", "y", "!2 lengths for 1 outputs"},
        {"Split", 11, "f[4]", "", "y y2", "Split(x):num_outputs=2"},
        {"Split", 13, "f[4] {1,3}", "", "y y2", "Split(x,{1,3})"},
        {"Split", 1, "f[4]", "", "y y2", "!axis"},
        {"TopK", 1, "f[4]", "k=2 axis=0", "y y2", "TopK(x,{2}):axis=0"},
        {"TopK", 9, "f[4]", "", "y y2", "!k is missing"},
        {"Reshape", 1, "f[4]", "shape=[2,2] consumed_inputs=[0]", "y", "Reshape(x,{2,2})"},
        {"Reshape", 4, "f[4]", "", "y", "!shape is missing"},
        {"Dropout", 6, "f[4]", "is_test=1 ratio=0.5", "y", "Dropout(x,f(0.5))"},
        {"Dropout", 6, "f[4]", "is_test=0", "y", "!is_test is 0"},
        {"Dropout", 7, "f[4]", "", "y mask", "Dropout(x,f(0.5))"},
        {"Dropout", 12, "f[4]", "", "y", "Dropout(x)"},
        {"DFT", 17, "f[2,8,1]", "", "y", "DFT(x,_,(1))"},
        {"Constant", 12, "", "value_int=7", "y", "Constant():value=(7)"},
        {"Constant", 12, "", "value_floats=[0.5,2.0]", "y", "Constant():value=f{0.5,2}"},
        {"Constant", 12, "", "value_string=no", "y", "!value_string"},
        {"Constant", 12, "", "", "y", "!no value"},
        {"Clip", 6, "f[2]", "consumed_inputs=[0]", "y", "Clip(x):consumed_inputs="}, /* not an attribute at 6 */
    };
    CHECK(rows);
}

/* ---- old meanings ---- */

static void test_legacy(void **state) {
    (void)state;
    static const row rows[] = {
        {"Relu", 1, "f[2]", "consumed_inputs=[0]", "y", "Relu(x)"},
        {"Add", 6, "f[2,3,4] f[3]", "broadcast=1 axis=1", "y", "Unsqueeze(x,{1}) Add(x,x)"},
        {"Add", 6, "f[2,3,4] f[4]", "broadcast=1", "y", "Add(x,x)"},
        {"Add", 6, "f[2,3,4] f[1]", "broadcast=1 axis=0", "y", "Add(x,x)"},
        {"Add", 6, "f[2,3,4] f[2]", "broadcast=1 axis=3", "y", "!does not fit at axis 3"},
        {"Add", 6, "f? f[2]", "broadcast=1 axis=0", "y", "!rank of its first input"},
        {"Add", 7, "f[2,3,4] f[4]", "", "y", "Add(x,x)"},
        {"PRelu", 6, "f[2,3,4,4] f[3]", "", "y", "Unsqueeze(x,{1,2}) PRelu(x,x)"},
        {"PRelu", 6, "f[2,3] f[3]", "", "y", "PRelu(x,x)"},
        {"PRelu", 6, "f? f[3]", "", "y", "!rank of its data"},
        {"Gemm", 6, "f[2,3] f[3,4] f[4]", "broadcast=1", "y", "Gemm(x,x,x)"},
        {"BatchNormalization", 1, "f[2,3,4] f[3] f[3] f[3] f[3]", "is_test=1 consumed_inputs=[0]", "y m v",
         "BatchNormalization(x,x,x,x,x)"},
        {"BatchNormalization", 7, "f[2,3,4] f[3] f[3] f[3] f[3]", "spatial=0", "y", "!spatial is 0"},
        {"BatchNormalization", 7, "f[2,3] f[3] f[3] f[3] f[3]", "spatial=0", "y", "BatchNormalization(x,x,x,x,x)"},
        {"BatchNormalization", 9, "f[2,3,4] f[3] f[3] f[3] f[3]", "", "y m v sm sv",
         "BatchNormalization(x,x,x,x,x):training_mode=1"},
        {"Softmax", 9, "f[2,3]", "", "y", "Softmax(x):axis=-1"},
        {"Softmax", 9, "f[2,3,1,1]", "", "y", "Softmax(x):axis=1"},
        {"Softmax", 9, "f[2,3,4]", "", "y", "Shape(x) Flatten(x):axis=1 Softmax(x):axis=-1 Reshape(x,x):allowzero=1"},
        {"LogSoftmax", 12, "f[N,3,4]", "axis=-1", "y", "LogSoftmax(x):axis=-1"},
        {"Hardmax", 11, "f?", "axis=-1", "y", "Hardmax(x):axis=-1"},
        {"Hardmax", 11, "f?", "axis=1", "y", "Shape(x) Flatten(x):axis=1 Hardmax(x):axis=-1 Reshape(x,x):allowzero=1"},
        {"Softmax", 9, "f[2,3]", "axis=2", "y", "!axis 2 of data of rank 2"},
        {"Softmax", 13, "f[2,3,4]", "axis=1", "y", "Softmax(x):axis=1"},
        {"GroupNormalization", 18, "f[2,4,3] =f[4] =f[4]", "num_groups=4", "y",
         "GroupNormalization(x,f{0,0,0,0},f{0,0,0,0}):num_groups=4"},
        {"GroupNormalization", 18, "f[2,4,3] f[2] f[2]", "num_groups=2", "y",
         "Reshape(x,{2,1}) Expand(x,{2,2}) Reshape(x,{4}) Reshape(x,{2,1}) Expand(x,{2,2}) Reshape(x,{4}) "
         "GroupNormalization(x,x,x):num_groups=2"},
        {"GroupNormalization", 18, "f[2,4,3] f[3] f[3]", "num_groups=3", "y", "!3 groups for 4 channels"},
        {"GroupNormalization", 18, "f[2,4,3] f[3] f[3]", "num_groups=0", "y", "!0 groups for 4 channels"},
        {"GroupNormalization", 18, "f[2,?,3] f[3] f[3]", "num_groups=3", "y", "!number of its channels"},
        {"Cast", 1, "f[2]", "to=INT64", "y", "Cast(x):to=7"},
        {"Cast", 1, "f[2]", "to=LONG", "y", "!names no dtype"},
        {"Concat", 3, "f[2,1] f[2,2]", "", "y", "Concat(x,x):axis=1"},
        {"Selu", 1, "f[2]", "", "y", "Selu(x):alpha=1.6732,gamma=1.0507"},
        {"Tile", 1, "f[2,3] {4} {1}", "", "y", "Tile(x,{1,4})"},
        {"Tile", 1, "f[2,3] {4} {2}", "", "y", "!axis 2"},
        {"Tile", 1, "f[2,3] i[1] {1}", "", "y", "!constants"},
        {"GlobalLpPool", 1, "f[1,2,3]", "p=3.0", "y", "GlobalLpPool(x):p=3"},
        {"GlobalLpPool", 1, "f[1,2,3]", "p=2.5", "y", "!p is 2.5"},
        {"GRU", 1, "f[1,1,2] f[1,6,2] f[1,6,2]", "output_sequence=1 direction=foward", "y",
         "GRU(x,x,x):direction=forward"},
        {"GridSample", 16, "f[1,1,2,2] f[1,2,2,2]", "mode=bicubic", "y", "GridSample(x,x):mode=cubic"},
        {"RoiAlign", 10, "f[1,1,2,2] f[1,4] i[1]", "", "y",
         "RoiAlign(x,x,x):coordinate_transformation_mode=output_half_pixel"},
        {"Scatter", 9, "f[2] i[1] f[1]", "", "y", "ScatterElements(x,x,x)"},
        {"Scan", 8, "f[2]", "", "y", "!scans a batch"},
    };
    CHECK(rows);
}

/* ---- Upsample and Resize ---- */

#define OLD ",coordinate_transformation_mode=asymmetric"
static void test_resize(void **state) {
    (void)state;
    static const row rows[] = {
        {"Upsample", 1, "f[1,1,2,2]", "height_scale=2.0 width_scale=3.0 mode=bilinear", "y",
         "Resize(x,_,f{1,1,2,3}):mode=linear" OLD},
        {"Upsample", 1, "f[1,1,2,2]", "height_scale=2.0", "y", "!width_scale"},
        {"Upsample", 7, "f[2,2]", "scales=[2.0,3.0]", "y", "Resize(x,_,f{2,3}):mode=nearest" OLD ",nearest_mode=floor"},
        {"Upsample", 7, "f[2,2]", "", "y", "!scales is missing"},
        {"Upsample", 9, "f[2,2] f[2]", "", "y", "Resize(x,_,x):mode=nearest" OLD ",nearest_mode=floor"},
        {"Resize", 10, "f[2,2] f{0.5,0.5}", "", "y", "Resize(x,_,f{0.5,0.5}):mode=nearest" OLD ",nearest_mode=ceil"},
        {"Resize", 10, "f[2,2] f{2,0.5}", "", "y",
         "Resize(x,_,f{2,1}):mode=nearest" OLD ",nearest_mode=floor "
         "Resize(x,_,f{1,0.5}):mode=nearest" OLD ",nearest_mode=ceil"},
        {"Resize", 11, "f[2,2] f{} f{} {4,4}", "mode=linear", "y", "Resize(x,_,_,{4,4}):mode=linear"},
        {"Resize", 11, "f[2,2] f{} f{2,2}", "", "y", "Resize(x,_,f{2,2})"},
        {"Resize", 13, "f[2,2] f{0,0,1,1} f{2,2}", "coordinate_transformation_mode=tf_crop_and_resize", "y",
         "Resize(x,f{0,0,1,1},f{2,2}):coordinate_transformation_mode=tf_crop_and_resize"},
        {"Resize", 11, "f[2,2] f{} f{2,2}", "coordinate_transformation_mode=tf_half_pixel_for_nn nearest_mode=floor",
         "y", "Resize(x,_,f{2,2}):coordinate_transformation_mode=half_pixel,nearest_mode=round_prefer_ceil"},
        {"Resize", 11, "f[2,2] f{} f{2,2}", "coordinate_transformation_mode=tf_half_pixel_for_nn", "y",
         "Resize(x,_,f{2,2}):coordinate_transformation_mode=half_pixel,nearest_mode=ceil"},
        {"Resize", 11, "f[2,2] f{} f{2,2}", "coordinate_transformation_mode=tf_half_pixel_for_nn mode=linear", "y",
         "!tf_half_pixel_for_nn went"},
    };
    CHECK(rows);
}

/* ---- newer than the engine's opset ---- */

static void test_newer(void **state) {
    (void)state;
    static const row rows[] = {
        {"Conv", 22, "f[1,1,4,4] f[1,1,3,3]", "", "y", "Conv(x,x)"},
        {"Cast", 24, "f[2]", "to=10 round_mode=down", "y", "Cast(x):to=10"},
        {"Cast", 24, "f[2]", "to=24 round_mode=down", "y", "!a mode other than up"},
        {"Cast", 24, "f[2]", "to=24 round_mode=up", "y", "Cast(x):to=24"},
        {"QuantizeLinear", 23, "h[2] f[1]", "", "y", "Cast(x):to=1 QuantizeLinear(x,x)"},
        {"QuantizeLinear", 23, "f[2] f[1]", "precision=10", "y", "Cast(x):to=10 Cast(x):to=10 QuantizeLinear(x,x)"},
        {"QuantizeLinear", 23, "f[2] f[1]", "", "y", "QuantizeLinear(x,x)"},
        {"DequantizeLinear", 23, "u[2] f[1]", "output_dtype=10", "y", "Cast(x):to=10 DequantizeLinear(x,x)"},
        {"DequantizeLinear", 23, "u[2] f[1]", "output_dtype=1", "y", "DequantizeLinear(x,x)"},
        {"Range", 27, "f[] f[] f[]", "", "y", "Range(x,x,x)"},
        {"Range", 27, "h[] h[] h[]", "", "y", "Cast(x):to=1 Cast(x):to=1 Cast(x):to=1 Range(x,x,x) Cast(x):to=10"},
        {"Mod", 28, "i[2] i[2]", "", "y", "Mod(x,x)"},
        {"Mod", 28, "f[2] f[2]", "fmod=1", "y", "Mod(x,x):fmod=1"},
        {"Mod", 28, "f[2] f[2]", "", "y",
         "Mod(x,x):fmod=1 Less(x,f(0)) Less(x,f(0)) Equal(x,x) Equal(x,f(0)) Or(x,x) Add(x,x) Where(x,x,x)"},
        {"BitShift", 28, "u[2] u[2]", "direction=LEFT", "y", "BitShift(x,x):direction=LEFT"},
        {"BitShift", 28, "i[2] i[2]", "direction=LEFT", "y", "!int64"},
        {"SpaceToDepth", 28, "f[1,1,4,4]", "blocksize=2 mode=DCR", "y", "SpaceToDepth(x):blocksize=2"},
        {"SpaceToDepth", 28, "f[1,2,4,4]", "blocksize=2 mode=CRD", "y",
         "SpaceToDepth(x):blocksize=2 Gather(x,{0,2,4,6,1,3,5,7}):axis=1"},
        {"SpaceToDepth", 28, "f[1,?,4,4]", "blocksize=2 mode=CRD", "y", "!not known"},
        {"SpaceToDepth", 28, "f[1,2,4,4]", "blocksize=0 mode=CRD", "y", "!blocksize 0"},
        {"Swish", 24, "f[2]", "", "y", "Sigmoid(x) Mul(x,x)"},
        {"Swish", 24, "f[2]", "alpha=2.0", "y", "Mul(x,f(2)) Sigmoid(x) Mul(x,x)"},
        {"RMSNormalization", 23, "f[2,3] f[3]", "", "y",
         "Mul(x,x) ReduceMean(x,{1}) Add(x,f(1e-05)) Sqrt(x) Div(x,x) Mul(x,x)"},
        {"RMSNormalization", 23, "h[2,3] h[3]", "axis=0", "y",
         "Cast(x):to=1 Mul(x,x) ReduceMean(x,{0,1}) Add(x,f(1e-05)) Sqrt(x) Div(x,x) Cast(x):to=10 Mul(x,x)"},
        {"RMSNormalization", 23, "f[2,3] f[3]", "axis=2", "y", "!axis 2"},
        {"Convolve", 21, "f[2]", "", "y", "!no such operator"},
        {"LinearAttention", 27, "f[1,2,2] f[1,2,2] f[1,2,2]", "", "y", "!came with opset 27"},
    };
    CHECK(rows);
}

#define QKV "f[1,2,3,4] f[1,2,3,4] f[1,2,3,4]"
#define SCORES "Transpose(x):perm= Mul(x,f(0.707107)) Mul(x,f(0.707107)) MatMul(x,x) "
static void test_attention(void **state) {
    (void)state;
    static const row rows[] = {
        {"Attention", 23, QKV, "", "y", SCORES "Softmax(x):axis=-1 MatMul(x,x)"},
        {"Attention", 23, QKV, "is_causal=1", "y",
         SCORES "Shape(x):start=-2 Expand(f(-inf),x) Trilu(x,(1)) Add(x,x) Softmax(x):axis=-1 MatMul(x,x)"},
        {"Attention", 23, QKV " f[3,3]", "softcap=2.0", "y",
         SCORES "Div(x,f(2)) Tanh(x) Mul(x,f(2)) Add(x,x) Softmax(x):axis=-1 "
                "ReduceMax(x,{-1}) Equal(x,f(-inf)) Where(x,f(0),x) MatMul(x,x)"},
        {"Attention", 23, QKV " f{0,0,-1}", "", "y", SCORES "Add(x,f{0,0,-1}) Softmax(x):axis=-1 MatMul(x,x)"},
        {"Attention", 23, "f[1,4,3,4] f[1,2,3,4] f[1,2,3,4]", "scale=0.25", "y",
         "Gather(x,{0,0,1,1}):axis=1 Gather(x,{0,0,1,1}):axis=1 Transpose(x):perm= Mul(x,f(0.5)) Mul(x,f(0.5)) "
         "MatMul(x,x) Softmax(x):axis=-1 MatMul(x,x)"},
        {"Attention", 23, "f[1,3,8] f[1,3,8] f[1,3,8]", "q_num_heads=2 kv_num_heads=2", "y",
         "Reshape(x,{0,0,2,-1}) Transpose(x):perm= Reshape(x,{0,0,2,-1}) Transpose(x):perm= Reshape(x,{0,0,2,-1}) "
         "Transpose(x):perm= " SCORES "Softmax(x):axis=-1 MatMul(x,x) Transpose(x):perm= Reshape(x,{0,0,-1})"},
        {"Attention", 23, QKV, "softmax_precision=11", "y",
         SCORES "Cast(x):to=11 Softmax(x):axis=-1 Cast(x):to=1 MatMul(x,x)"},
        {"Attention", 23, "f[1,3,8] f[1,3,8] f[1,3,8]", "", "y", "!q_num_heads"},
        {"Attention", 23, "f[1,3,3,4] f[1,2,3,4] f[1,2,3,4]", "", "y", "!multiple"},
        {"Attention", 23, "f[1,2,3,?] f[1,2,3,4] f[1,2,3,4]", "", "y", "!size of a head"},
        {"Attention", 23, "f[1,8] f[1,8] f[1,8]", "", "y", "!3 or 4"},
        {"Attention", 23, QKV " f[3,3] f[1,2,1,4] f[1,2,1,4]", "", "y", "!past_key"},
        {"Attention", 25, QKV, "left_window_size=1", "y", "!windows"},
    };
    CHECK(rows);
}

/* ---- the model as a whole ---- */

static void test_model(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = model_of(29);
    gm_node(m, "Relu", "", "f[2]", "", "y");
    assert_int_equal(pare_engine_lower(m, d), PARE_EUNSUPPORTED);
    assert_non_null(strstr(pare_diags_get(d, 0)->message, "opset 29"));
    assert_int_equal(pare_model_opset(m, ""), 29);
    pare_model_opset_set(m, "", 0);
    assert_int_equal(pare_engine_lower(m, d), PARE_EINVAL);
    /* Functions are of the file's opset. */
    pare_model_opset_set(m, "", 18);
    pare_vec_push(&m->functions, ((pare_bytes){(const unsigned char *)"", 0}));
    assert_int_equal(pare_engine_lower(m, d), PARE_EUNSUPPORTED);
    assert_non_null(strstr(pare_diags_get(d, 2)->message, "1 functions"));
    pare_model_opset_set(m, "", PARE_ENGINE_OPSET);
    m->ir_version = 12;
    assert_int_equal(pare_engine_lower(m, d), PARE_OK);
    assert_int_equal(m->ir_version, 12);
    pare_model_free(m);

    /* All that stands in the way is named; a node without a name by its label. */
    size_t said = pare_diags_count(d);
    m = model_of(6);
    gm_node(m, "Dropout", "first", "f[2]", "is_test=0", "a");
    gm_node(m, "Relu", "fine", "@a", "", "b");
    gm_node(m, "Frob", "", "@b", "", "c");
    assert_int_equal(pare_engine_lower(m, d), PARE_EUNSUPPORTED);
    assert_int_equal(pare_diags_count(d) - said, 2);
    assert_string_equal(pare_diags_get(d, said)->node, "first");
    assert_string_equal(pare_diags_get(d, said + 1)->node, "Frob#0");
    assert_string_equal(pare_diags_get(d, said + 1)->code, "engine.opset");
    assert_int_equal(pare_engine_lower(m, NULL), PARE_EUNSUPPORTED); /* nobody to tell */
    pare_model_free(m);
    pare_diags_free(d);
}

/* Other domains stay; subgraphs are lowered with what they capture. */
static void test_subgraph(void **state) {
    (void)state;
    pare_model *m = model_of(9);
    uint32_t in[2] = {gm_value(m, "f[2,3,4]"), gm_value(m, "f[2]")};
    uint32_t iff = pare_node_add(m, PARE_MAIN_GRAPH, 0, "If", "", "choice", in + 1, 1, (const char *[]){"y"}, 1);
    pare_node_add(m, PARE_MAIN_GRAPH, 0, "Softmax", "com.acme", "theirs", in, 1, (const char *[]){"z"}, 1);
    uint32_t g = pare_graph_add(m, iff, "then");
    pare_attr *branch = pare_arena_alloc(&m->arena, sizeof *branch); /* the node's only attribute */
    *branch = (pare_attr){.name = "then_branch", .type = PARE_ATTR_GRAPH, .n = 1};
    branch->ids = pare_arena_memdup(&m->arena, &g, sizeof g);
    pare_model_node(m, iff)->attrs = branch;
    pare_model_node(m, iff)->n_attrs = 1;
    uint32_t soft = pare_node_add(m, g, 0, "Softmax", "", "soft", in, 1, (const char *[]){"s"}, 1);
    uint32_t clip = pare_node_add(m, g, 0, "Clip", "", "", pare_model_node(m, soft)->out, 1, (const char *[]){"t"}, 1);
    pare_attr_set_float(m, clip, "max", 1.0f);
    pare_graph_output_add(m, g, pare_graph_find(m, g, "t"));
    assert_int_equal(pare_engine_lower(m, NULL), PARE_OK);
    char *main_text = text_of(m, PARE_MAIN_GRAPH), *inner = text_of(m, g);
    assert_string_equal(main_text, "If(x):then_branch= Softmax(x)");
    assert_string_equal(inner, "Shape(x) Flatten(x):axis=1 Softmax(x):axis=-1 Reshape(x,x):allowzero=1 Clip(x,_,f(1))");
    assert_int_equal(pare_model_graph(m, g)->initializers.len, 1);
    assert_string_equal(pare_model_tensor(m, pare_model_graph(m, g)->initializers.data[0])->name, "t/max");
    free(main_text);
    free(inner);
    pare_model_free(m);
}

/* Outputs that only training fills. */
static void test_used_outputs(void **state) {
    (void)state;
    pare_model *m = model_of(9);
    gm_node(m, "BatchNormalization", "bn", "f[2,3] f[3] f[3] f[3] f[3]", "", "y mean var sm sv");
    gm_node(m, "Relu", "r", "@mean", "", "used");
    pare_model *c = pare_model_clone(m);
    assert_int_equal(pare_engine_lower(c, NULL), PARE_OK); /* the running mean is still there */
    assert_int_equal(pare_model_node(c, 1)->n_out, 3);
    assert_int_equal(gm_find(c, "sv"), 0);
    pare_model_free(c);
    gm_node(m, "Relu", "r2", "@sv", "", "used2");
    assert_int_equal(pare_engine_lower(m, NULL), PARE_EUNSUPPORTED);
    pare_model_free(m);
    m = model_of(7);
    gm_node(m, "Dropout", "d", "f[2]", "", "y mask");
    gm_node(m, "Relu", "r", "@mask", "", "used");
    assert_int_equal(pare_engine_lower(m, NULL), PARE_EUNSUPPORTED);
    pare_model_opset_set(m, "", 10);
    assert_int_equal(pare_engine_lower(m, NULL), PARE_OK);
    assert_int_equal(pare_model_node(m, 1)->n_out, 2);
    pare_model_free(m);
}

/* Names that a rule would like and that are taken. */
static void test_names(void **state) {
    (void)state;
    pare_model *m = model_of(9);
    gm_node(m, "Squeeze", "", "f[2,1]", "axes=[1]", "y");
    gm_node(m, "Relu", "", "@y", "", "y/axes");
    assert_int_equal(pare_engine_lower(m, NULL), PARE_OK);
    assert_int_equal(pare_model_check(m, NULL), PARE_OK);
    assert_int_not_equal(gm_find(m, "y/axes_1"), 0);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs),   cmocka_unit_test(test_legacy),    cmocka_unit_test(test_resize),
        cmocka_unit_test(test_newer),    cmocka_unit_test(test_attention), cmocka_unit_test(test_model),
        cmocka_unit_test(test_subgraph), cmocka_unit_test(test_names),     cmocka_unit_test(test_used_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
