/* model/pack_undo.c - unpacking: the nodes that pack.c wrote are recognised and become initializers again. See pack.h.
 *
 * Files may be damaged or hostile: the nodes must be exactly those of a form (pack.c lists them), and every size is
 * checked before anything is allocated. All tensors are rebuilt first, then the model is changed, so a failure leaves
 * it as it was. May use: pack_parts.h, edit.h, onnx.h, base/json.h.
 */
#include "model/pack.h"

#include "base/json.h"
#include "model/edit.h"
#include "model/onnx.h"
#include "model/pack_parts.h"

#include <stdlib.h>
#include <string.h>

typedef struct restored {
    const char *name; /* W's, in the metadata's JSON */
    uint32_t dtype;
    const int64_t *dims; /* the shape constant's contents, in the model's arena */
    size_t ndim, index;
    pare_blob *blob; /* NULL: it is an initializer already */
    bool was_external;
} restored;

typedef PARE_VEC(uint32_t) ids;

typedef struct undo {
    pare_model *m;
    pare_diags *d;
    const char *name;          /* of the tensor at hand */
    uint64_t unpacked, packed; /* bytes so far */
    pare_status st;            /* why the last one failed */
    PARE_VEC(restored) list;
    ids nodes;   /* to be deleted, each after its consumers */
    ids shared;  /* nodes that several tensors may use: deleted when unused */
    ids tensors; /* constants: deleted when unused */
} undo;

static const char HINT[] =
    "use the file from before packing; or delete its metadata entry " PACK_KEY " to read the nodes as they stand";

/* Says what is wrong with the tensor at hand; false. */
static bool damaged(undo *u, const char *what) {
    pare_sb b = {0};
    pare_sb_printf(&b, "the packed form of a tensor is damaged: %s", what);
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = "model.packed-damaged",
                         .message = pare_sb_str(&b),
                         .hint = HINT,
                         .path = u->m->path,
                         .tensor = u->name};
    if (u->d) pare_diags_add(u->d, &it);
    pare_sb_free(&b);
    u->st = PARE_EINVAL;
    return false;
}

/* ---- recognising ---- */

/* The node that makes a value, if it is this op of the main graph with just these attributes, and one output. */
static const pare_node *made_by(undo *u, uint32_t value, const char *op, uint32_t n_in, uint32_t n_attrs) {
    const pare_value *v = pare_model_value(u->m, value);
    const pare_node *n = v ? pare_model_node(u->m, v->producer) : NULL;
    bool ok = n && n->graph == PARE_MAIN_GRAPH && pare_node_is(n, op) && n->n_in == n_in && n->n_out == 1 &&
              n->n_attrs == n_attrs;
    for (uint32_t i = 0; ok && i < n_in; i++) ok = n->in[i] != 0;
    if (!ok) damaged(u, "the nodes that rebuild it are not those that packing writes");
    return ok ? n : NULL;
}

/* The same for a node that only the form uses. It is deleted with it. */
static const pare_node *link_of(undo *u, uint32_t value, const char *op, uint32_t n_in, uint32_t n_attrs) {
    const pare_node *n = made_by(u, value, op, n_in, n_attrs);
    const pare_value *v = pare_model_value(u->m, value);
    if (n && (v->uses.len != 1 || v->is_output)) {
        damaged(u, "something else uses the nodes that rebuild it");
        return NULL;
    }
    if (n) pare_vec_push(&u->nodes, n->id);
    return n;
}

static bool attr_is(undo *u, const pare_node *n, const char *name, int64_t want) {
    const pare_attr *a = n->n_attrs == 1 ? &n->attrs[0] : NULL;
    if (a && strcmp(a->name, name) == 0 && a->type == PARE_ATTR_INT && a->i == want && !a->ref_attr_name) return true;
    return damaged(u, "the nodes that rebuild it have other attributes than packing writes");
}

/* Cast to `to`; *in is what it shared. */
static bool cast_of(undo *u, uint32_t value, uint32_t to, uint32_t *in) {
    const pare_node *n = link_of(u, value, "Cast", 1, 1);
    if (!n || !attr_is(u, n, "to", to)) return false;
    *in = n->in[0];
    return true;
}

