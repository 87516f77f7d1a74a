/* base/mem.h - memory for bookkeeping: xmalloc, arenas, growable arrays.
 *
 * Is: small allocations whose failure can't be answered sensibly; they end the process with one line (exit 1).
 * Is not: for sizes that input decides. Those go through pare_try_alloc, which may fail and is answered with
 * PARE_ENOMEM. May use: the C library.
 */
#ifndef PARE_BASE_MEM_H
#define PARE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *pare_xmalloc(size_t n);
void *pare_xcalloc(size_t n, size_t size);
void *pare_xrealloc(void *p, size_t n);
char *pare_xstrdup(const char *s);
char *pare_xstrndup(const char *s, size_t n);

/* 64-byte aligned (2 MiB from 4 MiB on, for pare_memory_huge), contents undefined; NULL when there is no memory. Free
 * with free(). n may be 0. */
void *pare_try_alloc(size_t n);

/* Checked arithmetic on sizes that come from files: false on overflow, *out untouched. */
static inline bool pare_mul_ok(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool pare_add_ok(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* An arena: many small objects, freed at once. Not thread-safe. Zero-initialise to create. */
typedef struct pare_arena {
    struct pare_arena_block *head;
    size_t used, cap; /* of head */
} pare_arena;

void *pare_arena_alloc(pare_arena *a, size_t n);       /* 16-byte aligned, zeroed */
char *pare_arena_strdup(pare_arena *a, const char *s); /* s may be NULL: returns NULL */
char *pare_arena_strndup(pare_arena *a, const char *s, size_t n);
char *pare_arena_printf(pare_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *pare_arena_memdup(pare_arena *a, const void *p, size_t n);
void pare_arena_free(pare_arena *a); /* the arena may be used again */

/* A growable array: PARE_VEC(int) v = {0}; pare_vec_push(&v, 3); v.data[i], v.len; pare_vec_free(&v). */
#define PARE_VEC(T)                                                                                                    \
    struct {                                                                                                           \
        T *data;                                                                                                       \
        size_t len, cap;                                                                                               \
    }
void *pare_vec_grow_(void *data, size_t *cap, size_t need, size_t elem);
#define pare_vec_reserve(v, n)                                                                                         \
    do {                                                                                                               \
        if ((v)->cap < (n)) (v)->data = pare_vec_grow_((v)->data, &(v)->cap, (n), sizeof *(v)->data);                  \
    } while (0)
#define pare_vec_push(v, x)                                                                                            \
    do {                                                                                                               \
        pare_vec_reserve(v, (v)->len + 1);                                                                             \
        (v)->data[(v)->len++] = (x);                                                                                   \
    } while (0)
#define pare_vec_free(v)                                                                                               \
    do {                                                                                                               \
        free((v)->data);                                                                                               \
        (v)->data = NULL;                                                                                              \
        (v)->len = (v)->cap = 0;                                                                                       \
    } while (0)

#endif
