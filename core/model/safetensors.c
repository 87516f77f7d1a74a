/* model/safetensors.c - the safetensors format: 8 bytes of header length (little-endian), a JSON header, the bytes.
 *
 * Is: reader (nothing is copied, the tensors point into the mapped file) and writer. As strict as the reference
 * implementation (github.com/huggingface/safetensors, README "Format"): the data has no holes, no overlaps and ends
 * with the file. Is not: what happens to the weights (weights_apply.c). May use: weights_read.h, jansson.
 */
#include "model/weights_read.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 100 * 1000 * 1000, RANK_MAX = 64 };

/* The format's word, ours, and the reference's order of dtypes (the writer sorts by it, largest first). */
static const struct {
    const char *name;
    uint32_t dtype, order;
} DTYPES[] = {
    {"BOOL", PARE_BOOL, 0},
    {"F4", PARE_FLOAT4E2M1, 1},
    {"U8", PARE_UINT8, 4},
    {"I8", PARE_INT8, 5},
    {"F8_E5M2", PARE_FLOAT8E5M2, 6},
    {"F8_E4M3", PARE_FLOAT8E4M3FN, 7},
    {"F8_E8M0", PARE_FLOAT8E8M0, 8},
    {"F8_E4M3FNUZ", PARE_FLOAT8E4M3FNUZ, 9},
    {"F8_E5M2FNUZ", PARE_FLOAT8E5M2FNUZ, 10},
    {"I16", PARE_INT16, 11},
    {"U16", PARE_UINT16, 12},
    {"F16", PARE_FLOAT16, 13},
    {"BF16", PARE_BFLOAT16, 14},
    {"I32", PARE_INT32, 15},
    {"U32", PARE_UINT32, 16},
    {"F32", PARE_FLOAT, 17},
    {"C64", PARE_COMPLEX64, 18},
    {"F64", PARE_DOUBLE, 19},
    {"I64", PARE_INT64, 20},
    {"U64", PARE_UINT64, 21},
};
enum { N_DTYPES = sizeof DTYPES / sizeof DTYPES[0] };

/* ---- reading ---- */

typedef struct reader {
    pare_map_file *file;
    pare_diags *d;
    pare_weights *w;
    uint64_t base, size; /* where the data begins in the file; its bytes */
} reader;

typedef struct extent {
    uint64_t begin, end;
    const char *name;
} extent;

static pare_status bad_tensor(reader *r, const char *name, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static pare_status bad_tensor(reader *r, const char *name, const char *code, const char *hint, const char *fmt, ...) {
    pare_sb b = {0};
    pare_sb_printf(&b, "tensor '%s': ", name);
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = code,
                         .message = pare_sb_str(&b),
                         .hint = hint,
                         .path = r->file->path,
                         .tensor = name};
    pare_diags_add(r->d, &it);
    pare_sb_free(&b);
    return PARE_EINVAL;
}

static bool read_dtype(const json_t *j, uint32_t *dtype) {
    const char *s = json_string_value(j);
    for (size_t i = 0; s && i < N_DTYPES; i++)
        if (!strcmp(s, DTYPES[i].name)) {
            *dtype = DTYPES[i].dtype;
            return true;
        }
    return false;
}

