/* base/diag.c - see diag.h. */
#define _POSIX_C_SOURCE 200809L
#include "base/diag.h"

#include "base/str.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pare_diags {
    pthread_mutex_t lock;
    pare_diag_form form;
    FILE *out, *log;
    bool colour, quiet;
    size_t errors;
    pare_arena arena;
    PARE_VEC(pare_diag_item *) items;
};

pare_diags *pare_diags_new(pare_diag_form form, FILE *out) {
    pare_diags *d = pare_xcalloc(1, sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    d->form = form;
    d->out = out;
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    d->colour = out && isatty(fileno(out)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
    return d;
}

void pare_diags_free(pare_diags *d) {
    if (!d) return;
    pthread_mutex_destroy(&d->lock);
    pare_vec_free(&d->items);
    pare_arena_free(&d->arena);
    free(d);
}

void pare_diags_set_quiet(pare_diags *d, bool quiet) { d->quiet = quiet; }
void pare_diags_set_log(pare_diags *d, FILE *log) { d->log = log; }
size_t pare_diags_errors(const pare_diags *d) { return d->errors; }
size_t pare_diags_count(const pare_diags *d) { return d->items.len; }
const pare_diag_item *pare_diags_get(const pare_diags *d, size_t i) { return d->items.data[i]; }

static const char *const severity_name[] = {"note", "info", "warning", "error"};
static const char *const severity_colour[] = {"\033[36m", "\033[32m", "\033[33m", "\033[31m"};

static void add_text(pare_sb *b, const char *s) { pare_sb_add_safe(b, s, strlen(s)); }

/* Messages may hold line breaks of our own; each piece between them is made safe. */
static void add_lines(pare_sb *b, const char *s, const char *indent) {
    for (;;) {
        const char *nl = strchr(s, '\n');
        pare_sb_add_safe(b, s, nl ? (size_t)(nl - s) : strlen(s));
        if (!nl) return;
        pare_sb_addc(b, '\n');
        pare_sb_add(b, indent);
        s = nl + 1;
    }
}

/* The quoted line and its caret. Tabs become one space so that the caret stands right. */
static void add_quote(pare_sb *b, const pare_span *at, const char *on, const char *off) {
    const char *s = at->src->text, *end = s + at->src->len;
    for (uint32_t line = 1; line < at->line && s < end; line++) {
        const char *nl = memchr(s, '\n', (size_t)(end - s));
        s = nl ? nl + 1 : end;
    }
    if (s > end || (s == end && at->line > 1 && at->col > 1)) return;
    const char *eol = memchr(s, '\n', (size_t)(end - s));
    size_t n = eol ? (size_t)(eol - s) : (size_t)(end - s);
    if (n && s[n - 1] == '\r') n--;
    size_t from = 0, width = 110, col = at->col ? at->col - 1 : 0;
    if (col > n) col = n;
    if (col > 80) from = col - 60; /* a long line: show the part around the caret */
    while (from && ((unsigned char)s[from] & 0xc0) == 0x80) from--;
    size_t show = n - from > width ? width : n - from;
    while (show && from + show < n && ((unsigned char)s[from + show] & 0xc0) == 0x80) show--;
    pare_sb line = {0}, before = {0};
    for (size_t i = from; i < from + show; i++) {
        char c = s[i] == '\t' ? ' ' : s[i];
        pare_sb_addn(&line, &c, 1);
        if (i < col) pare_sb_addn(&before, &c, 1);
    }
    pare_sb safe = {0};
    pare_sb_add_safe(&safe, pare_sb_str(&before), before.len);
    pare_sb_printf(b, "%6u | %s", at->line, from ? "..." : "");
    pare_sb_add_safe(b, pare_sb_str(&line), line.len);
    if (from + show < n) pare_sb_add(b, "...");
    pare_sb_printf(b, "\n       | %s", from ? "   " : "");
    for (const char *p = pare_sb_str(&safe); *p; p++)
        if (((unsigned char)*p & 0xc0) != 0x80) pare_sb_addc(b, ' ');
    pare_sb_add(b, on);
    pare_sb_addc(b, '^');
    size_t left = from + show > col ? from + show - col : 0;
    for (uint32_t i = 1; i < at->len && i < left; i++)
        if (((unsigned char)s[col + i] & 0xc0) != 0x80) pare_sb_addc(b, '~');
    pare_sb_add(b, off);
    pare_sb_addc(b, '\n');
    pare_sb_free(&line);
    pare_sb_free(&before);
    pare_sb_free(&safe);
}

static void render_human(pare_sb *b, const pare_diag_item *it, bool colour) {
    const char *bold = colour ? "\033[1m" : "", *off = colour ? "\033[0m" : "";
    const char *tint = colour ? severity_colour[it->severity] : "";
    if (it->at.src) {
        pare_sb_add(b, bold);
        add_text(b, it->at.src->name);
        if (it->at.line) pare_sb_printf(b, ":%u:%u", it->at.line, it->at.col ? it->at.col : 1);
        pare_sb_printf(b, ":%s ", off);
    } else if (it->path) {
        pare_sb_add(b, bold);
        add_text(b, it->path);
        pare_sb_printf(b, ":%s ", off);
    } else {
        pare_sb_add(b, "pare: ");
    }
    pare_sb_printf(b, "%s%s%s", tint, severity_name[it->severity], off);
    if (it->code && it->severity >= PARE_WARNING) pare_sb_printf(b, "[%s]", it->code);
    pare_sb_add(b, ": ");
    add_lines(b, it->message ? it->message : "", "       ");
    pare_sb_addc(b, '\n');
    if (it->at.src && it->at.line) add_quote(b, &it->at, tint, off);
    const char *label[] = {"param", "tensor", "node"}, *value[] = {it->param, it->tensor, it->node};
    for (int i = 0; i < 3; i++) {
        if (!value[i] || (i == 0 && it->at.src && it->at.line)) continue; /* the caret shows the parameter */
        pare_sb_printf(b, "       = %s: ", label[i]);
        add_text(b, value[i]);
        pare_sb_addc(b, '\n');
    }
    if (it->hint) {
        pare_sb_printf(b, "       = %shint:%s ", bold, off);
        add_lines(b, it->hint, "               ");
        pare_sb_addc(b, '\n');
    }
}

static void json_string(pare_sb *b, const char *s) {
    pare_sb_addc(b, '"');
    size_t n = strlen(s);
    bool utf8 = pare_utf8_ok(s, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            pare_sb_addc(b, '\\');
            pare_sb_addc(b, (char)c);
        } else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)) {
            pare_sb_printf(b, "\\u%04x", c);
        } else {
            pare_sb_addc(b, (char)c);
        }
    }
    pare_sb_addc(b, '"');
}

