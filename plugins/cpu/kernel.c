/* cpu/kernel.c - kernels in common: the empty one, and those that run the plain C of ref/ on a copy of the spec. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cpu_kernel *cpu_kernel_new(cpu_device *dev, const pare_kernel_spec *s, const char *name) {
    cpu_kernel *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->dev = dev;
    k->n_in = s->n_in;
    k->n_out = s->n_out;
    k->in_place = -1;
    snprintf(k->name, sizeof k->name, "%s", name);
    k->in = calloc(s->n_in ? s->n_in : 1, sizeof *k->in);
    k->out = calloc(s->n_out ? s->n_out : 1, sizeof *k->out);
    k->pack = calloc(s->n_in ? s->n_in : 1, sizeof *k->pack);
    if (!k->in || !k->out || !k->pack) {
        cpu_kernel_free(k);
        return NULL;
    }
    for (uint32_t i = 0; i < s->n_in; i++)
        if (!(s->in[i]->flags & PARE_OPERAND_ABSENT)) k->in[i] = cpu_layout_plain(s->in[i]);
    for (uint32_t i = 0; i < s->n_out; i++)
        if (!(s->out[i]->flags & PARE_OPERAND_ABSENT)) k->out[i] = cpu_layout_plain(s->out[i]);
    return k;
}

void cpu_kernel_free(cpu_kernel *k) {
    if (!k) return;
    if (k->destroy) k->destroy(k);
    free(k->in);
    free(k->out);
    free(k->pack);
    free(k);
}

/* ---- a spec's copy: one block, measured first, then filled ---- */

typedef struct copier {
    unsigned char *base; /* NULL while measuring */
    size_t used;
} copier;

/* Room for n bytes; what `src` holds is copied there. In the measuring round: NULL. */
static void *put(copier *c, const void *src, size_t n) {
    size_t at = (c->used + 15) / 16 * 16;
    c->used = at + n;
    if (!c->base) return NULL;
    if (src && n) memcpy(c->base + at, src, n);
    return c->base + at;
}

static const char *put_text(copier *c, const char *s) { return put(c, s, strlen(s) + 1); }

static const pare_operand *put_operand(copier *c, const pare_operand *o, bool with_data) {
    pare_operand *n = put(c, NULL, sizeof *n);
    const int64_t *dims = put(c, o->dims, o->ndim * sizeof *o->dims);
    const float *scale = o->scale ? put(c, o->scale, o->n_scales * sizeof *o->scale) : NULL;
    const int32_t *zero = o->zero_point ? put(c, o->zero_point, o->n_scales * sizeof *o->zero_point) : NULL;
    bool data = with_data && o->data;
    const void *bytes = data ? put(c, o->data, (size_t)pare_nbytes(o->dtype, ref_count(o))) : NULL;
    if (!n) return NULL;
    *n = *o;
    n->size = sizeof *n;
    n->dims = dims;
    n->scale = scale;
    n->zero_point = zero;
    n->data = bytes;
    return n;
}

static void put_attribute(copier *c, const pare_attribute *a, pare_attribute *to) {
    const char **strings = NULL;
    const char *s = a->type == PARE_ATTRIBUTE_STRING ? put(c, a->s, a->n + 1) : NULL;
    const int64_t *ints = a->type == PARE_ATTRIBUTE_INTS ? put(c, a->ints, a->n * sizeof *ints) : NULL;
    const float *floats = a->type == PARE_ATTRIBUTE_FLOATS ? put(c, a->floats, a->n * sizeof *floats) : NULL;
    if (a->type == PARE_ATTRIBUTE_STRINGS) {
        strings = put(c, NULL, a->n * sizeof *strings);
        for (uint64_t i = 0; i < a->n; i++) {
            const char *one = put_text(c, a->strings[i]);
            if (strings) strings[i] = one;
        }
    }
    if (!to) return;
    *to = *a;
    to->size = sizeof *to;
    to->s = s;
    to->ints = ints;
    to->floats = floats;
    to->strings = strings;
}

static pare_kernel_spec *put_spec(copier *c, const pare_kernel_spec *s) {
    pare_kernel_spec *n = put(c, NULL, sizeof *n);
    const pare_operand **in = put(c, NULL, s->n_in * sizeof *in), **out = put(c, NULL, s->n_out * sizeof *out);
    const pare_named_attribute **attrs = put(c, NULL, s->n_attrs * sizeof *attrs);
    const char *op = put_text(c, s->op_type), *domain = put_text(c, s->domain),
               *node = put_text(c, s->node ? s->node : "");
    for (uint32_t i = 0; i < s->n_in; i++) {
        const pare_operand *o = put_operand(c, s->in[i], (s->in[i]->flags & PARE_OPERAND_HOST) != 0);
        if (in) in[i] = o;
    }
    for (uint32_t i = 0; i < s->n_out; i++) {
        const pare_operand *o = put_operand(c, s->out[i], false);
        if (out) out[i] = o;
    }
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        pare_named_attribute *a = put(c, NULL, sizeof *a);
        const char *name = put_text(c, s->attrs[i]->name);
        const pare_operand *tensor = s->attrs[i]->tensor ? put_operand(c, s->attrs[i]->tensor, true) : NULL;
        put_attribute(c, &s->attrs[i]->value, a ? &a->value : NULL);
        if (!a) continue;
        a->name = name;
        a->tensor = tensor;
        attrs[i] = a;
    }
    if (!n) return NULL;
    *n = *s;
    n->size = sizeof *n;
    n->op_type = op;
    n->domain = domain;
    n->node = node;
    n->in = in;
    n->out = out;
    n->attrs = attrs;
    n->post = NULL;
    n->n_post = 0;
    return n;
}

static pare_kernel_spec *spec_copy(const pare_kernel_spec *s) {
    copier c = {0};
    put_spec(&c, s);
    c.base = malloc(c.used);
    c.used = 0;
    return c.base ? put_spec(&c, s) : NULL; /* the spec comes first: its address is the block's */
}

/* ---- ref ---- */

typedef struct ref_impl {
    const ref_op *op;
    pare_kernel_spec *spec;
} ref_impl;

static pare_status ref_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const ref_impl *r = k->impl;
    const ref_call call = {r->spec, in, out};
    return r->op->run(&call);
}

static void ref_destroy(cpu_kernel *k) {
    ref_impl *r = k->impl;
    if (r) free(r->spec);
    free(r);
}

/* 8-bit operands that stand for real numbers: what has no fast kernel for them is faster in floats. */
static bool quantized(const pare_kernel_spec *s) {
    for (uint32_t i = 0; i < s->n_in; i++)
        if (s->in[i]->n_scales) return true;
    return s->n_out && s->out[0]->n_scales;
}

pare_status cpu_make_ref(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (quantized(s)) return PARE_EUNSUPPORTED;
    const ref_op *op = ref_find(s->domain, s->op_type);
    if (!op || (op->supports && !op->supports(s))) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    char name[64];
    snprintf(name, sizeof name, "ref:%s", s->op_type);
    cpu_kernel *k = cpu_kernel_new(dev, s, name);
    ref_impl *r = calloc(1, sizeof *r);
    if (r) r->spec = spec_copy(s);
    if (!k || !r || !r->spec) {
        cpu_kernel_free(k);
        free(r);
        return PARE_ENOMEM;
    }
    r->op = op;
    k->impl = r;
    k->run = ref_run;
    k->destroy = ref_destroy;
    k->view = op->view;
    *out = k;
    return PARE_OK;
}
