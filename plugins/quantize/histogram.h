/* quantize/histogram.h - the distribution of a tensor's values in one pass and fixed memory.
 *
 * Is: counts over bins of width 2^e that begin at zero and mirror each other about it: bin k >= 0 holds [k w, (k+1) w),
 * bin -k-1 holds (-(k+1) w, -k w]. e is the least that fits zero, the least and the greatest value into `cap` bins;
 * when the range grows, bins are merged and nothing else changes, so that the outcome is that of having known e from
 * the start: it depends on the values alone, not on their order, on pieces or on threads. Is not: about methods
 * (threshold.h) or tensors' names (calibrate.h). May use: pare/host.h, pare/tensor.h, libm.
 */
#ifndef QUANTIZE_HISTOGRAM_H
#define QUANTIZE_HISTOGRAM_H

#include <pare/host.h>
#include <pare/tensor.h>

#include <stdbool.h>

enum {
    HISTOGRAM_BLOCK = 2048,          /* elements at a time: they, their bins and the counts stay in the cache */
    HISTOGRAM_SLOTS = 64,            /* most pieces of a view at work at once */
    HISTOGRAM_SLOT_ELEMENTS = 65536, /* least elements of a piece */
    HISTOGRAM_EXP_MIN = -126,
    HISTOGRAM_LANES = 8
};

/* Values in an order of whole numbers: a < b as floats where key(a) < key(b). Infinities and NaN lie outside
 * [HISTOGRAM_KEY_LEAST, HISTOGRAM_KEY_MOST]; -0 is -1. */
enum { HISTOGRAM_KEY_MOST = 0x7F7FFFFF, HISTOGRAM_KEY_LEAST = -0x7F7FFFFF - 1 };
int32_t histogram_key(float x);
float histogram_unkey(int32_t key); /* -0 as 0 */

typedef struct histogram {
    uint64_t *count;  /* [cap], the caller's: bin k is count[k & (cap - 1)]. NULL: min, max, n and zeros only */
    uint32_t cap;     /* a power of two */
    int32_t exp;      /* bins are 2^exp wide */
    int32_t min, max; /* keys; min > max: no value yet */
    uint64_t n, zeros;
} histogram;

/* count: [cap] zeros, or NULL. */
histogram histogram_new(uint64_t *count, uint32_t cap);

/* The bin of a finite x under exponent e; in range where e fits x. */
int64_t histogram_bin(float x, int32_t e);
uint64_t histogram_at(const histogram *h, int64_t k);
/* Bins that may hold something: -below .. above - 1. */
uint32_t histogram_below(const histogram *h);
uint32_t histogram_above(const histogram *h);
double histogram_width(const histogram *h);

/* The least exponent for values between two keys and zero. */
int32_t histogram_exponent(int32_t min, int32_t max, uint32_t cap);
/* Widens the range, and the bins if need be. */
void histogram_cover(histogram *h, int32_t min, int32_t max);

/* Scratch for adding. */
typedef struct histogram_slot {
    uint32_t *table; /* [2][cap] */
    int32_t exp, min, max;
    bool finite;
    uint64_t n, zeros;
} histogram_slot;

typedef struct histogram_work {
    const pare_host *host;
    uint32_t cap;     /* the greatest of its histograms */
    uint32_t *tables; /* [HISTOGRAM_SLOTS][2][cap], zero between calls */
    histogram_slot slot[HISTOGRAM_SLOTS];
} histogram_work;

bool histogram_work_open(histogram_work *w, const pare_host *host, uint32_t cap); /* false: no memory */
void histogram_work_close(histogram_work *w);

/* Is it a dtype that histogram_add reads? */
bool histogram_reads(uint32_t dtype);
/* Elements [first, first + n) of data as float32: data itself, or into[n]. */
const float *histogram_floats(const void *data, uint32_t dtype, uint64_t first, uint32_t n, float *into);

/* Counts n elements; keys of the least and greatest of them in *min, *max (may be NULL). False: a value is not finite,
 * and h is as it was. */
bool histogram_add(histogram_work *w, histogram *h, const void *data, uint32_t dtype, uint64_t n, int32_t *min,
                   int32_t *max);

/* ---- histogram_scan.c: the loops over elements, for the instructions of this machine ---- */
typedef struct histogram_loops {
    const char *name;
    /* Extends [*min, *max] by keys, adds zeros. n <= HISTOGRAM_BLOCK. */
    void (*look)(const float *x, uint32_t n, int32_t *min, int32_t *max, uint64_t *zeros);
    /* bin & mask of each x; inv: 1 / width. */
    void (*bins)(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin);
    /* The same of those that are not zero; how many. bin has room for n + 16. */
    uint32_t (*bins_nonzero)(const float *x, uint32_t n, float inv, uint32_t mask, uint32_t *bin);
    /* For calibrate_compare.c: adds a a, b b, a b and (a - b)^2 of pair i to lane i % LANES, so that all instruction
     * sets add in one order. n: a multiple of LANES. */
    void (*sums)(const float *a, const float *b, uint32_t n, double lane[4][HISTOGRAM_LANES]);
} histogram_loops;

const histogram_loops *histogram_loops_best(void);
const histogram_loops *histogram_loops_all(uint32_t i); /* those that this machine runs, NULL past the last */

#endif
