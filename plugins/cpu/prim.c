/* cpu/prim.c - see prim.h. */
#include "prim.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRIM_ARGS = 80, PRIM_MOVES = 2, FROM_SCRATCH = INT32_MAX };

typedef struct prim_arg {
    int32_t from;    /* >= 0: that input; < 0: output -1 - from; FROM_SCRATCH */
    void *at;        /* the handle that is set: setting it anew costs a walk over the padding */
    uint64_t offset; /* FROM_SCRATCH */
} prim_arg;

/* A reorder between an operand and scratch memory, before or behind the primitive. */
typedef struct prim_move {
    dnnl_primitive_t p;
    dnnl_exec_arg_t args[2]; /* from, to */
    uint32_t operand;
    uint64_t offset, scratch, rest;
} prim_move;

typedef struct prim_pack {
    dn_desc *from, *to;
} prim_pack;

typedef struct prim {
    dnnl_primitive_t p;
    uint32_t n;
    dnnl_exec_arg_t args[PRIM_ARGS];
    prim_arg more[PRIM_ARGS];
    prim_pack *packs; /* [n_in] */
    prim_move before[PRIM_MOVES], after[PRIM_MOVES];
    uint32_t n_before, n_after;
    int32_t sum; /* input added to what output 0 holds, -1: none */
    uint64_t sum_bytes;
} prim;

static pare_status status_of(dnnl_status_t st) {
    return st == dnnl_success ? PARE_OK : st == dnnl_out_of_memory ? PARE_ENOMEM : PARE_EINTERNAL;
}

static void drop_move(prim_move *m) {
    if (m->p) dnnl_primitive_destroy(m->p);
    for (int i = 0; i < 2; i++)
        if (m->args[i].memory) dnnl_memory_destroy(m->args[i].memory);
}

static void prim_destroy(cpu_kernel *k) {
    prim *p = k->impl;
    if (!p) return;
    for (uint32_t i = 0; i < p->n_before; i++) drop_move(&p->before[i]);
    for (uint32_t i = 0; i < p->n_after; i++) drop_move(&p->after[i]);
    for (uint32_t i = 0; i < p->n; i++)
        if (p->args[i].memory) dnnl_memory_destroy(p->args[i].memory);
    for (uint32_t i = 0; p->packs && i < k->n_in; i++) {
        dn_desc_free(p->packs[i].from);
        dn_desc_free(p->packs[i].to);
    }
    if (p->p) dnnl_primitive_destroy(p->p);
    free(p->packs);
    free(p);
}

static dnnl_status_t move(const cpu_device *dev, prim_move *m, void *from, void *to) {
    dnnl_status_t st = dnnl_memory_set_data_handle(m->args[0].memory, from);
    if (st == dnnl_success) st = dnnl_memory_set_data_handle(m->args[1].memory, to);
    return st == dnnl_success ? dnnl_primitive_execute(m->p, dev->stream, 2, m->args) : st;
}

static void zero(void *ctx, uint64_t begin, uint64_t end) {
    memset((unsigned char *)ctx + begin, 0, (size_t)(end - begin));
}

static pare_status prim_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    prim *p = k->impl;
    if (p->sum >= 0 && in[p->sum] != out[0]) memcpy(out[0], in[p->sum], (size_t)p->sum_bytes);
    unsigned char *room = scratch;
    for (uint32_t i = 0; i < p->n_before; i++) {
        prim_move *m = &p->before[i];
        unsigned char *from;
        memcpy(&from, &in[m->operand], sizeof from);
        dnnl_status_t st = move(k->dev, m, from + m->offset, room + m->scratch);
        if (st != dnnl_success) return status_of(st);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        prim_arg *m = &p->more[i];
        void *at = room ? room + m->offset : NULL;
        if (m->from < 0) {
            at = out[-1 - m->from];
        } else if (m->from != FROM_SCRATCH) {
            const void *src = in[m->from];
            memcpy(&at, &src, sizeof at); /* oneDNN's handles are not const; inputs are only read */
        }
        if (at == m->at) continue;
        dnnl_status_t st = dnnl_memory_set_data_handle(p->args[i].memory, at);
        if (st != dnnl_success) return status_of(st);
        m->at = at;
    }
    dnnl_status_t st = dnnl_primitive_execute(p->p, k->dev->stream, (int)p->n, p->args);
    for (uint32_t i = 0; st == dnnl_success && i < p->n_after; i++) {
        prim_move *m = &p->after[i];
        unsigned char *to = out[m->operand];
        if (m->rest) cpu_team_run(k->dev->threads, m->rest, 65536, zero, to);
        st = move(k->dev, m, room + m->scratch, to + m->offset);
    }
    if (st == dnnl_success) st = dnnl_stream_wait(k->dev->stream);
    return status_of(st);
}

