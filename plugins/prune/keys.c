/* prune/keys.c - see keys.h. Sub-byte elements lie packed, low bits first. */
#include "keys.h"

#include <pare/random.h>

#include <math.h>
#include <string.h>

#define DOUBLE_BITS 63u
#define DOUBLE_INFINITY 0x7FF0000000000000u

static bool small_float(uint32_t dtype) {
    return dtype == PARE_FLOAT8E4M3FN || dtype == PARE_FLOAT8E4M3FNUZ || dtype == PARE_FLOAT8E5M2 ||
           dtype == PARE_FLOAT8E5M2FNUZ || dtype == PARE_FLOAT4E2M1;
}

static bool wide_float(uint32_t dtype) {
    return dtype == PARE_FLOAT || dtype == PARE_DOUBLE || dtype == PARE_FLOAT16 || dtype == PARE_BFLOAT16;
}

static bool fnuz(uint32_t dtype) { return dtype == PARE_FLOAT8E4M3FNUZ || dtype == PARE_FLOAT8E5M2FNUZ; }

bool prune_dtype_ok(uint32_t dtype, bool quantized) {
    const char kind = pare_dtype_kind(dtype);
    if (quantized) return small_float(dtype) || ((kind == 'i' || kind == 'u') && pare_dtype_bits(dtype) <= 32);
    return small_float(dtype) || wide_float(dtype);
}

bool prune_scale_dtype_ok(uint32_t dtype) { return wide_float(dtype); }

/* Largest magnitude key that is a number: infinity, or the largest finite value where there is none. */
static uint64_t largest_number(uint32_t dtype) {
    switch (dtype) {
    case PARE_FLOAT: return 0x7F800000u;
    case PARE_DOUBLE: return DOUBLE_INFINITY;
    case PARE_FLOAT16: return 0x7C00u;
    case PARE_BFLOAT16: return 0x7F80u;
    case PARE_FLOAT8E4M3FN: return 0x7Eu;
    case PARE_FLOAT8E5M2: return 0x7Cu;
    case PARE_FLOAT4E2M1: return 0x7u;
    default: return 0x7Fu; /* FNUZ: the pattern of -0 is the NaN, read as 0xFF */
    }
}

void prune_source_plain(prune_source *s, uint32_t dtype, void *data, uint64_t count, bool wide) {
    memset(s, 0, sizeof *s);
    s->data = data;
    s->count = count;
    s->dtype = dtype;
    s->bits = pare_dtype_bits(dtype);
    s->wide = wide;
    s->nan_above = wide ? DOUBLE_INFINITY : largest_number(dtype);
    s->key_bits = wide ? DOUBLE_BITS : fnuz(dtype) ? 8 : s->bits - 1;
    s->inner = s->dim = s->block = s->scale_dim = 1;
}

void prune_source_quantized(prune_source *s, uint32_t dtype, void *data, uint64_t count, uint32_t scale_dtype,
                            const void *scale, const void *zero) {
    prune_source_plain(s, dtype, data, count, true);
    s->quantized = true;
    s->scale_dtype = scale_dtype;
    s->scale = scale;
    s->zero = pare_dtype_kind(dtype) == 'f' ? NULL : zero; /* a float's zero point is always 0 */
}

void prune_source_axis(prune_source *s, uint64_t dim, uint64_t inner, uint64_t block, uint64_t scale_dim) {
    s->dim = dim;
    s->inner = inner;
    s->blocked = block > 0;
    s->block = block > 0 ? block : 1;
    s->scale_dim = scale_dim;
}

void prune_source_random(prune_source *s, uint64_t seed, uint64_t stream) {
    s->random = true;
    s->seed = seed;
    s->stream = stream;
    s->key_bits = 64;
}

void prune_source_keys(prune_source *s, uint64_t *key, uint64_t count, uint32_t key_bits) {
    prune_source_plain(s, PARE_DOUBLE, key, count, false);
    s->key_bits = key_bits;
    s->nan_above = UINT64_MAX >> 1;
}

static uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* |value| of a small IEEE-like pattern: e exponent bits, m mantissa bits, its bias; no infinities, no NaNs. */
static double small_value(uint32_t magnitude, int m, int bias) {
    const uint32_t exponent = magnitude >> m, fraction = magnitude & ((1u << m) - 1);
    if (exponent == 0) return ldexp((double)fraction, 1 - bias - m);
    return ldexp((double)(fraction | 1u << m), (int)exponent - bias - m);
}

