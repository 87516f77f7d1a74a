/* cpu/dn_conv.h - a convolution's window and weights as oneDNN wants them: shared by forward and gradients.
 *
 * May use: prim.h.
 */
#ifndef PARE_CPU_DN_CONV_H
#define PARE_CPU_DN_CONV_H

#include "prim.h"

typedef struct dn_conv_shape {
    bool transposed;
    int64_t groups;
    uint32_t nd;      /* spatial dims */
    int64_t first[3]; /* the first tap that is used */
    dn_window w;      /* of the taps that are used */
} dn_conv_shape;

/* kernel, strides, dilations, pads from the attributes; what is not written or automatic follows from the dims. */
bool dn_conv_shape_of(const pare_kernel_spec *s, const pare_operand *x, const pare_operand *w, const pare_operand *y,
                      dn_conv_shape *c);
/* Leaves the taps that never meet the input out: those of a 3x3 kernel over a map of one pixel but one. */
void dn_conv_crop(dn_conv_shape *c, const pare_operand *x, const pare_operand *y);
/* Of the window's taps: [groups] out/group in/group kernel..., how they lie in ONNX's plain bytes from *offset on, and
 * (any) in the layout that oneDNN likes. NULL where memory runs out. */
void dn_conv_weights(const pare_operand *w, const dn_conv_shape *c, dn_desc **any, dn_desc **view, uint64_t *offset);

/* Of an output place (2-d): an input place and the tap that joins them; of an input place: an output place and the tap;
 * of a tap: an input place, and in `tap` the output place. */
typedef struct dn_conv_link {
    int32_t place, tap;
} dn_conv_link;
/* The links of one output place, input place or tap (the others: -1); all -1: of every tap. Their number; emit may be
 * NULL. */
int64_t dn_conv_links(const dn_conv_shape *c, const pare_operand *x, const pare_operand *y, int64_t only_out,
                      int64_t only_in, int64_t only_tap, dn_conv_link *emit);

/* The operands of a forward convolution, wherever a spec has them. */
typedef struct cpu_conv_operands {
    const pare_operand *x, *w, *y;
    bool bias; /* a bias comes in, or its gradient goes out */
} cpu_conv_operands;
/* Our own kernel over small maps (grad_small.c): forward, ConvGradInput, ConvGradWeight. */
pare_status cpu_make_conv_small(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                const dn_conv_shape *c, cpu_kernel **out);
/* With a group for each channel (grad_depthwise.c): forward, ConvGradInput, ConvGradWeight. */
pare_status cpu_make_conv_depthwise(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                    const dn_conv_shape *c, cpu_kernel **out);
/* ConvGradWeight of 1x1 kernels (grad_point.c). */
pare_status cpu_make_conv_point(cpu_device *dev, const pare_kernel_spec *s, const cpu_conv_operands *a,
                                const dn_conv_shape *c, cpu_kernel **out);

#endif