/* A constant of the main graph of this dtype and rank. It is deleted with its last user. */
static const pare_tensor *constant(undo *u, uint32_t value, uint32_t dtype, uint32_t ndim) {
    const pare_value *v = pare_model_value(u->m, value);
    const pare_tensor *t = v && v->graph == PARE_MAIN_GRAPH ? pare_model_tensor(u->m, v->tensor) : NULL;
    if (!t || v->is_input || t->dtype != dtype || t->ndim != ndim || !t->blob || !t->count) {
        damaged(u, "a constant that it is rebuilt from is missing, or has the wrong type");
        return NULL;
    }
    pare_vec_push(&u->tensors, t->id);
    return t;
}

static bool constant_is(undo *u, uint32_t value, uint32_t dtype, uint32_t ndim, const void *want, size_t n) {
    const pare_tensor *t = constant(u, value, dtype, ndim);
    if (!t) return false;
    if (t->blob->len == n && memcmp(t->blob->data, want, n) == 0) return true;
    return damaged(u, "a constant that it is rebuilt from has other contents than packing writes");
}

static bool constant_is_int64(undo *u, uint32_t value, int64_t want) {
    return constant_is(u, value, PARE_INT64, 1, &want, sizeof want);
}

/* CumSum along axis 0 of *in. */
static bool sums_of(undo *u, uint32_t value, uint32_t *in) {
    const int32_t zero = 0;
    const pare_node *n = link_of(u, value, "CumSum", 2, 0);
    if (!n || !constant_is(u, n->in[1], PARE_INT32, 0, &zero, sizeof zero)) return false;
    *in = n->in[0];
    return true;
}

/* ConstantOfShape: its shape, and its one element's bits. Others may use it as well: it goes to `list`. */
static bool filled_of(undo *u, uint32_t value, uint32_t dtype, ids *list, uint32_t *shape, uint64_t *pattern) {
    uint32_t want = dtype;
    const pare_value *v = pare_model_value(u->m, value);
    const pare_node *n = v ? pare_model_node(u->m, v->producer) : NULL;
    if (dtype == PARE_BFLOAT16 && n && pare_node_is(n, "Cast")) { /* before opset 20 */
        if (!(n = made_by(u, value, "Cast", 1, 1)) || !attr_is(u, n, "to", dtype)) return false;
        pare_vec_push(list, n->id);
        value = n->in[0];
        want = PARE_FLOAT;
    }
    if (!(n = made_by(u, value, "ConstantOfShape", 1, 1))) return false;
    v = pare_model_value(u->m, value);
    if (want != dtype && (v->uses.len != 1 || v->is_output))
        return damaged(u, "something else uses the nodes that rebuild it");
    pare_vec_push(list, n->id);
    const pare_attr *a = &n->attrs[0];
    const pare_tensor *t = strcmp(a->name, "value") == 0 && a->type == PARE_ATTR_TENSOR && a->ids
                               ? pare_model_tensor(u->m, a->ids[0])
                               : NULL;
    if (!t || t->dtype != want || t->count != 1 || !t->blob || t->blob->len > sizeof *pattern)
        return damaged(u, "its ConstantOfShape has the wrong value");
    *shape = n->in[0];
    *pattern = 0;
    memcpy(pattern, t->blob->data, (size_t)t->blob->len); /* little-endian, as the file */
    if (want != dtype && *pattern) return damaged(u, "its ConstantOfShape has the wrong value");
    return true;
}

/* ---- rebuilding ---- */

/* The bytes of count elements, when that is within bounds. */
static pare_blob *room(undo *u, uint64_t count, uint32_t size, uint64_t packed) {
    uint64_t bytes;
    if (!pare_mul_ok(count, size, &bytes) || bytes > PACK_TENSOR_MAX || count >= INT32_MAX ||
        !pack_size_ok(u->unpacked + bytes, u->packed + packed)) {
        damaged(u, "it claims more elements than a packed file of this size can hold");
        return NULL;
    }
    pare_blob *b = pare_blob_new(bytes);
    if (!b) {
        pare_diag_item it = {.severity = PARE_ERROR,
                             .code = "memory.tensor",
                             .tensor = u->name,
                             .path = u->m->path,
                             .message = "no memory to unpack a tensor",
                             .hint = "close other programs, or use a machine with more memory"};
        if (u->d) pare_diags_add(u->d, &it);
        u->st = PARE_ENOMEM;
        return NULL;
    }
    u->unpacked += bytes;
    u->packed += packed;
    return b;
}

