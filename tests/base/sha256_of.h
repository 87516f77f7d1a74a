/* tests/base/sha256_of.h - the hash of bytes in memory, for tests. */
#ifndef TESTS_SHA256_OF_H
#define TESTS_SHA256_OF_H

#include "base/hash.h"

static inline void sha256_of(const void *data, size_t n, char hex[PARE_SHA256_HEX]) {
    pare_sha256 *h = pare_sha256_new();
    pare_sha256_add(h, data, n);
    pare_sha256_end(h, hex);
}

#endif
