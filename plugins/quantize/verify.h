/* quantize/verify.h - a model before and after an edit, run side by side on the same samples.
 *
 * May use: the SDK, apis.h, calibrate_compare.h.
 */
#ifndef QUANTIZE_VERIFY_H
#define QUANTIZE_VERIFY_H

#include "apis.h"
#include "calibrate_compare.h"

/* A run on the model as it is now; what is edited later does not reach it. */
typedef struct verify_side {
    pare_runner *runner;
    uint64_t n; /* values looked at */
} verify_side;

/* values NULL: the graph's outputs. Reported. */
pare_status verify_open(const quantize_apis *q, const uint32_t *values, uint64_t n, const char *data, uint64_t samples,
                        uint32_t batch, verify_side *out);
void verify_close(const quantize_apis *q, verify_side *s);

/* How two runs of as many values differ, value by value: c[n]. `agreement` (may be NULL) gets the share of samples
 * whose largest element of value n - 1 stands at the same place; NaN where that value has no such thing (not one row a
 * sample). [run] */
pare_status verify_compare(const quantize_apis *q, verify_side *before, verify_side *after, calibrate_compare *c,
                           double *agreement);

/* That a rewrite kept what the model computes: the outputs now against those of `before`, which is closed. `what` is
 * for the message. PARE_EINTERNAL, reported: below 60 dB. */
pare_status verify_rewrite(const quantize_apis *q, verify_side *before, const char *data, const char *what);

/* The run that verify_rewrite compares with. */
pare_status verify_before(const quantize_apis *q, const char *data, verify_side *out);

#endif
