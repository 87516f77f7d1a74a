/* cpu/isa.c - see isa.h. */
#include "isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>

/* oneDNN's words, 2.6 and 3.x; each one allows what the ladder has up to it. */
static const struct {
    const char *word;
    cpu_isa isa;
} words[] = {
    {"SSE41", CPU_ISA_SSE41},
    {"AVX", CPU_ISA_AVX},
    {"AVX2", CPU_ISA_AVX2},
    {"AVX2_VNNI", CPU_ISA_AVX2},
    {"AVX2_VNNI_2", CPU_ISA_AVX2},
    {"AVX512_MIC", CPU_ISA_AVX2}, /* Knights Landing: no BW, no VL */
    {"AVX512_MIC_4OPS", CPU_ISA_AVX2},
    {"AVX512_CORE", CPU_ISA_AVX512},
    {"AVX512_CORE_VNNI", CPU_ISA_AVX512_VNNI},
};

cpu_isa cpu_isa_limit(const char *limit) {
    for (size_t i = 0; limit && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(limit, words[i].word) == 0) return words[i].isa;
    return CPU_ISA_AVX512_BF16;
}

cpu_isa cpu_isa_machine(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.1")) return CPU_ISA_BASE;
    if (!__builtin_cpu_supports("avx")) return CPU_ISA_SSE41;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CPU_ISA_AVX;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return CPU_ISA_AVX2;
    if (!__builtin_cpu_supports("avx512vnni")) return CPU_ISA_AVX512;
    return __builtin_cpu_supports("avx512bf16") ? CPU_ISA_AVX512_BF16 : CPU_ISA_AVX512_VNNI;
#else
    return CPU_ISA_BASE;
#endif
}

cpu_isa cpu_isa_best(void) {
    static _Atomic int known = -1; /* two threads at once find the same */
    int best = atomic_load_explicit(&known, memory_order_relaxed);
    if (best < 0) {
        const char *limit = getenv("ONEDNN_MAX_CPU_ISA");
        if (!limit || !*limit) limit = getenv("DNNL_MAX_CPU_ISA"); /* its older name, which oneDNN reads too */
        cpu_isa machine = cpu_isa_machine(), allowed = cpu_isa_limit(limit);
        best = machine < allowed ? (int)machine : (int)allowed;
        atomic_store_explicit(&known, best, memory_order_relaxed);
    }
    return (cpu_isa)best;
}

const char *cpu_isa_name(cpu_isa isa) {
    static const char *const names[] = {"base", "sse41", "avx", "avx2", "avx512", "avx512_vnni", "avx512_bf16"};
    return (unsigned)isa < sizeof names / sizeof *names ? names[isa] : "?";
}
