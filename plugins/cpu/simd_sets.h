/* cpu/simd_sets.h - the instruction sets that simd.h speaks, and the choice among them while running. May use: isa.h.
 */
#ifndef PARE_CPU_SIMD_SETS_H
#define PARE_CPU_SIMD_SETS_H

#include "isa.h"

#include <math.h>

#define SIMD_BASE 0 /* one float at a time */
#define SIMD_AVX2 1 /* with FMA */
#define SIMD_AVX512 2
#if defined(__x86_64__)
#include <immintrin.h>
/* Of the tables that a body defines as SIMD(table) for each set, the one for this CPU. */
#define SIMD_BEST(table)                                                                                               \
    (cpu_isa_best() >= CPU_ISA_AVX512 ? &table##_avx512                                                                \
     : cpu_isa_best() >= CPU_ISA_AVX2 ? &table##_avx2                                                                  \
                                      : &table##_base)
#else
#define SIMD_BEST(table) (&table##_base)
#endif

#endif
