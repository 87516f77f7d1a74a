/* data/select.c - see set.h: which samples, and in what order; from random numbers with counters, so that the same seed
 * gives the same on every machine. Within each class every sample is as likely as any other.
 */
#include "data/set.h"

#include <pare/random.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct pick {
    int64_t label;
    uint64_t at;     /* where in the set */
    uint64_t sample; /* of the store */
} pick;

typedef struct group { /* the picks of a class */
    uint64_t first, n, quota;
    double rest;
} group;

typedef struct groups {
    pick *picks; /* by class, then as in the set */
    uint64_t n;
    PARE_VEC(group) groups;
} groups;

/* A number below n; n < 2^53. */
static uint64_t below(uint64_t seed, uint64_t stream, uint64_t i, uint64_t n) {
    uint64_t v = (uint64_t)(pare_random_double(seed, stream, i) * (double)n);
    return v < n ? v : n - 1;
}

void pare_select_shuffle(uint64_t *v, uint64_t n, uint64_t seed, uint64_t stream) {
    for (uint64_t i = n; i > 1; i--) {
        uint64_t k = below(seed, stream, i, i), t = v[k];
        v[k] = v[i - 1];
        v[i - 1] = t;
    }
}

static int by_label(const void *a, const void *b) {
    const pick *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int by_place(const void *a, const void *b) {
    const pick *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Groups by class, each in an order of its own. */
static pare_status make(const pare_data *set, const uint64_t *index, uint64_t n, uint64_t seed, const char *stream,
                        pare_diags *d, groups *g) {
    g->n = n;
    g->picks = pare_store_alloc(n, sizeof *g->picks, set->name, d);
    if (!g->picks) return PARE_ENOMEM;
    for (uint64_t i = 0; i < n; i++)
        g->picks[i] = (pick){set->store->labels ? set->store->labels[index[i]] : 0, i, index[i]};
    qsort(g->picks, n, sizeof *g->picks, by_label);
    for (uint64_t i = 0; i < n; i++) {
        if (!i || g->picks[i].label != g->picks[i - 1].label) pare_vec_push(&g->groups, ((group){.first = i}));
        g->groups.data[g->groups.len - 1].n++;
    }
    uint64_t name = pare_random_stream(stream);
    for (size_t c = 0; c < g->groups.len; c++) {
        group *k = &g->groups.data[c];
        for (uint64_t i = k->n; i > 1; i--) {
            uint64_t r = below(seed, name, k->first + i, i);
            pick *a = g->picks + k->first + r, *b = g->picks + k->first + i - 1, t = *a;
            *a = *b;
            *b = t;
        }
    }
    return PARE_OK;
}

static void drop(groups *g) {
    free(g->picks);
    pare_vec_free(&g->groups);
}

pare_status pare_select_split(const pare_data *set, uint64_t *index, uint64_t *n, double from, double to, uint64_t seed,
                              pare_diags *d) {
    groups g = {0};
    pare_status st = make(set, index, *n, seed, "data.split", d, &g);
    if (st != PARE_OK) return st;
    uint64_t kept = 0;
    for (size_t c = 0; c < g.groups.len; c++) {
        group *k = &g.groups.data[c];
        uint64_t lo = (uint64_t)(from * (double)k->n + 0.5), hi = (uint64_t)(to * (double)k->n + 0.5);
        if (hi > k->n) hi = k->n;
        for (uint64_t i = lo; i < hi; i++) g.picks[kept++] = g.picks[k->first + i]; /* kept <= first + i */
    }
    qsort(g.picks, kept, sizeof *g.picks, by_place);
    for (uint64_t i = 0; i < kept; i++) index[i] = g.picks[i].sample;
    *n = kept;
    drop(&g);
    return PARE_OK;
}

static int by_rest(const void *a, const void *b) {
    const group *x = *(group *const *)a, *y = *(group *const *)b;
    if (x->rest != y->rest) return x->rest > y->rest ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Each class its share of `take`, rounded down; what is missing goes to the largest remainders. */
static void set_quotas(groups *g, uint64_t take) {
    uint64_t given = 0;
    group **order = pare_xcalloc(g->groups.len, sizeof *order);
    for (size_t c = 0; c < g->groups.len; c++) {
        group *k = order[c] = &g->groups.data[c];
        double share = (double)take * (double)k->n / (double)g->n;
        k->quota = (uint64_t)share;
        k->rest = share - (double)k->quota;
        given += k->quota;
    }
    qsort(order, g->groups.len, sizeof *order, by_rest);
    while (given < take)
        for (size_t c = 0; c < g->groups.len && given < take; c++)
            if (order[c]->quota < order[c]->n) {
                order[c]->quota++;
                given++;
            }
    free(order);
}

pare_status pare_select_take(const pare_data *set, uint64_t *index, uint64_t *n, uint64_t take, uint64_t seed,
                             pare_diags *d) {
    if (take > *n)
        return pare_fail_file(d, PARE_EINVAL, set->name, "data.take", NULL,
                              "take: %" PRIu64 " is more than the %" PRIu64 " samples there are", take, *n);
    groups g = {0};
    pare_status st = make(set, index, *n, seed, "data.take", d, &g);
    if (st != PARE_OK) return st;
    set_quotas(&g, take);
    uint64_t kept = 0;
    for (size_t c = 0; c < g.groups.len; c++)
        for (uint64_t i = 0; i < g.groups.data[c].quota; i++)
            index[kept++] = g.picks[g.groups.data[c].first + i].sample;
    pare_select_shuffle(index, kept, seed, pare_random_stream("data.take.order"));
    *n = kept;
    drop(&g);
    return PARE_OK;
}
