/* cpu/dnnl_compat.c - see dnnl_compat.h: every difference between oneDNN 2.6 and 3.x. */
#include "dnnl_compat.h"

#include <pare/tensor.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dn_desc {
    dnnl_memory_desc_t md; /* 3.x: a pointer that is ours */
};

#if DNNL_VERSION_MAJOR >= 3
#define DN_V3 1
#define MD(d) ((d) ? (d)->md : NULL)
#else
#define DN_V3 0
#define MD(d) ((d) ? &(d)->md : NULL)
#endif

static dnnl_primitive_attr_t attr_of(const dn_attr *a) { return a ? a->attr : NULL; }

/* ---- descriptions ---- */

dnnl_data_type_t dn_dtype(uint32_t dtype) {
    switch (dtype) {
    case PARE_FLOAT: return dnnl_f32;
    case PARE_FLOAT16: return dnnl_f16;
    case PARE_BFLOAT16: return dnnl_bf16;
    case PARE_INT32: return dnnl_s32;
    case PARE_INT8: return dnnl_s8;
    case PARE_UINT8: return dnnl_u8;
    default: return dnnl_data_type_undef;
    }
}

static dn_desc *desc_new(uint32_t ndim, const int64_t *dims, const int64_t *strides, bool any, dnnl_data_type_t t) {
    if (!ndim || ndim > DN_DIMS || t == dnnl_data_type_undef) return NULL;
    dnnl_dims_t d = {0}, s = {0};
    int64_t step = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        d[i] = dims[i];
        s[i] = strides ? strides[i] : step;
        step *= dims[i];
    }
    dn_desc *out = calloc(1, sizeof *out);
    if (!out) return NULL;
#if DN_V3
    dnnl_status_t st = any ? dnnl_memory_desc_create_with_tag(&out->md, (int)ndim, d, t, dnnl_format_tag_any)
                           : dnnl_memory_desc_create_with_strides(&out->md, (int)ndim, d, t, s);
#else
    dnnl_status_t st = any ? dnnl_memory_desc_init_by_tag(&out->md, (int)ndim, d, t, dnnl_format_tag_any)
                           : dnnl_memory_desc_init_by_strides(&out->md, (int)ndim, d, t, s);
#endif
    if (st == dnnl_success) return out;
    free(out);
    return NULL;
}

dn_desc *dn_desc_any(uint32_t ndim, const int64_t *dims, dnnl_data_type_t dtype) {
    return desc_new(ndim, dims, NULL, true, dtype);
}

dn_desc *dn_desc_strided(uint32_t ndim, const int64_t *dims, const int64_t *strides, dnnl_data_type_t dtype) {
    return desc_new(ndim, dims, strides, false, dtype);
}

dn_desc *dn_desc_blocked(uint32_t ndim, const int64_t *dims, int block, dnnl_data_type_t t) {
    static const dnnl_format_tag_t tags[3][3] = {{dnnl_aBc4b, dnnl_aBcd4b, dnnl_aBcde4b},
                                                 {dnnl_aBc8b, dnnl_aBcd8b, dnnl_aBcde8b},
                                                 {dnnl_aBc16b, dnnl_aBcd16b, dnnl_aBcde16b}};
    if (ndim < 3 || ndim > 5 || (block != 4 && block != 8 && block != 16)) return NULL;
    dnnl_format_tag_t tag = tags[block == 4 ? 0 : block == 8 ? 1 : 2][ndim - 3];
    dnnl_dims_t d = {0};
    for (uint32_t i = 0; i < ndim; i++) d[i] = dims[i];
    dn_desc *out = calloc(1, sizeof *out);
    if (!out) return NULL;
#if DN_V3
    dnnl_status_t st = dnnl_memory_desc_create_with_tag(&out->md, (int)ndim, d, t, tag);
#else
    dnnl_status_t st = dnnl_memory_desc_init_by_tag(&out->md, (int)ndim, d, t, tag);
#endif
    if (st == dnnl_success) return out;
    free(out);
    return NULL;
}

dn_desc *dn_desc_clone(const dn_desc *d) {
    dn_desc *out = d ? calloc(1, sizeof *out) : NULL;
    if (!out) return NULL;
#if DN_V3
    if (dnnl_memory_desc_clone(&out->md, d->md) != dnnl_success) {
        free(out);
        return NULL;
    }
#else
    out->md = d->md;
#endif
    return out;
}

