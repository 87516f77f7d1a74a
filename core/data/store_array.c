/* data/store_array.c - see store.h: arrays in .npy, .npz and safetensors files. Plain .npy and safetensors are mapped.
 */
#include "data/element.h"
#include "data/npy.h"
#include "data/store.h"
#include "model/weights.h"

#include <inttypes.h>
#include <string.h>

typedef struct array_bytes {
    const char *path; /* for messages */
    const unsigned char *data;
    uint32_t dtype, ndim;
    const int64_t *dims;
    uint64_t count;
} array_bytes;

static bool channels_like(int64_t n) { return n == 1 || n == 3 || n == 4; }

static pare_status set_samples(pare_store *s, const array_bytes *a, const pare_data_source *src, pare_diags *d) {
    char kind = pare_dtype_kind(a->dtype);
    if (kind == 'c' || kind == 's' || pare_dtype_bits(a->dtype) < 8 || (kind == 'f' && pare_dtype_bits(a->dtype) < 16))
        return pare_fail_file(d, PARE_EUNSUPPORTED, a->path, "data.dtype", NULL, "samples of %s are not read",
                              pare_dtype_name(a->dtype));
    if (a->ndim < 1)
        return pare_fail_file(d, PARE_EINVAL, a->path, "data.dims", "the first dimension counts the samples",
                              "a single number is no set of samples");
    s->count = (uint64_t)a->dims[0];
    s->dtype = a->dtype;
    s->ndim = a->ndim - 1;
    uint64_t each = 1;
    for (uint32_t i = 0; i < s->ndim; i++) {
        s->dims[i] = a->dims[i + 1];
        each *= (uint64_t)s->dims[i]; /* divides the array's count */
    }
    if (s->count && !a->count)
        return pare_fail_file(d, PARE_EINVAL, a->path, "data.dims", NULL, "its samples hold nothing");
    s->bytes = s->count ? pare_nbytes(a->dtype, each) : 0;
    bool pixels = a->dtype == PARE_UINT8 || kind == 'f';
    if (pixels && s->ndim == 2) {
        s->image = a->dtype == PARE_UINT8; /* floats of two dims may be anything: kept as they are */
    } else if (pixels && s->ndim == 3) {
        s->image = true;
        s->layout = src->layout;
        if (s->layout == PARE_DATA_LAYOUT_AUTO)
            s->layout =
                channels_like(s->dims[2]) && !channels_like(s->dims[0]) ? PARE_DATA_LAYOUT_NHWC : PARE_DATA_LAYOUT_NCHW;
        int64_t c = s->layout == PARE_DATA_LAYOUT_NCHW ? s->dims[0] : s->dims[2];
        if (c > PARE_DATA_CHANNELS) s->image = false; /* features, not pixels */
    }
    pare_vec_push(&s->runs, ((store_run){a->data, 0, s->bytes}));
    return PARE_OK;
}

static pare_status set_labels(pare_store *s, const array_bytes *a, pare_diags *d) {
    char kind = pare_dtype_kind(a->dtype);
    if ((kind != 'u' && kind != 'i' && kind != 'b') || pare_dtype_bits(a->dtype) < 8)
        return pare_fail_file(d, PARE_EINVAL, a->path, "data.labels", "labels are class numbers, such as int64",
                              "its labels are %s", pare_dtype_name(a->dtype));
    bool column = a->ndim == 2 && a->dims[1] == 1;
    if (a->ndim != 1 && !column)
        return pare_fail_file(d, PARE_EINVAL, a->path, "data.labels", "labels are class numbers, one a sample",
                              "its labels have %u dimensions", a->ndim);
    if (a->count != s->count)
        return pare_fail_file(d, PARE_EINVAL, a->path, "data.labels", NULL,
                              "%" PRIu64 " labels for %" PRIu64 " samples", a->count, s->count);
    s->labels = pare_store_alloc(s->count, sizeof *s->labels, a->path, d);
    if (!s->labels) return PARE_ENOMEM;
    for (uint64_t i = 0; i < s->count; i++) s->labels[i] = pare_element_int(a->data, a->dtype, i);
    return PARE_OK;
}

static array_bytes of_array(pare_array *a, const char *path) {
    return (array_bytes){path, pare_array_data(a), a->dtype, a->ndim, a->dims, a->count};
}

