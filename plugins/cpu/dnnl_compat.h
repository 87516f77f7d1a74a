/* cpu/dnnl_compat.h - oneDNN's C API as we use it, alike over 2.6 (Debian 12) and 3.x. The only place that knows both.
 *
 * Descriptions are on the heap here (2.x has them by value). Makers return NULL where oneDNN has no such primitive or
 * memory runs out. May use: oneDNN.
 */
#ifndef PARE_CPU_DNNL_COMPAT_H
#define PARE_CPU_DNNL_COMPAT_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdint.h>

enum { DN_DIMS = 12 }; /* DNNL_MAX_NDIMS */

typedef dnnl_engine_t dn_engine;
typedef dnnl_stream_t dn_stream;
typedef dnnl_primitive_desc_t dn_pd;
typedef struct dn_desc dn_desc;

/* ---- descriptions of memory ---- */
dnnl_data_type_t dn_dtype(uint32_t pare_dtype); /* dnnl_data_type_undef: oneDNN has none like it */
dn_desc *dn_desc_any(uint32_t ndim, const int64_t *dims, dnnl_data_type_t dtype);
/* strides in elements; NULL: row-major */
dn_desc *dn_desc_strided(uint32_t ndim, const int64_t *dims, const int64_t *strides, dnnl_data_type_t dtype);
dn_desc *dn_desc_clone(const dn_desc *d);
void dn_desc_free(dn_desc *d); /* NULL is fine */
bool dn_desc_equal(const dn_desc *a, const dn_desc *b);
uint64_t dn_desc_bytes(const dn_desc *d);
uint32_t dn_desc_hash(const dn_desc *d); /* of what it is: equal ones have equal hashes, in every process */
/* Are its bytes in row-major order, without padding? */
bool dn_desc_is_plain(const dn_desc *d);
/* For messages: "plain", "nhwc", "aBcd16b". */
void dn_desc_text(const dn_desc *d, char *out, uint32_t room);
/* (N, C, ...) with its channels in blocks behind the spatial dims: "aBcd16b"; block 4, 8 or 16. Padded where C ends
 * within a block. */
dn_desc *dn_desc_blocked(uint32_t ndim, const int64_t *dims, int block, dnnl_data_type_t dtype);
/* (N, C, ...) as planes: element (n, channel, s) is at n * step_n + channel / width * step_block + s * step + channel %
 * width; s runs over all spatial dims, row-major. Plain ones have width 1; channels last, width C. */
typedef struct dn_planes {
    int64_t n, channels, s, blocks, width, step_n, step_block, step;
} dn_planes;
bool dn_desc_planes(const dn_desc *d, dn_planes *out);

/* ---- attributes ---- */
typedef struct dn_attr {
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
} dn_attr;
bool dn_attr_new(dn_attr *a); /* scratch memory is the caller's */
void dn_attr_free(dn_attr *a);
bool dn_attr_eltwise(dn_attr *a, dnnl_alg_kind_t alg, float alpha, float beta);
bool dn_attr_sum(dn_attr *a);
bool dn_attr_binary(dn_attr *a, dnnl_alg_kind_t alg, const dn_desc *other);
bool dn_attr_set(dn_attr *a); /* after the last post-op */

/* ---- primitives; attr may be NULL ---- */
typedef struct dn_window {
    dnnl_dims_t kernel, strides, dilations, pads_l, pads_r; /* dilations: 0 is dense */
} dn_window;

dn_pd dn_conv(dn_engine e, bool transposed, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights,
              const dn_desc *bias, const dn_desc *dst, const dn_window *w, const dn_attr *a);
/* Of a convolution that is no transposed one: the gradient by its input (src is made of dst), and by its weights (and
 * bias, may be NULL). */
dn_pd dn_conv_by_input(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights, const dn_desc *dst,
                       const dn_window *w, const dn_attr *a);
dn_pd dn_conv_by_weights(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights,
                         const dn_desc *bias, const dn_desc *dst, const dn_window *w, const dn_attr *a);
dn_pd dn_pool(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *dst, const dn_window *w,
              const dn_attr *a);
dn_pd dn_matmul(dn_engine e, const dn_desc *src, const dn_desc *weights, const dn_desc *bias, const dn_desc *dst,
                const dn_attr *a);
dn_pd dn_softmax(dn_engine e, bool log, const dn_desc *d, int axis, const dn_attr *a);
/* With a scale and a shift of their own, and global statistics. */
dn_pd dn_batchnorm(dn_engine e, const dn_desc *d, float epsilon, const dn_attr *a);
dn_pd dn_lrn(dn_engine e, const dn_desc *d, int64_t size, float alpha, float beta, float k, const dn_attr *a);
dn_pd dn_eltwise(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *d, float alpha, float beta, const dn_attr *a);
dn_pd dn_binary(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src0, const dn_desc *src1, const dn_desc *dst,
                const dn_attr *a);
dn_pd dn_concat(dn_engine e, uint32_t n, int axis, const dn_desc *const *src, const dn_desc *dst, const dn_attr *a);
dn_pd dn_reorder(dn_engine e, const dn_desc *src, const dn_desc *dst, const dn_attr *a);
bool dn_pd_next(dn_pd *pd); /* the next implementation; false: *pd stays as it is */

/* dnnl_query_src_md, _weights_md, _dst_md, the diff ones, _scratchpad_md; cloned. NULL: none. */
dn_desc *dn_pd_desc(dn_pd pd, dnnl_query_t what, int index);
uint64_t dn_pd_scratch(dn_pd pd);
const char *dn_pd_name(dn_pd pd); /* "brgconv:avx512_core"; while the pd lives */

dnnl_memory_t dn_memory(dn_engine e, const dn_desc *d); /* without a handle */
const char *dn_isa(void);                               /* "avx512_core_vnni": the instructions in use */

/* oneDNN's hard-swish: x * clip(alpha * x + beta, 0, 1) with what ONNX fixes. */
bool dn_attr_hard_swish(dn_attr *a);
dn_pd dn_hard_swish(dn_engine e, const dn_desc *d, const dn_attr *a);

#endif
