/* engine/batch_rules.c - one rule for each op: does it keep the rows of a batch apart? See batch.h.
 *
 * A rule may say no where the answer is yes; never the other way round. That shapes fit has been seen by inference at
 * two sizes of the batch, so a rule asks only what shapes don't show: order, and what is added up with what.
 */
#include "engine/batch.h"

#include "model/infer.h"

#include <stdlib.h>
#include <string.h>

/* ---- looking at operands ---- */

static const pare_value *in_value(const pare_rows_node *r, uint32_t i) {
    return i < r->n->n_in ? pare_model_value(r->m, r->n->in[i]) : NULL;
}
static const pare_value *out_value(const pare_rows_node *r, uint32_t i) {
    return i < r->n->n_out ? pare_model_value(r->m, r->n->out[i]) : NULL;
}
static bool carries(const pare_rows_node *r, uint32_t i) { return i < r->n->n_in && r->in[i].axis >= 0; }
static bool none(const pare_rows_node *r, uint32_t i) { return i >= r->n->n_in || r->in[i].axis == PARE_ROWS_NONE; }
/* All inputs from i on have nothing to do with the batch. */
static bool none_from(const pare_rows_node *r, uint32_t i) {
    for (; i < r->n->n_in; i++)
        if (!none(r, i)) return false;
    return true;
}
static bool equal(pare_rows a, pare_rows b) { return a.axis == b.axis && a.mult == b.mult; }

/* Every output that there is carries the batch at the same place. */
static bool outs_are(const pare_rows_node *r, int32_t axis, int64_t mult) {
    pare_rows want = {axis, mult};
    for (uint32_t i = 0; i < r->n->n_out; i++)
        if (out_value(r, i) && !equal(r->out[i], want)) return false;
    return true;
}

static int64_t from_end(int64_t axis, const pare_value *v) { return axis < 0 ? axis + v->ndim : axis; }

/* The whole numbers of a constant input. false: it is none. */
static bool numbers(const pare_rows_node *r, uint32_t i, int64_t *to, size_t max, size_t *n) {
    const pare_value *v = in_value(r, i);
    pare_tensor *t = v ? pare_model_tensor(r->m, v->tensor) : NULL;
    const void *data;
    *n = 0;
    if (!t || t->count > max || pare_tensor_read(t, NULL, &data)) return false;
    for (uint64_t k = 0; k < t->count; k++) {
        if (t->dtype == PARE_INT64)
            to[k] = ((const int64_t *)data)[k];
        else if (t->dtype == PARE_INT32)
            to[k] = ((const int32_t *)data)[k];
        else
            return false;
    }
    *n = (size_t)t->count;
    return true;
}

/* ---- broadcasting ---- */

/* Input i meets the output's batch axis with its own, or with one number for all rows. `skip` dims at the right end
 * are not broadcast. */
static bool meets(const pare_rows_node *r, uint32_t i) {
    const pare_value *v = in_value(r, i), *o = out_value(r, 0);
    if (!v) return true;
    int32_t at = r->out[0].axis - (o->ndim - v->ndim);
    if (r->in[i].axis >= 0) return r->in[i].axis == at && r->in[i].mult == r->out[0].mult;
    return r->in[i].axis == PARE_ROWS_NONE && (at < 0 || v->dims[at].value == 1);
}

static bool rule_elementwise(const pare_rows_node *r) {
    if (!out_value(r, 0)) return false;
    for (uint32_t i = 0; i < r->n->n_in; i++)
        if (!meets(r, i)) return false;
    return outs_are(r, r->out[0].axis, r->out[0].mult);
}

/* Something small, read for all rows alike; the target may be made of the batch's size. */
static bool rule_expand(const pare_rows_node *r) {
    return out_value(r, 0) && r->n->n_in == 2 && r->in[1].axis < 0 && r->in[1].axis != PARE_ROWS_TIED && meets(r, 0);
}

static bool rule_constant_of_shape(const pare_rows_node *r) { return r->in[0].axis == PARE_ROWS_SHAPE; }

