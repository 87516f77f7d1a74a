/* model/pickle.h - a restricted unpickler: the state dict of a PyTorch file, as descriptions of tensors.
 *
 * Is: a reader of pickle protocols 2 to 5 that knows dict, OrderedDict, list, tuple, numbers, strings, torch's tensor
 * rebuilds and storages. Everything else that a pickle can name or call is refused by its name. Nothing is ever
 * imported, called or executed. Is not: the zip container and the tensors' bytes (pth.c). Internal to core/model.
 * Source of the opcodes: Python's pickletools. May use: model.h.
 */
#ifndef PARE_MODEL_PICKLE_H
#define PARE_MODEL_PICKLE_H

#include "model/model.h"

/* ---- values ---- */
typedef enum {
    PARE_PK_NONE,
    PARE_PK_BOOL,
    PARE_PK_INT,
    PARE_PK_STR,   /* UTF-8 or not: whoever uses it looks */
    PARE_PK_OTHER, /* a float, bytes, an integer beyond 64 bits: carried, never looked at */
    PARE_PK_TUPLE,
    PARE_PK_LIST, /* sets too */
    PARE_PK_DICT, /* items: key, value, key, value */
    PARE_PK_GLOBAL,
    PARE_PK_STORAGE,
    PARE_PK_TENSOR
} pare_pk_kind;

typedef struct pare_pk_value pare_pk_value;
typedef PARE_VEC(pare_pk_value *) pare_pk_items;

/* What a pickle may name. */
typedef enum {
    PARE_PK_ORDERED_DICT,
    PARE_PK_REBUILD_V2,
    PARE_PK_REBUILD_V3,
    PARE_PK_REBUILD_PARAMETER,
    PARE_PK_STORAGE_TYPE, /* torch.FloatStorage, …: of a dtype */
    PARE_PK_DTYPE         /* torch.float32, … */
} pare_pk_global_kind;

typedef struct pare_pk_global {
    const char *module, *name;
    pare_pk_global_kind kind;
    uint32_t dtype;
} pare_pk_global;

/* Bytes of the file, described, not read. */
typedef struct pare_pk_storage {
    const char *key; /* the zip entry data/KEY */
    uint32_t dtype;
    uint64_t numel; /* elements of dtype */
} pare_pk_storage;

typedef struct pare_pk_tensor {
    const pare_pk_storage *storage;
    uint32_t dtype, ndim;
    uint64_t offset, count;        /* elements; offset into the storage */
    const int64_t *dims, *strides; /* within the storage, checked */
} pare_pk_tensor;

struct pare_pk_value {
    pare_pk_kind kind;
    union {
        int64_t i; /* BOOL, INT */
        struct {
            const char *data;
            size_t len;
        } s;
        pare_pk_items *items;
        const pare_pk_global *global;
        const pare_pk_storage *storage;
        const pare_pk_tensor *tensor;
    } u;
};

/* ---- the result ---- */
typedef struct pare_pk_named {
    const char *name; /* UTF-8, unique */
    const pare_pk_tensor *tensor;
} pare_pk_named;

typedef struct pare_pickle {
    PARE_VEC(pare_pk_named) tensors; /* in the dict's order */
    size_t skipped;                  /* entries of the state dict that are no tensors */
    pare_arena arena;
    PARE_VEC(pare_pk_items *) lists; /* every list, tuple and dict, for freeing */
} pare_pickle;

/* Reads the state dict in `data` (or the one under "state_dict", "model_state_dict" or "model"). Strings are copied.
 * On failure: PARE_EINVAL or PARE_EUNSUPPORTED, reported with `path`; *out is empty. */
pare_status pare_pickle_read(const unsigned char *data, size_t len, const char *path, pare_diags *d, pare_pickle *out);
void pare_pickle_free(pare_pickle *p);

/* ---- between pickle.c (the machine) and pickle_torch.c (what torch's names mean) ---- */
typedef struct pare_pk_vm {
    const unsigned char *data;
    size_t len, at;
    const char *path;
    pare_diags *d;
    pare_status st; /* the first failure, already reported */
    pare_pickle *out;
    pare_pk_items stack, memo;
    PARE_VEC(size_t) marks; /* heights of the stack */
    size_t objects;
} pare_pk_vm;

/* Reports a malformed pickle once and sets vm->st; returns NULL. */
pare_pk_value *pare_pk_bad(pare_pk_vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
pare_pk_value *pare_pk_new(pare_pk_vm *vm, pare_pk_kind kind); /* lists get empty items; NULL: too many */
/* Each returns NULL after reporting. */
pare_pk_value *pare_pk_global_find(pare_pk_vm *vm, const char *module, size_t n_module, const char *name,
                                   size_t n_name);
pare_pk_value *pare_pk_call(pare_pk_vm *vm, const pare_pk_value *fn, const pare_pk_value *args);
pare_pk_value *pare_pk_persistent(pare_pk_vm *vm, const pare_pk_value *id);
pare_pk_value *pare_pk_refuse(pare_pk_vm *vm, const char *what, size_t n, const char *name, size_t n_name);
/* Fills out->tensors from the root value. */
pare_status pare_pk_state_dict(pare_pk_vm *vm, const pare_pk_value *root);

#endif
