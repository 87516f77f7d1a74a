/* train/augment.c - see augment.h. Each image is drawn from (seed, step, its number in the set). */
#include "train/augment.h"

#include "base/os.h"

#include <math.h>
#include <pare/random.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const pare_augment_opts *o;
    const pare_data_preprocess *pre;
    uint64_t seed, step;
    const uint64_t *samples;
    const float *from;
    float *to;
    int64_t channels, height, width;
} job;

/* The draws of one image, in the order they are asked for. */
typedef struct draws {
    uint64_t seed, stream, next;
} draws;

static double draw(draws *d) { return pare_random_double(d->seed, d->stream, d->next++); }
static double between(draws *d, double a, double b) { return a + (b - a) * draw(d); }

bool pare_augments(const pare_augment_opts *o) {
    return o->flip > 0 || o->crop_padding || o->resized_crop || o->brightness > 0 || o->contrast > 0 ||
           o->saturation > 0 || o->cutout || o->mixup > 0;
}

/* ---- geometry: each output pixel comes from one place, or from between four ---- */

static void shift(const job *j, const float *x, float *y, int64_t dy, int64_t dx, bool mirror) {
    for (int64_t c = 0; c < j->channels; c++)
        for (int64_t h = 0; h < j->height; h++)
            for (int64_t w = 0; w < j->width; w++) {
                int64_t sh = h + dy, sw = (mirror ? j->width - 1 - w : w) + dx;
                bool inside = sh >= 0 && sh < j->height && sw >= 0 && sw < j->width;
                y[(c * j->height + h) * j->width + w] = inside ? x[(c * j->height + sh) * j->width + sw] : 0;
            }
}

static float at(const float *plane, const job *j, double h, double w) {
    double top = floor(h), left = floor(w);
    double fh = h - top, fw = w - left, sum = 0;
    for (int k = 0; k < 4; k++) {
        int64_t sh = (int64_t)top + k / 2, sw = (int64_t)left + k % 2;
        sh = sh < 0 ? 0 : sh >= j->height ? j->height - 1 : sh;
        sw = sw < 0 ? 0 : sw >= j->width ? j->width - 1 : sw;
        sum += (k / 2 ? fh : 1 - fh) * (k % 2 ? fw : 1 - fw) * (double)plane[sh * j->width + sw];
    }
    return (float)sum;
}

/* torchvision's RandomResizedCrop: ten tries of an area and a ratio in [3/4, 4/3], then the whole image. */
static void resized(const job *j, draws *d, const float *x, float *y, bool mirror) {
    double area = (double)(j->height * j->width), ch = (double)j->height, cw = (double)j->width, top = 0, left = 0;
    for (int k = 0; k < 10; k++) {
        double target = area * between(d, j->o->resized_min, j->o->resized_max);
        double ratio = exp(between(d, log(3.0 / 4), log(4.0 / 3)));
        double w = rint(sqrt(target * ratio)), h = rint(sqrt(target / ratio)), u = draw(d), v = draw(d);
        if (w < 1 || h < 1 || w > (double)j->width || h > (double)j->height) continue;
        cw = w;
        ch = h;
        top = floor(u * ((double)j->height - h + 1));
        left = floor(v * ((double)j->width - w + 1));
        break;
    }
    for (int64_t c = 0; c < j->channels; c++)
        for (int64_t h = 0; h < j->height; h++)
            for (int64_t w = 0; w < j->width; w++) {
                int64_t to = mirror ? j->width - 1 - w : w;
                double sh = top + ((double)h + 0.5) * ch / (double)j->height - 0.5;
                double sw = left + ((double)w + 0.5) * cw / (double)j->width - 0.5;
                y[(c * j->height + h) * j->width + to] = at(x + c * j->height * j->width, j, sh, sw);
            }
}

/* ---- colours, in the pixels' own numbers: x * std + mean ---- */

static double mean_of(const job *j, int64_t c) {
    if (!j->pre || !j->pre->n_mean) return 0;
    return j->pre->mean[j->pre->n_mean == 1 ? 0 : c];
}
static double std_of(const job *j, int64_t c) {
    if (!j->pre || !j->pre->n_std) return 1;
    return j->pre->std[j->pre->n_std == 1 ? 0 : c];
}

static void colours(const job *j, draws *d, float *y) {
    const pare_augment_opts *o = j->o;
    int64_t plane = j->height * j->width;
    double bright = between(d, 1 - o->brightness, 1 + o->brightness);
    double contrast = between(d, 1 - o->contrast, 1 + o->contrast);
    double saturation = between(d, 1 - o->saturation, 1 + o->saturation);
    static const double grey[3] = {0.299, 0.587, 0.114};
    if (!(o->brightness > 0) && !(o->contrast > 0) && !(o->saturation > 0)) return;
    double mean = 0;
    for (int64_t c = 0; c < j->channels; c++)
        for (int64_t i = 0; i < plane; i++) {
            double v = ((double)y[c * plane + i] * std_of(j, c) + mean_of(j, c)) * bright;
            y[c * plane + i] = (float)v;
            mean += v * (j->channels == 3 ? grey[c] : 1.0 / (double)j->channels);
        }
    mean /= (double)plane;
    for (int64_t i = 0; i < plane; i++) {
        double luma = 0;
        for (int64_t c = 0; c < j->channels; c++) {
            double v = mean + ((double)y[c * plane + i] - mean) * contrast;
            y[c * plane + i] = (float)v;
            luma += v * (j->channels == 3 ? grey[c] : 0);
        }
        for (int64_t c = 0; c < j->channels; c++) {
            double v = (double)y[c * plane + i];
            if (j->channels == 3) v = luma + (v - luma) * saturation;
            y[c * plane + i] = (float)((v - mean_of(j, c)) / std_of(j, c));
        }
    }
}