static bool rule_tile(const pare_rows_node *r) {
    if (!out_value(r, 0)) return false;
    if (carries(r, 0)) return none(r, 1) && equal(r->in[0], r->out[0]);
    return none(r, 0) && r->in[1].axis == PARE_ROWS_SHAPE && meets(r, 0);
}

/* ---- (N, C, …) ---- */

static bool first_axis(const pare_rows_node *r) {
    return carries(r, 0) && r->in[0].axis == 0 && none_from(r, 1) && outs_are(r, 0, r->in[0].mult);
}
static bool rule_image(const pare_rows_node *r) { return first_axis(r); }
static bool rule_batchnorm(const pare_rows_node *r) {
    return first_axis(r) && !pare_node_attr_int(r->n, "training_mode", 0);
}
static bool rule_dropout(const pare_rows_node *r) {
    return r->n->n_in < 3 && carries(r, 0) && none_from(r, 1) && outs_are(r, r->in[0].axis, r->in[0].mult);
}

static bool rule_resize(const pare_rows_node *r) {
    const pare_attr *mode = pare_node_attr(r->n, "coordinate_transformation_mode");
    const pare_attr *keep = pare_node_attr(r->n, "keep_aspect_ratio_policy");
    if (mode && mode->s.len == 18 && !memcmp(mode->s.data, "tf_crop_and_resize", 18)) return false;
    if (keep && !(keep->s.len == 7 && !memcmp(keep->s.data, "stretch", 7))) return false;
    for (uint32_t i = 1; i < r->n->n_in; i++)
        if (!none(r, i) && !(i == 3 && r->in[i].axis == PARE_ROWS_SHAPE)) return false;
    return carries(r, 0) && outs_are(r, r->in[0].axis, r->in[0].mult);
}

/* ---- matrices ---- */

static bool rule_gemm(const pare_rows_node *r) {
    bool turned = pare_node_attr_int(r->n, "transA", 0) != 0;
    if (!carries(r, 0) || r->in[0].axis != (turned ? 1 : 0) || !none(r, 1)) return false;
    return r->out[0].axis == 0 && r->out[0].mult == r->in[0].mult && meets(r, 2);
}

/* A matrix's own dims are not broadcast: rows of a may carry, columns of b may; what is added up may not. */
static bool matrix(const pare_rows_node *r, uint32_t ia, uint32_t ib) {
    const pare_value *a = in_value(r, ia), *b = in_value(r, ib), *o = out_value(r, 0);
    if (!a || !b || !o || a->ndim < 2 || b->ndim < 2) return false;
    int32_t at = r->out[0].axis;
    if (at < o->ndim - 2) {
        const uint32_t both[] = {ia, ib};
        for (int k = 0; k < 2; k++)
            if (!meets(r, both[k])) return false;
        return true;
    }
    if (at == o->ndim - 2)
        return carries(r, ia) && none(r, ib) && r->in[ia].axis == a->ndim - 2 && r->in[ia].mult == r->out[0].mult;
    return carries(r, ib) && none(r, ia) && r->in[ib].axis == b->ndim - 1 && r->in[ib].mult == r->out[0].mult;
}

static bool rule_matmul(const pare_rows_node *r) { return matrix(r, 0, 1) && none_from(r, 2); }

/* Scales and zero points may be a number for each row of the matrix: only one number for all is taken. */
static bool single_from(const pare_rows_node *r, const uint32_t *slots, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const pare_value *v = in_value(r, slots[i]);
        if (!none(r, slots[i])) return false;
        for (int32_t k = 0; v && k < v->ndim; k++)
            if (v->dims[k].value != 1) return false;
    }
    return true;
}
static bool rule_matmul_integer(const pare_rows_node *r) {
    const uint32_t a_zero = 2;
    return carries(r, 0) && none(r, 1) && matrix(r, 0, 1) && single_from(r, &a_zero, 1) && none_from(r, 3);
}
static bool rule_qlinear_matmul(const pare_rows_node *r) {
    const uint32_t single[] = {1, 2, 6, 7};
    return carries(r, 0) && none_from(r, 3) && matrix(r, 0, 3) && single_from(r, single, 4);
}

