/* cpu/device.h - the implementation's inside: a device, a kernel, and who makes kernels.
 *
 * A maker looks at a spec and answers with a kernel or says no; kernel.c asks them in order, fast ones first, the plain
 * C kernels of ref/ last. oneDNN's Relu and Clip (as nodes and behind another), Exp and MaxPool answer a NaN with a
 * number, by 2.6 and 3.2 and with every instruction set; its Softmax leaves at least one in the row, not always all; the
 * others hand it on (tests/cpu/test_nan.c). That is why NaN among weights and samples is told by itself
 * (core/model/finite.h). May use: sdk, dnnl_compat.h, team.h.
 */
#ifndef PARE_CPU_DEVICE_H
#define PARE_CPU_DEVICE_H

#include "dnnl_compat.h"
#include "ref/ref.h"

#include <pare/backend.h>
#include <stdbool.h>

/* A layout of our own that has been handed out. Its number is made of what it is, so that it means the same in the next
 * process, where what was measured is remembered by it. */
typedef struct cpu_own_layout {
    dn_desc *desc;
    uint32_t number;
    char name[52]; /* "nChw16c" */
} cpu_own_layout;

typedef struct cpu_device {
    uint32_t threads;
    uint64_t cap, used; /* bytes; cap 0: none */
    dn_engine engine;
    dn_stream stream;
    cpu_own_layout *layouts;
    uint32_t n_layouts, room_layouts;
    char about[128];
} cpu_device;

typedef struct cpu_kernel cpu_kernel;
struct cpu_kernel {
    cpu_device *dev;
    pare_status (*run)(cpu_kernel *k, const void *const *in, void *const *out, void *scratch);
    pare_status (*pack_one)(cpu_kernel *k, uint32_t i, const void *src, void *dst); /* NULL: nothing is packed */
    void (*destroy)(cpu_kernel *k); /* what lies behind `impl`; NULL: nothing */
    uint32_t n_in, n_out, n_post, view;
    int32_t in_place;
    uint64_t scratch;
    pare_layout *in, *out; /* n_in, n_out */
    uint64_t *pack;        /* n_in */
    char name[64];
    void *impl; /* the maker's own */
};

/* A kernel that takes and gives everything plain and packs nothing. NULL: no memory. */
cpu_kernel *cpu_kernel_new(cpu_device *dev, const pare_kernel_spec *s, const char *name);
void cpu_kernel_free(cpu_kernel *k); /* NULL is fine */

/* PARE_EUNSUPPORTED: not mine, or better left to the next one; PARE_ENOTFOUND: mine, but no such candidate. */
typedef pare_status (*cpu_maker)(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);

pare_status cpu_make_ref(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out);
/* The makers of oneDNN's and our own fast kernels, in the order they are asked. */
extern const cpu_maker cpu_fast_makers[];
extern const uint32_t cpu_n_fast_makers;

/* ---- layouts ---- */
pare_layout cpu_layout_plain(const pare_operand *o);
/* The layout that a description is: PLAIN where its bytes are in plain order. false: no memory. */
bool cpu_layout_of(cpu_device *dev, const dn_desc *d, pare_layout *out);
/* The number of a description, unlike that of any other that this device has seen; 0: no memory. */
uint32_t cpu_layout_number(cpu_device *dev, const dn_desc *d);
/* The description of a layout handed out before; NULL: there is none of this id. */
const dn_desc *cpu_layout_desc(const cpu_device *dev, uint64_t id);

/* ---- memory with the device's cap ---- */
pare_status cpu_alloc(void *device, uint64_t bytes, void **memory);
void cpu_free(void *device, void *memory);

#endif
