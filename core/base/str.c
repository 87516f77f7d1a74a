/* base/str.c - see str.h. */
#include "base/str.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- builder ---- */

static void sb_room(pare_sb *b, size_t n) {
    if (b->cap - b->len > n) return;
    b->data = pare_vec_grow_(b->data, &b->cap, b->len + n + 1, 1);
}

void pare_sb_addn(pare_sb *b, const char *s, size_t n) {
    sb_room(b, n);
    if (n) memcpy(b->data + b->len, s, n);
    b->len += n;
    b->data[b->len] = 0;
}

void pare_sb_add(pare_sb *b, const char *s) { pare_sb_addn(b, s, strlen(s)); }
void pare_sb_addc(pare_sb *b, char c) { pare_sb_addn(b, &c, 1); }
const char *pare_sb_str(const pare_sb *b) { return b->data ? b->data : ""; }

void pare_sb_vprintf(pare_sb *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0) {
        sb_room(b, (size_t)n);
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void pare_sb_printf(pare_sb *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(b, fmt, ap);
    va_end(ap);
}

void pare_sb_free(pare_sb *b) {
    free(b->data);
    *b = (pare_sb){0};
}

/* ---- UTF-8 ---- */

/* Length of the valid sequence at s (1..4), or 0; *cp gets the code point. */
static size_t utf8_at(const unsigned char *s, size_t n, uint32_t *cp) {
    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < len) return 0;
    uint32_t v = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        v = v << 6 | (s[i] & 0x3f);
    }
    if ((len == 3 && v < 0x800) || (len == 4 && v < 0x10000) || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return 0;
    *cp = v;
    return len;
}

bool pare_utf8_ok(const char *s, size_t n) {
    uint32_t cp;
    for (size_t i = 0, k; i < n; i += k)
        if (!(k = utf8_at((const unsigned char *)s + i, n - i, &cp))) return false;
    return true;
}

void pare_sb_add_safe(pare_sb *b, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t k = utf8_at((const unsigned char *)s + i, n - i, &cp);
        /* C0, DEL, C1; bidirectional overrides and isolates would reorder what the reader sees */
        bool bad = !k || cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x202a && cp <= 0x202e) ||
                   (cp >= 0x2066 && cp <= 0x2069);
        if (!k) k = 1;
        if (bad)
            for (size_t j = 0; j < k; j++) pare_sb_printf(b, "\\x%02x", (unsigned char)s[i + j]);
        else
            pare_sb_addn(b, s + i, k);
        i += k;
    }
}

/* ---- map: open addressing, FNV-1a, backward-shift deletion ---- */

struct pare_map_slot {
    const char *key; /* NULL: free */
    uint32_t value, hash;
};

static uint32_t hash_str(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h ^ h >> 15;
}

static size_t map_find(const pare_map *m, const char *key, uint32_t h) {
    size_t i = h & (m->cap - 1);
    while (m->slots[i].key && (m->slots[i].hash != h || strcmp(m->slots[i].key, key) != 0)) i = (i + 1) & (m->cap - 1);
    return i;
}

bool pare_map_get(const pare_map *m, const char *key, uint32_t *out) {
    if (!m->cap) return false;
    size_t i = map_find(m, key, hash_str(key));
    if (!m->slots[i].key) return false;
    *out = m->slots[i].value;
    return true;
}

void pare_map_set(pare_map *m, const char *key, uint32_t value) {
    if ((m->len + 1) * 4 > m->cap * 3) {
        pare_map old = *m;
        m->cap = old.cap ? old.cap * 2 : 16;
        m->slots = pare_xcalloc(m->cap, sizeof *m->slots);
        for (size_t i = 0; i < old.cap; i++)
            if (old.slots[i].key) m->slots[map_find(m, old.slots[i].key, old.slots[i].hash)] = old.slots[i];
        free(old.slots);
    }
    uint32_t h = hash_str(key);
    size_t i = map_find(m, key, h);
    if (!m->slots[i].key) m->len++;
    m->slots[i] = (struct pare_map_slot){key, value, h};
}

