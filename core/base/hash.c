/* base/hash.c - see hash.h. */
#define _POSIX_C_SOURCE 200809L
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pare_sha256 {
    EVP_MD_CTX *ctx;
};

/* libcrypto fails here only without memory or with a broken installation: neither has a sensible answer. */
static void need(int ok) {
    if (ok) return;
    fprintf(stderr, "pare: error: libcrypto can't compute SHA-256\n");
    exit(1);
}

pare_sha256 *pare_sha256_new(void) {
    pare_sha256 *h = pare_xmalloc(sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    need(h->ctx && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1);
    return h;
}

void pare_sha256_add(pare_sha256 *h, const void *data, size_t n) {
    if (n) need(EVP_DigestUpdate(h->ctx, data, n) == 1);
}

void pare_sha256_end(pare_sha256 *h, char hex[PARE_SHA256_HEX]) {
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    need(EVP_DigestFinal_ex(h->ctx, md, &n) == 1 && n == 32);
    static const char digit[] = "0123456789abcdef";
    for (unsigned int i = 0; i < 32; i++) {
        hex[2 * i] = digit[md[i] >> 4];
        hex[2 * i + 1] = digit[md[i] & 15];
    }
    hex[64] = 0;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

static pare_status sink_write(void *ctx, const void *data, size_t n) {
    pare_sha256_add(ctx, data, n);
    return PARE_OK;
}

pare_sink pare_sha256_sink(pare_sha256 *h) { return (pare_sink){sink_write, h}; }

/* Read rather than mapped: a hash should not count as memory in use. */
pare_status pare_sha256_file(const char *path, pare_diags *d, char hex[PARE_SHA256_HEX]) {
    enum { CHUNK = 1 << 18 };
    hex[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0 || S_ISDIR(s.st_mode)) {
        if (fd >= 0) close(fd);
        pare_map_file *m = NULL; /* it knows how to say why */
        pare_status st = pare_map_file_open(path, d, &m);
        pare_map_file_unref(m);
        return st == PARE_OK ? PARE_EIO : st;
    }
    pare_sha256 *h = pare_sha256_new();
    unsigned char *buffer = pare_xmalloc(CHUNK);
    int err = 0;
    for (;;) {
        ssize_t n = read(fd, buffer, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) err = errno;
        if (n <= 0) break;
        pare_sha256_add(h, buffer, (size_t)n);
    }
    close(fd);
    free(buffer);
    pare_sha256_end(h, hex);
    if (!err) return PARE_OK;
    hex[0] = 0;
    return pare_fail_file(d, PARE_EIO, path, "file.read", NULL, "can't be read: %s", strerror(err));
}