/* ---- one axis is special ---- */

/* Input 0 and the outputs carry at the same place, which is not the axis the op works along. */
static bool beside(const pare_rows_node *r, int64_t axis) {
    const pare_value *v = in_value(r, 0);
    return v && carries(r, 0) && from_end(axis, v) != r->in[0].axis && outs_are(r, r->in[0].axis, r->in[0].mult);
}
static bool rule_softmax(const pare_rows_node *r) {
    return none_from(r, 1) && beside(r, pare_node_attr_int(r->n, "axis", -1));
}
static bool rule_topk(const pare_rows_node *r) { return rule_softmax(r); }
static bool rule_split(const pare_rows_node *r) {
    return none_from(r, 1) && beside(r, pare_node_attr_int(r->n, "axis", 0));
}
static bool rule_cumsum(const pare_rows_node *r) {
    int64_t axis;
    size_t n;
    return none_from(r, 1) && numbers(r, 1, &axis, 1, &n) && n == 1 && beside(r, axis);
}
static bool rule_trilu(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0);
    return v && none_from(r, 1) && r->in[0].axis < v->ndim - 2 && beside(r, -1);
}
static bool rule_norm(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0);
    if (!v || !carries(r, 0)) return false;
    int64_t axis = from_end(pare_node_attr_int(r->n, "axis", -1), v);
    for (uint32_t i = 1; i < r->n->n_in; i++)
        if (!meets(r, i)) return false;
    return r->in[0].axis < axis && none_from(r, 1) && outs_are(r, r->in[0].axis, r->in[0].mult);
}
static bool rule_mean_variance(const pare_rows_node *r) {
    const pare_attr *a = pare_node_attr(r->n, "axes");
    const pare_value *v = in_value(r, 0);
    if (!a || !v) return false; /* by default the batch's too */
    for (size_t i = 0; i < a->n; i++)
        if (from_end(a->ints[i], v) == r->in[0].axis) return false;
    return carries(r, 0) && outs_are(r, r->in[0].axis, r->in[0].mult);
}
/* The scale of a quantized tensor may be a number for each index of an axis. */
static bool rule_quantize(const pare_rows_node *r) {
    const pare_value *scale = in_value(r, 1);
    if (!scale || !none_from(r, 1) || pare_node_attr_int(r->n, "block_size", 0)) return false;
    if (!scale->ndim || (scale->ndim == 1 && scale->dims[0].value == 1))
        return carries(r, 0) && outs_are(r, r->in[0].axis, r->in[0].mult);
    return beside(r, pare_node_attr_int(r->n, "axis", 1));
}
static bool rule_concat(const pare_rows_node *r) {
    for (uint32_t i = 0; i < r->n->n_in; i++)
        if (!equal(r->in[i], r->in[0])) return false;
    return beside(r, pare_node_attr_int(r->n, "axis", 0));
}
/* The batch's axis, had it been reduced, would not be there any more. */
static bool rule_reduce(const pare_rows_node *r) {
    return carries(r, 0) && none_from(r, 1) && r->out[0].axis >= 0 && r->out[0].mult == r->in[0].mult;
}
static bool rule_one_hot(const pare_rows_node *r) {
    const pare_value *o = out_value(r, 0);
    if (!o || !carries(r, 0) || !none_from(r, 1)) return false;
    int64_t axis = from_end(pare_node_attr_int(r->n, "axis", -1), o);
    return r->out[0].mult == r->in[0].mult && r->out[0].axis == r->in[0].axis + (axis <= r->in[0].axis);
}

/* ---- moving ---- */