static pare_status prim_pack_one(cpu_kernel *k, uint32_t i, const void *src, void *dst) {
    const prim_pack *pk = &((prim *)k->impl)->packs[i];
    dn_pd pd = dn_reorder(k->dev->engine, pk->from, pk->to, NULL);
    dnnl_primitive_t p = NULL;
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, dn_memory(k->dev->engine, pk->from)},
                               {DNNL_ARG_TO, dn_memory(k->dev->engine, pk->to)}};
    void *from;
    memcpy(&from, &src, sizeof from);
    dnnl_status_t st = pd && args[0].memory && args[1].memory ? dnnl_primitive_create(&p, pd) : dnnl_out_of_memory;
    if (st == dnnl_success) st = dnnl_memory_set_data_handle(args[0].memory, from);
    if (st == dnnl_success) st = dnnl_memory_set_data_handle(args[1].memory, dst);
    if (st == dnnl_success) st = dnnl_primitive_execute(p, k->dev->stream, 2, args);
    if (st == dnnl_success) st = dnnl_stream_wait(k->dev->stream);
    if (p) dnnl_primitive_destroy(p);
    if (pd) dnnl_primitive_desc_destroy(pd);
    for (int a = 0; a < 2; a++)
        if (args[a].memory) dnnl_memory_destroy(args[a].memory);
    return status_of(st);
}

/* ---- building ---- */

static void fail(prim_build *b) {
    cpu_kernel_free(b->k);
    b->k = NULL;
}

static void add(prim_build *b, int arg, int32_t from, const dn_desc *desc) {
    if (!b->k) return; /* else it has failed */
    prim *p = b->k->impl;
    dnnl_memory_t m = desc && p->n < PRIM_ARGS ? dn_memory(b->dev->engine, desc) : NULL;
    if (!m) {
        fail(b);
        return;
    }
    p->args[p->n] = (dnnl_exec_arg_t){arg, m};
    p->more[p->n++] = (prim_arg){.from = from};
}

prim_build prim_new(cpu_device *dev, const pare_kernel_spec *s, dn_pd pd) {
    prim_build b = {.dev = dev, .s = s, .pd = pd};
    char name[64];
    snprintf(name, sizeof name, "dnnl:%s", dn_pd_name(pd));
    b.k = cpu_kernel_new(dev, s, name);
    prim *p = calloc(1, sizeof *p);
    if (!b.k || !p || !(p->packs = calloc(s->n_in ? s->n_in : 1, sizeof *p->packs))) {
        free(p);
        fail(&b);
        return b;
    }
    b.k->impl = p;
    b.k->run = prim_run;
    b.k->destroy = prim_destroy;
    p->sum = -1;
    if (dnnl_primitive_create(&p->p, pd) != dnnl_success) {
        fail(&b);
        return b;
    }
    dn_desc *scratch = dn_pd_desc(pd, dnnl_query_scratchpad_md, 0);
    if (scratch && dn_desc_bytes(scratch)) {
        b.k->scratch = dn_desc_bytes(scratch);
        add(&b, DNNL_ARG_SCRATCHPAD, FROM_SCRATCH, scratch);
    }
    dn_desc_free(scratch);
    return b;
}

