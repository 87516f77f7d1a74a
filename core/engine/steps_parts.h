/* engine/steps_parts.h - what the makers of a plan's steps share. See parts.h for the plan itself.
 *
 * A value may lie in several places at once (a variant each): host memory or a device's, plain or in a layout of a
 * device's own. Everything here lives while one plan is made. Failures are reported unless said otherwise. May use:
 * parts.h.
 */
#ifndef PARE_ENGINE_STEPS_PARTS_H
#define PARE_ENGINE_STEPS_PARTS_H

#include "engine/parts.h"
#include "engine/quant.h"

typedef struct pare_variant {
    uint32_t buffer;
    uint32_t device; /* where it can be read; with `host`, by every device in host memory */
    bool host;
    pare_layout layout;
} pare_variant;

typedef struct pare_place {
    PARE_VEC(pare_variant) at;
} pare_place;

typedef struct pare_builder {
    pare_session *s;
    pare_model *m;
    pare_plan *p;
    pare_diags *d;
    pare_arena tmp;
    pare_place *places;   /* [value id] */
    unsigned char *taken; /* [node id]: done, or promised to a fused node */
    unsigned char *ready; /* [value id]: it has been made, or is there from the start */
    uint32_t *waiting;    /* [node id]: the node that is emitted when this one's turn comes, 0: none */
    unsigned char *done;  /* [node id]: its step is there */
    uint32_t *put_off;    /* [value id]: the DequantizeLinear that makes it, once somebody wants floats; 0: none */
    uint32_t *bias;       /* [node id]: its bias made int32, 0: not made */
    PARE_VEC(uint32_t) updates; /* nodes that write over variables, and wait for other readers */
    uint64_t heavy, heavy_all;  /* nodes whose kernels may be measured: met so far, and all once one is measured */
} pare_builder;

/* ---- steps_variant.c ---- */
pare_status pare_steps_buffer(pare_builder *b, pare_buffer_kind kind, uint32_t device, uint64_t nbytes, uint32_t *out);
pare_step *pare_steps_step(pare_builder *b, pare_step_kind kind, uint32_t device, uint32_t n_in, uint32_t n_out);
void pare_steps_keep(pare_builder *b, void *kernel, uint32_t device); /* the plan frees it */
uint32_t pare_steps_row(pare_builder *b, const char *node, const char *op, const char *kernel,
                        const pare_layout *layout, uint32_t device, uint32_t dtype, int64_t macs);
const char *pare_steps_layout_text(pare_arena *a, const pare_engine_device *dev, const pare_layout *l);
bool pare_steps_same(const pare_layout *a, const pare_layout *b);
uint64_t pare_steps_plain_bytes(const pare_value *v); /* UINT64_MAX: too many to count */
void pare_steps_add(pare_builder *b, uint32_t value, uint32_t buffer, uint32_t device, bool host, pare_layout layout);
/* A variant that the device reads, in `want` or (NULL) in any layout; NULL: there is none. Until one is added. */
pare_variant *pare_steps_find(pare_builder *b, uint32_t value, uint32_t device, const pare_layout *want);
/* A constant's plain bytes as a buffer of its own. */
pare_status pare_steps_constant(pare_builder *b, const pare_value *v, uint32_t device, uint32_t *out);
/* Plain, where the device reads it: made where there is none. */
pare_status pare_steps_plain(pare_builder *b, const pare_value *v, uint32_t device, pare_variant *out);
pare_status pare_steps_want(pare_builder *b, const pare_value *v, uint32_t device, const pare_layout *want,
                            pare_variant *out);

/* ---- steps_kernel.c ---- */

/* A node with what fuses behind it, as asked of one device. */
typedef struct pare_request {
    const pare_node *node;
    pare_spec spec;
    const pare_chain *chain;
    uint32_t n_post, n_in; /* post-ops asked for; inputs with their operands */
    uint32_t *values;      /* [n_in]: value ids */
    pare_quant *quant;     /* [the node's own inputs]: asked for in 8 bits; NULL: in floats */
    bool fell_back;        /* in 8 bits, no device had a kernel */
    void *kernel;          /* the plan's */
    pare_kernel_info info;
} pare_request;

/* A node that is worth waiting for its post-ops' operands, and a layout of its own. */
bool pare_steps_heavy(const pare_node *n);
/* Its step, with as many of the chain's post-ops as the kernel takes. (steps.c) */
pare_status pare_steps_emit(pare_builder *b, const pare_node *n, const pare_chain *chain, uint32_t *n_post);
/* The kernel of the first device that has one. PARE_EUNSUPPORTED: none has, named with its operands. */
pare_status pare_steps_choose(pare_builder *b, const pare_node *n, const pare_chain *chain, pare_request *r,
                              uint32_t *device);

/* ---- steps_quant.c: 8-bit numbers behind DequantizeLinear ---- */
/* Is n a DequantizeLinear that can wait until somebody wants its floats? It is put off then. */
bool pare_steps_put_off(pare_builder *b, const pare_node *n);
/* The floats of a value that may have been put off. */
pare_status pare_steps_float(pare_builder *b, uint32_t value);
/* Can the node be asked for in 8 bits? (*out)[i]: what input i is then; value 0: as it was. */
bool pare_steps_quantized(pare_builder *b, const pare_node *n, pare_quant **out);
void pare_steps_operand_is(pare_builder *b, const pare_quant *q, pare_operand *o);
uint32_t pare_steps_float_posts(const pare_chain *c);         /* those in front of the first rounding point */
uint32_t pare_steps_trimmed(const pare_chain *c, uint32_t n); /* without a DequantizeLinear at the end: it can wait */

#endif
