/* pare/random.h - the counter-based generator: same seed, stream and index, same number, on every machine.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). No state: any thread may ask
 * for any index. [any]. May include: the C library only.
 */
#ifndef PARE_RANDOM_H
#define PARE_RANDOM_H

#include <stdint.h>

/* Four words for counter `i` of a stream under a seed. */
static inline void pare_philox(uint64_t seed, uint64_t stream, uint64_t i, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)i, c1 = (uint32_t)(i >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The i-th 64-bit number of a stream: words 0 and 1 of counter i/2, or words 2 and 3. */
static inline uint64_t pare_random_u64(uint64_t seed, uint64_t stream, uint64_t i) {
    uint32_t w[4];
    pare_philox(seed, stream, i >> 1, w);
    return i & 1 ? (uint64_t)w[3] << 32 | w[2] : (uint64_t)w[1] << 32 | w[0];
}

/* The i-th number of a stream in [0, 1), 53 bits. */
static inline double pare_random_double(uint64_t seed, uint64_t stream, uint64_t i) {
    return (double)(pare_random_u64(seed, stream, i) >> 11) * 0x1p-53;
}

/* A stream's number from its name (FNV-1a, 64 bits): pare_random_stream("fc.weight"). */
static inline uint64_t pare_random_stream(const char *name) {
    uint64_t h = 14695981039346656037u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h;
}

#endif
