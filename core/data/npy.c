/* data/npy.c - see npy.h: .npy files. The header is a Python dict literal with three known keys; this reads just that.
 */
#include "data/npy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 1 << 20 };

/* ---- the header's text ---- */

typedef struct text {
    const char *p, *end;
} text;

static void skip_blank(text *t) {
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r')) t->p++;
}

static bool take(text *t, char c) {
    skip_blank(t);
    if (t->p == t->end || *t->p != c) return false;
    t->p++;
    return true;
}

static bool take_word(text *t, const char *word) {
    size_t n = strlen(word);
    skip_blank(t);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) return false;
    t->p += n;
    return true;
}

/* A quoted string without escapes, cut to fit. */
static bool take_string(text *t, char *out, size_t cap) {
    skip_blank(t);
    if (t->p == t->end || (*t->p != '\'' && *t->p != '"')) return false;
    char quote = *t->p++;
    size_t n = 0;
    for (; t->p < t->end && *t->p != quote; t->p++)
        if (n + 1 < cap) out[n++] = *t->p;
    if (t->p == t->end) return false;
    t->p++;
    out[n] = '\0';
    return true;
}

static bool take_int(text *t, int64_t *out) {
    skip_blank(t);
    if (t->p == t->end || *t->p < '0' || *t->p > '9') return false;
    int64_t v = 0;
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *t->p - '0', &v)) return false;
    if (t->p < t->end && *t->p == 'L') t->p++; /* Python 2's longs */
    *out = v;
    return true;
}

static bool take_tuple(text *t, pare_npy_head *h, bool *too_many) {
    if (!take(t, '(')) return false;
    while (!take(t, ')')) {
        int64_t v;
        if (!take_int(t, &v)) return false;
        if (h->ndim == PARE_ARRAY_DIMS) {
            *too_many = true;
            return false;
        }
        h->dims[h->ndim++] = v;
        if (!take(t, ',')) return take(t, ')');
    }
    return true;
}

/* ---- dtypes ---- */

static const struct word {
    const char *word;
    uint32_t dtype;
} words[] = {
    {"b1", PARE_BOOL},  {"i1", PARE_INT8},   {"u1", PARE_UINT8},     {"i2", PARE_INT16},       {"u2", PARE_UINT16},
    {"i4", PARE_INT32}, {"u4", PARE_UINT32}, {"i8", PARE_INT64},     {"u8", PARE_UINT64},      {"f2", PARE_FLOAT16},
    {"f4", PARE_FLOAT}, {"f8", PARE_DOUBLE}, {"c8", PARE_COMPLEX64}, {"c16", PARE_COMPLEX128},
};
enum { N_WORDS = sizeof words / sizeof *words };

static const char *word_of(uint32_t dtype) {
    for (size_t i = 0; i < N_WORDS; i++)
        if (words[i].dtype == dtype) return words[i].word;
    return NULL;
}

static uint32_t dtype_of(const char *word) {
    for (size_t i = 0; i < N_WORDS; i++)
        if (strcmp(words[i].word, word) == 0) return words[i].dtype;
    return PARE_DTYPE_UNKNOWN;
}

/* Bytes that are swapped together: a complex number is two. */
static size_t unit_of(uint32_t dtype) {
    size_t n = pare_dtype_bits(dtype) / 8;
    return pare_dtype_kind(dtype) == 'c' ? n / 2 : n;
}

static pare_status bad_dtype(const char *name, pare_diags *d, const char *descr) {
    char c = descr[0] && strchr("<>|=", descr[0]) ? descr[1] : descr[0];
    if (c == 'O')
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.dtype", "save numbers: x.astype(\"float32\")",
                              "its elements are Python objects (pickles), which are never read");
    if (c == 'V')
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.dtype",
                              "bfloat16 is saved like this: save x.astype(\"float32\")",
                              "its elements are raw bytes ('%s') that numpy has no dtype for", descr);
    return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.dtype",
                          "bool, int8 to int64, uint8 to uint64, float16 to float64, complex64 and complex128 are read",
                          "its dtype '%s' is not read", descr);
}

static pare_status read_dict(text t, const char *name, pare_diags *d, pare_npy_head *h) {
    static const char *const hint = "write it with numpy.save";
    bool descr = false, order = false, shape = false, too_many = false;
    char key[32], value[32];
    if (!take(&t, '{')) goto bad;
    while (!take(&t, '}')) {
        if (!take_string(&t, key, sizeof key) || !take(&t, ':')) goto bad;
        if (strcmp(key, "descr") == 0 && !descr) {
            skip_blank(&t);
            if (t.p < t.end && *t.p == '[')
                return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.dtype", "save one plain array a file",
                                      "its elements are records of several fields");
            if (!take_string(&t, value, sizeof value)) goto bad;
            bool marked = value[0] && strchr("<>|=", value[0]);
            h->dtype = dtype_of(value + marked);
            if (!h->dtype) return bad_dtype(name, d, value);
            h->swapped = value[0] == '>' && unit_of(h->dtype) > 1;
            descr = true;
        } else if (strcmp(key, "fortran_order") == 0 && !order) {
            h->fortran = take_word(&t, "True");
            if (!h->fortran && !take_word(&t, "False")) goto bad;
            order = true;
        } else if (strcmp(key, "shape") == 0 && !shape) {
            if (!take_tuple(&t, h, &too_many)) goto bad;
            shape = true;
        } else {
            goto bad;
        }
        if (!take(&t, ',')) {
            if (!take(&t, '}')) goto bad;
            break;
        }
    }
    if (descr && order && shape) return PARE_OK;