static pare_status read_tensor(reader *r, const char *name, const json_t *j, extent *e) {
    const json_t *jd = json_object_get(j, "dtype"), *js = json_object_get(j, "shape"),
                 *jo = json_object_get(j, "data_offsets");
    if (!json_is_object(j) || !json_is_string(jd) || !json_is_array(js) || !json_is_array(jo) ||
        json_array_size(jo) != 2 || json_object_size(j) != 3)
        return bad_tensor(r, name, "weights.header", NULL,
                          "its header entry is not an object of 'dtype' (string), 'shape' (list) and 'data_offsets' "
                          "([begin, end])");
    uint32_t dtype = 0;
    if (!read_dtype(jd, &dtype))
        return bad_tensor(r, name, "weights.dtype", "save it as F32, F16 or BF16", "unknown dtype '%s'",
                          json_string_value(jd));
    size_t ndim = json_array_size(js);
    if (ndim > RANK_MAX)
        return bad_tensor(r, name, "weights.shape", NULL, "rank %zu, at most %d is allowed", ndim, RANK_MAX);
    int64_t dims[RANK_MAX];
    for (size_t i = 0; i < ndim; i++) {
        const json_t *v = json_array_get(js, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return bad_tensor(r, name, "weights.shape", NULL, "dimension %zu is not a whole number >= 0", i);
        dims[i] = json_integer_value(v);
    }
    uint64_t off[2];
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_array_get(jo, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return bad_tensor(r, name, "weights.offsets", NULL, "data_offsets are not two whole numbers >= 0");
        off[i] = (uint64_t)json_integer_value(v);
    }
    uint64_t count, bytes;
    if (!pare_dims_count(dims, ndim, &count) || !pare_dtype_nbytes(dtype, count, &bytes))
        return bad_tensor(r, name, "weights.shape", NULL, "its shape overflows 64 bits");
    if (off[0] > off[1] || off[1] > r->size)
        return bad_tensor(r, name, "weights.offsets", "the file is damaged or cut short: fetch it again",
                          "data_offsets [%" PRIu64 ", %" PRIu64 "] do not lie within the file's %" PRIu64
                          " bytes of data",
                          off[0], off[1], r->size);
    if (off[1] - off[0] != bytes) {
        pare_sb s = {0};
        pare_sb_dims(&s, dims, ndim);
        pare_status st = bad_tensor(r, name, "weights.shape", NULL,
                                    "%" PRIu64 " bytes are stored, but %s of shape %s takes %" PRIu64, off[1] - off[0],
                                    json_string_value(jd), pare_sb_str(&s), bytes);
        pare_sb_free(&s);
        return st;
    }
    pare_blob *blob = bytes ? pare_blob_of_file(r->file, r->base + off[0], bytes) : NULL;
    if (bytes && !blob) return pare_fail_file(r->d, PARE_ENOMEM, r->file->path, "memory", NULL, "out of memory");
    if (!pare_weights_add(r->w, name, dtype, ndim, dims, count, blob))
        return bad_tensor(r, name, "weights.duplicate", NULL, "the name stands in the header twice");
    *e = (extent){off[0], off[1], r->w->tensors.data[r->w->tensors.len - 1].name};
    return PARE_OK;
}

static int extent_cmp(const void *a, const void *b) {
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The data must be covered exactly once: overlaps and holes hide or leak bytes. */
static pare_status check_cover(reader *r, extent *e, size_t n) {
    if (n) qsort(e, n, sizeof *e, extent_cmp);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (e[i].begin < at)
            return bad_tensor(r, e[i].name, "weights.offsets", NULL,
                              "its data_offsets [%" PRIu64 ", %" PRIu64 "] overlap those of '%s'", e[i].begin, e[i].end,
                              i ? e[i - 1].name : "");
        if (e[i].begin > at)
            return bad_tensor(r, e[i].name, "weights.offsets", NULL,
                              "%" PRIu64 " bytes before its data belong to no tensor", e[i].begin - at);
        at = e[i].end;
    }
    if (at != r->size)
        return pare_fail_file(r->d, PARE_EINVAL, r->file->path, "weights.trailing", NULL,
                              "%" PRIu64 " bytes after the last tensor belong to none", r->size - at);
    return PARE_OK;
}

static pare_status read_metadata(reader *r, const json_t *j) {
    const char *key;
    json_t *v;
    if (!json_is_object(j))
        return pare_fail_file(r->d, PARE_EINVAL, r->file->path, "weights.header", NULL, "__metadata__ is no object");
    json_object_foreach((json_t *)j, key, v) {
        if (!json_is_string(v))
            return pare_fail_file(r->d, PARE_EINVAL, r->file->path, "weights.header", NULL,
                                  "__metadata__: the value of '%s' is not a string", key);
        pare_meta m = {pare_arena_strdup(&r->w->arena, key), pare_arena_strdup(&r->w->arena, json_string_value(v))};
        pare_vec_push(&r->w->metadata, m);
    }
    return PARE_OK;
}

pare_status pare_safetensors_read(pare_map_file *file, pare_diags *d, pare_weights *w) {
    const char *path = file->path, *what = "safetensors and PyTorch's zip files (.pth, .pt) are read";
    uint64_t n = 0;
    if (file->len < 8)
        return pare_fail_file(d, PARE_EINVAL, path, "weights.truncated", what,
                              "%" PRIu64 " bytes are too few for a weight file", file->len);
    for (int i = 0; i < 8; i++) n |= (uint64_t)file->data[i] << (8 * i);
    if (n > HEADER_MAX || n > file->len - 8)
        return pare_fail_file(d, PARE_EINVAL, path, n > HEADER_MAX ? "weights.format" : "weights.truncated", what,
                              "as safetensors its header would have %" PRIu64 " bytes; %s is %" PRIu64, n,
                              n > HEADER_MAX ? "the most allowed" : "what the file has left",
                              n > HEADER_MAX ? (uint64_t)HEADER_MAX : file->len - 8);
    if (n < 2 || file->data[8] != '{')
        return pare_fail_file(d, PARE_EINVAL, path, "weights.format", what,
                              "no JSON header begins at byte 8: not a safetensors file");
    json_error_t err;
    json_t *root = json_loadb((const char *)file->data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &err);
    if (!json_is_object(root)) {
        json_decref(root);
        return pare_fail_file(d, PARE_EINVAL, path, "weights.header", NULL,
                              "its JSON header is not sound: %s (byte %d)", err.text, 8 + err.position);
    }
    reader r = {.file = file, .d = d, .w = w, .base = 8 + n, .size = file->len - 8 - n};
    PARE_VEC(extent) extents = {0};
    pare_status st = PARE_OK;
    const char *name;
    json_t *v;
    json_object_foreach(root, name, v) {
        extent e;
        if (!strcmp(name, "__metadata__")) {
            st = read_metadata(&r, v);
        } else {
            st = read_tensor(&r, name, v, &e);
            if (!st) pare_vec_push(&extents, e);
        }
        if (st) break;
    }
    if (!st) st = check_cover(&r, extents.data, extents.len);
    pare_vec_free(&extents);
    json_decref(root);
    return st;
}

/* ---- writing ---- */

typedef struct entry {
    const pare_named_tensor *t;
    const char *dtype;
    uint32_t order;
} entry;

static int entry_cmp(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->order != y->order) return x->order > y->order ? -1 : 1;
    return strcmp(x->t->name, y->t->name);
}

