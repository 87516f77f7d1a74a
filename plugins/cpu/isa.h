/* cpu/isa.h - which instructions our own kernels may use: what the CPU has, less what ONEDNN_MAX_CPU_ISA forbids.
 *
 * Levels are a ladder: each one includes those below. May use: the C library.
 */
#ifndef PARE_CPU_ISA_H
#define PARE_CPU_ISA_H

typedef enum cpu_isa {
    CPU_ISA_BASE = 0, /* what the compiler may use anyway: on x86-64, SSE2 */
    CPU_ISA_SSE41,
    CPU_ISA_AVX,
    CPU_ISA_AVX2,        /* with FMA */
    CPU_ISA_AVX512,      /* F, BW, VL, DQ: Skylake server */
    CPU_ISA_AVX512_VNNI, /* and VNNI */
    CPU_ISA_AVX512_BF16  /* and BF16 */
} cpu_isa;

/* The highest level that may be used. Read once, at the first call; the same answer ever after. Any thread. */
cpu_isa cpu_isa_best(void);

/* What cpu_isa_best reads: the CPU's level, and the most that `limit` (ONEDNN_MAX_CPU_ISA's value, in any case) allows.
 * NULL, "", "ALL", "DEFAULT" and words that oneDNN doesn't know allow everything. */
cpu_isa cpu_isa_machine(void);
cpu_isa cpu_isa_limit(const char *limit);

const char *cpu_isa_name(cpu_isa isa); /* [static] "avx2" */

#endif
