/* plugins/cpu/ref/ref_b.c - rows of the families of ref_b.h, and what they share: moving elements, sliding windows.
 *
 * May use: ref.h, ref_b.h, the C library.
 */
#include "ref_b.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const ref_op ref_ops_b[] = {
    {"", "Conv", ref_conv_supports, ref_conv, 0},
    {"", "ConvTranspose", ref_conv_supports, ref_conv_transpose, 0},
    {"", "ConvInteger", ref_conv_supports, ref_conv_integer, 0},
    {"", "QLinearConv", ref_conv_supports, ref_qlinear_conv, 0},
    {"", "MaxPool", ref_pool_supports, ref_max_pool, 0},
    {"", "AveragePool", ref_pool_supports, ref_average_pool, 0},
    {"", "LpPool", ref_pool_supports, ref_lp_pool, 0},
    {"", "GlobalMaxPool", NULL, ref_global_max_pool, 0},
    {"", "GlobalAveragePool", NULL, ref_global_average_pool, 0},
    {"", "GlobalLpPool", NULL, ref_global_lp_pool, 0},
    {"", "MatMul", NULL, ref_matmul, 0},
    {"", "Gemm", NULL, ref_gemm, 0},
    {"", "MatMulInteger", NULL, ref_matmul_integer, 0},
    {"", "QLinearMatMul", NULL, ref_qlinear_matmul, 0},
    {"ai.pare", "MatMulIntegerToFloat", NULL, ref_matmul_integer_to_float, 0},
    {"", "Einsum", NULL, ref_einsum, 0},
    {"", "Reshape", NULL, ref_same_bytes, 1},
    {"", "Flatten", NULL, ref_same_bytes, 1},
    {"", "Identity", NULL, ref_same_bytes, 1},
    {"", "Squeeze", NULL, ref_same_bytes, 1},
    {"", "Unsqueeze", NULL, ref_same_bytes, 1},
    {"", "Dropout", ref_dropout_supports, ref_dropout, 0}, /* no view: its mask has to be written */
    {"", "Transpose", NULL, ref_transpose, 0},
    {"", "Concat", NULL, ref_concat, 0},
    {"", "Split", NULL, ref_split, 0},
    {"", "Slice", NULL, ref_slice, 0},
    {"", "Expand", NULL, ref_expand, 0},
    {"", "Tile", NULL, ref_tile, 0},
    {"", "Pad", NULL, ref_pad, 0},
    {"", "DepthToSpace", NULL, ref_depth_to_space, 0},
    {"", "SpaceToDepth", NULL, ref_space_to_depth, 0},
    {"", "ReverseSequence", NULL, ref_reverse_sequence, 0},
    {"", "Gather", NULL, ref_gather, 0},
    {"", "GatherElements", NULL, ref_gather_elements, 0},
    {"", "GatherND", NULL, ref_gather_nd, 0},
    {"", "ScatterElements", NULL, ref_scatter_elements, 0},
    {"", "ScatterND", NULL, ref_scatter_nd, 0},
    {"", "OneHot", NULL, ref_one_hot, 0},
    {"", "Trilu", NULL, ref_trilu, 0},
    {"", "Range", NULL, ref_range, 0},
    {"", "Shape", NULL, ref_shape, 0},
    {"", "Size", NULL, ref_size, 0},
    {"", "Constant", NULL, ref_constant, 0},
    {"", "ConstantOfShape", NULL, ref_constant_of_shape, 0},
    {"", "EyeLike", NULL, ref_eye_like, 0},
    {"", "Resize", NULL, ref_resize, 0},
    {"", "QuantizeLinear", NULL, ref_quantize_linear, 0},
    {"", "DequantizeLinear", NULL, ref_dequantize_linear, 0},
    {"", "DynamicQuantizeLinear", NULL, ref_dynamic_quantize_linear, 0},
};
const uint32_t ref_n_ops_b = sizeof ref_ops_b / sizeof *ref_ops_b;

bool refb_ok(const ref_call *c, uint32_t n_in, uint32_t n_out) {
    const pare_kernel_spec *s = c->spec;
    if (s->n_in < n_in || s->n_out < n_out) return false;
    for (uint32_t i = 0; i < s->n_in; i++) {
        if (!ref_has(s, i)) {
            if (i < n_in) return false;
        } else if (s->in[i]->ndim > REF_DIMS || !pare_dtype_bits(s->in[i]->dtype)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < s->n_out; i++) {
        if (!refb_out(s, i)) {
            if (i < n_out) return false;
        } else if (s->out[i]->ndim > REF_DIMS || !pare_dtype_bits(s->out[i]->dtype)) {
            return false;
        }
    }
    return true;
}

bool refb_out(const pare_kernel_spec *s, uint32_t out) {
    return out < s->n_out && s->out[out] && !(s->out[out]->flags & PARE_OPERAND_ABSENT);
}

uint64_t refb_product(const int64_t *dims, uint32_t n) {
    uint64_t p = 1;
    for (uint32_t i = 0; i < n; i++) p *= (uint64_t)dims[i];
    return p;
}

void refb_strides(const int64_t *dims, uint32_t ndim, int64_t *strides) {
    int64_t step = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        strides[i] = step;
        step *= dims[i] > 0 ? dims[i] : 1;
    }
}

