/* far.h - two backends for tests, over the plain C kernels: `near` in host memory, `far` in a separate address space.
 *
 * far's memory is a region that nobody can touch outside of a run or copy; its queue runs nothing before a sync; it has
 * a memory cap, fails the n-th allocation on demand, keeps what Conv takes and makes in a layout of its own, packs
 * Conv's weights, and fuses Relu and Add behind Conv. Every wrong pointer is an error. May use: sdk, plugins/cpu/ref.
 */
#ifndef PARE_TESTS_FAR_H
#define PARE_TESTS_FAR_H

#include <pare/backend.h>
#include <stdbool.h>

/* What the tests turn and read. Reset between tests with memset. */
typedef struct far_control {
    uint64_t fail_at;   /* the n-th allocation from now on far fails, 0: none */
    uint64_t fail_run;  /* the n-th kernel that far's queue runs from now on fails, as late as that is; 0: none */
    const char *refuse; /* far has no kernels for these ops: names with spaces between */
    /* Both have the oracle's kernels for ops of quantized operands, but for these ops: names with spaces between; NULL:
     * none. They take `most_posts` post-ops, 0: all. */
    const char *quantized_but;
    uint32_t most_posts;
    bool saturating;                               /* the oracle's pairs saturate */
    uint64_t quantized;                            /* such kernels made */
    uint64_t allocs, live, live_bytes, peak_bytes; /* far's */
    uint64_t kernels, runs, packs, reorders, posts;
    uint64_t wrong;        /* pointers that point where they may not */
    uint64_t cap;          /* bytes of a device; 0: none but the session's own */
    unsigned char *region; /* far's memory, of the device opened last: to touch it ends the process */
} far_control;
extern far_control far_ctl;

extern const pare_backend far_backend, near_backend;
/* The cpu plugin of this build, or the one that PARE_TEST_CPU names; opened once, ends the process where it can't be.
 */
const pare_backend *far_cpu_backend(void);
extern const pare_host far_host;

#endif
