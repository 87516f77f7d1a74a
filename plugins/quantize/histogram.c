/* quantize/histogram.c - see histogram.h. The loops over elements are histogram_scan.c. */
#include "histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int32_t histogram_key(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}

float histogram_unkey(int32_t key) {
    const int32_t bits = key < 0 ? key ^ 0x7FFFFFFF : key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x + 0.0f;
}

histogram histogram_new(uint64_t *count, uint32_t cap) {
    return (histogram){.count = count, .cap = cap, .exp = HISTOGRAM_EXP_MIN, .min = INT32_MAX, .max = INT32_MIN};
}

int64_t histogram_bin(float x, int32_t e) {
    const double k = trunc(ldexp((double)x, -e));
    return (int64_t)k - (x < 0);
}

uint64_t histogram_at(const histogram *h, int64_t k) { return h->count[(uint64_t)k & (h->cap - 1)]; }

static uint32_t below(int32_t min, int32_t e) {
    return min < -1 ? (uint32_t)-histogram_bin(histogram_unkey(min), e) : 0;
}

static uint32_t above(int32_t max, int32_t e) {
    return max > 0 ? (uint32_t)histogram_bin(histogram_unkey(max), e) + 1 : 1;
}

uint32_t histogram_below(const histogram *h) { return h->min > h->max ? 0 : below(h->min, h->exp); }

uint32_t histogram_above(const histogram *h) { return h->min > h->max ? 0 : above(h->max, h->exp); }

double histogram_width(const histogram *h) { return ldexp(1, h->exp); }

int32_t histogram_exponent(int32_t min, int32_t max, uint32_t cap) {
    const float lo = histogram_unkey(min), hi = histogram_unkey(max);
    const double most = fmax(lo < 0 ? -(double)lo : 0, hi > 0 ? (double)hi : 0);
    if (min > max || most == 0) return HISTOGRAM_EXP_MIN;
    int bits = 0, e = 0;
    while ((2u << bits) <= cap) bits++;
    (void)frexp(most, &e); /* most < 2^e */
    e -= bits;             /* bins of this width: most takes more than cap / 2 of them, and at most cap */
    if (e < HISTOGRAM_EXP_MIN) return HISTOGRAM_EXP_MIN;
    while (below(min, e) + above(max, e) > cap) e++;
    return e;
}

/* Bins of one table after the width grew by 2^shift. */
#define REBIN(name, type)                                                                                              \
    static void name(type *count, uint32_t cap, uint32_t n_below, uint32_t n_above, int32_t shift) {                   \
        if (shift > 31) shift = 31;                                                                                    \
        for (uint32_t k = 0; k < n_above; k++) {                                                                       \
            const type c = count[k];                                                                                   \
            count[k] = 0;                                                                                              \
            count[k >> shift] += c;                                                                                    \
        }                                                                                                              \
        for (uint32_t k = 0; k < n_below; k++) {                                                                       \
            const type c = count[cap - 1 - k];                                                                         \
            count[cap - 1 - k] = 0;                                                                                    \
            count[cap - 1 - (k >> shift)] += c;                                                                        \
        }                                                                                                              \
    }
REBIN(rebin32, uint32_t)
REBIN(rebin64, uint64_t)

void histogram_cover(histogram *h, int32_t min, int32_t max) {
    const int32_t lo = min < h->min ? min : h->min, hi = max > h->max ? max : h->max;
    const int32_t e = h->count ? histogram_exponent(lo, hi, h->cap) : h->exp;
    if (e > h->exp) {
        rebin64(h->count, h->cap, histogram_below(h), histogram_above(h), e - h->exp);
        h->exp = e;
    }
    h->min = lo;
    h->max = hi;
}

bool histogram_work_open(histogram_work *w, const pare_host *host, uint32_t cap) {
    memset(w, 0, sizeof *w);
    w->host = host;
    w->cap = cap;
    w->tables = calloc((size_t)HISTOGRAM_SLOTS * 2 * cap, sizeof *w->tables);
    return w->tables != NULL;
}

void histogram_work_close(histogram_work *w) {
    free(w->tables);
    w->tables = NULL;
}