bad:
    if (too_many)
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.dims", NULL, "it has more than %d dimensions",
                              PARE_ARRAY_DIMS);
    return pare_fail_file(d, PARE_EINVAL, name, "npy.header", hint,
                          "its header is not numpy's {'descr': …, 'fortran_order': …, 'shape': (…)}");
}

pare_status pare_npy_parse(const unsigned char *p, uint64_t len, const char *name, pare_diags *d, pare_npy_head *out) {
    pare_npy_head h = {0};
    if (len < 10 || memcmp(p, "\x93NUMPY", 6) != 0)
        return pare_fail_file(d, PARE_EINVAL, name, "npy.magic", "write it with numpy.save",
                              "not a .npy file: it doesn't begin with \\x93NUMPY");
    if (p[6] < 1 || p[6] > 3)
        return pare_fail_file(d, PARE_EUNSUPPORTED, name, "npy.version", NULL,
                              ".npy format %u.%u is not known; 1.0, 2.0 and 3.0 are read", p[6], p[7]);
    uint64_t start = p[6] == 1 ? 10 : 12, n = p[8] | (uint64_t)p[9] << 8;
    if (p[6] > 1) n = len < 12 ? UINT32_MAX : n | (uint64_t)p[10] << 16 | (uint64_t)p[11] << 24;
    if (n > HEADER_MAX || n > len - start)
        return pare_fail_file(d, PARE_EINVAL, name, "npy.truncated", "the file is damaged or cut short",
                              "its header of %" PRIu64 " bytes reaches past the end", n);
    pare_status st = read_dict((text){(const char *)p + start, (const char *)p + start + n}, name, d, &h);
    if (st != PARE_OK) return st;
    h.offset = start + n;
    if (!pare_dims_count(h.dims, h.ndim, &h.count) || !pare_dtype_nbytes(h.dtype, h.count, &h.nbytes) ||
        h.nbytes > len - h.offset)
        return pare_fail_file(d, PARE_EINVAL, name, "npy.truncated", "the file is damaged or cut short",
                              "its shape needs more bytes than the %" PRIu64 " that follow the header", len - h.offset);
    if (h.fortran) { /* the same as C order where at most one dim is not 1 */
        uint32_t wide = 0;
        for (uint32_t i = 0; i < h.ndim; i++) wide += h.dims[i] != 1;
        h.fortran = wide > 1;
    }
    *out = h;
    return PARE_OK;
}

/* ---- elements ---- */

/* Copies n elements of `size` bytes from p to q, the i-th from p + i * stride elements. */
static void copy_strided(unsigned char *q, const unsigned char *p, uint64_t n, uint64_t stride, size_t size) {
    for (uint64_t i = 0; i < n; i++) memcpy(q + i * size, p + i * stride * size, size);
}

/* C order from Fortran order: rows of the last axis, whose elements lie `stride` apart. */
static void to_c_order(const pare_npy_head *h, const unsigned char *p, unsigned char *q) {
    size_t size = pare_dtype_bits(h->dtype) / 8;
    int64_t at[PARE_ARRAY_DIMS] = {0};
    uint64_t stride[PARE_ARRAY_DIMS], all = 1;
    for (uint32_t i = 0; i < h->ndim; i++) {
        stride[i] = all;
        all *= (uint64_t)h->dims[i];
    }
    uint32_t last = h->ndim - 1;
    uint64_t row = (uint64_t)h->dims[last];
    for (uint64_t done = 0; done < h->count; done += row) {
        uint64_t from = 0;
        for (uint32_t i = 0; i < last; i++) from += (uint64_t)at[i] * stride[i];
        copy_strided(q + done * size, p + from * size, row, stride[last], size);
        for (uint32_t i = last; i-- > 0;) {
            if (++at[i] < h->dims[i]) break;
            at[i] = 0;
        }
    }
}

static void swap_bytes(unsigned char *q, uint64_t nbytes, size_t unit) {
    for (uint64_t i = 0; i < nbytes; i += unit)
        for (size_t a = 0, b = unit - 1; a < b; a++, b--) {
            unsigned char t = q[i + a];
            q[i + a] = q[i + b];
            q[i + b] = t;
        }
}

