/* plugin/host_opset.c - raising a file's opset where every op in it means the same in both versions.
 *
 * Is: a table of what changed for the worse in ai.onnx 8 to 21, and the refusal that names op, node and version. Is
 * not: a converter; ops that would have to be rewritten are refused. Drawn from the changelog of ONNX's operators: a
 * change that only widens types, or adds an optional input or an attribute whose default is the old behaviour, is not
 * listed. May use: host_impl.h, model.
 */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/edit.h"

#include <string.h>

enum { OLDEST = 7, NEWEST = 21 };

typedef enum {
    ALWAYS,
    WITH_ATTRIBUTE, /* the node has the attribute, which is gone or means something else */
    WITH_OUTPUTS,   /* the node has more than one output */
    WITH_ONE_INPUT, /* the node has no second input */
    UNLESS_LAST     /* axis is not the last one: what was flattened to 2-D is now taken along one axis */
} condition;

typedef struct change {
    const char *op;
    int version; /* the first in which it holds */
    condition when;
    const char *attribute;
    const char *what;
} change;

static const char AXES[] = "its axes became an input";

static const change changes[] = {
    {"BatchNormalization", 9, WITH_ATTRIBUTE, "spatial", "the attribute spatial is gone"},
    {"BatchNormalization", 14, WITH_OUTPUTS, NULL, "its outputs beyond the first changed"},
    {"Clip", 11, WITH_ATTRIBUTE, "min", "min became an input"},
    {"Clip", 11, WITH_ATTRIBUTE, "max", "max became an input"},
    {"DFT", 20, ALWAYS, NULL, "its axis became an input with another default"},
    {"Dropout", 10, WITH_OUTPUTS, NULL, "the dtype of its mask changed"},
    {"Dropout", 12, WITH_ATTRIBUTE, "ratio", "ratio became an input"},
    {"GridSample", 20, WITH_ATTRIBUTE, "mode", "the names of its modes changed"},
    {"GroupNormalization", 21, ALWAYS, NULL, "the shapes of scale and bias changed"},
    {"Hardmax", 13, UNLESS_LAST, NULL, "the meaning of its axis changed"},
    {"LogSoftmax", 13, UNLESS_LAST, NULL, "the meaning of its axis changed"},
    {"Pad", 11, ALWAYS, NULL, "pads and value became inputs"},
    {"ReduceL1", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceL2", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceLogSum", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceLogSumExp", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceMax", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceMean", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceMin", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceProd", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceSum", 13, WITH_ATTRIBUTE, "axes", AXES},
    {"ReduceSumSquare", 18, WITH_ATTRIBUTE, "axes", AXES},
    {"Resize", 11, ALWAYS, NULL, "its inputs changed"},
    {"Resize", 13, WITH_ATTRIBUTE, "coordinate_transformation_mode", "one of its coordinate modes is gone"},
    {"RoiAlign", 16, ALWAYS, NULL, "the default of its coordinate mode changed"},
    {"Scan", 9, ALWAYS, NULL, "its inputs and attributes changed"},
    {"Scatter", 11, ALWAYS, NULL, "it was replaced by ScatterElements"},
    {"Slice", 10, ALWAYS, NULL, "starts and ends became inputs"},
    {"Softmax", 13, UNLESS_LAST, NULL, "the meaning of its axis changed"},
    {"Split", 13, WITH_ATTRIBUTE, "split", "split became an input"},
    {"Split", 18, WITH_ONE_INPUT, NULL, "it needs num_outputs or split"},
    {"Squeeze", 13, WITH_ATTRIBUTE, "axes", AXES},
    {"TopK", 10, ALWAYS, NULL, "k became an input"},
    {"Unsqueeze", 13, ALWAYS, NULL, AXES},
    {"Upsample", 9, ALWAYS, NULL, "scales became an input"},
    {"Upsample", 10, ALWAYS, NULL, "it was replaced by Resize"},
};

