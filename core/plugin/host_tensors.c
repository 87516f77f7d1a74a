/* plugin/host_tensors.c - the interface pare.tensors/1 over the model: see sdk/pare/tensors.h.
 * Every argument comes from a plugin and is checked. May use: host_impl.h, model. */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/edit.h"

#include <string.h>

enum { MAX_DIMS = 64 };

/* ---- helpers ---- */

static pare_borrow *borrow_of(pare_host_impl *s, uint32_t tensor) {
    for (size_t i = 0; i < s->borrows.len; i++)
        if (s->borrows.data[i].tensor == tensor) return &s->borrows.data[i];
    return NULL;
}

bool pare_host_borrowed(const pare_host_impl *s, uint32_t tensor) {
    for (size_t i = 0; i < s->borrows.len; i++)
        if (s->borrows.data[i].tensor == tensor) return true;
    return false;
}

bool pare_host_borrowed_inside(const pare_host_impl *s, uint32_t node) {
    for (size_t i = 0; i < s->borrows.len; i++) {
        const pare_tensor *t = pare_model_tensor(s->model, s->borrows.data[i].tensor);
        if (!t) continue;
        if (t->owner == PARE_OWNER_ATTRIBUTE && t->node == node) return true;
        for (const pare_graph *g = pare_model_graph(s->model, t->graph); g;) {
            if (g->parent_node && g->parent_node == node) return true;
            const pare_node *n = pare_model_node(s->model, g->parent_node);
            g = n ? pare_model_graph(s->model, n->graph) : NULL;
        }
    }
    return false;
}

/* IR versions as ONNX's version history lists them beside the dtypes. */
void pare_host_ir_for_dtype(pare_model *m, uint32_t dtype) {
    int64_t need = dtype >= PARE_FLOAT6E2M3     ? 14
                   : dtype >= PARE_UINT2        ? 13
                   : dtype == PARE_FLOAT8E8M0   ? 12
                   : dtype == PARE_FLOAT4E2M1   ? 11
                   : dtype >= PARE_UINT4        ? 10
                   : dtype >= PARE_FLOAT8E4M3FN ? 9
                                                : 4; /* before 4 an initializer has to be a graph input as well */
    if (m->ir_version < need) m->ir_version = need;
}

static const char *shown(const pare_tensor *t) { return t->name[0] ? t->name : "(a constant)"; }

/* dtype and dims that a tensor can have: false with misuse or a refusal; *st says which. */
static pare_status shape_ok(const pare_host *h, const char *fn, uint32_t dtype, uint32_t ndim, const int64_t *dims) {
    uint64_t count, bytes;
    if (dtype == PARE_STRING) return pare_host_misuse(h, fn, "string tensors can't be made here");
    if (!pare_dtype_bits(dtype)) return pare_host_misuse(h, fn, "there is no dtype %u", dtype);
    if (ndim > MAX_DIMS) return pare_host_misuse(h, fn, "%u dimensions; at most %d", ndim, MAX_DIMS);
    if (ndim && !dims) return pare_host_misuse(h, fn, "dims is NULL");
    for (uint32_t i = 0; i < ndim; i++)
        if (dims[i] < 0) return pare_host_misuse(h, fn, "dims[%u] is %lld", i, (long long)dims[i]);
    if (!pare_dims_count(dims, ndim, &count) || !pare_dtype_nbytes(dtype, count, &bytes))
        return pare_host_refuse_text(h, PARE_ENOMEM, "memory.tensor",
                                     "a tensor of these dims is larger than any memory");
    return PARE_OK;
}

/* ---- looking ---- */

static uint32_t tensors_next(const pare_host *h, const pare_model *m, uint32_t prev) {
    static const char fn[] = "pare.tensors/1 next";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return 0;
    if (!prev) {
        const pare_graph *g = pare_model_graph(s->model, PARE_MAIN_GRAPH);
        while (s->next_tensor.len <= s->model->tensors.len) pare_vec_push(&s->next_tensor, 0);
        for (size_t i = 0; i < g->initializers.len; i++) {
            s->next_tensor.data[prev] = g->initializers.data[i];
            prev = g->initializers.data[i];
        }
        s->next_tensor.data[prev] = 0;
        prev = 0;
    } else if (prev >= s->next_tensor.len) {
        pare_host_misuse(h, fn, "tensor %u is not what next returned before", prev);
        return 0;
    }
    do prev = s->next_tensor.data[prev];
    while (prev && !pare_model_tensor(s->model, prev)); /* deleted on the way */
    return prev;
}

static uint32_t tensors_find(const pare_host *h, const pare_model *m, const char *name) {
    static const char fn[] = "pare.tensors/1 find";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return 0;
    if (!name) {
        pare_host_misuse(h, fn, "name is NULL");
        return 0;
    }
    const pare_value *v = pare_model_value(s->model, pare_graph_find(s->model, PARE_MAIN_GRAPH, name));
    return v ? v->tensor : 0;
}