pare_status pare_npy_load(const unsigned char *p, uint64_t len, const char *name, pare_diags *d, pare_array **out) {
    pare_npy_head h;
    pare_status st = pare_npy_parse(p, len, name, d, &h);
    if (st != PARE_OK) return st;
    pare_array *a = pare_array_new(h.dtype, h.ndim, h.dims);
    if (!a)
        return pare_fail_file(d, PARE_ENOMEM, name, "memory", NULL, "%" PRIu64 " bytes of memory could not be had",
                              h.nbytes);
    unsigned char *q = pare_array_data_mut(a);
    if (h.count) {
        if (h.fortran)
            to_c_order(&h, p + h.offset, q);
        else
            memcpy(q, p + h.offset, h.nbytes);
        if (h.swapped) swap_bytes(q, h.nbytes, unit_of(h.dtype));
        if (h.dtype == PARE_BOOL) /* any other byte would be neither true nor false */
            for (uint64_t i = 0; i < h.count; i++) q[i] = q[i] != 0;
    }
    *out = a;
    return PARE_OK;
}

pare_status pare_npy_read(const char *path, pare_diags *d, pare_array **out) {
    pare_map_file *f;
    pare_status st = pare_map_file_open(path, d, &f);
    if (st != PARE_OK) return st;
    st = pare_npy_load(f->data, f->len, path, d, out);
    pare_map_file_unref(f);
    return st;
}

/* ---- writing ---- */

/* Elements first..first+n-1 of a dtype that numpy has no word for, widened. */
static void widen(const pare_array *a, uint64_t first, uint64_t n, unsigned char *to) {
    const unsigned char *p = pare_array_data(a);
    if (a->dtype == PARE_BFLOAT16) {
        for (uint64_t i = 0; i < n; i++) {
            unsigned char f32[4] = {0, 0, p[(first + i) * 2], p[(first + i) * 2 + 1]};
            memcpy(to + i * 4, f32, 4);
        }
        return;
    }
    uint32_t bits = pare_dtype_bits(a->dtype), mask = (1u << bits) - 1, sign = 1u << (bits - 1);
    bool is_signed = pare_dtype_kind(a->dtype) == 'i';
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = (first + i) * bits;
        uint32_t v = (uint32_t)p[at / 8] >> (at % 8) & mask;
        if (is_signed) v = (v ^ sign) - sign;
        to[i] = (unsigned char)v;
    }
}

static uint32_t written_as(uint32_t dtype) {
    switch (dtype) {
    case PARE_BFLOAT16: return PARE_FLOAT;
    case PARE_INT4:
    case PARE_INT2: return PARE_INT8;
    case PARE_UINT4:
    case PARE_UINT2: return PARE_UINT8;
    default: return dtype;
    }
}

/* Magic, version, length and the dict, padded with blanks so that the elements begin at a multiple of 64. */
static void make_header(const pare_array *a, uint32_t dtype, pare_sb *b) {
    pare_sb dict = {0};
    pare_sb_printf(&dict, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", unit_of(dtype) > 1 ? '<' : '|',
                   word_of(dtype));
    for (uint32_t i = 0; i < a->ndim; i++) pare_sb_printf(&dict, "%s%" PRId64, i ? ", " : "", a->dims[i]);
    pare_sb_printf(&dict, "%s), }", a->ndim == 1 ? "," : "");
    size_t start = dict.len + 1 + 10 + 63 > 65535 ? 12 : 10, all = (start + dict.len + 1 + 63) / 64 * 64;
    size_t n = all - start;
    unsigned char head[12] = "\x93NUMPY";
    head[6] = start == 10 ? 1 : 2;
    head[8] = (unsigned char)n;
    head[9] = (unsigned char)(n >> 8);
    head[10] = (unsigned char)(n >> 16);
    head[11] = (unsigned char)(n >> 24);
    pare_sb_addn(b, (const char *)head, start);
    pare_sb_addn(b, dict.data, dict.len);
    while (b->len + 1 < all) pare_sb_addc(b, ' ');
    pare_sb_addc(b, '\n');
    pare_sb_free(&dict);
}

pare_status pare_npy_write(const char *path, const pare_array *a, pare_diags *d) {
    enum { BLOCK = 1 << 16 };
    uint32_t dtype = written_as(a->dtype);
    if (!word_of(dtype))
        return pare_fail_file(d, PARE_EUNSUPPORTED, path, "npy.dtype", NULL,
                              "numpy has no word for %s: a .npy file can't hold it", pare_dtype_name(a->dtype));
    pare_file_out *f;
    pare_status st = pare_file_out_open(path, d, &f);
    if (st != PARE_OK) return st;
    pare_sb b = {0};
    make_header(a, dtype, &b);
    st = pare_file_out_write(f, b.data, b.len);
    pare_sb_free(&b);
    if (dtype == a->dtype) {
        if (st == PARE_OK && a->nbytes) st = pare_file_out_write(f, pare_array_data(a), a->nbytes);
    } else {
        size_t size = pare_dtype_bits(dtype) / 8;
        unsigned char *block = pare_xmalloc((size_t)BLOCK * 4);
        for (uint64_t i = 0; i < a->count && st == PARE_OK; i += BLOCK) {
            uint64_t n = a->count - i < BLOCK ? a->count - i : BLOCK;
            widen(a, i, n, block);
            st = pare_file_out_write(f, block, n * size);
        }
        free(block);
    }
    if (st == PARE_OK) return pare_file_out_commit(f);
    pare_file_out_abort(f);
    return st;
}
