/* plugins/cpu/ref/ref_quantized.h - the oracle of quantized execution: ops of operands that stand for real numbers.
 *
 * Products of 8-bit numbers are summed exactly in int32, then scaled in float32, then the post-ops follow one by one,
 * the file's rounding points among them (pare/backend.h, "Quantized execution"). Is not a kernel of the backend: what
 * it has no fast kernel for runs faster in floats. May use: ref_b.h.
 */
#ifndef PARE_CPU_REF_QUANTIZED_H
#define PARE_CPU_REF_QUANTIZED_H

#include "ref_b.h"

typedef enum {
    REF_EXACT,
    REF_SATURATING /* pairs of u8 x s8 products saturate at int16, as vpmaddubsw's do: x86 without VNNI */
} ref_sums;

/* The row for a spec with quantized operands, all of its post-ops included; NULL: there is none. */
const ref_op *ref_quantized_find(const pare_kernel_spec *s, ref_sums sums);

/* ref_saturating.c: sums of Conv, Gemm and MatMul, zero points subtracted, no bias, as the output's elements lie. Of
 * uint8 or int8 x and int8 w without zero points. `pairs`: REF_SATURATING. PARE_EUNSUPPORTED: another op. */
pare_status ref_integer_sums(const ref_call *c, bool pairs, double *out);

#endif
