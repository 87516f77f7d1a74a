/* engine/lower_legacy.c - ops that are still there and meant something else at an older opset. Source: ONNX's Changelog
 * and Broadcasting.md. May use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* `value` with k dims of size 1 after its first `at` ones. */
static uint32_t unsqueezed(pare_lowering *l, const pare_node *n, const char *what, uint32_t value, int32_t at,
                           int32_t k) {
    int64_t *axes = pare_xmalloc((size_t)k * sizeof *axes);
    for (int32_t i = 0; i < k; i++) axes[i] = at + i;
    uint32_t in[2] = {value, pare_lower_ints(l, n, "axes", axes, (size_t)k)};
    free(axes);
    return pare_lower_before(l, n, "Unsqueeze", what, in, 2);
}

static bool one_element(const pare_lowering *l, uint32_t value) {
    int32_t rank = pare_lower_rank(l, value);
    for (int32_t i = 0; i < rank; i++)
        if (pare_lower_dim(l, value, i) != 1) return false;
    return rank >= 0;
}

/* Elementwise ops before 7: B's dims stand in A's from `axis` on, or, without axis, at its end as NumPy has it. */
void pare_lower_rule_broadcast(pare_lowering *l, pare_node *n) {
    const pare_attr *a = pare_node_attr(n, "axis");
    bool placed = pare_node_attr_int(n, "broadcast", 0) != 0 && a;
    int64_t axis = a ? a->i : 0;
    pare_attr_del(l->m, n->id, "broadcast");
    pare_attr_del(l->m, n->id, "axis");
    uint32_t b = pare_lower_in(n, 1);
    if (!placed || one_element(l, b)) return;
    int32_t ra = pare_lower_rank(l, pare_lower_in(n, 0)), rb = pare_lower_rank(l, b);
    if (ra < 0 || rb < 0) {
        pare_lower_refuse(l, n, "export the model again at opset 7 or later",
                          "it broadcasts along axis %lld, and the rank of %s is not known", (long long)axis,
                          ra < 0 ? "its first input" : "its second input");
        return;
    }
    if (axis < 0) axis += ra;
    if (axis < 0 || axis + rb > ra)
        pare_lower_bad(l, n, "a second input of rank %d does not fit at axis %lld of a first one of rank %d", (int)rb,
                       (long long)axis, (int)ra);
    else if (axis + rb < ra)
        pare_lower_input(l, n, 1, unsqueezed(l, n, "aligned", b, rb, ra - (int32_t)axis - rb));
}

/* PRelu before 7: a slope of rank 1 is per channel (dim 1 of the data). */
void pare_lower_rule_prelu(pare_lowering *l, pare_node *n) {
    uint32_t slope = pare_lower_in(n, 1);
    int32_t rx = pare_lower_rank(l, pare_lower_in(n, 0)), rs = pare_lower_rank(l, slope);
    if (one_element(l, slope)) return;
    if (rx < 0 || rs < 0)
        pare_lower_refuse(l, n, "export the model again at opset 7 or later",
                          "where its slopes belong depends on the rank of its %s, which is not known",
                          rx < 0 ? "data" : "slope");
    else if (rs == 1 && rx > 2)
        pare_lower_input(l, n, 1, unsqueezed(l, n, "slope", slope, 1, rx - 2));
}

/* Gemm before 7: C is broadcast where `broadcast` says so; since then it always is. */
void pare_lower_rule_gemm(pare_lowering *l, pare_node *n) { pare_attr_del(l->m, n->id, "broadcast"); }

/* BatchNormalization before 14: training is said by the outputs; before 9 statistics could be per element; before 7
 * is_test said that it is inference. */
void pare_lower_rule_batch_norm(pare_lowering *l, pare_node *n) {
    if (l->from < 9 && pare_node_attr_int(n, "spatial", 1) == 0 && pare_lower_rank(l, pare_lower_in(n, 0)) != 2) {
        pare_lower_refuse(l, n, "flatten its input to (N, C) in the exporting program",
                          "spatial is 0: statistics per element went with opset 9");
        return;
    }
    bool test = l->from < 7 && pare_node_attr_int(n, "is_test", 0) != 0;
    bool outputs = false, saved = false;
    for (uint32_t i = 1; i < n->n_out; i++) {
        outputs |= n->out[i] != 0;
        saved |= (test || i > 2) && pare_lower_out_used(l, n, i);
    }
    if (saved) {
        pare_lower_refuse(l, n, "export the model for inference",
                          "outputs that only training fills are used, and are gone since opset 14");
        return;
    }
    pare_attr_del(l->m, n->id, "spatial");
    pare_attr_del(l->m, n->id, "is_test");
    if (outputs && !test) pare_attr_set_int(l->m, n->id, "training_mode", 1);
    pare_lower_outputs_trim(l, n, test || !outputs ? 1 : n->n_out < 3 ? n->n_out : 3);
}