static bool rebuild_gaps(undo *u, uint32_t flat, restored *r, uint64_t count) {
    uint32_t size = pare_dtype_bits(r->dtype) / 8, acc = count <= PACK_F32_EXACT ? PARE_FLOAT : PARE_INT32, shape;
    uint32_t wide = size == 1 ? PARE_INT32 : r->dtype;
    if (wide != r->dtype && !cast_of(u, flat, r->dtype, &flat)) return false;
    const pare_node *n = link_of(u, flat, "ScatterElements", 3, 1);
    if (!n || !attr_is(u, n, "axis", 0)) return false;
    uint32_t index = n->in[1], val_id = n->in[2];
    uint64_t fill;
    if (!filled_of(u, n->in[0], wide, &u->shared, &shape, &fill) || !constant_is_int64(u, shape, (int64_t)count))
        return false;
    if (wide != r->dtype) {
        if (!cast_of(u, val_id, wide, &val_id)) return false;
        int64_t v = (int32_t)(uint32_t)fill;
        if (r->dtype == PARE_INT8 ? v < INT8_MIN || v > INT8_MAX : v < 0 || v > UINT8_MAX)
            return damaged(u, "its ConstantOfShape has the wrong value");
        fill &= 0xff;
    }
    if ((acc != PARE_INT32 && !cast_of(u, index, PARE_INT32, &index)) || !sums_of(u, index, &index) ||
        !cast_of(u, index, acc, &index))
        return false;
    const pare_tensor *gap = constant(u, index, PARE_UINT8, 1), *val = constant(u, val_id, r->dtype, 1);
    if (!gap || !val) return false;
    if (gap->count != val->count || gap->count > count) return damaged(u, "its gaps and values differ in number");
    r->was_external = val->was_external;
    r->blob = room(u, count, size, gap->blob->len + val->blob->len);
    if (!r->blob) return false;
    const char *wrong = pack_decode_gap(gap->blob->data, val->blob->data, gap->count, fill, size, r->blob->data, count);
    return wrong ? damaged(u, wrong) : true;
}

/* The table's rows for the bytes *mask: Gather(Cast(table), Cast(mask)). */
static bool rows_of(undo *u, uint32_t value, uint32_t acc, uint32_t *mask) {
    unsigned char table[PACK_TABLE_BYTES];
    const pare_node *n = link_of(u, value, "Gather", 2, 1);
    if (!n || !attr_is(u, n, "axis", 0)) return false;
    uint32_t rows = n->in[0];
    if (!cast_of(u, n->in[1], PARE_INT32, mask)) return false;
    const pare_node *cast = made_by(u, rows, "Cast", 1, 1); /* shared by all masks */
    if (!cast || !attr_is(u, cast, "to", acc)) return false;
    pare_vec_push(&u->shared, cast->id);
    pack_table(table);
    return constant_is(u, cast->in[0], PARE_UINT8, 2, table, sizeof table);
}

static bool rebuild_mask(undo *u, uint32_t flat, restored *r, uint64_t count) {
    uint32_t size = pare_dtype_bits(r->dtype) / 8, acc = count <= PACK_F32_EXACT ? PARE_FLOAT : PARE_INT32;
    const pare_node *n = link_of(u, flat, "Gather", 2, 1);
    if (!n || !attr_is(u, n, "axis", 0)) return false;
    uint32_t val_id = n->in[0], which = n->in[1], summed, mask_id;
    if (acc != PARE_INT32 && !cast_of(u, which, PARE_INT32, &which)) return false;
    if (!(n = link_of(u, which, "Mul", 2, 0)) || !sums_of(u, n->in[0], &summed)) return false;
    uint32_t bits = n->in[1];
    const pare_value *v = pare_model_value(u->m, bits);
    if (summed != bits || v->uses.len != 2 || v->is_output)
        return damaged(u, "the nodes that rebuild it are not those that packing writes");
    n = count % 8 ? made_by(u, bits, "Slice", 3, 0) : made_by(u, bits, "Reshape", 2, 0);
    if (!n) return false;
    pare_vec_push(&u->nodes, n->id);
    if (count % 8) {
        if (!constant_is_int64(u, n->in[1], 0) || !constant_is_int64(u, n->in[2], (int64_t)count)) return false;
        if (!(n = link_of(u, n->in[0], "Reshape", 2, 0))) return false;
    }
    if (!constant_is_int64(u, n->in[1], -1) || !rows_of(u, n->in[0], acc, &mask_id)) return false;
    const pare_tensor *mask = constant(u, mask_id, PARE_UINT8, 1), *val = constant(u, val_id, r->dtype, 1);
    if (!mask || !val) return false;
    if (mask->count != count / 8 + (count % 8 != 0)) return damaged(u, "its mask has the wrong length");
    r->was_external = val->was_external;
    r->blob = room(u, count, size, mask->blob->len + val->blob->len);
    if (!r->blob) return false;
    const char *wrong = pack_decode_mask(mask->blob->data, val->blob->data, val->count, size, r->blob->data, count);
    return wrong ? damaged(u, wrong) : true;
}

