/* quantize/float16_numbers.c - float32 to float16 and back, in whole numbers. See float16.h. */
#include "float16.h"

#include <math.h>
#include <string.h>

enum { MOST = 0x7bff }; /* 65504 */

uint16_t float16_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);  /* NaN */
    if (u == 0x7f800000) return (uint16_t)(sign | 0x7c00); /* infinite */
    if (u >= 0x477ff000) return (uint16_t)(sign | MOST);   /* 65520 and more round beyond it */
    if (u < 0x38800000) {                                  /* subnormal: steps of 2^-24 */
        float y;
        memcpy(&y, &u, sizeof y);
        return (uint16_t)(sign | (uint16_t)rintf(y * 0x1p24f));
    }
    const uint32_t odd = u >> 13 & 1;
    return (uint16_t)(sign | (uint16_t)((u + 0xfff + odd - (112u << 23)) >> 13));
}

float float16_value(uint16_t h) {
    const uint32_t exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    float x;
    if (exponent == 31)
        x = mantissa ? NAN : INFINITY;
    else
        x = exponent ? ldexpf((float)(mantissa | 0x400), (int)exponent - 25) : ldexpf((float)mantissa, -24);
    return h & 0x8000 ? -x : x;
}

void float16_convert(const float *in, uint64_t n, uint16_t *out, float16_loss *loss) {
    for (uint64_t i = 0; i < n; i++) {
        const float a = fabsf(in[i]);
        out[i] = float16_of(in[i]);
        loss->flushed += a > 0 && !(out[i] & 0x7fff);
        if (!(a < INFINITY)) continue;
        loss->overflowed += a >= 65520;
        if (a > loss->most) loss->most = a;
    }
}
