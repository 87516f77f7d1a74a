/* data/npy.h - numpy's files: .npy, and .npz (a zip file of them).
 *
 * Reads format versions 1 to 3, both byte orders, C and Fortran order, and every dtype of numpy that is numbers or bool
 * (b1 i1-i8 u1-u8 f2 f4 f8 c8 c16). Structured records, strings, objects (pickles) and long doubles are refused by
 * name. Source: numpy.lib.format's documentation (NEP 1). May use: base, model/array.h, libzip.
 */
#ifndef PARE_DATA_NPY_H
#define PARE_DATA_NPY_H

#include "model/array.h"

/* What a .npy header says. */
typedef struct pare_npy_head {
    uint32_t dtype, ndim;
    int64_t dims[PARE_ARRAY_DIMS];
    uint64_t count, nbytes;
    uint64_t offset; /* of the elements, from the start of the header */
    bool fortran;    /* first index fastest; false where both orders are the same bytes */
    bool swapped;    /* big-endian */
} pare_npy_head;

/* Reads the header at p; `len` bytes are there and must hold the elements too. `name` is for messages (borrowed).
 * PARE_EINVAL, PARE_EUNSUPPORTED. Any thread. */
pare_status pare_npy_parse(const unsigned char *p, uint64_t len, const char *name, pare_diags *d, pare_npy_head *out);
/* The array of .npy bytes, in C order and this machine's byte order. The caller owns *out. PARE_ENOMEM too. */
pare_status pare_npy_load(const unsigned char *p, uint64_t len, const char *name, pare_diags *d, pare_array **out);
pare_status pare_npy_read(const char *path, pare_diags *d, pare_array **out);

/* Writes version 1.0 (2.0 where the header needs it), C order, little-endian, as numpy.save does. bfloat16 is written
 * as float32 and 2- and 4-bit integers as int8 or uint8, which numpy has no words for. PARE_EUNSUPPORTED: 8-bit and
 * smaller floats. The file appears under its name only whole. */
pare_status pare_npy_write(const char *path, const pare_array *a, pare_diags *d);

/* A .npz file. Not thread-safe. Messages say "FILE:ENTRY". */
typedef struct pare_npz pare_npz;
pare_status pare_npz_open(const char *path, pare_diags *d, pare_npz **out);
void pare_npz_close(pare_npz *z); /* NULL is fine */
size_t pare_npz_count(const pare_npz *z);
const char *pare_npz_name(const pare_npz *z, size_t i); /* without ".npy"; in the file's order */
/* PARE_ENOTFOUND (listing what is there) where the file has no such entry. */
pare_status pare_npz_read(pare_npz *z, const char *name, pare_diags *d, pare_array **out);

#endif
