/* prune/keys.h - weights as keys: unsigned numbers that sort as magnitudes do.
 *
 * Is: one reader and one writer for every dtype, plain or behind DequantizeLinear, so that selection (select.h) knows
 * no dtype. Is not: a copy of the tensor; keys are made a block at a time, on the stack. May use: pare/tensor.h,
 * pare/random.h.
 *
 * For IEEE-like floats |a| < |b| exactly when the bits without the sign are less, so the key is those bits ("narrow").
 * Where tensors of several dtypes share one threshold, and for quantized weights, the key is the bits of |value| as a
 * double ("wide"; exact for everything but 32-bit integers times a scale, where the product is rounded). With
 * `random` a key is a number drawn for (seed, stream, index), 0 for a weight that is zero already: zeros go first, so
 * that pruning again composes.
 */
#ifndef PRUNE_KEYS_H
#define PRUNE_KEYS_H

#include <pare/tensor.h>

#include <stdbool.h>

enum { PRUNE_BLOCK = 1024 }; /* most keys asked for at once */

typedef struct prune_source {
    uint8_t *data;      /* the stored weights; written by prune_zero alone */
    uint64_t count;     /* elements */
    uint64_t nan_above; /* a magnitude key above this is a NaN */
    uint32_t dtype, bits;
    uint32_t key_bits; /* keys are below 1 << key_bits */
    bool wide, quantized, random;
    uint64_t seed, stream; /* random */
    /* quantized: value = (q - zero_point) * scale. Element i of the stored dims, seen as (outer, dim, inner), is in
     * channel d; it has scale number d, or, blocked, scale (outer, d / block, inner) of (outer, scale_dim, inner). */
    const uint8_t *scale, *zero; /* zero NULL: 0 */
    uint32_t scale_dtype;
    bool blocked;
    uint64_t inner, dim, block, scale_dim;
} prune_source;

/* Can weights of this dtype be pruned? plain: not behind DequantizeLinear. */
bool prune_dtype_ok(uint32_t dtype, bool quantized);
bool prune_scale_dtype_ok(uint32_t dtype);

/* Sets dtype, bits, key_bits, nan_above, count and data; no scale, not random. The dtype must be ok. */
void prune_source_plain(prune_source *s, uint32_t dtype, void *data, uint64_t count, bool wide);
/* The same behind DequantizeLinear with one scale: call prune_source_axis for more of them. */
void prune_source_quantized(prune_source *s, uint32_t dtype, void *data, uint64_t count, uint32_t scale_dtype,
                            const void *scale, const void *zero);
/* Scales along an axis of `dim` channels, each `inner` elements; block > 0: one scale for every `block` channels of
 * each line (ONNX's block_size), scale_dim of them. */
void prune_source_axis(prune_source *s, uint64_t dim, uint64_t inner, uint64_t block, uint64_t scale_dim);
void prune_source_random(prune_source *s, uint64_t seed, uint64_t stream);
/* Keys that are made already, below 1 << key_bits: prune_zero makes a key 0, which is the least. */
void prune_source_keys(prune_source *s, uint64_t *key, uint64_t count, uint32_t key_bits);

/* Keys of elements first .. first + n - 1, n <= PRUNE_BLOCK. [any] */
void prune_keys(const prune_source *s, uint64_t first, uint32_t n, uint64_t *key);
/* The magnitude keys alone, whatever the criterion: where NaNs are looked for. [any] */
void prune_magnitudes(const prune_source *s, uint64_t first, uint32_t n, uint64_t *key);
/* Writes zero (+0.0, or the zero point) where gone[i] is not 0. Elements that share a byte must be one caller's. */
void prune_zero(const prune_source *s, uint64_t first, uint32_t n, const uint8_t *gone);

#endif
