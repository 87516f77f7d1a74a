/* data/element.h - one element of an array's bytes as a number: dtypes that samples and labels may have, in one table.
 * Inside the layer. The bytes may lie at any address. May use: model/array.h.
 */
#ifndef PARE_DATA_ELEMENT_H
#define PARE_DATA_ELEMENT_H

#include "model/array.h"

#include <string.h>

/* X(dtype, C type) */
#define PARE_ELEMENT_INTS(X)                                                                                           \
    X(PARE_UINT8, uint8_t)                                                                                             \
    X(PARE_INT8, int8_t)                                                                                               \
    X(PARE_UINT16, uint16_t)                                                                                           \
    X(PARE_INT16, int16_t)                                                                                             \
    X(PARE_UINT32, uint32_t)                                                                                           \
    X(PARE_INT32, int32_t)                                                                                             \
    X(PARE_UINT64, uint64_t)                                                                                           \
    X(PARE_INT64, int64_t)
#define PARE_ELEMENT_FLOATS(X) X(PARE_FLOAT, float) X(PARE_DOUBLE, double)

#define PARE_ELEMENT_CASE_(dtype, type)                                                                                \
    case dtype: {                                                                                                      \
        type v_;                                                                                                       \
        memcpy(&v_, p + i * sizeof v_, sizeof v_);                                                                     \
        return (PARE_ELEMENT_AS_)v_;                                                                                   \
    }

static inline float pare_half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023, u;
    float f;
    if (e == 31) {
        u = sign | 0x7f800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112) << 23 | m << 13;
    } else { /* zero and subnormals: m * 2^-24, exact */
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Element i; 0 for a dtype that no store takes. */
static inline float pare_element_float(const unsigned char *p, uint32_t dtype, uint64_t i) {
    switch (dtype) {
#define PARE_ELEMENT_AS_ float
        PARE_ELEMENT_INTS(PARE_ELEMENT_CASE_)
        PARE_ELEMENT_FLOATS(PARE_ELEMENT_CASE_)
#undef PARE_ELEMENT_AS_
    case PARE_BOOL: return p[i] != 0;
    case PARE_FLOAT16: {
        uint16_t h;
        memcpy(&h, p + i * 2, 2);
        return pare_half_to_float(h);
    }
    case PARE_BFLOAT16: {
        uint16_t h;
        memcpy(&h, p + i * 2, 2);
        uint32_t u = (uint32_t)h << 16;
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
    default: return 0;
    }
}

/* A label: element i of ints and bools; what is above INT64_MAX comes out negative, as what is no label does. */
static inline int64_t pare_element_int(const unsigned char *p, uint32_t dtype, uint64_t i) {
    switch (dtype) {
#define PARE_ELEMENT_AS_ int64_t
        PARE_ELEMENT_INTS(PARE_ELEMENT_CASE_)
#undef PARE_ELEMENT_AS_
    case PARE_BOOL: return p[i] != 0;
    default: return -1;
    }
}

#endif