static void json_text(pare_sb *b, const char *s) {
    pare_sb_addc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        const char *esc = c == '"'    ? "\\\""
                          : c == '\\' ? "\\\\"
                          : c == '\b' ? "\\b"
                          : c == '\t' ? "\\t"
                          : c == '\n' ? "\\n"
                          : c == '\f' ? "\\f"
                          : c == '\r' ? "\\r"
                                      : NULL;
        if (esc)
            pare_sb_add(b, esc);
        else if (c < 0x20)
            pare_sb_printf(b, "\\u%04x", c);
        else
            pare_sb_addc(b, (char)c);
    }
    pare_sb_addc(b, '"');
}

static void write_header(pare_sb *b, const pare_weights *w, const entry *e) {
    const char *sep = "";
    pare_sb_addn(b, "\0\0\0\0\0\0\0\0{", 9);
    if (w->metadata.len) {
        pare_sb_add(b, "\"__metadata__\":{");
        for (size_t i = 0; i < w->metadata.len; i++) {
            if (i) pare_sb_addc(b, ',');
            json_text(b, w->metadata.data[i].key);
            pare_sb_addc(b, ':');
            json_text(b, w->metadata.data[i].value);
        }
        pare_sb_addc(b, '}');
        sep = ",";
    }
    uint64_t at = 0;
    for (size_t i = 0; i < w->tensors.len; i++, sep = ",") {
        const pare_named_tensor *t = e[i].t;
        pare_sb_add(b, sep);
        json_text(b, t->name);
        pare_sb_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", e[i].dtype);
        for (uint32_t k = 0; k < t->ndim; k++) pare_sb_printf(b, k ? ",%" PRId64 : "%" PRId64, t->dims[k]);
        uint64_t end = at + (t->blob ? t->blob->len : 0);
        pare_sb_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, end);
        at = end;
    }
    pare_sb_addc(b, '}');
    while (b->len % 8) pare_sb_addc(b, ' '); /* so that the data is aligned */
    uint64_t n = b->len - 8;
    for (int i = 0; i < 8; i++) b->data[i] = (char)(unsigned char)(n >> (8 * i));
}

pare_status pare_weights_write(const pare_weights *w, const char *path, pare_diags *d) {
    size_t n = w->tensors.len;
    entry *e = pare_xcalloc(n, sizeof *e);
    pare_sb header = {0};
    pare_file_out *out = NULL;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n; i++) {
        const pare_named_tensor *t = &w->tensors.data[i];
        for (size_t k = 0; k < N_DTYPES; k++)
            if (DTYPES[k].dtype == t->dtype) e[i] = (entry){t, DTYPES[k].name, DTYPES[k].order};
        if (!e[i].t) {
            st = pare_fail_file(d, PARE_EUNSUPPORTED, path, "weights.dtype", NULL,
                                "tensor '%s': safetensors has no word for %s", t->name, pare_dtype_name(t->dtype));
            goto done;
        }
        if (!pare_utf8_ok(t->name, strlen(t->name)) || !strcmp(t->name, "__metadata__")) {
            st = pare_fail_file(d, PARE_EINVAL, path, "weights.name", NULL,
                                "'%s' can't be a tensor's name in a safetensors file", t->name);
            goto done;
        }
    }
    for (size_t i = 0; i < w->metadata.len; i++) {
        const pare_meta *m = &w->metadata.data[i];
        if (pare_utf8_ok(m->key, strlen(m->key)) && pare_utf8_ok(m->value, strlen(m->value))) continue;
        st = pare_fail_file(d, PARE_EINVAL, path, "weights.metadata", NULL, "metadata '%s' is not UTF-8", m->key);
        goto done;
    }
    if (n) qsort(e, n, sizeof *e, entry_cmp);
    write_header(&header, w, e);
    if (header.len - 8 > HEADER_MAX) {
        st = pare_fail_file(d, PARE_EINVAL, path, "weights.header", NULL,
                            "%zu tensors need a header of %zu bytes, at most %d are allowed", n, header.len - 8,
                            (int)HEADER_MAX);
        goto done;
    }
    st = pare_file_out_open(path, d, &out);
    if (!st) st = pare_file_out_write(out, header.data, header.len);
    for (size_t i = 0; !st && i < n; i++)
        if (e[i].t->blob) st = pare_file_out_write(out, e[i].t->blob->data, e[i].t->blob->len);
    if (!st) {
        st = pare_file_out_commit(out);
        out = NULL;
    }
done:
    pare_file_out_abort(out);
    pare_sb_free(&header);
    free(e);
    return st;
}