/* Its layout names both how the bytes are read and how they are written: the same packed form is made but once. */
static void pack_input(prim_build *b, uint32_t i, const dn_desc *view, const dn_desc *desc) {
    prim_pack *pk = &((prim *)b->k->impl)->packs[i];
    pk->from = view ? dn_desc_clone(view) : prim_plain(b->s->in[i]);
    pk->to = dn_desc_clone(desc);
    uint64_t from = pk->from ? cpu_layout_number(b->dev, pk->from) : 0;
    uint64_t to = pk->to ? cpu_layout_number(b->dev, pk->to) : 0;
    if (!from || !to) {
        fail(b);
        return;
    }
    b->k->in[i] = (pare_layout){.kind = PARE_LAYOUT_OWN, .id = from << 32 | to, .nbytes = dn_desc_bytes(desc)};
    b->k->pack[i] = dn_desc_bytes(desc);
    b->k->pack_one = prim_pack_one;
}

void prim_in(prim_build *b, uint32_t i, int arg, const dn_desc *desc, const dn_desc *view) {
    add(b, arg, (int32_t)i, desc);
    if (!b->k) return;
    if (view ? dn_desc_equal(desc, view) : dn_desc_is_plain(desc)) return;
    if (!(b->s->in[i]->flags & PARE_OPERAND_CONSTANT)) {
        if (view || !cpu_layout_of(b->dev, desc, &b->k->in[i])) fail(b);
        return;
    }
    pack_input(b, i, view, desc);
}

void prim_out(prim_build *b, uint32_t o, int arg, const dn_desc *desc) {
    add(b, arg, -1 - (int32_t)o, desc);
    if (!b->k || dn_desc_is_plain(desc)) return;
    if (!cpu_layout_of(b->dev, desc, &b->k->out[o])) fail(b);
}

void prim_sum(prim_build *b, uint32_t i, const dn_desc *dst) {
    if (!b->k) return;
    prim *p = b->k->impl;
    p->sum = (int32_t)i;
    p->sum_bytes = dn_desc_bytes(dst);
    b->k->in_place = (int32_t)i;
    if (dn_desc_is_plain(dst)) return;
    /* A constant is packed like one; the other is wanted as the output lies. */
    if (b->s->in[i]->flags & PARE_OPERAND_CONSTANT)
        pack_input(b, i, NULL, dst);
    else if (!cpu_layout_of(b->dev, dst, &b->k->in[i]))
        fail(b);
}

/* An argument in scratch memory, and the reorder between it and an operand. */
static void add_move(prim_build *b, bool before, uint32_t operand, int arg, const dn_desc *desc, const dn_desc *view,
                     uint64_t offset, uint64_t rest) {
    if (!b->k) return;
    prim *p = b->k->impl;
    uint32_t *n = before ? &p->n_before : &p->n_after;
    const dn_desc *from = before ? view : desc, *to = before ? desc : view;
    uint64_t at = (b->k->scratch + 63) / 64 * 64;
    add(b, arg, FROM_SCRATCH, desc);
    dn_pd pd = b->k && *n < PRIM_MOVES && view ? dn_reorder(b->dev->engine, from, to, NULL) : NULL;
    if (!pd) {
        fail(b);
        return;
    }
    prim_move *m = before ? &p->before[*n] : &p->after[*n];
    ++*n;
    p->more[p->n - 1].offset = at;
    *m = (prim_move){.operand = operand, .offset = offset, .scratch = at, .rest = rest};
    m->args[0] = (dnnl_exec_arg_t){DNNL_ARG_FROM, dn_memory(b->dev->engine, from)};
    m->args[1] = (dnnl_exec_arg_t){DNNL_ARG_TO, dn_memory(b->dev->engine, to)};
    bool ok = dnnl_primitive_create(&m->p, pd) == dnnl_success && m->args[0].memory && m->args[1].memory;
    dnnl_primitive_desc_destroy(pd);
    b->k->scratch = at + dn_desc_bytes(desc);
    if (!ok) fail(b);
}

void prim_repack(prim_build *b, uint32_t i, int arg, const dn_desc *desc, const dn_desc *view, uint64_t offset) {
    add_move(b, true, i, arg, desc, view, offset, 0);
}

