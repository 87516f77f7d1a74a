/* data/image.h - pixels: JPEG and PNG files to 8-bit images, colour conversion, resizing. Inside the layer.
 *
 * The same bytes as Pillow gives: alpha is dropped, CMYK goes through Adobe's inverted form, 16 bits keep the high
 * byte, EXIF's orientation is not applied (nor does torchvision's ImageFolder). May use: base, libjpeg, libpng.
 */
#ifndef PARE_DATA_IMAGE_H
#define PARE_DATA_IMAGE_H

#include "base/diag.h"

/* Rows from the top, channels interleaved, no padding. Zero-initialise; the buffer is kept for the next image. */
typedef struct pare_image {
    uint32_t width, height, channels;
    unsigned char *pixels;
    size_t cap;
} pare_image;

enum { PARE_IMAGE_SIDE = 65535 };      /* the longest side */
#define PARE_IMAGE_PIXELS 178956970ull /* the most pixels: half a GiB as RGB; Pillow refuses there as well */

void pare_image_free(pare_image *im);
/* Makes room. PARE_ENOMEM and PARE_EUNSUPPORTED (too large) are reported about `path`. */
pare_status pare_image_size(pare_image *im, uint64_t width, uint64_t height, uint32_t channels, const char *path,
                            pare_diags *d);

/* By content. im gets 1 channel (grey) or 3 (RGB). PARE_EINVAL: corrupt; PARE_EUNSUPPORTED: another format, too large.
 */
pare_status pare_image_decode(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im);
pare_status pare_image_jpeg(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im);
pare_status pare_image_png(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im);

/* To 1 or 3 channels from 1 or 3, in place. Grey is ITU-R 601-2 luma in 16-bit fixed point. */
pare_status pare_image_channels(pare_image *im, uint32_t channels, const char *path, pare_diags *d);

/* A window of an image resized as a whole: `full` is the size it is resized to, the window may reach over its edges,
 * where pixels are 0. */
typedef struct pare_window {
    uint64_t full_width, full_height;
    int64_t x, y;
    uint32_t width, height;
} pare_window;

/* Memory that resizing needs again and again. Zero-initialise. */
typedef struct pare_resize_room {
    int32_t *weights;
    uint32_t *spans; /* first, count a pixel */
    double *row;
    unsigned char *pixels;
    int32_t *sums;
    size_t n_weights, n_spans, n_row, n_pixels, n_sums;
} pare_resize_room;
void pare_resize_room_free(pare_resize_room *room);

/* Triangle filter widened by the scale where it shrinks, rows and columns one after the other, each pass rounded to 8
 * bits with 22-bit weights: what the resize(BILINEAR) of Pillow 13 does, to the byte. */
pare_status pare_image_resize(const pare_image *in, const pare_window *w, const char *path, pare_diags *d,
                              pare_resize_room *room, pare_image *out);

/* Is it an image's file name, and of a format that is read? */
typedef enum { PARE_IMAGE_NO, PARE_IMAGE_YES, PARE_IMAGE_OTHER } pare_image_kind;
pare_image_kind pare_image_of_name(const char *name);

#endif
