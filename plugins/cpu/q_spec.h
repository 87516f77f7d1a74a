/* cpu/q_spec.h - reading quantized specs: 8-bit operands, and the layout that their kernels like, channels last.
 *
 * May use: fast.h.
 */
#ifndef PARE_CPU_Q_SPEC_H
#define PARE_CPU_Q_SPEC_H

#include "fast.h"

/* uint8 or int8, no dim of 0, at most DN_DIMS dims; with or without a scale. */
bool q_eight(const pare_operand *o);
/* And with one finite scale above 0 and one zero point of its dtype: these. */
bool q_tensor(const pare_operand *o, float *scale, int32_t *zero);
/* 8-bit weights of `n` channels along `axis` (or one scale): every zero point is what int8 makes of 0, so that a uint8
 * one less 128 is an int8 one. scale[n]: theirs times `times`. */
bool q_weights(const pare_operand *o, int64_t n, int64_t axis, float times, float *scale);

/* (N, C, ...) with its channels last; plain where that is the same. false: no memory. */
bool q_nhwc(cpu_device *dev, const pare_operand *o, pare_layout *out);
/* May a kernel that writes `l` answer for o? */
bool q_fits(const pare_operand *o, const pare_layout *l);
/* A kernel with an `impl` of n bytes that is freed with it; 0-filled. NULL: no memory. */
cpu_kernel *q_kernel(cpu_device *dev, const pare_kernel_spec *s, const char *name, size_t n);

/* bytes with their top bit turned: int8 to uint8 and back. Several threads. */
void q_turn(uint32_t threads, const void *from, void *to, uint64_t bytes);

#endif
