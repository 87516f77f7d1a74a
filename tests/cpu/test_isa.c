/* test_isa.c - which instructions our own kernels may use follows ONEDNN_MAX_CPU_ISA, as oneDNN's do. */
#define _DEFAULT_SOURCE /* setenv */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "isa.h"

#include <stdlib.h>

static void words(void **state) {
    (void)state;
    assert_int_equal(cpu_isa_limit("SSE41"), CPU_ISA_SSE41);
    assert_int_equal(cpu_isa_limit("avx"), CPU_ISA_AVX);
    assert_int_equal(cpu_isa_limit("AVX2"), CPU_ISA_AVX2);
    assert_int_equal(cpu_isa_limit("AVX2_VNNI"), CPU_ISA_AVX2);
    assert_int_equal(cpu_isa_limit("AVX512_CORE"), CPU_ISA_AVX512);
    assert_int_equal(cpu_isa_limit("avx512_core_vnni"), CPU_ISA_AVX512_VNNI);
    static const char *const all[] = {NULL, "", "ALL", "DEFAULT", "AVX512_CORE_AMX", "nonsense"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_int_equal(cpu_isa_limit(all[i]), CPU_ISA_AVX512_BF16);
}

/* The smaller of the two, however it is set. ctest runs this with and without ONEDNN_MAX_CPU_ISA. */
static void best(void **state) {
    (void)state;
    cpu_isa machine = cpu_isa_machine(), allowed = cpu_isa_limit(getenv("ONEDNN_MAX_CPU_ISA"));
    assert_int_equal(cpu_isa_best(), machine < allowed ? machine : allowed);
    setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1); /* too late */
    assert_int_equal(cpu_isa_best(), machine < allowed ? machine : allowed);
    assert_string_equal(cpu_isa_name(CPU_ISA_AVX2), "avx2");
    assert_string_equal(cpu_isa_name(CPU_ISA_AVX512_BF16), "avx512_bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(best)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
