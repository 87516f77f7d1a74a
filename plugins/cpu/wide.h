/* cpu/wide.h - vectors of float32 as the compiler's own, for bodies where lanes are channels. After simd.h, once for
 * each instruction set: LW lanes, as many as oneDNN has channels in a block there. No include guard.
 *
 * They may lie anywhere and be read out of arrays of float. A comparison gives a mask of ints. May use: simd.h.
 */
#undef LW
#undef wf
#undef wi
#undef W_AT
#undef W_OF
#undef W_KEEP
#undef W_SELECT

#if SIMD_ISA == SIMD_AVX512
#define LW 16
#else
#define LW 8
#endif
#define wf SIMD(wide_float)
#define wi SIMD(wide_int)
typedef float wf __attribute__((vector_size(LW * 4), aligned(4), may_alias));
typedef int32_t wi __attribute__((vector_size(LW * 4), aligned(4), may_alias));
#define W_AT(p) (*(wf *)(p))
#define W_OF(p) (*(const wf *)(p))
#define W_KEEP(mask, a) ((wf)((mask) & (wi)(a)))
#define W_SELECT(mask, a, b) ((wf)(((mask) & (wi)(a)) | (~(mask) & (wi)(b))))
