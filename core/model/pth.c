/* model/pth.c - PyTorch's zip files (.pth, .pt): the container and the tensors' bytes.
 *
 * Is: NAME/data.pkl (read by pickle.h), NAME/data/KEY (the storages), NAME/byteorder. Stored and deflated entries are
 * read. Is not: a reader of whole pickled models, of TorchScript, or of the format from before PyTorch 1.6.
 * Every size is compared with what the tensors need, and with a limit, before anything is inflated.
 * Source: caffe2/serialize/inline_container.h. May use: weights_read.h, pickle.h, libzip.
 */
#include "model/pickle.h"
#include "model/weights_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { PICKLE_MAX = 64 * 1024 * 1024 };
/* What a file may inflate to, and what views of shared storages may be spread to: weights deflate to a half, a third
 * or, pruned, to an eighth. */
enum { INFLATE_FREE = 64 * 1024 * 1024, INFLATE_RATIO = 32 };

typedef struct storage { /* one data/KEY, read when a tensor needs it */
    const char *key;
    pare_blob *blob;
} storage;

typedef struct pth {
    pare_map_file *file;
    pare_diags *d;
    pare_weights *w;
    zip_t *zip;
    pare_arena arena;
    const char *prefix;    /* "archive/" */
    uint64_t budget, used; /* bytes that tensors and storages may take, and take */
    PARE_VEC(storage) storages;
    pare_map keys; /* key -> index */
} pth;

