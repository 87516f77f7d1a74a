/* base/json.c - see json.h. Its own printer: jansson's writes 0.1 as 0.10000000000000001 and every number of a shape on
 * a line of its own. */
#include "base/json.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

json_t *pare_json_str(const char *s) {
    if (!s) return json_null();
    size_t n = strlen(s);
    if (pare_utf8_ok(s, n)) return json_stringn(s, n);
    pare_sb b = {0};
    for (size_t i = 0; i < n;) {
        size_t k = 1;
        while (k < 4 && i + k < n && ((unsigned char)s[i + k] & 0xc0) == 0x80) k++;
        if (pare_utf8_ok(s + i, k))
            pare_sb_addn(&b, s + i, k);
        else
            for (size_t j = 0; j < k; j++) {
                if ((unsigned char)s[i + j] < 0x80)
                    pare_sb_addc(&b, s[i + j]);
                else
                    pare_sb_add(&b, "\xef\xbf\xbd");
            }
        i += k;
    }
    json_t *j = json_stringn(pare_sb_str(&b), b.len);
    pare_sb_free(&b);
    return j;
}

/* s is UTF-8. What could drive a terminal is written as \u escapes, which mean the same to a parser. */
static void add_string(pare_sb *b, const char *s, size_t n) {
    pare_sb_addc(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned char c1 = i + 1 < n ? (unsigned char)s[i + 1] : 0, c2 = i + 2 < n ? (unsigned char)s[i + 2] : 0;
        if (c == '"' || c == '\\') {
            pare_sb_addc(b, '\\');
            pare_sb_addc(b, (char)c);
        } else if (c == '\n') {
            pare_sb_add(b, "\\n");
        } else if (c == '\t') {
            pare_sb_add(b, "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            pare_sb_printf(b, "\\u%04x", c);
        } else if (c == 0xc2 && c1 < 0xa0) { /* C1 controls */
            pare_sb_printf(b, "\\u%04x", c1);
            i++;
        } else if (c == 0xe2 &&
                   ((c1 == 0x80 && c2 >= 0xaa && c2 <= 0xae) || (c1 == 0x81 && c2 >= 0xa6 && c2 <= 0xa9))) {
            pare_sb_printf(b, "\\u%04x", 0x2000u | (c1 & 0x3fu) << 6 | (c2 & 0x3fu)); /* bidirectional overrides */
            i += 2;
        } else {
            pare_sb_addc(b, (char)c);
        }
    }
    pare_sb_addc(b, '"');
}

/* The shortest of 15 to 17 digits that reads back as the same number; always with a point or an exponent. */
static void add_real(pare_sb *b, double v) {
    char t[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, v);
        if (strtod(t, NULL) == v) break;
    }
    char *comma = strchr(t, ','); /* a program that embeds us may have set a locale */
    if (comma) *comma = '.';
    pare_sb_add(b, t);
    if (!strpbrk(t, ".eEn")) pare_sb_add(b, ".0");
}

static void add_value(pare_sb *b, const json_t *j, size_t depth);

static void add_line(pare_sb *b, size_t depth) {
    pare_sb_addc(b, '\n');
    for (size_t i = 0; i < 2 * depth; i++) pare_sb_addc(b, ' ');
}

/* Short lists of plain values stay on one line: a shape reads as one thing. */
static bool on_one_line(const json_t *j) {
    size_t n = json_array_size(j), width = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(j, i);
        if (json_is_object(e) || json_is_array(e)) return false;
        width += json_is_string(e) ? json_string_length(e) + 4 : 8;
    }
    return width <= 96;
}

static void add_array(pare_sb *b, const json_t *j, size_t depth) {
    size_t n = json_array_size(j);
    bool flat = on_one_line(j);
    pare_sb_addc(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) pare_sb_add(b, flat ? ", " : ",");
        if (!flat) add_line(b, depth + 1);
        add_value(b, json_array_get(j, i), depth + 1);
    }
    if (n && !flat) add_line(b, depth);
    pare_sb_addc(b, ']');
}

static void add_object(pare_sb *b, const json_t *j, size_t depth) {
    /* jansson's iterator wants a pointer that is not const, though it changes nothing */
    json_t *o;
    memcpy(&o, &j, sizeof o);
    bool first = true;
    pare_sb_addc(b, '{');
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);
        if (!first) pare_sb_addc(b, ',');
        first = false;
        add_line(b, depth + 1);
        add_string(b, key, strlen(key));
        pare_sb_add(b, ": ");
        add_value(b, json_object_iter_value(it), depth + 1);
    }
    if (!first) add_line(b, depth);
    pare_sb_addc(b, '}');
}

static void add_value(pare_sb *b, const json_t *j, size_t depth) {
    if (!j || json_is_null(j))
        pare_sb_add(b, "null");
    else if (json_is_boolean(j))
        pare_sb_add(b, json_is_true(j) ? "true" : "false");
    else if (json_is_integer(j))
        pare_sb_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
    else if (json_is_real(j))
        add_real(b, json_real_value(j));
    else if (json_is_string(j))
        add_string(b, json_string_value(j), json_string_length(j));
    else if (json_is_array(j))
        add_array(b, j, depth);
    else
        add_object(b, j, depth);
}

void pare_json_print(const json_t *j, FILE *out) {
    pare_sb b = {0};
    add_value(&b, j, 0);
    pare_sb_addc(&b, '\n');
    fwrite(b.data, 1, b.len, out);
    pare_sb_free(&b);
}

pare_status pare_json_write(const json_t *j, const char *path, pare_diags *d) {
    pare_sb b = {0};
    add_value(&b, j, 0);
    pare_sb_addc(&b, '\n');
    pare_status st = pare_file_write(path, b.data, b.len, d);
    pare_sb_free(&b);
    return st;
}