void dn_desc_free(dn_desc *d) {
    if (!d) return;
#if DN_V3
    dnnl_memory_desc_destroy(d->md);
#endif
    free(d);
}

bool dn_desc_equal(const dn_desc *a, const dn_desc *b) { return dnnl_memory_desc_equal(MD(a), MD(b)); }
uint64_t dn_desc_bytes(const dn_desc *d) { return dnnl_memory_desc_get_size(MD(d)); }

typedef struct parts { /* of a blocked description */
    int ndim, nblks;
    dnnl_dims_t dims, padded, strides, blks, idxs;
    bool blocked;
} parts;

static parts parts_of(const dn_desc *d) {
    parts p = {0};
#if DN_V3
    dnnl_format_kind_t kind = dnnl_format_kind_undef;
    dnnl_memory_desc_query(d->md, dnnl_query_format_kind, &kind);
    p.blocked = kind == dnnl_blocked;
    if (!p.blocked) return p;
    const dnnl_dims_t *v = NULL;
    dnnl_memory_desc_query(d->md, dnnl_query_ndims_s32, &p.ndim);
    dnnl_memory_desc_query(d->md, dnnl_query_inner_nblks_s32, &p.nblks);
    if (dnnl_memory_desc_query(d->md, dnnl_query_dims, &v) == dnnl_success && v) memcpy(p.dims, *v, sizeof p.dims);
    if (dnnl_memory_desc_query(d->md, dnnl_query_padded_dims, &v) == dnnl_success && v)
        memcpy(p.padded, *v, sizeof p.padded);
    if (dnnl_memory_desc_query(d->md, dnnl_query_strides, &v) == dnnl_success && v)
        memcpy(p.strides, *v, sizeof p.strides);
    if (dnnl_memory_desc_query(d->md, dnnl_query_inner_blks, &v) == dnnl_success && v)
        memcpy(p.blks, *v, sizeof p.blks);
    if (dnnl_memory_desc_query(d->md, dnnl_query_inner_idxs, &v) == dnnl_success && v)
        memcpy(p.idxs, *v, sizeof p.idxs);
#else
    p.blocked = d->md.format_kind == dnnl_blocked && d->md.offset0 == 0 && d->md.extra.flags == 0;
    p.ndim = d->md.ndims;
    p.nblks = d->md.format_desc.blocking.inner_nblks;
    memcpy(p.dims, d->md.dims, sizeof p.dims);
    memcpy(p.padded, d->md.padded_dims, sizeof p.padded);
    memcpy(p.strides, d->md.format_desc.blocking.strides, sizeof p.strides);
    memcpy(p.blks, d->md.format_desc.blocking.inner_blks, sizeof p.blks);
    memcpy(p.idxs, d->md.format_desc.blocking.inner_idxs, sizeof p.idxs);
#endif
    return p;
}

static void mix(uint32_t *h, int64_t x) { /* FNV-1a */
    for (int i = 0; i < 8; i++) *h = (*h ^ (uint32_t)((uint64_t)x >> (8 * i) & 255)) * 16777619u;
}

uint32_t dn_desc_hash(const dn_desc *d) {
    parts p = parts_of(d);
    uint32_t h = 2166136261u;
    mix(&h, (int64_t)dn_desc_bytes(d));
    if (!p.blocked) return h;
    for (int i = 0; i < p.ndim; i++) {
        mix(&h, p.dims[i]);
        mix(&h, p.padded[i]);
        mix(&h, p.dims[i] > 1 ? p.strides[i] : 0); /* a dim of 1 is equal whatever its stride */
    }
    for (int i = 0; i < p.nblks; i++) {
        mix(&h, p.blks[i]);
        mix(&h, p.idxs[i]);
    }
    return h;
}

bool dn_desc_is_plain(const dn_desc *d) {
    parts p = parts_of(d);
    if (!p.blocked || p.nblks > 1) return false;
    for (int i = 0; i < p.ndim; i++)
        if (p.padded[i] != p.dims[i]) return false;
    int64_t step = 1;
    if (p.nblks == 1) { /* one block over a dim behind which all are 1: channels of a pooled map */
        int64_t b = p.idxs[0];
        for (int i = (int)b + 1; i < p.ndim; i++)
            if (p.dims[i] != 1) return false;
        if (p.dims[b] > p.blks[0] && p.strides[b] != p.blks[0]) return false;
        step = p.dims[b];
        for (int i = (int)b; i-- > 0;) {
            if (p.dims[i] > 1 && p.strides[i] != step) return false;
            step *= p.dims[i];
        }
        return true;
    }
    for (int i = p.ndim; i-- > 0;) {
        if (p.dims[i] > 1 && p.strides[i] != step) return false;
        step *= p.dims[i];
    }
    return true;
}

