/* cpu/grad.c - see grad.h. */
#include "grad.h"
#include "isa.h"

#include <pare/grad_ops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool grad_is(const pare_kernel_spec *s, const char *op_type) {
    return strcmp(s->domain, PARE_GRAD_DOMAIN) == 0 && strcmp(s->op_type, op_type) == 0;
}

static void free_impl(cpu_kernel *k) { free(k->impl); }

cpu_kernel *grad_kernel(cpu_device *dev, const pare_kernel_spec *s, const char *name, const void *impl, size_t size) {
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    void *kept = malloc(size);
    if (!k || !kept) {
        cpu_kernel_free(k);
        free(kept);
        return NULL;
    }
    memcpy(kept, impl, size);
    k->impl = kept;
    k->destroy = free_impl;
    return k;
}

void grad_name(const pare_kernel_spec *s, char *out, size_t room) {
    cpu_isa isa = cpu_isa_best();
    const char *set = isa >= CPU_ISA_AVX512 ? ":avx512" : isa >= CPU_ISA_AVX2 ? ":avx2" : "";
    snprintf(out, room, "c:%s%s", s->op_type, set);
}

bool grad_planes(const cpu_device *dev, const pare_operand *o, dn_planes *out) {
    if (o->ndim < 2) return false;
    if (o->layout.kind == PARE_LAYOUT_OWN) {
        const dn_desc *d = cpu_layout_desc(dev, o->layout.id);
        return d && dn_desc_planes(d, out);
    }
    int64_t s = fast_product(o->dims, 2, o->ndim), c = o->dims[1];
    *out = (dn_planes){
        .n = o->dims[0], .channels = c, .s = s, .blocks = c, .width = 1, .step_n = c * s, .step_block = s, .step = 1};
    if (s == 1) { /* rows of channels */
        out->blocks = 1;
        out->width = out->step = out->step_block = c;
    }
    return true;
}

uint64_t grad_bytes(const cpu_device *dev, const pare_operand *o) {
    const dn_desc *d = o->layout.kind == PARE_LAYOUT_OWN ? cpu_layout_desc(dev, o->layout.id) : NULL;
    return d ? dn_desc_bytes(d) : ref_count(o) * sizeof(float);
}

void grad_in_like(cpu_kernel *k, uint32_t i, const pare_operand *lead) {
    if (lead->layout.kind == PARE_LAYOUT_OWN) k->in[i] = lead->layout;
}

void grad_out_like(cpu_kernel *k, uint32_t o, const pare_operand *lead) {
    if (lead->layout.kind == PARE_LAYOUT_OWN) k->out[o] = lead->layout;
}

bool grad_follows(const pare_operand *lead, const pare_operand *o) {
    const pare_layout *x = &lead->layout, *y = &o->layout;
    return y->kind == PARE_LAYOUT_ANY || (y->kind == PARE_LAYOUT_PLAIN && x->kind != PARE_LAYOUT_OWN) ||
           (y->kind == PARE_LAYOUT_OWN && x->kind == PARE_LAYOUT_OWN && x->id == y->id);
}

const pare_operand *grad_lead(const pare_kernel_spec *s, const uint32_t *inputs, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (fast_in(s, inputs[i]) && s->in[inputs[i]]->layout.kind == PARE_LAYOUT_OWN) return s->in[inputs[i]];
    return s->in[inputs[0]];
}
