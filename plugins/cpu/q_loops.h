/* cpu/q_loops.h - loops over rows of 8-bit numbers, of the best instruction set. May use: q_spec.h. */
#ifndef PARE_CPU_Q_LOOPS_H
#define PARE_CPU_Q_LOOPS_H

#include "q_spec.h"

/* real = scale * (q - zero). */
typedef struct q_scale {
    float scale, low, high; /* what bounds results: each function says how */
    int32_t zero;
    bool is_signed;
} q_scale;

typedef struct q_pair {
    q_scale a, b;
    q_scale y; /* scale: one over it; low, high: without the zero point */
    bool product;
} q_pair;

typedef struct q_loops {
    void (*quantize)(const float *x, uint8_t *y, int64_t n, const q_scale *q); /* low, high: of the 8 bits */
    void (*dequantize)(const uint8_t *x, float *y, int64_t n, const q_scale *q);
    void (*range)(const float *x, int64_t n, float *low, float *high); /* with 0 in it */
    void (*pair)(const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n, const q_pair *p);
    void (*largest)(const uint8_t *x, uint8_t *y, int64_t n, bool is_signed); /* y = max(x, y) */
    void (*sum)(const uint8_t *x, int32_t *y, int64_t n, bool is_signed);     /* y += x */
    void (*mean)(const int32_t *sum, uint8_t *y, int64_t n, float scale, int32_t less,
                 const q_scale *q); /* round((sum - less) * scale) within low..high, + zero */
} q_loops;
const q_loops *q_loops_best(void);

/* The scale, zero point and bounds of an 8-bit operand. false: it has none. */
bool q_scale_of(const pare_operand *o, q_scale *q);
/* The spec's post-ops are Relu and Clip with a QUANTIZE behind them: as of q_pair's y. */
bool q_scale_of_post(const pare_kernel_spec *s, uint32_t n_post, q_scale *q);

#endif
