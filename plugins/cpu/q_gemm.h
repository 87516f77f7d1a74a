/* cpu/q_gemm.h - products of 8-bit numbers, exact in int32: tiles of a few rows by Q_NR columns, and what becomes of
 * the sums. Convolutions and matrix products are made of them (q_conv.c, q_matmul.c).
 *
 * Activations are uint8 here (int8 ones are moved by 128 first), weights int8. Where the CPU has no VNNI, products are
 * summed in pairs of int16 if no pair of a block's weights can saturate (7 bits can't), else one by one: the sums are
 * exact with every instruction set. May use: fast.h, isa.h, team.h.
 */
#ifndef PARE_CPU_Q_GEMM_H
#define PARE_CPU_Q_GEMM_H

#include "fast.h"

enum { Q_NR = 32, Q_MR = 14, Q_TAPS = 128, Q_STAGES = 12 };

/* ---- what becomes of the sums ---- */

typedef enum q_stage_kind {
    Q_CLAMP,       /* to a..b */
    Q_QUANTIZE,    /* v = clamp(round(v * a), low, high), both without the zero point */
    Q_SCALE,       /* v * a */
    Q_ADD,         /* + (x - b) * a, x: 8 bits or float (then a is 1, b 0) */
    Q_MUL,         /* * of the same */
    Q_LEAKY,       /* v < 0: v * a */
    Q_HARD_SWISH,  /* v * clamp(v / 6 + 0.5, 0, 1) */
    Q_HARD_SIGMOID /* clamp(v * a + b, 0, 1) */
} q_stage_kind;

typedef struct q_stage {
    q_stage_kind kind;
    uint32_t operand, dtype; /* ADD, MUL: the spec's input */
    float a, b, low, high;
} q_stage;

/* What bytes of q_set can do. */
typedef enum q_narrow_mode {
    Q_NARROW_NONE,  /* by other means */
    Q_NARROW_FLOAT, /* sum * scale + shift as float32 */
    Q_NARROW,
    Q_NARROW_ADD,      /* + (other - other_zero) * other_scale */
    Q_NARROW_ROUND_ADD /* the sum is rounded, clamped to low1..high1 and scaled by scale1 before */
} q_narrow_mode;

/* v = sum * scale[column] + shift[column], then the stages; then it is stored as `dtype`: float32, or 8 bits with
 * `zero` added. */
typedef struct q_post {
    uint32_t n, dtype;
    int32_t zero;
    q_stage stage[Q_STAGES];
    bool simple;        /* but a QUANTIZE */
    q_narrow_mode mode; /* how bytes of q_set does it, given that a sum times its scale is an int32 */
} q_post;

/* Is n scales' every product with a sum an int32? */
bool q_scales_small(const float *scale, int64_t n);
/* The spec's first n_post post-ops for out[0]. first: the real value is sum * scale, *first gets what a QUANTIZE at the
 * beginning divides it by (else 1). false: not these. */
bool q_post_of(const pare_kernel_spec *s, uint32_t n_post, q_post *post, float *first);

/* Where the results go. */
typedef struct q_epilogue {
    const q_post *post;
    const float *scale, *shift; /* of all columns, as many as blocks have; shift may be NULL */
    const void *const *in;      /* the kernel's inputs: operands of ADD and MUL lie as the output does */
    void *out;
    int64_t ld, first; /* from row to row; the column of the output that column 0 is (groups) */
} q_epilogue;

/* ---- tiles ---- */

/* Where a tile writes 8 bits itself: round(sum * scale) + zero, saturated to uint8; 32 columns, or 16. */
typedef struct q_direct {
    const float *scale; /* Q_NR */
    int16_t zeros[32];  /* the zero point */
    int32_t order[16];
    uint8_t *out;
    int64_t ld;
} q_direct;

typedef struct q_tile {
    const uint8_t *const *rows; /* [taps][Q_MR]: k bytes each */
    int64_t taps, k;            /* k: a multiple of 4 */
    const int8_t *w;            /* one block: [taps][k / 4][Q_NR][4] */
    const int32_t *start;       /* Q_NR: where the sums begin */
    int32_t *sums;              /* [mr][Q_NR]: where the tile leaves them */
    uint32_t columns;           /* that are wanted */
    const q_direct *direct;
} q_tile;
typedef void q_tile_fn(const q_tile *t);

/* round(sum * scale [+ residual]), clamped to low..high, + zero, as 8 bits: rows of ld bytes, `columns` of them. */
typedef struct q_narrow {
    q_narrow_mode mode;
    const float *scale, *shift; /* Q_NR; shift may be NULL, and is of floats alone */
    float *floats;              /* where they go */
    float low, high, low1, high1, scale1, other_scale, other_zero;
    int32_t zero;
    uint32_t columns;
    bool is_signed, other_signed;
    const uint8_t *other; /* lies as out does */
    uint8_t *out;
    int64_t ld;
} q_narrow;
typedef void q_narrow_fn(const q_narrow *n, const int32_t *sums, uint32_t rows);
typedef void q_rows_fn(const q_epilogue *e, int32_t *sums, int64_t row, uint32_t rows, int64_t column,
                       uint32_t columns);

/* One instruction set's functions. */
typedef struct q_set {
    const char *name;
    uint32_t mr;                           /* rows of the largest tile */
    bool pairs;                            /* blocks whose flag is set need the exact tiles */
    q_tile_fn *const *sums, *const *exact; /* [mr - 1] */
    q_tile_fn *const *half;                /* sums of 16 columns; these three may be NULL */
    q_tile_fn *const *out, *const *out_half;
    q_narrow_fn *bytes; /* NULL: finish does it */
    q_rows_fn *finish;
} q_set;
const q_set *q_set_best(void);

/* ---- weights ---- */

/* n columns, taps * k rows (k a multiple of 4). */
typedef struct q_shape {
    int64_t n, taps, k;
} q_shape;
typedef struct q_blob { /* the parts of packed weights */
    int32_t *sum;       /* [blocks * Q_NR]: of each column's weights */
    int32_t *careful;   /* [blocks]: 1: pairs may saturate */
    int8_t *w;
    int64_t blocks, block_bytes;
} q_blob;
uint64_t q_blob_bytes(const q_shape *s);
q_blob q_blob_at(const q_shape *s, void *memory);
/* sum and careful of weights that have been put in place. */
void q_blob_finish(const q_shape *s, const q_blob *b);
/* A layout for packed weights: the same for the same words. */
bool q_pack_layout(cpu_device *dev, uint64_t bytes, const int64_t *words, uint32_t n, pare_layout *out);

/* ---- many tiles ---- */

/* The rows of a tile: pointers [taps][Q_MR] for rows first..first + n - 1. */
typedef void q_points_fn(const void *ctx, int64_t first, uint32_t n, const uint8_t **rows);

typedef struct q_job {
    const q_set *set;
    q_shape shape;
    q_blob blob;
    int64_t m;            /* rows */
    const int32_t *start; /* [blocks * Q_NR] */
    q_epilogue e;
    q_points_fn *points;
    const q_direct *direct; /* set by q_job_run; NULL: no tile writes 8 bits itself */
    const void *ctx;
    uint32_t tm, tn; /* threads along rows and columns */
} q_job;
void q_job_run(uint32_t threads, q_job *j);

#endif
