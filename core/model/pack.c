/* model/pack.c - packing: sparse initializers become small ones and nodes that rebuild them. See pack.h.
 *
 * The coding of bytes is in pack_code.c, the way back in pack_undo.c. The forms, for W of n elements with k kept:
 *
 *   gap   gap u8 (k), val (k). Cast f32, CumSum, Cast int32: the kept elements' indices. ConstantOfShape (n) of the
 *         pattern left out, ScatterElements, Reshape to W.
 *   mask  mask u8 (ceil n/8), val (k + 1) with the pattern left out first. Cast int32, Gather from a table of all
 *         bytes' bits, Reshape (-1), Slice (n) where 8 doesn't divide n, CumSum, Mul by the bits, Cast int32: each
 *         element's place in val. Gather from val, Reshape to W.
 *   fill  nothing is kept. ConstantOfShape.
 *
 * Measured with ONNX Runtime 1.32 and OpenVINO 2026.4, both fold all of it, so that a session holds the plain file's
 * ops. Why it is so and not simpler:
 *
 *   OpenVINO folds CumSum of floats only, and computes f64 as f32: hence sums in f32 while they are exact, up to 2^24.
 *   Larger tensors take int32, which is right everywhere and folds in ONNX Runtime.
 *   OpenVINO scatters 8-bit types at run time only: they go by int32. Nor does it fold GatherElements.
 *   ONNX Runtime doesn't fold NonZero and Compress: hence sums over the mask.
 *   ConstantOfShape of bfloat16 came with opset 20: before it, f32 and a Cast.
 *
 * Loading costs ONNX Runtime about 2 ns an element of W for gaps, and 25 for a mask.
 * May use: pack_parts.h, edit.h, base/json.h.
 */
#include "model/pack.h"

#include "base/json.h"
#include "model/edit.h"
#include "model/pack_parts.h"

#include <stdlib.h>
#include <string.h>

/* Protobuf bytes that a form adds beside its data, with the metadata's; and what a mask's shared table costs. A saving
 * below 1/16, or tensors below 4 KiB, aren't worth the nodes. */
enum {
    COST_FILL = 320,
    COST_GAP = 700,
    COST_MASK = 850,
    COST_TABLE = PACK_TABLE_BYTES + 400,
    MIN_BYTES = 4096,
    MIN_SAVING = 16
};

typedef struct wanted {
    uint32_t tensor, value;
    size_t index;                   /* in the list of initializers */
    uint64_t plain, packed, or_gap; /* bytes; or_gap: what it would take without the mask */
} wanted;

typedef struct base { /* a ConstantOfShape to scatter into, shared by tensors of one length */
    uint64_t count, fill;
    uint32_t dtype, value;
} base;

typedef struct packer {
    pare_model *m;
    int64_t opset;
    uint32_t before;       /* the first node: ours stand before it */
    PARE_VEC(wanted) list; /* beside items */
    PARE_VEC(pack_item) items;
    PARE_VEC(uint32_t) shared; /* tensors of shapes and lengths that later ones may use */
    PARE_VEC(base) bases;
    uint32_t axis, minus1, zero1; /* values of shared constants, 0 until needed */
    uint32_t table, table_f32, table_i32;
    uint32_t number; /* of the tensor at hand, for its names */
} packer;

/* ---- which tensors, in which form ---- */

static bool eligible(const packer *p, const pare_tensor *t, const pare_value *v) {
    if (!pack_dtype_ok(t->dtype, p->opset) || !t->blob || t->extra.len || t->blob->len < MIN_BYTES) return false;
    if (t->count >= INT32_MAX || t->blob->len > PACK_TENSOR_MAX) return false;
    if (v->is_input || v->is_output || !v->uses.len) return false;
    return pare_utf8_ok(v->name, strlen(v->name)); /* it goes into JSON */
}

static bool worth(uint64_t packed, uint64_t plain) { return packed <= plain - plain / MIN_SAVING; }

static void choose(pack_item *t, wanted *w) {
    uint64_t gap = t->entries * (t->size + 1) + COST_GAP;
    uint64_t mask = (t->count + 7) / 8 + (t->kept + 1) * t->size + COST_MASK;
    w->plain = t->count * t->size;
    w->packed = w->or_gap = w->plain;
    if (!t->kept) {
        t->form = PACK_FILL;
        w->packed = COST_FILL;
        return;
    }
    if (worth(gap, w->plain)) {
        t->form = PACK_GAP;
        w->packed = w->or_gap = gap;
    }
    if (worth(mask, w->packed)) { /* folding a mask takes a runtime several times as long as folding gaps */
        t->form = PACK_MASK;
        w->packed = mask;
    }
}

