/* data/resize.c - see image.h: pare_image_resize.
 *
 * Only the window is computed, and of the input only the rows it needs; the weights are those of the whole image, so
 * that a crop after resizing gives the same bytes.
 */
#include "data/image.h"

#include <stdlib.h>
#include <string.h>

enum { BITS = 22 }; /* 255 * 2^22 < 2^31 */

/* Room for n elements of `size` bytes; contents are lost. */
static bool room_for(void *at, size_t *have, size_t n, size_t size) {
    void **p = at;
    uint64_t bytes;
    if (n <= *have) return true;
    free(*p);
    *have = 0;
    *p = pare_mul_ok(n, size, &bytes) ? pare_try_alloc(bytes) : NULL;
    if (!*p) return false;
    *have = n;
    return true;
}

void pare_resize_room_free(pare_resize_room *room) {
    free(room->weights);
    free(room->spans);
    free(room->row);
    free(room->pixels);
    free(room->sums);
    *room = (pare_resize_room){0};
}

/* Weights of output pixels first..first+n-1 of `full` made from `in` pixels. Returns how many each may have; 0: memory. */
static uint32_t make_weights(uint32_t in, uint64_t full, uint64_t first, uint32_t n, pare_resize_room *room) {
    double scale = (double)in / (double)full, widen = scale < 1 ? 1 : scale, support = widen;
    uint64_t most = (uint64_t)support + 1; /* ceil(support) at least */
    most = most * 2 + 1 < in ? most * 2 + 1 : in;
    uint64_t all;
    if (!pare_mul_ok(most, n, &all) || !room_for(&room->weights, &room->n_weights, all, sizeof *room->weights) ||
        !room_for(&room->spans, &room->n_spans, 2 * (size_t)n, sizeof *room->spans) ||
        !room_for(&room->row, &room->n_row, most, sizeof *room->row))
        return 0;
    double inverse = 1.0 / widen;
    for (uint32_t i = 0; i < n; i++) {
        double center = ((double)(first + i) + 0.5) * scale, sum = 0;
        double from = center - support + 0.5, to = center + support + 0.5;
        uint32_t lo = from > 0 ? (uint32_t)from : 0, hi = to < (double)in ? (uint32_t)to : in;
        for (uint32_t k = 0; k < hi - lo; k++) {
            double x = ((double)(k + lo) - center + 0.5) * inverse;
            if (x < 0) x = -x;
            room->row[k] = x < 1 ? 1 - x : 0;
            sum += room->row[k];
        }
        int32_t *w = room->weights + i * most;
        for (uint32_t k = 0; k < hi - lo; k++)
            w[k] = (int32_t)(0.5 + (sum != 0 ? room->row[k] / sum : 0) * (1 << BITS));
        room->spans[2 * i] = lo;
        room->spans[2 * i + 1] = hi - lo;
    }
    return (uint32_t)most;
}

static inline unsigned char to_u8(int32_t v) {
    v >>= BITS;
    return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void across_rgb(const unsigned char *p, unsigned char *to, uint32_t n, const pare_resize_room *room,
                       uint32_t most) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *w = room->weights + (size_t)i * most;
        const unsigned char *q = p + (size_t)room->spans[2 * i] * 3;
        uint32_t taps = room->spans[2 * i + 1];
        int32_t r = 1 << (BITS - 1), g = r, b = r;
        for (uint32_t k = 0; k < taps; k++, q += 3) {
            r += w[k] * q[0];
            g += w[k] * q[1];
            b += w[k] * q[2];
        }
        to[i * 3] = to_u8(r);
        to[i * 3 + 1] = to_u8(g);
        to[i * 3 + 2] = to_u8(b);
    }
}

static void across(const unsigned char *p, unsigned char *to, uint32_t n, uint32_t channels,
                   const pare_resize_room *room, uint32_t most) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *w = room->weights + (size_t)i * most;
        uint32_t taps = room->spans[2 * i + 1];
        for (uint32_t c = 0; c < channels; c++) {
            const unsigned char *q = p + (size_t)room->spans[2 * i] * channels + c;
            int32_t sum = 1 << (BITS - 1);
            for (uint32_t k = 0; k < taps; k++) sum += w[k] * q[(size_t)k * channels];
            to[i * channels + c] = to_u8(sum);
        }
    }
}

