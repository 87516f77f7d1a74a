/* engine/spec.c - a node of the model as the kernel spec that a backend is asked for. See parts.h.
 *
 * Is not: choosing kernels or layouts (steps.c). May use: parts.h, model.
 */
#include "engine/parts.h"

#include "engine/lower.h"
#include "model/layers.h"

#include <pare/grad_ops.h>
#include <string.h>

/* Inputs that say how to compute and which shape comes out: always host values. One row an op; bit i is input i. */
typedef struct host_row {
    const char *op_type;
    uint32_t slots;
} host_row;

#define B(i) (1u << (i))
static const host_row host_rows[] = {
    {"AffineGrid", B(1)},
    {"BlackmanWindow", B(0)},
    {"CenterCropPad", B(1)},
    {"Col2Im", B(1) | B(2)},
    {"ConstantOfShape", B(0)},
    {"CumSum", B(1)},
    {"DFT", B(1) | B(2)},
    {"Dropout", B(1) | B(2)},
    {"Expand", B(1)},
    {"HammingWindow", B(0)},
    {"HannWindow", B(0)},
    {"MaxUnpool", B(2)},
    {"OneHot", B(1)},
    {"Pad", B(1) | B(3)},
    {"Range", B(0) | B(1) | B(2)},
    {"ReduceL1", B(1)},
    {"ReduceL2", B(1)},
    {"ReduceLogSum", B(1)},
    {"ReduceLogSumExp", B(1)},
    {"ReduceMax", B(1)},
    {"ReduceMean", B(1)},
    {"ReduceMin", B(1)},
    {"ReduceProd", B(1)},
    {"ReduceSum", B(1)},
    {"ReduceSumSquare", B(1)},
    {"Reshape", B(1)},
    {"Resize", B(1) | B(2) | B(3)},
    {"STFT", B(1) | B(3)},
    {"Slice", B(1) | B(2) | B(3) | B(4)},
    {"Split", B(1)},
    {"Squeeze", B(1)},
    {"Tile", B(1)},
    {"TopK", B(1)},
    {"Trilu", B(1)},
    {"Unsqueeze", B(1)},
    {"Upsample", B(1)},
};
#undef B

bool pare_spec_host_slot(const pare_node *n, uint32_t slot) {
    if (strcmp(n->domain, PARE_GRAD_DOMAIN) == 0) {
        if (strcmp(n->op_type, "SliceGrad") == 0) return slot >= 2;
        return strcmp(n->op_type, "ResizeGrad") == 0 && slot >= 2;
    }
    if (n->domain[0] || slot >= 32) return false;
    for (size_t i = 0; i < sizeof host_rows / sizeof *host_rows; i++)
        if (strcmp(host_rows[i].op_type, n->op_type) == 0) return host_rows[i].slots >> slot & 1;
    return false;
}

bool pare_value_known(const pare_value *v) {
    if (v->ndim < 0 || v->ndim > PARE_ARRAY_DIMS || !v->dtype || v->other_type) return false;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value < 0) return false;
    return true;
}

const char *pare_value_text(pare_arena *a, const pare_value *v) {
    pare_sb b = {0};
    pare_sb_add(&b, pare_dtype_name(v->dtype));
    pare_sb_add(&b, " [");
    for (int32_t i = 0; i < v->ndim; i++) {
        const char *sep = i ? ", " : "";
        if (v->dims[i].value >= 0)
            pare_sb_printf(&b, "%s%lld", sep, (long long)v->dims[i].value);
        else
            pare_sb_printf(&b, "%s%s", sep, v->dims[i].symbol ? v->dims[i].symbol : "?");
    }
    pare_sb_add(&b, v->ndim < 0 ? "any dims]" : "]");
    const char *text = pare_arena_strdup(a, pare_sb_str(&b));
    pare_sb_free(&b);
    return text;
}

const char *pare_engine_node_name(pare_model *m, const pare_node *n) {
    return n->name[0] ? n->name : pare_node_label(m, n->id);
}

void pare_spec_operand(pare_arena *a, const pare_value *v, pare_operand *o) {
    uint64_t count = 0, nbytes = 0;
    *o = (pare_operand){.size = sizeof *o, .dtype = v->dtype, .ndim = (uint32_t)v->ndim, .axis = -1};
    int64_t *dims = pare_arena_alloc(a, (o->ndim + 1) * sizeof *dims);
    for (uint32_t i = 0; i < o->ndim; i++) dims[i] = v->dims[i].value;
    o->dims = dims;
    if (pare_dims_count(dims, o->ndim, &count) && pare_dtype_nbytes(v->dtype, count, &nbytes))
        o->layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = nbytes};
}

/* ---- attributes ---- */

