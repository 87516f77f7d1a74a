/* model/onnx_graph.c - a GraphProto becomes a graph of the model: names become ids, attributes are taken over.
 *
 * Two passes a graph: first everything it defines (inputs, initializers, node outputs), then everything that uses
 * names, so that a node may use what a later one makes; subgraphs come in the second pass and see what is around them.
 * Is not: the check for cycles and the order of nodes (pare_model_check). May use: onnx_graph.h, edit.h.
 */
#include "model/onnx_graph.h"
#include "model/edit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

pare_bytes pare_onnx_place(const pare_onnx_reader *r, const uint64_t pair[2]) {
    return (pare_bytes){r->file->data + pair[0], (size_t)pair[1]};
}

static const char *text_of(pare_onnx_reader *r, const char *s) { return s ? pare_arena_strdup(&r->m->arena, s) : ""; }

/* ---- what a graph defines ---- */

static pare_value *value_of(pare_onnx_reader *r, const pare_graph *g, const char *name) {
    uint32_t id;
    return pare_map_get(&g->names, name, &id) ? pare_model_value(r->m, id) : NULL;
}

static const char *definition(const pare_value *v) {
    return v->producer ? "an output of a node" : v->tensor || v->is_sparse ? "an initializer" : "a graph input";
}

/* A new value, or NULL when the name is taken or missing. what: "node output", … */
static pare_value *define(pare_onnx_reader *r, pare_graph *g, const char *name, const char *what, const char *node) {
    if (!name[0]) {
        pare_onnx_error(r, PARE_EINVAL, "model.name", NULL, node, NULL, "%s without a name in graph '%s'", what,
                        g->name);
        return NULL;
    }
    const pare_value *old = value_of(r, g, name);
    if (!old) return pare_model_value(r->m, pare_value_add(r->m, g->id, name));
    pare_onnx_error(r, PARE_EINVAL, "model.duplicate-name", name, node, NULL,
                    "%s '%s' has a name that is %s already in graph '%s'", what, name, definition(old), g->name);
    return NULL;
}

static void value_type(pare_onnx_reader *r, pare_value *v, pare_bytes wire) {
    pare_onnx_info info;
    pare_onnx_info_read(&r->m->arena, wire, &info);
    if (info.bad_dim)
        pare_onnx_error(r, PARE_EINVAL, "model.dims", v->name, NULL, "a dim is 0 or more; -1 is taken as unknown",
                        "'%s' is declared with a dim of %" PRId64, v->name, info.bad_dim);
    v->info = wire;
    v->declared = info.has_type;
    v->other_type = info.other_type;
    v->dtype = info.dtype;
    v->ndim = info.ndim;
    v->dims = info.dims;
}

static void value_shape(pare_model *m, pare_value *v, uint32_t dtype, uint32_t ndim, const int64_t *dims) {
    pare_dim *list = pare_arena_alloc(&m->arena, ndim * sizeof *list);
    for (uint32_t i = 0; i < ndim; i++) list[i] = (pare_dim){dims[i], NULL};
    v->dtype = dtype;
    v->ndim = (int32_t)ndim;
    v->dims = list;
}

static const char *info_name(pare_onnx_reader *r, pare_bytes wire) {
    pare_bytes name = pare_onnx_info_name(wire);
    return pare_arena_strndup(&r->m->arena, name.len ? (const char *)name.data : "", name.len);
}

static void inputs_read(pare_onnx_reader *r, pare_graph *g, const Onnx__GraphProto *pb) {
    for (size_t i = 0; i + 1 < pb->n_input_at && !pare_onnx_enough(r); i += 2) {
        pare_bytes wire = pare_onnx_place(r, &pb->input_at[i]);
        pare_value *v = define(r, g, info_name(r, wire), "graph input", NULL);
        if (!v) continue;
        value_type(r, v, wire);
        v->is_input = true;
        pare_vec_push(&g->inputs, v->id);
    }
}

