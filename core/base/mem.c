/* base/mem.c - see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16 * 1024, ALIGN = 16, HUGE_PAGE = 2 << 20 };

struct pare_arena_block {
    struct pare_arena_block *next;
    size_t pad; /* keeps data 16-byte aligned */
    unsigned char data[];
};

static _Noreturn void out_of_memory(size_t n) {
    fprintf(stderr, "pare: error: out of memory: %zu bytes for bookkeeping could not be had\n", n);
    exit(1);
}

void *pare_xmalloc(size_t n) {
    void *p = malloc(n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

void *pare_xcalloc(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) out_of_memory(n * size);
    return p;
}

void *pare_xrealloc(void *p, size_t n) {
    p = realloc(p, n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

char *pare_xstrndup(const char *s, size_t n) {
    char *p = pare_xmalloc(n + 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *pare_xstrdup(const char *s) { return pare_xstrndup(s, strlen(s)); }

void *pare_try_alloc(size_t n) {
    /* from two huge pages on, pare_memory_huge then reaches all of it; what is added is never touched */
    size_t align = n >= 2 * HUGE_PAGE ? HUGE_PAGE : 64;
    if (n > SIZE_MAX - HUGE_PAGE) return NULL;
    size_t rounded = (n + align - 1) & ~(align - 1);
    return aligned_alloc(align, rounded ? rounded : align);
}

void *pare_arena_alloc(pare_arena *a, size_t n) {
    if (n > SIZE_MAX / 2) out_of_memory(n);
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!a->head || a->cap - a->used < n) {
        size_t cap = n > BLOCK ? n : BLOCK;
        struct pare_arena_block *b = pare_xmalloc(sizeof *b + cap);
        b->next = a->head;
        a->head = b;
        a->cap = cap;
        a->used = 0;
    }
    void *p = a->head->data + a->used;
    a->used += n;
    memset(p, 0, n);
    return p;
}

char *pare_arena_strndup(pare_arena *a, const char *s, size_t n) {
    if (!s) return NULL;
    char *p = pare_arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *pare_arena_strdup(pare_arena *a, const char *s) { return s ? pare_arena_strndup(a, s, strlen(s)) : NULL; }

void *pare_arena_memdup(pare_arena *a, const void *p, size_t n) {
    void *q = pare_arena_alloc(a, n ? n : 1);
    if (n) memcpy(q, p, n);
    return q;
}

char *pare_arena_printf(pare_arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = pare_arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
    if (n > 0) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void pare_arena_free(pare_arena *a) {
    struct pare_arena_block *b = a->head;
    while (b) {
        struct pare_arena_block *next = b->next;
        free(b);
        b = next;
    }
    *a = (pare_arena){0};
}

void *pare_vec_grow_(void *data, size_t *cap, size_t need, size_t elem) {
    size_t c = *cap ? *cap * 2 : 8;
    if (c < need) c = need;
    if (c > SIZE_MAX / elem) out_of_memory(SIZE_MAX);
    data = pare_xrealloc(data, c * elem);
    *cap = c;
    return data;
}
