/* tests/cpu/ref_b_call.h - builds a call of a plain kernel by hand, and compares what came out.
 *
 * May use: ref.h, cmocka.
 */
#ifndef PARE_TEST_REF_B_CALL_H
#define PARE_TEST_REF_B_CALL_H

#include "ref/ref.h"

#include <math.h>
#include <string.h>

enum { MAX_ARGS = 12, MAX_ATTRS = 8 };

typedef struct fixture {
    pare_operand in[MAX_ARGS], out[MAX_ARGS];
    const pare_operand *in_list[MAX_ARGS], *out_list[MAX_ARGS];
    const void *in_data[MAX_ARGS];
    void *out_data[MAX_ARGS];
    pare_named_attribute attr[MAX_ATTRS];
    const pare_named_attribute *attr_list[MAX_ATTRS];
    pare_kernel_spec spec;
} fixture;

#define DIMS(...) (uint32_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), ((int64_t[]){__VA_ARGS__})
#define SCALAR 0, ((int64_t[]){1})
#define F(...) ((float[]){__VA_ARGS__})
#define I64(...) ((int64_t[]){__VA_ARGS__})
#define I32(...) ((int32_t[]){__VA_ARGS__})
#define U8(...) ((uint8_t[]){__VA_ARGS__})
#define I8(...) ((int8_t[]){__VA_ARGS__})

static fixture *start(fixture *f, const char *op_type) {
    memset(f, 0, sizeof *f);
    f->spec = (pare_kernel_spec){.size = sizeof f->spec, .op_type = op_type, .domain = "", .version = 21, .node = "n"};
    f->spec.attrs = f->attr_list;
    f->spec.in = f->in_list;
    f->spec.out = f->out_list;
    return f;
}

static inline void in(fixture *f, uint32_t dtype, uint32_t ndim, const int64_t *dims, const void *data) {
    uint32_t i = f->spec.n_in++;
    f->in[i] = (pare_operand){.size = sizeof f->in[i], .dtype = dtype, .ndim = ndim, .dims = dims};
    f->in_list[i] = &f->in[i];
    f->in_data[i] = data;
}

static inline void in_absent(fixture *f) {
    in(f, 0, 0, NULL, NULL);
    f->in[f->spec.n_in - 1].flags = PARE_OPERAND_ABSENT;
}

static inline void out(fixture *f, uint32_t dtype, uint32_t ndim, const int64_t *dims, void *data) {
    uint32_t i = f->spec.n_out++;
    f->out[i] = (pare_operand){.size = sizeof f->out[i], .dtype = dtype, .ndim = ndim, .dims = dims};
    f->out_list[i] = &f->out[i];
    f->out_data[i] = data;
}

static pare_attribute *attr(fixture *f, const char *name, uint32_t type) {
    pare_named_attribute *a = &f->attr[f->spec.n_attrs];
    a->name = name;
    a->value = (pare_attribute){.size = sizeof a->value, .type = type, .n = 1};
    f->attr_list[f->spec.n_attrs++] = a;
    return &a->value;
}

static inline void attr_int(fixture *f, const char *name, int64_t i) { attr(f, name, PARE_ATTRIBUTE_INT)->i = i; }

static inline void attr_float(fixture *f, const char *name, double v) { attr(f, name, PARE_ATTRIBUTE_FLOAT)->f = v; }

static inline void attr_ints(fixture *f, const char *name, uint32_t n, const int64_t *ints) {
    pare_attribute *a = attr(f, name, PARE_ATTRIBUTE_INTS);
    a->n = n;
    a->ints = ints;
}

static inline void attr_string(fixture *f, const char *name, const char *s) {
    pare_attribute *a = attr(f, name, PARE_ATTRIBUTE_STRING);
    a->n = strlen(s);
    a->s = s;
}

static pare_status run(const fixture *f) {
    const ref_op *op = ref_find("", f->spec.op_type);
    assert_non_null(op);
    ref_call c = {&f->spec, f->in_data, f->out_data};
    if (op->supports && !op->supports(&f->spec)) return PARE_EUNSUPPORTED;
    return op->run(&c);
}

static inline void assert_close(const float *have, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(have[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i]))))
            fail_msg("element %zu is %g, not %g", i, (double)have[i], (double)want[i]);
}

#define ASSERT_FLOATS(have, ...) assert_close(have, F(__VA_ARGS__), sizeof F(__VA_ARGS__) / sizeof(float))
#define ASSERT_BYTES(have, ...) assert_memory_equal(have, U8(__VA_ARGS__), sizeof U8(__VA_ARGS__))
#define ASSERT_I64(have, ...) assert_memory_equal(have, I64(__VA_ARGS__), sizeof I64(__VA_ARGS__))

#endif