bool histogram_reads(uint32_t dtype) {
    return dtype == PARE_FLOAT || dtype == PARE_FLOAT16 || dtype == PARE_BFLOAT16 || dtype == PARE_DOUBLE;
}

static float half_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h >> 15) << 31, e = h >> 10 & 31, m = h & 0x3FF;
    uint32_t bits;
    float x;
    if (e == 0) {
        x = ldexpf((float)m, -24);
        return sign ? -x : x;
    }
    bits = sign | (e == 31 ? 0x7F800000u : (e + 112) << 23) | m << 13;
    memcpy(&x, &bits, sizeof x);
    return x;
}

const float *histogram_floats(const void *data, uint32_t dtype, uint64_t first, uint32_t n, float *into) {
    switch (dtype) {
    case PARE_FLOAT: return (const float *)data + first;
    case PARE_FLOAT16:
        for (uint32_t i = 0; i < n; i++) into[i] = half_float(((const uint16_t *)data)[first + i]);
        break;
    case PARE_BFLOAT16:
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t bits = (uint32_t)((const uint16_t *)data)[first + i] << 16;
            memcpy(&into[i], &bits, sizeof bits);
        }
        break;
    default:
        for (uint32_t i = 0; i < n; i++) into[i] = (float)((const double *)data)[first + i];
    }
    return into;
}

typedef struct job {
    histogram_work *work;
    const histogram_loops *loops;
    const void *data;
    uint64_t n, slots;
    uint32_t dtype, cap;
    int32_t exp; /* to begin with */
    bool counts;
} job;

/* Where slot i begins; a multiple of 16 elements. */
static uint64_t slot_start(const job *j, uint64_t i) {
    const uint64_t units = (j->n + 15) / 16, whole = units / j->slots, rest = units % j->slots;
    const uint64_t at = (whole * i + (i < rest ? i : rest)) * 16;
    return at < j->n ? at : j->n;
}

static void count_block(const job *j, histogram_slot *s, const float *x, uint32_t n, uint32_t zeros) {
    uint32_t bin[HISTOGRAM_BLOCK + 16];
    uint32_t *even = s->table, *odd = s->table + j->cap, m = n, i = 0;
    const float inv = ldexpf(1, -s->exp);
    if (zeros > n / 4) {
        m = j->loops->bins_nonzero(x, n, inv, j->cap - 1, bin);
        even[0] += zeros;
    } else {
        j->loops->bins(x, n, inv, j->cap - 1, bin);
    }
    /* Neighbours often fall into one bin: two tables, so that a count need not wait for the one before it. Meanwhile
     * the next block is fetched; behind the last one that is nothing of ours, and does no harm. */
    const uintptr_t ahead = (uintptr_t)x + n * sizeof *x, half = m * sizeof *x;
    for (; i + 16 <= m; i += 16) {
        __builtin_prefetch((const void *)(ahead + i * sizeof *x));
        __builtin_prefetch((const void *)(ahead + half + i * sizeof *x));
        for (uint32_t k = i; k < i + 16; k += 2) {
            even[bin[k]]++;
            odd[bin[k + 1]]++;
        }
    }
    for (; i + 1 < m; i += 2) {
        even[bin[i]]++;
        odd[bin[i + 1]]++;
    }
    if (i < m) even[bin[i]]++;
}

static void scan_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    histogram_slot *s = &j->work->slot[index];
    const uint64_t end = slot_start(j, index + 1);
    float buffer[HISTOGRAM_BLOCK];
    *s = (histogram_slot){.table = j->work->tables + (size_t)index * 2 * j->work->cap,
                          .exp = j->exp,
                          .min = INT32_MAX,
                          .max = INT32_MIN,
                          .finite = true};
    for (uint64_t first = slot_start(j, index); first < end;) {
        const uint32_t n = end - first < HISTOGRAM_BLOCK ? (uint32_t)(end - first) : HISTOGRAM_BLOCK;
        const float *x = histogram_floats(j->data, j->dtype, first, n, buffer);
        int32_t min = s->min, max = s->max;
        uint64_t zeros = 0;
        j->loops->look(x, n, &min, &max, &zeros);
        if (min < HISTOGRAM_KEY_LEAST || max > HISTOGRAM_KEY_MOST) {
            s->finite = false;
            return;
        }
        if (j->counts && (min < s->min || max > s->max)) {
            const int32_t e = histogram_exponent(min, max, j->cap);
            if (e > s->exp) {
                const uint32_t n_below = s->n ? below(s->min, s->exp) : 0, n_above = s->n ? above(s->max, s->exp) : 0;
                rebin32(s->table, j->cap, n_below, n_above, e - s->exp);
                rebin32(s->table + j->cap, j->cap, n_below, n_above, e - s->exp);
                s->exp = e;
            }
        }
        if (j->counts) count_block(j, s, x, n, (uint32_t)zeros);
        s->min = min;
        s->max = max;
        s->n += n;
        s->zeros += zeros;
        first += n;
    }
}