/* Softmax, LogSoftmax and Hardmax before 13: along all dims from `axis` (default 1) on, taken as one. */
void pare_lower_rule_softmax(pare_lowering *l, pare_node *n) {
    int64_t axis = pare_node_attr_int(n, "axis", 1);
    uint32_t x = pare_lower_in(n, 0);
    int32_t rank = pare_lower_rank(l, x);
    if (rank > 0 && (axis < -rank || axis >= rank)) {
        pare_lower_bad(l, n, "axis %lld of data of rank %d", (long long)axis, (int)rank);
        return;
    }
    if (rank > 0 && axis < 0) axis += rank;
    bool rest_is_one = rank > 0;
    for (int32_t i = (int32_t)axis + 1; rest_is_one && i < rank; i++) rest_is_one = pare_lower_dim(l, x, i) == 1;
    if (rest_is_one || axis == -1) {
        pare_attr_set_int(l->m, n->id, "axis", rank > 0 && axis == rank - 1 ? -1 : axis);
        return;
    }
    uint32_t shape = pare_lower_before(l, n, "Shape", "shape", &x, 1);
    uint32_t flat = pare_lower_before(l, n, "Flatten", "flat", &x, 1);
    pare_lower_made_int(l, flat, "axis", axis);
    uint32_t in[2] = {pare_lower_before(l, n, n->op_type, "rows", &flat, 1), shape};
    pare_lower_made_int(l, in[0], "axis", -1);
    pare_lower_become(l, n, "Reshape", in, 2);
    pare_attr_set_int(l->m, n->id, "allowzero", 1); /* an empty batch stays one */
}

/* GroupNormalization 18: scale and bias one number a group; one a channel since 21. */
void pare_lower_rule_group_norm(pare_lowering *l, pare_node *n) {
    int64_t groups = pare_node_attr_int(n, "num_groups", 0);
    int64_t channels = pare_lower_dim(l, pare_lower_in(n, 0), 1);
    if (channels < 0) {
        pare_lower_refuse(l, n, "export the model again at opset 21",
                          "its scale is per group before opset 21, and the number of its channels is not known");
        return;
    }
    if (groups < 1 || channels % groups) {
        pare_lower_bad(l, n, "%lld groups for %lld channels; num_groups must divide them", (long long)groups,
                       (long long)channels);
        return;
    }
    if (groups == channels) return;
    int64_t column[2] = {groups, 1}, wide[2] = {groups, channels / groups}, all[1] = {channels};
    for (uint32_t i = 1; i <= 2; i++) {
        uint32_t in[2] = {pare_lower_in(n, i), pare_lower_ints(l, n, "column", column, 2)};
        in[0] = pare_lower_before(l, n, "Reshape", "by_group", in, 2);
        in[1] = pare_lower_ints(l, n, "wide", wide, 2);
        in[0] = pare_lower_before(l, n, "Expand", "expanded", in, 2);
        in[1] = pare_lower_ints(l, n, "channels", all, 1);
        pare_lower_input(l, n, i, pare_lower_before(l, n, "Reshape", i == 1 ? "scale" : "bias", in, 2));
    }
}

/* Cast before 6: `to` is the name of TensorProto.DataType's entry. */
void pare_lower_rule_cast_text(pare_lowering *l, pare_node *n) {
    static const struct {
        const char *name;
        uint32_t dtype;
    } dtypes[] = {{"FLOAT", PARE_FLOAT},     {"UINT8", PARE_UINT8},         {"INT8", PARE_INT8},
                  {"UINT16", PARE_UINT16},   {"INT16", PARE_INT16},         {"INT32", PARE_INT32},
                  {"INT64", PARE_INT64},     {"STRING", PARE_STRING},       {"BOOL", PARE_BOOL},
                  {"FLOAT16", PARE_FLOAT16}, {"DOUBLE", PARE_DOUBLE},       {"UINT32", PARE_UINT32},
                  {"UINT64", PARE_UINT64},   {"COMPLEX64", PARE_COMPLEX64}, {"COMPLEX128", PARE_COMPLEX128}};
    const pare_attr *to = pare_node_attr(n, "to");
    if (to && to->type == PARE_ATTR_INT) return; /* some exporters were ahead of their opset */
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (!pare_lower_attr_is(n, "to", dtypes[i].name)) continue;
        pare_attr_set_int(l->m, n->id, "to", dtypes[i].dtype);
        return;
    }
    pare_lower_bad(l, n, "attribute to names no dtype; FLOAT, INT64, BOOL and the like do");
}

