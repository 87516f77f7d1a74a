/* tests/cpu/ref_case.h - one call of a plain C kernel, built by hand: inputs, attributes, outputs, expected values.
 *
 * begin("Add"); in(PARE_FLOAT, DIMS(2, 3), VALUES(1, 2, …)); out(PARE_FLOAT, DIMS(2, 3)); run_ok(); expect(0,
 * VALUES(…)). Buffers are exactly as large as they must be, so that a sanitizer sees a step too far. One case at a
 * time.
 */
#ifndef PARE_TESTS_CPU_REF_CASE_H
#define PARE_TESTS_CPU_REF_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIMS(...) (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)
#define SCALAR NULL, 0
#define VALUES(...) (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double)
#define INTS(...) (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)
#define NONE NULL, 0

enum { CASE_MOST = 6 };

static struct {
    pare_kernel_spec spec;
    pare_operand in[CASE_MOST], out[CASE_MOST];
    const pare_operand *in_list[CASE_MOST], *out_list[CASE_MOST];
    int64_t dims[2 * CASE_MOST][REF_DIMS];
    void *in_data[CASE_MOST], *out_data[CASE_MOST];
    pare_named_attribute attrs[CASE_MOST];
    const pare_named_attribute *attr_list[CASE_MOST];
} the_case;

static void drop(void) {
    for (int i = 0; i < CASE_MOST; i++) {
        free(the_case.in_data[i]);
        free(the_case.out_data[i]);
    }
    memset(&the_case, 0, sizeof the_case);
}

static void begin_at(const char *op, int64_t version) {
    drop();
    the_case.spec = (pare_kernel_spec){.size = sizeof the_case.spec,
                                       .op_type = op,
                                       .domain = "",
                                       .version = version,
                                       .node = op,
                                       .attrs = the_case.attr_list,
                                       .in = the_case.in_list,
                                       .out = the_case.out_list};
}

static inline void begin(const char *op) { begin_at(op, 21); }

static void *operand(pare_operand *o, int64_t *held, uint32_t dtype, const int64_t *dims, size_t ndim) {
    *o = (pare_operand){.size = sizeof *o, .dtype = dtype, .ndim = (uint32_t)ndim, .dims = held};
    if (ndim) memcpy(held, dims, ndim * sizeof *dims);
    uint64_t bytes = pare_nbytes(dtype, ref_count(o));
    assert_true(bytes < 1 << 30);
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    memset(p, 0x5a, bytes);
    return p;
}

static uint32_t in_raw(uint32_t dtype, const int64_t *dims, size_t ndim) {
    uint32_t i = the_case.spec.n_in++;
    assert_true(i < CASE_MOST);
    the_case.in_data[i] = operand(&the_case.in[i], the_case.dims[i], dtype, dims, ndim);
    the_case.in_list[i] = &the_case.in[i];
    return i;
}

static inline void in(uint32_t dtype, const int64_t *dims, size_t ndim, const double *values, size_t n) {
    uint32_t i = in_raw(dtype, dims, ndim);
    assert_int_equal(n, ref_count(&the_case.in[i]));
    for (size_t k = 0; k < n; k++) ref_set(the_case.in_data[i], dtype, k, values[k]);
}

static inline void in_ints(uint32_t dtype, const int64_t *dims, size_t ndim, const int64_t *values, size_t n) {
    uint32_t i = in_raw(dtype, dims, ndim);
    assert_int_equal(n, ref_count(&the_case.in[i]));
    for (size_t k = 0; k < n; k++) ref_set_int(the_case.in_data[i], dtype, k, values[k]);
}

static inline void in_absent(void) {
    uint32_t i = the_case.spec.n_in++;
    the_case.in[i] = (pare_operand){.size = sizeof the_case.in[i], .flags = PARE_OPERAND_ABSENT};
    the_case.in_list[i] = &the_case.in[i];
}

static inline void out(uint32_t dtype, const int64_t *dims, size_t ndim) {
    uint32_t i = the_case.spec.n_out++;
    assert_true(i < CASE_MOST);
    the_case.out_data[i] = operand(&the_case.out[i], the_case.dims[CASE_MOST + i], dtype, dims, ndim);
    the_case.out_list[i] = &the_case.out[i];
}

static inline void attr(const char *name, pare_attribute value) {
    uint32_t i = the_case.spec.n_attrs++;
    assert_true(i < CASE_MOST);
    value.size = sizeof value;
    the_case.attrs[i] = (pare_named_attribute){name, value, NULL};
    the_case.attr_list[i] = &the_case.attrs[i];
}

static inline void attr_int(const char *name, int64_t i) {
    attr(name, (pare_attribute){.type = PARE_ATTRIBUTE_INT, .n = 1, .i = i});
}

static inline void attr_float(const char *name, double f) {
    attr(name, (pare_attribute){.type = PARE_ATTRIBUTE_FLOAT, .n = 1, .f = f});
}

static inline void attr_string(const char *name, const char *s) {
    attr(name, (pare_attribute){.type = PARE_ATTRIBUTE_STRING, .n = strlen(s), .s = s});
}

static inline void attr_ints(const char *name, const int64_t *ints, size_t n) { /* borrowed until run */
    attr(name, (pare_attribute){.type = PARE_ATTRIBUTE_INTS, .n = n, .ints = ints});
}

static pare_status run_status(void) {
    const ref_op *op = ref_find("", the_case.spec.op_type);
    assert_non_null(op);
    assert_true(!op->supports || op->supports(&the_case.spec));
    ref_call c = {&the_case.spec, (const void *const *)the_case.in_data, the_case.out_data};
    return op->run(&c);
}

static inline void run_ok(void) { assert_int_equal(run_status(), PARE_OK); }

/* Values to 1e-6 (16 bits: 1e-2) relative and absolute; NaN equals NaN. */
static inline void expect(uint32_t i, const double *values, size_t n) {
    uint32_t dtype = the_case.out[i].dtype;
    double near = pare_dtype_bits(dtype) < 32 ? 1e-2 : 1e-6;
    assert_int_equal(n, ref_count(&the_case.out[i]));
    for (size_t k = 0; k < n; k++) {
        double got = ref_get(the_case.out_data[i], dtype, k), want = values[k];
        if (isnan(want) ? !isnan(got) : got != want && !(fabs(got - want) <= near * (1 + fabs(want))))
            fail_msg("%s, element %zu: %.9g instead of %.9g", the_case.spec.op_type, k, got, want);
    }
}

static inline void expect_ints(uint32_t i, const int64_t *values, size_t n) {
    assert_int_equal(n, ref_count(&the_case.out[i]));
    for (size_t k = 0; k < n; k++) {
        int64_t got = ref_get_int(the_case.out_data[i], the_case.out[i].dtype, k);
        if (got != values[k])
            fail_msg("%s, element %zu: %lld instead of %lld", the_case.spec.op_type, k, (long long)got,
                     (long long)values[k]);
    }
}

#endif
