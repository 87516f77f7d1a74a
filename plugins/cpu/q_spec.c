/* cpu/q_spec.c - see q_spec.h. */
#include "q_spec.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool q_eight(const pare_operand *o) {
    if ((o->dtype != PARE_UINT8 && o->dtype != PARE_INT8) || o->ndim > DN_DIMS) return false;
    for (uint32_t i = 0; i < o->ndim; i++)
        if (o->dims[i] <= 0) return false;
    return true;
}

bool q_tensor(const pare_operand *o, float *scale, int32_t *zero) {
    if (!q_eight(o) || o->n_scales != 1 || !o->scale || !(o->scale[0] > 0) || !isfinite(o->scale[0])) return false;
    *scale = o->scale[0];
    *zero = o->zero_point ? o->zero_point[0] : 0;
    return o->dtype == PARE_UINT8 ? *zero >= 0 && *zero <= 255 : *zero >= -128 && *zero <= 127;
}

bool q_weights(const pare_operand *o, int64_t n, int64_t axis, float times, float *scale) {
    if (!q_eight(o) || !o->scale || (o->n_scales != 1 && (int64_t)o->n_scales != n)) return false;
    if (o->n_scales != 1 && ref_axis(o->axis, o->ndim) != axis) return false;
    int32_t zero = o->dtype == PARE_UINT8 ? 128 : 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = o->n_scales == 1 ? 0 : i;
        if ((o->zero_point ? o->zero_point[at] : 0) != zero || !isfinite(o->scale[at])) return false;
        scale[i] = times * o->scale[at];
    }
    return true;
}

bool q_nhwc(cpu_device *dev, const pare_operand *o, pare_layout *out) {
    int64_t strides[DN_DIMS], step = o->ndim > 1 ? o->dims[1] : 1;
    if (o->ndim < 3) {
        *out = cpu_layout_plain(o);
        return true;
    }
    strides[1] = 1;
    for (uint32_t i = o->ndim; i-- > 2;) {
        strides[i] = step;
        step *= o->dims[i];
    }
    strides[0] = step;
    dn_desc *d = dn_desc_strided(o->ndim, o->dims, strides, dn_dtype(o->dtype));
    bool ok = d && cpu_layout_of(dev, d, out);
    dn_desc_free(d);
    return ok;
}

bool q_fits(const pare_operand *o, const pare_layout *l) {
    return o->layout.kind == PARE_LAYOUT_ANY ||
           (o->layout.kind == l->kind && (l->kind != PARE_LAYOUT_OWN || l->id == o->layout.id));
}

static void free_impl(cpu_kernel *k) { free(k->impl); }

cpu_kernel *q_kernel(cpu_device *dev, const pare_kernel_spec *s, const char *name, size_t n) {
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    if (!k) return NULL;
    k->destroy = free_impl;
    k->impl = calloc(1, n);
    if (k->impl) return k;
    cpu_kernel_free(k);
    return NULL;
}

typedef struct turn_job {
    const uint8_t *from;
    uint8_t *to;
} turn_job;

static void turn(void *ctx, uint64_t begin, uint64_t end) {
    const turn_job *j = ctx;
    const uint8_t *from = j->from;
    uint8_t *to = j->to;
    for (uint64_t i = begin; i < end; i++) to[i] = from[i] ^ 0x80;
}

void q_turn(uint32_t threads, const void *from, void *to, uint64_t bytes) {
    turn_job j = {from, to};
    cpu_team_run(threads, bytes, 65536, turn, &j);
}