/* Dims before the batch's are the same product: so are those behind, and the rows stay the rows. */
static bool rule_reshape(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0), *o = out_value(r, 0);
    int64_t before = 1, after = 1;
    if (!v || !o || !carries(r, 0) ||
        (r->n->n_in > 1 && r->in[1].axis != PARE_ROWS_NONE && r->in[1].axis != PARE_ROWS_SHAPE))
        return false;
    for (int32_t i = 0; i < v->ndim; i++)
        if (!v->dims[i].value) return false;
    for (int32_t i = 0; i < r->in[0].axis; i++) before *= v->dims[i].value;
    for (int32_t i = 0; i < r->out[0].axis; i++) after *= o->dims[i].value;
    return before == after;
}
static bool rule_transpose(const pare_rows_node *r) {
    const pare_attr *perm = pare_node_attr(r->n, "perm");
    const pare_value *v = in_value(r, 0);
    if (!v || !carries(r, 0) || r->out[0].axis < 0 || r->in[0].mult != r->out[0].mult) return false;
    if (!perm) return r->out[0].axis == v->ndim - 1 - r->in[0].axis;
    return (size_t)r->out[0].axis < perm->n && perm->ints[r->out[0].axis] == r->in[0].axis;
}
static bool rule_slice(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0);
    int64_t axes[PARE_ARRAY_DIMS], steps[PARE_ARRAY_DIMS];
    size_t n_axes = 0, n_steps = 0;
    if (!v || !carries(r, 0) || !none(r, 1) || !none(r, 3) || !none(r, 4)) return false;
    if (r->n->n_in < 3 || r->in[2].axis >= 0 || r->in[2].axis == PARE_ROWS_TIED) return false;
    if (!outs_are(r, r->in[0].axis, r->in[0].mult)) return false;
    bool named = in_value(r, 3) != NULL, stepped = in_value(r, 4) != NULL;
    if (named && !numbers(r, 3, axes, PARE_ARRAY_DIMS, &n_axes)) return false;
    if (stepped && !numbers(r, 4, steps, PARE_ARRAY_DIMS, &n_steps)) return false;
    if (!stepped) return true; /* as long as before, and step 1: all of it */
    for (size_t i = 0; i < n_steps; i++) {
        int64_t axis = named ? (i < n_axes ? from_end(axes[i], v) : -1) : (int64_t)i;
        if (axis == r->in[0].axis && steps[i] != 1) return false;
    }
    return true;
}
static bool rule_pad(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0);
    int64_t pads[2 * PARE_ARRAY_DIMS], axes[PARE_ARRAY_DIMS];
    size_t n, n_axes = 0;
    if (!v || !carries(r, 0) || !none_from(r, 1) || !numbers(r, 1, pads, 2 * PARE_ARRAY_DIMS, &n)) return false;
    bool named = in_value(r, 3) != NULL;
    if (named && !numbers(r, 3, axes, PARE_ARRAY_DIMS, &n_axes)) return false;
    for (size_t i = 0; i < n / 2; i++) {
        int64_t axis = named ? (i < n_axes ? from_end(axes[i], v) : -1) : (int64_t)i;
        if (axis == r->in[0].axis && (pads[i] || pads[n / 2 + i])) return false;
    }
    return outs_are(r, r->in[0].axis, r->in[0].mult);
}
static bool rule_gather(const pare_rows_node *r) {
    const pare_value *v = in_value(r, 0), *i = in_value(r, 1);
    if (!v || !i || r->out[0].axis < 0) return false;
    int64_t axis = from_end(pare_node_attr_int(r->n, "axis", 0), v), at;
    if (carries(r, 0) && none(r, 1) && r->in[0].axis != axis) {
        at = r->in[0].axis < axis ? r->in[0].axis : r->in[0].axis + i->ndim - 1;
        return r->out[0].axis == at && r->out[0].mult == r->in[0].mult;
    }
    if (!none(r, 0) || !carries(r, 1)) return false;
    return r->out[0].axis == axis + r->in[1].axis && r->out[0].mult == r->in[1].mult;
}
static bool rule_gather_elements(const pare_rows_node *r) {
    return carries(r, 1) && equal(r->in[0], r->in[1]) && beside(r, pare_node_attr_int(r->n, "axis", 0));
}
static bool rule_scatter_elements(const pare_rows_node *r) {
    return carries(r, 1) && r->n->n_in == 3 && equal(r->in[0], r->in[2]) && rule_gather_elements(r);
}

