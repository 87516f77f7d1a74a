/* model/pickle_torch.c - see pickle.h: the names a PyTorch file may use, and the state dict they build.
 *
 * Source of the calls' arguments: torch/_utils.py and torch/serialization.py (persistent_id). May use: pickle.h.
 */
#include "model/pickle.h"

#include <inttypes.h>
#include <string.h>

enum { RANK_MAX = 64 };

static const pare_pk_global GLOBALS[] = {
    {"collections", "OrderedDict", PARE_PK_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", PARE_PK_REBUILD_V2, 0},
    {"torch._utils", "_rebuild_tensor_v3", PARE_PK_REBUILD_V3, 0},
    {"torch._utils", "_rebuild_parameter", PARE_PK_REBUILD_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", PARE_PK_REBUILD_PARAMETER, 0},
    {"torch", "FloatStorage", PARE_PK_STORAGE_TYPE, PARE_FLOAT},
    {"torch", "HalfStorage", PARE_PK_STORAGE_TYPE, PARE_FLOAT16},
    {"torch", "BFloat16Storage", PARE_PK_STORAGE_TYPE, PARE_BFLOAT16},
    {"torch", "DoubleStorage", PARE_PK_STORAGE_TYPE, PARE_DOUBLE},
    {"torch", "LongStorage", PARE_PK_STORAGE_TYPE, PARE_INT64},
    {"torch", "IntStorage", PARE_PK_STORAGE_TYPE, PARE_INT32},
    {"torch", "ShortStorage", PARE_PK_STORAGE_TYPE, PARE_INT16},
    {"torch", "CharStorage", PARE_PK_STORAGE_TYPE, PARE_INT8},
    {"torch", "ByteStorage", PARE_PK_STORAGE_TYPE, PARE_UINT8},
    {"torch", "BoolStorage", PARE_PK_STORAGE_TYPE, PARE_BOOL},
    {"torch", "ComplexFloatStorage", PARE_PK_STORAGE_TYPE, PARE_COMPLEX64},
    {"torch", "ComplexDoubleStorage", PARE_PK_STORAGE_TYPE, PARE_COMPLEX128},
    {"torch.storage", "UntypedStorage", PARE_PK_STORAGE_TYPE, PARE_UINT8},
    {"torch", "UntypedStorage", PARE_PK_STORAGE_TYPE, PARE_UINT8},
    {"torch", "float32", PARE_PK_DTYPE, PARE_FLOAT},
    {"torch", "float16", PARE_PK_DTYPE, PARE_FLOAT16},
    {"torch", "bfloat16", PARE_PK_DTYPE, PARE_BFLOAT16},
    {"torch", "float64", PARE_PK_DTYPE, PARE_DOUBLE},
    {"torch", "int64", PARE_PK_DTYPE, PARE_INT64},
    {"torch", "int32", PARE_PK_DTYPE, PARE_INT32},
    {"torch", "int16", PARE_PK_DTYPE, PARE_INT16},
    {"torch", "int8", PARE_PK_DTYPE, PARE_INT8},
    {"torch", "uint8", PARE_PK_DTYPE, PARE_UINT8},
    {"torch", "uint16", PARE_PK_DTYPE, PARE_UINT16},
    {"torch", "uint32", PARE_PK_DTYPE, PARE_UINT32},
    {"torch", "uint64", PARE_PK_DTYPE, PARE_UINT64},
    {"torch", "bool", PARE_PK_DTYPE, PARE_BOOL},
    {"torch", "float8_e4m3fn", PARE_PK_DTYPE, PARE_FLOAT8E4M3FN},
    {"torch", "float8_e4m3fnuz", PARE_PK_DTYPE, PARE_FLOAT8E4M3FNUZ},
    {"torch", "float8_e5m2", PARE_PK_DTYPE, PARE_FLOAT8E5M2},
    {"torch", "float8_e5m2fnuz", PARE_PK_DTYPE, PARE_FLOAT8E5M2FNUZ},
};

static bool is_text(const char *s, size_t n, const char *word) { return strlen(word) == n && !memcmp(s, word, n); }

pare_pk_value *pare_pk_refuse(pare_pk_vm *vm, const char *module, size_t nm, const char *name, size_t nn) {
    if (vm->st) return NULL;
    pare_sb b = {0};
    pare_sb_addn(&b, module, nm < 200 ? nm : 200);
    pare_sb_addc(&b, '.');
    pare_sb_addn(&b, name, nn < 200 ? nn : 200);
    vm->st = pare_fail_file(vm->d, PARE_EUNSUPPORTED, vm->path, "weights.pickle-global",
                            "save the tensors alone: torch.save(model.state_dict(), FILE)",
                            "the file asks for '%s', which is not a tensor, a storage or a dict; nothing was executed",
                            pare_sb_str(&b));
    pare_sb_free(&b);
    return NULL;
}

pare_pk_value *pare_pk_global_find(pare_pk_vm *vm, const char *module, size_t nm, const char *name, size_t nn) {
    for (size_t i = 0; i < sizeof GLOBALS / sizeof GLOBALS[0]; i++) {
        if (!is_text(module, nm, GLOBALS[i].module) || !is_text(name, nn, GLOBALS[i].name)) continue;
        pare_pk_value *v = pare_pk_new(vm, PARE_PK_GLOBAL);
        if (v) v->u.global = &GLOBALS[i];
        return v;
    }
    return pare_pk_refuse(vm, module, nm, name, nn);
}

/* A copy as a name; NULL unless it is UTF-8 without control zeros. */
static const char *text_of(pare_pk_vm *vm, const pare_pk_value *v) {
    if (v->kind != PARE_PK_STR || memchr(v->u.s.data, 0, v->u.s.len) || !pare_utf8_ok(v->u.s.data, v->u.s.len))
        return NULL;
    return pare_arena_strndup(&vm->out->arena, v->u.s.data, v->u.s.len);
}

/* ('storage', torch.FloatStorage, key, location, numel) */
pare_pk_value *pare_pk_persistent(pare_pk_vm *vm, const pare_pk_value *id) {
    const pare_pk_items *t = id->kind == PARE_PK_TUPLE ? id->u.items : NULL;
    if (!t || t->len != 5 || t->data[0]->kind != PARE_PK_STR ||
        !is_text(t->data[0]->u.s.data, t->data[0]->u.s.len, "storage") || t->data[1]->kind != PARE_PK_GLOBAL ||
        t->data[1]->u.global->kind != PARE_PK_STORAGE_TYPE || t->data[4]->kind != PARE_PK_INT || t->data[4]->u.i < 0)
        return pare_pk_bad(vm, "a storage is not ('storage', type, key, location, count)");
    const char *key = text_of(vm, t->data[2]);
    if (!key || !*key || strlen(key) > 200) return pare_pk_bad(vm, "a storage has a strange key");
    pare_pk_value *v = pare_pk_new(vm, PARE_PK_STORAGE);
    if (!v) return NULL;
    pare_pk_storage s = {key, t->data[1]->u.global->dtype, (uint64_t)t->data[4]->u.i};
    v->u.storage = pare_arena_memdup(&vm->out->arena, &s, sizeof s);
    return v;
}

static bool ints_of(const pare_pk_value *v, int64_t *out, size_t *n) {
    if (v->kind != PARE_PK_TUPLE && v->kind != PARE_PK_LIST) return false;
    if (v->u.items->len > RANK_MAX) return false;
    *n = v->u.items->len;
    for (size_t i = 0; i < *n; i++) {
        const pare_pk_value *e = v->u.items->data[i];
        if (e->kind != PARE_PK_INT || e->u.i < 0) return false;
        out[i] = e->u.i;
    }
    return true;
}

/* Does the furthest element lie in the storage? */
static bool fits(const pare_pk_tensor *t, uint64_t storage_elements) {
    if (!t->count) return t->offset <= storage_elements;
    uint64_t last = t->offset;
    for (uint32_t i = 0; i < t->ndim; i++) {
        uint64_t far;
        if (!pare_mul_ok((uint64_t)t->dims[i] - 1, (uint64_t)t->strides[i], &far) || !pare_add_ok(last, far, &last))
            return false;
    }
    return last < storage_elements;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]) and for v3 (…, hooks, dtype[, metadata]) */
static pare_pk_value *rebuild_tensor(pare_pk_vm *vm, const pare_pk_items *a, bool v3) {
    size_t nd, ns, least = v3 ? 7 : 6;
    int64_t dims[RANK_MAX], strides[RANK_MAX];
    if (a->len < least || a->len > least + 1 || a->data[0]->kind != PARE_PK_STORAGE ||
        a->data[1]->kind != PARE_PK_INT || a->data[1]->u.i < 0 || !ints_of(a->data[2], dims, &nd) ||
        !ints_of(a->data[3], strides, &ns) || nd != ns)
        return pare_pk_bad(vm, "a tensor is not (storage, offset >= 0, size, stride, …) of at most %d dimensions",
                           RANK_MAX);
    pare_pk_tensor t = {.storage = a->data[0]->u.storage, .ndim = (uint32_t)nd, .offset = (uint64_t)a->data[1]->u.i};
    t.dtype = t.storage->dtype;
    uint64_t elements = t.storage->numel;
    if (v3) {
        const pare_pk_value *dt = a->data[6];
        if (dt->kind != PARE_PK_GLOBAL || dt->u.global->kind != PARE_PK_DTYPE)
            return pare_pk_bad(vm, "a tensor has a strange dtype");
        t.dtype = dt->u.global->dtype;
        uint64_t bytes;
        if (!pare_dtype_nbytes(t.storage->dtype, elements, &bytes)) return pare_pk_bad(vm, "a storage is too large");
        elements = bytes / (pare_dtype_bits(t.dtype) / 8);
    }
    t.dims = dims;
    t.strides = strides;
    if (!pare_dims_count(dims, nd, &t.count)) return pare_pk_bad(vm, "a tensor's size overflows");
    if (!fits(&t, elements))
        return pare_pk_bad(vm, "a tensor reaches past the end of its storage '%s' of %" PRIu64 " elements",
                           t.storage->key, elements);
    t.dims = pare_arena_memdup(&vm->out->arena, dims, nd * sizeof *dims);
    t.strides = pare_arena_memdup(&vm->out->arena, strides, nd * sizeof *strides);
    pare_pk_value *v = pare_pk_new(vm, PARE_PK_TENSOR);
    if (v) v->u.tensor = pare_arena_memdup(&vm->out->arena, &t, sizeof t);
    return v;
}

/* OrderedDict() or OrderedDict([(key, value), …]) */
static pare_pk_value *ordered_dict(pare_pk_vm *vm, const pare_pk_items *a) {
    pare_pk_value *v = pare_pk_new(vm, PARE_PK_DICT);
    if (!v || !a->len) return v;
    const pare_pk_value *list = a->data[0];
    if (a->len != 1 || list->kind != PARE_PK_LIST) return pare_pk_bad(vm, "an OrderedDict has strange arguments");
    for (size_t i = 0; i < list->u.items->len; i++) {
        const pare_pk_value *pair = list->u.items->data[i];
        if ((pair->kind != PARE_PK_TUPLE && pair->kind != PARE_PK_LIST) || pair->u.items->len != 2)
            return pare_pk_bad(vm, "an OrderedDict has strange arguments");
        pare_vec_push(v->u.items, pair->u.items->data[0]);
        pare_vec_push(v->u.items, pair->u.items->data[1]);
    }
    return v;
}

pare_pk_value *pare_pk_call(pare_pk_vm *vm, const pare_pk_value *fn, const pare_pk_value *args) {
    const pare_pk_global *g = fn->u.global;
    const pare_pk_items *a = args->u.items;
    switch (g->kind) {
    case PARE_PK_ORDERED_DICT: return ordered_dict(vm, a);
    case PARE_PK_REBUILD_V2: return rebuild_tensor(vm, a, false);
    case PARE_PK_REBUILD_V3: return rebuild_tensor(vm, a, true);
    case PARE_PK_REBUILD_PARAMETER:
        if (!a->len || a->data[0]->kind != PARE_PK_TENSOR) return pare_pk_bad(vm, "a parameter holds no tensor");
        return a->data[0];
    case PARE_PK_STORAGE_TYPE:
    case PARE_PK_DTYPE: break;
    }
    return pare_pk_refuse(vm, g->module, strlen(g->module), g->name, strlen(g->name));
}

/* ---- the state dict ---- */

static const pare_pk_value *dict_under(const pare_pk_value *dict, const char *key) {
    const pare_pk_value *found = NULL;
    for (size_t i = 0; i + 1 < dict->u.items->len; i += 2) {
        const pare_pk_value *k = dict->u.items->data[i], *v = dict->u.items->data[i + 1];
        if (k->kind == PARE_PK_STR && is_text(k->u.s.data, k->u.s.len, key) && v->kind == PARE_PK_DICT) found = v;
    }
    return found;
}

pare_status pare_pk_state_dict(pare_pk_vm *vm, const pare_pk_value *root) {
    static const char *const under[] = {"state_dict", "model_state_dict", "model"};
    const char *hint = "save the tensors alone: torch.save(model.state_dict(), FILE)";
    if (root->kind != PARE_PK_DICT)
        return pare_fail_file(vm->d, PARE_EINVAL, vm->path, "weights.no-state-dict", hint,
                              "the file holds %s, not a dict of tensors",
                              root->kind == PARE_PK_TENSOR ? "a single tensor" : "something else");
    for (size_t i = 0; i < sizeof under / sizeof under[0]; i++) {
        const pare_pk_value *inner = dict_under(root, under[i]);
        if (!inner) continue;
        root = inner;
        break;
    }
    pare_map seen = {0};
    for (size_t i = 0; !vm->st && i + 1 < root->u.items->len; i += 2) {
        const pare_pk_value *k = root->u.items->data[i], *v = root->u.items->data[i + 1];
        uint32_t dup;
        if (v->kind != PARE_PK_TENSOR) {
            vm->out->skipped++;
            continue;
        }
        pare_pk_named t = {text_of(vm, k), v->u.tensor};
        if (!t.name || !*t.name) {
            pare_pk_bad(vm, "a tensor's key is not a name (UTF-8 text)");
        } else if (pare_map_get(&seen, t.name, &dup)) {
            pare_pk_bad(vm, "the name '%s' stands in it twice", t.name);
        } else {
            pare_map_set(&seen, t.name, 1);
            pare_vec_push(&vm->out->tensors, t);
        }
    }
    pare_map_free(&seen);
    if (!vm->st && !vm->out->tensors.len)
        vm->st = pare_fail_file(vm->d, PARE_EINVAL, vm->path, "weights.no-tensors", hint,
                                "the state dict holds no tensors (%zu other entries)", vm->out->skipped);
    return vm->st;
}
