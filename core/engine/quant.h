/* engine/quant.h - QuantizeLinear and DequantizeLinear read as parameters, and which nodes may run on their numbers.
 *
 * Only looks at a model. Is not: asking backends (steps_quant.c), rewriting graphs (pass_quant.c). May use: base,
 * model.
 */
#ifndef PARE_ENGINE_QUANT_H
#define PARE_ENGINE_QUANT_H

#include "model/model.h"

/* A value's numbers and what they mean: scale[c] * (q - zero_point[c]). */
typedef struct pare_quant {
    uint32_t value; /* the numbers: DequantizeLinear's input, QuantizeLinear's output; 0: none */
    uint32_t dtype;
    uint64_t n;   /* 1: per tensor; else one a channel of `axis` */
    int32_t axis; /* not negative */
    const float *scale;
    const int32_t *zero_point; /* NULL: all 0 */
} pare_quant;

/* Of a QuantizeLinear or DequantizeLinear of 8-bit numbers (the latter of int32, too) with constant parameters: one for
 * all or one a channel, scales finite and above 0. false: it is something else. What `out` points to lives in `a`. */
bool pare_quant_read(pare_arena *a, pare_model *m, const pare_node *n, pare_quant *out);
/* What the DequantizeLinear that makes this value says; of 8-bit numbers alone. */
bool pare_quant_of(pare_arena *a, pare_model *m, uint32_t value, pare_quant *out);
bool pare_quant_same(const pare_quant *a, const pare_quant *b); /* dtype, scales, zero points; per tensor both */

/* Which inputs of this op stand for numbers that a kernel could take in 8 bits: bit i. 0: it is not asked so. */
uint32_t pare_quant_slots(const pare_node *n);
/* All of them come from a DequantizeLinear that pare_quant_of reads. */
bool pare_quant_asks(pare_model *m, const pare_node *n);
/* The input that is its int32 bias, 0: it has none. */
uint32_t pare_quant_bias_slot(const pare_node *n);

/* Does this op only move or choose among the numbers of input 0, each output number being one of them? */
bool pare_quant_moves(pare_model *m, const pare_node *n);
/* Is a DequantizeLinear of constants better left, for a node behind it that may run in 8 bits? */
bool pare_quant_keeps(pare_model *m, const pare_node *n);

#endif