static pare_status tensors_info(const pare_host *h, const pare_model *m, uint32_t tensor, pare_tensor_info *out) {
    static const char fn[] = "pare.tensors/1 info";
    pare_host_impl *s = pare_host_look(h, m, fn);
    const pare_tensor *t = s ? pare_host_tensor(h, fn, tensor) : NULL;
    if (!t) return PARE_EINVAL;
    const pare_value *v = pare_tensor_value(s->model, t);
    uint64_t bytes = 0;
    if (t->dtype != PARE_STRING) pare_dtype_nbytes(t->dtype, t->count, &bytes);
    pare_tensor_info info = {
        .dtype = t->dtype,
        .name = t->name,
        .dims = t->dims,
        .count = t->count,
        .nbytes = bytes,
        .ndim = t->ndim,
        .masked = pare_tensor_masked(s->model, t),
        .value = v ? v->id : 0,
        .n_uses = v ? (uint32_t)v->uses.len : 0,
    };
    return PARE_GIVE(h, fn, out, info, PARE_LEAST_TENSOR_INFO) ? PARE_OK : PARE_EINVAL;
}

/* ---- borrowing ---- */

static pare_status tensors_borrow(const pare_host *h, pare_model *m, uint32_t tensor, uint32_t mode, pare_view *view) {
    static const char fn[] = "pare.tensors/1 borrow";
    static _Alignas(64) unsigned char nothing[64]; /* where a view of no elements points */
    bool write = mode == PARE_WRITE || mode == PARE_OVERWRITE;
    pare_host_impl *s = write ? pare_host_edit(h, m, fn) : pare_host_look(h, m, fn);
    pare_tensor *t = s ? pare_host_tensor(h, fn, tensor) : NULL;
    if (!t) return PARE_EINVAL;
    if (mode != PARE_READ && !write) return pare_host_misuse(h, fn, "there is no mode %u", mode);
    if (!pare_host_room(h, fn, "view", view, PARE_LEAST_VIEW)) return PARE_EINVAL;
    if (t->dtype == PARE_STRING)
        return pare_host_refuse_text(h, PARE_EUNSUPPORTED, "tensor.string",
                                     "tensor %s holds strings, which have no view", shown(t));
    pare_borrow *b = borrow_of(s, tensor);
    if (b && (write || !b->readers))
        return pare_host_misuse(h, fn, "tensor %u (%s) is already borrowed for %s", tensor, shown(t),
                                b->readers ? "reading" : "writing");
    void *data = NULL;
    const void *bytes = NULL;
    pare_status st = mode == PARE_READ    ? pare_tensor_read(t, s->held, &bytes)
                     : mode == PARE_WRITE ? pare_tensor_write(t, s->held, &data)
                                          : pare_tensor_overwrite(t, s->held, &data);
    if (st) return st;
    if (!write) memcpy(&data, &bytes, sizeof data);
    if (b)
        b->readers++;
    else
        pare_vec_push(&s->borrows, ((pare_borrow){tensor, !write}));

    int64_t *strides = pare_arena_alloc(&s->call, (t->ndim + 1) * sizeof *strides);
    int64_t step = 1;
    for (uint32_t i = t->ndim; i-- > 0;) {
        strides[i] = step;
        step *= t->count ? t->dims[i] : 1;
    }
    pare_view full = {
        .dtype = t->dtype,
        .device_type = PARE_DEVICE_CPU,
        .data = data ? data : nothing,
        .dims = t->dims ? t->dims : strides,
        .strides = strides,
        .count = t->count,
        .nbytes = t->blob ? t->blob->len : 0,
        .ndim = t->ndim,
        .writable = write,
    };
    return PARE_GIVE(h, fn, view, full, PARE_LEAST_VIEW) ? PARE_OK : PARE_EINVAL;
}

static void tensors_release(const pare_host *h, pare_model *m, uint32_t tensor) {
    static const char fn[] = "pare.tensors/1 release";
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (!s) return;
    pare_borrow *b = borrow_of(s, tensor);
    if (!b) {
        pare_host_misuse(h, fn, "tensor %u is not borrowed", tensor);
        return;
    }
    if (b->readers > 1)
        b->readers--;
    else
        *b = s->borrows.data[--s->borrows.len];
}

/* ---- changing ---- */