bool refb_int_list(const ref_call *c, uint32_t in, int64_t *list, uint32_t max, uint32_t *n) {
    *n = 0;
    if (!ref_has(c->spec, in)) return false;
    const pare_operand *o = c->spec->in[in];
    uint64_t count = ref_count(o);
    if (count > max) return false;
    for (uint64_t i = 0; i < count; i++) list[i] = ref_get_int(c->in[in], o->dtype, i);
    *n = (uint32_t)count;
    return true;
}

void *refb_alloc(uint64_t count, uint64_t bytes) {
    if (bytes && count > SIZE_MAX / 2 / bytes) return NULL;
    uint64_t total = count * bytes;
    return malloc(total ? (size_t)total : 1);
}

double *refb_doubles(const void *data, uint32_t dtype, uint64_t n) {
    double *d = refb_alloc(n, sizeof *d);
    if (!d) return NULL;
    if (dtype == PARE_FLOAT) {
        const float *f = data;
        for (uint64_t i = 0; i < n; i++) d[i] = f[i];
    } else {
        for (uint64_t i = 0; i < n; i++) d[i] = ref_get(data, dtype, i);
    }
    return d;
}

/* ---- moving elements ---- */

static void move_bits(uint8_t *dst, uint64_t di, const uint8_t *src, uint64_t si, uint32_t bits) {
    for (uint32_t b = 0; b < bits; b++) {
        uint64_t from = si * bits + b, to = di * bits + b;
        uint8_t mask = (uint8_t)(1u << (to & 7));
        if (src[from >> 3] >> (from & 7) & 1)
            dst[to >> 3] |= mask;
        else
            dst[to >> 3] &= (uint8_t)~mask;
    }
}

void refb_move(void *dst, uint64_t di, const void *src, uint64_t si, uint64_t n, uint32_t dtype) {
    uint32_t bits = pare_dtype_bits(dtype);
    if (!n) return;
    if (bits % 8 == 0) {
        uint64_t bytes = bits / 8;
        memcpy((uint8_t *)dst + di * bytes, (const uint8_t *)src + si * bytes, (size_t)(n * bytes));
        return;
    }
    for (uint64_t i = 0; i < n; i++) move_bits(dst, di + i, src, si + i, bits);
}

#define MOVE_ROW(bytes)                                                                                                \
    for (int64_t i = 0; i < n; i++) memcpy(d + i * ds * (bytes), s + i * ss * (bytes), (bytes))

/* n elements with steps ds and ss. */
static void move_row(uint8_t *d, int64_t ds, const uint8_t *s, int64_t ss, int64_t n, uint32_t bytes) {
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)n * bytes);
        return;
    }
    switch (bytes) {
    case 1: MOVE_ROW(1); break;
    case 2: MOVE_ROW(2); break;
    case 4: MOVE_ROW(4); break;
    case 8: MOVE_ROW(8); break;
    default: MOVE_ROW(16); break;
    }
}

/* Leaves out dims of 1 and joins neighbours that both sides walk as one. The number of dims left. */
static uint32_t join_dims(int64_t *dims, int64_t *ds, int64_t *ss, uint32_t ndim) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < ndim; i++) {
        if (dims[i] == 1) continue;
        bool joins = n && ds[n - 1] == dims[i] * ds[i] && ss[n - 1] == dims[i] * ss[i];
        uint32_t to = joins ? n - 1 : n++;
        dims[to] = joins ? dims[to] * dims[i] : dims[i];
        ds[to] = ds[i];
        ss[to] = ss[i];
    }
    return n;
}

void refb_copy(void *dst, int64_t dst_at, const int64_t *dst_strides, const void *src, int64_t src_at,
               const int64_t *src_strides, const int64_t *dims, uint32_t ndim, uint32_t dtype) {
    uint32_t bits = pare_dtype_bits(dtype), bytes = bits / 8;
    int64_t pos[2 * REF_DIMS] = {0}, d[2 * REF_DIMS], to[2 * REF_DIMS], from[2 * REF_DIMS];
    if (!refb_product(dims, ndim)) return;
    for (uint32_t i = 0; i < ndim; i++) {
        d[i] = dims[i];
        to[i] = dst_strides[i];
        from[i] = src_strides[i];
    }
    ndim = join_dims(d, to, from, ndim);
    uint32_t outer = ndim ? ndim - 1 : 0;
    int64_t n = ndim ? d[outer] : 1, ds = ndim ? to[outer] : 1, ss = ndim ? from[outer] : 1;
    do {
        int64_t x = dst_at, y = src_at;
        for (uint32_t i = 0; i < outer; i++) {
            x += pos[i] * to[i];
            y += pos[i] * from[i];
        }
        if (bits % 8 == 0)
            move_row((uint8_t *)dst + x * bytes, ds, (const uint8_t *)src + y * bytes, ss, n, bytes);
        else
            for (int64_t i = 0; i < n; i++) move_bits(dst, (uint64_t)(x + i * ds), src, (uint64_t)(y + i * ss), bits);
    } while (outer && ref_next(pos, d, outer));
}