/* A .npy file's array: mapped where its bytes can be used as they lie. `dims` holds its dims. */
static pare_status open_npy(pare_store *s, const char *path, pare_diags *d, int64_t *dims, array_bytes *out) {
    pare_map_file *f;
    pare_status st = pare_map_file_open(path, d, &f);
    if (st != PARE_OK) return st;
    pare_npy_head h;
    st = pare_npy_parse(f->data, f->len, path, d, &h);
    if (st == PARE_OK && !h.swapped && !h.fortran) {
        pare_vec_push(&s->files, f);
        memcpy(dims, h.dims, sizeof h.dims);
        *out = (array_bytes){path, f->data + h.offset, h.dtype, h.ndim, dims, h.count};
        return PARE_OK;
    }
    pare_array *a = NULL;
    if (st == PARE_OK) st = pare_npy_load(f->data, f->len, path, d, &a);
    pare_map_file_unref(f);
    if (st != PARE_OK) return st;
    pare_vec_push(&s->arrays, a);
    *out = of_array(a, path);
    return PARE_OK;
}

static bool has(const pare_npz *z, const char *name) {
    for (size_t i = 0; i < pare_npz_count(z); i++)
        if (strcmp(pare_npz_name(z, i), name) == 0) return true;
    return false;
}

static pare_status from_npz(pare_store *s, const pare_data_source *src, pare_diags *d) {
    pare_npz *z;
    pare_array *a = NULL;
    pare_status st = pare_npz_open(src->path, d, &z);
    if (st != PARE_OK) return st;
    pare_store_source(s, src->path, 0, true);
    st = pare_npz_read(z, src->images ? src->images : "images", d, &a);
    if (st == PARE_OK) {
        pare_vec_push(&s->arrays, a);
        array_bytes b = of_array(a, src->path);
        st = set_samples(s, &b, src, d);
    }
    const char *labels = src->labels ? src->labels : "labels";
    if (st == PARE_OK && (src->labels || has(z, labels))) {
        st = pare_npz_read(z, labels, d, &a);
        if (st == PARE_OK) {
            array_bytes b = of_array(a, src->path);
            st = set_labels(s, &b, d);
            pare_array_unref(a);
        }
    }
    pare_npz_close(z);
    return st;
}

static bool is_zip(const char *path) {
    pare_map_file *f;
    if (pare_map_file_open(path, NULL, &f) != PARE_OK) return false;
    bool zip = f->len >= 4 && f->data[0] == 'P' && f->data[1] == 'K';
    pare_map_file_unref(f);
    return zip;
}

pare_status pare_store_npy(pare_store *s, const pare_data_source *src, pare_diags *d) {
    if (is_zip(src->path)) return from_npz(s, src, d);
    int64_t dims[PARE_ARRAY_DIMS];
    array_bytes a;
    pare_status st = open_npy(s, src->path, d, dims, &a);
    if (st == PARE_OK) st = set_samples(s, &a, src, d);
    pare_store_source(s, src->path, 0, false);
    if (src->labels) pare_store_source(s, src->labels, 0, true);
    if (st == PARE_OK && src->labels) {
        st = open_npy(s, src->labels, d, dims, &a);
        if (st == PARE_OK) st = set_labels(s, &a, d);
    }
    return st;
}

static bool find_tensor(const pare_weights *w, const char *name, const char *path, array_bytes *out) {
    uint32_t i;
    if (!pare_map_get(&w->names, name, &i)) return false;
    const pare_named_tensor *t = &w->tensors.data[i];
    *out = (array_bytes){path, t->blob ? t->blob->data : NULL, t->dtype, t->ndim, t->dims, t->count};
    return true;
}

pare_status pare_store_safetensors(pare_store *s, const pare_data_source *src, pare_diags *d) {
    pare_status st = pare_weights_read(src->path, d, &s->weights);
    if (st != PARE_OK) return st;
    pare_store_source(s, src->path, 0, true);
    const char *images = src->images ? src->images : "images", *labels = src->labels ? src->labels : "labels";
    array_bytes a;
    if (!find_tensor(s->weights, images, src->path, &a))
        return pare_fail_file(d, PARE_ENOTFOUND, src->path, "data.tensor", "name the tensor that holds the samples",
                              "it has no tensor '%s'", images);
    st = set_samples(s, &a, src, d);
    if (st != PARE_OK) return st;
    if (find_tensor(s->weights, labels, src->path, &a)) return set_labels(s, &a, d);
    if (!src->labels) return PARE_OK;
    return pare_fail_file(d, PARE_ENOTFOUND, src->path, "data.tensor", NULL, "it has no tensor '%s'", labels);
}
