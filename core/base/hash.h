/* base/hash.h - SHA-256 (OpenSSL's libcrypto), streaming. May use: os (for pare_sink). */
#ifndef PARE_BASE_HASH_H
#define PARE_BASE_HASH_H

#include "base/os.h"

enum { PARE_SHA256_HEX = 65 }; /* 64 digits and NUL */

typedef struct pare_sha256 pare_sha256;
pare_sha256 *pare_sha256_new(void);
void pare_sha256_add(pare_sha256 *h, const void *data, size_t n);
void pare_sha256_end(pare_sha256 *h, char hex[PARE_SHA256_HEX]); /* frees h */
pare_sink pare_sha256_sink(pare_sha256 *h);
pare_status pare_sha256_file(const char *path, pare_diags *d, char hex[PARE_SHA256_HEX]);

#endif
