/* engine/lower_inputs.c - attributes that became inputs between their opset and PARE_ENGINE_OPSET, and the forms of
 * Constant. One rule an op; source: ONNX's Changelog. May use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <stdlib.h>
#include <string.h>

/* An attribute of ints, there and not empty, taken off the node; NULL otherwise. Its numbers stay in the arena. */
static const int64_t *take_ints(pare_lowering *l, pare_node *n, const char *name, size_t *count) {
    const pare_attr *a = pare_node_attr(n, name);
    *count = 0;
    if (!a) return NULL;
    if (a->type != PARE_ATTR_INTS) {
        pare_lower_bad(l, n, "attribute %s is no list of whole numbers", name);
        return NULL;
    }
    const int64_t *v = a->ints;
    *count = a->n;
    pare_attr_del(l->m, n->id, name);
    return *count ? v : NULL;
}

/* Squeeze, Unsqueeze and ReduceSum before 13, the other Reduce* before 18: no axes means all of them, before and after.
 */
void pare_lower_rule_axes(pare_lowering *l, pare_node *n) {
    size_t count;
    if (pare_node_is(n, "Unsqueeze") && !pare_node_attr(n, "axes")) {
        pare_lower_bad(l, n, "attribute axes is missing; it says where dims go in");
        return;
    }
    const int64_t *axes = take_ints(l, n, "axes", &count);
    if (axes) pare_lower_input(l, n, 1, pare_lower_ints(l, n, "axes", axes, count));
}

/* A float attribute as a scalar of the first input's dtype, at `slot`. */
static void bound(pare_lowering *l, pare_node *n, const char *name, uint32_t slot) {
    const pare_attr *a = pare_node_attr(n, name);
    if (!a) return;
    float v = a->f;
    uint32_t dtype = pare_lower_dtype(l, pare_lower_in(n, 0));
    pare_attr_del(l->m, n->id, name);
    if (!dtype)
        pare_lower_refuse(l, n, "run shape inference on the file first, or export it at opset 13 or later",
                          "%s is an input since opset 11 and needs a dtype, which that of its data decides; that is "
                          "not known",
                          name);
    else
        pare_lower_input(l, n, slot, pare_lower_float(l, n, name, v, dtype));
}

void pare_lower_rule_clip(pare_lowering *l, pare_node *n) {
    bound(l, n, "min", 1);
    bound(l, n, "max", 2);
}

void pare_lower_rule_pad(pare_lowering *l, pare_node *n) {
    const char *name = l->from < 2 ? "paddings" : "pads";
    bool given = pare_lower_attr_ints(n, name) != NULL;
    size_t count;
    const int64_t *pads = take_ints(l, n, name, &count);
    if (!given) {
        pare_lower_bad(l, n, "attribute %s is missing", name);
        return;
    }
    pare_lower_input(l, n, 1, pare_lower_ints(l, n, "pads", pads, count));
    if (pare_node_attr_float(n, "value", 0) == 0)
        pare_attr_del(l->m, n->id, "value"); /* 0 is what is filled in anyway */
    else
        bound(l, n, "value", 2);
}

void pare_lower_rule_slice(pare_lowering *l, pare_node *n) {
    size_t n_starts, n_ends, n_axes;
    const int64_t *starts = take_ints(l, n, "starts", &n_starts);
    const int64_t *ends = take_ints(l, n, "ends", &n_ends);
    const int64_t *axes = take_ints(l, n, "axes", &n_axes);
    if (n_starts != n_ends || (axes && n_axes != n_starts)) {
        pare_lower_bad(l, n, "%zu starts, %zu ends and %zu axes; there must be as many of each", n_starts, n_ends,
                       n_axes);
        return;
    }
    pare_lower_input(l, n, 1, pare_lower_ints(l, n, "starts", starts, n_starts));
    pare_lower_input(l, n, 2, pare_lower_ints(l, n, "ends", ends, n_ends));
    if (axes) {
        pare_lower_input(l, n, 3, pare_lower_ints(l, n, "axes", axes, n_axes));
        return;
    }
    /* Without axes the first ones are meant, however few starts there are; later opsets want a start for every axis. */
    int64_t *all = pare_xmalloc((n_starts + 1) * sizeof *all);
    for (size_t i = 0; i < n_starts; i++) all[i] = (int64_t)i;
    pare_lower_input(l, n, 3, pare_lower_ints(l, n, "axes", all, n_starts));
    free(all);
}

void pare_lower_rule_split(pare_lowering *l, pare_node *n) {
    if (l->from < 2 && !pare_node_attr(n, "axis")) {
        pare_lower_refuse(l, n, "export the model again at a newer opset", "opset 1 gives its axis no default");
        return;
    }
    size_t count;
    const int64_t *split = l->from < 13 ? take_ints(l, n, "split", &count) : NULL;
    if (split) {
        if (count != n->n_out)
            pare_lower_bad(l, n, "%zu lengths for %u outputs", count, n->n_out);
        else
            pare_lower_input(l, n, 1, pare_lower_ints(l, n, "split", split, count));
    } else if (!pare_lower_in(n, 1)) {
        pare_attr_set_int(l->m, n->id, "num_outputs", n->n_out); /* equal parts have to be asked for since 18 */
    }
}

