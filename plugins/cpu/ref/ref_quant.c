/* plugins/cpu/ref/ref_quant.c - QuantizeLinear, DequantizeLinear (per tensor, per axis, in blocks), and
 * DynamicQuantizeLinear.
 *
 * Scaling is float32 arithmetic rounded to nearest even, as the specification's own. May use: ref_b.h, the C library.
 */
#include "ref_b.h"
#include "ref_rows.h"

#include <math.h>

/* Which scale an element takes: element i's coordinate along `axis`, divided by the block. */
typedef struct scales {
    const void *scale, *zero; /* zero: NULL for all 0 */
    uint32_t scale_dtype, zero_dtype;
    uint64_t n, inner; /* n: entries along the axis; inner: elements behind it */
    uint64_t length, block;
    bool one, blocked;
} scales;

static pare_status read_scales(const ref_call *c, scales *q) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 2, 1)) return PARE_EINVAL;
    const pare_operand *x = s->in[0], *scale = s->in[1], *y = s->out[0];
    int64_t axis = ref_axis(ref_attr_int(s, "axis", 1), x->ndim), block = ref_attr_int(s, "block_size", 0);
    if (ref_count(x) != ref_count(y)) return PARE_EINVAL;
    *q = (scales){.scale = c->in[1], .scale_dtype = scale->dtype, .block = 1};
    if (ref_has(s, 2)) {
        if (ref_count(s->in[2]) != ref_count(scale)) return PARE_EINVAL;
        q->zero = c->in[2];
        q->zero_dtype = s->in[2]->dtype;
    }
    q->one = block <= 0 && ref_count(scale) == 1 && scale->ndim <= 1;
    if (q->one) return PARE_OK;
    if (axis < 0 || axis >= (int64_t)x->ndim) return PARE_EINVAL;
    q->length = (uint64_t)x->dims[axis];
    q->inner = refb_product(x->dims + axis + 1, x->ndim - (uint32_t)axis - 1);
    if (block <= 0) {
        q->n = ref_count(scale);
        return scale->ndim == 1 && q->n == q->length ? PARE_OK : PARE_EINVAL;
    }
    if (scale->ndim != x->ndim) return PARE_EINVAL;
    for (uint32_t d = 0; d < x->ndim; d++)
        if ((int64_t)d != axis && scale->dims[d] != x->dims[d]) return PARE_EINVAL;
    q->blocked = true;
    q->block = (uint64_t)block;
    q->n = (uint64_t)scale->dims[axis];
    return q->length && q->n <= (q->length - 1) / q->block ? PARE_EINVAL : PARE_OK;
}

/* The index of element i's scale. */
static uint64_t scale_of(const scales *q, uint64_t i) {
    if (q->one) return 0;
    uint64_t along = i / q->inner % q->length / q->block;
    if (!q->blocked) return along;
    return (i / (q->inner * q->length) * q->n + along) * q->inner + i % q->inner;
}

static bool is_small_float(uint32_t dtype) {
    return dtype == PARE_FLOAT8E4M3FN || dtype == PARE_FLOAT8E4M3FNUZ || dtype == PARE_FLOAT8E5M2 ||
           dtype == PARE_FLOAT8E5M2FNUZ || dtype == PARE_FLOAT4E2M1;
}

pare_status ref_quantize_linear(const ref_call *c) {
    scales q;
    pare_status st = read_scales(c, &q);
    if (st) return st;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    bool saturate = ref_attr_int(c->spec, "saturate", 1) != 0, to_float = is_small_float(y->dtype);
    if (!to_float && (!ref_is_int(y->dtype) || pare_dtype_bits(y->dtype) > 32)) return PARE_EINVAL;
    for (uint64_t i = 0; i < ref_count(x); i++) {
        uint64_t at = scale_of(&q, i);
        float v = (float)ref_get(c->in[0], x->dtype, i) / (float)ref_get(q.scale, q.scale_dtype, at);
        double zero = q.zero ? ref_get(q.zero, q.zero_dtype, at) : 0;
        if (to_float)
            ref_set_cast(c->out[0], y->dtype, i, (double)v + zero, saturate, REF_ROUND_NEAREST);
        else
            ref_set_int(c->out[0], y->dtype, i, refb_saturate((double)rintf(v) + zero, y->dtype));
    }
    return PARE_OK;
}

pare_status ref_dequantize_linear(const ref_call *c) {
    scales q;
    pare_status st = read_scales(c, &q);
    if (st) return st;
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    for (uint64_t i = 0; i < ref_count(x); i++) {
        uint64_t at = scale_of(&q, i);
        double zero = q.zero ? ref_get(q.zero, q.zero_dtype, at) : 0;
        ref_set(c->out[0], y->dtype, i, (ref_get(c->in[0], x->dtype, i) - zero) * ref_get(q.scale, q.scale_dtype, at));
    }
    return PARE_OK;
}

/* uint8 over the range of the data, 0 included. Outputs: y, its scale, its zero point. */
pare_status ref_dynamic_quantize_linear(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!refb_ok(c, 1, 3)) return PARE_EINVAL;
    const pare_operand *x = s->in[0];
    uint64_t n = ref_count(x);
    float low = 0, high = 0;
    if (ref_count(s->out[0]) != n || ref_count(s->out[1]) != 1 || ref_count(s->out[2]) != 1) return PARE_EINVAL;
    for (uint64_t i = 0; i < n; i++) {
        float v = (float)ref_get(c->in[0], x->dtype, i);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    float scale = (high - low) / 255;
    if (scale == 0) scale = 1; /* all zeros: any scale is right, but 0 divides */
    int64_t zero = refb_saturate((double)rintf(-low / scale), PARE_UINT8);
    for (uint64_t i = 0; i < n; i++) {
        float v = rintf((float)ref_get(c->in[0], x->dtype, i) / scale);
        ref_set_int(c->out[0], PARE_UINT8, i, refb_saturate((double)v + (double)zero, PARE_UINT8));
    }
    ref_set(c->out[1], PARE_FLOAT, 0, scale);
    ref_set_int(c->out[2], PARE_UINT8, 0, zero);
    return PARE_OK;
}
