/* quantize/ranges.c - see ranges.h: the text. Reading is ranges_read.c. */
#include "ranges.h"

#include <pare/note.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    char *data;
    uint64_t n, room;
    bool failed;
} text;

static bool text_room(text *t, uint64_t more) {
    if (t->failed || t->room - t->n > more) return !t->failed;
    const uint64_t room = (t->room + more) * 2 + 256;
    char *data = realloc(t->data, room);
    t->failed = !data;
    if (!data) return false;
    t->data = data;
    t->room = room;
    return true;
}

static void put_bytes(text *t, const char *s, uint64_t n) {
    if (!text_room(t, n)) return;
    memcpy(t->data + t->n, s, n);
    t->n += n;
    t->data[t->n] = '\0';
}

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put_bytes(t, line, n < (int)sizeof line ? (uint64_t)n : sizeof line - 1);
}

/* The shortest decimal that reads back as x. */
static void put_float(text *t, float x) {
    char number[32];
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(number, sizeof number, "%.*g", digits, (double)x);
        if (strtof(number, NULL) == x) break;
    }
    put(t, "%s", number);
}

/* The code point at s and its bytes; 0 bytes: no UTF-8. */
static uint32_t code_point(const unsigned char *s, uint32_t *bytes) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const uint32_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    *bytes = 0;
    if (!n) return s[0];
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (uint32_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return s[0];
        c = c << 6 | (s[i] & 0x3F);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return s[0];
    *bytes = n;
    return c;
}

/* Double-quoted, in one line; what YAML takes for a line's end or refuses is written by its number. */
static void put_quoted(text *t, const char *s) {
    put(t, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        uint32_t bytes;
        const uint32_t c = code_point(p, &bytes);
        if (c == '"' || c == '\\')
            put(t, "\\%c", (int)c);
        else if (bytes && ((c >= 0x20 && c < 0x7F) ||
                           (c >= 0xA0 && c != 0x2028 && c != 0x2029 && c != 0xFEFF && c < 0xFFFE) || c >= 0x10000))
            put_bytes(t, (const char *)p, bytes);
        else if (c < 0x100)
            put(t, "\\x%02X", (unsigned)c);
        else
            put(t, "\\u%04X", (unsigned)c);
        p += bytes ? bytes : 1;
    }
    put(t, "\"");
}

static void put_tensor(text *t, const calibrate_tensor *ask, const calibrate_range *r) {
    const float ends[4] = {r->lo, r->hi, r->min, r->max};
    static const char *const keys[4] = {"lo", "hi", "min", "max"};
    put(t, "  ");
    put_quoted(t, ask->name);
    put(t, ": {");
    for (int i = 0; i < 4; i++) {
        put(t, "%s%s: ", i ? ", " : "", keys[i]);
        put_float(t, ends[i]);
    }
    put(t, ", samples: %llu, clipped: %.6g, scale: ", (unsigned long long)r->samples, r->clipped > 0 ? r->clipped : 0);
    put_float(t, r->scale);
    put(t, ", zero_point: %d, dtype: %s, method: %s}\n", (int)r->zero_point, ask->dtype == PARE_INT8 ? "int8" : "uint8",
        calibrate_method_name(ask->method));
}

pare_status ranges_text(const pare_host *host, const calibration *c, char **out, uint64_t *n) {
    text t = {0};
    put(&t, "# Ranges of activations. lo and hi may be edited: scale and zero_point are worked out from them.\n"
            "format: 1\n");
    if (c->graph[0]) put(&t, "graph: \"%s\"\n", c->graph);
    if (c->data) {
        put(&t, "data: {name: ");
        put_quoted(&t, c->data);
        put(&t, ", sha256: \"%s\", samples: %llu}\n", c->data_sha256, (unsigned long long)c->samples);
    }
    put(&t, "tensors:%s\n", c->n ? "" : " {}");
    for (uint64_t i = 0; i < c->n; i++) put_tensor(&t, &c->tensors[i], &c->ranges[i]);
    if (t.failed) {
        free(t.data);
        PARE_REPORT(host, PARE_ERROR, .code = "ranges.memory", .message = "no memory for the text of " RANGES_FILE);
        return PARE_ENOMEM;
    }
    *out = t.data;
    *n = t.n;
    return PARE_OK;
}

pare_status ranges_save(const pare_host *host, const calibration *c) {
    const pare_note_api *note = host->ext(host, PARE_NOTE_V1);
    char *data;
    uint64_t n;
    if (!note || !PARE_HAS(pare_note_api, note, file)) return PARE_OK;
    pare_status st = ranges_text(host, c, &data, &n);
    if (st) return st;
    st = note->file(host, RANGES_FILE, data, n);
    free(data);
    return st;
}
