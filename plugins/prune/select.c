/* prune/select.c - see select.h. The N:M half is groups.c. */
#include "select.h"

#include <string.h>

typedef struct job {
    prune_work *work;
    const prune_source *source;
    const prune_search *search;
    prune_threshold threshold;
    uint64_t slots;
    bool look_for_nan;
} job;

static uint64_t slots_of(uint64_t count) {
    const uint64_t units = (count + PRUNE_SLOT_ELEMENTS - 1) / PRUNE_SLOT_ELEMENTS;
    return units < PRUNE_SLOTS ? units : PRUNE_SLOTS;
}

/* Where slot i of a job begins; slot i + 1's beginning is its end. */
static uint64_t slot_start(const job *j, uint64_t i) {
    const uint64_t units = (j->source->count + PRUNE_SLOT_ELEMENTS - 1) / PRUNE_SLOT_ELEMENTS;
    const uint64_t whole = units / j->slots, rest = units % j->slots;
    const uint64_t at = (whole * i + (i < rest ? i : rest)) * PRUNE_SLOT_ELEMENTS;
    return at < j->source->count ? at : j->source->count;
}

static uint32_t block_of(uint64_t first, uint64_t end) {
    return end - first < PRUNE_BLOCK ? (uint32_t)(end - first) : PRUNE_BLOCK;
}

static uint32_t digit_bits(uint32_t open) { return open < PRUNE_DIGIT ? open : PRUNE_DIGIT; }

void prune_search_begin(prune_search *s, prune_work *work, uint32_t key_bits, uint64_t k) {
    memset(s, 0, sizeof *s);
    s->left = k;
    s->open = key_bits;
    memset(work->total, 0, sizeof work->total);
}

/* Nearly every weight is a float32 and compared by its bits: the loops of scan_slot and write_slot over those, without
 * the way through a block of 64-bit keys. Three times as fast; the tests hold both ways against the same sort. */
static bool is_plain_f32(const prune_source *s) {
    return s->dtype == PARE_FLOAT && !s->wide && !s->quantized && !s->random;
}

static uint64_t scan_f32(const prune_search *s, const uint32_t *restrict w, uint64_t n, uint64_t *restrict hist) {
    const uint32_t taken = digit_bits(s->open), shift = s->open - taken, mask = (1u << taken) - 1;
    const uint32_t magnitude = 0x7FFFFFFFu, infinity = 0x7F800000u, prefix = (uint32_t)s->prefix, open = s->open;
    if (s->passes) {
        /* Few keys begin with the prefix: sixteen at a time are asked, in vectors, whether any does. */
        for (uint64_t i = 0; i < n;) {
            const uint64_t end = n - i < 16 ? n : i + 16;
            uint32_t hits = 0;
            for (uint64_t k = i; k < end; k++) hits += ((w[k] & magnitude) ^ prefix) >> open == 0;
            if (!hits) {
                i = end;
                continue;
            }
            for (; i < end; i++) {
                const uint32_t key = w[i] & magnitude;
                if ((key ^ prefix) >> open == 0) hist[key >> shift & mask]++;
            }
        }
        return 0;
    }
    /* Neighbours often fall into one bucket: two histograms, so that a count need not wait for the one before it. */
    uint64_t other[PRUNE_BUCKETS] = {0}, i = 0;
    uint32_t nans = 0;
    for (; i + 1 < n; i += 2) {
        const uint32_t key0 = w[i] & magnitude, key1 = w[i + 1] & magnitude;
        nans |= (infinity - key0) >> 31 | (infinity - key1) >> 31;
        hist[key0 >> shift]++;
        other[key1 >> shift]++;
    }
    if (i < n) {
        nans |= (infinity - (w[i] & magnitude)) >> 31;
        hist[(w[i] & magnitude) >> shift]++;
    }
    for (uint32_t b = 0; b < PRUNE_BUCKETS; b++) hist[b] += other[b];
    return nans;
}

/* All ties go: no branch, so that the compiler makes vectors of it. */
static uint64_t write_f32(uint32_t *w, uint64_t n, uint32_t at) {
    uint64_t left = 0;
    for (uint64_t i = 0; i < n;) {
        const uint64_t end = n - i < PRUNE_SLOT_ELEMENTS ? n : i + PRUNE_SLOT_ELEMENTS;
        uint32_t kept = 0;
        for (; i < end; i++) {
            const bool keep = (int32_t)(w[i] & 0x7FFFFFFFu) > (int32_t)at;
            w[i] = keep ? w[i] : 0;
            kept += keep;
        }
        left += kept;
    }
    return left;
}

static void scan_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    const prune_search *s = j->search;
    uint64_t *restrict hist = j->work->slot[index];
    const uint32_t taken = digit_bits(s->open), shift = s->open - taken, mask = (1u << taken) - 1;
    const uint64_t end = slot_start(j, index + 1), prefix = s->prefix, open = s->open;
    uint64_t key[PRUNE_BLOCK], nans = 0;
    memset(hist, 0, sizeof j->work->slot[index]);
    if (is_plain_f32(j->source)) {
        const uint64_t first = slot_start(j, index);
        j->work->count[index] = scan_f32(s, (const uint32_t *)(const void *)j->source->data + first, end - first, hist);
        return;
    }
    for (uint64_t first = slot_start(j, index); first < end;) {
        const uint32_t n = block_of(first, end);
        if (j->look_for_nan) {
            prune_magnitudes(j->source, first, n, key);
            for (uint32_t i = 0; i < n; i++) nans |= (j->source->nan_above - key[i]) >> 63;
        }
        if (!j->look_for_nan || j->source->random) prune_keys(j->source, first, n, key);
        if (s->passes == 0) {
            for (uint32_t i = 0; i < n; i++) hist[(uint32_t)(key[i] >> shift) & mask]++;
        } else {
            for (uint32_t i = 0; i < n; i++)
                if ((key[i] ^ prefix) >> open == 0) hist[(uint32_t)(key[i] >> shift) & mask]++;
        }
        first += n;
    }
    j->work->count[index] = nans;
}

