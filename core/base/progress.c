/* base/progress.c - see progress.h. */
#define _POSIX_C_SOURCE 200809L
#include "base/progress.h"

#include "base/json.h"
#include "base/os.h"
#include "base/str.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS = 79, BAR = 24 };
static const double quiet_for = 1.0, every_bar = 0.1, every_line = 5.0;

struct pare_progress {
    pthread_mutex_t lock;
    enum { FORM_BAR, FORM_LINE, FORM_JSON, FORM_OFF } form;
    FILE *out;
    char *task;         /* NULL: none */
    double begun, last; /* last: when something was printed of this task, or 0 */
    bool shown;         /* a bar stands on the line */
};

pare_progress *pare_progress_new(pare_progress_form form, FILE *out) {
    pare_progress *p = pare_xcalloc(1, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    p->out = out;
    const char *term = getenv("TERM");
    bool terminal = out && isatty(fileno(out)) && !(term && strcmp(term, "dumb") == 0);
    if (!out || form == PARE_PROGRESS_OFF)
        p->form = FORM_OFF;
    else if (form == PARE_PROGRESS_JSON)
        p->form = FORM_JSON;
    else
        p->form = terminal ? FORM_BAR : FORM_LINE;
    return p;
}

static void wipe(pare_progress *p) {
    if (!p->shown) return;
    fputs("\r\033[K", p->out);
    fflush(p->out);
    p->shown = false;
}

static void put_json(pare_progress *p, double done, const char *what, double seconds) {
    json_t *j = json_object();
    json_object_set_new(j, "progress", pare_json_str(p->task));
    json_object_set_new(j, "done", json_real(done));
    json_object_set_new(j, "seconds", json_real((double)(int64_t)(seconds * 1000) / 1000));
    if (what) json_object_set_new(j, "what", pare_json_str(what));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(4));
    if (text) fprintf(p->out, "%s\n", text);
    free(text);
    json_decref(j);
}

/* Appends at most `columns` characters of s, made safe. */
static void add_cut(pare_sb *b, const char *s, size_t columns) {
    pare_sb safe = {0};
    pare_sb_add_safe(&safe, s, strlen(s));
    const char *t = pare_sb_str(&safe);
    size_t n = 0, count = 0;
    for (; t[n]; n++) {
        if (((unsigned char)t[n] & 0xc0) != 0x80 && count++ == columns) break;
    }
    pare_sb_addn(b, t, n);
    pare_sb_free(&safe);
}

static size_t width_of(const pare_sb *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++) n += ((unsigned char)b->data[i] & 0xc0) != 0x80;
    return n;
}

static void put(pare_progress *p, double done, const char *what, double now) {
    if (p->form == FORM_JSON) {
        put_json(p, done, what, now - p->begun);
        fflush(p->out);
        return;
    }
    pare_sb b = {0};
    add_cut(&b, p->task, 40);
    if (p->form == FORM_BAR) {
        pare_sb_add(&b, " [");
        int full = (int)(done * BAR);
        for (int i = 0; i < BAR; i++) pare_sb_addc(&b, i < full ? '=' : i == full ? '>' : ' ');
        pare_sb_addc(&b, ']');
    }
    pare_sb_printf(&b, " %3d %%", (int)(done * 100));
    size_t width = width_of(&b);
    if (what && width + 4 < COLUMNS) {
        pare_sb_add(&b, "  ");
        add_cut(&b, what, COLUMNS - width - 2);
    }
    if (p->form == FORM_BAR)
        fprintf(p->out, "\r%s\033[K", pare_sb_str(&b));
    else
        fprintf(p->out, "%s\n", pare_sb_str(&b));
    p->shown = p->form == FORM_BAR;
    fflush(p->out);
    pare_sb_free(&b);
}

/* Called with the lock held. A long task gets a last line where lines stay. */
static void finish(pare_progress *p) {
    if (!p->task) return;
    wipe(p);
    double now = pare_clock();
    if (p->last > 0 && p->form == FORM_LINE) {
        pare_sb b = {0};
        add_cut(&b, p->task, 60);
        fprintf(p->out, "%s took %.1f s\n", pare_sb_str(&b), now - p->begun);
        pare_sb_free(&b);
    } else if (p->last > 0 && p->form == FORM_JSON) {
        put_json(p, 1.0, NULL, now - p->begun);
    }
    fflush(p->out);
    free(p->task);
    p->task = NULL;
}

void pare_progress_free(pare_progress *p) {
    if (!p) return;
    if (p->form != FORM_OFF) finish(p);
    free(p->task);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void pare_progress_begin(pare_progress *p, const char *task) {
    if (!p || p->form == FORM_OFF) return;
    pthread_mutex_lock(&p->lock);
    finish(p);
    p->task = pare_xstrdup(task);
    p->begun = pare_clock();
    p->last = 0;
    pthread_mutex_unlock(&p->lock);
}

void pare_progress_update(pare_progress *p, double done, const char *what) {
    if (!p || p->form == FORM_OFF) return;
    pthread_mutex_lock(&p->lock);
    double now = pare_clock();
    double gap = p->form == FORM_BAR ? every_bar : every_line;
    if (p->task && now - p->begun >= quiet_for && (p->last <= 0 || now - p->last >= gap)) {
        done = done > 0 ? done < 1 ? done : 1 : 0; /* NaN becomes 0 */
        p->last = now;
        put(p, done, what, now);
    }
    pthread_mutex_unlock(&p->lock);
}

void pare_progress_end(pare_progress *p) {
    if (!p || p->form == FORM_OFF) return;
    pthread_mutex_lock(&p->lock);
    finish(p);
    pthread_mutex_unlock(&p->lock);
}

void pare_progress_clear(pare_progress *p) {
    if (!p || p->form == FORM_OFF) return;
    pthread_mutex_lock(&p->lock);
    wipe(p);
    pthread_mutex_unlock(&p->lock);
}

static pare_status through(void *ctx, const void *data, size_t n) {
    pare_progress_sink *s = ctx;
    if (pare_cancelled()) return PARE_ECANCELLED;
    pare_status st = s->next.write ? s->next.write(s->next.ctx, data, n) : PARE_OK;
    s->done += n;
    if (s->p && s->total) pare_progress_update(s->p, (double)s->done / (double)s->total, NULL);
    return st;
}

pare_sink pare_progress_through(pare_progress_sink *s) { return (pare_sink){through, s}; }
