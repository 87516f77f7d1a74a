/* pare/host.h - what every component gets from the host.
 *
 * Everything else is a small interface asked for by name: host->ext(host, "pare.graph/1"). An interface whose id ends
 * in /1 only ever grows at its end; another meaning gets another number. Thread tags: [load] while scanning, [run] one
 * thread per instance at a time, [any] concurrent. Strings given to the host are borrowed for the call; strings
 * got from it live until the component's function returns, unless marked otherwise. May include: diag.h.
 */
#ifndef PARE_HOST_H
#define PARE_HOST_H

#include <pare/diag.h>

typedef struct pare_model pare_model; /* opaque: the host owns every model, tensor and byte */

enum { PARE_REDUCE_SUM = 0, PARE_REDUCE_MIN = 1, PARE_REDUCE_MAX = 2 };

typedef struct pare_host {
    uint32_t size, abi_minor;
    const char *name, *version; /* for logs only: never branch on these */
    void *impl;                 /* the host's own */

    /* [any] Says something; copies. Errors are returned as well as reported. */
    void (*report)(const struct pare_host *, const pare_diag *);
    /* [any] Progress in [0, 1] and cancellation in one call: return what it returns unless that is PARE_OK. `what` may
     * be NULL. Cheap enough for every layer, not for every element. */
    pare_status (*tick)(const struct pare_host *, double done, const char *what);
    /* [run] 64-byte aligned memory, zeroed, freed by the host when create, check or apply returns. NULL: none left. */
    void *(*scratch)(const struct pare_host *, uint64_t bytes);
    /* [any] The step's seed, from the pipeline's seed and the step's id: feed it to pare/random.h. */
    uint64_t (*seed)(const struct pare_host *);
    /* [run] fn(ctx, i) for i in 0..n-1, each once, on the run's threads; returns when all are done. Results may depend
     * on i, never on the thread. */
    void (*parallel)(const struct pare_host *, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx);
    /* [run] Reduces a buffer over all processes of the run, in place (PARE_FLOAT, PARE_DOUBLE, PARE_INT64,
     * PARE_UINT64). The identity on one process: the seam for MPI and NCCL. */
    pare_status (*reduce)(const struct pare_host *, uint32_t op, uint32_t dtype, void *buffer, uint64_t n);
    /* [any] An interface by its id, or NULL. [static] */
    const void *(*ext)(const struct pare_host *, const char *id);
} pare_host;

/* Reports from C: PARE_REPORT(host, PARE_ERROR, .code = "x.y", .message = "…", .param = "sparsity"); */
#define PARE_REPORT(h, sev, ...)                                                                                       \
    do {                                                                                                               \
        const pare_diag d_ = {                                                                                         \
            .size = sizeof(pare_diag), .severity = (sev), .src_file = __FILE__, .src_line = __LINE__, __VA_ARGS__};    \
        (h)->report((h), &d_);                                                                                         \
    } while (0)

#endif