void prim_unpack(prim_build *b, uint32_t o, int arg, const dn_desc *desc, const dn_desc *view, uint64_t offset,
                 uint64_t rest) {
    add_move(b, false, o, arg, desc, view, offset, rest);
}

pare_status prim_done(prim_build *b, cpu_kernel **out) {
    if (b->pd) dnnl_primitive_desc_destroy(b->pd);
    b->pd = NULL;
    if (!b->k) return PARE_EUNSUPPORTED; /* the next maker may still have one */
    *out = b->k;
    return PARE_OK;
}

/* ---- descriptions of operands ---- */

dn_desc *prim_plain(const pare_operand *o) {
    static const int64_t one = 1;
    return o->ndim ? dn_desc_strided(o->ndim, o->dims, NULL, dn_dtype(o->dtype))
                   : dn_desc_strided(1, &one, NULL, dn_dtype(o->dtype));
}

dn_desc *prim_given(const cpu_device *dev, const pare_operand *o) {
    if (o->layout.kind == PARE_LAYOUT_OWN) return dn_desc_clone(cpu_layout_desc(dev, o->layout.id));
    return prim_plain(o);
}

/* ---- post-ops ---- */

bool prim_post(dn_attr *a, const pare_kernel_spec *s, uint32_t n, prim_products *products, int32_t *sum) {
    *sum = -1;
    if (products) products->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        const pare_post_op *p = s->post[i];
        bool ok = false;
        switch (p->kind) {
        case PARE_POST_RELU: ok = dn_attr_eltwise(a, dnnl_eltwise_relu, 0, 0); break;
        case PARE_POST_CLIP: ok = dn_attr_eltwise(a, dnnl_eltwise_clip, p->alpha, p->beta); break;
        case PARE_POST_LEAKY_RELU: ok = dn_attr_eltwise(a, dnnl_eltwise_relu, p->alpha, 0); break;
        case PARE_POST_SIGMOID: ok = dn_attr_eltwise(a, dnnl_eltwise_logistic, 0, 0); break;
        case PARE_POST_TANH: return false; /* oneDNN 2.6's is off by 1e-5 */
        case PARE_POST_HARD_SWISH: ok = dn_attr_hard_swish(a); break;
        case PARE_POST_HARD_SIGMOID:
            ok = dn_attr_eltwise(a, dnnl_eltwise_linear, p->alpha, p->beta) &&
                 dn_attr_eltwise(a, dnnl_eltwise_clip, 0, 1);
            break;
        case PARE_POST_SWISH: ok = dn_attr_eltwise(a, dnnl_eltwise_swish, 1, 0); break;
        case PARE_POST_GELU: ok = dn_attr_eltwise(a, dnnl_eltwise_gelu_erf, 0, 0); break;
        case PARE_POST_ELU: ok = dn_attr_eltwise(a, dnnl_eltwise_elu, p->alpha, 0); break;
        case PARE_POST_ADD:
        case PARE_POST_MUL: {
            if (p->operand >= s->n_in || !fast_f32(s->in[p->operand]) || !fast_same_dims(s->in[p->operand], s->out[0]))
                return false;
            if (p->kind == PARE_POST_ADD) {
                ok = *sum < 0 && dn_attr_sum(a);
                *sum = (int32_t)p->operand;
                break;
            }
            if (!products || products->n == PRIM_PRODUCTS) return false;
            ok = dn_attr_binary(a, dnnl_binary_mul, products->like);
            products->index[products->n] = dnnl_post_ops_len(a->post) - 1;
            products->operand[products->n++] = p->operand;
            break;
        }
        default: return false;
        }
        if (!ok) return false;
    }
    return true;
}

void prim_bind_products(prim_build *b, const prim_products *products) {
    for (uint32_t i = 0; i < products->n; i++)
        prim_in(b, products->operand[i], DNNL_ARG_ATTR_MULTIPLE_POST_OP(products->index[i]) | DNNL_ARG_SRC_1,
                products->like, products->like);
}
