/* quantize/calibrate_compare.h - how far one tensor is from another: SQNR and cosine, streamed.
 *
 * Sums are of fixed pieces, added in their order: the same bits for every number of threads. May use: pare/host.h,
 * pare/tensor.h.
 */
#ifndef QUANTIZE_CALIBRATE_COMPARE_H
#define QUANTIZE_CALIBRATE_COMPARE_H

#include <pare/host.h>
#include <pare/tensor.h>

/* Begin with all zeros. */
typedef struct calibrate_compare {
    double aa, bb, ab, dd; /* sums of a*a, b*b, a*b, (a-b)*(a-b) */
    uint64_t n;            /* pairs */
} calibrate_compare;

/* Takes in a pair of views of equal count, each float32, float16, bfloat16 or float64, contiguous, on the CPU; a is the
 * one that is right. Uses host->parallel. PARE_EINVAL (silent): counts differ; PARE_EUNSUPPORTED (silent): a dtype. */
pare_status calibrate_compare_add(const pare_host *host, calibrate_compare *c, const pare_view *a, const pare_view *b);

/* Over all processes of the run: once, before the numbers are asked for. */
pare_status calibrate_compare_merge(const pare_host *host, calibrate_compare *c);

double calibrate_compare_sqnr(const calibrate_compare *c);   /* dB; infinite where equal, NaN where a is zero or none */
double calibrate_compare_cosine(const calibrate_compare *c); /* NaN where one is zero all over */

#endif
