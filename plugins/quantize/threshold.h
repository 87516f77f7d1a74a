/* quantize/threshold.h - from a histogram to a range: percentile, entropy, mse; and the share that a range clips.
 *
 * Within a bin values count as evenly spread, but for exact zeros, which are exact under any range and are known by
 * their number. Every range holds zero. Pure functions of the histogram: any thread. False: no memory (nothing else
 * fails). May use: histogram.h, calibrate.h (the grid), libm.
 */
#ifndef QUANTIZE_THRESHOLD_H
#define QUANTIZE_THRESHOLD_H

#include "calibrate.h"
#include "histogram.h"

/* All but the outermost 100 - percent % of the values: half of those on each side, or all on the one side where values
 * lie; symmetric grids: by magnitude. As ONNX Runtime's PercentileCalibrater. */
bool threshold_percentile(const histogram *h, calibrate_grid grid, double percent, float *lo, float *hi);

/* The magnitude t at which the distribution cut off at t, its tail added to the last bin, and the same in levels (128;
 * 256 where all values are on one side of zero and the grid follows them) differ least by Kullback and Leibler. The
 * algorithm of TensorRT's calibrator (S. Migacz, "8-bit inference with TensorRT", 2017) over at most `bins` bins of
 * magnitudes, the bin at zero counted like its neighbour. Level j of a cut at bin i holds the bins from floor(j i / L);
 * of equal divergences the least t counts. The range is [-t, t] within what was seen. */
bool threshold_entropy(const histogram *h, calibrate_grid grid, uint32_t bins, float *lo, float *hi);

/* The scale and zero point with the least expected squared error of rounding and clipping. Scales from that of the
 * whole range down to a 256th of it, sixteen to an octave, then finer about the best; of each scale every zero point.
 * The range is exactly that of the grid, so it may reach a step beyond what was seen. */
bool threshold_mse(const histogram *h, calibrate_grid grid, float *lo, float *hi);

/* The expected squared error of threshold_mse, for tests and reports: the mean over all values. NaN: no memory. */
double threshold_mse_of(const histogram *h, calibrate_grid grid, float lo, float hi);

/* Share of the values outside lo..hi. */
double threshold_clipped(const histogram *h, float lo, float hi);

/* ---- between threshold*.c ---- */

/* Counts of one side, or of both as magnitudes: count[k] values in [k w, (k+1) w), zeros left out. */
typedef struct threshold_side {
    double *count;
    uint32_t n;
} threshold_side;

/* Sides of a histogram: free .count of each. */
bool threshold_sides(const histogram *h, threshold_side *below, threshold_side *above);
bool threshold_magnitudes(const histogram *h, threshold_side *out);

/* Does the zero point follow the values to one side? So that all levels serve it. */
bool threshold_one_sided(const histogram *h, calibrate_grid grid);

#endif
