/* tests/base/tmpdir.h - what base's tests share: a folder of one's own, a file's text, diagnostics kept silent. */
#ifndef PARE_TESTS_TMPDIR_H
#define PARE_TESTS_TMPDIR_H

#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char tmpdir_path[4096];

/* cmocka's group set-up and tear-down. */
static int tmpdir_make(void **state) {
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(tmpdir_path, sizeof tmpdir_path, "%s/pare-test-XXXXXX", root && *root ? root : "/tmp");
    return mkdtemp(tmpdir_path) ? 0 : -1;
}

static int tmpdir_remove(void **state) {
    (void)state;
    return pare_tree_remove(tmpdir_path, NULL) == PARE_OK ? 0 : -1;
}

/* A path in the folder; valid for the next seven calls. */
static inline const char *in_tmp(const char *name) {
    static char ring[8][4400];
    static unsigned at;
    char *p = ring[at++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", tmpdir_path, name);
    return p;
}

static inline void put_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    fwrite(text, 1, strlen(text), f);
    fclose(f);
}

/* The file's bytes, NUL-terminated; the caller frees. NULL when it can't be opened. */
static inline char *get_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    size_t cap = 1 << 16, len = 0, k;
    char *p = pare_xmalloc(cap);
    while ((k = fread(p + len, 1, cap - len - 1, f)) > 0) {
        len += k;
        if (cap - len < 2) p = pare_xrealloc(p, cap *= 2);
    }
    fclose(f);
    p[len] = 0;
    if (n) *n = len;
    return p;
}

#endif