void pare_lower_rule_topk(pare_lowering *l, pare_node *n) {
    const pare_attr *a = pare_node_attr(n, "k");
    if (!a || a->type != PARE_ATTR_INT) {
        pare_lower_bad(l, n, "attribute k is missing");
        return;
    }
    int64_t k = a->i;
    pare_attr_del(l->m, n->id, "k");
    pare_lower_input(l, n, 1, pare_lower_ints(l, n, "k", &k, 1));
}

void pare_lower_rule_reshape(pare_lowering *l, pare_node *n) {
    if (!pare_lower_attr_ints(n, "shape")) {
        pare_lower_bad(l, n, "attribute shape is missing");
        return;
    }
    size_t count;
    const int64_t *shape = take_ints(l, n, "shape", &count); /* an empty one makes a scalar */
    pare_lower_input(l, n, 1, pare_lower_ints(l, n, "shape", shape, count));
}

/* Before 12 an inference-time copy, its ratio an attribute; before 7 is_test said so. */
void pare_lower_rule_dropout(pare_lowering *l, pare_node *n) {
    const pare_attr *test = l->from < 7 ? pare_node_attr(n, "is_test") : NULL;
    if (test && test->i == 0) {
        pare_lower_refuse(l, n, "export the model for inference", "is_test is 0: it would drop at random");
        return;
    }
    pare_attr_del(l->m, n->id, "is_test");
    if (l->from < 10) { /* the mask had the data's dtype; it is bool since */
        if (pare_lower_out_used(l, n, 1)) {
            pare_lower_refuse(l, n, "export the model for inference",
                              "its mask is used, which is filled in training only");
            return;
        }
        pare_lower_outputs_trim(l, n, 1);
    }
    float ratio = pare_node_attr_float(n, "ratio", 0.5f);
    pare_attr_del(l->m, n->id, "ratio");
    pare_lower_input(l, n, 1, pare_lower_float(l, n, "ratio", ratio, PARE_FLOAT));
}

/* value_int, value_ints, value_float and value_floats as the tensor they mean. */
void pare_lower_rule_constant(pare_lowering *l, pare_node *n) {
    static const struct {
        const char *name;
        pare_attr_type type;
        uint32_t dtype;
        size_t ndim, size;
    } forms[] = {{"value_int", PARE_ATTR_INT, PARE_INT64, 0, 8},
                 {"value_ints", PARE_ATTR_INTS, PARE_INT64, 1, 8},
                 {"value_float", PARE_ATTR_FLOAT, PARE_FLOAT, 0, 4},
                 {"value_floats", PARE_ATTR_FLOATS, PARE_FLOAT, 1, 4}};
    static const char *const refused[] = {"value_string", "value_strings", "sparse_value"};
    if (pare_node_attr(n, "value")) return;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (pare_node_attr(n, refused[i])) {
            pare_lower_refuse(
                l, n, NULL, "its form %s is not computed with; value, value_int(s) and value_float(s) are", refused[i]);
            return;
        }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const pare_attr *found = pare_node_attr(n, forms[i].name);
        if (!found || found->type != forms[i].type) continue;
        pare_attr a = *found; /* what it points to is the arena's and stays */
        bool list = forms[i].ndim == 1;
        int64_t count = list ? (int64_t)a.n : 1;
        const void *from = a.type == PARE_ATTR_INT     ? (const void *)&a.i
                           : a.type == PARE_ATTR_INTS  ? (const void *)a.ints
                           : a.type == PARE_ATTR_FLOAT ? (const void *)&a.f
                                                       : (const void *)a.floats;
        pare_attr_del(l->m, n->id, forms[i].name);
        pare_tensor *t =
            pare_model_tensor(l->m, pare_attr_set_tensor(l->m, n->id, "value", forms[i].dtype, forms[i].ndim, &count));
        void *data = NULL;
        if (!t || pare_tensor_overwrite(t, l->d, &data)) {
            pare_status st = pare_fail(l->d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a constant");
            if (!l->st) l->st = st;
            return;
        }
        if (count) memcpy(data, from, (size_t)count * forms[i].size);
        return;
    }
    pare_lower_bad(l, n, "it has no value");
}

/* DFT 17: axis was an attribute with default 1; the input's default is -2. */
void pare_lower_rule_dft(pare_lowering *l, pare_node *n) {
    int64_t axis = pare_node_attr_int(n, "axis", 1);
    pare_attr_del(l->m, n->id, "axis");
    pare_lower_input(l, n, 2, pare_lower_int(l, n, "axis", axis));
}
