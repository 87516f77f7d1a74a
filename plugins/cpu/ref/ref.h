/* plugins/cpu/ref/ref.h - the plain C kernels: slow, obvious, right. Every op of the engine has one.
 *
 * They are the CPU backend's answer where nothing faster is at hand, and the oracle of the tests. One row an op in
 * ref_ops.c; families in files of their own. All tensors plain row-major. No state, no allocation that outlives a run;
 * any thread. May use: sdk, the C library. Source of meaning: ONNX's operator specification at opset 21.
 */
#ifndef PARE_CPU_REF_H
#define PARE_CPU_REF_H

#include <pare/backend.h>
#include <stdbool.h>

/* One run: spec->in[i] and spec->out[i] say dtype and dims, in[i] and out[i] hold the data (NULL where absent). */
typedef struct ref_call {
    const pare_kernel_spec *spec;
    const void *const *in;
    void *const *out;
} ref_call;

typedef struct ref_op {
    const char *domain, *op_type;
    /* Are these dtypes and attributes covered? NULL: the run function takes whatever ONNX allows. */
    bool (*supports)(const pare_kernel_spec *spec);
    /* PARE_OK, or PARE_ENOMEM, PARE_EINVAL (an index out of range in the data). */
    pare_status (*run)(const ref_call *c);
    uint32_t view; /* 1: the output is the first input's bytes unchanged (Reshape, Identity, Flatten, …) */
} ref_op;

const ref_op *ref_find(const char *domain, const char *op_type); /* NULL: none */
const ref_op *const *ref_all(uint32_t *n);

/* ---- reading a spec ---- */
const pare_attribute *ref_attr(const pare_kernel_spec *s, const char *name); /* NULL: absent */
int64_t ref_attr_int(const pare_kernel_spec *s, const char *name, int64_t dflt);
double ref_attr_float(const pare_kernel_spec *s, const char *name, double dflt);
/* A string attribute equal to `value`? An absent one counts as equal to `dflt`. */
bool ref_attr_is(const pare_kernel_spec *s, const char *name, const char *dflt, const char *value);
const int64_t *ref_attr_ints(const pare_kernel_spec *s, const char *name, uint64_t *n); /* NULL, 0: absent */
bool ref_has(const pare_kernel_spec *s, uint32_t in);                                   /* input `in` is there */
uint64_t ref_count(const pare_operand *o);                                              /* product of dims */
int64_t ref_axis(int64_t axis, uint32_t ndim);                                          /* negative ones from the end */

/* ---- elements of any numeric dtype ---- */
double ref_get(const void *data, uint32_t dtype, uint64_t i); /* f16, bf16, f8, ints, bool, packed 4-bit too */
void ref_set(void *data, uint32_t dtype, uint64_t i,
             double x); /* rounds to nearest even; ints: truncated, wrapped as C does after bounds */
int64_t ref_get_int(const void *data, uint32_t dtype, uint64_t i); /* exact for 64-bit ints; uint64 as its bits */
void ref_set_int(void *data, uint32_t dtype, uint64_t i, int64_t x);
bool ref_is_int(uint32_t dtype); /* signed, unsigned or bool */

/* Numpy-style broadcasting: the flat index in an operand (dims, ndim) for the output position `pos` (out_ndim
 * coordinates). */
uint64_t ref_broadcast_index(const int64_t *dims, uint32_t ndim, const int64_t *pos, uint32_t out_ndim);
/* Steps pos through dims in row-major order; false after the last. Start with zeros. */
bool ref_next(int64_t *pos, const int64_t *dims, uint32_t ndim);

enum { REF_DIMS = 16 };

#endif
