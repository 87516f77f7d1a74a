/* data/prep_sample.c - see prep.h: the work on each sample. */
#include "base/random.h"
#include "data/element.h"
#include "data/prep.h"
#include "data/window.h"

#include <inttypes.h>
#include <string.h>

void pare_prep_room_free(pare_prep_room *room) {
    pare_image_free(&room->image);
    pare_image_free(&room->out);
    pare_resize_room_free(&room->resize);
}

/* A record's pixels with channels interleaved. */
static pare_status load_record(const pare_prep *p, uint64_t i, pare_diags *d, pare_image *im) {
    const pare_store *s = p->store;
    const unsigned char *from = pare_store_record(s, i);
    bool planes = s->ndim == 3 && s->layout == PARE_DATA_LAYOUT_NCHW;
    const int64_t *hw = s->dims + planes;
    uint32_t c = s->ndim == 2 ? 1 : (uint32_t)s->dims[planes ? 0 : 2];
    pare_status st = pare_image_size(im, (uint64_t)hw[1], (uint64_t)hw[0], c, p->name, d);
    if (st != PARE_OK) return st;
    size_t n = (size_t)im->width * im->height;
    if (!planes || c == 1) {
        memcpy(im->pixels, from, n * c);
        return PARE_OK;
    }
    for (uint32_t k = 0; k < c; k++)
        for (size_t j = 0; j < n; j++) im->pixels[j * c + k] = from[k * n + j];
    return PARE_OK;
}

pare_status pare_prep_load(const pare_prep *p, uint64_t i, pare_diags *d, pare_prep_room *room) {
    pare_status st;
    const char *path = p->name;
    if (p->store->kind == STORE_FILES) {
        path = p->store->paths[i];
        pare_map_file *f;
        st = pare_map_file_open(path, d, &f);
        if (st != PARE_OK) return st;
        st = pare_image_decode(f->data, f->len, path, d, &room->image);
        pare_map_file_unref(f);
    } else {
        st = load_record(p, i, d, &room->image);
    }
    return st == PARE_OK ? pare_image_channels(&room->image, p->channels, path, d) : st;
}

/* The channel of the image that channel c of the tensor is. */
static uint32_t source_channel(const pare_prep *p, uint32_t c) {
    return p->pre.order == PARE_ORDER_BGR && p->channels >= 3 && c < 3 ? 2 - c : c;
}

static void write_float(const pare_prep *p, const unsigned char *px, size_t n, float *to) {
    uint32_t ch = p->channels;
    for (uint32_t c = 0; c < ch; c++) {
        const float *table = p->table[c];
        const unsigned char *q = px + source_channel(p, c);
        float *out = to + (p->nhwc ? c : c * n);
        size_t step = p->nhwc ? ch : 1;
        for (size_t i = 0; i < n; i++) out[i * step] = table[q[i * ch]];
    }
}

static void write_bytes(const pare_prep *p, const unsigned char *px, size_t n, unsigned char *to) {
    uint32_t ch = p->channels;
    for (uint32_t c = 0; c < ch; c++) {
        const unsigned char *q = px + source_channel(p, c);
        unsigned char *out = to + (p->nhwc ? c : c * n);
        size_t step = p->nhwc ? ch : 1;
        for (size_t i = 0; i < n; i++) out[i * step] = q[i * ch];
    }
}

static pare_status write_pixels(const pare_prep *p, uint64_t i, pare_diags *d, pare_prep_room *room, void *to) {
    const char *path = p->store->kind == STORE_FILES ? p->store->paths[i] : p->name;
    const pare_image *im = &room->image;
    pare_window w;
    pare_status st = pare_prep_window(&p->pre, im->width, im->height, path, d, &w);
    if (st != PARE_OK) return st;
    if (w.width != p->width || w.height != p->height)
        return pare_fail_file(d, PARE_EINVAL, path, "data.image-size",
                              "bring them to one size in preprocess, such as resize: 256 and crop: 224",
                              "the image comes to %ux%u (width x height), and %" PRIu64 "x%" PRIu64 " is wanted",
                              w.width, w.height, p->width, p->height);
    if (w.x || w.y || w.full_width != im->width || w.full_height != im->height || w.width != im->width ||
        w.height != im->height) {
        st = pare_image_resize(im, &w, path, d, &room->resize, &room->out);
        if (st != PARE_OK) return st;
        im = &room->out;
    }
    size_t n = (size_t)im->width * im->height;
    if (p->dtype == PARE_UINT8)
        write_bytes(p, im->pixels, n, to);
    else
        write_float(p, im->pixels, n, to);
    return PARE_OK;
}

/* ---- arrays ---- */

static float number(const pare_prep *p, float x, uint32_t c) {
    if (p->store->dtype == PARE_UINT8 && p->pre.scale == 0)
        x /= 255.0f;
    else
        x *= p->scale;
    return (x - p->mean[c]) / p->std[c];
}

static void write_float_image(const pare_prep *p, const unsigned char *from, float *to) {
    const pare_store *s = p->store;
    size_t n = (size_t)(p->width * p->height);
    uint32_t ch = p->channels;
    bool planes = s->layout == PARE_DATA_LAYOUT_NCHW;
    for (uint32_t c = 0; c < ch; c++) {
        uint32_t k = source_channel(p, c);
        for (size_t i = 0; i < n; i++)
            to[p->nhwc ? i * ch + c : c * n + i] =
                number(p, pare_element_float(from, s->dtype, planes ? k * n + i : i * ch + k), c);
    }
}

/* A layout or colour order of elements that stay what they are. */
static void move_image(const pare_prep *p, const unsigned char *from, unsigned char *to) {
    size_t n = (size_t)(p->width * p->height), size = pare_dtype_bits(p->dtype) / 8;
    uint32_t ch = p->channels;
    bool planes = p->store->layout == PARE_DATA_LAYOUT_NCHW;
    for (uint32_t c = 0; c < ch; c++) {
        uint32_t k = source_channel(p, c);
        for (size_t i = 0; i < n; i++)
            memcpy(to + (p->nhwc ? i * ch + c : c * n + i) * size, from + (planes ? k * n + i : i * ch + k) * size,
                   size);
    }
}

pare_status pare_prep_write(const pare_prep *p, uint64_t i, pare_diags *d, pare_prep_room *room, void *to) {
    const pare_store *s = p->store;
    if (p->pixels) return write_pixels(p, i, d, room, to);
    if (s->kind == STORE_RANDOM) {
        pare_random_normal(s->seed, pare_random_stream("data.random") + i, 0, 1, to, p->bytes / sizeof(float));
        return PARE_OK;
    }
    const unsigned char *from = pare_store_record(s, i);
    if (p->plain) {
        if (p->bytes) memcpy(to, from, p->bytes);
    } else if (s->image && p->dtype == PARE_FLOAT) {
        write_float_image(p, from, to);
    } else if (s->image) {
        move_image(p, from, to);
    } else {
        float *out = to;
        for (uint64_t k = 0; k < p->bytes / sizeof(float); k++)
            out[k] = number(p, pare_element_float(from, s->dtype, k), 0);
    }
    return PARE_OK;
}
