/* prune/count.c - see count.h. */
#include "count.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

/* The shortest decimal that reads back as x in (0, 1): x = digits / 10^scale. */
static void decimal(double x, uint64_t *digits, int *scale) {
    char text[64];
    for (int precision = 1; precision <= 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision - 1, x);
        if (precision == 17 || strtod(text, NULL) == x) break;
    }
    uint64_t value = 0;
    int after = -1; /* digits after the point; whatever sign the locale uses for it */
    const char *p = text;
    for (; *p && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') {
            value = value * 10 + (uint64_t)(*p - '0');
            if (after >= 0) after++;
        } else {
            after = 0;
        }
    }
    *digits = value;
    *scale = (after < 0 ? 0 : after) - (*p == 'e' ? (int)strtol(p + 1, NULL, 10) : 0);
}

uint64_t prune_count(double sparsity, uint64_t n) {
    if (!(sparsity > 0) || n == 0) return 0;
    if (sparsity >= 1) return n;
    uint64_t digits;
    int scale;
    decimal(sparsity, &digits, &scale);
    /* digits < 10^17 and n < 2^64: beyond 10^38 the product is far below a half. */
    if (scale > 38) return 0;
    u128 unit = 1;
    for (int i = 0; i < scale; i++) unit *= 10;
    const u128 product = (u128)digits * n;
    const u128 whole = product / unit, rest = product % unit, other = unit - rest;
    const bool up = rest > other || (rest == other && (whole & 1));
    return (uint64_t)whole + (up ? 1 : 0);
}

static bool number(const char **p, uint32_t *out) {
    uint32_t value = 0;
    const char *start = *p;
    while (**p >= '0' && **p <= '9' && *p - start < 3) value = value * 10 + (uint32_t)(*(*p)++ - '0');
    *out = value;
    return *p != start;
}

bool prune_pattern_parse(const char *text, uint32_t *n, uint32_t *m) {
    *n = *m = 0;
    if (strcmp(text, "none") == 0) return true;
    const char *p = text;
    uint32_t keep, group;
    if (!number(&p, &keep) || *p++ != ':' || !number(&p, &group) || *p) return false;
    if (keep < 1 || keep >= group || group > PRUNE_MAX_M) return false;
    *n = keep;
    *m = group;
    return true;
}

uint32_t prune_group_keep(uint32_t n, uint32_t m, uint32_t r) { return (n * r + m - 1) / m; }

uint64_t prune_pattern_count(uint32_t n, uint32_t m, uint64_t channels, uint64_t lines) {
    const uint32_t rest = (uint32_t)(channels % m);
    return (channels / m * (m - n) + (rest - prune_group_keep(n, m, rest))) * lines;
}
