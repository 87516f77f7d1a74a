/* plugins/cpu/ref/ref_map.h - functions of one element, shared by ref_unary.c and ref_activation.c.
 *
 * A function is a name and an expression of v (the element), a and b (parameters). REF_MAP_F computes float32 in float,
 * for what is exact or one rounding there and should vectorise; REF_MAP_D computes it in double. Everything else goes
 * through double and is rounded once. May use: ref.h.
 */
#ifndef PARE_CPU_REF_MAP_H
#define PARE_CPU_REF_MAP_H

#include "ref.h"

typedef struct ref_map {
    const char *op_type;
    void (*f32)(const float *x, float *y, uint64_t n, double a, double b);
    double (*f64)(double v, double a, double b);
} ref_map;

#define REF_MAP_LOOP_(T, name, expr)                                                                                   \
    static void name##_f32(const float *x, float *y, uint64_t n, double a0, double b0) {                               \
        T a = (T)a0, b = (T)b0;                                                                                        \
        (void)a, (void)b;                                                                                              \
        for (uint64_t i = 0; i < n; i++) {                                                                             \
            T v = x[i];                                                                                                \
            y[i] = (float)(expr);                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    static double name##_f64(double v, double a, double b) {                                                           \
        (void)a, (void)b;                                                                                              \
        return (double)(expr);                                                                                         \
    }
#define REF_MAP_F(name, expr) REF_MAP_LOOP_(float, name, expr)
#define REF_MAP_D(name, expr) REF_MAP_LOOP_(double, name, expr)

/* out[0] = map of in[0], dtypes as the spec says. */
pare_status ref_map_run(const ref_call *c, const ref_map *m, double a, double b);

#endif
