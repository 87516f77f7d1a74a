/* data/prep.c - see prep.h: what is settled once. The work on each sample is in prep_sample.c. */
#include "data/prep.h"

#include "data/window.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool channels_like(int64_t n, uint32_t own) { return n == 1 || n == 3 || (own && n == (int64_t)own); }

/* Channels of the store's own images; 0: not known before they are decoded. */
static uint32_t own_channels(const pare_store *s) {
    if (s->kind == STORE_FILES) return 0;
    if (s->ndim == 2) return 1;
    return (uint32_t)(s->layout == PARE_DATA_LAYOUT_NCHW ? s->dims[0] : s->dims[2]);
}

static pare_status bad(const pare_prep *p, pare_diags *d, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static pare_status bad(const pare_prep *p, pare_diags *d, const char *code, const char *hint, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_fail_file(d, PARE_EINVAL, p->name, code, hint, "%s", pare_sb_str(&b));
    pare_sb_free(&b);
    return PARE_EINVAL;
}

/* "1x3x?x?", without the batch. */
static void print_dims(pare_sb *b, const int64_t *dims, uint32_t n) {
    if (!n) pare_sb_add(b, "a number");
    for (uint32_t i = 0; i < n; i++)
        if (dims[i] < 0)
            pare_sb_printf(b, "%s?", i ? "x" : "");
        else
            pare_sb_printf(b, "%s%" PRId64, i ? "x" : "", dims[i]);
}

/* The sample's dims become the model's where they hold as many elements; else what both know must be equal. */
static pare_status fit(pare_prep *p, pare_diags *d) {
    const pare_data_target *t = &p->target;
    uint64_t have = 1, want = 1;
    for (uint32_t i = 0; i < p->ndim; i++)
        if (!pare_mul_ok(have, (uint64_t)p->dims[i], &have))
            return bad(p, d, "data.shape", NULL, "samples are too large");
    p->bytes = pare_nbytes(p->dtype, have);
    if (p->bytes > SIZE_MAX / 2) return bad(p, d, "data.shape", NULL, "samples are too large");
    if (!t->ndim) return PARE_OK;
    bool equal = p->ndim + 1 == t->ndim, known = true;
    for (uint32_t i = 1; i < t->ndim; i++) {
        if (equal && t->dims[i] >= 0 && t->dims[i] != p->dims[i - 1]) equal = false;
        if (t->dims[i] < 0)
            known = false;
        else if (!pare_mul_ok(want, (uint64_t)t->dims[i], &want))
            known = false;
    }
    if (equal) return PARE_OK;
    bool flat = t->ndim == 2 && t->dims[1] < 0;
    if (flat || (known && want == have)) { /* the same elements in the same order, as a Flatten would have them */
        p->ndim = t->ndim - 1;
        for (uint32_t i = 0; i < p->ndim; i++) p->dims[i] = flat ? (int64_t)have : t->dims[i + 1];
        return PARE_OK;
    }
    pare_sb ours = {0}, theirs = {0};
    print_dims(&ours, p->dims, p->ndim);
    print_dims(&theirs, t->dims + 1, t->ndim - 1);
    pare_status st = bad(p, d, p->pixels ? "data.image-size" : "data.shape",
                         p->pixels ? "set resize, crop or channels in preprocess" : NULL,
                         "samples are %s, and the model takes %s", pare_sb_str(&ours), pare_sb_str(&theirs));
    pare_sb_free(&ours);
    pare_sb_free(&theirs);
    return st;
}

static pare_status image_dims(pare_prep *p, pare_diags *d) {
    if (!p->fixed) return PARE_OK;
    int64_t c = p->channels, h = (int64_t)p->height, w = (int64_t)p->width;
    p->ndim = 3;
    p->dims[0] = p->nhwc ? h : c;
    p->dims[1] = p->nhwc ? w : h;
    p->dims[2] = p->nhwc ? c : w;
    return fit(p, d);
}

static pare_status settle_layout(pare_prep *p, pare_diags *d) {
    const pare_data_target *t = &p->target;
    uint32_t own = own_channels(p->store);
    p->nhwc = p->pre.layout == PARE_DATA_LAYOUT_NHWC;
    if (t->ndim == 4 && p->pre.layout == PARE_DATA_LAYOUT_AUTO)
        p->nhwc = channels_like(t->dims[3], own) && !channels_like(t->dims[1], own);
    int64_t want = t->ndim == 4 ? t->dims[p->nhwc ? 3 : 1] : -1;
    uint32_t set = p->pre.channels;
    if (set && want > 0 && set != want)
        return bad(p, d, "data.channels", NULL, "channels: %u, and the model takes %" PRId64, set, want);
    p->channels = set ? set : want > 0 && want <= UINT32_MAX ? (uint32_t)want : own ? own : 3;
    bool free_choice = p->pixels && (!own || own == 1 || own == 3);
    int64_t other = t->ndim == 4 ? t->dims[p->nhwc ? 1 : 3] : -1;
    if (p->pre.layout != PARE_DATA_LAYOUT_AUTO && want > 0 && !channels_like(want, own) && channels_like(other, own))
        return bad(p, d, "data.layout",
                   p->nhwc ? "set layout: nchw, or leave it out" : "set layout: nhwc, or leave it out",
                   "layout is %s, but the model takes %" PRId64 " channels there and %" PRId64 " where %s has them",
                   p->nhwc ? "nhwc" : "nchw", want, other, p->nhwc ? "nchw" : "nhwc");
    if (p->channels != own && !(free_choice && (p->channels == 1 || p->channels == 3)))
        return bad(p, d, "data.channels",
                   p->pre.layout == PARE_DATA_LAYOUT_AUTO ? "if the model takes its channels elsewhere, set layout"
                                                          : NULL,
                   own ? "images of %u channels can't be made of %u" : "images of %u channels are not made of files",
                   p->channels, own);
    if (p->pre.order == PARE_ORDER_BGR && p->channels == 2)
        return bad(p, d, "data.channels", NULL, "order: bgr is for 3 channels, and there are 2");
    return PARE_OK;
}

static pare_status settle_numbers(pare_prep *p, uint32_t channels, bool bytes, pare_diags *d) {
    const pare_data_preprocess *q = &p->pre;
    if ((q->n_mean > 1 && q->n_mean != channels) || (q->n_std > 1 && q->n_std != channels))
        return bad(p, d, "data.mean-std", "give one number, or one a channel",
                   "mean has %u numbers and std %u, and there are %u channels", q->n_mean, q->n_std, channels);
    double scale = q->scale != 0 ? q->scale : bytes ? 1.0 / 255 : 1;
    if (!isfinite(scale)) return bad(p, d, "data.scale", NULL, "scale is not a number");
    p->scale = (float)scale;
    for (uint32_t c = 0; c < channels && c < PARE_DATA_CHANNELS; c++) {
        double mean = q->n_mean ? q->mean[q->n_mean > 1 ? c : 0] : 0, std = q->n_std ? q->std[q->n_std > 1 ? c : 0] : 1;
        if (!isfinite(mean) || !isfinite(std) || !(std > 0) || (float)std == 0)
            return bad(p, d, "data.mean-std", "std must be above 0", "mean %g and std %g of channel %u are no use",
                       mean, std, c);
        p->mean[c] = (float)mean;
        p->std[c] = (float)std;
    }
    return PARE_OK;
}

static bool has_numbers(const pare_data_preprocess *q) { return q->scale != 0 || q->n_mean || q->n_std; }

static pare_status open_pixels(pare_prep *p, pare_diags *d) {
    const pare_data_preprocess *q = &p->pre;
    pare_status st = settle_layout(p, d);
    if (st != PARE_OK) return st;
    uint32_t dtype = p->target.dtype ? p->target.dtype : PARE_FLOAT;
    if (dtype != PARE_FLOAT && dtype != PARE_UINT8)
        return bad(p, d, "data.dtype", NULL, "images become float32 or uint8, and the model takes %s",
                   pare_dtype_name(dtype));
    if (dtype == PARE_UINT8 && has_numbers(q))
        return bad(p, d, "data.dtype", "leave out scale, mean and std",
                   "the model takes uint8: pixels go in as they are");
    p->dtype = dtype;
    st = settle_numbers(p, p->channels, true, d);
    if (st != PARE_OK) return st;
    p->table = pare_xcalloc(p->channels, sizeof *p->table);
    for (uint32_t c = 0; c < p->channels; c++)
        for (int v = 0; v < 256; v++) {
            /* in the order and the precision of ToTensor and Normalize; x / 255 is not x * (1 / 255) */
            float x = q->scale != 0 ? (float)v * p->scale : (float)v / 255.0f;
            p->table[c][v] = (x - p->mean[c]) / p->std[c];
        }
    const pare_store *s = p->store;
    pare_window w;
    if (s->kind != STORE_FILES) {
        bool nhwc = s->ndim == 3 && s->layout == PARE_DATA_LAYOUT_NHWC;
        uint64_t h = (uint64_t)s->dims[s->ndim == 2 || nhwc ? 0 : 1],
                 wd = (uint64_t)s->dims[s->ndim == 2 || nhwc ? 1 : 2];
        st = pare_prep_window(q, wd, h, p->name, d, &w);
        if (st != PARE_OK) return st;
        p->height = w.height;
        p->width = w.width;
        p->fixed = true;
    } else if (q->crop_height || q->resize_height) {
        p->height = q->crop_height ? q->crop_height : q->resize_height;
        p->width = q->crop_width ? q->crop_width : q->resize_width;
        p->fixed = true;
    } else if (p->target.ndim == 4 && p->target.dims[p->nhwc ? 1 : 2] > 0 && p->target.dims[p->nhwc ? 2 : 3] > 0) {
        p->height = (uint64_t)p->target.dims[p->nhwc ? 1 : 2]; /* images of another size are refused one by one */
        p->width = (uint64_t)p->target.dims[p->nhwc ? 2 : 3];
        p->fixed = true;
    }
    return image_dims(p, d);
}

/* Arrays that are no 8-bit images: floats (images or not), numbers, tokens. */
static pare_status open_array(pare_prep *p, pare_diags *d) {
    const pare_store *s = p->store;
    const pare_data_preprocess *q = &p->pre;
    bool floats = pare_dtype_kind(s->dtype) == 'f', bytes = s->dtype == PARE_UINT8;
    if (q->resize || q->resize_height || q->crop_height)
        return bad(p, d, "data.resize", "resize the images before they become numbers, or leave it out",
                   "resize and crop work on 8-bit images, and these samples are %s", pare_dtype_name(s->dtype));
    p->dtype = p->target.dtype ? p->target.dtype : floats || bytes || has_numbers(q) ? PARE_FLOAT : s->dtype;
    if (p->dtype != PARE_FLOAT && (p->dtype != s->dtype || has_numbers(q)))
        return bad(p, d, "data.dtype", has_numbers(q) ? "leave out scale, mean and std" : NULL,
                   "samples of %s can't become %s", pare_dtype_name(s->dtype), pare_dtype_name(p->dtype));
    pare_status st = PARE_OK;
    if (s->image) {
        st = settle_layout(p, d);
        bool nhwc = s->layout == PARE_DATA_LAYOUT_NHWC;
        p->height = (uint64_t)s->dims[nhwc ? 0 : 1];
        p->width = (uint64_t)s->dims[nhwc ? 1 : 2];
        p->fixed = true;
        if (st == PARE_OK) st = settle_numbers(p, p->channels, false, d);
        if (st == PARE_OK) st = image_dims(p, d);
        bool swap = p->nhwc != nhwc || (q->order == PARE_ORDER_BGR && p->channels == 3);
        p->plain = p->dtype == s->dtype && !swap && !has_numbers(q);
        return st;
    }
    p->fixed = true;
    p->channels = 1;
    p->ndim = s->ndim;
    memcpy(p->dims, s->dims, sizeof p->dims);
    st = settle_numbers(p, 1, bytes, d);
    p->plain = p->dtype == s->dtype && !has_numbers(q);
    return st == PARE_OK ? fit(p, d) : st;
}

pare_status pare_prep_open(pare_prep *p, const pare_store *s, const char *name, const pare_data_preprocess *pre,
                           const pare_data_target *target, pare_diags *d) {
    *p = (pare_prep){.store = s, .name = name};
    if (pre) p->pre = *pre;
    if (target) p->target = *target;
    const pare_data_preprocess *q = &p->pre;
    if (q->n_mean > PARE_DATA_CHANNELS || q->n_std > PARE_DATA_CHANNELS)
        return bad(p, d, "data.mean-std", NULL, "mean and std have at most %d numbers", PARE_DATA_CHANNELS);
    if (p->target.ndim > PARE_ARRAY_DIMS)
        return bad(p, d, "data.shape", NULL, "the model's input has more than %d dimensions", PARE_ARRAY_DIMS);
    if (!q->crop_height != !q->crop_width || !q->resize_height != !q->resize_width)
        return bad(p, d, "data.resize", NULL, "a height and a width go together");
    if (q->crop_height > PARE_IMAGE_SIDE || q->crop_width > PARE_IMAGE_SIDE || q->resize > PARE_IMAGE_SIDE ||
        q->resize_height > PARE_IMAGE_SIDE || q->resize_width > PARE_IMAGE_SIDE)
        return bad(p, d, "data.resize", NULL, "images of more than %d pixels a side are not made", PARE_IMAGE_SIDE);
    if (s->kind == STORE_RANDOM) {
        p->fixed = p->plain = true;
        p->dtype = s->dtype;
        p->ndim = s->ndim;
        memcpy(p->dims, s->dims, sizeof p->dims);
        return fit(p, d);
    }
    p->pixels = s->kind == STORE_FILES || (s->image && s->dtype == PARE_UINT8);
    return p->pixels ? open_pixels(p, d) : open_array(p, d);
}

pare_status pare_prep_fix(pare_prep *p, const pare_image *im, const char *path, pare_diags *d) {
    pare_window w;
    pare_status st = pare_prep_window(&p->pre, im->width, im->height, path, d, &w);
    if (st != PARE_OK) return st;
    p->height = w.height;
    p->width = w.width;
    p->fixed = true;
    return image_dims(p, d);
}

void pare_prep_close(pare_prep *p) {
    free(p->table);
    p->table = NULL;
}
