/* prune/choose.c - see choose.h. */
#include "choose.h"

#include <pare/random.h>
#include <string.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

uint64_t prune_bits_count(const uint8_t *bits, uint64_t n) {
    uint64_t set = 0;
    for (uint64_t i = 0; i < n; i++) set += prune_bit(bits, i);
    return set;
}

bool prune_key_magnitude(const float *x, const uint8_t *bits, uint64_t n, uint64_t *key) {
    const uint32_t infinity = 0x7F800000u;
    uint32_t nans = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t size = bits_of(x[i]) & 0x7FFFFFFFu, lives = !bits || prune_bit(bits, i);
        nans |= lives & (infinity - size) >> 31;
        key[i] = lives ? (uint64_t)size + 1 : 0;
    }
    return !nans;
}

bool prune_key_signed(const float *x, const uint8_t *bits, uint64_t n, uint64_t *key) {
    const uint32_t infinity = 0x7F800000u, sign = 0x80000000u;
    uint32_t nans = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t u = bits_of(x[i]);
        const uint32_t lives = !bits || prune_bit(bits, i);
        nans |= lives & (infinity - (u & ~sign)) >> 31;
        if (u == sign) u = 0; /* -0 is 0 */
        key[i] = lives ? (uint64_t)(u & sign ? ~u : u | sign) + 1 : 0;
    }
    return !nans;
}

void prune_key_drawn(uint64_t seed, uint64_t stream, const uint8_t *bits, uint64_t n, uint64_t *key) {
    for (uint64_t i = 0; i < n; i++)
        key[i] = !bits || prune_bit(bits, i) ? (pare_random_u64(seed, stream, i) >> 2) + 1 : 0;
}

uint64_t prune_key_mask(const uint64_t *key, uint64_t n, uint8_t *bits) {
    uint64_t left = 0;
    memset(bits, 0, (size_t)((n + 7) / 8));
    for (uint64_t i = 0; i < n; i++) {
        const bool lives = key[i] != 0;
        bits[i / 8] |= (uint8_t)(lives << i % 8);
        left += lives;
    }
    return left;
}

void prune_key_remove(prune_work *work, uint64_t *key, uint64_t n, uint32_t key_bits, uint64_t gone) {
    prune_source source;
    prune_search s;
    if (!gone) return;
    prune_source_keys(&source, key, n, key_bits);
    prune_search_begin(&s, work, key_bits, gone);
    while (!s.found) {
        prune_search_scan(&s, work, &source);
        prune_search_next(&s, work);
    }
    prune_write(work, &source, &s.threshold);
}

bool prune_rigl(prune_work *work, const float *weights, uint64_t n, double share, uint64_t *grow, uint32_t grow_bits,
                uint64_t *key, uint8_t *bits, uint64_t *grown) {
    const uint64_t living = prune_bits_count(bits, n), dropped = (uint64_t)(share * (double)living);
    *grown = 0;
    if (!prune_key_magnitude(weights, bits, n, key)) return false;
    if (!dropped) return true;
    prune_key_remove(work, key, n, PRUNE_KEY_MAGNITUDE, n - living + dropped);
    for (uint64_t i = 0; i < n; i++)
        if (key[i]) grow[i] = 0; /* lives already */
    prune_key_remove(work, grow, n, grow_bits, n - dropped);
    for (uint64_t i = 0; i < n; i++) {
        *grown += grow[i] && !prune_bit(bits, i);
        key[i] |= grow[i];
    }
    prune_key_mask(key, n, bits);
    return true;
}
