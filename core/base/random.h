/* base/random.h - repeatable distributions over sdk/pare/random.h: the same bytes on every machine.
 *
 * No libm: its log and cos differ by CPU. Own log and cos in double, no FMA contraction, vectorisable loops with
 * a fixed order of operations. May use: sdk/pare/random.h, os (pare_parallel).
 */
#ifndef PARE_BASE_RANDOM_H
#define PARE_BASE_RANDOM_H

#include <pare/random.h>
#include <stdint.h>

/* out[i] = mean + std * the i-th standard normal of the stream (Box-Muller: pairs from counters), f32. Several threads.
 */
void pare_random_normal(uint64_t seed, uint64_t stream, float mean, float std, float *out, uint64_t n);
/* out[i] = lo + (hi - lo) * the i-th uniform of the stream in [0, 1), f32. Several threads. */
void pare_random_uniform(uint64_t seed, uint64_t stream, float lo, float hi, float *out, uint64_t n);

/* Natural logarithm for x > 0 and finite; cosine and sine of 2*pi*t for t in [0, 1): within 2 ulp of double. */
double pare_log(double x);
void pare_cos_sin_2pi(double t, double *c, double *s);
/* Square root: IEEE's, exactly rounded (sqrt is; kept here so that callers need no libm). */
double pare_sqrt(double x);

/* A step's seed from the pipeline's seed and the step's id. */
uint64_t pare_seed_derive(uint64_t seed, const char *name);

#endif