static pare_status fail(pth *p, pare_status st, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static pare_status fail(pth *p, pare_status st, const char *code, const char *hint, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_fail_file(p->d, st, p->file->path, code, hint, "%s", pare_sb_str(&b));
    pare_sb_free(&b);
    return st;
}

static pare_status no_memory(pth *p, uint64_t n) {
    return fail(p, PARE_ENOMEM, "memory", NULL, "%" PRIu64 " bytes of memory could not be had", n);
}

/* Counts bytes about to be taken; a file may not grow without end. */
static pare_status spend(pth *p, uint64_t n, const char *what) {
    if (!pare_add_ok(p->used, n, &p->used) || p->used > p->budget)
        return fail(p, PARE_EINVAL, "weights.bomb", NULL,
                    "'%s' of %" PRIu64 " bytes makes more than %" PRIu64 " bytes come out of a file of %" PRIu64
                    ", %d times its size: refused as a zip bomb",
                    what, n, p->budget, p->file->len, INFLATE_RATIO);
    return PARE_OK;
}

/* ---- entries ---- */

/* Finds an entry that can be read and the size it declares. *index -1 and PARE_OK: there is none. */
static pare_status entry_find(pth *p, const char *name, zip_int64_t *index, uint64_t *size) {
    zip_stat_t s;
    *index = zip_name_locate(p->zip, name, 0);
    if (*index < 0) return PARE_OK;
    if (zip_stat_index(p->zip, (zip_uint64_t)*index, 0, &s) ||
        (s.valid & (ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD)) != (ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD))
        return fail(p, PARE_EINVAL, "weights.zip", NULL, "the entry '%s' says neither size nor kind", name);
    if (s.comp_method != ZIP_CM_STORE && s.comp_method != ZIP_CM_DEFLATE)
        return fail(p, PARE_EUNSUPPORTED, "weights.zip", "save it again with torch.save",
                    "the entry '%s' is packed by method %u; stored (0) and deflated (8) ones are read", name,
                    s.comp_method);
    if ((s.valid & ZIP_STAT_ENCRYPTION_METHOD) && s.encryption_method != ZIP_EM_NONE)
        return fail(p, PARE_EUNSUPPORTED, "weights.zip", NULL, "the entry '%s' is encrypted", name);
    *size = s.size;
    return PARE_OK;
}

/* Reads an entry of exactly `size` bytes; its CRC is checked at the end. */
static pare_status entry_read(pth *p, const char *name, zip_int64_t index, unsigned char *to, uint64_t size) {
    zip_file_t *f = zip_fopen_index(p->zip, (zip_uint64_t)index, 0);
    if (!f)
        return fail(p, PARE_EINVAL, "weights.zip", NULL, "the entry '%s' can't be read: %s", name,
                    zip_strerror(p->zip));
    uint64_t got = 0;
    zip_int64_t n = 1;
    while (got < size && n > 0) {
        uint64_t want = size - got < (16u << 20) ? size - got : 16u << 20;
        n = zip_fread(f, to + got, want);
        if (n > 0) got += (uint64_t)n;
    }
    char more;
    if (n >= 0 && got == size) n = zip_fread(f, &more, 1);
    pare_status st = PARE_OK;
    if (n < 0)
        st = fail(p, PARE_EINVAL, "weights.zip", "the file is damaged: fetch it again",
                  "the entry '%s' can't be read: %s", name, zip_file_strerror(f));
    else if (got != size || n > 0)
        st = fail(p, PARE_EINVAL, "weights.zip", "the file is damaged: fetch it again",
                  "the entry '%s' has not the %" PRIu64 " bytes that it declares", name, size);
    zip_fclose(f);
    return st;
}

/* Finds "NAME/data.pkl", which gives the prefix of all entries. */
static pare_status find_prefix(pth *p) {
    zip_int64_t n = zip_get_num_entries(p->zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(p->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!name || strcmp(slash ? slash + 1 : name, "data.pkl") != 0) continue;
        if (p->prefix)
            return fail(p, PARE_EINVAL, "weights.zip", NULL, "it holds more than one data.pkl: '%sdata.pkl' and '%s'",
                        p->prefix, name);
        p->prefix = pare_arena_strndup(&p->arena, name, slash ? (size_t)(slash + 1 - name) : 0);
    }
    if (p->prefix) return PARE_OK;
    return fail(p, PARE_EINVAL, "weights.zip", "safetensors and PyTorch's zip files (.pth, .pt) are read",
                "a zip file of %lld entries without data.pkl: not made by torch.save", (long long)n);
}

static pare_status check_byteorder(pth *p) {
    const char *name = pare_arena_printf(&p->arena, "%sbyteorder", p->prefix);
    unsigned char text[16] = {0};
    zip_int64_t at;
    uint64_t size = 0;
    pare_status st = entry_find(p, name, &at, &size);
    if (st || at < 0) return st; /* files from before PyTorch 2.1 have none and are little-endian */
    if (size < sizeof text) st = entry_read(p, name, at, text, size);
    if (st) return st;
    if (size == 6 && !memcmp(text, "little", 6)) return PARE_OK;
    return fail(p, PARE_EUNSUPPORTED, "weights.byteorder", "save it again on a little-endian machine",
                "its byte order is '%.*s'; 'little' is read", (int)(size < 15 ? size : 15), (const char *)text);
}

/* ---- storages and tensors ---- */

static pare_status storage_get(pth *p, const pare_pk_storage *s, pare_blob **out) {
    uint32_t i;
    uint64_t bytes = 0, size = 0;
    zip_int64_t at;
    const char *name = pare_arena_printf(&p->arena, "%sdata/%s", p->prefix, s->key);
    if (!pare_dtype_nbytes(s->dtype, s->numel, &bytes))
        return fail(p, PARE_EINVAL, "weights.size", NULL, "the storage '%s' is too large", name);
    if (pare_map_get(&p->keys, s->key, &i)) {
        *out = p->storages.data[i].blob;
        if ((*out ? (*out)->len : 0) == bytes) return PARE_OK;
        return fail(p, PARE_EINVAL, "weights.size", NULL, "the storage '%s' has two sizes", name);
    }
    pare_status st = entry_find(p, name, &at, &size);
    if (st) return st;
    if (at < 0)
        return fail(p, PARE_EINVAL, "weights.zip", "the file is damaged or cut short: fetch it again",
                    "the entry '%s' is missing", name);
    if (size != bytes)
        return fail(p, PARE_EINVAL, "weights.size", NULL,
                    "the entry '%s' declares %" PRIu64 " bytes, but its tensors need %" PRIu64, name, size, bytes);
    storage e = {.key = s->key};
    if ((st = spend(p, bytes, name))) return st;
    if (bytes) {
        e.blob = pare_blob_new(bytes);
        if (!e.blob) return no_memory(p, bytes);
        if ((st = entry_read(p, name, at, e.blob->data, bytes))) {
            pare_blob_unref(e.blob);
            return st;
        }
    }
    pare_map_set(&p->keys, e.key, (uint32_t)p->storages.len);
    pare_vec_push(&p->storages, e);
    *out = e.blob;
    return PARE_OK;
}

/* Row-major without gaps? Dimensions of one element may have any stride. */
static bool is_contiguous(const pare_pk_tensor *t) {
    uint64_t run = 1;
    for (uint32_t i = t->ndim; i-- > 0;) {
        if (t->dims[i] != 1 && (uint64_t)t->strides[i] != run) return false;
        run *= (uint64_t)t->dims[i];
    }
    return true;
}

/* Elements in row-major order; bounds were checked when the tensor was described. */
static void gather(const pare_pk_tensor *t, const unsigned char *from, unsigned char *to, size_t size) {
    int64_t index[64] = {0};
    uint64_t inner = (uint64_t)t->dims[t->ndim - 1], step = (uint64_t)t->strides[t->ndim - 1], at = t->offset;
    for (uint64_t done = 0; done < t->count; done += inner) {
        for (uint64_t i = 0; i < inner; i++, to += size) memcpy(to, from + (at + i * step) * size, size);
        for (uint32_t k = t->ndim - 1; k-- > 0;) {
            at += (uint64_t)t->strides[k];
            if (++index[k] < t->dims[k]) break;
            at -= (uint64_t)t->strides[k] * (uint64_t)t->dims[k];
            index[k] = 0;
        }
    }
}

static pare_status tensor_add(pth *p, const pare_pk_named *n) {
    const pare_pk_tensor *t = n->tensor;
    uint64_t bytes = 0;
    pare_blob *all = NULL, *blob = NULL;
    pare_status st = storage_get(p, t->storage, &all);
    if (st) return st;
    if (!pare_dtype_nbytes(t->dtype, t->count, &bytes))
        return fail(p, PARE_EINVAL, "weights.size", NULL, "tensor '%s' is too large", n->name);
    if (bytes && is_contiguous(t) && !t->offset && bytes == all->len) {
        blob = pare_blob_ref(all);
    } else if (bytes) {
        if ((st = spend(p, bytes, n->name))) return st;
        blob = pare_blob_new(bytes);
        if (!blob) return no_memory(p, bytes);
        size_t size = pare_dtype_bits(t->dtype) / 8;
        if (is_contiguous(t))
            memcpy(blob->data, all->data + t->offset * size, bytes);
        else
            gather(t, all->data, blob->data, size);
    }
    /* pickle_torch.c has seen to it that names are unique */
    pare_weights_add(p->w, n->name, t->dtype, t->ndim, t->dims, t->count, blob);
    return PARE_OK;
}

/* ---- the file ---- */

static pare_status open_zip(pth *p) {
    zip_error_t err;
    zip_error_init(&err);
    zip_source_t *src = zip_source_buffer_create(p->file->data, p->file->len, 0, &err);
    if (src) p->zip = zip_open_from_source(src, ZIP_RDONLY, &err);
    pare_status st = PARE_OK;
    if (!p->zip) {
        st = fail(p, PARE_EINVAL, "weights.zip", "the file is damaged or cut short: fetch it again",
                  "it begins as a zip file, but can't be opened: %s", zip_error_strerror(&err));
        zip_source_free(src);
    }
    zip_error_fini(&err);
    return st;
}

static pare_status read_pickle(pth *p, pare_pickle *out) {
    const char *name = pare_arena_printf(&p->arena, "%sdata.pkl", p->prefix);
    zip_int64_t at;
    uint64_t size = 0;
    pare_status st = entry_find(p, name, &at, &size);
    if (st) return st;
    if (at < 0) return fail(p, PARE_EINVAL, "weights.zip", NULL, "the entry '%s' is missing", name);
    if (size > PICKLE_MAX)
        return fail(p, PARE_EINVAL, "weights.bomb", NULL,
                    "the entry '%s' declares %" PRIu64 " bytes, at most %d are allowed", name, size, PICKLE_MAX);
    if ((st = spend(p, size, name))) return st;
    unsigned char *data = pare_try_alloc(size);
    if (!data) return no_memory(p, size);
    st = entry_read(p, name, at, data, size);
    if (!st) st = pare_pickle_read(data, size, p->file->path, p->d, out);
    free(data);
    return st;
}

pare_status pare_pth_read(pare_map_file *file, pare_diags *d, pare_weights *w) {
    pth p = {.file = file, .d = d, .w = w};
    pare_pickle pickle = {0};
    if (!pare_mul_ok(file->len, INFLATE_RATIO, &p.budget) || !pare_add_ok(p.budget, INFLATE_FREE, &p.budget))
        p.budget = UINT64_MAX;
    pare_status st = open_zip(&p);
    if (!st) st = find_prefix(&p);
    if (!st) st = check_byteorder(&p);
    if (!st) st = read_pickle(&p, &pickle);
    for (size_t i = 0; !st && i < pickle.tensors.len; i++) st = tensor_add(&p, &pickle.tensors.data[i]);
    pare_pickle_free(&pickle);
    for (size_t i = 0; i < p.storages.len; i++) pare_blob_unref(p.storages.data[i].blob);
    pare_vec_free(&p.storages);
    pare_map_free(&p.keys);
    if (p.zip) zip_discard(p.zip);
    pare_arena_free(&p.arena);
    return st;
}
