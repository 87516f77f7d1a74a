/* data/set.h - a set: some samples of a store, in an order. Inside the layer. May use: store.h. */
#ifndef PARE_DATA_SET_H
#define PARE_DATA_SET_H

#include "data/store.h"

struct pare_data {
    pare_store *store;
    char *name;
    uint64_t *index; /* count samples of the store; NULL: all, in its order */
    uint64_t count;
    uint32_t classes;
    uint64_t seed;
    bool shuffle;
    pare_on_error on_error;
};

static inline uint64_t pare_set_sample(const pare_data *set, uint64_t i) { return set->index ? set->index[i] : i; }

/* Leaves in index[0..*n-1] (samples of the store) those of a share, or `take` of them. Reported failures: PARE_ENOMEM,
 * PARE_EINVAL (take is more than there are). */
pare_status pare_select_split(const pare_data *set, uint64_t *index, uint64_t *n, double from, double to, uint64_t seed,
                              pare_diags *d);
pare_status pare_select_take(const pare_data *set, uint64_t *index, uint64_t *n, uint64_t take, uint64_t seed,
                             pare_diags *d);
/* Puts n numbers into an order that a seed and a stream of random numbers give. */
void pare_select_shuffle(uint64_t *v, uint64_t n, uint64_t seed, uint64_t stream);

#endif