/* W's dims from the constant that its last node takes. */
static bool shape_of(undo *u, uint32_t value, restored *r, uint64_t *count) {
    const pare_tensor *t = constant(u, value, PARE_INT64, 1);
    if (!t) return false;
    r->ndim = (size_t)t->count;
    r->dims = pare_arena_memdup(&u->m->arena, t->blob->data, (size_t)t->blob->len);
    if (!pare_dims_count(r->dims, r->ndim, count) || !*count)
        return damaged(u, "its shape is not one of a packed tensor");
    return true;
}

static bool rebuild(undo *u, uint32_t value, restored *r, const char *form) {
    uint64_t count, fill;
    uint32_t shape, size = pare_dtype_bits(r->dtype) / 8;
    if (strcmp(form, "fill") == 0) {
        if (!filled_of(u, value, r->dtype, &u->nodes, &shape, &fill) || !shape_of(u, shape, r, &count)) return false;
        if (!(r->blob = room(u, count, size, 0))) return false;
        pack_decode_fill(fill, size, r->blob->data, count);
        return true;
    }
    const pare_node *n = made_by(u, value, "Reshape", 2, 0);
    if (!n) return false;
    pare_vec_push(&u->nodes, n->id);
    uint32_t flat = n->in[0];
    if (!shape_of(u, n->in[1], r, &count)) return false;
    if (strcmp(form, "gap") == 0) return rebuild_gaps(u, flat, r, count);
    if (strcmp(form, "mask") == 0) return rebuild_mask(u, flat, r, count);
    return damaged(u, "its metadata names a form that doesn't exist");
}

/* One entry of the metadata's list. On success it is in u->list. */
static bool undo_one(undo *u, const json_t *entry, const pare_map *seen) {
    const char *form = json_string_value(json_object_get(entry, "form"));
    const json_t *index = json_object_get(entry, "index"), *dtype = json_object_get(entry, "dtype");
    uint32_t value;
    u->name = json_string_value(json_object_get(entry, "name"));
    if (!u->name || !form || !json_is_integer(index) || !json_is_integer(dtype) || json_integer_value(index) < 0 ||
        !pack_dtype_ok(json_integer_value(dtype), INT64_MAX))
        return damaged(u, "its metadata entry is not one that packing writes");
    if (pare_map_get(seen, u->name, &value)) return damaged(u, "the metadata names it twice");
    restored r = {
        .name = u->name, .dtype = (uint32_t)json_integer_value(dtype), .index = (size_t)json_integer_value(index)};
    if (!pare_map_get(&pare_model_graph(u->m, PARE_MAIN_GRAPH)->names, u->name, &value))
        return damaged(u, "the graph has no value of this name");
    const pare_value *v = pare_model_value(u->m, value);
    const pare_tensor *t = pare_model_tensor(u->m, v->tensor);
    bool ok = true;
    if (v->is_input || v->is_sparse || (t && t->dtype != r.dtype))
        ok = damaged(u, "the graph has another value of this name");
    else if (!t) /* else another tool has folded the nodes: it is whole again */
        ok = rebuild(u, value, &r, form);
    if (ok)
        pare_vec_push(&u->list, r);
    else
        pare_blob_unref(r.blob);
    return ok;
}

