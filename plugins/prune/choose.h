/* prune/choose.h - masks out of weights: which elements live after the next change.
 *
 * Is: keys of dense float weights under a mask, and the steps of RigL, over select.h. Is not: about the training that
 * they come from (gradual.h). May use: select.h.
 *
 * A mask is a bit per element, lowest first, 1: it lives. Keys are 0 for what is masked, so that it is the first to
 * go and gone weights stay gone; all others are 1 and more. A key that select.h made 0 is an element that went.
 */
#ifndef PRUNE_CHOOSE_H
#define PRUNE_CHOOSE_H

#include "select.h"

enum {
    PRUNE_KEY_MAGNITUDE = 32, /* bits of each kind of key: below 1 << this */
    PRUNE_KEY_SIGNED = 33,
    PRUNE_KEY_DRAWN = 63
};

static inline bool prune_bit(const uint8_t *bits, uint64_t i) { return bits[i / 8] >> i % 8 & 1; }

/* How many of n bits are set. */
uint64_t prune_bits_count(const uint8_t *bits, uint64_t n);

/* By |x|. False: an x that lives is NaN. bits NULL: all live. */
bool prune_key_magnitude(const float *x, const uint8_t *bits, uint64_t n, uint64_t *key);
/* By x, negative ones below positive ones. */
bool prune_key_signed(const float *x, const uint8_t *bits, uint64_t n, uint64_t *key);
/* Drawn for (seed, stream, i). */
void prune_key_drawn(uint64_t seed, uint64_t stream, const uint8_t *bits, uint64_t n, uint64_t *key);

/* The mask of what is left: keys that are not 0. Returns how many. */
uint64_t prune_key_mask(const uint64_t *key, uint64_t n, uint8_t *bits);

/* The `gone` smallest keys become 0. */
void prune_key_remove(prune_work *work, uint64_t *key, uint64_t n, uint32_t key_bits, uint64_t gone);

/* One change of masks with as many living elements after it as before (RigL): of those that live the floor(share x
 * living) smallest by |weight| drop, and of all that do not live then as many grow, those with the largest `grow` keys
 * (below 1 << grow_bits, at least 1; written over). What is dropped may grow again at once: it then goes on as it was.
 * key: room for n. *grown: of those that live now, how many did not before. False: a weight is NaN. */
bool prune_rigl(prune_work *work, const float *weights, uint64_t n, double share, uint64_t *grow, uint32_t grow_bits,
                uint64_t *key, uint8_t *bits, uint64_t *grown);

#endif