void dn_desc_text(const dn_desc *d, char *out, uint32_t room) {
    parts p = parts_of(d);
    if (dn_desc_is_plain(d) || !p.blocked || room < 64) {
        snprintf(out, room, "%s", p.blocked ? "plain" : "packed");
        return;
    }
    int order[DN_DIMS];
    for (int i = 0; i < p.ndim; i++) { /* by falling strides; equal ones (dims of 1) in their order */
        int at = i;
        for (; at > 0 && p.strides[order[at - 1]] < p.strides[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    uint32_t n = 0;
    for (int i = 0; i < p.ndim; i++) {
        bool split = false;
        for (int b = 0; b < p.nblks; b++) split = split || p.idxs[b] == order[i];
        out[n++] = (char)((split ? 'A' : 'a') + order[i]);
    }
    out[n] = 0;
    for (int b = 0; b < p.nblks && n + 8 < room; b++)
        n += (uint32_t)snprintf(out + n, room - n, "%d%c", (int)p.blks[b], (char)('a' + (int)p.idxs[b]));
}

bool dn_desc_planes(const dn_desc *d, dn_planes *out) {
    parts p = parts_of(d);
    if (!p.blocked || p.ndim < 2 || p.nblks > 1 || (p.nblks == 1 && p.idxs[0] != 1)) return false;
    for (int i = 0; i < p.ndim; i++)
        if (i != 1 && p.padded[i] != p.dims[i]) return false;
    int64_t s = 1, width = p.nblks ? p.blks[0] : 1;
    for (int i = 2; i < p.ndim; i++) s *= p.dims[i];
    if (!p.nblks && p.dims[1] > 1 && p.strides[1] == 1) width = p.dims[1];
    int64_t step = width, blocks = p.padded[1] / width;
    for (int i = p.ndim; i-- > 2;) { /* the spatial dims lie behind each other */
        if (p.dims[i] > 1 && p.strides[i] != step) return false;
        step *= p.dims[i];
    }
    *out = (dn_planes){.n = p.dims[0],
                       .channels = p.dims[1],
                       .s = s,
                       .blocks = blocks,
                       .width = width,
                       .step_n = p.dims[0] > 1 ? p.strides[0] : blocks * s * width,
                       .step_block = blocks > 1 ? p.strides[1] : s * width,
                       .step = width};
    return true;
}

/* ---- attributes ---- */

bool dn_attr_new(dn_attr *a) {
    *a = (dn_attr){0};
    if (dnnl_primitive_attr_create(&a->attr) != dnnl_success) return false;
    if (dnnl_primitive_attr_set_scratchpad_mode(a->attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        dnnl_post_ops_create(&a->post) == dnnl_success)
        return true;
    dn_attr_free(a);
    return false;
}

void dn_attr_free(dn_attr *a) {
    if (a->post) dnnl_post_ops_destroy(a->post);
    if (a->attr) dnnl_primitive_attr_destroy(a->attr);
    *a = (dn_attr){0};
}

bool dn_attr_eltwise(dn_attr *a, dnnl_alg_kind_t alg, float alpha, float beta) {
#if DN_V3
    return dnnl_post_ops_append_eltwise(a->post, alg, alpha, beta) == dnnl_success;
#else
    return dnnl_post_ops_append_eltwise(a->post, 1.0f, alg, alpha, beta) == dnnl_success;
#endif
}

bool dn_attr_hard_swish(dn_attr *a) { return dn_attr_eltwise(a, dnnl_eltwise_hardswish, 1.0f / 6, 0.5f); }

bool dn_attr_sum(dn_attr *a) {
#if DN_V3
    return dnnl_post_ops_append_sum(a->post, 1.0f, 0, dnnl_data_type_undef) == dnnl_success;
#else
    return dnnl_post_ops_append_sum(a->post, 1.0f) == dnnl_success;
#endif
}

bool dn_attr_binary(dn_attr *a, dnnl_alg_kind_t alg, const dn_desc *other) {
    return dnnl_post_ops_append_binary(a->post, alg, MD(other)) == dnnl_success;
}

bool dn_attr_set(dn_attr *a) { return dnnl_primitive_attr_set_post_ops(a->attr, a->post) == dnnl_success; }

/* ---- primitives ---- */

#if !DN_V3
static dn_pd made(dn_engine e, const void *desc, dnnl_status_t st, const dn_attr *a) {
    dn_pd pd = NULL;
    if (st != dnnl_success || dnnl_primitive_desc_create(&pd, desc, attr_of(a), e, NULL) != dnnl_success) return NULL;
    return pd;
}
#endif

#if DN_V3
/* What a creator left in pd counts only where it succeeded. */
#define MADE(call)                                                                                                     \
    dn_pd pd = NULL;                                                                                                   \
    return (call) == dnnl_success ? pd : NULL
#endif

dn_pd dn_conv(dn_engine e, bool transposed, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights,
              const dn_desc *bias, const dn_desc *dst, const dn_window *w, const dn_attr *a) {
#if DN_V3
    dn_pd pd = NULL;
    dnnl_status_t st =
        transposed ? dnnl_deconvolution_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, alg, MD(src),
                                                                      MD(weights), MD(bias), MD(dst), w->strides,
                                                                      w->dilations, w->pads_l, w->pads_r, attr_of(a))
                   : dnnl_convolution_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, alg, MD(src),
                                                                    MD(weights), MD(bias), MD(dst), w->strides,
                                                                    w->dilations, w->pads_l, w->pads_r, attr_of(a));
    return st == dnnl_success ? pd : NULL;
#else
    if (transposed) {
        dnnl_deconvolution_desc_t d;
        dnnl_status_t st = dnnl_dilated_deconvolution_forward_desc_init(&d, dnnl_forward_inference, alg, MD(src),
                                                                        MD(weights), MD(bias), MD(dst), w->strides,
                                                                        w->dilations, w->pads_l, w->pads_r);
        return made(e, &d, st, a);
    }
    dnnl_convolution_desc_t d;
    dnnl_status_t st =
        dnnl_dilated_convolution_forward_desc_init(&d, dnnl_forward_inference, alg, MD(src), MD(weights), MD(bias),
                                                   MD(dst), w->strides, w->dilations, w->pads_l, w->pads_r);
    return made(e, &d, st, a);
#endif
}

/* The gradients of a convolution ask for the forward one as a hint, of any layout. */
static dn_pd hint_of(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights, const dn_desc *bias,
                     const dn_desc *dst, const dn_window *w) {
#if DN_V3
    MADE(dnnl_convolution_forward_primitive_desc_create(&pd, e, dnnl_forward_training, alg, MD(src), MD(weights),
                                                        MD(bias), MD(dst), w->strides, w->dilations, w->pads_l,
                                                        w->pads_r, NULL));
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t st =
        dnnl_dilated_convolution_forward_desc_init(&d, dnnl_forward_training, alg, MD(src), MD(weights), MD(bias),
                                                   MD(dst), w->strides, w->dilations, w->pads_l, w->pads_r);
    return made(e, &d, st, NULL);
#endif
}

#if !DN_V3
static dn_pd made_back(dn_engine e, const void *desc, dnnl_status_t st, const dn_attr *a, dn_pd hint) {
    dn_pd pd = NULL;
    if (st != dnnl_success || dnnl_primitive_desc_create(&pd, desc, attr_of(a), e, hint) != dnnl_success) return NULL;
    return pd;
}
#endif

dn_pd dn_conv_by_input(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights, const dn_desc *dst,
                       const dn_window *w, const dn_attr *a) {
    dn_pd hint = hint_of(e, dnnl_convolution_direct, src, weights, NULL, dst, w), pd = NULL;
    if (!hint) return NULL;
#if DN_V3
    if (dnnl_convolution_backward_data_primitive_desc_create(&pd, e, alg, MD(src), MD(weights), MD(dst), w->strides,
                                                             w->dilations, w->pads_l, w->pads_r, hint,
                                                             attr_of(a)) != dnnl_success)
        pd = NULL;
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t st = dnnl_dilated_convolution_backward_data_desc_init(&d, alg, MD(src), MD(weights), MD(dst),
                                                                        w->strides, w->dilations, w->pads_l, w->pads_r);
    pd = made_back(e, &d, st, a, hint);
#endif
    dnnl_primitive_desc_destroy(hint);
    return pd;
}

dn_pd dn_conv_by_weights(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *weights,
                         const dn_desc *bias, const dn_desc *dst, const dn_window *w, const dn_attr *a) {
    dn_pd hint = hint_of(e, dnnl_convolution_direct, src, weights, bias, dst, w), pd = NULL;
    if (!hint) return NULL;
#if DN_V3
    if (dnnl_convolution_backward_weights_primitive_desc_create(&pd, e, alg, MD(src), MD(weights), MD(bias), MD(dst),
                                                                w->strides, w->dilations, w->pads_l, w->pads_r, hint,
                                                                attr_of(a)) != dnnl_success)
        pd = NULL;
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t st = dnnl_dilated_convolution_backward_weights_desc_init(
        &d, alg, MD(src), MD(weights), MD(bias), MD(dst), w->strides, w->dilations, w->pads_l, w->pads_r);
    pd = made_back(e, &d, st, a, hint);
#endif
    dnnl_primitive_desc_destroy(hint);
    return pd;
}

dn_pd dn_pool(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src, const dn_desc *dst, const dn_window *w,
              const dn_attr *a) {
#if DN_V3
    MADE(dnnl_pooling_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, alg, MD(src), MD(dst), w->strides,
                                                    w->kernel, w->dilations, w->pads_l, w->pads_r, attr_of(a)));
#else
    dnnl_pooling_v2_desc_t d;
    dnnl_status_t st = dnnl_pooling_v2_forward_desc_init(&d, dnnl_forward_inference, alg, MD(src), MD(dst), w->strides,
                                                         w->kernel, w->dilations, w->pads_l, w->pads_r);
    return made(e, &d, st, a);
#endif
}

dn_pd dn_matmul(dn_engine e, const dn_desc *src, const dn_desc *weights, const dn_desc *bias, const dn_desc *dst,
                const dn_attr *a) {
#if DN_V3
    MADE(dnnl_matmul_primitive_desc_create(&pd, e, MD(src), MD(weights), MD(bias), MD(dst), attr_of(a)));
#else
    dnnl_matmul_desc_t d;
    return made(e, &d, dnnl_matmul_desc_init(&d, MD(src), MD(weights), MD(bias), MD(dst)), a);
#endif
}

dn_pd dn_softmax(dn_engine e, bool log, const dn_desc *x, int axis, const dn_attr *a) {
#if DN_V3
    MADE(dnnl_softmax_forward_primitive_desc_create(&pd, e, dnnl_forward_inference,
                                                    log ? dnnl_softmax_log : dnnl_softmax_accurate, MD(x), MD(x), axis,
                                                    attr_of(a)));
#else
    if (log) {
        dnnl_logsoftmax_desc_t d;
        return made(e, &d, dnnl_logsoftmax_forward_desc_init(&d, dnnl_forward_inference, MD(x), axis), a);
    }
    dnnl_softmax_desc_t d;
    return made(e, &d, dnnl_softmax_forward_desc_init(&d, dnnl_forward_inference, MD(x), axis), a);
#endif
}

dn_pd dn_batchnorm(dn_engine e, const dn_desc *x, float epsilon, const dn_attr *a) {
    unsigned flags = dnnl_use_global_stats | dnnl_use_scale | dnnl_use_shift;
#if DN_V3
    MADE(dnnl_batch_normalization_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, MD(x), MD(x), epsilon,
                                                                flags, attr_of(a)));
#else
    dnnl_batch_normalization_desc_t d;
    dnnl_status_t st = dnnl_batch_normalization_forward_desc_init(&d, dnnl_forward_inference, MD(x), epsilon, flags);
    return made(e, &d, st, a);
#endif
}

