/* model/onnx_build.c - see onnx_build.h. Nothing is copied but what protobuf-c needs as a list of pointers. */
#include "model/onnx_build.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DATA_ALIGN = 4096
}; /* of tensors in a data file: pages, so that they can be mapped (ONNX's external data spec) */

static void *take(pare_onnx_builder *b, size_t n) { return pare_arena_alloc(&b->arena, n); }

/* protobuf-c's structs have no const; they are only read here. */
static char *text(const char *s) { return (char *)(uintptr_t)s; }
static char *text_or_none(const char *s) { return s && s[0] ? text(s) : NULL; }

static ProtobufCBinaryData binary(pare_bytes s) {
    return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)(uintptr_t)s.data};
}

static ProtobufCBinaryData *binary_list(pare_onnx_builder *b, const pare_bytes *list, size_t n) {
    ProtobufCBinaryData *out = take(b, n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = binary(list[i]);
    return out;
}

/* Fields that were carried go back as unknown fields. */
static void extra_put(pare_onnx_builder *b, ProtobufCMessage *msg, pare_bytes extra) {
    pare_wire_field f;
    const unsigned char *p = extra.data, *end = extra.data ? extra.data + extra.len : NULL;
    unsigned n = 0;
    while (extra.len && pare_wire_next(&p, end, &f) > 0) n++;
    msg->unknown_fields = take(b, n * sizeof *msg->unknown_fields);
    msg->n_unknown_fields = n;
    n = 0;
    for (p = extra.data; extra.len && pare_wire_next(&p, end, &f) > 0;)
        msg->unknown_fields[n++] = (ProtobufCMessageUnknownField){.tag = f.number,
                                                                  .wire_type = (ProtobufCWireType)f.type,
                                                                  .len = (size_t)(f.next - f.body),
                                                                  .data = (uint8_t *)(uintptr_t)f.body};
}

/* ---- tensors ---- */

static Onnx__StringStringEntryProto *pair(pare_onnx_builder *b, const char *key, const char *value) {
    Onnx__StringStringEntryProto *e = take(b, sizeof *e);
    onnx__string_string_entry_proto__init(e);
    e->key = text(key);
    e->value = text(value);
    return e;
}

static void external_put(pare_onnx_builder *b, const pare_tensor *t, Onnx__TensorProto *out) {
    uint64_t offset = (b->data_len + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
    pare_vec_push(&b->pieces, ((pare_onnx_piece){t, offset}));
    b->data_len = offset + t->blob->len;
    out->has_data_location = 1;
    out->data_location = 1;
    out->n_external_data = 3;
    out->external_data = take(b, 3 * sizeof *out->external_data);
    out->external_data[0] = pair(b, "location", b->location);
    out->external_data[1] = pair(b, "offset", pare_arena_printf(&b->arena, "%" PRIu64, offset));
    out->external_data[2] = pair(b, "length", pare_arena_printf(&b->arena, "%" PRIu64, t->blob->len));
}

static Onnx__TensorProto *tensor_build(pare_onnx_builder *b, const pare_tensor *t) {
    Onnx__TensorProto *out = take(b, sizeof *out);
    onnx__tensor_proto__init(out);
    out->n_dims = t->ndim;
    out->dims = (int64_t *)(uintptr_t)t->dims;
    out->has_data_type = 1;
    out->data_type = (int32_t)t->dtype;
    out->name = text_or_none(t->name);
    if (t->dtype == PARE_STRING) {
        out->n_string_data = (size_t)t->count;
        out->string_data = binary_list(b, t->strings, (size_t)t->count);
    } else if (b->location && t->owner == PARE_OWNER_INITIALIZER && t->blob && t->blob->len >= b->external_min) {
        external_put(b, t, out);
    } else if (t->blob && t->blob->len) {
        out->has_raw_data = 1;
        out->raw_data = (ProtobufCBinaryData){.len = (size_t)t->blob->len, .data = t->blob->data};
    }
    extra_put(b, &out->base, t->extra);
    return out;
}

static Onnx__TensorProto **tensor_list(pare_onnx_builder *b, const uint32_t *ids, size_t n) {
    Onnx__TensorProto **out = take(b, n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = tensor_build(b, pare_model_tensor(b->m, ids[i]));
    return out;
}

/* ---- nodes ---- */

static Onnx__GraphProto *graph_build(pare_onnx_builder *b, const pare_graph *g);

static void attr_value(pare_onnx_builder *b, const pare_attr *a, Onnx__AttributeProto *out) {
    switch (a->type) {
    case PARE_ATTR_UNDEFINED: break;
    case PARE_ATTR_FLOAT: out->has_f = 1, out->f = a->f; break;
    case PARE_ATTR_INT: out->has_i = 1, out->i = a->i; break;
    case PARE_ATTR_STRING: out->has_s = 1, out->s = binary(a->s); break;
    case PARE_ATTR_TENSOR: out->t = *tensor_list(b, a->ids, 1); break;
    case PARE_ATTR_GRAPH: out->g = graph_build(b, pare_model_graph(b->m, a->ids[0])); break;
    case PARE_ATTR_FLOATS: out->n_floats = a->n, out->floats = (float *)(uintptr_t)a->floats; break;
    case PARE_ATTR_INTS: out->n_ints = a->n, out->ints = (int64_t *)(uintptr_t)a->ints; break;
    case PARE_ATTR_STRINGS: out->n_strings = a->n, out->strings = binary_list(b, a->strings, a->n); break;
    case PARE_ATTR_TENSORS: out->n_tensors = a->n, out->tensors = tensor_list(b, a->ids, a->n); break;
    case PARE_ATTR_GRAPHS:
        out->n_graphs = a->n;
        out->graphs = take(b, a->n * sizeof *out->graphs);
        for (size_t i = 0; i < a->n; i++) out->graphs[i] = graph_build(b, pare_model_graph(b->m, a->ids[i]));
        break;
    case PARE_ATTR_SPARSE_TENSOR: out->has_sparse_tensor = 1, out->sparse_tensor = binary(a->raw[0]); break;
    case PARE_ATTR_SPARSE_TENSORS:
        out->n_sparse_tensors = a->n, out->sparse_tensors = binary_list(b, a->raw, a->n);
        break;
    case PARE_ATTR_TYPE_PROTO: out->has_tp = 1, out->tp = binary(a->raw[0]); break;
    case PARE_ATTR_TYPE_PROTOS: out->n_type_protos = a->n, out->type_protos = binary_list(b, a->raw, a->n); break;
    }
}

/* In a function's body an attribute may name one of the function instead of holding a value. */
static bool attr_holds(const pare_attr *a) {
    switch (a->type) {
    case PARE_ATTR_FLOAT:
    case PARE_ATTR_INT:
    case PARE_ATTR_STRING: return !a->ref_attr_name;
    default: return a->n > 0;
    }
}

static Onnx__AttributeProto *attr_build(pare_onnx_builder *b, const pare_attr *a) {
    Onnx__AttributeProto *out = take(b, sizeof *out);
    onnx__attribute_proto__init(out);
    out->name = text(a->name);
    out->has_type = a->type != PARE_ATTR_UNDEFINED;
    out->type = (int32_t)a->type;
    out->ref_attr_name = text(a->ref_attr_name);
    if (attr_holds(a)) attr_value(b, a, out);
    extra_put(b, &out->base, a->extra);
    return out;
}

static char **name_list(pare_onnx_builder *b, const uint32_t *values, size_t n) {
    char **out = take(b, n * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(b->m, values[i]);
        out[i] = text(v ? v->name : "");
    }
    return out;
}

static Onnx__NodeProto *node_build(pare_onnx_builder *b, const pare_node *n) {
    Onnx__NodeProto *out = take(b, sizeof *out);
    onnx__node_proto__init(out);
    out->n_input = n->n_in;
    out->input = name_list(b, n->in, n->n_in);
    out->n_output = n->n_out;
    out->output = name_list(b, n->out, n->n_out);
    out->name = text_or_none(n->name);
    out->op_type = text(n->op_type);
    out->domain = text_or_none(n->domain);
    out->n_attribute = n->n_attrs;
    out->attribute = take(b, n->n_attrs * sizeof *out->attribute);
    for (uint32_t i = 0; i < n->n_attrs; i++) out->attribute[i] = attr_build(b, &n->attrs[i]);
    extra_put(b, &out->base, n->extra);
    return out;
}

/* ---- graphs ---- */

static ProtobufCBinaryData *info_list(pare_onnx_builder *b, const uint32_t *values, size_t n) {
    ProtobufCBinaryData *out = take(b, n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = binary(pare_onnx_info_bytes(&b->arena, pare_model_value(b->m, values[i])));
    return out;
}

/* An info that was kept beside a value's own says nothing true any more when the value's type changed. */
static bool loose_holds(const pare_onnx_builder *b, const pare_graph *g, pare_bytes info) {
    pare_bytes name = pare_onnx_info_name(info);
    char *own = pare_xstrndup(name.len ? (const char *)name.data : "", name.len);
    uint32_t id;
    const pare_value *v = pare_map_get(&g->names, own, &id) ? pare_model_value(b->m, id) : NULL;
    free(own);
    return !v || !v->info_stale;
}

/* value_info: what had an entry, values whose type was declared since, and entries of names that nothing defines. */
static void infos_build(pare_onnx_builder *b, const pare_graph *g, const uint32_t *more, size_t n_more,
                        Onnx__GraphProto *out) {
    size_t n = 0;
    out->value_info = take(b, (g->info_order.len + n_more + g->loose_info.len) * sizeof *out->value_info);
    for (size_t i = 0; i < g->info_order.len; i++) {
        const pare_value *v = pare_model_value(b->m, g->info_order.data[i]);
        if (v) out->value_info[n++] = binary(pare_onnx_info_bytes(&b->arena, v));
    }
    for (size_t i = 0; i < n_more; i++)
        out->value_info[n++] = binary(pare_onnx_info_bytes(&b->arena, pare_model_value(b->m, more[i])));
    for (size_t i = 0; i < g->loose_info.len; i++)
        if (loose_holds(b, g, g->loose_info.data[i])) out->value_info[n++] = binary(g->loose_info.data[i]);
    out->n_value_info = n;
}

/* Values declared since reading, of one graph: nodes' outputs with a type that are neither in value_info nor an output.
 */
static uint32_t *declared_since(pare_onnx_builder *b, const pare_graph *g, size_t *n) {
    PARE_VEC(uint32_t) list = {0};
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *node = pare_model_node(b->m, g->nodes.data[i]);
        for (uint32_t k = 0; k < node->n_out; k++) {
            const pare_value *v = pare_model_value(b->m, node->out[k]);
            if (v && v->declared && !v->info.len && !v->is_output && v->dtype != PARE_DTYPE_UNKNOWN)
                pare_vec_push(&list, v->id);
        }
    }
    *n = list.len;
    uint32_t *out = pare_arena_memdup(&b->arena, list.data, list.len * sizeof *out);
    pare_vec_free(&list);
    return out;
}

static Onnx__GraphProto *graph_build(pare_onnx_builder *b, const pare_graph *g) {
    Onnx__GraphProto *out = take(b, sizeof *out);
    onnx__graph_proto__init(out);
    out->n_node = g->nodes.len;
    out->node = take(b, g->nodes.len * sizeof *out->node);
    for (size_t i = 0; i < g->nodes.len; i++) out->node[i] = node_build(b, pare_model_node(b->m, g->nodes.data[i]));
    out->name = text_or_none(g->name);
    out->n_initializer = g->initializers.len;
    out->initializer = tensor_list(b, g->initializers.data, g->initializers.len);
    out->n_sparse_initializer = g->sparse.len;
    out->sparse_initializer = take(b, g->sparse.len * sizeof *out->sparse_initializer);
    for (size_t i = 0; i < g->sparse.len; i++) out->sparse_initializer[i] = binary(g->sparse.data[i].raw);
    out->n_input = g->inputs.len;
    out->input = info_list(b, g->inputs.data, g->inputs.len);
    out->n_output = g->outputs.len;
    out->output = info_list(b, g->outputs.data, g->outputs.len);
    size_t n_more;
    uint32_t *more = declared_since(b, g, &n_more);
    infos_build(b, g, more, n_more, out);
    extra_put(b, &out->base, g->extra);
    return out;
}

/* ---- the model ---- */

Onnx__ModelProto *pare_onnx_build(pare_onnx_builder *b) {
    const pare_model *m = b->m;
    Onnx__ModelProto *out = take(b, sizeof *out);
    onnx__model_proto__init(out);
    out->has_ir_version = 1;
    out->ir_version = m->ir_version;
    out->producer_name = text(m->producer_name);
    out->producer_version = text(m->producer_version);
    out->domain = text(m->domain);
    out->has_model_version = m->has_model_version;
    out->model_version = m->model_version;
    out->doc_string = text(m->doc_string);
    out->graph = graph_build(b, pare_model_graph(m, PARE_MAIN_GRAPH));
    out->n_opset_import = m->opsets.len;
    out->opset_import = take(b, m->opsets.len * sizeof *out->opset_import);
    for (size_t i = 0; i < m->opsets.len; i++) {
        Onnx__OperatorSetIdProto *o = out->opset_import[i] = take(b, sizeof *o);
        onnx__operator_set_id_proto__init(o);
        o->domain = text_or_none(m->opsets.data[i].domain);
        o->has_version = 1;
        o->version = m->opsets.data[i].version;
        extra_put(b, &o->base, m->opsets.data[i].extra);
    }
    out->n_metadata_props = m->metadata.len;
    out->metadata_props = take(b, m->metadata.len * sizeof *out->metadata_props);
    for (size_t i = 0; i < m->metadata.len; i++)
        out->metadata_props[i] = pair(b, m->metadata.data[i].key, m->metadata.data[i].value);
    out->n_functions = m->functions.len;
    out->functions = binary_list(b, m->functions.data, m->functions.len);
    extra_put(b, &out->base, m->extra);
    return out;
}

void pare_onnx_builder_free(pare_onnx_builder *b) {
    pare_vec_free(&b->pieces);
    pare_arena_free(&b->arena);
}