static pare_status no_memory(const char *path, pare_diags *d) {
    return pare_fail_file(d, PARE_ENOMEM, path, "memory", NULL, "no memory to resize the image");
}

/* The part of 0..full that a window of `size` at `at` sees. */
static bool seen(uint64_t full, int64_t at, uint32_t size, uint64_t *first, uint32_t *n) {
    int64_t lo = at < 0 ? 0 : at, hi = at + (int64_t)size;
    if (hi > (int64_t)full) hi = (int64_t)full;
    if (hi <= lo) return false;
    *first = (uint64_t)lo;
    *n = (uint32_t)(hi - lo);
    return true;
}

pare_status pare_image_resize(const pare_image *in, const pare_window *w, const char *path, pare_diags *d,
                              pare_resize_room *room, pare_image *out) {
    uint32_t ch = in->channels, nx, ny;
    uint64_t x0, y0;
    pare_status st = pare_image_size(out, w->width, w->height, ch, path, d);
    if (st != PARE_OK) return st;
    size_t out_stride = (size_t)w->width * ch;
    bool any = seen(w->full_width, w->x, w->width, &x0, &nx) && seen(w->full_height, w->y, w->height, &y0, &ny);
    if (!any || nx != w->width || ny != w->height) memset(out->pixels, 0, out_stride * w->height);
    if (!any) return PARE_OK;
    unsigned char *to = out->pixels + (w->y < 0 ? (size_t)-w->y : 0) * out_stride + (w->x < 0 ? (size_t)-w->x : 0) * ch;

    /* the rows of the input that the window's rows are made of */
    bool down = w->full_height != in->height, side = w->full_width != in->width;
    uint64_t top = y0, rows = ny;
    if (down) {
        if (!make_weights(in->height, w->full_height, y0, ny, room)) return no_memory(path, d);
        top = room->spans[0];
        rows = room->spans[2 * (ny - 1)] + room->spans[2 * (ny - 1) + 1] - top;
    }

    /* across: rows of nx pixels, in room->pixels or straight in the input */
    const unsigned char *mid = in->pixels + top * in->width * ch + x0 * ch;
    size_t mid_stride = (size_t)in->width * ch;
    if (side) {
        uint32_t most = make_weights(in->width, w->full_width, x0, nx, room);
        mid_stride = (size_t)nx * ch;
        if (!most || !room_for(&room->pixels, &room->n_pixels, mid_stride * rows, 1)) return no_memory(path, d);
        for (uint64_t y = 0; y < rows; y++) {
            const unsigned char *p = in->pixels + (top + y) * in->width * ch;
            unsigned char *q = room->pixels + y * mid_stride;
            if (ch == 3)
                across_rgb(p, q, nx, room, most);
            else
                across(p, q, nx, ch, room, most);
        }
        mid = room->pixels;
    }

    /* down */
    size_t n = (size_t)nx * ch;
    if (!down) {
        for (uint32_t y = 0; y < ny; y++) memcpy(to + y * out_stride, mid + y * mid_stride, n);
        return PARE_OK;
    }
    uint32_t most = make_weights(in->height, w->full_height, y0, ny, room);
    if (!most || !room_for(&room->sums, &room->n_sums, n, sizeof *room->sums)) return no_memory(path, d);
    int32_t *restrict sums = room->sums;
    for (uint32_t y = 0; y < ny; y++) {
        const int32_t *weights = room->weights + (size_t)y * most;
        for (size_t i = 0; i < n; i++) sums[i] = 1 << (BITS - 1);
        for (uint32_t k = 0; k < room->spans[2 * y + 1]; k++) {
            const unsigned char *restrict p = mid + (room->spans[2 * y] - top + k) * mid_stride;
            int32_t f = weights[k];
            for (size_t i = 0; i < n; i++) sums[i] += f * p[i];
        }
        unsigned char *q = to + y * out_stride;
        for (size_t i = 0; i < n; i++) q[i] = to_u8(sums[i]);
    }
    return PARE_OK;
}