/* |value| of a narrow key as a double. */
static double value_of(uint32_t dtype, uint64_t key) {
    const uint32_t k = (uint32_t)key;
    if (dtype == PARE_FLOAT || dtype == PARE_BFLOAT16) {
        const uint32_t u = dtype == PARE_FLOAT ? k : k << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        return (double)f;
    }
    if (dtype == PARE_DOUBLE) {
        double d;
        memcpy(&d, &key, sizeof d);
        return d;
    }
    const uint64_t largest = largest_number(dtype);
    if (key > largest) return (double)NAN;
    switch (dtype) {
    case PARE_FLOAT16: return key == largest ? (double)INFINITY : small_value(k, 10, 15);
    case PARE_FLOAT8E5M2: return key == largest ? (double)INFINITY : small_value(k, 2, 15);
    case PARE_FLOAT8E5M2FNUZ: return small_value(k, 2, 16);
    case PARE_FLOAT8E4M3FN: return small_value(k, 3, 7);
    case PARE_FLOAT8E4M3FNUZ: return small_value(k, 3, 8);
    default: return small_value(k, 1, 1); /* FLOAT4E2M1 */
    }
}

static uint64_t narrow_8(uint32_t dtype, uint8_t bits) {
    return fnuz(dtype) && bits == 0x80 ? 0xFFu : (uint64_t)(bits & 0x7F);
}

static uint32_t packed_at(const uint8_t *data, uint32_t bits, uint64_t i) {
    const uint32_t per = 8 / bits;
    return (uint32_t)data[i / per] >> (i % per * bits) & ((1u << bits) - 1);
}

/* Bits of the stored floats without their signs. */
static void narrow(uint32_t dtype, uint32_t bits, const uint8_t *data, uint64_t first, uint32_t n, uint64_t *key) {
    switch (bits) {
    case 64: {
        const uint64_t *w = (const uint64_t *)(const void *)data + first;
        for (uint32_t i = 0; i < n; i++) key[i] = w[i] & 0x7FFFFFFFFFFFFFFFu;
        break;
    }
    case 32: {
        const uint32_t *w = (const uint32_t *)(const void *)data + first;
        for (uint32_t i = 0; i < n; i++) key[i] = w[i] & 0x7FFFFFFFu;
        break;
    }
    case 16: {
        const uint16_t *w = (const uint16_t *)(const void *)data + first;
        for (uint32_t i = 0; i < n; i++) key[i] = w[i] & 0x7FFFu;
        break;
    }
    case 8:
        for (uint32_t i = 0; i < n; i++) key[i] = narrow_8(dtype, data[first + i]);
        break;
    default:
        for (uint32_t i = 0; i < n; i++) key[i] = packed_at(data, bits, first + i) & ((1u << (bits - 1)) - 1);
        break;
    }
}

static int64_t integer_at(uint32_t dtype, uint32_t bits, const uint8_t *data, uint64_t i) {
    const bool is_signed = pare_dtype_kind(dtype) == 'i';
    uint32_t u;
    switch (bits) {
    case 32: u = ((const uint32_t *)(const void *)data)[i]; break;
    case 16: u = ((const uint16_t *)(const void *)data)[i]; break;
    case 8: u = data[i]; break;
    default: u = packed_at(data, bits, i); break;
    }
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    return is_signed && (u & sign) ? (int64_t)u - (int64_t)(sign << 1) : (int64_t)u;
}

static double float_at(uint32_t dtype, const uint8_t *data, uint64_t i) {
    uint64_t key;
    narrow(dtype, pare_dtype_bits(dtype), data, i, 1, &key);
    return value_of(dtype, key);
}

static uint64_t scale_index(const prune_source *s, uint64_t i) {
    const uint64_t line = i / s->inner, channel = line % s->dim;
    if (!s->blocked) return s->scale_dim == 1 ? 0 : channel;
    return (line / s->dim * s->scale_dim + channel / s->block) * s->inner + i % s->inner;
}

/* How many elements from i on have the same scale. */
static uint64_t scale_run(const prune_source *s, uint64_t i) {
    if (s->scale_dim == 1 && !s->blocked) return s->count - i;
    if (!s->blocked) return s->inner - i % s->inner;
    if (s->inner != 1) return 1;
    const uint64_t channel = i % s->dim, in_block = s->block - channel % s->block;
    return in_block < s->dim - channel ? in_block : s->dim - channel;
}