dn_pd dn_lrn(dn_engine e, const dn_desc *x, int64_t size, float alpha, float beta, float k, const dn_attr *a) {
#if DN_V3
    MADE(dnnl_lrn_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, dnnl_lrn_across_channels, MD(x), MD(x),
                                                size, alpha, beta, k, attr_of(a)));
#else
    dnnl_lrn_desc_t d;
    dnnl_status_t st =
        dnnl_lrn_forward_desc_init(&d, dnnl_forward_inference, dnnl_lrn_across_channels, MD(x), size, alpha, beta, k);
    return made(e, &d, st, a);
#endif
}

dn_pd dn_eltwise(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *x, float alpha, float beta, const dn_attr *a) {
#if DN_V3
    MADE(dnnl_eltwise_forward_primitive_desc_create(&pd, e, dnnl_forward_inference, alg, MD(x), MD(x), alpha, beta,
                                                    attr_of(a)));
#else
    dnnl_eltwise_desc_t d;
    return made(e, &d, dnnl_eltwise_forward_desc_init(&d, dnnl_forward_inference, alg, MD(x), alpha, beta), a);
#endif
}

dn_pd dn_hard_swish(dn_engine e, const dn_desc *x, const dn_attr *a) {
    return dn_eltwise(e, dnnl_eltwise_hardswish, x, 1.0f / 6, 0.5f, a);
}