#define PICK_ROW(bytes)                                                                                                \
    for (uint64_t i = 0; i < n; i++) memcpy(d + i * (bytes), index[i] < 0 ? a : s + index[i] * (bytes), (bytes))

void refb_pick(void *dst, uint64_t dst_at, const void *src, uint64_t src_at, const int64_t *index, uint64_t n,
               const void *absent, uint32_t dtype) {
    uint32_t bits = pare_dtype_bits(dtype), bytes = bits / 8;
    if (bits % 8) {
        for (uint64_t i = 0; i < n; i++)
            if (index[i] < 0)
                move_bits(dst, dst_at + i, absent, 0, bits);
            else
                move_bits(dst, dst_at + i, src, src_at + (uint64_t)index[i], bits);
        return;
    }
    uint8_t *d = (uint8_t *)dst + dst_at * bytes;
    const uint8_t *s = src ? (const uint8_t *)src + src_at * bytes : absent, *a = absent;
    switch (bytes) {
    case 1: PICK_ROW(1); break;
    case 2: PICK_ROW(2); break;
    case 4: PICK_ROW(4); break;
    case 8: PICK_ROW(8); break;
    default: PICK_ROW(16); break;
    }
}

/* ---- windows ---- */

/* No dim, stride or pad reaches this: their products stay inside int64. */
static const int64_t WINDOW_MAX = (int64_t)1 << 30;

static pare_status window_list(const pare_kernel_spec *s, const char *name, uint64_t want, int64_t min, int64_t *out) {
    uint64_t n;
    const int64_t *list = ref_attr_ints(s, name, &n);
    if (!list || !n) return PARE_OK;
    if (n != want) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        if (list[i] < min || list[i] > WINDOW_MAX) return PARE_EINVAL;
        out[i] = list[i];
    }
    return PARE_OK;
}

pare_status refb_window_read(const pare_kernel_spec *s, uint32_t rank, const int64_t *in, const int64_t *out,
                             const int64_t *kernel, refb_window *w) {
    int64_t stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, pads[6] = {0};
    if (rank < 1 || rank > 3) return PARE_EINVAL;
    if (window_list(s, "strides", rank, 1, stride) || window_list(s, "dilations", rank, 1, dilation) ||
        window_list(s, "pads", 2 * (uint64_t)rank, -WINDOW_MAX, pads))
        return PARE_EINVAL;
    bool upper = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_UPPER");
    bool lower = ref_attr_is(s, "auto_pad", "NOTSET", "SAME_LOWER");
    bool valid = ref_attr_is(s, "auto_pad", "NOTSET", "VALID");
    for (uint32_t d = 0; d < 3; d++) {
        w->in[d] = w->out[d] = w->kernel[d] = w->stride[d] = w->dilation[d] = 1;
        w->pad[d] = w->pad_end[d] = 0;
    }
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t d = 3 - rank + i;
        if (in[i] < 0 || in[i] > WINDOW_MAX || out[i] < 0 || out[i] > WINDOW_MAX || kernel[i] < 1 ||
            kernel[i] > WINDOW_MAX)
            return PARE_EINVAL;
        w->in[d] = in[i], w->out[d] = out[i], w->kernel[d] = kernel[i];
        w->stride[d] = stride[i], w->dilation[d] = dilation[i];
        w->pad[d] = pads[i], w->pad_end[d] = pads[rank + i];
        if (valid) w->pad[d] = w->pad_end[d] = 0;
        if (upper || lower) {
            int64_t total = (out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - in[i];
            if (total < 0) total = 0;
            w->pad[d] = upper ? total / 2 : total - total / 2;
            w->pad_end[d] = total - w->pad[d];
        }
    }
    return PARE_OK;
}

void refb_overlap(int64_t n, int64_t step, int64_t shift, int64_t limit, int64_t *lo, int64_t *hi) {
    *lo = shift >= 0 ? 0 : (-shift + step - 1) / step;
    *hi = limit > shift ? (limit - shift + step - 1) / step : 0;
    if (*hi > n) *hi = n;
}

int32_t refb_wrap(double sum) { return fabs(sum) < 0x1p63 ? (int32_t)(uint32_t)(uint64_t)(int64_t)sum : 0; }

int64_t refb_saturate(double x, uint32_t dtype) {
    uint32_t bits = pare_dtype_bits(dtype);
    bool is_signed = pare_dtype_kind(dtype) == 'i';
    if (bits > 32) bits = 32;
    double lo = is_signed ? -ldexp(1, (int)bits - 1) : 0;
    double hi = ldexp(1, (int)bits - is_signed) - 1;
    if (x != x) return 0;
    return (int64_t)(x < lo ? lo : x > hi ? hi : x);
}
