/* prune/count.h - how many weights a share is, and the N:M notation.
 *
 * Is: exact arithmetic on what the user wrote. Is not: about tensors. May use: the C library.
 */
#ifndef PRUNE_COUNT_H
#define PRUNE_COUNT_H

#include <stdbool.h>
#include <stdint.h>

enum { PRUNE_MAX_M = 64 }; /* longest N:M group: a group is chosen in registers and one stack buffer */

/* sparsity * n, rounded half to even, exact in the decimal that was written: the double nearest to 0.15 lies below
 * 0.15, yet 0.15 of 10 is 1.5 and gives 2. So the shortest decimal that reads back as the double is multiplied in
 * integers. sparsity in [0, 1]; the result never exceeds n. */
uint64_t prune_count(double sparsity, uint64_t n);

/* "none" gives 0, 0; "2:4" gives 2, 4 (1 <= N < M <= PRUNE_MAX_M). False for anything else. */
bool prune_pattern_parse(const char *text, uint32_t *n, uint32_t *m);

/* Weights kept of a group of r <= M: N of a full group, ceil(N * r / M) of the short one at the end. */
uint32_t prune_group_keep(uint32_t n, uint32_t m, uint32_t r);

/* Weights that N:M removes from `lines` lines of `channels` input channels each. lines * channels must fit. */
uint64_t prune_pattern_count(uint32_t n, uint32_t m, uint64_t channels, uint64_t lines);

#endif