/* ---- Einsum: the batch's letter must be one that is not added up ---- */

static bool rule_einsum(const pare_rows_node *r) {
    const pare_attr *a = pare_node_attr(r->n, "equation");
    char text[128], letter = 0;
    uint32_t term = 0;
    int32_t at = 0;
    size_t n = 0;
    if (!a || !out_value(r, 0) || a->s.len >= sizeof text) return false;
    for (size_t i = 0; i < a->s.len; i++)
        if (a->s.data[i] != ' ') text[n++] = (char)a->s.data[i];
    text[n] = 0;
    char *arrow = strstr(text, "->");
    if (!arrow || strchr(text, '.')) return false;
    if (r->out[0].axis < 0 || (size_t)r->out[0].axis >= strlen(arrow + 2)) return false;
    letter = arrow[2 + r->out[0].axis];
    if (strchr(strchr(arrow + 2, letter) + 1, letter)) return false; /* a diagonal */
    bool seen = false;
    for (const char *p = text; p <= arrow; p++) {
        if (p == arrow || *p == ',') { /* the term's end */
            if (term >= r->n->n_in || seen != carries(r, term)) return false;
            term++;
            at = 0;
            seen = false;
            continue;
        }
        if (*p == letter && (seen || r->in[term].axis != at || r->in[term].mult != r->out[0].mult)) return false;
        seen = seen || *p == letter;
        if (term >= r->n->n_in) return false;
        at++;
    }
    return term == r->n->n_in;
}

/* ---- the table ---- */

typedef struct row {
    const char *op;
    bool (*rule)(const pare_rows_node *r);
} row;

