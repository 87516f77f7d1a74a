/* engine/tune.h - kernels chosen by measurement: timing candidates, and remembering what was measured.
 *
 * Is: private to core/engine. A shape is timed once per machine; what was measured lies in the user's cache folder, in
 * one text file per machine key (CPU, backend, its threads and version). A file that can't be read, written or
 * understood is no error: it is measured again. The choice is made of the times, so it repeats where they do. May use:
 * parts.h.
 */
#ifndef PARE_ENGINE_TUNE_H
#define PARE_ENGINE_TUNE_H

#include "engine/parts.h"

enum {
    PARE_TUNE_CANDIDATES = 8,                  /* of a backend, at most */
    PARE_TUNE_WAYS = 2 * PARE_TUNE_CANDIDATES, /* each in the layout it likes, and in the one that the input has */
};

/* Seconds of each way, 0: not measured, or its results are too far off. */
typedef struct pare_tune_times {
    double way[PARE_TUNE_WAYS];
} pare_tune_times;

/* What PARE_TUNE says, else `dflt`. PARE_EINVAL (reported): neither on nor off. */
pare_status pare_tune_wanted(bool dflt, pare_diags *d, bool *out);

/* Reads what is known for the session's main device. Never NULL. */
pare_tune *pare_tune_open(const pare_session *s);
void pare_tune_close(pare_tune *t); /* NULL is fine */
/* NULL: not known. Until the next add. */
const pare_tune_times *pare_tune_find(const pare_tune *t, const char *key);
void pare_tune_add(pare_tune *t, const char *key, const pare_tune_times *times);
/* Writes what is new, with what others have written meanwhile. Silent. */
void pare_tune_save(pare_tune *t);

/* The way to take: the fastest, if it is more than 3 % faster than way 0. */
uint32_t pare_tune_best(const pare_tune_times *t);
/* The same of a node's kernels: more than 3 % faster than the usual one in the layout that the input has (way 1), where
 * that is nearly as fast as in the layout it likes (way 0). */
uint32_t pare_tune_best_kernel(const pare_tune_times *t);

/* One way of computing a node. */
typedef struct pare_tune_shot {
    void *kernel; /* NULL: there is no such way */
    const pare_kernel_info *info;
    double seconds; /* result; 0: too far from the first shot's result, or it failed */
} pare_tune_shot;

/* Times shots of one spec on a device of the session, in turn, with normal numbers. `at` [n_in]: the layout that each
 * input has now; bringing it to what a kernel wants counts. The first shot is the yardstick of accuracy. Silent: a
 * failure leaves seconds 0. */
void pare_tune_measure(pare_session *s, uint32_t device, const pare_kernel_spec *spec, const pare_layout *at,
                       pare_tune_shot *shots, uint32_t n);

#endif
