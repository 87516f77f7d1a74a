/* data/npz.c - see npy.h: .npz files, zip files of .npy entries, stored or deflated.
 *
 * An entry's size is declared by the file: what may be inflated is bounded by what deflate can reach. May use: libzip.
 */
#include "data/npy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* Deflate makes at most 1032 bytes of one. */
enum { DEFLATE_RATIO = 1100 };

struct pare_npz {
    pare_map_file *file;
    zip_t *zip;
    PARE_VEC(char *) names;   /* without ".npy" */
    PARE_VEC(uint64_t) index; /* in the zip file */
};

void pare_npz_close(pare_npz *z) {
    if (!z) return;
    if (z->zip) zip_discard(z->zip);
    for (size_t i = 0; i < z->names.len; i++) free(z->names.data[i]);
    pare_vec_free(&z->names);
    pare_vec_free(&z->index);
    pare_map_file_unref(z->file);
    free(z);
}

pare_status pare_npz_open(const char *path, pare_diags *d, pare_npz **out) {
    pare_npz *z = pare_xcalloc(1, sizeof *z);
    pare_status st = pare_map_file_open(path, d, &z->file);
    if (st != PARE_OK) goto fail;
    zip_error_t err;
    zip_error_init(&err);
    zip_source_t *src = zip_source_buffer_create(z->file->data, z->file->len, 0, &err);
    if (src) z->zip = zip_open_from_source(src, ZIP_RDONLY, &err);
    if (!z->zip) {
        st = pare_fail_file(d, PARE_EINVAL, path, "npz.zip", "write it with numpy.savez",
                            "not a .npz file, or damaged: %s", zip_error_strerror(&err));
        zip_source_free(src);
    }
    zip_error_fini(&err);
    if (st != PARE_OK) goto fail;
    zip_int64_t n = zip_get_num_entries(z->zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(z->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        size_t len = name ? strlen(name) : 0;
        if (len < 4 || strcmp(name + len - 4, ".npy") != 0) continue;
        pare_vec_push(&z->names, pare_xstrndup(name, len - 4));
        pare_vec_push(&z->index, (uint64_t)i);
    }
    *out = z;
    return PARE_OK;
fail:
    pare_npz_close(z);
    return st;
}

size_t pare_npz_count(const pare_npz *z) { return z->names.len; }
const char *pare_npz_name(const pare_npz *z, size_t i) { return z->names.data[i]; }

/* All bytes of an entry, malloc'ed. */
static pare_status inflate_entry(pare_npz *z, uint64_t index, const char *name, pare_diags *d, unsigned char **out,
                                 uint64_t *size) {
    zip_stat_t s;
    const zip_uint64_t want = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(z->zip, index, 0, &s) || (s.valid & want) != want)
        return pare_fail_file(d, PARE_EINVAL, name, "npz.zip", NULL, "the zip file says neither its size nor its kind");
    if (s.comp_method != ZIP_CM_STORE && s.comp_method != ZIP_CM_DEFLATE)
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npz.zip", "write it with numpy.savez",
                              "packed by method %u; stored (0) and deflated (8) entries are read", s.comp_method);
    if ((s.valid & ZIP_STAT_ENCRYPTION_METHOD) && s.encryption_method != ZIP_EM_NONE)
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npz.zip", NULL, "the entry is encrypted");
    if (s.comp_size > z->file->len || s.size / DEFLATE_RATIO > s.comp_size)
        return pare_fail_file(d, PARE_EINVAL, name, "npz.zip", "the file is damaged: fetch it again",
                              "it declares %" PRIu64 " bytes made of %" PRIu64, (uint64_t)s.size,
                              (uint64_t)s.comp_size);
    unsigned char *p = pare_try_alloc(s.size);
    if (!p)
        return pare_fail_file(d, PARE_ENOMEM, name, "memory", NULL, "%" PRIu64 " bytes of memory could not be had",
                              (uint64_t)s.size);
    zip_file_t *f = zip_fopen_index(z->zip, index, 0);
    uint64_t got = 0;
    zip_int64_t n = f ? 1 : -1;
    while (got < s.size && n > 0) {
        uint64_t ask = s.size - got < (16u << 20) ? s.size - got : 16u << 20;
        n = zip_fread(f, p + got, ask);
        if (n > 0) got += (uint64_t)n;
    }
    char more;
    if (n >= 0 && got == s.size) n = zip_fread(f, &more, 1); /* the CRC is checked at the end */
    pare_status st = PARE_OK;
    if (n || got != s.size)
        st = pare_fail_file(d, PARE_EINVAL, name, "npz.zip", "the file is damaged: fetch it again",
                            "can't be unpacked: %s", f ? zip_file_strerror(f) : zip_strerror(z->zip));
    if (f) zip_fclose(f);
    if (st != PARE_OK) {
        free(p);
        return st;
    }
    *out = p;
    *size = s.size;
    return PARE_OK;
}

pare_status pare_npz_read(pare_npz *z, const char *name, pare_diags *d, pare_array **out) {
    size_t at = 0;
    while (at < z->names.len && strcmp(z->names.data[at], name) != 0) at++;
    if (at == z->names.len) {
        pare_sb b = {0};
        for (size_t i = 0; i < z->names.len && i < 20; i++) pare_sb_printf(&b, "%s%s", i ? ", " : "", z->names.data[i]);
        pare_status st = pare_fail_file(d, PARE_ENOTFOUND, z->file->path, "npz.entry", NULL,
                                        "it has no array '%s'; there is: %s", name, b.len ? b.data : "nothing");
        pare_sb_free(&b);
        return st;
    }
    pare_sb label = {0};
    pare_sb_printf(&label, "%s:%s", z->file->path, name);
    unsigned char *p = NULL;
    uint64_t size = 0;
    pare_status st = inflate_entry(z, z->index.data[at], label.data, d, &p, &size);
    if (st == PARE_OK) {
        st = pare_npy_load(p, size, label.data, d, out);
        free(p);
    }
    pare_sb_free(&label);
    return st;
}
