/* plugins/cpu/ref/ref_attention.h - ai.pare's Attention: what its attributes say. See ref_attention.c. */
#ifndef PARE_CPU_REF_ATTENTION_H
#define PARE_CPU_REF_ATTENTION_H

#include "ref.h"

enum { REF_ATTENTION_OUTER = 4, REF_ATTENTION_VIEW = 2 + REF_ATTENTION_OUTER };

/* For each of outer[0] x … x outer[3] products: y = softmax(scale * q k' + mask) v, with q (tq, d), k (tk, d), v (tk,
 * dv), mask (tq, tk), all float32. They lie in their operands as the views say: where the first element is, the steps
 * of the four outer dims, the step of a row; elements of a row are neighbours. The mask's view has one number more: its
 * step from column to column. All in elements. */
typedef struct ref_attention {
    int64_t outer[REF_ATTENTION_OUTER], tq, tk, d, dv;
    const int64_t *q, *k, *v, *y, *mask; /* mask NULL: none */
    double scale;
} ref_attention;

/* Attributes "shape" (outer, tq, tk, d, dv), "q", "k", "v", "y", "mask" (ints) and "scale"; inputs q, k, v, mask.
 * false: they don't say what they must, or point outside of the operands. */
bool ref_attention_read(const pare_kernel_spec *s, ref_attention *out);
/* Where product number i begins in a view. */
int64_t ref_attention_at(const ref_attention *a, const int64_t *view, int64_t i);

#endif