/* clang-format off */
static const row table[] = {
    {"Abs", rule_elementwise}, {"Acos", rule_elementwise}, {"Acosh", rule_elementwise}, {"Add", rule_elementwise},
    {"And", rule_elementwise}, {"ArgMax", rule_reduce}, {"ArgMin", rule_reduce}, {"Asin", rule_elementwise},
    {"Asinh", rule_elementwise}, {"Atan", rule_elementwise}, {"Atanh", rule_elementwise},
    {"AveragePool", rule_image}, {"BatchNormalization", rule_batchnorm}, {"BitShift", rule_elementwise},
    {"BitwiseAnd", rule_elementwise}, {"BitwiseNot", rule_elementwise}, {"BitwiseOr", rule_elementwise},
    {"BitwiseXor", rule_elementwise}, {"Cast", rule_elementwise}, {"Ceil", rule_elementwise},
    {"Celu", rule_elementwise}, {"Clip", rule_elementwise}, {"Concat", rule_concat},
    {"ConstantOfShape", rule_constant_of_shape}, {"Conv", rule_image}, {"ConvInteger", rule_image},
    {"ConvTranspose", rule_image}, {"Cos", rule_elementwise}, {"Cosh", rule_elementwise}, {"CumSum", rule_cumsum},
    {"DepthToSpace", rule_image}, {"DequantizeLinear", rule_quantize}, {"Div", rule_elementwise},
    {"Dropout", rule_dropout}, {"Einsum", rule_einsum}, {"Elu", rule_elementwise}, {"Equal", rule_elementwise},
    {"Erf", rule_elementwise}, {"Exp", rule_elementwise}, {"Expand", rule_expand}, {"Flatten", rule_reshape},
    {"Floor", rule_elementwise}, {"Gather", rule_gather}, {"GatherElements", rule_gather_elements},
    {"Gelu", rule_elementwise}, {"Gemm", rule_gemm}, {"GlobalAveragePool", rule_image},
    {"GlobalLpPool", rule_image}, {"GlobalMaxPool", rule_image}, {"Greater", rule_elementwise},
    {"GreaterOrEqual", rule_elementwise}, {"GroupNormalization", rule_image}, {"HardSigmoid", rule_elementwise},
    {"HardSwish", rule_elementwise}, {"Hardmax", rule_softmax}, {"Identity", rule_elementwise},
    {"InstanceNormalization", rule_image}, {"IsInf", rule_elementwise}, {"IsNaN", rule_elementwise},
    {"LRN", rule_image}, {"LayerNormalization", rule_norm}, {"LeakyRelu", rule_elementwise},
    {"Less", rule_elementwise}, {"LessOrEqual", rule_elementwise}, {"Log", rule_elementwise},
    {"LogSoftmax", rule_softmax}, {"LpNormalization", rule_softmax}, {"LpPool", rule_image},
    {"MatMul", rule_matmul}, {"MatMulInteger", rule_matmul_integer}, {"Max", rule_elementwise},
    {"MaxPool", rule_image}, {"Mean", rule_elementwise}, {"MeanVarianceNormalization", rule_mean_variance},
    {"Min", rule_elementwise}, {"Mish", rule_elementwise}, {"Mod", rule_elementwise}, {"Mul", rule_elementwise},
    {"Neg", rule_elementwise}, {"Not", rule_elementwise}, {"OneHot", rule_one_hot}, {"Or", rule_elementwise},
    {"PRelu", rule_elementwise}, {"Pad", rule_pad}, {"Pow", rule_elementwise}, {"QLinearConv", rule_image},
    {"QLinearMatMul", rule_qlinear_matmul}, {"QuantizeLinear", rule_quantize}, {"RMSNormalization", rule_norm},
    {"Reciprocal", rule_elementwise}, {"ReduceL1", rule_reduce}, {"ReduceL2", rule_reduce},
    {"ReduceLogSum", rule_reduce}, {"ReduceLogSumExp", rule_reduce}, {"ReduceMax", rule_reduce},
    {"ReduceMean", rule_reduce}, {"ReduceMin", rule_reduce}, {"ReduceProd", rule_reduce},
    {"ReduceSum", rule_reduce}, {"ReduceSumSquare", rule_reduce}, {"Relu", rule_elementwise},
    {"Reshape", rule_reshape}, {"Resize", rule_resize}, {"Round", rule_elementwise},
    {"ScatterElements", rule_scatter_elements}, {"Selu", rule_elementwise}, {"Shrink", rule_elementwise},
    {"Sigmoid", rule_elementwise}, {"Sign", rule_elementwise}, {"Sin", rule_elementwise},
    {"Sinh", rule_elementwise}, {"Slice", rule_slice}, {"Softmax", rule_softmax}, {"Softplus", rule_elementwise},
    {"Softsign", rule_elementwise}, {"SpaceToDepth", rule_image}, {"Split", rule_split}, {"Sqrt", rule_elementwise},
    {"Squeeze", rule_reshape}, {"Sub", rule_elementwise}, {"Sum", rule_elementwise}, {"Swish", rule_elementwise},
    {"Tan", rule_elementwise}, {"Tanh", rule_elementwise}, {"ThresholdedRelu", rule_elementwise},
    {"Tile", rule_tile}, {"TopK", rule_topk}, {"Transpose", rule_transpose}, {"Trilu", rule_trilu},
    {"Unsqueeze", rule_reshape}, {"Where", rule_elementwise}, {"Xor", rule_elementwise},
};
/* clang-format on */

static int compare(const void *key, const void *x) { return strcmp(key, ((const row *)x)->op); }

bool pare_rows_rule(const pare_rows_node *r) {
    if (r->n->domain[0] || !r->n->n_out) return false;
    for (uint32_t i = 0; i < r->n->n_in; i++)
        if (r->in[i].axis == PARE_ROWS_TIED) return false;
    const row *x = bsearch(r->n->op_type, table, sizeof table / sizeof *table, sizeof *table, compare);
    return x && x->rule(r);
}