bool prune_search_scan(prune_search *s, prune_work *work, const prune_source *source) {
    job j = {
        .work = work, .source = source, .search = s, .slots = slots_of(source->count), .look_for_nan = s->passes == 0};
    bool nan = false;
    work->host->parallel(work->host, j.slots, scan_slot, &j);
    for (uint64_t i = 0; i < j.slots; i++) {
        nan |= work->count[i] != 0;
        for (uint32_t b = 0; b < PRUNE_BUCKETS; b++) work->total[b] += work->slot[i][b];
    }
    return !nan;
}

void prune_search_next(prune_search *s, prune_work *work) {
    const uint32_t taken = digit_bits(s->open), last = (1u << taken) - 1;
    uint32_t b = 0;
    while (b < last && s->left > work->total[b]) s->left -= work->total[b++];
    s->open -= taken;
    s->prefix |= (uint64_t)b << s->open;
    s->passes++;
    if (s->left >= work->total[b]) { /* all that starts like this goes: the remaining bits do not matter */
        s->threshold.key = s->prefix | (((uint64_t)1 << s->open) - 1);
        s->threshold.ties = UINT64_MAX;
        s->found = true;
    } else if (s->open == 0) {
        s->threshold.key = s->prefix;
        s->threshold.ties = s->left;
        s->found = true;
    }
    memset(work->total, 0, sizeof work->total);
}

static void tie_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    const uint64_t end = slot_start(j, index + 1), at = j->threshold.key;
    uint64_t key[PRUNE_BLOCK], ties = 0;
    for (uint64_t first = slot_start(j, index); first < end;) {
        const uint32_t n = block_of(first, end);
        prune_keys(j->source, first, n, key);
        for (uint32_t i = 0; i < n; i++) ties += key[i] == at;
        first += n;
    }
    j->work->count[index] = ties;
}

/* count[index]: the ties this slot may take. */
static void write_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    const uint64_t end = slot_start(j, index + 1), at = j->threshold.key;
    uint64_t key[PRUNE_BLOCK], ties = j->work->count[index], nonzero = 0;
    uint8_t gone[PRUNE_BLOCK];
    if (is_plain_f32(j->source) && ties == UINT64_MAX) {
        const uint64_t first = slot_start(j, index);
        uint32_t *w = (uint32_t *)(void *)j->source->data + first;
        j->work->nonzero[index] = write_f32(w, end - first, (uint32_t)at);
        return;
    }
    for (uint64_t first = slot_start(j, index); first < end;) {
        const uint32_t n = block_of(first, end);
        prune_keys(j->source, first, n, key);
        if (ties == UINT64_MAX) {
            for (uint32_t i = 0; i < n; i++) gone[i] = key[i] <= at;
        } else {
            for (uint32_t i = 0; i < n; i++) {
                const bool tie = key[i] == at && ties > 0;
                ties -= tie;
                gone[i] = key[i] < at || tie;
            }
        }
        for (uint32_t i = 0; i < n; i++) nonzero += key[i] != 0 && !gone[i];
        prune_zero(j->source, first, n, gone);
        first += n;
    }
    j->work->nonzero[index] = nonzero;
}

uint64_t prune_write(prune_work *work, const prune_source *source, prune_threshold *threshold) {
    job j = {.work = work, .source = source, .threshold = *threshold, .slots = slots_of(source->count)};
    uint64_t nonzero = 0;
    if (threshold->ties == UINT64_MAX || threshold->ties == 0) {
        for (uint64_t i = 0; i < j.slots; i++) work->count[i] = threshold->ties;
    } else {
        work->host->parallel(work->host, j.slots, tie_slot, &j);
        for (uint64_t i = 0; i < j.slots; i++) {
            if (work->count[i] > threshold->ties) work->count[i] = threshold->ties;
            threshold->ties -= work->count[i];
        }
    }
    work->host->parallel(work->host, j.slots, write_slot, &j);
    for (uint64_t i = 0; i < j.slots; i++) nonzero += work->nonzero[i];
    return nonzero;
}

static void nonzero_slot(void *ctx, uint64_t index) {
    const job *j = ctx;
    const uint64_t end = slot_start(j, index + 1);
    uint64_t key[PRUNE_BLOCK], nonzero = 0;
    for (uint64_t first = slot_start(j, index); first < end;) {
        const uint32_t n = block_of(first, end);
        prune_magnitudes(j->source, first, n, key);
        for (uint32_t i = 0; i < n; i++) nonzero += key[i] != 0;
        first += n;
    }
    j->work->nonzero[index] = nonzero;
}

uint64_t prune_nonzero(prune_work *work, const prune_source *source) {
    job j = {.work = work, .source = source, .slots = slots_of(source->count)};
    uint64_t nonzero = 0;
    work->host->parallel(work->host, j.slots, nonzero_slot, &j);
    for (uint64_t i = 0; i < j.slots; i++) nonzero += work->nonzero[i];
    return nonzero;
}
