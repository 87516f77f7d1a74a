/* plugins/cpu/ref/ref_b.h - what the families conv, pool, matmul, move, gather, make, resize and quant share.
 *
 * Is: their rows (ref_ops_b, which ref_find searches too), the run functions, moving elements of any width, sliding
 * windows. Is not: elementwise ops and reductions. May use: ref.h.
 */
#ifndef PARE_CPU_REF_B_H
#define PARE_CPU_REF_B_H

#include "ref.h"

extern const ref_op ref_ops_b[];
extern const uint32_t ref_n_ops_b;

/* ---- shared by the families (ref_b.c) ---- */

/* Are there at least so many inputs and outputs, all of at most REF_DIMS dims and of dtypes with a width? */
bool refb_ok(const ref_call *c, uint32_t n_in, uint32_t n_out);
bool refb_out(const pare_kernel_spec *s, uint32_t out); /* output `out` is wanted */
uint64_t refb_product(const int64_t *dims, uint32_t n);
void refb_strides(const int64_t *dims, uint32_t ndim, int64_t *strides); /* row-major, in elements */
/* Input `in` as a short list of ints; false: absent, or more than `max`. */
bool refb_int_list(const ref_call *c, uint32_t in, int64_t *list, uint32_t max, uint32_t *n);
/* n elements as doubles, the caller's to free; NULL: no memory. */
double *refb_doubles(const void *data, uint32_t dtype, uint64_t n);
void *refb_alloc(uint64_t count, uint64_t bytes); /* malloc of the product, checked; never NULL for 0 */

/* n neighbouring elements, bit by bit where a byte holds several. The regions don't overlap. */
void refb_move(void *dst, uint64_t di, const void *src, uint64_t si, uint64_t n, uint32_t dtype);
/* A box of `dims` between two strided places; strides and offsets in elements. ndim <= 2 * REF_DIMS. */
void refb_copy(void *dst, int64_t dst_at, const int64_t *dst_strides, const void *src, int64_t src_at,
               const int64_t *src_strides, const int64_t *dims, uint32_t ndim, uint32_t dtype);

/* n elements in a row, element i being src's number src_at + index[i], or the one at `absent` where index[i] is -1. */
void refb_pick(void *dst, uint64_t dst_at, const void *src, uint64_t src_at, const int64_t *index, uint64_t n,
               const void *absent, uint32_t dtype);

/* A window that slides over 1 to 3 dims; those in front are 1. */
typedef struct refb_window {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
} refb_window;

/* From strides, dilations, pads and auto_pad; `in`, `out` and `kernel` have `rank` entries. PARE_EINVAL: lists of the
 * wrong length, numbers that no tensor in memory can have. */
pare_status refb_window_read(const pare_kernel_spec *s, uint32_t rank, const int64_t *in, const int64_t *out,
                             const int64_t *kernel, refb_window *w);

/* The o in [0, n) with 0 <= o * step + shift < limit are those in [*lo, *hi). */
void refb_overlap(int64_t n, int64_t step, int64_t shift, int64_t limit, int64_t *lo, int64_t *hi);

/* A sum of integers held in a double, as int32 accumulators would hold it; beyond int64: 0. */
int32_t refb_wrap(double sum);

/* A whole number clamped to the range of an integer dtype of at most 32 bits; NaN gives 0. */
int64_t refb_saturate(double x, uint32_t dtype);

/* ---- run functions, one an op ---- */
#define REFB_RUN(name) pare_status name(const ref_call *c)
REFB_RUN(ref_conv);
REFB_RUN(ref_conv_transpose);
REFB_RUN(ref_conv_integer);
REFB_RUN(ref_qlinear_conv);
bool ref_conv_supports(const pare_kernel_spec *s);
REFB_RUN(ref_max_pool);
REFB_RUN(ref_average_pool);
REFB_RUN(ref_lp_pool);
bool ref_pool_supports(const pare_kernel_spec *s);
REFB_RUN(ref_global_max_pool);
REFB_RUN(ref_global_average_pool);
REFB_RUN(ref_global_lp_pool);
REFB_RUN(ref_matmul);
REFB_RUN(ref_gemm);
REFB_RUN(ref_matmul_integer);
REFB_RUN(ref_qlinear_matmul);
REFB_RUN(ref_matmul_integer_to_float);
REFB_RUN(ref_einsum);
REFB_RUN(ref_same_bytes);
REFB_RUN(ref_dropout);
bool ref_dropout_supports(const pare_kernel_spec *s);
REFB_RUN(ref_transpose);
REFB_RUN(ref_concat);
REFB_RUN(ref_split);
REFB_RUN(ref_slice);
REFB_RUN(ref_expand);
REFB_RUN(ref_tile);
REFB_RUN(ref_pad);
REFB_RUN(ref_depth_to_space);
REFB_RUN(ref_space_to_depth);
REFB_RUN(ref_reverse_sequence);
REFB_RUN(ref_gather);
REFB_RUN(ref_gather_elements);
REFB_RUN(ref_gather_nd);
REFB_RUN(ref_scatter_elements);
REFB_RUN(ref_scatter_nd);
REFB_RUN(ref_one_hot);
REFB_RUN(ref_trilu);
REFB_RUN(ref_range);
REFB_RUN(ref_shape);
REFB_RUN(ref_size);
REFB_RUN(ref_constant);
REFB_RUN(ref_constant_of_shape);
REFB_RUN(ref_eye_like);
REFB_RUN(ref_resize);
REFB_RUN(ref_quantize_linear);
REFB_RUN(ref_dequantize_linear);
REFB_RUN(ref_dynamic_quantize_linear);

#endif
