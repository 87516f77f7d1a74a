/* data/image_png.c - see image.h: PNG by libpng. Every kind becomes 8-bit grey or RGB; alpha and gamma are not applied.
 */
#include "data/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct reader {
    const unsigned char *p;
    uint64_t left;
    char message[200];
    png_bytep *rows;
} reader;

_Noreturn static void on_error(png_structp png, png_const_charp text) {
    reader *r = png_get_error_ptr(png);
    snprintf(r->message, sizeof r->message, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t n) {
    reader *r = png_get_io_ptr(png);
    if (n > r->left) png_error(png, "the file ends too early");
    memcpy(to, r->p, n);
    r->p += n;
    r->left -= n;
}

/* In a function of its own, so that nothing lives in registers across the longjmp. */
static pare_status read_all(png_structp png, png_infop info, reader *r, const char *path, pare_diags *d,
                            pare_image *im) {
    if (setjmp(png_jmpbuf(png)))
        return pare_fail_file(d, PARE_EINVAL, path, "image.corrupt", NULL, "the PNG image can't be decoded: %s",
                              r->message);
    png_set_read_fn(png, r, on_read);
    png_set_user_limits(png, PARE_IMAGE_SIDE * 16u, PARE_IMAGE_SIDE * 16u); /* ours are told with more words */
    png_read_info(png, info);
    png_byte color = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    bool grey = !(color & PNG_COLOR_MASK_COLOR);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (grey && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16) png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    pare_status st =
        pare_image_size(im, png_get_image_width(png, info), png_get_image_height(png, info), grey ? 1 : 3, path, d);
    if (st != PARE_OK) return st;
    png_read_update_info(png, info);
    size_t stride = (size_t)im->width * im->channels;
    if (png_get_rowbytes(png, info) != stride) png_error(png, "rows of an unexpected size");
    r->rows = pare_xmalloc(im->height * sizeof *r->rows);
    for (uint32_t y = 0; y < im->height; y++) r->rows[y] = im->pixels + y * stride;
    png_read_image(png, r->rows);
    png_read_end(png, NULL);
    return PARE_OK;
}

pare_status pare_image_png(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im) {
    reader r = {.p = p, .left = len};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    pare_status st = info ? read_all(png, info, &r, path, d, im)
                          : pare_fail_file(d, PARE_ENOMEM, path, "memory", NULL, "libpng could not be started");
    free(r.rows);
    png_destroy_read_struct(&png, &info, NULL);
    return st;
}