dn_pd dn_binary(dn_engine e, dnnl_alg_kind_t alg, const dn_desc *src0, const dn_desc *src1, const dn_desc *dst,
                const dn_attr *a) {
#if DN_V3
    MADE(dnnl_binary_primitive_desc_create(&pd, e, alg, MD(src0), MD(src1), MD(dst), attr_of(a)));
#else
    dnnl_binary_desc_t d;
    return made(e, &d, dnnl_binary_desc_init(&d, alg, MD(src0), MD(src1), MD(dst)), a);
#endif
}

dn_pd dn_concat(dn_engine e, uint32_t n, int axis, const dn_desc *const *src, const dn_desc *dst, const dn_attr *a) {
#if DN_V3
    const_dnnl_memory_desc_t *mds = calloc(n, sizeof *mds);
#else
    dnnl_memory_desc_t *mds = calloc(n, sizeof *mds);
#endif
    if (!mds) return NULL;
    for (uint32_t i = 0; i < n; i++) mds[i] = src[i]->md;
    dn_pd pd = NULL;
#if DN_V3
    dnnl_status_t st = dnnl_concat_primitive_desc_create(&pd, e, MD(dst), (int)n, axis, mds, attr_of(a));
#else
    dnnl_status_t st = dnnl_concat_primitive_desc_create(&pd, MD(dst), (int)n, axis, mds, attr_of(a), e);
#endif
    free(mds);
    return st == dnnl_success ? pd : NULL;
}