static pare_status tensors_add(const pare_host *h, pare_model *m, const char *name, uint32_t dtype, uint32_t ndim,
                               const int64_t *dims, uint32_t *tensor) {
    static const char fn[] = "pare.tensors/1 add";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    if (!tensor) return pare_host_misuse(h, fn, "tensor is NULL");
    pare_status st = shape_ok(h, fn, dtype, ndim, dims);
    if (st) return st;
    if (!pare_name_is_free(s->model, PARE_MAIN_GRAPH, name)) {
        pare_diag_item it = {.code = "graph.name-taken",
                             .message = "the name of a new tensor is taken",
                             .tensor = name,
                             .hint = "ask for a free one with name_fresh"};
        return pare_host_refuse(h, PARE_EINVAL, &it);
    }
    uint32_t id = pare_tensor_add(s->model, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    if (!id) {
        pare_diag_item it = {.code = "memory.tensor", .message = "no memory for a new tensor", .tensor = name};
        return pare_host_refuse(h, PARE_ENOMEM, &it);
    }
    pare_host_ir_for_dtype(s->model, dtype);
    *tensor = id;
    return PARE_OK;
}

static pare_status tensors_retype(const pare_host *h, pare_model *m, uint32_t tensor, uint32_t dtype, uint32_t ndim,
                                  const int64_t *dims) {
    static const char fn[] = "pare.tensors/1 retype";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_tensor *t = s ? pare_host_tensor(h, fn, tensor) : NULL;
    if (!t) return PARE_EINVAL;
    if (pare_host_borrowed(s, tensor)) return pare_host_misuse(h, fn, "tensor %u (%s) is borrowed", tensor, shown(t));
    pare_status st = shape_ok(h, fn, dtype, ndim, dims);
    if (st) return st;
    if (!pare_tensor_retype(s->model, tensor, dtype, ndim, dims)) {
        pare_diag_item it = {
            .code = "memory.tensor", .message = "no memory for a tensor's new bytes", .tensor = t->name};
        return pare_host_refuse(h, PARE_ENOMEM, &it);
    }
    if (dtype > PARE_BFLOAT16) pare_host_ir_for_dtype(s->model, dtype);
    return PARE_OK;
}

static pare_status tensors_del(const pare_host *h, pare_model *m, uint32_t tensor) {
    static const char fn[] = "pare.tensors/1 del";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_tensor *t = s ? pare_host_tensor(h, fn, tensor) : NULL;
    if (!t) return PARE_EINVAL;
    if (pare_host_borrowed(s, tensor)) return pare_host_misuse(h, fn, "tensor %u (%s) is borrowed", tensor, shown(t));
    if (t->owner != PARE_OWNER_INITIALIZER)
        return pare_host_misuse(h, fn, "tensor %u is held by a node: delete the node", tensor);
    const pare_value *v = pare_tensor_value(s->model, t);
    const char *why = !v                                         ? NULL
                      : v->uses.len                              ? "nodes use it"
                      : v->is_output                             ? "it is a graph output"
                      : v->is_input && s->model->ir_version >= 4 ? "it is the default of a graph input"
                      : s->model->has_training_info              ? "the model's training info may name it"
                                                                 : NULL;
    if (why) {
        pare_sb b = {0};
        pare_sb_printf(&b, "a tensor can't be deleted: %s", why);
        pare_diag_item it = {.code = "graph.in-use", .message = pare_sb_str(&b), .tensor = t->name};
        pare_host_refuse(h, PARE_EINVAL, &it);
        pare_sb_free(&b);
        return PARE_EINVAL;
    }
    uint32_t value = v && v->is_input ? v->id : 0; /* IR 3: initializers stand among the inputs for form's sake */
    if (value && pare_tensor_masked(s->model, t)) pare_tensor_masked_set(s->model, t, false);
    pare_tensor_del(s->model, tensor);
    if (value) pare_value_del(s->model, value);
    return PARE_OK;
}

static pare_status tensors_masked_set(const pare_host *h, pare_model *m, uint32_t tensor, uint32_t masked) {
    static const char fn[] = "pare.tensors/1 masked_set";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_tensor *t = s ? pare_host_tensor(h, fn, tensor) : NULL;
    if (!t) return PARE_EINVAL;
    const pare_value *v = pare_tensor_value(s->model, t);
    if (!v) return pare_host_misuse(h, fn, "tensor %u defines no value, so it has no name to be masked under", tensor);
    if (pare_tensor_masked_set(s->model, t, masked != 0)) return PARE_OK;
    pare_diag_item it = {.code = "tensor.masked-metadata",
                         .message = "the model's metadata entry ai.pare.masked is no list of names, so it isn't pare's",
                         .tensor = v->name,
                         .hint = "rename or remove the entry, or ask for no masks to be kept"};
    return pare_host_refuse(h, PARE_EINVAL, &it);
}

const pare_tensors_api pare_host_tensors_v1 = {
    .size = sizeof(pare_tensors_api),
    .next = tensors_next,
    .find = tensors_find,
    .info = tensors_info,
    .borrow = tensors_borrow,
    .release = tensors_release,
    .add = tensors_add,
    .retype = tensors_retype,
    .del = tensors_del,
    .masked_set = tensors_masked_set,
};
