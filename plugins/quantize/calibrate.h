/* quantize/calibrate.h - ranges of activations from samples: what the techniques program against.
 *
 * Is: statistics of N tensors in memory that doesn't grow with the samples (calibrate.c, histogram.c), the methods that
 * make a range of them (threshold.c), the one grid of 8-bit numbers that a range means, and the driver that feeds
 * all of it from pare.run/1 (calibrate_run.c). The artefact calibration.yaml is ranges.h; SQNR and cosine are
 * calibrate_compare.h. Is not: where quantizers go, or weights. May use: the SDK, libm.
 *
 * One pass is enough: bins have a width of a power of two and begin at zero, so that a histogram whose range grows is
 * merged by pairs and ends as if its width had been known from the start. Counts are whole numbers: the result depends
 * neither on threads, nor on the batch size, nor on the order of the samples (moving_average alone: on the order).
 */
#ifndef QUANTIZE_CALIBRATE_H
#define QUANTIZE_CALIBRATE_H

#include <pare/host.h>
#include <pare/tensor.h>

#include <stdbool.h>

/* X(NAME, name in YAML) */
#define CALIBRATE_METHODS(X)                                                                                           \
    X(CALIBRATE_MINMAX, "minmax")                 /* the least and the greatest value seen */                          \
    X(CALIBRATE_MOVING_AVERAGE, "moving_average") /* of each sample's least and greatest, in order: m += c (x - m) */  \
    X(CALIBRATE_PERCENTILE, "percentile")         /* all but the outermost 100 - p % */                                \
    X(CALIBRATE_ENTROPY, "entropy")               /* least Kullback-Leibler divergence, as TensorRT's calibrator */    \
    X(CALIBRATE_MSE, "mse")                       /* least expected squared error of rounding and clipping */

enum {
#define CALIBRATE_ENUM(name, text) name,
    CALIBRATE_METHODS(CALIBRATE_ENUM)
#undef CALIBRATE_ENUM
        CALIBRATE_N_METHODS
};

enum { CALIBRATE_BINS = 2048, CALIBRATE_MIN_BINS = 128, CALIBRATE_MAX_BINS = 16384 };
#define CALIBRATE_PERCENTILE_DEFAULT 99.99
#define CALIBRATE_AVERAGING_DEFAULT 0.01

/* "minmax", …; NULL past the last, so that it ends a list of choices as well. */
const char *calibrate_method_name(uint32_t method);

/* The whole numbers that a value may become. */
typedef struct calibrate_grid {
    int32_t qmin, qmax;
    /* The zero point doesn't follow from the range: int8: 0, the scale from max(-lo, hi) / 127; uint8: 0 where lo is 0,
     * else 128 and the scale as with int8. */
    bool symmetric;
} calibrate_grid;

/* PARE_UINT8: 0 to 255; PARE_INT8: -128 to 127, symmetric: -127 to 127. */
calibrate_grid calibrate_grid_of(uint32_t dtype, bool symmetric);

/* Scale and zero point of a range, which is first widened to hold zero: zero is exact, and a range from 0 up gives
 * zero_point qmin (0 for uint8). lo = hi = 0 (a tensor that was zero all over): scale 1. Never a scale that is 0,
 * subnormal or infinite. lo and hi are finite, lo <= hi. [any] */
void calibrate_params(calibrate_grid grid, float lo, float hi, float *scale, int32_t *zero_point);

/* What is asked for of one tensor. A row of all zeros but for the name means minmax, uint8 asymmetric, the defaults. */
typedef struct calibrate_tensor {
    const char *name; /* the value's; for messages and the artefact; borrowed as long as the calibrator */
    uint32_t method;  /* CALIBRATE_MINMAX, … */
    uint32_t dtype;   /* PARE_UINT8 (or 0), PARE_INT8 */
    bool symmetric;
    uint32_t bins;     /* at least so many over the range that was seen; 0: CALIBRATE_BINS. mse and entropy: as given */
    double percentile; /* 0: 99.99 */
    double averaging;  /* 0: 0.01; 1: the last sample alone */
} calibrate_tensor;

/* What was found of one tensor. */
typedef struct calibrate_range {
    float lo, hi; /* the range chosen; zero lies inside */
    float scale;  /* calibrate_params of lo and hi */
    int32_t zero_point;
    float min, max;    /* seen */
    double clipped;    /* share of the elements seen outside lo..hi; within a bin of lo or hi: in proportion */
    uint64_t samples;  /* that reached it; 0: none did */
    uint64_t elements; /* seen */
    uint64_t zeros;    /* exactly zero, of those */
} calibrate_range;

typedef struct calibrator calibrator; /* opaque: the statistics of n tensors */

/* About 16 bytes x bins for a tensor, and 1 KiB x bins of work. Options out of range: PARE_EINTERNAL, as the parameter
 * table checks them. PARE_ENOMEM, reported. */
pare_status calibrate_new(const pare_host *host, const calibrate_tensor *tensors, uint64_t n, calibrator **out);
void calibrate_free(calibrator *c); /* NULL is fine */

/* What a sample is called in messages; without it "sample 17". The answer lives until the next question. */
void calibrate_names(calibrator *c, const char *(*name)(void *ctx, uint64_t sample), void *ctx);

/* Takes in one batch of tensor i: float32, float16, bfloat16 or float64, contiguous, on the CPU. n: the samples it
 * holds, and samples[n]: which ones, for messages (NULL: the numbers seen before + 0, 1, …). Uses host->parallel.
 * PARE_EINVAL, reported: a NaN or an infinite number, naming tensor and sample, after which the calibrator is only good
 * for freeing; PARE_EUNSUPPORTED, reported: another dtype. A view of no elements counts for nothing. [run] */
pare_status calibrate_add(calibrator *c, uint64_t i, const pare_view *view, uint64_t n, const uint64_t *samples);

/* Merges over all processes (host->reduce) and chooses the ranges; nothing may be added afterwards. out[n].
 * PARE_EINVAL, reported: tensors that no sample reached, by name. Warnings: a tensor that was zero all over, or
 * constant. [run] */
pare_status calibrate_finish(calibrator *c, calibrate_range *out);

/* ---- the driver ---- */

/* Ranges with what they came from: what calibrate_run measures and ranges.h writes and reads. */
typedef struct calibration {
    uint64_t n;
    const calibrate_tensor *tensors; /* borrowed: those asked for */
    calibrate_range *ranges;         /* [n] owned */
    char *data;                      /* the set's name, owned; NULL: not known */
    uint64_t samples;                /* of the run */
    char graph[65], data_sha256[65]; /* hex; "": not known */
} calibration;

void calibration_free(calibration *c); /* what it owns; all zeros is fine */

/* Runs the model on samples of a set and measures tensors[i] at the values[i] (ids of the main graph). samples 0: all
 * ("random": 300); batch 0: what fits. One run, one pass. *out is filled in on success alone; `tensors` must outlive
 * it. Reported: all that pare.run/1 reports (an unknown or empty set), what calibrate_add and calibrate_finish do, and
 * a warning when there was one sample only. [run] */
pare_status calibrate_run(const pare_host *host, pare_model *model, const uint32_t *values,
                          const calibrate_tensor *tensors, uint64_t n, const char *data, uint64_t samples,
                          uint32_t batch, calibration *out);

#endif
