/* cpu/prim.h - a kernel around one oneDNN primitive: which operand is which argument, packing, scratch, post-ops.
 *
 * A maker creates a primitive description, calls prim_new, binds every argument with prim_in and prim_out, then
 * prim_done. What fails on the way is freed by prim_done. May use: device.h.
 */
#ifndef PARE_CPU_PRIM_H
#define PARE_CPU_PRIM_H

#include "fast.h"

typedef struct prim_build {
    cpu_device *dev;
    const pare_kernel_spec *s;
    cpu_kernel *k; /* NULL: it has failed */
    dn_pd pd;
} prim_build;

/* Takes pd over. name: "dnnl:" and the implementation's. */
prim_build prim_new(cpu_device *dev, const pare_kernel_spec *s, dn_pd pd);
/* Input i is argument `arg`, wanted as `desc`. view: how its plain bytes look with desc's dims, NULL: just row-major. A
 * constant that is wanted otherwise is packed. Descriptions are cloned; a NULL desc fails. */
void prim_in(prim_build *b, uint32_t i, int arg, const dn_desc *desc, const dn_desc *view);
void prim_out(prim_build *b, uint32_t o, int arg, const dn_desc *desc);
/* The sum post-op: input i is copied to output 0 before it runs, where it doesn't lie there already. */
void prim_sum(prim_build *b, uint32_t i, const dn_desc *dst);
/* An argument that is brought from plain input i in every run, and one that is brought to plain output o: they lie in
 * scratch memory as desc; view is how the operand's own elements lie, from byte `offset` on. rest: bytes of the output
 * that are made 0 first, 0: none. */
void prim_repack(prim_build *b, uint32_t i, int arg, const dn_desc *desc, const dn_desc *view, uint64_t offset);
void prim_unpack(prim_build *b, uint32_t o, int arg, const dn_desc *desc, const dn_desc *view, uint64_t offset,
                 uint64_t rest);
pare_status prim_done(prim_build *b, cpu_kernel **out);

/* How an operand comes: its own layout, else row-major. A scalar has one dim of 1. NULL: no memory. */
dn_desc *prim_given(const cpu_device *dev, const pare_operand *o);
dn_desc *prim_plain(const pare_operand *o);

/* The operands of products among post-ops: each is one more argument of the primitive. */
enum { PRIM_PRODUCTS = 4 };
typedef struct prim_products {
    const dn_desc *like; /* how they lie: as the output */
    uint32_t n, operand[PRIM_PRODUCTS];
    int index[PRIM_PRODUCTS]; /* among oneDNN's post-ops */
} prim_products;

/* The first n post-ops of the spec; ADD is a sum, once. products: where they may be (like is given), NULL: nowhere.
 * *sum: the input of the sum, -1: none. false: not these. */
bool prim_post(dn_attr *a, const pare_kernel_spec *s, uint32_t n, prim_products *products, int32_t *sum);
void prim_bind_products(prim_build *b, const prim_products *products);

#endif