static pare_status attr_tensor(pare_arena *a, pare_model *m, const pare_attr *from, pare_diags *d,
                               pare_named_attribute *to) {
    pare_tensor *t = from->n && from->ids ? pare_model_tensor(m, from->ids[0]) : NULL;
    if (!t) return PARE_EUNSUPPORTED;
    pare_operand *o = pare_arena_alloc(a, sizeof *o);
    *o = (pare_operand){.size = sizeof *o,
                        .flags = PARE_OPERAND_CONSTANT | PARE_OPERAND_HOST,
                        .dtype = t->dtype,
                        .ndim = t->ndim,
                        .dims = t->dims,
                        .axis = -1};
    o->layout.nbytes = t->blob ? t->blob->len : 0;
    pare_status st = pare_tensor_read(t, d, &o->data);
    to->tensor = o;
    return st;
}

static pare_status attr_of(pare_arena *a, pare_model *m, const pare_node *n, const pare_attr *from, pare_diags *d,
                           pare_named_attribute *to) {
    *to = (pare_named_attribute){.name = from->name};
    pare_attribute *v = &to->value;
    *v = (pare_attribute){.size = sizeof *v, .type = (uint32_t)from->type, .n = 1};
    switch (from->type) {
    case PARE_ATTR_INT: v->i = from->i; return PARE_OK;
    case PARE_ATTR_FLOAT: v->f = (double)from->f; return PARE_OK;
    case PARE_ATTR_STRING:
        v->s = pare_arena_strndup(a, from->s.data ? (const char *)from->s.data : "", from->s.len);
        v->n = from->s.len;
        return PARE_OK;
    case PARE_ATTR_INTS:
        v->ints = from->ints;
        v->n = from->n;
        return PARE_OK;
    case PARE_ATTR_FLOATS:
        v->floats = from->floats;
        v->n = from->n;
        return PARE_OK;
    case PARE_ATTR_STRINGS: {
        const char **s = pare_arena_alloc(a, (from->n + 1) * sizeof *s);
        for (size_t i = 0; i < from->n; i++)
            s[i] = pare_arena_strndup(a, from->strings[i].data ? (const char *)from->strings[i].data : "",
                                      from->strings[i].len);
        v->strings = s;
        v->n = from->n;
        return PARE_OK;
    }
    case PARE_ATTR_TENSOR: {
        pare_status st = attr_tensor(a, m, from, d, to);
        if (st != PARE_EUNSUPPORTED) return st;
        break;
    }
    default: break;
    }
    return pare_fail(d, PARE_EUNSUPPORTED, "engine.attribute", NULL,
                     "%s node \"%s\": attribute \"%s\" has a type that no kernel takes", n->op_type,
                     pare_engine_node_name(m, n), from->name);
}

pare_status pare_spec_of(pare_arena *a, pare_model *m, const pare_node *n, uint32_t extra, pare_diags *d,
                         pare_spec *out) {
    uint32_t n_in = n->n_in + extra;
    *out = (pare_spec){.k = {.size = sizeof out->k, .flags = PARE_SPEC_DETERMINISTIC}};
    pare_kernel_spec *k = &out->k;
    k->op_type = n->op_type;
    k->domain = n->domain;
    k->version = pare_model_opset(m, n->domain);
    k->node = pare_engine_node_name(m, n);
    out->operands = pare_arena_alloc(a, (size_t)(n_in + n->n_out + 1) * sizeof *out->operands);
    out->in = pare_arena_alloc(a, (n_in + 1) * sizeof *out->in);
    out->out = pare_arena_alloc(a, (n->n_out + 1) * sizeof *out->out);
    for (uint32_t i = 0; i < n_in + n->n_out; i++) {
        const pare_value *v = i < n->n_in ? pare_model_value(m, n->in[i])
                              : i < n_in  ? NULL
                                          : pare_model_value(m, n->out[i - n_in]);
        pare_operand *o = &out->operands[i];
        *o = (pare_operand){.size = sizeof *o, .flags = PARE_OPERAND_ABSENT, .axis = -1};
        if (v && pare_value_known(v)) pare_spec_operand(a, v, o);
        *(i < n_in ? &out->in[i] : &out->out[i - n_in]) = o;
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_value *v = pare_model_value(m, n->out[i]);
        uint64_t count, nbytes;
        if (!v || !pare_value_known(v) || v->dtype == PARE_STRING ||
            (pare_dims_count(out->out[i]->dims, out->out[i]->ndim, &count) &&
             pare_dtype_nbytes(v->dtype, count, &nbytes)))
            continue;
        return pare_fail(d, PARE_EINVAL, "engine.size", "look at the shapes that the model computes",
                         "the output \"%s\" of %s node \"%s\" is %s: that is more bytes than can be counted", v->name,
                         n->op_type, k->node, pare_value_text(a, v));
    }
    k->in = out->in;
    k->out = out->out;
    k->n_in = n_in;
    k->n_out = n->n_out;
    pare_named_attribute *attrs = pare_arena_alloc(a, (n->n_attrs + 1) * sizeof *attrs);
    const pare_named_attribute **list = pare_arena_alloc(a, (n->n_attrs + 1) * sizeof *list);
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        pare_status st = attr_of(a, m, n, &n->attrs[i], d, &attrs[i]);
        if (st) return st;
        list[i] = &attrs[i];
    }
    k->attrs = list;
    k->n_attrs = n->n_attrs;
    return PARE_OK;
}