/* The table is worth having only when the masks together save more than it takes. */
static void drop_masks_that_dont_pay(packer *p) {
    uint64_t saved = 0;
    for (size_t i = 0; i < p->list.len; i++)
        if (p->items.data[i].form == PACK_MASK) saved += p->list.data[i].or_gap - p->list.data[i].packed;
    for (size_t i = 0; i < p->list.len && saved <= COST_TABLE; i++) {
        wanted *w = &p->list.data[i];
        if (p->items.data[i].form != PACK_MASK) continue;
        p->items.data[i].form = w->or_gap < w->plain ? PACK_GAP : PACK_NONE;
        w->packed = w->or_gap;
    }
}

/* Keeps what is packed, and within what unpacking accepts. */
static void settle(packer *p) {
    size_t n = 0;
    uint64_t plain = 0, packed = 0;
    for (size_t i = 0; i < p->list.len; i++) {
        wanted w = p->list.data[i];
        pack_item t = p->items.data[i];
        uint64_t data = t.form == PACK_GAP    ? t.entries * (t.size + 1)
                        : t.form == PACK_MASK ? (t.count + 7) / 8 + (t.kept + 1) * t.size
                                              : 0;
        if (t.form == PACK_NONE || !pack_size_ok(plain + w.plain, packed + data)) continue;
        plain += w.plain;
        packed += data;
        p->list.data[n] = w;
        p->items.data[n++] = t;
    }
    p->list.len = p->items.len = n;
}

static void plan(packer *p) {
    const pare_graph *g = pare_model_graph(p->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->initializers.len; i++) {
        const pare_tensor *t = pare_model_tensor(p->m, g->initializers.data[i]);
        uint32_t value;
        if (!pare_map_get(&g->names, t->name, &value) || !eligible(p, t, pare_model_value(p->m, value))) continue;
        pare_vec_push(&p->list, ((wanted){.tensor = t->id, .value = value, .index = i}));
        pare_vec_push(&p->items,
                      ((pack_item){.data = t->blob->data, .count = t->count, .size = pare_dtype_bits(t->dtype) / 8}));
    }
    pack_survey(p->items.data, p->items.len);
    for (size_t i = 0; i < p->list.len; i++) choose(&p->items.data[i], &p->list.data[i]);
    drop_masks_that_dont_pay(p);
    settle(p);
}

/* ---- constants ---- */

static const char *fresh(packer *p, const char *part) {
    return pare_name_fresh(p->m, PARE_MAIN_GRAPH, pare_arena_printf(&p->m->arena, PACK_KEY "/%u/%s", p->number, part));
}

static uint32_t value_of(packer *p, uint32_t tensor) {
    return pare_graph_find(p->m, PARE_MAIN_GRAPH, pare_model_tensor(p->m, tensor)->name);
}

/* The few bytes of a constant are bookkeeping: without memory for them the process ends as pare_xmalloc ends it. */
static void *must(void *p) { return p ? p : pare_xmalloc(SIZE_MAX / 2); }

static uint32_t constant(packer *p, const char *part, uint32_t dtype, size_t ndim, const int64_t *dims,
                         const void *data) {
    const char *name = pare_name_fresh(p->m, PARE_MAIN_GRAPH, pare_arena_printf(&p->m->arena, PACK_KEY "/%s", part));
    pare_tensor *t = must(pare_model_tensor(p->m, pare_tensor_add(p->m, PARE_MAIN_GRAPH, name, dtype, ndim, dims)));
    memcpy(t->blob->data, data, (size_t)t->blob->len);
    return t->id;
}

static uint32_t axis(packer *p) {
    int32_t zero = 0;
    if (!p->axis) p->axis = value_of(p, constant(p, "axis", PARE_INT32, 0, NULL, &zero));
    return p->axis;
}

static uint32_t int64_1(packer *p, uint32_t *cached, const char *part, int64_t v) {
    int64_t one = 1;
    if (!*cached) *cached = value_of(p, constant(p, part, PARE_INT64, 1, &one, &v));
    return *cached;
}

/* An int64 list as a constant; equal ones are made once. */
static uint32_t int64_list(packer *p, const char *part, const int64_t *v, size_t n) {
    for (size_t i = 0; i < p->shared.len; i++) {
        const pare_tensor *t = pare_model_tensor(p->m, p->shared.data[i]);
        if (t->count == n && memcmp(t->blob->data, v, n * sizeof *v) == 0) return value_of(p, t->id);
    }
    int64_t len = (int64_t)n;
    uint32_t id = constant(p, pare_arena_printf(&p->m->arena, "%u/%s", p->number, part), PARE_INT64, 1, &len, v);
    pare_vec_push(&p->shared, id);
    return value_of(p, id);
}