void pare_map_del(pare_map *m, const char *key) {
    if (!m->cap) return;
    size_t mask = m->cap - 1, i = map_find(m, key, hash_str(key));
    if (!m->slots[i].key) return;
    m->len--;
    for (size_t j = i;;) {
        j = (j + 1) & mask;
        if (!m->slots[j].key) break;
        if (((j - (m->slots[j].hash & mask)) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i].key = NULL;
}

void pare_map_free(pare_map *m) {
    free(m->slots);
    *m = (pare_map){0};
}

/* ---- nearest name: optimal string alignment distance ---- */

static unsigned distance(const char *a, const char *b, unsigned limit) {
    size_t n = strlen(a), m = strlen(b);
    if (n > 63 || m > 63 || (n > m ? n - m : m - n) > limit) return limit + 1;
    unsigned d[3][64];
    for (size_t j = 0; j <= m; j++) d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *cur = d[i % 3], *prev = d[(i + 2) % 3], *prev2 = d[(i + 1) % 3];
        cur[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned v = prev[j - 1] + (a[i - 1] != b[j - 1]);
            if (prev[j] + 1 < v) v = prev[j] + 1;
            if (cur[j - 1] + 1 < v) v = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && prev2[j - 2] + 1 < v)
                v = prev2[j - 2] + 1;
            cur[j] = v;
        }
    }
    return d[n % 3][m];
}

const char *pare_nearest(const char *word, const char *const *names, size_t n) {
    size_t len = strlen(word);
    unsigned best = len <= 2 ? 1 : len <= 5 ? 2 : 3;
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!names[i]) continue;
        unsigned d = distance(word, names[i], best);
        if (d < best || (d == best && !found)) {
            best = d;
            found = names[i];
        }
    }
    if (found || len < 3) return found;
    for (size_t i = 0; i < n; i++) /* "resnet" for "resnet18", "unstructured" for "prune.unstructured" */
        if (names[i] && (strstr(names[i], word) || (strlen(names[i]) >= 3 && strstr(word, names[i])))) return names[i];
    return NULL;
}

/* ---- globs: iterative, no backtracking blow-up ---- */

static bool set_match(const char **pp, unsigned char c) {
    const char *p = *pp + 1;
    bool negate = *p == '!' || *p == '^', hit = false;
    if (negate) p++;
    const char *first = p;
    while (*p && (*p != ']' || p == first)) {
        unsigned char lo = (unsigned char)*p, hi = lo;
        if (p[1] == '-' && p[2] && p[2] != ']') {
            hi = (unsigned char)p[2];
            p += 2;
        }
        if (c >= lo && c <= hi) hit = true;
        p++;
    }
    if (!*p) { /* no closing bracket: a literal '[' */
        (*pp)++;
        return c == '[';
    }
    *pp = p + 1;
    return hit != negate;
}

bool pare_glob(const char *p, const char *s) {
    const char *star = NULL, *back = NULL;
    for (;;) {
        if (*p == '*') {
            star = ++p;
            back = s;
            continue;
        }
        if (!*s) {
            if (!*p) return true;
        } else {
            const char *q = p;
            bool ok = false;
            if (*p == '?')
                q++, ok = true;
            else if (*p == '[')
                ok = set_match(&q, (unsigned char)*s);
            else if (*p) {
                if (*q == '\\' && q[1]) q++;
                ok = *q == *s;
                q++;
            }
            if (ok) {
                p = q;
                s++;
                continue;
            }
        }
        if (!star || !*back) return false;
        p = star;
        s = ++back;
    }
}

/* ---- numbers for people ---- */

void pare_sb_bytes(pare_sb *b, uint64_t n) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 999.5 && u < 6) v /= 1000, u++;
    if (!u)
        pare_sb_printf(b, "%" PRIu64 " B", n);
    else
        pare_sb_printf(b, v < 9.995 ? "%.2f %s" : "%.1f %s", v, unit[u]);
}

void pare_sb_count(pare_sb *b, uint64_t n) {
    char t[32];
    int len = snprintf(t, sizeof t, "%" PRIu64, n);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) pare_sb_addc(b, ',');
        pare_sb_addc(b, t[i]);
    }
}
