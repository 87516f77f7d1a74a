/* prune/groups.c - the N:M half of select.h.
 *
 * A tensor is (outer, channels, inner); a group is m successive channels at one outer and one inner place. Keys are
 * made for tiles of whole groups: many groups of one line where they are small, a strip of `inner` where they are
 * large.
 */
#include "count.h"
#include "select.h"

#include <string.h>

typedef struct job {
    prune_work *work;
    const prune_source *source;
    uint64_t channels, inner, groups, units, slots; /* units: outer * groups, each one `m` channels by inner */
    uint32_t n, m;
} job;

/* Small groups by rank, without a branch to guess wrong. Called with a constant r for the usual ones: unrolled then. */
static inline void by_rank(const uint64_t *key, uint8_t *gone, uint32_t r, uint64_t stride, uint32_t remove) {
    for (uint32_t j = 0; j < r; j++) {
        const uint64_t own = key[j * stride];
        uint32_t rank = 0;
        for (uint32_t i = 0; i < j; i++) rank += key[i * stride] <= own;
        for (uint32_t i = j + 1; i < r; i++) rank += key[i * stride] < own;
        gone[j * stride] = rank < remove;
    }
}

/* The r keys at step `stride`: marks the r - keep smallest, ties from the front. */
static void choose(const uint64_t *key, uint8_t *gone, uint32_t r, uint64_t stride, uint32_t keep) {
    if (r == 4) {
        by_rank(key, gone, 4, stride, 4 - keep);
        return;
    }
    if (r <= 8) {
        by_rank(key, gone, r, stride, r - keep);
        return;
    }
    for (uint32_t j = 0; j < r; j++) gone[j * stride] = 0;
    for (uint32_t round = keep; round < r; round++) {
        uint32_t least = r;
        for (uint32_t j = 0; j < r; j++)
            if (!gone[j * stride] && (least == r || key[j * stride] < key[least * stride])) least = j;
        gone[least * stride] = 1;
    }
}

typedef struct tally {
    uint64_t nonzero, nans;
} tally;

static void count_tile(const prune_source *s, const uint64_t *key, const uint8_t *gone, uint32_t n, tally *t) {
    for (uint32_t i = 0; i < n; i++) t->nonzero += key[i] != 0 && !gone[i];
    if (s->random) return;
    for (uint32_t i = 0; i < n; i++) t->nans |= (s->nan_above - key[i]) >> 63;
}

/* With random keys NaNs are looked for in the magnitudes. */
static void tile_nans(const prune_source *s, uint64_t first, uint32_t n, tally *t) {
    uint64_t key[PRUNE_BLOCK];
    if (!s->random) return;
    prune_magnitudes(s, first, n, key);
    for (uint32_t i = 0; i < n; i++) t->nans |= (s->nan_above - key[i]) >> 63;
}

/* One group of r channels from element `at` on, in strips of `inner` that fit a block. */
static void wide_group(const job *j, uint64_t at, uint32_t r, uint32_t keep, tally *t) {
    uint64_t key[PRUNE_BLOCK];
    uint8_t gone[PRUNE_BLOCK];
    const uint64_t most = PRUNE_BLOCK / r;
    for (uint64_t i = 0; i < j->inner; i += most) {
        const uint32_t width = (uint32_t)(j->inner - i < most ? j->inner - i : most);
        for (uint32_t c = 0; c < r; c++) {
            prune_keys(j->source, at + c * j->inner + i, width, key + c * width);
            tile_nans(j->source, at + c * j->inner + i, width, t);
        }
        for (uint32_t k = 0; k < width; k++) choose(key + k, gone + k, r, width, keep);
        for (uint32_t c = 0; c < r; c++) prune_zero(j->source, at + c * j->inner + i, width, gone + c * width);
        count_tile(j->source, key, gone, r * width, t);
    }
}

/* `groups` whole groups of r channels that lie side by side and fit a block. */
static void narrow_groups(const job *j, uint64_t at, uint32_t groups, uint32_t r, uint32_t keep, tally *t) {
    uint64_t key[PRUNE_BLOCK];
    uint8_t gone[PRUNE_BLOCK];
    const uint32_t inner = (uint32_t)j->inner, size = r * inner;
    prune_keys(j->source, at, groups * size, key);
    tile_nans(j->source, at, groups * size, t);
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t k = 0; k < inner; k++) choose(key + g * size + k, gone + g * size + k, r, inner, keep);
    prune_zero(j->source, at, groups * size, gone);
    count_tile(j->source, key, gone, groups * size, t);
}

static void group_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    const uint64_t whole = j->units / j->slots, more = j->units % j->slots;
    const uint64_t start = whole * index + (index < more ? index : more), end = start + whole + (index < more ? 1 : 0);
    const uint32_t rest = (uint32_t)(j->channels % j->m);
    tally t = {0};
    for (uint64_t unit = start; unit < end;) {
        const uint64_t line = unit / j->groups, g = unit % j->groups;
        const uint64_t at = (line * j->channels + g * j->m) * j->inner;
        const uint64_t full = j->channels / j->m; /* the short group, if any, is number `full` */
        const uint32_t r = g < full ? j->m : rest;
        const uint32_t keep = g < full ? j->n : prune_group_keep(j->n, j->m, rest);
        if (j->inner * r > PRUNE_BLOCK) {
            wide_group(j, at, r, keep, &t);
            unit++;
            continue;
        }
        uint64_t n = g < full ? full - g : 1;
        const uint64_t most = PRUNE_BLOCK / (r * j->inner);
        if (n > most) n = most;
        if (n > end - unit) n = end - unit;
        narrow_groups(j, at, (uint32_t)n, r, keep, &t);
        unit += n;
    }
    j->work->nonzero[index] = t.nonzero;
    j->work->count[index] = t.nans;
}

bool prune_write_groups(prune_work *work, const prune_source *source, uint64_t channels, uint64_t inner, uint32_t n,
                        uint32_t m, uint64_t *nonzero) {
    job j = {.work = work, .source = source, .channels = channels, .inner = inner, .n = n, .m = m};
    *nonzero = 0;
    if (source->count == 0) return true;
    j.groups = (channels + m - 1) / m;
    j.units = source->count / (channels * inner) * j.groups;
    const uint64_t pieces = (source->count + PRUNE_SLOT_ELEMENTS - 1) / PRUNE_SLOT_ELEMENTS;
    j.slots = pieces < PRUNE_SLOTS ? pieces : PRUNE_SLOTS;
    if (j.slots > j.units) j.slots = j.units;
    if (source->bits < 8) j.slots = 1; /* neighbours share a byte wherever a group ends */
    work->host->parallel(work->host, j.slots, group_slot, &j);
    bool nan = false;
    for (uint64_t i = 0; i < j.slots; i++) {
        *nonzero += work->nonzero[i];
        nan |= work->count[i] != 0;
    }
    return !nan;
}
