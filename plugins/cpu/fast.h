/* cpu/fast.h - the makers of fast kernels, and what they share in reading a spec. May use: device.h. */
#ifndef PARE_CPU_FAST_H
#define PARE_CPU_FAST_H

#include "device.h"

pare_status cpu_make_reorder(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_matmul(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_norm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_eltwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_binary(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_concat(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_transpose(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_unary(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_loops(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_layernorm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_attention(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
/* ---- quantized: q_*.c ---- */
pare_status cpu_make_q_depthwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_matmul(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_matmul_float(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_quantize(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_dynamic(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_pair(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_table(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_softmax(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_reorder(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_q_concat(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
/* ---- training: grad_*.c ---- */
/* Conv whose weights are no constant; asked by cpu_make_conv. */
pare_status cpu_make_conv_trained(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_conv(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_norm(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_pool(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_eltwise(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_rows(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
pare_status cpu_make_grad_update(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);

/* Is it this op of ai.onnx? */
bool fast_is(const pare_kernel_spec *s, const char *op_type);
/* Is there an input i / output i? */
bool fast_in(const pare_kernel_spec *s, uint32_t i);
bool fast_out(const pare_kernel_spec *s, uint32_t i);
/* float32, not quantized, no dim of 0, at most DN_DIMS dims. */
bool fast_f32(const pare_operand *o);
bool fast_same_dims(const pare_operand *a, const pare_operand *b);
/* Product of dims begin..end-1. */
int64_t fast_product(const int64_t *dims, uint32_t begin, uint32_t end);
/* The number in a constant or host operand of one float32 element; false: it isn't known when the kernel is made. */
bool fast_scalar(const pare_operand *o, float *out);

#endif