static void initializers_read(pare_onnx_reader *r, pare_graph *g, const Onnx__GraphProto *pb) {
    for (size_t i = 0; i + 1 < pb->n_initializer_at && !pare_onnx_enough(r); i += 2) {
        pare_tensor *t = pare_onnx_tensor(r, pare_onnx_place(r, &pb->initializer_at[i]), NULL);
        if (!t) continue;
        t->owner = PARE_OWNER_INITIALIZER;
        t->graph = g->id;
        pare_value *v = value_of(r, g, t->name);
        bool is_default = v && v->is_input && !v->tensor;
        if (!is_default && !(v = define(r, g, t->name, "initializer", NULL))) continue;
        v->tensor = t->id;
        t->name = v->name;
        if (!v->declared) value_shape(r->m, v, t->dtype, t->ndim, t->dims);
        pare_vec_push(&g->initializers, t->id);
    }
    for (size_t i = 0; i + 1 < pb->n_sparse_initializer_at && !pare_onnx_enough(r); i += 2) {
        pare_sparse s;
        pare_bytes name;
        if (!pare_onnx_sparse_read(&r->m->arena, pare_onnx_place(r, &pb->sparse_initializer_at[i]), &name, &s)) {
            pare_onnx_error(r, PARE_EINVAL, "model.sparse", NULL, NULL, NULL,
                            "sparse initializer %zu of graph '%s' has no name, or its dims are wrong", i / 2, g->name);
            continue;
        }
        const char *text = pare_arena_strndup(&r->m->arena, (const char *)name.data, name.len);
        pare_value *v = value_of(r, g, text);
        bool is_default = v && v->is_input && !v->tensor && !v->is_sparse;
        if (!is_default && !(v = define(r, g, text, "sparse initializer", NULL))) continue;
        v->is_sparse = true;
        if (!v->declared) value_shape(r->m, v, s.dtype, s.ndim, s.dims);
        s.value = v->id;
        pare_vec_push(&g->sparse, s);
    }
}

static void node_define(pare_onnx_reader *r, pare_graph *g, const Onnx__NodeProto *pb) {
    pare_model *m = r->m;
    pare_node *n = pare_arena_alloc(&m->arena, sizeof *n);
    pare_vec_push(&m->nodes, n);
    n->id = (uint32_t)m->nodes.len;
    n->graph = g->id;
    n->name = text_of(r, pb->name);
    n->op_type = text_of(r, pb->op_type);
    n->domain = pare_onnx_domain(m, pb->domain);
    n->extra = pare_onnx_extra(m, &pb->base);
    n->n_in = (uint32_t)pb->n_input;
    n->n_out = (uint32_t)pb->n_output;
    n->in = pare_arena_alloc(&m->arena, n->n_in * sizeof *n->in);
    n->out = pare_arena_alloc(&m->arena, n->n_out * sizeof *n->out);
    pare_vec_push(&g->nodes, n->id);
    if (!n->op_type[0])
        pare_onnx_error(r, PARE_EINVAL, "model.node", NULL, n->name, NULL, "a node without op_type in graph '%s'",
                        g->name);
    for (uint32_t i = 0; i < n->n_out && !pare_onnx_enough(r); i++) {
        if (!pb->output[i][0]) continue;
        pare_value *v = define(r, g, pb->output[i], "node output", n->name);
        if (!v) continue;
        n->out[i] = v->id;
        v->producer = n->id;
        v->slot = i;
    }
}

/* ---- what a graph uses ---- */

static void dangling(pare_onnx_reader *r, const pare_graph *g, const char *name, const char *what, const char *node) {
    PARE_VEC(const char *) names = {0};
    for (size_t i = 0; i < r->m->values.len; i++) /* those that can be seen from here */
        if (pare_graph_find(r->m, g->id, r->m->values.data[i]->name) == i + 1)
            pare_vec_push(&names, r->m->values.data[i]->name);
    const char *near = pare_nearest(name, names.data, names.len);
    char *hint = NULL;
    pare_sb b = {0};
    if (near) {
        pare_sb_printf(&b, "did you mean '%s'?", near);
        hint = b.data;
    }
    pare_onnx_error(r, PARE_EINVAL, "model.dangling", name, node, hint, "%s '%s' is defined nowhere in graph '%s'%s",
                    what, name, g->name, g->parent_node ? " or around it" : "");
    pare_sb_free(&b);
    pare_vec_free(&names);
}

typedef struct attr_state {
    pare_onnx_reader *r;
    pare_node *node;
    pare_attr *a;
    const Onnx__AttributeProto *pb;
} attr_state;

