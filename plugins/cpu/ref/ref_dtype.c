/* plugins/cpu/ref/ref_dtype.c - one element of any numeric dtype: in and out of double and of int64.
 *
 * The small floats share one decoder and one encoder, driven by a row of numbers a format. Rounding is to nearest, ties
 * to even, in one step from double. Is not: loops, those belong to the families. May use: ref.h, the C library.
 */
#include "ref.h"
#include "ref_rows.h"

#include <math.h>
#include <string.h>

/* What the largest codes of a format mean. */
enum {
    FMT_IEEE, /* exponent all ones: inf, NaN */
    FMT_FN,   /* only the very last code is NaN, no inf */
    FMT_UZ,   /* NaN is "minus zero", no inf, no minus zero */
    FMT_PLAIN /* neither inf nor NaN */
};

typedef struct float_format {
    int32_t exponent, mantissa, bias, specials;
} float_format;

static const float_format f16 = {5, 10, 15, FMT_IEEE}, bf16 = {8, 7, 127, FMT_IEEE}, e4m3 = {4, 3, 7, FMT_FN},
                          e4m3uz = {4, 3, 8, FMT_UZ}, e5m2 = {5, 2, 15, FMT_IEEE}, e5m2uz = {5, 2, 16, FMT_UZ},
                          e2m1 = {2, 1, 1, FMT_PLAIN}, e2m3 = {2, 3, 1, FMT_PLAIN}, e3m2 = {3, 2, 3, FMT_PLAIN};

static const float_format *format_of(uint32_t dtype) {
    switch (dtype) {
    case PARE_FLOAT16: return &f16;
    case PARE_BFLOAT16: return &bf16;
    case PARE_FLOAT8E4M3FN: return &e4m3;
    case PARE_FLOAT8E4M3FNUZ: return &e4m3uz;
    case PARE_FLOAT8E5M2: return &e5m2;
    case PARE_FLOAT8E5M2FNUZ: return &e5m2uz;
    case PARE_FLOAT4E2M1: return &e2m1;
    case PARE_FLOAT6E2M3: return &e2m3;
    case PARE_FLOAT6E3M2: return &e3m2;
    default: return NULL;
    }
}

