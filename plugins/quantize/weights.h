/* quantize/weights.h - weights and biases as whole numbers: arithmetic on plain arrays.
 *
 * Weights are symmetric (zero is 0, so that zeros stay zeros), biases int32 at the scale of activation times weight.
 * Is not: graphs. May use: the C library.
 */
#ifndef QUANTIZE_WEIGHTS_H
#define QUANTIZE_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

/* A weight as (outer, channels, inner); per tensor: channels 1. */
typedef struct weights_shape {
    uint64_t outer, channels, inner;
} weights_shape;

/* Dims seen along one axis; axis -1: one channel. */
weights_shape weights_shape_of(const int64_t *dims, uint32_t ndim, int32_t axis);

/* The largest whole number of so many bits: 127, 63. */
int32_t weights_most(uint32_t bits);

/* Element (o, c, i). */
static inline uint64_t weights_at(const weights_shape *s, uint64_t o, uint64_t c, uint64_t i) {
    return (o * s->channels + c) * s->inner + i;
}

/* Scales of channels so that the largest weight becomes weights_most(bits). A channel of zeros gets the least of the
 * others' scales, or 1. Never subnormal or infinite. false: a weight is NaN or infinite. scale[channels] */
bool weights_scales(const float *w, const weights_shape *s, uint32_t bits, float *scale);

/* The least scale of a weight with which |bias / (x_scale * scale)| stays below 2^30, at least `scale`. */
float weights_raise(float scale, float x_scale, float bias);

/* q = round half to even (w / scale), within +-weights_most(bits). */
void weights_quantize(const float *w, const weights_shape *s, uint32_t bits, const float *scale, int8_t *q);

/* Bias at scale x_scale * w_scale. */
int32_t weights_bias(float bias, float x_scale, float w_scale);

/* Signal to noise of scale * q against w, in dB; infinite where equal, NaN where w is zero all over. */
double weights_sqnr(const float *w, const weights_shape *s, const float *scale, const int8_t *q);

/* Could pairs of products u8 x s8 of a channel leave int16? 255 times the two largest weights of one sign. */
bool weights_may_saturate(const weights_shape *s, const int8_t *q);

/* dims and data of a tensor reordered: out's dim i is in's dim perm[i]. size: bytes of an element. */
void weights_permute(const void *in, const int64_t *dims, uint32_t ndim, const uint8_t *perm, uint32_t size, void *out);

#endif
