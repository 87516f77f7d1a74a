/* prune/select.h - which weights go: the k smallest keys of one or many tensors, and N of M.
 *
 * Is: a radix search for the threshold, eleven bits a pass, over one histogram; nothing is sorted and no list of
 * magnitudes is kept, so the scratch is the same for every size of model. Work is cut into slots that depend on the
 * tensor's size alone: results do not depend on threads. Is not: about layers or parameters. May use: keys.h,
 * pare/host.h.
 */
#ifndef PRUNE_SELECT_H
#define PRUNE_SELECT_H

#include "keys.h"

#include <pare/host.h>

enum {
    PRUNE_SLOTS = 64,            /* most pieces of a tensor at work at once */
    PRUNE_SLOT_ELEMENTS = 65536, /* least elements of a piece; a multiple of what shares a byte */
    PRUNE_DIGIT = 11,            /* bits a pass; a histogram is 16 KiB and stays in the first-level cache */
    PRUNE_BUCKETS = 1 << PRUNE_DIGIT
};

/* Scratch of one apply, about 1 MiB; zeroed by the caller but for host. */
typedef struct prune_work {
    const pare_host *host;
    uint64_t total[PRUNE_BUCKETS]; /* histogram of this pass, over all sources scanned in it */
    uint64_t slot[PRUNE_SLOTS][PRUNE_BUCKETS];
    uint64_t count[PRUNE_SLOTS];
    uint64_t nonzero[PRUNE_SLOTS];
} prune_work;

/* What goes: every key below `key`, and of those equal to it the first `ties` in order (UINT64_MAX: all of them). */
typedef struct prune_threshold {
    uint64_t key, ties;
} prune_threshold;

typedef struct prune_search {
    uint64_t prefix; /* the bits found, in their places */
    uint64_t left;   /* how many of the keys that start with prefix go; at least 1 */
    uint32_t open;   /* bits not yet looked at */
    uint32_t passes;
    bool found;
    prune_threshold threshold; /* once found */
} prune_search;

/* The k smallest of all keys below 1 << key_bits; k >= 1 and at most the number of keys that will be scanned. */
void prune_search_begin(prune_search *s, prune_work *work, uint32_t key_bits, uint64_t k);
/* One source of the current pass, in the order that ties go by. False: it holds a NaN (seen in the first pass). */
bool prune_search_scan(prune_search *s, prune_work *work, const prune_source *source);
/* After all sources of a pass: takes the next bits. Passes go on until s->found. */
void prune_search_next(prune_search *s, prune_work *work);

/* Zeroes what the threshold names, taking from threshold->ties. Returns the weights that are not zero afterwards. */
uint64_t prune_write(prune_work *work, const prune_source *source, prune_threshold *threshold);

/* N:M along the middle of (outer, channels, inner): of each m successive channels the n largest keys stay. False: it
 * holds a NaN (the tensor is partly written then: the step has to fail). */
bool prune_write_groups(prune_work *work, const prune_source *source, uint64_t channels, uint64_t inner, uint32_t n,
                        uint32_t m, uint64_t *nonzero);

/* Weights that are not zero; NaNs count. */
uint64_t prune_nonzero(prune_work *work, const prune_source *source);

#endif