static void dequantized(const prune_source *s, uint64_t first, uint32_t n, uint64_t *key) {
    const bool is_float = pare_dtype_kind(s->dtype) == 'f', is_int8 = s->dtype == PARE_INT8;
    if (is_float) narrow(s->dtype, s->bits, s->data, first, n, key);
    for (uint32_t i = 0; i < n;) {
        const uint64_t at = first + i, index = scale_index(s, at), run = scale_run(s, at);
        const uint32_t end = run < n - i ? i + (uint32_t)run : n;
        const double scale = float_at(s->scale_dtype, s->scale, index);
        const int64_t zero = s->zero ? integer_at(s->dtype, s->bits, s->zero, index) : 0;
        if (is_float) {
            for (; i < end; i++) key[i] = bits_of(value_of(s->dtype, key[i]) * scale);
        } else if (is_int8 || s->dtype == PARE_UINT8) { /* the usual ones */
            const uint8_t *q = s->data + first;
            for (; i < end; i++) {
                const int32_t v = (is_int8 ? (int32_t)(int8_t)q[i] : (int32_t)q[i]) - (int32_t)zero;
                key[i] = bits_of((double)(v < 0 ? -v : v) * scale);
            }
        } else {
            for (; i < end; i++) {
                const int64_t v = integer_at(s->dtype, s->bits, s->data, first + i) - zero;
                key[i] = bits_of((double)(v < 0 ? -v : v) * scale);
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) key[i] &= 0x7FFFFFFFFFFFFFFFu; /* a NaN may come with a sign */
}

void prune_magnitudes(const prune_source *s, uint64_t first, uint32_t n, uint64_t *key) {
    if (s->quantized) {
        dequantized(s, first, n, key);
        return;
    }
    narrow(s->dtype, s->bits, s->data, first, n, key);
    if (s->wide && s->dtype != PARE_DOUBLE)
        for (uint32_t i = 0; i < n; i++) key[i] = bits_of(value_of(s->dtype, key[i])) & 0x7FFFFFFFFFFFFFFFu;
}

void prune_keys(const prune_source *s, uint64_t first, uint32_t n, uint64_t *key) {
    prune_magnitudes(s, first, n, key);
    if (!s->random) return;
    uint32_t w[4] = {0};
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t at = first + i;
        if (i == 0 || !(at & 1)) pare_philox(s->seed, s->stream, at >> 1, w); /* one call makes two numbers */
        const uint64_t drawn = at & 1 ? (uint64_t)w[3] << 32 | w[2] : (uint64_t)w[1] << 32 | w[0];
        if (key[i]) key[i] = drawn ? drawn : 1;
    }
}

static void zero_packed(const prune_source *s, uint64_t first, uint32_t n, const uint8_t *gone) {
    const uint32_t per = 8 / s->bits, mask = (1u << s->bits) - 1;
    for (uint32_t i = 0; i < n; i++) {
        if (!gone[i]) continue;
        const uint64_t at = first + i;
        const uint32_t shift = (uint32_t)(at % per) * s->bits;
        const uint32_t zero = s->zero ? packed_at(s->zero, s->bits, scale_index(s, at)) : 0;
        s->data[at / per] = (uint8_t)((s->data[at / per] & ~(mask << shift)) | zero << shift);
    }
}

void prune_zero(const prune_source *s, uint64_t first, uint32_t n, const uint8_t *gone) {
    if (s->bits < 8) {
        zero_packed(s, first, n, gone);
        return;
    }
    if (s->zero) {
        const uint32_t bytes = s->bits / 8;
        for (uint32_t i = 0; i < n;) {
            const uint64_t at = first + i, run = scale_run(s, at);
            const uint32_t end = run < n - i ? i + (uint32_t)run : n;
            const uint8_t *zero = s->zero + scale_index(s, at) * bytes;
            if (bytes == 1) {
                uint8_t *w = s->data + first;
                for (; i < end; i++) w[i] = gone[i] ? *zero : w[i];
            } else {
                for (; i < end; i++)
                    if (gone[i]) memcpy(s->data + (first + i) * bytes, zero, bytes);
            }
        }
        return;
    }
    switch (s->bits) {
    case 64: {
        uint64_t *w = (uint64_t *)(void *)s->data + first;
        for (uint32_t i = 0; i < n; i++) w[i] = gone[i] ? 0 : w[i];
        break;
    }
    case 32: {
        uint32_t *w = (uint32_t *)(void *)s->data + first;
        for (uint32_t i = 0; i < n; i++) w[i] = gone[i] ? 0 : w[i];
        break;
    }
    case 16: {
        uint16_t *w = (uint16_t *)(void *)s->data + first;
        for (uint32_t i = 0; i < n; i++) w[i] = gone[i] ? 0 : w[i];
        break;
    }
    default: {
        uint8_t *w = s->data + first;
        for (uint32_t i = 0; i < n; i++) w[i] = gone[i] ? 0 : w[i];
        break;
    }
    }
}
