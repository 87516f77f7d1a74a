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

/* Weights of output pixels first..first+n-1 of `full` made from `in` pixels. Returns how many each may have; 0: memory.
 */
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

/* Pixel `left` of the input row lies at p. */
static void across_rgb(const unsigned char *p, uint32_t left, unsigned char *to, uint32_t n,
                       const pare_resize_room *room, uint32_t most) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *w = room->weights + (size_t)i * most;
        const unsigned char *q = p + (size_t)(room->spans[2 * i] - left) * 3;
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

static void across_any(const unsigned char *p, uint32_t left, unsigned char *to, uint32_t n, uint32_t channels,
                       const pare_resize_room *room, uint32_t most) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *w = room->weights + (size_t)i * most;
        uint32_t taps = room->spans[2 * i + 1];
        for (uint32_t c = 0; c < channels; c++) {
            const unsigned char *q = p + (size_t)(room->spans[2 * i] - left) * channels + c;
            int32_t sum = 1 << (BITS - 1);
            for (uint32_t k = 0; k < taps; k++) sum += w[k] * q[(size_t)k * channels];
            to[i * channels + c] = to_u8(sum);
        }
    }
}

/* Bytes in rows; x and y: which pixel of the image the first is. */
typedef struct plane {
    unsigned char *p;
    size_t stride;
    uint32_t x, y, width, height;
} plane;

/* Pixels to->x.. of rows as they are, from rows made `full` wide. */
static bool across(const plane *from, uint32_t in, uint64_t full, uint64_t x0, const plane *to, uint32_t channels,
                   pare_resize_room *room) {
    uint32_t most = make_weights(in, full, x0, to->width, room);
    if (!most) return false;
    for (uint32_t y = 0; y < to->height; y++) {
        const unsigned char *p = from->p + y * from->stride;
        if (channels == 3)
            across_rgb(p, from->x, to->p + y * to->stride, to->width, room, most);
        else
            across_any(p, from->x, to->p + y * to->stride, to->width, channels, room, most);
    }
    return true;
}

/* The same for columns. */
static bool down(const plane *from, uint32_t in, uint64_t full, uint64_t y0, const plane *to, uint32_t channels,
                 pare_resize_room *room) {
    uint32_t most = make_weights(in, full, y0, to->height, room);
    size_t n = (size_t)to->width * channels;
    if (!most || !room_for(&room->sums, &room->n_sums, n, sizeof *room->sums)) return false;
    int32_t *restrict sums = room->sums;
    for (uint32_t y = 0; y < to->height; y++) {
        const int32_t *weights = room->weights + (size_t)y * most;
        for (size_t i = 0; i < n; i++) sums[i] = 1 << (BITS - 1);
        for (uint32_t k = 0; k < room->spans[2 * y + 1]; k++) {
            const unsigned char *restrict p = from->p + (room->spans[2 * y] - from->y + k) * from->stride;
            int32_t f = weights[k];
            for (size_t i = 0; i < n; i++) sums[i] += f * p[i];
        }
        unsigned char *q = to->p + y * to->stride;
        for (size_t i = 0; i < n; i++) q[i] = to_u8(sums[i]);
    }
    return true;
}

/* Which of `in` pixels the pixels first..first+n-1 of `full` are made of. */
static bool reach(uint32_t in, uint64_t full, uint64_t first, uint32_t n, pare_resize_room *room, uint32_t *from,
                  uint32_t *count) {
    *from = (uint32_t)first;
    *count = n;
    if (full == in) return true;
    if (!make_weights(in, full, first, n, room)) return false;
    *from = room->spans[0];
    *count = room->spans[2 * (n - 1)] + room->spans[2 * (n - 1) + 1] - *from;
    return true;
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

    plane last = {to, out_stride, 0, 0, nx, ny}, from = {.stride = (size_t)in->width * ch};
    bool high = w->full_height != in->height, wide = w->full_width != in->width;
    if (!reach(in->height, w->full_height, y0, ny, room, &from.y, &from.height) ||
        !reach(in->width, w->full_width, x0, nx, room, &from.x, &from.width))
        return no_memory(path, d);
    from.p = in->pixels + from.y * from.stride + (size_t)from.x * ch;
    if (!high && !wide) {
        for (uint32_t y = 0; y < ny; y++) memcpy(last.p + y * out_stride, from.p + y * from.stride, (size_t)nx * ch);
        return PARE_OK;
    }
    /* Pillow 13's choice of what comes first; before it, always across */
    int64_t lower = (int64_t)in->height - (int64_t)w->full_height,
            narrower = (int64_t)in->width - (int64_t)w->full_width;
    bool down_first = lower > 0 && lower > 2 * narrower;
    plane mid = last;
    if (high && wide) {
        mid = (plane){NULL, 0, from.x, from.y, down_first ? from.width : nx, down_first ? ny : from.height};
        mid.stride = (size_t)mid.width * ch;
        if (!room_for(&room->pixels, &room->n_pixels, mid.stride * mid.height, 1)) return no_memory(path, d);
        mid.p = room->pixels;
    }
    bool ok;
    if (!wide)
        ok = down(&from, in->height, w->full_height, y0, &last, ch, room);
    else if (!high)
        ok = across(&from, in->width, w->full_width, x0, &last, ch, room);
    else if (down_first)
        ok = down(&from, in->height, w->full_height, y0, &mid, ch, room) &&
             across(&mid, in->width, w->full_width, x0, &last, ch, room);
    else
        ok = across(&from, in->width, w->full_width, x0, &mid, ch, room) &&
             down(&mid, in->height, w->full_height, y0, &last, ch, room);
    return ok ? PARE_OK : no_memory(path, d);
}
