/* data/image.c - see image.h: what all formats share. */
#include "data/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void pare_image_free(pare_image *im) {
    free(im->pixels);
    *im = (pare_image){0};
}

pare_status pare_image_size(pare_image *im, uint64_t width, uint64_t height, uint32_t channels, const char *path,
                            pare_diags *d) {
    if (!width || !height)
        return pare_fail_file(d, PARE_EINVAL, path, "image.size", NULL,
                              "an image of %" PRIu64 "x%" PRIu64 " pixels holds nothing", width, height);
    if (width > PARE_IMAGE_SIDE || height > PARE_IMAGE_SIDE || width * height > PARE_IMAGE_PIXELS)
        return pare_fail_file(d, PARE_EUNSUPPORTED, path, "image.too-large", "make it smaller, or leave it out",
                              "%" PRIu64 "x%" PRIu64 " pixels: more than %u a side or %llu in all are refused", width,
                              height, PARE_IMAGE_SIDE, PARE_IMAGE_PIXELS);
    size_t n = (size_t)width * height * channels;
    if (n > im->cap) {
        free(im->pixels);
        im->cap = 0;
        im->pixels = pare_try_alloc(n);
        if (!im->pixels)
            return pare_fail_file(d, PARE_ENOMEM, path, "memory", NULL, "%zu bytes of memory could not be had", n);
        im->cap = n;
    }
    im->width = (uint32_t)width;
    im->height = (uint32_t)height;
    im->channels = channels;
    return PARE_OK;
}

pare_status pare_image_decode(const unsigned char *p, uint64_t len, const char *path, pare_diags *d, pare_image *im) {
    if (len >= 2 && p[0] == 0xff && p[1] == 0xd8) return pare_image_jpeg(p, len, path, d, im);
    if (len >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) return pare_image_png(p, len, path, d, im);
    if (!len) return pare_fail_file(d, PARE_EINVAL, path, "image.corrupt", NULL, "the file is empty");
    const char *what = len >= 12 && memcmp(p + 8, "WEBP", 4) == 0                     ? "a WebP image"
                       : memcmp(p, "GIF8", len < 4 ? len : 4) == 0                    ? "a GIF image"
                       : memcmp(p, "BM", len < 2 ? len : 2) == 0                      ? "a BMP image"
                       : len >= 4 && (!memcmp(p, "II*", 4) || !memcmp(p, "MM\0*", 4)) ? "a TIFF image"
                                                                                      : NULL;
    if (what)
        return pare_fail_file(d, PARE_EUNSUPPORTED, path, "image.format", "convert it to PNG or JPEG",
                              "this is %s; JPEG and PNG are read", what);
    return pare_fail_file(d, PARE_EINVAL, path, "image.corrupt", "JPEG and PNG images are read",
                          "it doesn't begin as a JPEG or PNG image does");
}

pare_status pare_image_channels(pare_image *im, uint32_t channels, const char *path, pare_diags *d) {
    size_t n = (size_t)im->width * im->height;
    if (im->channels == channels) return PARE_OK;
    if (im->channels == 3 && channels == 1) {
        unsigned char *p = im->pixels;
        for (size_t i = 0; i < n; i++)
            p[i] = (unsigned char)((p[i * 3] * 19595u + p[i * 3 + 1] * 38470u + p[i * 3 + 2] * 7471u + 0x8000u) >> 16);
        im->channels = 1;
        return PARE_OK;
    }
    if (im->channels != 1 || channels != 3)
        return pare_fail_file(d, PARE_EUNSUPPORTED, path, "image.channels", NULL,
                              "%u channels can't be made of %u: 1 and 3 are converted to each other", channels,
                              im->channels);
    pare_image rgb = {0};
    pare_status st = pare_image_size(&rgb, im->width, im->height, 3, path, d);
    if (st != PARE_OK) return st;
    for (size_t i = 0; i < n; i++) memset(rgb.pixels + i * 3, im->pixels[i], 3);
    free(im->pixels);
    *im = rgb;
    return PARE_OK;
}

pare_image_kind pare_image_of_name(const char *name) {
    static const char *const read[] = {".jpg", ".jpeg", ".png"};
    static const char *const other[] = {".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"};
    const char *dot = strrchr(name, '.');
    if (!dot) return PARE_IMAGE_NO;
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (strcasecmp(dot, read[i]) == 0) return PARE_IMAGE_YES;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcasecmp(dot, other[i]) == 0) return PARE_IMAGE_OTHER;
    return PARE_IMAGE_NO;
}