static void json_field(pare_sb *b, const char *key, const char *value) {
    if (!value) return;
    pare_sb_printf(b, ",\"%s\":", key);
    json_string(b, value);
}

static void render_json(pare_sb *b, const pare_diag_item *it) {
    pare_sb_printf(b, "{\"severity\":\"%s\"", severity_name[it->severity]);
    json_field(b, "code", it->code);
    json_field(b, "message", it->message);
    json_field(b, "hint", it->hint);
    json_field(b, "file", it->at.src ? it->at.src->name : it->path);
    if (it->at.src && it->at.line) pare_sb_printf(b, ",\"line\":%u,\"col\":%u", it->at.line, it->at.col);
    json_field(b, "param", it->param);
    json_field(b, "tensor", it->tensor);
    json_field(b, "node", it->node);
    pare_sb_add(b, "}\n");
}

void pare_diags_add(pare_diags *d, const pare_diag_item *item) {
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    pare_diag_item *it = pare_arena_alloc(&d->arena, sizeof *it);
    *it = *item;
    if (it->severity > PARE_ERROR) it->severity = PARE_ERROR;
    it->code = pare_arena_strdup(&d->arena, item->code);
    it->message = pare_arena_strdup(&d->arena, item->message);
    it->hint = pare_arena_strdup(&d->arena, item->hint);
    it->path = pare_arena_strdup(&d->arena, item->path);
    it->param = pare_arena_strdup(&d->arena, item->param);
    it->tensor = pare_arena_strdup(&d->arena, item->tensor);
    it->node = pare_arena_strdup(&d->arena, item->node);
    pare_vec_push(&d->items, it);
    if (it->severity == PARE_ERROR) d->errors++;
    bool print = d->out && d->form != PARE_DIAG_SILENT && !(d->quiet && it->severity < PARE_WARNING);
    pare_sb b = {0};
    if (print) {
        if (d->form == PARE_DIAG_JSON)
            render_json(&b, it);
        else
            render_human(&b, it, d->colour);
        fwrite(pare_sb_str(&b), 1, b.len, d->out);
        fflush(d->out);
    }
    if (d->log) {
        pare_sb_free(&b);
        render_human(&b, it, false);
        fwrite(pare_sb_str(&b), 1, b.len, d->log);
        fflush(d->log);
    }
    pare_sb_free(&b);
    pthread_mutex_unlock(&d->lock);
}

static void add_formatted(pare_diags *d, pare_diag_item *it, const char *fmt, va_list ap) {
    if (!d) return;
    pare_sb b = {0};
    pare_sb_vprintf(&b, fmt, ap);
    it->message = pare_sb_str(&b);
    pare_diags_add(d, it);
    pare_sb_free(&b);
}

#define WITH_FORMAT(item)                                                                                              \
    va_list ap;                                                                                                        \
    va_start(ap, fmt);                                                                                                 \
    add_formatted(d, (item), fmt, ap);                                                                                 \
    va_end(ap)

pare_status pare_fail(pare_diags *d, pare_status st, const char *code, const char *hint, const char *fmt, ...) {
    WITH_FORMAT((&(pare_diag_item){.severity = PARE_ERROR, .code = code, .hint = hint}));
    return st;
}

pare_status pare_fail_at(pare_diags *d, pare_status st, pare_span at, const char *code, const char *hint,
                         const char *fmt, ...) {
    WITH_FORMAT((&(pare_diag_item){.severity = PARE_ERROR, .code = code, .hint = hint, .at = at}));
    return st;
}

pare_status pare_fail_file(pare_diags *d, pare_status st, const char *path, const char *code, const char *hint,
                           const char *fmt, ...) {
    WITH_FORMAT((&(pare_diag_item){.severity = PARE_ERROR, .code = code, .hint = hint, .path = path}));
    return st;
}

void pare_say(pare_diags *d, uint32_t severity, const char *code, const char *fmt, ...) {
    WITH_FORMAT((&(pare_diag_item){.severity = severity, .code = code}));
}

void pare_say_at(pare_diags *d, uint32_t severity, pare_span at, const char *code, const char *hint, const char *fmt,
                 ...) {
    WITH_FORMAT((&(pare_diag_item){.severity = severity, .code = code, .hint = hint, .at = at}));
}

const char *pare_status_text(pare_status st) {
    switch (st) {
#define CASE(name, value, text)                                                                                        \
    case name: return text;
        PARE_STATUSES(CASE)
#undef CASE
    default: return "unknown status";
    }
}

int pare_exit_code(pare_status st) {
    if (st == PARE_OK) return 0;
    return st == PARE_EINVAL || st == PARE_EUNSUPPORTED || st == PARE_ENOTFOUND ? 2 : 1;
}