static uint32_t data(packer *p, const char *part, uint32_t dtype, pare_blob *blob) {
    int64_t len = (int64_t)(blob->len / (pare_dtype_bits(dtype) / 8));
    return value_of(p, pare_tensor_add_blob(p->m, PARE_MAIN_GRAPH, fresh(p, part), dtype, 1, &len, blob));
}

/* ---- nodes ---- */

/* One of our nodes; its output is W's value where `to` isn't 0. Returns the output. Nodes get no names of their own:
 * that would cost 150 bytes a tensor. */
static uint32_t node(packer *p, const char *op, const char *part, uint32_t to, size_t n_in, const uint32_t *in,
                     uint32_t *id) {
    const char *name = to ? "" : fresh(p, part);
    *id = pare_node_add(p->m, PARE_MAIN_GRAPH, p->before, op, "", "", in, n_in, &name, to ? 0 : 1);
    if (to) pare_node_output_set(p->m, *id, 0, to);
    return pare_model_node(p->m, *id)->out[0];
}

static uint32_t node2(packer *p, const char *op, const char *part, uint32_t a, uint32_t b) {
    uint32_t id, in[2] = {a, b};
    return node(p, op, part, 0, 2, in, &id);
}

static uint32_t cast(packer *p, const char *part, uint32_t a, uint32_t dtype, uint32_t to) {
    uint32_t id, out = node(p, "Cast", part, to, 1, &a, &id);
    pare_attr_set_int(p->m, id, "to", dtype);
    return out;
}

static uint32_t along_axis0(packer *p, const char *op, const char *part, size_t n_in, const uint32_t *in) {
    uint32_t id, out = node(p, op, part, 0, n_in, in, &id);
    pare_attr_set_int(p->m, id, "axis", 0);
    return out;
}

/* ConstantOfShape of a bit pattern. */
static uint32_t filled(packer *p, const char *part, uint32_t shape, uint32_t dtype, uint64_t pattern, uint32_t to) {
    bool by_cast = dtype == PARE_BFLOAT16 && p->opset < 20;
    int64_t one = 1;
    uint32_t id, out = node(p, "ConstantOfShape", by_cast ? "zeros" : part, by_cast ? 0 : to, 1, &shape, &id);
    uint32_t value = pare_attr_set_tensor(p->m, id, "value", by_cast ? PARE_FLOAT : dtype, 1, &one);
    pare_tensor *t = must(pare_model_tensor(p->m, value));
    pack_decode_fill(pattern, (uint32_t)t->blob->len, t->blob->data, 1);
    return by_cast ? cast(p, part, out, dtype, to) : out;
}

static uint32_t sums(packer *p, uint32_t x) { return node2(p, "CumSum", "sum", x, axis(p)); }

static uint32_t table(packer *p, uint32_t dtype) {
    if (!p->table) {
        unsigned char bits[PACK_TABLE_BYTES];
        const int64_t dims[2] = {256, 8};
        pack_table(bits);
        p->table = value_of(p, constant(p, "table", PARE_UINT8, 2, dims, bits));
    }
    uint32_t *cached = dtype == PARE_FLOAT ? &p->table_f32 : &p->table_i32;
    if (!*cached) *cached = cast(p, "table", p->table, dtype, 0);
    return *cached;
}

/* Sharing saves time and memory at load: networks repeat their layers. */
static uint32_t base_of(packer *p, uint64_t count, uint32_t dtype, uint64_t fill) {
    for (size_t i = 0; i < p->bases.len; i++) {
        const base *b = &p->bases.data[i];
        if (b->count == count && b->fill == fill && b->dtype == dtype) return b->value;
    }
    int64_t n = (int64_t)count;
    uint32_t value = filled(p, "base", int64_list(p, "n", &n, 1), dtype, fill, 0);
    pare_vec_push(&p->bases, ((base){count, fill, dtype, value}));
    return value;
}

static uint32_t flat_of_gaps(packer *p, const pack_item *t, uint32_t dtype, uint32_t acc) {
    uint32_t wide = t->size == 1 ? PARE_INT32 : dtype;
    uint64_t fill = dtype == PARE_INT8 ? (uint32_t)(int32_t)(int8_t)t->fill : t->fill;
    uint32_t gap = data(p, "gap", PARE_UINT8, t->index), val = data(p, "val", dtype, t->val);
    uint32_t index = sums(p, cast(p, "gaps", gap, acc, 0));
    if (acc != PARE_INT32) index = cast(p, "index", index, PARE_INT32, 0);
    if (wide != dtype) val = cast(p, "vals", val, wide, 0);
    uint32_t in[3] = {base_of(p, t->count, wide, fill), index, val};
    uint32_t flat = along_axis0(p, "ScatterElements", "flat", 3, in);
    return wide != dtype ? cast(p, "narrow", flat, dtype, 0) : flat;
}