static pare_bytes bytes_dup(pare_model *m, ProtobufCBinaryData b) {
    pare_bytes out = {pare_arena_alloc(&m->arena, b.len + 1), b.len};
    if (b.len) memcpy((void *)(uintptr_t)out.data, b.data, b.len);
    return out;
}

static const pare_bytes *bytes_list(pare_model *m, const ProtobufCBinaryData *list, size_t n) {
    pare_bytes *out = pare_arena_alloc(&m->arena, n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = bytes_dup(m, list[i]);
    return out;
}

static void attr_tensors(attr_state *s, const uint64_t *places, size_t n) {
    uint32_t *ids = pare_arena_alloc(&s->r->m->arena, n * sizeof *ids);
    for (size_t i = 0; i < n && !pare_onnx_enough(s->r); i++) {
        pare_tensor *t = pare_onnx_tensor(s->r, pare_onnx_place(s->r, &places[2 * i]), s->node->name);
        if (!t) continue;
        t->owner = PARE_OWNER_ATTRIBUTE;
        t->graph = s->node->graph;
        t->node = s->node->id;
        ids[i] = t->id;
    }
    s->a->ids = ids;
    s->a->n = n;
}

static void attr_graphs(attr_state *s, Onnx__GraphProto *const *graphs, size_t n) {
    uint32_t *ids = pare_arena_alloc(&s->r->m->arena, n * sizeof *ids);
    for (size_t i = 0; i < n && !pare_onnx_enough(s->r); i++) {
        ids[i] = pare_graph_add(s->r->m, s->node->id, graphs[i]->name);
        pare_onnx_graph(s->r, ids[i], graphs[i]);
    }
    s->a->ids = ids;
    s->a->n = n;
}

/* Kinds of value an attribute holds, a bit each. Scalars that are zero don't count where the type names another kind:
 * some writers fill them in. */
static uint32_t attr_kinds(const Onnx__AttributeProto *pb, bool typed) {
    uint32_t k = 0;
    if (pb->has_f && !(typed && pb->f == 0)) k |= 1u << PARE_ATTR_FLOAT;
    if (pb->has_i && !(typed && pb->i == 0)) k |= 1u << PARE_ATTR_INT;
    if (pb->has_s && !(typed && pb->s.len == 0)) k |= 1u << PARE_ATTR_STRING;
    if (pb->n_t_at) k |= 1u << PARE_ATTR_TENSOR;
    if (pb->g) k |= 1u << PARE_ATTR_GRAPH;
    if (pb->n_floats) k |= 1u << PARE_ATTR_FLOATS;
    if (pb->n_ints) k |= 1u << PARE_ATTR_INTS;
    if (pb->n_strings) k |= 1u << PARE_ATTR_STRINGS;
    if (pb->n_tensors_at) k |= 1u << PARE_ATTR_TENSORS;
    if (pb->n_graphs) k |= 1u << PARE_ATTR_GRAPHS;
    if (pb->has_sparse_tensor) k |= 1u << PARE_ATTR_SPARSE_TENSOR;
    if (pb->n_sparse_tensors) k |= 1u << PARE_ATTR_SPARSE_TENSORS;
    if (pb->has_tp) k |= 1u << PARE_ATTR_TYPE_PROTO;
    if (pb->n_type_protos) k |= 1u << PARE_ATTR_TYPE_PROTOS;
    return k;
}

static bool attr_type(attr_state *s) {
    const Onnx__AttributeProto *pb = s->pb;
    int64_t type = pb->has_type ? pb->type : PARE_ATTR_UNDEFINED;
    uint32_t kinds = attr_kinds(pb, type != PARE_ATTR_UNDEFINED);
    const char *node = s->node->name[0] ? s->node->name : s->node->op_type;
    if (type < 0 || type > PARE_ATTR_TYPE_PROTOS) {
        pare_onnx_error(s->r, PARE_EINVAL, "model.attribute", NULL, node, NULL,
                        "attribute '%s' has type %lld, which is none that this version knows", s->a->name,
                        (long long)type);
        return false;
    }
    if (type == PARE_ATTR_UNDEFINED) /* IR 1 had no types: the field that is filled decides */
        for (int k = PARE_ATTR_FLOAT; k <= PARE_ATTR_TYPE_PROTOS && type == PARE_ATTR_UNDEFINED; k++)
            if (kinds == 1u << k) type = k;
    if (kinds & ~(1u << type)) {
        pare_onnx_error(s->r, PARE_EINVAL, "model.attribute", NULL, node, NULL,
                        type ? "attribute '%s' holds a value that is not of its type %lld"
                             : "attribute '%s' holds values of several kinds and no type (%lld) says which counts",
                        s->a->name, (long long)type);
        return false;
    }
    bool missing = (type == PARE_ATTR_TENSOR && !pb->n_t_at) || (type == PARE_ATTR_GRAPH && !pb->g) ||
                   (type == PARE_ATTR_SPARSE_TENSOR && !pb->has_sparse_tensor) ||
                   (type == PARE_ATTR_TYPE_PROTO && !pb->has_tp);
    if (missing && !s->a->ref_attr_name) {
        pare_onnx_error(s->r, PARE_EINVAL, "model.attribute", NULL, node, NULL,
                        "attribute '%s' of type %lld holds no value", s->a->name, (long long)type);
        return false;
    }
    s->a->type = (pare_attr_type)type;
    return true;
}

static void attr_read(attr_state *s) {
    const Onnx__AttributeProto *pb = s->pb;
    pare_model *m = s->r->m;
    pare_attr *a = s->a;
    a->name = text_of(s->r, pb->name);
    a->ref_attr_name = pb->ref_attr_name && pb->ref_attr_name[0] ? text_of(s->r, pb->ref_attr_name) : NULL;
    a->extra = pare_onnx_extra(m, &pb->base);
    if (!attr_type(s)) return;
    switch (a->type) {
    case PARE_ATTR_UNDEFINED: break;
    case PARE_ATTR_FLOAT: a->f = pb->has_f ? pb->f : 0; break;
    case PARE_ATTR_INT: a->i = pb->has_i ? pb->i : 0; break;
    case PARE_ATTR_STRING:
        if (pb->has_s) a->s = bytes_dup(m, pb->s);
        break;
    case PARE_ATTR_TENSOR: attr_tensors(s, pb->t_at, pb->n_t_at / 2); break;
    case PARE_ATTR_GRAPH: attr_graphs(s, &pb->g, pb->g ? 1 : 0); break;
    case PARE_ATTR_FLOATS:
        a->floats = pare_arena_memdup(&m->arena, pb->floats, pb->n_floats * sizeof *pb->floats);
        a->n = pb->n_floats;
        break;
    case PARE_ATTR_INTS:
        a->ints = pare_arena_memdup(&m->arena, pb->ints, pb->n_ints * sizeof *pb->ints);
        a->n = pb->n_ints;
        break;
    case PARE_ATTR_STRINGS:
        a->strings = bytes_list(m, pb->strings, pb->n_strings);
        a->n = pb->n_strings;
        break;
    case PARE_ATTR_TENSORS: attr_tensors(s, pb->tensors_at, pb->n_tensors_at / 2); break;
    case PARE_ATTR_GRAPHS: attr_graphs(s, pb->graphs, pb->n_graphs); break;
    case PARE_ATTR_SPARSE_TENSOR:
        a->n = pb->has_sparse_tensor ? 1 : 0;
        a->raw = bytes_list(m, &pb->sparse_tensor, a->n);
        break;
    case PARE_ATTR_SPARSE_TENSORS:
        a->n = pb->n_sparse_tensors;
        a->raw = bytes_list(m, pb->sparse_tensors, a->n);
        break;
    case PARE_ATTR_TYPE_PROTO:
        a->n = pb->has_tp ? 1 : 0;
        a->raw = bytes_list(m, &pb->tp, a->n);
        break;
    case PARE_ATTR_TYPE_PROTOS:
        a->n = pb->n_type_protos;
        a->raw = bytes_list(m, pb->type_protos, a->n);
        break;
    }
}

static void attrs_distinct(pare_onnx_reader *r, const pare_node *n) {
    pare_map seen = {0};
    for (uint32_t i = 0; n->n_attrs > 1 && i < n->n_attrs; i++) {
        uint32_t before;
        const char *name = n->attrs[i].name;
        if (!name) continue; /* errors enough: it was not read */
        if (pare_map_get(&seen, name, &before))
            pare_onnx_error(r, PARE_EINVAL, "model.attribute", NULL, n->name[0] ? n->name : n->op_type, NULL,
                            "attribute '%s' is given twice", name);
        if (pare_onnx_enough(r)) break;
        pare_map_set(&seen, name, 1);
    }
    pare_map_free(&seen);
}

static void node_connect(pare_onnx_reader *r, const pare_graph *g, pare_node *n, const Onnx__NodeProto *pb) {
    for (uint32_t i = 0; i < n->n_in && !pare_onnx_enough(r); i++) {
        const char *name = pb->input[i];
        if (!name[0]) continue;
        n->in[i] = pare_graph_find(r->m, g->id, name);
        pare_value *v = pare_model_value(r->m, n->in[i]);
        if (v) {
            pare_vec_push(&v->uses, ((pare_use){n->id, i}));
            continue;
        }
        pare_sb what = {0};
        pare_sb_printf(&what, "input %u of %s node", i, n->op_type);
        dangling(r, g, name, pare_sb_str(&what), n->name);
        pare_sb_free(&what);
    }
    n->attrs = pare_arena_alloc(&r->m->arena, pb->n_attribute * sizeof *n->attrs);
    n->n_attrs = (uint32_t)pb->n_attribute;
    for (size_t i = 0; i < pb->n_attribute && !pare_onnx_enough(r); i++)
        attr_read(&(attr_state){r, n, &n->attrs[i], pb->attribute[i]});
    attrs_distinct(r, n);
}

static void outputs_read(pare_onnx_reader *r, pare_graph *g, const Onnx__GraphProto *pb) {
    for (size_t i = 0; i + 1 < pb->n_output_at && !pare_onnx_enough(r); i += 2) {
        pare_bytes wire = pare_onnx_place(r, &pb->output_at[i]);
        const char *name = info_name(r, wire);
        uint32_t id = name[0] ? pare_graph_find(r->m, g->id, name) : 0;
        pare_value *v = pare_model_value(r->m, id);
        if (!v) {
            dangling(r, g, name, "graph output", NULL);
            continue;
        }
        if (v->graph == g->id && !v->info.len) value_type(r, v, wire);
        v->is_output = true;
        pare_vec_push(&g->outputs, id);
    }
}

/* What value_info says of a value that is an input or output too is kept beside it where the two differ. */
static void value_infos_read(pare_onnx_reader *r, pare_graph *g, const Onnx__GraphProto *pb) {
    for (size_t i = 0; i + 1 < pb->n_value_info_at; i += 2) {
        pare_bytes wire = pare_onnx_place(r, &pb->value_info_at[i]);
        pare_value *v = value_of(r, g, info_name(r, wire));
        bool same = v && v->info.len == wire.len && memcmp(v->info.data, wire.data, wire.len) == 0;
        if (!v || (v->info.len && (!same || !(v->is_input || v->is_output)))) {
            pare_vec_push(&g->loose_info, wire);
            continue;
        }
        if (!v->info.len) {
            value_type(r, v, wire);
            const pare_tensor *t = pare_model_tensor(r->m, v->tensor);
            if (t) value_shape(r->m, v, t->dtype, t->ndim, t->dims);
        }
        pare_vec_push(&g->info_order, v->id);
    }
}

void pare_onnx_graph(pare_onnx_reader *r, uint32_t id, const Onnx__GraphProto *pb) {
    pare_graph *g = pare_model_graph(r->m, id);
    unsigned errors = r->errors;
    g->extra = pare_onnx_extra(r->m, &pb->base);
    inputs_read(r, g, pb);
    initializers_read(r, g, pb);
    uint32_t first = (uint32_t)r->m->nodes.len + 1;
    for (size_t i = 0; i < pb->n_node && !pare_onnx_enough(r); i++) node_define(r, g, pb->node[i]);
    if (r->errors != errors) return; /* names that failed above would only be missed again below */
    for (size_t i = 0; i < pb->n_node && !pare_onnx_enough(r); i++)
        node_connect(r, g, pare_model_node(r->m, first + (uint32_t)i), pb->node[i]);
    outputs_read(r, g, pb);
    value_infos_read(r, g, pb);
}
