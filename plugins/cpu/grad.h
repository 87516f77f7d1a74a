/* cpu/grad.h - what the kernels of ai.pare.grad share: names, planes, makers. Their meaning: pare/grad_ops.h.
 *
 * May use: fast.h.
 */
#ifndef PARE_CPU_GRAD_H
#define PARE_CPU_GRAD_H

#include "fast.h"

/* Is it this op of ai.pare.grad? */
bool grad_is(const pare_kernel_spec *s, const char *op_type);

/* A kernel named `name`, with a copy of `size` bytes at impl behind it, freed with it. NULL: no memory. */
cpu_kernel *grad_kernel(cpu_device *dev, const pare_kernel_spec *s, const char *name, const void *impl, size_t size);
/* "c:" and the op with the instruction set our vectors use. */
void grad_name(const pare_kernel_spec *s, char *out, size_t room);

/* How an operand (N, C, ...) lies, as planes; where neither a block of channels nor plain, false. */
bool grad_planes(const cpu_device *dev, const pare_operand *o, dn_planes *out);
/* Bytes of an operand as it lies, padding included. */
uint64_t grad_bytes(const cpu_device *dev, const pare_operand *o);
/* Says that input i is wanted, and output o written, like the operand `lead` lies. */
void grad_in_like(cpu_kernel *k, uint32_t i, const pare_operand *lead);
void grad_out_like(cpu_kernel *k, uint32_t o, const pare_operand *lead);
/* May output o lie as `lead` does? */
bool grad_follows(const pare_operand *lead, const pare_operand *o);
/* Makes all inputs of the dims of lead that come in layouts of ours agree: the first such, else in[0]. */
const pare_operand *grad_lead(const pare_kernel_spec *s, const uint32_t *inputs, uint32_t n);

#endif