dn_pd dn_reorder(dn_engine e, const dn_desc *src, const dn_desc *dst, const dn_attr *a) {
    dn_pd pd = NULL;
    dnnl_status_t st = dnnl_reorder_primitive_desc_create(&pd, MD(src), e, MD(dst), e, attr_of(a));
    return st == dnnl_success ? pd : NULL;
}

bool dn_pd_next(dn_pd *pd) {
#if DN_V3
    return dnnl_primitive_desc_next_impl(*pd) == dnnl_success;
#else
    (void)pd; /* 2.x walks an iterator over the operation's description, which a finished one does not give back */
    return false;
#endif
}

/* ---- asking ---- */

dn_desc *dn_pd_desc(dn_pd pd, dnnl_query_t what, int index) {
#if DN_V3
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, what, index);
    if (!md || dnnl_memory_desc_get_size(md) == 0) return NULL;
    dn_desc *out = calloc(1, sizeof *out);
    if (out && dnnl_memory_desc_clone(&out->md, md) != dnnl_success) {
        free(out);
        out = NULL;
    }
    return out;
#else
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, index);
    if (!md || md->ndims == 0) return NULL;
    dn_desc *out = calloc(1, sizeof *out);
    if (out) out->md = *md;
    return out;
#endif
}

uint64_t dn_pd_scratch(dn_pd pd) {
    dn_desc *d = dn_pd_desc(pd, dnnl_query_scratchpad_md, 0);
    uint64_t n = d ? dn_desc_bytes(d) : 0;
    dn_desc_free(d);
    return n;
}

const char *dn_pd_name(dn_pd pd) {
    const char *text = NULL;
    dnnl_status_t st = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&text);
    return st == dnnl_success && text ? text : "?";
}

dnnl_memory_t dn_memory(dn_engine e, const dn_desc *d) {
    dnnl_memory_t m = NULL;
    return dnnl_memory_create(&m, MD(d), e, DNNL_MEMORY_NONE) == dnnl_success ? m : NULL;
}

const char *dn_isa(void) {
    switch ((int)dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    default: return "the instructions at hand";
    }
}
