/* data/image_jpeg.c - see image.h: JPEG by libjpeg(-turbo), with its exact integer IDCT and its default upsampling.
 *
 * Data that ends early or can't be decoded is an error: libjpeg alone would fill the rest with grey and warn.
 */
#include "data/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

typedef struct reader {
    struct jpeg_error_mgr err;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
} reader;

_Noreturn static void on_error(j_common_ptr c) {
    reader *r = (reader *)(void *)c->err;
    c->err->format_message(c, r->message);
    longjmp(r->back, 1);
}

/* Warnings come as level -1. Those that mean lost pixels are errors here; stray bytes between markers are not. */
static void on_message(j_common_ptr c, int level) {
    if (level >= 0) return;
    switch (c->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC: on_error(c);
    default: break;
    }
}

static void no_output(j_common_ptr c) { (void)c; }

/* Adobe's CMYK, stored inverted, to RGB as Pillow does: r = (255 - k) - c * (255 - k) / 255, rounded. */
static void cmyk_row(const unsigned char *p, unsigned char *to, uint32_t width) {
    for (uint32_t i = 0; i < width; i++) {
        unsigned keep = p[i * 4 + 3]; /* 255 - k */
        for (int c = 0; c < 3; c++) {
            unsigned ink = 255u - p[i * 4 + c], t = ink * keep + 128;
            t = ((t >> 8) + t) >> 8;
            to[i * 3 + c] = (unsigned char)(keep > t ? keep - t : 0);
        }
    }
}

/* All that is allocated between setjmp and longjmp is libjpeg's own, or im's. */
pare_status pare_image_jpeg(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im) {
    reader r;
    struct jpeg_decompress_struct c;
    memset(&c, 0, sizeof c);
    c.err = jpeg_std_error(&r.err);
    r.err.error_exit = on_error;
    r.err.emit_message = on_message;
    r.err.output_message = no_output;
    r.message[0] = '\0';
    if (setjmp(r.back)) {
        jpeg_destroy_decompress(&c);
        return pare_fail_file(d, PARE_EINVAL, path, "image.corrupt", NULL, "the JPEG image can't be decoded: %s",
                              r.message);
    }
    jpeg_create_decompress(&c);
    jpeg_mem_src(&c, p, (unsigned long)len);
    jpeg_read_header(&c, TRUE);
    bool four = c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK;
    bool grey = c.jpeg_color_space == JCS_GRAYSCALE;
    c.out_color_space = four ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
    c.dct_method = JDCT_ISLOW;
    /* sizes first: a progressive image's coefficients are allocated by start_decompress */
    pare_status st = pare_image_size(im, c.image_width, c.image_height, grey ? 1 : four ? 4 : 3, path, d);
    if (st != PARE_OK) {
        jpeg_destroy_decompress(&c);
        return st;
    }
    jpeg_start_decompress(&c);
    size_t stride = (size_t)im->width * im->channels;
    while (c.output_scanline < c.output_height) {
        JSAMPROW rows[16];
        int n = 0;
        for (uint32_t y = c.output_scanline; n < 16 && y < c.output_height; y++) rows[n++] = im->pixels + y * stride;
        jpeg_read_scanlines(&c, rows, (JDIMENSION)n);
    }
    jpeg_finish_decompress(&c);
    jpeg_destroy_decompress(&c);
    if (four) { /* rows shrink towards the front, so it works in place */
        for (uint32_t y = 0; y < im->height; y++)
            cmyk_row(im->pixels + y * stride, im->pixels + (size_t)y * im->width * 3, im->width);
        im->channels = 3;
    }
    return PARE_OK;
}
