/* data/draw.c - see data.h: some of a set's samples by seed, what a sample is called, the hash of what a set holds. */
#include "data/set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

char *pare_data_sample_name(const pare_data *set, uint64_t i) {
    const char *path = pare_data_path(set, i);
    pare_sb b = {0};
    if (path)
        pare_sb_add(&b, path);
    else
        pare_sb_printf(&b, "sample %" PRIu64 " of %s", i, set->name);
    char *name = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    return name;
}

/* ---- drawing ---- */

typedef struct place {
    uint64_t sample, position; /* of the store, of the set */
} place;

static int by_sample(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* From samples of the store to positions in the set. */
static pare_status positions_of(const pare_data *set, uint64_t *index, uint64_t n, pare_diags *d) {
    if (!set->index) return PARE_OK;
    place *places = pare_store_alloc(set->count, sizeof *places, set->name, d);
    if (!places) return PARE_ENOMEM;
    for (uint64_t i = 0; i < set->count; i++) places[i] = (place){set->index[i], i};
    qsort(places, set->count, sizeof *places, by_sample);
    for (uint64_t i = 0; i < n; i++) {
        const place key = {.sample = index[i]};
        index[i] = ((const place *)bsearch(&key, places, set->count, sizeof *places, by_sample))->position;
    }
    free(places);
    return PARE_OK;
}

pare_status pare_data_draw(const pare_data *set, uint64_t n, uint64_t seed, pare_diags *d, uint64_t **positions,
                           uint64_t *count) {
    uint64_t all = set->count, *index = pare_store_alloc(all, sizeof *index, set->name, d);
    if (!index) return PARE_ENOMEM;
    for (uint64_t i = 0; i < all; i++) index[i] = pare_set_sample(set, i);
    pare_status st = pare_select_take(set, index, &all, n && n < all ? n : all, seed, d);
    if (!st) st = positions_of(set, index, all, d);
    if (st) {
        free(index);
        return st;
    }
    *positions = index;
    *count = all;
    return PARE_OK;
}

/* ---- hashing ---- */

static void add_u64(pare_sha256 *h, uint64_t v) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(v >> 8 * i);
    pare_sha256_add(h, b, sizeof b);
}

/* Of one that can't be read there is only its absence: readers leave it out as well. */
static pare_status add_file(const pare_data *set, const char *path, pare_sha256 *h, pare_diags *d) {
    bool skip = set->on_error == PARE_ON_ERROR_SKIP;
    pare_map_file *f;
    pare_status st = pare_map_file_open(path, skip ? NULL : d, &f);
    if (st) {
        add_u64(h, UINT64_MAX);
        return skip && st != PARE_ENOMEM ? PARE_OK : st;
    }
    add_u64(h, f->len);
    pare_sha256_add(h, f->data, (size_t)f->len);
    pare_map_file_unref(f);
    return PARE_OK;
}

pare_status pare_data_hash(const pare_data *set, pare_sha256 *h, pare_diags *d) {
    const pare_store *s = set->store;
    pare_status st = PARE_OK;
    add_u64(h, set->count);
    add_u64(h, s->kind);
    if (s->kind != STORE_FILES) {
        add_u64(h, s->dtype);
        add_u64(h, s->layout);
        for (uint32_t i = 0; i < s->ndim; i++) add_u64(h, (uint64_t)s->dims[i]);
    }
    if (s->kind == STORE_RANDOM) add_u64(h, s->seed);
    for (uint64_t i = 0; i < set->count && !st; i++) {
        uint64_t sample = pare_set_sample(set, i);
        if (s->labels) add_u64(h, (uint64_t)s->labels[sample]);
        if (s->kind == STORE_FILES) st = add_file(set, s->paths[sample], h, d);
        if (s->kind == STORE_RECORDS) pare_sha256_add(h, pare_store_record(s, sample), (size_t)s->bytes);
        if (s->kind == STORE_RANDOM) add_u64(h, sample);
        if (!st && i % 256 == 0 && pare_cancelled()) st = PARE_ECANCELLED;
    }
    return st;
}