static uint32_t flat_of_mask(packer *p, const pack_item *t, uint32_t dtype, uint32_t acc) {
    int64_t n = (int64_t)t->count;
    uint32_t mask = data(p, "mask", PARE_UINT8, t->index), val = data(p, "val", dtype, t->val);
    uint32_t rows[2] = {table(p, acc), cast(p, "bytes", mask, PARE_INT32, 0)};
    uint32_t bits = along_axis0(p, "Gather", "rows", 2, rows);
    bits = node2(p, "Reshape", "bits", bits, int64_1(p, &p->minus1, "flat", -1));
    if (n % 8) {
        uint32_t id, in[3] = {bits, int64_1(p, &p->zero1, "start", 0), int64_list(p, "n", &n, 1)};
        bits = node(p, "Slice", "cut", 0, 3, in, &id);
    }
    uint32_t which = node2(p, "Mul", "which", sums(p, bits), bits);
    if (acc != PARE_INT32) which = cast(p, "index", which, PARE_INT32, 0);
    uint32_t in[2] = {val, which};
    return along_axis0(p, "Gather", "flat", 2, in);
}

/* Replaces one tensor. Nothing here fails. */
static void pack_one(packer *p, wanted w, pack_item *t, json_t *list) {
    pare_tensor *old = pare_model_tensor(p->m, w.tensor);
    uint32_t dtype = old->dtype, acc = t->count <= PACK_F32_EXACT ? PARE_FLOAT : PARE_INT32, id;
    const char *form = t->form == PACK_FILL ? "fill" : t->form == PACK_GAP ? "gap" : "mask";
    json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:s}", "name", old->name, "index", (json_int_t)w.index,
                                          "dtype", (json_int_t)dtype, "form", form));
    const int64_t *dims = old->dims;
    size_t ndim = old->ndim;
    pare_tensor_del(p->m, w.tensor); /* its value stays, it has uses; dims live in the arena */
    uint32_t shape = int64_list(p, "shape", dims, ndim);
    if (t->form == PACK_FILL) {
        filled(p, "whole", shape, dtype, t->fill, w.value);
    } else {
        uint32_t flat = t->form == PACK_GAP ? flat_of_gaps(p, t, dtype, acc) : flat_of_mask(p, t, dtype, acc);
        uint32_t in[2] = {flat, shape};
        node(p, "Reshape", "whole", w.value, 2, in, &id);
    }
    pare_blob_unref(t->index);
    pare_blob_unref(t->val);
    p->number++;
}

/* ---- the whole ---- */

static const char *why_not(const pare_model *m) {
    if (pare_model_is_packed(m)) return "it is packed already";
    if (pare_model_opset(m, "") < 11) return "the packed form needs opset 11 or later";
    if (m->ir_version < 4) return "the packed form needs IR version 4 or later";
    if (m->has_training_info) return "it has training information, which names initializers";
    return NULL;
}

pare_status pare_model_pack(pare_model *m, pare_diags *d, pare_pack_result *out) {
    *out = (pare_pack_result){.why_not = why_not(m)};
    if (out->why_not) return PARE_OK;
    packer p = {.m = m, .opset = pare_model_opset(m, "")};
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    p.before = g->nodes.len ? g->nodes.data[0] : 0;
    plan(&p);
    pare_status st = PARE_OK;
    if (!p.list.len) {
        /* nothing gets smaller */
    } else if (!pack_encode(p.items.data, p.items.len)) {
        st = pare_fail_file(d, PARE_ENOMEM, m->path ? m->path : "model", "memory.pack",
                            "close other programs, or switch packing off", "no memory to pack the model's tensors");
    } else {
        json_t *list = json_array(), *top = json_pack("{s:i, s:o}", "version", 1, "tensors", list);
        for (size_t i = 0; i < p.list.len; i++) {
            out->bytes_before += p.list.data[i].plain;
            out->bytes_after += p.list.data[i].packed;
            pack_one(&p, p.list.data[i], &p.items.data[i], list);
        }
        out->tensors_packed = p.list.len;
        if (p.table) out->bytes_after += COST_TABLE;
        char *text = json_dumps(top, JSON_COMPACT);
        pare_model_meta_set(m, PACK_KEY, text);
        free(text);
        json_decref(top);
    }
    pare_vec_free(&p.list);
    pare_vec_free(&p.items);
    pare_vec_free(&p.shared);
    pare_vec_free(&p.bases);
    return st;
}

bool pare_model_is_packed(const pare_model *m) { return pare_model_meta(m, PACK_KEY) != NULL; }
