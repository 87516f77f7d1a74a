/* cpu/simd_sets.h - the instruction sets that simd.h speaks. */
#ifndef PARE_CPU_SIMD_SETS_H
#define PARE_CPU_SIMD_SETS_H

#include <math.h>

#define SIMD_BASE 0 /* one float at a time */
#define SIMD_AVX2 1 /* with FMA */
#define SIMD_AVX512 2
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#endif
