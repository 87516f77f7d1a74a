/* base/str.h - strings: a builder, a string-to-number map, nearest names, patterns.
 *
 * May use: mem.h.
 */
#ifndef PARE_BASE_STR_H
#define PARE_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string builder; zero-initialise to create. data is NUL-terminated after the first append (NULL before). */
typedef struct pare_sb {
    char *data;
    size_t len, cap;
} pare_sb;
void pare_sb_add(pare_sb *b, const char *s);
void pare_sb_addn(pare_sb *b, const char *s, size_t n);
void pare_sb_addc(pare_sb *b, char c);
void pare_sb_printf(pare_sb *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pare_sb_vprintf(pare_sb *b, const char *fmt, va_list ap);
const char *pare_sb_str(const pare_sb *b); /* "" when nothing was added */
void pare_sb_free(pare_sb *b);

/* Appends s with control characters (C0, DEL, C1, and bytes that aren't UTF-8) as \xNN, so that text from files
 * can't drive a terminal. Newlines and tabs are escaped too. */
void pare_sb_add_safe(pare_sb *b, const char *s, size_t n);

/* A map from strings (not owned: they must outlive the map) to u32. Zero-initialise to create. */
typedef struct pare_map {
    struct pare_map_slot *slots;
    size_t len, cap;
} pare_map;
bool pare_map_get(const pare_map *m, const char *key, uint32_t *out); /* false: absent, *out untouched */
void pare_map_set(pare_map *m, const char *key, uint32_t value);
void pare_map_del(pare_map *m, const char *key);
void pare_map_free(pare_map *m);

/* The name nearest to `word` by edit distance (with transpositions), or NULL when none is near enough to suggest. */
const char *pare_nearest(const char *word, const char *const *names, size_t n);

/* Valid UTF-8 (no surrogates, no overlong forms)? */
bool pare_utf8_ok(const char *s, size_t n);

/* Does a glob (* any run, ? one byte, [abc] a set, [!abc] or [^abc] not, \ takes the next literally) match all of s? */
bool pare_glob(const char *pattern, const char *s);

/* "46.8 MB", "812 B": decimal units (1 MB = 10^6 bytes), three or four significant digits. */
void pare_sb_bytes(pare_sb *b, uint64_t n);
/* "11,689,512" */
void pare_sb_count(pare_sb *b, uint64_t n);

#endif