/* One tensor's last node could pose as another's inner one. */
static bool nodes_are_distinct(undo *u) {
    unsigned char *seen = pare_xcalloc(u->m->nodes.len + 1, 1);
    bool ok = true;
    for (size_t i = 0; i < u->nodes.len && ok; i++) {
        ok = !seen[u->nodes.data[i]];
        seen[u->nodes.data[i]] = 1;
    }
    free(seen);
    return ok || damaged(u, "two tensors are rebuilt by the same node");
}

/* ---- the change: nothing here fails ---- */

static int by_index(const void *a, const void *b) {
    const restored *x = a, *y = b;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void drop_if_unused(pare_model *m, uint32_t node) {
    const pare_node *n = pare_model_node(m, node);
    const pare_value *v = n ? pare_model_value(m, n->out[0]) : NULL;
    if (v && !v->uses.len && !v->is_output) pare_node_del(m, node);
}

static void commit(undo *u) {
    pare_model *m = u->m;
    for (size_t i = 0; i < u->nodes.len; i++) pare_node_del(m, u->nodes.data[i]);
    for (size_t i = 0; i < u->shared.len; i++) drop_if_unused(m, u->shared.data[i]);
    for (size_t i = 0; i < u->tensors.len; i++) {
        const pare_tensor *t = pare_model_tensor(m, u->tensors.data[i]);
        const pare_value *v = t ? pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, t->name)) : NULL;
        if (v && !v->uses.len && !v->is_output) pare_tensor_del(m, t->id);
    }
    qsort(u->list.data, u->list.len, sizeof *u->list.data, by_index);
    for (size_t i = 0; i < u->list.len; i++) { /* by rising index, so that each finds its place */
        const restored *r = &u->list.data[i];
        uint32_t id = 0, value;
        if (r->blob) {
            id = pare_tensor_add_blob(m, PARE_MAIN_GRAPH, r->name, r->dtype, r->ndim, r->dims, r->blob);
            pare_model_tensor(m, id)->was_external = r->was_external;
        } else if (pare_map_get(&pare_model_graph(m, PARE_MAIN_GRAPH)->names, r->name, &value)) {
            id = pare_model_value(m, value)->tensor;
        }
        if (id) pare_initializer_move(m, id, r->index);
    }
    pare_model_meta_set(m, PACK_KEY, NULL);
}

pare_status pare_model_unpack(pare_model *m, pare_diags *d) {
    const char *text = pare_model_meta(m, PACK_KEY);
    if (!text) return PARE_OK;
    undo u = {.m = m, .d = d};
    pare_map seen = {0};
    pare_status st = PARE_EINVAL;
    json_t *top = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *version = json_object_get(top, "version"), *list = json_object_get(top, "tensors");
    if (!json_is_integer(version) || !json_is_array(list)) {
        pare_fail_file(d, st, m->path ? m->path : "model", "model.packed-damaged", HINT,
                       "the metadata entry " PACK_KEY " is not one that packing writes");
        goto done;
    }
    if (json_integer_value(version) != 1) {
        st = pare_fail_file(d, PARE_EUNSUPPORTED, m->path ? m->path : "model", "model.packed-version",
                            "use a newer pare", "the model is packed in version %lld, this pare knows version 1",
                            (long long)json_integer_value(version));
        goto done;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!undo_one(&u, json_array_get(list, i), &seen)) {
            st = u.st;
            goto done;
        }
        pare_map_set(&seen, u.name, 1);
    }
    u.name = NULL;
    st = nodes_are_distinct(&u) ? PARE_OK : PARE_EINVAL;
    if (!st) commit(&u);
done:
    for (size_t i = 0; i < u.list.len; i++) pare_blob_unref(u.list.data[i].blob);
    pare_vec_free(&u.list);
    pare_vec_free(&u.nodes);
    pare_vec_free(&u.shared);
    pare_vec_free(&u.tensors);
    pare_map_free(&seen);
    json_decref(top);
    return st;
}

pare_status pare_model_load(const char *path, pare_diags *d, pare_model **out) {
    pare_model *m;
    pare_status st = pare_onnx_read(path, d, &m);
    if (st) return st;
    st = pare_model_unpack(m, d);
    if (st) {
        pare_model_free(m);
        return st;
    }
    *out = m;
    return PARE_OK;
}
