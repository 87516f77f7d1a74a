/* model/weights.c - see weights.h: which reader a file needs, and the table of named tensors that readers fill.
 * Is not: a format (safetensors.c, pth.c) or what happens to the weights (weights_apply.c). May use: weights.h.
 */
#include "model/weights_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void pare_sb_dims(pare_sb *b, const int64_t *dims, size_t ndim) {
    pare_sb_addc(b, '(');
    for (size_t i = 0; i < ndim; i++) pare_sb_printf(b, i ? ", %" PRId64 : "%" PRId64, dims[i]);
    pare_sb_addc(b, ')');
}

bool pare_weights_add(pare_weights *w, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims,
                      uint64_t count, pare_blob *blob) {
    uint32_t seen;
    if (pare_map_get(&w->names, name, &seen)) {
        pare_blob_unref(blob);
        return false;
    }
    pare_named_tensor t = {.name = pare_arena_strdup(&w->arena, name),
                           .dtype = dtype,
                           .ndim = (uint32_t)ndim,
                           .dims = pare_arena_memdup(&w->arena, dims, ndim * sizeof *dims),
                           .count = count,
                           .blob = blob};
    pare_map_set(&w->names, t.name, (uint32_t)w->tensors.len);
    pare_vec_push(&w->tensors, t);
    return true;
}

void pare_weights_free(pare_weights *w) {
    if (!w) return;
    for (size_t i = 0; i < w->tensors.len; i++) pare_blob_unref(w->tensors.data[i].blob);
    pare_vec_free(&w->tensors);
    pare_vec_free(&w->metadata);
    pare_map_free(&w->names);
    pare_arena_free(&w->arena);
    free(w);
}

static bool starts_with(const pare_map_file *f, const void *magic, size_t n) {
    return f->len >= n && memcmp(f->data, magic, n) == 0;
}

/* Files that people hold by mistake get a word of their own. */
static pare_status check_kind(const pare_map_file *f, pare_diags *d) {
    static const unsigned char legacy[] = {0x80, 2, 0x8a, 0x0a, 'l', 0xfc, 0x9c, 'F', 0xf9};
    static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n'};
    const char *allowed = "safetensors and PyTorch's zip files (.pth, .pt) are read";
    if (!f->len)
        return pare_fail_file(d, PARE_EINVAL, f->path, "weights.empty", allowed, "the file is empty (0 bytes)");
    if (starts_with(f, legacy, sizeof legacy))
        return pare_fail_file(d, PARE_EUNSUPPORTED, f->path, "weights.legacy",
                              "save it again with PyTorch 1.6 or newer: "
                              "torch.save(torch.load(FILE, map_location='cpu'), FILE)",
                              "this is PyTorch's file format from before 1.6, which is not a zip file");
    /* the length of a safetensors header may begin with the same bytes; its header begins with '{' */
    bool pickle = f->len > 8 && f->data[0] == 0x80 && f->data[1] <= 5 && f->data[8] != '{';
    if (pickle || starts_with(f, hdf5, sizeof hdf5))
        return pare_fail_file(d, PARE_EUNSUPPORTED, f->path, "weights.format", allowed,
                              "this is %s, which is not read as weights",
                              pickle ? "a bare Python pickle" : "an HDF5 file");
    return PARE_OK;
}

pare_status pare_weights_read(const char *path, pare_diags *d, pare_weights **out) {
    pare_map_file *file = NULL;
    pare_status st = pare_map_file_open(path, d, &file);
    if (st) return st;
    pare_weights *w = pare_xcalloc(1, sizeof *w);
    st = check_kind(file, d);
    if (!st)
        st = starts_with(file, "PK\3\4", 4) || starts_with(file, "PK\5\6", 4) ? pare_pth_read(file, d, w)
                                                                              : pare_safetensors_read(file, d, w);
    pare_map_file_unref(file);
    if (st) {
        pare_weights_free(w);
        return st;
    }
    *out = w;
    return PARE_OK;
}
