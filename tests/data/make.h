/* tests/data/make.h - files that the data tests read: images, IDX, text; and looking at what a set gives. */
#ifndef TESTS_DATA_MAKE_H
#define TESTS_DATA_MAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tmpdir.h"
#include "data/data.h"
#include "data/npy.h"

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

static inline void write_bytes_to(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void write_gz(const char *path, const void *p, size_t n) {
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, p, (unsigned)n), (int)n);
    assert_int_equal(gzclose(f), Z_OK);
}

/* type: PNG_COLOR_TYPE_*; rows of width * channels * depth / 8 bytes. */
static inline void write_png(const char *path, uint32_t w, uint32_t h, int depth, int type, int interlace,
                             const unsigned char *px) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, f);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
    png_set_IHDR(png, info, w, h, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        static const png_color palette[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {10, 20, 30}};
        png_set_PLTE(png, info, palette, 4);
    }
    png_write_info(png, info);
    size_t row = png_get_rowbytes(png, info);
    png_bytep *rows = malloc(h * sizeof *rows);
    for (uint32_t y = 0; y < h; y++) rows[y] = (png_bytep)(uintptr_t)(px + y * row);
    png_write_image(png, rows);
    free(rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
}

/* channels 1, 3 or 4 (CMYK as the bytes say). */
static inline void write_jpeg(const char *path, uint32_t w, uint32_t h, int channels, const unsigned char *px) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr err;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    c.err = jpeg_std_error(&err);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = w;
    c.image_height = h;
    c.input_components = channels;
    c.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 95, TRUE);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < h) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(px + (size_t)c.next_scanline * w * (unsigned)channels);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_int_equal(fclose(f), 0);
}

static inline void make_dir(const char *path) { assert_int_equal(pare_dir_make(path, NULL), PARE_OK); }

static inline pare_data *open_good(const pare_data_source *src, const pare_data_target *t) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(src, t, d, &set), PARE_OK);
    assert_int_equal(pare_diags_errors(d), 0);
    pare_diags_free(d);
    return set;
}

static inline pare_reader *reader_good(const pare_data *set, const pare_data_preprocess *pre, const pare_data_target *t,
                                       uint32_t batch) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_reader *r = NULL;
    pare_reader_opts o = {.batch = batch, .threads = 2};
    assert_int_equal(pare_reader_open(set, pre, t, &o, d, &r), PARE_OK);
    pare_diags_free(d);
    return r;
}

static inline pare_batch next_good(pare_reader *r) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_batch b;
    assert_int_equal(pare_reader_next(r, d, &b), PARE_OK);
    assert_int_equal(pare_diags_errors(d), 0);
    pare_diags_free(d);
    return b;
}

/* The last error has this code and its message or path holds `part`. */
static inline void told(const pare_diags *d, const char *code, const char *part) {
    assert_true(pare_diags_errors(d) > 0);
    const pare_diag_item *it = pare_diags_get(d, pare_diags_count(d) - 1);
    if (strcmp(it->code, code) != 0) fail_msg("code %s (%s), not %s", it->code, it->message, code);
    if (!strstr(it->message, part) && !(it->path && strstr(it->path, part)) &&
        !(it->at.src && strstr(it->at.src->name, part)))
        fail_msg("'%s' (%s) doesn't speak of '%s'", it->message, it->path ? it->path : "-", part);
}

static inline void open_bad(const pare_data_source *src, pare_status st, const char *code, const char *part) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(src, NULL, d, &set), st);
    assert_null(set);
    told(d, code, part);
    pare_diags_free(d);
}

#endif
