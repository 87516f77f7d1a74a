/* pipeline/latency.h - how long a model takes, and whether two differ by more than noise.
 *
 * Is: warm runs of sessions taken in turn, their percentiles, and the ratio of two medians with its interval. Is not:
 * the sessions' making (plugin/compute.h), the time of each node (pare_session_profile). May use: base, engine.
 */
#ifndef PARE_PIPELINE_LATENCY_H
#define PARE_PIPELINE_LATENCY_H

#include "engine/session.h"

/* Of one session's runs, seconds. */
typedef struct pare_latency {
    double p50, p95;
    uint64_t runs;
} pare_latency;

/* b's median over a's. low and high: its 95 % interval; NaN where nothing was measured. */
typedef struct pare_latency_ratio {
    double ratio, low, high;
} pare_latency_ratio;

/* in[i]: session i's inputs. Warm-up of 3; then `runs` each (0: three seconds' worth for one or two sessions, half as
 * much more for each further one, at least 10 runs each). The sessions are run in turn, each round in the opposite
 * order of the last, so that what else the machine does hits all alike. PARE_ECANCELLED after SIGINT; what a run fails
 * with. The sessions' thread. */
pare_status pare_latency_of(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                            pare_diags *d, pare_latency *out);
/* The same with the ratio of each to sessions[0], whose own is NaN. */
pare_status pare_latency_against(pare_session *const *sessions, pare_array *const *const *in, size_t n, uint64_t runs,
                                 pare_diags *d, pare_latency *out, pare_latency_ratio *ratios);

/* a[i] and b[i]: of the same round. The interval is the bootstrap's (Efron's percentiles; Kuensch 1989: runs of
 * neighbouring rounds are drawn as they are, because neighbours are alike), with a fixed seed: same times, same
 * interval. n 0: NaN. */
pare_latency_ratio pare_latency_ratio_of(const double *a, const double *b, uint64_t n);
/* Can't the difference be told from noise: does the interval hold 1, or a ratio nearer to 1 than PARE_LATENCY_PLACES?
 * False where nothing was measured. */
#define PARE_LATENCY_PLACES 0.02 /* two sessions of one model differ so much by where their memory lies, for good */
bool pare_latency_in_noise(pare_latency_ratio r);

#endif