/* 2^e for -1022 <= e <= 1023. */
static inline double power_of_two(int32_t e) {
    uint64_t bits = (uint64_t)(e + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double decode(uint32_t code, const float_format *f) {
    uint32_t sign = code >> (f->exponent + f->mantissa) & 1, mask = (1u << f->mantissa) - 1;
    uint32_t top = (1u << f->exponent) - 1, e = code >> f->mantissa & top, m = code & mask;
    if (f->specials == FMT_UZ && sign && !e && !m) return NAN;
    if (f->specials == FMT_FN && e == top && m == mask) return NAN;
    if (f->specials == FMT_IEEE && e == top) {
        if (m) return NAN;
        return sign ? -INFINITY : INFINITY;
    }
    double x = e ? (double)(m + mask + 1) * power_of_two((int32_t)e - f->bias - f->mantissa)
                 : (double)m * power_of_two(1 - f->bias - f->mantissa);
    return sign ? -x : x;
}

static inline uint32_t encode(double x, const float_format *f, bool saturate) {
    uint32_t sign = (signbit(x) ? 1u : 0u) << (f->exponent + f->mantissa);
    uint32_t all = (1u << (f->exponent + f->mantissa)) - 1, inf = all & ~((1u << f->mantissa) - 1), nan, max;
    switch (f->specials) {
    case FMT_IEEE: max = inf - 1, nan = sign | inf | 1u << (f->mantissa - 1); break;
    case FMT_FN: max = all - 1, nan = sign | all; break;
    case FMT_UZ: max = all, nan = all + 1; break;
    default: max = all, nan = all + 1; break; /* no NaN: minus zero stands for it */
    }
    if (isnan(x)) return nan;
    double a = fabs(x);
    uint64_t code;
    if (isinf(a)) {
        code = UINT32_MAX;
    } else {
        uint64_t bits;
        memcpy(&bits, &a, sizeof bits);
        int32_t e = (int32_t)(bits >> 52) - 1023, low = 1 - f->bias;
        if (e < low) e = low;
        /* Units of the last place: an exact scaling, so the one rounding is nearbyint's. A carry runs into the
         * exponent. */
        code = ((uint64_t)(uint32_t)(e - low) << f->mantissa) + (uint64_t)nearbyint(a * power_of_two(f->mantissa - e));
    }
    if (code > max) {
        if (saturate || f->specials == FMT_PLAIN) return sign | max;
        return f->specials == FMT_IEEE ? (sign | inf) : nan;
    }
    if (f->specials == FMT_UZ && !code) return 0;
    return sign | (uint32_t)code;
}

/* float8_e8m0: 2^(code - 127), 255 is NaN; no sign, no zero. What is too small or too large is NaN or the nearest end.
 */
static uint32_t encode_e8m0(double x, bool saturate, int mode) {
    if (isnan(x) || x < 0) return 0xff;
    if (isinf(x)) return saturate ? 0xfe : 0xff;
    if (!(x > 0)) return saturate ? 0 : 0xff;
    int e;
    double m = frexp(x, &e) * 2; /* 1 <= m < 2 */
    e--;
    if (mode == REF_ROUND_UP ? m > 1 : mode == REF_ROUND_NEAREST && m >= 1.5) e++;
    if (e < -127) return saturate ? 0 : 0xff;
    if (e > 127) return saturate ? 0xfe : 0xff;
    return (uint32_t)(e + 127);
}

/* Elements below a byte lie bit after bit, low bits first. */
static uint32_t bits_get(const uint8_t *p, uint32_t bits, uint64_t i) {
    uint64_t at = i * bits;
    uint32_t shift = at & 7, v = p[at >> 3];
    if (shift + bits > 8) v |= (uint32_t)p[(at >> 3) + 1] << 8;
    return v >> shift & ((1u << bits) - 1);
}

static void bits_set(uint8_t *p, uint32_t bits, uint64_t i, uint32_t v) {
    uint64_t at = i * bits;
    uint32_t shift = at & 7, mask = (1u << bits) - 1;
    v &= mask;
    p[at >> 3] = (uint8_t)((p[at >> 3] & ~(mask << shift)) | v << shift);
    if (shift + bits > 8) {
        uint32_t done = 8 - shift;
        p[(at >> 3) + 1] = (uint8_t)((p[(at >> 3) + 1] & ~(mask >> done)) | v >> done);
    }
}

bool ref_is_int(uint32_t dtype) {
    char k = pare_dtype_kind(dtype);
    return k == 'i' || k == 'u' || k == 'b';
}

double ref_get(const void *data, uint32_t dtype, uint64_t i) {
    switch (dtype) {
    case PARE_FLOAT: return ((const float *)data)[i];
    case PARE_DOUBLE: return ((const double *)data)[i];
    case PARE_UINT64: return (double)((const uint64_t *)data)[i];
    case PARE_FLOAT16: return decode(((const uint16_t *)data)[i], &f16);
    case PARE_BFLOAT16: return decode(((const uint16_t *)data)[i], &bf16);
    case PARE_FLOAT8E8M0: {
        uint8_t code = ((const uint8_t *)data)[i];
        return code == 0xff ? NAN : power_of_two((int32_t)code - 127);
    }
    default: break;
    }
    if (ref_is_int(dtype)) return (double)ref_get_int(data, dtype, i);
    const float_format *f = format_of(dtype);
    return f ? decode(bits_get(data, pare_dtype_bits(dtype), i), f) : 0;
}

void ref_set_cast(void *data, uint32_t dtype, uint64_t i, double x, bool saturate, int mode) {
    const float_format *f;
    switch (dtype) {
    case PARE_FLOAT: ((float *)data)[i] = (float)x; return;
    case PARE_DOUBLE: ((double *)data)[i] = x; return;
    case PARE_BOOL: ((uint8_t *)data)[i] = x != 0; return;
    case PARE_FLOAT16: ((uint16_t *)data)[i] = (uint16_t)encode(x, &f16, false); return;
    case PARE_BFLOAT16: ((uint16_t *)data)[i] = (uint16_t)encode(x, &bf16, false); return;
    case PARE_FLOAT8E8M0: ((uint8_t *)data)[i] = (uint8_t)encode_e8m0(x, saturate, mode); return;
    case PARE_UINT64:
        if (x >= 0x1p63) {
            ((uint64_t *)data)[i] = x >= 0x1p64 ? UINT64_MAX : (uint64_t)x;
            return;
        }
        break;
    default: break;
    }
    if (ref_is_int(dtype)) {
        int64_t v = isnan(x) ? 0 : x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : (int64_t)x;
        ref_set_int(data, dtype, i, v);
        return;
    }
    if ((f = format_of(dtype))) bits_set(data, pare_dtype_bits(dtype), i, encode(x, f, saturate));
}

void ref_set(void *data, uint32_t dtype, uint64_t i, double x) { ref_set_cast(data, dtype, i, x, true, REF_ROUND_UP); }

int64_t ref_get_int(const void *data, uint32_t dtype, uint64_t i) {
    switch (dtype) {
    case PARE_INT64: return ((const int64_t *)data)[i];
    case PARE_INT32: return ((const int32_t *)data)[i];
    case PARE_INT16: return ((const int16_t *)data)[i];
    case PARE_INT8: return ((const int8_t *)data)[i];
    case PARE_UINT64: return (int64_t)((const uint64_t *)data)[i];
    case PARE_UINT32: return ((const uint32_t *)data)[i];
    case PARE_UINT16: return ((const uint16_t *)data)[i];
    case PARE_UINT8: return ((const uint8_t *)data)[i];
    case PARE_BOOL: return ((const uint8_t *)data)[i] != 0;
    case PARE_UINT4:
    case PARE_UINT2: return bits_get(data, pare_dtype_bits(dtype), i);
    case PARE_INT4:
    case PARE_INT2: {
        uint32_t bits = pare_dtype_bits(dtype), half = 1u << (bits - 1);
        return (int64_t)(bits_get(data, bits, i) ^ half) - half;
    }
    default: {
        double x = ref_get(data, dtype, i);
        return isnan(x) ? 0 : x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : (int64_t)x;
    }
    }
}

void ref_set_int(void *data, uint32_t dtype, uint64_t i, int64_t x) {
    switch (dtype) {
    case PARE_INT64:
    case PARE_UINT64: ((uint64_t *)data)[i] = (uint64_t)x; break;
    case PARE_INT32:
    case PARE_UINT32: ((uint32_t *)data)[i] = (uint32_t)x; break;
    case PARE_INT16:
    case PARE_UINT16: ((uint16_t *)data)[i] = (uint16_t)x; break;
    case PARE_INT8:
    case PARE_UINT8: ((uint8_t *)data)[i] = (uint8_t)x; break;
    case PARE_BOOL: ((uint8_t *)data)[i] = x != 0; break;
    case PARE_INT4:
    case PARE_UINT4:
    case PARE_INT2:
    case PARE_UINT2: bits_set(data, pare_dtype_bits(dtype), i, (uint32_t)x); break;
    case PARE_FLOAT: ((float *)data)[i] = (float)x; break; /* one rounding, not two */
    default: ref_set(data, dtype, i, (double)x); break;
    }
}