static void cut(const job *j, draws *d, float *y) {
    int64_t side = j->o->cutout, top = (int64_t)(draw(d) * (double)j->height) - side / 2,
            left = (int64_t)(draw(d) * (double)j->width) - side / 2;
    for (int64_t c = 0; c < j->channels; c++)
        for (int64_t h = top < 0 ? 0 : top; h < top + side && h < j->height; h++)
            for (int64_t w = left < 0 ? 0 : left; w < left + side && w < j->width; w++)
                y[(c * j->height + h) * j->width + w] = 0;
}

static void one(void *ctx, uint64_t i) {
    const job *j = ctx;
    const pare_augment_opts *o = j->o;
    uint64_t size = (uint64_t)(j->channels * j->height * j->width);
    const float *x = j->from + i * size;
    float *y = j->to + i * size;
    draws d = {j->seed, pare_random_stream("augment") ^ j->step << 32 ^ j->samples[i], 0};
    bool mirror = draw(&d) < o->flip;
    if (o->resized_crop) {
        resized(j, &d, x, y, mirror);
    } else {
        double pad = (double)o->crop_padding;
        int64_t dy = (int64_t)floor(draw(&d) * (2 * pad + 1)) - (int64_t)pad;
        int64_t dx = (int64_t)floor(draw(&d) * (2 * pad + 1)) - (int64_t)pad;
        shift(j, x, y, dy, dx, mirror);
    }
    colours(j, &d, y);
    if (o->cutout) cut(j, &d, y);
}

/* ---- mixing ---- */

/* Of Beta(a, a): Johnk's method, which is exact for every a. */
static double beta(draws *d, double a) {
    for (;;) {
        double x = pow(draw(d), 1 / a), y = pow(draw(d), 1 / a);
        if (x + y > 0 && x + y <= 1) return x / (x + y);
    }
}

/* Each row with that of a shuffled order, all by one factor, as in arXiv 1710.09412. */
static void mix(void *data, uint32_t dtype, uint64_t n, uint64_t row, const uint64_t *order, double keep,
                const void *copy) {
    const float *f = copy;
    const double *d = copy;
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < row; k++) {
            uint64_t own = i * row + k, other = order[i] * row + k;
            if (dtype == PARE_DOUBLE)
                ((double *)data)[own] = keep * d[own] + (1 - keep) * d[other];
            else
                ((float *)data)[own] = (float)(keep * (double)f[own] + (1 - keep) * (double)f[other]);
        }
}

static pare_status mix_all(const pare_augment_opts *o, uint64_t seed, uint64_t step, pare_array *a, pare_array *t,
                           pare_diags *d) {
    uint64_t n = (uint64_t)a->dims[0], *order = pare_xcalloc(n + 1, sizeof *order);
    draws r = {seed, pare_random_stream("mixup") ^ step << 20, 0};
    double keep = beta(&r, o->mixup);
    pare_array *both[2] = {a, t};
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n; i++) order[i] = i;
    for (uint64_t i = n; i > 1; i--) {
        uint64_t k = (uint64_t)(draw(&r) * (double)i), was = order[i - 1];
        order[i - 1] = order[k];
        order[k] = was;
    }
    for (int k = 0; k < 2 && !st; k++) {
        if (!both[k]) continue;
        void *copy = pare_try_alloc(both[k]->nbytes);
        if (!copy) {
            st = pare_fail(d, PARE_ENOMEM, "train.memory", "use a smaller batch", "no memory to mix a batch");
            break;
        }
        memcpy(copy, pare_array_data(both[k]), both[k]->nbytes);
        mix(pare_array_data_mut(both[k]), both[k]->dtype, n, both[k]->count / n, order, keep, copy);
        free(copy);
    }
    free(order);
    return st;
}

pare_status pare_augment(const pare_augment_opts *o, const pare_data_preprocess *pre, uint64_t seed, uint64_t step,
                         const uint64_t *samples, pare_array **images, pare_array *targets, pare_diags *d) {
    pare_array *a = *images;
    if (!pare_augments(o)) return PARE_OK;
    if (a->dtype != PARE_FLOAT || a->ndim != 4)
        return pare_fail(d, PARE_EUNSUPPORTED, "train.augment", "leave `augment` out",
                         "augmentation works on float32 images (N, C, H, W); these samples are %s of rank %u",
                         pare_dtype_name(a->dtype), a->ndim);
    pare_array *y = pare_array_new(a->dtype, a->ndim, a->dims);
    if (!y) return pare_fail(d, PARE_ENOMEM, "train.memory", "use a smaller batch", "no memory for a batch");
    job j = {o,          pre,        seed,      step, samples, pare_array_data(a), pare_array_data_mut(y),
             a->dims[1], a->dims[2], a->dims[3]};
    pare_parallel((uint64_t)a->dims[0], one, &j);
    pare_status st = o->mixup > 0 ? mix_all(o, seed, step, y, targets, d) : PARE_OK;
    pare_array_unref(a);
    *images = y;
    return st;
}