/* A slot's counts into h, whose bins are at least as wide; its tables are zero again. */
static void merge_slot(histogram *h, histogram_slot *s) {
    const uint32_t cap = h->cap, n_above = above(s->max, s->exp), n_below = below(s->min, s->exp);
    const int32_t shift = h->exp - s->exp > 31 ? 31 : h->exp - s->exp;
    uint32_t *even = s->table, *odd = s->table + cap;
    for (uint32_t k = 0; k < n_above; k++) h->count[k >> shift] += (uint64_t)even[k] + odd[k];
    for (uint32_t k = 0; k < n_below; k++)
        h->count[cap - 1 - (k >> shift)] += (uint64_t)even[cap - 1 - k] + odd[cap - 1 - k];
    memset(even, 0, n_above * sizeof *even);
    memset(odd, 0, n_above * sizeof *odd);
    memset(even + cap - n_below, 0, n_below * sizeof *even);
    memset(odd + cap - n_below, 0, n_below * sizeof *odd);
}

static bool add_piece(histogram_work *w, histogram *h, const void *data, uint32_t dtype, uint64_t n, int32_t *min,
                      int32_t *max) {
    job j = {.work = w, .loops = histogram_loops_best(), .data = data, .n = n, .dtype = dtype, .cap = h->cap};
    j.slots = (n + HISTOGRAM_SLOT_ELEMENTS - 1) / HISTOGRAM_SLOT_ELEMENTS;
    if (j.slots > HISTOGRAM_SLOTS) j.slots = HISTOGRAM_SLOTS;
    j.exp = h->exp;
    j.counts = h->count != NULL;
    if (j.slots == 1)
        scan_slot(&j, 0);
    else
        w->host->parallel(w->host, j.slots, scan_slot, &j);
    bool finite = true;
    int32_t lo = INT32_MAX, hi = INT32_MIN;
    for (uint64_t i = 0; i < j.slots; i++) {
        finite &= w->slot[i].finite;
        lo = w->slot[i].min < lo ? w->slot[i].min : lo;
        hi = w->slot[i].max > hi ? w->slot[i].max : hi;
    }
    if (!finite) {
        memset(w->tables, 0, (size_t)HISTOGRAM_SLOTS * 2 * w->cap * sizeof *w->tables);
        return false;
    }
    histogram_cover(h, lo, hi);
    for (uint64_t i = 0; i < j.slots; i++) {
        if (j.counts) merge_slot(h, &w->slot[i]);
        h->n += w->slot[i].n;
        h->zeros += w->slot[i].zeros;
    }
    *min = lo < *min ? lo : *min;
    *max = hi > *max ? hi : *max;
    return true;
}

bool histogram_add(histogram_work *w, histogram *h, const void *data, uint32_t dtype, uint64_t n, int32_t *min,
                   int32_t *max) {
    const uint64_t piece = (uint64_t)1 << 34; /* a slot's counts stay below 2^32 */
    const uint64_t bytes = pare_dtype_bits(dtype) / 8;
    int32_t lo = INT32_MAX, hi = INT32_MIN;
    for (uint64_t first = 0; first < n; first += piece) {
        const uint64_t m = n - first < piece ? n - first : piece;
        if (!add_piece(w, h, (const char *)data + first * bytes, dtype, m, &lo, &hi)) return false;
    }
    if (min) *min = lo;
    if (max) *max = hi;
    return true;
}