void pare_lower_rule_concat(pare_lowering *l, pare_node *n) {
    if (!pare_node_attr(n, "axis")) pare_attr_set_int(l->m, n->id, "axis", 1);
}

void pare_lower_rule_selu(pare_lowering *l, pare_node *n) {
    if (!pare_node_attr(n, "alpha")) pare_attr_set_float(l->m, n->id, "alpha", 1.6732f);
    if (!pare_node_attr(n, "gamma")) pare_attr_set_float(l->m, n->id, "gamma", 1.0507f);
}

/* The one number of a constant, whole and of whatever dtype Tile 1 allows. */
static bool whole(pare_lowering *l, uint32_t value, int64_t *out) {
    uint64_t n = 0;
    const int64_t *i = pare_lower_const_data(l, value, PARE_INT64, &n);
    if (i && n == 1) {
        *out = i[0];
        return true;
    }
    const float *f = pare_lower_const_data(l, value, PARE_FLOAT, &n);
    if (!f || n != 1 || f[0] != floorf(f[0]) || fabsf(f[0]) > 1e9f) return false;
    *out = (int64_t)f[0];
    return true;
}

/* Tile before 6: `tiles` copies along `axis`. */
void pare_lower_rule_tile(pare_lowering *l, pare_node *n) {
    int32_t rank = pare_lower_rank(l, pare_lower_in(n, 0));
    int64_t tiles, axis;
    if (rank < 0 || !whole(l, pare_lower_in(n, 1), &tiles) || !whole(l, pare_lower_in(n, 2), &axis)) {
        pare_lower_refuse(l, n, "export the model again at opset 6 or later",
                          "tiles and axis must be constants and the rank of the data known");
        return;
    }
    if (axis < 0 || axis >= rank || tiles < 0) {
        pare_lower_bad(l, n, "%lld copies along axis %lld of data of rank %d", (long long)tiles, (long long)axis,
                       (int)rank);
        return;
    }
    int64_t *repeats = pare_xmalloc((size_t)rank * sizeof *repeats);
    for (int32_t i = 0; i < rank; i++) repeats[i] = i == axis ? tiles : 1;
    pare_lower_input(l, n, 1, pare_lower_ints(l, n, "repeats", repeats, (size_t)rank));
    free(repeats);
    pare_node_inputs_trim(l->m, n->id, 2);
}

/* LpPool and GlobalLpPool before 2: p is a float. */
void pare_lower_rule_lp_power(pare_lowering *l, pare_node *n) {
    float p = pare_node_attr_float(n, "p", 2);
    if (!(p >= 1 && p <= 1e6f) || p != floorf(p)) {
        pare_lower_refuse(l, n, NULL, "p is %g; only whole powers are left since opset 2", (double)p);
        return;
    }
    pare_attr_set_int(l->m, n->id, "p", (int64_t)p);
}

/* RNN, GRU and LSTM before 7: output_sequence only said whether Y is wanted. */
void pare_lower_rule_rnn(pare_lowering *l, pare_node *n) {
    pare_attr_del(l->m, n->id, "output_sequence");
    if (pare_lower_attr_is(n, "direction", "foward")) /* as the first version spells its default */
        pare_attr_set_string(l->m, n->id, "direction", "forward", 7);
}

void pare_lower_rule_grid_sample(pare_lowering *l, pare_node *n) {
    if (pare_lower_attr_is(n, "mode", "bilinear")) pare_attr_set_string(l->m, n->id, "mode", "linear", 6);
    if (pare_lower_attr_is(n, "mode", "bicubic")) pare_attr_set_string(l->m, n->id, "mode", "cubic", 5);
}

void pare_lower_rule_roi_align(pare_lowering *l, pare_node *n) {
    static const char before[] = "output_half_pixel"; /* the default since 16 is half_pixel */
    pare_attr_set_string(l->m, n->id, "coordinate_transformation_mode", before, sizeof before - 1);
}

void pare_lower_rule_scatter(pare_lowering *l, pare_node *n) { pare_lower_rename(l, n, "ScatterElements"); }

void pare_lower_rule_scan(pare_lowering *l, pare_node *n) {
    pare_lower_refuse(l, n, "export the model again at opset 9 or later", "Scan of opset 8 scans a batch at once");
}