/* Softmax before 13 flattens to 2-D at axis (default 1), since 13 works along axis (default -1): the same when the axis
 * is the last one both ways. */
static bool axis_is_last(const pare_model *m, const pare_node *n) {
    const pare_attr *a = pare_node_attr(n, "axis");
    const pare_value *v = n->n_in ? pare_model_value(m, n->in[0]) : NULL;
    if (a && a->i == -1) return true;
    if (!v || v->ndim < 1) return false;
    return a ? a->i == v->ndim - 1 : v->ndim == 2;
}

static bool applies(const pare_model *m, const pare_node *n, const change *c) {
    switch (c->when) {
    case WITH_ATTRIBUTE: {
        const pare_attr *a = pare_node_attr(n, c->attribute);
        if (!a || strcmp(c->op, "Resize") != 0) return a;
        static const char gone[] = "tf_half_pixel_for_nn";
        return a->s.len == sizeof gone - 1 && memcmp(a->s.data, gone, sizeof gone - 1) == 0;
    }
    case WITH_OUTPUTS: return n->n_out > 1;
    case WITH_ONE_INPUT: return n->n_in < 2 || !n->in[1];
    case UNLESS_LAST: return !axis_is_last(m, n);
    case ALWAYS: break;
    }
    return true;
}

static const change *change_of(const pare_model *m, const pare_node *n, int64_t from, int64_t to) {
    for (size_t i = 0; n->domain[0] == 0 && i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        if (c->version > from && c->version <= to && strcmp(c->op, n->op_type) == 0 && applies(m, n, c)) return c;
    }
    return NULL;
}

static pare_status refuse(const pare_host *h, const pare_node *n, const change *c, int64_t from, int64_t to) {
    pare_sb b = {0};
    pare_sb_printf(&b, "the file's opset can't be raised from %lld to %lld: %s changed in version %d (%s)",
                   (long long)from, (long long)to, c->op, c->version, c->what);
    const pare_value *v = n->n_out ? pare_model_value(pare_host_of(h)->model, n->out[0]) : NULL;
    pare_diag_item it = {.code = "opset.changed",
                         .message = pare_sb_str(&b),
                         .node = n->name[0] ? n->name : NULL,
                         .tensor = v ? v->name : NULL,
                         .hint = "export the model again at the newer opset (torch.onnx.export(…, opset_version=…))"};
    pare_host_refuse(h, PARE_EUNSUPPORTED, &it);
    pare_sb_free(&b);
    return PARE_EUNSUPPORTED;
}

/* The IR version that came with each opset from 7 on: ONNX, docs/Versioning.md. */
static const unsigned char ir_of[NEWEST - OLDEST + 1] = {3, 3, 4, 5, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 10};

pare_status pare_host_opset_raise(const pare_host *h, pare_model *m, int64_t min) {
    int64_t now = pare_model_opset(m, "");
    if (now < OLDEST || min > NEWEST)
        return pare_host_refuse_text(
            h, PARE_EUNSUPPORTED, "opset.unknown",
            "the file's opset can't be raised from %lld to %lld: pare knows what changed from %d to %d", (long long)now,
            (long long)min, OLDEST, NEWEST);
    if (m->functions.len) /* they import opsets of their own, which have to agree with the model's */
        return pare_host_refuse_text(h, PARE_EUNSUPPORTED, "opset.functions",
                                     "the file's opset can't be raised: it defines %zu functions of its own",
                                     m->functions.len);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->nodes.len; i++) { /* subgraphs included; all that stand in the way are named */
        const pare_node *n = m->nodes.data[i];
        const change *c = n ? change_of(m, n, now, min) : NULL;
        if (c) st = refuse(h, n, c, now, min);
    }
    if (st) return st;
    pare_model_opset_set(m, "", min);
    if (m->ir_version < ir_of[min - OLDEST]) m->ir_version = ir_of[min - OLDEST];
    return PARE_OK;
}
