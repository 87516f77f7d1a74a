/* quantize/weights.c - see weights.h. */
#include "weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

weights_shape weights_shape_of(const int64_t *dims, uint32_t ndim, int32_t axis) {
    weights_shape s = {1, 1, 1};
    for (uint32_t i = 0; i < ndim; i++) {
        uint64_t *part = axis < 0 || (int32_t)i > axis ? &s.inner : (int32_t)i < axis ? &s.outer : &s.channels;
        *part *= (uint64_t)dims[i];
    }
    return s;
}

int32_t weights_most(uint32_t bits) { return (1 << (bits - 1)) - 1; }

bool weights_scales(const float *w, const weights_shape *s, uint32_t bits, float *scale) {
    float least = INFINITY;
    for (uint64_t c = 0; c < s->channels; c++) {
        float most = 0;
        for (uint64_t o = 0; o < s->outer; o++)
            for (uint64_t i = 0; i < s->inner; i++) {
                const float x = fabsf(w[weights_at(s, o, c, i)]);
                if (!(x <= FLT_MAX)) return false;
                if (x > most) most = x;
            }
        scale[c] = most / (float)weights_most(bits);
        if (most > 0 && scale[c] < FLT_MIN) scale[c] = FLT_MIN;
        if (most > 0 && scale[c] < least) least = scale[c];
    }
    for (uint64_t c = 0; c < s->channels; c++)
        if (scale[c] == 0) scale[c] = least < INFINITY ? least : 1.0f;
    return true;
}

static bool fits(float scale, float x_scale, float bias) {
    const float product = x_scale * scale;
    return product >= FLT_MIN && fabs((double)bias / (double)product) < 0x1p30;
}

float weights_raise(float scale, float x_scale, float bias) {
    if (fits(scale, x_scale, bias)) return scale;
    double need = fabs((double)bias) * 0x1p-30 / (double)x_scale;
    const double normal = (double)FLT_MIN / (double)x_scale;
    if (need < normal) need = normal;
    if (need < (double)scale) need = (double)scale;
    float raised = (float)need;
    while (!fits(raised, x_scale, bias) && raised < FLT_MAX) raised = nextafterf(raised, INFINITY);
    return raised;
}

void weights_quantize(const float *w, const weights_shape *s, uint32_t bits, const float *scale, int8_t *q) {
    const float most = (float)weights_most(bits);
    for (uint64_t o = 0; o < s->outer; o++)
        for (uint64_t c = 0; c < s->channels; c++)
            for (uint64_t i = 0; i < s->inner; i++) {
                const uint64_t at = weights_at(s, o, c, i);
                const float x = rintf(w[at] / scale[c]);
                q[at] = (int8_t)(x > most ? most : x < -most ? -most : x);
            }
}

int32_t weights_bias(float bias, float x_scale, float w_scale) {
    const double x = rint((double)bias / (double)(x_scale * w_scale));
    return (int32_t)(x > 0x7fffffff ? 0x7fffffff : x < -0x7fffffff ? -0x7fffffff : x);
}

double weights_sqnr(const float *w, const weights_shape *s, const float *scale, const int8_t *q) {
    double signal = 0, noise = 0;
    for (uint64_t o = 0; o < s->outer; o++)
        for (uint64_t c = 0; c < s->channels; c++)
            for (uint64_t i = 0; i < s->inner; i++) {
                const uint64_t at = weights_at(s, o, c, i);
                const double x = (double)w[at], d = x - (double)scale[c] * q[at];
                signal += x * x;
                noise += d * d;
            }
    return signal == 0 ? NAN : noise == 0 ? INFINITY : 10 * log10(signal / noise);
}

bool weights_may_saturate(const weights_shape *s, const int8_t *q) {
    for (uint64_t c = 0; c < s->channels; c++) {
        int32_t high[2] = {0, 0}, low[2] = {0, 0};
        for (uint64_t o = 0; o < s->outer; o++)
            for (uint64_t i = 0; i < s->inner; i++) {
                const int32_t x = q[weights_at(s, o, c, i)];
                if (x > high[1]) high[1] = x;
                if (high[1] > high[0]) high[1] = high[0], high[0] = x;
                if (x < low[1]) low[1] = x;
                if (low[1] < low[0]) low[1] = low[0], low[0] = x;
            }
        if (255 * (high[0] + high[1]) > INT16_MAX || 255 * (low[0] + low[1]) < INT16_MIN) return true;
    }
    return false;
}

void weights_permute(const void *in, const int64_t *dims, uint32_t ndim, const uint8_t *perm, uint32_t size,
                     void *out) {
    uint64_t stride[8], at[8] = {0}, count = 1;
    uint64_t step = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        stride[i] = step;
        step *= (uint64_t)dims[i];
    }
    count = step;
    for (uint64_t n = 0; n < count; n++) {
        uint64_t from = 0;
        for (uint32_t i = 0; i < ndim; i++) from += at[i] * stride[perm[i]];
        memcpy((char *)out + n * size, (const char *)in + from * size, size);
        for (uint32_t i = ndim; i-- > 0;) {
            if (++at[i] < (uint64_t)dims[perm[i]]) break;
            at[i] = 0;
        }
    }
}
